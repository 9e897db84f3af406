"""The words of an explanation: BP2 for one layer, step by step, every number one of this network's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule.check import ROUNDING, TOLERANCE
from deltarule.document import Document, Formula, Section, Table, literal, shortened
from deltarule.flow import length
from deltarule.numerals import column, number
from deltarule.verdicts import SATURATED

if TYPE_CHECKING:
    from deltarule.explain import Explanation

Array = npt.NDArray[Any]

STEP = 0.01
"""How far z^l is moved against each candidate for delta^l, to see which of them lowers the cost."""

SHOWN = 4
"""How many wires a table shows; the rest are summed in one line."""
SAME = 1.0
"""Directions closer than this many degrees are said to be the same."""


def walk(e: Explanation) -> Document:
    """The whole text; which sections there are depends on whether the layer is hidden."""
    what = "BP2" if e.layer < e.last else "BP1"
    title = f"Where the error of neuron {e.neuron} in layer {e.layer} comes from ({what}), in real numbers"
    if e.layer < e.last:
        parts = [_question(e), _forward(e), _backward(e), _through_sigma(e), _nudge(e), _inverse(e)]
    else:
        parts = [_question(e), _softmax(e) if e.activation == "softmax" else _output(e), _nudge(e)]
    sections = tuple(Section(f"{i}. {part.title}", part.parts) for i, part in enumerate(parts, 1))
    return Document(title, sections)


def _question(e: Explanation) -> Section:
    l, k = e.layer, e.neuron
    return Section(
        "The question",
        (
            f"{shortened(e.network)}. Sample {e.sample}; its cost is $C = {number(e.cost)}$. Here $k = {k}$.",
            f"$δ^{l}_k = ∂C/∂z^{l}_k$ asks: if $z^{l}_k$ were a little larger, how much more would this sample "
            f"cost, for each unit? It is a price: so much cost for a unit of $z^{l}_k$. Backpropagation says "
            f"$δ^{l}_k = {number(e.delta[k], 7)}$. Follow how it comes to that.",
        ),
    )


def _forward(e: Explanation) -> Section:
    l, m, k = e.layer, e.layer + 1, e.neuron
    a = float(e.a[k])
    terms = e.weights.astype(np.float64) * a
    shown, rest = _largest(_bill(e))
    w_text, arrives = column(e.weights), column(terms)
    rows = [(_name(e, j), w_text(e.weights[j]), number(a), arrives(terms[j])) for j in shown]
    return Section(
        f"Forward: what neuron {k} sends, and over which wires",
        (
            f"It sends $a^{l}_k = σ(z^{l}_k) = {number(a)}$ to every neuron $j$ of layer {m}, over a wire of weight "
            f"$w_jk$ each. There $w_jk a^{l}_k$ arrives, as one part of $z^{m}_j$"
            + (f" ({_wires(len(rest))} more not shown):" if rest else ":"),
            Table(("to $j$", "$w_jk$", f"$a^{l}_k$", f"arrives: $w_jk a^{l}_k$"), tuple(rows)),
            f"So one unit more of $a^{l}_k$ puts $w_jk$ units more into $z^{m}_j$. Quantities go forward.",
        ),
    )


def _backward(e: Explanation) -> Section:
    l, m, k = e.layer, e.layer + 1, e.neuron
    terms = _bill(e)
    shown, rest = _largest(terms)
    moved = float(e.moved[k])
    w_text, d_text, t_text = column(e.weights), column(e.delta_next), column([*terms, moved])
    rows = [(_name(e, j), w_text(e.weights[j]), d_text(e.delta_next[j]), t_text(terms[j])) for j in shown]
    if rest:
        rows.append((f"{_wires(len(rest))} more", "", "", t_text(terms[rest].sum())))
    rows.append((f"sum: $∂C/∂a^{l}_k$", "", "", t_text(moved)))
    n_out, n_in = e.shape
    return Section(
        "Backward: the same wires, read from the other end",
        (
            f"A unit of $z^{m}_j$ costs $δ^{m}_j$; that is known, for the layer above comes first. One unit more of "
            f"$a^{l}_k$ buys $w_jk$ units of it. So the wire to $j$ brings back $w_jk δ^{m}_j$, and the bill of "
            f"neuron {k} is the sum over the wires that leave it:",
            Table(("from $j$", "$w_jk$", f"$δ^{m}_j$", f"brings back: $w_jk δ^{m}_j$"), tuple(rows), summed=True),
            f"Why the transpose? $W^{m}$ is {n_out} x {n_in}. Forward, neuron $j$ adds up what arrives: row $j$ of "
            f"$W^{m}$. Backward, neuron $k$ adds up what it sent: column $k$ of $W^{m}$, which is row $k$ of "
            f"$(W^{m})^T$. Nothing is undone: the same weights are summed over the other index.",
            Formula(
                (
                    f"z^{m}_j = Σ_k w_jk a^{l}_k + b^{m}_j",
                    f"∂C/∂a^{l}_k = Σ_j w_jk δ^{m}_j",
                    f"∂C/∂a^{l} = (W^{m})^T δ^{m}",
                )
            ),
        ),
    )


def _through_sigma(e: Explanation) -> Section:
    l, k = e.layer, e.neuron
    moved, slope, delta = (float(values[k]) for values in (e.moved, e.slope, e.delta))
    z = float(e.z[k])
    return Section(
        "Through the activation",
        (
            f"$a^{l}_k$ is {literal(e.activation)} of $z^{l}_k = {number(z)}$; a unit of $z^{l}_k$ makes "
            f"$σ'(z^{l}_k) = {number(slope)}$ units of $a^{l}_k$, at the price just found:",
            Formula(
                (
                    f"δ^{l}_k = ∂C/∂a^{l}_k · σ'(z^{l}_k)",
                    f"= {number(moved, 7)} · {number(slope, 7)}",
                    f"= {number(delta, 7)}",
                )
            ),
            *_state(e),
        ),
    )


def _state(e: Explanation) -> tuple[str, ...]:
    """What is special about this neuron's slope, if anything is."""
    l, k = e.layer, e.neuron
    slope, z = float(e.slope[k]), float(e.z[k])
    said = []
    if slope == 0:
        said.append(
            f"The slope is 0: for this sample the neuron is dead. Whatever the wires bring back, none of it passes, "
            f"and no weight below learns from it by way of neuron {k}."
        )
    elif e.peak is not None and slope < SATURATED * e.peak:
        said.append(
            f"The neuron is saturated: its slope is {100 * slope / e.peak:.2g} % of the steepest, {e.peak:g}, and "
            f"the error shrinks as much on its way."
        )
    if e.kink and abs(z) < 0.1:
        said.append(f"$z^{l}_k$ lies {number(abs(z), 3)} from the kink at 0: a larger nudge goes across it.")
    return tuple(said)


