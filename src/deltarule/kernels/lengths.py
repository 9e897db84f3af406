"""BP2's second move, and the lengths of the error before and after it, in one pass.

The length of values is the root of the sum of their squares. It tells a training how large the error is, and whether
any of it is not finite, without another walk over the values.
"""

from __future__ import annotations

import math

import numpy as np

from deltarule.kernels.compile import jit
from deltarule.kernels.stretch import stretch

CHUNK = 4096
"""So many squares are added up in the values' own precision, then in float64."""


@jit
def through_activation(moved, slope, delta):
    """delta = moved * slope; the lengths of moved and of delta. Twin: the second move of reference.bp2."""
    before = after = 0.0
    for start in range(0, delta.size, CHUNK):
        end = min(start + CHUNK, delta.size)
        m, d = _chunk(stretch(moved, start, end), stretch(slope, start, end), stretch(delta, start, end))
        before += np.float64(m)
        after += np.float64(d)
    return _root(before, moved), _root(after, delta)


@jit
def _chunk(moved, slope, delta):
    """delta = moved * slope; the sums of the squares of moved and of delta."""
    before = after = delta.dtype.type(0)
    for i in range(delta.size):
        old = moved[i]
        new = old * slope[i]
        delta[i] = new  # BP2
        before += old * old
        after += new * new
    return before, after


@jit
def length(values):
    """The length of values: 0 of none, NaN with a NaN among them."""
    total = 0.0
    for start in range(0, values.size, CHUNK):
        total += np.float64(_squares(stretch(values, start, min(start + CHUNK, values.size))))
    return _root(total, values)


@jit
def _squares(values):
    total = values.dtype.type(0)
    for i in range(values.size):
        total += values[i] * values[i]
    return total


@jit
def _root(total, values):
    """The root of a sum of squares; where squares have left the range of their precision, they are summed anew."""
    low, high = (1e-20, 1e37) if values.itemsize == 4 else (1e-280, 1e300)
    if low < total < high:
        return math.sqrt(total)
    if total != total:
        return total
    largest = 0.0
    for i in range(values.size):
        largest = max(largest, abs(np.float64(values[i])))
    if largest == 0 or largest == math.inf:
        return largest
    total = 0.0
    for i in range(values.size):
        scaled = np.float64(values[i]) / largest
        total += scaled * scaled
    return largest * math.sqrt(total)
