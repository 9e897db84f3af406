"""Which samples and which neurons carry most of the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput, is_count, require
from deltarule.records import Record, text_table

if TYPE_CHECKING:
    from deltarule.trace import Trace

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Blame(Record):
    """The samples that cost most and the neurons that the error goes through, each with its share of the whole.

    Attributes
    ----------
    samples : (top,)
        Rows of x, the costliest first.
    cost_share : (top,)
        Each one's share of the sum of C over the samples.
    delta_share : (top,)
        Its share of the sum over the samples of |delta^layer|^2. Far below its share of the cost, the sample is
        wrong and the layer does not hear of it: its output is saturated.
    layer : int
        The layer whose delta is shared out.
    neurons : (top, 2)
        Layer and neuron, both as in the book's numbering of layers and NumPy's of neurons, over all layers.
    neuron_share : (top,)
        Each one's share of its own layer's sum of delta^2.
    even_share : (top,)
        What it would be if all neurons of that layer carried the same.
    """

    schema = "deltarule.blame"

    samples: Array
    cost_share: Array
    delta_share: Array
    layer: int
    neurons: Array
    neuron_share: Array
    even_share: Array

    def __str__(self) -> str:
        rows = [
            [int(row), f"{cost:.1%}", f"{delta:.1%}"]
            for row, cost, delta in zip(self.samples, self.cost_share, self.delta_share, strict=True)
        ]
        samples = text_table(["sample", "of the cost", f"of |delta^{self.layer}|^2"], rows)
        rows = [
            [f"{l}, {j}", f"{share:.1%}", f"{even:.1%}"]
            for (l, j), share, even in zip(self.neurons, self.neuron_share, self.even_share, strict=True)
        ]
        neurons = text_table(["layer, neuron", "of its layer's error", "if all had the same"], rows)
        return (
            f"The samples that cost most: {len(self.samples)} with {self.cost_share.sum():.0%} of the cost\n"
            f"{samples}\nThe neurons that carry most of their layer's error\n{neurons}"
        )

    __repr__ = __str__


def _shares(values: Array) -> Array:
    """Each value's share of their sum; zeros where that is zero. Squares of small errors must not underflow."""
    total = values.sum()
    return np.asarray(values / total) if total > 0 else np.zeros_like(values)


def _squares(delta: Array) -> Array:
    values = delta.astype(np.float64)
    largest = np.abs(values).max(initial=0.0)
    return np.asarray((values / largest) ** 2) if largest > 0 else values


def blame_of(trace: Trace, top: int, layer: int | None) -> Blame:
    """The blame of a trace; call it as ``trace.blame()``."""
    require("top", top, is_count(top), "how many to name, an integer from 1 up")
    if not (np.isfinite(trace.cost).all() and all(np.isfinite(delta).all() for delta in trace.delta)):
        raise BadInput("the trace has values that are not finite: nothing can be said of anyone's share")
    l = trace.L if layer is None else layer
    by_sample = _shares(_squares(trace.delta[l]).sum(axis=1))
    cost = _shares(trace.cost.astype(np.float64))
    worst = np.argsort(-cost, kind="stable")[:top]
    layers = list(zip(trace.delta.layers, trace.delta, strict=True))
    place = np.array([(k, j) for k, delta in layers for j in range(delta.shape[1])])
    share = np.concatenate([_shares(_squares(delta).sum(axis=0)) for _, delta in layers])
    even = np.concatenate([np.full(delta.shape[1], 1 / delta.shape[1]) for _, delta in layers])
    most = np.argsort(-share / even, kind="stable")[:top]
    return Blame(worst, cost[worst], by_sample[worst], l, place[most], share[most], even[most])
