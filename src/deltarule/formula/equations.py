"""From a text to its equations, and the bounds on what is read.

The text is bounded in length and nesting before anything else looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deltarule.errors import BadInput
from deltarule.formula.grammar import parsed
from deltarule.formula.meaning import Equation, settled
from deltarule.formula.spelling import REMARK
from deltarule.formula.words import Scanner, unread

LONGEST = 2000
DEEPEST = 25
MOST_EQUATIONS = 6


def read(text: str) -> list[Equation]:
    r"""The equations of a text, each a chain of trees. Raises BadInput for what cannot be read.

    >>> (equation,) = read(r"\delta^l = ((w^{l+1})^T \delta^{l+1}) \odot \sigma'(z^l)")
    >>> [str(member) for member in equation.members]
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
    pieces = _pieces(text)
    if not pieces or not any(sign in text for sign in RELATIONS):
        unread(text, "the formula has no '='; expected an equation, or a chain of them", len(text))
    if len(pieces) > MOST_EQUATIONS:
        raise BadInput(f"there are {len(pieces)} equations; at most {MOST_EQUATIONS} are judged at once")
    return [_equation(piece) for piece in pieces]


RELATIONS = ("=", "≡", "≔", r"\equiv", "←", "<-", "≈", r"\leftarrow", r"\approx", r"\propto")
"""What relates two sides; those that are no equality have an error of their own."""

BETWEEN = re.compile(
    r"\\\\(?:\[[^\]]*\])?|\n|;|,|⇒|\\(?:implies|Rightarrow|iff|Leftrightarrow|Longrightarrow)(?![a-z])"
    r"|\\(?:text|mathrm|mbox)\s*\{\s*and\s*\}|\band\b"
)
"""What can stand between two equations, or between two lines of one."""

GOES_ON = re.compile(
    r"(?:\\(?:begin|end)\s*\{[a-z]*\*?\}|[&$\s]|\\[\[\],:! ]|\\q?quad)*(?:[=+*/)⊙-]|\\(?:odot|circ|cdot))"
)
RANGE = re.compile(r"(?:[$&\s]|\\q?quad|\\[,;: ])*l\s*=")


def _split(text: str) -> Iterator[str]:
    """The text between what can stand between equations, outside of all brackets."""
    start = depth = seen = 0
    for found in BETWEEN.finditer(text):
        between = re.sub(r"\\[{}\[\]()]", "", text[seen : found.start()])
        depth += sum(between.count(one) for one in "({[") - sum(between.count(one) for one in ")}]")
        seen = found.end()
        if depth <= 0:
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


def _pieces(text: str) -> list[str]:
    """The equations: a line that begins with a sign goes on with the one before, and a range of l is no equation."""
    found: list[str] = []
    for piece in _split(text):
        equals = any(sign in piece for sign in ("=", r"\equiv", "≡"))
        if RANGE.match(piece):
            break  # l = L-1, ..., 1
        if found and (not equals or GOES_ON.match(piece)):
            found[-1] += " " + piece
        elif piece.strip():
            found.append(piece)
    return found


def _equation(text: str) -> Equation:
    text = REMARK.sub("", text).strip().rstrip(".,;:$ \n")
    scanner = Scanner(text)
    words = scanner.scan()
    members, how = parsed(words, text)
    return settled(members, words, scanner.python, how, text)
