"""The lens: `with watch(model) as flow: loss.backward()`, and the flow says where the error goes.

A watch is told of every backward pass (:mod:`deltarule.lens.engine`), walks the graph of those that it records
(:mod:`deltarule.lens.graph`), hangs a hook on each operation that must be measured
(:mod:`deltarule.lens.passes`) and takes it off when the pass is over. Names and kinds are worked out once for
each form of graph and kept with the model's other forms, for as long as the model lives.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from deltarule.errors import BadInput, DeltaruleError, is_count, require
from deltarule.flow import Flow, Move
from deltarule.lens import engine, names, ranks
from deltarule.lens.graph import Graph, Plan, plan, walk
from deltarule.lens.passes import Pass, Seen, value
from deltarule.lens.shards import Parameters, clean, kind, parameters, unwrapped
from deltarule.verdicts import Fault
from deltarule.watched import WatchedModel

FORMS = 32
"""As many forms of graph are remembered for a model."""

COUNTED = 16
"""Shares of flat and dead units are counted at passes at least so far apart, and stand in between; lengths are taken
in each."""

TRIES = 8
"""For as many new forms of graph the forward pass is listened to; a model whose form goes on changing would pay
for it in each step."""

VAIN = 50
"""For as many passes it is listened to in vain, as of a model that torch.compile or torch.jit.script runs whole."""


class NothingSeen(DeltaruleError, RuntimeError):
    """A flow was asked for, but no backward pass of the model has been recorded."""


def watch(model: nn.Module, every: int = 1) -> Watch:
    """Watch where the error goes in any PyTorch model.

    Parameters
    ----------
    model : torch.nn.Module
        It is neither changed nor written on, and its gradients are the same bits. DistributedDataParallel and both
        kinds of FSDP may be around it, or around its parts: names are those of the modules inside.
    every : int
        Each so many-th backward pass is recorded, the first among them.

    Returns
    -------
    Watch
        To be used in a `with`, around one backward pass or around a whole training.

    Raises
    ------
    BadInput
        Where `model` is no module or `every` no whole number from 1 up.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layers = [torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Sigmoid()) for _ in range(8)]
    >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 2))
    >>> x, y = torch.randn(64, 16), torch.randint(0, 2, (64,))
    >>> with watch(model) as flow:
    ...     torch.nn.functional.cross_entropy(model(x), y).backward()
    >>> flow.verdict
    'vanishing'
    >>> print(flow.verdicts[0].why)
    the error is ... times smaller at 0.0 (linear) at ... than at 8 (linear); ...
    """
    if not isinstance(model, nn.Module):
        raise BadInput(
            f"watch expects a torch.nn.Module, got {type(model).__name__}; of several, put them in a "
            "torch.nn.ModuleList and watch that"
        )
    require("every", every, is_count(every), "a whole number from 1 up: each so many-th backward pass is recorded")
    return Watch(unwrapped(model), every)


class Memory:
    """What is known of a model's graphs: a plan for each form, and how often a forward pass was listened to."""

    def __init__(self) -> None:
        self.plans: dict[Any, Plan] = {}
        self.tries = 0
        self.vain = 0

    @property
    def curious(self) -> bool:
        """Whether to listen to a forward pass: while some form has no names, but not for ever."""
        unnamed = not self.plans or any(not one.seen for one in self.plans.values())
        return unnamed and self.tries < TRIES and self.vain < VAIN

    def keep(self, form: Any, known: Plan) -> None:
        """Remember a plan, and forget the oldest of too many."""
        while len(self.plans) >= FORMS:
            del self.plans[next(iter(self.plans))]
        self.plans[form] = known


_memory: weakref.WeakKeyDictionary[nn.Module, Memory] = weakref.WeakKeyDictionary()


