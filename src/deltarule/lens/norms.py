"""How large the error is, measured where it stands: on its own device, without waiting for it.

On a processor a length is a number at once. On an accelerator it stays there, and all lengths of a pass come over
in one transfer, when they are first asked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Number: TypeAlias = float | Tensor
"""A figure, or the place on a device where it will be."""

SAFE = (1e-15, 1e15)
"""Between these a float32 length is right; the squares of others leave float32, so they are taken in float64."""

SAMPLE = 8192
"""A share is counted over about as many values, spread evenly."""

SUBNORMAL = 2.0**-14
"""Below this, float16 loses digits, and below 2^-25 everything."""

HALF = torch.float16


def length(values: Tensor) -> Number:
    """sqrt(sum of squares) over all values, whatever their dtype, neither under- nor overflowing.

    >>> length(torch.full((4,), 1e-30)), length(torch.full((4,), float("inf")))
    (2.000...e-30, inf)
    """
    if values.requires_grad:  # a backward pass that is itself to be differentiated
        values = values.detach()
    if values.is_sparse:
        values = values.coalesce().values()
    if not values.is_cpu:
        return _length_there(values)
    if values.dtype is torch.float32 and values.is_contiguous():
        flat = values.view(-1)
        quick = math.sqrt(torch.dot(flat, flat).item())  # faster than a norm
    elif values.dtype in (torch.float32, torch.float64):
        quick = float(torch.linalg.vector_norm(values))
    else:
        quick = float(torch.linalg.vector_norm(values, dtype=_wide(values, torch.float32)))
    if SAFE[0] < quick < SAFE[1]:
        return quick
    return _exact(values)


def _exact(values: Tensor) -> float:
    """The slow way, for what is 0, tiny, huge or no number."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = values.to(_wide(values, torch.float64)) / largest
    return largest * float(torch.linalg.vector_norm(scaled))


def _wide(values: Tensor, real: torch.dtype) -> torch.dtype:
    return torch.complex128 if values.is_complex() else real


def _length_there(values: Tensor) -> Tensor:
    if values.device.type == "mps":  # it has no float64
        largest = values.abs().max().float()
        unit = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
        there: Tensor = torch.linalg.vector_norm(values.float() / unit) * unit
    else:
        there = torch.linalg.vector_norm(values, dtype=torch.float64 if not values.is_complex() else torch.complex128)
    return there


def joint(parts: Sequence[Number]) -> Number:
    """The length of several tensors taken together.

    >>> joint([3.0, 4.0]), joint([])
    (5.0, 0.0)
    """
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, float) for part in parts):
        here = [float(part) for part in parts]
        return math.nan if any(math.isnan(part) for part in here) else math.hypot(*here)
    first = next(part for part in parts if isinstance(part, Tensor))
    there = [torch.as_tensor(part).to(first.device, first.dtype, non_blocking=True) for part in parts]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(there))
    return whole


def lengths(grads: Sequence[Tensor | None]) -> Number:
    """The length of all that is there."""
    return joint([length(grad) for grad in grads if grad is not None] or [0.0])


def thinned(values: Tensor) -> Tensor:
    """About :data:`SAMPLE` of the values, evenly spread, as a vector."""
    flat = values.detach().reshape(-1)
    return flat[:: flat.numel() // SAMPLE] if flat.numel() >= 2 * SAMPLE else flat


def flat_share(before: Tensor, after: Tensor, peak: float) -> Number:
    """The share of units whose slope, after / before, is below `peak`; of those that an error reaches at all."""
    g, out = thinned(before).abs(), thinned(after).abs()
    return _number((out < peak * g).sum() / (g > 0).sum())


def flat_rows(before: Tensor, after: Tensor, dim: int, share: float) -> Number:
    """The share of a softmax's rows that pass on less than `share` of what an even softmax of n would, |g| / n."""
    n = before.shape[dim]
    step = max(1, before.numel() // (n * SAMPLE))
    g, out = (values.detach().movedim(dim, -1).reshape(-1, n)[::step].float() for values in (before, after))
    size, left = torch.linalg.vector_norm(g - g.mean(1, keepdim=True), dim=1), torch.linalg.vector_norm(out, dim=1)
    return _number((left < share / n * size).sum() / (size > 0).sum())


def dead_share(before: Tensor, after: Tensor, channel: int) -> Number:
    """The share of neurons, along dimension `channel`, that let nothing through for any sample; of those reached."""
    if after.device.type != "cpu":
        dead, reached = ~_speak(after.detach(), channel), _speak(before.detach(), channel)
        return (dead & reached).sum() / reached.sum()
    speak = _speak(after.detach(), channel)
    if speak.all():
        return 0.0
    reached = _speak(before.detach(), channel)
    return (int(reached.sum()) - int((reached & speak).sum())) / int(reached.sum())


def _speak(values: Tensor, channel: int) -> Tensor:
    """Which neurons have something other than 0 for some sample."""
    others = [d for d in range(values.dim()) if d != channel % values.dim()]
    return torch.logical_or(values.amin(others), values.amax(others))


def tiny_share(values: Tensor) -> Number:
    """The share of the values other than 0 that float16 holds with fewer digits than it should."""
    some = thinned(values).abs()
    return _number(((some < SUBNORMAL) & (some > 0)).sum() / (some > 0).sum())


def _number(value: Tensor) -> Number:
    return float(value) if value.device.type == "cpu" else value


def read(values: Sequence[Number]) -> list[float]:
    """All figures as numbers, with one transfer for each device that holds some.

    >>> read([1.0, torch.tensor(2.0), torch.tensor(3.0)])
    [1.0, 2.0, 3.0]
    """
    there: dict[torch.device, list[int]] = defaultdict(list)
    result = [value if isinstance(value, float) else math.nan for value in values]
    for i, value in enumerate(values):
        if isinstance(value, Tensor):
            there[value.device].append(i)
    for device, places in there.items():
        wide = torch.float32 if device.type == "mps" else torch.float64
        stacked = torch.stack([torch.as_tensor(values[i]).reshape(()).to(wide) for i in places])
        for i, number in zip(places, stacked.tolist(), strict=True):
            result[i] = number
    return result
