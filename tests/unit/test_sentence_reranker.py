"""The reranker that needs no model: the best sentence of each passage, in both languages, and how it is mixed in."""

from __future__ import annotations

import math

import pytest

from rag.fusion import ranking
from rag.pipeline import Recalled, SearchOptions, SearchParts, rerank
from rag.reranking import SentenceReranker
from rag.search_options import search_options
from rag.settings import RerankSettings, SearchSettings
from rag.trace import Trace


def test_one_sentence_with_all_words_beats_words_that_are_scattered() -> None:
    together = "The harbour was built in 1850. Trade grew."
    scattered = "The harbour is old. It was rebuilt. In 1850 trade grew."
    one, other, none = SentenceReranker().scores(
        "When was the harbour built in 1850?", [together, scattered, "Bread is baked."]
    )
    assert one > other > none == 0.0


def test_in_chinese() -> None:
    one, other = SentenceReranker().scores(
        "绿茶用多少度的水冲泡？", ["绿茶用八十度的水冲泡。", "绿茶产于中国。水很重要。"]
    )
    assert one > other > 0


def test_a_score_by_hand() -> None:
    (one, other) = SentenceReranker().scores("harbour bread", ["Harbour. Bread.", "The harbour."])
    harbour, bread = math.log(1 + 0.5 / 2.5), math.log(1 + 1.5 / 1.5)
    assert one == pytest.approx(bread / (harbour + bread)) and other == pytest.approx(harbour / (harbour + bread))


def test_nothing_to_read() -> None:
    reranker = SentenceReranker()
    assert reranker.scores("tea", []) == [] and reranker.scores("?", ["", "Tea."]) == [0.0, 0.0]


def options(**values: object) -> SearchOptions:
    return search_options(SearchSettings(), RerankSettings(**values), mode="hybrid", top_k=None, filter=None, mmr=None, explain=False)  # type: ignore[arg-type]  # fmt: skip


def test_weights_are_the_rerankers_own_unless_they_are_set() -> None:
    assert (options().rerank_weight, options().rerank_dense, options().rerank_tokens) == (0.1, 0.1, 0.4)
    assert (options(model="./cross-encoder").rerank_weight, options(model="./cross-encoder").rerank_dense) == (1.0, 0.0)
    assert (options(weight=0.95).rerank_weight, round(options(weight=0.95).rerank_dense, 9)) == (0.95, 0.05)
    assert (options(model="m", weight=0.5).rerank_weight, options(model="m").rerank_tokens) == (0.5, 0.0)
    assert options(weight=0.95).rerank_tokens == 0.0 and round(options(weight=0.7).rerank_tokens, 9) == 0.2


def test_dense_scores_count_once_more_where_there_are_some() -> None:
    class Same:
        name = "same"

        def scores(self, question: str, passages: object) -> list[float]:
            return [1.0, 1.0]

    class Stored:
        class chunk:
            indexed_text = ""

        vector_key = "v"

    parts = SearchParts(retrievers={}, live=lambda _: {}, load=lambda pks: dict.fromkeys(pks, Stored), vectors=lambda _: {}, reranker=Same())  # type: ignore[arg-type,misc]  # fmt: skip
    fused = ranking({"a": 1.0, "b": 0.0})
    mixing = options(weight=0.2)
    for name, first in (("dense", "b"), ("bm25", "a")):
        found = [Recalled(name=name, weight=1.0, found=ranking({"b": 1.0, "a": 0.0}), depth=9)]
        half = SearchOptions(retrievers={}, top_k=2, depth=9, rerank_depth=2, rerank_weight=0.0, rerank_dense=0.6)
        assert rerank("q", fused, found, parts, half, Trace())[0][0] == first
    assert rerank("q", fused, found, parts, mixing, Trace())[0][0] == "a"
