"""The catalog's tables, and how an older catalog is brought to them."""

from __future__ import annotations

import sqlalchemy as sa

from rag.database import Text
from rag.principals import EVERYONE

SCHEMA_VERSION = 6

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
    sa.Column("tokens", sa.LargeBinary),  # signs of the token vectors, see rag/late_interaction.py; none: not kept
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

for _column in [column for table in metadata.tables.values() for column in table.columns]:
    if isinstance(_column.type, sa.String):
        _column.type = Text()


def migrate(db: sa.Connection) -> None:
    """Bring an older catalog to this schema: so far versions only added columns, which have defaults."""
    inspector = sa.inspect(db)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                specification = sa.schema.CreateColumn(column).compile(dialect=db.dialect)
                db.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {specification}"))
    db.execute(sa.update(meta_table).where(meta_table.c.key == "schema").values(value=str(SCHEMA_VERSION)))
