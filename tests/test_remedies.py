"""Remedies: applied to planted faults they leave a healthy flow, with the gains that they predicted."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from drawn import HIDDEN, PAIRS, network, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verdicts import X, Y, classifier, flow_of

import deltarule as dr


def dead(layers, n=50):
    net = classifier([n] * 3, "relu")
    for l in layers:
        net.b[l][...] = -100
    return net


def tanh_saturated_in_one_layer():
    net = classifier([30] * 3, "tanh")
    net.W[2] *= 20
    return net


def one_layer(activation, factor):
    net = classifier([100] * 4, activation)
    net.W[3] *= factor
    return net


def own(z):
    return np.tanh(z)


def own_slope(z):
    return 1 / np.cosh(z) ** 2


PLANTED = {
    "sigmoid, 4 hidden": (classifier([30] * 4, "sigmoid"), "vanishing"),
    "sigmoid, 10 hidden": (classifier([30] * 10, "sigmoid"), "vanishing"),
    "sigmoid, 4 hidden, biases": (classifier([30] * 4, "sigmoid", "nielsen_scaled"), "vanishing"),
    "sigmoid, 10 hidden, biases": (classifier([30] * 10, "sigmoid", "nielsen_scaled"), "vanishing"),
    "softsign, biases": (classifier([30] * 8, "softsign", "nielsen_scaled", scale=0.5), "vanishing"),
    "tanh, weights far too small beside biases": (
        classifier([30] * 5, "tanh", "nielsen_scaled", scale=0.01),
        "vanishing",
    ),
    "sigmoid, float32": (classifier([30] * 4, "sigmoid", dtype="float32"), "vanishing"),
    "softsign": (classifier([30] * 8, "softsign", scale=0.5), "vanishing"),
    "relu, init 10 times too small": (classifier([100] * 5, "relu", scale=0.1), "vanishing"),
    "relu, init 100 times too small": (classifier([100] * 5, "relu", scale=0.01), "vanishing"),
    "relu, init 5 times too large": (classifier([100] * 5, "relu", scale=5), "exploding"),
    "relu, init 10 times too large": (classifier([100] * 5, "relu", scale=10), "exploding"),
    "gelu, init 10 times too small": (classifier([100] * 5, "gelu", scale=0.1), "vanishing"),
    "elu, init 5 times too large": (classifier([100] * 5, "elu", scale=8), "exploding"),
    "tanh, init 10 times too small": (classifier([100] * 5, "tanh", scale=0.1), "vanishing"),
    "tanh, init 4 times too large": (classifier([100] * 3, "tanh", scale=4), "saturated"),
    "tanh, init 10 times too large": (classifier([100] * 5, "tanh", scale=10), "exploding"),
    "one layer of relu too small": (one_layer("relu", 0.01), "vanishing"),
    "one layer of relu too large": (one_layer("relu", 100), "exploding"),
    "one layer of tanh too small": (one_layer("tanh", 0.01), "vanishing"),
    "tanh saturated in one layer": (tanh_saturated_in_one_layer(), "saturated"),
    "relu dead in one layer": (dead([2]), "dead"),
    "relu dead in all layers": (dead([1, 2, 3]), "dead"),
    "an activation of one's own": (classifier([30] * 5, (own, own_slope), scale=0.1), "vanishing"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_remedy_mends_the_flow_and_its_prediction_comes_true(name):
    net, word = PLANTED[name]
    flow = flow_of(net)
    assert flow.verdict == word
    before = net.theta.copy()
    mended = flow_of(flow.remedy.apply(net))
    assert mended.verdict == "healthy", str(mended)
    np.testing.assert_array_equal(net.theta, before)
    told = [change for change in flow.remedy.changes if change.predicted is not None]
    assert told
    for change in told:
        ratio = mended.gain(change.layer, change.step) / change.predicted
        assert 1 / 1.5 < ratio < 1.5, f"{change}, came {mended.gain(change.layer, change.step):.3g}"


def test_a_prediction_knows_what_the_changes_below_do_to_z():
    # SELU's slope depends on z throughout, and z in layer 5 shrinks by all that is taken away below it.
    net = classifier([100] * 5, "selu", scale=8)
    flow = flow_of(net)
    mended = flow_of(flow.remedy.apply(net))
    assert len(flow.remedy.changes) == 5
    for change in flow.remedy.changes:
        assert mended.gain(change.layer, change.step) == pytest.approx(change.predicted, rel=0.07)


@pytest.mark.parametrize("seed", range(5))
def test_a_stack_of_any_seed_is_mended(seed):
    net = classifier([30] * 4, "sigmoid", seed=seed)
    assert flow_of(flow_of(net).remedy.apply(net)).verdict == "healthy"


def test_the_remedies_of_several_verdicts_can_be_applied_in_turn():
    net = classifier([100] * 5, "tanh", scale=10)
    flow = flow_of(net)
    assert [fault.word for fault in flow.verdicts] == ["exploding", "saturated"]
    layers = [change.layer for change in flow.remedy.changes]
    assert len(set(layers)) == len(layers)
    one_by_one = net
    for fault in flow.verdicts:
        one_by_one = fault.remedy.apply(one_by_one)
    np.testing.assert_array_equal(one_by_one.theta, flow.remedy.apply(net).theta)


def test_a_mended_stack_learns_what_it_could_not():
    net = dr.Network([64, *[30] * 5, 10], cost="cross_entropy", seed=0)
    mended = flow_of(net).remedy.apply(net)
    for one in (net, mended):
        one.fit(X, Y, epochs=10, optimizer=dr.SGD(0.1), progress=False)
    assert net.score(X, Y) < 0.3
    assert mended.score(X, Y) > 0.8


def test_a_scaled_relu_is_predicted_exactly():
    net = classifier([100] * 5, "relu", scale=0.1)
    flow = flow_of(net)
    (change,) = [one for one in flow.remedy.changes if one.layer == 2]
    assert change.gain == pytest.approx(flow.gain(2))
    mended = flow_of(dr.Remedy((change,)).apply(net))
    assert mended.gain(2, "weights") == pytest.approx(change.scale * flow.gain(2, "weights"), rel=0.1)
    assert (change.activation, change.shift, change.step) == (None, (), "both")


def test_where_the_biases_drown_the_signal_only_the_weights_are_scaled():
    net = classifier([30] * 5, "tanh", "nielsen_scaled", scale=0.01)
    flow = flow_of(net)
    mended = flow.remedy.apply(net)
    for change in flow.remedy.changes:
        l = change.layer
        if change.shift:
            assert change.scale > 10
            np.testing.assert_allclose(mended.W[l], change.scale * net.W[l])
            assert np.abs(mended.b[l]).max() < 2 * np.abs(net.b[l]).max()
            assert "so that each mean z stays" in str(change)
    assert sum(1 for change in flow.remedy.changes if change.shift) >= 4


def test_only_the_dead_are_moved():
    net = classifier([50, 50], "relu")
    net.b[1][:30] = -100
    flow = flow_of(net)
    (change,) = flow.remedy.changes
    assert (change.layer, change.step, change.scale) == (1, "activation", 1.0)
    mended = flow.remedy.apply(net)
    moved = mended.b[1] != net.b[1]
    np.testing.assert_array_equal(moved, (net.backprop(X, Y).slope[1] == 0).all(axis=0))
    np.testing.assert_array_equal(mended.W[1], net.W[1])
    z = mended.backprop(X, Y).z[1]
    assert np.abs(z[:, moved].mean(axis=0)).max() < 1e-9


def test_a_saturated_output_is_scaled_down():
    net = dr.Network([1, 1], output="sigmoid", dtype="float64", seed=0)
    net.W[1][...], net.b[1][...] = 3.0, 3.0
    flow = net.backprop([[1.0]], [[0.0]]).flow()
    (change,) = flow.remedy.changes
    assert (change.layer, change.step) == (1, "activation")
    mended = flow.remedy.apply(net).backprop([[1.0]], [[0.0]]).flow()
    assert mended.gain(1, "activation") == pytest.approx(change.predicted)


def test_a_remedy_is_refused_by_another_network():
    remedy = flow_of(dead([2])).remedy
    for other in (dr.Network([64, 10]), dr.Network([64, 50, 40, 10], "relu")):
        with pytest.raises(dr.BadInput, match="layer 2"):
            remedy.apply(other)


def test_a_remedy_read_back_does_the_same():
    net = classifier([30] * 4, "sigmoid")
    remedy = flow_of(net).remedy
    again = dr.Remedy.from_dict(remedy.to_dict())
    assert again == remedy
    np.testing.assert_array_equal(again.apply(net).theta, remedy.apply(net).theta)


def test_a_copy_shares_nothing_and_keeps_the_generator():
    net = dr.Network([3, 4, 2], "relu", seed=5)
    other = net.copy("tanh")
    assert [sigma.name for sigma in other.activations] == ["tanh", "sigmoid"]
    assert [sigma.name for sigma in net.activations] == ["relu", "sigmoid"]
    assert not np.shares_memory(net.theta, other.theta)
    np.testing.assert_array_equal(net.theta, other.theta)
    assert net.rng.random() == other.rng.random()
    x = np.eye(3)
    assert not np.allclose(net.predict(x), other.predict(x))
    other.W[1] += 1
    assert not np.allclose(net.W[1], other.W[1])


def test_the_gains_of_the_layers_multiply_to_the_total():
    flow = flow_of(classifier([30] * 4, "sigmoid"))
    logs = [math.log(flow.gain(l)) for l in range(1, flow.L + 1)]
    assert sum(logs) == pytest.approx(math.log(flow.total), abs=1e-12)
    for l, step in itertools.product(range(1, 6), ("activation", "weights")):
        (move,) = [move for move in flow.rows if (move.layer, move.step) == (l - (step == "weights"), step)]
        assert flow.gain(l, step) == move.gain


@settings(max_examples=150)
@given(
    st.sampled_from(HIDDEN),
    st.sampled_from(PAIRS),
    st.lists(st.integers(1, 5), min_size=2, max_size=6),
    st.integers(1, 5),
    st.sampled_from(["float32", "float64"]),
    st.floats(-12, 12),
    st.integers(0, 99),
)
def test_whatever_the_network_the_flow_is_judged_and_the_remedy_applied(
    hidden, pair, sizes, N, dtype, exponent, seed
):
    net = network(sizes, hidden, *pair, dtype, seed, scale=10.0**exponent)
    x, y = samples(net, N)
    flow = net.backprop(x, y).flow()
    assert flow.verdict in ("healthy", "vanishing", "exploding", "dead", "saturated")
    assert (flow.verdict == "healthy") == (not flow.verdicts)
    again = dr.Flow.from_dict(json.loads(json.dumps(flow.to_dict(), allow_nan=False)))
    assert str(again) == str(flow)
    assert flow.budget()
    assert flow._repr_html_()
    if flow.remedy is not None:
        mended = flow.remedy.apply(net).backprop(x, y).flow()
        assert mended.verdict
        for change in flow.remedy.changes:
            assert change.scale > 0
            assert change.predicted is None or change.predicted > 0
