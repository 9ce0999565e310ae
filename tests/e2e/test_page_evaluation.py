"""The evaluation page in a real browser: a table of questions becomes a run, a result with intervals, and a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from tests.fakes.openai_server import OpenAIServer, Reply, Request, says
from tests.page_server import CHROMIUM, idle, opened, serving, shown, take_away

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
    page.get_by_text("检索结果", exact=True).click()
    page.get_by_text("8 个问题 · 深度 100").wait_for()
    page.get_by_text("历史", exact=True).click()
    page.get_by_text("变化是与上一次相同问题的运行相比").wait_for()
    idle(page)
    shown(page.get_by_role("row").filter(has=page.get_by_text("hybrid", exact=True)), 1)
    page.context.close()


KEEPERS = {"amber": "Ada Kern", "basalt": "Bo Lind", "copper": "Cleo Marsh"}
# long enough to be asked about, in words that the tiny model knows
ROOM = "{keeper} looks after {word}. " + "Tea and green water of river and black leaf of garden is history. " * 4


def writer(request: Request) -> Reply:
    """A model that writes a question about each room, answers it, and finds the answer again."""
    said = str(request.json["messages"][-1]["content"])
    last = said.splitlines()[-1]
    thing = next((one for one in KEEPERS if one in last), "") or next(one for one in KEEPERS if one in said)
    if '"question"' in json.dumps(request.json.get("response_format", "")):
        return says(json.dumps({"question": f"Which person takes care of {thing}?", "answer": KEEPERS[thing]}))
    if "response_format" in request.json:
        return says(json.dumps({"answers": [KEEPERS[thing]]}))
    return says(f"{KEEPERS[thing]} looks after {thing} [1].")


def test_questions_are_written_and_answers_measured(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any, browser: Any
) -> None:
    home = tmp_path_factory.mktemp("answers") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings.with_values(chunk__size=0)) as kb:
        kb.ingest([Document(ROOM.format(word=word, keeper=keeper), doc_id=word, title=word.title(), source=f"{word}.md") for word, keeper in KEEPERS.items()])  # fmt: skip
    with OpenAIServer(always=writer) as model, serving(home, tiny_settings, llm_url=model.url) as server:
        page = opened(browser, f"{server.url}/evaluation")
        page.locator(".st-key-evaluation-add summary").click()
        for kind in ("from two passages", "not answerable"):
            take_away(page.locator(".st-key-evaluation-kinds").get_by_role("button", name=f"Remove {kind}"))
            idle(page)
        count = page.get_by_role("spinbutton", name="How many")
        count.fill("3")
        count.blur()
        idle(page)
        page.locator(".st-key-evaluation-generate button").click()
        page.get_by_text("3 questions were written").wait_for()
        page.locator(".st-key-set-generated").get_by_text("3 questions").wait_for()
        idle(page)

        page.locator(".st-key-evaluation-what").get_by_text("Answers", exact=True).click()
        page.get_by_text("Are answers borne out by what they cite").wait_for()
        idle(page)
        page.get_by_role("button", name="Start").click()
        page.locator(".st-key-evaluation-see button").click()
        page.get_by_text("3 questions, 3 with a reference answer").wait_for()
        page.get_by_role("cell", name="1.000 (1.00–1.00)").first.wait_for()
        page.get_by_text("When nothing was answered").wait_for()
        heads = page.get_by_role("columnheader").all_inner_texts()
        cells = page.get_by_role("row").filter(has=page.get_by_text("hybrid", exact=True)).first.get_by_role("cell").all_inner_texts()  # fmt: skip
        row = dict(zip(heads, cells, strict=False))
        assert row["Citations that bear out"].startswith("1.000 (") and row["Grounded"].startswith("1.000 (")
        assert row["Holds the reference"].startswith("1.000 (") and row["Failed"] == "0"
        page.locator(".st-key-evaluation-given summary").click()
        page.get_by_text("Ada Kern looks after amber").wait_for()
        with page.expect_download() as report:
            page.locator(".st-key-answers-report button").click()
        assert "# Answers: generated" in Path(report.value.path()).read_text(encoding="utf-8")
        page.context.close()
