"""Several threads in one training: all run the same steps in lockstep, do their share, and meet at a barrier.

Every member of a team is a thread that Python has started; all call the same compiled function with their own
number. Nothing here knows of a pool or of a runtime, so trainings in several threads, and processes that were
forked, do not disturb each other. A member that waits for long sleeps.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deltarule.kernels.compile import jit

COUNT, GENERATION, BAD = 0, 8, 16
"""Where in `state` the arrivals are counted, the meetings numbered, and each member's bad layer stands; each on a
cache line of its own."""

SPINS = 200_000
"""How often a member looks before it sleeps: about a hundred microseconds. Where trainings are more than the cores,
it must sleep: members that only look keep those that they wait for from running."""

if sys.platform == "win32":
    _sleep, NAP = ctypes.windll.kernel32.Sleep, 0
else:
    _sleep, NAP = ctypes.CDLL(None).usleep, 20
llvmlite.binding.add_symbol("deltarule_sleep", ctypes.cast(_sleep, ctypes.c_void_p).value or 0)


class Team(NamedTuple):
    """The members of a training."""

    size: int
    state: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]  # (size, 8): each member's part of the cost and of the number right


def team(size: int) -> Team:
    """A team of `size` members that have not met yet."""
    return Team(size, np.zeros(BAD + 8 * size, np.int64), np.zeros((size, 8)))


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


@intrinsic
def add(typing: Any, state: Any, index: Any) -> Any:
    """state[index] += 1 in one piece; the value before."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", _place(context, builder, signature, args), one, "seq_cst")

    return types.int64(state, types.int64), emit


@intrinsic
def read(typing: Any, state: Any, index: Any) -> Any:
    """state[index], as another thread may have written it a moment ago."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, args), "seq_cst", 8)

    return types.int64(state, types.int64), emit


@intrinsic
def nap(typing: Any) -> Any:
    """Sleep for a moment, so that another thread of the machine runs."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(number, [number]), "deltarule_sleep"
        )
        builder.call(function, [number(NAP)])
        return context.get_dummy_value()

    return types.void(), emit


@jit
def meet(team):
    """Wait until every member has come here; what each wrote before is seen by all after."""
    if team.size == 1:
        return
    generation = read(team.state, GENERATION)
    if add(team.state, COUNT) == team.size - 1:
        team.state[COUNT] = 0
        add(team.state, GENERATION)
        return
    looks = 0
    while read(team.state, GENERATION) == generation:
        looks += 1
        if looks > SPINS:
            nap()


@jit
def share(count, unit, team, me):
    """The part of 0..count that is this member's: from, to. Parts are whole units but for the last."""
    units = (count + unit - 1) // unit
    first, last = units * me // team.size * unit, units * (me + 1) // team.size * unit
    return min(first, count), min(last, count)
