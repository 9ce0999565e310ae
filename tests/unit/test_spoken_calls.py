"""Calls in the words of each family of models."""

from __future__ import annotations

import json

import pytest

from rag.spoken_calls import read_calls

NAMES = ("weather", "clock")
ARGUMENTS = {"city": "杭州"}
CALL = json.dumps({"name": "weather", "arguments": ARGUMENTS}, ensure_ascii=False)
LLAMA = json.dumps({"name": "weather", "parameters": ARGUMENTS})


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (f"<tool_call>\n{CALL}\n</tool_call>", ""),
        (f"I look it up.\n<tool_call>{CALL}</tool_call>", "I look it up."),
        (f"<tool_call>{CALL}", ""),  # cut before its end
        (f"[TOOL_CALLS] [{CALL}]", ""),
        (f"Wait.[TOOL_CALLS]{CALL}", "Wait."),
        (LLAMA, ""),
        (f"<|python_tag|>{LLAMA}", ""),
        (f"So:\n```json\n{CALL}\n```", "So:"),
        (json.dumps({"name": "weather", "arguments": json.dumps(ARGUMENTS)}), ""),
    ],
)
def test_a_call_is_found(reply: str, said: str) -> None:
    rest, (call,) = read_calls(reply, NAMES)
    assert (rest, call.name, json.loads(call.arguments)) == (said, "weather", ARGUMENTS)


def test_several_calls_are_found_in_order() -> None:
    clock = '{"name": "clock", "arguments": {}}'
    for reply in (
        f"<tool_call>{CALL}</tool_call>\n<tool_call>{clock}</tool_call>", f"[TOOL_CALLS] [{CALL}, {clock}]", f"{CALL}; {clock}",
    ):  # fmt: skip
        calls = read_calls(reply, NAMES)[1]
        assert [call.name for call in calls] == ["weather", "clock"] and len({call.call_id for call in calls}) == 2


@pytest.mark.parametrize(
    "reply", ["It rains.", '{"city": "Hangzhou"}', '{"name": "other", "arguments": {}}', "{broken", "<tool_call>{</tool_call>", "[1, 2]", '["a"]']
)  # fmt: skip
def test_what_is_no_call_is_said(reply: str) -> None:
    assert read_calls(reply, NAMES) == (reply, ())
