"""A flow on the terminal and in a notebook: the table of moves with a bar for each gain, verdict and remedy.

It reads records and nothing else. Losses are orange and gains blue, which every eye tells apart; in plain text
they are `-` to the left of a bar's middle and `+` to the right of it.
"""

from __future__ import annotations

import html
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltarule.paths import arriving, label, shares, where
from deltarule.records import text_table

if TYPE_CHECKING:
    from deltarule.flow import Flow, Move
    from deltarule.verdicts import Fault
    from deltarule.watched import Watched, WatchedModel

MARKS = 10
"""The length of the longest half of a bar. One mark is a factor of the square root of 2, or more where the largest
gain would not fit."""

LOSS, GAIN = "#D55E00", "#0072B2"
"""Orange and blue of the palette of Okabe and Ito (2008)."""

SPACED = ' style="border-collapse:separate;border-spacing:10px 1px"'
"""Columns stand apart in a page that has no style of its own for tables."""

CARRIERS = {
    "transpose": "(W^{l})^T",
    "inverse": "(W^{l})^+",
    "sign": "sign(W^{l})^T",
    "direct": "B^T delta^L",
    "function": "rule",
}
"""How a rule carries the error from layer l to the one below, as a formula; by a matrix B of its own, if not here."""

HEAD = ["layer", "move", "norm in", "norm out", "gain", "saturated", "dead"]

MODEL_HEAD = ["layer", "operation", "norm in", "norm out", "gain", "flat", "dead", "parts"]

MODEL_ROWS = 40
"""As many operations of a model are shown: those that change the error most, and those that a verdict names."""

PLAIN = 0.05
"""An operation that only reshapes or adds, or has a gain this near to 1, is not shown where there are too many."""


def in_color(wanted: bool | None) -> bool:
    """Whether to use colour: as wanted, or where stdout is a terminal and NO_COLOR (no-color.org) is not set."""
    if wanted is None:
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted


def painter(color: bool) -> Callable[[str, str], str]:
    """A function that gives a text a style of Rich, or leaves it plain."""
    if not color:
        return lambda text, style: text
    from rich.color import ColorSystem
    from rich.style import Style

    return lambda text, style: Style.parse(style).render(text, color_system=ColorSystem.EIGHT_BIT)


def move_label(move: Move, activations: Sequence[str]) -> str:
    """The move as a formula: * sigma'(z^2), tanh; (W^3)^T."""
    if move.step == "activation":
        return f"* sigma'(z^{move.layer}), {activations[move.layer - 1]}"
    return CARRIERS.get(move.rule, "B^T").format(l=move.layer + 1)


def shown(flow: Flow) -> list[int]:
    """The rows that the table has: all of a network of ours; of a model those that say something."""
    if not flow.of_model:
        return list(range(len(flow.rows)))
    meets = {i for i, parts in enumerate(shares(flow.rows)) if len(parts) > 1}
    named = {(fault.name, fault.layer, fault.step) for fault in flow.verdicts}
    weight = {}
    for i, move in enumerate(flow.rows):
        told = (move.name, move.layer, move.step) in named
        flat = max(move.saturated or 0.0, move.dead or 0.0)
        change = abs(_log2(move.gain))
        if told or move.step == "weights" or i in meets or change > PLAIN or flat > PLAIN:
            weight[i] = math.inf if told else change + 4 * flat + (1.0 if move.step == "weights" else 0.0)
    most = sorted(weight, key=lambda i: (-weight[i], i))[:MODEL_ROWS]
    return sorted(most)


def model_cells(flow: Flow) -> list[list[str]]:
    """The table of a model's flow as text, under :data:`MODEL_HEAD`.

    "parts" are the shares of those that hand the error over, where there are several: the branches of a residual
    block, the heads of a model.
    """
    table, parts = [], shares(flow.rows)
    for i in shown(flow):
        move = flow.rows[i]
        flat = ["" if share is None else f"{100 * share:.0f}%" for share in (move.saturated, move.dead)]
        out = ["", ""] if move.ends else [f"{move.norm_out:.3g}", f"{move.gain:.3g}"]
        met = (
            [f"{100 * share:.0f}% {label(flow.rows[source])}" for source, share in parts[i]]
            if len(parts[i]) > 1
            else []
        )
        met = met[:3] + ([f"{len(met) - 3} more"] if len(met) > 3 else [])
        table.append([str(move.layer), where(move), f"{move.norm_in:.3g}", *out, *flat, ", ".join(met)])
    return table


