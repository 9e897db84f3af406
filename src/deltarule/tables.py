"""Tables as they come, read in batches: CSV, Parquet, NPZ and NPY files, frames, dictionaries of arrays.

Whatever a table comes from, a batch holds its columns as pyarrow arrays of three types: text (truth values too),
float64, and timestamps. A missing value is null. Rows count from 1, without the header.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deltarule.data import read_npy, read_npz
from deltarule.errors import BadFile, BadInput, MissingExtra, unknown
from deltarule.progress import Bar

MISSING_WORDS = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL")
"""What stands for a missing value in a CSV file, beside what the user names."""

ENDINGS = {".csv": "csv", ".tsv": "csv", ".csv.gz": "csv", ".tsv.gz": "csv",
           ".parquet": "parquet", ".pq": "parquet", ".npz": "npz", ".npy": "npy"}  # fmt: skip

BLOCK_BYTES = 1 << 19
"""How much of a CSV file is parsed at once; pyarrow reads up to 32 such blocks ahead."""

ROWS_A_BLOCK = 16
"""A block holds at least so many lines as long as the header."""

VALUES_AT_ONCE = 1 << 20


class Batch(NamedTuple):
    """Some rows: the number of the first, counted from 1, each column's values, and some columns as they were."""

    first: int
    columns: dict[str, Any]
    as_they_are: dict[str, Any]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))


def is_table(name: str) -> bool:
    """Whether a name is that of a table's file, by its ending or because there is such a file."""
    return ending(name) in ENDINGS or Path(name).exists()


def ending(path: str | Path) -> str:
    """The ending of a file's name, a compressed one's with both parts.

    >>> ending("a/Wine.CSV.gz"), ending("wine.parquet"), ending("wine")
    ('.csv.gz', '.parquet', '')
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def arrow() -> Any:
    """pyarrow, with the parts that are used. Raises MissingExtra without it."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra('tables are read by pyarrow: pip install "deltarule[tables]"') from error
    return pyarrow


