"""A fetch from the web that cannot be led into the network it runs in, and that always ends.

Every address that a name resolves to is checked, and the connection goes to the address that was checked: between the
two there is no second look-up that could answer differently. Each redirect starts over. The transport is the standard
library's, because its `connect` is one method to replace; httpx-secure, the guarded transport that passed the same
attacks, is for asynchronous clients of another httpx than the one here, and limits neither bytes nor time.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from rag.errors import DocumentError
from rag.settings import FetchSettings

MAX_URL = 4096
CONNECT_S = 5.0  # for one address, when there are others
PIECE = 65_536

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Everything that IANA's special-purpose registries keep from the public, and Azure's host agent, which has a public address.
_PRIVATE_4 = [
    ipaddress.IPv4Network(one)
    for one in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",
    )
]  # fmt: skip
# IPv6 is public in 2000::/3 alone, without Teredo and its neighbours, 6to4 and what is for documentation.
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_PRIVATE_6 = [ipaddress.IPv6Network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # how an IPv6-only network reaches IPv4: its last 32 bits are checked

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_.])?$")
_UNSAFE = re.compile("[\x00-\x20\x7f\\\\]")
_TEXTS = re.compile(
    r"(?:text/.*|application/(?:.*\+)?(?:xml|json|xhtml|yaml|x-yaml|toml|x-ndjson|jsonl|rtf|x-tex|javascript|sql))$"
)
_DOCUMENTS = re.compile(
    r"application/(?:pdf|x-pdf|msword|rtf|epub\+zip|zip|x-zip-compressed|gzip|x-gzip|mbox|octet-stream|binary|vnd\.openxmlformats-.*"
    r"|vnd\.oasis\..*|vnd\.ms-(?:excel|powerpoint|word|outlook).*)$|binary/octet-stream$|message/rfc822$"
)  # fmt: skip
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,text/*;q=0.9,application/pdf;q=0.8,*/*;q=0.5"
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a server gave for a URL.

    final_url: where the redirects led. content_type: media type in lower case, with its parameters; may be empty.
    etag, last_modified: to be given again at the next fetch, which then may come back `not_modified`, without data.
    """

    url: str
    final_url: str
    data: bytes
    content_type: str = ""
    etag: str = ""
    last_modified: str = ""
    not_modified: bool = False


def fetch(
    url: str, *, settings: FetchSettings, etag: str = "", last_modified: str = "", max_bytes: int | None = None
) -> Fetched:
    """GET a page or a document, following redirects.

    max_bytes: a limit below those of the settings.
    Raises: DocumentError E_URL_FORBIDDEN, E_URL_UNREACHABLE, E_URL_STATUS, E_URL_TYPE, E_TOO_LARGE, E_TIMEOUT.
    """
    start = current = clean_url(url)
    headers = _headers(settings, etag, last_modified)
    with _Deadline(start, settings.timeout_s) as deadline:
        may_be_private = True
        for _ in range(settings.max_redirects + 1):
            addresses, is_private = _checked(current, settings, deadline, may_be_private=may_be_private)
            # Once out in public, a server there must not be able to send us to a private host, allowed or not.
            may_be_private = is_private
            with deadline.guarded(current):
                answer = _ask(current, addresses, headers, deadline)
                deadline.remaining()
                if answer.status in _REDIRECTS and (location := answer.headers.get("Location")):
                    current = clean_url(urljoin(current, location.strip()))
                    continue
                got = _result(start, current, answer, settings, max_bytes, conditional=bool(etag or last_modified))
                deadline.remaining()  # a socket that was shut reads like a page that ended
                return got
    raise DocumentError(
        "E_URL_STATUS", f"{start} redirects more than {settings.max_redirects} times. Name the page that it ends at."
    )


