"""A table on disk: divided in parts, larger than memory, checked for room, and gone afterwards."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest

import deltarule as dr
from deltarule import data, prepared, tables
from deltarule.division import Division
from deltarule.errors import BadFile, BadInput

ROWS = 400


def table(rows=ROWS):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": draw.normal(5, 2, rows), "b": draw.normal(size=rows), "c": draw.choice(["u", "v"], rows)}
    )
    frame["y"] = np.where(frame["a"] + 2 * frame["b"] > 5, "high", "low")
    return frame


def test_the_parts_are_the_rows_each_once_in_order_and_scaled_by_the_training_rows_alone(tmp_path):
    frame = table()
    with dr.prepare(frame, "y", dtype="float64", folder=tmp_path) as done:
        parts = [done.train, done.validation, done.test]
        of = Division(0.15, 0.15, seed=0).of(ROWS)
        a = next(column for column in done.recipe.columns if column.name == "a")
        assert (a.mean, a.std) == (
            pytest.approx(frame["a"][of == 0].mean()),
            pytest.approx(frame["a"][of == 0].std(ddof=0)),
        )
        for i, (x, y) in enumerate(parts):
            assert isinstance(x, np.memmap)
            assert x.flags.c_contiguous
            rows = frame[of == i]
            np.testing.assert_allclose(a.decode(x[:, 0]), rows["a"], rtol=1e-12)
            assert np.array(done.recipe.classes)[y].tolist() == rows["y"].tolist()
        assert [len(x) for x, _ in parts] == [280, 60, 60]


def test_means_of_the_rows_set_aside_do_not_reach_the_training():
    frame = table()
    of = Division(0.15, 0.15, seed=0).of(ROWS)
    frame.loc[of != 0, "a"] = 1e6
    with dr.prepare(frame, "y") as done:
        assert done.recipe.columns[0].mean == pytest.approx(table()["a"][of == 0].mean())


def test_rows_left_out_do_not_shift_the_parts_of_those_after_them():
    frame = table()
    frame.loc[::7, "b"] = None
    of = Division(0.15, 0.15, seed=0).of(ROWS)
    with dr.prepare(frame, "y", missing="drop", dtype="float64") as done:
        for i, samples in enumerate((done.train, done.validation, done.test)):
            rows = frame[(of == i) & frame["b"].notna()]
            np.testing.assert_allclose(done.recipe.columns[0].decode(samples.x[:, 0]), rows["a"], rtol=1e-12)
            assert np.array(done.recipe.classes)[samples.y].tolist() == rows["y"].tolist()


def test_training_on_the_arrays_is_training_on_the_same_numbers_in_memory():
    with dr.prepare(table(), "y", seed=1) as done:
        nets = []
        for x, y in (done.train, [np.array(part) for part in done.train]):
            net = dr.Network([len(done.recipe.inputs), 5, 2], "tanh", "softmax", "log_likelihood", seed=0)
            net.fit(x, y, epochs=3, optimizer=dr.Adam(0.01))
            nets.append(net.theta)
        np.testing.assert_array_equal(*nets)


@pytest.mark.parametrize(("validation", "test"), [(0.15, 0.15), (0.1, 0.0), (0.0, 0.25), (0.01, 0.34), (0.0, 0.0)])
def test_each_part_has_its_share_everywhere_in_the_table(validation, test):
    parts = Division(validation, test, seed=3).of(20_000)
    shares = np.bincount(parts, minlength=3) / 20_000
    np.testing.assert_allclose(shares, [1 - validation - test, validation, test], atol=0.004)
    if validation == 0.15:  # three rows of every twenty: a sorted table is divided evenly
        assert ((parts.reshape(-1, 20) == 1).sum(axis=1) == 3).all()
        places = np.flatnonzero(parts == 1) % 20
        assert np.bincount(places, minlength=20).min() > 100  # at every place within


def test_the_division_depends_on_the_seed_and_the_row_alone():
    whole = Division(0.2, 0.1, seed=5).of(1000)
    some = Division(0.2, 0.1, seed=5)
    np.testing.assert_array_equal(np.concatenate([some.of(n) for n in (1, 19, 20, 0, 3, 957)]), whole)
    some.start()
    np.testing.assert_array_equal(some.of(1000), whole)
    assert (Division(0.2, 0.1, seed=6).of(1000) != whole).any()


@pytest.mark.parametrize(
    ("validation", "test"), [(1.0, 0.0), (-0.1, 0.2), (0.5, 0.5), (float("nan"), 0.1), ("a", 0.1)]
)
def test_shares_that_leave_nothing_are_refused(validation, test):
    with pytest.raises(BadInput, match=r"validation|test"):
        dr.prepare(table(), "y", validation=validation, test=test)


def test_a_part_without_rows_is_none_where_none_was_asked_for_and_refused_where_some_were():
    with dr.prepare(table(), "y", validation=0, test=0) as done:
        assert (len(done.train.x), done.validation, done.test) == (ROWS, None, None)
    with pytest.raises(BadInput, match=r"2 rows are too few: none falls into the part named .*--validation 0"):
        dr.prepare({"a": [1, 2], "y": ["u", "v"]}, "y")


def test_the_arrays_leave_the_disk_at_the_end_however_it_comes(tmp_path):
    with dr.prepare(table(), "y", folder=tmp_path) as done:
        assert sorted(path.name for path in done.folder.iterdir()) == [
            f"{part}-{array}.npy" for part in ("test", "train", "validation") for array in "xy"
        ]
    assert list(tmp_path.iterdir()) == []
    done = dr.prepare(table(), "y", folder=tmp_path)
    del done
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    code = (
        "import sys, deltarule; d = deltarule.prepare({'a': [*range(40)], 'y': [0, 1] * 20}, 'y', folder=sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_while_the_arrays_are_written_leaves_nothing_behind(tmp_path, monkeypatch, error):
    def fails(*arguments, **more):
        assert any(tmp_path.iterdir())
        raise error

    monkeypatch.setattr(dr.Recipe, "encode", fails)
    with pytest.raises(type(error)):
        dr.prepare(table(), "y", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = ROWS * (4 * 4 + 8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed - 1))
    with pytest.raises(BadInput, match=f"400 rows of 4 inputs take .* GB on disk; {tmp_path} has .* GB free"):
        dr.prepare(table(), "y", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed))
    dr.prepare(table(), "y", folder=tmp_path).close()


@pytest.mark.parametrize("change", ["longer", "shorter"])
def test_a_table_that_changes_between_its_two_readings_is_refused(tmp_path, monkeypatch, change):
    path = tmp_path / "t.csv"
    table().to_csv(path, index=False)
    lines = path.read_text().splitlines(keepends=True)
    learn = prepared.learn

    def then_changed(*arguments):
        learned = learn(*arguments)
        path.write_text("".join(lines + lines[1:50] if change == "longer" else lines[:-50]))
        return learned

    monkeypatch.setattr(prepared, "learn", then_changed)
    with pytest.raises(BadFile, match=r"t\.csv: it changed while it was read"):
        dr.prepare(path, "y", folder=tmp_path / "arrays")
    assert list((tmp_path / "arrays").iterdir()) == []


def test_a_bar_shows_how_far_the_reading_is(tmp_path, monkeypatch):
    shown = []

    class Seen(tables.Bar):
        def show(self, done, text):
            shown.append((done, self.total, text))

    monkeypatch.setattr(tables, "Bar", Seen)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2000)
    table().to_csv(tmp_path / "t.csv", index=False)
    dr.prepare(tmp_path / "t.csv", "y").close()
    size = (tmp_path / "t.csv").stat().st_size
    assert {total for _, total, _ in shown} == {size}
    assert shown[-1] == (size, size, "writing the arrays: 400 rows")
    assert sum(text.startswith("looking at the columns") for _, _, text in shown) > 5


LARGE = """
import os, re, resource, sys
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # pyarrow's own allocator reserves a gigabyte ahead
import numpy as np
import deltarule as dr

