"""Tenants and access lists: what somebody may not see is not there, on every path to a document."""

from __future__ import annotations

from typing import Any

import pytest

from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from rag.types import Document

ANN = Principal(tenant="", names=("u:ann", "g:staff"))
BOB = Principal(tenant="", names=("u:bob",))
ACME = Principal(tenant="acme")


@pytest.fixture(scope="module")
def shared_kb(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Any:
    with KnowledgeBase.open(tmp_path_factory.mktemp("access"), settings=tiny_settings) as kb:
        kb.ingest([Document("The public kettle boils at noon.", doc_id="open", metadata={"room": "hall"})])
        kb.ingest([Document("The secret kettle boils at midnight.", doc_id="staff", metadata={"room": "vault"})], acl=("g:staff",))  # fmt: skip
        kb.view(principal=ACME).ingest([Document("Acme owns a kettle of copper.", doc_id="open")])
        yield kb


@pytest.mark.parametrize("mode", ["bm25", "dense", "hybrid"])
def test_a_search_finds_what_its_principal_may_see(shared_kb: Any, mode: str) -> None:
    def found(principal: Principal | None) -> set[str]:
        return {hit.text for hit in shared_kb.view(principal=principal).search("kettle boils", mode=mode)}

    public, secret, acme = (
        "The public kettle boils at noon.",
        "The secret kettle boils at midnight.",
        "Acme owns a kettle of copper.",
    )
    assert found(BOB) == {public}
    assert found(ANN) == {public, secret}
    assert found(None) == {public, secret}
    assert found(ACME) == {acme}


def test_no_other_path_leads_to_a_hidden_document(shared_kb: Any) -> None:
    bob, ann = shared_kb.view(principal=BOB), shared_kb.view(principal=ANN)
    assert [info.doc_id for info in bob.documents()] == ["open"]
    assert bob.documents("staff") == [] and bob.chunks("staff") == [] and bob.blocks("staff") == []
    with pytest.raises(UsageError, match="There is no document"):
        bob.text("staff")
    assert bob.catalog.counts("default") == (1, 1) and ann.catalog.counts("default") == (2, 2)
    assert bob.catalog.field_values("default")["room"] == ["hall"]
    assert bob.near_duplicates(0.3) == [] and len(list(ann.catalog.live_texts("default"))) == 2
    assert ann.text("staff") == "The secret kettle boils at midnight."


def test_collections_are_the_tenants_own(shared_kb: Any) -> None:
    assert shared_kb.view(principal=ACME).collections() == ["default"]
    assert shared_kb.view(principal=ACME).text("open") == "Acme owns a kettle of copper."
    assert shared_kb.collections() == ["default"] and shared_kb.text("open") == "The public kettle boils at noon."
    assert shared_kb.view(principal=Principal(tenant="other")).collections() == []


def test_the_index_itself_filters(shared_kb: Any) -> None:
    """Not only the catalog's second check: hidden rows must not take the places of visible ones."""
    index = shared_kb.index_name(shared_kb.catalog.collection("default").generation)
    assert len(shared_kb.store.bm25(index, "kettle", depth=10)) == 2
    assert len(shared_kb.store.bm25(index, "kettle", depth=10, readers=("all", "u:bob"))) == 1


def test_who_is_taken_off_the_list_finds_nothing_from_then_on(shared_kb: Any) -> None:
    ann = shared_kb.view(principal=ANN)
    kb = shared_kb.view()
    kb.ingest([Document("A plan for the teapot.", doc_id="plan")], acl=("u:ann",))
    assert [hit.doc_id for hit in ann.search("teapot plan", mode="bm25")] == ["plan"]
    assert kb.set_access("plan", ["u:bob"])
    assert not ann.search("teapot plan", mode="bm25") and ann.documents("plan") == []
    assert [hit.doc_id for hit in shared_kb.view(principal=BOB).search("teapot plan", mode="bm25")] == ["plan"]
    kb.ingest([Document("A newer plan for the teapot.", doc_id="plan")])  # says nothing of access: it stays as it was
    assert not ann.search("teapot plan", mode="bm25")
    assert kb.verify().ok
    kb.delete("plan")
    assert not kb.set_access("plan", ["u:bob"])


def test_same_files_under_other_lists_share_nothing(tmp_path: Any, tiny_kb: Any) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").write_text("The samovar is in the attic.")
    tiny_kb.ingest(tmp_path / "a", acl=("u:ann",))
    report = tiny_kb.ingest(tmp_path / "b")
    assert report.added == 1 and report.duplicates == 0
    assert len(tiny_kb.view(principal=BOB).search("samovar attic", mode="bm25")) == 1
    assert len(tiny_kb.view(principal=ANN).search("samovar attic", mode="bm25")) == 2


@pytest.mark.parametrize("name", ["", "a|b", 'x"]) or true', "名", "a b", "x" * 101, "-a"])
def test_names_that_could_mean_something_else_are_refused(tiny_kb: Any, name: str) -> None:
    with pytest.raises(UsageError):
        tiny_kb.ingest([Document("text", doc_id="a")], acl=(name,))


def test_reindex_and_snapshots_keep_the_lists(tmp_path: Any, tiny_kb: Any, other_settings: Any) -> None:
    tiny_kb.ingest([Document("The samovar is in the attic.", doc_id="a")], acl=("u:ann",))
    tiny_kb.export_snapshot(tmp_path / "one.ragstone")
    copy = tiny_kb.view(collection="copy")
    copy.import_snapshot(tmp_path / "one.ragstone")
    with KnowledgeBase.open(tiny_kb.home, settings=other_settings) as other:
        other.reindex()
        for kb in (copy, other):
            assert kb.documents()[0].acl == ("u:ann",)
            assert len(kb.view(principal=ANN).search("samovar", mode="bm25")) == 1
            assert not kb.view(principal=BOB).search("samovar", mode="bm25")
