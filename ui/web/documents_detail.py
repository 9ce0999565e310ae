"""One document: the original beside what was read from it, where it was cut, and what can be changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from rag.errors import DocumentError, RagstoneError
from rag.parsing import page_image
from rag.settings import ParseSettings
from rag.types import Block, Chunk, DocumentInfo
from ui.web.documents_edit import edit
from ui.web.documents_list import confirm_delete
from ui.web.documents_names import advice, as_text, badge, name_of, shown_title, state_of, state_word
from ui.web.failures import told
from ui.web.markup import plain
from ui.web.view import View

PART = 6000  # characters of a long text that are shown at a time
CHUNKS = 12  # passages that are shown at a time
_PDF = b"%PDF-"


def detail(view: View, doc_id: str) -> None:
    word = view.word
    st.button(
        word("documents.back"), icon=":material/arrow_back:", type="tertiary", on_click=_close, key="documents-back"
    )
    found = view.kb.documents(doc_id)
    if not found:
        st.info(word("documents.gone"))
        return
    info = found[0]
    original = view.kb.original(doc_id)
    _head(view, info, original)
    _notes(view, info)
    if not info.version:
        return
    text, blocks, chunks = view.kb.text(doc_id), view.kb.blocks(doc_id), view.kb.chunks(doc_id)
    paged = original is not None and _PDF in original[:1024] and bool(info.n_pages)
    if paged:
        n = info.n_pages or 1
        page = st.pagination(n, key=f"page-{doc_id}") if n > 1 else 1
        st.caption(word("documents.page", n=page, of=n))
        start, end = page_span(blocks, page)
    else:
        n = max(1, math.ceil(len(text) / PART))
        page = st.pagination(n, key=f"part-{doc_id}") if n > 1 else 1
        if n > 1:
            st.caption(word("documents.part", n=page, of=n))
        start, end = (page - 1) * PART, min(page * PART, len(text))
    if original is not None:
        left, right = st.columns(2, gap="medium")
        with left:
            st.subheader(word("documents.original"))
            _original(view, info, original, page, n, paged=paged)
    else:
        st.caption(word("documents.no_original"))
        right = st.container()
    with right:
        _extracted(view, text, chunks, start, end)


@st.cache_data(max_entries=200, show_spinner=False)
def drawn_page(data: bytes, page: int, _settings: ParseSettings) -> bytes:
    """A page of a PDF as a picture; drawn once."""
    return page_image(data, page, settings=_settings, width=1000)[0]


def page_span(blocks: Sequence[Block], page: int) -> tuple[int, int]:
    """Where a page's text lies; (0, 0) for a page without text."""
    mine = [block for block in blocks if block.page == page]
    return (mine[0].start, mine[-1].end) if mine else (0, 0)


def inside(chunks: Sequence[Chunk], start: int, end: int) -> list[tuple[Chunk, int]]:
    """The passages that touch text[start:end], each with how many of its first characters the one before has, too."""
    found = []
    before = 0
    for chunk in chunks:
        repeated = 0 if chunk.level else max(0, min(before, chunk.end) - chunk.start)
        if chunk.start < end and chunk.end > start:
            found.append((chunk, repeated))
        before = before if chunk.level else max(before, chunk.end)
    return found


def marked(text: str, chunks: Sequence[Chunk], start: int, end: int) -> str:
    """text[start:end] as Markdown with a numbered mark where each passage begins."""
    cuts = sorted(
        (max(chunk.start, start), chunk.ordinal + 1)
        for chunk in chunks
        if not chunk.level and start <= chunk.start < end
    )
    parts, at = [], start
    for place, number in cuts:
        parts += [plain(text[at:place]), f" :blue-badge[{number}] "]
        at = place
    return "".join([*parts, plain(text[at:end])])


