"""From text to tree: LaTeX as it is pasted, and Python notation.

The text is bounded in length and nesting before the parser sees it, and the parser is LALR, so its time grows
with the length alone. Products bind as the book writes them: a juxtaposition before an elementwise product.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from deltarule.errors import BadInput
from deltarule.formula.tree import Call, Layer, Mark, Node, Number, Pair, Partial, Sum, Symbol, walk

LONGEST = 2000
DEEPEST = 25
MOST_NODES = 60
MOST_LETTERS = 3

GRAMMAR = r"""
start: expr (EQUALS expr)*
?expr: term | MINUS term -> negative | expr PLUS term -> plus | expr MINUS term -> minus
?term: product | term ODOT product -> elementwise
?product: marked | product marked -> product | product CDOT marked -> dotted
?marked: atom | marked SUP -> script | marked SUB -> script | marked INDEX -> script | marked PYT -> script
?atom: "(" expr ")" | "{" expr "}"
    | SLOPE atom -> slope
    | SIGMA atom -> sigma
    | INVERSE "(" expr ")" -> inverse
    | NUMBER -> number
    | SYMBOL -> symbol
    | GRADIENT -> gradient
    | DC OVER var -> partial
    | FRAC "{" DC "}" "{" D var "}" -> fraction
    | PYPARTIAL -> pypartial
    | SUM atom_product -> total
?atom_product: marked | atom_product marked -> product
var: SYMBOL | var SUP -> script | var SUB -> script | var INDEX -> script

