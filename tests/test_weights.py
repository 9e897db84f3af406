"""Samples that weigh: the reference, the compiled steps beside it, and what is refused."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from conftest import relative
from drawn import PAIRS, network, samples
from test_reference import as_lists

import deltarule as dr
from deltarule import reference


def drawn_weights(N, seed=3):
    weight = np.random.default_rng(seed).uniform(0, 3, N)
    weight[::5] = 0
    return weight


@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_autograd_finds_the_same_weighted_gradients(output, cost):
    net = network([4, 6, 3], "tanh", output, cost, scale=0.7)
    x, y = samples(net, 9)
    weight = drawn_weights(9)
    W, b, sigma = as_lists(net)
    mine = reference.backprop(W, b, sigma, net.cost, x, y, weight)
    tensors = [torch.tensor(one, requires_grad=True) for one in [*W[1:], *b[1:]]]
    a = torch.tensor(x)
    for w, v, name in zip(tensors[:2], tensors[2:], ["tanh", output], strict=True):
        a = oracle.SIGMA[name](a @ w.T + v)
    w = torch.tensor(weight)
    ((oracle.COST[cost](a, torch.tensor(y)) * w).sum() / w.sum()).backward()
    for one, grad in zip(tensors, [*mine.grad_W[1:], *mine.grad_b[1:]], strict=True):
        assert relative(grad, one.grad.numpy()) < 1e-10


@pytest.mark.parametrize("options", [{}, {"threads": 2}], ids=str)
@pytest.mark.parametrize("optimizer", [dr.SGD(0.3), dr.Momentum(0.1)], ids=repr)
def test_a_step_is_that_of_the_reference(optimizer, options):
    net = network([5, 7, 3], "tanh", "softmax", "log_likelihood", scale=1.0)
    x, y = samples(net, 20)
    weight = drawn_weights(20)
    W, b, sigma = as_lists(net)
    done = reference.backprop(W, b, sigma, net.cost, x, y, weight)
    history = net.fit(
        x, y, epochs=1, batch_size=20, optimizer=optimizer, shuffle=False, sample_weight=weight, **options
    )
    assert history.cost[0] == pytest.approx(done.cost.sum() / weight.sum())
    for l in (1, 2):
        assert relative(net.W[l] - W[l], -optimizer.eta * done.grad_W[l]) < 1e-9
        assert relative(net.b[l] - b[l], -optimizer.eta * done.grad_b[l]) < 1e-9


def test_a_weight_is_so_many_copies_of_a_sample():
    weight = np.array([2, 0, 1, 3])
    x, y = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 1, 0])
    one, other = (dr.Network([3, 4, 2], seed=0, dtype="float64") for _ in range(2))
    one.fit(x, y, epochs=20, batch_size=4, shuffle=False, sample_weight=weight)
    again = np.repeat(np.arange(4), weight)
    other.fit(x[again], y[again], epochs=20, batch_size=6, shuffle=False)
    assert relative(one.theta, other.theta) < 1e-9


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1.0, 2.0], r"shape \(2,\); expected \(4,\)"),
        ([[1.0]] * 4, r"shape \(4, 1\)"),
        ([1, -1, 1, 1], "row 1 is -1"),
        ([0, 0, 0, 0], "0 throughout"),
        ([1, np.nan, 1, 1], "not a finite number"),
        (["a"] * 4, "real numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(given, words):
    net = dr.Network([3, 4, 2], seed=0)
    before = net.theta.copy()
    with pytest.raises(dr.BadInput, match=words):
        net.fit(np.ones((4, 3)), [0, 1, 0, 1], sample_weight=given)
    assert np.array_equal(net.theta, before)


def test_a_checkpoint_of_other_weights_is_refused(tmp_path):
    x, y = np.ones((4, 3)), [0, 1, 0, 1]
    dr.Network([3, 4, 2], seed=0).fit(x, y, epochs=1, checkpoint=tmp_path, sample_weight=[1, 2, 3, 4])
    with pytest.raises(dr.BadInput, match="another training"):
        dr.Network([3, 4, 2], seed=0).fit(x, y, epochs=2, checkpoint=tmp_path)


def test_batches_that_weigh_nothing_change_nothing():
    net = dr.Network([3, 4, 2], seed=0)
    x, y = np.ones((4, 3)), [0, 1, 0, 1]
    history = net.fit(x, y, epochs=2, batch_size=2, shuffle=False, sample_weight=[0, 0, 1, 1])
    assert np.isfinite(history.cost).all()
