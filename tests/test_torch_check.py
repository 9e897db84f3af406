"""Autograd's backward pass against measurement: right modules pass, planted faults are named, nothing is changed."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import deltarule as dr
from deltarule.interop import BackwardCheck, check_backward
from deltarule.interop.nudge import COARSE, FINE, slope


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def function(forward, backward):
    """A custom autograd.Function from two functions: of the inputs, and of them and the incoming gradient."""

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return backward(grad, *ctx.saved_tensors)

    return Made


def linear_backward(grad, x, W, b):
    return grad @ W, grad.T @ x, grad.sum(0)


def linear(x, W, b):
    return x @ W.T + b


def wrong_at_one(grad, x, W, b):
    grad_W = grad.T @ x
    grad_W[1, 2] *= -1
    return grad @ W, grad_W, grad.sum(0)


def in_place(grad, x):
    return grad.mul_(3) * torch.cos(x)


def spoils_what_it_saved(grad, x):
    found = grad * 2 * x
    x.mul_(2)
    return found


def spoils_it_in_secret(grad, x):
    found = grad * 2 * x
    x.data.mul_(2)  # past autograd's count of changes
    return found


class Scales(torch.autograd.Function):
    """x^2 whose forward pass doubles its input in place after saving it, and does not say so."""

    @staticmethod
    def forward(ctx, x):
        y = x**2
        x.data.mul_(2)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad * 2 * ctx.saved_tensors[0]


SQUARE = (torch.randn(4, 4), torch.randn(4, 4), torch.randn(4))
FAULTS = {
    "a wrong factor": (function(torch.sin, lambda g, x: 2 * g * torch.cos(x)), torch.randn(3, 4), "input", "2 times"),
    "a wrong sign": (function(torch.sin, lambda g, x: -g * torch.cos(x)), torch.randn(3, 4), "input", "-1 times"),
    "a transposed weight": (
        function(linear, lambda g, x, W, b: (g @ W.T, g.T @ x, g.sum(0))), SQUARE, "input[0]", "",
    ),
    "a missing term": (
        function(lambda x: x * torch.tanh(x), lambda g, x: g * torch.tanh(x)), torch.randn(6), "input", "",
    ),
    "1/N twice": (
        function(linear, lambda g, x, W, b: (g @ W, g.T @ x / len(x), g.sum(0))), SQUARE, "input[1]", "0.25 times",
    ),
    "a wrong sign at one coordinate": (function(linear, wrong_at_one), SQUARE, "input[1] at (1, 2)", ""),
    "the incoming gradient changed in place": (function(torch.sin, in_place), torch.randn(5), "input", "3 times"),
    "the input changed in place": (Scales, torch.randn(5), "input", "2 times"),
    "what was saved changed in place": (
        function(torch.square, spoils_what_it_saved), torch.randn(5), "input", "same graph",
    ),
    "what was saved changed in secret": (
        function(torch.square, spoils_it_in_secret), torch.randn(5), "input", "same graph",
    ),
    "no gradient": (function(linear, lambda g, x, W, b: (g @ W, None, g.sum(0))), SQUARE, "input[1]", "none (None)"),
    "a NaN": (
        function(torch.sin, lambda g, x: torch.where(x > 0, g / 0 * 0, g * torch.cos(x))),
        torch.tensor([-1.0, 2.0, 3.0]), "input", "it is NaN at (1,) and not finite at 1 more",
    ),
}  # fmt: skip


def by(given, dtype):
    return tuple(one.to(dtype) for one in given) if isinstance(given, tuple) else given.to(dtype)


def gradcheck(made, given):
    inputs = by(given, torch.float64)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    leaves = [one.clone().requires_grad_() for one in inputs]
    # A function that changes its input in place may only be given a copy of a leaf.
    return torch.autograd.gradcheck(lambda *x: made.apply(*(one.clone() for one in x)), leaves, raise_exception=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen_and_named(fault, dtype):
    made, given, place, remark = FAULTS[fault]
    report = check_backward(made, by(given, dtype))
    assert not report.ok
    assert place in str(report).splitlines()[-1], report
    assert remark in report.worst.remark, report
    wrong = [finding.name for finding in report.findings if not finding.ok]
    assert wrong == [place.split(" ")[0]]  # and nothing else is blamed


@pytest.mark.parametrize("fault", FAULTS)
def test_gradcheck_finds_the_same_faults(fault):
    made, given, *_ = FAULTS[fault]
    try:
        assert not gradcheck(made, given)
    except RuntimeError as error:  # raised by autograd in gradcheck's second pass back
        assert "inplace operation" in str(error)  # noqa: PT017


RIGHT = {
    "sine": (function(torch.sin, lambda g, x: g * torch.cos(x)), torch.randn(3, 4)),
    "linear": (function(linear, linear_backward), SQUARE),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_function_passes_here_and_with_gradcheck(name, dtype):
    made, given = RIGHT[name]
    report = check_backward(made, by(given, dtype))
    assert report.ok, report
    assert max(finding.error for finding in report.findings) < 1e-9
    assert report.measured_in == "float64"
    assert gradcheck(made, given)


MODULES = {
    "dense": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), lambda: torch.randn(6, 5)),
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        lambda: torch.randn(5, 2, 6, 6),
    ),
    "recurrent": (lambda: nn.LSTM(3, 4, num_layers=2), lambda: torch.randn(5, 2, 3)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), lambda: torch.randn(2, 4, 8)),
    "embedding": (lambda: nn.Embedding(7, 3, sparse=True), lambda: torch.tensor([1, 2, 2])),
    "loss": (nn.CrossEntropyLoss, lambda: (torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0]))),
    "activations": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.SELU(), nn.Softplus(), nn.Softmax(1)),
        lambda: torch.randn(5, 4),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", MODULES)
def test_pytorchs_own_modules_pass(name, dtype):
    make, given = MODULES[name]
    given = given()
    first = given[0] if isinstance(given, tuple) else given
    inputs = (first.to(dtype), *given[1:]) if isinstance(given, tuple) else first
    if first.is_floating_point() and not isinstance(given, tuple):
        inputs = first.to(dtype)
    report = check_backward(make().to(dtype), inputs, tries=120)
    assert report.ok, report
    assert report.dtype == str(dtype).removeprefix("torch.")
    assert report.measured_in == "float64"


def test_a_wrong_sign_deep_in_a_large_tensor_is_found_by_halving():
    def backward(grad, x, W):
        grad_W = grad.T @ x
        grad_W[313, 77] *= -1
        return grad @ W, grad_W

    made = function(lambda x, W: x @ W.T, backward)
    x, W = torch.randn(3, 200), torch.randn(500, 200)
    report = check_backward(made, (x, W), tries=40)
    assert not report.ok
    assert report.worst.name == "input[1]"
    assert report.worst.place == "at (313, 77)"
    assert report.worst.computed == pytest.approx(-report.worst.measured, rel=1e-5)
    assert report.passes < 1500


def test_kinks_are_named_and_not_judged():
    x = torch.tensor([[0.0, 1.0, -1.0], [1e-9, 2.0, 0.0]])
    report = check_backward(nn.ReLU(), x)
    assert report.ok
    finding = report.findings[0]
    assert finding.kinks == ((0, 0), (1, 0), (1, 2))
    assert finding.kinked == 3
    assert "3 on a kink, not judged: (0, 0), (1, 0), (1, 2)" in str(report)
    assert not check_backward(function(torch.relu, lambda g, x: g), torch.tensor([0.0, 1.0, -1.0])).ok


def test_a_kink_nearby_does_not_spoil_a_measurement():
    report = check_backward(torch.abs, torch.tensor([1e-4, -3e-3, 0.02, 1.0], dtype=torch.float64))
    assert report.ok, report
    assert report.findings[0].kinked == 0


def test_a_gradient_that_is_zero_up_to_rounding_is_called_that():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    report = check_backward(module, torch.randn(8, 5))
    bias = next(finding for finding in report.findings if finding.name == "0.bias")
    assert report.ok, report
    assert bias.remark == "zero, up to rounding"


def test_an_unused_parameter_is_not_a_fault_and_a_detached_one_is():
    class Two(nn.Module):
        def __init__(self, detach):
            super().__init__()
            self.detach = detach
            self.used, self.other = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.used(x) + (self.other(x).detach() if self.detach else 0)

    unused, detached = (check_backward(Two(detach), torch.randn(2, 3)) for detach in (False, True))
    assert unused.ok
    assert {f.name: f.remark for f in unused.findings}["other.bias"].startswith("none, and none is measured")
    assert not detached.ok
    assert "autograd gives none (None)" in {f.name: f.remark for f in detached.findings}["other.bias"]


class OnlyFloat32(torch.autograd.Function):
    """tanh, as a kernel that is written for float32 and knows nothing else."""

    factor = 1.0

    @staticmethod
    def forward(ctx, x):
        if x.dtype != torch.float32:
            raise RuntimeError("expected float32")
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @classmethod
    def backward(cls, ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y**2) * ctx.__class__._forward_cls.factor


def test_a_module_that_knows_float32_alone_is_measured_there_with_a_stated_floor():
    report = check_backward(OnlyFloat32, torch.randn(4, 5))
    assert report.ok, report
    assert report.measured_in == "float32"
    assert 1e-7 < report.findings[0].floor < 0.05
    assert report.findings[0].error < report.findings[0].floor
    assert any("does not run in float64 (expected float32)" in note for note in report.notes)

    class Wrong(OnlyFloat32):
        factor = 1.05

    wrong = check_backward(Wrong, torch.randn(4, 5))
    assert not wrong.ok
    assert wrong.worst.remark == "it is 1.05 times what it should be"


def test_a_fault_in_float32_alone_is_seen():
    made = function(torch.sin, lambda g, x: g * torch.cos(x) * (1.001 if x.dtype == torch.float32 else 1.0))
    report = check_backward(made, torch.randn(5))
    assert not report.ok
    assert report.worst.remark == "right in float64, not in float32"
    assert report.worst.own == pytest.approx(1e-3, rel=0.01)


def test_dropout_is_noticed_and_given_the_same_draws():
    module = nn.Sequential(nn.Linear(4, 20), nn.Dropout(0.5), nn.Linear(20, 2))
    report = check_backward(module, torch.randn(3, 4))
    assert report.ok, report
    assert any("draws random numbers (dropout in training mode?)" in note for note in report.notes)
    assert not check_backward(module.eval(), torch.randn(3, 4)).notes


def test_a_gradient_past_a_changing_buffer_is_wrong_and_the_buffer_is_named():
    class ByRunningMean(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.ones(4))

        def forward(self, x):
            if self.training:
                self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
            return x / self.mean

    module, x = ByRunningMean(), torch.randn(2, 4)
    report = check_backward(module, x)
    assert not report.ok
    assert any("changes the buffers mean; autograd may be told not to see" in note for note in report.notes)
    assert module.mean.tolist() == [1.0] * 4
    assert check_backward(module.eval(), x).ok


def test_a_module_that_is_not_repeatable_is_not_judged():
    generator = np.random.default_rng(0)
    report = check_backward(lambda x: x * float(generator.normal()), torch.randn(3))
    assert not report.ok
    assert not report.repeatable
    assert "NOT REPEATABLE" in str(report)


def test_the_module_and_the_input_stay_as_they_were():
    module = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(3, 2)
    )
    module[0].weight.requires_grad_(False)
    module[4].bias.grad = torch.full((2,), 7.0)
    x = torch.randn(6, 4, requires_grad=True)
    state, before = copy.deepcopy(module.state_dict()), x.detach().clone()
    pointers = [p.data_ptr() for p in module.parameters()]
    draws = torch.random.get_rng_state()
    report = check_backward(module, x)
    assert report.ok, report
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert pointers == [p.data_ptr() for p in module.parameters()]
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True, True, True]
    assert [p.grad is None for p in module.parameters()] == [True] * 5 + [False]
    assert module[4].bias.grad.tolist() == [7.0, 7.0]
    assert module.training
    assert torch.equal(x.detach(), before)
    assert x.grad is None
    assert torch.equal(draws, torch.random.get_rng_state())
    assert any("1 parameters with requires_grad=False are left out" in note for note in report.notes)
    assert "0.weight" not in [finding.name for finding in report.findings]


def test_tensors_that_a_function_closes_over_keep_their_grad():
    W = torch.randn(3, 3, requires_grad=True)
    assert check_backward(lambda x: x @ W.to(x.dtype), torch.randn(2, 3)).ok
    assert W.grad is None


def test_keywords_several_outputs_and_scalars():
    def both(x, scale, power):
        return {"sum": (x * scale).sum(), "rest": [x**power, "text", torch.arange(3)]}

    report = check_backward(both, {"x": torch.randn(4), "scale": torch.tensor(2.0), "power": 3})
    assert report.ok, report
    assert [finding.name for finding in report.findings] == ["input['x']", "input['scale']"]


def test_the_record_goes_through_json_and_prints():
    report = check_backward(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.randn(3, 2))
    back = BackwardCheck.from_dict(json.loads(json.dumps(report.to_dict())))
    assert str(back) == str(report)
    assert back.ok
    assert "<pre>" in report._repr_html_()
    with pytest.raises(AttributeError):
        report.module = "other"


def test_the_cost_is_bounded_and_said():
    module = nn.Sequential(nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 10))
    report = check_backward(module, torch.randn(2, 300), tries=30)
    tried = sum(finding.coordinates + finding.directions for finding in report.findings)
    assert tried <= 30
    assert report.size == 600 + 300 * 200 + 200 + 2000 + 10
    assert report.passes <= 30 * 14 + 10
    assert f"{report.passes:,} forward passes" in str(report)
    assert report.ok, report


def test_clear_refusals():
    net = dr.Network([2, 1])
    for module, given, words in (
        (net, torch.randn(1, 2), r"deltarule\.check\(net, x, y\)"),
        (3, torch.randn(2), r"expected a torch\.nn\.Module"),
        (nn.Linear(2, 2), np.zeros((1, 2)), "input is ndarray; expected a tensor"),
        (torch.log, torch.tensor([-1.0]), "gives a NaN or an infinity"),
        (torch.argmax, torch.randn(3), "gives no floating-point tensor"),
        (nn.ReLU(), torch.tensor([1]), "nothing to differentiate by"),
        (nn.LazyLinear(2), torch.randn(1, 2), "run the module once"),
        (nn.Linear(2, 2, device="meta"), torch.randn(1, 2), "meta device"),
        (torch.real, torch.randn(2, dtype=torch.complex64), "complex"),
    ):
        with pytest.raises(dr.BadInput, match=words):
            check_backward(module, given)
    with pytest.raises(dr.BadInput, match="tries is 0"):
        check_backward(nn.ReLU(), torch.randn(2), tries=0)


def test_without_pytorch_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(dr.MissingExtra, match=r'pip install "deltarule\[torch\]"'):
        check_backward(None, None)


@pytest.mark.parametrize("ladder", [FINE, COARSE])
def test_a_slope_is_as_good_as_it_says(ladder):
    for f, true in ((np.sin, 1.0), (np.exp, 1.0), (lambda h: np.tanh(3 * h + 1), 3 / np.cosh(1) ** 2)):
        for rounding in (0, 1e-7):
            rng = np.random.default_rng(0)

            def rounded(h, f=f, rng=rng, rounding=rounding):
                return float(f(h)) + rounding * rng.uniform(-1, 1)

            found = slope(rounded, float(f(0.0)), 2 * rounding + 1e-15, ladder, 1e-6, 0.0)
            assert not found.kink
            assert abs(found.value - true) <= found.spread
            assert found.spread < 0.01
