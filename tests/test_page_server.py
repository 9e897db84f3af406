"""The server behind the page: who may ask, what is answered, and what never leaves or enters."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

import deltarule as dr
from deltarule import runs
from deltarule.errors import BadFile, BadInput
from deltarule.page import server
from deltarule.page.live import Live, LiveSettings, digits
from deltarule.page.opened import Opened
from deltarule.page.session import Library, Session
from deltarule.settings import usual_settings

HERE = {"host": "127.0.0.1:8765"}
KEY = "the-key"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    runs.train(usual_settings("digits", hidden=(12, 8), epochs=2, watch=20, eta=0.5), folder, progress=False)
    return folder


@pytest.fixture
def library(run):
    made = Library.of([run])
    yield made
    made.close()


@pytest.fixture
def client(library):
    from starlette.testclient import TestClient

    return TestClient(server.application(library, KEY), base_url="http://127.0.0.1:8765")


def test_without_the_key_of_this_start_there_is_no_page(client):
    assert client.get("/").status_code == 403
    assert client.get("/", params={"key": "another"}).status_code == 403
    page = client.get("/", params={"key": KEY})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"


def test_a_name_that_points_here_from_elsewhere_is_not_served(client):
    for path in ("/", "/explore.js"):
        answer = client.get(path, params={"key": KEY}, headers={"host": "evil.example"})
        assert answer.status_code in (404, 421)


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/%2e%2e/server.py", "/..%2fserver.py", "/server.py", "/index.html", "/etc/passwd"]
)
def test_no_word_of_the_address_becomes_a_path(client, path):
    answer = client.get(path, params={"key": KEY})
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_every_module_that_the_view_imports_is_served(client):
    import re

    asked, left = set(), ["start.js"]
    while left:
        name = left.pop()
        asked.add(name)
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith("text/javascript")
        left += [
            one
            for one in re.findall(r'from "\./([\w.]+)"|import "\./([\w.]+)"', answer.text)
            for one in one
            if one and one not in asked
        ]
    assert {"explore.js", "step.js", "d3.min.js"} <= asked


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        ("another", {"origin": "http://127.0.0.1:8765"}),
        (KEY, {"origin": "http://evil.example"}),
        (KEY, {}),
        (KEY, {"host": "evil.example", "origin": "http://evil.example"}),
    ],
)
def test_a_connection_that_may_not_ask_is_closed(client, key, headers):
    from starlette.websockets import WebSocketDisconnect

    with client.websocket_connect(f"/ws?key={key}", headers={**HERE, **headers}) as socket:
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == server.NOT_HERE


def asked(socket, what, **given):
    socket.send_text(json.dumps({"id": 1, "ask": what, **given}))
    while True:
        message = json.loads(socket.receive_text())
        if "frame" not in message:
            return message


def test_questions_are_answered_and_mistakes_are_told(client):
    with client.websocket_connect(f"/ws?key={KEY}", headers={**HERE, "origin": "http://127.0.0.1:8765"}) as socket:
        scene = asked(socket, "scene")["answer"]
        assert scene["network"]["sizes"] == [64, 12, 8, 10]
        assert scene["heat"]["steps"][:2] == [1, 21]
        assert asked(socket, "pass", sample=3)["answer"]["sample"] == 3
        assert "there are" in asked(socket, "pass", sample=10**9)["error"]
        assert "expected a whole number" in asked(socket, "pass", sample="3")["error"]
        assert "question" in asked(socket, "burn")["error"]
        socket.send_text("no JSON")
        while True:
            message = json.loads(socket.receive_text())
            if "frame" not in message:
                break
        assert message["error"] == "not a question"
        assert asked(socket, "formula", text=r"\delta^L = \nabla_a C \odot \sigma'(z^L)")["answer"]["holds"]


def test_a_pass_has_the_engines_numbers_and_the_measured_ones(library, run):
    session = Session(library)
    session.ask("scene", {})
    found = session.ask("pass", {"sample": 5})
    net, x, y = library.live.snapshot(), library.live.material.x, library.live.material.y
    trace = net.backprop(x[5:6], y[5:6])
    for l in range(1, net.L + 1):
        assert found["delta"][l - 1] == trace.delta[l][0].tolist()
        assert found["slope"][l - 1] == trace.slope[l][0].tolist()
        measured = [one for one in found["measured"][l - 1] if one is not None]
        assert np.allclose(measured, trace.delta[l][0], rtol=1e-3, atol=1e-6)
        nudges = found["nudges"][l - 1]
        at = nudges["h"].index(0.0)
        assert all(np.isclose(row[at], trace.cost[0], rtol=1e-5) for row in nudges["cost"])
        near = nudges["h"].index(0.001)
        slopes = [(row[near] - row[2 * at - near]) / 0.002 for row in nudges["cost"]]
        assert np.allclose(slopes, trace.delta[l][0][nudges["neurons"]], rtol=1e-3, atol=1e-6)
    by_rule = {view["rule"]: view for view in found["rules"]}
    assert list(by_rule) == ["transpose", "inverse", "random", "direct", "sign"]
    sign = net.backprop(x[5:6], y[5:6], rule="sign", eta=0.1)
    assert by_rule["sign"]["delta"][0] == sign.delta[1][0].tolist()
    assert by_rule["sign"]["step"]["actual"] == sign.step.actual
    assert by_rule["sign"]["angle"][0] == pytest.approx(sign.angle(trace)[1])
    assert by_rule["transpose"]["angle"] == [0.0, 0.0, 0.0]


def test_weights_and_single_wires_are_the_networks(library):
    import base64

    session = Session(library)
    scene = session.ask("scene", {})
    net = library.live.snapshot()
    for l in (1, 2, 3):
        values = np.frombuffer(base64.b64decode(scene["network"]["W"][l - 1]["values"]), "<f4")
        assert (values.reshape(net.W[l].shape) == net.W[l]).all()
    found = session.ask("wires", {"layer": 2, "neuron": 7})
    assert found["out"] == net.W[2][:, 7].tolist()
    assert found["in"] == net.W[2][7].tolist()
    with pytest.raises(BadInput, match="layer 2 has 8"):
        session.ask("wires", {"layer": 2, "neuron": 12})


def test_large_weights_come_in_blocks_whose_means_are_theirs():
    net = dr.Network([1200, 1100, 3], activation="relu", seed=0)
    x = np.random.default_rng(0).random((5, 1200), np.float32)
    library = Library(Opened("wide", net, x, np.array([0, 1, 2, 0, 1])))
    try:
        blocks = Session(library).ask("scene", {})["network"]["W"][0]["blocks"]
        (r0, r1), (c0, c1) = blocks["to"][3:5], blocks["from"][7:9]
        assert blocks["mean"][3][7] == pytest.approx(net.W[1][r0:r1, c0:c1].mean(dtype=np.float64))
        assert blocks["size"][3][7] == pytest.approx(np.sqrt((net.W[1][r0:r1, c0:c1].astype(float) ** 2).mean()))
    finally:
        library.close()


def test_only_what_the_program_was_given_is_opened(library, run, tmp_path):
    session = Session(library)
    assert session.ask("runs", {}) == [{"name": str(run), "kind": "run"}]
    assert session.ask("open", {"name": str(run)})["heat"] is not None
    assert session.ask("flow", {"at": 0})["verdict"]
    other = run.parent / "other"
    with pytest.raises(BadInput, match="other"):
        session.ask("open", {"name": str(other)})


def test_an_upload_is_read_bounded_and_nothing_else(library, run, monkeypatch):
    session = Session(library)
    text = (run / "history.json").read_text()
    assert session.ask("upload", {"name": "history.json", "text": text})["heat"]["steps"][0] == 1
    assert session.ask("flow", {"at": 1})["verdict"]
    for bad in (
        "",
        "[]",
        "{}",
        '{"schema": "deltarule.flow"}',
        '{"schema": "deltarule.trace", "version": 1}',
        "[" * 10**5,
    ):
        with pytest.raises(BadFile):
            session.ask("upload", {"name": "x.json", "text": bad})
    monkeypatch.setattr("deltarule.page.session.MOST_BYTES", 10)
    with pytest.raises(BadInput, match="larger than"):
        session.ask("upload", {"name": "x.json", "text": text})


def heard(frames, condition, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if frames and condition(frames[-1]):
            return frames[-1]
        time.sleep(0.01)
    raise AssertionError(f"not heard: {frames[-1] if frames else 'no frame at all'}")


@pytest.fixture
def live():
    made = Live({"digits": digits}, LiveSettings(hidden=(16, 16), eta=0.5))
    frames = []
    made.listen(frames.append)
    yield made, frames
    made.close()
    assert not [thread for thread in threading.enumerate() if thread in made._threads]


def test_a_live_training_plays_pauses_steps_and_resets(live):
    training, frames = live
    assert heard(frames, lambda frame: frame["step"] == 0)["state"] == "paused"
    training.command("play", {})
    assert heard(frames, lambda frame: frame["step"] > 200)["state"] == "running"
    training.command("pause", {})
    paused = heard(frames, lambda frame: frame["state"] == "paused")["step"]
    training.command("step", {})
    assert heard(frames, lambda frame: frame["step"] > paused)["step"] == paused + 1
    training.command("reset", {})
    assert heard(frames, lambda frame: frame["step"] == 0)["state"] == "paused"


def test_its_steps_are_those_of_fit(live):
    training, frames = live
    training.command("reset", {"batch": 1197})
    for count in range(1, 4):
        training.command("step", {})
        heard(frames, lambda frame, count=count: frame["step"] == count)
    net = dr.Network([64, 16, 16, 10], seed=0)
    net.fit(*dr.data.digits().train, epochs=3, batch_size=1197, optimizer=dr.SGD(0.5), progress=False)
    assert (training.snapshot().theta == net.theta).all()
    some = training._some
    frame = heard(frames, lambda frame: frame["step"] == 3)
    assert frame["cost"] == pytest.approx(net.mean_cost(*some))
    assert frame["delta"] == pytest.approx([dr.flow.length(one) for one in net.backprop(*some).delta])


def test_a_change_of_rule_or_eta_goes_on_and_one_of_the_network_begins_anew(live):
    training, frames = live
    training.command("play", {})
    heard(frames, lambda frame: frame["step"] > 100)
    training.command("pause", {})
    before = training.snapshot().theta.copy()
    step = heard(frames, lambda frame: frame["state"] == "paused")["step"]
    assert training.command("set", {"rule": "random", "eta": 0.1})["rule"] == "random"
    assert (training.snapshot().theta == before).all()
    training.command("step", {})
    frame = heard(frames, lambda frame: frame["step"] == step + 1)
    assert 0 < frame["angle"] < 180
    training.command("set", {"hidden": [5], "activation": "tanh"})
    assert heard(frames, lambda frame: len(frame["delta"]) == 2)["step"] == 0
    assert training.snapshot().sizes == [64, 5, 10]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hidden": "thirty"}, "hidden"),
        ({"hidden": [0]}, "hidden"),
        ({"hidden": [10**9]}, "neurons"),
        ({"hidden": [40_000, 40_000]}, "weights"),
        ({"hidden": [float("inf")]}, "hidden"),
        ({"batch": float("inf")}, "batch"),
        ({"seed": float("nan")}, "seed"),
        ({"eta": 0}, "eta"),
        ({"eta": "fast"}, "eta"),
        ({"batch": 1.5}, "batch"),
        ({"activation": "sigmoyd"}, "sigmoid"),
        ({"optimizer": "adamm"}, "adam"),
        ({"rule": "transposed"}, "transpose"),
        ({"dataset": "/etc/passwd"}, "digits"),
        ({"output": "softmax", "cost": "cross_entropy"}, "log_likelihood"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_those_before_stay(live, wrong, words):
    training, _ = live
    with pytest.raises(BadInput, match=words):
        training.command("set", wrong)
    assert training.describe()["hidden"] == [16, 16]
    assert training.snapshot().sizes == [64, 16, 16, 10]


def test_a_training_that_diverges_says_so_and_can_be_reset(live):
    training, frames = live
    training.command("reset", {"activation": "relu", "output": "identity", "eta": 1e6})
    training.command("play", {})
    frame = heard(frames, lambda frame: frame["state"] == "diverged")
    assert "finite" in frame["message"]
    assert "smaller" in frame["message"]
    json.dumps(frame, allow_nan=False)
    training.command("reset", {"eta": 0.01})
    training.command("play", {})
    heard(frames, lambda frame: frame["state"] == "running" and frame["step"] > 50)


def test_the_speed_is_kept(live):
    training, frames = live
    training.command("set", {"speed": 50})
    training.command("play", {})
    first = heard(frames, lambda frame: frame["step"] >= 5)
    began = time.monotonic()
    last = heard(frames, lambda frame: frame["step"] >= first["step"] + 40)
    rate = (last["step"] - first["step"]) / (time.monotonic() - began)
    assert 25 < rate < 75


def test_the_program_serves_until_it_is_told_to_end(run):
    import urllib.request

    said = []
    ended = threading.Event()

    def serve():
        server.explore([run], browser=False, port=0, say=said.append)
        ended.set()

    import uvicorn

    made = []
    init = uvicorn.Server.__init__

    def kept(self, *given, **more):
        init(self, *given, **more)
        made.append(self)

    uvicorn.Server.__init__ = kept
    try:
        threading.Thread(target=serve, daemon=True).start()
        until = time.monotonic() + 30
        while not (made and made[0].started) and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        uvicorn.Server.__init__ = init
    address = said[0].split()[4]
    with urllib.request.urlopen(address) as answer:
        assert b"start.js" in answer.read()
    made[0].should_exit = True
    assert ended.wait(20)


def test_a_port_that_is_taken_is_named():
    taken = server._listening(0)
    try:
        with pytest.raises(BadInput, match="--port"):
            server._listening(taken.getsockname()[1])
    finally:
        taken.close()
    with pytest.raises(BadInput, match="70000"):
        server._listening(70000)


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"pip install \"deltarule\[page\]\""):
        server.explore(browser=False)


def test_two_views_see_the_same_training(client):
    address, headers = f"/ws?key={KEY}", {**HERE, "origin": "http://127.0.0.1:8765"}
    with (
        client.websocket_connect(address, headers=headers) as one,
        client.websocket_connect(address, headers=headers) as other,
    ):
        asked(one, "train", do="step")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            message = json.loads(other.receive_text())
            if message.get("frame", {}).get("step") == 1:
                break
        else:
            raise AssertionError("the other view heard nothing")


def test_answers_are_json_even_where_nothing_is_finite():
    net = dr.Network([3, 4, 2], activation="relu", output="identity", seed=0)
    net.W[1] = np.full((4, 3), 1e38, np.float32)
    library = Library(Opened("huge", net, np.ones((2, 3), np.float32) * 100, np.array([[0.0, 1.0], [1.0, 0.0]])))
    try:
        session = Session(library)
        for what, given in (("scene", {}), ("pass", {"sample": 0}), ("flow", {})):
            answer = server.answer(session, {"id": 1, "ask": what, **given})
            json.dumps(answer, allow_nan=False)
    finally:
        library.close()


def test_a_mistake_of_the_programs_own_is_told_and_does_not_end_the_view(library, monkeypatch, capsys):
    session = Session(library)
    monkeypatch.setattr(session, "_pass", lambda given: 1 / 0)
    answer = server.answer(session, {"id": 7, "ask": "pass"})
    assert answer["id"] == 7
    assert "ZeroDivisionError" in answer["error"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_set_known_by_its_name_keeps_its_held_out_samples(library):
    assert library.live.material.held_out is not None


def test_a_tables_classes_keep_their_names(tmp_path):
    net = dr.Network([2, 3, 3], seed=0)
    net.classes = np.array(["red", "rosé", "white"])
    x = np.random.default_rng(0).random((6, 2), np.float32)
    library = Library(Opened("wine", net, x, np.array([0, 2, 1, 0, 1, 2]), name="wine.csv"))
    try:
        session = Session(library)
        for _ in range(2):
            assert session.ask("scene", {})["network"]["classes"] == ["red", "rosé", "white"]
            assert session.ask("pass", {"sample": 1})["label"] == "white"
            session.ask("train", {"do": "step"})
            session.ask("train", {"do": "reset", "hidden": [4]})
    finally:
        library.close()
