"""What the check of a PyTorch module's backward pass found: a record for each gradient, and one for all."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deltarule.records import Record, text_table

SHOWN = 10
"""How many coordinates on a kink are named."""

ZERO = "zero, up to rounding"
"""The remark on a gradient that is 0 in computation and measurement alike, as of a bias before a BatchNorm."""


@dataclass(frozen=True)
class GradientFinding(Record):
    """The gradient by one input or parameter.

    Attributes
    ----------
    name : str
        "input", "input[0]", or the parameter's name.
    shape : tuple of int
    coordinates, directions : int
        How many single numbers, and how many random directions through all of them, were measured.
    error : float
        |computed - measured| / |measured| over all that was measured.
    floor : float
        How far the measurement can be trusted, on the same scale. Above 0.1 it is too coarse to tell.
    own : float
        How far the gradient in the module's own dtype is from that in float64, relative; NaN where not compared.
    ok : bool
    place : str
        The worst place, with `computed` and `measured` there.
    kinks : tuple of tuples
        The coordinates, the first ten, that sit on a kink or at the edge of the domain, where no derivative exists.
        They are not judged. `kinked` counts all.
    remark : str
        What the numbers do not say: no gradient, NaN in it, zero up to rounding, wrong by one factor throughout.
    """

    schema = "deltarule.gradient_finding"

    name: str
    shape: tuple[int, ...]
    coordinates: int
    directions: int
    error: float
    floor: float
    own: float
    ok: bool
    place: str
    computed: float
    measured: float
    kinks: tuple[tuple[int, ...], ...] = ()
    kinked: int = 0
    remark: str = ""


@dataclass(frozen=True)
class BackwardCheck(Record):
    """What :func:`check_backward` found; `ok` if every finding is.

    Attributes
    ----------
    module : str
    findings : tuple of GradientFinding
    dtype, measured_in : str
        Of the module, and of the measurement.
    tolerance : float
    size, passes : int
        How many numbers there are to differentiate by, and how many forward passes it took.
    notes : tuple of str
        What one should know: drawn numbers, changes in place, what was left out.
    repeatable : bool
        Whether the same values give the same outputs and gradients. Nothing is judged where they do not.
    """

    schema = "deltarule.backward_check"

    module: str
    findings: tuple[GradientFinding, ...]
    dtype: str
    measured_in: str
    tolerance: float
    size: int
    passes: int
    notes: tuple[str, ...]
    repeatable: bool = True

    @property
    def ok(self) -> bool:
        """Whether every gradient agrees with the measurement."""
        return self.repeatable and all(finding.ok for finding in self.findings)

    @property
    def worst(self) -> GradientFinding:
        """The finding with the largest error; one that failed, where any did."""

        def badness(finding: GradientFinding) -> tuple[bool, float]:
            return not finding.ok, math.inf if math.isnan(finding.error) else finding.error

        return max(self.findings, key=badness)

    def __str__(self) -> str:
        rows = [_row(finding) for finding in self.findings]
        tried = sum(finding.coordinates for finding in self.findings)
        along = sum(finding.directions for finding in self.findings)
        first = (
            f"Check of {self.module}'s backward pass in {self.dtype}, measured in {self.measured_in}: {tried:,} of "
            f"{self.size:,} numbers one by one, {along} random directions, {self.passes:,} forward passes"
        )
        lines = [first]
        if rows:
            head = ["gradient by", "shape", "tried", "relative error", "floor", f"in {self.dtype}", "verdict", ""]
            lines.append(_without_empty_columns(head, rows))
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, self._end()])

    __repr__ = __str__

    def _end(self) -> str:
        if not self.repeatable:
            return "NOT REPEATABLE: nothing can be measured."
        if self.ok:
            return f"The backward pass agrees with the measurement (tolerance {self.tolerance:g})."
        worst = self.worst
        remark = f"; {worst.remark}" if worst.remark else ""
        if not worst.place:
            return f"WRONG: the gradient by {worst.name}: {worst.remark}."
        return (
            f"WRONG: the gradient by {worst.name} {worst.place}: autograd gives {worst.computed:.6g}, "
            f"measured {worst.measured:.6g}{remark}."
        )


def _row(finding: GradientFinding) -> list[str]:
    tried = f"{finding.coordinates}" if finding.coordinates else ""
    if finding.directions:
        tried = f"{tried} + {finding.directions} directions" if tried else f"{finding.directions} directions"
    remark = finding.remark
    zero = remark == ZERO
    if finding.kinked:
        more = ", .." if finding.kinked > len(finding.kinks) else ""
        places = ", ".join(map(str, finding.kinks))
        remark = f"{finding.kinked} on a kink, not judged: {places}{more}" + (f"; {remark}" if remark else "")
    coarse = finding.ok and finding.floor > 0.1 and not zero
    return [
        finding.name,
        str(finding.shape),
        tried,
        "" if zero or math.isnan(finding.error) else f"{finding.error:.1e}",
        "" if zero or math.isnan(finding.floor) else f"{finding.floor:.0e}",
        "" if zero or math.isnan(finding.own) else f"{finding.own:.1e}",
        "too coarse to tell" if coarse else "ok" if finding.ok else "WRONG",
        remark,
    ]


def _without_empty_columns(head: list[str], rows: list[list[str]]) -> str:
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return text_table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])
