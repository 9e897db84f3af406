"""A table made ready to train on: encoded once into memory-mapped arrays, in three parts.

The table is read twice, in batches: to learn its recipe, and to write x and y of each part to disk. Training then
draws its samples from the whole file in any order, so that an epoch is shuffled exactly, however large the table.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from deltarule.data import Samples, Split, float_named, read_npy
from deltarule.division import Division
from deltarule.errors import BadFile, BadInput
from deltarule.recipe import Reading, Recipe, learn, tuple_of
from deltarule.tables import Table

Array = npt.NDArray[Any]

PARTS = Split._fields


class Prepared:
    """A table as arrays on disk: `train`, `validation` and `test`, each x and y, and the `recipe` that made them.

    The arrays are memory-mapped and are removed with :meth:`close`, at the end of a `with` block, or when nothing
    refers to this object any more. A part that no row fell into is None.
    """

    def __init__(self, recipe: Recipe, folder: Path, counts: Sequence[int]) -> None:
        self.recipe, self.folder, self.counts = recipe, folder, list(counts)
        self._remove = weakref.finalize(self, shutil.rmtree, folder, True)
        self._train, self.validation, self.test = opened(folder, counts)

    @property
    def train(self) -> Samples:
        """The part to train on."""
        assert self._train is not None
        return self._train

    def close(self) -> None:
        """Remove the arrays from the disk."""
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        sizes = [f"{part} {len(own.x)}" for part in PARTS if (own := getattr(self, part)) is not None]
        return f"Prepared({', '.join(sizes)} rows of {len(self.recipe.inputs)} inputs, in {self.folder})"


def opened(folder: Path, counts: Sequence[int]) -> list[Samples | None]:
    """The parts whose arrays are in the folder, memory-mapped; None where no row fell into one."""
    return [
        Samples(read_npy(folder / f"{part}-x.npy"), read_npy(folder / f"{part}-y.npy")) if count else None
        for part, count in zip(PARTS, counts, strict=True)
    ]


def prepare(
    source: Any,
    target: str,
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    dtype: Any = "float32",
    folder: str | Path | None = None,
    task: str | None = None,
    missing: str = "error",
    missing_words: Sequence[str] = (),
    without: Sequence[str] = (),
    category: Sequence[str] = (),
    dates: str = "error",
    most_words: int = 100,
    encoding: str | None = None,
    progress: bool = True,
) -> Prepared:
    """Make a table ready to train on, however large: learn its recipe, divide its rows, write its arrays to disk.

    Parameters
    ----------
    source, target, task, missing, missing_words, without, category, dates, most_words, encoding, progress
        As in :meth:`Recipe.fit`. Means, deviations and medians are those of the rows to train on.
    validation, test : float
        Their shares of the rows; the rest trains.
    seed : int
        Of the division; the same seed divides the same table in the same way.
    dtype : "float32" or "float64"
        The network's.
    folder : str or Path, optional
        Where the arrays go, in a folder of their own; the system's temporary folder, if not given. One that is kept
        in memory (often /tmp) is no place for a table that is larger than memory.

    Returns
    -------
    Prepared
        To be used in a `with` block, or closed, so that the arrays leave the disk.

    Raises
    ------
    BadInput, BadFile, MissingExtra
        As :meth:`Recipe.fit`; BadInput too where the disk has not enough room, before anything is written.

    Examples
    --------
    >>> import deltarule as dr
    >>> digits = dr.data.digits()
    >>> with prepare({"pixel": digits.train.x, "digit": digits.train.y}, "digit") as table:
    ...     net = dr.Network([len(table.recipe.inputs), 30, 10], "relu", "softmax", "log_likelihood", seed=0)
    ...     history = net.fit(*table.train, epochs=20, validation=table.validation)
    ...     print(table.train.x.shape, net.score(*table.test) > 0.8)
    (839, 60) True
    """
    reading = Reading(
        target, task, missing, tuple_of(missing_words), tuple_of(without), tuple_of(category), dates, most_words,
        encoding, validation, test,
    )  # fmt: skip
    return prepared(source, reading, seed, dtype, folder, progress)


def prepared(
    source: Any, reading: Reading, seed: int, dtype: Any, folder: str | Path | None, progress: bool
) -> Prepared:
    """:func:`prepare`, with its arguments gathered."""
    kind, division = float_named(dtype), reading.division(seed)
    table = reading.table(source)
    recipe, counts = learn(table, reading, division, progress)
    _require_rows(division, counts)
    parent = Path(tempfile.gettempdir() if folder is None else folder)
    parent.mkdir(parents=True, exist_ok=True)
    _require_room(parent, sum(counts), recipe, kind)
    own = Path(tempfile.mkdtemp(prefix="deltarule-", dir=parent))
    try:
        _write(table, recipe, division, counts, kind, own, progress)
        return Prepared(recipe, own, counts)
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise


def parts(
    table: Table,
    recipe: Recipe,
    division: Division,
    dtype: Any,
    doing: str = "reading",
    progress: bool = False,
    unseen: str = "error",
) -> Iterator[list[Samples]]:
    """The table's batches, each divided into its parts."""
    division.start()
    for batch in table.batches(recipe.needed(with_target=True), doing, progress):
        of = division.of(batch.rows)
        _, x, y, whole = recipe.encode(batch, dtype, unseen, with_target=True)
        yield [Samples(x[of[whole] == part], y[of[whole] == part]) for part in range(len(PARTS))]


def _require_rows(division: Division, counts: Sequence[int]) -> None:
    for name, share, count in zip(PARTS, (1, *division.shares), counts, strict=True):
        if share and not count:
            raise BadInput(
                f"{sum(counts)} rows are too few: none falls into the part named {name}. Give more rows, or "
                f"--validation 0 --test 0"
            )


def _require_room(folder: Path, rows: int, recipe: Recipe, dtype: Any) -> None:
    needed = rows * (len(recipe.inputs) * dtype.itemsize + 8)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"{rows:,} rows of {len(recipe.inputs)} inputs take {needed / 1e9:,.1f} GB on disk; {folder} has "
            f"{free / 1e9:,.1f} GB free. Take a folder on another disk, or leave columns out"
        )


def _write(
    table: Table, recipe: Recipe, division: Division, counts: Sequence[int], dtype: Any, folder: Path, progress: bool
) -> None:
    """x and y of each part, appended to files whose headers say how many rows there will be."""
    outputs = (np.dtype(np.int64), ()) if recipe.is_classification else (dtype, (1,))
    with ExitStack() as stack:
        files: list[list[BinaryIO]] = [
            [
                stack.enter_context(_array_file(folder / f"{part}-x.npy", dtype, (count, len(recipe.inputs)))),
                stack.enter_context(_array_file(folder / f"{part}-y.npy", outputs[0], (count, *outputs[1]))),
            ]
            for part, count in zip(PARTS, counts, strict=True)
        ]
        written = np.zeros(len(PARTS), np.int64)
        for divided in parts(table, recipe, division, dtype, "writing the arrays", progress):
            for i, (own, samples) in enumerate(zip(files, divided, strict=True)):
                written[i] += len(samples.x)
                for file, array in zip(own, samples, strict=True):
                    file.write(np.ascontiguousarray(array).data)
    if written.tolist() != list(counts):
        raise BadFile(f"{table.name}: it changed while it was read; read it again when it is whole")


def _array_file(path: Path, dtype: Any, shape: tuple[int, ...]) -> BinaryIO:
    """An NPY file with its header written, to append to: a full disk is an error then, and a crash in a map."""
    file = open(path, "wb")  # noqa: SIM115
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file
