"""What a run was asked for, and what is usual where nothing was said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deltarule.recipe import Reading

USUAL_OUTPUT = {
    "cross_entropy": "sigmoid",
    "log_likelihood": "softmax",
    "poisson": "softplus",
    "poisson_deviance": "exp",
}

BOOK = {"hidden": (30,), "activation": "sigmoid", "cost": "quadratic", "epochs": 30, "batch": 10, "optimizer": "sgd",
        "eta": 3.0, "patience": 0}  # fmt: skip
"""Usual for the sets of images: the book's network."""

TABLE = {"hidden": (64,), "activation": "relu", "cost": None, "epochs": 200, "batch": 32, "optimizer": "adam",
         "eta": 0.002, "patience": 20}  # fmt: skip
"""Usual for a table. Its cost goes by the target: log_likelihood for classes, quadratic for a number."""


@dataclass(frozen=True)
class Settings:
    """What `deltarule train` was asked for. `dataset` is a set's name, or a table's file, which `reading` reads."""

    dataset: str
    data: str | None = None
    hidden: tuple[int, ...] = (30,)
    activation: str = "sigmoid"
    output: str | None = None
    cost: str | None = "quadratic"
    init: str = "auto"
    dtype: str = "float32"
    epochs: int = 30
    batch: int = 10
    optimizer: str = "sgd"
    eta: float = 3.0
    l2: float = 0.0
    l1: float = 0.0
    dropout: float = 0.0
    schedule: str = "constant"
    patience: int = 0
    seed: int = 0
    rule: str = "transpose"
    watch: int = 0
    reading: Reading | None = None


def usual_settings(dataset: str, reading: Reading | None = None, **given: Any) -> Settings:
    """The settings given, and what is usual for this kind of data in the place of those that are None.

    >>> usual_settings("digits", eta=0.5, hidden=None).hidden, usual_settings("wine.csv", Reading("class")).optimizer
    ((30,), 'adam')
    """
    usual = dict(BOOK if reading is None else TABLE)
    if reading is not None and not reading.validation:
        usual["patience"] = 0  # nothing to judge by
    said = {name: value for name, value in given.items() if value is not None}
    return Settings(dataset, **{**usual, **said}, reading=reading)
