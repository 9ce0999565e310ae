"""The page's server. It listens before the page is loaded, so that the browser loads its scripts while this process loads ours."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import uvicorn
from starlette.responses import Response

from rag.settings import Settings, home_folder
from ui.web.assets import Assets, FirstDocument

MESSAGE_MB = 200  # the largest that a browser may send over the socket; Streamlit's own figure


class Soon:
    """The page's app, before and after it is there: fixed files come at once, everything else as soon as it is loaded.

    load: makes the app, in a thread. failed: what it raised; `on_failure` is called then.
    open_to_all: nobody has to sign in, so the first document is served at once, too.
    """

    def __init__(self, load: Callable[[], Any], *, open_to_all: bool, on_failure: Callable[[], None] = lambda: None):
        self.failed: Exception | None = None
        self._load, self._on_failure = load, on_failure
        self._meanwhile = Assets(FirstDocument(self._later) if open_to_all else self._later)
        self._app: Any = None
        self._decided, self._over = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await (self._app or self._meanwhile)(scope, receive, send)

    async def _later(self, scope: Any, receive: Any, send: Any) -> None:
        await self._decided.wait()
        if self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await Response(status_code=503)(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        living = asyncio.create_task(self._run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._over.set()
        await living
        await send({"type": "lifespan.shutdown.complete"})

    async def _run(self) -> None:
        try:
            app = await asyncio.to_thread(self._load)
            _quiet()
            async with app.lifespan()(app):
                self._app = app
                self._decided.set()
                await self._over.wait()
        except Exception as error:  # whoever started the server reads it
            self.failed = error
            self._decided.set()
            self._on_failure()


def listen(load: Callable[[], Any], *, host: str, port: int, open_to_all: bool) -> None:
    """Serve what `load` makes until SIGTERM or Ctrl-C. Raises: OSError for an address that cannot be had; what `load` raises."""

    def give_up() -> None:
        server.should_exit = True

    app = Soon(load, open_to_all=open_to_all, on_failure=give_up)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, ws="websockets-sansio", ws_ping_interval=30, ws_ping_timeout=30,
                       ws_max_size=MESSAGE_MB * 1_000_000)
    )  # fmt: skip
    _quiet()
    with bound(host, port) as listening:
        server.run(sockets=[listening])
    if app.failed is not None:
        raise app.failed


def _quiet() -> None:
    """Say nothing of single requests; Streamlit writes down what its own loggers hear, and takes uvicorn's for such."""
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket whose connections send at once: else most answers and every small message wait 40 ms for a receipt.

    asyncio does so for sockets that name their protocol, and accepted ones have it from the listening one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    everywhere = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=everywhere)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening


def may_have_accounts(home: str | None, settings: Settings) -> bool:
    """Whether people may have to sign in. Looked at without the catalog, which takes longer to load than all before it.

    home: as the command line named it. True also where only the catalog can tell.
    """
    if settings.ui.oidc_roles or settings.catalog.url:
        return True
    file = home_folder(home) / "catalog.sqlite3"
    if not file.is_file():
        return "://" in str(home)
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0)) as db:
            return db.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        return "no such table" not in str(error)
