"""KnowledgeBase on a real embedded Milvus: import, change, delete, filter, verify, repair, and two processes at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import Document, KnowledgeBase
from rag.errors import FingerprintError, LockedError, ModelError, SourceError, StoreError, UsageError
from rag.filters import matches, parse
from rag.settings import Settings
from tests import milvus_server
from tests.fakes.chat import ScriptedChat
from tests.milvus_server import tcp_server


def documents(n: int, word: str = "tea") -> list[Document]:
    return [
        Document(f"The {word} of garden {i} is steeped {i} minutes.\n\n绿茶第{i}号的水温是八十度。", doc_id=f"d{i}", title=f"Garden {i}",
                 metadata={"number": i, "even": i % 2 == 0, "tags": ["tea", f"t{i}"]})
        for i in range(n)
    ]  # fmt: skip


def found(kb: KnowledgeBase, query: str, **options: object) -> list[str]:
    return [hit.doc_id for hit in kb.search(query, **options)]  # type: ignore[arg-type]


def test_import_search_change_delete(tiny_kb: KnowledgeBase) -> None:
    first = tiny_kb.ingest(documents(12))
    assert (first.added, first.n_chunks, first.n_embedded, first.failures) == (12, 12, 12, ())
    again = tiny_kb.ingest(documents(12))
    assert (again.unchanged, again.n_chunks, again.n_embedded) == (12, 0, 0)
    assert found(tiny_kb, "garden 7", mode="bm25", top_k=1) == ["d7"]

    changed = documents(12)
    changed[7] = Document("Coffee from Brazil.", doc_id="d7", title="Brazil")
    report = tiny_kb.ingest(changed)
    assert (report.updated, report.unchanged, report.n_embedded) == (1, 11, 1)
    assert found(tiny_kb, "Brazil", mode="bm25") == ["d7"]
    assert "d7" not in found(tiny_kb, "steeped 7 minutes", mode="bm25", top_k=12)

    assert tiny_kb.delete("d7", "no such document") == 1
    assert found(tiny_kb, "Brazil", mode="bm25") == []
    assert [info.doc_id for info in tiny_kb.documents()] == sorted((f"d{i}" for i in range(12) if i != 7), key=str)
    assert tiny_kb.verify().ok


def test_a_quote_from_the_end_of_a_chunk_has_the_page_it_stands_on(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    from reportlab.pdfgen import canvas

    drawing = canvas.Canvas(str(tmp_path / "lamp.pdf"))
    for sentence in ("The lamp was lit in 1759.", "The tower has 93 steps.", "The keeper retired in 1830."):
        drawing.drawString(50, 500, sentence)
        drawing.showPage()
    drawing.save()
    tiny_kb.ingest(tmp_path)
    assert {chunk.page for chunk in tiny_kb.chunks(tiny_kb.documents()[0].doc_id)} == {1}
    for question, page in (("When was the lamp lit?", 1), ("How many steps?", 2), ("When did the keeper retire?", 3)):
        for expand in ("none", "neighbours"):
            assert tiny_kb.ask(question, mode="bm25", expand=expand).citations[0].page == page


@pytest.mark.parametrize("mode", ["bm25", "dense", "hybrid"])
def test_hits_point_at_the_stored_text(tiny_kb: KnowledgeBase, mode: str) -> None:
    tiny_kb.ingest(documents(5))
    hits = tiny_kb.search("绿茶 水温 garden 3", mode=mode, top_k=5)
    assert len(hits) == 5 and [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert tiny_kb.text(hit.doc_id)[hit.start : hit.end] == hit.text
        assert hit.chunk_id == f"{hit.doc_id}#{hit.start}-{hit.end}" and hit.title.startswith("Garden")
        assert set(hit.parts) <= {"dense", "bm25"}
    assert {step.name for step in hits.trace} >= {"resolve", f"recall:{'dense' if mode == 'dense' else 'bm25'}"}


def test_filters_and_mmr(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(documents(20))
    assert set(found(tiny_kb, "tea", top_k=20, filter="even == true and number >= 10")) == {
        f"d{i}" for i in range(10, 20, 2)
    }
    assert found(tiny_kb, "tea", top_k=20, filter="tags contains 't4'") == ["d4"]
    plain = found(tiny_kb, "tea in a garden", top_k=5)
    assert found(tiny_kb, "tea in a garden", top_k=5, mmr=1.0) == plain
    assert sorted(found(tiny_kb, "tea in a garden", top_k=20, mmr=0.2)) == sorted(f"d{i}" for i in range(20))


META: tuple[dict[str, object], ...] = (
    {}, {"year": 2020}, {"year": "2020"}, {"year": True}, {"year": 2020.5}, {"year": [2020]}, {"year": {"from": 2020}}, {"tags": ["a", "b%"]}, {"tags": "a"},
    {"name": "a"}, {"name": "ab"}, {"name": "a_b"}, {"name": "a茶b"}, {"name": "茶"}, {"name": "绿茶"}, {"name": "a\\b"}, {"name": "a*b"}, {"name": ""},
    {"a key": "x"}, {'a "key"': "x"}, {"年份": 2020}, {"page": 7}, {"in": "in"},
)  # fmt: skip


@pytest.mark.parametrize(
    "condition",
    [
        "year == 2020", "year > 2000", "not year > 2000", "year in [2020, '2020']", "year != ''", "tags contains 'a'", "not tags contains 'a'",
        "name like '%'", "name like '_'", "name like 'a_'", "name like 'a_b'", "name like '_茶'", "name like 'a%b'", "name like 'a\\\\b'", "name like '%*%'",
        "not name like 'a%'", "not (name like '_b' or year == 2020)", "meta['a key'] == 'x'", "meta['a \"key\"'] == 'x'", "年份 == 2020", "meta['in'] == 'in'",
        "page == 7", "page != 7", "source like 'd1_'", "type == 'text' and (year >= 2024 or name in ['a', 'b']) and not source like '%9%'",
        " or ".join(f"doc_id == 'd{n}'" for n in range(0, 400, 2)), f"doc_id in {[f'd{n}' for n in range(5, 400)]}",
    ],
)  # fmt: skip
def test_a_filter_means_the_same_in_the_store_and_in_the_catalog(odd_kb: KnowledgeBase, condition: str) -> None:
    rows = {
        one.doc_id: {"doc_id": one.doc_id, "source": one.source, "title": one.title, "type": one.type, "page": None, "meta": one.metadata}
        for one in odd_kb.documents()
    }  # fmt: skip
    wanted = {doc_id for doc_id, row in rows.items() if matches(parse(condition), row)}
    for mode in ("dense", "bm25", "keywords"):
        assert {hit.doc_id for hit in odd_kb.search("tea", mode=mode, filter=condition, top_k=50)} == wanted, mode
    assert {one.doc_id for one in odd_kb.find_documents(filter=condition)[0]} == wanted


def test_a_filter_that_is_tested_here_is_asked_on_for_until_there_are_enough(odd_kb: KnowledgeBase) -> None:
    few = {"filter": "source like 'd_'", "depth": 2}
    assert {hit.doc_id for hit in odd_kb.search("tea", mode="dense", top_k=10, **few)} == {f"d{n}" for n in range(10)}


@pytest.fixture(scope="module")
def odd_kb(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Settings) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("odd"), settings=tiny_settings) as kb:
        kb.ingest([Document(f"tea {n}", doc_id=f"d{n}", metadata=meta) for n, meta in enumerate(META)])
        yield kb


def test_more_hits_than_documents_and_none_at_all(tiny_kb: KnowledgeBase) -> None:
    assert len(tiny_kb.search("anything")) == 0
    answer = tiny_kb.ask("anything?")
    assert answer.abstained and "ragstone ingest" in answer.warnings[0]
    assert "empty" in tiny_kb.search("anything").warnings[0]
    tiny_kb.ingest(documents(3))
    assert len(tiny_kb.search("tea", top_k=5000)) == 3


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda kb: kb.search("   "), UsageError),
        (lambda kb: kb.search(None), UsageError),
        (lambda kb: kb.ask(5), UsageError),
        (lambda kb: kb.search("tea", mode="magic"), UsageError),
        (lambda kb: kb.search("tea", top_k=0), UsageError),
        (lambda kb: kb.search("tea", filter="type =="), UsageError),
        (lambda kb: kb.search("tea", mmr=2.0), UsageError),
        (lambda kb: kb.ingest([]), SourceError),
        (lambda kb: kb.ingest("/no/such/path"), SourceError),
        (lambda kb: kb.ingest([Document("text")]), SourceError),
        (lambda kb: kb.ingest([3]), SourceError),
        (lambda kb: kb.ingest([Document("t", doc_id="a"), "path"]), SourceError),
        (lambda kb: kb.ingest(documents(1), chunk_size=4096), UsageError),
        (lambda kb: kb.ingest(documents(1), overlap=60), UsageError),
        (lambda kb: kb.text("absent"), UsageError),
    ],
)
def test_bad_input_is_one_sentence(tiny_kb: KnowledgeBase, call, error) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error) as caught:
        call(tiny_kb)
    assert str(caught.value).strip().endswith((".", "?", ")", "4")) and "\n" not in str(caught.value)
    assert tiny_kb.verify().ok


def test_empty_and_broken_texts(tiny_kb: KnowledgeBase) -> None:
    report = tiny_kb.ingest([Document(" \n ", doc_id="blank"), Document("lone \ud800 surrogate tea", doc_id="broken")])
    assert report.added == 1 and [failure.code for failure in report.failures] == ["E_NO_TEXT"]
    assert tiny_kb.text("broken") == "lone \ufffd surrogate tea"


def test_files_folders_prune_and_touch(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.md").write_text(f"# Garden {i}\n\nThe tea of garden {i}.\n")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 broken")
    report = tiny_kb.ingest(folder)
    assert report.added == 4 and [failure.code for failure in report.failures] == ["E_CORRUPT"]
    os.utime(folder / "0.md", ns=(1, 1))  # same bytes, other time
    (folder / "1.md").write_text("# Garden 1\n\nNow a river.\n")
    (folder / "2.md").unlink()
    report = tiny_kb.ingest(str(folder))
    assert (report.added, report.updated, report.unchanged, report.deleted, report.failed) == (0, 1, 2, 0, 1)
    assert len([info for info in tiny_kb.documents() if info.version]) == 4
    report = tiny_kb.ingest(folder, prune=True)
    assert (report.unchanged, report.deleted) == (3, 1)
    assert {Path(info.source).name for info in tiny_kb.documents()} == {"0.md", "1.md", "3.md", "bad.pdf"}
    assert tiny_kb.ingest(folder, dry_run=True).unchanged == 3


def test_prune_under_a_link_that_the_user_names(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("a.md", "b.md"):
        (tmp_path / "docs" / name).write_text("The tea of a garden.\n")
    (tmp_path / "link").symlink_to(tmp_path / "docs")
    assert tiny_kb.ingest(tmp_path / "link").added == 2
    (tmp_path / "docs" / "a.md").unlink()
    assert tiny_kb.ingest(tmp_path / "link", prune=True).deleted == 1


def test_a_dry_run_writes_nothing(tiny_kb: KnowledgeBase) -> None:
    report = tiny_kb.ingest(documents(3), dry_run=True)
    assert (report.added, report.n_chunks, report.dry_run) == (3, 3, True)
    assert tiny_kb.documents() == [] and tiny_kb.collections() == []


def test_repair_after_the_index_lost_rows_or_gained_some(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(documents(6))
    before = found(tiny_kb, "tea 八十度", top_k=6)
    collection = tiny_kb.catalog.collection("default")
    assert collection is not None
    index = tiny_kb.index_name(collection.generation)
    tiny_kb.store.delete(index, sorted(tiny_kb.store.keys(index))[:3])
    row = {"pk": "f" * 32, "doc_id": "x", "source": "", "title": "", "type": "", "page": 0, "meta": {}, "text": "tea"}
    tiny_kb.store.upsert(index, [row], [tiny_kb.embedder.embed_queries(["tea"])[0]])
    problems = tiny_kb.verify()
    assert not problems.ok and {one.kind for one in problems.problems} == {"row-missing", "row-orphan"}
    assert tiny_kb.verify(repair=True).ok
    assert tiny_kb.verify().problems == () and found(tiny_kb, "tea 八十度", top_k=6) == before


def test_an_index_file_that_is_gone_or_damaged_is_rebuilt(tiny_kb: KnowledgeBase, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    tiny_kb.ingest(documents(6))
    before = [(hit.doc_id, round(hit.score, 4)) for hit in tiny_kb.search("tea 八十度", top_k=6)]
    for damage in (None, b"not a database at all" * 100):
        tiny_kb.close()
        path = tiny_kb.home / "milvus.db"
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        with KnowledgeBase.open(tiny_kb.home, settings=tiny_settings) as kb:
            assert not kb.verify().ok
            assert kb.verify(repair=True).ok
            assert [(hit.doc_id, round(hit.score, 4)) for hit in kb.search("tea 八十度", top_k=6)] == before


def test_another_model_is_refused(tiny_kb: KnowledgeBase, tiny_settings, tiny_model: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tiny_kb.ingest(documents(2))
    other = tiny_settings.with_values(embedding__passage_prefix="other: ")
    mine = [(hit.doc_id, hit.score) for hit in tiny_kb.search("tea", mode="dense")]
    with KnowledgeBase.open(tiny_kb.home, settings=other) as kb:
        with pytest.raises(FingerprintError, match=r"other files, prefixes .* `ragstone reindex`"):
            kb.ingest(documents(3))
        hits = kb.search("tea", mode="dense")  # with the model that the collection names, and it says so
        assert [(hit.doc_id, hit.score) for hit in hits] == mine and "ragstone reindex" in hits.warnings[0]
        assert found(kb, "tea", mode="bm25") == ["d0", "d1"]
    absent = tiny_settings.with_values(embedding__model="/no/such/model")
    with KnowledgeBase.open(tiny_kb.home, settings=absent) as kb, pytest.raises(ModelError):
        kb.ingest(documents(3))


def test_a_model_whose_files_changed_under_its_name_is_refused(tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from tests.tiny_model import build

    settings = tiny_settings.with_values(embedding__model=str(build(tmp_path / "m")))
    with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
        kb.ingest(documents(2))
    shutil.rmtree(tmp_path / "m")
    build(tmp_path / "m", dim=48)
    with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
        with pytest.raises(FingerprintError, match="other files, prefixes"):
            kb.search("tea", mode="dense")
        assert found(kb, "tea", mode="bm25") == ["d0", "d1"]


def test_collections_are_apart(tiny_kb: KnowledgeBase, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    tiny_kb.ingest(documents(2))
    with KnowledgeBase.open(tiny_kb.home, settings=tiny_settings, collection="另一个 one") as other:
        other.ingest([Document("Only here: zeppelin tea.", doc_id="z")])
        assert found(other, "tea") == ["z"] and "z" not in found(tiny_kb, "zeppelin tea")
        assert other.collections() == ["default", "另一个 one"]


def test_a_server_that_is_not_there(tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings = tiny_settings.with_values(milvus__uri="http://127.0.0.1:9", milvus__timeout_s=1)
    with (
        KnowledgeBase.open(tmp_path / "home", settings=settings) as kb,
        pytest.raises(StoreError, match="cannot be reached"),
    ):
        kb.ingest(documents(1))


def test_a_server_by_its_address(tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with (
        tcp_server(tmp_path) as uri,
        KnowledgeBase.open(tmp_path / "home", settings=tiny_settings.with_values(milvus__uri=uri)) as kb,
    ):
        assert kb.ingest(documents(12)).added == 12
        assert found(kb, "garden 7", mode="bm25", top_k=1) == ["d7"] and len(found(kb, "绿茶", top_k=12)) == 12
        assert kb.delete("d7") == 1 and kb.verify().ok
        assert not (kb.home / "milvus.db").exists()


def test_a_real_server(tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with milvus_server.running(tmp_path) as uri:
        settings = tiny_settings.with_values(milvus__uri=uri, milvus__timeout_s=30, search__mode="dense")
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
            assert kb.ingest(documents(12)).added == 12
            assert kb.ingest(documents(13)).unchanged == 12
            assert len(found(kb, "tea", top_k=20)) == 13 and found(kb, "tea", filter="number == 7") == ["d7"]
            with pytest.raises(StoreError, match="full-text"):
                kb.search("tea", mode="bm25")
            assert kb.delete("d7") == 1 and kb.verify().ok and "d7" not in found(kb, "tea", top_k=20)


SECOND = """
import json, sys
from rag import KnowledgeBase, Document, Settings
settings = Settings.load(overrides=json.loads(sys.argv[2]))
with KnowledgeBase.open(sys.argv[1], settings=settings) as kb:
    print(json.dumps([hit.doc_id for hit in kb.search("garden 3", mode="bm25", top_k=1)]))
    print(kb.ingest([Document("A zeppelin with tea.", doc_id="z")]).added)
