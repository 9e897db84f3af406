"""The lens measures what is there, changes nothing, and leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import math
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import deltarule as dr
from deltarule.errors import BadFile, BadInput
from deltarule.lens import NothingSeen, engine, watch
from deltarule.watched import WatchedModel


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """After every test PyTorch is as it was."""
    from torch.nn.modules import module

    def ours():
        return [one for one in warnings.filters if one[1] is not None and "global hooks" in one[1].pattern]

    before = (
        torch.autograd._engine_run_backward,
        torch.amp.GradScaler.scale,
        torch.is_anomaly_enabled(),
        len(module._global_forward_hooks),
        len(module._global_forward_pre_hooks),
        ours(),
    )
    yield
    assert before == (
        torch.autograd._engine_run_backward,
        torch.amp.GradScaler.scale,
        torch.is_anomaly_enabled(),
        len(module._global_forward_hooks),
        len(module._global_forward_pre_hooks),
        ours(),
    )
    assert engine._listeners == []


def gradients(model):
    return {name: None if one.grad is None else one.grad.clone() for name, one in model.named_parameters()}


def same(one, other):
    assert one.keys() == other.keys()
    for name, grad in one.items():
        if grad is None:
            assert other[name] is None
        else:
            assert grad.dtype == other[name].dtype
            assert torch.equal(
                grad.view(torch.uint8) if grad.dim() else grad,
                other[name].view(torch.uint8) if grad.dim() else other[name],
            ), name


def traced(net, x, y):
    """The same network in PyTorch, its mean cost multiplied by the batch so that its errors are those of samples."""
    layers = []
    for l in range(1, net.L + 1):
        linear = nn.Linear(net.sizes[l - 1], net.sizes[l]).double()
        linear.weight.data, linear.bias.data = torch.tensor(net.W[l]), torch.tensor(net.b[l])
        layers += [linear, nn.Tanh() if l < net.L else nn.Identity()]
    return nn.Sequential(*layers)


def test_the_flow_of_a_model_is_that_of_the_same_network():
    net = dr.Network([64, 20, 15, 10], "tanh", "softmax", "log_likelihood", seed=1, dtype="float64")
    x, y = dr.data.digits().train
    x, y = x[:50].astype(np.float64), y[:50]
    ours = net.backprop(x, y).flow()
    model = traced(net, x, y)
    with watch(model) as flow:
        F.cross_entropy(model(torch.tensor(x)), torch.tensor(y, dtype=torch.long)).backward()
    theirs = {(move.layer, move.step): move for move in flow.rows if move.step in ("weights", "activation")}
    for move in ours.rows[1:-1]:  # dC/dx is not computed where x does not want it
        twin = theirs[move.layer, move.step]
        assert math.isclose(twin.gain, move.gain, rel_tol=1e-6)
        assert math.isclose(twin.norm_in, move.norm_in / math.sqrt(50), rel_tol=1e-6)
    assert flow.flow.L == net.L
    assert math.isclose(flow.flow.total, ours.total, rel_tol=1e-6)


@pytest.mark.parametrize("name", zoo.HEALTHY)
def test_every_length_is_that_of_the_gradient_and_nothing_is_changed(name):
    """The oracle: gradients of the modules' outputs, kept by PyTorch itself."""
    model = zoo.HEALTHY[name]()
    x, y = zoo.digits(48)
    kept = {}

    def keep(path):
        def hook(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            if output.requires_grad:
                output.retain_grad()
                kept[path] = output

        return hook

    twin = copy.deepcopy(model)
    for path, module in twin.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d, nn.EmbeddingBag)):
            module.register_forward_hook(keep(path))
    torch.manual_seed(5)
    zoo.loss_of(name, twin, x, y).backward()
    before = copy.deepcopy(model.__dict__)
    torch.manual_seed(5)
    with watch(model) as flow:
        zoo.loss_of(name, model, x, y).backward()
    same(gradients(model), gradients(twin))
    assert {path: vars(module).keys() for path, module in model.named_modules()} == {
        path: vars(module).keys() for path, module in zoo.HEALTHY[name]().named_modules()
    }
    assert before.keys() == model.__dict__.keys()
    found = {}
    for move in flow.rows:
        if move.step in ("weights", "normalisation"):
            found.setdefault(move.name, move)
    checked = 0
    for path, output in kept.items():
        if path in found and not path.endswith("out_proj"):
            grad = output.grad
            assert math.isclose(found[path].norm_in, float(grad.double().norm()), rel_tol=1e-5), path
            checked += 1
    assert checked >= len(kept) - 2 - (name in ("encoder",)) * 8
    assert all(math.isfinite(move.norm_in) for move in flow.rows)
    assert flow.unseen == () or name == "lstm"


