"""Is one system better than another? Paired intervals and tests over the same questions, seeded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.metrics import Scores, parse_metrics
from rag.errors import UsageError

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
N_RESAMPLES = 5_000
N_FLIPS = 10_000
HEADLINE = ("nDCG@10", "recall@10", "recall@100", "MRR@10")

_EXACT_UP_TO = 13  # 2^13 sign patterns are fewer than N_FLIPS
_CELLS_PER_CHUNK = 4_000_000
_TIE = 1e-12  # two scores this close are the same score


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """System a against system b on one metric, over the questions both were asked.

    difference: mean of a minus mean of b; ci: its 95 % interval from a paired bootstrap.
    p: of the two-sided sign-flip test; p_holm: corrected for all pairs compared on this metric.
    wins, ties, losses: questions on which a scores more than, as much as, or less than b.
    """

    metric: str
    a: str
    b: str
    difference: float
    ci: tuple[float, float]
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance explains, at the 5 % level after correction."""
        return self.p_holm < 1 - CONFIDENCE

    def to_dict(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "metric": self.metric,
            "difference": round(self.difference, 9),
            "ci": [round(bound, 6) for bound in self.ci],
            "p": round(self.p, 6),
            "p_holm": round(self.p_holm, 6),
            "differs": self.differs,
            "wins": self.wins,
            "ties": self.ties,
            "losses": self.losses,
        }


def compare(
    systems: Mapping[str, Scores], *, metrics: Sequence[str] | None = None, seed: int = 0
) -> tuple[Comparison, ...]:
    """Every pair of systems on every metric; pairs in the order of `systems`.

    systems: name -> `eval.metrics.score(...)` of its run, all over the same questions.
    metrics: names; left out, those of nDCG@10, recall@10, recall@100 and MRR@10 that were worked out, else the first.
    The same seed gives the same figures, and a pair's interval and p do not depend on which others are compared.
    Raises: UsageError when the systems were not asked the same questions, or a metric was not worked out.
    """
    names = list(systems)
    if len(names) < 2:
        return ()
    _check_same_questions(systems)
    chosen = _chosen_metrics(systems, metrics)
    pairs = list(combinations(names, 2))
    differences = _difference_table(systems, pairs, chosen)
    means = bootstrap_means(differences, seed=seed)
    p_values = sign_flip_p(differences, seed=seed)
    result: list[Comparison] = []
    for m, metric in enumerate(chosen):
        columns = slice(m * len(pairs), (m + 1) * len(pairs))
        corrected = holm(p_values[columns])
        for at, (a, b) in enumerate(pairs):
            column = m * len(pairs) + at
            result.append(
                _comparison(metric, a, b, differences[:, column], means[:, column], p_values[column], corrected[at])
            )
    return tuple(result)


