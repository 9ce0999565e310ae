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
    "answer": {
        "en": "{number} stands in no observation. Compute it with calculator from numbers that were found, or find it with search; then answer.",
        "zh": "{number}没有出现在任何观察里。先用calculator根据查到的数字计算，或用search查到它，再回答。",
    },
    "call": {
        "en": "{number} stands neither in the task nor in an observation. Find it with search first.",
        "zh": "{number}既不在任务里，也不在任何观察里。先用search查到它。",
    },
}


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


def _value(number: str) -> float:
    return float(number.replace(",", ""))
