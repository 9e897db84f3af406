"""The command line: thin, over the public functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from deltarule import runs
from deltarule.errors import BadInput, DeltaruleError

app = typer.Typer(
    help="Backpropagation you can train with, see, check and change.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)

Data = Annotated[Optional[Path], typer.Option("--data", help="The folder of MNIST's four IDX files.")]  # noqa: UP045


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="digits (embedded) or mnist (with --data DIR).")],
    run: Annotated[Path, typer.Option("--out", help="The run's folder; an unfinished run in it goes on.")],
    data: Data = None,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers: 30, or 256,256. Empty: none.")] = "30",
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "sigmoid",
    output: Annotated[str | None, typer.Option(help="Of the output; as the cost asks, if not given.")] = None,
    cost: Annotated[str, typer.Option(help="quadratic, cross_entropy, log_likelihood, ...")] = "quadratic",
    init: Annotated[str, typer.Option(help="auto, nielsen, nielsen_scaled, lecun, orthogonal, zeros.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    epochs: Annotated[int, typer.Option(help="How many passes over the training data.")] = 30,
    batch: Annotated[int, typer.Option(help="Samples in a step.")] = 10,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum, nesterov, rmsprop, adam, adamw.")] = "sgd",
    eta: Annotated[float, typer.Option(help="The learning rate.")] = 3.0,
    l2: Annotated[float, typer.Option(help="l2/2 sum W^2 is added to the mean cost.")] = 0.0,
    l1: Annotated[float, typer.Option(help="l1 sum |W| is added to the mean cost.")] = 0.0,
    dropout: Annotated[float, typer.Option(help="The share of hidden units silenced in a step.")] = 0.0,
    schedule: Annotated[str, typer.Option(help="constant, inverse, cosine, on_plateau.")] = "constant",
    patience: Annotated[int, typer.Option(help="Stop early after so many epochs without improvement; 0: never.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bits.")] = 0,
    rule: Annotated[str, typer.Option(help="transpose, inverse, random, direct, sign, kolen_pollack.")] = "transpose",
    watch: Annotated[int, typer.Option(help="Record the error's flow in every k-th step; 0: never.")] = 0,
    progress: Annotated[bool, typer.Option(help="A bar, where this is a terminal.")] = True,
) -> None:
    """Train a network on a data set; the run's folder holds all that is needed to do it again."""
    settings = runs.Settings(
        dataset, str(data) if data else None, runs.widths(hidden), activation, output, cost, init, dtype, epochs,
        batch, optimizer, eta, l2, l1, dropout, schedule, patience, seed, rule, watch,
    )  # fmt: skip
    result = runs.train(settings, run, progress=progress)
    out.print(str(result.network))
    out.print(str(result.history))
    if result.history.flow is not None:
        out.print(str(result.history.flow))
    if result.history.stopped == "interrupted":
        out.print("Interrupted. The same command goes on from the last whole epoch.")
    out.print(f"accuracy on the test data: {result.accuracy:.4f}")
    out.print(f"written to {run}: network, history, settings")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a network file.")],
    dataset: Annotated[str, typer.Argument(help="digits or mnist.")],
    data: Data = None,
) -> None:
    """The cost and accuracy of a trained network on each part of a data set."""
    out.print(runs.evaluate(run, dataset, data))


@app.command()
def check(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a network file.")],
    dataset: Annotated[str | None, typer.Option(help="The data to check on; the run's own, if not given.")] = None,
    data: Data = None,
    samples: Annotated[int, typer.Option(help="How many samples.")] = 5,
) -> None:
    """Prove the network's backward pass against measurement. Exits with 1 where it fails."""
    report = runs.check(run, dataset, data, samples)
    out.print(str(report))
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def flow(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a network file.")],
    dataset: Annotated[str | None, typer.Option(help="The data to run through; the run's own, if not given.")] = None,
    data: Data = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it into this file: .png, .svg, .pdf.")] = None,
) -> None:
    """Where the error goes, layer by layer, over the training data; what is wrong, and what mends it."""
    found = runs.flow(run, dataset, data)
    if plot is not None:
        runs.draw(found, plot)
    typer.echo(found.report())
    if plot is not None:
        out.print(f"drawn into {plot}", markup=False)


