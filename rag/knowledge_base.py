"""KnowledgeBase: a collection of documents that can be searched and asked. The composition root: concrete parts meet here.

CLI, page, evaluation and tests all open this class, so what is measured is what ships. Parts are opened when first
needed: listing documents starts no model, and a keyword search starts no embedder.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import FingerprintError, LockedError, SettingsError, StoreError, UsageError
from rag.settings import Settings
from rag.trace import Trace
from rag.types import (
    Answer,
    Block,
    ChatModel,
    Chunk,
    DocumentInfo,
    Embedder,
    Event,
    Hits,
    IngestReport,
    Query,
    Reranker,
)

if TYPE_CHECKING:
    from rag import pipeline
    from rag.catalog import Catalog, Collection
    from rag.duplicates import DuplicateGroup
    from rag.filters import Expr
    from rag.ingest import Progress
    from rag.lite import LiteServer
    from rag.store import MilvusStore
    from rag.understanding import UnderstandOptions, Understood
    from rag.verify import Verification

MODES = ("hybrid", "dense", "bm25", "auto")
PROBE_TEXT = "The probe text by which ragstone recognises an embedding model. 用来识别嵌入模型的探测文本。"
PROBE_COSINE = 0.995
LOCK_WAIT_S = 1.0
MAX_TOP_K = 16_384
SUB_QUESTION_HITS = 5
_NO_UNDERSTANDING: dict[str, Any] = {
    "rewrite": False, "multi_query": 0, "hyde": 0, "decompose": False, "step_back": False, "translate": False, "auto_filter": False,
}  # fmt: skip


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
        self._reranker: Reranker | None = None
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
        if not os.access(folder, os.W_OK):
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
            self._chat_opened, self._checked, self._reranker = False, "", None

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
            parts = IngestParts(
                catalog=self.catalog, store=self.store, embedder=self.embedder, collection=self.collection,
                index=self._index(collection.generation),
            )  # fmt: skip
            return ingest(sources, parts=parts, options=options, progress=progress)

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

    def blocks(self, doc_id: str) -> list[Block]:
        """Where headings, tables and paragraphs of a document's text lie, in order."""
        return self.catalog.blocks(self.collection, doc_id)

    def chunks(self, doc_id: str) -> list[Chunk]:
        """A document's chunks, in order."""
        return self.catalog.chunks(self.collection, doc_id)

    def near_duplicates(self, threshold: float = 0.9) -> list[DuplicateGroup]:
        """Groups of documents that say almost the same: each shares `threshold` of its words in a row with another one.

        Raises: UsageError for a threshold that is not from 0.3 to 1.
        """
        from rag.duplicates import grouped, near_duplicates

        def load(doc_id: str) -> str:
            return self.catalog.text(self.collection, doc_id) or ""

        pairs = near_duplicates(self.catalog.live_texts(self.collection), load=load, threshold=threshold)
        return grouped(pairs, self.documents())

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

    def search(self, query: str, **options: Any) -> Hits:
        """The best chunks for a query.

        Options, each with its default in the settings:
        top_k: how many. mode: hybrid, dense or bm25; auto searches hybrid and asks the chat model for more only where
            that did not find enough. filter: as in rag/filters.py. mmr: λ from 0 (most diverse) to 1 (off).
        rewrite, decompose, step_back, translate, auto_filter (bool), multi_query, hyde (how many): what the chat model
            does with the question first. rerank: False leaves the reranker out, True demands one.
        history: (question, answer) pairs of the conversation so far. explain: each step's candidates in the trace.
        Raises: UsageError, FilterError, StoreError, FingerprintError, ModelError.
        """
        return self._search(query, Trace(), **options)

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
            hits.question or question,
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
        rerank: bool | None = None,
        explain: bool = False,
        history: Sequence[tuple[str, str]] = (),
        **understanding: Any,
    ) -> Hits:
        from rag import filters, pipeline, routing

        defaults, chosen = self.settings.search, mode or self.settings.search.mode
        wanted = self._understanding(understanding, history)
        reranker = self._reranker_for(rerank)
        options = pipeline.SearchOptions(
            retrievers=_weights("hybrid" if chosen == "auto" else chosen, defaults.dense_weight),
            top_k=_check_top_k(defaults.top_k if top_k is None else top_k),
            depth=defaults.depth, fusion=defaults.fusion, rrf_k=defaults.rrf_k, mmr=_check_mmr(mmr),
            rerank_depth=self.settings.rerank.depth if reranker else 0, rerank_weight=self.settings.rerank.weight,
            rerank_threshold=self.settings.rerank.threshold,
            filter=filters.parse(filter) if filter and filter.strip() else None, explain=explain,
        )  # fmt: skip
        pipeline.check_query(query)
        collection = self.catalog.collection(self.collection)
        if collection is None:
            return Hits(
                (), warnings=(f"Collection {self.collection} is empty. Import something: ragstone ingest PATH",)
            )
        parts = self._search_parts(collection, wanted, reranker)
        if chosen != "auto":
            return pipeline.search(query, parts=parts, options=options, trace=trace)
        more = replace(parts, understand=self._planner(collection, routing.escalated(query, wanted)))
        return routing.search(query, parts=parts, escalated=more, options=options, trace=trace)

    def _understanding(self, given: Mapping[str, Any], history: Sequence[tuple[str, str]]) -> UnderstandOptions:
        """What the caller asked for, else what the settings say. Raises UsageError for an unknown option."""
        from rag import prompts
        from rag.understanding import UnderstandOptions

        names = ("rewrite", "multi_query", "hyde", "decompose", "step_back", "translate", "auto_filter")
        if unknown := sorted(given.keys() - set(names)):
            raise UsageError(
                f"search() has no option {unknown[0]!r}. Known: {', '.join(names)}, and those of its help."
            )
        values = {name: getattr(self.settings.understand, name) for name in names}
        values |= {name: value for name, value in given.items() if value is not None}
        for name in ("multi_query", "hyde"):
            if not isinstance(values[name], int) or not 0 <= values[name] <= prompts.MOST_ITEMS:
                raise UsageError(f"{name} must be a whole number from 0 to {prompts.MOST_ITEMS}, not {values[name]!r}.")
        return UnderstandOptions(history=tuple((asked, answered) for asked, answered in history), **values)

    def _reranker_for(self, wanted: bool | None) -> Reranker | None:
        if wanted is False:
            return None
        if wanted and not self.settings.rerank.model:
            raise UsageError(
                "Reranking was asked for, but rerank.model is empty. Name a cross-encoder (a folder or a hub name), or "
                '"chat" for the chat model: --set rerank.model=chat'
            )
        return self.reranker

    def _search_parts(
        self, collection: Collection, wanted: UnderstandOptions, reranker: Reranker | None
    ) -> pipeline.SearchParts:
        from rag.pipeline import SearchParts

        catalog, name = self.catalog, self.collection
        return SearchParts(
            retrievers=self._retrievers(collection),
            live=lambda pks: catalog.live_rows(name, pks),
            load=lambda pks: catalog.live_chunks(name, pks),
            vectors=catalog.vectors,
            understand=self._planner(collection, wanted) if wanted.needs_chat else None,
            reranker=reranker,
        )

    def _planner(self, collection: Collection, wanted: UnderstandOptions) -> Callable[[str, Trace], Understood]:
        """Plans the queries of a question with the chat model, which is opened when it is first needed."""
        from rag.understanding import UnderstandParts, understand

        def plan(question: str, trace: Trace) -> Understood:
            parts = UnderstandParts(
                chat=self.chat,
                deadline_s=self.settings.understand.deadline_s,
                fields=lambda: self.catalog.field_values(collection.name),
                answer=self._short_answer,
            )
            return understand(question, parts=parts, options=wanted, trace=trace)

        return plan

    def _short_answer(self, question: str) -> str:
        """A sub-question answered from the documents; "" when they do not say."""
        from rag.answering import short_answer

        hits = self._search(
            question, Trace(), top_k=SUB_QUESTION_HITS, mode="hybrid", rerank=False, **_NO_UNDERSTANDING
        )
        return short_answer(
            question,
            hits,
            chat=self.chat,
            settings=self.settings.answer,
            deadline_s=self.settings.understand.deadline_s,
        )

    def _retrievers(self, collection: Collection) -> Mapping[str, Any]:
        from rag.filters import to_milvus

        store, index = self.store, self._index(collection.generation)

        def dense(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            vector = query_vector(self._query_embedder(collection), query)
            return store.dense(index, vector, depth=depth, expression=to_milvus(where) if where else "")

        def bm25(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            return store.bm25(index, query.text, depth=depth, expression=to_milvus(where) if where else "")

        return {"dense": dense, "bm25": bm25}

    # ------------------------------------------------------------ verify

    def verify(self, *, repair: bool = False) -> Verification:
        """Compare the catalog with the index. With `repair` the index is made to agree; nothing is embedded again."""
        from rag.verify import Verification, VerifyParts, verify

        with self._writing():
            collection = self.catalog.collection(self.collection)
            if collection is None:
                return Verification(problems=())
            parts = VerifyParts(
                catalog=self.catalog,
                store=lambda: self.store,
                embedder=lambda: self.embedder,
                set_aside=None if self.settings.milvus.uri else self._set_aside,
                collection=self.collection,
                index=self._index(collection.generation),
                dim=collection.dim,
            )
            return verify(parts, repair=repair)

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

    @property
    def reranker(self) -> Reranker | None:
        """The reranker that the settings name; None when they name none."""
        with self._lock:
            if self._reranker is None and self.settings.rerank.model:
                from rag.reranking import open_reranker

                self._reranker = open_reranker(self.settings, lambda: self.chat, notify=self._notify)
            return self._reranker

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

        owner = self.home / "writer.pid"
        lock = FileLock(self.home / "writer.lock")
        try:
            lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout:
            pid = owner.read_text().strip() if owner.exists() else "unknown"
            raise LockedError(
                f"Another import is writing to {self.home} (process {pid}). Wait for it to end, or use another --home."
            ) from None
        try:
            owner.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()


def query_vector(embedder: Embedder, query: Query) -> Any:
    """A query's unit vector, float32 of shape (dim,): the text's, averaged with those of imagined passages if there are any.

    Source: Gao et al., ACL 2023, arXiv:2212.10496 (HyDE).
    """
    vector = embedder.embed_queries([query.text])[0]
    if not query.passages:
        return vector
    import numpy as np

    mean = np.mean([vector, *embedder.embed_passages(list(query.passages))], axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def _weights(mode: str, dense_weight: float) -> dict[str, float]:
    if mode == "hybrid":
        return {"dense": dense_weight, "bm25": 1.0 - dense_weight}
    if mode in ("dense", "bm25"):
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


def _cosine(left: Any, right: Sequence[float] | Any) -> float:
    import numpy as np

    return float(np.dot(left, right) / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1e-12))
