"""An evaluation: systems × questions → runs, metrics with intervals, comparisons, failures and times."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eval.comparison import Comparison, compare, intervals
from eval.dataset import Dataset
from eval.metrics import DEFAULT, Scores, parse_metrics, score
from eval.problems import N_EXAMPLES, Problem, ProblemLog, no_questions
from eval.runs import Ranking, Run, ranking
from rag.errors import RagstoneError, UsageError
from rag.types import Document, Hit, Hits, IngestReport

Search = Callable[[str, str, int], Sequence[tuple[str, float]]]  # (system, question, depth) -> (doc_id, score)
Progress = Callable[[str, int, int], None]  # (what, done, of how many)

# What the built-in names mean: the options a knowledge base is searched with. All else is off, whatever the settings say.
_OFF: dict[str, Any] = {"rerank": False, "rewrite": False, "multi_query": 0, "hyde": 0, "decompose": False, "step_back": False,
                        "translate": False, "auto_filter": False}  # fmt: skip
BUILT_IN: dict[str, dict[str, Any]] = {
    "bm25": {**_OFF, "mode": "bm25"},
    "dense": {**_OFF, "mode": "dense"},
    "hybrid": {**_OFF, "mode": "hybrid"},
    "hybrid+mmr": {**_OFF, "mode": "hybrid", "mmr": 0.7},
    "hybrid+rerank": {**_OFF, "mode": "hybrid", "rerank": True},
    "hybrid+rewrite": {**_OFF, "mode": "hybrid", "rewrite": True},
    "hybrid+multi-query": {**_OFF, "mode": "hybrid", "multi_query": 3},
    "hybrid+hyde": {**_OFF, "mode": "hybrid", "hyde": 1},
    "hybrid+decompose": {**_OFF, "mode": "hybrid", "decompose": True},
    "hybrid+step-back": {**_OFF, "mode": "hybrid", "step_back": True},
    "hybrid+translate": {**_OFF, "mode": "hybrid", "translate": True},
    "graph": {**_OFF, "mode": "graph"},
    "hybrid+graph": {**_OFF, "mode": "hybrid+graph"},
    "auto": {**_OFF, "mode": "auto"},
}

_FEW_QUESTIONS = 20
_MOST_CHUNKS = 16_384  # Milvus returns no more
_CHUNKS_PER_DOCUMENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFailure:
    """A search that raised. The question counts 0."""

    query_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemResult:
    """What one system did with the questions.

    unjudged: cutoff -> share of the retrieved documents up to it that nobody judged.
    latency_ms: one measured time a search, failures left out.
    """

    run: Run
    scores: Scores
    intervals: Mapping[str, tuple[float, float]]
    failures: tuple[SearchFailure, ...] = ()
    unjudged: Mapping[int, float] = field(default_factory=dict)
    latency_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of `evaluate`. `to_dict` is the JSON of `ragstone eval run`."""

    dataset: Dataset
    systems: Mapping[str, SystemResult]
    comparisons: tuple[Comparison, ...]
    metrics: tuple[str, ...]
    depth: int
    seed: int
    problems: tuple[Problem, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_failures(self) -> int:
        return sum(len(result.failures) for result in self.systems.values())

    def to_dict(self, *, timings: bool = True) -> dict[str, Any]:
        """timings: with the measured times, which differ from run to run; all else is the same for the same seed."""
        tree: dict[str, Any] = {
            "dataset": self.dataset.name,
            "files": dict(self.dataset.files),
            "fingerprint": self.dataset.fingerprint,
            "n_documents": self.dataset.n_documents,
            "n_queries": len(self.dataset.questions),
            "depth": self.depth,
            "seed": self.seed,
            "systems": {name: _system_dict(result) for name, result in self.systems.items()},
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "unanswered": {name: len(result.scores.unanswered) for name, result in self.systems.items()},
            "unjudged": {
                name: {f"@{cutoff}": round(share, 6) for cutoff, share in result.unjudged.items()}
                for name, result in self.systems.items()
            },
            "failures": {name: _failures_dict(result.failures) for name, result in self.systems.items()},
            "precision_at_recall": {
                name: [round(value, 6) for value in result.scores.precision_at_recall]
                for name, result in self.systems.items()
            },
            "problems": [problem.to_dict() for problem in self.problems],
            "settings": dict(self.settings),
        }
        if timings:
            tree["latency_ms"] = self.latency()
        return tree

    def latency(self) -> dict[str, dict[str, float]]:
        """Per system: milliseconds a search took, median, 95th percentile and mean."""
        return {name: latency_summary(result.latency_ms) for name, result in self.systems.items()}


def evaluate(
    dataset: Dataset,
    systems: Sequence[str],
    *,
    search: Search,
    metrics: Sequence[str] = DEFAULT,
    depth: int = 100,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Ask every system every question and work out the metrics.

    search: called as search(system, question, depth); gives (doc_id, score), best first. A RagstoneError it raises
        is a failure of that question, which then counts 0; anything else it raises goes through.
    depth: how many documents are asked for. Metrics without a cutoff, as MAP, see no further.
    seed: of the intervals and tests. settings: what the systems were built with, for the report.
    Raises: UsageError for an unknown metric, no system, a system named twice, or a dataset without judged questions.
    """
    names = tuple(metric.name for metric in parse_metrics(metrics))
    _check_request(dataset, systems, depth, seed)
    log = ProblemLog()
    results = {}
    for system in systems:
        run, failures, latency = _run_system(dataset, system, search, depth, log, progress)
        results[system] = _result(dataset, run, names, failures, latency, depth, seed)
    _note_limits(dataset, names, depth, log)
    return Evaluation(
        dataset=dataset,
        systems=results,
        comparisons=compare({name: result.scores for name, result in results.items()}, seed=seed),
        metrics=names,
        depth=depth,
        seed=seed,
        problems=(*dataset.problems, *log.problems()),
        settings=settings or {},
    )


def collapse_to_documents(hits: Iterable[Hit | tuple[str, float]]) -> Ranking:
    """Documents from chunks: a document's score is its best chunk's.

    hits: search hits, or (chunk_id, score) with chunk ids as `doc_id#start-end`.
    """
    return ranking(
        (hit.doc_id, hit.score) if isinstance(hit, Hit) else (hit[0].rpartition("#")[0] or hit[0], hit[1])
        for hit in hits
    )


class SearchedKnowledgeBase(Protocol):
    """The part of rag.knowledge_base.KnowledgeBase that an evaluation needs."""

    def ingest(self, sources: Iterable[Document]) -> IngestReport: ...
    def search(self, query: str, **options: Any) -> Hits: ...


def run_on_knowledge_base(
    dataset: Dataset,
    systems: Sequence[str],
    *,
    kb: SearchedKnowledgeBase,
    metrics: Sequence[str] = DEFAULT,
    depth: int = 100,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    triples: str | Path | None = None,
) -> Evaluation:
    """Index the dataset's corpus into `kb`, which does nothing the second time, and evaluate built-in systems on it.

    A dataset without a corpus (CSV) asks about what `kb` already holds; its sources are matched with a document's
    id, its source, or the end of its source's path. Systems that need a graph get one, without a model, or of `triples`.
    Raises: UsageError for a system that this version cannot run, and see `evaluate`.
    """
    check_systems(systems)
    _check_request(dataset, systems, depth, seed)
    log = ProblemLog()
    if dataset.open_corpus is not None:
        report = kb.ingest(_counted(dataset, progress))
        log.add_all("ingest_failed", (f"{failure.source}: {failure.message}" for failure in report.failures))
    if triples is not None or any("graph" in system for system in systems):
        _ensure_graph(kb, triples)
    judged = {doc_id for grades in dataset.qrels.values() for doc_id in grades}
    named = _namer(judged) if dataset.open_corpus is None else None

    def search(system: str, question: str, depth: int) -> Ranking:
        hits, found = _deep_search(kb, question, BUILT_IN[system], depth, named)
        for warning in hits.warnings:
            log.add("search_warning", warning, where=system)
        return found

    _warm_up(kb, systems, dataset)
    evaluation = evaluate(
        dataset, systems, search=search, metrics=metrics, depth=depth, seed=seed, settings=settings, progress=progress
    )
    return Evaluation(
        dataset=evaluation.dataset,
        systems=evaluation.systems,
        comparisons=evaluation.comparisons,
        metrics=evaluation.metrics,
        depth=depth,
        seed=seed,
        problems=(*evaluation.problems, *log.problems()),
        settings=evaluation.settings,
    )


def check_systems(systems: Sequence[str]) -> None:
    """Raises: UsageError for a system that this version cannot run."""
    for system in systems:
        if system not in BUILT_IN:
            raise UsageError(f"System {system!r} cannot be run by this version. It runs: {', '.join(BUILT_IN)}.")


def latency_summary(latency_ms: Sequence[float]) -> dict[str, float]:
    """p50, p95 and mean in milliseconds; zeros when nothing was measured."""
    ordered = sorted(latency_ms)
    if not ordered:
        return {"p50": 0.0, "p95": 0.0, "mean": 0.0}
    return {
        "p50": round(_percentile(ordered, 0.50), 3),
        "p95": round(_percentile(ordered, 0.95), 3),
        "mean": round(sum(ordered) / len(ordered), 3),
    }


# ---------------------------------------------------------------- asking


def _check_request(dataset: Dataset, systems: Sequence[str], depth: int, seed: int) -> None:
    if not systems:
        raise UsageError("No system to evaluate. Name one or more with --systems, for example --systems bm25,hybrid.")
    repeated = [name for name, n in Counter(systems).items() if n > 1]
    if repeated:
        raise UsageError(f"System {repeated[0]!r} is named more than once. Name each system once.")
    if depth < 1:
        raise UsageError(f"The depth is {depth}; give 1 or more.")
    if seed < 0:
        raise UsageError(f"The seed is {seed}; give 0 or more.")
    if not dataset.questions:
        raise no_questions(f"Dataset {dataset.name}", dataset.problems)


def _run_system(
    dataset: Dataset, system: str, search: Search, depth: int, log: ProblemLog, progress: Progress | None
) -> tuple[Run, tuple[SearchFailure, ...], tuple[float, ...]]:
    run: Run = {}
    failures: list[SearchFailure] = []
    latency: list[float] = []
    for done, (query_id, question) in enumerate(dataset.questions.items(), start=1):
        start = time.perf_counter()
        try:
            found = list(search(system, question, depth))
        except RagstoneError as error:
            failures.append(SearchFailure(query_id=query_id, code=error.code, message=str(error)))
        else:
            latency.append((time.perf_counter() - start) * 1000)
            if all(math.isfinite(value) for _, value in found):
                run[query_id] = _checked(found, system, query_id, log)[:depth]
            else:
                message = "The search gave a score that is not a finite number."
                failures.append(SearchFailure(query_id=query_id, code="E_BAD_SCORE", message=message))
        if progress is not None:
            progress(system, done, len(dataset.questions))
    return run, tuple(failures), tuple(latency)


def _checked(found: list[tuple[str, float]], system: str, query_id: str, log: ProblemLog) -> Ranking:
    ranked = ranking(found)
    if len(ranked) < len(found):
        log.add("duplicate_hit", f"question {query_id}", where=system, n=len(found) - len(ranked))
    return ranked


def _result(
    dataset: Dataset,
    run: Run,
    metrics: Sequence[str],
    failures: tuple[SearchFailure, ...],
    latency: tuple[float, ...],
    depth: int,
    seed: int,
) -> SystemResult:
    scores = score(run, dataset.qrels, metrics)
    return SystemResult(
        run=run,
        scores=scores,
        intervals=intervals(scores, seed=seed),
        failures=failures,
        unjudged={cutoff: _unjudged(run, dataset, cutoff) for cutoff in sorted({min(10, depth), depth})},
        latency_ms=latency,
    )


def _unjudged(run: Run, dataset: Dataset, cutoff: int) -> float:
    """Share of all documents retrieved up to the cutoff, over all questions together."""
    n_retrieved = n_unjudged = 0
    for query_id, hits in run.items():
        grades = dataset.qrels[query_id]
        n_retrieved += len(hits[:cutoff])
        n_unjudged += sum(doc_id not in grades for doc_id, _ in hits[:cutoff])
    return n_unjudged / n_retrieved if n_retrieved else 0.0


def _note_limits(dataset: Dataset, metrics: Sequence[str], depth: int, log: ProblemLog) -> None:
    deeper = [metric.name for metric in parse_metrics(metrics) if metric.cutoff is not None and metric.cutoff > depth]
    log.add_all("metric_beyond_depth", deeper, where=f"depth {depth}")
    if len(dataset.questions) < _FEW_QUESTIONS:
        log.add("few_questions", n=len(dataset.questions))


# ---------------------------------------------------------------- on a knowledge base


def _counted(dataset: Dataset, progress: Progress | None) -> Iterable[Document]:
    for done, document in enumerate(dataset.corpus(), start=1):
        yield document
        if progress is not None:
            progress("ingest", done, dataset.n_documents)


def _deep_search(
    kb: SearchedKnowledgeBase, question: str, options: Mapping[str, Any], depth: int, named: Callable[[Hit], str] | None
) -> tuple[Hits, Ranking]:
    """Ask for more chunks until `depth` documents are found or there is nothing left to find."""
    top_k = min(_MOST_CHUNKS, depth * _CHUNKS_PER_DOCUMENT)
    while True:
        hits = kb.search(question, top_k=top_k, **options)
        found = ranking((named(hit), hit.score) for hit in hits) if named else collapse_to_documents(hits)
        if len(found) >= depth or len(hits) < top_k or top_k == _MOST_CHUNKS:
            return hits, found[:depth]
        top_k = min(_MOST_CHUNKS, top_k * 4)


def _namer(judged: set[str]) -> Callable[[Hit], str]:
    """What a hit's document is called in judgements that people wrote: its id, its source, or the end of its path."""

    def name(hit: Hit) -> str:
        parts = hit.source.replace("\\", "/").split("/")
        ends = ("/".join(parts[at:]) for at in range(len(parts)))
        return next((name for name in (hit.doc_id, hit.source, *ends) if name in judged), hit.doc_id)

    return name


def _ensure_graph(kb: SearchedKnowledgeBase, triples: str | Path | None) -> None:
    """Build the collection's graph if it has none; given triples, bring it up to date with those."""
    from graph import KnowledgeGraph
    from rag.knowledge_base import KnowledgeBase

    if isinstance(kb, KnowledgeBase) and (triples is not None or not kb.has_graph):
        KnowledgeGraph.build(kb, triples=triples)


def _warm_up(kb: SearchedKnowledgeBase, systems: Sequence[str], dataset: Dataset) -> None:
    """The first search loads models and opens indexes; that is not the time a search takes."""
    question = next(iter(dataset.questions.values()))
    for system in systems:
        try:
            kb.search(question, top_k=1, **BUILT_IN[system])
        except RagstoneError:
            return  # the measured searches will fail the same way, and are counted


# ---------------------------------------------------------------- as JSON


def _system_dict(result: SystemResult) -> dict[str, Any]:
    bounds = {name: [round(low, 6), round(high, 6)] for name, (low, high) in result.intervals.items()}
    return {**result.scores.means(), "ci": bounds}


def _failures_dict(failures: Sequence[SearchFailure]) -> dict[str, Any]:
    return {
        "n": len(failures),
        "codes": dict(sorted(Counter(failure.code for failure in failures).items())),
        "examples": [
            {"query_id": failure.query_id, "code": failure.code, "message": failure.message}
            for failure in failures[:N_EXAMPLES]
        ],
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
