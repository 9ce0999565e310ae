"""Fusion: several rankings of one question become one. Pure functions, one per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rag.errors import ModelError

MOST_SCORE = 1e9  # of a reranker: beyond it the model has gone wrong

Ranking = list[tuple[str, float]]
"""(id, score), sorted by (-score, id), no id twice; made by `ranking` and nowhere else."""


def ranking(scores: Mapping[str, float]) -> Ranking:
    """Sort scores into a ranking."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def checked_scores(scores: Sequence[float], n: int) -> list[float]:
    """The scores of n passages. Raises: ModelError where they are not n, or are no numbers to sort by."""
    found = [float(score) for score in scores]
    if len(found) != n:
        raise ModelError(f"The reranker gave {len(found)} scores for {n} passages.")
    if not all(abs(score) <= MOST_SCORE for score in found):  # NaN is not, either
        raise ModelError(
            "The reranker gave scores that are no numbers to sort by. Another model or precision may help."
        )
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """A ranking that is joined with others. ended: it holds all that its retriever finds, and was not cut off."""

    ranking: Ranking
    weight: float = 1.0
    ended: bool = False


def rrf(parts: Sequence[Part], *, k: int) -> Ranking:
    """Reciprocal rank fusion: score(d) = sum over rankings of w / (k + rank(d)), rank from 1; weights are 1 on the mean.

    An id missing from a ranking adds nothing.
    Source: Cormack, Clarke and Buettcher, SIGIR 2009, doi:10.1145/1571941.1572114 (k = 60, equal weights).
    """
    whole = sum(part.weight for part in parts) / max(len(parts), 1) or 1.0
    scores: dict[str, float] = {}
    for part in parts:
        for rank, (key, _) in enumerate(part.ranking, start=1):
            scores[key] = scores.get(key, 0.0) + part.weight / whole / (k + rank)
    return ranking(scores)


def weighted(parts: Sequence[Part], normalise: Callable[[Ranking], dict[str, float]]) -> Ranking:
    """Weighted sum of normalised scores.

    What a ranking lacks that ended has score 0 there, and counts so when scores are normalised. Else a word that stands in one
    document alone would weigh nothing, for a ranking of one has no spread. In a ranking that was cut off, an id that is
    missing gets the lowest value.
    """
    keys = {key for part in parts for key, _ in part.ranking}
    scores = dict.fromkeys(keys, 0.0)
    for part in parts:
        there = {key for key, _ in part.ranking}
        rest = [(key, 0.0) for key in sorted(keys - there)] if there and part.ended else []
        values = normalise([*part.ranking, *rest])
        floor = min(values.values(), default=0.0)
        for key in keys:
            scores[key] += part.weight * values.get(key, floor)
    return ranking(scores)


def zscore(one: Ranking) -> dict[str, float]:
    """Distance from the mean in standard deviations; all 0 when the scores are equal."""
    values = np.array([score for _, score in one])
    spread = float(values.std()) if len(values) else 0.0
    if spread < 1e-12:
        return {key: 0.0 for key, _ in one}
    mean = float(values.mean())
    return {key: (score - mean) / spread for key, score in one}


def minmax(one: Ranking) -> dict[str, float]:
    """Scores stretched to 0 … 1; all 1 when they are equal."""
    values = [score for _, score in one]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high - low < 1e-12:
        return {key: 1.0 for key, _ in one}
    return {key: (score - low) / (high - low) for key, score in one}


def fuse(parts: Sequence[Part], *, method: str, rrf_k: int) -> Ranking:
    """Combine rankings by `method`: zscore, minmax or rrf. Raises: KeyError for another."""
    if method == "rrf":
        return rrf(parts, k=rrf_k)
    return weighted(parts, {"zscore": zscore, "minmax": minmax}[method])


def followed_by(head: Ranking, more: Ranking) -> Ranking:
    """`head`, then what `more` holds beyond it in its order, with scores below those of the head."""
    if not head:
        return more
    chosen = {key for key, _ in head}
    tail = [(key, score) for key, score in more if key not in chosen]
    drop = (tail[0][1] - head[-1][1]) if tail else 0.0
    return head + [(key, score - max(drop, 0.0) - 1e-9) for key, score in tail]


def mmr(candidates: Ranking, vectors: Mapping[str, np.ndarray], *, trade_off: float, top_k: int) -> Ranking:
    """Maximal marginal relevance: pick d maximising λ·relevance(d) − (1 − λ)·max cosine to what is picked.

    Relevance is the score stretched to 0 … 1, so that it is comparable with cosines. λ = 1 keeps the order.
    candidates without a vector count as unlike everything; of equal values the first goes first. Scores of the result are the
    picking values.
    Source: Carbonell and Goldstein, SIGIR 1998, doi:10.1145/290941.291025.
    """
    relevance = minmax(candidates)
    left = [key for key, _ in candidates]
    closest = dict.fromkeys(left, 0.0)
    picked: Ranking = []
    while left and len(picked) < top_k:
        value = {key: trade_off * relevance[key] - (1 - trade_off) * closest[key] for key in left}
        best = max(left, key=value.__getitem__)
        picked.append((best, value[best]))
        left.remove(best)
        if best in vectors:
            for key in left:
                if key in vectors:
                    closest[key] = max(closest[key], float(vectors[best] @ vectors[key]))
    return picked