def intervals(scores: Scores, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap interval of each metric's mean over the questions."""
    if not scores.values:
        return {}
    means = bootstrap_means(np.column_stack(list(scores.values.values())), seed=seed)
    n = len(scores.query_ids)
    result = {}
    for column, name in enumerate(scores.values):
        low, high = _interval(means[:, column], scores.mean(name), n)
        result[name] = (max(0.0, low), min(1.0, high))  # every metric lies between
    return result


def bootstrap_means(values: Floats, *, seed: int, n_resamples: int = N_RESAMPLES) -> Floats:
    """Means of n_resamples samples of the rows, drawn with replacement; shape (n_resamples, columns).

    All columns share the draws, which is what makes differences of columns paired.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993; for retrieval Sakai, SIGIR 2006,
    doi:10.1145/1148170.1148261.
    """
    n_rows, n_columns = values.shape
    out = np.zeros((n_resamples, n_columns))
    if n_rows == 0:
        return out
    rng = np.random.default_rng([seed, 1])
    for start, stop in _chunks(n_resamples, n_rows):
        n = stop - start
        draws = rng.integers(n_rows, size=(n, n_rows)) + np.arange(n)[:, None] * n_rows
        counts = np.bincount(draws.ravel(), minlength=n * n_rows).reshape(n, n_rows)
        out[start:stop] = counts @ values / n_rows
    return out


def sign_flip_p(differences: Floats, *, seed: int, n_flips: int = N_FLIPS) -> Floats:
    """Two-sided p of each column: how often a mean this far from 0 arises when each row's sign is a coin's toss.

    differences: shape (questions, columns). Exact for up to 13 questions, else from n_flips seeded tosses.
    Source: Fisher's randomization test; for retrieval Smucker, Allan and Carterette, CIKM 2007,
    doi:10.1145/1321440.1321528.
    """
    n_rows = len(differences)
    if n_rows == 0:
        return np.ones(differences.shape[1])
    observed = np.abs(differences.sum(axis=0))
    # Sums in another order differ in their last bits; a toss that repeats the observed sum must count.
    threshold = observed - 1e-9 * np.maximum(np.abs(differences).sum(axis=0), _TIE)
    as_far = np.zeros(differences.shape[1])
    n_tossed = 0
    for signs in _signs(n_rows, n_flips, seed):
        as_far += (np.abs(signs @ differences) >= threshold).sum(axis=0)
        n_tossed += len(signs)
    if n_rows <= _EXACT_UP_TO:
        return as_far / n_tossed
    return (as_far + 1) / (n_tossed + 1)


def holm(p_values: Sequence[float] | Floats) -> list[float]:
    """Step-down corrected p-values, in the order given.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979, jstor.org/stable/4615733.
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, float(p_values[at]) * (len(p_values) - place)))
        corrected[at] = largest
    return corrected


def _chosen_metrics(systems: Mapping[str, Scores], metrics: Sequence[str] | None) -> list[str]:
    known = next(iter(systems.values())).values
    if metrics is not None:
        return [name if name in known else parse_metrics([name])[0].name for name in metrics]
    return [name for name in HEADLINE if name in known] or list(known)[:1]


def _check_same_questions(systems: Mapping[str, Scores]) -> None:
    (first_name, first), *others = systems.items()
    for name, scores in others:
        if scores.query_ids != first.query_ids:
            raise UsageError(
                f"{first_name} and {name} were not scored over the same questions ({len(first.query_ids)} and "
                f"{len(scores.query_ids)}). Score both runs with the same qrels."
            )


def _difference_table(
    systems: Mapping[str, Scores], pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> Floats:
    columns = [systems[a].array(metric) - systems[b].array(metric) for metric in metrics for a, b in pairs]
    table = np.column_stack(columns)
    table[np.abs(table) < _TIE] = 0.0
    return table


def _comparison(metric: str, a: str, b: str, difference: Floats, means: Floats, p: float, p_holm: float) -> Comparison:
    mean = float(difference.mean()) if len(difference) else 0.0
    return Comparison(
        metric=metric,
        a=a,
        b=b,
        difference=mean,
        ci=_interval(means, mean, len(difference)),
        p=float(p),
        p_holm=p_holm,
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        losses=int((difference < 0).sum()),
    )


def _interval(means: Floats, mean: float, n: int) -> tuple[float, float]:
    """Percentile interval, widened for few questions, where the plain one covers too little.

    Source: Hesterberg, The American Statistician 69, 2015, doi:10.1080/00031305.2015.1089789 (expanded percentiles).
    """
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    wider = math.sqrt(n / (n - 1)) * _t_over_normal(n - 1) if n > 1 else 1.0
    return mean + (float(low) - mean) * wider, mean + (float(high) - mean) * wider


def _t_over_normal(freedom: int) -> float:
    """97.5 % point of Student's t over that of the normal distribution (Cornish and Fisher's series)."""
    z = 1.959963984540054
    series = (
        (z**2 + 1) / 4,
        (5 * z**4 + 16 * z**2 + 3) / 96,
        (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / 384,
    )
    return 1.0 + sum(term / float(freedom**power) for power, term in enumerate(series, start=1))


def _chunks(n: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _CELLS_PER_CHUNK // width)
    for start in range(0, n, step):
        yield start, min(n, start + step)


def _signs(n_rows: int, n_flips: int, seed: int) -> Iterator[Floats]:
    """Rows of +1 and -1: all patterns when they are few, else random ones."""
    if n_rows <= _EXACT_UP_TO:
        patterns = np.arange(2**n_rows)[:, None] >> np.arange(n_rows) & 1
        yield np.where(patterns == 1, 1.0, -1.0)
        return
    rng = np.random.default_rng([seed, 2])
    for start, stop in _chunks(n_flips, n_rows):
        bits = np.unpackbits(rng.integers(256, size=(stop - start, (n_rows + 7) // 8), dtype=np.uint8), axis=1)
        yield np.where(bits[:, :n_rows] == 1, 1.0, -1.0)
