"""Dates in metadata, in the ways that people and programs write them."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.conflicts import document_date
from rag.dates import first_day, iso_date
from rag.pipeline import Recency


@pytest.mark.parametrize(
    ("written", "iso"),
    [
        ("2021-03-01", "2021-03-01"),
        ("2021-03-01T10:00:00Z", "2021-03-01"),
        (datetime(2021, 3, 1, 10), "2021-03-01"),
        (date(2021, 3, 1), "2021-03-01"),
        ("2021/3/6", "2021-03-06"),
        ("2021.03.06 10:15", "2021-03-06"),
        (20210301, "2021-03-01"),
        ("D:20210301120000+01'00'", "2021-03-01"),
        ("2021年3月1日", "2021-03-01"),
        ("发布于 2021 年 3 月 1 日", "2021-03-01"),
        ("二〇二一年十二月三十一日", "2021-12-31"),
        ("２０２１年３月", "2021-03"),
        ("2021-03", "2021-03"),
        ("March 2021", "2021-03"),
        ("1 March 2021", "2021-03-01"),
        ("March 1st, 2021", "2021-03-01"),
        ("1-Mar-2021", "2021-03-01"),
        ("Mon, 01 Mar 2021 10:00:00 +0100", "2021-03-01"),
        ("Mon Mar  1 10:00:00 2021", "2021-03-01"),
        ("Sept. 5, 2021", "2021-09-05"),
        ("01.03.2021", "2021-03-01"),
        ("13/05/2024", "2024-05-13"),
        ("05/13/2024", "2024-05-13"),
        ("05/01/2024", "2024"),  # the fifth of January or the first of May
        (2021, "2021"),
        ("2021年", "2021"),
        ("2021-13-45", ""),
        ("2021-02-30", ""),
        ("Version 2021", ""),
        ("Room 2021", ""),
        ("1614556800", ""),
        ("3.14", ""),
        ("next week", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_dates_as_they_are_written(written: object, iso: str) -> None:
    assert iso_date(written) == iso


@pytest.mark.parametrize(
    ("written", "day"), [("2021", (2021, 1, 1)), ("March 2021", (2021, 3, 1)), ("2021年3月6日", (2021, 3, 6))]
)
def test_a_month_or_year_begins_on_its_first_day(written: str, day: tuple[int, int, int]) -> None:
    assert first_day(written) == date(*day)


@given(st.text(max_size=40) | st.integers())
def test_any_metadata_can_be_read(value: object) -> None:
    assert (first_day(value) is None) == (iso_date(value) == "")


def test_a_document_has_the_first_date_that_its_metadata_give() -> None:
    assert document_date({"date": "soon", "published": "2021/03/06", "modified": "2024-01-01"}) == "2021-03-06"
    assert document_date({"pages": 2021}) == ""


def test_newer_documents_gain_however_their_date_is_written() -> None:
    recency = Recency(weight=1.0, half_life_days=10, today=date(2021, 3, 11))
    assert recency.gain({"date": "2021年3月1日"}) == recency.gain({"date": "March 1, 2021"}) == 0.5
    assert recency.gain({"date": "soon"}) == recency.gain({}) == 0.0