def test_on_every_way_the_gains_multiply_up_to_the_whole():
    model = zoo.ResNet()
    with watch(model) as flow:
        zoo.loss_of("", model, *zoo.digits()).backward()
    from deltarule.paths import heaviest, shares, sources

    rows = flow.rows
    end = next(i for i, move in enumerate(rows) if move.step == "weights" and move.layer == 0)
    way = heaviest(rows, end)
    logs = 0.0
    for here, after in itertools.pairwise(way):
        part = dict(sources(rows)[after])[here]
        logs += math.log(part / rows[here].norm_in) + math.log(rows[after].norm_in / part)
    assert math.isclose(math.exp(logs), rows[end].norm_in / rows[0].norm_in, rel_tol=1e-9)
    for parts in shares(rows):
        assert not parts or math.isclose(sum(share for _, share in parts), 1)
    met = [parts for parts in shares(rows) if len(parts) == 2]
    assert len(met) == 6, "each block's input is used twice"
    assert "x" in flow.flow.budget().splitlines()[-1]


def test_lines_are_those_of_the_users_code():
    model = zoo.ResNet()
    with watch(model) as flow:
        zoo.loss_of("", model, *zoo.digits()).backward()
    text = Path(zoo.__file__).read_text().splitlines()
    pooled = next(move for move in flow.rows if move.op.startswith("avg_pool2"))
    line = int(pooled.source.rsplit(":", 1)[1])
    assert "F.avg_pool2d(x, 2)" in text[line - 1]
    added = [move for move in flow.rows if move.op == "addition"]
    assert {text[int(move.source.rsplit(":", 1)[1]) - 1].strip() for move in added} == {
        "return F.relu(inner + self.past(x)) if self.skip else F.relu(inner)"
    }
    assert [move.name for move in added] == [f"blocks.{i}" for i in range(5, -1, -1)]


def test_names_learnt_once_serve_when_only_the_backward_pass_is_watched():
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits()
    loss = F.cross_entropy(model(x), y)
    with watch(model) as blind:
        loss.backward()
    assert any(move.name == "after 0" for move in blind.rows)
    assert "the forward pass ran before" in blind.unseen[0]
    assert "not seen: the lines" in blind.report()
    with watch(model):
        F.cross_entropy(model(x), y).backward()
    loss = F.cross_entropy(model(x), y)
    with watch(model) as flow:
        loss.backward()
    assert next(move.name for move in flow.rows if move.op == "relu") == "1"
    assert flow.unseen == ()


def test_hooks_go_even_when_the_backward_pass_fails():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise RuntimeError("no way")

    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits()
    loss = F.cross_entropy(Fails.apply(model(x)), y)
    with pytest.raises(RuntimeError, match="no way"), watch(model) as flow:
        loss.backward()
    assert len(flow) == 1
    assert "nll" in flow.rows[0].op
    with pytest.raises(ZeroDivisionError), watch(model):
        _ = model(x).shape[0] / 0


def test_nothing_is_measured_after_the_watch_is_left(monkeypatch):
    from deltarule.lens import norms

    calls = []
    original = norms.length
    monkeypatch.setattr(norms, "length", lambda values: calls.append(1) or original(values))
    engine_before = torch.autograd._engine_run_backward
    model = zoo.mlp(64, 32, 10)
    loss = zoo.loss_of("", model, *zoo.digits())
    with watch(model):
        loss.backward(retain_graph=True)
    assert len(calls) > 3
    calls.clear()
    after = torch.autograd._engine_run_backward
    loss.backward()
    assert calls == []
    assert after is engine_before


def test_a_walk_that_fails_never_ends_the_training(monkeypatch):
    def fails(*given):
        raise RuntimeError("a graph of an unknown kind")

    model = zoo.mlp(64, 32, 10)
    monkeypatch.setitem(watch.__globals__, "walk", fails)
    with watch(model) as flow:
        zoo.loss_of("", model, *zoo.digits()).backward()
    assert model[0].weight.grad is not None
    with pytest.raises(NothingSeen, match="a graph of an unknown kind"):
        flow.report()


