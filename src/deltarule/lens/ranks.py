"""The flow of a model that several processes train together, from what each has seen.

Rank r of R runs its own samples and has a loss of its own, C_r. What DistributedDataParallel and FSDP train on is

    C = (C_1 + .. + C_R) / R,    as they average the gradients of the weights.

So the error of C with respect to what rank r computed is that of C_r over R, and the error of all samples together,
the ranks' laid end to end, is

    |dC/da| = sqrt(|dC_1/da_1|^2 + .. + |dC_R/da_R|^2) / R,

whatever C_r is: a mean over the rank's samples or a sum. Where it is a mean, and the ranks have samples alike in
number, this is the length that one process would measure with all samples in one batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from torch import distributed

from deltarule.errors import DeltaruleError, require
from deltarule.flow import Flow, Move
from deltarule.lens import norms
from deltarule.lens.faults import Lack, judge
from deltarule.lens.passes import Seen, longest


class NotGathered(DeltaruleError, RuntimeError):
    """Not all processes took part in gathering their flows."""


def everyones(mine: Any, group: Any, timeout: float) -> dict[int, Any]:
    """By rank in the group, what each process hands in; each gets all of it. Alone, one's own under rank 0.

    Raises NotGathered where one does not come within `timeout` seconds; the group serves the training as before.
    """
    require("timeout", timeout, 0 < timeout < math.inf, "a number of seconds above 0")
    if not (distributed.is_available() and distributed.is_initialized()):
        return {0: mine}
    group = group if group is not None else distributed.group.WORLD
    found: list[Any] = [None] * distributed.get_world_size(group)
    with _met(group, timeout):
        distributed.all_gather_object(found, mine, group=group)
    return dict(enumerate(found))


_meetings: Counter[str] = Counter()
"""How often each set of ranks has met."""


@contextmanager
def _met(group: Any, timeout: float) -> Iterator[None]:
    """Once all ranks are here. They meet in the store by which they found each other: to wait in a collective
    operation of the group's own would end it for the training, if one rank does not come."""
    who = ",".join(map(str, distributed.get_process_group_ranks(group)))
    try:
        store = distributed.PrefixStore("deltarule.lens", distributed.distributed_c10d._get_default_store())
    except (AttributeError, ValueError):  # as with MPI: then the group's own timeout is all there is
        yield
        return
    me = distributed.get_rank(group)
    keys = [f"{who}/{_meetings[who]}/{rank}" for rank in range(distributed.get_world_size(group))]
    store.set(keys[me], "here")
    try:
        _wait(store, keys, me, timeout)
        yield
        _meetings[who] += 1
    finally:
        store.delete_key(keys[me])


def _wait(store: Any, keys: list[str], me: int, timeout: float) -> None:
    """Until all keys are there. Raises NotGathered with the ranks whose are not."""
    try:
        store.wait(keys, timedelta(seconds=timeout))
    except RuntimeError as error:
        missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
        raise NotGathered(
            f"nobody came within {timeout:g} s {_ranks(missing)}, when rank {me} asked for the flows of all: every "
            "rank must call gather(), after the same step"
        ) from error


def together(by_rank: dict[int, Seen | None]) -> Flow:
    """The flow of all processes, judged as a whole; `ranks` has their own, None where a rank saw nothing.

    Ranks whose pass had other operations, or was another step, than that of most are left out and said to be.
    """
    seen = {rank: one for rank, one in by_rank.items() if one is not None}
    form = Counter(_form(one) for one in seen.values()).most_common(1)[0][0]
    alike = {rank: one for rank, one in seen.items() if _form(one) == form}
    first = next(iter(alike.values()))
    flows = [one.flow for one in alike.values()]
    rows = [_move(moves) for moves in zip(*(flow.rows for flow in flows), strict=True)]
    rows = [_handed_on(rows, move) for move in rows]
    found = judge(rows, _lack([one.lack for one in alike.values()]))
    bad = [rank for rank, one in alike.items() if not _is_finite(one)]
    if bad and found:
        found = (replace(found[0], why=f"{_ranks(bad)} of {len(by_rank)}: {found[0].why}"), *found[1:])
    notes = [note for flow in flows for note in flow.unseen]
    silent, odd = sorted(by_rank.keys() - seen.keys()), sorted(seen.keys() - alike.keys())
    if silent:
        notes.append(f"{_ranks(silent)}: no backward pass was recorded there")
    for rank in odd:
        other = seen[rank].number
        what = "it ran other operations" if other == first.number else f"its pass is number {other}"
        notes.append(f"rank {rank}, which is left out: {what}; the others are at number {first.number}")
    own = [seen[rank].flow if rank in seen else None for rank in sorted(by_rank)]
    return Flow(tuple(rows), 0, (), found, tuple(dict.fromkeys(notes)), flows[0].scale, tuple(own))


def _form(seen: Seen) -> tuple[Any, ...]:
    return seen.number, tuple((move.name, move.op, move.to) for move in seen.flow.rows)


def _ranks(ranks: Sequence[int]) -> str:
    """In words: on ranks 0, 3."""
    return f"on rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _is_finite(seen: Seen) -> bool:
    lengths = [move.norm_in for move in seen.flow.rows] + [out for move in seen.flow.rows for out in move.outs]
    return math.isfinite(seen.lack.loss) and all(map(math.isfinite, lengths))


def _move(ranks: Sequence[Move]) -> Move:
    """One operation on all ranks. Of its shares: the mean of the flat units, and the least of the dead neurons."""
    return replace(
        ranks[0],
        norm_in=_length([move.norm_in for move in ranks]),
        outs=tuple(_length(parts) for parts in zip(*(move.outs for move in ranks), strict=True)),
        saturated=_mean([move.saturated for move in ranks]),
        dead=min((move.dead for move in ranks if move.dead is not None), default=None),
        tiny=_mean([move.tiny for move in ranks]),
    )


def _length(parts: Sequence[float]) -> float:
    return float(norms.joint(parts)) / len(parts)


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return math.fsum(known) / len(known) if known else None


def _handed_on(rows: Sequence[Move], move: Move) -> Move:
    """With its longest part, as in the flow of one process: one that goes to parameters only if there is no other."""
    parts = list(zip(move.to, move.outs, strict=True))
    data = [out for child, out in parts if child < 0 or rows[child].step != "parameter"]
    return replace(move, norm_out=longest(data or move.outs))


def _lack(ranks: Sequence[Lack]) -> Lack:
    """What no rank reaches; the loss that is trained on."""
    heard = [one.called for one in ranks if one.called is not None]
    return replace(
        ranks[0],
        missing=tuple(name for name in ranks[0].missing if all(name in one.missing for one in ranks)),
        called=frozenset().union(*heard) if heard else None,
        loss=sum(one.loss for one in ranks) / len(ranks),
    )
