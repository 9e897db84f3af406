"""Functions of the user's own that compiled code calls: what they return is judged, what they raise is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deltarule.errors import BadInput

Array = npt.NDArray[Any]


class Call:
    """One layer's door from compiled code to a function of the user's own, and what the function has raised.

    Compiled code cannot pass an exception on: it is kept, and the error becomes NaN.
    """

    def __init__(self, function: Callable[[Array, Array], Any] | None, dtype: np.dtype[Any], l: int) -> None:
        from deltarule.kernels.feedback import call_back

        self.function, self.l = function, l
        self.raised: BaseException | None = None
        self.owner: Any = None
        self.address = 0
        if function is not None:
            self.owner, self.address = call_back(self._write, dtype)

    def _write(self, delta: Array, W: Array, moved: Array) -> None:
        assert self.function is not None
        try:
            moved[:] = self.check(self.function(delta, W), moved.shape)
        except BaseException as error:
            self.raised = self.raised or error
            moved[:] = np.nan

    def check(self, given: Any, shape: tuple[int, ...]) -> Array:
        """What the function has returned, as an array of real numbers of this shape. Raises BadInput."""
        values = np.asarray(given)
        if values.shape != shape:
            came = f"shape {values.shape}" if values.ndim else repr(given)
            raise BadInput(
                f"it returned {came}; expected {shape}: a row a sample, {shape[1]} numbers a row, as the layer below "
                f"has neurons"
            )
        if values.dtype.kind not in "fiub":
            raise BadInput(f"it returned {values.dtype}; expected real numbers")
        return values

    def raise_kept(self) -> None:
        """Raise what the function has raised, if it has."""
        error, self.raised = self.raised, None
        if isinstance(error, Exception):
            what = error if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
            raise BadInput(f"the rule into layer {self.l} failed: {what}") from error
        if error is not None:
            raise error  # Ctrl-C


def raise_kept(calls: Sequence[Call]) -> None:
    """Raise what was raised first: the error comes from the output down."""
    for call in reversed(calls):
        call.raise_kept()
