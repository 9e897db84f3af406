"""One training by several processes, the ranks: each computes its share of every batch, and all take the same step.

The steps are those of one process. Every rank draws the same order of the samples, computes the gradient of its
share of the batch, and adds it, times that share, to the others': the sum is the gradient of the whole batch,
sum_r (n_r / n) g_r = g, whatever the shares. Then the same optimiser changes the same weights on every rank.
"""

from __future__ import annotations

import copy
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import checkpoint, inputs
from deltarule.errors import BadInput
from deltarule.history import History, Sharing
from deltarule.kernels.layout import ALIGNMENT
from deltarule.network import Network
from deltarule.ranks import Ranks, share, together
from deltarule.training import Settings, Training

Array = npt.NDArray[Any]

TRIAL_SECONDS = 0.2
"""For about so long the first rank trains alone, before all do, to know what the others are worth."""


def train(
    ranks: Ranks, net: Network, x: Any, y: Any, validation: Any, settings: Settings, sample_weight: Any
) -> History:
    """`Network.fit` on all ranks: the same weights and the same history on each."""
    training = together(ranks, lambda: SharedTraining(ranks, net, x, y, validation, settings, sample_weight))
    with _interrupts(training):
        return training.run()


@contextmanager
def _interrupts(training: SharedTraining) -> Iterator[None]:
    """Ctrl-C becomes a wish that goes to all ranks with the next sum, so that all stop before the same step."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def wish(*_: Any) -> None:
        if training.interrupted:  # the second time: no more patience with the others
            raise KeyboardInterrupt
        training.interrupted = True

    signal.signal(signal.SIGINT, wish)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class SharedTraining(Training):
    """One call of fit on one of the ranks. The first of them judges, keeps the checkpoint and shows the bar."""

    def __init__(
        self, ranks: Ranks, net: Network, x: Any, y: Any, validation: Any, settings: Settings, sample_weight: Any
    ) -> None:
        if any(settings.dropout):
            raise BadInput(
                "dropout does not go with ranks: whom it silences is drawn sample after sample, by one process. Take "
                "l2 in its place, or train in one process"
            )
        if any(one.name == "function" for one in settings.rules):
            raise BadInput(
                "a function as a rule does not go with ranks: it would take a rank's share of a batch for the batch. "
                "Give a rule by name or a matrix, or train in one process"
            )
        self.ranks = ranks
        self.interrupted = False
        self.communicating = 0.0
        self.done_before = 0
        self.alone = 0.0
        if ranks.rank:
            settings = replace(settings, progress=False, checkpoint=None)
        super().__init__(net, x, y, validation, settings, sample_weight)

    def own_rows(self) -> int:
        """How many samples of a whole batch are computed here."""
        if self.rows < self.ranks.size:
            raise BadInput(
                f"a batch of {self.rows} samples for {self.ranks.size} ranks leaves some without work; take larger "
                f"batches, or fewer ranks"
            )
        low, high = share(self.rows, self.ranks.rank, self.ranks.size)
        return high - low

    @property
    def each_epoch(self) -> bool:
        """What one rank does between two epochs, all do."""
        return True

    def stepper(self, course: Any, pool: ThreadPoolExecutor) -> Callable[[int], None]:
        """A function that goes on for so many steps of this course, together with the other ranks."""
        return SharedSteps(self, course, pool)

    def judged(self, x: Array, y: inputs.Targets) -> tuple[float, float]:
        """Cost and score of the validation data as the first rank finds them."""
        found: tuple[float, float] = self.ranks.broadcast(None if self.ranks.rank else super().judged(x, y))
        return found

    def resume(self) -> None:
        """Begin on all ranks where the first is: with its weights, its optimiser's memory, or its checkpoint."""
        together(self.ranks, super().resume)
        tensors, kept = self.ranks.broadcast(None if self.ranks.rank else checkpoint.state(self))

        def require_the_same() -> None:
            if other := checkpoint.differing(self, kept):
                raise BadInput(
                    f"the first rank trains something else: {other}. All ranks call fit with the same arguments"
                )

        together(self.ranks, require_the_same)
        if self.ranks.rank:
            checkpoint.restore(self, tensors, kept)
        self.done_before = self.done
        self.alone = self.ranks.broadcast(None if self.ranks.rank else self._seconds_alone())

    def _seconds_alone(self) -> float:
        """What an epoch would take without the other ranks, from some steps of a copy of the network."""
        net, given = self.net.copy(), copy.deepcopy(self.settings.optimizer)
        net.classes = None
        settings = replace(self.settings, epochs=1, early_stopping=None, watch=0, optimizer=given)
        y = self.y.labels if self.y.are_labels else self.y.values
        trial = Training(net, self.x, y, None, settings, self.weights if self.weights.size else None)
        some, taken, seconds = 1, 0, 0.0
        with ThreadPoolExecutor(trial.team.size) as pool:
            step = trial.stepper(trial.course, pool)  # eta is 0 in it
            step(1)
            while seconds < TRIAL_SECONDS:
                trial.course.counts[:] = 0
                started = time.perf_counter()
                step(some)
                seconds += time.perf_counter() - started
                taken += some
                some = min(2 * some, self.steps_an_epoch)
        return seconds / taken * self.steps_an_epoch

    def history(self, stopped: str, best_epoch: int | None) -> History:
        """The record of the epochs done, and what sharing them came to."""
        history, own = super().history(stopped, best_epoch), self.seconds[self.done_before :]
        if not own:
            return history
        communication = min(self.communicating / sum(own), 1.0)
        sharing = Sharing(self.ranks.size, sum(own) / len(own), communication, self.alone)
        return replace(history, sharing=sharing, flow=None if self.ranks.rank else history.flow)