def _nudge(e: Explanation) -> Section:
    l, k = e.layer, e.neuron
    delta, measured = float(e.delta[k]), float(e.measured[k])
    rows = []
    for nudge in e.nudges:
        beside = "crosses a kink" if nudge.crosses else _apart(nudge.slope, delta)
        rows.append((f"{nudge.h:g}", number(nudge.change), number(nudge.slope, 7), beside))
    allowed = 10 * float(e.spread[k]) + ROUNDING * float(np.finfo(e.delta.dtype).eps * np.abs(e.measured).max())
    allowed += TOLERANCE[str(e.delta.dtype)] * abs(measured)
    if e.kinked[k]:
        end = f"A kink lies too close to measure; backpropagation takes the slope on one side: ${number(delta, 7)}$."
    else:
        rows.append(("to 0", "", number(measured, 7), _apart(measured, delta)))
        end = f"Measured ${number(measured, 7)}$, computed $δ^{l}_k = {number(delta, 7)}$: "
        end += f"{_agreement(measured, delta, allowed)}."
    n = len(e.delta)
    others = ""
    size = length(e.measured[None])
    if n > 1 and size > 0:
        off = length((e.delta - e.measured)[None]) / size
        others = f" Over all {n} neurons of the layer the two differ by {off:.1e} of their length."
        if e.kinked.any():
            others += f" ({e.kinked.sum()} too close to a kink to be measured, not counted.)"
    return Section(
        "The proof: nudge it and look",
        (
            f"Set $z^{l}_k$ a little higher and a little lower, by $h$, run the rest of the network again, and look "
            f"at the cost. Nothing of the backward pass is used:",
            Table(
                ("$h$", "$C(z_k + h) - C(z_k - h)$", "the same / $2h$", f"apart from $δ^{l}_k$"),
                tuple(rows),
            ),
            end + others,
        ),
    )


