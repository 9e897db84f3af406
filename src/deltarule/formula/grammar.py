"""From words to a tree: the grammar.

The parser is LALR, so its time grows with the length alone. Products bind as they are written in books: a
juxtaposition before an elementwise product. In Python notation * and @ bind alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from deltarule.errors import BadInput
from deltarule.formula import scripts
from deltarule.formula.tree import (
    Call,
    Function,
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
)
from deltarule.formula.words import Word, unread

GRAMMAR = r"""
start: expr (EQUALS expr)*
?expr: term | MINUS term -> negative | PLUS term -> same | expr PLUS term -> plus | expr MINUS term -> minus
?term: product | term ODOT product -> elementwise | term TENSOR product -> tensor
?product: marked | product marked -> product | product CDOT marked -> dotted
    | product STAR marked -> star | product OVER marked -> over
?marked: atom | marked SCRIPT -> script | marked PRIME -> prime | marked PYT -> turned | marked POWER -> power
    | marked OVER_SAMPLES -> itself | marked DOT OPEN expr CLOSE -> method
?atom: OPEN expr CLOSE -> group
    | function
    | function OPEN expr CLOSE -> call
    | DIAG OPEN expr CLOSE -> diag
    | DIAGONAL OPEN expr CLOSE -> diagonal
    | INVERSE OPEN expr CLOSE -> inverse
    | TRANSPOSE OPEN expr CLOSE -> transposed
    | WHOLE OPEN expr OPTION+ CLOSE -> whole
    | MULTIPLY OPEN expr COMMA expr CLOSE -> multiplied
    | NUMBER -> number
    | NAME -> name
    | OF_C -> of_c
    | COST_SLOPE -> cost_slope
    | GRADIENT variable COST -> gradient
    | FRACTION OPEN derived CLOSE OPEN PARTIAL variable CLOSE -> fraction
    | FRACTION OPEN expr CLOSE OPEN expr CLOSE -> ratio
    | derived OVER PARTIAL variable -> stroke
    | SUM product -> total
derived: PARTIAL (COST | variable)
?variable: NAME -> name | variable SCRIPT -> script | OPEN variable CLOSE -> group
function: SLOPE | SIGMA | function SCRIPT -> script | function PRIME -> prime

%declare EQUALS PLUS MINUS ODOT TENSOR CDOT STAR OVER SCRIPT PRIME PYT POWER OVER_SAMPLES DOT OPEN CLOSE DIAG DIAGONAL
%declare INVERSE TRANSPOSE WHOLE OPTION MULTIPLY COMMA NUMBER NAME OF_C COST_SLOPE GRADIENT FRACTION PARTIAL
%declare COST SUM SLOPE SIGMA
"""


@dataclass(frozen=True)
class Given:
    """A word with what the tree's maker has to know of its formula."""

    word: Word
    how: scripts.Letters
    text: str

    def __str__(self) -> str:
        return self.word.value


