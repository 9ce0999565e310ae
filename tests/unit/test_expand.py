"""Expanding hits: what a reader gets is always the document's own text, in the order of the hits, each text once."""

from __future__ import annotations

from rag.expand import ExpandParts, best_stretch, changes, expand, implied
from rag.types import Hit

TEXT = "Tea is a drink. Leaves come from a bush. Water must be hot. Wait three minutes. Pour it. Then drink it slowly."
SPANS = [(0, 40), (41, 79), (80, 110)]
PARTS = ExpandParts(text=lambda doc_id: TEXT if doc_id == "d" else "", spans=lambda _: SPANS)


def hit(
    start: int, end: int, *, rank: int = 1, level: int = 0, parent: tuple[int, int] | None = None, text: str = ""
) -> Hit:
    first, last = parent or (None, None)
    return Hit(
        rank=rank, chunk_id=f"d#{start}-{end}", doc_id="d", source="s", title="t", score=1.0 / rank, text=text or TEXT[start:end],
        start=start, end=end, level=level, parent_start=first, parent_end=last,
    )  # fmt: skip


def spans(hits: tuple[Hit, ...]) -> list[tuple[int, int]]:
    assert [one.rank for one in hits] == list(range(1, len(hits) + 1))
    assert all(one.text == TEXT[one.start : one.end] and not one.level for one in hits)
    return [(one.start, one.end) for one in hits]


def test_none_changes_nothing_without_summaries() -> None:
    hits = (hit(0, 15), hit(16, 40, rank=2))
    assert expand(hits, mode="none", parts=PARTS) == hits
    assert not changes(hits, "none") and changes(hits, "auto")
    assert [implied(name) for name in ("recursive", "sentence-window", "parent-child")] == ["none", "window", "auto"]


def test_a_parent_takes_its_children_s_place_once() -> None:
    hits = (hit(0, 15, parent=(0, 79)), hit(80, 110, rank=2), hit(41, 59, rank=3, parent=(0, 79)))
    assert spans(expand(hits, mode="parent", parts=PARTS)) == [(0, 79), (80, 110)]


def test_auto_merges_only_when_most_of_the_parent_is_hit() -> None:
    few = (hit(0, 15, parent=(0, 79)), hit(16, 30, rank=2, parent=(0, 79)))
    assert spans(expand(few, mode="auto", parts=PARTS)) == [(0, 15), (16, 30)]
    most = (hit(0, 15, parent=(0, 79)), hit(16, 40, rank=2, parent=(0, 79)), hit(80, 110, rank=3))
    many = (*most, hit(41, 59, rank=4, parent=(0, 79)))
    assert spans(expand(many, mode="auto", parts=PARTS)) == [(0, 79), (80, 110)]


def test_neighbours_and_windows() -> None:
    assert spans(expand([hit(41, 79)], mode="neighbours", parts=PARTS, n=1)) == [(0, 110)]
    assert spans(expand([hit(0, 40)], mode="neighbours", parts=PARTS, n=1)) == [(0, 79)]
    assert spans(expand([hit(41, 59)], mode="window", parts=PARTS, n=1)) == [(16, 79)]
    assert spans(expand([hit(41, 59, parent=(16, 79))], mode="window", parts=PARTS)) == [(16, 79)]


def test_a_summary_gives_way_to_the_sentences_it_sums_up() -> None:
    long = " ".join(f"Sentence {at} of the filling says nothing." for at in range(60))
    text = f"{long} The boiling point is 100 degrees. {long}"
    parts = ExpandParts(text=lambda _: text, spans=lambda _: [])
    summary = hit(0, len(text), level=1, text="About boiling.")
    (found,) = expand([summary], mode="none", parts=parts, question="What is the boiling point?")
    assert "The boiling point is 100 degrees." in found.text
    assert found.text == text[found.start : found.end] and len(found.text) < 2500 and found.level == 0


def test_a_summary_of_a_document_that_is_gone_is_left_out() -> None:
    gone = ExpandParts(text=lambda _: "", spans=lambda _: [])
    assert expand([hit(0, 40, level=1, text="A summary.")], mode="none", parts=gone) == ()
    assert expand([hit(0, 40, parent=(0, 79))], mode="parent", parts=gone)[0].text == TEXT[:40]
    assert best_stretch("", 0, 10, "q") == (0, 0)