def clean_url(url: str) -> str:
    """A URL in normal form: host in lower case ASCII, no default port, no fragment, everything else percent-encoded.

    Raises: DocumentError E_URL_FORBIDDEN for what is no http or https URL, and for names and passwords in it.
    """
    text = url.strip()
    shown = text[:200]
    if len(text) > MAX_URL or _UNSAFE.search(text):
        raise _forbidden(shown, f"is longer than {MAX_URL} characters or holds blanks, controls or backslashes")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _forbidden(shown, f"is no URL ({error})") from error
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise _forbidden(shown, "does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise _forbidden(re.sub(r"//[^/]*@", "//", shown), "holds a user name or password")
    name = _host_name(host, is_literal="[" in parts.netloc)
    if not name or port == 0:
        raise _forbidden(shown, "has no valid host or port")
    default = {"http": 80, "https": 443}[scheme]
    netloc = name if port in (None, default) else f"{name}:{port}"
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._") or "/"
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def is_public(address: str) -> bool:
    """Whether an IP address lies in the public Internet; no form of IPv6 hides a private IPv4 address from this."""
    try:
        return _is_public(ipaddress.ip_address(address))
    except ValueError:
        return False  # with a zone: link-local


# ---------------------------------------------------------------- what may be asked


def _host_name(host: str, *, is_literal: bool) -> str:
    """The host as it stands in a clean URL; empty when it is none."""
    if is_literal:
        try:
            return f"[{ipaddress.IPv6Address(host).compressed}]" if "%" not in host else ""
        except ValueError:
            return ""
    try:
        name = host.encode("idna").decode("ascii").lower() if not host.isascii() else host.lower()
    except UnicodeError:
        return ""
    return name if _HOST.match(name) else ""


def _checked(
    url: str, settings: FetchSettings, deadline: _Deadline, *, may_be_private: bool
) -> tuple[list[tuple[Any, ...]], bool]:
    """The socket addresses of a URL's host, all of them checked, and whether one of them is private and allowed."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if port not in settings.ports:
        raise _forbidden(url, f"asks port {port}", "Add it to fetch.ports if it should be fetched.")
    found = deadline.run(url, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    if not found:
        raise DocumentError("E_URL_UNREACHABLE", f"{url}: there is no host named {host}. Check the URL.")
    any_private = False
    for _, _, _, _, address in found:
        if is_public(str(address[0])):
            continue
        any_private = True
        if not may_be_private or not _is_allowed(host, str(address[0]), settings.allow_hosts):
            raise _forbidden(
                url,
                "leads to an address that is not public",
                "Name its host in fetch.allow_hosts if it should be fetched.",
            )
    return [(family, address) for family, _, _, _, address in found], any_private


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _PRIVATE_4)
    if address in _NAT64:
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):  # ISATAP: an IPv4 address is its end
        return False
    return address in _PUBLIC_6 and not any(address in network for network in _PRIVATE_6)


def _is_allowed(host: str, address: str, allowed: list[str]) -> bool:
    for entry in allowed:
        try:
            if ipaddress.ip_address(address) in ipaddress.ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            if entry.lower().rstrip(".") == host.rstrip("."):
                return True
    return False


def _forbidden(
    url: str, reason: str, advice: str = "Name another URL, or download it and import the file."
) -> DocumentError:
    return DocumentError("E_URL_FORBIDDEN", f"{url} {reason}. {advice}")


# ---------------------------------------------------------------- asking


class _Deadline:
    """The end of a fetch. When it comes, the open socket is shut, whatever waits on it."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.watch(None)

    def remaining(self) -> float:
        """Seconds left. Raises: DocumentError E_TIMEOUT when there are none."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    def watch(self, opened: socket.socket | None) -> None:
        """Take over a socket: it is closed with the next one, or at the end."""
        with self._lock:
            before, self._socket = self._socket, opened
        if before is not None:
            before.close()

    def run(self, url: str, call: Any) -> Any:
        """A look-up of a name, which nothing can interrupt, on a thread that is left behind at the deadline."""
        result: list[Any] = []

        def work() -> None:
            try:
                result.append(call())
            except (OSError, UnicodeError):
                result.append(None)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(self.remaining())
        if not result:
            raise self.error()
        return result[0]

    def guarded(self, url: str) -> _Guarded:
        return _Guarded(self, url)

    def passed(self) -> bool:
        return time.monotonic() >= self._ends_at

    def error(self) -> DocumentError:
        return DocumentError(
            "E_TIMEOUT",
            f"{self._url} took longer than {self._seconds:g} s to fetch. Try again later, or raise fetch.timeout_s.",
        )

    def _end(self) -> None:
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own shutdown, which takes the object away that another thread reads from.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Guarded:
    """Turns what sockets and HTTP raise into our errors."""

    def __init__(self, deadline: _Deadline, url: str) -> None:
        self._deadline = deadline
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or not isinstance(error, (OSError, http.client.HTTPException, ValueError, zlib.error)):
            return
        if self._deadline.passed() or isinstance(error, TimeoutError):
            raise self._deadline.error() from error
        if isinstance(error, ssl.SSLError):
            reason = f"no safe connection ({getattr(error, 'verify_message', '') or error.reason or 'TLS failed'})"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        else:
            reason = "the server broke off or does not speak HTTP"
        raise DocumentError(
            "E_URL_UNREACHABLE", f"{self._url} cannot be fetched: {reason}. Check the URL, or try again later."
        ) from error


class _Pinned(http.client.HTTPConnection):
    """A connection to addresses that were checked; the name is for the Host header and the certificate alone."""

    def __init__(self, url: str, addresses: list[tuple[Any, ...]], deadline: _Deadline) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._addresses = addresses
        self._deadline = deadline
        self.default_port = 443 if self._tls else 80
        super().__init__(parts.hostname or "", parts.port or self.default_port)

    def connect(self) -> None:
        raw = self._connect()
        self._deadline.watch(raw)
        raw.settimeout(self._deadline.remaining())  # the handshake as a whole is held to it
        self.sock = _tls_context().wrap_socket(raw, server_hostname=self.host) if self._tls else raw
        if self._tls:
            self._deadline.watch(self.sock)

    def _connect(self) -> socket.socket:
        for i, (family, address) in enumerate(self._addresses):
            opened = socket.socket(family, socket.SOCK_STREAM)
            last = i + 1 == len(self._addresses)
            try:
                opened.settimeout(self._deadline.remaining() if last else min(CONNECT_S, self._deadline.remaining()))
                opened.connect(address)
                return opened
            except OSError:
                opened.close()
                if last:
                    raise
        raise OSError("no address")


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts what the operating system trusts."""
    import httpx2

    return httpx2.create_ssl_context()


def _headers(settings: FetchSettings, etag: str, last_modified: str) -> dict[str, str]:
    headers = {
        "User-Agent": settings.user_agent,
        "Accept": _ACCEPT,
        "Accept-Encoding": "gzip",
        "Connection": "close",
        "If-None-Match": etag,
        "If-Modified-Since": last_modified,
    }
    return {name: value for name, value in headers.items() if value and value.isascii() and value.isprintable()}


def _ask(
    url: str, addresses: list[tuple[Any, ...]], headers: dict[str, str], deadline: _Deadline
) -> http.client.HTTPResponse:
    connection = _Pinned(url, addresses, deadline)
    parts = urlsplit(url)
    connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers=headers)
    return connection.getresponse()


