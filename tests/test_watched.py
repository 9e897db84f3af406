"""Watched: the flow of many training steps, read back as the flow of each."""

from __future__ import annotations

import time

import numpy as np
import pytest
from test_verdicts import X, Y, classifier

import deltarule as dr


def watched(K, **more):
    """K steps of a sigmoid network whose errors shrink tenfold a layer."""
    rng = np.random.default_rng(0)
    size = 10.0 ** -np.arange(4)[::-1]
    made = {
        "steps": np.arange(1, 10 * K + 1, 10),
        "every": 10,
        "activations": ("sigmoid", "relu", "sigmoid", "softmax"),
        "moved": 4 * size * rng.lognormal(0, 0.1, (K, 4)),
        "delta": size * rng.lognormal(0, 0.1, (K, 4)),
        "speed": 0.1 * size * rng.lognormal(0, 0.1, (K, 4)),
        "saturated": np.full((K, 4), [0.0, np.nan, 0.0, 0.0]),
        "dead": np.zeros((K, 4)),
    }
    return dr.Watched(**{**made, **more})


def seen_in(trace):
    """A record of one step, from the trace of it."""
    flow = trace.flow()
    by_layer = {move.layer: move for move in flow.rows if move.step == "activation"}
    one = [by_layer[l] for l in range(1, trace.L + 1)]

    def row(values):
        return np.array([[np.nan if value is None else value for value in values]], np.float64)

    return dr.Watched(
        steps=np.array([7]),
        every=1,
        activations=tuple(trace.activations),
        moved=row(move.norm_in for move in one),
        delta=row(move.norm_out for move in one),
        speed=row(trace.speed),
        saturated=row(move.saturated for move in one),
        dead=row(move.dead for move in one),
    )


@pytest.mark.parametrize(
    "net",
    [
        classifier([30] * 4, "sigmoid"),
        classifier([30] * 3, "relu", scale=0.05),
        classifier([], "tanh"),
        classifier([30, 30], "tanh", scale=8),
    ],
    ids=str,
)
def test_a_step_read_back_is_the_flow_of_its_trace(net):
    flow = net.backprop(X, Y).flow()
    again = seen_in(net.backprop(X, Y)).at(0)
    assert again.rows == flow.rows[:-1]  # all but the move into the input
    assert again.verdict == flow.verdict
    assert [(fault.word, fault.layer, fault.step, fault.why) for fault in again.verdicts] == [
        (fault.word, fault.layer, fault.step, fault.why) for fault in flow.verdicts
    ]
    assert again.remedy is None
    assert again.total == flow.total
    assert "samples" not in str(again)
    assert again.budget().splitlines()[-1].startswith("from the cost to delta^1")


def test_the_speed_is_the_length_of_the_mean_delta():
    net = classifier([30, 20], "tanh", dtype="float32")
    trace = net.backprop(X, Y)
    for l in range(1, 4):
        assert trace.speed[l] == pytest.approx(np.linalg.norm(trace.delta[l].mean(axis=0)), rel=1e-4)


def test_the_gains_are_those_of_the_rows():
    seen = watched(5)
    for i in range(5):
        flow = seen.at(i)
        assert [flow.gain(l, "activation") for l in range(1, 5)] == pytest.approx(seen.activation_gain[i])
        assert [flow.gain(l + 1, "weights") for l in range(1, 4)] == pytest.approx(seen.weights_gain[i])
        assert flow.total == pytest.approx(seen.total[i])


def test_steps_count_from_both_ends_and_no_further():
    seen = watched(5)
    assert len(seen) == 5
    assert seen.at(-1) == seen.at(4)
    for i in (5, -6):
        with pytest.raises(dr.NoSuchLayer, match="5 steps were recorded"):
            seen.at(i)


def test_where_no_error_was_the_gain_is_nan_and_nothing_warns():
    seen = watched(2, moved=np.zeros((2, 4)), delta=np.zeros((2, 4)))
    assert np.isnan(seen.activation_gain).all()
    assert np.isnan(seen.total).all()
    assert "There is no error" in str(seen.at(0))
    assert "nan" in str(seen)


