"""A team in conversation: members with roles speak in turn until the critic approves or the rounds are over.

    begin ──▶ choose ──▶ speak ──▶ finish
                 ▲          │ not approved yet
                 └──────────┘

choose lets the model name the next speaker, where there is a choice; speak is the loop of agents/react.py with that
member's instructions. The answer is the last word of a member who is not the critic.
Source: Wu et al., AutoGen, arXiv 2308.08155.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.flow import END, START, Runtime, StateGraph
from agents.react import Parts, Running, State, finished, used_up, wait_if_stopped
from agents.subrun import SubRun, question, so_far
from rag.text import language

ROUNDS = 6  # words spoken, all members together
CRITIC = "critic"
MEMBERS = (
    ("researcher", "You are the researcher of a team. Find the facts with tools and answer the task. Take the critic's points up."),
    (CRITIC, "You are the critic of a team. Check the last answer against the task and the passages. Reply APPROVED when it is "
             "complete and every claim has its source; else say in one or two sentences what is wrong."),
)  # fmt: skip
_APPROVED = re.compile(r"\bAPPROVED?\b|通过|批准", re.IGNORECASE)
_NOT = re.compile(r"\bnot\s+approved|不通过|未通过|不批准", re.IGNORECASE)

_CHOOSE = {
    "en": "Choose who speaks next in the team's conversation about the task. Reply with JSON.",
    "zh": "选出团队讨论中下一个发言的人。用JSON回复。",
}


def team_graph(parts: Parts, members: Sequence[tuple[str, str]]) -> StateGraph[Any, Any, Any, Any]:
    """The graph at the top of this file. A member called critic ends the conversation by approving."""
    roles = dict(members or MEMBERS)
    inner = {name: SubRun(replace(parts, name=name, instructions=text)) for name, text in roles.items()}

    def choose(state: State, runtime: Runtime[Running]) -> dict[str, Any]:
        wait_if_stopped(runtime)
        extra = state["extra"] or {"talk": []}
        talk = extra.get("talk", [])
        others = [name for name in roles if not talk or name != talk[-1][0]] or list(roles)
        working = [name for name in others if name != CRITIC]
        if not talk:
            return {"extra": {**extra, "talk": [], "next": (working or others)[0]}}
        if len(others) == 1:
            return {"extra": {**extra, "next": others[0]}}
        schema = {"type": "object", "properties": {"next": {"enum": others}}, "required": ["next"]}
        text = f"Task: {state['task']}\nMembers: {', '.join(others)}\n{so_far(talk)}"
        reply, update = question(parts, state, _CHOOSE, text, schema, max_tokens=40)
        named = reply.get("next") if reply.get("next") in others else others[len(talk) % len(others)]
        return {**update, "extra": {**extra, "next": named}}

    def speak(state: State, runtime: Runtime[Running]) -> dict[str, Any]:
        extra = state["extra"]
        name, talk = extra["next"], extra["talk"]
        head = "目前的讨论：" if language(state["task"]) == "zh" else "The conversation so far:"
        task = state["task"] + (f"\n{head}\n{so_far(talk)}" if talk else "")
        done = inner[name].run(state, task, runtime.context, part=f"{len(talk)}")
        runtime.stream_writer({"kind": "note", "text": f"{name}: {done.answer}"})
        talk = [*talk, [name, done.answer]]
        update = {**done.update, "extra": {**extra, "talk": talk}}
        over = used_up({**state, **done.update}, parts.budget)  # type: ignore[typeddict-item]
        approved = name == CRITIC and _APPROVED.search(done.answer) and not _NOT.search(done.answer)
        if over is not None or approved or len(talk) >= ROUNDS:
            said = [text for who, text in talk if who != CRITIC]
            update |= over or {"stopped": "answered"}
            update["answer"] = said[-1] if said else done.answer
        return update

    graph = StateGraph(State, context_schema=Running)
    graph.add_node("choose", choose)
    graph.add_node("speak", speak)
    graph.add_node("finish", lambda state: finished(state, parts))
    graph.add_edge(START, "choose")
    graph.add_edge("choose", "speak")
    graph.add_conditional_edges("speak", lambda state: "finish" if state["stopped"] else "choose", ["finish", "choose"])
    graph.add_edge("finish", END)
    return graph
