"""A cache of what models said: chat replies at temperature 0, vectors of questions, scores of rerankers.

What was asked once is not asked again, after a stopped import or for a second evaluation above all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.types import ChatDelta, ChatModel, Embedder, Message, Reranker, Usage

if TYPE_CHECKING:
    from rag.late_interaction import TokenEmbedder

MAX_REPLIES = 200_000  # the oldest go


class ReplyCache:
    """Replies by model and prompt in one SQLite file. Threads may share it. A file that cannot be used costs the cache only."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db: sqlite3.Connection | None = sqlite3.connect(path, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")  # a power cut may cost the cache, and nothing else
            self._db.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
            self._db.commit()
        except sqlite3.Error:
            self._db = None

    def get(self, key: str) -> str | None:
        with self._lock:
            try:
                row = (
                    self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone() if self._db else None
                )
            except sqlite3.Error:
                return None
        return None if row is None else str(row[0])

    def put(self, key: str, reply: str) -> None:
        with self._lock:
            if self._db is None:
                return
            try:
                self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))
                self._db.execute(
                    "DELETE FROM replies WHERE rowid <= (SELECT max(rowid) FROM replies) - ?", (MAX_REPLIES,)
                )
                self._db.commit()
            except sqlite3.Error:
                self._db.rollback()

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None


def reply_key(
    model: str, messages: Sequence[Message], max_tokens: int, json_schema: Mapping[str, Any] | None = None
) -> str:
    """sha256 of everything that decides a reply at temperature 0."""
    asked = [model, [[one.role, one.content] for one in messages], max_tokens, json_schema]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def cached_vector(cache: ReplyCache, embedder: Embedder, text: str) -> Any:
    """A question's vector, float32 of shape (dim,)."""
    import numpy as np

    key = _key("query", embedder.fingerprint, text)
    with suppress(ValueError):  # a damaged entry counts as none
        known = np.frombuffer(base64.b64decode(cache.get(key) or "", validate=True), "<f4")
        if len(known) == embedder.dim:
            return known
    vector = embedder.embed_queries([text])[0]
    cache.put(key, base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode())
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
        self._chat, self._cache = chat, cache
        self.name = chat.name
        self.n_calls = 0

    def knows(self, messages: Sequence[Message], max_tokens: int, json_schema: Mapping[str, Any] | None = None) -> bool:
        return self._cache.get(reply_key(self.name, messages, max_tokens, json_schema)) is not None

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]:
        """As the model's; only whole replies at temperature 0 are kept."""
        key = reply_key(self.name, messages, max_tokens, json_schema)
        known = self._cache.get(key) if temperature == 0 else None
        if known is not None:
            yield ChatDelta(text=known)
            yield ChatDelta(done=True, finish_reason="stop", usage=Usage(model=self.name))
            return
        self.n_calls += 1
        text = ""
        for delta in self._chat.stream(
            messages, max_tokens=max_tokens, temperature=temperature, json_schema=json_schema, deadline_s=deadline_s
        ):
            text += delta.text
            if delta.done and temperature == 0 and delta.finish_reason == "stop" and text.strip():
                self._cache.put(key, text)
            yield delta

    def close(self) -> None:
        self._chat.close()
