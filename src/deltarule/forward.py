"""a^L of many samples, and their cost: which parts they are taken in, and by how many threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule import cores, standby
from deltarule.kernels.layout import UNIT, readable

if TYPE_CHECKING:
    from deltarule.inputs import Targets
    from deltarule.network import Network

Array = npt.NDArray[Any]

MOST_ROWS = 252
"""The samples of a part: what they become at a layer stays in the caches."""

SHARED = 4_000_000
"""From so many multiply-adds on, a call is shared among threads: to wake one takes some twenty microseconds."""

LEAST_WORK = 1_000_000
"""The multiply-adds of a part that is one thread's: it is over before others have waited for long."""

CACHED = 1 << 19
"""Weights of more bytes come from beyond a core's own cache: then a part is to have LEAST_ROWS, which they serve."""

LEAST_ROWS = 4 * UNIT

UNIT_WORK = 16
"""What sigma costs for a unit, in multiply-adds."""

ALONE = np.zeros(0, np.int64)
"""The state of a call that one thread makes."""


def outputs(net: Network, x: Array) -> tuple[Array, bool]:
    """a^L for every row of x, (N, n_L), and whether all of x is finite. x is as `inputs.samples` gives it."""
    from deltarule.kernels.predict import predict

    out = np.empty((len(x), net.sizes[-1]), net.dtype)
    return out, _shared(net, len(x), partial(predict, net.theta, net._table, readable(x), out))


def evaluation(net: Network, x: Array, y: Targets) -> tuple[Array, Array]:
    """a^L for every row of x, (N, n_L), and the cost of each, (N,)."""
    from deltarule.kernels.predict import evaluate

    out, cost = np.empty((len(x), net.sizes[-1]), net.dtype), np.empty(len(x), net.dtype)
    layers = net._layers
    given = readable(x), readable(y.labels), readable(y.values)
    functions = layers.cost, layers.own_cost, layers.bounds
    _shared(net, len(x), partial(evaluate, net.theta, net._table, *functions, *given, out, cost))
    return out, cost


def _shared(net: Network, N: int, call: Callable[..., bool]) -> bool:
    """Make the call for all parts, with other threads where that pays; what it returns.

    The parts' borders stand on whole UNITs, and no part is less: so the outputs have the same bits in any parts.
    """
    work = N * (net.theta.size + UNIT_WORK * sum(net.sizes[1:]))
    most = max(N // UNIT, 1)
    parts = min(-(-N // MOST_ROWS), most)
    members = 1 if work < SHARED else cores.cores()
    if members == 1:
        return call(parts, ALONE)
    from deltarule.kernels.parts import state

    fewest_rows = UNIT if net.theta.nbytes < CACHED else LEAST_ROWS
    parts = max(parts, min(work // LEAST_WORK, N // fewest_rows, 8 * members))
    shared = partial(call, parts, state())
    standby.ask(min(members, parts) - 1, shared)
    return shared()
