"""The report of a flow: plain, in colour, as HTML, and as a budget whose numbers add up."""

from __future__ import annotations

import html
import math
import re
import sys

import numpy as np
import pytest
from test_verdicts import classifier, flow_of

import deltarule as dr

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def flow():
    return flow_of(classifier([30] * 4, "sigmoid"))


def test_a_report_has_table_bars_verdict_and_remedy(flow):
    lines = str(flow).splitlines()
    assert len([line for line in lines if "|" in line]) == len(flow.rows)
    assert "verdict: vanishing: " + flow.verdicts[0].why + "." in lines
    for change in flow.remedy.changes:
        assert f"  {change}" in lines
    assert str(flow_of(classifier([30], "tanh"))).endswith("verdict: healthy")


def test_bars_go_left_for_a_loss_and_right_for_a_gain():
    net = dr.Network([1, 1, 1], "identity", "identity", dtype="float64", seed=0)
    for factor, bar in ((4.0, "|++++"), (0.25, "----|"), (1.0, "|")):
        net.W[2][...] = factor
        line = str(net.backprop([[1.0]], [[-5.0]]).flow()).splitlines()[3]
        assert "(W^2)^T" in line
        assert line.endswith(f" {bar}")


def test_the_longest_bar_has_its_place_whatever_the_gain():
    net = dr.Network([1, 1, 1], "identity", "identity", dtype="float64", seed=0)
    net.W[2][...] = 1e-200
    text = str(net.backprop([[1.0]], [[-5.0]]).flow())
    assert "----------|" in text
    assert max(len(line) for line in text.splitlines()[1:5]) < 100


def test_str_is_plain_and_colour_says_the_same(flow, monkeypatch):
    plain, colored = flow.report(color=False), flow.report(color=True)
    assert not ANSI.search(plain)
    assert ANSI.search(colored)
    assert ANSI.sub("", colored) == plain == str(flow)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert flow.report() == colored
    assert str(flow) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert flow.report() == plain
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert flow.report() == plain


def test_a_budget_adds_up_in_logarithms(flow):
    lines = flow.budget().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *(f"layer {l}" for l in range(5, 0, -1)),
        "from the cost to the input",
    ]
    factors = [float(factor) for line in lines[:-1] for factor in re.findall(r" x([\d.e-]+)", line)]
    assert len(factors) == len(flow.rows)
    printed = float(lines[-1].split(" x")[1])
    # Three digits are printed of each; of the record itself the sum is exact.
    assert sum(map(math.log, factors)) == pytest.approx(math.log(printed), abs=0.005 * len(factors))
    exact = sum(math.log(move.gain) for move in flow.rows)
    assert exact == pytest.approx(math.log(flow.rows[-1].norm_out / flow.rows[0].norm_in), abs=1e-12)
    assert printed == pytest.approx(math.exp(exact), rel=0.005)


def test_a_budget_says_what_is_paid_and_given_back(flow):
    for line in flow.budget().splitlines()[:-1]:
        for name, factor, verb, size in re.findall(
            r"(\w+) x([\d.]+) \((costs? a factor|gives? back) ([\d.]+)\)", line
        ):
            assert verb.startswith("cost" if float(factor) < 1 else "give"), name
            assert max(float(factor), 1 / float(factor)) == pytest.approx(float(size), rel=0.06)
    assert "no error to carry" in flow_of(classifier([30], "tanh", init="zeros")).budget()


def test_html_is_a_table_with_every_number_and_no_script(flow):
    shown = flow._repr_html_()
    assert shown.count("<tr>") == len(flow.rows) + 1
    texts = [html.unescape(text) for text in re.findall(r">([^<>]+)<", shown)]
    for line in flow.report(color=False).splitlines()[2 : 2 + len(flow.rows)]:
        for word in line.split("  "):
            assert not word.strip(" |-+") or word.strip(" |-+") in " ".join(texts), word
    assert f"verdict: vanishing: {flow.verdicts[0].why}." in texts
    assert shown.count('<div style="position:absolute') == len(flow.rows)
    assert "<script" not in shown


def test_a_name_of_ones_own_is_escaped_in_html():
    def own(z):
        return z

    own.__name__ = "<script>alert(1)</script>&"
    flow = dr.Network([2, 3, 1], (own, own), seed=0).backprop(np.eye(2), [0, 1]).flow()
    assert "script>alert(1)</script" in str(flow)
    assert "&lt;/script&gt;" in flow._repr_html_()
    assert "</script" not in flow._repr_html_()


def test_the_bars_fit_into_a_narrow_terminal(monkeypatch):
    net = dr.Network([4, *[6] * 5, 3], seed=0)
    flow = net.backprop(np.eye(4), [0, 1, 2, 0]).flow()
    wide = flow.report(color=False).splitlines()[1 : 2 + len(flow.rows)]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = flow.report(color=False).splitlines()[1 : 2 + len(flow.rows)]
    assert max(map(len, narrow)) <= 80
    assert "--|" in flow.report(color=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert flow.report(color=False).splitlines()[1 : 2 + len(flow.rows)] == wide
