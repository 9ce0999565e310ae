"""An evaluation: systems × questions → runs, metrics with intervals, comparisons, failures and times."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from eval.comparison import Comparison, compare, intervals
from eval.dataset import Dataset
from eval.metrics import DEFAULT, Scores, parse_metrics, score
from eval.problems import N_EXAMPLES, Problem, ProblemLog, no_questions
from eval.runs import Ranking, Run, ranking
from eval.systems import System, parse_systems
from rag.errors import RagstoneError, UsageError
from rag.types import Document, Hit, Hits, IngestReport, Step

Search = Callable[[str, str, int], Sequence[tuple[str, float]]]  # (system, question, depth) -> (doc_id, score)
Progress = Callable[[str, int, int], None]  # (what, done, of how many)

_FEW_QUESTIONS = 20
_MOST_CHUNKS = 16_384  # Milvus returns no more
_CHUNKS_PER_DOCUMENT = 1.25  # asked for at first; a search for few is cheap, and nearer to what people do


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFailure:
    """A search that raised. The question counts 0."""

    query_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """A step of one search. rank: of the first relevant document among the step's first candidates; None: not there."""

    name: str
    n_in: int | None
    n_out: int | None
    rank: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"step": self.name, "in": self.n_in, "out": self.n_out, "first_relevant": self.rank}


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
    """The result of `evaluate`. `to_dict` is the JSON of `ragstone eval run`.

    traces: system -> query_id -> steps, for the questions on which the two best systems differ most.
    """

    dataset: Dataset
    systems: Mapping[str, SystemResult]
    comparisons: tuple[Comparison, ...]
    metrics: tuple[str, ...]
    depth: int
    seed: int
    problems: tuple[Problem, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    traces: Mapping[str, Mapping[str, tuple[TracedStep, ...]]] = field(default_factory=dict)

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
            "traces": {
                name: {query_id: [step.to_dict() for step in steps] for query_id, steps in traced.items()}
                for name, traced in self.traces.items()
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
    kb: SearchedKnowledgeBase | Callable[[System], SearchedKnowledgeBase],
    metrics: Sequence[str] = DEFAULT,
    depth: int = 100,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    triples: str | Path | None = None,
) -> Evaluation:
    """Index the dataset's corpus into `kb`, which does nothing the second time, and evaluate systems on it.

    systems: names as in eval/systems.py. kb: the knowledge base of all systems, or a function that gives each its own,
        where their settings differ.
    A dataset without a corpus (CSV) asks about what `kb` already holds; its sources are matched with a document's
    id, its source, or the end of its source's path. Systems that need a graph get one, without a model, or of `triples`.
    Raises: UsageError for a system that this version cannot run, and see `evaluate`.
    """
    parsed = parse_systems(systems)
    _check_request(dataset, systems, depth, seed)
    log = ProblemLog()
    bases: dict[str, SearchedKnowledgeBase] = {
        name: kb(system) if callable(kb) else kb for name, system in parsed.items()
    }
    index_corpus(dataset, {parsed[name].index_key: base for name, base in reversed(bases.items())}, log, progress)
    ensure_graphs(bases, parsed, triples)
    judged = {doc_id for grades in dataset.qrels.values() for doc_id in grades}
    named = _namer(judged) if dataset.open_corpus is None else None

    def search(name: str, question: str, depth: int) -> Ranking:
        hits, found = _deep_search(bases[name], question, parsed[name], depth, named)
        for warning in hits.warnings:
            log.add("search_warning", warning, where=name)
        return found

    _warm_up(bases, parsed, dataset)
    names = list(parsed)
    evaluation = evaluate(
        dataset, names, search=search, metrics=metrics, depth=depth, seed=seed, settings=settings, progress=progress
    )
    return replace(
        evaluation,
        problems=(*evaluation.problems, *log.problems()),
        traces=_traces(evaluation, bases, parsed, named),
    )


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


def index_corpus(
    dataset: Dataset, bases: Mapping[str, SearchedKnowledgeBase], log: ProblemLog, progress: Progress | None
) -> None:
    """Import the dataset's corpus into each index that the systems need; nothing to do for a dataset without one."""
    for base in bases.values() if dataset.open_corpus is not None else ():
        report = base.ingest(_counted(dataset, progress))
        log.add_all("ingest_failed", (f"{failure.source}: {failure.message}" for failure in report.failures))


def _deep_search(
    kb: SearchedKnowledgeBase, question: str, system: System, depth: int, named: Callable[[Hit], str] | None
) -> tuple[Hits, Ranking]:
    """Ask for more chunks until `depth` documents are found or there is nothing left to find."""
    most = min(_MOST_CHUNKS, system.most_hits or _MOST_CHUNKS)
    top_k = min(most, math.ceil(depth * _CHUNKS_PER_DOCUMENT))
    while True:
        hits = kb.search(question, top_k=top_k, **system.options)
        found = ranking((named(hit), hit.score) for hit in hits) if named else collapse_to_documents(hits)
        if len(found) >= depth or len(hits) < top_k or top_k == most:
            return hits, found[:depth]
        top_k = min(most, top_k * 4)


def search_documents(kb: SearchedKnowledgeBase, question: str, system: System, depth: int, dataset: Dataset) -> Ranking:
    """The documents that a system finds for a question of the dataset, named as in its judgements."""
    judged = {doc_id for grades in dataset.qrels.values() for doc_id in grades} if dataset.open_corpus is None else None
    return _deep_search(kb, question, system, depth, _namer(judged) if judged is not None else None)[1]


def most_different(evaluation: Evaluation, a: str, b: str, n: int) -> list[str]:
    """Up to `n` questions on which system a has the higher first metric than b; the clearest first."""
    metric = evaluation.metrics[0]
    of_a, of_b = (evaluation.systems[name].scores.per_query(metric) for name in (a, b))
    won = [query_id for query_id in of_a if of_a[query_id] - of_b[query_id] > 1e-12]
    return sorted(won, key=lambda query_id: (of_b[query_id] - of_a[query_id], query_id))[:n]


def by_quality(evaluation: Evaluation) -> list[str]:
    """The systems by their first metric, best first."""
    metric = evaluation.metrics[0]
    return sorted(evaluation.systems, key=lambda name: -evaluation.systems[name].scores.mean(metric))


def _traces(
    evaluation: Evaluation,
    bases: Mapping[str, SearchedKnowledgeBase],
    systems: Mapping[str, System],
    named: Callable[[Hit], str] | None,
) -> dict[str, dict[str, tuple[TracedStep, ...]]]:
    """The two best systems' steps on the questions that tell them apart: searched once more, with explanations."""
    order = by_quality(evaluation)[:2]
    if len(order) < 2:
        return {}
    a, b = order
    query_ids = [*most_different(evaluation, a, b, N_EXAMPLES), *most_different(evaluation, b, a, N_EXAMPLES)]
    traced: dict[str, dict[str, tuple[TracedStep, ...]]] = {name: {} for name in order}
    for name in order:
        for query_id in query_ids:
            question, grades = evaluation.dataset.questions[query_id], evaluation.dataset.qrels[query_id]
            try:
                top_k = min(evaluation.depth, systems[name].most_hits or evaluation.depth)
                hits = bases[name].search(question, top_k=top_k, explain=True, **systems[name].options)
            except RagstoneError:
                continue  # counted where it was measured
            names = {hit.chunk_id: named(hit) for hit in hits} if named else {}
            traced[name][query_id] = tuple(_traced(step, grades, names) for step in hits.trace)
    return traced


def _traced(step: Step, grades: Mapping[str, int], names: Mapping[str, str]) -> TracedStep:
    chunk_ids = [one["chunk_id"] for one in step.detail.get("candidates", ())]
    documents = list(dict.fromkeys(names.get(chunk_id) or chunk_id.rpartition("#")[0] for chunk_id in chunk_ids))
    rank = next((at for at, doc_id in enumerate(documents, start=1) if grades.get(doc_id, 0) >= 1), None)
    return TracedStep(name=step.name, n_in=step.n_in, n_out=step.n_out, rank=rank)


def _namer(judged: set[str]) -> Callable[[Hit], str]:
    """What a hit's document is called in judgements that people wrote: its id, its source, or the end of its path."""

    def name(hit: Hit) -> str:
        parts = hit.source.replace("\\", "/").split("/")
        ends = ("/".join(parts[at:]) for at in range(len(parts)))
        return next((name for name in (hit.doc_id, hit.source, *ends) if name in judged), hit.doc_id)

    return name


def ensure_graphs(
    bases: Mapping[str, SearchedKnowledgeBase], systems: Mapping[str, System], triples: str | Path | None = None
) -> None:
    """Build the graph of each collection that a system needs one of and that has none; given triples, bring all up to date."""
    wanted = {id(bases[name]): bases[name] for name, system in systems.items() if triples is not None or "graph" in system.options["mode"]}  # fmt: skip
    for base in wanted.values():
        from graph import KnowledgeGraph
        from rag.knowledge_base import KnowledgeBase

        if isinstance(base, KnowledgeBase) and (triples is not None or not base.has_graph):
            KnowledgeGraph.build(base, triples=triples)


def _warm_up(bases: Mapping[str, SearchedKnowledgeBase], systems: Mapping[str, System], dataset: Dataset) -> None:
    """The first search loads models and opens indexes; that is not the time a search takes."""
    question = next(iter(dataset.questions.values()))
    for name, system in systems.items():
        try:
            bases[name].search(question, top_k=1, **system.options)
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
