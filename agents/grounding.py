"""Whether numbers come from somewhere: small models compute in their heads and remember what never was.

A number of an answer must stand in the task or in an observation, or follow from one by rounding; a number that is
computed with must, too. What does not is told to the model once. Pure functions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from agents.types import AgentStep

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?|(?<=[^\x00-\x7f])\d[\d,]*(?:\.\d+)?")
_MARKER = re.compile(r"[\[【［]\s*\d+(?:\s*[,，]\s*\d+)*\s*[\]】］]")
_FACTORS = frozenset(
    (24.0, 30.0, 52.0, 60.0, 100.0, 360.0, 365.0, 1000.0, 1024.0, 3600.0)
)  # of units; nobody looks them up
MAX_SMALL = 12.0  # counts and months, in what is computed

TOLD = {
    "computed": {
        "en": "{number} stands in no observation; the calculator gave {result}. Answer again with the numbers that were found and computed.",
        "zh": "{number}没有出现在任何观察里；calculator的结果是{result}。用查到和算出的数字重新回答。",
    },
    "answer": {
        "en": "{number} stands in no observation. Compute it with calculator from the numbers that were found; then answer.",
        "zh": "{number}没有出现在任何观察里。先用calculator根据查到的数字计算，再回答。",
    },
    "unsearched": {
        "en": "{number} is not in the task. Find the facts with search first, then compute with what was found.",
        "zh": "任务里没有{number}。先用search查事实，再用查到的数字计算。",
    },
    "call": {
        "en": "{number} stands in no observation. Compute with the numbers of the task and of the observations only.",
        "zh": "{number}没有出现在任何观察里。只用任务和观察里的数字计算。",
    },
}  # fmt: skip


def numbers(text: str) -> list[str]:
    """The numbers of a text as they stand in it, citation markers left out."""
    plain = _MARKER.sub(" ", unicodedata.normalize("NFKC", text))
    return [match.group().rstrip(",") for match in _NUMBER.finditer(plain)]


def known(task: str, steps: Sequence[AgentStep], facts: Iterable[str] = ()) -> list[float]:
    """The numbers of the task, of what tools gave, and of what is known from before."""
    texts = [task, *facts, *(step.observation for step in steps if step.ok)]
    return [_value(number) for text in texts for number in numbers(text)]


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


def told(
    text: str, task: str, steps: Sequence[AgentStep], facts: Iterable[str], language: str, *, computes: bool
) -> str:
    """What is to be told about an answer, or about an expression that is computed; "" when all its numbers are known."""
    number = ungrounded(text, known(task, steps, facts), constants=computes)
    if not number:
        return ""
    result = next((step.observation for step in reversed(steps) if step.ok and step.tool == "calculator"), "")
    if computes:
        what = "call" if any(step.ok and step.tool != "calculator" for step in steps) else "unsearched"
    else:
        what = "computed" if result else "answer"
    return TOLD[what][language].format(number=number, result=result.partition("\n")[0])


def _value(number: str) -> float:
    return float(number.replace(",", ""))
