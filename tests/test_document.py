"""Documents: one text, set four ways; nothing that a user named is taken for markup."""

from __future__ import annotations

import html.parser
import re
from collections import Counter

import pytest

from deltarule.document import COLUMNS, Document, Formula, Section, Table, ascii_math, html_math, literal, tex
from deltarule.numerals import column, number

WILD = r"<script>alert('$x$')</script> 100% a_b^c & {d} #1 ~ \input | `e` *f* [g]"


@pytest.fixture
def document():
    parts = (
        f"Neuron $k$ of {literal(WILD)} sends $w_jk a^1_k$, " + "and so on, " * 20 + "to the end.",
        Formula(("δ^1_k = Σ_j w_jk δ^2_j", "= -1.5e-7")),
        Table(("$j$", literal(WILD)), (("0", "-1.25"), ("1", "2.5e-3"), ("sum", "1.5")), summed=True),
    )
    return Document("A title with $δ^2$", (Section("1. First", parts),))


def test_the_terminal_gets_ascii_within_its_columns(document):
    text = document.text()
    assert text.isascii()
    assert "delta^1_k = sum_j w_jk delta^2_j" in text
    assert WILD in " ".join(text.split())
    assert max(map(len, document.text().splitlines()[:6])) <= COLUMNS


def test_lines_are_aligned_at_their_equals_sign(document):
    first, second = (line for line in document.text().splitlines() if " = sum_j" in line or "= -1.5e-7" in line)
    assert first.index("=") == second.index("=")


def test_the_row_of_a_sum_stands_under_a_rule(document):
    lines = document.text().splitlines()
    assert set(lines[-2].strip()) == {"-"}
    assert lines[-1].split() == ["sum", "1.5"]


def assert_latex(latex):
    """Braces, environments and dollars close; nothing stands unescaped."""
    opened = re.findall(r"\\(begin|end)\{(\w+\*?)\}", latex)
    stack = []
    for what, name in opened:
        if what == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    body = "\n".join(latex.splitlines()[1:])  # the first line is a comment
    bare = re.sub(r"\\[\\{}%&#_$]", "", body)
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert "%" not in bare
    assert bare.isascii()
    outside = re.sub(r"\$[^$]*\$|\\begin\{(align\*|tabular)\}.*?\\end\{\1\}", "", bare, flags=re.DOTALL)
    assert not re.search(r"[_^&#~<>|]", re.sub(r"\\\w+(\*?\{\w+\*?\})?", "", outside)), outside


def test_latex_closes_what_it_opens_and_escapes_what_it_is_given(document):
    latex = document.latex()
    assert_latex(latex)
    assert r"\delta^{1}_{k} &= \sum_{j} w_{jk} \delta^{2}_{j}" in latex
    assert r"$2.5 \times 10^{-3}$" in latex
    assert r"100\% a\_b\textasciicircum{}c \& \{d\} \#1" in latex


class Tags(html.parser.HTMLParser):
    """Which tags are open; fails where one is closed that is not the last."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], Counter()

    def handle_starttag(self, tag, attributes):
        self.seen[tag] += 1
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def assert_html(text):
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert not tags.open
    assert set(tags.seen) <= {"div", "h3", "h4", "p", "br", "table", "tr", "th", "td", "sup", "sub"}
    return tags.seen


def test_html_is_escaped_and_closes_what_it_opens(document):
    seen = assert_html(document.html())
    assert seen["tr"] == 4
    assert "&lt;script&gt;alert" in document.html()
    assert "δ<sup>1</sup><sub>k</sub> = Σ<sub>j</sub> w<sub>jk</sub>" in document.html()


def assert_markdown(markdown):
    """Every row of a table has as many cells as its head; dollars close."""
    for block in re.findall(r"(?:^\|.*\n?)+", markdown, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    assert len(re.findall(r"(?<!\\)\$", markdown)) % 2 == 0


def test_markdown_has_whole_tables_and_escapes_what_it_is_given(document):
    markdown = document.markdown()
    assert_markdown(markdown)
    assert r"\<script\>alert('\$x\$')" in markdown
    assert r"$\delta^{2}$" in markdown


def test_a_command_of_latex_ends_where_it_should():
    assert tex("∂z^2_j/∂a^1_k · σ'(z)") == r"\partial z^{2}_{j}/\partial a^{1}_{k} \cdot \sigma'(z)"
    assert tex("(W^2)^+ δ^2 ⊙ σ'") == r"(W^{2})^{+} \delta^{2} \odot \sigma'"
    assert tex("(W^2)^{-1}") == "(W^{2})^{-1}"
    assert ascii_math("Σ_j w_jk δ^2_j") == "sum_j w_jk delta^2_j"
    assert html_math("1.5e-07") == "1.5 · 10<sup>-7</sup>"


def test_a_column_has_one_number_of_decimals():
    write = column([123.456, -0.00456])
    assert (write(123.456), write(-0.00456), write(0.001)) == ("123.46", "0.00", "0.00")
    small = column([-1.5e-9, 2e-12])
    assert (small(-1.5e-9), small(2e-12)) == ("-1.5000e-9", "0.0020e-9")
    assert column([0.0])(0.0) == "0"
    assert column([])(0.0) == "0"
    assert float(column([5e-324])(5e-324)) == 5e-324
    assert float(column([1.7e308])(1.7e308)) == 1.7e308
    assert (number(1.0), number(-3.0), number(0.25)) == ("1", "-3", "0.25000")
