"""The page as a process of its own, and a Chromium to look at it with. For the tests of ui/web/."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.integration.test_kill import environment

REPO = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_open: list[Any] = []  # browsers
_running: list[PageServer] = []
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class PageServer:
    """`ragstone ui` over a home; `url` stays the same over a restart. llm_url: a scripted model's endpoint."""

    def __init__(self, home: Path, settings: Any, *, llm_url: str = "", **values: str) -> None:
        self.home = home
        self._environment = environment(settings) | {f"RAGSTONE__{key}": value for key, value in values.items()}
        if llm_url:
            self._environment |= {"RAGSTONE__LLM__BASE_URL": llm_url, "RAGSTONE__LLM__MODEL": "fake-model"}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._start()

    @property
    def log(self) -> str:
        return (self.home.parent / "page.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _start(self) -> None:
        command = [sys.executable, "-m", "ui.cli", "ui", "--home", str(self.home), "--port", str(self.port)]
        with open(self.home.parent / "page.log", "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=REPO, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, self.log
                time.sleep(0.05)


@contextmanager
def serving(home: Path, settings: Any, **options: str) -> Iterator[PageServer]:
    server = PageServer(home, settings, **options)
    _running.append(server)
    try:
        yield server
    finally:
        _running.remove(server)
        server.stop()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A canary: a listener that nothing on the page may ever reach, and what reached it."""
    hits: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", hits
    server.shutdown()
    server.server_close()


@contextmanager
def browsing() -> Iterator[Any]:
    """A browser for the tests of one module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        _open.append(browser)
        try:
            yield browser
        except BaseException:  # the test that failed opened it, and it will be gone when the report is made
            sys.stdout.write(on_screen())
            raise
        finally:
            _open.remove(browser)
            browser.close()


def on_screen() -> str:
    """What stands on all open pages, and the end of the servers' logs: for the report of a test that failed."""
    pages = [page for browser in _open for context in browser.contexts for page in context.pages]
    told = []
    for page in pages:
        with suppress(Exception):  # whatever is wrong with the page, the report is about the test
            told.append(f"{page.url}\n{page.locator('body').inner_text()[:3000]}")
    return "\n\n".join([*told, *(server.log[-3000:] for server in _running)])


def opened(browser: Any, address: str, *, chinese: bool = False) -> Any:
    """A tab of somebody whose browser says this language, on a page that has a title."""
    page = browser.new_context(locale="zh-CN" if chinese else "en-US").new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.locator("h1").first.wait_for()
    idle(page)
    return page


QUIET_MS = 200


def idle(page: Any) -> None:
    """Wait until Streamlit has run the script to its end, and no other run has begun for a moment.

    A change in the browser starts a run only when the server says so: right after it the page still looks idle.
    """
    page.evaluate("window.quietSince = undefined")
    page.wait_for_function(
        """quiet => {
            const busy = !document.querySelector("[data-test-script-state=notRunning]")
            if (busy || window.quietSince === undefined) window.quietSince = performance.now()
            return !busy && performance.now() - window.quietSince > quiet
        }""",
        arg=QUIET_MS,
    )


def shown(locator: Any, n: int) -> None:
    """Wait until n of these stand on the page."""
    from playwright.sync_api import expect

    expect(locator).to_have_count(n, timeout=60_000)


def press_inside(button: Any, inside: Any) -> None:
    """Press a popover's button, and then the one inside, until that can be pressed.

    A run of the script that draws the button anew closes the popover, and one that was placed while the page was still moving
    may lie outside of the window: it is closed and opened again.
    """
    from playwright.sync_api import TimeoutError as NotThere

    for _ in range(6):
        button.click()
        try:
            inside.click(timeout=5_000)
        except NotThere:
            continue
        return
    raise AssertionError(f"{inside} could not be pressed")


def take_away(button: Any) -> None:
    """Press what goes when it is pressed until it is gone: a press may only close a list that another one opened, or fall
    between two drawings of the page."""
    from playwright.sync_api import TimeoutError as StillThere

    for _ in range(6):
        button.click()
        try:
            button.wait_for(state="detached", timeout=5_000)
        except StillThere:
            continue
        return
    raise AssertionError(f"{button} is still there")


def ask(page: Any, question: str) -> None:
    """Type a question and send it."""
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.get_by_test_id("stChatInputSubmitButton").click()


def answered(page: Any, n: int = 0) -> Any:
    """The n-th answer of the thread, when it is whole: its rating can be given then."""
    answer = page.locator(f".st-key-answer-{n}")
    answer.locator("[class*='st-key-rating-']").wait_for()
    idle(page)
    return answer
