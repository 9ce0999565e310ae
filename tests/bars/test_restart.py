"""A server that is ended under load, gently or not, loses nothing that it accepted; the next one does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.bars.harness import FULL, says
from tests.e2e.test_native import environment, free_ports

pytestmark = [pytest.mark.bar, pytest.mark.slow]


@contextmanager
def serving(home: Path, settings: Any, repo: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "ui.cli", "serve", "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(command, cwd=home.parent, env=environment(settings, repo), stderr=subprocess.PIPE)
    try:
        assert process.stderr and b"the API is at" in process.stderr.readline()
        drain = threading.Thread(target=process.stderr.read, daemon=True)  # a full pipe would stop the server
        drain.start()
        url = f"http://127.0.0.1:{port}"
        while True:  # its port opens a moment after it says so
            try:
                httpx2.get(f"{url}/healthz", trust_env=False)
                break
            except httpx2.TransportError:
                assert process.poll() is None
        yield process, url
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


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
        code = process.wait(90)
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
