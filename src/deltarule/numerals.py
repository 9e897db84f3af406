"""How numbers are written in a table: so that a reader can add them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

DIGITS = 5


def number(value: float, digits: int = DIGITS) -> str:
    """One number with so many digits; a small whole number as it is."""
    if value == round(value) and abs(value) < 1000:
        return str(int(value))
    return column([value], digits)(value)


def column(values: Sequence[float] | Array, digits: int = DIGITS) -> Callable[[float], str]:
    """How to write the numbers of a column: as many decimals for all as the largest needs, so that they add up.

    >>> write = column([12.5, -0.00123])
    >>> write(12.5), write(-0.00123)
    ('12.500', '-0.001')
    >>> column([0.0000125])(0.0000025)
    '0.2500e-5'
    """
    largest = max((abs(float(value)) for value in values), default=0.0)
    if largest == 0:
        return lambda value: "0"
    power = math.floor(math.log10(largest))

    def write(value: float) -> str:
        if -4 < power < 7:
            text = f"{value:.{max(0, digits - 1 - power)}f}"
        elif power > -300:
            text = f"{value / 10.0**power:.{digits - 1}f}e{power}"
        else:
            return f"{value:.{digits - 1}e}"  # 10^-power would overflow
        return text.removeprefix("-") if float(text) == 0 else text

    return write
