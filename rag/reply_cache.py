"""A cache of what models said: chat replies at temperature 0, vectors of questions, scores of rerankers.

What was asked once is not asked again, after a stopped import or for a second evaluation above all. Threads that ask the
same at once ask one after the other, and the model answers the first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag.chat import complete
from rag.errors import ChatError
from rag.turns import turns
from rag.types import ChatDelta, ChatModel, Message, Reranker, Usage

if TYPE_CHECKING:
    from rag.late_interaction import TokenEmbedder

FILE = "replies.sqlite3"  # in the home folder
MAX_BYTES = 500_000_000  # of the file; what was not asked for longest goes
GONE_SHARE = 10  # one entry in so many goes then
CHECK_EVERY = 200  # entries that are added between two looks at the size
USED_S = 86_400  # how exactly it is known when an entry was last asked for
_VERSION = 2  # of the file; another one's entries have other keys

_T = TypeVar("_T")


class ReplyCache:
    """Replies by model and prompt in one SQLite file. Threads may share it. A file that cannot be used costs the cache only."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._max_bytes, self._n_added = max_bytes, 0
        self._asking: dict[str, tuple[threading.Lock, int]] = {}  # by key: who asks now, and how many want to
        try:
            self._db: sqlite3.Connection | None = sqlite3.connect(path, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")  # a power cut may cost the cache, and nothing else
            if self._pragma("user_version") < _VERSION:
                self._db.execute("DROP TABLE IF EXISTS replies")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, used INTEGER NOT NULL)"
            )
            self._db.execute(f"PRAGMA user_version={_VERSION}")
            self._db.commit()
        except sqlite3.Error:
            self._db = None

    def get(self, key: str) -> str | None:
        with self._lock:
            if self._db is None:
                return None
            try:
                row = self._db.execute("SELECT reply, used FROM replies WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error:
                return None
        if row is None:
            return None
        if row[1] < (now := int(time.time())) - USED_S:
            self._write("UPDATE replies SET used = ? WHERE key = ?", (now, key))
        return str(row[0])

    def put(self, key: str, reply: str) -> None:
        self._write("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", (key, reply, int(time.time())))

    def remove(self, key: str) -> None:
        self._write("DELETE FROM replies WHERE key = ?", (key,))

    @contextmanager
    def asking(self, key: str, most_s: float | None = None) -> Iterator[None]:
        """While this thread asks for what the key stands for; others wait here, `most_s` at most. Raises: TimeoutError."""
        with self._lock:
            lock, n = self._asking.get(key, (threading.Lock(), 0))
            self._asking[key] = lock, n + 1
        try:
            with turns.waiting():
                mine = lock.acquire(timeout=-1 if most_s is None else max(most_s, 0.0))
            if not mine:
                raise TimeoutError
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._lock:
                _, n = self._asking.pop(key)
                if n > 1:
                    self._asking[key] = lock, n - 1

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            if self._db is None:
                return
            try:
                self._db.execute(statement, values)
                if self._n_added % CHECK_EVERY == 0:
                    self._make_room(self._db)
                self._n_added += 1
                self._db.commit()
            except sqlite3.Error:
                self._db.rollback()

    def _make_room(self, db: sqlite3.Connection) -> None:
        used_pages = self._pragma("page_count") - self._pragma("freelist_count")
        if used_pages * self._pragma("page_size") > self._max_bytes:
            db.execute(
                "DELETE FROM replies WHERE key IN (SELECT key FROM replies ORDER BY used, rowid"
                " LIMIT (SELECT count(*) / ? + 1 FROM replies))",
                (GONE_SHARE,),
            )

    def _pragma(self, name: str) -> int:
        assert self._db is not None
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])


def reply_key(
    model: str, messages: Sequence[Message], max_tokens: int, json_schema: Mapping[str, Any] | None = None
) -> str:
    """sha256 of everything that decides a reply at temperature 0."""
    asked = [model, [[one.role, one.content] for one in messages], max_tokens, json_schema]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def cached_vector(
    cache: ReplyCache, kind: str, fingerprint: str, dim: int, texts: Sequence[str], make: Callable[[], Any]
) -> Any:
    """A vector that a model makes of texts, float32 of shape (dim,). kind: what is made of them. make: asks the model."""
    import numpy as np

    key = _key(kind, fingerprint, *texts)
    with cache.asking(key):
        with suppress(ValueError):  # a damaged entry counts as none
            known = np.frombuffer(base64.b64decode(cache.get(key) or "", validate=True), "<f4")
            if len(known) == dim:
                return known
        vector = np.asarray(make(), "<f4")
        cache.put(key, base64.b64encode(vector.tobytes()).decode())
    return vector


def cached_tokens(cache: ReplyCache, fingerprint: str, embedder: TokenEmbedder, text: str) -> Any:
    """The vectors of a question's tokens, float32 of shape (n, dim), in the cache as bytes of 1/127ths."""
    import numpy as np

    key = _key("tokens", fingerprint, text)
    with suppress(ValueError):  # a damaged entry counts as none
        width, _, packed = (cache.get(key) or "").partition(" ")
        return np.frombuffer(base64.b64decode(packed, validate=True), np.int8).reshape(-1, int(width)) / np.float32(127)
    found = np.rint(embedder.query_tokens(text) * 127).astype(np.int8)
    cache.put(key, f"{found.shape[1]} {base64.b64encode(found.tobytes()).decode()}")
    return found / np.float32(127)


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


