"""A citation's source beside the answer: the page as a picture with the passage marked, or the text around it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import streamlit as st

from rag import attached
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.parsing import quoted_page
from rag.settings import ParseSettings
from rag.threads import Turn
from rag.types import Citation
from ui.web.markup import highlighted, plain
from ui.web.view import View

AROUND = 500  # characters of the document shown on each side of a quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Text with the quote in it: text[start:end]. cut: whether the document goes on before and behind."""

    text: str
    start: int
    end: int


def surroundings(text: str, start: int, end: int, around: int = AROUND) -> Surroundings:
    """The quote with what stands around it, cut at line breaks where some are near."""
    low, high = max(0, start - around), min(len(text), end + around)
    if low and 0 <= (at := text.find("\n", low, start)) < low + around // 2:
        low = at + 1
    if high < len(text) and (at := text.rfind("\n", end, high)) > high - around // 2:
        high = at
    before, after = "… " if low else "", " …" if high < len(text) else ""
    place = start - low + len(before)
    return Surroundings(text=before + text[low:high] + after, start=place, end=place + end - start)


def show(view: View, turn: Turn, number: int, citation: Citation) -> None:
    """The panel."""
    word = view.word
    with st.container(border=True, key=f"source-{number}-{citation.marker}"):
        with st.container(horizontal=True, vertical_alignment="top"):
            st.markdown(f":green-badge[{citation.marker}] **{plain(label(citation))}**", width="stretch")
            st.button(
                word("chat.close"),
                icon=":material/close:",
                key=f"close-source-{number}",
                type="tertiary",
                on_click=close,
            )
        where = [name(citation), word("chat.page", n=citation.page) if citation.page else ""]
        st.caption(plain(" · ".join(part for part in where if part)))
        if not citation.supported:
            st.warning(word("chat.not_supported"))
        _passage(view, view.home.kb.view(collection=turn.collection, principal=view.user.principal), turn, citation)


def close() -> None:
    st.query_params.pop("source", None)


def label(citation: Citation) -> str:
    return citation.title or name(citation)


def name(citation: Citation) -> str:
    return PurePosixPath(citation.source.replace("\\", "/")).name or citation.source


def _passage(view: View, kb: KnowledgeBase, turn: Turn, citation: Citation) -> None:
    try:
        text = _text(view, kb, turn, citation)
    except RagstoneError:
        st.info(view.word("chat.source_gone"))
        st.markdown(highlighted(citation.quote, 0, len(citation.quote)))
        return
    drawn = _drawn(kb, citation)
    if drawn is None:
        _around(text, citation)
        return
    png, n_marked, top = drawn
    picture, words = st.tabs([view.word("chat.as_page"), view.word("chat.as_text")])
    with picture:
        if not n_marked:
            st.caption(view.word("chat.not_marked"))
        with st.container(height=560, border=False, key="source-page"):
            st.image(png, width="stretch", alt=view.word("chat.page_of", n=citation.page, name=name(citation)))
    with words:
        _around(text, citation)


def _around(text: str, citation: Citation) -> None:
    found = surroundings(text, citation.start, citation.end)
    if text[citation.start : citation.end] != citation.quote:  # the document is another one by now
        st.markdown(highlighted(citation.quote, 0, len(citation.quote)))
        return
    st.markdown(highlighted(found.text, found.start, found.end))


def _text(view: View, kb: KnowledgeBase, turn: Turn, citation: Citation) -> str:
    """The document's text; of a file that is attached to the thread, that file's."""
    if citation.doc_id.startswith(attached.PREFIX):
        wanted = citation.doc_id.removeprefix(attached.PREFIX)
        files = [file.text for file in view.home.threads.files(turn.thread_id) if file.name == wanted]
        return files[-1] if files else citation.quote
    return kb.text(citation.doc_id)


def _drawn(kb: KnowledgeBase, citation: Citation) -> tuple[bytes, int, float] | None:
    """The page as a picture; None when the document has none, or its file is not there any more."""
    if not citation.page or citation.doc_id.startswith(attached.PREFIX):
        return None
    try:
        data = kb.original(citation.doc_id)
        if data is None or b"%PDF-" not in data[:1024]:
            return None
        return _page(data, citation.page, citation.quote, kb.settings.parse)
    except RagstoneError:
        return None


@st.cache_data(max_entries=100, show_spinner=False)
def _page(data: bytes, page: int, quote: str, _settings: ParseSettings) -> tuple[bytes, int, float]:
    return quoted_page(data, page, quote, settings=_settings)
