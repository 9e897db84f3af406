"""The walk through BP2: its numbers are those of backprop and of the measurement, and they add up."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from drawn import HIDDEN, PAIRS, network, samples
from test_cli import assert_refused, called
from test_document import assert_html, assert_latex, assert_markdown

import deltarule as dr
from deltarule.document import COLUMNS, Table
from deltarule.walk import STEP


def explained(sizes, hidden="tanh", output="sigmoid", cost="quadratic", dtype="float64", **chosen):
    net = network(sizes, hidden, output, cost, dtype)
    x, y = samples(net, 3)
    return net, x, y, dr.explain(net, x, y, **chosen)


def tables(found):
    """Every table of the text, by its section's title and its head."""
    return {
        (section.title.split(". ")[1], part.head[-1]): part
        for section in found.document().sections
        for part in section.parts
        if isinstance(part, Table)
    }


def table(found, words):
    (one,) = (part for (title, head), part in tables(found).items() if words in title or words in head)
    return one


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_values_are_those_of_backprop(dtype):
    net, x, y, found = explained([5, 7, 6, 3], dtype=dtype, layer=1, sample=2, neuron=4)
    trace = net.backprop(x, y)
    for name in ("z", "a", "slope", "moved", "delta"):
        np.testing.assert_allclose(getattr(found, name), getattr(trace, name)[1][2], rtol=1e-5)
    np.testing.assert_array_equal(found.weights, net.W[2][:, 4])
    np.testing.assert_allclose(found.delta_next, trace.delta[2][2], rtol=1e-5)
    assert (found.layer, found.sample, found.neuron, found.shape) == (1, 2, 4, (6, 7))
    assert f"{trace.delta[1][2][4]:.5f}"[:6] in str(found)


def test_the_layer_is_the_last_hidden_and_the_neuron_the_one_with_the_largest_delta():
    net, x, y, found = explained([5, 7, 6, 3])
    assert found.layer == 2
    assert found.neuron == np.abs(net.backprop(x, y).delta[2][0]).argmax()
    assert explained([5, 3])[3].layer == 1


