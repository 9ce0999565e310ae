"""Reading numbers, dates and units in English and Chinese text, however they are written. Pure functions.

Where a way of writing can mean two things (01/05/2024, 5:30 pm, 90年代, 1990–95) each meaning is kept: such a number is
held by a text that holds one of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from rag.text import is_han, words
from rag.units import UNITS, Unit, currency_before, unit_behind

Date = tuple[int | None, int, int | None]
"""year, month, day"""

_LETTERS = str.maketrans("İıſK", "IisK")  # re.IGNORECASE takes them for i, s and k, a dict does not

SPELLED_FROM = 10  # smaller numbers in words ("one", 一) claim little by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number in a text. `values`: what it can mean, likeliest first; `parts`: what it is made of, as 24 and 7 of 24/7."""

    values: tuple[float, ...]
    start: int
    end: int
    parts: tuple[float, ...] = ()
    unit: Unit | None = None
    spelled: bool = False
    ordinal: bool = False
    loose: bool = False  # "half", "both": may bear a number out, but claims none

    @property
    def is_claim(self) -> bool:
        """Whether a text that has it must have it from somewhere."""
        return not self.loose and (not self.spelled or self.values[0] >= SPELLED_FROM or self.values[0] % 1 > 0)


def numbers_and_dates(text: str) -> set[str]:
    """The numbers and dates that a text claims, each as one key however it is written.

    1,234 and 一千二百三十四 are "1234"; 30 %, 百分之三十 and 三成 are "30"; May 1, 2024 and 2024年5月1日 are "2024-5-1".
    Single small numbers in words ("one", 一) are no claims.
    """
    dates, rest = _dates(folded(text))
    return {date_key(readings[0]) for readings in dates} | {
        _key(number.values[0]) for number in numbers(rest) if number.is_claim
    }


def readings(text: str) -> set[str]:
    """Keys of all that the numbers and dates of a text can mean, small ones and "half" included."""
    dates, rest = _dates(folded(text))
    values = (value for number in _held_numbers(rest) for value in (*number.values, *number.parts))
    return {date_key(date) for meant in dates for date in meant} | {_key(value) for value in values}


def without_numbers(text: str) -> tuple[str, set[str]]:
    """A folded text without its dates and numbers, and keys of the small ones in words; ordinals such as "first" stay."""
    _, rest = _dates(folded(text))
    small = set()
    for number in numbers(rest):
        if number.is_claim or not (number.ordinal or number.loose or number.values[0] < 2):
            rest = rest[: number.start] + " " * (number.end - number.start) + rest[number.end :]
            if not number.is_claim:
                small.add(_key(number.values[0]))
    return rest, small


def missing_numbers(sentence: str, text: str) -> set[str]:
    """Keys of the numbers and dates of a sentence that `text` does not hold, or holds of another unit.

    A small number in words is missing only when `text` has another number of the same thing.
    """
    dates, rest = _dates(folded(sentence))
    held_in = folded(text)
    held_dates = {date for readings in _dates(held_in)[0] for date in readings}
    held = _held_numbers(held_in)
    missing = {
        date_key(readings[0]) for readings in dates if not any(_date_held(date, held_dates, held) for date in readings)
    }
    months = _months(rest, loosely=False) - {month for _, month, _ in held_dates}
    if months:
        missing |= {f"-{month}-" for month in months - _months(held_in, loosely=True)}
    whole = [one for one in _sums(rest) if _is_held(one, held)]
    for number in _outside(numbers(rest), whole):
        if not _is_held(number, held) and (number.is_claim or _another_counted(number, rest, held_in, held)):
            missing.add(_key(number.values[0]))
    return missing


def date_key(date: Date) -> str:
    """A date as year-month-day, without the parts that it lacks."""
    return "-".join(str(part) for part in date if part is not None)


def found_dates(text: str) -> tuple[set[Date], str]:
    """The dates in a text, and the text with blanks in their place. One that can be read in two ways counts as both."""
    dates, rest = _dates(text)
    return {date for readings in dates for date in readings}, rest


def found_numbers(text: str, *, spelled_from: int) -> Iterator[Number]:
    """The cardinal numbers of a text, each with its unit; a scale ("million") and 百分之 are part of it.

    Of those in words only from `spelled_from` on: "one" and 一 are mostly no numbers.
    """
    whole = list(_sums(text))
    for number in [*whole, *_outside(numbers(text), whole)]:
        value = number.values[0]
        if not number.ordinal and not number.loose and (not number.spelled or value >= spelled_from or value % 1):
            yield number


def folded(text: str) -> str:
    """One width, one minus sign, one sign for the thousands of 12'345; ½ is 1/2 and 10⁶ is 10^6."""
    text = _VULGAR.sub(r" \g<0>", _RAISED.sub(r"^\g<0>", text))
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2044", "/").replace("○", "〇")
    return _APOSTROPHES.sub(",", text)


_VULGAR = re.compile("(?<=[0-9０-９])[¼-¾⅐-⅞]")
_RAISED = re.compile("(?<=10)⁻?[⁰¹²³⁴-⁹]+")
_APOSTROPHES = re.compile(r"(?<=\d)['’](?=\d{3}(?!\d))")


