"""What agents did, on disk: runs with their steps and prompts, and every call with an effect, written down before it is made.

SQLite in the home, `agents.sqlite3`. A call that was begun and not ended, because the process was killed, is never made
again: its outcome is unknown, and the model is told so.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.errors import CatalogError, UsageError

KEEP_RUNS = 1000
KEEP_EFFECTS = 10_000  # that ended; what was begun and not ended is never forgotten

_TABLES = """
create table if not exists effects (key text primary key, tool text, args text, state text, observation text, at real);
create table if not exists runs (run_id text primary key, thread text, kind text, task text, started real, record text);
create index if not exists runs_by_time on runs (started);
"""


class Journal:
    """See the top of this file. path: None keeps it in memory. Threads may share it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=30)
        try:
            self._db.execute("pragma journal_mode = wal")
            self._db.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise CatalogError(f"The agents' journal {path} is damaged ({error}). Move the file away to go on without it.") from error  # fmt: skip

    # ------------------------------------------------------------ effects

    def begin(self, key: str, tool: str, args: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """("new", None) when the call may be made now; ("done", observation) or ("begun", None) when it was before."""
        with self._writing(flushed=True) as db:
            row = db.execute("select state, observation from effects where key = ?", (key,)).fetchone()
            if row is not None:
                return row[0], json.loads(row[1]) if row[1] else None
            values = (key, tool, json.dumps(dict(args), ensure_ascii=False, default=str), "begun", "", time.time())
            db.execute("insert into effects values (?, ?, ?, ?, ?, ?)", values)
        return "new", None

    def end(self, key: str, observation: Mapping[str, Any]) -> None:
        with self._writing(flushed=True) as db:
            db.execute("update effects set state = 'done', observation = ? where key = ?",
                       (json.dumps(dict(observation), ensure_ascii=False), key))  # fmt: skip

    # ------------------------------------------------------------ runs

    def keep(self, run_id: str, *, thread: str, kind: str, task: str, started: float, record: Mapping[str, Any]) -> None:  # fmt: skip
        """Store a run's record, over what was stored of it before; the oldest runs go beyond KEEP_RUNS."""
        text = json.dumps(dict(record), ensure_ascii=False, default=str)
        with self._writing() as db:
            db.execute("insert or replace into runs values (?, ?, ?, ?, ?, ?)", (run_id, thread, kind, task, started, text))  # fmt: skip
            db.execute(
                "delete from runs where run_id in (select run_id from runs order by started desc limit -1 offset ?)",
                (KEEP_RUNS,),
            )
            db.execute(
                "delete from effects where state = 'done' and rowid <= (select max(rowid) - ? from effects)",
                (KEEP_EFFECTS,),
            )

    def run(self, run_id: str) -> dict[str, Any]:
        """A run's record, by its id or the beginning of it. Raises UsageError when there is none."""
        with self._lock:
            rows = self._db.execute(
                "select run_id, thread, kind, task, started, record from runs where substr(run_id, 1, ?) = ? limit 2",
                (len(run_id), run_id),
            ).fetchall()
        if len(rows) != 1 or not run_id:
            what = "Several runs begin" if len(rows) > 1 else "No run begins"
            raise UsageError(f"{what} with {run_id!r}. `ragstone agent list` shows all.")
        return _record(rows[0])

    def runs(self, limit: int = 20) -> list[dict[str, Any]]:
        """The latest runs, newest first."""
        with self._lock:
            rows = self._db.execute(
                "select run_id, thread, kind, task, started, record from runs order by started desc limit ?", (limit,)
            ).fetchall()
        return [_record(row) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _writing(self, *, flushed: bool = False) -> Iterator[sqlite3.Connection]:
        """flushed: what has an effect must be known after a power cut, too; a kill of the process loses neither."""
        with self._lock:
            self._db.execute(f"pragma synchronous = {'full' if flushed else 'normal'}")
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    run_id, thread, kind, task, started, record = row
    return {"run_id": run_id, "thread": thread, "kind": kind, "task": task, "started": started, **json.loads(record)}
