"""The cost of each sample and BP1, compiled: the twins of :mod:`deltarule.costs`."""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray as array_at
from numba import cfunc, types
from numba.extending import intrinsic, overload

from deltarule.errors import BadInput
from deltarule.kernels.compile import jit
from deltarule.kernels.elementwise import EXP, SIGMOID, SOFTMAX
from deltarule.kernels.exponentials import EXACT, KINDS, exp, exp_parts, ln, log1p
from deltarule.kernels.layout import NARROW

NAMES = ("quadratic", "cross_entropy", "log_likelihood", "huber", "absolute", "poisson", "log_cosh",
         "poisson_deviance")  # fmt: skip
QUADRATIC, CROSS_ENTROPY, LOG_LIKELIHOOD, HUBER, ABSOLUTE, POISSON, LOG_COSH, DEVIANCE = range(8)
OWN = 8
NEAR_ZERO = 80.0
"""A log-likelihood from here on is taken from z: an output may be below e^-80, where float32 loses its digits."""
CODES = {name: code for code, name in enumerate(NAMES)}


@jit
def _times_log(x, y):
    """x ln y, and 0 where x is 0."""
    return x * ln(y) if x != 0 else x * 0


@jit
def _over(x, y):
    """x / y, and 0 where x is 0."""
    return x / y if x != 0 else x * 0


def _log_cosh(d: Any) -> Any:
    """(ln cosh d, tanh d), both from e = e^-|d| and m = e - 1. Error: 6 and 5 units in the last place.

    ln cosh d = |d| + ln(1 + e^2) - ln 2; near zero, where that cancels, cosh d = 1 + m^2 / 2e.
    """
    raise NotImplementedError("compiled code only")


@overload(_log_cosh, jit_options=EXACT)
def _log_cosh_exact(d):
    kind = KINDS[d.bitwidth]
    one, ln2 = kind(1), kind(math.log(2))

    def pair(d):
        size = abs(d)
        q, s, t = exp_parts(-size)
        s = s * t
        e, m = q * s + s, q * s + (s - one)
        near = size < one
        value = log1p(m * m / (e + e) if near else e * e)
        value = value if near else (size - ln2) + value
        return value, math.copysign(m * (one + e) / (one + e * e), d)

    return pair


@jit
def _each(cost, a, y, C, grad):
    """C and dC/da of each output neuron by itself; one loop for each cost, without a branch or a call inside."""
    one = a.dtype.type(1)
    half = a.dtype.type(0.5)
    zero = one - one
    if cost == QUADRATIC:
        for j in range(a.size):
            d = a[j] - y[j]
            C[j], grad[j] = half * d * d, d
    elif cost == CROSS_ENTROPY:
        for j in range(a.size):
            C[j] = -_times_log(y[j], a[j]) - _times_log(one - y[j], one - a[j])
            grad[j] = _over(one - y[j], one - a[j]) - _over(y[j], a[j])
    elif cost == LOG_LIKELIHOOD:
        for j in range(a.size):
            C[j], grad[j] = -_times_log(y[j], a[j]), -_over(y[j], a[j])
    elif cost == HUBER:
        for j in range(a.size):
            d = a[j] - y[j]
            size = abs(d)
            C[j] = half * d * d if size <= one else size - half
            grad[j] = d if size <= one else d / size
    elif cost == ABSOLUTE:
        for j in range(a.size):
            d = a[j] - y[j]
            C[j], grad[j] = abs(d), d / abs(d) if d != zero else d
    elif cost == LOG_COSH:
        for j in range(a.size):
            C[j], grad[j] = _log_cosh(a[j] - y[j])
    else:
        for j in range(a.size):
            own = _times_log(y[j], y[j]) - y[j] if cost == DEVIANCE else zero
            C[j], grad[j] = a[j] - _times_log(y[j], a[j]) + own, one - _over(y[j], a[j])


@intrinsic
def _call(typing, address, a, y, grad, value, width):
    """Call the compiled cost that stands at `address`."""

    def emit(context, builder, signature, args):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 4 + [number] * 2)
        arrays = [context.make_array(a)(context, builder, one) for one in args[1:5]]
        places = [builder.bitcast(array.data, pointer) for array in arrays]
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [*places, builder.extract_value(arrays[3].shape, 0), args[5]])
        return context.get_dummy_value()

    return types.void(types.int64, a, y, grad, value, types.int64), emit


