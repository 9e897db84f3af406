"""From the rows of a table to the inputs and targets of a network, and from its outputs back to words and units.

A recipe is learned from a table in one pass, row after row, and goes with the network: what it learned (words,
means, deviations, what stands in for a missing value) is used unchanged on every table that follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltarule.columns import Column, in_order, listed
from deltarule.data import Samples
from deltarule.division import Division
from deltarule.errors import BadInput, is_count, require, unknown
from deltarule.learner import MOST_NUMBERED_CLASSES, Learner
from deltarule.records import Record, text_table
from deltarule.tables import Batch, Table, arrow

Array = npt.NDArray[Any]

POLICIES = ("error", "mean", "median", "drop", "indicator")
TASKS = ("classification", "regression")
MOST_CLASSES = 1000
ROWS_A_CLASS = 5
"""A target of whole numbers is taken for classes if each has, on average, at least so many rows."""


@dataclass(frozen=True)
class Reading:
    """How a table is to be read and divided, checked; the fields are arguments of :func:`deltarule.prepare`."""

    target: str
    task: str | None = None
    missing: str = "error"
    missing_words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    dates: str = "error"
    most_words: int = 100
    encoding: str | None = None
    validation: float = 0.0
    test: float = 0.0

    def __post_init__(self) -> None:
        for name in ("missing_words", "without", "category"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        for what, given, known in (
            ("way with missing values", self.missing, POLICIES),
            ("task", self.task or "classification", TASKS),
            ("way with dates", self.dates, ("error", "number")),
        ):
            if given not in known:
                raise unknown(what, given, known)
        require("most_words", self.most_words, is_count(self.most_words), "an integer from 1 up")
        self.division(0)

    def division(self, seed: int) -> Division:
        """Which rows train, validate and test."""
        return Division(self.validation, self.test, seed)

    def table(self, source: Any) -> Table:
        """The source as a table."""
        return Table(source, missing_words=self.missing_words, encoding=self.encoding)


class Encoded(NamedTuple):
    """A batch as a network takes it: the numbers of its rows, x, and y where the table has the target.

    `whole` tells, for every row of the batch, whether it is there: rows with missing values may be left out.
    """

    rows: Array
    x: Array
    y: Array
    whole: Array


@dataclass(frozen=True)
class Recipe(Record):
    """How the rows of a table become the inputs and targets of a network, learned by :meth:`fit`.

    Attributes
    ----------
    target : Column
    classes : tuple of str or of int
        In the order of the network's outputs; empty where the target is a number.
    columns : tuple of Column
        In the order of the table that it was learned from.
    missing : str
        What is done with missing values: "error", "mean", "median", "drop" or "indicator".
    missing_words : tuple of str
    counts : tuple of int
        How many rows each class had.
    notes : tuple of str
        What was decided on the way: columns and rows that are left out, what the target was taken for.
    """

    schema = "deltarule.recipe"

    target: Column
    classes: tuple[str | int, ...]
    columns: tuple[Column, ...]
    missing: str
    missing_words: tuple[str, ...]
    counts: tuple[int, ...]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        kinds = [str(type(name)) for name in self.classes]
        numbered = all(isinstance(name, (str, int)) for name in self.classes) and len(set(kinds)) <= 1
        good = bool(self.columns) and all(isinstance(column, Column) for column in self.columns) and numbered
        fits = isinstance(self.target, Column) and len(self.classes) == len(self.target.words) == len(self.counts)
        words = [*self.missing_words, *self.notes]
        if not good or not fits or self.missing not in POLICIES or not all(isinstance(word, str) for word in words):
            raise ValueError("its columns, target and classes do not fit together")

    @classmethod
    def fit(
        cls,
        source: Any,
        target: str,
        *,
        task: str | None = None,
        missing: str = "error",
        missing_words: Sequence[str] = (),
        without: Sequence[str] = (),
        category: Sequence[str] = (),
        dates: str = "error",
        most_words: int = 100,
        encoding: str | None = None,
        progress: bool = True,
    ) -> Recipe:
        """Learn the recipe from a table, which is read once, in batches.

        Parameters
        ----------
        source : str, Path, frame or mapping
            What :class:`deltarule.tables.Table` takes.
        target : str
            The column to predict.
        task : "classification" or "regression", optional
            If not given: classification where the target holds words or truth values, or up to 20 different whole
            numbers with, on average, at least 5 rows each; else regression.
        missing : str
            "error" refuses missing values. "mean" and "median" put the training rows' mean or median in their
            place, and the most frequent word. "indicator" puts the mean, or no word at all, and adds an input that
            says that the value is missing. "drop" leaves out the rows that have one.
        missing_words : sequence of str
            Words that stand for a missing value, in a CSV file beside an empty cell, NA, N/A, n/a, #N/A, NaN, nan,
            null and NULL.
        without : sequence of str
            Columns to leave out.
        category : sequence of str
            Columns whose values are words, even where they look like numbers.
        dates : "error" or "number"
            Dates are refused, or become days since 1970.
        most_words : int
            How many different words a column may have; each takes an input.
        encoding : str, optional
            Of a CSV file that is not UTF-8.
        progress : bool
            A bar, where stderr is a terminal.

        Raises
        ------
        BadInput
            Names the column, the row (from 1, without the header), what stands there and the way out.
        BadFile
            A file that is not there, empty, cut short, or of another encoding.
        MissingExtra
            Without pyarrow: ``pip install "deltarule[tables]"``.

        Examples
        --------
        >>> people = {"age": [30, 41, 19, 55], "city": ["Rome", "Oslo", "Rome", "Bern"], "buys": ["no", "yes"] * 2}
        >>> recipe = Recipe.fit(people, "buys")
        >>> recipe.inputs
        ('age', 'city=Bern', 'city=Oslo', 'city=Rome')
        >>> recipe.transform({"city": ["Oslo"], "age": [41]})
        array([[0.3563405, 0.       , 1.       , 0.       ]], dtype=float32)
        >>> recipe.decode([[0.9, 0.1]])
        array(['no'], dtype='<U3')
        """
        reading = Reading(
            target, task, missing, tuple_of(missing_words), tuple_of(without), tuple_of(category), dates, most_words,
            encoding,
        )  # fmt: skip
        return learn(reading.table(source), reading, reading.division(0), progress)[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return tuple(name for column in self.columns for name in column.inputs)

    @property
    def is_classification(self) -> bool:
        """Whether the target is one of some classes."""
        return bool(self.classes)

    @property
    def n_out(self) -> int:
        """How many outputs the network needs: one for each class, or one."""
        return len(self.classes) or 1

    def transform(
        self, source: Any, *, dtype: Any = "float32", unseen: str = "error", encoding: str | None = None
    ) -> Array:
        """x of every row of a table: (N, inputs), in memory. The target may be absent; other columns do not matter.

        Raises BadInput for a missing value where the recipe has nothing to stand in for it, for a missing column,
        and for a word that was not there when the recipe was learned, unless `unseen="zeros"`.
        """
        table = Table(source, missing_words=self.missing_words, encoding=encoding)
        return np.concatenate([x for _, x, _, _ in self.encoded(table, dtype, unseen, every_row=True)])

    def samples(
        self, source: Any, *, dtype: Any = "float32", unseen: str = "error", encoding: str | None = None
    ) -> Samples:
        """x and y of the rows of a table, in memory; rows without a target are left out.

        y is (N,) in the order of `classes`, or (N, 1), standardised.

        >>> recipe = Recipe.fit({"a": [0.0, 2.0], "price": [100.0, 300.0]}, "price")
        >>> recipe.samples({"a": [1.0], "price": [200.0]}).y
        array([[0.]], dtype=float32)
        """
        table = Table(source, missing_words=self.missing_words, encoding=encoding)
        parts = list(self.encoded(table, dtype, unseen, with_target=True))
        return Samples(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))

    def decode(self, a: Any) -> Array:
        """A network's outputs (N, n_L) as classes, or as values in the target's own units: (N,)."""
        outputs = np.asarray(a)
        if outputs.ndim != 2 or outputs.shape[1] != self.n_out:
            raise BadInput(f"the outputs have shape {outputs.shape}; expected (N, {self.n_out})")
        if self.is_classification:
            named: Array = np.array(self.classes)[outputs.argmax(axis=1)]
            return named
        return self.target.decode(outputs[:, 0])

    def encoded(
        self,
        table: Table,
        dtype: Any = "float32",
        unseen: str = "error",
        *,
        with_target: bool = False,
        every_row: bool = False,
    ) -> Iterator[Encoded]:
        """The table's batches as a network takes them, as :meth:`encode` does each."""
        for batch in table.batches(self.needed(with_target)):
            yield self.encode(batch, dtype, unseen, with_target=with_target, every_row=every_row)

    def needed(self, with_target: bool) -> list[str]:
        """The columns that a table must have."""
        return [column.name for column in self.columns] + ([self.target.name] if with_target else [])

    def encode(
        self,
        batch: Batch,
        dtype: Any = "float32",
        unseen: str = "error",
        *,
        with_target: bool = False,
        every_row: bool = False,
    ) -> Encoded:
        """One batch as a network takes it.

        Rows with a missing value that nothing stands in for are left out under "drop", and refused otherwise, or
        with `every_row`. With the target, rows that lack it are left out.
        """
        if unseen not in ("error", "zeros"):
            raise unknown("way with unseen words", unseen, ("error", "zeros"))
        rows = np.arange(batch.first, batch.first + batch.rows)
        whole = np.ones(len(rows), bool)
        x = np.empty((len(rows), len(self.inputs)), dtype)
        start = 0
        for column in self.columns:
            block, missing = column.encode(batch.columns[column.name], rows, unseen)
            if missing.any():
                if every_row or self.missing != "drop":
                    raise BadInput(
                        f"column {column.name!r}, row {rows[missing][0]}, is missing, and the recipe was learned "
                        f"with --missing {self.missing}: fill it in, or learn with mean, median or indicator"
                    )
                whole &= ~missing
            with np.errstate(over="ignore"):
                x[:, start : start + block.shape[1]] = block
            start += block.shape[1]
        y = np.empty(0)
        if with_target:
            whole &= batch.columns[self.target.name].is_valid().to_numpy(zero_copy_only=False)
            given = batch.columns[self.target.name].filter(_mask(whole))
            block, _ = self.target.encode(given, rows[whole])
            y = block.argmax(axis=1).astype(np.int64) if self.is_classification else block.astype(dtype)
        return Encoded(rows[whole], x if whole.all() else x[whole], y, whole)

    def __str__(self) -> str:
        what = (
            f"one of {len(self.classes)} classes, {listed([str(name) for name in self.classes])}"
            if self.is_classification
            else f"a number of mean {self.target.mean:.4g}, deviation {self.target.std:.4g}"
        )
        rows = []
        for column in self.columns[:MOST_SHOWN]:
            learned = {
                "number": f"mean {column.mean:.4g}, deviation {column.std:.4g}",
                "date": f"days since 1970, mean {column.mean:.0f}, deviation {column.std:.4g}",
                "truth": "0 or 1",
                "word": listed(column.words),
            }[column.kind]
            fill = f"{column.fill:.4g}" if isinstance(column.fill, (int, float)) else column.fill
            gone = "an input of its own" if column.indicator else "refused" if fill is None else f"taken as {fill}"
            gone = "row left out" if self.missing == "drop" else gone
            rows.append([column.name, column.kind, len(column.inputs), learned, gone])
        more = len(self.columns) - MOST_SHOWN
        lines = [
            f"Recipe for {self.target.name!r}, {what}, from {len(self.inputs)} inputs",
            text_table(["column", "kind", "inputs", "learned", "missing"], rows),
            *([f"and {more} columns more"] if more > 0 else []),
            *self.notes,
        ]
        return "\n".join(lines)

    __repr__ = __str__


