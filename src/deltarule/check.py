"""The numeric proof of a backward pass: every delta against what the cost does when z is nudged.

The pass under proof runs in the network's own dtype. The measurement is central differences of the forward
pass in float64, at a ladder of step sizes, extrapolated to zero (Richardson); the spread of the ladder says
how far it can be trusted, and that is the floor under each error. A step that carries a ReLU, or |a - y|,
across its kink is not used; a neuron whose smallest step still crosses one is named and not judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import inputs, reference
from deltarule.errors import BadInput
from deltarule.network import Network
from deltarule.records import Record, text_table
from deltarule.trace import Trace

Array = npt.NDArray[Any]

LARGEST_STEP = 0.2
SHRINK = 2.5
LEVELS = 9
TOLERANCE = {"float64": 1e-6, "float32": 2e-4}
ROUNDING = 200
"""The floor that the dtype sets: this many roundings of the largest value in the layer."""

VALUES_AT_ONCE = 4_000_000
DIRECTIONS = 6
LARGE = 50_000
"""Above this many weights a layer's gradient is measured along random directions instead of weight by weight."""


@dataclass(frozen=True)
class Finding(Record):
    """One equation at one layer.

    Attributes
    ----------
    equation : str
        "BP1".."BP4", "slope" (sigma' itself) or "adjoint" (<W v, d> = <v, W^T d>).
    layer : int
    error : float
        The relative error over the layer, |computed - measured| / |measured|.
    floor : float
        How far the measurement and the dtype can be trusted, on the same scale.
    ok : bool
        Whether every neuron, each by its own size, is within tolerance and floor.
    place : str
        The worst place in it, with `computed` and `measured` there.
    kinks : int
        How many values could not be measured because a kink is closer than the smallest step.
    """

    schema = "deltarule.finding"

    equation: str
    layer: int
    error: float
    floor: float
    ok: bool
    place: str
    computed: float
    measured: float
    kinks: int = 0


