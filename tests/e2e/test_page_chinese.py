"""Every page in Chinese has Chinese words, and no page writes a warning into the server's log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from tests.page_server import CHROMIUM, PageServer, idle, opened, serving

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

from ui.web.app import PAGES  # noqa: E402

# names of things, which are the same in every language
NAMES = {
    "English",
    "bm25",
    "dense",
    "hybrid",
    "auto",
    "graph",
    "Milvus",
    "CSV",
    "TSV",
    "MB",
    "BEIR",
    "ragstone",
    "sentences",
    "text",
    "question",
    "source",
    "answer",
}
READ = """() => {  // the words that can be seen, and those that the style puts there
    const words = []
    for (const one of document.querySelectorAll("body *")) {
        const style = getComputedStyle(one)
        if (one.closest("[data-testid=stIconMaterial], [translate=no], [role=img], style, script, noscript, code") || !one.checkVisibility()) continue
        for (const side of ["::before", "::after"]) {
            const said = getComputedStyle(one, side).content
            if (said.startsWith('"')) words.push(said.slice(1, -1))
        }
        if (style.fontSize !== "0px") words.push(...[...one.childNodes].filter(node => node.nodeType === 3).map(node => node.data))
    }
    return words
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings) -> Iterator[PageServer]:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("chinese")
    with KnowledgeBase.open(folder / "home", settings=tiny_settings) as kb:
        kb.ingest([Document("# 红茶\n\n祁门红茶创制于一八七五年。", doc_id="hong", title="祁门红茶", source="红茶")])
    with serving(folder / "home", tiny_settings) as running:
        yield running


def test_every_page_is_in_chinese_and_silent(server: PageServer, browser: Any) -> None:
    page = opened(browser, server.url, chinese=True)
    english = []
    for name in PAGES:
        page.goto(f"{server.url}/{'' if name == 'chat' else name}")
        page.locator("h1").first.wait_for()
        idle(page)
        for closed in page.locator("details:not([open]) > summary").all():
            closed.click()
        idle(page)
        for text in page.evaluate(READ):
            if strange := set(re.findall(r"[A-Za-z][A-Za-z0-9]+", re.sub(r"\S*[/._]\S*", " ", text))) - NAMES:
                english.append((name, text, strange))
    assert not english
    warned = [
        line
        for line in server.log.splitlines()
        if re.search("warning|deprecat|Session State API|Traceback", line, re.I)
    ]
    assert not warned


def test_the_uploader_speaks_chinese_to_screen_readers_too(server: PageServer, browser: Any) -> None:
    page = opened(browser, server.url, chinese=True)
    page.locator(".st-key-chat-add summary").click()
    upload = page.get_by_test_id("stFileUploader").get_by_role("button", name="上传文件", exact=True)
    upload.wait_for()
    assert upload.evaluate("one => one.tabIndex") == 0, "the tab key reaches it"
    limit = page.get_by_test_id("stFileUploaderDropzoneInstructions").locator("> div")
    assert "每个文件不超过" in limit.evaluate("one => getComputedStyle(one, '::after').content")
