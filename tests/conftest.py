"""What all tests share: Hypothesis' profile, MNIST's place, and how two arrays are compared."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

pytest_plugins = ["browser"]

# Compiled code makes the first example slow and the rest fast: a deadline would judge the compiler.
settings.register_profile("deltarule", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("deltarule")


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder of MNIST's IDX files, named by DELTARULE_MNIST; without it the test is skipped."""
    folder = os.environ.get("DELTARULE_MNIST")
    if not folder:
        pytest.skip("DELTARULE_MNIST is not set: it names the folder of MNIST's four IDX files")
    return Path(folder)


def relative(computed, true, terms=0.0) -> float:
    """|computed - true| / |true| over a whole array; 0 where both are zero throughout.

    The floor under |true| is a hundred-thousandth of `terms`, the size of what was added up to give it: a sum
    that cancels to zero is not asked to be zero to the last bit.
    """
    true = np.asarray(true, np.float64)
    size = max(np.linalg.norm(true), 1e-5 * np.linalg.norm(terms))
    off = np.linalg.norm(np.asarray(computed, np.float64) - true)
    assert np.isfinite(off)
    return 0.0 if off == 0 else float(off / size) if size > 0 else float("inf")
