"""Whether values are finite."""

from __future__ import annotations

from deltarule.kernels.compile import jit


@jit
def finite(values):
    """Whether every value is finite: 0 times a NaN or an infinity is a NaN, whatever the sum."""
    total = values.dtype.type(0)
    for i in range(values.size):
        total += values[i] * 0
    return total == 0
