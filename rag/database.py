"""SQLite and PostgreSQL as the catalog and the tables beside it use them: opening, making tables, failures in our words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError

from rag.errors import CatalogError, DiskError, LockedError, RagstoneError, SettingsError, UsageError, disk_full

LOCK_SPACE = 0x52_47_53_54  # of our advisory locks in a PostgreSQL database: 0 makes the tables, 1 writes
_ROWS = 200  # rows per INSERT on PostgreSQL, whose protocol counts parameters in 16 bits


class Text(sa.TypeDecorator[str]):
    """Text without NUL, which PostgreSQL cannot store. A replacement character takes its place, so offsets stay."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value.replace("\0", "\ufffd") if value and "\0" in value else value


def open_engine(url: str | Path, *, sqlite: bool) -> sa.Engine:
    """Raises: SettingsError for a URL that names no database we know."""
    try:
        if isinstance(url, Path):
            # A hundred people read at once; a connection that waits for its turn to write must keep none of them waiting.
            # The overflow's are closed after each use, and to open one costs more than what most calls ask of it.
            engine = sa.create_engine(f"sqlite:///{url}", connect_args={"timeout": 30}, pool_size=20, max_overflow=25)
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


def create_tables(engine: sa.Engine, tables: sa.MetaData) -> None:
    """Create what is missing. Two processes may do it at once: the one that loses a race looks again."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as db:
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_SPACE, 0)))
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


def insert_rows(db: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], *, ignore: bool = False) -> None:
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


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def explain_sqlite(context: Any, url: str) -> None:
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


def lost_server(context: Any) -> None:
    """A database server that goes away is our error, not SQLAlchemy's."""
    if context.is_disconnect or isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError)):
        raise CatalogError(
            f"The PostgreSQL catalog stopped answering: {reason_of(context.original_exception)}. Start it and run the command again."
        )


def reason_of(error: Any) -> str:
    """The first line of a driver's message; pg8000 puts the server's fields into a dictionary."""
    original = getattr(error, "orig", None) or error
    fields = original.args[0] if original.args else ""
    text = fields.get("M", "") if isinstance(fields, dict) else str(original)
    return (text.strip().splitlines() or [type(original).__name__])[0][:200].rstrip(". ")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an acknowledged document survives a power cut
    cursor.close()


def dump(url: str, into: Path) -> None:
    """Write a PostgreSQL database into a file, as of one moment. Raises: UsageError when `pg_dump` is missing or fails."""
    _run_program(["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={into}"], url)


def load(url: str, written: Path) -> None:
    """Read what `dump` wrote into an empty database, all of it or nothing. Raises: UsageError."""
    engine = open_engine(url, sqlite=False)
    try:
        if sa.inspect(engine).get_table_names():
            raise UsageError("The database in catalog.url has tables already. Create an empty one, and name that.")
    except SQLAlchemyError as error:
        raise UsageError(f"The database in catalog.url cannot be reached ({type(error).__name__}).") from error
    finally:
        engine.dispose()
    _run_program(
        ["pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(written)], url
    )


def _run_program(command: Sequence[str], url: str) -> None:
    """One of PostgreSQL's own programs on this database. The password stays out of the command line."""
    parsed = sa.make_url(url)
    environment = dict(os.environ) | ({"PGPASSWORD": parsed.password} if parsed.password else {})
    if isinstance(mode := parsed.query.get("sslmode"), str):
        environment["PGSSLMODE"] = mode
    place = {
        "--host=": parsed.host,
        "--port=": parsed.port,
        "--username=": parsed.username,
        "--dbname=": parsed.database,
    }
    options = [f"{name}{value}" for name, value in place.items() if value]
    program = shutil.which(command[0])
    if program is None:
        raise UsageError(
            f"{command[0]} is not installed. Install PostgreSQL's client programs (Debian: postgresql-client), of the server's version or newer."
        )
    done = subprocess.run(
        [program, *command[1:], *options, "--no-password"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise UsageError(f"{command[0]} failed: {said[:300]}. Its version must be the server's or newer.")
