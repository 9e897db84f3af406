"""The graph of the backward pass: its operations, who hands the error to whom, and what need be measured.

The walk goes from the loss down along `next_functions`. It gives each operation its place and the whole graph a
form. What follows from the form (names, kinds, which lengths equal which) is worked out once, in a
:class:`Plan`, and serves every later pass of the same form.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from deltarule.lens import operations

Node = Any
"""A node of autograd's graph."""

LEAF = -1
"""Where the error goes when it leaves the graph: into a parameter, or into an input that wants its gradient."""


@dataclass
class Graph:
    """What one walk found.

    Attributes
    ----------
    nodes : list of Node
        From the loss down; the roots come first.
    edges : list of tuple of (child, slot)
        By node: the place of the node that takes on each of its results (None where nothing is wanted), and
        which of that node's outputs it was.
    form : tuple
        Equal for two graphs that only differ in their numbers.
    parameters : set of str
        The names of the model's parameters that are reached.
    """

    nodes: list[Node]
    edges: list[tuple[tuple[int, int] | None, ...]]
    form: tuple[Any, ...]
    parameters: set[str]


def walk(roots: Iterable[Node], names: dict[int, str]) -> Graph:
    """The graph below these nodes. `names` are those of the model's parameters by their id."""
    nodes = list(dict.fromkeys(roots))
    at = {node: i for i, node in enumerate(nodes)}
    edges: list[tuple[tuple[int, int] | None, ...]] = []
    form: list[Any] = [len(nodes)]
    reached = set()
    for node in nodes:  # it grows as we go
        row: list[tuple[int, int] | None] = []
        for child, slot in node.next_functions:
            if child is None:
                row.append(None)
                continue
            place = at.get(child)
            if place is None:
                place = at[child] = len(nodes)
                nodes.append(child)
            row.append((place, slot))
        edges.append(tuple(row))
        kind = type(node)
        form += (kind, edges[-1])
        if kind in _adds or (kind not in _others and _adding(kind)):
            form.append(_kept(node, row, nodes))
        elif not row:
            variable = getattr(node, "variable", None)
            if variable is not None:
                name = names.get(id(variable))
                form.append(name)
                if name is not None:
                    reached.add(name)
    return Graph(nodes, edges, tuple(form), reached)


_adds: set[type] = set()
_others: set[type] = set()
"""The kinds of node that add, and those that do not, as far as they have been met."""


def _adding(kind: type) -> bool:
    adds = operations.base(kind.__name__) in ("Add", "Sub")
    (_adds if adds else _others).add(kind)
    return adds


def _kept(node: Node, row: Sequence[tuple[int, int] | None], nodes: list[Node]) -> tuple[bool, ...]:
    """Whether an addition hands the error on as it is: not where it was broadcast, or multiplied by alpha."""
    mine = node._input_metadata[0]
    kept = []
    for i, edge in enumerate(row):
        whole = edge is not None and _metadata(nodes[edge[0]], edge[1]) == (tuple(mine.shape), mine.dtype)
        kept.append(whole and (i == 0 or abs(getattr(node, "_saved_alpha", 1)) == 1))
    return tuple(kept)


def _metadata(node: Node, slot: int) -> tuple[tuple[int, ...], Any] | None:
    variable = getattr(node, "variable", None)
    if variable is not None:
        return tuple(variable.shape), variable.dtype
    try:
        found = node._input_metadata[slot]
    except (AttributeError, IndexError, RuntimeError):  # a Function of the user's own keeps none
        return None
    return tuple(found.shape), found.dtype


@dataclass
class Row:
    """One operation of a plan: the part of a :class:`~deltarule.flow.Move` that does not change from pass to pass.

    `into` lists where its results go: a row's number or LEAF, and the number of the measurement that says how much.
    """

    node: int
    op: str
    step: str
    autograd: str
    parameters: list[str]
    into: list[tuple[int, int]] = field(default_factory=list)
    arrives: int = -1
    aside: bool = False
    sequence: int = 0
    name: str = ""
    source: str = ""
    layer: int = 0
    owner: str = ""
    dtype: str = ""
    channel: int = -1
    shares: tuple[int, ...] = ()


