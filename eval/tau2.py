"""tau2's tasks played whole: an agent with tools, a customer (a chat model or a script), a database that changes.

The shop's tools are simulated in full. Of the bank's, the data has the database and the documents that describe its
hundred tools, not the tools: reading works, and a call that writes is noted. Episodes that end with the same notes count
as ending in the same state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eval.prompts import CUSTOMER, CUSTOMER_SCHEMA
from eval.tau2_shop import Shop
from eval.tool_calls import Call, Episode, call_of, is_read, same_call, tau2_scores
from rag.chat import complete
from rag.okapi import Okapi
from rag.prompts import neutral
from rag.text import words
from rag.types import ChatModel, Message

MOST_TURNS = 12  # of the conversation
MOST_STEPS = 12  # calls between two things that the agent says
CUSTOMER_TOKENS = 300
FOUND_DOCUMENTS = 5
SAY = "say_to_customer"
NOW = "2025-11-14 03:40:00 EST"  # the time at the bank, in all its tasks

SAY_SCHEMA: Mapping[str, Any] = {
    "name": SAY,
    "description": "say something to the customer and wait for the reply",
    "parameters": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
}

Policy = Callable[[Sequence[Mapping[str, str]], Sequence[Mapping[str, Any]]], Sequence[Call]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the customer says, the tools of theirs that they use, and whether they have hung up."""

    text: str
    calls: tuple[Call, ...] = ()
    done: bool = False


Customer = Callable[[Sequence[tuple[str, str]]], Said]
"""The conversation so far as (customer or agent, text) → what the customer says next."""


class World(Protocol):
    """What the tools of a domain read and change."""

    documents: list[str]  # ids of those that were read

    def schemas(self) -> list[dict[str, Any]]: ...
    def run(self, call: Call) -> Any: ...
    def state(self) -> Any: ...


class Retail(Shop):
    """The shop as a world. It has no documents but its policy."""

    documents: list[str] = []  # noqa: RUF012  never changed


class Bank:
    """The bank: a search over its documents, a look into its tables, and notes of every call that writes.

    tables: name → {"data": {id: record}}; documents: records with id, title, content.
    """

    def __init__(self, tables: Mapping[str, Any], library: Library, changed: Mapping[str, Any] | None = None) -> None:
        self._tables = {name: dict(one.get("data") or {}) for name, one in tables.items()}
        for name, one in (changed or {}).items():
            self._tables.setdefault(name, {}).update((one or {}).get("data") or {})
        self._library = library
        self.documents: list[str] = []
        self._notes: list[Call] = []

    def schemas(self) -> list[dict[str, Any]]:
        return [
            _schema("search_documents", "search the bank's internal documents: rules, procedures, tools", query="string"),
            _schema("find_records", f"records of a table by a field; tables: {', '.join(self._tables)}", table="string", field="string", value="string"),
            _schema("get_current_time", "the time at the bank"),
            _schema("log_verification", "note that a customer's identity was verified", name="string", user_id="string", address="string",
                    email="string", phone_number="string", date_of_birth="string", time_verified="string"),
            _schema("change_user_email", "change a customer's e-mail address", user_id="string", new_email="string"),
            _schema("unlock_discoverable_agent_tool", "make a tool that a document names usable", agent_tool_name="string"),
            _schema("call_discoverable_agent_tool", "use an unlocked tool; arguments: a JSON object as text", agent_tool_name="string", arguments="string"),
            _schema("give_discoverable_user_tool", "give the customer a tool that a document names", discoverable_tool_name="string"),
            _schema("transfer_to_human_agents", "hand over to a person", reason="string", summary="string"),
        ]  # fmt: skip

    def run(self, call: Call) -> Any:
        given = {key: str(value) for key, value in call.arguments.items()}
        if call.name == "search_documents":
            found = self._library.search(given.get("query", ""))
            self.documents += [one["id"] for one in found]
            return found
        if call.name == "find_records":
            records = self._tables.get(given.get("table", ""))
            if records is None:
                return {"error": f"There is no such table. There are: {', '.join(self._tables)}."}
            wanted = given.get("value", "").casefold()
            return [one for one in records.values() if str(one.get(given.get("field", ""), "")).casefold() == wanted][
                :50
            ]
        if call.name == "get_current_time":
            return NOW
        if call.name == "get_referrals_by_user":
            return [one for one in self._tables.get("referrals", {}).values() if one.get("referrer_id") == given.get("user_id")]  # fmt: skip
        if call.name == "call_discoverable_agent_tool" and is_read(given.get("agent_tool_name", "")):
            return self._read(given.get("arguments", ""))
        if not is_read(call.name) and not call.name.startswith(("unlock_", "give_")):
            self._notes.append(call)
        return "done"

    def state(self) -> Any:
        return _Notes(self._notes)

    def _read(self, arguments: str) -> Any:
        """Records that hold all the arguments of a tool that reads."""
        try:
            wanted = json.loads(arguments or "{}")
        except ValueError:
            return {"error": "arguments must be a JSON object as text."}
        if not isinstance(wanted, dict) or not wanted:
            return {"error": "arguments must be a JSON object with a value."}
        rows = ((name, one) for name, table in self._tables.items() for one in table.values())
        return [
            {"table": name, **one} for name, one in rows if all(str(one.get(key)) == str(value) for key, value in wanted.items())
        ][:50]  # fmt: skip


class Library:
    """The bank's documents, searched by BM25. Shared by all episodes of a run."""

    def __init__(self, documents: Sequence[Mapping[str, str]]) -> None:
        self._documents = documents
        self._index = Okapi([words(f"{one.get('title', '')} {one.get('content', '')}") for one in documents])

    def search(self, query: str) -> list[dict[str, str]]:
        scores = self._index.scores(words(query))
        best = sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:FOUND_DOCUMENTS]
        return [dict(self._documents[n]) for n in best if scores[n] > 0]


