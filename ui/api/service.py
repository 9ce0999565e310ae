"""What stands behind the HTTP API, without a word of HTTP: the open home, its keys and jobs, and who may do what."""

from __future__ import annotations

import hmac
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rag.accounts import Accounts, Key
from rag.errors import (
    CatalogError,
    ChatError,
    DiskError,
    DocumentError,
    FilterError,
    FingerprintError,
    LockedError,
    ModelError,
    RagstoneError,
    SettingsError,
    SourceError,
    StoreError,
    UsageError,
)  # fmt: skip
from rag.jobs import Jobs
from rag.knowledge_base import KnowledgeBase
from ui.api.metrics import Metrics

OWNER = Key(key_id="", name="owner", scopes=("admin",), owner=True)
READY_FOR_S = 2.0  # a probe's result is good for so long

_STATUS: tuple[tuple[type[RagstoneError], int], ...] = (
    (SettingsError, 500), (FilterError, 400), (SourceError, 400), (UsageError, 400), (LockedError, 423),
    (FingerprintError, 503), (StoreError, 503), (CatalogError, 503), (DiskError, 507), (ModelError, 503),
    (DocumentError, 422), (ChatError, 502),
)  # fmt: skip


class Refused(RagstoneError):
    """A request that is not served: an HTTP status, a code for machines and a sentence. `after_s`: when to try again."""

    def __init__(self, status: int, code: str, message: str, *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.after_s = status, code, after_s  # type: ignore[misc]


def with_the_key(authorization: str | None, key: str, server: str) -> Key:
    """The caller of a server that has one key and no accounts. server: its name at the start of a sentence.

    Raises: Refused for any other key, and for none.
    """
    given = (authorization or "").partition(" ")[2].strip()
    if not hmac.compare_digest(given.encode(), key.encode()):
        raise Refused(401, "E_AUTH", f"{server} needs its key: send `Authorization: Bearer KEY`.")
    return OWNER


def status_of(error: RagstoneError) -> int:
    """The HTTP status that an error of ours means."""
    if isinstance(error, Refused):
        return error.status
    if error.code == "E_LLM_DEADLINE":
        return 504
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


@dataclass(slots=True)
class _Bucket:
    """Requests that a key may still make: refilled evenly, a minute's worth at most."""

    left: float
    at: float


class Limits:
    """Requests per minute and at once, by key, in this process. Threads may share it."""

    def __init__(self, *, running: int, running_per_key: int) -> None:
        self._running, self._per_key = running, running_per_key
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._now: dict[str, int] = defaultdict(int)
        self.n_running = 0

    @contextmanager
    def running(self, key: Key) -> Iterator[None]:
        """While a request of this key is answered. Raises Refused when there are too many."""
        self.enter(key)
        try:
            yield
        finally:
            self.leave(key)

    def enter(self, key: Key) -> None:
        with self._lock:
            if self.n_running >= self._running:
                raise Refused(503, "E_BUSY", f"The server is answering {self.n_running} requests. Try again in a moment.", after_s=1)  # fmt: skip
            if key.key_id and self._now[key.key_id] >= self._per_key:
                raise Refused(429, "E_RATE_LIMIT", f"This key has {self._per_key} requests running. Wait for one to end.", after_s=1)  # fmt: skip
            self._take(key)
            self._now[key.key_id] += 1
            self.n_running += 1

    def leave(self, key: Key) -> None:
        with self._lock:
            self.n_running -= 1
            self._now[key.key_id] -= 1
            if not self._now[key.key_id]:
                del self._now[key.key_id]

    def _take(self, key: Key) -> None:
        if not key.per_minute:
            return
        now, rate = time.monotonic(), key.per_minute / 60
        bucket = self._buckets.setdefault(key.key_id, _Bucket(key.per_minute, now))
        bucket.left, bucket.at = min(key.per_minute, bucket.left + (now - bucket.at) * rate), now
        if bucket.left < 1:
            wait = (1 - bucket.left) / rate
            raise Refused(429, "E_RATE_LIMIT", f"This key may make {key.per_minute} requests a minute. Try again in {wait:.0f} s.", after_s=wait)  # fmt: skip
        bucket.left -= 1


class Service:
    """An open home with its keys, jobs, limits and counters. Threads share it.

    open_to_all: answer without a key as long as none was made; only for servers that nobody else can reach.
    """

    def __init__(self, kb: KnowledgeBase, *, open_to_all: bool) -> None:
        settings = kb.settings.api
        self.kb, self.settings = kb, settings
        self.accounts, self.jobs = Accounts(kb.catalog.engine), Jobs(kb.catalog.engine)
        self.limits = Limits(running=settings.max_running, running_per_key=settings.max_running_per_key)
        self.metrics = Metrics()
        self.stopping = threading.Event()
        self.wake = threading.Event()  # there is a job
        self._open_to_all = open_to_all
        self._closed = False  # a key was seen: from then on none is to be looked for
        self._ready: tuple[float, dict[str, str]] = (-READY_FOR_S, {})
        self._probing = threading.Lock()

    def caller(self, authorization: str | None) -> Key:
        """Who asks, by the Authorization header. Raises Refused 401."""
        if authorization is None and self._open_to_all and not self._keys_made():
            return OWNER
        scheme, _, secret = (authorization or "").partition(" ")
        key = self.accounts.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None and self._open_to_all and not self._keys_made():
            return OWNER  # OpenAI clients always send some key
        if key is None:
            raise Refused(401, "E_AUTH", "This needs a key: send `Authorization: Bearer KEY`. `ragstone keys create` makes one.")  # fmt: skip
        return key

    def _keys_made(self) -> bool:
        self._closed = self._closed or self.accounts.any_keys()
        return self._closed

    def seen_by(self, key: Key, collection: str | None = None) -> KnowledgeBase:
        """The home as this key sees it."""
        return self.kb.view(collection=collection, principal=key.principal)

    def check_budget(self, key: Key) -> None:
        """Raises Refused 429 when the key has used up its tokens of the day."""
        if key.tokens_per_day and self.accounts.spent(key.key_id)[1] >= key.tokens_per_day:
            now = datetime.now(UTC)
            midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            raise Refused(429, "E_BUDGET", f"This key has used its {key.tokens_per_day} tokens of today. Its budget is renewed at midnight UTC.",
                          after_s=(midnight - now).total_seconds())  # fmt: skip

    def spend(self, key: Key, n_tokens: int) -> None:
        self.metrics.count("ragstone_tokens_total", "Tokens of the chat model", n_tokens)
        if key.key_id:
            self.accounts.spend(key.key_id, n_requests=1, n_tokens=n_tokens)

    def readiness(self) -> dict[str, str]:
        """What is not ready, by name, with the reason; empty when everything is."""
        with self._probing:
            at, found = self._ready
            if time.monotonic() - at > READY_FOR_S:
                found = {name: reason for name, reason in self._probe() if reason}
                self._ready = (time.monotonic(), found)
        return {**found, **({"server": "it is stopping"} if self.stopping.is_set() else {})}

    def _probe(self) -> Iterator[tuple[str, str]]:
        try:
            self.kb.catalog.collections()
            yield "catalog", ""
            self.kb.store.indexes(self.kb.settings.milvus.prefix)
            yield "milvus", ""
        except (StoreError, LockedError) as error:
            yield "milvus", str(error)
        except RagstoneError as error:
            yield "catalog", str(error)
