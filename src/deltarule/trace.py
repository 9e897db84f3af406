"""One forward and one backward pass, kept whole: the error of every layer as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.flow import Flow, flow_of
from deltarule.records import ByLayer, Record, text_table

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
        return (
            f"Trace of {len(self.cost)} samples, mean cost {self.cost.mean():.4g}; "
            f"lengths are means over the samples\n{text_table(head, rows)}"
        )

    __repr__ = __str__
