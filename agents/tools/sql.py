"""Read-only SQL over SQLite files, CSV files and, with ragstone[duckdb], DuckDB files.

Nothing depends on reading the statement: SQLite asks our authorizer before it touches a table or calls a function, the
file is opened for reading alone, and memory, rows, length and time are capped. One statement at a time.
The only home of the duckdb package.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agents.tooling import Tool, ToolResult, tool
from rag.errors import UsageError
from rag.loaders.encoding import decode
from rag.sources import read_stable

MAX_SQL = 4000  # characters
MAX_ROWS = 50
MAX_CELL = 200  # characters shown
SECONDS = 1.0
MAX_CSV = 100_000_000  # bytes
STEPS = 1000  # SQLite instructions between two looks at the clock

_FUNCTION_NAMES = (
    "abs avg cast ceil ceiling coalesce concat concat_ws count cume_dist date datetime dense_rank exp first_value floor format "
    "glob group_concat iif ifnull instr json_array_length json_extract json_type julianday lag last_value lead length like ln "
    "log log10 log2 lower ltrim max min mod nth_value ntile nullif percent_rank pi power pow quote rank replace round row_number "
    "rtrim sign sqrt strftime string_agg substr substring sum time total trim trunc typeof unicode unixepoch upper -> ->>"
)
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}


def sql_tool(paths: Sequence[str | os.PathLike[str]], *, tables: Sequence[str] | None = None) -> Tool:
    """query_sql over the given files. tables: those that may be read; left out, all of them.

    A CSV file is a table named after the file. Raises: UsageError for files that are no database or cannot be read.
    """
    databases = [_open(Path(path).expanduser().absolute(), tables) for path in paths]
    if not databases:
        raise UsageError("The tool sql needs at least one file. Set agent.databases.")
    schema = "; ".join(database.schema for database in databases)

    def run(sql: str) -> ToolResult:
        reasons = []
        for database in databases:
            try:
                return ToolResult(text=database.query(sql))
            except ValueError as error:
                reasons.append(str(error))
        return ToolResult(text=" ".join(dict.fromkeys(reasons)), ok=False, code="refused", tainted=False)

    @tool(effect="read", timeout_s=10, description=f"Read tables with one SQL SELECT. Tables: {schema[:1500]}")
    def query_sql(sql: str) -> ToolResult:
        """sql: one SELECT statement"""
        return run(sql)

    return query_sql


class _Sqlite:
    """A SQLite file, or a CSV file read into memory. Every query has a connection of its own for a file."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], tables: Sequence[str] | None, *, shared: bool
    ) -> None:
        self._connect, self._shared = connect, shared
        self._lock = threading.Lock()
        with self._connection() as db:
            found = [row[0] for row in db.execute("select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'")]  # fmt: skip
            self.tables = {name: name for name in found if tables is None or name in tables}
            self.schema = "; ".join(f"{name}({', '.join(_columns(db, name))})" for name in self.tables)

    def query(self, sql: str) -> str:
        """The result as lines of text. Raises ValueError with a reason that the model can use."""
        _check_text(sql)
        with self._connection() as db:
            ends = time.monotonic() + SECONDS
            _limit(db)
            db.set_authorizer(self._authorize)
            db.set_progress_handler(lambda: int(time.monotonic() > ends), STEPS)
            try:
                cursor = db.execute(sql)
                rows = cursor.fetchmany(MAX_ROWS + 1)
                names = [column[0] for column in cursor.description or ()]
            except (sqlite3.Error, sqlite3.Warning, MemoryError, OverflowError) as error:
                raise ValueError(_reason(error, ends, self.schema)) from None
            finally:
                db.set_authorizer(None)
                db.set_progress_handler(None, 0)
        if not names:
            raise ValueError("The statement gives no rows. Write one SELECT.")
        return _rows(names, rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._shared:
            with self._lock:
                yield self._connect()
        else:
            with closing(self._connect()) as db:
                yield db

    def _authorize(self, action: int, first: str | None, second: str | None, _base: str | None, _view: str | None) -> int:  # fmt: skip
        if action in _ALLOWED:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and (first in self.tables or not first):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


class _Duck:
    """A DuckDB file, opened for reading, with no way to other files, extensions or settings."""

    def __init__(self, path: Path, tables: Sequence[str] | None) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise UsageError(f"Reading {path.name} needs DuckDB: pip install 'ragstone[duckdb]' ({error}).") from error
        self._duckdb, self._path, self._tables = duckdb, path, tables
        try:
            with closing(self._connect()) as db:
                listed = db.execute("select table_name, column_name, data_type from information_schema.columns order by 1, ordinal_position").fetchall()  # fmt: skip
        except duckdb.Error as error:
            raise UsageError(f"{path} cannot be opened with DuckDB ({_first(error)}). Check the file.") from error
        names = dict.fromkeys(row[0] for row in listed if tables is None or row[0] in tables)
        self.tables = {name.lower(): name for name in names}
        self.schema = "; ".join(
            f"{name}({', '.join(f'{column} {kind}' for table, column, kind in listed if table == name)})"
            for name in names
        )

    def query(self, sql: str) -> str:
        _check_text(sql)
        with closing(self._connect()) as db:
            timer = threading.Timer(SECONDS, db.interrupt)
            timer.daemon = True
            ends = time.monotonic() + SECONDS
            timer.start()
            try:
                self._check(db, sql)
                cursor = db.execute(sql)
                rows = cursor.fetchmany(MAX_ROWS + 1)
                names = [column[0] for column in cursor.description or ()]
            except (self._duckdb.Error, MemoryError, RuntimeError) as error:
                raise ValueError(_reason(error, ends, self.schema)) from None
            finally:
                timer.cancel()
        return _rows(names, rows)

    def _connect(self) -> Any:
        config: dict[str, Any] = {"enable_external_access": "false", "autoinstall_known_extensions": "false", "threads": "1",
                  "autoload_known_extensions": "false", "memory_limit": "256MB", "lock_configuration": "true",
                  "max_temp_directory_size": "0KB"}  # fmt: skip
        return self._duckdb.connect(str(self._path), read_only=True, config=config)

    def _check(self, db: Any, sql: str) -> None:
        """One SELECT over the allowed tables; functions that read settings, secrets or other files are no tables."""
        found = self._duckdb.extract_statements(sql)
        if len(found) != 1 or found[0].type != self._duckdb.StatementType.SELECT:
            raise ValueError("Only one SELECT is allowed.")
        read = {str(name).lower().replace('"', "").removeprefix("main.") for name in db.get_table_names(sql, qualified=True)}  # fmt: skip
        if unknown := read - self.tables.keys():
            raise ValueError(f"There is no table {sorted(unknown)[0]!r}. Tables: {self.schema}")
        if match := _DUCK_FUNCTIONS.search(sql):
            raise ValueError(f"The function {match[1]} is not allowed.")


_DUCK_FUNCTIONS = re.compile(
    r"\b((?:duckdb_|pragma_|pg_|sniff_|read_|glob|parquet_|sqlite_|postgres_|mysql_|query|current_setting|getvariable|getenv|"
    r"which_secret|json_execute|from_substrait|scan_|repeat|lpad|rpad|list_resize|array_resize)\w*)[\s\"]*\(", re.IGNORECASE,
)  # fmt: skip


def _open(path: Path, tables: Sequence[str] | None) -> _Sqlite | _Duck:
    if not path.is_file():
        raise UsageError(f"There is no file {path}. Check agent.databases.")
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"SQLite format 3\0"):
        uri = path.as_uri() + "?mode=ro&immutable=0"
        return _Sqlite(lambda: sqlite3.connect(uri, uri=True, check_same_thread=False), tables, shared=False)
    if path.suffix.lower() in (".duckdb", ".ddb") or head[8:12] == b"DUCK":
        return _Duck(path, tables)
    if path.suffix.lower() in (".csv", ".tsv"):
        db = _from_csv(path)
        return _Sqlite(lambda: db, tables, shared=True)
    raise UsageError(f"{path} is no SQLite, DuckDB or CSV file.")


