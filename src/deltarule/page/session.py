"""What one view asks, and the answers: the same for a browser's page and for a notebook's cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deltarule import runs
from deltarule.errors import BadFile, BadInput, unknown
from deltarule.flow import Flow
from deltarule.history import History
from deltarule.network import Network
from deltarule.page import scene as scenes
from deltarule.page.diagnosis import flow_at, flow_view
from deltarule.page.live import Live, LiveSettings, Material, digits
from deltarule.page.opened import Opened, opened
from deltarule.page.passes import plain, sample_pass
from deltarule.page.report import FORMULAS, judged
from deltarule.records import RECORDS
from deltarule.watched import Watched, WatchedModel

LONGEST_FORMULA = 2000
MOST_BYTES = 32_000_000
"""Of an uploaded record."""


class Library:
    """What a program was opened with, by the names that it was given, and a live training.

    Parameters
    ----------
    first : Opened, optional
        What the page opens with; the embedded digits, if not given.
    paths : of Path
        Runs' folders, networks' files and records that can be opened from the page.
    dataset, folder : optional
        Another data set than a run's own, and the folder of MNIST's files.
    """

    def __init__(
        self,
        first: Opened | None = None,
        paths: Sequence[Path] = (),
        dataset: str | None = None,
        folder: Path | None = None,
    ) -> None:
        self._dataset, self._folder = dataset, folder
        self.first, self.paths = first, {str(path): path for path in paths}
        self.live = _live(first, folder)

    @classmethod
    def of(cls, paths: Sequence[Path], dataset: str | None = None, folder: Path | None = None) -> Library:
        """Of what is at these paths; the page opens with the first."""
        first = opened(paths[0], dataset, folder, 1000) if paths else None
        return cls(first, paths, dataset, folder)

    def open(self, name: str) -> Opened:
        """What the program was given under this name. Raises BadInput for any other."""
        if name not in self.paths:
            raise unknown("run", name, list(self.paths))
        return opened(self.paths[name], self._dataset, self._folder, 1000)

    def close(self) -> None:
        """End the live training."""
        if self.live is not None:
            self.live.close()


def _live(first: Opened | None, folder: Path | None) -> Live | None:
    """A training of what was opened, or of the digits; None where there is nothing to train on."""
    sources: dict[str, Callable[[], Material]] = {"digits": digits}
    if folder is not None:
        sources["mnist"] = lambda: _mnist(folder)
    if first is None:
        return Live(sources, LiveSettings())
    net, x, y = first.net, first.x, first.y
    if net is None or x is None or y is None:
        return None
    name = first.name or "these samples"
    if name not in sources:  # a set known by its name has samples held out, too
        sources[name] = lambda: Material(name, x, y)
    return Live(sources, _settings_of(net, name), net)


def _mnist(folder: Path) -> Material:
    from deltarule.data import mnist

    split = mnist(folder)
    return Material("mnist", *split.train, tuple(split.validation))  # type: ignore[arg-type]


def _settings_of(net: Network, name: str) -> LiveSettings:
    """The settings that fit a network that is there; how it was trained may not be known."""
    hidden = [sigma.name for sigma in net.activations][:-1]
    return LiveSettings(
        dataset=name,
        hidden=tuple(net.sizes[1:-1]),
        activation=hidden[0] if hidden else "sigmoid",
        output=net.output.name,
        cost=net.cost.name,
        eta=0.1,
    )


class Session:
    """One view's questions; `ask` answers them one at a time. Refusals are DeltaruleErrors, in words for a person."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._seen: Watched | WatchedModel | Flow | None = None
        self._main = self._opening()

    def ask(self, what: Any, given: dict[str, Any]) -> Any:
        """The answer to one question of a `Door`. Raises BadInput for a question that there is not."""
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "scene": self._scene, "pass": self._pass, "flow": self._flow, "wires": self._wires,
            "formula": self._formula, "train": self._train, "runs": self._runs, "open": self._open,
            "upload": self._upload,
        }  # fmt: skip
        if not isinstance(what, str) or what not in answers:
            raise unknown("question", str(what)[:100], list(answers))
        return answers[what](given)

    def _opening(self) -> Opened:
        live, first = self.library.live, self.library.first
        if live is None:
            assert first is not None
            return first
        net, material = live.snapshot(), live.material
        is_first = first is not None and material.name == (first.name or "these samples")
        title = f"{material.name}, {'-'.join(map(str, net.sizes))}"
        return Opened(
            title,
            net,
            material.x,
            material.y,
            first.history if is_first else None,  # type: ignore[union-attr]
            first.seen if is_first else None,  # type: ignore[union-attr]
            first.names if is_first else None,  # type: ignore[union-attr]
            material.name,
        )

    def _scene(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the network as it is now: a training may have gone on."""
        self._main = self._opening()
        self._seen = None
        live = self.library.live
        if live is None:
            return self._main.scene()
        return self._main.scene(settings=live.describe(), formulas=[judged(text) for text in FORMULAS[:3]])

    def _pass(self, given: dict[str, Any]) -> dict[str, Any]:
        net, x, y = self._main.net, self._main.x, self._main.y
        if net is None or x is None or y is None:
            raise BadInput("there are no samples here to run through a network")
        return sample_pass(net, x, y, _number(given, "sample"))

    def _flow(self, given: dict[str, Any]) -> dict[str, Any]:
        seen = self._seen
        if seen is None:
            seen = self._main.seen or (None if self._main.history is None else self._main.history.flow)
        if given.get("at") is not None:
            if not isinstance(seen, (Watched, WatchedModel)):
                raise BadInput("no steps were recorded: train with watch=10, or --watch 10")
            return flow_at(seen, _number(given, "at"))
        if isinstance(self._seen, Flow):
            return flow_view(self._seen)
        if self._seen is not None and len(self._seen):
            return flow_view(self._seen.at(len(self._seen) - 1))
        net, x, y = self._main.net, self._main.x, self._main.y
        if net is None or x is None or y is None:
            raise BadInput("there are no samples here to take a flow over")
        return flow_view(net.backprop(x[: scenes.SAMPLES], y[: scenes.SAMPLES]).flow())

    def _wires(self, given: dict[str, Any]) -> dict[str, Any]:
        net = self._main.net
        if net is None:
            raise BadInput("there is no network here")
        layer, neuron = _number(given, "layer"), _number(given, "neuron")
        W = net.W[layer]
        if not 0 <= neuron < max(W.shape):
            raise BadInput(f"neuron {neuron}: layer {layer} has {W.shape[0]}, and the one below {W.shape[1]}")
        return {
            "out": plain(W[:, neuron]) if neuron < W.shape[1] else [],
            "in": plain(W[neuron]) if neuron < W.shape[0] else [],
        }

    def _formula(self, given: dict[str, Any]) -> dict[str, Any]:
        text = given.get("text")
        if not isinstance(text, str) or not text.strip():
            raise BadInput(r"there is no formula yet: paste one, such as \delta^{l} = ...")
        if len(text) > LONGEST_FORMULA:
            raise BadInput(f"a formula of {len(text)} signs; up to {LONGEST_FORMULA} are read")
        return judged(text)

    def _train(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.library.live is None:
            raise BadInput("there is nothing here to train on: open the page with a run, or with nothing")
        return self.library.live.command(given.get("do"), given)

    def _runs(self, given: dict[str, Any]) -> list[dict[str, str]]:
        kinds = []
        for name, path in self.library.paths.items():
            is_network = path.is_file() and path.suffix == ".safetensors"
            kind = "network" if is_network else "run" if (path / runs.NETWORK).exists() else "watch"
            kinds.append({"name": name, "kind": kind})
        return kinds

    def _open(self, given: dict[str, Any]) -> dict[str, Any]:
        """Another run, to be diagnosed; what is stepped through stays."""
        found = self.library.open(str(given.get("name")))
        self._seen = found.seen or (None if found.history is None else found.history.flow)
        made = found.scene()
        if self._seen is None and found.net is not None and found.x is not None and found.y is not None:
            count = scenes.SAMPLES
            self._seen = found.net.backprop(found.x[:count], found.y[:count]).flow()
        return made

    def _upload(self, given: dict[str, Any]) -> dict[str, Any]:
        name, text = str(given.get("name", "a file"))[:200], given.get("text")
        if not isinstance(text, str) or len(text) > MOST_BYTES:
            raise BadInput(f"{name} is larger than {MOST_BYTES // 1_000_000} MB: deltarule explore FILE opens it")
        found = _record(name, text)
        history = found if isinstance(found, History) else None
        seen = found.flow if isinstance(found, History) else found
        self._seen = seen
        return scenes.scene(name, history=history, seen=seen)


def _number(given: dict[str, Any], name: str) -> int:
    number = given.get(name)
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise BadInput(f"{name} is {number!r}; expected a whole number")
    return int(number)


def _record(name: str, text: str) -> Flow | History | Watched | WatchedModel:
    """A record from its JSON. Raises BadFile where it is none that can be shown."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} is not JSON, or cut short") from error
    kind = RECORDS.get(str(given.get("schema"))) if isinstance(given, dict) else None
    if kind not in (Flow, History, Watched, WatchedModel):
        raise BadFile(f"{name}: no flow in it; expected what watch.save() writes, or a run's history.json")
    found = kind.from_dict(given)
    assert isinstance(found, (Flow, History, Watched, WatchedModel))
    return found
