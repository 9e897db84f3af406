"""The ONNX model: valid, and the network layer by layer, in ONNX Runtime."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import relative
from drawn import HIDDEN, network, samples

import deltarule as dr
from deltarule.interop import to_onnx

OUTPUTS = [("identity", "quadratic"), ("softmax", "log_likelihood"), ("sigmoid", "cross_entropy")]
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


def written(net, path, **options):
    """The checked model, and a session that runs it."""
    to_onnx(net, path / "net.onnx", **options)
    model = onnx.load(path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    return model, onnxruntime.InferenceSession(path / "net.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HIDDEN)
def test_every_activation_layer_by_layer(name, dtype, tmp_path):
    net = network([5, 7, 6, 4], name, "identity", "quadratic", dtype)
    net.W[1] *= 3  # far enough out on both sides
    x, y = samples(net, 40)
    x[0] *= 30
    _, session = written(net, tmp_path, layers=True)
    names = [output.name for output in session.get_outputs()]
    assert names == ["a", "z1", "a1", "z2", "a2", "z3"]
    got = dict(zip(names, session.run(None, {"x": x}), strict=True))
    trace = net.backprop(x, y)
    for l in range(1, net.L + 1):
        for symbol, mine in (("z", trace.z[l]), ("a", trace.a[l])):
            theirs = got[f"{symbol}{l}" if (symbol, l) != ("a", net.L) else "a"]
            assert theirs.dtype == net.dtype
            assert relative(theirs, mine) < TOLERANCE[dtype], (symbol, l)
            assert np.abs(theirs - mine).max() < TOLERANCE[dtype] * max(1, np.abs(mine).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", list(dr.ACTIVATIONS))
def test_every_output(output, dtype, tmp_path):
    net = network([5, 6, 3], "tanh", output, "quadratic", dtype, scale=4)
    x, _ = samples(net, 30)
    _, session = written(net, tmp_path)
    (a,) = session.run(None, {"x": x})
    assert np.abs(a - net.predict(x)).max() < TOLERANCE[dtype] * max(1, np.abs(a).max())


def test_gelu_in_float64_is_exact_far_out_in_its_tail(tmp_path):
    net = dr.Network([1, 1, 1], "gelu", "identity", init="zeros", dtype="float64")
    net.W[1], net.W[2] = [[1.0]], [[1.0]]
    x = np.linspace(-30, 30, 6001)[:, None]
    _, session = written(net, tmp_path)
    (a,) = session.run(None, {"x": x})
    true = net.predict(x)
    normal = np.abs(true) > 1e-300
    assert np.abs(a[normal] / np.where(true == 0, 1, true)[normal] - 1).max() < 1e-11


@pytest.mark.parametrize("N", [1, 3, 257])
def test_any_number_of_rows(N, tmp_path):
    net = network([4, 5, 2], "relu", "sigmoid", "cross_entropy", "float32")
    _, session = written(net, tmp_path)
    assert session.get_inputs()[0].name == "x"
    assert session.get_inputs()[0].shape == ["N", 4]
    x, _ = samples(net, N)
    assert relative(session.run(["a"], {"x": x})[0], net.predict(x)) < 1e-5


@pytest.mark.parametrize("n_L", [1, 2, 3])
@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_classes_of_a_classifier_are_kept(n_L, words, dtype, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    count = max(n_L, 2)
    codes = np.arange(60) % count
    y = np.array(["crème", "eau", "thé"])[codes] if words else codes
    net = dr.Network([4, 6, n_L], output="sigmoid", cost="cross_entropy", dtype=dtype, seed=0)
    net.fit(x, y, epochs=2, progress=False)
    model, session = written(net, tmp_path)
    rows = rng.normal(size=(50, 4)).astype(dtype) * 3
    assert [output.name for output in session.get_outputs()] == ["a", "label"]
    label = session.run(["label"], {"x": rows})[0]
    assert label.shape == (50,)
    assert label.tolist() == net.classify(rows).tolist()
    assert len(set(label.tolist())) > 1
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["classes"]) == net.classes.tolist()
    assert json.loads(about["deltarule"])["sizes"] == [4, 6, n_L]


def test_the_parameters_are_there_under_their_names_bit_for_bit(tmp_path):
    net = network([4, 5, 2], "silu", "identity", "quadratic", "float32")
    model, _ = written(net, tmp_path)
    held = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for l in (1, 2):
        assert np.array_equal(held[f"W{l}"], net.W[l])
        assert np.array_equal(held[f"b{l}"], net.b[l])
    assert model.opset_import[0].version == 17


def test_the_same_network_gives_the_same_bytes(tmp_path):
    net = network([4, 5, 2], "gelu", "softmax", "log_likelihood")
    to_onnx(net, tmp_path / "a.onnx")
    to_onnx(net, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    own = dr.Network([2, 3, 1], (lambda z: z**3, lambda z: 3 * z**2), "identity")
    with pytest.raises(dr.BadInput, match="layer 1 has an activation of your own"):
        to_onnx(own, tmp_path / "own.onnx")
    net = dr.Network([2, 3, 1])
    with pytest.raises(dr.BadInput, match="is a folder"):
        to_onnx(net, tmp_path)
    monkeypatch.setattr("deltarule.interop.onnx_model.MOST_BYTES", 10)
    with pytest.raises(dr.BadInput, match="2 GiB"):
        to_onnx(net, tmp_path / "large.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(dr.MissingExtra, match=r'pip install "deltarule\[onnx\]"'):
        to_onnx(net, tmp_path / "missing.onnx")
    assert not list(tmp_path.iterdir())
