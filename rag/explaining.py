"""Why a passage is among the hits of a question, or at which step it was lost, and what would bring it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rag import pipeline
from rag.catalog_rows import StoredChunk
from rag.filters import Expr, matches
from rag.fusion import Ranking
from rag.pipeline import Ranked, SearchOptions, SearchParts
from rag.text import words
from rag.trace import Trace

FURTHEST = 5000  # how deep a retriever is asked for a passage that it did not bring


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a passage stood after a step. rank: from 1; None: not among the step's n candidates."""

    step: str
    rank: int | None
    n: int
    score: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """rank: among the hits, None when it is not shown. lost_at: the step that lost it, "" when none did.

    shared_words, missing_words: of the question, as keyword search compares them, in the passage and not in it.
    advice: what would bring it back, most likely first.
    """

    chunk_id: str
    question: str
    rank: int | None
    lost_at: str
    reason: str
    advice: tuple[str, ...]
    standings: tuple[Standing, ...]
    shared_words: tuple[str, ...]
    missing_words: tuple[str, ...]


def explain(query: str, stored: StoredChunk, *, parts: SearchParts, options: SearchOptions) -> Explanation:
    """Search as `options` say and follow one live chunk through the steps. Raises what a search raises."""
    trace = Trace()
    ranked = pipeline.rank(query, parts=parts, options=options, trace=trace)
    standings = [_standing(name, ranking, stored.pk) for name, ranking in ranked.lists.items()]
    question = ranked.plan.question
    held = set(words(stored.chunk.indexed_text))
    asked = list(dict.fromkeys(words(question)))
    rank = _rank(ranked.final[: options.top_k], stored.pk)
    lost = _Lost(query, stored, ranked, parts, options)
    lost_at, reason, advice = ("", "It is among the hits.", []) if rank else lost.where()
    return Explanation(
        chunk_id=stored.chunk.chunk_id, question=question, rank=rank, lost_at=lost_at, reason=reason, advice=tuple(advice),
        standings=tuple(lost.noted(one) for one in standings), shared_words=tuple(word for word in asked if word in held),
        missing_words=tuple(word for word in asked if word not in held),
    )  # fmt: skip


def _rank(ranking: Ranking, pk: str) -> int | None:
    return next((rank for rank, (key, _) in enumerate(ranking, start=1) if key == pk), None)


def _standing(step: str, ranking: Ranking, pk: str) -> Standing:
    rank = _rank(ranking, pk)
    return Standing(step=step, rank=rank, n=len(ranking), score=ranking[rank - 1][1] if rank else None)