def compile_cost(name: str, pair: Any, dtype: Any) -> Any:
    """A cost of the user's own, compiled for one dtype. Its ``.address`` goes into Layers.own_cost.

    The functions are tried on numbers, one output at a time. Raises BadInput, with Numba's own words, where a
    function cannot be compiled.
    """
    from numba import njit
    from numba.core.errors import NumbaError

    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    pointer = types.CPointer(kind)
    cost, slope = (njit(error_model="numpy")(f) if isinstance(f, FunctionType) else f for f in pair)

    def over_buffer(a_at, y_at, grad_at, value_at, rows, width):
        a, y, grad = array_at(a_at, rows * width), array_at(y_at, rows * width), array_at(grad_at, rows * width)
        value = array_at(value_at, rows)
        for i in range(rows):
            value[i] = 0
            for j in range(i * width, (i + 1) * width):
                value[i] += cost(a[j], y[j])
                grad[j] = slope(a[j], y[j])

    try:
        return cfunc(types.void(pointer, pointer, pointer, pointer, types.intp, types.intp))(over_buffer)
    except NumbaError as error:
        reason = str(error).strip().splitlines()
        raise BadInput(
            f"the cost {name!r} cannot be compiled. value and grad take two numbers, one output a and its target y, "
            f"and return one number, with what Numba knows of Python, math and NumPy. Numba says: "
            f"{' '.join(reason[:6])}"
        ) from error


@jit
def _sum_of_targets(y, start, width):
    total = y[start] * 0
    for j in range(start, start + width):
        total += y[j]
    return total


@jit
def _from_weighted_inputs(z, y, start, width):
    """sum_j y_j (ln sum_k e^z_k - z_j): the log-likelihood of a softmax whose a has lost its digits, or is 0."""
    top = z[start]
    for j in range(start, start + width):
        top = z[j] if z[j] > top else top
    total = z[start] * 0
    for j in range(start, start + width):
        total += exp(z[j] - top)
    top += z.dtype.type(math.log(total))
    C = z[start] * 0
    for j in range(start, start + width):
        C += y[j] * (top - z[j])
    return C


@jit
def _add_up(C, value, width):
    """value = the sum of each row of C."""
    zero = C.dtype.type(0)
    if width <= NARROW:
        for i in range(value.size):
            value[i] = zero
        for j in range(width):
            for i in range(value.size):
                value[i] += C[i * width + j]
        return
    for i in range(value.size):
        total = zero
        for j in range(i * width, (i + 1) * width):
            total += C[j]
        value[i] = total


@jit
def _bounded(value, least, most):
    """The value, or the bound beyond which it lies; a NaN stays a NaN."""
    return least if value < least else (most if value > most else value)


@jit
def output_error(cost, own, bounds, sigma, z, a, slope, y, moved, delta, value, width):
    """BP1: value = C, moved = dC/da^L and delta = dC/dz^L of each sample; rows are `width` long.

    Sigmoid with cross-entropy and softmax with log-likelihood are joined: delta = a - y and the value comes from z
    (for softmax where a is near 0), because dC/da * sigma' is infinity times zero once the output saturates; so are
    e^z and Poisson's costs.
    A logarithm counts in the value as no less than bounds[0] and no more than bounds[1], which leaves delta alone.
    A cost of the user's own stands at the address `own`. Twin: :func:`deltarule.reference.output_error`.
    """
    least, most = bounds[0], bounds[1]
    zero = z.dtype.type(0)
    if cost == CROSS_ENTROPY and sigma == SIGMOID:
        for j in range(z.size):  # delta holds the cost of each output until they are added up
            C = (zero if z[j] < zero else z[j]) - y[j] * z[j] + log1p(exp(-abs(z[j])))
            delta[j] = _bounded(C, least, most)
        _add_up(delta, value, width)
        for j in range(z.size):
            delta[j] = a[j] - y[j]  # BP1
            # 1 - a has lost what the slope still knows; where both are exactly 0, a is y, and 0 or 1
            lost = slope[j] == zero and delta[j] == zero
            moved[j] = z.dtype.type(1) - a[j] - a[j] if lost else delta[j] / slope[j]
        return
    if cost == OWN:
        _call(own, a, y, moved, value, width)
    else:
        _each(cost, a, y, delta, moved)  # as above
        if sigma == EXP and cost in (POISSON, DEVIANCE):
            for j in range(z.size):
                delta[j] = a[j] - y[j] * z[j] + (_times_log(y[j], y[j]) - y[j] if cost == DEVIANCE else zero)
        _add_up(delta, value, width)
    if sigma == EXP and cost in (POISSON, DEVIANCE):
        for j in range(z.size):
            delta[j] = a[j] - y[j]  # BP1
    elif sigma != SOFTMAX:
        for j in range(z.size):
            delta[j] = moved[j] * slope[j]  # BP1
    else:
        for i in range(value.size):
            start = i * width
            if cost == LOG_LIKELIHOOD:
                C = value[i]
                if not C < NEAR_ZERO:
                    C = _from_weighted_inputs(z, y, start, width)
                value[i] = _bounded(C, least, most)
                all_targets = _sum_of_targets(y, start, width)
                for j in range(start, start + width):
                    delta[j] = a[j] * all_targets - y[j]  # BP1
            else:
                shared = zero
                for j in range(start, start + width):
                    shared += a[j] * moved[j]
                for j in range(start, start + width):
                    delta[j] = a[j] * (moved[j] - shared)  # BP1
