"""Another embedding model for a collection that is being searched: old answers, then new ones, nothing in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rag import Document, KnowledgeBase
from rag.errors import LockedError, UsageError

SEARCHER = """
import json, sys
from rag import KnowledgeBase, Settings
with KnowledgeBase.open(sys.argv[1], settings=Settings.load(overrides=json.loads(sys.argv[2]))) as kb:
    for line in sys.stdin:
        hits = kb.search("green tea", top_k=16000)
        print(json.dumps([sorted(hit.chunk_id for hit in hits), list(hits.warnings)]), flush=True)
"""


def documents(n: int = 60) -> list[Document]:
    return [
        Document(f"# Garden {i}\n\nThe tea of garden {i}.\n\n" + "\n\n".join(f"Green tea, river {i * k} and water of the garden." for k in range(1, 9)),
                 doc_id=f"d{i}", title=f"Garden {i}", type="markdown")
        for i in range(n)
    ]  # fmt: skip


def ids(kb: KnowledgeBase, mode: str = "hybrid") -> frozenset[str]:
    return frozenset(hit.chunk_id for hit in kb.search("green tea of the garden", mode=mode, top_k=16_000))


def overrides(settings) -> dict[str, object]:  # type: ignore[no-untyped-def]
    return {
        key: getattr(getattr(settings, key.split(".")[0]), key.split(".")[1])
        for key in ("embedding.model", "embedding.backend", "models.dir", "llm.model", "chunk.size", "chunk.overlap")
    }


@pytest.fixture(autouse=True)
def _several_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.ingest.BATCH_CHUNKS", 40)


@pytest.fixture
def old(tiny_settings):  # type: ignore[no-untyped-def]
    return tiny_settings.with_values(chunk__size=0)  # as much as the model reads


@pytest.fixture
def new(other_settings):  # type: ignore[no-untyped-def]
    return other_settings.with_values(chunk__size=0)


def test_the_new_collection_is_what_an_import_would_make(old, new, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Without sources: the folder is gone when the collection is built again."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for one in documents(8):
        (folder / f"{one.doc_id}.md").write_text(one.text)
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 broken")
    with KnowledgeBase.open(tmp_path / "fresh", settings=new) as kb:
        kb.ingest(folder)
        wanted = {info.doc_id: [(c.chunk_id, c.indexed_text, c.n_tokens) for c in kb.chunks(info.doc_id)] for info in kb.documents()}  # fmt: skip
        best = [(hit.chunk_id, round(hit.score, 5)) for hit in kb.search("green tea of garden 7", top_k=10)]
    with KnowledgeBase.open(tmp_path / "kb", settings=old) as kb:
        kb.ingest(folder)
    hidden = folder.rename(tmp_path / "elsewhere")
    with KnowledgeBase.open(tmp_path / "kb", settings=new) as kb:
        seen: list[tuple[int, int]] = []
        report = kb.reindex(progress=lambda now: seen.append((now.n_done, now.n_total)))
        assert (report.changed, report.n_documents, report.generation, seen[-1]) == (True, 8, 2, (8, 8))
        came = {info.doc_id: [(c.chunk_id, c.indexed_text, c.n_tokens) for c in kb.chunks(info.doc_id)] for info in kb.documents()}  # fmt: skip
        assert came == wanted
        assert [(hit.chunk_id, round(hit.score, 5)) for hit in kb.search("green tea of garden 7", top_k=10)] == best
        assert kb.verify().ok and len(kb.store.indexes("")) == 1 and kb.collections() == ["default"]
        assert [info.code for info in kb.documents() if info.code] == ["E_CORRUPT"]
        assert not kb.reindex().changed
        hidden.rename(folder)
        assert kb.ingest(folder).unchanged == 8, "an import afterwards finds nothing to do"
        again = kb.ingest([Document("The water of a river.", doc_id="later")])
        assert again.added == 1 and kb.verify().ok


def test_every_answer_is_wholly_old_or_wholly_new(old, new, repo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "kb"
    with KnowledgeBase.open(home, settings=old) as kb:
        kb.ingest(documents())
    with KnowledgeBase.open(home, settings=new) as kb, KnowledgeBase.open(home, settings=old) as reader:
        before = ids(reader)
        assert ids(kb) == before, "settings that are ahead of the collection search it with its own model"
        came: list[frozenset[str]] = []
        errors: list[BaseException] = []
        ended = threading.Event()

        def ask(which: KnowledgeBase, mode: str) -> None:
            try:
                while not ended.is_set():
                    came.append(ids(which, mode))
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=ask, args=one) for one in ((reader, "hybrid"), (kb, "dense"), (reader, "bm25"))
        ]
        for thread in threads:
            thread.start()
        during: list[frozenset[str]] = []
        kb.reindex(progress=lambda _now: during.append(ids(kb)))
        after = ids(kb)
        ended.set()
        for thread in threads:
            thread.join()
        assert errors == [] and set(during) == {before}
        assert before != after and before in came and set(came) <= {before, after}
        assert ids(reader) == after, "a process whose settings stayed behind goes on, too"


@pytest.mark.parametrize("behind", [True, False], ids=["reader has the old settings", "reader has the new settings"])
def test_a_reader_in_another_process_goes_on(behind: bool, old, new, repo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "kb"
    with KnowledgeBase.open(home, settings=old) as kb:
        kb.ingest(documents(20))
    command = [sys.executable, "-W", "ignore", "-c", SEARCHER, str(home), json.dumps(overrides(old if behind else new))]
    process = subprocess.Popen(command, cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask() -> tuple[list[str], list[str]]:
        assert process.stdin and process.stdout
        process.stdin.write("again\n")
        process.stdin.flush()
        found, warnings = json.loads(process.stdout.readline())
        return found, warnings

    with KnowledgeBase.open(home, settings=new) as kb:
        first, before = ask()
        during: list[list[str]] = []
        assert kb.reindex(progress=lambda _now: during.append(ask()[0])).changed
        assert during and all(one == first for one in during)
        last, after = ask()
        assert last == sorted(hit.chunk_id for hit in kb.search("green tea", top_k=16_000)) != first
    said = after if behind else before
    assert "ragstone reindex" in said[0] and [before, after].count([]) == 1, (
        "it says so while the settings name another"
    )
    process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize("step", ["stage", "upsert", "publish", "switch", "drop"])
def test_a_kill_at_any_step(step: str, old, new, repo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "kb"
    with KnowledgeBase.open(home, settings=old) as kb:
        kb.ingest(documents(60))
        before = ids(kb)
    script = f"""
