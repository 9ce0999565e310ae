"""Changing who finds a document: first in the catalog, which every hit passes, then in the index."""

from __future__ import annotations

from collections.abc import Sequence

from rag.catalog import Catalog
from rag.errors import UsageError
from rag.rows import store_row
from rag.store import MilvusStore


def set_access(
    catalog: Catalog, store: MilvusStore, collection: str, index: str, doc_id: str, acl: Sequence[str]
) -> None:
    """Put a document and the files found inside it under another access list. The caller holds the write lock.

    Whoever is off the list finds nothing as soon as the catalog has it; whoever is new finds it when the index has it.
    A kill in between is made good by calling again.
    """
    documents = {info.doc_id: info for info in catalog.documents(collection)}
    wanted = [doc_id, *(one.doc_id for one in documents.values() if one.container == doc_id)]
    for name in wanted:
        if original := documents[name].copy_of:
            raise UsageError(f"{documents[name].source} has the content of document {original} and no chunks of its own. Change that one.")  # fmt: skip
    catalog.set_acl(collection, wanted, acl)
    for name in wanted:
        stored = catalog.stored_chunks(collection, name)
        vectors = catalog.vectors([one.vector_key for one in stored])
        rows = [
            store_row(one.pk, one.chunk, source=one.source, title=one.title, type=one.type, metadata=one.metadata, acl=one.acl)
            for one in stored
        ]  # fmt: skip
        if rows and documents[name].state != "disabled":
            store.upsert(index, rows, [vectors[one.vector_key] for one in stored])
