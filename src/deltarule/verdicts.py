"""The verdict on a flow: which move loses the error or blows it up, and in which numbers.

A verdict is read off the rows alone, so that a training step that kept nothing but norms is judged by the same
thresholds as a whole trace. What mends it is worked out in :mod:`deltarule.remedies`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltarule.activations import ACTIVATIONS
from deltarule.records import Record

if TYPE_CHECKING:
    from deltarule.flow import Move
    from deltarule.remedies import Remedy

VANISHING = 1 / 30
"""Below this gain from delta^L to delta^1 the error vanishes. The book's sigmoid networks of 30 a layer lose a
factor of about 23 with two hidden layers, 110 with three and 500 with four."""

EXPLODING = 30.0
"""Above this gain from delta^L to delta^1 the error explodes."""

SATURATED = 0.05
"""A unit is saturated where its slope is below this share of the activation's steepest."""

MOST_SATURATED = 0.5
"""More than this share of a layer's units saturated is a fault."""

MOST_DEAD = 0.5
"""More than this share of a layer's neurons dead, over all samples, is a fault."""

UNCHANGED = 0.05
"""A gain this near to 1 is not put into words."""


@dataclass(frozen=True)
class Fault(Record):
    """One thing that is wrong with a flow, at the move that causes it.

    Attributes
    ----------
    word : "vanishing", "exploding", "dead" or "saturated"
        An error that becomes exactly 0 is vanishing (or dead), one that is infinite or NaN is exploding. In a
        PyTorch model also "underflow", "residual", "detached" and "frozen"; see :mod:`deltarule.lens.faults`.
    layer, step : int, "weights" or "activation"
        The move, as in :class:`~deltarule.flow.Move`: weights arrive at layer l through W^{l+1}. Of several
        layers with the same fault the worst.
    why : str
        The numbers, in a sentence.
    remedy : Remedy or None
        What mends it; None where it is not known, or where the remedies of the other faults do.
    name, source : str
        In a PyTorch model: the module's path, and the line of the code that called the operation.
    advice : str
        In a PyTorch model: what to do, in words and code.
    """

    schema = "deltarule.fault"
    version = 2

    word: str
    layer: int
    step: str
    why: str
    remedy: Remedy | None = None
    name: str = ""
    source: str = ""
    advice: str = ""

    def __str__(self) -> str:
        text = f"{self.word}: {self.why}."
        if self.advice:
            return f"{text}\nwhat to do: {self.advice}."
        return text if self.remedy is None else f"{text}\nremedy, with the layer's gain as predicted:\n{self.remedy}"

    __repr__ = __str__


def number(value: float) -> str:
    """A factor as people say it: two digits, and no exponent until it is long.

    >>> number(6.0975), number(23.4), number(1234.5), number(8.1e7), number(0.0325)
    ('6.1', '23', '1200', '8.1e+07', '0.033')
    """
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if 10 <= rounded < 10_000 else f"{rounded:.2g}"


def move_of(rows: Sequence[Move], layer: int, step: str) -> Move | None:
    """The move of this step that arrives at this layer, if the flow has it."""
    return next((move for move in rows if (move.layer, move.step) == (layer, step)), None)


def own_moves(rows: Sequence[Move], l: int) -> tuple[Move | None, Move | None]:
    """Layer l's own two moves: * sigma'(z^l), and then through (W^l)^T, which arrives at layer l-1."""
    return move_of(rows, l, "activation"), move_of(rows, l - 1, "weights")


def total_gain(rows: Sequence[Move]) -> float:
    """|delta^1| / |delta^L|; NaN where there was no error to begin with."""
    last, first = rows[0].norm_out, move_of(rows, 1, "activation")
    return first.norm_out / last if first is not None and last else math.nan


def passage(rows: Sequence[Move], activations: Sequence[str], cause: Move) -> str:
    """What a move does to the error, and what its layer's other move adds or gives back."""
    if cause.rule != "transpose":  # what it does is not the doing of any layer's weights
        return f"{place(cause, activations)} multiplies the error by {number(cause.gain)}"
    weights_lead = cause.step == "weights"
    l = cause.layer + 1 if weights_lead else cause.layer
    names = {"activation": activations[l - 1], "weights": "weights"}
    other = next((move for move in own_moves(rows, l) if move is not None and move is not cause), None)
    loses = cause.gain < 1
    what = _verb("cost", weights_lead) if loses else ("multiply" if weights_lead else "multiplies")
    factor = f"a factor {number(1 / cause.gain)}" if loses else f"by {number(cause.gain)}"
    text = f"layer {l}'s {names[cause.step]} {what} the error {factor}"
    if other is None or not 1 <= other.layer < len(activations) or not (other.gain > 0 and math.isfinite(other.gain)):
        return text  # there is none on the way from delta^L to delta^1, or it has no size
    if abs(other.gain - 1) < UNCHANGED:
        return f"{text}, its {names[other.step]} {_verb('leave', not weights_lead)} it as it is"
    if (other.gain < 1) == loses:
        what, joined = ("cost", " another") if loses else ("add", " another factor")
    else:
        what, joined = ("give", " back") if loses else ("take", " back")
    size = number(max(other.gain, 1 / other.gain))
    return f"{text}, its {names[other.step]} {_verb(what, not weights_lead)}{joined} {size}"