@app.command()
def explain(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder, or a network file; if none, one is trained.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="l; the last hidden layer, if not given.")] = None,
    sample: Annotated[int, typer.Option(help="Which sample of the training data, from 0.")] = 0,
    neuron: Annotated[int | None, typer.Option(help="k; that with the largest delta, if not given.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The data; the run's own, if not given.")] = None,
    data: Data = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="As a fragment of LaTeX.")] = False,
    file: Annotated[Path | None, typer.Option("--out", help="Write to a file: .md, .tex, .html or text.")] = None,
    symbolic: Annotated[
        bool, typer.Option("--symbolic", help="The chain rule in symbols too (needs SymPy).")
    ] = False,
) -> None:
    """Walk through one layer's backward step with real numbers: why the transpose, and why not the inverse."""
    found = runs.explain(
        run, dataset, data, layer, sample, neuron, symbolic, say=lambda text: print(text, file=sys.stderr)
    )
    text = runs.written(found, markdown, latex, file)
    if file is None:
        print(text, end="")
    else:
        out.print(f"written to {file}", markup=False)


@app.command()
def formula(text: Annotated[str, typer.Argument(help="LaTeX or Python notation, one equation or a chain.")]) -> None:
    """Judge a formula of backpropagation against real numbers. Exits with 1 where it does not hold."""
    from deltarule.formula import check_formula

    verdict = check_formula(text)
    out.print(str(verdict), markup=False)
    if not verdict.holds:
        raise typer.Exit(1)


@app.command()
def compare_rules(
    dataset: Annotated[str, typer.Argument(help="digits (embedded) or mnist (with --data DIR).")] = "digits",
    data: Data = None,
    rules: Annotated[str, typer.Option(help="Names with commas between; all, if not given.")] = "",
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "60,60",
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "tanh",
    epochs: Annotated[int, typer.Option(help="How many passes over the training data.")] = 30,
    batch: Annotated[int, typer.Option(help="Samples in a step.")] = 10,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum, nesterov, rmsprop, adam, adamw.")] = "sgd",
    eta: Annotated[float, typer.Option(help="The learning rate, the same for all.")] = 0.1,
    l2: Annotated[float, typer.Option(help="l2/2 sum W^2 is added to the mean cost.")] = 0.0,
    seeds: Annotated[int, typer.Option(help="How many seeds each.")] = 5,
    report: Annotated[Path | None, typer.Option("--out", help="Write all figures to this file, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw learning curves and angles: a PNG, SVG or PDF.")] = None,
    progress: Annotated[bool, typer.Option(help="A bar, where this is a terminal.")] = True,
) -> None:
    """Train with every rule that can carry the error back, under one protocol: accuracy, curves, angles."""
    found = runs.compare_rules(
        dataset, data, rules, hidden, activation, epochs, batch, optimizer, eta, l2, seeds, report, plot, progress
    )
    out.print(str(found), markup=False)


@app.command("compile")
def compile_() -> None:
    """Compile the kernels for both dtypes ahead of their first use, and say where they are kept."""
    from deltarule.warm import compile_kernels

    folder = compile_kernels(say=lambda text: out.print(text))
    if folder is None:
        raise BadInput(
            "no folder can be written to keep the compiled kernels in, so every process compiles for itself. "
            "Set NUMBA_CACHE_DIR to one that can, here and where the kernels are used."
        )
    out.print(f"kept in {folder}", markup=False)


@app.command()
def demo() -> None:
    """Train on the embedded digits, show where the error goes, and check it against measurement."""
    result = runs.demo(say=lambda text: out.print(text))
    if not result.ok:
        raise typer.Exit(1)


def main() -> None:
    """The program `deltarule`: a mistake of the user's ends in one clear line, not in a traceback."""
    try:
        app()
    except (DeltaruleError, OSError) as error:  # an OSError: no permission, a full disk
        print(f"deltarule: {error}", file=sys.stderr)
        sys.exit(2)
