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
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from rag.catalog_rows import (
    Collection,
    Draft,
    Known,
    LiveRow,
    StoredChunk,
    chunk_rows,
    info_of,
    names_of,
    packed_acl,
    published_row,
    row_key,
    stored_of,
)
from rag.database import (
    LOCK_SPACE,
    create_tables,
    explain_sqlite,
    insert_rows,
    lost_server,
    open_engine,
    reason_of,
    utc_now,
)
from rag.errors import CatalogError, LockedError
from rag.principals import Principal
from rag.tables import (
    SCHEMA_VERSION,
    chunks_table,
    collections_table,
    documents_table,
    garbage_table,
    meta_table,
    metadata,
    migrate,
    runs_table,
    texts_table,
    vectors_table,
)
from rag.types import Chunk, DocumentInfo, chunk_id

_FIELD_SAMPLE = 2000  # documents whose metadata show what filters can name
MAX_WORDS = 32  # of a question that is looked up without an index
_BATCH = 500  # bound parameters per statement stay far below SQLite's limit
NEXT = "\x01"  # parts a collection's name from the mark of its successor; no user's name holds it


class Catalog:
    """Opens (and creates) a catalog. Threads may share it; each call takes its own connection.

    url: an SQLAlchemy URL, or a path of a SQLite file.
    Raises: CatalogError when it cannot be reached, is damaged or written by a newer version; SettingsError for a bad URL.
    """

    def __init__(self, url: str | Path) -> None:
        self._sqlite = isinstance(url, Path) or str(url).startswith("sqlite")
        self._reader: Principal | None = None
        self._statements: dict[str, sa.Select[Any]] = {}  # of this reader
        self._engine = open_engine(url, sqlite=self._sqlite)
        shown = self._engine.url.render_as_string(hide_password=True)
        if self._sqlite:
            sa.event.listen(self._engine, "handle_error", lambda context: explain_sqlite(context, shown))
        try:
            create_tables(self._engine, metadata)
            self._check_schema()
        except (OperationalError, InterfaceError) as error:
            todo = (
                "Check the folder's permissions and free space."
                if self._sqlite
                else "Start it, or correct catalog.url."
            )
            raise CatalogError(f"The catalog {shown} cannot be opened: {reason_of(error)}. {todo}") from error
        except DatabaseError as error:
            if not self._sqlite:
                raise CatalogError(
                    f"The catalog {shown} refused a call: {reason_of(error)}. Check catalog.url."
                ) from error
            raise CatalogError(
                f"The catalog {shown} is damaged: {error.orig}. Restore it from a backup or import again into a new --home."
            ) from error
        if not self._sqlite:
            sa.event.listen(self._engine, "handle_error", lost_server)

    def close(self) -> None:
        self._engine.dispose()

    def seen_by(self, principal: Principal | None) -> Catalog:
        """The same catalog to somebody: what it reads of documents leaves out those whose access list does not let them in."""
        seen = copy.copy(self)
        seen._reader, seen._statements = principal, {}
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
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_SPACE, 0)))
            rows = [{"key": "schema", "value": str(SCHEMA_VERSION)}, {"key": "id", "value": secrets.token_hex(6)}]
            if not db.execute(sa.select(meta_table.c.key)).first():
                insert_rows(db, meta_table, rows, ignore=True)
            found = db.execute(sa.select(meta_table.c.value).where(meta_table.c.key == "schema")).scalar_one()
            if int(found) < SCHEMA_VERSION:
                migrate(db)
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

    def note_write(self, collection: str, now: float) -> None:
        key = f"{_WRITTEN}{collection}"
        with self._engine.begin() as db:
            db.execute(sa.delete(meta_table).where(meta_table.c.key == key))
            insert_rows(db, meta_table, [{"key": key, "value": str(now)}])

    # ------------------------------------------------------------ collections

    def collection(self, name: str) -> Collection | None:
        with self._engine.connect() as db:
            row = db.execute(_COLLECTION, {"name": name, "key": f"{_WRITTEN}{name}"}).first()
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
            written=float(row.written or 0),
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
        names = query.selected_columns.keys()
        with self._engine.connect() as db:
            rows = [dict(zip(names, row, strict=True)) for row in db.execute(query)]
        for row in rows:  # an import asks for all of them: most have neither validators nor edits
            row["validators"] = {} if row["validators"] == "{}" else json.loads(row["validators"])
            row["edits"] = {} if row["edits"] == "{}" else json.loads(row["edits"])
            row["acl"] = names_of(row["acl"])
        return {row["doc_id"]: Known(**row) for row in rows}

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
        return [info_of(row, tuple(aliases.get(row.doc_id, ()))) for row in rows]

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
        return [info_of(row, ()) for row in rows], int(total)

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
                chunks.extend(chunk_rows(collection, draft, version, pks))
                keys.append(pks)
            insert_rows(db, texts_table, texts)
            insert_rows(db, chunks_table, chunks)
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
                "acl": packed_acl(draft.acl),
            }
            for draft in drafts
            if draft.doc_id not in known
        ]
        insert_rows(db, documents_table, rows)
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
            rows = [{"this": draft.doc_id, **published_row(draft, pending[draft.doc_id], now)} for draft in drafts]
            mine = (d.collection == collection) & (d.doc_id == sa.bindparam("this"))
            columns: dict[str, Any] = {name: sa.bindparam(name) for name in rows[0] if name != "this"} if rows else {}
            if rows:
                db.execute(sa.update(documents_table).where(mine).values(columns), rows)
            replaced = [doc_id for doc_id, version in pending.items() if version > 1]
            for start in range(0, len(replaced), _BATCH):
                batch = replaced[start : start + _BATCH]
                published = sa.select(d.version).where(d.collection == collection)
                now_live = published.where(d.doc_id == c.doc_id).scalar_subquery()
                _to_garbage(
                    db, collection, (c.collection == collection) & c.doc_id.in_(batch) & (c.version != now_live)
                )
                now_live = published.where(d.doc_id == t.doc_id).scalar_subquery()
                stale = (t.collection == collection) & t.doc_id.in_(batch) & (t.version != now_live)
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
                 "size": draft.size, "updated_at": utc_now(), "acl": packed_acl(draft.acl)} for draft in drafts]  # fmt: skip
        with self._engine.begin() as db:
            insert_rows(db, documents_table, rows, ignore=True)

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
                values = {**published_row(draft, 0, utc_now()), "copy_of": copy_of}
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
            validators=json.loads(row.validators), acl=names_of(row.acl), edits=json.loads(row.edits),
            chunks=[one.chunk for one in stored],
            vector_keys=[one.vector_key for one in stored],
        )  # fmt: skip

    def _make_row(self, collection: str, draft: Draft) -> None:
        row = {"collection": collection, "doc_id": draft.doc_id, "source": draft.source, "state": "waiting",
               "acl": packed_acl(draft.acl)}  # fmt: skip
        with self._engine.begin() as db:
            insert_rows(db, documents_table, [row], ignore=True)

    def fail(self, collection: str, draft: Draft, code: str, message: str) -> None:
        """Record that a source could not be read. A version that is live stays live."""
        d = documents_table.c
        mine = (d.collection == collection) & (d.doc_id == draft.doc_id)
        values = {"content_hash": draft.content_hash, "recipe": draft.recipe, "size": draft.size, "mtime_ns": draft.mtime_ns,
                  "code": code, "message": message, "updated_at": utc_now()}  # fmt: skip
        rights = {"acl": packed_acl(draft.acl)}
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
                db.execute(sa.update(documents_table).where(mine).values(acl=packed_acl(acl)))

    def live_rows(self, collection: str, pks: Sequence[str]) -> dict[str, LiveRow]:
        """Which of these keys belong to live versions, without their texts. What is missing must not be shown."""
        query = self._built("rows", lambda: self._by_key(_LIVE_ROWS))
        with self._engine.connect() as db:
            rows = [row for keys in self._keys(pks) for row in self._at_once(db, query, keys)]
        return {row[0]: LiveRow._make(row) for row in rows if row[1] == collection}

    def live_chunks(self, collection: str, pks: Sequence[str]) -> dict[str, StoredChunk]:
        """The chunks of live versions among these keys. What is missing in the result must not be shown."""
        query = self._built("chunks", lambda: self._by_key(_LIVE))
        with self._engine.connect() as db:
            rows = [row for keys in self._keys(pks) for row in db.execute(query, keys)]
        return {row.pk: stored_of(row) for row in rows if row.collection == collection}

    def _built(self, name: str, build: Callable[[], sa.Select[Any]]) -> sa.Select[Any]:
        """A statement that every search needs, built once: that takes longer than to run it."""
        if name not in self._statements:
            self._statements[name] = build()
        return self._statements[name]

    def _by_key(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """The query by the chunk keys in the parameter `keys`.

        The caller compares the collection: in the statement it makes SQLite read every chunk of the collection instead of
        looking the keys up.
        """
        return query.where(self._visible(), _ENABLED, self._among(chunks_table.c.pk))

    def _among(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Whether a column holds one of the parameter `keys`, as `_keys` gives them."""
        if not self._sqlite:
            return column.in_(sa.bindparam("keys", expanding=True))
        listed = sa.func.json_each(sa.bindparam("keys")).table_valued("value")
        return column.in_(sa.select(listed.c.value))

    def _keys(self, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Parameters for `_among`, some keys at a time. SQLite gets one, which costs a third of a hundred."""
        for start in range(0, len(keys), _BATCH):
            batch = list(keys[start : start + _BATCH])
            yield {"keys": json.dumps(batch) if self._sqlite else batch}

    def _at_once(self, db: sa.Connection, query: sa.Select[Any], keys: Mapping[str, Any]) -> Sequence[Any]:
        """All rows of `_LIVE_ROWS`, by place.

        SQLite's driver gives the interpreter to another thread and takes it back for every row, so that two threads that
        read hundreds are slower than one. So it gets a single row, which holds all of them as JSON.
        """
        if not self._sqlite:
            return db.execute(query, keys).all()
        listed = self._built("rows at once", lambda: query.with_only_columns(_ALL_ROWS))
        rows: list[Any] = json.loads(db.execute(listed, keys).scalar_one())
        return rows

    def chunks(self, collection: str, doc_id: str) -> list[Chunk]:
        """The live chunks of one document, in order."""
        return [one.chunk for one in self.stored_chunks(collection, doc_id)]

    def stored_chunks(self, collection: str, doc_id: str) -> list[StoredChunk]:
        """The same with the keys of their rows and vectors."""
        mine = (chunks_table.c.collection == collection) & (chunks_table.c.doc_id == doc_id)
        query = _LIVE.where(mine, self._visible()).order_by(chunks_table.c.ordinal)
        with self._engine.connect() as db:
            return [stored_of(row) for row in db.execute(query)]

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
            return [stored_of(row) for row in db.execute(query)]

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
                        "page": row.page, "meta": json.loads(row.meta)}  # fmt: skip
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
        kept = self._cached(vectors_table.c.vector, keys)
        return {key: np.frombuffer(vector, "<f4") for key, vector in kept.items()}

    def put_vectors(self, vectors: Mapping[str, np.ndarray], tokens: Mapping[str, bytes] | None = None) -> None:
        """Cache vectors and, with them, the signs of their tokens; a key that is there keeps what it has."""
        told = tokens or {}
        rows = [
            {"key": key, "vector": vector.astype("<f4").tobytes(), "tokens": told.get(key)}
            for key, vector in vectors.items()
        ]
        with self._engine.begin() as db:
            insert_rows(db, vectors_table, rows, ignore=True)

    def tokens(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The signs of the token vectors by vector key; keys without them are left out."""
        return self._cached(vectors_table.c.tokens, keys)

    def _cached(self, column: sa.ColumnElement[Any], keys: Sequence[str]) -> dict[str, bytes]:
        """What a column of the cache holds for each key; keys for which it holds nothing are left out."""
        key = vectors_table.c.key
        found: dict[str, bytes] = {}
        query = sa.select(key, column).where(self._among(key), column.is_not(None))
        with self._engine.connect() as db:
            for some in self._keys(keys):
                found.update(row._tuple() for row in db.execute(query, some))
        return found

    def put_tokens(self, tokens: Mapping[str, bytes]) -> None:
        """Keep the signs of the token vectors beside vectors that are there."""
        v = vectors_table.c
        change = sa.update(vectors_table).where(v.key == sa.bindparam("of")).values(tokens=sa.bindparam("signs"))
        with self._engine.begin() as db:
            db.execute(change, [{"of": key, "signs": signs} for key, signs in tokens.items()])

    def without_tokens(self, collection: str) -> Iterator[list[StoredChunk]]:
        """Live chunks whose token vectors are not kept, in batches, as they are when a batch is taken."""
        c, d, v = chunks_table.c, documents_table.c, vectors_table.c
        query = (
            sa.select(c.pk)
            .join(documents_table, (d.collection == c.collection) & (d.doc_id == c.doc_id) & (d.version == c.version))
            .join(vectors_table, v.key == c.vector_key)
            .where(c.collection == collection, v.tokens.is_(None))
        )
        with self._engine.connect() as db:
            pks = list(db.execute(query).scalars())
        for start in range(0, len(pks), _BATCH):
            yield list(self.live_chunks(collection, pks[start : start + _BATCH]).values())

    def field_values(self, collection: str, limit: int = 8) -> dict[str, list[str]]:
        """Fields that filters can test, each with some of the values that live documents have, as text, most frequent first."""
        return {name: list(map(str, values)) for name, values in self.field_samples(collection, limit).items()}

    def field_samples(self, collection: str, limit: int = 8) -> dict[str, list[str | int | float]]:
        """The same, each value as the documents have it."""
        d = documents_table.c
        mine = (d.collection == collection) & (d.version > 0) & self._visible()
        query = sa.select(d.type, d.meta).where(mine).limit(_FIELD_SAMPLE)
        counts: dict[str, Counter[str | int | float]] = {}
        with self._engine.connect() as db:
            for row in db.execute(query):
                for name, value in {"type": row.type, **json.loads(row.meta)}.items():
                    if isinstance(value, (str, int, float)) and len(str(value)) <= 40:
                        counts.setdefault(name, Counter())[value] += 1
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
        with self._engine.connect() as db:
            return int(db.execute(_GENERATION, {"name": name}).scalar_one_or_none() or 0)

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

    def packed_blocks(self, collection: str, doc_ids: Sequence[str]) -> dict[str, bytes]:
        """The packed blocks of the documents' live versions; documents without are left out."""
        d, t = documents_table.c, texts_table.c
        live = (d.collection == t.collection) & (d.doc_id == t.doc_id) & (d.version == t.version)
        query = sa.select(t.doc_id, t.blocks).join(documents_table, live).where(
            t.collection == collection, t.blocks.is_not(None), self._visible()
        )  # fmt: skip
        found: dict[str, bytes] = {}
        with self._engine.connect() as db:
            for start in range(0, len(doc_ids), _BATCH):
                rows = db.execute(query.where(t.doc_id.in_(doc_ids[start : start + _BATCH])))
                found |= {row.doc_id: row.blocks for row in rows}
        return found

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
            insert_rows(db, documents_table, documents)
            insert_rows(db, texts_table, texts)
            insert_rows(db, chunks_table, chunks)
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
            while not db.execute(sa.select(sa.func.pg_try_advisory_lock(LOCK_SPACE, 1))).scalar():
                if time.monotonic() > deadline:
                    where = self._engine.url.render_as_string(hide_password=True)
                    raise LockedError(f"Another machine or home is writing to the catalog {where}. Wait for it to end.")
                time.sleep(0.05)
            try:
                yield
            finally:
                db.execute(sa.select(sa.func.pg_advisory_unlock(LOCK_SPACE, 1)))


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
_LIVE_ROWS = sa.select(
    chunks_table.c.pk,
    chunks_table.c.collection,
    chunks_table.c.vector_key,
    chunks_table.c.doc_id,
    chunks_table.c.start,
    chunks_table.c.end,
    chunks_table.c.level,
).join(documents_table, _SAME_VERSION)
_ALL_ROWS = sa.func.json_group_array(sa.func.json_array(*_LIVE_ROWS.selected_columns))
# Asked by every search, so built once.
_WRITTEN = "written:"
_COLLECTION = (
    sa.select(collections_table, meta_table.c.value.label("written"))
    .outerjoin(meta_table, meta_table.c.key == sa.bindparam("key"))
    .where(collections_table.c.name == sa.bindparam("name"))
)
_GENERATION = sa.select(collections_table.c.generation).where(collections_table.c.name == sa.bindparam("name"))


def _values(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row._mapping.items() if key != "collection"}


def _keep_failures(db: sa.Connection, successor: str, name: str) -> None:
    """Carry over what `fail` noted on documents that have a live version."""
    d, new = documents_table.c, documents_table.c
    failed = sa.select(d.doc_id, d.code, d.message, d.content_hash, d.size, d.mtime_ns, d.updated_at)
    for row in db.execute(failed.where(d.collection == name, d.version > 0, d.code != "")).all():
        mine = (new.collection == successor) & (new.doc_id == row.doc_id)
        db.execute(sa.update(documents_table).where(mine).values(_values(row)))


def _retire(db: sa.Connection, collection: str, doc_id: str) -> None:
    """Take every version of a document out of the collection; its rows become garbage."""
    c, t = chunks_table.c, texts_table.c
    _to_garbage(db, collection, (c.collection == collection) & (c.doc_id == doc_id))
    db.execute(sa.delete(texts_table).where((t.collection == collection) & (t.doc_id == doc_id)))


def _to_garbage(db: sa.Connection, collection: str, which: Any) -> None:
    pks = list(db.execute(sa.select(chunks_table.c.pk).where(which)).scalars())
    insert_rows(db, garbage_table, [{"pk": pk, "collection": collection} for pk in pks], ignore=True)
    db.execute(sa.delete(chunks_table).where(which))


def _forget(db: sa.Connection, pks: Sequence[str]) -> None:
    for start in range(0, len(pks), _BATCH):
        db.execute(sa.delete(garbage_table).where(garbage_table.c.pk.in_(pks[start : start + _BATCH])))
