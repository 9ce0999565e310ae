"""A chat model as judge of answers: grades by a rubric, pairs in both orders, agreement with people. Its failures are counted apart."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval import prompts
from eval.comparison import sign_flip_p
from eval.lines import read_text
from eval.problems import ProblemLog
from rag.errors import ChatError, UsageError
from rag.reply_cache import complete_as
from rag.text import language
from rag.types import ChatModel, Message

UNREADABLE = "E_JUDGE_REPLY"  # the judge answered, but without a verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is judged: an answer beside the question and its reference."""

    question: str
    reference: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """grades: query_id -> grade from 1 to 5; codes: query_id -> why there is none. The two hold every question once."""

    grades: Mapping[str, int]
    codes: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """mean: of the grades, from 0 to 1; between lowest and highest it lies whatever the failed ones would be."""
        low, high = prompts.GRADES
        shares = [(grade - low) / (high - low) for grade in self.grades.values()]
        n = len(self.grades) + len(self.codes)
        return {
            "mean": sum(shares) / len(shares) if shares else 0.0,
            "lowest": sum(shares) / n if n else 0.0,
            "highest": (sum(shares) + len(self.codes)) / n if n else 0.0,
            "n_judged": len(self.grades),
            "n_failed": len(self.codes),
            "codes": dict(sorted(Counter(self.codes.values()).items())),
        }


def grade(
    rows: Mapping[str, Judged], *, judge: ChatModel, progress: Callable[[int, int], None] | None = None
) -> Grading:
    """A grade for each answer. A judge that fails, or whose reply holds no grade, is counted and nothing is dropped."""
    grades: dict[str, int] = {}
    codes: dict[str, str] = {}
    for done, (query_id, row) in enumerate(rows.items(), start=1):
        messages = prompts.grade_messages(row.question, row.reference, row.answer, language(row.question))
        found = _verdict(judge, messages, prompts.GRADE_SCHEMA, prompts.grade_of)
        if isinstance(found, str):
            codes[query_id] = found
        else:
            grades[query_id] = found
        if progress is not None:
            progress(done, len(rows))
    return Grading(grades=grades, codes=codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Answers a against answers b: +1 a is better, -1 b is, 0 a tie; two orders that disagree are a tie, too."""

    verdicts: Mapping[str, int]
    n_inconsistent: int
    codes: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        values = list(self.verdicts.values())
        p = sign_flip_p(np.array(values, dtype=np.float64)[:, None], seed=0)[0] if values else 1.0
        return {
            "wins": values.count(1),
            "ties": values.count(0),
            "losses": values.count(-1),
            "inconsistent": self.n_inconsistent,
            "n_failed": len(self.codes),
            "codes": dict(sorted(Counter(self.codes.values()).items())),
            "p": round(float(p), 6),
        }


def duel(a: Mapping[str, Judged], b: Mapping[str, Judged], *, judge: ChatModel) -> Duel:
    """Each question twice, with the answers in both orders, because judges prefer a place.

    Source: Zheng et al., NeurIPS 2023, arXiv:2306.05685, section 3.4.
    """
    verdicts: dict[str, int] = {}
    codes: dict[str, str] = {}
    n_inconsistent = 0
    for query_id in (one for one in a if one in b):
        row, other = a[query_id], b[query_id]
        ways = [_better(judge, row, row.answer, other.answer), _better(judge, row, other.answer, row.answer)]
        failed = [way for way in ways if way not in ("1", "2", "tie")]
        if failed:
            codes[query_id] = failed[0]
            continue
        forward = {"1": 1, "2": -1, "tie": 0}[ways[0]]
        backward = {"1": -1, "2": 1, "tie": 0}[ways[1]]
        n_inconsistent += forward != backward
        verdicts[query_id] = forward if forward == backward else 0
    return Duel(verdicts=verdicts, n_inconsistent=n_inconsistent, codes=codes)


def agreement(grades: Mapping[str, int], human: Mapping[str, int]) -> dict[str, float]:
    """How far a judge agrees with people on the answers that both graded.

    kappa: Cohen's, with quadratic weights; 1 is agreement, 0 what chance gives. Without common answers all is 0.
    Source: Cohen, Psychological Bulletin 70, 1968, doi:10.1037/h0026256.
    """
    pairs = [(grades[one], human[one]) for one in human if one in grades]
    if not pairs:
        return {"n": 0, "exact": 0.0, "within_1": 0.0, "kappa": 0.0}
    ours, theirs = np.array(pairs, dtype=np.float64).T
    by_chance = float(((ours[:, None] - theirs[None, :]) ** 2).mean())
    seen = float(((ours - theirs) ** 2).mean())
    return {
        "n": len(pairs),
        "exact": float((ours == theirs).mean()),
        "within_1": float((np.abs(ours - theirs) <= 1).mean()),
        "kappa": 1.0 - seen / by_chance if by_chance else 1.0,
    }


def read_grades(path: Path, log: ProblemLog) -> dict[str, int]:
    """People's grades from a CSV with the columns id and grade (1 to 5). Rows without one are counted.

    Raises: UsageError when the file cannot be read or lacks a column.
    """
    rows = csv.DictReader(io.StringIO(read_text(path, log), newline=""))
    names = {(name or "").strip().casefold().lstrip("\ufeff"): name for name in rows.fieldnames or ()}
    if "id" not in names or "grade" not in names:
        raise UsageError(f"{path} needs the columns id and grade; it has: {', '.join(names) or 'none'}.")
    found: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        identity, text = (str(row.get(names[key]) or "").strip() for key in ("id", "grade"))
        if not identity or not text.isdigit() or not prompts.GRADES[0] <= int(text) <= prompts.GRADES[1]:
            log.add("bad_line", f"row {number}", where=path.name)
        else:
            found[identity] = int(text)
    return found


# ---------------------------------------------------------------- inside


def _better(judge: ChatModel, row: Judged, first: str, second: str) -> str:
    messages = prompts.better_messages(row.question, row.reference, first, second, language(row.question))
    return str(_verdict(judge, messages, prompts.BETTER_SCHEMA, prompts.better_of))


def _verdict(
    judge: ChatModel, messages: Sequence[Message], schema: Mapping[str, Any], parse: Callable[[str], Any]
) -> Any:
    """What the judge said, or the code of the failure."""
    try:
        found = complete_as(judge, messages, parse, max_tokens=prompts.JUDGE_TOKENS, json_schema=schema)
    except ChatError as error:
        return error.code
    return UNREADABLE if found is None else found
