"""JSON schemas of tools: made from a function's signature, put into one dialect, and the check of a call's arguments.

The check is stricter than JSON Schema in one point: an argument that a tool does not name is an error. Its messages are
written for the model that made the call.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rag.errors import UsageError

MAX_PROBLEMS = 4  # told to the model at once
MAX_DEPTH = 32
_NAMES = {"dict": "object", "float": "number", "double": "number", "long": "integer", "int": "integer", "str": "string",
          "tuple": "array", "list": "array", "set": "array", "bool": "boolean", "any": "", "Any": "", "none": "null"}  # fmt: skip
_WORDS = {"object": "an object", "array": "a list", "string": "text", "integer": "a whole number", "number": "a number",
          "boolean": "true or false", "null": "null"}  # fmt: skip


def from_function(function: Callable[..., Any], *, hidden: frozenset[str] = frozenset()) -> tuple[dict[str, Any], Any]:
    """The schema of a function's parameters, and the pydantic model that turns checked arguments into Python values.

    Descriptions come from docstring lines of the form `name: what it is`. hidden: parameters that the model does not fill.
    Raises: UsageError for *args, **kwargs, positional-only parameters and types without a JSON form.
    """
    from pydantic import ConfigDict, Field, create_model
    from pydantic.errors import PydanticUserError

    name = getattr(function, "__name__", "tool")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UsageError(f"The annotations of tool {name} do not resolve: {error}.") from error
    notes = _notes(inspect.getdoc(function) or "")
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in hidden:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"Tool {name} takes {parameter}: a tool's parameters must each have a name.")
        default = ... if parameter.default is parameter.empty else parameter.default
        field = Field(default, description=notes.get(parameter.name), alias=parameter.name)
        fields[f"p_{parameter.name}"] = (hints.get(parameter.name, str), field)
    try:
        model = create_model(f"{name}_arguments", __config__=ConfigDict(arbitrary_types_allowed=False), **fields)
        schema = model.model_json_schema(by_alias=True)
    except (PydanticUserError, TypeError) as error:
        raise UsageError(f"Tool {name} has a parameter whose type has no JSON form: {str(error).splitlines()[0]}") from error  # fmt: skip
    return normal(schema), model


def normal(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema in one dialect: references inlined, titles dropped, type names of other languages translated.

    Raises: UsageError for a reference that leads nowhere or into itself.
    """
    definitions = {**schema.get("$defs", {}), **schema.get("definitions", {})}
    out = _normal(schema, definitions, ())
    if out.get("type", "object") != "object":
        raise UsageError(f"A tool's parameters must be an object, not {out['type']!r}.")
    return {"type": "object", "properties": {}, **out}


def problems(schema: Mapping[str, Any], args: Any) -> list[str]:
    """What is wrong with a call's arguments, each as a sentence that says how to put it right; [] when they fit."""
    if not isinstance(args, Mapping):
        return [f"The arguments must be a JSON object, not {_shown(args)}."]
    return [text for text, _ in zip(_check({"additionalProperties": False, **schema}, args, "", 0), range(MAX_PROBLEMS), strict=False)]  # fmt: skip