@pytest.mark.parametrize("width", [1, 2, 5, 6, 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_the_wires_bring_back_adds_up_as_printed(width, dtype):
    found = explained([4, 5, width], dtype=dtype)[3]
    back = table(found, "brings back")
    assert back.summed
    *terms, total = (row[-1] for row in back.rows)
    decimals = len(total.partition("e")[0].partition(".")[2])
    power = int(total.partition("e")[2] or 0)
    unit = 10.0 ** (power - decimals)
    assert len(terms) == (width if width <= 5 else 5)
    assert abs(sum(map(float, terms)) - float(total)) <= (len(terms) + 1) / 2 * unit * (1 + 1e-6)
    assert float(total) == pytest.approx(found.moved[found.neuron], abs=unit)
    shown = back.rows[: width if width <= 5 else 4]
    for name, weight, delta, term in shown:
        j = int(name)
        assert float(weight) == pytest.approx(found.weights[j], abs=1e-3)
        assert float(term) == pytest.approx(found.weights[j] * found.delta_next[j], abs=unit)
        assert float(delta) == pytest.approx(found.delta_next[j], abs=1e-3 * float(np.abs(found.delta_next).max()))
    assert float(total) == pytest.approx(sum(found.weights.astype(float) * found.delta_next), abs=2 * unit)


def test_what_is_sent_forward_is_the_weight_times_a():
    net, _, _, found = explained([4, 5, 9])
    for name, _weight, _a, arrives in table(found, "what neuron").rows:
        value = net.W[2][int(name), found.neuron] * found.a[found.neuron]
        assert float(arrives) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_nudge_measures_delta(hidden):
    net, x, y, found = explained([4, 5, 5, 3], hidden, layer=1)
    k, delta = found.neuron, found.delta[found.neuron]
    np.testing.assert_allclose(found.measured, found.delta, rtol=1e-6, atol=1e-12)
    errors = [abs(nudge.slope - delta) for nudge in found.nudges if not nudge.crosses]
    assert errors
    assert errors[-1] <= max(errors[0], 1e-9)
    assert errors[-1] < 1e-4 * abs(delta)
    # by hand: the bias moves z and nothing else
    up, down = net.astype("float64"), net.astype("float64")
    up.b[1][k] += 0.01
    down.b[1][k] -= 0.01
    change = up.backprop(x[:1], y[:1]).cost[0] - down.backprop(x[:1], y[:1]).cost[0]
    assert found.nudges[1].change == pytest.approx(change, rel=1e-6)
    assert "NOT" not in str(found)


@pytest.mark.parametrize(("output", "cost"), PAIRS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_output_is_explained_by_bp1_for_every_pair(output, cost, dtype):
    found = explained([4, 3, 7], "tanh", output, cost, dtype, layer=2)[3]
    np.testing.assert_allclose(found.measured, found.delta, rtol=1e-4, atol=1e-6)
    assert found.candidates == ()
    assert "BP1" in str(found)
    assert "NOT" not in str(found)
    if output == "softmax":
        *terms, total = (float(row[-1]) for row in table(found, "From the cost").rows)
        assert sum(terms) == pytest.approx(total, abs=5e-4 * max(map(abs, [*terms, total])) + 1e-12)
        assert total == pytest.approx(found.delta[found.neuron], rel=1e-3, abs=1e-6)
    if (output, cost) in {("sigmoid", "cross_entropy"), ("softmax", "log_likelihood")}:
        assert "a_k - y_k = " in str(found)


def test_a_wrong_delta_is_told(monkeypatch):
    net = network([4, 5, 3], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 1)
    right = net.backprop(x, y)

    def wrong(rows, values):
        trace = net.__class__.backprop(net, rows, values)
        trace.delta[1][...] *= 1.01
        return trace

    monkeypatch.setattr(net, "backprop", wrong)
    assert "they do NOT agree" in str(dr.explain(net, x, y))
    monkeypatch.undo()
    assert "they do NOT agree" not in str(dr.explain(net, x, y))
    assert right.delta[1].any()


@pytest.mark.parametrize("sizes", [[4, 6, 6, 3], [4, 6, 3], [4, 3, 6]])
def test_the_inverse_answers_another_question(sizes):
    net, _, _, found = explained(sizes, layer=1)
    square = sizes[1] == sizes[2]
    W, d, slope = net.W[2], found.delta_next, found.slope
    names = [one.name for one in found.candidates]
    assert names == (["transpose", "inverse", "untransposed"] if square else ["transpose", "pseudo-inverse"])
    right, inverse = found.candidates[:2]
    np.testing.assert_allclose(right.values, (W.T @ d) * slope, rtol=1e-9)
    np.testing.assert_allclose(inverse.values, (np.linalg.pinv(W) @ d) * slope, rtol=1e-6)
    np.testing.assert_allclose(found.returned, W @ np.linalg.pinv(W) @ d, rtol=1e-6, atol=1e-12)
    assert right.angle < 1e-4
    assert right.error < 1e-7
    cosine = inverse.values @ found.measured / np.linalg.norm(inverse.values) / np.linalg.norm(found.measured)
    assert inverse.angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-5)
    assert inverse.angle > 2
    # To first order a step against a direction changes C by -step |delta| cos(angle): the transpose's by the most.
    for one in (right, inverse):
        expected = -STEP * np.linalg.norm(found.measured) * np.cos(np.radians(one.angle))
        assert one.change == pytest.approx(expected, abs=0.05 * STEP * np.linalg.norm(found.measured))
    assert right.change < inverse.change
    text = str(found)
    assert ("only a square matrix has an inverse" in text) == (not square)
    assert ("Without the transpose" in text) == square
    if square:
        np.testing.assert_allclose(found.candidates[2].values, (W @ d) * slope, rtol=1e-9)


def test_a_singular_square_matrix_has_no_inverse_and_that_is_said():
    net = network([4, 3, 3, 2], "tanh", "sigmoid", "quadratic")
    net.W[2][2] = net.W[2][1]
    found = dr.explain(net, *samples(net, 1), layer=1)
    assert found.candidates[1].name == "pseudo-inverse"
    assert "singular: it has no inverse" in " ".join(str(found).split())


def test_where_the_inverse_points_the_same_way_that_is_said():
    found = explained([4, 1, 3])[3]
    assert "happens to point the same way" in " ".join(str(found).split())
    net = network([4, 5, 5, 2], "tanh", "sigmoid", "quadratic")
    net.W[2] = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    assert "happens to point the same way" in " ".join(str(dr.explain(net, *samples(net, 1), layer=1)).split())


def test_a_dead_and_a_saturated_neuron_and_a_kink_nearby_are_told():
    net = network([3, 4, 2], "relu", "identity", "quadratic")
    x, y = samples(net, 1)
    net.W[1][0], net.b[1][0] = 0, -1
    dead = dr.explain(net, x, y, neuron=0)
    assert dead.delta[0] == 0
    assert "dead" in str(dead)
    assert "NOT" not in str(dead)
    net.b[1][0] = 0.05
    near = dr.explain(net, x, y, neuron=0)
    assert "kink" in str(near)
    assert [nudge.crosses for nudge in near.nudges] == [True, False, False]
    net.b[1][0] = 0
    assert "too close to measure" in " ".join(str(dr.explain(net, x, y, neuron=0)).split())
    full = network([3, 4, 2], "sigmoid", "identity", "quadratic")
    full.b[1][1] = 9
    assert "saturated" in str(dr.explain(full, x, y, neuron=1))


def test_a_layer_that_no_error_reaches():
    net = dr.Network([3, 4, 4, 2], init="zeros", dtype="float64")
    found = dr.explain(net, *samples(net, 1), layer=1)
    assert not found.delta.any()
    assert "nothing to compare" in " ".join(str(found).split())
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_vanishing_error_is_written_with_all_its_digits():
    net = dr.Network([3, *[4] * 14, 2], "sigmoid", dtype="float64", seed=0)
    found = dr.explain(net, *samples(net, 1), layer=1)
    assert 0 < abs(found.delta[found.neuron]) < 1e-8
    assert "NOT" not in str(found)
    assert re.search(r"delta\^1_k = -?\d\.\d{6}e-", str(found))


def test_a_pair_of_the_users_own_and_words_for_classes_and_wild_names():
    def cube(z):
        return z**3

    def slope(z):
        return 3 * z**2

    cube.__name__ = "<b>$&_%"
    net = dr.Network([3, 4, 2], (cube, slope), "softmax", "log_likelihood", dtype="float64", seed=1)
    x = np.random.default_rng(0).normal(size=(4, 3))
    net.fit(x, ["cat_$1", "dog & <i>", "cat_$1", "dog & <i>"], epochs=1, progress=False)
    for layer in (1, 2):
        found = dr.explain(net, x, ["cat_$1", "dog & <i>", "cat_$1", "dog & <i>"], layer=layer)
        np.testing.assert_allclose(found.measured, found.delta, rtol=1e-6)
        assert "cat_$1" in str(found)
        assert_latex(found.to_latex())
        assert_markdown(found.to_markdown())
        assert_html(found._repr_html_())


SHAPES = [([64, 30, 10], 1), ([4, 10, 10], 1), ([1, 1, 1], 1), ([1, 1], 1), ([3, 4, 5, 6, 2], 2), ([5, 120, 7], 2),
          ([3, *[4] * 120, 2], 110)]  # fmt: skip


@pytest.mark.parametrize(("sizes", "layer"), SHAPES)
def test_the_text_fits_the_terminal_and_every_setting_is_well_formed(sizes, layer):
    found = explained(sizes, layer=layer, dtype="float32")[3]
    text = str(found)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert len(text.splitlines()) <= 80
    assert_latex(found.to_latex())
    assert_markdown(found.to_markdown())
    assert_html(found._repr_html_())
    # The same numbers everywhere.
    delta = re.search(r"says delta\^\d+_k =\s+(\S+?)\. Follow", " ".join(text.split()))[1].partition("e")[0]
    for other in (found.to_latex(), found.to_markdown(), found._repr_html_()):
        assert delta in other


@pytest.mark.parametrize("layer", [1, 2])
def test_matplotlib_reads_every_formula(layer):
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    found = explained([4, 5, 5], layer=layer)[3]
    markdown = found.to_markdown()
    formulas = re.findall(r"(?<!\$)\$([^$]+)\$(?!\$)", markdown)
    for block in re.findall(r"\\begin\{aligned\}\n(.*?)\n\\end", markdown, re.DOTALL):
        formulas += block.replace("&", "").split("\\\\\n")
    assert len(formulas) > 20
    for formula in set(formulas):
        parser.parse(f"${formula}$")


@pytest.mark.parametrize("layer", [0, 3, -1, 1.5, "1"])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(dr.NoSuchLayer, match="layers go from 1 to 2"):
        explained([3, 4, 2], layer=layer)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"neuron": 4}, "neuron is 4; expected an integer from 0 to 3, for layer 1 has 4 neurons"),
        ({"neuron": -1}, "neuron is -1"),
        ({"neuron": True}, "neuron is True"),
        ({"neuron": 1.0}, "neuron is 1.0"),
        ({"sample": 3}, "sample is 3; expected a row of x, an integer from 0 to 2"),
        ({"sample": -1}, "sample is -1"),
        ({"sample": None}, "sample is None"),
    ],
)
def test_a_neuron_or_a_sample_that_is_not_there_is_refused(chosen, named):
    with pytest.raises(dr.BadInput, match=named):
        explained([3, 4, 2], **chosen)


