"""The time of a prediction beside PyTorch, JAX and scikit-learn, for 1, 100 and 10 000 samples.

Usage: python benchmarks/predict.py [--short]

All sides have the same weights and must give the same outputs before they are timed. PyTorch runs in inference mode,
eager and compiled; JAX is jitted. Medians, every side with all cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from tasks import TASKS, Task

import deltarule as dr
from deltarule.records import text_table

BATCHES = (1, 100, 10_000)
SIGMA = {"sigmoid": torch.sigmoid, "relu": torch.relu, "tanh": torch.tanh}
JAX_SIGMA = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}

Predict = Callable[[np.ndarray], np.ndarray]


def pytorch(task: Task, net: dr.Network) -> Predict:
    layers: list[torch.nn.Module] = []
    for l in range(1, net.L + 1):
        linear = torch.nn.Linear(net.sizes[l - 1], net.sizes[l])
        linear.weight.data[:], linear.bias.data[:] = torch.from_numpy(net.W[l]), torch.from_numpy(net.b[l])
        layers.append(linear)

    def forward(x: torch.Tensor) -> torch.Tensor:
        for linear in layers[:-1]:
            x = SIGMA[task.hidden](linear(x))
        return layers[-1](x)

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return forward(torch.from_numpy(x)).numpy()

    return predict


def jitted(task: Task, net: dr.Network) -> Predict:
    parameters = [(jnp.array(net.W[l]), jnp.array(net.b[l])) for l in range(1, net.L + 1)]

    @jax.jit
    def forward(parameters, x):
        for W, b in parameters[:-1]:
            x = JAX_SIGMA[task.hidden](x @ W.T + b)
        W, b = parameters[-1]
        return x @ W.T + b

    return lambda x: np.asarray(forward(parameters, x))


def scikit_learn(task: Task, net: dr.Network) -> Predict:
    activation = {"sigmoid": "logistic"}.get(task.hidden, task.hidden)
    model = MLPRegressor(hidden_layer_sizes=net.sizes[1:-1], activation=activation, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.zeros((2, net.sizes[0]), np.float32), np.zeros((2, net.sizes[-1]), np.float32))
    for l in range(1, net.L + 1):
        model.coefs_[l - 1], model.intercepts_[l - 1] = net.W[l].T.copy(), net.b[l].copy()
    return lambda x: model.predict(x).reshape(len(x), -1)


def seconds(predict: Predict, x: np.ndarray, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        predict(x)
    return (time.perf_counter() - started) / repeats


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few repeats: shows that it runs, not how fast")
    short = parser.parse_args().short
    rows = []
    for task in TASKS:
        # Outputs without their last activation, which scikit-learn has for classes only.
        net = dr.Network(task.sizes, task.hidden, "identity", "quadratic", seed=0)
        sides = {
            "deltarule": net.predict,
            "PyTorch": pytorch(task, net),
            "JAX": jitted(task, net),
            "scikit-learn": scikit_learn(task, net),
        }
        for batch in BATCHES:
            x = np.random.default_rng(0).random((batch, task.sizes[0]), dtype=np.float32)
            right = net.predict(x)
            for name, predict in sides.items():
                off = np.linalg.norm(predict(x) - right) / np.linalg.norm(right)
                if not off < 1e-4:
                    raise SystemExit(f"{task.name}: {name} does not give our outputs (relative difference {off:.1e})")
            median = {}
            for name, predict in sides.items():
                if not short:
                    time.sleep(0.2)  # the thread pool of the side before spins on for a while before it sleeps
                once = max(seconds(predict, x, 2), 1e-6)
                repeats = 1 if short else max(3, int(0.02 / once))
                median[name] = statistics.median(seconds(predict, x, repeats) for _ in range(1 if short else 7))
            mine = median["deltarule"]
            fastest = min(value for name, value in median.items() if name != "deltarule")
            times = [f"{1e6 * one:.0f}" for one in median.values()]
            rows.append([task.name, "-".join(map(str, task.sizes)), f"{batch}", *times, f"{fastest / mine:.1f}x"])
            print("  ".join(rows[-1]), file=sys.stderr)
    print(f"microseconds a prediction, float32{', too short to mean anything' if short else ''}")
    print(text_table(["task", "network", "samples", *sides, "fastest peer / ours"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