def _key(value: float) -> str:
    return f"{value:.10g}"


# ---------------------------------------------------------------- dates

MONTHS = {
    name: number
    for number, names_ in enumerate(
        ["january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
         "september sept sep", "october oct", "november nov", "december dec"], start=1,
    )
    for name in names_.split()
}  # fmt: skip
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_TH = r"(?:st|nd|rd|th)?"
_UPTO = r"\s*(?:[-–—~]|to|until|至|到)\s*"
_SMALL_HAN = "[〇零一二三四五六七八九十廿卅]{1,3}"
_DATES = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    r"(?<!\d)(?P<y>\d{4})\s*[-/.年]\s*(?P<m>\d{1,2})(?:\s*[-/.月]\s*(?P<d>\d{1,2})(?!\d)[日号]?|\s*月)"
    rf"(?:(?<=[日号]){_UPTO}(?P<d2>\d{{1,2}})[日号])?",
    rf"(?<!\d)(?P<y>\d{{4}}|[〇零一二三四五六七八九]{{4}})\s*年\s*(?P<m>\d{{1,2}}|{_SMALL_HAN})\s*月"
    rf"(?:\s*(?P<d>\d{{1,2}}|{_SMALL_HAN})\s*[日号])?",
    r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?!\d)",
    r"(?<![\d./-])(?P<d>\d{1,2})(?P<sep>[/.-])(?P<m>\d{1,2})(?P=sep)(?P<y>\d{4})(?![\d/])",
    rf"(?<![\d〇零一二三四五六七八九十])(?P<m>\d{{1,2}}|{_SMALL_HAN})\s*月\s*(?P<d>\d{{1,2}}|{_SMALL_HAN})\s*[日号]"
    rf"(?:{_UPTO}(?P<d2>\d{{1,2}}|{_SMALL_HAN})[日号])?",
    rf"\b(?P<m>{_MONTH})\b\.?\s+(?P<d>\d{{1,2}}){_TH}\b(?:{_UPTO}(?P<d2>\d{{1,2}}){_TH}\b(?!\s*(?:{_MONTH})\b))?"
    r"(?:\s*,?\s*(?P<y>\d{4})\b)?",
    rf"\b(?:(?P<d2>\d{{1,2}}){_TH}{_UPTO})?(?P<d>\d{{1,2}}){_TH}\s+(?:of\s+)?(?P<m>{_MONTH})\b\.?(?:\s*,?\s*(?P<y>\d{{4}})\b)?",
    rf"\b(?P<m>{_MONTH})\b\.?\s*,?\s+(?:of\s+)?(?P<y>\d{{4}})\b",
))  # fmt: skip
_MONTH_ALONE = re.compile(
    rf"(?P<before>\b(?:in|since|until|till|from|through|during|of|early|late|mid|last|next)[ -]+)?\b(?P<m>{_MONTH})\b"
    rf"|(?<![\d〇零一二三四五六七八九十廿卅.])(?P<n>\d{{1,2}}|{_SMALL_HAN})\s*月(?!\s*[\d〇零一二三四五六七八九十]+\s*[日号])",
    re.IGNORECASE,
)


def _dates(text: str) -> tuple[list[tuple[Date, ...]], str]:
    """The dates in a text, each with all its readings, and the text with blanks in their place."""
    text = text.translate(_LETTERS)
    found: list[tuple[Date, ...]] = []
    for pattern in _DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            year, month, day, other = (_date_part(parts.get(key)) for key in ("y", "m", "d", "d2"))
            readings = [(year, month, day)]
            if parts.get("sep") in ("/", "-"):
                readings.append((year, day, month))
            valid: list[Date] = [
                (y, m, d) for y, m, d in readings if m and 1 <= m <= 12 and (d is None or 1 <= d <= 31)
            ]
            if valid:
                found.append(tuple(valid))
                if month and other and other <= 31:
                    found.append(((year, month, other),))
                text = text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]
    return found, text


def _date_part(written: str | None) -> int | None:
    if not written:
        return None
    if written.lower() in MONTHS:
        return MONTHS[written.lower()]
    return int(written) if written.isdigit() else int(han_value(written) or 0)


def _months(text: str, *, loosely: bool) -> set[int]:
    """Months named without a day and a year. "May" and "March" are words, too: `loosely` takes any with a capital."""
    found = set()
    for match in _MONTH_ALONE.finditer(text.translate(_LETTERS)):
        if match["n"] or (match["m"][0].isupper() and (loosely or (match["before"] and not _name_follows(match)))):
            found.add(_date_part(match["m"] or match["n"]) or 0)
    return {month for month in found if 1 <= month <= 12}


def _name_follows(match: re.Match[str]) -> bool:
    """ "of April Smith" names no month."""
    return bool(re.match(r"['’]?\s*[A-Z][a-z]", match.string[match.end() : match.end() + 4]))


