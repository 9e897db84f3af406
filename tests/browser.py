"""A real Chromium for the tests of the page: one a module, and a page that fails a test on anything gone wrong.

`open_page(address, width=..., height=..., dark=...)` opens a file (a Path) or a link and returns Playwright's page.
At the end of the test all that its pages said is judged: an error, a warning, a request that failed or one that went
anywhere but to this machine fails the test. What a test expects it takes out of `page.faults` itself.

Where no Chromium is installed these tests are skipped, and say so; with DELTARULE_NEEDS_CHROMIUM=1 they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HERE = {"127.0.0.1", "localhost"}
LOCAL = {"file", "data", "blob", "about"}


def chromium_path() -> str | None:
    """Where Chromium is installed, by the first of its names that is found."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def miss(what: str) -> None:
    """Skip, visibly; in continuous integration, where Chromium is promised, fail."""
    if os.environ.get("DELTARULE_NEEDS_CHROMIUM"):
        pytest.fail(f"{what}, and DELTARULE_NEEDS_CHROMIUM is set")
    pytest.skip(f"{what}: the page is not tested")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Playwright's Browser, driving the Chromium of this machine.

    One a module, a second's work: while Playwright is there, its thread counts as within an event loop, in which
    other tests could not start their own.
    """
    path = chromium_path()
    if path is None:
        miss(f"no Chromium on this machine ({', '.join(NAMES)}; Debian: apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        miss('Playwright is not installed (pip install "deltarule[dev]")')
    # As root, in a container, Chromium's sandbox cannot start; its own pages are all that it opens here.
    flags = ["--disable-gpu", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: object) -> Iterator[Callable[..., object]]:
    """A function that opens a file or a link in a page of its own; at the end nothing may have gone wrong."""
    contexts, faults = [], []

    def opened(
        address: Path | str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        still: bool = True,
        offline: bool = False,
        scale: float = 1,
    ) -> object:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if still else "no-preference",
            device_scale_factor=scale,
            offline=offline,
            accept_downloads=True,
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.faults = faults
        listen(page, faults)
        page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults, "\n".join(faults)


def listen(page: object, faults: list[str]) -> None:
    """Collect what goes wrong in a page: errors, warnings, failed requests, and requests that leave the machine."""

    def said(message: object) -> None:
        if message.type in ("error", "warning"):
            faults.append(f"console {message.type}: {message.text}")

    def asked(request: object) -> None:
        link = urlsplit(request.url)
        if link.scheme not in LOCAL and link.hostname not in HERE:
            faults.append(f"a request left the machine: {request.url}")

    def answered(response: object) -> None:
        if response.status >= 400:
            faults.append(f"{response.status}: {response.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(f"uncaught: {error.message}\n{error.stack}"))
    page.on("request", asked)
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url} ({request.failure})"))
    page.on("response", answered)
