"""The sandbox service as a process of its own: programs run there and nowhere else; without it none does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agents.sandbox import runner
from agents.tooling import ToolContext
from agents.tools.python import python_tool
from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.settings import AgentSettings
from tests.e2e.test_native import free_ports
from ui import doctor

KEY = "a-key-of-the-sandbox-service"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(all(runner.problem(name) for name in runner.BACKENDS), reason="no sandbox holds here"),
]


@pytest.fixture(scope="module")
def service(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "RAGSTONE_SANDBOX_KEY": KEY,
        "PYTHONPATH": str(repo),
        "RAGSTONE__AGENT__SANDBOX_S": "3",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ui.cli", "agent", "sandbox", "--port", str(port)], env=environment,
        cwd=tmp_path_factory.mktemp("sandbox"), stderr=subprocess.PIPE,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        assert process.stderr and b"the sandbox (" in process.stderr.readline()
        while True:  # its port opens a moment after it says so
            try:
                assert httpx2.get(f"{url}/health", trust_env=False).status_code == 200
                break
            except httpx2.TransportError:
                assert process.poll() is None
        yield process, url
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def agent_settings(url: str, key: str = KEY, **more: Any) -> AgentSettings:
    return AgentSettings(sandbox_url=f"{url}/v1", sandbox_key=key, **more)


def call(settings: AgentSettings, code: str, folder: Path) -> Any:
    return python_tool(settings).function(code=code, context=ToolContext(folder=folder))


def test_programs_run_in_the_service(service: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    process, url = service
    done = call(agent_settings(url), "import os\nopen('t.csv', 'w').write('a,b')\nprint(6 * 7, os.getppid())", tmp_path)
    assert done.ok and done.text.startswith("42 ")
    assert [Path(path).read_text() for path in done.artifacts] == ["a,b"]
    environment = call(agent_settings(url), "import os\nprint(dict(os.environ))", tmp_path)
    assert environment.ok and KEY not in environment.text
    assert process.poll() is None


def test_a_program_ends_when_the_service_says_so(service: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    body = {"code": "while True: pass", "seconds": 600, "memory_mb": 100_000}
    headers = {"Authorization": f"Bearer {KEY}"}
    ended = httpx2.post(f"{service[1]}/v1/run", json=body, headers=headers, timeout=60, trust_env=False).json()
    assert ended["stopped"] == "time" and ended["seconds"] < 60


def test_nobody_else_runs_programs(service: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    body = {"code": "print(1)", "seconds": 1, "memory_mb": 100}
    for headers, status in (({}, 401), ({"Authorization": "Bearer another"}, 401),
                            ({"Authorization": f"Bearer {KEY}", "Host": "evil.example"}, 403),
                            ({"Authorization": f"Bearer {KEY}", "Origin": "https://evil.example"}, 403)):  # fmt: skip
        assert httpx2.post(f"{service[1]}/v1/run", json=body, headers=headers, trust_env=False).status_code == status
    with pytest.raises(UsageError, match="sandbox_key"):
        call(agent_settings(service[1], "another"), "print(1)", tmp_path)
    with pytest.raises(UsageError, match="off"):
        python_tool(agent_settings(service[1], sandbox="off"))


def test_without_the_service_nothing_runs(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    made = tmp_path / "made"
    with pytest.raises(UsageError, match="ran no program"):
        call(agent_settings(f"http://127.0.0.1:{port}"), f"open({str(made)!r}, 'w')", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_tries_it(service: tuple[subprocess.Popen[bytes], str], tiny_settings: Any, tmp_path: Path) -> None:
    for key, ok, says in ((KEY, True, "runs programs"), ("another", False, "401")):
        settings = tiny_settings.with_values(agent__sandbox_url=f"{service[1]}/v1", agent__sandbox_key=key)
        with KnowledgeBase.open(tmp_path, settings=settings) as kb:
            (check,) = [one for one in doctor.of_home(kb, writer=False) if one.name == "sandbox"]
        assert check.ok == ok and says in check.message and bool(check.fix) != ok, check


def test_it_does_not_start_without_a_key(repo: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAGSTONE_SANDBOX_KEY"}
    ended = subprocess.run(
        [sys.executable, "-m", "ui.cli", "agent", "sandbox"], env={**environment, "PYTHONPATH": str(repo)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2 and "RAGSTONE_SANDBOX_KEY" in ended.stderr


def test_it_ends_at_sigterm(service: tuple[subprocess.Popen[bytes], str]) -> None:
    """The last one: the module's service is gone after it."""
    service[0].send_signal(signal.SIGTERM)
    assert service[0].wait(40) == 0
