"""The slope of f = <v, outputs> along any line through a module's tensors, by running it again and again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deltarule.interop.nudge import COARSE, FINE, Slope, slope
from deltarule.interop.subject import NotFinite, Subject, Tensors

ROUNDING = 200
"""The floor that the dtype sets: this many roundings of the largest gradient in the module."""

ROUNDED = 4
"""How often the rounding of f is looked at."""


class Measurement:
    """f and its slopes.

    Slopes are per unit of `scales[name]`, the root mean square of the tensor, so that gradients by all tensors are
    comparable.

    Attributes
    ----------
    noise : float
        How far rounding moves f: seen by changing every value by about one rounding.
    floor : float
        What a slope may be off whatever its size; set once the gradients are known.
    passes : int
    """

    def __init__(
        self, subject: Subject, values: Tensors, v: list[Any], seed: int, double: bool, tolerance: float, eps: float
    ) -> None:
        self.subject, self.values, self.v, self.seed = subject, values, v, seed
        self.double, self.tolerance, self.eps = double, tolerance, eps
        self.passes = 0
        self.floor = 0.0
        self.scales = {name: _scale(value) for name, value in values.items()}
        self.f_0 = self.f(values)
        self.noise = self._noise()

    def f(self, values: Tensors) -> float:
        """<v, outputs>, added up in float64; NaN where an output is not finite."""
        self.passes += 1
        try:
            outputs = self.subject.run(values, self.seed, self.double)
        except NotFinite:
            return math.nan
        return sum(float((v.double() * one.detach().double()).sum()) for v, one in zip(self.v, outputs, strict=True))

    def _noise(self) -> float:
        torch = self.subject.torch
        generator = torch.Generator().manual_seed(self.seed)
        moved = [self.eps * abs(self.f_0)]
        for _ in range(ROUNDED):
            near = {}
            for name, value in self.values.items():
                signs = torch.randint(-1, 2, tuple(value.shape), generator=generator).to(value)
                near[name] = value * (1 + 2 * self.eps * signs)
            moved.append(abs(self.f(near) - self.f_0))
        outputs = self.subject.run(self.values, self.seed, self.double)
        # The outputs' own roundings, which add up like a random walk.
        walk = sum(
            float((v.double() * one.detach().double()).square().sum()) for v, one in zip(self.v, outputs, strict=True)
        )
        moved.append(self.eps * math.sqrt(walk))
        return 4 * max(one for one in moved if math.isfinite(one))

    def along(self, name: str, where: Any, signs: Any, computed: float) -> Slope:
        """f's slope as the tensor's values at `where` go along the signs."""
        torch, value, scale = self.subject.torch, self.values[name], self.scales[name]
        direction = torch.as_tensor(signs).to(value)

        def f(h: float) -> float:
            moved = value.flatten().clone()
            moved[where] += h * scale * direction
            return self.f({**self.values, name: moved.view(value.shape)})

        small = max(self.floor, 0.01 * self.tolerance * abs(computed))
        return slope(f, self.f_0, self.noise, FINE if self.double else COARSE, self.tolerance, small)

    def allowed(self, measured: Slope, size: float) -> float:
        """How far a computed slope may be from the measured one."""
        return self.tolerance * size + 10 * measured.spread + self.floor

    def wrong_coordinate(self, name: str, gradient: Any, signs: Any) -> tuple[int, Slope] | None:
        """The coordinate that makes a direction wrong: the half that is more wrong, again and again.

        `gradient` is flat, in units of the scale. None where the fault is spread so thin that no coordinate shows it.
        """
        torch = self.subject.torch
        there = np.flatnonzero(signs)
        while True:
            worst = None
            for half in np.array_split(there, 2) if len(there) > 1 else [there]:
                index = torch.as_tensor(half, device=gradient.device)
                computed = float((gradient[index] * torch.as_tensor(signs[half]).to(gradient)).sum())
                measured = self.along(name, index, signs[half], computed)
                off = abs(computed - measured.value)
                if math.isfinite(off) and (worst is None or off > worst[0]):
                    worst = (off, half, measured)
            if worst is None:
                return None
            off, there, measured = worst
            if len(there) == 1:
                if measured.kink or off <= self.allowed(measured, abs(measured.value)):
                    return None
                i = int(there[0])
                return i, measured._replace(value=measured.value * float(signs[i]))


def _scale(value: Any) -> float:
    """The root mean square of a tensor's values, 1 where all are 0."""
    size = float(value.double().square().mean().sqrt()) if value.numel() else 1.0
    return size if size > 0 and math.isfinite(size) else 1.0
