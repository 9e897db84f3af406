"""The words of a formula, one after the other, each with its place in the text that was given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from deltarule.errors import BadInput
from deltarule.formula import spelling
from deltarule.formula.spelling import COST, EXPLAINED, FAR_D, LONE_D, NAMES, OF_C, PYTHON, WORDS, WRAPPER

INDEX = re.compile(r"\[\s*(-?\s*(?:[lLk]|\d+)?\s*(?:[+-]\s*(?:\d+|l))?(?:\s*[+-]\s*\d+)?)\s*\]")
SCRIPT = re.compile(r"\s*([_^])\s*")
BODY = re.compile(
    r"\\(?:text|math\w+|rm|bf)\s*\{[^{}]*\}|\\(?:math\w+|rm|bf)\s+\w|\\[a-zA-Z]+|[+-]?\d+|[A-Za-z]|\*|\+"
)
IN_ROUND = re.compile(r"\(\s*[A-Za-z0-9]\s*(?:[+-]\s*\d+\s*)?\)")
ATTACHED = re.compile(r"_?(\d+)(?!\d|\.\d)")


@dataclass(frozen=True)
class Word:
    """One word: its kind (a terminal of the grammar), its one spelling, and where it stands in the text."""

    kind: str
    value: str
    start: int
    end: int


def unread(text: str, what: str, start: int, end: int | None = None) -> NoReturn:
    """Raise BadInput with the place under a caret."""
    raise BadInput(f"{what}\n{quoted(text, start, end)}")


def quoted(text: str, start: int, end: int | None = None) -> str:
    """The neighbourhood of a place in a text, with a caret under it.

    >>> print(quoted("a^l = ?(z^l)", 6))
      a^l = ?(z^l)
            ^
    """
    start = min(start, len(text))
    left, right = max(0, start - 30), min(len(text), start + 40)
    line = "".join(one if one.isprintable() else " " for one in text[left:right])
    width = max(1, min(end or 0, right) - start)
    return f"  {line.rstrip()}\n  {' ' * (start - left)}{'^' * width}"


class Scanner:
    """Goes through one equation from left to right; `words` holds what it found."""

    def __init__(self, text: str, python: bool | None = None) -> None:
        self.text = text
        self.plain, self.origin = spelling.flat(text)
        self.python = bool(PYTHON.search(self.plain)) if python is None else python
        self.words: list[Word] = []
        self.at = 0
        self.wrapped: set[int] = set()  # the closing braces of \mathbf{...} and its like, which say nothing

    def add(self, kind: str, value: str, end: int) -> None:
        self.words.append(Word(kind, value, self.origin[self.at], self.origin[end]))
        self.at = end

    def kinds(self, n: int) -> tuple[str, ...]:
        """The kinds of the last n words."""
        return tuple(word.kind for word in self.words[-n:])

    def scan(self) -> list[Word]:
        while self.at < len(self.plain):
            if not (self.cost() or self.closing() or self.script() or self.index() or self.word() or self.name()):
                self.refuse()
        return self.words

    def closing(self) -> bool:
        """A brace that only dressed what stood in it, and the dress itself."""
        if self.at in self.wrapped:
            self.at += 1
            return True
        found = WRAPPER.match(self.plain, self.at)
        if not found:
            return False
        self.at = found.end()
        if self.plain[self.at - 1] == "{":
            close = self.matching(self.at - 1)
            self.wrapped.add(close)
        return True

    def matching(self, start: int) -> int:
        """The place of the bracket that closes the one at `start`."""
        depth = 0
        for i in range(start, len(self.plain)):
            depth += (self.plain[i] in "{(") - (self.plain[i] in "})")
            if depth == 0:
                return i
        unread(self.text, "this bracket is not closed", self.origin[start])

    def script(self) -> bool:
        """A superscript or a subscript: the whole of its body is one word."""
        found = SCRIPT.match(self.plain, self.at)
        if not found:
            return False
        start = found.end()
        if self.plain[start : start + 1] == "{":
            end = self.matching(start) + 1
        else:
            body = IN_ROUND.match(self.plain, start) or BODY.match(self.plain, start)
            if not body:
                unread(self.text, f"nothing stands behind this {found[1]!r}", self.origin[found.start(1)])
            end = body.end()
        if not self.words:
            unread(self.text, f"nothing stands before this {found[1]!r}", self.origin[found.start(1)])
        self.add("SCRIPT", found[1] + self.plain[start:end], end)
        return True

    def index(self) -> bool:
        """A layer in square brackets right behind a name, as in W[l+1]."""
        found = INDEX.match(self.plain, self.at)
        if not found or self.kinds(1) not in (("NAME",), ("OF_C",), ("SIGMA",), ("SLOPE",)):
            return False
        self.add("SCRIPT", "[" + found[1], found.end())
        return True

    def cost(self) -> bool:
        """The d of a derivative where it is not \\partial, and the cost behind it."""
        last = self.kinds(2)
        if last[-1:] == ("PARTIAL",) or "GRADIENT" in self.kinds(4):
            found = COST.match(self.plain, self.at)
            if found:
                self.add("COST", "C", found.end())
                return True
            if last[-1:] == ("PARTIAL",):
                return False
        in_fraction = last in (("FRACTION", "OPEN"), ("CLOSE", "OPEN")) or last[-1:] == ("OVER",)
        begun = last[:1] == ("FRACTION",) or any(word.kind == "PARTIAL" for word in self.words)
        pattern = LONE_D if in_fraction and begun else FAR_D
        found = pattern.match(self.plain, self.at)
        if found:
            self.add("PARTIAL", "d", found.end())
        return bool(found)

    def word(self) -> bool:
        for kind, pattern, value in WORDS:
            found = pattern.match(self.plain, self.at)
            if not found or found.end() == self.at:
                continue
            if kind == "SKIP":
                self.at = found.end()
            elif kind == "STOP":
                what = f"'{found[0].strip()}' is no '=': only equations are judged, not updates or approximations"
                unread(self.text, what, self.origin[self.at], self.origin[found.end()])
            elif kind == "STAR" and not self.python:
                self.add("ODOT", "*", found.end())
            else:
                self.add(kind, _value(kind, value, found), found.end())
                if kind == "GRADIENT":  # what C is differentiated by stands in its subscript
                    inner = Scanner(self.words[-1].value, self.python).scan()
                    at = self.words[-1]
                    self.words += [Word(word.kind, word.value, at.start, at.end) for word in inner]
            return True
        return False

    def name(self) -> bool:
        found = OF_C.match(self.plain, self.at)
        if found:
            of = found["of"].lower()
            self.add("OF_C", {"w": "W"}.get(of, of), found.end())
            return self.attached()
        for name, pattern in NAMES:
            found = pattern.match(self.plain, self.at)
            if not found and not self.python and re.match(r"[A-Za-z]{2}(?![A-Za-z])", self.plain[self.at :]):
                found = pattern.match(self.plain[: self.at + 1], self.at)  # Wx: two names side by side
            if found:
                self.add("NAME", name, found.end())
                return self.attached()
        return False

    def attached(self) -> bool:
        """A number written right behind a name is its layer: W2."""
        found = ATTACHED.match(self.plain, self.at)
        if found:
            self.add("SCRIPT", "[" + found[1], found.end())
        return True

    def refuse(self) -> NoReturn:
        found = re.compile(r"\\?[^\W\d_][\w.]*|\\.|.", re.DOTALL).match(self.plain, self.at)
        end = found.end() if found else self.at + 1
        word = self.plain[self.at : min(end, self.at + 30)]
        known = "known are W, b, z, a, x, y, delta, sigma, sigma', dC/d..., sums and products"
        more = EXPLAINED.get(word, known)
        unread(self.text, f"'{word}' is not known here; {more}", self.origin[self.at], self.origin[end])


def _value(kind: str, value: str, found: re.Match[str]) -> str:
    """The one spelling of a word."""
    groups = found.groupdict()
    if kind == "NUMBER":
        return (
            str(int(groups["half"]) / int(groups["of"])) if groups.get("half") and groups["of"] != "0" else found[0]
        )
    if kind == "SUM":
        letters = groups.get("letters") or groups.get("letter") or ""
        return re.sub(r"[\s,]", "", letters)
    if kind == "GRADIENT":
        return groups.get("var") or groups.get("one") or ""
    if value.startswith("named"):
        name = next(one for one in found.groups() if one).lower().replace("logistic", "sigmoid")
        return name + value.removeprefix("named")
    return groups.get("product") or groups.get("inverse") or groups.get("power") or value or found[0]
