"""The sample documents: their questions can be answered from the files named, and the generated files are current."""

from __future__ import annotations

import html
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEA = EXAMPLES / "tea"
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (EXAMPLES / "tea_questions.jsonl").read_text("utf-8").splitlines()
]
ANSWERABLE = [question for question in QUESTIONS if question["answerable"]]
FORMATS = {".md", ".html", ".txt", ".docx", ".pdf"}
GENERATED = ("puer.zh.docx", "japan.en.docx", "history.en.pdf")


@cache
def words_of(name: str) -> str:
    """The text of a sample document, white space collapsed."""
    path = TEA / name
    readers = {".docx": docx_text, ".pdf": pdf_text, ".html": html_text}
    text = readers.get(path.suffix, lambda file: file.read_text("utf-8"))(path)
    return re.sub(r"\s+", " ", text)


def docx_text(path: Path) -> str:
    docx = pytest.importorskip("docx")
    document = docx.Document(str(path))
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return "\n".join([paragraph.text for paragraph in document.paragraphs] + cells)


def pdf_text(path: Path) -> str:
    pdfium = pytest.importorskip("pypdfium2")
    document = pdfium.PdfDocument(path)
    try:
        return "\n".join(page.get_textpage().get_text_range() for page in document)
    finally:
        document.close()


def html_text(path: Path) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", path.read_text("utf-8")))


def document_names() -> list[str]:
    return sorted(path.name for path in TEA.iterdir() if path.suffix in FORMATS)


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tea_documents", TEA.parent / "make_tea_documents.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name while the class is being made
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "make_tea_documents", module)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question["question"])
def test_each_source_holds_an_accepted_answer(question: dict[str, Any]) -> None:
    assert question["sources"] and question["answer"]
    for name in question["sources"]:
        assert any(answer in words_of(name) for answer in question["answer"]), name


def test_the_questions_cover_both_languages_crossings_and_refusals() -> None:
    assert Counter(question["language"] for question in QUESTIONS) == {"en": 6, "zh": 6}
    unanswerable = [question for question in QUESTIONS if not question["answerable"]]
    assert sorted(question["language"] for question in unanswerable) == ["en", "zh"]
    assert all(question["sources"] == [] and question["answer"] == [] for question in unanswerable)
    crossing = [q["language"] for q in ANSWERABLE if all(f".{q['language']}." not in name for name in q["sources"])]
    assert sorted(crossing) == ["en", "zh"]


def test_a_question_names_no_accepted_answer_itself() -> None:
    told = [q["question"] for q in ANSWERABLE if any(answer in q["question"] for answer in q["answer"])]
    assert told == []


def test_the_readme_lists_every_document_and_question() -> None:
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    missing = [name for name in document_names() if f"`{name}`" not in readme]
    missing += [question["question"] for question in QUESTIONS if f"| {question['question']} |" not in readme]
    assert missing == []


def test_the_documents_are_in_the_language_that_their_names_say() -> None:
    for name in document_names():
        chinese = len(re.findall(r"[\u4e00-\u9fff]", words_of(name)))
        assert chinese > 400 if ".zh." in name else chinese == 0, name


def test_the_pdf_has_pages_bookmarks_and_embedded_fonts() -> None:
    pdfium = pytest.importorskip("pypdfium2")
    document = pdfium.PdfDocument(TEA / "history.en.pdf")
    try:
        assert len(document) >= 3
        assert "9. Timeline" in [bookmark.get_title() for bookmark in document.get_toc()]
    finally:
        document.close()
    assert (TEA / "history.en.pdf").read_bytes().count(b"/FontFile2") == 2


def test_the_generator_reproduces_the_committed_files() -> None:
    pytest.importorskip("reportlab")
    pytest.importorskip("docx")
    generator = load_generator()
    installed = {name: importlib.metadata.version(name) for name in generator.MADE_WITH}
    if installed != generator.MADE_WITH:
        pytest.skip(f"the files were made with {generator.MADE_WITH}, installed are {installed}")
    documents = generator.documents()
    assert sorted(documents) == sorted(GENERATED)
    stale = [name for name, data in documents.items() if (TEA / name).read_bytes() != data]
    assert stale == [], "run: python examples/make_tea_documents.py"
