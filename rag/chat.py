"""The chat client for OpenAI-compatible endpoints, and the call on a worker thread that every chat model is built on.

The only home of the openai package, which is imported when the first call is made.
"""

from __future__ import annotations

import codecs
import contextlib
import email.utils
import functools
import json
import logging
import queue
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from rag.errors import ChatError
from rag.settings import LlmSettings
from rag.turns import turns
from rag.types import ChatDelta, ChatModel, Message, ToolCall, Usage

TRIES = 3
CHECK_S = 10.0
BACKOFF_S = 0.5  # before the second try; doubles
MAX_RETRY_AFTER_S = 20.0
ERROR_BODY_BYTES = 16_384  # of a refusal; enough for its message
CHARS_PER_TOKEN = 16  # more than any tokenizer makes on average: past this an endpoint ignores max_tokens
PIECE_BYTES = 65_536

_log = logging.getLogger(__name__)


_loading = threading.Lock()


def load_client() -> None:
    """Import what a call of an endpoint needs, in one thread at a time. Raises: OSError for certificates that are not there."""
    with _loading:  # two threads that import parts of one library crosswise may each see the other's half done
        import httpx2  # noqa: F401
        import openai.resources.chat.chat  # the package loads its parts only when they are asked for
        import openai.types.chat  # noqa: F401
        from openai.resources.chat.completions import Completions  # noqa: F401
        from openai.resources.models import Models  # noqa: F401

        _tls()


def complete(
    chat: ChatModel,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    json_schema: Mapping[str, Any] | None = None,
    deadline_s: float | None = None,
) -> str:
    """The whole reply as one string. Raises ChatError; its `partial` holds what had arrived."""
    deltas = chat.stream(
        messages, max_tokens=max_tokens, temperature=temperature, json_schema=json_schema, deadline_s=deadline_s
    )
    with turns.waiting():
        return "".join(delta.text for delta in deltas)


# ---------------------------------------------------------------- a call on a worker thread


class Call:
    """One call of a chat model: a worker thread puts deltas, the consumer takes them until the deadline.

    The consumer never waits on the model itself, so neither a silent endpoint, nor one that drips, nor a name server
    that does not answer can hold it past the deadline.
    """

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.ends_at = time.monotonic() + deadline_s
        self.cancelled = threading.Event()
        self.n_chars = 0  # put so far: while 0, trying again is safe
        self._queue: queue.SimpleQueue[ChatDelta | BaseException] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._on_cancel: list[Callable[[], None]] = []

    def remaining(self) -> float:
        return self.ends_at - time.monotonic()

    def put(self, item: ChatDelta | BaseException) -> None:
        if isinstance(item, ChatDelta):
            self.n_chars += len(item.text)
        self._queue.put(item)

    def take(self) -> ChatDelta | BaseException:
        """The next item. What has arrived is given even after the deadline. Raises queue.Empty at the deadline."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            with turns.waiting():
                return self._queue.get(timeout=max(0.0, self.remaining()))

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Have `stop` called when the consumer is gone: it unblocks the worker."""
        with self._lock:
            if not self.cancelled.is_set():
                self._on_cancel.append(stop)
                return
        stop()

    def cancel(self) -> None:
        with self._lock:
            self.cancelled.set()
            stops, self._on_cancel = self._on_cancel, []
        for stop in stops:
            stop()


def run_call(call: Call, work: Callable[[Call], None], *, who: str, daemon: bool) -> Iterator[ChatDelta]:
    """Run `work` on a thread of its own and yield what it puts, up to the delta that has `done` set.

    Ends `work` through `call.cancel()` when the consumer stops, at the deadline and on an error.
    Raises: ChatError, with the text so far in `partial`.
    """
    threading.Thread(target=_guarded, args=(call, work), name=f"chat {who}"[:40], daemon=daemon).start()
    texts: list[str] = []
    try:
        while True:
            try:
                item = call.take()
            except queue.Empty:
                raise ChatError(
                    "E_LLM_DEADLINE", _late(who, call.deadline_s, bool(texts)), partial="".join(texts)
                ) from None
            if isinstance(item, ChatError):
                item.partial = "".join(texts)
            if isinstance(item, BaseException):
                raise item
            texts.append(item.text)
            yield item
            if item.done:
                return
    finally:
        call.cancel()


