"""Tool calls as chat models write them into their text, each family in its own way.

<tool_call>{"name": …, "arguments": {…}}</tool_call>      Qwen, Hermes, SmolLM
[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]           Mistral
{"name": …, "parameters": {…}}                            Llama 3, with or without <|python_tag|>, and in a code block
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from rag.types import ToolCall

_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_LISTED = re.compile(r"\[TOOL_CALLS\]", re.IGNORECASE)
_FENCED = re.compile(r"```(?:json|tool_call)?\s*\n(.*?)```", re.DOTALL)
_DECODER = json.JSONDecoder()


def read_calls(reply: str, names: Collection[str]) -> tuple[str, tuple[ToolCall, ...]]:
    """What a reply says beside its calls, and the calls. names: of the tools there are; JSON about others is no call.

    A reply without a call is said whole.
    """
    if tagged := _TAGGED.findall(reply):
        found, rest = [one for inside in tagged for one in _values(inside)], _TAGGED.sub("", reply)
    elif parts := _LISTED.split(reply)[1:]:
        found, rest = [one for part in parts for one in _values(part)], _LISTED.split(reply)[0]
    else:
        bare = reply.replace("<|python_tag|>", "").strip()
        fenced = _FENCED.findall(bare)
        found = (
            [one for text in fenced for one in _values(text)]
            if fenced
            else _values(bare)
            if bare[:1] in ("{", "[")
            else []
        )
        rest = _FENCED.sub("", bare) if fenced else ""
    calls = tuple(_call(one, at) for at, one in enumerate(found) if one.get("name") in names)
    return (rest.strip(), calls) if calls else (reply.strip(), ())


def _values(text: str) -> list[dict[str, Any]]:
    """The JSON objects that stand one after the other, alone or in a list."""
    return list(_each(text.strip()))


def _each(text: str) -> Iterator[dict[str, Any]]:
    while text[:1] in ("{", "["):
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            return
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict))
        text = text[end:].lstrip(" \t\r\n;,")


def _call(value: dict[str, Any], at: int) -> ToolCall:
    arguments = value.get("arguments", value.get("parameters", {}))
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(call_id=f"call_{at}", name=str(value["name"]), arguments=text)