def _from_csv(path: Path) -> sqlite3.Connection:
    """A CSV file as a table in memory; columns that hold numbers only become numbers."""
    content, _ = decode(read_stable(str(path), MAX_CSV), name=path.name)
    dialect = "\t" if path.suffix.lower() == ".tsv" else _delimiter(content)
    rows = list(csv.reader(io.StringIO(content, newline=""), delimiter=dialect))
    if not rows:
        raise UsageError(f"{path} holds no rows.")
    head = [re.sub(r"\W+", "_", name.strip()).strip("_") or f"column_{at}" for at, name in enumerate(rows[0], 1)]
    names = [name if name not in head[:at] else f"{name}_{at + 1}" for at, name in enumerate(head)]
    body = [(row + [""] * len(names))[: len(names)] for row in rows[1:] if row]
    numeric = [all(_number(row[at]) is not None or not row[at].strip() for row in body) for at in range(len(names))]
    values = [[(_number(cell) if numeric[at] else cell) if cell.strip() else None for at, cell in enumerate(row)] for row in body]  # fmt: skip
    table = re.sub(r"\W+", "_", path.stem).strip("_") or "data"
    db = sqlite3.connect(":memory:", check_same_thread=False)
    columns = ", ".join(f'"{name}"' + (" numeric" if numeric[at] else " text") for at, name in enumerate(names))
    db.execute(f'create table "{table}" ({columns})')
    db.executemany(f'insert into "{table}" values ({", ".join("?" * len(names))})', values)  # noqa: S608 - our own names
    db.commit()
    db.execute("pragma query_only = on")
    return db


