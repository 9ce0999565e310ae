"""The evaluation page: test sets, runs with progress, results with intervals, two runs compared, and how figures changed."""

from __future__ import annotations

import streamlit as st

from eval import library
from ui.web.evaluation_answers import answers
from ui.web.evaluation_compare import compared
from ui.web.evaluation_history import history
from ui.web.evaluation_results import results
from ui.web.evaluation_run import run
from ui.web.evaluation_sets import reviewing, sets
from ui.web.view import View


def show(view: View) -> None:
    word = view.word
    folder = library.folder_of(view.home.kb.home, view.kb.collection)
    if reviewing(view, folder):
        return
    st.title(word("evaluation.title"))
    st.caption(word("evaluation.intro"))
    found = library.results(folder)
    answered = library.answer_results(folder)
    parts = ("run", "results", "answers", "compare", "history")
    st.session_state.setdefault("evaluation-part", "run")  # other parts set it, too: a default beside it is warned of
    chosen = st.segmented_control(
        word("evaluation.title"), parts, required=True, label_visibility="collapsed",
        format_func=lambda name: word(f"evaluation.part_{name}"), key="evaluation-part", persist_state="session",
    )  # fmt: skip
    if chosen == "run":
        sets(view, folder)
        run(view, folder)
    elif chosen == "answers":
        if answered:
            answers(view, answered)
        else:
            st.info(word("evaluation.no_answers"), icon=":material/info:")
    elif not found:
        st.info(word("evaluation.no_results"), icon=":material/info:")
    elif chosen == "results":
        results(view, found)
    elif chosen == "compare":
        compared(view, found)
    else:
        history(view, folder)
