"""Test sets: those that are there, one's own table, questions that the chat model writes, and their review."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from eval import library
from eval.dataset import load_dataset
from eval.generate import KINDS
from eval.generate_commands import generate
from eval.review import read_review
from rag.errors import RagstoneError
from rag.principals import shown_name
from ui.web.failures import told, told_task
from ui.web.markup import plain
from ui.web.review import review
from ui.web.tasks import Task
from ui.web.threads import as_questions
from ui.web.uploads import uploader
from ui.web.view import View

KIND = "questions"
MAX_MB = 200  # of a table of questions
_REVIEW = "review"  # of the address: the set that is being reviewed
_REFRESH_S = 1.0


def sets(view: View, folder: Path) -> None:
    """The sets with what can be done with each."""
    word = view.word
    found = library.test_sets(folder)
    st.subheader(word("evaluation.sets"), anchor=False)
    if not found:
        st.info(word("evaluation.no_sets"), icon=":material/info:")
    for path in found:
        _set(view, path)
    if view.user.may_edit:
        _add(view, folder)
        _generating(view)


def reviewing(view: View, folder: Path) -> bool:
    """Show the review of a set, if one is open."""
    name = st.query_params.get(_REVIEW, "")
    path = next((path for path in library.test_sets(folder) if path.name == name), None)
    if path is None or not view.user.may_edit:
        return False
    st.button(view.word("evaluation.back"), icon=":material/arrow_back:", type="tertiary", on_click=_close)
    review(path, read_review(path), view.language, text_of=view.kb.text)
    return True


def set_name(view: View, path: Path) -> str:
    return view.word("evaluation.saved_set") if path.name == library.SAVED else path.stem


def _set(view: View, path: Path) -> None:
    word = view.word
    with st.container(horizontal=True, vertical_alignment="center", key=f"set-{path.stem}"):
        st.markdown(f"**{plain(set_name(view, path))}**")
        try:
            n = len(load_dataset(path).questions)
            st.caption(word("evaluation.n_questions", n=n), width="stretch")
        except RagstoneError as error:
            st.caption(f":orange[{told(view, error)}]", width="stretch")
        if not view.user.may_edit:
            return
        if _reviewable(path):
            st.button(
                word("evaluation.review"),
                key=f"review-{path.stem}",
                icon=":material/rate_review:",
                on_click=_open,
                args=(path.name,),
            )
        st.download_button(
            word("evaluation.download"), path.read_bytes(), file_name=path.name, mime="text/csv", key=f"download-{path.stem}",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        if st.button(word("evaluation.remove"), key=f"remove-{path.stem}", icon=":material/delete:"):
            _confirm(view, path)


def _confirm(view: View, path: Path) -> None:
    word = view.word

    @st.dialog(word("evaluation.remove_title"), icon=":material/delete:")
    def ask() -> None:
        view.check()
        st.markdown(word("evaluation.remove_text", name=plain(set_name(view, path))))
        if st.button(word("evaluation.remove_sure"), type="primary", key="set-remove-sure"):
            path.unlink(missing_ok=True)
            st.rerun()

    ask()


def _reviewable(path: Path) -> bool:
    try:
        return bool(read_review(path))
    except RagstoneError:
        return False


def _add(view: View, folder: Path) -> None:
    word = view.word
    with st.expander(word("evaluation.add"), icon=":material/add:", key="evaluation-add"):
        _rated(view, folder)
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown(f"**{word('evaluation.upload')}**")
            n = st.session_state.setdefault("evaluation-uploads", 0)
            file = uploader(
                view, word("evaluation.upload_help"), types=["csv", "tsv"], max_mb=MAX_MB, key=f"evaluation-upload-{n}"
            )
            if file is not None and st.button(word("evaluation.upload_button"), key="evaluation-upload-button"):
                _keep(view, folder, file.name, file.getvalue())
        with right:
            st.markdown(f"**{word('evaluation.generate')}**")
            if view.home.kb.settings.llm.model == "none":
                st.caption(word("evaluation.needs_chat"))
                return
            st.caption(word("evaluation.generate_help"))
            count = st.number_input(word("evaluation.how_many"), 1, 500, 20, key="evaluation-count")
            kinds = st.multiselect(
                word("evaluation.kinds"),
                KINDS,
                default=list(KINDS),
                format_func=lambda kind: word(f"evaluation.{kind}"),
                key="evaluation-kinds",
            )
            if st.button(word("evaluation.generate_button"), key="evaluation-generate", disabled=not kinds):
                _generate(view, folder, int(count), ",".join(kinds))


def _rated(view: View, folder: Path) -> None:
    """Answers that this person rated in chats of this collection, as a test set."""
    word, name = view.word, shown_name(view.kb.collection)
    rated = [turn for turn in view.home.threads.rated(view.user.name) if turn.collection == name]
    if not rated:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(word("evaluation.rated", n=len(rated)), width="stretch")
        if st.button(word("evaluation.rated_button"), key="evaluation-rated"):
            path = library.new_set(folder, "chats")
            path.write_text(as_questions(rated), encoding="utf-8")
            st.rerun()


def _keep(view: View, folder: Path, name: str, data: bytes) -> None:
    """Keep an uploaded table if it can be read as one."""
    path = library.new_set(folder, Path(name).stem)
    path.write_bytes(data)
    try:
        n = len(load_dataset(path).questions)
    except RagstoneError as error:
        path.unlink()
        st.error(told(view, error))
        return
    st.toast(view.word("evaluation.n_questions", n=n))
    st.session_state["evaluation-uploads"] += 1
    st.rerun()


def _generate(view: View, folder: Path, n: int, kinds: str) -> None:
    path, kb = library.new_set(folder, "generated"), view.kb

    def work(task: Task) -> int:
        tree, _ = generate(kb, out=path, n=n, kinds=kinds, progress=lambda _what, done, total: task.emit((done, total)))
        return int(tree["n"])

    view.home.tasks.start(view.user.name, KIND, path.stem, work)
    st.rerun()


def _generating(view: View) -> None:
    task = next(iter(view.home.tasks.list(view.user.name, KIND)), None)
    if task is not None:
        view.part(_generated, view, task, task.running, run_every=_REFRESH_S if task.running else None)


def _generated(view: View, task: Task, was_running: bool) -> None:
    word = view.word
    if task.running:
        done, total = next(reversed(task.since(0)), (0, 0))
        st.progress(done / total if total else 0.0, text=word("evaluation.writing", done=done, total=total or "…"))
        return
    if was_running:
        st.rerun()
    if task.state == "failed":
        st.error(told_task(view, task))
    elif task.state == "done":
        st.caption(word("evaluation.written", n=task.result, name=plain(task.title)))


def _open(name: str) -> None:
    st.query_params[_REVIEW] = name


def _close() -> None:
    st.query_params.pop(_REVIEW, None)
