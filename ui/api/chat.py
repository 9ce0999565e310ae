"""Between OpenAI's chat protocol and a conversation with a collection."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from agents.agent import Agent
from agents.types import AgentResult
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.types import Answer, Event, Step, Usage
from ui.api.client_tools import ToolCall, tool_stream, wanted_tools
from ui.api.guard import error_body
from ui.api.service import Refused, status_of
from ui.api.shapes import ChatRequest

MAX_TURNS = 10  # of the conversation that are read to understand the question


def conversation(request: ChatRequest) -> tuple[str, list[tuple[str, str]]]:
    """The question and the (question, answer) pairs before it. Raises Refused for what a collection cannot answer."""
    asked_for = {str(call.get("id")) for message in request.messages for call in message.tool_calls or ()}
    said = [message for message in request.messages if message.role in ("user", "assistant") and not message.tool_calls]
    if not all(message.is_text for message in said):
        raise Refused(400, "E_USAGE", "Only text can be asked; leave out pictures and sound.")
    if request.messages[-1].role == "tool" and request.messages[-1].tool_call_id not in asked_for:
        raise Refused(
            400, "E_USAGE", "The last message is a tool's result, and no message before it holds a call with its id."
        )
    if not said or said[-1].role != "user":
        raise Refused(400, "E_USAGE", "The last message must be the user's question.")
    if not said[-1].text.strip():
        raise Refused(400, "E_USAGE", "The question is empty. Type something to look for.")
    pairs: list[tuple[str, str]] = []
    for asked, answered in zip(said, said[1:], strict=False):
        if asked.role == "user" and answered.role == "assistant":
            pairs.append((asked.text, answered.text))
    return said[-1].text, pairs[-MAX_TURNS:]


def open_stream(kb: KnowledgeBase, request: ChatRequest) -> Iterator[Event | ToolCall]:
    """The events of the answer. What is wrong with the request is raised here, before anything is sent."""
    question, history = conversation(request)
    if tools := wanted_tools(request):
        _check_unasked(request)
        return tool_stream(kb, request, tools, question, history)
    answer = kb.settings.answer
    longest = request.max_completion_tokens or request.max_tokens or answer.max_tokens
    warmth = answer.temperature if request.temperature is None else request.temperature
    if (longest, warmth) != (answer.max_tokens, answer.temperature):
        changed = kb.settings.with_values(answer__max_tokens=longest, answer__temperature=warmth)
        kb = kb.view(settings=changed, principal=kb.principal)
    options = request.ragstone.model_dump() if request.ragstone else {}
    if (schema := wanted_schema(request)) is not None:
        return _in_shape(kb, question, schema, history=history, **options)
    return kb.stream(question, history=history, **options)


def _check_unasked(request: ChatRequest) -> None:
    """Raises Refused where it is said how to search and an agent does it, which would pass over a filter in silence."""
    asked = request.ragstone.model_fields_set - {"explain"} if request.ragstone else set()
    if asked:
        raise Refused(
            400,
            "E_USAGE",
            f"An agent and a chat with tools search as the model sees fit; leave out ragstone.{min(asked)}.",
        )


def wanted_schema(request: ChatRequest) -> dict[str, Any] | None:
    """The JSON schema that the answer is to have; None for text. Raises Refused for another `response_format`."""
    wanted = request.response_format or {}
    kind = wanted.get("type") or "text"
    if kind == "text":
        return None
    about = wanted.get("json_schema")
    schema = about.get("schema") if isinstance(about, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise Refused(400, "E_USAGE", 'response_format must be {"type": "text"}, or {"type": "json_schema", "json_schema": {"schema": …}} with a JSON schema.')  # fmt: skip
    return schema


def _in_shape(kb: KnowledgeBase, question: str, schema: dict[str, Any], **options: Any) -> Iterator[Event]:
    """The answer as JSON text that is valid for the schema; what the documents do not say is the usual sentence."""
    answer = kb.ask(question, schema=schema, **options)
    text = answer.text if answer.abstained else json.dumps(answer.data, ensure_ascii=False)
    yield Event(kind="text", text=text)
    yield Event(kind="answer", answer=replace(answer, text=text))


def agent_stream(kb: KnowledgeBase, kind: str, request: ChatRequest) -> Iterator[Event | ToolCall]:
    """An agent's work on the question, as the events of an answer; its steps are in the trace.

    It searches, reads and calculates with the rights of whoever asks; nothing that has effects is allowed, and nothing is
    kept of a run by somebody other than the owner.
    """
    question, history = conversation(request)
    _check_unasked(request)
    if wanted_schema(request) is not None:
        raise Refused(
            400, "E_USAGE", "An agent answers in text. Ask a collection for JSON, or leave out `response_format`."
        )
    if tools := wanted_tools(request):
        yield from tool_stream(kb, request, tools, question, history)
        return
    before = "\n".join(f"User: {asked}\nYou: {answered}" for asked, answered in history)
    task = f"{before}\nUser: {question}" if before else question
    with ExitStack() as stack:
        home = None if kb.principal is None else stack.enter_context(tempfile.TemporaryDirectory())
        agent = stack.enter_context(Agent(kb=kb, kind=kind, tools=[], approve="never", home=home))
        for event in agent.stream(task):
            if event.result is not None:
                yield Event(kind="text", text=event.result.answer)
                yield Event(kind="answer", answer=_as_answer(event.result, question))


def _as_answer(result: AgentResult, question: str) -> Answer:
    steps = tuple(
        Step(name=step.tool, ms=step.ms, detail={"args": dict(step.args), "observation": step.observation}) for step in result.steps
    )  # fmt: skip
    return Answer(
        text=result.answer, citations=result.citations, usage=result.usage, trace=steps, question=question,
        warnings=(result.reason,) if result.reason else (), unsupported=result.unsupported,
    )  # fmt: skip


def call_completion(reply_id: str, model: str, call: ToolCall) -> dict[str, Any]:
    """A reply that asks the client to make a call."""
    message = {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]}
    return {
        "id": reply_id, "object": "chat.completion", "created": int(time.time()), "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": _usage(call.usage), "citations": [], "ragstone": {},
    }  # fmt: skip


def completion(reply_id: str, model: str, answer: Answer, *, explain: bool) -> dict[str, Any]:
    """The whole answer. Raises Refused 502 or 504 when the chat model broke off: half an answer must not look whole."""
    if answer.broke_off not in ("", "length"):
        raise Refused(504 if answer.broke_off == "E_LLM_DEADLINE" else 502, answer.broke_off, answer.warnings[-1])
    message = {"role": "assistant", "content": answer.text}
    return {
        "id": reply_id, "object": "chat.completion", "created": int(time.time()), "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.broke_off or "stop"}],
        "usage": _usage(answer.usage), **_extras(answer, explain=explain),
    }  # fmt: skip


def chunks(
    reply_id: str,
    model: str,
    events: Iterator[Event | ToolCall],
    done: Callable[[Usage], None],
    *,
    usage: bool,
    explain: bool,
) -> Generator[str]:
    """The answer as server-sent events, ending with `[DONE]` when it is whole, else with an error event.

    The chunk with the finish reason carries the citations. `done` is called with what was spent before the last chunk.
    An answer that the check withdraws, after it was streamed, is followed by the sentence that takes its place.
    """
    head = {"id": reply_id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> str:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **extra})

    yield chunk({"role": "assistant", "content": ""})
    shown = ""
    try:
        for event in events:
            if isinstance(event, ToolCall):
                done(event.usage)
                yield chunk({"tool_calls": [{"index": 0, **event.to_dict()}]})
                yield chunk({}, "tool_calls")
                if usage:
                    yield _event({**head, "choices": [], "usage": _usage(event.usage)})
                yield "data: [DONE]\n\n"
                return
            if event.kind == "text" and event.text:
                shown += event.text
                yield chunk({"content": event.text})
            if event.answer is None:
                continue
            answer = event.answer
            done(answer.usage)
            if answer.broke_off not in ("", "length"):
                yield _event(error_body(answer.broke_off, answer.warnings[-1], 502))
                return
            if answer.abstained and answer.text.strip() != shown.strip():
                yield chunk({"content": f"\n\n{answer.text}" if shown.strip() else answer.text})
            yield chunk({}, answer.broke_off or "stop", **_extras(answer, explain=explain))
            if usage:
                yield _event({**head, "choices": [], "usage": _usage(answer.usage)})
            yield "data: [DONE]\n\n"
    except RagstoneError as error:
        yield _event(error_body(error.code, str(error), status_of(error)))


def _extras(answer: Answer, *, explain: bool) -> dict[str, Any]:
    about = {
        "text": answer.text, "abstained": answer.abstained, "question": answer.question, "warnings": answer.warnings,
        "unsupported": answer.unsupported, "conflicts": [asdict(one) for one in answer.conflicts], "hits": [asdict(hit) for hit in answer.hits],
    }  # fmt: skip
    trace = {"trace": [asdict(step) for step in answer.trace]} if explain else {}
    return {"citations": [asdict(one) for one in answer.citations], "ragstone": about | trace}


def _usage(usage: Usage) -> dict[str, int]:
    n_prompt, n_answer = usage.n_prompt_tokens, usage.n_answer_tokens
    return {"prompt_tokens": n_prompt, "completion_tokens": n_answer, "total_tokens": n_prompt + n_answer}


def _event(data: Any) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, default=str)}\n\n"
