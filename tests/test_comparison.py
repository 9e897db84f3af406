"""The rules under one protocol: that it is one, that its record is what the trainings did, and how it reads."""

from __future__ import annotations

import json

import numpy as np
import pytest

import deltarule as dr
from deltarule import rules
from deltarule.data import Samples, Split


@pytest.fixture(scope="module")
def split():
    return dr.data.digits()


def test_each_training_is_the_one_that_fit_does(split):
    found = dr.compare_rules(split, hidden=[12, 9], epochs=3, seeds=[4, 7], eta=0.2, l2=1e-3)
    assert found.rules == tuple(rules.RULES)
    assert found.seeds == (4, 7)
    assert found.cost.shape == (6, 2, 3)
    assert found.angle.shape == (6, 2, 3, 2)
    for r, name in enumerate(found.rules):
        seeded = name in ("random", "direct", "kolen_pollack")
        for s, seed in enumerate(found.seeds):
            net = dr.Network([64, 12, 9, 10], "tanh", "softmax", "log_likelihood", seed=seed)
            rule = rules.RULES[name](seed=seed) if seeded else name
            history = net.fit(
                *split.train, epochs=3, optimizer=dr.SGD(0.2), l2=1e-3, rule=rule, validation=split.validation
            )
            assert tuple(found.cost[r, s]) == history.cost
            assert tuple(found.validation[r, s]) == history.validation.accuracy
            assert found.test[r, s] == net.score(*split.test)
            if name != "transpose":
                assert [tuple(angles) for angles in found.angle[r, s]] == list(history.angle)
    assert not found.angle[0].any()
    assert (found.seconds > 0).all()


def test_a_training_that_diverges_is_shown_and_does_not_end_the_others(split):
    B = np.random.default_rng(0).normal(size=(10, 8)) * 1e30
    table = {"true": "transpose", "mine": B}
    found = dr.compare_rules(split, table, hidden=[8], activation="relu", epochs=4, seeds=2)
    assert np.isnan(found.test[1]).all()
    assert np.isfinite(found.test[0]).all()
    text = str(found)
    assert "2 of 2 diverged" in text
    assert "nan" not in text
    assert found.citations == ("Rumelhart, Hinton, Williams 1986", "given")


def test_the_table_tells_what_was_measured(split):
    found = dr.compare_rules(split, ["transpose", "sign"], hidden=[10], epochs=5, seeds=3)
    text = str(found)
    assert "Network(64 -> 10 tanh -> 10 softmax" in text
    assert "5 epochs, batches of 10, SGD(0.1), l2 0, seeds 0, 1, 2" in text
    assert f"{np.median(found.test[1]):.1%}" in text
    assert f"{np.median(found.angle[1, :, -1, 0]):.0f}" in text
    assert max(map(len, text.splitlines())) < 140
    again = dr.Comparison.from_dict(json.loads(json.dumps(found.to_dict())))
    assert str(again) == text


def test_the_picture_has_a_panel_for_the_error_and_one_for_each_layer(split, tmp_path):
    found = dr.compare_rules(split, ["transpose", "random"], hidden=[8, 7], epochs=3, seeds=2)
    axes = found.plot()
    assert len(axes) == 3
    assert [line.get_label() for line in axes[0].get_lines()] == ["transpose", "random"]
    np.testing.assert_allclose(axes[0].get_lines()[1].get_ydata(), 1 - np.median(found.validation[1], axis=0))
    np.testing.assert_allclose(axes[2].get_lines()[1].get_ydata(), np.median(found.angle[1, :, :, 1], axis=0))
    axes[0].figure.savefig(tmp_path / "rules.png")


def test_a_network_without_hidden_layers_and_words_as_labels(split):
    words = Split(*(Samples(part.x, np.array([f"digit {label}" for label in part.y])) for part in split))
    found = dr.compare_rules(words, ["transpose"], hidden=[], epochs=2, seeds=1)
    assert found.angle.shape == (1, 1, 2, 0)
    assert found.test[0, 0] > 0.7
    assert "transpose" in str(found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rules": "random"}, "expected a list of names"),
        ({"rules": []}, "expected a list of names"),
        ({"rules": ["rando"]}, "Did you mean 'random'"),
        ({"seeds": 0}, "how many seeds"),
        ({"seeds": []}, "how many seeds"),
        ({"seeds": [1.5]}, "how many seeds"),
        ({"epochs": 0}, "epochs"),
        ({"eta": -1}, "eta"),
        ({"hidden": [0]}, "sizes"),
        ({"hidden": 5}, "hidden is 5; expected a list"),
        ({"seeds": True}, "how many seeds"),
        ({"seeds": [True]}, "how many seeds"),
        ({"rules": 5}, "expected a list of names"),
        ({"rules": ["random", "random"]}, "two rules of one name"),
        ({"rules": [lambda delta, W: delta @ W, lambda delta, W: -delta @ W]}, "two rules of one name"),
        ({"rules": [np.ones((10, 5))]}, "or a matrix; expected a dictionary"),
        ({"rules": {"mine": np.zeros((2, 2))}}, "expected"),
    ],
)
def test_bad_questions_are_refused(split, given, words):
    with pytest.raises(dr.BadInput, match=words):
        dr.compare_rules(split, **{"hidden": [5], "epochs": 1, **given})


def test_data_that_are_no_split_are_refused_and_seeds_may_be_numpys(split):
    for given in (split.train, None):
        with pytest.raises(dr.BadInput, match=r"expected a deltarule\.data\.Split"):
            dr.compare_rules(given)
    assert dr.compare_rules(split, ["sign"], hidden=[5], epochs=1, seeds=np.int64(2)).seeds == (0, 1)
