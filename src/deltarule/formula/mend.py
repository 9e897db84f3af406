"""The smallest edit that makes a member true: one, or two, of the mistakes that people make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

from deltarule.formula.tree import (
    Call,
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
    children,
    put,
    rebuilt,
    walk,
)

MOST_WORK = 15_000
"""How many parts of candidates are computed before the search gives up: it bounds the time of a verdict."""

Edit = tuple[str, Node]


def smallest(
    truth: Node, member: Node, holds: Callable[[Node], bool], shares: int = 1
) -> tuple[list[str], Node | None]:
    """The phrases of the first single edit, or else pair of edits, after which the member holds, and the result.

    `shares` is among how many the work that is allowed is shared. An edit that only repeats the truth is none.
    """
    most = max(40, MOST_WORK // shares // sum(1 for _ in walk(member)))
    once = list(edits(member, truth))[:most]
    for phrase, one in once:
        if one != truth and holds(one):
            return [phrase], one
    seen = {truth, *(one for _, one in once)}
    tried = len(once)
    for phrase, one in once:
        for second, two in edits(one, truth):
            if two in seen:
                continue
            seen.add(two)
            tried += 1
            if tried > most:
                return [], None
            if holds(two):
                return [phrase, second], two
    return [], None


def edits(member: Node, truth: Node) -> Iterator[Edit]:
    """Every single edit of a member, the likeliest mistakes first."""
    yield from _inside(member, "")
    symbol = truth.of if isinstance(truth, (Partial, Jacobian)) else truth
    if isinstance(symbol, Symbol) and symbol.layer is not None:
        yield from _missing(member, symbol)
    outer = {letter for one in walk(truth) if isinstance(one, Symbol) for letter in one.part}
    bound = {one.letter for one in walk(member) if isinstance(one, Sum)}
    for letter in sorted({letter for one in walk(member) if isinstance(one, Symbol) for letter in one.part}):
        if letter not in outer | bound:
            yield f"sum over {letter}", Sum(letter, member)
    for j, k in combinations(sorted(outer), 2):
        yield f"swap the letters {j} and {k}", _swapped(member, j, k)
    if isinstance(member, Pair) and member.kind == "product" and member.left == Number(-1.0):
        yield "change the sign", member.right
    else:
        yield "change the sign", Pair("product", Number(-1.0), member)
    if not outer:
        yield "transpose the whole", Mark("T", member)
    yield from _other_derivatives(member)


def _other_derivatives(node: Node) -> Iterator[Edit]:
    """The derivatives of C in a member, by another name or at another layer."""
    if isinstance(node, Partial) and node.of.layer is not None:
        others = [replace(node.of, name={"z": "a", "a": "z"}.get(node.of.name, node.of.name))]
        others += [replace(node.of, layer=Layer(node.of.layer.base, node.of.layer.offset + step)) for step in (-1, 1)]
        for other in others:
            if other != node.of:
                yield f"take {Partial(other)}, not {node}", Partial(other)
    for place, child in () if isinstance(node, (Partial, Jacobian)) else children(node):
        for phrase, better in _other_derivatives(child):
            yield phrase, put(node, place, better)


def _swapped(node: Node, j: str, k: str) -> Node:
    """The same expression with one component's letter for the other."""

    def swap(one: Node) -> Node:
        return replace(one, part=one.part.translate(str.maketrans(j + k, k + j))) if isinstance(one, Symbol) else one

    return rebuilt(node, swap)


def _missing(member: Node, truth: Symbol) -> Iterator[Edit]:
    """What is left out around the whole."""
    z = Symbol("z", truth.layer, truth.part)
    if len(truth.part) < 2:
        factor = Call("sigma'", z)
        yield f"multiply elementwise by {factor}", Pair("elementwise", member, factor)
    b = Symbol("b", truth.layer, truth.part)
    if truth.name == "z":
        yield f"add {b}", Pair("plus", member, b)
    if truth.name == "a":
        yield "take sigma of the whole", Call("sigma", member)
        if isinstance(member, Call) and member.name == "sigma":
            yield f"add {b}", Call("sigma", Pair("plus", member.of, b))


def _inside(node: Node, around: str) -> Iterator[Edit]:
    """The edits of this node itself, then those below it."""
    yield from _here(node, around)
    for place, child in () if isinstance(node, (Partial, Jacobian)) else children(node):
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
        if node.name == "delta" and node.layer is not None and not node.part:
            turned = Mark("T", Symbol("W", node.layer))
            yield f"multiply {node} by {turned} from the left", Pair("product", turned, node)
        if len(node.part) == 2:
            yield f"swap the indices of {node}", replace(node, part=node.part[::-1])
    elif isinstance(node, Call):
        other_name = "sigma" if node.name == "sigma'" else "sigma'"
        yield f"take {other_name}, not {node.name}, of {node.of}", Call(other_name, node.of)
    elif isinstance(node, Power):
        yield f"take {node.of} itself, not its power", node.of
    elif isinstance(node, Pair):
        yield from _paired(node)


def _paired(node: Pair) -> Iterator[Edit]:
    left, right = node.left, node.right
    for kept, gone in ((left, right), (right, left)):
        if isinstance(gone, Number) and (node.kind != "over" or gone is right) and gone != Number(-1.0):
            yield f"drop the {'divisor' if node.kind == 'over' else 'factor'} {gone}", kept
    if node.kind in ("elementwise", "star"):
        yield f"multiply {left} and {right} as matrices", Pair("product", left, right)
    elif node.kind == "product" and left != Number(-1.0):
        yield f"multiply {left} and {right} elementwise", Pair("elementwise", left, right)
        swapped = Pair("product", right, left)
        yield f"swap the factors: {swapped}", swapped
        if isinstance(right, Mark) and right.kind == "T":
            swapped = Pair("product", right.of, Mark("T", left))
            yield f"swap the factors: {swapped}", swapped
    if node.kind in ("product", "elementwise", "star"):
        for kept, gone in ((left, right), (right, left)):
            if isinstance(gone, Call) and gone.name == "sigma'":
                yield f"leave out {gone}", kept
    elif node.kind in ("plus", "minus"):
        kind = "minus" if node.kind == "plus" else "plus"
        yield f"change the sign of {right}", Pair(kind, left, right)
        if isinstance(right, Symbol) and right.name == "b":
            yield f"leave out {right}", left