def _date_held(date: Date, held: set[Date], numbers_held: Sequence[Number]) -> bool:
    """Whether a date is among `held`, or its parts are: the day in one place and the year in another."""
    year, month, day = date
    fits = [other for other in held if other[1] == month and (day is None or other[2] == day)]
    if year is None or any(other[0] == year for other in fits):
        return bool(fits)
    return any(other[0] is None for other in fits) and any(float(year) in number.values for number in numbers_held)


# ---------------------------------------------------------------- units

_BELOW = re.compile(r"\s*(?:degrees?|°\s?[CF]?)?\s*(?:celsius|fahrenheit)?\s*below\s+(?:zero|freezing)", re.IGNORECASE)
_VERSION = re.compile(r"(?:\bversions?|\brelease|\bv|版本号?|版)[\s:为是]*$", re.IGNORECASE)
_BEFORE_CHRIST = re.compile(r"公元前$|(?<![之以年向目当年])前$")
_CHRIST_BEHIND = re.compile(r"\s?(?:(?P<bc>B\.?C\.?(?:E\.?)?)|A\.?D\.?|C\.?E\.?)(?![A-Za-z])")
_AD_BEFORE = re.compile(r"(?:\bA\.?D\.?\s?|公元)$")


def _unit(text: str, start: int, end: int, digits: str) -> Unit | None:
    """What is measured by the number text[start:end]; a version ("3.10") is of its own measure, and so is a year before Christ."""
    before = text[max(0, start - 12) : start]
    if digits.count(".") > 1 or ("." in digits and _VERSION.search(before)):
        return f"version {digits}", 1.0
    if _BEFORE_CHRIST.search(before) and text[end : end + 1] in "年世":
        return "BC", 1.0
    if era := _CHRIST_BEHIND.match(text, end):
        return ("BC" if era["bc"] else "AD"), 1.0
    if _AD_BEFORE.search(before):
        return "AD", 1.0
    found = unit_behind(text, end)
    if found is None:
        return currency_before(text, start)
    if text[found[1] - 1] == "年" and end - start == 4:  # 1998年 is a year, 20年 may be a time
        return None
    return found[0]


def _signed(value: float, text: str, start: int, end: int, unit: Unit | None) -> float:
    """Temperatures below zero are negative. Elsewhere a minus may be a dash, and "-5 %" be told as a loss of 5 %."""
    before = text[max(0, start - 8) : start]
    if before.endswith("零下") or _BELOW.match(text, end):
        return -value
    if (
        unit is not None
        and unit[0].startswith("degrees")
        and re.search(r"(?:(?<![A-Za-z\d)])-|\bminus\s|负)$", before, re.IGNORECASE)
    ):
        return -value
    return value


# ---------------------------------------------------------------- numbers


@lru_cache(maxsize=2000)
def numbers(text: str) -> tuple[Number, ...]:
    """The numbers of a folded text, in order; none inside another."""
    text = text.translate(_LETTERS)
    found: list[Number] = []
    taken = [False] * len(text)
    for read in _READERS:
        for number in read(text):
            if not any(taken[number.start : number.end]):
                taken[number.start : number.end] = [True] * (number.end - number.start)
                found.append(number)
    return tuple(sorted(found, key=lambda number: number.start))


def _number(
    text: str, match: re.Match[str], value: float, *others: float, digits: str = "", spelled: bool = True
) -> Number:
    unit = _unit(text, match.start(), match.end(), digits)
    values = tuple(_signed(each, text, match.start(), match.end(), unit) for each in (value, *others))
    return Number(values=values, start=match.start(), end=match.end(), unit=unit, spelled=spelled)


_DECADE = re.compile(
    r"(?:(?P<century>\d{2}|十[六七八九]|二十一?)世纪|(?P<last>上个?世纪))?(?P<tens>[1-9]0|[一二三四五六七八九]十)年代"
    r"|(?<![\d.,])['’]?(?P<short>[1-9]0)['’]?s\b"
)


def _decades(text: str) -> Iterator[Number]:
    for match in _DECADE.finditer(text):
        written = match["tens"] or match["short"]
        tens = float(written) if written.isdigit() else han_value(written) or 0.0
        century = match["century"] or ("20" if match["last"] else "")
        first = (float(century) if century.isdigit() else han_value(century) or 0.0) - 1 if century else 19.0
        values = (first * 100 + tens,) if century else (first * 100 + tens, tens)
        yield Number(values=values, start=match.start(), end=match.end())


_HOUR = re.compile(
    r"(?P<noon>下午|晚上|傍晚)\s*(?P<zh>\d{1,2}|[一二三四五六七八九十]{1,2})(?=\s*(?:[点时]|:\d\d))"
    r"|(?<![\d:.,])(?P<en>\d{1,2})(?=(?::\d\d)?\s*(?:pm\b|p\.m\.))",
    re.IGNORECASE,
)


_ON_THE_HOUR = re.compile(r"(?<=\d:)00(?!\d)")


