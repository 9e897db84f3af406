"""What a formula is judged on: random networks, and the other conventions under which it may hold.

The book's convention is the measure: columns, W^l from layer l-1 to layer l, w_jk from neuron k to neuron j. A
formula that fails there may be a true one of another book; `WHERE` holds what else is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import numpy as np

from deltarule import inputs
from deltarule.activations import ACTIVATIONS
from deltarule.costs import COSTS, Cost
from deltarule.errors import BadInput
from deltarule.formula.tree import Call, Jacobian, Layer, Mark, Node, Pair, Partial, Symbol, rebuilt
from deltarule.formula.values import Measured
from deltarule.network import Network

SAMPLES = 3
LAYERS = 4
WIDTHS = (5, 4, 6, 3, 2)
EQUAL = 4

TWICE = Cost("squared", lambda a, y: ((a - y) ** 2).sum(axis=-1), lambda a, y: 2 * (a - y), (), "any output")
KNOWN = {**COSTS, TWICE.name: TWICE}
"""The costs that formulas are judged on."""

Nets = tuple[Measured, ...]


def drawn(sizes: tuple[int, ...], hidden: str, output: str, cost: str, seed: int) -> Measured:
    """A random network and sample."""
    rng = np.random.default_rng(seed)
    none, layers = np.empty(0), range(1, len(sizes))
    W = [none, *(rng.standard_normal((sizes[l], sizes[l - 1])) for l in layers)]
    b = [none, *(rng.standard_normal(sizes[l]) for l in layers)]
    activations = [ACTIVATIONS[hidden]] * (len(sizes) - 1) + [ACTIVATIONS[output]]
    x, y = rng.standard_normal((1, sizes[0])), rng.uniform(0.1, 0.9, size=(1, sizes[-1]))
    y = y / y.sum() if output == "softmax" else y
    return Measured.on(W, b, activations, KNOWN[cost], x, y)


@cache
def networks(L: int, named: str = "", narrow: bool = False) -> tuple[Nets, Nets]:
    """Those that a formula is judged on, of unequal widths and of equal width, or `narrow`, of width 1."""
    kinds = {"": [("sigmoid", "sigmoid"), ("tanh", "tanh")], "softmax": [("tanh", "softmax"), ("sigmoid", "softmax")]}
    pairs = kinds.get(named, [(named, named)] * 2)
    cost = "log_likelihood" if named == "softmax" else "quadratic"
    if narrow:
        return tuple(drawn((1,) * (L + 1), *pair, cost, seed) for seed, pair in enumerate(pairs)), ()
    unequal = tuple(WIDTHS[l % len(WIDTHS)] for l in range(L + 1))
    return (
        tuple(drawn(unequal, *pair, cost, seed) for seed, pair in enumerate(pairs)),
        tuple(drawn((EQUAL,) * (L + 1), *pair, cost, seed) for seed, pair in enumerate(pairs, 2)),
    )


def of_user(net: Network, x: Any, y: Any) -> Nets:
    """The user's network in float64 on the first few of the samples, or on drawn ones."""
    if (x is None) != (y is None):
        raise BadInput("x and y go together; give both or neither")
    rng = np.random.default_rng(0)
    if x is None:
        x = rng.standard_normal((SAMPLES, net.sizes[0]))
        y = np.eye(net.sizes[-1])[rng.integers(net.sizes[-1], size=SAMPLES)]  # every cost takes one-hot targets
    rows = inputs.samples(net, x)
    values = inputs.coded(inputs.targets(net, y, len(rows)), net)
    none = np.empty(0)
    W, b = [none, *(W.astype(float) for W in net.W)], [none, *(b.astype(float) for b in net.b)]
    sigma = [net.output, *net.activations]  # entry 0 is not used
    pairs = list(zip(rows.astype(float), values.astype(float), strict=True))[:SAMPLES]
    return tuple(Measured.on(W, b, sigma, net.cost, row[None], aim[None]) for row, aim in pairs)


@cache
def special(L: int, hidden: str, output: str, cost: str) -> Nets:
    """Networks of one kind, of unequal widths and of equal width."""
    unequal = tuple(WIDTHS[l % len(WIDTHS)] for l in range(L + 1))

    def alive(sizes: tuple[int, ...]) -> Measured:
        """The first drawn one whose errors do not die out on the way: where all is 0, everything holds."""
        for seed in count(5):
            net = drawn(sizes, hidden, output, cost, seed)
            if all(net.done.delta[l].any() for l in range(1, L + 1)):
                return net
        raise AssertionError  # `count` does not end

    return alive(unequal), alive((EQUAL,) * (L + 1))


Change = Callable[[Node], Node]


def same(node: Node) -> Node:
    """The formula as it stands."""
    return node


def in_rows(node: Node) -> Node:
    """Every whole column is a row: z = a W^T + b, as in code whose rows are samples."""

    def turn(one: Node) -> Node:
        symbol = one.of if isinstance(one, Partial) else one
        vector = isinstance(symbol, Symbol) and not symbol.part and symbol.name != "W"
        return Mark("T", one) if vector else one

    return rebuilt(node, turn)


