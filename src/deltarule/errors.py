"""What can go wrong, by kind. Every message names what came, what was expected and the way out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any


class DeltaruleError(Exception):
    """The base of every error that deltarule raises on purpose."""


class BadInput(DeltaruleError, ValueError):
    """An argument or data set that cannot be used as it is."""


class BadFile(DeltaruleError, ValueError):
    """A file that is truncated, foreign, changed, or not there."""


class NoSuchLayer(DeltaruleError, IndexError):
    """A layer index outside the book's numbering."""


class MissingExtra(DeltaruleError, ImportError):
    """A feature whose optional dependency is not installed."""


class RankLost(DeltaruleError, RuntimeError):
    """One of the processes that train together is gone, or has not answered in time."""


class RankFailed(DeltaruleError):
    """Another of the processes that train together has met an error, which its message tells."""


class Diverged(DeltaruleError, FloatingPointError):
    """Training met a NaN or an infinity. The network holds its last good weights.

    Attributes
    ----------
    epoch, step : int
        Where the first non-finite value appeared: epochs count from 1, steps within the epoch from 1.
    layer : int
        The layer it appeared in, in the book's numbering.
    history : History
        What was recorded up to the last good epoch.
    """

    def __init__(self, message: str, *, epoch: int, step: int, layer: int, history: Any) -> None:
        super().__init__(message)
        self.epoch, self.step, self.layer, self.history = epoch, step, layer, history


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether this is one finite real number from `least` to `most`; True and False are not."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and math.isfinite(value) and least <= value <= most  # type: ignore[arg-type, operator]


def require(what: str, value: object, good: bool, expected: str) -> None:
    """Raise BadInput unless the value is good."""
    if not good:
        raise BadInput(f"{what} is {value!r}; expected {expected}")


def is_count(value: object) -> bool:
    """Whether this is an integer from 1 up."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1  # type: ignore[operator]


def unknown(kind: str, name: object, known: Iterable[str], more: str = "") -> BadInput:
    """The error for a name that is not in a table: it suggests the nearest and lists the rest."""
    known = list(known)
    near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return BadInput(f"unknown {kind} {name!r}.{guess} Known: {', '.join(known)}{more}.")
