"""`deltarule report`: a run, or what was watched, as one file that opens from disk and needs no program."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from deltarule import runs
from deltarule.errors import BadInput
from deltarule.page import scene as scenes
from deltarule.page.onefile import file_of
from deltarule.page.opened import Opened, opened, with_what
from deltarule.page.passes import sample_pass
from deltarule.store import write_whole

Array = npt.NDArray[Any]

SAMPLES = 12
FLOWS = 12
"""So many recorded steps come with their whole flow; of all others the file holds the gains."""

ROOM = 6_000_000
"""In a large network the passes of fewer samples come along: those that fit in so many bytes, and always one."""

FORMULAS = (
    r"\delta^{l} = ((w^{l+1})^{T} \delta^{l+1}) \odot \sigma'(z^{l})",
    r"\delta^{l} = W^{l+1} \delta^{l+1} \odot \sigma'(z^{l+1})",
    r"\delta^{l} = ((w^{l+1})^{-1} \delta^{l+1}) \odot \sigma'(z^{l})",
    r"\delta^{L} = \nabla_a C \odot \sigma'(z^{L})",
    r"\frac{\partial C}{\partial b^{l}} = \delta^{l}",
    r"\frac{\partial C}{\partial w^{l}} = \delta^{l} (a^{l-1})^{T}",
)
"""Judged in every report: the book's BP2, two that readers take for it, and the other three equations."""


def report(
    what: object,
    path: str | Path,
    x: Array | None = None,
    y: Array | None = None,
    *,
    samples: int = SAMPLES,
    dataset: str | None = None,
    folder: str | Path | None = None,
) -> str:
    """Write one self-contained page: it opens from disk, asks nothing of any server, and can be sent to someone.

    Parameters
    ----------
    what : str, Path, Network, History, Flow, Watched or WatchedModel
        A run's folder, a network's file, the record of a watch (`watch.save`), or one of the program's own objects.
    path : str or Path
        The file to write, whole or not at all; one that is there is replaced.
    x, y : arrays, optional
        The samples of a Network: (N, n_0), and labels (N,) or targets (N, n_L).
    samples : int
        Of so many samples the passes come along, half of them the first ones, the others those that cost most. 0:
        the data is not read.
    dataset, folder : optional
        Another data set than the run's own, and the folder of MNIST's files; as for `deltarule flow`.

    Returns
    -------
    str
        What was written, in one sentence.

    Raises
    ------
    BadInput
        For a path that is a folder, a negative number, or an object that has nothing to show.
    BadFile
        Where there is no run, or it is not whole.

    Examples
    --------
    >>> import tempfile, deltarule as dr
    >>> from deltarule.page import report
    >>> net = dr.Network([64, 30, 10], seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(report(net, f"{folder}/net.html", *dr.data.digits().train, samples=2))
    written to ...net.html: 64-30-10, the passes of 2 samples; ... kB
    """
    path = Path(path)
    runs.require_place(path)
    if samples < 0:
        raise BadInput(f"samples is {samples}; expected 0 or more")
    if isinstance(what, (str, Path)):
        found = opened(
            Path(what), dataset, None if folder is None else Path(folder), scenes.SAMPLES if samples else 0
        )
    elif (known := with_what(what, x, y)) is not None:
        found = known
    else:
        raise BadInput(
            f"a report of {type(what).__name__}: expected the path of a run, a network or a record, or a Network, "
            "History, Flow, Watched or WatchedModel"
        )
    scene = _scene(found, samples)
    whole = file_of(scene).encode()
    write_whole(path, whole)
    return f"written to {path}: {', '.join(_held(scene))}; {sized(len(whole))}"


def _scene(found: Opened, samples: int) -> dict[str, Any]:
    """The scene with all that a file can answer with: passes, flows and judged formulas."""
    scene = found.scene(flows=FLOWS, formulas=[judged(text) for text in FORMULAS])
    if scene["data"] is not None:
        passes, room = [], ROOM
        for sample in _chosen(scene["data"]["picks"], samples):
            passes.append(sample_pass(found.net, found.x, found.y, sample))  # type: ignore[arg-type]
            room -= len(json.dumps(passes[-1]))
            if room < 0:
                break
        held = {one["sample"] for one in passes}
        scene["passes"] = sorted(passes, key=lambda one: one["sample"])
        scene["data"]["picks"] = [pick for pick in scene["data"]["picks"] if pick["sample"] in held]
    return scene


def _chosen(picks: list[dict[str, Any]], samples: int) -> list[int]:
    """Half in the order of the data, half by cost; taken in turns, so that any beginning has both kinds."""
    by_place = sorted(pick["sample"] for pick in picks)
    by_cost = [pick["sample"] for pick in sorted(picks, key=lambda one: -_number(one["cost"]))]
    turns = dict.fromkeys(one for pair in zip(by_cost, by_place, strict=True) for one in pair)
    return list(turns)[:samples]


def _number(value: float | str) -> float:
    """A cost as a number to sort by; one that is not finite stands first."""
    return value if isinstance(value, (int, float)) else float("inf")


@lru_cache(maxsize=64)
def judged(text: str) -> dict[str, Any]:
    """A formula with its verdict: `Judged`."""
    from deltarule.formula import check_formula

    fields = check_formula(text).to_dict()
    return {name: one for name, one in fields.items() if name not in ("schema", "version")}


def _held(scene: dict[str, Any]) -> list[str]:
    """What there is in a report, in words."""
    found = [scene["title"]]
    if scene["passes"]:
        found.append(f"the passes of {counted(len(scene['passes']), 'sample')}")
    if scene["history"] is not None:
        found.append(f"the history of {counted(len(scene['history']['cost']), 'epoch')}")
    if scene["heat"] is not None:
        found.append(counted(len(scene["heat"]["steps"]), "recorded step"))
    return found


def sized(n: int) -> str:
    """A number of bytes as people say it.

    >>> sized(45_086), sized(1_459_691)
    ('45 kB', '1.5 MB')
    """
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def counted(n: int, word: str) -> str:
    """A number with its word.

    >>> counted(1, "epoch"), counted(2, "epoch")
    ('1 epoch', '2 epochs')
    """
    return f"{n} {word}{'' if n == 1 else 's'}"
