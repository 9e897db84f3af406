"""The forward pass for its output alone: a^L of many samples, and with targets their cost, part after part.

Nothing is kept for a backward pass: one buffer of z^l and one of a^l serve every layer of a part, x is read where it
stands, and a^L is written where it goes. Any number of threads may make the same call: see
:mod:`deltarule.kernels.parts`. A sample's output has the same bits whatever stands beside it in its part.
"""

from __future__ import annotations

import numpy as np

from deltarule.kernels.compile import entry, jit
from deltarule.kernels.elementwise import activate
from deltarule.kernels.finite import finite
from deltarule.kernels.layout import ALIGNMENT, B_AT, PACKED, PAIR, SIGMA, SIZES, UNIT, W_AT
from deltarule.kernels.output import output_error
from deltarule.kernels.parts import all_good, close_part, next_part
from deltarule.kernels.passes import code
from deltarule.kernels.products import weighted_input
from deltarule.kernels.stretch import stretch


@jit
def _most_rows(samples, parts):
    """The rows of the largest part."""
    return min((samples // UNIT + parts) // parts * UNIT + UNIT, samples)


@jit
def _borders(samples, part, parts):
    """The first sample of a part and the first of the next. All but the last are whole units of samples."""
    units = samples // UNIT
    low = units * part // parts * UNIT
    return low, samples if part == parts - 1 else units * (part + 1) // parts * UNIT


@jit
def _widest(table):
    widest = table[SIZES, 1]
    for l in range(2, table.shape[1]):
        widest = max(widest, table[SIZES, l])
    return widest


@jit
def _first_aligned(room, address):
    """Where in `room`, which stands at `address`, a cache line begins."""
    return -address % ALIGNMENT // room.itemsize


@jit
def _below(theta, table, packed, x, x_at, a, z, slope, n):
    """z^L of the n samples of x from `x_at` on; a holds a^{L-1} then."""
    none = x_at - x_at
    L = table.shape[1] - 1
    for l in range(1, L + 1):
        n_in, n_out = table[SIZES, l - 1], table[SIZES, l]
        weighted_input(packed, x if l == 1 else a, x_at if l == 1 else none, theta, table[W_AT, l],
                       theta, table[B_AT, l], z, none, n, n_out, n_in)  # fmt: skip
        if l < L:
            activate(table[SIGMA, l], table[PAIR, l], stretch(z, none, n * n_out), stretch(a, none, n * n_out),
                     slope, n_out)  # fmt: skip


@entry
def predict(theta, table, x, out, parts, state):
    """out = a^L for every row of x; whether all of x is finite."""
    rows = _most_rows(x.shape[0], parts)
    count = rows * _widest(table)
    room = np.empty(2 * count + PACKED + ALIGNMENT, theta.dtype)
    first = _first_aligned(room, room.ctypes.data)
    return _outputs(theta, table, x.reshape(x.size), out.reshape(out.size), x.shape[0], parts, state,
                    room, first, count)  # fmt: skip


@jit
def _outputs(theta, table, x, out, samples, parts, state, room, first, count):
    packed = stretch(room, first, first + PACKED)
    a = stretch(room, first + PACKED, first + PACKED + count)
    z = stretch(room, first + PACKED + count, first + PACKED + 2 * count)
    L = table.shape[1] - 1
    n_in, n_out = table[SIZES, 0], table[SIZES, L]
    good = True
    part = next_part(state, np.int64(-1))
    while part < parts:
        low, high = _borders(samples, part, parts)
        n = high - low
        fine = finite(stretch(x, low * n_in, high * n_in))
        _below(theta, table, packed, x, low * n_in, a, z, None, n)
        activate(table[SIGMA, L], table[PAIR, L], stretch(z, n - n, n * n_out),
                 stretch(out, low * n_out, high * n_out), None, n_out)  # fmt: skip
        good &= fine
        close_part(state, fine)
        part = next_part(state, part)
    return all_good(state, parts, good)


@entry
def evaluate(theta, table, cost, own_cost, bounds, x, labels, targets, out, value, parts, state):
    """out = a^L and value = C for every row of x; whether all of x is finite."""
    rows = _most_rows(x.shape[0], parts)
    count = rows * _widest(table)
    room = np.empty(6 * count + PACKED + ALIGNMENT, theta.dtype)
    first = _first_aligned(room, room.ctypes.data)
    return _costs(theta, table, cost, own_cost, bounds, x.reshape(x.size), labels, targets.reshape(targets.size),
                  out.reshape(out.size), value, parts, state, room, first, count)  # fmt: skip


@jit
def _costs(theta, table, cost, own_cost, bounds, x, labels, targets, out, value, parts, state, room, first, count):
    packed = stretch(room, first, first + PACKED)
    first += PACKED
    a = stretch(room, first, first + count)
    z, slope = stretch(room, first + count, first + 2 * count), stretch(room, first + 2 * count, first + 3 * count)
    coded = stretch(room, first + 3 * count, first + 4 * count)
    moved = stretch(room, first + 4 * count, first + 5 * count)
    delta = stretch(room, first + 5 * count, first + 6 * count)
    L = table.shape[1] - 1
    n_in, n_out = table[SIZES, 0], table[SIZES, L]
    good = True
    part = next_part(state, np.int64(-1))
    while part < parts:
        low, high = _borders(value.size, part, parts)
        none, size = low - low, (high - low) * n_out
        fine = finite(stretch(x, low * n_in, high * n_in))
        _below(theta, table, packed, x, low * n_in, a, z, slope, high - low)
        here = stretch(out, low * n_out, high * n_out)
        activate(table[SIGMA, L], table[PAIR, L], stretch(z, none, size), here, stretch(slope, none, size), n_out)
        for i in range(low, high if labels.size > 0 else low):
            code(labels[i], coded, i - low, n_out)
        y = stretch(coded, none, size) if labels.size > 0 else stretch(targets, low * n_out, high * n_out)
        output_error(cost, own_cost, bounds, table[SIGMA, L], stretch(z, none, size), here,
                     stretch(slope, none, size), y, stretch(moved, none, size),
                     stretch(delta, none, size), stretch(value, low, high), n_out)  # fmt: skip
        good &= fine
        close_part(state, fine)
        part = next_part(state, part)
    return all_good(state, parts, good)
