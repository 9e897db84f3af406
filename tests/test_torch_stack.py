"""Dense stacks to and from PyTorch: the same bits, the same outputs, the same errors, clear refusals."""

from __future__ import annotations

import copy
import re
import sys

import numpy as np
import oracle
import pytest
import torch
from conftest import relative
from drawn import HIDDEN, PAIRS, network, samples
from torch import nn

import deltarule as dr
from deltarule.interop import from_torch, to_torch
from deltarule.interop.torch_stack import construction

OUTPUTS = [name for name in dr.ACTIVATIONS if name != "exp"]  # PyTorch has no module for it
DELTA = {"float32": 1e-6, "float64": 1e-12}
VALUE = {"float32": 1e-6, "float64": 1e-13}


def same_bits(mine, theirs):
    return mine.dtype == theirs.dtype and mine.tobytes() == np.ascontiguousarray(theirs).tobytes()


def autograd(module, cost, x, y):
    """a^L, the delta of each Linear layer, and the mean gradients, all in the module's own dtype."""
    zs = []

    def keep(layer, given, z):
        z.retain_grad()
        zs.append(z)

    handles = [part.register_forward_hook(keep) for part in module if isinstance(part, nn.Linear)]
    a = module(torch.tensor(x))
    oracle.COST[cost](a, torch.tensor(y)).sum().backward()
    for handle in handles:
        handle.remove()
    return a.detach().numpy(), [z.grad.numpy() for z in zs], [p.grad.numpy() / len(x) for p in module.parameters()]


def assert_same_errors(net, module, x, y):
    dtype = str(net.dtype)
    trace = net.backprop(x, y)
    a, deltas, grads = autograd(module, net.cost.name, x, y)
    assert relative(a, trace.a[net.L]) < VALUE[dtype]
    for l in range(1, net.L + 1):
        assert np.abs(trace.delta[l]).max() > 0
        assert relative(deltas[l - 1], trace.delta[l]) < DELTA[dtype], l
        assert relative(grads[2 * l - 2], trace.grad_W[l]) < DELTA[dtype], l
        assert relative(grads[2 * l - 1], trace.grad_b[l]) < DELTA[dtype], l


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HIDDEN)
def test_every_activation_has_the_same_values_and_errors(name, dtype):
    net = network([5, 7, 6, 3], name, "identity", "quadratic", dtype)
    assert_same_errors(net, to_torch(net), *samples(net, 20))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "cost"), [pair for pair in PAIRS if pair[0] in OUTPUTS])
def test_every_output_and_cost_has_the_same_errors(output, cost, dtype):
    net = network([5, 7, 4], "tanh", output, cost, dtype, scale=1.0)
    assert_same_errors(net, to_torch(net), *samples(net, 20))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softplus_is_the_same_where_pytorch_takes_z_itself(dtype):
    net = dr.Network([1, 1, 1], "softplus", "identity", init="zeros", dtype=dtype)
    net.W[1], net.W[2] = [[1.0]], [[1.0]]
    x = np.linspace(-60, 60, 2401, dtype=dtype)[:, None]
    assert relative(to_torch(net)(torch.tensor(x)).detach(), net.predict(x)) < VALUE[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", HIDDEN)
def test_there_and_back_is_the_same_bits(name, output, dtype):
    net = network([3, 4, 1 + (output == "softmax"), 2], name, output, "quadratic", dtype)
    module = to_torch(net)
    back = from_torch(module, cost="quadratic")
    assert [sigma.name for sigma in back.activations] == [sigma.name for sigma in net.activations]
    assert back.dtype == net.dtype
    for l in range(1, net.L + 1):
        for mine, theirs, part in ((net.W, back.W, "weight"), (net.b, back.b, "bias")):
            assert same_bits(mine[l], getattr(module[2 * l - 2], part).detach().numpy())
            assert same_bits(mine[l], theirs[l])


def test_the_copies_are_copies():
    net = dr.Network([2, 3, 1], seed=0)
    module = to_torch(net)
    back = from_torch(module, cost="quadratic")
    before = net.W[1].copy()
    with torch.no_grad():
        module[0].weight.mul_(2)
    assert np.array_equal(net.W[1], before)
    assert np.array_equal(back.W[1], before)


def test_a_network_of_pytorchs_comes_in_and_trains_on():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Dropout(0.25))
    module = nn.Sequential(nn.Flatten(), body, nn.Identity(), nn.Linear(20, 15, bias=False), nn.Linear(15, 10))
    with pytest.warns(UserWarning, match=r"left out: 1\.2 \(p=0\.25\)\. To train .*fit\(dropout=\[0\.25, 0\.0\]\)"):
        net = from_torch(module, output="softmax", seed=0)
    assert net.seed == 0
    assert repr(net).startswith("Network(64 -> 20 relu -> 15 identity -> 10 softmax; cost log_likelihood, float32")
    assert not net.b[2].any()
    x = np.random.default_rng(0).normal(size=(9, 8, 8)).astype("float32")
    theirs = torch.softmax(module.eval()(torch.tensor(x)), dim=1).detach()
    assert relative(net.predict(x.reshape(9, 64)), theirs) < 1e-6
    digits = dr.data.digits()
    net.fit(*digits.train, epochs=20, optimizer=dr.SGD(0.1), dropout=[0.25, 0.0], progress=False)
    assert net.score(*digits.test) > 0.9


