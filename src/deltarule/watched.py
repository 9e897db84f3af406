"""The error's flow over a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from deltarule.records import Record

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Watched(Record):
    """The error's flow in the steps of a training."""

    schema = "deltarule.watched"

    steps: Array
    every: int
    activations: tuple[str, ...]
    moved: Array
    delta: Array
    speed: Array
    saturated: Array
    dead: Array
