"""Dense stacks to and from PyTorch: the same parameters, bit for bit, and activations of the same meaning.

PyTorch's activations have settings that ours have not; one that differs is refused, never rounded to the nearest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from deltarule.errors import BadInput
from deltarule.interop.subject import import_torch
from deltarule.network import DTYPES, Network
from deltarule.store import write_whole

FROM: dict[str, tuple[str, dict[str, tuple[Callable[[Any], bool], str]]]] = {
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "ReLU": ("relu", {}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": (lambda slope: slope == 0.01, "0.01")}),
    "ELU": ("elu", {"alpha": (lambda alpha: alpha == 1, "1.0")}),
    "SELU": ("selu", {}),
    "GELU": ("gelu", {"approximate": (lambda how: how == "none", "'none'")}),
    "SiLU": ("silu", {}),
    "Softplus": (
        "softplus",
        {"beta": (lambda beta: beta == 1, "1.0"), "threshold": (lambda z: z >= 20, "20 or more")},
    ),
    "Softsign": ("softsign", {}),
    "Identity": ("identity", {}),
    "Softmax": ("softmax", {"dim": (lambda dim: dim in (1, -1), "1 or -1, over the classes")}),
}
"""PyTorch's class by name: our activation, and what its settings must be."""

INSTEAD = {
    "LogSoftmax": "take it away, and give output='softmax', cost='log_likelihood': the same cost, the same errors",
    "LogSigmoid": "take it away, and give output='sigmoid', cost='cross_entropy'",
    "BatchNorm1d": "in evaluation it is affine: fold it into the Linear before it "
    "(torch.nn.utils.fusion.fuse_linear_bn_eval), or leave it out",
    "OptimizedModule": "it is compiled; give the module that was compiled, module._orig_mod",
    "DataParallel": "give the module inside, module.module",
    "DistributedDataParallel": "give the module inside, module.module",
}
"""What to do about a module that cannot be taken, where there is more to say than what can."""

DROPOUTS = ("Dropout", "AlphaDropout", "FeatureAlphaDropout")
TAKEN = ("Linear", "Flatten", *DROPOUTS, *FROM)


def to_torch(net: Network) -> Any:
    """The network as a `torch.nn.Sequential` of Linear layers and activations, in its dtype, on the CPU.

    The parameters are copies, bit for bit. The cost does not go along: it is summed over the outputs of a sample,
    where PyTorch's losses are means over them too (docs/export.md has each in PyTorch's words).

    Parameters
    ----------
    net : Network

    Returns
    -------
    torch.nn.Sequential
        Linear, activation, Linear, activation, ..; an identity is `nn.Identity`, so that layer l is always
        `module[2 * l - 2]` and `module[2 * l - 1]`.

    Raises
    ------
    BadInput
        An activation of your own.
    MissingExtra
        Without PyTorch: ``pip install "deltarule[torch]"``.

    Examples
    --------
    >>> import deltarule as dr, torch
    >>> net = dr.Network([4, 3, 2], activation="tanh", output="softmax", cost="log_likelihood", seed=0)
    >>> module = to_torch(net)
    >>> module
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): Tanh()
      (2): Linear(in_features=3, out_features=2, bias=True)
      (3): Softmax(dim=1)
    )
    >>> x = torch.eye(4)
    >>> np.allclose(module(x).detach(), net.predict(x), atol=1e-6)
    True
    """
    torch = import_torch()
    nn = torch.nn
    options: dict[str, dict[str, Any]] = {
        "softmax": {"dim": 1},
        # Above its threshold PyTorch's softplus is z itself; e^-40 is below the last bit of 40 in float64.
        "softplus": {"threshold": 20 if net.dtype == np.float32 else 40},
    }
    makers = {ours: getattr(nn, theirs) for theirs, (ours, _) in FROM.items()}
    parts = []
    for l in range(1, net.L + 1):
        name = net.activations[l].name
        if name not in makers:
            which = "has an activation of your own," if net.activations[l].custom else "has"
            raise BadInput(
                f"layer {l} {which} {name!r}; PyTorch has no module for it. Export a copy with another one, "
                "net.copy(activation=...), or write the module and copy net.W and net.b into it"
            )
        linear = nn.utils.skip_init(nn.Linear, net.sizes[l - 1], net.sizes[l], dtype=getattr(torch, str(net.dtype)))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.array(net.W[l])))
            linear.bias.copy_(torch.from_numpy(np.array(net.b[l])))
        parts += [linear, makers[name](**options.get(name, {}))]
    return nn.Sequential(*parts)


