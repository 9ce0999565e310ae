"""Running a program in the sandbox: which back end works here, the limits, and what comes back.

On a host bubblewrap gives the program namespaces of its own: no network, no processes and no files but the interpreter
and an empty folder. In a container, where the namespaces are not to be had, Landlock and seccomp take the place of them:
no files beyond these, no sockets, no other process. In both the program has no more rights than it needs, never runs as
root, and is killed with all it started when its time, memory or output is over the limit.

Each back end is tried once with programs that must fail. Without one that passes there is no sandbox, and no program runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.sandbox import filters
from rag.errors import UsageError

NOBODY = 65_534
MAX_OUTPUT = 1_000_000  # bytes of stdout and stderr together
MAX_FILES = 20  # that come back
MAX_BYTES = 20_000_000
MAX_ENTRIES = 10_000  # of the folder that are looked at
FILE_BYTES = 32_000_000  # largest file that a program can write
MAX_CODE = 200_000
CHILD = Path(__file__).with_name("child.py")
BACKENDS = ("bubblewrap", "landlock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    seconds: float = 20.0
    memory_mb: int = 1024
    processes: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a program wrote. name: as the program called it, a label and nothing else."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program did. stopped: time, output, or "" when it ended by itself."""

    stdout: str
    stderr: str
    code: int
    stopped: str = ""
    artifacts: tuple[Artifact, ...] = ()
    seconds: float = 0.0
    backend: str = ""
    notes: tuple[str, ...] = field(default=())


def run(code: str, *, files: Mapping[str, bytes] | None = None, limits: Limits | None = None, backend: str = "auto") -> Outcome:  # fmt: skip
    """Run a Python program. files: put into its folder first, under plain names.

    Raises: UsageError when there is no back end that holds, and why; or when the program is too long.
    """
    chosen = choose(backend)
    if len(code.encode("utf-8", "surrogatepass")) > MAX_CODE:
        raise UsageError(f"The program is longer than {MAX_CODE:,} bytes. Write a shorter one.")
    return _run(chosen, code, files or {}, limits or Limits())


def choose(wanted: str = "auto") -> str:
    """The back end that is used. Raises UsageError, with the reason for each, when none holds."""
    if wanted == "off":
        raise UsageError("The tool python is off (agent.sandbox = off).")
    names = BACKENDS if wanted == "auto" else (wanted,)
    reasons = {name: problem(name) for name in names}
    for name, reason in reasons.items():
        if not reason:
            return name
    told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise UsageError(f"No sandbox works here, so programs are not run. {told}. Install bubblewrap, or use Linux 5.13 or newer with Landlock.")  # fmt: skip


@lru_cache(maxsize=8)
def problem(backend: str) -> str:
    """Why a back end cannot be used here; "" when its self-test passes. Tried once per process."""
    if backend not in BACKENDS:
        return f"there is no back end {backend!r}"
    if sys.platform != "linux":
        return "needs Linux"
    if not filters.is_supported():
        return "needs an x86_64 or arm64 processor"
    if backend == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    try:
        return _self_test(backend)
    except OSError as error:
        return f"cannot be started ({error.strerror})"


_TEST = """
import os, socket, sys
bad = []
try:
    socket.socket(); bad.append("sockets")
except OSError: pass
for path in (CANARY, "/etc/passwd", "/etc/shadow"):
    try:
        (os.listdir(path) if os.path.isdir(path) else open(path).close()); bad.append(path)
    except OSError: pass
try:
    open("/tmp/ragstone-escaped", "x").close(); os.path.exists("/tmp/ragstone-escaped") and PRIVATE_TMP or bad.append("writes")
except OSError: pass
try:
    os.unshare(0x10000000); bad.append("user namespaces")
except (OSError, AttributeError): pass
if os.geteuid() == 0: bad.append("root")
open("made.txt", "w").write("made")
print("bad:" + ",".join(bad) if bad else "sandbox holds")
"""


def _self_test(backend: str) -> str:
    with tempfile.NamedTemporaryFile(prefix="ragstone-canary-") as canary:
        os.chmod(canary.name, 0o644)
        code = _TEST.replace("CANARY", repr(canary.name)).replace("PRIVATE_TMP", str(backend == "bubblewrap"))
        outcome = _run(backend, code, {}, Limits(seconds=20, memory_mb=512))
    said = outcome.stdout.strip()
    if said == "sandbox holds" and [one.name for one in outcome.artifacts] == ["made.txt"]:
        return ""
    lines = [line for line in outcome.stderr.strip().splitlines() if line.strip()]
    return f"its self-test failed ({(said or (lines or ['no output'])[-1])[:200]})"


# ---------------------------------------------------------------- a run


