"""The record that a judged formula ends in."""

from __future__ import annotations

from dataclasses import dataclass

from deltarule.records import Record


@dataclass(frozen=True)
class Verdict(Record):
    """What :func:`deltarule.check_formula` found.

    Attributes
    ----------
    formula : str
        As it was given.
    holds : bool
    error : float or None
        The largest relative error of any member at any layer; None where none could be computed.
    reason : str
        Why it does not hold and the smallest edit that mends it, or what it was held against.
    """

    schema = "deltarule.verdict"

    formula: str
    holds: bool
    error: float | None
    reason: str

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return f"{self.formula}\n{'' if self.holds else 'DOES NOT HOLD: '}{self.reason}"

    __repr__ = __str__
