"""Many tools: those that fit are found by search, and a way that leads nowhere is left for the next one, depth first.

    begin ──▶ find ──▶ follow ──▶ finish
               ▲          │ a dead end: its first tool is struck out, its steps are left behind
               └──────────┘

follow is the loop of agents/react.py with a handful of tools beside `give_up`. Hundreds of tools never enter a prompt.
Source: Qin et al., ToolLLM, arXiv 2307.16789 (depth-first search-based decision tree).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from agents.flow import END, START, Runtime, StateGraph
from agents.react import Parts, Running, State, finished, used_up, wait_if_stopped
from agents.subrun import SubRun, so_far
from agents.tooling import Tool, tool
from rag.okapi import Okapi
from rag.text import language, words

SHOWN = 6  # tools in a prompt
WAYS = 4  # that are tried
STEPS = 5  # of one way


def find_tools(tools: Iterable[Tool], query: str, n: int) -> list[Tool]:
    """The tools whose names and descriptions fit a query best, by BM25; with fewer hits the first ones fill up."""
    listed = list(tools)
    texts = [f"{one.name} {one.description} {' '.join(one.parameters.get('properties', {}))}" for one in listed]
    scores = Okapi([words(re.sub(r"[_.]", " ", text)) for text in texts]).scores(words(query))
    best = sorted(range(len(listed)), key=lambda at: (-scores[at], at))
    return [listed[at] for at in best[:n]]


def toolsearch_graph(parts: Parts) -> StateGraph[Any, Any, Any, Any]:
    """The graph at the top of this file."""

    def find(state: State, runtime: Runtime[Running]) -> dict[str, Any]:
        wait_if_stopped(runtime)
        extra = {"out": [], "tried": [], **state["extra"]}
        left = [one for one in parts.tools.values() if one.name not in extra["out"]]
        chosen = [one.name for one in find_tools(left, state["task"], SHOWN)]
        runtime.stream_writer({"kind": "note", "text": "Tools: " + ", ".join(chosen)})
        return {"extra": {**extra, "chosen": chosen}}

    def follow(state: State, runtime: Runtime[Running]) -> dict[str, Any]:
        extra = state["extra"]
        given_up: list[str] = []

        @tool(effect="read", untrusted=False)
        def give_up(reason: str) -> str:
            """Say that these tools cannot solve the task, so that others are tried.

            reason: what is missing
            """
            given_up.append(reason)
            return "Others will be tried."

        left = parts.budget.max_steps - int(state["spent"]["replies"])
        budget = replace(parts.budget, max_steps=int(state["spent"]["replies"]) + max(1, min(STEPS, left)))
        tools = {name: parts.tools[name] for name in extra["chosen"]} | {give_up.name: give_up}
        inner = SubRun(replace(parts, tools=tools, budget=budget), keep=0)
        head = "已经试过：" if language(state["task"]) == "zh" else "Tried before, in vain:"
        task = state["task"] + (f"\n{head}\n{so_far(extra['tried'])}" if extra["tried"] else "")
        done = inner.run(state, task, runtime.context, part=str(len(extra["tried"])))
        if done.stopped == "answered" and not given_up:
            return {**done.update, "answer": done.answer, "stopped": "answered"}
        own = done.update["steps"][len(state["steps"]) :]
        first = next((row["tool"] for row in own if row["tool"] in parts.tools), extra["chosen"][0])
        why = given_up[0] if given_up else f"it ended without an answer ({done.stopped})"
        runtime.stream_writer({"kind": "note", "text": f"Back from {first}: {why}"})
        extra = {**extra, "out": [*extra["out"], first], "tried": [*extra["tried"], [first, why]]}
        update = {**done.update, "extra": extra}
        over = used_up({**state, **update}, parts.budget)  # type: ignore[typeddict-item]
        if over is not None or len(extra["tried"]) == WAYS or len(extra["out"]) == len(parts.tools):
            update |= over or {"stopped": "abstained", "reason": f"{len(extra['tried'])} ways were tried in vain."}
        return update

    graph = StateGraph(State, context_schema=Running)
    graph.add_node("find", find)
    graph.add_node("follow", follow)
    graph.add_node("finish", lambda state: finished(state, parts))
    graph.add_edge(START, "find")
    graph.add_edge("find", "follow")
    graph.add_conditional_edges("follow", lambda state: "finish" if state["stopped"] else "find", ["finish", "find"])
    graph.add_edge("finish", END)
    return graph
