"""Two papers' settings for rules that replace the transpose, on MNIST, shortened to what a small machine allows.

Usage: DELTARULE_MNIST=DIR python benchmarks/rules.py [--epochs 12] [--short]

Lillicrap et al. 2016: 784-1000-10, logistic, squared error. They trained one sample at a time with a rate of 1e-3
until it no longer improved; that takes hours, so here Adam (1e-3) takes batches of 100 for a few epochs.
Nokland 2016: 784-800-800-10, tanh, logistic output, cross-entropy, RMSProp 1e-4, batches of 64. Their 300 epochs are
a few here, and the rest as they had it.

Both train on all 60 000 images and are judged on the 10 000 test images after the last epoch, one seed. The errors
are therefore above the papers'; what is to be seen is that they fall alike, and the angles.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass

import numpy as np

import deltarule as dr
from deltarule.records import text_table


@dataclass(frozen=True)
class Setting:
    """A paper's network, and the error in per cent that it gives for each rule."""

    paper: str
    sizes: tuple[int, ...]
    hidden: str
    cost: str
    optimizer: dr.Optimizer
    batch: int
    errors: dict[str, float]


SETTINGS = [
    Setting("Lillicrap 2016", (784, 1000, 10), "sigmoid", "quadratic", dr.Adam(1e-3), 100,
            {"transpose": 2.4, "random": 2.1}),
    Setting("Nokland 2016", (784, 800, 800, 10), "tanh", "cross_entropy", dr.RMSProp(1e-4, 0.99), 64,
            {"transpose": 1.60, "random": 1.64, "direct": 1.74}),
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--short", action="store_true", help="1 000 images, one epoch: shows that it runs")
    given = parser.parse_args()
    folder = os.environ.get("DELTARULE_MNIST")
    if not folder:
        print("DELTARULE_MNIST does not name the folder of MNIST's IDX files", file=sys.stderr)
        return 0 if given.short else 2
    split = dr.data.mnist(folder)
    x = np.concatenate([split.train.x, split.validation.x])
    y = np.concatenate([split.train.y, split.validation.y])
    epochs = given.epochs
    if given.short:
        x, y, epochs = x[:1000], y[:1000], 1
    rows = []
    for setting in SETTINGS:
        for rule, published in setting.errors.items():
            net = dr.Network(setting.sizes, setting.hidden, "sigmoid", setting.cost, seed=0)
            history = net.fit(
                x, y, epochs=epochs, batch_size=setting.batch, optimizer=setting.optimizer, rule=rule,
                validation=split.test,
            )  # fmt: skip
            missed = [f"{100 * (1 - right):.2f}" for right in history.validation.accuracy]
            angle = ", ".join(f"{one:.0f}" for one in history.angle[-1]) if history.angle else "0"
            what = f"{'-'.join(map(str, setting.sizes))} {setting.hidden}"
            rows.append(
                [setting.paper, what, rule, published, missed[0], missed[-1], angle, f"{sum(history.seconds):.0f}"]
            )
            print(f"{setting.paper}, {rule}: done", file=sys.stderr)
    head = ["paper", "network", "rule", "paper's error %", "after epoch 1", f"after {epochs}", "degrees", "seconds"]
    print(text_table(head, rows))
    print("degrees: between the rule's delta^l and the true error of each hidden layer, after the last epoch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