def now(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def train(source, **where):
    with dr.prepare(source, "y", progress=False, **where) as done:
        net = dr.Network([len(done.recipe.inputs), 4, 2], "relu", "softmax", "log_likelihood", seed=0)
        net.fit(*done.train, epochs=1, batch_size=256, validation=done.validation, progress=False)
        return net.score(*done.test), len(done.train.x)

path, limit = sys.argv[1], int(sys.argv[2])
train({"x": np.random.default_rng(0).normal(size=(500, 3)), "y": ["a", "b"] * 250})  # compiles, and loads pyarrow
resource.setrlimit(resource.RLIMIT_DATA, (now("VmData") + limit,) * 2)
try:
    np.ones(os.path.getsize(path), np.uint8)
    sys.exit("the limit does not hold")
except MemoryError:
    pass
print(*train(path, folder=os.path.dirname(path)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits all of a process's own memory on Linux alone")
def test_a_file_larger_than_the_memory_allowed_trains(tmp_path):
    """The limit is on memory that is the process's own (RLIMIT_DATA): mapped files, which the kernel drops when it
    needs room, do not count; every array, buffer and stack does."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(10_000, 30))
    y = np.where(x[:, 0] + x[:, 1] > 0, "yes", "no")
    lines = "".join(",".join(f"{v:.6f}" for v in row) + f",{label}\n" for row, label in zip(x, y, strict=True))
    path, limit = tmp_path / "large.csv", 128 << 20
    with open(path, "w") as file:
        file.write(",".join(f"x{i}" for i in range(30)) + ",y\n")
        for _ in range(70):
            file.write(lines)
    assert path.stat().st_size > 1.4 * limit
    done = subprocess.run([sys.executable, "-c", LARGE, path, str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    score, rows = done.stdout.split()
    assert int(rows) == 490_000
    assert float(score) > 0.97
    assert [left.name for left in tmp_path.iterdir()] == ["large.csv"]


def test_idx_files_become_a_table_through_their_arrays():
    split = data.digits()
    with dr.prepare({"pixel": split.train.x.reshape(-1, 8, 8), "digit": split.train.y}, "digit") as done:
        assert done.recipe.classes == tuple(range(10))
        assert "pixel[0,2]" in done.recipe.inputs
        assert any("'pixel[0,0]' is 0 in every row" in note for note in done.recipe.notes)
