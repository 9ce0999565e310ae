"""The records of an agent run: its budget, its steps, what happens while it runs and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rag.types import Citation, Usage

Effect = Literal["read", "fetch", "write", "handover"]
"""What a call does to the world: read changes nothing, fetch sends a request into a network, write is all the rest.

handover: the caller makes it. The run waits with the exact arguments, as for an approval, and the tool itself never runs."""

Stopped = Literal["answered", "abstained", "steps", "tokens", "seconds", "repeated", "invalid", "approval", "interrupted", "error"]  # fmt: skip
"""Why a run ended. approval and interrupted: it waits, and `resume` goes on."""

WAITING = ("approval", "interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use; it ends at the first limit it meets, with what it has.

    max_steps: model replies, the answer included. max_tokens: prompts and replies together. max_seconds: of work, waiting
    for approval not counted. max_equal_calls: the same tool with the same arguments. max_faults: replies in a row that
    are no valid call and no answer.
    """

    max_steps: int = 12
    max_tokens: int = 60_000
    max_seconds: float = 60.0
    max_equal_calls: int = 3
    max_faults: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStep:
    """One tool call and what came of it. tool is empty for a reply that was no valid call; observation says why.

    n: from 1. ok: the tool ran to its end. code: what went wrong, such as unknown_tool, arguments, timeout, denied.
    tainted: the observation came from outside and is not trusted. agent: who acted, in a team.
    """

    n: int
    thought: str
    tool: str
    args: Mapping[str, Any]
    observation: str
    ok: bool = True
    code: str = ""
    tainted: bool = False
    ms: float = 0.0
    agent: str = ""
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A call that waits for a person: exactly these arguments will be used. reason: why it is asked."""

    tool: str
    args: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """What a run came to. `reason` says in a sentence why it stopped when it did not simply answer.

    answer: with markers [n] of the citations; after a stop what can be said from the steps so far.
    thread: the conversation; a later run with it remembers this one. run_id: names the stored trace.
    """

    answer: str
    steps: tuple[AgentStep, ...] = ()
    citations: tuple[Citation, ...] = ()
    stopped: Stopped = "answered"
    reason: str = ""
    usage: Usage = Usage()
    approval: Approval | None = None
    plan: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    run_id: str = ""
    thread: str = ""

    @property
    def text(self) -> str:
        return self.answer

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Files that tools made, as paths."""
        return tuple(path for step in self.steps for path in step.artifacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One event of `agent.stream`: call (a tool is about to run), step (it ran), text (a piece of what the model writes),
    note (a word on progress, such as a plan), approval (a call waits), result (the end)."""

    kind: Literal["call", "step", "text", "note", "approval", "result"]
    text: str = ""
    step: AgentStep | None = None
    approval: Approval | None = None
    result: AgentResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call that a model asked for. raw: the arguments as written, when they are no JSON object."""

    tool: str
    args: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = ""
    raw: str = ""


def step_json(step: AgentStep) -> dict[str, Any]:
    return {**asdict(step), "args": dict(step.args), "artifacts": list(step.artifacts)}


def step_from(row: Mapping[str, Any]) -> AgentStep:
    known = {name: row[name] for name in AgentStep.__dataclass_fields__ if name in row}
    return AgentStep(**{**known, "artifacts": tuple(known.get("artifacts", ()))})
