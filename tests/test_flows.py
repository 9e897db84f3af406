"""`deltarule flow` of runs, of networks, and of what a watch over a PyTorch model has saved."""

from __future__ import annotations

import json

import pytest
from test_cli import assert_refused, called

import deltarule as dr
from deltarule.flow import Flow, Move
from deltarule.runs import train
from deltarule.settings import Settings
from deltarule.verdicts import Fault
from deltarule.watched import WatchedModel


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was watched: 48 steps, of which each tenth was recorded."""
    folder = tmp_path_factory.mktemp("runs") / "watched"
    settings = Settings("digits", hidden=(20, 20), epochs=2, batch=50, eta=1.0, watch=10)
    return folder, train(settings, folder, progress=False).history.flow


def model_flow(size, word=""):
    """The flow of a PyTorch model, as a watch keeps it; no PyTorch is needed to read it."""
    rows = (
        Move(1, "weights", 1.0, size, name="2", op="linear", source="train.py:7", to=(1,), outs=(size,)),
        Move(1, "activation", size, size, name="1", op="sigmoid", source="train.py:7", to=(2,), outs=(size,)),
        Move(0, "weights", size, float("nan"), name="0", op="linear", source="train.py:7"),
    )
    found = (Fault(word, 1, "weights", "so it was planted", name="2", advice="draw them anew"),) if word else ()
    return Flow(rows, 0, (), found, ("what is inside",))


@pytest.fixture
def record(tmp_path):
    seen = WatchedModel((1, 11, 21), 10, (model_flow(0.5), model_flow(0.01), model_flow(1e-9, "vanishing")))
    seen.save(tmp_path / "mine")
    seen.save(tmp_path / "mine.json")
    return tmp_path / "mine", seen


def test_a_watched_run_shows_its_steps_and_the_network_as_it_is(run, capsys):
    folder, steps = run
    done = called(capsys, "flow", folder)
    net = dr.load(folder / "network.safetensors")
    x, y = dr.data.digits().train
    now = net.backprop(x[:1000], y[:1000]).flow()
    assert done.stdout == f"{steps}\n\nThe trained network\n{now}\n"


def test_a_step_of_a_run_is_that_of_its_history(run, capsys):
    folder, steps = run
    done = called(capsys, "flow", folder, "--step", "21")
    assert done.stdout == f"{steps}\n\nStep 21\n{steps.at(2)}\n"
    done = called(capsys, "flow", folder / "history.json")
    assert done.stdout == f"{steps}\n\nStep {steps.steps[-1]}\n{steps.at(-1)}\n"


def test_a_watch_over_a_model_is_read_from_its_file_and_its_folder(record, capsys):
    folder, seen = record
    for path in (folder, folder / "flow.json", folder.with_suffix(".json")):
        done = called(capsys, "flow", path)
        assert done.stdout == f"{seen}\n\nStep 21\n{seen.at(2)}\n"
        assert "verdict: vanishing: so it was planted.\n  what to do: draw them anew." in done.stdout
        assert "not seen: what is inside" in done.stdout
    done = called(capsys, "flow", folder, "--step", "11")
    assert done.stdout == f"{seen}\n\nStep 11\n{seen.at(1)}\n"
    assert "verdict: healthy" in done.stdout
    (folder.parent / "one.json").write_text(json.dumps(seen.at(1).to_dict()))
    assert called(capsys, "flow", folder.parent / "one.json").stdout == f"{seen.at(1)}\n"


def test_it_is_drawn_and_written(record, run, capsys, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    files = {"--plot": tmp_path / "flow.png", "--curves": tmp_path / "curves.svg", "--html": tmp_path / "flow.html"}
    given = [part for option in files.items() for part in option]
    for path in (record[0], run[0] / "history.json"):
        done = called(capsys, "flow", path, *given)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(
            f"drawn into {files['--plot']}\ndrawn into {files['--curves']}\nwritten to {files['--html']}\n"
        )
        assert files["--plot"].stat().st_size > 5000
        assert "backward passes" in files["--curves"].read_text() or "training steps" in files["--curves"].read_text()
        page = files["--html"].read_text()
        assert page.startswith("<!doctype html>")
        assert page.count("<table") == page.count("</table>") == 2
        assert "<script" not in page
        for file in files.values():
            file.unlink()


def test_what_was_not_recorded_is_refused_with_the_way_out(run, record, capsys, tmp_path):
    assert_refused(called(capsys, "flow", run[0], "--step", "12"), "step 12 was not recorded", "nearest is --step 11")
    assert_refused(called(capsys, "flow", record[0], "--step", "0"), "from 1 to 21, every 10", "nearest is --step 1")
    bare = tmp_path / "bare"
    train(Settings("digits", hidden=(20,), epochs=1), bare, progress=False)
    assert_refused(called(capsys, "flow", bare, "--step", "1"), "was not watched", "--watch 10")
    assert_refused(called(capsys, "flow", bare / "history.json"), "was not watched", "--watch 10")
    assert_refused(called(capsys, "flow", bare / "network.safetensors", "--step", "1"), "was not watched")
    assert_refused(called(capsys, "flow", bare, "--curves", tmp_path / "a.png"), "no steps were recorded")
    assert_refused(called(capsys, "flow", record[0], "--dataset", "digits"), "data can be run through a network's")
    assert_refused(called(capsys, "flow", record[0], "--curves", tmp_path / "a.txt"), "does not end as a picture")


def test_what_is_no_record_is_refused(record, capsys, tmp_path):
    folder, seen = record
    for text, said in [
        ("{", "not JSON"),
        ("[]", "no flow in it"),
        ('{"schema": ["x"]}', "no flow in it"),
        ('{"schema": "deltarule.move"}', "no flow in it"),
        (json.dumps({**seen.to_dict(), "version": 9}), "version 9"),
    ]:
        (folder / "flow.json").write_text(text)
        assert_refused(called(capsys, "flow", folder), said)
    assert_refused(called(capsys, "flow", tmp_path / "none.json"), "no such file")
    WatchedModel((), 10, ()).save(tmp_path / "empty")
    assert_refused(called(capsys, "flow", tmp_path / "empty"), "nothing was recorded")
