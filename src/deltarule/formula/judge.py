"""The judge: each member of a chain against the measured truth, shapes first, then the number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from deltarule.errors import BadInput
from deltarule.formula import equations, mend, worlds
from deltarule.formula.compare import HOLDS, holds, worst
from deltarule.formula.layering import symbols
from deltarule.formula.meaning import HIGHEST, Equation
from deltarule.formula.tree import IN_PYTHON, Call, Jacobian, Node, Pair, Partial, Symbol, walk
from deltarule.formula.values import Misfit
from deltarule.formula.verdict import Verdict
from deltarule.formula.worlds import Change, Nets
from deltarule.network import Network


def check_formula(text: str, net: Network | None = None, x: Any = None, y: Any = None) -> Verdict:
    r"""Whether a formula of backpropagation is true, held against measured values.

    Parameters
    ----------
    text : str
        LaTeX or Python notation; an equation, a chain, or several; per sample, in columns: W^l is (n_l, n_{l-1}).
        In Python notation * is NumPy's, and a formula that holds with samples as rows holds.
    net : Network, optional
        Judge on this network; otherwise on drawn ones, of unequal widths and then of equal width, with
        sigmoid and with tanh, behind the quadratic cost.
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
    >>> wrong = check_formula(r"\delta^l = (W^{l+1} \delta^{l+1}) \odot \sigma(z^l)")
    >>> print(wrong.reason)
    the product W^{l+1} delta^{l+1} does not fit: 6 x 4 times 6 x 1; at equal widths it is off by ...;
    to mend it: transpose W^{l+1}; take sigma', not sigma, of z^l
    >>> print(wrong.mended)
    delta^l = ((W^{l+1})^T delta^{l+1}) * sigma'(z^l)
    """
    chains = equations.read(text)
    if net is None and (x is not None or y is not None):
        raise BadInput("x and y belong to a network; give net too")
    given = worlds.of_user(net, x, y) if net is not None else None
    found = []
    for equation in chains:
        notation = IN_PYTHON.set(equation.python)
        try:
            found.append(_judged(equation, given, len(chains)))
        finally:
            IN_PYTHON.reset(notation)
    errors = [one.error for one in found]
    bad = [one for one in found if one.faults]
    if bad:
        reason = "; and ".join(
            f"{one.shown}: {fault}" if len(chains) > 1 and len(one.members) == 2 else fault
            for one in bad
            for fault in one.faults
        )
        shared = set.intersection(*({*one.where} for one in bad))
        where = tuple(one for one in bad[0].where if one in shared)
        if where:
            reason += f"; it does hold {_listed(where)}"
    else:
        where = ()
        on = "the network given" if net is not None else found[0].on
        reason = f"holds on {on}, to a relative error of {max(one or 0.0 for one in errors):.0e}"
    return Verdict(
        formula=text,
        holds=not bad,
        error=None if None in errors else _finite(max(one for one in errors if one is not None)),
        reason=reason,
        read_as="; ".join(one.read_as for one in found),
        mended="; ".join(one.mended or one.shown for one in found) if bad and all(one.mended for one in bad) else "",
        holds_where=where,
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _listed(phrases: tuple[str, ...]) -> str:
    return phrases[0] if len(phrases) == 1 else ", or ".join((", ".join(phrases[:-1]), phrases[-1]))


@dataclass
class Finding:
    """What was found about one equation."""

    members: tuple[str, ...]
    on: str
    notes: list[str]
    faults: list[str] = field(default_factory=list)
    error: float | None = 0.0
    mended: str = ""
    where: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return " = ".join(self.members)

    @property
    def read_as(self) -> str:
        return self.shown + (f" ({'; '.join(self.notes)})" if self.notes else "")


def _depth(equation: Equation, notes: list[str]) -> int:
    """How many layers the drawn networks need; a plain number beside y is the output layer."""
    found = [one for member in equation.members for one in symbols(member)]
    placed = [one.layer for one in found if one.layer]
    numbers = [layer.offset for layer in placed if not layer.base]
    if numbers and all(not layer.base for layer in placed) and any(one.name == "y" for one in found):
        notes.append(f"layer {max(numbers)} is the output layer")
        return max(1, max(numbers))
    reach = [abs(layer.offset) + 2 for layer in placed if layer.base]
    return min(max([worlds.LAYERS, *(n + 1 for n in numbers), *reach]), HIGHEST + 2)


def _readings(equation: Equation) -> list[tuple[str, Change]]:
    """The ways in which the signs and the layout can be meant, the likeliest first."""
    nodes = [node for member in equation.members for node in walk(member)]
    signs: list[tuple[str, Change]] = [("", worlds.same)]
    if any(isinstance(node, Pair) and node.kind == "tensor" for node in nodes):
        signs = [
            (r"\otimes is the elementwise product", worlds.tensor_as("elementwise")),
            (r"\otimes is the outer product u v^T", worlds.tensor_as("outer")),
        ]
    layouts: list[tuple[str, Change]] = [("", worlds.same)]
    derived = [node for node in nodes if isinstance(node, (Jacobian, Partial)) and not node.of.part]
    if len(derived) > 1 or any(isinstance(node, Jacobian) for node in derived):
        layouts += [
            ("da^l/dz^l is the column of its diagonal, sigma'(z^l)", worlds.slopes_as_columns),
            ("derivatives of C are rows: numerator layout", worlds.derivatives_as_rows),
            ("Jacobians are in denominator layout", worlds.jacobians_turned),
        ]
    if equation.python:
        layouts.append(("samples are rows, z = a W^T + b", worlds.in_rows))

    def joined(sign: tuple[str, Change], layout: tuple[str, Change]) -> tuple[str, Change]:
        said = "; ".join(one for one in (sign[0], layout[0]) if one)
        return said, lambda node: layout[1](sign[1](node))

    return [joined(*pair) for pair in product(signs, layouts)]


def _is_scalar(node: Node) -> bool:
    """Whether this is a derivative by a whole W, which is a number only where each layer has one neuron."""
    return isinstance(node, Jacobian) and node.of.name == "W" and not node.of.part


def _judged(equation: Equation, given: Nets | None, shares: int) -> Finding:
    members, notes = equation.members, list(equation.notes)
    depth = _depth(equation, notes)
    if given is None and any(_is_scalar(one) for member in members for one in walk(member)):
        notes.append("for one neuron in each layer")
        first, second = worlds.networks(depth, equation.named, narrow=True)
    elif given is None:
        first, second = worlds.networks(depth, equation.named)
    else:
        first, second = given, ()
    on = "random networks of unequal and of equal width"
    if equation.named:
        on += f" with {equation.named}"
    if any(isinstance(one, Symbol) and one.name == "y" for member in members for one in walk(member)):
        on += ", behind the log-likelihood" if equation.named == "softmax" else ", behind the quadratic cost"
    plain = [one for one in members if isinstance(one, (Symbol, Partial, Jacobian))]
    truth = plain[0] if plain else members[0]
    readings = _readings(equation)
    finding = Finding(tuple(str(one) for one in members), on, notes)
    mended: list[Node | None] = []
    for member in members:
        if member is truth:
            mended.append(truth)
            continue
        said, change = next((one for one in readings if holds(one[1](truth), one[1](member), (*first, *second))),
                            readings[0])  # fmt: skip
        if said and said not in notes:
            notes.append(said)
        fault, off = _compared(change(truth), change(member), first, second)
        finding.error = None if off is None or finding.error is None else max(finding.error, off)
        if not fault:
            mended.append(member)
            continue
        basic = readings[0][1](member)
        edits, better = mend.smallest(truth, basic, lambda one: holds(truth, one, (*first, *second)), shares)
        mended.append(better)
        fault += f"; to mend it: {'; '.join(edits)}" if edits else ""
        finding.faults.append(f"{truth} = {member}: {fault}" if len(members) > 2 else fault)
    if finding.faults and all(one is not None for one in mended):
        finding.mended = " = ".join(str(one) for one in mended)
    if finding.faults and given is None:
        finding.where = tuple(dict.fromkeys(_where(equation, truth, readings, first, second, depth)))
    if finding.faults and not finding.mended and not finding.where:
        finding.faults[-1] += f"; {_nearly(equation, truth, depth) or 'no one or two edits mend it'}"
    return finding


def _nearly(equation: Equation, truth: Node, depth: int) -> str:
    """The one edit after which a single equation holds for sigmoid layers or for tanh layers, or nothing."""
    others = [member for member in equation.members if member is not truth]
    for kind in ("sigmoid", "tanh") if len(others) == 1 and not equation.named else ():
        nets = worlds.special(depth, kind, kind, "quadratic")
        for phrase, better in mend.edits(others[0], truth):
            if better != truth and holds(truth, better, nets):
                return f"with {kind} layers this mends it: {phrase}"
    return ""


def _compared(truth: Node, member: Node, first: Nets, second: Nets) -> tuple[str, float | None]:
    """What is wrong with one member, or nothing, and its error."""
    said, off = [], None
    try:
        off = worst(truth, member, first)
        if not off <= HOLDS:
            said.append(f"the shapes fit, but it is off by {off:.2g} (relative)")
    except Misfit as misfit:
        said.append(str(misfit))
    if second:
        try:
            equal = worst(truth, member, second)
            if off is None:
                said.append(f"at equal widths it is off by {equal:.2g} (relative)")
                off = equal
            elif off <= HOLDS and not equal <= HOLDS:
                said.append(f"at equal widths it is off by {equal:.2g} (relative)")
            off = max(off, equal)
        except Misfit:
            said.append("nor does it at equal widths")
    return "; ".join(said), off


def _where(
    equation: Equation, truth: Node, readings: list[tuple[str, Change]], first: Nets, second: Nets, depth: int
) -> Iterator[str]:
    """Under which other conventions, and on which kinds of networks, every member holds."""
    others = [member for member in equation.members if member is not truth]
    at = equation.members.index(truth)

    in_columns = _readings(replace(equation, python=False))  # a convention says itself what is a row

    def all_hold(change: Change, ways: list[tuple[str, Change]], nets: Nets) -> bool:
        return all(any(holds(change(how(truth)), change(how(member)), nets) for _, how in ways) for member in others)

    for phrase, convention in worlds.CONVENTIONS:
        if all_hold(convention, in_columns, (*first, *second)):
            yield phrase
    if equation.turned:
        phrase, convention = worlds.WEIGHTS_TURNED
        true, *members = (convention(one) for one in (equation.turned[at], *equation.turned))
        if all(holds(true, member, (*first, *second)) for member in members):
            yield phrase
    if equation.named:
        return
    calls = any(isinstance(node, Call) for member in others for node in walk(member))
    for phrase, kinds in worlds.KINDS:
        if calls and any("identity" in kind for kind in kinds):
            continue  # where sigma' is 1, it may stand anywhere
        if all(all_hold(worlds.same, readings, worlds.special(depth, *kind)) for kind in kinds):
            yield f"with {phrase}"
            calls = calls or any("identity" in kind for kind in kinds)  # a linear output is said; all linear follows