class CachedReranker:
    """A reranker whose score of a passage depends on nothing but question and passage, asked once for each pair."""

    def __init__(self, reranker: Reranker, cache: ReplyCache, identity: str) -> None:
        """identity: differs between rerankers that may give a pair other scores."""
        self._reranker, self._cache, self._identity = reranker, cache, identity
        self.name = reranker.name

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """As the reranker's. Raises what it raises."""
        with self._cache.asking(_key("rerank", self._identity, question)):
            return self._scores(question, passages)

    def _scores(self, question: str, passages: Sequence[str]) -> list[float]:
        keys = [_key("rerank", self._identity, question, passage) for passage in passages]
        known: dict[str, float] = {}
        for key in keys:
            with suppress(TypeError, ValueError):  # there is none, or it is damaged
                known[key] = float(self._cache.get(key))  # type: ignore[arg-type]
        missing = {key: passage for key, passage in zip(keys, passages, strict=True) if key not in known}
        if missing:
            for key, score in zip(missing, self._reranker.scores(question, list(missing.values())), strict=True):
                known[key] = float(score)
                self._cache.put(key, repr(known[key]))
        return [known[key] for key in keys]


class CachedChat:
    """A chat model that answers from the cache what it was asked before. `n_calls` counts what the model was asked."""

    def __init__(self, chat: ChatModel, cache: ReplyCache) -> None:
        self._chat: ChatModel = chat._chat if isinstance(chat, CachedChat) else chat
        self._cache = cache
        self.name = chat.name
        self.n_calls = 0
        self._is_away = False

    def knows(self, messages: Sequence[Message], max_tokens: int, json_schema: Mapping[str, Any] | None = None) -> bool:
        """Whether the reply is there. Never, once the model was away when it was to say which one it is."""
        if self._is_away:
            return False
        try:
            key = reply_key(identity(self._chat), messages, max_tokens, json_schema)
        except ChatError:
            self._is_away = True
            return False
        return _kept(self._cache.get(key)) is not None

    def forget(
        self, messages: Sequence[Message], max_tokens: int, json_schema: Mapping[str, Any] | None = None
    ) -> None:
        """Keep a reply no longer that nobody could use: the model is asked anew the next time."""
        with suppress(ChatError):
            self._cache.remove(reply_key(identity(self._chat), messages, max_tokens, json_schema))

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]:
        """As the model's; only whole replies at temperature 0 are kept, and those that ended at max_tokens."""
        began = time.monotonic()

        def left() -> float | None:
            return None if deadline_s is None else deadline_s - (time.monotonic() - began)

        def ask() -> Iterator[ChatDelta]:
            self.n_calls += 1
            return self._chat.stream(
                messages, max_tokens=max_tokens, temperature=temperature, json_schema=json_schema, deadline_s=left()
            )

        if temperature != 0:
            yield from ask()
            return
        key = reply_key(identity(self._chat, left()), messages, max_tokens, json_schema)
        try:
            with self._cache.asking(key, left()):
                if (known := _kept(self._cache.get(key))) is not None:
                    yield ChatDelta(text=known[0])
                    yield ChatDelta(done=True, finish_reason=known[1], usage=Usage(model=self.name))
                    return
                yield from self._keeping(key, ask())
        except TimeoutError:
            raise ChatError(
                "E_LLM_DEADLINE",
                f"The chat model {self.name} was asked the same before and has not replied yet. Ask again later.",
            ) from None

    def _keeping(self, key: str, deltas: Iterator[ChatDelta]) -> Iterator[ChatDelta]:
        text = ""
        for delta in deltas:
            text += delta.text
            if delta.done and text.strip() and not delta.tool_calls:
                self._cache.put(key, json.dumps([text, delta.finish_reason]))
            yield delta

    def close(self) -> None:
        self._chat.close()


def identity(chat: ChatModel, deadline_s: float | None = None) -> str:
    """What tells a chat model from every other one: of an endpoint its address and model, of a file its state.

    Raises: ChatError when an endpoint has to be asked which model it has, and does not say.
    """
    tells = getattr(chat, "identity", None)
    return str(tells(deadline_s)) if tells else chat.name


def complete_as(
    chat: ChatModel,
    messages: Sequence[Message],
    parse: Callable[[str], _T],
    *,
    max_tokens: int,
    json_schema: Mapping[str, Any] | None = None,
    deadline_s: float | None = None,
) -> _T:
    """What `parse` makes of the model's whole reply. A reply of which it makes nothing is not kept. Raises: ChatError."""
    reply = complete(chat, messages, max_tokens=max_tokens, json_schema=json_schema, deadline_s=deadline_s)
    found = parse(reply)
    if not found and isinstance(chat, CachedChat):
        chat.forget(messages, max_tokens, json_schema)
    return found


def _kept(entry: str | None) -> tuple[str, str] | None:
    """The text and why it ended; None where there is no entry, or a damaged one."""
    try:
        text, reason = json.loads(entry or "")
    except (ValueError, TypeError):
        return None
    return (text, reason) if isinstance(text, str) and isinstance(reason, str) else None
