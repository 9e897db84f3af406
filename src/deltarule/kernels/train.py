"""Steps and epochs of training in one compiled call, which holds no lock and allocates nothing."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltarule.kernels.compile import entry, jit
from deltarule.kernels.elementwise import EXP, OWN, SELU
from deltarule.kernels.feedback import INVERSE, KOLEN_POLLACK, SIGN, join_weights, part_from_weights, refresh
from deltarule.kernels.finite import finite
from deltarule.kernels.lengths import length
from deltarule.kernels.passes import backward_from, bias_gradient, forward_layer, gradient, output_pass, take
from deltarule.kernels.products import weight_gradient
from deltarule.kernels.stretch import stretch
from deltarule.kernels.team import BAD, meet, share
from deltarule.kernels.update import SGD, penalise, step
from deltarule.kernels.watch import begin, listen, write_down

EPOCH, STEP, T, BAD_LAYER = range(4)
"""What stands where in Course.counts."""

NOWHERE = 1 << 40
"""No value was bad."""

BEST, COUNT, TOLERANCE, PATIENCE, SCALE, WORN = range(6)
"""What stands where in Course.patience."""

NEURONS = 6
"""Neurons are shared out in blocks of as many as the gradient's kernel takes at once."""


class Course(NamedTuple):
    """Where a training is: counters, the record of each epoch, and the last weights known to be good."""

    counts: npt.NDArray[np.int64]  # epochs done, steps done in this epoch, steps in all, first bad layer
    sums: npt.NDArray[np.float64]  # this epoch so far: sum of C, number right, sum of the penalty
    eta: npt.NDArray[np.float64]  # of each epoch
    cost: npt.NDArray[np.float64]  # of each epoch: mean C as it was seen
    right: npt.NDArray[np.float64]  # of each epoch: share of samples whose largest output was their label's
    order: npt.NDArray[np.int32]  # the samples in the order of this epoch
    dropout: npt.NDArray[np.float64]  # of each layer
    good: npt.NDArray[Any]
    orders: npt.NDArray[np.int32]  # of each epoch, where it is given from outside: (epochs, N); else no rows
    penalty: npt.NDArray[np.float64]  # of each epoch: mean l2/2 sum W^2 as it was seen; no room: not recorded
    patience: npt.NDArray[np.float64]  # stop when the loss no longer falls, see `_judge`; no room: never
    strict: bool  # whether a value that is not finite ends the training


@jit
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
def _first_bad(layers, batch, low, high):
    """Where the first non-finite value of these samples stands in the order of computation; large if nowhere.

    Layer l of the forward pass is l, the cost L + 1, and layer l of the backward pass 2 L + 2 - l.
    """
    L = layers.sizes.size - 1
    for l in range(1, L + 1):
        first, last = batch.at[l] + low * layers.sizes[l], batch.at[l] + high * layers.sizes[l]
        if not finite(stretch(batch.z, first, last)):
            return l
        if layers.sigma[l] in (SELU, EXP, OWN) and not finite(stretch(batch.a, first, last)):
            return l  # of the other activations a finite z gives a finite a
    if not finite(stretch(batch.cost, low, high)):
        return L + 1
    for l in range(L, 0, -1):
        first, last = batch.at[l] + low * layers.sizes[l], batch.at[l] + high * layers.sizes[l]
        if not batch.length[l, 1] < math.inf and not finite(stretch(batch.delta, first, last)):
            return 2 * L + 2 - l
    return NOWHERE


@jit
def _right(layers, batch, data, order, start, low, high):
    """How many of the samples low..high have their largest output at their label."""
    L = layers.sizes.size - 1
    n_out = layers.sizes[L]
    count = 0
    for i in range(low, high):
        first = batch.at[L] + i * n_out
        if n_out == 1:
            guess = 1 if batch.a[first] > 0.5 else 0
        else:
            guess = 0
            for j in range(1, n_out):
                if batch.a[first + j] > batch.a[first + guess]:
                    guess = j
        count += guess == data.labels[order[start + i]]
    return count


@jit
def _divisor(data, order, start, n):
    """What the batch's means divide by: the number of its samples, or the sum of their weights."""
    if data.weights.size == 0:
        return np.float64(n)
    total = 0.0
    for i in range(n):
        total += data.weights[order[start + i]]
    return total if total != 0 else 1.0  # of samples that all weigh nothing the sums are 0


@jit
def _weigh(layers, batch, weights, order, start, low, high):
    """C, dC/da^L and delta^L of each of the samples low..high times its weight."""
    L = layers.sizes.size - 1
    width = layers.sizes[L]
    first, last = batch.at[L] + low * width, batch.at[L] + high * width
    moved, delta = stretch(batch.moved, first, last), stretch(batch.delta, first, last)
    for i in range(low, high):
        weight = weights[order[start + i]]
        batch.cost[i] *= weight
        for j in range((i - low) * width, (i - low + 1) * width):
            moved[j] *= weight
            delta[j] *= weight
    batch.length[L, 0], batch.length[L, 1] = length(moved), length(delta)


