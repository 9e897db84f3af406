"""The expression tree of a formula: symbols with a layer, operations, and how each is written back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Layer:
    """A layer's index: `l`, `L` or nothing (a plain number), and what is added to it.

    >>> str(Layer("l", 1)), str(Layer("L", -1)), str(Layer("", 2))
    ('l+1', 'L-1', '2')
    """

    base: str
    offset: int = 0

    def __str__(self) -> str:
        if not self.base:
            return str(self.offset)
        return f"{self.base}{self.offset:+d}" if self.offset else self.base

    def at(self, l: int, L: int) -> int:
        """The number that it stands for where l is this layer and L the last."""
        return {"l": l, "L": L, "": 0}[self.base] + self.offset


@dataclass(frozen=True)
class Node:
    """The base of all expressions."""


@dataclass(frozen=True)
class Number(Node):
    """A plain number."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class Symbol(Node):
    """W, z, a, b or delta at a layer, whole or one component of it (`part` holds its letters)."""

    name: str
    layer: Layer | None
    part: str = ""

    def __str__(self) -> str:
        layer = f"^{{{self.layer}}}" if self.layer and len(str(self.layer)) > 1 else f"^{self.layer}"
        part = f"_{{{self.part}}}" if len(self.part) > 1 else f"_{self.part}"
        return self.name + (layer if self.layer else "") + (part if self.part else "")


@dataclass(frozen=True)
class Partial(Node):
    """dC/d(symbol), laid out as the symbol is."""

    of: Symbol

    def __str__(self) -> str:
        return f"dC/d{self.of}"


@dataclass(frozen=True)
class Call(Node):
    """sigma or sigma' of an expression."""

    name: str
    of: Node

    def __str__(self) -> str:
        return f"{self.name}({self.of})"


@dataclass(frozen=True)
class Mark(Node):
    """A transpose "T", an inverse "-1" or a pseudo-inverse "+"."""

    kind: str
    of: Node

    def __str__(self) -> str:
        return f"({self.of})^{'{-1}' if self.kind == '-1' else self.kind}"


@dataclass(frozen=True)
class Sum(Node):
    """The sum over one component's letter."""

    letter: str
    of: Node

    def __str__(self) -> str:
        return f"sum_{self.letter} {self.of}"


SIGN = {"product": " ", "elementwise": " * ", "plus": " + ", "minus": " - "}


@dataclass(frozen=True)
class Pair(Node):
    """Two expressions and what stands between them: a key of SIGN."""

    kind: str
    left: Node
    right: Node

    def __str__(self) -> str:
        sides = [f"({side})" if isinstance(side, Pair) else str(side) for side in (self.left, self.right)]
        return SIGN[self.kind].join(sides)


def children(node: Node) -> Iterator[tuple[str, Node]]:
    """The expressions directly below a node, each with the name of its place."""
    for field in fields(node):
        value: Any = getattr(node, field.name)
        if isinstance(value, Node):
            yield field.name, value


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it.

    >>> [str(node) for node in walk(Call("sigma", Symbol("z", Layer("l"))))]
    ['sigma(z^l)', 'z^l']
    """
    yield node
    for _, child in children(node):
        yield from walk(child)


def put(node: Node, place: str, child: Node) -> Node:
    """The same node with another child in one place."""
    return replace(node, **{place: child})
