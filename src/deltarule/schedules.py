"""How the learning rate changes over the epochs: a factor on eta, a function of what has happened so far.

No schedule has a state of its own. Each computes its factor from the number of the epoch and the costs so
far, so that a training that goes on from a checkpoint sees the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deltarule.errors import is_count, is_number, require, unknown


@dataclass(frozen=True)
class Schedule:
    """eta stays as it is. The base of the others."""

    watches_cost = False

    def factor(self, epoch: int, epochs: int, costs: Sequence[float]) -> float:
        """The factor on eta in an epoch.

        Parameters
        ----------
        epoch : int
            The epochs done before, 0 for the first.
        epochs : int
            How many there will be in all.
        costs : sequence of float
            The cost after each epoch done (on the validation data, where there are any).
        """
        return 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """eta."""


@dataclass(frozen=True)
class Inverse(Schedule):
    """eta / (1 + decay * epoch). Robbins and Monro 1951.

    >>> Inverse(1.0).factor(3, 10, [])
    0.25
    """

    decay: float = 0.1

    def __post_init__(self) -> None:
        require("decay", self.decay, is_number(self.decay, 0), "a number from 0 up")

    def factor(self, epoch: int, epochs: int, costs: Sequence[float]) -> float:
        return 1.0 / (1.0 + self.decay * epoch)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine wave from eta down to floor * eta. Loshchilov and Hutter 2017.

    `over` is the number of epochs until the floor; without it, all that the training has.
    """

    floor: float = 0.0
    over: int | None = None

    def __post_init__(self) -> None:
        require("floor", self.floor, is_number(self.floor, 0, 1), "a share of eta from 0 to 1")
        require("over", self.over, self.over is None or is_count(self.over), "a number of epochs from 1 up, or None")

    def factor(self, epoch: int, epochs: int, costs: Sequence[float]) -> float:
        way = min(epoch / max((self.over or epochs), 1), 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * way))


@dataclass(frozen=True)
class OnPlateau(Schedule):
    """times `by` whenever the cost has not improved for `patience` epochs; the book's chapter 3 halves."""

    by: float = 0.5
    patience: int = 5
    floor: float = 1e-4

    watches_cost = True

    def __post_init__(self) -> None:
        require("by", self.by, is_number(self.by, 0, 1) and 0 < self.by < 1, "a factor between 0 and 1")
        require("patience", self.patience, is_count(self.patience), "a number of epochs from 1 up")
        require("floor", self.floor, is_number(self.floor, 0, 1), "a share of eta from 0 to 1")

    def factor(self, epoch: int, epochs: int, costs: Sequence[float]) -> float:
        factor, best, waited = 1.0, math.inf, 0
        for cost in costs:
            waited = 0 if cost < best else waited + 1
            best = min(best, cost)
            if waited >= self.patience:
                factor, waited = max(factor * self.by, self.floor), 0
        return factor


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inverse": Inverse,
    "cosine": Cosine,
    "on_plateau": OnPlateau,
}


def schedule(given: str | Schedule | None) -> Schedule:
    """The schedule itself, one with its defaults by name, or a constant eta where none is given."""
    if given is None:
        return Constant()
    if isinstance(given, Schedule):
        return given
    if isinstance(given, str) and given in SCHEDULES:
        return SCHEDULES[given]()
    raise unknown("schedule", given, SCHEDULES, ", or an object such as deltarule.Inverse(0.1)")


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation cost (or accuracy) has not improved for `patience` epochs; keep the best weights.

    Parameters
    ----------
    patience : int
    min_delta : float
        The least change that counts as an improvement.
    monitor : "cost" or "accuracy"
    """

    patience: int = 10
    min_delta: float = 0.0
    monitor: str = "cost"

    def __post_init__(self) -> None:
        if self.monitor not in ("cost", "accuracy"):
            raise unknown("monitor", self.monitor, ("cost", "accuracy"))
        require("patience", self.patience, is_count(self.patience), "a number of epochs from 1 up")
        require("min_delta", self.min_delta, is_number(self.min_delta, 0), "a number from 0 up")

    def best_epoch(self, values: Sequence[float]) -> int:
        """The epoch (from 0) of the best value so far."""
        sign = 1.0 if self.monitor == "cost" else -1.0
        best = 0
        for epoch, value in enumerate(values):
            if sign * value < sign * values[best] - self.min_delta:
                best = epoch
        return best

    def is_over(self, values: Sequence[float]) -> bool:
        """Whether the last improvement is too long ago."""
        return len(values) - 1 - self.best_epoch(values) >= self.patience
