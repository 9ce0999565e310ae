"""Where documents contradict each other: the same subject with other numbers or dates, or stated here and denied there.

Pure functions that call no model. They are careful rather than thorough: two sentences speak of one subject only when
the words of one all stand in the other or above it, so a contradiction in quite other words is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rag.citations import affirmed, date_key, evidence, found_dates, found_numbers, names, negation_differs
from rag.dates import iso_date
from rag.text import is_han, language, sentences
from rag.types import Citation, Conflict, Hit, Side

MIN_SHARED = 2  # terms of two sentences that speak of one subject
MIN_OVERLAP = 0.5  # of them in the longer sentence
MOST_TERMS = 40  # of a sentence; a longer one is a list or a table
DATED = ("date", "published", "modified", "updated", "created")  # metadata that says how old a document is

_SAY_LITTLE = (
    "take need use about around now only still also just today current approximate say accord reach total "
    "现在 目前 现 大约 约 需要 应该 应 只 仅 共 总共 达 达到 高达 据 年 月 日"
)
_LOOSE = frozenset(_SAY_LITTLE.split())  # words that do not make a subject another one
_YEAR_BEFORE = re.compile(r"(?:\b(?:in|since|by|until|till|from|of|year|around|about|before|after|to)|[在于自至到从])\s*$", re.IGNORECASE)  # fmt: skip
_AFTER = re.compile(r"\s*(%|％|per\s?cent\b|[°℃]\s*C?\b|[^\W\d_]+)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:\b(?i:version|release|chapter|section|figure|table|part|step|article|rule|level|grade|class|type|model|phase|volume|page|line|"
    r"room|number|no\.|appendix|item|day|week)|(?<=\w)\s[A-Z]\w*|第)\s*$"
)  # before a number that names something
_STATED = re.compile(r"(?:\b(?:is|are|was|were|be|been|to|at|of)|[为是达到])\s*$|[:：]\s*$", re.IGNORECASE)
_PERCENT = frozenset({"%", "％", "percent", "per cent"})
_CURRENCIES = "$€£¥￥"
_BESIDE = "and or of in on at to for by with from is are was were the a an until than"
_NO_UNITS = frozenset(_BESIDE.split())


Facts = Mapping[str, Mapping[str, str]]
"""kind (date, year, a unit) -> key, equal for equal values -> as it is written"""


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
    if one.hit.doc_id == other.hit.doc_id or not _same_subject(one, other):
        return ""
    if kind := _fact_differs(one.text, other.text):
        return kind
    return "negation" if negation_differs(one.text, other.text) else ""


def _same_subject(one: _Place, other: _Place) -> bool:
    if language(one.text) != language(other.text):
        return False
    mine, theirs = _subject(one.text), _subject(other.text)
    shared = mine & theirs
    if len(shared) < MIN_SHARED or len(shared) < MIN_OVERLAP * max(len(mine), len(theirs)):
        return False
    if (mine - theirs - _above(other.hit)) and (theirs - mine - _above(one.hit)):
        return False
    return not (names(one.text) - names(other.text) and names(other.text) - names(one.text))


def _subject(text: str) -> frozenset[str]:
    """The terms of a sentence but for its facts and words that say little; "version 3" stays a version of its own."""
    return evidence(affirmed(_without_facts(text))) - _LOOSE


def _above(hit: Hit) -> frozenset[str]:
    return evidence(hit.context or hit.title)


def _without_facts(text: str) -> str:
    _, rest = found_dates(unicodedata.normalize("NFKC", text))
    for value, start, end in found_numbers(rest, spelled_from=2):
        if _kind(rest, value, start, end):
            rest = rest[:start] + " " * (end - start) + rest[end:]
    return rest


def _fact_differs(one: str, other: str) -> str:
    """date or number when both state such a fact and have no value of it in common; else ""."""
    kinds = _unlike(facts(one), facts(other))
    return "" if not kinds else "date" if kinds & {"date", "year"} else "number"


def _unlike(mine: Facts, theirs: Facts) -> set[str]:
    return {kind for kind in mine.keys() & theirs.keys() if not mine[kind].keys() & theirs[kind].keys()}


def facts(text: str) -> Facts:
    """The dates and numbers that a sentence states. A number that only names something, as in "version 3", is none."""
    folded = unicodedata.normalize("NFKC", text)
    dates, rest = found_dates(folded)
    found: dict[str, dict[str, str]] = {"date": {date_key(one): date_key(one) for one in dates}} if dates else {}
    for value, start, end in found_numbers(rest, spelled_from=2):
        kind = _kind(rest, value, start, end)
        if kind:
            found.setdefault(kind, {})[f"{value:.10g}"] = rest[start:end].strip()
    return found


def _kind(text: str, value: float, start: int, end: int) -> str:
    """date, year, or what is counted: the unit behind a number; "" for a number that names something."""
    digits, before = text[start:end].strip(), text[:start].rstrip()
    behind = _AFTER.match(text, end)
    unit = behind[1].lower() if behind else ""
    if (
        digits.isdigit()
        and len(digits) == 4
        and 1000 <= value <= 2100
        and (unit[:1] == "年" or _YEAR_BEFORE.search(before))
    ):
        return "year"
    if digits.startswith("百分之") or unit in _PERCENT:
        return "%"
    if before[-1:] and before[-1] in _CURRENCIES:
        return before[-1]
    if _NAMED.search(text[:start]):
        return ""
    if unit and unit not in _NO_UNITS:
        return unit[0] if is_han(unit[0]) else _singular(unit)
    return "number" if _STATED.search(before) else ""


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
    own = [written for kind, values in facts(place.text).items() if kind in kinds for written in values.values()]
    return Side(
        values=tuple(own), quote=place.text, chunk_id=hit.chunk_id, doc_id=hit.doc_id, source=hit.source, title=hit.title,
        start=place.start, end=place.start + len(place.text), page=hit.page_of(place.start), date=document_date(hit.metadata),
    )  # fmt: skip


def document_date(metadata: Mapping[str, object]) -> str:
    """The ISO date that a document's metadata give, to the day, the month or the year, or ""."""
    return next((written for key in DATED if (written := iso_date(metadata.get(key, "")))), "")
