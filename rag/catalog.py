"""The catalog: the one source of truth. Which documents there are, their text, their chunks, and cached vectors.

A document version is written in three steps, each safe to be killed in:

    stage      the new version's text, chunks and vectors are stored, `pending` names it; searches still see the old
    (the store gets the new rows and confirms them)
    publish    one transaction: `version` moves on, the old version's rows become garbage
    sweep      garbage leaves the store, then the catalog

`recover` turns anything that a killed run staged into garbage; its cached vectors stay, so nothing is embedded twice.
"""

from __future__ import annotations

import copy
import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError, OperationalError

from rag.errors import CatalogError, DiskError, LockedError, RagstoneError, SettingsError, disk_full
from rag.principals import EVERYONE, PUBLIC, Principal
from rag.types import Chunk, DocumentInfo, chunk_id

SCHEMA_VERSION = 5
_FIELD_SAMPLE = 2000  # documents whose metadata show what filters can name
MAX_WORDS = 32  # of a question that is looked up without an index
_BATCH = 500  # bound parameters per statement stay far below SQLite's limit
_ROWS = 200  # rows per INSERT on PostgreSQL, whose protocol counts parameters in 16 bits
NEXT = "\x01"  # parts a collection's name from the mark of its successor; no user's name holds it

metadata = sa.MetaData()
meta_table = sa.Table("meta", metadata, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))
collections_table = sa.Table(
    "collections", metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),  # of the index in the store
    sa.Column("fingerprint", sa.String, nullable=False),  # of the embedding model
    sa.Column("model", sa.String, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("probe", sa.LargeBinary),  # vector of PROBE_TEXT, to notice a changed model behind an unchanged name
)  # fmt: skip
documents_table = sa.Table(
    "documents", metadata,
    sa.Column("collection", sa.String, primary_key=True),
    sa.Column("doc_id", sa.String, primary_key=True),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("title", sa.String, nullable=False, default=""),
    sa.Column("type", sa.String, nullable=False, default=""),
    sa.Column("state", sa.String, nullable=False),  # waiting, new, live, disabled, duplicate or failed
    sa.Column("version", sa.Integer, nullable=False, default=0),  # the one that searches see; 0: none
    sa.Column("pending", sa.Integer, nullable=False, default=0),  # the one being written; 0: none
    sa.Column("content_hash", sa.String, nullable=False, default=""),
    sa.Column("recipe", sa.String, nullable=False, default=""),  # how it was parsed and cut
    sa.Column("size", sa.BigInteger, nullable=False, default=0),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False, default=0),
    sa.Column("n_chunks", sa.Integer, nullable=False, default=0),
    sa.Column("n_chars", sa.Integer, nullable=False, default=0),
    sa.Column("n_pages", sa.Integer),
    sa.Column("meta", sa.String, nullable=False, default="{}"),
    sa.Column("warnings", sa.String, nullable=False, default="[]"),
    sa.Column("code", sa.String, nullable=False, default=""),
    sa.Column("message", sa.String, nullable=False, default=""),
    sa.Column("updated_at", sa.String, nullable=False, default=""),
    sa.Column("container", sa.String, nullable=False, server_default=""),  # doc_id of the file it was found in
    sa.Column("copy_of", sa.String, nullable=False, server_default=""),  # doc_id that holds the same content's chunks
    sa.Column("validators", sa.String, nullable=False, server_default="{}"),  # a page's etag, last_modified and listed_by
    sa.Column("acl", sa.String, nullable=False, server_default=f"|{EVERYONE}|"),  # who finds it: |u:ann|g:staff|
    sa.Column("edits", sa.String, nullable=False, server_default="{}"),  # what people set, see rag/edits.py
)  # fmt: skip
sa.Index("documents_source", documents_table.c.collection, documents_table.c.source)
texts_table = sa.Table(
    "texts", metadata,
    sa.Column("collection", sa.String, primary_key=True),
    sa.Column("doc_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("blocks", sa.LargeBinary),  # packed; NULL: written before they were kept
)  # fmt: skip
chunks_table = sa.Table(
    "chunks", metadata,
    sa.Column("pk", sa.String, primary_key=True),  # 32 hex digits: the row's key in the store
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("doc_id", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("start", sa.Integer, nullable=False),
    sa.Column("end", sa.Integer, nullable=False),
    sa.Column("page", sa.Integer),
    sa.Column("vector_key", sa.String, nullable=False),
    sa.Column("n_tokens", sa.Integer, nullable=False),
    sa.Column("level", sa.Integer, nullable=False, server_default="0"),
    sa.Column("parent_start", sa.Integer),
    sa.Column("parent_end", sa.Integer),
    sa.Column("extra", sa.String, nullable=False, server_default=""),
    sa.Column("context", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),  # last: what is read of every candidate stands before it
)  # fmt: skip
sa.Index(
    "chunks_document", chunks_table.c.collection, chunks_table.c.doc_id, chunks_table.c.version, chunks_table.c.ordinal
)
sa.Index("chunks_vector", chunks_table.c.vector_key)
vectors_table = sa.Table(
    "vectors", metadata,
    sa.Column("key", sa.String, primary_key=True),  # sha256 of fingerprint and indexed text
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32, little endian
)  # fmt: skip
garbage_table = sa.Table(
    "garbage", metadata,
    sa.Column("pk", sa.String, primary_key=True),
    sa.Column("collection", sa.String, nullable=False),
)  # fmt: skip
runs_table = sa.Table(
    "runs", metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("started_at", sa.String, nullable=False),
    sa.Column("finished_at", sa.String, nullable=False, default=""),
    sa.Column("report", sa.String, nullable=False, default="{}"),
)  # fmt: skip


class _Text(sa.TypeDecorator[str]):
    """Text without NUL, which PostgreSQL cannot store. A replacement character takes its place, so offsets stay."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value.replace("\0", "\ufffd") if value and "\0" in value else value


for _column in [column for table in metadata.tables.values() for column in table.columns]:
    if isinstance(_column.type, sa.String):
        _column.type = _Text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    name: str
    generation: int
    fingerprint: str
    model: str
    dim: int
    probe: np.ndarray | None = None


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


@dataclass(frozen=True, slots=True)
class LiveRow:
    """What a search needs of every candidate: that it is live, its name, and where its vector is cached."""

    chunk_id: str
    vector_key: str


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


class Catalog:
    """Opens (and creates) a catalog. Threads may share it; each call takes its own connection.

    url: an SQLAlchemy URL, or a path of a SQLite file.
    Raises: CatalogError when it cannot be reached, is damaged or written by a newer version; SettingsError for a bad URL.
    """

    def __init__(self, url: str | Path) -> None:
        self._sqlite = isinstance(url, Path) or str(url).startswith("sqlite")
        self._reader: Principal | None = None
        self._engine = _open_engine(url, sqlite=self._sqlite)
        shown = self._engine.url.render_as_string(hide_password=True)
        if self._sqlite:
            sa.event.listen(self._engine, "handle_error", lambda context: _explain_sqlite(context, shown))
        try:
            create_tables(self._engine, metadata)
            self._check_schema()
        except (OperationalError, InterfaceError) as error:
            todo = (
                "Check the folder's permissions and free space."
                if self._sqlite
                else "Start it, or correct catalog.url."
            )
            raise CatalogError(f"The catalog {shown} cannot be opened: {_reason(error)}. {todo}") from error
        except DatabaseError as error:
            if not self._sqlite:
                raise CatalogError(
                    f"The catalog {shown} refused a call: {_reason(error)}. Check catalog.url."
                ) from error
            raise CatalogError(
                f"The catalog {shown} is damaged: {error.orig}. Restore it from a backup or import again into a new --home."
            ) from error
        if not self._sqlite:
            sa.event.listen(self._engine, "handle_error", _lost_server)

    def close(self) -> None:
        self._engine.dispose()

    def seen_by(self, principal: Principal | None) -> Catalog:
        """The same catalog to somebody: what it reads of documents leaves out those whose access list does not let them in."""
        seen = copy.copy(self)
        seen._reader = principal
        return seen

    @property
    def engine(self) -> sa.Engine:
        """The database, for the service's own tables beside the catalog's."""
        return self._engine

    def _visible(self) -> sa.ColumnElement[bool]:
        """The condition on documents that this reader may see."""
        if self._reader is None:
            return sa.true()
        acl = documents_table.c.acl
        return sa.or_(*(acl.contains(f"|{name}|", autoescape=True) for name in self._reader.readers))

    def _check_schema(self) -> None:
        """Write the schema's version into a new catalog; refuse one of another version."""
        with self._engine.begin() as db:
            if not self._sqlite:
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_SPACE, 0)))
            rows = [{"key": "schema", "value": str(SCHEMA_VERSION)}, {"key": "id", "value": secrets.token_hex(6)}]
            if not db.execute(sa.select(meta_table.c.key)).first():
                _insert(db, meta_table, rows, ignore=True)
            found = db.execute(sa.select(meta_table.c.value).where(meta_table.c.key == "schema")).scalar_one()
            if int(found) < SCHEMA_VERSION:
                _migrate(db)
                found = str(SCHEMA_VERSION)
        if int(found) != SCHEMA_VERSION:
            raise CatalogError(
                f"The catalog has schema {found}, this ragstone reads {SCHEMA_VERSION}. "
                "Use the version that wrote it, or import into a new --home."
            )

    @cached_property
    def catalog_id(self) -> str:
        """Random, made once: keeps two catalogs apart on one Milvus server. Every search needs it."""
        with self._engine.connect() as db:
            return str(db.execute(sa.select(meta_table.c.value).where(meta_table.c.key == "id")).scalar_one())

    def last_write(self, collection: str) -> float:
        """The clock's time when the collection was last written to, in seconds; 0 if it never was."""
        with self._engine.connect() as db:
            found = db.execute(
                sa.select(meta_table.c.value).where(meta_table.c.key == f"written:{collection}")
            ).scalar()
        return float(found or 0)

    def note_write(self, collection: str, now: float) -> None:
        key = f"written:{collection}"
        with self._engine.begin() as db:
            db.execute(sa.delete(meta_table).where(meta_table.c.key == key))
            _insert(db, meta_table, [{"key": key, "value": str(now)}])

    # ------------------------------------------------------------ collections

    def collection(self, name: str) -> Collection | None:
        with self._engine.connect() as db:
            row = db.execute(sa.select(collections_table).where(collections_table.c.name == name)).first()
        if row is None:
            return None
        probe = np.frombuffer(row.probe, "<f4") if row.probe else None
        return Collection(
            name=row.name,
            generation=row.generation,
            fingerprint=row.fingerprint,
            model=row.model,
            dim=row.dim,
            probe=probe,
        )

    def collections(self) -> list[str]:
        with self._engine.connect() as db:
            names = db.execute(sa.select(collections_table.c.name).order_by(collections_table.c.name)).scalars()
            return [name for name in names if NEXT not in name]

    def add_collection(self, collection: Collection) -> None:
        probe = None if collection.probe is None else collection.probe.astype("<f4").tobytes()
        values = {"name": collection.name, "generation": collection.generation, "fingerprint": collection.fingerprint,
                  "model": collection.model, "dim": collection.dim, "probe": probe}  # fmt: skip
        with self._engine.begin() as db:
            db.execute(sa.insert(collections_table).values(values))

    # ------------------------------------------------------------ documents

    def known_one(self, collection: str, doc_id: str) -> Known:
        """One document that is there."""
        return self.known(collection, doc_id)[doc_id]

    def known(self, collection: str, doc_id: str | None = None) -> dict[str, Known]:
        """Every document of the collection by doc_id, without texts; with `doc_id` that one alone."""
        d = documents_table.c
        query = sa.select(
            d.doc_id, d.source, d.state, d.version, d.content_hash, d.recipe, d.size, d.mtime_ns, d.code, d.message,
            d.container, d.copy_of, d.validators, d.acl, d.edits,
        ).where(d.collection == collection)  # fmt: skip
        if doc_id is not None:
            query = query.where(d.doc_id == doc_id)
        with self._engine.connect() as db:
            return {
                row.doc_id: Known(**{**row._mapping, "validators": json.loads(row.validators), "acl": _names(row.acl),
                                     "edits": json.loads(row.edits)})
                for row in db.execute(query)
            }  # fmt: skip

    def documents(self, collection: str, doc_id: str | None = None) -> list[DocumentInfo]:
        """Documents in order of their source."""
        d = documents_table.c
        mine = (d.collection == collection) & self._visible()
        query = sa.select(documents_table).where(mine).order_by(d.source, d.doc_id)
        if doc_id is not None:
            query = query.where(d.doc_id == doc_id)
        copies = sa.select(d.copy_of, d.source).where(mine, d.copy_of != "").order_by(d.source)
        if doc_id is not None:
            copies = copies.where(d.copy_of == doc_id)
        with self._engine.connect() as db:
            rows = db.execute(query).all()
            aliases: dict[str, list[str]] = {}
            for copy in db.execute(copies):
                aliases.setdefault(copy.copy_of, []).append(copy.source)
        return [_info(row, tuple(aliases.get(row.doc_id, ()))) for row in rows]

    def find_documents(
        self,
        collection: str,
        *,
        text: str,
        state: str,
        type: str,
        limit: int | None,
        offset: int,
        doc_ids: Sequence[str] | None = None,
    ) -> tuple[list[DocumentInfo], int]:
        """A page of the documents that fit, in order of their source, and how many fit; see KnowledgeBase.find_documents."""
        d = documents_table.c
        fits = [d.collection == collection, self._visible()]
        for word in text.split():
            fits.append(sa.or_(d.title.icontains(word, autoescape=True), d.source.icontains(word, autoescape=True)))
        if doc_ids is not None:
            fits.append(d.doc_id.in_(doc_ids))
        if type:
            fits.append(d.type == type)
        if state:
            fits.append(_STATES[state] if state in _STATES else (d.state == state) & (d.pending == 0) & (d.code == ""))
        page = sa.select(documents_table).where(*fits).order_by(d.source, d.doc_id).limit(limit).offset(offset)
        with self._engine.connect() as db:
            rows = db.execute(page).all()
            total = db.execute(sa.select(sa.func.count()).select_from(documents_table).where(*fits)).scalar_one()
        return [_info(row, ()) for row in rows], int(total)

    def states(self, collection: str) -> dict[str, dict[str, int]]:
        """How many documents there are of each state and of each type: {"state": {...}, "type": {...}}."""
        d = documents_table.c
        state = sa.case((d.pending > 0, "importing"), (d.code != "", "failed"), else_=d.state)
        mine = (d.collection == collection) & self._visible()
        found: dict[str, dict[str, int]] = {}
        with self._engine.connect() as db:
            for name, column in (("state", state), ("type", d.type)):
                counted = (
                    sa.select(column, sa.func.count()).where(mine).group_by(column).order_by(sa.func.count().desc())
                )
                found[name] = {str(row[0]): int(row[1]) for row in db.execute(counted) if row[0]}
        return found

    def set_edits(self, collection: str, doc_id: str, edits: Mapping[str, Any]) -> None:
        """Note what people set on a live document; with `disabled` no search finds it from now on."""
        d = documents_table.c
        mine = (d.collection == collection) & (d.doc_id == doc_id) & (d.version > 0)
        values = {"edits": json.dumps(dict(edits), ensure_ascii=False), "updated_at": utc_now(),
                  "state": "disabled" if edits.get("disabled") else "live"}  # fmt: skip
        with self._engine.begin() as db:
            db.execute(sa.update(documents_table).where(mine).values(values))

    def content_hashes(self) -> set[str]:
        """Hashes of the sources of all documents, in every collection."""
        with self._engine.connect() as db:
            return set(db.execute(sa.select(documents_table.c.content_hash).distinct()).scalars())

    def text(self, collection: str, doc_id: str) -> str | None:
        """The live version's text."""
        d, t = documents_table.c, texts_table.c
        query = (
            sa.select(t.text)
            .join(documents_table, (d.collection == t.collection) & (d.doc_id == t.doc_id) & (d.version == t.version))
            .where(t.collection == collection, t.doc_id == doc_id, self._visible())
        )
        with self._engine.connect() as db:
            return db.execute(query).scalar_one_or_none()

    def live_texts(self, collection: str) -> Iterator[tuple[str, str]]:
        """(doc_id, text) of every live document, read as they are taken."""
        d, t = documents_table.c, texts_table.c
        query = (
            sa.select(d.doc_id, t.text)
            .join(texts_table, (d.collection == t.collection) & (d.doc_id == t.doc_id) & (d.version == t.version))
            .where(d.collection == collection, d.version > 0, self._visible())
            .execution_options(yield_per=100)
        )
        with self._engine.connect() as db:
            for row in db.execute(query):
                yield row.doc_id, row.text

    def stage(self, collection: str, drafts: Sequence[Draft]) -> list[list[str]]:
        """Store the drafts as pending versions. Returns each draft's store keys, chunk by chunk."""
        keys: list[list[str]] = []
        texts: list[dict[str, Any]] = []
        chunks: list[dict[str, Any]] = []
        with self._engine.begin() as db:
            versions = self._open_versions(db, collection, drafts)
            for draft in drafts:
                version = versions[draft.doc_id]
                pks = [row_key(collection, draft.doc_id, version, chunk.ordinal) for chunk in draft.chunks]
                texts.append({"collection": collection, "doc_id": draft.doc_id, "version": version, "text": draft.text,
                              "blocks": draft.blocks})  # fmt: skip
                chunks.extend(_chunk_rows(collection, draft, version, pks))
                keys.append(pks)
            _insert(db, texts_table, texts)
            _insert(db, chunks_table, chunks)
            if db.execute(sa.select(garbage_table.c.pk).limit(1)).first():
                _forget(
                    db, [pk for pks in keys for pk in pks]
                )  # a resumed run writes the keys a killed one left behind
        return keys

    def _open_versions(self, db: sa.Connection, collection: str, drafts: Sequence[Draft]) -> dict[str, int]:
        """Note the next version of each document as pending; documents that are new get a row."""
        d = documents_table.c
        known = self._versions(db, collection, drafts, d.version)
        rows = [
            {
                "collection": collection,
                "doc_id": draft.doc_id,
                "source": draft.source,
                "state": "new",
                "pending": 1,
                "acl": _acl(draft.acl),
            }
            for draft in drafts
            if draft.doc_id not in known
        ]
        _insert(db, documents_table, rows)
        if known:
            mine = (d.collection == collection) & (d.doc_id == sa.bindparam("this"))
            pending = sa.update(documents_table).where(mine).values(pending=sa.bindparam("next"))
            db.execute(pending, [{"this": doc_id, "next": version + 1} for doc_id, version in known.items()])
        return {draft.doc_id: known.get(draft.doc_id, 0) + 1 for draft in drafts}

    def _versions(
        self, db: sa.Connection, collection: str, drafts: Sequence[Draft], column: sa.Column[Any]
    ) -> dict[str, int]:
        d = documents_table.c
        found: dict[str, int] = {}
        doc_ids = [draft.doc_id for draft in drafts]
        for start in range(0, len(doc_ids), _BATCH):
            batch = doc_ids[start : start + _BATCH]
            query = sa.select(d.doc_id, column).where(d.collection == collection, d.doc_id.in_(batch))
            found.update({row[0]: int(row[1]) for row in db.execute(query)})
        return found

    def publish(self, collection: str, drafts: Sequence[Draft]) -> None:
        """Make the pending versions of these documents the ones that searches see."""
        d, c, t = documents_table.c, chunks_table.c, texts_table.c
        now = utc_now()
        with self._engine.begin() as db:
            pending = self._versions(db, collection, drafts, d.pending)
            rows = [{"this": draft.doc_id, **_published(draft, pending[draft.doc_id], now)} for draft in drafts]
            mine = (d.collection == collection) & (d.doc_id == sa.bindparam("this"))
            columns: dict[str, Any] = {name: sa.bindparam(name) for name in rows[0] if name != "this"} if rows else {}
            if rows:
                db.execute(sa.update(documents_table).where(mine).values(columns), rows)
            for doc_id, version in pending.items():
                if version > 1:
                    old = (c.collection == collection) & (c.doc_id == doc_id) & (c.version != version)
                    _to_garbage(db, collection, old)
                    stale = (t.collection == collection) & (t.doc_id == doc_id) & (t.version != version)
                    db.execute(sa.delete(texts_table).where(stale))

    def touch(self, collection: str, drafts: Sequence[Draft]) -> None:
        """Note size, time and validators of sources whose content turned out the same."""
        d = documents_table.c
        mine = (d.collection == collection) & (d.doc_id == sa.bindparam("this"))
        names = ("size", "mtime_ns", "validators")
        rows = [{"this": draft.doc_id, "size": draft.size, "mtime_ns": draft.mtime_ns,
                 "validators": json.dumps(dict(draft.validators))} for draft in drafts]  # fmt: skip
        if rows:
            with self._engine.begin() as db:
                db.execute(
                    sa.update(documents_table).where(mine).values({name: sa.bindparam(name) for name in names}), rows
                )

    def await_documents(self, collection: str, drafts: Sequence[Draft]) -> None:
        """Note new documents that an import has found and not yet read, so that people see what is still to come."""
        rows = [{"collection": collection, "doc_id": draft.doc_id, "source": draft.source, "state": "waiting",
                 "size": draft.size, "updated_at": utc_now(), "acl": _acl(draft.acl)} for draft in drafts]  # fmt: skip
        with self._engine.begin() as db:
            _insert(db, documents_table, rows, ignore=True)

    def mark_copies(self, collection: str, copies: Sequence[tuple[Draft, str]]) -> None:
        """Note documents whose content the document of that doc_id has already. A version of their own goes."""
        d = documents_table.c
        for draft, _ in copies:
            self._make_row(collection, draft)
        names = (
            "source",
            "title",
            "type",
            "content_hash",
            "recipe",
            "size",
            "mtime_ns",
            "container",
            "validators",
            "copy_of",
            "acl",
        )
        with self._engine.begin() as db:
            for draft, copy_of in copies:
                _retire(db, collection, draft.doc_id)
                values = {**_published(draft, 0, utc_now()), "copy_of": copy_of}
                fresh = {"state": "duplicate", "version": 0, "pending": 0, "n_chunks": 0, "code": "", "message": ""}
                mine = (d.collection == collection) & (d.doc_id == draft.doc_id)
                db.execute(
                    sa.update(documents_table).where(mine).values({name: values[name] for name in names} | fresh)
                )

    def copies(self, collection: str, doc_ids: Sequence[str]) -> dict[str, list[str]]:
        """For each of these documents that has copies, their doc_ids in order of their sources."""
        d = documents_table.c
        found: dict[str, list[str]] = {}
        with self._engine.connect() as db:
            for start in range(0, len(doc_ids), _BATCH):
                query = sa.select(d.copy_of, d.doc_id).where(
                    d.collection == collection, d.copy_of.in_(doc_ids[start : start + _BATCH])
                )
                for row in db.execute(query.order_by(d.source)):
                    found.setdefault(row.copy_of, []).append(row.doc_id)
        return found

    def point_copies(self, collection: str, old: str, new: str) -> None:
        """Let the copies of one document be copies of another."""
        d = documents_table.c
        with self._engine.begin() as db:
            mine = (d.collection == collection) & (d.copy_of == old) & (d.doc_id != new)
            db.execute(sa.update(documents_table).where(mine).values(copy_of=new))

    def has_copies(self, collection: str) -> bool:
        d = documents_table.c
        with self._engine.connect() as db:
            query = sa.select(d.doc_id).where(d.collection == collection, d.copy_of != "").limit(1)
            return db.execute(query).first() is not None

    def draft(self, collection: str, doc_id: str) -> Draft | None:
        """A live document with everything in it, as it would be written again."""
        d = documents_table.c
        with self._engine.connect() as db:
            row = db.execute(
                sa.select(documents_table).where(d.collection == collection, d.doc_id == doc_id, d.version > 0)
            ).first()
        if row is None:
            return None
        stored = self.stored_chunks(collection, doc_id)
        return Draft(
            doc_id=row.doc_id, source=row.source, title=row.title, type=row.type, text=self.text(collection, doc_id) or "",
            content_hash=row.content_hash, recipe=row.recipe, size=row.size, mtime_ns=row.mtime_ns, n_pages=row.n_pages,
            metadata=json.loads(row.meta), warnings=json.loads(row.warnings), container=row.container,
            validators=json.loads(row.validators), acl=_names(row.acl), edits=json.loads(row.edits),
            chunks=[one.chunk for one in stored],
            vector_keys=[one.vector_key for one in stored],
        )  # fmt: skip

    def _make_row(self, collection: str, draft: Draft) -> None:
        row = {"collection": collection, "doc_id": draft.doc_id, "source": draft.source, "state": "waiting",
               "acl": _acl(draft.acl)}  # fmt: skip
        with self._engine.begin() as db:
            _insert(db, documents_table, [row], ignore=True)

    def fail(self, collection: str, draft: Draft, code: str, message: str) -> None:
        """Record that a source could not be read. A version that is live stays live."""
        d = documents_table.c
        mine = (d.collection == collection) & (d.doc_id == draft.doc_id)
        values = {"content_hash": draft.content_hash, "recipe": draft.recipe, "size": draft.size, "mtime_ns": draft.mtime_ns,
                  "code": code, "message": message, "updated_at": utc_now()}  # fmt: skip
        rights = {"acl": _acl(draft.acl)}
        with self._engine.begin() as db:
            if db.execute(sa.select(d.doc_id).where(mine)).first():
                still = sa.case((d.state == "waiting", "failed"), else_=d.state)  # it was noted before it was read
                db.execute(sa.update(documents_table).where(mine).values(values | {"state": still}))
            else:
                new = {
                    "collection": collection,
                    "doc_id": draft.doc_id,
                    "source": draft.source,
                    "state": "failed",
                    "type": draft.type,
                    "container": draft.container,
                }
                db.execute(sa.insert(documents_table).values(new | values | rights))

    def delete(self, collection: str, doc_ids: Sequence[str]) -> int:
        """Remove documents: invisible to searches when this returns. Returns how many there were."""
        d = documents_table.c
        n_deleted = 0
        with self._engine.begin() as db:
            for doc_id in doc_ids:
                found = db.execute(
                    sa.delete(documents_table).where((d.collection == collection) & (d.doc_id == doc_id))
                )
                n_deleted += found.rowcount
                _retire(db, collection, doc_id)
        return n_deleted

    # ------------------------------------------------------------ chunks and vectors

    def set_acl(self, collection: str, doc_ids: Sequence[str], acl: Sequence[str]) -> None:
        """Put documents under another access list, for every search from now on."""
        d = documents_table.c
        with self._engine.begin() as db:
            for start in range(0, len(doc_ids), _BATCH):
                mine = (d.collection == collection) & d.doc_id.in_(doc_ids[start : start + _BATCH])
                db.execute(sa.update(documents_table).where(mine).values(acl=_acl(acl)))

    def live_rows(self, collection: str, pks: Sequence[str]) -> dict[str, LiveRow]:
        """Which of these keys belong to live versions, without their texts. What is missing must not be shown."""
        c = chunks_table.c
        query = sa.select(c.collection, c.pk, c.doc_id, c.start, c.end, c.level, c.vector_key).join(
            documents_table, _SAME_VERSION
        )
        rows = self._by_key(query, collection, pks)
        return {row.pk: LiveRow(chunk_id(row.doc_id, row.start, row.end, row.level), row.vector_key) for row in rows}

    def live_chunks(self, collection: str, pks: Sequence[str]) -> dict[str, StoredChunk]:
        """The chunks of live versions among these keys. What is missing in the result must not be shown."""
        return {row.pk: _stored(row) for row in self._by_key(_LIVE, collection, pks)}

    def _by_key(self, query: sa.Select[Any], collection: str, pks: Sequence[str]) -> Iterator[Any]:
        """Rows of `query` by chunk key, of this collection only.

        The collection is compared here: in the statement it makes SQLite read every chunk of the collection instead of
        looking the keys up.
        """
        query = query.where(self._visible(), _ENABLED)
        with self._engine.connect() as db:
            for start in range(0, len(pks), _BATCH):
                for row in db.execute(query.where(chunks_table.c.pk.in_(pks[start : start + _BATCH]))):
                    if row.collection == collection:
                        yield row

    def chunks(self, collection: str, doc_id: str) -> list[Chunk]:
        """The live chunks of one document, in order."""
        return [one.chunk for one in self.stored_chunks(collection, doc_id)]

    def stored_chunks(self, collection: str, doc_id: str) -> list[StoredChunk]:
        """The same with the keys of their rows and vectors."""
        mine = (chunks_table.c.collection == collection) & (chunks_table.c.doc_id == doc_id)
        query = _LIVE.where(mine, self._visible()).order_by(chunks_table.c.ordinal)
        with self._engine.connect() as db:
            return [_stored(row) for row in db.execute(query)]

    def keys_of(self, collection: str, chunk_ids: Sequence[str]) -> dict[str, str]:
        """Chunk ids to the keys of their rows, of live versions only."""
        wanted = set(chunk_ids)
        doc_ids = sorted({one.rpartition("#")[0] for one in wanted})
        c = chunks_table.c
        query = (
            sa.select(c.pk, c.doc_id, c.start, c.end, c.level)
            .join(documents_table, _SEARCHED)
            .where(c.collection == collection)
        )
        found: dict[str, str] = {}
        with self._engine.connect() as db:
            for start in range(0, len(doc_ids), _BATCH):
                for row in db.execute(query.where(c.doc_id.in_(doc_ids[start : start + _BATCH]))):
                    one = chunk_id(row.doc_id, row.start, row.end, row.level)
                    if one in wanted:
                        found[one] = row.pk
        return found

    def chunks_with(self, collection: str, words: Sequence[str], *, limit: int) -> list[StoredChunk]:
        """Live chunks that hold one of these words anywhere; where there are more than the limit, those with most words.

        It reads every chunk's text, which is for when there is no index to ask.
        """
        text = sa.func.lower(chunks_table.c.text)
        held = [sa.case((text.contains(word.lower(), autoescape=True), 1), else_=0) for word in words[:MAX_WORDS]]
        if not held:
            return []
        n_held: sa.ColumnElement[int] = sa.literal(0)
        for one in held:
            n_held = n_held + one
        mine = (chunks_table.c.collection == collection) & (n_held > 0)
        query = _LIVE.where(mine, self._visible()).order_by(n_held.desc(), chunks_table.c.pk).limit(limit)
        with self._engine.connect() as db:
            return [_stored(row) for row in db.execute(query)]

    def live_places(self, collection: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(chunk id, what filters see of it) of every live chunk, without texts."""
        c, d = chunks_table.c, documents_table.c
        query = (
            sa.select(c.doc_id, c.start, c.end, c.level, c.page, d.source, d.title, d.type, d.meta)
            .join(documents_table, _SEARCHED)
            .where(c.collection == collection)
            .execution_options(yield_per=1000)
        )
        with self._engine.connect() as db:
            for row in db.execute(query):
                seen = {"doc_id": row.doc_id, "source": row.source, "title": row.title, "type": row.type,
                        "page": row.page or 0, "meta": json.loads(row.meta)}  # fmt: skip
                yield chunk_id(row.doc_id, row.start, row.end, row.level), seen

    def live_keys(self, collection: str) -> set[str]:
        d, c = documents_table.c, chunks_table.c
        query = sa.select(c.pk).join(documents_table, _SEARCHED).where(c.collection == collection, d.state == "live")
        with self._engine.connect() as db:
            return set(db.execute(query).scalars())

    def sample_texts(self, collection: str, n: int) -> list[str]:
        """The beginnings of n live chunks: the same ones until documents change, from anywhere in the collection."""
        c = chunks_table.c
        query = (
            sa.select(sa.func.substr(c.text, 1, 400))
            .join(documents_table, _SEARCHED)
            .where(c.collection == collection, c.level == 0, self._visible())
            .order_by(c.pk)
            .limit(n)
        )
        with self._engine.connect() as db:
            return list(db.execute(query).scalars())

    def revision(self, collection: str) -> tuple[Any, ...]:
        """Differs whenever another set of documents or versions is live than before."""
        d = documents_table.c
        query = sa.select(sa.func.count(), sa.func.sum(d.version), sa.func.max(d.updated_at)).where(
            d.collection == collection, d.version > 0, _ENABLED, self._visible()
        )
        with self._engine.connect() as db:
            return tuple(db.execute(query).one())

    def counts(self, collection: str) -> tuple[int, int]:
        """(live documents, live chunks)."""
        d = documents_table.c
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(d.n_chunks), 0)).where(
            d.collection == collection, d.version > 0, self._visible()
        )
        with self._engine.connect() as db:
            row = db.execute(query).one()
        return int(row[0]), int(row[1])

    def vectors(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Cached vectors by key; keys without one are left out."""
        found: dict[str, np.ndarray] = {}
        with self._engine.connect() as db:
            for start in range(0, len(keys), _BATCH):
                query = sa.select(vectors_table).where(vectors_table.c.key.in_(keys[start : start + _BATCH]))
                for row in db.execute(query):
                    found[row.key] = np.frombuffer(row.vector, "<f4")
        return found

    def put_vectors(self, vectors: Mapping[str, np.ndarray]) -> None:
        rows = [{"key": key, "vector": vector.astype("<f4").tobytes()} for key, vector in vectors.items()]
        with self._engine.begin() as db:
            _insert(db, vectors_table, rows, ignore=True)

    def field_values(self, collection: str, limit: int = 8) -> dict[str, list[str]]:
        """Fields that filters can test, each with some of the values that live documents have, most frequent first."""
        d = documents_table.c
        mine = (d.collection == collection) & (d.version > 0) & self._visible()
        query = sa.select(d.type, d.meta).where(mine).limit(_FIELD_SAMPLE)
        counts: dict[str, Counter[str]] = {}
        with self._engine.connect() as db:
            for row in db.execute(query):
                for name, value in {"type": row.type, **json.loads(row.meta)}.items():
                    if isinstance(value, (str, int, float)) and len(str(value)) <= 40:
                        counts.setdefault(name, Counter())[str(value)] += 1
        return {name: [value for value, _ in found.most_common(limit)] for name, found in sorted(counts.items())}

    # ------------------------------------------------------------ recovery

    def recover(self, collection: str) -> int:
        """Turn what a killed run staged into garbage. Returns the number of documents concerned."""
        d, c, t = documents_table.c, chunks_table.c, texts_table.c
        with self._engine.begin() as db:
            rows = db.execute(
                sa.select(d.doc_id, d.pending, d.state).where(d.collection == collection, d.pending > 0)
            ).all()
            for doc_id, pending, state in rows:
                _to_garbage(
                    db, collection, (c.collection == collection) & (c.doc_id == doc_id) & (c.version == pending)
                )
                db.execute(
                    sa.delete(texts_table).where(
                        (t.collection == collection) & (t.doc_id == doc_id) & (t.version == pending)
                    )
                )
                mine = (d.collection == collection) & (d.doc_id == doc_id)
                if state == "new":
                    db.execute(sa.delete(documents_table).where(mine))
                else:
                    db.execute(sa.update(documents_table).where(mine).values(pending=0))
        return len(rows)

    def garbage(self, collection: str, limit: int = 1000) -> list[str]:
        """Keys of rows that must leave the store."""
        with self._engine.connect() as db:
            return list(
                db.execute(
                    sa.select(garbage_table.c.pk).where(garbage_table.c.collection == collection).limit(limit)
                ).scalars()
            )

    def forget_garbage(self, pks: Sequence[str]) -> None:
        with self._engine.begin() as db:
            _forget(db, pks)

    def drop_unused_vectors(self) -> int:
        """Remove cached vectors that no chunk refers to."""
        used = sa.select(chunks_table.c.vector_key).where(chunks_table.c.vector_key == vectors_table.c.key).exists()
        with self._engine.begin() as db:
            return db.execute(sa.delete(vectors_table).where(~used)).rowcount

    def problems(self, collection: str) -> list[tuple[str, str, str]]:
        """Inconsistencies inside the catalog as (kind, doc_id, message)."""
        d, c, t, v = documents_table.c, chunks_table.c, texts_table.c, vectors_table.c
        found: list[tuple[str, str, str]] = []
        with self._engine.connect() as db:
            if self._sqlite and (damage := db.execute(sa.text("PRAGMA quick_check(1)")).scalar()) != "ok":
                found.append(("catalog-damaged", "", str(damage)))
            n_chunks = sa.select(sa.func.count()).where(
                (c.collection == d.collection) & (c.doc_id == d.doc_id) & (c.version == d.version)
            )
            wrong = sa.select(d.doc_id, d.n_chunks).where(
                d.collection == collection, d.version > 0, d.n_chunks != n_chunks.scalar_subquery()
            )
            found += [("chunks-missing", row.doc_id, f"{row.n_chunks} chunks expected") for row in db.execute(wrong)]
            no_text = sa.select(d.doc_id).where(d.collection == collection, d.version > 0).where(
                ~sa.select(t.doc_id).where((t.collection == d.collection) & (t.doc_id == d.doc_id) & (t.version == d.version)).exists()
            )  # fmt: skip
            found += [
                ("text-missing", doc_id, "the document's text is gone") for doc_id in db.execute(no_text).scalars()
            ]
            no_vector = (
                sa.select(c.doc_id)
                .where(c.collection == collection, ~sa.select(v.key).where(v.key == c.vector_key).exists())
                .distinct()
            )
            found += [
                ("vector-missing", doc_id, "a cached vector is gone") for doc_id in db.execute(no_vector).scalars()
            ]
            pending = sa.select(d.doc_id).where(d.collection == collection, d.pending > 0)
            found += [("unfinished", doc_id, "an import was interrupted") for doc_id in db.execute(pending).scalars()]
        return found

    # ------------------------------------------------------------ runs

    def unfinished_run(self, collection: str) -> bool:
        """Whether an earlier run ended without its last step, as a kill makes it."""
        r = runs_table.c
        with self._engine.connect() as db:
            query = sa.select(r.run_id).where(r.collection == collection, r.finished_at == "").limit(1)
            return db.execute(query).first() is not None

    def forget_unfinished_runs(self, collection: str) -> None:
        r = runs_table.c
        with self._engine.begin() as db:
            ended = sa.update(runs_table).where(r.collection == collection, r.finished_at == "")
            db.execute(ended.values(finished_at=utc_now(), report='{"killed": true}'))

    def last_reports(self, collection: str, limit: int = 5) -> list[dict[str, Any]]:
        """Reports of the last runs that finished, newest first."""
        r = runs_table.c
        query = sa.select(r.report).where(r.collection == collection, r.finished_at != "").limit(limit)
        with self._engine.connect() as db:
            return [json.loads(text) for text in db.execute(query.order_by(r.started_at.desc(), r.run_id)).scalars()]

    def start_run(self, collection: str) -> str:
        run_id = secrets.token_hex(8)
        with self._engine.begin() as db:
            db.execute(sa.insert(runs_table).values(run_id=run_id, collection=collection, started_at=utc_now()))
        return run_id

    def finish_run(self, run_id: str, report: Mapping[str, Any]) -> None:
        with self._engine.begin() as db:
            db.execute(
                sa.update(runs_table)
                .where(runs_table.c.run_id == run_id)
                .values(finished_at=utc_now(), report=json.dumps(report))
            )

    # ------------------------------------------------------------ a collection and its successor

    def next_collection(self, name: str) -> Collection | None:
        """What is being built to take the collection's place. Its own name ends in a random mark; no search sees it."""
        c = collections_table.c.name
        with self._engine.connect() as db:
            found = (
                db.execute(sa.select(c).where(c.startswith(name + NEXT, autoescape=True)).order_by(c)).scalars().first()
            )
        return None if found is None else self.collection(found)

    def switch(self, successor: str, name: str, *, keep_failed: bool) -> None:
        """Put the successor in the collection's place, in one transaction: readers see all of the old or all of the new.

        keep_failed: documents that have no live version stay, and so do failures noted on the others.
        """
        d = documents_table.c
        with self._engine.begin() as db:
            if keep_failed:
                _keep_failures(db, successor, name)
            for table in (chunks_table, texts_table, garbage_table):
                db.execute(sa.delete(table).where(table.c.collection == name))
            old = d.collection == name
            db.execute(sa.delete(documents_table).where(old & (d.version > 0) if keep_failed else old))
            for table in (documents_table, chunks_table, texts_table, garbage_table):
                db.execute(sa.update(table).where(table.c.collection == successor).values(collection=name))
            db.execute(sa.delete(collections_table).where(collections_table.c.name == name))
            db.execute(sa.update(collections_table).where(collections_table.c.name == successor).values(name=name))

    def drop_collection(self, name: str) -> None:
        """Remove a collection with everything in it. Its index is the caller's."""
        with self._engine.begin() as db:
            for table in (documents_table, chunks_table, texts_table, garbage_table):
                db.execute(sa.delete(table).where(table.c.collection == name))
            db.execute(sa.delete(collections_table).where(collections_table.c.name == name))

    def new_generation(self) -> int:
        """A number for an index that no index of this catalog ever had.

        Milvus Lite mixes what it counted of a dropped index into the scores of a new one of the same name.
        """
        with self._engine.begin() as db:
            mine = meta_table.c.key == "generation"
            last = db.execute(sa.select(meta_table.c.value).where(mine)).scalar_one_or_none()
            highest = db.execute(sa.select(sa.func.max(collections_table.c.generation))).scalar_one_or_none()
            new = max(int(last or 1), highest or 1) + 1
            db.execute(sa.delete(meta_table).where(mine))
            db.execute(sa.insert(meta_table).values(key="generation", value=str(new)))
        return new

    def generation(self, name: str) -> int:
        """Of the collection's index; 0 when there is no such collection."""
        c = collections_table.c
        with self._engine.connect() as db:
            return int(db.execute(sa.select(c.generation).where(c.name == name)).scalar_one_or_none() or 0)

    def body(self, collection: str, doc_id: str) -> tuple[str, bytes | None] | None:
        """The live version's text and packed blocks."""
        d, t = documents_table.c, texts_table.c
        live = (d.collection == t.collection) & (d.doc_id == t.doc_id) & (d.version == t.version)
        query = (
            sa.select(t.text, t.blocks)
            .join(documents_table, live)
            .where(t.collection == collection, t.doc_id == doc_id, self._visible())
        )
        with self._engine.connect() as db:
            row = db.execute(query).first()
        return None if row is None else (row.text, row.blocks)

    def vector_keys(self, collection: str) -> Iterator[str]:
        """The keys of the live chunks' vectors; those that several chunks share come several times."""
        c = chunks_table.c
        live = sa.select(c.pk, c.vector_key).join(documents_table, _SAME_VERSION).where(c.collection == collection)
        last = ""
        while True:
            with self._engine.connect() as db:
                rows = db.execute(live.where(c.pk > last).order_by(c.pk).limit(_BATCH)).all()
            yield from (row.vector_key for row in rows)
            if len(rows) < _BATCH:
                return
            last = rows[-1].pk

    def records(self, collection: str) -> Iterator[dict[str, Any]]:
        """Every document as plain values, live or failed, with its text, blocks and chunks; one is held at a time."""
        d, c, t = documents_table.c, chunks_table.c, texts_table.c
        last = ""
        while True:
            page = sa.select(documents_table).where(
                d.collection == collection, d.doc_id > last, d.state.not_in(("new", "waiting"))
            )
            with self._engine.connect() as db:
                rows = db.execute(page.order_by(d.doc_id).limit(_BATCH)).all()
            for row in rows:
                this = (collection, row.doc_id, row.version)
                text = sa.select(t.text, t.blocks).where(sa.tuple_(t.collection, t.doc_id, t.version) == this)
                chunks = sa.select(chunks_table).where(sa.tuple_(c.collection, c.doc_id, c.version) == this)
                with self._engine.connect() as db:
                    body = db.execute(text).first()
                    cut = db.execute(chunks.order_by(c.ordinal)).all()
                yield {
                    "document": _values(row), "text": body.text if body else None,
                    "blocks": body.blocks if body else None, "chunks": [_values(one) for one in cut],
                }  # fmt: skip
            if len(rows) < _BATCH:
                return
            last = rows[-1].doc_id

    def put_records(self, collection: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Write records of `records` into a collection that no search sees yet. Returns the chunks' keys, in order.

        A key that another collection holds already is replaced by one of this collection's own.
        """
        documents = [{**one["document"], "collection": collection, "pending": 0} for one in records]
        texts = [{"collection": collection, "doc_id": one["document"]["doc_id"], "version": one["document"]["version"],
                  "text": one["text"], "blocks": one["blocks"]} for one in records if one["text"] is not None]  # fmt: skip
        chunks = [{**chunk, "collection": collection, "doc_id": one["document"]["doc_id"], "version": one["document"]["version"]}
                  for one in records for chunk in one["chunks"]]  # fmt: skip
        seen: set[str] = set()
        with self._engine.begin() as db:
            for start in range(0, len(chunks), _BATCH):
                batch = chunks[start : start + _BATCH]
                pks = [chunk["pk"] for chunk in batch]
                taken = set(db.execute(sa.select(chunks_table.c.pk).where(chunks_table.c.pk.in_(pks))).scalars())
                taken |= set(db.execute(sa.select(garbage_table.c.pk).where(garbage_table.c.pk.in_(pks))).scalars())
                for chunk in batch:
                    if chunk["pk"] in taken or chunk["pk"] in seen:
                        chunk["pk"] = row_key(collection, chunk["doc_id"], chunk["version"], chunk["ordinal"])
                    seen.add(chunk["pk"])
            _insert(db, documents_table, documents)
            _insert(db, texts_table, texts)
            _insert(db, chunks_table, chunks)
        return [chunk["pk"] for chunk in chunks]

    @contextmanager
    def writer_lock(self, wait_s: float) -> Iterator[None]:
        """One writer per PostgreSQL catalog, whichever machine it runs on. SQLite needs none beside the home's lock.

        The server holds the lock for as long as this connection lives. Raises: LockedError.
        """
        if self._sqlite:
            yield
            return
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            deadline = time.monotonic() + wait_s
            while not db.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK_SPACE, 1))).scalar():
                if time.monotonic() > deadline:
                    where = self._engine.url.render_as_string(hide_password=True)
                    raise LockedError(f"Another machine or home is writing to the catalog {where}. Wait for it to end.")
                time.sleep(0.05)
            try:
                yield
            finally:
                db.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK_SPACE, 1)))


_LOCK_SPACE = 0x52_47_53_54  # of our advisory locks in a PostgreSQL database: 0 makes the tables, 1 writes


def create_tables(engine: sa.Engine, tables: sa.MetaData) -> None:
    """Create what is missing. Two processes may do it at once: the one that loses a race looks again."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as db:
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_SPACE, 0)))
            tables.create_all(db)
        return
    for _ in tables.tables:
        try:
            tables.create_all(engine)
            return
        except sa.exc.DBAPIError as error:
            if "already exists" not in str(error):
                raise
    tables.create_all(engine)


