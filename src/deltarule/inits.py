"""How weights and biases begin: one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.activations import Activation
from deltarule.errors import unknown

Array = npt.NDArray[Any]
Draw = Callable[[np.random.Generator, int, int, Activation], tuple[Array, Array]]


def _normal(variance: Callable[[int, int, Activation], float], biases: bool) -> Draw:
    """W ~ N(0, variance); b ~ N(0, 1) or 0."""

    def draw(rng: np.random.Generator, n_out: int, n_in: int, sigma: Activation) -> tuple[Array, Array]:
        W = rng.standard_normal((n_out, n_in)) * np.sqrt(variance(n_out, n_in, sigma))
        return W, rng.standard_normal(n_out) if biases else np.zeros(n_out)

    return draw


def _orthogonal(rng: np.random.Generator, n_out: int, n_in: int, sigma: Activation) -> tuple[Array, Array]:
    """Rows, or columns where they are fewer, orthonormal, times the square root of the gain."""
    tall = rng.standard_normal((max(n_out, n_in), min(n_out, n_in)))
    Q, R = np.linalg.qr(tall)
    Q = Q * np.sign(np.diagonal(R))
    return np.sqrt(sigma.gain) * (Q if n_out >= n_in else Q.T), np.zeros(n_out)


def _auto_variance(n_out: int, n_in: int, sigma: Activation) -> float:
    """He's gain / n_in for the ReLU family, Glorot's 2 / (n_in + n_out) for the rest."""
    return sigma.gain / n_in if sigma.gain > 1 else 2.0 / (n_in + n_out)


INITS: dict[str, Draw] = {
    "auto": _normal(_auto_variance, biases=False),
    "nielsen": _normal(lambda n_out, n_in, sigma: 1.0, biases=True),
    "nielsen_scaled": _normal(lambda n_out, n_in, sigma: 1.0 / n_in, biases=True),
    "lecun": _normal(lambda n_out, n_in, sigma: 1.0 / n_in, biases=False),
    "orthogonal": _orthogonal,
    "zeros": lambda rng, n_out, n_in, sigma: (np.zeros((n_out, n_in)), np.zeros(n_out)),
}
"""(W, b) of one layer by name.

auto            Glorot (2010) or, behind the ReLU family, He (2015); b = 0
nielsen         W, b ~ N(0, 1): the book's network.py
nielsen_scaled  W ~ N(0, 1/n_in), b ~ N(0, 1): the book's network2.py
lecun           W ~ N(0, 1/n_in); b = 0
orthogonal      Saxe (2014); b = 0
zeros           every number 0: the symmetric start that cannot learn, for teaching
"""


def init(name: str) -> Draw:
    """The table's entry for a name."""
    if not isinstance(name, str) or name not in INITS:
        raise unknown("init", name, INITS)
    return INITS[name]
