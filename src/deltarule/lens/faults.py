"""The verdict on the flow of a PyTorch model: which operation loses the error or blows it up.

It is read off the rows and off what the graph lacks (parameters that no error reaches), never off the values of
the model. How far the error has shrunk or grown is counted from the first weights that it meets to each layer,
through weights, products, activations and normalisations. What losses, pooling and reshaping do to its length is
their purpose and is not counted: a mean over n values divides the length by the root of n, without harm.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deltarule.flow import Move
from deltarule.lens import advice
from deltarule.lens.operations import PEAKS
from deltarule.paths import heaviest, label, where
from deltarule.verdicts import Fault, number

VANISHING = 1e-3
"""Below this from the output's layer to another the error vanishes. PyTorch's own initial weights cost a factor of
2.4 with each ReLU layer, and networks so drawn learn well with some eight layers; of ten they lose 2800."""

EXPLODING = 1e3
"""Above this from the output's layer to another the error explodes."""

MOST_FLAT = 0.7
"""More than this share of a layer's neurons dead, or of its units saturated, is a fault. It is more than for a
network of ours, for models that learn well have been seen at half: the sixth ReLU layer under PyTorch's own initial
weights, where half of the neurons say the same of every sample, and a narrow tanh layer under Adam's first steps."""

JUDGED = ("weights", "product", "activation", "normalisation", "other", "compiled")
"""The steps whose gains count."""

TINY = 0.5
"""More than this share of a float16 error's values without all their digits is underflow."""

RESIDUAL = 3
"""As many sister blocks, at least, must agree on how many residual additions they have before one can lack one."""


@dataclass(frozen=True)
class Lack:
    """What the graph of a pass does not reach.

    Attributes
    ----------
    missing : tuple of str
        Parameters that want a gradient and that no way from the loss leads to.
    frozen : tuple of str
        Parameters with requires_grad=False.
    parameters : int
        How many there are in all.
    called : frozenset of str or None
        The modules that ran in the forward pass; None where it was not seen.
    loss : float
        The value that the backward pass began at.
    blocks : tuple of (path, kind)
        The modules that have sisters of their kind.
    scale : float
        What a gradient scaler multiplied the loss by.
    """

    missing: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    parameters: int = 0
    called: frozenset[str] | None = None
    loss: float = 0.0
    blocks: tuple[tuple[str, str], ...] = ()
    scale: float = 1.0


def judge(rows: Sequence[Move], lack: Lack) -> tuple[Fault, ...]:
    """What is wrong, the most telling first; nothing where all is well."""
    broken = _not_finite(rows, lack)
    if broken is not None:
        return (broken,)
    begun = after_weights(rows)
    underflow = _underflow(rows)
    flat = [*_flat(rows, begun, "dead"), *_flat(rows, begun, "saturated")]
    size = _size(rows, begun, underflow, flat)
    found = [underflow, *flat] if size is None or _explains(flat, size, rows) else [underflow, size, *flat]
    if size is not None and size not in found:
        found.append(size)
    return tuple(fault for fault in [*found, _residual(rows, lack), _detached(rows, lack), _frozen(lack)] if fault)


def after_weights(rows: Sequence[Move]) -> list[bool]:
    """Of each row whether the error has met weights before it came there: whether it lies inside the model."""
    begun = [False] * len(rows)
    for i, move in enumerate(rows):
        for child in move.to:
            if child >= 0:
                begun[child] = begun[child] or begun[i] or move.step in ("weights", "compiled")
    return begun


def _fault(word: str, move: Move, why: str, what: str) -> Fault:
    return Fault(word, move.layer, move.step, why, name=move.name, source=move.source, advice=what)


