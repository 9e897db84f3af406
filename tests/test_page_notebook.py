"""The widget in a real JupyterLab: a cell is run in its page, the view comes, and the kernel answers it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from browser import listen, miss

import deltarule as dr

CELL = """
import numpy as np
import deltarule as dr
from deltarule.page import Explore

digits = dr.data.digits()
net = dr.Network([64, 12, 10], seed=0)
Explore(net, *digits.train)
"""
SETTINGS = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """A JupyterLab of its own: with the folders of the test, a new token, and for this machine only."""
    try:
        import anywidget  # noqa: F401
        import jupyterlab  # noqa: F401
    except ImportError:
        miss("no JupyterLab and anywidget here (pip install deltarule[dev])")
    home = tmp_path_factory.mktemp("jupyter")
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    for name, settings in SETTINGS.items():
        file = home / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    (home / "work").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    options = [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={home / 'work'}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options],
            env={**os.environ, **{name: str(home / folder) for name, folder in folders.items()}},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(process, f"http://127.0.0.1:{port}/api?token={token}", home / "log")
        yield SimpleNamespace(root=home / "work", link=f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}")
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(process, link, log):
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(link).close()
        except urllib.error.URLError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def notebook(jupyter, browser):
    """A function that opens a notebook of one cell, runs it, and gives the page."""
    pages, faults = [], []

    def ran(cell: str, name: str):
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        code = {
            "cell_type": "code",
            "id": "one",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": cell,
        }
        whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": [code]}
        (jupyter.root / name).write_text(json.dumps(whole))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        pages.append(page)
        page.set_default_timeout(30_000)
        page.goto(jupyter.link.format(name))
        page.wait_for_selector("text=/ipykernel.*Idle/")
        listen(page, faults)  # from here on: what JupyterLab says of itself as it starts is its own
        page.click(".jp-Notebook .jp-Cell .cm-content")
        page.keyboard.press("Shift+Enter")
        return page

    yield ran
    for page in pages:
        page.close()
    assert not faults, "\n".join(faults)


def test_a_cell_shows_the_view_and_steps_through_a_sample(notebook):
    page = notebook(CELL, "step.ipynb")
    page.wait_for_selector(".deltarule[data-ready]")
    panel = page.locator(".panel.step")
    page.wait_for_selector(".panel.step[data-moment=input]")
    panel.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".panel.step[data-moment=gradients]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".panel.step[data-moment=activation][data-layer='1']")
    panel.get_by_label("Number of the sample").fill("700")  # one that no scene holds: the kernel is asked
    page.keyboard.press("Enter")
    page.wait_for_selector(".panel.step[data-drawn^='700.']")
    panel.get_by_text("All numbers of this layer").click()
    cells = [row.locator("td").last.inner_text() for row in panel.locator("tbody tr").all()]
    x, y = dr.data.digits().train
    net = dr.Network([64, 12, 10], seed=0)
    assert [np.float32(one.replace("−", "-")) for one in cells] == list(
        net.backprop(x[700:701], y[700:701]).delta[1][0]
    )


def test_it_trains_live_in_the_cell_and_two_views_share_the_training(notebook):
    page = notebook(CELL.replace("Explore(", "view = Explore(") + "display(view)\nview", "train.ipynb")
    page.wait_for_function("() => document.querySelectorAll('.deltarule[data-ready]').length === 2")
    first, second = (page.locator(".deltarule").nth(i) for i in range(2))
    for view in (first, second):
        view.get_by_role("tab", name="Train").click()
    first.get_by_role("button", name="play").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-frames]')].every(one => Number(one.dataset.frames) > 20)"
    )
    second.get_by_role("button", name="pause").click()
    second.get_by_role("button", name="play").wait_for()
    first.get_by_role("button", name="play").wait_for()


def test_what_cannot_be_shown_is_refused():
    from deltarule.errors import BadInput
    from deltarule.page import Explore

    with pytest.raises(BadInput, match="nothing to show in a int"):
        Explore(5)
    with pytest.raises(BadInput, match="x and y are the samples of a Network"):
        Explore("runs/mine", np.eye(2))


def test_without_anywidget_the_extra_is_named():
    code = "import sys; sys.modules['anywidget'] = None; from deltarule.page import Explore"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "deltarule[notebook]"' in done.stderr