def test_a_single_linear_and_a_parametrized_one():
    torch.manual_seed(0)
    assert repr(from_torch(nn.Linear(3, 2))).startswith("Network(3 -> 2 identity; cost quadratic")
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    assert relative(from_torch(normed).predict(x.numpy()), normed(x).detach()) < 1e-6


def test_the_printed_construction_builds_the_module():
    net = network([4, 3, 2, 2], ["softplus", "leaky_relu"], "softmax", "log_likelihood", "float64")
    module, scope = to_torch(net), {}
    exec(construction(module), scope)
    scope["module"].load_state_dict(module.state_dict())
    x = torch.randn(5, 4, dtype=torch.float64)
    assert torch.equal(scope["module"](x), module(x))


class Twice(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def _old_weight_norm():
    return nn.utils.spectral_norm(nn.Linear(2, 2))


def _shared():
    linear = nn.Linear(2, 2)
    return nn.Sequential(linear, nn.ReLU(), linear)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (nn.LeakyReLU(0.2), "module '1', LeakyReLU(negative_slope=0.2), has negative_slope=0.2; ours has 0.01"),
        (nn.ELU(0.5), "has alpha=0.5; ours has 1.0"),
        (nn.GELU(approximate="tanh"), "has approximate='tanh'; ours has 'none'"),
        (nn.Softplus(beta=2), "has beta=2; ours has 1.0"),
        (nn.Softplus(threshold=5), "has threshold=5; ours has 20 or more"),
        (nn.Softmax(dim=0), "has dim=0; ours has 1 or -1"),
        (nn.Softmax(dim=1), "softmax at hidden layer 1"),
        (nn.PReLU(), "module '1', PReLU(num_parameters=1), cannot be taken: a dense network is a Sequential of"),
        (nn.Conv1d(1, 1, 1), "module '1', Conv1d"),
        (nn.BatchNorm1d(2), "fuse_linear_bn_eval"),
        (nn.LogSoftmax(dim=1), "output='softmax', cost='log_likelihood'"),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), "module '1.1', Tanh(), follows relu with no Linear between"),
        (Twice(2, 2), "module '1', Twice("),
        (nn.Linear(3, 2), "module '1', Linear(in_features=3, out_features=2, bias=True), takes 3 values; "),
        (nn.Flatten(0), "must have start_dim=1, end_dim=-1"),
        (nn.Linear(2, 2).double(), "float32 and float64; a network is float32 or float64 throughout"),
        (nn.Linear(2, 2, device="meta"), "meta device"),
        (nn.LazyLinear(2), "run the module once"),
        (_old_weight_norm(), "weight_orig in a hook"),
        (_shared(), "shares its weights with module '1.0'"),
    ],
)
def test_what_cannot_be_taken_is_named_with_the_way_out(parts, words):
    module = nn.Sequential(nn.Linear(2, 2), parts, nn.Linear(2, 2))
    with pytest.raises(dr.BadInput, match=re.escape(words)):
        from_torch(module)


def test_more_refusals():
    with pytest.raises(dr.BadInput, match="stands before the first Linear"):
        from_torch(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    with pytest.raises(dr.BadInput, match="no Linear layer"):
        from_torch(nn.Sequential(nn.Flatten()))
    with pytest.raises(dr.BadInput, match=r"expected a torch\.nn\.Module, got int"):
        from_torch(3)
    with pytest.raises(dr.BadInput, match="the module ends in tanh"):
        from_torch(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), output="softmax")
    with pytest.raises(dr.BadInput, match="With this output: cost="):
        from_torch(nn.Linear(2, 2), output="softmax", cost="cross_entropy")
    with pytest.raises(dr.BadInput, match="bfloat16"):
        from_torch(nn.Linear(2, 2).bfloat16())
    with pytest.raises(dr.BadInput, match=r"cannot be taken.*Sequential"):
        from_torch(nn.LSTM(2, 2))
    own = dr.Network([2, 3, 1], (lambda z: z**3, lambda z: 3 * z**2), "identity")
    with pytest.raises(dr.BadInput, match="layer 1 has an activation of your own"):
        to_torch(own)


def test_without_pytorch_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for door in (lambda: to_torch(dr.Network([2, 1])), lambda: from_torch(None)):
        with pytest.raises(dr.MissingExtra, match=r'pip install "deltarule\[torch\]"'):
            door()


def test_the_module_is_not_changed():
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    before = copy.deepcopy(module.state_dict())
    from_torch(module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(p.requires_grad for p in module.parameters())
