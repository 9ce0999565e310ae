"""The stack of docker-compose.yml as plain processes: API, worker, page and PostgreSQL, from a file to an answer."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agents.sandbox import runner
from tests.postgres_server import _programs


def free_ports(n: int) -> list[int]:
    probes = [socket.socket() for _ in range(n)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def environment(tiny_settings: Any, repo: Path) -> dict[str, str]:
    values = {
        "RAGSTONE__EMBEDDING__MODEL": tiny_settings.embedding.model, "RAGSTONE__EMBEDDING__BACKEND": tiny_settings.embedding.backend,
        "RAGSTONE__MODELS__DIR": tiny_settings.models.dir, "RAGSTONE__LLM__MODEL": "none", "RAGSTONE__CHUNK__SIZE": "64",
        "RAGSTONE__CHUNK__OVERLAP": "8", "PYTHONPATH": str(repo),
    }  # fmt: skip
    return {**os.environ, **values}


@pytest.mark.slow
def test_from_a_file_to_an_answer_through_all_processes(
    repo: Path, tmp_path: Path, tiny_settings: Any, request: pytest.FixtureRequest
) -> None:
    _programs()  # skips where there is no PostgreSQL
    home = Path(tempfile.mkdtemp(prefix="ragstone-native-"))
    home.chmod(0o755)  # PostgreSQL runs as another user, who does not get into pytest's folder
    request.addfinalizer(lambda: shutil.rmtree(home, ignore_errors=True))
    ports = free_ports(5)
    sandbox = [] if all(runner.problem(name) for name in runner.BACKENDS) else ["--sandbox", str(ports[4])]
    command = [sys.executable, str(repo / "deploy" / "native.py"), "--home", str(home), "--postgres", *sandbox]
    process = subprocess.Popen([*command, "--ports", ",".join(map(str, ports[:4]))], cwd=tmp_path, env=environment(tiny_settings, repo),
                               stdout=subprocess.PIPE, stderr=(tmp_path / "log").open("wb"))  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == b"ready\n", (tmp_path / "log").read_text()[-3000:]
        with httpx2.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60, trust_env=False) as api:
            files = {"file": ("note.md", b"# Samovars\n\nThe samovar stands in the attic.\n")}
            job = api.post("/v1/documents?wait=50", files=files).json()
            assert job["state"] == "done" and job["result"]["documents"]["added"] == 1, job
            chat = {"model": "default", "messages": [{"role": "user", "content": "Where does the samovar stand?"}]}
            answer = api.post("/v1/chat/completions", json=chat).json()
            assert (
                "attic" in answer["choices"][0]["message"]["content"]
                and answer["citations"][0]["source"] == "upload:/note.md"
            )
            if sandbox:
                assert httpx2.get(f"http://127.0.0.1:{ports[4]}/health", trust_env=False).json()["backend"]
                assert httpx2.post(f"http://127.0.0.1:{ports[4]}/v1/run", json={}, trust_env=False).status_code == 401
            assert httpx2.get(f"http://127.0.0.1:{ports[1]}/_stcore/health", trust_env=False).status_code == 200
        assert not (home / "catalog.sqlite3").exists()  # the catalog is in PostgreSQL
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    finally:
        if process.poll() is None:
            process.kill()
    log = (tmp_path / "log").read_text()
    assert '"route": "/v1/chat/completions"' in log and "had to be killed" not in log and "Traceback" not in log
    assert "samovar" not in log  # what people ask stays out of logs