@cache
def _parser() -> Any:
    """Lark's parser, made at the first use: importing deltarule does not import lark."""
    from lark import Lark, Token, Transformer
    from lark.lexer import Lexer

    class Words(Lexer):
        """Hands the scanner's words to the parser."""

        def __init__(self, conf: Any) -> None:
            pass

        def lex(self, given: Any, parser_state: Any = None) -> Iterator[Token]:
            for one in given:
                yield Token(one.word.kind, one)

    class Build(Transformer):  # type: ignore[type-arg]
        """Each rule of the grammar as a node, made while parsing: no recursion over the text's tree."""

        def start(self, given: list[Any]) -> list[Node]:
            return [one for one in given if isinstance(one, Node)]

        def negative(self, given: list[Any]) -> Node:
            return Pair("product", Number(-1.0), given[1])

        def same(self, given: list[Any]) -> Node:
            return given[1]  # type: ignore[no-any-return]

        group = same

        def plus(self, given: list[Any]) -> Node:
            return Pair("plus", given[0], given[2])

        def minus(self, given: list[Any]) -> Node:
            return Pair("minus", given[0], given[2])

        def elementwise(self, given: list[Any]) -> Node:
            return Pair("elementwise", given[0], given[2])

        def tensor(self, given: list[Any]) -> Node:
            return Pair("tensor", given[0], given[2])

        def star(self, given: list[Any]) -> Node:
            return Pair("star", given[0], given[2])

        def over(self, given: list[Any]) -> Node:
            return Pair("over", given[0], given[2])

        def product(self, given: list[Any]) -> Node:
            return Pair("product", given[0], given[-1])

        dotted = product

        def method(self, given: list[Any]) -> Node:
            return Pair("product", given[0], given[3])

        def script(self, given: list[Any]) -> Node:
            at: Given = given[1].value
            return scripts.marked(given[0], at.word, at.how, at.text)

        def prime(self, given: list[Any]) -> Node:
            at: Given = given[1].value
            return scripts.marked(given[0], Word("SCRIPT", "^'", at.word.start, at.word.end), at.how, at.text)

        def turned(self, given: list[Any]) -> Node:
            return Mark("T", given[0])

        def transposed(self, given: list[Any]) -> Node:
            return Mark("T", given[2])

        def power(self, given: list[Any]) -> Node:
            return Power(given[0], int(str(given[1])))

        def itself(self, given: list[Any]) -> Node:
            return given[0]  # type: ignore[no-any-return]

        def whole(self, given: list[Any]) -> Node:
            return given[2]  # type: ignore[no-any-return]

        def function(self, given: list[Any]) -> Node:
            return Function(str(given[0]))

        def call(self, given: list[Any]) -> Node:
            return Pair("product", given[0], given[2])  # made a call with the others, in `meaning`

        def diag(self, given: list[Any]) -> Node:
            return Call("diag", given[2])

        def diagonal(self, given: list[Any]) -> Node:
            return Call("diag", Pair("product", Function("sigma'"), given[2]))

        def inverse(self, given: list[Any]) -> Node:
            return Mark("+" if given[0] == "pinv" else "-1", given[2])

        def multiplied(self, given: list[Any]) -> Node:
            how, left, right = str(given[0]), given[2], given[4]
            if how == "power":
                if not (isinstance(right, Number) and right.value in range(1, 10)):
                    raise BadInput(f"np.power takes a whole number from 1 to 9 here, not {right}")
                return Power(left, int(right.value))
            if how == "outer":
                return Pair("product", left, Mark("T", right))
            return Pair("star" if how == "multiply" else "product", left, right)

        def number(self, given: list[Any]) -> Node:
            return Number(float(given[0]))

        def name(self, given: list[Any]) -> Node:
            name = str(given[0])
            if name == "aL":
                return Symbol("a", Layer("L"))
            return Symbol(name, Layer("", 0) if name == "x" else None)

        def of_c(self, given: list[Any]) -> Node:
            return Partial(Symbol(str(given[0]), None))

        def cost_slope(self, given: list[Any]) -> Node:
            return Partial(Symbol("a", Layer("L")))

        def derived(self, given: list[Any]) -> Any:
            return given[1]

        def fraction(self, given: list[Any]) -> Node:
            return self.derivative(given[2], given[6])

        def stroke(self, given: list[Any]) -> Node:
            return self.derivative(given[0], given[3])

        def gradient(self, given: list[Any]) -> Node:
            of = given[1]
            bare = isinstance(of, Symbol) and of == Symbol("a", None)
            return self.derivative("C", replace(of, layer=Layer("L")) if bare else of)  # nabla_a C, as in the book

        def derivative(self, top: Any, of: Any) -> Node:
            for one in (top, of):
                if not isinstance(one, (Symbol, str)):
                    raise BadInput(f"a derivative by {one} is not read; differentiate by W, z, a or b at a layer")
            if of.name == "x":
                of = replace(of, name="a")  # the input is a^0
            return Jacobian(top, of) if isinstance(top, Symbol) else Partial(of)

        def ratio(self, given: list[Any]) -> Node:
            return Pair("over", given[2], given[5])

        def total(self, given: list[Any]) -> Node:
            node = given[1]
            for letter in reversed(str(given[0])):
                node = Sum(letter, node)
            return node  # type: ignore[no-any-return]

    return Lark(GRAMMAR, parser="lalr", lexer=Words, transformer=Build(), maybe_placeholders=False)


def parsed(words: list[Word], text: str) -> tuple[list[Node], scripts.Letters]:
    """The members of the chain that the words make, and how it writes layers. Raises BadInput."""
    from lark.exceptions import LarkError, UnexpectedToken, VisitError

    how = scripts.letters(words, text)
    try:
        members: list[Node] = _parser().parse([Given(word, how, text) for word in words])
    except UnexpectedToken as error:
        at = getattr(error.token, "value", None)
        if isinstance(at, Given):
            unread(text, f"cannot read on at '{text[at.word.start : at.word.end]}'", at.word.start, at.word.end)
        unread(text, "the formula breaks off here", len(text))
    except VisitError as error:
        if isinstance(error.orig_exc, BadInput):
            raise error.orig_exc from None
        raise BadInput(f"cannot read the formula {text!r}") from None
    except LarkError as error:
        raise BadInput(f"cannot read the formula {text!r} ({type(error).__name__})") from None
    return members, how
