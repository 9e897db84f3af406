"""The report: one file that opens from disk, shows what it holds, and asks nothing of any server."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import deltarule as dr
from deltarule import runs
from deltarule.cli import app
from deltarule.errors import BadFile, BadInput
from deltarule.page import report
from deltarule.page.scene import BLOCKS
from deltarule.settings import Settings

HOSTILE = "</script><script>document.title = 'caught'</script><!-- \u2028 &amp; <b>bold</b>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A watched run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "RUN"
    runs.train(Settings("digits", hidden=(20, 12), epochs=3, watch=10), folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """The run's report, and what the command said of it."""
    path = tmp_path_factory.mktemp("report") / "out.html"
    done = CliRunner().invoke(app, ["report", str(run), "-o", str(path)])
    assert done.exit_code == 0, done.output
    return SimpleNamespace(path=path, said=done.output, scene=scene_in(path))


def scene_in(path) -> dict:
    """The scene that a report holds."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def shown(open_page, path, **how):
    page = open_page(path, offline=True, **how)
    page.wait_for_selector("main[data-ready]")
    return page


def test_a_report_holds_what_the_run_has(written, run):
    scene, net = written.scene, runs.network_of(run)
    assert scene["network"]["sizes"] == [64, 20, 12, 10]
    assert scene["data"]["image"] == [8, 8]
    assert len(scene["history"]["cost"]) == 3
    assert len(scene["heat"]["steps"]) == len(runs.history_of(run).flow)
    assert 2 <= len(scene["heat"]["flows"]) <= 12
    assert [one["holds"] for one in scene["formulas"]] == [True, False, False, True, True, True]
    x, y = dr.data.digits().train
    for one in scene["passes"]:
        trace = net.backprop(x[one["sample"] :][:1], y[one["sample"] :][:1])
        assert one["cost"] == trace.cost[0]
        for l in range(1, net.L + 1):
            assert np.array_equal(np.array(one["delta"][l - 1], net.dtype), trace.delta[l][0])


def test_a_dozen_samples_come_along_the_costliest_among_them(written, run):
    scene, net = written.scene, runs.network_of(run)
    held = [one["sample"] for one in scene["passes"]]
    assert len(set(held)) == 12
    assert {0, 1, 2, 3, 4, 5} <= set(held)
    x, y = dr.data.digits().train
    assert set(np.argsort(-net.backprop(x[:1000], y[:1000]).cost)[:4]) <= set(held)
    assert sorted(pick["sample"] for pick in scene["data"]["picks"]) == held


def test_the_size_is_told_and_small(written):
    size = written.path.stat().st_size
    assert size < 3_000_000
    assert f"{size / 1e6:.1f} MB" in written.said
    assert "the passes of 12 samples" in written.said


def test_it_opens_from_disk_and_steps_through_a_sample_to_the_digit(written, open_page):
    page = shown(open_page, written.path)  # open_page fails on any error, and on a request
    assert page.title().startswith("digits, 64-20-12-10")
    panel = page.locator(".panel.step")
    page.wait_for_selector(".panel.step[data-moment=input]")
    panel.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".panel.step[data-moment=activation][data-layer='1']")
    panel.get_by_text("All numbers of this layer").click()
    shown_delta = [
        np.float32(row.locator("td").last.inner_text().replace("−", "-")) for row in panel.locator("tbody tr").all()
    ]
    assert shown_delta == [np.float32(one) for one in written.scene["passes"][0]["delta"][0]]
    other = written.scene["passes"][-1]["sample"]
    panel.get_by_label("Sample", exact=True).select_option(str(other))
    page.wait_for_selector(f".panel.step[data-drawn^='{other}.']")


def test_a_sample_that_is_not_held_is_refused_in_words(written, open_page):
    page = shown(open_page, written.path)
    held = {one["sample"] for one in written.scene["passes"]}
    page.get_by_label("Number of the sample").fill(str(next(i for i in range(1000) if i not in held)))
    page.keyboard.press("Enter")
    page.wait_for_selector("text=This file holds the passes of 12 samples")


def test_every_tab_that_is_there_opens_in_the_dark_and_on_a_telephone(written, open_page):
    page = shown(open_page, written.path, dark=True, width=360)
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_function("tab => tab.getAttribute('aria-selected') === 'true'", arg=tab.element_handle())
        panel = page.locator("[role=tabpanel]:visible")
        assert panel.count() == 1
        assert len(panel.inner_text()) > 20
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_no_other_code_runs_in_it_and_nothing_is_fetched(written, open_page):
    page = shown(open_page, written.path)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'caught'";
            document.body.append(script);
            return fetch("https://example.org/").catch(() => {});
        }"""
    )
    assert page.title() != "caught"
    refused = [fault for fault in page.faults if "Content Security Policy" in fault]
    assert len(refused) >= 2
    page.faults.clear()


