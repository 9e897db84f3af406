"""Schedules: the factor on eta in each epoch, by hand; and settings that make no sense."""

from __future__ import annotations

import dataclasses
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deltarule as dr
from deltarule.schedules import SCHEDULES, Schedule, schedule


def factors(one, epochs, costs=()):
    return [one.factor(epoch, epochs, costs[:epoch]) for epoch in range(epochs)]


def test_constant_leaves_eta_as_it_is():
    assert factors(dr.Constant(), 4) == [1, 1, 1, 1]


def test_inverse_by_hand():
    assert factors(dr.Inverse(0.5), 4) == pytest.approx([1, 1 / 1.5, 1 / 2, 1 / 2.5], rel=1e-15)
    assert factors(dr.Inverse(0), 3) == [1, 1, 1]


def test_cosine_by_hand():
    assert factors(dr.Cosine(), 4) == pytest.approx(
        [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)], rel=1e-14
    )
    assert factors(dr.Cosine(floor=0.2), 2) == pytest.approx([1, 0.6], rel=1e-14)


def test_cosine_stays_on_its_floor_after_its_end():
    assert factors(dr.Cosine(floor=0.1, over=2), 5) == pytest.approx([1, 0.55, 0.1, 0.1, 0.1], rel=1e-14)


def test_on_plateau_halves_after_patience_epochs_without_a_better_cost():
    #        cost after epoch:  1  2  3  4  5  6  7  8
    costs = [5, 4, 4, 6, 3, 3, 3, 3]
    assert factors(dr.OnPlateau(by=0.5, patience=2), 9, costs) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_on_plateau_stops_at_its_floor():
    assert dr.OnPlateau(by=0.1, patience=1, floor=0.05).factor(9, 10, [1.0] * 9) == 0.05


def test_on_plateau_takes_a_nan_for_no_improvement():
    assert dr.OnPlateau(patience=2).factor(3, 10, [1.0, math.nan, math.nan]) == 0.5


ALL = [dr.Constant(), dr.Inverse(0.3), dr.Cosine(0.01, 7), dr.Cosine(), dr.OnPlateau(0.3, 2, 0.01)]


@pytest.mark.parametrize("one", ALL, ids=repr)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_every_factor_lies_between_0_and_1_never_rises_and_needs_no_memory(one, costs):
    epochs = len(costs)
    way = factors(one, epochs, costs)
    assert way[0] == 1
    assert all(0 <= factor <= 1 for factor in way)
    assert all(after <= before for before, after in pairwise(way))
    # Asked again from any epoch on, as after a checkpoint, it says the same.
    assert [one.factor(epoch, epochs, costs[:epoch]) for epoch in reversed(range(epochs))] == way[::-1]


def test_only_the_schedule_that_looks_back_asks_for_costs():
    assert [name for name, kind in SCHEDULES.items() if kind.watches_cost] == ["on_plateau"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_name_gives_the_schedule_with_its_defaults(name):
    assert schedule(name) == SCHEDULES[name]()


def test_no_schedule_is_a_constant_one_and_an_object_is_taken_as_it_is():
    own = dr.Inverse(2.0)
    assert schedule(None) == dr.Constant()
    assert schedule(own) is own


@pytest.mark.parametrize("one", [*ALL, dr.EarlyStopping(3)], ids=repr)
def test_a_schedule_cannot_be_changed_and_is_pickled(one):
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.patience = 1


def test_the_rates_of_a_training_follow_the_schedule():
    net = dr.Network([2, 2], seed=0)
    history = net.fit(np.eye(2), [0, 1], epochs=4, optimizer=dr.SGD(0.5), schedule=dr.Inverse(1.0))
    assert history.eta == pytest.approx((0.5, 0.5 / 2, 0.5 / 3, 0.5 / 4), rel=1e-12)


def test_a_schedule_of_ones_own_is_used():
    class Warm(Schedule):
        def factor(self, epoch, epochs, costs):
            return (epoch + 1) / epochs

    history = dr.Network([2, 2], seed=0).fit(np.eye(2), [0, 1], epochs=4, optimizer=dr.SGD(1.0), schedule=Warm())
    assert history.eta == pytest.approx((0.25, 0.5, 0.75, 1), rel=1e-12)


BAD_NUMBERS = [math.nan, math.inf, "a", None, True, np.ones(2)]


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (dr.Inverse, "decay", [-0.1, *BAD_NUMBERS]),
        (dr.Cosine, "floor", [-0.1, 1.1, *BAD_NUMBERS]),
        (dr.Cosine, "over", [0, -3, 1.5, "a", True, math.nan]),
        (dr.OnPlateau, "by", [0, 1, -0.5, 2, *BAD_NUMBERS]),
        (dr.OnPlateau, "patience", [0, -1, 1.5, *BAD_NUMBERS]),
        (dr.OnPlateau, "floor", [-0.1, 1.1, *BAD_NUMBERS]),
        (dr.EarlyStopping, "patience", [0, -1, 1.5, *BAD_NUMBERS]),
        (dr.EarlyStopping, "min_delta", [-0.1, *BAD_NUMBERS]),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(kind, name, values):
    for value in values:
        with pytest.raises(dr.BadInput, match=f"^{name} is .*; expected a"):
            kind(**{name: value})


def test_an_unknown_monitor_is_refused_with_those_there_are():
    with pytest.raises(dr.BadInput, match=r"unknown monitor 'loss'. Did you mean 'cost'\? Known: cost, accuracy"):
        dr.EarlyStopping(monitor="loss")


def test_early_stopping_finds_the_best_epoch_and_ends_patience_epochs_after_it():
    stopping = dr.EarlyStopping(patience=2)
    costs = [3.0, 1.0, 2.0, 0.5, 0.5, 0.6]
    assert [stopping.best_epoch(costs[:n]) for n in range(1, 7)] == [0, 1, 1, 3, 3, 3]
    assert [stopping.is_over(costs[:n]) for n in range(1, 7)] == [False] * 5 + [True]


def test_early_stopping_by_accuracy_looks_for_the_highest():
    stopping = dr.EarlyStopping(patience=1, monitor="accuracy")
    assert stopping.best_epoch([0.1, 0.9, 0.9, 0.3]) == 1
    assert not stopping.is_over([0.1, 0.9])
    assert stopping.is_over([0.9, 0.9])


def test_an_improvement_below_min_delta_does_not_count():
    assert dr.EarlyStopping(min_delta=0.1).best_epoch([1.0, 0.95, 0.92]) == 0
    assert dr.EarlyStopping(min_delta=0.1).best_epoch([1.0, 0.95, 0.89]) == 2