def row_key(collection: str, doc_id: str, version: int, ordinal: int) -> str:
    """Key of a chunk's row in the store: 32 hex digits, safe to paste into any expression, equal on every run."""
    return hashlib.sha256(f"{collection}\0{doc_id}\0{version}\0{ordinal}".encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]


def vector_key(fingerprint: str, indexed_text: str) -> str:
    """Key of a cached vector: the same text under the same model is embedded once."""
    return hashlib.sha256(f"{fingerprint}\0{indexed_text}".encode("utf-8", "surrogatepass")).hexdigest()


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_STATES = {"importing": documents_table.c.pending > 0, "failed": documents_table.c.code != ""}
_SAME_VERSION = (
    (documents_table.c.collection == chunks_table.c.collection)
    & (documents_table.c.doc_id == chunks_table.c.doc_id)
    & (documents_table.c.version == chunks_table.c.version)
)
_ENABLED = documents_table.c.state != sa.literal_column("'disabled'")
_SEARCHED = _SAME_VERSION & (documents_table.c.state != "disabled")
_LIVE = sa.select(
    chunks_table,
    documents_table.c.source,
    documents_table.c.title,
    documents_table.c.type,
    documents_table.c.meta,
    documents_table.c.acl,
).join(documents_table, _SAME_VERSION)  # also of disabled documents: `_by_key` leaves those out