def _inverse(e: Explanation) -> Section:
    l, m, k = e.layer, e.layer + 1, e.neuron
    n_out, n_in = e.shape
    inverse = e.candidates[1]
    sign = f"(W^{m})^{{-1}}" if inverse.name == "inverse" else f"(W^{m})^+"
    if inverse.name == "inverse":
        has = f"$W^{m}$ is square, {n_out} x {n_out}, and has an inverse, so it can be tried."
    elif n_out != n_in:
        has = (
            f"$W^{m}$ is {n_out} x {n_in}: only a square matrix has an inverse, so the formula has no meaning here. "
            f"The nearest thing is the pseudo-inverse ${sign}$."
        )
    else:
        has = f"$W^{m}$ is square, but singular: it has no inverse. The nearest thing is the pseudo-inverse ${sign}$."
    whole = length((e.returned - e.delta_next)[None]) <= 1e-3 * length(e.delta_next[None])
    back = f"$δ^{m}$ comes out again" if whole else f"as much of $δ^{m}$ comes out again as $W^{m}$ can make"
    order = np.argsort(-np.abs(e.delta_next), kind="stable")[: SHOWN - 1]
    d_text = column(np.concatenate([e.delta_next, e.returned]))
    answer = [(_name(e, int(j)), d_text(e.delta_next[j]), d_text(e.returned[j])) for j in order]
    formulas = {
        "transpose": f"$(W^{m})^T δ^{m} ⊙ σ'(z^{l})$",
        "untransposed": f"$W^{m} δ^{m} ⊙ σ'(z^{l})$",
        inverse.name: f"${sign} δ^{m} ⊙ σ'(z^{l})$",
    }
    v_text = column([one.values[k] for one in e.candidates])
    c_text = column([one.change for one in e.candidates])
    rows = [
        (formulas[one.name], v_text(one.values[k]), "-" if one.angle is None else f"{one.angle:.2f}",
         c_text(one.change))
        for one in e.candidates
    ]  # fmt: skip
    return Section(
        "Why not the inverse?",
        (
            f"{has} It answers another question: which change of $a^{l}$ would move $z^{m}$ by $δ^{m}$? Send its "
            f"answer ${sign} δ^{m}$ forward through $W^{m}$, and {back}:",
            Table(("$j$", f"$δ^{m}_j$", f"$(W^{m} {sign} δ^{m})_j$"), tuple(answer)),
            f"A right answer to that, but nobody asked to move $z^{m}$ by $δ^{m}$. $δ^{m}_j$ is a price, cost for "
            f"a unit of $z^{m}_j$, not a distance to go. A wire of small weight makes the inverse demand a large "
            f"change; it carries little blame. Held against the measured $∂C/∂z^{l}$ of {_neurons(n_in)}:",
            Table(
                (f"$δ^{l}$ by", f"at $k = {k}$", "degrees off", "effect on $C$"),
                tuple(rows),
            ),
            f"The last column is the cost's change when $z^{l}$ goes a step of {STEP:g} against that direction. "
            + _judged(e),
        ),
    )


def _judged(e: Explanation) -> str:
    """What the other directions did, in words that their numbers allow."""
    right, inverse, *more = e.candidates
    if inverse.angle is None or right.angle is None:
        return f"Here $δ^{e.layer}$ is 0 throughout, so there is nothing to compare."
    name = inverse.name
    share = inverse.change / right.change if right.change else math.nan
    if inverse.angle < SAME:
        ratio = length(np.array([inverse.values])) / length(np.array([right.values]))
        said = (
            f"Here the {name} happens to point the same way, as it does where a layer has one neuron or $W$ is "
            f"orthogonal; it is {ratio:.3g} times as long. In general not even the direction is right."
        )
    elif inverse.change > 0:
        said = f"The {name} points so far away that following it makes the cost larger."
    elif 0 <= share < 1:
        percent = f"{100 * share:.0f} %" if share > 0.01 else "less than 1 %"
        said = f"Along the {name} the same step lowers the cost by {percent} as much."
    else:
        said = f"The {name} is {inverse.angle:.0f} degrees off: it is not the derivative."
    if more:
        said += (
            f" Without the transpose, which only equal widths allow, row $k$ is summed in place of column $k$: the "
            f"wires that arrive at neuron {e.neuron} of layer {e.layer + 1}, not those that left neuron {e.neuron} "
            f"of layer {e.layer}."
        )
    return said