MOST_SHOWN = 40


def tuple_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def _mask(whole: Array) -> Any:
    return arrow().array(whole)


def learn(table: Table, reading: Reading, division: Division, progress: bool = True) -> tuple[Recipe, list[int]]:
    """The recipe, and how many rows fall into each part.

    Means, deviations and medians are those of the rows that train; words and what is constant are judged by all.
    """
    division.start()
    for name in (reading.target, *reading.without, *reading.category):
        table.require(name)
    for name in reading.without:
        if name == reading.target:
            raise BadInput(f"column {name!r} is the target and is to be left out; expected one of the two")
    names = [name for name in table.names if name != reading.target and name not in reading.without]
    if not names:
        raise BadInput(f"{table.name}: no column but the target {reading.target!r}; expected some to predict it from")
    medians = reading.missing == "median"
    learners = [Learner(name, name in reading.category, reading.most_words, sample=medians) for name in names]
    as_words = reading.target in reading.category or reading.task == "classification"
    target = Learner(reading.target, as_words, MOST_CLASSES, "target", sample=False)
    draw = np.random.default_rng(0)
    counts = np.zeros(3, np.int64)
    read = unlabelled = dropped = 0
    for batch in table.batches([*names, reading.target], "looking at the columns", progress):
        rows = np.arange(batch.first, batch.first + batch.rows)
        part, keys = division.of(batch.rows), draw.random(batch.rows)
        kept = np.ones(batch.rows, bool)
        if reading.missing != "error":
            kept = batch.columns[target.name].is_valid().to_numpy(zero_copy_only=False)
            unlabelled += int((~kept).sum())
        if reading.missing == "drop":
            labelled = int(kept.sum())
            for name in names:
                kept &= batch.columns[name].is_valid().to_numpy(zero_copy_only=False)
            dropped += labelled - int(kept.sum())
        for learner in (*learners, target):
            values = batch.columns[learner.name]
            if not kept.all():
                values = values.filter(_mask(kept))
            learner.add(values, rows[kept], part[kept] == 0, keys[kept])
            if learner.family == "date" and (learner is target or reading.dates == "error"):
                _refuse_date(learner)
        counts += np.bincount(part[kept], minlength=3)
        read += batch.rows
    if counts.sum() == 0:
        raise BadInput(
            f"{table.name}: none of its {read} rows is left, for each lacks a value or the target; fill in with "
            f"--missing mean, or leave columns with many missing values out, --without NAME"
        )
    if reading.missing == "error":
        _require_no_missing(table, [*learners, target], read)
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} rows without a target are left out")
    if dropped:
        notes.append(f"{dropped} rows with a missing value are left out")
    columns = [learner.column(reading.missing) for learner in learners]
    left = [f"{name!r} {why}" for name, why in zip(names, columns, strict=True) if isinstance(why, str)]
    if left:
        notes.append(f"left out: {listed(left)}")
    used = tuple(column for column in columns if isinstance(column, Column))
    if not used:
        raise BadInput(f"{table.name}: nothing to predict {target.name!r} from: {listed(left)}")
    column, classes, note = _target(target, reading.task, int(counts.sum()))
    recipe = Recipe(
        column,
        classes,
        used,
        reading.missing,
        reading.missing_words,
        tuple(target.counts[name] for name in column.words),
        (*note, *notes),
    )
    return recipe, counts.tolist()


