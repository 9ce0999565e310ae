"""Chat completions in OpenAI's shape from a chat model in this process. What the model cannot do is refused, not left out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from rag.types import ChatDelta, Message
from ui.api.service import Refused

UNABLE = ("tools", "response_format", "logprobs")


class OwnChat(Protocol):
    """A chat model of this process. Raises ChatError."""

    name: str

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[ChatDelta]: ...  # fmt: skip


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

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


def deltas(chat: OwnChat, body: ChatRequest) -> Iterator[ChatDelta]:
    """The reply. Raises: Refused for what this model cannot do; ChatError."""
    if asked := [name for name in UNABLE if (body.model_extra or {}).get(name)]:
        raise Refused(400, "E_USAGE", f"A model that transformers runs takes no {', '.join(asked)}. Serve a .gguf file, or use vLLM.")  # fmt: skip
    return chat.stream(
        [Message(role=turn.role, content=turn.content) for turn in body.messages],
        max_tokens=body.max_completion_tokens or body.max_tokens or 512,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p, seed=body.seed,
        stop=[body.stop] if isinstance(body.stop, str) else body.stop or (),
    )  # fmt: skip


def whole(name: str, found: Iterator[ChatDelta]) -> dict[str, Any]:
    """The reply as one object."""
    text = ""
    for delta in found:
        text += delta.text
        if delta.done:
            break
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": delta.finish_reason}
    return {**_head(name, "chat.completion"), "choices": [choice], "usage": _usage(delta)}


def events(name: str, found: Iterator[ChatDelta], *, usage: bool) -> Generator[str]:
    """The reply as server-sent events."""
    head = _head(name, "chat.completion.chunk")

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        return _line({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield event({"role": "assistant", "content": ""})
    for delta in found:
        if delta.text:
            yield event({"content": delta.text})
        if delta.done:
            yield event({}, delta.finish_reason)
            if usage:
                yield _line({**head, "choices": [], "usage": _usage(delta)})
    yield "data: [DONE]\n\n"


def _line(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": name}


def _usage(delta: ChatDelta) -> dict[str, int]:
    found = delta.usage
    n_prompt, n_answer = (found.n_prompt_tokens, found.n_answer_tokens) if found else (0, 0)
    return {"prompt_tokens": n_prompt, "completion_tokens": n_answer, "total_tokens": n_prompt + n_answer}
