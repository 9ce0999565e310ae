"""Filter expressions: read what a person writes, check it, and write it for Milvus or test it in Python.

    type == 'pdf' and (year >= 2024 or lang in ['en', 'zh']) and not source like '%/drafts/%'

Names are document fields (doc_id, source, title, type, page) or metadata keys (`year`, `meta["key with blanks"]`).
This is the only place that builds filter text for the store, from typed values only: the embedded engine has no
filter templates, and pasted text is an injection.

A comparison with a key that a document does not have is false, except != and `not in`. `not (year < 3)` means
`year >= 3`, so it is false without the key too. So it is with `page` for documents without pages.

The embedded engine tests some patterns wrongly (`_` at an end, before a character that is not ASCII) and cannot tell what is
not like something. It is then asked for all that may fit, and `is_exact` says that `matches` has to look at what it gives.
"""

from __future__ import annotations

import fnmatch
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.errors import FilterError

FIELDS = {"doc_id": str, "source": str, "title": str, "type": str, "page": int}
Value = str | int | float | bool

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|“[^”]*”|‘[^’]*’)|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<op>==|!=|<=|>=|&&|\|\||[！＜＞＝]＝|[<>=()\[\],!.（），＜＞＝！])|(?P<name>[^\W\d][\w-]*))""",
    re.DOTALL,
)  # quotation marks and operators also as a Chinese keyboard writes them
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
MAX_LENGTH = 10_000
MAX_DEPTH = 50
_WILD = re.compile(r"[%_\\]+")  # of a pattern; a backslash means itself here, and in Milvus the next character
_ALL_ROWS = "page >= 0"


@dataclass(frozen=True, slots=True)
class Compare:
    """field op value; op is one of == != < <= > >= in like contains. `negated`: the opposite."""

    field: str
    op: str
    value: Value | tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Any_:
    parts: tuple[Expr, ...]


Expr = Compare | All | Any_


def parse(text: str) -> Expr:
    """Read a filter expression. Raises FilterError, pointing at the place."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"The filter is {len(text)} characters long; the limit is {MAX_LENGTH}.")
    reader = _Reader(text)
    expression = reader.either(0)
    if reader.peek() is not None:
        reader.fail("'and', 'or' or the end")
    return expression


def negate(expression: Expr) -> Expr:
    """The opposite, with `not` pushed down to the comparisons: the embedded engine cannot evaluate NOT."""
    if isinstance(expression, All):
        return Any_(tuple(negate(part) for part in expression.parts))
    if isinstance(expression, Any_):
        return All(tuple(negate(part) for part in expression.parts))
    return Compare(expression.field, expression.op, expression.value, not expression.negated)


def to_milvus(expression: Expr) -> str:
    """Write the expression in Milvus' syntax, literals escaped: true of all rows that match, and of others unless it is exact.

    Raises: FilterError for what it cannot express.
    """
    if isinstance(expression, Compare):
        return _compare_to_milvus(expression)
    return _joined([to_milvus(part) for part in expression.parts], "and" if isinstance(expression, All) else "or")


def is_exact(expression: Expr) -> bool:
    """Whether Milvus finds by `to_milvus` what `matches` means, and nothing else."""
    if isinstance(expression, Compare):
        return _is_exact(expression)
    return all(map(is_exact, expression.parts))


def shown(expression: Expr) -> str:
    """The expression as a person writes it."""
    if isinstance(expression, All | Any_):
        word = " and " if isinstance(expression, All) else " or "
        return "(" + word.join(map(shown, expression.parts)) + ")"
    value = list(expression.value) if isinstance(expression.value, tuple) else expression.value
    return f"{'not ' if expression.negated else ''}{expression.field} {expression.op} {value!r}"


def matches(expression: Expr, row: Mapping[str, Any]) -> bool:
    """Evaluate in Python on {"doc_id":…, "source":…, "title":…, "type":…, "page":…, "meta": {…}}."""
    if isinstance(expression, All):
        return all(matches(part, row) for part in expression.parts)
    if isinstance(expression, Any_):
        return any(matches(part, row) for part in expression.parts)
    value = row.get(expression.field) if expression.field in FIELDS else row.get("meta", {}).get(expression.field)
    if not expression.negated:
        return _test(expression.op, expression.value, value)
    if expression.op in _NEGATED:
        return _test(_NEGATED[expression.op], expression.value, value)
    return not _test(expression.op, expression.value, value)


