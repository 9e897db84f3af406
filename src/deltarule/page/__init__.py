"""The page: see the error move, in a browser, in one file, or in a notebook.

Python holds the state and computes; the modules in `view/` draw the records that they are handed.
"""

from deltarule.page.report import report

__all__ = ["report"]
