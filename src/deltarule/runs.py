"""A run: the folder that a training leaves behind, with all that is needed to do it again.

network.safetensors   the network as trained
history.json          cost and accuracy of every epoch
settings.json         what it was trained with, and the program's version
checkpoint/           the state after the last epoch, from which an unfinished run goes on
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import deltarule
from deltarule import data
from deltarule.check import CheckReport
from deltarule.check import check as check_backward
from deltarule.comparison import Comparison
from deltarule.comparison import compare_rules as compare
from deltarule.document import Readable
from deltarule.errors import BadFile, BadInput, DeltaruleError, Diverged, unknown
from deltarule.explain import explain as explain_layer
from deltarule.flow import Flow
from deltarule.formula import derive
from deltarule.history import History
from deltarule.network import Network
from deltarule.optimizers import OPTIMIZERS, SGD, Optimizer
from deltarule.schedules import EarlyStopping
from deltarule.store import load, write_whole

NETWORK, HISTORY, SETTINGS, CHECKPOINT = "network.safetensors", "history.json", "settings.json", "checkpoint"
USUAL_OUTPUT = {
    "cross_entropy": "sigmoid",
    "log_likelihood": "softmax",
    "poisson": "softplus",
    "poisson_deviance": "exp",
}


@dataclass(frozen=True)
class Settings:
    """What `deltarule train` was asked for."""

    dataset: str
    data: str | None = None
    hidden: tuple[int, ...] = (30,)
    activation: str = "sigmoid"
    output: str | None = None
    cost: str = "quadratic"
    init: str = "auto"
    dtype: str = "float32"
    epochs: int = 30
    batch: int = 10
    optimizer: str = "sgd"
    eta: float = 3.0
    l2: float = 0.0
    l1: float = 0.0
    dropout: float = 0.0
    schedule: str = "constant"
    patience: int = 0
    seed: int = 0
    rule: str = "transpose"
    watch: int = 0


@dataclass(frozen=True)
class Result:
    """What a run has come to."""

    network: Network
    history: History
    accuracy: float


def widths(text: str) -> tuple[int, ...]:
    """The widths of the hidden layers from "256,256"; of none from "".

    >>> widths("30"), widths("256,128"), widths("")
    ((30,), (256, 128), ())
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput(f"hidden is {text!r}; expected widths such as 30 or 256,256") from error


def train(settings: Settings, folder: Path, progress: bool = True) -> Result:
    """Train as the settings say and write the run; an unfinished run in the folder goes on."""
    written = {"program": f"deltarule {deltarule.__version__}", **asdict(settings)}
    _require_same_run(folder, settings)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; a run is a folder")
    split = data.named(settings.dataset, settings.data, settings.dtype)
    n_out = len(set(split.train.y.tolist()))
    output = settings.output or USUAL_OUTPUT.get(settings.cost, "sigmoid")
    sizes = [split.train.x.shape[1], *settings.hidden, n_out]
    net = Network(sizes, settings.activation, output, settings.cost, settings.init, settings.dtype, settings.seed)
    optimizer = _optimizer(settings.optimizer, settings.eta)
    stopping = EarlyStopping(settings.patience) if settings.patience else None
    before = (folder / SETTINGS).read_bytes() if (folder / SETTINGS).exists() else None
    write_whole(folder / SETTINGS, json.dumps(written, indent=1).encode())
    try:
        history = net.fit(
            *split.train,
            epochs=settings.epochs,
            batch_size=settings.batch,
            optimizer=optimizer,
            validation=split.validation,
            l2=settings.l2,
            l1=settings.l1,
            dropout=settings.dropout,
            rule=settings.rule,
            watch=settings.watch,
            schedule=settings.schedule,
            early_stopping=stopping,
            checkpoint=folder / CHECKPOINT,
            progress=progress,
        )
    except DeltaruleError as error:
        if not (isinstance(error, Diverged) and (folder / CHECKPOINT).exists()):
            _take_back(folder / SETTINGS, before)  # nothing was trained with these settings
        raise
    net.save(folder / NETWORK)
    write_whole(folder / HISTORY, json.dumps(history.to_dict()).encode())
    return Result(net, history, net.score(*split.test))


def _optimizer(name: str, eta: float) -> Optimizer:
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name](eta)


