"""The three matrix products of a layer: own blocks for small layers, BLAS for large ones.

All arrays are flat; each comes with the offset where its matrix starts. Nothing is allocated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from deltarule.kernels.blocks import COLUMNS, PANEL, ROWS, ROWS_COMBINED, VECTOR_BYTES, combine, dots
from deltarule.kernels.compile import jit, passage
from deltarule.kernels.layout import PACKED

BLAS_FROM = 4_000_000
"""The border, in multiply-adds of one product, from which BLAS is taken."""

SHORT = 32
"""The longest n_in for which W is transposed first."""

LEAST_PACKED = 8
"""The fewest outputs and samples for which that pays."""

KEPT, TURNED = 78, 84
"""BLAS's letters N and T: a matrix as it stands, and its transpose."""


def gemm_address(dtype: Any) -> int:
    """Where SciPy's BLAS has its matrix product for a dtype; it differs from process to process."""
    name = "sgemm" if np.dtype(dtype) == np.float32 else "dgemm"
    return int(get_cython_function_address("scipy.linalg.cython_blas", name))


@intrinsic
def _gemm(typing: Any, address: Any, turn_x: Any, turn_y: Any, m: Any, n: Any, k: Any, scale: Any,
          X: Any, X_at: Any, X_row: Any, Y: Any, Y_at: Any, Y_row: Any,
          keep: Any, C: Any, C_at: Any, C_row: Any) -> Any:  # fmt: skip
    """C = keep C + scale op(X) op(Y) in BLAS's order, columns first: what it calls a column is a row here."""
    i = types.int64
    signature = types.void(i, i, i, i, i, i, C.dtype, X, i, i, Y, i, i, C.dtype, C, i, i)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, integer = ir.IntType(8), ir.IntType(32)

        def place(value: Any, kind: Any = None) -> Any:
            """BLAS takes everything by its address."""
            return cgutils.alloca_once_value(builder, builder.trunc(value, kind) if kind else value)

        def matrix(number: int) -> Any:
            data = context.make_array(signature.args[number])(context, builder, args[number]).data
            return builder.gep(data, [args[number + 1]])

        given = [
            *(place(args[j], byte) for j in (1, 2)),
            *(place(args[j], integer) for j in (3, 4, 5)),
            place(args[6]),
            matrix(7),
            place(args[9], integer),
            matrix(10),
            place(args[12], integer),
            place(args[13]),
            matrix(14),
            place(args[16], integer),
        ]
        kind = ir.FunctionType(ir.VoidType(), [one.type for one in given])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), given)
        return context.get_dummy_value()

    return signature, emit


NEXT = np.int64(1)
"""The stride to the next element. A plain 1 would be a type of its own and compile the panels twice."""


def _samples_by_neurons(R):
    """The forward product for R samples and every neuron."""

    @passage
    def block_row(A, A_at, W, W_at, b, b_at, Z, Z_at, n_out, n_in):
        blocks = n_out // COLUMNS
        j = blocks * COLUMNS
        if blocks > 0:
            dots(R, COLUMNS, blocks, A, A_at, W, W_at, b, b_at, Z, Z_at, n_out, n_in)
        if j < n_out:
            dots(R, 1, n_out - j, A, A_at, W, W_at + j * n_in, b, b_at + j, Z, Z_at + j, n_out, n_in)

    return block_row


_forward_full, _forward_5, _forward_2, _forward_1 = (_samples_by_neurons(R) for R in (ROWS, 5, 2, 1))


@jit
def weighted_input(gemm, packed, A, A_at, W, W_at, b, b_at, Z, Z_at, samples, n_out, n_in):
    """Z = A W^T + b: (samples, n_out). Twin: :func:`deltarule.reference.weighted_input`.

    A dot product ends in a sum over the lanes of a vector, which costs more than the product where n_in is small.
    There W is transposed first, and the rows of W^T are added up instead.
    """
    one = Z.dtype.type(1)
    small = n_in <= SHORT and n_out >= LEAST_PACKED and n_in * n_out <= PACKED and samples >= LEAST_PACKED
    if small:
        for j in range(n_out):
            for k in range(n_in):
                packed[k * n_out + j] = W[W_at + j * n_in + k]
        _combined_rows(Z, Z_at, one, b, b_at, NEXT - NEXT, one, A, A_at, n_in, NEXT, packed, NEXT - NEXT,
                       samples, n_out, n_in)  # fmt: skip
        return
    if samples * n_out * n_in >= BLAS_FROM:
        for i in range(samples):
            for j in range(n_out):
                Z[Z_at + i * n_out + j] = b[b_at + j]
        _gemm(gemm, TURNED, KEPT, n_out, samples, n_in, one, W, W_at, n_in, A, A_at, n_in, one, Z, Z_at, n_out)
        return
    i = 0
    while i + 5 <= samples and (samples - i == 5 or samples - i == 10):  # the book's ten, in two passes over W
        _forward_5(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, n_out, n_in)
        i += 5
    while i + ROWS <= samples:
        _forward_full(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, n_out, n_in)
        i += ROWS
    while i + 2 <= samples:
        _forward_2(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, n_out, n_in)
        i += 2
    if i < samples:
        _forward_1(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, n_out, n_in)


