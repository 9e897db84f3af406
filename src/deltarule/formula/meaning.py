"""What a formula leaves unsaid: which layer a bare name belongs to, which function, which neurons.

Nothing is guessed in silence: each reading of what can be meant in several ways is a note in the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from deltarule.errors import BadInput
from deltarule.formula.layering import FROM_COMPONENTS, by_components, layered, symbols
from deltarule.formula.scripts import Letters
from deltarule.formula.tree import (
    Call,
    Entry,
    Function,
    Jacobian,
    Layer,
    Node,
    Number,
    Pair,
    Partial,
    Power,
    Sum,
    Symbol,
    rebuilt,
    walk,
)
from deltarule.formula.words import Word

MOST_NODES = 60
MOST_LETTERS = 3
HIGHEST = 12
"""The highest number of a layer that is judged."""


@dataclass(frozen=True)
class Equation:
    """A chain of equations as it was read.

    Attributes
    ----------
    members : tuple of Node
    python : bool
        Whether it is in Python notation.
    notes : tuple of str
        How what can be meant in several ways was read.
    named : str
        The activation that it names, tanh say; empty where it says sigma.
    turned : tuple of Node
        Where layers follow from components: the members if w_jk led from neuron j to neuron k.
    """

    members: tuple[Node, ...]
    python: bool
    notes: tuple[str, ...] = ()
    named: str = ""
    turned: tuple[Node, ...] = ()


def settled(members: list[Node], words: list[Word], python: bool, how: Letters, text: str) -> Equation:
    """The equation with nothing left open. Raises BadInput where it has to stay open."""
    if len(members) < 2:
        raise BadInput(f"there is no '=' between two expressions in {text!r}; expected an equation")
    if sum(1 for member in members for _ in walk(member)) > 2 * MOST_NODES:
        raise BadInput(f"the formula has more than {MOST_NODES} parts; at most so many are judged")
    notes: list[str] = []
    kinds = {word.kind for word in words}
    if "OVER_SAMPLES" in kinds or "WHOLE" in kinds:
        notes.append("for one sample, so that a sum over samples has one term")
    if any(isinstance(one, Symbol) and one.name == "samples" for member in members for one in walk(member)):
        notes.append("for one sample, so that the number of samples is 1")
    members = [rebuilt(member, _applied) for member in members]
    members = [rebuilt(member, _one_sample) for member in members]
    members = _targets(members, notes)
    open_members = members
    turned: tuple[Node, ...] = ()
    members = layered(members, python, how, notes)
    members = [rebuilt(member, _placed) for member in members]
    named = _named(members)
    members = [rebuilt(member, _plain) for member in members]
    _require_judgeable(members)
    if FROM_COMPONENTS in notes:
        turned = tuple(rebuilt(member, _plain) for member in by_components(open_members, from_first=True))
    return Equation(tuple(members), python, tuple(notes), named, turned)


def _targets(members: list[Node], notes: list[str]) -> list[Node]:
    """t is the target y; where both stand, y is the output a^L, as in Bishop's book."""
    names = {one.name for member in members for one in symbols(member)}
    if "t" not in names:
        return members
    if "y" in names:
        notes.append("t is the target, and y is the output a^L")

    def change(node: Node) -> Node:
        if isinstance(node, Symbol) and node.name == "y":
            return replace(node, name="a", layer=Layer("L")) if "y" in names else node
        return replace(node, name="y") if isinstance(node, Symbol) and node.name == "t" else node

    return [rebuilt(member, change) for member in members]


def _applied(node: Node) -> Node:
    """A function beside an expression is the function of it."""
    if isinstance(node, Pair) and node.kind == "product" and isinstance(node.left, Function):
        function = node.left
        if function.layer and function.layer.base == "" and function.layer.offset == 2 and _is_named(function):
            return Power(Call(function.name, node.right), 2)  # tanh^2(z)
        inside = {one.layer for one in symbols(node.right) if one.layer}
        if function.layer and inside and function.layer not in inside:
            raise BadInput(
                f"{function.name} is written at layer {function.layer}, and its argument {node.right} is not of that "
                f"layer; expected the same layer at both"
            )
        return Call(function.name, node.right)
    return node


