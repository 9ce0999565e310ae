"""A calculator: arithmetic and the usual functions, exact where numbers are whole. Parses; never evaluates code."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from agents.tooling import Tool, ToolResult, tool

MAX_CHARS = 500  # of `calculate`; what a model writes is shorter
MAX_BITS = 4096  # of a number on the way; about 1,200 digits

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "min": min, "max": max, "sum": lambda *xs: sum(xs), "sqrt": math.sqrt, "exp": math.exp,
    "log": math.log, "ln": math.log, "log10": math.log10, "log2": math.log2, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan, "degrees": math.degrees,
    "radians": math.radians, "floor": math.floor, "ceil": math.ceil, "hypot": math.hypot,
    "mean": lambda *xs: sum(xs) / len(xs), "gcd": math.gcd, "lcm": math.lcm,
}  # fmt: skip
_NAMES = {"pi": math.pi, "e": math.e, "π": math.pi}
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "（": "(", "）": ")", "，": ",", "＋": "+", "％": "%", "^": "\0"})  # fmt: skip


def calculator_tool() -> Tool:
    @tool(name="calculator", effect="read", untrusted=False)
    def calculator(expression: Annotated[str, Field(max_length=200)]) -> ToolResult:
        """Compute an arithmetic expression.

        expression: such as (1792 - 1759) * 365 or sqrt(2) or 15% * 80
        """
        try:
            return ToolResult(text=shown(calculate(expression)))
        except ValueError as error:
            return ToolResult(text=str(error), ok=False, code="arguments")

    return calculator


def calculate(expression: str) -> int | float:
    """The value of an expression. Raises ValueError with a sentence that says what to write instead."""
    text = expression.translate(_SIGNS).replace("\0", "**").strip().removesuffix("=").strip()
    if len(text) > MAX_CHARS:
        raise ValueError(f"The expression is longer than {MAX_CHARS} characters. Compute it in parts.")
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text) if "(" not in text else text  # 1,000,000
    text = re.sub(r"(\d(?:[\d.]*\d)?)\s*%(?!\s*[\w(.])", r"(\1/100)", text)  # 15% of …, but 7 % 3 is a remainder
    try:
        tree = ast.parse(text, mode="eval")
        value: int | float = _value(tree.body)
    except SyntaxError:
        raise ValueError(f"{expression[:80]!r} is no arithmetic expression. Write numbers, + - * / ** and functions such as sqrt(2).") from None  # fmt: skip
    except ZeroDivisionError:
        raise ValueError("Division by zero. Check the numbers.") from None
    except (OverflowError, RecursionError, MemoryError):
        raise ValueError("The result is too large. Compute with smaller numbers.") from None
    except TypeError as error:
        raise ValueError(f"A function has the wrong number of arguments ({error}).") from None
    if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
        raise ValueError("The result is no number.")
    return value


def shown(value: int | float) -> str:
    """Without the noise of binary fractions."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    return str(value) if value.bit_length() <= MAX_BITS else f"{value:.12g}"


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _small(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            _check_power(left, right)
        value = _BINARY[type(node.op)](left, right)
        if isinstance(value, complex):
            raise ValueError("The result is no real number.")
        return _small(value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Name) and node.id.lower() in _NAMES:
        return _NAMES[node.id.lower()]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id.lower())
        if function is None:
            raise ValueError(f"There is no function {node.func.id!r}. There are: {', '.join(_FUNCTIONS)}.")
        return _small(function(*(_value(one) for one in node.args)))
    if isinstance(node, ast.Name):
        raise ValueError(f"{node.id!r} is not a number. Put its value in its place.")
    raise ValueError("Only numbers, + - * / // % **, brackets and functions can be computed.")


def _small(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError("The result is too large. Compute with smaller numbers.")
    return value


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1 and exponent * base.bit_length() > MAX_BITS:  # fmt: skip
        raise ValueError("The result is too large. Compute with smaller numbers.")
