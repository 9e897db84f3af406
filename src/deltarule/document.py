"""A short text of prose, formulas and tables: written once, set for the terminal, Markdown, LaTeX and HTML.

Mathematics is written with one sign a symbol, `δ^2_j = Σ_k w_jk a_k`, between dollars where it stands in prose.
The terminal gets it in ASCII, as the rest of the program prints it (delta^2_j), the others as they set it.
What the user named (an activation, a class) goes through :func:`literal`, so that no name is taken for markup.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deltarule.records import text_table

COLUMNS = 100
INDENT = "   "

SIGNS = {  # in the terminal, in LaTeX; HTML shows the sign itself
    "δ": ("delta", r"\delta"),
    "σ": ("sigma", r"\sigma"),
    "Σ": ("sum", r"\sum"),
    "∂": ("d", r"\partial"),
    "·": ("*", r"\cdot"),
    "⊙": ("*", r"\odot"),
}
RAISED = re.compile(r"([\^_])(\{[^{}]*\}|[A-Za-z0-9]+|\+)")
POWER = re.compile(r"(\d)e([+-]?)0*(\d+)\b")
DOLLAR = "\ue000"
"""Stands for a dollar that is no mathematics; a private sign of Unicode, so that no text has it."""


@dataclass(frozen=True)
class Formula:
    """Lines of displayed mathematics, aligned at their first equals sign.

    `latex` holds the same lines as LaTeX where someone else has set them; else they are translated.
    """

    lines: tuple[str, ...]
    latex: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A head, rows of cells, and whether the last row is the sum of those above."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    summed: bool = False


@dataclass(frozen=True)
class Section:
    """A title and its parts; a plain string is a paragraph."""

    title: str
    parts: tuple[str | Formula | Table, ...]


@dataclass(frozen=True)
class Document:
    """A title and sections."""

    title: str
    sections: tuple[Section, ...]

    def text(self) -> str:
        """For the terminal, at most 100 columns wide."""
        blocks = [_wrapped(self.title, "")]
        for section in self.sections:
            parts = [_text_part(part) for part in section.parts]
            blocks.append("\n".join([_runs(section.title, ascii_math, str), *parts]))
        return "\n\n".join(blocks)

    def markdown(self) -> str:
        """Markdown with LaTeX between dollars, as notebooks and most viewers set it."""

        def prose(text: str) -> str:
            return _runs(text, lambda math: f"${tex(math)}$", _escaped_markdown)

        blocks = [f"## {prose(self.title)}"]
        for section in self.sections:
            blocks.append(f"### {prose(section.title)}")
            for part in section.parts:
                if isinstance(part, Table):
                    head = "| " + " | ".join(map(prose, part.head)) + " |"
                    rule = "|" + " ---: |" * len(part.head)
                    rows = ["| " + " | ".join(prose(_number_set(cell)) for cell in row) + " |" for row in part.rows]
                    blocks.append("\n".join([head, rule, *rows]))
                elif isinstance(part, Formula):
                    blocks.append(f"$$\\begin{{aligned}}\n{_aligned(part)}\n\\end{{aligned}}$$")
                else:
                    blocks.append(prose(part))
        return "\n\n".join(blocks) + "\n"

    def latex(self) -> str:
        r"""A fragment for \input into a document that loads amsmath."""

        def prose(text: str) -> str:
            return _runs(text, lambda math: f"${tex(math)}$", _escaped_latex)

        blocks = [f"\\subsection*{{{prose(self.title)}}}"]
        for section in self.sections:
            blocks.append(f"\\paragraph{{{prose(section.title)}}}")
            for part in section.parts:
                if isinstance(part, Table):
                    rows = [" & ".join(prose(_number_set(cell)) for cell in row) + r" \\" for row in part.rows]
                    if part.summed:
                        rows.insert(-1, r"\hline")
                    head = " & ".join(map(prose, part.head)) + r" \\ \hline"
                    body = "\n".join([f"\\begin{{tabular}}{{{'r' * len(part.head)}}}", head, *rows, r"\end{tabular}"])
                    blocks.append(f"\\begin{{center}}\n{body}\n\\end{{center}}")
                elif isinstance(part, Formula):
                    blocks.append(f"\\begin{{align*}}\n{_aligned(part)}\n\\end{{align*}}")
                else:
                    blocks.append(prose(part))
        return "% needs \\usepackage{amsmath}\n" + "\n\n".join(blocks) + "\n"

    def html(self) -> str:
        """Headings, paragraphs and tables; no script and no style sheet is needed."""

        def prose(text: str) -> str:
            return _runs(text, html_math, html.escape)

        blocks = [f"<h3>{prose(self.title)}</h3>"]
        for section in self.sections:
            blocks.append(f"<h4>{prose(section.title)}</h4>")
            for part in section.parts:
                if isinstance(part, Table):
                    blocks.append(_html_table(part, prose))
                elif isinstance(part, Formula):
                    lines = "<br>".join(map(html_math, part.lines))
                    blocks.append(f'<p style="margin-left: 2em">{lines}</p>')
                else:
                    blocks.append(f"<p>{prose(part)}</p>")
        return '<div class="deltarule" style="max-width: 50em">\n' + "\n".join(blocks) + "\n</div>"


class Readable:
    """What a record gains by its `document`: str, Markdown, LaTeX and HTML of one and the same text."""

    def document(self) -> Document:
        """The text that all the others set."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.document().text()

    def __repr__(self) -> str:
        return str(self)

    def to_markdown(self) -> str:
        """The text as Markdown."""
        return self.document().markdown()

    def to_latex(self) -> str:
        """The text as a fragment of LaTeX; the document that takes it in loads amsmath."""
        return self.document().latex()

    def _repr_html_(self) -> str:
        return self.document().html()


