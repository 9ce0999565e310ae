"""What may happen after text from outside was read: the decision on one call, and nothing else.

A document, a page, a file, a mail or a tool's output may hold orders. They are *tainted*, and from the first of them on
nothing leaves the run unless a person has seen the exact arguments, or wanted the very call before the taint: it stands
in the plan that was made first, or it fetches a URL that the user wrote. Reading stays free.
Source: AgentDojo, arXiv 2406.13352; plan-then-execute, arXiv 2506.08837.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.tooling import Tool
from agents.types import Call

MAX_QUERY = 200  # characters of a URL's query after the taint: more could carry documents away

Verdict = Literal["run", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    verdict: Verdict
    reason: str = ""


def decide(
    tool: Tool, args: Mapping[str, Any], *, taint: Sequence[str], task: str = "", planned: Sequence[Call] = ()
) -> Decision:
    """Whether a call may run, needs a person, or must not run at all.

    taint: where text from outside came from so far. planned: calls of a plan made before it; exact ones alone count.
    """
    if tool.effect == "handover":
        return Decision(verdict="ask", reason="the caller makes this call")
    if tool.effect == "read" or not taint:
        return Decision(verdict="run")
    if any(call.tool == tool.name and dict(call.args) == dict(args) for call in planned):
        return Decision(verdict="run", reason="it is in the plan that was made before")
    if tool.effect == "fetch":
        url = str(args.get("url", ""))
        if url and url in _urls(task):
            return Decision(verdict="run", reason="the user named this address")
        if len(url.partition("?")[2]) > MAX_QUERY:
            return Decision(verdict="deny", reason=f"its query is longer than {MAX_QUERY} characters and could carry text away")  # fmt: skip
    what = "sends a request" if tool.effect == "fetch" else "acts"
    return Decision(
        verdict="ask", reason=f"it {what}, and text from outside was read before ({', '.join(dict.fromkeys(taint))})"
    )


def _urls(task: str) -> set[str]:
    """The addresses in the user's own words, without the sentence's punctuation."""
    return {
        word.strip(".,;:!?()[]<>\"'，。；：！？（）《》“”") for word in task.split() if word.lower().startswith(("http://", "https://"))
    }  # fmt: skip
