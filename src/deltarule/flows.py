"""Where the error goes in what was trained: in a run, or in a PyTorch model whose watch was saved.

A run keeps its network, so the flow of today can be taken anew; if it was watched, its history holds that of its
steps. A watch keeps the flows of the passes that it recorded, in a file or in a folder of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltarule import runs
from deltarule.errors import BadFile, BadInput
from deltarule.flow import Flow
from deltarule.history import History
from deltarule.records import RECORDS
from deltarule.runs import HTML_HEAD
from deltarule.store import write_whole
from deltarule.watched import FLOW, Watched, WatchedModel


@dataclass(frozen=True)
class Shown:
    """What is shown: one flow and, where steps were recorded, all of them.

    `step` is the training step of the flow; None for that of a trained network as it is.
    """

    flow: Flow
    steps: Watched | WatchedModel | None = None
    step: int | None = None

    def text(self) -> str:
        """The table over the steps, then the flow with its verdicts and remedies."""
        about = [str(self.steps)] if self.steps is not None else []
        if self.steps is not None:
            about.append(f"\n{'The trained network' if self.step is None else f'Step {self.step}'}")
        return "\n".join([*about, self.flow.report()])

    def html(self) -> str:
        """The same as a page."""
        parts = [self.steps._repr_html_()] if self.steps is not None else []
        return HTML_HEAD + "\n".join([*parts, self.flow._repr_html_()]) + "\n"


def shown(path: Path, dataset: str | None = None, folder: Path | None = None, step: int | None = None) -> Shown:
    """The flow of a run, of a network's file, or of a record; of the step that is named, or the last there is.

    A network's is taken over up to 1 000 samples of the training data, with its remedies.
    """
    if not is_record(path):
        seen = runs.history_of(path).flow if (path / runs.HISTORY).exists() else None
        if step is not None:
            return _at(_require_watched(path, seen), step)
        net = runs.network_of(path)
        x, y = runs.some(path, net, dataset, folder, 1000)
        return Shown(net.backprop(x[:1000], y[:1000]).flow(), seen)
    if dataset is not None or folder is not None:
        raise BadInput(f"{path} holds flows as they were recorded; data can be run through a network's only")
    found = record(path)
    if isinstance(found, Flow):
        if step is not None:
            raise BadInput(f"{path} holds the flow of one pass; expected no --step")
        return Shown(found)
    steps = _require_watched(path, found.flow if isinstance(found, History) else found)
    return _at(steps, step)


def is_record(path: Path) -> bool:
    """Whether it is the record of a watch, or a folder that holds nothing else to show."""
    if path.is_dir():
        return (path / FLOW).exists() and not (path / runs.NETWORK).exists()
    return path.suffix.lower() == ".json"


def record(path: Path) -> Flow | History | Watched | WatchedModel:
    """What a record's file or folder holds. Raises BadFile where it is none."""
    file = path / FLOW if path.is_dir() else path
    try:
        given: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFile(f"{file}: no such file") from error
    except (OSError, ValueError) as error:
        raise BadFile(f"{file}: not JSON, or cut short ({error})") from error
    kind = RECORDS.get(str(given.get("schema"))) if isinstance(given, dict) else None
    if kind not in (Flow, History, Watched, WatchedModel):
        raise BadFile(f"{file}: no flow in it; expected what watch.save() writes, or a run")
    return kind.from_dict(given)


def _require_watched(path: Path, steps: Watched | WatchedModel | None) -> Watched | WatchedModel:
    if steps is None:
        raise BadInput(
            f"{path} was not watched while it trained, so it has no steps: train it with --watch 10, which records "
            "each tenth; without --step the flow of the trained network is shown"
        )
    if not len(steps):
        raise BadInput(f"{path}: nothing was recorded; it was watched every {steps.every} steps, and has had fewer")
    return steps


def _at(steps: Watched | WatchedModel, step: int | None) -> Shown:
    """The flow of the step with this number; the last, if none is named."""
    numbers = [int(number) for number in steps.steps]
    step = numbers[-1] if step is None else step
    if step not in numbers:
        nearest = min(numbers, key=lambda one: abs(one - step))
        raise BadInput(
            f"step {step} was not recorded: they go from {numbers[0]} to {numbers[-1]}, every {steps.every}; the "
            f"nearest is --step {nearest}"
        )
    return Shown(steps.at(numbers.index(step)), steps, step)


def write(found: Shown, plot: Path | None, curves: Path | None, html: Path | None) -> list[str]:
    """Write the files that are named, all or none where a name will not do; say what was written."""
    if curves is not None and found.steps is None:
        raise BadInput("no steps were recorded to draw curves of: train with --watch 10, or give a watch's record")
    for picture in (plot, curves):
        if picture is not None:
            runs.require_picture(picture)
    if html is not None:
        runs.require_place(html)
        write_whole(html, found.html().encode())
    if plot is not None:
        runs.draw(found.flow, plot)
    if curves is not None and found.steps is not None:
        runs.draw(found.steps, curves)
    done = {"drawn into": [plot, curves], "written to": [html]}
    return [f"{how} {path}" for how, paths in done.items() for path in paths if path is not None]
