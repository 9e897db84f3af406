"""What a training sees of the error in a step: the figures of the flow, from the step's own buffers."""

from __future__ import annotations

import math

import numpy as np

from deltarule.kernels.compile import jit

COLUMNS = ("moved", "delta", "speed", "saturated", "dead")
"""For each layer: the root mean square over the batch of the length of moved^l and of delta^l, the norm of the
mean delta^l, the share of units that are saturated and the share of neurons whose slope has long been 0."""
MOVED, DELTA, SPEED, SATURATED, DEAD = range(5)


@jit
def _length(values, n):
    """The root mean square over n rows of their length; values whose squares leave float64 are scaled first."""
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i]) * np.float64(values[i])
    if 1e-280 < total < 1e300:
        return math.sqrt(total / n)
    largest = 0.0
    for i in range(values.size):
        largest = max(largest, abs(np.float64(values[i])))
    if largest == 0 or largest == math.inf:
        return largest
    total = 0.0
    for i in range(values.size):
        scaled = np.float64(values[i]) / largest
        total += scaled * scaled
    return largest * math.sqrt(total / n)


@jit
def listen(layers, batch, watch, n):
    """Count for each neuron the samples of the batches since its slope was last not 0, recorded or not.

    Of a small batch alone nothing can be said: in a healthy ReLU layer most neurons are silent for one sample.
    """
    place = 0
    for l in range(1, layers.sizes.size):
        width, start = layers.sizes[l], batch.at[l]
        heard = watch.scratch[:width]
        heard[:] = 0
        for i in range(n):
            for j in range(width):
                heard[j] = max(heard[j], abs(batch.slope[start + i * width + j]))
        for j in range(width):
            watch.silence[place + j] = 0 if heard[j] != 0 else watch.silence[place + j] + n
        place += width


@jit
def look(layers, batch, dropout, watch, row, n):
    """One row of the record, from the buffers of the step before its update. Twin: :func:`deltarule.flow.flow_of`."""
    L, place = layers.sizes.size - 1, 0
    for l in range(1, L + 1):
        width = layers.sizes[l]
        start, end = batch.at[l], batch.at[l] + n * width
        moved, delta, slope = batch.moved[start:end], batch.delta[start:end], batch.slope[start:end]
        seen = watch.rows[row, :, l - 1]
        seen[MOVED], seen[DELTA] = _length(moved, n), _length(delta, n)

        limit = watch.limit[l] / (1 - dropout[l])  # a unit that dropout keeps has grown, and its slope with it
        low = silent = 0
        for i in range(slope.size):
            low += slope[i] < limit
            silent += slope[i] == 0
        if dropout[l] == 0:
            silent = 0
        units = max(slope.size - silent, 1)
        seen[SATURATED] = (low - silent) / units if limit > 0 else math.nan

        mean = watch.scratch[:width]
        for j in range(width):
            mean[j] = delta[j]
        for i in range(1, n):
            for j in range(width):
                mean[j] += delta[i * width + j]
        dead = 0
        for j in range(width):
            dead += watch.silence[place + j] >= watch.enough
        place += width
        seen[SPEED] = _length(mean, 1) / n
        seen[DEAD] = dead / width
