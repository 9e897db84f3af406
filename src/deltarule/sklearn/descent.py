"""Stochastic training: several epochs in one compiled call, with scikit-learn's random numbers in their order.

scikit-learn shuffles before each epoch and decides after each whether to stop. Here the shuffles of the next epochs
are drawn ahead, the compiled code counts the epochs that do not help, and where it stops before the last of them
the generator is put back and draws again those that were used: all that follows draws what it would have drawn.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import cores
from deltarule.kernels import train
from deltarule.network import Network
from deltarule.sklearn.callbacks import EpochCallbacks
from deltarule.sklearn.solvers import Solver
from deltarule.sklearn.validation import Held
from deltarule.training import CALL_SECONDS, Training, settings_for

Array = npt.NDArray[Any]

FIRST_AHEAD = 8
"""For how many epochs the order is drawn ahead at first; twice as many each time."""

MOST_AHEAD = 1 << 20
"""The most numbers of samples that are drawn ahead."""

PART_NUMBERS = 1 << 22
"""So many numbers of sparse samples are made dense at once, or a batch of them."""


def prepared(
    estimator: Any, net: Network, x: Array, y: Array, weight: Array | None, rows: int, optimizer: Any
) -> Training:
    """The engine's records for this training, with scikit-learn's penalty: alpha over the batch's samples."""
    settings = settings_for(
        net,
        epochs=1,
        batch_size=rows,
        optimizer_given=optimizer,
        schedule_given=None,
        early_stopping=None,
        l2=estimator.alpha,
        l1=0.0,
        dropout=estimator.dropout,
        rule=estimator.rule,
        watch=False,
        shuffle=False,
        progress=False,
        checkpoint=None,
        threads=estimator.threads,
    )
    training = Training(net, x, np.ascontiguousarray(y, net.dtype), None, settings)
    training.optimiser = training.optimiser._replace(shared_l2=True)
    if weight is not None:
        training.data = training.data._replace(weights=np.ascontiguousarray(weight, net.dtype))
    return training


