"""The judge: each member of a chain against the measured truth, shapes first, then the number."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule import inputs
from deltarule.activations import ACTIVATIONS
from deltarule.costs import COSTS
from deltarule.errors import BadInput
from deltarule.formula import grammar, mend
from deltarule.formula.tree import Node, Partial, Sum, Symbol, walk
from deltarule.formula.values import Measured, Misfit, NoSuchIndex, ranges, value
from deltarule.formula.verdict import Verdict
from deltarule.network import Network

Array = npt.NDArray[Any]

HOLDS = 1e-10
SAMPLES = 3
PLACES = 200
"""How many components of a matrix are compared; drawn, where there are more."""

UNEQUAL, EQUAL = (5, 4, 6, 3, 2), (4, 4, 4, 4, 4)


def drawn(sizes: tuple[int, ...], hidden: str, seed: int) -> Measured:
    """A random network and sample."""
    rng = np.random.default_rng(seed)
    none, layers = np.empty(0), range(1, len(sizes))
    W = [none, *(rng.standard_normal((sizes[l], sizes[l - 1])) for l in layers)]
    b = [none, *(rng.standard_normal(sizes[l]) for l in layers)]
    activations = [ACTIVATIONS[hidden]] * (len(sizes) - 1) + [ACTIVATIONS["sigmoid"]]
    x, y = rng.standard_normal((1, sizes[0])), rng.uniform(size=(1, sizes[-1]))
    return Measured.on(W, b, activations, COSTS["quadratic"], x, y)


@cache
def networks() -> tuple[tuple[Measured, ...], tuple[Measured, ...]]:
    """Those that a formula is judged on, of unequal widths and of equal width."""
    unequal = tuple(drawn(UNEQUAL, hidden, seed) for seed, hidden in enumerate(("sigmoid", "tanh")))
    return unequal, tuple(drawn(EQUAL, hidden, seed) for seed, hidden in enumerate(("sigmoid", "tanh"), 2))


def of_user(net: Network, x: Any, y: Any) -> tuple[Measured, ...]:
    """The user's network in float64 on the first few of the samples, or on drawn ones."""
    if (x is None) != (y is None):
        raise BadInput("x and y go together; give both or neither")
    rng = np.random.default_rng(0)
    if x is None:
        x = rng.standard_normal((SAMPLES, net.sizes[0]))
        y = np.eye(net.sizes[-1])[rng.integers(net.sizes[-1], size=SAMPLES)]  # every cost takes one-hot targets
    rows = inputs.samples(net, x)
    values = inputs.coded(inputs.targets(net, y, len(rows)), net)
    none = np.empty(0)
    W, b = [none, *(W.astype(float) for W in net.W)], [none, *(b.astype(float) for b in net.b)]
    sigma = [net.output, *net.activations]  # entry 0 is not used
    pairs = list(zip(rows.astype(float), values.astype(float), strict=True))[:SAMPLES]
    return tuple(Measured.on(W, b, sigma, net.cost, row[None], aim[None]) for row, aim in pairs)


def layers(members: list[Node], net: Measured) -> list[int]:
    """The hidden layers at which every index exists; the output where none does."""
    symbols = [one for member in members for one in walk(member) if isinstance(one, Symbol) and one.layer]
    floating = any(one.layer and one.layer.base == "l" for one in symbols)
    candidates = range(1, net.L + 1) if floating else [net.L]

    def exists(l: int) -> bool:
        try:
            for one in symbols:
                net.symbol(one.name, one.layer.at(l, net.L) if one.layer else 0)
        except NoSuchIndex:
            return False
        return True

    found = [l for l in candidates if exists(l)]
    return [l for l in found if l < net.L] or found


def error(truth: Node, member: Node, net: Measured, l: int) -> float:
    """The member's relative distance from the truth, |member - truth| / |truth|. Raises Misfit."""
    runs = ranges(truth, net, l)
    bound = {one.letter for one in walk(member) if isinstance(one, Sum)}
    for letter, n in ranges(member, net, l).items():
        if letter not in bound and runs.setdefault(letter, n) != n:
            raise Misfit(f"{letter} runs over {runs[letter]} neurons in {truth} and over {n} in {member}")
    off = size = 0.0
    total = math.prod(runs.values())
    places = range(total) if total <= PLACES else np.random.default_rng(0).integers(total, size=PLACES)
    for place in places:
        at = [int(i) for i in np.unravel_index(place, tuple(runs.values()))] if runs else []
        parts = dict(zip(runs, at, strict=True))
        true, came = value(truth, net, l, parts), value(member, net, l, parts)
        if true.shape != came.shape:
            shapes = [f"{one.shape[0]} x {one.shape[1]}" for one in (true, came)]
            raise Misfit(f"{truth} is {shapes[0]}, and {member} is {shapes[1]}")
        off += float(((came - true) ** 2).sum())
        size += float((true**2).sum())
    return float(np.sqrt(off / size)) if size > 0 else float("inf") if off > 0 else 0.0


