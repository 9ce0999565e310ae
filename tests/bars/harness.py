"""What the bars share: documents to import, imports as processes of their own, and what must hold after any of them.

A bar is a promise with a number: `make bars` runs all of them in full size, `make test` a part of each. Each prints
what it measured.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag import lite
from rag.catalog_rows import row_key
from rag.knowledge_base import KnowledgeBase
from tests import milvus_server

FULL = os.environ.get("RAGSTONE_BARS", "quick") == "full"
SEED = 20_261_128
REPO = Path(__file__).resolve().parent.parent.parent
WORDS = ["tea", "green", "river", "water", "leaf", "garden", "history", "第七分钟", "绿茶的水温", "红茶"]

# The command, told of every document that is published before it goes on: what was printed is acknowledged.
ACKNOWLEDGING = """
import os, sys
from rag.catalog import Catalog
plain = Catalog.publish
def publish(self, collection, drafts, *rest, **options):
    result = plain(self, collection, drafts, *rest, **options)
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(log, "".join(draft.doc_id + "\\n" for draft in drafts).encode())
    os.close(log)
    return result
Catalog.publish = publish
from ui.cli import main
sys.exit(main(sys.argv[2:]))
"""


def needs(*tools: str) -> None:
    """Skip the test where one of these programs is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def says(bar: str, **measured: Any) -> None:
    """Print what a bar measured; pytest shows it with -s, `make bars` does."""
    print(f"\nbar {bar}: " + json.dumps(measured, ensure_ascii=False))


def write_documents(folder: Path, n: int, *, paragraphs: int = 12) -> Path:
    """n Markdown files of `paragraphs` chunks and more, different from each other, equal on every run."""
    folder.mkdir(parents=True, exist_ok=True)
    chooser = random.Random(SEED)
    for at in range(n):
        body = "\n\n".join(
            f"## Part {part}\n\n" + " ".join(chooser.choice(WORDS) for _ in range(36)) for part in range(paragraphs)
        )
        (folder / f"{at:05}.md").write_text(f"# Garden {at}\n\nThe tea of garden {at}.\n\n{body}\n", encoding="utf-8")
    return folder


def environment(settings: Any) -> dict[str, str]:
    """The settings of the tiny model as a child's environment."""
    found = {"PYTHONPATH": str(REPO)}  # nsenter leaves the working folder
    values = {"EMBEDDING__MODEL": settings.embedding.model, "EMBEDDING__BACKEND": settings.embedding.backend,
              "MODELS__DIR": settings.models.dir, "LLM__MODEL": "none",
              "CHUNK__SIZE": str(settings.chunk.size), "CHUNK__OVERLAP": str(settings.chunk.overlap)}  # fmt: skip
    return dict(os.environ) | found | {f"RAGSTONE__{key}": value for key, value in values.items()}


def ingest_command(folder: Path, home: Path, *options: str, acks: Path | None = None) -> list[str]:
    start = ["-c", ACKNOWLEDGING, str(acks)] if acks else ["-m", "ui.cli"]
    return [sys.executable, "-W", "ignore", *start, "ingest", str(folder), "--home", str(home), "--json", *options]


def run(command: Sequence[str], settings: Any, *, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """A command to its end, in a process group of its own; no process of the group outlives it."""
    process = subprocess.Popen(command, cwd=REPO, env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def kill_engine(home: Path) -> bool:
    """End the embedded Milvus of a home, as a crash would. Returns whether there was one."""
    with suppress(OSError, ValueError, KeyError):
        os.kill(int(json.loads((home / "milvus.json").read_text())["pid"]), signal.SIGKILL)
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class State:
    """What a home holds, as far as it must be equal however it came about."""

    documents: list[tuple[Any, ...]]
    chunks: list[tuple[Any, ...]]
    keys: list[str]  # in the store


def state(kb: KnowledgeBase) -> State:
    """Asserts that the catalog is sound, agrees with the store and holds no garbage."""
    checked = kb.verify()
    assert checked.ok, checked.problems
    with sqlite3.connect(kb.home / "catalog.sqlite3") as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert db.execute("select count(*) from garbage").fetchone() == (0,)
        documents = db.execute(
            "select doc_id, source, state, pending, content_hash, n_chunks from documents order by 1"
        ).fetchall()
        chunks = db.execute('select doc_id, ordinal, start, "end", text from chunks order by 1, 2').fetchall()
        expected = sorted(
            row_key(*row) for row in db.execute("select collection, doc_id, version, ordinal from chunks").fetchall()
        )
    collection = kb.catalog.collection(kb.collection)
    assert collection is not None
    keys = sorted(kb.store.keys(kb.index_name(collection.generation)))
    assert len(keys) == len(set(keys)), "rows are there twice"
    assert keys == expected, "the store holds other rows than the catalog"
    return State(documents=documents, chunks=chunks, keys=keys)


def sound(home: Path) -> None:
    """A catalog is readable by SQLite's own check, whatever happened to the process that wrote it."""
    if not (home / "catalog.sqlite3").exists():
        return
    with sqlite3.connect(home / "catalog.sqlite3") as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]


def live(home: Path) -> set[str]:
    """The documents that searches see."""
    with sqlite3.connect(home / "catalog.sqlite3") as db:
        return {row[0] for row in db.execute("select doc_id from documents where version > 0")}


def acknowledged(acks: Path) -> set[str]:
    """What a killed run had acknowledged; a line that was cut off is none."""
    if not acks.exists():
        return set()
    return {line for line in acks.read_text().splitlines(keepends=True) if line.endswith("\n") for line in [line[:-1]]}


def spread(n: int, total: int) -> list[int]:
    """n numbers from 1 to total, evenly apart; all of them when there are fewer."""
    if total <= n:
        return list(range(1, total + 1))
    if n == 1:
        return [1 + total // 2]
    return sorted({1 + round(at * (total - 1) / max(n - 1, 1)) for at in range(n)})


@contextmanager
def _embedded(_: Path) -> Iterator[str]:
    if not lite.available():
        pytest.skip("there is no embedded Milvus here")
    yield ""


@contextmanager
def _over_tcp(at: Path) -> Iterator[str]:
    at.mkdir()
    with milvus_server.tcp_server(at) as uri:
        yield uri


@contextmanager
def _server(at: Path) -> Iterator[str]:
    if not FULL:
        pytest.skip("the real server takes long: RAGSTONE_BARS=full")
    at.mkdir()
    with milvus_server.running(at) as uri:
        yield uri


# Each gives the URI of an empty Milvus for the time of a with-statement.
BACK_ENDS: dict[str, Callable[[Path], Any]] = {"embedded": _embedded, "over TCP": _over_tcp, "Milvus 2.3.5": _server}
