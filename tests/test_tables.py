"""Tables from every source: the same columns from each, in batches, and a clear refusal of what is none."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from deltarule import data, tables
from deltarule.errors import BadFile, BadInput, MissingExtra
from deltarule.tables import Table

FRAME = pd.DataFrame(
    {
        "size": [1.5, np.nan, -3.0, 4e5],
        "rooms": [3, 1, 2, 2],
        "city": ["Rome", "Oslo, N", None, 'the "Hague"'],
        "lift": [True, False, True, True],
        "built": np.array(["1970-01-02", "1969-12-31T12:00", "2020-02-29", "2000-01-01"], "datetime64[s]"),
    }
)
TRUE = {
    "size": [1.5, None, -3.0, 4e5],
    "rooms": [3.0, 1.0, 2.0, 2.0],
    "city": ["Rome", "Oslo, N", None, 'the "Hague"'],
    "lift": ["true", "false", "true", "true"],
}


def read(table, columns=None):
    """Every batch of a table, put together as Python lists."""
    names = columns or table.names
    batches = list(table.batches(names))
    firsts = [batch.first for batch in batches]
    assert firsts == [1 + sum(batch.rows for batch in batches[:i]) for i in range(len(batches))]
    return {name: [v for batch in batches for v in batch.columns[name].to_pylist()] for name in names}


def sources(folder):
    FRAME.to_parquet(folder / "t.parquet")
    FRAME.to_parquet(folder / "t.pq", row_group_size=1)
    arrow = pa.Table.from_pandas(FRAME)
    return {
        "parquet": folder / "t.parquet",
        "parquet of many groups, by its name as text": str(folder / "t.pq"),
        "pandas": FRAME,
        "pandas of other types": FRAME.convert_dtypes().assign(city=FRAME["city"].astype("category")),
        "pandas without an order of rows": FRAME.set_index(np.array([7, 7, 1, 0])),
        "polars": pl.from_pandas(FRAME),
        "polars, categorical": pl.from_pandas(FRAME).with_columns(pl.col("city").cast(pl.Categorical)),
        "arrow": arrow,
        "arrow, one batch": arrow.combine_chunks().to_batches()[0],
        "dictionary": {name: FRAME[name].to_numpy() for name in FRAME},
    }


def test_every_source_gives_the_same_columns(tmp_path):
    for what, source in sources(tmp_path).items():
        table = Table(source)
        assert table.names == list(FRAME), what
        found = read(table)
        assert {name: found[name] for name in TRUE} == TRUE, what
        assert [f"{value:%Y-%m-%d %H}" for value in found["built"]] == [
            "1970-01-02 00", "1969-12-31 12", "2020-02-29 00", "2000-01-01 00",
        ], what  # fmt: skip
        assert read(table, ["lift", "size"])["size"] == TRUE["size"], what  # again, and in another order


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_is_read_as_text_whatever_separates_its_columns(tmp_path, separator, end):
    rows = ['"a name",b,c', ' 1 ,"x\ny",3', '2,"with, and ""quotes""",NA', ",,", "5,é,7"]
    text = end.join(row.replace(",", separator) for row in rows)
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    found = read(Table(path))
    quoted = 'with, and "quotes"'.replace(",", separator)
    assert found == {"a name": ["1", "2", None, "5"], "b": ["x\ny", quoted, None, "é"], "c": ["3", None, None, "7"]}


def test_csv_comes_compressed_with_a_mark_and_in_another_encoding(tmp_path):
    text = "naïve,y\n1,é\n2,ü\n"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "mark.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "old.csv").write_bytes(text.encode("cp1252"))
    (tmp_path / "wide.csv").write_bytes(text.encode("utf-16"))
    true = {"naïve": ["1", "2"], "y": ["é", "ü"]}
    assert read(Table(tmp_path / "t.csv.gz")) == read(Table(tmp_path / "mark.csv")) == true
    assert read(Table(tmp_path / "old.csv", encoding="cp1252")) == true
    assert read(Table(tmp_path / "wide.csv", encoding="utf-16")) == true
    for name, way_out in (("old.csv", "cp1252"), ("wide.csv", "--encoding utf-16")):
        with pytest.raises(BadFile, match=f"{name}: (not )?UTF-.*{way_out}"):
            read(Table(tmp_path / name))
    with pytest.raises(BadInput, match="unknown encoding 'utf-99'"):
        Table(tmp_path / "old.csv", encoding="utf-99")


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,y\n1,x\n2,\xe9\n")
    with pytest.raises(BadFile, match=r"t.csv: not UTF-8 \(first in line 3\).*--encoding cp1252"):
        read(Table(tmp_path / "t.csv"))


