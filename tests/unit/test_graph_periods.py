"""When a statement holds, by its sentence."""

from __future__ import annotations

import pytest

from graph import rules, store
from graph.periods import Period, period, shown


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("She was mayor of Canton from 1914 to 1918.", (1914, 1918)),
        ("He led Ragna between May 3, 1990 and 12 June 1999.", (1990, 1999)),
        ("The station (1914–1918) was rebuilt.", (1914, 1918)),
        ("Since 1990 she has lived in Canton.", (1990, None)),
        ("The bridge stood until March 2001.", (None, 2001)),
        ("中华民国1912年至1949年统治大陆。", (1912, 1949)),
        ("她自1990年起住在广州。", (1990, None)),
        ("直到2001年，桥还在。", (None, 2001)),
        ("She was born in 1914 and died in 1918.", None),
        ("From 1990 to 1980 nothing held.", None),
        ("From 1900 to 1910 it rose, from 1920 to 1930 it fell.", None),
        ("ISBN 19901-19992, 2,000 men", None),
    ],
)
def test_a_period_is_what_the_sentence_states(sentence: str, expected: Period | None) -> None:
    assert period(sentence) == expected


def test_it_stays_with_the_relation() -> None:
    text = "Ada Stone was mayor of Canton from 1914 to 1918. Ada Stone lived in Paris."
    found = rules.extract(text, title="Ada Stone")
    assert [(one.object, one.valid) for one in found.relations] == [("Canton", (1914, 1918)), ("Paris", None)]
    ((_, kept),) = store.unpacked(store.packed("d", "0", [("d#0-75", found)]))
    assert kept.relations == found.relations
    assert [shown(one) for one in ((1914, 1918), (1990, None), (None, 2001))] == ["1914–1918", "1990–", "–2001"]
