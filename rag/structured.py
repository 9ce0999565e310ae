"""Answers in a shape that the caller gives: a JSON value that is valid for a schema, and the passages that bear it out.

The schema goes to the endpoint or the local runtime, which hold the model to it where they can. What comes is checked
here all the same, small slips are put right, and the model is asked once more with what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from rag import prompts
from rag.answering import abstention, finished, pack
from rag.citations import NEAR_QUESTION, Passage, cite, support, with_markers
from rag.dates import iso_date
from rag.errors import ChatError, ModelError, UsageError
from rag.names import names
from rag.numerals import numbers_and_dates
from rag.settings import AnswerSettings
from rag.spoken_json import json_values
from rag.text import language
from rag.trace import Trace
from rag.types import Answer, ChatModel, Citation, Hit, Message, Usage

MAX_SCHEMA_CHARS = 20_000
MOST_PROBLEMS = 8  # told to the model
NO_MODEL = (
    "An answer in a schema needs a chat model, and none is installed. Run `ragstone models pull qwen2.5-coder-1.5b`, or "
    "set llm.base_url to an OpenAI-compatible endpoint."
)


_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


class Shape:
    """A JSON schema, checked. References lead into the schema itself; nothing is fetched."""

    def __init__(self, schema: Any) -> None:
        """Raises: UsageError for what is no schema, or too long for a prompt."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
        from referencing import Registry

        if not isinstance(schema, Mapping):
            raise UsageError(f'A JSON schema is an object such as {{"type": "object"}}, not {type(schema).__name__}.')
        try:
            self.text = json.dumps(schema, ensure_ascii=False)
            self.schema: dict[str, Any] = json.loads(self.text)
            Draft202012Validator.check_schema(self.schema)
        except (SchemaError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"This is no JSON schema: {getattr(error, 'message', error)}.") from error
        if len(self.text) > MAX_SCHEMA_CHARS:
            raise UsageError(
                f"The schema has {len(self.text):,} characters; at most {MAX_SCHEMA_CHARS:,} fit a prompt."
            )
        self._validator = Draft202012Validator(self.schema, registry=Registry(), format_checker=_formats())

    def problems(self, value: Any) -> list[str]:
        """What is wrong with a value, each as a sentence; [] when it is valid. Raises: UsageError for a reference to nowhere."""
        return [f"{_path(error.absolute_path) or 'The value'}: {error.message[:300]}" for error in self._errors(value)]

    def mended(self, value: Any) -> Any:
        """The value with small slips put right: a number in quotes, one thing where a list is wanted, null for what is optional."""
        value = _with_nulls(json.loads(json.dumps(value)), self.schema, self.schema)
        for _ in (
            "what it is",
            "what is in it",
        ):  # the inside of a list that should be none is looked at once it is out
            for error in self._errors(value):
                value = _mended(value, error)
        return value

    def read(self, reply: str) -> tuple[Any, list[str]]:
        """The value in a reply, mended, and what is wrong with it: the first one that is valid, else the first.

        It may be the reply whole, in a code block, or anywhere. Raises: UsageError for a reference to nowhere.
        """
        first: tuple[Any, list[str]] = (None, ["There is no JSON in it."])
        found = (value for text in (*_FENCE.findall(reply), reply) for value in json_values(text, scalars=True))
        for at, value in enumerate(found):
            mended = self.mended(value)
            problems = self.problems(mended)
            if not problems:
                return mended, []
            first = first if at else (mended, problems)
        return first

    def _errors(self, value: Any) -> list[Any]:
        from referencing.exceptions import Unresolvable

        try:
            return sorted(self._validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        except (Unresolvable, RecursionError) as error:
            raise UsageError(f"The schema refers to what is not in it, or to itself without end: {error}.") from error


def structured_answer(
    question: str,
    hits: Sequence[Hit],
    *,
    shape: Shape,
    chat: ChatModel | None,
    settings: AnswerSettings,
    trace: Trace,
    deadline_s: float | None = None,
) -> Answer:
    """An answer whose `data` is valid for the schema. Its text lists the parts of the value, each with its passage.

    Abstains without hits, and when no passage bears out any part that can be looked up.
    Raises: ModelError without a chat model; ChatError when it fails, or gives twice what is not valid.
    """
    lang = language(question)
    if not hits:
        return finished(abstention(question, lang, ()), question, hits, trace)
    if chat is None:
        raise ModelError(NO_MODEL)
    with trace.span("pack") as step:
        passages = pack(
            question, hits, max_passages=settings.max_passages, passage_tokens=settings.passage_tokens, order=settings.order,
        )  # fmt: skip
        step.n_in, step.n_out = len(hits), len(passages)
    with trace.span("generate") as step:
        value, usage, n_calls = _generate(question, passages, shape, chat, settings, deadline_s)
        step.n_in, step.n_out = usage.n_prompt_tokens or None, usage.n_answer_tokens or None
        step.detail = {"model": usage.model or chat.name, "calls": n_calls}
    with trace.span("check") as step:
        answer = checked(value, passages, question=question, shape=shape, usage=usage)
        step.n_out, step.detail = len(answer.citations), {"unsupported": len(answer.unsupported)}
    return finished(answer, question, hits, trace)


def _generate(
    question: str, passages: Sequence[Passage], shape: Shape, chat: ChatModel, settings: AnswerSettings, deadline_s: float | None
) -> tuple[Any, Usage, int]:  # fmt: skip
    """A valid value, what it took, and how many calls. Raises: ChatError."""
    lang = language(question)
    shown = [prompts.ShownPassage(one.number, one.header, one.text) for one in passages]
    messages = prompts.data_messages(question, shown, shape.text, lang)
    usage, said, wrong = Usage(), "", [""]
    for n_calls in (1, 2):
        said, one = _reply(chat, messages, shape, settings, deadline_s)
        usage = Usage(
            n_prompt_tokens=usage.n_prompt_tokens + one.n_prompt_tokens, n_answer_tokens=usage.n_answer_tokens + one.n_answer_tokens,
            seconds=usage.seconds + one.seconds, model=one.model,
        )  # fmt: skip
        value, wrong = shape.read(said)
        if not wrong:
            return value, usage, n_calls
        again = prompts.data_again(wrong[:MOST_PROBLEMS], lang)
        messages = [*messages, Message(role="assistant", content=said), again]
    raise ChatError(
        "E_LLM_SCHEMA",
        f"The chat model {chat.name} gave twice what is not valid for the schema ({wrong[0]}). Make the schema simpler, raise "
        "answer.max_tokens if it was cut off, or use a larger model.",
        partial=said,
    )


def _reply(
    chat: ChatModel, messages: Sequence[Message], shape: Shape, settings: AnswerSettings, deadline_s: float | None
) -> tuple[str, Usage]:
    text, usage = "", Usage()
    deltas = chat.stream(
        messages, max_tokens=settings.max_tokens, temperature=settings.temperature, json_schema=shape.schema, deadline_s=deadline_s
    )  # fmt: skip
    for delta in deltas:
        text += delta.text
        usage = delta.usage or usage
    return prompts.without_thinking(text), usage


def _formats() -> Any:
    """Checks `format`: the formats that jsonschema knows without further packages, and times."""
    from jsonschema import Draft202012Validator, FormatChecker

    checker = FormatChecker(())
    checker.checkers = dict(Draft202012Validator.FORMAT_CHECKER.checkers)
    checker.checks("date-time", ValueError)(_is_moment)
    checker.checks("time", ValueError)(_is_time)
    return checker


def _is_moment(value: Any) -> bool:
    return not isinstance(value, str) or (":" in value and bool(datetime.fromisoformat(value)))


def _is_time(value: Any) -> bool:
    return not isinstance(value, str) or time.fromisoformat(value) is not None


# ---------------------------------------------------------------- mending


def _mended(value: Any, error: Any) -> Any:
    """The value with one slip put right, where that can be told; else as it was."""
    path, parent, last = list(error.absolute_path), value, None
    for key in path[:-1]:
        parent = parent[key]
    if path:
        last = path[-1]
    now: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(now, dict) and error.validator_value is False:
        for name in now.keys() - error.schema.get("properties", {}).keys():
            now = {key: one for key, one in now.items() if key != name}
    elif now is None and isinstance(parent, dict) and last is not None:
        parent.pop(last, None)
        return value
    elif error.validator == "type":
        now = _as_type(now, error.validator_value)
    elif error.validator == "format" and error.validator_value == "date":
        now = written if len(written := iso_date(now)) == len("2024-05-01") else now
    elif error.validator == "enum" and isinstance(now, str):
        now = next(
            (one for one in error.validator_value if isinstance(one, str) and one.lower() == now.strip().lower()), now
        )
    if not path:
        return now
    parent[last] = now
    return value


def _with_nulls(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """The value with null where a small model wrote the word, and null is allowed."""
    schema = _resolved(schema, root)
    if isinstance(value, dict):
        return {name: _with_nulls(one, _child(schema, "properties", name), root) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_nulls(one, schema.get("items", {}), root) for one in value]
    return None if value in ("null", "None") and "null" in schema.get("type", ()) else value


def _as_type(value: Any, wanted: Any) -> Any:
    types = [wanted] if isinstance(wanted, str) else list(wanted)
    plain = value.strip().replace(",", "") if isinstance(value, str) else ""
    if {"integer", "number"} & set(types) and re.fullmatch(r"-?\d{1,15}(?:\.\d{1,15})?", plain):
        return float(plain) if "." in plain else int(plain)
    if "boolean" in types and plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    if "string" in types and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _written(value)
    if isinstance(value, list) and len(value) == 1 and "array" not in types:
        return value[0]
    return [value] if "array" in types and not isinstance(value, (list, dict)) and value is not None else value


# ---------------------------------------------------------------- citing


@dataclass(frozen=True, slots=True)
class _Part:
    """A string or number in the value. checked: False for one of a fixed choice, which stands in no passage."""

    path: str
    text: str
    checked: bool


def checked(value: Any, passages: Sequence[Passage], *, question: str, shape: Shape, usage: Usage) -> Answer:
    """The answer that a valid value makes. What can be looked up in a passage is; what no passage holds is unsupported."""
    lines, citations, unsupported, n_looked_up = [], [], [], 0
    for part in _parts(value, shape.schema, shape.schema, ()):
        line = f"{part.path}: {part.text}" if part.path else part.text
        citation = _borne_out(part, passages, question) if part.checked else None
        n_looked_up += part.checked
        if citation is not None:
            citations.append(citation)
            line = with_markers(line, [(len(line), citation.marker)])
        elif part.checked and _can_be_told(part.text, passages):
            unsupported.append(line)
        lines.append(line)
    if not lines or (unsupported and len(unsupported) == n_looked_up):
        return abstention(question, language(question), passages, usage=usage, unsupported=tuple(unsupported))
    warnings = []
    if unsupported:
        warnings.append("Some parts are not borne out by the passages; they are listed as unsupported.")
    elif not citations:
        warnings.append("Nothing in this answer could be looked up in the passages.")
    return Answer(
        text="\n".join(lines), data=value, citations=tuple(dict.fromkeys(citations)), usage=usage,
        unsupported=tuple(unsupported), warnings=tuple(warnings),
    )  # fmt: skip


def _parts(value: Any, schema: Any, root: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[_Part]:
    schema = _resolved(schema, root)
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _parts(one, _child(schema, "properties", name), root, (*path, name))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from _parts(one, schema.get("items", {}), root, (*path, at))
    elif isinstance(value, bool) or (value not in (None, "")):
        fixed = isinstance(value, bool) or "enum" in schema or "const" in schema
        yield _Part(_path(path), _written(value), not fixed)


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference into `root` names; {} for what cannot be told."""
    for _ in range(8):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        schema = root
        for key in reference[2:].split("/"):
            schema = schema.get(key, {}) if isinstance(schema, Mapping) else {}
    return schema if isinstance(schema, Mapping) else {}


def _child(schema: Mapping[str, Any], key: str, name: str) -> Any:
    found = schema.get(key)
    return found.get(name, {}) if isinstance(found, Mapping) else {}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _path(keys: Any) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def _borne_out(part: _Part, passages: Sequence[Passage], question: str) -> Citation | None:
    """The citation of the passage that holds a part best, near the question's words; None when none does."""
    found = []
    for passage in passages:
        citation = cite(part.text, passage, question)
        whole = f"{passage.header}\n{passage.text}"
        near = support(question, whole)
        same = language(question) == language(passage.text)
        if citation.supported and _can_be_told(part.text, [passage]) and (near >= NEAR_QUESTION or not same):
            found.append((support(part.text, whole) + 0.5 * near, -passage.number, citation))
    return max(found, key=lambda one: one[:2])[2] if found else None


def _can_be_told(text: str, passages: Sequence[Passage]) -> bool:
    """Whether a text can be looked up: in its own language, or by numbers, dates and Latin names in another one."""
    if any(language(passage.text) == language(text) for passage in passages):
        return True
    return bool(numbers_and_dates(text) or (language(text) == "zh" and any(name.isascii() for name in names(text))))
