"""The chat page: ask, watch the answer come, open its sources beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from rag.errors import RagstoneError
from rag.threads import Thread, Turn
from rag.types import Answer, Citation, Event, Step, Usage
from ui.web import chat_answer, chips, conflicts, failures, source, threads
from ui.web.chat_questions import examples
from ui.web.markup import answer_parts, plain, safe
from ui.web.tasks import Task
from ui.web.uploads import uploader
from ui.web.view import View
from ui.web.words.chat import WORDS

MODES = ("hybrid", "bm25", "dense", "auto", "graph")
NEW_MODEL = "model-new"  # key of the choice before a chat has begun
REDRAW_S = 0.05  # between two drawings of an answer that is coming
LOOK_S = 2.0  # how often the rights of whoever watches an answer are looked at
PROPOSING_S = 1.0  # how often it is looked whether follow-ups are there
TICK_S = 0.5  # how often the seconds move while nothing comes; Streamlit reacts to clicks then, too


@dataclass(slots=True)
class _Live:
    """An answer that is being drawn as it comes."""

    task: Task
    place: Any  # of the text
    status: Any
    n: int = 0  # events seen
    text: str = ""
    phase: str = "searching"
    told: str = ""  # what the status says


def show(view: View) -> None:
    thread = threads.chosen(view)
    threads.sidebar(view, thread)
    mode = _mode(view)
    _model(view, thread)
    turns = view.home.threads.turns(thread.thread_id) if thread else []
    st.chat_input(
        view.word("chat.placeholder"), accept_file="multiple", key="question",
        on_submit=view.still(_typed), args=(view, thread, mode),
    )  # fmt: skip
    _notes(view)
    if thread is None:
        _welcome(view, mode)
        return
    with st.container(horizontal=True, vertical_alignment="center", key="thread-head"):
        st.markdown(f"**{plain(thread.title)}**", width="stretch")
        threads.menu(view, thread, turns)
    _files(view, thread)
    if not turns:
        st.info(view.word("chat.attached_now"))
    _conversation(view, thread, turns, mode)


def _mode(view: View) -> str:
    known = [name for name in MODES if name != "graph" or view.kb.has_graph]
    wanted = view.kb.settings.search.mode
    modes = known if wanted in known else [wanted, *known]
    with st.sidebar:
        return str(
            st.selectbox(
                view.word("chat.mode"), modes, index=modes.index(wanted), key="mode", persist_state="session",
                format_func=lambda name: view.word(f"chat.mode_{name}") if name in MODES else name,
            )
        )  # fmt: skip


def _model(view: View, thread: Thread | None) -> None:
    """Which of the endpoint's models answers in this chat, where the settings offer several; kept with the chat."""
    others, threads = chat_answer.offered(view), view.home.threads
    if not others:
        return
    key = f"model-{thread.thread_id}" if thread else NEW_MODEL
    models = ["", *others]
    chosen = threads.model(thread.thread_id) if thread else ""
    name = view.home.kb.settings.llm.model
    with st.sidebar:
        st.selectbox(
            view.word("chat.model"), models, index=models.index(chosen) if chosen in models else 0, key=key,
            format_func=lambda one: one or (view.word("chat.model_default") if name == "auto" else name),
            on_change=view.still(_choose_model), args=(view, thread, key),
        )  # fmt: skip


def _choose_model(view: View, thread: Thread | None, key: str) -> None:
    if thread is not None:  # a new chat has its model from its first question on
        view.home.threads.choose_model(thread.thread_id, st.session_state.get(key) or "")


def _typed(view: View, thread: Thread | None, mode: str) -> None:
    sent = st.session_state.get("question")
    if sent is not None and (sent.text.strip() or sent.files):
        _send(view, thread, sent.text.strip(), sent.files, mode)


def _send(view: View, thread: Thread | None, text: str, files: Sequence[Any], mode: str) -> None:
    """What was typed and attached, into the thread that is open or a new one."""
    if thread is None:
        thread = view.home.threads.create(view.user.name, text or files[0].name)
        if model := st.session_state.get(NEW_MODEL):
            view.home.threads.choose_model(thread.thread_id, model)
    for file in files:
        with st.spinner(view.word("chat.attaching", name=plain(file.name))):
            try:
                chat_answer.attach(view, thread, file.name, file.getvalue())
            except RagstoneError as error:
                st.session_state.setdefault("notes", []).append(failures.kept(error))
    if text:
        chat_answer.ask(view, thread, text, mode)
    threads.choose(thread)


def _notes(view: View) -> None:
    """What went wrong in the run before."""
    for note in st.session_state.pop("notes", []):
        st.error(failures.told_kept(view, note))


def _ask(view: View, thread: Thread | None, question: str, mode: str) -> None:
    _send(view, thread, question, (), mode)


# ---------------------------------------------------------------- before the first question


