"""A home saved while it is used, put back elsewhere: the same answers, nothing embedded, nothing let out of the folder."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

from graph import KnowledgeGraph
from rag import Document, KnowledgeBase
from rag.backup import MANIFEST, back_up, restore
from rag.errors import UsageError
from rag.principals import Principal
from rag.threads import Threads
from tests.postgres_server import Server
from ui.cli import main

ACME = Principal(tenant="acme", names=("u:ann",))
QUERIES = ("Where does the samovar stand?", "绿茶的水温")


def filled(home: Path, settings: Any) -> KnowledgeBase:
    kb = KnowledgeBase.open(home, settings=settings)
    kb.ingest([
        Document("The samovar stands in the attic. Ann Lee is a director of tea films.", doc_id="samovar", title="Samovar"),
        Document("绿茶的水温是八十度，红茶的水温是一百度。", doc_id="tea"),
    ])  # fmt: skip
    kb.view(principal=ACME).ingest([Document("Acme keeps its samovar in the safe.", doc_id="safe")], acl=("u:ann",))
    KnowledgeGraph.build(kb)
    Threads(kb.catalog.engine).create("u:ann", "About the samovar")
    (kb.home / "evaluation").mkdir()
    (kb.home / "evaluation" / "run.json").write_text("{}")
    (kb.home / "uploads" / "job").mkdir(parents=True)
    (kb.home / "uploads" / "job" / "waiting.txt").write_text("not imported yet")
    return kb


def answers(kb: KnowledgeBase) -> list[Any]:
    return [
        [(hit.chunk_id, hit.text, round(hit.score, 5)) for hit in view.search(query, mode=mode)]
        for view in (kb, kb.view(principal=ACME))
        for query in QUERIES
        for mode in ("bm25", "dense", "hybrid")
    ]


def test_a_home_comes_back_with_everything(tmp_path: Path, tiny_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path / "home", tiny_settings) as kb:
        before, graph = answers(kb), kb.search("Who directed?", mode="graph", top_k=3)
        saved = back_up(kb.home, tmp_path / "all.ragstone")  # the home is open, and its catalog in write-ahead mode
    assert (tmp_path / "all.ragstone").stat().st_mode & 0o077 == 0, "it holds every document"
    shutil.rmtree(tmp_path / "home")

    restored = restore(tmp_path / "all.ragstone", tmp_path / "new")
    assert restored.n_files == saved.n_files
    with KnowledgeBase.open(tmp_path / "new", settings=tiny_settings) as kb:
        for call in ("embed_passages", "embed_with_tokens"):
            monkeypatch.setattr(type(kb.embedder), call, lambda *_: pytest.fail("something is embedded again"))
        checked = kb.verify_all(repair=True)
        assert [one.ok for one in checked.values()] == [True, True] and sum(
            one.n_documents for one in checked.values()
        ) == 3
        monkeypatch.undo()
        assert answers(kb) == before
        assert [hit.chunk_id for hit in kb.search("Who directed?", mode="graph", top_k=3)] == [
            hit.chunk_id for hit in graph
        ]
        assert [one.title for one in Threads(kb.catalog.engine).find("u:ann")] == ["About the samovar"]
        assert (kb.home / "evaluation" / "run.json").read_text() == "{}"
        assert (kb.home / "uploads" / "job" / "waiting.txt").read_text() == "not imported yet"


def test_the_commands(tmp_path: Path, tiny_settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path / "home", tiny_settings).close()
    options = [f"--set=embedding.model={tiny_settings.embedding.model}", f"--set=models.dir={tiny_settings.models.dir}",
               f"--set=embedding.backend={tiny_settings.embedding.backend}"]  # fmt: skip
    file = str(tmp_path / "all.ragstone")
    assert main(["backup", file, "--home", str(tmp_path / "home"), "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["files"] >= 4
    assert main(["restore", file, "--home", str(tmp_path / "new"), "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["collections"], told["documents"], told["ok"]) == (2, 3, True)
    assert main(["restore", file, "--home", str(tmp_path / "new"), *options]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["backup", file, "--home", str(tmp_path / "nowhere"), *options]) == 2
    assert "catalog.sqlite3" in capsys.readouterr().err and not (tmp_path / "nowhere").exists()


def test_what_is_written_meanwhile_does_not_tear_a_database(tmp_path: Path) -> None:
    """A transaction that is open while the copy is made is in it wholly or not at all."""
    home = tmp_path / "home"
    (home / "agents").mkdir(parents=True)
    for path in (home / "catalog.sqlite3", home / "agents" / "agents.sqlite3"):
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE t (n)")
    writer = sqlite3.connect(home / "catalog.sqlite3")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()  # in the write-ahead file only
    writer.execute("INSERT INTO t VALUES (2)")
    back_up(home, tmp_path / "all.ragstone")
    writer.close()
    restore(tmp_path / "all.ragstone", tmp_path / "new")
    for path, expected in (("catalog.sqlite3", [(1,)]), ("agents/agents.sqlite3", [])):
        with sqlite3.connect(tmp_path / "new" / path) as db:
            assert db.execute("SELECT n FROM t").fetchall() == expected


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "a\\..\\out.txt", "c:out.txt", "./out.txt"]
)
def test_no_name_leads_out_of_the_home(tmp_path: Path, name: str) -> None:
    """The manifest is the attacker's, too, so its hashes fit."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "catalog.sqlite3").write_bytes(b"")
    (tmp_path / "home" / "out.txt").write_text("x")
    back_up(tmp_path / "home", tmp_path / "good")
    restore(tmp_path / "good", tmp_path / "fine")
    members = entries(tmp_path / "good")
    members[name] = members.pop("out.txt")
    manifest = json.loads(members[MANIFEST])
    manifest["files"][name] = manifest["files"].pop("out.txt")
    members[MANIFEST] = json.dumps(manifest).encode()
    with pytest.raises(UsageError, match="no name of a file"):
        restore(write(tmp_path / "bad", members), tmp_path / "new")
    assert not (tmp_path / "new").exists() and not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("harm", ["changed", "missing", "more", "no manifest", "newer", "cut", "text", "list"])