def _run(backend: str, code: str, files: Mapping[str, bytes], limits: Limits) -> Outcome:
    started = time.monotonic()
    with _work_folder(backend) as work:
        for name, data in files.items():
            _put(work, name, data)
        command, settings = _command(backend, work, limits)
        read_fd = -1
        if backend == "bubblewrap":
            read_fd = _filter_fd()
            command = [part.replace("{filter}", str(read_fd)) for part in command]
        try:
            stdout, stderr, returned, stopped = _watched(command, settings, code, limits, read_fd)
        finally:
            if read_fd >= 0:
                os.close(read_fd)
        artifacts, notes = collect(work, known={"main.py", *files})
    return Outcome(
        stdout=stdout.decode("utf-8", "replace"), stderr=stderr.decode("utf-8", "replace"), code=returned, stopped=stopped,
        artifacts=artifacts, notes=notes, seconds=round(time.monotonic() - started, 3), backend=backend,
    )  # fmt: skip


def _command(backend: str, work: Path, limits: Limits) -> tuple[list[str], dict[str, Any]]:
    alone = backend == "landlock"
    executable, prefix, packages = _interpreter(backend)
    readable = _readable(executable, prefix, packages)
    settings: dict[str, Any] = {
        "work": "/sandbox" if backend == "bubblewrap" else str(work), "uid": NOBODY if os.geteuid() == 0 else -1,
        "paths": packages, "memory": limits.memory_mb * 1_000_000, "seconds": int(limits.seconds) + 1,
        "file_bytes": FILE_BYTES, "processes": limits.processes if backend == "bubblewrap" else _threads_room(limits.processes),
        "landlock": alone, "readable": readable, "filter": filters.program(alone=True).hex() if alone else "",
    }  # fmt: skip
    python = [executable, "-I", "-S", "-B"]
    if backend == "landlock":
        return [*python, str(CHILD)], settings
    as_root = os.geteuid() == 0
    command = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    # Root can set the folders up itself and then becomes nobody; the others need a user namespace for it.
    command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if as_root else ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]  # fmt: skip
    command += ["--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/sandbox",
                "--setenv", "LANG", "C.UTF-8", "--setenv", "OPENBLAS_NUM_THREADS", "1", "--setenv", "OMP_NUM_THREADS", "1",
                "--setenv", "MPLBACKEND", "Agg", "--setenv", "MPLCONFIGDIR", "/sandbox/.mpl"]  # fmt: skip
    above = {str(folder) for path in readable for folder in Path(path).parents if str(folder) != "/"} - set(readable)
    # Before what is bound: a virtual environment may lie under /tmp.
    command += ["--perms", "1777", "--size", "64000000", "--tmpfs", "/tmp"]  # noqa: S108
    for folder in sorted(above - {"/tmp"}):  # noqa: S108  # made by themselves, they would be root's alone
        command += ["--perms", "0755", "--dir", folder]
    for path in readable:
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", str(CHILD), "/child.py", "--bind", str(work), "/sandbox",
                "--dev", "/dev", "--proc", "/proc", "--remount-ro", "/", "--chdir", "/", "--hostname", "sandbox",
                "--seccomp", "{filter}", "--", *python, "/child.py"]  # fmt: skip
    return command, settings


def _watched(
    command: Sequence[str], settings: Mapping[str, Any], code: str, limits: Limits, filter_fd: int
) -> tuple[bytes, bytes, int, str]:
    """Start, feed, and read to the end or to a limit; nothing of the program is left afterwards."""
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
                   "MPLBACKEND": "Agg", "MPLCONFIGDIR": settings["work"] + "/.mpl", "HOME": settings["work"]}  # fmt: skip
    with _stdin_file(settings, code) as given:
        process = subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, close_fds=True,
            pass_fds=(filter_fd,) if filter_fd >= 0 else (), start_new_session=True, cwd="/",
        )  # fmt: skip
    reader = _Reader(process)
    stopped = reader.wait(limits.seconds)
    _kill(process)
    return reader.out[0], reader.out[1], process.wait(), stopped


class _Reader:
    """Reads a process's two outputs up to the limit."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.out = [b"", b""]
        self._n_bytes = 0
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._over = False
        self._open = 2
        for at, stream in enumerate((process.stdout, process.stderr)):
            threading.Thread(target=self._read, args=(at, stream), daemon=True).start()

    def wait(self, seconds: float) -> str:
        if not self._done.wait(seconds):
            return "time"
        return "output" if self._over else ""

    def _read(self, at: int, stream: Any) -> None:
        parts: list[bytes] = []
        with contextlib.suppress(OSError, ValueError):
            while piece := stream.read1(65_536):
                with self._lock:
                    room = MAX_OUTPUT - self._n_bytes
                    self._n_bytes += len(piece)
                    self._over |= room < len(piece)
                parts.append(piece[: max(room, 0)])
                self.out[at] = b"".join(parts)
                if self._over:
                    break
        with self._lock:
            self._open -= 1
            if self._over or not self._open:
                self._done.set()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole session: bubblewrap takes its PID namespace with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()


# ---------------------------------------------------------------- what goes in


@contextlib.contextmanager
def _work_folder(backend: str) -> Any:
    """An empty folder that the program's user may write; its parent is open to nobody else."""
    folder = Path(tempfile.mkdtemp(prefix="ragstone-sandbox-"))
    try:
        work = folder / "work"
        work.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chmod(folder, 0o711)  # noqa: S103 - the program's user must get through
            os.chown(work, NOBODY, NOBODY)
        yield work
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove it whatever the program did to its rights; a thread of it that is being killed may still add a file."""

    def opened(_function: Any, path: str, _error: Any) -> None:
        for one in (Path(path).parent, Path(path)):
            if one.is_relative_to(folder) and not one.is_symlink():
                with contextlib.suppress(OSError):
                    os.chmod(one, 0o700)

    for _ in range(3):
        shutil.rmtree(folder, onerror=opened)
        if not folder.exists():
            return


def _put(work: Path, name: str, data: bytes) -> None:
    plain = "".join(char if char.isalnum() or char in "._- " else "_" for char in Path(name).name).lstrip(".") or "file"
    path = work / plain[:100]
    path.write_bytes(data)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


@contextlib.contextmanager
def _stdin_file(settings: Mapping[str, Any], code: str) -> Any:
    """Settings and program as a file without a name: a pipe would need a thread to fill it."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(dict(settings)).encode() + b"\n" + code.encode("utf-8", "surrogatepass"))
        file.seek(0)
        yield file


