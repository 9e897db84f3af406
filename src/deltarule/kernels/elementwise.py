"""sigma and sigma' of every activation over a buffer, compiled: the twins of :mod:`deltarule.activations`.

Each function reads z and writes a and slope in one pass; the slope costs the backward pass nothing. All
that need an exponential take it from :mod:`deltarule.kernels.exponentials`, where nothing branches, so that the
compiler turns the whole loop into vector instructions. The errors that are stated are in units in the last place.
"""

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
from deltarule.kernels.exponentials import (
    END,
    EXACT,
    KINDS,
    LIFT,
    exp,
    exp_parts,
    fma,
    log1p,
    logistic,
    normal_tail,
)

NAMES = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign",
         "identity", "softmax", "exp")  # fmt: skip
(SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, SOFTPLUS, SOFTSIGN, IDENTITY, SOFTMAX, EXP) = range(13)
OWN = 13
CODES = {name: code for code, name in enumerate(NAMES)}

LEAK, SELU_SCALE, SELU_ALPHA = 0.01, 1.0507009873554805, 1.6732632423543772


def _sigmoid(z: Any) -> Any:
    """(a, slope) at one z."""
    raise NotImplementedError("compiled code only")


@overload(_sigmoid, jit_options=EXACT)
def _sigmoid_exact(z):
    C, zero = KINDS[z.bitwidth](LIFT[z.bitwidth]), KINDS[z.bitwidth](0)

    def pair(z):
        _, s, t, _, _, p, g = logistic(-abs(z))
        return (p * C if z >= zero else t * p), g * (s * C)

    return pair


@jit
def sigmoid(z, a, slope):
    """a = 1 / (1 + e^-z); slope = t / (1 + t)^2 with t = e^-|z|. Error: 2 units in each."""
    for i in range(z.size):
        a[i], value = _sigmoid(z[i])
        if slope is not None:
            slope[i] = value


def _tanh(z: Any) -> Any:
    """(a, slope) at one z."""
    raise NotImplementedError("compiled code only")


@overload(_tanh, jit_options=EXACT)
def _tanh_exact(z):
    C, four = KINDS[z.bitwidth](LIFT[z.bitwidth]), KINDS[z.bitwidth](4)

    def pair(z):
        q, s, _, r, rest, _, g = logistic(-abs(z + z))
        m = q * s + (s - C)
        return math.copysign(fma(m, r, m * rest), z), g * (s * (four * C))

    return pair


@jit
def tanh(z, a, slope):
    """a = |m| / (1 + t) with m = t - 1 and t = e^-2|z|, under the sign of z; slope = 4t / (1 + t)^2.

    Error: 2 units in each (float64: 3 in a).
    """
    for i in range(z.size):
        a[i], value = _tanh(z[i])
        if slope is not None:
            slope[i] = value


@jit
def leaky(z, a, slope, leak):
    """z and 1 right of zero, leak * z and leak elsewhere; with leak 0 this is relu. A NaN stays a NaN."""
    one = z.dtype.type(1)
    zero = one - one
    for i in range(z.size):
        right = z[i] > zero
        nan = z[i] != z[i]
        left = leak * z[i] if leak != zero else zero  # not 0 times minus infinity
        a[i] = z[i] if right or nan else left
        if slope is not None:
            slope[i] = one if right else (z[i] if nan else leak)


@jit
def elu(z, a, slope, scale, alpha):
    """scale * z and scale right of zero, scale alpha (e^z - 1) and scale alpha e^z elsewhere."""
    one = z.dtype.type(1)
    zero = one - one
    for i in range(z.size):
        q, s1, s2 = exp_parts(zero if z[i] > zero else z[i])
        s = s1 * s2
        left = q * s + (s - one)
        a[i] = scale * (z[i] if z[i] > zero else alpha * left)
        if slope is not None:
            slope[i] = scale * (one if z[i] > zero else alpha * ((q * s1 + s1) * s2))


def _gelu(z: Any) -> Any:
    """(a, slope) at one z. Left of zero the constant t that e^x ends in multiplies last."""
    raise NotImplementedError("compiled code only")


@overload(_gelu, jit_options=EXACT)
def _gelu_exact(z):
    kind = KINDS[z.bitwidth]
    end, zero, one = kind(END[z.bitwidth]), kind(0), kind(1)

    def pair(z):
        left = z < zero
        w = abs(z)
        w = end if w > end else w
        phi, M, t = normal_tail(w)
        density = phi if left else phi * t
        below = density * M if left else one - density * M
        scale = t if left else one
        x = -w if left else w
        return (x if left else z) * below * scale, (below + x * density) * scale

    return pair


@jit
def gelu(z, a, slope):
    """a = z Phi(z); slope = Phi(z) + z phi(z). Error: 6 units in a (float64: 8), 5 of Phi + |z| phi in the slope."""
    for i in range(z.size):
        a[i], value = _gelu(z[i])
        if slope is not None:
            slope[i] = value


@jit
def silu(z, a, slope):
    """a = z s; slope = s + z s' with s the sigmoid."""
    one = z.dtype.type(1)
    for i in range(z.size):
        t = exp(-abs(z[i]))
        r = one / (one + t)
        s = r if z[i] >= 0 else t * r
        a[i] = z[i] * s
        if slope is not None:
            slope[i] = s + z[i] * (t * r * r)


