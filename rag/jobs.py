"""Jobs: imports and deletions that were accepted and are still to be done. Kept in the catalog's database.

A job is on disk before its client is told so, and whoever works on it puts it back when it is stopped. So a restart of
the API or of the worker, however rough, loses none; and since imports are idempotent, one that runs twice does no harm.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag.database import create_tables, utc_now

ENDED = ("done", "failed", "cancelled")
KEPT = 1000  # ended jobs that are remembered

metadata = sa.MetaData()
jobs_table = sa.Table(
    "jobs", metadata,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),  # order of arrival
    sa.Column("job_id", sa.String, nullable=False, unique=True),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),  # as people know it
    sa.Column("kind", sa.String, nullable=False),  # import or delete
    sa.Column("state", sa.String, nullable=False),  # queued, running, stopping, done, failed or cancelled
    sa.Column("request", sa.String, nullable=False),  # JSON: all that the work needs
    sa.Column("progress", sa.String, nullable=False),  # JSON
    sa.Column("result", sa.String, nullable=False),  # JSON
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    job_id: str
    key_id: str
    collection: str
    kind: str
    state: str
    request: Mapping[str, Any]
    progress: Mapping[str, Any]
    result: Mapping[str, Any]
    created_at: str
    updated_at: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Jobs:
    """The queue. Threads and processes may share it. `engine`: of the catalog."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        create_tables(engine, metadata)

    def add(self, kind: str, *, key_id: str, collection: str, request: Mapping[str, Any], job_id: str = "") -> Job:
        """Queue a job. When this returns, it is on disk."""
        now = utc_now()
        job_id = job_id or new_job_id()
        with self._engine.begin() as db:
            db.execute(sa.insert(jobs_table).values(
                job_id=job_id, key_id=key_id, collection=collection, kind=kind, state="queued",
                request=json.dumps(dict(request), ensure_ascii=False), progress="{}", result="{}", created_at=now, updated_at=now,
            ))  # fmt: skip
        return self.get(job_id)  # type: ignore[return-value]

    def get(self, job_id: str) -> Job | None:
        with self._engine.connect() as db:
            row = db.execute(sa.select(jobs_table).where(jobs_table.c.job_id == job_id)).first()
        return None if row is None else _job(row)

    def list(self, key_id: str, limit: int = 100) -> list[Job]:
        """A key's jobs, the newest first."""
        j = jobs_table.c
        query = sa.select(jobs_table).where(j.key_id == key_id).order_by(j.n.desc()).limit(limit)
        with self._engine.connect() as db:
            return [_job(row) for row in db.execute(query)]

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        query = sa.select(jobs_table.c.state, sa.func.count()).group_by(jobs_table.c.state)
        with self._engine.connect() as db:
            return {str(row[0]): int(row[1]) for row in db.execute(query)}

    def take(self) -> Job | None:
        """The next job, marked as running: deletions before imports, then in order of arrival."""
        j = jobs_table.c
        while True:
            query = sa.select(jobs_table).where(j.state == "queued").order_by(j.kind, j.n).limit(1)
            with self._engine.connect() as db:
                row = db.execute(query).first()
            if row is None:
                return None
            if self._move(row.job_id, "queued", "running"):
                return _job(row)

    def requeue_running(self) -> int:
        """Put back what a worker that is gone was doing. Only for the one worker of a home. Returns how many there were."""
        j = jobs_table.c
        with self._engine.begin() as db:
            left = sa.update(jobs_table).where(j.state == "running").values(state="queued", updated_at=utc_now())
            return db.execute(left).rowcount

    def end_stopping(self) -> Sequence[str]:
        """End what was being stopped when its worker died. Only for the one worker of a home. Returns the jobs' ids."""
        j = jobs_table.c
        with self._engine.begin() as db:
            left = list(db.execute(sa.select(j.job_id).where(j.state == "stopping")).scalars())
            stopped = sa.update(jobs_table).where(j.job_id.in_(left))
            db.execute(stopped.values(state="cancelled", updated_at=utc_now()))
        return left

    def put_back(self, job_id: str) -> None:
        self._move(job_id, "running", "queued")

    def note(self, job_id: str, progress: Mapping[str, Any]) -> None:
        self._set(job_id, progress=json.dumps(dict(progress), ensure_ascii=False))

    def end(self, job_id: str, state: str, result: Mapping[str, Any]) -> None:
        """The job is done, failed or cancelled, with what its client wants to know."""
        self._set(job_id, state=state, result=json.dumps(dict(result), ensure_ascii=False))
        j = jobs_table.c
        with self._engine.begin() as db:
            old = sa.select(j.n).where(j.state.in_(ENDED)).order_by(j.n.desc()).offset(KEPT).limit(1).scalar_subquery()
            db.execute(sa.delete(jobs_table).where(j.state.in_(ENDED), j.n <= old))

    def cancel(self, job_id: str) -> bool:
        """Call off a job that nobody has begun. False when somebody has."""
        return self._move(job_id, "queued", "cancelled")

    def stop(self, job_id: str) -> bool:
        """Call off a job, also one that is being done: it ends after the documents that are being written. False when it has ended."""
        return self.cancel(job_id) or self._move(job_id, "running", "stopping")

    def is_stopping(self, job_id: str) -> bool:
        job = self.get(job_id)
        return job is not None and job.state == "stopping"

    def _move(self, job_id: str, old: str, new: str) -> bool:
        j = jobs_table.c
        mine = (j.job_id == job_id) & (j.state == old)
        with self._engine.begin() as db:
            moved = db.execute(sa.update(jobs_table).where(mine).values(state=new, updated_at=utc_now()))
        return moved.rowcount == 1

    def _set(self, job_id: str, **values: str) -> None:
        with self._engine.begin() as db:
            mine = sa.update(jobs_table).where(jobs_table.c.job_id == job_id)
            db.execute(mine.values(**values, updated_at=utc_now()))


def new_job_id() -> str:
    return secrets.token_hex(16)


def _job(row: Any) -> Job:
    return Job(
        job_id=row.job_id, key_id=row.key_id, collection=row.collection, kind=row.kind, state=row.state,
        request=json.loads(row.request), progress=json.loads(row.progress), result=json.loads(row.result),
        created_at=row.created_at, updated_at=row.updated_at,
    )  # fmt: skip
