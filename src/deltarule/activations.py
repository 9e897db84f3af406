"""sigma and sigma' by name: one table.

Each entry holds the activation ``sigma(z)`` and its slope ``sigma'(z)``, both as functions of the
weighted input z, in plain NumPy. The slope is written so that it keeps its relative accuracy where it
is small: a saturated sigmoid's slope is e^-|z|, not the zero that ``a * (1 - a)`` rounds to. Vanishing
errors are the subject of this package, so a small slope must be a true one.

The compiled twins of these functions are in :mod:`deltarule.kernels.elementwise`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput, unknown

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
LEAK = 0.01
"""The slope of leaky_relu left of zero."""


@dataclass(frozen=True)
class Activation:
    """An activation: sigma, its slope sigma', and what the rest of the house must know of it.

    Parameters
    ----------
    name : str
    sigma, slope : callable
        Elementwise functions of z; the slope is sigma'(z).
    range : (float, float)
        The values that sigma can take; it decides which costs make sense behind it.
    kink : bool
        Whether the slope jumps at z = 0 (there no derivative exists; the slope from the left is used).
    gain : float
        The factor on the variance of the weights that keeps the signal's size (2 for the ReLU family).
    peak : float or None
        For an activation that flattens out on both sides, so that a unit can saturate: its steepest slope.
    pair : (callable, callable) or None
        For an activation of the user's own, the two functions as they were given.
    """

    name: str
    sigma: Function
    slope: Function
    range: tuple[float, float] = (-np.inf, np.inf)
    kink: bool = False
    gain: float = 1.0
    peak: float | None = None
    pair: tuple[Function, Function] | None = None

    @property
    def custom(self) -> bool:
        """Whether this is a pair of the user's own."""
        return self.pair is not None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name, or as the pair that the user gave: the table's own functions have no name of their own."""
        return activation, (self.name if self.pair is None else self.pair,)


def _decay(z: Array) -> Array:
    """e^-|z|: the one exponential that neither overflows nor cancels."""
    return np.asarray(np.exp(-np.abs(z)))


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z)."""
    t = _decay(z)
    return np.asarray(np.where(z >= 0, 1 / (1 + t), t / (1 + t)))


def sigmoid_slope(z: Array) -> Array:
    """sigma(z) (1 - sigma(z)) = e^-|z| / (1 + e^-|z|)^2."""
    t = _decay(z)
    return np.asarray(t / (1 + t) ** 2)


def tanh_slope(z: Array) -> Array:
    """1 - tanh(z)^2 = 4 e^-2|z| / (1 + e^-2|z|)^2."""
    t = _decay(2 * z)
    return np.asarray(4 * t / (1 + t) ** 2)


def softmax(z: Array) -> Array:
    """e^z_j / sum_k e^z_k over the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def softmax_slope(z: Array) -> Array:
    """a_j (1 - a_j), the diagonal of the softmax's Jacobian, as a_j times the sum of the other a_k."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    total = e.sum(axis=-1, keepdims=True)
    others = np.stack([np.delete(e, j, axis=-1).sum(axis=-1) for j in range(e.shape[-1])], axis=-1)
    return np.asarray(e * others / total**2)


def relu(z: Array) -> Array:
    """max(z, 0); a NaN stays a NaN."""
    return np.asarray(np.maximum(z, 0))


def elu(z: Array) -> Array:
    """z where z > 0, else e^z - 1."""
    return np.asarray(np.where(z > 0, z, np.expm1(np.minimum(z, 0))))


def elu_slope(z: Array) -> Array:
    """1 where z > 0, else e^z."""
    return np.asarray(np.exp(np.minimum(z, 0)))


def _normal(z: Array) -> Array:
    """The standard normal density."""
    return np.asarray(np.exp(-0.5 * z * z) * 0.3989422804014327)


def _normal_below(z: Array) -> Array:
    """The standard normal distribution function, accurate in its lower tail."""
    from scipy.special import erfc

    return np.asarray(0.5 * erfc(-0.7071067811865476 * z))


def gelu(z: Array) -> Array:
    """z Phi(z), with the normal distribution function itself, not its tanh approximation."""
    return np.asarray(z * _normal_below(z))


def gelu_slope(z: Array) -> Array:
    """Phi(z) + z phi(z)."""
    return np.asarray(_normal_below(z) + z * _normal(z))


def silu(z: Array) -> Array:
    """z sigmoid(z)."""
    return np.asarray(z * sigmoid(z))


def silu_slope(z: Array) -> Array:
    """sigmoid(z) + z sigmoid'(z)."""
    return np.asarray(sigmoid(z) + z * sigmoid_slope(z))


