"""Rows of tables: their cells, and that a question finds a value under its column."""

from __future__ import annotations

import pytest

from rag.okapi import Okapi
from rag.table_rows import asked_words, row_words, table_rows
from rag.types import Block

TABLE = """| from | to | price | note |
| --- | :-: | ---: | --- |
| Berlin | Paris | 80 | by train \\| night |
| Paris | Berlin | 95 |  |
| Rome | Oslo | 120 | 王伟订票 |"""
TEXT = f"Flights.\n\n{TABLE}\n\nEnd."
ROWS = list(
    table_rows(TEXT, [Block(kind="paragraph", start=0, end=8), Block(kind="table", start=10, end=10 + len(TABLE))])
)


def test_rows_have_their_place_and_cells() -> None:
    assert [TEXT[one.start : one.end].split(" | ")[1] for one in ROWS] == ["Paris", "Berlin", "Oslo"]
    assert ROWS[0].cells[-1] == ("note", "by train | night")
    assert str(ROWS[1]) == "from: Paris · to: Berlin · price: 95"


@pytest.mark.parametrize("text", ["", "no table\nat all\nhere", "| a | b |\n| --- | --- |", "| a |\n| 1 |\n| 2 |"])
def test_what_is_no_table_with_a_head_has_no_rows(text: str) -> None:
    assert list(table_rows(text, [Block(kind="table", start=0, end=len(text))])) == []


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("flights to Berlin", 1),
        ("flights from Berlin", 0),
        ("which flight's price is 120?", 2),
        ("note 王伟", 2),
        ("Oslo", 2),
    ],
)
def test_a_question_finds_a_value_under_its_column(question: str, best: int) -> None:
    scores = Okapi([row_words(one) for one in ROWS]).scores(asked_words(question))
    assert max(range(len(ROWS)), key=scores.__getitem__) == best and scores.count(scores[best]) == 1
