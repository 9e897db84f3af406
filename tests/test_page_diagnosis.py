"""The page's records of a training: budgets that add up, heat maps whose cells are the engine's gains."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from test_flows import model_flow
from test_verdicts import X, Y, classifier
from test_watched import watched

import deltarule as dr
from deltarule.flow import Flow, Move
from deltarule.page.diagnosis import STEPS, drawn, flow_at, flow_view, heat, history_view
from deltarule.watched import WatchedModel


def as_page_reads_it(made):
    """Through JSON, which must know all of it."""
    return json.loads(json.dumps(made, allow_nan=False))


def test_a_budget_adds_up_to_the_whole_gain():
    flow = classifier([30] * 4, "sigmoid").backprop(X, Y).flow()
    view = as_page_reads_it(flow_view(flow))
    assert [bar["gain"] for bar in view["budget"]] == [move.gain for move in flow.rows]
    whole = math.log10(flow.rows[-1].norm_out / flow.rows[0].norm_in)
    assert math.fsum(bar["log10"] for bar in view["budget"]) == pytest.approx(whole, rel=1e-12)
    assert view["total"] == flow.total
    assert view["verdict"] == "vanishing"
    assert view["verdicts"][0]["remedy"] == [str(change) for change in flow.verdicts[0].remedy.changes]
    assert [row["norm_in"] for row in view["rows"]] == [move.norm_in for move in flow.rows]


def test_what_is_not_finite_goes_as_a_word_and_has_no_logarithm():
    net = classifier([8], "relu", dtype="float64")
    net.W[2][:] = np.nan
    view = as_page_reads_it(flow_view(net.backprop(X, Y).flow()))
    assert view["budget"][0]["gain"] == "nan"
    assert view["budget"][0]["log10"] is None
    assert view["rows"][-1]["norm_out"] == "nan"
    assert view["verdict"] == "exploding"


def branches():
    """A residual block: the loss hands all to an addition, that half to a line and half past it, and they meet."""
    rows = (
        Move(2, "loss", 1.0, 1.0, op="mse_loss", to=(1,), outs=(1.0,)),
        Move(2, "addition", 1.0, 1.0, name="block", op="add", to=(2, 3), outs=(0.9, 0.5)),
        Move(1, "weights", 0.9, 0.09, name="block.linear", op="linear", source="a.py:3", to=(3,), outs=(0.09,)),
        Move(1, "activation", 0.56, 0.28, name="act", op="tanh", to=(4,), outs=(0.28,)),
        Move(0, "weights", 0.28, math.nan, name="first", op="linear", source="a.py:2"),
    )
    return Flow(rows, 0, ())


def test_the_budget_of_a_model_follows_the_heaviest_way_and_adds_up():
    view = as_page_reads_it(flow_view(branches()))
    assert [(bar["label"], round(bar["gain"], 3)) for bar in view["budget"]] == [
        ("block (add)", 0.5),
        ("other parts join before act (tanh)", 1.12),
        ("act (tanh)", 0.5),
    ]
    assert math.fsum(bar["log10"] for bar in view["budget"]) == pytest.approx(math.log10(0.28))
    assert "block (add): x0.5" in branches().budget()


def test_what_hardly_changes_the_error_is_taken_together_and_the_sum_stays():
    n = 200
    gains = [1.0005] * n + [0.5]
    length, rows = 1.0, []
    for i, gain in enumerate(gains):
        rows.append(Move(1, "other", length, length * gain, op=f"op{i}", to=(i + 1,), outs=(length * gain,)))
        length *= gain
    rows.append(Move(0, "weights", length, math.nan, name="first", op="linear"))
    budget = flow_view(Flow(tuple(rows), 0, ()))["budget"]
    assert len(budget) == 2
    assert budget[-1]["label"].endswith("more operations, together")
    assert math.fsum(bar["log10"] for bar in budget) == pytest.approx(math.log10(length), rel=1e-9)


def test_the_heat_of_a_training_has_the_gains_from_the_output_down():
    seen = watched(5)
    made = as_page_reads_it(heat(seen, flows=2))
    assert [(row["layer"], row["step"]) for row in made["rows"]] == [(m.layer, m.step) for m in seen.at(0).rows]
    for k in range(5):
        logs = [math.log10(move.gain) for move in seen.at(k).rows]
        assert [row[k] for row in made["log10"]] == pytest.approx(logs, rel=1e-12)
    assert made["steps"] == list(seen.steps)
    assert made["verdicts"] == ["vanishing"] * 5
    assert [line["values"] for line in made["delta"]] == seen.delta.T.tolist()
    assert set(made["flows"]) == {"0", "4"}
    assert made["flows"]["4"]["rows"] == as_page_reads_it(flow_view(seen.at(4)))["rows"]


def test_of_a_long_training_about_400_steps_are_drawn():
    seen = watched(10_000)
    made = heat(seen)
    assert len(made["steps"]) == STEPS == len(made["verdicts"]) == len(made["log10"][0])
    assert (made["steps"][0], made["steps"][-1]) == (seen.steps[0], seen.steps[-1])
    assert max(np.diff(made["steps"])) <= 2 * min(np.diff(made["steps"]))
    place = 123
    assert flow_at(seen, place)["rows"] == flow_view(seen.at(drawn(seen)[place]))["rows"]
    assert seen.steps[drawn(seen)[place]] == made["steps"][place]
    with pytest.raises(dr.BadInput, match="400 recorded steps are drawn, from 0 to 399"):
        flow_at(seen, STEPS)


def test_the_heat_of_a_model_names_its_operations_and_their_lines():
    seen = WatchedModel((1, 11, 21), 10, (model_flow(0.5), model_flow(0.01), model_flow(0.0, "vanishing")))
    made = as_page_reads_it(heat(seen))
    told = [(row["label"], row["layer"], row["step"], row["source"]) for row in made["rows"]]
    assert told == [("2 (linear)", 1, "weights", "train.py:7")]  # the first layer's carries it no further
    assert made["log10"][0] == [math.log10(0.5), -2.0, None]  # of a gain of 0 there is no logarithm
    assert made["verdicts"] == ["healthy", "healthy", "vanishing"]
    assert [line["label"] for line in made["delta"]] == ["0", "2"]


def test_operations_that_come_and_go_have_rows_of_their_own():
    one = branches()
    other = Flow((*one.rows[:3], dataclasses.replace(one.rows[3], op="gelu"), one.rows[4]), 0, ())
    made = heat(WatchedModel((1, 2), 1, (one, other)))
    labels = [row["label"] for row in made["rows"]]
    assert {"act (tanh)", "act (gelu)"} <= set(labels)
    assert made["log10"][labels.index("act (tanh)")][1] is None
    assert made["log10"][labels.index("act (gelu)")] == [None, pytest.approx(math.log10(0.5))]
    assert labels.index("block.linear (linear)") < labels.index("act (gelu)")


def test_nothing_recorded_is_drawn_as_nothing():
    made = as_page_reads_it(heat(WatchedModel((), 10, ()), flows=3))
    assert made["steps"] == made["rows"] == made["verdicts"] == []
    assert heat(watched(0), flows=2)["flows"] == {}


def test_a_history_goes_by_epoch():
    x, y = dr.data.digits().train
    net = dr.Network([64, 8, 10], seed=0)
    history = net.fit(x[:200], y[:200], epochs=2, validation=(x[200:300], y[200:300]), progress=False)
    made = as_page_reads_it(history_view(history))
    assert made["cost"] == list(history.cost)
    assert made["validation_accuracy"] == list(history.validation.accuracy)
    assert made["stopped"] == "finished"
    assert made["eta"] == list(history.eta)
    bare = history_view(dataclasses.replace(history, validation=None, accuracy=()))
    assert bare["validation_cost"] == bare["accuracy"] == []
