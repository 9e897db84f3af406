"""What a training leaves behind: cost and accuracy of every epoch."""

from __future__ import annotations

from dataclasses import dataclass

from deltarule.records import Record, text_table
from deltarule.watched import Watched


@dataclass(frozen=True)
class Series(Record):
    """Cost and score of data that is not trained on, after each epoch.

    `accuracy` is `Network.score`: the share classified right for labels, R^2 for values.
    """

    schema = "deltarule.series"

    cost: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sharing(Record):
    """What it came to that several processes trained together.

    Attributes
    ----------
    ranks : int
        How many they were.
    seconds : float
        Of an epoch's steps, in the mean.
    communication : float
        The share of these seconds that went into the sums over all ranks, waiting for the slowest included; each rank
        has its own figure.
    alone : float
        The seconds that the first rank alone would take for an epoch, from some steps that it took before.
    """

    schema = "deltarule.sharing"

    ranks: int
    seconds: float
    communication: float
    alone: float

    def __str__(self) -> str:
        times = self.alone / self.seconds
        return (
            f"{self.ranks} ranks: {self.seconds:.3g} s an epoch, communication {self.communication:.0%} of it; "
            f"one rank alone: {self.alone:.3g} s (speed-up {times:.2g}x"
            f"{'' if times > 1 else ': these steps are too short to be shared'})"
        )

    __repr__ = __str__


@dataclass(frozen=True)
class History(Record):
    """The record of a training, one entry an epoch.

    Attributes
    ----------
    cost : tuple of float
        The mean of C over the epoch's samples, each seen before the step that used it; without penalties.
    accuracy : tuple of float
        The share classified right, seen in the same way; empty where the targets are not labels.
    validation : Series or None
        After the epoch, on the validation data.
    eta, seconds : tuple of float
        The learning rate of the epoch and the time it took.
    stopped : str
        "finished", "early" (early stopping) or "interrupted" (Ctrl-C).
    best_epoch : int or None
        With early stopping, the epoch (from 1) whose weights the network has now.
    angle : tuple of tuples
        With a rule other than the transpose: after each epoch and for each hidden layer 1..L-1, the angle in
        degrees between the rule's delta^l and dC/dz^l, over up to 100 of the training samples.
    flow : Watched or None
        With `watch`, the error's flow in every step, or in every k-th, of the epochs completed.
    sharing : Sharing or None
        With `ranks`, how fast they were, and how much of it was communication.
    """

    schema = "deltarule.history"
    version = 2
    oldest = 1

    cost: tuple[float, ...]
    accuracy: tuple[float, ...]
    validation: Series | None
    eta: tuple[float, ...]
    seconds: tuple[float, ...]
    stopped: str = "finished"
    best_epoch: int | None = None
    angle: tuple[tuple[float, ...], ...] = ()
    flow: Watched | None = None
    sharing: Sharing | None = None

    @property
    def epochs(self) -> int:
        """How many epochs were completed."""
        return len(self.cost)

    def __str__(self) -> str:
        if not self.epochs:
            return f"History of no completed epoch ({self.stopped})"
        shown = sorted({0, *range(self.epochs // 10, self.epochs, max(1, self.epochs // 10)), self.epochs - 1})
        columns: dict[str, tuple[float, ...]] = {"cost": self.cost, "accuracy": self.accuracy}
        if self.validation is not None:
            columns["validation cost"] = self.validation.cost
            columns["validation accuracy"] = self.validation.accuracy
        for l, angles in enumerate(zip(*self.angle, strict=True), 1):
            columns[f"angle {l}"] = angles
        columns["eta"] = self.eta
        filled = {name: values for name, values in columns.items() if values}
        rows = [[epoch + 1, *(f"{values[epoch]:.4g}" for values in filled.values())] for epoch in shown]
        best = f", best epoch {self.best_epoch}" if self.best_epoch is not None else ""
        return (
            f"History of {self.epochs} epochs in {sum(self.seconds):.1f} s ({self.stopped}{best})\n"
            f"{text_table(['epoch', *filled], rows)}"
        )

    __repr__ = __str__
