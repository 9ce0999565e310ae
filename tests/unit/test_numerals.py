"""Numbers, dates and units in English and Chinese, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.numerals import found_dates, found_numbers, han_value, missing_numbers, numbers_and_dates


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("May 1, 2024", {"2024-5-1"}),
        ("1 May 2024", {"2024-5-1"}),
        ("the 1st of May 2024", {"2024-5-1"}),
        ("2024-05-01", {"2024-5-1"}),
        ("2024/5/1", {"2024-5-1"}),
        ("2024年5月1日", {"2024-5-1"}),
        ("２０２４年５月１日", {"2024-5-1"}),
        ("5月1日", {"5-1"}),
        ("May 2024", {"2024-5"}),
        ("1,234 units", {"1234"}),
        ("1234 units", {"1234"}),
        ("一千二百三十四", {"1234"}),
        ("12.5%", {"12.5"}),
        ("12.5 percent", {"12.5"}),
        ("百分之十二点五", {"12.5"}),
        ("三成", {"30"}),
        ("30%", {"30"}),
        ("1.2亿", {"120000000"}),
        ("120 million", {"120000000"}),
        ("一亿二千万", {"120000000"}),
        ("twenty-five", {"25"}),
        ("two thousand", {"2000"}),
        ("the 19th century", {"19"}),
        ("the 1990s", {"1990"}),
        ("O2 and one man", set()),
        ("一些人万一", set()),
    ],
)
def test_numbers_and_dates_have_one_key_however_they_are_written(text: str, keys: set[str]) -> None:
    assert numbers_and_dates(text) == keys


@pytest.mark.parametrize(
    ("numeral", "value"),
    [("一百二十三", 123), ("十", 10), ("十五", 15), ("二十", 20), ("一百零五", 105), ("二〇二四", 2024), ("三点五", 3.5),
     ("两万三千", 23_000), ("十万", 100_000), ("一亿零五百", 100_000_500), ("万", None), ("亿万", None)],
)  # fmt: skip
def test_chinese_numerals(numeral: str, value: float | None) -> None:
    assert han_value(numeral) == value


@given(st.integers(0, 10**12 - 1))
def test_a_chinese_numeral_written_by_rule_reads_back(value: int) -> None:
    assert han_value(to_han(value)) == value


@pytest.mark.parametrize(
    ("claimed", "text"),
    [
        ("It has 2 engines", "It has two engines"),
        ("约1万2千人", "12000人"),
        ("3亿5000万", "3.5亿"),
        ("5千万", "50000000"),
        ("1.5百万", "1500000"),
        ("公司于1995年成立", "公司1995年成立"),
        ("于1995成立", "1995"),
        ("占1/3", "三分之一"),
        ("四分之三", "75%"),
        ("two-thirds of it", "66.7%"),
        ("-5度", "零下五度"),
        ("a loss of 5%", "-5%"),
        ("5 degrees below zero", "-5 °C"),
        ("温差10-15度", "10到15度"),
        ("1990s", "上世纪九十年代"),
        ("20世纪90年代", "1990s"),
        ("19世纪60年代", "1860s"),
        ("the 70's", "early 1970s"),
        ("5:30 pm", "17:30"),
        ("下午5点半", "17:30"),
        ("3 pm", "15:00"),
        ("17:00", "5 p.m."),
        ("01/05/2024", "1 May 2024"),
        ("May 1, 2024", "5/1/2024"),
        ("5 May 2024", "1–5 May 2024"),
        ("5月5日", "5月1日至5日"),
        ("2024年5月1日", "01.05.2024"),
        ("1990–95", "from 1990 to 1995"),
        ("1995", "1990-95"),
        ("pages 90-95", "pages 90 to 95"),
        ("1.5公里", "1500 metres"),
        ("90 minutes", "1.5 hours"),
        ("90分钟", "一个半小时"),
        ("两年半", "30个月"),
        ("30%", "百分之三十"),
        ("30 m", "30 metres"),
        ("$30m", "$30 million"),
        ("5k", "5,000"),
        ("US$1.5M", "1.5 million"),
        ("5 kg", "5公斤"),
        ("5 tonnes", "5000 kg"),
        ("30 sq km", "30 square kilometres"),
        ("30 km/h", "30 km per hour"),
        ("Python version 3.10", "Python 3.10"),
        ("$3.10", "$3.1"),
        ("two hundred and fifty", "250"),
        ("one hundred twenty-three", "123"),
        ("a hundred", "100"),
        ("two and three", "2, 3"),
        ("five hundred thousand", "500,000"),
        ("one million two hundred thousand", "1.2 million"),
        ("half a million", "500,000"),
        ("two dozen", "24"),
        ("twelfth", "12th"),
        ("twenty-first", "21st"),
        ("1 234", "1234"),
        ("1,234", "1 234"),
        ("两千五", "2500"),
        ("三万五", "35000"),
        ("一百二", "120"),
        ("二百五十", "250"),
        ("百分之百", "100%"),
        ("七成五", "75%"),
        ("壹佰贰拾", "120"),
        ("壹万贰仟元", "12000"),
        ("廿五", "25"),
        ("千分之三", "3‰"),
        ("千分之三", "0.3%"),
        ("二○二四年", "2024"),
        ("二十一世纪", "21st century"),
        ("两个发动机", "both engines"),
        ("three reasons", "the first reason; another reason"),
        ("They have two children", "one son and one daughter, his two wives"),
        ("There are three teams.", "Team A, team B and team C"),
        ("in May", "1 May 2024"),
        ("五月开幕", "2024年5月1日"),
        ("It may be in March", "it is in March"),
        ("三个月", "3 months"),
        ("六个月", "half a year"),
        ("24/7", "24 hours, 7 days"),
        ("9/11 attacks", "September 11; 9/11"),
        ("2024年五月一日", "2024-05-01"),
        ("The 2nd Battalion", "second battalion"),
        ("第2名", "second"),
        ("20多人", "二十多人"),
        ("1.2 trillion", "1.2万亿"),
        ("陆羽", "x"),
        ("一九四九年", "1949"),
        ("about 30 people", "30人"),
        ("30人民币", "30元"),
        ("5-year plan", "five-year plan"),
        ("a 30-metre wall", "30 m wall"),
        ("3 000 000", "3 million"),
        ("No. 5", "number five"),
        ("Louis XIV", "x"),
        ("第十二届", "12th"),
        ("三四十人", "三四十人"),
        ("Windows 3.11", "3.11"),
        ("April Smith", "x"),
        ("两年", "24个月"),
        ("6300千米", "6300公里"),
        ("100 degrees Celsius", "100°C"),
        ("100℃", "100摄氏度"),
        ("1998年", "1998"),
        ("20年", "20 years"),
        ("2020年", "2020年"),
        ("第三年", "the third year"),
        ("三年级", "grade 3"),
        ("in 12 June", "12 June"),
        ("1½ hours", "1.5 hours"),
        ("1 1/2 cups", "1.5 cups"),
        ("two and a half years", "2.5 years"),
        ("12'345 people", "12,345 people"),
        ("1.234.567", "1,234,567"),
        ("1,50,000 rupees", "150,000 rupees"),
        ("5 lakh", "500,000"),
        ("1.2 bn", "1.2 billion"),
        ("$10-20 million", "10 million to 20 million dollars"),
        ("1~2万", "10000至20000"),
        ("130余万", "1.3 million"),
        ("数十亿人", "many people"),
        ("十几万人", "many people"),
        ("这十分重要", "这很重要"),
        ("在十字路口", "在路口"),
        ("九点三十分", "9:30"),
        ("3×10⁸", "300,000,000"),
        ("6.02e23", "6.02×10^23"),
        ("10的6次方", "1 million"),
        ("nineteen ninety-eight", "1998"),
        ("twenty twenty-four", "2024"),
        ("98年", "1998年"),
        ("in '98", "1998"),
        ("民国三十八年", "1949年"),
        ("令和6年", "2024"),
        ("公元前221年", "221 BCE"),
        ("230 BC", "from 230 to 221 BC"),
        ("World War 2", "World War II"),
        ("Type 2 diabetes", "type II diabetes"),
        ("COVID19", "COVID-19"),
        ("FY2024", "fiscal 2024"),
        ("CO2", "carbon dioxide"),
        ("ISO 9001", "ISO9001"),
        ("15-03-2024", "15 March 2024"),
        ("20240315", "2024-03-15"),
        ("2024-03-15T10:00:00Z", "15 March 2024 at 10"),
        ("1米8", "1.8米"),
        ("三斤半", "3.5斤"),
        ("3个星期", "21天"),
        ("500 ml", "0.5 L"),
        ("100 km²", "100平方公里"),
        ("100 km/h", "时速100公里"),
        ("1 hour 30 minutes", "90 minutes"),
        ("90分钟", "1小时30分钟"),
        ("30 minutes", "1 hour 30 minutes"),
        ("$5", "5美元"),
        ("50 cents", "$0.50"),
        ("RMB 5 million", "500万元"),
        ("500 yen", "¥500"),
        ("十年", "a decade"),
        ("两个世纪", "200年间的两个世纪"),
    ],
)
def test_a_number_is_held_however_it_is_written(claimed: str, text: str) -> None:
    assert missing_numbers(claimed, text) == set()


@pytest.mark.parametrize(
    ("claimed", "text"),
    [
        ("two-thirds", "three-quarters"),
        ("5 degrees", "-5 degrees"),
        ("19世纪60年代", "1960s"),
        ("4 pm", "15:00"),
        ("3 May 2024", "May 1-5, 2024"),
        ("1990-96", "1990 to 1995"),
        ("30 kilometres", "30 metres"),
        ("30公里", "30米"),
        ("30 percent", "30 people"),
        ("$3mn", "$3bn"),
        ("30 square km", "30 km"),
        ("Version 3.1", "Version 3.10"),
        ("3.10.4", "3.10.2"),
        ("the twenty-second", "21st"),
        ("两千五", "2005"),
        ("六个发动机", "五个发动机"),
        ("It has six engines", "It has five engines."),
        ("seven awards", "5 awards"),
        ("八人参加", "七人参加"),
        ("第二次世界大战", "第一次世界大战"),
        ("the third race", "the second race"),
        ("in June", "in May"),
        ("六月开幕", "五月开幕"),
        ("二〇二四年六月一日", "1 May 2024"),
        ("二〇二四年五月八日", "2024年5月1日"),
        ("三年", "两年保修"),
        ("六个月", "三个月"),
        ("100 °F", "100 °C"),
        ("九十年", "1990"),
        ("$5", "€5"),
        ("5美元", "5元"),
        ("5 kW", "5 MW"),
        ("20 MB", "20 GB"),
        ("1.5 L", "1.5 ml"),
        ("100 km²", "100 m²"),
        ("100 km/h", "100 mph"),
        ("3斤", "3公斤"),
        ("2 pounds", "2 kg"),
        ("221 BC", "221 AD"),
        ("民国三十八年", "1948年"),
        ("3×10^8", "3×10^6"),
        ("nineteen ninety-eight", "1999"),
        ("伍万元", "陆万元"),
        ("flight MH17", "flight MH16"),
        ("2 hours and 20 minutes", "130 minutes"),
    ],
)
def test_another_number_unit_date_or_count_is_missing(claimed: str, text: str) -> None:
    assert missing_numbers(claimed, text)


def test_missing_numbers_are_named() -> None:
    assert missing_numbers("It cost $3,500 in 2019.", "The 2019 price was 3500 dollars.") == set()
    assert missing_numbers("It cost $3,600 in 2019.", "The 2019 price was 3500 dollars.") == {"3600"}
    assert missing_numbers("on May 3, 2019", "on 3 May; the year was 2019") == set()


def test_dates_with_two_readings_count_as_both() -> None:
    assert found_dates("on 01/05/2024")[0] == {(2024, 5, 1), (2024, 1, 5)}


def test_found_numbers_say_where_they_stand() -> None:
    text = "It has two of 1.5 million, and the second is 百分之五."
    found = list(found_numbers(text, spelled_from=2))
    assert [(number.values[0], text[number.start : number.end]) for number in found] == [
        (2.0, "two"),
        (1_500_000.0, "1.5 million"),
        (5.0, "百分之五"),
    ]


@pytest.mark.parametrize("text", ["5 mİles", "5 mıles", "fİve thİrds", "5 miſ", "May ı5, aprİl 2024", "٣٤ km"])
def test_letters_that_are_the_same_but_for_case_are_no_trouble(text: str) -> None:
    assert missing_numbers(text, text) == set()


@given(st.text(max_size=200))
def test_any_text_holds_its_own_numbers(text: str) -> None:
    assert missing_numbers(text, text) == set()


def to_han(value: int) -> str:
    """A numeral by the book, written here without looking at the parser."""
    if value >= 10**8:
        rest = value % 10**8
        return to_han(value // 10**8) + "亿" + (("零" if rest < 10**7 else "") + to_han(rest) if rest else "")
    if value >= 10**4:
        rest = value % 10**4
        return to_han(value // 10**4) + "万" + (("零" if rest < 1000 else "") + to_han(rest) if rest else "")
    digits, text, gap = "零一二三四五六七八九", "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit:
            text += ("零" if gap and text else "") + digits[digit] + name
            gap = False
        else:
            gap = True
    return text or "零"
