"""Editing a document: a new title and metadata, other chunks, switched off and on; what was set outlives imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.types import Document

LONG = " ".join(f"Kettle number {n} boils at {n} degrees." for n in range(60))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Any:
    with KnowledgeBase.open(tmp_path_factory.mktemp("editing") / "home", settings=tiny_settings) as kb:
        yield kb


@pytest.fixture
def files(opened: KnowledgeBase, tmp_path: Path) -> Any:
    (tmp_path / "tea.md").write_text(f"# Tea\n\n{LONG}\n", encoding="utf-8")
    (tmp_path / "coffee.md").write_text("# Coffee\n\nCoffee is ground before it is brewed.\n", encoding="utf-8")
    opened.ingest(tmp_path)
    by_name = {Path(info.source).name: info.doc_id for info in opened.documents() if str(tmp_path) in info.source}
    yield by_name["tea.md"], by_name["coffee.md"], tmp_path
    opened.delete(*by_name.values())


def found(kb: KnowledgeBase, query: str, **options: Any) -> set[str]:
    return {hit.doc_id for hit in kb.search(query, top_k=50, **options)}


def test_title_and_metadata_are_searched_and_outlive_an_import(opened: KnowledgeBase, files: Any) -> None:
    tea, coffee, folder = files
    assert opened.edit(coffee, title="Zeppelin handbook", metadata={"room": "hall", "year": 1936})
    (info,) = opened.documents(coffee)
    assert (info.title, dict(info.metadata), info.version) == ("Zeppelin handbook", {"room": "hall", "year": 1936}, 2)
    assert coffee in found(opened, "zeppelin", mode="bm25")
    assert found(opened, "coffee", filter="room == 'hall'") == {coffee}

    assert opened.ingest(folder).unchanged == 2
    (folder / "coffee.md").write_text("# Coffee\n\nCoffee is roasted first.\n", encoding="utf-8")
    assert opened.ingest(folder).updated == 1
    (info,) = opened.documents(coffee)
    assert (info.title, info.metadata["room"]) == ("Zeppelin handbook", "hall") and "roasted" in opened.text(coffee)
    opened.edit(coffee, metadata={"room": None})
    assert dict(opened.documents(coffee)[0].metadata) == {"year": 1936}
    assert opened.verify().ok


def test_a_document_that_is_off_is_kept_and_not_found(opened: KnowledgeBase, files: Any) -> None:
    tea, coffee, folder = files
    assert opened.edit(coffee, enabled=False)
    (info,) = opened.documents(coffee)
    assert info.state == "disabled" and opened.chunks(coffee) and "ground" in opened.text(coffee)
    for mode in ("bm25", "dense", "hybrid", "keywords"):
        assert coffee not in found(opened, "coffee is ground", mode=mode)
    assert opened.verify().ok, "the index holds what searches may find, nothing else"

    (folder / "coffee.md").write_text("# Coffee\n\nCoffee is roasted first.\n", encoding="utf-8")
    (folder / "again.md").write_text("# Coffee\n\nCoffee is roasted first.\n", encoding="utf-8")
    report = opened.ingest(folder)
    assert (report.updated, report.added) == (1, 1)
    assert opened.documents(coffee)[0].state == "disabled" and coffee not in found(opened, "coffee roasted")
    again = next(one.doc_id for one in opened.documents() if one.source.endswith("again.md"))
    assert again in found(opened, "coffee roasted", mode="bm25"), "the same text from elsewhere was not switched off"

    assert opened.edit(coffee, enabled=True)
    assert coffee in found(opened, "coffee roasted", mode="bm25") and opened.verify().ok
    opened.delete(again)


def test_a_document_is_cut_again_in_one_switch(opened: KnowledgeBase, files: Any) -> None:
    tea, coffee, folder = files
    before = opened.chunks(tea)
    assert opened.edit(tea, chunk_size=32, overlap=0)
    after = opened.chunks(tea)
    assert len(after) > len(before) and max(chunk.n_tokens for chunk in after) <= 32
    assert opened.documents(tea)[0].version == 2 and tea in found(opened, "kettle 59", mode="bm25")
    assert opened.ingest(folder).unchanged == 2 and len(opened.chunks(tea)) == len(after)
    assert opened.verify().ok
    with pytest.raises(UsageError, match="A chunk has 16 to"):
        opened.edit(tea, chunk_size=100_000)
    with pytest.raises(UsageError, match="at most half"):
        opened.edit(tea, chunk_size=32, overlap=20)


def test_edits_outlive_a_reindex_and_a_snapshot(
    opened: KnowledgeBase, files: Any, tmp_path: Path, tiny_settings: Any
) -> None:
    tea, coffee, _ = files
    opened.edit(tea, title="Kettles", chunk_size=32, overlap=0)
    opened.edit(coffee, enabled=False)
    n_chunks = len(opened.chunks(tea))
    opened.view(settings=tiny_settings.with_values(chunk__size=48)).reindex()
    assert opened.documents(tea)[0].title == "Kettles" and len(opened.chunks(tea)) == n_chunks
    assert opened.documents(coffee)[0].state == "disabled" and opened.verify().ok
    opened.export_snapshot(tmp_path / "all.zip")
    other = opened.view(collection="other")
    other.import_snapshot(tmp_path / "all.zip")
    assert other.documents(coffee)[0].state == "disabled" and coffee not in found(other, "coffee")
    assert other.documents(tea)[0].edits["title"] == "Kettles" and other.verify().ok
    opened.reindex()


def test_what_cannot_be_edited_says_why(opened: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("The same words in both.", encoding="utf-8")
    (tmp_path / "b.md").write_text("The same words in both.", encoding="utf-8")
    (tmp_path / "c.md").write_text("", encoding="utf-8")
    opened.ingest(tmp_path)
    by_state = {info.state: info.doc_id for info in opened.documents() if str(tmp_path) in info.source}
    with pytest.raises(UsageError, match="has the content of document"):
        opened.edit(by_state["duplicate"], enabled=False)
    with pytest.raises(UsageError, match="was not imported"):
        opened.edit(by_state["failed"], title="Nothing")
    with pytest.raises(UsageError, match="A title has 1 to"):
        opened.edit(by_state["live"], title="  ")
    assert not opened.edit("nobody", title="Nothing")
    opened.delete(*by_state.values())


def test_a_page_of_documents(opened: KnowledgeBase) -> None:
    opened.ingest(
        [
            Document(f"Text {n}.", doc_id=f"page-{n:03d}", title=f"Report {n:03d}", metadata={"year": 2000 + n % 2})
            for n in range(30)
        ]
    )
    found, total = opened.find_documents("report 01", limit=5, offset=5)
    assert total == 11 and [one.title for one in found] == [f"Report {n:03d}" for n in (14, 15, 16, 17, 18)]
    assert opened.find_documents("report", filter="year == 2001")[1] == 15
    assert opened.find_documents("100%")[1] == 0, "% is a character, not a pattern"
    opened.edit("page-003", enabled=False)
    assert [one.doc_id for one in opened.find_documents(state="disabled")[0]] == ["page-003"]
    assert opened.catalog.states("default")["state"] == {"live": 29, "disabled": 1}
