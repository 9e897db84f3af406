"""Networks on disk: the same bits back, or a clear refusal; and never code that runs."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest
from drawn import HIDDEN, PAIRS, network
from hypothesis import given
from hypothesis import strategies as st

import deltarule as dr
from deltarule import store


def assert_same(net, other):
    assert repr(net) == repr(other)
    assert (net.init, net.seed, net.dtype) == (other.init, other.seed, other.dtype)
    for l in range(1, net.L + 1):
        for one, too in ((net.W[l], other.W[l]), (net.b[l], other.b[l])):
            assert one.dtype == too.dtype
            assert one.tobytes() == too.tobytes()


def there_and_back(net, path):
    net.save(path)
    return dr.load(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_every_pair_of_output_and_cost_comes_back_bit_for_bit(tmp_path, output, cost, dtype):
    net = network([3, 5, 4, 2], "tanh", output, cost, dtype)
    other = there_and_back(net, tmp_path / "net.safetensors")
    assert_same(net, other)
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(net.predict(x), other.predict(x))


def test_every_activation_in_a_layer_of_its_own_comes_back(tmp_path):
    net = dr.Network([3, *[4] * len(HIDDEN), 2], HIDDEN, seed=1)
    other = there_and_back(net, tmp_path / "net.safetensors")
    assert [sigma.name for sigma in other.activations] == [*HIDDEN, "sigmoid"]
    assert_same(net, other)


@pytest.mark.parametrize("init", dr.INITS)
def test_every_init_is_remembered(tmp_path, init):
    assert_same(net := dr.Network([3, 4, 2], init=init, seed=2), there_and_back(net, tmp_path / "net"))


@pytest.mark.parametrize("seed", [None, 0, np.int64(7), 2**70])
def test_the_seed_is_remembered(tmp_path, seed):
    assert there_and_back(dr.Network([2, 1], seed=seed), tmp_path / "net").seed == seed


def test_a_network_without_a_hidden_layer_comes_back(tmp_path):
    assert_same(net := dr.Network([3, 1], seed=0), there_and_back(net, tmp_path / "net"))


@pytest.mark.parametrize(
    "classes", [["ant", "bee", "sea-cow"], ["größe", "日", "a b"], [0, 1, 2]], ids=["words", "unicode", "integers"]
)
def test_the_classes_come_back(tmp_path, classes):
    net = dr.Network([2, 3], seed=0)
    net.fit(np.eye(3, 2), np.array(classes), epochs=1, progress=False)
    other = there_and_back(net, tmp_path / "net")
    np.testing.assert_array_equal(other.classes, net.classes)
    assert other.classes.dtype.kind == net.classes.dtype.kind
    np.testing.assert_array_equal(other.classify(np.eye(3, 2)), net.classify(np.eye(3, 2)))


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5), st.sampled_from(["float32", "float64"]), st.integers(0, 99)
)
def test_any_shape_comes_back(tmp_path_factory, sizes, dtype, seed):
    net = dr.Network(sizes, dtype=dtype, init="nielsen", seed=seed)
    assert_same(net, there_and_back(net, tmp_path_factory.getbasetemp() / "drawn"))


def test_what_is_loaded_is_written_through_and_can_go_on_learning(tmp_path):
    net = there_and_back(dr.Network([2, 3, 2], seed=0), tmp_path / "net")
    net.W[2][...] = 0
    net.b[2][...] = [np.log(3), 0]
    np.testing.assert_allclose(net.predict(np.ones((1, 2))), [[0.75, 0.5]], rtol=1e-6)
    before = net.W[1].copy()
    net.fit(np.eye(2), [0, 1], epochs=2)  # the second step has a W^2 that is not 0, so W^1 moves
    assert not np.array_equal(net.W[1], before)


def square(z):
    return z * z


def twice(z):
    return 2 * z


def test_an_activation_of_ones_own_is_asked_for_and_the_error_says_how(tmp_path):
    net = dr.Network([2, 3, 3, 1], ["tanh", (square, twice)], "identity", seed=0)
    net.save(tmp_path / "net")
    with pytest.raises(dr.BadFile, match=r"'square'.*load\(path, activations=\{'square': \(sigma, slope\)\}\)"):
        dr.load(tmp_path / "net")
    other = dr.load(tmp_path / "net", activations={"square": (square, twice)})
    assert_same(net, other)
    np.testing.assert_array_equal(net.predict(np.eye(2)), other.predict(np.eye(2)))


def test_an_activation_of_ones_own_that_is_no_pair_is_refused(tmp_path):
    dr.Network([2, 3, 1], (square, twice), seed=0).save(tmp_path / "net")
    with pytest.raises(dr.BadFile, match="pair"):
        dr.load(tmp_path / "net", activations={"square": square})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "net"
    dr.Network([3, 4, 2], seed=0).save(path)
    return path.read_bytes()


def assert_refused(path, match=None):
    """It is refused, and the file is named."""
    with pytest.raises(dr.BadFile, match=match) as caught:
        dr.load(path)
    assert str(path) in str(caught.value)


def test_a_file_cut_short_at_any_length_is_refused(tmp_path, whole):
    path = tmp_path / "short"
    for keep in range(len(whole)):
        path.write_bytes(whole[:keep])
        assert_refused(path)
    path.write_bytes(whole)
    dr.load(path)


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80, 0xFF])
def test_a_byte_changed_anywhere_header_included_is_refused(tmp_path, whole, flip):
    path = tmp_path / "changed"
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= flip
        path.write_bytes(content)
        assert_refused(path)


def test_bytes_after_the_end_are_refused(tmp_path, whole):
    (tmp_path / "long").write_bytes(whole + b"\0")
    assert_refused(tmp_path / "long")


def test_the_reason_of_a_refusal_is_the_true_one(tmp_path, whole):
    path = tmp_path / "file"
    path.write_bytes(whole[:-1])
    assert_refused(path, "cut short")
    path.write_bytes(whole[:-1] + b"\x01")
    assert_refused(path, "changed since it was written")
    path.write_bytes(b"")
    assert_refused(path, "not a whole safetensors file")
    assert_refused(tmp_path / "none", "no such file")
    assert_refused(tmp_path, "a folder")


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"W1": np.zeros((2, 3), np.float32)}, tmp_path / "foreign", {"format": "pt"})
    assert_refused(tmp_path / "foreign", "not one that deltarule wrote")
    save_file({"W1": np.zeros((2, 3), np.float32)}, tmp_path / "foreign")
    assert_refused(tmp_path / "foreign", "not one that deltarule wrote")


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_loading_never_runs_code(tmp_path):
    bomb, mark = tmp_path / "bomb", tmp_path / "it ran"
    bomb.write_bytes(pickle.dumps(Bomb(mark)))
    assert_refused(bomb)
    np.save(tmp_path / "bomb.npy", np.array([Bomb(mark)], object), allow_pickle=True)
    assert_refused(tmp_path / "bomb.npy")
    assert not mark.exists()
    pickle.loads(bomb.read_bytes())  # the bomb is a live one
    assert mark.exists()


def packed(path, header=(), tensors=(), without=()):
    """A file with a digest that fits, but other content: what someone with this source could forge."""
    net = dr.Network([3, 4, 2], seed=0)
    kept = {f"{name}{l}": getattr(net, name)[l] for name in "Wb" for l in (1, 2)}
    whole = {"schema": store.SCHEMA, "version": store.VERSION, **store.architecture(net), **dict(header)}
    whole = {key: value for key, value in whole.items() if key not in without}
    kept = {key: value for key, value in {**kept, **dict(tensors)}.items() if key not in without}
    path.write_bytes(store.pack(kept, whole))
    return path


def test_a_header_that_is_as_it_should_be_is_loaded(tmp_path):
    assert dr.load(packed(tmp_path / "net")).sizes == [3, 4, 2]


FIELDS = ["sizes", "activation", "output", "cost", "init", "dtype", "seed", "classes"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [-1, 1.5, "x", [1], [[1]], {}, True, ["a", 1], 10**30], ids=repr)
def test_a_forged_header_is_refused_whatever_it_says(tmp_path, field, value):
    if (field, value) == ("seed", 10**30):
        assert dr.load(packed(tmp_path / "net", {field: value})).seed == value  # an honest seed
        return
    assert_refused(packed(tmp_path / "forged", {field: value}))


@pytest.mark.parametrize("field", [*FIELDS, "W1", "b2"])
def test_a_file_that_lacks_a_part_is_refused_with_its_name(tmp_path, field):
    assert_refused(packed(tmp_path / "file", without=[field]), field)


@pytest.mark.parametrize(
    "tensors",
    [
        {"b1": np.zeros(1, np.float32)},  # NumPy would broadcast it
        {"b1": np.zeros(4, np.float64)},  # and cast it
        {"W1": np.zeros((3, 4), np.float32)},
        {"W3": np.zeros((1, 2), np.float32)},
    ],
    ids=["broadcast", "cast", "transposed", "too many"],
)
def test_tensors_that_do_not_fit_the_sizes_are_refused(tmp_path, tensors):
    assert_refused(packed(tmp_path / "file", tensors=tensors), "do not make a network")


def test_sizes_beyond_the_tensors_are_refused_before_memory_is_taken(tmp_path):
    assert_refused(packed(tmp_path / "file", {"sizes": [3, 10**7, 10**7, 2], "activation": ["tanh"] * 2}))


@pytest.mark.parametrize("header", [{"version": 2}, {"schema": "deltarule.checkpoint"}])
def test_another_version_or_schema_is_refused_with_what_was_expected(tmp_path, header):
    assert_refused(packed(tmp_path / "file", header), "expected deltarule.network version 1, found")


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_crash_while_writing_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, broken):
    path = tmp_path / "net"
    dr.Network([3, 4, 2], seed=0).save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OSError, match="No space"):
        dr.Network([3, 4, 2], seed=1).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net"]
    dr.Network([3, 4, 2], seed=1).save(path)
    assert path.read_bytes() != before


def test_the_content_is_on_the_disk_before_the_name_points_to_it(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    store.write_whole(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_saving_makes_the_folders_it_needs_and_refuses_a_folder_as_a_name(tmp_path):
    dr.Network([2, 1], seed=0).save(tmp_path / "a" / "b" / "net")
    assert (tmp_path / "a" / "b" / "net").is_file()
    with pytest.raises(dr.BadInput, match="is a folder; expected the name of a file"):
        dr.Network([2, 1], seed=0).save(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        dr.Network([3, 4, 2], seed=0).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


COPIES = {"pickle": lambda net: pickle.loads(pickle.dumps(net)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_has_the_same_bits_and_its_own_memory(way, dtype):
    net = dr.Network([3, 4, 2], ["relu"], "softmax", "log_likelihood", dtype=dtype, seed=0)
    net.fit(np.eye(3), ["a", "b", "a"], epochs=2)
    other = COPIES[way](net)
    assert_same(net, other)
    np.testing.assert_array_equal(other.classes, net.classes)
    assert other.activations[1] is net.activations[1]  # the table's own entry again
    before, a = net.W[1].copy(), other.predict(np.eye(3))
    np.testing.assert_array_equal(a, net.predict(np.eye(3)))
    # The views of the copy write into the weights that it computes with, and into no others.
    other.W[1][...] = 0
    other.b[1][...] = 0
    other.W[2][...] = 0
    other.b[2][...] = [0, np.log(3)]
    np.testing.assert_allclose(other.predict(np.eye(3)), [[0.25, 0.75]] * 3, rtol=1e-6)
    np.testing.assert_array_equal(net.W[1], before)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_draws_what_the_original_draws(way):
    x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
    net = dr.Network([3, 8, 2], seed=0)
    net.fit(x, y, epochs=2)
    other = COPIES[way](net)
    for one in (net, other):
        one.fit(x, y, epochs=3, batch_size=4, optimizer=dr.SGD(1.0), dropout=0.3)
    assert_same(net, other)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_keeps_an_activation_of_ones_own(way):
    net = dr.Network([2, 3, 1], (square, twice), "identity", seed=0)
    np.testing.assert_array_equal(COPIES[way](net).predict(np.eye(2)), net.predict(np.eye(2)))


def test_an_optimiser_is_pickled_with_its_constants():
    optimizer = pickle.loads(pickle.dumps(dr.Momentum(0.3, 0.8)))
    assert optimizer.settings() == dr.Momentum(0.3, 0.8).settings()
    dr.Network([2, 2], seed=0).fit(np.eye(2), [0, 1], epochs=1, optimizer=optimizer)
