"""The definition of right: by hand, and against an oracle that shares nothing with it."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from conftest import relative
from drawn import HIDDEN, PAIRS, network, samples
from hypothesis import assume, given
from hypothesis import strategies as st

from deltarule import reference
from deltarule.activations import ACTIVATIONS
from deltarule.costs import COSTS


def as_lists(net):
    """W, b and activations as the reference takes them, in float64, indexed from 1."""
    W = [None, *(W.astype(np.float64) for W in net.W)]
    b = [None, *(b.astype(np.float64) for b in net.b)]
    return W, b, [None, *net.activations]


# A 2-3-2 network of sigmoids with the quadratic cost, one sample, worked by hand to 17 digits.
W1 = [[0.1, -0.2], [0.4, 0.3], [-0.5, 0.2]]
B1 = [0.1, -0.1, 0.2]
W2 = [[0.3, -0.6, 0.2], [-0.1, 0.5, 0.4]]
B2 = [0.05, -0.15]
X, Y = [[1.0, -2.0]], [[1.0, 0.0]]
BY_HAND = {
    "z": [[0.6, -0.3, -0.7], [0.054724847521100807, 0.13093800210432452]],
    "a": [
        [0.64565630622579545, 0.42555748318834101, 0.33181222783183389],
        [0.51367779851787528, 0.53268781180712329],
    ],
    "slope": [
        [0.2287842404566573, 0.24445831169074587, 0.22171287329310905],
        [0.24981291782770441, 0.24893150695926209],
    ],
    "moved": [
        [-0.0497071484201906, 0.1391951307599749, 0.028743198261463136],
        [-0.48632220148212472, 0.53268781180712329],
    ],
    "delta": [
        [-0.011372212196579639, 0.034027406661156072, 0.0063727370741824887],
        [-0.12148956815664233, 0.13260277973197901],
    ],
    "grad_W": [
        [
            [-0.011372212196579639, 0.022744424393159278],
            [0.034027406661156072, -0.068054813322312145],
            [0.0063727370741824887, -0.012745474148364977],
        ],
        [
            [-0.078440505820984708, -0.051700794858379128, -0.040311724268382917],
            [0.08561582095702234, 0.056430105206518942, 0.043999223759561904],
        ],
    ],
    "grad_b": [
        [-0.011372212196579639, 0.034027406661156072, 0.0063727370741824887],
        [-0.12148956815664233, 0.13260277973197901],
    ],
}
COST_BY_HAND = 0.26013279425114075


def test_every_value_of_a_hand_worked_network():
    sigmoid = ACTIVATIONS["sigmoid"]
    W, b = [None, np.array(W1), np.array(W2)], [None, np.array(B1), np.array(B2)]
    done = reference.backprop(W, b, [None, sigmoid, sigmoid], COSTS["quadratic"], np.array(X), np.array(Y))
    assert abs(done.cost[0] - COST_BY_HAND) < 1e-12
    for name, layers in BY_HAND.items():
        for l, by_hand in enumerate(layers, 1):
            value = np.asarray(getattr(done, name)[l])
            value = value if name.startswith("grad") else value[0]
            assert np.abs(value - by_hand).max() < 1e-12, (name, l)


@pytest.mark.parametrize(("output", "cost"), PAIRS)
@given(data=st.data())
def test_autograd_finds_the_same_deltas_and_gradients(output, cost, data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    hidden = [data.draw(st.sampled_from(HIDDEN)) for _ in sizes[2:]]
    net = network(sizes, hidden, output, cost, seed=data.draw(st.integers(0, 1000)), scale=0.7)
    x, y = samples(net, data.draw(st.integers(1, 6)))
    W, b, sigma = as_lists(net)
    mine = reference.backprop(W, b, sigma, net.cost, x, y)
    assume(np.abs(mine.delta[-1]).max() > 1e-12)  # not all of it cancelled: the oracle rounds a zero otherwise
    C, delta, grad_W, grad_b = oracle.backprop(W[1:], b[1:], [*hidden, output], cost, x, y)
    assert relative(mine.cost, C) < 1e-10
    for l in range(1, len(sizes)):
        terms = mine.moved[l]
        assert relative(mine.delta[l], delta[l - 1], terms) < 1e-10
        assert relative(mine.grad_W[l], grad_W[l - 1], terms) < 1e-10
        assert relative(mine.grad_b[l], grad_b[l - 1], terms) < 1e-10


@pytest.mark.parametrize("name", HIDDEN)
def test_a_slope_is_the_derivative_of_its_activation(name):
    sigma = ACTIVATIONS[name]
    z = np.linspace(-30, 30, 2001) + 0.0013  # no point on a kink
    measured = (sigma.sigma(z + 1e-5) - sigma.sigma(z - 1e-5)) / 2e-5
    assert np.abs(sigma.slope(z) - measured).max() < 1e-8


def test_slopes_keep_their_accuracy_where_they_are_small():
    # In float64 a * (1 - a) and 1 - a^2 are 0 here; the true slopes are e^-z and 4 e^-2z.
    z = np.array([40.0, -40.0])
    assert relative(ACTIVATIONS["sigmoid"].slope(z), np.exp([-40.0, -40.0])) < 1e-12
    assert relative(ACTIVATIONS["tanh"].slope(z), 4 * np.exp([-80.0, -80.0])) < 1e-12


@pytest.mark.parametrize("name", [*HIDDEN, "softmax"])
def test_a_nan_is_passed_on_not_hidden(name):
    z = np.array([[0.5, np.nan]])
    assert np.isnan(ACTIVATIONS[name].sigma(z)[0, 1])
    assert np.isnan(ACTIVATIONS[name].slope(z)[0, 1]) or name == "identity"


@pytest.mark.parametrize(("output", "cost"), [("sigmoid", "cross_entropy"), ("softmax", "log_likelihood")])
def test_a_saturated_output_keeps_its_cost_and_error(output, cost):
    # Here a rounds to 0 and 1: the logarithm of the rounded value is infinite, the true cost is 800.
    net = network([1, 2], [], output, cost)
    z, y = np.array([[800.0, 0.0]]), np.array([[0.0, 1.0]])
    a = net.output.sigma(z)
    value = reference.cost_value(net.output, net.cost, z, a, y)
    assert abs(value[0] - 800) < 1
    assert abs(reference.output_error(net.output, net.cost, z, a, y)[0, 0] - 1) < 1e-12
