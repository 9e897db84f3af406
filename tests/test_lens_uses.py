"""What users do with autograd, all of it watched: the same bits, and lengths that are those of the gradients."""

from __future__ import annotations

import copy
import math
import threading

import pytest
import torch
import zoo
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from deltarule.lens import engine, watch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


X, Y = zoo.digits(96)


def cost(model, x=X):
    return F.cross_entropy(model(x), Y[: len(x)])


class Tied(nn.Module):
    """An embedding whose weight is also the output's."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(17, 10)
        self.mix = nn.Linear(10, 10)

    def forward(self, x):
        words = (16 * x[:, 20:30]).round().long()
        return F.linear(torch.tanh(self.mix(self.embed(words).mean(1))), self.embed.weight)[:, :10]


class NoGrad(nn.Module):
    """Part of it runs without gradients."""

    def __init__(self):
        super().__init__()
        self.fixed, self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        with torch.no_grad():
            shift = self.fixed(x).relu_()
        with torch.inference_mode():
            scale = x.abs().max()
        return self.b(F.relu(self.a(x + shift / (1 + scale.clone()))))


class InPlace(nn.Module):
    """It writes on what it has."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.dropout(self.a(x), 0.0, True)
        F.relu(x, inplace=True)
        y = self.b(x)
        y[:, 3:9].zero_()
        y.view(-1, 8, 4)[:, 2].mul_(3)
        y.add_(x).clamp_(min=-2)
        return self.c(y)


class Normed(nn.Module):
    """Weights that are made of others."""

    def __init__(self):
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Linear(64, 32))
        self.b = nn.utils.parametrizations.orthogonal(nn.Linear(32, 32))
        self.c = nn.Linear(32, 10)

    def forward(self, x):
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))


class Rude(torch.autograd.Function):
    """It writes on the error that it is given, and wants nothing for its second input."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, grad):
        return grad.mul_(ctx.factor), None


class Rough(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        return self.b(Rude.apply(torch.tanh(self.a(x)), 0.5))


def plainly(model):
    cost(model).backward()


def several_losses(model):
    out = model(X)
    first, second = F.cross_entropy(out, Y), out.square().mean()
    torch.autograd.backward([first, second], [torch.tensor(0.5), torch.tensor(2.0)])


def some_inputs(model):
    cost(model).backward(inputs=[list(model.parameters())[-1], next(model.parameters())])


def accumulated(model):
    for part in range(3):
        (cost(model, X[32 * part : 32 * part + 32]) / 3).backward()


def retained(model):
    loss = cost(model)
    loss.backward(retain_graph=True)
    loss.backward()


def penalised(model):
    x = X.clone().requires_grad_()
    loss = cost(model, x)
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + 0.1 * (slope.norm(dim=1) - 1).square().mean()).backward()


def second_order(model):
    _ = torch.autograd.functional.hvp(lambda shift: cost(model, X + shift), torch.zeros(64), torch.ones(64))
    cost(model).backward()


def functional(model):
    values = dict(model.named_parameters())
    found = torch.func.grad(lambda those: F.cross_entropy(torch.func.functional_call(model, those, (X,)), Y))(values)
    each = torch.func.vmap(
        torch.func.grad(lambda those, x, y: F.cross_entropy(torch.func.functional_call(model, those, (x[None],)), y)),
        in_dims=(None, 0, 0),
    )(values, X[:5], Y[:5, None])
    cost(model).backward()
    for name, one in model.named_parameters():
        one.grad += found[name] + each[name].sum(0)


def closure(model):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def again():
        optimizer.zero_grad()
        loss = cost(model)
        loss.backward()
        return loss

    optimizer.step(again)


def hooked(model):
    kept = []
    handles = [module.register_full_backward_hook(lambda m, i, o: kept.append(o)) for module in model.children()]
    out = model(X)
    handles.append(out.register_hook(lambda grad: 2 * grad))
    F.cross_entropy(out, Y).backward()
    for handle in handles:
        handle.remove()


def stepped_within(model):
    """An optimiser that steps as soon as a gradient is there, and frees it."""
    optimizers = {one: torch.optim.SGD([one], 0.1) for one in model.parameters()}

    def stepping(one):
        optimizers[one].step()
        optimizers[one].zero_grad()

    handles = [one.register_post_accumulate_grad_hook(stepping) for one in model.parameters()]
    for _ in range(2):
        cost(model).backward()
    for handle in handles:
        handle.remove()
    for one in model.parameters():
        one.grad = one.detach().clone()


def saved_elsewhere(model):
    with torch.autograd.graph.save_on_cpu():
        loss = cost(model)
    loss.backward()


def half(model):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = cost(model)
    scaler.scale(loss).backward()


def half_overflowing(model):
    """The scale is too large at first: a step is skipped, the scale goes down."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-30)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = cost(model)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()


def piecewise(model):
    x = X.clone().requires_grad_()
    F.cross_entropy(checkpoint_sequential(model, 3, x, use_reentrant=False), Y).backward()


def within_each_other(model):
    def outer(x):
        return checkpoint(model[2:], checkpoint(model[:2], x, use_reentrant=False), use_reentrant=False)

    F.cross_entropy(checkpoint(outer, X, use_reentrant=False), Y).backward()


def traced(model):
    F.cross_entropy(torch.jit.trace(model, X)(X), Y).backward()


def partly_frozen(model):
    first = next(model.parameters())
    first.requires_grad_(False)
    cost(model).backward()
    first.requires_grad_(True)


def evaluated_between(model):
    with torch.no_grad():
        model(X)
    loss = cost(model)
    model.eval()
    with torch.inference_mode():
        model(X)
    model.train()
    loss.backward()


