"""What every record has in common: it prints itself, and it goes to a dictionary and back.

A record is a frozen dataclass. Its dictionary holds only what JSON knows and names its schema and version,
so that a file written today can be refused, or read, by the program of tomorrow.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self, overload

import numpy as np

from deltarule.errors import BadFile, NoSuchLayer


class ByLayer(Sequence[Any]):
    """Values by layer, numbered as in the book: from `first` (1, or 0 where the input counts) to L.

    Examples
    --------
    >>> z = ByLayer(["hidden", "output"])
    >>> z[1], z[2], len(z)
    ('hidden', 'output', 2)
    >>> z[0]
    Traceback (most recent call last):
    ...
    deltarule.errors.NoSuchLayer: layer 0: layers go from 1 to 2 here, as in the book (0 is the input)
    """

    def __init__(self, values: Sequence[Any], first: int = 1) -> None:
        self._values = tuple(values)
        self.first = first

    @property
    def layers(self) -> range:
        """The numbers of the layers."""
        return range(self.first, self.first + len(self._values))

    @overload
    def __getitem__(self, l: int) -> Any: ...
    @overload
    def __getitem__(self, l: slice) -> Sequence[Any]: ...
    def __getitem__(self, l: int | slice) -> Any:
        if isinstance(l, slice):
            raise NoSuchLayer("a slice of layers is not defined; index one layer, or iterate")
        if not isinstance(l, (int, np.integer)) or l not in self.layers:
            last = self.first + len(self._values) - 1
            raise NoSuchLayer(
                f"layer {l!r}: layers go from {self.first} to {last} here, as in the book (0 is the input)"
            )
        return self._values[l - self.first]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ByLayer)
            and self.layers == other.layers
            and all(np.array_equal(mine, theirs) for mine, theirs in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [f"{l}: {_brief(value)}" for l, value in zip(self.layers, self, strict=True)]
        return f"ByLayer({', '.join(parts)})"


def _brief(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)


def _encode(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return {"array": _plain(value), "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, ByLayer):
        return {"layers": [_encode(one) for one in value], "first": value.first}
    if isinstance(value, (tuple, list)):
        return [_encode(one) for one in value]
    if isinstance(value, np.generic):
        return _encode(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has no word for these; a record of an error that blew up needs them
    return value


def _plain(array: np.ndarray[Any, Any]) -> Any:
    """An array as nested lists, with "nan", "inf" and "-inf" where it is not finite."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    plain = array.astype(object)
    bad = ~np.isfinite(array)
    plain[bad] = [str(float(one)) for one in array[bad]]
    return plain.tolist()


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if "array" in value:
            dtype = np.dtype(value["dtype"])
            if dtype.kind not in "fiub":
                raise BadFile(f"an array of {dtype} is not part of any record")
            return np.array(value["array"], dtype).reshape(value["shape"])
        if "layers" in value:
            return ByLayer([_decode(one) for one in value["layers"]], value["first"])
        if "float" in value:
            return float(value["float"])
        if "schema" in value:
            return RECORDS[value["schema"]].from_dict(value)
        return value
    return tuple(_decode(one) for one in value) if isinstance(value, list) else value


RECORDS: dict[str, type[Record]] = {}
"""Every kind of record by the name of its schema."""


class Record:
    """The base of the frozen dataclasses that the program hands out."""

    schema: ClassVar[str]
    version: ClassVar[int] = 1
    oldest: ClassVar[int] = 1
    """The first version that can still be read: what it lacks has a default."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        assert cls.schema not in RECORDS, f"two records of schema {cls.schema}"
        RECORDS[cls.schema] = cls

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON knows it, with its schema and version."""
        values = {field.name: _encode(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return {"schema": self.schema, "version": self.version, **values}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """The record from its dictionary. Raises BadFile where that is another schema or version."""
        if not isinstance(given, dict):
            raise BadFile(f"expected a record of schema {cls.schema!r}, got {type(given).__name__}")
        came = (given.get("schema"), given.get("version"))
        if came[0] != cls.schema or came[1] not in range(cls.oldest, cls.version + 1):
            raise BadFile(
                f"expected a record of schema {cls.schema!r} version {cls.version}, got {came[0]!r} version {came[1]}"
            )
        known = fields(cls)  # type: ignore[arg-type]
        old = came[1] != cls.version
        missing = [one.name for one in known if one.name not in given and not (old and one.default is not MISSING)]
        if missing:
            raise BadFile(f"the {cls.schema} record lacks {', '.join(missing)}")
        try:
            return cls(**{one.name: _decode(given[one.name]) for one in known if one.name in given})
        except BadFile:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"the {cls.schema} record is damaged ({type(error).__name__}: {error})") from error

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def text_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under a head, columns aligned: words to the left, numbers to the right.

    >>> print(text_table(["layer", "gain"], [["output", 0.5], ["hidden", 12]]))
    layer   gain
    output   0.5
    hidden    12
    """
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    right = [any(_is_number(row[i]) for row in cells[1:]) for i in range(len(head))]
    width = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, width, right, strict=True))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%x").replace(" ", ""))
    except ValueError:
        return False
    return True