def _filter_fd() -> int:
    """bubblewrap reads the filter from a file handle."""
    handle, path = tempfile.mkstemp(prefix="ragstone-filter-")
    os.unlink(path)
    os.write(handle, filters.program(alone=False))
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _interpreter(backend: str) -> tuple[str, str, list[str]]:
    """(executable, prefix, folders of packages): this one, or the system's where the program's user cannot reach this one.

    bubblewrap mounts what is to be seen; Landlock takes rights away and cannot give any.
    """
    own = os.path.realpath(sys.executable)
    prefix = os.path.realpath(sys.base_prefix)
    if backend == "bubblewrap" or os.geteuid() != 0 or _open_to_all(prefix):
        return own, prefix, _packages()
    system = shutil.which("python3", path="/usr/bin:/bin")
    if system is None:
        raise OSError(0, f"the interpreter under {prefix} can be read by root alone")
    return os.path.realpath(system), "/usr", []


def _open_to_all(path: str) -> bool:
    return all(os.stat(one).st_mode & 0o005 == 0o005 for one in (path, *map(str, Path(path).parents)))


def _readable(executable: str, prefix: str, packages: Sequence[str]) -> list[str]:
    """What a Python program needs to see: the interpreter, its library, packages, and the system's libraries."""
    paths = {
        prefix, *packages, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo",
        "/usr/share/fonts", "/etc/ld.so.cache", "/etc/fonts", os.path.dirname(executable),
    }  # fmt: skip
    if prefix == "/usr":
        paths |= {"/usr/bin", "/usr/local/lib"}
        paths.discard("/usr")
    return sorted(path for path in paths if os.path.exists(path))


def _packages() -> list[str]:
    """Folders of installed packages; numpy and pandas lie there, and so does nothing secret."""
    found = [sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    found += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return list(dict.fromkeys(os.path.realpath(path) for path in found if os.path.isdir(path)))


def _threads_room(n: int) -> int:
    """RLIMIT_NPROC counts all threads of a user: leave room for what runs already, since no process can be started anyway."""
    return 4096 + n


# ---------------------------------------------------------------- what comes out


def collect(work: Path, *, known: set[str]) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """The files that a program left, read without following links; anything else than a plain file stays behind."""
    found: list[Artifact] = []
    notes: list[str] = []
    n_bytes = n_seen = 0
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name, folder in _entries(handle):
            n_seen += 1
            if n_seen > MAX_ENTRIES or len(found) == MAX_FILES:
                notes.append(f"More than {MAX_FILES} files were left; the rest was not taken.")
                break
            if name in known:
                continue
            data = _plain_bytes(folder, name.rpartition("/")[2])
            if data is None:
                continue
            n_bytes += len(data)
            if n_bytes > MAX_BYTES:
                notes.append(f"The files left are over {MAX_BYTES // 1_000_000} MB; the rest was not taken.")
                break
            found.append(Artifact(name=name, data=data))
    finally:
        os.close(handle)
    return tuple(found), tuple(notes)


def _entries(handle: int) -> Any:
    """(path, handle of its folder) of what lies in a folder and one below it, hidden names left out."""
    with os.scandir(handle) as listed:
        names = sorted(entry.name for _, entry in zip(range(MAX_ENTRIES), listed, strict=False) if not entry.name.startswith("."))  # fmt: skip
    for name in names:
        try:
            kind = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
        except OSError:
            continue
        if not stat.S_ISDIR(kind):
            yield name, handle
            continue
        try:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
        except OSError:
            continue
        try:
            with os.scandir(below) as listed:
                inner = sorted(entry.name for _, entry in zip(range(MAX_ENTRIES), listed, strict=False) if not entry.name.startswith("."))  # fmt: skip
            for one in inner:
                yield f"{name}/{one}", below
        finally:
            os.close(below)


def _plain_bytes(folder: int, name: str) -> bytes | None:
    """A regular file's bytes; None for links, devices, pipes, files with a second name, and what is too large."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > MAX_BYTES:
            return None
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(handle)
