"""One forward and one backward pass, kept whole: the error of every layer as a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule.blame import Blame, blame_of
from deltarule.errors import BadInput, require
from deltarule.flow import Flow, flow_of
from deltarule.records import ByLayer, Record, text_table

if TYPE_CHECKING:
    from deltarule.edits import Step

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trace(Record):
    """Every value of a forward and a backward pass, per sample, indexed by layer as in the book.

    Attributes
    ----------
    cost : (N,)
        C of each sample, summed over the outputs; penalties are not part of it.
    z, slope, delta : by layer 1..L, each (N, n_l)
        z^l = W^l a^{l-1} + b^l; sigma'(z^l); delta^l = dC/dz^l = moved^l * slope^l.
        Each is per sample and never divided by N. For a softmax layer `slope` is the diagonal of its Jacobian.
    a, moved : by layer 0..L, each (N, n_l)
        a^0 is the input. moved^l = dC/da^l: (W^{l+1})^T delta^{l+1} below the output, grad_a C at it.
    grad_W, grad_b : by layer 1..L
        The mean over the samples of delta^l (a^{l-1})^T and of delta^l (BP4, BP3), without penalties.
    activations : by layer 1..L
        The names.
    rules : by layer 1..L-1
        The name of the rule that brought the error to each hidden layer. With another than "transpose", moved and
        delta are that rule's signals, not derivatives, and so are the gradients that are made of them. moved^0 is
        always (W^1)^T delta^1.
    step : Step or None
        What one step along these gradients does to the cost, where `backprop` was asked for it.

    All are in the network's dtype. See `Network.backprop` for an example.
    """

    schema = "deltarule.trace"

    cost: Array
    z: ByLayer
    a: ByLayer
    slope: ByLayer
    moved: ByLayer
    delta: ByLayer
    grad_W: ByLayer
    grad_b: ByLayer
    activations: ByLayer
    rules: ByLayer
    step: Step | None = None

    @property
    def L(self) -> int:
        """The number of the output layer."""
        return len(self.delta)

    @property
    def speed(self) -> ByLayer:
        """By layer 1..L, the length of the mean of delta^l over the samples, |dC/db^l|: the book's speed of learning.

        The mean is taken before the length, so that samples whose errors point against each other cancel; the
        flow takes the length of each sample's error first.
        """
        return ByLayer([float(np.linalg.norm(grad.astype(np.float64))) for grad in self.grad_b])

    def flow(self) -> Flow:
        """Where the error goes: the norm before and after each step backward. See :mod:`deltarule.flow`."""
        return flow_of(self)

    def angle(self, other: Trace) -> ByLayer:
        """The angle in degrees between this trace's delta^l and another's, over all samples, by layer 1..L.

        With the trace of another rule it says how far that rule's signal is from the true error: below 90 degrees
        a small step along it lowers the cost; at 90 it is blind. NaN where one of the two is zero.

        >>> import deltarule as dr
        >>> net = dr.Network([3, 4, 2], seed=0)
        >>> x, y = np.eye(3), [0, 1, 1]
        >>> angle = net.backprop(x, y, rule="random").angle(net.backprop(x, y))
        >>> angle[2] < 0.1 < angle[1]                     # the output's error is the same
        True
        """
        require("the other", other, isinstance(other, Trace), "a trace, as `backprop` returns it")
        shapes = [[delta.shape for delta in trace.delta] for trace in (self, other)]
        if shapes[0] != shapes[1]:
            raise BadInput(
                f"the traces' delta have the shapes {shapes[0]} and {shapes[1]}; expected the same samples in two "
                f"networks of the same sizes"
            )
        pairs = zip(self.delta, other.delta, strict=True)
        return ByLayer([degrees(mine, theirs) for mine, theirs in pairs])

    def blame(self, top: int = 10, layer: int | None = None) -> Blame:
        """The samples that cost most, and the neurons that carry most of their layer's error.

        Parameters
        ----------
        top : int
            How many of each.
        layer : int, optional
            The layer whose |delta^l|^2 is shared out beside the cost; the output, if not given.

        In a trained network the costliest samples are often those with a wrong label.

        >>> import deltarule as dr
        >>> split = dr.data.digits()
        >>> x, y = split.train.x, split.train.y.copy()
        >>> y[7] = (y[7] + 5) % 10                                     # one wrong label among 1197
        >>> net = dr.Network([64, 30, 10], output="softmax", cost="log_likelihood", seed=0)
        >>> history = net.fit(x, y, epochs=10, optimizer=dr.SGD(0.5))
        >>> 7 in net.backprop(x, y).blame().samples
        True
        """
        return blame_of(self, top, layer)

    def __str__(self) -> str:
        def norm(values: Array) -> str:
            return f"{np.linalg.norm(values, axis=1).mean():.3g}"

        rows = [
            [
                l,
                self.activations[l],
                self.z[l].shape[1],
                norm(self.z[l]),
                norm(self.moved[l]),
                f"{self.slope[l].mean():.3g}",
                norm(self.delta[l]),
                f"{np.linalg.norm(self.grad_W[l]):.3g}",
            ]
            for l in range(self.L, 0, -1)
        ]
        head = ["layer", "activation", "neurons", "|z|", "|moved|", "mean slope", "|delta|", "|grad W|"]
        names = dict.fromkeys(self.rules)
        rule = "" if list(names) in ([], ["transpose"]) else f", carried back by {', '.join(names)}"
        text = (
            f"Trace of {len(self.cost)} samples, mean cost {self.cost.mean():.4g}{rule}; "
            f"lengths are means over the samples\n{text_table(head, rows)}"
        )
        return text if self.step is None else f"{text}\n{self.step}"

    __repr__ = __str__


def degrees(one: Array, other: Array) -> float:
    """The angle between two arrays seen as vectors; NaN where one is zero."""
    u, v = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    sizes = [np.abs(w).max(initial=0.0) for w in (u, v)]
    if 0 in sizes or not np.isfinite(sizes).all():
        return math.nan
    u, v = (w / size / np.linalg.norm(w / size) for w, size in zip((u, v), sizes, strict=True))
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))))