class Table:
    """A table that is read in batches, as often as wanted.

    Parameters
    ----------
    source : str, Path, frame or mapping
        The name of a file (.csv, .tsv, both also .gz; .parquet; .npz; .npy); a frame of pandas, polars or pyarrow;
        or a mapping from names to arrays. An array of more than one axis is as many columns: `x[0]`, `x[1]`, ...
    missing_words : sequence of str
        More words that stand for a missing value.
    encoding : str, optional
        Of a CSV file that is not UTF-8.

    Raises
    ------
    BadFile
        Not there, a folder, empty, cut short, of another format or encoding.
    BadInput
        A name that two columns share; a thing that is no table.
    MissingExtra
        Without pyarrow: ``pip install "deltarule[tables]"``.

    Examples
    --------
    >>> table = Table({"x": [[1, 2], [3, 4]], "y": ["no", "yes"]})
    >>> table.names
    ['x[0]', 'x[1]', 'y']
    >>> [batch.columns["y"].to_pylist() for batch in table.batches(["y"])]
    [['no', 'yes']]
    """

    def __init__(self, source: Any, *, missing_words: Sequence[str] = (), encoding: str | None = None) -> None:
        self.pa = arrow()
        self.missing_words = tuple(missing_words)
        self.is_csv = False
        if isinstance(source, (str, Path)):
            self.name, path = str(source), Path(source)
            self._open(path, encoding)
        else:
            self.name = "the table"
            self._take(source)
        self._require_one_of_each()

    names: list[str]
    total: int
    """How much there is to read: bytes of a CSV file, or rows."""
    _read: Callable[[list[str]], Iterator[tuple[list[Any], int]]]
    """The columns asked for, batch by batch, and how much of `total` is read by then."""

    def batches(
        self, columns: Sequence[str], doing: str = "reading", progress: bool = False, as_they_are: Sequence[str] = ()
    ) -> Iterator[Batch]:
        """The columns asked for, in batches, with a progress bar that says what is being done.

        Those named in `as_they_are` are read too, and come in the type that the table has them in.
        """
        wanted = set(columns)
        columns = list(dict.fromkeys([*columns, *as_they_are]))
        for name in columns:
            self.require(name)
        words = [*MISSING_WORDS, *self.missing_words] if self.is_csv else list(self.missing_words)
        first = 1
        with Bar(self.total, progress) as bar:
            for arrays, done in self._read(columns):
                given = dict(zip(columns, arrays, strict=True))
                plain = {name: self._plain(name, array, words) for name, array in given.items() if name in wanted}
                batch = Batch(first, plain, {name: given[name] for name in as_they_are})
                if batch.rows:
                    yield batch
                first += batch.rows
                bar.show(done, f"{doing}: {first - 1:,} rows")
        if first == 1:
            raise BadFile(f"{self.name}: no rows; it holds the names of its columns only: {_listed(self.names)}")

    def require(self, name: str) -> None:
        """Raise BadInput, with the nearest name, where there is no such column."""
        if name not in self.names:
            raise BadInput(f"{self.name}: {unknown('column', name, self.names[:20])}")

    def _require_one_of_each(self) -> None:
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise BadInput(f"{self.name}: two columns are named {twice!r}; each needs a name of its own")

    # Where tables come from.

    def _open(self, path: Path, encoding: str | None) -> None:
        if not path.exists():
            raise BadFile(f"{path}: no such file")
        if path.is_dir():
            raise BadFile(f"{path}: a folder; expected the name of a file")
        kind = ENDINGS.get(ending(path))
        if kind is None:
            raise BadFile(f"{path}: its ending {ending(path)!r} names no table; known: {', '.join(ENDINGS)}")
        if path.stat().st_size == 0:
            raise BadFile(f"{path}: an empty file")
        if kind == "csv":
            self._open_csv(path, encoding)
        elif kind == "parquet":
            self._open_parquet(path)
        elif kind == "npz":
            self._take_arrays(read_npz(path))
        else:
            self._take_array(read_npy(path))

    def _take(self, source: Any) -> None:
        pa = self.pa
        if isinstance(source, Mapping):
            self._take_arrays({str(name): np.asarray(values) for name, values in source.items()})
        elif isinstance(source, np.ndarray):
            self._take_array(source)
        elif hasattr(source, "__arrow_c_stream__") or isinstance(source, pa.RecordBatch):
            self._take_frame(source)
        else:
            hint = ": .collect() it first" if type(source).__name__ == "LazyFrame" else ""
            raise BadInput(
                f"{type(source).__name__} is no table{hint}; expected the name of a file, a frame of pandas, polars "
                f"or pyarrow, or a dictionary of arrays"
            )

    def _take_frame(self, frame: Any) -> None:
        pa = self.pa
        if type(frame).__module__.startswith("pandas"):
            frame = frame.rename(columns=str)
            self.names = list(frame.columns)
            self._require_one_of_each()
            try:
                table = pa.Table.from_pandas(frame, preserve_index=False)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                raise _mixed(frame.items()) from error
        else:
            table = pa.Table.from_batches([frame]) if isinstance(frame, pa.RecordBatch) else pa.table(frame)
        self.names, self.total = list(table.column_names), len(table)

        def read(columns: list[str]) -> Iterator[tuple[list[Any], int]]:
            step = _rows(len(columns))
            for start in range(0, len(table), step):
                part = [table.column(name)[start : start + step].combine_chunks() for name in columns]
                yield part, min(start + step, len(table))

        self._read = read

    def _take_array(self, array: Any) -> None:
        if array.dtype.names:
            self._take_arrays({name: array[name] for name in array.dtype.names})
        elif array.ndim == 2:
            self._take_arrays({str(i): array[:, i] for i in range(array.shape[1])})
        else:
            raise BadInput(
                f"{self.name}: an array of shape {array.shape}; expected (N, columns), or one with named fields"
            )

    def _take_arrays(self, arrays: dict[str, Any]) -> None:
        """Columns that are arrays, which may be memory-mapped: a batch at a time is taken from them."""
        lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
        if not lengths or len(set(lengths.values())) > 1 or min(lengths.values()) == 0:
            told = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
            raise BadInput(f"{self.name}: it holds {told}; expected arrays that all have the same number of rows")
        places: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, array in arrays.items():
            if array.dtype.kind not in "fiubUSOM":
                raise BadInput(f"{self.name}: {name!r} has dtype {array.dtype}; expected numbers, words or dates")
            for index in np.ndindex(array.shape[1:]):
                places[f"{name}[{','.join(map(str, index))}]" if index else name] = (name, index)
        if len(places) < sum(int(np.prod(array.shape[1:])) for array in arrays.values()):
            raise BadInput(f"{self.name}: two columns have the same name")
        self.names, self.total = list(places), next(iter(lengths.values()))

        def read(columns: list[str]) -> Iterator[tuple[list[Any], int]]:
            step = _rows(len(columns))
            used = {places[name][0] for name in columns}
            for start in range(0, self.total, step):
                part: dict[str, Any] = {name: np.array(arrays[name][start : start + step]) for name in used}
                taken = [part[name][(..., *index)] for name, index in (places[each] for each in columns)]
                yield [self._from_numpy(*each) for each in zip(columns, taken, strict=True)], start + len(taken[0])

        self._read = read

    def _from_numpy(self, name: str, values: Any) -> Any:
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        if values.dtype.kind == "M":
            values = values.astype("datetime64[us]")
        try:
            return self.pa.array(np.ascontiguousarray(values), from_pandas=True)
        except (self.pa.ArrowInvalid, self.pa.ArrowTypeError, self.pa.ArrowNotImplementedError) as error:
            raise _mixed([(name, values)]) from error

    def _open_parquet(self, path: Path) -> None:
        with self._as_bad_file(path, "Parquet"):
            file = self.pa.parquet.ParquetFile(path)
            self.names, self.total = list(file.schema_arrow.names), file.metadata.num_rows
            file.close()

        def read(columns: list[str]) -> Iterator[tuple[list[Any], int]]:
            done = 0
            with self._as_bad_file(path, "Parquet"), self.pa.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_rows(len(columns)), columns=columns, use_threads=False):
                    done += len(batch)
                    yield [batch.column(name) for name in columns], done

        self._read = read

    def _open_csv(self, path: Path, encoding: str | None) -> None:
        pa, self.is_csv = self.pa, True
        lines, delimiter, self.names = _header(path, encoding)
        self.total = path.stat().st_size
        csv_ = pa.csv
        block = max(BLOCK_BYTES, ROWS_A_BLOCK * sum(len(name) + 1 for name in self.names))

        def read(columns: list[str]) -> Iterator[tuple[list[Any], int]]:
            with self._as_bad_file(path, "CSV"), pa.OSFile(str(path)) as raw:
                stream = pa.CompressedInputStream(raw, "gzip") if ending(path).endswith(".gz") else raw
                try:
                    reader = csv_.open_csv(
                        stream,
                        csv_.ReadOptions(
                            use_threads=False, block_size=block, column_names=self.names, skip_rows=lines,
                            encoding=encoding or "utf8",
                        ),
                        csv_.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                        csv_.ConvertOptions(
                            column_types=dict.fromkeys(self.names, pa.string()), include_columns=columns
                        ),
                    )  # fmt: skip
                except pa.ArrowInvalid as error:
                    if "Could not skip" in str(error) or "Empty CSV" in str(error):
                        return  # the header alone, without an end of line
                    raise
                for batch in reader:
                    yield batch.columns, raw.tell()

        self._read = read

    @contextmanager
    def _as_bad_file(self, path: Path, form: str) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except (self.pa.ArrowException, UnicodeDecodeError, OSError) as error:
            said = " ".join(str(error).split())
            if "UTF8" in said or isinstance(error, UnicodeDecodeError):
                raise _not_utf8(path) from error
            raise BadFile(f"{path}: not a whole {form} file, or cut short ({said[:300]})") from error

    def _plain(self, name: str, array: Any, missing_words: list[str]) -> Any:
        """A column as text, float64 or timestamps, with null for what is missing."""
        pa, pc = self.pa, self.pa.compute
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            words = array.dictionary
            if pa.types.is_string_view(words.type):  # which pyarrow cannot take from
                words = words.cast(pa.string())
            array = words.take(array.indices)
        kind = array.type
        if pa.types.is_null(kind) or pa.types.is_boolean(kind):
            return array.cast(pa.string())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            text = pc.utf8_trim_whitespace(array.cast(pa.string()))
            if not missing_words:
                return text
            return pc.if_else(pc.is_in(text, value_set=pa.array(missing_words)), pa.scalar(None, pa.string()), text)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers = array.cast(pa.float64(), safe=False)
            return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            return array.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None), safe=False).cast(
                pa.timestamp("us")
            )
        raise BadInput(
            f"{self.name}: column {name!r} holds {kind}; expected numbers, words, truth values or dates. "
            f"Leave it out: --without {name}"
        )


