"""What a tree is worth on a network: every value a matrix, a^l and its like columns, as in the book.

A value's last two axes are its matrix; each component's letter has an axis of its own before them, so that a
formula in components is computed for all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import reference
from deltarule.activations import Activation
from deltarule.costs import Cost
from deltarule.errors import BadInput
from deltarule.formula.tree import (
    Call,
    Entry,
    Jacobian,
    Layer,
    Mark,
    Node,
    Number,
    Pair,
    Partial,
    Power,
    Sum,
    Symbol,
    walk,
)

Array = npt.NDArray[Any]


class Misfit(Exception):
    """Two shapes that do not go together; the message names both."""


class NoSuchIndex(Exception):
    """An index that this network does not have at this layer."""


@dataclass(frozen=True)
class Measured:
    """A network and one sample's forward and backward pass on it, from the reference, in float64."""

    W: list[Array]
    activations: list[Activation]
    b: list[Array]
    y: Array
    done: reference.Pass

    @classmethod
    def on(
        cls, W: list[Array], b: list[Array], activations: list[Activation], cost: Cost, x: Array, y: Array
    ) -> Measured:
        """x and y are one row each."""
        return cls(W, activations, b, y, reference.backprop(W, b, activations, cost, x, y))

    @property
    def L(self) -> int:
        return len(self.W) - 1

    def symbol(self, name: str, l: int) -> Array:
        """The matrix that a symbol, or a derivative of C by one, stands for at layer l."""
        if not (0 if name in ("a", "x", "dC/da") else 1) <= l <= self.L:
            raise NoSuchIndex
        if name == "W":
            return self.W[l]
        if name == "dC/dW":
            return self.done.grad_W[l]  # of one sample: the mean is that sample's
        if name == "dC/da":
            rows = self.done.delta[1] @ self.W[1] if l == 0 else self.done.moved[l]
        elif name == "b":
            rows = self.b[l][None, :]
        else:
            done = self.done
            table = {"z": done.z, "a": done.a, "x": done.a, "delta": done.delta, "dC/dz": done.delta,
                     "dC/db": done.delta}  # fmt: skip
            rows = table[name][l]
        return np.asarray(rows.T)

    def slope(self, l: int) -> Array:
        """da^l/dz^l: diagonal, except behind softmax."""
        if self.activations[l].name == "softmax":
            a = self.done.a[l][0]
            return np.asarray(np.diag(a) - np.outer(a, a))
        return np.diag(self.done.slope[l][0])

    def jacobian(self, top: tuple[str, int], of: tuple[str, int]) -> Array:
        """d(top)/d(of) for z or a at one layer by z, a or b at another: a row for each component on top."""
        for name, l in (top, of):
            if not (0 if name == "a" else 1) <= l <= self.L:
                raise NoSuchIndex
        (name, l), (below, m) = top, ("z", of[1]) if of[0] == "b" else of
        n = len(self.symbol(below, m))
        after, before = 2 * l + (name == "a"), 2 * m + (below == "a")  # the order of the forward pass
        if after < before:
            return np.zeros((len(self.symbol(name, l)), n))  # what comes later has no influence
        back = np.eye(len(self.symbol(name, l)))
        while (name, l) != (below, m):
            back = back @ (self.slope(l) if name == "a" else self.W[l])
            name, l = ("z", l) if name == "a" else ("a", l - 1)
        return back


Parts = Mapping[str, tuple[int, Array]]
"""For each component's letter its axis and the components that are looked at."""


