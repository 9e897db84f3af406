"""The progress bar of long work: on a terminal only, and gone when the work is done."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self


class Bar:
    """A bar on stderr that shows how far, how good, and how long still; silent where stderr is no terminal."""

    def __init__(self, total: int, wanted: bool = True) -> None:
        self.total = total
        self._bar: Any = None
        if wanted and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total)
        return self

    def show(self, done: int, text: str) -> None:
        """Move the bar to `done` and write `text` beside it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
