"""The list of documents: searched, filtered, a page at a time; one or many can be deleted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import streamlit as st

from rag.errors import RagstoneError
from rag.types import DocumentInfo
from ui.api import accepting
from ui.web.documents_names import advice, badge, counted, name_of, quoted, shown_title, state_of, state_word
from ui.web.failures import told
from ui.web.markup import plain, spoken
from ui.web.view import View

PER_PAGE = 25
NAMED = 10  # in the question whether to delete
_FILTERS = ("documents-search", "documents-state", "documents-type", "documents-field")


def listed(view: View, states: Mapping[str, Mapping[str, int]]) -> None:
    word = view.word
    text, state, type_, condition = _filters(view, states)
    asked = (text, state, type_, condition)
    if st.session_state.get("documents-asked") != asked:  # another question begins at its first page
        st.session_state["documents-asked"] = asked
        st.session_state["documents-page"] = 1
    page = st.session_state.get("documents-page", 1)
    found, total = view.kb.find_documents(
        text, state=state, type=type_, filter=condition, limit=PER_PAGE, offset=(page - 1) * PER_PAGE
    )
    if not total:
        st.info(word("documents.nothing_fits"), icon=":material/search_off:")
        st.button(word("documents.clear"), on_click=_clear)
        return
    if not found:  # the last page was deleted
        st.session_state["documents-page"] = 1
        st.rerun()
    if view.user.may_edit:
        _selection(view, found)
    for info in found:
        _row(view, info)
    first = (page - 1) * PER_PAGE + 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(word("documents.shown", first=first, last=first + len(found) - 1, total=total))
        if total > PER_PAGE:
            st.pagination(math.ceil(total / PER_PAGE), key="documents-page", persist_state="session")


def _filters(view: View, states: Mapping[str, Mapping[str, int]]) -> tuple[str, str, str, str]:
    """What is searched for: words, a state, a type, and a condition on metadata."""
    word = view.word

    def counted(kind: str) -> Any:
        def show(name: str) -> str:
            if not name:
                return word("documents.any")
            shown = state_word(view, name) if kind == "state" else name
            return f"{shown} ({states[kind].get(name, 0)})"

        return show

    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            word("documents.search"),
            key="documents-search",
            persist_state="session",
            icon=":material/search:",
            width="stretch",
        )
        state = st.selectbox(
            word("documents.state"),
            _choices(states["state"], "documents-state"),
            format_func=counted("state"),
            key="documents-state",
            persist_state="session",
            width=170,
        )
        type_ = st.selectbox(
            word("documents.type"),
            _choices(states["type"], "documents-type"),
            format_func=counted("type"),
            key="documents-type",
            persist_state="session",
            width=170,
        )
        fields = {
            name: values
            for name, values in view.kb.catalog.field_values(view.kb.collection, 50).items()
            if name != "type"
        }
        if not fields:
            return text, state, type_, ""
        field = st.selectbox(
            word("documents.field"),
            _choices(fields, "documents-field"),
            format_func=lambda name: name or word("documents.any"),
            key="documents-field",
            persist_state="session",
            width=170,
        )
        if not field:
            return text, state, type_, ""
        value = st.selectbox(
            word("documents.value"), fields[field], key="documents-value", persist_state="session", width=170
        )
    return text, state, type_, conditions(field, str(value))


def _choices(there: Iterable[str], key: str) -> list[str]:
    """What can be chosen; what is chosen stays among it when the last document of that kind has gone."""
    return list(dict.fromkeys(("", *there, st.session_state.get(key) or "")))


def conditions(field: str, value: str) -> str:
    """The filter for a field's value, which the catalog gives as text whatever it is."""
    texts = [quoted(field, value)]
    if value.lower() in ("true", "false"):
        texts.append(quoted(field, value.lower() == "true"))
    with suppress(ValueError):
        texts.append(quoted(field, float(value) if "." in value else int(value)))
    return " or ".join(texts)


def _clear() -> None:
    for key in _FILTERS:
        st.session_state[key] = ""


