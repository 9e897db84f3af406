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

from deltarule import paths
from deltarule.activations import ACTIVATIONS
from deltarule.records import Record
from deltarule.remedies import Remedy, layer_gain, with_remedies
from deltarule.verdicts import SATURATED, UNCHANGED, Fault, faults, number, own_moves, total_gain

if TYPE_CHECKING:
    from deltarule.trace import Trace

Array = npt.NDArray[Any]


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
    rule : str
        Of a move through the weights: the rule that made it, where that was not the transpose.
    name, op, source : str
        In a PyTorch model: the module's path, the operation ("linear", "relu", ...) and the line of the user's
        code that called it, "file:line"; empty where it is not known.
    to : tuple of int
        In a PyTorch model: the rows that take the error on; -1 for what leaves the graph. Empty where the error
        ends, because nothing but parameters and data lies below.
    outs : tuple of float
        How long a part each of these is handed. `norm_out` is the longest.
    dtype : str
        In a PyTorch model: in what the error arrives.
    tiny : float or None
        Of float16: the share of the values other than 0 that are too small to keep all their digits.

    In a PyTorch model the norms are the lengths of whole gradients, that of a loss that is a mean over the batch
    among them, and `step` is also one of "product" (of two activations), "normalisation", "addition", "shape",
    "pooling", "loss", "parameter" (what is made of parameters alone), "compiled" and "other". Layers are its
    modules with weights, counted from 1 in the order of the forward pass.
    """

    schema = "deltarule.move"
    version = 2

    layer: int
    step: str
    norm_in: float
    norm_out: float
    saturated: float | None = None
    dead: float | None = None
    rule: str = "transpose"
    name: str = ""
    op: str = ""
    source: str = ""
    to: tuple[int, ...] = ()
    outs: tuple[float, ...] = ()
    dtype: str = ""
    tiny: float | None = None

    @property
    def ends(self) -> bool:
        """Whether the error goes no further: what is below are parameters and data. Then `norm_out` is NaN."""
        return bool(self.op) and not self.to

    @property
    def gain(self) -> float:
        """norm_out / norm_in."""
        if self.norm_in == 0:
            return math.nan
        return self.norm_out / self.norm_in


@dataclass(frozen=True)
class Flow(Record):
    """The error's way from the cost to the input, one row a move.

    Attributes
    ----------
    rows : tuple of Move
    samples : int
        How many were run through; 0 where that was not kept.
    activations : tuple of str
        Of layer 1..L.
    verdicts : tuple of Fault
        What is wrong, the most telling first; empty where the flow is healthy. See :mod:`deltarule.verdicts`.
    unseen : tuple of str
        In a PyTorch model: what could not be seen, and so is not judged.
    scale : float
        In a PyTorch model: what a gradient scaler multiplied the loss by. The norms are divided by it.
    ranks : tuple of Flow or None
        In a PyTorch model trained by several processes: the flow of each, where this is that of all together; None
        of one that recorded nothing.

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
    >>> flow.verdict
    'healthy'
    """

    schema = "deltarule.flow"
    version = 3

    rows: tuple[Move, ...]
    samples: int
    activations: tuple[str, ...]
    verdicts: tuple[Fault, ...] = ()
    unseen: tuple[str, ...] = ()
    scale: float = 1.0
    ranks: tuple[Flow | None, ...] = ()

    @property
    def of_model(self) -> bool:
        """Whether this is the flow of a PyTorch model, whose rows make a graph."""
        return any(move.op for move in self.rows)

    @property
    def L(self) -> int:
        """The number of the output layer."""
        if self.of_model:
            return max((move.layer + 1 for move in self.rows if move.step == "weights"), default=0)
        return len(self.activations)

    @property
    def verdict(self) -> str:
        """The word of the first verdict (see :class:`~deltarule.verdicts.Fault`), or "healthy"."""
        return self.verdicts[0].word if self.verdicts else "healthy"

    @property
    def remedy(self) -> Remedy | None:
        """The remedies of all verdicts in one; None where there is none."""
        parts = [fault.remedy.changes for fault in self.verdicts if fault.remedy is not None]
        return Remedy(tuple(change for changes in parts for change in changes)) if parts else None

    @property
    def total(self) -> float:
        """|delta^1| / |delta^L|: the product of `gain(l)` over the layers."""
        if self.of_model:
            first, last = (paths.arriving(self.rows, l) for l in (1, self.L))
            return first / last if last else math.nan
        return total_gain(self.rows)

    def gain(self, l: int, step: str | None = None) -> float:
        """The gain of layer l's own moves, * sigma'(z^l) and then (W^l)^T.

        `step` is "activation", "weights" or "both"; without it, those that lie between delta^L and delta^1:
        at layer L its weights, at layer 1 its activation, between them both. NaN where no error arrives.
        """
        return layer_gain(self.rows, l, step)

    def budget(self) -> str:
        """Layer by layer what the error pays and what it is given back; the logarithms add up to the total.

        >>> import deltarule as dr
        >>> print(dr.Network([4, 5, 3], seed=0).backprop(np.eye(4), [0, 1, 2, 0]).flow().budget())
        layer 2: sigmoid x... (costs a factor ...), weights x...
        layer 1: sigmoid x... (costs a factor ...), weights x...
        from the cost to the input: x...

        In a PyTorch model it follows the way on which most of the error comes to the first layer.
        """
        if self.of_model:
            return "\n".join(paths.budget(self.rows))
        lines = []
        for l in range(self.L, 0, -1):
            names = zip((self.activations[l - 1], "weights"), own_moves(self.rows, l), ("costs", "cost"), strict=True)
            parts = [f"{name} {_paid(move.gain, verb)}" for name, move, verb in names if move is not None]
            lines.append(f"layer {l}: {', '.join(parts)}")
        end = "the input" if self.rows[-1].layer == 0 else f"delta^{self.rows[-1].layer}"
        total = self.rows[-1].norm_out / self.rows[0].norm_in if self.rows[0].norm_in else math.nan
        return "\n".join([*lines, f"from the cost to {end}: x{total:.3g}"])

    def __str__(self) -> str:
        return self.report(color=False)

    __repr__ = __str__

    def report(self, color: bool | None = None) -> str:
        """The table of moves and their gains, the verdict, and what to do about it.

        In colour where stdout is a terminal and NO_COLOR is not set; `color` decides it otherwise.
        """
        from deltarule.reports import flow_text

        return flow_text(self, color)

    def plot(self, ax: Any = None) -> Any:
        """Draw the error's length move by move on a log axis; return Matplotlib's Axes (`ax`, or new ones).

        Raises MissingExtra without Matplotlib: ``pip install "deltarule[plot]"``.
        """
        from deltarule.plots import plot_flow

        return plot_flow(self, ax)

    def _repr_html_(self) -> str:
        from deltarule.reports import flow_html

        return flow_html(self)


def _paid(gain: float, verb: str) -> str:
    if math.isnan(gain):
        return "(no error to carry)"
    if not 0 < gain < math.inf or abs(gain - 1) < UNCHANGED:
        return f"x{gain:.3g}"
    if gain < 1:
        return f"x{gain:.3g} ({verb} a factor {number(1 / gain)})"
    return f"x{gain:.3g} ({'gives' if verb == 'costs' else 'give'} back {number(gain)})"


def length(values: Array) -> float:
    """The root mean square over the samples of the length of each row, in float64, scaled against underflow."""
    largest = float(np.abs(values).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = values.astype(np.float64) / largest
    return float(largest * np.sqrt((scaled**2).sum() / len(values)))


def flow_of(trace: Trace) -> Flow:
    """The flow of a trace, with its verdicts and remedies; call it as ``trace.flow()``."""
    rows: list[Move] = []
    for l in range(trace.L, -1, -1):
        moved = length(trace.moved[l])
        if l < trace.L:
            rule = trace.rules[l] if l > 0 else "transpose"
            rows.append(Move(l, "weights", rows[-1].norm_out, moved, rule=rule))
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
    names = tuple(trace.activations)
    lets_through = _is_quadratic(trace)
    found = faults(rows, names, lets_through)
    if all(rule == "transpose" for rule in trace.rules):  # another rule's gain does not follow the weights'
        found = with_remedies(trace, rows, found, lets_through)
    return Flow(tuple(rows), len(trace.cost), names, found)


def _is_quadratic(trace: Trace) -> bool:
    """Whether C = 1/2 |dC/da|^2. That cost lets the slope of a flat output through (BP1); the others that stand
    behind such an output, cross-entropy and log-likelihood, cancel it."""
    with np.errstate(over="ignore"):
        moved = np.linalg.norm(trace.moved[trace.L].astype(np.float64), axis=1)
    return bool(np.allclose(trace.cost, 0.5 * moved * moved, rtol=1e-3))
