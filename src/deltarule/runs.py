"""A run: the folder that a training leaves behind, with all that is needed to do it again.

network.safetensors   the network as trained
history.json          cost and accuracy of every epoch
settings.json         what it was trained with, and the program's version
recipe.json           of a table: how its rows become the network's inputs and targets
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

import numpy as np

import deltarule
from deltarule import data, sources
from deltarule.check import CheckReport
from deltarule.check import check as check_backward
from deltarule.columns import listed
from deltarule.comparison import Comparison
from deltarule.comparison import compare_rules as compare
from deltarule.document import Readable
from deltarule.errors import BadFile, BadInput, DeltaruleError, Diverged, RankFailed, RankLost, unknown
from deltarule.explain import explain as explain_layer
from deltarule.flow import Flow
from deltarule.formula import derive
from deltarule.history import History
from deltarule.network import Network
from deltarule.optimizers import OPTIMIZERS, SGD, Optimizer
from deltarule.predictions import evaluate as evaluated
from deltarule.predictions import predict as write_predictions
from deltarule.prepared import Prepared
from deltarule.ranks import Ranks, together
from deltarule.recipe import Reading, Recipe
from deltarule.schedules import EarlyStopping
from deltarule.settings import USUAL_OUTPUT, Settings
from deltarule.store import load, write_whole
from deltarule.tables import Table, is_table
from deltarule.watched import Watched, WatchedModel

NETWORK, HISTORY, SETTINGS, CHECKPOINT = "network.safetensors", "history.json", "settings.json", "checkpoint"
RECIPE = "recipe.json"


@dataclass(frozen=True)
class Result:
    """What a run has come to; `test` says how good it is on the test data."""

    network: Network
    history: History
    test: str
    recipe: Recipe | None = None


def widths(text: str) -> tuple[int, ...]:
    """The widths of the hidden layers from "256,256"; of none from "".

    >>> widths("30"), widths("256,128"), widths("")
    ((30,), (256, 128), ())
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput(f"hidden is {text!r}; expected widths such as 30 or 256,256") from error


def is_a_table(name: str) -> bool:
    """Whether a data set's name is that of a table's file."""
    return name not in data.SETS and is_table(name)


def reading(source: str, target: str | None, **given: Any) -> Reading:
    """How a table is to be read. Raises BadInput with the table's columns where the target is not named."""
    if source in data.SETS:
        raise BadInput(f"{source} has its own target; --target {target} is for a table: FILE.csv --target {target}")
    if target is None:
        names = Table(source, encoding=given["encoding"]).names
        raise BadInput(f"{source}: which column is to be predicted? --target one of: {listed(names, 20)}")
    return Reading(target, **given)


def train(settings: Settings, folder: Path, progress: bool = True) -> Result | None:
    """Train as the settings say and write the run; an unfinished run in the folder goes on.

    Where torchrun has started several processes, the ranks, they train together. The first writes, and has the
    result; the others return None, and raise RankFailed where the first has an error to tell.
    """
    from deltarule.interop import distributed

    if not distributed.launched():
        return _train(settings, folder, progress, None)
    with distributed.ranks() as ranks:
        try:
            return _train(settings, folder, progress and ranks.rank == 0, ranks)
        except (Diverged, RankLost) as error:
            if ranks.rank:
                raise RankFailed(str(error)) from error
            raise


def _train(settings: Settings, folder: Path, progress: bool, ranks: Ranks | None) -> Result | None:
    follows = ranks is not None and ranks.rank > 0

    def require_what_can_be() -> Optimizer:
        if not follows:
            _require_same_run(folder, settings)
            if folder.exists() and not folder.is_dir():
                raise BadInput(f"{folder} is a file; a run is a folder")
        if settings.reading is not None:
            _network(settings, 1, settings.reading.task != "regression", 2)  # before the work of reading the table
        return _optimizer(settings.optimizer, settings.eta)

    optimizer = together(ranks, require_what_can_be)
    with sources.training(settings, folder, progress, ranks) as (split, recipe):
        if recipe is None:
            net = _network(settings, split.train.x.shape[1], True, len(set(split.train.y.tolist())))
        else:
            net = _network(settings, split.train.x.shape[1], recipe.is_classification, recipe.n_out)
        history = _fit(net, settings, folder, split, recipe, optimizer, progress, ranks)
        if follows:
            return None
        if recipe is not None and recipe.is_classification:
            net.classes = np.array(recipe.classes)  # trained by their numbers, they are now known by their names
        net.save(folder / NETWORK)
        write_whole(folder / HISTORY, json.dumps(history.to_dict()).encode())
        if split.test is None:
            return Result(net, history, "no rows were set aside to test on", recipe)
        if recipe is None:
            return Result(net, history, f"accuracy on the test data: {net.score(*split.test):.4f}")
        return Result(net, history, f"on the test data: {str(evaluated(net, recipe, split.test)).strip()}", recipe)


