"""A training that is watched while it runs: played, paused, taken step by step, and set anew.

One thread trains, with the same compiled steps as `fit`. Another takes a copy of the weights some fifty times a
second, runs a few samples through it, and says what it found: a `Frame` of `view/record.js`. The two share only that
copy, so the training does not wait for whoever looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import data as sets
from deltarule import inputs
from deltarule.activations import ACTIVATIONS
from deltarule.calls import raise_kept
from deltarule.costs import COSTS
from deltarule.errors import BadInput, DeltaruleError, is_number, unknown
from deltarule.flow import length
from deltarule.inits import INITS
from deltarule.network import Network
from deltarule.optimizers import OPTIMIZERS, Optimizer
from deltarule.page.diagnosis import value
from deltarule.page.scene import encoded, matrix
from deltarule.rules import RULES, keep
from deltarule.trace import degrees
from deltarule.training import Training, settings_for

Array = npt.NDArray[Any]

FRAME_SECONDS = 1 / 50
"""How long a frame stands, at least."""

CALL_SECONDS = 0.01
"""How long one compiled call takes, about: after each, what was asked for meanwhile is heard."""

LOOKED_AT = 100
"""Each frame is taken over the same so many training samples, evenly spread."""

JUDGED_EVERY = 10
"""In each so many-th frame the held-out samples are judged."""

EPOCHS = 10_000
"""A training is begun anew, with the same weights and memory, after so many epochs."""

SENT = 5_000
"""The weights of a network of at most so many come with each frame."""

DRAWS = {"hidden", "activation", "output", "cost", "init", "seed", "dataset"}
"""Settings whose change makes another network."""

MOST_NEURONS = 100_000

MOST_WEIGHTS = 50_000_000
"""Of a network that is drawn here: a few copies of it must fit into memory."""


@dataclass(frozen=True)
class LiveSettings:
    """What can be chosen; `Settings` of `view/record.js`."""

    dataset: str = "digits"
    hidden: tuple[int, ...] = (30,)
    activation: str = "sigmoid"
    output: str = "sigmoid"
    cost: str = "quadratic"
    init: str = "auto"
    rule: str = "transpose"
    optimizer: str = "sgd"
    eta: float = 3.0
    batch: int = 10
    seed: int = 0
    speed: float = 0.0

    def changed(self, given: dict[str, Any]) -> LiveSettings:
        """With other values for some fields, each of its kind. Raises BadInput."""
        known = {one.name for one in fields(self)}
        wanted: dict[str, Any] = {}
        for name, one in given.items():
            if name not in known:
                continue
            if name == "hidden":
                wanted[name] = _widths(one)
            elif name in ("batch", "seed"):
                wanted[name] = _whole(name, one)
            elif name in ("eta", "speed"):
                if not is_number(one, 0) or (name == "eta" and one == 0):
                    raise BadInput(f"{name} is {one!r}; expected a number above 0")
                wanted[name] = float(one)
            elif not isinstance(one, str) or len(one) > 100:
                raise BadInput(f"{name} is not a word")
            else:
                wanted[name] = one
        return replace(self, **wanted)


def _widths(given: Any) -> tuple[int, ...]:
    good = isinstance(given, (list, tuple)) and len(given) <= 100
    if not good or not all(is_number(n, 1) and n == int(n) for n in given):
        raise BadInput(f"hidden is {given!r}; expected the widths of up to 100 layers, each 1 or more")
    if sum(given) > MOST_NEURONS:
        raise BadInput(f"hidden has {sum(given):g} neurons; the page takes up to {MOST_NEURONS}")
    return tuple(int(n) for n in given)


def _whole(name: str, given: Any) -> int:
    low = 1 if name == "batch" else 0
    if not is_number(given, low) or given != int(given) or given >= 2**31:
        raise BadInput(f"{name} is {given!r}; expected a whole number from {low} up")
    return int(given)


@dataclass(frozen=True)
class Material:
    """What is trained on: samples and labels or targets, and those held out, if any."""

    name: str
    x: Array
    y: Array
    held_out: tuple[Array, Array] | None = None


def digits() -> Material:
    """The embedded handwritten digits."""
    split = sets.digits()
    return Material("digits", *split.train, tuple(split.validation))  # type: ignore[arg-type]


@dataclass
class _Wish:
    """What was asked for and is not yet done."""

    running: bool = False
    steps: int = 0
    settings: LiveSettings | None = None
    anew: bool = False
    answers: list[Callable[[DeltaruleError | None], None]] = field(default_factory=list)


class Live:
    """A live training; `close` ends its threads.

    Parameters
    ----------
    material : dict of str to callable
        By name, what can be trained on.
    settings : LiveSettings
    net : Network, optional
        The network to begin with; one is drawn as the settings say, if not given.
    """

    def __init__(
        self, material: dict[str, Callable[[], Material]], settings: LiveSettings, net: Network | None = None
    ) -> None:
        self._sources = material
        self._given, self._first = net, settings
        self._lock = threading.Condition()
        self._wish = _Wish()
        self._ended = False
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._copy_wanted = threading.Event()
        self._look = threading.Event()
        self._state, self._message = "paused", ""
        self._rate = 0.0
        self._done = 0
        self._chunk = 1
        self._kept: Material | None = None
        self.settings = settings
        self._begin(settings, net)
        self._threads = [
            threading.Thread(target=work, name=f"deltarule {name}", daemon=True)
            for name, work in (("training", self._train), ("frames", self._frames))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the training and its threads."""
        with self._lock:
            self._ended = True
            self._lock.notify_all()
        self._look.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def describe(self) -> dict[str, Any]:
        """The settings with the words that there are for each: `Settings`."""
        words = [name for name in ACTIVATIONS if name != "softmax"]
        choices = {
            "dataset": list(self._sources),
            "activation": words,
            "output": [*words, "softmax"],
            "cost": list(COSTS),
            "init": list(INITS),
            "rule": list(RULES),
            "optimizer": list(OPTIMIZERS),
        }
        return {**asdict(self.settings), "hidden": list(self.settings.hidden), "choices": choices}

    def snapshot(self) -> Network:
        """The network as it is now, a copy."""
        with self._lock:
            return self._shown.copy()

    @property
    def material(self) -> Material:
        """What is trained on now."""
        return self._material

    def command(self, do: Any, given: dict[str, Any]) -> dict[str, Any]:
        """Play, pause, take a step, set, or reset; the settings as they are then. Raises BadInput.

        A setting that makes another network (depth, activation, init, seed) draws it anew, as a reset does; the
        others go on with the weights as they are.
        """
        if do not in ("play", "pause", "step", "set", "reset"):
            raise unknown("command", str(do), ["play", "pause", "step", "set", "reset"])
        wanted = self.settings.changed(given)
        draws = any(getattr(wanted, name) != getattr(self.settings, name) for name in DRAWS)
        trouble: list[DeltaruleError | None] = []
        heard = threading.Event()

        def answered(error: DeltaruleError | None) -> None:
            trouble.append(error)
            heard.set()

        with self._lock:
            if wanted != self.settings or do == "reset":
                self._wish.settings, self._wish.anew = wanted, self._wish.anew or draws or do == "reset"
            if do in ("play", "pause", "step", "reset"):
                self._wish.running = do == "play"
            self._wish.steps += 1 if do == "step" else 0
            self._wish.answers.append(answered)
            self._lock.notify_all()
        if not heard.wait(timeout=120):
            raise BadInput("the training does not answer; a step of so large a network takes long")
        if trouble[0] is not None:
            raise trouble[0]
        self._look.set()
        return self.describe()

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Hear every frame, the present one at once; the result ends it."""
        with self._lock:
            self._listeners.append(listener)
        self._look.set()

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    # The training's thread.

    def _begin(self, settings: LiveSettings, net: Network | None) -> None:
        """Another network and another training; what is there stays where the settings do not go together."""
        if settings.dataset not in self._sources:
            raise unknown("dataset", settings.dataset, list(self._sources))
        kept = self._kept
        material = kept if kept is not None and kept.name == settings.dataset else self._sources[settings.dataset]()
        self._kept = material
        labels = material.y.ndim == 1 and material.y.dtype.kind in "iuUSb"
        n_out = len(np.unique(material.y)) if labels else int(material.y.reshape(len(material.y), -1).shape[1])
        if self._given is not None and settings.dataset == self._first.dataset:
            n_out = self._given.sizes[-1]  # some of the classes may be rare
        if net is None:
            sizes = [material.x.shape[1], *settings.hidden, n_out]
            weights = sum(n * below for n, below in zip(sizes[1:], sizes[:-1], strict=True))
            if weights > MOST_WEIGHTS:
                raise BadInput(
                    f"hidden makes a network of {weights:,} weights; the page draws up to {MOST_WEIGHTS:,}"
                )
            net = Network(
                sizes,
                settings.activation,
                settings.output,
                settings.cost,
                settings.init,
                seed=settings.seed,
            )
        else:
            net = net.copy()
        optimizer = _optimizer(settings)
        training = self._training(net, material, settings, optimizer)
        with self._lock:
            self._material, self._net, self._training_now, self._optimizer = material, net, training, optimizer
            self._pool = ThreadPoolExecutor(training.team.size)
            self._steps = training.stepper(training.course, self._pool)
            self._shown = net.copy()
            words = None if self._given is None else self._given.classes
            if words is not None and settings.dataset == self._first.dataset and len(words) == net.sizes[-1]:
                self._shown.classes = words  # a table's classes, which are trained by their numbers
            self._done, self._rate = 0, 0.0
            self._state, self._message = "paused", ""
            self.settings = settings
        some = np.unique(np.linspace(0, len(material.x) - 1, LOOKED_AT).astype(int))
        self._some = material.x[some], material.y[some]

    def _training(self, net: Network, material: Material, settings: LiveSettings, optimizer: Optimizer) -> Training:
        checked = settings_for(
            net, epochs=EPOCHS, batch_size=settings.batch, optimizer_given=optimizer, schedule_given=None,
            early_stopping=None, l2=0.0, l1=0.0, dropout=0.0, rule=settings.rule, watch=False, shuffle=True,
            progress=False, checkpoint=None, threads=None,
        )  # fmt: skip
        training = Training(net, material.x, material.y, None, checked)
        training.course.eta[:] = settings.eta
        return training

    def _go_on(self, settings: LiveSettings) -> None:
        """The same network under other settings."""
        before = self.settings
        if settings == replace(before, speed=settings.speed):
            self.settings = settings
            return
        optimizer = self._optimizer if settings.optimizer == before.optimizer else _optimizer(settings)
        self._keep_memory()
        training = self._training(self._net, self._material, settings, optimizer)
        with self._lock:
            self._training_now, self._optimizer, self.settings = training, optimizer, settings
            self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(training.team.size)
            self._steps = training.stepper(training.course, self._pool)

    def _keep_memory(self) -> None:
        """What a training leaves to the next: the optimiser's count of steps, a learned rule's matrices."""
        from deltarule.kernels.train import T

        training = self._training_now
        training.memory.steps = int(training.course.counts[T])
        keep(self._net, training.settings.rules, training.feedback)

    def _train(self) -> None:
        last = time.perf_counter()
        while True:
            with self._lock:
                while not (self._ended or self._wish.answers or self._wish.steps or self._wish.running):
                    self._state = "diverged" if self._state == "diverged" else "paused"
                    self._rate = 0.0
                    self._look.set()
                    self._lock.wait()
                    last = time.perf_counter()
                if self._ended:
                    self._pool.shutdown(wait=False)
                    return
                answers, self._wish.answers = self._wish.answers, []
                settings, anew = self._wish.settings, self._wish.anew
                self._wish.settings, self._wish.anew = None, False
            self._obey(settings, anew, answers)
            with self._lock:
                if self._wish.steps:
                    count, self._wish.steps = self._wish.steps, 0
                elif self._wish.running:
                    count = self._allowed(last)
                else:
                    continue
            last = self._take(count, last)

    def _obey(
        self,
        settings: LiveSettings | None,
        anew: bool,
        answers: list[Callable[[DeltaruleError | None], None]],
    ) -> None:
        error: DeltaruleError | None = None
        try:
            if settings is not None and anew:
                fits = self._given is not None and all(
                    getattr(settings, name) == getattr(self._first, name) for name in DRAWS
                )
                self._begin(settings, self._given if fits else None)
            elif settings is not None:
                self._go_on(settings)
        except DeltaruleError as refused:
            error = refused
            with self._lock:
                self._wish.running = False
        for answer in answers:
            answer(error)

    def _allowed(self, last: float) -> int:
        """How many steps may be taken now: as many as a call has time for, at the speed that is set."""
        speed = self.settings.speed
        if not speed:
            return self._chunk
        due = int((time.perf_counter() - last) * speed)
        if due < 1:
            self._lock.wait(min(1 / speed, 0.1))
        return min(due, self._chunk)

    def _take(self, count: int, last: float) -> float:
        """Take so many steps; the time that they count from. At a set speed no time is lost, only waited for."""
        from deltarule.kernels.train import BAD_LAYER, EPOCH, T

        if count < 1:
            return last
        training, started = self._training_now, time.perf_counter()
        counts = training.course.counts
        before = int(counts[T])
        self._steps(count)
        now = time.perf_counter()
        taken = int(counts[T]) - before
        self._done += taken
        rate = taken / max(now - started, 1e-9)
        self._chunk = int(min(max(rate * CALL_SECONDS, 1), 10 * self._chunk))
        real = taken / max(now - last, 1e-9)
        self._rate = real if not self._rate else 0.9 * self._rate + 0.1 * real
        self._state = "running" if self._wish.running else "paused"
        if counts[BAD_LAYER]:
            self._diverge(int(counts[BAD_LAYER]))
        elif int(counts[EPOCH]) >= EPOCHS:
            self._keep_memory()
            again = self._training(self._net, self._material, self.settings, self._optimizer)
            self._training_now = again
            self._steps = again.stepper(again.course, self._pool)
        if self._copy_wanted.is_set() or not self._wish.running:
            with self._lock:
                self._shown.theta[:] = self._net.theta
            self._copy_wanted.clear()
            self._look.set()
        return now

    def _diverge(self, layer: int) -> None:
        training = self._training_now
        try:
            raise_kept(training.calls)
            told = (
                f"A value at layer {layer} is no longer a finite number after step {self._done}. The weights are "
                f"those of the last whole epoch again: take a smaller η than {self.settings.eta:g}, or reset."
            )
        except DeltaruleError as error:
            told = str(error)
        with self._lock:
            self._net.theta[:] = training.course.good
            self._optimizer.forget(self._net)
            self._wish.running = False
            self._state, self._message = "diverged", told
        optimizer = _optimizer(self.settings)
        again = self._training(self._net, self._material, self.settings, optimizer)
        with self._lock:
            self._training_now, self._optimizer = again, optimizer
            self._steps = again.stepper(again.course, self._pool)

    # The frames' thread.

    def _frames(self) -> None:
        number = 0
        while True:
            self._look.wait(timeout=1.0 if self._wish.running else None)
            self._look.clear()
            started = time.perf_counter()
            with self._lock:
                if self._ended:
                    return
                listeners, running = list(self._listeners), self._wish.running
            if not listeners:
                continue
            if running:
                self._copy_wanted.set()  # the next copy is made while this one is looked at
            frame = self._frame(judge=number % JUDGED_EVERY == 0 or not running)
            number += 1
            for listener in listeners:
                listener(frame)
            time.sleep(max(0.0, FRAME_SECONDS - (time.perf_counter() - started)))

    def _frame(self, judge: bool) -> dict[str, Any]:
        """What there is to see of the copy of the weights."""
        with self._lock:
            net = self._shown.copy()
            x, y = self._some
            material, settings = self._material, self.settings
            state, message, done, rate = self._state, self._message, self._done, self._rate
        try:
            trace = net.backprop(x, y, rule=settings.rule)
            angle = None
            if settings.rule != "transpose" and net.L > 1:
                angle = degrees(trace.delta[1], net.backprop(x, y).delta[1])
            small = net.theta.size <= SENT
            targets = inputs.targets(net, y, len(x))
            found = {
                "cost": value(trace.cost.mean(dtype=np.float64)),
                "accuracy": value(net._score(trace.a[net.L], targets)),
                "delta": [value(length(trace.delta[l])) for l in range(1, net.L + 1)],
                "angle": None if angle is None or np.isnan(angle) else angle,
                "W": [matrix(W) for W in net.W] if small else None,
                "b": [encoded(b) for b in net.b] if small else None,
            }
        except DeltaruleError as error:
            state, message = "diverged", str(error)
            found = {"cost": "nan", "accuracy": None, "delta": ["nan"] * net.L, "angle": None, "W": None, "b": None}
        held_out = None
        if judge and state != "diverged" and material.held_out is not None:
            held_out = value(net.score(*material.held_out))
        epoch = done * min(settings.batch, len(material.x)) / len(material.x)
        return {
            "state": state,
            "message": message,
            "step": done,
            "epoch": epoch,
            "rate": rate,
            "validation": held_out,
            **found,
        }


def _optimizer(settings: LiveSettings) -> Optimizer:
    if settings.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", settings.optimizer, OPTIMIZERS)
    return OPTIMIZERS[settings.optimizer](settings.eta)
