"""The command line, in processes of its own: what it writes, what it prints, and how it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import deltarule as dr
from deltarule import cli, runs

SMALL = ["train", "digits", "--hidden", "8", "--epochs", "2"]


def program(*arguments, cwd=None):
    """`python -m deltarule` in a process of its own."""
    command = [sys.executable, "-m", "deltarule", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def called(capsys, *arguments):
    """The same door, `main`, without the half second that a process takes to start."""
    capsys.readouterr()
    code = 0
    old = sys.argv
    sys.argv = ["deltarule", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as exit_:
        code = exit_.code or 0
    finally:
        sys.argv = old
    printed = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)


def assert_refused(done, *parts):
    """Exit code 2, nothing on stdout, and on stderr one line that says what is wrong."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("deltarule: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def contents(folder):
    """Every file under a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(folder):
    net = dr.load(folder / "network.safetensors")
    return [part.tobytes() for l in range(1, net.L + 1) for part in (net.W[l], net.b[l])]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained by a real process, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = program(*SMALL, "--seed", "3", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def test_train_writes_network_history_settings_and_checkpoint(trained):
    folder, _ = trained
    names = ["checkpoint/checkpoint.safetensors", "history.json", "network.safetensors", "settings.json"]
    assert sorted(contents(folder)) == names
    assert dr.load(folder / "network.safetensors").sizes == [64, 8, 10]
    assert runs.history_of(folder).epochs == 2
    settings = runs.settings_of(folder)
    assert (settings.dataset, settings.hidden, settings.epochs, settings.seed) == ("digits", (8,), 2, 3)
    assert json.loads((folder / "settings.json").read_text())["program"] == f"deltarule {dr.__version__}"


def test_train_prints_the_network_its_history_and_the_accuracy_on_the_test_data(trained):
    folder, done = trained
    net = dr.load(folder / "network.safetensors")
    accuracy = net.score(*dr.data.digits().test)
    assert f"accuracy on the test data: {accuracy:.4f}" in done.stdout
    assert str(net) in done.stdout
    assert str(runs.history_of(folder)) in done.stdout
    assert f"written to {folder}" in done.stdout


def test_a_run_in_a_pipe_shows_no_bar(trained):
    _, done = trained
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "epoch 1/2" not in done.stdout + done.stderr


def test_the_same_seed_gives_the_same_bytes_in_another_process_and_another_seed_others(trained, tmp_path, capsys):
    folder, _ = trained
    assert program(*SMALL, "--seed", "3", "--out", tmp_path / "same").returncode == 0
    assert weights(tmp_path / "same") == weights(folder)
    same, first = ((path / "network.safetensors").read_bytes() for path in (tmp_path / "same", folder))
    assert same == first
    assert called(capsys, *SMALL, "--seed", "4", "--out", tmp_path / "other").returncode == 0
    assert weights(tmp_path / "other") != weights(folder)


def test_the_settings_of_a_run_are_enough_to_do_it_again(trained, tmp_path):
    folder, _ = trained
    runs.train(runs.settings_of(folder), tmp_path / "again", progress=False)
    assert weights(tmp_path / "again") == weights(folder)


def test_evaluate_prints_cost_and_accuracy_of_each_part(trained):
    folder, _ = trained
    done = program("evaluate", folder, "digits")
    assert (done.returncode, done.stderr) == (0, "")
    net = dr.load(folder / "network.safetensors")
    lines = done.stdout.splitlines()
    assert lines[0] == str(net)
    for line, (name, part) in zip(lines[1:], dr.data.digits()._asdict().items(), strict=True):
        assert line.split() == [
            name, str(len(part.x)), "samples", "cost", f"{net.mean_cost(*part):.4f}",
            "accuracy", f"{net.score(*part):.4f}",
        ]  # fmt: skip


def test_evaluate_takes_a_network_file_too(trained, capsys):
    folder, _ = trained
    of_file = called(capsys, "evaluate", folder / "network.safetensors", "digits")
    assert of_file.stdout == called(capsys, "evaluate", folder, "digits").stdout != ""


def test_check_proves_the_backward_pass_on_the_runs_own_data(trained):
    folder, _ = trained
    done = program("check", folder, "--samples", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Check of 2 samples" in done.stdout
    assert "The backward pass agrees with the measurement" in done.stdout


def test_check_exits_with_1_where_the_pass_is_wrong(trained, capsys, monkeypatch):
    folder, _ = trained
    net = dr.load(folder / "network.safetensors")
    x, y = dr.data.digits().train
    right = dr.check(net, x[:2], y[:2])
    finding = right.findings[0]
    wrong = dr.CheckReport((type(finding)(**{**vars(finding), "ok": False}),), 2, "float32", 1e-4)
    monkeypatch.setattr(runs, "check", lambda *arguments: wrong)
    done = called(capsys, "check", folder)
    assert done.returncode == 1
    assert "WRONG" in done.stdout


def test_flow_prints_where_the_error_goes(trained, capsys):
    folder, _ = trained
    done = called(capsys, "flow", folder)
    net = dr.load(folder / "network.safetensors")
    x, y = dr.data.digits().train
    assert done.stdout == f"{net.backprop(x[:1000], y[:1000]).flow()}\n"
    assert done.returncode == 0


def test_flow_draws_into_a_file(trained, capsys, tmp_path):
    folder, _ = trained
    for name in ("flow.png", "flow.SVG"):
        done = called(capsys, "flow", folder, "--plot", tmp_path / name)
        assert done.returncode == 0
        assert done.stdout.endswith(f"drawn into {tmp_path / name}\n")
        assert (tmp_path / name).stat().st_size > 5000
    done = called(capsys, "flow", folder, "--plot", tmp_path / "flow.text")
    assert_refused(done, "does not end as a picture", ".svg")


def test_flow_says_what_is_wrong_and_what_mends_it(tmp_path, capsys):
    net = dr.Network([64, *[30] * 5, 10], seed=0)
    net.save(tmp_path / "deep.safetensors")
    done = called(capsys, "flow", tmp_path / "deep.safetensors", "--dataset", "digits")
    assert "verdict: vanishing: delta^1 is" in done.stdout
    assert "layer 1: take tanh" in done.stdout
    assert "\x1b" not in done.stdout  # this is no terminal


def test_check_and_flow_of_a_network_file_ask_for_the_data(trained, capsys):
    file = trained[0] / "network.safetensors"
    for command in ("check", "flow"):
        assert_refused(called(capsys, command, file), "--dataset digits")
        assert called(capsys, command, file, "--dataset", "digits").returncode == 0


def test_typers_own_runner_finds_every_command():
    shown = CliRunner().invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    for command in ("train", "evaluate", "check", "flow", "demo"):
        assert command in shown.output


def test_no_arguments_and_unknown_ones_show_how_it_is_used(capsys):
    assert "Usage" in CliRunner().invoke(cli.app, []).output
    for arguments in (["trian"], ["train", "digits"], ["train", "digits", "--epochs", "many", "--out", "x"]):
        done = called(capsys, *arguments)
        assert done.returncode == 2
        assert "Usage" in done.stderr


BAD = {
    "data set": (["digts"], ["unknown data set 'digts'", "Did you mean 'digits'?"]),
    "activation": (["digits", "--activation", "relo"], ["unknown activation 'relo'", "Did you mean 'relu'?"]),
    "output": (["digits", "--output", "sigmod"], ["Did you mean 'sigmoid'?"]),
    "cost": (["digits", "--cost", "crossentropy"], ["unknown cost", "Did you mean 'cross_entropy'?"]),
    "init": (["digits", "--init", "neilsen"], ["unknown init", "Did you mean 'nielsen'?"]),
    "dtype": (["digits", "--dtype", "float23"], ["unknown dtype", "Did you mean 'float32'?"]),
    "optimizer": (["digits", "--optimizer", "adm"], ["unknown optimizer", "Did you mean 'adam'?"]),
    "schedule": (["digits", "--schedule", "cosin"], ["unknown schedule", "Did you mean 'cosine'?"]),
    "pair": (["digits", "--output", "relu", "--cost", "cross_entropy"], ["output='sigmoid'"]),
    "hidden words": (["digits", "--hidden", "30x20"], ["hidden is '30x20'", "30 or 256,256"]),
    "hidden negative": (["digits", "--hidden", "-3"], ["sizes is [64, -3, 10]"]),
    "epochs": (["digits", "--epochs", "0"], ["epochs is 0"]),
    "batch": (["digits", "--batch", "-1"], ["batch_size is -1"]),
    "eta": (["digits", "--eta", "0"], ["eta is 0.0"]),
    "eta nan": (["digits", "--eta", "nan"], ["eta is nan"]),
    "l2": (["digits", "--l2", "-1"], ["l2 is -1.0"]),
    "l1": (["digits", "--l1", "-1"], ["l1 is -1.0"]),
    "dropout": (["digits", "--dropout", "1"], ["dropout is 1.0"]),
    "patience": (["digits", "--patience", "-1"], ["patience is -1"]),
    "seed": (["digits", "--seed", "-1"], ["seed is -1"]),
    "no folder": (["mnist"], ["mnist needs the folder", "--data DIR"]),
    "missing folder": (["mnist", "--data", "nowhere"], ["nowhere lacks train-images", "there is no such folder"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_argument_is_refused_in_one_line_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys, case):
    arguments, parts = BAD[case]
    monkeypatch.chdir(tmp_path)
    assert_refused(called(capsys, "train", *arguments, "--out", "run"), *parts)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("case", ["activation", "batch", "missing folder"])
def test_a_real_process_refuses_in_the_same_way(tmp_path, case):
    arguments, parts = BAD[case]
    assert_refused(program("train", *arguments, "--out", "run", cwd=tmp_path), *parts)
    assert os.listdir(tmp_path) == []


def test_after_a_refusal_the_right_command_goes_through(tmp_path, capsys):
    assert_refused(called(capsys, *SMALL, "--batch", 0, "--out", tmp_path / "run"), "batch_size is 0")
    assert called(capsys, *SMALL, "--batch", 10, "--out", tmp_path / "run").returncode == 0


def test_a_run_that_explodes_at_once_is_told_and_can_be_started_anew(tmp_path, capsys):
    wild = [*SMALL, "--activation", "relu", "--output", "identity", "--out", tmp_path / "run"]
    assert_refused(called(capsys, *wild, "--eta", 1e30), "epoch 1", "layer", "smaller learning rate (now 1e+30)")
    assert os.listdir(tmp_path) == []
    assert called(capsys, *wild, "--eta", 0.01).returncode == 0


def test_a_finished_run_is_given_back_without_training_anew(run, capsys):
    before = contents(run)
    done = called(capsys, *SMALL, "--seed", "3", "--out", run)
    assert done.returncode == 0
    assert contents(run) == before  # the seconds in the history too


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--seed", "4"], "seed 3 (now 4)"),
        (["--seed", "3", "--eta", "1"], "eta 3.0 (now 1.0)"),
        (["--seed", "3", "--hidden", "9"], "hidden (8,) (now (9,))"),
        (["--seed", "3", "--cost", "cross_entropy"], "cost 'quadratic' (now 'cross_entropy')"),
    ],
)
def test_other_settings_in_the_folder_of_a_run_are_refused_with_what_differs(run, capsys, changed, named):
    before = contents(run)
    assert_refused(called(capsys, *SMALL, *changed, "--out", run), "holds another run", named, "another --out")
    assert contents(run) == before


def test_more_epochs_go_on_to_the_weights_of_one_long_training(run, tmp_path, capsys):
    longer = ["train", "digits", "--hidden", "8", "--seed", "3", "--epochs", "4"]
    done = called(capsys, *longer, "--out", run)
    assert done.returncode == 0
    assert "History of 4 epochs" in done.stdout
    assert runs.settings_of(run).epochs == 4
    assert called(capsys, *longer, "--out", tmp_path / "whole").returncode == 0
    assert weights(run) == weights(tmp_path / "whole")
    assert runs.history_of(run).cost == runs.history_of(tmp_path / "whole").cost


def test_fewer_epochs_than_a_run_has_are_refused_and_change_nothing(run, capsys):
    before = contents(run)
    fewer = ["train", "digits", "--hidden", "8", "--seed", "3", "--epochs", "1"]
    assert_refused(called(capsys, *fewer, "--out", run), "already at epoch 2")
    assert contents(run) == before


def again(run):
    return [*SMALL, "--seed", "3", "--out", run]


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (cut, "not JSON, or cut short"),
        (lambda path: path.write_bytes(b""), "not JSON, or cut short"),
        (lambda path: path.write_bytes(b"\xff\xfe\0"), "not JSON, or cut short"),
        (lambda path: path.write_text("[1, 2]"), "expected a JSON object"),
        (lambda path: path.write_text('{"hidden": [8]}'), "not the settings of a run"),
        (lambda path: path.write_text('{"hidden": 8, "dataset": "digits"}'), "not the settings of a run"),
        (lambda path: path.write_text('{"hidden": [8], "dataset": "digits", "colour": 1}'), "colour"),
    ],
)
def test_damaged_settings_are_refused_and_left_as_they_are(run, capsys, damage, named):
    damage(run / "settings.json")
    before = contents(run)
    assert_refused(called(capsys, *again(run)), "settings.json", named)
    assert_refused(called(capsys, "check", run), "settings.json", named)
    assert contents(run) == before


def test_settings_that_name_no_data_set_are_refused(run, capsys):
    kept = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**kept, "dataset": ["digits"], "data": 3}))
    assert_refused(called(capsys, "check", run), "settings.json")


def test_a_damaged_network_is_refused_and_the_run_itself_makes_it_whole(run, capsys):
    good = weights(run)
    cut(run / "network.safetensors")
    for command in (["evaluate", run, "digits"], ["check", run], ["flow", run]):
        assert_refused(called(capsys, *command), "network.safetensors", "cut short")
    assert called(capsys, *again(run)).returncode == 0  # from the checkpoint
    assert weights(run) == good


def test_a_damaged_history_is_refused_by_its_reader_and_the_run_itself_makes_it_whole(run, capsys):
    good = runs.history_of(run)
    cut(run / "history.json")
    with pytest.raises(dr.BadFile, match=r"history\.json: not JSON, or cut short"):
        runs.history_of(run)
    (run / "history.json").write_text("{}")
    with pytest.raises(dr.BadFile, match=r"deltarule\.history"):
        runs.history_of(run)
    assert called(capsys, "evaluate", run, "digits").returncode == 0  # it does not need the history
    assert called(capsys, *again(run)).returncode == 0
    assert runs.history_of(run) == good


def test_a_damaged_checkpoint_is_refused_and_left_as_it_is(run, capsys):
    cut(run / "checkpoint" / "checkpoint.safetensors")
    before = contents(run)
    assert_refused(called(capsys, *again(run)), "checkpoint.safetensors")
    assert contents(run) == before


def test_places_without_a_run_are_refused(tmp_path, capsys):
    assert_refused(called(capsys, "evaluate", tmp_path / "none", "digits"), "none: no such file")
    assert_refused(called(capsys, "evaluate", tmp_path, "digits"), "no finished run here")
    (tmp_path / "file").write_text("a file")
    assert_refused(called(capsys, "evaluate", tmp_path / "file", "digits"), "not a whole safetensors file")
    assert_refused(called(capsys, *SMALL, "--out", tmp_path / "file"), "is a file; a run is a folder")
    assert_refused(called(capsys, *SMALL, "--out", tmp_path / "file" / "run"), "file")
    assert (tmp_path / "file").read_text() == "a file"


def test_data_of_another_width_and_no_samples_are_refused(tmp_path, trained, capsys):
    dr.Network([5, 2], seed=0).save(tmp_path / "net")
    assert_refused(called(capsys, "evaluate", tmp_path / "net", "digits"), "(1197, 64)", "(N, 5)")
    assert_refused(called(capsys, "check", trained[0], "--samples", 0), "samples is 0")
    assert_refused(called(capsys, "evaluate", trained[0], "mnist"), "--data DIR")


def test_a_disk_that_is_full_ends_in_one_line_and_keeps_the_run(run, capsys, monkeypatch):
    before = contents(run)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_refused(called(capsys, *again(run)), "No space left on device")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--hidden", ""], "64 -> 10 sigmoid;"),
        (["--hidden", "12,7", "--activation", "tanh"], "64 -> 12 tanh -> 7 tanh -> 10 sigmoid;"),
        (["--cost", "log_likelihood", "--eta", "0.1"], "10 softmax; cost log_likelihood"),
        (["--cost", "poisson", "--eta", "0.01"], "10 softplus; cost poisson"),
        (["--dtype", "float64"], "float64"),
    ],
)
def test_the_options_make_the_network_they_name(tmp_path, capsys, options, shown):
    done = called(capsys, *SMALL, "--epochs", "1", *options, "--out", tmp_path / "run")
    assert shown in done.stdout
    assert done.returncode == 0


def test_the_options_for_training_reach_the_training(tmp_path, capsys):
    options = ["--optimizer", "adam", "--eta", "0.01", "--schedule", "inverse", "--l2", "1e-4", "--dropout", "0.1"]
    done = called(capsys, *SMALL, "--epochs", "3", *options, "--patience", "2", "--out", tmp_path / "run")
    assert done.returncode == 0
    x, y = dr.data.digits().train
    net = dr.Network([64, 8, 10], seed=0)
    history = net.fit(
        x, y, epochs=3, optimizer=dr.Adam(0.01), schedule="inverse", l2=1e-4, dropout=0.1,
        validation=dr.data.digits().validation, early_stopping=dr.EarlyStopping(2),
    )  # fmt: skip
    kept = runs.history_of(tmp_path / "run")
    assert (kept.cost, kept.eta, kept.best_epoch) == (history.cost, history.eta, history.best_epoch)
    assert kept.validation == history.validation
    np.testing.assert_array_equal(dr.load(tmp_path / "run" / "network.safetensors").W[1], net.W[1])


@pytest.mark.skipif(not os.environ.get("DELTARULE_MNIST"), reason="DELTARULE_MNIST does not name MNIST's folder")
def test_mnist_is_trained_for_an_epoch_from_its_folder(tmp_path):
    folder = os.environ["DELTARULE_MNIST"]
    done = program("train", "mnist", "--data", folder, "--epochs", "1", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("accuracy on the test data:")[1].split()[0]) > 0.85
    # The run remembers where its data are.
    checked = program("check", tmp_path / "run", "--samples", "1")
    assert checked.returncode == 0, checked.stderr


def test_a_file_that_cannot_be_written_is_refused_before_the_work(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "compare", lambda *arguments, **more: pytest.fail("it was trained"))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for option in ("--out", "--plot"):
        done = called(capsys, "compare-rules", option, tmp_path / "folder.png")
        assert_refused(done, "folder.png is a folder; expected the name of a file")
        done = called(capsys, "compare-rules", option, tmp_path / "file" / "new.png")
        assert_refused(done, "its folder cannot be made")
    assert_refused(called(capsys, "explain", trained[0], "--out", tmp_path / "folder.png"), "is a folder")
    assert_refused(called(capsys, "flow", trained[0], "--plot", tmp_path / "folder.png"), "is a folder")


def test_without_a_run_the_digits_are_explained_and_nothing_else(capsys):
    done = called(capsys, "explain", "--dataset", "mnist")
    assert_refused(done, "no RUN given", "deltarule train mnist --out RUN")


def test_a_watched_training_prints_its_flow(tmp_path, capsys):
    done = called(capsys, *SMALL, "--watch", "100", "--out", tmp_path / "run")
    assert "The flow at 3 training steps, every 100" in done.stdout


def test_export_writes_what_it_is_asked_for_and_says_so(run, tmp_path, capsys):
    import onnxruntime
    import torch

    files = [tmp_path / name for name in ("net.onnx", "net.pt", "my net.h", "net.safetensors")]
    options = [
        part for pair in zip(("--onnx", "--torch", "--c", "--safetensors"), files, strict=True) for part in pair
    ]
    done = called(capsys, "export", run, *options, "--backward", "--layers")
    assert done.returncode == 0, done.stderr
    for path in files:
        assert f"written to {path}: " in done.stdout
        assert f"{path.stat().st_size:,} bytes" in done.stdout
    assert "my_net_predict(x, a) and my_net_learn(p, x, y, eta, t)" in done.stdout
    assert "outputs a, label, z1, a1, .." in done.stdout

    net, x = dr.load(run / "network.safetensors"), dr.data.digits().test.x
    session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(["a"], {"x": x})[0], net.predict(x), atol=1e-5)
    assert session.run(["label"], {"x": x})[0].tolist() == net.classify(x).tolist()
    code = done.stdout[
        done.stdout.index("import torch") : done.stdout.index("written to", done.stdout.index("import"))
    ]
    scope = {}
    exec(code, scope)
    assert np.allclose(scope["module"](torch.tensor(x)).detach(), net.predict(x), atol=1e-6)
    assert "static inline void my_net_predict(const float *x, float *a)" in files[2].read_text()
    assert "my_net_learn" in files[2].read_text()
    assert files[3].read_bytes() == (run / "network.safetensors").read_bytes()


def test_export_refuses_in_one_line_and_leaves_nothing(run, tmp_path, capsys):
    new = tmp_path / "new"
    new.mkdir()
    file = new / "net.onnx"
    assert_refused(called(capsys, "export", run), "nothing to write", "--onnx F")
    assert_refused(called(capsys, "export", run, "--onnx", file, "--c", file), "the same file")
    assert_refused(called(capsys, "export", run, "--c", file, "--layers"), "--layers is for --onnx")
    assert_refused(called(capsys, "export", tmp_path / "none", "--onnx", file), "none")
    assert not list(new.iterdir())
    for option in ("--onnx", "--torch", "--c", "--safetensors"):
        done = called(capsys, "export", run, option, new)
        assert done.returncode == 2
        assert "is a folder; expected the name of a file" in done.stderr
    assert not list(new.iterdir())
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("run", "new")] == []
