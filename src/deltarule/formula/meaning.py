"""What a formula leaves unsaid: which layer a bare name belongs to, which function, which neurons.

Nothing is guessed in silence: each reading of what can be meant in several ways is a note in the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from deltarule.errors import BadInput
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


def symbols(node: Node) -> Iterator[Symbol]:
    """Every symbol in a tree, those of derivatives too."""
    for one in walk(node):
        if isinstance(one, Symbol):
            yield one


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
    open_members, turned = members, ()
    members = _layered(members, python, how, notes)
    members = [rebuilt(member, _placed) for member in members]
    named = _named(members)
    members = [rebuilt(member, _plain) for member in members]
    _require_judgeable(members)
    if FROM_COMPONENTS in notes:
        turned = tuple(rebuilt(member, _plain) for member in _by_components(open_members, from_first=True))
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
        return Call(function.name, node.right)
    return node


def _is_named(function: Function) -> bool:
    return not function.name.startswith("sigma")


def _one_sample(node: Node) -> Node:
    """The number of samples is 1, and so is what is multiplied or divided by it; a quotient of numbers is a number."""
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


# The layers of names that have none.


def _with(members: list[Node], layer_of: dict[Symbol, Layer]) -> list[Node]:
    """The members with bare symbols given their layers."""

    def change(node: Node) -> Node:
        if isinstance(node, Symbol) and node in layer_of:
            return replace(node, layer=layer_of[node])
        if isinstance(node, Partial):
            return Partial(layered(node.of))
        if isinstance(node, Jacobian):
            return Jacobian(layered(node.top), layered(node.of))
        return node

    def layered(one: Symbol) -> Symbol:
        return replace(one, layer=layer_of[one]) if one in layer_of else one

    return [rebuilt(member, change) for member in members]


def _layered(members: list[Node], python: bool, how: Letters, notes: list[str]) -> list[Node]:
    all_symbols = [one for member in members for one in symbols(member)]
    bare = [one for one in all_symbols if one.layer is None and one.name not in ("y", "t", "samples")]
    functions = [one for member in members for one in walk(member) if isinstance(one, Function) and not one.layer]
    if not bare and not (functions and python):
        return members
    if how.ends:
        weights = {one: Layer("l") for one in bare if one.name == "W"}
        members = _with(members, weights)
        notes.append("in and out are neurons of layers l-1 and l")
        return [rebuilt(member, _between) for member in members]
    written = [one for one in all_symbols if one.layer is not None and one.name != "x"]
    has_y = any(one.name == "y" for one in all_symbols)
    if python and written:
        return _assigned(members, notes)
    if any(one.part for one in bare) and not written:
        notes.append(FROM_COMPONENTS)
        return _by_components(members)
    if bare and (has_y or all(one.layer == Layer("L") for one in written)) and not any(o.name == "W" for o in bare):
        if has_y or written:
            notes.append("names without a layer belong to the output layer L")
            return _with(members, dict.fromkeys(bare, Layer("L")))
    if bare and all(one.name in ("W", "b", "z", "a") for one in bare) and any(o.name == "x" for o in all_symbols):
        notes.append("names without a layer belong to layer 1, where x goes in")
        return _with(members, dict.fromkeys(bare, Layer("", 1)))
    if not bare:
        return members
    one = bare[0]
    raise BadInput(
        f"{one} has no layer; expected {one.name}^l, {one.name}^{{l+1}} or the like (in Python {one.name}[l] or {one.name}2)"
    )


def _between(node: Node) -> Node:
    """The weight between a neuron `in` and a neuron `out`."""
    if isinstance(node, Symbol) and node.name == "W" and not node.part:
        return replace(node, part="jk")
    return replace(node, of=_between(node.of)) if isinstance(node, Partial) else node


def _assigned(members: list[Node], notes: list[str]) -> list[Node]:
    """Code that keeps one `delta`, `z` or `sp` and writes over it: the left side is the new one."""
    left, right = members[0], members[1:]
    target = left.of if isinstance(left, Partial) else left
    if not isinstance(target, Symbol):
        raise BadInput(f"{left} = ... has names without a layer; expected one name on the left, such as delta[l]")
    known = [one for member in right for one in symbols(member) if one.layer is not None and one.name != "x"]
    here = target.layer
    if here is None:
        weights = [one.layer for one in known if one.name == "W" and one.layer]
        found = {one.layer for one in known if one.layer}
        if target.name in ("delta", "z", "a") and isinstance(left, Symbol) and target.name == "delta" and weights:
            here = replace(weights[0], offset=weights[0].offset - 1)
        elif len(found) == 1:
            here = found.pop()
        else:
            raise BadInput(f"{left} has no layer, and the right side has several; expected {left}[l] or the like")
    moved = target.name == "delta" and isinstance(left, Symbol)
    above = replace(here, offset=here.offset + 1)
    new = _with([left], {target: here})
    layer_of = {
        one: above if moved and one.name == "delta" else here
        for member in right
        for one in symbols(member)
        if one.layer is None and one.name not in ("y", "t", "samples")
    }

    def change(node: Node) -> Node:
        return replace(node, layer=here) if isinstance(node, Function) and node.layer is None else node

    if layer_of or target.layer is None:
        old = f", the old delta to {above}" if above in layer_of.values() else ""
        notes.append(f"names without a layer belong to layer {here}{old}")
    return new + [rebuilt(member, change) for member in _with(right, layer_of)]


FROM_COMPONENTS = "layers follow from the components: w_jk leads from neuron k to neuron j"


def _by_components(members: list[Node], from_first: bool = False) -> list[Node]:
    """Layers from the components' letters: w_jk leads from k to j, so j's layer is the one above k's.

    With `from_first` it leads from j to k.
    """
    base = "L" if any(one.name == "y" for member in members for one in symbols(member)) else "l"
    steps: list[tuple[str, str, int]] = []  # the first letter's layer is so much above the second's
    for node in (one for member in members for one in walk(member)):
        if isinstance(node, Symbol) and node.name == "W" and len(node.part) == 2:
            j, k = node.part[::-1] if from_first else node.part
            steps.append((j, k, 1))
        if (
            isinstance(node, Jacobian)
            and len(node.top.part) == len(node.of.part) == 1
            and node.top.part != node.of.part
        ):
            steps.append((node.top.part, node.of.part, 0 if (node.top.name, node.of.name) == ("a", "z") else 1))
    vectors = [o for member in members for o in symbols(member) if len(o.part) == 1]
    first = next((o.part for o in vectors if base == "l" or o.name == "y"), "") or (steps[0][0] if steps else "")
    offset = {first: 0}
    for _ in range(len(steps) + 1):
        for above, below, by in steps:
            if below in offset:
                offset.setdefault(above, offset[below] + by)
            if above in offset:
                offset.setdefault(below, offset[above] - by)
    layer_of: dict[Symbol, Layer] = {}
    for member in members:
        for one in symbols(member):
            if one.layer is None and one.name != "y":
                if not one.part or one.part[0] not in offset:
                    raise BadInput(f"{one} has no layer, and nothing tells it; expected {one.name}^l or the like")
                to = one.part[-1] if one.name == "W" and from_first else one.part[0]  # W^l leads to layer l
                layer_of[one] = Layer(base, offset[to])
    return _with(members, layer_of)


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