@jit
def _squares(theta, layers):
    """sum W^2 over all layers."""
    total = 0.0
    for l in range(1, layers.sizes.size):
        for i in range(layers.W_at[l], layers.b_at[l]):
            total += np.float64(theta[i]) * np.float64(theta[i])
    return total


@jit
def _judge(course, epoch):
    """Count the epochs, one after another, whose loss has not fallen below the best by more than the tolerance.

    The loss is the mean C times a scale, and the penalty.
    """
    patience = course.patience
    loss = course.cost[epoch] * patience[SCALE] + course.penalty[epoch]
    patience[COUNT] = patience[COUNT] + 1 if loss > patience[BEST] - patience[TOLERANCE] else 0
    if loss < patience[BEST]:
        patience[BEST] = loss
    patience[WORN] = patience[COUNT] > patience[PATIENCE]


@jit
def _worn(course):
    """Whether so many epochs have not helped that the training is to stop; an epoch has ended with that."""
    return course.patience.size > 0 and course.patience[WORN] != 0


@jit
def _learn_at_once(theta, layers, batch, l2, eta, n, total, team, me):
    """SGD in one pass over the weights: BP3 and BP4 for this member's neurons of every layer, applied at once."""
    sizes, at = layers.sizes, batch.at
    kind = theta.dtype.type
    scale = kind(-eta / total)
    for l in range(1, sizes.size):
        first, last = share(sizes[l], NEURONS, team, me)
        weight_gradient(batch.packed, batch.delta, at[l], batch.a, at[l - 1], theta, layers.W_at[l],
                        kind(1 - eta * l2), scale, n, sizes[l], sizes[l - 1], first, last)  # BP4  # fmt: skip
        if me == 0:
            bias_gradient(layers, batch, l, theta, layers.b_at[l], kind(1), scale, n)


@jit
def _learn(theta, layers, opt, l2, eta, t, team, me):
    """The optimiser's step for this member's neurons of every layer, from the gradients that stand in `opt.grad`."""
    sizes = layers.sizes
    kind = theta.dtype.type
    grad = opt.grad[0]
    for l in range(1, sizes.size):
        n_out, n_in = sizes[l], sizes[l - 1]
        first, last = share(n_out, NEURONS, team, me)
        W, b = layers.W_at[l], layers.b_at[l]
        low, high = W + first * n_in, W + last * n_in
        _add_up(opt.grad, low, high)
        if l2 != 0 or opt.l1 != 0:
            penalise(stretch(theta, low, high), stretch(grad, low, high), kind(l2), kind(opt.l1))
        _step(theta, opt, eta, t, low, high)
        if me == 0:
            _add_up(opt.grad, b, b + n_out)
            _step(theta, opt, eta, t, b, b + n_out)


@jit
def _add_up(grad, low, high):
    """The gradients that the members have summed up each for itself, together in the first row."""
    for member in range(1, grad.shape[0]):
        for i in range(low, high):
            grad[0, i] += grad[member, i]


@jit
def _step(theta, opt, eta, t, low, high):
    """The optimiser's step for the parameters low..high."""
    m = stretch(opt.m, low, high) if opt.m.size > 0 else opt.m
    v = stretch(opt.v, low, high) if opt.v.size > 0 else opt.v
    step(opt, eta, t, stretch(theta, low, high), stretch(opt.grad[0], low, high), m, v)


@jit
def _close_epoch(theta, course, epoch, samples):
    """Record the epoch, and keep its weights as good where they are finite."""
    sums = course.sums
    course.cost[epoch] = sums[0] / samples
    course.right[epoch] = sums[1] / samples
    if course.penalty.size > 0:
        course.penalty[epoch] = sums[2] / samples
    for k in range(sums.size):
        sums[k] = 0
    if course.patience.size > 0:
        _judge(course, epoch)
    if finite(theta):
        for i in range(theta.size):
            course.good[i] = theta[i]


@jit
def _pass(theta, layers, feedback, batch, data, course, rng, start, low, high):
    """Forward and backward for the samples low..high of a part of the batch that begins at `start`."""
    take(layers, batch, data, course.order, start, low, high)
    for l in range(1, layers.sizes.size):
        forward_layer(theta, layers, batch, l, low, high)
        if course.dropout[l] > 0:
            width = layers.sizes[l]
            first, last = batch.at[l] + low * width, batch.at[l] + high * width
            _drop(rng, course.dropout[l], stretch(batch.a, first, last), stretch(batch.slope, first, last))
    output_pass(layers, batch, low, high)
    if data.weights.size > 0:
        _weigh(layers, batch, data.weights, course.order, start, low, high)
    backward_from(theta, layers, feedback, batch, layers.sizes.size - 1, low, high)


@jit
def _see(layers, batch, data, course, start, low, high, team, me):
    """What this member has seen of its samples: the first bad value, their cost, and how many are right."""
    if course.strict:
        team.state[BAD + 8 * me] = min(team.state[BAD + 8 * me], _first_bad(layers, batch, low, high))
    for i in range(low, high):
        team.sums[me, 0] += batch.cost[i]
    if data.labels.size > 0:
        team.sums[me, 1] += _right(layers, batch, data, course.order, start, low, high)