def value(node: Node, net: Measured, l: int, parts: Parts | None = None) -> Array:
    """The node's matrix where the index l is this number and each component's letter has its own axis."""
    parts = parts or {}
    if isinstance(node, Number):
        return np.full((1, 1), node.value)
    if isinstance(node, (Symbol, Partial, Jacobian)):
        return _picked(node, net, l, parts)
    if isinstance(node, Sum):
        n = ranges(node.of, net, l).get(node.letter, 1)
        inner = {**parts, node.letter: (parts[node.letter][0], np.arange(n))}
        return np.asarray(value(node.of, net, l, inner).sum(axis=parts[node.letter][0], keepdims=True))
    of = value(node.of, net, l, parts) if isinstance(node, (Call, Mark, Power, Entry)) else np.empty(0)
    if isinstance(node, Entry):
        axis, chosen = parts[node.part]
        of = of.reshape((1,) * (len(parts) + 2 - of.ndim) + of.shape)
        if of.shape[-1] != 1 or of.shape[axis] != 1:
            raise Misfit(f"{node} takes a component of what is {_shape(of)}; only a column has components")
        return np.asarray(np.swapaxes(of[..., chosen, :], axis, -2))
    if isinstance(node, Power):
        if 1 not in of.shape[-2:]:
            raise Misfit(f"{node} is a power of a matrix ({_shape(of)}); write it as a product")
        return np.asarray(of**node.power)
    if isinstance(node, Call):
        return _called(node, of, net, l)
    if isinstance(node, Mark):
        if node.kind == "-1" and of.shape[-2] != of.shape[-1]:
            raise Misfit(f"{node.of} is {_shape(of)}, and only a square matrix has an inverse")
        try:
            turned = np.swapaxes(of, -1, -2)
            return turned if node.kind == "T" else np.linalg.pinv(of) if node.kind == "+" else np.linalg.inv(of)
        except np.linalg.LinAlgError:
            raise Misfit(f"{node.of} has no inverse") from None
    assert isinstance(node, Pair)
    return _paired(node, value(node.left, net, l, parts), value(node.right, net, l, parts))


def _whole(node: Symbol | Partial | Jacobian, net: Measured, l: int) -> Array:
    """The matrix of a symbol or derivative, its components' letters aside."""
    if isinstance(node, Jacobian):
        (top, one), (of, other) = (
            (symbol.name, symbol.layer.at(l, net.L) if symbol.layer else 0) for symbol in (node.top, node.of)
        )
        return net.jacobian((top, one), (of, other))
    symbol = node.of if isinstance(node, Partial) else node
    name = f"dC/d{symbol.name}" if isinstance(node, Partial) else symbol.name
    return net.y.T if symbol.layer is None else net.symbol(name, symbol.layer.at(l, net.L))


def _picked(node: Symbol | Partial | Jacobian, net: Measured, l: int, parts: Parts) -> Array:
    """The matrix, or its components, each along its letter's axis."""
    if isinstance(node, Jacobian) and node.of.name == "W":
        return _by_weight(node, net, l, parts)
    whole = _whole(node, net, l)
    part = (
        node.top.part + node.of.part
        if isinstance(node, Jacobian)
        else (node.of.part if isinstance(node, Partial) else node.part)
    )
    if not part:
        return whole
    if len(part) == 1:
        whole = whole[:, 0]
    axes = [parts[letter] for letter in part]
    rank = max(axis for axis, _ in parts.values()) + 1
    spread = []
    for axis, chosen in axes:
        shape = [1] * rank
        shape[axis] = len(chosen)
        spread.append(chosen.reshape(shape))
    return np.asarray(whole[tuple(spread)])[..., None, None]


def _by_weight(node: Jacobian, net: Measured, l: int, parts: Parts) -> Array:
    """d(top)_i/dW_jk = d(top)_i/dz_j a_k: a weight acts through the z that it leads to."""
    layer = node.of.layer
    assert layer is not None  # every symbol has one when it is judged
    j, k = (node.of.part[0], node.of.part[1]) if node.of.part else ("", "")
    if not j and net.symbol("W", layer.at(l, net.L)).size > 1:
        raise Misfit(f"{node} has three indices; write it in components, such as dz^l_j/dW^l_{{jk}}")
    through = Jacobian(node.top, Symbol("z", layer, j))
    return _picked(through, net, l, parts) * _picked(
        Symbol("a", Layer(layer.base, layer.offset - 1), k), net, l, parts
    )


