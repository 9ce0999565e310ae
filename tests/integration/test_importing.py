"""Imports of files on a real Milvus: files inside files, copies, pages, pipelines of own functions, stopping, estimates."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.errors import DocumentError, UsageError
from rag.import_pipeline import ImportPipeline
from rag.knowledge_base import KnowledgeBase
from rag.late_interaction import embed_for_index
from rag.settings import Settings
from rag.types import Chunk, ChunkContext, Document, ParsedDocument
from tests.web import page as web_page
from tests.web import site


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return out.getvalue()


def states(kb: KnowledgeBase) -> dict[str, str]:
    return {info.source.rpartition("/docs/")[2] or info.source: info.state for info in kb.documents()}


def sources(kb: KnowledgeBase, query: str) -> set[str]:
    return {hit.source.rpartition("/docs/")[2] for hit in kb.search(query, mode="bm25", top_k=20)}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


# ---------------------------------------------------------------- files inside files


def test_members_of_an_archive_are_documents(tiny_kb: KnowledgeBase, docs: Path) -> None:
    inner = zipped(deep__txt=b"A quartz deep inside.")
    data = zipped(one__txt=b"The first pebble.", broken__pdf=b"%PDF-1.7\n", inner__zip=inner)
    (docs / "box.zip").write_bytes(data)
    report = tiny_kb.ingest(docs)
    assert {failure.source.rpartition("!/")[2]: failure.code for failure in report.failures} == {
        "broken.pdf": "E_CORRUPT"
    }
    assert states(tiny_kb) == {
        "box.zip": "live", "box.zip!/one.txt": "live", "box.zip!/inner.zip!/deep.txt": "live", "box.zip!/broken.pdf": "failed",
    }  # fmt: skip
    assert sources(tiny_kb, "quartz") == {"box.zip!/inner.zip!/deep.txt"}

    again = tiny_kb.ingest(docs)
    assert (again.unchanged, again.failed, again.added, again.n_embedded) == (3, 1, 0, 0)

    (docs / "box.zip").write_bytes(zipped(one__txt=b"The first pebble.", two__txt=b"A second agate."))
    changed = tiny_kb.ingest(docs)
    assert (changed.added, changed.updated, changed.unchanged, changed.deleted) == (1, 1, 1, 2)
    assert sources(tiny_kb, "quartz") == set() and sources(tiny_kb, "agate") == {"box.zip!/two.txt"}

    tiny_kb.delete(str(docs / "box.zip"))
    assert tiny_kb.documents() == [] and tiny_kb.verify().ok


def test_an_archive_that_is_gone_takes_its_members_along(tiny_kb: KnowledgeBase, docs: Path) -> None:
    (docs / "box.zip").write_bytes(zipped(one__txt=b"The first pebble."))
    (docs / "stays.txt").write_text("Granite.")
    tiny_kb.ingest(docs)
    (docs / "box.zip").unlink()
    report = tiny_kb.ingest(docs, prune=True)
    assert report.deleted == 2 and states(tiny_kb) == {"stays.txt": "live"}


# ---------------------------------------------------------------- the same content twice


def test_copies_share_one_document(tiny_kb: KnowledgeBase, docs: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (docs / name).write_text("Obsidian is volcanic glass.")
    report = tiny_kb.ingest(docs)
    assert (report.added, report.duplicates, report.n_chunks) == (3, 2, 1)
    assert states(tiny_kb) == {"a.txt": "live", "b.txt": "duplicate", "c.txt": "duplicate"}
    (first,) = [info for info in tiny_kb.documents() if info.state == "live"]
    assert [Path(source).name for source in first.aliases] == ["b.txt", "c.txt"]
    assert sources(tiny_kb, "obsidian") == {"a.txt"}
    again = tiny_kb.ingest(docs)
    assert (again.unchanged, again.n_embedded) == (3, 0)


def test_a_copy_takes_over_when_the_first_changes_or_goes(tiny_kb: KnowledgeBase, docs: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (docs / name).write_text("Obsidian is volcanic glass.")
    tiny_kb.ingest(docs)
    (docs / "a.txt").write_text("Marble is limestone under pressure.")
    report = tiny_kb.ingest(docs)
    assert (report.updated, report.unchanged) == (1, 2)
    assert states(tiny_kb) == {"a.txt": "live", "b.txt": "live", "c.txt": "duplicate"}
    assert sources(tiny_kb, "obsidian") == {"b.txt"} and sources(tiny_kb, "marble") == {"a.txt"}
    tiny_kb.delete(str(docs / "b.txt"))
    assert sources(tiny_kb, "obsidian") == {"c.txt"} and tiny_kb.verify().ok
    (docs / "b.txt").unlink()
    assert tiny_kb.ingest(docs).unchanged == 2


def test_a_file_that_becomes_a_copy_loses_its_own_chunks(tiny_kb: KnowledgeBase, docs: Path) -> None:
    (docs / "a.txt").write_text("Obsidian is volcanic glass.")
    (docs / "b.txt").write_text("Marble is limestone.")
    tiny_kb.ingest(docs)
    (docs / "b.txt").write_text("Obsidian is volcanic glass.")
    tiny_kb.ingest(docs)
    assert states(tiny_kb) == {"a.txt": "live", "b.txt": "duplicate"}
    assert sources(tiny_kb, "marble") == set() and tiny_kb.verify().ok
    (docs / "b.txt").write_text("Marble is limestone.")
    tiny_kb.ingest(docs)
    assert states(tiny_kb) == {"a.txt": "live", "b.txt": "live"} and sources(tiny_kb, "marble") == {"b.txt"}
    assert tiny_kb.verify().ok


def test_a_first_that_becomes_a_copy_leaves_its_content_to_its_own_copy(tiny_kb: KnowledgeBase, docs: Path) -> None:
    (docs / "a.txt").write_text("Obsidian is volcanic glass.")
    for name in ("b.txt", "c.txt"):
        (docs / name).write_text("Marble is limestone.")
    tiny_kb.ingest(docs)
    (docs / "b.txt").write_text("Obsidian is volcanic glass.")
    tiny_kb.ingest(docs)
    assert states(tiny_kb) == {"a.txt": "live", "b.txt": "duplicate", "c.txt": "live"}
    assert sources(tiny_kb, "marble") == {"c.txt"} and tiny_kb.verify().ok


def test_copies_may_be_kept_apart(tmp_path: Path, tiny_settings: Settings, docs: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (docs / name).write_text("Obsidian is volcanic glass.")
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings.with_values(ingest__dedupe=False)) as kb:
        kb.ingest(docs)
        assert states(kb) == {"a.txt": "live", "b.txt": "live"} and sources(kb, "obsidian") == {"a.txt", "b.txt"}


def test_documents_from_code_are_never_copies(tiny_kb: KnowledgeBase) -> None:
    report = tiny_kb.ingest([Document("Same text.", doc_id="a"), Document("Same text.", doc_id="b")])
    assert (report.added, report.duplicates) == (2, 0)
    assert {hit.doc_id for hit in tiny_kb.search("same text", mode="bm25")} == {"a", "b"}


# ---------------------------------------------------------------- metadata


def test_metadata_from_path_inside_and_beside(tmp_path: Path, tiny_settings: Settings, docs: Path) -> None:
    (docs / "sales" / "2024").mkdir(parents=True)
    note = docs / "sales" / "2024" / "note.md"
    note.write_text("---\nauthor: Inside\nyear: 1999\n---\n\n# Note\n\nSlate splits.\n")
    beside = docs / "sales" / "2024" / "note.md.meta.json"
    beside.write_text(json.dumps({"author": "Beside", "tags": ["rock"]}))
    settings = tiny_settings.with_values(ingest__path_patterns=["{department}/{year:int}/*"])
    with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
        kb.ingest(docs)
        (info,) = kb.documents()
        assert dict(info.metadata) == {"department": "sales", "year": 1999, "author": "Beside", "tags": ["rock"]}
        assert len(kb.search("slate", filter="department == 'sales' and tags contains 'rock'")) == 1
        assert "author" not in kb.search("slate")[0].text
        assert kb.ingest(docs).unchanged == 1
        beside.write_text(json.dumps({"author": "Changed"}))
        assert kb.ingest(docs).updated == 1 and kb.documents()[0].metadata["author"] == "Changed"


# ---------------------------------------------------------------- functions of one's own


def by_line(parsed: ParsedDocument, context: ChunkContext) -> list[Chunk]:
    chunks, at = [], 0
    for line in parsed.text.split("\n"):
        if line.strip():
            chunks.append(Chunk(doc_id=context.doc_id, ordinal=len(chunks), start=at, end=at + len(line), text=line))
        at += len(line) + 1
    return chunks


def with_stars(parsed: ParsedDocument, chunks: Sequence[Chunk]) -> list[Chunk]:
    return [replace(chunk, extra="starlight") for chunk in chunks]


def load_log(data: bytes, name: str) -> Document:
    if b"bad" in data:
        raise ValueError("bad log")
    return Document(data.decode(), type="log", metadata={"lines": data.count(b"\n")})


def shout(parsed: ParsedDocument) -> ParsedDocument:
    return replace(parsed, text=parsed.text.upper())


def test_every_step_can_be_a_function_of_ones_own(tiny_kb: KnowledgeBase, docs: Path) -> None:
    (docs / "a.log").write_text("first line\nsecond line\n")
    (docs / "b.log").write_text("bad\n")
    pipeline = ImportPipeline(loaders={".log": load_log}, cleaners=[shout], chunker=by_line, enrichers=[with_stars])
    report = tiny_kb.ingest(docs, pipeline=pipeline)
    assert [(failure.code, "ValueError: bad log" in failure.message) for failure in report.failures] == [
        ("E_PARSE", True)
    ]
    hits = tiny_kb.search("starlight", mode="bm25")
    assert {hit.text for hit in hits} == {"FIRST LINE", "SECOND LINE"} and hits[0].metadata == {"lines": 2}
    assert tiny_kb.ingest(docs, pipeline=pipeline).unchanged == 1
    assert tiny_kb.ingest(docs, pipeline=replace(pipeline, version="2")).updated == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 1}, "is not the document's text"),
        ({"end": 900}, "of a text of"),
        ({"doc_id": "other"}, "document 'other'"),
    ],
)
def test_a_chunker_that_breaks_its_promise_is_named(
    tiny_kb: KnowledgeBase, change: dict[str, object], message: str
) -> None:
    def wrong(parsed: ParsedDocument, context: ChunkContext) -> list[Chunk]:
        return [replace(chunk, **change) for chunk in by_line(parsed, context)]

    with pytest.raises(UsageError, match=f"wrong made a chunk.*{message}"):
        tiny_kb.ingest([Document("one line", doc_id="a")], pipeline=ImportPipeline(chunker=wrong))


def test_chunks_that_the_model_cannot_read_whole_are_refused_and_additions_give_way(tiny_kb: KnowledgeBase) -> None:
    def long(parsed: ParsedDocument, chunks: Sequence[Chunk]) -> list[Chunk]:
        return [replace(chunk, extra="\n".join(f"question {n}?" for n in range(100))) for chunk in chunks]

    tiny_kb.ingest([Document("one line", doc_id="a")], pipeline=ImportPipeline(chunker=by_line, enrichers=[long]))
    (chunk,) = tiny_kb.chunks("a")
    assert chunk.text == "one line" and 0 < chunk.extra.count("\n") < 99 and chunk.n_tokens <= 64
    with pytest.raises(UsageError, match="would never be embedded"):
        tiny_kb.ingest([Document("word " * 200, doc_id="b")], pipeline=ImportPipeline(chunker=by_line))


# ---------------------------------------------------------------- stopping, states, estimates


def test_a_stopped_import_goes_on_where_it_was(
    tiny_kb: KnowledgeBase, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.ingest.BATCH_CHUNKS", 5)
    for n in range(40):
        (docs / f"{n:02}.txt").write_text(f"Stone number {n} is grey.")
    stop = threading.Event()
    report = tiny_kb.ingest(docs, stop=stop, progress=lambda now: now.n_done >= 10 and stop.set())
    n_live = list(states(tiny_kb).values()).count("live")
    assert report.stopped and report.added == n_live and 5 <= n_live < 40
    assert list(states(tiny_kb).values()).count("waiting") == 40 - n_live
    again = tiny_kb.ingest(docs)
    assert (again.stopped, again.unchanged, again.added) == (False, n_live, 40 - n_live)
    assert set(states(tiny_kb).values()) == {"live"} and tiny_kb.verify().ok


def test_a_long_document_keeps_nobody_waiting_who_stops(
    tmp_path: Path, tiny_kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not imported then, but what was embedded of it is not embedded again."""
    (tmp_path / "long.txt").write_text(
        "\n\n".join(f"Tea {n} " + " ".join(f"steeps {n * k} in the garden" for k in range(14)) for n in range(1000))
    )
    stop, calls = threading.Event(), 0

    def embed(embedder: Any, texts: Sequence[str]) -> Any:
        nonlocal calls
        calls += 1
        stop.set()
        return embed_for_index(embedder, texts)

    monkeypatch.setattr("rag.ingest.embed_for_index", embed)
    report = tiny_kb.ingest(tmp_path, stop=stop)
    assert report.stopped and report.added == 0 and not tiny_kb.search("garden", mode="bm25")
    n_pieces, n_before = calls, report.n_embedded
    assert n_before >= 512 and n_pieces <= 4
    whole = tiny_kb.ingest(tmp_path)  # which also holds the home
    assert (whole.added, whole.failed, whole.stopped) == (
        1,
        0,
        False,
    ) and whole.n_embedded == whole.n_chunks - n_before > 0
    assert tiny_kb.verify().ok


