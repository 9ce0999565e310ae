"""The simulated tools of BFCL's multi-turn tasks. The only home of the bfcl-eval package, which is not installed with us.

`pip install --no-deps bfcl-eval mpmath`: without --no-deps it brings two dozen clients of model providers.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from eval.tool_calls import Call
from rag.errors import UsageError

_MODULES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
FUNCTION_FILES = dict(_MODULES)  # class -> name of its functions in the data
_WITHOUT_STATE = ("MathAPI",)


class Simulation:
    """The tools of one task, from their initial state on. Raises: UsageError when bfcl-eval is not installed."""

    def __init__(self, classes: Sequence[str], config: Mapping[str, Any]) -> None:
        self._tools = {name: _class(name)() for name in classes}
        for name, tool in self._tools.items():
            if name not in _WITHOUT_STATE:
                tool._load_scenario(copy.deepcopy(config.get(name, {})), long_context=False)

    def run(self, call: Call) -> Any:
        """What the tool says; a call that cannot be made gives {"error": …}, as the tools do themselves."""
        name = call.name.rpartition(".")[2]
        for tool in self._tools.values():
            method = None if name.startswith("_") else getattr(tool, name, None)
            if callable(method):
                positional = [value for key, value in call.arguments.items() if key.isdigit()]
                named = {key: copy.deepcopy(value) for key, value in call.arguments.items() if not key.isdigit()}
                try:
                    return method(*positional, **named)
                except Exception as error:  # an edge: whatever a tool raises is what the agent is told
                    return {"error": f"{type(error).__name__}: {error}"}
        return {"error": f"There is no tool {name}."}

    def state(self) -> dict[str, Any]:
        """Everything that the tools keep, to be compared."""
        return {name: _visible(tool) for name, tool in self._tools.items() if name not in _WITHOUT_STATE}


def _class(name: str) -> Any:
    if name not in _MODULES:
        raise UsageError(f"BFCL's tool class {name!r} is not known. There are: {', '.join(_MODULES)}.")
    try:
        module = importlib.import_module(f"bfcl_eval.eval_checker.multi_turn_eval.func_source_code.{_MODULES[name]}")
    except ImportError as error:
        raise UsageError(
            f"BFCL's multi-turn tasks need its simulated tools ({error}): pip install --no-deps bfcl-eval mpmath"
        ) from error
    return getattr(module, name)


def _visible(value: Any) -> Any:
    """A value as plain data; objects by their attributes, without those that are hidden or random generators."""
    if isinstance(value, dict):
        return {str(key): _visible(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if hasattr(value, "__dict__"):
        kept = {key: one for key, one in vars(value).items() if not key.startswith("_") and key != "parent"}
        return {key: _visible(one) for key, one in kept.items()}
    return value
