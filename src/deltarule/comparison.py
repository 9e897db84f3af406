"""All rules under one protocol and several seeds: how well each trains, and how far its error is from the true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput, Diverged, is_count, is_number, require
from deltarule.network import Network
from deltarule.optimizers import SGD, Optimizer
from deltarule.optimizers import optimizer as optimizer_named
from deltarule.progress import Bar
from deltarule.records import Record, text_table
from deltarule.rules import RULES, Rule, rule

if TYPE_CHECKING:
    from deltarule.data import Split
    from deltarule.history import History

Array = npt.NDArray[Any]

LEVELS = "▁▂▃▄▅▆▇█"
CURVE = 24
"""How many characters wide a learning curve is in the terminal."""


@dataclass(frozen=True, eq=False)
class Comparison(Record):
    """What :func:`compare_rules` measured; R rules, S seeds, E epochs, H hidden layers.

    Attributes
    ----------
    rules, citations : (R,) names, and who proposed each
    network, protocol : str
        What was trained, and how.
    seeds : (S,)
    cost : (R, S, E)
        The mean training cost of each epoch. NaN from the epoch on in which the training diverged.
    validation : (R, S, E)
        The score on the validation data after each epoch.
    test : (R, S)
        The score on the test data at the end; NaN where the training diverged.
    angle : (R, S, E, H)
        Degrees between the rule's delta^l and dC/dz^l after each epoch; 0 for the transpose.
    seconds : (R, S)
        Of training, without compilation.
    """

    schema = "deltarule.comparison"

    rules: tuple[str, ...]
    citations: tuple[str, ...]
    network: str
    protocol: str
    seeds: tuple[int, ...]
    cost: Array
    validation: Array
    test: Array
    angle: Array
    seconds: Array

    def __str__(self) -> str:
        R, S, E, H = self.angle.shape
        missed = np.log([[max(1 - _median(self.validation[r, :, e]), 1e-3) for e in range(E)] for r in range(R)])
        scale = (np.nanmin(missed), np.nanmax(missed)) if np.isfinite(missed).any() else (0.0, 1.0)
        rows = []
        for r, name in enumerate(self.rules):
            good = self.test[r][np.isfinite(self.test[r])]
            test = [f"{np.median(good):.1%}", f"{good.min():.1%} .. {good.max():.1%}"] if len(good) else ["-", "-"]
            angles = ", ".join(f"{_median(self.angle[r, :, -1, h]):.0f}" for h in range(H)) if len(good) else "-"
            failed = f"{S - len(good)} of {S} diverged"
            curve, source = sparkline(list(missed[r]), *scale), self.citations[r]
            seconds = f"{np.median(self.seconds[r]):.2f}"
            rows.append([name, *test, angles, seconds, curve, source if len(good) == S else failed])
        head = ["rule", "test", "worst .. best", "degrees", "seconds", "error by epoch", "source"]
        return (
            f"{self.network}\n{self.protocol}\n{text_table(head, rows)}\n"
            f"test: the median over {S} seeds. degrees: between the rule's delta^l and dC/dz^l after the last\n"
            f"epoch, layers 1 to {H} (90: blind). error by epoch: on the validation data, logarithmic, one scale."
        )

    __repr__ = __str__

    def plot(self, axes: Any = None) -> Any:
        """Draw the learning curves, and the angles of each hidden layer; return Matplotlib's array of 1 + H Axes.

        Lines are medians over the seeds, bands go from the worst seed to the best. `axes` are 1 + H of your own.
        Raises MissingExtra without Matplotlib: ``pip install "deltarule[plot]"``.
        """
        from deltarule.plots import plot_comparison

        return plot_comparison(self, axes)


def _median(values: Array) -> float:
    good = values[np.isfinite(values)]
    return float(np.median(good)) if len(good) else float("nan")


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Values from `low` to `high` as a line of blocks; a gap where one is missing.

    >>> sparkline([0.0, 0.5, 1.0, float("nan")], 0, 1)
    '▁▅█ '
    """
    shown = [values[i] for i in np.unique(np.linspace(0, len(values) - 1, CURVE).astype(int))]
    unit = (high - low) / len(LEVELS) or 1.0
    return "".join(
        LEVELS[int(np.clip((value - low) / unit, 0, len(LEVELS) - 1))] if np.isfinite(value) else " "
        for value in shown
    )


