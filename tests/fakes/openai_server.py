"""A scripted server that speaks the OpenAI protocol on a loopback port, for tests of whatever calls a chat model.

    with OpenAIServer([says("Paris [1]."), status(429, retry_after=1), says("again")]) as server:
        settings = Settings().with_values(llm__base_url=server.url)
        ...
    assert server.requests[0].json["messages"][-1]["content"] == "..."

The script is strict: each chat request takes the next reply, a request beyond the script gets a 500 and makes the
`with` block fail at its end, and so does a reply that was never asked for. `always=` gives a reply for every request
instead, for tests where the number of calls does not matter. A reply may also be a function of the request, so that
an answer can depend on the prompt: `lambda request: says(request.json["messages"][-1]["content"].upper())`.

Replies: says, calls (tool calls), status, html, json_reply, bad_json, no_choices, error_body, whole, drip, cut_after, error_after, never_ending,
gzip_bomb, endless_body, redirect, held. A request with "stream": false gets one JSON object from says; faults are the same
for both. GET /v1/models lists `models` (or plays `models_reply`). `closed_port()` gives a port that refuses.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """A chat request as it arrived."""

    path: str
    headers: dict[str, str]
    json: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends: a status, headers and pieces of body, one write each, `pause_s` apart.

    `text` and `n_tokens` are set by `says`, whose pieces depend on whether the request asked for a stream.
    `cut`: close the connection in the middle of a chunk, so that the client can see it.
    """

    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Callable[[], Iterator[bytes]] = lambda: iter(())
    pause_s: float = 0.0
    cut: bool = False
    drip_headers: bool = False
    text: str | None = None
    chunk_chars: int = 6
    finish_reason: str = "stop"
    tool_calls: tuple[tuple[str, str], ...] = ()  # names and JSON arguments


Scripted = Reply | Callable[[Request], Reply]


def says(text: str, *, chunk_chars: int = 6, finish_reason: str = "stop") -> Reply:
    """A proper reply."""
    return Reply(text=text, chunk_chars=chunk_chars, finish_reason=finish_reason)


def calls(*wanted: tuple[str, Any], text: str = "") -> Reply:
    """A reply that asks for tools: calls(("search", {"query": "tea"})). Arguments given as text go out as they are."""
    listed = tuple((name, args if isinstance(args, str) else json.dumps(args)) for name, args in wanted)
    return Reply(text=text, tool_calls=listed, finish_reason="tool_calls")


