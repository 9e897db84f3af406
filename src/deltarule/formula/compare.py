"""One expression held against another on networks: shapes first, then the number."""

from __future__ import annotations

import numpy as np

from deltarule.errors import BadInput
from deltarule.formula.layering import symbols
from deltarule.formula.tree import Node, Sum, walk
from deltarule.formula.values import Measured, Misfit, NoSuchIndex, places, ranges, value
from deltarule.formula.worlds import Nets

HOLDS = 1e-10


def layers(members: list[Node], net: Measured) -> list[int]:
    """The hidden layers at which every index exists; the output where none does."""
    found = [one for member in members for one in symbols(member) if one.layer]
    floating = any(one.layer and one.layer.base == "l" for one in found)
    candidates = range(1, net.L + 1) if floating else [net.L]

    def exists(l: int) -> bool:
        try:
            for one in found:
                net.symbol(one.name, one.layer.at(l, net.L) if one.layer else 0)
        except NoSuchIndex:
            return False
        return True

    there = [l for l in candidates if exists(l)]
    return [l for l in there if l < net.L] or there


def error(truth: Node, member: Node, net: Measured, l: int) -> float:
    """The member's relative distance from the truth, |member - truth| / |truth|. Raises Misfit."""
    runs = ranges(truth, net, l)
    bound = {one.letter for side in (truth, member) for one in walk(side) if isinstance(one, Sum)}
    for letter, n in ranges(member, net, l).items():
        if runs.setdefault(letter, n) != n and letter not in bound:
            raise Misfit(f"{letter} runs over {runs[letter]} neurons in {truth} and over {n} in {member}")
    parts = places(runs, bound)
    true, came = value(truth, net, l, parts), value(member, net, l, parts)
    if true.shape[-2:] != came.shape[-2:]:
        shapes = [f"{one.shape[-2]} x {one.shape[-1]}" for one in (true, came)]
        raise Misfit(f"{truth} is {shapes[0]}, and {member} is {shapes[1]}")
    off, size = float(((came - true) ** 2).sum()), float((np.broadcast_to(true, (came - true).shape) ** 2).sum())
    return float(np.sqrt(off / size)) if size > 0 else float("inf") if off > 0 else 0.0


def worst(truth: Node, member: Node, nets: Nets) -> float:
    """The largest error over networks and layers. Raises Misfit at the first shape that does not fit."""
    with np.errstate(all="ignore"):
        errors = [error(truth, member, net, l) for net in nets for l in layers([truth, member], net)]
    if not errors:
        raise BadInput(f"no layer of the network has all the indices of {truth} = {member}")
    return max(errors, key=lambda one: (not np.isfinite(one), one))


def holds(truth: Node, member: Node, nets: Nets) -> bool:
    """Whether the member is the truth; most that are not fail on the first network and layer."""
    try:
        with np.errstate(all="ignore"):
            for net in nets:
                there = layers([truth, member], net)
                if not there or not all(error(truth, member, net, l) <= HOLDS for l in there):
                    return False
    except (Misfit, NoSuchIndex, BadInput):
        return False
    return True