def heads(flow: Flow) -> list[str]:
    """The head of a flow's table, without the columns that would be empty."""
    return MODEL_HEAD if flow.of_model else HEAD


def cells(flow: Flow) -> list[list[str]]:
    """The table of a flow as text, under :func:`heads`."""
    if flow.of_model:
        return model_cells(flow)
    table = []
    for move in flow.rows:
        shares = ["" if share is None else f"{100 * share:.0f}%" for share in (move.saturated, move.dead)]
        norms = [f"{move.norm_in:.3g}", f"{move.norm_out:.3g}", f"{move.gain:.3g}"]
        table.append([str(move.layer), move_label(move, flow.activations), *norms, *shares])
    return table


def bars(flow: Flow, most: int = MARKS) -> tuple[list[int], float]:
    """The marks of each move, at most so many and negative for a loss, and the factor that a mark stands for."""
    logs = [_log2(flow.rows[i].gain) for i in shown(flow)]
    unit = max(0.5, max((abs(one) for one in logs if math.isfinite(one)), default=0.0) / most)
    return [round(max(-most, min(most, one / unit))) for one in logs], 2.0**unit


def _log2(gain: float) -> float:
    """log_2 of a gain: -inf for one that leaves nothing, 0 where there is none to speak of (NaN)."""
    if math.isnan(gain):
        return 0.0
    return math.log2(gain) if gain > 0 else -math.inf


def _filled(head: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """A model's table without the columns in which nothing stands; others as they are."""
    if head is HEAD:
        return head, rows
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def summary(flow: Flow) -> list[tuple[str, str]]:
    """The lines under the table, each with its style: the total, the verdicts, the remedies."""
    lines = [(f"delta^1 is {flow.total:.3g} times delta^{flow.L}", "")] if math.isfinite(flow.total) else []
    if flow.of_model:
        lines = _model_lines(flow)
    elif flow.rows[0].norm_in == 0:
        lines.append(("There is no error: dC/da is 0 for every sample.", ""))
    if not flow.verdicts:
        return [*lines, ("verdict: healthy", "bold green")]
    for i, fault in enumerate(flow.verdicts):
        lines.append((f"{'verdict: ' if i == 0 else ''}{fault.word}: {fault.why}.", "bold red"))
        if fault.advice:
            lines.append((f"  what to do: {fault.advice}.", ""))
    if flow.remedy is not None:
        lines.append(("remedy (flow.remedy.apply(net)), with each layer's gain now -> as predicted:", "bold"))
        lines += [(f"  {change}", "") for change in flow.remedy.changes]
    return lines


def _model_lines(flow: Flow) -> list[tuple[str, str]]:
    """Under a model's table: what is not in it, how the layers compare, and what could not be seen."""
    left = len(flow.rows) - len(shown(flow))
    lines = (
        [(f"{left} more operations change its length by less, or only its shape (flow.rows has all)", "")]
        if left
        else []
    )
    if flow.L > 1 and math.isfinite(flow.total):
        lines.append((f"the error that arrives at layer 1 is {flow.total:.3g} times that at layer {flow.L}", ""))
    return [*lines, *_notes(flow), *((f"not seen: {what}", "dim") for what in flow.unseen)]


def notes(flow: Flow) -> list[str]:
    """What its lengths are those of, where that is not plain: a loss that was scaled, or of several processes."""
    return [text for text, _ in _notes(flow)]


def _notes(flow: Flow) -> list[tuple[str, str]]:
    scaled = f"lengths are those of the loss before the gradient scaler's factor {flow.scale:g}"
    return [*([(scaled, "")] if flow.scale != 1 else []), *_rank_lines(flow)]


def _rank_lines(flow: Flow) -> list[tuple[str, str]]:
    """Of a model that several processes train: how far they are apart, and whose own verdict is another."""
    if not flow.ranks:
        return []
    lines = [(f"lengths are those of the mean of {len(flow.ranks)} ranks' losses, over the samples of all", "")]
    own = {rank: one for rank, one in enumerate(flow.ranks) if one is not None}
    sizes = {rank: arriving(one.rows, 1) for rank, one in own.items()}
    finite = {rank: size for rank, size in sizes.items() if math.isfinite(size)}
    if flow.L and len(finite) > 1:
        low, high = min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)
        ends = f"{finite[low]:.3g} (rank {low}) to {finite[high]:.3g} (rank {high})"
        lines.append((f"at layer 1 each rank's own error is {ends}", ""))
    for rank, one in own.items():
        if one.verdict != flow.verdict:
            lines.append((f"rank {rank} by itself: {'; '.join(map(_brief, one.verdicts)) or 'healthy'}", "bold"))
    return lines