def _called(node: Call, of: Array, net: Measured, l: int) -> Array:
    """sigma, sigma' or the diagonal matrix of a value."""
    if node.name == "diag":
        if of.shape[-1] != 1:
            raise Misfit(f"{node} puts what is {_shape(of)} on a diagonal; expected a column")
        return np.asarray(of * np.eye(of.shape[-2]))
    inner = [one.layer.at(l, net.L) for one in walk(node.of) if isinstance(one, Symbol) and one.layer]
    entry = net.activations[min(max(inner, default=1), net.L) or 1]
    function = entry.sigma if node.name == "sigma" else entry.slope
    if of.shape[-2] == 1:
        return np.asarray(function(of))
    return np.swapaxes(np.asarray(function(np.swapaxes(of, -1, -2))), -1, -2)


def _paired(node: Pair, left: Array, right: Array) -> Array:
    mine, other = left.shape[-2:], right.shape[-2:]
    single = isinstance(node.left, Number) or isinstance(node.right, Number) or mine == other == (1, 1)
    if node.kind == "product":
        if single:
            return left * right
        if mine[1] != other[0]:
            raise Misfit(f"the product {node} does not fit: {_shape(left)} times {_shape(right)}")
        return np.asarray(left @ right)
    repeats = node.kind == "star" and all(one == two or 1 in (one, two) for one, two in zip(mine, other, strict=True))
    if not (mine == other or single or repeats or (node.kind == "over" and other == (1, 1))):
        what = {"plus": "sum", "minus": "difference", "over": "quotient"}.get(node.kind, "elementwise product")
        raise Misfit(f"the {what} {node} does not fit: {_shape(left)} beside {_shape(right)}")
    if node.kind == "over":
        return np.asarray(left / right)
    if node.kind in ("elementwise", "star"):
        return left * right
    return left + right if node.kind == "plus" else left - right


def _shape(matrix: Array) -> str:
    return f"{matrix.shape[-2]} x {matrix.shape[-1]}"


def ranges(node: Node, net: Measured, l: int) -> dict[str, int]:
    """How far each component's letter runs. Raises Misfit where two symbols disagree."""
    found: dict[str, tuple[int, Node]] = {}

    def runs(letter: str, n: int, where: Node) -> None:
        before, first = found.setdefault(letter, (n, where))
        if before != n:
            raise Misfit(f"{letter} runs over {before} neurons in {first} and over {n} in {where}")

    for one in walk(node):
        if isinstance(one, Symbol) and one.part:
            shape = _whole(replace(one, part=""), net, l).shape
            for n, letter in zip(shape, one.part, strict=False):
                runs(letter, n, one)
        elif isinstance(one, Entry):
            inner = ranges(one.of, net, l)
            axes = {letter: (i, np.arange(1)) for i, letter in enumerate(inner)}
            runs(one.part, value(one.of, net, l, axes).shape[-2], one)
    return {letter: n for letter, (n, _) in found.items()}


MOST_PLACES = 300_000
"""How many components are computed at once; of a larger formula, some are drawn."""


def places(runs: Mapping[str, int], bound: set[str]) -> dict[str, tuple[int, Array]]:
    """Each letter's axis and the components looked at: all, or where they are too many, some of the free ones."""
    free = [letter for letter in runs if letter not in bound]
    fixed = math.prod(n for letter, n in runs.items() if letter in bound)
    each = max(1, int((MOST_PLACES / max(fixed, 1)) ** (1 / max(len(free), 1))))
    if fixed > 100 * MOST_PLACES:
        raise BadInput("the network is too wide for sums over so many components; write the formula in matrices")
    rng = np.random.default_rng(0)
    found = {}
    for axis, (letter, n) in enumerate(runs.items()):
        some = np.arange(n) if letter in bound or n <= each else np.sort(rng.choice(n, each, replace=False))
        found[letter] = (axis, some)
    return found