def _welcome(view: View, mode: str) -> None:
    word = view.word
    n_documents = view.kb.catalog.counts(view.kb.collection)[0]
    with st.container(key="welcome", gap="medium"):
        st.title(word("chat.title"), anchor=False)
        if n_documents:
            st.markdown(word("chat.welcome" if n_documents > 1 else "chat.welcome_one", n=n_documents))
            _examples(view, mode)
        else:
            st.markdown(word("chat.empty" if view.user.may_edit else "chat.empty_viewer"))
        if view.user.may_edit:
            _add(view, opened=not n_documents)


def _examples(view: View, mode: str) -> None:
    try:
        asked = examples(view.kb, view.language)
    except RagstoneError:
        return
    if asked:
        st.caption(view.word("chat.try"))
        with st.container(key="examples", gap="small"):
            for at, question in enumerate(asked):
                st.button(
                    plain(question), key=f"example-{at}", icon=":material/arrow_forward:", on_click=view.still(_ask),
                    args=(view, None, question, mode),
                )  # fmt: skip


def _add(view: View, *, opened: bool) -> None:
    """Documents for the collection; the worker reads them, with or without this tab."""
    from ui.web import documents_jobs

    n = st.session_state.setdefault("chat-uploads", 0)  # another key empties the widget
    with st.expander(view.word("chat.add"), expanded=opened, icon=":material/upload_file:", key="chat-add"):
        files: Sequence[Any] = uploader(
            view, view.word("chat.add_help"), many=True, key=f"chat-upload-{n}",
            max_mb=int(view.home.kb.settings.parse.max_file_mb),
        )  # fmt: skip
        if files and st.button(view.word("chat.import", n=len(files)), type="primary", key="chat-import"):
            from ui.api.accepting import accept_files, labels

            named = list(zip(labels([file.name for file in files]), files, strict=True))
            job = accept_files(view.home.service, view.kb, named, key_id=view.user.name)
            st.session_state.setdefault("documents-jobs", []).append(job.job_id)
            st.session_state["chat-uploads"] = n + 1
            st.rerun()
    documents_jobs.running(view)


# ---------------------------------------------------------------- the conversation


def _files(view: View, thread: Thread) -> None:
    """The files that are attached, each with a way to remove it."""
    files = view.home.threads.files(thread.thread_id)
    if not files:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="attached"):
        st.caption(view.word("chat.attached"), width="content")
        for file in files:
            st.button(
                plain(file.name), icon=":material/close:", icon_position="right", key=f"file-{file.file_id}",
                help=view.word("chat.detach", name=plain(file.name)), on_click=view.still(view.home.threads.detach),
                args=(thread.thread_id, file.file_id),
            )  # fmt: skip


def _conversation(view: View, thread: Thread, turns: Sequence[Turn], mode: str) -> None:
    if picked := chips.chosen(view.word("chat.open_source"), st.query_params.get("source", "")):
        st.query_params["source"] = picked
        st.rerun()
    number, cited = opened(turns, st.query_params.get("source", ""))
    live: list[_Live] = []
    for at, turn in enumerate(turns):
        left, right = st.columns([1, 1], gap="medium") if number is not None else (st.container(), None)
        with left:
            _question(view, thread, turn, mode)
            with (
                st.chat_message("assistant", avatar=":material/auto_stories:"),
                st.container(key=f"{chips.ANSWER_KEY}{at}"),
            ):
                task = view.home.tasks.on(view.user.name, chat_answer.KIND, turn.turn_id)
                if turn.state == "running" and task is not None and task.running:
                    live.append(_begin(view, turn, task))
                elif turn.state == "running" and _has_ended(view, turn):
                    st.rerun()  # since the turns were read: nothing was interrupted
                else:
                    _answer(view, thread, turns, at, mode)
        if right is not None and at == number and turn.answer is not None:
            with right:
                source.show(view, turn, at, cited)
    if live:
        _watch(view, live)
        st.rerun()


def _has_ended(view: View, turn: Turn) -> bool:
    now = view.home.threads.turns(turn.thread_id)
    return any(one.turn_id == turn.turn_id and one.state != "running" for one in now)


def opened(turns: Sequence[Turn], address: str) -> tuple[int | None, list[Citation]]:
    """Which turn's source the address says is open, and what is quoted of it; (None, []) when none is."""
    at, _, which = address.partition(".")
    answer = turns[int(at)].answer if at.isdecimal() and int(at) < len(turns) else None
    if answer is None:
        return None, []
    cited = conflicts.cited(answer, which) or [one for one in answer.citations if str(one.marker) == which]
    return (int(at), cited) if cited else (None, [])


