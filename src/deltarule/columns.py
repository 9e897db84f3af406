"""One column of a table and the inputs it becomes; what kind of values it holds.

A number x becomes (x - mean) / std, mean and deviation over the training rows; a date the same, in days since
1970; a word becomes one-hot, its column's words in sorted order; a truth value 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput
from deltarule.records import Record
from deltarule.tables import arrow

Array = npt.NDArray[Any]

KINDS = ("number", "date", "truth", "word")
TRUTH = {"false": 0, "true": 1, "0": 0, "1": 1}
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(inf|infinity)$"
DAY = 86_400_000_000
"""A day in microseconds."""


@dataclass(frozen=True)
class Column(Record):
    """How the values of one column become inputs.

    Attributes
    ----------
    name : str
    kind : str
        "number", "date", "truth" or "word".
    words : tuple of str
        Of a column of words, those seen, sorted; each has an input of its own.
    mean, std : float
        Of the training rows; 0 and 1 for what is not a number or a date.
    fill : float or str or None
        What stands in for a missing value. None: a missing value is refused.
    indicator : bool
        Whether one more input says that the value is missing.
    """

    schema = "deltarule.column"

    name: str
    kind: str
    words: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    fill: float | str | None = None
    indicator: bool = False

    def __post_init__(self) -> None:
        numbers = isinstance(self.mean, (int, float)) and isinstance(self.std, (int, float)) and self.std > 0
        fill = str if self.kind in ("word", "truth") else (int, float)
        good = self.kind in KINDS and numbers and all(isinstance(word, str) for word in self.words)
        if not good or not (self.fill is None or isinstance(self.fill, fill)) or not isinstance(self.name, str):
            raise ValueError(f"column {self.name!r} of kind {self.kind!r} does not fit together")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        own = tuple(f"{self.name}={word}" for word in self.words) if self.kind == "word" else (self.name,)
        return own + ((f"{self.name} missing",) if self.indicator else ())

    def encode(self, values: Any, rows: Array, unseen: str = "error") -> tuple[Array, Array]:
        """(N, inputs) in float64, and which values are missing with nothing to stand in for them.

        `values` is a batch's column, `rows` the numbers of its rows, for messages. A word that was not seen is
        refused, or with `unseen="zeros"` none of the words that were.
        """
        block = np.zeros((len(values), len(self.inputs)))
        missing = values.is_null().to_numpy(zero_copy_only=False)
        if self.kind == "word":
            codes = self._codes(values, rows, {word: i for i, word in enumerate(self.words)}, unseen)
            known = np.flatnonzero(codes >= 0)
            block[known, codes[known]] = 1
        elif self.kind == "truth":
            block[:, 0] = np.maximum(self._codes(values, rows, TRUTH, unseen), 0)
        else:
            block[:, 0] = (self._numbers(values, rows) - self.mean) / self.std
            if self.fill is not None:
                block[missing, 0] = (float(self.fill) - self.mean) / self.std
        if self.indicator:
            block[:, -1] = missing
        filled = self.fill is not None or self.indicator
        return block, np.zeros_like(missing) if filled else missing

    def decode(self, values: Array) -> Array:
        """Standardised numbers back in the column's own units."""
        return np.asarray(values, np.float64) * self.std + self.mean

    def _numbers(self, values: Any, rows: Array) -> Array:
        gone = values.is_null().to_numpy(zero_copy_only=False)
        if gone.all():
            return np.full(len(values), np.nan)
        family, found, _ = kind_of(values)
        if found is None or family != self.kind:
            number, value = first_other(values, self.kind)
            raise BadInput(
                f"column {self.name!r}, row {rows[number]}, is {value!r}; a {self.kind} was expected, as in training"
            )
        require_finite(self.name, found[~gone], rows[~gone])
        return found

    def _codes(self, values: Any, rows: Array, places: dict[str, int], unseen: str) -> Array:
        """The place of each word; -1 for a missing one with nothing to stand in, and for one that was not seen."""
        words, indices = in_words(values)
        fill = places[str(self.fill)] if self.fill is not None else -1
        place = np.array([*(places.get(word, -2) for word in words), fill])
        codes: Array = place[indices]
        if unseen == "error" and (codes == -2).any():
            number = int(np.flatnonzero(codes == -2)[0])
            word = words[indices[number]]
            near = get_close_matches(word, places, n=1, cutoff=0.6)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise BadInput(
                f"column {self.name!r}, row {rows[number]}, is {word!r}, a word that training did not have.{guess} "
                f"Mend it, or let such words be none of those known: --unseen zeros"
            )
        return codes