def mlp():
    return zoo.mlp(64, 48, 32, 10, activation=nn.Tanh)


USES = [
    *((use, mlp) for use in (plainly, several_losses, some_inputs, accumulated, retained, penalised, second_order)),
    *((use, mlp) for use in (functional, closure, hooked, stepped_within, saved_elsewhere, half, half_overflowing)),
    *((use, mlp) for use in (piecewise, within_each_other, traced, partly_frozen, evaluated_between)),
    *((plainly, kind) for kind in (Tied, NoGrad, InPlace, Normed, Rough)),
    *((accumulated, kind) for kind in (Tied, InPlace, Normed)),
    *((retained, kind) for kind in (NoGrad, Normed)),
    (penalised, Normed),
]


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of what it will not do for much longer
@pytest.mark.parametrize(("use", "kind"), USES, ids=lambda one: one.__name__)
def test_the_same_bits_and_a_flow(use, kind):
    model = kind()
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    use(twin)
    before = torch.autograd._engine_run_backward
    torch.manual_seed(1)
    with watch(model) as flow:
        use(model)
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other), name
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            assert torch.equal(one.grad.view(torch.int32), other.grad.view(torch.int32)), name
    assert torch.autograd._engine_run_backward is before
    assert engine._listeners == []
    assert len(flow)
    assert any(move.step == "weights" and move.norm_in > 0 for move in flow.rows)
    assert not [what for what in flow.unseen if "could not be" in what], flow.unseen
    again = flow.report(color=False)
    assert "Traceback" not in again
    with watch(model) as flow:  # names and forms are known now
        use(model)
    assert not [what for what in flow.unseen if "could not be" in what], flow.unseen


def test_a_scale_too_large_for_float16_is_told_from_a_model_that_explodes():
    model = mlp()
    with watch(model) as flow:
        half_overflowing(model)
    assert [one.verdict for one in flow] == ["exploding", "healthy", "healthy"]
    assert flow.at(0).scale == 2.0**40
    assert "factor 1.09951e+12 was too large, it skips this step" in flow.at(0).verdicts[0].advice


def test_a_tied_weight_is_one_layer_with_two_uses():
    model = Tied()
    with watch(model) as flow:
        plainly(model)
    assert [(move.name, move.op) for move in flow.rows if move.step == "weights"] == [
        ("embed", "linear"),
        ("mix", "linear"),
        ("embed", "embedding"),
    ]
    assert flow.verdict == "healthy"


def test_what_runs_without_gradients_is_not_called_detached_unless_it_is():
    model = NoGrad()
    with watch(model) as flow:
        plainly(model)
    fault = next(fault for fault in flow.verdicts if fault.word == "detached")
    assert fault.name == "fixed"
    assert "torch.no_grad()" in fault.advice
    assert {move.name for move in flow.rows if move.step == "weights"} == {"a", "b"}


def test_lengths_through_in_place_operations_are_those_of_the_gradients():
    model = InPlace()
    kept = {}

    def keep(name):
        def take(grad):
            kept[name] = grad.double().norm().item()

        return lambda module, inputs, output: output.register_hook(take) and None

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_children()]
    with watch(model) as flow:
        plainly(model)
    for handle in handles:
        handle.remove()
    found = {move.name: move.norm_in for move in flow.rows if move.step == "weights"}
    assert kept.keys() == found.keys() == {"a", "b", "c"}
    for name, length in kept.items():
        assert math.isclose(found[name], length, rel_tol=1e-5), name


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_an_error_that_the_users_hook_changes_is_measured_as_it_goes_on():
    model = mlp()
    with watch(model) as before:
        plainly(model)
    with watch(model) as after:
        hooked(model)
    pairs = [[move.norm_in for move in flow.rows if move.step == "weights"] for flow in (before.flow, after.flow)]
    for one, doubled in zip(*pairs, strict=True):
        assert math.isclose(doubled, 2 * one, rel_tol=1e-5)


def test_two_trainings_in_two_threads_do_not_see_each_other():
    models, found, failed = [mlp(), mlp()], {}, []
    meet = threading.Barrier(2)

    def train(i):
        try:
            with watch(models[i]) as flow:
                meet.wait()
                for _ in range(20):
                    plainly(models[i])
                meet.wait()
            found[i] = flow
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=train, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for i, flow in found.items():
        assert len(flow) >= 15, i
        for one in flow:
            assert [move.op for move in one.rows if move.step == "weights"] == ["linear"] * 3
            assert all(math.isfinite(move.norm_in) and move.norm_in > 0 for move in one.rows)
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize("where", ["forward", "backward", "after"])
def test_an_exception_leaves_all_as_it_was_and_the_training_goes_on(where):
    model = mlp()
    twin = copy.deepcopy(model)
    plainly(twin)

    class Stop(KeyboardInterrupt):
        pass

    def raising(*given):
        raise Stop

    def stopped():
        hooks = {"forward": model[2].register_forward_hook, "backward": model[2].register_full_backward_hook}
        handle = hooks[where](raising) if where in hooks else None
        try:
            cost(model).backward()
        finally:
            if handle is not None:
                handle.remove()
        raise Stop

    flow = watch(model)
    with pytest.raises(Stop), flow:
        stopped()
    assert not torch.is_anomaly_enabled()
    assert engine._listeners == []
    assert not flow.open
    assert all(not module._forward_hooks and not module._backward_hooks for module in model.modules())
    model.zero_grad()
    with flow:
        plainly(model)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert {move.name for move in flow.rows if move.step == "weights"} == {"0", "2", "4"}
