"""The date that a document's metadata give, in the usual ways of writing one."""

from __future__ import annotations

import re
from datetime import date

from rag.numerals import MONTHS, folded, han_value

_HAN_PART = re.compile(r"[〇零一二三四五六七八九十]{1,4}(?=[年月日号])")
_NUMBERED = (
    re.compile(r"(?<!\d)(?P<y>[12]\d{3})(?P<m>[01]\d)(?P<d>[0-3]\d)(?:\d{4}|\d{6})?(?!\d)"),  # 20210301, a PDF's D:20210301120000
    re.compile(r"(?<!\d)(?P<y>[12]\d{3})\s*[-/.年]\s*(?P<m>\d{1,2})(?!\d)(?:\s*[-/.月]\s*(?P<d>\d{1,2})(?!\d))?"),
)  # fmt: skip
_NAMED = (
    re.compile(r"(?<!\d)(?P<d>\d{1,2})(?:st|nd|rd|th)?\.?(?:\s+of)?[\s-]+(?P<m>[A-Za-z]{3,9})\.?,?[\s-]+(?P<y>[12]\d{3})(?!\d)"),
    re.compile(
        r"(?<![^\W\d_])(?P<m>[A-Za-z]{3,9})\.?,?\s+(?:(?P<d>\d{1,2})(?:st|nd|rd|th)?,?\s+)?"
        r"(?:\d\d:\d\d(?::\d\d)?\s+(?:[A-Z]{3,4}\s+)?)?(?P<y>[12]\d{3})(?!\d)"
    ),
)  # fmt: skip
_YEAR_LAST = re.compile(r"(?<!\d)(?P<a>\d{1,2})(?P<sign>[-/.])(?P<b>\d{1,2})(?P=sign)(?P<y>[12]\d{3})(?!\d)")
_YEAR = re.compile(r"\s*(?P<y>[12]\d{3})\s*年?\s*")


def iso_date(value: object) -> str:
    """A date of metadata in ISO 8601, to the day, the month or the year as far as it says: "2021-03-01", "2021-03", "2021"; else "".

    Where day and month may be either, as in 05/01/2024, the year alone is told.
    """
    text = folded(str(value)[:100])
    text = _HAN_PART.sub(lambda found: f"{han_value(found.group()):.0f}", text)
    for pattern in _NUMBERED:
        if found := pattern.search(text):
            return _iso(int(found["y"]), int(found["m"]), int(found["d"] or 0))
    for pattern in _NAMED:
        for found in pattern.finditer(text):
            if month := MONTHS.get(found["m"].lower()):
                return _iso(int(found["y"]), month, int(found["d"] or 0))
    if found := _YEAR_LAST.search(text):
        return _iso(int(found["y"]), *_month_and_day(int(found["a"]), int(found["b"]), found["sign"]))
    whole = _YEAR.fullmatch(text)
    return whole["y"] if whole else ""


def first_day(value: object) -> date | None:
    """The day that a date of metadata names, the first one of a month or year; None where it names none."""
    written = iso_date(value)
    return date.fromisoformat(f"{written}-01-01"[:10]) if written else None


def _month_and_day(first: int, second: int, sign: str) -> tuple[int, int]:
    """(month, day) of the two numbers before a year; (0, 0) where it cannot be told which is which."""
    if sign == "." or first > 12 or first == second:
        return second, first
    return (first, second) if second > 12 else (0, 0)


def _iso(year: int, month: int, day: int) -> str:
    """Zeros are not known. "" for a date that does not exist."""
    try:
        whole = date(year, month or 1, day or 1).isoformat()
    except ValueError:
        return ""
    return whole if day else whole[:7] if month else whole[:4]
