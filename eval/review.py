"""The review of generated questions: a table is read, people decide, the table is written again."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.generate import COLUMNS
from eval.lines import read_text
from eval.problems import ProblemLog
from rag.errors import UsageError
from rag.text import language

YES, NO = "yes", "no"
_WRITING = threading.Lock()  # from reading a table to having it written: people review at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A question with its rows' sources and chunks. keep: yes, no, or "" while nobody has decided."""

    question_id: str
    question: str
    answer: str
    kind: str
    keep: str
    sources: tuple[str, ...]
    chunk_ids: tuple[str, ...]


def read_review(path: Path) -> list[Reviewed]:
    """The questions of a table that `eval generate` wrote, in its order. Raises: UsageError for another table."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in _rows(path):
        found.setdefault(row["id"], []).append(row)
    return [
        Reviewed(
            question_id=question_id,
            question=rows[0]["question"],
            answer=rows[0]["answer"],
            kind=rows[0]["kind"],
            keep=rows[0]["keep"].strip().lower(),
            sources=tuple(row["source"] for row in rows),
            chunk_ids=tuple(row["chunk"] for row in rows),
        )
        for question_id, rows in found.items()
    ]


def decide(path: Path, question_id: str, keep: str, *, question: str, answer: str) -> None:
    """Write a decision, and the question and answer as somebody corrected them; the file is replaced whole.

    Raises: UsageError when there is no such question, or the file cannot be written.
    """
    with _WRITING:
        rows = _rows(path)
        own = [row for row in rows if row["id"] == question_id]
        if not own:
            raise UsageError(f"{path} has no question {question_id!r}. It was changed meanwhile; load it again.")
        for row in own:
            row |= {"keep": keep, "question": " ".join(question.split()), "answer": " ".join(answer.split())}
        _write(path, rows)


def add_question(path: Path, question: str, answer: str, places: Sequence[tuple[str, str]]) -> str:
    """Put a question at the end of a table, made when it is not there, and keep it. Returns its id.

    places: (source, chunk id) of the passages that answer it.
    Raises: UsageError for a question without words or places, and for a file that is another table or cannot be written.
    """
    text = " ".join(question.split())
    if not text or not places:
        raise UsageError("A test question needs its text and at least one passage that answers it.")
    with _WRITING:
        rows = _rows(path) if path.exists() else []
        numbers = [int(row["id"][1:]) for row in rows if row["id"][:1] == "q" and row["id"][1:].isdigit()]
        question_id = f"q{max(numbers, default=0) + 1}"
        new = {
            "id": question_id,
            "question": text,
            "answer": " ".join(answer.split()),
            "kind": "by-hand",
            "language": language(text),
            "keep": YES,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, [*rows, *({**new, "source": source, "chunk": chunk} for source, chunk in places)])
    return question_id


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_text(out.getvalue(), encoding="utf-8", newline="")
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}). Check its rights and the disk.") from error


def _rows(path: Path) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(read_text(path, ProblemLog()), newline=""))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise UsageError(
            f"{path} is not a table that `ragstone eval generate` wrote; wanted the columns {', '.join(COLUMNS)}."
        )
    return [{column: row.get(column) or "" for column in COLUMNS} for row in rows]
