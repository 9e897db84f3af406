"""The optimisers: what a step does with the gradient g, the mean over the batch (BP3, BP4).

The equations are computed in :mod:`deltarule.kernels.update`. An optimiser object keeps its state for each
network that it trains, so that 5 epochs and 5 more are the same as 10.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from deltarule.errors import is_number, require, unknown

if TYPE_CHECKING:
    from deltarule.network import Network

Array = npt.NDArray[Any]


@dataclass
class Memory:
    """What an optimiser remembers of one network: its running means, its clock, and the costs so far."""

    m: Array
    v: Array
    steps: int = 0
    epochs: int = 0
    costs: list[float] = field(default_factory=list)


class Optimizer:
    """The base of the optimisers: constants, and a memory for each network."""

    name: ClassVar[str]
    first_name: ClassVar[str] = "first"
    second_name: ClassVar[str] = "second"
    uses_m: ClassVar[bool] = False
    uses_v: ClassVar[bool] = False

    def __init__(
        self, eta: float, first: float = 0.0, second: float = 0.0, epsilon: float = 0.0, decay: float = 0.0
    ) -> None:
        require("eta", eta, is_number(eta, 0) and eta != 0, "a learning rate above 0")
        for name, share in ((self.first_name, first), (self.second_name, second)):
            require(name, share, is_number(share, 0, 1) and share != 1, "a number from 0 up to, not including, 1")
        require("epsilon", epsilon, is_number(epsilon, 0), "a number from 0 up")
        require("decay", decay, is_number(decay, 0), "a number from 0 up")
        self.eta, self.first, self.second = float(eta), float(first), float(second)
        self.epsilon, self.decay = float(epsilon), float(decay)
        self._memories: WeakKeyDictionary[Network, Memory] = WeakKeyDictionary()

    def memory(self, net: Network) -> Memory:
        """What it remembers of this network; new and empty at first."""
        if net not in self._memories:
            self.forget(net)
        return self._memories[net]

    def forget(self, net: Network) -> None:
        """Start anew with this network."""
        none = np.zeros(0, net.dtype)
        self._memories[net] = Memory(
            np.zeros_like(net.theta) if self.uses_m else none,
            np.zeros_like(net.theta) if self.uses_v else none,
        )

    def settings(self) -> dict[str, Any]:
        """The constants, for a run that is to be done again."""
        constants = ("eta", "first", "second", "epsilon", "decay")
        return {"name": self.name, **{key: getattr(self, key) for key in constants}}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memories": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _memories=WeakKeyDictionary())

    def __repr__(self) -> str:
        own = inspect.signature(type(self)).parameters
        names = {
            self.first_name: self.first,
            self.second_name: self.second,
            "epsilon": self.epsilon,
            "decay": self.decay,
        }
        more = ", ".join(f"{name}={value:g}" for name, value in names.items() if name in own)
        return f"{type(self).__name__}({self.eta:g}{', ' + more if more else ''})"


class SGD(Optimizer):
    """theta <- theta - eta g.

    >>> SGD(3.0)
    SGD(3)
    """

    name = "sgd"

    def __init__(self, eta: float = 0.1) -> None:
        super().__init__(eta)


class Momentum(Optimizer):
    """v <- mu v - eta g;  theta <- theta + v. Polyak 1964, as in the book's chapter 3."""

    name = "momentum"
    first_name = "mu"
    uses_m = True

    def __init__(self, eta: float = 0.1, mu: float = 0.9) -> None:
        super().__init__(eta, mu)


class Nesterov(Optimizer):
    """v <- mu v - eta g;  theta <- theta + mu v - eta g. Nesterov 1983, in Sutskever's form of 2013."""

    name = "nesterov"
    first_name = "mu"
    uses_m = True

    def __init__(self, eta: float = 0.1, mu: float = 0.9) -> None:
        super().__init__(eta, mu)


class RMSProp(Optimizer):
    """v <- rho v + (1 - rho) g^2;  theta <- theta - eta g / (sqrt(v) + epsilon). Tieleman and Hinton 2012."""

    name = "rmsprop"
    second_name = "rho"
    uses_v = True

    def __init__(self, eta: float = 1e-3, rho: float = 0.9, epsilon: float = 1e-8) -> None:
        super().__init__(eta, 0.0, rho, epsilon)


class Adam(Optimizer):
    """m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
    theta <- theta - eta m_hat / (sqrt(v_hat) + epsilon), with m_hat = m / (1 - beta1^t) and
    v_hat = v / (1 - beta2^t) at step t. Kingma and Ba 2015.
    """

    name = "adam"
    first_name, second_name = "beta1", "beta2"
    uses_m = uses_v = True

    def __init__(self, eta: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__(eta, beta1, beta2, epsilon)


class AdamHat(Optimizer):
    """Adam with epsilon added to sqrt(v) before the bias is corrected: theta <- theta - eta_t m / (sqrt(v) + epsilon)
    with eta_t = eta sqrt(1 - beta2^t) / (1 - beta1^t). Kingma and Ba's second form ("epsilon hat"), which
    scikit-learn computes.
    """

    name = "adam_hat"
    first_name, second_name = "beta1", "beta2"
    uses_m = uses_v = True

    def __init__(self, eta: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__(eta, beta1, beta2, epsilon)


class AdamW(Optimizer):
    """Adam's step after theta <- (1 - eta decay) theta, on weights and biases. Loshchilov and Hutter 2019."""

    name = "adamw"
    first_name, second_name = "beta1", "beta2"
    uses_m = uses_v = True

    def __init__(
        self,
        eta: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 0.01,
    ) -> None:
        super().__init__(eta, beta1, beta2, epsilon, decay)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    kind.name: kind for kind in (SGD, Momentum, Nesterov, RMSProp, Adam, AdamHat, AdamW)
}


def optimizer(given: str | Optimizer | None) -> Optimizer:
    """The optimiser itself, one with its defaults by name, or Adam where none is given.

    >>> optimizer("momentum")
    Momentum(0.1, mu=0.9)
    """
    if given is None:
        return Adam()
    if isinstance(given, Optimizer):
        return given
    if isinstance(given, str) and given in OPTIMIZERS:
        return OPTIMIZERS[given]()
    raise unknown("optimizer", given, OPTIMIZERS, ", or an object such as deltarule.SGD(3.0)")
