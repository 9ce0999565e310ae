"""The path of a question, top to bottom: understand → recall → resolve → fuse → rerank → boost → collapse → diversify → hits.

Every step is a plain function of what it is given; `search` calls them in order and notes each in the trace.
A retriever is any function (query, depth, filter) → Ranking, so a new one is added without touching this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rag import fusion
from rag.ahead import Ahead
from rag.catalog_rows import LiveRow, StoredChunk
from rag.dates import first_day
from rag.errors import ChatError, ModelError, StoreAwayError, UsageError
from rag.filters import All, Expr, matches, shown
from rag.fusion import Part, Ranking, checked_scores
from rag.settings import MOST_CANDIDATES
from rag.trace import Trace
from rag.types import Hit, Hits, Query, Reranker
from rag.understanding import Understood

if TYPE_CHECKING:
    from rag.index_forms import IndexForms

Retriever = Callable[[Query, int, Expr | None], Ranking]
"""(query, depth, filter) → the best `depth` rows by store key."""

Live = Callable[[Sequence[str]], Mapping[str, LiveRow]]
"""Which of these store keys belong to live versions."""

Trust = Callable[[Query, Mapping[str, Part], Expr | None], Mapping[str, float]]
"""(query, its rankings by retriever, filter) → the share of its weight that a ranking gets beside the others; absent: all."""

NEED_NO_MODEL = frozenset({"bm25"})  # they begin while a question is still being embedded for the others
STORED = frozenset({"dense", "bm25"})  # the store's own: they give as much of one order as they are asked for
TIES = 1e-9  # weight of the first ranking where a reranker has all of it: it decides between equal scores
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
    dense_trust: bool = True  # a ranking that knows little of this query gets less of its weight
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
    summaries: str = "all"  # chunks that are summaries: all beside the others, none, or only they
    explain: bool = False
    times: int = 1  # how many times as many rounds as there should have to be

    def depth_of(self, retriever: str) -> int:
        return self.depths.get(retriever, self.depth)

    @property
    def rounds(self) -> int:
        """How many times its depth each retriever is asked for, so that there are `top_k` hits.

        Rankings are fused depth by depth, and the later steps look at the first of these rounds alone: asking for more hits never
        changes the first ones.
        """
        return self.times * math.ceil(self.top_k / max(map(self.depth_of, self.retrievers), default=self.depth))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParts:
    """What a search needs of the system.

    live: which keys are live, with their names. load: whole chunks by key. vectors: cached vectors by vector key.
    tokens: how well the passages of these vector keys hold a question's tokens; None where they cannot all be told.
    trust: shares of their weights that the rankings of a query get beside each other.
    understand: plans the queries of a question; None: the question as it is. reranker: None: no reranking.
    fallback: finds rows by words while the store is away; None: then the search fails.
    forms: the index forms of rag/index_forms.py. followed: what a retriever looked into for a query, where it can say.
    """

    retrievers: Mapping[str, Retriever]
    live: Live
    load: Callable[[Sequence[str]], Mapping[str, StoredChunk]]
    vectors: Callable[[Sequence[str]], Mapping[str, np.ndarray]]
    tokens: Callable[[str, Sequence[str]], Sequence[float] | None] = lambda _question, _keys: None
    trust: Trust = lambda _query, _rankings, _filter: {}
    understand: Callable[[str, Trace], Understood] | None = None
    reranker: Reranker | None = None
    fallback: Retriever | None = None
    forms: Callable[[], IndexForms] | None = None
    followed: Callable[[str, Query, Expr | None], Mapping[str, Any]] = lambda _retriever, _query, _filter: {}


def search(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> Hits:
    """Find the best chunks for a query. Raises UsageError for an empty query."""
    return searched(query, parts=parts, options=options, trace=trace)[0]


def searched(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> tuple[Hits, Ranked]:
    """The hits as from `search`, and what each step made of the question."""
    tried, n_steps = _few(parts, options) or options, len(trace.steps)
    found = rank(query, parts=parts, options=tried, trace=trace)
    known, n_steps = found.plan, n_steps + found.n_planned
    while len(found.final) < options.top_k and found.was_cut and options.rerank_threshold is None:
        if tried.depth < options.depth:
            tried = options
        elif (
            tried.rounds * tried.depth < MOST_CANDIDATES
        ):  # many of the candidates are not live, or a retriever has a small depth
            tried = replace(tried, times=2 * tried.times)
        else:
            break
        parts = replace(parts, understand=lambda _question, _trace: known)
        del trace.steps[n_steps:]
        found = rank(query, parts=parts, options=tried, trace=trace)
    if options.explain:
        _explain(trace, found, parts)
    hits = load(found.final[: options.top_k], found.recalled, parts.load, trace)
    skipped = tuple(f"Left out: {reason}." for reason in found.plan.skipped)
    return Hits(hits, tuple(trace.steps), skipped + found.notes, found.plan.question), found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """What each step made of a question. lists: the ranking after each step that ran, by its name in the trace."""

    plan: Understood
    recalled: Sequence[Recalled]
    rows: Mapping[str, LiveRow]
    lists: Mapping[str, Ranking]
    final: Ranking
    notes: tuple[str, ...] = ()
    n_planned: int = 0  # steps of the trace that are the understanding's
    was_cut: bool = False  # whether some retriever could give more


def _few(parts: SearchParts, options: SearchOptions) -> SearchOptions | None:
    """The options with less depth, where a single retriever's order is the hits' order; None where a later step needs it all."""
    later = (
        (options.rerank_depth and parts.reranker is not None) or options.boosts or options.recency is not None
        or options.collapse is not None or options.mmr is not None or options.explain or parts.understand is not None
        or len(options.retrievers) > 1 or not options.retrievers.keys() <= STORED
    )  # fmt: skip
    if later or 2 * options.top_k >= min(map(options.depth_of, options.retrievers)):
        return None
    return replace(options, depth=2 * options.top_k, depths={})


def rank(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> Ranked:
    """All steps but the reading of the hits. Raises UsageError for an empty query."""
    check_query(query)
    n_steps = len(trace.steps)
    plan = understand(query, parts.understand, trace)
    n_planned = len(trace.steps) - n_steps
    where = _joined(options.filter, plan.filter)
    notes: tuple[str, ...] = ()
    live = _Live(parts.live)
    try:
        recalled = recall(plan.queries, parts.retrievers, options, where, trace, live, parts.trust)
        if plan.filter and not any(one.ranking for one in recalled):
            plan, where = without_filter(plan), options.filter
            recalled = recall(plan.queries, parts.retrievers, options, where, trace, live, parts.trust)
    except StoreAwayError as error:
        if parts.fallback is None:
            raise
        words_only = replace(options, retrievers={"words": 1.0})
        recalled = recall(plan.queries, {"words": parts.fallback}, words_only, where, trace, live, parts.trust)
        notes = (f"{error} Until then passages are found by their words alone, in the catalog.",)
    rows = resolve(recalled, live, trace)
    was_cut = any(len(one.found) >= min(one.depth * options.rounds, MOST_CANDIDATES) for one in recalled)
    recalled = [replace(one, live=frozenset(rows)) for one in recalled]
    lists = {one.step: one.ranking for one in recalled}
    final = lists["fuse"] = fuse(recalled, options, trace)
    if options.rounds > 1:
        first = len({pk for one in recalled for pk, _ in one.round(0).ranking})
        options = replace(options, depth=min(options.depth, first), rerank_depth=min(options.rerank_depth, first))
    if parts.reranker is not None and options.rerank_depth and final:
        final = lists["rerank"] = rerank(plan.question, final, recalled, parts, options, trace)
        if reason := trace.steps[-1].detail.get("skipped"):
            notes += (f"Not reranked: {reason}",)
    if options.boosts or options.recency:
        final = lists["boost"] = boost(final, parts, options, trace)
    if options.collapse is not None:
        final = lists["collapse"] = collapse(final, rows, parts.vectors, options, trace)
    if options.mmr is not None:
        final = lists["mmr"] = diversify(final, rows, parts.vectors, options, trace)
    return Ranked(
        plan=plan,
        recalled=recalled,
        rows=rows,
        lists=lists,
        final=final,
        notes=notes,
        n_planned=n_planned,
        was_cut=was_cut,
    )


def without_filter(plan: Understood) -> Understood:
    """The plan without conditions that were read from the question and that no document meets."""
    assert plan.filter is not None
    return replace(plan, filter=None, skipped=(*plan.skipped, f"filter: no document meets {shown(plan.filter)}"))


def check_query(query: str) -> None:
    """Raises UsageError for a query without a word, and for one that is no text."""
    if not isinstance(query, str):
        raise UsageError(f"The query must be text, not {query!r:.100}.")
    if not query.strip():
        raise UsageError("The query is empty. Type a question or some words to look for.")


def understand(question: str, plan: Callable[[str, Trace], Understood] | None, trace: Trace) -> Understood:
    """What is searched for a question: without a planner the question itself."""
    return plan(question, trace) if plan else Understood(question=question, queries=(Query(text=question),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What one retriever found for one query. name: the retriever's, with the query's kind where it is not the question.

    where: the filter that was in force.
    """

    name: str
    weight: float
    found: Ranking  # as the retriever gave it
    depth: int  # of each round
    live: frozenset[str] | None = None  # None: not looked up yet
    trust: float = 1.0  # share of the weight that it gets
    query: Query = Query(text="")
    where: Expr | None = None

    @property
    def retriever(self) -> str:
        return self.name.split(":")[0]

    @property
    def step(self) -> str:
        return f"recall:{self.name}"

    @property
    def ranking(self) -> Ranking:
        """What is live of it."""
        return self._live_of(self.found)

    def round(self, at: int) -> Part:
        """What is live of the candidates at `at` times the depth, from 0."""
        found = self.found[at * self.depth : (at + 1) * self.depth]
        return Part(self._live_of(found), self.weight * self.trust, ended=len(found) < self.depth)

    def _live_of(self, found: Ranking) -> Ranking:
        return found if self.live is None else [one for one in found if one[0] in self.live]


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
        return retrievers[retriever](query, min(options.depth_of(retriever) * options.rounds, MOST_CANDIDATES), where)

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
        of_query: dict[str, Recalled] = {}
        for retriever, weight in options.retrievers.items():
            name = f"{retriever}{label}"
            with trace.span(f"recall:{name}") as step:
                begun = ahead.get((retriever, query))
                ranking = fusion.ranking(dict(begun.result() if begun else ask(retriever, query)))
                step.n_out = len(ranking)
                if label:
                    step.detail = {"query": query.text}
            of_query[retriever] = Recalled(
                name=name, weight=weight * query.weight, found=ranking, depth=options.depth_of(retriever), query=query, where=where
            )  # fmt: skip
        weighed = options.dense_trust and len(of_query) > 1
        shares = trust(query, {name: one.round(0) for name, one in of_query.items()}, where) if weighed else {}
        found += [replace(one, trust=shares.get(retriever, 1.0)) for retriever, one in of_query.items()]
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
        keys = sorted({pk for one in recalled for pk, _ in one.found})
        rows = live(keys)
        step.n_in, step.n_out = len(keys), len(rows)
    return rows