def test_data_that_do_not_fit_and_a_pass_that_overflows_are_refused():
    net = network([3, 4, 2], "identity", "identity", "quadratic", "float32")
    with pytest.raises(dr.BadInput, match="x has shape"):
        dr.explain(net, np.zeros((2, 5)), [0, 1])
    net.W[1] *= 1e30
    net.W[2] *= 1e30
    with pytest.raises(dr.BadInput, match="not finite"):
        dr.explain(net, np.ones((1, 3)), [1])


def test_the_network_and_the_data_are_left_as_they_are():
    net = network([3, 4, 2], "tanh", "sigmoid", "quadratic")
    x, y = samples(net, 2)
    before = net.theta.copy(), x.copy(), y.copy()
    dr.explain(net, x, y)
    for old, new in zip(before, (net.theta, x, y), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    net = dr.Network([64, 12, 10], seed=0)
    net.save(folder / "net")
    return folder / "net", net


def test_the_command_prints_the_walk_of_a_network(run, capsys):
    path, net = run
    done = called(capsys, "explain", path, "--dataset", "digits", "--sample", 3, "--neuron", 2, "--layer", 1)
    expected = dr.explain(net, *dr.data.digits().train, layer=1, sample=3, neuron=2)
    assert (done.returncode, done.stdout) == (0, f"{expected}\n")
    for flag, text in (("--markdown", expected.to_markdown()), ("--latex", expected.to_latex())):
        told = called(capsys, "explain", path, "--dataset", "digits", "--sample", 3, "--neuron", 2, flag)
        assert told.stdout == text


def test_the_command_writes_what_the_suffix_says(run, capsys, tmp_path):
    path, net = run
    expected = dr.explain(net, *dr.data.digits().train)
    for name, part in {"a.md": "## Where", "a.tex": "\\subsection*", "a.html": "<h3>", "a.txt": "Where"}.items():
        done = called(capsys, "explain", path, "--dataset", "digits", "--out", tmp_path / name)
        assert done.returncode == 0
        assert part in (tmp_path / name).read_text(encoding="utf-8")
    assert (tmp_path / "a.txt").read_text() == f"{expected}\n"
    assert '<meta charset="utf-8">' in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_without_a_run_a_network_is_trained_and_that_is_said(capsys):
    done = called(capsys, "explain", "--symbolic")
    assert done.returncode == 0
    assert "training 64-30-10" in done.stderr
    assert "BP2" in done.stdout
    assert "The chain rule for layer 1" in done.stdout


def test_the_command_refuses_in_one_line(run, capsys, tmp_path):
    path, _ = run
    given = ["explain", path, "--dataset", "digits"]
    assert_refused(called(capsys, *given, "--layer", 7), "layers go from 1 to 2")
    assert_refused(called(capsys, *given, "--neuron", 99), "neuron is 99")
    assert_refused(called(capsys, *given, "--sample", -5), "sample is -5")
    assert_refused(called(capsys, *given, "--markdown", "--latex"), "expected one of them")
    assert_refused(called(capsys, "explain", path), "--dataset digits")
    assert_refused(called(capsys, "explain", tmp_path / "none"), "no such file")