def _row(view: View, info: DocumentInfo) -> None:
    word, title = view.word, shown_title(info)
    with st.container(horizontal=True, vertical_alignment="center", key=f"row-{info.doc_id}"):
        if view.user.may_edit:
            key = f"pick-{info.doc_id}"
            st.session_state.setdefault(key, info.doc_id in _picked(view))
            st.checkbox(
                word("documents.select", name=spoken(title)), key=key, on_change=_toggle, args=(view, info.doc_id, key),
                label_visibility="collapsed", width=24,
            )  # fmt: skip
        with st.container(gap=None, width="stretch"):
            st.button(
                plain(title[:160]),
                key=f"open-{info.doc_id}",
                type="tertiary",
                on_click=open_document,
                args=(info.doc_id,),
            )
            st.caption(plain(advice(view, info.code, info.message)) if info.code else " · ".join(_facts(view, info)))
        state = state_of(info)
        icon, colour = badge(state)
        st.badge(state_word(view, state), icon=icon, color=colour)  # type: ignore[arg-type]


def _facts(view: View, info: DocumentInfo) -> list[str]:
    """What a row says below the title."""
    name = name_of(info.source)
    facts = [plain(name)] if name != shown_title(info) else []
    facts += [plain(info.type)] if info.type else []
    facts += [counted(view, "n_pages", info.n_pages)] if info.n_pages else []
    facts += [counted(view, "n_chunks", info.n_chunks)] if info.version else []
    return [*facts, info.updated_at[:10]]


def open_document(doc_id: str) -> None:
    """Called by buttons: the next run of the page shows this document."""
    st.query_params["doc"] = doc_id


# ---------------------------------------------------------------- selecting and deleting


def _selection(view: View, found: Sequence[DocumentInfo]) -> None:
    word, picked = view.word, sorted(_picked(view))
    with st.container(horizontal=True, vertical_alignment="center"):
        here = [one.doc_id for one in found]
        st.button(word("documents.select_page"), type="tertiary", on_click=_pick, args=(view, here, True))
        if picked:
            st.button(word("documents.select_none"), type="tertiary", on_click=_pick, args=(view, picked, False))
            st.markdown(word("documents.selected", n=len(picked)))
            if st.button(word("documents.delete"), icon=":material/delete:", key="documents-delete"):
                confirm_delete(view, picked)


def _picked(view: View) -> set[str]:
    """The documents of this collection that are chosen, on all pages of the list."""
    found: set[str] = st.session_state.setdefault(f"documents-picked-{view.kb.collection}", set())
    return found


def _toggle(view: View, doc_id: str, key: str) -> None:
    _pick(view, [doc_id], st.session_state[key])


def _pick(view: View, doc_ids: Sequence[str], value: bool) -> None:
    for doc_id in doc_ids:
        (_picked(view).add if value else _picked(view).discard)(doc_id)
        st.session_state[f"pick-{doc_id}"] = value


def confirm_delete(view: View, doc_ids: Sequence[str]) -> None:
    """Ask, then delete. The dialog's own words are in the person's language."""
    word = view.word

    @st.dialog(word("documents.delete_title"), icon=":material/delete:")
    def ask() -> None:
        view.check()
        for doc_id in doc_ids[:NAMED]:
            for info in view.kb.documents(doc_id):
                st.markdown(f"- {plain(shown_title(info))}")
        if len(doc_ids) > NAMED:
            st.caption(word("documents.and_more", n=len(doc_ids) - NAMED))
        st.caption(word("documents.delete_one"))
        with st.container(horizontal=True):
            sure = st.button(counted(view, "delete_n", len(doc_ids)), type="primary", key="documents-delete-sure")
            if st.button(word("documents.keep")):
                st.rerun()
        if sure:
            try:
                job = accepting.delete(view.home.service, view.kb, doc_ids, key_id=view.user.name)
            except RagstoneError as error:
                st.error(told(view, error))
                return
            for doc_id in doc_ids:
                _picked(view).discard(doc_id)
            st.query_params.pop("doc", None)
            st.toast(word("documents.delete_queued") if job else counted(view, "deleted", len(doc_ids)))
            st.rerun()

    ask()
