"""Steps and epochs of training in one compiled call, which holds no lock and allocates nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltarule.kernels.compile import entry, jit, passage
from deltarule.kernels.feedback import KOLEN_POLLACK, join_weights, part_from_weights
from deltarule.kernels.passes import backward, bias_gradient, forward_layer, gradient, part, take
from deltarule.kernels.products import weight_gradient
from deltarule.kernels.update import SGD, penalise, step
from deltarule.kernels.watch import listen, look

EPOCH, STEP, T, BAD_LAYER = range(4)
"""What stands where in Course.counts."""


class Course(NamedTuple):
    """Where a training is: counters, the record of each epoch, and the last weights known to be good."""

    counts: npt.NDArray[np.int64]  # epochs done, steps done in this epoch, steps in all, first bad layer
    sums: npt.NDArray[np.float64]  # this epoch so far: sum of C, number right
    eta: npt.NDArray[np.float64]  # of each epoch
    cost: npt.NDArray[np.float64]  # of each epoch: mean C as it was seen
    right: npt.NDArray[np.float64]  # of each epoch: share of samples whose largest output was their label's
    order: npt.NDArray[np.int32]  # the samples in the order of this epoch
    dropout: npt.NDArray[np.float64]  # of each layer
    good: npt.NDArray[Any]


@passage
def _shuffle(order, rng):
    """Samples 0..N-1 in a new order (Fisher and Yates), a function of the generator's state alone."""
    for i in range(order.size):
        order[i] = i
    for i in range(order.size - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        order[i], order[j] = order[j], order[i]


@jit
def _drop(rng, share, a, slope):
    """Silence each unit with probability `share`; the rest, and their slopes, grow by 1 / (1 - share)."""
    grown = a.dtype.type(1.0 / (1.0 - share))
    for i in range(a.size):
        if rng.random() < share:
            a[i] = 0
            slope[i] = 0
        else:
            a[i] *= grown
            slope[i] *= grown


@jit
def _finite(values):
    """Whether every value is finite: 0 times a NaN or an infinity is a NaN, whatever the sum."""
    total = values[0] * 0
    for i in range(values.size):
        total += values[i] * 0
    return total == 0


@passage
def _first_bad_layer(layers, batch, n):
    """The layer of the first non-finite value in the order of computation, or 0."""
    L = layers.sizes.size - 1
    for l in range(1, L + 1):
        if not (_finite(part(batch.z, batch, l, layers, n)) and _finite(part(batch.a, batch, l, layers, n))):
            return l
    if not _finite(batch.cost[:n]):
        return L
    for l in range(L, 0, -1):
        if not _finite(part(batch.delta, batch, l, layers, n)):
            return l
    return 0


@passage
def _right(layers, batch, data, order, start, n):
    """How many of the n samples have their largest output at their label."""
    L = layers.sizes.size - 1
    n_out = layers.sizes[L]
    a = part(batch.a, batch, L, layers, n)
    count = 0
    for i in range(n):
        if n_out == 1:
            guess = 1 if a[i] > 0.5 else 0
        else:
            guess = 0
            for j in range(1, n_out):
                if a[i * n_out + j] > a[i * n_out + guess]:
                    guess = j
        count += guess == data.labels[order[start + i]]
    return count


@passage
def _update(theta, layers, feedback, batch, opt, eta, t, n):
    """BP3 and BP4 for every layer, and the optimiser's step."""
    sizes, at = layers.sizes, batch.at
    kind = theta.dtype.type
    fused = opt.code == SGD and opt.l1 == 0
    for l in range(1, sizes.size):
        n_out, n_in = sizes[l], sizes[l - 1]
        W, b = layers.W_at[l], layers.b_at[l]
        learned = l > 1 and feedback.code[l - 1] == KOLEN_POLLACK
        if learned:
            part_from_weights(theta, layers, feedback, eta, l)
        if fused:
            scale = kind(-eta / n)
            weight_gradient(batch.delta, at[l], batch.a, at[l - 1], theta, W, kind(1 - eta * opt.l2), scale,
                            n, n_out, n_in)  # BP4, applied at once  # fmt: skip
            bias_gradient(layers, batch, l, theta, b, kind(1), scale, n)
        else:
            gradient(layers, batch, l, opt.grad, n)
            if opt.l2 != 0 or opt.l1 != 0:
                penalise(theta[W:b], opt.grad[W:b], kind(opt.l2), kind(opt.l1))
            end = b + n_out
            m = opt.m[W:end] if opt.m.size > 0 else opt.m
            v = opt.v[W:end] if opt.v.size > 0 else opt.v
            step(opt, eta, t, theta[W:end], opt.grad[W:end], m, v)
        if learned:
            join_weights(theta, layers, feedback, l)


@passage
def _close_epoch(theta, course, samples):
    """Record the epoch, and keep its weights as good where they are finite."""
    counts, sums = course.counts, course.sums
    epoch = counts[EPOCH]
    course.cost[epoch] = sums[0] / samples
    course.right[epoch] = sums[1] / samples
    counts[EPOCH] = epoch + 1
    counts[STEP] = 0
    sums[0] = sums[1] = 0
    if _finite(theta):
        for i in range(theta.size):
            course.good[i] = theta[i]


@entry
def train(theta, layers, feedback, batch, data, opt, course, watch, rng, shuffle, steps):
    """Go on for `steps` steps, or to the end of the last epoch, or until a value is not finite.

    All state stands in the arguments, so that any number of calls compute what one call would.
    """
    counts, sums, order = course.counts, course.sums, course.order
    rows, samples = batch.cost.size, order.size
    L = layers.sizes.size - 1
    for _ in range(steps):
        epoch = counts[EPOCH]
        if epoch == course.eta.size:
            return
        start = counts[STEP] * rows
        if start == 0 and shuffle:
            _shuffle(order, rng)
        n = min(rows, samples - start)
        for i in range(n):
            take(layers, batch, data, order[start + i], i)
        for l in range(1, L + 1):
            forward_layer(theta, layers, batch, l, n)
            if course.dropout[l] > 0:
                _drop(rng, course.dropout[l], part(batch.a, batch, l, layers, n),
                      part(batch.slope, batch, l, layers, n))  # fmt: skip
        backward(theta, layers, feedback, batch, n)
        counts[BAD_LAYER] = _first_bad_layer(layers, batch, n)
        if counts[BAD_LAYER] != 0:
            return
        for i in range(n):
            sums[0] += batch.cost[i]
        if data.labels.size > 0:
            sums[1] += _right(layers, batch, data, order, start, n)
        if watch.rows.shape[0] > 0:
            listen(layers, batch, watch, n)
            seen = epoch * -(-samples // rows) + counts[STEP]
            if seen % watch.every == 0:
                look(layers, batch, course.dropout, watch, seen // watch.every, n)
        counts[T] += 1
        _update(theta, layers, feedback, batch, opt, course.eta[epoch], counts[T], n)
        counts[STEP] += 1
        if start + n == samples:
            _close_epoch(theta, course, samples)
