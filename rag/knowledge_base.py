"""KnowledgeBase: a collection of documents that can be searched and asked. The composition root: concrete parts meet here.

CLI, page, evaluation and tests all open this class, so what is measured is what ships. Parts are opened when first
needed: listing documents starts no model, and a keyword search starts no embedder.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import (
    DiskError,
    FingerprintError,
    LockedError,
    SettingsError,
    StoreError,
    UsageError,
    disk_error,
    disk_full,
)  # fmt: skip
from rag.settings import Settings
from rag.trace import Trace
from rag.types import Answer, ChatModel, Chunk, DocumentInfo, Embedder, Event, Hits, IngestReport

if TYPE_CHECKING:
    from rag.catalog import Catalog, Collection
    from rag.filters import Expr
    from rag.ingest import Progress
    from rag.lite import LiteServer
    from rag.store import MilvusStore
    from rag.verify import Verification, VerifyParts

MODES = ("hybrid", "dense", "bm25")
PROBE_TEXT = "The probe text by which ragstone recognises an embedding model. 用来识别嵌入模型的探测文本。"
PROBE_COSINE = 0.995
LOCK_WAIT_S = 1.0
MAX_TOP_K = 16_384
CLOCK_SLACK_S = 2.0  # clocks are trimmed by so much all the time
CLOCK_WARNING = (
    "The clock stands earlier than when this collection was last written, and passages may be missing. "
    "Set the clock, or import again: the index is then written anew."
)
MIN_OPEN_FILES = 64
FULL_BYTES = 16_000_000  # with less than that free, a write of the embedded engine may not fit


class KnowledgeBase:
    """Documents in, ranked hits and cited answers out. Use as a context manager; threads may share it.

    >>> with KnowledgeBase.open("./kb") as kb:
    ...     kb.ingest("docs/")
    ...     kb.ask("how is overlap counted?").text
    """

    def __init__(
        self, home: Path, settings: Settings, collection: str, notify: Callable[[str], None] | None = None
    ) -> None:
        self.home, self.settings, self.collection = home, settings, collection
        self._notify = notify or (lambda _message: None)
        self._lock = threading.RLock()
        self._catalog: Catalog | None = None
        self._lite: LiteServer | None = None
        self._store: MilvusStore | None = None
        self._embedder: Embedder | None = None
        self._chat: ChatModel | None = None
        self._chat_opened = False
        self._checked = ""  # collection whose embedding model was compared

    @classmethod
    def open(
        cls,
        home: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        collection: str = "default",
        notify: Callable[[str], None] | None = None,
    ) -> KnowledgeBase:
        """Open a home folder, made when it is not there.

        home: a folder, or the URI of a Milvus server (the catalog then lies in the default home);
            left out: $RAGSTONE_HOME, else ./.ragstone.
        notify: receives a sentence when something slow starts, such as the first calibration.
        Raises: SettingsError; UsageError for a bad collection name or a home that cannot be written.
        """
        settings = settings or Settings.load()
        if isinstance(home, str) and home.startswith(("http://", "https://", "tcp://")):
            settings, home = settings.with_values(milvus__uri=home), None
        folder = (
            Path(home if home is not None else os.environ.get("RAGSTONE_HOME") or ".ragstone").expanduser().absolute()
        )
        _check_collection(collection)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"The home folder {folder} cannot be made ({error.strerror}). Choose another with --home."
            ) from error
        if not os.access(folder, os.W_OK):  # false on a read-only disk, too
            raise UsageError(
                f"The home folder {folder} is not writable. Choose another with --home, or change its permissions."
            )
        return cls(folder, settings, collection, notify)

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        with self._lock:
            for part in (self._chat, self._store, self._lite, self._catalog):
                if part is not None:
                    part.close()
            self._chat = self._store = self._lite = self._catalog = None
            self._chat_opened, self._checked = False, ""

    # ------------------------------------------------------------ documents

    def ingest(
        self,
        sources: Any,
        *,
        prune: bool = False,
        dry_run: bool = False,
        chunk_size: int | None = None,
        overlap: int | None = None,
        workers: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Import or update documents; what is unchanged costs nothing, and a run that was stopped goes on.

        sources: a path, paths of files and folders, a Document, or an iterable of Document.
        prune: delete documents that lay under these paths and are gone.
        Raises: SourceError, LockedError, StoreError, FingerprintError, ModelError. Documents that cannot be read do
            not raise; they are listed in the report's failures.
        """
        from rag.ingest import IngestOptions, IngestParts, ingest

        settings = self.settings
        changes = {"chunk__size": chunk_size, "chunk__overlap": overlap, "parse__workers": workers}
        settings = settings.with_values(**{key: value for key, value in changes.items() if value is not None})
        options = IngestOptions(chunk=settings.chunk, parse=settings.parse, prune=prune, dry_run=dry_run)
        if dry_run:
            parts = IngestParts(
                catalog=self.catalog, store=None, embedder=self.embedder, collection=self.collection, index=""
            )
            return ingest(sources, parts=parts, options=options, progress=progress)
        with self._writing():
            collection = self._ensure_collection()
            self._follow_clock(collection)
            parts = IngestParts(
                catalog=self.catalog, store=self.store, embedder=self.embedder, collection=self.collection,
                index=self._index(collection.generation),
            )  # fmt: skip
            report = ingest(sources, parts=parts, options=options, progress=progress)
            self.catalog.note_write(self.collection, time.time())
            return report

    def documents(self, doc_id: str | None = None) -> list[DocumentInfo]:
        """The documents of the collection, in order of their source; with `doc_id` that one alone."""
        return self.catalog.documents(self.collection, doc_id)

    def text(self, doc_id: str) -> str:
        """A document's text as it was extracted; citations' offsets count in it. Raises UsageError for an unknown id."""
        text = self.catalog.text(self.collection, doc_id)
        if text is None:
            raise UsageError(
                f"There is no document {doc_id!r} in collection {self.collection}. `ragstone docs list` shows all."
            )
        return text

    def chunks(self, doc_id: str) -> list[Chunk]:
        """A document's chunks, in order."""
        return self.catalog.chunks(self.collection, doc_id)

    def delete(self, *doc_ids: str) -> int:
        """Remove documents by doc_id or source: gone from every search when this returns. Returns how many there were."""
        from rag.ingest import sweep

        with self._writing():
            by_source = {info.source: info.doc_id for info in self.documents()}
            wanted = [by_source.get(name, name) for name in doc_ids]
            n_deleted = self.catalog.delete(self.collection, wanted)
            if n_deleted and (collection := self.catalog.collection(self.collection)):
                sweep(self.catalog, self.store, self.collection, self._index(collection.generation))
                self.catalog.drop_unused_vectors()
        return n_deleted

    def collections(self) -> list[str]:
        return self.catalog.collections()

    # ------------------------------------------------------------ search and ask

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: str | None = None,
        filter: str | None = None,
        mmr: float | None = None,
        explain: bool = False,
    ) -> Hits:
        """The best chunks for a query.

        mode: hybrid, dense or bm25. filter: as in rag/filters.py. mmr: λ from 0 (most diverse) to 1 (off).
        explain: put each step's candidates into the trace.
        Raises: UsageError, FilterError, StoreError, FingerprintError, ModelError.
        """
        return self._search(query, Trace(), top_k=top_k, mode=mode, filter=filter, mmr=mmr, explain=explain)

    def ask(self, question: str, **options: Any) -> Answer:
        """A cited answer; takes the options of `search`. Raises what `search` raises; a failing chat model does not raise."""
        for event in self.stream(question, **options):
            if event.answer is not None:
                return event.answer
        raise StoreError("The answer did not arrive. Please report this.")  # answer_events always ends with one

    def stream(self, question: str, **options: Any) -> Iterator[Event]:
        """The events of an answer: steps, pieces of text, and at the end the whole Answer with its citations."""
        from rag.answering import answer_events

        trace = Trace()
        hits = self._search(question, trace, **options)
        for step in trace.steps:
            yield Event(kind="step", step=step)
        with trace.span("chat model"):
            chat = self.chat if len(hits) else None  # nothing to read: no model is needed to say so
        events = answer_events(
            question,
            hits,
            chat=chat,
            settings=self.settings.answer,
            trace=trace,
            deadline_s=self.settings.llm.deadline_s,
        )
        for event in events:
            if event.answer is not None and hits.warnings:
                event = replace(event, answer=replace(event.answer, warnings=hits.warnings + event.answer.warnings))
            yield event

    def _search(
        self,
        query: str,
        trace: Trace,
        *,
        top_k: int | None = None,
        mode: str | None = None,
        filter: str | None = None,
        mmr: float | None = None,
        explain: bool = False,
    ) -> Hits:
        from rag import filters, pipeline

        defaults = self.settings.search
        options = pipeline.SearchOptions(
            retrievers=_weights(mode or defaults.mode, defaults.dense_weight),
            top_k=_check_top_k(defaults.top_k if top_k is None else top_k),
            depth=defaults.depth, fusion=defaults.fusion, rrf_k=defaults.rrf_k, mmr=_check_mmr(mmr),
            filter=filters.parse(filter) if filter and filter.strip() else None, explain=explain,
        )  # fmt: skip
        collection = self.catalog.collection(self.collection)
        if collection is None:
            pipeline.check_query(query)
            return Hits(
                (), warnings=(f"Collection {self.collection} is empty. Import something: ragstone ingest PATH",)
            )
        hits = pipeline.search(query, parts=self._search_parts(collection), options=options, trace=trace)
        return replace(hits, warnings=(*hits.warnings, CLOCK_WARNING)) if self._clock_went_back() else hits

    def _search_parts(self, collection: Collection) -> Any:
        from rag.pipeline import SearchParts

        catalog, name = self.catalog, self.collection
        return SearchParts(
            retrievers=self._retrievers(collection),
            live=lambda pks: catalog.live_rows(name, pks),
            load=lambda pks: catalog.live_chunks(name, pks),
            vectors=catalog.vectors,
        )

    def _retrievers(self, collection: Collection) -> Mapping[str, Any]:
        from rag.filters import to_milvus

        store, index = self.store, self._index(collection.generation)

        def dense(query: str, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            vector = self._query_embedder(collection).embed_queries([query])[0]
            return store.dense(index, vector, depth=depth, expression=to_milvus(where) if where else "")

        def bm25(query: str, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            return store.bm25(index, query, depth=depth, expression=to_milvus(where) if where else "")

        return {"dense": dense, "bm25": bm25}

    # ------------------------------------------------------------ verify

    def verify(self, *, repair: bool = False) -> Verification:
        """Compare the catalog with the index. With `repair` the index is made to agree; nothing is embedded again."""
        from rag.verify import Verification, verify

        with self._writing():
            collection = self.catalog.collection(self.collection)
            if collection is None:
                return Verification(problems=())
            return verify(self._verify_parts(collection), repair=repair)

    def _verify_parts(self, collection: Collection) -> VerifyParts:
        from rag.verify import VerifyParts

        return VerifyParts(
            catalog=self.catalog,
            store=lambda: self.store,
            embedder=lambda: self.embedder,
            set_aside=None if self.settings.milvus.uri else self._set_aside,
            collection=self.collection,
            index=self._index(collection.generation),
            dim=collection.dim,
        )

    def _follow_clock(self, collection: Collection) -> None:
        """Write the index anew when the clock was set back since it was last written, and note the time.

        The embedded engine stamps rows with the clock's time and shows none that is later than now: rows written before
        would stay hidden, and with them all that follow.
        """
        from rag.verify import verify

        if self._clock_went_back():
            self._notify("The clock was set back since the last import; the index is written anew.")
            self.store.drop(self._index(collection.generation))
            verify(self._verify_parts(collection), repair=True)
        self.catalog.note_write(self.collection, time.time())

    def _clock_went_back(self) -> bool:
        return not self.settings.milvus.uri and time.time() < self.catalog.last_write(self.collection) - CLOCK_SLACK_S

    def _set_aside(self) -> None:
        """Move a database file that the embedded engine cannot open out of the way; the index is then written anew."""
        with self._lock:
            if self._store is not None:
                self._store.close()
            if self._lite is not None:
                self._lite.close()
            self._store = self._lite = None
        path = self.home / "milvus.db"
        if path.exists():
            path.replace(path.with_name(f"milvus.db.damaged-{int(time.time())}"))

    # ------------------------------------------------------------ parts

    @property
    def catalog(self) -> Catalog:
        with self._lock:
            if self._catalog is None:
                from rag.catalog import Catalog

                self._catalog = Catalog(self.settings.catalog.url or self.home / "catalog.sqlite3")
            return self._catalog

    @property
    def store(self) -> MilvusStore:
        with self._lock:
            if self._store is None:
                from rag.lite import LiteServer
                from rag.store import MilvusStore

                settings = self.settings.milvus
                if settings.uri.endswith(".db"):
                    raise SettingsError(
                        f"milvus.uri names a server, such as http://localhost:19530, not a file ({settings.uri}). Leave it empty "
                        "for the embedded store, which lies in the home folder."
                    )
                if not settings.uri:
                    self._lite = LiteServer(self.home)
                uri = settings.uri or self._lite.uri  # type: ignore[union-attr]
                self._store = MilvusStore(uri, token=settings.token.get_secret_value(), timeout_s=settings.timeout_s)
            return self._store

    @property
    def embedder(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                from rag.embedding import open_embedder

                self._embedder = open_embedder(self.settings.embedding, self.settings.models, notify=self._notify)
            return self._embedder

    @property
    def chat(self) -> ChatModel | None:
        """The chat model the settings name; None when there is none, and answers are then extractive."""
        with self._lock:
            if not self._chat_opened:
                from rag.chat_models import open_chat

                self._chat, self._chat_opened = open_chat(self.settings, notify=self._notify), True
            return self._chat

    # ------------------------------------------------------------ inside

    def _index(self, generation: int) -> str:
        """Name of the collection's index in Milvus: letters, digits and _ whatever the collection is called."""
        safe = "".join(char if char.isascii() and char.isalnum() else f"_{ord(char):x}_" for char in self.collection)
        return f"{self.settings.milvus.prefix}_{self.catalog.catalog_id}_{safe[:150]}_{generation}"

    def _ensure_collection(self) -> Collection:
        """The collection's record and its index, made when they are not there."""
        from rag.catalog import Collection

        collection = self.catalog.collection(self.collection)
        if collection is None:
            embedder = self.embedder
            probe = embedder.embed_passages([PROBE_TEXT])[0]
            collection = Collection(
                name=self.collection,
                generation=1,
                fingerprint=embedder.fingerprint,
                model=embedder.name,
                dim=embedder.dim,
                probe=probe,
            )
            self.catalog.add_collection(collection)
        self._query_embedder(collection)
        self.store.create(self._index(collection.generation), dim=collection.dim)
        return collection

    def _query_embedder(self, collection: Collection) -> Embedder:
        """The embedder, once it is shown to be the one that the collection was built with."""
        embedder = self.embedder
        if self._checked == collection.name:
            return embedder
        same = embedder.fingerprint == collection.fingerprint
        if not same or (
            collection.probe is not None
            and _cosine(embedder.embed_passages([PROBE_TEXT])[0], collection.probe) < PROBE_COSINE
        ):
            other = (
                "other files, prefixes or limits of that model" if embedder.name == collection.model else embedder.name
            )
            raise FingerprintError(
                f"Collection {collection.name} was built with the embedding model {collection.model} ({collection.dim} dimensions); the settings "
                f"name {other}, whose vectors do not fit. Set [embedding] as it was, or import into another --collection."
            )
        self._checked = collection.name
        return embedder

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer per home. Raises LockedError, naming the process that writes, after a second."""
        from filelock import FileLock, Timeout

        _check_open_files()
        owner = self.home / "writer.pid"
        lock = FileLock(self.home / "writer.lock")
        try:
            with lock.acquire(timeout=LOCK_WAIT_S):
                owner.write_text(str(os.getpid()))
                yield
        except Timeout:
            pid = owner.read_text().strip() if owner.exists() else "unknown"
            raise LockedError(
                f"Another import is writing to {self.home} (process {pid}). Wait for it to end, or use another --home."
            ) from None
        except Exception as error:
            if (explained := self._disk_error(error)) is not None:
                raise explained from error
            raise

    def _disk_error(self, error: Exception) -> DiskError | None:
        """The full or failing disk behind an error, which is what a person can do something about."""
        if isinstance(error, StoreError) and self._lite is not None and shutil.disk_usage(self.home).free < FULL_BYTES:
            return disk_full(str(self.home))  # the engine does not say why: "Unexpected error in RPC handling"
        return None if isinstance(error, DiskError) else disk_error(error, self.home)


def _weights(mode: str, dense_weight: float) -> dict[str, float]:
    if mode == "hybrid":
        return {"dense": dense_weight, "bm25": 1.0 - dense_weight}
    if mode in MODES:
        return {mode: 1.0}
    raise UsageError(f"Unknown mode {mode!r}. Known: {', '.join(MODES)}.")


def _check_top_k(top_k: int) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= MAX_TOP_K:
        raise UsageError(f"top_k must be a whole number from 1 to {MAX_TOP_K}, not {top_k!r}.")
    return top_k


def _check_mmr(trade_off: float | None) -> float | None:
    if trade_off is not None and not 0.0 <= trade_off <= 1.0:
        raise UsageError(f"MMR's λ must lie between 0 and 1, not {trade_off}.")
    return trade_off


def _check_collection(name: str) -> None:
    if not name.strip() or len(name) > 100 or any(ord(char) < 32 for char in name):
        raise UsageError(f"A collection's name must have 1 to 100 printable characters, not {name!r}.")


def _check_open_files() -> None:
    """Say it now when there are too few files to be had: later the lack shows as any other error."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < MIN_OPEN_FILES:
        raise DiskError(
            f"This process may open {limit} files; an import needs {MIN_OPEN_FILES}. Raise the limit, such as with `ulimit -n 1024`."
        )


def _cosine(left: Any, right: Sequence[float] | Any) -> float:
    import numpy as np

    return float(np.dot(left, right) / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1e-12))
