"""The path of a document, top to bottom: find → compare → read → describe → cut → enrich → embed → write → publish.

While one group of documents is embedded, the group before it is written and the next one cut: the model never waits for
the disk. Nothing is published before the store has confirmed every row of it, and a run that is killed anywhere goes on where
it stopped: finished documents are recognised as unchanged, vectors that were computed are in the catalog's cache.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rag import copies, describing, edits, import_pipeline
from rag.catalog import Catalog
from rag.catalog_rows import Draft, Known, vector_key
from rag.chunking import chunk_recipe, chunker
from rag.enrich import Price, reserve, words_of
from rag.enrich import recipe as enrich_recipe
from rag.errors import DocumentError, SourceError, UsageError
from rag.estimate import Sample, estimate
from rag.import_pipeline import ImportPipeline
from rag.late_interaction import embed_for_index
from rag.loaders import markdown
from rag.parse_child import pack_blocks
from rag.parsing import ParsedPart, ParserPool, Parsers, means, parse_parts
from rag.pieces import is_piece, split_large
from rag.principals import PUBLIC
from rag.rows import store_rows, sweep
from rag.settings import ChunkSettings, EnrichSettings, FetchSettings, IngestSettings, ParseSettings
from rag.sources import Found, FoundFile, FoundPage, content_hash, find, read_page, read_stable, root_name, sidecar
from rag.store import MAX_META_BYTES, MilvusStore
from rag.types import ChunkContext, Document, Embedder, Enricher, Failure, IngestReport, ParsedDocument, TypeCount

PARSER_VERSION = 3  # raise it when loaders read a file differently, so that the next import reads all of them again
READ_WITH = (
    " +read_with="  # in the recipe of a failure: it is tried again with other limits, passwords, OCR or converters
)
LISTED_BY = "listed_by"  # beside a page's validators: the sitemap that it was found in
BATCH_CHUNKS = 512  # chunks that are embedded, written and published together
FIRST_CHUNKS = 64  # of the first group; each is twice the one before, so that the model soon has something to do
MOST_PIECES = 2  # of a group of documents, the last of which goes over its end; more are a long document's
BATCH_DOCUMENTS = 512  # documents in one batch, however short they are
MOST_REMEMBERED, LONGEST_REMEMBERED = 1000, 4000  # texts of one document, and characters of one: some 8 MB of offsets
MAX_DOC_ID = 512
DEFAULT_CHUNK_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """stop: when it is set, the import ends after the documents it is writing; a long one stays for the next run."""

    chunk: ChunkSettings
    parse: ParseSettings
    fetch: FetchSettings = FetchSettings()
    ingest: IngestSettings = IngestSettings()
    pipeline: ImportPipeline = ImportPipeline()
    enrich: EnrichSettings = EnrichSettings()
    enrichers: Sequence[Enricher] = ()  # what the settings ask for
    price: Callable[[], Price] | None = None  # of the enrichment that a dry run went through
    prune: bool = False
    dry_run: bool = False
    acl: tuple[str, ...] = ()  # who finds the documents; empty: who did before, and at first everybody
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an import is. n_total grows to its final value before the first document is read.

    n_bytes, of n_total_bytes: of files whose size is known. seconds_left: None until there is something to tell it from.
    """

    n_done: int
    n_total: int
    n_chunks: int
    source: str = ""
    n_bytes: int = 0
    n_total_bytes: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None

    @property
    def chunks_per_s(self) -> float:
        return self.n_chunks / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParts:
    """What an import needs of the system. parsers: opens the reader of files; another one where other machines read."""

    catalog: Catalog
    store: MilvusStore | None  # None in a dry run
    embedder: Embedder
    collection: str
    index: str
    parsers: Callable[[ParseSettings], Parsers] = ParserPool


