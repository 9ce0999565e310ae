"""An evaluation of answers: systems × questions → nearness to the reference, evidence, abstention, failures."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval import answer_metrics
from eval.comparison import Comparison, compare, intervals
from eval.dataset import Dataset
from eval.evaluation import Progress, latency_summary
from eval.lines import read_lines
from eval.metrics import Scores
from eval.problems import N_EXAMPLES, Problem, ProblemLog, no_questions
from rag.errors import RagstoneError, UsageError
from rag.text import language
from rag.types import Answer

REFERENCE_METRICS = ("exact-match", "F1", "F1-char", "ROUGE-L", "holds-answer")
EVIDENCE_METRICS = ("citation-precision", "citation-recall", "groundedness", "language")
ANSWER_METRICS = (*REFERENCE_METRICS, *EVIDENCE_METRICS)
COMPARED = ("F1", "holds-answer", "citation-precision", "groundedness")

Ask = Callable[[str, str], "Given"]  # (system, question) -> what it answered; raises RagstoneError


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a system answered to one question.

    passages: marker -> text of the passage that it stands for. read: what else the answer may come from.
    n_broken: citations whose quote is not the stored document's text at that place.
    code, message: of the failure, when there is no answer.
    """

    text: str = ""
    abstained: bool = False
    passages: Mapping[int, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    n_broken: int = 0
    ms: float = 0.0
    code: str = ""
    message: str = ""

    def to_dict(self, query_id: str, question: str) -> dict[str, Any]:
        """A line of answers/NAME.jsonl; without the time it took, so that equal answers are equal lines."""
        return {
            "id": query_id,
            "question": question,
            "answer": self.text,
            "abstained": self.abstained,
            "passages": {str(number): text for number, text in self.passages.items()},
            "read": list(self.read),
            "broken_citations": self.n_broken,
            **({"error": {"code": self.code, "message": self.message}} if self.code else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """How well a system tells what it cannot answer. Failures are neither: they are counted apart."""

    n_right: int  # abstained, and the documents do not answer
    n_wrong: int  # abstained although they do
    n_missed: int  # answered although they do not

    @property
    def precision(self) -> float:
        n = self.n_right + self.n_wrong
        return self.n_right / n if n else 0.0

    @property
    def recall(self) -> float:
        n = self.n_right + self.n_missed
        return self.n_right / n if n else 0.0

    def to_dict(self) -> dict[str, Any]:
        both = self.precision + self.recall
        return {
            "precision": self.precision,
            "recall": self.recall,
            "F1": 2 * self.precision * self.recall / both if both else 0.0,
            "right": self.n_right,
            "wrong": self.n_wrong,
            "missed": self.n_missed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """One system's answers and what they are worth.

    references: over the questions that have a reference answer; evidence: over all that can be answered. In both a
    question that failed or was not answered counts 0. when_answered: means over the questions that were.
    """

    given: Mapping[str, Given]
    references: Scores
    evidence: Scores
    when_answered: Mapping[str, float]
    abstention: Abstention
    bounds: Mapping[str, tuple[float, float]]

    def means(self) -> dict[str, float]:
        return {**self.references.means(), **self.evidence.means()}

    @property
    def failures(self) -> dict[str, Given]:
        return {query_id: given for query_id, given in self.given.items() if given.code}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvaluation:
    """The result of `evaluate_answers`; `to_dict` is the JSON of `ragstone eval answers`."""

    dataset: Dataset
    systems: Mapping[str, AnswerResult]
    comparisons: tuple[Comparison, ...]
    seed: int
    problems: tuple[Problem, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_failures(self) -> int:
        return sum(len(result.failures) for result in self.systems.values())

    def to_dict(self, *, timings: bool = True) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "dataset": self.dataset.name,
            "files": dict(self.dataset.files),
            "n_queries": len(self.dataset.questions),
            "n_with_reference": sum(bool(self.dataset.answers.get(one)) for one in self.dataset.questions),
            "n_unanswerable": len(self.dataset.unanswerable),
            "seed": self.seed,
            "systems": {name: self._system(result) for name, result in self.systems.items()},
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "problems": [problem.to_dict() for problem in self.problems],
            "settings": dict(self.settings),
        }
        if timings:
            tree["latency_ms"] = self.latency()
        return tree

    def latency(self) -> dict[str, dict[str, float]]:
        return {
            name: latency_summary([given.ms for given in result.given.values() if given.ms])
            for name, result in self.systems.items()
        }

    def _system(self, result: AnswerResult) -> dict[str, Any]:
        failures = result.failures
        return {
            **result.means(),
            "ci": {name: [round(low, 6), round(high, 6)] for name, (low, high) in result.bounds.items()},
            "when_answered": dict(result.when_answered),
            "by_language": self._by_language(result),
            "abstention": result.abstention.to_dict(),
            "broken_citations": sum(given.n_broken for given in result.given.values()),
            "failures": {
                "n": len(failures),
                "codes": dict(sorted(Counter(given.code for given in failures.values()).items())),
                "examples": [
                    {"query_id": query_id, "code": given.code, "message": given.message}
                    for query_id, given in list(failures.items())[:N_EXAMPLES]
                ],
            },
        }

    def _by_language(self, result: AnswerResult) -> dict[str, dict[str, float]]:
        spoken = {query_id: language(question) for query_id, question in self.dataset.questions.items()}
        tree: dict[str, dict[str, float]] = {}
        for code in sorted(set(spoken.values())):
            for scores in (result.references, result.evidence):
                chosen = np.array([spoken[query_id] == code for query_id in scores.query_ids], dtype=bool)
                for name, values in scores.values.items():
                    if chosen.any():
                        tree.setdefault(code, {})[name] = float(values[chosen].mean())
        return tree


def evaluate_answers(
    dataset: Dataset,
    systems: Sequence[str],
    *,
    ask: Ask,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    problems: Iterable[Problem] = (),
    progress: Progress | None = None,
) -> AnswerEvaluation:
    """Ask every system every question, those that cannot be answered too, and work out the metrics.

    ask: called as ask(system, question). A RagstoneError it raises is a failure of that question; others go through.
    Raises: UsageError when there is no system or nothing to ask.
    """
    questions = {**dataset.questions, **dataset.unanswerable}
    if not systems:
        raise UsageError("No system to evaluate. Name one or more with --systems, or give --answers FILE.")
    if not questions:
        raise no_questions(f"Dataset {dataset.name}", dataset.problems)
    results = {}
    for system in systems:
        given = {}
        for done, (query_id, question) in enumerate(questions.items(), start=1):
            given[query_id] = _asked(ask, system, question)
            if progress is not None:
                progress(system, done, len(questions))
        results[system] = rate(dataset, given, seed=seed)
    return AnswerEvaluation(
        dataset=dataset,
        systems=results,
        comparisons=_compared(results, seed),
        seed=seed,
        problems=(*dataset.problems, *problems),
        settings=settings or {},
    )


def rate(dataset: Dataset, given: Mapping[str, Given], *, seed: int = 0) -> AnswerResult:
    """The metrics of one system's answers. A question without an entry counts as not answered."""
    rows = {query_id: given.get(query_id, Given(abstained=True)) for query_id in dataset.questions}
    with_reference = [query_id for query_id in rows if dataset.answers.get(query_id)]
    references = _table(REFERENCE_METRICS, with_reference, lambda q: _against_references(rows[q], dataset.answers[q]))
    evidence = _table(EVIDENCE_METRICS, list(rows), lambda q: _evidence(rows[q], dataset.questions[q]))
    answered = {query_id for query_id, one in rows.items() if _answers(one)}
    return AnswerResult(
        given=dict(given),
        references=references,
        evidence=evidence,
        when_answered=_means_over(answered, references) | _means_over(answered, evidence),
        abstention=_abstention(dataset, given),
        bounds={**intervals(references, seed=seed), **intervals(evidence, seed=seed)},
    )


def given_of(answer: Answer, *, text_of: Callable[[str], str], ms: float = 0.0) -> Given:
    """What a knowledge base answered, its citations resolved in the stored documents.

    text_of: a document's text by its id. A marker stands for the chunk that was cited, as it is stored now.
    """
    chunks = {hit.chunk_id: hit for hit in answer.hits}
    passages: dict[int, str] = {}
    n_broken = 0
    for citation in answer.citations:
        stored = text_of(citation.doc_id)
        n_broken += stored[citation.start : citation.end] != citation.quote
        hit = chunks.get(citation.chunk_id)
        start, end = (hit.start, hit.end) if hit else (citation.start, citation.end)
        header = "\n".join(part for part in (hit.context or hit.title,) if part) + "\n" if hit else ""
        passages[citation.marker] = header + stored[min(start, citation.start) : max(end, citation.end)]
    return Given(
        text=answer.text,
        abstained=answer.abstained,
        passages=passages,
        read=tuple(hit.text for hit in answer.hits),
        n_broken=n_broken,
        ms=ms,
    )


def read_answers(path: Path, log: ProblemLog) -> dict[str, Given]:
    """Answers of any system, as JSON lines: id, answer, and if known abstained, passages (a list, or marker → text), error.

    Without `abstained` an answer that says it does not know counts as one. Lines that cannot be read are counted.
    Raises: UsageError when the file cannot be read or holds no answer.
    """
    found: dict[str, Given] = {}
    for number, line in read_lines(path, log):
        one = _given_line(line)
        if one is None:
            log.add("bad_line", f"line {number}", where=path.name)
        elif one[0] in found:
            log.add("duplicate_question", one[0], where=path.name)
        else:
            found[one[0]] = one[1]
    if not found:
        raise UsageError(f'{path} holds no answer. Each line must be JSON, such as {{"id": "q1", "answer": "…"}}.')
    return found


# ---------------------------------------------------------------- inside


def _asked(ask: Ask, system: str, question: str) -> Given:
    start = time.perf_counter()
    try:
        return ask(system, question)
    except RagstoneError as error:
        return Given(code=error.code, message=str(error), ms=(time.perf_counter() - start) * 1000)


def _answers(given: Given) -> bool:
    return not given.abstained and not given.code and bool(given.text.strip())


def _against_references(given: Given, references: Sequence[str]) -> tuple[float, ...]:
    if not _answers(given):
        return (0.0,) * len(REFERENCE_METRICS)
    said = answer_metrics.plain(given.text)
    return (
        answer_metrics.exact_match(said, references),
        answer_metrics.token_f1(said, references),
        answer_metrics.token_f1(said, references, cut=answer_metrics.by_character),
        answer_metrics.rouge_l(said, references),
        answer_metrics.holds(said, references),
    )


def _evidence(given: Given, question: str) -> tuple[float, ...]:
    if not _answers(given):
        return (0.0,) * len(EVIDENCE_METRICS)
    found = answer_metrics.evidence_of(given.text, given.passages, question=question, read=given.read)
    return found.precision, found.recall, found.groundedness, answer_metrics.same_language(given.text, question)


def _table(names: Sequence[str], query_ids: Sequence[str], row: Callable[[str], tuple[float, ...]]) -> Scores:
    if not query_ids:
        return Scores(query_ids=(), values={})
    columns = np.array([row(query_id) for query_id in query_ids], dtype=np.float64)
    return Scores(query_ids=tuple(query_ids), values={name: columns[:, at] for at, name in enumerate(names)})


def _means_over(chosen: set[str], scores: Scores) -> dict[str, float]:
    inside = np.array([query_id in chosen for query_id in scores.query_ids], dtype=bool)
    return {name: float(values[inside].mean()) if inside.any() else 0.0 for name, values in scores.values.items()}


def _abstention(dataset: Dataset, given: Mapping[str, Given]) -> Abstention:
    def abstained(query_ids: Iterable[str]) -> list[bool]:
        there = [given[query_id] for query_id in query_ids if query_id in given]
        return [one.abstained or not one.text.strip() for one in there if not one.code]

    on_unanswerable, on_answerable = abstained(dataset.unanswerable), abstained(dataset.questions)
    return Abstention(
        n_right=sum(on_unanswerable),
        n_wrong=sum(on_answerable),
        n_missed=len(on_unanswerable) - sum(on_unanswerable),
    )


def _compared(results: Mapping[str, AnswerResult], seed: int) -> tuple[Comparison, ...]:
    found: list[Comparison] = []
    for part in ("references", "evidence"):
        scores: dict[str, Scores] = {name: getattr(result, part) for name, result in results.items()}
        chosen = [name for name in COMPARED if name in next(iter(scores.values())).values]
        if chosen:
            found += compare(scores, metrics=chosen, seed=seed)
    return tuple(found)


def _given_line(line: str) -> tuple[str, Given] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    identity = record.get("id", record.get("_id", record.get("query_id")))
    text = record.get("answer", record.get("text", ""))
    error = record.get("error")
    failure = error if isinstance(error, dict) else {"message": error} if error else {}
    if not isinstance(identity, str | int) or not isinstance(text, str):
        return None
    read = record.get("read")
    said = record.get("abstained")
    return str(identity), Given(
        text=text,
        abstained=said if isinstance(said, bool) else answer_metrics.declines(text),
        passages=_numbered(record.get("passages")),
        read=tuple(one for one in read if isinstance(one, str)) if isinstance(read, list) else (),
        n_broken=int(record.get("broken_citations") or 0),
        code=str(failure.get("code") or "E_ANSWER") if failure else "",
        message=str(failure.get("message") or "") if failure else "",
    )


def _numbered(passages: object) -> dict[int, str]:
    """Passages by marker: a list is numbered from 1; each is a text or an object with one."""
    if isinstance(passages, list):
        pairs: list[tuple[object, object]] = list(enumerate(passages, start=1))
    else:
        pairs = list(passages.items()) if isinstance(passages, dict) else []
    texts = ((number, one.get("text") if isinstance(one, dict) else one) for number, one in pairs)
    return {int(str(number)): text for number, text in texts if isinstance(text, str) and str(number).isdigit()}
