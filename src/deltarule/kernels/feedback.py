"""What carries the error back into a hidden layer, compiled: the rules of :mod:`deltarule.rules`.

Every rule but the transpose puts a matrix B in the place of W^{l+1}, or calls a function. The product is the
same as the transpose's, so a rule trains at the transpose's speed, the inverse excepted: B is computed in every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_double, c_float, c_ssize_t, c_void_p, cast
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray as array_at
from numba import cfunc, types
from numba.extending import intrinsic

from deltarule.kernels.compile import jit
from deltarule.kernels.products import through_weights
from deltarule.kernels.stretch import stretch

TRANSPOSE, FIXED, SIGN, INVERSE, KOLEN_POLLACK, DIRECT, FUNCTION = range(7)
"""W itself; a matrix that stays; W's signs; W's inverse; one that learns with W; one from the output; a function."""

RIDGE = 1e-13
"""Added to the Gram matrix before it is inverted, as a share of its trace: it stands in for the pseudo-inverse's
cut: what W does not reach stays out, and singular values below about 1e-6 of the largest are damped. The inverse
is right to about five digits where W has lost rank, and to more where it has not."""


@intrinsic
def _call(typing, address, delta, delta_at, W, W_at, moved, moved_at, samples, n_out, n_in):
    """Call the function at `address` with three places and three numbers."""

    def emit(context, builder, signature, args):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 3 + [number] * 3)
        places = []
        for i in (1, 3, 5):
            array = context.make_array(signature.args[i])(context, builder, args[i])
            places.append(builder.bitcast(builder.gep(array.data, [args[i + 1]]), pointer))
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [*places, *args[7:]])
        return context.get_dummy_value()

    n = types.int64
    return types.void(n, delta, n, W, n, moved, n, n, n, n), emit


@jit
def carry(theta, layers, feedback, batch, l, low, high):
    """moved^l of the samples low..high: the error of the layer above, or of the output, brought here by its rule."""
    sizes, at = layers.sizes, batch.at
    code = feedback.code[l]
    source = sizes.size - 1 if code == DIRECT else l + 1
    delta_at, moved_at = at[source] + low * sizes[source], at[l] + low * sizes[l]
    if code == TRANSPOSE:
        through_weights(batch.delta, delta_at, theta, layers.W_at[l + 1], batch.moved, moved_at,
                        high - low, sizes[source], sizes[l])  # BP2, through the weights  # fmt: skip
    elif code == FUNCTION:
        _call(feedback.function[l], batch.delta, delta_at, theta, layers.W_at[l + 1], batch.moved, moved_at,
              high - low, sizes[source], sizes[l])  # fmt: skip
    else:
        through_weights(batch.delta, delta_at, feedback.B, feedback.at[l], batch.moved, moved_at,
                        high - low, sizes[source], sizes[l])  # fmt: skip


@jit
def refresh(theta, layers, feedback):
    """Take B from W^{l+1} anew, where the rule is "sign" or "inverse"."""
    for l in range(1, layers.sizes.size - 1):
        code = feedback.code[l]
        if code in (SIGN, INVERSE):
            n_out, n_in = layers.sizes[l + 1], layers.sizes[l]
            W = stretch(theta, layers.W_at[l + 1], layers.b_at[l + 1])
            B = stretch(feedback.B, feedback.at[l], feedback.at[l] + W.size)
            if code == SIGN:
                _signs(W, B)
            else:
                _inverse(W, B, feedback.scratch, n_out, n_in)


@jit
def _signs(W, B):
    """B = the signs of W times the root mean square of its values."""
    total = 0.0
    for i in range(W.size):
        total += np.float64(W[i]) * np.float64(W[i])
    size = W.dtype.type(math.sqrt(total / W.size))
    for i in range(W.size):
        B[i] = size if W[i] > 0 else (-size if W[i] < 0 else W[i])


@jit
def _inverse(W, B, scratch, n_out, n_in):
    """B = (W^+)^T: (W W^T)^{-1} W where W is wide, W (W^T W)^{-1} where it is tall; in float64."""
    wide = n_out <= n_in
    m = min(n_out, n_in)
    G, row = stretch(scratch, m - m, m * m), stretch(scratch, m * m, m * m + n_in)
    for i in range(m * m):
        G[i] = 0
    if wide:
        for i in range(m):
            for j in range(i + 1):
                total = 0.0
                for k in range(n_in):
                    total += np.float64(W[i * n_in + k]) * np.float64(W[j * n_in + k])
                G[i * m + j] = G[j * m + i] = total
    else:
        for k in range(n_out):
            for i in range(m):
                for j in range(m):
                    G[i * m + j] += np.float64(W[k * n_in + i]) * np.float64(W[k * n_in + j])
    ridge = 0.0
    for i in range(m):
        ridge += RIDGE * G[i * m + i]
    if ridge == 0:
        for i in range(B.size):
            B[i] = 0
        return
    for i in range(m):
        G[i * m + i] += ridge
    _invert(G, m)
    for i in range(n_out):
        for k in range(n_in):
            row[k] = 0
        for j in range(m):
            if wide:
                for k in range(n_in):
                    row[k] += G[i * m + j] * np.float64(W[j * n_in + k])
            else:
                for k in range(n_in):
                    row[k] += np.float64(W[i * n_in + j]) * G[j * m + k]
        for k in range(n_in):
            B[i * n_in + k] = row[k]


@jit
def _invert(G, m):
    """A positive definite matrix of m rows becomes its inverse (Gauss and Jordan, in place)."""
    for p in range(m):
        pivot = 1 / G[p * m + p]
        G[p * m + p] = 1
        for k in range(m):
            G[p * m + k] *= pivot
        for i in range(m):
            if i != p:
                factor = G[i * m + p]
                G[i * m + p] = 0
                for k in range(m):
                    G[i * m + k] -= factor * G[p * m + k]


@jit
def part_from_weights(theta, layers, feedback, eta):
    """Kolen and Pollack before the step that changes W: B becomes (1 - eta decay) (B - W), and W decays too."""
    for l in range(1, layers.sizes.size - 1):
        if feedback.code[l] == KOLEN_POLLACK:
            W = stretch(theta, layers.W_at[l + 1], layers.b_at[l + 1])
            B = stretch(feedback.B, feedback.at[l], feedback.at[l] + W.size)
            kept = theta.dtype.type(1 - eta * feedback.decay[l])
            for i in range(W.size):
                B[i] = kept * (B[i] - W[i])
                W[i] *= kept


@jit
def join_weights(theta, layers, feedback):
    """... and after it: B moves by what W has moved by, B = W + (1 - eta decay) (B - W before)."""
    for l in range(1, layers.sizes.size - 1):
        if feedback.code[l] == KOLEN_POLLACK:
            W = stretch(theta, layers.W_at[l + 1], layers.b_at[l + 1])
            B = stretch(feedback.B, feedback.at[l], feedback.at[l] + W.size)
            for i in range(W.size):
                B[i] += W[i]


def compile_function(function: Any, dtype: Any) -> tuple[Any, int]:
    """A function of the user's own that Numba has compiled, moved = function(delta, W), and where it stands."""
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    pointer = types.CPointer(kind)

    def over(delta_at, W_at, moved_at, samples, n_out, n_in):
        moved = array_at(moved_at, (samples, n_in))
        moved[:, :] = math.nan  # what stays where the function raises
        moved[:, :] = function(array_at(delta_at, (samples, n_out)), array_at(W_at, (n_out, n_in)))

    compiled = cfunc(types.void(*[pointer] * 3, *[types.int64] * 3))(over)
    return compiled, compiled.address or 0


def call_back(function: Callable[[Any, Any, Any], None], dtype: Any) -> tuple[Any, int]:
    """A Python function(delta, W, moved) that fills moved, as compiled code can call it, and where it stands."""
    pointer = POINTER(c_float if np.dtype(dtype) == np.float32 else c_double)

    def over(delta_at: Any, W_at: Any, moved_at: Any, samples: int, n_out: int, n_in: int) -> None:
        shaped = np.ctypeslib.as_array
        delta, W = shaped(delta_at, (samples, n_out)), shaped(W_at, (n_out, n_in))
        delta.flags.writeable = W.flags.writeable = False
        function(delta, W, shaped(moved_at, (samples, n_in)))

    called = CFUNCTYPE(None, *[pointer] * 3, *[c_ssize_t] * 3)(over)
    return called, cast(called, c_void_p).value or 0
