"""Where everything stands in the flat buffers: the records that the compiled code reads.

Layers are numbered as in the book, 0 the input and L the output; entry 0 of the tables below belongs to
the input and is unused where it has no meaning. One record type serves every depth and width, so nothing
is compiled anew for another network.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]

ALIGNMENT = 64
"""Weights and buffers start on a cache line, the width of the widest vector register."""


PACKED = 8192
"""A W of up to so many weights is transposed before the forward pass where that is faster."""


NARROW = 8
"""Rows of up to so many numbers are gone through column by column where every number is a matter of its own."""

UNIT = 12
"""Samples are shared out in blocks of as many, which suit every product; see :mod:`deltarule.kernels.predict`."""

SIZES, W_AT, B_AT, SIGMA, PAIR = range(5)
"""The rows of the table of layers that :func:`table` makes: the first five of `Layers`, as one array."""


class Layers(NamedTuple):
    """The architecture: widths, where W^l and b^l start in theta, and the codes of the functions."""

    sizes: Numbers  # n_0 .. n_L
    W_at: Numbers
    b_at: Numbers
    sigma: Numbers  # the code of each layer's activation
    pair: Numbers  # the address of a compiled pair of the user's own, else 0
    cost: int  # the code of the cost
    own_cost: int  # the address of a compiled cost of the user's own, else 0
    bounds: Array  # the least and the most that one logarithm in the cost's value counts as


class Batch(NamedTuple):
    """The values of up to `rows` samples at every layer: layer l stands at ``at[l]``, one row a sample."""

    at: Numbers
    z: Array
    a: Array
    slope: Array
    moved: Array
    delta: Array
    y: Array  # the targets, flat
    cost: Array  # C of each sample
    packed: Array  # a small W, transposed, or other scratch; a member of a team has its own
    length: npt.NDArray[np.float64]  # (L+1, 2): over the samples of the last pass, of moved^l and of delta^l
    one: Array  # a single 1


class Feedback(NamedTuple):
    """What carries the error back into each hidden layer l, 1..L-1; entry 0 is not used."""

    code: Numbers  # a code of :mod:`deltarule.kernels.feedback`
    at: Numbers  # where the matrix into layer l starts in B
    function: Numbers  # the address of a function of the user's own, else 0
    decay: npt.NDArray[np.float64]  # Kolen and Pollack's pull on W^{l+1} and B
    B: Array  # (n_{l+1}, n_l), or (n_L, n_l) where the error comes directly from the output
    scratch: npt.NDArray[np.float64]  # for the inverse


class Watch(NamedTuple):
    """What is seen of the error in every `every`-th step; no rows: nothing is."""

    every: int
    limit: npt.NDArray[np.float64]  # of each layer: below this slope a unit is saturated; 0 where it cannot be
    silence: Numbers  # of each neuron of layer 1..L: for how many samples, one after another, its slope has been 0
    enough: int  # after so many it is dead
    slopes: Array  # of each member and neuron, flat: the sum of |slope| over the samples of this step
    errors: Array  # and of delta
    seen: npt.NDArray[np.float64]  # (members, L, 4): so far in this step, see kernels.watch.listen
    rows: npt.NDArray[np.float64]  # (K, 5, L), see kernels.watch.COLUMNS


class Data(NamedTuple):
    """Samples and targets: labels coded 0.., or values. The one that is not in use has no rows."""

    x: Array
    labels: Numbers
    targets: Array
    weights: Array  # of each sample; no rows: all count alike


def empty(count: int, dtype: Any) -> Array:
    """An uninitialised flat array that starts on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    block = np.empty(count * itemsize + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + count * itemsize].view(dtype)


def places(sizes: list[int], dtype: Any) -> tuple[Numbers, Numbers, int]:
    """Where each W^l and b^l starts in theta, and theta's length. W^l starts on a cache line."""
    step = ALIGNMENT // np.dtype(dtype).itemsize
    W_at, b_at = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int64)
    end = 0
    for l in range(1, len(sizes)):
        W_at[l] = end
        b_at[l] = end + sizes[l] * sizes[l - 1]
        end = -(-int(b_at[l] + sizes[l]) // step) * step
    return W_at, b_at, end


def batch(sizes: list[int], rows: int, dtype: Any) -> Batch:
    """Buffers for `rows` samples."""
    step = ALIGNMENT // np.dtype(dtype).itemsize
    padded = [-(-rows * n // step) * step for n in sizes]
    at = np.concatenate([[0], np.cumsum(padded)]).astype(np.int64)
    z, a, slope, moved, delta = (empty(int(at[-1]), dtype) for _ in range(5))
    y, cost = empty(rows * sizes[-1], dtype), empty(rows, dtype)
    return Batch(at[:-1], z, a, slope, moved, delta, y, cost, *own(sizes, dtype), np.ones(1, dtype))


def own(sizes: list[int], dtype: Any) -> tuple[Array, Array]:
    """What each member of a team has for itself even where it shares the rest: packed and length."""
    return empty(PACKED, dtype), np.zeros((len(sizes), 2))


class _Seen:
    """Memory offered to NumPy under another flag, holding on to its owner."""

    def __init__(self, owner: Array) -> None:
        self.owner = owner
        self.__array_interface__ = {**owner.__array_interface__, "data": (owner.ctypes.data, False)}


def readable(array: Array) -> Array:
    """The same memory, without the read-only flag.

    Numba compiles anew for arrays that are flagged read-only, a memory-mapped file for instance. The kernels
    only read them, so one compilation serves both.
    """
    return array if array.flags.writeable else np.asarray(_Seen(array))
