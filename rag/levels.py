"""Which levels of summary trees a search looks at: all (a collapsed tree), the documents' own text, or summaries alone.

Source: Sarthi et al., ICLR 2024, arXiv:2401.18059 (collapsed tree).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.pipeline import Live, Retriever
from rag.sieve import sieved


def searched(retrievers: Mapping[str, Retriever], summaries: str, live: Live) -> Mapping[str, Retriever]:
    """The retrievers as they are for "all"; for "none" and "only" they find the one kind of chunks alone."""
    if summaries == "all":
        return retrievers

    def of_the_kind(pks: Sequence[str]) -> set[str]:
        return {pk for pk, row in live(pks).items() if (row.level > 0) is (summaries == "only")}

    return {name: sieved(one, of_the_kind) for name, one in retrievers.items()}
