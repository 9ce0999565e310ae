"""Bar 3: programs in the sandbox have no effect on the host, end in time and leave nothing running; honest ones work."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agents.sandbox import runner
from rag.errors import UsageError
from tests.bars.harness import FULL, REPO, says

LIMITS = runner.Limits(seconds=3, memory_mb=768)
PRESENT = [name for name in runner.BACKENDS if not runner.problem(name)]
pytestmark = pytest.mark.bar


class Host:
    """What a program must not reach: a file, a folder, a port, a variable, a process."""

    def __init__(self, folder: Path) -> None:
        self.canary = f"CANARY-{uuid.uuid4().hex}"
        self.folder = folder
        folder.chmod(0o777)  # whoever gets here may write: the sandbox alone is to hold
        self.secret = folder / "secret.txt"
        self.secret.write_text(self.canary)
        self.secret.chmod(0o666)
        self.hits: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp_port = self.udp.getsockname()[1]
        self.udp.setblocking(False)
        self.sleeper = subprocess.Popen(["sleep", "600"], user=65_534 if os.geteuid() == 0 else None)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.hits.append("tcp")
                connection.close()

    def effects(self) -> list[str]:
        found = list(self.hits)
        with suppress(BlockingIOError):
            self.udp.recv(100)
            found.append("udp")
        if self.secret.read_text() != self.canary:
            found.append("the secret was changed")
        if [path.name for path in self.folder.iterdir()] != ["secret.txt"]:
            found.append("a file was made")
        if self.sleeper.poll() is not None:
            found.append("a process was killed")
        return found

    def close(self) -> None:
        self._socket.close()
        self.udp.close()
        self.sleeper.kill()
        self.sleeper.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    made = Host(folder)
    os.environ["RAGSTONE_SECRET"] = made.canary
    yield made
    del os.environ["RAGSTONE_SECRET"]
    made.close()


# S: the secret's path, F: its folder, P and U: ports, N: a process of the host
PAYLOADS: dict[str, str] = {
    "read the secret": "print(open(S).read())",
    "read it by descriptor": "import os; print(os.read(os.open(S, os.O_RDONLY), 99))",
    "read it by a link": "import os; os.symlink(S, 'l'); print(open('l').read())",
    "read it by a hard link": "import os; os.link(S, 'l'); print(open('l').read())",
    "read it by dots": "print(open('../' * 12 + S).read())",
    "read it by /proc/self/root": "print(open('/proc/self/root' + S).read())",
    "read it by /proc/1/root": "print(open('/proc/1/root' + S).read())",
    "read it by cwd of another": "import os\nfor p in os.listdir('/proc'):\n  try: print(open(f'/proc/{p}/cwd' + S).read())\n  except OSError: pass",
    "read it by handle": "import ctypes; l = ctypes.CDLL(None, use_errno=True); b = ctypes.create_string_buffer(200); ctypes.memmove(b, (128).to_bytes(4, 'little'), 4); print(l.name_to_handle_at(-100, S.encode(), b, ctypes.byref(ctypes.c_int()), 0))",
    "read it by sqlite": "import sqlite3; d = sqlite3.connect(':memory:'); d.execute('attach ? as x', (S,)); print(d.execute('select * from x.sqlite_master').fetchall())",
    "read it by mmap": "import mmap, os; f = os.open(S, os.O_RDONLY); print(mmap.mmap(f, 0, prot=mmap.PROT_READ)[:])",
    "read it by ctypes": "import ctypes; l = ctypes.CDLL(None); f = l.open(S.encode(), 0); b = ctypes.create_string_buffer(99); l.read(f, b, 99); print(b.value)",
    "read it by import": "import importlib.util as u; s = u.spec_from_file_location('x', S); m = u.module_from_spec(s); s.loader.exec_module(m)",
    "list its folder": "import os; print(os.listdir(F)); print('ESCAPED')",
    "walk everything": "import os\nfor r, d, f in os.walk('/'):\n  if 'secret.txt' in f: print(open(r + '/secret.txt').read())",
    "environment": "import os; print(dict(os.environ))",
    "environment of others": "import glob\nfor p in glob.glob('/proc/[0-9]*/environ'):\n  try: print(open(p, errors='replace').read())\n  except OSError: pass",
    "command lines of others": "import glob\nfor p in glob.glob('/proc/[0-9]*/cmdline'):\n  try: c = open(p).read()\n  except OSError: continue\n  if 'sleep\\x00600' in c: print('ESCAPED')",
    "memory of others": "open(f'/proc/{N}/mem', 'rb').read(1); print('ESCAPED')",
    "descriptors of others": "import os\nfor p in os.listdir('/proc'):\n  try:\n    for f in os.listdir(f'/proc/{p}/fd'): print(open(f'/proc/{p}/fd/{f}', errors='replace').read(200)) if p not in ('self', 'thread-self', str(os.getpid())) else 0\n  except OSError: pass",
    "inherited descriptors": "import os\nfor f in range(3, 200):\n  try: os.fstat(f); print(os.read(f, 100)); os.write(f, b'x')\n  except OSError: pass",
    "write beside the secret": "open(F + '/made', 'w').write('x')",
    "change the secret": "open(S, 'w').write('x')",
    "remove the secret": "import os; os.remove(S)",
    "rename the secret": "import os; os.rename(S, F + '/other')",
    "truncate the secret": "import os; os.truncate(S, 0)",
    "chmod the secret": "import os; os.chmod(S, 0)",
    "make a folder": "import os; os.mkdir(F + '/made')",
    "make a link outside": "import os; os.symlink('/etc/passwd', F + '/made')",
    "write by move": "import shutil; open('x', 'w').write('x'); shutil.move('x', F + '/made')",
    "tcp": "import socket; socket.create_connection(('127.0.0.1', P), 2)",
    "udp": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', U))",
    "http": "import urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{P}/')",
    "tcp over IPv6": "import socket; socket.create_connection(('::ffff:127.0.0.1', P), 2)",
    "dns": "import socket; print(socket.getaddrinfo('example.com', 80)); print('ESCAPED')",
    "raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('ESCAPED')",
    "netlink": "import socket; socket.socket(16, 3, 0).bind((0, 0)); print('ESCAPED')",
    "abstract unix socket": "import socket; s = socket.socket(socket.AF_UNIX); s.bind('\\0escape'); print('ESCAPED')",
    "listen": "import socket; s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen(); print('ESCAPED')",
    "io_uring": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(200)) >= 0 else '')",
    "kill the sleeper": "import os; os.kill(N, 9)",
    "kill all": "import os; os.kill(-1, 9)",
    "kill the parent": "import os; os.kill(os.getppid(), 9); import time; time.sleep(9)",
    "kill by thread": "import ctypes; ctypes.CDLL(None).syscall(200, N, 9)",
    "ptrace": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).ptrace(16, N, 0, 0) == 0 else '')",
    "pidfd": "import os; f = os.pidfd_open(N); print('ESCAPED')",
    "priority of others": "import os; os.setpriority(os.PRIO_USER, 0, 19); print('ESCAPED')",
    "limits of others": "import resource; resource.prlimit(N, resource.RLIMIT_CPU, (1, 1)); print('ESCAPED')",
    "become root": "import os; os.setuid(0); print('ESCAPED')",
    "user namespace": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).unshare(0x10000000) == 0 else '')",
    "mount namespace": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).unshare(0x00020000) == 0 else '')",
    "clone a namespace": "import ctypes; r = ctypes.CDLL(None).syscall(56, 0x10000000 | 17, 0, 0, 0, 0)\nprint('ESCAPED' if r > 0 else '')",
    "mount": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 else '')",
    "chroot": "import os; os.chroot('.'); print('ESCAPED')",
    "device node": "import os; os.mknod('sda', 0o60666, os.makedev(8, 0)); print('ESCAPED')",
    "raw disk": "import glob\nfor d in glob.glob('/dev/[sv]d*') + glob.glob('/dev/mem'): open(d, 'rb').read(1); print('ESCAPED')",
    "kernel log": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).klogctl(3, ctypes.create_string_buffer(100), 100) >= 0 else '')",
    "shared memory": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).shmget(77, 100, 0o1666) >= 0 else '')",
    "keyring": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).syscall(248, b'user', b'k', b'v', 1, -3) > 0 else '')",
    "bpf": "import ctypes; print('ESCAPED' if ctypes.CDLL(None).syscall(321, 0, ctypes.create_string_buffer(100), 100) >= 0 else '')",
    "host name": "import socket; socket.sethostname('escaped'); print('ESCAPED')",
    "clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0); print('ESCAPED')",
    "setuid program": "import os; open('s', 'w').write('x'); os.chmod('s', 0o4777); os.execv('/bin/su', ['su', '-c', 'id'])",
    "shell reads the secret": "import subprocess; print(subprocess.run(['/bin/sh', '-c', f'cat {S}; echo x > {F}/made'], capture_output=True))",
    "fork bomb": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "daemon": "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(600)",
    "ignores signals": "import signal, time\nfor s in range(1, 32):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass\ntime.sleep(600)",
    "busy loop": "while True: pass",
    "many threads": "import threading, time\ntry:\n  for _ in range(100000): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nexcept RuntimeError: pass",
    "memory bomb": "x = []\nwhile True: x.append(bytearray(50_000_000))",
    "disk bomb": "f = open('big', 'wb')\nwhile True: f.write(b'x' * 1_000_000)",
    "many files": "for i in range(100_000): open(f'f{i}', 'w').close()",
    "output bomb": "import sys\nwhile True: sys.stdout.write('x' * 1_000_000)",
    "error bomb": "import sys\nwhile True: sys.stderr.write('x' * 1_000_000)",
    "deep recursion": "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "crash": "import ctypes; ctypes.string_at(0)",
    "seccomp again": "import ctypes; l = ctypes.CDLL(None); l.prctl(22, 0, 0, 0, 0); print(open(S).read())",
    "dumpable again": "import ctypes; ctypes.CDLL(None).prctl(4, 1); print(open(f'/proc/{N}/environ').read())",
    "memfd program": "import os; f = os.memfd_create('x'); os.write(f, b'#!/bin/sh\\ncat ' + S.encode()); os.execv(f'/proc/self/fd/{f}', ['x'])",
}  # fmt: skip

USEFUL: dict[str, tuple[str, str]] = {
    "arithmetic": ("print(sum(range(101)))", "5050"),
    "json": ("import json; print(json.dumps({'a': [1, 2]}, sort_keys=True))", '{"a": [1, 2]}'),
    "dates": ("import datetime as d; print((d.date(2024, 3, 1) - d.date(2024, 2, 1)).days)", "29"),
    "statistics": ("import statistics; print(statistics.median([3, 1, 2]))", "2"),
    "csv": ("import csv, io; print(list(csv.DictReader(io.StringIO('a,b\\n1,2')))[0]['b'])", "2"),
    "regex": ("import re; print(re.findall(r'\\d+', 'a1b22'))", "['1', '22']"),
    "files": ("open('x.txt', 'w').write('hello'); print(open('x.txt').read())", "hello"),
    "sqlite": ("import sqlite3; d = sqlite3.connect('a.db'); d.execute('create table t(a)'); d.execute('insert into t values(7)'); print(d.execute('select a from t').fetchone()[0])", "7"),
    "generators and classes": ("class A:\n  def __iter__(self):\n    yield from (1, 2)\nprint([*A()])", "[1, 2]"),
    "threads": ("from concurrent.futures import ThreadPoolExecutor as T\nprint(list(T(4).map(lambda x: x * x, range(4))))", "[0, 1, 4, 9]"),
    "decimal": ("from decimal import Decimal as D; print(D('0.1') + D('0.2'))", "0.3"),
    "asyncio": ("import asyncio\nasync def f():\n  await asyncio.sleep(0)\n  return 5\nprint(asyncio.run(f()))", "5"),
}  # fmt: skip


@pytest.mark.skipif(not PRESENT, reason="no sandbox works here")
@pytest.mark.parametrize("backend", runner.BACKENDS)
def test_hostile_programs(backend: str, host: Host) -> None:
    if backend not in PRESENT:
        pytest.skip(f"{backend}: {runner.problem(backend)}")
    names = sorted(PAYLOADS)
    mine = names if FULL else [name for at, name in enumerate(names) if at % len(PRESENT) == PRESENT.index(backend)]
    start = f"S, F, P, U, N = {str(host.secret)!r}, {str(host.folder)!r}, {host.port}, {host.udp_port}, {host.sleeper.pid}\n"
    wrong, slowest = [], 0.0
    limits = LIMITS if FULL else runner.Limits(seconds=1.5, memory_mb=768)
    for name in mine:
        started = time.monotonic()
        outcome = runner.run(start + PAYLOADS[name], limits=limits, backend=backend)
        took = time.monotonic() - started
        slowest = max(slowest, took)
        said = outcome.stdout + outcome.stderr + "".join(one.data.decode(errors="replace") for one in outcome.artifacts)
        if "ESCAPED" in said.replace("print('ESCAPED", "") and "Error" not in outcome.stderr:
            wrong.append((name, said[-300:]))
        if host.canary in said or host.effects() or took > limits.seconds + 2:
            wrong.append((name, host.canary in said, host.effects(), round(took, 1)))
        if left := leftover():
            wrong.append((name, "left running", left))
    says("3", backend=backend, payloads=len(mine), wrong=len(wrong), slowest_s=round(slowest, 1))
    assert wrong == []


def leftover() -> list[str]:
    """Programs of the sandbox that still run. The kernel needs a moment for the last threads of what was killed."""
    for _ in range(200):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"child.py" in line and b"sandbox" in line and b"-I" in line:
                    found.append(pid)
        if not found:
            return []
        threading.Event().wait(0.01)
    return found


@pytest.mark.parametrize("backend", runner.BACKENDS)
def test_honest_programs(backend: str) -> None:
    if backend not in PRESENT:
        pytest.skip(f"{backend}: {runner.problem(backend)}")
    said = {name: runner.run(code, limits=LIMITS, backend=backend).stdout.strip() for name, (code, _) in USEFUL.items()}
    says("3", backend=backend, honest=f"{sum(said[name] == USEFUL[name][1] for name in USEFUL)} of {len(USEFUL)}")
    assert said == {name: wanted for name, (_, wanted) in USEFUL.items()}


@pytest.mark.skipif("bubblewrap" not in PRESENT, reason="needs bubblewrap")
def test_tables_and_files_come_back() -> None:
    code = "import numpy, pandas as pd\nd = pd.DataFrame({'a': numpy.arange(3)})\nd.to_csv('t.csv', index=False)\nprint(d['a'].sum())"
    outcome = runner.run(code, limits=runner.Limits(seconds=120), backend="bubblewrap")
    assert outcome.stdout.strip() == "3" and outcome.artifacts == (runner.Artifact(name="t.csv", data=b"a\n0\n1\n2\n"),)


@pytest.mark.skipif(not PRESENT, reason="no sandbox works here")
def test_what_is_left_behind_is_read_with_care(host: Host) -> None:
    code = f"""
