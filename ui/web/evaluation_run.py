"""Running an evaluation: systems and a test set are chosen, the work goes on in the background and can be stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import streamlit as st

from eval import answer_commands, commands, library
from eval.dataset import load_dataset
from eval.systems import parse_systems
from rag.errors import RagstoneError, UsageError
from rag.knowledge_base import KnowledgeBase
from rag.settings import walk
from ui.api.accepting import allowed_folder
from ui.web.documents_add import anywhere, may_name_paths
from ui.web.evaluation_sets import set_name
from ui.web.failures import told, told_task
from ui.web.lab_search import strategies
from ui.web.markup import plain
from ui.web.tasks import Task
from ui.web.view import View

KIND = "evaluation"
WHAT = ("results", "answers")  # what is measured, and the part of the page that shows it
_CHOSEN = {"results": "evaluation-result", "answers": "evaluation-answered"}  # keys: which result is looked at
_REFRESH_S = 0.5


class Stopped(RagstoneError):
    """Somebody stopped the evaluation."""


def run(view: View, folder: Path) -> None:
    """The form, and how far the last run is."""
    word = view.word
    st.subheader(word("evaluation.run"), anchor=False)
    task = next((one for one in view.home.tasks.list(view.user.name, KIND) if one.title == view.kb.collection), None)
    if view.user.may_edit:
        _form(view, folder, busy=bool(task and task.running))
    else:
        st.caption(word("evaluation.reader"))
    if task is not None:
        view.part(_progress, view, task, task.running, run_every=_REFRESH_S if task.running else None)


def _form(view: View, folder: Path, *, busy: bool) -> None:
    word = view.word
    found = {path.name: path for path in library.test_sets(folder)}
    choices = [*found, *([""] if may_name_paths(view) else [])]
    if not choices:
        return
    chosen = st.selectbox(
        word("evaluation.set"), choices, key=f"evaluation-set-{hash(tuple(choices))}",
        format_func=lambda name: set_name(view, found[name]) if name else word("evaluation.folder"),
    )  # fmt: skip
    what = st.segmented_control(
        word("evaluation.what"), WHAT, default=WHAT[0], required=True, key="evaluation-what", persist_state="session",
        format_func=lambda one: word(f"evaluation.what_{one}"), label_visibility="collapsed",
    )  # fmt: skip
    st.caption(word(f"evaluation.what_{what}_help"))
    with st.form("evaluation-form", border=False):
        path = (
            ""
            if chosen
            else st.text_input(
                word("evaluation.path"),
                help=word("evaluation.path_help"),
                key="evaluation-path",
                persist_state="session",
            )
        )
        names = strategies(view.kb, chat=view.home.kb.settings.llm.model != "none")
        systems = st.multiselect(
            word("evaluation.systems"), names, default=["bm25", "dense", "hybrid"] if what == "results" else ["hybrid"],
            accept_new_options=True, help=word("lab.strategies_help"), key=f"evaluation-systems-{what}", persist_state="session", placeholder=word("lab.choose"),
        )  # fmt: skip
        limit = st.number_input(
            word("evaluation.limit"),
            0,
            100_000,
            0,
            help=word("evaluation.limit_help"),
            key="evaluation-limit",
            persist_state="session",
        )
        sent = st.form_submit_button(
            word("evaluation.start"), type="primary", icon=":material/play_arrow:", disabled=busy
        )
    if not sent:
        return
    try:
        allowed = view.home.kb.settings.ui.import_folders
        data = found[chosen] if chosen else Path(allowed_folder(path, allowed, anywhere=anywhere(view)))
        parse_systems(systems)
        if not systems:
            raise UsageError(word("evaluation.no_systems"))
    except RagstoneError as error:
        st.error(told(view, error))
        return
    start(view, folder, data, systems, limit=int(limit) or None, what=what or WHAT[0])
    st.rerun()


def start(
    view: View, folder: Path, data: Path, systems: Sequence[str], *, limit: int | None, what: str = WHAT[0]
) -> Task:
    """Evaluate searches (what: results) or answers in the background; the task's result is the name of the stored result."""
    kb = view.kb

    def open_kb(collection: str | None, changes: Mapping[str, str]) -> AbstractContextManager[KnowledgeBase]:
        return nullcontext(searched(kb, collection, changes))

    def work(task: Task) -> str:
        def progress(what: str, done: int, total: int) -> None:
            if task.stop.is_set():
                raise Stopped("The evaluation was stopped.")
            task.emit((what, done, total))

        dataset = load_dataset(data, limit=limit)
        result = library.new_result(folder, dataset.name, what)
        shown = {key: str(value) for key, value in walk(kb.settings)}
        evaluate = commands.run if what == "results" else answer_commands.answers
        try:
            evaluate(
                data, systems=systems, limit=limit, out_dir=result, open_kb=open_kb, settings=shown, progress=progress
            )
        except Stopped:
            shutil.rmtree(result, ignore_errors=True)
            return ""
        except BaseException:
            shutil.rmtree(result, ignore_errors=True)
            raise
        if what == "results":
            library.finish(result, dataset.questions, commands.collection_name(dataset) or "")
        return result.name

    return view.home.tasks.start(view.user.name, KIND, kb.collection, work, about=what)


def searched(kb: KnowledgeBase, collection: str | None, changes: Mapping[str, str]) -> KnowledgeBase:
    """The collection that a system searches, under its settings. Raises: UsageError for another embedding model."""
    if model := next((key for key in changes if key.startswith("embedding.")), ""):
        raise UsageError(
            f"{model} needs another model opened, which this page does not do. Use `ragstone eval run` for it."
        )
    settings = kb.settings.with_values(**{key.replace(".", "__"): value for key, value in changes.items()})
    return kb.view(collection=collection or None, principal=kb.principal, settings=settings)


def _progress(view: View, task: Task, was_running: bool) -> None:
    word = view.word
    if task.running:
        what, done, total = next(reversed(task.since(0)), ("", 0, 0))
        with st.container(border=True):
            text = (
                word("evaluation.indexing")
                if what == "ingest"
                else word("evaluation.asking", system=plain(what), done=done, total=total)
            )
            st.progress(done / total if total else 0.0, text=text if total else word("evaluation.starting"))
            st.caption(word("evaluation.goes_on"))
            st.button(
                word("evaluation.stop"), key="evaluation-stop", on_click=task.stop.set, disabled=task.stop.is_set()
            )
        return
    if was_running:
        st.session_state[_CHOSEN[task.about]] = task.result
        st.rerun()
    if task.state == "failed":
        st.error(told_task(view, task))
    elif task.state == "stopped":
        st.info(word("evaluation.stopped"))
    else:
        st.success(word("evaluation.done"), icon=":material/check:")
        if st.button(
            word("evaluation.see"), key="evaluation-see", on_click=_see, args=(task.about, task.result), type="primary"
        ):
            st.rerun()  # all of the page, not this part alone


def _see(what: str, result: Any) -> None:
    st.session_state["evaluation-part"], st.session_state[_CHOSEN[what]] = what, result
