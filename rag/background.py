"""How far a dense search's best hit stands out of passages that have nothing to do with the question.

Among n cosines of mere noise the best lies about sqrt(2 ln n) standard deviations over their mean (extreme values of the normal
distribution: Leadbetter, Lindgren and Rootzén 1983). A best hit that lies no further is what chance would have brought; where
all documents are alike, as the pages of one institution, that is usual, and BM25 then knows better. What that is worth was
measured here (docs/ablation.md).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = 500  # passages
FEWEST = 40  # chunks of a collection of which this can be said
CHANCE, CLEAR = 0.8, 1.1  # of what chance brings: as good as noise, and clearly more
LEAST = 0.25  # share of its weight that dense search keeps when it finds what chance would


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
        return min(max(LEAST + (1 - LEAST) * (out - CHANCE) / (CLEAR - CHANCE), LEAST), 1.0)