def literal(name: str) -> str:
    """A name of the user's, as text: on one line, and no sign in it begins mathematics."""
    return " ".join(name.split()).replace("$", DOLLAR)


def shortened(network: str) -> str:
    """A network's own line as text, without its middle where it is very deep."""
    return literal(network if len(network) <= 160 else f"{network[:70]} ... {network[-80:]}")


def ascii_math(math: str) -> str:
    """Mathematics in ASCII.

    >>> ascii_math("δ^1_k = ∂C/∂z^1_k")
    'delta^1_k = dC/dz^1_k'
    """
    return _replaced(math, 0)


def tex(math: str) -> str:
    r"""Mathematics as LaTeX.

    >>> tex("δ^{l+1}_jk")
    '\\delta^{l+1}_{jk}'
    """
    math = RAISED.sub(lambda found: f"{found[1]}{{{found[2].strip('{}')}}}", math)
    math = POWER.sub(lambda found: f"{found[1]} \\times 10^{{{found[2].strip('+')}{found[3]}}}", math)
    math = re.sub(r"\b(exp|ln|tanh|max|min|erf)\b", r"\\\1", math).replace(r"\erf", r"\mathrm{erf}")
    # A command's name ends where a letter does not follow; before one it takes a space.
    return re.sub(r"(\\[a-z]+)\0(?=([A-Za-z])?)", lambda found: found[1] + " " * bool(found[2]), _replaced(math, 1))


def html_math(math: str) -> str:
    """Mathematics as HTML, with indices below and above.

    >>> html_math("δ^2_j < 1")
    'δ<sup>2</sup><sub>j</sub> &lt; 1'
    """
    tags = {"^": "sup", "_": "sub"}

    def raised(found: re.Match[str]) -> str:
        tag = tags[found[1]]
        return f"<{tag}>{found[2].strip('{}')}</{tag}>"

    def power(found: re.Match[str]) -> str:
        return f"{found[1]} · 10<sup>{found[2].strip('+')}{found[3]}</sup>"

    return POWER.sub(power, RAISED.sub(raised, html.escape(math, quote=False)))


def _replaced(math: str, kind: int) -> str:
    """The signs by their settings; in LaTeX (kind 1) a mark ends each command."""
    for sign, setting in SIGNS.items():
        math = math.replace(sign, setting[kind] + "\0" * kind)
    return math


def _runs(text: str, math: Callable[[str], str], words: Callable[[str], str]) -> str:
    """The text with each stretch of mathematics and each of words set by its own function."""

    def each() -> Iterator[str]:
        for i, run in enumerate(text.split("$")):
            yield math(run) if i % 2 else words(run.replace(DOLLAR, "$"))

    return "".join(each())


def _number_set(cell: str) -> str:
    """A cell that holds a number as mathematics, so that its minus sign and its power of ten are set as such."""
    return f"${cell}$" if re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", cell) else cell


def _aligned(formula: Formula) -> str:
    lines = formula.latex or tuple(map(tex, formula.lines))
    return " \\\\\n".join(line.replace("=", "&=", 1) if "=" in line else f"&{line}" for line in lines)


def _wrapped(text: str, indent: str) -> str:
    # A formula in prose is not broken: its spaces become hard ones, which textwrap leaves alone.
    hard = _runs(text, lambda math: ascii_math(math).replace(" ", "\xa0"), str)
    lines = textwrap.wrap(hard, COLUMNS, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
                          break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines).replace("\xa0", " ")


def _text_part(part: str | Formula | Table) -> str:
    if isinstance(part, Formula):
        sides = [ascii_math(line).partition("=") for line in part.lines]
        left = max((len(left) for left, sign, _ in sides if sign), default=0)
        aligned = (f"{start.rjust(left)}={end}" if sign else " " * left + start for start, sign, end in sides)
        return "\n".join(INDENT * 2 + line for line in aligned)
    if isinstance(part, Table):
        head, *rows = ([_runs(cell, ascii_math, str) for cell in row] for row in (part.head, *part.rows))
        lines = text_table(head, rows).splitlines()
        if part.summed:
            lines.insert(-1, "-" * max(map(len, lines)))
        return "\n".join(INDENT * 2 + line for line in lines)
    return _wrapped(part, INDENT)


def _html_table(table: Table, prose: Callable[[str], str]) -> str:
    def row(cells: tuple[str, ...], tag: str, style: str = "") -> str:
        opened = f'<{tag} style="text-align: right; padding: 0 0.8em{style}">'
        return "<tr>" + "".join(f"{opened}{prose(_number_set(cell))}</{tag}>" for cell in cells) + "</tr>"

    last = len(table.rows) - 1
    rows = [
        row(cells, "td", "; border-top: 1px solid" if table.summed and i == last else "")
        for i, cells in enumerate(table.rows)
    ]
    return "<table>\n" + "\n".join([row(table.head, "th"), *rows]) + "\n</table>"


def _escaped_markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]#$~])", r"\\\1", text)


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
         "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}  # fmt: skip


def _escaped_latex(text: str) -> str:
    return "".join(LATEX.get(sign, f"\\{sign}" if sign in "{}%&#_$" else sign) for sign in text)
