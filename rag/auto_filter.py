"""Conditions on documents that a question names: what a chat model read there, held against the question and the documents.

A small model finds conditions where there are none, and writes values as the question has them, not as the documents do. A
condition counts only when its value stands in the question, in some form; it is then written as the documents have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from rag.errors import FilterError
from rag.filters import All, Any_, Compare, Expr, negate, parse, to_milvus
from rag.numerals import MONTHS, han_value

Known = Mapping[str, Sequence[Any]]
"""Values that documents have, by field, most frequent first."""

# Fields that every document has, with what a question says that means them.
NAMED = {
    "title": re.compile(r"\b(?:title[ds]?|called|named|entitled)\b|标题|题为|题目|名为|《", re.IGNORECASE),
    "source": re.compile(r"\b(?:sources?|files?|folders?|paths?|director(?:y|ies)|url)\b|来源|文件|目录|路径", re.IGNORECASE),
    "page": re.compile(r"\b(?:pages?|p\.)\s*\d|第\s*\d+\s*页|页", re.IGNORECASE),
}  # fmt: skip

_NONE = re.compile(r"\W*(?:none|no|null|n/a|nothing|无|没有)?\W*", re.IGNORECASE)
_BARE_VALUE = re.compile(
    r"(==|!=|<=|>=|=|<|>|\blike\b|\bcontains\b)\s*(?!['\"\[(])([^'\"()\[\]]+?)(?=\s+(?:and|or)\s|\s*$)", re.IGNORECASE
)
_ISO = re.compile(r"\d{4}-\d{2}(?:-\d{2}.*)?")
_DATE = re.compile(r"(\d{4})(?:[-/.年]\s?(\d{1,2})(?:[-/.月]\s?(\d{1,2}))?)?[年月日号]?")
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)\s*年?")
_HAN_YEAR = re.compile(r"[〇零一二三四五六七八九]{4}(?=\s?年)")
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))

# How else questions name values.
_ALSO = {
    "en": "english|英文|英语", "zh": "chinese|mandarin|中文|汉语|华语", "fr": "french|法文|法语", "de": "german|德文|德语",
    "es": "spanish|西班牙文|西班牙语", "ja": "japanese|日文|日语", "ru": "russian|俄文|俄语", "ko": "korean|韩文|韩语",
    "docx": r"word (?:file|document)s?|word\s?(?:文档|文件)", "xlsx": "excel|spreadsheets?|电子表格", "pptx": "powerpoints?|slides?|幻灯片",
    "html": r"web ?(?:page|site)s?|网页", "eml": "e-?mails?|邮件", "markdown": r"\.md", "text": r"\.txt|txt|(?:plain )?text files?|文本文件",
    "image": "pictures?|images?|图片",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is applied, and what is not: (the model's text, why)."""

    applied: tuple[Expr, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()

    @property
    def filter(self) -> Expr | None:
        return All(self.applied) if len(self.applied) > 1 else self.applied[0] if self.applied else None


class _Unfit(Exception):
    """Why a condition does not count."""


def listed(question: str, known: Known) -> str:
    """The fields that the model may use, each with some of its values."""
    own = [f"{name} ({', '.join(map(str, values[:6]))})" for name, values in known.items()]
    return ", ".join([*own, *(name for name, says in NAMED.items() if says.search(question) and name not in known)])


def conditions(texts: Sequence[str], question: str, known: Known) -> Conditions:
    """The model's conditions as far as they are valid, name fields there are, and hold what the question says."""
    applied: list[Expr] = []
    dropped: list[tuple[str, str]] = []
    for text in texts:
        if _NONE.fullmatch(text):
            continue
        try:
            read = _parsed(text)
        except FilterError:
            dropped.append((text, "it is no condition"))
            continue
        for part in read.parts if isinstance(read, All) else (read,):
            try:
                found = _checked(part, question, known)
                to_milvus(found)
            except (_Unfit, FilterError) as error:
                dropped.append((text, str(error) if isinstance(error, _Unfit) else "the store cannot test it"))
            else:
                applied.append(found)
    return Conditions(applied=tuple(dict.fromkeys(applied)), dropped=tuple(dropped))


def _parsed(text: str) -> Expr:
    """The condition, also with values that lack their quotes. Raises: FilterError."""
    try:
        return parse(text)
    except FilterError:
        return parse(_BARE_VALUE.sub(lambda match: f"{match.group(1)} {match.group(2).strip()!r}", text))


def _checked(read: Expr, question: str, known: Known) -> Expr:
    """The condition as the documents have it. Raises: _Unfit."""
    if isinstance(read, All | Any_):
        return type(read)(tuple(_checked(part, question, known) for part in read.parts))
    names = {name.casefold(): name for name in (*NAMED, *known)}
    field = names.get(read.field.casefold())
    if field is None:
        raise _Unfit(f"no document has the field {read.field[:40]!r}")
    if field in NAMED and field not in known and not NAMED[field].search(question):
        raise _Unfit(f"the question does not ask for a {field}")
    values = read.value if isinstance(read.value, tuple) else (read.value,)
    if not all(
        _stands_in(question, field.replace("_", " ") if isinstance(one, bool) else one, read.op) for one in values
    ):
        raise _Unfit("the question does not say so")
    if field == "source" and not all(re.search(r"[./]", str(one)) for one in values):
        raise _Unfit("it is no file name")
    return _as_documents_have_it(replace(read, field=field), question, known.get(field, ()))


# ---------------------------------------------------------------- the value and the question


def _stands_in(question: str, value: Any, op: str) -> bool:
    """Whether the question names the value: as it stands, in another form of writing, or as the number beside it."""
    question = _HAN_YEAR.sub(lambda year: f"{han_value(year.group()):04.0f}", question).casefold()
    said = {int(one) for one in re.findall(r"\d{1,9}", question)}
    text = str(value).casefold().strip("% ")
    if when := _DATE.fullmatch(text[:10]):
        near = (-1, 0, 1) if op in ("<", "<=", ">", ">=") else (0,)  # "after 2020" may be year >= 2021
        return any(int(when.group(1)) + step in said for step in near)
    if _NUMBER.fullmatch(text):
        return any(float(one) == float(text.rstrip("年 ")) for one in said)
    forms = [re.escape(text), *([_ALSO[text]] if text in _ALSO else [])]
    return bool(text) and any(
        re.search(rf"(?<![a-z0-9])(?:{form})(?![a-z0-9]{{2}}|[0-9a-rt-z])", question) for form in forms
    )


def _with_month(question: str, year: int) -> bool:
    """Whether the question gives the year with a month: a condition on the year alone must then take in that year."""
    return bool(
        re.search(
            rf"\b(?:{_MONTH})\.?(?: \d{{1,2}}(?:st|nd|rd|th)?)?,? {year}\b|{year}\s?[-/.年]\s?\d",
            question,
            re.IGNORECASE,
        )
    )


# ---------------------------------------------------------------- the value and the documents


def _as_documents_have_it(read: Compare, question: str, known: Sequence[Any]) -> Expr:
    if read.field == "page" or (known and isinstance(known[0], int | float) and not isinstance(known[0], bool)):
        return _of_numbers(read, question)
    texts = [one for one in known if isinstance(one, str)]
    dates = [one for one in texts if _ISO.fullmatch(one)]
    if dates and 2 * len(dates) > len(texts):
        return _of_dates(read, len(dates[0]))
    return _of_texts(read, texts) if not isinstance(read.value, bool) else read


def _of_numbers(read: Compare, question: str) -> Compare:
    if read.op in ("like", "contains"):
        raise _Unfit(f"{read.field} is a number")
    values = tuple(map(_number, read.value if isinstance(read.value, tuple) else (read.value,)))
    op = read.op
    if op in ("<", ">") and isinstance(values[0], int) and _with_month(question, values[0]):
        op += "="
    return replace(read, op=op, value=values if isinstance(read.value, tuple) else values[0])


def _number(value: Any) -> int | float:
    found = _NUMBER.fullmatch(str(value).strip())
    if found is None:
        raise _Unfit(f"{str(value)[:40]!r} is no number")
    return float(found.group(1)) if "." in found.group(1) else int(found.group(1))


def _of_texts(read: Compare, known: Sequence[str]) -> Compare:
    """Values as they are written in the documents, whatever their case."""
    same = {one.casefold(): one for one in reversed(known)}
    if isinstance(read.value, tuple):
        return replace(read, value=tuple(same.get(str(one).casefold(), str(one)) for one in read.value))
    if read.op in ("like", "contains"):
        return replace(read, value=str(read.value))
    return replace(read, value=same.get(str(read.value).casefold(), str(read.value)))


def _of_dates(read: Compare, length: int) -> Expr:
    """A comparison with a year, a month or a day, where documents have dates of this length."""
    if isinstance(read.value, tuple):
        parts = tuple(_of_dates(Compare(read.field, "==", one), length) for one in read.value)
        whole: Expr = Any_(parts) if len(parts) > 1 else parts[0]
        return negate(whole) if read.negated else whole
    found = _DATE.fullmatch(str(read.value).strip("% ")[:10])
    if found is None:
        raise _Unfit(f"{str(read.value)[:40]!r} is no date")
    start = "-".join(f"{int(part):02d}" for part in found.groups() if part)
    after = _next(start)
    if len(start) >= length:
        return replace(read, value=start, op="==" if read.op == "like" else read.op)
    inside: Expr = All((Compare(read.field, ">=", start), Compare(read.field, "<", after)))
    read_as: dict[str, Expr] = {
        ">": Compare(read.field, ">=", after), ">=": Compare(read.field, ">=", start), "<": Compare(read.field, "<", start),
        "<=": Compare(read.field, "<", after), "==": inside, "like": inside, "!=": negate(inside),
    }  # fmt: skip
    if read.op not in read_as:
        raise _Unfit(f"{read.field} is a date")
    return negate(read_as[read.op]) if read.negated else read_as[read.op]


def _next(start: str) -> str:
    """The year, month or day after."""
    try:
        parts = [int(part) for part in start.split("-")]
        if len(parts) == 1:
            return f"{parts[0] + 1:04d}"
        if len(parts) == 2:
            return f"{parts[0] + parts[1] // 12:04d}-{parts[1] % 12 + 1:02d}"
        return (date(*parts) + timedelta(days=1)).isoformat()
    except ValueError:
        raise _Unfit(f"{start!r} is no date") from None