def test_a_damaged_file_leaves_nothing_behind(tmp_path: Path, harm: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "catalog.sqlite3").write_bytes(b"rows")
    back_up(tmp_path / "home", tmp_path / "good")
    members = entries(tmp_path / "good")
    if harm == "changed":
        members["catalog.sqlite3"] = b"cows"
    elif harm == "missing":
        del members["catalog.sqlite3"]
    elif harm == "more":
        members["more"] = b"x"
    elif harm == "no manifest":
        del members[MANIFEST]
    elif harm == "newer":
        members[MANIFEST] = members[MANIFEST].replace(b'"format": 1', b'"format": 9')
    elif harm == "list":
        members[MANIFEST] = b"[]"
    bad = write(tmp_path / "bad", members)
    if harm == "cut":
        bad.write_bytes((tmp_path / "good").read_bytes()[:-30])
    elif harm == "text":
        bad.write_text("not a backup")
    with pytest.raises(UsageError, match="no backup of ragstone"):
        restore(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


def test_a_catalog_in_postgresql(
    tmp_path: Path, tiny_settings: Any, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed (apt-get install postgresql-client)")
    url, empty = postgres.database(), postgres.database()
    settings = tiny_settings.with_values(catalog__url=url)
    with filled(tmp_path / "home", settings) as kb:
        before = answers(kb)
        with monkeypatch.context() as without, pytest.raises(UsageError, match="pg_dump is not installed"):
            without.setenv("PATH", str(tmp_path))
            back_up(kb.home, tmp_path / "all.ragstone", catalog_url=url)
        assert not (tmp_path / "all.ragstone").exists()
        back_up(kb.home, tmp_path / "all.ragstone", catalog_url=url)
    with pytest.raises(UsageError, match="lies in PostgreSQL"):
        restore(tmp_path / "all.ragstone", tmp_path / "new")
    with pytest.raises(UsageError, match="has tables already"):
        restore(tmp_path / "all.ragstone", tmp_path / "new", catalog_url=url)
    restore(tmp_path / "all.ragstone", tmp_path / "new", catalog_url=empty)
    with KnowledgeBase.open(tmp_path / "new", settings=tiny_settings.with_values(catalog__url=empty)) as kb:
        assert all(one.ok for one in kb.verify_all(repair=True).values())
        assert answers(kb) == before
