"""Documents with the same content: one holds the chunks, the others are its copies and hold none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.catalog import Catalog
from rag.rows import store_rows
from rag.store import MilvusStore


def release(catalog: Catalog, store: MilvusStore, collection: str, index: str, doc_ids: Sequence[str]) -> int:
    """Before these documents change or go: let the first copy of each take over its chunks, with the cached vectors.

    Copies that go themselves are passed over. Returns how many documents took over.
    """
    leaving = set(doc_ids)
    n_released = 0
    for doc_id, copies in catalog.copies(collection, doc_ids).items():
        heirs = [copy for copy in copies if copy not in leaving]
        draft = catalog.draft(collection, doc_id) if heirs else None
        if draft is None:
            continue
        info = catalog.documents(collection, heirs[0])[0]
        known = catalog.known_one(collection, heirs[0])
        taken = replace(
            draft, doc_id=heirs[0], source=info.source, container=info.container, size=known.size, mtime_ns=known.mtime_ns,
            recipe=known.recipe, validators=known.validators, acl=known.acl, edits=known.edits,
            chunks=[replace(chunk, doc_id=heirs[0]) for chunk in draft.chunks],
        )  # fmt: skip
        vectors = catalog.vectors(list(taken.vector_keys))
        (pks,) = catalog.stage(collection, [taken])
        store.upsert(index, list(store_rows(taken, pks)), [vectors[key] for key in taken.vector_keys])
        catalog.publish(collection, [taken])
        catalog.point_copies(collection, doc_id, heirs[0])
        n_released += 1
    return n_released