def test_a_dry_run_writes_nothing_and_estimates(tiny_kb: KnowledgeBase, docs: Path) -> None:
    for n in range(30):
        (docs / f"{n:02}.txt").write_text(f"Stone number {n} is grey. " * (n + 1))
    dry = tiny_kb.ingest(docs, dry_run=True)
    assert tiny_kb.documents() == []
    real = tiny_kb.ingest(docs)
    assert dry.estimate is not None and (dry.added, dry.n_chunks) == (real.added, real.n_chunks)
    assert dry.estimate.n_chunks == real.n_chunks == dry.estimate.n_to_embed and dry.estimate.seconds > 0
    again = tiny_kb.ingest(docs, dry_run=True).estimate
    assert again is not None and (again.n_chunks, again.n_to_embed) == (0, 0)


def test_a_loader_of_ones_own_may_refuse_with_a_code(tiny_kb: KnowledgeBase, docs: Path) -> None:
    def refuse(data: bytes, name: str) -> Document:
        raise DocumentError("E_UNSUPPORTED", f"{name} is not for us.")

    (docs / "a.log").write_text("x")
    report = tiny_kb.ingest(docs, pipeline=ImportPipeline(loaders={".log": refuse}))
    assert [failure.code for failure in report.failures] == ["E_UNSUPPORTED"]


