"""`deltarule explore`: the page in a browser, served to this machine alone.

Whoever holds the key that is made at each start may ask; the key is in the link that the program prints. No word of
the address becomes a path: there is a table of files, read at the start.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
import traceback
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltarule.errors import BadInput, DeltaruleError, MissingExtra
from deltarule.page.session import MOST_BYTES, Library, Session

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

VIEW = Path(__file__).parent / "view"
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
PORT = 8765
"""The first port that is tried; where another program has it, any that is free."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

NO_KEY = "This link has no key, or that of another start. Open the link that `deltarule explore` printed."
NOT_HERE = 4403
"""The code with which a connection that may not ask is closed."""


def explore(
    paths: list[Path] | tuple[Path, ...] = (),
    *,
    dataset: str | None = None,
    folder: Path | None = None,
    port: int | None = None,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the page until Ctrl-C.

    Parameters
    ----------
    paths : of Path
        Runs' folders, networks' files, records of a watch. The first is what the page opens with; the embedded
        digits, if there is none.
    dataset, folder : optional
        Another data set than a run's own, and the folder of MNIST's files.
    port : int, optional
        8765 if not given, or another that is free.
    browser : bool
        Whether to open it.
    say : callable
        Is told where the page is.

    Raises
    ------
    MissingExtra
        Without Starlette and uvicorn: ``pip install "deltarule[page]"``.
    BadInput
        Where the port is taken, or there is no such run.
    """
    try:
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingExtra('the page needs Starlette and uvicorn: pip install "deltarule[page]"') from error
    listening = _listening(port)
    library = Library.of([Path(path) for path in paths], dataset, folder)
    key = secrets.token_urlsafe(24)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/?key={key}"
    config = uvicorn.Config(
        application(library, key),
        log_level="warning",
        ws_max_size=MOST_BYTES + 1_000_000,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    say(f"The page is at {address}\nCtrl-C ends it.")
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        library.close()
        listening.close()


def _listening(port: int | None) -> socket.socket:
    """A socket on this machine alone. Raises BadInput where the port that was asked for is taken."""
    if port is not None and not 0 <= port <= 65535:
        raise BadInput(f"port {port}: expected one from 1 to 65535")
    wanted = [PORT, 0] if port is None else [port]
    for one in wanted:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.1", one))
        except OSError as error:
            made.close()
            if one == wanted[-1]:
                raise BadInput(f"port {one} cannot be had ({error.strerror}); --port takes another") from error
            continue
        made.listen(64)
        return made
    raise AssertionError("a port was had, or refused")


def application(library: Library, key: str) -> Starlette:
    """The Starlette application."""
    try:
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route, WebSocketRoute
    except ImportError as error:
        raise MissingExtra('the page needs Starlette and uvicorn: pip install "deltarule[page]"') from error
    files = {path.name: path.read_bytes() for path in VIEW.iterdir() if path.suffix in KINDS}

    async def page(request: Request) -> Response:
        if not _is_here(request.headers.get("host")):
            return PlainTextResponse("Not here.", 421, HEADERS)
        if not secrets.compare_digest(request.query_params.get("key", "").encode(), key.encode()):
            return PlainTextResponse(NO_KEY, 403, HEADERS)
        return Response(files["index.html"], 200, HEADERS, "text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if not _is_here(request.headers.get("host")) or name not in files or name == "index.html":
            return PlainTextResponse("There is no such file.", 404, HEADERS)
        return Response(files[name], 200, HEADERS, KINDS[Path(name).suffix])

    async def asked(socket: WebSocket) -> None:
        host, origin = socket.headers.get("host"), socket.headers.get("origin")
        known = secrets.compare_digest(socket.query_params.get("key", "").encode(), key.encode())
        await socket.accept()
        if not known or not _is_here(host) or origin != f"http://{host}":
            await socket.close(NOT_HERE, "no key")
            return
        await _converse(socket, library)

    return Starlette(
        routes=[Route("/", page), Route("/{name}", file), WebSocketRoute("/ws", asked)],
    )


def _is_here(host: str | None) -> bool:
    """Whether a request was meant for this machine: a page elsewhere may have given its own name our address."""
    return (host or "").rsplit(":", 1)[0] in ("127.0.0.1", "localhost")


async def _converse(socket: WebSocket, library: Library) -> None:
    """Questions and answers, one after another; frames between them, the newest only."""
    from starlette.websockets import WebSocketDisconnect

    loop = asyncio.get_running_loop()
    session = await asyncio.to_thread(Session, library)
    newest: list[dict[str, Any]] = []
    arrived = asyncio.Event()
    sending = asyncio.Lock()

    async def send(message: dict[str, Any]) -> None:
        text = json.dumps(message, allow_nan=False, separators=(",", ":"))
        async with sending:
            await socket.send_text(text)

    def heard(frame: dict[str, Any]) -> None:
        """From the frames' thread."""
        newest[:] = [frame]
        loop.call_soon_threadsafe(arrived.set)

    async def frames() -> None:
        while True:
            await arrived.wait()
            arrived.clear()
            if newest:
                await send({"frame": newest.pop()})

    end = library.live.listen(heard) if library.live is not None else lambda: None
    telling = asyncio.create_task(frames())
    try:
        while True:
            try:
                question = json.loads(await socket.receive_text())
                if not isinstance(question, dict):
                    raise ValueError
            except (ValueError, KeyError, RecursionError):
                await send({"id": None, "error": "not a question"})
                continue
            await send(await asyncio.to_thread(answer, session, question))
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        end()
        telling.cancel()


def answer(session: Session, question: dict[str, Any]) -> dict[str, Any]:
    """`{id, answer}`, or `{id, error}` with words for the person."""
    number = question.get("id")
    try:
        given = {name: one for name, one in question.items() if name not in ("id", "ask")}
        return {"id": number, "answer": session.ask(question.get("ask"), given)}
    except (DeltaruleError, OSError) as error:
        return {"id": number, "error": str(error)}
    except Exception as error:  # a mistake of the program's own: the view is told, and goes on
        traceback.print_exc()
        return {"id": number, "error": f"the program has made a mistake: {type(error).__name__}: {error}"}
