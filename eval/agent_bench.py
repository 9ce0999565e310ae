"""Agent benchmarks: BFCL in one and several turns, API-Bank, tau2; run with a policy, or rated from recorded calls.

A policy is any function (messages, functions) → calls: a chat model, an agent, or a script.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import tau2
from eval.bfcl_tools import FUNCTION_FILES, Simulation
from eval.evaluation import Progress
from eval.lines import read_lines
from eval.problems import ProblemLog
from eval.prompts import BANK_RULES
from eval.tool_calls import (
    Call,
    Episode,
    bfcl_matches,
    call_of,
    parse_python_call,
    same_call,
    schema_fault,
    tau2_scores,
)
from rag.chat import complete
from rag.errors import RagstoneError, UsageError
from rag.prompts import neutral
from rag.types import ChatModel, Message

Policy = Callable[[Sequence[Mapping[str, str]], Sequence[Mapping[str, Any]]], Sequence[Call]]
"""(messages with role and content, function schemas) → the calls to make now; none: the turn is over."""

BENCHES = {
    "bfcl": "bfcl-single-turn",
    "bfcl-multi-turn": "bfcl-multi-turn",
    "api-bank": "api-bank-dialogues",
    "tau2-banking": "tau2-banking-tasks",
    "tau2-retail": "tau2-retail-tasks",
}
MOST_STEPS = 10  # of one turn
CALL_TOKENS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One task: values 0 to 1 by name, `success` among them; group: what it counts under. code: of the failure."""

    task_id: str
    group: str
    values: Mapping[str, float]
    calls: tuple[Call, ...] = ()
    code: str = ""
    faults: tuple[str, ...] = ()  # of the calls, by their schemas


def load_tasks(folder: Path, bench: str, log: ProblemLog, *, limit: int | None = None) -> list[dict[str, Any]]:
    """The tasks of a benchmark. Raises: UsageError when its file is not there or holds none."""
    if bench not in BENCHES:
        raise UsageError(f"There is no benchmark {bench!r}. There are: {', '.join(BENCHES)}.")
    path = _file(folder, BENCHES[bench])
    if path is None:
        raise UsageError(f"{folder} holds no {BENCHES[bench]}.jsonl or .jsonl.gz. Give the folder with the benchmarks.")
    tasks = []
    for record in _records(path, log):
        if _is_task(bench, record):
            tasks.append(record)
        else:
            log.add("bad_line", str(record.get("id", "")), where=path.name)
    if not tasks:
        raise UsageError(f"{path} holds no task. Each line must be JSON with an id.")
    return tasks[:limit]


def run_bench(
    folder: Path,
    bench: str,
    policy: Policy,
    *,
    log: ProblemLog,
    limit: int | None = None,
    customer_of: Callable[[Mapping[str, Any]], tau2.Customer] = tau2.scripted_customer,
    progress: Progress | None = None,
) -> list[Rated]:
    """Run a benchmark's tasks with a policy. A RagstoneError that the policy raises is a failure of that task.

    customer_of: plays the customer of a tau2 task.
    Raises: UsageError when a file that the tasks need is not there.
    """
    tasks = load_tasks(folder, bench, log, limit=limit)
    stage = tau2_stage(folder, bench, log) if bench.startswith("tau2") else None
    if bench.startswith("tau2") and stage is None:
        raise UsageError(f"{bench} needs its database beside its tasks in {folder}. Without it, rate recorded episodes: --calls FILE.")  # fmt: skip
    documents = _function_documents(folder, log) if bench == "bfcl-multi-turn" else {}
    if bench == "bfcl-multi-turn":
        Simulation(("MathAPI",), {})  # says at once when the tools are not there
    schemas = api_bank_schemas(tasks) if bench == "api-bank" else []
    runners: dict[str, Callable[[dict[str, Any]], Rated]] = {
        "bfcl": lambda task: _single_turn(task, policy),
        "bfcl-multi-turn": lambda task: _multi_turn(task, policy, documents),
        "api-bank": lambda task: _api_bank(task, policy, schemas),
        "tau2-banking": lambda task: _tau2(task, stage, policy, customer_of(task)),
        "tau2-retail": lambda task: _tau2(task, stage, policy, customer_of(task)),
    }
    rated = []
    for done, task in enumerate(tasks, start=1):
        try:
            rated.append(runners[bench](task))
        except RagstoneError as error:
            rated.append(Rated(task_id=str(task["id"]), group=_group(task), values={"success": 0.0}, code=error.code))
        if progress is not None:
            progress(bench, done, len(tasks))
    return rated


