"""Verify and repair: the catalog is the truth, the index has to agree with it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.errors import StoreError
from rag.ingest import sweep

if TYPE_CHECKING:
    from rag.catalog import StoredChunk
    from rag.knowledge_base import KnowledgeBase, Verification

REPAIR_BATCH = 1000


def verify(kb: KnowledgeBase, *, repair: bool) -> Verification:
    """Find what differs between catalog and index; with `repair`, make the index agree.

    The caller holds the write lock. Raises: StoreError when Milvus is unreachable and cannot be repaired.
    """
    from rag.knowledge_base import Problem, Verification

    collection = kb.catalog.collection(kb.collection)
    if collection is None:
        return Verification(problems=())
    problems = [
        Problem(kind=kind, doc_id=doc_id, message=text) for kind, doc_id, text in kb.catalog.problems(kb.collection)
    ]
    index = kb._index(collection.generation)
    try:
        in_index = set(kb.store.keys(index)) if kb.store.exists(index) else None
    except StoreError as error:
        if kb.settings.milvus.uri:
            raise
        problems.append(Problem(kind="index-unreadable", doc_id="", message=str(error)))
        in_index = None
        if repair:
            _set_aside(kb)
    live = kb.catalog.live_keys(kb.collection)
    missing = live - (in_index or set())
    extra = (in_index or set()) - live
    if in_index is None:
        problems.append(
            Problem(
                kind="index-missing", doc_id="", message=f"the index is gone; {len(live)} chunks must be written again"
            )
        )
    else:
        problems += [
            Problem(kind="row-missing", doc_id=doc_id, message=f"{n} chunks are not in the index")
            for doc_id, n in _by_document(kb, missing)
        ]
        if extra:
            problems.append(
                Problem(
                    kind="row-orphan", doc_id="", message=f"{len(extra)} rows of the index belong to no live document"
                )
            )
    n_documents, n_chunks = kb.catalog.counts(kb.collection)
    repaired = (
        _repair(kb, index, collection.dim, sorted(missing), sorted(extra), problems) if repair and problems else 0
    )
    return Verification(problems=tuple(problems), repaired=repaired, n_documents=n_documents, n_chunks=n_chunks)


def _repair(
    kb: KnowledgeBase, index: str, dim: int, missing: Sequence[str], extra: Sequence[str], problems: Sequence[object]
) -> int:
    """Write missing rows from the catalog, drop orphans. Returns how many problems are solved by that."""
    kb.store.create(index, dim=dim)
    kb.catalog.recover(kb.collection)
    sweep(kb.catalog, kb.store, kb.collection, index)
    for start in range(0, len(missing), REPAIR_BATCH):
        _rewrite(kb, index, list(kb.catalog.live_chunks(kb.collection, missing[start : start + REPAIR_BATCH]).values()))
    if extra:
        kb.store.delete(index, extra)
        kb.store.flush(index)
    left = kb.catalog.problems(kb.collection)
    agree = set(kb.store.keys(index)) == kb.catalog.live_keys(kb.collection)
    return len(problems) - len(left) if agree else 0


def _rewrite(kb: KnowledgeBase, index: str, stored: Sequence[StoredChunk]) -> None:
    vectors = kb.catalog.vectors([one.vector_key for one in stored])
    lost = [one for one in stored if one.vector_key not in vectors]
    if lost:
        computed = kb.embedder.embed_passages([one.chunk.indexed_text for one in lost])
        new = {one.vector_key: vector for one, vector in zip(lost, computed, strict=True)}
        kb.catalog.put_vectors(new)
        vectors |= new
    rows = [
        {"pk": one.pk, "doc_id": one.chunk.doc_id, "source": one.source, "title": one.title, "type": one.type,
         "page": one.chunk.page, "meta": one.metadata, "text": one.chunk.indexed_text}
        for one in stored
    ]  # fmt: skip
    kb.store.upsert(index, rows, [vectors[one.vector_key] for one in stored])


def _by_document(kb: KnowledgeBase, pks: set[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in kb.catalog.live_chunks(kb.collection, sorted(pks)).values():
        counts[one.chunk.doc_id] = counts.get(one.chunk.doc_id, 0) + 1
    return sorted(counts.items())


def _set_aside(kb: KnowledgeBase) -> None:
    """Move a database file that the embedded engine cannot open out of the way; the index is then written anew."""
    kb.close()
    path = kb.home / "milvus.db"
    if path.exists():
        os.replace(path, path.with_name(f"milvus.db.damaged-{int(time.time())}"))
