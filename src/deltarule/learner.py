"""What is gathered of one column of a table, batch by batch, until it can be told what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.columns import Column, first_other, in_order, in_words, kind_of, require_finite, word
from deltarule.errors import BadInput

Array = npt.NDArray[Any]

MOST_NUMBERED_CLASSES = 20
"""A target of whole numbers is taken for classes if it has no more different ones than this."""

SAMPLE = 100_000
"""A median is exact up to so many rows; of more, it is that of so many drawn at random."""


class Learner:
    """What is gathered of one column, batch by batch, until it can be told what it is."""

    def __init__(self, name: str, as_words: bool, most_words: int, what: str = "column", sample: bool = True) -> None:
        self.name, self.as_words, self.most_words, self.what, self.sample = name, as_words, most_words, what, sample
        self.family = ""
        self.example: Any = None
        self.present = self.missing = self.first_missing = 0
        self.counts: dict[str, int] = {}
        self.n, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = np.inf, -np.inf
        self.whole = True
        self.drawn = np.empty((2, 0))

    def add(self, values: Any, rows: Array, training: Array, keys: Array) -> None:
        """Take in a batch: its values, their rows, which of them train, and a random number for each."""
        gone = values.is_null().to_numpy(zero_copy_only=False)
        if gone.any():
            self.first_missing = self.first_missing or int(rows[gone][0])
            self.missing += int(gone.sum())
        if gone.all():
            return
        if gone.any():
            values, rows, training, keys = values.drop_null(), rows[~gone], training[~gone], keys[~gone]
        family, found, is_mixed = ("word", None, False) if self.as_words else kind_of(values)
        if not self.family:
            self.family, self.example = family, values[0].as_py()
        if family != self.family or is_mixed:
            self._mixed(values, rows)
        self.present += len(values)
        if found is None:
            self._count(*in_words(values), rows)
        else:
            require_finite(self.name, found, rows)
            self._measure(found, training, keys)
            if self.what == "target" and len(self.counts) <= MOST_NUMBERED_CLASSES:
                numbers, indices = np.unique(found, return_inverse=True)
                self._count([word(number) for number in numbers.tolist()], indices, rows)

    def _mixed(self, values: Any, rows: Array) -> None:
        number, value = first_other(values, self.family)
        raise BadInput(
            f"{self.what} {self.name!r} mixes kinds of values: row {rows[number]} is {value!r}, and a row before it "
            f"{str(self.example)!r}. Mend it; or say that it is missing, --missing-word {value!r}; or take all its "
            f"values as words, --category {self.name!r}"
        )

    def _count(self, words: list[str], indices: Array, rows: Array) -> None:
        for name, count in zip(words, np.bincount(indices, minlength=len(words)).tolist(), strict=True):
            self.counts[name] = self.counts.get(name, 0) + count
        if len(self.counts) > self.most_words and self.family == "word":
            some = ", ".join(map(repr, list(self.counts)[:3]))
            way_out = f"leave it out, --without {self.name!r}, or allow more, --most-words N"
            if self.what == "target":
                way_out = "a class needs many rows to be learned; merge the rare ones, or --target another column"
            raise BadInput(
                f"{self.what} {self.name!r} has more than {self.most_words} different words by row {rows[-1]} "
                f"({some}, ...): {way_out}"
            )

    def _measure(self, found: Array, training: Array, keys: Array) -> None:
        self.low, self.high = min(self.low, float(found.min())), max(self.high, float(found.max()))
        self.whole = self.whole and bool((found == np.floor(found)).all())
        some = found[training]
        if not len(some):
            return
        # Chan, Golub and LeVeque (1979): moments of the parts make those of the whole.
        n, mean = self.n + len(some), float(some.mean())
        off = mean - self.mean
        self.squares += float(((some - mean) ** 2).sum()) + off**2 * self.n * len(some) / n
        self.mean += off * len(some) / n
        self.n = n
        if self.sample:
            drawn = np.hstack([self.drawn, [keys[training], some]])
            if drawn.shape[1] > SAMPLE:
                drawn = drawn[:, np.argpartition(drawn[0], SAMPLE)[:SAMPLE]]
            self.drawn = drawn

    @property
    def std(self) -> float:
        """The standard deviation over the training rows; 1 where they are all alike."""
        deviation = float(np.sqrt(self.squares / self.n)) if self.n else 0.0
        return deviation if deviation > 1e-12 * max(abs(self.mean), 1e-300) else 1.0

    @property
    def is_constant(self) -> bool:
        """Whether every value is the same."""
        return len(self.counts) == 1 if self.family == "word" else self.low == self.high

    def column(self, missing: str) -> Column | str:
        """What was learned, under a policy for missing values; or why nothing can be, as the end of a sentence."""
        if not self.present:
            return "holds no value"
        if self.is_constant and not (missing == "indicator" and self.missing):
            value = next(iter(self.counts), None) if self.family == "word" else f"{self.low:g}"
            return f"is {value} in every row"
        filled, indicator = missing in ("mean", "median", "indicator"), missing == "indicator" and self.missing > 0
        if self.family == "word":
            words = in_order(self.counts)
            is_truth = set(words) <= {"false", "true"} and not self.as_words
            most = max(words, key=lambda word: self.counts[word]) if filled and not indicator else None
            if is_truth:
                return Column(self.name, "truth", fill=most, indicator=indicator)
            return Column(self.name, "word", words, fill=most, indicator=indicator)
        middle = float(np.median(self.drawn[1])) if missing == "median" and self.drawn.size else self.mean
        return Column(
            self.name, self.family, (), self.mean, self.std, fill=middle if filled else None, indicator=indicator
        )
