"""The agents page in a real browser: steps as they come, a call that waits for a person, stopping, earlier runs."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from tests.fakes.openai_server import OpenAIServer, Reply, Request, calls, says
from tests.page_server import CHROMIUM, PageServer, idle, opened, serving, shown

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


GATE = Event()


def reply(request: Request) -> Reply:
    """A model that searches, then writes a file where it is asked to, then answers."""
    messages = request.json["messages"]
    task = str(next(one["content"] for one in messages if one["role"] == "user"))
    n_results = sum(one["role"] == "tool" for one in messages)
    if "for ever" in task:
        if n_results:
            GATE.wait(60)  # until the test has pressed Stop
        return calls(("search", {"query": f"tea {n_results}"}))
    if n_results == 0:
        return calls(("search", {"query": "green tea degrees"}), text="I look it up.")
    if "note" in task and n_results == 1:
        return calls(
            ("write_file", {"name": "note.md", "content": "Green tea: 80 degrees. ![x](http://evil.example/i)"})
        )
    return says("Green tea is steeped at 80 degrees [1].")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[PageServer]:
    home = tmp_path_factory.mktemp("agents-page") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([Document("Green tea is steeped at 80 degrees for 2 minutes.", doc_id="green", title="Green tea", source="green.md")])  # fmt: skip
    with (
        OpenAIServer(always=reply) as model,
        serving(home, tiny_settings, llm_url=model.url, AGENT__TOOLS="files") as running,
    ):
        yield running


def give(page: Any, label: str, task: str, start: str) -> None:
    """The field is left before the button is clicked, as a hand does it, and the run is waited for."""
    field = page.get_by_label(label, exact=True)
    field.fill(task)
    field.blur()
    idle(page)
    page.get_by_role("button", name=start).click()
    page.locator(".st-key-agents-run").get_by_text(task).wait_for()


def test_a_run_with_a_call_that_waits(server: PageServer, browser: Any) -> None:
    page = opened(browser, f"{server.url}/agents")
    give(page, "Task", "How hot is green tea brewed? Leave a note.", "Start")
    waiting = page.locator(".st-key-agents-approval")
    waiting.get_by_text("write_file").first.wait_for()
    waiting.get_by_text("80 degrees").first.wait_for()  # code is drawn a moment after the words around it
    assert not (server.home / "agents" / "workspace" / "note.md").exists()
    waiting.get_by_role("button", name="Do it").click()
    page.locator(".st-key-agents-answer").get_by_text("steeped at 80 degrees").wait_for()
    assert [path.read_text() for path in server.home.rglob("note.md")] == [
        "Green tea: 80 degrees. ![x](http://evil.example/i)"
    ]
    idle(page)
    assert page.locator("img[src*='evil']").count() == 0

    again = opened(browser, f"{server.url}/agents")  # another tab finds the run
    again.locator(".st-key-agents-answer").wait_for()
    again.get_by_text("Earlier runs", exact=True).first.click()
    again.get_by_role("button", name="Save as a test").wait_for()
    again.get_by_test_id("stExpander").nth(1).wait_for()  # the steps, without a model


def test_stopping(server: PageServer, browser: Any) -> None:
    page = opened(browser, f"{server.url}/agents", chinese=True)
    give(page, "任务", "Search for ever.", "开始")
    page.locator(".st-key-agents-run").get_by_test_id("stExpander").first.wait_for()
    page.get_by_role("button", name="停止").click()
    page.get_by_text("完成这一步后停止").wait_for()
    GATE.set()
    page.get_by_text("运行被停止").wait_for()
    page.locator(".st-key-agents-go-on button").click()
    page.get_by_text("步数用完仍没有得到答案").wait_for()
    assert page.get_by_text("Traceback").count() == 0


def test_a_call_that_waits_is_approved_after_a_restart(server: PageServer, browser: Any) -> None:
    page = opened(browser, f"{server.url}/agents")
    give(page, "Task", "How hot is black tea brewed? Leave a note.", "Start")
    page.locator(".st-key-agents-approval").get_by_role("button", name="Do it").wait_for()
    page.context.close()
    (server.home / "agents" / "workspace" / "note.md").unlink(missing_ok=True)
    server.restart()
    page = opened(browser, f"{server.url}/agents")  # it stands below the form, as before
    page.locator(".st-key-agents-kept").get_by_text("How hot is black tea brewed?").wait_for()
    page.get_by_text("Earlier runs", exact=True).first.click()
    waiting = page.locator(".st-key-agents-approval")
    waiting.get_by_text("80 degrees").first.wait_for()
    shown(page.locator(".st-key-agents-kept").get_by_test_id("stExpander"), 1)  # the search before it
    idle(page)
    waiting.get_by_role("button", name="Do it").click()
    page.locator(".st-key-agents-kept .st-key-agents-answer").get_by_text("steeped at 80 degrees").wait_for()
    assert (server.home / "agents" / "workspace" / "note.md").read_text().startswith("Green tea: 80 degrees.")
