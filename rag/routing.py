"""The automatic mode: the cheap search first, the graph as far as it helps, the chat model only where that is not enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rag import pipeline
from rag.answering import coverage
from rag.citations import Passage
from rag.pipeline import Ranked, SearchOptions, SearchParts
from rag.search_options import with_graph
from rag.trace import Trace
from rag.types import Hits
from rag.understanding import UnderstandOptions

ENOUGH = 0.6  # share of the question's content that the best hits must hold for the search to be sufficient
JUDGED = 3  # hits that are looked at
SCARCE = 0.2  # share of the question's content below which no passage found answers alone
CAREFUL, BOLD = 0.25, 0.55  # most weight of the graph: where a passage may do, and where none does
_MULTI_HOP_WORDS = 14  # a question of more words, or one with two relations, is taken apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One of the searches that a question went through. name: search, graph or escalated."""

    name: str
    ranked: Ranked
    parts: SearchParts
    options: SearchOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The hits of a question. won: the search they come from; earlier: those whose hits gave way to it, in order."""

    hits: Hits
    won: Stage
    earlier: tuple[Stage, ...] = ()


def direct(query: str, *, parts: SearchParts, options: SearchOptions, trace: Trace) -> Routed:
    """One search and no other."""
    hits, ranked = pipeline.searched(query, parts=parts, options=options, trace=trace)
    return Routed(hits=hits, won=Stage(name="search", ranked=ranked, parts=parts, options=options))


def route(
    query: str,
    *,
    parts: SearchParts,
    escalated: SearchParts | None,
    options: SearchOptions,
    trace: Trace,
    graph_weight: float = 0.0,
) -> Routed:
    """Search with `parts`; when the hits do not hold enough of the question, search again with `escalated` (None: do not).

    graph_weight: most of the graph, where there is one. It counts little where a passage may answer alone, so that it costs
    nothing there, and more where none holds much of the question. Measured on SQuAD, MuSiQue and 2WikiMultiHopQA.
    Without a chat model the last search cannot find more and is left out.
    """
    found = direct(query, parts=parts, options=options, trace=trace)
    with trace.span("sufficient") as step:
        share = held(query, found.hits)
        step.n_in, step.detail = len(found.hits), {"share": round(share, 3), "enough": ENOUGH}
    if graph_weight:
        weight = min(graph_weight, BOLD if share < SCARCE else CAREFUL)
        options = replace(options, retrievers=with_graph(options.retrievers, weight))
        found = _after(found, "graph", direct(query, parts=parts, options=options, trace=trace))
        share = max(share, held(query, found.hits))
    if share < ENOUGH and escalated is not None:
        better = direct(query, parts=escalated, options=options, trace=trace)
        if better.hits.items:
            return _after(found, "escalated", better)
    return replace(found, hits=replace(found.hits, trace=tuple(trace.steps)))


def _after(earlier: Routed, name: str, later: Routed) -> Routed:
    return replace(later, won=replace(later.won, name=name), earlier=(*earlier.earlier, earlier.won))


def held(query: str, hits: Hits) -> float:
    """The share of the question's content that the best hits hold together at best in one of them; 0 without hits."""
    passages = [
        Passage(number=number, hit=hit, start=hit.start, text=hit.text)
        for number, hit in enumerate(hits[:JUDGED], start=1)
    ]
    return max(coverage(query, passages), default=0.0)


def escalated(query: str, wanted: UnderstandOptions) -> UnderstandOptions:
    """What the chat model is asked for in the second search: other words, and for a long question its parts."""
    long = len(query.split()) > _MULTI_HOP_WORDS or len(query) > 60
    return replace(wanted, rewrite=True, multi_query=max(wanted.multi_query, 2), decompose=wanted.decompose or long)
