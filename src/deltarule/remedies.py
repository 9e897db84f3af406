"""What mends a flow: another scale for a layer's parameters, another activation, or other biases.

A change is worked out from the values of the trace. With W^l and b^l times c, layer l's own two moves become

    |moved^l * sigma'(c z^l)| / |moved^l|    and    c |moved^{l-1}| / |delta^l|

and their product, the layer's gain, is predicted before anything is changed. The layers are walked from the
input up, for what leaves a changed layer is larger or smaller by a factor r, and so is then the z above it.
Where biases drown the signal, the mean of z over the samples is kept and only its deviation from it is scaled;
that grows by what the deviations below do, s. `Remedy.apply` makes the changes in a copy of the network, whose
flow shows how it came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule.activations import ACTIVATIONS, Activation
from deltarule.errors import BadInput
from deltarule.records import Record
from deltarule.verdicts import EXPLODING, SATURATED, Fault, faulty_layers, number, own_moves, total_gain

if TYPE_CHECKING:
    from deltarule.flow import Move
    from deltarule.network import Network
    from deltarule.trace import Trace

Array = npt.NDArray[Any]

HEALTHY = (0.5, 2.0)
"""The gain of a layer that is left as it is where others are further off."""

GOOD = 1.6
"""A change must promise a gain within this factor of 1, or another activation is tried."""

AT_EASE = 5.0
"""What the layers that are left alone, and what those that are changed, may each multiply the error by, or divide."""

SPARED = 0.25
"""As many of a layer's units may be flat, or its neurons dead, after a change: fewer than make a fault."""

SCALES = 10.0 ** (np.arange(-32, 33) / 8)
"""The factors c that are tried, from 1e-4 to 1e4."""

RELUCTANCE = 0.2
"""What a factor e in the scale costs beside a factor e in the gain: of two scales that do, the nearer to 1."""

INSTEAD = ("tanh", "relu")
"""The activations that are tried where no scale of the present one helps."""

LOPSIDED = 2.0
"""A layer whose mean z is so many times what z varies by from sample to sample. To scale it up would drown the
signal, so its mean z is kept where it is."""

VALUES = 100_000
"""As many values of z^l as the search looks at; a larger trace is thinned out to every k-th sample."""


@dataclass(frozen=True)
class Change(Record):
    """What to do to one layer, and what its gain then is.

    Attributes
    ----------
    layer : int
        l, whose W^l and b^l are meant.
    step : "activation", "weights" or "both"
        Of which of the layer's own moves, * sigma'(z^l) and then (W^l)^T, the gain is counted: both where both
        lie between delta^L and delta^1; at layer L its weights, at layer 1 its activation. Compare it with
        ``flow.gain(layer, step)``.
    scale : float
        The factor on W^l and b^l.
    activation : str or None
        The activation to take; None leaves it.
    shift : tuple of float
        Added to b^l, after the scale, neuron by neuron; empty for none.
    gain, predicted : float or None
        The layer's gain as it is, and as it will be; None where no error arrives to tell.
    """

    schema = "deltarule.change"

    layer: int
    step: str
    scale: float
    activation: str | None
    shift: tuple[float, ...]
    gain: float | None
    predicted: float | None

    @property
    def idle(self) -> bool:
        """Whether it leaves the layer as it is."""
        return self.scale == 1 and self.activation is None and not any(self.shift)

    def __str__(self) -> str:
        what = [f"take {self.activation}"] if self.activation else []
        if self.shift and self.scale != 1:
            what.append(f"W times {self.scale:.3g}, and b so that each mean z stays")
        elif not math.isclose(self.scale, 1.0):
            what.append(f"W and b times {self.scale:.3g}")
        if self.shift and self.scale == 1:
            moved = sum(1 for part in self.shift if part)
            what.append(f"move {moved} of {len(self.shift)} biases so that their z is centred at 0")
        now, then = ("unknown" if gain is None else number(gain) for gain in (self.gain, self.predicted))
        return f"layer {self.layer}: {', '.join(what)}; gain {now} -> {then}"

    __repr__ = __str__


@dataclass(frozen=True)
class Remedy(Record):
    """The changes that mend a fault.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([8, 8, 8, 8, 8], "relu", "identity", init="orthogonal", seed=0, dtype="float64")
    >>> for W in net.W:
    ...     W *= 0.1
    >>> x, y = np.eye(8), np.ones((8, 8))
    >>> flow = net.backprop(x, y).flow()
    >>> flow.verdict
    'vanishing'
    >>> mended = flow.remedy.apply(net).backprop(x, y).flow()
    >>> mended.verdict
    'healthy'
    """

    schema = "deltarule.remedy"

    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self.changes)

    __repr__ = __str__

    def apply(self, net: Network) -> Network:
        """A changed copy of the network; the network itself stays as it is.

        Raises BadInput where the network does not have the layers that the remedy is for.
        """
        names = list(net.activations)
        for change in self.changes:
            n = net.sizes[change.layer] if 1 <= change.layer <= net.L else 0
            if not n or len(change.shift) not in (0, n):
                raise BadInput(
                    f"the remedy is for layer {change.layer}"
                    f"{f' of {len(change.shift)} neurons' if change.shift else ''}; "
                    f"the network's sizes are {net.sizes}. Apply it to the network whose flow it is for"
                )
            if change.activation is not None:
                names[change.layer - 1] = change.activation
        changed = net.copy(names[:-1])
        for change in self.changes:
            changed.W[change.layer] *= change.scale
            changed.b[change.layer] *= change.scale
            if change.shift:
                changed.b[change.layer] += np.array(change.shift, net.dtype)
        return changed


