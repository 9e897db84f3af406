"""Pictures of records, through Matplotlib, which is an extra and comes in when the first picture is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule.errors import MissingExtra, unknown
from deltarule.paths import heaviest
from deltarule.paths import label as named
from deltarule.reports import GAIN, LOSS, move_label, spread

if TYPE_CHECKING:
    from deltarule.comparison import Comparison
    from deltarule.flow import Flow
    from deltarule.watched import Watched, WatchedModel

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008), which the colour-blind tell apart; line styles and marks help it."""

POINTS = 2000

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "--", ":", "-.")


def new_axes(ax: Any, width: float = 6.4) -> Any:
    """The Axes given, or new ones, so many inches wide. Raises MissingExtra without Matplotlib."""
    return _pyplot().subplots(figsize=(width, 4.8), layout="constrained")[1] if ax is None else ax


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtra('a plot needs Matplotlib: pip install "deltarule[plot]"') from error
    return pyplot


def endings() -> list[str]:
    """The endings of the files that a plot can be written to, without the dot."""
    _pyplot()
    from matplotlib.backend_bases import FigureCanvasBase

    return sorted(FigureCanvasBase.get_supported_filetypes())


def plot_flow(flow: Flow, ax: Any = None) -> Any:
    """The error's length from the cost to the input, one point a move; call it as ``flow.plot()``."""
    if flow.of_model:
        return plot_model(flow, ax)
    ax = new_axes(ax, min(max(6.4, 0.5 * len(flow.rows)), 40.0))
    norms = np.array([flow.rows[0].norm_in, *(move.norm_out for move in flow.rows)])
    at = np.arange(len(norms))
    drawn = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
    ax.plot(at, drawn, color="#888888", linewidth=1, zorder=1)
    kinds = (("activation", LOSS, "o", "after * sigma'(z)"), ("weights", GAIN, "s", "after the weights"))
    for step, color, marker, label in kinds:
        here = [i + 1 for i, move in enumerate(flow.rows) if move.step == step]
        ax.plot(at[here], drawn[here], marker, color=color, label=label, zorder=2)
    ax.plot(at[:1], drawn[:1], "D", color="#000000", label="dC/da at the output", zorder=2)
    if np.isfinite(drawn).any():
        ax.set_yscale("log")
    for i in np.flatnonzero(np.isnan(drawn)):  # a logarithm has no place for these
        ax.annotate(f"{norms[i]:g}", (at[i], 0.02), xycoords=("data", "axes fraction"), ha="center", color=LOSS)
    names = [f"dC/da^{flow.L}", *(move_label(move, flow.activations) for move in flow.rows)]
    ax.set_xticks(at, names, rotation=45, ha="right")
    ax.set_xlim(-0.5, len(at) - 0.5)
    ax.set_ylabel("length of the error")
    ax.set_title(f"The error's way back: {flow.verdict}")
    ax.legend()
    return ax


KINDS = {
    "weights": (GAIN, "s"),
    "activation": (LOSS, "o"),
    "normalisation": ("#009E73", "^"),
    "addition": ("#CC79A7", "P"),
}
"""How the steps of a model's flow are marked; others are small and grey."""


def plot_model(flow: Flow, ax: Any = None) -> Any:
    """The error's length where it arrives, along the way on which most of it comes to the first layer."""
    ends = [i for i, move in enumerate(flow.rows) if move.step == "weights" and move.layer == 0]
    way = heaviest(flow.rows, max(ends, key=lambda i: flow.rows[i].norm_in) if ends else len(flow.rows) - 1)
    way = [i for i in way if flow.rows[i].step != "shape"]
    ax = new_axes(ax, min(max(6.4, 0.35 * len(way)), 40.0))
    norms = np.array([flow.rows[i].norm_in for i in way])
    drawn = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
    at = np.arange(len(way))
    ax.plot(at, drawn, color="#888888", linewidth=1, zorder=1)
    for step, (color, marker) in KINDS.items():
        here = [k for k, i in enumerate(way) if flow.rows[i].step == step]
        if here:
            ax.plot(at[here], drawn[here], marker, color=color, label=f"into {step}", zorder=2)
    if np.isfinite(drawn).any():
        ax.set_yscale("log")
    for k in np.flatnonzero(np.isnan(drawn)):  # a logarithm has no place for these
        ax.annotate(f"{norms[k]:g}", (at[k], 0.02), xycoords=("data", "axes fraction"), ha="center", color=LOSS)
    ax.set_xticks(at, [named(flow.rows[i]) for i in way], rotation=60, ha="right", fontsize="small")
    ax.set_ylabel("length of the error that arrives")
    ax.set_title(f"The error's way back: {flow.verdict}")
    ax.legend()
    return ax


def plot_watched(watched: Watched | WatchedModel, what: str = "delta", ax: Any = None) -> Any:
    """One line a layer over the training steps; call it as ``watched.plot()``."""
    if what not in ("delta", "speed", "moved"):
        raise unknown("quantity to plot", what, ("delta", "speed", "moved"))
    ax = new_axes(ax)
    values = getattr(watched, what)
    # More points than a screen has columns cannot be seen.
    shown = spread(len(watched), POINTS)
    for l in range(1, watched.L + 1):
        line = values[shown, l - 1]
        ax.plot(
            np.asarray(watched.steps)[shown],
            np.where(line > 0, line, np.nan),
            linestyle=STYLES[(l - 1) // len(COLORS) % len(STYLES)],
            marker=MARKERS[(l - 1) % len(MARKERS)],
            markevery=max(1, len(shown) // 10),
            color=COLORS[(l - 1) % len(COLORS)],
            label=f"layer {l}, {watched.activations[l - 1]}",
        )
    if (values > 0).any():
        ax.set_yscale("log")
    names = {"delta": "length of delta", "speed": "speed of learning |dC/db|", "moved": "length of dC/da"}
    ax.set_ylabel(names[what])
    ax.set_xlabel("training step")
    ax.set_title(watched.about())
    ax.legend()
    return ax


def plot_comparison(found: Comparison, axes: Any = None) -> Any:
    """Learning curves and angles of every rule over the epochs; call it as ``comparison.plot()``."""
    hidden = found.angle.shape[3]
    if axes is None:
        figure, made = _pyplot().subplots(1, 1 + hidden, figsize=(4.8 * (1 + hidden), 4.4), layout="constrained")
        axes = np.atleast_1d(made)
        figure.suptitle(f"{found.network}\n{found.protocol}", fontsize="small")
    epochs = 1 + np.arange(found.cost.shape[2])
    panels = [("validation error", 1 - found.validation)]
    panels += [(f"degrees to the true error, layer {l}", found.angle[..., l - 1]) for l in range(1, hidden + 1)]
    for ax, (name, values) in zip(axes, panels, strict=True):
        for r, rule in enumerate(found.rules):
            seen = np.isfinite(values[r]).any(axis=0)
            if not seen.any():
                continue
            at, color = epochs[seen], COLORS[r % len(COLORS)]
            low, middle, high = np.nanquantile(values[r][:, seen], (0, 0.5, 1), axis=0)
            ax.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
            ax.plot(at, middle, color=color, label=rule, marker=MARKERS[r % len(MARKERS)],
                    linestyle=STYLES[r // len(COLORS) % len(STYLES)], markevery=max(1, len(at) // 8))  # fmt: skip
        ax.set_xlabel("epoch")
        ax.set_ylabel(name)
    axes[0].set_yscale("log")
    for ax in axes[1:]:
        ax.set_ylim(-2, 95)
        ax.axhline(90, color="#888888", linewidth=1, linestyle=":")
    axes[0].legend()
    return axes
