"""A server that is ended under load, gently or not, loses nothing that it accepted; the next one does it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.bars.harness import FULL, says
from tests.e2e.test_native import environment, free_ports
from tests.fakes.openai_server import OpenAIServer, held

pytestmark = [pytest.mark.bar, pytest.mark.slow]


SAID: dict[int, list[bytes]] = {}  # the lines of each process


def ended(process: subprocess.Popen[bytes], within_s: float = 90) -> int:
    """Its exit code. One that does not end says first where each of its threads is."""
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait(30)
        raise AssertionError(b"".join(SAID[process.pid][-120:]).decode("utf-8", "replace")) from None


@contextmanager
def started(
    command: list[str], says_first: bytes, home: Path, settings: Any, repo: Path, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the home, once it has said that it works; ended gently at the end. more: of its environment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ui.cli", *command, "--home", str(home)], cwd=home.parent,
        env=environment(settings, repo) | {"PYTHONFAULTHANDLER": "1"} | more, stderr=subprocess.PIPE,
    )  # fmt: skip
    said = SAID[process.pid] = []
    try:
        assert process.stderr and says_first in process.stderr.readline()
        drain = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)  # a full pipe would stop it
        drain.start()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            ended(process)


@contextmanager
def serving(
    home: Path, settings: Any, repo: Path, port: int = 0, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    with started(["serve", "--port", str(port)], b"the API is at", home, settings, repo, **more) as process:
        while not answers(url):  # its port opens a moment after it says so
            assert process.poll() is None
        yield process, url


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def send(url: str, first: int, accepted: dict[str, int], enough: threading.Event, n_enough: int) -> None:
    """Post documents until the server is gone; note what it accepted."""
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
        for n in range(first, first + 1000):
            try:
                answer = http.post(
                    "/v1/documents", json={"documents": [{"text": f"The kettle number {n} sings.", "doc_id": f"k{n}"}]}
                )
            except httpx2.TransportError:
                return
            if answer.status_code == 202:
                accepted[answer.json()["id"]] = n
            elif answer.status_code == 503:
                return
            if len(accepted) >= n_enough:
                enough.set()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL] if FULL else [signal.SIGTERM])
def test_what_was_accepted_is_done_after_a_restart(
    tmp_path: Path, tiny_settings: Any, repo: Path, how: signal.Signals
) -> None:
    accepted: dict[str, int] = {}
    enough = threading.Event()
    with serving(tmp_path / "home", tiny_settings, repo) as (process, url):
        threads = [threading.Thread(target=send, args=(url, 1000 * at, accepted, enough, 12)) for at in range(3)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        os.kill(process.pid, how)
        for thread in threads:
            thread.join(60)
        code = ended(process)
    assert code == (0 if how == signal.SIGTERM else -9)
    with (
        serving(tmp_path / "home", tiny_settings, repo) as (_, url),
        httpx2.Client(base_url=url, timeout=120, trust_env=False) as http,
    ):
        for job_id in accepted:
            with http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
                stream.read()
            job = http.get(f"/v1/jobs/{job_id}").json()
            assert job["state"] == "done", job
        documents = http.get("/v1/documents?limit=1000").json()["documents"]
    found = {document["doc_id"] for document in documents if document["state"] == "live"}
    assert {f"k{n}" for n in accepted.values()} <= found and len(documents) == len(found)
    says("restart", how=how.name, accepted=len(accepted), lost=0)


def test_a_model_that_says_nothing_more_keeps_no_server(tmp_path: Path, tiny_settings: Any, repo: Path) -> None:
    go = threading.Event()
    with ExitStack() as stack:
        model = stack.enter_context(OpenAIServer(always=held("The samovar stands in the attic [1].", go)))
        stack.callback(go.set)
        more = {
            "RAGSTONE__LLM__BASE_URL": model.url,
            "RAGSTONE__LLM__MODEL": "fake-model",
            "RAGSTONE__API__GRACE_S": "1",
        }
        process, url = stack.enter_context(serving(tmp_path / "home", tiny_settings, repo, **more))
        text = {"documents": [{"text": "The samovar stands in the attic.", "doc_id": "samovar"}]}
        httpx2.post(f"{url}/v1/documents?wait=50", json=text, timeout=60, trust_env=False)
        asking = threading.Thread(target=cut_off, args=(url,))
        asking.start()
        while not model.requests:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert ended(process, 30) == 0, "the model has two minutes to answer"
        asking.join(30)
        assert not asking.is_alive()


def cut_off(url: str) -> None:
    """An answer whose end never comes."""
    replies: list[str] = []
    with suppress(httpx2.TransportError):
        chat(url, replies)
    assert not any("[DONE]" in reply for reply in replies)


class Client:
    """Sends documents to whichever API takes them, each when the one before is done, as a client with a list of servers does."""

    def __init__(self, urls: list[str], first: int) -> None:
        self.jobs: dict[str, str] = {}  # by document
        self.enough = threading.Event()
        self._urls, self._first = urls, first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        n = self._first
        while not self._stop.is_set():
            self.jobs[f"k{n}"] = self._accepted(n)
            n += 1
            if n - self._first >= 2:
                self.enough.set()

    def _accepted(self, n: int) -> str:
        """The job of document n. A request that got no answer is sent again, under its key, to the next server."""
        body = {"documents": [{"text": f"The kettle number {n} sings.", "doc_id": f"k{n}"}]}
        for at in range(n, n + 10_000):
            try:
                answer = httpx2.post(
                    f"{self._urls[at % len(self._urls)]}/v1/documents?wait=20", json=body, timeout=60, trust_env=False,
                    headers={"Idempotency-Key": f"document {n}"},
                )  # fmt: skip
            except httpx2.TransportError:
                continue
            if answer.status_code in (409, 503):  # still being answered, or stopping: both say when to come back
                assert int(answer.headers["retry-after"]) >= 1
                continue
            assert answer.status_code in (200, 202), answer.text
            return str(answer.json()["id"])
        raise AssertionError("no server takes the document")


def chat(url: str, replies: list[str]) -> None:
    """A streamed answer, to its end."""
    body = {
        "model": "default",
        "stream": True,
        "messages": [{"role": "user", "content": "Where does the samovar stand?"}],
    }
    with (
        httpx2.Client(timeout=120, trust_env=False) as http,
        http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer,
    ):
        replies.append(answer.read().decode())


@pytest.mark.skipif(not FULL, reason="six processes, one after the other: make bars")
def test_a_rolling_restart_ends_every_chat_and_does_every_import_once(
    tmp_path: Path, tiny_settings: Any, repo: Path
) -> None:
    """Two APIs and a worker: the worker and one API are replaced while chats stream and documents come, then the other."""
    home, (first, second) = tmp_path / "home", free_ports(2)
    urls = [f"http://127.0.0.1:{port}" for port in (first, second)]
    go = threading.Event()
    replies: list[str] = []
    with ExitStack() as stack:
        model = stack.enter_context(OpenAIServer(always=held("The samovar stands in the attic [1].", go)))
        stack.callback(go.set)
        more = {"RAGSTONE__LLM__BASE_URL": model.url, "RAGSTONE__LLM__MODEL": "fake-model",
                "RAGSTONE__API__WORKER": "false", "RAGSTONE__API__GRACE_S": "120"}  # fmt: skip

        def api(port: int) -> subprocess.Popen[bytes]:
            return stack.enter_context(serving(home, tiny_settings, repo, port, **more))[0]

        def worker() -> subprocess.Popen[bytes]:
            return stack.enter_context(started(["worker"], b"working on jobs", home, tiny_settings, repo))

        apis, works = [api(first), api(second)], worker()
        text = {"documents": [{"text": "The samovar stands in the attic.", "doc_id": "samovar"}]}
        made = httpx2.post(f"{urls[0]}/v1/documents?wait=50", json=text, timeout=60, trust_env=False).json()
        assert made["state"] == "done", made
        chats = [threading.Thread(target=chat, args=(urls[0], replies)) for _ in range(6)]
        for one in chats:
            one.start()
        while len(model.requests) < len(chats):  # all of them are being answered
            assert apis[0].poll() is None
        clients = [Client(urls, 1000 * at) for at in range(4)]
        for client in clients:
            stack.callback(client.stop)
        assert all(client.enough.wait(60) for client in clients)

        apis[0].send_signal(signal.SIGTERM)
        works.send_signal(signal.SIGTERM)
        while answers(urls[0]):  # the port is free although the chats go on
            pass
        api(first)
        worker()
        assert apis[0].poll() is None and not replies
        go.set()
        for one in chats:
            one.join(60)
        assert [ended(apis[0]), ended(works)] == [0, 0]  # what docker-compose.yml gives a worker
        apis[1].send_signal(signal.SIGTERM)
        assert ended(apis[1]) == 0
        api(second)
        for client in clients:
            client.enough.clear()
            assert client.enough.wait(60)
            client.stop()

        assert len(replies) == len(chats)
        assert all("attic" in reply and reply.rstrip().endswith("data: [DONE]") for reply in replies), replies
        accepted = {doc_id: job for client in clients for doc_id, job in client.jobs.items()}
        assert len(set(accepted.values())) == len(accepted)
        with httpx2.Client(base_url=urls[0], timeout=120, trust_env=False) as http:
            for job_id in accepted.values():
                with http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
                    stream.read()
                job = http.get(f"/v1/jobs/{job_id}").json()
                assert job["state"] == "done" and job["result"]["documents"]["failed"] == 0, job
            documents = http.get("/v1/documents?limit=1000").json()["documents"]
        assert sorted(one["doc_id"] for one in documents) == sorted([*accepted, "samovar"])
        with closing(sqlite3.connect(home / "catalog.sqlite3")) as db:
            assert db.execute("select count(*) from jobs").fetchone() == (len(accepted) + 1,)  # none was accepted twice
    says("rolling restart", chats=len(chats), accepted=len(accepted), lost=0)
