"""Ranks: processes that train one network together, numbered from 0, and what they agree on.

:mod:`deltarule.interop.distributed` has those of PyTorch; :mod:`deltarule.shared` is the training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from deltarule.errors import DeltaruleError, RankFailed

Array = npt.NDArray[Any]
T = TypeVar("T")


class Ranks(Protocol):
    """Processes that can speak with each other; every one makes the same calls in the same order."""

    rank: int
    size: int

    def sum(self, array: Array) -> None:
        """Put the sum over all ranks into the array, the same bits on each."""

    def share(self, array: Array) -> None:
        """Put the first rank's numbers into the array."""

    def broadcast(self, value: Any) -> Any:
        """The first rank's value."""

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, rank by rank."""


def together(ranks: Ranks | None, work: Callable[[], T]) -> T:
    """What the work returns here, once it has been done on every rank.

    Where it fails on some, it fails on all: with its error on the first of these, with RankFailed on the others.
    """
    if ranks is None:
        return work()
    failure: Exception | None = None
    try:
        done = work()
    except (DeltaruleError, OSError) as error:
        failure = error
    said = ranks.gather(None if failure is None else str(failure))
    failed = [rank for rank, what in enumerate(said) if what is not None]
    if not failed:
        return done
    if failure is not None and ranks.rank == failed[0]:
        raise failure
    raise RankFailed(f"rank {failed[0]} of {ranks.size}: {said[failed[0]]}") from failure


def share(n: int, rank: int, size: int) -> tuple[int, int]:
    """From where to where the share of a rank goes in n samples; the first ones have one more where it must be.

    >>> [share(10, rank, 4) for rank in range(4)]
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    """
    whole, more = divmod(n, size)
    low = rank * whole + min(rank, more)
    return low, low + whole + (rank < more)