EQUALS: /==?/
PLUS: "+"
MINUS: "-"
ODOT.5: /\\odot|\\circ|\\ast|\*/
CDOT.5: /\\cdot|@/
SUP.4: /\^\s*(\{[^{}]*(\{[^{}]*\}[^{}]*)*\}|\\[a-z]+|[A-Za-z0-9+])/
SUB.4: /_\s*(\{[^{}]*\}|[A-Za-z0-9])/
INDEX.4: /\[[^\[\]]*\]/
PYT.4: /\.T\b/
SLOPE.9: /(\\sigma|sigma)\s*('|\^\s*\{?\s*\\prime\s*\}?)|sigma_prime|sigmoid_prime/
SIGMA.8: /\\sigma|sigma\b/
INVERSE.9: /np\.linalg\.(inv|pinv)|inv\b|pinv\b/
GRADIENT.9: /(\\nabla|nabla|grad)\s*_\s*(\{\s*a(\s*\^\s*(\{\s*L\s*\}|L))?\s*\}|a)\s*_?\s*C/
PYPARTIAL.9: /dC_?\/?d[Wwzab]\b/
FRAC.9: /\\[dt]?frac/
DC.8: /\\partial\s*C/
OVER.8: /\/\s*\\partial/
D.7: /\\partial/
SUM.9: /\\sum\s*(\\limits)?\s*_\s*(\{\s*[a-z]\s*\}|[a-z])/
SYMBOL.6: /\\delta|delta(?![a-z])|[WwzabxyC]/
NUMBER: /\d{1,15}(\.\d{1,15})?(?!\d)/
%ignore /\s+/
"""

SAME = {
    "δ": r"\delta ", "σ": r"\sigma ", "∂": r"\partial ", "∇": r"\nabla ", "⊙": r"\odot ", "∘": r"\circ ",
    "·": r"\cdot ", "′": "'", "’": "'", "ᵀ": "^T", "−": "-", "∑": r"\sum ", "Σ": r"\sum ", "⊤": r"\top ",
}  # fmt: skip
DRESS = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|\\[bB]ig[glr]?(?![a-z])|\\(quad|qquad|displaystyle)(?![a-z])|\\[,;:! ]|\\\\"
    r"|\\(begin|end)\{(align|aligned|equation|gather|eqnarray)\*?\}|[$&~]|\\[\[\]]"
    r"|\\(mathbf|boldsymbol|bm|mathrm|vec|mathsf|text|rm|bf)(?![a-z])"
)
LAYER = re.compile(r"[(\[]?([lL])?([+-]?\d+)?[)\]]?")
TRANSPOSE = re.compile(r",?(T|\\top|\\intercal|\\mathsf\{?T\}?|\{T\})$")


def _mark(node: Node, text: str) -> Node:
    """A superscript, a subscript, an index or `.T` applied to what stands before it."""
    kind, body = text[0], re.sub(r"\s", "", text[1:])
    while body.startswith("{") and body.endswith("}"):
        body = body[1:-1]
    if kind == ".":
        return Mark("T", node)
    if kind == "[":
        body = body.removesuffix("]")
    if kind == "^" and body in ("T", "\\top", "\\intercal"):
        return Mark("T", node)
    if kind == "^" and body in ("-1", "+", "\\dagger"):
        return Mark("-1" if body == "-1" else "+", node)
    if isinstance(node, Mark) and kind == "_" and node.kind == "T":
        return Mark("T", _mark(node.of, text))
    if not isinstance(node, Symbol):
        raise BadInput(f"{text!r} behind {node}: only W, z, a, b and delta take an index")
    if kind == "_" and re.fullmatch(r"[a-km-z],?[a-km-z]?", body):
        return Symbol(node.name, node.layer, body.replace(",", ""))
    transposed = kind == "^" and TRANSPOSE.search(body)
    found = LAYER.fullmatch(TRANSPOSE.sub("", body) if transposed else body)
    if not found or not body or node.layer is not None:
        raise BadInput(f"cannot read the index {text!r} of {node}; expected a layer such as l, l+1, L or 2")
    layer = Layer(found[1] or "", int(found[2] or 0))
    made = Symbol(node.name, layer, node.part)
    return Mark("T", made) if transposed else made


def _symbol(text: str) -> Symbol:
    return Symbol({"w": "W", "\\delta": "delta"}.get(text, text), Layer("", 0) if text == "x" else None)


@cache
def _parser() -> Any:
    """Lark's parser, made at the first use: importing deltarule does not import lark."""
    from lark import Lark, Transformer

    class Build(Transformer):  # type: ignore[type-arg]
        """Each rule of the grammar as a node, made while parsing: no recursion over the text's tree."""

        def start(self, given: list[Any]) -> list[Node]:
            return [one for one in given if isinstance(one, Node)]

        def negative(self, given: list[Any]) -> Node:
            return Pair("product", Number(-1.0), given[1])

        def plus(self, given: list[Any]) -> Node:
            return Pair("plus", given[0], given[2])

        def minus(self, given: list[Any]) -> Node:
            return Pair("minus", given[0], given[2])

        def elementwise(self, given: list[Any]) -> Node:
            return Pair("elementwise", given[0], given[2])

        def product(self, given: list[Any]) -> Node:
            return Pair("product", given[0], given[-1])

        dotted = product

        def script(self, given: list[Any]) -> Node:
            return _mark(given[0], str(given[1]))

        def slope(self, given: list[Any]) -> Node:
            return Call("sigma'", given[1])

        def sigma(self, given: list[Any]) -> Node:
            return Call("sigma", given[1])

        def inverse(self, given: list[Any]) -> Node:
            return Mark("+" if "pinv" in given[0] else "-1", given[1])

        def number(self, given: list[Any]) -> Node:
            return Number(float(given[0]))

        def symbol(self, given: list[Any]) -> Node:
            return _symbol(str(given[0]))

        var = symbol

        def gradient(self, given: list[Any]) -> Node:
            return Partial(Symbol("a", Layer("L")))

        def partial(self, given: list[Any]) -> Node:
            return Partial(given[-1])

        fraction = partial

        def pypartial(self, given: list[Any]) -> Node:
            return Symbol("dC/d" + _symbol(str(given[0])[-1]).name, None)  # its index is still to come

        def total(self, given: list[Any]) -> Node:
            letter = re.sub(r"[{}\s]", "", str(given[0]).split("_", 1)[1])
            return Sum(letter, given[1])

    return Lark(GRAMMAR, parser="lalr", transformer=Build(), maybe_placeholders=False)


def read(text: str) -> list[Node]:
    r"""The members of a chain of equations, each as a tree. Raises BadInput for what cannot be read.

    >>> [str(member) for member in read(r"\delta^l = ((w^{l+1})^T \delta^{l+1}) \odot \sigma'(z^l)")]
    ['delta^l', "((W^{l+1})^T delta^{l+1}) * sigma'(z^l)"]
    """
    if not isinstance(text, str):
        raise BadInput(f"a formula is text; got {type(text).__name__}")
    if len(text) > LONGEST:
        raise BadInput(f"the formula has {len(text)} characters; at most {LONGEST} are read")
    if not text.strip():
        raise BadInput(r"the formula is empty; expected one such as \delta^L = \nabla_a C \odot \sigma'(z^L)")
    depth = deepest = 0
    for letter in text:
        depth += (letter in "({[") - (letter in ")}]")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise BadInput(f"the formula's brackets are nested {deepest} deep; at most {DEEPEST} are read")
    plain = text.strip()
    for one, other in SAME.items():
        plain = plain.replace(one, other)
    plain = DRESS.sub(" ", plain).strip().rstrip(".,;")
    from lark.exceptions import LarkError, UnexpectedInput, VisitError

    try:
        members: list[Node] = _parser().parse(plain)
    except UnexpectedInput as error:
        at = error.pos_in_stream
        where = f"at {plain[at : at + 20]!r}" if at is not None and 0 <= at < len(plain) else "at its end"
        raise BadInput(f"cannot read the formula {where}") from None
    except VisitError as error:
        if isinstance(error.orig_exc, BadInput):
            raise error.orig_exc from None
        raise BadInput("cannot read the formula") from None
    except LarkError as error:
        raise BadInput(f"cannot read the formula ({type(error).__name__})") from None
    _require_whole(members)
    return members


def _require_whole(members: list[Node]) -> None:
    """An equation, of a size that can be judged, whose symbols all name their layer."""
    if len(members) < 2:
        raise BadInput("the formula has no '='; expected an equation, or a chain of them")
    nodes = [node for member in members for node in walk(member)]
    if len(nodes) > MOST_NODES:
        raise BadInput(f"the formula has {len(nodes)} parts; at most {MOST_NODES} are judged")
    letters = {letter for node in nodes if isinstance(node, Symbol) for letter in node.part}
    sums = [node for node in nodes if isinstance(node, Sum)]
    if len(letters) > MOST_LETTERS or len(sums) > MOST_LETTERS:
        raise BadInput(f"the formula has more than {MOST_LETTERS} component letters or sums: too many to judge")
    for total in sums:
        if not any(isinstance(one, Symbol) and total.letter in one.part for one in walk(total.of)):
            raise BadInput(f"{total}: nothing in the sum has the index {total.letter}")
    for node in nodes:
        if isinstance(node, Partial) and (not isinstance(node.of, Symbol) or node.of.name not in tuple("Wzab")):
            raise BadInput(f"{node}: C is differentiated by W, z, a or b at a layer")
        if isinstance(node, Symbol) and node.name == "C":
            raise BadInput("C stands alone; expected it in a derivative such as \\partial C/\\partial z^l")
        if isinstance(node, Symbol) and node.layer is None and node.name != "y":
            raise BadInput(f"{node} has no layer; expected {node}^l, {node}^{{l+1}} or the like")
        if isinstance(node, Symbol) and node.part and len(node.part) != (2 if node.name.endswith("W") else 1):
            raise BadInput(f"{node} has the wrong number of component letters")