def test_a_watch_that_has_not_heard_the_forward_pass_hears_the_next_that_counts():
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits(64)
    loss = F.cross_entropy(model(x), y)
    with watch(model, every=3) as flow:
        loss.backward()
        for _ in range(6):
            F.cross_entropy(model(x), y).backward()
    assert flow.steps == (1, 4, 7)
    assert not any(move.source for move in flow.at(0).rows)
    assert all(move.source for move in flow.at(1).rows)
    assert next(move.name for move in flow.at(2).rows if move.op == "relu") == "1"


def test_a_spare_module_stays_blameless_when_the_names_are_known():
    model = zoo.ResNet()
    model.spare = nn.Linear(3, 3)
    with watch(model) as flow:
        for _ in range(3):
            zoo.loss_of("", model, *zoo.digits(64)).backward()
    assert [one.verdict for one in flow] == ["healthy"] * 3


def test_a_hook_that_fails_never_ends_the_training(monkeypatch):
    from deltarule.lens import norms

    def fails(values):
        raise RuntimeError("this kind of tensor has no length")

    monkeypatch.setattr(norms, "length", fails)
    model = zoo.mlp(64, 32, 10)
    with watch(model) as flow:
        zoo.loss_of("", model, *zoo.digits()).backward()
    assert model[0].weight.grad is not None
    assert any("this kind of tensor has no length" in what for what in flow.unseen)


def test_no_graph_is_kept_alive():
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits()
    with watch(model) as flow:
        out = model(x)
        ref = weakref.ref(out)
        F.cross_entropy(out, y).backward()
        del out
        gc.collect()
        assert ref() is None
        for _ in range(3):
            model(x)  # no backward pass: nothing piles up
    assert len(flow) == 1
    name = weakref.ref(model)
    del model, flow
    gc.collect()
    assert name() is None


def test_in_place_operations():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 10)

        def forward(self, x):
            x = F.relu_(self.a(x)) * 2
            x += 1
            x[:, :4] = 0
            return self.b(x).mul_(2.0)

    model, twin = InPlace(), None
    twin = copy.deepcopy(model)
    x, y = zoo.digits()
    F.cross_entropy(twin(x), y).backward()
    with watch(model) as flow:
        F.cross_entropy(model(x), y).backward()
    same(gradients(model), gradients(twin))
    assert flow.verdict == "healthy"


def test_shared_weights_several_passes_and_accumulation():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            for _ in range(3):
                x = torch.tanh(self.layer(x))
            return self.head(x)

    model = Tied()
    twin = copy.deepcopy(model)
    x, y = zoo.digits()

    def run(one):
        for part in range(4):
            rows = slice(64 * part, 64 * part + 64)
            (F.cross_entropy(one(x[rows]), y[rows]) / 4).backward()

    run(twin)
    with watch(model) as flow:
        run(model)
    same(gradients(model), gradients(twin))
    assert flow.steps == (1, 2, 3, 4)
    assert [move.name for move in flow.rows if move.step == "weights"] == ["head", "layer", "layer", "layer"]
    assert flow.flow.L == 2, "a module used three times is one layer"


def test_a_graph_that_is_run_twice_and_a_gradient_of_a_gradient():
    model = zoo.mlp(64, 32, 10, activation=nn.Tanh)
    twin = copy.deepcopy(model)
    x, y = zoo.digits(32)

    def run(one):
        data = x.clone().requires_grad_()
        loss = F.cross_entropy(one(data), y)
        loss.backward(retain_graph=True)
        (slope,) = torch.autograd.grad(loss, data, create_graph=True)
        (loss + slope.square().sum()).backward()
        return data.grad

    expected = run(twin)
    with watch(model) as flow:
        assert torch.equal(run(model), expected)
    same(gradients(model), gradients(twin))
    assert len(flow) == 3
    first = flow.at(0)
    assert first.rows[-1].to == (-1,), "the input wants its gradient"
    assert first.rows[-1].norm_out > 0
    assert all(math.isfinite(move.norm_in) for one in flow for move in one.rows)


