"""One sample's way forward and back, with what was measured beside it: `Pass` in `view/record.js`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import inputs
from deltarule.check import Measured
from deltarule.errors import BadInput, DeltaruleError
from deltarule.network import Network
from deltarule.page.diagnosis import value
from deltarule.trace import Trace, degrees

Array = npt.NDArray[Any]

RULES = {
    "transpose": r"(W^{l+1})^T \delta^{l+1}",
    "inverse": r"(W^{l+1})^{+} \delta^{l+1}",
    "random": r"B\, \delta^{l+1}",
    "direct": r"B\, \delta^{L}",
    "sign": r"\mathrm{sign}(W^{l+1})^T \delta^{l+1}",
}
"""The rules that are shown side by side, each with how it carries the error to layer l, before sigma'."""

ETA = 0.1
"""The step whose effect on the cost is shown."""

FINE = (0.001, 0.01, 0.05)
H = np.array(sorted({*np.linspace(-2, 2, 41).round(3), *FINE, *(-h for h in FINE)}))
"""How far z^l_k is moved: 0 is among them."""

MEASURED = 64
"""So many neurons of a layer are nudged: all, or those with the largest |delta|."""

LARGE = 1_000_000
"""Of a network with more weights, the inverse is left out: it takes seconds."""


def plain(values: Any) -> list[float | str]:
    """An array's row as JSON knows it.

    >>> plain(np.array([0.5, np.inf]))
    [0.5, 'inf']
    """
    row = np.asarray(values)
    if np.isfinite(row).all():
        return row.tolist()  # type: ignore[no-any-return]
    return [value(one) for one in row]  # type: ignore[misc]


def rows(by_layer: Sequence[Array]) -> list[list[float | str]]:
    """The first sample's values, layer by layer."""
    return [plain(values[0]) for values in by_layer]


def sample_pass(net: Network, x: Array, y: Array, sample: int) -> dict[str, Any]:
    """The `Pass` of one row of x. Raises BadInput for a row that is not there."""
    if not isinstance(sample, int) or isinstance(sample, bool) or not 0 <= sample < len(x):
        raise BadInput(f"sample {sample!r}: there are {len(x)}, from 0 to {len(x) - 1}")
    row = inputs.samples(net, x[sample : sample + 1])
    target = inputs.coded(inputs.targets(net, y[sample : sample + 1], 1), net)
    trace = net.backprop(row, target)
    measured, nudges = _nudged(net, row, target, trace)
    return {
        "sample": sample,
        "label": label(net, target[0]),
        "guess": label(net, trace.a[net.L][0]),
        "cost": value(trace.cost[0]),
        "y": plain(target[0]),
        "a": rows(trace.a),
        "z": rows(trace.z),
        "slope": rows(trace.slope),
        "moved": rows(trace.moved),
        "delta": rows(trace.delta),
        "curves": [_curve(net, l, trace.z[l][0]) for l in range(1, net.L + 1)],
        "measured": measured,
        "nudges": nudges,
        "rules": _rules(net, row, target, trace),
    }


def label(net: Network, a: Array) -> str | None:
    """The class that an output, or a target, stands for; None where the outputs are no classes."""
    if net.classes is None or len(net.classes) < 2:
        return None
    if len(a) == 1 and len(net.classes) == 2:
        return str(net.classes[int(a[0] > 0.5)])
    return str(net.classes[int(np.argmax(a))]) if len(a) == len(net.classes) else None


def _curve(net: Network, l: int, z: Array) -> dict[str, Any]:
    """sigma over the range in which this layer's z lie, and a little more."""
    sigma = net.activations[l]
    known = z[np.isfinite(z)].astype(np.float64)
    if sigma.name == "softmax" or not len(known):
        return {"name": sigma.name, "z": [], "a": []}
    reach = float(min(max(4.0, np.abs(known).max() * 1.1), 50.0))
    at = np.linspace(-reach, reach, 161)
    return {"name": sigma.name, "z": at.tolist(), "a": plain(sigma.sigma(at))}


def _nudged(net: Network, row: Array, target: Array, trace: Trace) -> tuple[list[Any], list[Any]]:
    """By layer: the derivative by nudging, and the cost for every h; None and nothing where z is not finite."""
    measured: list[list[float | str | None]] = []
    nudges: list[dict[str, Any]] = []
    finite = all(np.isfinite(z).all() for z in trace.z)
    seen = Measured(net, row, target) if finite else None
    for l in range(1, net.L + 1):
        n = net.sizes[l]
        wanted = np.arange(n)
        if n > MEASURED:
            wanted = np.sort(np.argsort(-np.abs(trace.delta[l][0]), kind="stable")[:MEASURED])
        if seen is None:
            measured.append([None] * n)
            nudges.append({"neurons": [], "h": H.tolist(), "cost": []})
            continue
        nudge = np.zeros((len(wanted), 1, n))
        nudge[np.arange(len(wanted)), 0, wanted] = 1
        with np.errstate(over="ignore", invalid="ignore"):
            slope, _, kinked = seen.along(l, nudge)
            moved = seen.z[l][None] + H[:, None, None] * nudge.reshape(-1, 1, 1, n)
            cost = np.stack([seen.cost_from(l, moved[i])[0][:, 0] for i in range(len(wanted))])
        by_neuron: list[float | str | None] = [None] * n
        for k, one, beside in zip(wanted, slope, np.atleast_1d(kinked), strict=True):
            by_neuron[k] = None if beside else value(float(one))
        measured.append(by_neuron)
        nudges.append({"neurons": wanted.tolist(), "h": H.tolist(), "cost": [plain(one) for one in cost]})
    return measured, nudges


def _rules(net: Network, row: Array, target: Array, true: Trace) -> list[dict[str, Any]]:
    """What each rule makes of the same error. One that this network does not know is left out."""
    found = []
    for name, formula in RULES.items():
        if name == "inverse" and net.theta.size > LARGE:
            continue
        try:
            trace = net.backprop(row, target, rule=name, eta=ETA)
        except DeltaruleError:
            continue
        step = trace.step
        assert step is not None
        angles = [degrees(trace.delta[l], true.delta[l]) for l in range(1, net.L + 1)]
        found.append(
            {
                "rule": name,
                "formula": formula,
                "moved": rows(trace.moved),
                "delta": rows(trace.delta),
                "angle": [None if np.isnan(angle) else angle for angle in angles],
                "step": {
                    "eta": step.eta,
                    "cost": value(step.cost),
                    "predicted": value(step.predicted),
                    "actual": value(step.actual),
                },
            }
        )
    return found