class _Lost:
    """Finds the first step whose result lacks the passage, and says what that step would need."""

    def __init__(
        self, query: str, stored: StoredChunk, ranked: Ranked, parts: SearchParts, options: SearchOptions
    ) -> None:
        self._query, self._stored, self._ranked, self._parts, self._options = query, stored, ranked, parts, options
        self._deeper: dict[str, int | None] = {}  # retriever → rank when it is asked for more

    def noted(self, standing: Standing) -> Standing:
        """The standing with the rank that a retriever gives further down, where that was looked up."""
        deeper = self._deeper.get(standing.step)
        return replace(standing, note=f"rank {deeper} when asked for more") if deeper else standing

    def where(self) -> tuple[str, str, list[str]]:
        """(step, reason, advice)"""
        if refused := self._filtered():
            return refused
        recalled = {one.step: one.ranking for one in self._ranked.recalled}
        if all(_rank(ranking, self._stored.pk) is None for ranking in recalled.values()):
            return self._not_recalled()
        for name, ranking in self._ranked.lists.items():
            if name not in recalled and _rank(ranking, self._stored.pk) is None:
                return self._dropped(name)
        rank = _rank(self._ranked.final, self._stored.pk)
        assert rank is not None
        return (
            "top_k",
            f"It is at rank {rank}; {self._options.top_k} hits are shown.",
            [f"Ask for {rank} hits or more (-k {rank}).", *self._by_rank(rank)],
        )

    def _filtered(self) -> tuple[str, str, list[str]] | None:
        row = {
            "doc_id": self._stored.chunk.doc_id, "source": self._stored.source, "title": self._stored.title,
            "type": self._stored.type, "page": self._stored.chunk.page, "meta": self._stored.metadata,
        }  # fmt: skip
        given: Mapping[str, Expr | None] = {"filter": self._options.filter, "auto-filter": self._ranked.plan.filter}
        for name, condition in given.items():
            if condition is not None and not matches(condition, row):
                whose = "The filter" if name == "filter" else "The filter that was read from the question"
                return name, f"{whose} leaves its document out.", ["Search without the filter, or widen it."]
        return None

    def _not_recalled(self) -> tuple[str, str, list[str]]:
        """No retriever brought it: how far down is it in each?"""
        for one in self._ranked.recalled:
            name = one.name.split(":")[0]
            query = next(iter(self._ranked.plan.queries))
            ranking = self._parts.retrievers[name](query, FURTHEST, self._options.filter)
            live = self._parts.live([pk for pk, _ in ranking])
            self._deeper[one.step] = _rank([each for each in ranking if each[0] in live], self._stored.pk)
        found = {name: rank for name, rank in self._deeper.items() if rank}
        if found:
            name, rank = min(found.items(), key=lambda item: item[1])
            return (
                "recall",
                f"No retriever has it among its first {self._options.depth}; {name.removeprefix('recall:')} has it at rank {rank}.",
                [f"Let retrievers bring more candidates (search.depth={rank}).", *self._by_words()],
            )
        return (
            "recall",
            f"No retriever has it among its first {FURTHEST}: it shares no word with the question, or its meaning is far from it.",
            [*self._by_words(), "Let the chat model reword the question (--rewrite, --multi-query, --hyde)."],
        )

    def _by_words(self) -> list[str]:
        asked = set(words(self._ranked.plan.question))
        if asked and not asked & set(words(self._stored.chunk.indexed_text)):
            return [
                "Keyword search cannot find it: it holds none of the question's words. Use its own words, or --mode dense."
            ]
        return []

    def _by_rank(self, rank: int) -> list[str]:
        if self._parts.reranker is None:
            return ["A reranker reads the best candidates beside the question (rerank.model, --rerank)."]
        if rank > self._options.rerank_depth:
            return [
                f"The reranker reads {self._options.rerank_depth} candidates; let it read more (rerank.depth={rank})."
            ]
        return []

    def _dropped(self, step: str) -> tuple[str, str, list[str]]:
        before = self._before(step)
        if step == "rerank":
            return step, f"The reranker scored it below {self._options.rerank_threshold}.", ["Lower rerank.threshold."]
        if step == "collapse":
            return (
                step,
                f"It repeats a better passage (cosine of {self._options.collapse} or more).",
                ["Raise search.collapse, or set it to 1 to keep repetitions."],
            )
        if step == "mmr":
            other, cosine = self._most_alike()
            return (
                step,
                f"It is at rank {before} before diversification, and like {other} (cosine {cosine:.3f}), which was picked.",
                [f"Raise λ (--mmr, now {self._options.mmr}; 1 turns diversification off), or ask for more hits."],
            )
        return step, f"It is not in the result of {step}.", []

    def _before(self, step: str) -> int | None:
        names = list(self._ranked.lists)
        return _rank(self._ranked.lists[names[names.index(step) - 1]], self._stored.pk)

    def _most_alike(self) -> tuple[str, float]:
        """The picked passage that this one is most like."""
        rows = self._ranked.rows
        picked = [pk for pk, _ in self._ranked.final]
        vectors = self._parts.vectors([self._stored.vector_key, *(rows[pk].vector_key for pk in picked)])
        mine = vectors.get(self._stored.vector_key)
        if mine is None:
            return "another one", 0.0
        alike = {
            rows[pk].chunk_id: float(np.dot(vectors[rows[pk].vector_key], mine))
            for pk in picked
            if rows[pk].vector_key in vectors
        }
        return max(alike.items(), key=lambda item: item[1], default=("another one", 0.0))
