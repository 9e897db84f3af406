"""Which rows of a table train, which validate and which test: decided row after row, however many come."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput, is_number, require

Array = npt.NDArray[Any]

BLOCK = 20


class Division:
    """Which part each row of a table falls into: 0 trains, 1 validates, 2 tests.

    In every 20 rows one after another each part has its share, drawn at random within: a table that is sorted by its
    classes is divided evenly. It depends on the seed and the row's number alone.

    >>> np.bincount(Division(0.15, 0.15, seed=0).of(10_000)).tolist()
    [7000, 1500, 1500]
    """

    def __init__(self, validation: float, test: float, seed: int) -> None:
        for name, share in (("validation", validation), ("test", test)):
            require(name, share, is_number(share, 0, 1) and share < 1, "a share of the rows, from 0 up to 1")
        if validation + test >= 1:
            raise BadInput(f"validation {validation:g} and test {test:g} leave no rows to train on")
        self.shares = validation, test
        self.seed = seed
        self.start()

    def start(self) -> None:
        """Begin at the first row again."""
        self._places, self._within = (np.random.default_rng([self.seed, stream]) for stream in (0, 1))
        self._left = np.empty(0, np.int64)

    def of(self, count: int) -> Array:
        """The parts of the next `count` rows."""
        blocks = -(-max(count - len(self._left), 0) // BLOCK)
        if blocks:
            place = self._places.random((blocks, BLOCK)).argsort(axis=1).argsort(axis=1)
            at = (place + self._within.random((blocks, BLOCK))) / BLOCK
            validation, test = self.shares
            parts = np.where(at < validation, 1, np.where(at < validation + test, 2, 0))
            self._left = np.concatenate([self._left, parts.ravel()])
        taken, self._left = self._left[:count], self._left[count:]
        return taken
