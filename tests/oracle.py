"""An independent oracle: the same network in PyTorch, its deltas by autograd, in float64.

It imports nothing from the package, and takes nothing from it but names and numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIGMA = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": lambda z: F.softplus(z, threshold=1000),
    "softsign": F.softsign,
    "identity": lambda z: z,
    "exp": torch.exp,
    "softmax": lambda z: F.softmax(z, dim=1),
}

COST = {
    "quadratic": lambda a, y: 0.5 * ((a - y) ** 2).sum(1),
    "cross_entropy": lambda a, y: F.binary_cross_entropy(a, y, reduction="none").sum(1),
    "log_likelihood": lambda a, y: -torch.xlogy(y, a).sum(1),
    "huber": lambda a, y: F.huber_loss(a, y, reduction="none").sum(1),
    "absolute": lambda a, y: (a - y).abs().sum(1),
    "poisson": lambda a, y: (a - torch.xlogy(y, a)).sum(1),
    "poisson_deviance": lambda a, y: (a - y + torch.xlogy(y, y) - torch.xlogy(y, a)).sum(1),
    "log_cosh": lambda a, y: torch.log(torch.cosh(a - y)).sum(1),
}


def backprop(W, b, activations, cost, x, y):
    """(C of each sample, delta of each layer, mean gradients of W, of b); lists over layers 1..L."""
    W = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in W]
    b = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in b]
    a = torch.tensor(x, dtype=torch.float64)
    zs = []
    for w, v, name in zip(W, b, activations, strict=True):
        z = a @ w.T + v
        z.retain_grad()
        zs.append(z)
        a = SIGMA[name](z)
    C = COST[cost](a, torch.tensor(y, dtype=torch.float64))
    C.sum().backward()
    N = len(x)
    return (
        C.detach().numpy(),
        [z.grad.numpy() for z in zs],
        [w.grad.numpy() / N for w in W],
        [v.grad.numpy() / N for v in b],
    )
