"""Stored runs: shown again without a model, repeated with the replies that were recorded, and turned into tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents.types import AgentEvent, step_from
from rag.errors import ChatError
from rag.types import ChatDelta, Message, ToolCall, Usage


def replayed(record: Mapping[str, Any]) -> Iterator[AgentEvent]:
    """A stored run's steps as events; no model and no tool is called."""
    for row in record.get("steps", ()):
        yield AgentEvent(kind="step", step=step_from(row))


class RecordedChat:
    """A chat model that says what was recorded, in order. Raises ChatError when it is asked for more.

    replies: {"text", "calls", "native"} as a run's record holds them.
    """

    name = "recorded"

    def __init__(self, replies: Sequence[Mapping[str, Any]]) -> None:
        self._left = list(replies)
        self.calls_tools = any(reply.get("native") for reply in replies)

    def stream(self, messages: Sequence[Message], **_options: Any) -> Iterator[ChatDelta]:
        if not self._left:
            raise ChatError("E_LLM_REFUSED", "The recorded replies have run out: the run went another way than it did.")
        reply = self._left.pop(0)
        text = str(reply.get("text", ""))
        if text:
            yield ChatDelta(text=text)
        calls = tuple(_recorded_call(at, call) for at, call in enumerate(reply.get("calls", ()))) if reply.get("native") else ()  # fmt: skip
        yield ChatDelta(done=True, finish_reason="stop", tool_calls=calls, usage=Usage(model=self.name))

    def close(self) -> None:
        """Nothing is open."""


def as_test(record: Mapping[str, Any]) -> str:
    """The source of a pytest test: the recorded replies drive an agent, and its calls must be the recorded ones.

    Tools give what they gave then, so that the test needs no model, no network and no collection.
    """
    steps = [{name: row[name] for name in ("tool", "args", "observation", "ok")} for row in record["steps"] if row["tool"]]  # fmt: skip
    data = {
        "task": record["task"], "kind": record["kind"], "replies": record["replies"], "tools": record["tools"], "steps": steps,
        "answer": record["answer"], "stopped": record["stopped"], "budget": record["budget"],
    }  # fmt: skip
    text = json.dumps(data, ensure_ascii=True, indent=2)
    return _TEST.format(run_id=record["run_id"], data=text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"'))


def repeat(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run the agent of a test with the recorded replies and observations; its calls as {"tool", "args"}.

    Raises: ChatError, through the run's reason, when it goes another way.
    """
    from agents.agent import Agent
    from agents.tooling import from_schema
    from agents.types import Budget
    from rag.settings import Settings

    given = [dict(step) for step in data["steps"]]

    def recorded(name: str) -> Any:
        def run(args: Mapping[str, Any], _context: Any) -> str:
            for at, step in enumerate(given):
                if step["tool"] == name and step["args"] == dict(args):
                    return str(given.pop(at)["observation"])
            return "nothing was recorded for this call"

        return run

    tools = [
        from_schema(one["name"], one["description"], one["parameters"], recorded(one["name"]), effect=one["effect"])
        for one in data["tools"]
    ]
    chat = RecordedChat(data["replies"])
    budget = Budget(**data["budget"])
    with Agent(chat=chat, tools=tools, kind=data["kind"], approve="all", budget=budget, settings=Settings()) as agent:
        result = agent.run(data["task"])
    return [{"tool": step.tool, "args": dict(step.args)} for step in result.steps if step.tool]


def _recorded_call(at: int, call: Mapping[str, Any]) -> ToolCall:
    arguments = call.get("raw") or json.dumps(call.get("args", {}), ensure_ascii=False)
    return ToolCall(call_id=call.get("call_id") or f"call_{at}", name=call["tool"], arguments=arguments)


_TEST = '''"""Run {run_id}, repeated: the recorded replies must lead to the recorded calls. Change RUN to what should happen."""

import json

from agents.traces import repeat

RUN = json.loads("""{data}""")


def test_the_run_makes_the_same_calls() -> None:
    calls = [{{"tool": step["tool"], "args": step["args"]}} for step in RUN["steps"]]
    assert repeat(RUN) == calls
'''
