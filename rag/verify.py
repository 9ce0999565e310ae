"""Verify and repair: the catalog is the truth, the index has to agree with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.catalog import Catalog
from rag.catalog_rows import StoredChunk
from rag.errors import StoreError
from rag.late_interaction import embed_for_index
from rag.rows import store_row, sweep
from rag.store import MilvusStore
from rag.types import Embedder

REPAIR_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something `verify` found: a kind, the document concerned (or ""), and a sentence."""

    kind: str
    doc_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found and how many problems it repaired."""

    problems: tuple[Problem, ...]
    repaired: int = 0
    n_documents: int = 0
    n_chunks: int = 0

    @property
    def ok(self) -> bool:
        return self.repaired == len(self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyParts:
    """What verifying needs. `store` and `embedder` are opened when called, since opening may be what fails.

    set_aside: moves a store that cannot be opened out of the way; None for a server, which is not ours to move.
    """

    catalog: Catalog
    store: Callable[[], MilvusStore]
    embedder: Callable[[], Embedder]
    set_aside: Callable[[], None] | None
    collection: str
    index: str
    dim: int


def verify(parts: VerifyParts, *, repair: bool) -> Verification:
    """Find what differs between catalog and index; with `repair`, make the index agree.

    The caller holds the write lock. Raises: StoreError when Milvus is unreachable and cannot be repaired.
    """
    catalog, name = parts.catalog, parts.collection
    problems = [Problem(kind=kind, doc_id=doc_id, message=text) for kind, doc_id, text in catalog.problems(name)]
    in_index = _keys(parts, problems, repair=repair)
    live = catalog.live_keys(name)
    missing, extra = live - (in_index or set()), (in_index or set()) - live
    if in_index is None:
        text = f"the index is gone; {len(live)} chunks must be written again"
        problems.append(Problem(kind="index-missing", doc_id="", message=text))
    for doc_id, n_missing in _by_document(catalog, name, missing) if in_index is not None else []:
        problems.append(Problem(kind="row-missing", doc_id=doc_id, message=f"{n_missing} chunks are not in the index"))
    if extra:
        text = f"{len(extra)} rows of the index belong to no live document"
        problems.append(Problem(kind="row-orphan", doc_id="", message=text))
    n_documents, n_chunks = catalog.counts(name)
    repaired = _repair(parts, sorted(missing), sorted(extra), len(problems)) if repair and problems else 0
    return Verification(problems=tuple(problems), repaired=repaired, n_documents=n_documents, n_chunks=n_chunks)


def _keys(parts: VerifyParts, problems: list[Problem], *, repair: bool) -> set[str] | None:
    """The keys in the index; None when there is no index. A store that does not open is noted as a problem."""
    try:
        store = parts.store()
        return set(store.keys(parts.index)) if store.exists(parts.index) else None
    except StoreError as error:
        if parts.set_aside is None:
            raise
        problems.append(Problem(kind="index-unreadable", doc_id="", message=str(error)))
        if repair:
            parts.set_aside()
        return None


def _repair(parts: VerifyParts, missing: Sequence[str], extra: Sequence[str], n_problems: int) -> int:
    """Write missing rows from the catalog, drop orphans. Returns how many problems are solved by that."""
    catalog, store = parts.catalog, parts.store()
    store.create(parts.index, dim=parts.dim)
    catalog.recover(parts.collection)
    sweep(catalog, store, parts.collection, parts.index)
    for start in range(0, len(missing), REPAIR_BATCH):
        stored = catalog.live_chunks(parts.collection, missing[start : start + REPAIR_BATCH])
        _rewrite(parts, store, list(stored.values()))
    if extra:
        store.delete(parts.index, extra)
        store.flush(parts.index)
    n_left = len(catalog.problems(parts.collection))
    agree = set(store.keys(parts.index)) == catalog.live_keys(parts.collection)
    return n_problems - n_left if agree else 0


def _rewrite(parts: VerifyParts, store: MilvusStore, stored: Sequence[StoredChunk]) -> None:
    """Write chunks into the index again; a vector that the cache lost is computed."""
    vectors = parts.catalog.vectors([one.vector_key for one in stored])
    lost = [one for one in stored if one.vector_key not in vectors]
    if lost:
        computed, tokens = embed_for_index(parts.embedder(), [one.chunk.indexed_text for one in lost])
        keys = [one.vector_key for one in lost]
        new = dict(zip(keys, computed, strict=True))
        parts.catalog.put_vectors(new, dict(zip(keys, tokens, strict=True)) if tokens else None)
        vectors |= new
    rows = [
        store_row(
            one.pk, one.chunk, source=one.source, title=one.title, type=one.type, metadata=one.metadata, acl=one.acl
        )
        for one in stored
    ]
    store.upsert(parts.index, rows, [vectors[one.vector_key] for one in stored])


def _by_document(catalog: Catalog, collection: str, pks: set[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in catalog.live_chunks(collection, sorted(pks)).values():
        counts[one.chunk.doc_id] = counts.get(one.chunk.doc_id, 0) + 1
    return sorted(counts.items())