def test_pages_that_a_sitemap_no_longer_lists_are_pruned(tmp_path: Path, tiny_settings: Settings) -> None:
    def listing(*paths: str) -> tuple[int, dict[str, str], bytes]:
        entries = "".join(f"<url><loc>{web.url}{path}</loc></url>" for path in paths)
        return 200, {"Content-Type": "text/xml"}, f"<urlset>{entries}</urlset>".encode()

    tea = {name: web_page(f"<main><h1>{name}</h1><p>{name} tea is steeped for a while and then drunk.</p></main>") for name in ("/green", "/black", "/white")}  # fmt: skip
    with site(dict(tea)) as web:
        web.answers["/sitemap.xml"] = listing("/green", "/black")
        settings = tiny_settings.with_values(fetch__allow_hosts=["127.0.0.1"], fetch__ports=[web.port])
        names = lambda: sorted(info.source.removeprefix(web.url) for info in kb.documents())  # noqa: E731
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
            kb.ingest([f"{web.url}/sitemap.xml", f"{web.url}/white"])
            assert names() == ["/black", "/green", "/white"]
            web.answers["/sitemap.xml"] = listing("/green")
            assert kb.ingest(f"{web.url}/sitemap.xml").deleted == 0, "only on request"
            assert kb.ingest(f"{web.url}/sitemap.xml", prune=True).deleted == 1
            assert names() == ["/green", "/white"], "what was named itself stays"
            web.answers["/sitemap.xml"] = (200, {"Content-Type": "text/xml"}, f"<sitemapindex><sitemap><loc>{web.url}/lost.xml</loc></sitemap><sitemap><loc>{web.url}/new.xml</loc></sitemap></sitemapindex>".encode())  # fmt: skip
            web.answers["/new.xml"] = listing("/black")
            report = kb.ingest(f"{web.url}/sitemap.xml", prune=True)
            assert (report.added, report.deleted) == (1, 0) and names() == ["/black", "/green", "/white"], "a part of the list is missing"  # fmt: skip