def without_blanks(schema: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that a model wrote as null to say that it leaves them out."""
    known = schema.get("properties", {})
    return {
        name: value
        for name, value in args.items()
        if value is not None or name in schema.get("required", ()) or not any(_check(known.get(name, {}), value, "", 0))
    }


def _is_left_out(schema: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether an optional argument is null, or exactly its default, whatever type that has."""
    if name in schema.get("required", ()):
        return False
    part = schema.get("properties", {}).get(name, {})
    return value is None or ("default" in part and type(part["default"]) is type(value) and part["default"] == value)


def signature(name: str, schema: Mapping[str, Any]) -> str:
    """The tool on one line, as a small model reads it best: search(query: string, top_k?: integer)."""
    required = schema.get("required", ())
    parts = [
        f"{key}{'' if key in required else '?'}: {_type_word(part)}"
        for key, part in schema.get("properties", {}).items()
    ]
    return f"{name}({', '.join(parts)})"


# ---------------------------------------------------------------- one dialect


def _normal(schema: Any, definitions: Mapping[str, Any], open_: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.rpartition("/")[2]
        if name not in definitions or name in open_:
            raise UsageError(f"The schema's reference {reference!r} leads {'into itself' if name in open_ else 'nowhere'}.")  # fmt: skip
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _normal({**definitions[name], **beside}, definitions, (*open_, name))
    out = {key: value for key, value in schema.items() if key not in ("title", "$defs", "definitions", "$schema")}
    if isinstance(type_ := out.get("type"), str):
        out["type"] = _NAMES.get(type_, type_)
        if not out["type"]:
            del out["type"]
    for key in ("properties", "patternProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = {name: _normal(part, definitions, open_) for name, part in out[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = _normal(out[key], definitions, open_)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(out.get(key), list):
            out[key] = [_normal(part, definitions, open_) for part in out[key]]
    if len(out.get("allOf", ())) == 1:
        out = {**out.pop("allOf")[0], **out}
    return out


_NOTE = re.compile(r"^\s*(?:[-*]\s*)?(?::param\s+)?(?P<name>[a-z_]\w*)\s*(?:\([^)]*\))?\s*:\s+(?P<text>\S.*)$")


def _notes(doc: str) -> dict[str, str]:
    """What a docstring says about each parameter: ours and Google's form, and Sphinx's."""
    notes: dict[str, str] = {}
    last = ""
    for line in doc.splitlines():
        if match := _NOTE.match(line):
            last = match["name"]
            notes[last] = match["text"].strip()
        elif last and line.startswith((" ", "\t")) and line.strip():
            notes[last] += " " + line.strip()
        else:
            last = ""
    return notes


# ---------------------------------------------------------------- the check


def _check(schema: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        yield f"{_named(path)} is nested more than {MAX_DEPTH} deep."
        return
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        found = [list(_check(option, value, path, depth + 1)) for option in options]
        if all(found):
            kinds = ", or ".join(dict.fromkeys(_type_word(option) for option in options))
            yield min(found, key=len)[0] if len(found) == 1 else f"{_named(path)} must be {kinds}, not {_shown(value)}."
        return
    for part in schema.get("allOf", ()):
        yield from _check(part, value, path, depth + 1)
    if value is None and schema.get("nullable"):
        return
    types = schema.get("type")
    listed = [types] if isinstance(types, str) else list(types or ())
    listed = [_NAMES.get(one, one) for one in listed]
    if listed and not any(_is(value, one) for one in listed):
        wanted = ", or ".join(_WORDS.get(one, one) for one in listed)
        yield f"{_named(path)} must be {wanted}, not {_shown(value)}."
        return
    if "const" in schema and value != schema["const"]:
        yield f"{_named(path)} must be {_shown(schema['const'])}, not {_shown(value)}."
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        known = ", ".join(_shown(one) for one in schema["enum"][:20])
        near = _near(str(value), [str(one) for one in schema["enum"]])
        yield f"{_named(path)} must be one of {known}, not {_shown(value)}.{near}"
    if isinstance(value, Mapping):
        yield from _check_object(schema, value, path, depth)
    elif isinstance(value, (list, tuple)):
        yield from _check_list(schema, value, path, depth)
    elif isinstance(value, str):
        yield from _check_size(schema, len(value), "Length", path, "characters")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _check_number(schema, value, path)


def _check_object(schema: Mapping[str, Any], value: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            part = known.get(name, {})
            about = f": {part['description']}" if part.get("description") else ""
            yield f"{_named(_join(path, name))} is missing ({_type_word(part)}{about})."
    rest = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in known and _is_left_out(schema, name, item):
            continue
        if name in known:
            yield from _check(known[name], item, _join(path, name), depth + 1)
        elif rest is False:
            names = f" Known: {', '.join(known)}." if known else " It takes none."
            yield f"There is no argument '{_join(path, str(name))}'.{_near(str(name), list(known)) or names}"
        elif isinstance(rest, Mapping):
            yield from _check(rest, item, _join(path, str(name)), depth + 1)


def _check_list(schema: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[str]:
    yield from _check_size(schema, len(value), "Items", path, "items")
    first = schema.get("prefixItems", ())
    for at, item in enumerate(value):
        part = first[at] if at < len(first) else schema.get("items")
        if isinstance(part, Mapping):
            yield from _check(part, item, f"{path}[{at}]", depth + 1)


def _check_size(schema: Mapping[str, Any], size: int, what: str, path: str, unit: str) -> Iterator[str]:
    if size < schema.get(f"min{what}", 0):
        yield f"{_named(path)} must have at least {schema[f'min{what}']} {unit}, not {size}."
    if size > schema.get(f"max{what}", size):
        yield f"{_named(path)} must have at most {schema[f'max{what}']} {unit}, not {size}."


def _check_number(schema: Mapping[str, Any], value: float, path: str) -> Iterator[str]:
    tests: list[tuple[str, str, Callable[[float, float], bool]]] = [
        ("minimum", "at least", lambda a, b: a >= b), ("maximum", "at most", lambda a, b: a <= b),
        ("exclusiveMinimum", "more than", lambda a, b: a > b), ("exclusiveMaximum", "less than", lambda a, b: a < b),
    ]  # fmt: skip
    for key, word, holds in tests:
        limit = schema.get(key)
        if isinstance(limit, (int, float)) and not isinstance(limit, bool) and not holds(value, limit):
            yield f"{_named(path)} must be {word} {limit}, not {value}."


def _is(value: Any, type_: str) -> bool:
    if type_ == "integer":
        return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))  # fmt: skip
    if type_ == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    kinds: dict[str, Any] = {"object": Mapping, "array": (list, tuple), "string": str, "boolean": bool, "null": type(None)}  # fmt: skip
    return isinstance(value, kinds[type_]) if type_ in kinds else True


def _type_word(schema: Mapping[str, Any]) -> str:
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " | ".join(dict.fromkeys(_type_word(option) for option in options))
    if isinstance(schema.get("enum"), list):
        return " | ".join(_shown(one) for one in schema["enum"][:12])
    types = schema.get("type", "any")
    if types == "array" and isinstance(schema.get("items"), Mapping):
        return f"list of {_type_word(schema['items'])}"
    return " | ".join(types) if isinstance(types, list) else str(types)


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named(path: str) -> str:
    return f"Argument '{path}'" if path else "The arguments"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}…"
