"""Data sets: the embedded handwritten digits, MNIST, and arrays in IDX, NPY and NPZ files."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadFile, BadInput, unknown

Array = npt.NDArray[Any]

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class Samples(NamedTuple):
    """x and its labels."""

    x: Array
    y: Array


class Split(NamedTuple):
    """Three parts of a data set: to train on, to choose by, and to be judged on."""

    train: Samples
    validation: Samples
    test: Samples


def digits(dtype: Any = "float32") -> Split:
    """scikit-learn's 1 797 handwritten digits of 8 x 8 pixels: 1 197 / 300 / 300, brightness from 0 to 1.

    The parts are always the same, and each digit has its share in each.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.

    >>> [part.x.shape for part in digits()]
    [(1197, 64), (300, 64), (300, 64)]
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(float_named(dtype))
    x, x_test, y, y_test = train_test_split(x, y, test_size=300, random_state=0, stratify=y)
    x, x_val, y, y_val = train_test_split(x, y, test_size=300, random_state=0, stratify=y)
    return Split(Samples(x, y), Samples(x_val, y_val), Samples(x_test, y_test))


def mnist(folder: str | Path, dtype: Any = "float32") -> Split:
    """MNIST from its four IDX files, plain or gzipped: 50 000 / 10 000 / 10 000, as the book divides it.

    The first 50 000 training images train, the other 10 000 validate. Brightness goes from 0 to 1.

    Raises BadFile where a file is missing, truncated, or not what its name says.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
    """
    dtype = float_named(dtype)
    x, y = _images(folder, "train", dtype)
    if len(x) < 60_000:
        raise BadFile(f"{folder}: {len(x)} training images; MNIST has 60000")
    x_test, y_test = _images(folder, "t10k", dtype)
    return Split(Samples(x[:50_000], y[:50_000]), Samples(x[50_000:], y[50_000:]), Samples(x_test, y_test))


def float_named(dtype: Any) -> np.dtype[Any]:
    """The dtype of this name, float32 or float64. Raises BadInput for any other."""
    name = getattr(dtype, "__name__", str(dtype))
    if name not in ("float32", "float64"):
        raise unknown("dtype", name, ("float32", "float64"))
    return np.dtype(name)


def _images(folder: str | Path, part: str, dtype: Any) -> Samples:
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise BadFile(
            f"{folder}: the {part} images have shape {images.shape} and the labels {labels.shape}; "
            f"expected (N, rows, columns) and (N,)"
        )
    x = images.reshape(len(images), -1).astype(dtype)
    x /= 255
    return Samples(x, labels.astype(np.int64))


def _find(folder: str | Path, name: str) -> Path:
    folder = Path(folder)
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    found = sorted(path.name for path in folder.glob("*"))[:8] if folder.is_dir() else []
    state = f"it holds {', '.join(found) or 'nothing'}" if folder.is_dir() else "there is no such folder"
    raise BadFile(f"{folder} lacks {name} (or {name}.gz): {state}")


def read_idx(path: str | Path) -> Array:
    """The array in an IDX file, plain or gzipped, in the machine's byte order.

    The format: two zero bytes, a byte for the type, a byte for the number of axes, each axis's length as a
    big-endian 32-bit integer, and the values in C order. Raises BadFile where the file is not that.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"{path}: cannot be read, or its gzip data is cut short ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise BadFile(f"{path}: not an IDX file (it begins with {content[:4].hex(' ') or 'nothing'})")
    dtype, axes = np.dtype(IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise BadFile(f"{path}: cut short in its header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    needed = math.prod(shape) * dtype.itemsize
    if len(content) - start != needed:
        raise BadFile(
            f"{path}: its header says shape {shape}, {needed} bytes of values; {len(content) - start} follow"
        )
    try:
        values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    except ValueError as error:
        raise BadFile(f"{path}: its header says a shape that no array has ({error})") from error
    return values.astype(dtype.newbyteorder("="))


def read_npy(path: str | Path) -> Array:
    """The array in an NPY file, memory-mapped: its rows are read when they are used.

    Raises BadFile where the file is not that, or holds Python objects.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(6.0).reshape(3, 2))
    >>> type(read_npy(path)).__name__, read_npy(path).shape
    ('memmap', (3, 2))
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: not a whole NPY file of numbers or words ({error})") from error
    return array


def read_npz(path: str | Path) -> dict[str, Array]:
    """The arrays in an NPZ file by their names; memory-mapped as `numpy.savez` writes them.

    One that `numpy.savez_compressed` wrote is unpacked into memory, for compressed bytes cannot be mapped.
    Raises BadFile where the file is not that, or holds Python objects.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "set.npz"
    >>> np.savez(path, x=np.eye(2), y=np.array(["no", "yes"]))
    >>> {name: type(array).__name__ for name, array in read_npz(path).items()}
    {'x': 'memmap', 'y': 'memmap'}
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if member.compress_type == zipfile.ZIP_STORED:
                    arrays[name] = _mapped(file, member.header_offset)
                else:
                    with archive.open(member) as packed:
                        arrays[name] = np.lib.format.read_array(packed, allow_pickle=False)
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadFile(f"{path}: not a whole NPZ file of numbers or words ({error})") from error
    return arrays


def _mapped(file: BinaryIO, header_offset: int) -> Array:
    """An array that is stored in a zip file as it is: where its member's header ends, an NPY file begins."""
    file.seek(header_offset + 26)  # the lengths of the name and of the extra field end the member's 30 bytes
    name, extra = np.frombuffer(file.read(4), "<u2")
    file.seek(header_offset + 30 + int(name) + int(extra))
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"NPY version {version}")
    shape, fortran, dtype = read[version](file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    if 0 in shape or shape == ():
        return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


SETS = ("digits", "mnist")


def named(name: str, folder: str | Path | None = None, dtype: Any = "float32") -> Split:
    """A data set by the name that the command line uses: "digits", or "mnist" with its folder."""
    if name == "digits":
        return digits(dtype)
    if name == "mnist":
        if folder is None:
            raise BadInput("mnist needs the folder of its four IDX files: --data DIR")
        return mnist(folder, dtype)
    raise unknown("data set", name, SETS, ", or a table: FILE.csv --target COLUMN")