def _hours(text: str) -> Iterator[Number]:
    """Of the twelve-hour clock after noon: 5 pm is 17, too."""
    for match in _HOUR.finditer(text):
        hour = _date_part(match["zh"] or match["en"]) or 0
        if hour <= 12:
            yield Number(values=(float(hour % 12 + 12), float(hour)), start=match.start(), end=match.end())
    for match in _ON_THE_HOUR.finditer(text):
        yield Number(values=(0.0,), start=match.start(), end=match.end(), loose=True)


_UNDER_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ENGLISH = {word: value for value, word in enumerate(_UNDER_TWENTY.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_ENGLISH_SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_IRREGULAR = "first:1 second:2 third:3 fifth:5 eighth:8 ninth:9 twelfth:12"
_ORDINALS = (
    {f"{word}th": value for word, value in _ENGLISH.items() if 4 <= value < 20}
    | {f"{word[:-1]}ieth": value for word, value in _ENGLISH.items() if value >= 20}
    | {word: int(value) for word, value in (pair.split(":") for pair in _IRREGULAR.split())}
)
_DENOMINATORS = {"third": 3, "thirds": 3, "quarter": 4, "quarters": 4} | {
    form: value for word, value in _ORDINALS.items() if 5 <= value <= 10 for form in (word, f"{word}s")
}
_HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000}
_HAN_SCALES = {"万": 10**4, "亿": 10**8}
_PLAIN_HAN = str.maketrans("壹贰叁肆伍陆柒捌玖拾佰仟萬億", "一二三四五六七八九十百千万亿")
_HAN_NUMBER = r"[零〇一二两三四五六七八九十百千万亿萬億廿卅]{1,30}(?:点[零〇一二三四五六七八九]{1,30}(?![零〇一二三四五六七八九十分刻]))?"
_FORMAL_HAN = "(?=.{0,3}[拾佰仟]|[壹贰叁肆伍陆柒捌玖万萬亿億]{2,9}[元圆])[壹贰叁肆伍陆柒捌玖拾佰仟零万萬亿億]{2,}"

_FRACTION = re.compile(
    rf"(?P<under>\d{{1,9}}|[一二两三四五六七八九十百千万亿]{{1,9}})分之(?P<over>\d{{1,9}}(?:\.\d{{1,9}})?|{_HAN_NUMBER})"
    rf"|\b(?P<n>{'|'.join(word for word, value in _ENGLISH.items() if 1 <= value < 10)})[- ](?P<d>{'|'.join(_DENOMINATORS)})\b"
    r"|(?<![A-Za-z\d./])(?:(?P<whole>\d{1,3})(?:\s|\s?又\s?))?(?P<a>[1-9]\d?)\s?/\s?(?P<b>[1-9]\d?)(?![A-Za-z\d/]|\.\d)",
    re.IGNORECASE,
)


def _fractions(text: str) -> Iterator[Number]:
    for match in _FRACTION.finditer(text):
        start, end = match.span()
        if match["under"]:
            under, over = (
                float(part) if part[0].isdigit() else _han_or_unit(part) for part in match.group("under", "over")
            )
        elif match["n"]:
            under, over = float(_DENOMINATORS[match["d"].lower()]), float(_ENGLISH[match["n"].lower()])
        else:
            under, over = float(match["b"]), float(match["a"])
        if not under:
            continue
        if match["under"] and under in (100, 1000):
            yield Number(values=(over,), start=start, end=end, unit=("%", 100 / under))
            continue
        share = over / under
        if match["whole"]:
            whole = float(match["whole"])
            unit = _unit(text, start, end, "")
            yield Number(values=(whole + share,), start=start, end=end, parts=(whole, share), unit=unit)
            continue
        parts = (over, under) if match["a"] else ()
        yield Number(values=(share, round(100 * share), round(100 * share, 1)), start=start, end=end, parts=parts)


def _han_or_unit(numeral: str) -> float:
    """百 in 百分之 is a hundred."""
    value = han_value(numeral)
    return float(_HAN_UNITS.get(numeral, 0)) if value is None else value


_SCALES = {
    "hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12,
    "k": 1e3, "m": 1e6, "mn": 1e6, "bn": 1e9, "b": 1e9, "tn": 1e12, "mio": 1e6, "mrd": 1e9, "lakh": 1e5, "crore": 1e7,
}  # fmt: skip
_TENTHS = "成(?![立为功员本长果语分绩人年都吉熟因就交])"
_DIGITS = re.compile(
    r"(?<![A-Za-z\d])(?P<digits>\d{1,3}(?:\.\d{3}){2,}(?![\d.])|\d{1,3}(?:[,，]\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d\d)+,\d{3}|\d+(?:\.\d+)*)"
    r"(?:\s*(?P<scale>(?i:hundred|thousand|million|billion|trillion|lakhs?|crores?|mn|bn|tn|mio|mrd)\b)|(?P<letter>[kKM]|m(?!\w)|B)\b"
    r"|\s*[余多]?(?P<han>(?!千[米克瓦卡赫字帕])[十百千万亿萬億]+(?:(?:\d+(?:\.\d+)?|[一二三四五六七八九两])[十百千万亿萬億]+)*)|\s*(?P<tenths>"
    + _TENTHS
    + "))?"
)
_DOTTED_GROUPS = re.compile(r"\d{1,3}(?:\.\d{3}){2,}")
_UPTO_SIGN = re.compile(r"\s*(?:[-–—~至到]|to)\s*[$€£¥]?")
_HAN_PARTS = re.compile(r"\d+(?:\.\d+)?|\D")
_CURRENCY = re.compile(r"[$€£¥]\s?$")
_YEARS = re.compile(r"(?P<century>1[0-9]|20)(?P<first>\d\d)\s?[-–—/]\s?$")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d.,]| \d)")


