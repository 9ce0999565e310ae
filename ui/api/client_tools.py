"""Tools of the client's in a chat with a collection: the model may search the collection, and may ask for their calls.

The client runs its tools itself, as OpenAI's protocol has it: the reply names a call, the client sends the result in its
next request, which holds the whole conversation again.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.agent import Agent
from agents.tooling import Tool, ToolContext, from_schema
from agents.types import Approval
from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.types import Answer, Event, Usage
from ui.api.service import Refused
from ui.api.shapes import ChatMessage, ChatRequest

MAX_RESULT = 20_000  # characters of a tool's result that the model may see
NAMED = "function"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the client is asked to make, and what the model spent to get there."""

    name: str
    args: Mapping[str, Any]
    usage: Usage = Usage()
    call_id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")

    def to_dict(self) -> dict[str, Any]:
        """As in a message of OpenAI's protocol."""
        arguments = json.dumps(dict(self.args), ensure_ascii=False)
        return {"id": self.call_id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


def wanted_tools(request: ChatRequest) -> list[Tool]:
    """The client's tools that may be called, by `tool_choice`. Raises Refused for what is no usable tool."""
    if not request.tools or request.tool_choice == "none":
        return []
    chosen = request.tool_choice
    only = chosen.get("function", {}).get("name", "") if isinstance(chosen, dict) else ""
    tools = [_tool(one) for one in request.tools]
    if only and only not in [one.name for one in tools]:
        raise Refused(400, "E_USAGE", f"tool_choice names {only[:64]!r}, which is not among the tools.")
    return [one for one in tools if only in ("", one.name)]


def tool_stream(
    kb: KnowledgeBase, request: ChatRequest, tools: Sequence[Tool], question: str, history: Sequence[tuple[str, str]]
) -> Iterator[Event | ToolCall]:
    """One call to be made, or the events of an answer from what the collection and the tools said."""
    task = task_text(question, history, made_calls(request.messages))
    with (
        tempfile.TemporaryDirectory() as home,
        Agent(kb=kb, kind="react", tools=list(tools), approve="ask", home=home) as agent,
    ):
        result = agent.run(task)
        if result.approval is not None:
            yield _asked(result.approval, result.usage)
            return
        yield Event(kind="text", text=result.answer)
        answer = Answer(
            text=result.answer, citations=result.citations, usage=result.usage, question=question,
            warnings=(result.reason,) if result.reason else (), unsupported=result.unsupported,
        )  # fmt: skip
        yield Event(kind="answer", answer=answer)


def made_calls(messages: Sequence[ChatMessage]) -> list[tuple[str, str, str]]:
    """(name, arguments, result) of the calls since the last question."""
    last = max((at for at, one in enumerate(messages) if one.role == "user"), default=-1)
    asked: dict[str, tuple[str, str]] = {}
    made = []
    for message in messages[last + 1 :]:
        for call in message.tool_calls or ():
            about = call.get("function") or {}
            asked[str(call.get("id", ""))] = (str(about.get("name", "")), str(about.get("arguments", "")))
        if message.role == "tool" and message.tool_call_id in asked:
            made.append((*asked[message.tool_call_id], message.text[:MAX_RESULT]))
    return made


def task_text(question: str, history: Sequence[tuple[str, str]], made: Sequence[tuple[str, str, str]]) -> str:
    """What the agent works on: the conversation, the question, and what its calls gave."""
    before = [f"User: {asked}\nYou: {answered}" for asked, answered in history]
    done = [f"You called {name}({arguments}), which gave: {result}" for name, arguments, result in made]
    return "\n".join([*before, f"User: {question}" if before else question, *done])


def _asked(approval: Approval, usage: Usage) -> ToolCall:
    return ToolCall(name=approval.tool, args=approval.args, usage=usage)


def _tool(given: Any) -> Tool:
    about = given.get(NAMED) if isinstance(given, dict) and given.get("type", NAMED) == NAMED else None
    if not isinstance(about, dict) or not isinstance(about.get("name"), str):
        raise Refused(400, "E_USAGE", 'Each tool must be {"type": "function", "function": {"name": …, "parameters": …}}.')  # fmt: skip
    schema = about.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(schema, dict):
        raise Refused(400, "E_USAGE", f"The parameters of the tool {about['name'][:64]!r} must be a JSON schema.")
    try:
        return from_schema(about["name"], str(about.get("description") or about["name"]), schema, _never, effect="handover")  # fmt: skip
    except UsageError as error:
        raise Refused(400, "E_USAGE", str(error)) from error


def _never(args: Mapping[str, Any], context: ToolContext) -> str:
    raise AssertionError("a client's tool is run by the client")
