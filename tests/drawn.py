"""Networks drawn at random for tests: every activation, every sensible pair of output and cost."""

from __future__ import annotations

import numpy as np

import deltarule as dr

HIDDEN = [name for name in dr.ACTIVATIONS if name not in ("softmax", "exp")]  # exp behind exp leaves all numbers
PAIRS = [(output, name) for name, cost in dr.COSTS.items() for output in cost.outputs]


def network(sizes, hidden, output, cost, dtype="float64", seed=0, scale=1.5):
    """A network whose weights are large enough that every part of its activations is visited."""
    net = dr.Network(sizes, hidden, output, cost, "nielsen_scaled", dtype, seed)
    for W in net.W:
        W *= scale
    return net


def samples(net, N, seed=1):
    """N samples, and targets that the cost can take."""
    rng = np.random.default_rng(seed)
    n_out = net.sizes[-1]
    x = rng.normal(size=(N, net.sizes[0]))
    if net.cost.name == "log_likelihood":
        y = np.eye(n_out)[rng.integers(0, n_out, N)]
    elif net.cost.name == "cross_entropy":
        y = rng.random((N, n_out))
    elif net.cost.name.startswith("poisson"):
        y = rng.integers(0, 4, (N, n_out)).astype(float)
    else:
        y = rng.normal(size=(N, n_out))
    return x.astype(net.dtype), y.astype(net.dtype)
