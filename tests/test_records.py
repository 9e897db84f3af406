"""Records: frozen, printed well, to a dictionary of JSON and back under a schema and a version."""

from __future__ import annotations

import dataclasses
import html
import json
import pickle
import re

import numpy as np
import pytest
import torch
from drawn import network, samples

import deltarule as dr
from deltarule.document import Readable
from deltarule.flow import Move
from deltarule.history import Series, Sharing
from deltarule.interop import check_backward
from deltarule.predictions import evaluate
from deltarule.records import RECORDS, ByLayer, Record
from deltarule.verdicts import Fault
from deltarule.watched import WatchedModel

KINDS = [
    "history",
    "history without validation",
    "series",
    "move",
    "flow",
    "sick flow",
    "broken flow",
    "fault",
    "remedy",
    "change",
    "watched",
    "trace",
    "trace in float64",
    "finding",
    "check",
    "verdict",
    "nudge",
    "candidate",
    "explanation",
    "explanation of an output",
    "step",
    "derivation",
    "edited trace",
    "effect of a step",
    "blame",
    "comparison",
    "history with angles and flow",
    "column",
    "recipe",
    "recipe of an amount",
    "evaluation",
    "finding in a module",
    "check of a module",
    "flow of a model",
    "watched model",
    "sharing",
]


@pytest.fixture(scope="module")
def records():
    net = network([3, 4, 2], "relu", "sigmoid", "cross_entropy", "float32")
    x, y = samples(net, 5)
    history = net.fit(x, y, epochs=12, validation=(x, y), early_stopping=dr.EarlyStopping(patience=20))
    double = network([3, 4, 2], "tanh", "identity", "quadratic", "float64")
    trace, report = net.backprop(x, y), dr.check(net, x, y)
    explanation, derivation = dr.explain(net, x, y), dr.derive(net)
    edited = net.backprop(x, y, rule="random", edit={1: 0.5})
    split = dr.data.digits()
    module = check_backward(torch.relu, torch.tensor([0.0, 1.0]))
    net.b[1][...] = -100
    sick = net.backprop(x, y).flow()
    net.W[2][...] = 1e38
    net.W[1][...], net.b[1][...] = 1e38, 0
    broken = net.backprop(x, y).flow()
    values = np.array([[1.0, np.nan], [np.inf, 1e-310]])
    watched = dr.Watched(
        steps=np.array([1, 11]), every=10, activations=("relu", "sigmoid"),
        moved=values, delta=values, speed=values, saturated=values, dead=values,
    )  # fmt: skip
    table = {"size": [1.5, 2, 3], "city": ["Rome", "Oslo", "Rome"], "y": ["a", "b", "a"]}
    recipe = dr.Recipe.fit(table, "y", missing="median")
    rows = (
        Move(1, "activation", 1.0, 0.5, dead=0.25, name="act", op="relu", source="a.py:3", to=(1,), outs=(0.5,)),
        Move(0, "weights", 0.5, 0.25, name="fc", op="linear", to=(-1,), outs=(0.25,), dtype="float16", tiny=0.1),
    )
    fault = Fault("dead", 1, "activation", "so many", name="act", source="a.py:3", advice="draw them anew")
    of_model = dr.Flow(rows, 0, (), (fault,), ("the lines",), 1024.0)
    made = [
        history,
        double.fit(x, y, epochs=2),
        history.validation,
        trace.flow().rows[1],
        trace.flow(),
        sick,
        broken,
        sick.verdicts[0],
        sick.remedy,
        sick.remedy.changes[0],
        watched,
        trace,
        double.backprop(x, y),
        report.findings[0],
        report,
        dr.check_formula(r"a^l = z^l"),
        explanation.nudges[0],
        explanation.candidates[1],
        explanation,
        dr.explain(double, x, y, layer=2),
        derivation.steps[0],
        derivation,
        edited,
        edited.step,
        edited.blame(),
        dr.compare_rules(split, ["transpose", lambda delta, W: delta @ W], hidden=[3], epochs=2, seeds=1),
        double.fit(x, y, epochs=2, rule="random", watch=True),
        recipe.columns[0],
        recipe,
        dr.Recipe.fit(table, "size"),
        evaluate(dr.Network([3, 2], seed=0), recipe, recipe.samples(table)),
        module.findings[0],
        module,
        of_model,
        WatchedModel((1,), 10, (of_model,)),
        Sharing(ranks=2, seconds=0.4, communication=0.2, alone=0.6),
    ]
    return dict(zip(KINDS, made, strict=True))


