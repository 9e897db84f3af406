"""Faults planted in models: each is named, with its operation and what to do. Healthy models raise no alarm."""

from __future__ import annotations

import pytest
import torch
import zoo
from torch import nn
from torch.nn import functional as F

from deltarule.lens import Watch, watch


def watched(model: nn.Module, x=None, y=None, name: str = "", inside: bool = True) -> Watch:
    """A watch around one pass; the forward pass inside it, or before."""
    if x is None:
        x, y = zoo.digits()
    if inside:
        with watch(model) as flow:
            zoo.loss_of(name, model, x, y).backward()
    else:
        loss = zoo.loss_of(name, model, x, y)
        with watch(model) as flow:
            loss.backward()
    return flow


both = pytest.mark.parametrize("inside", [True, False], ids=["forward inside", "forward before"])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", zoo.HEALTHY)
def test_a_healthy_model_raises_no_alarm(name):
    model = zoo.HEALTHY[name]()
    x, y = zoo.digits()
    assert watched(model, x, y, name).verdict == "healthy", "at the start"
    losses = zoo.train(name, model, 60)
    assert sum(losses[-5:]) < sum(losses[:5]), "it is to be a model that learns"
    assert watched(model, x, y, name).verdict == "healthy", "trained"
    assert watched(zoo.HEALTHY[name](), x, y, name, inside=False).verdict == "healthy", "forward before"


@both
def test_a_stack_of_sigmoids_vanishes(inside):
    flow = watched(zoo.mlp(64, *[64] * 7, 10, activation=nn.Sigmoid), inside=inside)
    fault = flow.verdicts[0]
    assert fault.word == "vanishing"
    assert "sigmoid" in fault.why
    assert "at 0 (linear)" in fault.why, "where it has vanished"
    assert "Tanh" in fault.advice
    assert fault.step == "activation"
    if inside:
        assert fault.name in {str(i) for i in range(1, 14, 2)}, "the module that loses most"


@both
def test_weights_drawn_too_large_explode(inside):
    model = zoo.mlp(64, *[64] * 6, 10)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.8)
    fault = watched(model, inside=inside).verdicts[0]
    assert fault.word == "exploding"
    assert (fault.step, fault.name) == ("weights", fault.name)
    assert fault.name in {"2", "4", "6", "8", "10", "12"}
    assert "multiply those of each layer by" in fault.advice


@both
def test_dead_relus_are_named(inside):
    model = zoo.mlp(64, 64, 64, 10)
    with torch.no_grad():
        model[2].bias[:50] = -100
    flow = watched(model, inside=inside)
    fault = flow.verdicts[0]
    assert fault.word == "dead"
    assert fault.name == ("3" if inside else "after 2")
    assert "LeakyReLU" in fault.advice
    dead = next(move.dead for move in flow.rows if move.op == "relu" and move.layer == 2)
    assert 50 / 64 <= dead < 60 / 64


def test_a_layer_whose_relus_are_all_dead_is_dead_not_only_vanishing():
    model = zoo.mlp(64, 64, 64, 10)
    with torch.no_grad():
        model[2].bias[:] = -100
    flow = watched(model)
    assert flow.verdict == "dead"
    assert "vanishing" in [fault.word for fault in flow.verdicts]
    assert "exactly 0" in str(flow.report())


class TwoWays(nn.Module):
    """Two branches, of which one may be cut off."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.trunk, self.left, self.right, self.head = (
            nn.Linear(64, 32),
            nn.Linear(32, 32),
            nn.Linear(32, 32),
            nn.Linear(32, 10),
        )
        self.how = how

    def forward(self, x):
        x = torch.relu(self.trunk(x))
        right = self.right(x)
        if self.how == "detach":
            right = right.detach()
        if self.how == "no_grad":
            with torch.no_grad():
                right = self.right(x)
        return self.head(torch.relu(self.left(x) + right))


@both
@pytest.mark.parametrize("how", ["detach", "no_grad"])
def test_a_detached_branch_is_named(how, inside):
    flow = watched(TwoWays(how), inside=inside)
    fault = next(fault for fault in flow.verdicts if fault.word == "detached")
    assert flow.verdict == "detached"
    assert fault.name == "right"
    assert "detach()" in fault.advice
    assert ("took part in the forward pass" in fault.why) == inside
    assert ("inside `with watch(model)`" in fault.advice) != inside


def test_a_module_that_takes_no_part_is_not_called_detached():
    model = TwoWays("")
    model.spare = nn.Linear(3, 3)
    assert "spare" in str(watched(model, inside=False).verdicts), "without the forward pass it cannot be told"
    assert watched(model).verdict == "healthy"
    assert watched(model, inside=False).verdict == "healthy", "it has been seen once"


@both
def test_a_frozen_layer_is_named(inside):
    model = zoo.mlp(64, 64, 64, 10)
    model[2].requires_grad_(False)
    flow = watched(model, inside=inside)
    fault = flow.verdicts[0]
    assert (fault.word, fault.name) == ("frozen", "2")
    assert "2 of 6 parameters" in fault.why
    assert "requires_grad_(True)" in fault.advice
    frozen = next(move for move in flow.rows if move.step == "weights" and move.layer == 1)
    assert frozen.gain > 0, "the error passes through it"


@both
def test_a_saturated_softmax_is_named(inside):
    model = zoo.Transformer(sharp=300.0)
    flow = watched(model, inside=inside)
    fault = next(fault for fault in flow.verdicts if fault.word == "saturated")
    assert "softmax" in fault.why
    assert "sqrt(d)" in fault.advice
    if inside:
        assert fault.name.startswith("blocks.")
        assert fault.name.endswith(".attention")
        assert "zoo.py:" in fault.source


@both
def test_saturated_tanh_units_are_named(inside):
    model = zoo.mlp(64, 64, 64, 10, activation=nn.Tanh)
    with torch.no_grad():
        model[2].weight *= 60
    fault = next(fault for fault in watched(model, inside=inside).verdicts if fault.word == "saturated")
    assert fault.name == ("3" if inside else "after 2")
    assert "xavier_normal_" in fault.advice


@both
@pytest.mark.parametrize(
    "make",
    [lambda: zoo.ResNet(blocks=6, without=4), lambda: zoo.Transformer(without=2)],
    ids=["resnet", "transformer"],
)
def test_a_missing_residual_is_named(make, inside):
    flow = watched(make(), inside=inside)
    fault = next(fault for fault in flow.verdicts if fault.word == "residual")
    assert fault.name == ("blocks.4" if "Res" in fault.why else "blocks.2")
    assert "sisters" in fault.why


class Distance(nn.Module):
    """A square root where its slope may be infinite, and a where that does not help."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.layer, self.head, self.masked = nn.Linear(64, 32), nn.Linear(32, 10), masked

    def forward(self, x):
        z = torch.relu(self.layer(x))
        root = torch.sqrt(z)
        if self.masked:
            root = torch.where(z > 0, root, torch.zeros_like(z))
        return self.head(root)


