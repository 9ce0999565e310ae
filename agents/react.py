"""Reason and act: the loop of one agent, as a LangGraph graph. The other shapes run it inside their nodes.

             ┌───────┐   calls    ┌───────┐
    begin ──▶│ think │ ─────────▶ │  act  │ ⤺ one call after the other; ⏸ waits for approval
             └───────┘ ◀───────── └───────┘
                 │ answer, or a budget is used up
                 ▼
              finish ──▶ cited answer

Source: Yao et al., ReAct, arXiv 2210.03629.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from agents import grounding, model, policy
from agents.execution import Observation, execute, fault, numbered
from agents.flow import END, START, Runtime, StateGraph, interrupt
from agents.journal import Journal
from agents.memory import KEEP_TURNS, condensed
from agents.passages import passage_from, passage_json, shown
from agents.prompts import Situation
from agents.tooling import Tool, ToolContext
from agents.types import AgentStep, Budget, Call, step_from, step_json
from rag.citations import check
from rag.errors import ChatError
from rag.text import language

Approve = Callable[[str, Mapping[str, Any]], bool]


class State(TypedDict, total=False):
    """A thread's state, JSON values all through, because that is what a checkpoint may hold.

    task … citations belong to the run; turns and facts to the thread.
    """

    task: str
    run_id: str
    turns: list[list[str]]
    facts: list[str]
    steps: list[dict[str, Any]]
    pending: list[dict[str, Any]]
    passages: list[dict[str, Any]]
    taint: list[str]
    planned: list[dict[str, Any]]
    spent: dict[str, float]
    n_faults: int
    answer: str
    stopped: str
    reason: str
    citations: list[dict[str, Any]]
    unsupported: list[str]
    replies: list[dict[str, Any]]
    prompts: list[Any]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent is made of. name and instructions: in a team, who this is."""

    asking: model.Asking
    tools: Mapping[str, Tool]
    budget: Budget
    journal: Journal
    name: str = ""
    instructions: str = ""
    room: int = 3000
    folder: Path | None = None
    approve: Literal["ask", "never", "all"] | Approve = "ask"
    recall: Callable[[str], Sequence[str]] | None = None
    examples: Callable[[str], Sequence[str]] | None = None
    keep_prompts: bool = False


@dataclass(slots=True, kw_only=True)
class Running:
    """What belongs to one run in this process and to no checkpoint: the way to the caller, and the way to stop it."""

    emit: Callable[[dict[str, Any]], None]
    stop: threading.Event = field(default_factory=threading.Event)
    thread: str = ""


def fresh(task: str, run_id: str) -> State:
    """The input of a run: everything of the run before is cleared, the thread's memory stays."""
    return State(
        task=task, run_id=run_id, steps=[], pending=[], passages=[], taint=[], planned=[], n_faults=0, answer="", stopped="",
        reason="", citations=[], unsupported=[], replies=[], prompts=[], extra={},
        spent={"replies": 0, "prompt_tokens": 0, "answer_tokens": 0, "seconds": 0.0, "model_s": 0.0},
    )  # fmt: skip


def react_graph(parts: Parts) -> StateGraph[Any, Any, Any, Any]:
    """The graph at the top of this file."""

    def begin(state: State) -> dict[str, Any]:
        turns, facts = condensed(state.get("turns", []), state.get("facts", []), parts.asking.chat)
        known = list(facts)
        if parts.recall is not None:
            known += [fact for fact in parts.recall(state["task"]) if fact not in known]
        extra = {**state.get("extra", {}), "known": known}
        if parts.examples is not None:
            extra["examples"] = list(parts.examples(state["task"]))
        return {"turns": turns, "facts": facts, "extra": extra}

    def think(state: State, runtime: Runtime[Running]) -> dict[str, Any]:
        return _think(state, parts, runtime)

    def act(state: State, runtime: Runtime[Running]) -> dict[str, Any]:
        return _act(state, parts, runtime)

    def finish(state: State) -> dict[str, Any]:
        return finished(state, parts)

    def after_think(state: State) -> str:
        if state.get("stopped"):
            return "finish"
        return "act" if state.get("pending") else "think"

    graph = StateGraph(State, context_schema=Running)
    graph.add_node("begin", begin)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_node("finish", finish)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "think")
    graph.add_conditional_edges("think", after_think, ["think", "act", "finish"])
    graph.add_conditional_edges("act", after_think, ["think", "act", "finish"])
    graph.add_edge("finish", END)
    return graph


# ---------------------------------------------------------------- think


