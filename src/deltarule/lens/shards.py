"""What stands in the graph for a model's parameters: themselves, or what FSDP makes of them.

FullyShardedDataParallel lays the parameters of a module end to end in one flat tensor, and in the forward pass takes
them out of it by a split; `fully_shard` registers a shard of each, and computes with another tensor, gathered from
all processes. The watch wants the names that the user gave. What is read here is PyTorch's own and private, as there
is no public way to it; where a version has it under another name, those parameters stay unknown and nothing fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What torch.compile, FullyShardedDataParallel and checkpoint_wrapper put into a module's path."""

FLAT = "_flat_param"


def clean(path: str) -> str:
    """A path as the user knows it, without what wrappers put into it.

    >>> clean("_orig_mod.layers.0"), clean("_fsdp_wrapped_module.0._fsdp_wrapped_module.weight")
    ('layers.0', '0.weight')
    """
    return ".".join(part for part in path.split(".") if part not in WRAPPERS)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel or DataParallel, whose own part in the graph is nothing."""
    if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        return unwrapped(model.module)
    return model


@dataclass
class Parameters:
    """A model's parameters by the tensors that stand for them in a graph.

    Attributes
    ----------
    names : dict of int to str
        By the id of the tensor; of a shared one the first name.
    pieces : dict of str to tuple
        By the name of a flat tensor: the names of the parameters that its split gives, "" for padding.
    trainable, frozen : list of str
        Those that want a gradient, and those that do not.
    growing : bool
        Whether there are tensors still to come: `fully_shard` makes its own in the first forward pass.
    """

    names: dict[int, str] = field(default_factory=dict)
    pieces: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trainable: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    growing: bool = False


def parameters(model: nn.Module) -> Parameters:
    """What stands in the graph for each parameter of the model."""
    found = Parameters()
    paths = {module: path for path, module in model.named_modules()}
    for module, path in paths.items():
        for flat, pieces in _flat(module):
            name = clean(_under(path, FLAT))
            found.names[id(flat)] = name
            found.pieces[name] = tuple(piece and clean(_under(path, piece)) for piece in pieces)
        for owner, name, tensor in _gathered(module):
            if tensor is None:
                found.growing = True
            else:
                found.names[id(tensor)] = clean(_under(paths.get(owner, ""), name))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.names.setdefault(id(parameter), clean(name))
    for name, parameter in model.named_parameters():
        which = found.trainable if parameter.requires_grad else found.frozen
        which.extend(piece for piece in found.pieces.get(clean(name), (clean(name),)) if piece)
    return found


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _flat(module: nn.Module) -> Iterator[tuple[Tensor, tuple[str, ...]]]:
    """FullyShardedDataParallel's flat tensor, and the parameters in it in the order of its split."""
    handle: Any = getattr(module, "_handle", None) if type(module).__name__ == "FullyShardedDataParallel" else None
    flat = getattr(handle, "flat_param", None)
    if flat is None:
        return
    names = iter(getattr(flat, "_fqns", ()))
    padded = getattr(flat, "_is_padding_mask", ()) if getattr(handle, "_use_orig_params", False) else ()
    yield flat, tuple("" if padding else next(names, "") for padding in padded) or tuple(names)


def _gathered(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor | None]]:
    """By module and name, the whole tensors that fully_shard computes with; None for one that it has not made yet."""
    state: Any = module._get_fsdp_state() if hasattr(module, "_get_fsdp_state") else None
    for group in getattr(state, "_fsdp_param_groups", ()):
        for one in getattr(group, "fsdp_params", ()):
            info = one._module_info
            yield info.module, info.param_name, getattr(one, "_unsharded_param", None)


def kind(module: nn.Module) -> str:
    """The name of a module's class, without what fully_shard puts before it."""
    name = type(module).__name__
    return name.removeprefix("FSDP") if hasattr(module, "_get_fsdp_state") else name
