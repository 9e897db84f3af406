"""What the ranks of test_distributed run: every training twice, together and alone, and every error, in one launch.

Each rank writes what it has found to FOLDER/RANK.json.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np

import deltarule as dr
from deltarule import shared
from deltarule.interop import distributed

DIGITS = dr.data.digits("float64")
X, Y = DIGITS.train.x[:100], DIGITS.train.y[:100]
MANY = np.random.default_rng(0).normal(size=(5000, 64))

TRAININGS = {
    # 100 samples in batches of 33: shares of 11, and a last batch of one sample, which leaves two ranks without work.
    **{name: {"optimizer": name} for name in ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")},
    "sgd, l2": {"optimizer": "sgd", "l2": 0.01},
    "sgd, l1 and l2": {"optimizer": "sgd", "l1": 0.001, "l2": 0.01},
    "adam, l1 and l2": {"optimizer": "adam", "l1": 0.001, "l2": 0.01},
    "unequal shares": {"batch_size": 10},
    "a batch for each sample of each rank": {"batch_size": 3},
    "one batch": {"batch_size": 100},
    "a batch in parts, by two threads": {"x": MANY, "y": MANY[:, 0] > 0, "batch_size": 5000, "threads": 2},
    "a batch by two threads": {"batch_size": 64, "threads": 2, "sizes": [64, 300, 300, 10]},
    "in order": {"shuffle": False},
    "targets that are values": {"y": np.sin(X[:, :10])},
    "weights": {"sample_weight": np.arange(100) % 7},
    "samples that weigh nothing": {"sample_weight": np.arange(100) > 90, "shuffle": False},
    "early stopping": {"early_stopping": dr.EarlyStopping(2), "optimizer": "adam", "epochs": 20, "eta": 0.05},
    "a schedule that looks back": {
        "schedule": dr.OnPlateau(patience=1),
        "epochs": 12,
        "eta": 1.0,
        "validation": None,
    },
    "sign": {"rule": "sign"},
    "direct": {"rule": "direct"},
    "kolen_pollack": {"rule": "kolen_pollack"},
    "float32": {"dtype": "float32", "epochs": 5},
}

BAD = np.where(np.arange(100)[:, None] == 99, 1e200, X)


def network(sizes, dtype):
    return dr.Network(sizes, "tanh", "softmax", "log_likelihood", dtype=dtype, seed=0)


def fit(ranks=None, shift=0.0, **given):
    """Network and history of one training of the table above; the first weights are moved by `shift`."""
    given = dict(given)
    net = network(given.pop("sizes", [64, 20, 20, 10]), given.pop("dtype", "float64"))
    kind = given.pop("optimizer", "momentum")
    eta = given.pop("eta", 0.01)
    optimizer = type(dr.optimizers.optimizer(kind))(eta)
    x, y = given.pop("x", X), given.pop("y", Y)
    if np.ndim(y) == 2:
        net = dr.Network(net.sizes, "tanh", "identity", dtype=net.dtype, seed=0)
        validation = (x[:30], y[:30])
    else:
        validation = DIGITS.validation if len(x) == len(X) else None
    net.theta += shift
    settings = {"epochs": 3, "batch_size": 33, "validation": validation, "progress": False, **given}
    return net, net.fit(x, y, optimizer=optimizer, ranks=ranks, **settings)


def compared(ranks, given, shift=0.0):
    """How far apart the weights are that all reach together and one alone, and whether the records agree."""
    net, history = fit(ranks, shift, **given)
    alone, record = fit(**given)
    bits = ranks.gather(hashlib.sha256(net.theta.tobytes()).hexdigest())
    costs = [np.array([*h.cost, *(h.validation.cost if h.validation else ())]) for h in (history, record)]
    return {
        "apart": float(abs(net.theta - alone.theta).max() / abs(alone.theta).max()),
        "moved": float(abs(net.theta - network(net.sizes, net.dtype).theta).max()),
        "same on all ranks": len(set(bits)) == 1,
        "cost": float(abs(costs[0] / costs[1] - 1).max()) if len(costs[0]) == len(costs[1]) else math.inf,
        "records": [
            [[*h.accuracy, *h.eta, *(h.validation.accuracy if h.validation else ())], [h.stopped, h.best_epoch]]
            for h in (history, record)
        ],
        "generator": net.rng.bit_generator.state == alone.rng.bit_generator.state,
        "ranks": history.sharing.ranks,
    }


def said(name, ranks, given):
    """The error of a training, and that all ranks are together again after it."""
    try:
        fit(ranks, **given)
        found = "no error"
    except dr.errors.DeltaruleError as error:
        found = f"{type(error).__name__}: {error}"
    assert ranks is None or ranks.gather(name) == [name] * ranks.size
    return found


def errors(ranks):
    """What each of these mistakes raises here."""
    own = ranks.rank
    mistakes = {
        "dropout": {"dropout": 0.5},
        "function": {"rule": lambda delta, W: delta @ W},
        "batch": {"batch_size": 2},
        "settings": {"l2": 0.1 * (own == 1)},
        "data": {"x": X + (own == 2)},
        "width": {"x": X[:, : 64 - (own == 1)]},
        "diverged": {"x": BAD, "eta": 1e200, "shuffle": False, "optimizer": "sgd", "validation": None},
    }
    found = {name: said(name, ranks, mistake) for name, mistake in mistakes.items()}
    return {**found, "diverged alone": said("alone", None, mistakes["diverged"])}


class Rounding:
    """Ranks of which the second rounds another way: after each sum it is off in the last digits."""

    def __init__(self, ranks):
        self.ranks, self.rank, self.size = ranks, ranks.rank, ranks.size
        self.gather, self.share, self.broadcast = ranks.gather, ranks.share, ranks.broadcast

    def sum(self, array):
        self.ranks.sum(array)
        array[:-2] *= 1 + 1e-15 * (self.rank == 1)


def main():
    folder = Path(sys.argv[1])
    shared.TRIAL_SECONDS = 0.01
    with distributed.ranks(timeout=60) as ranks:
        found = {name: compared(ranks, given) for name, given in TRAININGS.items()}
        found["another rounding"] = compared(Rounding(ranks), {"optimizer": "adam"})
        found["other weights at first"] = compared(ranks, {}, shift=0.1 * ranks.rank)
        found["errors"] = errors(ranks)
        seen = fit(ranks, watch=True)[1].flow
        found["watched"] = None if seen is None else [len(seen.steps), bool(np.isfinite(seen.delta).all())]
        (folder / f"{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
