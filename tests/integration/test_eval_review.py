"""Reviewing generated questions: the table, and the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.dataset import load_dataset
from eval.generate import TestQuestion, to_csv
from eval.review import decide, read_review
from rag import Document, KnowledgeBase
from rag.errors import UsageError

QUESTIONS = [
    TestQuestion(question="When is green tea steeped?", answer="2 minutes", kind="single-hop", language="en", sources=("green.md",), chunk_ids=("green#0-40",)),
    TestQuestion(question="Who connects\nboth?", answer="Ann", kind="multi-hop", language="en", sources=("a.md", "b.md"), chunk_ids=("a#0-9", "b#0-9")),
    TestQuestion(question="谁付的钱？", answer="", kind="unanswerable", language="zh", sources=("a.md",), chunk_ids=("a#0-9",)),
]  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(to_csv(QUESTIONS), encoding="utf-8")
    return path


def test_decisions_are_kept(table: Path) -> None:
    assert [(one.question_id, one.keep, len(one.sources)) for one in read_review(table)] == [("q1", "", 1), ("q2", "", 2), ("q3", "", 1)]  # fmt: skip
    decide(table, "q2", "yes", question="Who joins\nthem?", answer="Ann")
    decide(table, "q1", "no", question="When is green tea steeped?", answer="2 minutes")
    assert [(one.question, one.keep) for one in read_review(table)][:2] == [("When is green tea steeped?", "no"), ("Who joins them?", "yes")]  # fmt: skip
    dataset = load_dataset(table)
    assert list(dataset.questions.values()) == ["Who joins them?"] and dataset.unanswerable == {"q3": "谁付的钱？"}
    with pytest.raises(UsageError, match="no question 'q9'"):
        decide(table, "q9", "no", question="", answer="")
    table.write_text("question,source\nx,y\n")
    with pytest.raises(UsageError, match="wanted the columns"):
        read_review(table)


def test_the_page(table: Path, tiny_settings: Any, tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("streamlit.testing.v1")
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb:
        kb.ingest([Document("Green tea is steeped for 2 minutes ![x](u).", doc_id="green", source="green.md")])
    monkeypatch.setenv("RAGSTONE_REVIEW_FILE", str(table))
    monkeypatch.setenv("RAGSTONE_PAGE_HOME", str(tmp_path / "home"))
    page = testing.AppTest.from_file(str(repo / "ui" / "page.py"), default_timeout=60).run()
    assert not page.exception and page.text_area[0].value == "When is green tea steeped?"
    shown = [one.value for one in page.markdown]
    assert any("steeped for 2 minutes" in text for text in shown) and not any("![x]" in text for text in shown)
    page.text_input[0].set_value("two minutes")
    page.button[0].click().run()
    assert not page.exception and page.text_area[0].value.split() == ["Who", "connects", "both?"]
    page.button[1].click().run()
    first, second, third = read_review(table)
    assert (first.keep, first.answer, second.keep, third.keep) == ("yes", "two minutes", "no", "")
    assert any("2 of 3 decided, 1 kept" in one.value for one in page.caption)
