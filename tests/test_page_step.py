"""The step-through, in a real browser: by key, button and scrubber, with the engine's numbers to the digit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import deltarule as dr
from deltarule.page import report

LAST = 14  # of the moments of a network with three layers


@pytest.fixture(scope="module")
def net():
    made = dr.Network([64, 12, 9, 10], seed=0)
    made.fit(*dr.data.digits().train, epochs=3, optimizer=dr.SGD(1.0), progress=False)
    return made


@pytest.fixture(scope="module")
def written(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "step.html"
    report(net, path, *dr.data.digits().train, samples=6)
    return path


@pytest.fixture(scope="module")
def first(net, written):
    """The sample that the page opens with, and its trace."""
    import json

    text = written.read_text(encoding="utf-8")
    scene = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    sample = scene["passes"][0]["sample"]
    x, y = dr.data.digits().train
    return sample, net.backprop(x[sample : sample + 1], y[sample : sample + 1])


@pytest.fixture
def shown(open_page, written):
    page = open_page(written, height=1600)
    page.wait_for_selector("[data-drawn]")
    return page


def at(page, moment, neuron=None):
    """Go to a moment by the scrubber, and to a neuron by its number."""
    page.get_by_label("Moment", exact=True).fill(str(moment))
    page.wait_for_function(
        "moment => document.querySelector('[data-drawn]')?.dataset.drawn.split('.')[1] === moment", arg=str(moment)
    )
    if neuron is not None:
        page.get_by_label("Neuron", exact=True).fill(str(neuron))
        page.get_by_label("Neuron", exact=True).press("Enter")
        page.wait_for_selector(f"[data-drawn$='.{neuron}']")


def number(text):
    """A number as the page sets it, back as a float."""
    text = text.replace("−", "-").strip()
    if "·10" in text:
        mantissa, raised = text.split("·10")
        signs = dict(zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True))
        return float(mantissa) * 10.0 ** int("".join(signs[one] for one in raised))
    return float(text)


def test_the_pass_goes_forward_and_back_by_key_button_and_scrubber(shown):
    panel = shown.locator("section.step")
    panel.focus()
    seen = [panel.get_attribute("data-moment")]
    for i in range(1, LAST):
        shown.keyboard.press("ArrowRight")
        shown.wait_for_function(f"document.querySelector('[data-drawn]').dataset.drawn.split('.')[1] === '{i}'")
        seen.append(panel.get_attribute("data-moment") + panel.get_attribute("data-layer"))
    assert seen == [
        "input", "z1", "a1", "z2", "a2", "z3", "a3", "cost3", "output3", "weights2", "activation2", "weights1",
        "activation1", "gradients1",
    ]  # fmt: skip
    shown.keyboard.press("Home")
    shown.wait_for_selector("[data-moment=input]")
    shown.keyboard.press("End")
    shown.wait_for_selector("[data-moment=gradients]")
    shown.get_by_role("button", name="One moment back").click()
    shown.wait_for_selector("[data-moment=activation]")
    shown.get_by_role("button", name="To the start").click()
    shown.wait_for_selector("[data-moment=input]")
    at(shown, 8)
    assert panel.get_attribute("data-moment") == "output"


def test_it_plays_by_itself_and_stops(shown):
    shown.clock.install()
    shown.get_by_role("button", name="Play").click()
    shown.clock.run_for(4000)
    shown.wait_for_selector("[data-moment=a]")
    shown.get_by_role("button", name="Pause").click()
    shown.clock.run_for(10_000)
    assert shown.locator("[data-moment=a]").count() == 1


def test_the_bill_of_a_neuron_is_the_transposed_weights_times_the_delta_above(shown, net, first):
    _, trace = first
    for moment, l in ((9, 2), (11, 1)):
        for k in (0, 5):
            at(shown, moment, k)
            table = shown.locator("table.bill")
            rows = [row.split("\t") for row in table.locator("tbody").inner_text().splitlines() if "more" not in row]
            for j, w, delta, part in rows:
                wanted = net.W[l + 1][int(j), k], trace.delta[l + 1][0][int(j)]
                assert number(w) == pytest.approx(wanted[0], rel=1e-3)
                assert number(delta) == pytest.approx(wanted[1], rel=1e-3)
                assert number(part) == pytest.approx(wanted[0] * wanted[1], rel=1e-3)
            parts = [number(row.split("\t")[-1]) for row in table.locator("tbody").inner_text().splitlines()]
            total = table.locator("tfoot").inner_text().split("=")[1]
            assert np.float32(number(total)) == trace.moved[l][0][k]
            assert sum(parts) == pytest.approx(float(trace.moved[l][0][k]), rel=2e-3, abs=1e-6)


def test_the_second_move_multiplies_by_the_slope_to_the_digit(shown, first):
    _, trace = first
    at(shown, 12, 7)
    moved, slope, delta = (np.float32(number(text)) for text in shown.locator(".product b").all_inner_texts())
    assert (moved, slope, delta) == (trace.moved[1][0][7], trace.slope[1][0][7], trace.delta[1][0][7])
    backprop, measured = (number(text) for text in shown.locator(".facts b").all_inner_texts())
    assert np.float32(backprop) == trace.delta[1][0][7]
    assert measured == pytest.approx(float(trace.delta[1][0][7]), rel=1e-3)
    circles = shown.locator("figure.curve circle")
    assert circles.count() == 12


def test_a_nudge_is_dragged_and_the_cost_that_was_measured_is_told(shown, net, first):
    sample, trace = first
    at(shown, 12, 7)
    slider = shown.get_by_label("Nudge z of neuron 7")
    _, y = dr.data.digits().train
    for presses in (1, 5, 12):
        slider.press("End")
        for _ in range(presses):
            slider.press("ArrowLeft")
        said = shown.locator(".nudge .said").inner_text()
        h, change, predicted = (
            number(one)
            for one in re.search(
                r"z (\S+): the cost changes by (\S+); δ · nudge says ([^ ]+?)(?: \(|\.$)", said
            ).groups()
        )
        z = trace.z[1][0].astype(float).copy()
        z[7] += h
        a = 1 / (1 + np.exp(-z))
        for l in (2, 3):
            a = 1 / (1 + np.exp(-(net.W[l].astype(float) @ a + net.b[l])))
        cost = 0.5 * ((a - np.eye(10)[y[sample]]) ** 2).sum()
        assert change == pytest.approx(cost - float(trace.cost[0]), rel=1e-2, abs=1e-6)
        assert predicted == pytest.approx(h * float(trace.delta[1][0][7]), rel=1e-3)
    before = shown.locator(".nudge .said").inner_text()
    box = shown.locator(".nudge .handle").bounding_box()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.mouse.down()
    shown.mouse.move(box["x"] - 90, box["y"] + 10, steps=5)
    shown.mouse.up()
    assert shown.locator(".nudge .said").inner_text() != before


def test_a_neuron_that_is_pointed_at_or_chosen_by_key_is_explained(shown):
    at(shown, 11)
    shown.locator("[data-neuron='1.4'] circle").hover()
    shown.wait_for_selector("[data-drawn$='.4']")
    assert "neuron 4 in layer 1" in shown.locator("table.bill caption").inner_text()
    assert shown.locator("path.wire.chosen").count() == 9
    shown.locator("section.step").focus()
    shown.keyboard.press("ArrowDown")
    shown.wait_for_selector("[data-drawn$='.5']")


def test_the_rules_stand_side_by_side_with_angle_and_step(shown, net, first):
    sample, trace = first
    at(shown, 12)
    x, y = dr.data.digits().train
    assert shown.locator("button.rule").count() == 5
    for rule in ("inverse", "random", "sign"):
        made = net.backprop(x[sample : sample + 1], y[sample : sample + 1], rule=rule, eta=0.1)
        card = shown.locator(f"[data-rule={rule}]")
        assert "change of C by a step of η = 0.1, predicted" in card.inner_text()
        size, angle, predicted, actual = card.locator("b").all_inner_texts()
        assert number(size) == pytest.approx(np.abs(made.delta[1]).max(), rel=1e-2)
        assert float(angle.removesuffix("°")) == pytest.approx(made.angle(trace)[1], abs=0.06)
        assert number(predicted) == pytest.approx(made.step.predicted, rel=1e-2)
        assert number(actual.split(" ")[0]) == pytest.approx(made.step.actual, rel=1e-2)
    shown.locator("[data-rule=inverse]").click()
    assert "another question" in shown.locator(".rule-words").inner_text()
    assert shown.locator("[data-rule=inverse]").get_attribute("aria-pressed") == "true"


def test_all_numbers_of_a_layer_are_a_table(shown, first):
    _, trace = first
    at(shown, 10)
    shown.get_by_text("All numbers of this layer").click()
    rows = shown.locator(".numbers tbody tr")
    assert rows.count() == 9
    cells = rows.nth(3).locator("td").all_inner_texts()
    wanted = [values[2][0][3] for values in (trace.z, trace.a, trace.moved, trace.delta)]
    assert [np.float32(number(one)) for one in cells] == wanted


def test_another_sample_is_chosen_and_the_link_opens_what_was_seen(shown, open_page):
    at(shown, 11, 2)
    picker = shown.get_by_label("Sample", exact=True)
    other = picker.locator("option").nth(3).get_attribute("value")
    picker.select_option(other)
    shown.wait_for_selector(f"[data-drawn='{other}.11.2']")
    shown.wait_for_function("sample => location.hash.includes(`sample=${sample}`)", arg=other)
    again = open_page(shown.url)
    again.wait_for_selector(f"[data-drawn='{other}.11.2']")


def test_the_input_is_an_image_and_its_weights_are_one_too(shown):
    assert shown.locator(".picture rect.pixel").count() == 64
    at(shown, 1, 3)
    shown.wait_for_function("document.querySelectorAll('.picture rect.pixel').length === 128")


def test_wide_layers_are_drawn_in_blocks_that_open(open_page, tmp_path):
    net = dr.Network([20, 300, 300, 3], activation="tanh", seed=0)
    x = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    report(net, tmp_path / "wide.html", x, np.array([0, 1, 2, 0]), samples=1)
    page = open_page(tmp_path / "wide.html", height=1600)
    page.wait_for_selector("[data-drawn]")
    at(page, 9)
    assert page.locator("g.neuron.block").count() == 64
    page.locator("[data-neuron='2.47'] circle").click()
    page.wait_for_function("document.querySelectorAll('g.neuron.block').length < 40")
    assert page.locator("g.neuron:not(.block)[data-neuron^='2.']").count() == 32
    page.get_by_role("button", name="Whole layers").click()
    page.wait_for_function("document.querySelectorAll('g.neuron.block').length === 64")
    at(page, 9, 123)
    assert page.locator("[data-neuron='2.123']:not(.block)").count() == 1


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_softmax_has_words_of_its_own_and_relu_a_kink(open_page, tmp_path, output):
    cost = "log_likelihood" if output == "softmax" else "quadratic"
    net = dr.Network([64, 10, 10], activation="relu", output=output, cost=cost, seed=0)
    report(net, tmp_path / "net.html", *dr.data.digits().train, samples=1)
    page = open_page(tmp_path / "net.html")
    page.wait_for_selector("[data-drawn]")
    at(page, 6)
    assert ("softmax" in page.locator(".caption").inner_text()) == (output == "softmax")
    at(page, 8)
    assert page.locator("figure.nudge").count() == 1


@pytest.mark.parametrize("width", [360, 1280, 3840])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_page(open_page, written, width, dark):
    page = open_page(written, width=width, dark=dark)
    page.wait_for_selector("[data-drawn]")
    for moment in (1, 8, 9, 12):
        at(page, moment)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_fault(open_page, written, dark):
    axe = (Path(__file__).parent / "axe.min.js").read_text()

    page = open_page(written, dark=dark, height=1600)
    page.wait_for_selector("[data-drawn]")
    page.evaluate(axe + "; 0")
    for moment in (1, 2, 8, 9, 12, 13):
        at(page, moment)
        found = page.evaluate("async () => (await axe.run()).violations")
        faults = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not faults, [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in faults]
