"""Optimisers: their constants and what they remember. Their equations are tested with the training."""

from __future__ import annotations

import copy
import gc
import json
import math
import pickle
import weakref

import numpy as np
import pytest

import deltarule as dr
from deltarule.optimizers import OPTIMIZERS, Optimizer, optimizer

DEFAULTS = {
    "sgd": {"eta": 0.1, "first": 0.0, "second": 0.0, "epsilon": 0.0, "decay": 0.0},
    "momentum": {"eta": 0.1, "first": 0.9, "second": 0.0, "epsilon": 0.0, "decay": 0.0},
    "nesterov": {"eta": 0.1, "first": 0.9, "second": 0.0, "epsilon": 0.0, "decay": 0.0},
    "rmsprop": {"eta": 1e-3, "first": 0.0, "second": 0.9, "epsilon": 1e-8, "decay": 0.0},
    "adam": {"eta": 1e-3, "first": 0.9, "second": 0.999, "epsilon": 1e-8, "decay": 0.0},
    "adam_hat": {"eta": 1e-3, "first": 0.9, "second": 0.999, "epsilon": 1e-8, "decay": 0.0},
    "adamw": {"eta": 1e-3, "first": 0.9, "second": 0.999, "epsilon": 1e-8, "decay": 0.01},
}


def fit(net, opt, epochs=1):
    x = np.random.default_rng(0).random((12, 3))
    return net.fit(x, np.arange(12) % 2, epochs=epochs, batch_size=4, optimizer=opt)


def network():
    return dr.Network([3, 4, 2], seed=0)


def test_every_optimiser_is_in_the_table():
    assert set(OPTIMIZERS) == set(DEFAULTS)
    assert set(OPTIMIZERS.values()) == set(Optimizer.__subclasses__())


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_name_gives_the_optimiser_with_the_usual_constants(name):
    assert optimizer(name).settings() == {"name": name, **DEFAULTS[name]}


def test_none_is_adam_and_an_object_is_taken_as_it_is():
    own = dr.SGD(2.0)
    assert optimizer(None).settings() == dr.Adam().settings()
    assert optimizer(own) is own


ONES = [
    dr.SGD(0.5),
    dr.Momentum(0.5, 0.25),
    dr.Nesterov(0.5, 0.25),
    dr.RMSProp(0.5, 0.25, 1e-6),
    dr.Adam(0.5, 0.25, 0.75, 1e-6),
    dr.AdamHat(0.5, 0.25, 0.75, 1e-6),
    dr.AdamW(0.5, 0.25, 0.75, 1e-6, 0.125),
]


@pytest.mark.parametrize("one", ONES, ids=repr)
def test_what_is_printed_makes_the_same_optimiser_again(one):
    again = eval(repr(one), {**vars(dr)})
    assert again.settings() == one.settings()
    assert repr(again) == repr(one)


def test_the_constants_are_printed_under_their_own_names():
    assert repr(ONES[6]) == "AdamW(0.5, beta1=0.25, beta2=0.75, epsilon=1e-06, decay=0.125)"
    assert repr(dr.Momentum(0.5, 0.0)) == "Momentum(0.5, mu=0)"


@pytest.mark.parametrize("one", ONES, ids=repr)
def test_the_settings_are_what_json_knows_whatever_numbers_came(one):
    eta = type(one)(np.float32(0.5)).settings()["eta"]
    assert (eta, type(eta)) == (0.5, float)
    assert json.loads(json.dumps(one.settings())) == one.settings()


BAD_NUMBERS = [math.nan, math.inf, -math.inf, "a", None, True, np.ones(2), 1j]
SHARE = "a number from 0 up to, not including, 1"


@pytest.mark.parametrize(
    ("kinds", "name", "values", "expected"),
    [
        (OPTIMIZERS.values(), "eta", [0, -1.0, 0.0], "a learning rate above 0"),
        ([dr.Momentum, dr.Nesterov], "mu", [1, -0.1, 1.5], SHARE),
        ([dr.RMSProp], "rho", [1, -0.1, 1.5], SHARE),
        ([dr.Adam, dr.AdamW], "beta1", [1, -0.1, 1.5], SHARE),
        ([dr.Adam, dr.AdamW], "beta2", [1, -0.1, 1.5], SHARE),
        ([dr.RMSProp, dr.Adam, dr.AdamW], "epsilon", [-1e-8], "a number from 0 up"),
        ([dr.AdamW], "decay", [-0.01], "a number from 0 up"),
    ],
)
def test_a_constant_out_of_range_is_refused_under_its_own_name(kinds, name, values, expected):
    for kind in kinds:
        for value in [*values, *BAD_NUMBERS]:
            with pytest.raises(dr.BadInput, match=f"^{name} is .*; expected {expected}$"):
                kind(**{name: value})


def test_the_ends_of_each_range_are_allowed():
    assert dr.Momentum(1e-12, 0).first == 0
    assert dr.AdamW(1, 0, 0, 0, 0).settings() == {"name": "adamw", **dict.fromkeys(DEFAULTS["sgd"], 0), "eta": 1}


@pytest.mark.parametrize("one", ONES, ids=repr)
def test_it_remembers_what_its_equation_needs_and_no_more(one):
    net, opt = network(), copy.deepcopy(one)
    memory = opt.memory(net)
    assert memory.m.size == (
        net.theta.size if opt.name in ("momentum", "nesterov", "adam", "adam_hat", "adamw") else 0
    )
    assert memory.v.size == (net.theta.size if opt.name in ("rmsprop", "adam", "adam_hat", "adamw") else 0)
    fit(net, opt, epochs=2)
    assert opt.memory(net) is memory
    assert (memory.steps, memory.epochs) == (2 * 3, 2)
    for mean in (memory.m, memory.v):
        assert mean.size == 0 or np.abs(mean).max() > 0


def test_each_network_has_its_own_memory():
    opt, one, other = dr.Adam(), network(), network()
    fit(one, opt, epochs=2)
    assert opt.memory(other).steps == 0
    assert not opt.memory(other).m.any()
    fit(other, opt, epochs=1)
    assert (opt.memory(one).epochs, opt.memory(other).epochs) == (2, 1)


def test_forgetting_starts_anew():
    opt, net = dr.Adam(), network()
    fit(net, opt)
    opt.forget(net)
    assert opt.memory(net).steps == 0
    assert not opt.memory(net).m.any()


def test_the_memory_goes_with_the_network():
    opt, net = dr.Adam(), network()
    fit(net, opt)
    memory = weakref.ref(opt.memory(net))
    del net
    gc.collect()
    assert memory() is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_the_constants_and_an_empty_memory(copied):
    opt, net = dr.Adam(0.01), network()
    fit(net, opt)
    other = copied(opt)
    assert other.settings() == opt.settings()
    assert other.memory(net).steps == 0
    assert opt.memory(net).steps == 3


@pytest.mark.parametrize("given", ["Adam", "sdg", "adma"])
def test_an_unknown_name_is_refused_with_the_nearest(given):
    near = {"Adam": "adam", "sdg": "sgd", "adma": "adam"}[given]
    with pytest.raises(dr.BadInput, match=f"unknown optimizer '{given}'. Did you mean '{near}'"):
        optimizer(given)
