"""A training that can be killed at any moment and goes on to the same bits.

After each epoch one file is written, whole or not at all: weights, the optimiser's memory, the state of the
random generator, the best weights so far and the history. The next fit with the same arguments begins there.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule.errors import BadInput
from deltarule.rules import keep
from deltarule.store import architecture, pack, unpack, write_whole

if TYPE_CHECKING:
    from deltarule.training import Training

SCHEMA = "deltarule.checkpoint"
VERSION = 3
FILE = "checkpoint.safetensors"
ROWS_SEEN = 1024


def _fingerprint(training: Training) -> list[Any]:
    """What tells other data: shape, and a checksum of rows spread over all of it."""
    x, y = training.x, training.y
    rows = np.linspace(0, len(x) - 1, min(len(x), ROWS_SEEN)).astype(int)
    targets = y.labels if y.are_labels else y.values
    weights = training.data.weights
    more = [zlib.crc32(weights[rows].tobytes())] if weights.size else []
    return [*x.shape, zlib.crc32(x[rows].tobytes()), zlib.crc32(targets[rows].tobytes()), *more]


def _identity(training: Training) -> dict[str, Any]:
    """What must be the same for the training to go on."""
    return {
        "network": architecture(training.net),
        "settings": training.settings.to_dict(),
        "data": _fingerprint(training),
    }


def write(training: Training, folder: Path) -> None:
    """Write the state at the end of an epoch."""
    write_whole(folder / FILE, pack(*state(training)))


def state(training: Training) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where a training is at the end of an epoch: arrays by name, and all that is not an array."""
    done, course, memory = training.done, training.course, training.memory
    seen = training.flow()
    tensors = {"theta": training.net.theta, "m": memory.m, "v": memory.v, "B": training.feedback.B}
    if seen is not None:
        tensors["watched"] = training.watch.rows[: len(seen.steps)]
        tensors["silence"] = training.watch.silence
    if training.best is not None:
        tensors["best"] = training.best
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        **_identity(training),
        "epochs": done,
        "epochs_before": training.epochs_before,
        "steps": memory.steps,
        "costs": memory.costs,
        "generator": training.net.rng.bit_generator.state,
        "cost": course.cost[:done].tolist(),
        "right": course.right[:done].tolist(),
        "eta": course.eta[:done].tolist(),
        "seconds": training.seconds,
        "validation_cost": training.validation_cost,
        "validation_accuracy": training.validation_accuracy,
        "angles": training.angles,
    }
    return tensors, header


def resume(training: Training, folder: Path) -> None:
    """Go on from the folder's checkpoint, if it holds one.

    Raises BadInput where it belongs to another network, to other settings or data, or has more epochs
    than are asked for; BadFile where it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return
    tensors, kept = unpack(path, SCHEMA, VERSION)
    if other := differing(training, kept):
        raise BadInput(f"{path} holds another training: {other}. Take another folder, or delete this one")
    done = kept["epochs"]
    if done > training.settings.epochs:
        raise BadInput(f"{path} is already at epoch {done}; epochs={training.settings.epochs} asks for fewer")
    restore(training, tensors, kept)


def differing(training: Training, kept: dict[str, Any]) -> str:
    """In what the training that this state is of differs from this one, in words; empty where it does not."""
    for what, mine in _identity(training).items():
        if kept[what] != mine:
            return f"its {what} is {_difference(kept[what], mine)}"
    return ""


def restore(training: Training, tensors: dict[str, Any], kept: dict[str, Any]) -> None:
    """Put the training where :func:`state` says."""
    course, memory, net, done = training.course, training.memory, training.net, kept["epochs"]
    net.theta[:] = course.good[:] = tensors["theta"]
    memory.m[:], memory.v[:] = tensors["m"], tensors["v"]
    training.feedback.B[:] = tensors["B"]
    keep(net, training.settings.rules, training.feedback)
    training.best = tensors.get("best")
    if "watched" in tensors:
        training.watch.rows[: len(tensors["watched"])] = tensors["watched"]
        training.watch.silence[:] = tensors["silence"]
    memory.steps, memory.costs = kept["steps"], kept["costs"]
    training.epochs_before = kept["epochs_before"]
    memory.epochs = training.epochs_before + done
    net.rng.bit_generator.state = kept["generator"]
    course.counts[:3] = done, 0, memory.steps
    course.cost[:done], course.right[:done], course.eta[:done] = kept["cost"], kept["right"], kept["eta"]
    training.seconds = kept["seconds"]
    training.validation_cost = kept["validation_cost"]
    training.validation_accuracy = kept["validation_accuracy"]
    training.angles = [tuple(angles) for angles in kept["angles"]]
    training.done = done


def _difference(kept: Any, mine: Any) -> str:
    """Where two settings differ, in words."""
    if isinstance(kept, dict):
        keys = [key for key in mine if kept.get(key) != mine[key]]
        return ", ".join(f"{key} {kept.get(key)!r} (now {mine[key]!r})" for key in keys)
    return "not the data given now"
