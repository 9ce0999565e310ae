"""The path of a question, top to bottom: understand → recall → resolve → fuse → rerank → boost → collapse → diversify → hits.

Every step is a plain function of what it is given; `search` calls them in order and notes each in the trace.
A retriever is any function (query, depth, filter) → Ranking, so a new one is added without touching this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import numpy as np

from rag import fusion
from rag.ahead import Ahead
from rag.catalog_rows import LiveRow, StoredChunk
from rag.dates import first_day
from rag.errors import ChatError, ModelError, StoreAwayError, UsageError
from rag.filters import All, Expr, matches
from rag.fusion import Ranking
from rag.trace import Trace
from rag.types import Hit, Hits, Query, Reranker
from rag.understanding import Understood

Retriever = Callable[[Query, int, Expr | None], Ranking]
"""(query, depth, filter) → the best `depth` rows by store key."""

Live = Callable[[Sequence[str]], Mapping[str, LiveRow]]
"""Which of these store keys belong to live versions."""

Trust = Callable[[Query, Ranking, Expr | None], float]
"""(query, its dense ranking, filter) → the share of its weight that the ranking gets beside others."""

NEED_NO_MODEL = frozenset({"bm25"})  # they begin while a question is still being embedded for the others
SHOWN_CANDIDATES = 20  # per step, when the trace explains


@dataclass(frozen=True, slots=True, kw_only=True)
class Recency:
    """Newer documents gain up to `weight` standard deviations, half of it at an age of `half_life_days`.

    key: of the metadata, with a date. A document without one gains nothing.
    """

    weight: float
    half_life_days: float
    key: str = "date"
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    def gain(self, metadata: Mapping[str, Any]) -> float:
        day = first_day(metadata.get(self.key, ""))
        if day is None:
            return 0.0
        return float(self.weight * 0.5 ** (max((self.today - day).days, 0) / self.half_life_days))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How one question is searched. `retrievers`: names with weights, in the order they run."""

    retrievers: Mapping[str, float]
    top_k: int
    depth: int
    depths: Mapping[str, int] = field(default_factory=dict)  # of single retrievers, in place of `depth`
    fusion: str = "zscore"
    rrf_k: int = 60
    rerank_depth: int = 0  # how many of the fused candidates the reranker reads; 0: none
    rerank_weight: float = 1.0  # of the reranker's scores; the fused ones get the rest
    rerank_dense: float = 0.0  # of the rest: what the dense scores of the question get once more
    rerank_tokens: float = 0.0  # of the rest: what late interaction gets, where the import kept token vectors
    rerank_threshold: float | None = None  # lowest reranker score that is kept
    boosts: tuple[
        tuple[Expr, float], ...
    ] = ()  # a condition and what documents that meet it gain, in standard deviations
    recency: Recency | None = None
    collapse: float | None = None  # cosine from which a candidate repeats a better one and is left out; None: never
    mmr: float | None = None  # λ; None: no diversification
    filter: Expr | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParts:
    """What a search needs of the system.

    live: which keys are live, with their names. load: whole chunks by key. vectors: cached vectors by vector key.
    tokens: how well the passages of these vector keys hold a question's tokens; None where they cannot all be told.
    trust: share of its weight that the dense ranking of a query gets beside others.
    understand: plans the queries of a question; None: the question as it is. reranker: None: no reranking.
    fallback: finds rows by words while the store is away; None: then the search fails.
    """

    retrievers: Mapping[str, Retriever]
    live: Live
    load: Callable[[Sequence[str]], Mapping[str, StoredChunk]]
    vectors: Callable[[Sequence[str]], Mapping[str, np.ndarray]]
    tokens: Callable[[str, Sequence[str]], Sequence[float] | None] = lambda _question, _keys: None
    trust: Trust = lambda _query, _ranking, _filter: 1.0
    understand: Callable[[str, Trace], Understood] | None = None
    reranker: Reranker | None = None
    fallback: Retriever | None = None


