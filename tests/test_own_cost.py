"""A cost of the user's own: a pair (value, grad) of functions of one output and its target."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from conftest import relative
from drawn import samples
from test_kernels import assert_same_pass

import deltarule as dr


def square(a, y):
    return 0.5 * (a - y) ** 2


def square_grad(a, y):
    return a - y


def network(cost, output="tanh", dtype="float64"):
    return dr.Network([4, 6, 3], "sigmoid", output, cost, dtype=dtype, seed=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("output", ["identity", "tanh", "softmax", "exp"])
def test_a_cost_of_ones_own_computes_as_the_table_s(output, dtype):
    own, table = (network(cost, output, dtype) for cost in ((square, square_grad), "quadratic"))
    x, y = samples(table, 20)
    assert_same_pass(own, x, y, 1e-10 if dtype == "float64" else 1e-4)
    for net in (own, table):
        net.fit(x, y, epochs=3, shuffle=False, progress=False)
    assert relative(own.theta, table.theta) < (1e-12 if dtype == "float64" else 1e-5)


def test_its_gradient_is_checked_like_any():
    net = network((square, lambda a, y: 1.1 * (a - y)))
    x, y = samples(net, 5)
    assert dr.check(network((square, square_grad)), x, y).ok
    assert not dr.check(net, x, y).ok


def test_copies_pickles_and_files_keep_it(tmp_path):
    net = network((square, square_grad))
    x, y = samples(net, 5)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.astype("float64")):
        assert other.mean_cost(x, y) == net.mean_cost(x, y)
    path = tmp_path / "net.safetensors"
    net.save(path)
    with pytest.raises(dr.BadFile, match="cost of your own, 'square'"):
        dr.load(path)
    assert dr.load(path, cost=(square, square_grad)).mean_cost(x, y) == net.mean_cost(x, y)


def test_one_that_cannot_be_compiled_is_refused_with_the_reason():
    net = network((lambda a, y: "far", square_grad))
    with pytest.raises(dr.BadInput, match="cannot be compiled"):
        net.backprop(*samples(net, 2))


@pytest.mark.parametrize("given", [(square,), (square, 3), square, 7])
def test_what_is_no_pair_is_refused(given):
    with pytest.raises(dr.BadInput, match=r"unknown cost.*or a pair \(value, grad\)"):
        network(given)


def test_it_has_no_formula_to_derive():
    with pytest.raises(dr.BadInput, match="no formula"):
        dr.derive(network((square, square_grad)))


def test_infinite_targets_stay_refused():
    net = network((square, square_grad))
    with pytest.raises(dr.BadInput, match="not a finite number"):
        net.fit(np.ones((2, 4)), np.full((2, 3), np.inf))
