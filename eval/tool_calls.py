"""Tool calls as plain values, and whether they are the right ones: BFCL's match, schema faults, API-Bank and tau2 actions."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a tool: its name and its arguments by name."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "arguments": dict(self.arguments)}


def call_of(value: object) -> Call | None:
    """A call from `{"name", "arguments"}`, with arguments as an object or as its JSON text; also OpenAI's nesting."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("args", value.get("parameters", {})))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            return None
    if not isinstance(arguments, dict):
        return None
    return Call(name=value["name"], arguments={str(key): one for key, one in arguments.items()})


def parse_python_call(text: str) -> Call:
    """`send(to='A', n=2)` as a call; nothing is run. Arguments without a name get "0", "1", …

    Raises: UsageError when the text is no call with literal arguments.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            raise ValueError("no call")
        arguments = {str(at): ast.literal_eval(one) for at, one in enumerate(node.args)}
        arguments |= {str(one.arg): ast.literal_eval(one.value) for one in node.keywords if one.arg}
        return Call(name=ast.unparse(node.func), arguments=arguments)
    except (ValueError, SyntaxError, RecursionError) as error:
        raise UsageError(f"{text!r} is no call with plain arguments ({error}). Wanted: name(key=value).") from error


# ---------------------------------------------------------------- schemas

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "float": (float, int), "number": (float, int), "boolean": (bool,),
    "array": (list, tuple), "tuple": (list, tuple), "list": (list, tuple), "dict": (dict,), "object": (dict,),
}  # fmt: skip


def schema_fault(call: Call, functions: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a call by its function's schema: one sentence; "" when nothing is."""
    schema = next((one for one in functions if _same_name(str(one.get("name")), call.name)), None)
    if schema is None:
        return f"There is no function {call.name}."
    given = schema.get("parameters")
    parameters: Mapping[str, Any] = given if isinstance(given, dict) else {}
    known = parameters.get("properties")
    properties: Mapping[str, Any] = {name: one for name, one in known.items() if isinstance(one, dict)} if isinstance(known, dict) else {}  # fmt: skip
    missing = [name for name in parameters.get("required") or () if name not in call.arguments]
    if missing:
        return f"{call.name} needs {missing[0]}."
    for name, value in call.arguments.items():
        if name not in properties:
            return f"{call.name} has no parameter {name}."
        if fault := _value_fault(value, properties[name]):
            return f"{call.name}: {name} {fault}."
    return ""


def _value_fault(value: object, schema: Mapping[str, Any]) -> str:
    wanted = _TYPES.get(str(schema.get("type", "")))
    if value is None and (schema.get("nullable") or ("default" in schema and schema["default"] is None)):
        return ""
    if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        return f"must be {schema['type']}, not {type(value).__name__}"
    items = schema.get("items")
    if isinstance(value, list | tuple) and isinstance(items, dict):
        return next((f"holds an item that {fault}" for one in value if (fault := _value_fault(one, items))), "")
    return ""


# ---------------------------------------------------------------- BFCL, one turn


def bfcl_matches(calls: Sequence[Call], accepted: Sequence[Mapping[str, Any]], category: str) -> bool:
    """Whether the calls of a single-turn task are right.

    accepted: one {name: {parameter: [accepted values]}} for each call; "" among the values: it may be left out. Several
    calls count in any order. category "irrelevance": right is no call; "live_relevance": right is at least one.
    Source: Patil et al., ICML 2025, the Berkeley Function Calling Leaderboard, AST evaluation.
    """
    if category.endswith("irrelevance"):
        return not calls
    if category.endswith("relevance"):
        return bool(calls)
    return len(calls) == len(accepted) and _assigned(list(calls), list(accepted))


def _assigned(calls: list[Call], accepted: list[Mapping[str, Any]]) -> bool:
    """Whether the calls can be matched one to one with what is accepted: the first call with each in turn."""
    if not calls:
        return True
    return any(
        _one_matches(calls[0], one) and _assigned(calls[1:], accepted[:at] + accepted[at + 1 :])
        for at, one in enumerate(accepted)
    )


def _one_matches(call: Call, accepted: Mapping[str, Any]) -> bool:
    ((name, parameters),) = accepted.items()
    if not _same_name(name, call.name) or any(key not in parameters for key in call.arguments):
        return False
    return all(
        _accepts(values, call.arguments[key]) if key in call.arguments else _optional(values)
        for key, values in parameters.items()
    )


