"""Agent: a task in, steps and a cited answer out. The composition root of the agents.

from agents import Agent, tool

with Agent(kb=kb, tools=[tea_price]) as agent:
    print(agent.run("What do 250 g of the tea from Hangzhou cost?").answer)
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents.tooling import Tool
from agents.types import (
    WAITING,
    AgentEvent,
    AgentResult,
    Approval,
    Budget,
    step_from,
)
from rag.errors import LockedError, ModelError, UsageError
from rag.settings import Settings
from rag.types import ChatModel, Citation, Usage

if TYPE_CHECKING:
    from agents.journal import Journal
    from agents.longterm import LongTermMemory
    from agents.react import Approve

KINDS = ("react", "plan", "team", "research", "corrective", "toolsearch")
ENDPOINT_S, LOCAL_S = 60.0, 900.0  # of a run, where the settings leave it open
TURN_WAIT_S = 600.0
CUT_OFF = "The run was stopped and can go on: `ragstone agent resume`."


class Agent:
    """Plans and acts with tools until it has an answer. Threads may share it; runs on one thread take turns.

    kb: a KnowledgeBase; gives the tools search and read_document, the chat model and the home. tools: Tools, typed
        functions, or names such as "web"; they come beside the calculator. chat: another chat model.
    kind: react, plan, team, research, corrective or toolsearch; members: of a team, (name, instructions) pairs.
    instructions: what the agent is told first. approve: "ask" stops and waits, "never" refuses, "all" allows, and a
        function (tool name, arguments) → bool is asked. home: where threads and traces are kept; left out, the
        collection's, else nowhere. memory: what is known of a user, see agents/longterm.py.
    Raises: UsageError; ModelError when there is no chat model.
    """

    def __init__(
        self,
        *,
        kb: Any = None,
        tools: Sequence[Any] | None = None,
        chat: ChatModel | None = None,
        kind: str = "",
        instructions: str = "",
        members: Sequence[tuple[str, str]] = (),
        approve: Literal["ask", "never", "all"] | Approve | None = None,
        budget: Budget | None = None,
        home: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        memory: LongTermMemory | None = None,
    ) -> None:
        from agents.flow import Threads
        from agents.journal import Journal
        from agents.tools import tools_for

        self.settings = settings or (kb.settings if kb is not None else Settings.load())
        self.kind = kind or self.settings.agent.kind
        if self.kind not in KINDS:
            raise UsageError(f"There is no agent kind {self.kind!r}. There are: {', '.join(KINDS)}.")
        if isinstance(approve, str) and approve not in ("ask", "never", "all"):
            raise UsageError(f"approve must be ask, never, all or a function, not {approve!r}.")
        self._own_chat: ChatModel | None = None
        self.chat = chat or self._open_chat(kb)
        self.folder = _folder(home, kb)
        self.budget = budget or _budget(self.settings, local=not hasattr(self.chat, "calls_tools"))
        self._given = list(self.settings.agent.tools) if tools is None else list(tools)
        self.tools: dict[str, Tool] = tools_for(kb, self._given, self.settings, self.folder)
        if memory is not None:
            self.tools |= {tool.name: tool for tool in memory.tools()}
        self._members, self._instructions, self._memory = tuple(members), instructions, memory
        self._approve = approve or self.settings.agent.approve
        self.journal: Journal = Journal(self.folder / "agents.sqlite3" if self.folder else None)
        self._threads = Threads(self.folder / "threads.sqlite3" if self.folder else None)
        self._app = self._threads.compile(self._graph())

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files, and of the chat model if this agent opened it."""
        self._threads.close()
        self.journal.close()
        if self._own_chat is not None:
            self._own_chat.close()

    # ------------------------------------------------------------ running

    def run(self, task: str, *, thread: str = "", stop: threading.Event | None = None) -> AgentResult:
        """Work on a task to its end, or to where a person is needed. Raises: UsageError, CatalogError, LockedError."""
        return _last(self._run(task, thread, stop, watched=False))

    def stream(self, task: str, *, thread: str = "", stop: threading.Event | None = None) -> Iterator[AgentEvent]:
        """The events of a run as they happen; the last one holds the AgentResult.

        thread: a conversation to go on with. stop: set it from another thread and the run waits after its current
        step; `resume` goes on.
        """
        yield from self._run(task, thread, stop, watched=True)

    def _run(self, task: str, thread: str, stop: threading.Event | None, *, watched: bool) -> Iterator[AgentEvent]:
        from agents import flow
        from agents.react import fresh

        if not task.strip():
            raise UsageError("The task is empty. Say what is to be done.")
        thread = thread or uuid.uuid4().hex[:16]
        with self._turn(thread):
            flow.state(self._app, thread)  # a damaged thread is told before anything is done
            run_id = uuid.uuid4().hex[:16]
            begun = AgentResult(answer="", stopped="interrupted", reason=CUT_OFF, run_id=run_id, thread=thread)
            self._keep({"task": task}, begun, time.time())  # so that a killed run is listed, and can go on
            yield from self._events(fresh(task, run_id), thread, stop, watched=watched)

    def resume(
        self, thread: str, *, approve: bool | None = None, stop: threading.Event | None = None
    ) -> AgentResult:  # fmt: skip
        """Go on with a run that waits or was killed. approve: whether the call that waits may be made, exactly as shown.

        Raises: UsageError when nothing waits there, or a call waits and `approve` is left out.
        """
        return _last(self.resume_stream(thread, approve=approve, stop=stop))

    def resume_stream(
        self,
        thread: str,
        *,
        approve: bool | None = None,
        shown: Approval | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[AgentEvent]:
        """The events of `resume`. shown: the call that was looked at; no other one is answered.

        Raises: as `resume`, and UsageError when that call does not wait any more.
        """
        from agents import flow

        with self._turn(thread):
            _, waits, unfinished = flow.state(self._app, thread)
            if not unfinished:
                raise UsageError(f"Nothing waits in thread {thread!r}. Start a run with it.")
            asked = [value for _, value in waits if isinstance(value, Mapping) and value.get("kind") == "approval"]
            if asked and approve is None:
                raise UsageError(f"The call {asked[0]['tool']} waits for approval. Say approve=True or approve=False.")
            if shown is not None:
                if shown not in [_approval(one) for one in asked]:
                    raise UsageError(
                        f"The call {shown.tool} does not wait any more as it was shown. Look at the run again."
                    )
                waits = [(id_, value) for id_, value in waits if value not in asked or _approval(value) == shown]
            answers = {id_: _answer(value, approve) for id_, value in waits}
            yield from self._events(flow.resume_with(answers) if answers else None, thread, stop)

    def waiting(self, thread: str) -> AgentResult | None:
        """Where a run that waits, was stopped or was killed stands in a thread; None when nothing is left to do there.

        Raises: CatalogError for a damaged thread.
        """
        from agents import flow

        values, waits, unfinished = flow.state(self._app, thread)
        return _result(values, waits, unfinished, thread) if unfinished else None

    def forget(self, thread: str) -> None:
        """Delete a thread: what was said in it and where it stands."""
        with self._turn(thread):
            self._threads.delete(thread)

    def _events(
        self, given: Any, thread: str, stop: threading.Event | None, *, watched: bool = True
    ) -> Iterator[AgentEvent]:
        """Run, keep the record, and yield what happened; without `watched` only how it ended."""
        from agents import flow
        from agents.react import Running

        started = time.time()
        running = Running(emit=lambda _event: None, stop=stop or threading.Event(), thread=thread)
        if watched:
            for written in flow.steps(self._app, given, thread=thread, context=running):
                if (event := _event(written)) is not None:
                    yield event
        else:
            flow.to_end(self._app, given, thread=thread, context=running)
        values, waits, unfinished = flow.state(self._app, thread)
        result = _result(values, waits, unfinished, thread)
        self._keep(values, result, started)
        if result.stopped not in WAITING:
            self._threads.prune(thread)
            if self._memory is not None and self.settings.agent.episodes:
                self._memory.keep_episode(values["task"], result)
        if result.approval is not None:
            yield AgentEvent(kind="approval", approval=result.approval)
        yield AgentEvent(kind="result", result=result)

    def _keep(self, values: Mapping[str, Any], result: AgentResult, started: float) -> None:
        record = {
            "answer": result.answer, "stopped": result.stopped, "reason": result.reason, "steps": values.get("steps", []),
            "citations": values.get("citations", []), "plan": list(result.plan), "spent": values.get("spent", {}),
            "replies": values.get("replies", []), "prompts": values.get("prompts", []), "taint": values.get("taint", []),
            "given": [one for one in self._given if isinstance(one, str)], "instructions": self._instructions, "tools": [tool.spec() | {"effect": tool.effect} for tool in self.tools.values()],
            "budget": {name: getattr(self.budget, name) for name in Budget.__dataclass_fields__},
        }  # fmt: skip
        self.journal.keep(
            result.run_id, thread=result.thread, kind=self.kind, task=values["task"], started=started, record=record
        )

    @contextmanager
    def _turn(self, thread: str) -> Iterator[None]:
        """One run at a time on a thread, in this process and in others of the same home."""
        if not thread.strip() or len(thread) > 200 or any(ord(char) < 32 for char in thread):
            raise UsageError(f"A thread's name must have 1 to 200 printable characters, not {thread!r}.")
        key = hashlib.sha256(thread.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        with _Turns.of(self.folder, id(self._threads), key):
            if self.folder is None:
                yield
                return
            from filelock import FileLock, Timeout

            locks = self.folder / "turns"
            locks.mkdir(exist_ok=True)
            try:
                with FileLock(locks / f"{key}.lock", timeout=TURN_WAIT_S, thread_local=False):
                    yield
            except Timeout as error:
                raise LockedError(f"Thread {thread!r} is busy in another process. Wait for it, or use another thread.") from error  # fmt: skip

    # ------------------------------------------------------------ parts

    def _graph(self) -> Any:
        from agents import shapes
        from agents.model import Asking
        from agents.react import Parts

        settings = self.settings.agent
        room = 12_000 if hasattr(self.chat, "calls_tools") else max(600, self.settings.llm.context_tokens - settings.reply_tokens - 1000)  # fmt: skip
        parts = Parts(
            asking=Asking(chat=self.chat, tool_calls=settings.tool_calls, max_tokens=settings.reply_tokens),
            tools=self.tools, budget=self.budget, journal=self.journal, instructions=self._instructions, room=room,
            folder=self.folder / "artifacts" if self.folder else None, approve=self._approve,
            recall=self._memory.recall if self._memory else None, examples=self._examples(), keep_prompts=settings.keep_prompts,
        )  # fmt: skip
        return shapes.graph(self.kind, parts, self._members)

    def _examples(self) -> Callable[[str], Sequence[str]] | None:
        """What looks up examples of what worked; None without a memory, or where they are off."""
        memory, n = self._memory, self.settings.agent.episodes
        return None if memory is None or not n else lambda task: memory.episodes(task, n, tools=self.tools)

    def _open_chat(self, kb: Any) -> ChatModel:
        if kb is not None:
            found: ChatModel | None = kb.chat
        else:
            from rag.chat_models import open_chat

            found = self._own_chat = open_chat(self.settings)
        if found is None:
            raise ModelError(
                "An agent needs a chat model. Run `ragstone models pull qwen2.5-coder-1.5b`, or set llm.base_url to an "
                "OpenAI-compatible endpoint."
            )
        return found


class _Turns:
    """Locks of threads in this process."""

    _locks: dict[tuple[str, str], threading.Lock] = {}
    _guard = threading.Lock()

    @classmethod
    @contextmanager
    def of(cls, folder: Path | None, owner: int, key: str) -> Iterator[None]:
        name = (str(folder) if folder else str(owner), key)
        with cls._guard:
            lock = cls._locks.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=TURN_WAIT_S):
            raise LockedError("The thread is busy. Wait for its run to end, or use another thread.")
        try:
            yield
        finally:
            lock.release()


def _folder(home: str | os.PathLike[str] | None, kb: Any) -> Path | None:
    if home is None and kb is None:
        return None
    folder = Path(home).expanduser().absolute() if home is not None else Path(kb.home) / "agents"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made ({error.strerror}). Choose another home.") from error
    return folder


def _budget(settings: Settings, *, local: bool) -> Budget:
    agent = settings.agent
    return Budget(
        max_steps=agent.max_steps,
        max_tokens=agent.max_tokens,
        max_seconds=agent.timeout_s or (LOCAL_S if local else ENDPOINT_S),
    )


def _last(events: Iterator[AgentEvent]) -> AgentResult:
    result = None
    for event in events:
        result = event.result or result
    if result is None:
        raise RuntimeError("the run ended without a result")
    return result


def _answer(waiting: Any, approve: bool | None) -> Any:
    """What a waiting call is told: yes or no to exactly these arguments."""
    if isinstance(waiting, Mapping) and waiting.get("kind") == "approval":
        return {"approve": bool(approve), "args": json.loads(json.dumps(dict(waiting["args"]), default=str))}
    return True


def _approval(waiting: Mapping[str, Any]) -> Approval:
    return Approval(tool=waiting["tool"], args=waiting["args"], reason=waiting["reason"])


def _event(written: Any) -> AgentEvent | None:
    kind = written.get("kind") if isinstance(written, Mapping) else None
    if kind == "step":
        return AgentEvent(kind="step", step=step_from(written["step"]))
    if kind == "call":
        return AgentEvent(kind="call", text=f"{written['tool']} {json.dumps(written['args'], ensure_ascii=False, default=str)}")  # fmt: skip
    if kind in ("text", "note"):
        return AgentEvent(kind=kind, text=written["text"])
    return None


def _result(values: Mapping[str, Any], waits: Sequence[tuple[str, Any]], unfinished: bool, thread: str) -> AgentResult:
    spent = values.get("spent", {})
    asked = next((value for _, value in waits if isinstance(value, Mapping) and value.get("kind") == "approval"), None)
    done = AgentResult(
        answer=values.get("answer", ""), steps=tuple(step_from(row) for row in values.get("steps", ())),
        citations=tuple(Citation(**row) for row in values.get("citations", ())), stopped=values.get("stopped") or "error",
        reason=values.get("reason", ""), unsupported=tuple(values.get("unsupported", ())), thread=thread,
        run_id=values.get("run_id", ""), plan=tuple(values.get("extra", {}).get("plan", ())),
        usage=Usage(
            n_prompt_tokens=int(spent.get("prompt_tokens", 0)), n_answer_tokens=int(spent.get("answer_tokens", 0)),
            seconds=round(spent.get("seconds", 0.0), 3), model=str(spent.get("model", "")),
        ),
    )  # fmt: skip
    if asked is not None:
        approval = _approval(asked)
        why = f"{approval.tool} waits for approval: {approval.reason}."
        return replace(done, stopped="approval", reason=why, approval=approval)
    if unfinished:
        return replace(done, stopped="interrupted", reason=CUT_OFF)
    return done