def _take_back(path: Path, before: bytes | None) -> None:
    """Give a file its content from before; where there was none, remove it and a folder that it leaves empty."""
    if before is not None:
        write_whole(path, before)
        return
    path.unlink()
    with suppress(OSError):
        path.parent.rmdir()


def _require_same_run(folder: Path, settings: Settings) -> None:
    """Refuse a folder that holds a run with other settings; more epochs are the same run, longer."""
    if not (folder / SETTINGS).exists():
        return
    old = settings_of(folder)
    differing = [
        f"{field.name} {getattr(old, field.name)!r} (now {getattr(settings, field.name)!r})"
        for field in fields(Settings)
        if field.name != "epochs" and getattr(old, field.name) != getattr(settings, field.name)
    ]
    if differing:
        raise BadInput(
            f"{folder} holds another run: {', '.join(differing)}. Take another --out, or delete that folder"
        )


def settings_of(folder: Path) -> Settings:
    """What a run was trained with."""
    kept = _json(folder / SETTINGS)
    kept.pop("program", None)
    try:
        settings = Settings(**{**kept, "hidden": tuple(kept["hidden"])})
    except (TypeError, KeyError) as error:
        raise BadFile(f"{folder / SETTINGS}: not the settings of a run ({error})") from error
    if not isinstance(settings.dataset, str) or not isinstance(settings.data, (str, type(None))):
        raise BadFile(f"{folder / SETTINGS}: its data set {settings.dataset!r}, {settings.data!r} is not a name")
    return settings


def history_of(folder: Path) -> History:
    """The history of a run."""
    return History.from_dict(_json(folder / HISTORY))


def network_of(run: Path) -> Network:
    """The network of a run's folder, or of a network file."""
    if run.is_dir():
        if not (run / NETWORK).exists():
            raise BadFile(f"{run}: no finished run here ({NETWORK} is missing)")
        return load(run / NETWORK)
    return load(run)


