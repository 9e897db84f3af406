"""BP2 explained with a network's own numbers: why blame returns by the transpose, and not by the inverse.

This room computes and measures; :mod:`deltarule.walk` puts the numbers into words.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import inputs
from deltarule.check import Measured
from deltarule.document import Document, Readable
from deltarule.errors import BadInput, require
from deltarule.flow import length
from deltarule.network import Network
from deltarule.records import Record
from deltarule.walk import STEP, walk

Array = npt.NDArray[Any]

NUDGES = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Nudge(Record):
    """z^l_k moved by h either way, and what the cost did.

    Attributes
    ----------
    h : float
    change : float
        C(z_k + h) - C(z_k - h), the rest of the network run again in float64.
    crosses : bool
        Whether a kink (of a ReLU, of |a - y|) lies between the two.
    """

    schema = "deltarule.nudge"

    h: float
    change: float
    crosses: bool

    @property
    def slope(self) -> float:
        """The change per unit of z: change / 2h."""
        return self.change / (2 * self.h)


@dataclass(frozen=True)
class Candidate(Record):
    """One formula for delta^l, held against the measured derivative.

    Attributes
    ----------
    name : "transpose", "inverse", "pseudo-inverse" or "untransposed"
    values : of n_l floats
    angle : float or None
        To the measured derivative, in degrees; None where one of the two is zero.
    error : float or None
        |values - measured| / |measured|.
    change : float
        Of the cost, when z^l goes a step of length 0.01 against `values`.
    """

    schema = "deltarule.candidate"

    name: str
    values: tuple[float, ...]
    angle: float | None
    error: float | None
    change: float


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Readable, Record):
    """The walk through one layer's backward step for one sample; print it, or set it elsewhere.

    `str`, `to_markdown()`, `to_latex()` and the notebook all show the same text.

    Attributes
    ----------
    network : str
    layer, last, sample, neuron : int
        l, L, the row of x, and k.
    activation, output, cost_name : str
    cost : float
        C of this sample.
    z, a, slope, moved, delta : (n_l,)
        As in :class:`deltarule.Trace`.
    weights, delta_next : (n_{l+1},)
        Column k of W^{l+1}, the wires that leave neuron k, and delta^{l+1}. Empty at the output.
    shape : (n_{l+1}, n_l), or ()
    y : (n_L,)
    classes : of str
        The words for the outputs, where the network knows some.
    peak : float or None
        The steepest slope of an activation that saturates.
    measured, spread : (n_l,)
        dC/dz^l by nudging, in float64, and how far it can be trusted.
    kinked : (n_l,) of bool
        Where a kink is too close to measure.
    nudges : of Nudge
    candidates : of Candidate
        The transpose first. None at the output.
    returned : (n_{l+1},)
        W^{l+1} times the inverse's answer: the change of z^{l+1} that it produces.
    """

    schema = "deltarule.explanation"

    network: str
    layer: int
    last: int
    sample: int
    neuron: int
    activation: str
    output: str
    cost_name: str
    cost: float
    z: Array
    a: Array
    slope: Array
    moved: Array
    delta: Array
    weights: Array
    delta_next: Array
    shape: tuple[int, ...]
    y: Array
    classes: tuple[str, ...]
    peak: float | None
    kink: bool
    measured: Array
    spread: Array
    kinked: Array
    nudges: tuple[Nudge, ...]
    candidates: tuple[Candidate, ...]
    returned: Array

    def document(self) -> Document:
        """The walk in words."""
        return walk(self)


def explain(
    net: Network, x: Any, y: Any, layer: int | None = None, sample: int = 0, neuron: int | None = None
) -> Explanation:
    """Walk through delta^l_k = (sum_j w_jk delta^{l+1}_j) sigma'(z^l_k) with this network's numbers.

    Who sent what over which weight; why the blame returns over the same wires; z^l_k nudged and the cost
    measured beside delta^l_k; and what the inverse would give, and to which question. At the output layer
    the walk is through BP1.

    Parameters
    ----------
    net : Network
    x : (N, n_0);  y : (N, n_L) values or (N,) labels
    layer : int, optional
        l, from 1 to L; the last hidden layer if not given (the output where there is none).
    sample : int
        The row of x, from 0.
    neuron : int, optional
        k, from 0; the one with the largest |delta^l_k| if not given.

    Returns
    -------
    Explanation
        Prints itself; `to_markdown()`, `to_latex()`, `to_dict()`.

    Raises
    ------
    NoSuchLayer
        For a layer outside 1..L.
    BadInput
        For a sample or a neuron that is not there, for data as in `backprop`, and where delta is not finite.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([3, 4, 4, 2], activation="tanh", dtype="float64", seed=0)
    >>> found = dr.explain(net, np.eye(3), [0, 1, 1], layer=1)
    >>> [candidate.name for candidate in found.candidates]
    ['transpose', 'inverse', 'untransposed']
    >>> bool(np.allclose(found.delta, found.measured))
    True
    """
    rows = inputs.samples(net, x)
    values = inputs.coded(inputs.targets(net, y, len(rows)), net)
    l = max(1, net.L - 1) if layer is None else layer
    sigma = net.activations[l]
    require("sample", sample, _is_place(sample, len(rows)), f"a row of x, an integer from 0 to {len(rows) - 1}")
    n = net.sizes[l]
    good = neuron is None or _is_place(neuron, n)
    require("neuron", neuron, good, f"an integer from 0 to {n - 1}, for layer {l} has {n} neurons")
    row, target = rows[sample : sample + 1], values[sample : sample + 1]
    trace = net.backprop(row, target)
    if not (np.isfinite(trace.delta[l]).all() and np.isfinite(trace.cost).all()):
        raise BadInput(
            f"delta at layer {l} is not finite for sample {sample}; scale x to about one, or the weights down"
        )
    delta = trace.delta[l][0]
    k = int(np.abs(delta).argmax()) if neuron is None else int(neuron)

    measured = Measured(net, row, target)
    true, spread, kinked = (part[0] for part in measured.delta(l))
    true, spread = np.where(kinked, delta, true), np.where(kinked, 0.0, spread)
    hidden = l < net.L
    candidates, returned = _candidates(measured, l, trace, true) if hidden else ((), np.empty(0))
    named = net.classes is not None and net.classes.dtype.kind in "US" and len(net.classes) == net.sizes[-1]
    return Explanation(
        network=repr(net),
        layer=int(l),
        last=net.L,
        sample=int(sample),
        neuron=k,
        activation=sigma.name,
        output=net.output.name,
        cost_name=net.cost.name,
        cost=float(measured.cost_from(l, measured.z[l])[0][0]),
        z=trace.z[l][0],
        a=trace.a[l][0],
        slope=trace.slope[l][0],
        moved=trace.moved[l][0],
        delta=delta,
        weights=net.W[l + 1][:, k].copy() if hidden else np.empty(0, net.dtype),
        delta_next=trace.delta[l + 1][0] if hidden else np.empty(0, net.dtype),
        shape=net.W[l + 1].shape if hidden else (),
        y=target[0],
        classes=tuple(map(str, net.classes)) if named else (),  # type: ignore[arg-type]
        peak=sigma.peak,
        kink=sigma.kink,
        measured=true,
        spread=spread,
        kinked=kinked,
        nudges=tuple(_nudged(measured, l, k, h) for h in NUDGES),
        candidates=candidates,
        returned=returned,
    )


def _is_place(value: object, n: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= value < n  # type: ignore[operator]


def _nudged(measured: Measured, l: int, k: int, h: float) -> Nudge:
    """z^l_k really moved by h up and down, and the rest of the network run again."""
    dz = np.zeros_like(measured.z[l])
    dz[0, k] = h
    (up, side_up), (down, side_down) = (measured.cost_from(l, measured.z[l] + one) for one in (dz, -dz))
    return Nudge(h, float(up[0] - down[0]), bool((side_up != side_down).any()))


def _candidates(measured: Measured, l: int, trace: Any, true: Array) -> tuple[tuple[Candidate, ...], Array]:
    """Each formula for delta^l, and what the inverse's answer does to z^{l+1}."""
    W = measured.W[l + 1]
    ahead, slope = trace.delta[l + 1][0].astype(np.float64), trace.slope[l][0].astype(np.float64)
    square = W.shape[0] == W.shape[1]
    # The least change of a^l that comes nearest to the wanted change of z^{l+1}: the pseudo-inverse's answer,
    # and the inverse's where there is one.
    answer, _, rank, _ = np.linalg.lstsq(W, ahead, rcond=None)
    inverse = "inverse" if square and rank == len(W) else "pseudo-inverse"
    found = [("transpose", trace.delta[l][0].astype(np.float64)), (inverse, answer * slope)]
    if square:
        found.append(("untransposed", (W @ ahead) * slope))
    size = length(true[None])
    cost = measured.cost_from(l, measured.z[l])[0][0]
    candidates = []
    for name, values in found:
        long = length(values[None])
        angle, change = None, 0.0
        if long > 0:
            unit = values / long
            change = float(measured.cost_from(l, measured.z[l] - STEP * unit)[0][0] - cost)
            angle = _angle(unit, true / size) if size > 0 else None
        error = length((values - true)[None]) / size if size > 0 else None
        candidates.append(Candidate(name, tuple(map(float, values)), angle, error, change))
    return tuple(candidates), W @ answer


def _angle(one: Array, other: Array) -> float:
    """Between two unit vectors, in degrees; by the half-angle, which is right for small angles too."""
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(one - other), np.linalg.norm(one + other))))
