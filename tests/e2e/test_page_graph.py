"""The graph page in a real browser: build, search, walk to a neighbour, read the sentence, themes; in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph import KnowledgeGraph
from rag import Document, KnowledgeBase
from rag.principals import Principal
from tests.page_server import CHROMIUM, PageServer, browsing, idle, opened, serving, take_away
from ui.web.graph_view import Seen

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

DOCUMENTS = [
    Document("Eddystone Lighthouse was designed by John Smeaton. John Smeaton was born in Austhorpe.", doc_id="eddystone", title="Eddystone Lighthouse", source="eddystone.md"),
    Document("Austhorpe lies near Leeds. Leeds is a city in Yorkshire.", doc_id="austhorpe", title="Austhorpe", source="austhorpe.md"),
    Document("祁门红茶产自安徽祁门县。余干臣在祁门县创制了祁门红茶。", doc_id="keemun", title="祁门红茶", source="keemun.md"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[PageServer]:
    home = tmp_path_factory.mktemp("graph-page") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest(DOCUMENTS)
    with serving(home, tiny_settings) as running:
        yield running


def test_build_search_and_walk(server: PageServer) -> None:
    with browsing() as browser:
        page = opened(browser, f"{server.url}/graph")
        take_away(page.get_by_role("button", name="Build the graph"))
        page.get_by_text("entities,").locator("visible=true").first.wait_for()
        page.get_by_label("Search an entity").fill("smeaton")
        page.get_by_label("Search an entity").press("Enter")
        page.get_by_role("heading", name="John Smeaton").wait_for()
        page.locator(".st-key-graph-facts").get_by_text("was born in Austhorpe").first.wait_for()
        page.locator(".stVegaLiteChart, [data-testid=stVegaLiteChart]").first.wait_for()
        page.locator(".st-key-graph-facts").get_by_text("born in", exact=False).first.wait_for()
        page.locator(".st-key-graph-facts").get_by_role("button", name="Eddystone Lighthouse").first.click()
        page.get_by_role("dialog").get_by_text("John Smeaton was born in Austhorpe").first.wait_for()
        address = page.get_by_role("dialog").get_by_role("link", name="Open the document").get_attribute("href")
        assert address is not None and address.endswith("documents?doc=eddystone")
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        idle(page)

        page.get_by_label("Search an entity").fill("Jon Smeeton")
        page.get_by_label("Search an entity").press("Enter")
        idle(page)
        page.locator(".st-key-graph-near").get_by_role("button", name="John Smeaton").click()
        page.get_by_role("heading", name="John Smeaton").wait_for()
        page.get_by_text("Themes", exact=True).click()
        page.get_by_text("What the collection is about").wait_for()
        page.get_by_text("Search the themes").wait_for()

        chinese = opened(browser, f"{server.url}/graph", chinese=True)
        chinese.get_by_label("查找实体").fill("祁门")
        chinese.get_by_label("查找实体").press("Enter")
        chinese.locator(".st-key-graph-found").get_by_role("button").first.wait_for()
        idle(chinese)
        chinese.locator(".st-key-graph-facts").get_by_text("祁门县").first.wait_for()
        assert chinese.get_by_text("Traceback").count() == 0


def test_a_graph_older_than_its_documents_says_so(tmp_path: Path, tiny_settings: Any) -> None:
    given = tmp_path / "triples.jsonl"
    given.write_text('{"_id": "eddystone", "triples": [["Eddystone Lighthouse", "designed by", "John Smeaton"]]}')
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb:
        kb.ingest(DOCUMENTS[:1])
        KnowledgeGraph.build(kb, triples=given)
        kb.ingest(DOCUMENTS[1:])
    with serving(tmp_path / "home", tiny_settings) as running, browsing() as browser:
        page = opened(browser, f"{running.url}/graph")
        page.get_by_text("2 documents were added").wait_for()
        page.get_by_text("ragstone graph build --triples FILE").wait_for()


def test_nobody_sees_entities_of_documents_that_are_not_theirs(tmp_path: Path, tiny_settings: Any) -> None:
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb:
        kb.ingest(DOCUMENTS)
        kb.ingest([Document("Secret Tower was designed by John Smeaton.", doc_id="secret", title="Secret Tower")], acl=["u:ann"])  # fmt: skip
        KnowledgeGraph.build(kb)
        others = kb.view(principal=Principal(names=("u:bob",)))
        seen = Seen(kb.graph, others)
        assert not seen.entities("secret") and seen.entities("smeaton")
        assert all("Secret" not in f"{fact.subject}{fact.object}{fact.sentence}" for fact in seen.facts("John Smeaton"))
        assert all("Secret" not in node.name for node in seen.neighbourhood("John Smeaton")[0])
        assert "Secret" not in str(seen.communities())
        mine = Seen(kb.graph, kb.view(principal=Principal(names=("u:ann",))))
        assert [name for name, _ in mine.entities("secret")] == ["Secret Tower"]
        assert mine.near("Secred Tower") == ["Secret Tower"] and not seen.near("Secred Tower")
        assert seen.near("祁门茶")[0] == "祁门红茶" and not seen.near("zzzz") and not seen.near("")