def _network(settings: Settings, n_in: int, classes: bool, n_out: int) -> Network:
    """The network that the settings ask for, untrained."""
    cost = settings.cost or ("log_likelihood" if classes else "quadratic")
    usual = USUAL_OUTPUT.get(cost, "sigmoid" if classes else "identity")
    sizes = [n_in, *settings.hidden, n_out if classes else 1]
    return Network(
        sizes, settings.activation, settings.output or usual, cost, settings.init, settings.dtype, settings.seed
    )


def _fit(
    net: Network,
    settings: Settings,
    folder: Path,
    split: data.Split | Prepared,
    recipe: Recipe | None,
    optimizer: Optimizer,
    progress: bool,
    ranks: Ranks | None,
) -> History:
    """Train, with the settings and the recipe written before; they are taken back where nothing was trained."""
    if ranks is not None and ranks.rank:
        together(ranks, lambda: None)  # the first writes them
        return _trained(net, settings, folder, split, optimizer, progress, ranks)
    written = {SETTINGS: {"program": f"deltarule {deltarule.__version__}", **asdict(settings)}}
    if recipe is not None:
        written[RECIPE] = recipe.to_dict()
    before = {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in written}

    def write() -> None:
        for name, new in written.items():
            write_whole(folder / name, json.dumps(new, indent=1).encode())

    together(ranks, write)
    try:
        return _trained(net, settings, folder, split, optimizer, progress, ranks)
    except DeltaruleError as error:
        if not (isinstance(error, Diverged) and (folder / CHECKPOINT).exists()):
            for name, content in before.items():  # nothing was trained with these settings
                _take_back(folder / name, content)
        raise


def _trained(
    net: Network,
    settings: Settings,
    folder: Path,
    split: data.Split | Prepared,
    optimizer: Optimizer,
    progress: bool,
    ranks: Ranks | None,
) -> History:
    return net.fit(
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
        early_stopping=EarlyStopping(settings.patience) if settings.patience else None,
        checkpoint=folder / CHECKPOINT,
        progress=progress,
        ranks=ranks,
    )


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
        reading = None if kept.get("reading") is None else Reading(**kept["reading"])
        settings = Settings(**{**kept, "hidden": tuple(kept["hidden"]), "reading": reading})
    except (TypeError, KeyError, BadInput) as error:
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


def recipe_of(run: Path, net: Network) -> Recipe | None:
    """The recipe of a run that was trained on a table. Raises BadFile where it is not the network's."""
    path = run / RECIPE
    if not path.exists():
        return None
    try:
        recipe = Recipe.from_dict(_json(path))
        size = (len(recipe.inputs), recipe.n_out)
    except (BadFile, AttributeError, TypeError) as error:
        raise BadFile(f"{path}: {error}") from error
    if size != (net.sizes[0], net.sizes[-1]):
        raise BadFile(f"{path}: a recipe for {size[0]} inputs and {size[1]} outputs; the network is {net.sizes}")
    return recipe


def some(run: Path, net: Network, dataset: str | None, folder: Path | None, count: int) -> data.Samples:
    """Samples to train on, of the data named or else of the run's own; of a table only the first `count`."""
    settings = settings_of(run) if run.is_dir() else None
    recipe = recipe_of(run, net)
    if dataset is None and settings is None:
        raise BadInput("a network file does not say on which data: --dataset digits")
    return sources.some(settings, recipe, dataset, folder, net.dtype, count)


