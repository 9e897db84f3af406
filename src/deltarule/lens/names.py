"""Whose operation it is: the module's path, and the line of the user's code that called it.

The forward pass is where that can be seen. Every node of the graph has a number that counts up as the operations
run; a module's own are those between the number at its start and that at its end. The line comes from the record
that autograd keeps in its anomaly mode, which is on for one forward pass, until the names are known. Where the
forward pass ran before the watch began, operations with parameters are named by these, the others after them.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks

from deltarule.lens.graph import LEAF, Graph, Plan, Row
from deltarule.lens.shards import clean

MOST = 200_000
"""As many calls of modules as are remembered between two backward passes."""

_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<where>\S+)(?:\n\s*(?P<code>[^\n]*))?')
_LIBRARIES = tuple(str(Path(module.__file__).parent) for module in (torch,) if module.__file__)
_NO_MATTER = r"Using `torch.compile\(module\)` when there are global hooks"
"""A warning that a compiled module gives where there are hooks such as ours; ours take no notice of it."""


def paths(model: nn.Module) -> dict[int, str]:
    """The path of every module, by its id; the first where it has several."""
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        found.setdefault(id(module), clean(path))
    return found


class Forward:
    """Listens to a forward pass: which module ran between which numbers of the graph.

    It uses PyTorch's global hooks, so that no module is written on.
    """

    def __init__(self) -> None:
        self.spans: deque[tuple[int, int, str]] = deque(maxlen=MOST)
        self.called: set[str] = set()
        self.elsewhere = False
        self._paths: dict[int, str] = {}
        self._open: list[tuple[int, int]] = []
        self._handles: list[Any] = []
        self._anomaly: tuple[bool, bool] | None = None
        self._thread = 0

    @property
    def on(self) -> bool:
        """Whether it listens."""
        return bool(self._handles)

    @property
    def heard(self) -> bool:
        """Whether a module of the model has run since it began, or since it forgot."""
        return bool(self._handles and self.spans)

    def begin(self, model: nn.Module) -> None:
        """Listen from now on."""
        self._paths, self._thread = paths(model), threading.get_ident()
        self._handles = [
            hooks.register_module_forward_pre_hook(self._enters),
            hooks.register_module_forward_hook(self._leaves),
        ]
        warnings.filterwarnings("ignore", _NO_MATTER)
        self.lines_on()

    def end(self) -> None:
        """Listen no more, and forget."""
        self.lines_off()
        for handle in self._handles:
            handle.remove()
        if self._handles:
            quiet = [one for one in warnings.filters if one[1] is not None and one[1].pattern == _NO_MATTER]
            for one in quiet:
                warnings.filters.remove(one)  # type: ignore[attr-defined]
        self._handles = []
        self.forget()

    def forget(self) -> None:
        """Begin anew, for the next pass."""
        self.spans.clear()
        self.called.clear()
        self._open.clear()

    def lines_on(self) -> None:
        """Have autograd keep the line of every operation, as in its anomaly mode, without the search for NaN."""
        if not torch.is_anomaly_enabled():
            self._anomaly = (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled())
            torch.autograd.set_detect_anomaly(True, check_nan=False)

    def lines_off(self) -> None:
        """Put that back as it was."""
        if self._anomaly is not None:
            torch.autograd.set_detect_anomaly(*self._anomaly)
            self._anomaly = None

    def _enters(self, module: nn.Module, inputs: Any) -> None:
        if torch.compiler.is_compiling() or id(module) not in self._paths:
            return
        if threading.get_ident() != self._thread:
            self.elsewhere = True
            return
        self._open.append((id(module), torch._C._autograd._get_sequence_nr()))

    def _leaves(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        if not any(own == id(module) for own, _ in self._open):
            return
        while self._open:  # modules above it that an exception has left are closed with it
            own, start = self._open.pop()
            if own == id(module):
                path = self._paths[own]
                self.spans.append((start, torch._C._autograd._get_sequence_nr(), path))
                self.called.add(path)
                return

    def owners(self, numbers: Sequence[int]) -> dict[int, str]:
        """The innermost module of each of these nodes' numbers, where there is one."""
        found: dict[int, str] = {}
        begins: dict[int, list[tuple[int, str]]] = {}
        for start, end, path in self.spans:
            if end > start:
                begins.setdefault(start, []).append((end, path))
        stack: list[tuple[int, str]] = []
        starts, k = sorted(begins), 0
        for number in sorted(set(numbers)):
            while k < len(starts) and starts[k] <= number:
                # Of those that begin together the outermost was the last to end.
                stack.extend(reversed(begins[starts[k]]))
                k += 1
            while stack and stack[-1][0] <= number:
                stack.pop()
            inside = [path for end, path in stack if end > number]
            if inside:
                found[number] = inside[-1]
        return found


def source(node: Any) -> str:
    """The line of the user's code that made this node, as file:line, where autograd has kept it."""
    frames = node.metadata.get("traceback_")
    return line_of(frames) if frames else ""


def line_of(frames: Iterable[str]) -> str:
    """The innermost frame that is not PyTorch's own."""
    for frame in reversed(list(frames)):
        found = _FRAME.match(frame)
        if found and not found["file"].startswith(_LIBRARIES):
            return f"{_short(found['file'])}:{found['line']}"
    return ""


def _short(file: str) -> str:
    """A file's path from here, where it lies below; else as it is."""
    here = os.getcwd() + os.sep
    return file.removeprefix(here)


def give(plan: Plan, graph: Graph, forward: Forward | None) -> None:
    """Write the names, and the lines where they are known, into a plan's rows."""
    owners = forward.owners([row.sequence for row in plan.rows]) if forward is not None else {}
    for row in plan.rows:
        row.owner = _of_parameters(row.parameters)
        seen = owners.get(row.sequence)
        if seen is None:
            row.name = row.owner
        else:
            inner = row.step == "weights" and row.owner.startswith(f"{seen}.")
            row.name = row.owner if inner else seen or row.owner
        if forward is not None:
            row.source = source(graph.nodes[row.node])
    if not owners:
        for row in plan.rows:
            if not row.name:
                row.name = _after(plan, row)
    plan.seen = bool(owners)


def _of_parameters(names: Sequence[str]) -> str:
    """The module that holds them; of one that stands in the model itself, its own name."""
    if not names:
        return ""
    module = names[0].rpartition(".")[0]
    return module or names[0]


def _after(plan: Plan, row: Row) -> str:
    """The nearest operation with parameters below: the one that came before this in the forward pass."""
    here = row
    while True:
        below = [plan.rows[child] for child, _ in here.into if child != LEAF and not plan.rows[child].aside]
        if not below:
            return ""
        here = max(below, key=lambda one: one.sequence)
        if here.owner:
            return f"after {here.owner}"