def literal(value: Value) -> str:
    """A value as Milvus reads it. Raises FilterError for control characters, which its lexer refuses."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if any(ord(char) < 32 for char in value):
        raise FilterError(f"A filter value may not hold control characters: {value!r}.")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _joined(tests: Sequence[str], word: str) -> str:
    """The tests joined by `and` or `or`, in halves: the engine refuses some 90 in a row, which it nests one in the other."""
    if len(tests) == 1:
        return tests[0]
    half = (len(tests) + 1) // 2
    return f"({_joined(tests[:half], word)} {word} {_joined(tests[half:], word)})"


def _compare_to_milvus(compare: Compare) -> str:
    column = compare.field if compare.field in FIELDS else f"meta[{literal(compare.field)}]"
    if compare.op == "in":
        values = compare.value if isinstance(compare.value, tuple) else (compare.value,)
        if not values:  # the engine refuses an empty list
            return _ALL_ROWS if compare.negated else 'doc_id == ""'
        word, op = ("and", "!=") if compare.negated else ("or", "==")
        return _joined([_test_to_milvus(column, op, value) for value in values], word)
    assert not isinstance(compare.value, tuple)
    if compare.op in ("like", "contains") and compare.negated:
        return _ALL_ROWS
    if compare.op == "like":
        return _joined(_like_to_milvus(column, str(compare.value)), "and")
    if compare.op == "contains":
        return f"json_contains({column}, {literal(compare.value)})"
    return _test_to_milvus(column, _NEGATED[compare.op] if compare.negated else compare.op, compare.value)


def _like_to_milvus(column: str, pattern: str) -> list[str]:
    """What a text that is like the pattern begins with, holds and ends with."""
    first, *rest = _WILD.split(pattern)
    if not rest:
        return [f"{column} == {literal(first)}"]
    *middle, last = rest
    shapes = [f"{first}%" if first else "", *(f"%{one}%" for one in middle), f"%{last}" if last else ""]
    return [f"{column} like {literal(shape)}" for shape in shapes if shape] or [f'{column} >= ""']


def _is_exact(compare: Compare) -> bool:
    if compare.op == "like":
        pieces = [piece for piece in _WILD.split(str(compare.value)) if piece]
        return not compare.negated and len(pieces) < 2 and not re.search(r"[_\\]", str(compare.value))
    return not (compare.op == "contains" and compare.negated)


def _test_to_milvus(column: str, op: str, value: Value) -> str:
    """One comparison. The index keeps 0 for a page that is not there: pages count from 1."""
    test = f"{column} {op} {literal(value)}"
    if column != "page":
        return test
    if op == "!=":
        return test if value else _ALL_ROWS
    return f"({test} and page > 0)"


def _test(op: str, wanted: Any, value: Any) -> bool:
    """wanted: of a Compare; value: a document's, of whatever type."""
    if value is None:
        return op == "!="
    if op == "in":
        return any(_equal(value, one) for one in (wanted if isinstance(wanted, tuple) else (wanted,)))
    if op == "contains":
        return isinstance(value, (list, tuple)) and any(_equal(one, wanted) for one in value)
    if op == "like":
        pattern = re.sub(r"([*?\[])", r"[\1]", str(wanted)).replace("%", "*").replace("_", "?")
        return isinstance(value, str) and fnmatch.fnmatchcase(value, pattern)
    if op in ("==", "!="):
        return _equal(value, wanted) == (op == "==")
    if isinstance(value, bool) or not isinstance(value, str if isinstance(wanted, str) else (int, float)):
        return False
    low, same = bool(value < wanted), bool(value == wanted)
    return {"<": low, "<=": low or same, ">": not low and not same, ">=": not low}[op]


