"""The three matrix products of a layer, from the blocks of :mod:`deltarule.kernels.blocks`.

All arrays are flat; each comes with the offset where its matrix starts. Nothing is allocated.
"""

from __future__ import annotations

import numpy as np

from deltarule.kernels.blocks import COLUMNS, PANEL, ROWS, ROWS_COMBINED, VECTOR_BYTES, combine, dots, turn
from deltarule.kernels.compile import jit
from deltarule.kernels.layout import PACKED

SHORT = 64
"""The longest n_in for which W is transposed first."""

LEAST_PACKED = 8
"""The fewest outputs and samples for which that pays."""

CACHED = 256 * 1024
"""So many bytes of a matrix are gone through again and again before the next are: they stay in a core's cache."""

NEXT = np.int64(1)
"""The stride to the next element. A plain 1 would be a type of its own and compile the panels twice."""


def _samples_by_neurons(R):
    """The forward product for R samples and `count` of the n_out neurons."""

    @jit
    def block_row(A, A_at, W, W_at, b, b_at, Z, Z_at, count, n_out, n_in):
        blocks = count // COLUMNS
        j = blocks * COLUMNS
        if blocks > 0:
            dots(R, COLUMNS, blocks, A, A_at, W, W_at, b, b_at, Z, Z_at, n_out, n_in)
        if j < count:
            dots(R, 1, count - j, A, A_at, W, W_at + j * n_in, b, b_at + j, Z, Z_at + j, n_out, n_in)

    return block_row


_forward_full, _forward_5, _forward_2, _forward_1 = (_samples_by_neurons(R) for R in (ROWS, 5, 2, 1))


@jit
def _turned(W, W_at, packed, n_out, n_in):
    """packed = W^T."""
    lanes = VECTOR_BYTES // packed.itemsize
    whole_j, whole_k = n_out // lanes * lanes, n_in // lanes * lanes
    for j in range(0, whole_j, lanes):
        for k in range(0, whole_k, lanes):
            turn(W, W_at + j * n_in + k, n_in, packed, k * n_out + j, n_out)
    for j in range(n_out):
        for k in range(whole_k if j < whole_j else 0, n_in):
            packed[k * n_out + j] = W[W_at + j * n_in + k]