def from_torch(
    module: Any, *, output: str | None = None, cost: str | None = None, seed: int | None = None
) -> Network:
    """The network that a dense stack of PyTorch's computes, with copies of its parameters.

    Parameters
    ----------
    module : torch.nn.Module
        A Linear, or a Sequential, nested too, of Linear, activations, Dropout (left out, with a warning that names
        `fit`'s argument), Flatten and Identity. Two Linear layers with nothing between them are taken with an
        identity between. A Linear without a bias gets a bias of 0.
    output : str, optional
        The activation behind the last Linear where the module has none because its loss brings it: "softmax"
        for `CrossEntropyLoss`, "sigmoid" for `BCEWithLogitsLoss`.
    cost : str, optional
        Of the network; a module does not know it. "log_likelihood" behind softmax, "cross_entropy" behind sigmoid,
        "quadratic" behind all else, if not given.
    seed : int, optional
        Of the network's generator, for training on.

    Returns
    -------
    Network
        In the module's dtype.

    Raises
    ------
    BadInput
        Names the module that cannot be taken, where it stands, and what to do.
    MissingExtra
        Without PyTorch: ``pip install "deltarule[torch]"``.

    Examples
    --------
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))
    >>> from_torch(module, output="softmax")
    Network(784 -> 30 relu -> 10 softmax; cost log_likelihood, float32, 23,860 parameters)
    >>> from_torch(nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.2), nn.Linear(3, 1)))
    Traceback (most recent call last):
    ...
    deltarule.errors.BadInput: module '1', LeakyReLU(negative_slope=0.2), has negative_slope=0.2; ours has 0.01...
    """
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"expected a torch.nn.Module, got {type(module).__name__}")
    linears, activations, dropouts = _read(torch, module)
    if output is not None:
        if activations[-1] is not None:
            raise BadInput(
                f"output is {output!r}, but the module ends in {activations[-1]}: `output` is for a module that "
                "ends in a Linear"
            )
        activations[-1] = output
    names = [name or "identity" for name in activations]
    _require_chain(linears)
    if dropouts:
        warnings.warn(_about_dropout(dropouts, len(linears) - 1), UserWarning, stacklevel=2)
    if cost is None:
        cost = {"softmax": "log_likelihood", "sigmoid": "cross_entropy"}.get(names[-1], "quadratic")
    dtype = _dtype(linears)
    sizes = [linears[0][1].in_features, *(linear.out_features for _, linear in linears)]
    net = Network(sizes, names[:-1], names[-1], cost, "zeros", dtype, seed)
    net.init = "auto"
    for l, (_, linear) in enumerate(linears, 1):
        net.W[l] = linear.weight.detach().cpu().numpy()
        if linear.bias is not None:
            net.b[l] = linear.bias.detach().cpu().numpy()
    return net


def write_state(net: Network, path: Path) -> str:
    """Write the state of :func:`to_torch`, whole or not at all; returns the Python that makes a module of it.

    A state holds tensors and nothing else, so that `torch.load` reads it without running code.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder; expected the name of a file: {path / 'network.pt'}")
    module, content = to_torch(net), BytesIO()
    import_torch().save(module.state_dict(), content)
    write_whole(path, content.getvalue())
    return f"{construction(module)}\nmodule.load_state_dict(torch.load({str(path)!r}))"


def construction(module: Any) -> str:
    """The lines of Python that build a stack of :func:`to_torch` anew, for its state to be loaded into."""
    parts = ",\n".join(f"    nn.{part!r}" for part in module)
    end = ".double()" if str(next(module.parameters()).dtype) == "torch.float64" else ""
    return f"import torch\nfrom torch import nn\n\nmodule = nn.Sequential(\n{parts},\n){end}"


def _read(torch: Any, module: Any) -> tuple[list[tuple[str, Any]], list[str | None], list[tuple[str, Any, int]]]:
    """The Linear layers with their names, the activation behind each, and the Dropouts with the layer before each."""
    nn = torch.nn
    linears: list[tuple[str, Any]] = []
    activations: list[str | None] = []
    dropouts: list[tuple[str, Any, int]] = []
    for name, part in _leaves(nn, module, ""):
        kind = type(part).__name__
        if type(part).forward is nn.Linear.forward:
            _require_plain(name, part)
            linears.append((name, part))
            activations.append(None)
        elif type(part) is getattr(nn, kind, None) and kind in DROPOUTS:
            if part.p > 0:
                dropouts.append((name, part, len(linears)))
        elif type(part) is nn.Identity:
            continue
        elif type(part) is nn.Flatten:
            if (part.start_dim, part.end_dim) != (1, -1):
                raise BadInput(f"{_called(name, part)} must have start_dim=1, end_dim=-1: a row for each sample")
        elif type(part) is getattr(nn, kind, None) and kind in FROM:
            ours = _activation(name, part)
            if not linears:
                raise BadInput(f"{_called(name, part)} stands before the first Linear; apply it to the data instead")
            if activations[-1] is not None:
                raise BadInput(
                    f"{_called(name, part)} follows {activations[-1]} with no Linear between; a layer has one "
                    "activation"
                )
            activations[-1] = ours
        else:
            instead = INSTEAD.get(kind, f"a dense network is a Sequential of {', '.join(TAKEN)}")
            raise BadInput(
                f"{_called(name, part)} cannot be taken: {instead}. To check any module as it is: "
                "deltarule.interop.check_backward(module, input)"
            )
    if not linears:
        raise BadInput("the module has no Linear layer; a dense network has one at least")
    return linears, activations, dropouts


def _leaves(nn: Any, module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The modules of a Sequential in the order in which they run, nested ones opened, with their names."""
    if type(module).forward is nn.Sequential.forward and isinstance(module, nn.Sequential):
        for key, part in module._modules.items():  # named_children() leaves out one that stands there twice
            yield from _leaves(nn, part, f"{name}.{key}" if name else key)
    else:
        yield name, module


