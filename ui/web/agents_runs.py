"""Runs of agents in the background, as the agents page starts, stops and answers them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.agent import Agent
from agents.types import AgentEvent, AgentResult, AgentStep, Budget
from ui.web.tasks import Task
from ui.web.view import View

KIND = "agent"
TOOLS = ("graph", "web", "files", "python", "sql")
READING = ("graph",)  # what somebody may use who is not the home's owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked for; a run that waits for approval is gone on with in the same way."""

    task: str
    kind: str
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
    return _begin(view, run, lambda agent, task: agent.stream(run.task, stop=task.stop))


def answer_approval(view: View, run: Run, thread: str, approve: bool) -> None:
    """Go on with a run that waits: make exactly the call that was shown, or do not."""
    _begin(view, run, lambda agent, task: agent.resume_stream(thread, approve=approve, stop=task.stop))


def steps_of(events: Sequence[AgentEvent]) -> list[AgentStep]:
    """The steps in the order in which they were made."""
    return [event.step for event in events if event.step is not None]


def _begin(view: View, run: Run, events_of: Callable[[Agent, Task], Iterator[AgentEvent]]) -> Task:
    kb, folder = view.kb, folder_of(view)
    tools = [one for one in run.tools if one in tools_for_user(view)]
    budget = Budget(max_steps=run.max_steps, max_seconds=run.max_seconds)

    def work(task: Task) -> tuple[Run, AgentResult | None]:
        result = None
        with Agent(kb=kb, kind=run.kind, tools=tools, approve="ask", budget=budget, home=folder) as agent:
            for event in events_of(agent, task):
                task.emit(event)
                result = event.result or result
        return run, result

    return view.home.tasks.start(view.user.name, KIND, run.task, work)
