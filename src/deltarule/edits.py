"""Change the error on its way back, and see what a step along the changed gradient does to the cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule import reference
from deltarule.errors import BadInput, NoSuchLayer, is_number, require
from deltarule.records import ByLayer, Record

if TYPE_CHECKING:
    from deltarule.network import Network

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Step(Record):
    """What one step W - eta dC/dW, b - eta dC/db does to the mean cost, with a trace's gradients and with the true.

    Attributes
    ----------
    eta : float
    cost : float
        The mean cost before, in float64.
    predicted, actual : float
        The change of the mean cost with the trace's gradients g: to first order, -eta <dC/dtheta, g>, and computed
        anew after the step.
    true_predicted, true_actual : float
        The same with the true gradients, -eta |dC/dtheta|^2 to first order.
    """

    schema = "deltarule.step"

    eta: float
    cost: float
    predicted: float
    actual: float
    true_predicted: float
    true_actual: float

    def __str__(self) -> str:
        return (
            f"One step with eta {self.eta:g} from a mean cost of {self.cost:.6g}: predicted change "
            f"{self.predicted:+.4g}, actual {self.actual:+.4g} "
            f"(with the true gradient {self.true_predicted:+.4g}, {self.true_actual:+.4g})"
        )

    __repr__ = __str__


def checked(net: Network, edit: Any) -> list[tuple[int, Any]]:
    """The edits, from the output down. Raises BadInput or NoSuchLayer."""
    if not isinstance(edit, Mapping):
        raise BadInput(f"edit is {edit!r}; expected a dictionary such as {{1: 0}} (zero delta^1) or {{2: 0.5}}")
    for l in edit:
        if not isinstance(l, (int, np.integer)) or isinstance(l, bool) or not 1 <= l <= net.L:
            raise NoSuchLayer(f"edit names layer {l!r}: delta is there for layers 1 to {net.L}, as in the book")
    return sorted(((int(l), how) for l, how in edit.items()), reverse=True, key=lambda one: one[0])


def apply(how: Any, delta: Array, l: int) -> Array:
    """delta^l after the edit: times a number, replaced by an array, or what a function makes of it."""
    new = how(delta.copy()) if callable(how) else how
    given = np.asarray(new)
    n, width = delta.shape
    if given.dtype.kind not in "fiu" or given.shape not in ((), (width,), (1, width), (n, width)):
        came = f"{given.dtype} of shape {given.shape}" if given.shape else repr(new)
        raise BadInput(
            f"the edit of delta^{l} gives {came}; expected a number to scale it by, or real values of shape "
            f"({n}, {width}) or ({width},)"
        )
    scales = given.ndim == 0 and not callable(how)
    with np.errstate(over="ignore"):
        values = np.broadcast_to((delta * float(given) if scales else given).astype(delta.dtype), delta.shape)
    if not np.isfinite(values).all():
        raise BadInput(f"the edit of delta^{l} has values that are not finite numbers")
    return values


def mean_cost(net: Network, x: Array, y: Array, W: list[Array], b: list[Array]) -> float:
    """The mean cost with these parameters (layers 1..L), by the reference in float64."""
    none = np.empty(0)
    sigma = [net.output, *net.activations]  # entry 0 is not used
    z, a = reference.forward([none, *W], [none, *b], sigma, x)
    return float(reference.cost_value(net.output, net.cost, z[-1], a[-1], y).mean())


def step(
    net: Network, x: Array, y: Array, grads: tuple[ByLayer, ByLayer], true: tuple[ByLayer, ByLayer], eta: float
) -> Step:
    """One step with the gradients (of W, of b) and one with the true ones, predicted and made; the net stays."""
    require("eta", eta, is_number(eta, 0) and eta != 0, "a learning rate above 0")
    x, y = x.astype(np.float64), y.astype(np.float64)
    layers = len(net.W)

    def flat(W: ByLayer, b: ByLayer) -> list[Array]:
        return [values.astype(np.float64) for values in (*W, *b)]

    parameters, right = flat(net.W, net.b), flat(*true)

    def cost(at: list[Array]) -> float:
        return mean_cost(net, x, y, at[:layers], at[layers:])

    def outcome(gradients: list[Array]) -> tuple[float, float]:
        predicted = -eta * sum(float((t * g).sum()) for t, g in zip(right, gradients, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):
            after = cost([p - eta * g for p, g in zip(parameters, gradients, strict=True)])
        return predicted, after - before

    before = cost(parameters)
    return Step(float(eta), before, *outcome(flat(*grads)), *outcome(right))
