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
    read_as : str
        How the formula was understood, in plain text, with what was read in one way of several.
    mended : str
        The formula after the edits, as text that `check_formula` reads and finds true; empty where there is none.
    holds_where : tuple of str
        For one that does not hold: the other conventions, activations or costs with which it does.
    """

    schema = "deltarule.verdict"

    formula: str
    holds: bool
    error: float | None
    reason: str
    read_as: str = ""
    mended: str = ""
    holds_where: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        lines = [self.formula, f"{'' if self.holds else 'DOES NOT HOLD: '}{self.reason}"]
        if self.read_as:
            lines.append(f"read as: {self.read_as}")
        if self.mended:
            lines.append(f"mended:  {self.mended}")
        return "\n".join(lines)

    __repr__ = __str__