def _migrate(db: sa.Connection) -> None:
    """Bring an older catalog to this schema: so far versions only added columns, which have defaults."""
    inspector = sa.inspect(db)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                specification = sa.schema.CreateColumn(column).compile(dialect=db.dialect)
                db.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {specification}"))
    db.execute(sa.update(meta_table).where(meta_table.c.key == "schema").values(value=str(SCHEMA_VERSION)))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an acknowledged document survives a power cut
    cursor.close()


def _explain_sqlite(context: Any, url: str) -> None:
    """Raise what a failure of the disk means, in place of SQLite's words. A failed transaction has been rolled back."""
    name = str(getattr(context.original_exception, "sqlite_errorname", None) or "")
    error: RagstoneError | None = None
    if name.startswith("SQLITE_FULL"):
        error = disk_full(url)
    elif name.startswith("SQLITE_IOERR"):
        error = DiskError(f"The disk under {url} fails ({name}). Check it; what was imported before is kept.")
    elif name.startswith("SQLITE_READONLY"):
        error = DiskError(f"The catalog {url} is read-only. Choose another --home, or change its permissions.")
    elif name.startswith("SQLITE_BUSY"):
        error = LockedError(f"Another program has kept the catalog {url} locked for 30 s. End it and run the command again.")  # fmt: skip
    if error is not None:
        raise error from context.original_exception


