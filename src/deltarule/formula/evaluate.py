"""SymPy's derivative of C beside BP1 and BP2 in numbers, at random rational points, to 30 digits.

The one side differentiates C with every sigma and the cost in place; the other multiplies by transposed weights
and slopes. They share the formulas and nothing else.
"""

from __future__ import annotations

import random
from typing import Any

from deltarule.formula.chain import Chain
from deltarule.formula.symbols import cost_of, sigma_of, symbol, sympy

POINTS = 20
DECIMALS = 30
GUARD = 10
"""Digits carried beyond those, for what cancels on the way."""
ZERO = 1e-20
"""A derivative below this is 0, and only its rounding is left: it is compared as it stands."""

Number = Any
"""One of mpmath's numbers."""


def evaluated(chain: Chain) -> tuple[int, float]:
    """At how many points the two were held together, and their largest relative difference.

    No points where an activation has no formula (a pair of the user's own).
    """
    import mpmath

    z = symbol("z")
    named = {m: sigma_of(name, z) for m, name in chain.names.items() if name != "softmax"}
    if any(formula is None for formula in named.values()):
        return 0, 0.0
    sp, l = sympy(), chain.l
    last = chain.net.L if chain.written else l + 1
    if chain.written:
        C = chain.cost(l, chain.z[l], own=True)
    else:  # C has no name above: a linear function of z^{l+1} has every derivative that it could have
        C = sum(delta * one for delta, one in zip(chain.delta, chain.ahead(l, chain.z[l], own=True), strict=True))
    letters = [*chain.z[l], *chain.y, *chain.delta]
    for m in range(l + 1, last + 1):
        letters += [*(w for row in chain.w[m] for w in row), *chain.b[m]]
    direct = sp.lambdify(letters, [sp.diff(C, one) for one in chain.z[l]], "mpmath", dummify=True)
    sigma = {m: sp.lambdify([z], formula, "mpmath") for m, formula in named.items()}
    slope = {m: sp.lambdify([z], sp.diff(formula, z), "mpmath") for m, formula in named.items()}
    rng, largest = random.Random(0), mpmath.mpf(0)
    with mpmath.workdps(DECIMALS + GUARD):
        for _ in range(POINTS):
            at = {one: mpmath.mpf(rng.choice([-1, 1]) * rng.randint(1, 40)) / 16 for one in letters}
            at.update({one: mpmath.mpf(rng.randint(1, 15)) / 16 for one in chain.y})
            theirs = direct(*(at[one] for one in letters))
            zs = _forward(chain, at, sigma, last)
            delta = _bp1(chain, at, sigma, slope, zs[last]) if chain.written else [at[one] for one in chain.delta]
            for m in range(last - 1, l - 1, -1):
                moved = [sum(at[row[k]] * one for row, one in zip(chain.w[m + 1], delta, strict=True))
                         for k in range(chain.n[m])]  # fmt: skip
                delta = [one * slope[m](of) for one, of in zip(moved, zs[m], strict=True)]  # BP2
            size = max(map(abs, theirs))
            off = max(abs(one - other) for one, other in zip(theirs, delta, strict=True))
            largest = max(largest, off / size if size > ZERO else off)
    return POINTS, float(largest)


def _forward(chain: Chain, at: Any, sigma: Any, last: int) -> dict[int, list[Number]]:
    """z of the layers l..last in numbers."""
    z = {chain.l: [at[one] for one in chain.z[chain.l]]}
    for m in range(chain.l, last):
        a = [sigma[m](one) for one in z[m]]
        z[m + 1] = [
            sum(at[w] * one for w, one in zip(row, a, strict=True)) + at[b]
            for row, b in zip(chain.w[m + 1], chain.b[m + 1], strict=True)
        ]
    return z


def _bp1(chain: Chain, at: Any, sigma: Any, slope: Any, z: list[Number]) -> list[Number]:
    """delta^L in numbers."""
    import mpmath

    a_, y_, top = symbol("a"), symbol("y"), chain.net.L
    grad_of = sympy().lambdify([a_, y_], sympy().diff(cost_of(chain.net.cost.name, a_, y_), a_), "mpmath")
    soft = chain.names[top] == "softmax"
    e = [mpmath.exp(one) for one in z]
    a = [one / sum(e) for one in e] if soft else [sigma[top](one) for one in z]
    grad = [grad_of(one, at[y]) for one, y in zip(a, chain.y, strict=True)]
    if soft:
        mean = sum(one * g for one, g in zip(a, grad, strict=True))
        return [one * (g - mean) for one, g in zip(a, grad, strict=True)]  # BP1
    return [g * slope[top](one) for g, one in zip(grad, z, strict=True)]  # BP1
