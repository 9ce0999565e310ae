"""The documents page: what is in the collection, what is being imported, and one document in full."""

from __future__ import annotations

import streamlit as st

from ui.web.documents_add import add
from ui.web.documents_detail import detail
from ui.web.documents_duplicates import duplicates
from ui.web.documents_jobs import earlier, running
from ui.web.documents_list import listed
from ui.web.documents_names import counted
from ui.web.view import View

OPEN = "doc"  # of the address: which document is open


def show(view: View) -> None:
    if doc_id := st.query_params.get(OPEN, ""):
        detail(view, doc_id)
        return
    word = view.word
    st.title(word("documents.title"))
    states = view.kb.catalog.states(view.kb.collection)
    n, n_failed = sum(states["state"].values()), states["state"].get("failed", 0)
    if n:
        st.caption(word("documents.n_failed", n=n, failed=n_failed) if n_failed else counted(view, "n", n))
    else:
        st.info(word("documents.empty" if view.user.may_edit else "documents.empty_reader"), icon=":material/info:")
    if view.user.may_edit:
        add(view, opened=not n)
        running(view)
    elif n:
        st.caption(word("documents.reader"))
    if not n:
        return
    views = ("all", "duplicates")
    chosen = st.segmented_control(
        word("documents.title"), views, default="all", required=True, label_visibility="collapsed",
        format_func=lambda name: word(f"documents.view_{name}"), key="documents-view", persist_state="session",
    )  # fmt: skip
    if chosen == "duplicates":
        duplicates(view)
    else:
        listed(view, states)
    if view.user.may_edit:
        earlier(view)