class Watch:
    """A watch over a model, and the flows that it has seen; made by :func:`watch`.

    What concerns one pass (`rows`, `verdict`, `report()`, ...) is that of the last one recorded; `flows` has all.
    """

    def __init__(self, model: nn.Module, every: int) -> None:
        self.model = model
        self.every = every
        self._passes: list[Pass] = []
        self._flows: dict[int, Flow] = {}
        self._memory = _memory.setdefault(model, Memory())
        self._forward = names.Forward()
        self._parameters = Parameters()
        self._count = 0
        self._due = 1
        self._strangers = 0
        self._open = False
        self._running: list[Pass] = []
        self._trouble: dict[str, None] = {}
        self._counted: dict[int, Pass] = {}

    def __enter__(self) -> Self:
        if self._open:
            raise BadInput("this watch is open already; leave its `with` first, or make another: watch(model)")
        self._open = True
        self._parameters = parameters(self.model)
        try:
            engine.join(self)
            self._listen()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        engine.leave(self)
        self._forward.end()
        self._open = False

    @property
    def open(self) -> bool:
        """Whether it watches now."""
        return self._open

    def _listen(self) -> None:
        """Listen to the next forward pass while there is something to learn from it."""
        if not self._memory.curious:
            self._forward.end()
        elif self._forward.on:
            self._forward.forget()
            self._forward.lines_on()
        else:
            self._forward.begin(self.model)

    def opened(self, roots: Sequence[Any]) -> Callable[[], None] | None:
        """A backward pass begins; called by :mod:`deltarule.lens.engine`."""
        try:
            return self._within(roots) if self._running else self._begun(roots)
        except Exception as error:  # to observe must never end a training
            self._trouble[f"a backward pass could not be watched ({type(error).__name__}: {error})"] = None
            return None

    def _begun(self, roots: Sequence[Any]) -> Callable[[], None] | None:
        self._count += 1
        self._forward.lines_off()
        if self._count < self._due:
            self._listen_on()
            return None
        graph = self._walked(roots)
        if not graph.parameters:
            self._strangers += 1
            self._listen_on()
            return None
        self._due = self._count + self.every
        known = self._plan(graph)
        last = self._counted.get(id(known))
        fresh = last is None or self._count - last.number >= COUNTED
        seen = Pass(graph, known, self._count, None if fresh else last)
        if fresh:
            self._counted[id(known)] = seen
        seen.loss = value(roots[0])
        seen.scale = engine.scale_of(graph.nodes)
        self._running.append(seen)
        return self._closed

    def _walked(self, roots: Sequence[Any]) -> Graph:
        """The graph below, with the model's parameters as they are now."""
        if self._parameters.growing:
            self._parameters = parameters(self.model)
        return walk(_nodes(roots), self._parameters.names)

    def _listen_on(self) -> None:
        """After a pass that was not recorded: the next forward pass may be the one whose names are wanted."""
        if self._forward.on:
            self._forward.forget()
            if self._count + 1 >= self._due:
                self._forward.lines_on()

    def _closed(self) -> None:
        seen = self._running.pop()
        seen.close()
        self._passes.append(seen)
        if self._forward.on or not seen.plan.seen:
            self._memory.tries += self._forward.heard
            self._memory.vain += self._forward.on and not self._forward.heard
            self._listen()

    def _within(self, roots: Sequence[Any]) -> Callable[[], None] | None:
        """A pass that runs inside another, as a checkpoint's does."""
        outer = self._running[-1]
        host = outer.nodes.get(torch._C._current_autograd_node())
        if host is None:
            return None  # it runs beside ours, in another thread
        graph = self._walked(roots)
        inner = Pass(graph, self._plan(graph), self._count)
        outer.inner += ((host, inner),)
        self._running.append(inner)

        def closed() -> None:
            self._running.pop().close()

        return closed

    def _plan(self, graph: Graph) -> Plan:
        """What is known of a graph of this form, or is worked out now."""
        known = self._memory.plans.get(graph.form)
        heard = self._forward.heard
        if known is None or (heard and not known.seen):
            self._parameters = parameters(self.model)
            known = plan(graph, self._parameters.names, self._parameters.pieces)
            names.give(known, graph, self._forward if heard else None)
            known.trainable, known.frozen = self._parameters.trainable, self._parameters.frozen
            known.blocks = _sisters(self.model)
            known.called = frozenset(self._forward.called) if heard else None
            if self._forward.elsewhere:
                known.notes.append("what ran in other threads, as under torch.nn.DataParallel")
            self._memory.keep(graph.form, known)
        return known

    def __len__(self) -> int:
        return len(self._passes)

    def at(self, i: int) -> Flow:
        """The flow of the i-th recorded pass. Raises IndexError beyond them."""
        i = range(len(self._passes))[i]
        if i not in self._flows:
            self._flows[i] = self._passes[i].flow()
        return self._flows[i]

    @property
    def flows(self) -> tuple[Flow, ...]:
        """The flows of all recorded passes."""
        return tuple(self.at(i) for i in range(len(self)))

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of the recorded passes among all backward passes inside the `with`, from 1."""
        return tuple(one.number for one in self._passes)

    @property
    def flow(self) -> Flow:
        """The flow of the last recorded pass. Raises NothingSeen before the first."""
        if not self._passes:
            raise NothingSeen(self._nothing())
        return self.at(-1)

    def _nothing(self) -> str:
        text = "no backward pass has been recorded: call loss.backward() inside `with watch(model) as flow:`"
        if self._strangers:
            text = (
                f"{self._strangers} backward passes ran inside the `with`, and none reached a parameter of the "
                "model: is it the model that made the loss, are its parameters frozen, or was its output detached?"
            )
        return "; ".join([text, *self._trouble])

    @property
    def rows(self) -> tuple[Move, ...]:
        """The operations of the last pass, in the order of the backward pass."""
        return self.flow.rows

    @property
    def verdicts(self) -> tuple[Fault, ...]:
        """What is wrong, the most telling first."""
        return self.flow.verdicts

    @property
    def verdict(self) -> str:
        """The word of the first verdict, or "healthy"."""
        return self.flow.verdict

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not be seen."""
        return (*self.flow.unseen, *self._trouble)

    def report(self, color: bool | None = None) -> str:
        """Which operation loses the error, by how much, and what to do; see :meth:`deltarule.flow.Flow.report`."""
        return self.flow.report(color)

    def plot(self, ax: Any = None) -> Any:
        """The error's length from the loss down; see :meth:`deltarule.flow.Flow.plot`."""
        return self.flow.plot(ax)

    def to_dict(self) -> dict[str, Any]:
        """The last flow as JSON knows it."""
        return self.flow.to_dict()

    def record(self) -> WatchedModel:
        """All that was seen, as a frozen record; see :class:`deltarule.watched.WatchedModel`."""
        return WatchedModel(self.steps, self.every, self.flows)

    def gather(self, group: Any = None, timeout: float = 60.0) -> Flow:
        """The last pass of all processes that train the model together, under DistributedDataParallel or FSDP.

        Each process watches its own samples. This is the error of what they train on, the mean C of the ranks'
        losses C_r: |dC/da| = sqrt(sum_r |dC_r/da_r|^2) / R. With losses that are means over equally many samples it
        is what one process would measure with all of them in its batch. The verdicts are on these figures; what is
        NaN or infinite names its ranks, and `.ranks` has the flow of each with its own verdict. A share of dead
        neurons is the smallest of the ranks', for what is dead is so for every sample: the true one is no larger.

        Every rank of the group must call it, after the same step, and gets the same flow. Without torch.distributed
        it is the process's own flow, so that a script need not ask how it was started.

        Parameters
        ----------
        group : torch.distributed.ProcessGroup, optional
            All processes, if not given.
        timeout : float
            Seconds to wait for the others.

        Raises
        ------
        NotGathered
            Where not all ranks came; the training can go on.
        NothingSeen
            Where none has recorded a pass.
        """
        last = self._passes[-1].seen() if self._passes else None
        by_rank = ranks.everyones(last, group, timeout)
        return self._together(by_rank)

    def gather_record(self, group: Any = None, timeout: float = 60.0) -> WatchedModel:
        """All passes as :meth:`gather` gives the last one: the record to be saved by one of the ranks.

        >>> import torch
        >>> model = torch.nn.Linear(8, 2)
        >>> with watch(model) as flow:
        ...     model(torch.randn(64, 8)).square().mean().backward()
        >>> len(flow.gather_record())             # every rank calls it; then, on rank 0, .save("runs/mine")
        1
        """
        by_rank = ranks.everyones({one.number: one.seen() for one in self._passes}, group, timeout)
        steps = sorted(set().union(*by_rank.values()))
        flows = [self._together({rank: seen.get(step) for rank, seen in by_rank.items()}) for step in steps]
        return WatchedModel(tuple(steps), self.every, tuple(flows))

    def _together(self, by_rank: dict[int, Seen | None]) -> Flow:
        if all(seen is None for seen in by_rank.values()):
            raise NothingSeen(self._nothing())
        only = next(iter(by_rank.values())) if len(by_rank) == 1 else None
        return only.flow if only is not None else ranks.together(by_rank)

    def save(self, path: str | Path) -> Path:
        """Write the record to a file, or a folder of its own; `deltarule flow PATH` and WatchedModel.load read it.

        See :meth:`deltarule.watched.WatchedModel.save`.
        """
        return self.record().save(path)

    def __iter__(self) -> Iterator[Flow]:
        return (self.at(i) for i in range(len(self)))

    def __str__(self) -> str:
        return str(self.flow) if self._passes else f"<{self._nothing()}>"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.flow._repr_html_() if self._passes else f"<p>{self._nothing()}</p>"


def _nodes(roots: Sequence[Any]) -> list[Any]:
    """Where the pass begins: at the node of each tensor, or of each edge of the graph."""
    found = []
    for root in roots:
        node = root.grad_fn if isinstance(root, torch.Tensor) else root.node
        if node is not None:
            found.append(node)
    return found


def _sisters(model: nn.Module) -> list[tuple[str, str]]:
    """The modules of which there are several of a kind, with parts of their own."""
    kinds = {clean(path): kind(module) for path, module in model.named_modules() if len(list(module.children()))}
    many = Counter(kinds.values())
    return [(path, own) for path, own in kinds.items() if path and many[own] > 1]