def _delimiter(content: str) -> str:
    head = content.partition("\n")[0]
    return max(",;\t|", key=head.count)


def _number(cell: str) -> int | float | None:
    try:
        text = cell.strip().replace(",", "") if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", cell.strip()) else cell
        return float(text) if "." in text or "e" in text.lower() else int(text)
    except ValueError:
        return None


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    quoted = table.replace('"', '""')
    return [f"{name} {kind}".strip().lower() if kind else name for _, name, kind, *_ in db.execute(f'pragma table_info("{quoted}")')]  # fmt: skip


def _limit(db: sqlite3.Connection) -> None:
    """SQLite's own limits: strings and statements of a length, depth of expressions, memory."""
    for what, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000), (sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_SQL * 4),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100), (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 20), (sqlite3.SQLITE_LIMIT_VDBE_OP, 50_000),
        (sqlite3.SQLITE_LIMIT_FUNCTION_ARG, 32), (sqlite3.SQLITE_LIMIT_ATTACHED, 0), (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):  # fmt: skip
        db.setlimit(what, most)


def _check_text(sql: str) -> None:
    if len(sql) > MAX_SQL:
        raise ValueError(f"The statement is longer than {MAX_SQL} characters. Write a shorter one.")
    if "\0" in sql:
        raise ValueError("The statement holds a zero character.")


def _reason(error: BaseException, ends: float, schema: str) -> str:
    text = _first(error)
    if time.monotonic() >= ends or "interrupt" in text.lower():
        return f"The query took longer than {SECONDS:g} s and was stopped. Ask for less."
    if "not authorized" in text or "prohibited" in text:
        return f"Not allowed ({text}): only one SELECT over the tables {schema}, without functions beyond the usual."
    if "one statement" in text:
        return "Only one statement is allowed."
    return f"{text}. Tables: {schema}"


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def _rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [" | ".join(names), *(" | ".join(_cell(value) for value in row) for row in rows[:MAX_ROWS])]
    if len(rows) > MAX_ROWS:
        lines.append(f"… more than {MAX_ROWS} rows; add a LIMIT or count them")
    return "\n".join(lines) if rows else "\n".join([*lines, "(no rows)"])


def _cell(value: Any) -> str:
    text = "null" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…"
