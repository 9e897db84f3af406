"""The proof proves what is right, and finds what is wrong: by equation, layer and neuron."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawn import HIDDEN, PAIRS, network, samples

import deltarule as dr
from deltarule.check import derivative, judge
from deltarule.records import ByLayer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_a_right_backward_pass_is_proved(output, cost, dtype):
    net = network([4, 5, 3, 2], ["tanh", "softsign"], output, cost, dtype, scale=1.0)
    report = dr.check(net, *samples(net, 3))
    assert report.ok, report


@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_activation_is_proved(hidden):
    net = network([4, 5, 3, 2], hidden, "sigmoid", "quadratic", scale=1.0)
    report = dr.check(net, *samples(net, 4))
    assert report.ok, report
    assert report.worst.error < 1e-6


def test_a_vanishing_error_is_measured_not_waved_through():
    # Ten sigmoids deep the error is a million times smaller: an absolute tolerance would accept anything here.
    net = dr.Network([3, *[3] * 10, 2], dtype="float64", seed=0)
    x, y = samples(net, 3)
    report = dr.check(net, x, y)
    first = next(f for f in report.findings if f.equation == "BP2" and f.layer == 1)
    assert np.abs(net.backprop(x, y).delta[1]).max() < 1e-6
    assert report.ok
    assert first.error < 0.01
    wrong = with_layer(net.backprop(x, y), "delta", 1, lambda d: 3 * d)
    assert not judge(net, wrong, x, y, "auto", None, 0).ok


def with_layer(trace, name, l, change):
    """The trace with one layer's values changed."""
    values = getattr(trace, name)
    changed = [change(v) if k == l else v for k, v in zip(values.layers, values, strict=True)]
    return dataclasses.replace(trace, **{name: ByLayer(changed, values.first)})


def change_one(values):
    changed = values.copy()
    changed.reshape(-1)[1] += 0.01 * np.abs(values).max()
    return changed


MISTAKES = [
    ("delta", 2, change_one, {"BP1", "adjoint"}),
    ("delta", 1, change_one, {"BP2", "adjoint"}),
    ("delta", 1, lambda d: d * 1.001, {"BP2", "adjoint"}),
    ("delta", 1, lambda d: d / 5, {"BP2", "adjoint"}),  # 1/N once too often
    ("slope", 1, change_one, {"slope"}),
    ("moved", 1, change_one, {"adjoint"}),
    ("grad_b", 1, change_one, {"BP3"}),
    ("grad_W", 2, change_one, {"BP4"}),
    ("grad_W", 1, lambda g: g / 5, {"BP4"}),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "layer", "change", "found"), MISTAKES)
def test_a_mistake_is_found_by_its_equation(name, layer, change, found, dtype):
    net = network([4, 6, 3], "tanh", "sigmoid", "quadratic", dtype, scale=1.0)
    x, y = samples(net, 5)
    trace = with_layer(net.backprop(x, y), name, layer, change)
    report = judge(net, trace, x, y, "auto", None, 0)
    assert not report.ok
    wrong = {finding.equation for finding in report.findings if not finding.ok}
    assert wrong <= found
    assert wrong & (found - {"adjoint"} or {"adjoint"})


def test_a_failure_names_layer_neuron_and_both_numbers():
    net = network([4, 6, 3], "tanh", "sigmoid", "quadratic", scale=1.0)
    x, y = samples(net, 5)
    trace = net.backprop(x, y)

    def change(delta):
        delta = delta.copy()
        delta[2, 4] += 1.0
        return delta

    report = judge(net, with_layer(trace, "delta", 1, change), x, y, "auto", None, 0)
    worst = report.worst
    assert (worst.equation, worst.layer, worst.place) == ("BP2", 1, "sample 2, neuron 4")
    assert worst.computed == pytest.approx(trace.delta[1][2, 4] + 1)
    assert worst.measured == pytest.approx(trace.delta[1][2, 4], rel=1e-6)
    assert "WRONG: BP2 at layer 1, sample 2, neuron 4" in str(report)