def fuse(recalled: Sequence[Recalled], options: SearchOptions, trace: Trace) -> Ranking:
    """One ranking out of several, round by round; a single one passes as it is."""
    if len(recalled) == 1:
        return recalled[0].ranking
    n_in = 0
    with trace.span("fuse") as step:
        fused: Ranking = []
        for at in range(options.rounds):
            parts = [one.round(at) for one in recalled]
            n_in += sum(len(part.ranking) for part in parts)
            fused = fusion.followed_by(fused, fusion.fuse(parts, method=options.fusion, rrf_k=options.rrf_k))
        step.n_in, step.n_out = n_in, len(fused)
        trust = {one.name: round(one.trust, 3) for one in recalled if one.trust < 1}
        step.detail = {
            "method": options.fusion, "weights": {one.name: one.weight for one in recalled}, **({"trust": trust} if trust else {}),
        }  # fmt: skip
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
        most = min(options.rerank_depth, getattr(parts.reranker, "most", options.rerank_depth))
        head, tail = fused[:most], fused[most:]
        chunks = parts.load([pk for pk, _ in head])
        read = [(pk, score) for pk, score in head if pk in chunks]
        step.n_in, step.detail = len(read), {"reranker": parts.reranker.name, "weight": options.rerank_weight}
        if not read:  # they were deleted since they were resolved
            step.n_out = len(fused)
            return fused
        try:
            scores = checked_scores(
                parts.reranker.scores(question, [chunks[pk].chunk.indexed_text for pk, _ in read]), len(read)
            )
            keys = [chunks[pk].vector_key for pk, _ in read]
            by_token = parts.tokens(question, keys) if options.rerank_tokens else None
        except (ModelError, ChatError) as error:
            step.n_out, step.detail["skipped"] = len(fused), str(error)
            return fused
        by_model = fusion.ranking({pk: score for (pk, _), score in zip(read, scores, strict=True)})
        likest = fusion.ranking(dict(zip([pk for pk, _ in read], by_token or (), strict=bool(by_token))))
        if options.rerank_threshold is not None:
            kept = {pk for pk, score in by_model if score >= options.rerank_threshold}
            step.detail["below_threshold"], step.detail["best_score"] = len(read) - len(kept), by_model[0][1]
            by_model, read, tail = (
                [one for one in by_model if one[0] in kept],
                [one for one in read if one[0] in kept],
                [],
            )
        dense = next((one.round(0).ranking for one in recalled if one.name == "dense"), [])
        there = {pk for pk, _ in read}
        others = [
            ([one for one in ranking if one[0] in there], weight)
            for ranking, weight in ((dense, options.rerank_dense), (likest, options.rerank_tokens))
        ]
        others = [(ranking, weight) for ranking, weight in others if ranking and weight]
        rest = 1.0 - options.rerank_weight - sum(weight for _, weight in others)
        step.detail["by_tokens"] = bool(likest)
        weights = [options.rerank_weight, *(weight for _, weight in others), max(rest, TIES)]
        rankings = [by_model, *(ranking for ranking, _ in others), read]
        mixed = fusion.weighted(list(map(Part, rankings, weights)), fusion.zscore)
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
    gained = sum(weight for condition, weight in options.boosts if matches(condition, stored.row))
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
    """Maximal marginal relevance over the first `depth` candidates, with the vectors the catalog keeps."""
    assert options.mmr is not None
    with trace.span("mmr") as step:
        candidates, tail = fused[: options.depth], fused[options.depth :]
        cached = vectors([rows[pk].vector_key for pk, _ in candidates])
        by_pk = {pk: cached[rows[pk].vector_key] for pk, _ in candidates if rows[pk].vector_key in cached}
        picked = fusion.mmr(candidates, by_pk, trade_off=options.mmr, top_k=options.top_k)
        ranked = fusion.followed_by(picked, tail)
        step.n_in, step.n_out, step.detail = len(candidates), len(ranked), {"lambda": options.mmr}
    return ranked


def load(
    final: Ranking,
    recalled: Sequence[Recalled],
    read: Callable[[Sequence[str]], Mapping[str, StoredChunk]],
    trace: Trace,
) -> tuple[Hit, ...]:
    """Read the chunks that are shown. One that was deleted since it was resolved is left out."""
    with trace.span("load") as step:
        chunks = read([pk for pk, _ in final])
        scores = {one.name: dict(one.found) for one in recalled}
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


def _explain(trace: Trace, found: Ranked, parts: SearchParts) -> None:
    """Give each step of the trace the first of its candidates, by chunk id, and what a retriever followed."""
    rows, lists = found.rows, found.lists
    followed = {one.step: parts.followed(one.retriever, one.query, one.where) for one in found.recalled}
    trace.steps = [
        replace(step, detail={**step.detail, **followed.get(step.name, {}), "candidates": [
            {"chunk_id": rows[pk].chunk_id, "score": round(score, 6)} for pk, score in lists[step.name][:SHOWN_CANDIDATES]
        ]}) if step.name in lists else step
        for step in trace.steps
    ]  # fmt: skip
