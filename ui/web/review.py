"""The page for reviewing generated questions (Streamlit): read it beside its passage, correct it, keep it or not.

Run by `ragstone eval review FILE`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from eval.review import NO, YES, Reviewed, decide, read_review
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from ui.web.markup import plain, safe
from ui.web.words import LANGUAGES, word


@st.cache_resource(show_spinner=False)
def open_kb() -> KnowledgeBase:
    settings = Settings.load(os.environ.get("RAGSTONE_PAGE_CONFIG"))
    collection = os.environ.get("RAGSTONE_PAGE_COLLECTION", "default")
    return KnowledgeBase.open(os.environ.get("RAGSTONE_PAGE_HOME"), settings=settings, collection=collection)


def main() -> None:
    st.set_page_config(page_title="ragstone", page_icon="🪨", layout="centered")
    path = Path(os.environ["RAGSTONE_REVIEW_FILE"])
    chosen = st.sidebar.segmented_control(
        "Language", list(LANGUAGES), default=next(iter(LANGUAGES)), label_visibility="collapsed", required=True
    )
    language = LANGUAGES.get(chosen or "", "en")
    try:
        questions = read_review(path)
        review(path, questions, language, text_of=lambda doc_id: open_kb().text(doc_id))
    except RagstoneError as error:  # the edge: a person reads one sentence, never a traceback
        st.error(safe(str(error)))


def review(path: Path, questions: list[Reviewed], language: str, *, text_of: Callable[[str], str]) -> None:
    """The first question that nobody has decided on; all of them in the sidebar. text_of: a document's text."""
    open_ones = [one for one in questions if not one.keep]
    st.title(word("review.review", language))
    kept = sum(one.keep == YES for one in questions)
    st.caption(word("review.reviewed", language, done=len(questions) - len(open_ones), n=len(questions), kept=kept))
    names = [one.question_id for one in questions]
    first = names.index(open_ones[0].question_id) if open_ones else 0
    marks = {one.question_id: {"": "·", YES: "✓", NO: "✗"}.get(one.keep, "·") for one in questions}
    picked = st.sidebar.radio(
        word("review.questions", language), names, index=first, format_func=lambda name: f"{marks[name]} {name}",
        key=f"picked-{len(open_ones)}",
    )  # fmt: skip
    one = next((one for one in questions if one.question_id == picked), None)
    if one is None:
        return
    st.caption(f"{one.question_id} · {plain(one.kind)}")
    question = st.text_area(word("review.question", language), one.question, key=f"question-{one.question_id}")
    answer = st.text_input(word("review.answer", language), one.answer, key=f"answer-{one.question_id}")
    keep, drop = st.columns(2)
    if keep.button(word("review.keep", language), type="primary", width="stretch"):
        decide(path, one.question_id, YES, question=question, answer=answer)
        st.rerun()
    if drop.button(word("review.drop", language), width="stretch"):
        decide(path, one.question_id, NO, question=question, answer=answer)
        st.rerun()
    for source, chunk_id in zip(one.sources, one.chunk_ids, strict=True):
        passage(source, chunk_id, language, text_of)


def passage(source: str, chunk_id: str, language: str, text_of: Callable[[str], str]) -> None:
    """The text that the question was made from."""
    doc_id, _, span = chunk_id.rpartition("#")
    start, _, end = span.partition("-")
    with st.expander(safe(Path(source).name), expanded=True):
        try:
            st.markdown(plain(text_of(doc_id)[int(start) : int(end)]))
        except (RagstoneError, ValueError):
            st.caption(word("review.passage_gone", language))
