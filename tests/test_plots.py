"""Plots: they show the record's numbers, and name the extra that they need."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_verdicts import classifier, flow_of
from test_watched import watched

import deltarule as dr

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def _close_all():
    yield
    pyplot.close("all")


def test_a_flow_is_drawn_move_by_move_on_a_log_axis(tmp_path):
    flow = flow_of(classifier([30] * 4, "sigmoid"))
    ax = flow.plot()
    line, activation, weights, start = (axis_line.get_ydata() for axis_line in ax.get_lines())
    np.testing.assert_array_equal(line, [flow.rows[0].norm_in, *(move.norm_out for move in flow.rows)])
    np.testing.assert_array_equal(activation, [move.norm_out for move in flow.rows if move.step == "activation"])
    np.testing.assert_array_equal(weights, [move.norm_out for move in flow.rows if move.step == "weights"])
    assert list(start) == [flow.rows[0].norm_in]
    assert ax.get_yscale() == "log"
    assert "vanishing" in ax.get_title()
    styles = {(one.get_color(), one.get_marker()) for one in ax.get_lines()[1:]}
    assert len(styles) == 3
    assert len({marker for _, marker in styles}) == 3  # told apart without colour too
    ax.figure.savefig(tmp_path / "flow.png")


def test_a_plot_goes_into_the_axes_given():
    _, ax = pyplot.subplots()
    assert flow_of(classifier([30], "tanh")).plot(ax=ax) is ax
    assert watched(10).plot(ax=ax) is ax


def test_what_a_logarithm_cannot_show_is_written_down(tmp_path):
    ax = flow_of(classifier([30, 30], "tanh", init="zeros")).plot()
    assert [text.get_text() for text in ax.texts] == ["0"] * 5
    ax.figure.savefig(tmp_path / "flow.png")
    net = dr.Network([2, 2], output="identity", dtype="float64", seed=0)
    nothing = net.backprop(np.eye(2), net.predict(np.eye(2))).flow().plot()
    nothing.figure.savefig(tmp_path / "nothing.png")


@pytest.mark.parametrize("what", ["delta", "speed", "moved"])
def test_a_watched_training_is_drawn_layer_by_layer(what, tmp_path):
    seen = watched(50)
    ax = seen.plot(what)
    assert len(ax.get_lines()) == seen.L
    for l, line in enumerate(ax.get_lines(), 1):
        np.testing.assert_array_equal(line.get_xdata(), seen.steps)
        np.testing.assert_array_equal(line.get_ydata(), getattr(seen, what)[:, l - 1])
    assert ax.get_yscale() == "log"
    ax.figure.savefig(tmp_path / "watched.png")


def test_a_long_training_is_thinned_out_and_an_empty_one_is_drawn(tmp_path):
    line = watched(100_000).plot().get_lines()[0].get_xdata()
    assert len(line) <= 2000
    assert (line[0], line[-1]) == (1, 10 * 99_999 + 1)
    watched(0).plot().figure.savefig(tmp_path / "empty.png")


def test_an_unknown_quantity_is_refused():
    with pytest.raises(dr.BadInput, match="Did you mean 'speed'"):
        watched(3).plot("sped")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    for record in (flow_of(classifier([30], "tanh")), watched(3)):
        with pytest.raises(dr.MissingExtra, match=r'pip install "deltarule\[plot\]"'):
            record.plot()