@pytest.mark.parametrize("K", [0, 1, 2, 9, 10, 11, 1000])
def test_it_prints_the_first_and_the_last_step_and_about_ten_in_all(K):
    lines = str(watched(K)).splitlines()
    assert len(lines) == 2 + min(K, 10)
    if K:
        assert lines[2].split()[0] == "1"
        assert lines[-1].split()[0] == str(10 * (K - 1) + 1)
        assert lines[-1].endswith("vanishing")


def test_a_million_steps_are_made_and_printed_at_once():
    big = {name: np.ones((1_000_000, 4)) for name in ("moved", "delta", "speed", "saturated", "dead")}
    start = time.perf_counter()
    seen = watched(0, steps=np.arange(1_000_000), **big)
    assert len(str(seen).splitlines()) == 12
    assert time.perf_counter() - start < 0.5


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(dr.BadInput, match=r"delta is \(4, 4\); expected \(5, 4\)"):
        watched(5, delta=np.ones((4, 4)))
    kept = watched(5).to_dict()
    with pytest.raises(dr.BadFile):
        dr.Watched.from_dict({**kept, "delta": kept["steps"]})


def test_it_goes_to_json_with_nan_and_back_bit_for_bit():
    seen = watched(3)
    again = dr.Watched.from_dict(seen.to_dict())
    for name in ("steps", "moved", "delta", "speed", "saturated", "dead"):
        np.testing.assert_array_equal(getattr(again, name), getattr(seen, name))
        assert getattr(again, name).dtype == getattr(seen, name).dtype


def test_its_html_is_a_table_of_the_same_rows():
    shown = watched(3)._repr_html_()
    assert shown.count("<tr>") == 4
    for line in str(watched(3)).splitlines()[2:]:
        for word in line.split():
            assert f">{word}<" in shown


BOOK = {
    (30, 30): (0.07, 0.31),
    (30, 30, 30): (0.012, 0.060, 0.283),
    (30, 30, 30, 30): (0.003, 0.017, 0.070, 0.285),
}
"""Chapter 5: the speed of learning of each hidden layer at the start of training, cross-entropy, 1000 images."""


@pytest.mark.parametrize("hidden", BOOK)
def test_the_books_speeds_of_learning_at_the_start(hidden, mnist_folder):
    x, y = (part[:1000] for part in dr.data.mnist(mnist_folder).train)
    speeds, verdicts = [], []
    for seed in range(7):
        net = dr.Network([784, *hidden, 10], cost="cross_entropy", init="nielsen_scaled", seed=seed)
        trace = net.backprop(x, y)
        speeds.append(list(trace.speed)[:-1])
        verdicts.append(trace.flow().verdict)
    speed = np.median(speeds, axis=0)
    assert (np.diff(speed) > 0).all()  # the nearer to the input, the slower
    for ours, book in zip(speed, BOOK[hidden], strict=True):
        assert book / 3 < ours < book * 3
    if len(hidden) == 4:
        assert set(verdicts) == {"vanishing"}
    if len(hidden) == 2:
        assert set(verdicts) == {"healthy"}


@pytest.mark.parametrize("hidden", BOOK)
def test_the_books_curves_of_learning_while_it_trains(hidden, mnist_folder):
    """The book follows these speeds for 500 epochs of gradient descent on 1000 images, eta 0.1, lambda 5."""
    x, y = (part[:1000] for part in dr.data.mnist(mnist_folder).train)
    net = dr.Network([784, *hidden, 10], cost="cross_entropy", init="nielsen_scaled", seed=0)
    history = net.fit(x, y, epochs=500, batch_size=1000, optimizer=dr.SGD(0.1), l2=5 / 1000, watch=True)
    assert len(history.flow) == 500
    speed = history.flow.speed[:, :-1]
    for ours, book in zip(speed[0], BOOK[hidden], strict=True):
        assert book / 3 < ours < book * 3
    slower = (np.diff(speed, axis=1) > 0).mean(axis=0)  # the share of the epochs in which a layer is the slower
    assert (slower > 0.75).all(), slower  # with some seeds two layers of 30 run side by side for a hundred epochs
    assert (np.median(speed[:, 1:] / speed[:, :-1], axis=0) > 1.3).all()
