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
from rag.text import words

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?|(?<=[^\x00-\x7f])\d[\d,]*(?:\.\d+)?")
_MARKER = re.compile(r"[\[【［]\s*\d+(?:\s*[,，]\s*\d+)*\s*[\]】］]")
_PASSAGE = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_FACTORS = frozenset(
    (24.0, 30.0, 52.0, 60.0, 100.0, 360.0, 365.0, 1000.0, 1024.0, 3600.0)
)  # of units; nobody looks them up
MAX_OPERANDS = 60  # numbers of the observations that a model may be held to; each makes its grammar longer
MAX_SMALL = 12.0  # counts and months, in what is computed

HELD = ("compute_known", "compute_asked", "compute_found", "compute_task", "compute_two", "nothing_new")
"""After these a model computes with what was found and with nothing else."""

EXAMPLES_OF = "lighthouse|灯塔"  # what the examples of agents/prompts.py are about; a small model may answer them

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
    "compute_found": {
        "en": "{text} holds no number that was found. Compute with a number of the observations.",
        "zh": "{text}没有用到查到的数字。用观察里的数字计算。",
    },
    "compute_task": {
        "en": "{text} leaves out what the task gives: {number}. Compute with it and with the number that was found for it.",
        "zh": "{text}没有用到任务给出的数字{number}。用它和查到的相应数字计算。",
    },
    "compute_two": {
        "en": "{text} takes the same number twice. Find the other number in the observations, and compute with both.",
        "zh": "{text}用了两次同一个数字。在观察里找出另一个数字，用两个数字计算。",
    },
    "answer_task": {
        "en": "That is the answer to the example. Answer this task: {task}",
        "zh": "这是例子的答案。回答这个任务：{task}",
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
    """Whether the last step was a search that gave only passages which earlier ones had given, or asked for all of
    what an earlier one had asked and more: what small models do that do not see that they have what they need."""
    if len(steps) < 2 or steps[-1].tool != "search" or not steps[-1].ok:
        return False
    before = [step for step in steps[:-1] if step.ok]
    seen = {number for step in before for number in _PASSAGE.findall(step.observation)}
    if seen and set(_PASSAGE.findall(steps[-1].observation)) <= seen:
        return True
    asked = [_terms(step) for step in before if step.tool == "search"]
    return any(one and one <= _terms(steps[-1]) for one in asked)


def _terms(step: AgentStep) -> set[str]:
    return set(words(str(step.args.get("query", ""))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What may be computed with. found: in observations; given: in the task; others: from before, and the constants."""

    found: Sequence[str]
    given: Sequence[str] = ()
    others: Sequence[str] = ()

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys([*self.found, *self.given, *self.others]))


def operands(task: str, steps: Sequence[AgentStep], facts: Iterable[str] = ()) -> Operands:
    """What may be computed with: the numbers as they were written, the latest observations first, and the constants.

    Beginnings of the number that the model was just told about are left out: it would start to write that one again.
    """
    told = steps[-1].observation if steps and steps[-1].code == "compute_known" else ""
    refused = next(iter(numbers(told)), "").replace(",", "")

    def listed(texts: Iterable[str]) -> list[str]:
        found = dict.fromkeys(number.replace(",", "") for text in texts for number in numbers(text))
        return [one for one in found if not refused.startswith(one)][:MAX_OPERANDS]

    constants = [f"{one:g}" for one in (*range(1, int(MAX_SMALL) + 1), *sorted(_FACTORS))]
    observed = listed(step.observation for step in reversed(steps) if step.ok)
    return Operands(found=observed, given=listed([task]), others=listed([*facts, " ".join(constants)]))


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


def told_answer(text: str, task: str, steps: Sequence[AgentStep], facts: Sequence[str], language: str, *, searches: bool) -> Told | None:  # fmt: skip
    """What is to be told about an answer; None when it is well founded. searches: facts can be looked up."""
    looked, result, what = _looked(steps), _result(steps), ""
    number = ungrounded(text, known(task, steps, facts))
    if re.search(EXAMPLES_OF, text, re.IGNORECASE) and not re.search(
        EXAMPLES_OF, " ".join([task, *facts, *(step.observation for step in steps)]), re.IGNORECASE
    ):
        what = "answer_task"
    elif searches and not looked and not result and not facts:
        what = "search_first"
    elif result and (number or not _says(text, result)):
        what = "say_result"
    elif number:
        what = "compute_first"
    elif looked and not result and asks_to_compute(task) and numbers(text):
        what = "compute_asked"
    return _told(what, language, number=number, result=result, task=task)


def told_expression(text: str, task: str, steps: Sequence[AgentStep], facts: Sequence[str], language: str, *, searches: bool) -> Told | None:  # fmt: skip
    """What is to be told about an expression that is to be computed; None when its numbers come from somewhere.

    The first one has to join what was found with what the task gives, or two numbers that were found.
    """
    looked, used, what = _looked(steps), [_value(one) for one in numbers(text)], ""
    number = ungrounded(text, known(task, steps, facts), constants=looked or not searches)
    given = numbers(task)
    if number:
        what = "compute_known" if looked or not searches else "search_first"
    elif len(used) == 2 and used[0] == used[1] and re.search(r"[-/]", text):
        what = "compute_two"
    elif looked and not _result(steps):
        found = {_value(one) for step in steps if step.ok for one in numbers(step.observation)}
        if not found.intersection(used):
            what = "compute_found"
        elif given and not {_value(one) for one in given}.intersection(used):
            what, number = "compute_task", ", ".join(dict.fromkeys(given))
    return _told(what, language, number=number, text=text)


def told_search(query: str, task: str, steps: Sequence[AgentStep], language: str) -> Told | None:
    """What is to be told about a search that was made before, where there are numbers to compute with."""
    again = any(step.ok and step.tool == "search" and step.args.get("query") == query for step in steps)
    if not again or _result(steps) or not asks_to_compute(task) or len(operands(task, steps).found) < 2:
        return None
    return _told("compute_asked", language)


def can_compute(task: str, steps: Sequence[AgentStep], facts: Sequence[str]) -> bool:
    """Whether there are two numbers to compute with: before that a small model would take some from memory."""
    return len(known(task, steps, facts)) >= 2


def _told(what: str, language: str, **values: str) -> Told | None:
    return Told(what=what, text=TOLD[what][language].format(**values)) if what else None


def _looked(steps: Sequence[AgentStep]) -> bool:
    return any(step.ok and step.tool != "calculator" for step in steps)


def _result(steps: Sequence[AgentStep]) -> str:
    """What was computed last."""
    found = next((step.observation for step in reversed(steps) if step.ok and step.tool == "calculator"), "")
    return found.partition("\n")[0]


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
