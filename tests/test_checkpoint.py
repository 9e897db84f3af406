"""A training that is killed, at any moment, goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from checkpointed import train

import deltarule as dr
from deltarule.checkpoint import FILE

HEAD = f"""
    import os, sys, time
    from pathlib import Path
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from checkpointed import train
"""

IN_AN_EPOCH = """
    from deltarule import checkpoint
    write = checkpoint.write
    def and_say(training, folder):
        write(training, folder)
        print(training.done, flush=True)
    checkpoint.write = and_say
    # Epochs long enough to be killed inside: every step is a call of its own.
    from deltarule.kernels import train as kernel
    fast = kernel.train
    def slow(*args):
        time.sleep(0.002)
        return fast(*args[:-4], 1, *args[-3:])
    kernel.train = slow
    train(Path(sys.argv[1]))
"""

IN_A_WRITE = """
    from deltarule import store
    sync, written = os.fsync, []
    def stall(handle):
        written.append(handle)
        if len(written) == 2 * 4 + 1:  # each checkpoint syncs its file and its folder; the fifth file
            print("writing", flush=True)
            time.sleep(60)
        sync(handle)
    os.fsync = stall
    train(Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def killed(script: str, folder: Path, sign: str, pause: float) -> None:
    """Run the script in a process of its own and kill it, with no chance to tidy up, after it gives the sign."""
    script = textwrap.dedent(HEAD) + textwrap.dedent(script)
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if line.strip() == sign:
                break
        else:
            pytest.fail("the training ended before it could be killed")
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL


def assert_same(one, other):
    (net, history), (net_too, history_too) = one, other
    for l in (1, 2):
        np.testing.assert_array_equal(net.W[l], net_too.W[l])
        np.testing.assert_array_equal(net.b[l], net_too.b[l])
    assert history.cost == history_too.cost
    assert history.validation == history_too.validation
    assert history.eta == history_too.eta
    assert net.rng.bit_generator.state == net_too.rng.bit_generator.state


def test_killed_in_the_middle_of_an_epoch(tmp_path, uninterrupted):
    killed(IN_AN_EPOCH, tmp_path, "3", 0.1)
    assert_same(train(tmp_path), uninterrupted)


def test_killed_in_the_middle_of_a_write(tmp_path, uninterrupted):
    killed(IN_A_WRITE, tmp_path, "writing", 0.0)
    assert any(path.name.endswith(".part") for path in tmp_path.iterdir())
    assert_same(train(tmp_path), uninterrupted)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_more_epochs_go_on_where_it_ended(tmp_path, uninterrupted):
    train(tmp_path, epochs=7)
    assert_same(train(tmp_path), uninterrupted)


def test_a_finished_training_is_given_back_at_once(tmp_path, uninterrupted):
    train(tmp_path)
    before = (tmp_path / FILE).stat().st_mtime_ns
    assert_same(train(tmp_path), uninterrupted)
    assert (tmp_path / FILE).stat().st_mtime_ns == before


def fit(folder, net=None, **changes):
    x, y = dr.data.digits().train
    net = net or dr.Network([64, 8, 10], seed=0)
    options = {"epochs": 2, "batch_size": 20, "checkpoint": folder, **changes}
    return net.fit(options.pop("x", x), y, **options)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 10}, "batch_size 20 .now 10."),
        ({"optimizer": dr.SGD(1.0)}, "optimizer"),
        ({"l2": 0.1}, "l2 0.0 .now 0.1."),
        ({"net": dr.Network([64, 8, 10], seed=1)}, "seed 0 .now 1."),
        ({"net": dr.Network([64, 9, 10], seed=0)}, "sizes"),
        ({"x": dr.data.digits().train.x * 0.5}, "data"),
        ({"epochs": 1}, "already at epoch 2"),
    ],
)
def test_another_training_is_refused_with_what_differs(tmp_path, changes, named):
    fit(tmp_path)
    with pytest.raises(dr.BadInput, match=named):
        fit(tmp_path, **changes)


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_damaged_checkpoint_is_refused(tmp_path, keep):
    fit(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:keep])
    with pytest.raises(dr.BadFile, match=FILE):
        fit(tmp_path)


def test_a_refused_checkpoint_leaves_the_network_as_it_is(tmp_path):
    fit(tmp_path)
    net = dr.Network([64, 8, 10], seed=0)
    before = net.theta.copy()
    with pytest.raises(dr.BadInput):
        fit(tmp_path, net=net, l2=0.5)
    np.testing.assert_array_equal(net.theta, before)
    assert net.classes is None


def test_a_crash_while_writing_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    fit(tmp_path)
    before = (tmp_path / FILE).read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        fit(tmp_path, epochs=4)
    assert (tmp_path / FILE).read_bytes() == before
