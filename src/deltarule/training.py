"""fit: the loop over the epochs around the compiled steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import checkpoint, cores, inputs
from deltarule.calls import raise_kept
from deltarule.errors import BadInput, DeltaruleError, Diverged, is_count, is_number, require
from deltarule.history import History, Series
from deltarule.kernels import layout
from deltarule.network import Network
from deltarule.optimizers import Optimizer, optimizer
from deltarule.progress import Bar
from deltarule.records import ByLayer
from deltarule.rules import by_layer, feedback, keep
from deltarule.schedules import EarlyStopping, Schedule, schedule
from deltarule.verdicts import SATURATED
from deltarule.watched import Watched

Array = npt.NDArray[Any]

SHARE = 4_000_000
"""A member's least part of a step, in multiplications and additions: with less, meeting costs more than it saves."""

PART_BYTES = 256 * 1024
"""A large batch through a small network is computed in parts whose values fit into so much of a core's cache."""

LEAST_PART = 128

ANGLE_SAMPLES = 100
"""On how many samples, spread over the training data, the angle of a rule to the true error is measured."""

DEAD_AFTER = 1000
"""A neuron whose slope has been 0 for so many training samples one after another is recorded as dead."""

CALL_SECONDS = 0.1
"""How long one compiled call may take: after each, Ctrl-C is heard and the progress bar moves."""


