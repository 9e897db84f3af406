"""scikit-learn's callback protocol, where its version has one (1.9): a task for each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this version of scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """The method itself."""
        return method


__all__ = ["CallbackSupportMixin", "EpochCallbacks", "with_callbacks"]


class EpochCallbacks:
    """The callbacks set on an estimator, called around the fit and around each of its epochs."""

    def __init__(self, estimator: Any, X: Any, y: Any, epochs: int) -> None:
        self.estimator, self.X, self.y = estimator, X, y
        self.there = bool(getattr(estimator, "_skl_callbacks", None))
        if self.there:
            self.root = estimator._init_callback_context(max_subtasks=epochs)
            self.root.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def begin(self) -> None:
        """An epoch begins."""
        if self.there:
            self.epoch = self.root.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def end(self) -> bool:
        """An epoch is over; whether a callback asks to stop."""
        return self.there and bool(self._end(self.epoch))

    def close(self) -> None:
        """The fit is over."""
        if self.there:
            self._end(self.root)

    def _end(self, context: Any) -> Any:
        # Without attributes: the copy that a callback is given has its own weights already (Perceptron.__setstate__).
        return context.call_on_fit_task_end(
            estimator=self.estimator, X=self.X, y=self.y, reconstruction_attributes={}
        )
