"""tau2's episodes: the shop keeps its rules, an episode is judged by the database it leaves, a customer talks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eval import tau2
from eval.agent_bench import load_tasks, rate_recorded, run_bench, summary
from eval.agent_commands import agents
from eval.problems import ProblemLog
from eval.tau2_shop import Shop
from eval.tool_calls import Call
from tests.fakes.chat import ScriptedChat

BLUE, RED = {"item_id": "i-blue", "options": {"color": "blue"}, "available": True, "price": 10.0}, {"item_id": "i-red", "options": {"color": "red"}, "available": True, "price": 12.5}  # fmt: skip
DB: dict[str, Any] = {
    "users": {"ann_1": {"user_id": "ann_1", "name": {"first_name": "Ann", "last_name": "Lee"}, "email": "ann@example.com",
                        "address": {"address1": "1 Elm", "address2": "", "city": "Rome", "state": "NY", "zip": "10001", "country": "USA"},
                        "payment_methods": {"gift_1": {"source": "gift_card", "id": "gift_1", "balance": 3.0}, "card_1": {"source": "credit_card", "id": "card_1"}}}},
    "products": {"p1": {"name": "Cup", "product_id": "p1", "variants": {"i-blue": BLUE, "i-red": RED}}},
    "orders": {
        "#1": {"order_id": "#1", "user_id": "ann_1", "status": "pending", "address": {}, "items": [{"name": "Cup", "product_id": "p1", "item_id": "i-blue", "price": 10.0, "options": {}}],
               "payment_history": [{"transaction_type": "payment", "amount": 10.0, "payment_method_id": "gift_1"}]},
        "#2": {"order_id": "#2", "user_id": "ann_1", "status": "delivered", "address": {}, "items": [{"name": "Cup", "product_id": "p1", "item_id": "i-blue", "price": 10.0, "options": {}}],
               "payment_history": [{"transaction_type": "payment", "amount": 10.0, "payment_method_id": "card_1"}]},
    },
}  # fmt: skip
SCENARIO = {
    "instructions": {"reason_for_call": "You want order #1 cancelled.", "known_info": "You are Ann Lee, 10001."}
}
TASK = {"id": "t1", "user_scenario": SCENARIO, "evaluation_criteria": {"communicate_info": ["10"], "reward_basis": ["DB"], "actions": [
    {"name": "cancel_pending_order", "arguments": {"order_id": "#1", "reason": "no longer needed"}}]}}  # fmt: skip
CANCEL = Call(name="cancel_pending_order", arguments={"order_id": "#1", "reason": "no longer needed"})


def say(text: str) -> Call:
    return Call(name=tau2.SAY, arguments={"text": text})


def test_what_the_shop_does() -> None:
    shop = Shop(DB)
    run = lambda name, **given: shop.run(Call(name=name, arguments=given))  # noqa: E731
    assert run("find_user_id_by_name_zip", first_name="ann", last_name="LEE", zip="10001") == "ann_1"
    assert run("calculate", expression="2 * 3") == "6"
    changed = run("modify_pending_order_items", order_id="#1", item_ids=["i-blue"], new_item_ids=["i-red"], payment_method_id="gift_1")  # fmt: skip
    assert (changed["status"], changed["items"][0]["price"]) == ("pending (item modified)", 12.5)
    assert run("get_user_details", user_id="ann_1")["payment_methods"]["gift_1"]["balance"] == 0.5
    back = run("return_delivered_order_items", order_id="#2", item_ids=["i-blue"], payment_method_id="gift_1")
    assert (back["status"], back["return_items"]) == ("return requested", ["i-blue"])
    assert DB["orders"]["#1"]["status"] == "pending", "the database that was given is not touched"


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (Call(name="cancel_pending_order", arguments={"order_id": "#1", "reason": "bored"}), "reason"),
        (Call(name="cancel_pending_order", arguments={"order_id": "#2", "reason": "no longer needed"}), "delivered"),
        (Call(name="cancel_pending_order", arguments={"order_id": "#1"}), "needs reason"),
        (Call(name="__init__", arguments={"db": {}}), "no tool"),
        (Call(name="get_order_details", arguments={"order_id": "#9"}), "no order"),
        (Call(name="exchange_delivered_order_items", arguments={"order_id": "#2", "item_ids": ["i-blue"], "new_item_ids": ["i-x"], "payment_method_id": "card_1"}), "no item"),
        (Call(name="return_delivered_order_items", arguments={"order_id": "#2", "item_ids": ["i-blue", "i-blue"], "payment_method_id": "card_1"}), "no further item"),
        (Call(name="return_delivered_order_items", arguments={"order_id": "#2", "item_ids": "i-blue", "payment_method_id": "card_1"}), "list"),
        (Call(name="modify_pending_order_payment", arguments={"order_id": "#1", "payment_method_id": "gift_1"}), "another way"),
    ],
)  # fmt: skip
def test_what_the_shop_refuses_changes_nothing(call: Call, why: str) -> None:
    shop = Shop(DB)
    assert why in shop.run(call)["error"] and shop.state() == Shop(DB).state()


def test_an_episode_is_judged_by_the_database() -> None:
    def agent(*turns: Sequence[Call]) -> tau2.Policy:
        left = iter(turns)
        return lambda messages, functions: next(left, [])

    def played(policy: tau2.Policy) -> dict[str, float]:
        return tau2.play(TASK, lambda: tau2.Retail(DB), policy, tau2.scripted_customer(TASK), rules="Be kind.")[1]

    right = played(agent([say("Shall I?")], [CANCEL], [say("Done, 10 dollars come back.")]))
    assert right["success"] == 1.0
    assert played(agent([CANCEL], [say("Done.")]))["success"] == 0.0, "the sum was not said"
    assert played(agent([say("10")]))["success"] == 0.0, "nothing was cancelled"
    other = Call(name="cancel_pending_order", arguments={"order_id": "#1", "reason": "ordered by mistake"})
    assert played(agent([other], [say("10")]))["success"] == 0.0


def test_the_bank_notes_what_is_written() -> None:
    library = tau2.Library([{"id": "d1", "title": "Opening accounts", "content": "Use open_account_1."}, {"id": "d2", "title": "Cards", "content": "Ask."}])  # fmt: skip
    tables = {"accounts": {"data": {"a1": {"account_id": "a1", "user_id": "u1", "level": "Blue"}}}}
    bank, gold = (tau2.Bank(tables, library, {"accounts": {"data": {"a2": {"account_id": "a2", "user_id": "u2"}}}}) for _ in range(2))  # fmt: skip
    assert bank.run(Call(name="search_documents", arguments={"query": "open an account"}))[0]["id"] == "d1"
    assert bank.documents == ["d1"]
    found = bank.run(Call(name="find_records", arguments={"table": "accounts", "field": "user_id", "value": "U2"}))
    assert [one["account_id"] for one in found] == ["a2"]
    read = Call(name="call_discoverable_agent_tool", arguments={"agent_tool_name": "get_accounts_2", "arguments": '{"user_id": "u1"}'})  # fmt: skip
    assert bank.run(read) == [{"table": "accounts", "account_id": "a1", "user_id": "u1", "level": "Blue"}]
    write = lambda text: Call(name="call_discoverable_agent_tool", arguments={"agent_tool_name": "open_account_1", "arguments": text})  # noqa: E731  # fmt: skip
    bank.run(write('{"user_id": "u1", "n": 1}'))
    assert bank.state() != gold.state()
    gold.run(write('{"n": 1, "user_id":"u1"}'))
    assert bank.state() == gold.state(), "the order of keys in the text says nothing"


def test_a_model_plays_the_customer() -> None:
    chat = ScriptedChat(['{"say": "Cancel #1", "calls": [], "done": false}', "just text", '{"say": "", "calls": [], "done": true}'])  # fmt: skip
    customer = tau2.model_customer(TASK, chat, deadline_s=1)
    assert customer([]) == tau2.Said(text="Cancel #1")
    assert "Ann Lee" in chat.asked[0][0].content
    assert customer([("customer", "Cancel #1"), ("agent", "Sure?")]).text == "just text"
    assert customer([]).done


def test_the_command_plays(tmp_path: Path) -> None:
    (tmp_path / "tau2-retail-tasks.jsonl").write_text(json.dumps(TASK))
    env = [{"id": "policy", "text": "Cancel only pending orders."}, {"id": "db", "db": DB}]
    (tmp_path / "tau2-retail-env.jsonl").write_text("\n".join(map(json.dumps, env)))
    replies = [{"calls": [CANCEL.to_dict()]}, {"calls": [say("10 dollars come back").to_dict()]}, {"calls": []}]
    chat = ScriptedChat([json.dumps(one) for one in replies])
    tree, code = agents(tmp_path, "tau2-retail", open_chat=lambda: chat)
    assert (tree["success"], code) == (1.0, 0)
    assert "Cancel only pending orders." in chat.asked[0][1].content


@pytest.mark.parametrize("name", ["tau2-banking", "tau2-retail"])
def test_the_real_tasks(shared: Path, name: str) -> None:
    """An agent that knows the gold calls succeeds everywhere; one that only talks, where nothing was to be done."""
    folder, log = shared / "data" / "bench", ProblemLog()
    tasks = load_tasks(folder, name, log)
    left: dict[str, list[Call]] = {}

    def customer_of(task: Any) -> tau2.Customer:
        criteria = task["evaluation_criteria"]
        mine = [Call(name=one["name"], arguments=one["arguments"] or {}) for one in criteria["actions"] or () if one.get("requestor") != "user"]  # fmt: skip
        left["calls"] = [*mine, say(" ".join(map(str, criteria.get("communicate_info") or ["Done."])))]
        return tau2.scripted_customer(task)

    def agent(messages: Any, functions: Any) -> list[Call]:
        calls, left["calls"] = left["calls"], [say("Anything else?")]
        return calls

    rated = run_bench(folder, name, agent, customer_of=customer_of, log=log)
    failed = [one.task_id for one in rated if one.values["success"] < 1]
    assert failed == [] and len(rated) == len(tasks)
    quiet = summary(rate_recorded(folder, name, {str(one["id"]): {} for one in tasks}, log=log))
    assert quiet["success"] <= 0.25