def _open_engine(url: str | Path, *, sqlite: bool) -> sa.Engine:
    """Raises: SettingsError for a URL that names no database we know."""
    try:
        if isinstance(url, Path):
            engine = sa.create_engine(f"sqlite:///{url}", connect_args={"timeout": 30})
        else:
            engine = sa.create_engine(url, connect_args={"timeout": 30} if sqlite else {}, pool_pre_ping=not sqlite)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise SettingsError(
            "catalog.url is not a database's URL. Write postgresql+pg8000://user:password@host:5432/database, or leave it empty for SQLite."
        ) from error
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"catalog.url needs the Python package {error.name}. Install ragstone[postgres] and write postgresql+pg8000://…"
        ) from error
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise SettingsError(f"catalog.url names {engine.dialect.name}; the catalog lives in SQLite or PostgreSQL.")
    if sqlite:
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _lost_server(context: Any) -> None:
    """A database server that goes away is our error, not SQLAlchemy's."""
    if context.is_disconnect or isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError)):
        raise CatalogError(
            f"The PostgreSQL catalog stopped answering: {_reason(context.original_exception)}. Start it and run the command again."
        )


def _reason(error: Any) -> str:
    """The first line of a driver's message; pg8000 puts the server's fields into a dictionary."""
    original = getattr(error, "orig", None) or error
    fields = original.args[0] if original.args else ""
    text = fields.get("M", "") if isinstance(fields, dict) else str(original)
    return (text.strip().splitlines() or [type(original).__name__])[0][:200].rstrip(". ")


