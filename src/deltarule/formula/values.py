"""What a tree is worth on a network: every value a matrix, a^l and its like columns, as in the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import reference
from deltarule.activations import Activation
from deltarule.costs import Cost
from deltarule.formula.tree import Call, Mark, Node, Number, Pair, Partial, Sum, Symbol, walk

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
        """The matrix that a symbol stands for at layer l."""
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


def value(node: Node, net: Measured, l: int, parts: Mapping[str, int] | None = None) -> Array:
    """The node's matrix where the index l is this number and each component's letter has its own."""
    parts = parts or {}
    if isinstance(node, Number):
        return np.full((1, 1), node.value)
    if isinstance(node, Partial):
        return value(Symbol(f"dC/d{node.of.name}", node.of.layer, node.of.part), net, l, parts)
    if isinstance(node, Symbol):
        whole = net.y.T if node.layer is None else net.symbol(node.name, node.layer.at(l, net.L))
        if not node.part:
            return whole
        at = tuple(parts[letter] for letter in node.part)
        return np.full((1, 1), whole[at if len(at) == 2 else (at[0], 0)])
    if isinstance(node, Sum):
        n = ranges(node.of, net, l).get(node.letter, 1)
        return np.asarray(sum(value(node.of, net, l, {**parts, node.letter: i}) for i in range(n)))
    if isinstance(node, Call):
        inner = [one.layer.at(l, net.L) for one in walk(node.of) if isinstance(one, Symbol) and one.layer]
        of = value(node.of, net, l, parts)
        entry = net.activations[min(max(inner, default=1), net.L) or 1]
        function = entry.sigma if node.name == "sigma" else entry.slope
        return np.asarray(function(of.T)).T
    if isinstance(node, Mark):
        of = value(node.of, net, l, parts)
        if node.kind == "-1" and of.shape[0] != of.shape[1]:
            raise Misfit(f"{node.of} is {_shape(of)}, and only a square matrix has an inverse")
        try:
            return of.T if node.kind == "T" else np.linalg.pinv(of) if node.kind == "+" else np.linalg.inv(of)
        except np.linalg.LinAlgError:
            raise Misfit(f"{node.of} has no inverse") from None
    assert isinstance(node, Pair)
    return _paired(node, value(node.left, net, l, parts), value(node.right, net, l, parts))


def _paired(node: Pair, left: Array, right: Array) -> Array:
    number = isinstance(node.left, Number) or isinstance(node.right, Number) or left.size == right.size == 1
    if node.kind == "product":
        if number:
            return left * right
        if left.shape[1] != right.shape[0]:
            raise Misfit(f"the product {node} does not fit: {_shape(left)} times {_shape(right)}")
        return np.asarray(left @ right)
    if left.shape != right.shape and not number:
        what = "elementwise product" if node.kind == "elementwise" else "sum"
        raise Misfit(f"the {what} {node} does not fit: {_shape(left)} beside {_shape(right)}")
    if node.kind == "elementwise":
        return left * right
    return left + right if node.kind == "plus" else left - right


def _shape(matrix: Array) -> str:
    return f"{matrix.shape[0]} x {matrix.shape[1]}"


def ranges(node: Node, net: Measured, l: int) -> dict[str, int]:
    """How far each component's letter runs. Raises Misfit where two symbols disagree."""
    found: dict[str, tuple[int, Node]] = {}
    for one in walk(node):
        symbol = one.of if isinstance(one, Partial) else one
        if not isinstance(symbol, Symbol) or not symbol.part:
            continue
        shape = value(Symbol(symbol.name, symbol.layer), net, l).shape
        for n, letter in zip(shape, symbol.part, strict=False):
            before, where = found.setdefault(letter, (n, symbol))
            if before != n:
                raise Misfit(f"{letter} runs over {before} neurons in {where} and over {n} in {symbol}")
    return {letter: n for letter, (n, _) in found.items()}
