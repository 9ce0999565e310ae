"""BM25 in memory over a few texts: the home of rank-bm25, for collections that are thrown away and sentences inside hits."""

from __future__ import annotations

from collections.abc import Sequence


class Okapi:
    """BM25 over texts given as words. A text without words scores 0, and so does everything when there are no texts.

    Source: Robertson and Zaragoza, 2009, doi:10.1561/1500000019 (k1 1.5, b 0.75, rank-bm25's defaults).
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        from rank_bm25 import BM25Plus

        self._n = len(texts)
        # BM25Plus: the plain form gives a word that half of a handful of texts hold no weight or a negative one.
        self._index = BM25Plus([list(text) for text in texts]) if any(texts) else None
        self._words = [frozenset(text) for text in texts]

    def scores(self, query: Sequence[str]) -> list[float]:
        """One score per text, 0 for those that share no word with the query."""
        asked = frozenset(query) & (self._index.idf.keys() if self._index else frozenset())
        if self._index is None or not asked:
            return [0.0] * self._n
        found = self._index.get_scores(sorted(asked))
        return [float(score) if asked & text else 0.0 for score, text in zip(found, self._words, strict=True)]
