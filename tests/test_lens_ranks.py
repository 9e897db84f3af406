"""Two processes train one model, over gloo: each watches its own samples, and together they say what both see."""

from __future__ import annotations

import copy
import functools
import math
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import zoo
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F

from deltarule.errors import BadInput
from deltarule.flow import Flow
from deltarule.lens import NotGathered, scalars, watch
from deltarule.watched import WatchedModel

pytestmark = [
    pytest.mark.skipif(not distributed.is_available(), reason="this PyTorch has no torch.distributed"),
    pytest.mark.filterwarnings("ignore"),  # FSDP's own, of what it will not do for much longer
]

SIZE, WAYS = 2, ("ddp", "fsdp", "fsdp, orig", "fully_shard")


def started(rank, folder):
    """A process: everything that the tests below look at, in one go, for it takes seconds to start two."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=SIZE, timeout=timedelta(seconds=60)
    )
    found = {how: seen_by_each(rank, how) for how in WAYS}
    found |= {work.__name__: work(rank) for work in (faults_of_one, uneven, cut, deserted)}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@functools.cache
def found():
    """By the name of what was done: what each of two processes that know of each other has found."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(started, (folder,), nprocs=SIZE)
        each = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(SIZE)]
    return {name: [one[name] for one in each] for name in each[0]}


class Blocks(nn.Module):
    """Three blocks of their own kind, a layer for each and one that takes no part."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(zoo.mlp(64, 48, 64, activation=nn.Tanh) for _ in range(3))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Root(nn.Module):
    """The root of a sum of squares: its slope has no size where all of them are 0."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(64, 32, bias=False), nn.Linear(1, 10)

    def forward(self, x):
        return self.head(torch.sqrt(self.layer(x).square().sum(1, keepdim=True)))


def model_of(kind=Blocks):
    torch.manual_seed(1)
    return kind()


def halves(rank):
    x, y = zoo.digits(256)
    return x[128 * rank : 128 * rank + 128], y[128 * rank : 128 * rank + 128]


def whole(kind=Blocks):
    """One process with the samples of both."""
    model = model_of(kind)
    x, y = zoo.digits(256)
    with watch(model) as flow:
        F.cross_entropy(model(x), y).backward()
    return flow.flow


def wrapped(how, kind=Blocks):
    model = model_of(kind)
    if how == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if how == "fully_shard":
        from torch.distributed.fsdp import fully_shard

        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
        return model
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    policy = ModuleWrapPolicy({nn.Sequential})
    return FullyShardedDataParallel(
        model, auto_wrap_policy=policy, use_orig_params="orig" in how, device_id=torch.device("cpu")
    )


def local(tensor):
    return None if tensor is None else (tensor.to_local() if hasattr(tensor, "to_local") else tensor).clone()


def trained(how, rank, watched, inside=True):
    """Three steps, and the gradients, or shards of them, after each."""
    model, found = wrapped(how), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = halves(rank)
    flow = watch(model)
    for _ in range(3):
        optimizer.zero_grad()
        if watched and inside:
            flow.__enter__()
        loss = F.cross_entropy(model(x), y)
        if watched and not inside:
            flow.__enter__()
        loss.backward()
        if watched:
            flow.__exit__()
        found.append([local(one.grad) for one in model.parameters()])
        optimizer.step()
    return found, flow


def lengths(flow):
    return [(move.name, move.op, move.norm_in) for move in flow.rows if move.step != "shape"]


def seen_by_each(rank, how):
    plain, _ = trained(how, rank, watched=False)
    found, flow = trained(how, rank, watched=True)
    same = all(
        (one is None and other is None) or torch.equal(one, other)
        for before, after in zip(plain, found, strict=True)
        for one, other in zip(before, after, strict=True)
    )
    _, blind = trained(how, rank, watched=True, inside=False)
    return {
        "same": same,
        "record": flow.gather_record().to_dict(),
        "last": flow.gather().to_dict(),
        "own": flow.flow.to_dict(),
        "blind": blind.flow.to_dict(),
    }