def rate_recorded(
    folder: Path, bench: str, recorded: Mapping[str, Mapping[str, Any]], *, log: ProblemLog, limit: int | None = None
) -> list[Rated]:
    """Rate what any agent did: task id → {"calls": […]}, for several turns {"turns": [[…], …]}, for tau2 documents and answers too.

    A task without a record counts as failed and is noted.
    """
    tasks = load_tasks(folder, bench, log, limit=limit)
    known = {str(task["id"]) for task in tasks}
    log.add_all("unknown_question", (one for one in recorded if one not in known), where=bench)
    stage = tau2_stage(folder, bench, log) if bench.startswith("tau2") else None
    return [_rate_record(bench, task, recorded.get(str(task["id"])), stage, log) for task in tasks]


def read_recorded(path: Path, log: ProblemLog) -> dict[str, dict[str, Any]]:
    """JSON lines with an id. Raises: UsageError when there is none."""
    found = {str(record["id"]): record for record in _records(path, log) if "id" in record}
    if not found:
        raise UsageError(f'{path} holds no record. Each line must be JSON, such as {{"id": "t1", "calls": []}}.')
    return found


def summary(rated: Sequence[Rated]) -> dict[str, Any]:
    """Means over all tasks and over each group, failures by code, calls that break their schema."""
    tree = _figures(rated)
    groups = sorted({one.group for one in rated if one.group})
    tree["groups"] = {group: _figures([one for one in rated if one.group == group]) for group in groups}
    return tree


# ---------------------------------------------------------------- policies


def chat_policy(chat: ChatModel, *, deadline_s: float) -> Policy:
    """A chat model that names its calls as JSON. A reply that is none makes no call: the model's fault costs the task."""

    def policy(messages: Sequence[Mapping[str, str]], functions: Sequence[Mapping[str, Any]]) -> list[Call]:
        system = _TOOL_PROMPT + "\n".join(neutral(json.dumps(one, ensure_ascii=False)) for one in functions)
        asked = [Message(role="system", content=system)]
        for one in messages:
            role: Any = one["role"] if one["role"] in ("user", "assistant") else "user"
            text = (
                one["content"] if one["role"] in ("user", "assistant", "system") else f"Tool result: {one['content']}"
            )
            asked.append(Message(role=role, content=neutral(text)))
        reply = complete(chat, asked, max_tokens=CALL_TOKENS, json_schema=_CALLS_SCHEMA, deadline_s=deadline_s)
        return calls_of(reply)

    return policy


def calls_of(reply: str) -> list[Call]:
    """The calls in a reply: {"calls": […]}, a list, or one call; [] when there are none."""
    starts = [at for at in (reply.find("{"), reply.find("[")) if at >= 0]
    end = max(reply.rfind("}"), reply.rfind("]"))
    try:
        found = json.loads(reply[min(starts) : end + 1]) if starts else []
    except (ValueError, RecursionError):
        return []
    listed = found.get("calls", [found]) if isinstance(found, dict) else found
    return [call for one in listed if (call := call_of(one)) is not None] if isinstance(listed, list) else []


_TOOL_PROMPT = (
    'You act by calling functions. Reply in JSON: {"calls": [{"name": …, "arguments": {…}}]}. Call every function that the '
    "user's request needs now, with values from the conversation. When no function fits, when a value is missing, or when "
    'everything is done, reply {"calls": []}. The functions:\n'
)
_CALLS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "calls": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
                "required": ["name", "arguments"],
            },
        }
    },
    "required": ["calls"],
}


