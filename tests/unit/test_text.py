"""Sentences, words, language and safe cuts: hand-worked examples and properties."""

from __future__ import annotations

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from rag.text import (
    MAX_GRAPHEME,
    grapheme_cut,
    grapheme_end,
    is_word_boundary,
    language,
    sentences,
    without_shouting,
    words,
)
from tests.ends import ends

MIXED = st.text(
    alphabet=st.sampled_from(list("ab Z9.,!?\n#|-* \t，。！中文\u0301\u200d👨👩🇩🇪\ufe0f한ก็\u3000\xa0")), max_size=300
)


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid 3.14 dollars. He left!", ["Dr. Smith paid 3.14 dollars.", "He left!"]),
        (
            "J. K. Rowling (see Fig. 3) agrees, e.g. here. No. 5 lives.",
            ["J. K. Rowling (see Fig. 3) agrees, e.g. here.", "No. 5 lives."],
        ),
        ("The U.S. economy grew 2.5% in 2020. It fell.", ["The U.S. economy grew 2.5% in 2020.", "It fell."]),
        ('He said "no." Then he left?! Yes…', ['He said "no."', "Then he left?!", "Yes…"]),
        (
            "今天3.5度。我们去公园！好吗？“好的。”他说；走了",
            ["今天3.5度。", "我们去公园！", "好吗？", "“好的。”", "他说；", "走了"],
        ),
        (
            "# Title\nOne. Two\n| a. b | c |\n- item one\n- item two",
            ["# Title", "One.", "Two", "| a. b | c |", "- item one", "- item two"],
        ),
        ("1. First. More.\n2. Second", ["1. First.", "More.", "2. Second"]),
        ("one line\ngoes on here\n\nnext paragraph", ["one line\ngoes on here", "next paragraph"]),
        (" \n\t ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(MIXED)
def test_sentences_cover_everything_in_order(text: str) -> None:
    spans = sentences(text)
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(char.isspace() or i in covered for i, char in enumerate(text))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("unit", ["word ", "x", "。", ".", "a. ", "1. ", "| \n", " \n", "(. "])
def test_sentences_take_linear_time(unit: str) -> None:
    assert ends(lambda: sentences(unit * 300_000 + "x"))


def test_words_of_english_and_chinese() -> None:
    assert words("The Quick brown foxes' running, and 3.14 ＡＢＣ") == ["quick", "brown", "fox", "run", "3.14", "abc"]
    assert words("Company's don’t ﬁne") == ["compani", "don't", "fine"]
    found = words("中国科学院计算技术研究所，位于北京。")
    assert {"科学院", "研究所", "北京", "中国科学院计算技术研究所"} <= set(found)
    assert not {"，", "。"} & set(found)
    assert words("ig\u200bnore") == words("ignore")
    assert words("，。！ -- ?") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("what does 知识图谱 mean here?", "en"), ("RAG 系统怎么用?", "zh"), ("", "en"), ("你好", "zh"), ("1 2 3", "en")],
)
def test_language(text: str, expected: str) -> None:
    assert language(text) == expected


@given(MIXED, st.integers(0, 300))
@example("9\ufe0f", 1)  # the first character of the text is one with its variation selector
def test_a_grapheme_cut_is_a_boundary_that_unicode_names(text: str, at: int) -> None:
    cut = grapheme_cut(text, at)
    bounds = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    longest = max((len(match.group()) for match in regex.finditer(r"\X", text)), default=0)
    assert cut <= min(at, len(text))
    if longest < MAX_GRAPHEME // 2:
        assert cut in bounds
        assert not any(cut < bound <= at for bound in bounds)


def test_a_grapheme_without_end_is_cut_all_the_same() -> None:
    zalgo = "a" + "\u0301" * 1000
    assert grapheme_cut(zalgo, 500) == 500
    assert grapheme_end(zalgo, 0) == MAX_GRAPHEME
    assert grapheme_end("👨\u200d👩\u200d👧x", 0) == 5


def test_word_boundaries() -> None:
    text = "don't stop, 中文字。3.14"
    boundaries = [i for i in range(len(text) + 1) if is_word_boundary(text, i)]
    assert [text[a:b] for a, b in zip(boundaries, boundaries[1:], strict=False)] == [
        "don't",
        " ",
        "stop,",
        " ",
        "中",
        "文",
        "字。",
        "3.14",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HOW IS TEA BREWED?", "how is tea brewed?"),
        ("NASA ESA", "NASA ESA"),
        ("What does NASA do?", "What does NASA do?"),
        ("USB HDMI VGA 接口的区别", "USB HDMI VGA 接口的区别"),
        ("1 2 3", "1 2 3"),
        ("КАК ЗАВАРИВАТЬ ЧАЙ", "как заваривать чай"),
    ],
)
def test_words_in_capitals_alone_are_made_small(text: str, expected: str) -> None:
    assert without_shouting(text) == expected
