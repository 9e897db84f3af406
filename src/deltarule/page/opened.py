"""What the page can be opened with: a run, a network's file, or the record of a watch or of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from deltarule import flows, runs
from deltarule.flow import Flow
from deltarule.history import History
from deltarule.network import Network
from deltarule.page.scene import scene
from deltarule.watched import Watched, WatchedModel

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Opened:
    """What was found, named as the arguments of :func:`deltarule.page.scene.scene`; None where it is not kept."""

    title: str
    net: Network | None = None
    x: Array | None = None
    y: Array | None = None
    history: History | None = None
    seen: Watched | WatchedModel | Flow | None = None
    names: tuple[str, ...] | None = None
    name: str = ""

    def scene(self, **more: Any) -> dict[str, Any]:
        """The scene of it, with what else :func:`deltarule.page.scene.scene` takes."""
        return scene(**vars(self), **more)


def opened(path: Path, dataset: str | None = None, folder: Path | None = None, count: int = 1000) -> Opened:
    """All that a path has to show.

    With a run come its data: the training samples, of a table the first `count`; a network's file has some only where
    the data set is named. With `count` 0 no data is read.
    """
    if flows.is_record(path):
        found = flows.record(path)
        title = path.resolve().name
        if isinstance(found, History):
            return Opened(title, history=found)
        return Opened(title, seen=found)
    net = runs.network_of(path)
    is_run = path.is_dir()
    history = runs.history_of(path) if is_run and (path / runs.HISTORY).exists() else None
    name = dataset or (runs.settings_of(path).dataset if is_run else "")
    title = f"{Path(name).name or path.name}, {'-'.join(map(str, net.sizes))}"
    if not count or not name:
        return Opened(title, net, history=history)
    x, y = runs.some(path, net, dataset, folder, count)
    recipe = runs.recipe_of(path, net) if is_run else None
    return Opened(title, net, x, y, history, None, recipe.inputs if recipe else None, Path(name).name)


def with_what(given: object, x: Array | None = None, y: Array | None = None) -> Opened | None:
    """The same of an object of the program's own; None for one that has nothing to show."""
    if isinstance(given, Network):
        return Opened(f"{'-'.join(map(str, given.sizes))}", given, x, y)
    if isinstance(given, History):
        return Opened("a training", history=given)
    if isinstance(given, (Flow, Watched, WatchedModel)):
        return Opened("a flow" if isinstance(given, Flow) else "a watch", seen=given)
    return None