def _brief(fault: Fault) -> str:
    return f"{fault.word}: {fault.why}"


def flow_text(flow: Flow, color: bool | None) -> str:
    """The report of a flow; call it as ``flow.report()``."""
    paint = painter(in_color(color))
    lines = text_table(*_filled(heads(flow), cells(flow))).splitlines()
    width = max(len(line) for line in lines)
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf
    marks, factor = bars(flow, max(1, int(min(MARKS, (room - width - 3) // 2))))
    widest = max(1, *(abs(n) for n in marks))
    drawn = []
    for line, n in zip(lines[1:], marks, strict=True):
        left, right = "-" * max(0, -n), "+" * max(0, n)
        bar = " " * (widest - len(left)) + paint(left, LOSS) + "|" + paint(right, GAIN)
        drawn.append(f"{line.ljust(width)}  {bar}".rstrip())
    about = f", {flow.samples} samples" if flow.samples else ""
    head = f"The error's way back{about}, from the cost to the input; one mark of a bar is a factor {factor:.3g}"
    below = [paint(text, style) if style else text for text, style in summary(flow)]
    return "\n".join([head, paint(lines[0], "bold"), *drawn, *below])


def flow_html(flow: Flow) -> str:
    """The report of a flow as a table with bars; no script, no style but its own."""
    marks, _ = bars(flow)
    body = []
    names, rows = _filled(heads(flow), cells(flow))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in [*names, ""])
    for row, n in zip(rows, marks, strict=True):
        texts = "".join(
            f'<td style="text-align:{"left" if i == 1 else "right"}">{html.escape(text)}</td>'
            for i, text in enumerate(row)
        )
        body.append(f"<tr>{texts}<td>{_html_bar(n)}</td></tr>")
    below = "".join(
        f'<div style="{"font-weight:bold" if style else ""}">{html.escape(text)}</div>'
        for text, style in summary(flow)
    )
    about = f", {flow.samples} samples" if flow.samples else ""
    return (
        f"<div><div>The error's way back{about}, from the cost to the input</div>"
        f"<table{SPACED}><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{below}</div>"
    )


def _html_bar(n: int) -> str:
    """A bar from the middle, to the left for a loss and to the right for a gain."""
    share = 50 * abs(n) / MARKS
    start = 50 - share if n < 0 else 50
    return (
        '<div style="position:relative;width:120px;height:10px;border-left:0;background:'
        'linear-gradient(to right,transparent 49.5%,#888 49.5%,#888 50.5%,transparent 50.5%)">'
        f'<div style="position:absolute;left:{start:g}%;width:{share:g}%;height:10px;'
        f'background:{LOSS if n < 0 else GAIN}"></div></div>'
    )


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many numbers from 0 to count - 1, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64))


def watched_html(watched: Watched | WatchedModel) -> str:
    """The table of a watched training."""
    head, rows = watched.table()
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:right">{html.escape(text)}</td>' for text in row) + "</tr>"
        for row in rows
    )
    about = html.escape(watched.about())
    return f"<div><div>{about}</div><table{SPACED}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
