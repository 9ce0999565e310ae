"""Bar 8: bad files among good ones. Each ends as it must, in its time and memory; nothing else suffers or leaks."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.errors import CODES, DocumentError
from rag.parsing import ParserPool, parse_parts
from rag.settings import ParseSettings
from rag.types import Failure
from tests.bars.bad_files import ANY, Bad, good_ones, inputs
from tests.bars.harness import ingest_command, live, run, says

pytestmark = [
    pytest.mark.bar,
    pytest.mark.skipif(sys.platform != "linux", reason="the child's memory is read from /proc"),
]

CANARY = "canary-6f1d2b-of-bar-8"
MOST_SECONDS = 20
MOST_MB = 1024


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.setblocking(False)
        yield opened


def was_asked(listener: socket.socket) -> bool:
    try:
        listener.accept()
        return True
    except BlockingIOError:
        return False


@pytest.fixture
def bad(tmp_path: Path, listener: socket.socket) -> list[Bad]:
    """The files made here and, where the evaluation data lies beside the checkout, those in it."""
    secret = tmp_path / "secret.txt"
    secret.write_text(CANARY)
    made = list(inputs(str(secret), f"http://127.0.0.1:{listener.getsockname()[1]}"))
    assert len(made) >= 80 and len({one.name for one in made}) == len(made)
    return made


def shared_files(folder: Path) -> Iterator[tuple[Bad, dict[str, Any]]]:
    """The collection of bad files with its manifest's word on each."""
    for entry in json.loads((folder / "generated" / "manifest.json").read_text("utf-8")):
        outcome = entry["outcome"]
        codes = frozenset() if outcome == "text" else ANY
        text = None if outcome in ("error", "no_text") else ""
        yield (
            Bad(name=entry["file"], data=(folder / "generated" / entry["file"]).read_bytes(), codes=codes, text=text),
            entry,
        )
    for fuzzed in ("fuzz-pdf", "fuzz-office"):
        for path in sorted((folder / fuzzed).iterdir()):
            if path.name != "manifest.json":
                yield Bad(name=path.name, data=path.read_bytes(), codes=ANY, text=""), {}


class Watched:
    """A parser that is timed, and whose child's memory is read after every file."""

    def __init__(self, pool: ParserPool) -> None:
        self._pool = pool
        self.seconds: dict[str, float] = {}
        self.peak_mb = 0.0

    def read(self, one: Bad) -> tuple[str, str]:
        """The code, or an empty one, and the text with that of the files inside."""
        started = time.monotonic()
        code, text = "", ""
        try:
            parsed = self._pool.parse(one.data, one.name)
            self.seconds[one.name] = time.monotonic() - started
            inside, _ = parse_parts(self._pool, parsed, one.name)
            read = [part.result for part in inside if not isinstance(part.result, Failure)]
            text = "\n".join([parsed.text, *(result.text for result in read)])
            failed = [part.result.code for part in inside if isinstance(part.result, Failure)]
            code = failed[0] if failed and not text.strip() else ""
        except DocumentError as error:
            self.seconds.setdefault(one.name, time.monotonic() - started)
            code = error.code
            assert one.name in str(error) and "\n" not in str(error), str(error)
        child = self._pool._slots.queue[-1]
        if child is not None and child.usable:
            self.peak_mb = max(self.peak_mb, peak_mb(child._process.pid))
        return code, text


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def wrong(one: Bad, code: str, text: str) -> str:
    """What is not as it must be; empty when all is."""
    if CANARY in text:
        return "shows a file outside"
    if code:
        expected = code in CODES and code not in ("E_CRASH",) if one.codes == ANY else code in one.codes
        return "" if expected else f"{code}, not {sorted(one.codes)}"
    if one.text is None and text.strip():
        return f"text {text[:60]!r}"
    return "" if one.text is None or one.text in text else f"lacks {one.text!r}: {text[:60]!r}"


