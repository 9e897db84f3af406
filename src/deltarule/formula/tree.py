"""The expression tree of a formula: symbols with a layer, operations, and how each is written back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
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


IN_PYTHON: ContextVar[bool] = ContextVar("IN_PYTHON", default=False)
"""Whether expressions are written in Python notation: as the formula that is being judged is."""


@dataclass(frozen=True)
class Node:
    """The base of all expressions. `str` writes it in the notation of `IN_PYTHON`."""

    def maths(self) -> str:
        """In plain text, as `check_formula` reads it too."""
        raise NotImplementedError

    def __str__(self) -> str:
        return python(self) if IN_PYTHON.get() else self.maths()


@dataclass(frozen=True)
class Number(Node):
    """A plain number."""

    value: float

    def maths(self) -> str:
        return f"{self.value:.15g}"


@dataclass(frozen=True)
class Symbol(Node):
    """W, z, a, b, delta, x or y at a layer, whole or one component of it (`part` holds its letters)."""

    name: str
    layer: Layer | None
    part: str = ""

    def maths(self) -> str:
        layer = f"^{{{self.layer}}}" if self.layer and len(str(self.layer)) > 1 else f"^{self.layer}"
        part = f"_{{{self.part}}}" if len(self.part) > 1 else f"_{self.part}"
        return self.name + (layer if self.layer and self.name != "x" else "") + (part if self.part else "")


@dataclass(frozen=True)
class Partial(Node):
    """dC/d(symbol), laid out as the symbol is."""

    of: Symbol

    def maths(self) -> str:
        return f"dC/d{self.of}"


@dataclass(frozen=True)
class Jacobian(Node):
    """d(top)/d(of): one row for each component of the top, one column for each of the other; or one entry of it."""

    top: Symbol
    of: Symbol

    def maths(self) -> str:
        return f"d{self.top}/d{self.of}"


@dataclass(frozen=True)
class Function(Node):
    """sigma or sigma' that is not applied to anything yet, and the layer written at it."""

    name: str
    layer: Layer | None = None

    def maths(self) -> str:
        return self.name + (f"^{{{self.layer}}}" if self.layer else "")


@dataclass(frozen=True)
class Call(Node):
    """sigma or sigma' of an expression, or the diagonal matrix "diag" of it."""

    name: str
    of: Node

    def maths(self) -> str:
        return f"{self.name}({self.of})"


@dataclass(frozen=True)
class Mark(Node):
    """A transpose "T", an inverse "-1" or a pseudo-inverse "+"."""

    kind: str
    of: Node

    def maths(self) -> str:
        return f"({self.of})^{'{-1}' if self.kind == '-1' else self.kind}"


@dataclass(frozen=True)
class Entry(Node):
    """One component of an expression that is a column."""

    of: Node
    part: str

    def maths(self) -> str:
        return f"({self.of})_{self.part}"


@dataclass(frozen=True)
class Power(Node):
    """Each entry of an expression to a whole power."""

    of: Node
    power: int

    def maths(self) -> str:
        return f"({self.of})**{self.power}"


@dataclass(frozen=True)
class Sum(Node):
    """The sum over one component's letter."""

    letter: str
    of: Node

    def maths(self) -> str:
        loose = isinstance(self.of, Pair) and self.of.kind != "product"
        return f"sum_{self.letter} {f'({self.of})' if loose else self.of}"


SIGN = {
    "product": " ", "elementwise": " * ", "over": " / ", "plus": " + ", "minus": " - ",
    "star": " * ", "tensor": r" \otimes ",
}  # fmt: skip
"""What a pair is written with. "star" is NumPy's *, which repeats a column; "tensor" can be read in two ways."""


@dataclass(frozen=True)
class Pair(Node):
    """Two expressions and what stands between them: a key of SIGN."""

    kind: str
    left: Node
    right: Node

    def maths(self) -> str:
        sides = [f"({side})" if isinstance(side, (Pair, Sum)) else str(side) for side in (self.left, self.right)]
        if self.kind == "product" and self.left == Number(-1.0):
            return f"-{sides[1]}"
        return SIGN[self.kind].join(sides)


def python(node: Node) -> str:
    """The expression in Python notation; what has none there (a sum, one component) stays as it is.

    >>> W, delta = Symbol("W", Layer("l", 1)), Symbol("delta", Layer("l", 1))
    >>> python(Pair("product", Mark("T", W), delta))
    'W[l+1].T @ delta[l+1]'
    """

    def side(one: Node) -> str:
        return f"({python(one)})" if isinstance(one, Pair) else python(one)

    if isinstance(node, Symbol) and not node.part:
        return node.name + (f"[{node.layer}]" if node.layer and node.name != "x" else "")
    if isinstance(node, Partial) and not node.of.part:
        return f"dC_d{python(node.of)}"
    if isinstance(node, Call):
        name = {"sigma'": "sigma_prime", "diag": "np.diag"}.get(node.name, node.name)
        return f"{name}({python(node.of)})"
    if isinstance(node, Mark):
        return f"{side(node.of)}.T" if node.kind == "T" else f"np.linalg.{INVERSES[node.kind]}({python(node.of)})"
    if isinstance(node, Power):
        return f"{side(node.of)}**{node.power}"
    if isinstance(node, Pair):
        if node.kind == "product" and node.left == Number(-1.0):
            return f"-{side(node.right)}"
        number = isinstance(node.left, Number) or isinstance(node.right, Number)
        sign = (" * " if number else " @ ") if node.kind == "product" else SIGN[node.kind]
        return f"{side(node.left)}{sign}{side(node.right)}"
    return node.maths()


INVERSES = {"-1": "inv", "+": "pinv"}


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


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The same tree with every node changed, from the leaves up; a derivative's symbols count as part of it."""
    if not isinstance(node, (Partial, Jacobian)):
        for place, child in list(children(node)):
            node = put(node, place, rebuilt(child, change))
    return change(node)
