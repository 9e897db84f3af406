"""Changing the error on its way back, and finding who carries most of it."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import relative
from drawn import network, samples

import deltarule as dr


@pytest.fixture
def case():
    net = network([4, 6, 5, 3], "tanh", "softmax", "log_likelihood", scale=1.0)
    return net, *samples(net, 8)


def test_an_edit_changes_its_layer_all_below_and_nothing_above(case):
    net, x, y = case
    plain = net.backprop(x, y)
    for edit, delta in [
        ({2: 0}, 0 * plain.delta[2]),
        ({2: -0.5}, -0.5 * plain.delta[2]),
        ({2: np.arange(5.0)}, np.tile(np.arange(5.0), (8, 1))),
        ({2: np.ones((8, 5))}, np.ones((8, 5))),
        ({2: lambda d: np.where(d > 0, d, 0)}, np.maximum(plain.delta[2], 0)),
    ]:
        trace = net.backprop(x, y, edit=edit)
        np.testing.assert_array_equal(trace.delta[2], delta)
        np.testing.assert_array_equal(trace.delta[3], plain.delta[3])
        np.testing.assert_array_equal(trace.grad_W[3], plain.grad_W[3])
        np.testing.assert_array_equal(trace.moved[2], plain.moved[2])
        assert np.allclose(trace.delta[1], (delta @ net.W[2]) * plain.slope[1], rtol=1e-12, atol=1e-300)
        assert np.allclose(trace.grad_W[2], delta.T @ plain.a[1] / 8, rtol=1e-12, atol=1e-300)
        assert np.allclose(trace.grad_b[2], delta.mean(axis=0), rtol=1e-12, atol=1e-300)
        assert np.allclose(trace.grad_W[1], trace.delta[1].T @ x / 8, rtol=1e-12, atol=1e-300)


def test_several_edits_are_made_from_the_output_down(case):
    net, x, y = case
    plain = net.backprop(x, y)
    trace = net.backprop(x, y, edit={1: 3.0, 3: 0.5})
    assert relative(trace.delta[3], plain.delta[3] / 2) < 1e-12
    assert relative(trace.delta[2], plain.delta[2] / 2) < 1e-12
    assert relative(trace.delta[1], plain.delta[1] * 1.5) < 1e-12


def test_the_edited_error_goes_on_by_the_rule(case):
    net, x, y = case
    plain = net.backprop(x, y, rule="random")
    trace = net.backprop(x, y, rule="random", edit={2: 2.0})
    assert relative(trace.delta[1], 2 * plain.delta[1]) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("edit", [{1: 0}, {2: -1.0}, {3: 2.0}, {1: 0, 2: 0, 3: 0}])
def test_the_change_of_the_cost_is_predicted_and_made(edit, dtype):
    net = network([4, 6, 5, 3], "tanh", "softmax", "log_likelihood", dtype, scale=1.0)
    x, y = samples(net, 8)
    before = net.theta.copy()
    eta = 1e-3
    trace = net.backprop(x, y, edit=edit, eta=eta)
    np.testing.assert_array_equal(net.theta, before)
    stepped = net.astype("float64")
    for l in range(1, 4):
        stepped.W[l][...] -= eta * trace.grad_W[l].astype(float)
        stepped.b[l][...] -= eta * trace.grad_b[l].astype(float)
    wide = net.astype("float64")
    made = stepped.mean_cost(x, y) - wide.mean_cost(x, y)
    assert trace.step.cost == pytest.approx(wide.mean_cost(x, y), rel=1e-12)
    assert trace.step.actual == pytest.approx(made, rel=1e-9, abs=1e-15)
    assert trace.step.predicted == pytest.approx(made, rel=0.05, abs=1e-15)
    assert trace.step.true_actual < 0
    assert trace.step.true_predicted == pytest.approx(trace.step.true_actual, rel=0.05)
    if edit == {1: 0, 2: 0, 3: 0}:
        assert trace.step.actual == 0


def test_a_rule_too_is_judged_by_a_step(case):
    net, x, y = case
    step = net.backprop(x, y, rule="random", eta=0.01).step
    true = net.backprop(x, y, eta=0.01).step
    assert step.true_actual == true.actual == true.true_actual
    assert step.actual != true.actual
    assert net.backprop(x, y, rule="random").step is None
    assert "predicted change" in str(net.backprop(x, y, eta=0.01))
    assert dr.Step.from_dict(step.to_dict()) == step


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (0, dr.BadInput, "expected a dictionary"),
        ({0: 0}, dr.NoSuchLayer, "layers 1 to 3"),
        ({4: 0}, dr.NoSuchLayer, "layers 1 to 3"),
        ({"1": 0}, dr.NoSuchLayer, "layers 1 to 3"),
        ({2: np.ones(6)}, dr.BadInput, r"\(8, 5\)"),
        ({2: "zero"}, dr.BadInput, r"delta\^2"),
        ({2: lambda d: d.T}, dr.BadInput, r"\(8, 5\)"),
        ({2: np.nan}, dr.BadInput, "not finite"),
        ({2: lambda d: d / 0}, dr.BadInput, "not finite"),
        ({2: lambda d: d * 1e308 * 1e308}, dr.BadInput, "not finite"),
        ({2: True}, dr.BadInput, r"gives True; expected a number"),
        ({2: None}, dr.BadInput, r"gives None; expected a number"),
        ({2: lambda d: None}, dr.BadInput, r"gives None; expected a number"),
        ({2: 1j}, dr.BadInput, r"gives 1j; expected a number"),
        ({2: np.ones((8, 1))}, dr.BadInput, r"gives float64 of shape \(8, 1\)"),
    ],
)
def test_edits_that_make_no_sense_are_refused(case, edit, kind, words):
    net, x, y = case
    with np.errstate(all="ignore"), pytest.raises(kind, match=words):
        net.backprop(x, y, edit=edit)


def test_a_number_scales_whatever_its_kind(case):
    net, x, y = case
    halves = [net.backprop(x, y, edit={2: half}).delta[1] for half in (0.5, np.array(0.5), np.float32(0.5))]
    for half in halves:
        assert np.array_equal(half, halves[0])


def test_a_number_that_is_too_large_for_the_networks_dtype_is_refused(case):
    net, x, y = case
    with pytest.raises(dr.BadInput, match="not finite"):
        net.astype("float32").backprop(x, y, edit={2: 1e200})


def test_traces_that_do_not_fit_have_no_angle(case):
    net, x, y = case
    trace = net.backprop(x, y)
    for other in (net.backprop(x[:3], y[:3]), dr.Network([net.sizes[0], net.sizes[-1]]).backprop(x, y), None):
        with pytest.raises(dr.BadInput, match="trace"):
            trace.angle(other)


@pytest.mark.parametrize("eta", [0, -1, np.nan, "0.1"])
def test_a_step_has_a_length(case, eta):
    net, x, y = case
    with pytest.raises(dr.BadInput, match="eta"):
        net.backprop(x, y, eta=eta)


def planted(seed, share=0.01):
    """The digits with a share of wrong labels, and where they are."""
    x, y = dr.data.digits().train
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(y), round(share * len(y)), replace=False)
    y = y.copy()
    y[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return x, y, wrong


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ({"output": "softmax", "cost": "log_likelihood"}, dr.SGD(0.5)),
        ({}, dr.SGD(3.0)),  # quadratic: the wrong outputs are saturated, and only the cost tells
    ],
)
def test_blame_finds_wrong_labels(kind, optimizer):
    precision = []
    for seed in range(5):
        x, y, wrong = planted(seed)
        net = dr.Network([64, 30, 10], seed=seed, **kind)
        net.fit(x, y, epochs=10, optimizer=optimizer)
        blame = net.backprop(x, y).blame(top=len(wrong))
        precision.append(np.isin(blame.samples, wrong).mean())
    assert np.median(precision) >= 0.75, precision  # chance is 0.01


def test_the_shares_are_those_of_the_whole(case):
    net, x, y = case
    trace = net.backprop(x, y)
    blame = trace.blame(top=100, layer=2)
    assert sorted(blame.samples) == list(range(8))
    assert blame.cost_share.sum() == pytest.approx(1)
    assert blame.delta_share.sum() == pytest.approx(1)
    assert relative(blame.cost_share, trace.cost[blame.samples] / trace.cost.sum()) < 1e-12
    lengths = (trace.delta[2] ** 2).sum(axis=1)
    assert relative(blame.delta_share, lengths[blame.samples] / lengths.sum()) < 1e-12
    assert len(blame.neurons) == 6 + 5 + 3
    for (l, j), share in zip(blame.neurons, blame.neuron_share, strict=True):
        squares = (trace.delta[l] ** 2).sum(axis=0)
        assert share == pytest.approx(squares[j] / squares.sum())
    assert (np.diff(blame.neuron_share / blame.even_share) <= 0).all()
    text = str(blame)
    assert "The samples that cost most" in text
    assert "of |delta^2|^2" in text
    assert np.array_equal(dr.Blame.from_dict(blame.to_dict()).samples, blame.samples)


def test_shares_of_tiny_and_of_no_error():
    net = dr.Network([3, *[3] * 40, 2], dtype="float64", seed=0)
    x, y = samples(net, 3)
    blame = net.backprop(x, y).blame(layer=1)
    assert blame.delta_share.sum() == pytest.approx(1)
    zero = dr.Network([3, 4, 2], "relu", "identity", init="zeros", dtype="float64")
    blame = zero.backprop(np.eye(3), np.zeros((3, 2))).blame()
    assert not blame.cost_share.any()


def test_bad_questions_are_refused(case):
    net, x, y = case
    trace = net.backprop(x, y)
    with pytest.raises(dr.BadInput, match="top"):
        trace.blame(top=0)
    with pytest.raises(dr.NoSuchLayer):
        trace.blame(layer=4)
