"""What a dense ranking is trusted: all, where its best hit stands out of the collection, little where chance would bring it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rag.background import CHANCE, CLEAR, FEWEST, LEAST, Background, clearness

DIM = 64


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


@pytest.fixture
def noise() -> np.ndarray:
    return unit(np.random.default_rng(1).normal(size=(2000, DIM)))


def test_the_best_of_noise_is_trusted_little_and_a_near_passage_wholly(noise: np.ndarray) -> None:
    background = Background(noise[:500], len(noise))
    questions = unit(np.random.default_rng(2).normal(size=(200, DIM)))
    by_chance = [background.trust(one, float((noise @ one).max())) for one in questions]
    assert LEAST < np.mean(by_chance) < 0.8
    near = unit(noise[:200] + 0.1 * np.random.default_rng(3).normal(size=(200, DIM)))
    assert all(background.trust(one, float((noise @ one).max())) == 1.0 for one in near)


@pytest.mark.parametrize(("out", "share"), [(0.0, LEAST), (CHANCE, LEAST), (0.95, 0.625), (CLEAR, 1.0), (3.0, 1.0)])
def test_between_chance_and_clear_the_share_rises_evenly(noise: np.ndarray, out: float, share: float) -> None:
    cosines = noise[:500] @ noise[-1]
    best = cosines.mean() + out * cosines.std() * math.sqrt(2 * math.log(2000))
    assert Background(noise[:500], 2000).trust(noise[-1], float(best)) == pytest.approx(share, abs=1e-3)


def test_of_few_or_equal_passages_nothing_is_said(noise: np.ndarray) -> None:
    assert Background(noise[: FEWEST - 1], FEWEST - 1).trust(noise[0], 0.0) == 1.0
    assert Background(np.repeat(noise[:1], 50, axis=0), 50).trust(noise[0], 1.0) == 1.0
    assert Background(np.zeros((0, DIM), np.float32), 5000).trust(noise[0], 1.0) == 1.0


def test_bm25_is_trusted_where_its_best_hit_stands_out() -> None:
    tail = np.sort(np.random.default_rng(4).exponential(size=(300, 5000)), axis=1)[:, ::-1][:, :100]
    usual = [clearness(10 + one) for one in tail]
    assert np.mean(usual) > 0.9, "what an exponential tail brings"
    alike = [*np.linspace(9.2, 9.0, 100)]
    assert clearness(alike) == pytest.approx(LEAST, abs=0.02)
    assert clearness([9.0] * 100) == LEAST
    assert clearness([20.0, *alike[1:]]) == 1.0
    assert clearness(alike[:20]) == 1.0, "of so few nothing is said"
