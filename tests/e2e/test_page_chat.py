"""What the chat offers beside an answer, in a real browser: the model, what to ask next, and sources that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from tests.fakes.openai_server import OpenAIServer, Reply, Request, says
from tests.page_server import CHROMIUM, PageServer, answered, ask, idle, opened, serving

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

GATE, ASKED_AGAIN = Event(), Event()
ASKED_OF: list[str] = []  # the model of each answer
PROPOSED = (
    '{"questions": ["Who owns the harbour bridge?", "Is the moon made of cheese?", "How long is the harbour bridge?"]}'
)


def reply(request: Request) -> Reply:
    if "JSON" in request.json["messages"][0]["content"]:  # what to ask next
        GATE.wait(60)
        return says(PROPOSED)
    ASKED_OF.append(request.json["model"])
    if len(ASKED_OF) == 2:
        ASKED_AGAIN.set()
    return says("The harbour bridge is 420 metres long [1].")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[PageServer]:
    home = tmp_path_factory.mktemp("chat-page") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([
            Document("The harbour bridge is 420 metres long.", doc_id="old", title="Guide", source="guide.md", metadata={"date": "2001-05-01"}),
            Document("The harbour bridge is 435 metres long.", doc_id="new", title="Survey", source="survey.md", metadata={"date": "2024-03-02"}),
            Document("The town owns the harbour bridge.", doc_id="who", title="Owners", source="owners.md"),
        ])  # fmt: skip
    with (
        OpenAIServer(always=reply) as model,
        serving(home, tiny_settings, llm_url=model.url, LLM__OFFERED="large-model") as running,
    ):
        yield running


def test_conflicts_follow_ups_and_the_model_of_a_chat(server: PageServer, browser: Any) -> None:
    page = opened(browser, server.url)
    ask(page, "How long is the harbour bridge?")
    answer = answered(page)
    assert "420 metres" in answer.inner_text() and ASKED_OF == ["fake-model"]

    page.get_by_text("Looking for what to ask next").wait_for()  # the answer did not wait for it
    GATE.set()
    follow_ups = page.locator(".st-key-follow-ups button")
    follow_ups.first.wait_for()
    assert [one.strip().rpartition("\n")[2] for one in follow_ups.all_inner_texts()] == [
        "Who owns the harbour bridge?"
    ], "not what was just asked, and nothing that the sources say nothing about"

    conflict = page.locator(".st-key-conflict-0-0")
    conflict.get_by_text("The sources give different figures").wait_for()
    said = conflict.inner_text()
    assert said.index("2024-03-02") < said.index("435") < said.index("2001-05-01") < said.index("420"), (
        "the newest first"
    )
    conflict.get_by_role("button", name="Survey").click()
    panel = page.locator("[class*='st-key-source-0-']").first
    panel.locator(".stMarkdownColoredBackground").get_by_text("435 metres").wait_for()
    assert "source=0.c0-0" in page.url
    idle(page)

    page.get_by_test_id("stSidebar").get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="large-model").click()
    idle(page)
    press_until(page.locator("[class*='st-key-retry-'] button").first, ASKED_AGAIN)
    answered(page)
    assert ASKED_OF == ["fake-model", "large-model"]
    address = page.url
    page.context.close()
    server.restart()
    page = opened_thread(browser, address)
    model = page.get_by_test_id("stSidebar").get_by_role("combobox", name="Model")
    assert model.input_value() == "large-model", "remembered with the chat"
    page.locator(".st-key-new-thread button").click()
    page.get_by_role("heading", name="Ask your documents").wait_for()
    idle(page)
    assert model.input_value() == "fake-model"
    page.context.close()


def press_until(button: Any, happened: Event) -> None:
    """A press may only close a list that another one opened. What the page shows meanwhile may be over before one looks."""
    for _ in range(4):
        button.click()
        if happened.wait(20):
            return
    raise AssertionError(f"{button} was pressed, and nothing happened")


def opened_thread(browser: Any, address: str) -> Any:
    page = browser.new_context(locale="en-US").new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    answered(page)
    return page
