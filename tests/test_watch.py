"""Watching a training: what is recorded is the flow of each step, and nothing of the training changes."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from conftest import relative
from drawn import network, samples

import deltarule as dr
from deltarule.flow import length
from deltarule.verdicts import SATURATED


def expected(trace, before, enough):
    """One recorded row from a trace of the same batch: moved, delta, speed, saturated, dead, by layer 1..L.

    `before` holds the slopes of the samples before it, and is added to: of them the last `enough` tell who is dead.
    """
    layers = trace.delta.layers
    peaks = [dr.ACTIVATIONS[name].peak for name in trace.activations]
    return [
        [length(trace.moved[l]) for l in layers],
        [length(trace.delta[l]) for l in layers],
        [np.linalg.norm(trace.delta[l].mean(axis=0)) for l in layers],
        [
            np.nan if p is None else (trace.slope[l] < SATURATED * p).mean()
            for l, p in zip(layers, peaks, strict=True)
        ],
        [dead(before, trace, l, enough) for l in layers],
    ]


def dead(before, trace, l, enough):
    before[l] = np.concatenate([before.get(l, trace.slope[l][:0]), trace.slope[l]])
    return (before[l][-enough:] == 0).all(axis=0).mean() if len(before[l]) >= enough else 0.0


def recorded(flow, row):
    return [getattr(flow, name)[row] for name in ("moved", "delta", "speed", "saturated", "dead")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", ["sigmoid", "relu", "tanh"])
@pytest.mark.parametrize("rule", ["transpose", "random"])
def test_every_step_is_recorded_as_its_trace_says(rule, hidden, dtype):
    net = network([5, 7, 1, 4, 3], hidden, "softmax", "log_likelihood", dtype, scale=4.0)
    x, y = samples(net, 23)
    twin = network([5, 7, 1, 4, 3], hidden, "softmax", "log_likelihood", dtype, scale=4.0)
    rows, before = [], {}
    for _ in range(2):
        for start in range(0, 23, 7):  # three whole batches and one of 2
            batch = x[start : start + 7], y[start : start + 7]
            rows.append(expected(twin.backprop(*batch, rule=rule), before, 23))
            twin.fit(*batch, epochs=1, batch_size=7, optimizer=dr.SGD(0.3), rule=rule, shuffle=False)
    flow = net.fit(x, y, epochs=2, batch_size=7, optimizer=dr.SGD(0.3), rule=rule, shuffle=False, watch=True).flow
    assert flow.steps.tolist() == list(range(1, 9))
    for row, right in enumerate(rows):
        for mine, theirs in zip(recorded(flow, row), right, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-12)


def test_watching_changes_no_bit():
    x, y = dr.data.digits().train

    def trained(watch):
        net = dr.Network([64, 20, 10], seed=0)
        history = net.fit(x, y, epochs=3, optimizer=dr.Adam(0.01), dropout=0.2, watch=watch)
        return net.theta, history

    (watched, history), (plain, without) = trained(True), trained(False)
    assert np.array_equal(watched, plain)
    assert history.cost == without.cost
    assert without.flow is None
    assert len(history.flow.steps) == 3 * 120


def test_every_kth_step_across_epochs():
    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 30)
    flows = []
    for k in (1, 7):
        net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
        flows.append(net.fit(x, y, epochs=5, batch_size=10, optimizer=dr.SGD(0.3), shuffle=False, watch=k).flow)
    every, some = flows
    assert some.steps.tolist() == [1, 8, 15]
    assert some.every == 7
    np.testing.assert_array_equal(some.delta, every.delta[::7])


def test_only_whole_epochs_are_kept_where_a_training_ends_early():
    split = dr.data.digits()
    net = dr.Network([64, 20, 10], output="softmax", cost="log_likelihood", seed=0)
    history = net.fit(
        *split.train, epochs=200, validation=split.validation, early_stopping=dr.EarlyStopping(2),
        optimizer=dr.SGD(2.0), watch=10,
    )  # fmt: skip
    assert history.stopped == "early"
    assert len(history.flow.steps) == history.epochs * 12
    assert np.isfinite(history.flow.delta).all()


def test_a_diverged_training_shows_its_whole_epochs():
    net = network([4, 5, 3], "tanh", "identity", "quadratic")
    x, y = samples(net, 40)
    calls = []

    def blows_up(delta, W):
        calls.append(1)
        return delta @ W * (np.inf if len(calls) > 20 else 1)

    with pytest.raises(dr.Diverged) as failed:
        net.fit(x, y, epochs=50, batch_size=5, watch=True, rule=blows_up)
    history = failed.value.history
    assert history.epochs >= 1
    assert len(history.flow.steps) == history.epochs * 8
    assert np.isfinite(history.flow.delta).all()


@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_a_healthy_relu_network_is_not_called_dead_for_what_is_silent_in_a_batch(batch_size):
    x, y = dr.data.digits().train
    net = dr.Network([64, 60, 30, 10], "relu", "softmax", "log_likelihood", seed=0)
    fit = {"epochs": 2, "batch_size": batch_size, "optimizer": dr.SGD(0.02), "watch": 100}
    flow = net.fit(x, y, **fit).flow
    assert net.backprop(x, y).flow().verdict == "healthy"
    assert {flow.at(i).verdict for i in range(len(flow))} == {"healthy"}
    assert np.isclose(flow.dead[-1], 0, atol=0.1).all()
    net.b[2][:] = -100  # and one that is dead is called so, as soon as a thousand samples have been seen
    flow = net.fit(x, y, **fit).flow
    seen = np.minimum(flow.steps * batch_size, 2 * len(x))
    assert np.array_equal(flow.dead[:, 1] == 1, seen >= 1000)
    assert flow.at(-1).verdict in ("dead", "vanishing")


def test_units_that_dropout_silences_do_not_count_as_saturated():
    net = network([4, 200, 3], "sigmoid", "softmax", "log_likelihood", scale=0.1)
    x, y = samples(net, 50)
    flow = net.fit(x, y, epochs=1, batch_size=50, dropout=0.5, watch=True).flow
    assert flow.saturated[0, 0] == 0
    assert flow.dead[0, 0] == 0


def test_small_errors_do_not_underflow():
    net = dr.Network([3, *[4] * 20, 2], seed=0)  # twenty sigmoids: 1e-14 and less of the error arrives
    x, y = samples(net, 3)
    flow = net.fit(x, y, epochs=1, batch_size=3, watch=True).flow
    net = dr.Network([3, *[4] * 20, 2], seed=0)
    assert 0 < flow.delta[0, 0] < 1e-12
    assert relative(flow.delta[0, 0], length(net.backprop(x, y).delta[1])) < 1e-4


@pytest.mark.parametrize("watch", [-1, 1.5, "all", None])
def test_what_is_no_interval_is_refused(watch):
    net = dr.Network([2, 2], seed=0)
    with pytest.raises(dr.BadInput, match=r"watch is .* to watch every k-th step"):
        net.fit([[1, 2]], [0], watch=watch)


RESUMED = """
    import sys, numpy as np, deltarule as dr
    from deltarule import rules
    x, y = dr.data.digits().train
    net = dr.Network([64, 20, 15, 10], "relu", seed=3)
    net.b[1] = np.where(np.arange(20) < 9, -100.0, 0.0)  # nine dead neurons
    def train(epochs, folder):
        return net.fit(x, y, epochs=epochs, optimizer=dr.Momentum(0.1), checkpoint=folder, watch=50,
                       rule=["random", rules.KolenPollack(0.1)])
"""


def test_a_resumed_training_has_the_same_angles_flow_and_matrices(tmp_path):
    code = textwrap.dedent(RESUMED) + "train(3, sys.argv[1])\n"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "half")], check=True)
    whole, halves = {}, {}
    for found, folder in ((whole, tmp_path / "whole"), (halves, tmp_path / "half")):
        exec(textwrap.dedent(RESUMED), found)
        found["history"] = found["train"](6, folder)
    assert np.array_equal(whole["net"].theta, halves["net"].theta)
    assert whole["history"].angle == halves["history"].angle
    assert len(whole["history"].angle) == 6
    for seen in ("delta", "dead"):
        np.testing.assert_array_equal(getattr(whole["history"].flow, seen), getattr(halves["history"].flow, seen))
    assert whole["history"].flow.dead[:, 0].min() == 0 < whole["history"].flow.dead[:, 0].max()
    with pytest.raises(dr.BadInput, match="settings is rules"):
        halves["net"].fit(*dr.data.digits().train, epochs=6, optimizer=dr.Momentum(0.1),
                          checkpoint=tmp_path / "half", watch=50)  # fmt: skip
