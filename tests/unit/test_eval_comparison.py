"""Comparisons: hand-worked p-values, calibration, seeds."""

from __future__ import annotations

import numpy as np
import pytest

from eval.comparison import bootstrap_means, compare, holm, intervals, sign_flip_p
from eval.metrics import Scores, score
from rag.errors import UsageError


def scores_of(values: np.ndarray, metric: str = "nDCG@10") -> Scores:  # type: ignore[type-arg]
    return Scores(
        query_ids=tuple(f"q{n}" for n in range(len(values))), values={metric: np.asarray(values, dtype=float)}
    )


def test_exact_sign_flips() -> None:
    table = np.array([[1.0, 1.0, 0.0], [2.0, -1.0, 0.0], [3.0, 1.0, 0.0]])
    # 8 sign patterns: only +++ and --- reach 6; a mean of 1/3 or more away is reached by all
    assert sign_flip_p(table, seed=0).tolist() == [2 / 8, 1.0, 1.0]


def test_sampled_sign_flips_agree_with_the_exact_ones() -> None:
    rng = np.random.default_rng(5)
    differences = rng.normal(0.3, 1, size=(13, 1))
    exact = sign_flip_p(differences, seed=0)[0]
    padded = np.vstack([differences, np.zeros((20, 1))])  # zeros change nothing but the number of questions
    assert sign_flip_p(padded, seed=0)[0] == pytest.approx(exact, abs=0.02)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_wins_ties_losses_and_difference() -> None:
    a, b = scores_of(np.array([1.0, 0.5, 0.0, 0.2])), scores_of(np.array([0.0, 0.5, 0.5, 0.1]))
    (pair,) = compare({"a": a, "b": b})
    assert (pair.wins, pair.ties, pair.losses) == (2, 1, 1)
    assert pair.difference == pytest.approx(0.15)
    assert pair.ci[0] < pair.difference < pair.ci[1]
    assert not pair.differs


def test_a_clear_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 0.8, 60)
    (pair,) = compare({"a": scores_of(base + 0.1), "b": scores_of(base)})
    assert pair.differs
    assert pair.p == pytest.approx(1 / 10_001)
    assert pair.ci == pytest.approx((0.1, 0.1))


def test_a_system_against_itself() -> None:
    values = scores_of(np.random.default_rng(2).random(40))
    (pair,) = compare({"a": values, "again": values})
    assert (pair.difference, pair.ci, pair.p, pair.ties) == (0.0, (0.0, 0.0), 1.0, 40)


@pytest.mark.slow
def test_aa_runs_show_no_difference_in_95_percent() -> None:
    """Two systems that differ by noise only: the 5 % test must be wrong in 5 %, and the interval miss 0 as often."""
    n_tested = n_held = 0
    for repetition in range(500):
        rng = np.random.default_rng(repetition)
        hardness = rng.beta(2, 1, 40)
        a, b = (np.clip(hardness + rng.normal(0, 0.15, 40), 0, 1) for _ in range(2))
        (pair,) = compare({"a": scores_of(a), "b": scores_of(b)}, seed=repetition)
        n_tested += not pair.differs
        n_held += pair.ci[0] <= 0 <= pair.ci[1]
    assert 0.93 <= n_tested / 500 <= 0.97
    assert 0.93 <= n_held / 500 <= 0.97


def test_many_equal_systems_are_not_told_apart() -> None:
    """Holm keeps the chance of one wrong verdict among all pairs at 5 %."""
    n_wrong = 0
    for repetition in range(60):
        rng = np.random.default_rng(repetition)
        systems = {f"s{n}": scores_of(rng.random(30)) for n in range(5)}
        n_wrong += any(pair.differs for pair in compare(systems, seed=repetition))
    assert n_wrong <= 8


def test_seeded_and_independent_of_the_other_systems() -> None:
    rng = np.random.default_rng(3)
    a, b, c = (scores_of(rng.random(50)) for _ in range(3))
    alone, again = compare({"a": a, "b": b}, seed=7), compare({"a": a, "b": b}, seed=7)
    assert alone == again
    with_c = compare({"a": a, "b": b, "c": c}, seed=7)[0]
    assert (with_c.ci, with_c.p) == (pytest.approx(alone[0].ci), alone[0].p)
    assert compare({"a": a, "b": b}, seed=8)[0].ci != alone[0].ci


def test_intervals_hold_the_mean_and_stay_within_0_and_1() -> None:
    run = {f"q{n}": [("good" if n % 3 else "bad", 1.0)] for n in range(12)}
    scores = score(run, {f"q{n}": {"good": 1} for n in range(12)}, ["P@1", "recall@5"])
    for name, (low, high) in intervals(scores).items():
        assert 0.0 <= low < scores.mean(name) < high <= 1.0


def test_one_question_and_none() -> None:
    one = scores_of(np.array([0.5]))
    assert intervals(one) == {"nDCG@10": (0.5, 0.5)}
    assert compare({"a": one, "b": scores_of(np.array([0.25]))})[0].p == 1.0
    assert compare({"a": one}) == ()
    assert bootstrap_means(np.zeros((0, 2)), seed=0, n_resamples=3).tolist() == [[0.0, 0.0]] * 3


def test_different_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="same questions"):
        compare({"a": scores_of(np.zeros(3)), "b": scores_of(np.zeros(4))})