@dataclass(frozen=True)
class CheckReport(Record):
    """What :func:`check` found; `ok` if every finding is."""

    schema = "deltarule.check"

    findings: tuple[Finding, ...]
    samples: int
    dtype: str
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the backward pass agrees with the measurement everywhere."""
        return all(finding.ok for finding in self.findings)

    @property
    def worst(self) -> Finding:
        """The finding with the largest error; one that failed, where any did."""
        return max(self.findings, key=lambda finding: (not finding.ok, finding.error))

    def __str__(self) -> str:
        rows = [
            [
                finding.equation,
                finding.layer,
                f"{finding.error:.1e}",
                f"{finding.floor:.0e}",
                "ok" if finding.ok else "WRONG",
                f"{finding.kinks} at a kink" if finding.kinks else "",
            ]
            for finding in self.findings
        ]
        table = text_table(["equation", "layer", "relative error", "floor", "verdict", ""], rows)
        worst = self.worst
        end = (
            f"The backward pass agrees with the measurement (tolerance {self.tolerance:g} for {self.dtype})."
            if self.ok
            else f"WRONG: {worst.equation} at layer {worst.layer}, {worst.place}: "
            f"computed {worst.computed:.6g}, measured {worst.measured:.6g}."
        )
        return f"Check of {self.samples} samples, measured in float64\n{table}\n{end}"

    __repr__ = __str__


class Measured:
    """The network's forward pass in float64, from any layer on, and its derivatives by nudging."""

    def __init__(self, net: Network, x: Array, y: Array) -> None:
        none = np.empty(0)
        self.net = net
        self.W = [none, *(W.astype(np.float64) for W in net.W)]
        self.b = [none, *(b.astype(np.float64) for b in net.b)]
        self.sigma = [net.output, *net.activations]  # entry 0 is not used
        self.y = y.astype(np.float64)
        self.z, self.a = reference.forward(self.W, self.b, self.sigma, x.astype(np.float64))
        # ln sum e^z less z_y: where little is left of it, what is lost goes by the z that cancel.
        cancels = net.output.name == "softmax" and net.cost.name == "log_likelihood"
        self.lost = np.abs(self.z[net.L]).max(axis=1) if cancels else np.zeros(len(x))

    def cost_from(self, l: int, z: Array) -> tuple[Array, Array]:
        """C of each row given z^l, and on which side of every kink it was computed."""
        sides = []
        while True:
            if self.sigma[l].kink:
                sides.append(z > 0)
            a = self.sigma[l].sigma(z)
            if l == self.net.L:
                break
            l += 1
            rows = a.reshape(-1, a.shape[-1])  # one product for all nudges, not one for each
            z = reference.weighted_input(self.W[l], rows, self.b[l]).reshape(*a.shape[:-1], -1)
        if self.net.cost.name == "absolute":
            sides.append(a > self.y)
        cost = reference.cost_value(self.net.output, self.net.cost, z, a, self.y)
        return cost, np.concatenate(sides, axis=-1) if sides else np.empty((*cost.shape, 0), bool)

    def delta(self, l: int) -> tuple[Array, Array, Array]:
        """dC/dz^l of every sample and neuron, its uncertainty, and where a kink is too close."""
        N, n = self.z[l].shape
        widest = max(self.net.sizes[l:])
        at_once = max(1, VALUES_AT_ONCE // (N * widest))
        parts = []
        for start in range(0, n, at_once):
            nudge = np.eye(n)[start : start + at_once, None, :]  # one neuron each

            def at(h: float, nudge: Array = nudge) -> tuple[Array, Array]:
                return self.cost_from(l, self.z[l] + h * nudge)

            parts.append(derivative(at, self.lost))
        return tuple(np.concatenate(part).T for part in zip(*parts, strict=True))  # type: ignore[return-value]

    def along(self, l: int, dz: Array) -> tuple[Array, Array, Array]:
        """The mean cost's derivative as z^l goes along each dz: (D, N, n_l)."""

        def at(h: float) -> tuple[Array, Array]:
            cost, sides = self.cost_from(l, self.z[l] + h * dz)
            return cost.mean(axis=1), sides.reshape(len(sides), -1)

        return derivative(at, self.lost.mean())


def derivative(at: Callable[[float], tuple[Array, Array]], lost: Any = 0.0) -> tuple[Array, Array, Array]:
    """f'(0) by central differences at shrinking steps, extrapolated to a step of zero.

    `at(h)` gives f and the sides of all kinks; `lost` is the size of what cancels within f. Returns the derivative,
    its uncertainty, and where even the smallest steps cross a kink. Richardson's table
    T[i][m] = (c^m T[i][m-1] - T[i-1][m-1]) / (c^m - 1) with c = SHRINK^2 removes the error's even powers of h one
    after another; the entry whose neighbours agree best is taken (Ridders 1982).
    """
    before: list[tuple[Array, Array]] = []
    for level in range(LEVELS):
        h = LARGEST_STEP / SHRINK**level
        (up, side_up), (down, side_down) = at(h), at(-h)
        row = [((up - down) / (2 * h), (side_up == side_down).all(axis=-1))]  # value, and no kink crossed
        if level == 0:
            best, spread = row[0][0], np.full(up.shape, np.inf)
        noise = 4 * np.finfo(np.float64).eps * (np.abs(up) + np.abs(down) + lost) / h
        for m, (larger, larger_clear) in enumerate(before, 1):
            smaller, clear = row[-1]
            c = SHRINK ** (2 * m)
            value, clear = (c * smaller - larger) / (c - 1), clear & larger_clear
            error = np.maximum(np.abs(value - smaller), np.abs(value - larger)) + noise
            better = clear & (error < spread)
            best, spread = np.where(better, value, best), np.where(better, error, spread)
            row.append((value, clear))
        before = row
    return best, spread, ~np.isfinite(spread)


def check(
    net: Network, x: Any, y: Any, *, weights: str = "auto", tolerance: float | None = None, seed: int = 0
) -> CheckReport:
    """Prove the network's backward pass on these samples against measurement.

    delta^l_k = dC/dz^l_k is compared, for every neuron of every layer and every sample, with the central
    difference of C when z^l_k is nudged; the gradients with those of the mean cost; sigma' with that of sigma;
    and each layer's transpose by the adjoint identity <W v, d> = <v, W^T d>. Each equation is judged by itself.

    Parameters
    ----------
    net : Network
    x : (N, n_0);  y : (N, n_L) values or (N,) labels
        A few samples are enough. The work grows with N times the number of neurons.
    weights : "auto", "all" or "directions"
        Measure dC/dW weight by weight or along random directions; "auto" takes directions for layers of more
        than 50 000 weights.
    tolerance : float, optional
        Relative; 1e-6 for float64 and 2e-4 for float32.
    seed : int
        Of the random directions.

    Returns
    -------
    CheckReport
        `.ok`, `.worst`, `.findings`; prints itself.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([3, 4, 2], activation="tanh", dtype="float64", seed=0)
    >>> dr.check(net, np.eye(3), [0, 1, 1]).ok
    True
    """
    if weights not in ("auto", "all", "directions"):
        raise BadInput(f"weights is {weights!r}; expected 'auto', 'all' or 'directions'")
    rows = inputs.samples(net, x)
    values = inputs.coded(inputs.targets(net, y, len(rows)), net)
    return judge(net, net.backprop(rows, values), rows, values, weights, tolerance, seed)


def judge(
    net: Network, trace: Trace, x: Array, y: Array, weights: str, tolerance: float | None, seed: int
) -> CheckReport:
    """Hold a trace against measurement; :func:`check` does it with the network's own."""
    limit = TOLERANCE[str(net.dtype)] if tolerance is None else tolerance
    measured = Measured(net, x, y)
    rng = np.random.default_rng(seed)
    eps = float(np.finfo(net.dtype).eps)
    rounded = _rounded(net, trace, y, eps)
    findings = []

    def find(equation: str, l: int, computed: Array, true: Array, spread: Array, kinked: Array, place: str) -> None:
        findings.append(_finding(equation, l, computed, true, spread, kinked, place, limit, eps))

    for l in range(net.L, 0, -1):
        true, spread, kinked = measured.delta(l)
        spread = spread + rounded[l]
        in_W = rounded[l].T @ np.abs(trace.a[l - 1]) / len(x)
        find("BP1" if l == net.L else "BP2", l, trace.delta[l], true, spread, kinked, "sample {0}, neuron {1}")
        if net.activations[l].name != "softmax":
            find("slope", l, trace.slope[l], *_slope(measured, l), "sample {0}, neuron {1}")
        findings.append(_adjoint(net, trace, l, rng, limit, eps))
        any_kink = np.asarray(kinked.any(axis=0))
        find("BP3", l, trace.grad_b[l], true.mean(axis=0), spread.mean(axis=0), any_kink, "neuron {0}")
        many = net.W[l].size > LARGE if weights == "auto" else weights == "directions"
        if many:
            V = rng.standard_normal((DIRECTIONS, *net.W[l].shape))
            V /= np.linalg.norm(V, axis=(1, 2), keepdims=True)
            along = np.einsum("dij,ij->d", V, trace.grad_W[l].astype(np.float64))
            dz = np.einsum("dij,nj->dni", V, measured.a[l - 1])
            slope, spread, kinked = measured.along(l, dz)
            find("BP4", l, along, slope, spread + np.linalg.norm(in_W), kinked, "random direction {0}")
        else:
            slope, spread, kinked = _every_weight(measured, l)
            find("BP4", l, trace.grad_W[l], slope, spread + in_W, kinked, "from neuron {1} to neuron {0}")
    return CheckReport(tuple(findings), len(x), str(net.dtype), limit)


def _rounded(net: Network, trace: Trace, y: Array, eps: float) -> dict[int, Array]:
    """How far rounding alone may take each delta^l off: of a - y few digits are left once a has come close to y.

    The error of a - y, eps (|a| + |y|), goes down through the layers as the error itself does, all signs taken alike.
    """
    L = net.L
    top = eps * (np.abs(trace.a[L].astype(np.float64)) + np.abs(y))
    if net.cost.name in ("quadratic", "huber") and net.output.name != "softmax":
        top *= np.abs(trace.slope[L])
    found = {L: top}
    for l in range(L - 1, 0, -1):
        found[l] = found[l + 1] @ np.abs(net.W[l + 1].astype(np.float64)) * np.abs(trace.slope[l])
    return found


def _slope(measured: Measured, l: int) -> tuple[Array, Array, Array]:
    """sigma'(z^l) by nudging sigma itself."""
    z, sigma = measured.z[l], measured.sigma[l]

    def at(h: float) -> tuple[Array, Array]:
        side = (z + h > 0)[..., None] if sigma.kink else np.empty((*z.shape, 0), bool)
        return sigma.sigma(z + h), side

    return derivative(at)


def _every_weight(measured: Measured, l: int) -> tuple[Array, Array, Array]:
    """dC/dW^l, the mean over the samples, by nudging each weight: w_jk moves z_j by a_k."""
    a, (n_out, n_in) = measured.a[l - 1], measured.W[l].shape
    at_once = max(1, VALUES_AT_ONCE // (len(a) * max(measured.net.sizes[l:])))
    parts = []
    for start in range(0, n_out * n_in, at_once):
        j, k = np.divmod(np.arange(start, min(start + at_once, n_out * n_in)), n_in)
        dz = np.zeros((len(j), len(a), n_out))
        dz[np.arange(len(j)), :, j] = a[:, k].T
        parts.append(measured.along(l, dz))
    return tuple(np.concatenate(part).reshape(n_out, n_in) for part in zip(*parts, strict=True))  # type: ignore[return-value]


def _adjoint(net: Network, trace: Trace, l: int, rng: np.random.Generator, limit: float, eps: float) -> Finding:
    """<W v, delta> = <v, moved> for a random v of each sample: is what moved back the transpose's work?"""
    W, d = net.W[l].astype(np.float64), trace.delta[l].astype(np.float64)
    v = rng.standard_normal((len(d), W.shape[1]))
    left = ((v @ W.T) * d).sum(axis=1)
    right = (v * trace.moved[l - 1]).sum(axis=1)
    size = np.linalg.norm(v, axis=1) * np.linalg.norm(np.abs(d) @ np.abs(W), axis=1)
    return _finding("adjoint", l, right, left, eps * size, np.zeros(len(d), bool), "sample {0}", limit, eps)


def _finding(
    equation: str,
    l: int,
    computed: Array,
    true: Array,
    spread: Array,
    kinked: Array,
    place: str,
    limit: float,
    eps: float,
) -> Finding:
    """Judge computed against measured values: neuron by neuron, each by its own size over the samples."""
    computed = np.where(kinked, 0.0, computed.astype(np.float64))
    true, spread = np.where(kinked, 0.0, true), np.where(kinked, 0.0, spread)
    off = np.abs(computed - true)
    rounding = ROUNDING * eps * np.abs(true).max(initial=0.0)
    by_neuron = off.ndim == 2 and equation != "BP4"

    def size(values: Array) -> Array:
        return np.asarray(np.sqrt((values**2).sum(axis=0)) if by_neuron else np.abs(values))

    count = np.sqrt(len(off)) if by_neuron else 1.0
    allowed = limit * size(true) + 10 * size(spread) + rounding * count
    good = bool((size(off) <= allowed).all())
    excess = off / (np.broadcast_to(allowed, off.shape) + np.finfo(float).tiny)
    where = np.unravel_index(int(excess.argmax()), off.shape)
    total = float(np.linalg.norm(true))
    scale = total if total > 0 else 1.0
    return Finding(
        equation,
        l,
        float(np.linalg.norm(off)) / scale,
        float(np.linalg.norm(spread) + rounding) / scale,
        good,
        place.format(*(int(i) for i in where)),
        float(computed[where]),
        float(true[where]),
        int(kinked.sum()),
    )