def _not_finite(rows: Sequence[Move], lack: Lack) -> Fault | None:
    for move in rows:
        bad = move.norm_in if not math.isfinite(move.norm_in) else move.norm_out
        if math.isfinite(bad) or (move.ends and math.isfinite(move.norm_in)):
            continue
        kind = "NaN" if math.isnan(bad) else "infinite"
        if not math.isfinite(lack.loss):
            value = "NaN" if math.isnan(lack.loss) else "infinite"
            why = (
                f"the loss itself is {value}: the forward pass has left the numbers before any error was carried back"
            )
            return _fault("exploding", move, why, advice.FORWARD)
        if not math.isfinite(move.norm_in):
            return _fault("exploding", move, f"the error is {kind} where it arrives at {where(move)}", advice.FORWARD)
        why = f"the error becomes {kind} at {where(move)}; what came in was {move.norm_in:.3g} long"
        why += ", and the loss is finite"
        overscaled = lack.scale > 1 and move.op not in advice.SINGULAR
        what = advice.overscaled(lack.scale) if overscaled else advice.not_finite(move)
        return _fault("exploding", move, why, what)
    return None


def _underflow(rows: Sequence[Move]) -> Fault | None:
    half = [move for move in rows if move.dtype == "float16" and move.step != "parameter"]
    for move in half:
        lost = not move.ends and move.norm_in > 0 and move.norm_out == 0
        if lost and (move.tiny or 0) > 0:
            why = f"the error becomes exactly 0 at {where(move)}, in float16, where it was too small to be held"
            return _fault("underflow", move, why, advice.UNDERFLOW)
    worst = max(half, key=lambda move: move.tiny or 0, default=None)
    if worst is None or (worst.tiny or 0) <= TINY:
        return None
    first = next(move for move in half if (move.tiny or 0) > TINY)
    why = (
        f"{100 * (first.tiny or 0):.0f}% of the error's values are below 6.1e-5 where it arrives at {where(first)}, "
        f"so float16 drops their digits or takes them for 0"
    )
    return _fault("underflow", first, why, advice.UNDERFLOW)


def _flat(rows: Sequence[Move], begun: Sequence[bool], word: str) -> list[Fault]:
    """The dead, or the saturated, activations within the model: the worst is the fault, the others are named."""
    found = [
        (i, share)
        for i, move in enumerate(rows)
        if (share := getattr(move, word)) is not None and share > MOST_FLAT and _judged(rows, begun, i)
    ]
    if not found:
        return []
    found.sort(key=lambda one: -one[1])
    worst = rows[found[0][0]]
    parts = list(dict.fromkeys(f"{100 * share:.0f}% of {where(rows[i])}" for i, share in found))
    listed = ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
    if word == "dead":
        return [_fault(word, worst, f"{listed}: so many units pass no error on, for any sample", advice.DEAD)]
    if worst.op == "softmax":
        why = f"{listed}: so many rows are so peaked that next to no error passes"
        return [_fault(word, worst, why, advice.SOFTMAX)]
    why = f"{listed}: so many units have a slope below 5% of the steepest"
    return [_fault(word, worst, why, advice.saturated(worst))]


def _judged(rows: Sequence[Move], begun: Sequence[bool], i: int) -> bool:
    """Not at the output, unless next to no error passes: a trained network is flat there where it is right."""
    if begun[i]:
        return True
    move = rows[i]
    above = [row for row in rows if i in row.to]
    lets_through = any(row.op.startswith("mse_loss") for row in above)
    return lets_through and move.gain < 0.05 * PEAKS.get(move.op, 1.0)


def _size(
    rows: Sequence[Move], begun: Sequence[bool], underflow: Fault | None, flat: Sequence[Fault]
) -> Fault | None:
    """Whether the error is lost altogether, vanishes or explodes on its way to some layer."""
    reached = _reached(rows)
    for i, move in enumerate(rows):
        if move.norm_in > 0 and move.norm_out == 0 and move.to and move.step != "parameter" and underflow is None:
            below = _below(rows, i)
            if any(rows[j].norm_in > 0 and rows[j].step == "weights" for j in below):
                continue  # another way leads there: a branch that begins at 0 is often meant so
            if not any(rows[j].step == "weights" for j in below):
                continue
            why = f"the error becomes exactly 0 at {where(move)}; what came in was {move.norm_in:.3g} long"
            return _fault("vanishing", move, why, advice.zero(move))
    counted = [i for i, ratio in enumerate(reached) if ratio is not None and rows[i].step == "weights"]
    if not counted:
        return None
    by_layer: dict[int, float] = {}
    for i in counted:
        by_layer[rows[i].layer] = max(by_layer.get(rows[i].layer, 0.0), reached[i] or 0.0)
    high = max(by_layer, key=by_layer.__getitem__)
    lost = [i for i in counted if 0 < by_layer[rows[i].layer] < VANISHING and underflow is None]
    # Where enough of it reaches what lies below, by another way, this is a side branch: a query's error is small.
    lost = [
        i
        for i in lost
        if all(by_layer.get(rows[j].layer, 0.0) < VANISHING for j in _below(rows, i) if rows[j].step == "weights")
    ]
    if by_layer[high] > EXPLODING:
        layer, word = high, "exploding"
    elif lost:
        layer, word = min((rows[i].layer for i in lost), key=by_layer.__getitem__), "vanishing"
    else:
        return None
    end = max((i for i in counted if rows[i].layer == layer), key=lambda i: reached[i] or 0.0)
    return _on_the_way(rows, begun, heaviest(rows, end), word, reached[end] or 0.0)