class Descent:
    """One call of fit or partial_fit with a stochastic solver.

    The course stands on the estimator, under scikit-learn's names, and is up to date after every compiled call.
    """

    def __init__(
        self, estimator: Any, net: Network, x: Any, y: Array, weight: Array | None, held: Held | None, judged: bool
    ) -> None:
        self.estimator, self.net, self.held = estimator, net, held
        self.judged = judged  # whether the validation score decides when to stop
        self.solver: Solver = estimator._optimizer
        self.solver.remember(net)
        self.x, self.y, self.weight = x, y, weight
        self.N: int = x.shape[0]
        self.rows = self._batch_size()
        self.training = None if hasattr(x, "toarray") else self._prepared(x, y, weight, self.rows)
        self.order = np.arange(self.N)
        self._steps = 1

    def _prepared(self, x: Array, y: Array, weight: Array | None, rows: int) -> Training:
        return prepared(self.estimator, self.net, x, y, weight, rows, self.solver.optimizer)

    def _batch_size(self) -> int:
        given = self.estimator.batch_size
        if isinstance(given, str):
            return min(200, self.N)
        if given > self.N:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
            )
        return int(min(given, self.N))

    def run(self, incremental: bool, callbacks: EpochCallbacks) -> bool:
        """Train to the last epoch, or a single one where `incremental`; whether it ended as no more is gained."""
        e = self.estimator
        alone = self.training is None or self.held is not None
        one_by_one = bool(alone or incremental or callbacks.there or e.verbose)
        most_threads = max(cores.cores(), e.threads or 1)
        ahead = 1 if one_by_one else FIRST_AHEAD
        e.n_iter_ = 0
        over = False
        try:
            with ThreadPoolExecutor(most_threads) as pool:
                while e.n_iter_ < e.max_iter:
                    callbacks.begin()
                    if self.training is None:
                        self._epoch_in_parts(pool)
                    else:
                        count = min(ahead, max(MOST_AHEAD // self.N, 1), e.max_iter - e.n_iter_)
                        self._epochs(self.training, count, pool)
                    ahead = 1 if one_by_one else 2 * ahead
                    over = self._is_over()
                    if callbacks.end() or over or incremental:
                        break
                    if e.n_iter_ == e.max_iter:
                        self._warn_of_the_end()
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        return over

    def _epochs(self, training: Training, count: int, pool: ThreadPoolExecutor) -> None:
        """So many epochs, or fewer where patience wears out, and their record."""
        e = self.estimator
        ahead = e.shuffle and count > 1
        before = e._random_state.get_state() if ahead else None
        orders = self._orders(count)
        self._require_weights(orders)
        after = e._random_state.get_state() if ahead else None
        patience = np.empty(0)
        if not self.judged:
            patience = np.array(
                [e.best_loss_, e._no_improvement_count, e.tol, e.n_iter_no_change, e._loss_scale(), 0.0]
            )
        cost, right, penalty = np.zeros((3, count))
        course = training.course._replace(
            eta=self.solver.rates(count, e.t_, self.N), cost=cost, right=right, penalty=penalty,
            orders=orders, patience=patience, strict=False,
        )  # fmt: skip
        course.counts[[train.EPOCH, train.STEP, train.BAD_LAYER]] = 0
        try:
            self._go(training.stepper(course, pool), course, count)
        finally:
            done = int(course.counts[train.EPOCH])
            self.solver.memory.steps = int(course.counts[train.T])  # type: ignore[union-attr]
            if ahead and done < count:
                self._put_back(before, after, done)
            elif done and e.shuffle:
                self.order = orders[done - 1]
            if not self.judged:
                e.best_loss_ = float(patience[train.BEST])
                e._no_improvement_count = int(patience[train.COUNT])
            for loss in (cost * e._loss_scale() + penalty)[:done].tolist():
                self._close_epoch(loss)

    def _epoch_in_parts(self, pool: ThreadPoolExecutor) -> None:
        """One epoch over sparse samples, of which some whole batches at a time are made dense."""
        e = self.estimator
        orders = self._orders(1)
        self._require_weights(orders)
        self.order = orders[0] if len(orders) else self.order
        size = max(PART_NUMBERS // (self.x.shape[1] * self.rows), 1) * self.rows
        total = 0.0
        for start in range(0, self.N, size):
            rows = self.order[start : start + size]
            x = np.ascontiguousarray(self.x[rows].toarray(), self.net.dtype)
            weight = None if self.weight is None else self.weight[rows]
            training = self._prepared(x, self.y[rows], weight, min(self.rows, len(rows)))
            cost, right, penalty = np.zeros((3, 1))
            course = training.course._replace(
                eta=np.array([self.solver.learning_rate]), cost=cost, right=right, penalty=penalty, strict=False
            )
            self._go(training.stepper(course, pool), course, 1)
            self.solver.memory.steps = int(course.counts[train.T])  # type: ignore[union-attr]
            total += (cost[0] * e._loss_scale() + penalty[0]) * len(rows)
        loss = total / self.N
        if not self.judged:
            e._no_improvement_count = e._no_improvement_count + 1 if loss > e.best_loss_ - e.tol else 0
            e.best_loss_ = min(e.best_loss_, loss)
        self._close_epoch(loss)

    def _go(self, steps: Callable[[int], None], course: Any, count: int) -> None:
        """Compiled calls of about a tenth of a second, after each of which Ctrl-C is heard."""
        counts, patience = course.counts, course.patience
        while counts[train.EPOCH] < count and not (patience.size and patience[train.WORN]):
            called, before = time.perf_counter(), int(counts[train.T])
            steps(self._steps)
            rate = (int(counts[train.T]) - before) / (time.perf_counter() - called)
            self._steps = min(max(int(rate * CALL_SECONDS), 1), 10 * self._steps)

    def _orders(self, count: int) -> npt.NDArray[np.int32]:
        """The order of the samples in each of the next epochs, each a shuffle of the one before."""
        e = self.estimator
        if not e.shuffle:
            return np.empty((0, self.N), np.int32)
        orders, order, places = np.empty((count, self.N), np.int32), self.order, np.arange(self.N)
        for epoch in range(count):
            drawn = places.copy()
            e._random_state.shuffle(drawn)
            orders[epoch] = order = order[drawn]
        return orders

    def _put_back(self, before: Any, after: Any, done: int) -> None:
        """Let the generator stand where it would stand had only `done` epochs been drawn."""
        generator = self.estimator._random_state
        now = generator.get_state()
        if now[2] != after[2] or not np.array_equal(now[1], after[1]):
            return  # NumPy's global generator, and someone else has drawn from it
        generator.set_state(before)
        drawn = self._orders(done)
        if done:
            self.order = drawn[-1]

    def _require_weights(self, orders: Array) -> None:
        """Refuse a batch whose samples weigh nothing in all, as scikit-learn does."""
        if self.weight is None:
            return
        rows = self.weight[orders] if len(orders) else self.weight[None]
        if (np.add.reduceat(rows, np.arange(0, self.N, self.rows), axis=1) == 0).any():
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")

    def _close_epoch(self, loss: float) -> None:
        """The record of one epoch, and the validation that follows it."""
        e = self.estimator
        e.n_iter_ += 1
        e.loss_ = loss
        e.t_ += self.N
        e.loss_curve_.append(loss)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {loss:.8f}")
        if self.held is not None:
            self._validate(self.held)
        self.solver.end_epoch(e.t_)

    def _validate(self, held: Held) -> None:
        e = self.estimator
        score, loss = held.judge(e, self.net)
        e.validation_scores_.append(score)
        e.validation_loss_curve_.append(loss)
        if e.verbose:
            print(f"Validation score: {score:f}")
        if not self.judged:
            return
        e._no_improvement_count = e._no_improvement_count + 1 if score < e.best_validation_score_ + e.tol else 0
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            e._best_theta = self.net.theta.copy()

    def _is_over(self) -> bool:
        """Whether so many epochs have not helped that the training stops, or its learning rate was made smaller."""
        e = self.estimator
        if not e._no_improvement_count > e.n_iter_no_change:
            return False
        what = "Validation score did not improve" if self.judged else "Training loss did not improve"
        message = f"{what} more than tol={e.tol:f} for {e.n_iter_no_change} consecutive epochs."
        if self.solver.gives_up(message, e.verbose):
            return True
        e._no_improvement_count = 0
        return False

    def _warn_of_the_end(self) -> None:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({self.estimator.max_iter}) reached and the optimization "
            f"hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=2,
        )