# ---------------------------------------------------------------- the benchmarks


def _single_turn(task: Mapping[str, Any], policy: Policy) -> Rated:
    messages = [message for turn in task["question"] for message in turn]
    return _rate_single(task, tuple(policy(messages, task["function"])))


def _rate_single(task: Mapping[str, Any], calls: tuple[Call, ...]) -> Rated:
    category = str(task.get("category", ""))
    right = bfcl_matches(calls, task.get("ground_truth") or (), category)
    faults = tuple(fault for call in calls if (fault := schema_fault(call, task["function"])))
    return Rated(task_id=str(task["id"]), group=category, values={"success": float(right)}, calls=calls, faults=faults)


def _multi_turn(task: Mapping[str, Any], policy: Policy, documents: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rated:
    """Each turn: calls and results in turn until the policy makes no call; then the state must be the gold one."""
    functions = [one for name in task["involved_classes"] for one in documents.get(FUNCTION_FILES.get(name, ""), ())]
    held_back = {int(turn): names for turn, names in (task.get("missed_function") or {}).items()}
    ours, gold = (Simulation(task["involved_classes"], task["initial_config"]) for _ in range(2))
    messages: list[Mapping[str, str]] = []
    made: list[Call] = []
    n_right = 0
    for at, turn in enumerate(task["question"]):
        missing = {name for later, names in held_back.items() if later > at for name in names}
        shown = [one for one in functions if one["name"] not in missing]
        messages += turn or [{"role": "user", "content": "More functions are available now. Go on."}]
        for _ in range(MOST_STEPS):
            calls = policy(messages, shown)
            if not calls:
                break
            made += calls
            messages.append({"role": "assistant", "content": json.dumps({"calls": [one.to_dict() for one in calls]}, default=str)})  # fmt: skip
            results = [ours.run(one) for one in calls]
            messages.append({"role": "tool", "content": json.dumps(results, ensure_ascii=False, default=str)})
        for text in task["ground_truth"][at]:
            gold.run(parse_python_call(text))
        n_right += ours.state() == gold.state()
    return _rated_turns(task, n_right, tuple(made))


def _replayed_turns(task: Mapping[str, Any], turns: Sequence[Sequence[Call]]) -> Rated:
    ours, gold = (Simulation(task["involved_classes"], task["initial_config"]) for _ in range(2))
    n_right = 0
    for at, wanted in enumerate(task["ground_truth"]):
        for call in turns[at] if at < len(turns) else ():
            ours.run(call)
        for text in wanted:
            gold.run(parse_python_call(text))
        n_right += ours.state() == gold.state()
    return _rated_turns(task, n_right, tuple(call for turn in turns for call in turn))


def _rated_turns(task: Mapping[str, Any], n_right: int, calls: tuple[Call, ...]) -> Rated:
    n_turns = len(task["ground_truth"])
    values = {"success": float(n_right == n_turns), "turns": n_right / n_turns if n_turns else 1.0}
    return Rated(task_id=str(task["id"]), group=_group(task), values=values, calls=calls)


def _api_bank(task: Mapping[str, Any], policy: Policy, schemas: Sequence[Mapping[str, Any]]) -> Rated:
    """Each API turn by itself, after the dialogue as it was recorded."""
    messages: list[Mapping[str, str]] = []
    given: list[Call | None] = []
    for turn in task["dialogue"]:
        if turn["role"] == "API":
            calls = policy(messages, schemas)
            given.append(calls[0] if calls else None)
            said = Call(name=turn["api_name"], arguments=turn.get("param_dict") or {}).to_dict()
            messages.append({"role": "assistant", "content": json.dumps({"calls": [said]}, ensure_ascii=False)})
            messages.append({"role": "tool", "content": json.dumps(turn.get("result"), ensure_ascii=False)})
        else:
            messages.append({"role": "user" if turn["role"] == "User" else "assistant", "content": turn["text"]})
    return _rate_api_bank(task, given)


def _rate_api_bank(task: Mapping[str, Any], given: Sequence[Call | None]) -> Rated:
    gold = [Call(name=one["api_name"], arguments=one.get("param_dict") or {}) for one in task["dialogue"] if one["role"] == "API"]  # fmt: skip
    pairs = list(zip(gold, [*given, *[None] * len(gold)], strict=False))
    right = [call is not None and same_call(wanted, call) for wanted, call in pairs]
    names = [call is not None and call.name == wanted.name for wanted, call in pairs]
    shares = (
        {"calls": sum(right) / len(gold), "names": sum(names) / len(gold)} if gold else {"calls": 1.0, "names": 1.0}
    )
    values = {"success": float(all(right)), **shares}
    made = tuple(call for call in given if call is not None)
    return Rated(task_id=str(task["id"]), group=f"level {task.get('level', '?')}", values=values, calls=made)


def api_bank_schemas(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Schemas of the APIs that the dialogues use, made from their calls: the data has none of its own."""
    seen: dict[str, dict[str, str]] = {}
    for task in tasks:
        for turn in task["dialogue"]:
            if turn["role"] == "API":
                parameters = seen.setdefault(str(turn["api_name"]), {})
                for key, value in (turn.get("param_dict") or {}).items():
                    parameters.setdefault(str(key), "array" if isinstance(value, list) else "string")
    return [
        {"name": name, "parameters": {"type": "dict", "properties": {k: {"type": kind} for k, kind in found.items()}, "required": []}}
        for name, found in sorted(seen.items())
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where tau2's tasks are played: the agent's rules, and a fresh world for a task."""

    rules: str
    new_world: Callable[[Mapping[str, Any]], tau2.World]


def tau2_stage(folder: Path, bench: str, log: ProblemLog) -> Stage | None:
    """The stage of a tau2 benchmark; None when its database is not in the folder."""
    if bench == "tau2-retail":
        path = _file(folder, "tau2-retail-env")
        parts = {str(one.get("id")): one for one in _records(path, log)} if path else {}
        if "policy" not in parts or "db" not in parts:
            return None
        db = parts["db"]["db"]
        return Stage(rules=str(parts["policy"]["text"]), new_world=lambda task: tau2.Retail(db))
    database, documents = _file(folder, "tau2-banking-db"), _file(folder, "tau2-banking-documents")
    tables = next(_records(database, log), None) if database else None
    if tables is None or documents is None:
        return None
    library = tau2.Library(list(_records(documents, log)))
    return Stage(rules=BANK_RULES, new_world=lambda task: tau2.Bank(tables, library, _initial_data(task)))


def _initial_data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a task's database holds beyond the common one."""
    data = ((task.get("initial_state") or {}).get("initialization_data") or {}).get("agent_data")
    return data if isinstance(data, dict) else {}


def _tau2(task: Mapping[str, Any], stage: Stage | None, policy: Policy, customer: tau2.Customer) -> Rated:
    assert stage is not None
    episode, values = tau2.play(task, lambda: stage.new_world(task), policy, customer, rules=stage.rules)
    return Rated(task_id=str(task["id"]), group=_group(task), values=values, calls=episode.calls)


def _rate_record(
    bench: str, task: Mapping[str, Any], record: Mapping[str, Any] | None, stage: Stage | None, log: ProblemLog
) -> Rated:
    if record is None:
        log.add("unanswered", str(task["id"]), where=bench)
        return Rated(task_id=str(task["id"]), group=_group(task), values={"success": 0.0}, code="E_NOT_RECORDED")
    calls = _calls(record.get("calls"))
    if bench == "bfcl":
        return _rate_single(task, calls)
    if bench == "api-bank":
        return _rate_api_bank(task, calls)
    if bench == "bfcl-multi-turn":
        turns = record.get("turns")
        return _replayed_turns(task, [_calls(turn) for turn in turns] if isinstance(turns, list) else [calls])
    episode = Episode(calls=calls, documents=_strings(record.get("documents")), answers=_strings(record.get("answers")))
    if stage is None:
        return Rated(task_id=str(task["id"]), group=_group(task), values=tau2_scores(task, episode), calls=calls)
    world = stage.new_world(task)
    for call in calls:
        world.run(call)
    values = tau2.scores(task, episode, world, stage.new_world(task))
    return Rated(task_id=str(task["id"]), group=_group(task), values=values, calls=calls)


def _calls(value: object) -> tuple[Call, ...]:
    listed = value if isinstance(value, list) else []
    made = (parse_python_call(one) if isinstance(one, str) else call_of(one) for one in listed)
    return tuple(call for call in made if call is not None)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _group(task: Mapping[str, Any]) -> str:
    return str(task.get("category") or (f"level {task['level']}" if "level" in task else ""))


def _figures(rated: Sequence[Rated]) -> dict[str, Any]:
    codes: dict[str, int] = {}
    for one in rated:
        if one.code:
            codes[one.code] = codes.get(one.code, 0) + 1
    names = dict.fromkeys(name for one in rated for name in one.values)
    means = {name: sum(one.values.get(name, 0.0) for one in rated) / len(rated) for name in names} if rated else {}
    return {
        **means,
        "n": len(rated),
        "failures": dict(sorted(codes.items())),
        "schema_faults": sum(bool(one.faults) for one in rated),
    }


_NEEDED: dict[str, dict[str, type]] = {
    "bfcl": {"question": list, "function": list},
    "bfcl-multi-turn": {"question": list, "initial_config": dict, "involved_classes": list, "ground_truth": list},
    "api-bank": {"dialogue": list},
    "tau2-banking": {"evaluation_criteria": dict},
    "tau2-retail": {"evaluation_criteria": dict},
}


def _is_task(bench: str, record: Mapping[str, Any]) -> bool:
    """Whether a record has what its benchmark's tasks are made of."""
    needed = _NEEDED[bench]
    if "id" not in record or not all(isinstance(record.get(key), kind) for key, kind in needed.items()):
        return False
    if bench == "bfcl":
        accepted = record.get("ground_truth") or []
        turns = all(isinstance(turn, list) and all(map(_is_message, turn)) for turn in record["question"])
        known = isinstance(accepted, list) and all(map(_is_accepted, accepted))
        return turns and known and all(isinstance(one, dict) for one in record["function"])
    if bench == "bfcl-multi-turn":
        turns = all(isinstance(turn, list) and all(map(_is_message, turn)) for turn in record["question"])
        calls = all(
            isinstance(turn, list) and all(isinstance(one, str) for one in turn) for turn in record["ground_truth"]
        )
        return turns and calls and len(record["question"]) == len(record["ground_truth"])
    if bench == "api-bank":
        return all(map(_is_turn, record["dialogue"]))
    actions = record["evaluation_criteria"].get("actions") or []
    return isinstance(actions, list) and all(isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("arguments") or {}, dict) for one in actions)  # fmt: skip


def _is_accepted(value: object) -> bool:
    """{name: {parameter: [values]}} with one name."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    (parameters,) = value.values()
    return isinstance(parameters, dict) and all(isinstance(one, list) for one in parameters.values())


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _is_turn(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("role") == "API":
        return isinstance(value.get("api_name"), str) and isinstance(value.get("param_dict") or {}, dict)
    return isinstance(value.get("role"), str) and isinstance(value.get("text"), str)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file()), None)


def _records(path: Path, log: ProblemLog) -> Iterator[dict[str, Any]]:
    for number, line in read_lines(path, log):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            yield record
        else:
            log.add("bad_line", f"line {number}", where=path.name)


def _function_documents(folder: Path, log: ProblemLog) -> dict[str, list[dict[str, Any]]]:
    path = _file(folder, "bfcl-multi-turn-functions")
    return {str(one["id"]): one["functions"] for one in _records(path, log)} if path is not None else {}
