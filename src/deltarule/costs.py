"""The cost of one sample and BP1's dC/da: one table.

``value(a, y)`` is C for each sample, summed over the outputs and never averaged; ``grad(a, y)`` is
dC/da^L. Some pairs of output and cost are joined analytically, because the product
``grad * slope`` is 0/0 or infinity times zero once the output saturates: sigmoid with cross-entropy,
softmax with log-likelihood, exp with Poisson's costs. All give delta^L = a^L - y, and their value is taken from z.

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
    pair : (callable, callable) or None
        For a cost of the user's own, its value and gradient for one output, as they were given.
    """

    name: str
    value: Callable[[Array, Array], Array]
    grad: Callable[[Array, Array], Array]
    outputs: tuple[str, ...]
    why: str
    pair: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name, or as the pair that the user gave."""
        return cost, (self.name if self.pair is None else self.pair,)


def _xlogy(x: Array, y: Array) -> Array:
    """x ln y, and 0 where x is 0."""
    from scipy.special import xlogy

    return np.asarray(xlogy(x, y))


def _huber(d: Array) -> Array:
    size = np.abs(d)
    return np.asarray(np.where(size <= 1, 0.5 * d * d, size - 0.5).sum(axis=-1))


def _log_cosh(d: Array) -> Array:
    """ln cosh d = |d| + ln(1 + e^-2|d|) - ln 2; near 0, where that cancels, 1/2 ln(1 + sinh^2 d)."""
    size = np.abs(d)
    near = 0.5 * np.log1p(np.sinh(np.minimum(size, 1)) ** 2)
    return np.asarray(np.where(size < 1, near, size + np.log1p(np.exp(-2 * size)) - np.log(2)).sum(axis=-1))


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
            ("softplus", "exp"),
            "outputs that are a rate above zero",
        ),
        Cost(
            "log_cosh",
            lambda a, y: _log_cosh(a - y),
            lambda a, y: np.tanh(a - y),
            _ANY,
            "any output",
        ),
        Cost(
            "poisson_deviance",
            lambda a, y: (a - y + _xlogy(y, y) - _xlogy(y, a)).sum(axis=-1),
            lambda a, y: 1 - _ratio(y, a),
            ("softplus", "exp"),
            "outputs that are a rate above zero",
        ),
    )
}

JOINED = {
    ("sigmoid", "cross_entropy"),
    ("softmax", "log_likelihood"),
    ("exp", "poisson"),
    ("exp", "poisson_deviance"),
}
"""The pairs (output, cost) whose delta^L and value are taken from z, without a division by sigma'."""


def joined_value(output: str, cost: str, z: Array, y: Array) -> Array:
    """C of each sample from z, for a pair in :data:`JOINED`: no logarithm of a rounded zero."""
    if output == "exp":
        constant = _xlogy(y, y) - y if cost == "poisson_deviance" else 0
        return np.asarray((np.exp(z) - y * z + constant).sum(axis=-1))
    if output == "sigmoid":
        return np.asarray((np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))).sum(axis=-1))
    top = z.max(axis=-1, keepdims=True)
    total = np.log(np.exp(z - top).sum(axis=-1, keepdims=True)) + top
    return np.asarray((y * (total - z)).sum(axis=-1))


def joined_delta(output: str, a: Array, y: Array) -> Array:
    """delta^L for a pair in :data:`JOINED`: a - y (for softmax a times the sum of y, which is 1)."""
    if output != "softmax":
        return np.asarray(a - y)
    return np.asarray(a * y.sum(axis=-1, keepdims=True) - y)


def _over_arrays(function: Callable[..., Any]) -> Callable[[Array, Array], Array]:
    """A user's function of one output and its target, over arrays."""

    def over(a: Array, y: Array) -> Array:
        return np.asarray(np.vectorize(function, otypes=[np.result_type(a)])(a, y))

    return over


def cost(given: str | Cost | tuple[Callable[..., Any], Callable[..., Any]]) -> Cost:
    """The table's entry for a name, or one made from a pair (value, grad) of functions of a and y.

    >>> cost("quadratic").value(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))
    array([0.5])
    """
    if isinstance(given, Cost):
        return given
    if isinstance(given, tuple) and len(given) == 2 and all(callable(one) for one in given):
        value, grad = map(_over_arrays, given)
        name = getattr(given[0], "__name__", "own").strip("<>")
        return Cost(f"custom:{name}", lambda a, y: value(a, y).sum(axis=-1), grad, _ANY, "any output", given)
    if not isinstance(given, str) or given not in COSTS:
        raise unknown("cost", given, COSTS, ", or a pair (value, grad) of functions of an output a and its target y")
    return COSTS[given]


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