"""


def test_two_processes_share_one_home(tiny_kb: KnowledgeBase, tiny_settings, repo: Path) -> None:  # type: ignore[no-untyped-def]
    tiny_kb.ingest(documents(5))
    values = {key: getattr(getattr(tiny_settings, key.split(".")[0]), key.split(".")[1])
              for key in ("embedding.model", "embedding.backend", "models.dir", "llm.model", "chunk.size", "chunk.overlap")}  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-c", SECOND, str(tiny_kb.home), json.dumps(values)]
    ended = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ['["d3"]', "1"]
    assert found(tiny_kb, "zeppelin", mode="bm25") == ["z"], "what the other process imported is found here at once"


def test_a_second_writer_is_told_who_writes(tiny_kb: KnowledgeBase, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    named = pytest.raises(LockedError, match=f"process {os.getpid()}")
    with tiny_kb._writing(), KnowledgeBase.open(tiny_kb.home, settings=tiny_settings) as other, named:
        other.ingest(documents(1))


def test_two_open_bases_on_one_home(tmp_path: Path, tiny_settings: Settings) -> None:
    """A program may open a home twice: both see what the other writes, and closing one leaves the other its engine."""
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as left:
        left.ingest([Document("Green tea is steeped at 80 degrees.", doc_id="green")])
        with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as right:
            right.ingest([Document("Black tea is steeped at 95 degrees.", doc_id="black")])
            assert {hit.doc_id for hit in left.search("tea", top_k=5)} == {"green", "black"}
        assert {hit.doc_id for hit in left.search("tea steeped", top_k=5)} == {"green", "black"}
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as again:
        assert {hit.doc_id for hit in again.search("tea", top_k=5)} == {"green", "black"}


def test_an_embedded_engine_that_died_is_started_again(tiny_kb: KnowledgeBase) -> None:
    """The search that finds it dead answers by words and says so, with the same filters; the next one is whole again."""
    tiny_kb.ingest([*documents(12), Document("A tea of its own.", doc_id="own", metadata={"number": 99})])
    assert tiny_kb.search("tea").warnings == ()
    note = json.loads((tiny_kb.home / "milvus.json").read_text())
    os.kill(note["pid"], signal.SIGKILL)
    hits = tiny_kb.search("tea", filter="number > 7", top_k=20)
    assert {hit.doc_id for hit in hits} == {
        "d8",
        "d9",
        "d10",
        "d11",
        "own",
    } and "by their words alone" in hits.warnings[0]
    hits = tiny_kb.search("tea", filter="number > 7", top_k=20)
    assert len(hits) == 5 and hits.warnings == ()
    assert tiny_kb.verify().ok


def test_a_search_that_met_the_end_of_an_engine_leaves_the_next_one_alone(tiny_kb: KnowledgeBase) -> None:
    """Of many searches that fail with an engine the last may say so when another one answers already."""
    tiny_kb.ingest(documents(2))
    note = tiny_kb.home / "milvus.json"
    os.kill(json.loads(note.read_text())["pid"], signal.SIGKILL)
    assert tiny_kb.search("tea").warnings  # it starts another one
    fresh, running = tiny_kb.store, note.read_text()
    tiny_kb.forget_store()
    assert tiny_kb.store is fresh and note.read_text() == running
    assert tiny_kb.search("tea").warnings == ()


@pytest.mark.parametrize(
    ("values", "n_asked"),
    [({}, 0), ({"understand__auto": "always"}, 1), ({"llm__base_url": "http://127.0.0.1:9/v1"}, 1), ({"llm__base_url": "http://127.0.0.1:9/v1", "understand__auto": "never"}, 0)],
)  # fmt: skip
def test_the_mode_auto_asks_only_models_that_are_quick(
    tmp_path: Path, tiny_settings: Settings, values: dict[str, str], n_asked: int
) -> None:
    chat = ScriptedChat(lambda _messages: '{"queries": ["zeppelin tea"]}')
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings.with_values(**values)) as kb:
        kb.ingest(documents(3))
        kb._chat, kb._chat_opened = chat, True
        assert kb.search("what did airships over Friedrichshafen carry?", mode="auto")
    assert bool(chat.asked) is bool(n_asked)


def test_sub_questions_are_answered_from_documents_that_meet_the_filter(
    tmp_path: Path, tiny_settings: Settings
) -> None:
    parts = '{"questions": ["Who designed the lighthouse?", "Where was #1 born?"]}'
    chat = ScriptedChat(lambda messages: parts if "#1" in messages[0].content else '{"answer": "Anna Verhoeven"}')
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb:
        told = {"old": "Anna Verhoeven designed the lighthouse.", "new": "Olaf Brandt designed the lighthouse."}
        kb.ingest(Document(doc_id=name, text=text, metadata={"kind": name}) for name, text in told.items())
        kb._chat, kb._chat_opened = chat, True
        kb.search("Where was the lighthouse's designer born?", decompose=True, filter="kind == 'old'")
    read = str(chat.asked[1])
    assert "Verhoeven" in read and "Brandt" not in read
