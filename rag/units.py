"""Units of measure and currencies in English and Chinese: one table of how they are written, what they measure and how much they are."""

from __future__ import annotations

import re

from rag.text import is_han

Unit = tuple[str, float]
"""what it measures, and how much of the common unit of that it is: a kilometre is ("length", 1000)"""

UNITS: dict[str, Unit] = {
    name: (measure, size)
    for measure, size, names in (
        ("length", 1e-3, "mm millimetre millimeter 毫米"), ("length", 1e-2, "cm centimetre centimeter 厘米"),
        ("length", 1.0, "m metre meter 米 公尺"), ("length", 1e3, "km kilometre kilometer 公里 千米"),
        ("length in feet", 1.0, "ft foot feet 英尺"), ("length in miles", 1.0, "mile mi 英里"), ("length in inches", 1.0, "inch inches 英寸"),
        ("mass", 1e-3, "g gram gramme 克"), ("mass", 1e-6, "mg milligram 毫克"), ("mass", 1.0, "kg kilogram kilogramme kilo 公斤 千克"),
        ("mass", 1e3, "ton tonne t 吨"), ("mass", 0.5, "斤"), ("area", 1e4, "hectare ha 公顷"),
        ("volume", 1.0, "l litre liter 升"), ("volume", 1e-3, "ml millilitre milliliter 毫升"),
        ("time", 1.0, "second sec s 秒"), ("time", 60.0, "minute min 分钟"), ("time", 3600.0, "hour hr h 小时 个小时 钟头 个钟头"),
        ("time", 86400.0, "day 天"), ("time", 604800.0, "week wk 周 星期 个星期"),
        ("months", 1.0, "month 个月"), ("months", 12.0, "year yr 年"), ("months", 120.0, "decade"),
        ("power", 1.0, "watt 瓦"), ("power", 1e3, "kw kilowatt 千瓦"), ("power", 1e6, "mw megawatt 兆瓦"), ("power", 1e9, "gw gigawatt"),
        ("frequency", 1.0, "hz hertz 赫兹"), ("frequency", 1e3, "khz 千赫"), ("frequency", 1e6, "mhz 兆赫"), ("frequency", 1e9, "ghz 吉赫"),
        ("kilobytes", 1.0, "kb kilobyte"), ("megabytes", 1.0, "mb megabyte"), ("gigabytes", 1.0, "gb gigabyte"), ("terabytes", 1.0, "tb terabyte"),
        ("%", 1.0, "% percent 个百分点"), ("%", 0.1, "‰"), ("degrees", 1.0, "° degree °c 度 摄氏度"), ("degrees F", 1.0, "°f"),
        ("people", 1.0, "people person 人"),
        ("length", 1e3, "km/h kph 公里/小时 千米/小时 公里每小时 千米每小时"),  # 时速100公里 says it without the hour
        ("length in miles", 1.0, "mph 英里/小时 英里每小时"),
        ("$", 1.0, "dollar usd 美元 美金"), ("$", 0.01, "cent 美分"), ("€", 1.0, "euro eur 欧元"), ("£", 1.0, "pound gbp lb 英镑 磅"),
        ("¥", 1.0, "yuan rmb cny 元 人民币"),
    )
    for name in names.split()
}  # fmt: skip
CURRENCIES = {
    "$": "$",
    "€": "€",
    "£": "£",
    "¥": "¥",
    "usd": "$",
    "eur": "€",
    "gbp": "£",
    "rmb": "¥",
    "cny": "¥",
    "人民币": "¥",
}
_SQUARES = {"length": "area"}
_LATIN = "|".join(sorted((re.escape(n) for n in UNITS if n[0].isascii() and n[0].isalpha()), key=len, reverse=True))
_HAN = "|".join(sorted((n for n in UNITS if is_han(n[0])), key=len, reverse=True))
_UNIT = re.compile(
    r"\s?-?\s?[多余来]?(?P<power>square\s|sq\.?\s|平方|cubic\s|立方)?"
    r"(?P<unit>per\s?cent(?:age points?)?|degrees?\s+fahrenheit|(?P<kmh>kilomet(?:re|er)s per hour|km per hour)|(?P<mph>miles per hour)"
    rf"|(?:{_LATIN})s?(?P<raised>[23])?(?![\w/])(?!\s+per\b)|%|‰|°\s?[CF]\b|°|(?:{_HAN})(?!\s*[/每]))",
    re.IGNORECASE,
)
_NOT_PEOPLE = re.compile("民币|次|均|工|类|体|口|物|才|员|事|文|权|种|格")
_CURRENCY_BEFORE = re.compile(r"([$€£¥]|\b(?:USD|EUR|GBP|RMB|CNY)|人民币)\s?$", re.IGNORECASE)


def unit_behind(text: str, at: int) -> tuple[Unit, int] | None:
    """The unit that text[at:] begins with, and where it ends."""
    match = _UNIT.match(text, at)
    if not match or (match["unit"] == "人" and _NOT_PEOPLE.match(text, match.end())):
        return None
    name = re.sub(r"\s", "", match["unit"].lower())
    name = "%" if name.startswith("percent") else "°f" if "fahrenheit" in name else name
    name = "km/h" if match["kmh"] else "mph" if match["mph"] else name.removesuffix(match["raised"] or "")
    measure, size = UNITS.get(name) or UNITS[name.removesuffix("s")]
    power = (match["power"] or match["raised"] or "").lower()
    if power:
        exponent = 3 if power.startswith(("cubic", "立", "3")) else 2
        return (
            (_SQUARES.get(measure, f"{measure}^2") if exponent == 2 else f"{measure}^3"),
            size**exponent,
        ), match.end()
    return (measure, size), match.end()


def currency_before(text: str, at: int) -> Unit | None:
    """The currency whose sign or code stands right before text[at:]."""
    match = _CURRENCY_BEFORE.search(text[max(0, at - 5) : at])
    return (CURRENCIES[match[1].lower()], 1.0) if match else None
