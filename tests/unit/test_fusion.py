"""Fusion and MMR: hand-worked numbers and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.fusion import Part, Ranking, fuse, minmax, mmr, ranking, rrf, zscore

A = [("x", 3.0), ("y", 2.0), ("z", 1.0)]
B = [("y", 10.0), ("w", 5.0)]


def joined(*rankings: Ranking, method: str = "zscore", depth: int = 0) -> Ranking:
    """depth: of which each ranking was asked; shorter ones have ended."""
    return fuse([Part(one, ended=len(one) < depth) for one in rankings], method=method, rrf_k=60)


def test_rrf_by_hand() -> None:
    fused = dict(rrf([Part(A), Part(B)], k=60))
    assert fused["y"] == pytest.approx(1 / 62 + 1 / 61)
    assert fused["x"] == pytest.approx(1 / 61)
    assert [key for key, _ in rrf([Part(A), Part(B)], k=60)] == ["y", "x", "w", "z"]


def test_weights_count_in_rrf_and_equal_ones_change_nothing() -> None:
    plain = rrf([Part(A), Part(B)], k=60)
    assert dict(rrf([Part(A, 0.5), Part(B, 0.5)], k=60)) == pytest.approx(dict(plain))
    assert [key for key, _ in rrf([Part(A, 1.0), Part(B, 0.0)], k=60)] == ["x", "y", "z", "w"]
    assert [key for key, _ in rrf([Part(A, 0.1), Part(B, 0.9)], k=60)] == ["y", "w", "x", "z"]


def test_zscore_by_hand() -> None:
    scores = zscore(A)
    assert scores["x"] == pytest.approx(1.224744871)
    assert scores["y"] == pytest.approx(0.0)


def test_minmax_by_hand() -> None:
    assert minmax(A) == {"x": 1.0, "y": 0.5, "z": 0.0}


def test_a_missing_id_gets_the_lowest_value() -> None:
    fused = dict(fuse([Part(A, 0.5), Part(B, 0.5)], method="minmax", rrf_k=60))
    assert fused == {"x": 0.5, "y": 0.75, "z": 0.0, "w": 0.0}


def test_equal_scores_do_not_divide_by_zero() -> None:
    assert zscore([("a", 2.0), ("b", 2.0)]) == {"a": 0.0, "b": 0.0}
    assert minmax([("a", 2.0), ("b", 2.0)]) == {"a": 1.0, "b": 1.0}
    assert zscore([]) == {} and minmax([]) == {}


_rankings = st.lists(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.floats(-100, 100)), min_size=1, max_size=3
)


@given(_rankings, st.sampled_from(["rrf", "zscore", "minmax"]))
def test_fusion_keeps_the_set_and_the_order_rule(scores: list[dict[str, float]], method: str) -> None:
    rankings = [ranking(one) for one in scores]
    fused = joined(*rankings, method=method)
    assert {key for key, _ in fused} == {key for one in scores for key in one}
    assert fused == sorted(fused, key=lambda item: (-item[1], item[0]))
    assert all(np.isfinite(score) for _, score in fused)


@given(_rankings)
def test_fusion_does_not_depend_on_the_order_of_retrievers(scores: list[dict[str, float]]) -> None:
    rankings = [ranking(one) for one in scores]
    forward, backward = joined(*rankings), joined(*rankings[::-1])
    assert dict(forward) == pytest.approx(dict(backward))


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def test_mmr_prefers_what_is_new() -> None:
    candidates = [("a", 1.0), ("twin", 0.99), ("other", 0.5), ("last", 0.0)]
    vectors = {"a": _unit(0), "twin": _unit(0.01), "other": _unit(1.5), "last": _unit(3.0)}
    assert [key for key, _ in mmr(candidates, vectors, trade_off=0.5, top_k=3)] == ["a", "other", "twin"]
    assert [key for key, _ in mmr(candidates, vectors, trade_off=1.0, top_k=4)] == ["a", "twin", "other", "last"]


def test_mmr_without_vectors_keeps_the_order() -> None:
    candidates = [("a", 1.0), ("b", 0.5), ("c", 0.0)]
    assert [key for key, _ in mmr(candidates, {}, trade_off=0.3, top_k=2)] == ["a", "b"]


def test_of_equal_values_mmr_takes_the_first() -> None:
    candidates = [("z", 1.0), ("a", 0.9), ("m", 0.0)]
    assert [key for key, _ in mmr(candidates, {}, trade_off=0.0, top_k=3)] == ["z", "a", "m"]


def test_a_word_that_one_document_alone_holds_counts() -> None:
    dense = [(f"d{i}", 0.9 - i / 1000) for i in range(20)]
    only = [("d15", 7.0)]  # BM25 found one document: the others are known to score 0
    first = joined(dense, only, depth=100)[0]
    assert first[0] == "d15"
    cut = joined(dense, only, depth=1)
    assert cut[0][0] == "d0", "a ranking that was cut off says nothing about what it lacks"


def test_a_ranking_of_nothing_changes_nothing() -> None:
    dense = [("a", 0.9), ("b", 0.8), ("c", 0.1)]
    assert [key for key, _ in joined(dense, [], depth=100)] == ["a", "b", "c"]
