"""deltarule train, evaluate, predict, check and explain on tables, through the program's own door."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine
from test_cli import assert_refused, called, contents, program

import deltarule as dr
from deltarule import predictions, runs

OPTIONS = ["--target", "cultivar", "--missing", "mean", "--epochs", "60"]


def wine(folder: Path) -> Path:
    """scikit-learn's wines as people have them: words for the classes and for a shade, and holes."""
    draw = np.random.default_rng(0)
    frame = load_wine(as_frame=True).frame.rename(columns={"target": "cultivar"})
    frame["cultivar"] = frame["cultivar"].map({0: "Barolo", 1: "Grignolino", 2: "Barbera"})
    frame["hue"] = pd.cut(frame["hue"], 4, labels=["pale", "rosy", "red", "deep"]).astype(object)
    for name in ("malic_acid", "hue", "proline"):
        frame.loc[draw.random(len(frame)) < 0.08, name] = None
    frame.insert(0, "bottle", np.arange(1000, 1000 + len(frame)))
    frame.to_csv(folder / "wine.csv", index=False)
    return folder / "wine.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained on a table by a real process, and what it printed."""
    folder = tmp_path_factory.mktemp("tables")
    done = program("train", wine(folder).name, *OPTIONS, "--without", "bottle", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of the run, and a folder with the table to be in."""
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    settings = json.loads(Path("run/settings.json").read_text())
    Path("run/settings.json").write_text(json.dumps({**settings, "dataset": str(tmp_path / "wine.csv")}))
    return Path("run")


def test_train_tells_what_it_made_of_the_columns_and_how_good_it_is(trained):
    folder, done = trained
    names = [
        "checkpoint/checkpoint.safetensors",
        "history.json",
        "network.safetensors",
        "recipe.json",
        "settings.json",
    ]
    assert sorted(contents(folder / "run")) == names
    net, recipe = dr.load(folder / "run" / "network.safetensors"), runs.recipe_of(folder / "run", None or dr.load(
        folder / "run" / "network.safetensors"))  # fmt: skip
    assert str(recipe) in done.stdout
    assert "bottle" not in done.stdout.split("Network")[0]
    assert net.classes.tolist() == ["Barbera", "Barolo", "Grignolino"]
    with dr.prepare(folder / "wine.csv", "cultivar", missing="mean", without="bottle") as table:
        assert table.recipe == recipe
        said = f"on the test data: {len(table.test.x)} samples   cost {net.mean_cost(*table.test):.4f}   accuracy "
        assert f"{said}{net.score(*table.test):.4f}" in done.stdout
        assert net.score(*table.test) > 0.9
        assert net.score(*table.train) > 0.95


def test_evaluate_judges_the_parts_of_its_own_table_and_another_as_a_whole(run, capsys):
    net = dr.load(run / "network.safetensors")
    own = called(capsys, "evaluate", run)
    assert own.stdout == called(capsys, "evaluate", run, "wine.csv").stdout
    with dr.prepare("wine.csv", "cultivar", missing="mean", without="bottle") as table:
        for line, part in zip(own.stdout.splitlines()[1:], ("train", "validation", "test"), strict=True):
            x, y = getattr(table, part)
            usual = np.bincount(y).max() / len(y)
            assert line == (
                f"{part:<11}{len(x):>7} samples   cost {net.mean_cost(x, y):.4f}   accuracy {net.score(x, y):.4f}   "
                f"(the most frequent class alone {usual:.4f})"
            )
        frame = pd.read_csv("wine.csv").sample(40, random_state=0)
        frame[frame.columns[::-1]].to_parquet("other.parquet")
        x, y = table.recipe.samples(frame)
    other = called(capsys, "evaluate", run, "other.parquet").stdout
    assert other.splitlines()[1].startswith(f"all rows        40 samples   cost {net.mean_cost(x, y):.4f}")


def test_evaluate_in_many_batches_is_evaluate_at_once(run, capsys, monkeypatch):
    whole = called(capsys, "evaluate", run).stdout
    monkeypatch.setattr("deltarule.tables.BLOCK_BYTES", 1000)
    assert called(capsys, "evaluate", run).stdout == whole


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predict_writes_the_class_and_its_probabilities_beside_the_columns_that_are_kept(run, capsys, ending):
    frame = pd.read_csv("wine.csv").drop(columns="cultivar").sample(frac=1, random_state=1)
    frame.to_csv("new.csv", index=False)
    done = called(capsys, "predict", run, "new.csv", "--out", f"said.{ending}", "--keep", "bottle")
    assert (done.returncode, done.stdout) == (0, f"178 rows, written to said.{ending}\n")
    said = pd.read_csv("said.csv") if ending == "csv" else pd.read_parquet("said.parquet")
    net = dr.load(run / "network.safetensors")
    recipe = runs.recipe_of(run, net)
    a = net.predict(recipe.transform(frame))
    names = ["probability_Barbera", "probability_Barolo", "probability_Grignolino"]
    assert list(said) == ["bottle", "predicted_cultivar", *names]
    assert said["bottle"].astype(int).tolist() == frame["bottle"].tolist()
    assert said["predicted_cultivar"].tolist() == recipe.decode(a).tolist()
    np.testing.assert_allclose(said[names], a, rtol=1e-6)
    np.testing.assert_allclose(said[names].sum(axis=1), 1, rtol=1e-5)


def test_predict_writes_values_in_the_targets_units(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame.assign(sex=frame["sex"].map({1: "m", 2: "f"})).to_parquet("diabetes.parquet")
    done = called(capsys, "train", "diabetes.parquet", "--target", "target", "--seed", 1, "--out", "run")
    assert "R^2 0." in done.stdout.splitlines()[-2]
    assert called(capsys, "predict", "run", "diabetes.parquet", "--out", "said.parquet").returncode == 0
    said = pd.read_parquet("said.parquet")["predicted_target"]
    score = 1 - ((said - frame["target"]) ** 2).sum() / ((frame["target"] - frame["target"].mean()) ** 2).sum()
    assert score > 0.4
    frame.assign(sex=frame["sex"].map({1: "m", 2: "f"})).to_csv("copy.csv", index=False)
    judged = called(capsys, "evaluate", "run", "copy.csv").stdout
    root = np.sqrt(((said - frame["target"]) ** 2).mean())
    assert f"R^2 {score:.4f}   off by {root:.4g} (root mean square" in judged
    assert called(capsys, "check", "run").returncode == 0
    assert called(capsys, "explain", "run", "--sample", 5).returncode == 0


def test_rows_with_a_gap_are_blank_where_training_dropped_them(tmp_path, monkeypatch, capsys):
    wine(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ["--target", "cultivar", "--missing", "drop", "--epochs", 2]
    assert "rows with a missing value are left out" in called(
        capsys, "train", "wine.csv", *options, "--out", "run"
    ).stdout  # fmt: skip
    gaps = pd.read_csv("wine.csv").isna().any(axis=1)
    done = called(capsys, "predict", "run", "wine.csv", "--out", "said.csv")
    assert done.stdout == f"178 rows, {gaps.sum()} of them blank for a missing value, written to said.csv\n"
    assert pd.read_csv("said.csv")["predicted_cultivar"].isna().tolist() == gaps.tolist()


def test_check_flow_and_explain_work_on_a_run_from_a_table(run, capsys):
    assert "Check of 3 samples" in called(capsys, "check", run, "--samples", 3).stdout
    assert "verdict" in called(capsys, "flow", run).stdout
    walk = called(capsys, "explain", run, "--sample", 7).stdout
    assert "Sample 7;" in walk
    assert "(Grignolino)" in walk  # the classes by their names
    for command in (["check", run], ["explain", run]):
        assert called(capsys, *command, "--dataset", "wine.csv").returncode == 0
    Path("wine.csv").unlink()
    assert_refused(called(capsys, "check", run), "wine.csv: no such file")


def test_the_same_command_gives_the_same_run_and_goes_on(run, capsys):
    before = contents(run)
    again = ["train", "wine.csv", *OPTIONS, "--without", "bottle", "--out", run]
    assert called(capsys, *again).returncode == 0
    after = contents(run)
    assert {**after, "settings.json": 0} == {**before, "settings.json": 0}
    longer = [*again[:-1], run, "--epochs", "90"]
    assert "History of 90 epochs" in called(capsys, *longer).stdout
    assert_refused(called(capsys, *longer, "--missing", "median"), "holds another run", "reading")


def test_a_table_with_other_rows_is_another_training(run, capsys):
    pd.read_csv("wine.csv").iloc[::-1].to_csv("wine.csv", index=False)
    before = contents(run)
    assert_refused(
        called(capsys, "train", "wine.csv", *OPTIONS, "--without", "bottle", "--out", run), "another training"
    )
    assert contents(run) == before


@pytest.mark.parametrize("missing", ["indicator", "median"])
def test_numbers_and_npz_train_too(tmp_path, monkeypatch, capsys, missing):
    monkeypatch.chdir(tmp_path)
    x, y = dr.data.digits().train
    np.savez("digits.npz", pixel=x, digit=y)
    done = called(
        capsys, "train", "digits.npz", "--target", "digit", "--missing", missing, "--epochs", 10, "--out", "run"
    )
    assert float(done.stdout.split("accuracy ")[-1].split()[0]) > 0.9
    assert "10 whole numbers are taken as classes" in done.stdout
    called(capsys, "predict", "run", "digits.npz", "--out", "said.parquet")
    said = pd.read_parquet("said.parquet")["predicted_digit"]
    assert said.dtype.kind == "i"
    assert (said == y).mean() > 0.95


BAD = {
    "no target": (["wine.csv"], ["which column is to be predicted? --target one of: bottle, alcohol"]),
    "a target misspelt": (
        ["wine.csv", "--target", "cultivr"],
        ["unknown column 'cultivr'. Did you mean 'cultivar'?"],
    ),
    "missing values": (["wine.csv", "--target", "cultivar"], ["'malic_acid' in 17 of 178 rows", "--missing mean"]),
    "a policy misspelt": (["wine.csv", "--target", "cultivar", "--missing", "men"], ["Did you mean 'mean'?"]),
    "no such file": (["vine.csv", "--target", "cultivar"], ["vine.csv: no such file"]),
    "a folder": (["folder", "--target", "y"], ["folder: a folder"]),
    "an unknown kind": (["table.xlsx", "--target", "y"], ["'.xlsx' names no table"]),
    "no table and no set": (["digit"], ["unknown data set 'digit'. Did you mean 'digits'?", "FILE.csv --target"]),
    "a set with a target": (["digits", "--target", "y"], ["digits has its own target"]),
    "an activation misspelt": (["wine.csv", *OPTIONS, "--activation", "relo"], ["Did you mean 'relu'?"]),
    "shares": (["wine.csv", *OPTIONS, "--validation", "0.6", "--test", "0.5"], ["leave no rows to train on"]),
    "no epochs": (["wine.csv", *OPTIONS, "--epochs", "0"], ["epochs is 0"]),
    "patience without validation": (["wine.csv", *OPTIONS, "--validation", "0", "--patience", "3"], ["needs data"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_is_refused_in_one_line_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys, case):
    arguments, parts = BAD[case]
    wine(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "table.xlsx").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    assert_refused(called(capsys, "train", *arguments, "--out", "run"), *parts)
    assert sorted(os.listdir()) == before


def test_a_wrong_name_is_told_before_the_table_is_read(tmp_path, monkeypatch, capsys):
    wine(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.sources, "training", lambda *arguments: pytest.fail("the table was read"))
    for option in (["--activation", "relo"], ["--optimizer", "adm"], ["--hidden", "0"]):
        assert called(capsys, "train", "wine.csv", *OPTIONS, *option, "--out", "run").returncode == 2


PREDICTIONS = {
    "another ending": (["wine.csv", "--out", "said.xls"], ["said.xls: its ending names no format", ".csv, .parquet"]),
    "a folder": (["wine.csv", "--out", "run"], ["run is a folder"]),
    "a missing column": (["part.csv", "--out", "said.csv"], ["part.csv: unknown column 'proline'"]),
    "an unseen word": (
        ["green.csv", "--out", "said.csv"],
        ["column 'hue', row 3, is 'rosie'", "Did you mean 'rosy'?"],
    ),
    "a column to keep": (["wine.csv", "--keep", "bottel", "--out", "said.csv"], ["Did you mean 'bottle'?"]),
    "a name taken": (["taken.csv", "--keep", "predicted_cultivar", "--out", "said.csv"], ["cannot be kept"]),
    "no such file": (["nowhere.csv", "--out", "said.csv"], ["nowhere.csv: no such file"]),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_what_cannot_be_predicted_is_refused_and_an_old_file_stays(run, capsys, case):
    frame = pd.read_csv("wine.csv")
    frame.drop(columns="proline").to_csv("part.csv", index=False)
    frame.assign(hue=["rosy", "red", "rosie", *["red"] * 175]).to_csv("green.csv", index=False)
    frame.assign(predicted_cultivar=1).to_csv("taken.csv", index=False)
    Path("said.csv").write_text("old\n")
    before = sorted(os.listdir())
    arguments, parts = PREDICTIONS[case]
    assert_refused(called(capsys, "predict", run, *arguments), *parts)
    assert Path("said.csv").read_text() == "old\n"
    assert sorted(os.listdir()) == before
    if case == "an unseen word":
        assert called(capsys, "predict", run, *arguments, "--unseen", "zeros").returncode == 0


def test_predictions_that_break_off_leave_the_old_file(run, capsys, monkeypatch):
    monkeypatch.setattr("deltarule.tables.BLOCK_BYTES", 1000)
    Path("said.csv").write_text("old\n")
    before, calls = sorted(os.listdir()), []

    def breaks(self, x):
        calls.append(len(x))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.zeros((len(x), 3), np.float32)

    monkeypatch.setattr(predictions.Network, "predict", breaks)
    with pytest.raises(KeyboardInterrupt):
        runs.predict(run, Path("wine.csv"), Path("said.csv"), progress=False)
    assert Path("said.csv").read_text() == "old\n"
    assert sorted(os.listdir()) == before


def test_a_run_and_a_set_or_table_that_do_not_belong_together_are_refused(run, capsys):
    assert_refused(called(capsys, "evaluate", run, "digits"), "'digits' is no table", "trained on one")
    net = run / "network.safetensors"
    assert_refused(called(capsys, "evaluate", net, "wine.csv"), "wine.csv: a table goes through the recipe of a run")
    assert_refused(called(capsys, "predict", net, "wine.csv", "--out", "said.csv"), "was not trained on a table")
    assert_refused(called(capsys, "evaluate", net), "does not say on which data")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda kept: "{", "not JSON, or cut short"),
        (lambda kept: "[]", "expected a JSON object"),
        (lambda kept: json.dumps({**kept, "version": 7}), "version 7"),
        (lambda kept: json.dumps({**kept, "columns": kept["columns"][1:]}), "a recipe for 15 inputs and 3 outputs"),
        (lambda kept: json.dumps({**kept, "columns": [1]}), "damaged"),
    ],
)
def test_a_damaged_recipe_is_refused(run, capsys, damage, named):
    path = run / "recipe.json"
    path.write_text(damage(json.loads(path.read_text())))
    for command in (["evaluate", run], ["predict", run, "wine.csv", "--out", "said.csv"], ["check", run]):
        assert_refused(called(capsys, *command), "recipe.json", named)


def test_damaged_settings_of_a_table_are_refused(run, capsys):
    kept = json.loads((run / "settings.json").read_text())
    for reading in ({**kept["reading"], "missing": "perhaps"}, {"colour": 1}, {}, 3):
        (run / "settings.json").write_text(json.dumps({**kept, "reading": reading}))
        assert_refused(called(capsys, "evaluate", run), "settings.json", "not the settings of a run")


def test_a_training_that_was_killed_leaves_arrays_that_the_next_one_removes(tmp_path):
    frame = {f"x{i}": np.random.default_rng(i).normal(size=30_000) for i in range(20)}
    pd.DataFrame({**frame, "y": ["a", "b"] * 15_000}).to_parquet(tmp_path / "t.parquet")
    command = [sys.executable, "-m", "deltarule", "train", "t.parquet", "--target", "y", "--out", "run", "--epochs"]
    process = subprocess.Popen([*command, "100000"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    arrays, checkpoint = tmp_path / "run" / "arrays", tmp_path / "run" / "checkpoint" / "checkpoint.safetensors"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert any(arrays.iterdir())
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / "settings.json").unlink()
    subprocess.run([*command, "1"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert not arrays.exists()