def test_each_ends_as_it_must(bad: list[Bad], listener: socket.socket) -> None:
    # OCR has its own limits, and its own tests: here its models would hide what the parsers take.
    with ParserPool(ParseSettings(ocr="off"), workers=1) as pool:
        watched = Watched(pool)
        mistakes = {one.name: fault for one in bad if (fault := wrong(one, *watched.read(one)))}
        good = [Bad(name=name, data=data, text="erons") for name, data in good_ones().items()]
        mistakes |= {one.name: fault for one in good if (fault := wrong(one, *watched.read(one)))}
    slow = {name: seconds for name, seconds in watched.seconds.items() if seconds > MOST_SECONDS}
    says(
        "8",
        files=len(bad) + len(good),
        wrong=mistakes,
        slowest_s=round(max(watched.seconds.values()), 1),
        child_mb=round(watched.peak_mb),
    )
    assert mistakes == {} and slow == {}
    assert watched.peak_mb < MOST_MB
    assert not was_asked(listener)


def test_the_collection_ends_as_its_manifest_says(shared: Path) -> None:
    mistakes: dict[str, str] = {}
    n_files = 0
    with ParserPool(ParseSettings(ocr="off"), workers=1) as pool:
        watched = Watched(pool)
        for one, entry in shared_files(shared / "data" / "bad"):
            n_files += 1
            code, text = watched.read(one)
            fault = wrong(one, code, text)
            if not code and not fault:
                shown = " ".join(text.split())
                fault = "".join(f"lacks {part!r} " for part in entry.get("must", []) if part not in shown)
                fault += "".join(f"shows {part[:20]!r} " for part in entry.get("absent", []) if part in text)
            if watched.seconds[one.name] > entry.get("max_seconds", MOST_SECONDS):
                fault += f"took {watched.seconds[one.name]:.0f} s"
            if fault:
                mistakes[one.name] = fault
    says(
        "8 collection",
        files=n_files,
        wrong=mistakes,
        slowest_s=round(max(watched.seconds.values()), 1),
        child_mb=round(watched.peak_mb),
    )
    assert mistakes == {}
    assert watched.peak_mb < 600


def test_all_in_one_import(bad: list[Bad], listener: socket.socket, tmp_path: Path, tiny_settings: Any) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    good = good_ones()
    for name, data in {**{one.name: one.data for one in bad}, **good}.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.txt")
    (folder / "circle").symlink_to(folder)
    (folder / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "directory.pdf").mkdir()
    (folder / "two\nlines.txt").write_text("A name of two lines.")
    before = tree(tmp_path)

    ended = run(ingest_command(folder, tmp_path / "home"), tiny_settings, timeout=500)

    assert ended.returncode == 3, ended.stderr[-2000:]  # finished, with failures
    report = json.loads(ended.stdout)
    failures = {failure["source"].removeprefix(f"{folder}/"): failure for failure in report["failures"]}
    imported = {Path(name.partition("!/")[0]).name for name in live_sources(tmp_path / "home")}
    says("8 import", files=len(bad) + len(good), failed=len(failures), live=len(imported), seconds=report["seconds"])
    assert set(good) <= imported
    must_fail = {one.name for one in bad if one.text is None and one.name != "empty.zip"}
    assert {name for name in must_fail if not any(source.partition("!/")[0] == name for source in failures)} == set()
    assert all(failure["code"] in CODES and "\n" not in failure["message"] for failure in failures.values())
    assert failures["outside.txt"]["code"] == "E_OUTSIDE_ROOT" and failures["pipe.txt"]["code"] == "E_NOT_REGULAR"
    assert tree(tmp_path) == before, "something was written outside of the home"
    assert not Path("/tmp/escaped.txt").exists()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert CANARY.encode() not in stored
    assert b"Herons" in stored  # the search above can find what is there
    assert not was_asked(listener)


def live_sources(home: Path) -> set[str]:
    import sqlite3

    ids = live(home)
    with sqlite3.connect(home / "catalog.sqlite3") as db:
        return {source for doc_id, source in db.execute("select doc_id, source from documents") if doc_id in ids}


def tree(root: Path) -> set[str]:
    """Every path below a folder, the home's aside."""
    return {str(path) for path in root.rglob("*") if "home" not in path.relative_to(root).parts[:1]}
