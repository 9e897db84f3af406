"""The report: one file that opens from disk and shows what it holds; nothing is asked of any server."""

from __future__ import annotations

import pytest


def test_chromium_works(open_page, tmp_path):
    (tmp_path / "a.html").write_text("<!doctype html><title>t</title><p id=a>hello</p>")
    page = open_page(tmp_path / "a.html", dark=True)
    assert page.title() == "t"
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
