"""The derivative of a function along a line, by nudging alone: its value, its trust, and whether a kink is there.

Nothing is known of the function but its values, so a kink shows in this alone: the slopes to the right and to the
left differ by a jump that does not shrink with the step, where a smooth function's shrinks in proportion to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Ladder(NamedTuple):
    """Step sizes: the first, the factor between two, and how many."""

    first: float
    shrink: float
    levels: int


FINE = Ladder(0.02, 4.0, 7)
"""For values that are computed in float64."""

COARSE = Ladder(0.25, 2.5, 6)
"""For values that are rounded to float32 or less: shorter steps would measure the rounding."""


class Slope(NamedTuple):
    """f'(0), its uncertainty (infinite where no two steps could be compared), and whether a kink is in the way."""

    value: float
    spread: float
    kink: bool


def slope(
    f: Callable[[float], float], f_0: float, noise: float, ladder: Ladder, tolerance: float, small: float
) -> Slope:
    """f'(0) by central differences at shrinking steps, extrapolated to a step of zero (Ridders 1982).

    Parameters
    ----------
    f : callable
        The function over the step.
    f_0 : float
        f(0).
    noise : float
        How far a value of f may be off by rounding.
    ladder : Ladder
    tolerance, small : float
        What is asked of the result, relative and absolute: the ladder is left where it is known a hundred times
        better than that.

    Notes
    -----
    T[i][m] = (c^m T[i][m-1] - T[i-1][m-1]) / (c^m - 1) with c = shrink^2 removes the error's even powers of h one
    after another; the entry whose neighbours agree best is taken, and their disagreement, with the rounding, is its
    uncertainty. A step that leaves f's domain is passed over.

    Examples
    --------
    >>> import math
    >>> found = slope(math.exp, 1.0, 1e-15, FINE, 1e-6, 0.0)
    >>> abs(found.value - 1) < 1e-10, found.spread < 1e-9, found.kink
    (True, True, False)
    >>> slope(abs, 0.0, 1e-15, FINE, 1e-6, 0.0).kink
    True
    """
    before: list[float] = []
    best, spread, kink = math.nan, math.inf, False
    jump_before = math.inf
    for level in range(ladder.levels):
        h = ladder.first / ladder.shrink**level
        up, down = f(h), f(-h)
        if not (math.isfinite(up) and math.isfinite(down)):
            before, jump_before = [], math.inf
            continue
        row = [(up - down) / (2 * h)]
        rounding = noise / h
        for m, larger in enumerate(before, 1):
            c = ladder.shrink ** (2 * m)
            value = (c * row[-1] - larger) / (c - 1)
            error = max(abs(value - row[-1]), abs(value - larger)) + rounding
            if error < spread:
                best, spread = value, error
            row.append(value)
        jump = abs(up - 2 * f_0 + down) / h
        least = max(8 * rounding, tolerance * abs(row[0]), small)
        kink = jump > least and jump > jump_before / math.sqrt(ladder.shrink)
        before, jump_before = row, jump
        if len(row) > 2 and spread <= 0.01 * max(tolerance * abs(best), small) and not kink:
            break
    return Slope(best, spread, kink)