def _head(view: View, info: DocumentInfo, original: bytes | None) -> None:
    word, state = view.word, state_of(info)
    icon, colour = badge(state)
    st.title(plain(shown_title(info)), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(state_word(view, state), icon=icon, color=colour)  # type: ignore[arg-type]
        st.caption(plain(name_of(info.source)), width="content")
        if info.version:
            facts = {
                "type": info.type,
                "version": info.version,
                "chars": f"{info.n_chars:,}",
                "at": info.updated_at[:16].replace("T", " "),
            }
            st.caption(plain(word("documents.facts", **facts)), width="content")
    with st.container(horizontal=True):
        if view.user.may_edit and info.version:
            if st.button(word("documents.edit"), icon=":material/edit:", key="document-edit"):
                edit(view, info)
            off = info.state == "disabled"
            st.button(
                word("documents.switch_on" if off else "documents.switch_off"), key="document-switch",
                icon=":material/visibility:" if off else ":material/visibility_off:", help=word("documents.off_help"),
                on_click=view.still(_switch), args=(view, info.doc_id, off),
            )  # fmt: skip
        if original is not None:
            st.download_button(
                word("documents.download"), original, file_name=name_of(info.source).rpartition("/")[2] or "document",
                mime="application/octet-stream", icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        if view.user.may_edit and st.button(word("documents.delete"), icon=":material/delete:", key="document-delete"):
            confirm_delete(view, [info.doc_id])
    if message := st.session_state.pop("document-message", ""):
        st.error(message)


def _notes(view: View, info: DocumentInfo) -> None:
    """What is to be known before reading on."""
    word = view.word
    if info.code:
        st.error(plain(advice(view, info.code, info.message)), icon=":material/error:")
        st.caption(plain(info.message))
    if info.state == "disabled":
        st.info(word("documents.is_off"), icon=":material/visibility_off:")
    for doc_id, key in ((info.copy_of, "is_copy"), (info.container, "inside")):
        for other in view.kb.documents(doc_id) if doc_id else ():
            st.caption(word(f"documents.{key}", other=plain(shown_title(other))))
    if info.warnings:
        with st.expander(word("documents.warnings", n=len(info.warnings)), icon=":material/warning:"):
            for warning in info.warnings:
                st.markdown(f"- {plain(warning)}")
    if info.metadata:
        with st.expander(word("documents.metadata"), icon=":material/label:"):
            for key, value in info.metadata.items():
                st.markdown(f"**{plain(key)}** {plain(as_text(value))}")


def _original(view: View, info: DocumentInfo, original: bytes, page: int, n: int, *, paged: bool) -> None:
    word = view.word
    if paged:
        try:
            drawn = drawn_page(original, page, view.home.kb.settings.parse)
        except DocumentError as error:
            st.warning(word("documents.no_page", why=told(view, error)))
            return
        with st.container(border=True):
            st.image(drawn, width="stretch", alt=word("documents.page", n=page, of=n))
        return
    try:
        text = original.decode("utf-8")
    except UnicodeDecodeError:
        st.info(word("documents.no_picture"))
        return
    low, high = (page - 1) * len(text) // n, page * len(text) // n  # about the same place as in the text that was read
    with st.container(height=640, key="document-original"):
        st.text(text[low:high], width="stretch")


def _extracted(view: View, text: str, chunks: Sequence[Chunk], start: int, end: int) -> None:
    word = view.word
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(word("documents.extracted"), width="content")
        way = st.segmented_control(
            word("documents.extracted"), ("chunks", "text"), default="chunks", required=True, label_visibility="collapsed",
            format_func=lambda name: word(f"documents.{name}"), key="document-way", persist_state="session",
        )  # fmt: skip
    with st.container(height=640, key="document-extracted"):
        if way == "text":
            st.markdown(marked(text, chunks, start, end))
            return
        shown = inside(chunks, start, end)
        if not shown:
            st.caption(word("documents.no_chunks"))
        if any(repeated for _, repeated in shown):
            st.caption(word("documents.repeats"))
        for chunk, repeated in shown[: CHUNKS * 4]:
            _chunk(view, chunk, repeated)


def _chunk(view: View, chunk: Chunk, repeated: int) -> None:
    word = view.word
    with st.container(border=True):
        name = word("documents.chunk", n=chunk.ordinal + 1, tokens=chunk.n_tokens, start=chunk.start, end=chunk.end)
        more = [word("documents.chunk_page", n=chunk.page)] if chunk.page else []
        more += [word("documents.summary")] if chunk.level else []
        st.caption(plain(" · ".join([name, *more])))
        if chunk.context:
            st.caption(plain(chunk.context))
        head = " ".join(plain(chunk.text[:repeated]).split())
        st.markdown((f":gray[{head}] " if head else "") + plain(chunk.text[repeated:]))


def _switch(view: View, doc_id: str, enabled: bool) -> None:
    try:
        view.kb.edit(doc_id, enabled=enabled)
    except RagstoneError as error:
        st.session_state["document-message"] = view.word("documents.busy", why=told(view, error))


def _close() -> None:
    st.query_params.pop("doc", None)
