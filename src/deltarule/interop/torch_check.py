"""Our numeric check for any PyTorch module or autograd.Function: autograd's backward pass against measurement.

The outputs are contracted with fixed random numbers v to one number f = <v, outputs>, so that a single backward
pass gives every gradient and each is held against the difference that nudging makes. The measurement runs in
float64, on copies, where the module allows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deltarule.errors import BadInput, is_count, is_number, require
from deltarule.interop.nudge import COARSE, FINE, Slope, slope
from deltarule.interop.subject import NotFinite, Subject, Tensors
from deltarule.network import Network
from deltarule.progress import Bar
from deltarule.records import Record, text_table

TOLERANCE = {"float64": 1e-6, "float32": 2e-4}
"""Relative; for a dtype that is not here, 16 of its roundings."""

ROUNDING = 200
"""The floor that the dtype sets: this many roundings of the largest gradient in the module."""

DIRECTIONS = 2
SHOWN = 10
SEED = 20260


@dataclass(frozen=True)
class GradientFinding(Record):
    """The gradient by one input or parameter.

    Attributes
    ----------
    name : str
        "input", "input[0]", or the parameter's name.
    shape : tuple of int
    coordinates, directions : int
        How many single numbers, and how many random directions through all of them, were measured.
    error : float
        |computed - measured| / |measured| over all that was measured.
    floor : float
        How far the measurement can be trusted, on the same scale. Above 0.1 it is too coarse to tell.
    own : float
        How far the gradient in the module's own dtype is from that in float64, relative; NaN where not compared.
    ok : bool
    place : str
        The worst place, with `computed` and `measured` there.
    kinks : tuple of tuples
        The coordinates, the first ten, that sit on a kink or at the edge of the domain, where no derivative exists.
        They are not judged. `kinked` counts all.
    fault : str
        What is wrong beyond the numbers: no gradient, NaN in it; or in what way it is wrong throughout.
    """

    schema = "deltarule.gradient_finding"

    name: str
    shape: tuple[int, ...]
    coordinates: int
    directions: int
    error: float
    floor: float
    own: float
    ok: bool
    place: str
    computed: float
    measured: float
    kinks: tuple[tuple[int, ...], ...] = ()
    kinked: int = 0
    fault: str = ""


@dataclass(frozen=True)
class BackwardCheck(Record):
    """What :func:`check_backward` found; `ok` if every finding is.

    Attributes
    ----------
    module : str
    findings : tuple of GradientFinding
    dtype, measured_in : str
        Of the module, and of the measurement.
    tolerance : float
    size, passes : int
        How many numbers there are to differentiate by, and how many forward passes it took.
    notes : tuple of str
        What one should know: drawn numbers, changes in place, what was left out.
    repeatable : bool
        Whether the same values give the same outputs and gradients. Nothing is judged where they do not.
    """

    schema = "deltarule.backward_check"

    module: str
    findings: tuple[GradientFinding, ...]
    dtype: str
    measured_in: str
    tolerance: float
    size: int
    passes: int
    notes: tuple[str, ...]
    repeatable: bool = True

    @property
    def ok(self) -> bool:
        """Whether every gradient agrees with the measurement."""
        return self.repeatable and all(finding.ok for finding in self.findings)

    @property
    def worst(self) -> GradientFinding:
        """The finding with the largest error; one that failed, where any did."""

        def badness(finding: GradientFinding) -> tuple[bool, float]:
            return not finding.ok, math.inf if math.isnan(finding.error) else finding.error

        return max(self.findings, key=badness)

    def __str__(self) -> str:
        rows = [_row(finding) for finding in self.findings]
        tried = sum(finding.coordinates for finding in self.findings)
        along = sum(finding.directions for finding in self.findings)
        head = (
            f"Check of {self.module}'s backward pass in {self.dtype}, measured in {self.measured_in}: {tried:,} of "
            f"{self.size:,} numbers one by one, {along} random directions, {self.passes:,} forward passes"
        )
        lines = [head]
        if rows:
            lines.append(text_table(["gradient by", "shape", "tried", "relative error", "floor", "verdict", ""], rows))
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, self._end()])

    __repr__ = __str__

    def _end(self) -> str:
        if not self.repeatable:
            return "NOT REPEATABLE: nothing can be measured."
        if self.ok:
            return f"The backward pass agrees with the measurement (tolerance {self.tolerance:g})."
        worst = self.worst
        fault = f"; {worst.fault}" if worst.fault else ""
        if not worst.place:
            return f"WRONG: the gradient by {worst.name}: {worst.fault}."
        return (
            f"WRONG: the gradient by {worst.name} {worst.place}: autograd gives {worst.computed:.6g}, "
            f"measured {worst.measured:.6g}{fault}."
        )


def _row(finding: GradientFinding) -> list[str]:
    tried = f"{finding.coordinates}" if finding.coordinates else ""
    if finding.directions:
        tried = f"{tried} + {finding.directions} directions" if tried else f"{finding.directions} directions"
    remark = finding.fault
    if finding.kinked:
        more = ", .." if finding.kinked > len(finding.kinks) else ""
        places = ", ".join(map(str, finding.kinks))
        remark = f"{finding.kinked} on a kink, not judged: {places}{more}" + (f"; {remark}" if remark else "")
    coarse = finding.ok and finding.floor > 0.1
    return [
        finding.name,
        str(finding.shape),
        tried,
        "" if math.isnan(finding.error) else f"{finding.error:.1e}",
        "" if math.isnan(finding.floor) else f"{finding.floor:.0e}",
        "too coarse to tell" if coarse else "ok" if finding.ok else "WRONG",
        remark,
    ]


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
    >>> report.ok, report.findings[0].fault
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
        self.torch = subject.torch
        self.rng = np.random.default_rng(seed)
        self.given_tolerance = tolerance
        self.notes: list[str] = []
        self.passes = 0
        self.v: list[Any] = []
        self.names = list(subject.values)
        self.sizes = {name: value.numel() for name, value in subject.values.items()}

    def run(self) -> BackwardCheck:
        """The passes under check, what they say of the module, and the measurement."""
        subject, torch = self.subject, self.torch
        own = str(subject.dtype).removeprefix("torch.")
        try:
            outputs, gradients = subject.backward(subject.values, self._weigh, SEED, double=False)
        except NotFinite:
            raise BadInput(f"{subject.name} gives a NaN or an infinity on this input; no derivative exists") from None
        self.v = self._weigh(outputs)
        again, gradients_again = subject.backward(subject.values, self._weigh, SEED, double=False)
        self.passes += 2
        eps = float(torch.finfo(subject.dtype).eps)
        if self._differ(outputs, again, eps) or self._differ(
            list(gradients.values()), list(gradients_again.values()), eps
        ):
            self.notes.append(
                "two passes over the same values differ, though each was given the same random numbers: the module "
                "keeps something from pass to pass, or draws from a generator of its own"
            )
            return self._result((), own, own, eps, repeatable=False)
        self._draws = self._notice_draws(outputs, eps)
        self._say_what_was_noticed()
        double, gradients_64 = self._in_double(outputs, own, eps)
        measured_in = "float64" if double else own
        self.tolerance = TOLERANCE.get(measured_in, 16 * eps) if self.given_tolerance is None else self.given_tolerance
        self.eps = 2.0**-52 if double else eps
        self.double = double
        self.values = subject.doubled() if double else subject.values
        judged = gradients_64 if double else gradients
        self.scales = {name: self._scale(value) for name, value in self.values.items()}
        self._measure_noise()
        largest = max(
            (float(one.abs().max()) * self.scales[name] for name, one in judged.items() if one is not None and one.numel()),
            default=0.0,
        )
        self.floor = ROUNDING * self.eps * largest if math.isfinite(largest) else 0.0
        compare = double and own != "float64" and not self._draws
        findings = []
        plan = self._plan()
        with Bar(sum(len(c) + d for c, d in plan.values()), self.progress) as self.bar:
            self.tried = 0
            for name in self.names:
                finding = self._tensor(name, judged[name], *plan[name])
                if compare:
                    finding = self._compare_own(finding, gradients[name], judged[name], own, eps, largest)
                findings.append(finding)
        return self._result(tuple(findings), own, measured_in, self.tolerance)

    def _result(
        self, findings: tuple[GradientFinding, ...], own: str, measured_in: str, tolerance: float, repeatable: bool = True
    ) -> BackwardCheck:
        size = sum(self.sizes.values())
        notes = tuple(self.notes)
        return BackwardCheck(
            self.subject.name, findings, own, measured_in, tolerance, size, self.passes, notes, repeatable
        )

    def _weigh(self, outputs: list[Any]) -> list[Any]:
        """v for these outputs: drawn once, in the module's own dtype, and the same numbers ever after."""
        torch = self.torch
        if not self.v:
            draw = [self.rng.standard_normal(tuple(one.shape)) for one in outputs]
            self.v = [torch.as_tensor(v).to(one) for v, one in zip(draw, outputs, strict=True)]
        return [v.to(one) for v, one in zip(self.v, outputs, strict=True)]

    def _differ(self, mine: list[Any], theirs: list[Any], eps: float) -> bool:
        """Whether two passes differ by more than the order in which a graphics card adds."""
        for one, other in zip(mine, theirs, strict=True):
            if (one is None) != (other is None):
                return True
            if one is None or one.numel() == 0:
                continue
            if one.shape != other.shape:
                return True
            size = float(one.abs().nan_to_num().max())
            if float((one - other).abs().nan_to_num().max()) > 1000 * eps * size:
                return True
        return False

    def _notice_draws(self, outputs: list[Any], eps: float) -> bool:
        other = self.subject.run(self.subject.values, SEED + 1, double=False)
        self.passes += 1
        return self._differ(outputs, [one.detach() for one in other], eps)

    def _say_what_was_noticed(self) -> None:
        subject = self.subject
        if self._draws:
            self.notes.append(
                "the module draws random numbers (dropout in training mode?); every pass was given the same draws. "
                "module.eval() turns dropout off"
            )
        for name in sorted(subject.changed_in_place):
            self.notes.append(f"{name} is changed in place by the forward pass")
        if subject.frozen:
            self.notes.append(f"{subject.frozen} parameters with requires_grad=False are left out")

    def _in_double(self, outputs: list[Any], own: str, eps: float) -> tuple[bool, Tensors]:
        """Whether the module runs in float64 and computes the same there; its gradients there."""
        if own == "float64":
            return True, self.subject.backward(self.subject.values, self._weigh, SEED, double=True)[1]
        try:
            found, gradients = self.subject.backward(self.subject.doubled(), self._weigh, SEED, double=True)
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            reason = str(error).strip().split("\n")[0]
            self.notes.append(f"measured in {own}, for the module does not run in float64 ({reason})")
            return False, {}
        self.passes += 1
        if any(one.dtype != self.torch.float64 for one in found):
            self.notes.append(f"measured in {own}, for the module gives {own} when it is given float64")
            return False, {}
        if not self._draws:
            for one, true in zip(outputs, found, strict=True):
                off, size = float((one.double() - true).norm()), float(true.norm())
                if off > 1e4 * eps * size:
                    self.notes.append(f"measured in {own}, for in float64 the module's output is {off / size:.0e} away")
                    return False, {}
        return True, gradients

    def _scale(self, value: Any) -> float:
        """The size of a nudge for a tensor: the root mean square of its values, 1 where all are 0."""
        size = float(value.double().square().mean().sqrt()) if value.numel() else 1.0
        return size if size > 0 and math.isfinite(size) else 1.0

    def _f(self, values: Tensors) -> float:
        """<v, outputs>, added up in float64; NaN where an output is not finite."""
        self.passes += 1
        try:
            outputs = self.subject.run(values, SEED, self.double)
        except NotFinite:
            return math.nan
        return sum(float((v.double() * one.detach().double()).sum()) for v, one in zip(self.v, outputs, strict=True))

    def _measure_noise(self) -> None:
        """f(0), and how far rounding moves it: seen by changing every value by about one rounding."""
        self.f_0 = self._f(self.values)
        generator = self.torch.Generator().manual_seed(SEED)
        moved = []
        for _ in range(4):
            near = {}
            for name, value in self.values.items():
                signs = self.torch.randint(-1, 2, tuple(value.shape), generator=generator).to(value)
                near[name] = value * (1 + 2 * self.eps * signs)
            moved.append(abs(self._f(near) - self.f_0))
        outputs = self.subject.run(self.values, SEED, self.double)
        size = sum(float((v.double() * one.double()).abs().sum()) for v, one in zip(self.v, outputs, strict=True))
        finite = [one for one in moved if math.isfinite(one)]
        self.noise = 4 * max([self.eps * size / math.sqrt(max(1, sum(v.numel() for v in self.v))), self.eps * abs(self.f_0), *finite])

    def _plan(self) -> dict[str, tuple[list[int], int]]:
        """For each tensor, how many coordinates and directions: all coordinates where they fit, else shares."""
        if sum(self.sizes.values()) <= self.tries:
            return {name: (list(range(size)), 0) for name, size in self.sizes.items()}
        left = max(0, self.tries - DIRECTIONS * len(self.names))
        plan: dict[str, tuple[list[int], int]] = {}
        for waiting, name in zip(range(len(self.names), 0, -1), sorted(self.names, key=self.sizes.__getitem__), strict=True):
            size = self.sizes[name]
            count = min(size, left // waiting)
            left -= count
            plan[name] = (list(range(count)), 0 if count == size else DIRECTIONS)
        return plan

    def _chosen(self, gradient: Any, count: int) -> list[int]:
        """Which coordinates: the half with the largest gradients, and others drawn at random."""
        size = gradient.numel()
        if count == size:
            return list(range(size))
        top = gradient.flatten().abs().nan_to_num().topk(count // 2).indices.tolist() if count > 1 else []
        drawn = self.rng.choice(size, size=min(size, 2 * count), replace=False) if size < 1e7 else self.rng.integers(0, size, 2 * count)
        rest = [int(i) for i in dict.fromkeys(drawn.tolist()) if i not in set(top)]
        return [*top, *rest[: count - len(top)]]

    def _tensor(self, name: str, gradient: Any, places: list[int], directions: int) -> GradientFinding:
        """Judge the gradient by one tensor."""
        torch, value = self.torch, self.values[name]
        shape, scale = tuple(value.shape), self.scales[name]
        fault = ""
        if gradient is None:
            fault, gradient = "autograd gives no gradient (None)", torch.zeros_like(value)
        elif not bool(gradient.isfinite().all()):
            bad = (~gradient.isfinite()).nonzero()
            first = tuple(bad[0].tolist())
            what = "NaN" if bool(gradient[first].isnan()) else "infinite"
            fault = f"it is {what} at {first}" + (f" and not finite at {len(bad) - 1} more places" if len(bad) > 1 else "")
            return GradientFinding(
                name, shape, 0, 0, math.nan, math.nan, math.nan, False, "", math.nan, math.nan, (), 0, fault
            )
        flat = gradient.flatten().double()
        found: list[tuple[str, float, Slope, float]] = []  # place, computed, measured, unit
        kinks = []
        chosen = self._chosen(gradient, len(places))
        for i in chosen:
            at = _unravel(i, shape)
            measured = self._along(name, [i], np.ones(1), float(flat[i]) * scale)
            if measured.kink or not math.isfinite(measured.spread):
                kinks.append(at)
            else:
                found.append((f"at {at}" if at else "", float(flat[i]) * scale, measured, scale))
        kinked = len(kinks)
        for d in range(directions):
            signs = self.rng.choice([-1.0, 1.0], size=value.numel())
            signs[[int(np.ravel_multi_index(at, shape)) for at in kinks if at]] = 0
            computed = float((flat * torch.as_tensor(signs).to(flat)).sum()) * scale
            measured = self._along(name, slice(None), signs, computed)
            norm = float(flat.norm()) * scale
            if measured.kink or not math.isfinite(measured.spread):
                kinked += 1
                continue
            if abs(computed - measured.value) > self._allowed(measured, norm):
                place = self._halve(name, flat, signs, scale)
                if place is not None:
                    found.append(place)
            found.append((f"along random direction {d}", computed, measured, 1.0))
        return self._judge(name, shape, found, kinks, kinked, len(chosen), directions, float(flat.norm()) * scale, fault)

    def _along(self, name: str, where: Any, signs: Any, computed: float) -> Slope:
        """f's slope as the tensor's values there go along the signs, in units of its scale."""
        torch, value, scale = self.torch, self.values[name], self.scales[name]
        direction = torch.as_tensor(signs).to(value)

        def f(h: float) -> float:
            moved = value.flatten().clone()
            moved[where] += h * scale * direction
            return self._f({**self.values, name: moved.view(value.shape)})

        self.tried += 1
        self.bar.show(self.tried, name)
        small = max(self.floor, 0.01 * self.tolerance * abs(computed))
        return slope(f, self.f_0, self.noise, FINE if self.double else COARSE, self.tolerance, small)

    def _allowed(self, measured: Slope, size: float) -> float:
        return self.tolerance * size + 10 * measured.spread + self.floor

    def _halve(self, name: str, flat: Any, signs: Any, scale: float) -> tuple[str, float, Slope, float] | None:
        """The coordinate that makes a direction wrong: the half that is more wrong, again and again."""
        there = np.flatnonzero(signs)
        while True:
            halves = np.array_split(there, 2) if len(there) > 1 else [there]
            worst = None
            for half in halves:
                index = self.torch.as_tensor(half, device=flat.device)
                computed = float((flat[index] * self.torch.as_tensor(signs[half]).to(flat)).sum()) * scale
                measured = self._along(name, index, signs[half], computed)
                off = abs(computed - measured.value)
                if math.isfinite(off) and (worst is None or off > worst[0]):
                    worst = (off, half, computed, measured)
            if worst is None:
                return None
            _, there, computed, measured = worst
            if len(there) == 1:
                i, sign = int(there[0]), float(signs[there[0]])
                if measured.kink or abs(computed - measured.value) <= self._allowed(measured, abs(measured.value)):
                    return None
                at = _unravel(i, tuple(self.values[name].shape))
                return (f"at {at}" if at else "", computed * sign, Slope(measured.value * sign, measured.spread, False), scale)

    def _judge(
        self,
        name: str,
        shape: tuple[int, ...],
        found: list[tuple[str, float, Slope, float]],
        kinks: list[tuple[int, ...]],
        kinked: int,
        coordinates: int,
        directions: int,
        norm: float,
        fault: str,
    ) -> GradientFinding:
        shown = tuple(kinks[:SHOWN])
        if not found:
            return GradientFinding(
                name, shape, coordinates, directions, math.nan, math.nan, math.nan, True, "", math.nan, math.nan,
                shown, kinked, fault,
            )  # fmt: skip
        computed = np.array([one[1] for one in found])
        measured = np.array([one[2].value for one in found])
        spread = np.array([one[2].spread for one in found])
        along = np.array([one[0].startswith("along") for one in found])
        size = np.where(along, np.maximum(norm, np.abs(measured)), np.abs(measured))
        allowed = self.tolerance * size + 10 * spread + self.floor
        off = np.abs(computed - measured)
        worst = int(np.argmax(off / (allowed + np.finfo(float).tiny)))
        ok = bool((off <= allowed).all())
        total = float(np.linalg.norm(measured)) or 1.0
        if not ok and not fault:
            fault = _throughout(computed, measured, allowed)
        if ok and fault:
            fault = "no gradient (None), and none measured"
        place, value, there, unit = found[worst]
        return GradientFinding(
            name, shape, coordinates, directions, float(np.linalg.norm(off)) / total,
            float(np.linalg.norm(10 * spread + self.floor)) / total, math.nan, ok, place, value / unit,
            there.value / unit, shown, kinked, fault,
        )  # fmt: skip

    def _compare_own(
        self, finding: GradientFinding, mine: Any, true: Any, own: str, eps: float, largest: float
    ) -> GradientFinding:
        """Hold the gradient in the module's own dtype against that in float64."""
        if mine is None or true is None or not finding.ok:
            return finding
        mine, scale = mine.double(), self.scales[finding.name]
        if mine.numel() == 0:
            return finding
        off = (mine - true).abs()
        limit = self.given_tolerance or TOLERANCE.get(own, 16 * eps)
        floor = ROUNDING * eps * largest / scale
        good = bool(off.norm() <= limit * true.norm() + floor * math.sqrt(mine.numel()))
        relative = float(off.norm() / true.norm()) if float(true.norm()) > 0 else 0.0
        changes: dict[str, Any] = {"own": relative}
        if not good:
            at = _unravel(int(off.nan_to_num(math.inf).argmax()), finding.shape)
            changes |= {
                "ok": False,
                "error": relative,
                "place": f"at {at}" if at else "",
                "computed": float(mine[at]),
                "measured": float(true[at]),
                "fault": f"right in float64, wrong in {own}",
            }
        return GradientFinding(**{**vars(finding), **changes})


def _unravel(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(i, shape)) if shape else ()


def _throughout(computed: Any, measured: Any, allowed: Any) -> str:
    """In what way a gradient is wrong everywhere: by one factor, or not at all."""
    square = float(measured @ measured)
    if len(computed) < 2 or square == 0:
        return ""
    factor = float(computed @ measured) / square
    if factor and bool((np.abs(computed - factor * measured) <= 10 * allowed).all()):
        return f"it is {factor:.4g} times what it should be"
    return ""
