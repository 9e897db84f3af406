"""Train, Formula and Diagnose in a real Chromium: what is clicked happens, and the numbers are the engine's."""

from __future__ import annotations

import json
import math
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from test_flows import model_flow

from deltarule.page.diagnosis import flow_at, flow_view, heat
from deltarule.runs import history_of, train
from deltarule.settings import Settings
from deltarule.watched import WatchedModel

AXE = Path(__file__).parent / "axe.min.js"

TRUE = r"\delta^{l} = ((w^{l+1})^{T} \delta^{l+1}) \odot \sigma'(z^{l})"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the book's vanishing network, watched; and what a watch over a model saved."""
    folder = tmp_path_factory.mktemp("runs") / "watched"
    settings = Settings(
        "digits", hidden=(30, 30, 30), cost="cross_entropy", init="nielsen_scaled", epochs=3, batch=10, eta=0.5, watch=10
    )
    train(settings, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return WatchedModel((1, 11, 21), 10, (model_flow(0.5), model_flow(0.01), model_flow(1e-9, "vanishing"))).save(
        tmp_path_factory.mktemp("watches") / "model.json"
    )


@pytest.fixture(scope="module")
def explored(run, saved):
    """The page, served: its address with the token."""
    yield from explore(run, saved)


@pytest.fixture
def shown(open_page, explored):
    """A function that opens a tab of the page."""
    return lambda tab, words="", **given: open_page(f"{explored}#tab={tab}{words}", **given)


def number_of(page, name):
    """A number in the attributes of the training."""
    return float(page.locator(".train").get_attribute(f"data-{name}") or "nan")


def ratio_of(page):
    """|delta^1| / |delta^L| as it is drawn."""
    return float(page.locator("[data-figure=error-by-layer] svg").get_attribute("data-ratio") or "nan")


def button(page, name, **how):
    return page.get_by_role("button", name=name, **how)


def until(page, done, seconds=15):
    """Wait until a condition holds; the page cannot be asked to, for its policy forbids what that would take."""
    for _ in range(20 * seconds):
        if done():
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{seconds} seconds were not enough")


def test_the_books_vanishing_gradient_in_one_click_and_its_mend(shown, expect):
    page = shown("train")
    button(page, "the book’s vanishing gradient").click()
    expect(page.locator(".train")).to_have_attribute("data-state", "running")
    until(page, lambda: number_of(page, "step") > 50)
    assert ratio_of(page) < 0.01
    assert page.locator("[data-figure=error-by-layer] .lines path").count() == 5
    names = page.locator("[data-figure=error-by-layer] .line-names text").all_text_contents()
    assert sorted(names) == [f"|δ{one}|" for one in "¹²³⁴⁵"]
    expect(page.get_by_label("first weights")).to_have_value("nielsen_scaled")
    expect(page.locator(".train-told")).to_contain_text("never above ¼")
    button(page, "mend it").click()
    expect(page.get_by_label("activation σ")).to_have_value("relu")
    until(page, lambda: ratio_of(page) > 0.1)
    button(page, "pause the training").click()
    expect(page.locator(".train")).to_have_attribute("data-state", "paused")


def test_pause_step_and_reset(shown, expect):
    page = shown("train")
    button(page, "reset").click()
    expect(page.locator(".train")).to_have_attribute("data-step", "0")
    button(page, "step", exact=True).click()
    expect(page.locator(".train")).to_have_attribute("data-step", "1")
    button(page, "play").click()
    until(page, lambda: number_of(page, "frames") > 20 and number_of(page, "step") > 5)
    button(page, "pause the training").click()
    expect(button(page, "play")).to_be_visible()
    button(page, "reset").click()
    expect(page.locator(".train")).to_have_attribute("data-step", "0")


def test_what_is_chosen_is_trained_and_what_cannot_be_is_refused(shown, expect):
    page = shown("train")
    button(page, "one hidden layer more").click()
    hidden = page.get_by_label("hidden layers", exact=True)
    layers = len(hidden.input_value().split(","))
    expect(page.locator("[data-figure=error-by-layer] .lines path")).to_have_count(layers + 1)
    button(page, "one hidden layer fewer").click()
    expect(page.locator("[data-figure=error-by-layer] .lines path")).to_have_count(layers)
    page.get_by_label("activation σ").select_option("tanh")
    until(page, lambda: "tanh" in page.evaluate("location.hash"))
    rate = page.get_by_label("learning rate η")
    before = rate.input_value()
    rate.fill("-1")
    rate.press("Enter")
    expect(page.locator(".train .refusal")).to_contain_text(re.compile("eta|-1"))
    expect(rate).to_have_value(before)


def test_a_drawing_is_also_a_table(shown, expect):
    page = shown("diagnose")
    figure = page.locator("[data-figure=error-over-training]")
    button(figure, re.compile("^table of")).click()
    expect(figure.locator("svg")).to_be_hidden()
    assert figure.locator("thead th").all_text_contents() == ["step", "|δ¹|", "|δ²|", "|δ³|", "|δ⁴|"]
    assert figure.locator("tbody tr").count() > 5
    button(figure, re.compile("^table of")).click()
    expect(figure.locator("svg")).to_be_visible()


def test_a_formula_is_set_judged_and_mended(shown, expect):
    page = shown("formula")
    verdict = page.locator(".formula-verdict")
    expect(verdict.locator("[data-holds=true]")).to_be_visible()
    for name, reason in {
        "with the inverse": "only a square matrix has an inverse",
        "without the transpose": "does not fit",
        "with σ instead of σ′": "take sigma', not sigma",
    }.items():
        button(page, name).click()
        expect(verdict.locator("[data-holds=false]")).to_be_visible()
        expect(verdict).to_contain_text(reason)
        expect(verdict).to_contain_text("read as delta^l =")
    expect(verdict.locator(".mended math")).to_be_visible()
    button(page, "use it").click()
    expect(verdict.locator("[data-holds=true]")).to_be_visible()
    assert page.locator(".formula > .formula-set math").count() == 1


def test_what_is_typed_is_set_as_it_is_typed_and_the_link_has_it(shown, open_page, expect):
    page = shown("formula")
    box = page.get_by_label("A formula for the error, in LaTeX")
    box.fill(r"\delta^{l} = \frac{1}{")
    expect(page.locator(".formula-trouble")).to_contain_text("not LaTeX yet")
    box.fill(r"\delta^{L} = \nabla_a C \odot \sigma'(z^{L})")
    expect(page.locator(".formula-trouble")).to_be_hidden()
    expect(page.locator(".formula-verdict [data-holds=true]")).to_be_visible()
    until(page, lambda: "nabla" in page.evaluate("location.hash"))
    again = open_page(page.url)
    expect(again.get_by_label("A formula for the error, in LaTeX")).to_have_value(box.input_value())
    expect(again.locator(".formula-verdict [data-holds=true]")).to_be_visible()
    box.fill("<img src=x onerror=alert(1)>")
    expect(page.locator(".formula-verdict .refusal, .formula-verdict [data-holds=false]").first).to_be_visible()
    assert page.locator("img").count() == 0


def test_a_cell_is_read_by_keyboard_and_has_the_engines_number(shown, run, expect):
    page = shown("diagnose")
    made = heat(history_of(run).flow)
    frame = page.get_by_label("Gains by step.")
    frame.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    reading = page.locator(".heat-reading")
    gain = float(f"{10 ** made['log10'][2][2]:.4g}")
    expect(reading).to_contain_text(f"Step {made['steps'][2]}, ⊙ σ′(z³), sigmoid: gain ")
    told = re.search(r"gain ([\d.e+-]+),", reading.text_content())
    assert float(told[1]) == pytest.approx(gain, rel=1e-3)
    expect(reading).to_contain_text(f"Verdict of this step: {made['verdicts'][2]}")


def test_a_step_is_opened_with_its_budget_and_the_link_opens_it_again(shown, open_page, run, expect):
    page = shown("diagnose")
    seen = history_of(run).flow
    made = heat(seen)
    page.get_by_label("Gains by step.").focus()
    for key in ("Home", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    view = flow_at(seen, 1)
    head = page.locator(".diagnose-flow h2")
    expect(head).to_contain_text(f"Step {made['steps'][1]}: ✗ vanishing")
    for fault in view["verdicts"]:
        expect(page.locator(".verdicts")).to_contain_text(fault["why"])
    gains = page.locator("[data-figure=budget] .waterfall-gains text").all_text_contents()
    told = [float(text.removeprefix("×")) for text in gains]
    assert told[:-1] == pytest.approx([bar["gain"] for bar in view["budget"]], rel=6e-3)
    assert told[-1] == pytest.approx(10 ** math.fsum(bar["log10"] for bar in view["budget"]), rel=6e-3)
    until(page, lambda: f"at={made['steps'][1]}" in page.url)
    again = open_page(page.url)
    expect(again.locator(".diagnose-flow h2")).to_contain_text(f"Step {made['steps'][1]}: ✗ vanishing")


def test_the_verdict_on_the_network_comes_with_its_remedies(shown, run, expect):
    page = shown("diagnose")
    expect(page.locator(".diagnose-flow h2")).to_contain_text("The network as it is: ✗ vanishing")
    assert page.locator(".remedy li").count() >= 1
    expect(page.locator(".remedy")).to_contain_text("layer 1")


def test_a_saved_watch_of_a_model_is_uploaded_and_names_its_lines(shown, saved, expect):
    page = shown("diagnose")
    page.get_by_label(re.compile("choose it, or drop it")).set_input_files(saved)
    expect(page.locator(".diagnose-flow h2")).to_contain_text("Step 21: ✗ vanishing")
    budget = page.locator("[data-figure=budget]")
    expect(budget.locator(".waterfall-names")).to_contain_text("2 (linear)")
    expect(budget.locator(".waterfall-sources")).to_contain_text("train.py:7")
    expect(page.locator(".verdicts")).to_contain_text("draw them anew")
    expect(page.locator(".unseen")).to_contain_text("what is inside")
    gains = flow_view(WatchedModel.load(saved).at(2))["budget"]
    assert budget.locator(".waterfall-bars rect").count() == len(gains) + 1


def test_what_is_no_record_is_refused_in_words(shown, tmp_path, expect):
    page = shown("diagnose")
    (tmp_path / "notes.json").write_text("not JSON")
    page.get_by_label(re.compile("choose it, or drop it")).set_input_files(tmp_path / "notes.json")
    expect(page.locator(".diagnose .refusal").first).to_contain_text("notes.json")
    expect(page.locator("[data-figure=gains]")).to_be_visible()  # what was there stays


def test_a_drawing_is_saved_as_svg_and_as_png_of_twice_its_size(shown, tmp_path):
    page = shown("diagnose", dark=True)
    for figure in ("gains", "budget", "error-over-training"):
        place = page.locator(f"[data-figure={figure}]")
        with page.expect_download() as got:
            button(place, re.compile("^save as SVG")).click()
        got.value.save_as(tmp_path / got.value.suggested_filename)
        assert got.value.suggested_filename == f"{figure}.svg"
        tree = ET.parse(tmp_path / f"{figure}.svg").getroot()
        marks = {"{http://www.w3.org/2000/svg}" + name for name in ("path", "rect", "text")}
        assert len([one for one in tree.iter() if one.tag in marks]) > 10
        text = (tmp_path / f"{figure}.svg").read_text()
        assert "var(" not in text
        assert "class=" not in text
        assert "fill=\"rgb(" in text
        with page.expect_download() as got:
            button(place, re.compile("^save as PNG")).click()
        got.value.save_as(tmp_path / f"{figure}.png")
        width, height = struct.unpack(">II", (tmp_path / f"{figure}.png").read_bytes()[16:24])
        assert (width, height) == (2 * int(float(tree.get("width"))), 2 * int(float(tree.get("height"))))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tab", ["train", "formula", "diagnose"])
def test_axe_finds_no_serious_fault(shown, tab, dark, expect):
    page = shown(tab, dark=dark)
    if tab == "formula":
        button(page, "with the inverse").click()
        expect(button(page, "use it")).to_be_visible()
    elif tab == "train":
        button(page, "the book’s vanishing gradient").click()
        until(page, lambda: number_of(page, "frames") > 3)
        button(page, "pause the training").click()
    else:
        expect(page.locator("[data-figure=budget] svg")).to_be_visible()
    page.evaluate(AXE.read_text() + "; 0")
    found = page.evaluate("async () => (await axe.run()).violations")
    faults = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not faults, json.dumps([(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in faults], indent=1)


@pytest.mark.parametrize("width", [360, 1280, 3840])
@pytest.mark.parametrize("tab", ["train", "formula", "diagnose"])
def test_nothing_is_wider_than_the_page(shown, tab, width, expect):
    page = shown(tab, width=width)
    expect(page.locator(f".{tab}")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