def _same_name(a: str, b: str) -> bool:
    """Providers do not take dots in names, so models may write an underscore."""
    return a.replace(".", "_") == b.replace(".", "_")


def _optional(values: Sequence[Any]) -> bool:
    return any(isinstance(one, str) and one == "" for one in values)


def _accepts(values: Sequence[Any], given: object) -> bool:
    return any(_equal(one, given) for one in values)


def _equal(wanted: Any, given: Any) -> bool:
    """Texts are compared without case, blanks and some punctuation; whole numbers may be floats; true is not 1.

    A dict that is wanted holds accepted values itself.
    """
    if isinstance(wanted, bool) or isinstance(given, bool):
        return wanted is given
    if isinstance(wanted, str) and isinstance(given, str):
        return _plain(wanted) == _plain(given)
    if isinstance(wanted, int | float) and isinstance(given, int | float):
        return wanted == given
    if isinstance(wanted, list | tuple) and isinstance(given, list | tuple):
        return len(wanted) == len(given) and all(_equal(a, b) for a, b in zip(wanted, given, strict=True))
    if isinstance(wanted, dict) and isinstance(given, dict):
        return all(key in wanted for key in given) and all(
            (_accepts(values, given[key]) if key in given else _optional(values))
            if isinstance(values, list)
            else key in given and _equal(values, given[key])
            for key, values in wanted.items()
        )
    return wanted is None and given is None


def _plain(text: str) -> str:
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')


# ---------------------------------------------------------------- API-Bank and tau2


def same_call(wanted: Call, given: Call, *, compare: Sequence[str] | None = None) -> bool:
    """Whether two calls have one name and equal arguments. compare: the arguments that count; none: all.

    Texts are compared without case and surrounding blanks, numbers with their texts, lists in any order.
    """
    if not _same_name(wanted.name, given.name):
        return False
    if compare is None:
        keys: set[str] = {*wanted.arguments, *given.arguments}
    else:
        keys = set(compare)
    return all(_loose(wanted.arguments.get(key)) == _loose(given.arguments.get(key)) for key in keys)


def _loose(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e15 else str(value)
    if isinstance(value, str):
        text = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
        if text[:1] in "[{":
            try:
                return _loose(json.loads(value))
            except (ValueError, RecursionError):
                return text
        return (
            f"{float(text):g}" if re.fullmatch(r"-?\d{1,14}(?:\.\d+)?", text) and not re.match(r"-?0\d", text) else text
        )
    if isinstance(value, list | tuple):
        return tuple(sorted((_loose(one) for one in value), key=repr))
    return tuple(sorted((str(key), _loose(one)) for key, one in value.items())) if isinstance(value, dict) else value


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


_READS = re.compile(r"(?:get|find|list|search|read|check|calculate|think|view|show|lookup)(?:_|$)")


def is_read(name: str) -> bool:
    """Whether a tool of this name only reads."""
    return _READS.match(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What an agent did in one tau2 task. documents: ids that it read. answers: what it said to the customer."""

    calls: tuple[Call, ...] = ()
    documents: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


def tau2_scores(task: Mapping[str, Any], episode: Episode) -> dict[str, float]:
    """Figures of one tau2 task.

    success: the writing calls are the gold ones, whatever else was read, and everything to be communicated was said.
    Where there is a database to replay the calls on, `eval.tau2` judges success by its final state instead.
    actions: share of the gold calls that were made. documents: share of the required documents that were read.
    communicated: share of what the customer must be told.
    """
    criteria = task.get("evaluation_criteria") or {}
    gold = [(Call(name=str(one["name"]), arguments=one.get("arguments") or {}), one.get("compare_args")) for one in criteria.get("actions") or ()]  # fmt: skip
    left = list(episode.calls)
    n_made = 0
    missing_write = False
    for wanted, compare in gold:
        found = next((one for one in left if same_call(wanted, one, compare=compare)), None)
        if found is not None:
            left.remove(found)
            n_made += 1
        elif not is_read(wanted.name):
            missing_write = True
    extra_write = any(not is_read(one.name) for one in left)
    said = " ".join(episode.answers).casefold().replace(",", "")
    told = [str(one).casefold().replace(",", "") in said for one in _listed(criteria.get("communicate_info"))]
    required = _listed(task.get("required_documents"))
    read = [one in episode.documents for one in required]
    return {
        "success": float(not missing_write and not extra_write and all(told)),
        "actions": n_made / len(gold) if gold else 1.0,
        "communicated": sum(told) / len(told) if told else 1.0,
        "documents": sum(read) / len(read) if read else 1.0,
    }
