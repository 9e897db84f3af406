"""Our numeric check for any PyTorch module or autograd.Function: autograd's backward pass against measurement.

The outputs are contracted with fixed random numbers v to one number f = <v, outputs>, so that a single backward
pass gives every gradient and each is held against the difference that nudging makes. The measurement runs in
float64, on copies, where the module allows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deltarule.errors import BadInput, is_count, is_number, require
from deltarule.interop.gradient_records import SHOWN, ZERO, BackwardCheck, GradientFinding
from deltarule.interop.measurement import ROUNDING, Measurement
from deltarule.interop.nudge import Slope
from deltarule.interop.subject import NotFinite, Subject, Tensors
from deltarule.network import Network
from deltarule.progress import Bar

TOLERANCE = {"float64": 1e-6, "float32": 2e-4}
"""Relative; for a dtype that is not here, 16 of its roundings."""

DIRECTIONS = 2
NOTHING = 1e-7
"""A gradient this much smaller than the module's largest, in computation and measurement, is called zero."""

AGAIN = "a second pass back through the same graph gives another: backward changes what it saved"

SEED = 20260
"""Of whatever the module draws: the same in every pass."""


def check_backward(
    module: Any,
    input: Any,
    *,
    tries: int = 300,
    tolerance: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> BackwardCheck:
    """Hold autograd's gradients by every input and parameter of a module against measurement.

    f = <v, module(input)> with random v; each gradient's coordinate is compared with the central difference of f,
    extrapolated to a step of zero, as its coordinate is nudged. Tensors with more numbers than `tries` allows are
    measured at some of their coordinates, half of them those with the largest gradients, and along random directions
    through all of them; where a direction is wrong, halving it finds the coordinate.

    Parameters
    ----------
    module : torch.nn.Module, autograd.Function, or function of tensors
        Run on copies of its parameters and buffers: its own, `.grad`, `requires_grad` and its mode stay as they are.
        Dropout and whatever else draws is given the same draws in every pass.
    input : tensor, tuple of arguments, or dict of keyword arguments
        Floating-point tensors are measured, all else is handed through.
    tries : int
        The most coordinates and directions that are measured, though two directions at least for each tensor. A try
        takes 6 to 14 forward passes.
    tolerance : float, optional
        Relative; 1e-6 where float64 is measured, 2e-4 where a float32 module cannot be run in float64.
    seed : int
        Of v and the random directions.
    progress : bool
        A bar, where stderr is a terminal.

    Returns
    -------
    BackwardCheck
        `.ok`, `.worst`, `.findings`, `.notes`; prints itself.

    Raises
    ------
    BadInput
        Nothing to differentiate by, an output that is not finite, a lazy or meta parameter, a complex input.
    MissingExtra
        Without PyTorch: ``pip install "deltarule[torch]"``.

    Notes
    -----
    A float32 module's formulas are judged in float64, and its own gradients are then held against those in float64 at
    2e-4. A module that does not run in float64 is measured in its own dtype with longer steps; `floor` says how far
    that goes. A kink (ReLU at 0) shows as a jump between the one-sided slopes that does not shrink with the step.

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    >>> check_backward(module, torch.randn(5, 3)).ok
    True
    >>> class Square(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**2
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         return grad * ctx.saved_tensors[0]              # 2 x is right
    >>> report = check_backward(Square, torch.tensor([1.0, 2.0, 3.0]))
    >>> report.ok, report.findings[0].remark
    (False, 'it is 0.5 times what it should be')
    """
    if isinstance(module, Network):
        raise BadInput("this is a network of ours; deltarule.check(net, x, y) checks it, layer by layer")
    require("tries", tries, is_count(tries), "an integer from 1 up")
    if tolerance is not None:
        require("tolerance", tolerance, is_number(tolerance, 0), "a number from 0 up")
    subject = Subject(module, input)
    return _Check(subject, tries, tolerance, seed, progress).run()


class _Check:
    """One check in progress."""

    def __init__(self, subject: Subject, tries: int, tolerance: float | None, seed: int, progress: bool) -> None:
        self.subject, self.tries, self.progress = subject, tries, progress
        self.given_tolerance = tolerance
        self.rng = np.random.default_rng(seed)
        self.notes: list[str] = []
        self.v: list[Any] = []
        self.own = str(subject.dtype).removeprefix("torch.")
        self.own_eps = float(subject.torch.finfo(subject.dtype).eps)
        self.sizes = {name: value.numel() for name, value in subject.values.items()}

    def run(self) -> BackwardCheck:
        """The passes under check, what they say of the module, and the measurement."""
        subject = self.subject
        try:
            outputs, gradients = subject.backward(subject.values, self._weigh, SEED, double=False, twice=True)
        except NotFinite:
            raise BadInput(f"{subject.name} gives a NaN or an infinity on this input; no derivative exists") from None
        again, gradients_again = subject.backward(subject.values, self._weigh, SEED, double=False)
        if self._differ([*outputs, *gradients.values()], [*again, *gradients_again.values()]):
            self.notes.append(
                "two passes over the same values differ, though each was given the same random numbers: the module "
                "keeps something from pass to pass, or draws from a generator of its own"
            )
            return self._result((), self.own, 0.0, 2, repeatable=False)
        other = subject.run(subject.values, SEED + 1, double=False)
        self.draws = self._differ(outputs, [one.detach() for one in other])
        self._say_what_was_noticed()
        in_double = self._in_double(outputs, gradients)
        double = in_double is not None
        judged = gradients if in_double is None else in_double
        measured_in = "float64" if double else self.own
        tolerance = self._tolerance(measured_in)
        values = subject.doubled() if double else subject.values
        eps = 2.0**-52 if double else self.own_eps
        self.measurement = Measurement(subject, values, self.v, SEED, double, tolerance, eps)
        self.largest = max(
            float(one.abs().nan_to_num(0, 0, 0).max()) * self.measurement.scales[name]
            if one is not None and one.numel()
            else 0.0
            for name, one in judged.items()
        )
        self.measurement.floor = ROUNDING * eps * self.largest
        compare = double and self.own != "float64" and not self.draws
        findings = []
        plan = self._plan()
        with Bar(sum(count + directions for count, directions in plan.values()), self.progress) as bar:
            done = 0
            for name in subject.values:
                bar.show(done, name)
                finding = self._tensor(name, judged[name], *plan[name])
                if compare:
                    finding = self._compare_own(finding, gradients[name], judged[name])
                if name in subject.other_when_repeated:
                    finding = replace(finding, ok=False, remark=AGAIN)
                findings.append(finding)
                done += sum(plan[name])
        if subject.changed_buffers and not all(finding.ok for finding in findings):
            names = ", ".join(sorted(subject.changed_buffers))
            self.notes.append(
                f"the forward pass changes the buffers {names}; autograd may be told not to see what the output "
                "takes from them. module.eval() may keep them still"
            )
        return self._result(tuple(findings), measured_in, tolerance, self.measurement.passes + 4)

    def _result(
        self,
        findings: tuple[GradientFinding, ...],
        measured_in: str,
        tolerance: float,
        passes: int,
        repeatable: bool = True,
    ) -> BackwardCheck:
        size, notes = sum(self.sizes.values()), tuple(self.notes)
        return BackwardCheck(
            self.subject.name, findings, self.own, measured_in, tolerance, size, passes, notes, repeatable
        )

    def _tolerance(self, dtype: str) -> float:
        return TOLERANCE.get(dtype, 16 * self.own_eps) if self.given_tolerance is None else self.given_tolerance

    def _weigh(self, outputs: list[Any]) -> list[Any]:
        """v for these outputs: drawn once, in the module's own dtype, and the same numbers ever after."""
        if not self.v:
            draw = [self.rng.standard_normal(tuple(one.shape)) for one in outputs]
            self.v = [self.subject.torch.as_tensor(v).to(one) for v, one in zip(draw, outputs, strict=True)]
        return [v.to(one, copy=True) for v, one in zip(self.v, outputs, strict=True)]

    def _differ(self, mine: list[Any], theirs: list[Any]) -> bool:
        """Whether two passes differ by more than the order in which a graphics card adds."""
        for one, other in zip(mine, theirs, strict=True):
            if one is None or other is None or one.shape != other.shape:
                if one is not other:
                    return True
            elif one.numel():
                size = float(one.abs().nan_to_num(0, 0, 0).max())
                if float((one - other).abs().nan_to_num(0, 0, 0).max()) > 1000 * self.own_eps * size:
                    return True
        return False

    def _say_what_was_noticed(self) -> None:
        if self.draws:
            self.notes.append(
                "the module draws random numbers (dropout in training mode?); every pass was given the same draws. "
                "module.eval() turns dropout off"
            )
        self.notes += [f"{name} is changed in place by the passes" for name in sorted(self.subject.changed_in_place)]
        if self.subject.frozen:
            self.notes.append(f"{self.subject.frozen} parameters with requires_grad=False are left out")

    def _in_double(self, outputs: list[Any], gradients: Tensors) -> Tensors | None:
        """The gradients in float64, where the module runs there and computes the same; else None, and a note."""
        if self.own == "float64":
            return gradients
        why = f"measured in {self.own}, for "
        try:
            found, doubled = self.subject.backward(self.subject.doubled(), self._weigh, SEED, double=True)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            self.notes.append(f"{why}the module does not run in float64 ({reason})")
            return None
        if any(one.dtype != self.subject.torch.float64 for one in found):
            self.notes.append(f"{why}the module gives less than float64 when it is given float64")
            return None
        for one, true in zip(outputs, found, strict=True):
            off, size = float((one.double() - true).norm()), float(true.norm())
            if off > 1e4 * self.own_eps * size and not self.draws:
                self.notes.append(f"{why}in float64 its output is another, by {off / size:.0e}")
                return None
        return doubled

    def _plan(self) -> dict[str, tuple[int, int]]:
        """For each tensor, how many coordinates and directions: all coordinates where they fit, else fair shares."""
        if sum(self.sizes.values()) <= self.tries:
            return {name: (size, 0) for name, size in self.sizes.items()}
        left = max(0, self.tries - DIRECTIONS * len(self.sizes))
        plan: dict[str, tuple[int, int]] = {}
        smallest_first = sorted(self.sizes, key=self.sizes.__getitem__)
        for waiting, name in zip(range(len(self.sizes), 0, -1), smallest_first, strict=True):
            size = self.sizes[name]
            count = min(size, left // waiting)
            left -= count
            plan[name] = (count, 0 if count == size else DIRECTIONS)
        return plan

    def _chosen(self, gradient: Any, count: int) -> list[int]:
        """Which coordinates: half of them those with the largest gradients, the others drawn."""
        size = gradient.numel()
        if count == size:
            return list(range(size))
        top = gradient.abs().topk(count // 2).indices.tolist()
        drawn = dict.fromkeys(self.rng.integers(0, size, 4 * count).tolist())
        return [*top, *[i for i in drawn if i not in set(top)][: count - len(top)]]

    def _tensor(self, name: str, gradient: Any, count: int, directions: int) -> GradientFinding:
        """Judge the gradient by one tensor."""
        measurement, value = self.measurement, self.measurement.values[name]
        shape, scale = tuple(value.shape), measurement.scales[name]
        remark = ""
        if gradient is None:
            remark, gradient = "autograd gives none (None)", self.subject.torch.zeros_like(value)
        elif not bool(gradient.isfinite().all()):
            return _not_finite(name, shape, gradient)
        flat = gradient.flatten().double() * scale
        tries: list[_Try] = []
        kinks: list[tuple[int, ...]] = []
        chosen = self._chosen(flat, count)
        for i in chosen:
            measured = measurement.along(name, [i], np.ones(1), float(flat[i]))
            if measured.kink or not math.isfinite(measured.spread):
                kinks.append(_unravel(i, shape))
            else:
                tries.append(_Try(False, _at(i, shape), float(flat[i]), measured, abs(measured.value), scale))
        kinked = len(kinks)
        norm = float(flat.norm())
        for d in range(directions):
            signs = self.rng.choice([-1.0, 1.0], size=value.numel())
            signs[[int(np.ravel_multi_index(at, shape)) for at in kinks]] = 0
            computed = float((flat * self.subject.torch.as_tensor(signs).to(flat)).sum())
            measured = measurement.along(name, slice(None), signs, computed)
            if measured.kink or not math.isfinite(measured.spread):
                kinked += 1
                continue
            one = _Try(True, f"along random direction {d}", computed, measured, max(norm, abs(measured.value)), 1.0)
            tries.append(one)
            if abs(computed - measured.value) > measurement.allowed(measured, one.size):
                found = measurement.wrong_coordinate(name, flat, signs)
                if found is not None:
                    i, at = found
                    tries.append(_Try(False, _at(i, shape), float(flat[i]), at, abs(at.value), scale))
        finding = GradientFinding(
            name, shape, len(chosen), directions, math.nan, math.nan, math.nan, True, "", math.nan, math.nan,
            tuple(kinks[:SHOWN]), kinked, remark,
        )  # fmt: skip
        return self._judge(finding, tries) if tries else finding

    def _judge(self, finding: GradientFinding, tries: list[_Try]) -> GradientFinding:
        computed = np.array([one.computed for one in tries])
        measured = np.array([one.measured.value for one in tries])
        spread = np.array([one.measured.spread for one in tries])
        allowed = np.array([self.measurement.allowed(one.measured, one.size) for one in tries])
        off = np.abs(computed - measured)
        excess = off / (allowed + np.finfo(float).tiny)

        def badness(i: int) -> tuple[bool, bool, float]:
            wrong = bool(off[i] > allowed[i])
            return wrong, wrong and not tries[i].direction, excess[i]  # a wrong coordinate says more than a direction

        worst = tries[max(range(len(tries)), key=badness)]
        ok = bool((off <= allowed).all())
        remark = finding.remark
        nothing = NOTHING * self.largest
        if ok and not remark and max(np.abs(computed).max(), np.abs(measured).max(), spread.max()) <= nothing:
            remark = ZERO
        elif ok and remark:
            remark = "none, and none is measured: the outputs do not depend on it"
        elif not ok and not remark:
            remark = _factor(computed, measured, allowed)
        total = float(np.linalg.norm(measured)) or 1.0
        return replace(
            finding,
            error=float(np.linalg.norm(off)) / total,
            floor=float(np.linalg.norm(10 * spread + self.measurement.floor)) / total,
            ok=ok,
            place=worst.where,
            computed=worst.computed / worst.unit,
            measured=worst.measured.value / worst.unit,
            remark=remark,
        )

    def _compare_own(self, finding: GradientFinding, mine: Any, true: Any) -> GradientFinding:
        """Hold the gradient in the module's own dtype against that in float64."""
        if mine is None or true is None or not finding.ok or mine.numel() == 0:
            return finding
        off, size = (mine.double() - true).abs(), float(true.norm())
        floor = ROUNDING * self.own_eps * self.largest / self.measurement.scales[finding.name]
        relative = float(off.norm()) / size if size > 0 else 0.0
        if float(off.norm()) <= self._tolerance(self.own) * size + floor * math.sqrt(mine.numel()):
            return replace(finding, own=relative)
        i = int(off.flatten().nan_to_num(math.inf).argmax())
        return replace(
            finding,
            own=relative,
            ok=False,
            place=_at(i, finding.shape),
            computed=float(mine.flatten()[i]),
            measured=float(true.flatten()[i]),
            remark=f"right in float64, not in {self.own}",
        )


@dataclass(frozen=True)
class _Try:
    """One coordinate or direction: where, what autograd says, what is measured, its size, and its unit."""

    direction: bool
    where: str
    computed: float
    measured: Slope
    size: float
    unit: float


def _not_finite(name: str, shape: tuple[int, ...], gradient: Any) -> GradientFinding:
    bad = (~gradient.isfinite()).nonzero()
    first = tuple(bad[0].tolist())
    what = "NaN" if bool(gradient[first].isnan()) else "infinite"
    more = f" and not finite at {len(bad) - 1} more places" if len(bad) > 1 else ""
    return GradientFinding(
        name, shape, 0, 0, math.nan, math.nan, math.nan, False, "", math.nan, math.nan,
        remark=f"it is {what} at {first}{more}",
    )  # fmt: skip


def _unravel(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(i, shape)) if shape else ()


def _at(i: int, shape: tuple[int, ...]) -> str:
    return f"at {_unravel(i, shape)}"


def _factor(computed: Any, measured: Any, allowed: Any) -> str:
    """The one factor by which a gradient is wrong everywhere, if there is one."""
    square = float(measured @ measured)
    if len(computed) < 2 or square == 0:
        return ""
    factor = float(computed @ measured) / square
    everywhere = factor and bool((np.abs(computed - factor * measured) <= 10 * allowed).all())
    return f"it is {factor:.4g} times what it should be" if everywhere else ""
