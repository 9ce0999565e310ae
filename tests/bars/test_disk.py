"""Bar 13: the disk is full, read-only or failing, or no file can be opened. A sentence says so, nothing is lost, the
same command goes on once it is mended."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rag.embedding import open_embedder
from rag.knowledge_base import KnowledgeBase
from tests.bars.harness import (
    FULL,
    State,
    acknowledged,
    ingest_command,
    live,
    needs,
    run,
    says,
    sound,
    spread,
    state,
    write_documents,
)  # fmt: skip

pytestmark = pytest.mark.bar

N_DOCUMENTS = 40 if FULL else 20
SIZES_KB = (128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2560) if FULL else (768,)
N_POINTS = 6 if FULL else 1  # per kind of injected failure
LIMITS = (8, 12, 16, 24, 32, 48, 64, 96) if FULL else (12,)


class Faults:
    """Imports under a fault, and what must hold after each."""

    def __init__(self, at: Path, settings: Any) -> None:
        self.at, self.settings = at, settings
        self.folder = write_documents(at / "documents", N_DOCUMENTS, paragraphs=14)
        self.embedder = open_embedder(settings.embedding, settings.models)
        self.outcomes: Counter[str] = Counter()
        self.n_lost = 0
        self.expected = self.resume(at / "undisturbed")

    def resume(self, home: Path) -> State:
        with KnowledgeBase.open(home, settings=self.settings) as kb:
            kb._embedder = self.embedder
            assert kb.ingest(self.folder).failures == ()
            return state(kb)

    def fails(self, name: str, prefix: list[str], home: Path, small: Disk | None = None) -> str:
        """Import under a fault, to a home that may lie on a small disk. Returns the error's code, empty if there is none."""
        acks = self.at / f"{name}.acks"
        ended = run([*prefix, *ingest_command(self.folder, home, acks=acks)], self.settings)
        assert "Traceback" not in ended.stderr, f"{name}: {ended.stderr}"
        code = ""
        if ended.returncode:
            reply = json.loads(ended.stdout)
            code = reply["error"]["code"] if "error" in reply else "documents"
            assert code != "E_BUG", f"{name}: {ended.stderr}"
            assert code == "documents" or (ended.stderr.startswith("ragstone: ") and ended.stderr.count("\n") == 1), ended.stderr  # fmt: skip
        seen = small.copy(self.at / f"{name}.copy") if small else home
        sound(seen)
        acked = acknowledged(acks)
        self.n_lost += len(acked - live(seen)) if acked else 0
        self.outcomes[code or "done"] += 1
        return code


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory, tiny_settings) -> Faults:  # type: ignore[no-untyped-def]
    return Faults(tmp_path_factory.mktemp("disk"), tiny_settings)


class Disk:
    """A small file system in a mount namespace of its own. `inside` prefixes commands that see it."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.folder = folder
        self.inside = ["nsenter", "-t", str(pid), "-m"]
        self._seen = Path(f"/proc/{pid}/root{folder}")

    def mount(self, *arguments: str) -> None:
        subprocess.run([*self.inside, "mount", *arguments], check=True, capture_output=True)

    def copy(self, to: Path) -> Path:
        """What lies there, where SQLite can open it: it follows /proc/PID/root out of the namespace."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self._seen, to)
        return to

    def resume(self, faults: Faults) -> State:
        """Import again, now that the disk is mended, and look at the outcome."""
        ended = run([*self.inside, *ingest_command(faults.folder, self.folder)], faults.settings)
        assert ended.returncode == 0, ended.stderr
        with KnowledgeBase.open(self.copy(faults.at / f"{self.folder.name}.resumed"), settings=faults.settings) as kb:
            return state(kb)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Skips where namespaces are not for us."""
    needs("unshare", "nsenter", "mount")
    folder.mkdir()
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo ready; exec sleep 3600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert holder.stdout
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("mount namespaces need root here")
        yield Disk(holder.pid, folder)
    finally:
        holder.kill()
        holder.wait()


def test_a_full_disk(faults: Faults) -> None:
    for size in SIZES_KB:
        name = f"full-{size}"
        with disk(faults.at / name) as small:
            small.mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(small.folder))
            code = faults.fails(name, small.inside, small.folder, small)
            assert code in ("E_DISK_FULL", "E_DISK", ""), f"{name}: {code}"
            assert code or size > 768, "the disk was not full"
            small.mount("-o", "remount,size=200m", str(small.folder))
            assert small.resume(faults) == faults.expected, name
    says("13 (full disk)", points=len(SIZES_KB), outcomes=dict(faults.outcomes), acknowledged_lost=faults.n_lost)
    assert faults.n_lost == 0


def test_a_read_only_home(faults: Faults) -> None:
    with disk(faults.at / "read-only") as small:
        small.mount("-t", "tmpfs", "-o", "size=200m", "tmpfs", str(small.folder))
        assert faults.fails("read-only-1", small.inside, small.folder, small) == ""
        small.mount("-o", "remount,ro", str(small.folder))
        ended = run([*small.inside, *ingest_command(faults.folder, small.folder)], faults.settings)
        assert ended.returncode == 2 and ended.stderr.startswith(f"ragstone: The home folder {small.folder} is not writable.")  # fmt: skip
        small.mount("-o", "remount,rw", str(small.folder))
        assert small.resume(faults) == faults.expected


@pytest.mark.parametrize(
    ("call", "error", "lasting"),
    [
        ("pwrite64", "ENOSPC", True),
        ("pwrite64", "ENOSPC", False),
        ("fdatasync", "EIO", False),
        ("write", "EIO", False),
        ("openat", "EMFILE", True),
    ],
)
def test_calls_that_fail(faults: Faults, call: str, error: str, lasting: bool) -> None:
    needs("strace")
    traced = ["strace", "-qq", "-o", str(faults.at / "log"), "-e", f"trace={call}"]
    kind = f"{call}-{error}-{lasting}"
    faults.fails(f"{kind}-counted", traced, faults.at / f"{kind}-counted")
    lines = (faults.at / "log").read_text().splitlines()
    total = sum(line.startswith(f"{call}(") for line in lines)
    # Before this one the interpreter itself is loading: what fails there is not ours to report.
    first = next((at for at, line in enumerate(lines, 1) if "filelock" in line or "catalog.sqlite3" in line), 1)
    first = first if call == "openat" else 1
    points = [first + point - 1 for point in spread(N_POINTS, total - first + 1)]
    before = Counter(faults.outcomes)
    for point in points:
        name = f"{kind}-{point}"
        when = f"{point}+" if lasting else str(point)
        inject = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"]  # fmt: skip
        faults.fails(name, inject, faults.at / name)
        assert faults.resume(faults.at / name) == faults.expected, name
    says(f"13 ({call} {error})", points=len(points), outcomes=dict(faults.outcomes - before), acknowledged_lost=faults.n_lost)  # fmt: skip
    assert faults.n_lost == 0


def test_too_few_open_files(faults: Faults) -> None:
    needs("prlimit")
    before = Counter(faults.outcomes)
    for limit in LIMITS:
        name = f"files-{limit}"
        code = faults.fails(name, ["prlimit", f"--nofile={limit}"], faults.at / name)
        assert code == ("E_DISK" if limit < 64 else ""), f"{name}: {code}"
        assert faults.resume(faults.at / name) == faults.expected, name
    says(
        "13 (open files)", points=len(LIMITS), outcomes=dict(faults.outcomes - before), acknowledged_lost=faults.n_lost
    )
    assert faults.n_lost == 0
