"""Documents that contradict each other, and those that only look as if they did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.conflicts import conflicts, document_date, facts
from rag.types import Citation, Hit


def hit(text: str, doc_id: str, *, title: str = "", date: str = "") -> Hit:
    return Hit(
        rank=1, chunk_id=f"{doc_id}#100-{100 + len(text)}", doc_id=doc_id, source=f"{doc_id}.txt", title=title, score=1.0, text=text,
        start=100, end=100 + len(text), context=title, metadata={"date": date} if date else {},
    )  # fmt: skip


def citation(cited: Hit) -> Citation:
    return Citation(marker=1, chunk_id=cited.chunk_id, doc_id=cited.doc_id, source=cited.source, title=cited.title, quote=cited.text,
                    start=cited.start, end=cited.end, page=None, supported=True)  # fmt: skip


def between(one: str, other: str, **about: str) -> list[tuple[str, list[tuple[str, ...]]]]:
    old, new = hit(one, "old", date="2019-05-01", **about), hit(other, "new", date="2024-05-01", **about)
    found = conflicts([citation(old)], [old, new])
    assert [[side.doc_id for side in each.sides] for each in found] in ([], [["new", "old"]])  # the newest first
    return [(each.kind, [side.values for side in each.sides]) for each in found]


@pytest.mark.parametrize(
    ("one", "other", "kind", "values"),
    [
        ("The tower is 330 metres tall.", "The tower is 324 metres tall.", "number", [("324",), ("330",)]),
        ("Green tea is brewed at 75 degrees for two minutes.", "Green tea is brewed at 80 degrees.", "number", [("80",), ("75",)]),
        ("The ticket costs $30.", "The ticket costs about $35 now.", "number", [("35",), ("30",)]),
        ("The office was opened on 1 May 2020.", "The office was opened on May 3, 2021.", "date", [("2021-5-3",), ("2020-5-1",)]),
        ("The Eddystone lighthouse was lit in 1759.", "The lighthouse was lit in 1760.", "date", [("1760",), ("1759",)]),
        ("The valve is not approved for gas.", "The valve is approved for gas.", "negation", [(), ()]),
        ("绿茶用75度的水冲泡。", "绿茶用八十度的水冲泡。", "number", [("八十",), ("75",)]),
        ("去年利润增长百分之三十。", "去年利润增长25%。", "number", [("25",), ("百分之三十",)]),
        ("员工每年有15天年假。", "员工每年有十天年假。", "number", [("十",), ("15",)]),
        ("公司成立于1998年。", "公司成立于1999年。", "date", [("1999",), ("1998",)]),
        ("该药物不适用于儿童。", "该药物适用于儿童。", "negation", [(), ()]),
        ("The bridge was designed by Alice Brown.", "The bridge was designed by Carol Smith.", "name", [("Carol Smith",), ("Alice Brown",)]),
        ("The society was founded by J. Hall in 1850.", "The society was founded in 1851 by Mary Low.", "name",
         [("Mary Low", "1851"), ("J. Hall", "1850")]),
        ("祁门红茶由余干臣于1875年创制。", "祁门红茶由胡元龙创制。", "name", [("胡元龙",), ("余干臣",)]),
        ("《茶经》由唐代的陆羽撰写。", "《茶经》由李白撰写。", "name", [("李白",), ("陆羽",)]),
        ("The bridge is 30 m long.", "The bridge is 40 metres long.", "number", [("40",), ("30",)]),
        ("The race is 5 km long.", "The race is 10 kilometers long.", "number", [("10",), ("5",)]),
        ("The parcel weighs 3kg.", "The parcel weighs 4 kilograms.", "number", [("4",), ("3",)]),
        ("包裹重5公斤。", "包裹重6公斤。", "number", [("6",), ("5",)]),
        ("全程长300多公里。", "全程长250公里。", "number", [("250",), ("300",)]),
        ("The lease runs for 5 years.", "The lease runs for seven years.", "number", [("seven",), ("5",)]),
        ("这座湖的面积为5平方公里。", "这座湖的面积为6平方千米。", "number", [("6",), ("5",)]),
        ("门票价格为￥12。", "门票价格为15元。", "number", [("15",), ("12",)]),
        ("Growth was 3% in 2020.", "Growth was 4% in 2020.", "number", [("4",), ("3",)]),
        ("The museum was opened in 2024.", "The museum was opened on 1 May 2023.", "date", [("2023-5-1",), ("2024",)]),
        ("The museum was opened in May 2024.", "The museum was opened in June 2024.", "date", [("2024-6",), ("2024-5",)]),
        ("The city has 1.2 million people.", "The city has 1.3 million people.", "number", [("1.3 million",), ("1.2 million",)]),
        ("The lift carries about 300 people.", "The lift carries 400 people.", "number", [("400",), ("300",)]),
        ("It needs at least 8 GB of memory.", "It needs at least 16 gigabytes of memory.", "number", [("16",), ("8",)]),
        ("The hall holds more than 300 people.", "The hall holds 250 people.", "number", [("250",), ("300",)]),
        ("该塔高300至330米。", "该塔高350米。", "number", [("350",), ("300至330",)]),
        ("The bridge is 1 km long.", "The bridge is 900 m long.", "number", [("900",), ("1",)]),  # of another size
        ("The tank holds 2 litres.", "The tank holds 3000 ml.", "number", [("3000",), ("2",)]),
        ("The lease runs for 5 years.", "The lease runs for 48 months.", "number", [("48",), ("5",)]),
        ("The trip takes 3 to 5 hours.", "The trip takes 600 minutes.", "number", [("600",), ("3 to 5",)]),
        ("The trip takes 3 hours and 20 minutes.", "The trip takes 3 hours and 10 minutes.", "number", [("3 hours and 10",), ("3 hours and 20",)]),
        ("The temple was built in 221 BC.", "The temple was built in 210 BC.", "number", [("210",), ("221",)]),
    ],
)  # fmt: skip
def test_documents_that_differ(one: str, other: str, kind: str, values: list[tuple[str, ...]]) -> None:
    assert between(one, other) == [(kind, values)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Green tea is brewed at 75 degrees.", "Black tea is brewed at 95 degrees."),  # another subject
        ("绿茶用75度的水冲泡。", "红茶用95度的水冲泡。"),
        ("Marie Curie won the prize in 1903.", "Pierre Curie won the prize in 1904."),
        ("Version 3 supports 10 users.", "Version 4 supports 20 users."),  # a number that names
        ("The population is 3.5 million people.", "The population is 3,500,000 people."),  # written otherwise
        ("The shop opens on 1 May 2024.", "The shop opens on 2024-05-01."),
        ("The ticket costs $30.", "The ticket costs 25 euros."),  # of another kind
        ("The room holds 30 people.", "The room is 30 metres long and holds 30 people."),
        ("Tea was first grown in China.", "Tea was first grown in China."),
        ("The bridge was designed by Alice Brown.", "The bridge was designed by A. Brown and Carol Smith."),
        ("The bridge was designed by Alice Brown.", "The tunnel was designed by Carol Smith."),
        ("The film was reviewed by Alice Brown.", "The film was reviewed by Carol Smith."),  # by many
        ("祁门红茶由余干臣于1875年创制。", "滇红由冯绍裘创制。"),
        ("祁门红茶由余干臣创制。", "祁门红茶由茶商余干臣于1875年创制。"),
        ("The tower is 324 metres tall.", "The tower is about 320 metres tall."),  # rounded
        ("The tower is 324 m tall.", "The tower is nearly 330 metres tall."),
        ("该塔高324米。", "该塔高320米左右。"),
        ("该塔高324米。", "该塔高约300米。"),
        ("The city has 3.5 million people.", "The city has 3,512,000 people."),
        ("The tower is 300 to 330 metres tall.", "The tower is 324 metres tall."),  # within a range or a bound
        ("The tower is 300 m to 330 m tall.", "The tower is 324 metres tall."),
        ("该塔高300米至330米。", "该塔高324米。"),
        ("The hall holds more than 300 people.", "The hall holds 324 people."),
        ("该会场可容纳300多人。", "该会场可容纳324人。"),
        ("该会场可容纳不超过300人。", "该会场可容纳250人。"),
        ("The bridge was opened in May 2024.", "The bridge was opened on 1 May 2024."),  # as far as both say something
        ("大桥于2024年5月通车。", "大桥于2024年5月1日通车。"),
        ("大桥于2024年通车。", "大桥于2024年5月1日通车。"),
        ("The bridge is 1 km long.", "The bridge is 1,000 m long."),
        ("The lease runs for 5 years.", "The lease runs for 60 months."),
        ("The trip takes 3 to 5 hours.", "The trip takes 240 minutes."),
        ("The trip takes 3 hours and 20 minutes.", "The trip takes 200 minutes."),
        ("门票价格为￥12。", "门票价格为15美元。"),
        ("这座湖的面积为5平方公里。", "这座湖的面积为5000000平方米。"),
        ("租期为3个月。", "租期为5个房间。"),
        ("The firm was sold in 1998.", "The firm was sold after 5 years."),
        ("The price rose by 12.5 % to $30.", "The price rose to $30."),
        ("The firm was sold in 1998 or more.", "The firm was sold in 1998."),
        ("The trip takes between 3 and 5 hours.", "The trip takes 4 h."),
        ("价格上涨3%至5%。", "价格上涨4%。"),
        ("Growth was 3% in 2020.", "Growth was 4% in 2021."),  # each of its own time
        ("Revenue growth of the shop was 3% in 2020.", "Revenue growth of the shop was 4% in 2021."),
    ],
)  # fmt: skip
def test_documents_that_do_not(one: str, other: str) -> None:
    assert between(one, other) == []


def test_a_heading_tells_the_subject() -> None:
    assert between("It is 330 metres tall.", "The tower is 324 metres tall.", title="The tower of Paris")


def test_one_document_may_correct_itself() -> None:
    old = hit("The tower is 330 metres tall. The tower is 324 metres tall.", "one")
    assert conflicts([citation(old)], [old]) == ()


def test_only_what_is_cited_is_looked_at_and_each_conflict_is_told_once() -> None:
    old, new, third = (hit(f"The tower is {n} metres tall.", f"d{n}") for n in (330, 324, 312))
    aside = [hit(f"The bridge is {n} metres long.", f"b{n}") for n in (10, 20)]
    (found,) = conflicts([citation(old), citation(old), citation(new)], [old, new, third, *aside])
    assert [side.values for side in found.sides] == [("330",), ("324",), ("312",)]
    side = found.sides[0]
    assert (side.quote, side.start, side.end) == (old.text, 100, 100 + len(old.text)) and side.chunk_id == old.chunk_id


def test_dates_of_documents() -> None:
    assert document_date({"published": "2024-05-01T10:00:00Z", "created": "2020-01-01"}) == "2024-05-01"
    assert document_date({"date": "spring"}) == document_date({}) == ""


@given(st.text(alphabet="about over by 0123456789.,%$€~-–百万年月日至约超过mk 由设计"), st.text(max_size=40))
def test_any_two_sentences_can_be_compared(one: str, other: str) -> None:
    old, new = hit(one, "old"), hit(f"{other} {one}", "new")
    conflicts([citation(old)], [old, new])


def test_facts_of_a_sentence() -> None:
    found = facts("In 2024 the price rose by 12.5 % to $30 for 2 people in room 7.")
    assert {kind: [one.written for one in stated] for kind, stated in found.items()} == {
        "date": ["2024"], "%": ["12.5"], "$": ["30"], "people": ["2"],
    }  # fmt: skip
