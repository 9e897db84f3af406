"""The optimiser under scikit-learn's names: which one, its learning rate over the epochs, and its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput
from deltarule.network import Network
from deltarule.optimizers import OPTIMIZERS, SGD, AdamHat, Memory, Momentum, Nesterov, Optimizer, optimizer

Array = npt.NDArray[Any]

STOCHASTIC = ("sgd", "adam", *(name for name in OPTIMIZERS if name not in ("sgd", "adam", "adam_hat")))
"""The names that `solver` may have besides "lbfgs". "sgd" and "adam" are scikit-learn's: momentum, and epsilon
before the correction."""

LEAST_RATE = 1e-6
"""An adaptive learning rate below this ends the training."""


def optimiser_for(estimator: Any) -> Optimizer:
    """The optimiser that the estimator's parameters describe."""
    solver, eta = estimator.solver, estimator.learning_rate_init
    if isinstance(solver, Optimizer):
        return solver
    if solver == "sgd":
        if estimator.momentum == 0:
            return SGD(eta)
        found: Optimizer = (Nesterov if estimator.nesterovs_momentum else Momentum)(eta, 0.0)
        found.first = float(estimator.momentum)  # scikit-learn takes 1 too
        return found
    if solver in ("adam", "adamw"):
        kind: Any = AdamHat if solver == "adam" else OPTIMIZERS[solver]
        return kind(eta, estimator.beta_1, estimator.beta_2, estimator.epsilon)  # type: ignore[no-any-return]
    found = optimizer(solver)
    found.eta = float(eta)
    if solver in ("momentum", "nesterov"):
        found.first = float(estimator.momentum)
    return found


class Solver:
    """An optimiser at work on one network: its constants, its learning rate now, and what it remembers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    """

    def __init__(self, estimator: Any) -> None:
        self.optimizer = optimiser_for(estimator)
        self.learning_rate_init = self.learning_rate = float(self.optimizer.eta)
        self.schedule = "constant" if estimator.solver == "adam" else estimator.learning_rate
        self.power_t = estimator.power_t
        self.memory: Memory | None = None

    def remember(self, net: Network) -> Memory:
        """The optimiser's memory of this network, which outlives the network's copies."""
        if self.memory is None:
            self.optimizer.forget(net)
            self.memory = self.optimizer.memory(net)
        if self.memory.m.size not in (0, net.theta.size) or self.memory.v.size not in (0, net.theta.size):
            raise BadInput("the optimiser remembers a network of another size; fit without warm_start first")
        self.optimizer._memories[net] = self.memory
        return self.memory

    def rates(self, epochs: int, seen: int, samples: int) -> Array:
        """The learning rate of each of the next epochs, after `seen` samples in all."""
        eta = np.full(epochs, self.learning_rate)
        if self.schedule == "invscaling":
            eta[1:] = self._scaled(seen + samples * np.arange(1, epochs))
        return eta

    def end_epoch(self, seen: int) -> None:
        """The learning rate after an epoch."""
        if self.schedule == "invscaling":
            self.learning_rate = float(self._scaled(seen))

    def _scaled(self, seen: Any) -> Any:
        return self.learning_rate_init / (seen + 1) ** self.power_t

    def gives_up(self, message: str, verbose: Any) -> bool:
        """Whether the training is over now that it helps no more; an adaptive rate is first made smaller."""
        over = self.schedule != "adaptive" or self.learning_rate <= LEAST_RATE
        if not over:
            self.learning_rate /= 5.0
        if verbose:
            too_small = " Learning rate too small." if self.schedule == "adaptive" else ""
            print(
                message + (f"{too_small} Stopping." if over else f" Setting learning rate to {self.learning_rate:f}")
            )
        return over
