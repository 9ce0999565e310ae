"""Late interaction: signs and their likeness to a question, against the formula written out, and which tokens are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rag.late_interaction import NEAR, Meaningful, centred, maxsim, signs, with_tokens

DIM = 16
MEAN = np.full(DIM, 0.5, np.float32)


def tokens(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 1, (n, DIM)).astype(np.float32)


def by_hand(question: np.ndarray, passages: list[np.ndarray]) -> list[float]:
    best = [
        [
            max((float(asked @ np.sign(one - MEAN)) / math.sqrt(DIM) for one in passage), default=0.0)
            for asked in question
        ]
        for passage in passages
    ]
    weights = []
    for at in range(len(question)):
        top = max([1e-6, *(row[at] for row in best)])
        n_with = sum(row[at] >= NEAR * top for row in best)
        weights.append(math.log(1 + (len(passages) - n_with + 0.5) / (n_with + 0.5)))
    return [sum(w * s for w, s in zip(weights, row, strict=True)) / sum(weights) for row in best]


def test_the_formula() -> None:
    question = centred(tokens(5, 0), MEAN)
    passages = [tokens(n, n) for n in (3, 1, 7, 4)]
    found = maxsim(question, [signs(one, MEAN) for one in passages])
    assert found == pytest.approx(by_hand(question, passages), abs=1e-5)


def test_the_passage_that_holds_the_questions_tokens_comes_first() -> None:
    asked = tokens(4, 0)
    passages = [tokens(30, 1), np.concatenate([tokens(26, 2), asked]), tokens(30, 3)]
    found = maxsim(centred(asked, MEAN), [signs(one, MEAN) for one in passages])
    assert max(range(3), key=found.__getitem__) == 1 and found[1] > 0.6


def test_what_every_passage_holds_decides_nothing() -> None:
    common, rare = tokens(1, 5), tokens(1, 6)
    both = signs(np.concatenate([common, rare]), MEAN)
    alone = signs(common, MEAN)
    question = centred(np.concatenate([common, rare]), MEAN)
    found = maxsim(question, [both, *[alone] * 9])
    assert found[0] > 1.5 * found[1], "one of ten holds the rare token, so it weighs nearly all"


def test_a_passage_without_tokens_and_a_question_without_any() -> None:
    question = centred(tokens(3, 0), MEAN)
    held, empty = maxsim(question, [signs(tokens(2, 1), MEAN), b""])
    assert held > empty == 0.0
    assert maxsim(question, []) == [] and maxsim(question, [b"", b""]) == [0.0, 0.0]
    assert maxsim(question[:0], [signs(tokens(2, 1), MEAN)]) == [0.0]


def test_signs_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="16 components"):
        maxsim(centred(tokens(1, 0), MEAN), [b"123"])


def test_signs_take_a_bit_for_each_component() -> None:
    assert len(signs(tokens(10, 0), MEAN)) == 10 * DIM // 8
    assert signs(np.array([[1, 0, 0, 1, 0, 0, 0, 1]], np.float32), np.zeros(8, np.float32)) == bytes([0b10010001])


def test_which_tokens_are_kept() -> None:
    vocabulary = {
        "[CLS]": 0,
        "tea": 1,
        "the": 2,
        "##s": 3,
        ".": 4,
        "\u2581The": 5,
        "\u2581绿茶": 6,
        "\u2581": 7,
        "1850": 8,
    }
    kept = Meaningful.of(vocabulary, special=[0])
    assert kept.among([0, 2, 1, 3, 4, 5, 6, 7, 8, 0], skip=0).tolist() == [2, 3, 6, 8]
    assert kept.among([0, 1, 2, 1, 0], skip=2).tolist() == [3], "the prefix's tokens are not the passage's"


def test_an_embedder_without_tokens_is_none_with() -> None:
    class Plain:
        name = "plain"

    assert with_tokens(Plain()) is None  # type: ignore[arg-type]