def _verb(verb: str, plural: bool) -> str:
    return verb if plural else f"{verb}s"


def faulty_layers(rows: Sequence[Move], activations: Sequence[str], word: str, judge_output: bool) -> list[int]:
    """The layers that are "dead" or "saturated", the worst first.

    A softmax is no fault, for the log-likelihood cancels its slope. Another output is judged where the cost
    lets its slope through, and by the error that is lost rather than by how many units are flat: the outputs
    of a trained network are flat where they are right.
    """
    L, found = len(activations), []
    for move in rows:
        if move.step != "activation" or activations[move.layer - 1] == "softmax":
            continue
        if word == "dead" and move.saturated is None and (move.dead or 0) > MOST_DEAD:
            found.append((-(move.dead or 0), move.layer))
        if word == "saturated" and move.saturated is not None:
            peak = ACTIVATIONS[activations[move.layer - 1]].peak or 0
            flat = (
                move.saturated > MOST_SATURATED if move.layer < L else judge_output and move.gain < SATURATED * peak
            )
            if flat:
                found.append((-move.saturated, move.layer))
    return [l for _, l in sorted(found)]


def faults(rows: Sequence[Move], activations: Sequence[str], judge_output: bool = False) -> tuple[Fault, ...]:
    """What is wrong with a flow, the most telling first; nothing where it is healthy.

    Parameters
    ----------
    rows : sequence of Move
        From delta^L's activation down, at least to layer 1's.
    activations : sequence of str
        Of layer 1..L.
    judge_output : bool
        Whether the cost lets the slope of a saturated output through (the quadratic does).
    """
    # dC/da^L alone may be infinite without harm: a cross-entropy divides by the slope that the output cancels.
    broken = next((move for move in rows if not math.isfinite(move.norm_out)), None)
    if broken is not None:
        kind = "NaN" if math.isnan(broken.norm_out) else "infinite"
        why = f"the error becomes {kind} at {place(broken, activations)}"
        if not math.isfinite(broken.norm_in):
            why = f"dC/da^{broken.layer} is {kind} before the error is carried back: the forward pass has overflowed"
        return (Fault("exploding", broken.layer, broken.step, why),)
    found, flat = [], set()
    for word in ("dead", "saturated"):
        layers = faulty_layers(rows, activations, word, judge_output)
        flat.update(layers)
        if layers:
            found.append(Fault(word, layers[0], "activation", _share(rows, activations, word, layers)))
    between = [move for move in rows[1:] if move.layer >= 1]
    lost = next((move for move in (rows[0], *between) if move.norm_in > 0 and move.norm_out == 0), None)
    total = total_gain(rows)
    if lost is not None:
        cause, why = lost, f"the error becomes exactly 0 at {place(lost, activations)}"
        if lost.step == "weights":
            why += ", which are 0 or cancel each other; no factor helps, they are to be drawn anew"
    elif between and total < VANISHING:
        cause = min(between, key=lambda move: move.gain)
        why = f"delta^1 is {number(1 / total)} times smaller than delta^{len(activations)}; "
    elif between and total > EXPLODING:
        cause = max(between, key=lambda move: move.gain)
        why = f"delta^1 is {number(total)} times larger than delta^{len(activations)}; "
    else:
        return tuple(found)
    if lost is None:
        why += passage(rows, activations, cause)
    fault = Fault("exploding" if total > EXPLODING else "vanishing", cause.layer, cause.step, why)
    # A layer that is dead or saturated where the error is lost says more than that it is lost.
    explained = cause.step == "activation" and cause.layer in flat
    return (*found, fault) if explained else (fault, *found)


def place(move: Move, activations: Sequence[str]) -> str:
    """A move in words: layer 2's relu; layer 3's weights."""
    if move.step == "activation":
        return f"layer {move.layer}'s {activations[move.layer - 1]}"
    if move.rule != "transpose":
        return f"the rule {move.rule!r} into layer {move.layer}"
    return f"layer {move.layer + 1}'s weights"


def _share(rows: Sequence[Move], activations: Sequence[str], word: str, layers: Sequence[int]) -> str:
    parts = []
    for l in layers:
        move = move_of(rows, l, "activation")
        share = getattr(move, word)
        parts.append(f"{100 * share:.0f}% of layer {l}'s {activations[l - 1]} units")
    if word == "dead":
        return f"{', '.join(parts)} have slope 0 for every sample"
    return f"{', '.join(parts)} have a slope below {100 * SATURATED:.0f}% of the steepest"