def _below(rows: Sequence[Move], i: int) -> set[int]:
    seen, todo = set(), [child for child in rows[i].to if child >= 0]
    while todo:
        j = todo.pop()
        if j not in seen:
            seen.add(j)
            todo += [child for child in rows[j].to if child >= 0]
    return seen


def _reached(rows: Sequence[Move]) -> list[float | None]:
    """By row: how much of the error that the output's weights were given arrives, without what is not judged.

    At a meeting the parts are added as they were: what they cancel, or reinforce, is the model's doing.
    """
    level: list[float | None] = [None] * len(rows)
    parts: list[list[tuple[float, float]]] = [[] for _ in rows]
    for i, move in enumerate(rows):
        if move.step == "parameter":
            continue
        if parts[i]:
            handed = math.hypot(*(part for _, part in parts[i]))
            own = math.hypot(*(one for one, _ in parts[i]))
            level[i] = own * (move.norm_in / handed if handed else 0.0)
        elif move.step in ("weights", "compiled"):
            level[i] = 1.0
        here = level[i]
        if here is None:
            continue
        for child, part in zip(move.to, move.outs, strict=True):
            if child >= 0:
                counts = move.step in JUDGED or part == 0
                gain = part / move.norm_in if move.norm_in and counts else float(counts is False)
                parts[child].append((here * gain, part))
    return level


def _on_the_way(rows: Sequence[Move], begun: Sequence[bool], way: list[int], word: str, ratio: float) -> Fault:
    """The operation that does most of it, and what those of its kind do together."""
    start = next((k for k, i in enumerate(way) if rows[i].step in ("weights", "compiled")), 0)
    gains: list[tuple[float, int]] = []
    for here, after in zip(way[start:], way[start + 1 :], strict=False):
        move = rows[here]
        part = max(out for child, out in zip(move.to, move.outs, strict=True) if child == after)
        if move.step in JUDGED and move.norm_in and part:
            gains.append((math.log(part / move.norm_in), here))
    sign = 1 if word == "exploding" else -1
    _, worst = max(gains, key=lambda one: sign * one[0])
    move, end = rows[worst], rows[way[-1]]
    alike = [log for log, i in gains if rows[i].op == move.op]
    factor = number(math.exp(max(sign * log for log, i in gains)))
    together = number(math.exp(min(700.0, abs(math.fsum(alike)))))
    grows = word == "exploding"
    size = f"{number(ratio if grows else 1 / ratio)} times {'larger' if grows else 'smaller'}"
    first = rows[way[start]]
    relation = f"the error is {size} at {where(end)} than at {label(first)}"
    if end.name == first.name and end.name:
        relation = (
            f"the error grows {number(ratio)} times" if grows else f"the error shrinks {number(1 / ratio)} times"
        )
        relation += f" on its way through the repeated {label(end)}"
    verb = "multiplies it by" if grows else "costs a factor"
    why = f"{relation}; {where(move)} {verb} {factor}"
    if len(alike) > 1 and sign * math.fsum(alike) > 0:
        why += f", the {len(alike)} operations {move.op!r} on the way together {together}"
    mean = math.exp(math.fsum(log for log, _ in gains) / max(1, sum(rows[i].step == "weights" for _, i in gains)))
    return _fault(word, move, why, advice.size(word, move, mean, _repeated(rows, way)))