def _guarded(call: Call, work: Callable[[Call], None]) -> None:
    try:
        work(call)
    except BaseException as error:  # an edge: whatever it is belongs to the consumer, on the other thread
        call.put(error)
    else:
        if call.remaining() > 0:  # else the deadline is the reason, and the consumer knows
            call.put(ChatError("E_LLM_INCOMPLETE", "The chat model's reply has no end. Ask again."))


def _late(who: str, deadline_s: float, started: bool) -> str:
    what = "did not finish its reply" if started else "did not begin to reply"
    return f"{who} {what} within {deadline_s:g} s. Raise llm.deadline_s, or use a faster model."


# ---------------------------------------------------------------- the endpoint


class OpenAIChat:
    """A chat model behind an OpenAI-compatible endpoint. Threads may share it; every call has a connection of its own.

    One total deadline holds for a call with its retries, whatever the server does. A call is tried again only while
    none of its text has been handed out. Redirects are refused: they would carry the prompt to another host.
    calls_tools: False once the endpoint has refused a request for holding tools.
    """

    def __init__(self, settings: LlmSettings) -> None:
        self.name = settings.model if settings.model not in ("", "auto") else "auto"
        self._settings = settings
        self._host = urlsplit(settings.base_url).netloc or settings.base_url
        self._max_bytes = int(settings.max_response_mb * 1_000_000)
        self._model = "" if self.name == "auto" else self.name
        self._refused: frozenset[str] = frozenset()  # optional parameters that this endpoint does not know

    @property
    def calls_tools(self) -> bool:
        return "tools" not in self._refused

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[ChatDelta]:
        """The reply as it comes; the last delta has `done` set.

        tools: {name, description, parameters}, parameters a JSON schema; the calls asked for are in the last delta.
        Raises: ChatError; E_LLM_NO_TOOLS when the endpoint does not take tools.
        """
        limit = self._settings.deadline_s if deadline_s is None else min(deadline_s, self._settings.deadline_s)
        request = _Request(tuple(messages), max_tokens, temperature, json_schema, tuple(tools))
        return self._called(lambda call: self._work(call, request), limit)

    def identity(self, deadline_s: float | None = None) -> str:
        """The address and the model, for which the endpoint is asked once where llm.model does not name it. Raises: ChatError."""
        if not self._model:
            limit = min(CHECK_S, self._settings.deadline_s, deadline_s or CHECK_S)
            nothing = _Request((), 1, 0.0, None)
            for _ in self._called(lambda call: self._work(call, nothing), limit):
                pass
        return f"{self._settings.base_url.rstrip('/')} {self._model}"

    def close(self) -> None:
        """Nothing stays open between calls."""

    def check(self) -> None:
        """Ask the endpoint which models it has, once. Raises ChatError when it cannot be reached or does not know us."""
        limit = min(CHECK_S, self._settings.deadline_s)
        for _ in self._called(self._look, limit):
            pass

    def _called(
        self, work: Callable[[Call], None], limit: float, who: str = "The chat endpoint"
    ) -> Iterator[ChatDelta]:
        """What `work` puts. What it needs is imported before its time begins: on a busy machine that takes seconds."""
        try:
            load_client()
        except OSError as error:  # the certificates that the environment names
            raise self._broken(error, begun=False) from error
        return run_call(Call(limit), work, who=f"{who} {self._host}", daemon=True)

    def _look(self, call: Call) -> None:
        import httpx2
        import openai

        chosen = self._model
        try:
            with self._client(call) as client:
                self._first_model(client)
        except _BadStatus as bad:
            refusal = self._refusal(bad, _Request((), 1, 0.0, None))
            raise (refusal.error if isinstance(refusal, _Transient) else refusal) from None
        except (openai.APIConnectionError, httpx2.TransportError, OSError) as error:
            raise self._broken(error, begun=False) from error
        finally:
            self._model = chosen or self._model
        call.put(ChatDelta(done=True))

    def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """One exchange with the same server beside the chat, under the same guards. Not repeated. Raises ChatError."""
        deltas = self._called(lambda call: self._post(call, path, body), self._settings.deadline_s, who="The endpoint")
        return _parsed_body("".join(delta.text for delta in deltas), self._host)

    def _post(self, call: Call, path: str, body: Mapping[str, Any]) -> None:
        import httpx2

        url = self._settings.base_url.rstrip("/") + path
        headers = {"Accept-Encoding": "identity"}
        if key := self._settings.api_key.get_secret_value():
            headers["Authorization"] = f"Bearer {key}"
        try:
            with (
                self._http(call) as http,
                http.stream("POST", url, json=dict(body), headers=headers) as response,
            ):
                encoding = response.headers.get("content-encoding", "")
                content = b"".join(decoded(response.iter_raw(), encoding, self._max_bytes))
        except _BadStatus as bad:
            raise ChatError(
                "E_LLM_REFUSED",
                f"The endpoint {url} answered {bad.status}: {_excerpt(bad.text)}. Check its address and model.",
            ) from None
        except (httpx2.TransportError, OSError) as error:
            raise self._broken(error, begun=False) from error
        call.put(ChatDelta(text=content.decode("utf-8", "replace"), done=True))

    def _work(self, call: Call, request: _Request) -> None:
        n_failed = 0
        while not call.cancelled.is_set():
            try:
                self._attempt(call, request)
                return
            except _Unsupported as refusal:
                self._refused |= {refusal.parameter}
                if refusal.parameter == "tools":  # without them it would be another question
                    raise ChatError(
                        "E_LLM_NO_TOOLS", f"The chat endpoint {self._host} takes no tools. Set agent.tool_calls = text."
                    ) from None
            except _Transient as failure:
                n_failed += 1
                wait = failure.after_s if failure.after_s is not None else BACKOFF_S * 2 ** (n_failed - 1)
                if call.n_chars or n_failed == TRIES or wait > min(MAX_RETRY_AFTER_S, call.remaining()):
                    raise failure.error from failure.__cause__
                _log.info("trying %s again in %.1f s: %s", self._host, wait, failure.error)
                call.cancelled.wait(wait)

    def _attempt(self, call: Call, request: _Request) -> None:
        import httpx2
        import openai

        started = time.monotonic()
        try:
            with self._client(call) as client:
                model = self._model or self._first_model(client)
                if not request.messages:  # the name is all that was wanted
                    call.put(ChatDelta(done=True))
                    return
                create = client.chat.completions.with_streaming_response.create
                with create(**request.parameters(model, self._refused)) as response:
                    body = decoded(
                        response.http_response.iter_raw(), response.headers.get("content-encoding", ""), self._max_bytes
                    )
                    for delta in read_reply(body, max_tokens=request.max_tokens, model=model, started=started):
                        call.put(delta)
        except _BadStatus as bad:
            raise self._refusal(bad, request) from None
        except (openai.APIConnectionError, httpx2.TransportError, OSError) as error:
            raise _Transient(self._broken(error, begun=call.n_chars > 0)) from error
        except ChatError as error:
            if error.code == "E_LLM_INCOMPLETE":
                raise _Transient(error) from error
            raise

    def _client(self, call: Call) -> Any:
        """An SDK client for one call: no retries or compression of its own."""
        import openai

        key = self._settings.api_key.get_secret_value() or "none"
        headers = {"Accept-Encoding": "identity"}
        return openai.OpenAI(
            base_url=self._settings.base_url,
            api_key=key,
            max_retries=0,
            http_client=self._http(call),
            default_headers=headers,
        )

    def _http(self, call: Call) -> Any:
        """The connection of one call: follows no redirect, and can be cut off."""
        import httpx2
        import openai

        left = max(0.0, call.remaining())
        loopback = urlsplit(self._settings.base_url).hostname in ("localhost", "127.0.0.1", "::1")
        return openai.DefaultHttpxClient(
            timeout=httpx2.Timeout(
                left + 1, connect=min(left + 1, self._settings.connect_timeout_s)
            ),  # the deadline comes first
            follow_redirects=False,
            verify=_tls(),
            trust_env=not loopback,  # a proxy of the environment cannot reach this machine's own ports
            limits=httpx2.Limits(max_keepalive_connections=0),
            event_hooks={"request": [lambda request: _trace_sockets(request, call)], "response": [_check_status]},
        )

    def _first_model(self, client: Any) -> str:
        with client.models.with_streaming_response.list() as response:
            body = decoded(
                response.http_response.iter_raw(), response.headers.get("content-encoding", ""), self._max_bytes
            )
            content = b"".join(body)
        try:
            model = json.loads(content)["data"][0]["id"]
        except (ValueError, LookupError, TypeError):
            model = None
        if not isinstance(model, str) or not model:
            raise ChatError(
                "E_LLM_PROTOCOL",
                f"The chat endpoint {self._host} was asked for its models and answered {_excerpt(content)}. Check that llm.base_url "
                "ends with the API's version, such as /v1, or set llm.model.",
            )
        self._model = model
        return model

    def _refusal(self, bad: _BadStatus, request: _Request) -> Exception:
        """What an HTTP status other than 200 means for the call."""
        said = f"The chat endpoint {self._host} answered {bad.status}"
        if bad.status in (400, 422) and (parameter := request.blamed(bad.text, self._refused)):
            return _Unsupported(parameter)
        if bad.status == 429:
            return _rate_limited(said, bad)
        if bad.status >= 500 or bad.status == 408:
            return _Transient(
                ChatError("E_LLM_UNREACHABLE", f"{said}: {_excerpt(bad.text)}. Check the server and ask again."),
                bad.retry_after,
            )
        if bad.status < 400:
            return ChatError(
                "E_LLM_REDIRECT",
                f"{said}, a redirect to {_excerpt(bad.location)}. It is not followed, because the prompt would go there; if that is "
                "the right place, set llm.base_url to it.",
            )
        if bad.status in (401, 403):
            return ChatError(
                "E_LLM_AUTH", f"{said}: the key was not accepted. Set llm.api_key (RAGSTONE__LLM__API_KEY)."
            )
        hint = (
            " Check llm.model, and that llm.base_url ends with the API's version, such as /v1."
            if bad.status == 404
            else ""
        )
        return ChatError("E_LLM_REFUSED", f"{said}: {_excerpt(bad.text)}.{hint}")

    def _broken(self, error: Exception, *, begun: bool) -> ChatError:
        reason = str(error.__cause__ or error) or type(error).__name__
        if begun:
            return ChatError(
                "E_LLM_INCOMPLETE", f"The connection to {self._host} broke during the reply ({reason}). Ask again."
            )
        return ChatError(
            "E_LLM_UNREACHABLE",
            f"The chat endpoint {self._host} cannot be reached ({reason}). Start it, or check llm.base_url.",
        )


