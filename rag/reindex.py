"""Building a collection again for another embedding model, beside the old one, which answers until the switch.

The new collection is written under a name that no search asks for, from the texts and blocks in the catalog: no source
is read, so what was moved or deleted on disk is kept. One transaction puts it in place; the old index goes afterwards.
A run that is killed goes on where it stopped: what it published counts as done, unless the document changed since.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rag.catalog import NEXT, Catalog
from rag.catalog_rows import Collection, Draft, Known
from rag.errors import CatalogError
from rag.ingest import IngestOptions, IngestParts, Progress, recipe_of, rewrite
from rag.late_interaction import embed_for_index, with_tokens
from rag.loaders import markdown
from rag.parse_child import unpack_blocks
from rag.rows import sweep
from rag.settings import ChunkSettings, EnrichSettings, ParseSettings
from rag.store import MilvusStore
from rag.types import DocumentInfo, Embedder, Enricher, ParsedDocument

_MARK = NEXT + "reindex-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindexed:
    """What `reindex` did. n_kept: documents that a killed run had finished. changed: False when all was up to date."""

    changed: bool
    model: str
    generation: int
    n_documents: int = 0
    n_kept: int = 0
    n_chunks: int = 0
    n_embedded: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReindexParts:
    """What reindexing needs. embedder: of the new model. index: the name of the collection's index of a generation."""

    catalog: Catalog
    store: MilvusStore
    embedder: Embedder
    collection: Collection
    probe: Callable[[], Collection]  # a record of the collection as the new model would make it
    index: Callable[[int], str]
    chunk: ChunkSettings
    parse: ParseSettings
    enrich: EnrichSettings = EnrichSettings()
    enrichers: Sequence[Enricher] = ()


def reindex(parts: ReindexParts, progress: Callable[[Progress], None] | None = None) -> Reindexed:
    """Build, switch, drop. The caller holds the write lock. Raises: UsageError, StoreError, CatalogError."""
    catalog, live = parts.catalog, parts.collection
    known = {doc_id: one for doc_id, one in catalog.known(live.name).items() if one.version}
    recipes = _recipes(known, recipe_of(parts.chunk, parts.embedder, parts.enrich))
    if live.fingerprint == parts.embedder.fingerprint and all(known[one].recipe == recipes[one] for one in known):
        abandon(catalog, parts.store, parts.index, live.name)
        drop_old_indexes(parts.store, parts.index, keep={live.generation})
        n_embedded = fill_tokens(catalog, parts.embedder, live.name)
        return Reindexed(changed=False, model=live.model, generation=live.generation, n_embedded=n_embedded)

    successor = _successor(parts)
    index = parts.index(successor.generation)
    done = _done(parts, successor, index, known, recipes)
    into = IngestParts(
        catalog=catalog, store=parts.store, embedder=parts.embedder, collection=successor.name, index=index
    )
    options = IngestOptions(chunk=parts.chunk, parse=parts.parse, enrich=parts.enrich, enrichers=parts.enrichers)
    result = Reindexed(changed=True, model=successor.model, generation=successor.generation,
                       n_documents=len(known), n_kept=len(done))  # fmt: skip
    todo = _documents(catalog, live.name, known, recipes, done)
    for report in rewrite(todo, parts=into, options=options):
        result = replace(result, n_chunks=report.n_chunks, n_embedded=report.n_embedded, seconds=report.seconds)
        if progress:
            progress(Progress(n_done=len(done) + report.added, n_total=len(known), n_chunks=report.n_chunks))

    if catalog.problems(successor.name) or catalog.counts(successor.name)[0] != len(known):
        raise CatalogError(
            "The new index does not hold every document. Run `ragstone verify --repair`, then `ragstone reindex`."
        )
    catalog.switch(successor.name, live.name, keep_failed=True)
    drop_old_indexes(parts.store, parts.index, keep={successor.generation})
    catalog.drop_unused_vectors()
    return result


def fill_tokens(catalog: Catalog, embedder: Embedder, collection: str) -> int:
    """Keep the token vectors that an import by an earlier version, or without embedding.tokens, did not. How many chunks'."""
    keeper = with_tokens(embedder)
    n_filled = 0
    for stored in catalog.without_tokens(collection) if keeper else ():
        _, signs = embed_for_index(embedder, [one.chunk.indexed_text for one in stored])
        catalog.put_tokens(dict(zip((one.vector_key for one in stored), signs or (), strict=True)))
        n_filled += len(stored)
    return n_filled