def _values(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row._mapping.items() if key != "collection"}


def _keep_failures(db: sa.Connection, successor: str, name: str) -> None:
    """Carry over what `fail` noted on documents that have a live version."""
    d, new = documents_table.c, documents_table.c
    failed = sa.select(d.doc_id, d.code, d.message, d.content_hash, d.size, d.mtime_ns, d.updated_at)
    for row in db.execute(failed.where(d.collection == name, d.version > 0, d.code != "")).all():
        mine = (new.collection == successor) & (new.doc_id == row.doc_id)
        db.execute(sa.update(documents_table).where(mine).values(_values(row)))


def _insert(db: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], *, ignore: bool = False) -> None:
    if not rows:
        return
    statement = sa.insert(table)
    if ignore and db.dialect.name == "sqlite":
        statement = statement.prefix_with("OR IGNORE")
    elif ignore:
        from sqlalchemy.dialects.postgresql import insert

        statement = insert(table).on_conflict_do_nothing()
    if db.dialect.name == "sqlite":
        db.execute(statement, rows)
        return
    for start in range(0, len(rows), _ROWS):  # many rows per statement: a driver would send each on its own
        db.execute(statement.values(rows[start : start + _ROWS]))


def _chunk_rows(collection: str, draft: Draft, version: int, pks: Sequence[str]) -> Iterator[dict[str, Any]]:
    for pk, chunk, key in zip(pks, draft.chunks, draft.vector_keys, strict=True):
        yield {"pk": pk, "collection": collection, "doc_id": draft.doc_id, "version": version, "ordinal": chunk.ordinal,
               "start": chunk.start, "end": chunk.end, "page": chunk.page, "context": chunk.context,
               "n_tokens": chunk.n_tokens, "text": chunk.text, "vector_key": key, "level": chunk.level,
               "parent_start": chunk.parent_start, "parent_end": chunk.parent_end, "extra": chunk.extra}  # fmt: skip


