"""Fusion: several rankings of one question become one. Pure functions, one per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Ranking = list[tuple[str, float]]
"""(id, score), sorted by (-score, id), no id twice; made by `ranking` and nowhere else."""


def ranking(scores: Mapping[str, float]) -> Ranking:
    """Sort scores into a ranking."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def rrf(rankings: Sequence[Ranking], *, k: int) -> Ranking:
    """Reciprocal rank fusion: score(d) = sum over rankings of 1 / (k + rank(d)), rank from 1.

    An id missing from a ranking adds nothing.
    Source: Cormack, Clarke and Buettcher, SIGIR 2009, doi:10.1145/1571941.1572114 (k = 60).
    """
    scores: dict[str, float] = {}
    for one in rankings:
        for rank, (key, _) in enumerate(one, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (k + rank)
    return ranking(scores)


def weighted(
    rankings: Sequence[Ranking],
    weights: Sequence[float],
    normalise: Callable[[Ranking], dict[str, float]],
    *,
    depth: int = 0,
) -> Ranking:
    """Weighted sum of normalised scores.

    A ranking that ended before `depth` holds all that its retriever finds: what it lacks has score 0 there, and counts
    so when scores are normalised. Else a word that stands in one document alone would weigh nothing, for a ranking of
    one has no spread. In a ranking that was cut off, an id that is missing gets the lowest value.
    """
    keys = {key for one in rankings for key, _ in one}
    parts = []
    for one in rankings:
        found = dict(one)
        rest = [(key, 0.0) for key in sorted(keys - found.keys())] if found and len(one) < depth else []
        parts.append(normalise([*one, *rest]))
    floors = [min(part.values(), default=0.0) for part in parts]
    scores = {
        key: sum(w * part.get(key, low) for w, part, low in zip(weights, parts, floors, strict=True)) for key in keys
    }
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


def fuse(rankings: Sequence[Ranking], weights: Sequence[float], *, method: str, rrf_k: int, depth: int = 0) -> Ranking:
    """Combine rankings by `method`: zscore, minmax or rrf (which takes no weights).

    depth: how many of each ranking decide; 0: all. Deeper ids follow after them, in the order that all of the rankings
    give, so that asking for more hits never changes the first ones.
    """

    normalise = zscore if method == "zscore" else minmax

    def combine(parts: Sequence[Ranking]) -> Ranking:
        return rrf(parts, k=rrf_k) if method == "rrf" else weighted(parts, weights, normalise, depth=depth)

    if not depth or all(len(one) <= depth for one in rankings):
        return combine(rankings)
    head = combine([one[:depth] for one in rankings])
    return followed_by(head, combine(rankings))


def followed_by(head: Ranking, more: Ranking) -> Ranking:
    """`head`, then what `more` holds beyond it in its order, with scores below those of the head."""
    chosen = {key for key, _ in head}
    tail = [(key, score) for key, score in more if key not in chosen]
    drop = (tail[0][1] - head[-1][1]) if tail and head else 0.0
    return head + [(key, score - max(drop, 0.0) - 1e-9) for key, score in tail]


def mmr(candidates: Ranking, vectors: Mapping[str, np.ndarray], *, trade_off: float, top_k: int) -> Ranking:
    """Maximal marginal relevance: pick d maximising λ·relevance(d) − (1 − λ)·max cosine to what is picked.

    Relevance is the score stretched to 0 … 1, so that it is comparable with cosines. λ = 1 keeps the order.
    candidates without a vector count as unlike everything. Scores of the result are the picking values.
    Source: Carbonell and Goldstein, SIGIR 1998, doi:10.1145/290941.291025.
    """
    relevance = minmax(candidates)
    left = [key for key, _ in candidates]
    closest = dict.fromkeys(left, 0.0)
    picked: Ranking = []
    while left and len(picked) < top_k:
        value = {key: trade_off * relevance[key] - (1 - trade_off) * closest[key] for key in left}
        best = min(left, key=lambda key: (-value[key], key))
        picked.append((best, value[best]))
        left.remove(best)
        if best in vectors:
            for key in left:
                if key in vectors:
                    closest[key] = max(closest[key], float(vectors[best] @ vectors[key]))
    return picked
