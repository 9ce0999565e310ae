"""What the documents page works out before it draws: names, states, filters, where text was cut, what an edit changes."""

from __future__ import annotations

from typing import Any

import pytest

from rag import filters
from rag.errors import CODES
from rag.ingest import file_doc_id
from rag.jobs import Job
from rag.types import Block, Chunk, DocumentInfo
from ui.web.documents_add import addresses
from ui.web.documents_detail import inside, marked, page_span
from ui.web.documents_edit import changes
from ui.web.documents_jobs import FileState, file_states
from ui.web.documents_list import conditions
from ui.web.documents_names import name_of, shown_title, state_of, typed
from ui.web.words.documents import WORDS


def info(name: str, **changes: Any) -> DocumentInfo:
    source = f"upload:/{name}"
    values: dict[str, Any] = {
        "doc_id": file_doc_id(source), "source": source, "title": "", "type": "text", "state": "live", "version": 1,
        "n_chunks": 1, "n_chars": 9, "n_pages": None, "updated_at": "2026-11-28T12:00:05+00:00", "metadata": {},
    }  # fmt: skip
    return DocumentInfo(**{**values, **changes})


def job(state: str, *names: str) -> Job:
    files = [{"name": name, "stored": f"{at:03d}"} for at, name in enumerate(names)]
    return Job(job_id="j", key_id="", collection="default", kind="import", state=state, request={"files": files}, progress={},
               result={}, created_at="2026-11-28T12:00:00+00:00", updated_at="2026-11-28T12:00:00+00:00")  # fmt: skip


def test_every_failure_has_advice_in_both_languages() -> None:
    assert CODES.keys() - WORDS.keys() == set()


def test_names_and_states() -> None:
    assert name_of("upload:/a/b.md") == "a/b.md" and name_of("/home/ann/b.md") == "b.md"
    assert name_of("/x/box.zip!/in/one.txt") == "box.zip!/in/one.txt" and name_of("https://a.b/c") == "https://a.b/c"
    assert shown_title(info("b.md")) == "b.md" and shown_title(info("b.md", title="B")) == "B"
    assert state_of(info("a", code="E_PARSE", version=0, state="failed")) == "failed"
    assert state_of(info("a", code="E_PARSE")) == "update_failed", "the older version is still found"
    assert state_of(info("a", state="importing", code="E_PARSE")) == "importing"


def test_files_of_an_import_those_first_that_need_somebody() -> None:
    before = "2026-11-28T11:00:00+00:00"
    known = [
        info("new.md"), info("old.md", updated_at=before), info("bad.pdf", state="failed", version=0, code="E_CORRUPT"),
        info("now.md", state="importing"), info("was-bad.pdf", version=0, code="E_CORRUPT", updated_at=before),
    ]  # fmt: skip
    names = ("new.md", "old.md", "bad.pdf", "now.md", "was-bad.pdf", "unseen.md")
    found = file_states(job("running", *names), known)
    assert [(one.name, one.state) for one in found] == [
        ("bad.pdf", "failed"), ("now.md", "writing"), ("old.md", "waiting"), ("was-bad.pdf", "waiting"), ("unseen.md", "waiting"),
        ("new.md", "done"),
    ]  # fmt: skip
    assert FileState(name="old.md", state="unchanged") in file_states(job("done", *names), known)


@pytest.mark.parametrize(
    ("field", "value", "metadata"),
    [("room", "O'Hara \\ hall", {"room": "O'Hara \\ hall"}), ("year", "2024", {"year": 2024}), ("year", "2024", {"year": "2024"}),
     ("open", "True", {"open": True}), ("two words", "3.5", {"two words": 3.5})],
)  # fmt: skip
def test_a_value_of_metadata_finds_what_has_it_whatever_its_type(
    field: str, value: str, metadata: dict[str, Any]
) -> None:
    row = {"doc_id": "d", "source": "s", "title": "", "type": "", "page": 0, "meta": metadata}
    assert filters.matches(filters.parse(conditions(field, value)), row)
    assert not filters.matches(filters.parse(conditions(field, value)), {**row, "meta": {}})


def test_what_an_edit_of_the_table_changes() -> None:
    before = {"year": 2024, "tags": ["a", "b"], "room": "hall"}
    rows = [
        {"key": "year", "value": "2024"},
        {"key": "tags", "value": "a, b"},
        {"key": "draft", "value": "true"},
        {"key": "", "value": "x"},
    ]
    assert changes(before, rows) == {"draft": True, "room": None}
    assert changes({}, [{"key": " n ", "value": "7"}, {"key": "empty", "value": " "}]) == {"n": 7}
    assert typed("007") == "007" and typed("1.5") == 1.5 and typed("2026-11-28") == "2026-11-28"


def test_where_a_text_was_cut() -> None:
    text = "one two three four"
    chunks = [Chunk(doc_id="d", ordinal=0, start=0, end=8, text="one two "), Chunk(doc_id="d", ordinal=1, start=4, end=18, text="two three four"),
              Chunk(doc_id="d", ordinal=2, start=0, end=18, text="a summary", level=1)]  # fmt: skip
    assert [(chunk.ordinal, repeated) for chunk, repeated in inside(chunks, 8, 18)] == [(1, 4), (2, 0)]
    assert marked(text, chunks, 0, 18) == " :blue-badge[1] one  :blue-badge[2] two three four"
    blocks = [Block(kind="paragraph", start=0, end=7, page=1), Block(kind="paragraph", start=8, end=18, page=3)]
    assert page_span(blocks, 3) == (8, 18) and page_span(blocks, 2) == (0, 0)


def test_addresses() -> None:
    assert addresses(" https://a.b/c \n\nsitemap: https://a.b\nhttps://a.b/c") == (
        ["https://a.b/c", "sitemap: https://a.b"],
        "",
    )
    assert addresses("https://a.b\nfile:///etc/passwd")[1] == "file:///etc/passwd"