class SharedSteps:
    """Steps on one of the ranks, by three calls of the compiled code, which has one door.

    A step whose optimiser stands still computes the gradient of the share. A step of no samples takes the gradient
    that all have summed up, and lets the optimiser change the weights; its l2 and l1 enter there, once. And one that
    does neither draws the order of the epoch, with the same numbers as one process does.
    """

    def __init__(self, training: SharedTraining, course: Any, pool: ThreadPoolExecutor) -> None:
        from deltarule.kernels.update import MOMENTUM, STILL

        self.training, self.course = training, course
        net, optimiser, data, watch = training.net, training.optimiser, training.data, training.watch
        ranks, rows, N, epochs = training.ranks, training.rows, len(training.x), len(training.course.eta)
        size, members = net.theta.size, len(optimiser.grad)
        scratch = np.zeros_like(net.theta)

        self.grad = np.zeros((members + 1, size + ALIGNMENT), net.dtype)
        self.message = self.grad[-1, : size + 2]  # the sum; how many ranks met a bad value, and how many are to stop
        self.biases = [self.grad[-2, b : b + n] for b, n in zip(net._b_at[1:], net.sizes[1:], strict=True)]
        still = optimiser._replace(code=STILL, l2=0.0, l1=0.0, grad=self.grad[:members])
        moving = optimiser._replace(grad=self.grad[members - 1 :])  # the rows are added up: one of 0, and the sum
        if training.settings.optimizer.name == "sgd":  # it knows no gradient apart; momentum 0 is the same step
            moving = moving._replace(code=MOMENTUM, first=0.0, m=scratch)

        starts = np.arange(0, N, rows)
        self.shares = [share(min(rows, N - int(start)), ranks.rank, ranks.size) for start in starts]
        self.places = np.concatenate(
            [np.arange(start + low, start + high) for start, (low, high) in zip(starts, self.shares, strict=True)]
        )
        self.seen = np.zeros(2)  # of this epoch, by this rank: the sum of C, and how many are right
        self.local = course._replace(
            counts=np.zeros(4, np.int64), sums=np.zeros(3), eta=np.zeros(epochs), cost=np.zeros(epochs),
            right=np.zeros(epochs), order=np.zeros(len(self.places), np.int32), good=scratch,
        )  # fmt: skip
        self.aside = course._replace(counts=np.zeros(4, np.int64), sums=np.zeros(3), eta=np.zeros(1))
        nothing = data._replace(weights=np.zeros(1, net.dtype))  # weights: no samples are not divided by
        unwatched = watch._replace(rows=watch.rows[:0])
        watched = unwatched if ranks.rank else watch
        calls = training.calls_for
        self.draw = calls(pool, nothing, still, self.aside, unwatched, True, 0)
        self.look = calls(pool, data, still, self.local, watched, False, training.own_rows())
        self.learn = calls(pool, nothing, moving, course, unwatched, False, 0)

    def __call__(self, count: int) -> None:
        """Go on for so many steps, or to the end of the course, or until a value is not finite."""
        from deltarule.kernels.train import BAD_LAYER, EPOCH, STEP

        counts = self.course.counts
        if count == 0:
            for call in (self.draw, self.look, self.learn):
                call(0)
            if counts[EPOCH] == self.training.done_before:
                self.training.ranks.gather(None)  # until all have compiled
        for _ in range(count):
            if counts[EPOCH] == len(self.course.eta) or counts[BAD_LAYER]:
                return
            if counts[STEP] == 0:
                self._begin_epoch()
            self._step(int(counts[STEP]))
            if counts[STEP] == len(self.shares):
                self._end_epoch(int(counts[EPOCH]))
                counts[EPOCH] += 1
                counts[STEP] = 0

    def _begin_epoch(self) -> None:
        if self.training.shuffle:
            self.aside.counts[:] = 0
            self.draw(1)
        self.local.order[:] = self.course.order[self.places]
        self.seen[:] = 0

    def _step(self, number: int) -> None:
        """The gradient of this rank's share, the sum over all ranks, and the optimiser's step."""
        from deltarule.kernels.train import BAD_LAYER, EPOCH

        training, message, low_high = self.training, self.message, self.shares[number]
        bad: tuple[int, int] | None = None
        if low_high[0] == low_high[1]:
            message[:] = 0
        else:
            self.local.counts[:] = self.course.counts[EPOCH], number, 0, 0
            self.look(1)
            if self.local.counts[BAD_LAYER]:
                bad = self._where_bad()
                message[:] = 0
            else:
                self._weigh(number * training.rows, *low_high)
        message[-2:] = bad is not None, training.interrupted
        started = time.perf_counter()
        training.ranks.sum(message)
        training.communicating += time.perf_counter() - started
        if message[-2]:
            every = [one for one in training.ranks.gather(bad) if one is not None]
            self.course.counts[BAD_LAYER] = min(every)[1]
            return
        if message[-1]:
            raise KeyboardInterrupt
        for b in self.biases:
            b[:] = 0  # of no samples the compiled code sums up no delta, and leaves what there was
        self.learn(1)

    def _weigh(self, start: int, low: int, high: int) -> None:
        """The gradient of the share low..high of the batch at `start`, times its weight in the sum over the ranks."""
        training, order = self.training, self.course.order
        n = min(training.rows, len(order) - start)
        own, whole = float(high - low), float(n)
        if len(weights := training.data.weights):
            own = float(weights[order[start + low : start + high]].sum(dtype=np.float64))
            whole = float(weights[order[start : start + n]].sum(dtype=np.float64)) or 1.0
        size = self.message.size - 2
        np.multiply(self.grad[0, :size], self.grad.dtype.type(own / whole), out=self.message[:size])
        cost, right = training.team.sums[:, :2].sum(axis=0)
        self.seen += cost * n / whole, right

    def _where_bad(self) -> tuple[int, int]:
        """Where this rank's first value that is not finite stands in the order of computation, and its layer."""
        from deltarule.kernels.team import BAD
        from deltarule.kernels.train import BAD_LAYER

        return int(self.training.team.state[BAD::8].min()), int(self.local.counts[BAD_LAYER])

    def _end_epoch(self, epoch: int) -> None:
        """Record the epoch, see to it that all ranks have the same weights, keep them as good if they are finite."""
        training, course = self.training, self.course
        theta, memory = training.net.theta, training.memory
        started = time.perf_counter()
        training.ranks.sum(self.seen)
        marks = training.ranks.gather(zlib.crc32(theta.data))
        if len(set(marks)) > 1:  # processors of two kinds round in two ways
            for array in (theta, memory.m, memory.v, training.feedback.B):
                training.ranks.share(array)
        training.communicating += time.perf_counter() - started
        course.cost[epoch], course.right[epoch] = self.seen / len(course.order)
        if np.isfinite(theta).all():
            course.good[:] = theta
