"""A PyTorch module as a function of its tensors: run on copies, with the same draws each time, and left as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deltarule.errors import BadInput, MissingExtra

Tensors = dict[str, Any]


def import_torch() -> Any:
    """PyTorch, or the error that says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra('this needs PyTorch: pip install "deltarule[torch]"') from error
    return torch


class Subject:
    """What is under check: the floating-point tensors that its outputs depend on, by name, and how to run it.

    Attributes
    ----------
    values : dict
        Copies of the inputs and of the parameters that learn.
    inputs : set of str
        Which of them are inputs.
    frozen : int
        How many parameters do not learn, and are left out.
    name : str
    """

    def __init__(self, module: Any, given: Any) -> None:
        self.torch = torch = import_torch()
        if isinstance(module, type) and issubclass(module, torch.autograd.Function):
            self.name, module = module.__name__, getattr(module, "apply")  # noqa: B009
        elif isinstance(module, torch.nn.Module):
            self.name = type(module).__name__
        elif callable(module) and not isinstance(module, type):
            self.name = getattr(module, "__name__", type(module).__name__)
        else:
            raise BadInput(
                f"expected a torch.nn.Module, an autograd.Function or a function of tensors; got {module!r}"
            )
        self.module = module
        self.keywords = isinstance(given, dict)
        places = (
            given if isinstance(given, dict) else dict(enumerate(given if isinstance(given, tuple) else (given,)))
        )
        self.given: dict[Any, Any] = places
        self.names: dict[Any, str] = {}
        self.values: Tensors = {}
        for key, value in places.items():
            if not isinstance(value, torch.Tensor):
                if not isinstance(given, (tuple, dict)):
                    raise BadInput(f"input is {type(value).__name__}; expected a tensor, a tuple or a dict of them")
                continue
            if value.is_complex():
                raise BadInput("complex inputs are not measured; give real and imaginary parts as two inputs")
            if value.is_floating_point():
                name = f"input[{key!r}]" if len(places) > 1 or self.keywords else "input"
                self.names[key] = name
                self.values[name] = value.detach().clone()
        self.inputs = set(self.values)
        self.held: Tensors = {}
        self.buffers: Tensors = {}
        self.frozen = 0
        if isinstance(module, torch.nn.Module):
            self._take_parameters(module)
        if not self.values:
            raise BadInput("there is nothing to differentiate by: no floating-point input, no parameter that learns")
        self.parameters = set(self.values) - self.inputs
        self.changed_in_place: set[str] = set()
        self.changed_buffers: set[str] = set()
        self.other_when_repeated: set[str] = set()

    def _take_parameters(self, module: Any) -> None:
        for name, parameter in module.named_parameters():
            if self.torch.nn.parameter.is_lazy(parameter):
                raise BadInput(f"parameter {name} has no shape yet; run the module once on an input")
            if parameter.device.type == "meta":
                raise BadInput(f"parameter {name} is on the meta device and has no values; load its state first")
            learns = parameter.requires_grad and parameter.is_floating_point()
            (self.values if learns else self.held)[name] = parameter.detach().clone()
            self.frozen += not learns
        self.buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}

    @property
    def dtype(self) -> Any:
        """The least precise dtype among the values."""
        return max((value.dtype for value in self.values.values()), key=lambda dtype: self.torch.finfo(dtype).eps)

    def run(self, values: Tensors, seed: int, double: bool) -> list[Any]:
        """The floating-point outputs at these values, drawn numbers and buffers being the same in every run."""
        torch = self.torch

        def other(tensor: Any) -> Any:
            tensor = tensor.clone()
            return tensor.double() if double and tensor.is_floating_point() else tensor

        places = {
            key: values[self.names[key]].clone() if key in self.names else self._fresh(value)
            for key, value in self.given.items()
        }
        args = () if self.keywords else tuple(places.values())
        kwargs = places if self.keywords else {}
        devices = sorted({value.device.index for value in values.values() if value.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            torch.manual_seed(seed)
            if isinstance(self.module, torch.nn.Module):
                state = {name: values[name] for name in self.parameters}
                state |= {name: other(tensor) for name, tensor in (self.held | self.buffers).items()}
                found = torch.func.functional_call(self.module, state, args, kwargs)
                self.changed_buffers |= {
                    name for name, buffer in self.buffers.items() if not torch.equal(state[name].to(buffer), buffer)
                }
            else:
                found = self.module(*args, **kwargs)
        for key, name in self.names.items():
            if not torch.equal(places[key].detach(), values[name].detach()):
                self.changed_in_place.add(name)
        leaves = torch.utils._pytree.tree_leaves(found)
        outputs = [one for one in leaves if isinstance(one, torch.Tensor) and one.is_floating_point()]
        if not outputs:
            raise BadInput(f"{self.name} gives no floating-point tensor: {type(found).__name__}")
        if not all(one.isfinite().all() for one in outputs):
            raise NotFinite
        return outputs

    def _fresh(self, value: Any) -> Any:
        return value.detach().clone() if isinstance(value, self.torch.Tensor) else value

    def backward(
        self, values: Tensors, weigh: Callable[[list[Any]], list[Any]], seed: int, double: bool, twice: bool = False
    ) -> tuple[list[Any], Tensors]:
        """The outputs, and autograd's gradients of <v, outputs> with v = weigh(outputs); None where there is none.

        `twice` goes back through the same graph a second time, and notes whose gradients come out otherwise.
        """
        torch = self.torch
        leaves = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
        outputs = self.run(leaves, seed, double)

        def back(again: bool) -> tuple[Any, ...]:
            live = [(one, v) for one, v in zip(outputs, weigh(outputs), strict=True) if one.requires_grad]
            if not live:
                return (None,) * len(leaves)
            ends, along = zip(*live, strict=True)
            found: tuple[Any, ...] = torch.autograd.grad(
                ends, list(leaves.values()), along, retain_graph=again, allow_unused=True
            )
            return found

        found = back(again=twice)
        if twice:
            self._go_back_again(list(leaves), [_copy(one) for one in found], lambda: back(again=False))
        for name in self.parameters:
            if not torch.equal(leaves[name].detach(), values[name]):
                self.changed_in_place.add(name)
        gradients = {name: _copy(one) for name, one in zip(leaves, found, strict=True)}
        return [one.detach() for one in outputs], gradients

    def _go_back_again(self, names: list[str], found: list[Any], back: Callable[[], tuple[Any, ...]]) -> None:
        """Note the gradients that a second pass back through the same graph gives otherwise."""
        try:
            again = back()
        except RuntimeError as error:
            if "inplace operation" in str(error):  # autograd has seen it by itself
                self.other_when_repeated |= set(names)
            return  # a graph that can be used once only is no fault
        for name, one, other in zip(names, found, again, strict=True):
            if one is not None and not self.torch.allclose(one, other.to_dense(), rtol=1e-3, equal_nan=True):
                self.other_when_repeated.add(name)

    def doubled(self) -> Tensors:
        """The values in float64."""
        return {name: value.double() for name, value in self.values.items()}


def _copy(gradient: Any) -> Any:
    """A dense copy of a gradient; None of none."""
    return None if gradient is None else gradient.detach().to_dense().clone()


class NotFinite(ValueError):
    """An output that is not a finite number."""
