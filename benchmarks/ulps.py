"""The worst error of the compiled e^x, ln x, sigmoid and tanh over every float32, in units in the last place.

Usage: python benchmarks/ulps.py [--short] [--functions tanh,...]

Each result is held against the C library's in float64, for all 2^32 patterns of bits but infinities and NaNs. A unit
is the distance of the true value, rounded, to the next float32, subnormals included. `--short` takes every 1009th.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import numba
import numpy as np

from deltarule.cores import cores
from deltarule.kernels import elementwise, exponentials
from deltarule.records import text_table

AT_ONCE = 2**14
TASKS = 256
UNITS = np.array([2.0 ** (max(e, 1) - 150) for e in range(255)])
"""The unit of a float32 by its exponent's bits."""

nogil = numba.njit(nogil=True, error_model="numpy")


@nogil
def exp(z, a, slope):
    for i in range(z.size):
        a[i] = slope[i] = exponentials.exp(z[i])


@nogil
def ln(z, a, slope):
    for i in range(z.size):
        a[i] = slope[i] = exponentials.ln(abs(z[i]))


@nogil
def sigmoid(z, a, slope):
    elementwise.sigmoid(z, a, slope)


@nogil
def tanh(z, a, slope):
    elementwise.tanh(z, a, slope)


@nogil
def true_exp(z):
    return math.exp(z), math.exp(z)


@nogil
def true_ln(z):
    return math.log(abs(z)), math.log(abs(z))


@nogil
def true_sigmoid(z):
    t = math.exp(-abs(z))
    return (1 if z >= 0 else t) / (1 + t), t / ((1 + t) * (1 + t))


@nogil
def true_tanh(z):
    t = math.exp(-2 * abs(z))
    return math.tanh(z), 4 * t / ((1 + t) * (1 + t))


@nogil
def off(computed, true):
    """How many units of the true value they differ by; a NaN, or an infinity that is wrong, by infinitely many."""
    rounded = np.float32(true)
    if computed == rounded and abs(true) > 3.4028234663852886e38:
        return 0.0
    exponent = math.frexp(np.float64(rounded))[1] + 126 if rounded != 0 else 0
    error = abs(np.float64(computed) - true) / UNITS[min(max(exponent, 0), 254)]
    return error if error == error else math.inf


def checker(ours: Any, truth: Any) -> Callable[[int, int, int], tuple[float, float, float, float]]:
    """The compiled check of the numbers whose bits are first, first + stride, .. below end."""

    @nogil
    def check(first, end, stride):
        bits = np.empty(AT_ONCE, np.uint32)
        z = bits.view(np.float32)
        a, slope = np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32)
        worst_a = worst_slope = at_a = at_slope = 0.0
        while first < end:
            count = min(AT_ONCE, (end - first + stride - 1) // stride)
            for i in range(AT_ONCE):
                bits[i] = first + min(i, count - 1) * stride
            ours(z, a, slope)
            for i in range(count):
                x = np.float64(z[i])
                if not abs(x) < math.inf:
                    continue
                true_a, true_slope = truth(x)
                error = off(a[i], true_a)
                if error > worst_a:
                    worst_a, at_a = error, x
                error = off(slope[i], true_slope)
                if error > worst_slope:
                    worst_slope, at_slope = error, x
            first += count * stride
        return worst_a, at_a, worst_slope, at_slope

    return check


FUNCTIONS = {
    "exp": checker(exp, true_exp),
    "ln": checker(ln, true_ln),
    "sigmoid": checker(sigmoid, true_sigmoid),
    "tanh": checker(tanh, true_tanh),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="every 1009th number")
    parser.add_argument("--functions", default=",".join(FUNCTIONS), help="only these, with commas between")
    given = parser.parse_args()
    stride = 1009 if given.short else 1
    rows = []
    with ThreadPoolExecutor(cores()) as pool:
        for name in given.functions.split(","):
            step = 2**32 // TASKS
            firsts = range(0, 2**32, step)
            found = list(pool.map(FUNCTIONS[name], firsts, (first + step for first in firsts), repeat(stride)))
            value = max((one[:2] for one in found), key=lambda one: one[0])
            slope = max((one[2:] for one in found), key=lambda one: one[0])
            line = [name, f"{value[0]:.3f}", f"{value[1]!r}", f"{slope[0]:.3f}", f"{slope[1]!r}"]
            rows.append(line)
            print("  ".join(line), file=sys.stderr, flush=True)
    print(f"float32, {'every 1009th number' if given.short else 'all numbers'}, units in the last place")
    print(text_table(["function", "value off by", "at", "slope off by", "at"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
