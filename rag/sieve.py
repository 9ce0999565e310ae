"""A retriever of which only those rows are taken that pass a test which the index cannot make: it is asked for more until enough do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rag.filters import Expr
from rag.pipeline import Retriever
from rag.settings import MOST_CANDIDATES
from rag.types import Query

Passing = Callable[[Sequence[str]], Collection[str]]
"""Which of these store keys pass."""


def sieved(retriever: Retriever, passing: Passing) -> Retriever:
    """The retriever's rows that pass, in its order."""

    def asked(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
        wanted = depth
        while True:
            found = list(retriever(query, wanted, where))
            good = passing([pk for pk, _ in found])
            kept = [one for one in found if one[0] in good]
            if len(kept) >= depth or len(found) < wanted or wanted >= MOST_CANDIDATES:
                return kept[:depth]
            wanted = min(4 * wanted, MOST_CANDIDATES)

    return asked