def with_remedies(
    trace: Trace, rows: Sequence[Move], found: Sequence[Fault], judge_output: bool
) -> tuple[Fault, ...]:
    """The faults with their remedies. Each layer is changed by one of them, so that all can be applied in turn."""
    owner = _owners(rows, list(trace.activations), found, judge_output)
    given_up: set[str] = set()
    changes = _walk(trace, rows, owner, given_up)
    while left := {trace.activations[l] for l, change in changes.items() if change.activation} - given_up:
        given_up |= left
        changes = _walk(trace, rows, owner, given_up)
    mended = []
    for fault in found:
        own = tuple(change for l, change in changes.items() if owner[l] is fault and not change.idle)
        mended.append(replace(fault, remedy=Remedy(own) if own else None))
    return tuple(mended)


def _walk(trace: Trace, rows: Sequence[Move], owner: dict[int, Fault], given_up: set[str]) -> dict[int, Change]:
    """The change of each layer that has an owner, from the input up.

    An activation that has to be given up in one of these layers is given up in all of them.
    """
    changes: dict[int, Change] = {}
    r = s = 1.0
    with np.errstate(all="ignore"):  # a scale that overflows is tried, and loses
        for l in range(1, trace.L + 1) if owner else ():
            layer = _Layer(trace, rows, l, r, s)
            if l in owner:
                # Many layers must each come nearer to 1 than few.
                good = min(GOOD, AT_EASE ** (1 / len(owner)))
                changes[l] = layer.best(owner[l].word, good, trace.activations[l] in given_up)
            r, s = layer.growth(changes.get(l))
    return changes


def _owners(
    rows: Sequence[Move], activations: Sequence[str], found: Sequence[Fault], judge_output: bool
) -> dict[int, Fault]:
    """Which layers to change, each with the fault that asks for it: what is dead or saturated first."""
    owner: dict[int, Fault] = {}
    for word in ("dead", "saturated"):
        for fault in found:
            if fault.word == word:
                for l in faulty_layers(rows, activations, word, judge_output):
                    owner.setdefault(l, fault)
    total = total_gain(rows)
    for fault in found:
        if fault.word in ("vanishing", "exploding") and math.isfinite(total):
            way = -1 if total < EXPLODING else 1
            gains = {l: layer_gain(rows, l) for l in range(1, len(activations) + 1)}
            off = [l for l, gain in gains.items() if gain > 0 and way * gain > way * HEALTHY[way > 0]]
            left = math.prod(gain for l, gain in gains.items() if l not in (*off, *owner) and gain > 0)
            if left**way > AT_EASE:  # each of the rest is within bounds, but all of them together are not
                off = [l for l, gain in gains.items() if gain > 0 and way * gain > way]
            for l in off:
                owner.setdefault(l, fault)
    return owner


def counted(l: int, L: int) -> str:
    """Which of layer l's own moves lie between delta^L and delta^1."""
    return "weights" if l == L else "activation" if l == 1 else "both"


def layer_gain(rows: Sequence[Move], l: int, step: str | None = None) -> float:
    """The gain of layer l's own moves; NaN where the flow does not have them, or no error reaches them."""
    step = step or counted(l, rows[0].layer)
    sigma, weights = own_moves(rows, l)
    wanted = [sigma] if step == "activation" else [weights] if step == "weights" else [sigma, weights]
    return math.prod(math.nan if move is None else move.gain for move in wanted)


