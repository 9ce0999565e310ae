"""A part of a run done by the loop of agents/react.py, inside a node of another graph; and a question put to the model.

What was found, spent and tainted goes in and comes out again, so that numbers of passages, budgets and the taint hold for
the whole run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.prompts import first_object
from agents.react import Parts, State, fresh, react_graph
from rag.chat import complete
from rag.errors import ChatError
from rag.prompts import neutral, without_thinking
from rag.text import language
from rag.types import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a part came to, and the update of the whole run's state."""

    answer: str
    stopped: str
    update: dict[str, Any]


class SubRun:
    """The loop, ready to be run inside a node. One of these per kind of part."""

    def __init__(self, parts: Parts, *, keep: int = 1) -> None:
        """keep: replies of the budget that are left for what comes after."""
        budget = replace(parts.budget, max_steps=max(parts.budget.max_steps - keep, 1))
        self._app = react_graph(replace(parts, budget=budget, recall=None)).compile()

    def run(self, state: State, task: str, context: Any, *, part: str) -> Done:
        """Work on `task`. part: names this part within the run; a part that waited for approval goes on where it was."""
        given = {**fresh(task, f"{state['run_id']}.{part}"), "taint": state["taint"], "passages": state["passages"],
                 "planned": state.get("planned", []), "spent": state["spent"], "turns": [], "facts": []}  # fmt: skip
        out = self._app.invoke(given, context=context)
        n = len(state["steps"])
        steps = [{**row, "n": n + at} for at, row in enumerate(out["steps"], start=1)]
        update = {
            "steps": [*state["steps"], *steps], "passages": out["passages"], "taint": out["taint"], "spent": out["spent"],
            "replies": [*state.get("replies", []), *out.get("replies", [])],
            "prompts": [*state.get("prompts", []), *out.get("prompts", [])],
        }  # fmt: skip
        return Done(answer=out["answer"], stopped=out["stopped"], update=update)


def question(
    parts: Parts,
    state: State,
    system: Mapping[str, str],
    text: str,
    schema: Mapping[str, Any],
    *,
    max_tokens: int = 400,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the model's JSON reply, the update of what was spent). An empty reply when the model fails or gives no JSON.

    text: made neutral here; text from outside is never an instruction.
    """
    lang = language(state["task"])
    messages = [Message(role="system", content=system[lang]), Message(role="user", content=neutral(text))]
    started = time.perf_counter()
    left = parts.budget.max_seconds - state["spent"]["seconds"]
    try:
        reply = complete(
            parts.asking.chat, messages, max_tokens=max_tokens, json_schema=schema, deadline_s=max(1.0, left)
        )
    except ChatError:
        reply = ""
    spent = dict(state["spent"])
    spent["replies"] += 1
    spent["seconds"] += time.perf_counter() - started
    spent["prompt_tokens"] += sum(len(message.content) for message in messages) // 4
    spent["answer_tokens"] += len(reply) // 4
    said = {"text": reply, "calls": [], "native": parts.asking.is_native}
    return first_object(without_thinking(reply)) or {}, {"spent": spent, "replies": [*state.get("replies", []), said]}


def texts(found: Any, most: int) -> list[str]:
    """The strings of a list in a reply, without blanks and repetitions."""
    listed = found if isinstance(found, list) else [found]
    said = [" ".join(one.split()) for one in listed if isinstance(one, str) and one.strip()]
    return list(dict.fromkeys(said))[:most]


def listing(schema_key: str, most: int) -> dict[str, Any]:
    """The schema of a reply that is a list of strings."""
    items = {"type": "array", "items": {"type": "string", "maxLength": 300}, "minItems": 1, "maxItems": most}
    return {
        "type": "object",
        "properties": {schema_key: items},
        "required": [schema_key],
        "additionalProperties": False,
    }


def so_far(results: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"- {what}: {' '.join(came.split())[:600]}" for what, came in results)


def shown_tools(parts: Parts) -> str:
    return "\n".join(f"- {tool.signature}: {tool.description}" for tool in parts.tools.values())


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