import os
os.symlink({str(host.secret)!r}, 'a.txt')
os.symlink('/etc', 'folder')
try: os.mkfifo('pipe')
except OSError: pass
open('good.txt', 'w').write('good')
os.mkdir('sub'); open('sub/inner.txt', 'w').write('inner')
"""
    outcome = runner.run(code, limits=LIMITS)
    assert [(one.name, one.data) for one in outcome.artifacts] == [("good.txt", b"good"), ("sub/inner.txt", b"inner")]
    many = runner.run("for i in range(3000): open(f'{i:05}.txt', 'w').write('x')", limits=LIMITS)
    assert len(many.artifacts) == runner.MAX_FILES and many.notes


def test_without_a_sandbox_no_program_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a process of its own, without bwrap on its path and with a Landlock that does not answer."""
    script = """
import agents.sandbox.runner as runner
runner.CHILD = __import__('pathlib').Path('/nonexistent/child.py')
from agents.tools.python import python_tool
from rag.settings import AgentSettings
from rag.errors import UsageError
try:
    python_tool(AgentSettings())
except UsageError as error:
    print('refused:', error)
"""
    env = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(REPO)}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, cwd=REPO)
    assert ended.stdout.startswith("refused: No sandbox works here"), ended.stderr
    assert "bwrap is not installed" in ended.stdout and "landlock: its self-test failed" in ended.stdout


