"""Test sets and results under a home, a folder for each collection: sets/*.csv, results/TIME-NAME as `eval run -o` writes them,
and answers/TIME-NAME as `eval answers -o` does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.commands import HISTORY_FILE, QRELS_FILE, file_name, written_json
from eval.runs import Qrels, Run, read_qrels, read_run

SAVED = "saved.csv"  # questions that people kept, one at a time
QUESTIONS_FILE = "questions.json"
_STAMP = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What an evaluation left in its folder. tree: its JSON."""

    folder: Path
    at: datetime
    tree: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def systems(self) -> list[str]:
        return list(self.tree["systems"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult(_Stored):
    """An evaluation that was run. tree: its metrics.json. questions: query_id -> question.

    collection: what was searched; "": the collection whose folder this is.
    """

    questions: Mapping[str, str]
    collection: str = ""

    def run(self, system: str) -> Run:
        return read_run(self.folder / "runs" / f"{file_name(system)}.trec")[0]

    def qrels(self) -> Qrels:
        return read_qrels(self.folder / QRELS_FILE)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswers(_Stored):
    """An evaluation of answers that was run. tree: its answers.json."""

    def given(self, system: str) -> list[dict[str, Any]]:
        """What a system answered, a row a question, as `eval answers -o` writes them."""
        lines = (self.folder / "answers" / f"{file_name(system)}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def folder_of(home: Path, collection: str) -> Path:
    """Where a collection's test sets and results lie, whatever the collection is called."""
    safe = "".join(char if char.isalnum() and char.isascii() else f"_{ord(char):x}_" for char in collection)
    return home / "evaluation" / safe[:150]


def test_sets(folder: Path) -> list[Path]:
    """The tables of questions, by name."""
    return sorted((folder / "sets").glob("*.csv"))


def saved_questions(folder: Path) -> Path:
    """The table of questions that people kept; made with the first one."""
    return folder / "sets" / SAVED


def new_set(folder: Path, name: str) -> Path:
    """A path for another table; its folder is there."""
    (folder / "sets").mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80].removesuffix(".csv") or "questions"
    path, n = folder / "sets" / f"{plain}.csv", 2
    while path.exists():
        path, n = folder / "sets" / f"{plain}-{n}.csv", n + 1
    return path


def new_result(folder: Path, dataset: str, kind: str = "results") -> Path:
    """The folder of the next result. kind: results (of searches) or answers."""
    plain = re.sub(r"[^\w.-]+", "-", dataset).strip("-.")[:60] or "data"
    stem = f"{datetime.now(UTC).strftime(_STAMP)}-{plain}"
    path, n = folder / kind / stem, 2
    while path.exists():
        path, n = folder / kind / f"{stem}-{n}", n + 1
    return path


def finish(result: Path, questions: Mapping[str, str], collection: str = "") -> None:
    """Keep the questions beside a result, and its line of the history beside those of the others."""
    (result / QUESTIONS_FILE).write_text(
        written_json({"collection": collection, "questions": dict(questions)}), encoding="utf-8"
    )
    line = (result / HISTORY_FILE).read_text(encoding="utf-8")
    with (result.parent / HISTORY_FILE).open("a", encoding="utf-8", newline="\n") as file:
        file.write(line)


def results(folder: Path) -> list[StoredResult]:
    """All results that are whole, the newest first."""
    paths = sorted((folder / "results").glob("*"), reverse=True)
    return [found for path in paths if path.is_dir() and (found := _result(path)) is not None]


def answer_results(folder: Path) -> list[StoredAnswers]:
    """All evaluations of answers that are whole, the newest first."""
    paths = sorted((folder / "answers").glob("*"), reverse=True)
    return [found for path in paths if path.is_dir() and (found := _answers(path)) is not None]


def remove(result: StoredResult | StoredAnswers) -> None:
    shutil.rmtree(result.folder, ignore_errors=True)


def _answers(path: Path) -> StoredAnswers | None:
    try:
        tree = json.loads((path / "answers.json").read_text(encoding="utf-8"))
        return StoredAnswers(folder=path, at=_at(path), tree=tree)
    except (OSError, ValueError):
        return None


def _at(path: Path) -> datetime:
    return datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)


def _result(path: Path) -> StoredResult | None:
    try:
        tree = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        asked = json.loads((path / QUESTIONS_FILE).read_text(encoding="utf-8"))
        at = _at(path)
    except (OSError, ValueError):
        return None  # a run that was stopped, or is still going on
    return StoredResult(folder=path, at=at, tree=tree, questions=asked["questions"], collection=asked["collection"])
