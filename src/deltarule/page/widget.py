"""The view in a notebook's cell: an anywidget, whose kernel answers what the view asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from deltarule.errors import BadInput, MissingExtra
from deltarule.page.onefile import styles, widget_module
from deltarule.page.opened import with_what
from deltarule.page.server import answer
from deltarule.page.session import Library, Session

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    from anywidget import AnyWidget
except ImportError as error:
    raise MissingExtra('the view in a notebook needs anywidget: pip install "deltarule[notebook]"') from error

Array = npt.NDArray[Any]


class Explore(AnyWidget):
    """A network, its training or a watch, to be looked at in a notebook: the same view as `deltarule explore`.

    Parameters
    ----------
    what : Network, History, Flow, Watched, WatchedModel, str, Path, optional
        The object, or the path of a run, a network or a record; the embedded digits, if there is none.
    x, y : arrays, optional
        The samples of a Network: (N, n_0), and labels (N,) or targets (N, n_L). With them it can be stepped through,
        and a copy of it trained live: the network itself stays as it is.

    Raises
    ------
    BadInput
        For an object that has nothing to show, or x without y.
    MissingExtra
        Without anywidget: ``pip install "deltarule[notebook]"``.

    Examples
    --------
    >>> import deltarule as dr
    >>> from deltarule.page import Explore
    >>> view = Explore(dr.Network([64, 30, 10], seed=0), *dr.data.digits().train)     # in a cell's last line: shown
    >>> view.close()
    """

    _esm = widget_module()
    _css = styles()

    def __init__(self, what: object = None, x: Array | None = None, y: Array | None = None) -> None:
        self._sessions: dict[str, Session] = {}
        self._watching: set[str] = set()
        self._end_of_frames: Callable[[], None] | None = None
        self._library = _library(what, x, y)
        super().__init__()
        self.on_msg(self._heard)

    def close(self) -> None:
        """Take the view away and end its live training."""
        if hasattr(self, "_library"):  # one that was refused is closed too, when it is forgotten
            self._watching.clear()
            self._send_frames()
            self._library.close()
        super().close()

    def _heard(self, _: object, content: Any, __: object) -> None:
        """One message of a view; each view of the widget has a session, by its part of the question's number."""
        if not isinstance(content, dict):
            return
        view = str(content.get("id")).partition(":")[0]
        if content.get("ask") == "frames":
            (self._watching.add if content.get("on") is True else self._watching.discard)(view)
            self._send_frames()
            return
        if view not in self._sessions:
            self._sessions[view] = Session(self._library)
        self.send(answer(self._sessions[view], content))

    def _send_frames(self) -> None:
        """As long as a view asks for frames they are sent, to all views at once."""
        live = self._library.live
        if self._watching and self._end_of_frames is None and live is not None:
            self._end_of_frames = live.listen(lambda frame: self.send({"frame": frame}))
        elif not self._watching and self._end_of_frames is not None:
            self._end_of_frames()
            self._end_of_frames = None


def _library(what: object, x: Array | None, y: Array | None) -> Library:
    if what is None or isinstance(what, (str, Path)):
        if x is not None or y is not None:
            raise BadInput("x and y are the samples of a Network: Explore(net, x, y)")
        return Library.of([] if what is None else [Path(what)])
    found = with_what(what, x, y)
    if found is None:
        raise BadInput(
            f"nothing to show in a {type(what).__name__}: expected a Network, History, Flow, Watched, WatchedModel, "
            "or the path of a run, a network or a record"
        )
    return Library(found)