@jit
def softplus(z, a, slope):
    """a = ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|); slope is the sigmoid. Error: 3 units in each."""
    one = z.dtype.type(1)
    zero = one - one
    for i in range(z.size):
        t = exp(-abs(z[i]))
        a[i] = (zero if z[i] < zero else z[i]) + log1p(t)
        r = one / (one + t)
        if slope is not None:
            slope[i] = r if z[i] >= 0 else t * r


def _softsign(z: Any) -> Any:
    """(a, slope) at one z."""
    raise NotImplementedError("compiled code only")


@overload(_softsign, jit_options=EXACT)
def _softsign_exact(z):
    one = KINDS[z.bitwidth](1)

    def pair(z):
        r = one / (one + abs(z))
        return z * r, r * r

    return pair


@jit
def softsign(z, a, slope):
    """a = z / (1 + |z|); slope = 1 / (1 + |z|)^2."""
    for i in range(z.size):
        a[i], value = _softsign(z[i])
        if slope is not None:
            slope[i] = value


@jit
def identity(z, a, slope):
    """a = z; slope = 1."""
    for i in range(z.size):
        a[i] = z[i]
        if slope is not None:
            slope[i] = 1


@jit
def exponential(z, a, slope):
    """a = slope = e^z."""
    for i in range(z.size):
        a[i] = exp(z[i])
        if slope is not None:
            slope[i] = a[i]


@jit
def softmax(z, a, slope, width):
    """a = e^z_j / sum_k e^z_k over each row; slope = a_j (1 - a_j), the diagonal of its Jacobian."""
    one = z.dtype.type(1)
    for start in range(0, z.size, width):
        top = start
        for j in range(start, start + width):
            if z[j] > z[top] or z[j] != z[j]:
                top = j
        others = one - one
        for j in range(start, start + width):
            a[j] = exp(z[j] - z[top])
            if j != top:
                others += a[j]
        total = others + a[top]
        r = one / total
        for j in range(start, start + width):
            rest = others if j == top else total - a[j]
            if slope is not None:
                slope[j] = a[j] * r * (rest * r)
            a[j] *= r


@intrinsic
def _call(typing, address, z, a, slope):
    """Call the compiled pair that stands at `address`."""

    def emit(context, builder, signature, args):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 3 + [number])
        arrays = [context.make_array(z)(context, builder, value) for value in args[1:]]
        places = [builder.bitcast(array.data, pointer) for array in arrays]
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [*places, builder.extract_value(arrays[0].shape, 0)])
        return context.get_dummy_value()

    return types.void(types.int64, z, a, slope), emit


@jit
def activate(code, pair, z, a, slope, width):
    """a = sigma(z) and slope = sigma'(z) over flat buffers whose rows are `width` long; no slope if it is None."""
    kind = z.dtype.type
    if code == SIGMOID:
        sigmoid(z, a, slope)
    elif code == TANH:
        tanh(z, a, slope)
    elif code == RELU:
        leaky(z, a, slope, kind(0))
    elif code == LEAKY_RELU:
        leaky(z, a, slope, kind(LEAK))
    elif code == ELU:
        elu(z, a, slope, kind(1), kind(1))
    elif code == SELU:
        elu(z, a, slope, kind(SELU_SCALE), kind(SELU_ALPHA))
    elif code == GELU:
        gelu(z, a, slope)
    elif code == SILU:
        silu(z, a, slope)
    elif code == SOFTPLUS:
        softplus(z, a, slope)
    elif code == SOFTSIGN:
        softsign(z, a, slope)
    elif code == IDENTITY:
        identity(z, a, slope)
    elif code == SOFTMAX:
        softmax(z, a, slope, width)
    elif code == EXP:
        exponential(z, a, slope)
    else:
        _call(pair, z, a, z if slope is None else slope)  # where the slope is not wanted, it may stand on z


def compile_pair(name: str, pair: Any, dtype: Any) -> Any:
    """A pair of the user's own, compiled for one dtype. Its ``.address`` goes into Layers.pair.

    The functions are tried on numbers, one z at a time. Raises BadInput, with Numba's own words, where a
    function cannot be compiled.
    """
    from numba import njit
    from numba.core.errors import NumbaError

    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    pointer = types.CPointer(kind)
    # A function of NumPy's or math's is known to Numba as it is.
    sigma, slope = (njit(error_model="numpy")(f) if isinstance(f, FunctionType) else f for f in pair)

    def over_buffer(z_at, a_at, slope_at, count):
        z, a, s = array_at(z_at, count), array_at(a_at, count), array_at(slope_at, count)
        for i in range(count):
            a[i] = sigma(z[i])
            s[i] = slope(z[i])

    try:
        return cfunc(types.void(pointer, pointer, pointer, types.intp))(over_buffer)
    except NumbaError as error:
        reason = str(error).strip().splitlines()
        raise BadInput(
            f"the activation {name!r} cannot be compiled. sigma and slope take one number z and return one "
            f"number, with what Numba knows of Python, math and NumPy (np.where(z > 0, ...) is "
            f"`... if z > 0 else ...`). Numba says: {' '.join(reason[:6])}"
        ) from error
