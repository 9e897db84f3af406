"""The flow over a training: the lengths of every layer's error at every k-th step, and the verdict on each."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadFile, BadInput, NoSuchLayer
from deltarule.flow import Flow, Move
from deltarule.records import Record, text_table
from deltarule.reports import spread
from deltarule.verdicts import faults

Array = npt.NDArray[Any]

FLOW = "flow.json"
"""A watch's record in a folder of its own."""

SHOWN = 10
"""About as many steps as the table shows."""


@dataclass(frozen=True, eq=False)
class Watched(Record):
    """What was seen of the flow while training, one row for each recorded step.

    Attributes
    ----------
    steps : (K,) int64
        The numbers of the recorded training steps, from 1.
    every : int
        Each so many-th step was recorded.
    activations : tuple of str
        Of layer 1..L.
    moved, delta : (K, L) float64
        Column l-1 is layer l: the root mean square over the batch of the length of moved^l = dC/da^l, and of
        delta^l. What goes on into the input is not recorded while training.
    speed : (K, L) float64
        The length of the mean of delta^l over the batch, which is |dC/db^l|: the book's speed of learning.
    saturated, dead : (K, L) float64
        The share of units in the batch whose slope is below 5 % of the steepest (NaN where the activation has
        none), and of neurons whose slope has been 0 for each of the last 1000 samples trained on, in recorded
        steps and between them (for as many as the training data hold, where they are fewer). A batch alone
        would not do: with few samples most neurons of a healthy ReLU layer are silent. It is 0 until this fit
        has seen so many.

    Examples
    --------
    >>> ones = np.ones((2, 2))
    >>> watched = Watched(
    ...     steps=np.array([1, 101]), every=100, activations=("tanh", "identity"), moved=ones, delta=ones,
    ...     speed=ones, saturated=0 * ones, dead=0 * ones,
    ... )
    >>> print(watched)
    The flow at 2 training steps, every 100: |delta| by layer, the verdict
    step  layer 1  layer 2  delta^1 / delta^L  verdict
       1        1        1                  1  healthy
     101        1        1                  1  healthy
    >>> watched.at(-1).verdict
    'healthy'
    """

    schema = "deltarule.watched"

    steps: Array
    every: int
    activations: tuple[str, ...]
    moved: Array
    delta: Array
    speed: Array
    saturated: Array
    dead: Array

    def __post_init__(self) -> None:
        """Raises BadInput, a ValueError, where the sizes do not agree."""
        shape = (len(self.steps), len(self.activations))
        for name in ("moved", "delta", "speed", "saturated", "dead"):
            if getattr(self, name).shape != shape:
                raise BadInput(f"{name} is {getattr(self, name).shape}; expected {shape}: steps and layers")

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def L(self) -> int:
        """The number of the output layer."""
        return len(self.activations)

    @property
    def activation_gain(self) -> Array:
        """(K, L): |delta^l| / |moved^l|, of layer 1..L; NaN where there was no error."""
        return _ratio(self.delta, self.moved)

    @property
    def weights_gain(self) -> Array:
        """(K, L-1): |moved^l| / |delta^{l+1}|, of the weights that lead to layer 1..L-1."""
        return _ratio(self.moved[:, :-1], self.delta[:, 1:])

    @property
    def total(self) -> Array:
        """(K,): |delta^1| / |delta^L|."""
        return _ratio(self.delta[:, 0], self.delta[:, -1])

    def at(self, i: int) -> Flow:
        """The flow of the i-th recorded step, judged by the same thresholds as any; it has no remedies.

        "dead" is judged by the last 1000 samples (see `dead`), all else by the batch of that step. Its rows go
        from the output's activation down to layer 1's. Raises NoSuchLayer, an IndexError, beyond the record.
        """
        if not -len(self) <= i < len(self):
            raise NoSuchLayer(f"record {i}: {len(self)} steps were recorded, from 0 to {len(self) - 1}")
        moved, delta, saturated, dead = (
            [float(value) for value in values[i]] for values in (self.moved, self.delta, self.saturated, self.dead)
        )
        rows = []
        for l in range(self.L, 0, -1):
            if l < self.L:
                rows.append(Move(l, "weights", delta[l], moved[l - 1]))
            flat, off = (None if math.isnan(share[l - 1]) else share[l - 1] for share in (saturated, dead))
            rows.append(Move(l, "activation", moved[l - 1], delta[l - 1], flat, off))
        return Flow(tuple(rows), 0, self.activations, faults(rows, self.activations))

    def about(self) -> str:
        """What this is, in a line."""
        return f"The flow at {len(self)} training steps, every {self.every}"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the first, the last and about ten steps between: |delta^l| and the verdict."""
        rows = []
        for i in spread(len(self), SHOWN):
            flow = self.at(int(i))
            lengths = [f"{value:.3g}" for value in self.delta[i]]
            rows.append([str(self.steps[i]), *lengths, f"{flow.total:.3g}", flow.verdict])
        layers = [f"layer {l}" for l in range(1, self.L + 1)]
        return ["step", *layers, "delta^1 / delta^L", "verdict"], rows

    def __str__(self) -> str:
        return f"{self.about()}: |delta| by layer, the verdict\n{text_table(*self.table())}"

    __repr__ = __str__

    def plot(self, what: str = "delta", ax: Any = None) -> Any:
        """Draw "delta", "speed" or "moved" of each layer over the steps on a log axis; return Matplotlib's Axes.

        Raises MissingExtra without Matplotlib: ``pip install "deltarule[plot]"``.
        """
        from deltarule.plots import plot_watched

        return plot_watched(self, what, ax)

    def _repr_html_(self) -> str:
        from deltarule.reports import watched_html

        return watched_html(self)


def _ratio(after: Array, before: Array) -> Array:
    """after / before, NaN where before is 0."""
    ratio = np.full(after.shape, np.nan)
    np.divide(after, before, out=ratio, where=before != 0)
    return ratio


@dataclass(frozen=True)
class WatchedModel(Record):
    """What a watch saw of a PyTorch model while it trained: the flow of each recorded backward pass.

    Attributes
    ----------
    steps : tuple of int
        The numbers of the recorded passes, from 1.
    every : int
        Each so many-th was recorded.
    flows : tuple of Flow
        One a pass.
    """

    schema = "deltarule.watched_model"

    steps: tuple[int, ...]
    every: int
    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        """Raises BadInput, a ValueError, where there is not one step a flow."""
        if len(self.steps) != len(self.flows):
            raise BadInput(f"{len(self.steps)} steps for {len(self.flows)} flows; expected one each")

    def __len__(self) -> int:
        return len(self.flows)

    def at(self, i: int) -> Flow:
        """The flow of the i-th recorded pass."""
        return self.flows[i]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the modules with weights, in the order of the forward pass, of all forms that it took."""
        found: dict[str, int] = {}
        for flow in self.flows:
            for move in flow.rows:
                if move.step == "weights":
                    found.setdefault(move.name or move.op, move.layer)
        return tuple(sorted(found, key=lambda name: found[name]))

    @property
    def L(self) -> int:
        """How many modules with weights there are."""
        return len(self.layers)

    @property
    def activations(self) -> tuple[str, ...]:
        """What stands beside a layer's number where it is drawn: here its name."""
        return self.layers

    @property
    def delta(self) -> Array:
        """(K, L): the length of the error that arrives at each module's weights; NaN where it took no part."""
        place = {name: l for l, name in enumerate(self.layers)}
        squares = np.full((len(self), self.L), np.nan)
        for k, flow in enumerate(self.flows):
            for move in flow.rows:
                if move.step == "weights":
                    l = place[move.name or move.op]
                    squares[k, l] = np.hypot(0.0 if np.isnan(squares[k, l]) else squares[k, l], move.norm_in)
        return squares

    def about(self) -> str:
        """What this is, in a line."""
        return f"The flow at {len(self)} backward passes, every {self.every}"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the first, the last and about ten passes between: |delta| of six layers, the verdict."""
        shown = spread(self.L, 6)
        rows, delta = [], self.delta
        for i in spread(len(self), SHOWN):
            lengths = [f"{delta[i, l]:.3g}" for l in shown]
            rows.append([str(self.steps[i]), *lengths, f"{self.flows[i].total:.3g}", self.flows[i].verdict])
        return ["step", *(self.layers[l] for l in shown), "first / last", "verdict"], rows

    def __str__(self) -> str:
        if not self.flows:
            return f"{self.about()}: nothing recorded"
        return f"{self.about()}: |delta| by layer, the verdict\n{text_table(*self.table())}"

    __repr__ = __str__

    def plot(self, ax: Any = None) -> Any:
        """Draw the length of each module's error over the passes on a log axis; return Matplotlib's Axes.

        Raises MissingExtra without Matplotlib: ``pip install "deltarule[plot]"``.
        """
        from deltarule.plots import plot_watched

        return plot_watched(self, "delta", ax)

    def _repr_html_(self) -> str:
        from deltarule.reports import watched_html

        return watched_html(self)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all, and return where.

        A path that does not end in .json, "runs/mine", is a folder, made where it is not there: the record is its
        flow.json. `deltarule flow` reads both. Raises BadInput where the folder cannot be made.
        """
        path = _file(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"{path.parent} cannot be made a folder ({error.strerror}); a path that ends in .json is a file"
            ) from error
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False), encoding="utf-8")
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it back, from a file or its folder. Raises BadFile where that is no such record."""
        path = _file(path)
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadFile(f"{path} is not there") from error
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise BadFile(f"{path} is no record of a watch ({type(error).__name__}: {error})") from error
        return cls.from_dict(given)


def _file(path: str | Path) -> Path:
    """The record's file: the path itself, or that in the folder."""
    path = Path(path)
    return path if path.suffix.lower() == ".json" and not path.is_dir() else path / FLOW
