"""The flow: what it measures, and that its budget adds up."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from conftest import relative
from drawn import network, samples

import deltarule as dr
from deltarule.flow import length


def test_the_moves_are_those_of_bp2_in_order():
    net = network([4, 5, 3, 2], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 6)
    trace = net.backprop(x, y)
    flow = trace.flow()
    assert [(move.layer, move.step) for move in flow.rows] == [
        (3, "activation"), (2, "weights"), (2, "activation"), (1, "weights"), (1, "activation"), (0, "weights"),
    ]  # fmt: skip
    norms = {(move.layer, move.step): (move.norm_in, move.norm_out) for move in flow.rows}

    def rms(values):
        return np.linalg.norm(values) / np.sqrt(6)

    assert norms[2, "weights"] == pytest.approx((rms(trace.delta[3]), rms(trace.moved[2])))
    assert norms[2, "activation"] == pytest.approx((rms(trace.moved[2]), rms(trace.delta[2])))
    assert relative(trace.moved[0], trace.delta[1] @ net.W[1]) < 1e-12


def test_the_logarithms_of_the_gains_add_up_from_the_cost_to_the_input():
    net = network([4, *[5] * 8, 2], "sigmoid", "sigmoid", "cross_entropy")
    rows = net.backprop(*samples(net, 6)).flow().rows
    total = sum(math.log(move.gain) for move in rows)
    assert total == pytest.approx(math.log(rows[-1].norm_out / rows[0].norm_in), abs=1e-12)
    for before, after in itertools.pairwise(rows):
        assert before.norm_out == after.norm_in


def test_saturated_and_dead_units_are_counted():
    net = dr.Network([1, 4, 1], ["sigmoid"], "identity", dtype="float64", init="zeros", seed=0)
    net.b[1][...] = [0.0, 10.0, -10.0, 1.0]
    move = net.backprop([[1.0]], [[1.0]]).flow().rows[2]
    assert (move.saturated, move.dead) == (0.5, 0.0)
    net = dr.Network([1, 4, 1], ["relu"], "identity", dtype="float64", init="zeros", seed=0)
    net.W[1][0] = 1.0
    net.b[1][...] = [0.0, -1.0, -1.0, 1.0]
    move = net.backprop([[1.0], [-1.0]], [[1.0], [1.0]]).flow().rows[2]
    assert (move.saturated, move.dead) == (None, 0.5)  # neuron 0 lives for one of the two samples


def test_a_length_is_right_where_its_square_would_underflow():
    assert length(np.array([[3e-30, 4e-30]], "float32")) == pytest.approx(5e-30, rel=1e-6)
    assert length(np.array([[3e200, 4e200]])) == pytest.approx(5e200)


def test_the_report_names_each_move():
    net = network([4, 5, 2], "relu", "softmax", "log_likelihood")
    text = str(net.backprop(*samples(net, 6)).flow())
    for part in ("(W^2)^T", "sigma'(z^1), relu", "sigma'(z^2), softmax", "gain", "(W^1)^T"):
        assert part in text
