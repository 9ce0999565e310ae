"""The page as a process of its own, and a browser on it, for the tests of one module."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.test_kill import environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Server:
    """A page over `home`, which nobody else has open."""

    def __init__(self, home: Path, settings: Any, repo: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._home, self._settings, self._repo = home, settings, repo
        self.address = f"http://127.0.0.1:{self._port}"
        home.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        command = [sys.executable, "-m", "ui.cli", "ui", "--home", str(self._home), "--port", str(self._port)]
        with open(self._home / "page.log", "ab") as log:
            self._process = subprocess.Popen(command, cwd=self._repo, env=environment(self._settings), stdout=log, stderr=log,
                                             start_new_session=True)  # fmt: skip
        deadline = time.monotonic() + 60
        while not _answers(f"{self.address}/_stcore/health"):
            assert self._process.poll() is None and time.monotonic() < deadline, (self._home / "page.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        os.killpg(self._process.pid, 9)
        self._process.wait()


@contextmanager
def served(home: Path, settings: Any, repo: Path) -> Iterator[Server]:
    server = Server(home, settings, repo)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def browsing() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Any, address: str, *, chinese: bool = False) -> Any:
    """A tab of a person whose browser says this language."""
    page = browser.new_context(locale="zh-CN" if chinese else "en-US").new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.locator("h1").first.wait_for()
    idle(page)
    return page


def idle(page: Any) -> None:
    """Wait until Streamlit has run the script to its end."""
    page.locator("[data-test-script-state=notRunning]").first.wait_for()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except OSError:
        return False
    return True
