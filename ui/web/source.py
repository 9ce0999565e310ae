"""A citation's source beside the answer: the page as a picture with the passage marked, or the text around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import streamlit as st

from rag import attached
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.settings import ParseSettings
from rag.threads import Turn
from rag.types import Citation
from ui.web.markup import highlighted, plain
from ui.web.view import View

AROUND = 450  # characters of the document shown on each side of a quote
LONG = 500  # characters from which the text scrolls inside the panel


def surroundings(
    text: str, spans: Sequence[tuple[int, int]], around: int = AROUND
) -> tuple[str, list[tuple[int, int]]]:
    """The spans with what stands around them, cut at line breaks where some are near, and their places in that."""
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    low, high = max(0, first - around), min(len(text), last + around)
    if low and 0 <= (at := text.find("\n", low, first)) < low + around // 2:
        low = at + 1
    if high < len(text) and (at := text.rfind("\n", last, high)) > high - around // 2:
        high = at
    before, after = "… " if low else "", " …" if high < len(text) else ""
    shift = len(before) - low
    return before + text[low:high] + after, [(start + shift, end + shift) for start, end in spans]


def show(view: View, turn: Turn, number: int, cited: Sequence[Citation]) -> None:
    """The panel for what one marker stands for: quotes of one passage."""
    word, citation = view.word, cited[0]
    with st.container(border=True, key=f"source-{number}-{citation.marker}"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            badge = f":green-badge[{citation.marker}] " if citation.marker else ""
            st.markdown(f"{badge}**{plain(label(citation))}**", width="stretch")
            st.button(
                "", icon=":material/close:", key=f"close-source-{number}", type="tertiary", help=word("chat.close"),
                on_click=close,
            )  # fmt: skip
        where = [name(citation), word("chat.page", n=citation.page) if citation.page else ""]
        st.caption(plain(" · ".join(part for part in where if part)))
        if not any(one.supported for one in cited):
            st.warning(word("chat.not_supported"))
        _passage(view, view.home.kb.view(collection=turn.collection, principal=view.user.principal), turn, cited)


def close() -> None:
    st.query_params.pop("source", None)


def label(citation: Citation) -> str:
    return citation.title or name(citation)


def name(citation: Citation) -> str:
    return PurePosixPath(citation.source.replace("\\", "/")).name or citation.source


def _passage(view: View, kb: KnowledgeBase, turn: Turn, cited: Sequence[Citation]) -> None:
    try:
        text = _text(view, kb, turn, cited[0])
    except RagstoneError:
        st.info(view.word("chat.source_gone"))
        _quotes(cited)
        return
    drawn = _drawn(kb, cited)
    if drawn is None:
        _around(text, cited)
        return
    png, n_marked, _ = drawn
    picture, words = st.tabs([view.word("chat.as_page"), view.word("chat.as_text")])
    with picture:
        if not n_marked:
            st.caption(view.word("chat.not_marked"))
        st.image(png, width="stretch", alt=view.word("chat.page_of", n=cited[0].page, name=name(cited[0])))
    with words:
        _around(text, cited)


def _around(text: str, cited: Sequence[Citation]) -> None:
    if any(text[one.start : one.end] != one.quote for one in cited):  # the document is another one by now
        _quotes(cited)
        return
    shown, spans = surroundings(text, apart([(one.start, one.end) for one in cited]))
    with st.container(height=400, border=False, key="source-text") if len(shown) > LONG else st.container():
        st.markdown(highlighted(shown, *spans))


def _quotes(cited: Sequence[Citation]) -> None:
    for one in cited:
        st.markdown(highlighted(one.quote, (0, len(one.quote))))


def apart(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _text(view: View, kb: KnowledgeBase, turn: Turn, citation: Citation) -> str:
    """The document's text; of a file that is attached to the thread, that file's."""
    if citation.doc_id.startswith(attached.PREFIX):
        wanted = citation.doc_id.removeprefix(attached.PREFIX)
        files = [file.text for file in view.home.threads.files(turn.thread_id) if file.name == wanted]
        return files[-1] if files else citation.quote
    return kb.text(citation.doc_id)


def _drawn(kb: KnowledgeBase, cited: Sequence[Citation]) -> tuple[bytes, int, float] | None:
    """The page as a picture; None when the document has none, or its file is not there any more."""
    page, doc_id = cited[0].page, cited[0].doc_id
    if not page or doc_id.startswith(attached.PREFIX):
        return None
    try:
        data = kb.original(doc_id)
        if data is None or b"%PDF-" not in data[:1024]:
            return None
        return _page(data, page, tuple(one.quote for one in cited), kb.settings.parse)
    except RagstoneError:
        return None


@st.cache_data(max_entries=100, show_spinner=False)
def _page(data: bytes, page: int, quotes: tuple[str, ...], _settings: ParseSettings) -> tuple[bytes, int, float]:
    from rag.parsing import quoted_page

    return quoted_page(data, page, quotes, settings=_settings)
