"""Which levels of summary trees a search looks at: all (a collapsed tree), the documents' own text, or summaries alone.

Source: Sarthi et al., ICLR 2024, arXiv:2401.18059 (collapsed tree).
"""

from __future__ import annotations

from collections.abc import Mapping

from rag.filters import Expr
from rag.pipeline import Live, Retriever
from rag.settings import MOST_CANDIDATES
from rag.types import Query


def searched(retrievers: Mapping[str, Retriever], summaries: str, live: Live) -> Mapping[str, Retriever]:
    """The retrievers as they are for "all"; for "none" and "only" they find the one kind of chunks alone."""
    if summaries == "all":
        return retrievers
    return {name: _only(one, summaries == "only", live) for name, one in retrievers.items()}


def _only(retriever: Retriever, summaries: bool, live: Live) -> Retriever:
    def asked(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
        """The index does not know levels, so it is asked for more until enough of the kind are among them."""
        wanted = depth
        while True:
            found = list(retriever(query, wanted, where))
            rows = live([pk for pk, _ in found])
            kept = [(pk, score) for pk, score in found if pk in rows and (rows[pk].level > 0) is summaries]
            if len(kept) >= depth or len(found) < wanted or wanted >= MOST_CANDIDATES:
                return kept[:depth]
            wanted = min(4 * wanted, MOST_CANDIDATES)

    return asked
