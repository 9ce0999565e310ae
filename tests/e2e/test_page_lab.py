"""The retrieval lab in a real browser: strategies side by side, why a passage is not found, a test question saved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval import library
from eval.dataset import load_dataset
from rag import Document, KnowledgeBase
from rag.users import Users
from tests.page_server import CHROMIUM, idle, opened, serving, shown

PASSWORD = "seven cups of tea"

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Path:
    home = tmp_path_factory.mktemp("lab") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([
            Document("Green tea is steeped at 80 degrees for 2 minutes.", doc_id="green", title="Green tea", source="green.md"),
            Document("Black tea is steeped at 95 degrees for 4 minutes.", doc_id="black", title="Black tea", source="black.md"),
            Document("The museum of clocks opens at nine.", doc_id="clocks", title="Clocks", source="clocks.md", metadata={"city": "Basel"}),
        ])  # fmt: skip
    return home


@pytest.fixture(scope="module")
def address(home: Path, tiny_settings: Any) -> Iterator[str]:
    with serving(home, tiny_settings) as server:
        yield f"{server.url}/lab"


def test_compare_ask_why_and_save(address: str, browser: Any, home: Path) -> None:
    page = opened(browser, address)
    page.get_by_label("Question or words").fill("How many degrees for green tea?")
    page.get_by_role("textbox", name="Filter").fill("city != 'Basel'")
    page.get_by_role("button", name="Compare").click()
    for name in ("dense", "bm25", "hybrid"):
        page.get_by_role("heading", name=name, exact=True).wait_for()
    shown(page.get_by_text(re.compile(r"\d passages in \d+ ms")), 3)
    page.get_by_text("Green tea is steeped at 80 degrees").locator("visible=true").first.wait_for()
    page.locator(".st-key-lab-steps summary").click()
    page.get_by_role("tab", name="hybrid").click()
    page.get_by_label("First candidates after").last.wait_for()
    page.locator(".st-key-lab-steps").get_by_text("0-49").locator(
        "visible=true"
    ).first.wait_for()  # candidates by their place

    page.get_by_label("A sentence of the passage (optional)").fill("the Museum of clocks OPENS at nine")
    page.get_by_label("A sentence of the passage (optional)").press("Control+Enter")
    idle(page)
    page.locator(".st-key-lab-why-ask button").click()
    page.get_by_text("Not among the results. It was lost at: filter").wait_for()
    page.get_by_text("The filter leaves its document out.").wait_for()

    idle(page)
    page.get_by_test_id("stCheckbox").filter(has_text="Green tea ·").locator("label").click()
    page.get_by_text("The filter leaves its document out.").wait_for()  # what was explained stays
    page.get_by_label("The right answer (optional)").fill("80 degrees")
    page.get_by_label("The right answer (optional)").press("Tab")
    idle(page)
    page.locator(".st-key-lab-save button").click()
    page.get_by_text("Saved. You find it on the evaluation page.").wait_for()
    saved = load_dataset(library.saved_questions(library.folder_of(home, "default")))
    assert saved.questions == {"q1": "How many degrees for green tea?"} and saved.qrels == {"q1": {"green.md": 1}}
    page.context.close()


def test_a_strategy_of_ones_own_in_chinese(address: str, browser: Any) -> None:
    page = opened(browser, address, chinese=True)
    page.get_by_role("heading", name="检索实验室").wait_for()
    page.get_by_label("问题或关键词").fill("black tea")
    field = page.locator(".st-key-lab-strategies input")
    field.fill("hybrid(chunk.size=32)")
    field.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="比较").click()
    page.get_by_text("chunk.size changes what is in the index").wait_for()
    page.get_by_text(re.compile("个段落，用时")).locator("visible=true").first.wait_for()
    assert page.get_by_text("Traceback").count() == 0
    page.context.close()


def test_the_owner_asks_why_somebody_does_not_find_it(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any
) -> None:
    home = tmp_path_factory.mktemp("somebody") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest(
            [Document("祁门红茶由余干臣创制。", doc_id="keemun", title="祁门红茶", source="keemun.md")], acl=("u:ann",)
        )
        users = Users(kb.catalog.engine)
        users.add("boss", PASSWORD, role="admin")
        for name in ("ann", "bob"):
            users.add(name, PASSWORD)
    with serving(home, tiny_settings) as server:
        page = browser.new_context(locale="zh-CN").new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/lab")
        page.locator("input[name=name]").fill("boss")
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("input[name=password]").press("Enter")
        page.get_by_label("问题或关键词").fill("祁门红茶是谁创制的")
        page.get_by_role("button", name="比较").click()
        page.get_by_role("combobox", name="以谁的身份").wait_for()
        idle(page)
        page.locator(".st-key-lab-why-ask button").click()
        page.get_by_text("已找到，排在第 1 位。").wait_for()
        told = page.get_by_text("问题中的词，段落里有").inner_text()
        assert "创制" in told and "红茶" not in told and "茶是" not in told, told  # no pairs across words

        page.get_by_role("combobox", name="以谁的身份").click()
        page.get_by_role("option", name="bob").click()
        idle(page)
        assert page.get_by_text("已找到，排在第 1 位。").count() == 0  # that was somebody else's
        page.locator(".st-key-lab-why-ask button").click()
        page.get_by_text("不在结果中。丢失于：访问权限").wait_for()
        page.get_by_text("把此人加入文档的访问名单").wait_for()
        page.context.close()
