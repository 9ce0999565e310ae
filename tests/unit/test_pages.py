"""Pages: a hit begins on one and may go on over others; each quote from it has its own."""

from __future__ import annotations

import pytest

from rag.answering import extractive_answer
from rag.citations import Passage, cite
from rag.conflicts import conflicts
from rag.pages import page_at, with_pages
from rag.types import Hit

FIRST, SECOND, THIRD = "The lamp was lit in 1759.", "The tower has 93 steps of stone.", "The keeper retired in 1830."
TEXT = f"{FIRST}\n\n{SECOND}\n\n{THIRD}"
STARTS = [(0, 1), (TEXT.index(SECOND), 2), (TEXT.index(THIRD), 4)]


def hit(start: int, end: int, *, doc_id: str = "d", page: int | None = 1) -> Hit:
    return Hit(
        rank=1, chunk_id=f"{doc_id}#{start}-{end}", doc_id=doc_id, source="s", title="", score=1.0, text=TEXT[start:end],
        start=start, end=end, page=page,
    )  # fmt: skip


def paged(start: int = 0, end: int = len(TEXT), **given: object) -> Hit:
    return with_pages([hit(start, end, **given)], lambda doc_ids: dict.fromkeys(doc_ids, STARTS))[0]  # type: ignore[arg-type]


def test_a_place_has_the_page_that_began_last_before_it() -> None:
    assert [page_at(STARTS, place) for place in (0, STARTS[1][0] - 1, STARTS[1][0], len(TEXT))] == [1, 1, 2, 4]
    assert page_at(STARTS[1:], 0) is None


def test_a_hit_gets_the_page_it_begins_on_and_those_it_goes_on_to() -> None:
    whole = paged()
    assert (whole.page, whole.pages) == (1, tuple(STARTS[1:]))
    assert [whole.page_of(start) for start, _ in STARTS] == [1, 2, 4]
    grown = paged(STARTS[1][0], page=4)  # found on page 4, then widened to the front
    assert (grown.page, grown.pages) == (2, (STARTS[2],))


def test_documents_without_pages_are_not_asked_for() -> None:
    def read(doc_ids: object) -> dict[str, list[tuple[int, int]]]:
        raise AssertionError(doc_ids)

    plain = hit(0, 10, page=None)
    assert with_pages([plain], read) == (plain,) and plain.page_of(5) is None
    assert with_pages([hit(0, 10)], lambda _: {}) == (hit(0, 10),)


@pytest.mark.parametrize(("said", "page"), [(FIRST, 1), (SECOND, 2), (THIRD, 4)])
def test_a_quote_has_its_own_page(said: str, page: int) -> None:
    assert cite(said, Passage(number=1, hit=paged(), start=0, text=TEXT)).page == page
    cut = TEXT.index(SECOND)
    if page > 1:  # a passage that was cut to its end
        assert cite(said, Passage(number=1, hit=paged(), start=cut, text=TEXT[cut:])).page == page
    assert {citation.page for citation in extractive_answer(said, [paged()]).citations} >= {page}


def test_the_sides_of_a_conflict_have_their_own_pages() -> None:
    other = "The tower has 95 steps of stone."
    against = Hit(
        rank=2, chunk_id="o", doc_id="o", source="o", title="", score=0.5, text=other, start=0, end=len(other), page=7
    )
    (found,) = conflicts([cite(SECOND, Passage(number=1, hit=paged(), start=0, text=TEXT))], [paged(), against])
    assert [side.page for side in found.sides] == [2, 7]