def _think(state: State, parts: Parts, runtime: Runtime[Running]) -> dict[str, Any]:
    wait_if_stopped(runtime)
    started = time.perf_counter()
    if (over := used_up(state, parts.budget)) is not None:
        return over
    at = _situation(state, parts)
    left = parts.budget.max_seconds - state["spent"]["seconds"]

    def on_text(text: str) -> None:
        runtime.stream_writer({"kind": "text", "text": text})

    try:
        reply = model.ask(parts.asking, at, deadline_s=max(1.0, left), on_text=on_text)
    except ChatError as error:
        spent = _more(state["spent"], replies=1, seconds=time.perf_counter() - started)
        if error.code == "E_LLM_DEADLINE" and spent["seconds"] >= parts.budget.max_seconds - 0.5:
            return {"spent": spent, "stopped": "seconds", "reason": _reason("seconds", parts.budget)}
        return {"spent": spent, "stopped": "error", "reason": f"The chat model failed ({error.code}): {error}"}
    spent = _more(
        state["spent"], replies=1, prompt_tokens=reply.n_prompt_tokens, answer_tokens=reply.n_answer_tokens,
        seconds=time.perf_counter() - started, model_s=reply.seconds,
    )  # fmt: skip
    spent["model"] = reply.model or parts.asking.chat.name  # type: ignore[assignment]
    said = {
        "text": reply.raw,
        "calls": [_call_json(call, "") for call in reply.calls],
        "native": parts.asking.is_native,
        "model": reply.model or parts.asking.chat.name,
        "n_prompt_tokens": reply.n_prompt_tokens,
        "n_answer_tokens": reply.n_answer_tokens,
        "seconds": reply.seconds,
    }
    out: dict[str, Any] = {"spent": spent, "replies": [*state.get("replies", []), said]}
    if parts.keep_prompts:
        sent = [{"role": one.role, "content": one.content} for one in model.messages(parts.asking, at)]
        out["prompts"] = [*state.get("prompts", []), sent]
    told = None if parts.asking.is_native or at.last else _unfounded(reply, at, parts)
    if told is not None:
        step = AgentStep(n=len(state["steps"]) + 1, thought=reply.raw[:500], tool="", args={}, observation=told.text, ok=False,
                         code=told.what, agent=parts.name)  # fmt: skip
        runtime.stream_writer({"kind": "step", "step": step_json(step)})
        return {**out, "steps": [*state["steps"], step_json(step)]}
    if reply.answer is not None:
        return {**out, "answer": reply.answer, "stopped": "answered", "n_faults": 0}
    if reply.calls and at.last:  # it was told to answer
        return {**out, "stopped": "steps", "reason": _reason("steps", parts.budget)}
    if reply.calls:
        first, *rest = reply.calls
        pending = [_call_json(first, reply.thought), *(_call_json(call, "") for call in rest)]
        return {**out, "pending": pending}
    n_faults = state.get("n_faults", 0) + 1
    step = AgentStep(n=len(state["steps"]) + 1, thought=reply.raw[:500], tool="", args={}, observation=reply.fault, ok=False,
                     code="reply", agent=parts.name)  # fmt: skip
    runtime.stream_writer({"kind": "step", "step": step_json(step)})
    out |= {"steps": [*state["steps"], step_json(step)], "n_faults": n_faults}
    if n_faults >= parts.budget.max_faults:
        out |= {"stopped": "invalid", "reason": _reason("invalid", parts.budget)}
    return out


def _unfounded(reply: model.Reply, at: Situation, parts: Parts) -> grounding.Told | None:
    """What a small model is told that answers or computes with a number from nowhere; each thing is told once."""
    if "calculator" not in parts.tools:
        return None
    facts = [*at.facts, *(answered for _, answered in at.turns)]
    call = reply.calls[0] if reply.calls else None
    searches = "search" in parts.tools
    told = None
    if reply.answer is not None:
        told = grounding.told_answer(reply.answer, at.task, at.steps, facts, at.language, searches=searches)
    elif call is not None and call.tool == "calculator":
        expression = str(call.args.get("expression", ""))
        told = grounding.told_expression(expression, at.task, at.steps, facts, at.language, searches=searches)
    elif call is not None and call.tool == "search":
        told = grounding.told_search(str(call.args.get("query", "")), at.task, at.steps, at.language)
    return None if told is None or any(step.observation == told.text for step in at.steps) else told


def _situation(state: State, parts: Parts) -> Situation:
    steps = [step_from(row) for row in state["steps"]]
    last = max(state["spent"]["replies"], len(steps)) >= parts.budget.max_steps - 1
    stuck = _is_stuck(steps, parts.budget) and not parts.asking.is_native
    # What it searched for again and again may be there, and what is asked follow from it.
    computes = stuck and "calculator" in parts.tools and steps[-1].tool == "search" and not any(step.tool == "calculator" for step in steps)  # fmt: skip
    return Situation(
        task=state["task"], language=language(state["task"]), tools=list(parts.tools.values()), steps=steps,
        turns=[(asked, answered) for asked, answered in state.get("turns", [])],
        facts=state.get("extra", {}).get("known", state.get("facts", [])),
        examples=state.get("extra", {}).get("examples", []), instructions=parts.instructions,
        last=last or (stuck and not computes), stuck=stuck, room=parts.room,
    )  # fmt: skip


