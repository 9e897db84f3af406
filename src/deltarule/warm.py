"""The kernels compiled ahead of their first use: when a container is built, or a read-only install is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deltarule.network import Network


def compile_kernels(say: Callable[[str], None] = lambda text: None) -> Path | None:
    """Compile what `fit`, `predict` and `backprop` call, for float32 and float64, where it is not on disk yet.

    Returns the folder in which the compiled code lies, None where no folder can be written: then every process
    compiles for itself. `say` is called with a line for each dtype.

    >>> from deltarule.warm import compile_kernels
    >>> folder = compile_kernels()
    """
    from deltarule.kernels.train import train

    x, y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
    for dtype in ("float32", "float64"):
        started = time.perf_counter()
        net = Network([2, 2], dtype=dtype, seed=0)
        net.fit(x, y, epochs=1, progress=False)
        net.predict(x)
        net.mean_cost(x, y)
        net.backprop(x, y)
        say(f"{dtype}: ready after {time.perf_counter() - started:.1f} s")
    folder = train.stats.cache_path
    return Path(folder) if folder else None
