"""How far the best hit stands out: of a dense search from passages that have nothing to do with the question, of BM25 from the rest.

Among n cosines of mere noise the best lies about sqrt(2 ln n) standard deviations over their mean (extreme values of the normal
distribution: Leadbetter, Lindgren and Rootzén 1983). A best hit that lies no further is what chance would have brought; where
all documents are alike, as the pages of one institution, that is usual, and BM25 then knows better.

The best n scores of BM25 usually fall off as an exponential tail does: the best of n lies ln n + 0.58 over where the tail begins,
their mean 1, in units of their spread. Where the best stands out less, many passages hold the question's words equally well,
and dense search then knows better. What both are worth was measured here (docs/ablation.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = 500  # passages
FEWEST = 40  # chunks of a collection of which this can be said
CHANCE, CLEAR = 0.8, 1.1  # of what chance brings: as good as noise, and clearly more
FLAT, PEAKED = 0.6, 0.84  # of what an exponential tail brings
FEWEST_SCORES = 20
LEAST = 0.25  # share of its weight that a search keeps that knows nothing


class Background:
    """The vectors of some passages of a collection.

    vectors: unit vectors, float32 of shape (m, dim). n_chunks: of the collection.
    """

    def __init__(self, vectors: NDArray[np.float32], n_chunks: int) -> None:
        self._vectors, self._n_chunks = vectors, n_chunks

    def trust(self, vector: Any, best: float) -> float:
        """Share of its weight that a dense ranking gets, from LEAST to 1. best: cosine of its first hit."""
        if self._n_chunks < FEWEST or len(self._vectors) < FEWEST:
            return 1.0
        cosines = self._vectors @ np.asarray(vector, np.float32)
        spread = float(cosines.std())
        if spread < 1e-9:
            return 1.0
        out = (best - float(cosines.mean())) / spread / math.sqrt(2 * math.log(self._n_chunks))
        return _share(out, CHANCE, CLEAR)


def clearness(scores: Sequence[float]) -> float:
    """Share of its weight that a BM25 ranking gets, from LEAST to 1: by how far its best score stands out of the others.

    scores: falling, of a ranking that was cut off; one that ended is of rare words. Of FEWEST_SCORES and less this cannot be said.
    """
    if len(scores) <= FEWEST_SCORES:
        return 1.0
    spread = float(np.std(scores))
    if spread < 1e-9:
        return LEAST
    out = (scores[0] - float(np.mean(scores))) / spread
    return _share(out / (math.log(len(scores)) + np.euler_gamma - 1), FLAT, PEAKED)


def _share(out: float, least: float, most: float) -> float:
    return float(min(max(LEAST + (1 - LEAST) * (out - least) / (most - least), LEAST), 1.0))
