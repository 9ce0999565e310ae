"""Where documents contradict each other: the same subject with other numbers or dates, or stated here and denied there.

Pure functions that call no model. They are careful rather than thorough: two sentences speak of one subject only when
the words of one all stand in the other or above it, so a contradiction in quite other words is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any

from rag.citations import evidence
from rag.dates import iso_date
from rag.names import names
from rag.negation import affirmed, negation_differs
from rag.numerals import Number, folded, found_dates, found_numbers
from rag.text import is_han, language, sentences
from rag.types import Citation, Conflict, Hit, Side
from rag.units import unit_behind

MIN_SHARED = 2  # terms of two sentences that speak of one subject
MIN_OVERLAP = 0.5  # of them in the longer sentence
MOST_TERMS = 40  # of a sentence; a longer one is a list or a table
DATED = ("date", "published", "modified", "updated", "created")  # metadata that says how old a document is

_SAY_LITTLE = (
    "take need use about around now only still also just today current approximate roughly nearly almost least most minimum "
    "maximum exceed say accord reach total 至少 最少 至多 最多 超过 不到 不足 左右 上下 将近 "
    "现在 目前 现 大约 约 需要 应该 应 只 仅 共 总共 达 达到 高达 据 年 月 日"
)
_LOOSE = frozenset(_SAY_LITTLE.split())  # words that do not make a subject another one
_YEAR_BEFORE = re.compile(r"(?:\b(?:in|since|by|until|till|from|of|year|around|about|before|after|to)|[在于自至到从])\s*$", re.IGNORECASE)  # fmt: skip
_AFTER = re.compile(r"[多余]?\s*(%|％|per\s?cent\b|[°℃]\s*C?\b|[^\W\d_]+)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:\b(?i:version|release|chapter|section|figure|table|part|step|article|rule|level|grade|class|type|model|phase|volume|page|line|"
    r"room|number|no\.|appendix|item|day|week)|(?<=\w)\s[A-Z]\w*|第)\s*$"
)  # before a number that names something
_STATED = re.compile(r"(?:\b(?:is|are|was|were|be|been|to|at|of)|[为是达到])\s*$|[:：]\s*$", re.IGNORECASE)
_BESIDE = "and or of in on at to for by with from is are was were the a an until than"
_NO_UNITS = frozenset(_BESIDE.split())


_RANGE = re.compile(r"\s*(?:[^\W\d_]{1,12}?\s*|%\s*)??(?:-|–|—|~|\bto|至|到)\s*[$€£¥￥]?\s*", re.IGNORECASE)
_AND, _BETWEEN = (
    re.compile(r"\s*(?:\w+\s+)?and\s+[$€£]?", re.IGNORECASE),
    re.compile(r"\bbetween\s+[$€£]?$", re.IGNORECASE),
)
_ABOUT = re.compile(r"(?:\b(?:about|around|roughly|approximately|approx\.|circa|ca\.|some|nearly|almost)|[约近]|大概|接近)\s*[$€£¥￥]?\s*$", re.IGNORECASE)  # fmt: skip
_ABOUT_BEHIND = re.compile(r"\s*\w{0,3}?(?:左右|上下)|\s+(?:\w+\s+)?or so\b")
_AT_LEAST = re.compile(r"(?:\b(?:at least|more than|over|above|exceed(?:s|ing)?|no (?:less|fewer) than|minimum of)|至少|最少|超过|高于|多于|不[少低]于)\s*[$€£¥￥]?\s*$", re.IGNORECASE)  # fmt: skip
_AT_MOST = re.compile(r"(?:\b(?:at most|less than|fewer than|under|below|no more than|maximum of|up to)|至多|最多|不超过|不到|不足|低于|少于|不[多高]于)\s*[$€£¥￥]?\s*$", re.IGNORECASE)  # fmt: skip
_MORE_BEHIND = re.compile(r"\s*[多余]|\s*(?:or more|or longer|\+|以上)")
_CAPITAL = r"[A-Z](?:\.|[\w'’-]+)"
_NAME = rf"{_CAPITAL}(?:\s+(?:(?:of|de|von|van|der|and|&)\s+){{0,2}}{_CAPITAL})*"
_MADE_ONCE = "设计|发明|创制|创立|创办|创建|创作|撰写|著|谱曲|作曲"
_MADE_BY = re.compile(  # of things that are made once
    rf"(?P<verb>\b(?:designed|invented|discovered|founded|established|built|created|written|composed|painted))(?:\s+(?:in|on|at)\s+[^,.;]{{1,30}}?)?\s+by\s+(?:the\s+)?(?P<en>{_NAME})"
    rf"|由(?:[\u4e00-\u9fff]{{1,3}}[代朝]的?)?(?P<zh>[\u4e00-\u9fff·]{{2,12}}?)(?=(?:[于在所][^，。；]{{0,20}}?)?(?:{_MADE_ONCE}))"
)
_NAME_PART = re.compile(r"[^\W\d_.]{3,}")
ROUNDED = 0.05  # of a number that is only about right, how far it may be off; more where it ends in zeros
MOST_ROUNDED = 0.1
_DIGITS = re.compile(r"\d[\d,]*(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class _Amount:
    """A number as a sentence states it: what it may be, from `low` to `high`. bound: at least (>) or at most (<) this."""

    written: str
    low: float
    high: float
    bound: str = ""

    def agrees(self, other: _Amount) -> bool:
        if self.bound and self.bound == other.bound:
            return self.written == other.written or (self.low, self.high) == (other.low, other.high)
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class _Day:
    """A date or a part of one. Two agree that say the same as far as both say something."""

    parts: tuple[int | None, int | None, int | None]  # year, month, day

    @property
    def written(self) -> str:
        return "-".join(str(part) for part in self.parts if part is not None)

    def agrees(self, other: _Day) -> bool:
        return all(
            mine == theirs or None in (mine, theirs) for mine, theirs in zip(self.parts, other.parts, strict=True)
        )


@dataclass(frozen=True, slots=True)
class _Maker:
    """Who made something. Two agree that share a part of their name."""

    written: str

    def agrees(self, other: _Maker) -> bool:
        mine, theirs = _NAME_PART.findall(self.written), _NAME_PART.findall(other.written)
        return self.written in other.written or other.written in self.written or not set(mine).isdisjoint(theirs)


Facts = Mapping[str, Sequence[Any]]
"""kind -> what a sentence states of it: each _Day for date, _Maker for name, _Amount for a unit"""


def conflicts(citations: Sequence[Citation], hits: Sequence[Hit]) -> tuple[Conflict, ...]:
    """What other documents among the hits say differently from a sentence that an answer cites."""
    places = [place for hit in hits if not hit.level for place in _places(hit)] if citations else []
    found: list[Conflict] = []
    seen: set[tuple[str, int]] = set()
    for citation in citations:
        cited = [one for one in places if one.hit.doc_id == citation.doc_id and _inside(one, citation)]
        for one in cited:
            if (one.hit.doc_id, one.start) in seen:
                continue
            against = [(other, kind) for other in places if (kind := _differ(one, other))]
            if against:
                found.append(_conflict(one, against))
                seen |= {(place.hit.doc_id, place.start) for place in (one, *(other for other, _ in against))}
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Place:
    """A sentence of a hit, and where it stands in its document."""

    hit: Hit
    start: int
    text: str


def _places(hit: Hit) -> Iterator[_Place]:
    for start, end in sentences(hit.text):
        if len(evidence(hit.text[start:end])) <= MOST_TERMS:
            yield _Place(hit, hit.start + start, hit.text[start:end])


def _inside(place: _Place, citation: Citation) -> bool:
    return place.start < citation.end and citation.start < place.start + len(place.text)


def _differ(one: _Place, other: _Place) -> str:
    """The kind of their conflict, or "" when there is none."""
    if one.hit.doc_id == other.hit.doc_id:
        return ""
    kind = _fact_differs(one.text, other.text)
    if kind == "name":
        return kind if _same_subject(_without_makers(one), _without_makers(other)) else ""
    if not _same_subject(one, other):
        return ""
    return kind or ("negation" if negation_differs(one.text, other.text) else "")


def _without_makers(place: _Place) -> _Place:
    return replace(place, text=_MADE_BY.sub(r"\g<verb> ", place.text))


def _same_subject(one: _Place, other: _Place) -> bool:
    if language(one.text) != language(other.text):
        return False
    mine, theirs = _subject(one.text), _subject(other.text)
    shared = mine & theirs
    if mine == theirs and mine and _same_day(one.text, other.text):
        return True
    if len(shared) < MIN_SHARED or len(shared) < MIN_OVERLAP * max(len(mine), len(theirs)):
        return False
    if (mine - theirs - _above(other.hit)) and (theirs - mine - _above(one.hit)):
        return False
    return not (names(one.text) - names(other.text) and names(other.text) - names(one.text))


def _same_day(one: str, other: str) -> bool:
    """Whether both give the same date, such as the year of a number."""
    mine, theirs = facts(one).get("date", ()), facts(other).get("date", ())
    return bool({day.written for day in mine} & {day.written for day in theirs})


@lru_cache(maxsize=2000)
def _subject(text: str) -> frozenset[str]:
    """The terms of a sentence but for its facts and words that say little; "version 3" stays a version of its own."""
    return evidence(affirmed(_without_facts(text))) - _LOOSE


def _above(hit: Hit) -> frozenset[str]:
    return evidence(hit.context or hit.title)


def _without_facts(text: str) -> str:
    _, rest = found_dates(folded(text))
    parts, last = [], 0
    for _, _, start, end in _amounts(rest):
        unit, behind = unit_behind(rest, end) or (("", 1.0), end)
        parts += [rest[last:start], f" {unit[0]} "]
        last = behind
    return "".join([*parts, rest[last:]])


def _fact_differs(one: str, other: str) -> str:
    """name, date or number when both state such a fact and have no value of it in common; else "".

    Where the dates differ and other numbers too, each speaks of its own time: sales of 2020 and of 2021.
    """
    kinds = _unlike(facts(one), facts(other))
    if "name" in kinds:
        return "name"
    return "" if not kinds or {"date"} < kinds else "date" if "date" in kinds else "number"


def _unlike(mine: Facts, theirs: Facts) -> set[str]:
    return {
        kind for kind in mine.keys() & theirs.keys() if not any(a.agrees(b) for a in mine[kind] for b in theirs[kind])
    }


@lru_cache(maxsize=2000)
def facts(text: str) -> Facts:
    """The dates, numbers and makers that a sentence states. A number that only names something, as in "version 3", is none."""
    dates, rest = found_dates(folded(text))
    found: dict[str, list[Any]] = {"date": [_Day(one) for one in sorted(dates, key=str)]} if dates else {}
    if makers := [_Maker(match["en"] or match["zh"]) for match in _MADE_BY.finditer(text)]:
        found["name"] = makers
    for kind, amount, _, _ in _amounts(rest):
        if kind == "date":
            found.setdefault("date", []).extend(_Day((int(year), None, None)) for year in {amount.low, amount.high})
        else:
            found.setdefault(kind, []).append(amount)
    return found


def _amounts(text: str) -> list[tuple[str, _Amount, int, int]]:
    """The kind of each number in a text without dates, what it may be, and where it stands; the ends of a range are one."""
    found: list[tuple[str, _Amount, int, int]] = []
    lower: tuple[str, Number] | None = None  # a number that may begin a range
    for number in sorted(found_numbers(text, spelled_from=2), key=lambda one: one.start):
        value, start, end = number.values[0], number.start, number.end
        kind, size = _kind(text, number)
        if (
            lower
            and lower[0] in ("", "number", kind)
            and lower[1].values[0] < value
            and _is_range(text, lower[1], start)
        ):
            first = lower[1]
            found = [one for one in found if one[2] != first.start]
            low = first.values[0] * (size if first.unit is None else first.unit[1])
            found.append((kind, _Amount(text[first.start : end].strip(), low, value * size), first.start, end))
            lower = None
        else:
            exact = _Amount(text[start:end].strip(), value, value)
            found.append((kind, exact if kind == "date" else _amount(text, value, start, end, size), start, end))
            lower = kind, number
    return [one for one in found if one[0]]


def _is_range(text: str, first: Number, second: int) -> bool:
    """Whether a number and the one that begins at `second` are the ends of a range."""
    between = text[first.end : second]
    return bool(_RANGE.fullmatch(between) or (_AND.fullmatch(between) and _BETWEEN.search(text[: first.start])))


def _amount(text: str, value: float, start: int, end: int, size: float) -> _Amount:
    """What a number may be. size: of its unit."""
    written, before, behind = text[start:end].strip(), text[:start], text[end:]
    if _AT_MOST.search(before):  # before the others, for it may hold them: "no more than"
        return _Amount(written, -inf, value * size, "<")
    if _AT_LEAST.search(before) or _MORE_BEHIND.match(behind):
        return _Amount(written, value * size, inf, ">")
    off = 0.499 * _last_place(written, value)
    if _ABOUT.search(before) or _ABOUT_BEHIND.match(behind):
        off = min(max(off, _zeros(value) / 2, ROUNDED * abs(value)), MOST_ROUNDED * abs(value))
    return _Amount(written, (value - off) * size, (value + off) * size)


def _last_place(written: str, value: float) -> float:
    """What the last digit of a number counts: 0.1 million of "3.5 million", 0 of a whole number, which is exact."""
    digits = None if len(_DIGITS.findall(written)) > 1 else _DIGITS.search(written)  # 3 hours and 20 minutes are exact
    number = float(digits.group().replace(",", "")) if digits else 0.0
    scale = value / number if number else 1.0
    return scale * 0.1 ** len(digits[1] or "") if digits and (digits[1] or scale != 1.0) else 0.0


def _zeros(value: float) -> float:
    """100 for 300, 10 for 320: what a round number is rounded to."""
    return next((10.0**n for n in range(12, 0, -1) if value and value % 10**n == 0), 1.0)


def _kind(text: str, number: Number) -> tuple[str, float]:
    """date for a year, or what is measured or counted, and the size of the unit; "" for a number that names something."""
    start, end = number.start, number.end
    digits, before = text[start:end].strip(), text[:start].rstrip()
    behind = _AFTER.match(text, end)
    unit = behind[1].lower() if behind else ""
    if (
        digits.isdigit()
        and len(digits) == 4
        and 1000 <= number.values[0] <= 2100
        and (unit[:1] == "年" or _YEAR_BEFORE.search(before))
    ):
        return "date", 1.0
    if _NAMED.search(text[:start]) and not (number.unit and number.unit[0] == "%"):
        return "", 1.0
    if number.unit:
        return number.unit
    if unit and unit not in _NO_UNITS and unit[0] not in "至到":
        return (unit[0] if is_han(unit[0]) else _singular(unit)), 1.0
    return ("number" if _STATED.search(before) else ""), 1.0


def _singular(unit: str) -> str:
    return unit.removesuffix("s") if len(unit) > 3 else unit


def _conflict(one: _Place, against: Sequence[tuple[_Place, str]]) -> Conflict:
    kind = against[0][1]
    places = {one.hit.doc_id: one}
    for other, other_kind in against:
        if other_kind == kind:
            places.setdefault(other.hit.doc_id, other)
    stated = facts(one.text)
    kinds = set().union(*(_unlike(stated, facts(other.text)) for other in places.values()))
    sides = [_side(each, kinds) for each in places.values()]
    dated = sorted((side for side in sides if side.date), key=lambda side: side.date, reverse=True)
    return Conflict(kind=kind, sides=(*dated, *(side for side in sides if not side.date)))  # type: ignore[arg-type]


def _side(place: _Place, kinds: set[str]) -> Side:
    hit = place.hit
    own = dict.fromkeys(one.written for kind, stated in facts(place.text).items() if kind in kinds for one in stated)
    return Side(
        values=tuple(own), quote=place.text, chunk_id=hit.chunk_id, doc_id=hit.doc_id, source=hit.source, title=hit.title,
        start=place.start, end=place.start + len(place.text), page=hit.page_of(place.start), date=document_date(hit.metadata),
    )  # fmt: skip


def document_date(metadata: Mapping[str, object]) -> str:
    """The ISO date that a document's metadata give, to the day, the month or the year, or ""."""
    return next((written for key in DATED if (written := iso_date(metadata.get(key, "")))), "")
