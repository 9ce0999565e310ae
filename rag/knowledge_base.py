"""KnowledgeBase: a collection of documents that can be searched and asked. The composition root: concrete parts meet here.

CLI, page, evaluation and tests all open this class, so what is measured is what ships. Parts are opened when first
needed: listing documents starts no model, and a keyword search starts no embedder.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import (
    DiskError,
    FingerprintError,
    LockedError,
    ModelError,
    RagstoneError,
    SettingsError,
    StoreError,
    UsageError,
    disk_error,
    disk_full,
)  # fmt: skip
from rag.principals import Principal, belongs, checked_names, shown_name, stored_name
from rag.searching import NO_UNDERSTANDING, Searcher, SearchMemory
from rag.settings import EXPANSIONS, SENTENCES, Settings, home_folder
from rag.trace import Trace
from rag.turns import turns
from rag.types import (
    Answer,
    Block,
    ChatModel,
    Chunk,
    DocumentInfo,
    Embedder,
    Enricher,
    Event,
    Hits,
    IngestReport,
    Query,
    Reranker,
)

if TYPE_CHECKING:
    from rag.catalog import Catalog
    from rag.catalog_rows import Collection
    from rag.duplicates import DuplicateGroup
    from rag.enrich import Price
    from rag.explaining import Attempt, Explanation
    from rag.filters import Expr
    from rag.import_pipeline import ImportPipeline
    from rag.ingest import Progress
    from rag.lite import LiteServer
    from rag.pipeline import SearchOptions
    from rag.reindex import Reindexed
    from rag.reply_cache import ReplyCache
    from rag.routing import Routed
    from rag.snapshot import Snapshot
    from rag.store import MilvusStore
    from rag.understanding import UnderstandOptions, Understood
    from rag.verify import Verification, VerifyParts

Planner = Callable[[Searcher, "UnderstandOptions"], Callable[[str, Trace], "Understood"]]

PROBE_TEXT = "The probe text by which ragstone recognises an embedding model. 用来识别嵌入模型的探测文本。"
PROBE_COSINE = 0.995
LOCK_WAIT_S = 1.0
MOST_RERANKERS = 4  # of different settings that are kept open
COUNTS = ("multi_query", "hyde")  # options that say how many
WARM_QUERY = "ready 好"  # both languages' dictionaries are read
WRITER_LOCK = "writer.lock"
CLOCK_SLACK_S = 2.0  # clocks are trimmed by so much all the time
CLOCK_WARNING = (
    "The clock stands earlier than when this collection was last written, and passages may be missing. "
    "Set the clock, or import again: the index is then written anew."
)
MIN_OPEN_FILES = 64
FULL_BYTES = 16_000_000  # with less than that free, a write of the embedded engine may not fit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The options of one search. wanted: what the chat model does with the question first."""

    mode: str
    wanted: UnderstandOptions
    reranker: Reranker | None
    options: SearchOptions


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
        self._models_lock = threading.RLock()  # of its own: the catalog is read while a model loads
        self._store_lock = threading.RLock()  # and while the store opens
        self._catalog: Catalog | None = None
        self._lite: LiteServer | None = None
        self._store: MilvusStore | None = None
        self._embedder: Embedder | None = None
        self._models_of: KnowledgeBase | None = None
        self._chat: ChatModel | None = None
        self._chat_opened = False
        self._other_chat: ChatModel | None = None  # of a view
        self._rerankers: dict[str, Reranker] = {}  # by their settings
        self._replies: ReplyCache | None = None
        self._memory = SearchMemory()
        self._checked: dict[str, Embedder] = {}  # fingerprint → the model that was shown to have it
        self._owner = self  # of the open parts; a view has none of its own
        self._principal: Principal | None = None
        self._kept_graph: dict[str, Any] = {}

    @classmethod
    def open(
        cls,
        home: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        collection: str = "default",
        notify: Callable[[str], None] | None = None,
        models_of: KnowledgeBase | None = None,
    ) -> KnowledgeBase:
        """Open a home folder, made when it is not there.

        home: a folder, or the URI of a Milvus server (the catalog then lies in the default home);
            left out: $RAGSTONE_HOME, else ./.ragstone.
        notify: receives a sentence when something slow starts, such as the first calibration.
        models_of: an open knowledge base whose models serve this one, too, where the settings name the same.
        Raises: SettingsError; UsageError for a bad collection name or a home that cannot be written.
        """
        settings = settings or Settings.load()
        if isinstance(home, str) and home.startswith(("http://", "https://", "tcp://")):
            settings, home = settings.with_values(milvus__uri=home), None
        folder = home_folder(home)
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
        (folder / WRITER_LOCK).touch()  # by it `sources` knows a home, which lies perhaps in a folder that is imported
        made = cls(folder, settings, collection, notify)
        made._models_of = models_of
        return made

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def view(
        self,
        *,
        collection: str | None = None,
        principal: Principal | None = None,
        settings: Settings | None = None,
        chat: ChatModel | None = None,
    ) -> KnowledgeBase:
        """The same home as somebody sees it, or another collection of it. Shares the open parts; closing it closes nothing.

        principal: collections are the tenant's, and documents those whose access list lets it in. None: the home's owner.
        settings: for what happens per call, such as answer.max_tokens; open parts stay as they are.
        chat: another chat model for what this view is asked; whoever opened it closes it.
        collection: left out, this one, or the principal's first where this one is not for it.
        Raises: UsageError for a collection that is not there for the principal.
        """
        name = shown_name(self.collection) if collection is None else collection
        if principal and not principal.may_see(name):
            if collection is not None:
                raise UsageError(
                    f"There is no collection {name[:100]!r}. There are: {', '.join(principal.collections)}."
                )
            name = principal.collections[0]
        _check_collection(name)
        seen = copy.copy(self)
        seen.collection = stored_name(principal.tenant if principal else "", name)
        seen.settings, seen._principal = settings or self.settings, principal
        seen._other_chat = chat or self._other_chat
        seen._kept_graph = {}
        return seen

    @property
    def principal(self) -> Principal | None:
        """Who sees this view; None: the owner."""
        return self._principal

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        if self._owner is not self:
            return
        with self._models_lock, self._store_lock, self._lock:
            for part in (self._chat, self._replies, self._store, self._lite, self._catalog):
                if part is not None:
                    part.close()
            self._chat = self._replies = self._store = self._lite = self._catalog = None
            self._chat_opened, self._checked, self._rerankers, self._kept_graph = False, {}, {}, {}

    # ------------------------------------------------------------ documents

    def ingest(
        self,
        sources: Any,
        *,
        pipeline: ImportPipeline | None = None,
        prune: bool = False,
        dry_run: bool = False,
        chunk_size: int | None = None,
        overlap: int | None = None,
        workers: int | None = None,
        engine: str | None = None,
        acl: Sequence[str] = (),
        progress: Callable[[Progress], None] | None = None,
        stop: threading.Event | None = None,
    ) -> IngestReport:
        """Import or update documents; what is unchanged costs nothing, and a run that was stopped goes on.

        sources: a path or URL, several of them, a Document, or an iterable of Document.
        pipeline: loaders, cleaners, a chunker and enrichers of your own.
        prune: delete documents that lay under these paths and are gone. dry_run: read and count, write nothing, and
            estimate what the import would take. stop: set it from another thread to end after the current documents.
        engine: local, or ray to read and embed on Ray workers; what is written stays with this process.
        acl: who finds the documents, such as ("u:ann", "g:staff"); left out: who did before, and at first everybody of
            the tenant. The home's owner always does.
        Raises: SourceError, LockedError, StoreError, FingerprintError, ModelError. Documents that cannot be read do
            not raise; they are listed in the report's failures.
        """
        from rag.import_pipeline import ImportPipeline
        from rag.ingest import IngestOptions, IngestParts, ingest

        settings = self.settings
        changes = {
            "chunk__size": chunk_size,
            "chunk__overlap": overlap,
            "parse__workers": workers,
            "ingest__engine": engine,
        }
        settings = settings.with_values(**{key: value for key, value in changes.items() if value is not None})
        warnings: list[str] = []
        enrichers, price = self._rehearsed(settings) if dry_run else (self._enrichers(settings, warnings.append), None)
        options = IngestOptions(
            chunk=settings.chunk, parse=settings.parse, fetch=settings.fetch, ingest=settings.ingest, enrich=settings.enrich,
            enrichers=enrichers, price=price, pipeline=pipeline or ImportPipeline(),
            prune=prune, dry_run=dry_run, acl=checked_names(acl), stop=stop or threading.Event(),
        )  # fmt: skip
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
                index=self.index_name(collection.generation),
            )  # fmt: skip
            if settings.ingest.engine == "local":
                report = ingest(sources, parts=parts, options=options, progress=progress)
            else:
                from rag.ray_engine import RayEngine

                with RayEngine(settings, self.embedder) as ray:
                    parts = replace(parts, embedder=ray.embedder, parsers=ray.parsers)
                    report = ingest(sources, parts=parts, options=options, progress=progress)
            self.catalog.note_write(self.collection, time.time())
            if report.added or report.updated or report.deleted:
                warnings += self._refresh_graph()
            return replace(report, warnings=(*report.warnings, *warnings))

    def _enrichers(self, settings: Settings, warn: Callable[[str], None]) -> Sequence[Enricher]:
        from rag import enrich

        if not enrich.is_on(settings.enrich):
            return ()
        chat = self.chat if enrich.needs_chat(settings.enrich) else None
        return enrich.enrichers(settings, chat, self.embedder, cache=self.replies if chat else None, warn=warn)

    def _rehearsed(self, settings: Settings) -> tuple[Sequence[Enricher], Callable[[], Price] | None]:
        """The enrichers of a dry run, which ask nothing, and what the real ones would take."""
        from rag import enrich
        from rag.rehearsal import Rehearsal

        if not enrich.is_on(settings.enrich):
            return (), None
        chat = self.chat if enrich.needs_chat(settings.enrich) else None
        rehearsal = Rehearsal(chat, settings.enrich, self.replies)
        return enrich.steps(settings, self.embedder, rehearsal, embed=None), rehearsal.price

    def documents(self, doc_id: str | None = None) -> list[DocumentInfo]:
        """The documents of the collection, in order of their source; with `doc_id` that one alone."""
        return self.catalog.documents(self.collection, doc_id)

    def find_documents(
        self,
        text: str = "",
        *,
        state: str = "",
        type: str = "",
        filter: str = "",
        limit: int | None = 50,
        offset: int = 0,
    ) -> tuple[list[DocumentInfo], int]:
        """A page of the documents that fit, in order of their source, and how many fit. Without `aliases`.

        text: words that all stand in title or source. state: as in DocumentInfo; failed: also of documents whose update
        failed. filter: as in a search. Raises: FilterError.
        """
        from rag import filters

        condition = filters.parse(filter) if filter.strip() else None
        if condition is None:
            return self.catalog.find_documents(
                self.collection, text=text, state=state, type=type, limit=limit, offset=offset
            )
        found, _ = self.catalog.find_documents(self.collection, text=text, state=state, type=type, limit=None, offset=0)
        fit = [one for one in found if filters.matches(condition, {
            "doc_id": one.doc_id, "source": one.source, "title": one.title, "type": one.type, "page": None, "meta": one.metadata,
        })]  # fmt: skip
        return fit[offset : None if limit is None else offset + limit], len(fit)

    def edit(
        self,
        doc_id: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
        chunk_size: int | None = None,
        overlap: int | None = None,
    ) -> bool:
        """Change a document for good: later imports of it keep what was set. False when there is no such document.

        metadata: values to set; None takes a key away. enabled: False, and no search finds it, though it is kept.
        chunk_size, overlap: tokens, for this document alone; it is cut again from the catalog's text.
        Raises: UsageError for a value that cannot be, and for a document that was not imported or is a copy; LockedError.
        """
        from rag.editing import checked_change, edit
        from rag.ingest import IngestOptions, IngestParts

        found = self.documents(doc_id)
        collection = self.catalog.collection(self.collection)
        if not found or collection is None:
            return False
        sized = chunk_size is not None or overlap is not None
        change = checked_change(
            title=title, metadata=metadata, enabled=enabled, chunk_size=chunk_size, overlap=overlap,
            embedder=self.embedder if sized else None, info=found[0],
        )  # fmt: skip
        settings = self.settings
        with self._writing():
            self._follow_clock(collection)
            parts = IngestParts(
                catalog=self.catalog, store=self.store, embedder=self.query_embedder(collection), collection=self.collection,
                index=self.index_name(collection.generation),
            )  # fmt: skip
            options = IngestOptions(
                chunk=settings.chunk, parse=settings.parse, enrich=settings.enrich,
                enrichers=self._enrichers(settings, self._notify),
            )  # fmt: skip
            edit(parts, options, doc_id, change)
            self.catalog.note_write(self.collection, time.time())
            self._refresh_graph()
        return True

    def text(self, doc_id: str) -> str:
        """A document's text as it was extracted; citations' offsets count in it. Raises UsageError for an unknown id."""
        text = self.catalog.text(self.collection, doc_id)
        if text is None:
            raise UsageError(
                f"There is no document {doc_id!r} in collection {self.collection}. `ragstone docs list` shows all."
            )
        return text

    def original(self, doc_id: str) -> bytes | None:
        """The bytes of the file that a document was read from; None when they are not kept, or not the same any more."""
        from rag.originals import original

        if not (found := self.documents(doc_id)):
            return None
        digest = self.catalog.known_one(self.collection, doc_id).content_hash
        return original(self.home, found[0].source, digest, int(self.settings.parse.max_file_mb * 1_000_000))

    def blocks(self, doc_id: str) -> list[Block]:
        """Where headings, tables and paragraphs of a document's text lie, in order."""
        from rag.parse_child import unpack_blocks

        text, blocks = self.catalog.body(self.collection, doc_id) or ("", None)
        return list(unpack_blocks(blocks, len(text))) if blocks else []

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
        """Remove documents by doc_id or source, with what was found inside them: gone from every search when this returns.

        Returns how many there were.
        """
        from rag import originals
        from rag.ingest import delete
        from rag.rows import sweep

        with self._writing():
            documents = self.documents()
            by_source = {info.source: info.doc_id for info in documents}
            there = {info.doc_id for info in documents}
            wanted = [name for name in (by_source.get(name, name) for name in doc_ids) if name in there]
            wanted += [info.doc_id for info in documents if info.container in wanted and info.doc_id not in wanted]
            collection = self.catalog.collection(self.collection)
            index = self.index_name(collection.generation) if collection else ""
            n_deleted = delete(self.catalog, self.store if collection else None, self.collection, index, wanted)
            if n_deleted and collection:
                sweep(self.catalog, self.store, self.collection, index)
                self.catalog.drop_unused_vectors()
                _graph_package().forget(self, wanted)
            if n_deleted and (self.home / originals.FOLDER).exists():
                originals.sweep(self.home, self.catalog.content_hashes())
        return n_deleted

    def set_access(self, doc_id: str, acl: Sequence[str]) -> bool:
        """Let these find a document from the next query on, and nobody else. False when there is no such document.

        Files found inside it follow. Raises: UsageError for a name that cannot be on a list, and for a document that is
        a copy of another one.
        """
        from rag.access import set_access

        names = checked_names(acl)
        with self._writing():
            collection = self.catalog.collection(self.collection)
            if collection is None or not self.documents(doc_id):
                return False
            set_access(self.catalog, self.store, self.collection, self.index_name(collection.generation), doc_id, names)
            self.catalog.note_write(self.collection, time.time())
        return True

    def collections(self) -> list[str]:
        seer = self._principal or Principal()
        mine = [shown_name(name) for name in self.catalog.collections() if belongs(name, seer.tenant)]
        return [name for name in mine if seer.may_see(name)]

    def reindex(self, *, progress: Callable[[Progress], None] | None = None) -> Reindexed:
        """Build the collection again for the embedding model and chunk settings in force; searches go on meanwhile.

        Everything is read from the catalog, no source is needed. A run that was stopped goes on.
        Raises: UsageError when there is no such collection; LockedError, StoreError, ModelError, CatalogError.
        """
        from rag.reindex import ReindexParts, reindex

        with self._writing():
            collection = self.catalog.collection(self.collection)
            if collection is None:
                raise UsageError(f"Collection {self.collection} is empty. Import something: ragstone ingest PATH")
            parts = ReindexParts(
                catalog=self.catalog, store=self.store, embedder=self.embedder, collection=collection,
                probe=self._new_collection, index=self.index_name, chunk=self.settings.chunk, parse=self.settings.parse,
                enrich=self.settings.enrich, enrichers=self._enrichers(self.settings, self._notify),
            )  # fmt: skip
            return reindex(parts, progress)

    def export_snapshot(
        self, path: str | os.PathLike[str], *, progress: Callable[[Progress], None] | None = None
    ) -> Snapshot:
        """Write the collection with its vectors into one file, for `import_snapshot` on another home or server.

        Raises: UsageError when there is nothing to export or the file cannot be written; LockedError.
        """
        from rag.snapshot import export

        with self._writing():
            collection = self.catalog.collection(self.collection)
            if collection is None:
                raise UsageError(f"Collection {self.collection} is empty: there is nothing to export.")
            return export(self.catalog, collection, Path(path).expanduser().absolute(), progress)

    def import_snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        replace: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Snapshot:
        """Read a snapshot into this collection, which must be empty unless `replace`. Nothing is embedded.

        Searches see it when it is whole; with `replace` they see what was there before until then.
        Raises: UsageError for a file that is damaged, newer or no snapshot; LockedError, StoreError.
        """
        from rag.snapshot import import_

        with self._writing():
            return import_(
                Path(path).expanduser().absolute(), catalog=self.catalog, store=lambda: self.store, index=self.index_name,
                name=self.collection, replace_existing=replace, progress=progress,
            )  # fmt: skip

    # ------------------------------------------------------------ search and ask

    def search(self, query: str, **options: Any) -> Hits:
        """The best chunks for a query.

        Options, each with its default in the settings:
        top_k: how many. mode: hybrid, dense, bm25, or graph (which needs one, see graph/); auto searches hybrid, with the
            graph where there is one and it helps, and asks the chat model for more only where that did not find enough; retrievers joined by +, such as hybrid+keywords, with those of rag/index_forms.py.
        summaries: chunks that are summaries, from the enrichment: all (beside the others), none, or only they.
        filter: as in rag/filters.py. mmr: λ from 0 (most diverse) to 1 (off). highlight: mark the best sentences of hits.
        rewrite, decompose, step_back, translate, auto_filter (bool), multi_query, hyde (how many): what the chat model
            does with the question first. rerank: False leaves the reranker out, True demands one.
        history: (question, answer) pairs of the conversation so far. explain: each step's candidates in the trace.
        depth, depths, weights, dense_weight, dense_trust, graph_weight, fusion, rrf_k, boosts, recency, recency_days, recency_field,
            collapse, neighbours, cross_language, cache: as in the settings of [search], for this search.
        expand: what is shown in place of the chunks found, as in search.expand; left out: the chunks. `ask` reads the setting.
        Raises: UsageError, FilterError, StoreError, FingerprintError, ModelError.
        """
        return self._search(query, Trace(), **options)

    def explain(self, query: str, chunk_id: str, *, principal: Principal | None = None, **options: Any) -> Explanation:
        """Why a chunk is among the hits of `search(query, **options)`, or at which step it was lost and what helps.

        What is called a remedy was tried: it takes up to some dozens of searches. principal: why somebody else does or does
        not find it, which the owner may ask.
        Raises: UsageError for a chunk that is not in the collection, and what `search` raises.
        """
        from rag.explaining import explain, refused

        if principal is not None and self._principal is not None:
            raise UsageError("Only the home's owner may ask what somebody else finds.")
        name = shown_name(self.collection)
        kept = self.collection if principal is None else stored_name(principal.tenant, name)
        collection = self.catalog.collection(kept)
        doc_id = chunk_id.rpartition("#")[0]
        stored = self.catalog.stored_chunks(kept, doc_id) if collection else []
        known = self.catalog.documents(kept, doc_id) if collection else []
        found = next((one for one in stored if one.chunk.chunk_id == chunk_id), None)
        if collection is None or found is None:
            why = f"Its document is {known[0].state}." if known else "No document of that id is in it."
            if stored:
                why = f"Its document has {len(stored)} chunks, none of that span; `ragstone docs show {doc_id} --chunks` lists them."
            raise UsageError(f"The chunk {chunk_id!r} is not in the collection {self.collection!r}. {why}")
        if principal is not None and not principal.may_see(name):
            only = f"The collection {name!r} is not among those that are there for them: {', '.join(principal.collections)}."
            return refused(
                found, query, "access", only, "Open the collection to them: `ragstone users set NAME --only …`."
            )
        if principal is not None and not set(principal.readers) & set(found.acl):
            names = f"The access list of its document ({', '.join(found.acl) or 'the owner alone'}) lets none of {', '.join(principal.readers)} in."
            return refused(found, query, "access", names, f"Put one of them on the list: kb.set_access({doc_id!r}, …).")
        if known and known[0].state == "disabled":
            return refused(
                found,
                query,
                "disabled",
                "Its document is switched off.",
                f"Switch it on: kb.edit({doc_id!r}, enabled=True).",
            )
        seen = self.view(collection=name, principal=principal) if principal else self
        shown = ("expand", "highlight", "explain")  # how hits are shown; what is found does not hang on it
        asked = {name: value for name, value in options.items() if name not in shown}
        return explain(found, seen._attempts(query, collection, asked))

    def _attempts(self, query: str, collection: Collection, asked: Mapping[str, Any]) -> Attempt:
        """Searches with changed options and settings; what the chat model makes of the question is asked for once."""
        plans: dict[UnderstandOptions, Understood] = {}

        def planned(searcher: Searcher, wanted: UnderstandOptions) -> Callable[[str, Trace], Understood]:
            def plan(question: str, trace: Trace) -> Understood:
                same = replace(wanted, auto_filter=False)
                if same not in plans:
                    plans[same] = searcher.planner(wanted)(question, trace)
                return plans[same] if wanted.auto_filter else replace(plans[same], filter=None)

            return plan

        def attempt(options: Mapping[str, Any], settings: Mapping[str, Any], trace: Trace) -> Routed:
            changed = copy.copy(self)
            changed.settings = self.settings.with_values(
                **{key.replace(".", "__"): value for key, value in settings.items()}
            )
            kept = {name: value for name, value in asked.items() if f"search.{name}" not in settings}
            changed, left = changed._for_one_search({**kept, **options})
            chosen = changed._chosen(**left)
            with turns.taken():
                return changed._routed(query, collection, chosen, trace, planned)

        return attempt

    def ask(self, question: str, *, schema: Mapping[str, Any] | None = None, **options: Any) -> Answer:
        """A cited answer; takes the options of `search`. A failing chat model does not raise.

        schema: a JSON schema (draft 2020-12). `Answer.data` is then a value that is valid for it, taken from the documents,
            and the text lists its parts with their citations.
        Raises: what `search` raises; with a schema also UsageError when it is none, ModelError without a chat model, and
            ChatError when the model fails or twice gives what is not valid.
        """
        if schema is not None:
            return self._structured(question, schema, **options)
        for event in self.stream(question, **options):
            if event.answer is not None:
                return event.answer
        raise StoreError("The answer did not arrive. Please report this.")  # answer_events always ends with one

    def warm(self) -> None:
        """Open and load what a question needs, so that the first one does not wait for it. What cannot be had is left to fail then.

        A chat model on this machine is not loaded: it takes gigabytes, and who only looks documents up does not need it.
        """
        from rag import answering  # noqa: F401

        beside = threading.Thread(target=self._warm_clients, name="warm-clients", daemon=True)
        beside.start()
        with suppress(RagstoneError):
            self.embedder.embed_queries([WARM_QUERY])
            beside.join()
            self._search(WARM_QUERY, Trace(), mode="hybrid", top_k=1, **NO_UNDERSTANDING)

    def _warm_clients(self) -> None:
        """What is loaded while the embedding model is, which is half of the time outside of Python."""
        from rag.chat import load_client
        from rag.text import words

        words("中文")  # Chinese words need a dictionary
        with suppress(RagstoneError):
            _ = self.store
        if self.settings.llm.base_url:
            with suppress(OSError):  # the first call says which certificates are not there
                load_client()

    def _structured(
        self, question: str, schema: Mapping[str, Any], *, expand: str | None = None, **options: Any
    ) -> Answer:
        from rag.structured import Shape, structured_answer

        shape, trace = Shape(schema), Trace()
        hits = self._search(question, trace, expand=expand or self.settings.search.expand, **options)
        with trace.span("chat model"):
            chat = self.chat if len(hits) else None
        answer = structured_answer(
            hits.question or question, hits, shape=shape, chat=chat, settings=self.settings.answer, trace=trace,
            deadline_s=self.settings.llm.deadline_s,
        )  # fmt: skip
        return replace(answer, warnings=hits.warnings + answer.warnings)

    def stream(self, question: str, **options: Any) -> Iterator[Event]:
        """The events of an answer: steps, pieces of text, and at the end the whole Answer with its citations."""
        from rag.answering import answer_events

        trace = Trace()
        expand = options.pop("expand", None) or self.settings.search.expand
        hits = self._search(question, trace, expand=expand, **options)
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

    def _chosen(
        self,
        *,
        top_k: int | None = None,
        mode: str | None = None,
        filter: str | None = None,
        mmr: float | None = None,
        rerank: bool | None = None,
        summaries: str | None = None,
        explain: bool = False,
        history: Sequence[tuple[str, str]] = (),
        **others: Any,
    ) -> _Chosen:
        """What the caller asked for, else what the settings say, checked. Raises: UsageError, FilterError."""
        from rag.search_options import search_options

        search = self.settings.search
        mode = mode or search.mode
        reranker = self._reranker_for(rerank, mode)
        options = search_options(
            search, self.settings.rerank if reranker else None,
            mode=mode, top_k=top_k, filter=filter, mmr=mmr, explain=explain, summaries=summaries,
        )  # fmt: skip
        wanted = replace(self._understanding(others, history), filter=filter)
        return _Chosen(mode=mode, wanted=wanted, reranker=reranker, options=options)

    def _search(self, query: str, trace: Trace, **asked: Any) -> Hits:
        seen, options = self._for_one_search(asked)
        with turns.taken():
            return seen._found(query, trace, **options)

    def _for_one_search(self, asked: Mapping[str, Any]) -> tuple[KnowledgeBase, dict[str, Any]]:
        """The same with the settings of [search] that a caller asked for, and what else was asked for. Raises: UsageError."""
        from rag.search_options import with_options

        search, options = with_options(self.settings.search, asked)
        if search is self.settings.search:
            return self, options
        seen = copy.copy(self)
        seen.settings = self.settings.model_copy(update={"search": search})
        return seen, options

    def _found(
        self, query: str, trace: Trace, *, expand: str | None = None, highlight: bool = False, **asked: Any
    ) -> Hits:
        from rag import evidence, pipeline
        from rag.pages import with_pages

        chosen = self._chosen(**asked)
        pipeline.check_query(query)
        n_steps = len(trace.steps)
        while (collection := self.catalog.collection(self.collection)) is not None:
            del trace.steps[n_steps:]
            try:
                hits = self._routed(query, collection, chosen, trace).hits
            except StoreError:
                if self.catalog.generation(self.collection) == collection.generation:
                    raise
                continue
            # The collection was replaced in the meantime: what was found is of neither the old one nor the new.
            if self.catalog.generation(self.collection) == collection.generation:
                hits = replace(hits, warnings=hits.warnings + self._notes(collection))
                hits = self._expanded(hits, expand, trace) if expand else hits
                hits = replace(hits, items=with_pages(hits.items, self._page_starts))
                return replace(hits, items=evidence.highlighted(hits.question, hits.items)) if highlight else hits
        return Hits((), warnings=(f"Collection {self.collection} is empty. Import something: ragstone ingest PATH",))

    def _routed(
        self, query: str, collection: Collection, chosen: _Chosen, trace: Trace, planner: Planner = Searcher.planner
    ) -> Routed:
        """The search of a mode; in the mode auto as many as it takes. planner: of what the chat model does first."""
        from rag import routing

        searcher = self._searcher(collection)
        parts = searcher.parts(chosen.wanted, chosen.reranker, chosen.options.summaries)
        if chosen.wanted.needs_chat:
            parts = replace(parts, understand=planner(searcher, chosen.wanted))
        if "auto" not in chosen.mode.split("+"):
            return routing.direct(query, parts=parts, options=chosen.options, trace=trace)
        more = None
        if self._may_escalate:
            more = replace(parts, understand=planner(searcher, routing.escalated(query, chosen.wanted)))
        return routing.route(
            query, parts=parts, escalated=more, options=chosen.options, trace=trace,
            graph_weight=self.settings.search.graph_weight if self.has_graph else 0.0,
        )  # fmt: skip

    @property
    def _may_escalate(self) -> bool:
        """Whether the mode auto may ask the chat model."""
        when = self.settings.understand.auto
        return when == "always" or (when == "endpoint" and bool(self.settings.llm.base_url))

    def _notes(self, collection: Collection) -> tuple[str, ...]:
        """What people should know of a collection that they search."""
        return self._model_warnings(collection) + ((CLOCK_WARNING,) if self._clock_went_back(collection) else ())

    def _expanded(self, hits: Hits, mode: str, trace: Trace) -> Hits:
        """The hits as a reader gets them: summaries give way to what they sum up, small chunks to what surrounds them."""
        from rag import expand

        if mode not in EXPANSIONS:
            raise UsageError(f"expand must be one of {', '.join(EXPANSIONS)}, not {mode!r}.")
        name = self.collection
        parts = expand.ExpandParts(
            text=lambda doc_id: self.catalog.text(name, doc_id) or "",
            spans=lambda doc_id: [(one.start, one.end) for one in self.catalog.chunks(name, doc_id) if not one.level],
        )
        mode = expand.implied(self.settings.chunk.strategy) if mode == "implied" else mode
        if not expand.changes(hits.items, mode):
            return hits
        with trace.span("expand") as step:
            items = expand.expand(
                hits.items, mode=mode, parts=parts, question=hits.question, n=self.settings.search.neighbours
            )
            step.n_in, step.n_out, step.detail = len(hits), len(items), {"mode": mode}
        return replace(hits, items=items, trace=tuple(trace.steps))

    def _page_starts(self, doc_ids: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
        """Where the pages of documents begin in their texts; those without pages are left out."""
        from rag.parse_child import page_starts

        packed = self.catalog.packed_blocks(self.collection, doc_ids)
        return {doc_id: starts for doc_id, blocks in packed.items() if (starts := page_starts(blocks))}

    def _understanding(self, given: Mapping[str, Any], history: Sequence[tuple[str, str]]) -> UnderstandOptions:
        """What the caller asked for, else what the settings say. Raises UsageError for an unknown option."""
        from rag import prompts
        from rag.understanding import UnderstandOptions

        names = ("rewrite", "multi_query", "hyde", "decompose", "step_back", "translate", "auto_filter")
        if unknown := sorted(given.keys() - set(names)):
            raise UsageError(
                f"search() has no option {unknown[0]!r}. Known: {', '.join(names)}, the settings of [search], and those of its help."
            )
        values = {name: getattr(self.settings.understand, name) for name in names}
        values |= {name: value for name, value in given.items() if value is not None}
        for name in names:
            if name not in COUNTS and not isinstance(values[name], bool):
                raise UsageError(f"{name} must be True or False, not {values[name]!r}.")
        for name in COUNTS:
            if type(values[name]) is not int or not 0 <= values[name] <= prompts.MOST_ITEMS:
                raise UsageError(f"{name} must be a whole number from 0 to {prompts.MOST_ITEMS}, not {values[name]!r}.")
        try:
            turns_before = tuple((str(asked), str(answered)) for asked, answered in history)
        except (TypeError, ValueError):
            raise UsageError(f"history must hold (question, answer) pairs, not {history!r:.100}.") from None
        return UnderstandOptions(history=turns_before, **values)

    def _reranker_for(self, wanted: bool | None, mode: str) -> Reranker | None:
        """wanted: None leaves it to the settings. The reranker that needs no model is made for hybrid and auto, and joins nothing else unasked."""
        chosen = self.settings.rerank
        if wanted not in (None, True, False):
            raise UsageError(f"rerank must be True, False or None, not {wanted!r}.")
        if wanted is False or (wanted is None and not chosen.model):
            return None
        if not chosen.model:
            raise UsageError(
                "Reranking was asked for, but rerank.model is empty. Name a cross-encoder (a folder or a hub name), or "
                '"sentences", or "chat" for the chat model: --set rerank.model=sentences'
            )
        if chosen.model != SENTENCES or chosen.base_url:
            return self.reranker
        from rag.reranking import SentenceReranker

        fits = mode in ("hybrid", "auto")
        return SentenceReranker() if wanted or fits else None

    def candidates(self, query: Query, depth: int, where: Expr | None = None) -> list[tuple[str, float]]:
        """The best store keys of a hybrid search as they come from the fusion; what graph retrieval starts from."""
        collection = self.catalog.collection(self.collection)
        return self._searcher(collection).fused(query, depth, where) if collection else []

    def _searcher(self, collection: Collection) -> Searcher:
        return Searcher(self, collection, self._memory)

    # ------------------------------------------------------------ graph

    @property
    def has_graph(self) -> bool:
        """Whether the collection has a knowledge graph."""
        return bool(_graph_package().exists(self))

    @property
    def graph(self) -> Any:
        """The collection's KnowledgeGraph, opened when first needed and again when it changed. Raises GraphError if there is none."""
        return _graph_package().opened(self, self._kept_graph)

    def _refresh_graph(self) -> list[str]:
        """Bring a graph that costs nothing up to date. What keeps it from that is a warning: the documents are in."""
        try:
            whole = copy.copy(self)
            whole._principal = None  # the graph is everybody's: it is read with all documents, whoever imported
            _graph_package().refresh(whole)
        except RagstoneError as error:
            return [f"The graph was not updated: {error}"]
        return []

    # ------------------------------------------------------------ verify

    def verify(self, *, repair: bool = False) -> Verification:
        """Compare the catalog with the index. With `repair` the index is made to agree; nothing is embedded again."""
        from rag.verify import Verification, verify

        with self._writing():
            collection = self.catalog.collection(self.collection)
            if collection is None:
                return Verification(problems=())
            return verify(self._verify_parts(collection), repair=repair)

    def verify_all(self, *, repair: bool = False) -> dict[str, Verification]:
        """`verify` for every collection of the home, all tenants' too. Returns: name as it is kept → what was found."""
        found = {}
        for name in self.catalog.collections():
            seen = self.view()
            seen.collection = name
            found[name] = seen.verify(repair=repair)
        return found

    def _verify_parts(self, collection: Collection) -> VerifyParts:
        from rag.verify import VerifyParts

        return VerifyParts(
            catalog=self.catalog,
            store=lambda: self.store,
            embedder=lambda: self.query_embedder(collection),
            set_aside=None if self.settings.milvus.uri else self._set_aside,
            collection=self.collection,
            index=self.index_name(collection.generation),
            dim=collection.dim,
        )

    def _follow_clock(self, collection: Collection) -> None:
        """Write the index anew when the clock was set back since it was last written, and note the time.

        The embedded engine stamps rows with the clock's time and shows none that is later than now: rows written before
        would stay hidden, and with them all that follow.
        """
        from rag.verify import verify

        if self._clock_went_back(collection):
            self._notify("The clock was set back since the last import; the index is written anew.")
            self.store.drop(self.index_name(collection.generation))
            verify(self._verify_parts(collection), repair=True)
        self.catalog.note_write(self.collection, time.time())

    def _clock_went_back(self, collection: Collection) -> bool:
        return not self.settings.milvus.uri and time.time() < collection.written - CLOCK_SLACK_S

    def forget_store(self) -> None:
        """Open the store anew when it is next needed if its embedded engine has died.

        Many searches may have met its end, and the first of them to say so has started another one.
        """
        owner = self._owner
        with owner._store_lock:
            if owner._lite is not None and owner._store is not None and not owner._lite.answers():
                owner._lite.close()
                owner._lite = owner._store = None

    def _set_aside(self) -> None:
        """Move a database file that the embedded engine cannot open out of the way; the index is then written anew."""
        owner = self._owner
        with owner._store_lock:
            if owner._store is not None:
                owner._store.close()
            if owner._lite is not None:
                owner._lite.close()
            owner._store = owner._lite = None
        path = self.home / "milvus.db"
        if path.exists():
            path.replace(path.with_name(f"milvus.db.damaged-{int(time.time())}"))

    # ------------------------------------------------------------ parts

    @property
    def catalog(self) -> Catalog:
        owner = self._owner
        with self._lock:
            if owner._catalog is None:
                from rag.catalog import Catalog

                owner._catalog = Catalog(self.settings.catalog.url or self.home / "catalog.sqlite3")
            return owner._catalog.seen_by(self._principal) if self._principal else owner._catalog

    @property
    def store(self) -> MilvusStore:
        if self._owner is not self:
            return self._owner.store
        from rag.lite import LiteServer
        from rag.store import MilvusStore

        with self._store_lock:
            if self._store is None:
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
        if self._owner is not self:
            return self._owner.embedder
        with self._models_lock:
            other = self._models_of
            if self._embedder is None and other and other.settings.embedding == self.settings.embedding:
                self._embedder = other.embedder
            if self._embedder is None:
                from rag.embedding import open_embedder

                self._embedder = open_embedder(self.settings.embedding, self.settings.models, notify=self._notify)
            return self._embedder

    @property
    def chat(self) -> ChatModel | None:
        """The chat model the settings name; None when there is none, and answers are then extractive."""
        if self._other_chat is not None:
            return self._other_chat
        if self._owner is not self:
            return self._owner.chat
        with self._models_lock:
            other = self._models_of
            if not self._chat_opened and other and other.settings.llm == self.settings.llm:
                self._chat, self._chat_opened = other.chat, True
            if not self._chat_opened:
                from rag.chat_models import open_chat

                self._chat, self._chat_opened = open_chat(self.settings, notify=self._notify), True
            return self._chat

    @property
    def remembering_chat(self) -> ChatModel | None:
        """The chat model, not asked again what it was asked before, unless search.cache is off."""
        from rag.reply_cache import CachedChat

        chat = self.chat
        return CachedChat(chat, self.replies) if chat is not None and self.settings.search.cache else chat

    @property
    def replies(self) -> ReplyCache:
        """What chat models said before, so that nothing is asked twice."""
        if self._owner is not self:
            return self._owner.replies
        with self._lock:
            if self._replies is None:
                from rag import reply_cache

                self._replies = reply_cache.ReplyCache(self.home / reply_cache.FILE)
            return self._replies

    @property
    def reranker(self) -> Reranker | None:
        """The reranker that this view's settings name; None when they name none. One that cannot be had says so when it is asked."""
        from rag.reranking import CHAT, MissingReranker, open_reranker

        chosen, owner = self.settings.rerank, self._owner
        if not chosen.model:
            return None
        key = f"{chosen.model_dump_json()} {chosen.api_key.get_secret_value()} {self.settings.search.cache}"
        with owner._models_lock:
            if (known := owner._rerankers.get(key)) is not None:
                return known
            cache = self.replies if self.settings.search.cache else None
            try:
                found = open_reranker(self.settings, lambda: self.remembering_chat, notify=self._notify, cache=cache)
            except ModelError as error:
                return MissingReranker(chosen.model, error)
            if found is not None and (chosen.base_url or chosen.model != CHAT):  # the chat model may be this view's own
                if len(owner._rerankers) >= MOST_RERANKERS:
                    owner._rerankers.clear()
                owner._rerankers[key] = found
            return found

    # ------------------------------------------------------------ inside

    def index_name(self, generation: int) -> str:
        """Name of the collection's index in Milvus: letters, digits and _ whatever the collection is called."""
        safe = "".join(char if char.isascii() and char.isalnum() else f"_{ord(char):x}_" for char in self.collection)
        if len(safe) > 150:  # cut, two names could be one
            safe = f"{safe[:130]}_{hashlib.sha256(self.collection.encode()).hexdigest()[:16]}"
        return f"{self.settings.milvus.prefix}_{self.catalog.catalog_id}_{safe}_{generation}"

    def _ensure_collection(self) -> Collection:
        """The collection's record and its index, made when they are not there."""

        collection = self.catalog.collection(self.collection)
        if collection is None:
            collection = self._new_collection()
            self.catalog.add_collection(collection)
        elif not self._fits(self.embedder, collection):
            raise self._misfit(collection)
        self.store.create(self.index_name(collection.generation), dim=collection.dim)
        return collection

    def _new_collection(self) -> Collection:
        """The record of a collection that the settings' embedding model builds."""
        from rag.catalog_rows import Collection

        embedder = self.embedder
        probe = embedder.embed_passages([PROBE_TEXT])[0]
        self._checked[embedder.fingerprint] = embedder
        return Collection(name=self.collection, generation=1, fingerprint=embedder.fingerprint, model=embedder.name,
                          dim=embedder.dim, probe=probe)  # fmt: skip

    def query_embedder(self, collection: Collection) -> Embedder:
        """The model that the collection was built with: the settings' if it is that, else the one its record names.

        So searches go on while the settings name a model that the collection is still to be built again for.
        """
        if (checked := self._checked.get(collection.fingerprint)) is not None:
            return checked
        for embedder in self._candidates(collection):
            if self._fits(embedder, collection):
                self._checked[collection.fingerprint] = embedder
                return embedder
        raise self._misfit(collection)

    def _candidates(self, collection: Collection) -> Iterator[Embedder]:
        """Models that may be the collection's: the settings', then the recorded name with our prefixes or its own."""
        from rag.embedding import open_embedder

        settings = self.settings.embedding
        named = settings.model_copy(update={"model": collection.model})
        own = named.model_copy(update={"query_prefix": None, "passage_prefix": None})
        try:
            yield self.embedder
        except ModelError:
            if settings.model == collection.model:
                raise
        for other in (named, own):
            if other != settings:
                with suppress(ModelError):
                    yield open_embedder(other, self.settings.models, notify=self._notify)

    def _fits(self, embedder: Embedder, collection: Collection) -> bool:
        """Whether its vectors lie in the collection's space: by fingerprint, and by the vector of a fixed text."""
        if embedder.fingerprint != collection.fingerprint:
            return False
        if collection.fingerprint in self._checked or collection.probe is None:
            return True
        return _cosine(self._probe(embedder), collection.probe) >= PROBE_COSINE

    def _probe(self, embedder: Embedder) -> Any:
        """The vector of the fixed text, embedded once for each model and what runs it."""
        from rag.reply_cache import cached_vector

        runs_in = getattr(embedder, "runs_in", "")

        def make() -> Any:
            return embedder.embed_passages([PROBE_TEXT])[0]

        if not runs_in or not self.settings.search.cache:
            return make()
        return cached_vector(
            self.replies, "probe", f"{embedder.fingerprint} {runs_in}", embedder.dim, [PROBE_TEXT], make
        )

    def _misfit(self, collection: Collection) -> FingerprintError:
        named = self.settings.embedding.model
        other = "other files, prefixes or limits of that model" if named == collection.model else named
        return FingerprintError(
            f"Collection {collection.name} was built with the embedding model {collection.model} ({collection.dim} dimensions); the settings "
            f"name {other}, whose vectors do not fit. Build it again with `ragstone reindex`, or set [embedding] as it was."
        )

    def _model_warnings(self, collection: Collection) -> tuple[str, ...]:
        """Says so when a dense search used another model than the settings name."""
        used = self._checked.get(collection.fingerprint)
        if used is None or used is self._owner._embedder:
            return ()
        return (f"The collection was built with {collection.model} as it was then, and was searched with that. "
                "`ragstone reindex` builds it for the embedding model in the settings.",)  # fmt: skip

    def writing(self) -> AbstractContextManager[None]:
        """Hold the home's write lock. Raises LockedError after a second when somebody else does."""
        return self._writing()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer per home. Raises LockedError, naming the process that writes, after a second.

        Raises: UsageError when this view is of somebody who may only read.
        """
        from filelock import FileLock, Timeout

        if self._principal and not self._principal.writes:
            raise UsageError("You may read here, and change nothing. Ask an admin for the role editor.")
        check_open_files()
        owner = self.home / "writer.pid"
        lock = FileLock(self.home / WRITER_LOCK)
        try:
            with lock.acquire(timeout=LOCK_WAIT_S):
                owner.write_text(str(os.getpid()))
                with self.catalog.writer_lock(LOCK_WAIT_S):
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
        if (
            isinstance(error, StoreError)
            and self._owner._lite is not None
            and shutil.disk_usage(self.home).free < FULL_BYTES
        ):
            return disk_full(str(self.home))  # the engine does not say why: "Unexpected error in RPC handling"
        return None if isinstance(error, DiskError) else disk_error(error, self.home)


def _graph_package() -> Any:
    """The graph's side of things. It is built upon this package and comes with it; here it is known by name alone."""
    return importlib.import_module("graph.plug")


def _check_collection(name: str) -> None:
    if not name.strip() or len(name) > 100 or any(ord(char) < 32 for char in name):
        raise UsageError(f"A collection's name must have 1 to 100 printable characters, not {name!r}.")


def check_open_files() -> None:
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
