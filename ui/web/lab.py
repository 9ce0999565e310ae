"""The retrieval lab: one query, several strategies side by side, every step of each, and why a passage is not found."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from eval import library
from eval.review import add_question
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.types import Hit
from ui.web.documents_names import name_of
from ui.web.failures import told, told_kept
from ui.web.lab_search import MOST, Outcome, passages, side_by_side, strategies
from ui.web.lab_steps import steps
from ui.web.lab_why import snippet, why
from ui.web.markup import excerpt, plain, spoken
from ui.web.view import View

SHOWN = 240  # characters of a passage in the comparison


def show(view: View) -> None:
    word = view.word
    st.title(word("lab.title"))
    n, _ = view.kb.catalog.counts(view.kb.collection)
    if not n:
        st.info(word("lab.empty"), icon=":material/info:")
        return
    st.caption(word("lab.intro"))
    _ask(view)
    asked = st.session_state.get("lab-result")
    if asked is None or asked[0] != view.kb.collection:
        return
    _, query, outcomes = asked
    _compared(view, outcomes)
    with st.expander(word("lab.steps"), icon=":material/timeline:", key="lab-steps"):
        _all_steps(view, outcomes)
    why(view, query, outcomes)
    if view.user.may_edit:
        _save(view, query, outcomes)


def _ask(view: View) -> None:
    """The form. A search that was asked for stays on the page until the next one."""
    word = view.word
    names = strategies(view.kb, chat=view.home.kb.settings.llm.model != "none")
    with st.form("lab-form", border=False):
        query = st.text_input(
            word("lab.query"), key="lab-query", persist_state="session", placeholder=word("lab.query_example")
        )
        chosen = st.multiselect(
            word("lab.strategies"), names, default=["dense", "bm25", "hybrid"], max_selections=MOST, accept_new_options=True,
            help=word("lab.strategies_help"), key="lab-strategies", persist_state="session",
        )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="bottom"):
            top_k = st.number_input(word("lab.top_k"), 1, 50, 5, key="lab-top-k", persist_state="session", width=140)
            condition = st.text_input(
                word("lab.filter"),
                help=word("lab.filter_help"),
                key="lab-filter",
                persist_state="session",
                width="stretch",
            )
            sent = st.form_submit_button(word("lab.search"), type="primary", icon=":material/search:")
    if sent and query.strip() and chosen:
        with st.spinner(word("lab.searching")):
            found = side_by_side(view.kb, query, chosen, top_k=int(top_k), condition=condition)
        st.session_state["lab-result"] = (view.kb.collection, query, found)
        st.session_state["lab-asked"] = (int(top_k), condition)


def _compared(view: View, outcomes: Sequence[Outcome]) -> None:
    """A column for each strategy; each passage with where it stands in the others."""
    word = view.word
    for column, outcome in zip(st.columns(len(outcomes), gap="medium"), outcomes, strict=True):
        with column:
            st.subheader(plain(outcome.name), anchor=False)
            if outcome.error:
                st.error(told_kept(view, outcome.error))
                continue
            st.caption(word("lab.took", ms=f"{outcome.ms:.0f}", n=len(outcome.hits)))
            for warning in outcome.hits.warnings:
                st.caption(f":orange[{plain(warning)}]")
            for hit in outcome.hits:
                _hit(view, hit, outcome, outcomes)


def _hit(view: View, hit: Hit, outcome: Outcome, outcomes: Sequence[Outcome]) -> None:
    word = view.word
    with st.container(border=True):
        page = f" · {word('documents.chunk_page', n=hit.page)}" if hit.page else ""
        st.markdown(f"**{hit.rank}** {plain(hit.title or name_of(hit.source))}{plain(page)}")
        st.caption(plain(excerpt(hit.text, SHOWN)))
        others = [
            f"{plain(one.name)} {_place(one.rank(hit.chunk_id))}"
            for one in outcomes
            if one is not outcome and not one.error
        ]
        st.markdown(" ".join([f"`{hit.score:.3f}`", *others]))


def _place(rank: int | None) -> str:
    return f":green-badge[{rank}]" if rank else ":gray-badge[–]"


def _all_steps(view: View, outcomes: Sequence[Outcome]) -> None:
    there = [one for one in outcomes if not one.error]
    if not there:
        return
    titles = titles_of(view.kb, there)
    for tab, outcome in zip(st.tabs([one.name for one in there]), there, strict=True):
        with tab:
            steps(view, outcome.hits.trace, titles, outcome.name)


def titles_of(kb: KnowledgeBase, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The titles of all documents that a step of a search looked at."""
    chunk_ids = [
        one["chunk_id"]
        for outcome in outcomes
        for step in outcome.hits.trace
        for one in step.detail.get("candidates", ())
    ]
    doc_ids = sorted({chunk_id.rpartition("#")[0] for chunk_id in chunk_ids})
    found, _ = kb.catalog.find_documents(
        kb.collection, text="", state="", type="", limit=None, offset=0, doc_ids=doc_ids
    )
    return {info.doc_id: info.title or name_of(info.source) for info in found}


def _save(view: View, query: str, outcomes: Sequence[Outcome]) -> None:
    word = view.word
    st.subheader(word("lab.save"), anchor=False)
    st.caption(word("lab.save_intro"))
    by_id = {hit.chunk_id: hit for hit, _ in passages(outcomes)}
    st.markdown(word("lab.right"))
    right = [
        one
        for one in by_id
        if st.checkbox(spoken(snippet(by_id[one])), key=f"lab-right-{query}-{one}", persist_state="session")
    ]
    answer = st.text_input(word("lab.answer"), key=f"lab-answer-{query}", persist_state="session")
    if st.button(word("lab.save_button"), key="lab-save"):
        path = library.saved_questions(library.folder_of(view.home.kb.home, view.kb.collection))
        try:
            add_question(path, query, answer, [(by_id[one].source, one) for one in right])
        except RagstoneError as error:
            st.error(told(view, error))
            return
        st.success(word("lab.saved"))
