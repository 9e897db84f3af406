"""Formulas as people paste them: the true hold, the false are named and mended, the hostile are refused in time."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from formulas import ELSEWHERE, FALSE, REFUSED, TRUE
from hypothesis import given, settings
from hypothesis import strategies as st

import deltarule as dr
from deltarule import cli


@pytest.mark.parametrize("text", TRUE)
def test_the_true_hold(text):
    verdict = dr.check_formula(text)
    assert verdict.holds, verdict
    assert verdict.error < 1e-10


@pytest.mark.parametrize(("text", "edit"), FALSE)
def test_the_false_do_not_and_are_mended(text, edit):
    verdict = dr.check_formula(text)
    assert not verdict.holds
    assert edit in verdict.reason, verdict
    assert verdict.error is None or verdict.error > 1e-10
    assert dr.check_formula(verdict.mended).holds, verdict


@pytest.mark.parametrize(("text", "where"), ELSEWHERE)
def test_a_formula_of_another_book_is_false_here_and_said_to_hold_there(text, where):
    verdict = dr.check_formula(text)
    assert not verdict.holds
    assert len(verdict.holds_where) == len(where), verdict
    assert all(part in whole for part, whole in zip(where, verdict.holds_where, strict=True)), verdict
    assert "it does hold" in verdict.reason


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_cannot_be_read_is_refused_with_the_way_out(text, said):
    with pytest.raises(dr.BadInput) as refused:
        dr.check_formula(text)
    assert said in str(refused.value)


def test_an_error_points_at_its_place():
    with pytest.raises(dr.BadInput) as refused:
        dr.check_formula(r"δ^l = (W^{l+1})ᵀ \foo^{l+1}")
    _, line, caret = str(refused.value).splitlines()
    assert line[caret.index("^") : caret.rindex("^") + 1] == r"\foo"


def test_the_two_formulas_that_readers_meet():
    assert dr.check_formula(r"\delta^{l} = ((w^{l+1})^{T} \delta^{l+1}) \odot \sigma'(z^{l})").holds
    second = dr.check_formula(
        r"\sigma(z^{l+1}) = \sigma(W^{l+1} z^l + b^{l+1}), \delta^{l} = W^{l+1} \delta^{l+1} \odot \sigma'(z^{l+1})"
    )
    for wrong in ("take a^l, not z^l", "transpose W^{l+1}", "take sigma' at l, not l+1"):
        assert wrong in second.reason


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (
            r"\delta_j = h'(z_j) \sum_k w_{kj} \delta_k",
            "delta^l_j = sigma'(z^l_j) (sum_k W^{l+1}_{kj} delta^{l+1}_k) (",
        ),
        (r"\partial C/\partial W^l = \delta^l \otimes a^{l-1}", "outer product"),
        (r"\delta^l = (W^{l+1})^T \delta^{l+1} \otimes \sigma'(z^l)", "elementwise product"),
        ("delta = np.dot(W[-l+1].T, delta) * sp", "delta[l] = (W[l+1].T @ delta[l+1]) * sigma_prime(z[l]) ("),
        ("delta3 = (a3 - y) * sp(z3)", "layer 3 is the output layer"),
        ("delta[l] = delta[l+1] @ W[l+1] * sp(z[l])", "samples are rows"),
        ("dW1 = dz1 @ x.T / m", "the number of samples is 1"),
        (r"\delta_k = (y_k - t_k) \sigma'(z_k)", "y is the output a^L"),
    ],
)
def test_what_can_be_meant_in_several_ways_is_read_aloud(text, read):
    verdict = dr.check_formula(text)
    assert verdict.holds
    assert read in verdict.read_as
    assert verdict.read_as in str(verdict)


def test_python_is_judged_as_numpy_computes_it():
    # * and @ from left to right: sp(z) repeats over the columns of W.T, and W.T * delta does not fit.
    assert dr.check_formula("delta[l] = sp(z[l]) * W[l+1].T @ delta[l+1]").holds
    assert not dr.check_formula("delta[l] = W[l+1].T * delta[l+1] * sp(z[l])").holds
    assert dr.check_formula("dC_dW[l] = delta[l] * a[l-1].T").holds  # a column times a row is every pair's product
    assert not dr.check_formula(r"\partial C/\partial W^l = \delta^l * (a^{l-1})^T").holds
    assert not dr.check_formula("delta[l] = W[l+1].T @ (delta[l+1] * sp(z[l]))").holds
    # In a book's notation the same signs bind otherwise.
    assert dr.check_formula(r"\delta^l = \sigma'(z^l) * (W^{l+1})^T \delta^{l+1}").holds


def test_each_member_of_a_chain_is_judged():
    verdict = dr.check_formula(
        r"\delta^l = \partial C/\partial z^l = (W^{l+1})^T \delta^{l+1} = \partial C/\partial a^l"
    )
    assert verdict.reason.count("multiply elementwise by sigma'(z^l)") == 2


def test_shapes_come_first_and_are_named():
    reason = dr.check_formula(FALSE[0][0]).reason
    assert reason.startswith("the product W^{l+1} delta^{l+1} does not fit: 6 x 4 times 6 x 1")
    assert "at equal widths it is off by" in reason


HOSTILE = [
    *("", "   ", "=", "a^l", "a^l =", "\x00\x01\xff=\xfe", "🦊 = 🦊", "\u202e = a^l", "(" * 900),
    "(" * 900 + ")" * 900,
    *("a" * 5_000_000, "{" * 3_000_000, "^" * 1999, "__import__('os').system('true') = a^l", "C = C", "a = a"),
    *("a^l = a^{l+", "a^l = \\undefined", "W^l_j = W^l", "a^{99} = a^{99}", "a^l = " + "a^l " * 400),
    "a^l = " + r"\sum_i \sum_j \sum_k \sum_m w^l_{ij} w^l_{km}",
    "a^l = " + "-" * 1900 + "a^l",
    "a^l = " + "9" * 1500 + " a^l",
    r"\partial C/\partial \delta^l = a^l",
    r"\partial C/\partial y = a^l",
    b"a^l = a^l",
    None,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_the_hostile_are_refused_in_time(text):
    dr.check_formula(TRUE[0])  # the parser is made once
    start = time.perf_counter()
    with pytest.raises(dr.BadInput):
        dr.check_formula(text)
    assert time.perf_counter() - start < 1


ATOMS = [
    *(r"\delta", "W", "w", "z", "a", "b", "x", "y", "^{l+1}", "^l", "^{l-1}", "^T", "^{-1}", "^", "_", "_j", "_{jk}"),
    *("_k", "{", "}", "(", ")", "[", "]", r"\sigma'", r"\sigma", r"\odot", r"\otimes", "*", "@", ".", ".T", ",", "="),
    *("+", "-", "/", r"\frac", r"\partial", "C", r"\sum_k", r"\sum_j", "2", "0", "1e9", "'", r"\nabla_a", "diag("),
    *(r"\\", ";", r"\text{", "&", "$", "**", "np.dot(", "inv(", "W2", "z1", "[l+1]", "m", r"\tanh", "d", "and", " "),
]


@st.composite
def damaged(draw):
    """A formula with a few pieces lost, doubled or put in."""
    text = draw(st.sampled_from(TRUE + [false for false, _ in FALSE]))
    for _ in range(draw(st.integers(1, 3))):
        at, to = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        text = text[:at] + draw(st.sampled_from([text[at:to], "", *ATOMS])) + text[min(to, at + 4) :]
    return text


def random_text():
    return st.one_of(
        st.text(max_size=100),
        st.lists(st.sampled_from(ATOMS), max_size=40).map(" ".join),
        st.builds(lambda one, n: "a^l = " + one * n, st.sampled_from(ATOMS), st.integers(1, 400)),
        damaged(),
    )


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(random_text())
def test_every_text_is_judged_or_refused_in_time(text):
    start = time.perf_counter()
    try:
        verdict = dr.check_formula(text)
    except dr.BadInput:
        verdict = None
    assert time.perf_counter() - start < 2
    if verdict is not None and verdict.mended:
        assert dr.check_formula(verdict.mended).holds, verdict


def test_the_longest_that_is_judged_ends_in_time():
    start = time.perf_counter()
    assert not dr.check_formula("a^l = " + "+".join(["a^l"] * 28)).holds
    assert time.perf_counter() - start < 2


def test_on_a_network_of_the_users():
    net = dr.Network([3, 4, 2], activation="tanh", output="softmax", cost="log_likelihood", seed=0)
    assert dr.check_formula(r"\delta^L = a^L - y", net).holds
    assert dr.check_formula(TRUE[0], net, np.eye(3), [0, 1, 1]).holds
    assert not dr.check_formula(FALSE[0][0], net, np.eye(3), [0, 1, 1]).holds
    with pytest.raises(dr.BadInput, match="give net"):
        dr.check_formula(TRUE[0], x=np.eye(3))


def test_the_verdict_is_a_record():
    verdict = dr.check_formula(FALSE[0][0])
    assert dr.Verdict.from_dict(verdict.to_dict()) == verdict
    assert "DOES NOT HOLD" in str(verdict)
    assert "<pre>" in verdict._repr_html_()


@pytest.mark.parametrize(("text", "code"), [(TRUE[0], 0), (FALSE[0][0], 1), ("nonsense", 2)])
def test_the_command(text, code, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deltarule", "formula", text])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert ("holds" in capsys.readouterr().out) == (code == 0)