class _Notes:
    """Calls in any order, equal when each has its like."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = list(calls)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Notes) or len(self._calls) != len(other._calls):
            return False
        left = list(other._calls)
        for call in self._calls:
            found = next((one for one in left if same_call(call, one)), None)
            if found is None:
                return False
            left.remove(found)
        return True

    __hash__ = None  # type: ignore[assignment]


# ---------------------------------------------------------------- an episode


def play(
    task: Mapping[str, Any], new_world: Callable[[], World], policy: Policy, customer: Customer, *, rules: str
) -> tuple[Episode, dict[str, float]]:
    """Play one task; what was done, and its figures: those of `tau2_scores`, with success judged by the final state.

    rules: the policy that the agent is to follow. Errors of the chat models are raised.
    """
    world = new_world()
    messages: list[Mapping[str, str]] = [{"role": "system", "content": rules}]
    talk: list[tuple[str, str]] = []
    made: list[Call] = []
    for _ in range(MOST_TURNS):
        said = customer(talk)
        for call in said.calls:
            made.append(call)
            world.run(call)
        if said.done:
            break
        talk.append(("customer", said.text))
        messages.append({"role": "user", "content": said.text})
        reply = _agent_turn(world, policy, messages, made)
        if not reply:  # it has nothing to say: nobody would wait on
            break
        talk.append(("agent", reply))
    episode = Episode(
        calls=tuple(made), documents=tuple(world.documents), answers=tuple(text for who, text in talk if who == "agent")
    )
    return episode, scores(task, episode, world, new_world())


def scores(task: Mapping[str, Any], episode: Episode, world: World, gold: World) -> dict[str, float]:
    """`tau2_scores`, but success by the state: the gold calls on a fresh world must lead to the same one."""
    criteria = task.get("evaluation_criteria") or {}
    for one in criteria.get("actions") or ():
        gold.run(Call(name=str(one["name"]), arguments=one.get("arguments") or {}))
    values = tau2_scores(task, episode)
    by_action = "DB" not in (criteria.get("reward_basis") or ["DB"])
    reached = values["actions"] == 1.0 if by_action else world.state() == gold.state()
    return {**values, "success": float(reached and values["communicated"] == 1.0)}


def _agent_turn(world: World, policy: Policy, messages: list[Mapping[str, str]], made: list[Call]) -> str:
    """Calls and results until the agent says something; empty when it stops without a word."""
    functions = [*world.schemas(), SAY_SCHEMA]
    for _ in range(MOST_STEPS):
        calls = policy(messages, functions)
        if not calls:
            return ""
        listed = json.dumps({"calls": [one.to_dict() for one in calls]}, ensure_ascii=False, default=str)
        messages.append({"role": "assistant", "content": listed})
        results = []
        for call in calls:
            if call.name == SAY:
                return str(call.arguments.get("text", "")).strip()
            made.append(call)
            results.append(world.run(call))
        messages.append({"role": "tool", "content": json.dumps(results, ensure_ascii=False, default=str)})
    return ""


# ---------------------------------------------------------------- customers


def scripted_customer(task: Mapping[str, Any]) -> Customer:
    """Says the whole request at once, agrees to everything three times, uses their tools when they are due, hangs up."""
    criteria = task.get("evaluation_criteria") or {}
    due = tuple(
        Call(name=str(one["name"]), arguments=one.get("arguments") or {})
        for one in criteria.get("actions") or () if one.get("requestor") == "user"
    )  # fmt: skip

    def customer(talk: Sequence[tuple[str, str]]) -> Said:
        n_said = sum(who == "customer" for who, _ in talk)
        if not n_said:
            return Said(text=scenario(task))
        return Said(text="Yes, please go ahead.", calls=due if n_said == 1 else (), done=n_said > 3)

    return customer


def model_customer(task: Mapping[str, Any], chat: ChatModel, *, deadline_s: float) -> Customer:
    """A chat model that plays the scenario. A reply that is no JSON is taken as what it says."""
    tools = ", ".join(task.get("user_tools") or ()) or "none"
    system = CUSTOMER.format(scenario=neutral(scenario(task)), tools=neutral(tools))

    def customer(talk: Sequence[tuple[str, str]]) -> Said:
        asked = [Message(role="system", content=system)]
        for who, text in talk or [("agent", "Hello, how can I help you?")]:
            asked.append(Message(role="user" if who == "agent" else "assistant", content=neutral(text)))
        reply = complete(chat, asked, max_tokens=CUSTOMER_TOKENS, json_schema=CUSTOMER_SCHEMA, deadline_s=deadline_s)
        return _said(reply)

    return customer


def scenario(task: Mapping[str, Any]) -> str:
    """Who the customer is and what they want, as one text."""
    instructions = (task.get("user_scenario") or {}).get("instructions") or ""
    if isinstance(instructions, str):
        return instructions
    parts = (instructions.get(key) for key in ("known_info", "reason_for_call", "unknown_info", "task_instructions"))
    return "\n".join(str(part) for part in parts if part)


def _said(reply: str) -> Said:
    try:
        tree = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
        calls = [call_of(one) for one in tree.get("calls") or ()]
        return Said(
            text=str(tree.get("say") or ""), calls=tuple(one for one in calls if one), done=bool(tree.get("done"))
        )
    except (ValueError, AttributeError, TypeError, RecursionError):
        return Said(text=reply.strip())


def _schema(tool: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    return {"name": tool, "description": description, "parameters": {"type": "object", "required": list(parameters), "properties": properties}}  # fmt: skip
