"""What a training may be told beside `fit`'s options: the order of each epoch, patience, a shared penalty."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import relative
from drawn import network, samples
from test_reference import as_lists

import deltarule as dr
from deltarule import reference
from deltarule.kernels.train import BEST, COUNT, EPOCH, T, train
from deltarule.training import Training, settings_for


def prepared(net, x, y, epochs=4, batch_size=6, optimizer=None, l2=0.0):
    """A training whose records can be changed before it runs."""
    settings = settings_for(
        net, epochs=epochs, batch_size=batch_size, optimizer_given=optimizer, schedule_given=None,
        early_stopping=None, l2=l2, l1=0.0, dropout=0.0, rule="transpose", watch=False, shuffle=False,
        progress=False, checkpoint=None, threads=1,
    )  # fmt: skip
    training = Training(net, x, y, None, settings)
    training.course.eta[:] = settings.optimizer.eta
    return training


def go(training, steps=10**6):
    train(training.net.theta, training.net._layers, training.feedback, training.data, training.optimiser,
          training.course, training.watch, training.net.rng, False, training.rows, steps, training.team,
          training.batches[0], 0)  # fmt: skip


def drawn(seed=0, N=20):
    net = network([5, 7, 3], "tanh", "softmax", "log_likelihood", scale=1.0, seed=seed)
    return net, *samples(net, N)


def test_the_order_of_each_epoch_is_as_given():
    net, x, y = drawn()
    other = net.copy()
    orders = np.array([np.random.default_rng(e).permutation(20) for e in range(3)], np.int32)
    training = prepared(net, x, y, epochs=3, optimizer=dr.SGD(0.3))
    training.course = training.course._replace(orders=orders)
    go(training)
    for order in orders:
        other.fit(x[order], y[order], epochs=1, batch_size=6, shuffle=False, optimizer=dr.SGD(0.3))
    assert relative(net.theta, other.theta) < 1e-12


@pytest.mark.parametrize("steps", [1, 3, 10**6])
def test_patience_stops_at_the_end_of_the_epoch_that_wears_it_out(steps):
    net, x, y = drawn()
    training = prepared(net, x, y, epochs=40, batch_size=20, optimizer=dr.SGD(0.01))
    training.course = training.course._replace(
        patience=np.array([np.inf, 0, 10.0, 3, 0.5, 0]),
        penalty=np.zeros(40),  # no epoch helps by as much as 10
    )
    for _ in range(100 // min(steps, 100) + 1):
        go(training, steps)
    course = training.course
    assert course.counts[EPOCH] == 1 + 4  # the first is the best, three may fail, the fourth is one too many
    assert course.counts[T] == 5
    assert course.patience[COUNT] == 4
    assert course.patience[BEST] == course.cost[:5].min() * 0.5
    assert not course.cost[5:].any()


def test_patience_that_came_worn_is_judged_anew_after_an_epoch():
    net, x, y = drawn()
    training = prepared(net, x, y, epochs=5, batch_size=20, optimizer=dr.SGD(0.01))
    training.course = training.course._replace(
        patience=np.array([0.0, 9, 0.0, 3, 1, 0]),
        penalty=np.zeros(5),  # nothing is better than 0
    )
    go(training)
    assert training.course.counts[EPOCH] == 1
    assert training.course.patience[COUNT] == 10


def test_a_shared_penalty_is_divided_by_the_samples_of_its_batch():
    net, x, y = drawn()
    W, b, sigma = as_lists(net)
    training = prepared(net, x, y, epochs=1, batch_size=20, optimizer=dr.SGD(0.5), l2=3.0)
    training.optimiser = training.optimiser._replace(shared_l2=True)
    training.course = training.course._replace(penalty=np.zeros(1))
    go(training)
    done = reference.backprop(W, b, sigma, net.cost, x, y)
    squares = sum((w**2).sum() for w in W[1:])
    assert training.course.penalty[0] == pytest.approx(3.0 / 20 / 2 * squares)
    for l in (1, 2):
        assert relative(net.W[l] - W[l], -0.5 * (done.grad_W[l] + 3.0 / 20 * W[l])) < 1e-9


def test_a_gradient_can_be_asked_for_without_a_step():
    from deltarule.kernels.update import STILL

    net, x, y = drawn()
    before = net.theta.copy()
    W, b, sigma = as_lists(net)
    training = prepared(net, x, y, epochs=1, batch_size=20, optimizer=dr.Momentum(0.5), l2=0.1)
    training.optimiser = training.optimiser._replace(code=STILL)
    go(training)
    grad_W, grad_b = net._views(training.optimiser.grad[0])
    done = reference.backprop(W, b, sigma, net.cost, x, y)
    assert np.array_equal(net.theta, before)
    for l in (1, 2):
        assert relative(grad_W[l - 1], done.grad_W[l] + 0.1 * W[l]) < 1e-10
        assert relative(grad_b[l - 1], done.grad_b[l]) < 1e-10


def test_a_training_that_is_not_strict_goes_on_past_a_nan():
    net, x, y = drawn()
    training = prepared(net, x, y, epochs=3, optimizer=dr.SGD(0.5))
    training.course = training.course._replace(strict=False)
    training.course.eta[1] = np.nan
    go(training)
    assert training.course.counts[EPOCH] == 3
    assert np.isfinite(training.course.cost[:1]).all()
    assert np.isnan(training.course.cost[2])


def test_logarithms_are_counted_within_bounds():
    for output, cost in (("softmax", "log_likelihood"), ("sigmoid", "cross_entropy")):
        net = dr.Network([2, 2], output=output, cost=cost, init="zeros", dtype="float64")
        net.W[1][...] = np.eye(2) * 50
        x, y = np.array([[1.0, -1.0], [-1.0, 1.0], [0, 0]]), np.array([[1.0, 0.0]] * 3)
        plain = net.backprop(x, y)
        net._layers = net._layers._replace(bounds=np.array([1e-3, 7.0]))
        bounded = net.backprop(x, y)
        parts = 1 if output == "softmax" else 2
        assert plain.cost[1] > 49
        assert bounded.cost == pytest.approx([1e-3 * parts, 7.0 * parts, plain.cost[2]])
        assert np.array_equal(plain.delta[1], bounded.delta[1])


def test_epsilon_before_the_correction_is_kingmas_second_form():
    net, x, y = drawn()
    eta, beta1, beta2, epsilon = 0.01, 0.8, 0.95, 0.1
    W, _, sigma = as_lists(net)
    m, v = (np.zeros_like(W[1]) for _ in range(2))
    moving = W[1].copy()
    for t in (1, 2, 3):
        g = reference.backprop(
            [None, net.W[1].copy(), net.W[2].copy()], [None, *net.b], sigma, net.cost, x, y
        ).grad_W[1]
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        moving -= eta * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)
        if t == 1:
            optimizer = dr.AdamHat(eta, beta1, beta2, epsilon)
        net.fit(x, y, epochs=1, batch_size=20, shuffle=False, optimizer=optimizer)
        assert relative(net.W[1], moving) < 1e-12