def _is_named(function: Function) -> bool:
    return not function.name.startswith("sigma")


def _one_sample(node: Node) -> Node:
    """The number of samples is 1; a factor 1 says nothing, and a quotient of numbers is a number."""
    if not isinstance(node, Pair) or node.kind not in ("over", "product", "star"):
        return node
    left, right = node.left, node.right
    if node.kind == "over" and right == Symbol("samples", None):
        right = Number(1.0)
    if node.kind == "over" and isinstance(left, Number) and isinstance(right, Number) and right.value:
        return Number(left.value / right.value)
    if right == Number(1.0):
        return left
    return right if left == Number(1.0) and node.kind != "over" else node


def _placed(node: Node) -> Node:
    """A function that stands alone at a layer is that of the layer's z."""
    if not isinstance(node, Function):
        return node
    if node.layer is None:
        raise BadInput(f"{node.name} stands without an argument; expected {node.name}(z^l) or the like")
    return Call(node.name, Symbol("z", node.layer))


def _named(members: list[Node]) -> str:
    names = {one.name.rstrip("'") for member in members for one in walk(member) if isinstance(one, Call)}
    names -= {"sigma", "diag"}
    if len(names) > 1:
        raise BadInput(f"the formula names {' and '.join(sorted(names))}; expected one activation, or sigma")
    return next(iter(names), "")


def _plain(node: Node) -> Node:
    if isinstance(node, Call) and node.name != "diag":
        return replace(node, name="sigma'" if node.name.endswith("'") else "sigma")
    return node


def _require_judgeable(members: list[Node]) -> None:
    """An equation of a size that can be judged, whose symbols are whole."""
    nodes = [node for member in members for node in walk(member)]
    if len(nodes) > MOST_NODES:
        raise BadInput(f"the formula has {len(nodes)} parts; at most {MOST_NODES} are judged")
    parted = [one for one in nodes if isinstance(one, (Symbol, Entry))]
    letters = {letter for one in parted for letter in one.part}
    sums = [node for node in nodes if isinstance(node, Sum)]
    if len(letters) > MOST_LETTERS or len(sums) > MOST_LETTERS:
        raise BadInput(f"the formula has more than {MOST_LETTERS} component letters or sums: too many to judge")
    for total in sums:
        inside = {letter for one in walk(total.of) if isinstance(one, (Symbol, Entry)) for letter in one.part}
        if any(isinstance(one, Sum) and one.letter == total.letter for one in walk(total.of)):
            raise BadInput(f"{total}: {total.letter} is summed over twice")
        if total.letter not in inside:
            raise BadInput(f"{total}: nothing in the sum has the index {total.letter}")
    for node in nodes:
        if isinstance(node, (Partial, Jacobian)) and node.of.name not in tuple("Wzab"):
            raise BadInput(f"{node}: a derivative is taken by W, z, a or b at a layer")
        if isinstance(node, Jacobian):
            _require_measured(node)
        if isinstance(node, Symbol):
            if node.name == "samples":
                raise BadInput("m, n or N is the number of samples: it is read in 1/m alone")
            if node.layer and not -HIGHEST <= node.layer.offset <= HIGHEST:
                raise BadInput(f"{node}: no network that is judged here has that layer; at most {HIGHEST} are tried")
            if node.part and len(node.part) != (2 if node.name == "W" else 1):
                expected = "two letters, as in W^l_{jk}" if node.name == "W" else f"one letter, as in {node.name}^l_j"
                raise BadInput(f"{node} has {len(node.part)} component letters; expected {expected}")


def _require_measured(node: Jacobian) -> None:
    top, of = node.top, node.of
    if top.name not in ("z", "a"):
        raise BadInput(f"{node}: C, z and a are differentiated here, and {top.name} is not")
    if bool(top.part) != bool(of.part):
        raise BadInput(f"{node} is half a component; expected an index at both names, or at none")
