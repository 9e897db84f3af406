"""Data sets: the digits, MNIST, and the reader of IDX files, whole and damaged."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest

from deltarule import data
from deltarule.errors import BadFile, BadInput

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}

VALUES = {
    "u1": [[0, 1, 128], [200, 254, 255]],
    "i1": [[0, 1, -1], [-128, 100, 127]],
    "i2": [[0, 1, -2], [258, -32768, 32767]],
    "i4": [[0, 1, -2], [66051, -(2**31), 2**31 - 1]],
    "f4": [[0.0, 1.5, -2.25], [1e-30, 3e38, -1e-3]],
    "f8": [[0.0, 1.5, -2.25], [1e-300, 1e300, np.pi]],
}


def idx(values, code="u1"):
    """An IDX file's bytes, written from its published description and not by the package."""
    array = np.asarray(values)
    head = struct.pack(">HBB", 0, CODES[code], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(f">{code}").tobytes()


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("code", CODES)
def test_every_type_of_idx_is_read_to_the_last_bit_in_the_machines_byte_order(tmp_path, code, pack):
    array = data.read_idx(write(tmp_path / "file", pack(idx(VALUES[code], code))))
    assert array.dtype == np.dtype(code)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.array(VALUES[code], code))


def test_the_bytes_are_taken_big_end_first(tmp_path):
    content = bytes([0, 0, 0x0B, 1, 0, 0, 0, 2, 0x01, 0x02, 0xFF, 0xFE])
    assert data.read_idx(write(tmp_path / "file", content)).tolist() == [0x0102, -2]


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (2, 1, 2, 3), (0, 3)])
def test_any_number_of_axes_is_read(tmp_path, shape):
    values = np.arange(np.prod(shape)).reshape(shape)
    array = data.read_idx(write(tmp_path / "file", idx(values)))
    np.testing.assert_array_equal(array, values)
    assert array.shape == shape


def test_what_is_read_can_be_written_into(tmp_path):
    array = data.read_idx(write(tmp_path / "file", idx([1, 2])))
    array[0] = 9
    assert array.tolist() == [9, 2]


