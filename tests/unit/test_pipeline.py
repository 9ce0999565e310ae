"""The path of a question with made-up parts: several queries, reranking, and what stays when a part fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.catalog_rows import LiveRow, StoredChunk
from rag.errors import ModelError
from rag.filters import Compare, parse
from rag.pipeline import SearchOptions, SearchParts, search
from rag.trace import Trace
from rag.types import Chunk, Query
from rag.understanding import Understood

TEXTS = {f"{n:032x}": f"text {n}" for n in range(30)}
PKS = list(TEXTS)


def stored(pk: str) -> StoredChunk:
    chunk = Chunk(doc_id=pk[-2:], ordinal=0, start=0, end=9, text=TEXTS[pk])
    return StoredChunk(pk=pk, chunk=chunk, source=pk, title="", type="text", metadata={}, vector_key=pk)


class Reads:
    """A reranker that likes the texts it is told to, in that order."""

    name = "reads"

    def __init__(self, *liked: int, fails: bool = False) -> None:
        self.liked, self.fails, self.n_read = liked, fails, 0

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        if self.fails:
            raise ModelError("The reranker is gone.")
        self.n_read = len(passages)
        liked = [f"text {n}" for n in self.liked]
        return [float(10 - liked.index(text)) if text in liked else 0.0 for text in passages]


def parts(order: Mapping[str, Sequence[int]], asked: list[tuple[str, Any]] | None = None, **more: Any) -> SearchParts:
    """Retrievers that find these numbers, best first, per query text."""

    def retriever(query: Query, depth: int, where: Any) -> list[tuple[str, float]]:
        if asked is not None:
            asked.append((query.text, where))
        return [(PKS[n], 1.0 / rank) for rank, n in enumerate(order[query.text], start=1)][:depth]

    return SearchParts(
        retrievers={"dense": retriever},
        live=lambda pks: {pk: LiveRow(pk, "c", pk, pk[-2:], 0, 9) for pk in pks},
        load=lambda pks: {pk: stored(pk) for pk in pks},
        vectors=lambda keys: {key: np.ones(2, np.float32) for key in keys},
        **more,
    )


def found(hits: Any) -> list[int]:
    return [int(hit.text.split()[1]) for hit in hits]


def options(**more: Any) -> SearchOptions:
    return SearchOptions(**({"retrievers": {"dense": 1.0}, "top_k": 10, "depth": 30} | more))


def test_several_queries_are_fused_and_named_in_the_trace() -> None:
    plan = Understood(
        question="q",
        queries=(
            Query(text="q"),
            Query(text="a", kind="variant", weight=0.5),
            Query(text="b", kind="variant", weight=0.5),
        ),
        filter=Compare("type", "==", "pdf"),
        skipped=("rewrite: no model",),
    )
    asked: list[tuple[str, Any]] = []
    order = {"q": [1, 2, 3], "a": [4, 1], "b": [4, 5]}
    hits = search(
        "q",
        parts=parts(order, asked, understand=lambda question, trace: plan),
        options=options(filter=parse("page > 1")),
        trace=Trace(),
    )
    assert found(hits)[:2] == [1, 4]
    assert hits[0].parts.keys() == {"dense", "dense:variant-1"} and hits.warnings == ("Left out: rewrite: no model.",)
    assert [step.name for step in hits.trace][:3] == [
        "recall:dense",
        "recall:dense:variant-1",
        "recall:dense:variant-2",
    ]
    assert hits.trace[1].detail == {"query": "a"}
    assert all(len(where.parts) == 2 for _, where in asked)  # the caller's condition and the question's


def test_a_filter_read_from_the_question_that_leaves_nothing_is_left_out() -> None:
    read, given = Compare("year", "==", 1800), parse("page > 1")
    plan = Understood(question="q", queries=(Query(text="q"),), filter=read)
    asked: list[Any] = []

    def retriever(query: Query, depth: int, where: Any) -> list[tuple[str, float]]:
        asked.append(where)
        return [(PKS[1], 1.0)] if where == given else []

    some = parts({}, understand=lambda question, trace: plan)
    hits = search(
        "q", parts=replace(some, retrievers={"dense": retriever}), options=options(filter=given), trace=Trace()
    )
    assert found(hits) == [1] and len(asked) == 2
    assert hits.warnings == ("Left out: filter: no document meets year == 1800.",)


def test_the_reranker_decides_among_what_it_reads_and_the_rest_follows() -> None:
    reader = Reads(7, 5)
    hits = search(
        "q", parts=parts({"q": range(12)}, reranker=reader), options=options(rerank_depth=8, top_k=12), trace=Trace()
    )
    assert found(hits)[:2] == [7, 5] and found(hits)[8:] == [8, 9, 10, 11] and reader.n_read == 8
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_a_reranker_that_fails_leaves_the_order_alone() -> None:
    hits = search(
        "q", parts=parts({"q": range(5)}, reranker=Reads(fails=True)), options=options(rerank_depth=5), trace=Trace()
    )
    assert found(hits) == [0, 1, 2, 3, 4]
    (step,) = [step for step in hits.trace if step.name == "rerank"]
    assert step.detail["skipped"] == "The reranker is gone."


def test_the_threshold_drops_what_the_reranker_does_not_believe() -> None:
    hits = search(
        "q",
        parts=parts({"q": range(10)}, reranker=Reads(3, 2)),
        options=options(rerank_depth=5, rerank_threshold=0.5),
        trace=Trace(),
    )
    assert found(hits) == [3, 2]


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_passages_that_are_deleted_before_the_reranker_reads_them_are_left_out(threshold: float | None) -> None:
    gone = replace(parts({"q": range(10)}, reranker=Reads(3)), load=lambda _pks: {})
    wanted = options(rerank_depth=5, rerank_threshold=threshold)
    assert found(search("q", parts=gone, options=wanted, trace=Trace())) == []


STEPS: list[dict[str, Any]] = [
    {},
    {"rerank_depth": 12, "rerank_weight": 0.3, "rerank_dense": 0.2},
    {"rerank_depth": 12, "rerank_weight": 1.0},
    {"fusion": "rrf"},
    {"fusion": "minmax", "mmr": 0.5},
    {"boosts": ((parse("doc_id == '05'"), 3.0),), "collapse": 0.99},
    {"depths": {"bm25": 3}},
    {"depths": {"bm25": 3, "dense": 2}, "rerank_depth": 12},
]


@settings(deadline=None, max_examples=150)
@given(
    dense=st.permutations(range(28)), words=st.permutations(range(30)), n_words=st.integers(0, 30), dead=st.integers(0, 5),
    depth=st.sampled_from([4, 7, 30]), step=st.sampled_from(STEPS), shorter=st.integers(1, 20),
)  # fmt: skip
def test_asking_for_more_never_changes_the_first(
    dense: list[int], words: list[int], n_words: int, dead: int, depth: int, step: dict[str, Any], shorter: int
) -> None:
    made = parts({"q": dense}, reranker=Reads(3, 1, 4))
    only = parts({"q": words[:n_words]}).retrievers["dense"]
    live = {pk: LiveRow(pk, "c", pk, pk[-2:], 0, 9) for pk in PKS[dead:]}
    made = replace(
        made, retrievers={"dense": made.retrievers["dense"], "bm25": only},
        live=lambda pks: {pk: live[pk] for pk in pks if pk in live},
        vectors=lambda keys: {key: np.eye(30, dtype=np.float32)[int(key, 16)] for key in keys},
    )  # fmt: skip
    few, many = (
        search("q", parts=made, options=options(**{"retrievers": {"dense": 0.6, "bm25": 0.4}, "depth": depth} | step, top_k=n), trace=Trace())
        for n in (shorter, 28)
    )  # fmt: skip
    assert [hit.chunk_id for hit in few] == [hit.chunk_id for hit in many][: len(few)]
    assert len(few) == min(shorter, len(many))


@pytest.mark.parametrize("scores", [[1.0], [float("nan")] * 3, [1e300, 0.0, 1.0], [float("inf")] * 3])
def test_scores_that_are_none_leave_the_order(scores: list[float]) -> None:
    class Broken:
        name = "broken"

        def scores(self, question: str, passages: Sequence[str]) -> list[float]:
            return scores

    hits = search("q", parts=parts({"q": [2, 0, 1]}, reranker=Broken()), options=options(rerank_depth=3), trace=Trace())
    assert found(hits) == [2, 0, 1] and hits.warnings[0].startswith("Not reranked: The reranker gave ")


def test_between_equal_scores_the_first_ranking_decides() -> None:
    hits = search("q", parts=parts({"q": [2, 0, 1]}, reranker=Reads()), options=options(rerank_depth=3), trace=Trace())
    assert found(hits) == [2, 0, 1]


def test_what_mmr_does_not_look_at_follows() -> None:
    hits = search("q", parts=parts({"q": range(20)}), options=options(mmr=0.5, depth=5, top_k=12), trace=Trace())
    assert len(hits) == 12 and found(hits)[5:] == [5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_query_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="The query is empty"):
        search(text, parts=parts({}), options=options(), trace=Trace())


def test_late_interaction_joins_the_reranker_where_every_passage_has_its_tokens() -> None:
    asked: list[tuple[str, list[str]]] = []

    def tokens(question: str, keys: Sequence[str]) -> list[float]:
        asked.append((question, list(keys)))
        return [1.0 if key == PKS[5] else 0.0 for key in keys]

    weights = options(rerank_depth=8, rerank_weight=0.1, rerank_tokens=0.8)
    likes_none = parts({"q": range(12)}, reranker=Reads(), tokens=tokens)
    hits = search("q", parts=likes_none, options=weights, trace=Trace())
    assert found(hits)[0] == 5 and found(hits)[1:8] == [0, 1, 2, 3, 4, 6, 7]
    assert asked == [("q", PKS[:8])]
    for none in ({}, {"tokens": lambda question, keys: None}):
        made = parts({"q": range(12)}, reranker=Reads(), **none)
        assert found(search("q", parts=made, options=weights, trace=Trace())) == list(range(10))


@pytest.mark.parametrize("n_dead", [0, 3, 12, 27])
def test_one_retriever_is_asked_for_few_and_again_for_all_where_too_few_of_them_are_live(n_dead: int) -> None:
    """Rows of versions that are no more may come first; however many there are, the hits are those of a full search."""
    live = PKS[n_dead:]
    asked: list[int] = []

    def retriever(query: Query, depth: int, where: Any) -> list[tuple[str, float]]:
        asked.append(depth)
        return [(pk, 1.0 / rank) for rank, pk in enumerate(PKS, start=1)][:depth]

    made = SearchParts(
        retrievers={"dense": retriever},
        live=lambda pks: {pk: LiveRow(pk, "c", pk, pk[-2:], 0, 9) for pk in pks if pk in live},
        load=lambda pks: {pk: stored(pk) for pk in pks},
        vectors=lambda keys: {key: np.ones(2, np.float32) for key in keys},
    )
    trace = Trace()
    hits = search("q", parts=made, options=options(top_k=5, depth=100), trace=trace)
    assert [hit.source for hit in hits] == live[:5]
    assert asked == [10] if n_dead <= 5 else asked == [10, 100]
    assert [step.name for step in trace.steps] == ["recall:dense", "resolve", "load"]
