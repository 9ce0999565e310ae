"""Tool calls and the agent benchmarks: what counts as right, with hand-made tasks, and gold calls on the real files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from eval.agent_bench import (
    BENCHES,
    api_bank_schemas,
    calls_of,
    chat_policy,
    load_tasks,
    rate_recorded,
    run_bench,
    summary,
)
from eval.agent_commands import agents
from eval.problems import ProblemLog
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
from rag.errors import ChatError, UsageError
from tests.fakes.chat import ScriptedChat

needs_tools = pytest.mark.skipif(importlib.util.find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
RIDE = {"name": "uber.ride", "parameters": {"type": "dict", "required": ["to", "n"], "properties": {"to": {"type": "string"}, "n": {"type": "integer"}, "fast": {"type": "boolean"}, "stops": {"type": "array", "items": {"type": "string"}}}}}  # fmt: skip


def call(name: str, **arguments: Any) -> Call:
    return Call(name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"to": "new york", "n": 2}, True), ({"to": "New-York.", "n": 2.0}, True), ({"to": "NYC", "n": 2, "fast": True}, True),
        ({"to": "Boston", "n": 2}, False), ({"to": "NYC"}, False), ({"to": "NYC", "n": True}, False), ({"to": "NYC", "n": "2"}, False),
        ({"to": "NYC", "n": 2, "more": 1}, False), ({"to": "NYC", "n": 2, "fast": 1}, False),
    ],
)  # fmt: skip
def test_one_call(arguments: dict[str, Any], right: bool) -> None:
    accepted = [{"uber.ride": {"to": ["New York", "NYC"], "n": [2], "fast": ["", True]}}]
    assert bfcl_matches([call("uber_ride", **arguments)], accepted, "simple_python") is right


def test_several_calls_in_any_order() -> None:
    accepted = [{"play": {"who": ["A"], "n": [1, 2]}}, {"play": {"who": ["A", "B"], "n": [1]}}]
    first, second = call("play", who="A", n=1), call("play", who="A", n=2)
    assert bfcl_matches([first, second], accepted, "parallel") and bfcl_matches([second, first], accepted, "parallel")
    assert not bfcl_matches([second, second], accepted, "parallel") and not bfcl_matches([first], accepted, "parallel")
    assert bfcl_matches([], [], "irrelevance") and not bfcl_matches([first], [], "live_irrelevance")
    assert bfcl_matches([first], [], "live_relevance") and not bfcl_matches([], [], "live_relevance")


def test_nested_values() -> None:
    accepted = [{"order": {"items": [[{"id": ["a"], "n": ["", 2]}]], "where": [{"city": ["Rome"]}]}}]
    assert bfcl_matches([call("order", items=[{"id": "A"}], where={"city": "rome"})], accepted, "simple")
    assert not bfcl_matches([call("order", items=[{"id": "a", "n": 3}], where={"city": "rome"})], accepted, "simple")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"to": "x", "n": 1}, ""), ({"to": "x"}, "needs n"), ({"to": 5, "n": 1}, "to must be string"), ({"to": "x", "n": True}, "n must be integer"),
        ({"to": "x", "n": 1, "b": 1}, "no parameter b"), ({"to": "x", "n": 1, "stops": ["a", 2]}, "item that must be string"),
    ],
)  # fmt: skip
def test_schema_faults(arguments: dict[str, Any], says: str) -> None:
    fault = schema_fault(call("uber.ride", **arguments), [RIDE])
    assert (says in fault) if says else fault == ""
    assert "no function" in schema_fault(call("walk"), [RIDE])


def test_calls_from_text() -> None:
    assert parse_python_call("a.send(to='x', n=[1, -2])") == call("a.send", to="x", n=[1, -2])
    assert parse_python_call("cd('x')").arguments == {"0": "x"}
    assert parse_python_call("__import__('os')").name == "__import__", "a name, and nothing is run"
    for text in ("f(x=g())", "f(", "5"):
        with pytest.raises(UsageError, match="no call"):
            parse_python_call(text)
    assert call_of({"function": {"name": "f", "arguments": '{"a": 1}'}}) == call("f", a=1)
    assert call_of({"name": "f", "arguments": "{"}) is None and call_of("f") is None
    assert calls_of('Sure: {"calls": [{"name": "f", "arguments": {}}, 5]}') == [call("f")]
    assert calls_of('[{"name": "f"}]') == [call("f")] and calls_of("none") == [] and calls_of('{"calls": 3}') == []


def test_loosely_equal_calls() -> None:
    assert same_call(call("f", a="X  y", n=5), call("f", a="x y ", n="5"))
    assert same_call(call("f", a=["1", "2"]), call("f", a='["2", "1"]'))
    assert not same_call(call("f", a="007"), call("f", a="7")) and not same_call(call("f"), call("f", a=1))
    assert same_call(call("f", a=1, b=2), call("f", a=1, b=3), compare=["a"])


def test_tau2() -> None:
    task = {
        "evaluation_criteria": {
            "actions": [{"name": "get_user", "arguments": {"id": "1"}}, {"name": "cancel", "arguments": {"id": "1", "why": "x"}, "compare_args": ["id"]}],
            "communicate_info": ["1,200"],
        },
        "required_documents": ["d1", "d2"],
    }  # fmt: skip
    done = Episode(calls=(call("cancel", id="1", why="other"), call("list_all")), documents=("d1",), answers=("You get 1200 back.",))  # fmt: skip
    assert tau2_scores(task, done) == {"success": 1.0, "actions": 0.5, "communicated": 1.0, "documents": 0.5}
    too_much = Episode(calls=(*done.calls, call("cancel", id="2")), answers=done.answers)
    assert tau2_scores(task, too_much)["success"] == 0.0
    assert tau2_scores(task, Episode(calls=done.calls))["success"] == 0.0, "the customer was not told"
    assert tau2_scores({"evaluation_criteria": {}}, Episode())["success"] == 1.0


# ---------------------------------------------------------------- whole benchmarks


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    folder = tmp_path / "bench"
    folder.mkdir()
    user = {"role": "user", "content": "Two seats to New York"}
    rows: dict[str, list[Any]] = {
        "bfcl-single-turn": [
            {"id": "s1", "category": "simple", "question": [[user]], "function": [RIDE], "ground_truth": [{"uber.ride": {"to": ["New York"], "n": [2]}}]},
            {"id": "s2", "category": "irrelevance", "question": [[{"role": "user", "content": "What is love?"}]], "function": [RIDE], "ground_truth": None},
        ],
        "api-bank-dialogues": [{"id": "a1", "level": 1, "dialogue": [{"role": "User", "text": "Log me in"}, {"role": "API", "api_name": "Login", "param_dict": {"user": "foo"}, "result": {"token": 1}},
                                                                     {"role": "AI", "text": "Done"}, {"role": "API", "api_name": "Add", "param_dict": {"n": "1"}, "result": {}}]}],
        "bfcl-multi-turn": [{"id": "m1", "category": "multi_turn_base", "question": [[user], [user]], "initial_config": {}, "involved_classes": ["MessageAPI"],
                             "ground_truth": [["message_login(user_id='USR001')"], ["send_message(receiver_id='USR002', message='hi')"]]}],
        "bfcl-multi-turn-functions": [{"id": "message_api", "functions": [{"name": "message_login"}, {"name": "send_message"}]}],
        "tau2-retail-tasks": [{"id": "t1", "evaluation_criteria": {"actions": [{"name": "cancel", "arguments": {"id": "1"}}]}}],
    }  # fmt: skip
    for name, records in rows.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder


def test_a_policy_is_run(bench: Path) -> None:
    seen: list[Any] = []

    def policy(messages: Any, functions: Any) -> list[Call]:
        seen.append((messages, functions))
        return [call("uber.ride", to="New York", n=2)]

    tree = summary(run_bench(bench, "bfcl", policy, log=ProblemLog()))
    assert tree["success"] == 0.5 and tree["groups"]["irrelevance"]["success"] == 0.0 and seen[0][1] == [RIDE]

    def banker(messages: Any, functions: Any) -> list[Call]:
        return [call("Login", user="FOO")] if "Log me in" in messages[-1]["content"] else [call("Add", n=2)]

    tree = summary(run_bench(bench, "api-bank", banker, log=ProblemLog()))
    assert (tree["success"], tree["calls"], tree["names"]) == (0.0, 0.5, 1.0)
    names = {one["name"] for one in api_bank_schemas(load_tasks(bench, "api-bank", ProblemLog()))}
    assert names == {"Login", "Add"}
    with pytest.raises(UsageError, match="its database.*--calls"):
        run_bench(bench, "tau2-retail", policy, log=ProblemLog())


@needs_tools
def test_several_turns_compare_the_state(bench: Path) -> None:
    script = iter(
        [[call("message_login", user_id="USR001")], [], [call("send_message", receiver_id="USR002", message="hi")], []]
    )
    results: list[str] = []

    def policy(messages: Any, functions: Any) -> list[Call]:
        results.append(messages[-1]["content"])
        return next(script)

    rated = run_bench(bench, "bfcl-multi-turn", policy, log=ProblemLog())
    assert rated[0].values == {"success": 1.0, "turns": 1.0} and "login" in results[1].lower()
    other = {
        "m1": {"turns": [["message_login(user_id='USR001')"], ["send_message(receiver_id='USR002', message='ho')"]]}
    }
    assert rate_recorded(bench, "bfcl-multi-turn", other, log=ProblemLog())[0].values == {"success": 0.0, "turns": 0.5}
    wild = {"m1": {"turns": [["nothing()", "message_login()"], []]}}
    assert rate_recorded(bench, "bfcl-multi-turn", wild, log=ProblemLog())[0].values["success"] == 0.0


def test_the_command(bench: Path, tmp_path: Path) -> None:
    reply = json.dumps({"calls": [{"name": "uber.ride", "arguments": {"to": "New York", "n": 2}}]})
    chat = ScriptedChat([reply, '{"calls": []}'])
    first, code = agents(bench, "bfcl", record=tmp_path / "r.jsonl", out_dir=tmp_path / "a", open_chat=lambda: chat)
    assert (first["success"], code, first["failures"]) == (1.0, 0, {})
    again, _ = agents(bench, "bfcl", replay=tmp_path / "r.jsonl", out_dir=tmp_path / "b", open_chat=lambda: None)
    assert (tmp_path / "a" / "agents-bfcl.json").read_bytes() == (tmp_path / "b" / "agents-bfcl.json").read_bytes()
    late = ScriptedChat(lambda _: ChatError("E_LLM_DEADLINE", "late"))
    failed, code = agents(bench, "bfcl", open_chat=lambda: late)
    assert code == 3 and failed["failures"] == {"E_LLM_DEADLINE": 2} and failed["success"] == 0.0
    (tmp_path / "calls.jsonl").write_text(
        '{"id": "t1", "calls": [{"name": "cancel", "arguments": {"id": 1}}]}\n{"id": "t9"}\n'
    )
    rated, code = agents(
        bench, "tau2-retail", calls=tmp_path / "calls.jsonl", open_chat=lambda: None, fail_under=["success=1"]
    )
    assert rated["success"] == 1.0 and [one["kind"] for one in rated["problems"]] == ["unknown_question"]
    missing, code = agents(bench, "bfcl", calls=tmp_path / "calls.jsonl", open_chat=lambda: None)
    assert code == 3 and missing["failures"] == {"E_NOT_RECORDED": 2}
    with pytest.raises(UsageError, match="There is no chat model"):
        agents(bench, "bfcl", open_chat=lambda: None)
    with pytest.raises(UsageError, match="holds no tau2-banking"):
        agents(bench, "tau2-banking", calls=tmp_path / "calls.jsonl", open_chat=lambda: None)


def test_the_model_is_asked_with_the_functions() -> None:
    chat = ScriptedChat(['{"calls": []}'])
    policy = chat_policy(chat, deadline_s=1)
    assert policy([{"role": "user", "content": "Go <|im_end|>"}, {"role": "tool", "content": "42"}], [RIDE]) == []
    asked = chat.asked[0]
    assert (
        "uber.ride" in asked[0].content
        and "<|im_end|>" not in asked[1].content
        and asked[2].content == "Tool result: 42"
    )


@pytest.mark.parametrize("name", ["api-bank", "bfcl-multi-turn", "tau2-banking", "tau2-retail"])
def test_gold_calls_are_right_and_nothing_is_not(shared: Path, name: str) -> None:
    if name == "bfcl-multi-turn" and importlib.util.find_spec("bfcl_eval") is None:
        pytest.skip("bfcl-eval is not installed")
    folder, log = shared / "data" / "bench", ProblemLog()
    gold = {}
    for task in load_tasks(folder, name, log):
        criteria = task.get("evaluation_criteria", {})
        calls = [{"name": one["name"], "arguments": one["arguments"]} for one in criteria.get("actions") or ()]
        calls += [{"name": one["api_name"], "arguments": one.get("param_dict") or {}} for one in task.get("dialogue", ()) if one["role"] == "API"]  # fmt: skip
        gold[str(task["id"])] = {"calls": calls, "turns": task.get("ground_truth"), "documents": task.get("required_documents"), "answers": criteria.get("communicate_info")}  # fmt: skip
    assert summary(rate_recorded(folder, name, gold, log=log))["success"] == 1.0
    nothing = summary(rate_recorded(folder, name, {key: {"turns": []} for key in gold}, log=log))
    assert nothing["success"] < 0.1 and log.problems() == () and name in BENCHES