@dataclass(frozen=True)
class Settings:
    """How to train; every value checked. The fields are the arguments of `Network.fit`."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    schedule: Schedule
    early_stopping: EarlyStopping | None
    l2: float
    l1: float
    dropout: tuple[float, ...]
    rules: ByLayer
    watch: int
    shuffle: bool
    progress: bool
    checkpoint: Path | None
    threads: int | None

    def to_dict(self) -> dict[str, Any]:
        """What must be the same for a training that goes on: all but the length, the bar and the folder."""
        return {
            "batch_size": self.batch_size,
            "optimizer": self.optimizer.settings(),
            "schedule": repr(self.schedule),
            "early_stopping": None if self.early_stopping is None else repr(self.early_stopping),
            "l2": self.l2,
            "l1": self.l1,
            "dropout": list(self.dropout),
            "rules": [one.settings() for one in self.rules],
            "watch": self.watch,
            "shuffle": self.shuffle,
        }


def settings_for(
    net: Network,
    *,
    epochs: int,
    batch_size: int,
    optimizer_given: str | Optimizer | None,
    schedule_given: str | Schedule | None,
    early_stopping: bool | EarlyStopping | None,
    l2: float,
    l1: float,
    dropout: float | Sequence[float],
    rule: Any,
    watch: bool | int,
    shuffle: bool,
    progress: bool,
    checkpoint: str | Path | None,
    threads: int | None,
) -> Settings:
    """The arguments of `Network.fit`, checked. Raises BadInput."""
    for name, count in (("epochs", epochs), ("batch_size", batch_size)):
        require(name, count, is_count(count), "an integer from 1 up")
    for name, strength in (("l2", l2), ("l1", l1)):
        require(name, strength, is_number(strength, 0), "a number from 0 up")
    for name, wanted in (("shuffle", shuffle), ("progress", progress)):
        require(name, wanted, isinstance(wanted, (bool, np.bool_)), "True or False")
    require("checkpoint", checkpoint, isinstance(checkpoint, (str, Path, type(None))), "the name of a folder")
    require("threads", threads, threads is None or is_count(threads), "how many threads share a step, or None")
    hidden = net.L - 1
    shares = (
        list(dropout) if isinstance(dropout, (list, tuple, np.ndarray)) and np.ndim(dropout) else [dropout] * hidden
    )
    require(
        "dropout",
        dropout,
        len(shares) == hidden and all(is_number(share, 0, 1) and share != 1 for share in shares),
        f"a share from 0 up to, not including, 1, or one for each of the {hidden} hidden layers",
    )
    seen = isinstance(watch, (bool, np.bool_)) or is_count(watch) or is_number(watch, 0, 0)
    require("watch", watch, seen, "True, False, or k to watch every k-th step")
    stopping = EarlyStopping() if early_stopping is True else early_stopping or None
    if stopping is not None and not isinstance(stopping, EarlyStopping):
        raise BadInput(f"early_stopping is {early_stopping!r}; expected True or deltarule.EarlyStopping(patience=10)")
    return Settings(
        int(epochs),
        int(batch_size),
        optimizer(optimizer_given),
        schedule(schedule_given),
        stopping,
        float(l2),
        float(l1),
        tuple(float(share) for share in shares),  # type: ignore[arg-type]
        by_layer(net, rule),
        int(watch),
        bool(shuffle),
        bool(progress),
        None if checkpoint is None else Path(checkpoint),
        threads,
    )


class Training:
    """One call of fit: the buffers, the course so far, and what is to be remembered."""

    def __init__(
        self, net: Network, x: Any, y: Any, validation: Any, settings: Settings, sample_weight: Any = None
    ) -> None:
        self.net, self.settings = net, settings
        self.x = inputs.samples(net, x)
        self.y = inputs.targets(net, y, len(self.x))
        self.weights = inputs.weights(net, sample_weight, len(self.x))
        self.classes_before = net.classes
        if self.y.classes is not None:
            net.classes = self.y.classes
        try:
            self.validation = self._checked_validation(validation)
        except BadInput:
            net.classes = self.classes_before
            raise
        self.memory = settings.optimizer.memory(net)
        self.epochs_before = self.memory.epochs
        self.done = 0
        self.validation_cost: list[float] = []
        self.validation_accuracy: list[float] = []
        self.seconds: list[float] = []
        self.angles: list[tuple[float, ...]] = []
        self.best: Array | None = None
        self._prepare()

    def _checked_validation(self, given: Any) -> tuple[Array, inputs.Targets] | None:
        if given is None:
            if self.settings.early_stopping is not None:
                raise BadInput("early stopping needs data to judge by: fit(..., validation=(x, y))")
            return None
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise BadInput(f"validation is {type(given).__name__}; expected a pair (x, y)")
        try:
            x = inputs.samples(self.net, given[0])
            y = inputs.targets(self.net, given[1], len(x))
        except BadInput as error:
            raise BadInput(f"in the validation data: {error}") from error
        if y.are_labels != self.y.are_labels:
            raise BadInput(
                "the validation targets are labels and the training targets values, or the other way round"
            )
        return x, y

    def _prepare(self) -> None:
        """The records that the compiled code reads and writes."""
        from deltarule.kernels import train, watch
        from deltarule.kernels.team import team
        from deltarule.kernels.update import CODES, Optimiser

        net, settings, opt = self.net, self.settings, self.settings.optimizer
        N = len(self.x)
        self.rows = min(settings.batch_size, N)
        rows, n = self.own_rows(), net.sizes
        part = self._part(rows)
        members = self._members(rows, part)
        if part < rows:  # as many parts for each member, and all of one size: who is done first has to wait
            part = -(-rows // (members * -(-rows // (members * part))))
        self.team = team(members)
        fused = opt.name == "sgd" and settings.l1 == 0 and part == rows
        self.batches = [layout.batch(n, part, net.dtype)]
        for _ in range(1, members):
            if part < rows:
                self.batches.append(layout.batch(n, part, net.dtype))
            else:
                packed, length = layout.own(n, net.dtype)
                self.batches.append(self.batches[0]._replace(packed=packed, length=length))
        self.optimiser = Optimiser(
            CODES[opt.name],
            float(opt.first),
            float(opt.second),
            float(opt.epsilon),
            float(opt.decay),
            settings.l2,
            settings.l1,
            False,
            np.zeros((members if part < rows else 1, 0 if fused else net.theta.size), net.dtype),
            self.memory.m,
            self.memory.v,
        )
        counts = np.zeros(4, np.int64)
        counts[train.T] = self.memory.steps
        self.course = train.Course(
            counts,
            np.zeros(3),
            np.zeros(settings.epochs),
            np.zeros(settings.epochs),
            np.zeros(settings.epochs),
            np.arange(N, dtype=np.int32),
            np.array([0.0, *settings.dropout, 0.0]),
            net.theta.copy(),
            np.empty((0, N), np.int32),
            np.empty(0),
            np.empty(0),
            True,
        )
        self.feedback, self.calls = feedback(net, settings.rules)
        self.steps_an_epoch = -(-N // self.rows)
        seen = -(-settings.epochs * self.steps_an_epoch // settings.watch) if settings.watch else 0
        peaks = [sigma.peak or 0.0 for sigma in net.activations]
        self.watch = layout.Watch(
            max(settings.watch, 1),
            SATURATED * np.array([0.0, *peaks]),
            np.zeros(sum(n[1:]), np.int64),
            min(N, DEAD_AFTER),
            np.zeros(members * sum(n[1:]), net.dtype),
            np.zeros(members * sum(n[1:]), net.dtype),
            np.zeros((members, net.L, 4)),
            np.empty((seen, len(watch.COLUMNS), net.L)),
        )
        self.data = layout.Data(
            layout.readable(self.x), layout.readable(self.y.labels), layout.readable(self.y.values), self.weights
        )
        self.shuffle = settings.shuffle and self.rows < N
        self._steps = 1

    def own_rows(self) -> int:
        """How many samples of a batch are computed here: all."""
        return self.rows

    def _part(self, rows: int) -> int:
        """How many samples are computed at once: all of a batch, or as many as the caches hold with a small net."""
        net = self.net
        whole = any(one.name == "function" for one in self.settings.rules)
        if whole or net.theta.nbytes > PART_BYTES:
            return rows
        return min(rows, max(PART_BYTES // (5 * sum(net.sizes) * net.theta.itemsize), LEAST_PART))

    def _members(self, rows: int, part: int) -> int:
        """How many threads share a step."""
        net, settings = self.net, self.settings
        alone = any(settings.dropout) or any(one.name == "function" for one in settings.rules)
        work = 6 * rows * sum(W.size for W in net.W)
        wanted = min(cores.cores(), max(int(work / SHARE), 1)) if settings.threads is None else settings.threads
        return 1 if alone else min(wanted, rows if part == rows else -(-rows // part))

    @property
    def each_epoch(self) -> bool:
        """Whether something has to be done between two epochs."""
        s = self.settings
        return self.validation is not None or s.checkpoint is not None or s.schedule.watches_cost or self.has_angle

    @property
    def has_angle(self) -> bool:
        """Whether a rule is used whose error is not the true one."""
        return any(one.name != "transpose" for one in self.settings.rules)

    def run(self) -> History:
        """Train to the last epoch, or until it is over for another reason."""
        settings = self.settings
        try:
            self.resume()
        except DeltaruleError:
            self.net.classes = self.classes_before
            raise
        stopped = "finished"
        try:
            with (
                Bar(settings.epochs * self.steps_an_epoch, settings.progress) as bar,
                ThreadPoolExecutor(self.team.size) as pool,
            ):
                while self.done < settings.epochs:
                    if self._is_over():
                        stopped = "early"
                        break
                    until = self.done + 1 if self.each_epoch else settings.epochs
                    self._run_epochs(until, bar, pool)
                    self._close_epochs(until)
        except KeyboardInterrupt:
            stopped = "interrupted"
            whole = int(self.course.counts[0]) if self.validation is None else len(self.validation_cost)
            self._close_epochs(whole, validate=False)  # an epoch that was not judged yet does not count
        best = self._take_best() if stopped != "interrupted" else None
        return self.history(stopped, best)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.settings.checkpoint is not None:
            checkpoint.resume(self, self.settings.checkpoint)

    def _is_over(self) -> bool:
        stopping = self.settings.early_stopping
        return stopping is not None and bool(self.done) and stopping.is_over(self._monitored())

    def _monitored(self) -> list[float]:
        stopping = self.settings.early_stopping
        by_accuracy = stopping is not None and stopping.monitor == "accuracy"
        return self.validation_accuracy if by_accuracy else self.validation_cost

    def stepper(self, course: Any, pool: ThreadPoolExecutor) -> Callable[[int], None]:
        """A function that goes on for so many steps of this course."""
        return self.calls_for(pool, self.data, self.optimiser, course, self.watch, self.shuffle, self.rows)

    def calls_for(
        self, pool: ThreadPoolExecutor, data: Any, optimiser: Any, course: Any, watch: Any, shuffle: bool, rows: int
    ) -> Callable[[int], None]:
        """A function that takes so many steps with these records: one compiled call for each member of the team."""
        from deltarule.kernels.train import train

        net = self.net
        call: Callable[..., Any] = partial(
            train, net.theta, net._layers, self.feedback, data, optimiser, course, watch, net.rng, shuffle, rows
        )

        def together(count: int) -> None:
            """Every member of the team takes these steps; this thread is member 0."""
            others = [pool.submit(call, count, self.team, self.batches[me], me) for me in range(1, self.team.size)]
            call(count, self.team, self.batches[0], 0)
            for other in others:
                other.result()

        def steps(count: int) -> None:
            if self.team.size == 1:
                together(count)
                return
            # Ctrl-C is heard in the main thread alone: a member that it stopped would leave the others waiting.
            with cores.turn:
                running = pool.submit(together, count)
                try:
                    running.result()
                except KeyboardInterrupt:
                    running.result()
                    raise

        return steps

    def _run_epochs(self, until: int, bar: Bar, pool: ThreadPoolExecutor) -> None:
        """Compiled calls until `until` epochs are done. Raises Diverged."""
        from deltarule.kernels.train import BAD_LAYER, EPOCH, STEP, T

        net, settings, counts = self.net, self.settings, self.course.counts
        total = self.epochs_before + settings.epochs
        for epoch in range(self.done, until):
            factor = settings.schedule.factor(self.epochs_before + epoch, total, self.memory.costs)
            self.course.eta[epoch] = settings.optimizer.eta * factor
        steps = self.stepper(self.course._replace(eta=self.course.eta[:until]), pool)
        steps(0)  # the first call of a process compiles, and that is not the epoch's time
        started = time.perf_counter()
        try:
            while counts[EPOCH] < until:
                called, before = time.perf_counter(), int(counts[T])
                steps(self._steps)
                if counts[BAD_LAYER]:
                    raise_kept(self.calls)
                    self._diverged(int(counts[EPOCH]) + 1, int(counts[STEP]) + 1, int(counts[BAD_LAYER]))
                rate = (int(counts[T]) - before) / (time.perf_counter() - called)
                self._steps = min(max(int(rate * CALL_SECONDS), 1), 10 * self._steps)
                bar.show(int(counts[EPOCH]) * self.steps_an_epoch + int(counts[STEP]), self._text())
        finally:
            self.memory.steps = int(counts[T])
            if not counts[BAD_LAYER] and np.isfinite(self.feedback.B).all():  # else those of the good weights stay
                keep(net, self.settings.rules, self.feedback)
            finished = int(counts[EPOCH]) - self.done
            self.seconds += [(time.perf_counter() - started) / max(finished, 1)] * finished
        self._require_finite_weights(until)

    def _text(self) -> str:
        epoch = int(self.course.counts[0])
        cost = f"  cost {self.course.cost[epoch - 1]:.4g}" if epoch else ""
        right = f"  validation {self.validation_accuracy[-1]:.4f}" if self.validation_accuracy else ""
        return f"epoch {min(epoch + 1, self.settings.epochs)}/{self.settings.epochs}{cost}{right}"

    def _close_epochs(self, until: int, validate: bool = True) -> None:
        """What is done between epochs: validation, the best weights, the checkpoint."""
        from deltarule.kernels.train import EPOCH

        if validate and self.validation is not None:
            cost, score = self.judged(*self.validation)
            self.validation_cost.append(cost)
            self.validation_accuracy.append(score)
            self.memory.costs.append(cost)
        else:
            self.memory.costs += self.course.cost[self.done : until].tolist()
        if validate and self.has_angle:
            self.angles.append(self._angle())
        self.done = until
        self.memory.epochs = self.epochs_before + int(self.course.counts[EPOCH])
        stopping = self.settings.early_stopping
        if stopping is not None and validate and stopping.best_epoch(self._monitored()) == self.done - 1:
            self.best = self.net.theta.copy()
        if self.settings.checkpoint is not None and validate:
            checkpoint.write(self, self.settings.checkpoint)

    def judged(self, x: Array, y: inputs.Targets) -> tuple[float, float]:
        """Cost and score of the validation data."""
        return self.net._evaluate(x, y)

    def _angle(self) -> tuple[float, ...]:
        """The angle between the rule's delta^l and the true one, for each hidden layer."""
        some = np.linspace(0, len(self.x) - 1, min(len(self.x), ANGLE_SAMPLES)).astype(int)
        labels, values = (part[some] if len(part) else part for part in self.y[:2])
        x, y = self.x[some], inputs.coded(inputs.Targets(labels, values, None), self.net)
        angle = self.net.backprop(x, y, rule=self.settings.rules).angle(self.net.backprop(x, y))
        return tuple(angle)[:-1]  # at the output every rule is the same

    def flow(self) -> Watched | None:
        """The flow of the steps watched in the epochs done."""
        every = self.settings.watch
        if not every:
            return None
        steps = np.arange(0, self.done * self.steps_an_epoch, every, dtype=np.int64)
        moved, delta, speed, saturated, dead = np.moveaxis(self.watch.rows[: len(steps)], 1, 0).copy()
        names = tuple(sigma.name for sigma in self.net.activations)
        return Watched(steps + 1, every, names, moved, delta, speed, saturated, dead)

    def _take_best(self) -> int | None:
        """With early stopping, give the network its best weights; the epoch they are from."""
        stopping = self.settings.early_stopping
        if stopping is None or self.best is None:
            return None
        self.net.theta[:] = self.best
        return stopping.best_epoch(self._monitored()) + 1

    def _require_finite_weights(self, epoch: int) -> None:
        for l in range(1, self.net.L + 1):
            if not (np.isfinite(self.net.W[l]).all() and np.isfinite(self.net.b[l]).all()):
                self._diverged(epoch, self.steps_an_epoch, l)

    def _diverged(self, epoch: int, step: int, layer: int) -> None:
        """Give the network its last good weights and raise Diverged."""
        self.net.theta[:] = self.course.good
        self.settings.optimizer.forget(self.net)
        self.done = epoch - 1
        raise Diverged(
            f"training met a value that is not finite in epoch {epoch}, step {step}, first at layer {layer} "
            f"({self.net.activations[layer].name}). The network has the weights of the end of epoch {epoch - 1} "
            f"again (0: those it came with). A smaller learning rate (now {self.course.eta[epoch - 1]:g}), "
            f"another init, or inputs scaled to about one often help.",
            epoch=epoch,
            step=step,
            layer=layer,
            history=self.history("diverged", None),
        )

    def history(self, stopped: str, best_epoch: int | None) -> History:
        """The record of the epochs done."""
        n = self.done
        return History(
            cost=tuple(self.course.cost[:n].tolist()),
            accuracy=tuple(self.course.right[:n].tolist()) if self.y.are_labels else (),
            validation=None
            if self.validation is None
            else Series(tuple(self.validation_cost[:n]), tuple(self.validation_accuracy[:n])),
            eta=tuple(self.course.eta[:n].tolist()),
            seconds=tuple(self.seconds[:n]),
            stopped=stopped,
            best_epoch=best_epoch,
            angle=tuple(self.angles[:n]),
            flow=self.flow(),
        )