@both
@pytest.mark.parametrize("masked", [True, False])
def test_a_nan_that_only_the_backward_pass_has_is_named(masked, inside):
    flow = watched(Distance(masked), inside=inside)
    fault = flow.verdicts[0]
    assert fault.word == "exploding"
    assert "sqrt" in fault.why
    assert "the loss is finite" in fault.why
    assert ("NaN" if masked else "infinite") in fault.why
    assert "torch.sqrt(x + eps)" in fault.advice
    if inside:
        assert "test_lens_faults.py:" in fault.source


def test_a_forward_pass_that_overflows_is_told_from_a_backward_pass_that_does():
    model = zoo.mlp(64, 64, 10)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    fault = watched(model).verdicts[0]
    assert fault.word == "exploding"
    assert "the loss itself is NaN" in fault.why


def test_a_root_of_a_parameter_is_seen_though_no_activation_lies_below_it():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.size = nn.Linear(64, 10), nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return self.head(x) * torch.sqrt(self.size)

    fault = watched(Learned()).verdicts[0]
    assert (fault.word, "sqrt" in fault.why) == ("exploding", True)


@both
def test_underflow_in_half_precision_is_named(inside):
    model = zoo.mlp(64, 64, 64, 64, 10).half()
    x, y = zoo.digits()
    head = 1e-4  # the loss of a mean over many positions is as small

    def loss():
        return (F.cross_entropy(model(x.half()).float(), y)) * head

    before = None if inside else loss()
    with watch(model) as flow:
        (loss() if before is None else before).backward()
    fault = flow.verdicts[0]
    assert fault.word == "underflow"
    assert "float16" in fault.why
    assert "GradScaler" in fault.advice


def test_the_same_with_its_loss_scaled_is_healthy():
    model = zoo.mlp(64, 64, 64, 64, 10).half()
    x, y = zoo.digits()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    with watch(model) as flow:
        scaler.scale(F.cross_entropy(model(x.half()).float(), y) * 1e-4).backward()
    assert flow.verdict == "healthy"
    assert flow.flow.scale == 2.0**20


@both
def test_an_exploding_recurrent_net_is_named(inside):
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.head = nn.RNN(8, 32, nonlinearity="relu", batch_first=True), nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.cells(x.view(-1, 8, 8).repeat(1, 5, 1))[0][:, -1])

    model = Linear()
    with torch.no_grad():
        model.cells.weight_hh_l0 *= 3.5
    flow = watched(model, inside=inside)
    fault = flow.verdicts[0]
    assert fault.word == "exploding"
    assert "cells" in fault.why
    assert "orthogonal_" in fault.advice
    assert "clip_grad_norm_" in fault.advice


def test_a_residual_branch_that_begins_at_zero_is_meant():
    model = zoo.Transformer()
    for block in model.blocks:
        nn.init.zeros_(block.mlp[2].weight)
        nn.init.zeros_(block.attention.out.weight)
    assert watched(model).verdict == "healthy"


def test_weights_of_zero_that_cut_the_only_way_are_named():
    model = zoo.mlp(64, 64, 64, 10)
    nn.init.zeros_(model[2].weight)
    fault = watched(model).verdicts[0]
    assert (fault.word, fault.name) == ("vanishing", "2")
    assert "exactly 0" in fault.why


def test_what_a_mean_does_to_the_length_is_no_fault():
    class Pools(nn.Module):
        """A mean over 1024 x 1024 positions divides the length of the error by 1024."""

        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

        def forward(self, x):
            wide = F.interpolate(x.view(-1, 1, 8, 8), size=(1026, 1026))
            return self.head(torch.tanh(self.first(wide)).flatten(2).mean(2))

    flow = watched(Pools(), *zoo.digits(2))
    pooled = next(move for move in flow.rows if move.op == "mean")
    assert pooled.gain < 0.01
    assert flow.flow.total < 0.001
    assert flow.verdict == "healthy"
