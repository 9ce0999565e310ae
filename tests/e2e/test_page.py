"""The chat page in a real browser: ask in both languages, open the source; reload, restart, stop, edit, export, attach."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.dataset import load_dataset
from rag import Document, KnowledgeBase
from tests.fakes.openai_server import OpenAIServer, Reply, Request, never_ending, says, status
from tests.page_server import CHROMIUM, PageServer, answered, ask, idle, listening, serving, shown

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

REPLIES = {  # what the question holds → what the scripted model says
    "green tea": "Green tea is steeped at 80 degrees for 2 minutes [1]. It cures 95 percent of all colds in Norway [1].",
    "祁门": "祁门红茶创制于一八七五年 [1]。",
    "Keemun": "Keemun was created in 1875 [1].",
    "budget": "The budget of the garden is 4711 dollars [1].",
    "zeppelin": "Zeppelin airships carried tea [1].",
    "piling": "Wet piling was developed in 1973 [1].",
}


def reply(request: Request) -> Reply:
    asked = request.json["messages"][-1]["content"].rpartition("\n")[2] + request.json["messages"][-1]["content"]
    if "tell me everything" in asked:
        return never_ending("leaf ", pause_s=0.02)
    if "broken key" in asked:
        return status(401, "no such key")
    return next((says(text) for word, text in REPLIES.items() if word in question_of(asked)), says("No."))


def question_of(prompt: str) -> str:
    """The question of a prompt, whatever stands around it: the last line that one of the words is in."""
    lines = [line for line in prompt.splitlines() if "?" in line or "？" in line]
    return lines[-1] if lines else prompt


def pdf(text: str) -> bytes:
    """A page of text."""
    stream = f"BT /F1 18 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream), b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    out = b"%PDF-1.4\n"
    places = []
    for n, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (n, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % at for at in places)
    return out + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % start


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings, canary) -> Iterator[PageServer]:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("page")
    url, _ = canary
    (folder / "keemun.pdf").write_bytes(pdf("Keemun black tea was created in 1875 by Yu Ganchen."))
    with KnowledgeBase.open(folder / "home", settings=tiny_settings) as kb:
        kb.ingest([
            Document("# Tea\n\n## Green tea\n\nGreen tea is steeped at 80 degrees for 2 minutes.\n\n## Oolong leaves\n\nOolong is in between.",
                     doc_id="green", title="Green tea", source="green.md"),
            Document("# 红茶\n\n祁门红茶创制于一八七五年，创制者是余干臣。", doc_id="keemun", title="祁门红茶", source="keemun.md"),
            Document(f"Zeppelin airships carried tea ![x]({url}/image) <img src='{url}/tag'> [link]({url}/link) in 1936.", doc_id="evil",
                     title=f"![t]({url}/title)", source="evil.md"),
        ])  # fmt: skip
        kb.ingest([folder / "keemun.pdf"])
    with OpenAIServer(always=reply) as model, serving(folder / "home", tiny_settings, llm_url=model.url) as running:
        yield running


@pytest.fixture
def page(server: PageServer, browser) -> Iterator:  # type: ignore[no-untyped-def, type-arg]
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    opened.goto(server.url)
    opened.get_by_test_id("stChatInputTextArea").wait_for()
    idle(opened)
    yield opened
    assert opened.get_by_text("Traceback").count() == 0
    context.close()


def open_citation(page, n: int = 0):  # type: ignore[no-untyped-def]
    """Click the first marker of an answer; its source."""
    page.locator(f".st-key-answer-{n} .stMarkdownBadge[role=button]").first.click()
    return source(page)


def source(page):  # type: ignore[no-untyped-def]
    panel = page.locator("[class*='st-key-source-0-']").first
    panel.wait_for()
    idle(page)
    return panel


def marked(panel) -> str:  # type: ignore[no-untyped-def]
    """The highlighted words of a source, on screen."""
    words = panel.locator(".stMarkdownColoredBackground").first
    words.scroll_into_view_if_needed()
    assert words.is_visible()
    return str(words.inner_text())


def test_ask_open_the_source_reload_and_restart(page, server: PageServer) -> None:  # type: ignore[no-untyped-def]
    ask(page, "How many degrees for green tea?")
    answer = answered(page)
    assert "80 degrees for 2 minutes" in answer.inner_text()
    doubted = answer.locator(".stMarkdownColoredBackground")
    shown(doubted, 1)
    assert "Norway" in doubted.inner_text(), "what nothing bears out is marked"
    assert "80 degrees for 2 minutes" in marked(open_citation(page))
    address = page.url
    assert "thread=" in address and "source=0.1" in address
    page.reload()
    assert "80 degrees for 2 minutes" in marked(source(page))
    server.restart()
    page.goto(address)
    assert "80 degrees for 2 minutes" in marked(source(page))
    assert "80 degrees for 2 minutes" in answered(page).inner_text()


def test_in_chinese_and_the_language_stays(page) -> None:  # type: ignore[no-untyped-def]
    page.get_by_text("中文", exact=True).click()
    page.get_by_role("heading", name="向你的文档提问").wait_for()
    ask(page, "祁门红茶是哪一年创制的？")
    assert "一八七五年" in answered(page).inner_text()
    assert "祁门红茶创制于一八七五年" in marked(open_citation(page))
    page.reload()
    source(page)
    page.get_by_role("button", name="新对话").wait_for()


def test_a_page_of_a_pdf_is_drawn_with_the_passage(page) -> None:  # type: ignore[no-untyped-def]
    ask(page, "When was Keemun created?")
    answered(page)
    panel = open_citation(page)
    picture = panel.locator("img").first
    picture.wait_for()
    yellow = picture.evaluate("""(image) => {
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const paint = canvas.getContext('2d');
        paint.drawImage(image, 0, 0);
        const all = paint.getImageData(0, 0, canvas.width, canvas.height).data;
        let n = 0;
        for (let i = 0; i < all.length; i += 4) if (all[i] > 200 && all[i + 1] > 180 && all[i + 2] < 140) n += 1;
        return n;
    }""")
    assert yellow > 2000, "the passage is marked on the page"
    panel.get_by_role("tab", name="Text").click()
    assert "created in 1875" in marked(panel)


def test_stop_keeps_what_there_is_and_answers_go_on_without_the_tab(page) -> None:  # type: ignore[no-untyped-def]
    ask(page, "Could you tell me everything about green tea?")
    page.locator(".st-key-answer-0").get_by_text("leaf leaf").first.wait_for()
    page.reload()  # the answer goes on, and is shown again
    page.locator(".st-key-answer-0").get_by_text("leaf leaf").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped; the answer is not whole.").wait_for()
    before = answered(page).locator(".stMarkdown").first.inner_text()
    assert "leaf leaf" in before and page.get_by_role("button", name="Stop").count() == 0
    page.reload()
    assert answered(page).locator(".stMarkdown").first.inner_text() == before


def test_an_edited_question_is_a_branch_and_threads_are_found(page) -> None:  # type: ignore[no-untyped-def]
    ask(page, "How many degrees for green tea, please?")
    answered(page)
    ask(page, "When was Keemun created, please?")
    answered(page, 1)
    first = page.url
    page.get_by_test_id("stChatMessage").nth(2).get_by_role("button").click()
    box = page.get_by_role("textbox", name="Edit the question")
    box.fill("Which budget has the garden, please?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url(lambda address: address != first)
    answered(page, 1)
    assert page.get_by_text("When was Keemun created, please?").count() == 0
    page.get_by_text("How many degrees for green tea, please?").locator("visible=true").first.wait_for()
    page.goto(first)
    page.get_by_text("When was Keemun created, please?").locator("visible=true").first.wait_for()
    page.get_by_placeholder("Search chats").fill("Which budget")
    listed = page.locator(".st-key-thread-list button")
    listed.nth(1).wait_for(state="detached")
    listed.first.click()
    page.get_by_text("Which budget has the garden, please?").locator("visible=true").first.wait_for()


def test_rename_rate_export_delete(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ask(page, "How warm for green tea?")
    answer = answered(page)
    answer.locator("[class*='st-key-rating-']").get_by_role("radio").first.click()
    page.get_by_role("button", name=re.compile("Your ratings")).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as a table").click()
    download.value.save_as(tmp_path / "feedback.csv")
    rated = load_dataset(tmp_path / "feedback.csv")
    assert list(rated.questions.values()) == ["How warm for green tea?"]
    assert [list(one) for one in rated.qrels.values()] == [["green.md"]]
    page.keyboard.press("Escape")
    page.locator(".st-key-thread-menu button").first.click()
    page.get_by_role("textbox", name="Name").fill("Warm leaves")
    page.get_by_role("textbox", name="Name").press("Enter")
    page.locator(".st-key-thread-list").get_by_text("Warm leaves").wait_for()
    idle(page)  # the buttons to export are drawn after the list
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as JSON").click()
    download.value.save_as(tmp_path / "chat.json")
    kept = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))
    assert kept["title"] == "Warm leaves" and kept["turns"][0]["citations"][0]["source"] == "green.md"
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as Markdown").click()
    download.value.save_as(tmp_path / "chat.md")
    assert "# Warm leaves" in (tmp_path / "chat.md").read_text(encoding="utf-8")
    page.locator(".st-key-delete-thread button").click()
    page.locator(".st-key-delete-really button").click()
    page.locator(".st-key-thread-list").get_by_text("Warm leaves").wait_for(state="detached")
    page.get_by_role("heading", name="Ask your documents").wait_for()


def test_a_file_attached_to_one_chat_is_in_no_other(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "budget.md"
    file.write_text("# Budget\n\nThe budget of the garden is 4711 dollars.\n", encoding="utf-8")
    page.get_by_test_id("stChatInput").locator("input[type=file]").set_input_files(str(file))
    page.get_by_test_id("stChatInput").get_by_text("budget.md").wait_for()
    ask(page, "What is the budget of the garden?")
    answer = answered(page)
    assert "4711" in answer.inner_text()
    assert "4711 dollars" in marked(open_citation(page))
    page.get_by_role("button", name="New chat").click()
    page.locator(".st-key-answer-0").wait_for(state="detached")
    ask(page, "What is the budget of the garden?")
    assert "4711" not in answered(page).inner_text()


def test_nothing_that_a_document_names_is_loaded(page, canary) -> None:  # type: ignore[no-untyped-def]
    url, hits = canary
    ask(page, "What did zeppelin airships carry?")
    answered(page)
    open_citation(page).get_by_text("Zeppelin airships").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert hits == []
    assert page.locator(f"img[src*='{url}'], a[href*='{url}']").count() == 0


def test_upload_from_the_chat_then_ask(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "puer.md"
    file.write_text("# Pu'er\n\nWet piling was developed in 1973 in Kunming.\n", encoding="utf-8")
    page.get_by_text("Add documents").click()
    page.get_by_test_id("stFileUploader").locator("input[type=file]").set_input_files(str(file))
    page.get_by_role("button", name="Add 1 to the collection").click()
    page.get_by_text("5 documents are ready").wait_for()
    ask(page, "When was wet piling developed?")
    assert "1973" in answered(page).inner_text()


def test_it_goes_on_when_the_model_is_away(page) -> None:  # type: ignore[no-untyped-def]
    ask(page, "How many degrees for green tea with a broken key?")
    answer = answered(page)
    assert "80 degrees" in answer.inner_text(), "sentences of the documents"
    assert "The chat model failed (E_LLM_AUTH)" in answer.inner_text()


def test_it_fits_a_phone(server: PageServer, browser) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(locale="en-US", viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(server.url)
    page.get_by_test_id("stChatInputTextArea").wait_for()
    ask(page, "How many degrees for green tea?")
    below = answered(page).bounding_box()
    panel = open_citation(page).bounding_box()
    assert panel["x"] >= 0 and panel["x"] + panel["width"] <= 390, "nothing is cut off"
    assert panel["y"] > page.locator(".st-key-answer-0").bounding_box()["y"] and below is not None
    context.close()
