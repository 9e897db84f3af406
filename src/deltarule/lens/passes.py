"""One backward pass under observation: its hooks, its figures, and the flow that they make.

The hooks take lengths and nothing else; they return nothing, so every gradient stays what it is, bit for bit.
Figures stay where they were measured until somebody asks for the flow.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from deltarule.flow import Flow, Move
from deltarule.lens import norms
from deltarule.lens.faults import Lack, judge
from deltarule.lens.graph import LEAF, Graph, Plan, Tap, built_in
from deltarule.lens.operations import PEAKS, RECTIFIERS
from deltarule.verdicts import SATURATED

FEWEST = 64
"""Of fewer samples (and positions) it is not said which neurons are dead: most of a healthy layer can be silent."""

Figures = MutableSequence[norms.Number | None]


@dataclass(frozen=True)
class Seen:
    """A pass as it can be sent to another process: its number, its flow, and what that was judged by."""

    number: int
    flow: Flow
    lack: Lack


class Pass:
    """What is measured in one backward pass, or in one that runs within another (a checkpoint's).

    Parameters
    ----------
    graph, plan : Graph, Plan
        What runs, and what to measure of it.
    number : int
        Which backward pass of the watch it is, from 1.
    counted : Pass or None
        An earlier one of the same plan whose shares of flat and dead units stand for this one's; without it they
        are counted anew.
    """

    __slots__ = (
        "_handles",
        "counted",
        "figures",
        "inner",
        "loss",
        "nodes",
        "number",
        "plan",
        "scale",
        "trouble",
    )

    def __init__(self, graph: Graph, plan: Plan, number: int, counted: Pass | None = None) -> None:
        self.counted = counted
        self.plan = plan
        self.number = number
        self.figures: Figures = plan.blank[:]
        self.scale: tuple[int, Tensor] | None = None
        self.loss: norms.Number = 0.0
        self.inner: tuple[tuple[int, Pass], ...] = ()
        self.nodes = {graph.nodes[i]: i for i in plan.hosts}
        self.trouble: frozenset[str] = frozenset()
        self._handles = [self._hook(graph.nodes[tap.node], tap) for tap in plan.taps]

    def _hook(self, node: Any, tap: Tap) -> Any:
        row = self.plan.rows[tap.row]
        shares = tap.shares if self.counted is None else ()
        if shares and row.step == "activation":
            return node.register_hook(self._activation(tap))
        if tap.leaves and built_in(node) and not shares:
            return node.register_hook(self._both(tap))
        handles = []
        if tap.arrives >= 0 or shares:
            handles.append(node.register_prehook(self._arrives(tap, shares)))
        if tap.leaves:
            handles.append(node.register_hook(self._both(Tap(tap.node, leaves=tap.leaves, row=tap.row))))
        return handles

    def _arrives(self, tap: Tap, shares: tuple[int, ...]) -> Callable[[Sequence[Tensor | None]], None]:
        place, figures, length = tap.arrives, self.figures, norms.length

        def measure(grads: Sequence[Tensor | None]) -> None:
            try:
                if place >= 0:
                    one = grads[0] if len(grads) == 1 else None
                    figures[place] = norms.lengths(grads) if one is None else length(one)
                for share in shares:
                    figures[share] = _tiny(grads[0])
            except Exception as error:  # to observe must never end a training
                self._failed(error)

        return measure

    def _both(self, tap: Tap) -> Callable[[Sequence[Tensor | None], Sequence[Tensor | None]], None]:
        place, leaves, figures, length = tap.arrives, tap.leaves, self.figures, norms.length

        def measure(results: Sequence[Tensor | None], grads: Sequence[Tensor | None]) -> None:
            try:
                if place >= 0:
                    one = grads[0] if len(grads) == 1 else None
                    figures[place] = norms.lengths(grads) if one is None else length(one)
                for k, out in leaves:
                    result = results[k]
                    if result is not None:
                        figures[out] = length(result)
            except Exception as error:
                self._failed(error)

        return measure

    def _activation(self, tap: Tap) -> Callable[[Sequence[Tensor | None], Sequence[Tensor | None]], None]:
        row, figures, lengths = self.plan.rows[tap.row], self.figures, self._both(tap)

        def measure(results: Sequence[Tensor | None], grads: Sequence[Tensor | None]) -> None:
            try:
                lengths(results, grads)
                before, after = grads[0], results[0]
                if before is None or after is None or before.shape != after.shape:
                    return
                if row.op in PEAKS:
                    figures[tap.shares[0]] = norms.flat_share(before, after, SATURATED * PEAKS[row.op])
                elif row.op == "softmax":
                    figures[tap.shares[0]] = norms.flat_rows(before, after, row.channel, SATURATED)
                elif row.op in RECTIFIERS and _samples(after, row.channel) >= FEWEST:
                    figures[tap.shares[1]] = norms.dead_share(before, after, row.channel)
                for share in tap.shares[2:]:
                    figures[share] = _tiny(before)
            except Exception as error:
                self._failed(error)

        return measure

    def _failed(self, error: Exception) -> None:
        self.trouble |= {f"a length could not be taken ({type(error).__name__}: {error})"}

    def close(self) -> None:
        """Remove the hooks, and keep no more than the figures."""
        for handle in self._handles:
            for one in handle if isinstance(handle, list) else [handle]:
                one.remove()
        self._handles = []
        self.nodes = {}
        if all(isinstance(one, float) for one in self.figures):
            self.figures = array("d", self.figures)  # type: ignore[type-var]

    def flow(self) -> Flow:
        """The record of this pass, with its verdicts."""
        return self.seen().flow

    def seen(self) -> Seen:
        """The same with what it was judged by, to be judged again beside that of other processes."""
        plan = self.plan
        figures = self._read()
        scale = figures.pop()
        loss = figures.pop()
        rows = numbered(self._rows(figures, scale))
        reached = self._all_reached()
        lack = Lack(
            missing=tuple(name for name in plan.trainable if name not in reached),
            frozen=tuple(plan.frozen),
            parameters=len(plan.trainable) + len(plan.frozen),
            called=plan.called,
            loss=loss,
            blocks=tuple(plan.blocks),
            scale=scale,
        )
        unseen = tuple(dict.fromkeys([*_unseen(plan, rows), *sorted(self._troubles())]))
        return Seen(self.number, Flow(tuple(rows), 0, (), judge(rows, lack), unseen, scale), lack)

    def _all(self) -> list[Pass]:
        return [self, *(one for _, inner in self.inner for one in inner._all())]

    def _all_reached(self) -> set[str]:
        return set().union(*(one.plan.reached for one in self._all()))

    def _troubles(self) -> set[str]:
        return set().union(*(one.trouble for one in self._all()))

    def _read(self) -> list[Any]:
        """All figures as numbers, None where nothing was measured; then the loss, then the scale."""
        scale: norms.Number = self.scale[1] if self.scale is not None else 1.0
        self.figures = list(self.figures)
        if self.counted is not None:
            for row in self.plan.rows:
                for share in row.shares:
                    self.figures[share] = self.counted.figures[share]
            self.counted = None
        all_figures = [*self.figures, self.loss, scale]
        there = [(i, one) for i, one in enumerate(all_figures) if one is not None]
        numbers = norms.read([one for _, one in there])
        result: list[float | None] = [None] * len(all_figures)
        for (i, _), value in zip(there, numbers, strict=True):
            result[i] = value
        self.figures, self.loss = list(result[:-2]), float(result[-2] or 0.0)  # read once
        return result

    def _rows(self, figures: Sequence[float | None], scale: float) -> list[Move]:
        plan = self.plan
        ran = [r for r, row in enumerate(plan.rows) if figures[row.arrives] is not None]
        place = {r: i for i, r in enumerate(ran)}
        above = self._above_the_scale()
        moves = []
        for r in ran:
            row = plan.rows[r]
            inward, outward = (1.0 if r in above else scale), (1.0 if r in above and r != self._scaled() else scale)
            into = [(child, figures[part]) for child, part in row.into]
            kept = [
                (child, part / outward)
                for child, part in into
                if part is not None and (child == LEAF or child in place)
            ]
            outs = [part for child, part in kept if child == LEAF or not plan.rows[child].aside]
            saturated, dead, tiny = self._shares(row, figures)
            moves.append(
                Move(
                    layer=0,
                    step="parameter" if row.aside else row.step,
                    norm_in=float(figures[row.arrives] or 0.0) / inward,
                    norm_out=longest(outs or [part for _, part in kept]),
                    saturated=saturated,
                    dead=dead,
                    name=row.name,
                    op=row.op,
                    source=row.source,
                    to=tuple(place.get(child, LEAF) for child, _ in kept),
                    outs=tuple(part for _, part in kept),
                    dtype=row.dtype,
                    tiny=tiny,
                )
            )
        return self._spliced(moves, place, scale)

    def _shares(self, row: Any, figures: Sequence[float | None]) -> tuple[float | None, ...]:
        values = [figures[k] for k in row.shares]
        values = [None if value is None or math.isnan(value) else value for value in values]
        if row.step == "activation" and not row.aside:
            return (*values[:2], values[2] if len(values) > 2 else None)
        return (None, None, values[0] if values else None)

    def _scaled(self) -> int:
        """The row of the gradient scaler's multiplication; -1 without one."""
        return self.plan.row_of.get(self.scale[0], -1) if self.scale is not None else -1

    def _above_the_scale(self) -> set[int]:
        """It and the rows above it, which see the loss as the user wrote it."""
        last = self._scaled()
        above = {last} if last >= 0 else set()
        for r in range(last, -1, -1):
            if any(child in above for child, _ in self.plan.rows[r].into):
                above.add(r)
        return above

    def _spliced(self, moves: list[Move], place: dict[int, int], scale: float) -> list[Move]:
        """The rows with those of the passes that ran within, each after the checkpoint that ran it."""
        at = [(place.get(self.plan.row_of.get(node, -1), -1), inner) for node, inner in self.inner]
        for r, inner in sorted(at, key=lambda one: -one[0]):  # from below, so that the rows above keep their places
            moves = spliced(moves, r, inner._rows(inner._read()[:-2], scale))
        return moves


def spliced(outer: Sequence[Move], at: int, inner: Sequence[Move]) -> list[Move]:
    """The rows of one pass with those of another put in after row `at`, which ran it."""
    if at < 0:
        return [*outer, *(_moved(move, lambda child: child + len(outer) if child >= 0 else child) for move in inner)]
    host, count = outer[at], len(inner)
    heads = sorted(set(range(count)) - {child for move in inner for child in move.to})

    def later(child: int) -> int:
        return child + count if child > at else child

    below = [later(child) for child in host.to]
    exits = below[0] if len(below) == 1 else LEAF
    first = [_moved(move, later) for move in outer[:at]]
    entered = Move(
        **{
            **vars(host),
            "to": tuple(at + 1 + head for head in heads),
            "outs": tuple(inner[head].norm_in for head in heads),
            "norm_out": longest([inner[head].norm_in for head in heads]),
        }
    )
    within = [_moved(move, lambda child: child + at + 1 if child >= 0 else exits) for move in inner]
    return [*first, entered, *within, *(_moved(move, later) for move in outer[at + 1 :])]


def _moved(move: Move, where: Callable[[int], int]) -> Move:
    return Move(
        **{**vars(move), "to": tuple(where(child) if child >= 0 or where(LEAF) >= 0 else child for child in move.to)}
    )


def numbered(rows: Sequence[Move]) -> list[Move]:
    """The rows with their layers: the modules with weights, counted in the order of the forward pass."""
    rank: dict[str, int] = {}
    layers = [0] * len(rows)
    for i in range(len(rows) - 1, -1, -1):
        move = rows[i]
        if move.step == "weights":
            key = move.name or f"{move.op} {i}"
            layers[i] = rank.setdefault(key, len(rank) + 1) - 1
        else:
            layers[i] = len(rank)
    return [Move(**{**vars(move), "layer": layer}) for move, layer in zip(rows, layers, strict=True)]


def longest(parts: Sequence[float]) -> float:
    """The largest, or one that is no number; NaN without any, for then the error ends."""
    return math.nan if not parts or any(math.isnan(part) for part in parts) else max(parts)


def _samples(values: Tensor, channel: int) -> int:
    """How many values each neuron has: one a sample, and position."""
    return values.numel() // max(1, values.shape[channel]) if values.dim() > 1 else 0


def _tiny(grad: Tensor | None) -> norms.Number:
    return norms.tiny_share(grad) if grad is not None and grad.dtype == norms.HALF else math.nan


def _unseen(plan: Plan, rows: Sequence[Move]) -> list[str]:
    """What this pass could not show, in plain words."""
    notes = list(plan.notes)
    if not plan.seen:
        notes.append(
            "the lines of the code, and the modules of operations without parameters: the forward pass ran before "
            "the watch began, or had a new form; run it inside the `with` once more"
        )
    for move in rows:
        if move.step == "compiled":
            notes.append(
                f"what happens inside the region that torch.compile made of {move.name or 'the model'}: it is one "
                "operation to autograd; watch the model before it is compiled to see within"
            )
        if move.op == "attention":
            notes.append("the softmax inside a fused attention: only what its query, key and value are handed")
        if move.op in ("lstm", "rnn"):
            notes.append("the time steps inside a fused recurrent layer: only what passes through it as a whole")
    return notes


def value(root: Any) -> norms.Number:
    """The loss itself, or 0 where the pass begins at no single number."""
    if not isinstance(root, Tensor) or root.numel() != 1 or root.is_complex():
        return 0.0
    return float(root.item()) if root.is_cpu else root.detach().clone()