@pytest.mark.parametrize("how", WAYS)
def test_together_they_see_what_one_process_would_see_of_all_samples(how):
    first, second = found()[how]
    assert first["same"], "every gradient, or shard of one, has the same bits with and without the watch"
    assert second["same"]
    expected = whole()
    record = WatchedModel.from_dict(first["record"])
    assert str(first["record"]) == str(second["record"]), "all ranks are told the same"
    assert record.steps == (1, 2, 3)
    assert str(first["record"]["flows"][-1]) == str(first["last"])
    together = record.at(0)
    assert [one[:2] for one in lengths(together)] == [one[:2] for one in lengths(expected)]
    for mine, its in zip(lengths(together), lengths(expected), strict=True):
        if mine[1] != "nll_loss":  # where a pass begins there is no sample yet
            assert math.isclose(mine[2], its[2], rel_tol=1e-4), mine
    assert together.verdict == "healthy"
    assert str(first["last"]["ranks"]) == str([first["own"], second["own"]])
    assert len({move.norm_in for move in (record.at(-1).rows[3], *(one.rows[3] for one in record.at(-1).ranks))}) == 3
    assert "lengths are those of the mean of 2 ranks' losses" in together.report()
    blind = Flow.from_dict(first["blind"])
    weights = [move.name for move in expected.rows if move.step == "weights"]
    assert [move.name for move in blind.rows if move.step == "weights"] == weights, "by the parameters alone"
    assert all("_fsdp" not in move.name and "module" not in move.name for move in together.rows)


def faults_of_one(rank):
    """Rank 1's samples are bad in three ways."""
    x, y = halves(rank)
    found = {}
    born = nn.parallel.DistributedDataParallel(model_of(Root))
    with watch(born) as flow:
        F.cross_entropy(born(x * (rank == 0)), y).backward()
    found["born"] = flow.gather()
    forward = nn.parallel.DistributedDataParallel(model_of())
    with watch(forward) as flow:
        F.cross_entropy(forward(x / (rank == 0)), y).backward()
    found["forward"] = flow.gather()
    rectified = zoo.mlp(64, 64, 64, 10)
    with torch.no_grad():
        rectified[0].weight.abs_()
    rectified = nn.parallel.DistributedDataParallel(rectified)
    with watch(rectified) as flow:
        F.cross_entropy(rectified(x if rank == 0 else -50 * x - 1), y).backward()
    found["dead"] = flow.gather()
    return {name: flow.to_dict() for name, flow in found.items()}


def test_a_rank_whose_samples_are_bad_is_named():
    first, second = found()["faults_of_one"]
    assert str(first) == str(second)
    born = Flow.from_dict(first["born"])
    assert [one.verdict for one in born.ranks] == ["healthy", "exploding"]
    assert born.verdict == "exploding"
    assert born.verdicts[0].why.startswith("on rank 1 of 2: the error becomes infinite at sqrt at")
    assert "torch.sqrt(x + eps)" in born.verdicts[0].advice
    assert "rank 0 by itself: healthy" in born.report()
    assert "on rank 1 of 2: the loss itself is NaN" in Flow.from_dict(first["forward"]).verdicts[0].why
    dead = Flow.from_dict(first["dead"])
    assert dead.verdict == "healthy"
    assert dead.ranks[1].verdict == "dead"
    assert next(move.dead for move in dead.rows if move.op == "relu") < 0.7
    assert "rank 1 by itself: dead: " in dead.report()


def uneven(rank):
    """One that saw nothing, one that ran something else, one that is a step behind."""
    x, y = halves(rank)
    model = model_of()
    found = {}
    with watch(model) as flow:
        if rank == 0:
            F.cross_entropy(model(x), y).backward()
    found["silent"] = flow.gather()
    with watch(model) as flow:
        (F.cross_entropy(model(x), y) * (1 if rank == 0 else model.head.bias.sum())).backward()
    found["other"] = flow.gather()
    with watch(model) as flow:
        for _ in range(1 + rank):
            F.cross_entropy(model(x), y).backward()
    found["behind"] = flow.gather()
    record = flow.gather_record()
    with watch(model) as flow:
        pass
    try:
        flow.gather()
    except RuntimeError as error:
        found["nothing"] = type(error).__name__
    return {name: one if isinstance(one, str) else one.to_dict() for name, one in found.items()}, record.steps


