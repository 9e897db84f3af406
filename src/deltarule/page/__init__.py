"""The page: see the error move, in a browser, in one file, or in a notebook.

Python holds the state and computes; the modules in `view/` draw the records that they are handed.
"""

from typing import Any

from deltarule.page.report import report

__all__ = ["Explore", "report"]


def __getattr__(name: str) -> Any:
    """`Explore`, which needs anywidget, when it is asked for."""
    if name == "Explore":
        from deltarule.page.widget import Explore

        return Explore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
