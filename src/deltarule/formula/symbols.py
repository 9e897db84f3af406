"""What SymPy must know of a network: sigma by name, the cost by name, and sigma as a function nobody has named."""

from __future__ import annotations

import re
from typing import Any

from deltarule.activations import LEAK, SELU_ALPHA, SELU_SCALE
from deltarule.document import tex
from deltarule.errors import BadInput, MissingExtra


def sympy() -> Any:
    """SymPy, which is an extra."""
    try:
        import sympy as found
    except ImportError as error:
        raise MissingExtra(
            'the symbolic chain rule needs SymPy, which is not installed: pip install "deltarule[symbolic]"'
        ) from error
    return found


def sigma_of(name: str, z: Any) -> Any:
    """sigma(z) as an expression, or None for an activation without a formula (a pair of the user's own).

    The constants of leaky_relu and selu are those of :mod:`deltarule.activations`.
    """
    sp = sympy()
    exp, one = sp.exp, sp.Integer(1)

    def bent(right: Any, left: Any) -> Any:
        return sp.Piecewise((right, z > 0), (left, True))

    table = {
        "sigmoid": lambda: one / (1 + exp(-z)),
        "tanh": lambda: sp.tanh(z),
        "relu": lambda: bent(z, 0),
        "leaky_relu": lambda: bent(z, sp.Rational(str(LEAK)) * z),
        "elu": lambda: bent(z, exp(z) - 1),
        "selu": lambda: sp.Float(repr(SELU_SCALE), 40) * bent(z, sp.Float(repr(SELU_ALPHA), 40) * (exp(z) - 1)),
        "gelu": lambda: z * (1 + sp.erf(z / sp.sqrt(2))) / 2,
        "silu": lambda: z / (1 + exp(-z)),
        "softplus": lambda: sp.log(1 + exp(z)),
        "softsign": lambda: z / (1 + sp.Abs(z)),
        "identity": lambda: z,
        "exp": lambda: exp(z),
    }
    return table[name]() if name in table else None


def cost_of(name: str, a: Any, y: Any) -> Any:
    """One output's part of C as an expression."""
    sp = sympy()
    half = sp.Rational(1, 2)
    table = {
        "quadratic": lambda: half * (a - y) ** 2,
        "cross_entropy": lambda: -y * sp.log(a) - (1 - y) * sp.log(1 - a),
        "log_likelihood": lambda: -y * sp.log(a),
        "huber": lambda: sp.Piecewise((half * (a - y) ** 2, sp.Abs(a - y) <= 1), (sp.Abs(a - y) - half, True)),
        "absolute": lambda: sp.Abs(a - y),
        "poisson": lambda: a - y * sp.log(a),
        "poisson_deviance": lambda: a - y + y * sp.log(y) - y * sp.log(a),
        "log_cosh": lambda: sp.log(sp.cosh(a - y)),
    }
    if name not in table:
        raise BadInput(f"the cost {name!r} is your own: it has no formula to write out")
    return table[name]()


def softmax_of(z: list[Any]) -> list[Any]:
    """a_j = e^z_j / sum_i e^z_i."""
    sp = sympy()
    total = sum(sp.exp(one) for one in z)
    return [sp.exp(one) / total for one in z]


def log_likelihood_of(z: list[Any], y: list[Any]) -> Any:
    """-sum_j y_j ln a_j behind a softmax, with the logarithm of its quotient taken: no 1/a_j is left to cancel."""
    sp = sympy()
    return sum(y) * sp.log(sum(sp.exp(one) for one in z)) - sum(a * b for a, b in zip(y, z, strict=True))


def function(name: str, derivative: Any = None) -> Any:
    """A real function known by its name alone; where given, its derivative is another such function.

    Without a derivative of its own, what SymPy makes of it is never needed: sigma'' is in no equation.
    """
    sp = sympy()

    def latex(self: Any, printer: Any, exp: Any = None) -> str:
        inner = ", ".join(printer.doprint(one) for one in self.args)
        return f"{tex(name)}\\left({inner}\\right)" + (f"^{{{exp}}}" if exp else "")

    def text(self: Any, printer: Any) -> str:
        return f"{name}({', '.join(printer.doprint(one) for one in self.args)})"

    methods = {"_latex": latex, "_sympystr": text, "is_extended_real": True, "is_finite": True}
    if derivative is not None:
        methods["fdiff"] = lambda self, argindex=1: derivative(self, argindex)
    return type(name, (sp.Function,), methods)


def symbol(name: str) -> Any:
    """A real number by its name."""
    return sympy().Symbol(name, real=True)


def lines_of(left: str, expression: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`left = expression` as source lines and as LaTeX lines, a term a line where there are several."""
    sp = sympy()
    names = {one: tex(one.name) for one in expression.free_symbols}
    terms = expression.as_ordered_terms() if expression.is_Add and len(str(expression)) > 60 else [expression]
    # z^1_k to a power takes brackets: its own index stands above already.
    source = [re.sub(r"(\w\^\w+_\w+)\*\*", r"(\1)^", str(term)).replace("**", "^") for term in terms]
    latex = [sp.latex(term, symbol_names=names) for term in terms]

    def joined(parts: list[str], left: str) -> tuple[str, ...]:
        more = (part if part.startswith("-") else f"+ {part}" for part in parts[1:])
        return (f"{left} = {parts[0]}", *more)

    return joined(source, left), joined(latex, tex(left))
