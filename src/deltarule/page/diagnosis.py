"""What the page draws of a training: a flow with its budget, the gains over the steps, the costs by epoch.

Each function makes one of the records in `view/record.js` of one of the program's own. JSON has no word for what
is not finite, so such a number goes as "nan", "inf" or "-inf".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import paths
from deltarule.errors import BadInput
from deltarule.flow import Flow, Move
from deltarule.history import History
from deltarule.reports import move_label, notes, spread
from deltarule.verdicts import Fault
from deltarule.watched import Watched, WatchedModel

STEPS = 400
"""As many recorded steps are drawn of a long training, evenly, the first and the last among them."""

ROWS = 60
"""As many operations of a model are drawn: its modules with weights and those that change the error most."""

BARS = 40
"""As many bars has a budget; the smallest of more are taken together."""

SMALL = 1e-3
"""An operation of a model whose gain is e to less than this is taken together with the others of its kind."""


def value(number: float | None) -> float | str | None:
    """A number as the page reads it.

    >>> value(0.5), value(math.nan), value(-math.inf), value(None)
    (0.5, 'nan', '-inf', None)
    """
    if number is None:
        return None
    number = float(number)
    return number if math.isfinite(number) else str(number)


def log10(gain: float) -> float | None:
    """The logarithm of a gain; None where it is 0 or not finite, and there is none to draw."""
    return math.log10(gain) if 0 < gain < math.inf else None


def flow_view(flow: Flow) -> dict[str, Any]:
    """A flow with its verdicts and its budget: `FlowView`.

    >>> import deltarule as dr
    >>> net = dr.Network([4, 5, 3], seed=0, dtype="float64")
    >>> view = flow_view(net.backprop(np.eye(4), [0, 1, 2, 0]).flow())
    >>> view["verdict"], [bar["label"] for bar in view["budget"]]
    ('healthy', ["* sigma'(z^2), sigmoid", '(W^2)^T', "* sigma'(z^1), sigmoid", '(W^1)^T'])
    """
    return {
        "verdict": flow.verdict,
        "verdicts": [_verdict(fault) for fault in flow.verdicts],
        "budget": _model_budget(flow.rows) if flow.of_model else [_bar(_label(flow, m), m) for m in flow.rows],
        "total": value(flow.total),
        "samples": flow.samples,
        "unseen": list(flow.unseen),
        "notes": notes(flow),
        "rows": [{**_plain(move), "gain": value(move.gain), "label": _label(flow, move)} for move in flow.rows],
    }


def _verdict(fault: Fault) -> dict[str, Any]:
    return {
        "word": fault.word,
        "why": fault.why,
        "advice": fault.advice,
        "remedy": [str(change) for change in fault.remedy.changes] if fault.remedy is not None else [],
        "layer": fault.layer,
    }


def _plain(move: Move) -> dict[str, Any]:
    """The fields of a move, as JSON knows them."""
    fields = asdict(move)
    return {
        name: value(one) if isinstance(one, float) else [value(part) for part in one] if name == "outs" else one
        for name, one in fields.items()
    }


def _label(flow: Flow, move: Move) -> str:
    return paths.label(move) if flow.of_model else move_label(move, flow.activations)


def _bar(label: str, move: Move, gain: float | None = None) -> dict[str, Any]:
    gain = move.gain if gain is None else gain
    return {
        "label": label,
        "layer": move.layer,
        "step": move.step,
        "gain": value(gain),
        "log10": log10(gain),
        "source": move.source,
    }


def _model_budget(rows: Sequence[Move]) -> list[dict[str, Any]]:
    """The bars along the heaviest way from the loss to the first layer; what hardly changes it, in the last one."""
    stages = paths.stages(rows)
    if not stages:
        return []

    def change(stage: paths.Stage) -> float:
        return abs(math.log(stage.gain)) if 0 < stage.gain < math.inf else math.inf

    most = sorted((s for s in stages if change(s) > SMALL), key=change, reverse=True)[:BARS]
    kept = {id(stage) for stage in most}
    bars = []
    for stage in stages:
        if id(stage) in kept:
            meets = f"other parts join before {paths.label(stage.move)}"
            bars.append(_bar(meets if stage.meets else paths.label(stage.move), stage.move, stage.gain))
    rest = [stage for stage in stages if id(stage) not in kept]
    gain = math.prod(stage.gain for stage in rest)
    if log10(gain):
        word = "operation" if len(rest) == 1 else "operations"
        other = {"label": f"{len(rest)} more {word}, together", "layer": rest[-1].move.layer, "step": "other"}
        bars.append({**other, "gain": value(gain), "log10": log10(gain), "source": ""})
    return bars


def drawn(seen: Watched | WatchedModel) -> list[int]:
    """Which of the recorded steps are drawn: all, or :data:`STEPS` of them."""
    return [int(i) for i in spread(len(seen), STEPS)] if len(seen) else []


def flow_at(seen: Watched | WatchedModel, at: int) -> dict[str, Any]:
    """The flow of a step by its place among those that are drawn. Raises BadInput beyond them."""
    places = drawn(seen)
    if not 0 <= at < len(places):
        raise BadInput(f"place {at}: {len(places)} recorded steps are drawn, from 0 to {len(places) - 1}")
    return flow_view(seen.at(places[at]))


def heat(seen: Watched | WatchedModel, flows: int = 0) -> dict[str, Any]:
    """The logarithm of each gain, from the output down, over the recorded steps: `Heat`.

    With `flows`, the views of at most so many steps come with it, evenly spread; none where they can be asked for.
    """
    places = drawn(seen)
    rows, gains = _gains(seen, places) if isinstance(seen, Watched) else _model_gains(seen, places)
    delta = seen.delta
    names = seen.layers if isinstance(seen, WatchedModel) else [f"layer {l}" for l in range(1, seen.L + 1)]
    return {
        "steps": [int(seen.steps[i]) for i in places],
        "rows": rows,
        "log10": [[log10(float(gain)) for gain in row] for row in gains],
        "verdicts": [seen.at(i).verdict for i in places],
        "delta": [{"label": name, "values": [value(delta[i, l]) for i in places]} for l, name in enumerate(names)],
        "flows": {str(k): flow_at(seen, int(k)) for k in spread(len(places), flows)} if flows and places else {},
    }


def _gains(seen: Watched, places: list[int]) -> tuple[list[dict[str, Any]], list[npt.NDArray[Any]]]:
    rows, gains = [], []
    through_sigma, through_weights = seen.activation_gain[places], seen.weights_gain[places]
    for l in range(seen.L, 0, -1):
        if l < seen.L:
            rows.append(Move(l, "weights", 1.0, 1.0))
            gains.append(through_weights[:, l - 1])
        rows.append(Move(l, "activation", 1.0, 1.0))
        gains.append(through_sigma[:, l - 1])
    return [_row(move_label(move, seen.activations), move) for move in rows], gains


def _row(label: str, move: Move) -> dict[str, Any]:
    return {"label": label, "layer": move.layer, "step": move.step, "source": move.source}


def _model_gains(seen: WatchedModel, places: list[int]) -> tuple[list[dict[str, Any]], list[npt.NDArray[Any]]]:
    """Rows are told apart by their label and how often it stood before: the form of the graph may change."""
    gains: dict[tuple[str, int], npt.NDArray[Any]] = {}
    first: dict[tuple[str, int], tuple[float, Move]] = {}
    for k, i in enumerate(places):
        moves, before = seen.at(i).rows, Counter[str]()
        for n, move in enumerate(moves):
            key = (paths.label(move), before[paths.label(move)])
            before[key[0]] += 1
            first.setdefault(key, (n / len(moves), move))
            gains.setdefault(key, np.full(len(places), np.nan))[k] = move.gain

    def weight(key: tuple[str, int]) -> float:
        logs = [abs(math.log(gain)) if 0 < gain < math.inf else 10.0 for gain in gains[key] if not math.isnan(gain)]
        return max(logs, default=0.0) + (1.0 if first[key][1].step == "weights" else 0.0)

    told = [key for key in gains if weight(key) > SMALL and not np.isnan(gains[key]).all()]
    most = sorted(told, key=weight, reverse=True)[:ROWS]
    order = sorted(most, key=lambda key: first[key][0])
    rows = [_row(name if n == 0 else f"{name}, {n + 1}", first[name, n][1]) for name, n in order]
    return rows, [gains[key] for key in order]


def history_view(history: History) -> dict[str, Any]:
    """Cost and accuracy by epoch: `History`."""
    held_out = history.validation
    return {
        "cost": [value(one) for one in history.cost],
        "accuracy": [value(one) for one in history.accuracy],
        "validation_cost": [value(one) for one in held_out.cost] if held_out is not None else [],
        "validation_accuracy": [value(one) for one in held_out.accuracy] if held_out is not None else [],
        "eta": list(history.eta),
        "seconds": list(history.seconds),
        "stopped": history.stopped,
    }
