"""The chat page: ask, watch the answer come, open its sources; add files."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import streamlit as st

from rag.errors import RagstoneError
from rag.ingest import Progress
from rag.knowledge_base import KnowledgeBase
from rag.types import Answer, Citation
from ui.web.markup import highlighted, safe
from ui.web.view import View
from ui.web.words import word

AROUND = 400  # characters of the document shown on each side of a quote


def show(view: View) -> None:
    language, mode = sidebar(view.kb, view.language)
    conversation(view.kb, language, mode)


def sidebar(kb: KnowledgeBase, language: str) -> tuple[str, str]:
    """Import, and what is in the collection."""
    with st.sidebar:
        mode = st.selectbox(
            word("chat.mode", language),
            ("hybrid", "dense", "bm25"),
            format_func=lambda name: word(f"chat.{name}", language),
        )
        files = st.file_uploader(word("chat.add", language), accept_multiple_files=True)
        if files and st.button(word("chat.import", language), type="primary", width="stretch"):
            import_files(kb, files, language)
        documents = [info for info in kb.documents() if info.version]
        st.subheader(f"{word('chat.documents', language)} ({len(documents)})")
        for info in documents[:200]:
            st.caption(safe(f"{info.title or info.source} · {info.type}"))
        if st.session_state.get("turns") and st.button(word("chat.clear", language), width="stretch"):
            st.session_state.turns = []
            st.rerun()
    return language, mode


def import_files(kb: KnowledgeBase, files: list[Any], language: str) -> None:
    """Keep the uploads under the home, so that they can be read again, and import them."""
    folder = kb.home / "uploads"
    folder.mkdir(exist_ok=True)
    paths = []
    for file in files:
        name = Path(file.name).name.lstrip(".") or "file"
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as temporary:
            temporary.write(file.getbuffer())
        os.replace(temporary.name, folder / name[-200:])
        paths.append(folder / name[-200:])
    with st.status(word("chat.importing", language)) as status:
        bar = st.progress(0.0)

        def show(now: Progress) -> None:
            bar.progress(now.n_done / max(now.n_total, 1), text=safe(Path(now.source).name))

        report = kb.ingest(paths, progress=show)
        status.update(
            label=word(
                "chat.imported", language, added=report.added, updated=report.updated, unchanged=report.unchanged
            )
        )
        for failure in report.failures:
            st.warning(safe(f"{Path(failure.source).name}: {failure.message}"))


def conversation(kb: KnowledgeBase, language: str, mode: str) -> None:
    st.title(word("chat.title", language))
    n_documents, _ = kb.catalog.counts(kb.collection)
    st.caption(word("chat.welcome", language, n=n_documents) if n_documents else word("chat.empty", language))
    turns = st.session_state.setdefault("turns", [])
    for number, (question, answer, seconds) in enumerate(turns):
        st.chat_message("user").markdown(safe(question))
        with st.chat_message("assistant"):
            st.markdown(safe(answer.text))
            below(kb, answer, seconds, language, number)
    if question := st.chat_input(word("chat.placeholder", language)):
        st.chat_message("user").markdown(safe(question))
        with st.chat_message("assistant"):
            history = [(asked, answered.text) for asked, answered, _ in turns]
            answer, seconds = stream(kb, question, mode, language, history)
        turns.append((question, answer, seconds))
        st.rerun()


def stream(
    kb: KnowledgeBase, question: str, mode: str, language: str, history: list[tuple[str, str]]
) -> tuple[Answer, float]:
    """Show steps and text as they come; give the whole answer and its seconds."""
    start = time.perf_counter()
    status, place, text = st.status(word("chat.searching", language)), st.empty(), ""
    answer: Answer | None = None
    for event in kb.stream(question, mode=mode, history=history):
        if event.step is not None:
            status.write(safe(f"{event.step.name} · {event.step.ms:.0f} ms"))
        if event.kind == "text":
            text += event.text
            place.markdown(safe(text) + " ▌")
        answer = event.answer or answer
    assert answer is not None
    seconds = time.perf_counter() - start
    status.update(label=word("chat.done", language, seconds=seconds), state="complete")
    place.markdown(safe(answer.text))
    return answer, seconds


def below(kb: KnowledgeBase, answer: Answer, seconds: float, language: str, number: int) -> None:
    """Sources with the passage marked, what is not supported, and notes."""
    for sentence in answer.unsupported:
        st.warning(word("chat.unsupported", language, text=safe(sentence)))
    for citation in answer.citations:
        source(kb, citation, language)
    for warning in answer.warnings:
        st.caption(safe(warning))
    st.caption(word("chat.done", language, seconds=seconds))


def source(kb: KnowledgeBase, citation: Citation, language: str) -> None:
    """One citation: closed it names the document, open it shows the passage in its surroundings."""
    page = f" · {word('page', language, n=citation.page)}" if citation.page else ""
    with st.expander(safe(f"[{citation.marker}] {citation.title or citation.source}") + page):
        if not citation.supported:
            st.warning(word("chat.not_supported", language))
        try:
            text = kb.text(citation.doc_id)
        except RagstoneError as error:
            st.error(safe(str(error)))
            return
        low, high = max(0, citation.start - AROUND), citation.end + AROUND
        before, after = "… " if low else "", " …" if high < len(text) else ""
        shown = before + text[low:high] + after
        start = citation.start - low + len(before)
        st.markdown(highlighted(shown, start, start + len(citation.quote)))
        st.caption(safe(Path(citation.source).name))
