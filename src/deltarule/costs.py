"""The cost of one sample and BP1's dC/da: one table.

``value(a, y)`` is C for each sample, summed over the outputs and never averaged; ``grad(a, y)`` is
dC/da^L. Two pairs of output and cost are joined analytically, because the product
``grad * slope`` is 0/0 or infinity times zero once the output saturates: sigmoid with cross-entropy,
and softmax with log-likelihood. Both give delta^L = a^L - y, and their value is taken from z.

The compiled twins of these functions are in :mod:`deltarule.kernels.output`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.activations import ACTIVATIONS, Activation
from deltarule.errors import BadInput, unknown

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cost:
    """A cost: its value for each sample and its gradient with respect to the output.

    Parameters
    ----------
    name : str
    value : callable
        ``value(a, y)`` -> (N,): C of each sample.
    grad : callable
        ``grad(a, y)`` -> (N, n_L): dC/da of each sample.
    outputs : tuple of str
        The output activations that it makes sense behind.
    why : str
        What the cost asks of the output, for the error that refuses another one.
    """

    name: str
    value: Callable[[Array, Array], Array]
    grad: Callable[[Array, Array], Array]
    outputs: tuple[str, ...]
    why: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name."""
        return cost, (self.name,)


def _xlogy(x: Array, y: Array) -> Array:
    """x ln y, and 0 where x is 0."""
    from scipy.special import xlogy

    return np.asarray(xlogy(x, y))


def _huber(d: Array) -> Array:
    size = np.abs(d)
    return np.asarray(np.where(size <= 1, 0.5 * d * d, size - 0.5).sum(axis=-1))


def _ratio(y: Array, a: Array) -> Array:
    """y / a, and 0 where y is 0 whatever a is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(y == 0, np.zeros_like(a), y / a))


def _cross_entropy_grad(a: Array, y: Array) -> Array:
    return _ratio(1 - y, 1 - a) - _ratio(y, a)


_ANY = tuple(ACTIVATIONS)

COSTS: dict[str, Cost] = {
    cost.name: cost
    for cost in (
        Cost(
            "quadratic",
            lambda a, y: 0.5 * ((a - y) ** 2).sum(axis=-1),
            lambda a, y: a - y,
            _ANY,
            "any output",
        ),
        Cost(
            "cross_entropy",
            lambda a, y: -(_xlogy(y, a) + _xlogy(1 - y, 1 - a)).sum(axis=-1),
            _cross_entropy_grad,
            ("sigmoid",),
            "outputs that are each a probability of their own",
        ),
        Cost(
            "log_likelihood",
            lambda a, y: -_xlogy(y, a).sum(axis=-1),
            lambda a, y: -_ratio(y, a),
            ("softmax",),
            "outputs that are one distribution over the classes",
        ),
        Cost(
            "huber",
            lambda a, y: _huber(a - y),
            lambda a, y: np.clip(a - y, -1, 1),
            _ANY,
            "any output",
        ),
        Cost(
            "absolute",
            lambda a, y: np.abs(a - y).sum(axis=-1),
            lambda a, y: np.sign(a - y),
            _ANY,
            "any output",
        ),
        Cost(
            "poisson",
            lambda a, y: (a - _xlogy(y, a)).sum(axis=-1),
            lambda a, y: 1 - _ratio(y, a),
            ("softplus",),
            "outputs that are a rate above zero",
        ),
    )
}

JOINED = {("sigmoid", "cross_entropy"), ("softmax", "log_likelihood")}
"""The pairs (output, cost) whose delta^L and value are taken from z, without a division by sigma'."""


def joined_value(output: str, z: Array, y: Array) -> Array:
    """C of each sample from z, for a pair in :data:`JOINED`: no logarithm of a rounded zero."""
    if output == "sigmoid":
        return np.asarray((np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))).sum(axis=-1))
    top = z.max(axis=-1, keepdims=True)
    total = np.log(np.exp(z - top).sum(axis=-1, keepdims=True)) + top
    return np.asarray((y * (total - z)).sum(axis=-1))


def joined_delta(output: str, a: Array, y: Array) -> Array:
    """delta^L for a pair in :data:`JOINED`: a - y (for softmax a times the sum of y, which is 1)."""
    if output == "sigmoid":
        return np.asarray(a - y)
    return np.asarray(a * y.sum(axis=-1, keepdims=True) - y)


def cost(name: str) -> Cost:
    """The table's entry for a name.

    >>> cost("quadratic").value(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))
    array([0.5])
    """
    if not isinstance(name, str) or name not in COSTS:
        raise unknown("cost", name, COSTS)
    return COSTS[name]


def check_pair(output: Activation, cost: Cost) -> None:
    """Refuse an output activation that the cost cannot stand behind, and name the pairs that work."""
    if output.custom or output.name in cost.outputs:
        return
    fitting = [name for name, entry in COSTS.items() if output.name in entry.outputs]
    hint = (
        " (What other libraries call cross-entropy over softmax is cost='log_likelihood' here, as in the book.)"
        if (output.name, cost.name) == ("softmax", "cross_entropy")
        else ""
    )
    raise BadInput(
        f"cost {cost.name!r} needs {cost.why}; output {output.name!r} does not give that. "
        f"With this cost: output={' or '.join(map(repr, cost.outputs))}. "
        f"With this output: cost={' or '.join(map(repr, fitting))}.{hint}"
    )