def test_words_from_the_data_stay_words(tmp_path, open_page):
    net = dr.Network([3, 4, 2], seed=0)
    net.fit(np.eye(3), np.array([HOSTILE, "b", "b"]), epochs=1, progress=False)
    report(net, tmp_path / "out.html", np.eye(3), np.array([HOSTILE, "b", "b"]))
    assert scene_in(tmp_path / "out.html")["network"]["classes"] == sorted(["b", HOSTILE])
    page = shown(open_page, tmp_path / "out.html")
    assert page.locator("script").count() == 2
    assert page.locator("main b").count() == 0
    assert page.title() == "3-4-2 · deltarule"


def test_a_network_s_file_alone_and_with_data(run, tmp_path, open_page):
    out = tmp_path / "out.html"
    said = report(run / "network.safetensors", out)
    assert "passes" not in said
    assert scene_in(out)["data"] is None
    shown(open_page, out)
    assert "the passes of 3 samples" in report(run / "network.safetensors", out, dataset="digits", samples=3)


def test_the_record_of_a_watch_over_a_pytorch_model(tmp_path, open_page):
    torch = pytest.importorskip("torch")
    from deltarule.lens import watch

    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (torch.nn.Linear(8, 8), torch.nn.Sigmoid())]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(8, 2))
    with watch(model) as seen:
        for _ in range(4):
            model(torch.randn(32, 8)).square().sum().backward()
    seen.save(tmp_path / "flow.json")
    said = report(tmp_path / "flow.json", tmp_path / "out.html")
    assert "4 recorded steps" in said
    scene = scene_in(tmp_path / "out.html")
    assert scene["network"] is None
    assert scene["flow"]["verdict"] == "vanishing"
    page = shown(open_page, tmp_path / "out.html")
    assert "Step through" not in page.get_by_role("tab").all_inner_texts()
    page.wait_for_selector("text=vanishing")


def test_a_large_network_comes_in_blocks_with_as_many_passes_as_fit(tmp_path, open_page):
    net = dr.Network([784, 1200, 1200, 10], "relu", "softmax", "log_likelihood", seed=0)
    draw = np.random.default_rng(0)
    said = report(net, tmp_path / "out.html", draw.random((40, 784), np.float32), draw.integers(0, 10, 40))
    scene = scene_in(tmp_path / "out.html")
    assert 1 <= len(scene["passes"]) < 12
    assert f"the passes of {len(scene['passes'])} samples" in said
    blocks = scene["network"]["W"][1]["blocks"]
    assert len(blocks["mean"]) == BLOCKS
    at = blocks["to"][1], blocks["from"][1]
    assert blocks["mean"][0][0] == pytest.approx(net.W[2][: at[0], : at[1]].mean(), rel=1e-5)
    assert (tmp_path / "out.html").stat().st_size < 16_000_000
    shown(open_page, tmp_path / "out.html")


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_what_is_not_there_is_refused_and_nothing_is_written(tmp_path, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile):
        report(tmp_path / what, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_bad_input_is_named(run, tmp_path):
    with pytest.raises(BadInput, match="is a folder; expected the name of a file"):
        report(run, tmp_path)
    with pytest.raises(BadInput, match="samples is -1"):
        report(run, tmp_path / "out.html", samples=-1)
    with pytest.raises(BadInput, match="a report of int"):
        report(5, tmp_path / "out.html")


def test_a_report_that_fails_leaves_the_one_before(run, tmp_path, monkeypatch):
    report(run, tmp_path / "out.html", samples=1)
    before = (tmp_path / "out.html").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        report(run, tmp_path / "out.html", samples=2)
    assert (tmp_path / "out.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_without_samples_the_data_is_not_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr("deltarule.runs.some", lambda *_: pytest.fail("the data was read"))
    report(run, tmp_path / "out.html", samples=0)
    assert scene_in(tmp_path / "out.html")["data"] is None
