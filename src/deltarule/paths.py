"""Ways through a flow that branches: who hands the error to whom, and how much of it.

Where two operations used the same value, the errors of both arrive there and are added up. The share of each is
its length over the sum of their lengths. Along any one way the logarithms of the gains, and of what is lost or
won where parts are added up, sum to that of the whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltarule.flow import Move


def sources(rows: Sequence[Move]) -> list[list[tuple[int, float]]]:
    """By row: the rows that hand it error, and how long a part each hands over."""
    found: list[list[tuple[int, float]]] = [[] for _ in rows]
    for i, move in enumerate(rows):
        for child, part in zip(move.to, move.outs, strict=True):
            if child >= 0:
                found[child].append((i, part))
    return found


def shares(rows: Sequence[Move]) -> list[list[tuple[int, float]]]:
    """By row: the rows that hand it error, and the share of each; they add up to 1."""
    found = []
    for parts in sources(rows):
        whole = math.fsum(part for _, part in parts)
        found.append([(i, part / whole if whole else math.nan) for i, part in parts])
    return found


def heaviest(rows: Sequence[Move], to: int) -> list[int]:
    """The rows from the loss to this one, at each meeting of ways by the one that hands over most."""
    from_where = sources(rows)
    way = [to]
    while from_where[way[-1]]:
        before = max(from_where[way[-1]], key=lambda one: one[1] if one[1] == one[1] else math.inf)
        way.append(before[0])
    return way[::-1]


def arriving(rows: Sequence[Move], l: int) -> float:
    """How long the error is that arrives at layer l's weights: |delta^l|; of one used several times, together."""
    return math.hypot(*(move.norm_in for move in rows if move.step == "weights" and move.layer == l - 1))


def label(move: Move) -> str:
    """An operation in words: layers.3 (linear); relu after layers.2."""
    if move.name.startswith("after "):
        return f"{move.op} {move.name}"
    return f"{move.name} ({move.op})" if move.name else move.op


def where(move: Move) -> str:
    """The same with the line of the code, where that is known."""
    return f"{label(move)} at {move.source}" if move.source else label(move)


@dataclass(frozen=True)
class Stage:
    """One factor on the way down: an operation's, or what other parts add or take where they meet it.

    `move` is the operation; of a meeting, the one that it comes before.
    """

    move: Move
    meets: bool
    gain: float


def stages(rows: Sequence[Move]) -> list[Stage]:
    """Along the heaviest way from the loss to the first layer: each factor; their product is the whole gain.

    The way ends where the error arrives at the first layer's weights, which carry it no further. Where it becomes
    0 the factors below have no size, and are NaN.
    """
    way = _way(rows)
    found = []
    for here, after in itertools.pairwise(way):
        move = rows[here]
        part = max(out for child, out in zip(move.to, move.outs, strict=True) if child == after)
        found.append(Stage(move, False, part / move.norm_in if move.norm_in else math.nan))
        found.append(Stage(rows[after], True, rows[after].norm_in / part if part else math.nan))
    return found


def _way(rows: Sequence[Move]) -> list[int]:
    ends = [i for i, move in enumerate(rows) if move.step == "weights" and move.layer == 0] or [len(rows) - 1]
    return heaviest(rows, max(ends, key=lambda i: rows[i].norm_in))


def budget(rows: Sequence[Move]) -> list[str]:
    """Along the heaviest way to the first layer: each operation's factor, and what is left."""
    lines = []
    for stage in stages(rows):
        if not math.isnan(stage.gain) and abs(math.log(stage.gain) if stage.gain else math.inf) > 1e-3:
            what = f"  where it meets other parts, before {label(stage.move)}" if stage.meets else label(stage.move)
            lines.append(f"{what}: x{stage.gain:.3g}")
    first, last = (rows[i] for i in (_way(rows)[0], _way(rows)[-1]))
    total = last.norm_in / first.norm_in if first.norm_in else math.nan
    return [*lines, f"from {label(first)} to {label(last)}: x{total:.3g}"]