def _is_stuck(steps: Sequence[AgentStep], budget: Budget) -> bool:
    """Whether the last call was made as often as it may be: a small model would make it again, and has what it needs."""
    same = (
        [step for step in steps if step.ok and (step.tool, step.args) == (steps[-1].tool, steps[-1].args)]
        if steps
        else []
    )
    return len(same) >= max(budget.max_equal_calls - 1, 1) > 1


def used_up(state: State, budget: Budget) -> dict[str, Any] | None:
    """The update that ends a run whose budget is used up; None while there is some left."""
    spent = state["spent"]
    for name, used, limit in (
        ("steps", spent["replies"], budget.max_steps),
        ("tokens", spent["prompt_tokens"] + spent["answer_tokens"], budget.max_tokens),
        ("seconds", spent["seconds"], budget.max_seconds),
    ):
        if used >= limit:
            return {"stopped": name, "reason": _reason(name, budget)}
    return None


def _reason(what: str, budget: Budget) -> str:
    return {
        "steps": f"The run used up its {budget.max_steps} steps. Raise --max-steps, or split the task.",
        "tokens": f"The run used up its {budget.max_tokens:,} tokens. Raise agent.max_tokens, or split the task.",
        "seconds": f"The run used up its {budget.max_seconds:g} seconds. Raise agent.timeout_s, or use a faster model.",
        "repeated": f"The model made the same call {budget.max_equal_calls} times. Word the task differently, or use a larger model.",
        "invalid": f"The model gave {budget.max_faults} replies in a row that were no valid call and no answer. Use a larger model.",
    }[what]


# ---------------------------------------------------------------- act


def _act(state: State, parts: Parts, runtime: Runtime[Running]) -> dict[str, Any]:
    """One pending call. Up to the point where the journal knows of it, this may run twice: after a pause it starts over."""
    if (over := used_up(state, parts.budget)) is not None and over["stopped"] != "steps":
        return {**over, "pending": []}
    started = time.perf_counter()
    row, *rest = state["pending"]
    call = Call(tool=row["tool"], args=row["args"], call_id=row["call_id"], raw=row["raw"])
    n = len(state["steps"]) + 1
    if n >= parts.budget.max_steps - 1:
        rest = []  # one step is left, for the answer
    seen = fault(parts.tools, call)
    update: dict[str, Any] = {}
    if seen is None:
        same = sum(1 for one in state["steps"] if one["tool"] == call.tool and one["args"] == dict(call.args))
        if same + 1 >= parts.budget.max_equal_calls:
            update = {"stopped": "repeated", "reason": _reason("repeated", parts.budget)}
            seen = Observation(text="This very call was made before.", ok=False, code="repeated")
        else:
            seen = _permitted(parts.tools[call.tool], call, state, parts, runtime, f"{state['run_id']}/{n}", same)
            if same:
                note = "You made this very call before. Answer from what was found, or call with other arguments."
                seen = replace(seen, text=f"{seen.text}\n{note}".strip())
    passages, new = numbered(seen.passages, [passage_from(one) for one in state["passages"]])
    question = "" if parts.asking.is_native else f"{state['task']} {call.args.get('query', '')}"
    text = "\n\n".join(part for part in (shown(passages, question), seen.text) if part)
    step = AgentStep(
        n=n, thought=row["thought"], tool=call.tool, args=dict(call.args), observation=text, ok=seen.ok, code=seen.code,
        tainted=seen.tainted, ms=seen.ms, agent=parts.name, artifacts=seen.artifacts,
    )  # fmt: skip
    runtime.stream_writer({"kind": "step", "step": step_json(step)})
    n_faults = state.get("n_faults", 0) + 1 if seen.code in ("arguments", "unknown_tool") else 0
    if n_faults >= parts.budget.max_faults:
        update = {"stopped": "invalid", "reason": _reason("invalid", parts.budget)}
    return {
        "steps": [*state["steps"], step_json(step)],
        "pending": [] if update else rest,
        "passages": [*state["passages"], *map(passage_json, new)],
        "taint": [*state["taint"], call.tool] if seen.tainted and call.tool not in state["taint"] else state["taint"],
        "spent": _more(state["spent"], seconds=time.perf_counter() - started),
        "n_faults": n_faults,
        **update,
    }


