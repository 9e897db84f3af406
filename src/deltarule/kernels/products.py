"""The three matrix products of a layer: own blocks for small layers, BLAS for large ones.

All arrays are flat; each comes with the offset where its matrix starts. Nothing is allocated.
"""

from __future__ import annotations

import numpy as np

from deltarule.kernels.blocks import COLUMNS, PANEL, ROWS, ROWS_COMBINED, VECTOR_BYTES, combine, dots
from deltarule.kernels.compile import jit, passage

BLAS_FROM = 4_000_000
"""The border, in multiply-adds of one product, from which BLAS is taken."""

NEXT = np.int64(1)
"""The stride to the next element. A plain 1 would be a type of its own and compile the panels twice."""


def _samples_by_neurons(R):
    """The forward product for R samples and every neuron."""

    @passage
    def block_row(A, A_at, W, W_at, b, b_at, Z, Z_at, n_out, n_in):
        j = 0
        while j + COLUMNS <= n_out:
            dots(R, COLUMNS, A, A_at, W, W_at + j * n_in, b, b_at + j, Z, Z_at + j, n_out, n_in)
            j += COLUMNS
        while j < n_out:
            dots(R, 1, A, A_at, W, W_at + j * n_in, b, b_at + j, Z, Z_at + j, n_out, n_in)
            j += 1

    return block_row


_forward_full, _forward_2, _forward_1 = (_samples_by_neurons(R) for R in (ROWS, 2, 1))


@jit
def weighted_input(A, A_at, W, W_at, b, b_at, Z, Z_at, samples, n_out, n_in):
    """Z = A W^T + b: (samples, n_out). Twin: :func:`deltarule.reference.weighted_input`."""
    if samples * n_out * n_in >= BLAS_FROM:
        z = Z[Z_at : Z_at + samples * n_out].reshape(samples, n_out)
        np.dot(
            A[A_at : A_at + samples * n_in].reshape(samples, n_in),
            W[W_at : W_at + n_out * n_in].reshape(n_out, n_in).T,
            z,
        )
        for i in range(samples):
            for j in range(n_out):
                z[i, j] += b[b_at + j]
        return
    i = 0
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
    def panel(C, C_at, keep, scale, X, X_at, X_row, X_term, Y, Y_at, rows, width, terms, lanes):
        r = 0
        while r + ROWS_COMBINED <= rows:
            combine(ROWS_COMBINED, V, C, C_at + r * width, keep, scale, X, X_at + r * X_row, X_row, X_term,
                    Y, Y_at, width, terms, lanes)  # fmt: skip
            r += ROWS_COMBINED
        while r + 2 <= rows:
            combine(2, V, C, C_at + r * width, keep, scale, X, X_at + r * X_row, X_row, X_term,
                    Y, Y_at, width, terms, lanes)  # fmt: skip
            r += 2
        if r < rows:
            combine(1, V, C, C_at + r * width, keep, scale, X, X_at + r * X_row, X_row, X_term,
                    Y, Y_at, width, terms, lanes)  # fmt: skip

    return panel


_panel_full, _panel_rest = (_panel(V) for V in (PANEL, 0))


@jit
def _combined_rows(C, C_at, keep, scale, X, X_at, X_row, X_term, Y, Y_at, rows, width, terms):
    """C[r, k] = keep C[r, k] + scale sum_t X[r, t] Y[t, k], panel by panel."""
    lanes = VECTOR_BYTES // C.itemsize
    k = 0
    while k + PANEL * lanes <= width:
        _panel_full(C, C_at + k, keep, scale, X, X_at, X_row, X_term, Y, Y_at + k, rows, width, terms, lanes)
        k += PANEL * lanes
    while k < width:
        left = min(lanes, width - k)
        _panel_rest(C, C_at + k, keep, scale, X, X_at, X_row, X_term, Y, Y_at + k, rows, width, terms, left)
        k += lanes


@jit
def through_weights(delta, delta_at, W, W_at, moved, moved_at, samples, n_out, n_in):
    """moved = delta W: (samples, n_in), the error carried back through the transpose of W.

    Here (n_out, n_in) is the shape of W^{l+1}, or of the matrix that a rule puts in its place. Twin: the first
    move of :func:`deltarule.reference.bp2`.
    """
    if samples * n_out * n_in >= BLAS_FROM:
        np.dot(
            delta[delta_at : delta_at + samples * n_out].reshape(samples, n_out),
            W[W_at : W_at + n_out * n_in].reshape(n_out, n_in),
            moved[moved_at : moved_at + samples * n_in].reshape(samples, n_in),
        )
        return
    one = delta.dtype.type(1)
    _combined_rows(moved, moved_at, one - one, one, delta, delta_at, n_out, NEXT, W, W_at, samples, n_in, n_out)


@jit
def weight_gradient(delta, delta_at, A, A_at, G, G_at, keep, scale, samples, n_out, n_in):
    """G = keep G + scale delta^T A: (n_out, n_in).

    With keep 0 and scale 1/N this is BP4 (twin: :func:`deltarule.reference.bp4`). With G the weights
    themselves, scale -eta/N and keep 1 - eta l2 it is a whole step of SGD in one pass over the weights.
    """
    if keep == 0 and samples * n_out * n_in >= BLAS_FROM:
        g = G[G_at : G_at + n_out * n_in]
        np.dot(
            delta[delta_at : delta_at + samples * n_out].reshape(samples, n_out).T,
            A[A_at : A_at + samples * n_in].reshape(samples, n_in),
            g.reshape(n_out, n_in),
        )
        for i in range(g.size):
            g[i] *= scale
        return
    _combined_rows(G, G_at, keep, scale, delta, delta_at, NEXT, n_out, A, A_at, n_out, n_in, samples)
