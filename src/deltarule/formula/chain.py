"""The steps of the chain rule for one layer, each line differentiated by SymPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deltarule.document import ascii_math, literal
from deltarule.formula.symbols import (
    cost_of,
    function,
    lines_of,
    log_likelihood_of,
    sigma_of,
    softmax_of,
    symbol,
    sympy,
)
from deltarule.network import Network
from deltarule.records import Record

WIDEST = 2
"""Layers are drawn with at most so many neurons: the rule is the same, and the lines stay readable."""
DEEPEST = 2
"""So many layers above l are written out; above more, C stays an unnamed function of z^{l+1}."""

LONGEST = 86
"""Of a line, in signs."""


@dataclass(frozen=True)
class Step(Record):
    """One step of a derivation: words, and lines of mathematics with the same as LaTeX."""

    schema = "deltarule.derivation_step"

    title: str
    words: str
    lines: tuple[str, ...]
    latex: tuple[str, ...]


Derived = tuple[list[Step], list[Any], list[Any]]


class Chain:
    """The symbols of layers l..L, and C of them."""

    def __init__(self, net: Network, l: int) -> None:
        self.net, self.l = net, l
        self.names = {m: net.activations[m].name for m in range(l, net.L + 1)}
        self.n = {m: min(net.sizes[m], WIDEST) for m in range(l, net.L + 1)}
        self.written = net.L - l <= DEEPEST
        self.z = {m: [symbol(f"z^{m}_{k + 1}") for k in range(n)] for m, n in self.n.items()}
        self.y = [symbol(f"y_{j + 1}") for j in range(self.n[net.L])]
        self.w = {
            m: [[symbol(f"w^{m}_{{{j + 1}{k + 1}}}") for k in range(self.n[m - 1])] for j in range(self.n[m])]
            for m in range(l + 1, net.L + 1)
        }
        self.b = {m: [symbol(f"b^{m}_{j + 1}") for j in range(self.n[m])] for m in range(l + 1, net.L + 1)}
        self.slope = function("σ'")
        self.sigma = function("σ", lambda call, _: self.slope(call.args[0]))
        # Where C is not written out, its derivative by z^{l+1}_j is delta^{l+1}_j by name.
        self.delta = [symbol(f"δ^{l + 1}_{j + 1}") for j in range(self.n.get(l + 1, 0))]
        self.unnamed = function("C", lambda call, j: self.delta[j - 1])

    def sigma_at(self, m: int, z: Any, own: bool) -> Any:
        """sigma at layer m: by its own formula, or by name."""
        return sigma_of(self.names[m], z) if own else self.sigma(z)

    def ahead(self, m: int, z: list[Any], own: bool = False) -> list[Any]:
        """z^{m+1} of z^m."""
        a = [self.sigma_at(m, one, own) for one in z]
        return [
            sum(w * one for w, one in zip(row, a, strict=True)) + b
            for row, b in zip(self.w[m + 1], self.b[m + 1], strict=True)
        ]

    def cost(self, m: int, z: list[Any], own: bool = False) -> Any:
        """C of z^m, written out up to the cost, or unnamed."""
        if not self.written:
            return self.unnamed(*z)
        for i in range(m, self.net.L):
            z = self.ahead(i, z, own)
        top = self.net.L
        if (self.names[top], self.net.cost.name) == ("softmax", "log_likelihood"):
            return log_likelihood_of(z, self.y)
        a = softmax_of(z) if self.names[top] == "softmax" else [self.sigma_at(top, one, own) for one in z]
        return sum(cost_of(self.net.cost.name, one, y) for one, y in zip(a, self.y, strict=True))


def bp2(chain: Chain) -> Derived:
    """BP2 by the chain rule: the steps, SymPy's own derivative of each neuron, and ours."""
    sp, l, m = sympy(), chain.l, chain.l + 1
    here, above = chain.z[l], chain.z[m]
    ahead = chain.ahead(l, here)
    composed = chain.cost(m, ahead)
    direct = [sp.diff(composed, z) for z in here]
    of_above = chain.cost(m, above)
    back = dict(zip(above, ahead, strict=True))
    deltas = [sp.diff(of_above, z) for z in above]
    ours = [
        sum(chain.w[m][j][k] * delta.subs(back) for j, delta in enumerate(deltas)) * chain.slope(z)
        for k, z in enumerate(here)
    ]
    named = [
        sum(chain.w[m][j][k] * chain.delta[j] for j in range(len(above))) * chain.slope(z) for k, z in enumerate(here)
    ]
    a = [symbol(f"a^{l}_{k + 1}") for k in range(len(here))]
    ahead_of_a = [sum(w * one for w, one in zip(row, a, strict=True)) + b
                  for row, b in zip(chain.w[m], chain.b[m], strict=True)]  # fmt: skip
    shrunk = ", ".join(f"{n} at layer {i}" for i, n in chain.n.items())
    what = (
        f"The layers are drawn with few neurons ({shrunk}) so that it can be read. "
        + ("" if chain.written else f"$C$ stays a function without a name of $z^{m}$, whatever the layers above do. ")
        + f"$σ$ is {literal(chain.names[l])} at layer {l}, but any will do."
    )
    terms = " + ".join(f"∂C/∂z^{m}_{j + 1} · ∂z^{m}_{j + 1}/∂a^{l}_1 · ∂a^{l}_1/∂z^{l}_1" for j in range(len(above)))
    factors = [*((f"δ^{m}_{j + 1} = ∂C/∂z^{m}_{j + 1}", delta) for j, delta in enumerate(deltas)),
               *((f"∂z^{m}_{j + 1}/∂a^{l}_1", sp.diff(one, a[0])) for j, one in enumerate(ahead_of_a)),
               (f"∂a^{l}_1/∂z^{l}_1", sp.diff(chain.sigma(here[0]), here[0]))]  # fmt: skip
    start = [(str(z), one) for z, one in zip(above, ahead, strict=True)] + [("C", of_above)]
    rows = [[str(chain.w[m][j][k]) for j in range(len(above))] for k in range(len(here))]
    steps = [
        _step("How C depends on layer " + str(l), what, *start),
        Step("The chain rule", f"$z^{l}_1$ reaches $C$ by every $z^{m}_j$; each way is a product, and the ways add:",
             *_broken(f"∂C/∂z^{l}_1 = {terms}")),
        _step("Its factors, as SymPy differentiates them", "One by one:", *factors),
        _step("Put in", "For each neuron of the layer:", *((f"δ^{l}_{k + 1}", one) for k, one in enumerate(named))),
        Step("As matrices", f"Within each line above the first index of $w$ runs and the second stays: that is "
             f"column $k$ of $W^{m}$, which is row $k$ of its transpose.", *_matrices(l, rows)),
    ]  # fmt: skip
    if chain.net.L - l == 1 or not chain.written:
        short = {one: z for z, one in back.items()}
        shown = [(f"∂C/∂{z}", one.subs(short)) for z, one in zip(here, direct, strict=True)]
        whole = _step("What SymPy gets on its own", "The whole of $C$, differentiated at once:", *shown)
        steps += [whole] if whole.lines else []
    return steps, direct, ours