def _called(name: str, part: Any) -> str:
    text = repr(part)
    text = text if "\n" not in text and len(text) < 80 else f"{type(part).__name__}(...)"
    return f"module {name!r}, {text}," if name else f"{text},"


def _activation(name: str, part: Any) -> str:
    """Our name of an activation module, whose settings are ours too."""
    ours, settings = FROM[type(part).__name__]
    for setting, (good, expected) in settings.items():
        value = getattr(part, setting)
        if not good(value):
            raise BadInput(
                f"{_called(name, part)} has {setting}={value!r}; ours has {expected}. Train it with that, or give "
                "Network a pair (sigma, slope) of your own and copy the weights"
            )
    return ours


def _require_plain(name: str, linear: Any) -> None:
    """A Linear whose weight is its own parameter, or that of a parametrization, which is its present value."""
    if linear.in_features == 0:
        raise BadInput(f"{_called(name, linear)} has no widths yet; run the module once on an input")
    extra = sorted(set(dict(linear.named_parameters(recurse=False))) - {"weight", "bias"})
    if extra:
        raise BadInput(
            f"{_called(name, linear)} computes its weight from {', '.join(extra)} in a hook; make it plain first "
            "(torch.nn.utils.remove_weight_norm, remove_spectral_norm, or prune.remove)"
        )
    if linear.weight.device.type == "meta":
        raise BadInput(f"{_called(name, linear)} is on the meta device and has no values; load its state first")


def _require_chain(linears: list[tuple[str, Any]]) -> None:
    places: dict[int, str] = {}
    for name, linear in linears:
        first = places.setdefault(id(linear.weight), name)
        if first != name:
            raise BadInput(
                f"{_called(name, linear)} shares its weights with module {first!r}; a network has its own in each "
                "layer: give a copy with its own, copy.deepcopy of that Linear"
            )
    for (_, below), (name, above) in pairwise(linears):
        if below.out_features != above.in_features:
            raise BadInput(
                f"{_called(name, above)} takes {above.in_features} values; the layer below gives {below.out_features}"
            )


def _dtype(linears: list[tuple[str, Any]]) -> str:
    found = {str(value.dtype).removeprefix("torch.") for _, linear in linears for value in linear.parameters()}
    if len(found) > 1 or not found <= set(DTYPES):
        raise BadInput(
            f"the module's parameters are {' and '.join(sorted(found))}; a network is float32 or float64 throughout: "
            "module.float() or module.double()"
        )
    return found.pop()


def _about_dropout(dropouts: list[tuple[str, Any, int]], hidden: int) -> str:
    shares = [0.0] * hidden
    for _, part, l in dropouts:
        if 1 <= l <= hidden:
            shares[l - 1] = part.p
    names = ", ".join(f"{name} (p={part.p})" for name, part, _ in dropouts)
    again = f" To train on with it: fit(dropout={shares})." if any(shares) else ""
    return f"Dropout is part of a training, not of a network: left out: {names}.{again}"
