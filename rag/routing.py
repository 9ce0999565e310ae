"""The automatic mode: the cheap search first, and the chat model's help only where that did not find enough."""

from __future__ import annotations

from dataclasses import replace

from rag import pipeline
from rag.answering import coverage
from rag.citations import Passage
from rag.pipeline import SearchOptions, SearchParts
from rag.trace import Trace
from rag.types import Hits
from rag.understanding import UnderstandOptions

ENOUGH = 0.6  # share of the question's content that the best hits must hold for the search to be sufficient
JUDGED = 3  # hits that are looked at
_MULTI_HOP_WORDS = 14  # a question of more words, or one with two relations, is taken apart


def search(query: str, *, parts: SearchParts, escalated: SearchParts, options: SearchOptions, trace: Trace) -> Hits:
    """Search with `parts`; when the hits do not hold enough of the question, search again with `escalated`.

    Without a chat model the second search cannot find more and is left out.
    """
    hits = pipeline.search(query, parts=parts, options=options, trace=trace)
    with trace.span("sufficient") as step:
        share = held(query, hits)
        step.n_in, step.detail = len(hits), {"share": round(share, 3), "enough": ENOUGH}
    if share >= ENOUGH:
        return replace(hits, trace=tuple(trace.steps))
    better = pipeline.search(query, parts=escalated, options=options, trace=trace)
    return better if better.items else replace(hits, trace=tuple(trace.steps))


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