def search(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> Hits:
    """Find the best chunks for a query. Raises UsageError for an empty query."""
    n_steps = len(trace.steps)
    few = _few(parts, options)
    found = rank(query, parts=parts, options=few or options, trace=trace)
    if few and len(found.final) < options.top_k and found.n_recalled >= few.depth:  # the others are not live
        del trace.steps[n_steps:]
        found = rank(query, parts=parts, options=options, trace=trace)
    if options.explain:
        _explain(trace, found.lists, found.rows)
    hits = load(found.final[: options.top_k], found.recalled, parts.load, trace)
    skipped = tuple(f"Left out: {reason}." for reason in found.plan.skipped)
    return Hits(hits, tuple(trace.steps), skipped + found.notes, found.plan.question)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """What each step made of a question. lists: the ranking after each step that ran, by its name in the trace."""

    plan: Understood
    recalled: Sequence[Recalled]
    rows: Mapping[str, LiveRow]
    lists: Mapping[str, Ranking]
    final: Ranking
    notes: tuple[str, ...] = ()
    n_recalled: int = 0  # candidates of all lists, those that are not live among them


def _few(parts: SearchParts, options: SearchOptions) -> SearchOptions | None:
    """The options with less depth, where a single retriever's order is the hits' order; None where a later step needs it all."""
    later = (
        (options.rerank_depth and parts.reranker is not None) or options.boosts or options.recency is not None
        or options.collapse is not None or options.mmr is not None or options.explain or parts.understand is not None
        or len(options.retrievers) > 1
    )  # fmt: skip
    if later or 2 * options.top_k >= options.depth:
        return None
    return replace(options, depth=2 * options.top_k, depths={})


def rank(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> Ranked:
    """All steps but the reading of the hits. Raises UsageError for an empty query."""
    check_query(query)
    plan = understand(query, parts.understand, trace)
    where = _joined(options.filter, plan.filter)
    notes: tuple[str, ...] = ()
    live = _Live(parts.live)
    try:
        recalled = recall(plan.queries, parts.retrievers, options, where, trace, live, parts.trust)
    except StoreAwayError as error:
        if parts.fallback is None:
            raise
        words_only = replace(options, retrievers={"words": 1.0})
        recalled = recall(plan.queries, {"words": parts.fallback}, words_only, where, trace, live, parts.trust)
        notes = (f"{error} Until then passages are found by their words alone, in the catalog.",)
    rows = resolve(recalled, live, trace)
    n_recalled = sum(len(one.ranking) for one in recalled)
    recalled = [replace(one, ranking=[(pk, score) for pk, score in one.ranking if pk in rows]) for one in recalled]
    lists = {one.step: one.ranking for one in recalled}
    final = lists["fuse"] = fuse(recalled, options, trace)
    if parts.reranker is not None and options.rerank_depth and final:
        final = lists["rerank"] = rerank(plan.question, final, recalled, parts, options, trace)
    if options.boosts or options.recency:
        final = lists["boost"] = boost(final, parts, options, trace)
    if options.collapse is not None:
        final = lists["collapse"] = collapse(final, rows, parts.vectors, options, trace)
    if options.mmr is not None:
        final = lists["mmr"] = diversify(final, rows, parts.vectors, options, trace)
    return Ranked(plan=plan, recalled=recalled, rows=rows, lists=lists, final=final, notes=notes, n_recalled=n_recalled)


def check_query(query: str) -> None:
    """Raises UsageError for a query without a word."""
    if not query.strip():
        raise UsageError("The query is empty. Type a question or some words to look for.")


def understand(question: str, plan: Callable[[str, Trace], Understood] | None, trace: Trace) -> Understood:
    """What is searched for a question: without a planner the question itself."""
    return plan(question, trace) if plan else Understood(question=question, queries=(Query(text=question),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What one retriever found for one query. name: the retriever's, with the query's kind where it is not the question."""

    name: str
    weight: float
    ranking: Ranking

    @property
    def step(self) -> str:
        return f"recall:{self.name}"


def recall(
    queries: Sequence[Query],
    retrievers: Mapping[str, Retriever],
    options: SearchOptions,
    where: Expr | None,
    trace: Trace,
    live: Live,
    trust: Trust,
) -> list[Recalled]:
    """Ask each retriever for its best rows for each query; those that need no model, while the others wait for theirs."""

    def ask(retriever: str, query: Query) -> Ranking:
        depth = max(options.depths.get(retriever, options.depth), options.top_k)
        return retrievers[retriever](query, depth, where)

    def ask_ahead(retriever: str, query: Query) -> Ranking:
        found = ask(retriever, query)
        live([pk for pk, _ in found])  # the others are still busy, and `resolve` will know these
        return found

    ahead = {
        (name, query): Ahead(partial(ask_ahead, name, query))
        for query in queries
        for name in (options.retrievers.keys() & NEED_NO_MODEL if len(options.retrievers) > 1 else ())
    }
    found: list[Recalled] = []
    for query, label in zip(queries, _labels(queries), strict=True):
        for retriever, weight in options.retrievers.items():
            name = f"{retriever}{label}"
            with trace.span(f"recall:{name}") as step:
                begun = ahead.get((retriever, query))
                ranking = fusion.ranking(dict(begun.result() if begun else ask(retriever, query)))
                step.n_out = len(ranking)
                if label:
                    step.detail = {"query": query.text}
                share = 1.0
                if retriever == "dense" and len(options.retrievers) > 1:
                    share = trust(query, ranking, where)
                    step.detail = {**step.detail, "trust": round(share, 3)} if share < 1 else step.detail
            found.append(Recalled(name=name, weight=weight * query.weight * share, ranking=ranking))
    return found


class _Live:
    """Which rows are live. Asks for each once in a search."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._known: dict[str, LiveRow | None] = {}

    def __call__(self, pks: Sequence[str]) -> Mapping[str, LiveRow]:
        if new := [pk for pk in pks if pk not in self._known]:
            found = self._live(new)
            self._known.update((pk, found.get(pk)) for pk in new)
        return {pk: row for pk in pks if (row := self._known[pk]) is not None}


def _labels(queries: Sequence[Query]) -> list[str]:
    """What tells the queries' rankings apart: nothing for the question, else the kind, numbered where it recurs."""
    kinds = [query.kind for query in queries]
    numbers = [kinds[: at + 1].count(kind) for at, kind in enumerate(kinds)]
    return [
        "" if kind == "question" else f":{kind}" + (f"-{n}" if kinds.count(kind) > 1 else "")
        for kind, n in zip(kinds, numbers, strict=True)
    ]


def _joined(left: Expr | None, right: Expr | None) -> Expr | None:
    return All((left, right)) if left and right else left or right


def resolve(recalled: Sequence[Recalled], live: Live, trace: Trace) -> Mapping[str, LiveRow]:
    """Ask the catalog which candidates are live. Rows of versions that are not stay behind."""
    with trace.span("resolve") as step:
        keys = sorted({pk for one in recalled for pk, _ in one.ranking})
        rows = live(keys)
        step.n_in, step.n_out = len(keys), len(rows)
    return rows


def fuse(recalled: Sequence[Recalled], options: SearchOptions, trace: Trace) -> Ranking:
    """One ranking out of several; a single one passes as it is."""
    if len(recalled) == 1:
        return recalled[0].ranking
    with trace.span("fuse") as step:
        weights = [one.weight for one in recalled]
        rankings = [one.ranking for one in recalled]
        fused = fusion.fuse(rankings, weights, method=options.fusion, rrf_k=options.rrf_k, depth=options.depth)
        step.n_in, step.n_out = sum(map(len, rankings)), len(fused)
        step.detail = {"method": options.fusion, "weights": {one.name: one.weight for one in recalled}}
    return fused


def rerank(
    question: str,
    fused: Ranking,
    recalled: Sequence[Recalled],
    parts: SearchParts,
    options: SearchOptions,
    trace: Trace,
) -> Ranking:
    """Let the reranker read the best candidates beside the question. What it does not read follows in its old order.

    How many it reads does not depend on how many are shown, so asking for more hits never changes the first ones. A
    reranker that fails costs the step: the fused order stays, and the trace says why.
    """
    assert parts.reranker is not None
    with trace.span("rerank") as step:
        head, tail = fused[: options.rerank_depth], fused[options.rerank_depth :]
        chunks = parts.load([pk for pk, _ in head])
        read = [(pk, score) for pk, score in head if pk in chunks]
        step.n_in, step.detail = len(read), {"reranker": parts.reranker.name, "weight": options.rerank_weight}
        try:
            scores = parts.reranker.scores(question, [chunks[pk].chunk.indexed_text for pk, _ in read])
            keys = [chunks[pk].vector_key for pk, _ in read]
            by_token = parts.tokens(question, keys) if options.rerank_tokens else None
        except (ModelError, ChatError) as error:
            step.n_out, step.detail["skipped"] = len(fused), str(error)
            return fused
        by_model = fusion.ranking({pk: score for (pk, _), score in zip(read, scores, strict=True)})
        likest = fusion.ranking(dict(zip([pk for pk, _ in read], by_token or (), strict=bool(by_token))))
        if options.rerank_threshold is not None:
            kept = {pk for pk, score in by_model if score >= options.rerank_threshold}
            by_model, read, tail = (
                [one for one in by_model if one[0] in kept],
                [one for one in read if one[0] in kept],
                [],
            )
        dense = next((one.ranking for one in recalled if one.name == "dense"), [])
        there = {pk for pk, _ in read}
        others = [
            ([one for one in ranking if one[0] in there], weight)
            for ranking, weight in ((dense, options.rerank_dense), (likest, options.rerank_tokens))
        ]
        others = [(ranking, weight) for ranking, weight in others if ranking and weight]
        rest = 1.0 - options.rerank_weight - sum(weight for _, weight in others)
        step.detail["by_tokens"] = bool(likest)
        weights = [options.rerank_weight, *(weight for _, weight in others), rest]
        mixed = fusion.weighted([by_model, *(ranking for ranking, _ in others), read], weights, fusion.zscore)
        ranked = fusion.followed_by(mixed, tail)
        step.n_out = len(ranked)
    return ranked


def boost(ranked: Ranking, parts: SearchParts, options: SearchOptions, trace: Trace) -> Ranking:
    """Candidates that meet a condition, and newer ones, gain in score; the first `depth` are looked at."""
    with trace.span("boost") as step:
        head, tail = ranked[: options.depth], ranked[options.depth :]
        chunks = parts.load([pk for pk, _ in head])
        gains = {pk: _gain(chunks[pk], options) for pk, _ in head if pk in chunks}
        scores = fusion.zscore(head)
        lifted = fusion.ranking({pk: scores[pk] + gains.get(pk, 0.0) for pk, _ in head})
        step.n_in, step.n_out, step.detail = len(head), len(ranked), {"gained": sum(map(bool, gains.values()))}
    return fusion.followed_by(lifted, tail)


def _gain(stored: StoredChunk, options: SearchOptions) -> float:
    row = {"doc_id": stored.chunk.doc_id, "source": stored.source, "title": stored.title, "type": stored.type,
           "page": stored.chunk.page, "meta": stored.metadata}  # fmt: skip
    gained = sum(weight for condition, weight in options.boosts if matches(condition, row))
    return gained + (options.recency.gain(stored.metadata) if options.recency else 0.0)


def collapse(
    ranked: Ranking,
    rows: Mapping[str, LiveRow],
    vectors: Callable[[Sequence[str]], Mapping[str, np.ndarray]],
    options: SearchOptions,
    trace: Trace,
) -> Ranking:
    """Of candidates that say nearly the same, the best one stays. The trace names what each of the others repeats."""
    limit = options.collapse
    assert limit is not None
    with trace.span("collapse") as step:
        head, tail = ranked[: options.depth], ranked[options.depth :]
        cached = vectors([rows[pk].vector_key for pk, _ in head])
        kept: Ranking = []
        seen: list[tuple[str, np.ndarray]] = []
        repeats: dict[str, str] = {}
        for pk, score in head:
            vector = cached.get(rows[pk].vector_key)
            twin = next((key for key, other in seen if vector is not None and float(other @ vector) >= limit), None)
            if twin is not None:
                repeats[rows[pk].chunk_id] = rows[twin].chunk_id
                continue
            kept.append((pk, score))
            if vector is not None:
                seen.append((pk, vector))
        step.n_in, step.n_out, step.detail = len(ranked), len(kept) + len(tail), {"repeats": repeats}
    return kept + tail


def diversify(
    fused: Ranking,
    rows: Mapping[str, LiveRow],
    vectors: Callable[[Sequence[str]], Mapping[str, np.ndarray]],
    options: SearchOptions,
    trace: Trace,
) -> Ranking:
    """Maximal marginal relevance over the fused candidates, with the vectors the catalog keeps."""
    assert options.mmr is not None
    with trace.span("mmr") as step:
        candidates = fused[: options.depth]
        cached = vectors([rows[pk].vector_key for pk, _ in candidates])
        by_pk = {pk: cached[rows[pk].vector_key] for pk, _ in candidates if rows[pk].vector_key in cached}
        picked = fusion.mmr(candidates, by_pk, trade_off=options.mmr, top_k=options.top_k)
        step.n_in, step.n_out, step.detail = len(candidates), len(picked), {"lambda": options.mmr}
    return picked


def load(
    final: Ranking,
    recalled: Sequence[Recalled],
    read: Callable[[Sequence[str]], Mapping[str, StoredChunk]],
    trace: Trace,
) -> tuple[Hit, ...]:
    """Read the chunks that are shown. One that was deleted since it was resolved is left out."""
    with trace.span("load") as step:
        chunks = read([pk for pk, _ in final])
        scores = {one.name: dict(one.ranking) for one in recalled}
        there = [(pk, score) for pk, score in final if pk in chunks]
        hits = tuple(_hit(rank, pk, score, chunks[pk], scores) for rank, (pk, score) in enumerate(there, start=1))
        step.n_in, step.n_out = len(final), len(hits)
    return hits


def _hit(rank: int, pk: str, score: float, stored: StoredChunk, scores: Mapping[str, Mapping[str, float]]) -> Hit:
    chunk = stored.chunk
    parts = {name: one[pk] for name, one in scores.items() if pk in one}
    return Hit(
        rank=rank, chunk_id=chunk.chunk_id, doc_id=chunk.doc_id, source=stored.source, title=stored.title, score=score,
        text=chunk.text, start=chunk.start, end=chunk.end, page=chunk.page, context=chunk.context, type=stored.type,
        metadata=stored.metadata, parts=parts, level=chunk.level,
        parent_start=chunk.parent_start, parent_end=chunk.parent_end,
    )  # fmt: skip


def _explain(trace: Trace, lists: Mapping[str, Ranking], rows: Mapping[str, LiveRow]) -> None:
    """Give each step of the trace the first of its candidates, by chunk id."""
    trace.steps = [
        replace(step, detail={**step.detail, "candidates": [
            {"chunk_id": rows[pk].chunk_id, "score": round(score, 6)} for pk, score in lists[step.name][:SHOWN_CANDIDATES]
        ]}) if step.name in lists else step
        for step in trace.steps
    ]  # fmt: skip