@functools.cache
def _tls() -> Any:
    """The certificates that are trusted, read once: reading them took more of a call's time than all else."""
    import httpx2

    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True)
class _Request:
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    json_schema: Mapping[str, Any] | None
    tools: tuple[Mapping[str, Any], ...] = ()

    def parameters(self, model: str, refused: frozenset[str]) -> dict[str, Any]:
        """Arguments of the SDK's create(), without what this endpoint has refused."""
        messages = [_wire(message) for message in self.messages]
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        given: dict[str, Any] = {"model": model, "messages": messages, "stream": True, limit: self.max_tokens}
        if "stream_options" not in refused:
            given["stream_options"] = {"include_usage": True}
        if "temperature" not in refused:
            given["temperature"] = self.temperature
        if self.tools:
            given["tools"] = [{"type": "function", "function": dict(tool)} for tool in self.tools]
        if self.json_schema is not None and "response_format" not in refused:
            schema = {"name": "reply", "schema": dict(self.json_schema)}
            given["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.json_schema is not None:
            messages[-1]["content"] += (
                f"\n\nReply with JSON only, valid for this schema: {json.dumps(self.json_schema)}"
            )
        return given

    def blamed(self, text: str, refused: frozenset[str]) -> str:
        """The optional parameter that a 400 complains about, or ''. Any 400 may be about the reply format."""
        optional = [name for name in ("stream_options", "temperature", "max_tokens") if name not in refused]
        named = next((name for name in optional if name in text), "")
        if not named and self.tools and _ABOUT_TOOLS.search(text):
            return "tools"
        with_format = self.json_schema is not None and "response_format" not in refused
        return named or ("response_format" if with_format else "")


_ABOUT_TOOLS = re.compile(r"\btools?\b|tool_c|tool-call|function.?call", re.IGNORECASE)


def _wire(message: Message) -> dict[str, Any]:
    """A message as the protocol writes it."""
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        out["tool_calls"] = [
            {"id": one.call_id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in message.tool_calls
        ]
    if message.role == "tool":
        out["tool_call_id"] = message.call_id
    return out


class _Unsupported(Exception):
    """The endpoint does not know an optional parameter; the call can go on without it."""

    def __init__(self, parameter: str) -> None:
        super().__init__(parameter)
        self.parameter = parameter


class _Transient(Exception):
    """A failure that may pass; `after_s` is what the server asked to wait."""

    def __init__(self, error: ChatError, after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.after_s = error, after_s


class _BadStatus(Exception):
    """An HTTP status other than 200, with the first kilobytes of its body."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        super().__init__(status)
        self.status, self.text = status, text
        self.location = headers.get("location", "nowhere")
        self.retry_after = _seconds(headers)


def _check_status(response: Any) -> None:
    """An event hook of the HTTP client: the SDK would read a refusal's body whole, however long it is."""
    if response.status_code == 200:
        return
    body = bytearray()
    with contextlib.suppress(ChatError):  # longer than we read: its beginning is enough
        for piece in decoded(response.iter_raw(), response.headers.get("content-encoding", ""), ERROR_BODY_BYTES):
            body += piece
    raise _BadStatus(response.status_code, response.headers, body.decode("utf-8", "replace"))


def _trace_sockets(request: Any, call: Call) -> None:
    """Let `call.cancel` shut the request's sockets down: closing a client from another thread does not wake a read."""

    def traced(name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            sock = info["return_value"].get_extra_info("socket")
            call.on_cancel(lambda: _shut(sock))

    request.extensions["trace"] = traced


def _shut(sock: Any) -> None:
    with contextlib.suppress(OSError):  # it is closed already, or the TLS socket has taken its place
        sock.shutdown(socket.SHUT_RDWR)


def _rate_limited(said: str, bad: _BadStatus) -> _Transient:
    if bad.retry_after is None:
        return _Transient(ChatError("E_LLM_RATE_LIMIT", f"{said}: too many requests. Wait a little and ask again."))
    when = f"{bad.retry_after:.0f} s"
    if bad.retry_after > MAX_RETRY_AFTER_S:
        when += f", at {datetime.fromtimestamp(time.time() + bad.retry_after, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return _Transient(
        ChatError("E_LLM_RATE_LIMIT", f"{said}: too many requests. Ask again in {when}."), bad.retry_after
    )


def _seconds(headers: Mapping[str, str]) -> float | None:
    """What a Retry-After header asks for: seconds or an HTTP date."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


# ---------------------------------------------------------------- reading a reply


def decoded(pieces: Iterable[bytes], encoding: str, max_bytes: int) -> Iterator[bytes]:
    """The body, uncompressed, in pieces of bounded size.

    Raises: ChatError E_LLM_TOO_LARGE once more than `max_bytes` have come out, before more memory is taken; E_LLM_PROTOCOL
        for a compression other than gzip and deflate or damaged data.
    """
    n_bytes = 0
    for piece in _inflated(pieces, encoding.strip().lower()):
        n_bytes += len(piece)
        if n_bytes > max_bytes:
            raise ChatError(
                "E_LLM_TOO_LARGE",
                f"The chat endpoint's reply was cut off at {max_bytes / 1e6:g} MB. If replies are meant to be that long, raise "
                "llm.max_response_mb.",
            )
        yield piece


def _inflated(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield from pieces
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ChatError(
            "E_LLM_PROTOCOL", f"The chat endpoint compressed its reply with {encoding!r}, which was not asked for."
        )
    inflater = zlib.decompressobj(wbits=47)  # gzip or zlib, told apart by their headers
    for piece in pieces:
        while piece:
            try:
                out = inflater.decompress(piece, PIECE_BYTES)
            except zlib.error as error:
                raise ChatError(
                    "E_LLM_PROTOCOL", f"The chat endpoint's compressed reply is damaged ({error})."
                ) from error
            yield out
            piece = inflater.unconsumed_tail


def read_reply(
    body: Iterable[bytes], *, max_tokens: int, model: str = "", started: float | None = None
) -> Iterator[ChatDelta]:
    """Deltas of a streamed reply, or of a whole one from an endpoint that does not stream; the last has `done` set.

    Raises: ChatError E_LLM_PROTOCOL for what is no reply, E_LLM_REFUSED for an error that came instead of one,
        E_LLM_INCOMPLETE when the reply has no end, be it cut or broken off by an error.
    """
    started = time.monotonic() if started is None else started
    state = _Reply(model=model)
    for event in _events(body):
        if event is None:
            state.ended = True
            break
        text = state.take(event)
        if text:
            yield ChatDelta(text=text)
        if state.n_chars > CHARS_PER_TOKEN * max_tokens + 64:
            state.finish_reason = "length"
            break
    yield state.last_delta(time.monotonic() - started)


class _Reply:
    """What has been learned from a reply's events so far."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.n_chars = 0
        self.has_choice = False
        self.ended = False  # [DONE] came
        self.finish_reason = ""
        self.usage: Mapping[str, Any] = {}
        self._calls: dict[int, list[str]] = {}  # by their index: id, name, arguments so far

    def take(self, event: Any) -> str:
        """The text that an event adds."""
        if not isinstance(event, dict):
            raise ChatError(
                "E_LLM_PROTOCOL", f"The chat endpoint sent {_excerpt(json.dumps(event))} where an object was expected."
            )
        if event.get("error"):
            raise self._failed(event["error"])
        if isinstance(event.get("usage"), dict):
            self.usage = event["usage"]
        if isinstance(event.get("model"), str) and event["model"]:
            self.model = event["model"]
        choices = event.get("choices")
        if not choices:
            return ""  # usage and some services' first event come without one
        try:
            choice = choices[0]
            part = choice.get("delta") or choice.get("message") or {}
            text, reason = part.get("content") or "", choice.get("finish_reason") or ""
            self._take_calls(part.get("tool_calls") or ())
        except (LookupError, AttributeError, TypeError):
            text, reason = None, ""
        if not isinstance(text, str) or not isinstance(reason, str):
            raise ChatError(
                "E_LLM_PROTOCOL", f"The chat endpoint sent a reply of unknown shape: {_excerpt(json.dumps(event))}."
            )
        self.has_choice, self.n_chars = True, self.n_chars + len(text)
        self.finish_reason = reason or self.finish_reason
        return text

    def _take_calls(self, pieces: Any) -> None:
        """Add the pieces of tool calls; some services send no index and each call whole."""
        for at, piece in enumerate(pieces):
            index, function = piece.get("index"), piece.get("function") or {}
            call = self._calls.setdefault(index if isinstance(index, int) else len(self._calls) + at, ["", "", ""])
            for place, value in enumerate((piece.get("id"), function.get("name"), function.get("arguments"))):
                value = json.dumps(value) if isinstance(value, dict) else value or ""
                call[place] += value
                self.n_chars += len(value)

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(call_id=call_id or f"call_{index}", name=name, arguments=arguments)
            for index, (call_id, name, arguments) in sorted(self._calls.items())
        )

    def _failed(self, error: Any) -> ChatError:
        message = error.get("message") if isinstance(error, dict) else error
        if self.n_chars:
            return ChatError(
                "E_LLM_INCOMPLETE", f"The chat endpoint broke its reply off: {_excerpt(str(message))}. Ask again."
            )
        return ChatError(
            "E_LLM_REFUSED", f"The chat endpoint sent an error in place of a reply: {_excerpt(str(message))}."
        )

    def last_delta(self, seconds: float) -> ChatDelta:
        if self.finish_reason == "content_filter":
            raise ChatError(
                "E_LLM_REFUSED", "The chat endpoint's content filter stopped the reply. Word the question differently."
            )
        if not self.has_choice and self.ended:
            raise ChatError(
                "E_LLM_PROTOCOL", "The chat endpoint's reply holds no choices. Check that llm.base_url is a chat API."
            )
        if not self.finish_reason and not self.ended:
            raise ChatError("E_LLM_INCOMPLETE", "The chat endpoint's reply was cut off before its end. Ask again.")
        usage = Usage(
            n_prompt_tokens=_count(self.usage.get("prompt_tokens")),
            n_answer_tokens=_count(self.usage.get("completion_tokens")),
            seconds=round(seconds, 3),
            model=self.model,
        )
        reason = "length" if self.finish_reason == "length" else "stop"
        return ChatDelta(done=True, finish_reason=reason, usage=usage, tool_calls=self._tool_calls())


def _events(body: Iterable[bytes]) -> Iterator[Any]:
    """The parsed events of a body; None for [DONE]. A body that is one JSON object gives that and None."""
    lines = _lines(body)
    for line in lines:
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                yield None
                return
            if data:
                yield _parsed(data)
        elif line.lstrip().startswith("{"):
            yield _parsed("\n".join([line, *lines]))
            yield None
        elif line.strip() and not line.startswith((":", "event:", "id:", "retry:")):
            raise ChatError(
                "E_LLM_PROTOCOL",
                f"The chat endpoint answered with {_excerpt(line)}, which is no chat reply. Check that llm.base_url points to an "
                "OpenAI-compatible API.",
            )


def _parsed_body(text: str, host: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChatError(
            "E_LLM_PROTOCOL", f"The endpoint {host} answered {_excerpt(text)}, which is not JSON."
        ) from error


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ChatError(
            "E_LLM_PROTOCOL", f"The chat endpoint sent JSON that does not parse: {_excerpt(data)}."
        ) from None


def _lines(body: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts: list[str] = []  # of the line that is not complete yet
    for piece in body:
        *whole, rest = decoder.decode(piece).split("\n")
        for line in whole:
            yield "".join([*parts, line]).removesuffix("\r")
            parts = []
        parts.append(rest)
    yield "".join([*parts, decoder.decode(b"", True)])


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _excerpt(text: str | bytes, limit: int = 120) -> str:
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "replace")
    text = " ".join(text.split())
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
