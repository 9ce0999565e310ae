"""The evaluation page in a real browser: a table of questions becomes a run, a result with intervals, and a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from tests.page_server import CHROMIUM, browsing, idle, opened, serving

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
WORDS = ("amber", "basalt", "copper", "dahlia", "ember", "fennel", "garnet", "hazel")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[str]:
    home = tmp_path_factory.mktemp("evaluation") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([Document(f"The store keeps {word} on shelf {n}.", doc_id=f"d{n}", title=word.title(), source=f"{word}.md") for n, word in enumerate(WORDS)])  # fmt: skip
    with serving(home, tiny_settings) as server:
        yield f"{server.url}/evaluation"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


def test_a_table_becomes_a_result(address: str, browser: Any) -> None:
    page = opened(browser, address)
    page.get_by_text("A test set is a list of questions").wait_for()
    page.locator(".st-key-evaluation-add summary").click()
    table = "question,source\n" + "".join(f"Where is the {word} kept?,{word}.md\n" for word in WORDS)
    page.locator("input[type=file]").set_input_files(
        {"name": "shelves.csv", "mimeType": "text/csv", "buffer": table.encode()}
    )
    page.locator(".st-key-evaluation-upload-button button").click()
    page.locator(".st-key-set-shelves").get_by_text("8 questions").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("The evaluation is done.").wait_for()
    page.locator(".st-key-evaluation-see button").click()
    page.get_by_text("8 questions · depth 100 · seed 0").wait_for()
    row = page.get_by_role("row").filter(has=page.get_by_text("bm25", exact=True))
    row.get_by_text("1.000").first.wait_for()
    plot = page.get_by_role("img", name="nDCG@10 of each strategy with its 95 % interval")
    assert plot.evaluate("image => image.complete && image.naturalWidth") > 100
    with page.expect_download() as report:
        page.locator(".st-key-evaluation-report button").click()
    assert "# Evaluation: shelves" in Path(report.value.path()).read_text(encoding="utf-8")

    page.get_by_text("Compare", exact=True).click()
    page.get_by_text("bm25 is better on").wait_for()
    page.get_by_text("Steps of both searches, side by side").click()
    page.get_by_label("First candidates after").nth(1).wait_for()
    page.context.close()


def test_results_and_history_are_there_after_a_reload_in_chinese(address: str, browser: Any) -> None:
    page = opened(browser, address, chinese=True)
    page.get_by_text("结果", exact=True).click()
    page.get_by_text("8 个问题 · 深度 100").wait_for()
    page.get_by_text("历史", exact=True).click()
    page.get_by_text("变化是与上一次相同问题的运行相比").wait_for()
    idle(page)
    assert page.get_by_role("row").filter(has=page.get_by_text("hybrid", exact=True)).count() == 1
    page.context.close()