def test_a_wrong_slope_of_the_users_own_is_found():
    net = dr.Network([3, 4, 2], (np.sin, lambda z: np.cos(z) * 1.01), dtype="float64", seed=0)
    report = dr.check(net, *samples(net, 3))
    assert {f.equation for f in report.findings if not f.ok} >= {"BP2", "slope"}
    assert dr.check(dr.Network([3, 4, 2], (np.sin, np.cos), dtype="float64", seed=0), *samples(net, 3)).ok


def test_a_kink_within_reach_of_the_step_is_named_not_failed():
    net = dr.Network([1, 2, 1], "relu", "identity", dtype="float64", seed=0)
    net.W[1][...], net.b[1][...] = [[1.0], [1.0]], [0.0, 1.0]
    report = dr.check(net, [[1e-12], [1.0]], [[0.0], [0.0]])  # neuron 0 of sample 0 sits on the kink
    assert report.ok
    kinks = {(f.equation, f.layer): f.kinks for f in report.findings}
    assert kinks["BP2", 1] == kinks["slope", 1] == 1
    assert "at a kink" in str(report)


def test_a_kink_further_away_does_not_spoil_the_measurement():
    net = dr.Network([1, 2, 1], "relu", "identity", dtype="float64", seed=0)
    net.W[1][...], net.b[1][...] = [[1.0], [1.0]], [0.0, 1.0]
    report = dr.check(net, [[0.01], [1.0]], [[0.0], [0.0]])
    assert report.ok
    assert all(f.kinks == 0 for f in report.findings)


@pytest.mark.parametrize("weights", ["all", "directions"])
def test_gradients_by_weight_and_by_direction(weights):
    net = network([6, 5, 3], "tanh", "softmax", "log_likelihood", scale=1.0)
    x, y = samples(net, 4)
    assert dr.check(net, x, y, weights=weights).ok
    trace = with_layer(net.backprop(x, y), "grad_W", 1, change_one)
    report = judge(net, trace, x, y, weights, None, 0)
    assert [f.equation for f in report.findings if not f.ok] == ["BP4"]


def test_a_trained_network_on_real_digits_is_proved():
    split = dr.data.digits()
    net = dr.Network([64, 30, 10], seed=0)
    net.fit(*split.train, epochs=5, optimizer=dr.SGD(3.0))
    report = dr.check(net, split.test.x[:8], split.test.y[:8])
    assert report.ok, report
    assert report.worst.error < 1e-5


def test_the_derivative_is_that_of_known_functions():
    z = np.linspace(-2, 2, 9)
    none = np.empty((9, 0), bool)
    value, spread, kinked = derivative(lambda h: (np.exp(z + h), none))
    assert np.abs(value - np.exp(z)).max() < 1e-11
    assert (np.abs(value - np.exp(z)) <= 10 * spread).all()
    assert not kinked.any()


def test_bad_arguments_are_refused():
    net = dr.Network([2, 2], seed=0)
    with pytest.raises(dr.BadInput, match="'auto', 'all' or 'directions'"):
        dr.check(net, [[1, 2]], [0], weights="some")
    with pytest.raises(dr.BadInput, match="row"):
        dr.check(net, [[1, np.nan]], [0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("hidden", "output", "cost"),
    [
        ("sigmoid", "sigmoid", "cross_entropy"),
        ("relu", "softmax", "log_likelihood"),
        ("tanh", "identity", "quadratic"),
    ],
)
def test_a_network_that_has_learned_all_but_all_is_not_called_wrong(hidden, output, cost, dtype):
    """Its errors are as small as the rounding of a - y, and so is what a nudge changes of the cost."""
    x, y = dr.data.digits().train
    net = dr.Network([64, 16, 10], hidden, output, cost, seed=1, dtype=dtype)
    net.fit(x[:60], y[:60], epochs=3000, batch_size=60, optimizer=dr.Adam(0.01))
    report = dr.check(net, x[:60], y[:60])
    assert np.abs(net.backprop(x[:60], y[:60]).delta[2]).max() < 0.1
    assert report.ok, str(report)
    values = np.eye(10)[y[:60]]
    wrong = with_layer(net.backprop(x[:60], y[:60]), "delta", 1, lambda d: d * 1.01)  # what is wrong still is
    assert not judge(net, wrong, x[:60], values, "auto", None, 0).ok
