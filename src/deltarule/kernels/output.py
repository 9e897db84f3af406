"""The cost of each sample and BP1, compiled: the twins of :mod:`deltarule.costs`."""

from __future__ import annotations

import math

from deltarule.kernels.compile import jit, passage
from deltarule.kernels.elementwise import SIGMOID, SOFTMAX, exp

NAMES = ("quadratic", "cross_entropy", "log_likelihood", "huber", "absolute", "poisson")
QUADRATIC, CROSS_ENTROPY, LOG_LIKELIHOOD, HUBER, ABSOLUTE, POISSON = range(6)
CODES = {name: code for code, name in enumerate(NAMES)}


@jit
def _times_log(x, y):
    """x ln y, and 0 where x is 0."""
    return x * math.log(y) if x != 0 else x * 0


@jit
def _over(x, y):
    """x / y, and 0 where x is 0."""
    return x / y if x != 0 else x * 0


@jit
def _one_output(cost, a, y):
    """(C, dC/da) of one output neuron."""
    one = a * 0 + 1
    d = a - y
    if cost == QUADRATIC:
        return d * d / (one + one), d
    if cost == CROSS_ENTROPY:
        value = -_times_log(y, a) - _times_log(one - y, one - a)
        return value, _over(one - y, one - a) - _over(y, a)
    if cost == LOG_LIKELIHOOD:
        return -_times_log(y, a), -_over(y, a)
    if cost == HUBER:
        size = abs(d)
        if size <= one:
            return d * d / (one + one), d
        return size - one / (one + one), d / size
    if cost == ABSOLUTE:
        return abs(d), (d / abs(d) if d != 0 else d)
    return a - _times_log(y, a), one - _over(y, a)


@jit
def _sum_of_targets(y, start, width):
    total = y[start] * 0
    for j in range(start, start + width):
        total += y[j]
    return total


@passage
def output_error(cost, sigma, z, a, slope, y, moved, delta, value, width):
    """BP1: value = C, moved = dC/da^L and delta = dC/dz^L of each sample; rows are `width` long.

    Sigmoid with cross-entropy and softmax with log-likelihood are joined: delta = a - y and the value comes
    from z, because dC/da * sigma' is infinity times zero once the output saturates. Twin:
    :func:`deltarule.reference.output_error`.
    """
    zero = z.dtype.type(0)
    if cost == QUADRATIC and sigma != SOFTMAX:  # as below, without a branch for each output
        half = z.dtype.type(0.5)
        for j in range(z.size):
            moved[j] = a[j] - y[j]
            delta[j] = moved[j] * slope[j]  # BP1
        for i in range(value.size):
            C = zero
            for j in range(i * width, (i + 1) * width):
                C += moved[j] * moved[j]
            value[i] = half * C
        return
    for i in range(value.size):
        start = i * width
        C = zero
        for j in range(start, start + width):
            part, grad = _one_output(cost, a[j], y[j])
            C += part
            moved[j] = grad
        if sigma == SIGMOID and cost == CROSS_ENTROPY:
            C = zero
            for j in range(start, start + width):
                C += (zero if z[j] < zero else z[j]) - y[j] * z[j] + math.log1p(exp(-abs(z[j])))
                delta[j] = a[j] - y[j]  # BP1
                if slope[j] != 0:  # 1 - a has lost what the slope still knows
                    moved[j] = delta[j] / slope[j]
        elif sigma == SOFTMAX and cost == LOG_LIKELIHOOD:
            top = z[start]
            for j in range(start, start + width):
                top = z[j] if z[j] > top else top
            total = zero
            for j in range(start, start + width):
                total += exp(z[j] - top)
            top += math.log(total)
            all_targets = _sum_of_targets(y, start, width)
            C = zero
            for j in range(start, start + width):
                C += y[j] * (top - z[j])
                delta[j] = a[j] * all_targets - y[j]  # BP1
        elif sigma == SOFTMAX:
            shared = zero
            for j in range(start, start + width):
                shared += a[j] * moved[j]
            for j in range(start, start + width):
                delta[j] = a[j] * (moved[j] - shared)  # BP1
        else:
            for j in range(start, start + width):
                delta[j] = moved[j] * slope[j]  # BP1
        value[i] = C
