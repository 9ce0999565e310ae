"""The report on duplicates: copies, and documents that say almost the same."""

from __future__ import annotations

import streamlit as st

from rag.duplicates import DuplicateGroup
from rag.types import DocumentInfo
from ui.web.documents_list import confirm_delete, open_document
from ui.web.documents_names import name_of, shown_title
from ui.web.failures import told_task
from ui.web.markup import plain
from ui.web.tasks import Task
from ui.web.view import View

GROUPS = 50  # shown
KIND = "duplicates"


def duplicates(view: View) -> None:
    word = view.word
    st.caption(word("documents.dup_intro"))
    _copies(view)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        threshold = st.slider(
            word("documents.dup_threshold"), 50, 100, 90, 5, format="%d %%", key="documents-alike", width=320
        )
        task = next(
            (one for one in view.home.tasks.list(view.user.name, KIND) if one.title == view.kb.collection), None
        )
        if st.button(word("documents.dup_look"), type="primary", disabled=bool(task and task.running)):
            kb = view.kb
            task = view.home.tasks.start(
                view.user.name, KIND, kb.collection, lambda _task: kb.near_duplicates(threshold / 100)
            )
    if task is not None:
        view.part(_report, view, task, task.running, run_every=0.5 if task.running else None)


def _copies(view: View) -> None:
    word = view.word
    found, total = view.kb.find_documents(state="duplicate", limit=GROUPS)
    if not total:
        st.caption(word("documents.no_copies"))
        return
    with st.expander(word("documents.copies", n=total), icon=":material/content_copy:"):
        for info in found:
            (other,) = view.kb.documents(info.copy_of) or (info,)
            st.markdown(
                f"{plain(name_of(info.source))} — {word('documents.copy_of', other=plain(name_of(other.source)))}"
            )


def _report(view: View, task: Task, was_running: bool) -> None:
    word = view.word
    if task.running:
        n, _ = view.kb.catalog.counts(view.kb.collection)
        st.status(word("documents.dup_running", n=n), state="running")
        return
    if was_running:
        st.rerun()
    if task.state == "failed":
        st.error(told_task(view, task))
        return
    groups: list[DuplicateGroup] = task.result or []
    if not groups:
        st.success(word("documents.dup_none"))
        return
    st.subheader(word("documents.dup_groups", n=len(groups)))
    for number, group in enumerate(groups[:GROUPS]):
        with st.container(border=True):
            best = max(pair.similarity for pair in group.pairs)
            st.caption(word("documents.dup_alike", share=f"{best:.0%}"))
            for info in group.documents:
                _document(view, info, number)


def _document(view: View, info: DocumentInfo, number: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            plain(shown_title(info)),
            key=f"dup-{number}-{info.doc_id}",
            type="tertiary",
            on_click=open_document,
            args=(info.doc_id,),
        ):
            st.rerun()  # all of the page, not this part alone
        st.caption(plain(name_of(info.source)), width="stretch")
        if view.user.may_edit and st.button(
            view.word("documents.delete"), key=f"dup-del-{number}-{info.doc_id}", icon=":material/delete:"
        ):
            confirm_delete(view, [info.doc_id])