# ---------------------------------------------------------------- the answer


def _result(
    url: str, final: str, answer: http.client.HTTPResponse, settings: FetchSettings, max_bytes: int | None, *, conditional: bool
) -> Fetched:  # fmt: skip
    status = answer.status
    etag, last_modified = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
    if status == 304 and conditional:
        return Fetched(url=url, final_url=final, data=b"", not_modified=True, etag=etag, last_modified=last_modified)
    if status != 200:
        raise DocumentError("E_URL_STATUS", f"{final} answered {status}. {_status_advice(status)}")
    content_type = answer.headers.get("Content-Type", "").strip().lower()
    media = content_type.partition(";")[0].strip()
    is_text = bool(_TEXTS.match(media))
    if media and not is_text and not _DOCUMENTS.match(media):
        raise DocumentError("E_URL_TYPE", f"{final} is {media[:80]!r}, no text and no document. Leave it out.")
    key, limit = ("max_page_mb", settings.max_page_mb) if is_text else ("max_file_mb", settings.max_file_mb)
    most = int(limit * 1_000_000)
    if max_bytes is not None and max_bytes < most:
        key, most = "", max_bytes
    parts: list[bytes] = []
    n_bytes = 0
    for part in _decoded(answer, final, most):
        n_bytes += len(part)
        if n_bytes > most:
            how = f"fetch.{key} allows" if key else "the limit is"
            raise DocumentError("E_TOO_LARGE", f"{final} has more bytes than {how} ({most:,}). Download a part of it.")
        parts.append(part)
    return Fetched(
        url=url,
        final_url=final,
        data=b"".join(parts),
        content_type=content_type,
        etag=etag,
        last_modified=last_modified,
    )


def _status_advice(status: int) -> str:
    if status in (401, 402, 403, 407):
        return "It is not open to everybody: download it and import the file."
    if status in (404, 410):
        return "The page is gone: check the URL."
    return "Try again later."


def _decoded(answer: http.client.HTTPResponse, url: str, most: int) -> Iterator[bytes]:
    """The body, unpacked in pieces no larger than what is packed at a time or PIECE. Raises: DocumentError."""
    coding = answer.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        yield from _raw(answer, url)
    elif coding in ("gzip", "x-gzip"):
        yield from gunzip(_raw(answer, url), url)
    else:
        raise DocumentError(
            "E_URL_TYPE", f"{url} comes packed as {coding[:40]!r}, which was not asked for. Leave it out."
        )


def gunzip(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Unpacked pieces of at most PIECE bytes, so that a small body cannot become a large one unnoticed.

    Raises: DocumentError E_CORRUPT.
    """
    unpacker = zlib.decompressobj(wbits=31)
    n_in = 0
    try:
        for piece in pieces:
            n_in += len(piece)
            while piece:
                if unpacker.eof:
                    if not piece.strip(b"\0"):
                        break
                    unpacker = zlib.decompressobj(wbits=31)
                yield unpacker.decompress(piece, PIECE)
                piece = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error as error:
        raise DocumentError(
            "E_CORRUPT", f"{name} is packed wrongly and cannot be unpacked. Try again later."
        ) from error
    if n_in and not unpacker.eof:
        raise DocumentError("E_CORRUPT", f"{name} is cut off: its packed content has no end. Try again later.")


def _raw(answer: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """The body as it is sent. Raises: http.client.IncompleteRead when it ends too early."""
    wanted = None if answer.chunked else answer.length
    n_bytes = 0
    while piece := answer.read1(PIECE):
        n_bytes += len(piece)
        yield piece
    if wanted is not None and n_bytes < wanted:
        raise http.client.IncompleteRead(b"", wanted - n_bytes)
