"""Being told of every backward pass, and of the loss scaling before it, while somebody watches.

All of PyTorch's ways into a backward pass (`loss.backward()`, `torch.autograd.backward`, `torch.autograd.grad`, and
what the frameworks above it call) go through one function of torch.autograd. While at least one watch is open,
another stands in its place, tells the watches, and calls it; nothing of the user's is touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, autograd
from torch._guards import TracingContext

from deltarule.errors import MissingExtra

NAME = "_engine_run_backward"


class Listener(Protocol):
    """Whoever wants to know of backward passes."""

    def opened(self, roots: Sequence[Any]) -> Callable[[], None] | None:
        """A pass begins at these tensors. What is returned is called when it is over, whichever way."""


_listeners: list[Listener] = []
_lock = threading.Lock()
_before: dict[str, Callable[..., Any]] = {}
_scaled: list[tuple[int, Tensor]] = []
"""The latest losses that a GradScaler multiplied: the number of the multiplication in the graph, and the factor."""


def join(listener: Listener) -> None:
    """Tell this one of every pass from now on."""
    with _lock:
        if not _listeners:
            _patch()
        _listeners.append(listener)


def leave(listener: Listener) -> None:
    """Tell it no more. With the last listener, everything is as it was."""
    with _lock:
        if listener in _listeners:
            _listeners.remove(listener)
        if not _listeners:
            _restore()


def _patch() -> None:
    if not hasattr(autograd, NAME):
        raise MissingExtra(f"PyTorch {torch.__version__} has no torch.autograd.{NAME}; the lens knows 2.5 to 2.13")
    if getattr(autograd, NAME) is not _run:  # it may have had to stay; see _restore
        _before["run"] = getattr(autograd, NAME)
        setattr(autograd, NAME, _run)
    scaler = torch.amp.GradScaler
    if scaler.scale is not _scale:
        _before["scale"] = scaler.scale
        scaler.scale = _scale


def _restore() -> None:
    # Where someone has put a function of theirs on top of ours, ours stays under it and only passes on.
    if getattr(autograd, NAME) is _run:
        setattr(autograd, NAME, _before.pop("run"))
    if torch.amp.GradScaler.scale is _scale:
        torch.amp.GradScaler.scale = _before.pop("scale")
    _scaled.clear()


def _run(t_outputs: Sequence[Any], *args: Any, **more: Any) -> Any:
    if TracingContext.try_get() is not None:  # torch.compile traces a backward pass; none is run
        return _before["run"](t_outputs, *args, **more)
    with ExitStack() as closing:
        for listener in tuple(_listeners):
            close = listener.opened(t_outputs)
            if close is not None:
                closing.callback(close)
        return _before["run"](t_outputs, *args, **more)


def _scale(self: Any, outputs: Any) -> Any:
    scaled = _before["scale"](self, outputs)
    if _listeners and self._enabled and self._scale is not None:
        losses = scaled if isinstance(scaled, (list, tuple)) else [scaled]
        nodes = [one.grad_fn for one in losses if isinstance(one, Tensor) and one.grad_fn is not None]
        _scaled.extend((node._sequence_nr(), self._scale) for node in nodes)
        del _scaled[:-16]
    return scaled


def scale_of(nodes: Sequence[Any]) -> tuple[int, Tensor] | None:
    """Which of these nodes is a GradScaler's multiplication, if any, and by what: a copy, for the scaler goes on."""
    for number, factor in reversed(_scaled):
        for i, node in enumerate(nodes[:64]):
            if node._sequence_nr() == number and "Mul" in node.name():
                return i, factor.detach().clone()
    return None
