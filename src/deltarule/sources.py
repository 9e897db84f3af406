"""Where a run's data come from: a set known by its name, or a table, which goes through the run's recipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from deltarule import data
from deltarule.data import Samples, Split
from deltarule.division import Division
from deltarule.errors import BadInput
from deltarule.network import Network
from deltarule.predictions import Judge
from deltarule.prepared import PARTS, Prepared, opened, parts, prepared
from deltarule.ranks import Ranks, together
from deltarule.recipe import Recipe
from deltarule.settings import Settings
from deltarule.tables import Table, is_table

ARRAYS = "arrays"


@contextmanager
def training(
    settings: Settings, folder: Path, progress: bool, ranks: Ranks | None = None
) -> Iterator[tuple[Split | Prepared, Recipe | None]]:
    """The data to train on, in three parts, and a table's recipe; its arrays are in the run's folder meanwhile.

    Of several ranks the first prepares the table, and the others open its arrays.
    """
    if settings.reading is None:
        yield together(ranks, lambda: data.named(settings.dataset, settings.data, settings.dtype)), None
        return
    if ranks is not None and ranks.rank:
        together(ranks, lambda: None)  # while the first prepares
        place, counts, recipe = ranks.broadcast(None)
        yield together(ranks, lambda: Split(*_seen(place, counts))), recipe
        return
    was_there = folder.exists()
    shutil.rmtree(folder / ARRAYS, ignore_errors=True)  # those of a training that was killed
    try:
        reading = settings.reading
        with together(
            ranks,
            lambda: prepared(settings.dataset, reading, settings.seed, settings.dtype, folder / ARRAYS, progress),
        ) as table:
            if ranks is not None:
                ranks.broadcast((table.folder.resolve(), table.counts, table.recipe))
                together(ranks, lambda: None)  # until the others have opened it
            yield table, table.recipe
    finally:
        shutil.rmtree(folder / ARRAYS, ignore_errors=True)
        if not was_there:
            with suppress(OSError):
                folder.rmdir()  # nothing was trained


def _seen(place: Path, counts: list[int]) -> list[Any]:
    """The arrays that another process has prepared."""
    if not place.exists():
        raise BadInput(
            f"{place}, where the first rank has prepared the table, is not seen from here: with ranks on several "
            f"machines --out must be on a disk that all of them share"
        )
    return opened(place, counts)


def some(
    settings: Settings | None,
    recipe: Recipe | None,
    dataset: str | None,
    folder: Path | None,
    dtype: Any,
    count: int,
) -> Samples:
    """Samples to train on: all of a set, or the first `count` of a table."""
    named, folder = _named(settings, dataset, folder)
    if recipe is None or named in data.SETS:
        _require_set(named, recipe)
        return data.named(named, folder, dtype).train
    table = Table(named, missing_words=recipe.missing_words, encoding=_encoding(settings, named, None))
    found: list[Samples] = []
    for divided in _divided(table, recipe, settings, named, dtype):
        found.append(divided[0])
        if sum(len(part.x) for part in found) >= count:
            break
    x, y = (np.concatenate([part[i] for part in found])[:count] for i in range(2))
    return Samples(x, y)


def judge(
    net: Network,
    settings: Settings | None,
    recipe: Recipe | None,
    dataset: str | None,
    folder: Path | None,
    unseen: str,
    encoding: str | None,
    progress: bool,
) -> dict[str, str]:
    """How good a network is on each part of a set, of the table that it was trained on, or on another table."""
    named, folder = _named(settings, dataset, folder)
    if recipe is None or named in data.SETS:
        _require_set(named, recipe)
        split = data.named(named, folder, net.dtype)
        return {
            name: f"{len(part.x):>7} samples   cost {net.mean_cost(*part):.4f}   accuracy {net.score(*part):.4f}"
            for name, part in zip(split._fields, split, strict=True)
        }
    table = Table(named, missing_words=recipe.missing_words, encoding=_encoding(settings, named, encoding))
    judges = {name: Judge(net, recipe) for name in (PARTS if _is_own(settings, named) else ("all rows",))}
    for divided in _divided(table, recipe, settings, named, net.dtype, "judging", progress, unseen):
        for judge, samples in zip(judges.values(), divided, strict=False):
            judge.add(samples)
    return {name: str(judge.evaluation()) for name, judge in judges.items() if judge.rows}


def _named(settings: Settings | None, dataset: str | None, folder: Path | None) -> tuple[str, Path | None]:
    """The data set named and its folder, or else those of the run."""
    if dataset is not None:
        return dataset, folder
    assert settings is not None
    return settings.dataset, folder or (Path(settings.data) if settings.data else None)


def _require_set(name: str, recipe: Recipe | None) -> None:
    if name in data.SETS and recipe is not None:
        raise BadInput(f"{name!r} is no table, and this run was trained on one: name a file with its columns")
    if name not in data.SETS and is_table(name):
        raise BadInput(
            f"{name}: a table goes through the recipe of a run that was trained on a table, and there is none here; "
            f"expected {' or '.join(data.SETS)}"
        )


def _is_own(settings: Settings | None, name: str) -> bool:
    """Whether this is the table that the run was trained on."""
    return settings is not None and settings.reading is not None and str(Path(name).resolve()) == settings.dataset


def _encoding(settings: Settings | None, name: str, given: str | None) -> str | None:
    own = settings.reading.encoding if settings and settings.reading and _is_own(settings, name) else None
    return given or own


def _divided(
    table: Table, recipe: Recipe, settings: Settings | None, name: str, dtype: Any, *how: Any
) -> Iterator[list[Samples]]:
    """A table's batches in parts: those of the run for its own table; of another all rows are in the first."""
    own = settings.reading if settings is not None and _is_own(settings, name) else None
    division = Division(0, 0, 0) if own is None or settings is None else own.division(settings.seed)
    return parts(table, recipe, division, dtype, *how)