def bp1(chain: Chain) -> Derived:
    """BP1 by the chain rule, as :func:`bp2`."""
    sp, l = sympy(), chain.l
    z, y = chain.z[l], chain.y
    C = chain.cost(l, z)
    direct = [sp.diff(C, one) for one in z]
    a = [symbol(f"a^{l}_{k + 1}") for k in range(len(z))]
    grads = [sp.diff(cost_of(chain.net.cost.name, one, target), one) for one, target in zip(a, y, strict=True)]
    shown = [(f"∂C/∂a^{l}_{k + 1}", grad) for k, grad in enumerate(grads)]
    if chain.names[l] == "softmax":
        outputs = softmax_of(z)
        jacobian = [[sp.simplify(sp.diff(one, by)) for one in outputs] for by in z]
        own = [[a[j] * (int(j == k) - a[k]) for j in range(len(z))] for k in range(len(z))]
        values = dict(zip(a, outputs, strict=True))
        fits = all(
            sp.simplify(one - other.subs(values)) == 0
            for row, mine in zip(jacobian, own, strict=True)
            for one, other in zip(row, mine, strict=True)
        )
        ours = [sum(g * d for g, d in zip(grads, row, strict=True)) for row in own]
        words = "Each output depends on every $z_k$" + (", as SymPy confirms:" if fits else ":")
        more = [(f"∂a_{j + 1}/∂z_{k + 1}", own[k][j]) for k in range(len(z)) for j in range(len(z))]
        final = [sp.factor(sp.expand(one)) for one in ours]
        ours = [one.subs(values) for one in ours]
    else:
        words = "Each output depends on its own $z_k$ alone:"
        more = [(f"∂a^{l}_{k + 1}/∂z^{l}_{k + 1}", chain.slope(one)) for k, one in enumerate(z)]
        values = {one: chain.sigma(of) for one, of in zip(a, z, strict=True)}
        ours = [grad.subs(values) * chain.slope(one) for grad, one in zip(grads, z, strict=True)]
        final = [grad * chain.slope(one) for grad, one in zip(grads, z, strict=True)]
        if (chain.names[l], chain.net.cost.name) == ("sigmoid", "cross_entropy"):
            final = [sp.simplify(grad * one * (1 - one)) for grad, one in zip(grads, a, strict=True)]
    steps = [
        _step(
            f"How C depends on layer {l}",
            f"The output layer is drawn with {len(z)} neurons at most.",
            ("C", sum(cost_of(chain.net.cost.name, one, target) for one, target in zip(a, y, strict=True))),
        ),
        _step("The cost's slope", "SymPy differentiates the cost by each output:", *shown),
        _step("The activation's slope", words, *more),
        _step("Put in", "The product, summed over the outputs that depend on $z_k$, where there are several:",
              *((f"δ^{l}_{k + 1}", one) for k, one in enumerate(final))),
    ]  # fmt: skip
    return steps, direct, ours


def _step(title: str, words: str, *equations: tuple[str, Any]) -> Step:
    """The equations that fit on the page; the words say where one does not."""
    lines: list[str] = []
    latex: list[str] = []
    left_out = False
    for left, expression in equations:
        source, set_ = lines_of(left, expression)
        if max(len(ascii_math(line)) for line in source) > LONGEST:
            left_out = True
            continue
        lines += source
        latex += set_
    return Step(title, words + " (What is too long to print is left out.)" * left_out, tuple(lines), tuple(latex))


def _broken(line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    first, *more = line.split(" + ")
    return (first, *(f"+ {one}" for one in more)), ()


def _matrices(l: int, rows: list[list[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The transpose written out, and BP2."""
    m = l + 1
    inside = "; ".join(", ".join(row) for row in rows)
    return (f"(W^{m})^T = [{inside}]", f"δ^{l} = (W^{m})^T δ^{m} ⊙ σ'(z^{l})"), ()
