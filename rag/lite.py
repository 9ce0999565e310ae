"""The embedded Milvus: one Milvus Lite server process per home, shared by every ragstone process that opens it.

Milvus Lite's engine is an executable that serves one database file on a socket and ends as soon as it can take
the lock file exclusively. Its own launcher holds that lock exclusively, which shuts every second process out. Here
each process holds it *shared*: the first one starts the server, later ones connect to its socket, and the server
ends when the last one leaves, killed or not. So an open page and an import on the command line work together.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from rag.errors import StoreError

START_TIMEOUT_S = 30.0
_POLL_S = 0.01


class LiteServer:
    """A hold on the Milvus Lite server of one folder. `uri` is what a client connects to.

    Raises: StoreError when the package is absent, the folder is read-only, or the server does not come up.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holds = True
        _hold(folder / "milvus.lock")
        try:
            self.uri = "unix:" + self._socket()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go; the server ends if nobody else holds it. Safe to call twice."""
        if self._holds:
            self._holds = False
            _let_go(self._folder / "milvus.lock")

    def answers(self) -> bool:
        """Whether the server is there."""
        return _accepts(self.uri.removeprefix("unix:"))

    def _socket(self) -> str:
        """Path of the running server's socket, starting the server if there is none."""
        note = self._folder / "milvus.json"
        with _exclusive(self._folder / "milvus.start.lock"):
            running = _read_note(note)
            if running and _accepts(running["socket"]):
                return str(running["socket"])
            if running:
                _wait_for_end(int(running["pid"]))
            path = os.path.join(tempfile.mkdtemp(prefix="ragstone-"), "milvus.sock")
            process = self._start(path)
            temporary = note.with_suffix(".tmp")
            temporary.write_text(json.dumps({"pid": process.pid, "socket": path}), encoding="utf-8")
            os.replace(temporary, note)
            return path

    def _start(self, socket_path: str) -> subprocess.Popen[bytes]:
        library = _library_folder()
        environment = dict(os.environ, LD_LIBRARY_PATH=str(library), DYLD_LIBRARY_PATH=str(library))
        command = [str(library / "milvus"), str(self._folder / "milvus.db"), "unix:" + socket_path, "ERROR"]
        with open(self._folder / "milvus.log", "ab") as log:
            process = subprocess.Popen(
                [*command, str(self._folder / "milvus.lock")],
                env=environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C in one terminal must not end the server of the others
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(socket_path):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise StoreError(
                    f"The embedded Milvus did not start in {self._folder} (exit code {process.poll()}). "
                    f"Its log is {self._folder / 'milvus.log'}; free disk space and the file's permissions are the usual causes."
                )
            time.sleep(_POLL_S)
        return process


def available() -> bool:
    """Whether the embedded engine is installed here (there is none for Windows)."""
    return importlib.util.find_spec("milvus_lite") is not None and sys.platform != "win32"


def _library_folder() -> Path:
    spec = importlib.util.find_spec("milvus_lite")  # locates it; the package itself is not imported
    folder = Path(spec.origin).parent / "lib" if spec and spec.origin else None
    if folder is None or not (folder / "milvus").is_file():
        raise StoreError(
            "The embedded Milvus needs the package milvus-lite==2.5.1 (Linux or macOS). Install it, or set milvus.uri "
            "to a Milvus server."
        )
    return folder


# The system keeps one lock per process and file, and drops it when any handle of the file is closed: so there is one
# handle for all that hold a server in this process. By real path: the handle and how many hold it.
_held: dict[str, tuple[IO[bytes], int]] = {}
_holding = threading.Lock()


def _hold(path: Path) -> None:
    key = os.path.realpath(path)
    with _holding:
        handle, n = _held.get(key, (None, 0))
        _held[key] = (handle or _open_shared(path), n + 1)


def _let_go(path: Path) -> None:
    key = os.path.realpath(path)
    with _holding:
        handle, n = _held.pop(key)
        if n > 1:
            _held[key] = (handle, n - 1)
        else:
            handle.close()


def _open_shared(path: Path) -> IO[bytes]:
    import fcntl

    try:
        handle = path.open("ab+")  # kept open: the lock lives as long as the handle
    except OSError as error:
        raise StoreError(
            f"The folder {path.parent} is not writable ({error.strerror}). Choose another --home."
        ) from error
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            fcntl.lockf(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return handle
        except OSError:  # a server that is just ending holds it for a moment
            if time.monotonic() > deadline:
                handle.close()
                raise StoreError(f"Another program holds {path} exclusively. Close it and try again.") from None
            time.sleep(_POLL_S)


@contextlib.contextmanager
def _exclusive(path: Path):  # type: ignore[no-untyped-def]
    import fcntl

    with open(path, "ab+") as handle:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX)
        yield


def _read_note(path: Path) -> dict[str, str | int] | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return note if {"pid", "socket"} <= note.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _accepts(path: str | int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
            return True
        except OSError:
            return False


def _wait_for_end(pid: int) -> None:
    """Wait until a server that stopped answering is gone, so that two never share one database file."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while _is_milvus(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if _is_milvus(pid):
        raise StoreError(f"The embedded Milvus (process {pid}) hangs. End that process and try again.")


def _is_milvus(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)  # a server that this process started stays a zombie until it is asked after
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")  # pid (name) state ...
        if not stat.parent.exists():
            return True
        name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        return name == "milvus" and not rest.lstrip().startswith("Z")  # ended, but its program has not asked after it
    except (OSError, ValueError):
        return False
