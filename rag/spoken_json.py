"""JSON in what a model says, wherever it stands and with the slips that models make."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

MOST_STARTS = 40  # of JSON in a reply that are tried


def json_values(text: str, *, begins: str = "[{", scalars: bool = False) -> Iterator[Any]:
    """The JSON objects and lists that stand in a text, in order, without those that are part of another.

    Commas before an end are let through, and so are the single quotes of Python; NaN and Infinity are not.
    begins: "{" for objects alone, also those in a list. scalars: the whole text may also be a string, a number, true or null.
    """
    if scalars:
        try:
            value = _DECODER.decode(text.strip())
        except (ValueError, RecursionError):
            value = []
        if not isinstance(value, (dict, list)):
            yield value
            return
    at = 0
    for match in list(re.finditer(f"[{re.escape(begins)}]", text))[:MOST_STARTS]:
        start = match.start()
        if start < at:
            continue
        try:
            value, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = text.rfind("}" if match.group() == "{" else "]") + 1
            value = lenient(text[start:end])
            at = end if value is not None else at
        if isinstance(value, (dict, list)):
            yield value


def lenient(text: str) -> Any:
    """The value of JSON with commas before an end, or of what Python writes, also with null in it; None when it is neither."""
    try:
        return _DECODER.decode(re.sub(r",\s*(?=[}\]])", "", text))
    except (ValueError, RecursionError):
        pass
    text = _CONSTANT.sub(lambda found: str(json.loads(found.group())), text)
    try:
        return json.loads(json.dumps(ast.literal_eval(text), allow_nan=False))  # a set is no JSON, a tuple is a list
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


_CONSTANT = re.compile(r"(?<=[:\[,\s])(?:null|true|false)(?=\s*[,}\]])")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
