"""How long the page takes to be there, and what it adds to the chat model's own time to its first word.

    python -m bench.page [--starts 3] [--questions 8] [--model-s 1.0]

Measured in Chromium, beside the least that Streamlit takes: a page of one line, started in turn. The chat model is scripted: it speaks OpenAI's protocol on a loopback port and takes `model-s` seconds for
its first word. Prints one JSON document. The machine may be shared: look at the load beside the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from bench.run import passages
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
INPUT = "[data-testid=stChatInputTextArea]"
BARE = [  # a script of one line in the folder that follows, on the port after it, served as ours is
    "-c",
    "import sys, pathlib; from streamlit.starlette import App; script = pathlib.Path(sys.argv[1], 'bare.py'); "
    "script.write_text('import streamlit; streamlit.chat_input()'); App(script).run(config={'server.port': int(sys.argv[2]), "
    "'server.address': '127.0.0.1', 'server.headless': True, 'server.fileWatcherType': 'none', 'browser.gatherUsageStats': False})",
]
WORD = "quokka"  # the model's first word, which no document holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--model-s", type=float, default=1.0)
    parser.add_argument("--passages", type=int, default=120)
    options = parser.parse_args()
    print(json.dumps(run(options.starts, options.questions, options.model_s, options.passages), indent=2))


def run(
    n_starts: int, n_questions: int, model_s: float, n_passages: int, settings: Settings | None = None
) -> dict[str, Any]:
    """All measurements as one JSON document. settings: for the import; the page reads its own from the environment."""
    from playwright.sync_api import sync_playwright

    texts = passages(n_passages, 120)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as home, _model(model_s) as (url, spoken), sync_playwright() as driver:
        with KnowledgeBase.open(home, settings=(settings or Settings.load()).with_values(llm__model="none")) as kb:
            kb.ingest([Document(text, doc_id=f"p{at}") for at, text in enumerate(texts)])
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        starts, least, answers = [], [], []
        for at in range(n_starts + 1):  # the first one warms the interpreter's files and the browser
            with _started([*BARE, home]) as (address, started):
                tab = browser.new_page()
                _open(tab, address)
                least.append(time.perf_counter() - started)
                tab.close()
            with _page(home, url) as (address, started):
                tab = browser.new_page()
                tab.set_default_timeout(60_000)
                _open(tab, address)
                starts.append(time.perf_counter() - started)
                if at == n_starts:
                    answers = [_first_word(tab, address, text, spoken) for text in texts[: n_questions + 1]]
                tab.close()
        browser.close()
    return {
        "load": load, "cores": os.cpu_count(), "passages": len(texts),
        "first_page_s": {"median": _s(statistics.median(starts[1:])), "worst": _s(max(starts[1:])), "cold": _s(starts[0])},
        "page_of_one_line_s": {"median": _s(statistics.median(least[1:])), "worst": _s(max(least[1:]))},
        "first_word_beyond_the_model_s": {"median": _s(statistics.median(answers[1:])), "worst": _s(max(answers[1:])), "cold": _s(answers[0])},
    }  # fmt: skip


def _s(seconds: float) -> float:
    return round(seconds, 3)


def _open(tab: Any, address: str) -> None:
    """Load the page as soon as its server answers; done when one can type."""
    for _ in range(6000):
        try:
            urllib.request.urlopen(address, timeout=30).close()
            break
        except OSError:
            time.sleep(0.005)
    tab.goto(address, wait_until="commit")
    tab.locator(INPUT).wait_for()


def _first_word(tab: Any, address: str, text: str, spoken: list[float]) -> float:
    """Seconds from sending a question to seeing the first word, less what the model took for it."""
    tab.goto(address)
    tab.locator(INPUT).fill("What about " + " ".join(text.split()[3:9]) + "?")
    tab.locator("[data-test-script-state=notRunning]").first.wait_for()
    start = time.perf_counter()
    tab.locator("[data-testid=stChatInputSubmitButton]").click()
    tab.get_by_text(WORD).first.wait_for()
    return time.perf_counter() - start - spoken[-1]


def _page(home: str, model_url: str) -> AbstractContextManager[tuple[str, float]]:
    model = {"RAGSTONE__LLM__BASE_URL": model_url, "RAGSTONE__LLM__MODEL": "scripted"}
    return _started(["-m", "ui.cli", "ui", "--home", home, "--port"], **model)


@contextmanager
def _started(arguments: list[str], **environment: str) -> Iterator[tuple[str, float]]:
    """A page's process: its address, which ends the arguments with a port, and when it was started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments, str(port)],
        env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", started
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _model(first_word_s: float) -> Iterator[tuple[str, list[float]]]:
    """A scripted chat model, and how long it took for each first word."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    spoken: list[float] = []

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": [choice]}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            start = time.perf_counter()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            threading.Event().wait(first_word_s)
            self.wfile.write(event({"role": "assistant", "content": f"The {WORD} "}))
            self.wfile.flush()
            spoken.append(time.perf_counter() - start)
            threading.Event().wait(3)  # the check may replace what nothing bears out; the word stands so long
            self.wfile.write(event({"content": "says so [1]."}) + event({}, "stop") + b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            """Silence: standard output is for the figures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", spoken
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
