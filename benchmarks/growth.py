"""How the time of a training grows with its samples, its width and its depth, beside its operations: table and plot.

Usage: python benchmarks/growth.py [--short] [--plot FILE]

Width and depth go by the multiply-adds of a step, on one core: a line of slope 1 is what the operations would have.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import deltarule as dr
from deltarule.records import text_table

BATCH = 64


def seconds_an_epoch(sizes: list[int], samples: int, repeats: int) -> float:
    net = dr.Network(sizes, "relu", "softmax", "log_likelihood", seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.random((samples, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], samples)
    settings = {"batch_size": BATCH, "optimizer": dr.SGD(1e-3), "progress": False, "threads": 1}
    net.fit(x, y, epochs=1, **settings)
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        net.fit(x, y, epochs=1, **settings)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def operations(sizes: list[int], samples: int) -> int:
    W = [n * m for n, m in itertools.pairwise(sizes)]
    return samples * (3 * sum(W) - W[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few and small: shows that it runs, not how it grows")
    parser.add_argument("--plot", type=Path, help="where to draw it, for instance growth.svg")
    given = parser.parse_args()
    few = slice(0, 2) if given.short else slice(None)
    studies = {
        "samples": [([64, 64, 10], N) for N in (2048, 8192, 32768, 131072, 524288)[few]],
        "width": [([n, n, n, 10], 2048) for n in (32, 64, 128, 256, 512, 1024, 2048)[few]],
        "depth": [([128] + [128] * depth + [10], 2048) for depth in (1, 2, 4, 8, 16, 32, 64)[few]],
    }
    found: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for study, cases in studies.items():
        for sizes, samples in cases:
            work = operations(sizes, samples)
            seconds = seconds_an_epoch(sizes, samples, 1 if given.short else 5)
            found.setdefault(study, []).append((work, seconds))
            shown = {"samples": samples, "width": sizes[0], "depth": len(sizes) - 2}[study]
            rows.append([study, f"{shown}", f"{1e3 * seconds:.2f}", f"{2e-9 * work / seconds:.1f}"])
    print(text_table(["what grows", "to", "ms an epoch", "Gflop/s"], rows))
    for study, points in found.items():
        work, seconds = np.log(np.array(points)).T
        print(f"{study}: time grows as operations to the power of {np.polyfit(work, seconds, 1)[0]:.2f}")
    if given.plot:
        draw(found, given.plot)
    return 0


def draw(found: dict[str, list[tuple[float, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(11, 3.6), layout="constrained", sharey=True)
    for ax, (study, points) in zip(axes, found.items(), strict=True):
        work, seconds = np.array(points).T
        ax.loglog(work, seconds, "o-", color="#0072B2", label="measured")
        ax.loglog(work, seconds[-1] * work / work[-1], "--", color="#888888", label="as the operations")
        ax.set(title=f"{study} grows", xlabel="multiply-adds an epoch")
    axes[0].set_ylabel("seconds an epoch")
    axes[0].legend()
    figure.savefig(path)
    print(f"drawn: {path}")


if __name__ == "__main__":
    sys.exit(main())
