"""Networks on disk: safetensors with the architecture in its metadata. Loading never runs code.

The file holds one tensor for each W^l and b^l, and in its metadata the architecture as JSON and a digest of
both, so that a file that was cut short or changed is told from one that is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadFile, BadInput, DeltaruleError
from deltarule.inits import init
from deltarule.network import Network

Array = npt.NDArray[Any]
SCHEMA = "deltarule.network"
VERSION = 1
Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that at every moment, a crash included, its name holds the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def pack(tensors: dict[str, Array], header: dict[str, Any]) -> bytes:
    """Tensors and a JSON header in safetensors' format, with a digest of all of it."""
    from safetensors.numpy import save

    text = json.dumps(header, sort_keys=True)
    # One entry, because safetensors keeps several in no order: the same content gives the same bytes.
    return save(tensors, {"deltarule": f"{_digest(tensors, text)} {text}"})


def unpack(path: Path, schema: str, version: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """What :func:`pack` packed. Raises BadFile for a file that is missing, truncated, foreign or changed."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadFile(f"{path}: {'a folder; name the file in it' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise BadFile(f"{path}: not a whole safetensors file, or cut short ({error})") from error
    if "deltarule" not in metadata:
        raise BadFile(f"{path}: a safetensors file, but not one that deltarule wrote")
    digest, _, text = metadata["deltarule"].partition(" ")
    if digest != _digest(tensors, text):
        raise BadFile(f"{path}: changed since it was written (its digest does not fit its content)")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise BadFile(f"{path}: its header is not JSON ({error})") from error
    came = (header.get("schema"), header.get("version")) if isinstance(header, dict) else (None, None)
    if came != (schema, version):
        raise BadFile(f"{path}: expected {schema} version {version}, found {came[0]} version {came[1]}")
    return tensors, header


def _digest(tensors: dict[str, Array], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def architecture(net: Network) -> dict[str, Any]:
    """What a network is, without its parameters, as JSON knows it."""
    return {
        "sizes": net.sizes,
        "activation": [sigma.name for sigma in net.activations][:-1],
        "output": net.output.name,
        "cost": net.cost.name,
        "init": net.init,
        "dtype": str(net.dtype),
        "seed": None if net.seed is None else int(net.seed),
        "classes": None if net.classes is None else net.classes.tolist(),
    }


def save(net: Network, path: str | Path) -> None:
    """Write a network to a safetensors file, whole or not at all.

    Its weights, architecture and classes; not the optimiser's memory, which a checkpoint holds. Of an
    activation of the user's own only the name is kept.
    """
    if Path(path).is_dir():
        raise BadInput(f"{path} is a folder; expected the name of a file: {Path(path) / 'net.safetensors'}")
    tensors = {f"W{l}": net.W[l] for l in range(1, net.L + 1)} | {f"b{l}": net.b[l] for l in range(1, net.L + 1)}
    header = {"schema": SCHEMA, "version": VERSION, **architecture(net)}
    write_whole(Path(path), pack(tensors, header))


def load(path: str | Path, activations: dict[str, Pair] | None = None, cost: Pair | None = None) -> Network:
    """The network that :meth:`Network.save` wrote.

    Parameters
    ----------
    path : str or Path
    activations : dict, optional
        The pair (sigma, sigma') for each activation of your own that the file names. Code is never loaded
        from the file.
    cost : pair, optional
        The pair (value, grad) of a cost of your own, where the file names one.

    Raises
    ------
    BadFile
        Missing, truncated, foreign or changed file.

    Examples
    --------
    >>> import deltarule as dr, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> net = dr.Network([2, 3, 1], seed=0)
    >>> net.save(path)
    >>> np.array_equal(dr.load(path).W[1], net.W[1])
    True
    """
    tensors, header = unpack(Path(path), SCHEMA, VERSION)
    own = activations or {}
    if str(header.get("cost")).startswith("custom:") and cost is None:
        raise BadFile(f"{path}: uses a cost of your own, {header['cost'][7:]!r}: load(path, cost=(value, grad))")

    def named(name: Any) -> Any:
        if not isinstance(name, str) or not name.startswith("custom:"):
            return name
        key = name.removeprefix("custom:")
        if key not in own:
            raise BadFile(
                f"{path}: uses an activation of your own, {key!r}. Give its pair of functions: "
                f"load(path, activations={{{key!r}: (sigma, slope)}})"
            )
        return own[key]

    try:
        _require_tensors(tensors, header["sizes"], header["dtype"])
        net = Network(
            header["sizes"],
            [named(name) for name in header["activation"]],
            named(header["output"]),
            header["cost"] if cost is None else cost,
            "zeros",  # what would be drawn is overwritten below
            header["dtype"],
            header["seed"],
        )
        init(header["init"])
        net.init = header["init"]
        net.classes = _classes(header["classes"], net.sizes[-1])
        for l in range(1, net.L + 1):
            net.W[l][...], net.b[l][...] = tensors[f"W{l}"], tensors[f"b{l}"]
    except BadFile:
        raise
    except (DeltaruleError, KeyError, ValueError, TypeError) as error:
        raise BadFile(f"{path}: its header and its tensors do not make a network ({error})") from error
    return net


def _require_tensors(tensors: dict[str, Array], sizes: list[int], dtype: str) -> None:
    """W^l and b^l of every layer in the shapes that the sizes ask for, before memory is taken for them."""
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for l in range(1, len(sizes)):
        expected |= {f"W{l}": (dtype, (sizes[l], sizes[l - 1])), f"b{l}": (dtype, (sizes[l],))}
    found = {name: (str(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        raise ValueError(f"sizes {sizes} in {dtype} ask for {expected}; the file holds {found}")


def _classes(kept: Any, width: int) -> Array | None:
    """The classes as they were saved: one for each output, two for a single output; all words or all integers."""
    if kept is None:
        return None
    one_kind = isinstance(kept, list) and any(all(type(name) is kind for name in kept) for kind in (int, str))
    if not one_kind or len(kept) != max(width, 2):
        raise ValueError(f"classes are {kept!r}; expected {max(width, 2)} words or integers")
    return np.array(kept)
