"""Whether numbers come from somewhere: small models compute in their heads and remember what never was.

A number of an answer must stand in the task or in an observation, or follow from one by rounding; a number that is
computed with must, too. What does not is told to the model once. Pure functions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents.types import AgentStep

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?|(?<=[^\x00-\x7f])\d[\d,]*(?:\.\d+)?")
_MARKER = re.compile(r"[\[【［]\s*\d+(?:\s*[,，]\s*\d+)*\s*[\]】］]")
_PASSAGE = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_FACTORS = frozenset(
    (24.0, 30.0, 52.0, 60.0, 100.0, 360.0, 365.0, 1000.0, 1024.0, 3600.0)
)  # of units; nobody looks them up
MAX_OPERANDS = 60  # numbers of the observations that a model may be held to; each makes its grammar longer
MAX_SMALL = 12.0  # counts and months, in what is computed

HELD = ("compute_known", "compute_asked")  # after these a model computes with what was found and with nothing else

TOLD = {
    "say_result": {
        "en": "The calculator gave {result}. Answer the task with it, and with the numbers that were found.",
        "zh": "calculator的结果是{result}。用它和查到的数字重新回答。",
    },
    "compute_first": {
        "en": "{number} stands in no observation. Compute it with calculator from the numbers that were found; then answer.",
        "zh": "{number}没有出现在任何观察里。先用calculator根据查到的数字计算，再回答。",
    },
    "compute_asked": {
        "en": "The task asks for a number that follows from others. Compute it with calculator from the numbers that were found; then answer.",
        "zh": "任务问的数字要由查到的数字算出来。先用calculator计算，再回答。",
    },
    "search_first": {
        "en": "Nothing was looked up yet. Find the facts with search first.",
        "zh": "还没有查过资料。先用search查事实。",
    },
    "compute_known": {
        "en": "{number} stands in no observation. Compute with the numbers of the task and of the observations only.",
        "zh": "{number}没有出现在任何观察里。只用任务和观察里的数字计算。",
    },
}  # fmt: skip


# Questions for what texts seldom state, and two numbers of them give: years between, how old, how much in all.
_DERIVED = re.compile(
    r"how many (?:years|centuries|decades) (?:\w+ )?(?:after|before|between|later|earlier|pass|passed|elapsed?|lie|lay)\b|how old (?:was|were|did)\b"
    r"|\bdifference between\b|\bpercentage points\b|\bon average\b|\d.*\b(?:in total|altogether)\b"
    r"|相隔|相差|(?:多少|几)年后|后(?:过了)?(?:多少|几)年|之后(?:多少|几)年|过了(?:多少|几)年|[晚早](?:多少|几)年|多少岁|几岁|平均|(?:多少|几)倍|\d.*[一总]共",
    re.IGNORECASE,
)


def asks_to_compute(task: str) -> bool:
    """Whether a task asks for a number that has to be computed from others."""
    return _DERIVED.search(task) is not None


def numbers(text: str) -> list[str]:
    """The numbers of a text as they stand in it, citation markers left out."""
    plain = _MARKER.sub(" ", unicodedata.normalize("NFKC", text))
    return [match.group().rstrip(",") for match in _NUMBER.finditer(plain)]


def known(task: str, steps: Sequence[AgentStep], facts: Iterable[str] = ()) -> list[float]:
    """The numbers of the task, of what tools gave, and of what is known from before."""
    texts = [task, *facts, *(step.observation for step in steps if step.ok)]
    return [_value(number) for text in texts for number in numbers(text)]


def found_nothing_new(steps: Sequence[AgentStep]) -> bool:
    """Whether the last step was a search that gave only passages which earlier ones had given."""
    if len(steps) < 2 or steps[-1].tool != "search" or not steps[-1].ok:
        return False
    seen = {number for step in steps[:-1] if step.ok for number in _PASSAGE.findall(step.observation)}
    return set(_PASSAGE.findall(steps[-1].observation)) <= seen and bool(seen)


def operands(task: str, steps: Sequence[AgentStep], facts: Iterable[str] = ()) -> list[str]:
    """What may be computed with: the numbers as they were written, the latest observations first, and the constants.

    Beginnings of the number that the model was just told about are left out: it would start to write that one again.
    """
    told = steps[-1].observation if steps and steps[-1].code == "compute_known" else ""
    refused = next(iter(numbers(told)), "").replace(",", "")
    texts = [task, *(step.observation for step in reversed(steps) if step.ok), *facts]
    found = [number.replace(",", "") for text in texts for number in numbers(text)]
    constants = [f"{one:g}" for one in (*range(1, int(MAX_SMALL) + 1), *sorted(_FACTORS))]
    listed = dict.fromkeys([*found[:MAX_OPERANDS], *constants])
    return [one for one in listed if not refused.startswith(one)]


def ungrounded(text: str, given: Sequence[float], *, constants: bool = False) -> str:
    """The first number of `text` that none of the given ones is or rounds to; "" when there is none.

    constants: small numbers and factors of units pass.
    """
    for number in numbers(text):
        value = _value(number)
        if constants and (value <= MAX_SMALL or value in _FACTORS):
            continue
        places = len(number.partition(".")[2])
        if not any(round(one, places) == value or round(one * 100, places) == value for one in given):
            return number
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a model is told, and which of TOLD it is."""

    what: str
    text: str


def told(
    text: str, task: str, steps: Sequence[AgentStep], facts: Sequence[str], language: str, *, computes: bool, searches: bool
) -> Told | None:  # fmt: skip
    """What is to be told about an answer, or about an expression that is computed; None when it is well founded.

    searches: there is a tool to look facts up with.
    """
    looked = any(step.ok and step.tool != "calculator" for step in steps)
    result = next((step.observation for step in reversed(steps) if step.ok and step.tool == "calculator"), "")
    result, what = result.partition("\n")[0], ""
    number = ungrounded(text, known(task, steps, facts), constants=computes and (looked or not searches))
    if computes and number:
        what = "compute_known" if looked or not searches else "search_first"
    elif not computes and searches and not looked and not result and not facts:
        what = "search_first"
    elif not computes and result and (number or not _says(text, result)):
        what = "say_result"
    elif not computes and number:
        what = "compute_first"
    elif not computes and looked and not result and asks_to_compute(task) and numbers(text):
        what = "compute_asked"
    return Told(what=what, text=TOLD[what][language].format(number=number, result=result)) if what else None


def computed(answer: str, steps: Sequence[AgentStep], language: str) -> str:
    """The last computation as a sentence, where a small model was told its result and still left it out; else ""."""
    last = next((step for step in reversed(steps) if step.ok and step.tool == "calculator"), None)
    was_told = any(step.code == "say_result" for step in steps)
    result = last.observation.partition("\n")[0] if last else ""
    if last is None or not was_told or _says(answer, result):
        return ""
    sum_ = f"{last.args.get('expression', '')} = {result}"
    return f"计算：{sum_}。" if language == "zh" else f"Computed: {sum_}."


def _says(text: str, result: str) -> bool:
    """Whether a text holds what was computed, rounded or not."""
    return any(not ungrounded(number, [_value(one) for one in numbers(result)]) for number in numbers(text))


def _value(number: str) -> float:
    return float(number.replace(",", ""))
