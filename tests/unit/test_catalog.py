"""The catalog's three steps, and what is left after a kill between any two of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from rag.catalog import NEXT, Catalog
from rag.catalog_rows import Collection, Draft, row_key, vector_key
from rag.errors import CatalogError, LockedError, SettingsError
from rag.types import Chunk


def draft(doc_id: str, text: str) -> Draft:
    chunk = Chunk(doc_id=doc_id, ordinal=0, start=0, end=len(text), text=text)
    return Draft(doc_id=doc_id, source=f"/{doc_id}", title=doc_id, type="text", text=text, content_hash=text, recipe="r",
                 chunks=[chunk], vector_keys=[vector_key("f", text)])  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One contract for both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'c.sqlite3'}"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def catalog(url: str):  # type: ignore[no-untyped-def]
    opened = Catalog(url)
    yield opened
    opened.close()


def write(catalog: Catalog, one: Draft) -> list[str]:
    catalog.put_vectors({one.vector_keys[0]: np.ones(3, np.float32)})
    keys = catalog.stage("c", [one])[0]
    catalog.publish("c", [one])
    return keys


def test_a_staged_version_is_not_seen(catalog: Catalog) -> None:
    keys = catalog.stage("c", [draft("a", "one")])[0]
    assert catalog.live_chunks("c", keys) == {} and catalog.text("c", "a") is None
    catalog.publish("c", [draft("a", "one")])
    assert catalog.live_chunks("c", keys)[keys[0]].chunk.text == "one"
    assert catalog.text("c", "a") == "one"


def test_publishing_replaces_the_old_version_at_once(catalog: Catalog) -> None:
    old = write(catalog, draft("a", "one"))
    new = catalog.stage("c", [draft("a", "two")])[0]
    assert set(catalog.live_chunks("c", old + new)) == set(old)
    catalog.publish("c", [draft("a", "two")])
    assert set(catalog.live_chunks("c", old + new)) == set(new)
    assert catalog.garbage("c") == old
    assert catalog.text("c", "a") == "two" and catalog.documents("c")[0].version == 2


def test_recover_undoes_what_was_staged_and_keeps_vectors(catalog: Catalog) -> None:
    old = write(catalog, draft("a", "one"))
    catalog.put_vectors({vector_key("f", "two"): np.ones(3, np.float32)})
    staged = catalog.stage("c", [draft("a", "two"), draft("b", "new")])
    assert catalog.recover("c") == 2
    assert sorted(catalog.garbage("c")) == sorted(staged[0] + staged[1])
    assert [info.doc_id for info in catalog.documents("c")] == ["a"]
    assert set(catalog.live_chunks("c", old)) == set(old)
    assert vector_key("f", "two") in catalog.vectors([vector_key("f", "two")])
    again = catalog.stage("c", [draft("a", "two")])[0]
    assert again == staged[0], "a resumed run writes the same keys"
    assert again[0] not in catalog.garbage("c")


def test_delete_removes_everything_but_the_garbage_note(catalog: Catalog) -> None:
    keys = write(catalog, draft("a", "one"))
    assert catalog.delete("c", ["a", "absent"]) == 1
    assert catalog.documents("c") == [] and catalog.live_chunks("c", keys) == {} and catalog.garbage("c") == keys
    assert catalog.drop_unused_vectors() == 1
    catalog.forget_garbage(keys)
    assert catalog.garbage("c") == []


def test_a_failed_update_leaves_the_old_version_live(catalog: Catalog) -> None:
    keys = write(catalog, draft("a", "one"))
    catalog.fail("c", draft("a", "broken"), "E_CORRUPT", "The file is damaged.")
    info = catalog.documents("c")[0]
    assert (info.state, info.code) == ("live", "E_CORRUPT")
    assert set(catalog.live_chunks("c", keys)) == set(keys)
    catalog.fail("c", draft("new", "broken"), "E_CORRUPT", "The file is damaged.")
    assert catalog.documents("c", "new")[0].state == "failed"


def test_problems_are_found(catalog: Catalog) -> None:
    write(catalog, draft("a", "one"))
    assert catalog.problems("c") == []
    catalog.stage("c", [draft("b", "two")])
    assert {kind for kind, _, _ in catalog.problems("c")} == {"unfinished", "vector-missing"}


def test_collections_do_not_mix(catalog: Catalog) -> None:
    keys = write(catalog, draft("a", "one"))
    assert catalog.live_chunks("other", keys) == {} and catalog.documents("other") == []
    assert row_key("c", "a", 1, 0) != row_key("other", "a", 1, 0)


def test_a_collection_remembers_its_model(catalog: Catalog) -> None:
    made = Collection(name="c", generation=1, fingerprint="f", model="m", dim=3, probe=np.array([1, 0, 0], np.float32))
    catalog.add_collection(made)
    found = catalog.collection("c")
    assert (
        found is not None and found.fingerprint == "f" and found.probe is not None and found.probe.tolist() == [1, 0, 0]
    )


def test_damage_and_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    path.write_bytes(b"this is not a database, and it is long enough to look like one" * 20)
    with pytest.raises(CatalogError, match="damaged"):
        Catalog(path)
    import sqlite3

    newer = tmp_path / "n.sqlite3"
    Catalog(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("update meta set value = '99' where key = 'schema'")
    with pytest.raises(CatalogError, match="schema 99"):
        Catalog(newer)


def test_many_processes_may_create_it_at_once(url: str, repo: Path) -> None:
    script = "import sys; from rag.catalog import Catalog; print(Catalog(sys.argv[1]).catalog_id)"
    command = [sys.executable, "-c", script, url]
    started = [
        subprocess.Popen(command, cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)
    ]
    ended = [process.communicate() for process in started]
    assert len({out for out, _ in ended}) == 1 and ended[0][0].strip(), [err for _, err in ended]


def test_live_rows_name_the_same_keys_as_live_chunks(catalog: Catalog) -> None:
    keys = write(catalog, draft("a", "one")) + catalog.stage("c", [draft("b", "two")])[0]
    rows, chunks = catalog.live_rows("c", keys), catalog.live_chunks("c", keys)
    assert rows.keys() == chunks.keys() == {keys[0]}
    assert rows[keys[0]].chunk_id == chunks[keys[0]].chunk.chunk_id == "a#0-3"
    assert rows[keys[0]].vector_key == chunks[keys[0]].vector_key


def test_keys_are_looked_up_and_not_searched_for(tmp_path: Path) -> None:
    """A search must not read every chunk of a collection: that would grow with the collection."""
    catalog = Catalog(tmp_path / "c.sqlite3")
    write(catalog, draft("a", "one"))
    statements: list[str] = []
    sa.event.listen(catalog._engine, "before_cursor_execute", lambda _c, _k, text, *_rest: statements.append(text))
    catalog.live_rows("c", ["0" * 32])
    catalog.live_chunks("c", ["0" * 32])
    with catalog._engine.connect() as db:
        plans = [db.exec_driver_sql("explain query plan " + text, ("0" * 32,)).all() for text in list(statements)]
    assert len(plans) == 2
    for plan in plans:
        assert "sqlite_autoindex_chunks_1 (pk=?)" in plan[0][3], plan


def test_a_successor_is_unseen_until_the_switch(catalog: Catalog) -> None:
    """Keys, documents and the collection's record change hands together; noted failures stay."""
    made = Collection(name="c", generation=1, fingerprint="f", model="m", dim=3)
    catalog.add_collection(made)
    old = write(catalog, draft("a", "one"))
    catalog.fail("c", draft("a", "broken"), "E_CORRUPT", "The file is damaged.")
    catalog.fail("c", draft("never", "broken"), "E_CORRUPT", "The file is damaged.")
    successor = "c" + NEXT + "0"
    catalog.add_collection(Collection(name=successor, generation=2, fingerprint="g", model="n", dim=3))
    new = catalog.stage(successor, [draft("a", "two")])[0]
    catalog.publish(successor, [draft("a", "two")])
    assert catalog.collections() == ["c"] and catalog.live_rows("c", old + new).keys() == set(old)
    waiting = catalog.next_collection("c")
    assert waiting is not None and waiting.name == successor and catalog.next_collection("other") is None

    catalog.switch(successor, "c", keep_failed=True)
    assert catalog.live_rows("c", old + new).keys() == set(new) and catalog.text("c", "a") == "two"
    found = catalog.collection("c")
    assert found is not None and (found.generation, found.fingerprint) == (2, "g")
    assert [(info.doc_id, info.code) for info in catalog.documents("c")] == [("a", "E_CORRUPT"), ("never", "E_CORRUPT")]
    assert catalog.next_collection("c") is None and catalog.garbage("c") == []