def _grouped(text: str) -> Iterator[Number]:
    """ "1 234" may be one number or two."""
    for match in _GROUPS.finditer(text):
        parts = tuple(float(part) for part in match.group().split())
        whole = float(match.group().replace(" ", ""))
        unit = _unit(text, match.start(), match.end(), "")
        yield Number(values=(whole,), start=match.start(), end=match.end(), parts=parts, unit=unit)


def _digits(text: str) -> Iterator[Number]:
    for match in _DIGITS.finditer(text):
        written = re.sub("[,，]", "", match["digits"])
        written = written.replace(".", "") if written.count(".") > 1 and _DOTTED_GROUPS.fullmatch(written) else written
        value = float(".".join(written.split(".")[:2]))
        if match["han"]:
            yield _number(
                text, match, _han_sum([value, *_HAN_PARTS.findall(match["han"].translate(_PLAIN_HAN))]), spelled=False
            )
        elif match["tenths"] and value <= 10:
            yield Number(values=(10 * value,), start=match.start(), end=match.end(), unit=("%", 1.0))
        elif match["letter"] in ("m", "B") and not _CURRENCY.search(text[: match.start()]):
            yield _number(
                text,
                re.compile(re.escape(match["digits"])).match(text, match.start()) or match,
                value,
                digits=written,
                spelled=False,
            )
        elif scale := (match["scale"] or match["letter"] or "").lower().removesuffix("s"):
            yield _number(text, match, value * _SCALES[scale], spelled=False)
        else:
            others = (
                *_second_year(text, match.start(), written),
                *_short_year(text, match),
                *_with_scale(text, match, value),
            )
            yield _number(text, match, value, *others, digits=written, spelled=False)


def _short_year(text: str, match: re.Match[str]) -> tuple[float, ...]:
    """98年 and '98 are 1998, too."""
    value = int(match["digits"]) if re.fullmatch(r"\d\d", match["digits"]) else 0
    if text[match.start() - 1 : match.start()] in ("'", "’") and match.start():
        return (1900.0 + value, 2000.0 + value)
    return (1900.0 + value,) if value >= 50 and text[match.end() : match.end() + 1] == "年" else ()


def _with_scale(text: str, match: re.Match[str], value: float) -> tuple[float, ...]:
    """The 10 of "$10–20 million" is ten million, too."""
    second = _UPTO_SIGN.match(text, match.end())
    further = _DIGITS.match(text, second.end()) if second else None
    if further is None:
        return ()
    scale = (further["scale"] or "").lower().removesuffix("s")
    han = further["han"] or ""
    return (value * _SCALES[scale],) if scale else (value * _HAN_SCALES[han],) if han in _HAN_SCALES else ()


def _second_year(text: str, start: int, written: str) -> tuple[float, ...]:
    """The 95 of 1990–95 is 1995, too."""
    years = _YEARS.search(text[max(0, start - 7) : start]) if len(written) == 2 else None
    return (float(years["century"] + written),) if years and written > years["first"] else ()


_WORD_NUMBERS = [*_ENGLISH, *_ORDINALS, *_ENGLISH_SCALES]
_ONE_WORD = "|".join(sorted(_WORD_NUMBERS, key=len, reverse=True))
_IN_WORDS = re.compile(
    rf"\b(?:(?:half\s+)?an?\s+(?=(?:{'|'.join(_ENGLISH_SCALES)})\b)|(?=(?:{'|'.join([*_ENGLISH, *_ORDINALS])})\b))"
    rf"(?:{_ONE_WORD})\b(?:(?:\s+and\s+|[ -]+)(?:{_ONE_WORD})\b){{0,20}}",
    re.IGNORECASE,
)
_ONE_OF_THEM = re.compile(rf"\b(?:half|and|{_ONE_WORD})\b", re.IGNORECASE)


def _in_words(text: str) -> Iterator[Number]:
    for run in _IN_WORDS.finditer(text):
        found = list(_ONE_OF_THEM.finditer(text, *run.span()))
        while found:
            value, ordinal, n_read = _composed([match.group().lower() for match in found])
            start, end = found[0].start(), found[n_read - 1].end()
            unit = None if ordinal else _unit(text, start, end, "")
            value = _signed(value, text, start, end, unit)
            yield Number(values=(value,), start=start, end=end, unit=unit, spelled=True, ordinal=ordinal)
            found = found[n_read:]
            while found and found[0].group().lower() == "and":
                found = found[1:]


