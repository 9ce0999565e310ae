"""Threads: conversations with their answers, ratings and attached files. Kept in the catalog's database.

A question is on disk before its answer is begun, so neither a closed tab nor a restart loses it. An edited question makes
a branch: a copy of the thread up to there.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import sqlalchemy as sa

from rag.database import create_tables, utc_now
from rag.types import Answer, Citation, Conflict, Side, Step, Usage

MAX_TITLE = 120

metadata = sa.MetaData()
threads_table = sa.Table(
    "threads", metadata,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("thread_id", sa.String, nullable=False, unique=True),
    sa.Column("owner", sa.String, nullable=False, index=True),  # name of the user; empty: the home's owner
    sa.Column("title", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
)  # fmt: skip
turns_table = sa.Table(
    "turns", metadata,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),  # order in the thread
    sa.Column("turn_id", sa.String, nullable=False, unique=True),
    sa.Column("thread_id", sa.String, nullable=False, index=True),
    sa.Column("collection", sa.String, nullable=False),  # as people know it
    sa.Column("mode", sa.String, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # running, done, stopped or failed
    sa.Column("answer", sa.Text, nullable=False),  # JSON of an Answer without its hits; empty: there is none yet
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("follow_ups", sa.Text, nullable=False),  # JSON: questions
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("rating", sa.Integer),  # 1 good, 0 bad
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
)  # fmt: skip
models_table = sa.Table(
    "thread_models", metadata,  # beside the threads: a home of an older version has their table already
    sa.Column("thread_id", sa.String, primary_key=True),
    sa.Column("model", sa.String, nullable=False),
)  # fmt: skip
files_table = sa.Table(
    "thread_files", metadata,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("file_id", sa.String, nullable=False, unique=True),
    sa.Column("thread_id", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    thread_id: str
    owner: str
    title: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and what came of it. answer: None while there is not a word of it."""

    turn_id: str
    thread_id: str
    collection: str
    mode: str
    question: str
    state: str
    answer: Answer | None
    error: str
    follow_ups: tuple[str, ...]
    seconds: float
    rating: int | None
    comment: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFile:
    """The text of a file that one thread alone sees."""

    file_id: str
    name: str
    text: str