def _refuse_date(learner: Learner) -> None:
    if learner.what == "target":
        raise BadInput(
            f"target {learner.name!r} holds dates ({learner.example}); expected words or numbers. Put a number in "
            f"their place, the days between two dates for instance"
        )
    raise BadInput(
        f"column {learner.name!r} holds dates ({learner.example}): --dates number takes them as days since 1970, "
        f"--without {learner.name!r} leaves them out"
    )


def _require_no_missing(table: Table, learners: list[Learner], read: int) -> None:
    gaps = [learner for learner in learners if learner.missing]
    if not gaps:
        return
    told = [f"{one.name!r} in {one.missing} of {read} rows, first in row {one.first_missing}" for one in gaps]
    more = f"; and {len(gaps) - 6} columns more" if len(gaps) > 6 else ""
    raise BadInput(
        f"{table.name}: values are missing in {'; '.join(told[:6])}{more}. "
        f"Say what to do: --missing mean, median, indicator or drop, or --without NAME"
    )


def _target(target: Learner, task: str | None, rows: int) -> tuple[Column, tuple[str | int, ...], tuple[str, ...]]:
    """The target's column, its classes in order, and what was decided about it."""
    if not target.present:
        raise BadInput(f"target {target.name!r} holds no value")
    n = len(target.counts)
    is_few = target.whole and n <= MOST_NUMBERED_CLASSES and rows >= ROWS_A_CLASS * n
    if target.family == "number" and (task == "regression" or not is_few):
        if target.is_constant:
            raise BadInput(f"target {target.name!r} is {target.low:g} in every row: there is nothing to learn")
        return Column(target.name, "number", (), target.mean, target.std), (), ()
    if task == "regression":
        raise BadInput(f"target {target.name!r} holds words ({target.example!r}); they are learned as classes")
    if n == 1:
        raise BadInput(
            f"target {target.name!r} has one class, {next(iter(target.counts))!r}, in every row: there is nothing to "
            f"learn"
        )
    if 2 * n > rows > 2 * MOST_NUMBERED_CLASSES:
        raise BadInput(
            f"target {target.name!r} has {n} classes in {rows} rows; a class needs many rows to be learned. "
            f"{'A number is learned as one: --task regression. ' * (target.family == 'number')}Merge the rare ones"
        )
    column = Column(target.name, "word", in_order(target.counts))
    numbered = all(_is_whole(name) for name in column.words)
    classes: tuple[str | int, ...] = tuple(int(name) for name in column.words) if numbered else column.words
    said: tuple[str, ...] = ()
    if target.family == "number":
        said = (f"the target's {n} whole numbers are taken as classes; --task regression learns them as amounts",)
    return column, classes, said


def _is_whole(name: str) -> bool:
    return name.lstrip("-").isdecimal()
