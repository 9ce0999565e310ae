"""On which page of its document a place lies: a chunk has the page that it begins on, and may go on over the next ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rag.types import Hit

Starts = Sequence[tuple[int, int]]
"""(offset in the document's text, page that begins there), in order"""


def page_at(starts: Starts, place: int) -> int | None:
    """The page of a place in the text; None before the first page."""
    at = bisect_right(starts, place, key=lambda start: start[0])
    return starts[at - 1][1] if at else None


def with_pages(hits: Sequence[Hit], read: Callable[[Sequence[str]], Mapping[str, Starts]]) -> tuple[Hit, ...]:
    """The hits with the page that each begins on, and with where it goes on to others.

    read: where the pages of these documents begin. It is asked once, and only for documents that have pages.
    """
    doc_ids = sorted({hit.doc_id for hit in hits if hit.page is not None})
    starts = read(doc_ids) if doc_ids else {}
    return tuple(paged(hit, starts[hit.doc_id]) if hit.doc_id in starts else hit for hit in hits)


def paged(hit: Hit, starts: Starts) -> Hit:
    """A hit with the page that it begins on, and with where it goes on to others."""
    further = tuple((start, page) for start, page in starts if hit.start < start < hit.end)
    return replace(hit, page=page_at(starts, hit.start) or hit.page, pages=further)