class Threads:
    """All conversations of a home. Threads and processes may share it. `engine`: of the catalog."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._one_writes = threading.Lock()
        create_tables(engine, metadata)

    # ------------------------------------------------------------ threads

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction. Threads come in turn: SQLite would let them try again and again, and a hundred hold all connections."""
        with self._one_writes, self._engine.begin() as db:
            yield db

    def create(self, owner: str, title: str) -> Thread:
        now = utc_now()
        made = Thread(thread_id=secrets.token_hex(8), owner=owner, title=_title(title), created_at=now, updated_at=now)
        with self._writing() as db:
            db.execute(sa.insert(threads_table).values(**asdict(made)))
        return made

    def get(self, thread_id: str, owner: str) -> Thread | None:
        """The owner's thread; None also for somebody else's."""
        t = threads_table.c
        with self._engine.connect() as db:
            row = db.execute(sa.select(threads_table).where(t.thread_id == thread_id, t.owner == owner)).first()
        return None if row is None else _thread(row)

    def find(self, owner: str, search: str = "", limit: int = 100) -> list[Thread]:
        """The owner's threads, last used first; with `search` those whose title, questions or answers hold it."""
        t, u = threads_table.c, turns_table.c
        query = sa.select(threads_table).where(t.owner == owner)
        if wanted := search.strip():
            said = sa.or_(u.question.icontains(wanted, autoescape=True), u.answer.icontains(wanted, autoescape=True))
            query = query.where(
                sa.or_(t.title.icontains(wanted, autoescape=True), t.thread_id.in_(sa.select(u.thread_id).where(said)))
            )
        with self._engine.connect() as db:
            return [_thread(row) for row in db.execute(query.order_by(t.updated_at.desc(), t.n.desc()).limit(limit))]

    def rename(self, thread_id: str, title: str) -> None:
        with self._writing() as db:
            mine = sa.update(threads_table).where(threads_table.c.thread_id == thread_id)
            db.execute(mine.values(title=_title(title)))

    def delete(self, thread_id: str) -> None:
        """The thread with all that was said and attached."""
        with self._writing() as db:
            for table in (files_table, models_table, turns_table, threads_table):
                db.execute(sa.delete(table).where(table.c.thread_id == thread_id))

    def branch(self, thread: Thread, turn_id: str) -> Thread:
        """A copy of the thread as it was before a turn, files included."""
        made = self.create(thread.owner, thread.title)
        self.choose_model(made.thread_id, self.model(thread.thread_id))
        u = turns_table.c
        with self._writing() as db:
            end = sa.select(u.n).where(u.turn_id == turn_id).scalar_subquery()
            turns = sa.select(turns_table).where(u.thread_id == thread.thread_id, u.n < end).order_by(u.n)
            files = sa.select(files_table).where(files_table.c.thread_id == thread.thread_id).order_by(files_table.c.n)
            for table, name, rows in (
                (turns_table, "turn_id", db.execute(turns).mappings().all()),
                (files_table, "file_id", db.execute(files).mappings().all()),
            ):
                for row in rows:
                    values = {key: value for key, value in row.items() if key != "n"}
                    values |= {"thread_id": made.thread_id, name: secrets.token_hex(8)}
                    db.execute(sa.insert(table).values(**values))
        return made

    def model(self, thread_id: str) -> str:
        """The chat model that was chosen for a thread; "" for the settings' own."""
        m = models_table.c
        with self._engine.connect() as db:
            return db.execute(sa.select(m.model).where(m.thread_id == thread_id)).scalar() or ""

    def choose_model(self, thread_id: str, model: str) -> None:
        with self._writing() as db:
            db.execute(sa.delete(models_table).where(models_table.c.thread_id == thread_id))
            if model:
                db.execute(sa.insert(models_table).values(thread_id=thread_id, model=model))

    # ------------------------------------------------------------ turns

    def turns(self, thread_id: str) -> list[Turn]:
        u = turns_table.c
        with self._engine.connect() as db:
            return [
                _turn(row) for row in db.execute(sa.select(turns_table).where(u.thread_id == thread_id).order_by(u.n))
            ]

    def ask(self, thread_id: str, question: str, *, collection: str, mode: str) -> Turn:
        """Add a question, to be answered. When this returns, it is on disk."""
        now = utc_now()
        turn = Turn(
            turn_id=secrets.token_hex(8), thread_id=thread_id, collection=collection, mode=mode, question=question,
            state="running", answer=None, error="", follow_ups=(), seconds=0.0, rating=None, comment="", created_at=now,
        )  # fmt: skip
        values = {one.name: getattr(turn, one.name) for one in fields(turn)} | {"answer": "", "follow_ups": "[]"}
        with self._writing() as db:
            db.execute(sa.insert(turns_table).values(**values))
            mine = sa.update(threads_table).where(threads_table.c.thread_id == thread_id)
            db.execute(mine.values(updated_at=now))
        return turn

    def ask_again(self, turn_id: str, *, collection: str, mode: str) -> None:
        """A turn loses its answer, to be answered anew."""
        with self._writing() as db:
            mine = sa.update(turns_table).where(turns_table.c.turn_id == turn_id)
            db.execute(
                mine.values(
                    collection=collection,
                    mode=mode,
                    state="running",
                    answer="",
                    error="",
                    follow_ups="[]",
                    rating=None,
                    comment="",
                )
            )

    def save(
        self,
        turn_id: str,
        state: str,
        answer: Answer | None = None,
        *,
        seconds: float = 0.0,
        error: str = "",
        follow_ups: Sequence[str] = (),
    ) -> bool:
        """What came of a turn, in whole or so far. False when it has ended before, such as by being stopped."""
        u = turns_table.c
        mine = sa.update(turns_table).where(u.turn_id == turn_id, u.state == "running")
        values = {
            "state": state, "answer": _packed(answer), "seconds": seconds, "error": error,
            "follow_ups": json.dumps(list(follow_ups), ensure_ascii=False),
        }  # fmt: skip
        with self._writing() as db:
            return db.execute(mine.values(**values)).rowcount == 1

    def suggest(self, turn_id: str, follow_ups: Sequence[str]) -> None:
        """What could be asked next, found after the answer was whole."""
        u = turns_table.c
        mine = sa.update(turns_table).where(u.turn_id == turn_id, u.state == "done")
        with self._writing() as db:
            db.execute(mine.values(follow_ups=json.dumps(list(follow_ups), ensure_ascii=False)))

    def rate(self, turn_id: str, rating: int | None, comment: str = "") -> None:
        with self._writing() as db:
            mine = sa.update(turns_table).where(turns_table.c.turn_id == turn_id)
            db.execute(mine.values(rating=rating, comment=comment))

    def rated(self, owner: str) -> list[Turn]:
        """The owner's turns that have a rating, in order."""
        t, u = threads_table.c, turns_table.c
        query = (
            sa.select(turns_table)
            .join(threads_table, t.thread_id == u.thread_id)
            .where(t.owner == owner, u.rating.is_not(None))
            .order_by(u.n)
        )
        with self._engine.connect() as db:
            return [_turn(row) for row in db.execute(query)]

    # ------------------------------------------------------------ files

    def used(self, since: str) -> dict[str, tuple[int, int]]:
        """(questions, tokens of the chat model) of each person's turns since a day or time (ISO, UTC)."""
        t = turns_table.c
        query = sa.select(threads_table.c.owner, t.answer).join(threads_table, threads_table.c.thread_id == t.thread_id)
        sums: dict[str, tuple[int, int]] = {}
        with self._engine.connect() as db:
            for owner, packed in db.execute(query.where(t.created_at >= since)):
                n_turns, n_tokens = sums.get(owner, (0, 0))
                usage = json.loads(packed)["usage"] if packed else {}
                more = usage.get("n_prompt_tokens", 0) + usage.get("n_answer_tokens", 0)
                sums[owner] = n_turns + 1, n_tokens + more
        return sums

    def attach(self, thread_id: str, name: str, text: str) -> ThreadFile:
        made = ThreadFile(file_id=secrets.token_hex(8), name=name, text=text)
        with self._writing() as db:
            db.execute(sa.insert(files_table).values(**asdict(made), thread_id=thread_id))
        return made

    def detach(self, thread_id: str, file_id: str) -> None:
        f = files_table.c
        with self._writing() as db:
            db.execute(sa.delete(files_table).where(f.thread_id == thread_id, f.file_id == file_id))

    def files(self, thread_id: str) -> list[ThreadFile]:
        f = files_table.c
        with self._engine.connect() as db:
            rows = db.execute(sa.select(files_table).where(f.thread_id == thread_id).order_by(f.n))
            return [ThreadFile(file_id=row.file_id, name=row.name, text=row.text) for row in rows]


