"""The layers of names that have none: in code that writes over its `delta`, in components, at the output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deltarule.errors import BadInput
from deltarule.formula.scripts import Letters
from deltarule.formula.tree import Call, Function, Jacobian, Layer, Node, Partial, Symbol, rebuilt, walk

FROM_COMPONENTS = "layers follow from the components: w_jk leads from neuron k to neuron j"


def symbols(node: Node) -> Iterator[Symbol]:
    """Every symbol in a tree, those of derivatives too."""
    for one in walk(node):
        if isinstance(one, Symbol):
            yield one


def _with(members: list[Node], layer_of: dict[Symbol, Layer]) -> list[Node]:
    """The members with bare symbols given their layers."""

    def change(node: Node) -> Node:
        if isinstance(node, Symbol) and node in layer_of:
            return replace(node, layer=layer_of[node])
        if isinstance(node, Partial):
            return Partial(placed(node.of))
        if isinstance(node, Jacobian):
            return Jacobian(placed(node.top), placed(node.of))
        return node

    def placed(one: Symbol) -> Symbol:
        return replace(one, layer=layer_of[one]) if one in layer_of else one

    return [rebuilt(member, change) for member in members]


def layered(members: list[Node], python: bool, how: Letters, notes: list[str]) -> list[Node]:
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
        return by_components(members)
    at_output = has_y or (bool(written) and all(one.layer == Layer("L") for one in written))
    if bare and at_output and not any(one.name == "W" for one in bare):
        notes.append("names without a layer belong to the output layer L")
        return _with(members, dict.fromkeys(bare, Layer("L")))
    if bare and all(one.name in ("W", "b", "z", "a") for one in bare) and any(o.name == "x" for o in all_symbols):
        notes.append("names without a layer belong to layer 1, where x goes in")
        return _with(members, dict.fromkeys(bare, Layer("", 1)))
    if not bare:
        return members
    nodes = [one for member in members for one in walk(member)]
    derived = any(isinstance(one, (Partial, Jacobian, Call)) for one in nodes)
    if derived and not written and not any(one.name in ("W", "x") for one in all_symbols):
        notes.append("names without a layer belong to one layer l")
        return _with(members, dict.fromkeys(bare, Layer("l")))
    one = bare[0]
    raise BadInput(
        f"{one} has no layer; expected {one.name}^l, {one.name}^{{l+1}} or the like "
        f"(in Python {one.name}[l] or {one.name}2)"
    )


def _between(node: Node) -> Node:
    """The weight between a neuron `in` and a neuron `out`."""
    if isinstance(node, Symbol) and node.name == "W" and not node.part:
        return replace(node, part="jk")
    if isinstance(node, Partial) and node.of.name == "W" and not node.of.part:
        return Partial(replace(node.of, part="jk"))
    return node


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


def by_components(members: list[Node], from_first: bool = False) -> list[Node]:
    """Layers from the components' letters: w_jk leads from k to j, so j's layer is the one above k's.

    With `from_first` it leads from j to k.
    """
    base = "L" if any(one.name == "y" for member in members for one in symbols(member)) else "l"
    steps: list[tuple[str, str, int]] = []  # the first letter's layer is so much above the second's
    for node in (one for member in members for one in walk(member)):
        if isinstance(node, Symbol) and node.name == "W" and len(node.part) == 2:
            ends = node.part[::-1] if from_first else node.part
            steps.append((ends[0], ends[1], 1))
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
    inputs = [one.part for member in members for one in symbols(member) if one.name == "x" and one.part in offset]
    if inputs:  # x is the input, at layer 0
        base, by = "", offset[inputs[0]]
        offset = {letter: layer - by for letter, layer in offset.items()}
    layer_of: dict[Symbol, Layer] = {}
    for member in members:
        for one in symbols(member):
            if one.layer is None and one.name != "y":
                if not one.part or one.part[0] not in offset:
                    raise BadInput(f"{one} has no layer, and nothing tells it; expected {one.name}^l or the like")
                to = one.part[-1] if one.name == "W" and from_first else one.part[0]  # W^l leads to layer l
                layer_of[one] = Layer(base, offset[to])
    return _with(members, layer_of)