def _panel(V):
    """The combined rows of one panel, V vectors wide; V = 0: `lanes` numbers, one vector or less."""

    @passage
    def panel(C, C_at, keep, old, old_at, old_row, scale, X, X_at, X_row, X_term, Y, Y_at, rows, width, terms, lanes):
        blocks = rows // ROWS_COMBINED
        r = blocks * ROWS_COMBINED
        if blocks > 0:
            combine(ROWS_COMBINED, V, blocks, C, C_at, keep, old, old_at, old_row, scale, X, X_at, X_row, X_term,
                    Y, Y_at, width, terms, lanes)  # fmt: skip
        pairs = (rows - r) // 2
        if pairs > 0:
            combine(2, V, pairs, C, C_at + r * width, keep, old, old_at + r * old_row, old_row, scale,
                    X, X_at + r * X_row, X_row, X_term, Y, Y_at, width, terms, lanes)  # fmt: skip
            r += 2 * pairs
        if r < rows:
            combine(1, V, 1, C, C_at + r * width, keep, old, old_at + r * old_row, old_row, scale,
                    X, X_at + r * X_row, X_row, X_term, Y, Y_at, width, terms, lanes)  # fmt: skip

    return panel


_panel_full, _panel_rest = (_panel(V) for V in (PANEL, 0))


@jit
def _combined_rows(C, C_at, keep, old, old_at, old_row, scale, X, X_at, X_row, X_term, Y, Y_at, rows, width, terms):
    """C[r, k] = keep old[r, k] + scale sum_t X[r, t] Y[t, k], panel by panel."""
    lanes = VECTOR_BYTES // C.itemsize
    k = 0
    while k + PANEL * lanes <= width:
        _panel_full(C, C_at + k, keep, old, old_at + k, old_row, scale, X, X_at, X_row, X_term, Y, Y_at + k,
                    rows, width, terms, lanes)  # fmt: skip
        k += PANEL * lanes
    while k < width:
        left = min(lanes, width - k)
        _panel_rest(C, C_at + k, keep, old, old_at + k, old_row, scale, X, X_at, X_row, X_term, Y, Y_at + k,
                    rows, width, terms, left)  # fmt: skip
        k += lanes


@jit
def through_weights(gemm, delta, delta_at, W, W_at, moved, moved_at, samples, n_out, n_in):
    """moved = delta W: (samples, n_in), the error carried back through the transpose of W.

    Here (n_out, n_in) is the shape of W^{l+1}, or of the matrix that a rule puts in its place. Twin: the first
    move of :func:`deltarule.reference.bp2`.
    """
    one = delta.dtype.type(1)
    if samples * n_out * n_in >= BLAS_FROM:
        _gemm(gemm, KEPT, KEPT, n_in, samples, n_out, one, W, W_at, n_in, delta, delta_at, n_out,
              one - one, moved, moved_at, n_in)  # fmt: skip
        return
    _combined_rows(
        moved,
        moved_at,
        one - one,
        moved,
        moved_at,
        n_in,
        one,
        delta,
        delta_at,
        n_out,
        NEXT,
        W,
        W_at,
        samples,
        n_in,
        n_out,
    )


@jit
def weight_gradient(gemm, delta, delta_at, A, A_at, G, G_at, keep, scale, samples, n_out, n_in, first, last):
    """G = keep G + scale delta^T A: the rows first..last of (n_out, n_in).

    With keep 0 and scale 1/N this is BP4 (twin: :func:`deltarule.reference.bp4`). With G the weights
    themselves, scale -eta/N and keep 1 - eta l2 it is a whole step of SGD in one pass over the weights.
    """
    if samples * (last - first) * n_in >= BLAS_FROM:
        _gemm(gemm, KEPT, TURNED, n_in, last - first, samples, scale, A, A_at, n_in, delta, delta_at + first,
              n_out, keep, G, G_at + first * n_in, n_in)  # fmt: skip
        return
    G_at += first * n_in
    _combined_rows(G, G_at, keep, G, G_at, n_in, scale, delta, delta_at + first, NEXT, n_out, A, A_at,
                   last - first, n_in, samples)  # fmt: skip


@jit
def column_sums(one, X, X_at, C, C_at, keep, scale, rows, width):
    """C[k] = keep C[k] + scale sum_t X[t, k]. Twin: :func:`deltarule.reference.bp3`."""
    _combined_rows(
        C,
        C_at,
        keep,
        C,
        C_at,
        NEXT - NEXT,
        scale,
        one,
        NEXT - NEXT,
        NEXT - NEXT,
        NEXT - NEXT,
        X,
        X_at,
        1,
        width,
        rows,
    )