def _json(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file") from error
    except ValueError as error:
        raise BadFile(f"{path}: not JSON, or cut short ({error})") from error
    if not isinstance(kept, dict):
        raise BadFile(f"{path}: expected a JSON object")
    return kept


def _split(run: Path, dataset: str | None, folder: Path | None, net: Network) -> data.Split:
    """The data named, or else those that the run was trained on."""
    if dataset is None:
        settings = settings_of(run) if run.is_dir() else None
        if settings is None:
            raise BadInput("a network file does not say on which data: --dataset digits")
        dataset, folder = settings.dataset, folder or (Path(settings.data) if settings.data else None)
    return data.named(dataset, folder, net.dtype)


def evaluate(run: Path, dataset: str, folder: Path | None = None) -> str:
    """The cost and accuracy of a run's network on each part of a data set."""
    net = network_of(run)
    parts = data.named(dataset, folder, net.dtype)
    lines = [
        f"{name:<11}{len(part.x):>7} samples   cost {net.mean_cost(*part):.4f}   accuracy {net.score(*part):.4f}"
        for name, part in zip(parts._fields, parts, strict=True)
    ]
    return "\n".join([str(net), *lines])


def check(run: Path, dataset: str | None, folder: Path | None, samples: int) -> CheckReport:
    """The numeric proof of a run's network on the first samples of the training data."""
    if samples < 1:
        raise BadInput(f"samples is {samples}; expected 1 or more")
    net = network_of(run)
    x, y = _split(run, dataset, folder, net).train
    return check_backward(net, x[:samples], y[:samples])


def flow(run: Path, dataset: str | None, folder: Path | None) -> Flow:
    """Where the error goes in a run's network, over up to 1 000 samples of the training data."""
    net = network_of(run)
    x, y = _split(run, dataset, folder, net).train
    return net.backprop(x[:1000], y[:1000]).flow()


def compare_rules(
    dataset: str,
    folder: Path | None,
    names: str,
    hidden: str,
    activation: str,
    epochs: int,
    batch: int,
    optimizer: str,
    eta: float,
    l2: float,
    seeds: int,
    report: Path | None,
    plot: Path | None,
    progress: bool,
) -> Comparison:
    """Every rule, or those named, on a data set; the figures and the plot go to files where these are named."""
    if plot is not None:
        require_picture(plot)
    if report is not None:
        require_place(report)
    found = compare(
        data.named(dataset, folder),
        [name.strip() for name in names.split(",")] if names else None,
        hidden=widths(hidden),
        activation=activation,
        epochs=epochs,
        batch_size=batch,
        optimizer=_optimizer(optimizer, eta),
        l2=l2,
        seeds=seeds,
        progress=progress,
    )
    if report is not None:
        write_whole(report, json.dumps(found.to_dict()).encode())
    if plot is not None:
        draw(found, plot)
    return found


def explain(
    run: Path | None,
    dataset: str | None,
    folder: Path | None,
    layer: int | None,
    sample: int,
    neuron: int | None,
    symbolic: bool,
    say: Callable[[str], None],
) -> list[Readable]:
    """The walk through one layer of a run's network and, where asked for, the chain rule in symbols.

    Without a run a small network is trained on the embedded digits first.
    """
    if run is None:
        if dataset not in (None, "digits"):
            raise BadInput(
                f"no RUN given, and the network that is trained without one is for the digits; first: deltarule "
                f"train {dataset} --out RUN"
            )
        say("No RUN given: training 64-30-10 on the embedded digits for 5 epochs, to have a network to explain.\n")
        net, split = Network([64, 30, 10], seed=0), data.digits("float32")
        net.fit(*split.train, epochs=5, optimizer=SGD(3.0), progress=False)
    else:
        net = network_of(run)
        split = _split(run, dataset, folder, net)
    walk = explain_layer(net, *split.train, layer=layer, sample=sample, neuron=neuron)
    return [walk, derive(net, layer)] if symbolic else [walk]


FORMATS = {".md": Readable.to_markdown, ".tex": Readable.to_latex, ".html": Readable._repr_html_}
HTML_HEAD = '<!doctype html>\n<meta charset="utf-8">\n'


def written(documents: list[Readable], markdown: bool, latex: bool, path: Path | None) -> str:
    """The documents as asked for, or as the file's suffix says; written to the file where one is named."""
    if markdown and latex:
        raise BadInput("--markdown and --latex were both given; expected one of them")
    suffix = ".md" if markdown else ".tex" if latex else path.suffix.lower() if path else ""
    text = "\n\n".join(FORMATS.get(suffix, str)(document).rstrip() for document in documents) + "\n"
    if suffix == ".html":
        text = HTML_HEAD + text
    if path is not None:
        require_place(path)
        write_whole(path, text.encode())
    return text


def require_place(path: Path) -> None:
    """Refuse the name of a file that cannot be written, before the work that it is to hold is done."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder; expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path}: its folder cannot be made ({error.strerror})") from error
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"{path}: its folder cannot be written to")


def require_picture(path: Path) -> None:
    """Refuse the name of a picture whose ending no format has, or that cannot be written."""
    from deltarule.plots import endings

    if path.suffix.lower().lstrip(".") not in endings():
        raise BadInput(f"{path} does not end as a picture does: .{', .'.join(endings())}")
    require_place(path)


def draw(found: Flow | Comparison, path: Path) -> None:
    """Write a record's plot to a file, in the format that its ending names."""
    require_picture(path)
    axes = found.plot()
    (axes if isinstance(found, Flow) else axes[0]).figure.savefig(path)


def demo(say: Callable[[str], None]) -> CheckReport:
    """The main job in one go, on the embedded digits: train, see where the error goes, prove it."""
    split = data.digits()
    net = Network([64, 30, 30, 10], seed=0)
    say(
        f"1. Train. {net}\n"
        f"   on {len(split.train.x)} handwritten digits of 8 x 8 pixels, batches of 10, SGD, eta 3.0\n"
    )
    before = net.backprop(*split.train).flow()
    history = net.fit(*split.train, epochs=30, optimizer=SGD(3.0), validation=split.validation)
    say(f"{history}\n\n   Accuracy on {len(split.test.x)} digits it has never seen: {net.score(*split.test):.1%}\n")
    say("2. Where the error goes: at each layer back through the transposed weights, then times sigma'(z).")
    say(f"   Before training:\n{before}\n   After it:\n{net.backprop(*split.train).flow()}\n")
    say("3. Is delta really how much the cost changes when z is nudged? Every neuron, by measurement:")
    report = check_backward(net, split.test.x[:5], split.test.y[:5])
    say(str(report))
    return report
