"""The time of a training step beside PyTorch eager, torch.compile, JAX and scikit-learn, and beside the machine.

Usage: python benchmarks/step.py [--short] [--threads N] [--tasks T1,T5] [--without torch.compile,...]

Before anything is timed, all sides train from the same weights over the same batches in float32 and must reach
the same weights. Then they are timed in turn, several times; the table shows medians. The limit is a step's
multiplications and additions at the best rate of BLAS's matrix product, measured in the same run on as many cores as
the step uses: one, where a step is over before a second core could help. `--short` takes few steps: it shows
that all of it runs and agrees, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from deltarule.cores import cores

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--short", action="store_true", help="few steps: shows that it runs, not how fast")
parser.add_argument("--threads", type=int, default=cores(), help="the same on all sides; all cores, if not given")
parser.add_argument("--tasks", default="", help="only these, with commas between")
parser.add_argument("--without", default="", help="leave out these sides, with commas between")
given = parser.parse_args()
if hasattr(os, "sched_setaffinity"):  # XLA takes every core that it may use, so all sides may use so many
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])

import torch  # noqa: E402
from peers import SIDES, ours  # noqa: E402
from tasks import TASKS, Task  # noqa: E402

from deltarule.records import text_table  # noqa: E402

SECONDS = 0.15
"""About how long our side is timed for, each time; the others take as many steps."""

AGREED = 1e-3
"""The largest relative difference after about twenty steps."""


def sgemm_rate(threads: int, seconds: float = 0.3) -> float:
    """The best rate of a large product in float32, in multiply-adds a second."""
    best = 0.0
    with threadpool_limits(threads):
        for n in (256, 512, 1024):
            x = np.random.default_rng(0).random((n, n), dtype=np.float32)
            z = x @ x
            ends = time.perf_counter() + seconds
            while time.perf_counter() < ends:
                started = time.perf_counter()
                np.matmul(x, x, out=z)
                best = max(best, n**3 / (time.perf_counter() - started))
    return best


def difference(
    task: Task, name: str, x: np.ndarray, y: np.ndarray, theirs: list[np.ndarray], mine: list[np.ndarray]
) -> float:
    """The largest relative difference of a layer's parameters from ours.

    scikit-learn's Adam adds its epsilon elsewhere, which shows in parameters whose gradient is tiny: there it is
    the cost that is compared.
    """
    if name == "scikit-learn" and task.optimizer == "adam":
        net, costs = task.network(), []
        for parameters in (theirs, mine):
            for l in range(1, net.L + 1):
                net.W[l][:], net.b[l][:] = parameters[2 * l - 2], parameters[2 * l - 1]
            costs.append(float(net.backprop(x, y).cost.mean()))
        return abs(costs[0] - costs[1]) / costs[1]
    off = []
    for l in range(0, len(mine), 2):
        of_layer = [np.concatenate([one.ravel() for one in side[l : l + 2]]) for side in (theirs, mine)]
        off.append(float(np.linalg.norm(of_layer[0] - of_layer[1]) / np.linalg.norm(of_layer[1])))
    return max(off)


def require_agreement(task: Task, x: np.ndarray, y: np.ndarray, names: list[str]) -> float:
    """Train all sides for about twenty steps; how far the farthest is from ours."""
    n = min(task.samples, 20 * task.batch)
    reached = {}
    for name in names:
        train, parameters = SIDES[name](task.of(n), x[:n], y[:n], given.threads)
        train(1 if task.batch < n else 5)
        reached[name] = parameters()
    worst = 0.0
    for name, theirs in reached.items():
        if name == "scikit-learn" and task.output == "sigmoid" and task.cost == "quadratic":
            continue  # it has only another cost for this output
        off = difference(task, name, x[:n], y[:n], theirs, reached["deltarule"])
        if not off < AGREED:
            raise SystemExit(f"{task.name}: {name} does not reach our weights (relative difference {off:.1e})")
        worst = max(worst, off)
    return worst


def microseconds(train: Callable[[int], None], steps: int, epochs: int) -> float:
    if not given.short:
        time.sleep(0.3)  # the thread pool of the side before spins on for a while before it sleeps
    started = time.perf_counter()
    train(epochs)
    return (time.perf_counter() - started) / (steps * epochs) * 1e6


def main() -> int:
    torch.set_num_threads(given.threads)
    wanted = [task for task in TASKS if not given.tasks or task.name in given.tasks.split(",")]
    names = [name for name in SIDES if name not in given.without.split(",")]
    rows = []
    with threadpool_limits(given.threads):
        rates = {n: sgemm_rate(n, 0.02 if given.short else 0.3) for n in {1, given.threads}}
        for task in wanted:
            x, y = task.data()
            off = require_agreement(task, x, y, names)
            sides = {name: SIDES[name](task, x, y, given.threads)[0] for name in names}
            sides["watched"] = partial(ours, watch=True)(task, x, y, given.threads)[0]
            times: dict[str, list[float]] = {name: [] for name in sides}
            for train in sides.values():
                train(1)  # compiles
            once = microseconds(sides["deltarule"], task.steps, 1)
            epochs = 1 if given.short else max(1, round(SECONDS * 1e6 / (once * task.steps)))
            for _ in range(1 if given.short else 7):
                for name, train in sides.items():
                    times[name].append(microseconds(train, task.steps, epochs))
            median = {name: statistics.median(times[name]) for name in sides}
            mine = median["deltarule"]
            used = given.threads if task.shared else 1
            limit = task.products / rates[used] * 1e6
            rows.append([
                task.name, str(task), f"{mine:.1f}",
                *(f"{median[name]:.0f} ({median[name] / mine:.1f}x)" for name in names[1:]),
                f"{limit:.1f} ({limit / mine:.2f})", f"{used}", f"{median['watched'] / mine - 1:+.0%}", f"{off:.0e}",
            ])  # fmt: skip
            print("  ".join(rows[-1]), file=sys.stderr)
    head = ["task", "what", *names, "limit", "cores", "watched", "difference"]
    print(f"microseconds a step, float32, {given.threads} thread(s); in brackets how many of ours that is")
    print("sgemm: " + ", ".join(f"{2e-9 * rate:.0f} Gflop/s on {n} core(s)" for n, rate in sorted(rates.items())))
    if given.short:
        print("too short to mean anything")
    print(text_table(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