def test_only_part_of_the_graph_is_run():
    model = zoo.mlp(64, 32, 32, 10)
    x, y = zoo.digits(32)
    loss = F.cross_entropy(model(x), y)
    with watch(model) as flow:
        torch.autograd.grad(loss, [model[4].weight, model[2].weight])
    assert [move.name for move in flow.rows if move.step == "weights"] == ["4", "2"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant):
    class Checkpointed(zoo.Transformer):
        def forward(self, x):
            x = self.embed(x.view(-1, 8, 8)) + self.place
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant)
            return self.head(self.norm(x).mean(1))

    model, x, y = Checkpointed(), *zoo.digits(64)
    twin, plain = copy.deepcopy(model), zoo.Transformer()
    plain.load_state_dict(model.state_dict())
    F.cross_entropy(twin(x), y).backward()
    with watch(plain) as expected:
        F.cross_entropy(plain(x), y).backward()
    for _ in range(2):
        model.zero_grad()
        with watch(model) as flow:
            F.cross_entropy(model(x), y).backward()
        same(gradients(model), gradients(twin))
    assert flow.verdict == "healthy"

    def lengths(one):
        return {(move.name, move.op, move.layer): move.norm_in for move in one.rows if move.step == "weights"}

    assert lengths(flow).keys() == lengths(expected).keys()
    for key, length in lengths(expected).items():
        assert math.isclose(lengths(flow)[key], length, rel_tol=1e-5), key
    assert math.isclose(flow.flow.total, expected.flow.total, rel_tol=1e-5)


def test_a_compiled_model_says_what_it_hides():
    model = zoo.mlp(64, 32, 32, 10)
    compiled = torch.compile(model, backend="aot_eager")
    x, y = zoo.digits(32)
    twin = copy.deepcopy(model)
    F.cross_entropy(twin(x), y).backward()
    for watched in (compiled, model):
        model.zero_grad()
        loss = F.cross_entropy(compiled(x), y)
        with watch(watched) as flow:
            loss.backward()
        same(gradients(model), gradients(twin))
        assert [move.step for move in flow.rows][-1] == "compiled"
        assert any("torch.compile" in what for what in flow.unseen)
        assert "detached" not in [fault.word for fault in flow.verdicts]


def test_a_model_compiled_inside_the_watch():
    torch.compiler.reset()
    model = zoo.mlp(64, 32, 32, 10)
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager")
    x, y = zoo.digits(32)
    F.cross_entropy(twin(x), y).backward()
    with watch(model, every=2) as flow:
        for _ in range(4):
            model.zero_grad()
            F.cross_entropy(compiled(x), y).backward()
    same(gradients(model), gradients(twin))
    assert flow.steps == (1, 3)
    assert flow.verdict == "healthy"


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo's own
def test_compiling_is_not_done_again_and_what_is_around_it_is_named():
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    model = zoo.ResNet()
    for block in model.blocks[:2]:
        block.compile(backend="aot_eager")
    x, y = zoo.digits(32)
    F.cross_entropy(model(x), y).backward()
    before = dict(counters["stats"])
    with watch(model) as flow:
        for _ in range(3):
            F.cross_entropy(model(x), y).backward()
    F.cross_entropy(model(x), y).backward()
    assert dict(counters["stats"]) == before
    inside = {move.name for move in flow.rows if move.step == "compiled"}
    assert all(name.startswith(("blocks.0", "blocks.1")) for name in inside)
    assert {"stem.0", "blocks.2.conv1", "head"} < {move.name for move in flow.rows if move.step == "weights"}
    assert all(move.source for move in flow.rows if move.name.startswith("blocks.3"))
    assert "detached" not in [fault.word for fault in flow.verdicts]


def test_a_model_that_never_runs_its_modules_is_not_listened_to_for_ever():
    torch.compiler.reset()
    model = zoo.mlp(64, 32, 10)
    compiled = torch.compile(model, backend="aot_eager")
    x, y = zoo.digits(16)
    F.cross_entropy(compiled(x), y).backward()
    with watch(model) as flow:
        for _ in range(60):
            F.cross_entropy(compiled(x), y).backward()
        assert not torch.is_anomaly_enabled()
    assert len(flow) == 60


def test_mixed_precision_figures_are_those_of_the_unscaled_loss():
    model = zoo.mlp(64, 64, 64, 10)
    x, y = zoo.digits(64)

    def loss():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        return F.cross_entropy(out.float(), y)

    with watch(model) as plain:
        loss().backward()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with watch(model) as scaled:
        (scaler.scale(loss()) / 4).backward()
    assert scaled.flow.scale == 1024
    lengths = [[move.norm_in for move in flow.rows if move.step == "weights"] for flow in (plain, scaled)]
    assert np.allclose(lengths[0], 4 * np.array(lengths[1]), rtol=0.02)
    assert scaled.rows[0].norm_in == 1
    assert "before the gradient scaler's factor 1024" in scaled.report()
    assert {move.dtype for move in scaled.rows} == {"float32", "bfloat16"}


