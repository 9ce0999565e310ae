"""Near duplicates: exact similarities on small texts, and nothing overlooked among many."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rag.duplicates import N_BINS, Pair, jaccard, near_duplicates, rows_per_band, shingles, signature
from rag.errors import UsageError


def found(texts: dict[str, str], threshold: float) -> list[tuple[Pair, ...]]:
    return near_duplicates(texts.items(), load=texts.__getitem__, threshold=threshold)


def words(rng: random.Random, n: int) -> list[str]:
    return [f"w{rng.randrange(5000)}" for _ in range(n)]


@pytest.mark.parametrize(
    ("left", "right", "similarity"),
    [
        ("a b c d e", "a b c d e", 1.0),
        ("a b c d e", "A, B; c — d\n\ne!", 1.0),  # neither case nor signs nor line breaks count
        ("a b c d e", "a b c d f", 2 / 4),  # abc bcd | cde | cdf
        ("茶叶产自中国", "茶叶产自日本", 2 / 6),  # 茶叶产 叶产自 | 产自中 自中国 | 产自日 自日本
        ("a b", "a b", 1.0),
        ("a b", "b a", 0.0),
        ("one two three four", "五六七八", 0.0),
    ],
)
def test_similarity_by_hand(left: str, right: str, similarity: float) -> None:
    assert jaccard(shingles(left), shingles(right)) == pytest.approx(similarity)


def test_a_signature_agrees_as_often_as_its_sets_do() -> None:
    rng = random.Random(4)
    text = words(rng, 900)
    changed = [word if rng.random() < 0.95 else "x" + word for word in text]
    left, right = shingles(" ".join(text)), shingles(" ".join(changed))
    agree = float(np.mean(signature(left) == signature(right)))
    assert agree == pytest.approx(jaccard(left, right), abs=4 * 0.5 / N_BINS**0.5)
    assert signature(shingles("one")).shape == (N_BINS,)  # one shingle fills every bin


def test_every_planted_pair_is_found_and_nothing_else() -> None:
    """120 texts of their own, 40 of them with one word changed: the groups are exactly what comparing all pairs gives."""
    rng = random.Random(7)
    texts = {f"d{at}": " ".join(words(rng, rng.randrange(40, 200))) for at in range(120)}
    for at in range(40):
        copy = texts[f"d{at}"].split()
        copy[rng.randrange(len(copy))] = "changed"
        texts[f"copy{at}"] = " ".join(copy)
    sets = {doc_id: shingles(text) for doc_id, text in texts.items()}
    ids = list(texts)
    wanted = {
        (a, b) for at, a in enumerate(ids) for b in ids[at + 1 :] if jaccard(sets[a], sets[b]) >= 0.85
    }  # fmt: skip
    groups = found(texts, 0.85)
    assert {(pair.doc_id, pair.other) for pairs in groups for pair in pairs} == wanted and len(wanted) >= 35
    for pairs in groups:
        for pair in pairs:
            assert pair.similarity == round(jaccard(sets[pair.doc_id], sets[pair.other]), 4)


def test_a_group_has_one_pair_fewer_than_documents() -> None:
    texts = {f"form{at}": f"the same form that everybody fills in by hand, number {at}" for at in range(300)}
    (pairs,) = found(texts, 0.6)
    assert len(pairs) == 299
    assert {doc_id for pair in pairs for doc_id in (pair.doc_id, pair.other)} == texts.keys()


def test_texts_without_words_are_left_out() -> None:
    assert found({"a": "", "b": " … ", "c": "tea"}, 0.9) == []
    assert found({}, 0.9) == []


@pytest.mark.parametrize("threshold", [0.0, 0.29, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        found({"a": "x"}, threshold)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_bands_overlook_a_pair_at_the_threshold_once_in_ten_thousand(threshold: float) -> None:
    rows = rows_per_band(threshold)
    assert (1 - threshold**rows) ** (N_BINS // rows) <= 1e-4