def test_records_go_into_another_catalog_and_come_out_the_same(catalog: Catalog, tmp_path: Path) -> None:
    write(catalog, draft("a", "one"))
    write(catalog, draft("b", "nul \0 and 中文"))
    catalog.fail("c", draft("bad", ""), "E_EMPTY", "The file holds no bytes.")
    records = list(catalog.records("c"))
    assert [record["text"] for record in records] == ["one", "nul \ufffd and 中文", None]
    other = Catalog(tmp_path / "other.sqlite3")
    keys = other.put_records("c", records)
    assert list(other.records("c")) == records and keys == [chunk["pk"] for one in records for chunk in one["chunks"]]
    again = other.put_records("d", records)
    assert not set(again) & set(keys), "keys that are taken are replaced"
    other.close()


def test_one_writer_per_postgresql_catalog(postgres) -> None:  # type: ignore[no-untyped-def]
    url = postgres.database()
    first, second = Catalog(url), Catalog(url)
    with first.writer_lock(0.1), pytest.raises(LockedError, match="Another machine"), second.writer_lock(0.1):
        pass
    with second.writer_lock(0.1):
        pass


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("postgresql+pg8000://secret-user:secret-word@127.0.0.1:9/x", CatalogError, "cannot be opened"),
        ("nonsense", SettingsError, "catalog.url"),
        ("mysql://host/x", SettingsError, "catalog.url"),
        ("postgresql+psycopg9://host/x", SettingsError, "catalog.url"),
    ],
)
def test_a_bad_url_is_one_sentence(url: str, error: type[Exception], words: str) -> None:
    pytest.importorskip("pg8000")
    with pytest.raises(error, match=words) as caught:
        Catalog(url)
    assert "secret-word" not in str(caught.value) and "\n" not in str(caught.value)