def _question(view: View, thread: Thread, turn: Turn, mode: str) -> None:
    word, key = view.word, f"edit-{turn.turn_id}"
    with st.chat_message("user", avatar=":material/person:"):
        if st.session_state.get("editing") != turn.turn_id:
            with st.container(horizontal=True, vertical_alignment="top", wrap=False):
                st.markdown(plain(turn.question), width="stretch")
                st.button(
                    "", icon=":material/edit:", key=f"{key}-open", type="tertiary", help=word("chat.edit"),
                    on_click=_edit, args=(turn.turn_id,),
                )  # fmt: skip
            return
        st.text_area(word("chat.edit"), turn.question, key=key, help=word("chat.edit_help"))
        with st.container(horizontal=True):
            st.button(
                word("chat.ask"),
                type="primary",
                key=f"{key}-ask",
                on_click=view.still(_branch),
                args=(view, thread, turn, key, mode),
            )
            st.button(word("chat.cancel"), key=f"{key}-cancel", on_click=_edit, args=("",))


def _edit(turn_id: str) -> None:
    st.session_state["editing"] = turn_id


def _branch(view: View, thread: Thread, turn: Turn, key: str, mode: str) -> None:
    """The changed question goes on in a copy of the thread."""
    question = str(st.session_state.get(key, "")).strip()
    if not question:
        return
    made = view.home.threads.branch(thread, turn.turn_id)
    if not view.home.threads.turns(made.thread_id):
        view.home.threads.rename(made.thread_id, question)
    _edit("")
    _send(view, made, question, (), mode)


# ---------------------------------------------------------------- an answer that is coming


def _begin(view: View, turn: Turn, task: Task) -> _Live:
    with st.container(horizontal=True, vertical_alignment="center"):
        status = st.empty()
        st.button(
            view.word("chat.stop"), icon=":material/stop_circle:", key=f"stop-{turn.turn_id}",
            on_click=view.still(chat_answer.stop), args=(view, turn),
        )  # fmt: skip
    return _Live(task=task, place=st.empty(), status=status)


def _watch(view: View, live: Sequence[_Live]) -> None:
    """Draw what comes until all have ended. Whoever leaves the page ends this, and not the answers."""
    for one in live:
        _tell(view, one)
    looked = time.monotonic()
    while any(one.task.running for one in live):
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            view.check()
        for one in live:
            events = one.task.since(one.n, TICK_S / len(live))
            one.n += len(events)
            for event in events:
                one.text += event.text
                one.phase = phase(one.phase, event)
            _tell(view, one)
            if any(event.text for event in events):
                one.place.markdown(safe(one.text) + " ▌")
                time.sleep(REDRAW_S)


def _tell(view: View, one: _Live) -> None:
    seconds = int(time.time() - one.task.started)
    told = view.word("chat.phase", phase=view.word(f"chat.{one.phase}"), seconds=seconds)
    if told != one.told:
        one.told = told
        one.status.caption(told, width="content")


def phase(now: str, event: Event) -> str:
    """What is being done after an event: searching, reading, writing, then checking."""
    if event.kind == "text":
        return "writing"
    if event.step is not None and event.step.name in ("generate", "check", "extract"):
        return "checking"
    return "reading" if now == "searching" else now


# ---------------------------------------------------------------- an answer that is there


def _answer(view: View, thread: Thread, turns: Sequence[Turn], at: int, mode: str) -> None:
    turn, word = turns[at], view.word
    answer = turn.answer
    if answer is not None:
        for language, part in answer_parts(answer.text, {one.marker for one in answer.citations}, answer.unsupported):
            if language:
                st.code(part, language=language)
            else:
                st.markdown(part)
        if answer.unsupported and not answer.abstained:
            st.caption(f":orange[:material/warning:] {word('chat.unsupported')}")
        _sources(view, at, answer)
        conflicts.show(view, at, answer)
    if turn.state == "failed":
        st.error(failures.told_kept(view, turn.error), icon=":material/error:")
    elif turn.state == "stopped":
        st.caption(word("chat.stopped"))
    elif turn.state == "running":  # and nobody works on it
        st.caption(word("chat.interrupted"))
    elif answer is not None and _is_less(answer):
        st.caption(" ".join(failures.told_kept(view, one) for one in answer.warnings))
    _below(view, turns, turn, mode)
    if at == len(turns) - 1:
        _follow_ups(view, thread, turn, mode)


def _follow_ups(view: View, thread: Thread, turn: Turn, mode: str) -> None:
    """What could be asked next; while the chat model is thinking about it, only that."""
    task = view.home.tasks.on(view.user.name, chat_answer.PROPOSING, turn.turn_id)
    if task is not None and task.running:
        view.part(_proposing, view, task, run_every=PROPOSING_S)
    elif turn.follow_ups:
        st.caption(view.word("chat.follow_ups"))
        with st.container(key="follow-ups", gap="small"):
            for n, question in enumerate(turn.follow_ups):
                st.button(
                    plain(question), key=f"follow-{turn.turn_id}-{n}", icon=":material/subdirectory_arrow_right:",
                    on_click=view.still(_ask), args=(view, thread, question, mode),
                )  # fmt: skip