@jit
def weighted_input(packed, A, A_at, W, W_at, b, b_at, Z, Z_at, samples, n_out, n_in):
    """Z = A W^T + b: (samples, n_out). Twin: :func:`deltarule.reference.weighted_input`.

    A dot product ends in a sum over the lanes of a vector, which costs more than the product where n_in is small.
    There W is transposed first, and the rows of W^T are added up instead.
    """
    one = Z.dtype.type(1)
    small = n_in <= SHORT and n_out >= LEAST_PACKED and n_in * n_out <= PACKED and samples >= LEAST_PACKED
    if small:
        _turned(W, W_at, packed, n_out, n_in)
        _combined_rows(Z, Z_at, one, b, b_at, NEXT - NEXT, one, A, A_at, n_in, NEXT, packed, NEXT - NEXT,
                       samples, n_out, n_in)  # fmt: skip
        return
    cached = max(CACHED // (n_in * W.itemsize) // COLUMNS, 1) * COLUMNS
    for j in range(0, n_out, cached):
        _of_neurons(
            A, A_at, W, W_at + j * n_in, b, b_at + j, Z, Z_at + j, samples, min(cached, n_out - j), n_out, n_in
        )


@jit
def _of_neurons(A, A_at, W, W_at, b, b_at, Z, Z_at, samples, count, n_out, n_in):
    """The forward product for all samples and `count` of the n_out neurons."""
    i = 0
    while i + 5 <= samples and (samples - i == 5 or samples - i == 10):  # the book's ten, in two passes over W
        _forward_5(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, count, n_out, n_in)
        i += 5
    while i + ROWS <= samples:
        _forward_full(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, count, n_out, n_in)
        i += ROWS
    while i + 2 <= samples:
        _forward_2(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, count, n_out, n_in)
        i += 2
    if i < samples:
        _forward_1(A, A_at + i * n_in, W, W_at, b, b_at, Z, Z_at + i * n_out, count, n_out, n_in)


def _panel(V):
    """The combined rows of one panel, V vectors wide; V = 0: `lanes` numbers, one vector or less."""

    @jit
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
    """C[r, k] = keep old[r, k] + scale sum_t X[r, t] Y[t, k], panel by panel, so many terms at a time."""
    lanes = VECTOR_BYTES // C.itemsize
    panel = PANEL * lanes
    at_once = CACHED // (panel * C.itemsize)
    for t in range(0, max(terms, 1), at_once):
        some = min(terms - t, at_once)
        k = 0
        while k + panel <= width:
            _panel_full(C, C_at + k, keep, old, old_at + k, old_row, scale, X, X_at, X_row, X_term, Y, Y_at + k,
                        rows, width, some, lanes)  # fmt: skip
            k += panel
        while k < width:
            left = min(lanes, width - k)
            _panel_rest(C, C_at + k, keep, old, old_at + k, old_row, scale, X, X_at, X_row, X_term, Y, Y_at + k,
                        rows, width, some, left)  # fmt: skip
            k += lanes
        X_at += some * X_term
        Y_at += some * width
        keep, old_row = C.dtype.type(1), width
        old, old_at = C, C_at


@jit
def through_weights(delta, delta_at, W, W_at, moved, moved_at, samples, n_out, n_in):
    """moved = delta W: (samples, n_in), the error carried back through the transpose of W.

    Here (n_out, n_in) is the shape of W^{l+1}, or of the matrix that a rule puts in its place. Twin: the first
    move of :func:`deltarule.reference.bp2`.
    """
    one = delta.dtype.type(1)
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
def weight_gradient(packed, delta, delta_at, A, A_at, G, G_at, keep, scale, samples, n_out, n_in, first, last):
    """G = keep G + scale delta^T A: the rows first..last of (n_out, n_in).

    With keep 0 and scale 1/N this is BP4 (twin: :func:`deltarule.reference.bp4`). With G the weights
    themselves, scale -eta/N and keep 1 - eta l2 it is a whole step of SGD in one pass over the weights.
    Where rows of n_in numbers would leave most of a vector empty, A^T delta is computed and turned.
    """
    lanes = VECTOR_BYTES // G.itemsize
    along, across = n_out * ((n_in + lanes - 1) // lanes), n_in * ((n_out + lanes - 1) // lanes)
    if first == 0 and last == n_out and 2 * across <= along and n_out * n_in <= PACKED:
        none = NEXT - NEXT
        _combined_rows(packed, none, scale - scale, packed, none, n_out, scale, A, A_at, NEXT, n_in, delta, delta_at,
                       n_in, n_out, samples)  # fmt: skip
        for j in range(n_out):
            for k in range(n_in):
                old = keep * G[G_at + j * n_in + k] if keep != 0 else scale - scale
                G[G_at + j * n_in + k] = old + packed[k * n_out + j]
        return
    G_at += first * n_in
    _combined_rows(G, G_at, keep, G, G_at, n_in, scale, delta, delta_at + first, NEXT, n_out, A, A_at,
                   last - first, n_in, samples)  # fmt: skip


@jit
def column_sums(one, scratch, X, X_at, C, C_at, keep, scale, rows, width):
    """C[k] = keep C[k] + scale sum_t X[t, k]. Twin: :func:`deltarule.reference.bp3`.

    One row of sums leaves most of a panel's registers idle where rows are narrow. There `fold` rows, which stand one
    after another, are taken for one wide row, and its parts are added up at the end.
    """
    fold = PANEL * (VECTOR_BYTES // C.itemsize) // width
    if fold > 1 and rows >= 4 * fold:
        wide, whole = fold * width, rows // fold
        _sums_of_columns(one, X, X_at, scratch, NEXT - NEXT, scale - scale, scale, whole, wide)
        for k in range(width):
            total = keep * C[C_at + k] if keep != 0 else scale - scale
            for f in range(fold):
                total += scratch[f * width + k]
            C[C_at + k] = total
        X_at += whole * wide
        rows -= whole * fold
        keep = one[0]
    if rows > 0:
        _sums_of_columns(one, X, X_at, C, C_at, keep, scale, rows, width)


@jit
def _sums_of_columns(one, X, X_at, C, C_at, keep, scale, rows, width):
    none = NEXT - NEXT
    _combined_rows(C, C_at, keep, C, C_at, none, scale, one, none, none, none, X, X_at, 1, width, rows)