def evaluate(
    run: Path,
    dataset: str | None,
    folder: Path | None = None,
    unseen: str = "error",
    encoding: str | None = None,
    progress: bool = True,
) -> str:
    """The cost and accuracy of a run's network on each part of a data set, or on a table."""
    net = network_of(run)
    settings = settings_of(run) if run.is_dir() and (dataset is None or (run / RECIPE).exists()) else None
    if dataset is None and settings is None:
        raise BadInput("a network file does not say on which data: name digits, or mnist with --data DIR")
    recipe = recipe_of(run, net)
    found = sources.judge(net, settings, recipe, dataset, folder, unseen, encoding, progress)
    return "\n".join([str(net), *(f"{name:<11}{said}" for name, said in found.items())])


def predict(
    run: Path,
    table: Path,
    out: Path,
    keep: tuple[str, ...] = (),
    unseen: str = "error",
    encoding: str | None = None,
    progress: bool = True,
) -> str:
    """Write what a run's network says of each row of a table; return what was done, in a sentence."""
    net = network_of(run)
    recipe = recipe_of(run, net)
    if recipe is None:
        raise BadInput(f"{run} was not trained on a table: it has no {RECIPE}, which says how rows become inputs")
    require_place(out)
    rows, blank = write_predictions(
        net,
        recipe,
        Table(table, missing_words=recipe.missing_words, encoding=encoding),
        out,
        keep=keep,
        unseen=unseen,
        progress=progress,
    )
    left = f", {blank} of them blank for a missing value" if blank else ""
    return f"{rows} rows{left}, written to {out}"


def export(
    run: Path,
    onnx: Path | None,
    torch: Path | None,
    c: Path | None,
    safetensors: Path | None,
    layers: bool,
    backward: bool,
    say: Callable[[str], None],
) -> None:
    """Write the network in each format that has a path, and say of each file, once it is there, what is in it."""
    from deltarule import interop
    from deltarule.interop.c_header import identifier
    from deltarule.interop.torch_stack import write_state

    files = [path for path in (onnx, torch, c, safetensors) if path is not None]
    if not files:
        raise BadInput("nothing to write; name a file: --onnx F, --torch F, --c F or --safetensors F")
    if len({path.resolve() for path in files}) < len(files):
        raise BadInput("two formats would write the same file; name one for each")
    if (layers and onnx is None) or (backward and c is None):
        raise BadInput("--layers is for --onnx, --backward for --c; name that file too")
    net = network_of(run)
    say(str(net))

    def wrote(path: Path, what: str) -> None:
        say(f"written to {path}: {what}, {path.stat().st_size:,} bytes")

    if onnx is not None:
        interop.to_onnx(net, onnx, layers=layers)
        names = ["a", *(["label"] if net.classes is not None else []), *(["z1, a1, .."] if layers else [])]
        wrote(onnx, f"ONNX, input x (N, {net.sizes[0]}), outputs {', '.join(names)}")
    if torch is not None:
        code = write_state(net, torch)
        wrote(torch, "the state of a PyTorch module")
        say(code)
    if c is not None:
        interop.to_c(net, c, backward=backward)
        name = identifier(c.stem)
        wrote(c, f"C99, {name}_predict(x, a){f' and {name}_learn(p, x, y, eta, t)' if backward else ''}")
    if safetensors is not None:
        net.save(safetensors)
        wrote(safetensors, "safetensors, W1, b1, ..")


def check(run: Path, dataset: str | None, folder: Path | None, samples: int) -> CheckReport:
    """The numeric proof of a run's network on the first samples of the training data."""
    if samples < 1:
        raise BadInput(f"samples is {samples}; expected 1 or more")
    net = network_of(run)
    x, y = some(run, net, dataset, folder, samples)
    return check_backward(net, x[:samples], y[:samples])


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
        net, train = Network([64, 30, 10], seed=0), data.digits("float32").train
        net.fit(*train, epochs=5, optimizer=SGD(3.0), progress=False)
    else:
        net = network_of(run)
        train = some(run, net, dataset, folder, max(sample + 1, 1000))
    walk = explain_layer(net, *train, layer=layer, sample=sample, neuron=neuron)
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


def draw(found: Flow | Watched | WatchedModel | Comparison, path: Path) -> None:
    """Write a record's plot to a file, in the format that its ending names."""
    require_picture(path)
    axes = found.plot()
    (axes[0] if isinstance(found, Comparison) else axes).figure.savefig(path)


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
