"""A call whose work is in parts: the threads that make it each take the next part, until none is left.

Whoever comes late finds less to do, and whoever is alone does all of it: nobody waits for one that has not
begun.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deltarule.kernels.compile import jit
from deltarule.kernels.team import SPINS, add, nap, read

TAKEN, DONE, BAD = 0, 8, 16
"""Where in the state the parts that were taken are counted, those that are done, and whether one was bad; each on a
cache line of its own."""


def state() -> npt.NDArray[np.int64]:
    """Nothing is taken yet. A thread that makes the call alone gives an array of no size in its place."""
    return np.zeros(BAD + 1, np.int64)


@jit
def next_part(state, part):
    """The next part, after `part` for a thread that is alone; -1 comes before the first."""
    return part + 1 if state.size == 0 else add(state, TAKEN)


@jit
def close_part(state, good):
    """This part is done, and whether it was good."""
    if state.size > 0:
        if not good:
            state[BAD] = 1
        add(state, DONE)


@jit
def all_good(state, parts, good):
    """Wait until every part is done; whether all were good, or `good` where one thread has done all."""
    if state.size == 0:
        return good
    looks = 0
    while read(state, DONE) < parts:
        looks += 1
        if looks > SPINS:
            nap()
    return state[BAD] == 0
