"""Ranks by PyTorch's torch.distributed: the processes that `torchrun` starts, on one machine or on many."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy.typing as npt

from deltarule.errors import BadInput, MissingExtra, RankLost, is_number, require
from deltarule.interop.subject import import_torch

Array = npt.NDArray[Any]

PLACE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The variables of the environment that torchrun tells a process its place by."""

LOOK_SECONDS = 0.01
"""So often the first rank looks whether the others have come."""

HOW = "torchrun --nproc-per-node 2 SCRIPT.py"


def launched() -> bool:
    """Whether torchrun has started this process, and others beside it."""
    return all(name in os.environ for name in PLACE) and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def ranks(backend: str | None = None, timeout: float = 1800.0) -> Iterator[TorchRanks]:
    """The processes that torchrun has started, for `Network.fit(ranks=...)`, within a `with` block.

    Where torch.distributed is initialised already, its processes are taken, and left as they are.

    Parameters
    ----------
    backend : "gloo" or "nccl", optional
        What carries the gradient: gloo from memory to memory, NCCL through each rank's GPU. Where every rank of the
        machine has a GPU it is NCCL, else gloo. All other messages go by gloo.
    timeout : float
        Seconds after which a rank that does not answer is taken for lost.

    Raises
    ------
    BadInput
        Where this process was not started by torchrun.
    MissingExtra
        Without PyTorch, or with one that has no torch.distributed.
    RankLost
        Inside, where another rank ends or does not answer.

    Examples
    --------
    In a file that `torchrun --nproc-per-node 2 FILE.py` runs::

        import deltarule as dr
        from deltarule.interop import distributed

        digits = dr.data.digits()
        net = dr.Network([64, 30, 10], seed=0)
        with distributed.ranks() as ranks:
            history = net.fit(*digits.train, batch_size=64, ranks=ranks)
            if ranks.rank == 0:
                print(history.sharing)
                net.save("net.safetensors")
    """
    torch = import_torch()
    require("timeout", timeout, is_number(timeout, 0) and timeout != 0, "seconds, above 0")
    dist = torch.distributed
    if not dist.is_available():
        raise MissingExtra("this PyTorch was built without torch.distributed; install one from pytorch.org")
    waits = timedelta(seconds=timeout)
    if dist.is_initialized():
        yield TorchRanks(torch, _answered(lambda: dist.new_group(backend="gloo", timeout=waits)), None)
        return
    missing = [name for name in PLACE if name not in os.environ]
    if missing:
        raise BadInput(f"no ranks here: {', '.join(missing)} is not set. Start the program by torchrun: {HOW}")
    device = _device(torch, backend)
    by = "gloo" if device is None else "cpu:gloo,cuda:nccl"

    def join() -> None:
        store, rank, size = next(dist.rendezvous("env://", timeout=waits))
        own = dist.PrefixStore(_attempt(store, rank, size, timeout), store)
        dist.init_process_group(by, store=own, rank=rank, world_size=size, timeout=waits)

    _answered(join)
    try:
        yield TorchRanks(torch, None, device)
    finally:
        dist.destroy_process_group()


def _attempt(store: Any, rank: int, size: int, timeout: float) -> str:
    """A name for this start of the ranks that all of them know, and that no earlier start has had.

    torchrun keeps one store for all its restarts: without a name of their own, ranks that were started again may
    read there where those before them were. Each rank leaves a word of its own; the first answers every word that it
    finds, an old one too, with the name, until each rank has said that it has it.
    """
    word = uuid.uuid4().hex
    if rank:
        store.set(f"deltarule/{rank}", word)
        store.wait([word], timedelta(seconds=timeout))
        name: str = store.get(word).decode()
        store.set(f"{name}/{rank}", "")
        return name
    waiting, deadline = set(range(1, size)), time.monotonic() + timeout
    while waiting:
        for other in sorted(waiting):
            if store.check([f"{word}/{other}"]):
                waiting.discard(other)
            elif store.check([f"deltarule/{other}"]):
                store.set(store.get(f"deltarule/{other}").decode(), word)
        if time.monotonic() > deadline:
            raise RuntimeError(f"rank {min(waiting)} has not come in {timeout:g} s")
        time.sleep(LOOK_SECONDS)
    return word


def _device(torch: Any, backend: str | None) -> Any:
    """The GPU that this rank's sums go through; None for gloo."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    there = torch.distributed.is_nccl_available() and torch.cuda.is_available()
    enough = there and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    require("backend", backend, backend in (None, "gloo", "nccl"), "gloo or nccl")
    if backend == "nccl" and not enough:
        raise BadInput("backend='nccl' needs PyTorch with NCCL and a GPU for each rank of the machine; take 'gloo'")
    return torch.device("cuda", local) if enough and backend != "gloo" else None


def _answered(call: Callable[[], Any]) -> Any:
    """What the call returns. Raises RankLost where another rank is gone."""
    try:
        return call()
    except RuntimeError as error:
        said = re.sub(r"^\[[^]]*\] *", "", str(error).strip()).partition(". ")[0] or type(error).__name__
        raise RankLost(
            f"another rank is gone or does not answer ({said}). With a checkpoint the same command goes on from the "
            f"last whole epoch, and torchrun --max-restarts 3 does so by itself"
        ) from error


class TorchRanks:
    """This process among those of a group of torch.distributed: see :class:`deltarule.ranks.Ranks`."""

    def __init__(self, torch: Any, group: Any, device: Any) -> None:
        self._torch, self._dist, self._group, self._device = torch, torch.distributed, group, device
        self.rank: int = self._dist.get_rank(group)
        self.size: int = self._dist.get_world_size(group)

    def sum(self, array: Array) -> None:
        """Put the sum over all ranks into the array, the same bits on each."""
        here = self._torch.from_numpy(array)
        if self._device is None:
            _answered(lambda: self._dist.all_reduce(here, group=self._group))
            return
        there = here.to(self._device)
        _answered(lambda: self._dist.all_reduce(there, group=self._group))
        here.copy_(there)

    def share(self, array: Array) -> None:
        """Put the first rank's numbers into the array."""
        if array.size:
            _answered(lambda: self._dist.broadcast(self._torch.from_numpy(array), 0, group=self._group))

    def broadcast(self, value: Any) -> Any:
        """The first rank's value."""
        found = [value]
        _answered(lambda: self._dist.broadcast_object_list(found, 0, group=self._group, device=self._cpu))
        return found[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, rank by rank."""
        found: list[Any] = [None] * self.size
        _answered(lambda: self._dist.all_gather_object(found, value, group=self._group))
        return found

    @property
    def _cpu(self) -> Any:
        return self._torch.device("cpu")

    def __repr__(self) -> str:
        return f"TorchRanks(rank {self.rank} of {self.size})"