class _Layer:
    """One layer as the trace shows it, with what a change below does to it."""

    def __init__(self, trace: Trace, rows: Sequence[Move], l: int, r: float, s: float) -> None:
        every = max(1, trace.z[l].size // VALUES)
        self.l, self.L, self.rows = l, trace.L, rows
        self.name: str = trace.activations[l]
        self.z: Array = trace.z[l][::every].astype(np.float64)
        self.a: Array = trace.a[l][::every].astype(np.float64)
        self.moved: Array = trace.moved[l][::every].astype(np.float64)
        self.slope: Array = trace.slope[l][::every].astype(np.float64)
        self.r, self.s = r, s
        self.mean = self.z.mean(axis=0)
        spread = np.linalg.norm(self.z - self.mean)
        self.lopsided = bool(0 < LOPSIDED * spread < np.linalg.norm(self.mean) * math.sqrt(len(self.z)))

    def scaled(self, c: float) -> Array:
        """z^l after W^l is taken times c, and b^l too unless the layer is lopsided and c above 1."""
        if not self.lopsided:
            return np.asarray(c * self.r * self.z)
        mean = self.mean if c > 1 else c * self.r * self.mean
        return np.asarray(c * self.s * (self.z - self.mean) + mean)

    def best(self, word: str, good: float, give_up: bool) -> Change:
        """The change that brings the layer's gain within a factor `good` of 1, or as near to 1 as it will come."""
        step = (
            "activation" if word == "dead" or (self.l == self.L and word == "saturated") else counted(self.l, self.L)
        )
        now = layer_gain(self.rows, self.l, step)
        known = now if math.isfinite(now) else None
        if word == "dead":
            return self._revived(step, known)
        _, weights = own_moves(self.rows, self.l)
        w = weights.gain if weights is not None and weights.gain > 0 else math.nan
        others = [name for name in INSTEAD if name != self.name and self.l < self.L]
        names: list[str | None] = [*([] if give_up and others else [None]), *others]
        tried = [(*self._scaled(ACTIVATIONS.get(name or self.name), step, w), name) for name in names]
        # What stands first is taken where it does: the present activation before another, tanh before relu.
        does = [one for one in tried if one[0] < math.inf and 1 / good <= one[2] <= good]
        off, scale, gain, activation = does[0] if does else min(tried, key=lambda one: one[0])
        if off == math.inf:  # nothing that was tried leaves enough units to train
            return Change(self.l, step, 1.0, None, (), known, known)
        certain = step == "activation" or math.isfinite(w)
        kept = self.lopsided and scale > 1
        shift = tuple(float(part) for part in (1 - scale) * self.mean) if kept else ()
        return Change(self.l, step, float(scale), activation, shift, known, float(gain) if certain else None)

    def _scaled(self, sigma: Activation | None, step: str, w: float) -> tuple[float, float, float]:
        """The best scale for an activation: how far it is from what is wanted, the scale, and the gain."""
        w = w if math.isfinite(w) else 1.0
        results = []
        size = float(np.sqrt((self.scaled(1.0) ** 2).mean()))
        units = (0.25 / size, 0.5 / size, 1 / size) if 0 < size < math.inf else ()
        for c in [*SCALES, *units, 1 / w]:
            slope = self.slope if sigma is None else sigma.slope(self.scaled(c))
            gain = {"activation": self._through(slope), "weights": c * w, "both": c * w * self._through(slope)}[step]
            good = 0 < gain < math.inf and (sigma is None or self._spared(sigma, slope))
            off = abs(math.log(gain)) + RELUCTANCE * abs(math.log(c)) if good else math.inf
            results.append((off, c, gain))
        return min(results)

    def _spared(self, sigma: Activation, slope: Array) -> bool:
        """Whether few enough units are flat, and few enough neurons dead, that the layer can be trained."""
        if sigma.name == "softmax" or (sigma.peak is None and sigma.name == self.name):
            return True  # a ReLU's dead neurons are no matter of scale
        limit = 0.0 if sigma.peak is None else SATURATED * sigma.peak
        return bool((slope < limit).mean() <= SPARED and (slope == 0).all(axis=0).mean() <= SPARED)

    def _through(self, slope: Array) -> float:
        """|moved * slope| / |moved|; the slope's own root mean square where no error arrives to weigh it."""
        weight = self.moved if 0 < np.abs(self.moved).max() < math.inf else np.ones_like(self.moved)
        weight = weight / np.abs(weight).max()
        return float(np.sqrt(((weight * slope) ** 2).sum() / (weight**2).sum()))

    def _revived(self, step: str, now: float | None) -> Change:
        """The biases of the dead neurons moved so that their z is centred: each lives for about half the samples."""
        dead = (self.slope == 0).all(axis=0)
        shift = np.where(dead, -self.z.mean(axis=0), 0.0)
        z = self.z + shift
        flat = dead & (np.ptp(self.z, axis=0) <= 1e-6 * np.abs(self.z).max(axis=0))
        # Nothing but its bias reaches a neuron above a dead layer; once that lives, its z will be about normal.
        z[:, flat] = np.random.default_rng(0).standard_normal((len(z), int(flat.sum())))
        sigma = ACTIVATIONS.get(self.name)
        predicted = None if sigma is None else self._through(sigma.slope(z))
        return Change(self.l, step, 1.0, None, tuple(float(part) for part in shift), now, predicted)

    def growth(self, change: Change | None) -> tuple[float, float]:
        """By how much the length of a^l, and that of its deviation from its mean, is changed here and below."""
        name = self.name if change is None or change.activation is None else change.activation
        if name == "softmax" or name not in ACTIVATIONS:
            return 1.0, 1.0
        z = self.scaled(1.0 if change is None else change.scale)
        if change is not None and change.scale == 1 and change.shift:
            z = z + np.array(change.shift)
        after = np.asarray(ACTIVATIONS[name].sigma(z))
        return _ratio(after, self.a), _ratio(after - after.mean(axis=0), self.a - self.a.mean(axis=0))


def _ratio(after: Array, before: Array) -> float:
    """|after| / |before|, and 1 where that is not known."""
    ratio = float(np.linalg.norm(after) / np.linalg.norm(before)) if np.any(before) else 1.0
    return ratio if 0 < ratio < math.inf else 1.0
