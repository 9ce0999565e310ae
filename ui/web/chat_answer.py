"""Answers: produced in the background and kept as they come, so that a reload, a closed tab or a page switch loses none."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import streamlit as st

from rag import attached
from rag.answering import answer_events
from rag.chat_models import open_chat
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.principals import shown_name
from rag.threads import Thread, Turn
from rag.trace import Trace
from rag.types import Answer, ChatModel, Event, Hit
from ui.web.chat_questions import follow_ups, proposed
from ui.web.failures import kept
from ui.web.tasks import Task
from ui.web.view import Home, View

KIND = "answer"
PROPOSING = "follow-ups"
PROPOSE_S = 30.0  # for the chat model to propose what to ask next
SAVE_S = 1.0  # between two savings of what has come so far
HISTORY = 6  # turns of the conversation that a question is understood with
STOPPED = "stopped"


def ask(view: View, thread: Thread, question: str, mode: str) -> Turn:
    """Add a question to a thread and begin to answer it."""
    turns = view.home.threads.turns(thread.thread_id)
    turn = view.home.threads.ask(thread.thread_id, question, collection=_collection(view), mode=mode)
    _begin(view, turn, turns, mode)
    return turn


def ask_again(view: View, turns: Sequence[Turn], turn: Turn, mode: str) -> None:
    """Answer the same question anew, in the collection that is chosen now."""
    view.home.threads.ask_again(turn.turn_id, collection=_collection(view), mode=mode)
    before = turns[: [one.turn_id for one in turns].index(turn.turn_id)]
    _begin(view, turn, before, mode)


def stop(view: View, turn: Turn) -> None:
    """End an answer now, with what there is of it; its work ends as soon as it can."""
    task = view.home.tasks.on(view.user.name, KIND, turn.turn_id)
    text = "" if task is None else "".join(event.text for event in task.since(0))
    seconds = 0.0 if task is None else time.time() - task.started
    if task is not None:
        task.stop.set()
    view.home.threads.save(turn.turn_id, STOPPED, _broken_off(turn.question, text), seconds=seconds)


def _begin(view: View, turn: Turn, before: Sequence[Turn], mode: str) -> None:
    threads = view.home.threads
    model = threads.model(turn.thread_id)
    kb = (
        view.kb.view(principal=view.kb.principal, chat=other_chat(view.home, model))
        if model in offered(view)
        else view.kb
    )
    history = [(one.question, one.answer.text) for one in before if one.answer and one.state == "done"][-HISTORY:]
    files = {file.name: file.text for file in threads.files(turn.thread_id)}

    def work(task: Task) -> None:
        start, saved, text = time.perf_counter(), time.perf_counter(), ""
        try:
            with closing(_events(kb, turn.question, mode, history, files)) as events:
                for event in events:
                    if task.stop.is_set():
                        return
                    task.emit(event)
                    text += event.text
                    seconds = time.perf_counter() - start
                    if event.answer is not None:
                        asked = follow_ups(kb, turn.question, event.answer)
                        propose = may_propose(kb, event.answer)
                        if threads.save(
                            turn.turn_id, "done", event.answer, seconds=seconds, follow_ups=() if propose else asked
                        ) and propose:  # fmt: skip
                            _propose(view, kb, turn, event.answer, asked)
                    elif time.perf_counter() - saved > SAVE_S:
                        saved = time.perf_counter()
                        threads.save(turn.turn_id, "running", _broken_off(turn.question, text), seconds=seconds)
        except RagstoneError as error:
            threads.save(turn.turn_id, "failed", error=kept(error), seconds=time.perf_counter() - start)
            raise
        except Exception:
            threads.save(turn.turn_id, "failed", error="E_BUG", seconds=time.perf_counter() - start)
            raise

    view.home.tasks.start(view.user.name, KIND, turn.question, work, about=turn.turn_id)


def may_propose(kb: KnowledgeBase, answer: Answer) -> bool:
    """Whether the chat model is asked for follow-ups: an endpoint's only. A local one would answer the next question later."""
    settings = kb.settings
    return (
        settings.ui.follow_ups
        and bool(settings.llm.base_url)
        and settings.llm.model != "none"
        and bool(answer.citations)
    )


def _propose(view: View, kb: KnowledgeBase, turn: Turn, answer: Answer, headings: Sequence[str]) -> None:
    """Ask the chat model what could be asked next, while the answer is being read; else the headings stay."""

    def work(task: Task) -> None:
        found = proposed(kb.chat, turn.question, answer, stop=task.stop, deadline_s=PROPOSE_S) if kb.chat else []
        view.home.threads.suggest(turn.turn_id, found or headings)

    view.home.tasks.start(view.user.name, PROPOSING, turn.question, work, about=turn.turn_id)


def offered(view: View) -> list[str]:
    """The endpoint's other models that a chat may choose."""
    llm = view.home.kb.settings.llm
    return [one for one in llm.offered if one != llm.model] if llm.base_url and llm.model != "none" else []


@st.cache_resource(show_spinner=False)
def other_chat(_home: Home, model: str) -> ChatModel | None:
    """A model of the endpoint that is not the settings' own; opened once."""
    return open_chat(_home.kb.settings.with_values(llm__model=model))


def _events(
    kb: KnowledgeBase, question: str, mode: str, history: Sequence[tuple[str, str]], files: Mapping[str, str]
) -> Generator[Event]:
    """The answer from the collection, and from the thread's files where there are some."""
    if not files:
        yield from kb.stream(question, mode=mode, history=history)
        return
    trace = Trace()
    with trace.span("attached files") as step:
        mine = attached.search(question, files)
        step.n_out = len(mine)
    warnings: tuple[str, ...] = ()
    theirs: Sequence[Hit] = ()
    if kb.catalog.counts(kb.collection)[0]:
        try:
            found = kb.search(question, mode=mode, history=history, expand=kb.settings.search.expand)
            theirs, warnings, question = found.items, found.warnings, found.question or question
            trace.steps += found.trace
        except RagstoneError as error:  # the files can be answered from all the same
            warnings = (kept(error),)
    for one in trace.steps:
        yield Event(kind="step", step=one)
    hits = [*mine, *theirs] if mine else list(theirs)
    yield from _with_warnings(
        answer_events(
            question, hits, chat=kb.chat if hits else None, settings=kb.settings.answer, trace=trace,
            deadline_s=kb.settings.llm.deadline_s,
        ),
        warnings,
    )  # fmt: skip


def _with_warnings(events: Iterator[Event], warnings: tuple[str, ...]) -> Iterator[Event]:
    for event in events:
        if event.answer is not None and warnings:
            event = replace(event, answer=replace(event.answer, warnings=warnings + event.answer.warnings))
        yield event


def attach(view: View, thread: Thread, name: str, data: bytes) -> None:
    """Read a file for this thread alone. Raises: DocumentError."""
    from rag.parsing import ParserPool

    shown = Path(name).name[-200:] or "file"
    with ParserPool(view.home.kb.settings.parse, workers=1) as pool:
        parsed = pool.parse(data, shown)
    view.home.threads.attach(thread.thread_id, shown, parsed.text)


def _broken_off(question: str, text: str) -> Answer | None:
    return Answer(text=text.strip(), question=question, broke_off=STOPPED) if text.strip() else None


def _collection(view: View) -> str:
    return shown_name(view.kb.collection)
