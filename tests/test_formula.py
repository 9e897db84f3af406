"""Formulas as people paste them: the true hold, the false are named and mended, the hostile are refused in time."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

import deltarule as dr
from deltarule import cli

TRUE = [
    r"\delta^{l} = ((w^{l+1})^{T} \delta^{l+1}) \odot \sigma'(z^{l})",
    r"\delta^l = ((W^{l+1})^\top \delta^{l+1}) \circ \sigma'(z^l)",
    r"$$\delta^{l} = \left( (w^{ l + 1 })^T \delta^{l+1} \right) \odot \sigma'\left(z^l\right).$$",
    r"\delta^{(l)} = (W^{(l+1)})^T \cdot \delta^{(l+1)} * \sigma^{\prime}(z^{(l)})",
    r"\delta^l = W^{l+1 T} \delta^{l+1} \odot \sigma'(z^l)",
    r"\delta^{l-1} = ((w^l)^T \delta^l) \odot \sigma'(z^{l-1})",
    r"\sigma'(z^l) \odot ((w^{l+1})^T \delta^{l+1}) = \delta^l",
    "δ^l = ((W^{l+1})ᵀ δ^{l+1}) ⊙ σ′(z^l)",
    r"\delta^L = \nabla_a C \odot \sigma'(z^L)",
    r"\delta^L = (a^L - y) \odot \sigma'(z^L)",
    r"\delta^L = \frac{\partial C}{\partial a^L} \odot \sigma'(z^L)",
    r"\delta^L_j = \frac{\partial C}{\partial a^L_j} \sigma'(z^L_j)",
    r"\frac{\partial C}{\partial b^l_j} = \delta^l_j",
    r"\partial C/\partial b^l = \delta^l",
    r"\frac{\partial C}{\partial w^l_{jk}} = a^{l-1}_k \delta^l_j",
    r"\partial C/\partial w_{jk}^l = \delta_j^l a_k^{l-1}",
    r"\partial C / \partial W^l = \delta^l (a^{l-1})^T",
    r"\partial C/\partial z^l = \delta^l",
    r"\delta^l = \partial C/\partial z^l = ((w^{l+1})^T \delta^{l+1}) \odot \sigma'(z^l)",
    r"\partial C/\partial a^l = (w^{l+1})^T \delta^{l+1}",
    r"\delta^l_j = \sum_k w^{l+1}_{kj} \delta^{l+1}_k \sigma'(z^l_j)",
    r"z^l = W^l a^{l-1} + b^l",
    r"a^{l+1} = \sigma(z^{l+1}) = \sigma(W^{l+1} a^l + b^{l+1})",
    r"a^1 = \sigma(W^1 x + b^1)",
    r"\delta^{L-1} = ((w^L)^T \delta^L) \odot \sigma'(z^{L-1})",
    "delta[l] = W[l+1].T @ delta[l+1] * sigma_prime(z[l])",
    "dC_dW[l] = delta[l] @ a[l-1].T",
    "dC_db[l] = delta[l]",
]

FALSE = [
    (r"\delta^l = W^{l+1} \delta^{l+1} \odot \sigma'(z^{l+1})", "transpose W^{l+1}; take sigma' at l, not l+1"),
    (r"\delta^l = ((w^{l+1})^{-1} \delta^{l+1}) \odot \sigma'(z^l)", "transpose W^{l+1}, do not invert it"),
    (r"\delta^l = ((w^{l+1})^{+} \delta^{l+1}) \odot \sigma'(z^l)", "transpose W^{l+1}, do not invert it"),
    (r"\sigma(z^{l+1}) = \sigma(W^{l+1} z^l + b^{l+1})", "take a^l, not z^l"),
    (r"\delta^l = (w^{l+1} \delta^{l+1}) \odot \sigma'(z^l)", "transpose W^{l+1}"),
    (r"\delta^l = ((w^{l+1})^T \delta^{l+1}) \odot \sigma'(z^{l+1})", "take sigma' at l, not l+1"),
    (r"\delta^l = ((w^{l})^T \delta^{l+1}) \odot \sigma'(z^l)", "take W^{l+1}, not W^l"),
    (r"\delta^l = ((w^{l+1})^T \delta^l) \odot \sigma'(z^l)", "take delta^{l+1}, not delta^l"),
    (r"\delta^l = ((w^{l+1})^T \delta^{l+1}) \odot \sigma'(a^l)", "take z^l, not a^l"),
    (r"\delta^l = ((w^{l+1})^T \delta^{l+1}) \odot \sigma(z^l)", "take sigma', not sigma"),
    (r"\delta^l = (w^{l+1})^T \delta^{l+1}", "multiply elementwise by sigma'(z^l)"),
    (r"\delta^l = -((w^{l+1})^T \delta^{l+1}) \odot \sigma'(z^l)", "change the sign"),
    (r"\delta^l = ((w^{l+1})^T \odot \delta^{l+1}) \odot \sigma'(z^l)", "as matrices"),
    (r"\delta^l = ((w^{l+1})^T \delta^{l+1}) \cdot \sigma'(z^l)", "elementwise"),
    (r"\delta^L = (y - a^L) \odot \sigma'(z^L)", "change the sign"),
    (r"\delta^L = (z^L - y) \odot \sigma'(z^L)", "take a^L, not z^L"),
    (r"\delta^L = a^L - y", "multiply elementwise by sigma'(z^L)"),
    (r"\delta^L = \nabla_a C", "multiply elementwise by sigma'(z^L)"),
    (r"\partial C/\partial b^l = \delta^l \odot \sigma'(z^l)", "leave out sigma'(z^l)"),
    (r"\partial C/\partial W^l = \delta^l a^{l-1}", "transpose a^{l-1}"),
    (r"\partial C/\partial W^l = \delta^l (a^l)^T", "take a^{l-1}, not a^l"),
    (r"\partial C/\partial W^l = \delta^l (z^{l-1})^T", "take a^{l-1}, not z^{l-1}"),
    (r"\partial C/\partial w^l_{jk} = a^l_k \delta^l_j", "take a^{l-1}_k, not a^l_k"),
    (r"\delta^l_j = \sum_k w^{l+1}_{jk} \delta^{l+1}_k \sigma'(z^l_j)", "swap the indices of W^{l+1}_{jk}"),
    (r"z^l = (W^l)^T a^{l-1} + b^l", "do not transpose W^l"),
    (r"z^l = W^l a^{l-1} - b^l", "change the sign of b^l"),
    ("delta[l] = W[l+1].T * delta[l+1] * sigma_prime(z[l])", "as matrices"),
]


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
