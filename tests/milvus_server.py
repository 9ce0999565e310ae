"""Milvus servers for tests: the embedded engine on a port, and a real server.

The real one is version 2.3.5, the newest that installs as a Python package.

It needs old versions of several libraries, so it gets an environment of its own in the user's cache, made once. Its
embedded etcd has fixed ports, so there is one per machine at a time.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rag.lite import _library_folder

REQUIREMENTS = ["setuptools<70", "milvus==2.3.5"]
PORTS = (2379, 2380, 9091, 19530)
START_TIMEOUT_S = 60
TRIES = 4
AGAIN_TIMEOUT_S = 300  # after a kill it waits for what it held of itself in etcd to expire


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start the server on an empty folder and give its URI. Skips the test where it cannot run."""
    if os.environ.get("RAGSTONE_TEST_MILVUS"):
        yield os.environ["RAGSTONE_TEST_MILVUS"]
        return
    if sys.platform != "linux":
        pytest.skip("the packaged Milvus server runs on Linux only")
    with _one_at_a_time():
        if any(_busy(port) for port in PORTS):
            pytest.skip(f"one of the ports {PORTS} is in use")
        yield from _started(folder)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Other workers of this test run wait: the ports are fixed."""
    import fcntl

    with open(Path(tempfile.gettempdir()) / "ragstone-test-milvus.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _started(folder: Path) -> Iterator[str]:
    """Its parts listen on fixed ports that a client of anybody's may hold for a moment; then one never gets well. So: again."""
    command = [str(_environment() / "bin" / "milvus-server"), "--data", str(folder / "data")]
    for _ in range(TRIES):
        with open(folder / "server.log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            if _healthy(process, folder / "server.log"):
                yield "http://127.0.0.1:19530"
                return
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            errors = _last_lines(folder / "data" / "logs")
            shutil.rmtree(folder / "data", ignore_errors=True)
    raise AssertionError(f"the Milvus server did not become healthy in {TRIES} tries of {START_TIMEOUT_S} s: {errors}")


class tcp_server:
    """The embedded engine listening on a port, as a server does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]

    def __enter__(self) -> str:
        """Start it; after `kill` again, on the same port and data."""
        port, library = self._port, _library_folder()
        self.process = subprocess.Popen(
            [str(library / "milvus"), str(self.folder / "m.db"), f"127.0.0.1:{port}", "ERROR"],
            env=dict(os.environ, LD_LIBRARY_PATH=str(library)), cwd=self.folder, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                assert self.process.poll() is None, "the engine ended"
        raise AssertionError("the engine did not listen")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()


class real_server:
    """Milvus 2.3.5 that can be killed and started again on the same data. One per machine at a time; see `running`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> str:
        """Start it, again after `kill`; returns when it is healthy."""
        command = [str(_environment() / "bin" / "milvus-server"), "--data", str(self.folder / "data")]
        deadline = time.monotonic() + AGAIN_TIMEOUT_S
        while time.monotonic() < deadline:
            with open(self.folder / "server.log", "wb") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            if _healthy(self.process, self.folder / "server.log", AGAIN_TIMEOUT_S / 2):
                return "http://127.0.0.1:19530"
            self.kill()
        raise AssertionError(f"the Milvus server did not become healthy: {_last_lines(self.folder / 'data' / 'logs')}")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()


def _environment() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ragstone" / "test-milvus-2.3.5"
    if not (cache / "ready").exists():
        shutil.rmtree(cache, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(cache)], check=True, capture_output=True)
            subprocess.run(
                [str(cache / "bin" / "pip"), "install", "-q", *REQUIREMENTS],
                check=True,
                capture_output=True,
                timeout=300,
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"the Milvus server could not be installed: {error}")
        (cache / "ready").touch()
    return cache


def _healthy(process: subprocess.Popen[bytes], log: Path, timeout_s: float = START_TIMEOUT_S) -> bool:
    """Whether the server gets well in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"the Milvus server ended at once: {log.read_text(errors='replace')[-500:]}")
        try:
            with urllib.request.urlopen("http://127.0.0.1:9091/healthz", timeout=1) as reply:
                if reply.status == 200 and _busy(PORTS[-1]):  # it may call itself well before it listens, and for good
                    return True
        except OSError:
            time.sleep(0.2)
    return False


def _last_lines(logs: Path) -> str:
    """The ends of the server's logs, for whoever reads the failure."""
    ends = (path.read_text(errors="replace")[-600:] for path in sorted(logs.glob("milvus-std*.log")) if path.is_file())
    return "\n".join(ends)


def _busy(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