@dataclass
class Tap:
    """One hook: at which node, and which figures it takes there.

    `arrives` is the number of the measurement of what comes in, -1 for none; `leaves` pairs the results to be
    measured with their numbers; `shares` are the numbers of an activation's shares.
    """

    node: int
    arrives: int = -1
    leaves: list[tuple[int, int]] = field(default_factory=list)
    shares: tuple[int, ...] = ()
    row: int = -1


@dataclass
class Plan:
    """What to measure in a graph of one form, and the rows that it makes.

    `blank` has a place for each measurement: NaN where a share may not be known, None where nothing has run yet.
    """

    rows: list[Row]
    taps: list[Tap]
    blank: list[Any]
    row_of: dict[int, int]
    reached: set[str] = field(default_factory=set)
    seen: bool = False
    notes: list[str] = field(default_factory=list)
    trainable: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    called: frozenset[str] | None = None
    """The modules that ran in the forward pass; None where it was not seen."""
    hosts: list[int] = field(default_factory=list)
    """The nodes that may run a backward pass of their own, as a checkpoint does."""


def order(graph: Graph) -> list[int]:
    """The nodes in the order in which the engine runs them: the latest of the forward pass first."""
    waiting = [0] * len(graph.nodes)
    for row in graph.edges:
        for edge in row:
            if edge is not None:
                waiting[edge[0]] += 1
    ready = [(-graph.nodes[i]._sequence_nr(), i) for i, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    done = []
    while ready:
        _, i = heapq.heappop(ready)
        done.append(i)
        for edge in graph.edges[i]:
            if edge is not None:
                waiting[edge[0]] -= 1
                if waiting[edge[0]] == 0:
                    heapq.heappush(ready, (-graph.nodes[edge[0]]._sequence_nr(), edge[0]))
    return done


def plan(graph: Graph, names: dict[int, str], pieces: dict[str, tuple[str, ...]]) -> Plan:
    """Work out the rows of a graph and the fewest measurements that give them.

    `pieces` are the names of the parameters that a split takes out of a flat one, by the name of that.
    """
    ordered = order(graph)
    leaf = [hasattr(node, "variable") for node in graph.nodes]
    owned = [names.get(id(node.variable)) if leaf[i] else None for i, node in enumerate(graph.nodes)]
    carried: list[list[str]] = [[] for _ in graph.nodes]
    alone = [False] * len(graph.nodes)
    kinds = [("", "")] * len(graph.nodes)
    for i in reversed(ordered):  # from the leaves up: what is made of parameters alone
        if leaf[i]:
            alone[i], carried[i] = owned[i] is not None, [owned[i]] if owned[i] is not None else []  # type: ignore[list-item]
            continue
        below = [edge[0] for edge in graph.edges[i] if edge is not None]
        ways = [edge for edge in graph.edges[i] if edge is not None and alone[edge[0]]]
        parameters = []
        for child, slot in ways:
            piece = _piece(graph.nodes[child], carried[child], slot, pieces)
            parameters += carried[child] if piece is None else [piece]
        kinds[i] = operations.kind(graph.nodes[i].name(), bool(parameters))
        carried[i] = parameters
        makes_activations = kinds[i][1] in ("weights", "normalisation", "compiled") or not below
        alone[i] = not makes_activations and all(alone[child] for child in below)
    reached = {name for name in graph.parameters if name not in pieces}
    reached.update(name for names in carried for name in names if name not in pieces)
    shown = [i for i in ordered if not leaf[i] and not (alone[i] and kinds[i][1] == "shape" and i >= 1)]
    planned = _planned(graph, shown, leaf, owned, carried, alone, kinds)
    planned.reached = reached
    return planned


def _piece(node: Node, names: list[str], slot: int, pieces: dict[str, tuple[str, ...]]) -> str | None:
    """The parameter that this output of a flat parameter's split is; None where the node is no such split."""
    if len(names) != 1 or names[0] not in pieces or "Split" not in node.name():
        return None
    return pieces[names[0]][slot] if slot < len(pieces[names[0]]) else ""


def _planned(
    graph: Graph,
    shown: list[int],
    leaf: list[bool],
    owned: list[str | None],
    carried: list[list[str]],
    alone: list[bool],
    kinds: list[tuple[str, str]],
) -> Plan:
    row_of = {i: r for r, i in enumerate(shown)}
    consumers: dict[int, int] = {}
    for i in shown:
        for edge in graph.edges[i]:
            if edge is not None and edge[0] in row_of:
                consumers[edge[0]] = consumers.get(edge[0], 0) + 1
    rows, taps, count = [], {i: Tap(i, row=row_of[i]) for i in shown}, 0
    arrives: dict[int, int] = {}
    for i in shown:
        node = graph.nodes[i]
        if i not in arrives:
            arrives[i] = taps[i].arrives = count
            count += 1
        op, step = kinds[i]
        row = Row(i, op, step, operations.base(node.name()), carried[i], arrives=arrives[i], aside=alone[i])
        row.sequence = node._sequence_nr()
        row.dtype = _dtype(node)
        real = [
            (k, edge[0])
            for k, edge in enumerate(graph.edges[i])
            if edge is not None and (edge[0] in row_of or (leaf[edge[0]] and owned[edge[0]] is None))
        ]
        layer = step in ("weights", "normalisation", "compiled")
        if not layer and all(child in row_of and alone[child] for _, child in real):
            # Nothing but parameters below: what goes into them is all there is to see.
            real = [(k, edge[0]) for k, edge in enumerate(graph.edges[i]) if edge is not None]
        keeps = _keeps(node, op, graph, i)
        for k, child in real:
            if child in row_of and consumers[child] == 1:
                if child not in arrives:
                    if keeps(k):
                        arrives[child] = arrives[i]
                    else:
                        arrives[child], count = count, count + 1
                        # A hook costs more than a length, so one that is there anyway also takes what leaves. Of
                        # weights and the activation before them it is the activation's: its numbers are still in
                        # the processor's cache, where a product of matrices has replaced its own.
                        cold = (step, kinds[child][1]) == ("weights", "activation")
                        if taps[i].arrives >= 0 and built_in(node) and not cold:
                            taps[i].leaves.append((k, arrives[child]))
                        else:
                            taps[child].arrives = arrives[child]
                row.into.append((row_of[child], arrives[child]))
                continue
            if keeps(k):
                measured = arrives[i]
            else:
                measured, count = count, count + 1
                taps[i].leaves.append((k, measured))
            row.into.append((row_of.get(child, LEAF), measured))
        if step == "activation" and not alone[i]:
            row.shares = taps[i].shares = (count, count + 1)
            count += 2
        elif row.dtype == "float16":
            row.shares = taps[i].shares = (count,)
            count += 1
        if row.dtype == "float16" and step == "activation":
            row.shares = taps[i].shares = (*row.shares, count)
            count += 1
        rows.append(row)
    for row in rows:
        if row.step == "activation":
            row.channel = _channel(rows, row, graph.nodes[row.node])
    used = [tap for tap in taps.values() if tap.arrives >= 0 or tap.leaves or tap.shares]
    hosts = [row.node for row in rows if not built_in(graph.nodes[row.node])]
    blank: list[Any] = [None] * count
    for row in rows:
        for share in row.shares:
            blank[share] = math.nan
    return Plan(rows, used, blank, row_of, hosts=hosts)


def _channel(rows: Sequence[Row], row: Row, node: Node) -> int:
    """The dimension along which an activation's neurons lie; of a softmax, the one that it sums to 1 over."""
    if row.op in ("softmax", "log_softmax"):
        dim = int(getattr(node, "_saved_dim", -1))
        return dim - 2**64 if dim >= 2**63 else dim
    here = row
    while True:
        below = [rows[child] for child, _ in here.into if child != LEAF and not rows[child].aside]
        if not below:
            return -1
        here = below[0]
        if here.step in ("weights", "normalisation"):
            return 1 if here.op in ("convolution", "batch_norm", "group_norm") else -1


def _dtype(node: Node) -> str:
    found = _metadata(node, 0)
    return "" if found is None else str(found[1]).removeprefix("torch.")


def built_in(node: Node) -> bool:
    """Whether it is PyTorch's own: a Function of the user's may write on what it is given, or give back nothing."""
    return not isinstance(node, torch.autograd.function.BackwardCFunction)


def _keeps(node: Node, op: str, graph: Graph, i: int) -> Callable[[int], bool]:
    """Whether the k-th result is as long as what arrives, so that it need not be measured."""
    own = operations.base(node.name())
    if own in ("Add", "Sub"):
        kept = _kept(node, graph.edges[i], graph.nodes)
        return lambda k: kept[k]
    keeps = own in operations.KEEPS
    return lambda k: keeps