def _title(text: str) -> str:
    """One line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 1] + "…"


def _packed(answer: Answer | None) -> str:
    """JSON without the hits, which are long and of which the citations keep what counts."""
    return "" if answer is None else json.dumps(asdict(replace(answer, hits=())), ensure_ascii=False)


def _answer(packed: str) -> Answer | None:
    if not packed:
        return None
    found: Mapping[str, Any] = json.loads(packed)
    return Answer(**{
        **found,
        "citations": tuple(Citation(**one) for one in found["citations"]),
        "trace": tuple(Step(**one) for one in found["trace"]),
        "usage": Usage(**found["usage"]),
        "conflicts": tuple(
            Conflict(kind=one["kind"], sides=tuple(Side(**side) for side in one["sides"])) for one in found.get("conflicts", ())
        ),
        **{name: tuple(found[name]) for name in ("hits", "warnings", "unsupported")},
    })  # fmt: skip


def _thread(row: Any) -> Thread:
    return Thread(
        thread_id=row.thread_id, owner=row.owner, title=row.title, created_at=row.created_at, updated_at=row.updated_at
    )


def _turn(row: Any) -> Turn:
    return Turn(
        turn_id=row.turn_id, thread_id=row.thread_id, collection=row.collection, mode=row.mode, question=row.question,
        state=row.state, answer=_answer(row.answer), error=row.error, follow_ups=tuple(json.loads(row.follow_ups)),
        seconds=row.seconds, rating=row.rating, comment=row.comment, created_at=row.created_at,
    )  # fmt: skip
