"""What the catalog is given and gives back, and how it becomes rows of its tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rag.principals import PUBLIC
from rag.types import Chunk, DocumentInfo, chunk_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """written: the clock's time when it was last written to, in seconds; 0 if it never was."""

    name: str
    generation: int
    fingerprint: str
    model: str
    dim: int
    probe: np.ndarray | None = None
    written: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What change detection needs to know about a document."""

    doc_id: str
    source: str
    state: str
    version: int
    content_hash: str
    recipe: str
    size: int
    mtime_ns: int
    code: str
    message: str
    container: str = ""
    copy_of: str = ""
    validators: Mapping[str, str] = field(default_factory=dict)
    acl: tuple[str, ...] = PUBLIC
    edits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A document version about to be written. `vector_keys[i]` belongs to `chunks[i]`."""

    doc_id: str
    source: str
    title: str
    type: str
    text: str
    content_hash: str
    recipe: str
    size: int = 0
    mtime_ns: int = 0
    n_pages: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    container: str = ""
    validators: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[Chunk] = ()
    vector_keys: Sequence[str] = ()
    blocks: bytes | None = None  # packed, so that the text can be cut again without its source
    acl: tuple[str, ...] = PUBLIC
    edits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def disabled(self) -> bool:
        """Kept, and found by no search."""
        return bool(self.edits.get("disabled"))


class LiveRow(NamedTuple):
    """What a search needs of every candidate: that it is live, its name, and where its vector is cached.

    A tuple: hundreds of them are made in a search.
    """

    pk: str
    collection: str
    vector_key: str
    doc_id: str
    start: int
    end: int
    level: int = 0

    @property
    def chunk_id(self) -> str:
        return chunk_id(self.doc_id, self.start, self.end, self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A live chunk with what a hit shows of its document."""

    pk: str
    chunk: Chunk
    source: str
    title: str
    type: str
    metadata: Mapping[str, Any]
    vector_key: str
    acl: tuple[str, ...] = PUBLIC

    @property
    def row(self) -> dict[str, Any]:
        """What filters see of it, see `filters.matches`."""
        return {"doc_id": self.chunk.doc_id, "source": self.source, "title": self.title, "type": self.type,
                "page": self.chunk.page, "meta": self.metadata}  # fmt: skip


def row_key(collection: str, doc_id: str, version: int, ordinal: int) -> str:
    """Key of a chunk's row in the store: 32 hex digits, safe to paste into any expression, equal on every run."""
    return hashlib.sha256(f"{collection}\0{doc_id}\0{version}\0{ordinal}".encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]


def vector_key(fingerprint: str, indexed_text: str) -> str:
    """Key of a cached vector: the same text under the same model is embedded once."""
    return hashlib.sha256(f"{fingerprint}\0{indexed_text}".encode("utf-8", "surrogatepass")).hexdigest()


def chunk_rows(collection: str, draft: Draft, version: int, pks: Sequence[str]) -> Iterator[dict[str, Any]]:
    for pk, chunk, key in zip(pks, draft.chunks, draft.vector_keys, strict=True):
        yield {"pk": pk, "collection": collection, "doc_id": draft.doc_id, "version": version, "ordinal": chunk.ordinal,
               "start": chunk.start, "end": chunk.end, "page": chunk.page, "context": chunk.context,
               "n_tokens": chunk.n_tokens, "text": chunk.text, "vector_key": key, "level": chunk.level,
               "parent_start": chunk.parent_start, "parent_end": chunk.parent_end, "extra": chunk.extra}  # fmt: skip


def published_row(draft: Draft, version: int, now: str) -> dict[str, Any]:
    return {"source": draft.source, "title": draft.title, "type": draft.type,
            "state": "disabled" if draft.disabled else "live", "version": version,
            "pending": 0, "content_hash": draft.content_hash, "recipe": draft.recipe, "size": draft.size,
            "mtime_ns": draft.mtime_ns, "n_chunks": len(draft.chunks), "n_chars": len(draft.text),
            "n_pages": draft.n_pages, "meta": json.dumps(dict(draft.metadata), ensure_ascii=False),
            "warnings": json.dumps(list(draft.warnings), ensure_ascii=False), "container": draft.container, "copy_of": "",
            "validators": json.dumps(dict(draft.validators)), "code": "", "message": "", "acl": packed_acl(draft.acl),
            "edits": json.dumps(dict(draft.edits), ensure_ascii=False), "updated_at": now}  # fmt: skip


def stored_of(row: Any) -> StoredChunk:
    chunk = Chunk(doc_id=row.doc_id, ordinal=row.ordinal, start=row.start, end=row.end, text=row.text,
                  context=row.context, page=row.page, n_tokens=row.n_tokens, extra=row.extra, level=row.level,
                  parent_start=row.parent_start, parent_end=row.parent_end)  # fmt: skip
    return StoredChunk(pk=row.pk, chunk=chunk, source=row.source, title=row.title, type=row.type,
                       metadata=json.loads(row.meta), vector_key=row.vector_key, acl=names_of(row.acl))  # fmt: skip


def info_of(row: Any, aliases: tuple[str, ...]) -> DocumentInfo:
    return DocumentInfo(
        doc_id=row.doc_id, source=row.source, title=row.title, type=row.type,
        state="importing" if row.pending else row.state, version=row.version,
        n_chunks=row.n_chunks, n_chars=row.n_chars, n_pages=row.n_pages, updated_at=row.updated_at,
        metadata=json.loads(row.meta), code=row.code, message=row.message, warnings=tuple(json.loads(row.warnings)),
        container=row.container, copy_of=row.copy_of, aliases=aliases, size=row.size, acl=names_of(row.acl), edits=json.loads(row.edits),
    )  # fmt: skip


def packed_acl(names: Sequence[str]) -> str:
    """An access list as it is stored: every name between bars, which no name holds."""
    return f"|{'|'.join(sorted(set(names)))}|"


@lru_cache(maxsize=1024)
def names_of(acl: str) -> tuple[str, ...]:
    return tuple(name for name in acl.split("|") if name)
