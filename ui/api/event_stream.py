"""A response made of lines that one thread produces, such as the pieces of an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """Server-sent events. What is there when the server gets round to it goes out as one piece.

    One thread runs through `lines` from beginning to end: to ask for each line from a thread anew costs more than the line.
    When the client leaves, `lines` is closed once its next line is made.
    """

    def __init__(self, lines: Generator[str]) -> None:
        super().__init__(media_type="text/event-stream; charset=utf-8")
        del self.headers["content-length"]  # of no content
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        made = _Made()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            made.unwanted.set()

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            group.start_soon(run_in_threadpool, made.fill, self._lines)
            try:
                while piece := await made.take():
                    await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
            finally:
                made.unwanted.set()
            group.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Made:
    """Lines on their way from the thread that makes them to the loop that sends them."""

    def __init__(self) -> None:
        self.unwanted = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._lines: list[str] = []
        self._ended = False
        self._lock = threading.Lock()
        self._news = asyncio.Event()

    def fill(self, lines: Generator[str]) -> None:
        """Run through the lines, on a thread."""
        try:
            for line in lines:
                self._tell(line)
                if self.unwanted.is_set():
                    break
        finally:
            lines.close()
        self._tell(None)  # not after a failure: that ends the connection, and the client sees that the end is missing

    def _tell(self, line: str | None) -> None:
        with self._lock:
            first = not self._lines and not self._ended
            if line is None:
                self._ended = True
            else:
                self._lines.append(line)
        if first:
            self._loop.call_soon_threadsafe(self._news.set)

    async def take(self) -> str:
        """What was made since the last time, at least a line; "" when there will be no more."""
        while True:
            await self._news.wait()
            self._news.clear()
            with self._lock:
                piece, self._lines = "".join(self._lines), []
                if self._ended and piece:
                    self._news.set()
                if piece or self._ended:
                    return piece
