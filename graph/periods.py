"""When a statement holds, where its sentence says so: "from 1914 to 1918", "since 1990", 1912年至1949年. By rules alone."""

from __future__ import annotations

import re

Period = tuple[int | None, int | None]  # first and last year; None: open

_YEAR = r"(1[0-9]{3}|20[0-9]{2})(?!\d)"
_DAY = r"(?:[A-Z][a-z]+\s+)?(?:\d{1,2},?\s+)?"  # from May 1914, from May 3, 1914
_DAY_BEFORE = rf"(?:\d{{1,2}}\s+)?{_DAY}"
_BOTH = re.compile(
    rf"\b(?:from|between)\s+{_DAY_BEFORE}{_YEAR}\s+(?:to|until|till|through|and)\s+{_DAY_BEFORE}{_YEAR}"
    rf"|(?<![\d–-]){_YEAR}\s?[–—]\s?{_YEAR}|{_YEAR}年?(?:\d{{1,2}}月)?\s?(?:至|到|—|–|-|~)\s?{_YEAR}年",
    re.IGNORECASE,
)
_SINCE = re.compile(rf"\bsince\s+{_DAY_BEFORE}{_YEAR}|自(?:从)?{_YEAR}年|{_YEAR}年(?:起|以来|开始)", re.IGNORECASE)
_UNTIL = re.compile(rf"\b(?:until|till)\s+{_DAY_BEFORE}{_YEAR}|(?:直到|直至|截至){_YEAR}年", re.IGNORECASE)


def period(sentence: str) -> Period | None:
    """The years between which a sentence says that something holds; None where it names none, or more than one."""
    rest = _BOTH.sub(" ", sentence)
    found: list[Period] = []
    for match in _BOTH.finditer(sentence):
        first, last = _years(match)
        found += [(first, last)] if first <= last else []
    found += [(_years(match)[0], None) for match in _SINCE.finditer(rest)]
    found += [(None, _years(match)[0]) for match in _UNTIL.finditer(rest)]
    return found[0] if len(found) == 1 else None


def shown(one: Period) -> str:
    """1914–1918, 1990–, –2001."""
    return "–".join("" if year is None else str(year) for year in one)


def _years(match: re.Match[str]) -> list[int]:
    return [int(year) for year in match.groups() if year]
