"""The smallest edit that makes a member true: one, or two, of the mistakes that people make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from deltarule.formula.tree import Call, Layer, Mark, Node, Number, Pair, Partial, Symbol, children, put, walk

MOST_TRIED = 1200
"""How many candidates are computed before the search gives up: it bounds the time of a verdict."""

Edit = tuple[str, Node]


def smallest(truth: Node, member: Node, holds: Callable[[Node], bool]) -> list[str]:
    """The phrases of the first single edit, or else pair of edits, after which the member holds; or none."""
    once = list(edits(member, truth))
    tried = 0
    for phrase, one in once:
        tried += 1
        if holds(one):
            return [phrase]
    seen = {one for _, one in once}
    for phrase, one in once:
        for second, two in edits(one, truth):
            if two in seen:
                continue
            seen.add(two)
            tried += 1
            if tried > MOST_TRIED:
                return []
            if holds(two):
                return [phrase, second]
    return []


def edits(member: Node, truth: Node) -> Iterator[Edit]:
    """Every single edit of a member, the likeliest mistakes first."""
    yield from _inside(member, "")
    layer = next((one.layer for one in walk(truth) if isinstance(one, Symbol) and one.layer), None)
    if layer is not None and not any(isinstance(one, Symbol) and one.part for one in walk(member)):
        factor = Call("sigma'", Symbol("z", layer))
        yield f"multiply elementwise by {factor}", Pair("elementwise", member, factor)
    if isinstance(member, Pair) and member.kind == "product" and member.left == Number(-1.0):
        yield "change the sign", member.right
    else:
        yield "change the sign", Pair("product", Number(-1.0), member)


def _inside(node: Node, around: str) -> Iterator[Edit]:
    """The edits of this node itself, then those below it."""
    yield from _here(node, around)
    for place, child in () if isinstance(node, Partial) else children(node):  # a derivative is measured, not edited
        inner = node.name if isinstance(node, Call) else "transposed" if isinstance(node, Mark) else around
        for phrase, other in _inside(child, inner):
            yield phrase, put(node, place, other)


def _here(node: Node, around: str) -> Iterator[Edit]:
    if isinstance(node, Mark):
        if node.kind == "T":
            yield f"do not transpose {node.of}", node.of
        else:
            yield f"transpose {node.of}, do not invert it", Mark("T", node.of)
    elif isinstance(node, Symbol):
        if around != "transposed" and not node.part:
            yield f"transpose {node}", Mark("T", node)
        if node.layer is not None:
            for step in (-1, 1):
                moved = replace(node, layer=Layer(node.layer.base, node.layer.offset + step))
                taken = f"sigma' at {moved.layer}, not {node.layer}" if around == "sigma'" else f"{moved}, not {node}"
                yield f"take {taken}", moved
        if node.name in ("z", "a"):
            other = replace(node, name="a" if node.name == "z" else "z")
            yield f"take {other}, not {node}", other
        if len(node.part) == 2:
            yield f"swap the indices of {node}", replace(node, part=node.part[::-1])
    elif isinstance(node, Call):
        other_name = "sigma" if node.name == "sigma'" else "sigma'"
        yield f"take {other_name}, not {node.name}, of {node.of}", Call(other_name, node.of)
    elif isinstance(node, Pair):
        yield from _paired(node)


def _paired(node: Pair) -> Iterator[Edit]:
    if node.kind == "product" and node.left != Number(-1.0):
        yield f"multiply {node.left} and {node.right} elementwise", Pair("elementwise", node.left, node.right)
    elif node.kind == "elementwise":
        yield f"multiply {node.left} and {node.right} as matrices", Pair("product", node.left, node.right)
    if node.kind in ("product", "elementwise"):
        for kept, gone in ((node.left, node.right), (node.right, node.left)):
            if isinstance(gone, Call) and gone.name == "sigma'":
                yield f"leave out {gone}", kept
    elif node.kind in ("plus", "minus"):
        kind = "minus" if node.kind == "plus" else "plus"
        yield f"change the sign of {node.right}", Pair(kind, node.left, node.right)