def test_what_is_out_of_reach_is_not_gone(tiny_kb: KnowledgeBase, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe in a file's place, a folder that cannot be listed: pruning keeps what was imported from there."""
    (docs / "closed").mkdir()
    (docs / "odd.md").write_text("# Odd\n\nA file that becomes a pipe.\n", encoding="utf-8")
    (docs / "closed" / "in.md").write_text("# In\n\nA file in a folder that is closed.\n", encoding="utf-8")
    (docs / "gone.md").write_text("# Gone\n\nA file that is deleted.\n", encoding="utf-8")
    tiny_kb.ingest(docs)
    (docs / "odd.md").unlink()
    (docs / "gone.md").unlink()
    os.mkfifo(docs / "odd.md")
    listed = os.scandir

    def scandir(path: str) -> object:  # the tests may run as root, who is let in everywhere
        if str(path).endswith("/closed"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = tiny_kb.ingest(docs, prune=True)
    assert report.deleted == 1 and set(states(tiny_kb)) == {"odd.md", "closed/in.md"}
    assert sorted(one.source.rpartition("/")[2] for one in report.failures) == ["closed", "odd.md"]


def test_failures_are_tried_again_when_something_was_done_about_them(
    tiny_kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that was added, a converter that was installed; alone and inside an archive. Else they are not read again."""
    from reportlab.pdfgen import canvas

    def locked(word: str) -> bytes:
        out = io.BytesIO()
        drawing = canvas.Canvas(out, encrypt="sesame")
        drawing.drawString(50, 500, f"The {word} is locked away.")
        drawing.save()
        return out.getvalue()

    docs, programs = tmp_path / "docs", tmp_path / "programs"
    docs.mkdir()
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    (docs / "alone.pdf").write_bytes(locked("oolong"))
    (docs / "box.zip").write_bytes(zipped(inside__pdf=locked("sencha"), open__txt=b"The jasmine is not."))
    (docs / "old.doc").write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "WordDocument".encode("utf-16-le") + bytes(600)
    )
    first = tiny_kb.ingest(docs)
    assert sorted(one.code for one in first.failures) == ["E_ENCRYPTED", "E_ENCRYPTED", "E_UNSUPPORTED"]
    before = {info.doc_id: info.updated_at for info in tiny_kb.documents()}
    assert tiny_kb.ingest(docs).failures == first.failures
    assert before == {info.doc_id: info.updated_at for info in tiny_kb.documents()}

    tiny_kb.settings = tiny_kb.settings.with_values(parse__passwords=["sesame"])
    assert [one.code for one in tiny_kb.ingest(docs).failures] == ["E_UNSUPPORTED"]
    assert sources(tiny_kb, "locked") == {"alone.pdf", "box.zip!/inside.pdf"}

    (programs / "antiword").write_text("#!/bin/sh\necho The matcha is old.\n")
    (programs / "antiword").chmod(0o700)
    last = tiny_kb.ingest(docs)
    assert last.failures == () and sources(tiny_kb, "matcha") == {"old.doc"}
    assert tiny_kb.ingest(docs).unchanged == 5