def _published(draft: Draft, version: int, now: str) -> dict[str, Any]:
    return {"source": draft.source, "title": draft.title, "type": draft.type,
            "state": "disabled" if draft.disabled else "live", "version": version,
            "pending": 0, "content_hash": draft.content_hash, "recipe": draft.recipe, "size": draft.size,
            "mtime_ns": draft.mtime_ns, "n_chunks": len(draft.chunks), "n_chars": len(draft.text),
            "n_pages": draft.n_pages, "meta": json.dumps(dict(draft.metadata), ensure_ascii=False),
            "warnings": json.dumps(list(draft.warnings), ensure_ascii=False), "container": draft.container, "copy_of": "",
            "validators": json.dumps(dict(draft.validators)), "code": "", "message": "", "acl": _acl(draft.acl),
            "edits": json.dumps(dict(draft.edits), ensure_ascii=False), "updated_at": now}  # fmt: skip


def _retire(db: sa.Connection, collection: str, doc_id: str) -> None:
    """Take every version of a document out of the collection; its rows become garbage."""
    c, t = chunks_table.c, texts_table.c
    _to_garbage(db, collection, (c.collection == collection) & (c.doc_id == doc_id))
    db.execute(sa.delete(texts_table).where((t.collection == collection) & (t.doc_id == doc_id)))


