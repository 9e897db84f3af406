"""The trainings whose step is timed: shapes, data, and the same initial weights for every side."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

import deltarule as dr
from deltarule.training import SHARE


@dataclass(frozen=True)
class Task:
    """A training."""

    name: str
    sizes: tuple[int, ...]
    hidden: str
    output: str
    cost: str
    batch: int
    optimizer: str
    eta: float
    samples: int

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} {self.hidden}, batch {self.batch}, {self.optimizer}"

    @property
    def products(self) -> int:
        """Multiply-adds of a step: forward, BP2, BP4. The error is not carried on to the input."""
        W = [n * m for n, m in itertools.pairwise(self.sizes)]
        return self.batch * (3 * sum(W) - W[0])

    @property
    def shared(self) -> bool:
        """Whether `fit`, left to itself, shares a step among threads: one that is over at once it does not."""
        return 6 * self.batch * sum(n * m for n, m in itertools.pairwise(self.sizes)) >= 2 * SHARE

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    def of(self, samples: int) -> Task:
        """The same with fewer samples."""
        return replace(self, samples=samples)

    def network(self) -> dr.Network:
        return dr.Network(self.sizes, self.hidden, self.output, self.cost, seed=0)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x, and y as labels (log-likelihood), as 0 and 1 (cross-entropy) or as values."""
        rng = np.random.default_rng(0)
        x = rng.random((self.samples, self.sizes[0]), dtype=np.float32)
        if self.cost == "log_likelihood":
            return x, rng.integers(0, self.sizes[-1], self.samples)
        y = rng.random((self.samples, self.sizes[-1]), dtype=np.float32)
        return x, (y > 0.5).astype(np.float32) if self.cost == "cross_entropy" else y


TASKS = [
    Task("T1", (784, 30, 10), "sigmoid", "sigmoid", "quadratic", 10, "sgd", 3.0, 5000),
    Task("T2", (784, 100, 10), "sigmoid", "sigmoid", "cross_entropy", 10, "sgd", 0.5, 5000),
    Task("T3", (784, 256, 256, 10), "relu", "softmax", "log_likelihood", 128, "adam", 1e-3, 6400),
    Task("T4", (784, 1024, 1024, 1024, 10), "relu", "softmax", "log_likelihood", 256, "sgd", 0.1, 2560),
    Task("T5", (8, 64, 64, 1), "tanh", "identity", "quadratic", 32, "adam", 1e-3, 16000),
    Task("T6", (4, 32, 16, 4), "tanh", "identity", "quadratic", 10000, "adam", 1e-3, 10000),
]