def test_off_means_off() -> None:
    with pytest.raises(UsageError, match="off"):
        runner.run("print(1)", backend="off")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, to become somebody else")
def test_an_ordinary_user_has_a_sandbox_too(tmp_path: Path) -> None:
    """The files it needs, copied where everybody may read, and run by the system's Python as nobody."""
    system = shutil.which("python3", path="/usr/bin")
    if system is None:
        pytest.skip("needs a Python that everybody may run")
    place = Path("/tmp") / f"ragstone-bar-{uuid.uuid4().hex[:8]}"
    try:
        for name in ("agents/sandbox", "rag"):
            (place / name).mkdir(parents=True)
        for one in (REPO / "agents" / "sandbox").glob("*.py"):
            shutil.copy(one, place / "agents" / "sandbox")
        shutil.copy(REPO / "rag" / "errors.py", place / "rag")
        for package in ("agents", "rag"):
            (place / package / "__init__.py").touch()
        script = "import sys; sys.path.insert(0, sys.argv[1])\nfrom agents.sandbox import runner\nprint({b: runner.problem(b) for b in runner.BACKENDS})\nprint(runner.run('import os; print(os.getuid() == 65534)').stdout)"
        command = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            system,
            "-B",
            "-c",
            script,
            str(place),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
        problems, said = ended.stdout.splitlines()[:2]
        assert said == "True" and "''" in problems, (ended.stdout, ended.stderr)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_a_run_that_is_over_kills_by_session() -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    runner._kill(process)
    assert process.wait() == -signal.SIGKILL
