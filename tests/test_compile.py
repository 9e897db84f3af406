"""Compiled once, kept on disk, and compiled again when any source of the kernels has changed."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
from typer.testing import CliRunner

import deltarule
from deltarule import cli, warm
from deltarule.kernels import doors

SRC = Path(__file__).parent.parent / "src"
SAYS = "deltarule: compiling its kernels for this machine"
FIRST_USE = "import deltarule as dr; print(dr.__file__, dr.Network([2, 2], seed=0).predict([[1, 2]]).shape)"


def first_use(src: Path, **more: str) -> str:
    """What a new process says on stderr when it first uses a kernel."""
    env = {**os.environ, "PYTHONPATH": str(src), **more}
    done = subprocess.run([sys.executable, "-c", FIRST_USE], env=env, capture_output=True, text=True, check=True)
    assert str(src) in done.stdout
    assert "(1, 2)" in done.stdout
    return done.stderr


def test_the_first_compile_says_so_the_next_process_loads_and_a_change_anywhere_compiles_again(tmp_path):
    src = tmp_path / "src"
    shutil.copytree(SRC, src, ignore=shutil.ignore_patterns("__pycache__"))
    assert SAYS in first_use(src)
    assert first_use(src) == ""
    # Not the file that the door stands in: Numba's own cache would not notice this one.
    with open(src / "deltarule" / "kernels" / "products.py", "a") as file:
        file.write("\n")
    assert SAYS in first_use(src)
    assert first_use(src) == ""


def test_without_a_folder_to_write_to_it_compiles_each_time_and_works(tmp_path):
    src = tmp_path / "src"
    shutil.copytree(SRC, src, ignore=shutil.ignore_patterns("__pycache__"))
    nowhere = {"NUMBA_CACHE_DIR": "/proc/nowhere", "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    assert SAYS in first_use(src, **nowhere)
    assert SAYS in first_use(src, **nowhere)


def test_what_was_compiled_ahead_is_loaded(tmp_path):
    src, kept = Path(deltarule.__file__).parents[1], tmp_path / "kept"
    more = {"NUMBA_CACHE_DIR": str(kept)}
    command = [sys.executable, "-m", "deltarule", "compile"]
    env = {**os.environ, "PYTHONPATH": str(src), **more}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert SAYS in done.stderr
    assert f"kept in {kept}" in done.stdout
    found = {path.name.split("-")[0] for path in kept.rglob("*.nbi")}
    assert found == {"train.train", "predict.predict", "predict.evaluate", "passes.backprop"}
    assert len(list(kept.rglob("*.nbc"))) == 2 * len(found)  # one for each dtype
    assert first_use(src, **more) == ""


def test_compiled_ahead_for_nothing_is_an_error(monkeypatch):
    monkeypatch.setattr(warm, "compile_kernels", lambda say: None)
    refused = CliRunner().invoke(cli.app, ["compile"]).exception
    assert isinstance(refused, deltarule.BadInput)
    assert "NUMBA_CACHE_DIR" in str(refused)


def test_the_collector_of_garbage_is_as_it_was_after_a_compilation():
    for collects in (True, False):
        door = numba.njit(**doors.DOOR)(lambda x: x + 1)
        try:
            (gc.enable if collects else gc.disable)()
            assert door(1) == 2
            assert gc.isenabled() == collects
        finally:
            gc.enable()


def test_a_numba_with_other_insides_compiles_the_kernels_in_its_own_way():
    code = """
import numba.core.codegen as codegen
del codegen.CPUCodeLibrary._get_module_for_linking
import deltarule.kernels.doors as doors
assert doors.PART == doors.DOOR == {}
"""
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_networks_of_another_shape_and_kind_compile_nothing_new():
    code = """
import numpy as np, deltarule as dr
from deltarule.kernels import predict, train
x, y = np.random.default_rng(0).random((20, 4)), np.arange(20) % 3
dr.Network([4, 3], seed=0).fit(x, y, epochs=1)
before = len(train.train.signatures)
dr.Network([4, 9, 8, 7, 3], "gelu", "softmax", "log_likelihood", seed=0).fit(
    x, y, epochs=2, optimizer="adamw", dropout=0.1, l1=0.1, validation=(x, y))
dr.Network([4, 5, 3], (np.sin, np.cos), "identity", "huber", seed=0).fit(
    np.asfortranarray(x), np.eye(3)[y], epochs=1, optimizer="nesterov", batch_size=7)
assert before == len(train.train.signatures) == len(predict.evaluate.signatures) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
