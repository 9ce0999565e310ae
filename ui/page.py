"""The chat page (Streamlit): ask, watch the answer come, open its sources; add files. Run by `ragstone ui`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import streamlit as st

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]  # Streamlit runs this file as a script

from rag.errors import RagstoneError  # noqa: E402
from rag.ingest import Progress  # noqa: E402
from rag.knowledge_base import KnowledgeBase  # noqa: E402
from rag.settings import Settings  # noqa: E402
from rag.types import Answer, Citation  # noqa: E402
from ui.markup import highlighted, safe  # noqa: E402
from ui.words import LANGUAGES, word  # noqa: E402

AROUND = 400  # characters of the document shown on each side of a quote


@st.cache_resource(show_spinner=False)
def open_kb() -> KnowledgeBase:
    settings = Settings.load(os.environ.get("RAGSTONE_PAGE_CONFIG"))
    return KnowledgeBase.open(
        os.environ.get("RAGSTONE_PAGE_HOME"),
        settings=settings,
        collection=os.environ.get("RAGSTONE_PAGE_COLLECTION", "default"),
    )


def main() -> None:
    st.set_page_config(page_title="ragstone", page_icon="🪨", layout="centered")
    try:
        kb = open_kb()
        language, mode = sidebar(kb)
        conversation(kb, language, mode)
    except RagstoneError as error:  # the edge: a person reads one sentence, never a traceback
        st.error(safe(str(error)))


def sidebar(kb: KnowledgeBase) -> tuple[str, str]:
    """Language, import, and what is in the collection."""
    with st.sidebar:
        chosen = st.segmented_control(
            "Language", list(LANGUAGES), default=next(iter(LANGUAGES)), label_visibility="collapsed", required=True
        )
        language = LANGUAGES.get(chosen or "", "en")
        mode = st.selectbox(
            word("mode", language), ("hybrid", "dense", "bm25"), format_func=lambda name: word(name, language)
        )
        files = st.file_uploader(word("add", language), accept_multiple_files=True)
        if files and st.button(word("import", language), type="primary", width="stretch"):
            import_files(kb, files, language)
        documents = [info for info in kb.documents() if info.version]
        st.subheader(f"{word('documents', language)} ({len(documents)})")
        for info in documents[:200]:
            st.caption(safe(f"{info.title or info.source} · {info.type}"))
        if st.session_state.get("turns") and st.button(word("clear", language), width="stretch"):
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
    with st.status(word("importing", language)) as status:
        bar = st.progress(0.0)

        def show(now: Progress) -> None:
            bar.progress(now.n_done / max(now.n_total, 1), text=safe(Path(now.source).name))

        report = kb.ingest(paths, progress=show)
        status.update(
            label=word("imported", language, added=report.added, updated=report.updated, unchanged=report.unchanged)
        )
        for failure in report.failures:
            st.warning(safe(f"{Path(failure.source).name}: {failure.message}"))


def conversation(kb: KnowledgeBase, language: str, mode: str) -> None:
    st.title(word("title", language))
    n_documents, _ = kb.catalog.counts(kb.collection)
    st.caption(word("welcome", language, n=n_documents) if n_documents else word("empty", language))
    turns = st.session_state.setdefault("turns", [])
    for number, (question, answer, seconds) in enumerate(turns):
        st.chat_message("user").markdown(safe(question))
        with st.chat_message("assistant"):
            st.markdown(safe(answer.text))
            below(kb, answer, seconds, language, number)
    if question := st.chat_input(word("placeholder", language)):
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
    status, place, text = st.status(word("searching", language)), st.empty(), ""
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
    status.update(label=word("done", language, seconds=seconds), state="complete")
    place.markdown(safe(answer.text))
    return answer, seconds


def below(kb: KnowledgeBase, answer: Answer, seconds: float, language: str, number: int) -> None:
    """Sources with the passage marked, what is not supported, and notes."""
    for sentence in answer.unsupported:
        st.warning(word("unsupported", language, text=safe(sentence)))
    for citation in answer.citations:
        source(kb, citation, language)
    for warning in answer.warnings:
        st.caption(safe(warning))
    st.caption(word("done", language, seconds=seconds))


def source(kb: KnowledgeBase, citation: Citation, language: str) -> None:
    """One citation: closed it names the document, open it shows the passage in its surroundings."""
    page = f" · {word('page', language, n=citation.page)}" if citation.page else ""
    with st.expander(safe(f"[{citation.marker}] {citation.title or citation.source}") + page):
        if not citation.supported:
            st.warning(word("not_supported", language))
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


main()
