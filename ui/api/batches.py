"""Embedding and reranking for many clients in shared calls: what comes while one runs goes together into the next.

Nobody waits for company. A model computes a batch faster than its texts one by one, on a GPU many times, so the busier a
server is, the larger its batches are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from rag.together import Together
from rag.types import Embedder

Pair = tuple[str, str]  # question and passage


class PairReranker(Protocol):
    """Scores pairs of any questions and passages; higher is better. Raises ModelError."""

    name: str

    def pair_scores(self, pairs: Sequence[Pair]) -> Sequence[float]: ...


class Batches:
    """The models of a server behind one door each. Threads share it. Either model may be absent, and is not asked then."""

    def __init__(self, embedder: Embedder | None, reranker: PairReranker | None) -> None:
        self._embedder, self._reranker = embedder, reranker
        self._texts, self._pairs = Together(), Together()

    def embed(self, texts: Sequence[str], *, is_query: bool) -> Sequence[Any]:
        """A vector for each text. Raises: ModelError."""
        assert self._embedder is not None
        embed = self._embedder.embed_queries if is_query else self._embedder.embed_passages
        vectors: Sequence[Any] = self._texts.ask(is_query, texts, lambda asked: _shared(asked, embed))
        return vectors

    def scores(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """A score for each passage. Raises: ModelError."""
        assert self._reranker is not None
        score = self._reranker.pair_scores
        pairs = [(question, passage) for passage in passages]
        scores: Sequence[float] = self._pairs.ask("", pairs, lambda asked: _shared(asked, score))
        return scores


def _shared(asked: Sequence[Sequence[Any]], call: Any) -> list[Any]:
    """Each client's part of one call over the items of all of them."""
    found = call(list(chain.from_iterable(asked)))
    ends = [0]
    for items in asked:
        ends.append(ends[-1] + len(items))
    return [found[start:end] for start, end in zip(ends, ends[1:], strict=False)]
