"""The path of a document, top to bottom: find → compare → parse → chunk → embed → write → publish.

Nothing is published before the store has confirmed every row of it, and a run that is killed anywhere goes on where
it stopped: finished documents are recognised as unchanged, vectors that were computed are in the catalog's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rag.catalog import Catalog, Draft, Known, vector_key
from rag.chunking import chunk_document
from rag.errors import DocumentError, SourceError, StoreError, UsageError
from rag.loaders import markdown
from rag.parsing import ParserPool
from rag.settings import ChunkSettings, ParseSettings
from rag.sources import FoundFile, content_hash, find, read_stable, source_name
from rag.store import MAX_META_BYTES, MilvusStore
from rag.types import Chunk, Document, Embedder, Failure, IngestReport, ParsedDocument, TypeCount

PARSER_VERSION = 1  # raise it when loaders read a file differently, so that the next import reads all of them again
BATCH_CHUNKS = 512  # chunks that are embedded, written and published together
MAX_DOC_ID = 512
DEFAULT_CHUNK_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    chunk: ChunkSettings
    parse: ParseSettings
    prune: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an import is. n_total grows to its final value before the first document is read."""

    n_done: int
    n_total: int
    n_chunks: int
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParts:
    catalog: Catalog
    store: MilvusStore | None  # None in a dry run
    embedder: Embedder
    collection: str
    index: str


