"""What every request passes before a route sees it: Host and Origin, the key, limits, the size of its body.

Plain ASGI, so that nothing is parsed for somebody who may not come in. Writes one line per request to the log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import urlsplit

from rag.accounts import Key
from rag.errors import RagstoneError
from rag.settings import ApiSettings
from ui.api.metrics import Metrics
from ui.api.service import Limits, Refused, status_of

OPEN = ("/healthz", "/readyz")
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("ragstone.api")


class Guarded(Protocol):
    """What stands behind: who may come in, and how much at once."""

    settings: ApiSettings
    limits: Limits
    metrics: Metrics

    def caller(self, authorization: str | None) -> Key: ...


class Guard:
    """The middleware. `scope["state"]` holds `caller` and `request_id` behind it."""

    def __init__(self, app: App, *, service: Guarded, open_paths: Sequence[str] = OPEN) -> None:
        self._app, self._service, self._open = app, service, open_paths
        # Of its own: looking up a key must not wait for the threads that answers keep busy.
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="guard")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request = _Request(scope, send)
        try:
            await self._serve(request, receive)
        except RagstoneError as error:
            await request.refuse(error)
        except Exception:  # the edge: the client gets a number, the log the rest
            log.exception("request %s failed", request.id)
            await request.refuse(Refused(500, "E_BUG", f"The server failed. Its log says why, under {request.id}."))
        finally:
            self._note(request, time.perf_counter() - started)

    async def _serve(self, request: _Request, receive: Receive) -> None:
        settings = self._service.settings
        _check_host(request.header("host"), settings.hosts)
        _check_origin(request.header("origin"), request.header("host"), settings.origins)
        caller = Key(key_id="", name="nobody", scopes=())
        if request.path not in self._open:
            if len(request.all_headers("authorization")) > 1:
                raise Refused(401, "E_AUTH", "The Authorization header came twice. Send one.")
            find = self._service.caller
            caller = await asyncio.get_running_loop().run_in_executor(
                self._threads, find, request.header("authorization")
            )
            self._service.limits.enter(caller)
        request.caller = caller
        request.scope.setdefault("state", {}).update(caller=caller, request_id=request.id)
        try:
            limit = settings.max_upload_mb if request.is_upload else settings.max_body_mb
            await self._app(request.scope, _limited(receive, request, int(limit * 1_000_000)), request.send)
        finally:
            if request.path not in self._open:
                self._service.limits.leave(caller)

    def _note(self, request: _Request, seconds: float) -> None:
        route = getattr(request.scope.get("route"), "path", "") or "(none)"
        labels = {"route": route, "method": request.scope["method"], "status": str(request.status)}
        metrics = self._service.metrics
        metrics.count("ragstone_requests_total", "Requests answered", **labels)
        metrics.time("ragstone_request_seconds", "Time to answer", seconds, route=route)
        log.info(
            "%s %s", request.scope["method"], request.path,
            extra={"fields": {"request_id": request.id, "method": request.scope["method"], "path": request.path,
                              "route": route, "status": request.status, "ms": round(seconds * 1000, 1),
                              "key": request.caller.key_id if request.caller else ""}},
        )  # fmt: skip


class _Request:
    """One request: its headers, and what was sent for it so far."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.id = secrets.token_hex(8)
        self.path = str(scope["path"])
        self.caller: Key | None = None
        self.status = 0
        self.begun = False
        self.refusal: Refused | None = (
            None  # found while the body was read; frameworks hide it behind a 400 of their own
        )

    def all_headers(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key.decode("latin-1") == name]

    def header(self, name: str) -> str | None:
        return next(iter(self.all_headers(name)), None)

    @property
    def is_upload(self) -> bool:
        return (self.header("content-type") or "").lower().startswith("multipart/form-data")

    async def send(self, message: Message) -> None:
        """Pass a response on. One that a framework made of a refusal of ours gives way to it."""
        if self.refusal is not None and not self.begun:
            await self.refuse(self.refusal)
            return
        if self.refusal is None:
            await self._out(message)

    async def refuse(self, error: RagstoneError) -> None:
        """An error in OpenAI's shape, if nothing was sent yet."""
        if self.begun:
            return
        status = status_of(error)
        headers = [(b"content-type", b"application/json")]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if isinstance(error, Refused) and error.after_s is not None:
            headers.append((b"retry-after", str(max(1, round(error.after_s))).encode()))
        await self._out({"type": "http.response.start", "status": status, "headers": headers})
        body = json.dumps(error_body(error.code, str(error), status), ensure_ascii=False).encode()
        await self._out({"type": "http.response.body", "body": body})

    async def _out(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            extra = (*SAFE_HEADERS, (b"x-request-id", self.id.encode()))
            message["headers"] = [*message.get("headers", ()), *extra]
        await self._send(message)


def error_body(code: str, message: str, status: int) -> dict[str, Any]:
    """An error as OpenAI's clients know it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}


def _check_host(host: str | None, allowed: list[str]) -> None:
    """A name that somebody else's DNS points here must not work (DNS rebinding)."""
    name = _host_name(host or "")
    if not (is_loopback(name) or name in allowed or "*" in allowed):
        raise Refused(403, "E_HOST", f"This server does not answer to the name {name[:100]!r}. Add it to api.hosts.")


def _check_origin(origin: str | None, host: str | None, allowed: list[str]) -> None:
    """A page of another site must not call us through its reader's browser."""
    if origin is None or origin in allowed:
        return
    if not origin or urlsplit(origin).netloc.lower() != (host or "").lower():
        raise Refused(403, "E_ORIGIN", f"Pages of {origin[:100]!r} may not call this server. Add the origin to api.origins.")  # fmt: skip


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _limited(receive: Receive, request: _Request, limit: int) -> Receive:
    """The body, refused once it is too long, whatever its Content-Length said."""
    announced = request.header("content-length") or "0"
    too_long = Refused(413, "E_TOO_LARGE", f"The request is larger than {limit / 1_000_000:g} MB. Send less, or raise api.max_body_mb or api.max_upload_mb.")  # fmt: skip
    if announced.isdigit() and int(announced) > limit:
        raise too_long
    n_bytes = 0

    async def limited() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > limit:
            request.refusal = too_long
            raise too_long
        return message

    return limited
