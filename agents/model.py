"""Asking the chat model for the next action: with native tool calls where the endpoint has them, else as JSON text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents import grounding, prompts
from agents.prompts import Situation
from agents.tooling import Tool
from agents.types import Call
from rag.answering import estimate_tokens
from rag.errors import ChatError
from rag.prompts import spoken, without_thinking
from rag.types import ChatDelta, ChatModel, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model wants: calls, or an answer, or it made a mistake, which `fault` tells it."""

    thought: str = ""
    calls: tuple[Call, ...] = ()
    answer: str | None = None
    fault: str = ""
    raw: str = ""
    n_prompt_tokens: int = 0
    n_answer_tokens: int = 0
    seconds: float = 0.0
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a model is asked. tool_calls: auto takes native calls from models that have them; text never does."""

    chat: ChatModel
    tool_calls: str = "auto"
    max_tokens: int = 512
    temperature: float = 0.0

    @property
    def is_native(self) -> bool:
        return self.tool_calls != "text" and bool(getattr(self.chat, "calls_tools", False))


def ask(how: Asking, at: Situation, *, deadline_s: float, on_text: Callable[[str], None] | None = None) -> Reply:
    """One reply. An endpoint that turns out not to take tools is asked again in the text form. Raises ChatError."""
    if how.is_native:
        try:
            return _native(how, at, deadline_s, on_text)
        except ChatError as error:
            if error.code != "E_LLM_NO_TOOLS" or how.tool_calls == "native":
                raise
    return _text(how, at, deadline_s)


def messages(how: Asking, at: Situation) -> list[Message]:
    """The prompt as it is sent."""
    return prompts.native_messages(at) if how.is_native else prompts.text_messages(at)


def _native(how: Asking, at: Situation, deadline_s: float, on_text: Callable[[str], None] | None) -> Reply:
    sent = prompts.native_messages(at)
    tools: dict[str, Any] = {} if at.last or not at.tools else {"tools": [tool.spec() for tool in at.tools]}
    started = time.perf_counter()
    text, last = _collect(
        how.chat.stream(
            sent, max_tokens=how.max_tokens, temperature=how.temperature, deadline_s=deadline_s, **tools
        ),
        on_text,
    )  # fmt: skip
    spent = _spent(sent, text, last, started)
    if last.tool_calls:
        calls = tuple(_call(one.name, one.arguments, one.call_id) for one in last.tool_calls)
        return Reply(thought=text.strip(), calls=calls, raw=text, **spent)
    names = [tool.name for tool in at.tools]
    thought, call, answer, fault = prompts.read_action(text, names)
    if call is not None and call.tool in names:  # a model that writes its call down in place of making it
        return Reply(thought=thought, calls=(call,), raw=text, **spent)
    if not text.strip() or (fault and not answer):
        return Reply(fault=fault or "The reply was empty.", raw=text, **spent)
    return Reply(answer=answer or text.strip(), raw=text, **spent)


def _text(how: Asking, at: Situation, deadline_s: float) -> Reply:
    sent = prompts.text_messages(at)
    told = at.steps[-1].code if at.steps else ""
    if not told and (at.stuck or grounding.found_nothing_new(at.steps)):
        told = "nothing_new"  # a small model would go on searching
    numbers = grounding.operands(at.task, at.steps, at.facts) if told in grounding.HELD else None
    schema = prompts.action_schema(_open(at), last=at.last, told=told, numbers=numbers)
    started = time.perf_counter()
    text, last = _collect(
        how.chat.stream(
            sent, max_tokens=how.max_tokens, temperature=how.temperature, json_schema=schema, deadline_s=deadline_s
        ),
        None,
    )
    spent = _spent(sent, text, last, started)
    thought, call, answer, fault = prompts.read_action(text, [tool.name for tool in at.tools])
    if fault and last.finish_reason == "length":
        answer = prompts.looped(text) or None
        fault = "" if answer else "The reply was cut off at its longest. Write less."
    return Reply(thought=thought, calls=(call,) if call else (), answer=answer, fault=fault, raw=text, **spent)


def _open(at: Situation) -> list[Tool]:
    """The tools that a small model may call now: it looks up before it computes."""
    names = {tool.name for tool in at.tools}
    facts = [*at.facts, *(answered for _, answered in at.turns)]
    early = "search" in names and not at.steps and not grounding.can_compute(at.task, at.steps, facts)
    return [tool for tool in at.tools if not (early and tool.name == "calculator")]


def _collect(deltas: Any, on_text: Callable[[str], None] | None) -> tuple[str, ChatDelta]:
    parts: list[str] = []
    last = ChatDelta()
    for delta in spoken(deltas):
        if delta.text:
            parts.append(delta.text)
            if on_text is not None:
                on_text(delta.text)
        last = delta
    return without_thinking("".join(parts)), last


def _call(name: str, arguments: str, call_id: str) -> Call:
    """A native call; arguments that are no JSON object are kept as they came."""
    try:
        found = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Call(tool=name, raw=arguments[:2000] or "nothing", call_id=call_id)
    return Call(tool=name, args=found, call_id=call_id)


def _spent(sent: list[Message], text: str, last: ChatDelta, started: float) -> dict[str, Any]:
    """Tokens and seconds; where an endpoint counts no tokens, they are estimated, so that budgets hold."""
    usage = last.usage
    n_prompt = usage.n_prompt_tokens if usage else 0
    n_answer = usage.n_answer_tokens if usage else 0
    return {
        "n_prompt_tokens": n_prompt or int(sum(estimate_tokens(message.content) + 4 for message in sent)),
        "n_answer_tokens": n_answer or int(estimate_tokens(text)) + 4 * len(last.tool_calls),
        "seconds": round(time.perf_counter() - started, 3),
        "model": usage.model if usage else "",
    }
