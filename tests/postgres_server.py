"""A PostgreSQL server for tests: Debian's, on an empty folder and a loopback port, as a user that is not root."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_TIMEOUT_S = 60


class Server:
    """A running server. `database()` makes an empty database and gives its SQLAlchemy URL."""

    def __init__(self, port: int) -> None:
        self.port = port

    def database(self) -> str:
        import pg8000.dbapi

        name = f"test_{uuid.uuid4().hex[:12]}"
        connection = pg8000.dbapi.connect(user="ragstone", host="127.0.0.1", port=self.port, database="postgres")
        connection.autocommit = True
        connection.cursor().execute(f"create database {name}")
        connection.close()
        return f"postgresql+pg8000://ragstone@127.0.0.1:{self.port}/{name}"


@contextmanager
def running() -> Iterator[Server]:
    """Skips the test where PostgreSQL is not installed."""
    pytest.importorskip("pg8000", reason="the extra ragstone[postgres] is not installed")
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="ragstone-pg-"))
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    make = [str(programs / "initdb"), "-D", str(data), "-U", "ragstone", "--auth=trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*make, "--locale=C.UTF-8"], check=True, capture_output=True, cwd=folder, **user)  # type: ignore[call-overload]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True, **user)  # type: ignore[call-overload]
    try:
        _wait(process, port)
        yield Server(port)
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("postgres")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "initdb").exists():
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return folders[-1]


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    import pg8000.dbapi

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            pg8000.dbapi.connect(user="ragstone", host="127.0.0.1", port=port, database="postgres").close()
            return
        except (pg8000.dbapi.InterfaceError, pg8000.dbapi.DatabaseError, OSError):
            time.sleep(0.1)
    raise AssertionError("the server did not listen")