def test_a_large_csv_comes_in_many_batches_that_miss_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1000)
    values = [f"{i}" for i in range(5000)]
    (tmp_path / "t.csv").write_text("i,j\n" + "".join(f"{v},x\n" for v in values))
    table = Table(tmp_path / "t.csv")
    assert len(list(table.batches(["i"]))) > 20
    assert read(table)["i"] == values


@pytest.mark.parametrize("kind", ["parquet", "npz", "pandas"])
def test_other_large_tables_come_in_many_batches_too(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(tables, "VALUES_AT_ONCE", 500)
    frame = pd.DataFrame({"i": np.arange(5000.0), "j": np.arange(5000)[::-1]})
    if kind == "parquet":
        frame.to_parquet(tmp_path / "t.parquet", row_group_size=700)
    np.savez(tmp_path / "t.npz", i=frame["i"], j=frame["j"])
    table = Table(frame if kind == "pandas" else tmp_path / f"t.{kind}")
    assert len(list(table.batches(["i"]))) > 6
    assert read(table) == {"i": list(range(5000)), "j": list(range(5000))[::-1]}


def test_npz_and_npy_are_memory_mapped_and_their_axes_become_columns(tmp_path):
    x, y = np.arange(24, dtype="uint8").reshape(3, 2, 4), np.array(["a", "b", "a"])
    np.savez(tmp_path / "t.npz", x=x, y=y, fortran=np.asfortranarray(x[:, 0].astype(">f8")))
    np.savez_compressed(tmp_path / "packed.npz", x=x, y=y)
    np.save(tmp_path / "t.npy", x[:, 0])
    np.save(tmp_path / "named.npy", np.array([(1, "a"), (2, "b")], [("i", "i4"), ("s", "U1")]))
    arrays = data.read_npz(tmp_path / "t.npz")
    assert all(isinstance(array, np.memmap) for array in arrays.values())
    np.testing.assert_array_equal(arrays["x"], x)
    np.testing.assert_array_equal(arrays["fortran"], x[:, 0])
    assert isinstance(data.read_npy(tmp_path / "t.npy"), np.memmap)
    for name in ("t.npz", "packed.npz"):
        found = read(Table(tmp_path / name), ["x[1,3]", "y", "x[0,0]"])
        assert found == {"x[1,3]": [7.0, 15.0, 23.0], "y": ["a", "b", "a"], "x[0,0]": [0.0, 8.0, 16.0]}
    assert read(Table(tmp_path / "t.npy")) == {str(i): x[:, 0, i].tolist() for i in range(4)}
    assert read(Table(tmp_path / "named.npy")) == {"i": [1.0, 2.0], "s": ["a", "b"]}


@pytest.mark.parametrize("keep", [0, 1, 5, 40, 100, -30, -1])
@pytest.mark.parametrize("kind", ["parquet", "npz", "npy"])
def test_a_binary_file_cut_short_is_refused(tmp_path, kind, keep):
    path = tmp_path / f"t.{kind}"
    {
        "parquet": lambda: pd.DataFrame({"a": np.arange(100.0)}).to_parquet(path),
        "npz": lambda: np.savez(path, a=np.arange(100.0)),
        "npy": lambda: np.save(path, np.ones((50, 2))),
    }[kind]()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadFile, match=rf"t\.{kind}: (not a whole|an empty)"):
        read(Table(path))


def test_a_parquet_file_damaged_inside_is_refused(tmp_path):
    pd.DataFrame({"a": np.random.default_rng(0).normal(size=10_000)}).to_parquet(tmp_path / "t.parquet")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[4:2000] = b"\xff" * 1996
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(BadFile, match="not a whole Parquet file"):
        read(Table(tmp_path / "t.parquet"))