def _proposing(view: View, task: Task) -> None:
    if not task.running:
        st.rerun()
    st.caption(view.word("chat.follow_ups_soon"))


def _is_less(answer: Answer) -> bool:
    """Whether something that an answer needs was away, or it broke off: its warnings say what."""
    failed = any(step.name == "generate" and step.detail.get("error") for step in answer.trace)
    return bool(answer.broke_off) or failed or any(step.name == "attached files" for step in answer.trace)


def _sources(view: View, at: int, answer: Answer) -> None:
    """The documents behind the markers, as buttons: for those who use the keyboard or a small screen."""
    if not answer.citations:
        return
    with st.container(horizontal=True, gap="small", key=f"sources-{at}"):
        for citation in sorted(
            {one.marker: one for one in reversed(answer.citations)}.values(), key=lambda one: one.marker
        ):
            page = f" · {view.word('chat.page', n=citation.page)}" if citation.page else ""
            st.button(
                plain(f"{citation.marker} · {source.label(citation)[:60]}{page}"), key=f"open-{at}-{citation.marker}",
                icon=":material/description:", on_click=_open, args=(at, citation.marker),
            )  # fmt: skip


def _open(at: int, marker: int) -> None:
    st.query_params["source"] = f"{at}.{marker}"


def _below(view: View, turns: Sequence[Turn], turn: Turn, mode: str) -> None:
    """Rating, retry, and what the answer cost."""
    word = view.word
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"below-{turn.turn_id}"):
        if turn.answer is not None:
            key = f"rating-{turn.turn_id}"
            st.feedback("thumbs", key=key, default=turn.rating, on_change=view.still(_rate), args=(view, turn, key))
            if turn.rating is not None:
                _comment(view, turn)
        st.button(
            "", icon=":material/refresh:", key=f"retry-{turn.turn_id}", type="tertiary", help=word("chat.retry"),
            on_click=view.still(chat_answer.ask_again), args=(view, turns, turn, mode),
        )  # fmt: skip
        if turn.answer is not None and turn.state == "done":
            with st.popover(cost_line(view, turn), type="tertiary", key=f"cost-{turn.turn_id}"):
                _how(view, turn.answer)


def _rate(view: View, turn: Turn, key: str) -> None:
    view.home.threads.rate(turn.turn_id, st.session_state.get(key), turn.comment)


def _comment(view: View, turn: Turn) -> None:
    key = f"comment-{turn.turn_id}"
    with st.popover(view.word("chat.comment_add"), icon=":material/comment:", type="tertiary", key=f"{key}-open"):
        st.text_area(view.word("chat.comment"), turn.comment, key=key)
        if st.button(view.word("chat.save"), key=f"{key}-save"):
            view.home.threads.rate(turn.turn_id, turn.rating, str(st.session_state.get(key, "")))
            st.toast(view.word("chat.saved"))


def cost_line(view: View, turn: Turn) -> str:
    """Seconds, tokens and price of an answer, as far as there are any."""
    usage, prices = turn.answer.usage if turn.answer else Usage(), view.home.kb.settings.enrich
    n_tokens = usage.n_prompt_tokens + usage.n_answer_tokens
    usd = (usage.n_prompt_tokens * prices.usd_per_million_prompt_tokens + usage.n_answer_tokens * prices.usd_per_million_answer_tokens) / 1e6  # fmt: skip
    parts = [view.word("chat.seconds", seconds=turn.seconds)]
    parts += [view.word("chat.tokens", n=f"{n_tokens:,}")] if n_tokens else []
    parts += [view.word("chat.cost", usd=usd).replace("$", "\\$")] if usd else []
    return " · ".join(parts)


def _how(view: View, answer: Answer) -> None:
    """The steps in plain words."""
    for step in answer.trace:
        if line := step_line(view, step):
            st.caption(plain(line))
    if answer.usage.model:
        st.caption(plain(view.word("chat.model_used", name=answer.usage.model)))
    elif any(step.name == "extract" for step in answer.trace):
        st.caption(view.word("chat.no_model"))
    for warning in answer.warnings:
        st.caption(failures.told_kept(view, warning))


def step_line(view: View, step: Step) -> str:
    """A step in plain words with its time; "" for steps that say nothing to people."""
    kind, _, what = step.name.partition(":")
    names = (f"step_{what}", f"step_{kind}") if kind == "recall" else (f"step_{kind}",)
    found = next((name for name in names if name in WORDS), "")
    if not found:
        return ""
    n = f" ({step.n_out})" if step.n_out and kind in ("recall", "load", "rerank") else ""
    return f"{view.word(f'chat.{found}')}{n} · {step.ms:,.0f} ms"
