"""Text made safe for Markdown: what must not survive, and what must stay readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.web.markup import answer_parts, excerpt, highlighted, plain, safe, spoken

PAYLOADS = ["![x](http://h/a)", "![x][r]\n\n[r]: http://h/a", "<img src=http://h/a>", "[x](javascript:alert(1))", "http://h/a", "www.h.com", "HTTP://h/a",
            "<script>alert(1)</script>", "<http://h/a>", "a@h.com", "$\\href{http://h}{x}$", "`![x](http://h/a)`", ":material/home: :red[x]"]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("function", [safe, plain, spoken])
def test_nothing_can_be_loaded_or_clicked(payload: str, function) -> None:  # type: ignore[no-untyped-def]
    made = function(payload)
    bare = made.replace("\\\\", "")
    for mark in "[]<>!`$:":
        assert f"\\{mark}" in bare or mark not in bare
    assert "www." not in made and "a@" not in made and "p://" not in made.lower() and "p\\://" not in made.lower()


@given(st.text(max_size=60))
def test_removing_the_escapes_gives_the_text_back(text: str) -> None:
    import re

    undone = re.sub(r"\\(.)", r"\1", plain(text), flags=re.DOTALL).replace("\u2060", "").replace("  \n", "\n")
    assert undone == text.replace("\u2060", "").replace("  \n", "\n")


def test_markers_and_tables_stay() -> None:
    assert safe("茶[1] and *leaf* [x]") == "茶:green[\\[1\\]] and *leaf* \\[x\\]"
    assert safe("| a | b |\n| --- | --- |") == "| a | b |\n| --- | --- |"


def test_the_marked_part_is_one_line() -> None:
    assert highlighted("before the\nquote after", (7, 16)) == "before :yellow-background[the quote] after"


def test_an_answer_in_parts() -> None:
    text = "Tea is **old** [1]. It is not blue [2].\n\n```python\nx = '[1]'\n```\n[a](http://h/b)"
    parts = list(answer_parts(text, {1, 2}, ["It is not blue."]))
    assert parts[0] == ("", "Tea is **old**:green-badge[1]. :orange-background[It is not blue:green-badge[2].]\n\n")
    assert parts[1] == ("python", "x = '[1]'")
    assert parts[2][1].strip() == "a (http\u2060\\://h/b)"


def test_a_doubted_item_of_a_list_stays_one() -> None:
    ((_, shown),) = answer_parts("- Tea is old.\n- Tea is blue.", set(), ["- Tea is blue.", "Tea is blue."])
    assert shown == "- Tea is old.\n- :orange-background[Tea is blue.]"


def test_a_label_is_read_aloud_without_marks() -> None:
    assert spoken("- **Notes**: my_file.en-2.md | [draft]") == "Notes my file.en-2.md draft"
    assert not set("\\*_|[]#") & set(spoken("a\\*b_c|d[e]#f"))


def test_an_excerpt_of_a_table_reads_as_text() -> None:
    table = "## 9. Timeline\n\n| Date | Event |\n| --- | :---: |\n| c. 1610 | First shipments |\n"
    assert excerpt(table, 100) == "9. Timeline Date · Event c. 1610 · First shipments"
    assert excerpt("- one\n- two", 5) == "- one…"


def test_a_line_that_begins_with_a_number_is_no_list() -> None:
    assert plain("9. Timeline\n 10. End, 3.5") == "9\\. Timeline  \n 10\\. End, 3.5"
