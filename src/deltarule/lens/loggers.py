"""The figures of a watch for whoever keeps records: TensorBoard, Lightning, Transformers, or a dictionary.

Each logger calls :func:`scalars` and writes what it gives; the watch itself knows none of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from deltarule.errors import BadInput, MissingExtra
from deltarule.flow import Flow
from deltarule.lens.watch import Watch, watch

if TYPE_CHECKING:
    from torch import nn


def scalars(flow: Flow, prefix: str = "flow/") -> dict[str, float]:
    """The figures of one flow by name, for any logger.

    `error/NAME` is the length of the error that arrives at a module's weights, `gain/NAME` what it makes of it,
    `dead/NAME` and `flat/NAME` the shares of its units where they are known; `total` is layer 1's error over the last
    layer's, `healthy` 1 or 0. What is not a number is left out.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    >>> with watch(model) as seen:
    ...     model(torch.randn(64, 8)).square().mean().backward()
    >>> sorted(scalars(seen.flow))
    ['flow/dead/1', 'flow/error/0', 'flow/error/2', 'flow/gain/2', 'flow/healthy', 'flow/total']
    """
    found: dict[str, float] = {"total": flow.total, "healthy": float(flow.verdict == "healthy")}
    for move in flow.rows:
        name = move.name or move.op
        if move.step == "weights":
            found[f"error/{name}"] = math.hypot(found.get(f"error/{name}", 0.0), move.norm_in)
            found.setdefault(f"gain/{name}", move.gain)
        for word, share in (("dead", move.dead), ("flat", move.saturated)):
            if share is not None:
                found[f"{word}/{name}"] = max(share, found.get(f"{word}/{name}", 0.0))
    return {f"{prefix}{name}": value for name, value in found.items() if math.isfinite(value)}


def to_tensorboard(seen: Watch, writer: Any, first: int = 0) -> int:
    """Write the figures of the recorded passes from number `first` on, each at its step; return how many there are.

    `writer` is a ``torch.utils.tensorboard.SummaryWriter``, or has its `add_scalar` and `add_text`. Give the returned
    number to the next call, and only what is new is written.
    """
    if not callable(getattr(writer, "add_scalar", None)):
        raise BadInput(f"the writer is a {type(writer).__name__}; expected a torch.utils.tensorboard.SummaryWriter")
    for i in range(first, len(seen)):
        flow, step = seen.at(i), seen.steps[i]
        for name, value in scalars(flow).items():
            writer.add_scalar(name, value, step)
        if flow.verdicts:
            writer.add_text("flow/verdict", "\n\n".join(str(fault) for fault in flow.verdicts), step)
    return len(seen)


class _Following:
    """What the callbacks have in common: a watch that is open while the training runs."""

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self.watch: Watch | None = None
        self._written = 0

    def start(self, model: nn.Module) -> None:
        """Open a watch over the model."""
        self.watch = watch(model, self.every)
        self._written = 0
        self.watch.__enter__()

    def fresh(self) -> dict[str, float]:
        """The figures of the latest pass, if it has not been given out yet."""
        if self.watch is None or len(self.watch) == self._written:
            return {}
        self._written = len(self.watch)
        return scalars(self.watch.flow)

    def stop(self) -> None:
        """Close it; what it has seen stays in `watch`."""
        if self.watch is not None and self.watch.open:
            self.watch.__exit__()


def lightning_callback(every: int = 10) -> Any:
    """A callback for ``lightning.Trainer(callbacks=[...])`` that logs the flow to the trainer's loggers.

    Its `watch` has the flows when the training is over. Raises MissingExtra without Lightning.
    """
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError as error:
        raise MissingExtra('this callback needs Lightning: pip install "deltarule[lightning]"') from error

    class FlowCallback(_Following, Callback):  # type: ignore[misc, unused-ignore]
        """Watches the module that the trainer fits."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.start(pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *more: Any) -> None:
            found = self.fresh()
            for logger in trainer.loggers if found else ():
                logger.log_metrics(found, step=trainer.global_step)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.stop()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.stop()

    return FlowCallback(every)


def transformers_callback(every: int = 10) -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])``: the flow goes into its log, `state.log_history`.

    Its `watch` has the flows when the training is over. The trainer's own reporters write before the callbacks that
    it is given; what they have missed, :func:`to_tensorboard` writes. Raises MissingExtra without Transformers.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtra('this callback needs Transformers: pip install "deltarule[transformers]"') from error

    class FlowCallback(_Following, TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Watches the model that the trainer trains."""

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            self.start(model)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            found = self.fresh()
            if logs is not None:
                logs.update(found)
            if found and state.log_history:
                state.log_history[-1].update(found)

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.stop()

    return FlowCallback(every)
