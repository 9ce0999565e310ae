"""Lines of one thread as a response: all of them, in order; and none is made for a client that left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from ui.api.event_stream import EventStream


def served(response: EventStream, receive: Callable[[], Any]) -> list[dict[str, Any]]:
    """What the response sends."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        await asyncio.wait_for(response({"type": "http"}, receive, send), 30)

    asyncio.run(run())
    return sent


async def stays() -> Any:
    await asyncio.Event().wait()


def test_every_line_arrives_in_order_and_then_the_end() -> None:
    lines = [f"data: {n}\n\n" for n in range(500)]
    start, *bodies = served(EventStream(line for line in lines), stays)
    assert dict(start["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"content-length" not in dict(start["headers"])
    assert b"".join(body["body"] for body in bodies).decode() == "".join(lines)
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]


def test_what_is_made_goes_out_before_the_next_is_asked_for() -> None:
    first_is_out = threading.Event()

    def lines() -> Generator[str]:
        yield "one"
        assert first_is_out.wait(30)
        yield "two"

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body") == b"one":
            first_is_out.set()

    asyncio.run(EventStream(lines())({"type": "http"}, stays, send))
    assert [message.get("body") for message in sent] == [None, b"one", b"two", b""]


def test_for_a_client_that_left_the_lines_are_closed_after_the_next() -> None:
    left, closed = threading.Event(), threading.Event()

    def lines() -> Generator[str]:
        try:
            while True:
                yield "line"
                assert left.wait(30)
        finally:
            closed.set()

    async def leaves() -> Any:
        left.set()
        return {"type": "http.disconnect"}

    served(EventStream(lines()), leaves)
    assert closed.is_set()


def test_lines_that_fail_leave_the_response_without_its_end() -> None:
    def lines() -> Generator[str]:
        yield "one"
        raise OSError("gone")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ExceptionGroup):
        asyncio.run(EventStream(lines())({"type": "http"}, stays, send))
    assert not any(message.get("more_body") is False for message in sent)
