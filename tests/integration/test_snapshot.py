"""Snapshots: the same answers elsewhere without embedding anything, and no file that can do harm."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rag import Document, KnowledgeBase
from rag.errors import LockedError, RagstoneError, UsageError
from rag.snapshot import DOCUMENTS, MANIFEST, VECTORS
from tests import milvus_server

QUERIES = ["tea of garden 7", "绿茶的水温", "river"]
MODES = ("bm25", "dense", "hybrid")


def documents(n: int = 30) -> list[Document]:
    return [
        Document(f"# Garden {i}\n\nThe tea of garden {i} by the river.\n\n绿茶第{i}号的水温是八十度。\n\n## Part\n\nThe same words in each.",
                 doc_id=f"d{i}", title=f"Garden {i}", type="markdown", metadata={"number": i, "tags": ["tea"]})
        for i in range(n)
    ]  # fmt: skip


def answers(kb: KnowledgeBase, modes: tuple[str, ...] = MODES) -> list[list[tuple[str, float, str]]]:
    return [
        [(hit.chunk_id, hit.score, hit.text) for hit in kb.search(query, mode=mode, top_k=16_000)]
        for query in QUERIES
        for mode in modes
    ]


class Untouchable:
    """Stands where the embedder would: an import must not even ask for its name."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the embedder was asked for {name}")


@pytest.fixture
def snapshot(tiny_kb: KnowledgeBase, tmp_path: Path) -> Path:
    tiny_kb.ingest([*documents(), Document(" ", doc_id="blank")])
    tiny_kb.ingest([Document("Now about the river.", doc_id="d3")])  # a second version
    tiny_kb.delete("d5")
    tiny_kb.export_snapshot(tmp_path / "kb.ragstone")
    return tmp_path / "kb.ragstone"


