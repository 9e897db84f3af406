"""The same training by each side, as its users write it when they want it fast.

A side is a function of (task, x, y, threads) that gives (train for so many epochs, every W and b as they are now).
All take the same initial weights and the same batches in the same order.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tasks import Task

import deltarule as dr

Side = tuple[Callable[[int], None], Callable[[], list[np.ndarray]]]

torch._logging.set_logs(all=logging.ERROR)

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

SIGMA = {"sigmoid": torch.sigmoid, "relu": F.relu, "tanh": torch.tanh}
COST = {
    "quadratic": lambda a, y: 0.5 * ((a - y) ** 2).sum(1).mean(),
    "cross_entropy": lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1).mean(),
    "log_likelihood": lambda z, y: F.cross_entropy(z, y),
}


def ours(task: Task, x: np.ndarray, y: np.ndarray, threads: int, watch: bool = False) -> Side:
    net = task.network()
    optimizer = dr.SGD(task.eta) if task.optimizer == "sgd" else dr.Adam(task.eta)

    def train(epochs: int) -> None:
        net.fit(x, y, epochs=epochs, batch_size=task.batch, optimizer=optimizer, shuffle=False, progress=False,
                threads=threads if task.shared else 1, watch=watch)  # fmt: skip

    return train, lambda: [one.copy() for layer in zip(net.W, net.b, strict=True) for one in layer]


def pytorch(task: Task, x: np.ndarray, y: np.ndarray, threads: int, compiled: bool = False) -> Side:
    net = task.network()
    layers = [torch.nn.Linear(n_in, n_out) for n_in, n_out in zip(task.sizes, task.sizes[1:], strict=False)]
    for l, layer in enumerate(layers, 1):
        layer.weight.data[:], layer.bias.data[:] = torch.from_numpy(net.W[l]), torch.from_numpy(net.b[l])
    parameters = [p for layer in layers for p in layer.parameters()]
    make = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam
    optimizer = make(parameters, task.eta)
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)

    def cost(a: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for layer in layers[:-1]:
            a = SIGMA[task.hidden](layer(a))
        a = layers[-1](a)
        if task.cost == "quadratic" and task.output != "identity":
            a = SIGMA[task.output](a)
        return COST[task.cost](a, y)

    step = optimizer.step
    if compiled:
        torch._dynamo.reset()
        cost, step = torch.compile(cost), torch.compile(step)

    def train(epochs: int) -> None:
        torch.set_num_threads(threads)
        for _ in range(epochs):
            for start in range(0, task.samples, task.batch):
                value = cost(xs[start : start + task.batch], ys[start : start + task.batch])
                optimizer.zero_grad()
                value.backward()
                step()

    return train, lambda: [p.detach().numpy() for p in parameters]


def jax_scan(task: Task, x: np.ndarray, y: np.ndarray, threads: int) -> Side:
    """An epoch is one compiled call: a scan over its batches, with the parameters given away to it.

    XLA takes the threads of its own pool; what it may use is what the process may use.
    """
    net = task.network()
    parameters = [(jnp.array(net.W[l]), jnp.array(net.b[l])) for l in range(1, net.L + 1)]
    sigma = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}
    xs = jnp.asarray(x).reshape(task.steps, task.batch, -1)
    ys = jnp.asarray(y).reshape(task.steps, task.batch, *y.shape[1:])

    def cost(parameters: Any, x: Any, y: Any) -> Any:
        a = x
        for W, b in parameters[:-1]:
            a = sigma[task.hidden](a @ W.T + b)
        W, b = parameters[-1]
        z = a @ W.T + b
        if task.cost == "quadratic":
            a = z if task.output == "identity" else sigma[task.output](z)
            return 0.5 * ((a - y) ** 2).sum(1).mean()
        if task.cost == "cross_entropy":
            return (jax.nn.softplus(z) - y * z).sum(1).mean()
        return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()

    def step(state: Any, batch: Any) -> Any:
        parameters, m, v, t = state
        grad = jax.grad(cost)(parameters, *batch)
        t = t + 1
        if task.optimizer == "sgd":
            return (jax.tree.map(lambda p, g: p - task.eta * g, parameters, grad), m, v, t), None
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grad)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grad)
        rate, unbias = task.eta / (1 - BETA1**t), 1 / jnp.sqrt(1 - BETA2**t)
        move = partial(jax.tree.map, lambda p, m, v: p - rate * m / (jnp.sqrt(v) * unbias + EPSILON))
        return (move(parameters, m, v), m, v, t), None

    if task.steps == 1:
        epoch = jax.jit(lambda state, x, y: step(state, (x[0], y[0]))[0], donate_argnums=0)
    else:
        epoch = jax.jit(lambda state, x, y: jax.lax.scan(step, state, (x, y))[0], donate_argnums=0)
    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = [(parameters, zeros(parameters), zeros(parameters), jnp.float32(0))]

    def train(epochs: int) -> None:
        for _ in range(epochs):
            state[0] = epoch(state[0], xs, ys)
        jax.block_until_ready(state[0])

    return train, lambda: [np.asarray(one) for layer in state[0][0] for one in layer]


def scikit_learn(task: Task, x: np.ndarray, y: np.ndarray, threads: int) -> Side:
    """MLPClassifier or MLPRegressor. For sigmoid with the quadratic cost, which it lacks, its cross-entropy."""
    net = task.network()
    kind = MLPRegressor if task.output == "identity" else MLPClassifier
    if task.output == "sigmoid":
        y = (y > 0.5).astype(int)
    model = kind(
        hidden_layer_sizes=task.sizes[1:-1],
        activation={"sigmoid": "logistic"}.get(task.hidden, task.hidden),
        solver=task.optimizer,
        alpha=0.0,
        batch_size=task.batch,
        learning_rate_init=task.eta,
        momentum=0.0,
        max_iter=1,
        shuffle=False,
        tol=0.0,
        n_iter_no_change=10**9,
        warm_start=True,
    )
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

    def fit() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y)

    fit()  # the first call draws weights; the next goes on from what stands there, with a new optimiser
    for l in range(1, net.L + 1):
        model.coefs_[l - 1] = net.W[l].T.copy()
        model.intercepts_[l - 1] = net.b[l].copy()

    def train(epochs: int) -> None:
        model.max_iter = epochs
        fit()

    return train, lambda: [one for W, b in zip(model.coefs_, model.intercepts_, strict=True) for one in (W.T, b)]


SIDES: dict[str, Callable[..., Side]] = {
    "deltarule": ours,
    "PyTorch eager": pytorch,
    "torch.compile": partial(pytorch, compiled=True),
    "JAX scan": jax_scan,
    "scikit-learn": scikit_learn,
}
