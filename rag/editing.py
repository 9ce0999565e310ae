"""Changing a document that is in the collection: what it is called, its metadata, how it is cut, whether searches find it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rag import edits
from rag.catalog_rows import Draft
from rag.errors import UsageError
from rag.ingest import IngestOptions, IngestParts, rewrite
from rag.reindex import parsed_again
from rag.rows import store_row, sweep
from rag.store import MAX_META_BYTES
from rag.types import DocumentInfo, Embedder

MAX_TITLE = 1000
MIN_CHUNK = 16  # tokens; below, a chunk is no passage


def edit(parts: IngestParts, options: IngestOptions, doc_id: str, change: Mapping[str, Any]) -> None:
    """Apply a change, see rag/edits.py. The caller holds the write lock and knows that the document is there.

    A title, metadata or sizes make a new version, from the catalog's text: searches see all of the old or all of the
    new. Switching off takes effect with one transaction, and the rows leave the store after it.
    Raises: UsageError for a document without text of its own, StoreError.
    """
    catalog, name = parts.catalog, parts.collection
    (info,) = catalog.documents(name, doc_id)
    known = catalog.known_one(name, doc_id)
    if info.copy_of:
        raise UsageError(
            f"{info.source} has the content of document {info.copy_of} and no chunks of its own. Change that one."
        )
    found = catalog.body(name, doc_id)
    if not info.version or found is None:
        raise UsageError(f"{info.source} was not imported, so there is nothing to change. Import it again.")
    wanted = edits.merged(known.edits, change)
    if wanted == dict(known.edits):
        return
    if change.keys() == {"disabled"}:
        _switch(parts, doc_id, wanted)
        return
    draft = Draft(
        doc_id=doc_id, source=info.source, title=info.title, type=info.type, text="", content_hash=known.content_hash,
        recipe=edits.marked(known.recipe, wanted), size=known.size, mtime_ns=known.mtime_ns, container=info.container,
        validators=known.validators, acl=known.acl, edits=wanted,
    )  # fmt: skip
    for _ in rewrite([(draft, parsed_again(info, *found))], parts=parts, options=options):
        pass
    sweep(catalog, parts.store, name, parts.index)


def _switch(parts: IngestParts, doc_id: str, wanted: Mapping[str, Any]) -> None:
    """On: the rows come first, so that the catalog never promises what is not there. Off: the other way round."""
    catalog, name, store = parts.catalog, parts.collection, parts.store
    assert store is not None
    stored = catalog.stored_chunks(name, doc_id)
    if wanted.get("disabled"):
        catalog.set_edits(name, doc_id, wanted)
        store.delete(parts.index, [one.pk for one in stored])
        store.flush(parts.index)
        return
    vectors = catalog.vectors([one.vector_key for one in stored])
    rows = [store_row(one.pk, one.chunk, source=one.source, title=one.title, type=one.type, metadata=one.metadata, acl=one.acl)
            for one in stored]  # fmt: skip
    if rows:
        store.upsert(parts.index, rows, [vectors[one.vector_key] for one in stored])
        store.flush(parts.index)
    catalog.set_edits(name, doc_id, wanted)


def checked_change(
    *,
    title: str | None,
    metadata: Mapping[str, Any] | None,
    enabled: bool | None,
    chunk_size: int | None,
    overlap: int | None,
    embedder: Embedder | None,
    info: DocumentInfo,
) -> dict[str, Any]:
    """A change as it is kept. embedder: needed for sizes. Raises: UsageError for a value that cannot be."""
    change: dict[str, Any] = {}
    if title is not None:
        change["title"] = " ".join(title.split())
        if not 0 < len(change["title"]) <= MAX_TITLE:
            raise UsageError(
                f"A title has 1 to {MAX_TITLE} characters, not {len(change['title'])}. Write what people call the document."
            )
    if metadata is not None:
        change["metadata"] = _checked_metadata(metadata, info)
    if enabled is not None:
        change["disabled"] = not enabled
    sizes = {"size": chunk_size, "overlap": overlap}
    if given := {key: value for key, value in sizes.items() if value is not None}:
        assert embedder is not None
        most = embedder.max_tokens
        if not MIN_CHUNK <= given.get("size", most) <= most:
            raise UsageError(f"A chunk has {MIN_CHUNK} to {most} tokens with {embedder.name}, not {given['size']}.")
        if not 0 <= given.get("overlap", 0) * 2 <= given.get("size", most):
            raise UsageError(f"The overlap is at most half of a chunk, not {given['overlap']} tokens.")
        change["chunk"] = given
    return change


def _checked_metadata(given: Mapping[str, Any], info: DocumentInfo) -> dict[str, Any]:
    try:
        encoded = json.dumps(edits.metadata(info.metadata, {"metadata": given}), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Metadata must be plain values: {error}.") from error
    if len(encoded.encode("utf-8", "replace")) > MAX_META_BYTES:
        raise UsageError(
            f"Metadata may take {MAX_META_BYTES} bytes, not {len(encoded)}. Put long texts into the document."
        )
    if bad := [key for key in given if not key.strip() or len(key) > 100]:
        raise UsageError(f"The name of a metadata field has 1 to 100 characters, not {bad[0][:40]!r}.")
    return dict(given)
