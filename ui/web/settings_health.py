"""Health: what `ragstone doctor` looks at, looked at by the page's own open parts."""

from __future__ import annotations

import re
import time

import streamlit as st

from rag.knowledge_base import KnowledgeBase
from ui.doctor import Check, of_home, packages
from ui.web.failures import chinese, told_task
from ui.web.markup import plain
from ui.web.settings_models import without_secrets
from ui.web.tasks import Task
from ui.web.view import View
from ui.web.words.settings import FINDINGS, FIXES, WORDS

KIND = "health"
EVERYBODY = " everybody"  # owner of the task: all look at one result; nobody's name begins with a blank
FRESH_S = 600.0  # an older result is looked for again when the page is opened
REFRESH_S = 0.5


def health(view: View) -> None:
    """The newest result; a new one is started when there is none or it is old."""
    kb = view.home.kb.view(collection=view.kb.collection) if view.user.is_admin else view.home.kb
    task = view.home.tasks.on(EVERYBODY, KIND, kb.collection)
    again = view.user.is_admin and st.button(
        view.word("settings.check_again"), key="health-again", disabled=task is not None and task.running,
        icon=":material/refresh:",
    )  # fmt: skip
    if task is None or (not task.running and (again or is_old(task))):
        task = start(view, kb)
    view.part(_results, view, task, task.running, run_every=REFRESH_S if task.running else None)


def start(view: View, kb: KnowledgeBase) -> Task:
    """Look at everything. While an import is going on, what would wait for it, or make it wait, is left out."""
    writer = not view.home.jobs.counts().get("running", 0)

    def work(task: Task) -> None:
        task.emit(packages())
        for check in of_home(kb, writer=writer):
            task.emit(check)

    return view.home.tasks.start(EVERYBODY, KIND, kb.collection, work, about=kb.collection)


def is_old(task: Task) -> bool:
    return task.ended is not None and time.time() - task.ended > FRESH_S


def line(view: View, check: Check) -> str:
    """A check as Markdown. Only admins read what was found: it names folders, machines and numbers of documents."""
    known = f"check_{check.name}" in WORDS
    name = view.word(f"settings.check_{check.name}") if known else plain(check.name)
    colour, icon = ("green", "check_circle") if check.ok else ("red", "error")
    lines = [f":{colour}[:material/{icon}:] **{name}**"]
    if view.user.is_admin:
        lines[0] += f" — {plain(found(view.language, check))}"
        if check.fix:
            chinese = FIXES.get(check.name) if view.language == "zh" and not check.ok else None
            said = chinese or plain(without_secrets(check.fix))
            lines.append(f":gray[:material/arrow_forward: {said}]")
    elif not check.ok:
        lines.append(f":gray[{view.word('settings.tell_admin')}]")
    return "  \n".join(lines)


def found(language: str, check: Check) -> str:
    """What was found, in the person's language."""
    message = without_secrets(check.message)
    if language != "zh":
        return message
    for pattern, sentence in FINDINGS:
        if match := re.fullmatch(pattern, message):
            return sentence.format(*match.groups())
    return chinese(message, check.code)


def _results(view: View, task: Task, was_running: bool) -> None:
    running = task.running  # before the events: none is missed
    checks: list[Check] = task.since(0)
    bad = [check for check in checks if not check.ok]
    if running:
        st.info(view.word("settings.checking", n=len(checks)), icon=":material/hourglass_top:")
    elif task.state == "failed":
        st.error(told_task(view, task))
    elif bad:
        st.warning(view.word("settings.some_bad", n=len(bad)), icon=":material/warning:")
    else:
        st.success(view.word("settings.all_good"), icon=":material/check_circle:")
    for check in [*bad, *(check for check in checks if check.ok)]:
        st.markdown(line(view, check))
    if task.ended:
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(task.ended))
        st.caption(view.word("settings.checked_at", when=when))
    if was_running and not running:
        st.rerun()  # the timer of this part ends