@pytest.mark.parametrize("size", [1e-30, 1e-25, 1e25, 1e30, 0.0])
def test_lengths_beyond_the_squares_of_float32(size):
    model = zoo.mlp(8, 4, 3, activation=nn.Identity)
    x = torch.ones(5, 8)
    with watch(model) as flow:
        (model(x).sum() * size).backward()
    expected = size * math.sqrt(15)
    assert math.isclose(next(move for move in flow.rows if move.step == "weights").norm_in, expected, rel_tol=1e-5)


def test_every_kth_pass_is_recorded_and_a_pass_of_another_model_does_not_count():
    model, other = zoo.mlp(64, 32, 10), zoo.mlp(64, 32, 10)
    x, y = zoo.digits(32)
    with watch(model, every=5) as flow:
        for _ in range(6):
            F.cross_entropy(other(x), y).backward()
            F.cross_entropy(model(x), y).backward()
    assert flow.steps == (2, 8)
    with watch(model, every=4) as flow:
        for _ in range(9):
            F.cross_entropy(model(x), y).backward()
    assert flow.steps == (1, 5, 9)
    assert len(flow.flows) == len(flow) == 3


def test_two_watches_at_once():
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits(32)
    with watch(model) as outer:
        with watch(model, every=2) as inner:
            for _ in range(3):
                F.cross_entropy(model(x), y).backward()
        F.cross_entropy(model(x), y).backward()
    assert (len(outer), len(inner)) == (4, 2)
    assert [move.norm_in for move in outer.at(0).rows] == [move.norm_in for move in inner.at(0).rows]


def test_a_form_that_changes_from_pass_to_pass():
    class Skips(zoo.ResNet):
        def forward(self, x, skip=False):
            x = self.stem(x.view(-1, 1, 8, 8))
            for i, block in enumerate(self.blocks):
                x = x if skip and i == 0 else block(x)
            return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    model = Skips()
    x, y = zoo.digits(16)
    with watch(model) as flow:
        for skip in (False, True, False, True):
            F.cross_entropy(model(x, skip), y).backward()
    names = [{move.name for move in one.rows} for one in flow]
    assert "blocks.0.conv1" in names[0]
    assert "blocks.0.conv1" not in names[1]
    assert names[0] == names[2]
    assert names[1] != names[3], "its second pass was listened to"
    assert all(move.source for i in (0, 2, 3) for move in flow.at(i).rows)
    assert "the forward pass ran before" in flow.at(1).unseen[0]


def test_a_batch_of_one_and_the_next():
    """A form learnt where nothing is broadcast must not serve where something is."""

    class Shifts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.a(x) + self.b(x[:1])

    model = Shifts()
    for rows in (1, 8):
        with watch(model) as flow:
            model(torch.randn(rows, 4)).sum().backward()
    lengths = {move.name: move.norm_in for move in flow.rows}
    assert math.isclose(lengths["a"], math.sqrt(32), rel_tol=1e-6)
    assert math.isclose(lengths["b"], 16, rel_tol=1e-6)


def test_what_is_asked_wrongly_is_answered_plainly():
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits(32)
    with pytest.raises(BadInput, match=r"expects a torch\.nn\.Module, got list"):
        watch([model])
    with pytest.raises(BadInput, match="every is 0"):
        watch(model, every=0)
    with watch(model) as flow:
        pass
    with pytest.raises(NothingSeen, match="no backward pass has been recorded"):
        flow.report()
    assert "no backward pass" in repr(flow)
    with watch(model) as flow:
        F.cross_entropy(zoo.mlp(64, 10)(x), y).backward()
    with pytest.raises(NothingSeen, match="none reached a parameter of the model"):
        flow.report()
    with watch(model) as flow, pytest.raises(BadInput, match="open already"):
        flow.__enter__()


def test_a_record_goes_to_a_file_and_back(tmp_path):
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits(64)
    with watch(model, every=2) as flow:
        for _ in range(5):
            F.cross_entropy(model(x), y).backward()
    flow.save(tmp_path / "flow.json")
    back = WatchedModel.load(tmp_path / "flow.json")
    assert back == flow.record() or str(back) == str(flow.record())
    assert back.steps == (1, 3, 5)
    assert back.at(-1).report(color=False) == flow.report(color=False)
    assert back.layers == ("0", "2")
    assert "healthy" in str(back)
    assert "<table" in back._repr_html_()
    (tmp_path / "flow.json").write_text("{}")
    with pytest.raises(BadFile):
        WatchedModel.load(tmp_path / "flow.json")
    with pytest.raises(BadFile, match="is not there"):
        WatchedModel.load(tmp_path / "none.json")


