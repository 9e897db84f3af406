"""What stands above and below a name: a layer, a transpose, an inverse, a prime, a component."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from deltarule.formula.tree import Entry, Function, Jacobian, Layer, Mark, Node, Partial, Power, Symbol
from deltarule.formula.words import Word, unread

DRESS = re.compile(
    r"\\(?:math\w+|text\w*|boldsymbol|bm|operatorname|rm|bf|left|right|[,;:! ])(?![a-z])|[{}\s]|\\[,;:! ]"
)
LAYER = re.compile(r"[(\[]?(n_[lL]|out|in|[a-zA-SU-Z])?([+-]?\d+)?[)\]]?")
SCRIPT = re.compile(
    r"(?P<before>T(?=[(\[]))?(?P<index>.*?),?(?P<marks>(?:'|\\prime|\\top|\\intercal|\\transpose|T)*)"
)
INVERSE = {"-1": ["-1"], "+": ["+"], r"\dagger": ["+"], "-T": ["-1", "T"], r"-\top": ["-1", "T"]}
MARK = re.compile(r"'|\\[a-z]+|T")


@dataclass(frozen=True)
class Letters:
    """How this formula writes layers: the letter that runs over them, and whether it is written below."""

    running: str
    below: frozenset[str]
    ends: bool = False
    """Whether neurons are named `in` and `out`: the two ends of one weight."""


def body(text: str) -> str:
    """A script's text without its braces, dress and spaces.

    >>> body(r"{\\mathbf{( l + 1 )}}")
    '(l+1)'
    """
    return DRESS.sub("", text.replace(r"\ell", "l"))


def letters(words: list[Word], text: str) -> Letters:
    """The letter of the layers: l, or the one letter that stands above a name or has a number added to it."""
    running, below, ends = set(), set(), False
    for word in words:
        if word.kind != "SCRIPT":
            continue
        inner = body(word.value[1:]).strip("()[]")
        ends = ends or inner == "in"
        found = re.fullmatch(r"-?([a-z])(?:[+-]\d+)?(?:,?(?:T|\\top|'))?", inner)
        if not found:
            continue
        moved = re.search(r"[+-]\d", inner)
        if moved or word.value[0] in "^[" or found[1] == "l":
            running.add(found[1])
        if word.value[0] == "_" and (moved or found[1] == "l"):
            below.add(found[1])
    if len(running) > 1 and "l" in running and running - {"l"} <= below:
        running -= below - {"l"}
    if len(running) > 1:
        named = " and ".join(sorted(running))
        place = next(word for word in words if word.kind == "SCRIPT")
        unread(text, f"layers are written with {named} here; expected one letter, such as l", place.start, place.end)
    return Letters(next(iter(running), "l"), frozenset(below & running), ends)


def marked(node: Node, word: Word, how: Letters, text: str) -> Node:
    """The node with one script applied to it. Raises BadInput with the place where it makes no sense."""
    kind, inner = word.value[0], body(word.value[1:])
    if kind == "^" and inner in INVERSE:
        index, marks = "", INVERSE[inner]
    else:
        found = SCRIPT.fullmatch(inner)
        assert found  # every part of the pattern may be empty
        index = found["index"]
        marks = ["'" if one in ("'", r"\prime") else "T" for one in MARK.findall(found["marks"])]
        marks += ["T"] if found["before"] else []
    if index:
        node = _indexed(node, kind, index, word, how, text)
    for mark in marks:
        if mark == "'":
            if not isinstance(node, Function):
                unread(text, f"a prime behind {node}: only sigma has a derivative written so", word.start, word.end)
            node = Function(node.name.rstrip("'") + "'", node.layer)
        else:
            node = Mark(mark, node)
    return node


def _indexed(node: Node, kind: str, inner: str, word: Word, how: Letters, text: str) -> Node:
    """The node at a layer, or one component of it."""
    if isinstance(node, Mark) and node.kind == "T" and isinstance(node.of, (Symbol, Partial)):
        return Mark("T", _indexed(node.of, kind, inner, word, how, text))
    if isinstance(node, (Partial, Jacobian)):
        if isinstance(node, Jacobian):
            unread(text, f"an index behind {node}: give it to the names inside", word.start, word.end)
        made = _symbol(node.of, kind, inner, word, how, text)
        return Partial(made) if isinstance(made, Symbol) else Power(node, made.power)
    if isinstance(node, Function):
        return replace(node, layer=_layer(inner, how)) if _layer(inner, how) else node
    if not isinstance(node, Symbol):
        if kind == "_" and re.fullmatch(r"[a-km-z]", inner):
            return Entry(node, inner)
        if kind == "^" and inner.isdigit() and len(inner) == 1:
            return Power(node, int(inner))
        unread(text, f"cannot read {word.value!r} behind {node}; a layer belongs to a name", word.start, word.end)
    return _symbol(node, kind, inner, word, how, text)


def _symbol(node: Symbol, kind: str, inner: str, word: Word, how: Letters, text: str) -> Symbol | Power:
    if how.ends and inner in ("in", "out"):
        return replace(node, layer=Layer("l", -1 if inner == "in" else 0), part="k" if inner == "in" else "j")
    mixed = re.fullmatch(r"([lL\d][+-]?\d*),([a-z]{1,2})", inner) if kind == "_" else None
    if mixed:
        return _symbol(replace(node, part=mixed[2]), "[", mixed[1], word, how, text)
    if kind == "_" and re.fullmatch(r"[a-z],?[a-z]?", inner) and inner not in how.below:
        return replace(node, part=inner.replace(",", ""))
    mixed = re.fullmatch(r"([a-z]{1,2}),([(\[]?[lL\d][+-]?\d*[)\]]?)", inner) if kind == "_" else None
    if mixed:
        return _symbol(replace(node, part=mixed[1]), "[", mixed[2], word, how, text)
    layer = _layer(inner, how)
    if node.name in ("x", "y", "t"):
        what = "x is the input, a^0" if node.name == "x" else "y is the target"
        unread(text, f"{what}: it has no index but a component, as in {node.name}_j", word.start, word.end)
    if node.layer is not None and kind == "^" and inner.isdigit() and len(inner) == 1:
        return Power(node, int(inner))  # (a^l)^2
    if layer is None:
        what = f"cannot read the index '{inner}' of {node}; expected a layer such as l, l+1, L or 2"
        unread(text, what, word.start, word.end)
    if node.layer is not None:
        unread(text, f"{node} has a layer already", word.start, word.end)
    return replace(node, layer=layer)


def _layer(inner: str, how: Letters) -> Layer | None:
    r"""The layer that is written, or None. Python's -1 is the last, and its -l+1 is the one above -l.

    >>> how = Letters("l", frozenset())
    >>> [str(_layer(text, how)) for text in ("l+1", "(L)", "[2]", "-1", "-l+1")]
    ['l+1', 'L', '2', 'L', 'l+1']
    """
    if inner.startswith("-"):
        found = re.fullmatch(r"-(?:(\d+)|([a-z])([+-]\d+)?)", inner)
        if not found:
            return None
        if found[1]:
            return Layer("L", 1 - int(found[1]))
        return Layer("l", int(found[3] or 0)) if found[2] == how.running else None
    found = LAYER.fullmatch(inner)
    if not found or not inner.strip("()[]"):
        return None
    base, offset = found[1] or "", int(found[2] or 0)
    if base in ("L", "N", "n_l", "n_L", "out"):
        return Layer("L", offset)
    if base and base != how.running:
        return None
    return Layer("l" if base else "", offset)