def word(value: float | str) -> str:
    """The word for a value; for a number always the same, whatever way it was written.

    >>> word(3.0), word("3"), word("03.0"), word(2.5), word("red"), word("True")
    ('3', '3', '3', '2.5', 'red', 'true')
    """
    if str(value).lower() in ("true", "false"):
        return str(value).lower()
    try:
        number = float(value)
    except ValueError:
        return str(value)
    if not np.isfinite(number) or "_" in str(value):
        return str(value)
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(number)


def in_order(words: Iterable[str]) -> tuple[str, ...]:
    """Words in a stable order: numbers first, by size, then the rest by the alphabet.

    >>> in_order(["b", "10", "9", "a"])
    ('9', '10', 'a', 'b')
    """
    return tuple(sorted(words, key=_order))


def _order(text: str) -> tuple[bool, float, str]:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    return (False, number, text) if np.isfinite(number) else (True, 0.0, text)


def in_words(values: Any) -> tuple[list[str], Array]:
    """The different words, and for each value the place of its own; that of a missing one is beyond the last."""
    coded = values.dictionary_encode()
    whole = [word(one if isinstance(one, (str, float)) else one.isoformat()) for one in coded.dictionary.to_pylist()]
    words = list(dict.fromkeys(whole))
    place = {name: i for i, name in enumerate(words)}
    merged = np.array([*(place[name] for name in whole), len(words)])
    return words, merged[coded.indices.fill_null(len(whole)).to_numpy()]


def kind_of(values: Any) -> tuple[str, Array | None, bool]:
    """What kind of values these are; as float64, NaN for null, if numbers or dates; and whether kinds are mixed.

    Mixed text is of the kind of its first value. At least one value must be present.
    """
    pa = arrow()
    if pa.types.is_floating(values.type):
        return "number", values.to_numpy(zero_copy_only=False), False
    if pa.types.is_timestamp(values.type):
        return "date", _days(values), False
    try:
        return "number", values.cast(pa.float64()).to_numpy(zero_copy_only=False), False
    except pa.ArrowInvalid:
        pass
    dates = _dates(values)
    if dates is not None:
        return "date", _days(dates), False
    present = values.drop_null().dictionary_encode().dictionary
    are_numbers = pa.compute.match_substring_regex(present, NUMBER)
    if are_numbers[0].as_py():
        return "number", None, True
    if _dates(present[:1]) is not None:
        return "date", None, True
    return "word", None, pa.compute.any(are_numbers).as_py()


def _dates(text: Any) -> Any:
    """Text as timestamps where all of it is in ISO 8601, with or without a zone; else None."""
    pa = arrow()
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return text.cast(kind).cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            continue
    return None


def _days(dates: Any) -> Array:
    """Days since 1970; NaN for null."""
    pa = arrow()
    microseconds = dates.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(microseconds / DAY)


def first_other(values: Any, family: str) -> tuple[int, Any]:
    """The place of the first present value that by itself is of another kind, and the value."""
    for number in range(len(values)):
        if values[number].is_valid and kind_of(values[number : number + 1])[0] != family:
            return number, values[number].as_py()
    return 0, values[0].as_py()


def require_finite(name: str, found: Array, rows: Array) -> None:
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        raise BadInput(f"column {name!r}, row {rows[wrong[0]]}, is {found[wrong[0]]}, which is no finite number")


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names with commas between, so many at most.

    >>> listed(["a", "b"]), listed(list("abcd"), 2)
    ('a, b', 'a, b and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