def _output(e: Explanation) -> Section:
    l, k = e.layer, e.neuron
    a, y, slope, delta = float(e.a[k]), float(e.y[k]), float(e.slope[k]), float(e.delta[k])
    name, cost = literal(e.activation), e.cost_name.replace("_", "-")
    given = (
        f"At the output no wire stands between $a^{l}_k$ and the cost ({cost}): BP1 needs no transpose. Output "
        f"{_name(e, k)} gave $a^{l}_k = {number(a)}$ ({name} of $z^{l}_k = {number(float(e.z[k]))}$); its target is "
        f"$y_k = {number(y)}$."
    )
    if (e.output, e.cost_name) == ("sigmoid", "cross_entropy"):
        return Section(
            "From the cost to the output",
            (
                f"{given} The cost's slope has $σ'(z^{l}_k) = a_k (1 - a_k)$ below the line, and the activation "
                f"multiplies by it: the two cancel, and what is left cannot vanish by saturation:",
                Formula(
                    (
                        f"δ^{l}_k = ∂C/∂a_k · σ'(z^{l}_k)",
                        "= (a_k - y_k)/(a_k (1 - a_k)) · a_k (1 - a_k)",
                        f"= a_k - y_k = {number(a, 7)} - {number(y)} = {number(delta, 7)}",
                    )
                ),
            ),
        )
    return Section(
        "From the cost to the output",
        (
            f"{given} The cost's slope there, times that of the activation:",
            Formula(
                (
                    f"δ^{l}_k = ∂C/∂a_k · σ'(z^{l}_k)",
                    f"= {number(float(e.moved[k]), 7)} · {number(slope, 7)}",
                    f"= {number(delta, 7)}",
                )
            ),
            *_state(e),
        ),
    )


def _softmax(e: Explanation) -> Section:
    """BP1 where every output depends on every z: the sum runs over all of them."""
    l, k = e.layer, e.neuron
    a, y, delta = e.a.astype(np.float64), e.y.astype(np.float64), float(e.delta[k])
    joined = e.cost_name == "log_likelihood"
    own = np.arange(len(a)) == k
    jacobian = a * (own - a[k])
    # With the logarithm's cost 1/a_j cancels against a_j: no division by an output that is nearly 0.
    terms = -y * (own - a[k]) if joined else e.moved.astype(np.float64) * jacobian
    shown, rest = _largest(terms)
    text, j_text = column([*terms, delta]), column(jacobian)
    rows = [
        (_name(e, j), number(float(a[j])), number(float(y[j])), j_text(jacobian[j]), text(terms[j])) for j in shown
    ]
    if rest:
        rows.append((f"{len(rest)} more", "", "", "", text(terms[rest].sum())))
    rows.append((f"sum: $δ^{l}_k$", "", "", "", text(delta)))
    end = (
        f"With the log-likelihood $∂C/∂a_j = -y_j/a_j$, and $a_j$ cancels. The terms add up to $a_k Σ_j y_j - y_k$, "
        f"and the targets to {number(float(y.sum()))}: $δ^{l}_k = a_k - y_k = "
        f"{number(float(a[k]), 7)} - {number(float(y[k]))}$"
        if joined and math.isclose(float(y.sum()), 1, rel_tol=1e-5)
        else f"The terms add up to $δ^{l}_k = {number(delta, 7)}$"
    )
    return Section(
        "From the cost to the output",
        (
            f"Softmax couples its neurons: $z^{l}_k$ moves every output $a_j$, by $a_j (1 - a_k)$ for $j = k$ and by "
            f"$-a_j a_k$ elsewhere. So BP1 is a sum, over the column that leaves $k$ again:",
            Table(("output $j$", "$a_j$", "$y_j$", "$∂a_j/∂z_k$", "$∂C/∂a_j · ∂a_j/∂z_k$"), tuple(rows), summed=True),
            f"{end}.",
        ),
    )


def _bill(e: Explanation) -> Array:
    """w_jk delta^{l+1}_j for every j."""
    return np.asarray(e.weights.astype(np.float64) * e.delta_next)


def _largest(terms: Array) -> tuple[list[int], list[int]]:
    """The places of the few largest terms, largest first, and of the rest; a rest of one is shown too."""
    order = [int(j) for j in np.argsort(-np.abs(terms), kind="stable")]
    count = SHOWN if len(order) > SHOWN + 1 else len(order)
    return order[:count], order[count:]


def _name(e: Explanation, j: int) -> str:
    """Neuron j, with its class where it is an output of a network that knows words for them."""
    top = e.layer + 1 >= e.last
    return f"{j} ({literal(e.classes[j])})" if top and e.classes else str(j)


def _wires(n: int) -> str:
    return f"{n} wire{'s' if n > 1 else ''}"


def _neurons(n: int) -> str:
    return f"all {n} neurons" if n > 1 else "the one neuron"


def _apart(one: float, other: float) -> str:
    """How far one is from the other, relative to the other."""
    if one == other:
        return "0"
    return f"{abs(one - other) / abs(other):.1e}" if other else "-"


def _agreement(measured: float, delta: float, allowed: float) -> str:
    off = abs(measured - delta)
    if off == 0:
        return "the same"
    if off > allowed:
        return f"they do NOT agree, they are {off:.1e} apart"
    digits = int(-math.log10(max(off / abs(delta), 1e-16))) if delta else 0
    if digits < 2:
        return f"the same, as far as it can be measured (to {allowed:.0e})"
    return f"they agree to {digits} digits"