def _composed(run: Sequence[str]) -> tuple[float, bool, int]:
    """The first number of a run of number words: its value, whether it is an ordinal, and how many words it takes."""
    total, section, last, n_read = 0.0, 0.0, "", 0
    for at, word in enumerate(run):
        if word == "half":
            section = 0.5
        elif word in _ENGLISH_SCALES:
            scale = _ENGLISH_SCALES[word]
            section = (section or 1.0) * scale
            if scale >= 1000:
                total, section = total + section, 0.0
        elif word == "and":
            if last not in _ENGLISH_SCALES:
                break
            continue
        else:
            value = _ENGLISH.get(word, _ORDINALS.get(word, 0))
            after_tens = last in _ENGLISH and _ENGLISH[last] >= 20 and 0 < value < 10
            if last and not after_tens and last not in _ENGLISH_SCALES:
                break
            section += value
        n_read, last = at + 1, word
        if word in _ORDINALS:
            return total + section, True, n_read
    return total + section, False, n_read


_HAN_FOUND = re.compile(
    rf"(?P<th>第)?(?P<han>{_FORMAL_HAN}|{_HAN_NUMBER})(?P<tenths>{_TENTHS}(?P<more>[一二三四五六七八九])?)?"
)
_AND_A_HALF = re.compile("(?:个半|(?P<unit>[年天倍岁斤里米吨])半)(?!年)")
_NO_NUMBER = re.compile("十(?:分(?![钟之])|足|字|全|几)|百[般姓货科]|千[万古](?=[不别要])")
_VAGUE = re.compile("[数几]$")  # 数十亿 is no certain number


def _in_han(text: str) -> Iterator[Number]:
    for match in _HAN_FOUND.finditer(text):
        value = han_value(match["han"])
        if value is None or _NO_NUMBER.match(text, match.start()) or _VAGUE.search(text[: match.start()]):
            continue
        if match["tenths"] and value <= 10:
            share = 10 * value + (han_value(match["more"]) or 0.0 if match["more"] else 0.0)
            yield Number(values=(share,), start=match.start(), end=match.end(), unit=("%", 1.0))
            continue
        start, end = match.start("han"), match.end("han")
        half = _AND_A_HALF.match(text, end)
        if half and not match["th"]:
            unit = ("months", 12.0) if half["unit"] == "年" else _unit(text, start, half.end(), "")
            yield Number(values=(value + 0.5,), start=start, end=half.end(), unit=unit, spelled=True)
            continue
        unit = None if match["th"] else _unit(text, start, end, "")
        value = _signed(value, text, start, end, unit)
        yield Number(values=(value,), start=start, end=end, unit=unit, spelled=True, ordinal=bool(match["th"]))


_LOOSE = (
    (re.compile(r"\bhalf\b|一半|半数|(?<=[^年月个两])半(?=小时|天|个月|年)", re.IGNORECASE), (0.5, 50.0)),
    (re.compile(r"\bquarter\b|四分之一", re.IGNORECASE), (0.25, 25.0)),
    (re.compile(r"\b(?:both|pair|couple|twice|twin|double)\b|双|俩", re.IGNORECASE), (2.0,)),
    (re.compile(r"\b(?:triple|trio|thrice)\b", re.IGNORECASE), (3.0,)),
)


_SPANS = (
    (re.compile(r"\bdecade\b", re.IGNORECASE), 10.0, ("months", 12.0)),
    (re.compile(r"(?<!\dth )(?<!\dst )\bcentury\b", re.IGNORECASE), 100.0, ("months", 12.0)),
    (re.compile(r"\bfortnight\b", re.IGNORECASE), 2.0, ("time", 604800.0)),
)


def _loose(text: str) -> Iterator[Number]:
    for pattern, values in _LOOSE:
        for match in pattern.finditer(text):
            unit = _unit(text, match.start(), match.end(), "")
            yield Number(values=values, start=match.start(), end=match.end(), unit=unit, spelled=True, loose=True)
    for pattern, value, unit_of_span in _SPANS:
        for match in pattern.finditer(text):
            yield Number(values=(value,), start=match.start(), end=match.end(), unit=unit_of_span, loose=True)


