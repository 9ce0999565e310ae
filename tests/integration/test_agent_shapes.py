"""The other shapes of agents, each with a scripted model: who is asked what, in which order, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agents import Agent, Budget, Tool, ToolResult, tool
from agents.research import renumbered
from agents.tooling import from_schema
from agents.toolsearch import find_tools
from rag.citations import Passage
from rag.errors import UsageError
from rag.settings import Settings
from rag.types import Hit
from tests.fakes.openai_server import OpenAIServer, Reply, Request, calls, says

FACTS = {"suez": "The Suez Canal was opened in 1869.", "boston": "The Boston Tea Party took place in 1773."}


def passage(name: str) -> Passage:
    text = FACTS[name]
    hit = Hit(
        rank=1,
        chunk_id=f"{name}#0",
        doc_id=name,
        source=f"{name}.md",
        title=name,
        score=1,
        text=text,
        start=0,
        end=len(text),
    )
    return Passage(number=1, hit=hit, start=0, text=text)


def search_tool() -> Tool:
    def run(args: Any, _context: Any) -> ToolResult:
        found = [passage(name) for name in FACTS if name in args["query"].lower()]
        return ToolResult(passages=found, text="" if found else "Nothing was found.")

    return from_schema(
        "search",
        "Find passages.",
        {"properties": {"query": {"type": "string"}}, "required": ["query"]},
        run,
        effect="read",
    )


def agent_for(server: OpenAIServer, kind: str, **options: Any) -> Agent:
    settings = Settings().with_values(llm__base_url=server.url)
    options.setdefault("tools", [search_tool()])
    return Agent(kind=kind, settings=settings, **options)


def reply(**fields: Any) -> Reply:
    return says(json.dumps(fields, ensure_ascii=False))


def test_plan_execute_replan() -> None:
    script = [
        reply(steps=["When was the Suez Canal opened?", "When was the Tea Party?"]),
        calls(("search", {"query": "suez"})),
        says("It was opened in 1869 [1]."),
        reply(done=False, answer="", steps=["When was the Boston Tea Party?"]),
        calls(("search", {"query": "boston"})),
        says("In 1773 [2]."),
        reply(done=True, answer="The canal was opened in 1869 [1]. The party was in 1773 [2].", steps=[]),
    ]
    with OpenAIServer(script) as server, agent_for(server, "plan") as agent:
        events = list(agent.stream("How far apart are the Suez Canal and the Tea Party?"))
    result = events[-1].result
    assert result is not None and result.stopped == "answered"
    assert result.plan == ("When was the Suez Canal opened?", "When was the Boston Tea Party?")
    assert [step.n for step in result.steps] == [1, 2] and {one.doc_id for one in result.citations} == {
        "suez",
        "boston",
    }
    assert [event.text[:5] for event in events if event.kind == "note"] == ["Plan:", "Plan:"]
    assert "1869" in server.requests[4].json["messages"][1]["content"], "the second step knows what the first one found"


def test_what_the_plan_names_needs_no_approval_later() -> None:
    sent: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send the report."""
        sent.append(to)
        return "sent"

    def script(second: str) -> list[Reply]:
        return [
            reply(steps=["Search and send."], calls=[{"tool": "send", "args": {"to": "ann"}}]),
            calls(("search", {"query": "suez"})),
            calls(("send", {"to": second})),
            says("Done."),
            reply(done=True, answer="Done.", steps=[]),
        ]

    with OpenAIServer(script("ann")) as server, agent_for(server, "plan", tools=[search_tool(), send]) as agent:
        assert agent.run("Send what you find on the canal to ann.").stopped == "answered" and sent == ["ann"]
    with OpenAIServer(script("eve")) as server, agent_for(server, "plan", tools=[search_tool(), send]) as agent:
        waiting = agent.run("Send what you find on the canal to ann.", thread="t")
        assert waiting.stopped == "approval" and sent == ["ann"] and waiting.approval is not None
        assert waiting.approval.args == {"to": "eve"}
        assert agent.resume("t", approve=False).stopped == "answered" and sent == ["ann"], (
            "asked inside a part of the plan"
        )


def test_a_team_talks_until_the_critic_approves() -> None:
    script = [
        calls(("search", {"query": "suez"})),
        says("Opened in 1869."),
        says("The source is missing."),
        says("Opened in 1869 [1]."),
        says("APPROVED"),
    ]
    with OpenAIServer(script) as server, agent_for(server, "team") as agent:
        result = agent.run("When was the Suez Canal opened?")
    assert result.answer == "Opened in 1869 [1]." and result.stopped == "answered"
    assert [step.agent for step in result.steps] == ["researcher"]
    assert "The source is missing." in server.requests[3].json["messages"][1]["content"]
    assert "critic" in server.requests[2].json["messages"][0]["content"]


def test_three_members_are_chosen_by_the_model() -> None:
    members = [("poet", "Write verse."), ("editor", "Shorten."), ("critic", "Judge.")]
    script = [says("Tea, tea, tea."), reply(next="editor"), says("Tea."), reply(next="critic"), says("Approved.")]
    with OpenAIServer(script) as server, agent_for(server, "team", members=members, tools=[]) as agent:
        assert agent.run("Write about tea.").answer == "Tea."
    assert "editor" in json.dumps(server.requests[1].json["response_format"])


