"""Runs of agents in the background, as the agents page starts, stops and answers them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.journal import Journal
from agents.types import AgentEvent, AgentResult, AgentStep, Approval, Budget, step_from
from rag.types import Citation, Usage
from ui.web.tasks import Task
from ui.web.view import View

KIND = "agent"
TOOLS = ("graph", "web", "files", "python", "sql")
READING = ("graph",)  # what somebody may use who is not the home's owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked for, and the thread that holds where it stands: the page can be restarted and go on with it."""

    task: str
    kind: str
    thread: str = ""
    tools: tuple[str, ...] = ()
    max_steps: int = 12
    max_seconds: float = 600.0


def tools_for_user(view: View) -> list[str]:
    """Tools beside search, reading and calculating: files, programs, databases and the web are the owner's alone."""
    offered = TOOLS if view.user.is_admin else READING
    found = [one for one in offered if one != "sql" or view.kb.settings.agent.databases]
    return [one for one in found if one != "graph" or view.kb.has_graph]


def folder_of(view: View) -> Path:
    """Where this person's runs are kept, apart from everybody else's."""
    home = view.home.kb.home / "agents"
    if not view.user.name:
        return home
    return home / "users" / hashlib.sha256(view.user.name.encode()).hexdigest()[:24]


def start(view: View, run: Run) -> Task:
    """Give an agent the task, in the background."""
    run = replace(run, thread=secrets.token_hex(8))
    return _begin(view, run, lambda agent, task: agent.stream(run.task, thread=run.thread, stop=task.stop))


def go_on(view: View, run: Run, shown: Approval | None = None, approve: bool | None = None) -> None:
    """Go on with a run that waits or broke off. shown: the call that waits; it is made exactly so, or not at all."""
    if (task := at_work(view, run.thread)) is None or not task.running:
        _begin(
            view, run, lambda agent, task: agent.resume_stream(run.thread, approve=approve, shown=shown, stop=task.stop)
        )


def at_work(view: View, thread: str) -> Task | None:
    """The newest task of this process on a thread."""
    return view.home.tasks.on(view.user.name, KIND, thread)


def records(view: View, limit: int = 50) -> list[dict[str, Any]]:
    """This person's runs as they are kept, the newest first."""
    path = folder_of(view) / "agents.sqlite3"
    if not path.exists():
        return []
    journal = Journal(path)
    try:
        return journal.runs(limit)
    finally:
        journal.close()


def run_of(record: Mapping[str, Any]) -> Run:
    """What was asked for in a kept run."""
    budget = Budget(**record["budget"])
    return Run(
        task=record["task"], kind=record["kind"], thread=record["thread"], tools=tuple(record.get("given", ())),
        max_steps=budget.max_steps, max_seconds=budget.max_seconds,
    )  # fmt: skip


def result_of(record: Mapping[str, Any]) -> AgentResult:
    """What a kept run came to."""
    spent = record.get("spent", {})
    return AgentResult(
        answer=record["answer"], steps=tuple(step_from(row) for row in record["steps"]), stopped=record["stopped"],
        citations=tuple(Citation(**row) for row in record["citations"]), reason=record.get("reason", ""),
        thread=record["thread"], run_id=record["run_id"],
        usage=Usage(
            n_prompt_tokens=int(spent.get("prompt_tokens", 0)), n_answer_tokens=int(spent.get("answer_tokens", 0)),
            seconds=spent.get("seconds", 0.0),
        ),
    )  # fmt: skip


def standing(view: View, run: Run) -> AgentResult | None:
    """Where a kept run waits or broke off, by its checkpoint; None when nothing is left to do."""
    with _agent(view, run) as agent:
        return agent.waiting(run.thread)


def steps_of(events: Sequence[AgentEvent]) -> list[AgentStep]:
    """The steps in the order in which they were made."""
    return [event.step for event in events if event.step is not None]


def _agent(view: View, run: Run) -> Agent:
    """The agent that makes the run, with the tools that this person may use now."""
    tools = [one for one in run.tools if one in tools_for_user(view)]
    budget = Budget(max_steps=run.max_steps, max_seconds=run.max_seconds)
    return Agent(kb=view.kb, kind=run.kind, tools=tools, approve="ask", budget=budget, home=folder_of(view))


def _begin(view: View, run: Run, events_of: Callable[[Agent, Task], Iterator[AgentEvent]]) -> Task:
    def work(task: Task) -> tuple[Run, AgentResult | None]:
        result = None
        with _agent(view, run) as agent:
            for event in events_of(agent, task):
                task.emit(event)
                result = event.result or result
        return run, result

    return view.home.tasks.start(view.user.name, KIND, run.task, work, about=run.thread)
