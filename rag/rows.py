"""Chunks as rows of the store, and taking rows out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rag.catalog import Catalog
from rag.catalog_rows import Draft
from rag.errors import StoreError
from rag.store import MilvusStore
from rag.types import Chunk


def store_rows(draft: Draft, pks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a document in the store."""
    for pk, chunk in zip(pks, draft.chunks, strict=True):
        yield store_row(
            pk, chunk, source=draft.source, title=draft.title, type=draft.type, metadata=draft.metadata, acl=draft.acl
        )


def store_row(
    pk: str, chunk: Chunk, *, source: str, title: str, type: str, metadata: Mapping[str, Any], acl: Sequence[str]
) -> dict[str, Any]:
    """A chunk as a row of the store, without its vector."""
    return {"pk": pk, "doc_id": chunk.doc_id, "source": source, "title": title, "type": type, "page": chunk.page,
            "meta": metadata, "text": chunk.indexed_text, "acl": list(acl)}  # fmt: skip


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