def _permitted(
    tool: Tool, call: Call, state: State, parts: Parts, runtime: Runtime[Running], key: str, same: int
) -> Observation:
    """The call's result, if it may be made; a person is asked where policy says so."""
    planned = [Call(tool=one["tool"], args=one["args"]) for one in state.get("planned", [])]
    decision = policy.decide(tool, call.args, taint=state["taint"], task=state["task"], planned=planned)
    if decision.verdict == "deny":
        return Observation(text=f"{tool.name} was not called: {decision.reason}.", ok=False, code="denied")
    if decision.verdict == "ask" and not _approved(tool, call, decision.reason, parts):
        return Observation(
            text=f"{tool.name} was not called: nobody approved it. Go on without it, and say what was left out.",
            ok=False, code="denied",
        )  # fmt: skip
    runtime.stream_writer({"kind": "call", "tool": tool.name, "args": dict(call.args)})
    left = parts.budget.max_seconds - state["spent"]["seconds"]
    context = ToolContext(
        task=state["task"],
        tainted=bool(state["taint"]),
        deadline_s=max(1.0, left),
        folder=parts.folder,
        n_before=same,
        is_small=not parts.asking.is_native,
    )
    if tool.effect == "read":
        return execute(tool, call.args, context)
    was, stored = parts.journal.begin(f"{parts.name}:{key}", tool.name, call.args)
    if was == "done" and stored is not None:
        return Observation(text=stored["text"], ok=stored["ok"], code=stored["code"], tainted=stored["tainted"])
    if was == "begun":
        return Observation(
            text=f"{tool.name} was begun before the run broke off, so it may have happened. It is not called again.",
            ok=False, code="unknown_outcome",
        )  # fmt: skip
    seen = execute(tool, call.args, context)
    kept = {"text": seen.text, "ok": seen.ok, "code": seen.code, "tainted": seen.tainted}
    parts.journal.end(f"{parts.name}:{key}", kept)
    return seen


def _approved(tool: Tool, call: Call, reason: str, parts: Parts) -> bool:
    if parts.approve == "all":
        return True
    if parts.approve == "never":
        return False
    if callable(parts.approve):
        return bool(parts.approve(tool.name, dict(call.args)))
    answer = interrupt({"kind": "approval", "tool": tool.name, "args": dict(call.args), "reason": reason})
    # Exactly what was shown may run: what is pending must be what the answer is about.
    return (
        isinstance(answer, Mapping)
        and answer.get("approve") is True
        and answer.get("args") == json.loads(json.dumps(dict(call.args), default=str))
    )


def wait_if_stopped(runtime: Runtime[Running]) -> None:
    """Wait, with everything done so far on disk, when the caller has asked the run to stop."""
    if runtime.context.stop.is_set():
        interrupt({"kind": "stop"})


# ---------------------------------------------------------------- finish


def finished(state: State, parts: Parts) -> dict[str, Any]:
    """The answer with its citations checked, and the run's turn added to the thread's memory."""
    answer = state.get("answer") or _partial(state)
    if state["stopped"] == "answered" and not parts.asking.is_native:
        answer = f"{answer} {grounding.computed(answer, [step_from(row) for row in state['steps']], language(state['task']))}".strip()
    passages = [passage_from(one) for one in state["passages"]]
    out: dict[str, Any] = {"pending": [], "answer": answer}
    if passages and state["stopped"] == "answered":
        checked = check(answer, passages, question=state["task"])
        out |= {
            "answer": checked.text,
            "citations": [_citation_json(one) for one in checked.citations],
            "unsupported": list(checked.unsupported),
        }
    turns = [*state.get("turns", []), [state["task"], out["answer"]]]
    if len(turns) > KEEP_TURNS + 1:  # where no `begin` has made facts of the oldest
        turns, out["facts"] = condensed(turns, state.get("facts", []), None)
    return {**out, "turns": turns}


def _partial(state: State) -> str:
    """What can be said without an answer: what the steps so far have given."""
    found = [f"- {row['tool']}: {' '.join(row['observation'].split())[:300]}" for row in state["steps"] if row["ok"]]
    zh = language(state["task"]) == "zh"
    if not found:
        return "没有得到答案。" if zh else "No answer was reached."
    head = "没有得到完整的答案。到目前为止得到：" if zh else "No complete answer was reached. So far there is:"
    return "\n".join([head, *found])


def _citation_json(citation: Any) -> dict[str, Any]:
    return {name: getattr(citation, name) for name in type(citation).__dataclass_fields__}


def _call_json(call: Call, thought: str) -> dict[str, Any]:
    return {"tool": call.tool, "args": dict(call.args), "call_id": call.call_id, "raw": call.raw, "thought": thought}


def _more(spent: Mapping[str, float], **added: float) -> dict[str, float]:
    return {**spent, **{name: spent.get(name, 0) + value for name, value in added.items()}}