def worst(truth: Node, member: Node, nets: tuple[Measured, ...]) -> float:
    """The largest error over networks and layers. Raises Misfit at the first shape that does not fit."""
    with np.errstate(all="ignore"):
        errors = [error(truth, member, net, l) for net in nets for l in layers([truth, member], net)]
    if not errors:
        raise BadInput(f"no layer of the network has all the indices of {truth} = {member}")
    return max(errors, key=lambda one: (not np.isfinite(one), one))


def check_formula(text: str, net: Network | None = None, x: Any = None, y: Any = None) -> Verdict:
    r"""Whether a formula of backpropagation is true, held against measured values.

    Parameters
    ----------
    text : str
        LaTeX or Python notation, one equation or a chain; per sample, in columns: W^l is (n_l, n_{l-1}).
    net : Network, optional
        Judge on this network; otherwise on drawn ones, of unequal widths and then of equal width.
    x, y : optional
        With `net`: the samples; otherwise drawn.

    Raises
    ------
    BadInput
        For text that cannot be read, or is too long or too deeply nested.

    Examples
    --------
    >>> check_formula(r"\delta^l = ((W^{l+1})^T \delta^{l+1}) \odot \sigma'(z^l)").holds
    True
    >>> print(check_formula(r"\delta^l = W^{l+1} \delta^{l+1} \odot \sigma'(z^l)").reason)
    the product W^{l+1} delta^{l+1} does not fit: 6 x 4 times 6 x 1; at equal widths it is off by ...;
    to mend it: transpose W^{l+1}
    """
    members = grammar.read(text)
    if net is None and (x is not None or y is not None):
        raise BadInput("x and y belong to a network; give net too")
    first, second = networks() if net is None else (of_user(net, x, y), ())
    plain = [one for one in members if isinstance(one, (Symbol, Partial))]
    truth = plain[0] if plain else members[0]
    faults, largest, computed = [], 0.0, True
    for member in members:
        if member is truth:
            continue
        fault, off = _judged(truth, member, first, second)
        computed = computed and off is not None
        largest = max(largest, off or 0.0)
        if fault:
            faults.append(f"{truth} = {member}: {fault}" if len(members) > 2 else fault)
    where = "the network given" if net is not None else "random networks of unequal and of equal width"
    reason = "; and ".join(faults) or f"holds on {where}, to a relative error of {largest:.0e}"
    return Verdict(text, not faults, largest if computed and math.isfinite(largest) else None, reason)


def _judged(
    truth: Node, member: Node, first: tuple[Measured, ...], second: tuple[Measured, ...]
) -> tuple[str, float | None]:
    """What is wrong with one member, or nothing, and its error."""
    said, off = [], None
    try:
        off = worst(truth, member, first)
        if off > HOLDS:
            said.append(f"the shapes fit, but it is off by {off:.2g} (relative)")
    except Misfit as misfit:
        said.append(str(misfit))
    if second:
        try:
            equal = worst(truth, member, second)
            if off is None:
                said.append(f"at equal widths it is off by {equal:.2g} (relative)")
                off = equal
            elif off <= HOLDS < equal:
                said.append(f"at equal widths it is off by {equal:.2g} (relative)")
            off = max(off, equal)
        except Misfit:
            said.append("nor does it at equal widths")
    if not said:
        return "", off
    edits = mend.smallest(truth, member, lambda other: holds(truth, other, first))
    said.append(f"to mend it: {'; '.join(edits)}" if edits else "no one or two edits mend it")
    return "; ".join(said), off


def holds(truth: Node, member: Node, nets: tuple[Measured, ...]) -> bool:
    """Whether the member is the truth; one layer is tried first, since most candidates fail there."""
    try:
        with np.errstate(all="ignore"):
            for net in nets:
                for l in layers([truth, member], net) or [0]:
                    if l == 0 or not error(truth, member, net, l) <= HOLDS:
                        return False
    except (Misfit, NoSuchIndex, np.linalg.LinAlgError):
        return False
    return True