def compare_rules(
    split: Split,
    rules: Sequence[str] | Mapping[str, Any] | None = None,
    *,
    hidden: Sequence[int] = (60, 60),
    activation: Any = "tanh",
    epochs: int = 30,
    batch_size: int = 10,
    optimizer: str | Optimizer | None = None,
    eta: float = 0.1,
    l2: float = 0.0,
    seeds: int | Sequence[int] = 5,
    dtype: str = "float32",
    progress: bool = True,
) -> Comparison:
    """Train the same networks with each rule: the same seeds, initial weights, batches and settings.

    Softmax with log-likelihood at the output. What a seed draws is the weights, the order of the samples, and the
    matrices of the rules that draw one.

    Parameters
    ----------
    split : Split
        Training, validation and test data, from :mod:`deltarule.data` or of your own, with labels as targets.
    rules : names, or a dictionary of name and rule
        All that have a name, if not given. See :mod:`deltarule.rules` for what a rule can be.
    hidden, activation, epochs, batch_size, l2, dtype
        As in Network and its `fit`.
    optimizer : Optimizer or str
        :class:`~deltarule.SGD` with `eta`, if not given.
    seeds : int or sequence of int
        How many, or which.

    Examples
    --------
    >>> import deltarule as dr
    >>> found = dr.compare_rules(dr.data.digits(), ["transpose", "random"], hidden=[20], epochs=3, seeds=2)
    >>> float(found.angle[0].max()), bool(found.angle[1].min() > 20)
    (0.0, True)
    """
    require("epochs", epochs, is_count(epochs), "an integer from 1 up")
    drawn = list(seeds) if isinstance(seeds, (list, tuple, range)) else []
    if is_count(seeds):
        drawn = list(range(seeds))  # type: ignore[arg-type]
    good = all(is_count(seed) or is_number(seed, 0, 0) for seed in drawn)
    require("seeds", seeds, bool(drawn) and good, "how many seeds, or a list of integers from 0 up")
    require(
        "hidden", hidden, isinstance(hidden, (list, tuple)), "a list of the widths of the hidden layers: [60, 60]"
    )
    if not (hasattr(split, "train") and hasattr(split, "validation") and hasattr(split, "test")):
        raise BadInput(
            f"the data are {type(split).__name__}; expected a deltarule.data.Split of train, validation and test"
        )
    named = _named(list(RULES) if rules is None else rules)
    step = SGD(eta) if optimizer is None else optimizer_named(optimizer)
    n_out = len(np.unique(split.train.y))
    R, S, H = len(named), len(drawn), len(hidden)
    cost, validation = np.full((R, S, epochs), np.nan), np.full((R, S, epochs), np.nan)
    test, seconds, angle = np.full((R, S), np.nan), np.zeros((R, S)), np.full((R, S, epochs, H), np.nan)
    net = None
    with Bar(R * S, progress) as bar:
        for r, (name, make) in enumerate(named.items()):
            for s, seed in enumerate(drawn):
                bar.show(r * S + s, f"{name}, seed {seed}")
                sizes = [split.train.x.shape[1], *hidden, n_out]
                net = Network(sizes, activation, "softmax", "log_likelihood", dtype=dtype, seed=seed)
                done: History
                try:
                    done = net.fit(
                        *split.train, epochs=epochs, batch_size=batch_size, optimizer=step, l2=l2,
                        validation=split.validation, rule=make(seed), progress=False,
                    )  # fmt: skip
                    test[r, s] = net.score(*split.test)
                except Diverged as error:
                    done = error.history
                n = done.epochs
                cost[r, s, :n], seconds[r, s] = done.cost, sum(done.seconds)
                validation[r, s, :n] = done.validation.accuracy if done.validation else np.nan
                angle[r, s, :n] = done.angle or 0.0
    return Comparison(
        tuple(named),
        tuple(make(0).citation if isinstance(make(0), Rule) else "given" for make in named.values()),
        str(net),
        f"{len(split.train.x)} samples, {epochs} epochs, batches of {batch_size}, {step}, l2 {l2:g}, seeds "
        f"{', '.join(map(str, drawn))}",
        tuple(drawn),
        cost,
        validation,
        test,
        angle,
        seconds,
    )


def _named(given: Any) -> dict[str, Callable[[int], Any]]:
    """Each rule by its name, as a function of the seed."""
    if not isinstance(given, (Mapping, list, tuple)) or not given:
        raise BadInput(f"rules is {given!r}; expected a list of names ({', '.join(RULES)}) or a dictionary")

    def maker(one: Any) -> Callable[[int], Any]:
        if isinstance(one, str) and one in ("random", "direct", "kolen_pollack"):
            return lambda seed: RULES[one](seed=seed)
        made = one if isinstance(one, (list, tuple)) else rule(one)
        return lambda seed: made

    if isinstance(given, Mapping):
        table = {str(name): one for name, one in given.items()}
    else:
        table = {str(getattr(one, "__name__", one)): one for one in given}
        if len(table) < len(given) or any(isinstance(one, np.ndarray) for one in given):
            raise BadInput("two rules of one name, or a matrix; expected a dictionary, with a name of yours for each")
    return {name: maker(one) for name, one in table.items()}
