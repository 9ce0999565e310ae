"""The vector store: the home of pymilvus. One schema on the embedded engine and on a server.

A row is a chunk: its vector, its text for Milvus' own BM25, and the fields that filters test. Everything in here can
be rebuilt from the catalog. Nothing outside this file sees a pymilvus class or exception.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from rag.errors import StoreAwayError, StoreError
from rag.filters import literal
from rag.principals import MAX_NAMES
from rag.settings import MOST_CANDIDATES
from rag.text import spaced, stem
from rag.together import Together
from rag.turns import turns

BATCH = 500  # rows per write: the embedded engine collapses at 5,000
MAX_TEXT_BYTES = 60_000  # a VARCHAR holds 65,535 bytes
MAX_META_BYTES = 60_000
MAX_NAME = 100  # bytes of a name on an access list
EQUALS = 32  # rows more than are wanted that are asked for at first, as the last of them may score like others

# One analyzer for both languages: `search_text` puts blanks between words, and what stands between blanks is lower-cased,
# cleared of English stop words and stemmed. Rankings are in docs/benchmarks.md.
ANALYZER: dict[str, Any] = {
    "tokenizer": "whitespace",
    "filter": [
        "lowercase",
        {"type": "stop", "stop_words": ["_english_"]},  # ENGLISH_STOP
        {"type": "stemmer", "language": "english"},
    ],
}
ENGLISH_STOP = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
    "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip
BM25 = {"bm25_k1": 1.2, "bm25_b": 0.75}

# With blanks in place of punctuation "covid" finds "COVID-19", too. Dots inside numbers stay, and so do the marks of C++ and C#.
_PUNCTUATION = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w.+#\s]|_")

PROBE_S = 1.0  # a server that answered so lately is there
PROBE_TIMEOUT_S = 1.0
CONNECT_S = (
    2.0  # for a connection, also for one that is made again inside a call; calls that write try until their time is up
)
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # gRPC goes through these, a bare connection does not

_T = TypeVar("_T")


def search_text(text: str, *, question: bool = False, pairs: bool = True) -> str:
    """The text as full-text search sees it, of chunks and of questions. pairs: of Chinese characters, beside the words."""
    plain = _PUNCTUATION.sub(" ", text)
    for with_pairs in (pairs, False):
        cut = " ".join(spaced(plain, pairs=with_pairs, asking=not question).split())
        encoded = cut.encode("utf-8", "replace")
        if len(encoded) <= MAX_TEXT_BYTES:
            break
    if question and not cut:
        return search_text(text, pairs=pairs)  # it is made of words that ask
    return cut if len(encoded) <= MAX_TEXT_BYTES else encoded[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def search_terms(text: str, *, question: bool = False, dropped: bool = False, pairs: bool = True) -> dict[str, str]:
    """The terms that full-text search compares, as the ANALYZER makes them, each with the word it was made of.

    dropped: with those that it leaves out, too. pairs: of Chinese characters, beside the words.
    """
    shown = search_text(text, question=question and not dropped, pairs=pairs).lower().split()
    found: dict[str, str] = {}
    for word in shown:
        if dropped or word not in ENGLISH_STOP:
            found.setdefault(stem(word), word)
    return found


class MilvusStore:
    """A connection to Milvus. Threads may share it.

    uri: http(s)://host:port, or unix:/path of an embedded server. timeout_s: per call.
    Raises: StoreError for everything that goes wrong there.
    """

    def __init__(self, uri: str, *, token: str = "", timeout_s: float = 10.0) -> None:
        self._uri, self._timeout_s = uri, timeout_s
        self._loaded: dict[str, frozenset[str]] = {}  # index name → its fields
        self._together = {"dense": Together(), "sparse": Together()}
        self._write = threading.RLock()  # one writer and flusher at a time
        self._answered = 0.0  # when a call last came back, on the monotonic clock
        self._client = self._connect(token)

    def _connect(self, token: str) -> Any:
        try:
            _load()
            from pymilvus import MilvusClient

            # A local socket needs no keep-alive, and the embedded engine hangs up on clients that send many pings.
            options = {"grpc_options": {"grpc.keepalive_time_ms": 2**31 - 1}} if self._embedded else {}
            return MilvusClient(self._uri, token=token, timeout=min(self._timeout_s, CONNECT_S), **options)
        except Exception as error:  # pymilvus raises a dozen kinds here, from ValueError to grpc's own
            raise self._unreachable(error) from error

    def close(self) -> None:
        self._call(self._client.close)

    # ------------------------------------------------------------ indexes

    def create(self, index: str, *, dim: int) -> None:
        """Make an empty index; does nothing when it is there."""
        if self._call(self._client.has_collection, index):
            return
        try:
            self._create(index, dim, with_bm25=True)
        except StoreError:
            if self._call(self._client.has_collection, index):
                self._call(self._client.drop_collection, index)
            self._create(index, dim, with_bm25=False)  # a server older than 2.5: dense search only

    def _create(self, index: str, dim: int, *, with_bm25: bool) -> None:
        from pymilvus import DataType, Function, FunctionType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("pk", DataType.VARCHAR, max_length=32, is_primary=True)
        schema.add_field("doc_id", DataType.VARCHAR, max_length=2048)
        schema.add_field("source", DataType.VARCHAR, max_length=8192)
        schema.add_field("title", DataType.VARCHAR, max_length=8192)
        schema.add_field("type", DataType.VARCHAR, max_length=256)
        schema.add_field("page", DataType.INT64)
        schema.add_field("meta", DataType.JSON)
        schema.add_field(
            "acl", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=MAX_NAMES, max_length=MAX_NAME
        )
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dim)
        indexes = MilvusClient.prepare_index_params()
        # FLAT is exact at every filter selectivity and fast enough embedded; a server picks its own graph index. For COSINE
        # the embedded engine works out every row's length at every search: 27 ms for 100,000 rows instead of 17.
        indexes.add_index("dense", index_type="FLAT" if self._embedded else "AUTOINDEX", metric_type="IP", params={})
        if with_bm25:
            schema.add_field(
                "text", DataType.VARCHAR, max_length=65_535, enable_analyzer=True, analyzer_params=ANALYZER
            )
            schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(
                Function(
                    name="bm25",
                    function_type=FunctionType.BM25,
                    input_field_names=["text"],
                    output_field_names=["sparse"],
                )
            )
            indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=BM25)
        self._call(self._client.create_collection, index, schema=schema, consistency_level="Bounded")
        # The embedded engine has made an index when it returns; waiting for it, pymilvus would sleep half a second first.
        self._call(self._client.create_index, index, indexes, sync=not self._embedded)
        self._load(index)

    @property
    def _patience_s(self) -> float:
        """For one write. pymilvus tries again until then, and without a limit 75 times: a full disk would look like a hang.

        A server that restarts needs longer than the embedded engine, which is there or is not.
        """
        return self._timeout_s if self._embedded else max(self._timeout_s, 120.0)

    @property
    def _embedded(self) -> bool:
        return self._uri.startswith("unix:")

    def exists(self, index: str) -> bool:
        return bool(self._call(self._client.has_collection, index))

    def has_bm25(self, index: str) -> bool:
        return "sparse" in self._fields(index)

    def drop(self, index: str) -> None:
        self._loaded.pop(index, None)
        self._call(self._client.drop_collection, index)

    def indexes(self, prefix: str) -> list[str]:
        return [name for name in self._call(self._client.list_collections) if name.startswith(prefix)]

    def _load(self, index: str) -> None:
        """An index is released when an engine starts; searching needs it loaded."""
        if index in self._loaded:
            return
        self._call(self._client.load_collection, index)
        fields = self._call(self._client.describe_collection, index)["fields"]
        self._loaded[index] = frozenset(field["name"] for field in fields)

    def _fields(self, index: str) -> frozenset[str]:
        self._load(index)
        return self._loaded[index]

    def _readable(self, index: str, expression: str, readers: Sequence[str] | None) -> str:
        """The filter with what the readers may see. Raises StoreError for an index from before there were access lists."""
        if readers is None:
            return expression
        if "acl" not in self._fields(index):
            raise StoreError(
                "This collection's index was written before there were access lists. Run `ragstone reindex` to build it again."
            )
        allowed = f"array_contains_any(acl, [{', '.join(literal(name) for name in readers)}])"
        return f"({expression}) and {allowed}" if expression else allowed

    # ------------------------------------------------------------ rows

    def upsert(self, index: str, rows: Sequence[Mapping[str, Any]], vectors: Sequence[np.ndarray]) -> None:
        """Write rows {pk, doc_id, source, title, type, page, meta, text}; equal keys are replaced, the last row counts.

        When this returns, the rows are flushed and have been counted.
        """
        with self._write:
            fields = self._fields(index)
            last = {str(row["pk"]): (row, vector) for row, vector in zip(rows, vectors, strict=True)}
            keys = list(last)
            # The embedded engine's upsert marks rows as deleted that never were there, and takes the longer the larger the
            # index is: 144 ms for 500 rows at 10,000, 334 at 60,000; its insert takes 125 at both.
            replaced = self.present(index, keys) if self._embedded else set(keys)
            for write, mine in (
                (self._client.insert, [pk for pk in keys if pk not in replaced]),
                (self._client.upsert, [pk for pk in keys if pk in replaced]),
            ):
                for start in range(0, len(mine), BATCH):
                    batch = [_row(*last[pk], fields) for pk in mine[start : start + BATCH]]
                    self._call(write, index, batch, timeout=self._patience_s)
            self._call(self._client.flush, index, timeout=self._patience_s)
            missing = len(keys) - len(self.present(index, keys))
        if missing:
            raise StoreError(
                f"Milvus acknowledged {len(rows)} rows but {missing} of them are not there. Run `ragstone verify --repair`."
            )

    def present(self, index: str, pks: Sequence[str]) -> set[str]:
        """Which of these keys the index holds."""
        self._load(index)
        found: set[str] = set()
        for start in range(0, len(pks), BATCH):
            batch = [_hex(pk) for pk in pks[start : start + BATCH]]
            expression = "pk in [" + ",".join(f'"{pk}"' for pk in batch) + "]"
            rows = self._call(
                self._client.query,
                index,
                filter=expression,
                output_fields=["pk"],
                limit=len(batch),
                consistency_level="Strong",
            )
            found.update(row["pk"] for row in rows)
        return found

    def delete(self, index: str, pks: Sequence[str]) -> None:
        with self._write:
            self._load(index)
            for start in range(0, len(pks), BATCH):
                keys = [_hex(pk) for pk in pks[start : start + BATCH]]
                self._call(self._client.delete, index, ids=keys, timeout=self._patience_s)

    def flush(self, index: str) -> None:
        with self._write:
            self._call(self._client.flush, index, timeout=self._patience_s)

    def keys(self, index: str) -> Iterator[str]:
        """Every key in the index, in ascending order."""
        self._load(index)
        last = ""
        while True:
            expression = f'pk > "{last}"'
            rows = self._call(
                self._client.query,
                index,
                filter=expression,
                output_fields=["pk"],
                limit=MOST_CANDIDATES,
                consistency_level="Strong",
            )
            batch = sorted(row["pk"] for row in rows)
            yield from batch
            if len(batch) < MOST_CANDIDATES:
                return
            last = batch[-1]

    # ------------------------------------------------------------ search

    def dense(
        self, index: str, vector: np.ndarray, *, depth: int, expression: str = "", readers: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The nearest rows by cosine, best first, as (key, cosine). readers: names on access lists; None: all rows."""
        self._check_there()
        expression = self._readable(index, expression, readers)
        self._load(index)
        return self._search(index, _unit(vector).tolist(), "dense", depth, expression)

    def bm25(
        self, index: str, query: str, *, depth: int, expression: str = "", readers: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The best rows by BM25 (k1 1.2, b 0.75), best first, as (key, score > 0); rows without a common word are left out."""
        self._check_there()
        expression = self._readable(index, expression, readers)
        if not self.has_bm25(index):
            raise StoreError("This Milvus server has no full-text search. Use version 2.5 or newer, or --mode dense.")
        text = search_text(query, question=True)
        if not text.strip():
            return []
        try:
            return self._search(index, text, "sparse", depth, expression)
        except StoreError as error:
            if "NaN or Inf" in str(error):  # the engine divides by the mean length of rows, and there has been none yet
                return []
            raise

    def _search(self, index: str, asked: Any, field: str, depth: int, expression: str) -> list[tuple[str, float]]:
        """The best `depth` rows, equal scores by key.

        The engine gives any of the rows with equal scores where it cuts, and others for another depth: it is asked on until
        all that are as good as the last one are there.
        """
        wanted = depth + EQUALS
        while True:
            wanted = min(wanted, MOST_CANDIDATES)
            found = self._found(index, asked, field, wanted, expression)
            found.sort(key=lambda one: (-one[1], one[0]))
            are_all = len(found) < wanted or wanted == MOST_CANDIDATES
            if are_all or found[-1][1] < found[depth - 1][1]:
                return found[:depth]
            wanted *= 4

    def _found(self, index: str, asked: Any, field: str, depth: int, expression: str) -> list[tuple[str, float]]:
        def ask(data: list[Any]) -> Any:
            return self._call(  # measured as the index says: older ones say COSINE
                self._client.search, index, data=data, anns_field=field, limit=depth, filter=expression, patience_s=0.0
            )

        def ask_loaded(data: list[Any]) -> Any:
            try:
                return ask(data)
            except StoreError:
                if index in self._loaded:
                    raise
                self._load(index)  # a server that started again does not hold it any more
                return ask(data)

        if self._embedded:
            hits = self._together[field].ask((index, depth, expression), asked, ask_loaded)
        else:
            hits = ask_loaded([asked])[0]
        return list(zip(hits.ids, map(float, hits.distances), strict=True))

    # ------------------------------------------------------------ calls

    def _call(
        self, function: Callable[..., _T], *arguments: Any, patience_s: float | None = None, **options: Any
    ) -> _T:
        """Call pymilvus; its exceptions become StoreError, a moment's absence of the server is waited out.

        patience_s: how long; None: the timeout.
        """
        from pymilvus.exceptions import MilvusException

        deadline = time.monotonic() + (self._timeout_s if patience_s is None else patience_s)
        while True:
            try:
                with turns.waiting():
                    result = function(*arguments, **options)
                self._answered = time.monotonic()
                return result
            except MilvusException as error:
                if "released" in str(error) or "not loaded" in str(error).lower():
                    self._loaded.clear()
                if _is_connection(error):
                    if time.monotonic() < deadline and _may_return(error):
                        time.sleep(0.2)
                        continue
                    raise self._unreachable(error) from error
                raise StoreError(f"Milvus refused a call: {_first_line(error)}.") from error
            except Exception as error:  # grpc errors, closed channels: all the same to a caller
                raise self._unreachable(error) from error

    def _check_there(self) -> None:
        """Raises StoreAwayError at once where nobody listens: pymilvus would try for its whole timeout, and a person waits."""
        if time.monotonic() - self._answered < PROBE_S or any(os.environ.get(name) for name in _PROXIES):
            return
        try:
            if self._embedded:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(PROBE_TIMEOUT_S)
                    probe.connect(self._uri.removeprefix("unix:"))
            else:
                url = urlsplit(self._uri)
                port = url.port or (443 if url.scheme == "https" else 19530)
                socket.create_connection((url.hostname or "", port), timeout=PROBE_TIMEOUT_S).close()
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> StoreAwayError:
        if self._embedded:
            return StoreAwayError(
                f"The embedded Milvus stopped answering ({_first_line(error)}). Run the command again; if it persists, `ragstone doctor`."
            )
        return StoreAwayError(
            f"Milvus at {self._uri} cannot be reached ({_first_line(error)}). Start it, or correct milvus.uri; "
            "empty uses the embedded one."
        )


_loading = threading.Lock()  # the environment and the library are all threads'


def _load() -> None:
    """Import pymilvus as we want it, in one thread at a time: two homes may be opened at once."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its log lines are no messages for people
    with _loading:
        with _without_milvus_uri():
            import pymilvus  # noqa: F401

        # Its import sets levels, and it logs a traceback per error.
        for name in ("pymilvus", "pymilvus.milvus_client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _trust_strings()
        _without_sparse_matrices()


def _trust_strings() -> None:
    """pymilvus checks a row's strings one character at a time, in Python: a third of our part of a write. We cut them ourselves."""
    from pymilvus.client import entity_helper

    if hasattr(entity_helper, "CHECK_STR_ARRAY"):  # an internal: where it is gone, so may be the check
        entity_helper.CHECK_STR_ARRAY = False


def _without_sparse_matrices() -> None:
    """Keep pymilvus from looking for scipy.sparse, which no row of ours holds.

    It loads a second copy of that package past Python's import lock: when a model's library imports the package at the same
    moment in another thread, one of the two fails ("Unexpected error, message=<'scipy.sparse'>"). And it takes 0.2 s.
    """
    from pymilvus.client.utils import SciPyHelper

    if hasattr(SciPyHelper, "_checked"):
        SciPyHelper._checked = True


@contextmanager
def _without_milvus_uri() -> Iterator[None]:
    """pymilvus reads MILVUS_URI while it is imported and fails when that names a file; our setting is milvus.uri."""
    before = os.environ.get("MILVUS_URI")
    os.environ["MILVUS_URI"] = ""
    try:
        yield
    finally:
        del os.environ["MILVUS_URI"]
        if before is not None:
            os.environ["MILVUS_URI"] = before


def _row(row: Mapping[str, Any], vector: np.ndarray, fields: frozenset[str]) -> dict[str, Any]:
    out = {
        "pk": _hex(str(row["pk"])), "doc_id": _cut(row["doc_id"], 2048), "source": _cut(row["source"], 8192),
        "title": _cut(row["title"], 8192), "type": _cut(row["type"], 256), "page": int(row["page"] or 0),
        "meta": dict(row["meta"]), "dense": _unit(vector),
    }  # fmt: skip
    if "acl" in fields:
        out["acl"] = list(row.get("acl", ()))  # a row without a list is the owner's alone
    if "sparse" in fields:
        out["text"] = search_text(str(row["text"]))
    return out


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1, in float32: its inner products are cosines. A zero vector stays one."""
    plain: np.ndarray = np.asarray(vector, np.float32)
    unit: np.ndarray = plain / np.float32(float(np.linalg.norm(plain)) or 1.0)
    return unit


def _cut(text: str, n_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= n_bytes and encoded.isascii() else encoded[:n_bytes].decode("utf-8", "ignore")


def _hex(pk: str) -> str:
    """pymilvus pastes keys into expressions unescaped, so nothing but our own hexadecimal keys may get there."""
    if not re.fullmatch(r"[0-9a-f]{32}", pk):
        raise StoreError(f"{pk!r} is not a row key.")
    return pk


def _is_connection(error: Exception) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in ("connect", "unavailable", "timeout", "deadline", "socket closed", "channel"))


def _may_return(error: Exception) -> bool:
    return "unavailable" in str(error).lower() and "deadline" not in str(error).lower()


def _first_line(error: Exception) -> str:
    message = getattr(error, "message", "") or str(error)
    return message.strip().splitlines()[0][:200].rstrip(". ") if message.strip() else type(error).__name__
