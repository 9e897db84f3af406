"""What a training sees of the error in a step: the figures of the flow, from the step's own buffers.

Each member of the team listens to its samples while their values are in its core's cache; member 0 then writes down
what all have heard.
"""

from __future__ import annotations

import math

import numpy as np

from deltarule.kernels.compile import jit
from deltarule.kernels.elementwise import GELU, IDENTITY, OWN, SILU
from deltarule.kernels.lengths import length
from deltarule.kernels.products import column_sums
from deltarule.kernels.stretch import stretch

COLUMNS = ("moved", "delta", "speed", "saturated", "dead")
"""For each layer: the root mean square over the batch of the length of moved^l and of delta^l, the norm of the
mean delta^l, the share of units that are saturated and the share of neurons whose slope has long been 0."""
MOVED, DELTA, SPEED, SATURATED, DEAD = range(5)

FLAT, UNITS = 2, 3
"""Where in `seen`, after the lengths of moved^l and delta^l, stands how many units are saturated, and of how many."""


@jit
def _units(layers):
    """How many neurons there are in the layers 1..L."""
    count = 0
    for l in range(1, layers.sizes.size):
        count += layers.sizes[l]
    return count


@jit
def begin(layers, watch, me):
    """Nothing is heard yet in this step."""
    units = _units(layers)
    for j in range(me * units, (me + 1) * units):
        watch.slopes[j] = watch.errors[j] = 0
    for l in range(watch.seen.shape[1]):
        for k in range(watch.seen.shape[2]):
            watch.seen[me, l, k] = 0


@jit
def listen(layers, batch, dropout, watch, low, high, me, sums):
    """Add to this step's figures those of the samples low..high of the pass that has just been made.

    The sums of delta over the samples are taken where `sums` is true: elsewhere BP3 has them.
    """
    one = batch.slope.dtype.type(1)
    place = me * _units(layers)
    for l in range(1, layers.sizes.size):
        width = layers.sizes[l]
        start, end = batch.at[l] + low * width, batch.at[l] + high * width
        seen = watch.seen[me, l - 1]
        flat = units = one - one
        if watch.limit[l] > 0:
            flat, units = _saturated(stretch(batch.slope, start, end), watch.limit[l], dropout[l])
            seen[FLAT] += flat
            seen[UNITS] += units
        if dropout[l] == 0 and (layers.sigma[l] == IDENTITY or (watch.limit[l] > 0 and flat == 0)):
            for j in range(width):
                watch.slopes[place + j] += one  # no slope is 0
        elif layers.sigma[l] in (GELU, SILU, OWN):  # whose slopes may cancel
            for i in range(start, end, width):
                for j in range(width):
                    watch.slopes[place + j] += abs(batch.slope[i + j])
        else:
            column_sums(batch.one, batch.packed, batch.slope, start, watch.slopes, place, one, one, high - low, width)
        if sums:
            column_sums(batch.one, batch.packed, batch.delta, start, watch.errors, place, one, one, high - low, width)
        place += width
        for k in range(FLAT):
            seen[k] = batch.length[l, k] if seen[k] == 0 else math.hypot(seen[k], batch.length[l, k])


@jit
def _saturated(slope, limit, dropout):
    """How many units are saturated, and of how many: those that dropout has silenced do not count."""
    one = slope.dtype.type(1)
    zero = one - one
    bound = slope.dtype.type(limit / (1 - dropout))  # a unit that dropout keeps has grown, and its slope with it
    flat = units = zero
    if dropout == 0:
        for i in range(slope.size):
            flat += one if slope[i] < bound else zero
        return np.float64(flat), np.float64(slope.size)
    for i in range(slope.size):
        flat += one if slope[i] < bound and slope[i] != zero else zero
        units += one if slope[i] != zero else zero
    return np.float64(flat), np.float64(units)


@jit
def write_down(layers, watch, members, step, n, grad, total):
    """What all members have heard in a step of n samples: who is silent, and every so often a row of the record.

    A neuron's silence counts the samples of the batches since its slope was last not 0, recorded or not: of a small
    batch alone nothing can be said, for in a healthy ReLU layer most neurons are silent for one sample.
    `grad` holds BP3's sums of delta divided by `total`; where it is empty, the members have summed up.
    Twin: :func:`deltarule.flow.flow_of`.
    """
    units, place = _units(layers), 0
    due = step % watch.every == 0
    for l in range(1, layers.sizes.size):
        width = layers.sizes[l]
        seen = watch.seen[0, l - 1]
        for member in range(1, members):
            for j in range(place, place + width):
                watch.slopes[j] += watch.slopes[member * units + j]
                watch.errors[j] += watch.errors[member * units + j]
            for k in range(FLAT):  # of the lengths
                seen[k] = math.hypot(seen[k], watch.seen[member, l - 1, k])
            for k in range(FLAT, UNITS + 1):
                seen[k] += watch.seen[member, l - 1, k]
        for j in range(place, place + width):
            watch.silence[j] = 0 if watch.slopes[j] != 0 else watch.silence[j] + n
        if due:
            dead = 0
            for j in range(place, place + width):
                dead += watch.silence[j] >= watch.enough
            if grad.size > 0:
                speed = length(stretch(grad, layers.b_at[l], layers.b_at[l] + width)) * total
            else:
                speed = length(stretch(watch.errors, place, place + width))
            rows, row = watch.rows, step // watch.every
            rows[row, MOVED, l - 1] = seen[MOVED] / math.sqrt(n)
            rows[row, DELTA, l - 1] = seen[DELTA] / math.sqrt(n)
            rows[row, SPEED, l - 1] = speed / n
            rows[row, SATURATED, l - 1] = seen[FLAT] / max(seen[UNITS], 1.0) if watch.limit[l] > 0 else math.nan
            rows[row, DEAD, l - 1] = dead / width
        place += width
