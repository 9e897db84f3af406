"""The time of a training step beside PyTorch eager: same data, weights, batches, dtype and threads.

Usage: python benchmarks/step.py [--short] [--threads N]

Before anything is timed, both sides train from the same weights over the same batches and must reach the
same weights. Then they are timed in turn, several times; the table shows medians. `--short` takes few steps:
it shows that all of it runs and agrees, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

import deltarule as dr
from deltarule.cores import cores
from deltarule.records import text_table
from deltarule.training import SHARE

SIGMA = {"sigmoid": torch.sigmoid, "relu": F.relu, "tanh": torch.tanh}
COST = {
    "quadratic": lambda a, y: 0.5 * ((a - y) ** 2).sum(1).mean(),
    "cross_entropy": lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1).mean(),
    "log_likelihood": lambda z, y: F.cross_entropy(z, y),
}


@dataclass(frozen=True)
class Task:
    """A training whose step is timed."""

    name: str
    sizes: tuple[int, ...]
    hidden: str
    output: str
    cost: str
    batch: int
    optimizer: str
    eta: float
    samples: int

    @property
    def shared(self) -> bool:
        """Whether `fit`, left to itself, would share a step among threads."""
        return 6 * self.batch * sum(n * m for n, m in itertools.pairwise(self.sizes)) >= 2 * SHARE

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    def network(self) -> dr.Network:
        return dr.Network(self.sizes, self.hidden, self.output, self.cost, seed=0)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x = rng.random((self.samples, self.sizes[0]), dtype=np.float32)
        if self.cost == "log_likelihood":
            return x, rng.integers(0, self.sizes[-1], self.samples)
        return x, rng.random((self.samples, self.sizes[-1]), dtype=np.float32)


TASKS = [
    Task("T1", (784, 30, 10), "sigmoid", "sigmoid", "quadratic", 10, "sgd", 3.0, 5000),
    Task("T2", (784, 100, 10), "sigmoid", "sigmoid", "cross_entropy", 10, "sgd", 0.5, 5000),
    Task("T3", (784, 256, 256, 10), "relu", "softmax", "log_likelihood", 128, "adam", 1e-3, 6400),
    Task("T4", (784, 1024, 1024, 1024, 10), "relu", "softmax", "log_likelihood", 256, "sgd", 0.1, 2560),
    Task("T5", (8, 64, 64, 1), "tanh", "identity", "quadratic", 32, "adam", 1e-3, 16000),
    Task("T6", (4, 32, 16, 4), "tanh", "identity", "quadratic", 10000, "adam", 1e-3, 10000),
]


def ours(
    task: Task, x: np.ndarray, y: np.ndarray, threads: int
) -> tuple[Callable[[int], None], Callable[[], list[np.ndarray]]]:
    """(train for some epochs, the weights)."""
    net = task.network()
    optimizer = dr.SGD(task.eta) if task.optimizer == "sgd" else dr.Adam(task.eta)

    def train(epochs: int) -> None:
        net.fit(x, y, epochs=epochs, batch_size=task.batch, optimizer=optimizer, shuffle=False, progress=False,
                threads=threads)  # fmt: skip

    return train, lambda: list(net.W)


def pytorch(
    task: Task, x: np.ndarray, y: np.ndarray, threads: int
) -> tuple[Callable[[int], None], Callable[[], list[np.ndarray]]]:
    """The same in PyTorch eager, as its users write it."""
    net = task.network()
    layers = [torch.nn.Linear(n_in, n_out) for n_in, n_out in zip(task.sizes, task.sizes[1:], strict=False)]
    for l, layer in enumerate(layers, 1):
        layer.weight.data[:], layer.bias.data[:] = torch.from_numpy(net.W[l]), torch.from_numpy(net.b[l])
    parameters = [p for layer in layers for p in layer.parameters()]
    make = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam
    optimizer = make(parameters, task.eta)
    on_logits = task.cost != "quadratic"
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            for start in range(0, task.samples, task.batch):
                a = xs[start : start + task.batch]
                for layer in layers[:-1]:
                    a = SIGMA[task.hidden](layer(a))
                a = layers[-1](a)
                if not on_logits and task.output != "identity":
                    a = SIGMA[task.output](a)
                cost = COST[task.cost](a, ys[start : start + task.batch])
                optimizer.zero_grad()
                cost.backward()
                optimizer.step()

    return train, lambda: [layer.weight.detach().numpy() for layer in layers]


def require_agreement(task: Task, x: np.ndarray, y: np.ndarray, threads: int) -> float:
    """Train both for about twenty steps; the largest relative difference of a layer's weights."""
    n = min(task.samples, 20 * task.batch)
    short = Task(**{**task.__dict__, "samples": n})
    reached = []
    for side in (ours, pytorch):
        train, weights = side(short, x[:n], y[:n], threads)
        train(1 if task.batch < n else 5)
        reached.append(weights())
    off = max(float(np.linalg.norm(w - v) / np.linalg.norm(v)) for w, v in zip(*reached, strict=True))
    if not off < 1e-3:
        raise SystemExit(f"{task.name}: the two sides do not reach the same weights (relative difference {off:.1e})")
    return off


def microseconds(train: Callable[[int], None], steps: int, epochs: int) -> float:
    started = time.perf_counter()
    train(epochs)
    return (time.perf_counter() - started) / (steps * epochs) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few steps: shows that it runs, not how fast")
    parser.add_argument(
        "--threads", type=int, default=cores(), help="the same on both sides; all cores, if not given"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    require_agreement(
        TASKS[0], *TASKS[0].data(), given.threads
    )  # loads every BLAS: the limit below binds only what is loaded
    rows = []
    with threadpool_limits(given.threads):
        for task in TASKS:
            x, y = task.data()
            off = require_agreement(task, x, y, given.threads)
            # What one core does alone takes one core: a step of T1, T2 or T5 is over before a second could help.
            own = given.threads if task.shared else 1
            times: dict[str, list[float]] = {"ours": [], "pytorch": []}
            sides = {"ours": ours(task, x, y, own)[0], "pytorch": pytorch(task, x, y, given.threads)[0]}
            for _ in range(1 if given.short else 5):
                for name, train in sides.items():
                    epochs = 1 if given.short else 5 if task.steps > 20 else 50 if task.steps == 1 else 1
                    times[name].append(microseconds(train, task.steps, epochs))
            mine, theirs = (statistics.median(times[name]) for name in ("ours", "pytorch"))
            what = f"{'-'.join(map(str, task.sizes))} {task.hidden}, batch {task.batch}, {task.optimizer}"
            rows.append([task.name, what, f"{theirs:.1f}", f"{mine:.1f}", f"{theirs / mine:.1f}x", f"{off:.0e}"])
            print(f"{task.name} done", file=sys.stderr)
    head = ["task", "what", "PyTorch eager us/step", "deltarule us/step", "ratio", "difference of weights"]
    print(f"float32, {given.threads} thread(s){', too short to mean anything' if given.short else ''}")
    print(text_table(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
