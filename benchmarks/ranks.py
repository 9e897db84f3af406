"""An epoch by one process and by ranks of one thread each, on this machine: seconds, communication, speed-up.

Usage: python benchmarks/ranks.py [--short] [--ranks 2]

It starts the ranks itself, by torchrun. Both sides are first shown to reach the same weights. The first of them also
measures a sum over the ranks for messages of several lengths: the latency and the bandwidth of docs/distributed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import deltarule as dr
from deltarule.interop import distributed
from deltarule.records import text_table

CASES = [
    ([64, 30, 10], 10, dr.SGD, 40),
    ([784, 256, 256, 10], 128, dr.Adam, 40),
    ([784, 1024, 1024, 1024, 10], 256, dr.SGD, 10),
    ([784, 4096, 4096, 10], 512, dr.SGD, 6),
]
"""Sizes, samples in a batch, optimiser, steps in an epoch."""

MESSAGES = [2, 1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 24]


def trained(case, threads, ranks=None):
    """Seconds of the best epoch of three, and the network: the median of so few would still hold the start."""
    sizes, batch, optimizer, steps = case
    rng = np.random.default_rng(0)
    x, y = rng.random((batch * steps, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch * steps)
    net = dr.Network(sizes, "relu", "softmax", "log_likelihood", seed=0)
    history = net.fit(
        x, y, epochs=3, batch_size=batch, optimizer=optimizer(1e-3), progress=False, threads=threads, ranks=ranks
    )
    return min(history.seconds), net, history


def sums(ranks):
    """Seconds of a sum over the ranks, by the number of float32 in it."""
    found = []
    for count in MESSAGES:
        array, taken = np.zeros(count, np.float32), []
        for _ in range(200 if count < 1 << 16 else 5):
            ranks.gather(None)
            started = time.perf_counter()
            ranks.sum(array)
            taken.append(time.perf_counter() - started)
        found.append(statistics.median(taken))
    return found


def follow(cases, folder):
    """What a rank does; the first writes what it came to."""
    with distributed.ranks() as ranks:
        found = []
        for number, case in enumerate(cases):
            seconds, net, history = trained(case, 1, ranks)
            found.append([seconds, history.sharing.communication])
            if ranks.rank == 0:
                net.save(folder / f"{number}.safetensors")
        messages = sums(ranks)
    if ranks.rank == 0:
        (folder / "found.json").write_text(json.dumps([found, messages]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the small networks only")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cases = CASES[:2] if given.short else CASES
    if given.folder is not None:
        follow(cases, given.folder)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(given.ranks)]
        flags = ["--short"] if given.short else []
        subprocess.run(
            [*start, __file__, *flags, "--folder", name], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        found, messages = json.loads((folder / "found.json").read_text())
        rows = []
        for number, (case, (seconds, communication)) in enumerate(zip(cases, found, strict=True)):
            alone, net, _ = trained(case, 1)
            threads, _, _ = trained(case, given.ranks)
            shared = dr.load(folder / f"{number}.safetensors")
            apart = float(abs(shared.theta - net.theta).max() / abs(net.theta).max())
            assert apart < 1e-4, f"{case}: the weights are {apart:.1g} apart"
            sizes, batch, optimizer, steps = case
            each = [f"{1e3 * one / steps:.3g}" for one in (alone, threads, seconds)]
            rows.append(
                ["-".join(map(str, sizes)), f"{batch}, {optimizer.__name__}", f"{net.theta.size:,}", *each,
                 f"{communication:.0%}", f"{alone / seconds:.2g}x", f"{apart:.0e}"]
            )  # fmt: skip
    head = ["network", "batch", "numbers in a sum", "ms, 1 thread", f"ms, {given.ranks} threads",
            f"ms, {given.ranks} ranks", "communication", "speed-up", "apart"]  # fmt: skip
    print("Milliseconds a step; the speed-up is over one process of one thread")
    print(text_table(head, rows))
    sent = [[f"{4 * count:,}", f"{1e6 * s:.0f}", f"{4 * count / s / 1e9:.2g}"]
            for count, s in zip(MESSAGES, messages, strict=True)]  # fmt: skip
    print(text_table(["bytes in a sum", "microseconds", "GB/s"], sent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