def status(code: int, message: str = "scripted failure", *, retry_after: float | str | None = None) -> Reply:
    """An HTTP error with an OpenAI error body."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return _json({"error": {"message": message, "type": "scripted"}}, code=code, headers=headers)


def html() -> Reply:
    """A web page with status 200, as a captive portal or a wrong base URL gives."""
    page = b"<!DOCTYPE html><html><body>Welcome to nginx!</body></html>"
    return Reply(content_type="text/html", pieces=lambda: iter([page]))


def bad_json(after: str = "") -> Reply:
    """An event that does not parse, after the text `after`."""
    return Reply(pieces=lambda: iter([*_text_events(after), b'data: {"choices": [{"delta":\n\n']))


def no_choices(choices: Any = None, *, streamed: bool = True) -> Reply:
    """A reply whose choices are `choices` (None, [], "text", ...)."""
    body = {"id": "x", "object": "chat.completion", "choices": choices}
    if not streamed:
        return _json(body)
    return Reply(pieces=lambda: iter([_event(body), b"data: [DONE]\n\n"]))


def json_reply(body: Any) -> Reply:
    """Any JSON document, as a rerank endpoint gives."""
    return _json(body)


def error_body(message: str = "model overloaded") -> Reply:
    """{"error": ...} with status 200."""
    return _json({"error": {"message": message}})


def whole(text: str) -> Reply:
    """One JSON object although a stream was asked for."""
    return _json(_completion(text, "stop"))


def drip(*, where: str = "body", pause_s: float = 0.5) -> Reply:
    """Slow-loris: one byte at a time, in the headers or in the body, for ever."""
    one_event = _event(_chunk("x" * 400))

    def pieces() -> Iterator[bytes]:
        while True:
            yield from (one_event[i : i + 1] for i in range(len(one_event)))

    return Reply(pieces=pieces, pause_s=pause_s, drip_headers=where == "headers")


def cut_after(text: str, *, visible: bool = False) -> Reply:
    """The stream ends after `text` without its end; `visible` breaks the HTTP framing too."""
    return Reply(pieces=lambda: iter(_text_events(text)), cut=visible)


def error_after(text: str, message: str = "out of memory") -> Reply:
    """An error inside the stream, after `text`."""
    return Reply(pieces=lambda: iter([*_text_events(text), _event({"error": {"message": message}})]))


def never_ending(word: str = "on and ", *, pause_s: float = 0.001) -> Reply:
    """Tokens for ever, whatever max_tokens says."""

    def pieces() -> Iterator[bytes]:
        while True:
            yield _event(_chunk(word))

    return Reply(pieces=pieces, pause_s=pause_s)


def held(text: str, go: threading.Event) -> Reply:
    """The first word at once, the others when `go` is set."""
    first, *others = _text_events(text)

    def pieces() -> Iterator[bytes]:
        yield first
        go.wait()
        yield from (*others, *_ending("stop"))

    return Reply(pieces=pieces)


def gzip_bomb(megabytes: int = 1000, *, code: int = 200) -> Reply:
    """Zeros, compressed about a thousand times."""

    def pieces() -> Iterator[bytes]:
        packer = zlib.compressobj(9, wbits=31)
        for _ in range(megabytes):
            yield packer.compress(b"0" * MEGABYTE)
        yield packer.flush()

    return Reply(status=code, headers={"Content-Encoding": "gzip"}, pieces=pieces)


def endless_body(*, code: int = 200) -> Reply:
    """One line that never ends, as fast as the connection takes it."""

    def pieces() -> Iterator[bytes]:
        yield b"data: "
        while True:
            yield b"x" * 65_536

    return Reply(status=code, pieces=pieces)


def redirect(url: str, code: int = 307) -> Reply:
    return Reply(status=code, headers={"Location": url})


def wrong_type(text: str) -> Reply:
    """A proper stream that is labelled text/plain."""
    return Reply(content_type="text/plain", pieces=lambda: iter([*_text_events(text), *_ending("stop")]))


def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # of 100 that call at once, five would be let in and some of the others turned away


class OpenAIServer:
    """See the top of this file. `url` is the base URL; `requests` the chat requests so far, in order."""

    def __init__(
        self,
        script: Sequence[Scripted] = (),
        *,
        always: Scripted | None = None,
        models: Sequence[str] = ("fake-model",),
        models_reply: Reply | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.models = tuple(models)
        self._models_reply = models_reply
        self._script, self._always = list(script), always
        self._lock = threading.Lock()
        self._n_beyond = 0
        self.stopping = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="fake openai server", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if kind is None and self._n_beyond:
            raise AssertionError(f"{self._n_beyond} more chat request(s) came than the script holds replies")
        if kind is None and self._script:
            raise AssertionError(f"{len(self._script)} scripted reply(s) were never asked for")

    def next_reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if self._script:
                scripted = self._script.pop(0)
            elif self._always is not None:
                scripted = self._always
            else:
                self._n_beyond += 1
                return status(500, "the script has run out")
        return scripted if isinstance(scripted, Reply) else scripted(request)

    def models_reply(self) -> Reply:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in self.models]
        return self._models_reply or _json({"object": "list", "data": listed})


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(server.models_reply() if self.path == "/v1/models" else status(404, "no such path"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path not in ("/v1/chat/completions", "/v1/rerank", "/v1/run"):
                self._send(status(404, "no such path"))
                return
            request = Request(self.path, {key.lower(): value for key, value in self.headers.items()}, json.loads(body))
            self._send(_for_request(server.next_reply(request), request))

        def _send(self, reply: Reply) -> None:
            self.close_connection = True
            try:
                self._send_head(reply)
                for piece in reply.pieces():
                    if server.stopping.is_set() or (reply.pause_s and server.stopping.wait(reply.pause_s)):
                        return
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b"")
                    self.wfile.flush()
                self.wfile.write(b"ff\r\n" if reply.cut else b"0\r\n\r\n")
            except OSError:
                pass  # the client has left, as most faults want it to

        def _send_head(self, reply: Reply) -> None:
            if reply.drip_headers:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not server.stopping.wait(reply.pause_s):
                    self.wfile.write(b"a")
                    self.wfile.flush()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silence: a test's own assertion says what was wrong."""

    return Handler


def _for_request(reply: Reply, request: Request) -> Reply:
    """A `says` in the form that the request asks for; other replies as they are."""
    if reply.text is None:
        return reply
    text = reply.text
    if not request.json.get("stream"):
        return _json(_completion(text, reply.finish_reason, reply.tool_calls))
    step = reply.chunk_chars
    parts = [text[i : i + step] for i in range(0, len(text), step)]
    events = [
        _event(_chunk("", role="assistant")),
        *(_event(_chunk(part)) for part in parts),
        *_call_events(reply.tool_calls),
        *_ending(reply.finish_reason),
    ]
    return Reply(pieces=lambda: iter(events))


def _text_events(text: str) -> list[bytes]:
    return [_event(_chunk(word)) for word in re.findall(r"\S+\s*", text)]


def _ending(finish_reason: str) -> list[bytes]:
    last = _chunk(None)
    last["choices"][0]["finish_reason"] = finish_reason
    usage = {"id": "x", "object": "chat.completion.chunk", "model": "fake-model", "choices": [], "usage": _USAGE}
    return [_event(last), _event(usage), b"data: [DONE]\n\n"]


_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def _chunk(content: str | None, **extra: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content, **extra} if content is not None else {}, "finish_reason": None}
    return {"id": "x", "object": "chat.completion.chunk", "model": "fake-model", "choices": [choice]}


def _call_events(wanted: Sequence[tuple[str, str]]) -> Iterator[bytes]:
    """Tool calls as servers stream them: id and name first, the arguments in pieces."""
    for index, (name, arguments) in enumerate(wanted):
        head = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        yield _event(_chunk("", tool_calls=[head]))
        for at in range(0, len(arguments), 9):
            piece = {"index": index, "function": {"arguments": arguments[at : at + 9]}}
            yield _event(_chunk("", tool_calls=[piece]))


def _completion(text: str, finish_reason: str, wanted: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if wanted:
        message["tool_calls"] = [
            {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(wanted)
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "fake-model",
        "choices": [choice],
        "usage": _USAGE,
    }


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _json(body: Any, *, code: int = 200, headers: dict[str, str] | None = None) -> Reply:
    content = json.dumps(body).encode()
    return Reply(status=code, content_type="application/json", headers=headers or {}, pieces=lambda: iter([content]))
