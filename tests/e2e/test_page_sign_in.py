"""Signing in to the page in a real browser: a session lasts, two people see only their own, and outside is outside."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from rag import Document, KnowledgeBase
from rag.users import Users
from tests.fakes.openai_server import OpenAIServer, says
from tests.page_server import CHROMIUM, PageServer, answered, ask, idle, serving

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PASSWORD = "seven cups of tea"
SECRET = "The secret kettle boils at midnight in the vault."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings) -> Iterator[PageServer]:  # type: ignore[no-untyped-def]
    home = tmp_path_factory.mktemp("signing") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([Document("The public kettle boils at noon in the hall.", doc_id="open", title="Hall", source="hall.md")])  # fmt: skip
        kb.ingest([Document(SECRET, doc_id="staff", title="Vault", source="vault.md")], acl=("g:staff",))
        users = Users(kb.catalog.engine)
        users.add("ann", PASSWORD, role="editor", names=["g:staff"])
        users.add("bob", PASSWORD)
    with (
        OpenAIServer(always=lambda _: says("The kettle boils [1].")) as model,
        serving(home, tiny_settings, llm_url=model.url) as running,
    ):
        yield running


def tab(browser, locale: str = "en-US"):  # type: ignore[no-untyped-def]
    page = browser.new_context(locale=locale).new_page()
    page.set_default_timeout(30_000)
    return page


def enter(page, name: str, password: str = PASSWORD) -> None:  # type: ignore[no-untyped-def]
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(password)
    page.locator("input[name=password]").press("Enter")


def ready(page) -> None:  # type: ignore[no-untyped-def]
    page.get_by_test_id("stChatInputTextArea").wait_for()
    idle(page)


def changed_accounts(server: PageServer, tiny_settings):  # type: ignore[no-untyped-def]
    return KnowledgeBase.open(server.home, settings=tiny_settings)


def test_two_people_see_only_their_own_and_a_session_lasts(server: PageServer, browser, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    ann = tab(browser)
    ann.goto(f"{server.url}/documents?lang=中文")
    assert ann.url.startswith(f"{server.url}/sign-in")
    enter(ann, "ann", "a wrong password")
    assert "不正确" in ann.get_by_role("alert").inner_text()
    enter(ann, "ann")
    ann.get_by_role("heading", name="文档", exact=True).wait_for()
    assert ann.url.startswith(f"{server.url}/documents"), "back to where she wanted to go"
    ann.goto(server.url)
    ready(ann)
    assert "ragstone_session" not in ann.evaluate("document.cookie"), "scripts do not see the session"
    ask(ann, "When does the kettle in the vault boil?")
    answered(ann)
    hers = ann.url
    assert "thread=" in hers
    server.restart()
    ann.goto(hers)
    answered(ann)

    bob = tab(browser, "zh-CN")
    bob.goto(server.url)
    assert bob.get_by_role("button").inner_text() == "登录"
    enter(bob, "bob")
    ready(bob)
    bob.goto(hers)
    ready(bob)
    assert bob.locator(".st-key-answer-0").count() == 0 and bob.get_by_text("vault").count() == 0
    seen = {}
    for name, page in (("ann", ann), ("bob", bob)):
        page.goto(f"{server.url}/documents?lang=English")
        page.locator("h1").first.wait_for()
        idle(page)
        seen[name] = page.get_by_test_id("stMain").inner_text()
    assert "Vault" not in seen["bob"] and "vault.md" not in seen["bob"]
    assert "vault.md" in seen["ann"]

    token = next(one["value"] for one in bob.context.cookies() if one["name"] == "ragstone_session")
    bob.get_by_role("link", name="Sign out").click()
    bob.locator("input[name=password]").wait_for()
    assert status(f"{server.url}/media/x", token) == 401, "the session has ended on the server, too"

    with changed_accounts(server, tiny_settings) as kb:
        Users(kb.catalog.engine).remove("ann")
    ann.locator(".st-key-lang").get_by_text("中文").click()
    ann.get_by_text("您已退出登录").wait_for()
    playwright.expect(ann.get_by_text("Vault")).to_have_count(0)
    ann.context.close()
    bob.context.close()


def test_rights_that_were_taken_end_in_open_dialogs_too(server: PageServer, browser, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    with changed_accounts(server, tiny_settings) as kb:
        Users(kb.catalog.engine).add("eve", PASSWORD, role="editor")
    eve = tab(browser)
    eve.goto(f"{server.url}/documents?doc=open")
    enter(eve, "eve")
    eve.locator(".st-key-document-delete button").click()
    sure = eve.locator(".st-key-documents-delete-sure button")
    sure.wait_for()
    idle(eve)
    with changed_accounts(server, tiny_settings) as kb:
        Users(kb.catalog.engine).change("eve", role="viewer")
    sure.click()
    sure.wait_for(state="detached")
    eve.locator(".st-key-document-delete").wait_for(state="detached")
    with changed_accounts(server, tiny_settings) as kb:
        assert kb.documents("open")[0].state == "live", "what the dialog offered was not done"
        Users(kb.catalog.engine).change("eve", role="editor")
    eve.reload()
    switch = eve.get_by_role("button", name="Switch off")
    switch.wait_for()
    idle(eve)
    with changed_accounts(server, tiny_settings) as kb:
        Users(kb.catalog.engine).change("eve", role="viewer")
    switch.click()  # a callback runs before the page does
    switch.wait_for(state="detached")
    with changed_accounts(server, tiny_settings) as kb:
        assert kb.documents("open")[0].state == "live"
        Users(kb.catalog.engine).remove("eve")
    eve.context.close()


def test_nothing_is_served_to_who_is_not_signed_in(server: PageServer) -> None:
    for path in ("media/abc.png", "_stcore/upload_file/a/b", "_stcore/stream", "component/x"):
        assert status(f"{server.url}/{path}") in (401, 403), path
    assert status(f"{server.url}/_stcore/health") == 200
    with urllib.request.urlopen(f"{server.url}/documents") as form:
        assert "default-src 'none'" in form.headers["Content-Security-Policy"]
        assert b'action="/sign-in"' in form.read()
    forged = urllib.request.Request(f"{server.url}/sign-in", data=b"name=bob&password=x", headers={"Origin": "https://evil.example"})  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(forged)
    assert refused.value.code == 403


def status(url: str, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Cookie": f"ragstone_session={token}"} if token else {})
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