def test_another_home_answers_the_same(snapshot: Path, tiny_kb: KnowledgeBase, tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    before = answers(tiny_kb)
    with KnowledgeBase.open(tmp_path / "second", settings=tiny_settings) as kb:
        kb._embedder = Untouchable()  # type: ignore[assignment]
        report = kb.import_snapshot(snapshot)
        kb._embedder = tiny_kb.embedder
        assert (report.n_documents, report.n_embedded) == (29, 0) and report.n_chunks == tiny_kb.catalog.counts("default")[1]  # fmt: skip
        assert answers(kb) == before
        assert kb.documents() == tiny_kb.documents() and kb.text("d3") == "Now about the river."
        assert kb.search("tea", filter="number == 7", mode="bm25")[0].doc_id == "d7"
        assert kb.verify().ok
        again = [one for one in documents() if one.doc_id not in ("d3", "d5")]
        assert kb.ingest(again).unchanged == len(again), "an import afterwards finds nothing to do"
        assert kb.delete("d7") == 1 and kb.ingest(documents()[7:8]).added == 1 and kb.verify().ok


def test_beside_itself_and_in_its_own_place(snapshot: Path, tiny_kb: KnowledgeBase, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    before = answers(tiny_kb)
    with KnowledgeBase.open(tiny_kb.home, settings=tiny_settings, collection="copy") as copy:
        copy.import_snapshot(snapshot)
        same = [sorted(one) for one in answers(copy)]
        assert same == [sorted(one) for one in before], "keys differ, so equal scores may change places"
        assert copy.verify().ok and tiny_kb.verify().ok and answers(tiny_kb) == before
        with pytest.raises(UsageError, match="not empty.*--replace"):
            copy.import_snapshot(snapshot)
        copy.ingest([Document("A zeppelin.", doc_id="z")])
        copy.import_snapshot(snapshot, replace=True)
        assert copy.documents("z") == [] and [sorted(one) for one in answers(copy)] == same and copy.verify().ok
        assert len(copy.store.indexes("")) == 2 and copy.collections() == ["copy", "default"]


def test_from_the_embedded_store_to_a_server(
    snapshot: Path, tiny_kb: KnowledgeBase, tiny_settings, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "server").mkdir()
    with milvus_server.tcp_server(tmp_path / "server") as uri:
        settings = tiny_settings.with_values(milvus__uri=uri)
        with KnowledgeBase.open(tmp_path / "there", settings=settings) as kb:
            kb.import_snapshot(snapshot)
            mine, theirs = answers(tiny_kb), answers(kb)
            for one, other in zip(mine, theirs, strict=True):
                assert {hit[0]: hit[2] for hit in one} == {hit[0]: hit[2] for hit in other}
                assert {hit[0]: hit[1] for hit in one} == pytest.approx({hit[0]: hit[1] for hit in other}, abs=1e-4)


@pytest.mark.slow
def test_to_a_real_server(snapshot: Path, tiny_kb: KnowledgeBase, tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """An old server without full-text search: dense answers are the same."""
    with milvus_server.running(tmp_path) as uri:
        settings = tiny_settings.with_values(milvus__uri=uri)
        with KnowledgeBase.open(tmp_path / "there", settings=settings) as kb:
            kb.import_snapshot(snapshot)
            for one, other in zip(answers(tiny_kb, ("dense",)), answers(kb, ("dense",)), strict=True):
                assert {hit[0]: hit[1] for hit in one} == pytest.approx({hit[0]: hit[1] for hit in other}, abs=1e-4)


@pytest.mark.parametrize("step", ["put_vectors", "put_records", "upsert", "switch", "drop"])
def test_a_kill_leaves_nothing_half_visible(
    step: str, snapshot: Path, tiny_kb: KnowledgeBase, tiny_settings, repo: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    script = f"""
import json, os, signal, sys
from rag import KnowledgeBase, Settings, snapshot
from rag.catalog import Catalog
from rag.store import MilvusStore
snapshot.BATCH = 10
owner = MilvusStore if {step!r} in ("upsert", "drop") else Catalog
plain, calls = getattr(owner, {step!r}), []
def dying(*arguments, **options):
    calls.append(1)
    if {step!r} not in ("put_records", "upsert") or len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **options)
setattr(owner, {step!r}, dying)
with KnowledgeBase.open(sys.argv[1], settings=Settings.load(overrides=json.loads(sys.argv[2]))) as kb:
    kb.import_snapshot(sys.argv[3], replace=True)
"""
    values = {"models.dir": tiny_settings.models.dir, "embedding.model": tiny_settings.embedding.model}
    home = tmp_path / "second"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([Document("A zeppelin by the river.", doc_id="z")])
        before = answers(kb)
    command = [sys.executable, "-W", "ignore", "-c", script, str(home), json.dumps(values), str(snapshot)]
    ended = subprocess.run(command, cwd=repo, env=os.environ, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        assert answers(kb) == (answers(tiny_kb) if step == "drop" else before)
        assert kb.collections() == ["default"]
        kb.import_snapshot(snapshot, replace=True)
        assert list(map(sorted, answers(kb))) == list(map(sorted, answers(tiny_kb))), (
            "in another order where scores are equal"
        )
        assert kb.verify().ok and len(kb.store.indexes("")) == 1


def test_a_writer_is_waited_for_and_a_reader_is_not(
    snapshot: Path, tiny_kb: KnowledgeBase, tiny_settings, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    with KnowledgeBase.open(tiny_kb.home, settings=tiny_settings) as other:
        with tiny_kb._writing():
            with pytest.raises(LockedError):
                other.export_snapshot(tmp_path / "no")
            with pytest.raises(LockedError):
                other.import_snapshot(snapshot, replace=True)
            assert len(other.search("tea"))
        assert not (tmp_path / "no").exists()


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object], compress: int = zipfile.ZIP_DEFLATED) -> Path:
    """The snapshot with its members changed, and with a manifest that says so, as somebody hostile would."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    manifest = json.loads(members[MANIFEST])
    for name in (VECTORS, DOCUMENTS):
        if "keep" not in manifest and name in members:
            manifest["members"][name] = {
                "size": len(members[name]),
                "sha256": hashlib.sha256(members[name]).hexdigest(),
            }
    members[MANIFEST] = json.dumps(manifest).encode()
    out = path.with_name("changed.ragstone")
    with zipfile.ZipFile(out, "w", compress) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out


def lines(change: Callable[[list[dict]], object]) -> Callable[[dict[str, bytes]], object]:  # type: ignore[type-arg]
    def apply(members: dict[str, bytes]) -> None:
        rows = [json.loads(line) for line in members[DOCUMENTS].splitlines()]
        change(rows)
        members[DOCUMENTS] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return apply


def manifest(**values: object) -> Callable[[dict[str, bytes]], object]:
    return lambda members: members.__setitem__(MANIFEST, json.dumps(json.loads(members[MANIFEST]) | values).encode())


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "newer": (manifest(ragstone_snapshot=99), "newer"),
    "a flipped byte": (lambda m: (m.__setitem__(VECTORS, m[VECTORS][:-1] + b"?"), manifest(keep=1)(m)), "not what the manifest says"),
    "a member too many": (lambda m: m.__setitem__("../../etc/passwd", b"x"), "etc/passwd"),
    "an absolute name": (lambda m: m.__setitem__("/tmp/x", b"x"), "/tmp/x"),
    "a bomb": (lambda m: m.__setitem__(DOCUMENTS, b" " * 50_000_000), "unpacks"),
    "no manifest": (lambda m: m.__setitem__(MANIFEST, b"[]"), "damaged"),
    "deep json": (lambda m: m.__setitem__(DOCUMENTS, b"[" * 100_000), "not one"),
    "no numbers": (lambda m: m.__setitem__(VECTORS, m[VECTORS][:-4] + b"\0\0\xc0\x7f"), "number that is none"),
    "a missing document": (lines(lambda rows: rows.pop(1)), "do not fit"),
    "a missing chunk": (lines(lambda rows: rows[1]["chunks"].pop()), "do not fit"),
    "an unknown vector": (lines(lambda rows: rows[1]["chunks"][0].update(vector_key="0" * 64)), "do not fit"),
    "a chunk beyond the text": (lines(lambda rows: rows[1]["chunks"][0].update(end=10**6)), "outside"),
    "a key that is none": (lines(lambda rows: rows[1]["chunks"][0].update(pk='" or 1')), "outside"),
    "a document twice": (lines(lambda rows: rows.append(rows[1])), "twice"),
    "a surrogate": (lines(lambda rows: rows[1].update(text="\ud800")), "document 2"),
    "a huge number": (lines(lambda rows: rows[1]["document"].update(version=2**40)), "too large"),
    "another size": (manifest(dim=33), "size of its vectors"),
    "a huge size": (manifest(dim=10**9), "size of its vectors"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_and_damaged_files_are_refused(what: str, snapshot: Path, tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    change, words = HOSTILE[what]

    def prepared(members: dict[str, bytes]) -> None:
        change(members)
        if not isinstance(json.loads(members[MANIFEST]), dict):
            members[MANIFEST] = json.dumps({"members": {}}).encode()

    path = rewritten(snapshot, prepared)
    with KnowledgeBase.open(tmp_path / "second", settings=tiny_settings) as kb:
        with pytest.raises(UsageError, match=words) as caught:
            kb.import_snapshot(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
        assert kb.collections() == [] and kb.catalog.next_collection("default") is None
        kb.import_snapshot(snapshot)
        assert kb.verify().ok and kb.catalog.counts("default")[0] == 29


@pytest.mark.parametrize("damage", ["cut", "empty", "absent", "folder", "text"])
def test_files_that_are_no_snapshot(damage: str, snapshot: Path, tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x"
    if damage == "folder":
        path.mkdir()
    elif damage != "absent":
        data = snapshot.read_bytes()
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"hello"}[damage])
    with KnowledgeBase.open(tmp_path / "second", settings=tiny_settings) as kb, pytest.raises(RagstoneError) as caught:
        kb.import_snapshot(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_every_flipped_byte_is_noticed_or_harmless(snapshot: Path, tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A byte of the file changed here and there: refused in one sentence, or (in a field of the ZIP that nobody reads) the same."""
    data = snapshot.read_bytes()
    path = tmp_path / "flipped"
    with KnowledgeBase.open(tmp_path / "second", settings=tiny_settings) as kb:
        refused = 0
        for at in range(0, len(data), max(len(data) // 120, 1)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
            try:
                kb.import_snapshot(path, replace=True)
            except UsageError as error:
                assert "\n" not in str(error)
                refused += 1
        assert refused > 100


def test_an_export_is_whole_or_not_there(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to export"):
        tiny_kb.export_snapshot(tmp_path / "x")
    tiny_kb.ingest(documents(3))
    with pytest.raises(UsageError, match="cannot be written"):
        tiny_kb.export_snapshot(tmp_path / "no" / "folder" / "x")
    (tmp_path / "x").write_text("before")
    key = next(tiny_kb.catalog.vector_keys("default"))
    with tiny_kb.catalog._engine.begin() as db:
        db.exec_driver_sql(f"delete from vectors where key = '{key}'")
    with pytest.raises(UsageError, match="verify --repair"):
        tiny_kb.export_snapshot(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "before" and list(tmp_path.glob(".x*")) == []


def test_on_the_command_line(snapshot: Path, tiny_settings, repo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def run(*words: str) -> dict:  # type: ignore[type-arg]
        command = [sys.executable, "-W", "ignore", "-m", "ui.cli", *words, "--json", "--home", str(tmp_path / "cli")]
        ended = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=120)
        return {"code": ended.returncode, **json.loads(ended.stdout)}

    done = run("snapshot", "import", str(snapshot), "--collection", "moved")
    assert (done["code"], done["documents"], done["embedded"], done["collection"]) == (0, 29, 0, "moved")
    assert {"chunks", "vectors", "bytes", "seconds"} <= done.keys()
    assert run("snapshot", "import", str(snapshot), "--collection", "moved")["error"]["code"] == "E_USAGE"
    out = run("snapshot", "export", str(tmp_path / "again"), "--collection", "moved")
    assert (out["code"], out["chunks"], out["vectors"]) == (0, done["chunks"], done["vectors"])
