"""Takes the pictures in docs/images: the chat page over the sample documents, in both languages.

Run `make screenshots`; it needs a Chromium on the PATH, and the home that `make demo` filled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from ui.web.words import LANGUAGES, word

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
QUESTIONS = {
    "chat.png": ("English", "At what temperature should green tea be brewed, and for how long?"),
    "chat-zh.png": ("中文", "《茶经》的作者是谁，大约写于什么年代？"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default=".ragstone/demo")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ui.cli", "ui", "--home", options.home, "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name, (language, question) in QUESTIONS.items():
                page = browser.new_page(viewport={"width": 1200, "height": 860}, color_scheme="light")
                page.set_default_timeout(180_000)
                page.goto(f"http://127.0.0.1:{port}")
                _take(page, language, question, IMAGES / name)
                print(IMAGES / name)
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGKILL)


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} did not answer")


def _take(page: Any, language: str, question: str, target: Path) -> None:
    idle = page.locator("[data-test-script-state=notRunning]").first
    page.get_by_text(language, exact=True).click()
    page.get_by_role("heading", name=word("chat.title", LANGUAGES[language])).wait_for()
    idle.wait_for()
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.get_by_test_id("stChatInputSubmitButton").click()
    page.get_by_test_id("stExpander").first.wait_for()
    idle.wait_for()
    page.wait_for_timeout(1000)  # the page scrolls to the answer by itself; a click on the way would miss
    page.get_by_test_id("stExpander").first.locator("summary").click()
    page.locator(".stMarkdownColoredBackground").first.wait_for()
    page.wait_for_timeout(500)  # the fold's animation
    page.screenshot(path=str(target))


if __name__ == "__main__":
    main()
