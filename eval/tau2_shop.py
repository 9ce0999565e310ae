"""The shop of tau2's retail tasks: its database and the tools that read and change it, as its policy describes them.

Written from the policy and the database that come with the tasks; no code of the benchmark's is used, and it need not be
installed. Source of data and policy: tau2-bench, 2025, MIT.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from agents.tools.calculator import calculate, shown
from eval.tool_calls import Call

_ADDRESS = ("address1", "address2", "city", "state", "country", "zip")
_REASONS = ("no longer needed", "ordered by mistake")
_ITEMS = ("order_id", "item_ids", "new_item_ids", "payment_method_id")
_LISTS = ("item_ids", "new_item_ids")

# tool → (what it does, its parameters)
_TOOLS: Mapping[str, tuple[str, Sequence[str]]] = {
    "find_user_id_by_email": ("the id of the user with an e-mail address", ("email",)),
    "find_user_id_by_name_zip": ("the id of the user with a name and zip code", ("first_name", "last_name", "zip")),
    "get_user_details": ("a user's profile, payment methods and orders", ("user_id",)),
    "get_order_details": ("an order; its id begins with #", ("order_id",)),
    "get_product_details": ("a product and all its variants", ("product_id",)),
    "get_item_details": ("one variant of a product", ("item_id",)),
    "list_all_product_types": ("names and ids of all products", ()),
    "calculate": ("the value of an arithmetic expression", ("expression",)),
    "cancel_pending_order": (f"cancel a pending order; reason: {' or '.join(_REASONS)}", ("order_id", "reason")),
    "modify_pending_order_address": ("change where a pending order goes", ("order_id", *_ADDRESS)),
    "modify_pending_order_items": ("change items of a pending order for variants of the same products; once", _ITEMS),
    "modify_pending_order_payment": ("pay a pending order in another way", ("order_id", "payment_method_id")),
    "modify_user_address": ("change a user's default address", ("user_id", *_ADDRESS)),
    "return_delivered_order_items": ("return items of a delivered order", ("order_id", "item_ids", "payment_method_id")),
    "exchange_delivered_order_items": ("exchange items of a delivered order for variants of the same products; once", _ITEMS),
    "transfer_to_human_agents": ("hand over to a person, with a summary", ("summary",)),
}  # fmt: skip


class ShopError(ValueError):
    """What cannot be done, in a sentence for the agent."""


class Shop:
    """One episode's database. `db`: users, products, orders by id; what an episode changes is copied first."""

    def __init__(self, db: Mapping[str, Any]) -> None:
        self._users: dict[str, Any] = dict(db["users"])
        self._orders: dict[str, Any] = dict(db["orders"])
        self._products: Mapping[str, Any] = db["products"]
        self._items = {
            key: (one, product) for product in self._products.values() for key, one in product["variants"].items()
        }
        self._transferred = False

    @staticmethod
    def schemas() -> list[dict[str, Any]]:
        """The tools for the agent, with JSON schemas of their parameters."""
        return [
            {"name": name, "description": what, "parameters": {"type": "object", "required": list(parameters),
             "properties": {one: {"type": "array", "items": {"type": "string"}} if one in _LISTS else {"type": "string"} for one in parameters}}}
            for name, (what, parameters) in _TOOLS.items()
        ]  # fmt: skip

    def run(self, call: Call) -> Any:
        """What the tool says; a call that cannot be made changes nothing and gives {"error": …}."""
        if call.name not in _TOOLS:
            return {"error": f"There is no tool {call.name}."}
        wanted = _TOOLS[call.name][1]
        if missing := [one for one in wanted if one not in call.arguments]:
            return {"error": f"{call.name} needs {', '.join(missing)}."}
        given = {one: call.arguments[one] for one in wanted}
        for one, value in given.items():
            if one in _LISTS and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                return {"error": f"{one} must be a list of ids."}
            given[one] = value if one in _LISTS else str(value)
        try:
            return copy.deepcopy(getattr(self, f"_{call.name}")(**given))
        except ShopError as error:
            return {"error": str(error)}

    def state(self) -> Any:
        """Everything that the tools change, to be compared."""
        return {"users": self._users, "orders": self._orders, "transferred": self._transferred}

    # ------------------------------------------------------------ reading

    def _find_user_id_by_email(self, email: str) -> str:
        return self._user_where(lambda user: str(user["email"]).lower() == email.lower())

    def _find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:
        name = (first_name.lower(), last_name.lower(), zip)
        return self._user_where(
            lambda user: (
                (user["name"]["first_name"].lower(), user["name"]["last_name"].lower(), user["address"]["zip"]) == name
            )
        )

    def _user_where(self, fits: Any) -> str:
        for key, user in self._users.items():
            if fits(user):
                return key
        raise ShopError("There is no such user.")

    def _get_user_details(self, user_id: str) -> Any:
        return _known(self._users, user_id, "user")

    def _get_order_details(self, order_id: str) -> Any:
        return _known(self._orders, order_id, "order")

    def _get_product_details(self, product_id: str) -> Any:
        return _known(self._products, product_id, "product")

    def _get_item_details(self, item_id: str) -> Any:
        return _known(self._items, item_id, "item")[0]

    def _list_all_product_types(self) -> Any:
        return {one["name"]: key for key, one in sorted(self._products.items(), key=lambda pair: pair[1]["name"])}

    def _calculate(self, expression: str) -> str:
        try:
            return shown(calculate(expression))
        except ValueError as error:
            raise ShopError(str(error)) from error

    def _transfer_to_human_agents(self, summary: str) -> str:
        self._transferred = True
        return "The customer is with a person now."

    # ------------------------------------------------------------ changing

    def _cancel_pending_order(self, order_id: str, reason: str) -> Any:
        order = self._order(order_id, "pending")
        if reason not in _REASONS:
            raise ShopError(f"The reason must be one of: {', '.join(_REASONS)}.")
        for paid in [one for one in order["payment_history"] if one["transaction_type"] == "payment"]:
            self._pay(order, -paid["amount"], paid["payment_method_id"])
        order["status"], order["cancel_reason"] = "cancelled", reason
        return order

    def _modify_pending_order_address(self, order_id: str, **address: str) -> Any:
        order = self._order(order_id, "pending", begins=True)
        order["address"] = address
        return order

    def _modify_user_address(self, user_id: str, **address: str) -> Any:
        user = _own(self._users, user_id, "user")
        user["address"] = address
        return user

    def _modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> Any:
        order = self._order(order_id, "pending", begins=True)
        paid = order["payment_history"]
        if len(paid) != 1 or paid[0]["payment_method_id"] == payment_method_id:
            raise ShopError("The order must have been paid once, in another way than the new one.")
        self._check_balance(order, payment_method_id, paid[0]["amount"])
        self._pay(order, paid[0]["amount"], payment_method_id)
        self._pay(order, -paid[0]["amount"], paid[0]["payment_method_id"])
        return order

    def _modify_pending_order_items(self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str) -> Any:  # fmt: skip
        order = self._order(order_id, "pending")
        difference = self._difference(order, item_ids, new_item_ids, payment_method_id)
        if difference:
            self._pay(order, difference, payment_method_id)
        for old, new in zip(item_ids, new_item_ids, strict=True):
            item = next(one for one in order["items"] if one["item_id"] == old)
            variant = self._items[new][0]
            item |= {"item_id": new, "price": variant["price"], "options": variant["options"]}
        order["status"] = "pending (item modified)"
        return order

    def _return_delivered_order_items(self, order_id: str, item_ids: list[str], payment_method_id: str) -> Any:
        order = self._order(order_id, "delivered")
        self._held(order, item_ids)
        method = self._method(order, payment_method_id)
        first = order["payment_history"][0]["payment_method_id"]
        if payment_method_id != first and method["source"] != "gift_card":
            raise ShopError("The refund goes to the original payment method or to a gift card.")
        order |= {"status": "return requested", "return_items": sorted(item_ids), "return_payment_method_id": payment_method_id}  # fmt: skip
        return order

    def _exchange_delivered_order_items(self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str) -> Any:  # fmt: skip
        order = self._order(order_id, "delivered")
        difference = self._difference(order, item_ids, new_item_ids, payment_method_id)
        order |= {
            "status": "exchange requested", "exchange_items": sorted(item_ids), "exchange_new_items": sorted(new_item_ids),
            "exchange_payment_method_id": payment_method_id, "exchange_price_difference": difference,
        }  # fmt: skip
        return order

    # ------------------------------------------------------------ rules

    def _order(self, order_id: str, status: str, *, begins: bool = False) -> Any:
        order = _own(self._orders, order_id, "order")
        if not (order["status"].startswith(status) if begins else order["status"] == status):
            raise ShopError(f"Order {order_id} is {order['status']}, not {status}.")
        return order

    def _held(self, order: Any, item_ids: Sequence[str]) -> list[Any]:
        """The order's items with these ids; an id that is asked for twice must be there twice."""
        left = list(order["items"])
        found = []
        for item_id in item_ids:
            item = next((one for one in left if one["item_id"] == item_id), None)
            if item is None:
                raise ShopError(f"Order {order['order_id']} holds no further item {item_id}.")
            left.remove(item)
            found.append(item)
        return found

    def _difference(self, order: Any, item_ids: Sequence[str], new_item_ids: Sequence[str], payment_method_id: str) -> float:  # fmt: skip
        """What the new items cost more than the old ones. Raises ShopError for what cannot be changed."""
        if len(item_ids) != len(new_item_ids) or not item_ids:
            raise ShopError("Give one new item for each old one.")
        difference = 0.0
        for item, new in zip(self._held(order, item_ids), new_item_ids, strict=True):
            variant, product = _known(self._items, new, "item")
            if product["product_id"] != item["product_id"] or not variant["available"]:
                raise ShopError(f"Item {new} is not an available variant of {item['name']}.")
            difference += variant["price"] - item["price"]
        difference = round(difference, 2)
        self._check_balance(order, payment_method_id, difference)
        return difference

    def _method(self, order: Any, payment_method_id: str) -> Any:
        methods = self._users[order["user_id"]]["payment_methods"]
        return _known(methods, payment_method_id, "payment method of this user")

    def _check_balance(self, order: Any, payment_method_id: str, amount: float) -> None:
        method = self._method(order, payment_method_id)
        if method["source"] == "gift_card" and method["balance"] < amount:
            raise ShopError(f"The gift card holds {method['balance']}, and {amount} are needed.")

    def _pay(self, order: Any, amount: float, payment_method_id: str) -> None:
        """Note a payment, or with a negative amount a refund; gift cards change at once."""
        kind = "payment" if amount > 0 else "refund"
        order["payment_history"].append({"transaction_type": kind, "amount": abs(amount), "payment_method_id": payment_method_id})  # fmt: skip
        _own(self._users, order["user_id"], "user")
        method = self._method(order, payment_method_id)
        if method["source"] == "gift_card":
            method["balance"] = round(method["balance"] - amount, 2)


def _known(table: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in table:
        raise ShopError(f"There is no {what} {key}.")
    return table[key]


def _own(table: dict[str, Any], key: str, what: str) -> Any:
    """A record that may be changed: the table gets a copy of it first."""
    table[key] = copy.deepcopy(_known(table, key, what))
    return table[key]