import json, os, signal, sys
from rag import KnowledgeBase, Settings, ingest
from rag.catalog import Catalog
from rag.store import MilvusStore
ingest.BATCH_CHUNKS = 40
owner = MilvusStore if {step!r} in ("upsert", "drop") else Catalog
plain, calls = getattr(owner, {step!r}), []
def dying(*arguments, **options):
    calls.append(1)
    if {step!r} in ("switch", "drop") or len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **options)
setattr(owner, {step!r}, dying)
with KnowledgeBase.open(sys.argv[1], settings=Settings.load(overrides=json.loads(sys.argv[2]))) as kb:
    kb.reindex()
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(home), json.dumps(overrides(new))]
    ended = subprocess.run(command, cwd=repo, env=os.environ, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with KnowledgeBase.open(home, settings=new) as kb:
        assert (ids(kb) == before) == (step != "drop")
        report = kb.reindex()
        assert report.changed == (step != "drop")
        if step == "publish":
            assert report.n_kept > 0 and report.n_embedded < report.n_chunks, "what was finished is not done again"
        assert kb.verify().ok and len(kb.store.indexes("")) == 1
        after = ids(kb)
    with KnowledgeBase.open(tmp_path / "fresh", settings=new) as kb:
        kb.ingest(documents(60))
        assert ids(kb) == after


def test_what_changed_between_two_runs_is_seen(old, new, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A run that stopped, then a delete and a change with the old settings, then the rest."""

    class Stop(Exception):
        pass

    def stop(_now: object) -> None:
        raise Stop

    home = tmp_path / "kb"
    changed = documents(60)
    changed[3] = Document("Only water.", doc_id="d3")
    with KnowledgeBase.open(home, settings=old) as kb:
        kb.ingest(documents(60))
    with KnowledgeBase.open(home, settings=new) as kb, pytest.raises(Stop):
        kb.reindex(progress=stop)
    with KnowledgeBase.open(home, settings=old) as kb:
        kb.ingest(changed)
        kb.delete("d5")
    with KnowledgeBase.open(home, settings=new) as kb:
        assert kb.reindex().n_kept > 0
        assert kb.text("d3") == "Only water." and kb.documents("d5") == [] and kb.verify().ok
        assert not any(one.startswith("d5#") for one in ids(kb))


def test_refusals(old, new, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with KnowledgeBase.open(tmp_path / "kb", settings=new) as kb:
        with pytest.raises(UsageError, match="empty"):
            kb.reindex()
        kb.ingest(documents(2))
        with kb._writing(), KnowledgeBase.open(tmp_path / "kb", settings=old) as other, pytest.raises(LockedError):
            other.reindex()
