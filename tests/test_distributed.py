"""Ranks: several processes reach the weights of one, survive the loss of one, and fail together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ranked import TRAININGS

import deltarule as dr
from deltarule.interop import distributed
from deltarule.ranks import share, together

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
DIGITS = ["train", "digits", "--batch", "33", "--epochs", "8", "--optimizer", "momentum", "--eta", "0.3"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def torchrun(ranks: int, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*TORCHRUN, "--standalone", "--nproc-per-node", str(ranks), *command],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def launch(*command: object) -> list[tuple[int, str, str]]:
    """Two ranks without torchrun, which would stop one when the other ends: what each has said, and its exit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, command)], env={**ENVIRONMENT, **place, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=60) for process in processes]
    return [(process.returncode, *one) for process, one in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What three ranks have found, each of them."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(3, str(HERE / "ranked.py"), str(folder))
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.parametrize("name", [*TRAININGS, "another rounding", "other weights at first"])
def test_the_weights_and_records_are_those_of_one_process(found, name):
    tolerance = 1e-6 if name == "float32" else 1e-12
    for own in (rank[name] for rank in found):
        assert own["apart"] <= tolerance < 1e-3 < own["moved"]
        assert own["cost"] <= tolerance
        assert own["same on all ranks"]
        assert own["generator"]
        (numbers, words), (numbers_alone, words_alone) = own["records"]
        np.testing.assert_allclose(numbers, numbers_alone, rtol=1e-10 if tolerance < 1e-10 else 1e-5)
        assert words == words_alone
        assert own["ranks"] == 3


def test_the_trainings_do_what_they_are_named_after(found):
    assert found[0]["early stopping"]["records"][0][1][0] == "early"
    eta = found[0]["a schedule that looks back"]["records"][0][0][12:]
    assert min(eta) < max(eta)


def test_the_first_rank_alone_keeps_the_flow(found):
    assert [rank["watched"] for rank in found] == [[12, True], None, None]


@pytest.mark.parametrize(
    ("mistake", "rank", "says"),
    [
        ("dropout", 0, "dropout does not go with ranks"),
        ("function", 0, "a function as a rule does not go with ranks"),
        ("batch", 0, "a batch of 2 samples for 3 ranks leaves some without work"),
        ("settings", 1, "the first rank trains something else: its settings is l2 0.0 (now 0.1)"),
        ("data", 2, "the first rank trains something else: its data is not the data given now"),
        ("width", 1, "x has shape (100, 63)"),
    ],
)
def test_a_mistake_on_one_rank_ends_all_with_the_same_words(found, mistake, rank, says):
    for own, errors in enumerate(one["errors"] for one in found):
        kind = "BadInput: " if own == rank else f"RankFailed: rank {rank} of 3: "
        assert errors[mistake].startswith(kind + says)


def test_a_bad_value_on_one_rank_is_told_by_all_as_by_one_process(found):
    for errors in (one["errors"] for one in found):
        assert errors["diverged"].startswith("Diverged: training met a value that is not finite in epoch 1, step 4")
        assert errors["diverged"] == errors["diverged alone"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same training in one process."""
    folder = tmp_path_factory.mktemp("one") / "run"
    subprocess.run([sys.executable, "-m", "deltarule", *DIGITS, "--out", folder], check=True, capture_output=True)
    return folder


def test_a_killed_rank_is_started_again_and_all_go_on_to_the_same_weights(tmp_path, undisturbed):
    run = tmp_path / "run"
    program = [str(HERE / "ranked_program.py"), "SIGKILL", "100"]  # in the third of eight epochs
    done = torchrun(2, "--max-restarts", "1", *program, *DIGITS, "--out", str(run))
    assert done.returncode == 0, done.stderr
    assert "-9" in done.stderr
    assert "2 ranks: " in done.stdout
    assert done.stdout.count("written to") == 1
    one, two = (dr.load(folder / "network.safetensors") for folder in (undisturbed, run))
    np.testing.assert_allclose(two.theta, one.theta, rtol=0, atol=1e-6 * abs(one.theta).max())
    costs = [json.loads((folder / "history.json").read_text())["cost"] for folder in (undisturbed, run)]
    np.testing.assert_allclose(*costs, rtol=1e-5)


def test_a_lost_rank_ends_the_others_with_the_way_on(tmp_path):
    first, second = launch(HERE / "ranked_program.py", "SIGKILL", 10, *DIGITS, "--out", tmp_path / "run")
    assert (first[0], second[0]) == (2, -9)
    assert first[2].splitlines()[-1].startswith("deltarule: another rank is gone or does not answer")
    assert "the same command goes on" in first[2]


def test_ctrl_c_on_one_rank_stops_all_after_whole_epochs(tmp_path):
    command = [*DIGITS, "--epochs", 1_000_000, "--out", tmp_path / "run"]
    first, second = launch(HERE / "ranked_program.py", "SIGINT", 100, *command)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "History of 2 epochs" in first[1]
    assert "Interrupted. The same command goes on" in first[1]
    assert second[1] == ""


def test_a_table_is_prepared_once_and_trained_on_by_all(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'in' if a * a + b * b < 1 else 'out'}" for a, b in rng.normal(size=(300, 2))]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["a,b,place", *rows]))
    command = ["-m", "deltarule", "train", table, "--target", "place", "--epochs", 3, "--out"]
    first, second = launch(*command, tmp_path / "two")
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert second[1] == ""
    subprocess.run([sys.executable, *map(str, command), tmp_path / "one"], check=True, capture_output=True)
    one, two = (dr.load(tmp_path / name / "network.safetensors") for name in ("one", "two"))
    np.testing.assert_allclose(two.theta, one.theta, rtol=0, atol=1e-6 * abs(one.theta).max())
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


def test_the_program_tells_a_mistake_once(tmp_path):
    first, second = launch("-m", "deltarule", "train", "digits", "--dropout", 0.5, "--out", tmp_path / "run")
    assert (first[0], second[0]) == (2, 2)
    assert first[2].startswith("deltarule: dropout does not go with ranks")
    assert second[2] == ""
    assert not (tmp_path / "run").exists()


def test_outside_torchrun_the_error_says_how_to_start(monkeypatch):
    for name in distributed.PLACE:
        monkeypatch.delenv(name, raising=False)
    assert not distributed.launched()
    with pytest.raises(dr.BadInput, match=r"RANK, WORLD_SIZE.* torchrun --nproc-per-node 2"), distributed.ranks():
        pass


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("n", [1, 2, 5, 7, 32, 33])
def test_shares_are_all_of_the_batch_once(n, size):
    shares = [share(n, rank, size) for rank in range(size)]
    assert [i for low, high in shares for i in range(low, high)] == list(range(n))
    assert max(high - low for low, high in shares) - min(high - low for low, high in shares) <= 1


def test_without_ranks_work_is_done_as_it_is():
    assert together(None, lambda: 3) == 3
