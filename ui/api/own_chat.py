"""Chat completions in OpenAI's shape from a chat model in this process. What the model cannot do is refused, not left out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from rag import prompts
from rag.errors import UsageError
from rag.structured import MOST_PROBLEMS, Shape
from rag.types import ChatDelta, Message, ToolCall, Usage
from ui.api.service import Refused

MAX_TOOLS = 128


class OwnChat(Protocol):
    """A chat model of this process. Raises ChatError; UsageError for what is too long, or tools that it cannot take."""

    name: str

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None,
        stop: Sequence[str] = (), tools: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[ChatDelta]: ...  # fmt: skip


class _Function(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    arguments: str = "{}"


class _Call(BaseModel):
    id: str = Field("", max_length=200)
    function: _Function


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[_Call] = Field(default=[], max_length=MAX_TOOLS)
    tool_call_id: str = ""

    def message(self) -> Message:
        calls = (
            ToolCall(call_id=one.id, name=one.function.name, arguments=one.function.arguments)
            for one in self.tool_calls
        )
        return Message(role=self.role, content=self.content or "", tool_calls=tuple(calls), call_id=self.tool_call_id)  # fmt: skip


class _Described(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    description: str = ""
    parameters: dict[str, Any] = {}


class _Tool(BaseModel):
    type: Literal["function"] = "function"
    function: _Described


class _Schema(BaseModel):
    model_config = ConfigDict(extra="ignore")

    json_schema: dict[str, Any] = Field(default={"type": "object"}, alias="schema")


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: _Schema = _Schema()


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    messages: list[_Turn] = Field(min_length=1, max_length=1000)
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    tools: list[_Tool] = Field(default=[], max_length=MAX_TOOLS)
    tool_choice: Any = None
    response_format: _Format | None = None
    logprobs: Literal[False] | None = None


def deltas(chat: OwnChat, body: ChatRequest) -> Iterator[ChatDelta]:
    """The reply. Raises: Refused for what this model cannot do, and for JSON that it does not bring about; ChatError."""
    wanted = body.response_format.type if body.response_format else "text"
    tools = [tool.function.model_dump() for tool in body.tools] if body.tool_choice != "none" else []
    if tools and body.tool_choice not in (None, "auto"):
        raise Refused(400, "E_USAGE", 'A model that transformers runs chooses its tools itself: tool_choice is "auto" or "none".')  # fmt: skip
    if tools and wanted != "text":
        raise Refused(400, "E_USAGE", "A model that transformers runs takes tools or a response_format, not both.")
    messages = [turn.message() for turn in body.messages]
    options: dict[str, Any] = {
        "max_tokens": body.max_completion_tokens or body.max_tokens or 512,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p, "seed": body.seed,
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop or (),
    }  # fmt: skip
    if body.response_format is None or wanted == "text":
        return chat.stream(messages, tools=tools, **options)
    return iter(_valid(chat, messages, Shape(body.response_format.json_schema.json_schema), options))


def _valid(chat: OwnChat, messages: list[Message], shape: Shape, options: Mapping[str, Any]) -> list[ChatDelta]:
    """JSON that is valid for the schema: the model is told it, its reply is checked, and it is asked once more.

    Raises: Refused 400 where that does not do: clients that can then ask for JSON in words of their own.
    """
    last = messages[-1]
    told = f"{last.content}\n\nReply with JSON only, valid for this schema: {shape.text}"
    messages = [*messages[:-1], replace(last, content=told)]
    spent = Usage()
    wrong: list[str] = []
    for _ in range(2):
        said, end = _whole(chat.stream(messages, **options))
        spent = _added(spent, end.usage or Usage())
        value, wrong = shape.read(said)
        if not wrong:
            end = replace(end, finish_reason="stop", usage=spent)
            return [ChatDelta(text=json.dumps(value, ensure_ascii=False)), end]
        again = prompts.data_again(wrong[:MOST_PROBLEMS], "en")
        messages = [*messages, Message(role="assistant", content=said), again]
    raise Refused(400, "E_LLM_SCHEMA", f"response_format: the model {chat.name} gave twice what is not valid for the schema ({wrong[0]}). Make the schema simpler, raise max_tokens, or use a larger model.")  # fmt: skip


def _whole(found: Iterator[ChatDelta]) -> tuple[str, ChatDelta]:
    """The text of a reply, and its last delta."""
    text = ""
    for delta in found:
        text += delta.text
        if delta.done:
            return text, delta
    raise UsageError("The reply has no end. Ask again.")


def _added(one: Usage, other: Usage) -> Usage:
    return Usage(
        n_prompt_tokens=one.n_prompt_tokens + other.n_prompt_tokens, n_answer_tokens=one.n_answer_tokens + other.n_answer_tokens,
        seconds=one.seconds + other.seconds, model=other.model,
    )  # fmt: skip


def whole(name: str, found: Iterator[ChatDelta]) -> dict[str, Any]:
    """The reply as one object."""
    text, end = _whole(found)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if end.tool_calls:
        message = {"role": "assistant", "content": text or None, "tool_calls": [_call(one) for one in end.tool_calls]}
    choice = {"index": 0, "message": message, "finish_reason": _finish(end)}
    return {**_head(name, "chat.completion"), "choices": [choice], "usage": _usage(end)}


def events(name: str, found: Iterator[ChatDelta], *, usage: bool) -> Generator[str]:
    """The reply as server-sent events."""
    head = _head(name, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        return _line({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield event({"role": "assistant", "content": ""})
    for delta in found:
        if delta.text:
            yield event({"content": delta.text})
        if delta.tool_calls:
            yield event({"tool_calls": [{"index": at, **_call(one)} for at, one in enumerate(delta.tool_calls)]})
        if delta.done:
            yield event({}, _finish(delta))
            if usage:
                yield _line({**head, "choices": [], "usage": _usage(delta)})
    yield "data: [DONE]\n\n"


def _call(call: ToolCall) -> dict[str, Any]:
    """As the protocol writes it, with an id that no other reply has."""
    return {
        "id": f"call_{secrets.token_hex(8)}", "type": "function", "function": {"name": call.name, "arguments": call.arguments},
    }  # fmt: skip


def _finish(end: ChatDelta) -> str:
    return "tool_calls" if end.tool_calls else end.finish_reason


def _line(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": name}


def _usage(delta: ChatDelta) -> dict[str, int]:
    found = delta.usage
    n_prompt, n_answer = (found.n_prompt_tokens, found.n_answer_tokens) if found else (0, 0)
    return {"prompt_tokens": n_prompt, "completion_tokens": n_answer, "total_tokens": n_prompt + n_answer}
