"""The worst error of the compiled e^x, sigmoid and tanh over every float32 that there is, in units in the last place.

Usage: python benchmarks/ulps.py [--short] [--functions tanh,...]

Each result is held against NumPy's in float64, for all 2^32 patterns of bits but infinities and NaNs. A unit is the
distance of the true value to the next float32, subnormals included. `--short` takes every 1009th.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
import numpy.typing as npt

from deltarule.cores import cores
from deltarule.kernels import elementwise, exponentials
from deltarule.records import text_table

Array = npt.NDArray[np.float32]
True64 = npt.NDArray[np.float64]
AT_ONCE = 2**20

nogil = numba.njit(nogil=True)


@nogil
def exp(z: Array, a: Array, slope: Array) -> None:
    for i in range(z.size):
        a[i] = slope[i] = exponentials.exp(z[i])


@nogil
def sigmoid(z: Array, a: Array, slope: Array) -> None:
    elementwise.sigmoid(z, a, slope)


@nogil
def tanh(z: Array, a: Array, slope: Array) -> None:
    elementwise.tanh(z, a, slope)


def true_exp(z: True64) -> tuple[True64, True64]:
    value = np.exp(z)
    return value, value


def true_sigmoid(z: True64) -> tuple[True64, True64]:
    t = np.exp(-abs(z))
    return np.where(z >= 0, 1, t) / (1 + t), t / (1 + t) ** 2


def true_tanh(z: True64) -> tuple[True64, True64]:
    t = np.exp(-2 * abs(z))
    return np.tanh(z), 4 * t / (1 + t) ** 2


FUNCTIONS: dict[str, tuple[Callable[..., None], Callable[[True64], tuple[True64, True64]]]] = {
    "exp": (exp, true_exp),
    "sigmoid": (sigmoid, true_sigmoid),
    "tanh": (tanh, true_tanh),
}


def worst(name: str, stride: int, first: int) -> list[tuple[float, float]]:
    """(error, z) of the value and of the slope where they are largest, among AT_ONCE numbers from `first` on."""
    ours, truth = FUNCTIONS[name]
    bits = np.arange(first, min(first + AT_ONCE * stride, 2**32), stride, dtype=np.uint64).astype(np.uint32)
    z = bits.view(np.float32)
    z = z[np.isfinite(z)]
    if z.size == 0:
        return [(0.0, 0.0)] * 2
    computed = np.empty_like(z), np.empty_like(z)
    ours(z, *computed)
    found = []
    with np.errstate(over="ignore", under="ignore"):
        for mine, true in zip(computed, truth(z.astype(np.float64)), strict=True):
            rounded = true.astype(np.float32)
            off = abs(mine.astype(np.float64) - true) / np.spacing(abs(rounded)).astype(np.float64)
            off[mine == rounded] = np.minimum(off[mine == rounded], 0.5)  # infinity is right beyond the largest
            i = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
            found.append((float(off[i]), float(z[i])))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="every 1009th number")
    parser.add_argument("--functions", default=",".join(FUNCTIONS), help="only these, with commas between")
    given = parser.parse_args()
    stride = 1009 if given.short else 1
    rows = []
    with ThreadPoolExecutor(cores()) as pool:
        for name in given.functions.split(","):
            starts = range(0, 2**32, AT_ONCE * stride)
            found = list(pool.map(partial(worst, name, stride), starts))
            value, slope = (max(part, key=lambda one: one[0]) for part in zip(*found, strict=True))
            line = [name, f"{value[0]:.3f}", f"{value[1]!r}", f"{slope[0]:.3f}", f"{slope[1]!r}"]
            rows.append(line)
            print("  ".join(line), file=sys.stderr, flush=True)
    print(f"float32, {'every 1009th number' if given.short else 'all numbers'}, units in the last place")
    print(text_table(["function", "value off by", "at", "slope off by", "at"], rows))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