_ERAS = {"民国": 1911, "昭和": 1925, "平成": 1988, "令和": 2018, "大正": 1911, "明治": 1867}
_OF_ERA = re.compile(rf"(?P<era>{'|'.join(_ERAS)})(?P<n>\d{{1,3}}|元|{_HAN_NUMBER})年")
_POWER = re.compile(
    r"(?<![\w.])(?:(?P<times>\d+(?:\.\d+)?)\s?[x×*·]\s?)?10(?:\s?(?:\^|\*\*)\s?(?P<to>[-+]?\d{1,2})|的(?P<han>\d{1,2}|[一二三四五六七八九十]{1,3})次方)(?!\d)"
    r"|(?<![\w.])(?P<mantissa>\d+(?:\.\d+)?)[eE](?P<exponent>[-+]?\d{1,2})(?![\w.])"
)
_YEAR_WORDS = "|".join(word for word, value in _ENGLISH.items() if 15 <= value <= 20)
_YEAR_IN_WORDS = re.compile(
    rf"\b(?P<century>{_YEAR_WORDS})[ -](?P<year>(?:{_TENS.replace(' ', '|')})(?:[ -](?:{'|'.join(_UNDER_TWENTY.split()[1:10])}))?|{'|'.join(_UNDER_TWENTY.split()[10:])})\b",
    re.IGNORECASE,
)
_AND_PART = re.compile(
    rf"(?<![\w.])(?P<n>\d{{1,3}}|{'|'.join(word for word, value in _ENGLISH.items() if 1 <= value < 20)})[ -]and[ -](?P<part>a[ -]half|a[ -]quarter|three[ -]quarters|a[ -]third|two[ -]thirds)\b",
    re.IGNORECASE,
)
_PART = {"half": 0.5, "quarter": 0.25, "quarters": 0.75, "third": 1 / 3, "thirds": 2 / 3}
_TENTH_BEHIND = re.compile(
    r"(?<![\w.])(?P<n>\d{1,3}|[一两二三四五六七八九十]{1,3})(?P<unit>米|块|元)(?P<tenths>[1-9一二三四五六七八九])(?![\d.一二三四五六七八九十百千万米厘个])"
)


def _composed_ways(text: str) -> Iterator[Number]:
    """民国38年, 3×10^8, nineteen ninety-eight, two and a half, 1米8."""
    for match in _OF_ERA.finditer(text):
        n = 1 if match["n"] == "元" else _date_part(match["n"]) or 0
        yield Number(values=(float(_ERAS[match["era"]] + n),), start=match.start(), end=match.end())
    for match in _POWER.finditer(text):
        times = float(match["times"] or match["mantissa"] or 1)
        to = int(match["to"] or match["exponent"] or 0) if not match["han"] else _date_part(match["han"]) or 0
        unit = _unit(text, match.start(), match.end(), "")
        yield Number(values=(float(f"{times}e{to}"),), start=match.start(), end=match.end(), unit=unit)
    for match in _YEAR_IN_WORDS.finditer(text):
        century = float(_ENGLISH[match["century"].lower()])
        year, _, _ = _composed(re.split("[ -]", match["year"].lower()))
        yield Number(values=(100 * century + year,), start=match.start(), end=match.end(), parts=(century, year))
    for match in _AND_PART.finditer(text):
        whole = float(match["n"]) if match["n"].isdigit() else float(_ENGLISH[match["n"].lower()])
        value = whole + _PART[re.split("[ -]", match["part"].lower())[-1]]
        yield Number(
            values=(value,), start=match.start(), end=match.end(), unit=_unit(text, match.start(), match.end(), "")
        )
    for match in _TENTH_BEHIND.finditer(text):
        whole, tenths = (float(_date_part(match[key]) or 0) for key in ("n", "tenths"))
        unit = _UNITS_OF_TENTHS[match["unit"]]
        yield Number(
            values=(whole + tenths / 10,), start=match.start(), end=match.end(), parts=(whole, tenths), unit=unit
        )


_UNITS_OF_TENTHS = {"米": UNITS["米"], "块": UNITS["元"], "元": UNITS["元"]}
_ROMAN = re.compile(r"(?<=[A-Za-z] )(?=[IVX]{1,6}\b)(?P<tens>X{0,3})(?P<ones>IX|IV|V?I{0,3})\b")
_ROMAN_ONES = {ones: value for value, ones in enumerate(["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"])}
_GLUED = re.compile(r"(?<=[A-Za-z])\d{1,9}(?:\.\d+)*(?!\d)")


def _loosely(text: str) -> Iterator[Number]:
    """XIV is 14 and bears it out, but claims none, and so does the 2 of CO2; MH17 claims 17."""
    for match in _ROMAN.finditer(text):
        value = 10.0 * len(match["tens"]) + _ROMAN_ONES.get(match["ones"].upper(), 0)
        yield Number(values=(value,), start=match.start(), end=match.end(), loose=True)
    for match in _GLUED.finditer(text):
        value = float(".".join(match.group().split(".")[:2]))
        unit = _unit(text, match.start(), match.end(), match.group()) if "." in match.group() else None
        yield Number(values=(value,), start=match.start(), end=match.end(), unit=unit, loose=len(match.group()) == 1)


_READERS: tuple[Callable[[str], Iterator[Number]], ...] = (
    _decades,
    _hours,
    _composed_ways,
    _fractions,
    _grouped,
    _loosely,
    _digits,
    _in_words,
    _in_han,
    _loose,
)


def han_value(numeral: str) -> float | None:
    """Value of a Chinese numeral: 一百二十三 is 123, 二〇二四 is 2024, 三点五 is 3.5; None for what is none, such as 万."""
    plain = numeral.translate(_PLAIN_HAN).replace("廿", "二十").replace("卅", "三十")
    whole, _, tail = plain.partition("点")
    if whole[0] in _HAN_SCALES or not any(char in _HAN_DIGITS or char == "十" for char in whole):
        return None
    digits = "".join(str(_HAN_DIGITS[char]) for char in tail)
    if all(char in _HAN_DIGITS for char in whole):
        value = float("".join(str(_HAN_DIGITS[char]) for char in whole))
    else:
        value = _han_sum(list(whole))
    return value + float(f"0.{digits}") if digits else value