def _to_garbage(db: sa.Connection, collection: str, which: Any) -> None:
    pks = list(db.execute(sa.select(chunks_table.c.pk).where(which)).scalars())
    _insert(db, garbage_table, [{"pk": pk, "collection": collection} for pk in pks], ignore=True)
    db.execute(sa.delete(chunks_table).where(which))


def _forget(db: sa.Connection, pks: Sequence[str]) -> None:
    for start in range(0, len(pks), _BATCH):
        db.execute(sa.delete(garbage_table).where(garbage_table.c.pk.in_(pks[start : start + _BATCH])))


def _stored(row: Any) -> StoredChunk:
    chunk = Chunk(doc_id=row.doc_id, ordinal=row.ordinal, start=row.start, end=row.end, text=row.text,
                  context=row.context, page=row.page, n_tokens=row.n_tokens, extra=row.extra, level=row.level,
                  parent_start=row.parent_start, parent_end=row.parent_end)  # fmt: skip
    return StoredChunk(pk=row.pk, chunk=chunk, source=row.source, title=row.title, type=row.type,
                       metadata=json.loads(row.meta), vector_key=row.vector_key, acl=_names(row.acl))  # fmt: skip


def _info(row: Any, aliases: tuple[str, ...]) -> DocumentInfo:
    return DocumentInfo(
        doc_id=row.doc_id, source=row.source, title=row.title, type=row.type,
        state="importing" if row.pending else row.state, version=row.version,
        n_chunks=row.n_chunks, n_chars=row.n_chars, n_pages=row.n_pages, updated_at=row.updated_at,
        metadata=json.loads(row.meta), code=row.code, message=row.message, warnings=tuple(json.loads(row.warnings)),
        container=row.container, copy_of=row.copy_of, aliases=aliases, size=row.size, acl=_names(row.acl), edits=json.loads(row.edits),
    )  # fmt: skip


def _acl(names: Sequence[str]) -> str:
    """An access list as it is stored: every name between bars, which no name holds."""
    return f"|{'|'.join(sorted(set(names)))}|"


def _names(acl: str) -> tuple[str, ...]:
    return tuple(name for name in acl.split("|") if name)
