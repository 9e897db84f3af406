"""Draws the README's pictures of the page: opens the real one in Chromium and keeps what it shows.

`make pictures`; Chromium must be installed. Each picture is a state that a reader can click to.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from deltarule import runs
from deltarule.page import report
from deltarule.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import chromium_path  # the same Chromium as the tests'

PICTURES = Path(__file__).parent / "pictures"
LARGEST = 250_000


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as page:
        step_through(page, Path(folder))
        diagnose(page, Path(folder))
        train(page)


@contextmanager
def chromium():
    """A page of a tablet's width, on which nothing moves by itself."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1120, "height": 900}, reduced_motion="reduce")
        page.on("pageerror", lambda error: sys.exit(f"the page failed: {error.message}"))
        yield page
        browser.close()


def step_through(page: Page, folder: Path) -> None:
    """A trained network, the sample that costs most, at BP2's second move; and the rules beside it."""
    runs.train(Settings("digits", hidden=(24, 16), epochs=10), folder / "run", progress=False)
    report(folder / "run", folder / "step.html")
    page.goto((folder / "step.html").as_uri())
    panel = page.locator(".panel.step")
    page.wait_for_selector(".panel.step[data-moment]")
    samples = panel.get_by_label("Sample", exact=True)
    samples.select_option(index=samples.locator("option").count() - 1)
    panel.focus()
    page.keyboard.press("End")
    while page.get_attribute(".panel.step", "data-moment") != "activation":
        page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".panel.step[data-moment=activation][data-layer='1']")
    keep(page, "step.png", page.locator("main"), until=panel.locator(".rules-part"))
    keep(page, "rules.png", panel.locator(".rules-part"))


def diagnose(page: Page, folder: Path) -> None:
    """A deep sigmoid network whose error vanishes, as it was watched."""
    settings = Settings("digits", hidden=(30, 30, 30, 30), epochs=6, eta=0.5, cost="cross_entropy", watch=10)
    runs.train(settings, folder / "deep", progress=False)
    report(folder / "deep", folder / "deep.html", samples=1)
    page.goto((folder / "deep.html").as_uri())
    page.get_by_role("tab", name="Diagnose").click()
    page.locator(".panel.diagnose svg").first.wait_for()
    keep(page, "diagnose.png", page.locator("main"))


def train(page: Page) -> None:
    """The book's example of the vanishing gradient, training live."""
    served = subprocess.Popen(
        [sys.executable, "-u", "-m", "deltarule", "explore", "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        link = next(found[0] for line in served.stdout if (found := re.search(r"http://127\S+", line)))
        page.goto(link)
        page.get_by_role("tab", name="Train").click()
        page.get_by_role("button", name="vanishing").click()
        page.wait_for_timeout(4000)  # some epochs
        page.get_by_role("button", name="Pause").click()
        keep(page, "train.png", page.locator("main"))
    finally:
        served.terminate()
        served.wait()


def keep(page: Page, name: str, what, until=None) -> None:
    """A part of the page as a PNG of few colours; with `until`, what stands above that."""
    page.mouse.move(0, 0)
    box = what.bounding_box()
    height = (until.bounding_box()["y"] if until else box["y"] + box["height"]) - box["y"]
    clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": height}
    path = PICTURES / name
    page.screenshot(path=path, clip=clip, full_page=True)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < LARGEST, f"{name} has {path.stat().st_size} bytes"
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
