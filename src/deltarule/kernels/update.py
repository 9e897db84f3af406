"""The optimisers, compiled: one pass over a stretch of the flat vectors.

``theta`` holds the parameters, ``grad`` the gradient averaged over the batch, ``m`` and ``v`` the
optimiser's memory in the same places. The equations stand with the classes in :mod:`deltarule.optimizers`.
What was stored is not read again: waiting for the store to be seen would take three times as long.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltarule.kernels.compile import jit

NAMES = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "adam_hat", "still")
SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM, ADAMW, ADAM_HAT, STILL = range(8)
CODES = {name: code for code, name in enumerate(NAMES)}


class Optimiser(NamedTuple):
    """The rule of the step, its constants, and its memory."""

    code: int
    first: float  # momentum, or the decay of the mean gradient
    second: float  # the decay of the mean square
    epsilon: float
    decay: float  # AdamW's pull on the parameters
    l2: float
    l1: float
    shared_l2: bool  # whether l2 is divided by the number of a batch's samples, or the sum of their weights
    grad: npt.NDArray[Any]  # one row for each member of the team that sums up a gradient of its own
    m: npt.NDArray[Any]
    v: npt.NDArray[Any]


@jit
def penalise(theta, grad, l2, l1):
    """grad += l2 W + l1 sign(W), the penalties' part of BP4's gradient; on weights only."""
    for i in range(theta.size):
        w = theta[i]
        grad[i] += l2 * w + (l1 if w > 0 else (-l1 if w < 0 else l1 * 0))


@jit
def step(opt, eta, t, theta, grad, m, v):
    """One step of the optimiser; t counts the steps from 1."""
    kind = theta.dtype.type
    one = kind(1)
    rate, first, second = kind(eta), kind(opt.first), kind(opt.second)
    epsilon = kind(opt.epsilon)
    n = theta.size
    if opt.code == STILL:  # the gradient was asked for, and stands in `grad`
        return
    if opt.code == SGD:
        for i in range(n):
            theta[i] -= rate * grad[i]
    elif opt.code == MOMENTUM:
        for i in range(n):
            new = first * m[i] - rate * grad[i]
            m[i] = new
            theta[i] += new
    elif opt.code == NESTEROV:
        for i in range(n):
            g = grad[i]
            new = first * m[i] - rate * g
            m[i] = new
            theta[i] += first * new - rate * g
    elif opt.code == RMSPROP:
        rest = kind(1 - opt.second)
        for i in range(n):
            g = grad[i]
            new = second * v[i] + rest * g * g
            v[i] = new
            theta[i] -= rate * g / (np.sqrt(new) + epsilon)
    else:
        kept = kind(1 - eta * opt.decay) if opt.code == ADAMW else one
        rest1, rest2 = kind(1 - opt.first), kind(1 - opt.second)
        rate = kind(eta / (1 - opt.first**t))
        unbias = kind(1 / math.sqrt(1 - opt.second**t))
        if opt.code == ADAM_HAT:
            epsilon *= unbias
        for i in range(n):
            g = grad[i]
            mean = first * m[i] + rest1 * g
            square = second * v[i] + rest2 * g * g
            m[i], v[i] = mean, square
            theta[i] = kept * theta[i] - rate * mean / (np.sqrt(square) * unbias + epsilon)