def weights_turned(node: Node) -> Node:
    """W is laid out (n_{l-1}, n_l): w_jk leads from j to k."""

    def turn(one: Node) -> Node:
        if isinstance(one, Partial) and one.of.name == "W":
            turned = turn(one.of)
            return Partial(turned) if isinstance(turned, Symbol) else Mark("T", one)
        if isinstance(one, Jacobian) and one.of.name == "W":
            return replace(one, of=replace(one.of, part=one.of.part[::-1]))
        if isinstance(one, Symbol) and one.name == "W":
            return replace(one, part=one.part[::-1]) if one.part else Mark("T", one)
        return one

    return rebuilt(node, turn)


def _renamed(node: Node, change: Callable[[Symbol], Symbol]) -> Node:
    def over(one: Node) -> Node:
        if isinstance(one, Symbol):
            return change(one)
        if isinstance(one, Partial):
            return Partial(change(one.of))
        return Jacobian(change(one.top), change(one.of)) if isinstance(one, Jacobian) else one

    return rebuilt(node, over)


def weights_from(node: Node) -> Node:
    """W^l and b^l lead from layer l to layer l+1."""

    def up(one: Symbol) -> Symbol:
        if one.name in ("W", "b") and one.layer:
            return replace(one, layer=Layer(one.layer.base, one.layer.offset + 1))
        return one

    return _renamed(node, up)


def z_and_a_swapped(node: Node) -> Node:
    """a is the weighted input, z the activation."""
    return _renamed(node, lambda one: replace(one, name={"a": "z", "z": "a"}.get(one.name, one.name)))


def rows_turned(node: Node) -> Node:
    return in_rows(weights_turned(node))


def derivatives_as_rows(node: Node) -> Node:
    """Numerator layout: dC/dz is a row, and so is delta; d(top)/d(of) has a row for each component of the top."""

    def turn(one: Node) -> Node:
        symbol = one.of if isinstance(one, Partial) else one
        of_c = isinstance(one, Partial) or (isinstance(one, Symbol) and one.name == "delta")
        return Mark("T", one) if of_c and isinstance(symbol, Symbol) and not symbol.part else one

    return rebuilt(node, turn)


def jacobians_turned(node: Node) -> Node:
    """Denominator layout: d(top)/d(of) has a column for each component of the top."""
    return rebuilt(node, lambda one: Mark("T", one) if isinstance(one, Jacobian) and not one.top.part else one)


def slopes_as_columns(node: Node) -> Node:
    """da^l/dz^l, whose matrix is diagonal, as the column sigma'(z^l)."""

    def column(one: Node) -> Node:
        if isinstance(one, Jacobian) and not one.top.part:
            (top, of), layer = (one.top.name, one.of.name), one.of.layer
            if (top, of) == ("a", "z") and one.top.layer == layer:
                return Call("sigma'", one.of)
        return one

    return rebuilt(node, column)


def tensor_as(kind: str) -> Change:
    """The sign \\otimes as an elementwise product, or as the outer product u v^T."""

    def change(one: Node) -> Node:
        if not isinstance(one, Pair) or one.kind != "tensor":
            return one
        return Pair("product", one.left, Mark("T", one.right)) if kind == "outer" else Pair(kind, one.left, one.right)

    return lambda node: rebuilt(node, change)


WEIGHTS_TURNED: tuple[str, Change] = (
    "where W is laid out the other way, (n_{l-1}, n_l), so that z = W^T a + b", weights_turned,
)  # fmt: skip
CONVENTIONS: list[tuple[str, Change]] = [
    ("where W^l and b^l lead from layer l to layer l+1 (here, as in the book, from l-1 to l)", weights_from),
    WEIGHTS_TURNED,
    ("in code whose rows are samples and whose W is (n_out, n_in), z = a W^T + b", in_rows),
    ("in code whose rows are samples and whose W is (n_in, n_out), z = a W + b", rows_turned),
    ("where a is the weighted input and z the activation, as in Bishop's book", z_and_a_swapped),
]
"""Other ways to write the same network."""

Kind = tuple[str, str, str]
"""The activation of the hidden layers, that of the output, and the cost."""

KINDS: list[tuple[str, list[Kind]]] = [
    ("cross-entropy behind sigmoid", [("tanh", "sigmoid", "cross_entropy"), ("sigmoid", "sigmoid", "cross_entropy")]),
    (
        "log-likelihood behind softmax",
        [("tanh", "softmax", "log_likelihood"), ("sigmoid", "softmax", "log_likelihood")],
    ),
    (
        "the quadratic cost behind a linear output",
        [("tanh", "identity", "quadratic"), ("relu", "identity", "quadratic")],
    ),
    ("the cost |a - y|^2, without the factor 1/2", [("tanh", "tanh", "squared"), ("sigmoid", "sigmoid", "squared")]),
    ("sigmoid layers", [("sigmoid", "sigmoid", "quadratic")]),
    ("tanh layers", [("tanh", "tanh", "quadratic")]),
    ("ReLU layers", [("relu", "relu", "quadratic")]),
    ("linear layers, those without an activation", [("identity", "identity", "quadratic")]),
]
"""Kinds of networks that a formula may be meant for; it has to hold on each of a kind's networks."""