@dataclass(slots=True)
class _Tally:
    """What a run has done so far."""

    n_total: int = 0
    n_done: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    n_chunks: int = 0
    n_embedded: int = 0
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    types: dict[str, TypeCount] = field(default_factory=dict)

    def count(self, draft: Draft) -> None:
        """Note what was written of a document."""
        so_far = self.types.get(draft.type) or TypeCount(type=draft.type)
        self.types[draft.type] = replace(
            so_far,
            n_documents=so_far.n_documents + 1,
            n_pages=so_far.n_pages + (draft.n_pages or 0),
            n_tables=so_far.n_tables + sum(block.kind == "table" for block in draft.blocks),
            n_chunks=so_far.n_chunks + len(draft.chunks),
            n_warnings=so_far.n_warnings + len(draft.warnings),
        )
        self.n_chunks += len(draft.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A document to be written: what was found, its identity and what the catalog knows of it."""

    draft: Draft  # without text and chunks
    known: Known | None
    file: FoundFile | None = None
    parsed: ParsedDocument | None = None  # given in code, nothing to parse


def ingest(
    sources: Iterable[Any],
    *,
    parts: IngestParts,
    options: IngestOptions,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Import or update documents.

    sources: paths of files and folders, or Document records (any iterable, read once).
    Raises: SourceError for a path that is not there or holds nothing; StoreError; CatalogError; ModelError. Documents
    that cannot be read do not raise: they are in the report's failures.
    """
    start = time.perf_counter()
    tally = _Tally()
    size = chunk_size(options.chunk, parts.embedder)
    recipe = _recipe(options.chunk, size, parts.embedder)
    run_id = "" if options.dry_run else parts.catalog.start_run(parts.collection)
    if not options.dry_run:
        parts.catalog.recover(parts.collection)
        _sweep(parts)

    paths, documents = _split(sources)
    todo, roots = _plan(paths, recipe, parts, tally)
    tally.n_total = tally.n_done + len(todo)
    drafts = _drafts(todo, documents, recipe, parts, options, tally, progress)
    for batch in _batches(_chunked(drafts, parts, options, size, tally)):
        _write(batch, parts, tally, dry_run=options.dry_run)
    if options.prune:
        _prune(roots, parts, tally, dry_run=options.dry_run)
    if not options.dry_run:
        _sweep(parts)
        parts.catalog.drop_unused_vectors()  # always: a run that was killed may have left some

    report = _report(tally, time.perf_counter() - start, options.dry_run)
    if run_id:
        parts.catalog.finish_run(run_id, asdict(report))
    return report


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


# ---------------------------------------------------------------- find and compare


def _split(sources: Iterable[Any]) -> tuple[list[str | Path], Iterable[Document]]:
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
        return [], _documents(first, stream)
    paths = [first, *stream]
    for path in paths:
        if not isinstance(path, (str, Path)):
            raise SourceError(f"A source must be a path or a Document, not {type(path).__name__}.")
    return paths, ()


def _documents(first: Document, rest: Iterator[Any]) -> Iterator[Document]:
    yield first
    for one in rest:
        if not isinstance(one, Document):
            raise SourceError(f"A source must be a Document like the ones before it, not {type(one).__name__}.")
        yield one


def _plan(
    paths: Sequence[str | Path], recipe: str, parts: IngestParts, tally: _Tally
) -> tuple[list[_Item], list[_Root]]:
    """The files that must be read. Unchanged ones are counted at once."""
    if not paths:
        return [], []
    known = parts.catalog.known(parts.collection)
    todo: list[_Item] = []
    seen: set[str] = set()
    touched: list[tuple[str, int, int]] = []
    for found in find(paths):
        if isinstance(found, Failure):
            tally.failures.append(found)
            tally.n_done += 1
            continue
        doc_id = file_doc_id(found.source)
        if doc_id in seen:
            continue
        seen.add(doc_id)
        draft = Draft(doc_id=doc_id, source=found.source, title="", type="", text="", content_hash="", recipe=recipe,
                      size=found.size, mtime_ns=found.mtime_ns)  # fmt: skip
        item = _Item(draft=draft, known=known.get(doc_id), file=found)
        if not _is_unchanged(item, touched):
            todo.append(item)
            continue
        tally.n_done += 1
        if item.known and item.known.code:
            tally.failures.append(Failure(source=found.source, code=item.known.code, message=item.known.message))
        else:
            tally.unchanged += 1
    parts.catalog.touch(parts.collection, touched)
    return todo, [_Root(source_name(os.path.realpath(path)), frozenset(seen)) for path in paths]


def _is_unchanged(item: _Item, touched: list[tuple[str, int, int]]) -> bool:
    """Same recipe, and same size and time, or else the same bytes."""
    known, draft, file = item.known, item.draft, item.file
    if known is None or known.recipe != draft.recipe or not known.content_hash or file is None:
        return False
    if (known.size, known.mtime_ns) == (draft.size, draft.mtime_ns):
        return True
    if known.size != draft.size:
        return False
    try:
        same = content_hash(read_stable(file.path, draft.size)) == known.content_hash
    except DocumentError:
        return False
    if same:
        touched.append((draft.doc_id, draft.size, draft.mtime_ns))
    return same


def _document_items(documents: Iterable[Document], recipe: str, parts: IngestParts, tally: _Tally) -> Iterator[_Item]:
    """Documents given in code, the unchanged ones left out."""
    known: Mapping[str, Known] | None = None
    seen: set[str] = set()
    for document in documents:
        if known is None:
            known = parts.catalog.known(parts.collection)
        tally.n_total += 1
        item = _document_item(document, recipe, known)
        if item.draft.doc_id in seen:
            tally.warnings.append(f"Two documents are named {item.draft.doc_id!r}; the later one was left out.")
            tally.n_done += 1
            continue
        seen.add(item.draft.doc_id)
        if (
            item.known
            and item.known.recipe == recipe
            and item.known.content_hash == item.draft.content_hash
            and not item.known.code
        ):
            tally.n_done += 1
            tally.unchanged += 1
            continue
        yield item


def _document_item(document: Document, recipe: str, known: Mapping[str, Known]) -> _Item:
    doc_id = document.doc_id or (file_doc_id(document.source) if document.source else "")
    if not doc_id or len(doc_id) > MAX_DOC_ID:
        raise SourceError(
            f"A Document needs a doc_id of 1 to {MAX_DOC_ID} characters, or a source. Given: {document.doc_id[:40]!r}."
        )
    text, title = _valid(document.text), _valid(document.title)
    meta = _metadata(document.metadata)
    identity = json.dumps([text, title, document.source, document.type, meta], ensure_ascii=False, sort_keys=True)
    draft = Draft(doc_id=_valid(doc_id), source=_valid(document.source) or doc_id, title=title, type=document.type, text="",
                  content_hash=content_hash(identity.encode("utf-8")), recipe=recipe, size=len(text))  # fmt: skip
    blocks = markdown.blocks(text) if document.type == "markdown" else ()
    parsed = ParsedDocument(text=text, title=title, type=document.type, metadata=meta, blocks=tuple(blocks))
    return _Item(draft=draft, known=known.get(draft.doc_id), parsed=parsed)


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


# ---------------------------------------------------------------- parse and chunk


def _drafts(
    todo: Sequence[_Item],
    documents: Iterable[Document],
    recipe: str,
    parts: IngestParts,
    options: IngestOptions,
    tally: _Tally,
    progress: Callable[[Progress], None] | None,
) -> Iterator[tuple[_Item, ParsedDocument]]:
    """Parsed documents as they come; those that fail are recorded on the way."""

    def done(source: str) -> None:
        tally.n_done += 1
        if progress:
            progress(Progress(n_done=tally.n_done, n_total=tally.n_total, n_chunks=tally.n_chunks, source=source))

    if todo:
        by_source = {item.draft.source: item for item in todo}
        with ParserPool(options.parse) as pool:
            for file, digest, result in pool.parse_many(item.file for item in todo if item.file):
                item = by_source[file.source]
                draft = replace(item.draft, content_hash=digest)
                if isinstance(result, Failure):
                    tally.failures.append(result)
                    if not options.dry_run:
                        parts.catalog.fail(parts.collection, draft, result.code, result.message)
                else:
                    yield replace(item, draft=draft), result
                done(file.source)
    for item in _document_items(documents, recipe, parts, tally):
        assert item.parsed is not None
        if not item.parsed.text.strip():
            failure = Failure(
                source=item.draft.source, code="E_NO_TEXT", message=f"The document {item.draft.source} holds no text."
            )
            tally.failures.append(failure)
            if not options.dry_run:
                parts.catalog.fail(parts.collection, item.draft, failure.code, failure.message)
        else:
            yield item, item.parsed
        done(item.draft.source)


def _chunked(
    drafts: Iterable[tuple[_Item, ParsedDocument]], parts: IngestParts, options: IngestOptions, size: int, tally: _Tally
) -> Iterator[tuple[_Item, Draft]]:
    """Documents cut into chunks, each with the key of its vector."""
    embedder = parts.embedder
    for item, parsed in drafts:
        chunks = chunk_document(
            parsed, doc_id=item.draft.doc_id, tokens=embedder.token_offsets, size=size, overlap=options.chunk.overlap,
            context_tokens=options.chunk.context_tokens, overhead=embedder.passage_overhead(),
        )  # fmt: skip
        keys = [vector_key(embedder.fingerprint, chunk.indexed_text) for chunk in chunks]
        tally.warnings.extend(f"{item.draft.source}: {warning}" for warning in parsed.warnings)
        title = item.draft.title or parsed.title or Path(item.draft.source).name
        yield item, replace(
            item.draft, title=title, type=parsed.type, text=parsed.text, n_pages=parsed.n_pages, metadata=dict(parsed.metadata),
            warnings=parsed.warnings, blocks=parsed.blocks, chunks=chunks, vector_keys=keys,
        )  # fmt: skip


def _batches(drafts: Iterable[tuple[_Item, Draft]]) -> Iterator[list[tuple[_Item, Draft]]]:
    """Groups of about BATCH_CHUNKS chunks; a large document is a group of its own."""
    batch: list[tuple[_Item, Draft]] = []
    n_chunks = 0
    for item, draft in drafts:
        batch.append((item, draft))
        n_chunks += len(draft.chunks)
        if n_chunks >= BATCH_CHUNKS:
            yield batch
            batch, n_chunks = [], 0
    if batch:
        yield batch


# ---------------------------------------------------------------- embed, write, publish


def _write(batch: Sequence[tuple[_Item, Draft]], parts: IngestParts, tally: _Tally, *, dry_run: bool) -> None:
    """Embed, write and publish a group of documents; then, and only then, they count."""
    drafts = [draft for _, draft in batch]
    if not dry_run:
        assert parts.store is not None
        vectors = _embed(drafts, parts, tally)
        keys = parts.catalog.stage(parts.collection, drafts)
        rows = [row for draft, pks in zip(drafts, keys, strict=True) for row in store_rows(draft, pks)]
        parts.store.upsert(parts.index, rows, [vectors[key] for draft in drafts for key in draft.vector_keys])
        parts.catalog.publish(parts.collection, drafts)
    for item, draft in batch:
        tally.count(draft)
        if item.known is not None and item.known.version > 0:
            tally.updated += 1
        else:
            tally.added += 1


def _embed(drafts: Sequence[Draft], parts: IngestParts, tally: _Tally) -> dict[str, np.ndarray]:
    """The vector of every chunk by its key. What the cache lacks is computed, and cached piece by piece."""
    texts = {
        key: chunk.indexed_text for draft in drafts for key, chunk in zip(draft.vector_keys, draft.chunks, strict=True)
    }
    vectors = parts.catalog.vectors(list(texts))
    missing = sorted(texts.keys() - vectors.keys(), key=lambda key: len(texts[key]))
    for start in range(0, len(missing), BATCH_CHUNKS):
        keys = missing[start : start + BATCH_CHUNKS]
        computed = parts.embedder.embed_passages([texts[key] for key in keys])
        new = dict(zip(keys, computed, strict=True))
        parts.catalog.put_vectors(new)
        vectors |= new
    tally.n_embedded += len(missing)
    return vectors


def store_rows(draft: Draft, pks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a document in the store."""
    for pk, chunk in zip(pks, draft.chunks, strict=True):
        yield store_row(pk, chunk, source=draft.source, title=draft.title, type=draft.type, metadata=draft.metadata)


def store_row(
    pk: str, chunk: Chunk, *, source: str, title: str, type: str, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """A chunk as a row of the store, without its vector."""
    return {"pk": pk, "doc_id": chunk.doc_id, "source": source, "title": title, "type": type, "page": chunk.page,
            "meta": metadata, "text": chunk.indexed_text}  # fmt: skip


# ---------------------------------------------------------------- remove


@dataclass(frozen=True, slots=True)
class _Root:
    """A path that was imported, and the documents found in all of the paths together."""

    path: str
    seen: frozenset[str]

    def lost(self, known: Known) -> bool:
        inside = known.source == self.path or known.source.startswith(self.path.rstrip("/") + "/")
        return inside and known.doc_id not in self.seen


def _prune(roots: Sequence[_Root], parts: IngestParts, tally: _Tally, *, dry_run: bool) -> None:
    """Delete documents that lie under the imported paths but are no longer there."""
    lost = [
        doc_id
        for doc_id, known in parts.catalog.known(parts.collection).items()
        if any(root.lost(known) for root in roots)
    ]
    tally.deleted += len(lost) if dry_run else parts.catalog.delete(parts.collection, lost)


def _sweep(parts: IngestParts) -> None:
    """Take rows of replaced and deleted versions out of the store."""
    sweep(parts.catalog, parts.store, parts.collection, parts.index)


def sweep(catalog: Catalog, store: MilvusStore | None, collection: str, index: str) -> int:
    """Take garbage out of the store, then out of the catalog. Returns how many rows there were."""
    n_swept = 0
    while garbage := catalog.garbage(collection):
        if store is None:
            raise StoreError("The store is not open.")
        store.delete(index, garbage)
        store.flush(index)
        catalog.forget_garbage(garbage)
        n_swept += len(garbage)
    return n_swept


# ---------------------------------------------------------------- report


def _recipe(settings: ChunkSettings, size: int, embedder: Embedder) -> str:
    """Names everything besides the content that decides what is stored."""
    return f"parser={PARSER_VERSION} size={size} overlap={settings.overlap} context={settings.context_tokens} model={embedder.fingerprint[:16]}"


def _report(tally: _Tally, seconds: float, dry_run: bool) -> IngestReport:
    return IngestReport(
        added=tally.added, updated=tally.updated, unchanged=tally.unchanged, deleted=tally.deleted,
        failures=tuple(tally.failures), n_chunks=tally.n_chunks, n_embedded=tally.n_embedded, seconds=round(seconds, 3),
        dry_run=dry_run, warnings=tuple(tally.warnings),
        types=tuple(sorted(tally.types.values(), key=lambda one: (-one.n_documents, one.type))),
    )  # fmt: skip
