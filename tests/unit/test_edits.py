"""What people set on a document, as values."""

from __future__ import annotations

from rag import edits


def test_later_edits_lie_on_top_and_empty_ones_go() -> None:
    first = edits.merged({}, {"title": "Tea", "metadata": {"year": 2024}})
    second = edits.merged(first, {"metadata": {"room": "hall", "year": None}, "disabled": False})
    assert second == {"title": "Tea", "metadata": {"year": None, "room": "hall"}}
    assert edits.metadata({"year": 2020, "author": "Yu"}, second) == {"author": "Yu", "room": "hall"}
    assert edits.merged({"disabled": True}, {"disabled": False}) == {}


def test_sizes_stay_within_what_the_model_reads() -> None:
    assert edits.chunk_sizes(512, 64, {}, most=512) == (512, 64)
    assert edits.chunk_sizes(512, 64, {"chunk": {"size": 100, "overlap": 10}}, most=512) == (100, 10)
    assert edits.chunk_sizes(512, 64, {"chunk": {"size": 100}}, most=80) == (80, 40)


def test_a_recipe_names_the_edits_that_decide_what_is_stored() -> None:
    marked = edits.marked("parser=3 size=512 +described=ab", {"title": "Tea"})
    assert marked.startswith("parser=3 size=512 +described=ab +edited=")
    assert edits.marked(marked, {"title": "Tea"}) == marked != edits.marked(marked, {"title": "Coffee"})
    assert edits.marked(marked, {}) == edits.marked(marked, {"disabled": True}) == "parser=3 size=512 +described=ab"
