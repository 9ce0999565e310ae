"""Bar 15: whatever a model does, a run ends within its budget, says why, and keeps what it has."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import Agent, Budget, tool
from rag.settings import Settings
from tests.bars.harness import says as report
from tests.fakes.openai_server import OpenAIServer, Reply, Request, calls, drip, says

pytestmark = pytest.mark.bar


@tool(effect="read")
def echo(text: str) -> str:
    """Say it again."""
    return text


@tool(effect="read", timeout_s=0.2)
def hangs() -> str:
    """Never ends."""
    time.sleep(30)
    return "late"


@tool(effect="read")
def breaks(text: str) -> str:
    """Fails."""
    raise RuntimeError(f"no luck with {text}")


@tool(effect="read")
def floods() -> str:
    """Says 10 MB."""
    return "x" * 10_000_000


def numbered(make: Callable[[int], Reply]) -> Callable[[Request], Reply]:
    count = itertools.count(1)
    return lambda _request: make(next(count))


LOOPS: dict[str, tuple[Any, str]] = {
    "same call": (calls(("echo", {"text": "a"})), "repeated"),
    "ping-pong": (numbered(lambda n: calls(("echo", {"text": "ab"[n % 2]}))), "repeated"),
    "unknown tool": (numbered(lambda n: calls((f"nothing_{n}", {}))), "invalid"),
    "bad JSON": (calls(("echo", '{"text": ')), "invalid"),
    "wrong arguments": (numbered(lambda n: calls(("echo", {"text": n}))), "invalid"),
    "growing arguments": (numbered(lambda n: calls(("echo", {"text": "x" * 2**n}))), "steps"),
    "nothing": (says(""), "invalid"),
    "always something new": (numbered(lambda n: calls(("echo", {"text": str(n)}))), "steps"),
    "many calls at once": (numbered(lambda n: calls(*(("echo", {"text": f"{n}.{at}"}) for at in range(50)))), "steps"),
    "a tool that fails": (numbered(lambda n: calls(("breaks", {"text": str(n)}))), "steps"),
    "a tool that hangs": (calls(("hangs", {})), "repeated"),
    "a tool that floods": (calls(("floods", {})), "repeated"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_ends(name: str) -> None:
    script, reason = LOOPS[name]
    with OpenAIServer(always=script) as server:
        settings = Settings().with_values(llm__base_url=server.url)
        started = time.monotonic()
        with Agent(tools=[echo, hangs, breaks, floods], settings=settings) as agent:
            result = agent.run("Do something.")
        took = time.monotonic() - started
    report(
        "15",
        loop=name,
        stopped=result.stopped,
        steps=len(result.steps),
        requests=len(server.requests),
        s=round(took, 2),
    )
    assert result.stopped == reason and result.reason and result.answer
    assert len(result.steps) <= 12 and len(server.requests) <= 12 and took < 60
    assert all(len(step.observation) < 10_000 for step in result.steps)
    prompts = [sum(len(str(one["content"])) for one in request.json["messages"]) for request in server.requests]
    assert max(prompts) < 120_000


def test_tokens_end_a_run() -> None:
    with OpenAIServer(always=numbered(lambda n: calls(("echo", {"text": str(n)})))) as server:  # 18 tokens a reply
        settings = Settings().with_values(llm__base_url=server.url)
        with Agent(tools=[echo], settings=settings, budget=Budget(max_tokens=50)) as agent:
            result = agent.run("Count.")
    assert result.stopped == "tokens" and len(server.requests) == 3 and "echo: 1" in result.answer


def test_seconds_end_a_run() -> None:
    """The model's reply itself is cut off when the time is over. The first run loads the client's library."""
    with OpenAIServer([says("warm"), calls(("echo", {"text": "first"})), drip(pause_s=0.05)]) as server:
        settings = Settings().with_values(llm__base_url=server.url)
        with Agent(tools=[echo], settings=settings) as agent:
            agent.run("Warm up.")
        with Agent(tools=[echo], settings=settings, budget=Budget(max_seconds=2)) as agent:
            result = agent.run("Wait.")
    assert result.stopped == "seconds" and "first" in result.answer and result.usage.seconds < 4


def test_an_honest_run_is_not_stopped(tmp_path: Path) -> None:
    script = [
        calls(("echo", {"text": "a"})),
        calls(("echo", {"text": "b"})),
        calls(("echo", {"text": "a"})),
        says("Done."),
    ]
    with OpenAIServer(script) as server:
        settings = Settings().with_values(llm__base_url=server.url)
        with Agent(tools=[echo], settings=settings, home=tmp_path) as agent:
            result = agent.run("Say a, b, a.")
    assert result.stopped == "answered" and result.answer == "Done." and not result.reason


def test_a_wrong_call_is_put_right() -> None:
    """The message names what was wrong, and the second try runs."""
    script = [
        calls(("ecko", {"text": "a"})),
        calls(("echo", {"txt": "a"})),
        calls(("echo", {"text": "a"})),
        says("Done."),
    ]
    with OpenAIServer(script) as server:
        with Agent(tools=[echo], settings=Settings().with_values(llm__base_url=server.url)) as agent:
            result = agent.run("Say a.")
        told = [one["content"] for one in server.requests[2].json["messages"] if one["role"] == "tool"]
    assert "Did you mean echo?" in told[0] and "Did you mean 'text'?" in told[1] and result.stopped == "answered"