def _repeated(rows: Sequence[Move], way: Sequence[int]) -> bool:
    """Whether the way goes through the same weights again and again, as in a recurrent network."""
    met = Counter(rows[i].layer for i in way if rows[i].step == "weights")
    return max(met.values(), default=0) >= 3


def _explains(flat: Sequence[Fault], size: Fault, rows: Sequence[Move]) -> bool:
    """A dead or saturated activation where the error is lost says more than that it is lost."""
    return size.word == "vanishing" and any(
        (fault.name == size.name and fault.layer == size.layer) or fault.word == "dead" for fault in flat
    )


def _residual(rows: Sequence[Move], lack: Lack) -> Fault | None:
    """A block that has fewer residual additions than its sisters."""
    counts: dict[str, dict[str, int]] = {}
    merges = {id(move) for move in _merging(rows)}
    for path, kind in lack.blocks:
        own = [move for move in rows if _within(move, path)]
        if not any(move.step == "weights" for move in own):
            continue
        counts.setdefault(kind, {})[path] = sum(id(move) in merges for move in own)
    for kind, by_path in counts.items():
        usual, agree = Counter(by_path.values()).most_common(1)[0]
        if usual == 0 or agree < RESIDUAL or agree <= len(by_path) / 2:
            continue
        for path, count in by_path.items():
            if count < usual:
                first = next(move for move in rows if _within(move, path) and move.step == "weights")
                why = (
                    f"{path} ({kind}) has {_times(count)}, {agree} of its {len(by_path) - 1} sisters have "
                    f"{_times(usual)}: all of the error must go through {path}'s own weights"
                )
                return replace(_fault("residual", first, why, advice.residual(path, count)), name=path)
    return None


def _times(count: int) -> str:
    return {0: "no residual addition", 1: "one residual addition"}.get(count, f"{count} residual additions")


def _within(move: Move, path: str) -> bool:
    name = move.name.removeprefix("after ")
    return name == path or name.startswith(f"{path}.")


def _merging(rows: Sequence[Move]) -> list[Move]:
    """The additions whose two parts come, further down, from one value."""
    found = []
    for move in rows:
        data = [child for child in move.to if child >= 0 and rows[child].step != "parameter"]
        if move.step == "addition" and len(data) >= 2:
            first, second = (_below(rows, child) | {child} for child in data[:2])
            if first & second:
                found.append(move)
    return found


def _tops(names: Sequence[str], among: set[str]) -> list[str]:
    """The modules that hold these parameters and no others that are not in `among`: the outermost of each."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names if name in among))


def _detached(rows: Sequence[Move], lack: Lack) -> Fault | None:
    if not lack.missing:
        return None
    modules = _tops(lack.missing, set(lack.missing))
    unknown = lack.called is None
    cut = [name for name in modules if unknown or _took_part(name, lack)]
    if not cut:
        return None  # they took no part in this pass: nothing to blame
    listed = ", ".join(cut[:4]) + (f" and {len(cut) - 4} more" if len(cut) > 4 else "")
    ends = next((move for move in reversed(rows) if move.ends and move.step == "weights"), None)
    why = f"no way leads from the loss to {listed}"
    why += "" if unknown else ", though " + ("it" if len(cut) == 1 else "they") + " took part in the forward pass"
    if ends is not None:
        why += f"; the last that the error reaches is {where(ends)}"
    what = advice.detached(unknown)
    return Fault("detached", ends.layer if ends else 0, "weights", why, name=cut[-1], advice=what)


def _took_part(name: str, lack: Lack) -> bool:
    """Whether a module ran in the forward pass, or a part of it; of the model's own parameter, whether that did."""
    called = lack.called or frozenset()
    owner = "" if name in lack.missing else name
    return owner in called or any(path.startswith(f"{name}.") for path in called)


def _frozen(lack: Lack) -> Fault | None:
    if not lack.frozen:
        return None
    modules = _tops(lack.frozen, set(lack.frozen))
    listed = ", ".join(modules[:4]) + (f" and {len(modules) - 4} more" if len(modules) > 4 else "")
    why = f"{listed} will not learn: {len(lack.frozen)} of {lack.parameters} parameters have requires_grad=False"
    return Fault("frozen", 0, "weights", why, name=modules[0], advice=advice.frozen(modules[0]))
