"""The sentences of hits that answer a question best, for highlights and quotes: BM25 over the sentences of the hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.okapi import Okapi
from rag.text import sentences, words
from rag.types import Hit

SENTENCES = 2  # marked in a hit, at most
FAR_BELOW = 0.35  # a sentence that scores less than this share of the best one is no evidence


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence of a hit: hit.text[start:end]."""

    hit: int  # index among the hits
    start: int
    end: int
    score: float


def evidence(question: str, hits: Sequence[Hit]) -> list[Evidence]:
    """Sentences that hold the question's words, best first; the rarer a word among all sentences, the more it weighs."""
    found = [(at, start, end) for at, hit in enumerate(hits) for start, end in sentences(hit.text)]
    scores = Okapi([words(hits[at].text[start:end]) for at, start, end in found]).scores(words(question))
    ranked = sorted(zip(found, scores, strict=True), key=lambda item: (-item[1], item[0]))
    best = ranked[0][1] if ranked else 0.0
    return [Evidence(*place, score) for place, score in ranked if score > 0 and score >= FAR_BELOW * best]


def highlighted(question: str, hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits with the best sentences of each marked, in reading order."""
    marked: dict[int, list[tuple[int, int]]] = {}
    for one in evidence(question, hits):
        spans = marked.setdefault(one.hit, [])
        if len(spans) < SENTENCES:
            spans.append((one.start, one.end))
    return tuple(replace(hit, highlights=tuple(sorted(marked.get(at, ())))) for at, hit in enumerate(hits))
