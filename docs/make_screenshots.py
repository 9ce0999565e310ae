"""Takes the pictures in docs/images: every page of the menu over the sample documents, in both languages.

Run `make screenshots`; it needs a Chromium on the PATH, and the home that `make demo` filled. A page that needs more than to
be opened gets a function in STEPS: it is given the browser's page and the language, and leaves on screen what is to be seen.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from ui.web.app import PAGES
from ui.web.words import word

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
QUESTIONS_FILE = Path(__file__).parents[1] / "examples" / "tea_questions.jsonl"
TASKS = {
    "en": "How many years lie between the Boston Tea Party and the opening of the Suez Canal?",
    "zh": "从祁门红茶创制到滇红试制成功，相隔多少年？",
}
QUESTIONS = {
    "en": "When did the first shipments of tea reach Amsterdam?",
    "zh": "《茶经》的作者是谁，大约写于什么年代？",
}


def chat(page: Any, language: str) -> None:
    """A question, its answer, and the source open beside it."""
    page.get_by_test_id("stChatInputTextArea").fill(QUESTIONS[language])
    page.get_by_test_id("stChatInputSubmitButton").click()
    page.locator("[class*='st-key-rating-']").first.wait_for()
    idle(page)
    page.locator(".st-key-answer-0 .stMarkdownBadge[role=button]").first.click()
    page.locator("[class*='st-key-source-0-']").first.wait_for()
    idle(page)


def lab(page: Any, language: str) -> None:
    """One question in three ways."""
    page.get_by_label(word("lab.query", language)).fill(QUESTIONS[language])
    page.get_by_role("button", name=word("lab.search", language)).click()
    page.get_by_role("heading", name="hybrid", exact=True).wait_for()
    idle(page)


def graph(page: Any, language: str) -> None:
    """An entity and what stands around it."""
    if page.get_by_role("button", name=word("graph.build", language)).count():
        page.get_by_role("button", name=word("graph.build", language)).click()
    search = page.get_by_label(word("graph.search", language))
    search.fill({"en": "Assam", "zh": "福建"}[language])
    search.press("Enter")
    page.locator(".st-key-graph-facts").wait_for()
    idle(page)


def agents(page: Any, language: str) -> None:
    """A task of two tools, with its steps and its answer."""
    page.get_by_label(word("agents.task", language)).fill(TASKS[language])
    page.get_by_role("button", name=word("agents.start", language)).click()
    stop = page.get_by_role("button", name=word("agents.stop", language))
    stop.wait_for()
    stop.wait_for(state="detached")  # until then an earlier run's answer may stand there
    page.locator(".st-key-agents-answer").wait_for()
    idle(page)


def evaluation(page: Any, language: str) -> None:
    """What the usual strategies find of a dozen questions about the samples."""
    if not page.locator(".st-key-set-tea").count():
        page.locator(".st-key-evaluation-add summary").click()
        page.locator("input[type=file]").set_input_files(
            {"name": "tea.csv", "mimeType": "text/csv", "buffer": _table()}
        )
        page.locator(".st-key-evaluation-upload-button button").click()
        page.locator(".st-key-set-tea").wait_for()
    page.get_by_role("button", name=word("evaluation.start", language)).click()
    page.locator(".st-key-evaluation-see button").click()
    page.get_by_role("img").first.wait_for()
    idle(page)


def _table() -> bytes:
    """The sample questions that have an answer, as the page takes them."""
    kept = [json.loads(line) for line in QUESTIONS_FILE.read_text(encoding="utf-8").splitlines()]
    out = io.StringIO()
    csv.writer(out).writerows(
        [["question", "source"], *([one["question"], one["sources"][0]] for one in kept if one["sources"])]
    )
    return out.getvalue().encode()


STEPS: dict[str, Callable[[Any, str], None]] = {
    "chat": chat,
    "lab": lab,
    "graph": graph,
    "agents": agents,
    "evaluation": evaluation,
}  # page of the menu → what is done on it first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default=".ragstone/demo")
    parser.add_argument("--pages", nargs="*", default=list(PAGES), help="only these")
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--dark", action="store_true", help="the dark theme; into NAME-dark.png")
    parser.add_argument("--phone", action="store_true", help="390 pixels wide; into NAME-phone.png")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ui.cli", "ui", "--home", options.home, "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name in options.pages:
                for language in LANGUAGES:
                    print(_take(browser, f"http://127.0.0.1:{port}", name, language, options))
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGKILL)


def idle(page: Any) -> None:
    """Wait until the page's script has run to its end."""
    page.locator("[data-test-script-state=notRunning]").first.wait_for()


def _take(browser: Any, address: str, name: str, language: str, options: argparse.Namespace) -> Path:
    page = browser.new_page(
        viewport={"width": 390 if options.phone else 1280, "height": 844 if options.phone else 860},
        color_scheme="dark" if options.dark else "light", locale=LANGUAGES[language],
    )  # fmt: skip
    page.set_default_timeout(180_000)
    page.goto(address if name == "chat" else f"{address}/{name}")
    page.locator("[data-testid=stSidebarNav], [data-testid=stMain] h1, [data-testid=stChatInput]").first.wait_for(
        state="attached"
    )
    idle(page)
    if name in STEPS:
        STEPS[name](page, language)
    page.wait_for_timeout(1500)  # pictures and animations
    target = Path(options.out) / f"{name}-{language}{'-dark' * options.dark}{'-phone' * options.phone}.png"
    page.screenshot(path=str(target))
    page.close()
    return target


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} did not answer")


if __name__ == "__main__":
    main()