WHOLE = idx([[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("keep", range(len(WHOLE)))
def test_an_idx_file_cut_short_anywhere_is_refused(tmp_path, keep):
    with pytest.raises(BadFile, match=r"short\.idx"):
        data.read_idx(write(tmp_path / "short.idx", WHOLE[:keep]))


@pytest.mark.parametrize("keep", [2, 10, 15, 25, -8, -1])
def test_gzip_data_cut_short_is_refused(tmp_path, keep):
    with pytest.raises(BadFile, match=r"short\.gz"):
        data.read_idx(write(tmp_path / "short.gz", gzip.compress(WHOLE)[:keep]))


def test_gzip_data_that_was_changed_is_refused(tmp_path):
    content = bytearray(gzip.compress(np.random.default_rng(0).bytes(1000)))
    content[500] ^= 0xFF
    with pytest.raises(BadFile, match=r"changed\.gz"):
        data.read_idx(write(tmp_path / "changed.gz", bytes(content)))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (WHOLE + b"\0", r"shape \(2, 3\), 6 bytes of values; 7 follow"),
        (WHOLE[:-1], r"shape \(2, 3\), 6 bytes of values; 5 follow"),
        (WHOLE[:7], "cut short in its header"),
        (b"", "not an IDX file .it begins with nothing"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file .it begins with 89 50 4e 47"),
        (b"\0\0\x0a\x01\0\0\0\0", "not an IDX file"),  # 0x0a is no type
        (b"\0\0\x08\x03" + b"\0\0\0\0" + b"\xff" * 8, "shape"),  # no bytes, and more than memory addresses
    ],
)
def test_a_file_that_is_no_idx_file_is_refused_with_the_reason(tmp_path, content, named):
    with pytest.raises(BadFile, match=named) as caught:
        data.read_idx(write(tmp_path / "file", content))
    assert str(tmp_path / "file") in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    with pytest.raises(BadFile, match="none: no such file"):
        data.read_idx(tmp_path / "none")
    with pytest.raises(BadFile, match=tmp_path.name):
        data.read_idx(tmp_path)


def test_the_digits_are_divided_in_three_with_brightness_from_0_to_1():
    split = data.digits()
    assert [part.x.shape for part in split] == [(1197, 64), (300, 64), (300, 64)]
    for x, y in split:
        assert (x.min(), x.max(), x.dtype) == (0, 1, np.float32)
        assert len(y) == len(x)
        # Each digit has its share of about a tenth.
        share = np.bincount(y, minlength=10) / len(y)
        assert share.min() > 0.09
        assert share.max() < 0.11


def test_the_digits_are_always_divided_alike_whatever_the_global_seed():
    rng_state = np.random.get_state()
    np.random.seed(1)
    one = data.digits()
    np.random.seed(2)
    other = data.digits()
    np.random.set_state(rng_state)
    for part, part_too in zip(one, other, strict=True):
        np.testing.assert_array_equal(part.x, part_too.x)
        np.testing.assert_array_equal(part.y, part_too.y)


def test_the_parts_of_the_digits_make_up_the_whole_without_overlap():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = [(*row, label) for part in data.digits("float64") for row, label in zip(part.x, part.y, strict=True)]
    # As many of each row as there are in the source: none is lost, none stands in two parts.
    assert sorted(rows) == sorted((*row, label) for row, label in zip(x / 16, y, strict=True))


def test_the_digits_come_in_the_dtype_that_is_asked_for():
    assert data.digits("float64").train.x.dtype == np.float64
    assert data.digits(np.float64).train.x.dtype == np.float64
    assert data.named("digits", dtype="float64").test.x.dtype == np.float64
    for dtype in ("float23", "int32", None):
        with pytest.raises(BadInput, match=f"unknown dtype '{dtype}'.*Known: float32, float64"):
            data.digits(dtype)


def small_mnist(folder, images=60_000, labels=None, label_shape=None):
    """Four files in MNIST's form with images of 1 x 2 pixels."""
    for part, count in (("train", images), ("t10k", 100)):
        pixels = np.arange(count * 2).reshape(count, 1, 2) % 256
        number = labels if part == "train" and labels is not None else count
        names = np.arange(number) % 10
        if label_shape:
            names = names.reshape(label_shape)
        write(folder / f"{part}-images-idx3-ubyte", idx(pixels))
        write(folder / f"{part}-labels-idx1-ubyte.gz", gzip.compress(idx(names), 1))
    return folder


def test_mnist_takes_the_first_50000_to_train_and_reads_plain_and_gzipped_files_side_by_side(tmp_path):
    split = data.mnist(small_mnist(tmp_path))
    assert [part.x.shape for part in split] == [(50_000, 2), (10_000, 2), (100, 2)]
    first = np.float32([[0, 1], [2, 3]]) / 255
    np.testing.assert_array_equal(split.train.x[:2], first)
    np.testing.assert_array_equal(split.validation.x[0], np.float32([100_000 % 256, 100_001 % 256]) / 255)
    assert split.validation.y[:3].tolist() == [0, 1, 2]


def test_fewer_images_than_mnist_has_are_refused(tmp_path):
    with pytest.raises(BadFile, match="59999 training images; MNIST has 60000"):
        data.mnist(small_mnist(tmp_path, images=59_999))


def test_images_and_labels_that_do_not_fit_each_other_are_refused(tmp_path):
    with pytest.raises(BadFile, match=r"train images have shape \(60000, 1, 2\) and the labels \(59999,\)"):
        data.mnist(small_mnist(tmp_path, labels=59_999))


def test_labels_in_place_of_images_are_refused(tmp_path):
    small_mnist(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", idx(np.zeros(60_000)))
    with pytest.raises(BadFile, match=r"expected \(N, rows, columns\)"):
        data.mnist(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere lacks train-images-idx3-ubyte.*there is no such folder"):
        data.mnist(tmp_path / "nowhere")


def test_a_folder_that_lacks_a_file_says_which_and_what_it_holds(tmp_path):
    small_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(BadFile, match=r"lacks t10k-labels-idx1-ubyte .*it holds t10k-images-idx3-ubyte, train-"):
        data.mnist(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="it holds nothing"):
        data.mnist(tmp_path / "empty")


def test_a_data_set_with_an_unknown_name_and_mnist_without_a_folder_are_refused():
    with pytest.raises(BadInput, match=r"Did you mean 'digits'\?.*Known: digits, mnist"):
        data.named("digit")
    with pytest.raises(BadInput, match="--data DIR"):
        data.named("mnist")


@pytest.mark.skipif(not os.environ.get("DELTARULE_MNIST"), reason="DELTARULE_MNIST does not name MNIST's folder")
def test_mnist_itself():
    split = data.mnist(os.environ["DELTARULE_MNIST"])
    assert [part.x.shape for part in split] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    for x, y in split:
        assert (x.min(), x.max(), x.dtype, y.dtype) == (0, 1, np.float32, np.int64)
        assert len(y) == len(x)
    # How often each digit occurs, as published with the set.
    training = np.bincount(np.concatenate([split.train.y, split.validation.y]))
    assert training.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(split.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert split.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert split.test.y[:5].tolist() == [7, 2, 1, 0, 4]
