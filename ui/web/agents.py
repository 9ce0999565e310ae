"""The agents page: give a task, watch the steps, approve or refuse what acts, read the cited answer, look at earlier runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from agents.agent import KINDS
from agents.journal import Journal
from agents.otlp import spans
from agents.traces import as_test, replayed
from agents.types import AgentResult, AgentStep, Approval
from rag.types import Citation
from ui.web.agents_runs import KIND, Run, answer_approval, folder_of, start, steps_of, tools_for_user
from ui.web.markup import plain, safe
from ui.web.tasks import Task
from ui.web.view import View

POLL_S = 0.7
SHOWN = 1200  # characters of an observation
KNOWN_TOOLS = ("search", "read_document", "calculator", "graph")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


def show(view: View) -> None:
    word = view.word
    st.title(word("agents.title"))
    if view.home.kb.settings.llm.model == "none":
        st.info(word("agents.no_model"), icon=":material/info:")
        return
    st.caption(word("agents.intro"))
    part = st.segmented_control(
        word("agents.part"), ["run", "earlier"], default="run", key="agents-part", required=True,
        format_func=lambda one: word(f"agents.{one}"), label_visibility="collapsed",
    )  # fmt: skip
    if part == "earlier":
        _earlier(view)
        return
    task = next(iter(view.home.tasks.list(view.user.name, KIND)), None)
    _form(view, busy=task is not None and task.running)
    if task is not None and task.task_id != st.session_state.get("agents-closed"):
        _run(view, task)


# ---------------------------------------------------------------- the task


def _form(view: View, *, busy: bool) -> None:
    word = view.word
    with st.form("agents-form", border=False):
        text = st.text_area(
            word("agents.task"), placeholder=word("agents.task_example"), key="agents-task", persist_state="session", height=100,
        )  # fmt: skip
        with st.expander(word("agents.how"), icon=":material/tune:"):
            kind = st.selectbox(
                word("agents.kind"), KINDS, format_func=lambda one: word(f"agents.kind_{one}"), key="agents-kind",
                persist_state="session",
            )  # fmt: skip
            offered = tools_for_user(view)
            tools = st.multiselect(
                word("agents.tools"), offered, default=[one for one in view.kb.settings.agent.tools if one in offered], format_func=lambda one: word(f"agents.tool_{one}"), key="agents-tools",
                persist_state="session", help=word("agents.tools_help"), placeholder=word("agents.tools_none"),
            )  # fmt: skip
            left, right = st.columns(2)
            steps = left.number_input(word("agents.max_steps"), 2, 50, 12, key="agents-steps", persist_state="session")
            seconds = right.number_input(word("agents.max_seconds"), 10, 3600, 600, key="agents-seconds", persist_state="session")  # fmt: skip
        sent = st.form_submit_button(word("agents.start"), type="primary", icon=":material/play_arrow:", disabled=busy)
    if sent and text.strip():
        run = Run(task=text.strip(), kind=kind, tools=tuple(tools), max_steps=int(steps), max_seconds=float(seconds))
        start(view, run)
        st.session_state.pop("agents-closed", None)
        st.rerun()


# ---------------------------------------------------------------- a run


def _run(view: View, task: Task) -> None:
    st.divider()
    with st.container(key="agents-run"):
        st.markdown(f"**{plain(task.title)}**")
        if task.running:
            st.fragment(_live, run_every=POLL_S)(view, task)
            return
        _steps(view, steps_of(task.since(0)))
        if task.state == "failed":
            st.error(view.word("common.bug") if task.error == "E_BUG" else plain(task.error))
            return
        run, result = task.result
        if result.approval is not None:
            _approval(view, run, result, result.approval)
        else:
            _result(view, result)


def _live(view: View, task: Task) -> None:
    """The steps so far. The page is drawn anew when the run ends."""
    if not task.running:
        st.rerun()
    events = task.since(0)
    _steps(view, steps_of(events))
    last = events[-1] if events else None
    doing = plain(last.text[:200]) if last is not None and last.kind in ("call", "note") else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/progress_activity: {view.word('agents.stopping' if task.stop.is_set() else 'agents.working')} :gray[{doing}]", width="stretch")  # fmt: skip
        st.button(view.word("agents.stop"), key="agents-stop", icon=":material/stop:", on_click=task.stop.set, disabled=task.stop.is_set())  # fmt: skip
    st.caption(view.word("agents.goes_on"))


def _steps(view: View, steps: Sequence[AgentStep]) -> None:
    word = view.word
    for step in steps:
        tool = word(f"agents.tool_{step.tool}") if step.tool in KNOWN_TOOLS else step.tool or word("agents.no_call")
        mark = ":material/check:" if step.ok else ":material/error:"
        who = f"{step.agent} · " if step.agent else ""
        shown = ", ".join(f"{key}: {value}" for key, value in step.args.items())
        with st.expander(f"{step.n} · {plain(who + tool)} {plain(_short(shown))}", icon=mark):
            if step.thought:
                st.markdown(f"*{plain(' '.join(step.thought.split()))}*")
            st.code(json.dumps(dict(step.args), ensure_ascii=False, indent=2, default=str), language="json")
            st.markdown(plain(step.observation[:SHOWN]))
            st.caption(f"{step.ms:.0f} ms" + (f" · {plain(step.code)}" if step.code else ""))


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 90 else f"{one_line[:88]}…"


def _approval(view: View, run: Run, result: AgentResult, approval: Approval) -> None:
    """What would be called, with exactly these arguments; nothing else can be approved."""
    word = view.word
    with st.container(border=True, key="agents-approval"):
        st.markdown(f":material/front_hand: **{word('agents.approval', tool=plain(approval.tool))}**")
        st.caption(plain(approval.reason))
        st.code(json.dumps(dict(approval.args), ensure_ascii=False, indent=2, default=str), language="json")
        with st.container(horizontal=True):
            st.button(
                word("agents.approve"), key="agents-yes", type="primary", icon=":material/check:", on_click=answer_approval,
                args=(view, run, result.thread, True),
            )  # fmt: skip
            st.button(
                word("agents.refuse"), key="agents-no", icon=":material/close:", on_click=answer_approval,
                args=(view, run, result.thread, False),
            )  # fmt: skip


def _result(view: View, result: AgentResult) -> None:
    word = view.word
    if result.answer:
        with st.container(border=True, key="agents-answer"):
            st.markdown(safe(result.answer))
    if result.reason:
        st.warning(plain(result.reason))
    for sentence in result.unsupported:
        st.warning(word("agents.unsupported", text=plain(sentence)))
    _citations(result.citations)
    _artifacts(view, result.artifacts)
    used = result.usage
    st.caption(word("agents.used", seconds=used.seconds, tokens=used.n_prompt_tokens + used.n_answer_tokens, steps=len(result.steps)))  # fmt: skip


def _citations(citations: Sequence[Citation]) -> None:
    for one in citations:
        place = f" · {one.page}" if one.page else ""
        with st.expander(f"[{plain(str(one.marker))}] {plain(one.title or one.source.rpartition('/')[2])}{place}", icon=":material/description:"):  # fmt: skip
            st.markdown(plain(one.quote))


def _artifacts(view: View, paths: Sequence[str]) -> None:
    """Files that tools made, as pictures or to be saved."""
    allowed = (folder_of(view) / "artifacts").resolve()
    for at, name in enumerate(paths):
        path = Path(name).resolve()
        if not path.is_file() or not path.is_relative_to(allowed):
            continue
        if path.suffix.lower() in PICTURES:
            st.image(path.read_bytes())
        st.download_button(plain(path.name), path.read_bytes(), path.name, key=f"artifact-{at}-{path.name}", icon=":material/download:")  # fmt: skip


# ---------------------------------------------------------------- earlier runs


def _earlier(view: View) -> None:
    word = view.word
    path = folder_of(view) / "agents.sqlite3"
    if not path.exists():
        st.info(word("agents.none_yet"), icon=":material/history:")
        return
    journal = Journal(path)
    try:
        rows = journal.runs(50)
    finally:
        journal.close()
    if not rows:
        st.info(word("agents.none_yet"), icon=":material/history:")
        return
    by_id = {row["run_id"]: row for row in rows}
    chosen = st.selectbox(
        word("agents.earlier"), list(by_id), key="agents-earlier-run", label_visibility="collapsed",
        format_func=lambda one: f"{by_id[one]['task'][:90]} · {by_id[one].get('stopped', '')}",
    )  # fmt: skip
    record = by_id[chosen]
    st.markdown(f"**{plain(record['task'])}**")
    _steps(view, [event.step for event in replayed(record) if event.step is not None])
    if record.get("answer"):
        with st.container(border=True):
            st.markdown(safe(record["answer"]))
    with st.container(horizontal=True):
        st.download_button(
            word("agents.as_test"), as_test(record), f"test_agent_{chosen[:8]}.py", key="agents-as-test", icon=":material/science:"
        )  # fmt: skip
        st.download_button(
            word("agents.as_spans"), json.dumps(spans(record), ensure_ascii=False, indent=1), f"run-{chosen[:8]}.otlp.json",
            key="agents-as-spans", icon=":material/timeline:",
        )  # fmt: skip
