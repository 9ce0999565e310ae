"""The agents page: give a task, watch the steps, approve or refuse what acts, read the cited answer, look at earlier runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from agents.agent import KINDS
from agents.otlp import spans
from agents.traces import as_test
from agents.types import WAITING, AgentResult, AgentStep, Approval
from rag.types import Citation
from ui.web.agents_runs import (
    KIND,
    Run,
    at_work,
    folder_of,
    go_on,
    records,
    result_of,
    run_of,
    standing,
    start,
    steps_of,
    tools_for_user,
)  # fmt: skip
from ui.web.failures import told_task
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
    if task is not None:
        _run(view, task)
    elif (last := next(iter(records(view, 1)), None)) and last["stopped"] in WAITING:  # from before a restart
        st.divider()
        _kept(view, last)


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
        st.rerun()


# ---------------------------------------------------------------- a run


def _run(view: View, task: Task) -> None:
    st.divider()
    with st.container(key="agents-run"):
        st.markdown(f"**{plain(task.title)}**")
        if task.running:
            view.part(_live, view, task, run_every=POLL_S)
            return
        events = steps_of(task.since(0))
        if task.state == "failed":
            _steps(view, events)
            st.error(told_task(view, task))
            return
        run, result = task.result
        _steps(view, result.steps or events)  # a run that was gone on with began before its task
        _outcome(view, run, result)


def _outcome(view: View, run: Run, result: AgentResult) -> None:
    """What came of a run, or what it waits for."""
    if result.approval is not None:
        _approval(view, run, result.approval)
    elif result.stopped in WAITING:
        _broken_off(view, run)
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
            st.code(
                json.dumps(dict(step.args), ensure_ascii=False, indent=2, default=str), language="json", wrap_lines=True
            )
            st.markdown(plain(step.observation[:SHOWN]))
            st.caption(f"{step.ms:.0f} ms" + (f" · {plain(step.code)}" if step.code else ""))


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 90 else f"{one_line[:88]}…"


def _approval(view: View, run: Run, approval: Approval) -> None:
    """What would be called, with exactly these arguments; nothing else can be approved."""
    word = view.word
    with st.container(border=True, key="agents-approval"):
        st.markdown(f":material/front_hand: **{word('agents.approval', tool=plain(approval.tool))}**")
        why = f"{approval.reason[:1].upper()}{approval.reason[1:]}."
        st.caption(plain(why) if view.language == "en" else word("agents.approval_why"))
        st.code(
            json.dumps(dict(approval.args), ensure_ascii=False, indent=2, default=str), language="json", wrap_lines=True
        )
        with st.container(horizontal=True):
            st.button(
                word("agents.approve"), key="agents-yes", type="primary", icon=":material/check:", on_click=view.still(go_on),
                args=(view, run, approval, True),
            )  # fmt: skip
            st.button(
                word("agents.refuse"), key="agents-no", icon=":material/close:", on_click=view.still(go_on),
                args=(view, run, approval, False),
            )  # fmt: skip


def _broken_off(view: View, run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="agents-broken-off"):
        st.markdown(f":material/pause_circle: {view.word('agents.broken_off')}", width="stretch")
        st.button(
            view.word("agents.go_on"), key="agents-go-on", type="primary", icon=":material/play_arrow:", on_click=view.still(go_on),
            args=(view, run),
        )  # fmt: skip


def _result(view: View, result: AgentResult) -> None:
    word = view.word
    if result.answer:
        with st.container(border=True, key="agents-answer"):
            st.markdown(safe(result.answer))
    if result.stopped not in ("answered", "abstained", "error"):
        st.warning(word(f"agents.ended_{result.stopped}"))
    elif result.reason:
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
    word, rows = view.word, records(view)
    if not rows:
        st.info(word("agents.none_yet"), icon=":material/history:")
        return
    by_id = {row["run_id"]: row for row in rows}
    chosen = st.selectbox(
        word("agents.earlier"), list(by_id), key="agents-earlier-run", label_visibility="collapsed",
        format_func=lambda one: _line(view, by_id[one]),
    )  # fmt: skip
    record = by_id[chosen]
    task = at_work(view, record["thread"])
    if task is not None and task.running:
        _run(view, task)
        return
    _kept(view, record)
    with st.container(horizontal=True):
        st.download_button(
            word("agents.as_test"), as_test(record), f"test_agent_{chosen[:8]}.py", key="agents-as-test", icon=":material/science:"
        )  # fmt: skip
        st.download_button(
            word("agents.as_spans"), json.dumps(spans(record), ensure_ascii=False, indent=1), f"run-{chosen[:8]}.otlp.json",
            key="agents-as-spans", icon=":material/timeline:",
        )  # fmt: skip


def _line(view: View, record: Mapping[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["started"]))
    return f"{when} · {record['task'][:90]} · {view.word('agents.state_' + record['stopped'])}"


def _kept(view: View, record: Mapping[str, Any]) -> None:
    """A run as it is kept; one that waits or was cut short is gone on with from its checkpoint."""
    with st.container(key="agents-kept"):
        st.markdown(f"**{plain(record['task'])}**")
        run = run_of(record)
        found = standing(view, run) if record["stopped"] in WAITING else None
        if found is not None:
            _steps(view, found.steps)
            _outcome(view, run, found)
            return
        done = result_of(record)
        _steps(view, done.steps)
        if done.stopped in WAITING:  # it was killed before its first checkpoint
            st.caption(view.word("agents.lost"))
        else:
            _result(view, done)
