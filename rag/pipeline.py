"""The path of a question, top to bottom: recall → resolve → fuse → diversify → hits.

Every step is a plain function of what it is given; `search` calls them in order and notes each in the trace.
A retriever is any function (query, depth, filter) → Ranking, so a new one is added without touching this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rag import fusion
from rag.catalog import LiveRow, StoredChunk
from rag.errors import UsageError
from rag.filters import Expr
from rag.fusion import Ranking
from rag.trace import Trace
from rag.types import Hit, Hits

Retriever = Callable[[str, int, Expr | None], Ranking]
"""(query, depth, filter) → the best `depth` rows by store key."""

SHOWN_CANDIDATES = 20  # per step, when the trace explains


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How one question is searched. `retrievers`: names with weights, in the order they run."""

    retrievers: Mapping[str, float]
    top_k: int
    depth: int
    fusion: str = "zscore"
    rrf_k: int = 60
    mmr: float | None = None  # λ; None: no diversification
    filter: Expr | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParts:
    """What a search needs of the system.

    live: which keys are live, with their names. load: whole chunks by key. vectors: cached vectors by vector key.
    """

    retrievers: Mapping[str, Retriever]
    live: Callable[[Sequence[str]], Mapping[str, LiveRow]]
    load: Callable[[Sequence[str]], Mapping[str, StoredChunk]]
    vectors: Callable[[Sequence[str]], Mapping[str, np.ndarray]]


def search(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> Hits:
    """Find the best chunks for a query. Raises UsageError for an empty query."""
    check_query(query)
    depth = max(options.depth, options.top_k)
    rankings = recall(query, parts.retrievers, options, depth, trace)
    rows = resolve(rankings, parts.live, trace)
    rankings = {name: [(pk, score) for pk, score in one if pk in rows] for name, one in rankings.items()}
    fused = fuse(rankings, options, trace)
    final = fused if options.mmr is None else diversify(fused, rows, parts.vectors, options, trace)
    if options.explain:
        lists = {f"recall:{name}": one for name, one in rankings.items()} | {"fuse": fused, "mmr": final}
        _explain(trace, lists, rows)
    hits = load(final[: options.top_k], rankings, parts.load, trace)
    return Hits(hits, tuple(trace.steps))


def check_query(query: str) -> None:
    """Raises UsageError for a query without a word."""
    if not query.strip():
        raise UsageError("The query is empty. Type a question or some words to look for.")


def recall(
    query: str, retrievers: Mapping[str, Retriever], options: SearchOptions, depth: int, trace: Trace
) -> dict[str, Ranking]:
    """Ask each retriever for its best `depth` rows."""
    rankings: dict[str, Ranking] = {}
    for name in options.retrievers:
        with trace.span(f"recall:{name}") as step:
            rankings[name] = fusion.ranking(dict(retrievers[name](query, depth, options.filter)))
            step.n_out = len(rankings[name])
    return rankings


def resolve(
    rankings: Mapping[str, Ranking], live: Callable[[Sequence[str]], Mapping[str, LiveRow]], trace: Trace
) -> Mapping[str, LiveRow]:
    """Ask the catalog which candidates are live. Rows of versions that are not stay behind."""
    with trace.span("resolve") as step:
        keys = sorted({pk for one in rankings.values() for pk, _ in one})
        rows = live(keys)
        step.n_in, step.n_out = len(keys), len(rows)
    return rows


def fuse(rankings: Mapping[str, Ranking], options: SearchOptions, trace: Trace) -> Ranking:
    """One ranking out of several; a single one passes as it is."""
    if len(rankings) == 1:
        return next(iter(rankings.values()))
    with trace.span("fuse") as step:
        weights = [options.retrievers[name] for name in rankings]
        fused = fusion.fuse(
            list(rankings.values()), weights, method=options.fusion, rrf_k=options.rrf_k, depth=options.depth
        )
        step.n_in, step.n_out = sum(map(len, rankings.values())), len(fused)
        step.detail = {"method": options.fusion, "weights": dict(zip(rankings, weights, strict=True))}
    return fused


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
    rankings: Mapping[str, Ranking],
    read: Callable[[Sequence[str]], Mapping[str, StoredChunk]],
    trace: Trace,
) -> tuple[Hit, ...]:
    """Read the chunks that are shown. One that was deleted since it was resolved is left out."""
    with trace.span("load") as step:
        chunks = read([pk for pk, _ in final])
        scores = {name: dict(one) for name, one in rankings.items()}
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
    )  # fmt: skip


def _explain(trace: Trace, lists: Mapping[str, Ranking], rows: Mapping[str, LiveRow]) -> None:
    """Give each step of the trace the first of its candidates, by chunk id."""
    trace.steps = [
        replace(step, detail={**step.detail, "candidates": [
            {"chunk_id": rows[pk].chunk_id, "score": round(score, 6)} for pk, score in lists[step.name][:SHOWN_CANDIDATES]
        ]}) if step.name in lists else step
        for step in trace.steps
    ]  # fmt: skip