@dataclass(slots=True)
class _Tally:
    """What a run has done so far."""

    started: float = field(default_factory=time.perf_counter)
    n_total: int = 0
    n_done: int = 0
    n_bytes: int = 0
    n_total_bytes: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    duplicates: int = 0
    n_chunks: int = 0
    n_embedded: int = 0
    stopped: bool = False
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    types: dict[str, TypeCount] = field(default_factory=dict)

    def count(self, draft: Draft, parsed: ParsedDocument) -> None:
        """Note what is written of a document."""
        so_far = self.types.get(draft.type) or TypeCount(type=draft.type)
        self.types[draft.type] = replace(
            so_far,
            n_documents=so_far.n_documents + 1,
            n_pages=so_far.n_pages + (draft.n_pages or 0),
            n_tables=so_far.n_tables + sum(block.kind == "table" for block in parsed.blocks),
            n_chunks=so_far.n_chunks + len(draft.chunks),
            n_warnings=so_far.n_warnings + len(draft.warnings),
        )

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.steps[step] = self.steps.get(step, 0.0) + time.perf_counter() - start

    def progress(self, source: str) -> Progress:
        seconds = time.perf_counter() - self.started
        share = self.n_bytes / self.n_total_bytes if self.n_total_bytes else self.n_done / max(self.n_total, 1)
        left = seconds * (1 - share) / share if share > 0.01 and seconds > 1 else None
        return Progress(
            n_done=self.n_done, n_total=self.n_total, n_chunks=self.n_chunks, source=source, n_bytes=self.n_bytes,
            n_total_bytes=self.n_total_bytes, seconds=seconds, seconds_left=left,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A document on its way: its identity, what the catalog knows of it, and where to get it.

    described: metadata from outside the document: its path, a file beside it.
    """

    draft: Draft  # without text and chunks
    known: Known | None
    found: Found | None = None
    described: tuple[str, tuple[str, bytes] | None] = ("", None)  # root, sidecar
    parsed: ParsedDocument | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Embedding:
    """The vectors of a group of documents: those that the cache had, and those that are being computed, by key."""

    cached: dict[str, np.ndarray]
    computed: Sequence[tuple[Sequence[str], Future[tuple[np.ndarray, list[bytes] | None]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Documents that are published together. twins: those that share the chunks of another document, with its id."""

    batch: Sequence[tuple[_Item, Draft]]
    own: Sequence[Draft]
    twins: Sequence[tuple[Draft, str]]
    embedding: _Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What became of reading an item. result: None when its content is what the catalog has already."""

    item: _Item
    result: ParsedDocument | Failure | None
    parts: Sequence[ParsedPart] = ()


def ingest(
    sources: Any,
    *,
    parts: IngestParts,
    options: IngestOptions,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Import or update documents.

    sources: paths of files and folders, URLs, or Document records (any iterable, read once).
    Raises: SourceError for a path that is not there or holds nothing; StoreError; CatalogError; ModelError. Documents
    that cannot be read do not raise: they are in the report's failures.
    """
    tally = _Tally()
    with _one_thread() as thread, parts.parsers(options.parse) as pool:
        run = _Run(parts, options, tally, progress or (lambda _now: None), thread, pool)
        run_id, killed = _begin(parts, options, tally)
        paths, documents = _split(sources)
        todo, roots = run.plan(paths)
        items = run.unless_stopped(run.read(todo, documents))
        for batch in _batches(run.cut(items)):
            run.write(batch)
        run.finish()
    if not tally.stopped:
        run.remove(roots if options.prune else ())
    if not options.dry_run:
        _tidy(parts, tally, thoroughly=killed or bool(tally.updated or tally.deleted))
    report = run.report()
    if run_id:
        parts.catalog.finish_run(run_id, asdict(report))
    return report


@contextmanager
def _one_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread for the embedding model. Leaving, also by an error, waits for the call that runs, not for those that wait."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
    try:
        yield thread
    finally:
        thread.shutdown(cancel_futures=True)


def _begin(parts: IngestParts, options: IngestOptions, tally: _Tally) -> tuple[str, bool]:
    """Note the run, and clear away what a killed one left. Returns the run's id and whether there was a killed one."""
    if options.dry_run:
        return "", False
    catalog, name = parts.catalog, parts.collection
    killed = catalog.unfinished_run(name)
    catalog.recover(name)
    catalog.forget_unfinished_runs(name)
    with tally.timed("sweep"):
        sweep(catalog, parts.store, name, parts.index)
    return catalog.start_run(name), killed


def _tidy(parts: IngestParts, tally: _Tally, *, thoroughly: bool) -> None:
    """Take what was replaced out of the store and, where anything was, out of the cache of vectors."""
    with tally.timed("sweep"):
        swept = sweep(parts.catalog, parts.store, parts.collection, parts.index)
        if thoroughly or swept:
            parts.catalog.drop_unused_vectors()


def chunk_size(settings: ChunkSettings, embedder: Embedder) -> int:
    """Tokens per chunk: what the settings say, else the model's limit, at most 512. Raises UsageError if it cannot be."""
    size = settings.size or min(embedder.max_tokens, DEFAULT_CHUNK_TOKENS)
    if size > embedder.max_tokens:
        raise UsageError(
            f"Chunks of {size} tokens were asked for, but {embedder.name} reads {embedder.max_tokens}: the rest would never be "
            f"embedded. Use --chunk-size {embedder.max_tokens} or less, or a model with a longer input."
        )
    if settings.overlap * 2 > size:
        raise UsageError(
            f"An overlap of {settings.overlap} tokens is more than half of a chunk of {size}. Use --overlap {size // 4} or less."
        )
    return size


def file_doc_id(source: str) -> str:
    """A file's document id: 16 hex digits of its path's hash, so that any name is safe in any place."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Run:
    """One import: its parts and options, what it has done so far, and the steps, in the order they are taken."""

    def __init__(
        self,
        parts: IngestParts,
        options: IngestOptions,
        tally: _Tally,
        progress: Callable[[Progress], None],
        thread: ThreadPoolExecutor,
        pool: Parsers,
    ) -> None:
        self.parts, self.options, self.tally, self.progress = parts, options, tally, progress
        self.size = chunk_size(options.chunk, parts.embedder)
        self.recipe = recipe_of(options.chunk, parts.embedder, options.enrich) + options.pipeline.recipe
        self.chunker = options.pipeline.chunker or chunker(options.chunk, reserve=reserve(options.enrich))
        self.enrichers = [*options.pipeline.enrichers, *options.enrichers]
        self.means = READ_WITH + means(options.parse)
        self.patterns = describing.path_patterns(options.ingest.path_patterns)
        self.known: Mapping[str, Known] = {}
        self.members: dict[str, list[Known]] = {}  # by container
        self.gone: list[str] = []  # members that a changed container, and pieces that a changed file, no longer has
        self.first: dict[str, str] = {}  # content hash → doc_id of the document that holds it
        self.sample = Sample()
        self.thread, self.pool = thread, pool
        self.waiting: _Group | None = None  # its chunks are being embedded

    # ------------------------------------------------------------ find and compare

    def plan(self, paths: Sequence[str | Path | FoundFile]) -> tuple[list[_Item], list[_Root]]:
        """What must be read. Files whose size and time are the same are counted as unchanged at once."""
        if not paths:
            return [], []
        self._know()
        todo: list[_Item] = []
        seen: set[str] = set()
        whole: set[str] = set()  # sources of files, those in pieces too
        unread: list[str] = []  # what is there, only out of reach: files, folders, pages
        whole_lists = True  # sitemaps were read to their ends
        named = [path for path in paths if isinstance(path, FoundFile)]
        others = [path for path in paths if not isinstance(path, FoundFile)]
        names = [root_name(path) for path in others]
        max_bytes = int(self.options.parse.max_file_mb * 1_000_000)
        with self.tally.timed("find"):
            for found in split_large(chain(named, find(others, self.options.fetch) if others else ()), max_bytes):
                if isinstance(found, Failure):
                    self.tally.failures.append(found)
                    self.tally.n_done += 1
                    unread.append(found.source)
                    whole_lists = (
                        whole_lists and found.code == "E_URL_FORBIDDEN"
                    )  # that is one page; else a part of a list
                    continue
                item = self._item(found, names)
                if item.draft.doc_id in seen:
                    continue
                seen.add(item.draft.doc_id)
                whole.add(found.of or found.source if isinstance(found, FoundFile) else found.source)
                if self._looks_unchanged(item):
                    self._count_unchanged(item.known)
                    self.tally.n_done += 1
                else:
                    if not todo:
                        self.pool.prepare()  # its start takes as long as a look at some thousand files
                    todo.append(item)
                    self.tally.n_total_bytes += item.draft.size
        self.tally.n_total = self.tally.n_done + len(todo)
        self.gone += [one.doc_id for one in self.known.values() if one.doc_id not in seen and _replaced(one, whole)]
        if not self.options.dry_run:
            fresh = [item.draft for item in todo if item.known is None]
            self.parts.catalog.await_documents(self.parts.collection, fresh)
        return todo, [_Root(name, frozenset(seen), tuple(unread), whole_lists) for name in names]

    def _know(self) -> None:
        self.known = self.parts.catalog.known(self.parts.collection)
        for known in self.known.values():
            if known.container:
                self.members.setdefault(known.container, []).append(known)
            if (
                known.version
                and not known.code
                and self.options.ingest.dedupe
                and known.acl == PUBLIC  # who finds the copy might not find the original
                and not known.edits.get("disabled")
                and known.doc_id == file_doc_id(known.source)
            ):
                self.first.setdefault(known.content_hash, known.doc_id)

    def _item(self, found: Found, roots: Sequence[str]) -> _Item:
        root = next(
            (name for name in roots if found.source == name or found.source.startswith(name.rstrip("/") + "/")), ""
        )
        beside = sidecar(found)
        outside = describing.fingerprint(found.source, root=root, patterns=self.patterns, sidecar=beside)
        doc_id = file_doc_id(found.source)
        stat = (found.size, found.mtime_ns) if isinstance(found, FoundFile) else (0, 0)
        known = self.known.get(doc_id)
        draft = Draft(doc_id=doc_id, source=found.source, title="", type="", text="", content_hash="",
                      recipe=self.recipe + (f" +described={outside}" if outside else ""), size=stat[0], mtime_ns=stat[1],
                      acl=self._acl(known))  # fmt: skip
        return _Item(draft=_as_edited(draft, known), known=known, found=found, described=(root, beside))

    def _looks_unchanged(self, item: _Item) -> bool:
        known, draft = item.known, item.draft
        if not isinstance(item.found, FoundFile) or not self._same_recipe(known, draft):
            return False
        assert known is not None
        if known.copy_of and known.copy_of not in self.known:
            return False
        return (known.size, known.mtime_ns) == (draft.size, draft.mtime_ns)

    def _same_recipe(self, known: Known | None, draft: Draft) -> bool:
        """Whether a document of the same content would become the same again, failures in it and inside it too."""
        if known is None or known.acl != draft.acl or not known.content_hash:
            return False
        failed = [one for one in (known, *self.members.get(known.doc_id, ())) if one.code]
        same = known.recipe.partition(READ_WITH)[0] == draft.recipe
        return same and all(one.recipe.endswith(self.means) for one in failed)

    def _acl(self, known: Known | None) -> tuple[str, ...]:
        """Who finds a document: what the import says, else what was so before."""
        return self.options.acl or (known.acl if known else PUBLIC)

    def _count_unchanged(self, known: Known | None) -> None:
        """Count a document whose content the catalog has, and those found inside it. A failure is reported again."""
        assert known is not None
        for one in (known, *self.members.get(known.doc_id, ())):
            if one.code:
                self.tally.failures.append(Failure(source=one.source, code=one.code, message=one.message))
            else:
                self.tally.unchanged += 1

    # ------------------------------------------------------------ read

    def read(self, todo: Sequence[_Item], documents: Iterable[Document]) -> Iterator[_Item]:
        """Documents as they are read, those found inside a file before the file itself; failures are recorded.

        A container comes after its members: once it is published, an import takes it for finished.
        """
        start = time.perf_counter()
        for read in self.pool.side_by_side(self._read, todo):
            self.tally.steps["read"] = self.tally.steps.get("read", 0.0) + time.perf_counter() - start
            yield from self._taken(read)
            self.tally.n_bytes += read.item.draft.size
            self._done(read.item.draft.source)
            start = time.perf_counter()
        for item in self._documents(documents):
            yield item
            self._done(item.draft.source)

    def _read(self, item: _Item) -> _Read:
        """Runs in a thread of its own. Touches nothing but what it is given, and the parsers."""
        assert item.found is not None
        pool, name = self.pool, item.found.name
        try:
            data, draft = self._bytes(pool, item)
            item = replace(item, draft=draft)
            if data is None:
                return _Read(item=item, result=None)
            loader = self.options.pipeline.loader(name)
            parsed = import_pipeline.load_with(loader, data, name) if loader else pool.parse(data, name)
            if not parsed.parts:
                return _Read(item=item, result=parsed)
            inside, warnings = parse_parts(pool, parsed, item.draft.source)
            return _Read(
                item=item, result=replace(parsed, parts=(), warnings=(*parsed.warnings, *warnings)), parts=inside
            )
        except DocumentError as error:
            failure = Failure(source=item.draft.source, code=error.code, message=str(error))
            return _Read(item=item, result=failure)

    def _bytes(self, pool: Parsers, item: _Item) -> tuple[bytes | None, Draft]:
        """The content, None when it is what the catalog has, and the draft with what was learned on the way."""
        draft, same = item.draft, self._same_recipe(item.known, item.draft)
        if isinstance(item.found, FoundPage):
            earlier = (
                {key: value for key, value in item.known.validators.items() if key != LISTED_BY}
                if same and item.known
                else {}
            )
            listed = {LISTED_BY: item.found.listed_by}
            page = read_page(item.found, pool.max_bytes, self.options.fetch, **earlier)
            if page.not_modified:
                assert item.known is not None
                kept = {key: value for key, value in (earlier | listed).items() if value}
                return None, replace(draft, content_hash=item.known.content_hash, validators=kept, size=item.known.size)
            given = {"etag": page.etag, "last_modified": page.last_modified, **listed}
            draft = replace(
                draft, validators={key: value for key, value in given.items() if value}, size=len(page.data)
            )
            data = page.data
        else:
            assert item.found is not None
            piece = {"start": item.found.start, "length": item.found.size} if item.found.of else {}
            data = read_stable(item.found.path, pool.max_bytes, **piece)
        draft = replace(draft, content_hash=content_hash(data))
        unchanged = same and item.known is not None and item.known.content_hash == draft.content_hash
        return (None if unchanged else data), draft

    def _taken(self, read: _Read) -> Iterator[_Item]:
        """What goes on of an item that was read: the documents inside it, then itself."""
        item, result = read.item, read.result
        if result is None:
            self._count_unchanged(item.known)
            if not self.options.dry_run:
                self.parts.catalog.touch(self.parts.collection, [item.draft])
        elif isinstance(result, Failure):
            self._fail(item, result)
        else:
            yield from self._inside(item, read.parts)
            yield replace(item, parsed=result)

    def _inside(self, container: _Item, parts: Sequence[ParsedPart]) -> Iterator[_Item]:
        """The documents inside a container: those that are new or changed. The ones that are gone are noted."""
        seen: set[str] = set()
        for part in parts:
            source = f"{container.draft.source}!/{part.name}"
            doc_id = file_doc_id(source)
            if doc_id in seen:
                continue
            seen.add(doc_id)
            self.tally.n_total += 1
            draft = replace(container.draft, doc_id=doc_id, source=source, content_hash=part.digest, size=part.size,
                            container=container.draft.doc_id, validators={})  # fmt: skip
            known = self.known.get(doc_id)
            item = replace(container, draft=_as_edited(draft, known), known=known)
            if item.known and self._same_recipe(item.known, item.draft) and item.known.content_hash == part.digest:
                self._count_unchanged(item.known)
                self._done(source)
                continue
            if isinstance(part.result, Failure):
                self._fail(item, part.result)
            else:
                yield replace(item, parsed=part.result)
            self._done(source)
        self.gone += [
            known.doc_id for known in self.members.get(container.draft.doc_id, ()) if known.doc_id not in seen
        ]

    def _documents(self, documents: Iterable[Document]) -> Iterator[_Item]:
        """Documents given in code, the unchanged ones left out."""
        known: Mapping[str, Known] | None = None
        seen: set[str] = set()
        for document in documents:
            if known is None:
                known = self.parts.catalog.known(self.parts.collection)
            self.tally.n_total += 1
            item = _document_item(document, self.recipe, known, self._acl)
            if item.draft.doc_id in seen:
                self.tally.warnings.append(
                    f"Two documents are named {item.draft.doc_id!r}; the later one was left out."
                )
                self.tally.n_done += 1
                continue
            seen.add(item.draft.doc_id)
            before = item.known
            if (
                before
                and self._same_recipe(before, item.draft)
                and before.content_hash == item.draft.content_hash
                and not before.code
            ):
                self._count_unchanged(before)
                self._done(item.draft.source)
                continue
            assert item.parsed is not None
            if item.parsed.text.strip():
                yield item
            else:
                text = f"The document {item.draft.source} holds no text."
                self._fail(item, Failure(source=item.draft.source, code="E_NO_TEXT", message=text))
                self._done(item.draft.source)

    def _fail(self, item: _Item, failure: Failure) -> None:
        self.tally.failures.append(failure)
        if not self.options.dry_run:
            draft = replace(item.draft, recipe=item.draft.recipe + self.means)
            self.parts.catalog.fail(self.parts.collection, draft, failure.code, failure.message)

    def _done(self, source: str) -> None:
        self.tally.n_done += 1
        self.progress(self.tally.progress(source))

    def unless_stopped(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """The items until somebody asks to stop; what was not read yet stays for the next run."""
        for item in items:
            if self.options.stop.is_set():
                self.tally.stopped = True
                items.close()  # type: ignore[attr-defined]
                return
            yield item

    # ------------------------------------------------------------ cut

    def cut(self, items: Iterable[_Item]) -> Iterator[tuple[_Item, Draft]]:
        """Documents described, cut into chunks, enriched; each chunk with the key of its vector."""
        pipeline, embedder = self.options.pipeline, self.parts.embedder
        for item in items:
            assert item.parsed is not None
            with self.tally.timed("cut"):
                parsed = import_pipeline.clean(item.parsed, pipeline.cleaners)
                if called := item.draft.edits.get("title"):
                    parsed = replace(parsed, title=called)
                metadata, notes = self._describe(item, parsed)
                warnings = (*parsed.warnings, *notes)
                chunks = import_pipeline.cut(
                    parsed, self._context(item), chunker=self.chunker, enrichers=self.enrichers
                ) if parsed.text.strip() else []  # fmt: skip
                metadata = edits.metadata({**metadata, **words_of(chunks, self.options.enrich)}, item.draft.edits)
                keys = [vector_key(embedder.fingerprint, chunk.indexed_text) for chunk in chunks]
            self.tally.warnings.extend(f"{item.draft.source}: {warning}" for warning in warnings)
            title = called or item.draft.title or parsed.title or Path(item.draft.source).name
            yield item, replace(
                item.draft, title=title, type=parsed.type, text=parsed.text, n_pages=parsed.n_pages, metadata=metadata,
                warnings=warnings, chunks=chunks, vector_keys=keys, blocks=pack_blocks(parsed.blocks),
            )  # fmt: skip

    def _describe(self, item: _Item, parsed: ParsedDocument) -> tuple[dict[str, Any], list[str]]:
        """Metadata from inside the document, its path and the file beside it."""
        if item.found is None:
            return dict(parsed.metadata), []
        root, beside = item.described
        metadata, warnings = describing.describe(
            item.draft.source, root=root, patterns=self.patterns, front=parsed.metadata, sidecar=beside
        )
        try:
            return _metadata(metadata), warnings
        except SourceError as error:
            return {}, [*warnings, f"Its metadata were left out: {error}"]

    def _context(self, item: _Item) -> ChunkContext:
        embedder, chunk = self.parts.embedder, self.options.chunk
        size, overlap = edits.chunk_sizes(self.size, chunk.overlap, item.draft.edits, most=embedder.max_tokens)
        return ChunkContext(
            doc_id=item.draft.doc_id, tokens=_remembered(embedder.token_offsets), size=size, overlap=overlap,
            context_tokens=chunk.context_tokens, overhead=embedder.passage_overhead(), embed=embedder.embed_passages,
        )  # fmt: skip

    # ------------------------------------------------------------ embed, write, publish

    def write(self, batch: Sequence[tuple[_Item, Draft]]) -> bool:
        """Begin to embed a group of documents; meanwhile, write and publish the group before it. Whether there was one."""
        own, twins = self._apart(batch)
        drafts = [draft for _, draft in own]
        if self.options.dry_run:
            self.sample.add([chunk for draft in drafts for chunk in draft.chunks])
            self._count(batch, twins)
            return False
        group = _Group(batch=batch, own=drafts, twins=twins, embedding=self._embed(drafts))
        published = self.finish()
        self.waiting = group
        return published

    def finish(self) -> bool:
        """Write and publish the group whose chunks are being embedded, if there is one; then, and only then, it counts."""
        group, self.waiting = self.waiting, None
        if group is None:
            return False
        vectors = self._vectors(group.embedding)
        if vectors is None:
            self.tally.stopped = True
            return False
        self._release([item.known for item, _ in group.batch])
        self._publish(group.own, vectors)
        self.parts.catalog.mark_copies(self.parts.collection, group.twins)
        self._count(group.batch, group.twins)
        return True

    def _count(self, batch: Sequence[tuple[_Item, Draft]], twins: Sequence[tuple[Draft, str]]) -> None:
        self.tally.duplicates += len(twins)
        without_chunks = {draft.doc_id for draft, _ in twins}
        for item, draft in batch:
            if draft.doc_id not in without_chunks and item.parsed is not None:
                self.tally.n_chunks += len(draft.chunks)
                self.tally.count(draft, item.parsed)
            if item.known is not None and (item.known.version > 0 or item.known.copy_of):
                self.tally.updated += 1
            else:
                self.tally.added += 1

    def _apart(self, batch: Sequence[tuple[_Item, Draft]]) -> tuple[list[tuple[_Item, Draft]], list[tuple[Draft, str]]]:
        """The documents that get chunks of their own, and those whose content another document has, with its id."""
        if not self.options.ingest.dedupe:
            return list(batch), []
        own: list[tuple[_Item, Draft]] = []
        twins: list[tuple[Draft, str]] = []
        for item, draft in batch:
            alike = (
                item.found is not None and draft.acl == PUBLIC and not draft.edits
            )  # edited, it is a document of its own
            first = self.first.get(draft.content_hash) if alike else None
            if first is not None and first != draft.doc_id and draft.chunks:
                twins.append((draft, first))
                continue
            own.append((item, draft))
            if item.found is not None and draft.chunks and draft.acl == PUBLIC and not draft.disabled:
                self.first[draft.content_hash] = draft.doc_id
            if item.known and self.first.get(item.known.content_hash) == draft.doc_id != self.first.get(
                draft.content_hash
            ):
                del self.first[item.known.content_hash]
        return own, twins

    def _release(self, known: Sequence[Known | None]) -> None:
        """Documents that change leave their old content to their copies, if they have any."""
        catalog, store, name = self.parts.catalog, self.parts.store, self.parts.collection
        assert store is not None
        if changed := [one.doc_id for one in known if one is not None and one.version > 0]:
            copies.release(catalog, store, name, self.parts.index, changed)

    def _publish(self, drafts: Sequence[Draft], vectors: Mapping[str, np.ndarray]) -> None:
        catalog, store, name = self.parts.catalog, self.parts.store, self.parts.collection
        assert store is not None
        with self.tally.timed("write"):
            keys = catalog.stage(name, drafts)
            found = [(draft, pks) for draft, pks in zip(drafts, keys, strict=True) if not draft.disabled]
            rows = [row for draft, pks in found for row in store_rows(draft, pks)]
            if rows:
                store.upsert(self.parts.index, rows, [vectors[key] for draft, _ in found for key in draft.vector_keys])
            catalog.publish(name, drafts)

    def _embed(self, drafts: Sequence[Draft]) -> _Embedding:
        """Look up the vector of every chunk; what the cache lacks goes to the embedding thread, texts of like length together."""
        texts = {
            key: chunk.indexed_text
            for draft in drafts
            for key, chunk in zip(draft.vector_keys, draft.chunks, strict=True)
        }
        cached = self.parts.catalog.vectors(list(texts))
        missing = sorted(texts.keys() - cached.keys(), key=lambda key: len(texts[key]))
        pieces = [missing[start : start + BATCH_CHUNKS] for start in range(0, len(missing), BATCH_CHUNKS)]
        computed = [(keys, self.thread.submit(self._compute, [texts[key] for key in keys])) for keys in pieces]
        return _Embedding(cached=cached, computed=computed)

    def _compute(self, texts: Sequence[str]) -> tuple[np.ndarray, list[bytes] | None]:
        """Runs in the embedding thread, the only one that counts this step."""
        with self.tally.timed("embed"):
            return embed_for_index(self.parts.embedder, texts)

    def _vectors(self, embedding: _Embedding) -> dict[str, np.ndarray] | None:
        """The vectors by key when they are there. Those that were computed are cached piece by piece.

        None when somebody asks to stop in the middle of a long document: the next run begins where this ends.
        """
        vectors = dict(embedding.cached)
        for keys, future in embedding.computed:
            if len(embedding.computed) > MOST_PIECES and self.options.stop.is_set():
                for _, one in embedding.computed:
                    one.cancel()  # but for the piece that is being computed, and those that are
            if future.cancelled():
                return None
            computed, tokens = future.result()
            new = dict(zip(keys, computed, strict=True))
            self.parts.catalog.put_vectors(new, dict(zip(keys, tokens, strict=True)) if tokens else None)
            self.tally.n_embedded += len(new)
            vectors |= new
        return vectors

    # ------------------------------------------------------------ remove and report

    def remove(self, pruned: Sequence[_Root]) -> None:
        """Delete what changed files no longer hold and, under pruned paths, documents that are no longer there."""
        lost = set(self.gone)
        if pruned:
            known = self.parts.catalog.known(self.parts.collection)
            lost |= {
                one.doc_id for one in known.values() if not one.container and any(root.lost(one) for root in pruned)
            }
            lost |= {one.doc_id for one in known.values() if one.container in lost}
        self._delete(sorted(lost))

    def _delete(self, doc_ids: Sequence[str]) -> None:
        if self.options.dry_run or not doc_ids:
            self.tally.deleted += len(doc_ids)
            return
        self.tally.deleted += delete(
            self.parts.catalog, self.parts.store, self.parts.collection, self.parts.index, doc_ids
        )

    def report(self) -> IngestReport:
        tally = self.tally
        seconds = time.perf_counter() - tally.started
        estimated = None
        if self.options.dry_run:
            estimated = estimate(
                self.sample, embedder=self.parts.embedder, catalog=self.parts.catalog, collection=self.parts.collection,
                seconds_so_far=seconds,
            )  # fmt: skip
            cost = self.options.price() if self.options.price else Price()
            estimated = replace(
                estimated, n_model_calls=cost.n_calls, n_model_tokens=cost.n_prompt_tokens + cost.n_answer_tokens,
                cost_usd=cost.usd, model_seconds=cost.seconds,
                seconds=round(estimated.seconds + (cost.seconds or 0.0), 3),
            )  # fmt: skip
        return IngestReport(
            added=tally.added, updated=tally.updated, unchanged=tally.unchanged, deleted=tally.deleted,
            duplicates=tally.duplicates, failures=tuple(tally.failures), n_chunks=tally.n_chunks,
            n_embedded=tally.n_embedded, seconds=round(seconds, 3), dry_run=self.options.dry_run, stopped=tally.stopped,
            seconds_by_step={name: round(value, 3) for name, value in tally.steps.items()}, estimate=estimated,
            warnings=tuple(tally.warnings),
            types=tuple(sorted(tally.types.values(), key=lambda one: (-one.n_documents, one.type))),
        )  # fmt: skip


def delete(catalog: Catalog, store: MilvusStore | None, collection: str, index: str, doc_ids: Sequence[str]) -> int:
    """Remove documents: invisible to searches when this returns. Copies of them take their chunks over first.

    Their rows are garbage then, for `sweep`. Returns how many there were.
    """
    if catalog.has_copies(collection):
        assert store is not None
        copies.release(catalog, store, collection, index, doc_ids)
    return catalog.delete(collection, doc_ids)


def recipe_of(settings: ChunkSettings, embedder: Embedder, enrich: EnrichSettings) -> str:
    """The recipe that an import with these settings notes. Raises: UsageError, see chunk_size."""
    return _recipe(settings, chunk_size(settings, embedder), embedder) + enrich_recipe(enrich)


def rewrite(
    documents: Iterable[tuple[Draft, ParsedDocument]], *, parts: IngestParts, options: IngestOptions
) -> Iterator[IngestReport]:
    """Cut, embed and write documents that were parsed before; after each group that is published, the report so far."""
    with _one_thread() as thread, parts.parsers(options.parse) as pool:
        run = _Run(parts, options, _Tally(), lambda _now: None, thread, pool)
        items = (_Item(draft=draft, known=None, parsed=parsed) for draft, parsed in documents)
        for batch in _batches(run.cut(items)):
            if run.write(batch):
                yield run.report()
        if run.finish():
            yield run.report()


@dataclass(frozen=True, slots=True)
class _Root:
    """A path or sitemap that was imported, and the documents found in all of them together."""

    path: str
    seen: frozenset[str]
    unread: tuple[str, ...]  # sources of what could not be looked at: nobody knows what is gone there
    whole_list: bool  # no part of a sitemap is missing

    def lost(self, known: Known) -> bool:
        listed = self.whole_list and known.validators.get(LISTED_BY) == self.path
        if known.doc_id in self.seen or not (listed or _inside(known.source, self.path)):
            return False
        return not any(_inside(known.source, one) for one in self.unread)


def _inside(source: str, folder: str) -> bool:
    return source == folder or source.startswith(folder.rstrip("/") + "/")


def _replaced(known: Known, files: set[str]) -> bool:
    """Whether a document that was not found is of a file that was: a piece that is no more, or the file before it was cut."""
    if known.container or known.doc_id != file_doc_id(known.source):
        return False
    of = known.source.rpartition("!/")[0]
    return known.source in files or (of in files and is_piece(known.source, of))


def _batches(drafts: Iterable[tuple[_Item, Draft]]) -> Iterator[list[tuple[_Item, Draft]]]:
    """Groups of about BATCH_CHUNKS chunks, smaller ones first; a large document is a group of its own."""
    batch: list[tuple[_Item, Draft]] = []
    n_chunks, most = 0, FIRST_CHUNKS
    for item, draft in drafts:
        batch.append((item, draft))
        n_chunks += len(draft.chunks)
        if n_chunks >= most or len(batch) >= min(most, BATCH_DOCUMENTS):
            yield batch
            batch, n_chunks, most = [], 0, min(2 * most, BATCH_CHUNKS)
    if batch:
        yield batch


def _remembered(tokens: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same function for one document: a chunk is counted by who cuts it and again by who checks it."""
    known: dict[str, Any] = {}

    def remembered(text: str) -> Any:
        if (spans := known.get(text)) is None:
            spans = tokens(text)
            if len(known) < MOST_REMEMBERED and len(text) <= LONGEST_REMEMBERED:
                known[text] = spans
        return spans

    return remembered


def _recipe(settings: ChunkSettings, size: int, embedder: Embedder) -> str:
    """Names everything besides the content that decides what is stored."""
    return f"parser={PARSER_VERSION} size={size} overlap={settings.overlap} context={settings.context_tokens} model={embedder.fingerprint[:16]}{chunk_recipe(settings)}"


# ---------------------------------------------------------------- documents given in code


def _split(sources: Any) -> tuple[list[str | Path | FoundFile], Iterable[Document]]:
    """Paths, and a stream of documents. The two are not mixed in one call."""
    if isinstance(sources, (str, Path)):
        return [sources], ()
    if isinstance(sources, Document):
        return [], [sources]
    stream = iter(sources)
    first = next(stream, None)
    if first is None:
        raise SourceError("Nothing to import: the list of sources is empty. Name files, folders or Document records.")
    if isinstance(first, Document):
        return [], _checked_documents(first, stream)
    paths = [first, *stream]
    for path in paths:
        if not isinstance(path, (str, Path, FoundFile)):
            raise SourceError(f"A source must be a path or a Document, not {type(path).__name__}.")
    return paths, ()


def _checked_documents(first: Document, rest: Iterator[Any]) -> Iterator[Document]:
    yield first
    for one in rest:
        if not isinstance(one, Document):
            raise SourceError(f"A source must be a Document like the ones before it, not {type(one).__name__}.")
        yield one


def _document_item(
    document: Document, recipe: str, known: Mapping[str, Known], acl: Callable[[Known | None], tuple[str, ...]]
) -> _Item:
    doc_id = document.doc_id or (file_doc_id(document.source) if document.source else "")
    if not doc_id or len(doc_id) > MAX_DOC_ID:
        raise SourceError(
            f"A Document needs a doc_id of 1 to {MAX_DOC_ID} characters, or a source. Given: {document.doc_id[:40]!r}."
        )
    text, title = _valid(document.text), _valid(document.title)
    meta = _metadata(document.metadata)
    identity = json.dumps([text, title, document.source, document.type, meta], ensure_ascii=False, sort_keys=True)
    draft = Draft(doc_id=_valid(doc_id), source=_valid(document.source) or doc_id, title=title, type=document.type, text="",
                  content_hash=content_hash(identity.encode("utf-8")), recipe=recipe, size=len(text),
                  acl=acl(known.get(_valid(doc_id))))  # fmt: skip
    draft = _as_edited(draft, known.get(draft.doc_id))
    blocks = markdown.blocks(text) if document.type == "markdown" else ()
    parsed = ParsedDocument(text=text, title=title, type=document.type, metadata=meta, blocks=tuple(blocks))
    return _Item(draft=draft, known=known.get(draft.doc_id), parsed=parsed)


def _as_edited(draft: Draft, known: Known | None) -> Draft:
    """With what people set on the document before."""
    set_before = known.edits if known else {}
    if not set_before and not draft.edits:
        return draft
    return replace(draft, edits=set_before, recipe=edits.marked(draft.recipe, set_before))


def _valid(text: str) -> str:
    """Lone surrogates cannot be stored as UTF-8; each becomes one replacement character, so offsets stay."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


def _metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        encoded = json.dumps(dict(given), ensure_ascii=False, sort_keys=True, default=str)
    except (TypeError, ValueError) as error:
        raise SourceError(f"Document metadata must be plain values: {error}.") from error
    if len(encoded.encode("utf-8", "replace")) > MAX_META_BYTES:
        raise SourceError(
            f"Document metadata may take {MAX_META_BYTES} bytes, not {len(encoded)}. Put long texts into the document."
        )
    return dict(json.loads(_valid(encoded)))