def softplus(z: Array) -> Array:
    """ln(1 + e^z)."""
    return np.asarray(np.maximum(z, 0) + np.log1p(_decay(z)))


def softsign(z: Array) -> Array:
    """z / (1 + |z|)."""
    return np.asarray(z / (1 + np.abs(z)))


def _step(z: Array, left: float) -> Array:
    """1 right of zero, `left` elsewhere; a NaN stays a NaN."""
    return np.asarray(np.where(z > 0, np.ones_like(z), np.where(np.isnan(z), z, np.full_like(z, left))))


ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation("sigmoid", sigmoid, sigmoid_slope, (0, 1), peak=0.25),
        Activation("tanh", np.tanh, tanh_slope, (-1, 1), peak=1.0),
        Activation("relu", relu, lambda z: _step(z, 0.0), (0, np.inf), kink=True, gain=2.0),
        Activation(
            "leaky_relu",
            lambda z: np.where(z > 0, z, LEAK * z),
            lambda z: _step(z, LEAK),
            kink=True,
            gain=2.0 / (1.0 + LEAK**2),
        ),
        Activation("elu", elu, elu_slope, (-1, np.inf), gain=2.0),
        Activation(
            "selu",
            lambda z: np.where(z > 0, SELU_SCALE * z, SELU_SCALE * SELU_ALPHA * elu(z)),
            lambda z: np.where(z > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * elu_slope(z)).astype(z.dtype),
            (-SELU_SCALE * SELU_ALPHA, np.inf),
            kink=True,
        ),
        Activation("gelu", gelu, gelu_slope, (-0.17, np.inf), gain=2.0),
        Activation("silu", silu, silu_slope, (-0.279, np.inf), gain=2.0),
        Activation("softplus", softplus, sigmoid, (0, np.inf), gain=2.0),
        Activation("softsign", softsign, lambda z: 1 / (1 + np.abs(z)) ** 2, (-1, 1), peak=1.0),
        Activation("identity", lambda z: np.array(z), np.ones_like),
        Activation("exp", np.exp, np.exp, (0, np.inf)),
        Activation("softmax", softmax, softmax_slope, (0, 1), peak=0.25),
    )
}
"""Every activation that has a name. Softmax couples the neurons of its layer: it stands at the output only."""


def _over_arrays(function: Function) -> Function:
    """A user's function over an array; one that is written for a single number is called for each."""

    def over(z: Array) -> Array:
        try:
            with np.errstate(all="ignore"):
                values = np.asarray(function(z))
            if values.shape == z.shape:
                return values.astype(z.dtype)
        except (TypeError, ValueError):
            pass  # it takes one number at a time
        return np.asarray(np.vectorize(function, otypes=[z.dtype])(z))

    return over


def activation(given: str | Activation | tuple[Function, Function]) -> Activation:
    """The table's entry for a name, or one made from a pair (sigma, sigma') of the user's own.

    >>> activation("relu").kink
    True
    >>> activation((lambda z: z**3, lambda z: 3 * z**2)).custom
    True
    """
    if isinstance(given, Activation):
        if given.pair is None and ACTIVATIONS.get(given.name) is not given:
            raise BadInput(
                f"activation {given.name!r} is not in the table; give its functions as a pair (sigma, slope)"
            )
        return given
    if isinstance(given, str):
        if given not in ACTIVATIONS:
            raise unknown("activation", given, ACTIVATIONS, ", or a pair (sigma, slope) of functions of z")
        return ACTIVATIONS[given]
    if isinstance(given, tuple) and len(given) == 2 and all(callable(f) for f in given):
        name = getattr(given[0], "__name__", "own").strip("<>")
        return Activation(f"custom:{name}", _over_arrays(given[0]), _over_arrays(given[1]), pair=given)
    raise BadInput(
        f"an activation is a name or a pair (sigma, slope) of functions of z; got {given!r}. "
        f"Names: {', '.join(ACTIVATIONS)}."
    )
