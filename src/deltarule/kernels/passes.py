"""One forward pass, one backward pass, the gradients: the loops over the layers, compiled."""

from __future__ import annotations

import numpy as np

from deltarule.kernels.compile import entry, jit
from deltarule.kernels.elementwise import activate
from deltarule.kernels.feedback import carry, refresh
from deltarule.kernels.layout import NARROW
from deltarule.kernels.lengths import length, through_activation
from deltarule.kernels.output import output_error
from deltarule.kernels.products import column_sums, through_weights, weight_gradient, weighted_input
from deltarule.kernels.stretch import stretch


@jit
def forward_layer(theta, layers, batch, l, low, high):
    """z^l = W^l a^{l-1} + b^l, a^l = sigma(z^l), slope^l = sigma'(z^l) for the samples low..high."""
    sizes, at = layers.sizes, batch.at
    first, last = at[l] + low * sizes[l], at[l] + high * sizes[l]
    weighted_input(batch.packed, batch.a, at[l - 1] + low * sizes[l - 1],
                   theta, layers.W_at[l], theta, layers.b_at[l],
                   batch.z, first, high - low, sizes[l], sizes[l - 1])  # fmt: skip
    activate(
        layers.sigma[l],
        layers.pair[l],
        stretch(batch.z, first, last),
        stretch(batch.a, first, last),
        stretch(batch.slope, first, last),
        sizes[l],
    )


@jit
def output_pass(layers, batch, low, high):
    """The cost of each of the samples low..high, and BP1."""
    L = layers.sizes.size - 1
    width = layers.sizes[L]
    first, last = batch.at[L] + low * width, batch.at[L] + high * width
    moved, delta = stretch(batch.moved, first, last), stretch(batch.delta, first, last)
    output_error(
        layers.cost,
        layers.own_cost,
        layers.bounds,
        layers.sigma[L],
        stretch(batch.z, first, last),
        stretch(batch.a, first, last),
        stretch(batch.slope, first, last),
        stretch(batch.y, low * width, high * width),
        moved,
        delta,
        stretch(batch.cost, low, high),
        width,
    )
    batch.length[L, 0], batch.length[L, 1] = length(moved), length(delta)


@jit
def backward_from(theta, layers, feedback, batch, top, low, high):
    """BP2 from layer top - 1 down to layer 1, given delta^top, for the samples low..high."""
    for l in range(top - 1, 0, -1):
        carry(theta, layers, feedback, batch, l, low, high)
        start, width = batch.at[l], layers.sizes[l]
        first, last = start + low * width, start + high * width
        batch.length[l, 0], batch.length[l, 1] = through_activation(
            stretch(batch.moved, first, last), stretch(batch.slope, first, last), stretch(batch.delta, first, last)
        )  # BP2


@jit
def backward(theta, layers, feedback, batch, low, high):
    """BP1 at the output, then BP2 down to layer 1, for the samples low..high. Twin: reference.backprop."""
    output_pass(layers, batch, low, high)
    backward_from(theta, layers, feedback, batch, layers.sizes.size - 1, low, high)


@jit
def bias_gradient(layers, batch, l, G, G_at, keep, scale, n):
    """G = keep G + scale sum of delta^l over n samples: BP3 with keep 0 and scale 1/n."""
    column_sums(batch.one, batch.packed, batch.delta, batch.at[l], G, G_at, keep, scale, n, layers.sizes[l])  # BP3


@jit
def gradient(layers, batch, l, grad, keep, scale, n, first, last, biases):
    """grad = keep grad + scale dC/dW^l and dC/db^l, summed over n samples, in their places in the flat `grad`.

    Of W^l for the neurons first..last, and, where `biases` is true, of all of b^l.
    """
    sizes, at = layers.sizes, batch.at
    weight_gradient(batch.packed, batch.delta, at[l], batch.a, at[l - 1], grad, layers.W_at[l], keep, scale,
                    n, sizes[l], sizes[l - 1], first, last)  # BP4  # fmt: skip
    if biases:
        bias_gradient(layers, batch, l, grad, layers.b_at[l], keep, scale, n)


@entry
def backprop(theta, layers, feedback, batch, grad, top):
    """Every z, a, slope, moved, delta and gradient for a batch whose a^0 and y are filled in.

    With `top` 0 all of it is computed; else the pass before is gone on with from delta^top, which was edited.
    """
    n = batch.cost.size
    L = layers.sizes.size - 1
    if top == 0:
        for l in range(1, L + 1):
            forward_layer(theta, layers, batch, l, 0, n)
        refresh(theta, layers, feedback)
        backward(theta, layers, feedback, batch, 0, n)
    else:
        backward_from(theta, layers, feedback, batch, top, 0, n)
    through_weights(batch.delta, batch.at[1], theta, layers.W_at[1], batch.moved, 0,
                    n, layers.sizes[1], layers.sizes[0])  # dC/da^0: what the error says of the input  # fmt: skip
    zero, scale = grad.dtype.type(0), grad.dtype.type(1.0 / n)
    for l in range(1, L + 1):
        gradient(layers, batch, l, grad, zero, scale, n, 0, layers.sizes[l], True)


@jit
def _take_rows(X, order, start, low, high, width, rows):
    """Row i of `rows` is row order[start + i] of X, for low..high.

    Narrow rows are taken column by column: a loop over a row of four would be over before it is a vector's.
    """
    if width <= NARROW:
        for k in range(width):
            for i in range(low, high):
                rows[i * width + k] = X[np.int64(order[start + i]), k]
        return
    for i in range(low, high):
        row = np.int64(order[start + i])
        for k in range(width):
            rows[i * width + k] = X[row, k]


@jit
def code(label, y, i, n_out):
    """Row i of y is the label, one-hot; 0 or 1 for a single output."""
    if n_out == 1:
        y[i] = label
    else:
        for j in range(n_out):
            y[i * n_out + j] = 0
        y[i * n_out + label] = 1


@jit
def take(layers, batch, data, order, start, low, high):
    """a^0 and y of the batch's rows low..high: the samples order[start + i]."""
    n_in, n_out = layers.sizes[0], layers.sizes[layers.sizes.size - 1]
    _take_rows(data.x, order, start, low, high, n_in, batch.a)
    if data.labels.size > 0:
        for i in range(low, high):
            code(data.labels[order[start + i]], batch.y, i, n_out)
    elif data.targets.shape[0] > 0:
        _take_rows(data.targets, order, start, low, high, n_out, batch.y)
