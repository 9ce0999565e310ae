"""The chat page in a real browser: ask in both languages, open the source, upload a file, and no request leaves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rag import Document, KnowledgeBase
from tests.integration.test_kill import environment

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """A listener that nothing on the page may ever reach."""
    hits: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", hits
    server.shutdown()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_settings, canary, repo: Path) -> Iterator[str]:  # type: ignore[no-untyped-def]
    home = tmp_path_factory.mktemp("page") / "home"
    url, _ = canary
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([
            Document("# Green tea\n\nGreen tea is steeped at 80 degrees for 2 minutes.", doc_id="green", title="Green tea", source="green.md"),
            Document("# 红茶\n\n祁门红茶创制于一八七五年，创制者是余干臣。", doc_id="keemun", title="祁门红茶", source="keemun.md"),
            Document(f"Zeppelin airships carried tea ![x]({url}/image) <img src='{url}/tag'> [link]({url}/link) in 1936.", doc_id="evil",
                     title=f"![t]({url}/title)", source="evil.md"),
        ])  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(home / "page.log", "wb")  # noqa: SIM115
    process = subprocess.Popen([sys.executable, "-m", "ui.cli", "ui", "--home", str(home), "--port", str(port)], cwd=repo,
                               env=environment(tiny_settings), stdout=log, stderr=log, start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, (home / "page.log").read_text()
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, 9)
    process.wait()


@pytest.fixture
def page(address: str) -> Iterator:  # type: ignore[type-arg]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page()
        opened.set_default_timeout(60_000)
        opened.goto(address)
        yield opened
        browser.close()


def ask(page, question: str) -> None:  # type: ignore[no-untyped-def]
    idle(page)
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.get_by_test_id("stChatInputSubmitButton").click()
    page.get_by_test_id("stExpander").first.wait_for()
    idle(page)


def open_source(page):  # type: ignore[no-untyped-def]
    """Open the first citation. The page scrolls by itself, and a click on the way may miss: then once more."""
    source = page.get_by_test_id("stExpander").first
    marked = source.locator(".stMarkdownColoredBackground").first
    for _ in range(5):
        source.locator("summary").click()
        try:
            marked.wait_for(timeout=5_000)
            return source
        except playwright.TimeoutError:
            continue
    raise AssertionError("the source does not open")


def idle(page) -> None:  # type: ignore[no-untyped-def]
    """Wait until Streamlit has run the script to its end."""
    page.locator("[data-test-script-state=notRunning]").first.wait_for()


def test_ask_and_open_the_source(page) -> None:  # type: ignore[no-untyped-def]
    ask(page, "How many degrees for green tea?")
    page.get_by_text("80 degrees for 2 minutes").first.wait_for()
    source = open_source(page)
    source.get_by_text("Green tea is steeped at 80 degrees").wait_for()
    assert source.locator("span[style*='background'], .stMarkdownColoredBackground").count() >= 1, (
        "the passage is marked"
    )
    assert page.get_by_text("Traceback").count() == 0


def test_chinese_question_and_language_switch(page) -> None:  # type: ignore[no-untyped-def]
    page.get_by_text("中文", exact=True).click()
    page.get_by_role("heading", name="向你的文档提问").wait_for()
    ask(page, "祁门红茶是哪一年创制的？")
    page.get_by_text("一八七五年").first.wait_for()


def test_nothing_that_a_document_names_is_loaded(page, canary) -> None:  # type: ignore[no-untyped-def]
    url, hits = canary
    ask(page, "What did zeppelin airships carry in 1936?")
    source = open_source(page)
    source.get_by_text("Zeppelin airships").wait_for()
    page.wait_for_load_state("networkidle")
    assert hits == []
    assert page.locator(f"img[src*='{url}'], a[href*='{url}']").count() == 0


def test_upload_then_ask(page, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "puer.md"
    file.write_text("# Pu'er\n\nWet piling was developed in 1973 in Kunming.\n", encoding="utf-8")
    page.locator("input[type=file]").set_input_files(str(file))
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("1 new, 0 changed").wait_for()
    ask(page, "When was wet piling developed?")
    page.get_by_text("1973").first.wait_for()
