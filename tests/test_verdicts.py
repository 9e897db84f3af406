"""Verdicts on planted faults: the word, the move, the numbers; and that healthy networks have none."""

from __future__ import annotations

import math

import numpy as np
import pytest

import deltarule as dr
from deltarule.flow import Move
from deltarule.verdicts import EXPLODING, MOST_DEAD, MOST_SATURATED, SATURATED, VANISHING, faults

DIGITS = dr.data.digits("float64")
X, Y = DIGITS.train.x[:300], DIGITS.train.y[:300]


def classifier(hidden, activation, init="auto", dtype="float64", seed=0, scale=1.0):
    """64 -> hidden -> 10 softmax with log-likelihood, all weights times a scale."""
    net = dr.Network([64, *hidden, 10], activation, "softmax", "log_likelihood", init, dtype, seed)
    for W in net.W:
        W *= scale
    return net


def flow_of(net):
    return net.backprop(X, Y).flow()


HEALTHY = {
    "sigmoid": dr.Network([64, 30, 10], seed=0),
    "sigmoid, two hidden": dr.Network([64, 30, 30, 10], seed=0),
    "relu": classifier([100, 100, 100], "relu", dtype="float32"),
    "tanh": classifier([100, 100, 100], "tanh"),
    "no hidden layer": classifier([], "relu"),
    "the book's": dr.Network([64, 30, 10], cost="cross_entropy", init="nielsen_scaled", seed=0),
    "twenty layers of relu": classifier([100] * 20, "relu", init="orthogonal"),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_has_no_verdict(name):
    flow = flow_of(HEALTHY[name])
    assert (flow.verdict, flow.verdicts, flow.remedy) == ("healthy", (), None)


def test_a_trained_network_is_healthy_though_its_outputs_are_flat():
    net = dr.Network([64, 30, 10], seed=0)
    net.fit(*DIGITS.train, epochs=30, optimizer=dr.SGD(3.0), progress=False)
    flow = net.backprop(*DIGITS.train).flow()
    assert flow.rows[0].saturated > MOST_SATURATED
    assert flow.verdict == "healthy"


def test_a_sigmoid_stack_vanishes_and_the_budget_says_where():
    flow = flow_of(classifier([30] * 4, "sigmoid"))
    (fault,) = flow.verdicts
    worst = min(flow.rows[1:-1], key=lambda move: move.gain)
    assert (flow.verdict, fault.layer, fault.step) == ("vanishing", worst.layer, "activation")
    assert flow.total < VANISHING
    assert f"delta^1 is {1 / flow.total:.0f}"[:14] in fault.why
    assert f"layer {worst.layer}'s sigmoid costs the error a factor {1 / worst.gain:.2g}" in fault.why


def move(layer, step, before, after, saturated=None, dead=None):
    return Move(layer, step, before, after, saturated, dead)


def stack(*gains, flat=0.0, dead=0.0):
    """Rows of a tanh network with these gains: activation, weights, activation ..., from the output down."""
    L, norm, rows = (len(gains) + 1) // 2, 1.0, []
    for i, gain in enumerate(gains):
        if i % 2 == 0:
            rows.append(move(L - i // 2, "activation", norm, norm * gain, flat, dead))
        else:
            rows.append(move(L - 1 - i // 2, "weights", norm, norm * gain))
        norm *= gain
    return rows


NAMES = ("tanh", "tanh", "tanh")


def test_the_words_of_the_budget():
    (fault,) = faults(stack(1.0, 1.0, 1 / 61, 1.4, 0.9), NAMES)
    assert fault.why.endswith("layer 2's tanh costs the error a factor 61, its weights give back 1.4")
    (fault,) = faults(stack(1.0, 1.0, 1 / 61, 0.5, 0.9), NAMES)
    assert fault.why.endswith("layer 2's tanh costs the error a factor 61, its weights cost another 2")
    (fault,) = faults(stack(1.0, 1.0, 0.8, 1 / 50, 1.0), NAMES)
    assert fault.why.endswith("layer 2's weights cost the error a factor 50, its tanh costs another 1.2")
    assert (fault.layer, fault.step) == (1, "weights")
    (fault,) = faults(stack(1.0, 1.0, 0.5, 120.0, 1.0), NAMES)
    assert fault.why.endswith("layer 2's weights multiply the error by 120, its tanh takes back 2")
    (fault,) = faults(stack(1.0, 80.0, 1.0, 1.0, 1.0), NAMES)  # layer 3's own activation is not on the way
    assert fault.why.endswith("layer 3's weights multiply the error by 80")
    (fault,) = faults(stack(1.0, 1.0, 1 / 61, 1.0, 0.9), NAMES)
    assert fault.why.endswith("its weights leave it as it is")


@pytest.mark.parametrize("beyond", [0.99, 1.01])
def test_the_thresholds_are_where_they_are_said_to_be(beyond):
    low = faults(stack(1.0, VANISHING * beyond, 1.0), NAMES[:2])
    assert [fault.word for fault in low] == (["vanishing"] if beyond < 1 else [])
    high = faults(stack(1.0, EXPLODING * beyond, 1.0), NAMES[:2])
    assert [fault.word for fault in high] == (["exploding"] if beyond > 1 else [])
    flat = faults(stack(1.0, 1.0, 1.0, flat=MOST_SATURATED * beyond), NAMES[:2])
    assert [(fault.word, fault.layer) for fault in flat] == ([("saturated", 1)] if beyond > 1 else [])
    rows = [move(1, "activation", 1.0, 1.0, None, MOST_DEAD * beyond)]
    assert [fault.word for fault in faults(rows, ["relu"])] == (["dead"] if beyond > 1 else [])
    flat_output = [move(1, "activation", 1.0, SATURATED * beyond, 0.9, 0.0)]
    assert [fault.word for fault in faults(flat_output, ["tanh"], True)] == (["saturated"] if beyond < 1 else [])


def test_dead_neurons_are_named_first_where_they_are_what_loses_the_error():
    net = classifier([50, 50, 50], "relu")
    net.b[2][...] = -100
    flow = flow_of(net)
    assert [fault.word for fault in flow.verdicts] == ["dead", "vanishing"]
    assert (flow.verdicts[0].layer, flow.verdicts[0].step) == (2, "activation")
    assert "100% of layer 2's relu units" in flow.verdicts[0].why
    assert "exactly 0 at layer 3's relu" in flow.verdicts[1].why  # above a dead layer nothing varies


def test_a_few_dead_neurons_are_no_fault_and_most_are():
    net = classifier([50, 50], "relu")
    net.b[1][:20] = -100
    assert flow_of(net).verdict == "healthy"
    net.b[1][:40] = -100
    flow = flow_of(net)
    assert (flow.verdict, flow.verdicts[0].layer) == ("dead", 1)


def test_saturated_tanh_is_named_with_its_layer():
    net = classifier([30, 30, 30], "tanh")
    net.W[2] *= 20
    flow = flow_of(net)
    assert (flow.verdict, flow.verdicts[0].layer, flow.verdicts[0].step) == ("saturated", 2, "activation")
    assert f"{100 * flow.rows[4].saturated:.0f}% of layer 2's tanh units" in flow.verdicts[0].why


def test_the_books_slow_neuron_is_saturated_and_the_cross_entropy_frees_it():
    # Chapter 3: one sigmoid neuron that has to learn 0 from 1, badly wrong at the start.
    for cost, word in (("quadratic", "saturated"), ("cross_entropy", "healthy")):
        net = dr.Network([1, 1], output="sigmoid", cost=cost, dtype="float64", seed=0)
        net.W[1][...], net.b[1][...] = 3.0, 3.0
        assert net.backprop([[1.0]], [[0.0]]).flow().verdict == word


def test_an_infinite_derivative_at_a_cross_entropy_is_no_fault():
    net = dr.Network([2, 3, 1], "tanh", "sigmoid", "cross_entropy", dtype="float32", seed=0)
    net.b[2][...] = -200  # a^L rounds to 0, so dC/da = -1/a overflows; delta^L = a - y does not
    flow = net.backprop([[1.0, 0.0]], [[1.0]]).flow()
    assert math.isclose(flow.rows[0].norm_out, 1.0)
    assert flow.verdict == "healthy"
    assert "delta^1" in flow.report()


def test_weights_of_zero_lose_the_error_and_the_move_is_named():
    flow = flow_of(classifier([30, 30], "tanh", init="zeros"))
    (fault,) = flow.verdicts
    assert (fault.word, fault.layer, fault.step, fault.remedy) == ("vanishing", 2, "weights", None)
    assert "exactly 0 at layer 3's weights" in fault.why
    assert "drawn anew" in str(flow)


def test_an_error_that_rounds_to_zero_is_named():
    flow = flow_of(classifier([30] * 90, "sigmoid", dtype="float32"))
    assert flow.rows[-1].norm_out == 0
    assert flow.verdict == "vanishing"
    assert "becomes exactly 0 at layer" in flow.verdicts[0].why
    assert "nan" in flow.report()


def test_an_error_that_is_not_there_is_no_fault_but_is_said():
    net = dr.Network([2, 2], output="identity", dtype="float64", seed=0)
    x = np.eye(2)
    flow = net.backprop(x, net.predict(x)).flow()
    assert flow.verdict == "healthy"
    assert "There is no error" in str(flow)


def test_an_error_that_overflows_on_its_way_is_named_at_its_move():
    net = dr.Network([1, 2, 1], "relu", "identity", dtype="float32", seed=0)
    net.W[1][...], net.W[2][...] = 1e-30, 1e30
    flow = net.backprop([[1.0]], [[-1e10]]).flow()
    (fault,) = flow.verdicts
    assert (fault.word, fault.layer, fault.step) == ("exploding", 1, "weights")
    assert fault.why == "the error becomes infinite at layer 2's weights"
    assert "inf" in flow.report()


def test_a_forward_pass_that_overflows_is_named():
    net = dr.Network([2, 4, 4, 1], "relu", "identity", dtype="float32", seed=0)
    for W in net.W:
        W[...] = 1e30
    flow = net.backprop([[1.0, 1.0]], [[1.0]]).flow()
    (fault,) = flow.verdicts
    assert fault.word == "exploding"
    assert "before the error is carried back" in fault.why
    assert flow.remedy is None