@entry
def train(theta, layers, feedback, data, opt, course, watch, rng, shuffle, rows, steps, team, batch, me):
    """Go on for `steps` steps, or to the end of the last epoch, or until a value is not finite.

    All state stands in the arguments, so that any number of calls compute what one call would. Every member of
    the team calls it with the same arguments but for its `batch` and its number `me`; member 0 keeps the record.
    Where the buffers have room for the whole batch of `rows` samples, they are the team's, and each member computes
    its share of the samples and then of the neurons. Where they have not, each member has its own: it takes part
    after part of the batch, and sums up a gradient of its own.
    """
    _go_on(theta, layers, feedback, data, opt, course, watch, rng, shuffle, rows, steps, team, batch, me)


@jit
def _go_on(theta, layers, feedback, data, opt, course, watch, rng, shuffle, rows, steps, team, batch, me):
    """What :func:`train` does; the door itself counts references to its arguments, and a loop in it would too."""
    counts, samples = course.counts, course.order.size
    L = layers.sizes.size - 1
    kind = theta.dtype.type
    epoch, done, t = counts[EPOCH], counts[STEP], counts[T]
    room = batch.cost.size
    whole = room >= rows
    at_once = whole and opt.code == SGD and opt.l1 == 0
    follows = learns = False  # whether a rule's matrix is taken from W in every step, or learned with it
    for l in range(1, L):
        follows |= feedback.code[l] in (SIGN, INVERSE)
        learns |= feedback.code[l] == KOLEN_POLLACK
    watches = watch.rows.shape[0] > 0
    bad = NOWHERE
    none = L - L  # a plain 0 is a type of its own, and all would be compiled for it once more
    for _ in range(steps):
        if epoch == course.eta.size or bad != NOWHERE or _worn(course):
            break
        start = done * rows
        if start == 0 and (shuffle or course.orders.shape[0] > 0):
            if me == 0:
                if course.orders.shape[0] > 0:
                    for i in range(samples):
                        course.order[i] = course.orders[epoch, i]
                else:
                    _shuffle(course.order, rng)
            meet(team)
        n = min(rows, samples - start)
        team.state[BAD + 8 * me] = NOWHERE
        team.sums[me, 0] = team.sums[me, 1] = 0
        if watches:
            begin(layers, watch, me)
        total = _divisor(data, course.order, start, n)
        l2 = opt.l2 / total if opt.shared_l2 else opt.l2
        if follows:
            if me == 0:
                refresh(theta, layers, feedback)
            meet(team)
        if whole:
            low, high = share(n, 1, team, me)
            _pass(theta, layers, feedback, batch, data, course, rng, start, low, high)
            _see(layers, batch, data, course, start, low, high, team, me)
            if watches:
                listen(layers, batch, course.dropout, watch, low, high, me, at_once)
        else:
            grad = opt.grad[me]
            for i in range(grad.size):
                grad[i] = 0
            for begun in range(me * room, n, team.size * room):
                size = min(room, n - begun)
                _pass(theta, layers, feedback, batch, data, course, rng, start + begun, none, size)
                _see(layers, batch, data, course, start + begun, none, size, team, me)
                if watches:
                    listen(layers, batch, course.dropout, watch, none, size, me, at_once)
                for l in range(1, L + 1):
                    gradient(layers, batch, l, grad, kind(1), kind(1.0 / total), size, none, layers.sizes[l], True)
        meet(team)
        for member in range(team.size):
            bad = min(bad, team.state[BAD + 8 * member])
        if bad != NOWHERE:
            break
        if me == 0:
            for member in range(team.size):
                course.sums[0] += team.sums[member, 0] * (n / total)
                course.sums[1] += team.sums[member, 1]
            if course.penalty.size > 0 and l2 != 0:
                course.sums[2] += n * 0.5 * l2 * _squares(theta, layers)
        t += 1
        eta = course.eta[epoch]
        if learns:
            if me == 0:
                part_from_weights(theta, layers, feedback, eta)
            meet(team)
        if at_once:
            _learn_at_once(theta, layers, batch, l2, eta, n, total, team, me)
        else:
            if whole:
                for l in range(1, L + 1):
                    first, last = share(layers.sizes[l], NEURONS, team, me)
                    gradient(layers, batch, l, opt.grad[0], kind(0), kind(1.0 / total), n, first, last, me == 0)
            _learn(theta, layers, opt, l2, eta, t, team, me)
        if watches and me == 0:
            write_down(layers, watch, team.size, epoch * -(-samples // rows) + done, n, opt.grad[0], total)
        if learns:
            meet(team)
            if me == 0:
                join_weights(theta, layers, feedback)
        done += 1
        meet(team)
        if start + n == samples:
            if me == 0:
                _close_epoch(theta, course, epoch, samples)
            epoch += 1
            done = 0
            meet(team)
    if me == 0:
        counts[EPOCH], counts[STEP], counts[T] = epoch, done, t
        if bad != NOWHERE:
            counts[BAD_LAYER] = min(bad, L) if bad <= L + 1 else 2 * L + 2 - bad