def _han_sum(parts: Sequence[str | float]) -> float:
    """The value of digits and units in order; 两千五 is 2500, and 两千零五 is 2005."""
    total, section, digit, last_unit = 0.0, 0.0, 0.0, 0
    for part in parts:
        if isinstance(part, float) or part[0].isdecimal():
            digit = float(part)
        elif part in _HAN_DIGITS:
            digit = _HAN_DIGITS[part]
            last_unit = last_unit if digit else 0
        elif part in _HAN_UNITS:
            last_unit = _HAN_UNITS[part]
            section, digit = section + (digit or 1) * last_unit, 0.0
        else:
            last_unit = _HAN_SCALES[part]
            if last_unit == 10**8:
                total, section, digit = (total + section + digit or 1) * last_unit, 0.0, 0.0
            else:
                total, section, digit = total + (section + digit or 1) * last_unit, 0.0, 0.0
    return total + section + (digit * last_unit / 10 if last_unit > 10 else digit)


# ---------------------------------------------------------------- what a text holds


def _held_numbers(text: str) -> list[Number]:
    """The numbers of a text, in dates too, and those that can be read out of it another way."""
    return [*numbers(text), *_sums(text), *_loose(text.translate(_LETTERS))]


_BETWEEN_PARTS = re.compile(r"[\s,]*(?:and\b|又|零)?\s*", re.IGNORECASE)


def _sums(text: str) -> Iterator[Number]:
    """What is written in two units, the smaller behind: 1 h 30 min is one and a half hours."""
    for one, two in pairwise(numbers(text)):
        if one.unit and two.unit and one.unit[0] == two.unit[0] and one.unit[1] > two.unit[1]:
            behind = unit_behind(text, one.end)
            if behind and _BETWEEN_PARTS.fullmatch(text, behind[1], two.start):
                value = one.values[0] + two.values[0] * two.unit[1] / one.unit[1]
                yield Number(values=(value,), start=one.start, end=two.end, unit=one.unit)


def _outside(found: Sequence[Number], whole: Sequence[Number]) -> list[Number]:
    """The numbers that are part of none of `whole`."""
    return [one for one in found if not any(other.start <= one.start and one.end <= other.end for other in whole)]


def _is_held(number: Number, held: Sequence[Number]) -> bool:
    if any(_equal(number, other) for other in held):
        return True
    return bool(number.parts) and all(
        any(_close(part, value) for other in held for value in other.values) for part in number.parts
    )


def _equal(number: Number, other: Number) -> bool:
    """Whether two numbers can be the same amount. Without a unit a number may be of any."""
    mine, theirs = number.values, (*other.values, *other.parts)
    if number.unit is None or other.unit is None:
        return any(_close(one, two) for one in mine for two in theirs)
    if number.unit[0] != other.unit[0]:
        return False
    return any(_close(one * number.unit[1], two * other.unit[1]) for one in mine for two in theirs)


def _close(one: float, two: float) -> bool:
    return one == two or abs(one - two) <= 1e-9 * max(1.0, abs(one))


_MEASURE = re.compile("[个名位项次艘座种场条届枚家件部本张只所支架台辆]")
_CLAUSE_END = re.compile(r"[,.;:!?，。；：！？、()（）]")
_LONG_TERM = 4  # characters of a Chinese term that is a name as good as


def _another_counted(number: Number, sentence: str, text: str, held: Sequence[Number]) -> bool:
    """Whether `text` counts what a small number in words counts, and comes to another number.

    "One" and "first" are mostly no counts.
    """
    value = number.values[0]
    if number.loose or value < 2:
        return False
    mine = _counted(sentence, number)
    for other in held:
        if other.loose or other.ordinal != number.ordinal or other.unit and other.unit[0] == "%":
            continue
        shared = mine & _counted(text, other)
        if number.unit and number.unit == other.unit and other.values[0] >= 2:
            return True
        if other.values[0] < 2:
            shared = {term for term in shared if number.ordinal and len(term) >= _LONG_TERM and is_han(term[0])}
        if shared:
            return True
    return False


def _counted(text: str, number: Number) -> set[str]:
    """The terms right behind a number: in Chinese two after the measure word, in English up to three."""
    rest = text[number.end : number.end + 40]
    if measure := _MEASURE.match(rest):
        rest = rest[measure.end() :]
    rest = _CLAUSE_END.split(rest)[0]
    if not rest.strip():
        return set()
    if is_han(rest.lstrip()[0]):
        return {*rest.lstrip()[:1].replace("的", ""), *words(rest.lstrip()[:6])[:3]} - {"年", "月", "日"}
    return {term for term in words(rest)[:3] if term.isalpha()}