def test_python_objects_in_an_array_are_never_loaded(tmp_path):
    np.save(tmp_path / "t.npy", np.array([[{}], [1]], object), allow_pickle=True)
    np.savez(tmp_path / "t.npz", a=np.array([{}, 1], object))
    for name in ("t.npy", "t.npz"):
        with pytest.raises(BadFile, match=r"not a whole NP. file of numbers or words"):
            Table(tmp_path / name)


BAD_CSV = {
    "empty": (b"", "an empty file"),
    "a first line without names": (b"\n1,2\n", "its first line is empty"),
    "the header alone": (b"a,b\n", "no rows; it holds the names of its columns only: a, b"),
    "the header alone, without an end of line": (b"a,b", "no rows"),
    "no header": (b"5.1,3.5\n4.9,3.0\n", "its first line, 5.1, 3.5, looks like data.*a name for each of the 2"),
    "two columns of one name": (b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
    "a row too short": (b"a,b\n1,2\n3\n", r"Row #3: Expected 2 columns, got 1: 3"),
    "a row too long": (b"a,b\n1,2\n3,4,5\n", r"Row #3: Expected 2 columns, got 3"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_csv_file_that_is_no_table_is_refused_with_the_reason(tmp_path, case):
    content, named = BAD_CSV[case]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises((BadFile, BadInput), match=named) as caught:
        read(Table(tmp_path / "t.csv"))
    assert str(tmp_path / "t.csv") in str(caught.value)


def test_columns_numbered_from_0_are_a_header(tmp_path):
    (tmp_path / "t.csv").write_text("0,1\n5,6\n")
    assert read(Table(tmp_path / "t.csv")) == {"0": ["5"], "1": ["6"]}


def test_a_column_without_a_name_gets_one(tmp_path):
    (tmp_path / "t.csv").write_text(",y\n5,6\n")
    assert Table(tmp_path / "t.csv").names == ["column 1", "y"]


def test_a_file_that_is_not_there_a_folder_and_a_foreign_ending_are_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    (tmp_path / "folder.csv").mkdir()
    for name, said in (
        ("none.csv", "no such file"),
        ("folder.csv", "a folder"),
        ("t.xlsx", "'.xlsx' names no table"),
    ):
        with pytest.raises(BadFile, match=f"{name}: .*{said}"):
            Table(tmp_path / name)


def test_a_missing_column_is_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"unknown column 'agee'. Did you mean 'age'"):
        read(Table({"age": [1], "y": [2]}), ["agee"])


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ([[1, 2]], "list is no table"),
        (pl.LazyFrame({"a": [1]}), "LazyFrame is no table: .collect\\(\\) it first"),
        (np.ones(3), r"an array of shape \(3,\)"),
        ({"a": [1, 2], "b": [1]}, r"a \(2,\), b \(1,\); expected .* the same number of rows"),
        ({"a": 3}, r"a \(\)"),
        ({}, "it holds nothing"),
        ({"a": [1j, 2j]}, "dtype complex128"),
        ({"x": [[1]], "x[0]": [2]}, "two columns"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame({"a": [1.5, "x", 2.5]}), "column 'a' mixes kinds of values: row 2 is 'x'.*hold float"),
        ({"a": np.array([1.5, "x"], object)}, "column 'a' mixes kinds of values"),
        (pa.table({"a": [[1], [2]]}), "column 'a' holds list.*--without a"),
    ],
)
def test_what_is_no_table_is_refused(source, named):
    with pytest.raises((BadInput, BadFile), match=named):
        read(Table(source))


def test_without_pyarrow_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r'pip install "deltarule\[tables\]"'):
        Table({"a": [1]})


def test_words_for_missing_values_are_the_users_too(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n?,1\n-,2\nNA,3\nx,4\n")
    assert read(Table(tmp_path / "t.csv", missing_words=["?"]))["a"] == [None, "-", None, "x"]
    frame = pd.DataFrame({"a": ["?", "NA", " x "]})
    assert read(Table(frame, missing_words=["?"]))["a"] == [None, "NA", "x"]  # a frame says itself what is missing


def test_a_failed_allocation_is_not_a_bad_file(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    table = Table(tmp_path / "t.csv")
    with pytest.raises(MemoryError), table._as_bad_file(tmp_path / "t.csv", "CSV"):
        raise pa.ArrowMemoryError("malloc failed")
