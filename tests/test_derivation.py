"""The symbolic chain rule: SymPy's own derivative is the witness."""

from __future__ import annotations

import sys
import time

import pytest
from drawn import HIDDEN, PAIRS, network
from test_document import assert_html, assert_latex, assert_markdown

import deltarule as dr
from deltarule.document import COLUMNS
from deltarule.formula import chain, evaluate
from deltarule.formula.symbols import sigma_of, symbol, sympy


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("sizes", [[3, 2, 2], [3, 4, 3, 2], [3, 2, 2, 2, 2, 2]])
def test_bp2_is_proved_for_every_activation_and_depth(hidden, sizes):
    found = dr.derive(network(sizes, hidden, "sigmoid", "quadratic"), 1)
    assert found.holds
    assert found.exact
    assert found.points == 20
    assert found.largest < 1e-29


@pytest.mark.parametrize(("output", "cost"), PAIRS)
@pytest.mark.parametrize("layer", [1, 2])
def test_bp1_and_bp2_are_proved_for_every_pair(output, cost, layer):
    start = time.perf_counter()
    found = dr.derive(network([3, 2, 2], "tanh", output, cost), layer)
    assert found.holds
    assert found.exact or cost == "huber"  # in pieces: proved at points
    assert time.perf_counter() - start < 10
    assert max(map(len, str(found).splitlines())) <= COLUMNS
    assert_latex(found.to_latex())
    assert_markdown(found.to_markdown())
    assert_html(found._repr_html_())


def test_the_lines_say_what_the_rule_is():
    text = str(dr.derive(network([3, 5, 4], "tanh", "sigmoid", "quadratic")))
    assert "delta^1_1 = (w^2_{11}*delta^2_1 + w^2_{21}*delta^2_2)*sigma'(z^1_1)" in text
    assert "(W^2)^T = [w^2_{11}, w^2_{21}; w^2_{12}, w^2_{22}]" in text
    assert "delta^1 = (W^2)^T delta^2 * sigma'(z^1)" in text
    assert "reduces to 0" in " ".join(text.split())
    output = str(dr.derive(network([3, 4], "tanh", "sigmoid", "cross_entropy")))
    assert "delta^1_1 = a^1_1 - y_1" in output


def test_a_transpose_left_out_is_no_proof(monkeypatch):
    """The witness is independent: with W in place of its transpose neither symbols nor numbers agree."""
    right = chain.Chain.__init__

    def transposed(self, net, l):
        right(self, net, l)
        if self.wrong:
            self.w[l + 1] = [list(row) for row in zip(*self.w[l + 1], strict=True)]

    net = network([3, 2, 2], "tanh", "sigmoid", "quadratic")
    monkeypatch.setattr(chain.Chain, "wrong", False, raising=False)
    monkeypatch.setattr(chain.Chain, "__init__", transposed)
    one = chain.Chain(net, 1)
    steps, direct, ours = chain.bp2(one)
    assert sympy().expand(direct[0] - ours[0]) == 0
    monkeypatch.setattr(chain.Chain, "wrong", True)
    other = chain.Chain(net, 1)
    _, _, swapped = chain.bp2(other)
    assert sympy().expand(direct[0] - swapped[0]) != 0
    assert steps


def test_a_wrong_slope_is_seen_at_the_points(monkeypatch):
    net = network([3, 2, 2], "tanh", "sigmoid", "quadratic")
    assert evaluate.evaluated(chain.Chain(net, 1))[1] < 1e-29
    real = evaluate._forward

    def shifted(*given):
        z = real(*given)
        z[1] = [one + 1e-9 for one in z[1]]  # sigma' is taken a little beside z
        return z

    monkeypatch.setattr(evaluate, "_forward", shifted)
    assert evaluate.evaluated(chain.Chain(net, 1))[1] > 1e-12


@pytest.mark.parametrize("name", HIDDEN)
def test_the_formulas_are_the_networks_own(name):
    import numpy as np

    sp, z = sympy(), symbol("z")
    formula, entry = sigma_of(name, z), dr.ACTIVATIONS[name]
    for at in (-2.5, -0.3, 0.7, 3.25):
        values = [float(one.subs(z, sp.Rational(str(at))).evalf(30)) for one in (formula, sp.diff(formula, z))]
        ours = [float(entry.sigma(np.array([at]))[0]), float(entry.slope(np.array([at]))[0])]
        assert values == pytest.approx(ours, rel=1e-14)


def test_a_pair_of_the_users_own_is_a_function_without_a_name():
    net = dr.Network([3, 4, 2], (lambda z: z**3, lambda z: 3 * z**2), dtype="float64", seed=0)
    found = dr.derive(net)
    assert found.exact
    assert found.holds
    assert found.points == 0
    assert "random rational points" not in str(found)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(dr.NoSuchLayer, match="layers go from 1 to 2"):
        dr.derive(dr.Network([3, 4, 2]), 3)


def test_without_sympy_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(dr.MissingExtra, match=r'pip install "deltarule\[symbolic\]"'):
        dr.derive(dr.Network([3, 4, 2]))