def test_a_record_has_a_folder_of_its_own(tmp_path):
    model = zoo.mlp(64, 32, 10)
    with watch(model) as flow:
        zoo.loss_of("", model, *zoo.digits(64)).backward()
    for name in ("runs/mine", "runs/lr0.1"):
        assert flow.save(tmp_path / name) == tmp_path / name / "flow.json"
        assert WatchedModel.load(tmp_path / name).to_dict() == flow.record().to_dict()
    assert [one.name for one in (tmp_path / "runs/mine").iterdir()] == ["flow.json"]
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be made a folder"):
        flow.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e38])
def test_an_error_that_is_no_number_survives_its_file(bad, tmp_path):
    model = zoo.mlp(64, 32, 10)
    x, y = zoo.digits(64)
    with watch(model) as flow:
        (F.cross_entropy(model(x), y) * bad).backward()
    flow.save(tmp_path / "flow.json")
    json.loads((tmp_path / "flow.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    back = WatchedModel.load(tmp_path / "flow.json")
    assert str(back.to_dict()) == str(flow.record().to_dict())
    assert [str(move.norm_in) for move in back.at(0).rows] == [str(move.norm_in) for move in flow.rows]
    assert back.at(0).verdict == flow.verdict
    assert back.at(0).report(color=False) == flow.report(color=False)


def test_it_draws_itself():
    pytest.importorskip("matplotlib").use("Agg")
    model = zoo.ResNet()
    with watch(model) as flow:
        for _ in range(2):
            zoo.loss_of("", model, *zoo.digits(32)).backward()
    assert len(flow.plot().get_lines()) >= 2
    assert len(flow.record().plot().get_lines()) == flow.record().L
    assert "<table" in flow._repr_html_()


def test_figures_that_wait_on_a_device_come_over_together(monkeypatch):
    """As on an accelerator: each figure stays a tensor until the flow is asked for."""
    from deltarule.lens import norms

    model = zoo.mlp(64, 32, 32, 10)
    x, y = zoo.digits(64)
    with watch(model) as here:
        F.cross_entropy(model(x), y).backward()
    monkeypatch.setattr(norms, "length", lambda values: norms._length_there(values.detach()))
    monkeypatch.setattr(norms, "_number", lambda value: value)
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(1) or original(self))
    with watch(model) as there:
        F.cross_entropy(model(x), y).backward()
    assert not reads
    assert [move.dead for move in there.rows] == [move.dead for move in here.rows]
    assert np.allclose([move.norm_in for move in there.rows], [move.norm_in for move in here.rows], rtol=1e-6)
    assert len(reads) == 1


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device."""

    where = torch.device("cuda", 0)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self):
        return self.where


class Beyond(Elsewhere):
    """And one on yet another."""

    where = torch.device("cuda", 1)


def test_of_a_model_on_several_devices_each_sends_its_figures_once(monkeypatch):
    """By imitation: the lengths of the first layers wait on one device, those of the last on another."""
    from deltarule.lens import norms

    model = zoo.mlp(64, 32, 32, 32, 10)
    x, y = zoo.digits(64)
    with watch(model) as here:
        F.cross_entropy(model(x), y).backward()
    taken = []

    def there(values):
        kind = Beyond if len(taken) < 4 else Elsewhere
        taken.append(norms._length_there(values.detach()).as_subclass(kind))
        return taken[-1]

    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(len(self)) or original(self))
    monkeypatch.setattr(norms, "length", there)
    with watch(model) as flow:
        F.cross_entropy(model(x), y).backward()
    assert len({one.device for one in taken}) == 2
    assert not reads, "nothing is waited for while the pass runs"
    assert np.allclose([move.norm_in for move in flow.rows], [move.norm_in for move in here.rows], rtol=1e-6)
    assert sorted(reads) == [4, len(taken) - 4], "one transfer from each device"
    assert flow.rows is flow.rows
    assert len(reads) == 2, "and nothing is read twice"


def test_the_loss_and_the_scale_are_those_of_the_pass_though_they_go_on(monkeypatch):
    from deltarule.lens import passes

    loss = torch.tensor(3.0).as_subclass(Elsewhere)
    monkeypatch.setattr(Elsewhere, "is_cpu", False, raising=False)
    kept = passes.value(loss)
    loss.mul_(0)
    assert float(kept) == 3
