"""The four equations of backpropagation in plain NumPy, one function each: the definition of right.

Rows are samples. ``W`` and ``b`` are lists indexed as in the book: ``W[l]`` is (n_l, n_{l-1}), and
``W[0]`` is ``None``. Nothing here is tuned; the compiled engine in :mod:`deltarule.kernels` is tested
against it and shares no code with it.

Source: M. Nielsen, *Neural Networks and Deep Learning*, chapter 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.activations import Activation
from deltarule.costs import JOINED, Cost, joined_delta, joined_value

Array = npt.NDArray[Any]


def weighted_input(W: Array, a: Array, b: Array) -> Array:
    """z^l = W^l a^{l-1} + b^l."""
    return np.asarray(a @ W.T + b)


def bp1(grad_a: Array, slope: Array) -> Array:
    """delta^L = grad_a C * sigma'(z^L)."""
    return grad_a * slope  # BP1


def bp2(W_next: Array, delta_next: Array, slope: Array) -> tuple[Array, Array]:
    """delta^l = ((W^{l+1})^T delta^{l+1}) * sigma'(z^l), with its first move beside it."""
    moved = delta_next @ W_next  # through the transposed weights: dC/da^l
    return moved, moved * slope  # BP2


def signs(W: Array) -> Array:
    """The matrix that the rule "sign" puts in the place of W: its signs times its root mean square."""
    return np.asarray(np.sign(W) * np.sqrt((W**2).mean()))


def inverse(W: Array) -> Array:
    """The matrix that the rule "inverse" puts in the place of W: its pseudo-inverse, transposed as W is."""
    return np.asarray(np.linalg.pinv(W).T)


def bp3(delta: Array) -> Array:
    """dC/db^l = delta^l, averaged over the samples."""
    return np.asarray(delta.mean(axis=0))  # BP3


def bp4(delta: Array, a_before: Array) -> Array:
    """dC/dW^l = delta^l (a^{l-1})^T, averaged over the samples."""
    return np.asarray(delta.T @ a_before / len(delta))  # BP4


def softmax_bp1(grad_a: Array, a: Array) -> Array:
    """delta^L through the softmax's transposed Jacobian: a_j (g_j - sum_k a_k g_k)."""
    return np.asarray(a * (grad_a - (a * grad_a).sum(axis=-1, keepdims=True)))  # BP1


@dataclass(frozen=True)
class Pass:
    """Everything that one forward and one backward pass compute; lists indexed by layer as in the book."""

    cost: Array
    z: list[Array]
    a: list[Array]
    slope: list[Array]
    moved: list[Array]
    delta: list[Array]
    grad_W: list[Array]
    grad_b: list[Array]


def forward(
    W: Sequence[Array], b: Sequence[Array], activations: Sequence[Activation], a: Array, start: int = 1
) -> tuple[list[Array], list[Array]]:
    """All z^l and a^l from layer `start` on, given a^{start-1}. ``activations[l]`` belongs to layer l."""
    z_list, a_list = [np.empty(0)] * start, [np.empty(0)] * (start - 1) + [a]
    for l in range(start, len(W)):
        z = weighted_input(W[l], a_list[-1], b[l])
        z_list.append(z)
        a_list.append(np.asarray(activations[l].sigma(z)))
    return z_list, a_list


def cost_value(output: Activation, cost: Cost, z: Array, a: Array, y: Array) -> Array:
    """C of each sample, (N,)."""
    if (output.name, cost.name) in JOINED:
        return joined_value(output.name, cost.name, z, y)
    return cost.value(a, y)


def output_error(output: Activation, cost: Cost, z: Array, a: Array, y: Array) -> Array:
    """delta^L of each sample by BP1, (N, n_L)."""
    if (output.name, cost.name) in JOINED:
        return joined_delta(output.name, a, y)
    if output.name == "softmax":
        return softmax_bp1(cost.grad(a, y), a)
    return bp1(cost.grad(a, y), output.slope(z))


def backprop(
    W: Sequence[Array],
    b: Sequence[Array],
    activations: Sequence[Activation],
    cost: Cost,
    x: Array,
    y: Array,
    weight: Array | None = None,
) -> Pass:
    """One forward pass, then BP1, BP2 for l = L-1..1, BP3 and BP4.

    Parameters
    ----------
    W, b : sequences, indexed 1..L (entry 0 unused)
        W[l] is (n_l, n_{l-1}), b[l] is (n_l,).
    activations : sequence, indexed 1..L
    x : (N, n_0);  y : (N, n_L)
    weight : (N,), optional
        Of each sample: its cost and its errors are multiplied by it, and the means divide by the sum of the weights.

    Examples
    --------
    >>> from deltarule.activations import ACTIVATIONS
    >>> from deltarule.costs import COSTS
    >>> one = np.ones((1, 1))
    >>> done = backprop([None, 2 * one], [None, one[0]], [None, ACTIVATIONS["identity"]],
    ...                 COSTS["quadratic"], one, 0 * one)
    >>> done.a[1], done.delta[1], done.grad_W[1]
    (array([[3.]]), array([[3.]]), array([[3.]]))
    """
    L = len(W) - 1
    none = np.empty(0)
    z, a = forward(W, b, activations, x)
    slope = [none] + [np.asarray(activations[l].slope(z[l])) for l in range(1, L + 1)]
    moved, delta = [none] * (L + 1), [none] * (L + 1)
    w = np.ones(len(x)) if weight is None else weight
    moved[L] = cost.grad(a[L], y) * w[:, None]
    delta[L] = output_error(activations[L], cost, z[L], a[L], y) * w[:, None]
    for l in range(L - 1, 0, -1):
        moved[l], delta[l] = bp2(W[l + 1], delta[l + 1], slope[l])
    return Pass(
        cost=cost_value(activations[L], cost, z[L], a[L], y) * w,
        z=z,
        a=a,
        slope=slope,
        moved=moved,
        delta=delta,
        grad_W=[none] + [bp4(delta[l], a[l - 1]) / w.mean() for l in range(1, L + 1)],
        grad_b=[none] + [bp3(delta[l]) / w.mean() for l in range(1, L + 1)],
    )