@pytest.fixture(params=KINDS)
def record(request, records):
    return records[request.param]


def assert_same(one, other):
    assert type(one) is type(other)
    for field in dataclasses.fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        assert type(mine) is type(theirs), field.name
        if isinstance(mine, ByLayer):
            assert mine.layers == theirs.layers
            pairs = list(zip(mine, theirs, strict=True))
        else:
            pairs = [(mine, theirs)]
        for part, part_too in pairs:
            if isinstance(part, np.ndarray):
                assert (part.dtype, part.shape) == (part_too.dtype, part_too.shape)
                assert part.tobytes() == part_too.tobytes()
            elif isinstance(part, Record):
                assert_same(part, part_too)
            else:
                assert part == part_too


def test_every_record_of_the_house_is_tried_here(records):
    assert {type(record) for record in records.values()} == set(RECORDS.values())


def test_a_record_goes_through_json_and_back_to_the_last_bit(record):
    text = json.dumps(record.to_dict(), allow_nan=False)
    again = type(record).from_dict(json.loads(text))
    assert_same(record, again)
    assert str(again) == str(record)
    assert json.dumps(again.to_dict()) == text


def test_a_dictionary_names_its_schema_and_version_and_every_field(record):
    kept = record.to_dict()
    assert kept["schema"] == type(record).schema
    assert kept["version"] == type(record).version
    assert set(kept) == {"schema", "version", *(field.name for field in dataclasses.fields(record))}


def test_a_record_is_pickled_bit_for_bit(record):
    assert_same(record, pickle.loads(pickle.dumps(record)))


def test_a_record_cannot_be_changed(record):
    name = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(record, name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 99}, "version [123], got .* version 99"),
        ({"version": None}, "version None"),
        ({"version": "1"}, "got .* version 1"),
        ({"schema": "deltarule.other"}, "got 'deltarule.other'"),
        ({"schema": None}, "got None"),
    ],
)
def test_another_schema_or_version_is_refused_with_what_was_expected(record, change, named):
    with pytest.raises(dr.BadFile, match=named) as caught:
        type(record).from_dict({**record.to_dict(), **change})
    expected = f"expected a record of schema '{type(record).schema}' version {type(record).version}"
    assert expected in str(caught.value)


def test_a_flow_of_the_first_version_is_read(records):
    """It had no names of operations, no lines and no graph; what it had is enough."""
    new = {
        "deltarule.move": ("name", "op", "source", "to", "outs", "dtype", "tiny"),
        "deltarule.flow": ("unseen", "scale", "ranks"),
        "deltarule.fault": ("name", "source", "advice"),
    }

    def aged(value):
        if isinstance(value, list):
            return [aged(one) for one in value]
        if not isinstance(value, dict):
            return value
        kept = {key: aged(one) for key, one in value.items() if key not in new.get(value.get("schema"), ())}
        return {**kept, "version": 1} if value.get("schema") in new else kept

    for kind in ("flow", "sick flow", "broken flow"):
        assert_same(dr.Flow.from_dict(aged(records[kind].to_dict())), records[kind])


def test_a_record_of_another_kind_is_refused(records):
    with pytest.raises(dr.BadFile, match=r"'deltarule.flow' version 3, got 'deltarule.history'"):
        dr.Flow.from_dict(records["history"].to_dict())


def test_a_record_that_lacks_a_field_is_refused_with_its_name(record):
    for field in dataclasses.fields(record):
        kept = record.to_dict()
        del kept[field.name]
        with pytest.raises(dr.BadFile, match=f"record lacks {field.name}"):
            type(record).from_dict(kept)


@pytest.mark.parametrize("given", [None, 3, "text", [], [1, 2]], ids=repr)
def test_what_is_no_dictionary_is_refused(record, given):
    with pytest.raises(dr.BadFile, match=f"expected a record of schema '{type(record).schema}', got"):
        type(record).from_dict(given)


