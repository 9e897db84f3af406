"""What a trained network says of the rows of a table: written to a file, or judged against the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.data import Samples
from deltarule.errors import BadInput
from deltarule.network import Network
from deltarule.recipe import Recipe
from deltarule.records import Record
from deltarule.store import whole
from deltarule.tables import Table, arrow, ending

Array = npt.NDArray[Any]

WRITTEN = (".csv", ".parquet", ".pq")


def predict(
    net: Network,
    recipe: Recipe,
    table: Table,
    path: Path,
    *,
    keep: Sequence[str] = (),
    unseen: str = "error",
    progress: bool = True,
) -> tuple[int, int]:
    """Write what the network says of every row to a CSV or Parquet file; return how many rows, and how many blank.

    One row for each of the table, in its order: the columns of the table named in `keep`; `predicted_TARGET`, the
    class, or the value in the target's units; and for each class the network's output, `probability_CLASS` behind a
    softmax, `output_CLASS` behind another activation. Under the recipe's "drop" a row with a missing value is blank.

    The file appears when it is whole, or not at all. Raises BadInput for another ending, a column that is missing,
    and values that the recipe refuses.
    """
    if ending(path) not in WRITTEN:
        raise BadInput(f"{path}: its ending names no format that predictions are written in: {', '.join(WRITTEN)}")
    names = _names(net, recipe)
    twice = [name for name in keep if name in names]
    if twice:
        raise BadInput(f"column {twice[0]!r} cannot be kept: a column of the predictions has this name")
    pa, rows, blank = arrow(), 0, 0
    with whole(path) as file, _writer(file, path) as write:
        for batch in table.batches(recipe.needed(False), "predicting", progress, as_they_are=keep):
            _, x, _, there = recipe.encode(batch, net.dtype, unseen)
            a = net.predict(x) if len(x) else np.empty((0, recipe.n_out), net.dtype)
            columns = [recipe.decode(a), *(a.T if recipe.is_classification else [])]
            spread = np.full(len(there), -1)
            spread[there] = np.arange(len(x))
            places = pa.array(spread, mask=~there)
            found = [pa.array(column).take(places) for column in columns]
            write(pa.table({**batch.as_they_are, **dict(zip(names, found, strict=True))}))
            rows += batch.rows
            blank += int((~there).sum())
    return rows, blank


def _names(net: Network, recipe: Recipe) -> list[str]:
    share = "probability" if net.output.name == "softmax" else "output"
    return [f"predicted_{recipe.target.name}", *(f"{share}_{name}" for name in recipe.classes)]


@contextmanager
def _writer(file: Any, path: Path) -> Iterator[Any]:
    """A function that writes tables, one after another, in the format that the path's ending names."""
    pa = arrow()
    made: list[Any] = []

    def write(table: Any) -> None:
        if not made:
            kind = pa.csv.CSVWriter if ending(path) == ".csv" else pa.parquet.ParquetWriter
            made.append(kind(file, table.schema))
        made[0].write_table(table)

    try:
        yield write
    finally:
        for writer in made:
            writer.close()


@dataclass(frozen=True)
class Evaluation(Record):
    """How good a network is on some rows.

    Attributes
    ----------
    rows : int
    cost : float
        The mean of C, in standardised units where the target is a number.
    score : float
        The share classified right; R^2 where the target is a number.
    usual : float or None
        The share of the most frequent class in these rows: what one gets without looking. None for a number.
    off : float or None
        The root of the mean squared error in the target's units. None for classes.
    """

    schema = "deltarule.evaluation"

    rows: int
    cost: float
    score: float
    usual: float | None
    off: float | None

    def __str__(self) -> str:
        said = f"{self.rows:>7} samples   cost {self.cost:.4f}   "
        if self.usual is not None:
            return f"{said}accuracy {self.score:.4f}   (the most frequent class alone {self.usual:.4f})"
        return f"{said}R^2 {self.score:.4f}   off by {self.off:.4g} (root mean square, in the target's units)"

    __repr__ = __str__


class Judge:
    """Gathers, batch by batch, how good a network is.

    R^2 = 1 - sum (y - a)^2 / sum (y - mean y)^2.
    """

    def __init__(self, net: Network, recipe: Recipe) -> None:
        self.net, self.recipe = net, recipe
        self.rows, self.cost, self.right = 0, 0.0, 0
        self.missed = self.total = self.squares = 0.0
        self.counts = np.zeros(recipe.n_out, np.int64)

    def add(self, samples: Samples) -> None:
        """Take in some samples, coded as the recipe codes them; there may be none."""
        x, y = samples
        if not len(x):
            return
        self.rows += len(x)
        self.cost += self.net.mean_cost(x, y) * len(x)
        a = self.net.predict(x)
        if self.recipe.is_classification:
            self.right += int((a.argmax(axis=1) == y).sum())
            self.counts += np.bincount(y, minlength=self.recipe.n_out)
        else:
            values = y.astype(np.float64)
            self.missed += float(((values - a) ** 2).sum())
            self.total += float(values.sum())
            self.squares += float((values**2).sum())

    def evaluation(self) -> Evaluation:
        """What has come of it. Raises BadInput where no row was taken in."""
        rows = self.rows
        if not rows:
            raise BadInput("no rows to judge: each lacks the target, or a value")
        if self.recipe.is_classification:
            return Evaluation(rows, self.cost / rows, self.right / rows, int(self.counts.max()) / rows, None)
        spread = self.squares - self.total**2 / rows
        score = 1 - self.missed / spread if spread > 0 else float(self.missed == 0)
        return Evaluation(
            rows, self.cost / rows, score, None, float(np.sqrt(self.missed / rows)) * self.recipe.target.std
        )


def evaluate(net: Network, recipe: Recipe, samples: Samples) -> Evaluation:
    """How good a network is on samples that are coded as the recipe codes them."""
    judge = Judge(net, recipe)
    judge.add(samples)
    return judge.evaluation()
