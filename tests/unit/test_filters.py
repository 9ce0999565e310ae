"""Filter expressions: what parses, what it means, and that no value can leave its quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import FilterError
from rag.filters import All, Any_, Compare, is_exact, literal, matches, negate, parse, to_milvus

ROW = {
    "doc_id": "a",
    "source": "/docs/a.pdf",
    "title": "A",
    "type": "pdf",
    "page": 3,
    "meta": {"year": 2024, "lang": "en", "tags": ["x", "y"], "author": {"name": "Ann"}},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type == 'pdf'", True),
        ('type = "pdf"', True),
        ("type != 'pdf'", False),
        ("year >= 2024 and lang in ['en', 'zh']", True),
        ("year > 2024 or page == 3", True),
        ("not (year > 2024 or page == 3)", False),
        ("not year < 2020", True),
        ("source like '%.pdf'", True),
        ("source like 'x%'", False),
        ("tags contains 'x'", True),
        ("meta['lang'] == 'en' && !(type == 'md')", True),
        ("metadata.year == 2024.0", True),
        ("lang not in ['zh']", True),
        ("absent == 1", False),
        ("absent != 1", True),
        ("not absent > 1", False),
        ("year == '2024'", False),
        ("（type ＝＝ ‘pdf’ and lang in [“en”，“zh”]） and year ＞＝ 2024", True),
        ("lang ！＝ “en”", False),
        ("author < 3", False),
        ("author != 'x'", True),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    assert matches(parse(text), ROW) is expected


@pytest.mark.parametrize(
    "text",
    ["type ==", "== 'pdf'", "type == pdf", "(type == 'pdf'", "type == 'pdf' year > 3", "type 'pdf'", "type == 'pdf", "page == 'x'",
     "type == 3", "type in []x", "in ['a']", "tags contains", "type contains 'x'", "not", "'a' == 'a'", "a ~ 3", "a == 1 and",
     "year > 1e999", "year == -1e400", "meta[''] == 'x'"],
)  # fmt: skip
def test_bad_filters_say_where(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text)


def test_error_points_at_the_place() -> None:
    with pytest.raises(FilterError, match="character 9"):
        parse("type == pdf")


def test_depth_and_length_are_limited() -> None:
    with pytest.raises(FilterError, match="nested"):
        parse("(" * 60 + "a == 1" + ")" * 60)
    with pytest.raises(FilterError, match="nested"):
        parse("not " * 60 + "a == 1")
    with pytest.raises(FilterError, match="limit"):
        parse("a == 1 or " * 2000 + "a == 1")


def test_not_is_pushed_down_to_comparisons() -> None:
    assert to_milvus(parse("not (type == 'a' and page < 3)")) == '(type != "a" or (page >= 3 and page > 0))'
    assert to_milvus(parse("lang not in ['a', 'b']")) == '(meta["lang"] != "a" and meta["lang"] != "b")'


@pytest.mark.parametrize(
    ("text", "expected"),
    [("page < 5", False), ("not page > 5", False), ("page == 0", False), ("page != 0", True), ("page != 3", True),
     ("page in [0, 1]", False), ("page not in [0, 1]", True)],
)  # fmt: skip
def test_a_document_without_pages_has_no_page(text: str, expected: bool) -> None:
    assert matches(parse(text), {**ROW, "page": None}) is expected


def test_control_characters_are_refused() -> None:
    with pytest.raises(FilterError, match="control"):
        to_milvus(Compare("type", "==", "a\nb"))


@given(st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs"])))
def test_a_literal_never_leaves_its_quotes(value: str) -> None:
    text = literal(value)
    body = text[1:-1]
    assert text[0] == text[-1] == '"'
    assert body.replace("\\\\", "").replace('\\"', "").count('"') == 0
    assert body.replace('\\"', '"').replace("\\\\", "\\") == value or "\\" in value


_compare = st.builds(
    Compare, st.sampled_from(["year", "lang", "page", "absent"]), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.integers(2020, 2026), st.booleans(),
)  # fmt: skip
_expression = st.recursive(
    _compare,
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda p: st.sampled_from([All(tuple(p)), Any_(tuple(p))])
    ),
)


@given(_expression)
def test_double_negation_changes_nothing(expression: object) -> None:
    assert negate(negate(expression)) == expression  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "written", "exact"),
    [
        ("title like 'a%'", 'title like "a%"', True), ("title like '%a%'", 'title like "%a%"', True), ("title like 'a'", 'title == "a"', True),
        ("title like '%'", 'title >= ""', True), ("title like 'a%b'", '(title like "a%" and title like "%b")', False),
        ("title like 'a_'", 'title like "a%"', False), ("title like '_'", 'title >= ""', False), ("not title like 'a%'", "page >= 0", False),
        ("tags not contains 'x'", "page >= 0", False), ("year == 1 or not title like 'a%'", '(meta["year"] == 1 or page >= 0)', False),
    ],
)  # fmt: skip
def test_patterns_are_written_as_the_store_tests_them_well(text: str, written: str, exact: bool) -> None:
    assert (to_milvus(parse(text)), is_exact(parse(text))) == (written, exact)