def _equal(value: Any, wanted: Any) -> bool:
    return type(value) is type(wanted) and value == wanted or (
        isinstance(value, (int, float)) and isinstance(wanted, (int, float))
        and not isinstance(value, bool) and not isinstance(wanted, bool) and value == wanted
    )  # fmt: skip


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at = text, list(_tokens(text)), 0

    def peek(self) -> str | None:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self, *wanted: str) -> bool:
        found = self.peek()
        if found is not None and self.tokens[self.at][0] != "string" and found.lower() in wanted:
            self.at += 1
            return True
        return False

    def fail(self, wanted: str) -> None:
        if self.at < len(self.tokens):
            _, found, position = self.tokens[self.at]
            raise FilterError(
                f"The filter does not parse at character {position + 1}: wanted {wanted}, found {found!r}."
            )
        raise FilterError(f"The filter ends too early: wanted {wanted}. Example: type == 'pdf' and year >= 2024")

    def either(self, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise FilterError(f"The filter is nested more than {MAX_DEPTH} levels deep.")
        parts = [self.both(depth)]
        while self.take("or", "||"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Any_(tuple(parts))

    def both(self, depth: int) -> Expr:
        parts = [self.one(depth)]
        while self.take("and", "&&"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def one(self, depth: int) -> Expr:
        if self.take("not", "!"):
            if depth > MAX_DEPTH:
                raise FilterError(f"The filter is nested more than {MAX_DEPTH} levels deep.")
            return negate(self.one(depth + 1))
        if self.take("("):
            inner = self.either(depth + 1)
            if not self.take(")"):
                self.fail("')'")
            return inner
        return self.comparison()

    def comparison(self) -> Compare:
        field = self.field()
        negated = self.take("not")
        for op in ("==", "!=", "<=", ">=", "<", ">", "=", "in", "like", "contains"):
            if self.take(op):
                break
        else:
            self.fail("one of == != < <= > >= in like contains")
        if negated and op not in ("in", "like", "contains"):
            self.fail("in, like or contains after 'not'")
        value = self.values() if op == "in" else self.value()
        op = "==" if op == "=" else op
        _check_type(field, op, value)
        return Compare(field, op, value, negated)

    def field(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "name":
            self.fail("a field name")
        name = self.tokens[self.at][1]
        self.at += 1
        if name in ("meta", "metadata"):
            if self.take("["):
                key = self.value()
                if not isinstance(key, str) or not key or not self.take("]"):
                    self.fail("a key in quotes and ']', as in meta[\"year\"]")
                return str(key)
            if self.take("."):
                return self.field()
        return name

    def values(self) -> tuple[Value, ...]:
        close = "]" if self.take("[") else ")" if self.take("(") else ""
        if not close:
            self.fail("a list such as ['a', 'b']")
        found: list[Value] = []
        while not self.take(close):
            if found and not self.take(","):
                self.fail(f"',' or '{close}'")
            found.append(self.value())
        return tuple(found)

    def value(self) -> Value:
        if self.at < len(self.tokens):
            kind, text, _ = self.tokens[self.at]
            if kind == "string":
                self.at += 1
                return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[0] in "'\"" else text[1:-1]
            if kind == "number" and not math.isfinite(float(text)):
                self.fail("a number up to 1e308")
            if kind == "number":
                self.at += 1
                return float(text) if re.search(r"[.eE]", text) else int(text)
            if text.lower() in ("true", "false"):
                self.at += 1
                return text.lower() == "true"
        self.fail("a value: a number, true, false or a text in quotes")
        raise AssertionError  # fail() always raises


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise FilterError(
                f"The filter does not parse at character {start + 1}: {text[start : start + 10]!r}. "
                "Example: type == 'pdf' and year >= 2024"
            )
        found = match.group(match.lastgroup)
        plain = unicodedata.normalize("NFKC", found) if match.lastgroup == "op" else found
        yield match.lastgroup, plain, match.start(match.lastgroup)
        at = match.end()


def _check_type(field: str, op: str, value: Value | tuple[Value, ...]) -> None:
    kind = FIELDS.get(field)
    if kind is None:
        return
    values = value if isinstance(value, tuple) else (value,)
    if any(isinstance(one, bool) or not isinstance(one, kind) for one in values) or op == "contains":
        name = "a text in quotes" if kind is str else "a whole number"
        raise FilterError(f"The field {field} holds {name}; {value!r} with '{op}' does not fit.")
