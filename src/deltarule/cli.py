"""The command line: thin, over the public functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from deltarule import flows, runs
from deltarule.errors import BadInput, DeltaruleError, RankFailed
from deltarule.settings import usual_settings

app = typer.Typer(
    help="Backpropagation you can train with, see, check and change.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)

Encoding = Annotated[str | None, typer.Option(help="Of a CSV file that is not UTF-8: cp1252, utf-16, ...")]
Unseen = Annotated[
    str, typer.Option(help="A word that was not there in training: error, or zeros, none of those known.")
]
Progress = Annotated[bool, typer.Option(help="A bar, where this is a terminal.")]
Data = Annotated[Optional[Path], typer.Option("--data", help="The folder of MNIST's four IDX files.")]  # noqa: UP045


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="digits (embedded), mnist (with --data DIR), or a table's file.")],
    run: Annotated[Path, typer.Option("--out", help="The run's folder; an unfinished run in it goes on.")],
    data: Data = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers: 30, or 256,256. Empty: none. [30; table: 64]")
    ] = None,
    activation: Annotated[str | None, typer.Option(help="Of the hidden layers. [sigmoid; table: relu]")] = None,
    output: Annotated[str | None, typer.Option(help="Of the output; as the cost asks, if not given.")] = None,
    cost: Annotated[
        str | None,
        typer.Option(help="quadratic, cross_entropy, log_likelihood, ... [quadratic; table: by the target]"),
    ] = None,
    init: Annotated[str, typer.Option(help="auto, nielsen, nielsen_scaled, lecun, orthogonal, zeros.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data. [30; table: 200]")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples in a step. [10; table: 32]")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="sgd, momentum, nesterov, rmsprop, adam, adamw. [sgd; table: adam]")
    ] = None,
    eta: Annotated[float | None, typer.Option(help="The learning rate. [3.0; table: 0.002]")] = None,
    l2: Annotated[float, typer.Option(help="l2/2 sum W^2 is added to the mean cost.")] = 0.0,
    l1: Annotated[float, typer.Option(help="l1 sum |W| is added to the mean cost.")] = 0.0,
    dropout: Annotated[float, typer.Option(help="The share of hidden units silenced in a step.")] = 0.0,
    schedule: Annotated[str, typer.Option(help="constant, inverse, cosine, on_plateau.")] = "constant",
    patience: Annotated[
        int | None,
        typer.Option(help="Stop early after so many epochs without improvement; 0: never. [0; table: 20]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bits.")] = 0,
    rule: Annotated[str, typer.Option(help="transpose, inverse, random, direct, sign, kolen_pollack.")] = "transpose",
    watch: Annotated[int, typer.Option(help="Record the error's flow in every k-th step; 0: never.")] = 0,
    target: Annotated[str | None, typer.Option(help="Table: the column to predict.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Table: classification or regression; by the target, if not given.")
    ] = None,
    missing: Annotated[str, typer.Option(help="Table: error, mean, median, indicator or drop.")] = "error",
    missing_word: Annotated[
        list[str], typer.Option(help="Table: one more word for a missing value; may be repeated.")
    ] = [],  # noqa: B006
    without: Annotated[list[str], typer.Option(help="Table: a column to leave out; may be repeated.")] = [],  # noqa: B006
    category: Annotated[
        list[str], typer.Option(help="Table: a column of numbers to take as words; may be repeated.")
    ] = [],  # noqa: B006
    dates: Annotated[str, typer.Option(help="Table: error, or number: days since 1970.")] = "error",
    most_words: Annotated[int, typer.Option(help="Table: the most different words that a column may have.")] = 100,
    encoding: Encoding = None,
    validation: Annotated[float, typer.Option(help="Table: the share of the rows to choose by.")] = 0.15,
    test: Annotated[float, typer.Option(help="Table: the share of the rows to be judged on.")] = 0.15,
    progress: Progress = True,
) -> None:
    """Train a network on a data set; the run's folder holds all that is needed to do it again.

    A table is a file: .csv, .tsv (both also .gz), .parquet, .npz or .npy. Its --target decides between classification
    and regression; words become one-hot, numbers are standardised, and the run keeps how.
    """
    reading = None
    if target is not None or runs.is_a_table(dataset):
        reading = runs.reading(
            dataset, target, task=task, missing=missing, missing_words=missing_word, without=without,
            category=category, dates=dates, most_words=most_words, encoding=encoding, validation=validation,
            test=test,
        )  # fmt: skip
        dataset = str(Path(dataset).resolve())
    settings = usual_settings(
        dataset, reading, data=str(data) if data else None, hidden=None if hidden is None else runs.widths(hidden),
        activation=activation, output=output, cost=cost, init=init, dtype=dtype, epochs=epochs, batch=batch,
        optimizer=optimizer, eta=eta, l2=l2, l1=l1, dropout=dropout, schedule=schedule, patience=patience, seed=seed,
        rule=rule, watch=watch,
    )  # fmt: skip
    result = runs.train(settings, run, progress=progress)
    if result is None:  # not the first of several ranks, which speaks for all
        return
    if result.recipe is not None:
        out.print(str(result.recipe), markup=False)
    out.print(str(result.network))
    out.print(str(result.history))
    if result.history.sharing is not None:
        out.print(str(result.history.sharing))
    if result.history.flow is not None:
        out.print(str(result.history.flow))
    if result.history.stopped == "interrupted":
        out.print("Interrupted. The same command goes on from the last whole epoch.")
    out.print(result.test, markup=False)
    out.print(f"written to {run}: network, history, settings{', recipe' if result.recipe else ''}", markup=False)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a network file.")],
    dataset: Annotated[
        str | None, typer.Argument(help="digits, mnist, or a table's file; the run's own, if not given.")
    ] = None,
    data: Data = None,
    unseen: Unseen = "error",
    encoding: Encoding = None,
    progress: Progress = True,
) -> None:
    """The cost and accuracy of a trained network on each part of a data set, or on a table."""
    out.print(runs.evaluate(run, dataset, data, unseen, encoding, progress), markup=False)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained on a table.")],
    table: Annotated[Path, typer.Argument(help="A table with the columns that the run was trained on.")],
    file: Annotated[Path, typer.Option("--out", help="Write the predictions to this file: .csv or .parquet.")],
    keep: Annotated[
        list[str], typer.Option(help="A column of the table to write beside them; may be repeated.")
    ] = [],  # noqa: B006
    unseen: Unseen = "error",
    encoding: Encoding = None,
    progress: Progress = True,
) -> None:
    """Write what a trained network says of each row of a table: the class and its probabilities, or the value."""
    out.print(runs.predict(run, table, file, tuple(keep), unseen, encoding, progress), markup=False)


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
    run: Annotated[
        Path, typer.Argument(help="A run's folder, a network file, or what a watch over a PyTorch model has saved.")
    ],
    step: Annotated[int | None, typer.Option(help="The recorded training step; see `train --watch`.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The data to run through; the run's own, if not given.")] = None,
    data: Data = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it into this file: .png, .svg, .pdf.")] = None,
    curves: Annotated[Path | None, typer.Option(help="Draw each layer's error over the recorded steps.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write it as a page.")] = None,
) -> None:
    """Where the error goes, layer by layer; what is wrong, and what mends it.

    Of a run: over the training data, as the network is now. Of a watched one, or of a watch's record, also over the
    recorded steps.
    """
    found = flows.shown(run, dataset, data, step)
    written = flows.write(found, plot, curves, html)
    typer.echo(found.text())
    for line in written:
        out.print(line, markup=False)


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
def report(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, a network file, or what a watch over a PyTorch model has saved.")
    ],
    file: Annotated[Path, typer.Option("--out", "-o", help="Write to this file: .html.")],
    samples: Annotated[
        int, typer.Option(help="Of so many samples every step comes along: the first, and those that cost most.")
    ] = 12,
    dataset: Annotated[str | None, typer.Option(help="The data to look at; the run's own, if not given.")] = None,
    data: Data = None,
) -> None:
    """Write a run as one page to look through and to send: it opens from disk, with no server and no network."""
    from deltarule.page import report as written

    out.print(written(run, file, samples=samples, dataset=dataset, folder=data), markup=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a network file.")],
    onnx: Annotated[Path | None, typer.Option(help="An ONNX model; needs onnx.")] = None,
    torch: Annotated[Path | None, typer.Option(help="The state of a PyTorch module; needs PyTorch.")] = None,
    c: Annotated[Path | None, typer.Option("--c", help="A C99 header, for a microcontroller.")] = None,
    safetensors: Annotated[Path | None, typer.Option(help="The network's own file, which others read too.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="ONNX: give every z and a out.")] = False,
    backward: Annotated[bool, typer.Option("--backward", help="C: the backward pass too, to learn there.")] = False,
) -> None:
    """Write a trained network for another program: ONNX, PyTorch, C, safetensors; each file whole or not at all."""
    runs.export(run, onnx, torch, c, safetensors, layers, backward, say=lambda text: out.print(text, markup=False))


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
    progress: Progress = True,
) -> None:
    """Train with every rule that can carry the error back, under one protocol: accuracy, curves, angles."""
    found = runs.compare_rules(
        dataset, data, rules, hidden, activation, epochs, batch, optimizer, eta, l2, seeds, report, plot, progress
    )
    out.print(str(found), markup=False)


@app.command()
def explore(
    paths: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Runs, networks' files, records of a watch. [the embedded digits]"),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="The data to run through; a run's own, if not given.")] = None,
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="[8765, or another that is free]")] = None,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
) -> None:
    """Open a page on this machine: step through a network, train it live, judge formulas, diagnose runs."""
    from deltarule.page.server import explore as serve

    serve(paths or [], dataset=dataset, folder=data, port=port, browser=browser, say=lambda text: typer.echo(text))


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
    except RankFailed:
        sys.exit(2)  # the rank whose error it is tells it
    except (DeltaruleError, OSError) as error:  # an OSError: no permission, a full disk
        print(f"deltarule: {error}", file=sys.stderr)
        sys.exit(2)
