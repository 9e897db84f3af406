"""All that the page knows when it opens: `Scene` in `view/record.js`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import inputs
from deltarule.flow import Flow
from deltarule.history import History
from deltarule.network import Network
from deltarule.page.diagnosis import flow_view, heat, history_view, value
from deltarule.page.passes import label, sample_pass
from deltarule.watched import Watched, WatchedModel

Array = npt.NDArray[Any]

WHOLE = 1_000_000
"""A W of more weights goes to the page in blocks."""

BLOCKS = 64
"""So many blocks of neighbouring neurons a layer."""

SAMPLES = 1000
"""Over so many samples, the first, the flow is taken and picks are sought."""

FIRST, COSTLIEST = 24, 24
"""So many samples of each kind are offered."""


def scene(
    title: str,
    net: Network | None = None,
    x: Array | None = None,
    y: Array | None = None,
    *,
    history: History | None = None,
    seen: Watched | WatchedModel | Flow | None = None,
    passes: Sequence[int] = (),
    flows: int = 0,
    formulas: Sequence[dict[str, Any]] = (),
    settings: dict[str, Any] | None = None,
    names: Sequence[str] | None = None,
    name: str = "",
) -> dict[str, Any]:
    """The scene of a network with its data, of its training, or of what a watch saw of a PyTorch model.

    `passes` are samples whose passes come with it, `flows` how many recorded steps'; where a program answers the
    page, both can be asked for. `seen` is the history's own flow, if not given.

    >>> import deltarule as dr
    >>> net = dr.Network([4, 5, 3], seed=0)
    >>> found = scene("three classes", net, np.eye(4, dtype="float32"), np.array([0, 1, 2, 0]), passes=[2])
    >>> found["network"]["sizes"], [one["sample"] for one in found["passes"]]
    ([4, 5, 3], [2])
    """
    seen = history.flow if seen is None and history is not None else seen
    flow: Flow | None = None
    if isinstance(seen, Flow):
        flow = seen
    elif net is not None and x is not None and y is not None:
        flow = net.backprop(x[:SAMPLES], y[:SAMPLES]).flow()
    elif seen is not None and len(seen):
        flow = seen.at(len(seen) - 1)
    with_data = net is not None and x is not None and y is not None
    return {
        "schema": "deltarule.scene",
        "version": 1,
        "title": title,
        "network": None if net is None else network(net),
        "data": data(net, x, y, name or title, names) if with_data else None,  # type: ignore[arg-type]
        "passes": [sample_pass(net, x, y, one) for one in passes] if with_data else [],  # type: ignore[arg-type]
        "history": None if history is None else history_view(history),
        "flow": None if flow is None else flow_view(flow),
        "heat": heat(seen, flows) if isinstance(seen, (Watched, WatchedModel)) and len(seen) else None,
        "formulas": list(formulas),
        "settings": settings,
    }


def network(net: Network) -> dict[str, Any]:
    """The network with its weights: `Net`."""
    return {
        "sizes": list(net.sizes),
        "activations": [sigma.name for sigma in net.activations],
        "cost": net.cost.name,
        "dtype": str(net.dtype),
        "classes": None if net.classes is None else [str(one) for one in net.classes],
        "W": [matrix(W) for W in net.W],
        "b": [encoded(b) for b in net.b],
    }


def encoded(values: Array) -> str:
    """The numbers of an array as base64, row by row, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def matrix(W: Array) -> dict[str, Any]:
    """One W^l: `Matrix`, whole or in blocks."""
    shape = [int(n) for n in W.shape]
    if W.size <= WHOLE:
        return {"shape": shape, "values": encoded(W), "blocks": None}
    to, start = (np.unique(np.linspace(0, n, min(n, BLOCKS) + 1).astype(int)) for n in W.shape)
    count = np.diff(to)[:, None] * np.diff(start)[None, :]

    def summed(values: Array) -> Array:
        return np.add.reduceat(np.add.reduceat(values, to[:-1], axis=0), start[:-1], axis=1)

    wide = W.astype(np.float64)
    blocks = {
        "to": to.tolist(),
        "from": start.tolist(),
        "mean": (summed(wide) / count).tolist(),
        "size": np.sqrt(summed(wide * wide) / count).tolist(),
    }
    return {"shape": shape, "values": None, "blocks": blocks}


def image(x: Array) -> list[int] | None:
    """Height and width where rows of x look like square images: 64 = 8 x 8, 784 = 28 x 28, all from 0 up."""
    side = round(x.shape[1] ** 0.5)
    return [side, side] if side >= 8 and side * side == x.shape[1] and x.size and x[:SAMPLES].min() >= 0 else None


def data(net: Network, x: Array, y: Array, name: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The samples that can be looked at: `Data`."""
    some = x[:SAMPLES]
    target = inputs.coded(inputs.targets(net, y[:SAMPLES], len(some)), net)
    trace = net.backprop(some, target)
    costly = np.argsort(-np.where(np.isfinite(trace.cost), trace.cost, np.inf), kind="stable")[:COSTLIEST]
    chosen = dict.fromkeys([*range(min(FIRST, len(some))), *costly.tolist()])
    return {
        "name": name,
        "count": len(x),
        "image": image(x),
        "inputs": None if names is None else list(names),
        "picks": [
            {
                "sample": int(i),
                "label": label(net, target[i]),
                "guess": label(net, trace.a[net.L][i]),
                "cost": value(trace.cost[i]),
            }
            for i in chosen
        ],
    }