def test_a_team_that_does_not_agree_ends() -> None:
    with (
        OpenAIServer(always=says("I am not satisfied. Not approved.")) as server,
        agent_for(server, "team", tools=[]) as agent,
    ):
        result = agent.run("Write about tea.")
    assert len(server.requests) == 6 and result.stopped == "answered"


def test_research_side_by_side() -> None:
    """Two questions are explored at the same time; the report's numbers are those of all findings together."""

    def by_prompt(request: Request) -> Reply:
        system, *rest = [one["content"] for one in request.json["messages"]]
        if "Take the question apart" in system:
            return reply(questions=["When was the suez canal opened?", "When was the boston party?"])
        if "Write a report" in system:
            return reply(report=f"Findings: {' '.join(rest)[-400:]}")
        name = "suez" if "suez" in rest[0] else "boston"
        if request.json["messages"][-1]["role"] != "tool":
            return calls(("search", {"query": name}))
        return says(FACTS[name][:-1] + " [1].")

    with OpenAIServer(always=by_prompt) as server, agent_for(server, "research") as agent:
        result = agent.run("Compare the canal and the party.", thread="t")
        again = agent.run("Compare the canal and the party.", thread="t")
    assert result.stopped == again.stopped == "answered" and len(result.steps) == len(again.steps) == 2
    assert "1869 [1]" in result.answer and "1773 [2]" in result.answer
    assert {one.doc_id: one.marker for one in result.citations} == {"suez": 1, "boston": 2}


def test_markers_under_other_numbers() -> None:
    assert renumbered("a [1], b [2, 3] c [9].", {1: 4, 2: 1, 3: 5}) == "a [4], b [1][5] c ."


def test_corrective_retrieval_tries_again_and_answers() -> None:
    script = [
        reply(query="suez"),  # nothing was found, so nothing is graded
        reply(helpful=[1]),
        reply(answer="The Suez Canal was opened in 1869 [1]."),
    ]
    with OpenAIServer(script) as server, agent_for(server, "corrective") as agent:
        result = agent.run("When did the canal open?")
    assert result.stopped == "answered" and result.citations[0].supported
    assert [step.args["query"] for step in result.steps] == ["When did the canal open?", "suez"]


def test_corrective_retrieval_abstains() -> None:
    script = [
        reply(helpful=[]),
        reply(query="boston"),
        reply(helpful=[2]),
        reply(answer="It was in 1999 [2]."),
        reply(query="tea"),
    ]
    with OpenAIServer(script) as server, agent_for(server, "corrective") as agent:
        result = agent.run("When was the suez crisis?")
    assert result.stopped == "abstained" and "do not hold" in result.answer and len(result.steps) == 3
    with OpenAIServer([]) as server, pytest.raises(UsageError, match="search"):
        agent_for(server, "corrective", tools=[])


def many_tools() -> list[Tool]:
    def made(name: str, answer: str) -> Tool:
        return from_schema(name, f"Gets the {name.replace('_', ' ')} of a city.", {"properties": {"city": {"type": "string"}}},
                           lambda _args, _context: answer, effect="read")  # fmt: skip

    names = ["weather", "weather_history", "population", "mayor", "area", "time_zone"]
    return [made(f"{name}_{at}" if at else name, f"{name} {at}") for at in range(40) for name in names]


def test_tools_are_found_among_hundreds() -> None:
    tools = many_tools()
    assert len(tools) == 240 and find_tools(tools, "Who is the mayor of Hangzhou?", 6)[0].name.startswith("mayor")


def test_a_dead_end_is_left_for_another_way() -> None:
    def by_tools(request: Request) -> Reply:
        names = [one["function"]["name"] for one in request.json.get("tools", ())]
        last = request.json["messages"][-1]
        if last["role"] == "tool" and last["content"].startswith("weather 0"):
            return calls(("give_up", {"reason": "weather knows nothing"}))
        if last["role"] == "tool" and "Others will be tried" in last["content"]:
            return says("I give up.")
        if last["role"] == "tool":
            return says("It was sunny.")
        assert len(names) == 7
        return calls((names[0], {"city": "Hangzhou"}))

    with OpenAIServer(always=by_tools) as server, agent_for(server, "toolsearch", tools=many_tools()) as agent:
        result = agent.run("What is the weather in Hangzhou?")
    assert result.stopped == "answered" and result.answer == "It was sunny."
    used = [step.tool for step in result.steps]
    assert used[:2] == ["weather", "give_up"] and used[2] not in ("weather", "give_up")
    assert "Tried before" in server.requests[3].json["messages"][1]["content"]


@pytest.mark.parametrize("kind", ["plan", "team", "research", "toolsearch"])
def test_every_shape_ends_within_its_budget(kind: str) -> None:
    """A model that only ever calls a tool, and answers every question with nonsense."""
    script: Callable[[Request], Reply] = lambda request: (  # noqa: E731
        calls(("calculator", {"expression": f"{len(str(request.json))}"})) if request.json.get("tools") else says("{}")
    )
    with OpenAIServer(always=script) as server, agent_for(server, kind, budget=Budget(max_steps=8)) as agent:
        result = agent.run("Do something.")
    assert len(server.requests) <= 16 and len(result.steps) <= 12 and result.answer and result.stopped != "approval"