def _rows(columns: int) -> int:
    return max(VALUES_AT_ONCE // max(columns, 1), 256)


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _mixed(columns: Iterable[tuple[str, Any]]) -> BadInput:
    """The error for a column of Python objects of more than one type."""
    for name, values in columns:
        first: type | None = None
        for row, value in enumerate(values, 1):
            kind = float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)
            if value is None or kind.__name__ in ("NAType", "NaTType") or (kind is float and np.isnan(value)):
                continue
            first = first or kind
            if kind is not first:
                return BadInput(
                    f"column {name!r} mixes kinds of values: row {row} is {value!r}, and the rows before it hold "
                    f"{first.__name__}. Make it one kind, by .astype(str) or by a number in each row"
                )
    return BadInput("the table holds objects that are no numbers, words, truth values or dates")


def _header(path: Path, encoding: str | None) -> tuple[int, str, list[str]]:
    """Of a CSV file: how many lines the header takes, the delimiter, and the columns' names."""
    opened: Any = gzip.open if ending(path).endswith(".gz") else open
    try:
        with opened(path, "rb") as binary:
            if binary.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding is None:
                raise BadFile(f"{path}: UTF-16, not UTF-8: --encoding utf-16")
            with io.TextIOWrapper(binary, encoding or "utf-8-sig", newline="") as text:
                line = text.readline()
                outside = "".join(line.split('"')[::2])
                delimiter = max(",;\t|", key=outside.count)
                reader = csv.reader([line] if line.count('"') % 2 == 0 else _rest(line, text), delimiter=delimiter)
                names = [name.strip() for name in next(reader, [])]
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except LookupError as error:
        raise BadInput(f"unknown encoding {encoding!r}; for instance utf-8, utf-16, cp1252, latin-1") from error
    except (OSError, EOFError) as error:
        raise BadFile(f"{path}: cannot be read ({error})") from error
    if not names:
        raise BadFile(f"{path}: its first line is empty; expected the names of the columns")
    counted = [str(i) for i in range(len(names))]  # as frames name columns that have no names
    if names != counted and all(_is_number(name) for name in names):
        raise BadFile(
            f"{path}: its first line, {_listed(names, 4)}, looks like data; expected the names of the columns. "
            f"Add a line with a name for each of the {len(names)} columns"
        )
    return reader.line_num, delimiter, [name or f"column {i}" for i, name in enumerate(names, 1)]


def _rest(line: str, text: io.TextIOWrapper) -> Iterator[str]:
    """A name in the header goes on in the next line."""
    yield line
    yield from text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_utf8(path: Path) -> BadFile:
    """The error for another encoding, with the first line that is not UTF-8."""
    where = ""
    if not ending(path).endswith(".gz"):
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    where = f" (first in line {number})"
                    break
    return BadFile(
        f"{path}: not UTF-8{where}. Name its encoding, --encoding cp1252 for most files from older spreadsheets, "
        f"or save it as UTF-8"
    )