DAMAGED = [
    {"schema": "deltarule.unheard-of"},
    {"schema": ["deltarule.flow"]},
    {"schema": "deltarule.flow", "version": 9},
    {"array": [1.0, 2.0], "dtype": "float32", "shape": [3]},
    {"array": [1.0, 2.0], "dtype": "no such type", "shape": [2]},
    {"array": [1.0, 2.0], "dtype": "object", "shape": [2]},
    {"array": [1.0]},
    {"layers": [1.0]},
    {"layers": 3, "first": 0},
]


@pytest.mark.parametrize("value", DAMAGED, ids=str)
def test_a_damaged_part_is_refused(record, value):
    name = dataclasses.fields(record)[0].name
    with pytest.raises(dr.BadFile):
        type(record).from_dict({**record.to_dict(), name: value})


def test_a_record_prints_itself_and_its_html_says_the_same(record):
    assert len(str(record)) > 30
    assert repr(record) == str(record)
    if isinstance(record, Readable):  # set as HTML of its own; tests/test_document.py
        assert record._repr_html_().startswith("<div")
        return
    if type(record) in (dr.Flow, dr.Watched, WatchedModel):
        return  # they have tables of their own: test_reports.py, test_watched.py
    match = re.fullmatch(r"<pre>(.*)</pre>", record._repr_html_(), re.DOTALL)
    assert html.unescape(match[1]) == str(record)


def test_names_of_ones_own_cannot_smuggle_html_into_a_notebook():
    def own(z):
        return z

    own.__name__ = "<script>alert(1)</script>&"
    trace = dr.Network([2, 3, 1], (own, own), seed=0).backprop(np.eye(2), [0, 1])
    assert "script>alert(1)</script" in str(trace)
    assert "&lt;/script&gt;" in trace._repr_html_()
    assert re.findall(r"<[^>]*>", trace._repr_html_()) == ["<pre>", "</pre>"]


def history(epochs, **more):
    cost = tuple(1 / (1 + epoch) for epoch in range(epochs))
    return dr.History(**{"cost": cost, "accuracy": (), "validation": None, "eta": cost, "seconds": cost, **more})


def test_a_history_prints_the_first_and_the_last_epoch_and_about_ten_between():
    lines = str(history(1000)).splitlines()
    assert "1000 epochs" in lines[0]
    assert lines[2].split()[0] == "1"
    assert lines[-1].split()[0] == "1000"
    assert 10 <= len(lines) <= 16


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 30])
def test_a_history_prints_at_any_length(epochs):
    assert str(history(epochs)).splitlines()[-1].split()[0] == str(epochs)


def test_a_history_prints_how_it_ended_and_only_the_columns_it_has():
    shown = str(history(2, stopped="early", best_epoch=1))
    assert "(early, best epoch 1)" in shown
    assert "accuracy" not in shown
    with_validation = str(history(2, accuracy=(0.1, 0.2), validation=Series((1.0, 2.0), (0.5, 0.25))))
    assert with_validation.splitlines()[1].split() == [
        "epoch", "cost", "accuracy", "validation", "cost", "validation", "accuracy", "eta",
    ]  # fmt: skip
    assert with_validation.splitlines()[-1].split() == ["2", "0.5", "0.2", "2", "0.25", "0.5"]


def test_a_history_of_no_epoch_says_so():
    assert str(history(0, stopped="interrupted")) == "History of no completed epoch (interrupted)"


def test_a_flow_without_any_error_left_goes_to_json_without_nan():
    x = np.eye(3)
    flow = dr.Network([3, 4, 3], "relu", init="zeros").backprop(x, [0, 1, 2]).flow()
    assert flow.rows[-1].norm_out == 0
    assert dr.Flow.from_dict(json.loads(json.dumps(flow.to_dict(), allow_nan=False))) == flow


def test_layers_compare_by_value_and_by_number():
    one = ByLayer([np.ones(2), np.zeros(3)])
    assert one == ByLayer([np.ones(2), np.zeros(3)])
    assert one != ByLayer([np.ones(2), np.ones(3)])
    assert one != ByLayer([np.ones(2), np.zeros(3)], first=0)
    assert one != ByLayer([np.ones(2)])
    assert one != [1, 2]


def test_layers_print_their_numbers_and_shapes():
    assert repr(ByLayer([np.ones((2, 3)), "name"], first=0)) == "ByLayer(0: float64 (2, 3), 1: 'name')"


def test_a_record_is_a_frozen_dataclass():
    for kind in RECORDS.values():
        assert issubclass(kind, Record)
        assert kind.__dataclass_params__.frozen