def test_what_is_not_alike_on_all_ranks_is_left_out_and_said():
    (first, steps), (second, _) = found()["uneven"]
    assert str(first) == str(second)
    assert steps == (1, 2)
    silent, other, behind = (Flow.from_dict(first[name]) for name in ("silent", "other", "behind"))
    assert "on rank 1: no backward pass was recorded there" in silent.unseen
    assert str(silent.rows) == str(silent.ranks[0].rows)
    assert silent.ranks[1] is None
    assert "not seen: on rank 1" in silent.report()
    assert any(what.startswith("rank 1, which is left out: it ran other operations") for what in other.unseen)
    assert "rank 1, which is left out: its pass is number 2; the others are at number 1" in behind.unseen
    assert first["nothing"] == "NothingSeen"


def deserted(rank):
    model = model_of()
    x, y = halves(rank)
    with watch(model) as flow:
        F.cross_entropy(model(x), y).backward()
    said = ""
    if rank == 0:
        try:
            flow.gather(timeout=0.5)
        except NotGathered as error:
            said = str(error)
    distributed.barrier()
    return said, flow.gather().to_dict()


def test_a_rank_that_does_not_come_is_not_waited_for_for_ever():
    (said, first), (_, second) = found()["deserted"]
    assert said.startswith("nobody came within 0.5 s on rank 1, when rank 0 asked for the flows of all")
    assert str(first) == str(second), "and the next time, when all come, all goes well"


class Half(nn.Sequential):
    """Its second layer is used for nothing."""

    def forward(self, x):
        return self[0](x).mean()


class Cut(Blocks):
    """Its first block is a half, its third is not used."""

    def __init__(self):
        super().__init__()
        self.blocks[0] = Half(*self.blocks[0])

    def forward(self, x):
        return self.head(self.blocks[1](x + self.blocks[0](x)))


def cut(rank):
    """By the kind of FSDP, what is told apart within one flat tensor."""
    found = {}
    for how in ("fsdp", "fsdp, orig"):
        model = wrapped(how, Cut)
        x, y = halves(rank)
        for _ in range(2):
            with watch(model) as flow:
                F.cross_entropy(model(x), y).backward()
        plan = flow._passes[-1].plan
        found[how] = {"reached": sorted(plan.reached), "trainable": sorted(plan.trainable)}
    return found


def test_parameters_inside_a_flat_one_are_told_apart():
    for first in found()["cut"][0].values():
        assert first["trainable"] == sorted(name for name, _ in model_of().named_parameters())
        assert "blocks.0.0.weight" in first["reached"]
        assert "blocks.0.2.weight" not in first["reached"]
        assert "blocks.2.0.weight" not in first["reached"]


def test_alone_a_process_is_told_its_own():
    model = model_of()
    x, y = halves(0)
    with watch(model) as flow:
        F.cross_entropy(model(x), y).backward()
    assert flow.gather().to_dict() == flow.flow.to_dict()
    assert flow.gather_record().to_dict() == flow.record().to_dict()
    assert flow.gather().ranks == ()
    with pytest.raises(BadInput, match="timeout is 0"):
        flow.gather(timeout=0)


def test_copies_of_a_wrapped_model_keep_their_own_names():
    model = nn.DataParallel(copy.deepcopy(model_of()))
    x, y = halves(0)
    with watch(model) as flow:
        F.cross_entropy(model(x), y).backward()
    assert "head" in {move.name for move in flow.rows}


def test_a_flow_of_all_goes_wherever_a_flow_goes():
    pytest.importorskip("matplotlib").use("Agg")
    together = Flow.from_dict(found()["faults_of_one"][0]["dead"])
    assert set(scalars(together)) == set(scalars(together.ranks[0]))
    assert len(together.plot().get_lines()) >= 2
    assert "rank 1 by itself: dead" in together._repr_html_()
    assert together.budget().splitlines()[-1].startswith("from nll_loss")
    silent = Flow.from_dict(found()["uneven"][0][0]["silent"])
    assert "lengths are those of the mean of 2 ranks' losses" in silent.report()
