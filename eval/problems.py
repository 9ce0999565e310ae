"""What is wrong with evaluation data: counted, named with examples, never silently dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rag.errors import UsageError

N_EXAMPLES = 5

# Kinds are stable and meant for machines; the sentence after the count is for people.
KINDS = {
    "bad_line": "lines could not be read and were left out",
    "bad_encoding": "lines were not UTF-8 and were read in another encoding",
    "unknown_header": "header with unknown column names; columns were read by position",
    "empty_file": "file held nothing that could be used",
    "duplicate_document": "document ids occurred again; the first was kept",
    "empty_document": "documents had neither title nor text and were left out",
    "duplicate_question": "question ids occurred again; the first was kept",
    "empty_question": "questions had no text and were left out",
    "duplicate_judgement": "judgements occurred again and were counted once",
    "conflicting_judgement": "pairs were judged again with another grade; the last was kept",
    "unknown_question": "judged questions are not among the questions and were left out",
    "unknown_document": "judged documents are not in the corpus; they count as never found",
    "unjudged_question": "questions have no judgement and were left out",
    "no_relevant": "questions have no relevant document and count 0",
    "no_source": "rows name no source and were left out",
    "rejected": "questions are marked as not to be kept and were left out",
    "no_reference": "questions have no reference answer; only their evidence is rated",
    "duplicate_hit": "documents occurred again in a ranking; the best place was kept",
    "tied_scores": "questions have tied scores, read as trec_eval does: larger document id first",
    "rank_mismatch": "questions have ranks that contradict their scores; the scores were used",
    "unjudged_in_run": "questions of the run have no judgement and were ignored",
    "unanswered": "judged questions are not in the run and count 0",
    "metric_beyond_depth": "metrics look deeper than the ranking reaches",
    "few_questions": "questions only: the intervals say little",
    "ingest_failed": "documents of the corpus could not be indexed; they count as never found",
    "search_warning": "searches came with a warning",
    "whitespace_id": "ids hold white space; the run is separated by tabs, which some tools do not read",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One kind of fault, how often it occurred, and the first few places."""

    kind: str  # a key of KINDS
    n: int
    where: str = ""  # file or system
    examples: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        more = ", …" if self.n > len(self.examples) else ""
        shown = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.where + ': ' if self.where else ''}{self.n} {KINDS[self.kind]}{shown}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "n": self.n,
            "where": self.where,
            "examples": list(self.examples),
            "message": self.message,
        }


class ProblemLog:
    """Collects faults while a file is read; `problems()` gives them in the order they were first met."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(self, kind: str, example: str = "", *, where: str = "", n: int = 1) -> None:
        count, examples = self._seen.get((kind, where), (0, []))
        if example and len(examples) < N_EXAMPLES:
            examples.append(example if len(example) <= 80 else example[:77] + "...")
        self._seen[kind, where] = (count + n, examples)

    def add_all(self, kind: str, examples: Iterable[str], *, where: str = "") -> None:
        for example in examples:
            self.add(kind, example, where=where)

    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(kind=kind, n=n, where=where, examples=tuple(examples))
            for (kind, where), (n, examples) in self._seen.items()
        )


def no_questions(what: str, problems: Iterable[Problem]) -> UsageError:
    """The error for data that leaves nothing to evaluate; names what was wrong with it."""
    found = "; ".join(problem.message for problem in problems)
    return UsageError(
        f"{what} holds no question with a judgement, so there is nothing to evaluate"
        f"{' (' + found + ')' if found else ''}. Check that the ids in the questions and the qrels are the same."
    )
