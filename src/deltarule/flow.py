"""Where the error goes on its way back: the gain of each of its two moves, layer by layer.

At each layer the error moves through the transposed weights and then through the activation (BP2). The gain
of a move is its norm after over its norm before. What leaves one move enters the next, so the logarithms of
the gains add up, exactly, from the cost to the input: a budget of where the error was lost or blown up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule.activations import ACTIVATIONS
from deltarule.records import Record, text_table

if TYPE_CHECKING:
    from deltarule.trace import Trace

Array = npt.NDArray[Any]

SATURATED = 0.05
"""A unit is saturated where its slope is below this share of the activation's steepest."""


@dataclass(frozen=True)
class Move(Record):
    """One move of the error backward.

    Attributes
    ----------
    layer : int
        The layer l at which it arrives. 0 is the input.
    step : "weights" or "activation"
        (W^{l+1})^T delta^{l+1} -> dC/da^l, or * sigma'(z^l) -> delta^l.
    norm_in, norm_out : float
        The root mean square over the samples of the error's length before and after.
    saturated, dead : float or None
        Of an activation: the share of units, over all samples, whose slope is below 5 % of the steepest; the
        share of neurons whose slope is 0 for every sample.
    """

    schema = "deltarule.move"

    layer: int
    step: str
    norm_in: float
    norm_out: float
    saturated: float | None = None
    dead: float | None = None

    @property
    def gain(self) -> float:
        """norm_out / norm_in."""
        if self.norm_in == 0:
            return math.nan
        return self.norm_out / self.norm_in


@dataclass(frozen=True)
class Flow(Record):
    """The error's way from the cost to the input, one row a move.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([4, 5, 3], seed=0, dtype="float64")
    >>> flow = net.backprop(np.eye(4), [0, 1, 2, 0]).flow()
    >>> [(move.layer, move.step) for move in flow.rows]
    [(2, 'activation'), (1, 'weights'), (1, 'activation'), (0, 'weights')]
    >>> product = math.prod(move.gain for move in flow.rows)
    >>> math.isclose(product, flow.rows[-1].norm_out / flow.rows[0].norm_in)
    True
    """

    schema = "deltarule.flow"

    rows: tuple[Move, ...]
    samples: int
    activations: tuple[str, ...]

    def __str__(self) -> str:
        return self.report()

    __repr__ = __str__

    def report(self) -> str:
        """The table of moves and their gains."""
        table = []
        for move in self.rows:
            name = self.activations[move.layer - 1] if move.layer else "input"
            what = f"* sigma'(z^{move.layer}), {name}" if move.step == "activation" else f"(W^{move.layer + 1})^T"
            shares = ["" if share is None else f"{100 * share:.0f}%" for share in (move.saturated, move.dead)]
            table.append(
                [move.layer, what, f"{move.norm_in:.3g}", f"{move.norm_out:.3g}", f"{move.gain:.3g}", *shares]
            )
        head = ["layer", "move", "norm in", "norm out", "gain", "saturated", "dead"]
        return f"The error's way back, {self.samples} samples, from the cost to the input\n{text_table(head, table)}"


def length(values: Array) -> float:
    """The root mean square over the samples of the length of each row, in float64, scaled against underflow."""
    largest = float(np.abs(values).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = values.astype(np.float64) / largest
    return float(largest * np.sqrt((scaled**2).sum() / len(values)))


def flow_of(trace: Trace) -> Flow:
    """The flow of a trace; call it as ``trace.flow()``."""
    rows: list[Move] = []
    for l in range(trace.L, -1, -1):
        moved = length(trace.moved[l])
        if l < trace.L:
            rows.append(Move(l, "weights", rows[-1].norm_out, moved))
        if l > 0:
            sigma, slope = ACTIVATIONS.get(trace.activations[l]), trace.slope[l]
            peak = None if sigma is None else sigma.peak
            rows.append(
                Move(
                    l,
                    "activation",
                    moved,
                    length(trace.delta[l]),
                    None if peak is None else float((slope < SATURATED * peak).mean()),
                    float((slope == 0).all(axis=0).mean()),
                )
            )
    return Flow(tuple(rows), len(trace.cost), tuple(trace.activations))