def drop_old_indexes(store: MilvusStore, index: Callable[[int], str], *, keep: set[int]) -> None:
    """Remove the collection's indexes of other generations: a run may have been killed before it could."""
    stem = index(0).removesuffix("0")
    for name in store.indexes(stem):
        if re.fullmatch(r"\d+", generation := name.removeprefix(stem)) and int(generation) not in keep:
            store.drop(name)


def abandon(catalog: Catalog, store: MilvusStore, index: Callable[[int], str], name: str) -> None:
    """Remove what was being built to take the collection's place."""
    while (successor := catalog.next_collection(name)) is not None:
        if store.exists(index(successor.generation)):
            store.drop(index(successor.generation))
        catalog.drop_collection(successor.name)


def _successor(parts: ReindexParts) -> Collection:
    """What a killed run for the same model began, or a new one."""
    catalog, live = parts.catalog, parts.collection
    found = catalog.next_collection(live.name)
    if found is None or not found.name.startswith(live.name + _MARK) or found.fingerprint != parts.embedder.fingerprint:
        abandon(catalog, parts.store, parts.index, live.name)
        found = replace(
            parts.probe(), name=f"{live.name}{_MARK}{secrets.token_hex(4)}", generation=catalog.new_generation()
        )
        catalog.add_collection(found)
    parts.store.create(parts.index(found.generation), dim=found.dim)
    return found


def _done(
    parts: ReindexParts, successor: Collection, index: str, known: Mapping[str, Known], recipes: Mapping[str, str]
) -> set[str]:
    """The documents that a killed run published and that have not changed since; everything else of it goes."""
    catalog = parts.catalog
    catalog.recover(successor.name)
    there = catalog.known(successor.name)
    done = {doc_id for doc_id, one in there.items() if doc_id in known
            and (one.content_hash, one.recipe) == (known[doc_id].content_hash, recipes[doc_id])}  # fmt: skip
    catalog.delete(successor.name, sorted(there.keys() - done))
    sweep(catalog, parts.store, successor.name, index)
    return done


def _recipes(known: Mapping[str, Known], recipe: str) -> dict[str, str]:
    """Each document's recipe from now on. How its source was parsed stays as it was."""
    _, _, rest = recipe.partition(" ")
    return {doc_id: " ".join(_renewed(one.recipe, rest)) for doc_id, one in known.items()}


def _renewed(recipe: str, rest: str) -> Iterator[str]:
    """The reader's version as it was, the settings as they are, and what the import added to its own recipe (+…)."""
    words = recipe.split(" ")
    yield words[0]
    yield rest
    yield from (word for word in words if word.startswith("+"))


def _documents(
    catalog: Catalog, name: str, known: Mapping[str, Known], recipes: Mapping[str, str], done: set[str]
) -> Iterator[tuple[Draft, ParsedDocument]]:
    for info in catalog.documents(name):
        if info.doc_id not in known or info.doc_id in done:
            continue
        found = catalog.body(name, info.doc_id)
        if found is None:
            raise CatalogError(f"The text of {info.source} is gone from the catalog. Import it again, then reindex.")
        one = known[info.doc_id]
        draft = Draft(doc_id=info.doc_id, source=info.source, title=info.title, type=info.type, text="",
                      content_hash=one.content_hash, recipe=recipes[info.doc_id], size=one.size, mtime_ns=one.mtime_ns,
                      container=info.container, validators=one.validators, acl=one.acl, edits=one.edits)  # fmt: skip
        yield draft, parsed_again(info, *found)


def parsed_again(info: DocumentInfo, text: str, blocks: bytes | None) -> ParsedDocument:
    """The document as its loader gave it. A catalog of an earlier version has no blocks; its text is Markdown."""
    cut = unpack_blocks(blocks, len(text)) if blocks is not None else tuple(markdown.blocks(text))
    title = (
        "" if info.title == Path(info.source).name else info.title
    )  # a file's name stands in for a title, only there
    return ParsedDocument(text=text, title=title, type=info.type, blocks=cut, metadata=info.metadata,
                          warnings=info.warnings, n_pages=info.n_pages)  # fmt: skip
