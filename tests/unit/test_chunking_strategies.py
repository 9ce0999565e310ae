"""Every chunking strategy: what must hold for any text (properties), and what each one is for (examples)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.chunking import CHUNKERS, MAX_CHARS, chunk_recipe, chunker
from rag.loaders import load_document
from rag.settings import ChunkSettings
from rag.types import Chunk, ChunkContext, ParsedDocument
from tests.unit.test_chunking import TEXTS, tokens

STRATEGIES = sorted(CHUNKERS)
PIECES = st.lists(
    st.sampled_from(
        ["# A\n\n", "## B?\n\n", "Q: why\n", "A: so. ", "问：水？\n", "答：茶。", "| q | answer |\n| --- | --- |\n", "| a | b |\n",
         "One two three. ", "中文句子。", "\n\n", "- item\n", "```\nx = 1\n```\n", "e\u0301\u0301", "👨\u200d👩 ", "\r\n", "w" * 90]
    ),
    max_size=40,
).map("".join)  # fmt: skip


def embed(texts: Sequence[str]) -> Any:
    """Unit vectors that depend on the first letters."""
    vectors = np.array([[1.0 + len(text) % 5, ord(text[0]) % 7, ord(text[-1]) % 3] for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def context(*, size: int = 60, overlap: int = 0, context_tokens: int = 12) -> ChunkContext:
    return ChunkContext(
        doc_id="d", tokens=tokens, size=size, overlap=overlap, context_tokens=context_tokens, overhead=3, embed=embed
    )


def cut(parsed: ParsedDocument, strategy: str, *, size: int = 60, overlap: int = 0, **options: Any) -> list[Chunk]:
    """Chunks of a document, after a check of everything that must always hold."""
    chosen = ChunkSettings(strategy=strategy, **options)  # type: ignore[arg-type]
    chunks = list(chunker(chosen)(parsed, context(size=size, overlap=overlap)))
    covered = np.zeros(len(parsed.text) + 1, dtype=int)
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal and chunk.doc_id == "d"
        assert chunk.text == parsed.text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert chunk.n_tokens == len(tokens(chunk.indexed_text)) <= size - 3
        assert len(chunk.indexed_text) <= MAX_CHARS
        if chunk.parent_start is not None and chunk.parent_end is not None:
            assert 0 <= chunk.parent_start <= chunk.start < chunk.end <= chunk.parent_end <= len(parsed.text)
        covered[chunk.start] += 1
        covered[chunk.end] -= 1
    times = np.cumsum(covered)[:-1]
    assert all(parsed.text[at].isspace() for at in np.flatnonzero(times == 0)), "lost"
    assert all(a.start < b.start and a.end < b.end for a, b in zip(chunks, chunks[1:], strict=False))
    if not overlap and chunks:
        assert times.max() == 1
    return chunks


def read(text: str, name: str = "a.md") -> ParsedDocument:
    return load_document(text.encode(), name)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=TEXTS | PIECES,
    size=st.integers(12, 60),
    overlap=st.integers(0, 8),
    type_=st.sampled_from(["text", "markdown"]),
)
def test_every_strategy_rebuilds_the_text(strategy: str, text: str, size: int, overlap: int, type_: str) -> None:
    parsed = ParsedDocument(text=text, title="Title", type=type_)
    chunks = cut(parsed, strategy, size=size, overlap=overlap, child_size=9, window=1, rows=2)
    bounds = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    for chunk in chunks:
        assert chunk.start in bounds or text[chunk.start - 1].isspace()
        assert chunk.end in bounds or text[chunk.end].isspace(), "a character as people see it was split"


class Counting:
    """A tokenizer that counts the characters that it reads: the work that chunking may do is a few times the text."""

    def __init__(self) -> None:
        self.n_chars = 0

    def __call__(self, text: str) -> Any:
        self.n_chars += len(text)
        return tokens(text)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "semantic"])
@pytest.mark.parametrize("text", ["a\n\n" * 60_000, "w" * 300_000, "# h\n\n" * 20_000, "字" * 100_000])
def test_hostile_texts_cost_linear_work(strategy: str, text: str) -> None:
    counting = Counting()
    one = context(size=256)
    chunks = CHUNKERS[strategy](
        ParsedDocument(text=text, type="markdown"),
        ChunkContext(doc_id="d", tokens=counting, size=256, overlap=0, context_tokens=0, overhead=3, embed=one.embed),
        ChunkSettings(strategy=strategy),  # type: ignore[arg-type]
    )
    assert sum(len(chunk.text.split()) for chunk in chunks) >= len(text.split())
    assert counting.n_chars <= 12 * len(text)


def test_heading_gives_each_section_a_chunk() -> None:
    text = "# Guide\n\n## A\n\nSmall.\n\n## B\n\nSmall too.\n\n## C\n\n" + "Long text of section C. " * 30
    chunks = cut(read(text), "heading")
    assert [chunk.text.split("\n")[0] for chunk in chunks[:3]] == ["# Guide", "## B", "## C"]
    assert len(chunks) > 4 and all(chunk.context.endswith("C") for chunk in chunks[2:])


def test_sentence_windows_surround_their_sentences_within_the_section() -> None:
    text = "# One\n\n" + " ".join(f"Sentence {at} is here." for at in range(9)) + "\n\n# Two\n\nAnother one. And more."
    chunks = cut(read(text), "sentence-window", sentences=2, window=1)
    assert chunks[1].text == "Sentence 2 is here. Sentence 3 is here."
    window = text[chunks[1].parent_start : chunks[1].parent_end]
    assert window == "Sentence 1 is here. Sentence 2 is here. Sentence 3 is here. Sentence 4 is here."
    assert text[chunks[-1].parent_start : chunks[-1].parent_end].startswith("# Two")
    chinese = cut(read("茶是饮料。水要热。等三分钟。再喝。", "a.txt"), "sentence-window", sentences=1, window=0)
    assert [chunk.text for chunk in chinese] == ["茶是饮料。", "水要热。", "等三分钟。", "再喝。"]


def test_children_share_their_parent() -> None:
    text = "# A\n\n" + "Words of the first part. " * 8 + "\n\n# B\n\n" + "Words of the second part. " * 8
    chunks = cut(read(text), "parent-child", child_size=14)
    parents = sorted({(chunk.parent_start, chunk.parent_end) for chunk in chunks})  # type: ignore[type-var]
    assert len(parents) == 2 and len(chunks) >= 6
    assert text[slice(*parents[1])].startswith("# B")


def test_semantic_breaks_where_the_subject_changes() -> None:
    def by_subject(texts: Sequence[str]) -> Any:
        return np.array([[1.0, 0.0] if "tea" in text else [0.0, 1.0] for text in texts])

    text = " ".join(
        [f"The tea number {at} is green." for at in range(4)] + [f"A ship of class {at} sails." for at in range(4)]
    )
    one = context(size=200)
    given_ = ChunkContext(
        doc_id="d", tokens=tokens, size=200, overlap=0, context_tokens=0, overhead=3, embed=by_subject
    )
    chunks = CHUNKERS["semantic"](ParsedDocument(text=text), given_, ChunkSettings(strategy="semantic"))
    assert one.size == 200 and len(chunks) == 2
    assert "ship" not in chunks[0].text and "tea" not in chunks[1].text


def test_rows_are_chunks_under_the_head_of_their_table() -> None:
    table = "| name | value |\n| --- | --- |\n" + "\n".join(f"| row{at} | {at} |" for at in range(6))
    text = f"Before it.\n\n## Values\n\n{table}\n\nAfter it."
    chunks = cut(read(text), "table-rows")
    assert [("row" in chunk.text) for chunk in chunks] == [False, True, True, True, True, True, True, False]
    assert chunks[1].text.startswith("## Values") and "row0" in chunks[1].text and "row1" not in chunks[1].text
    assert all("| name | value |" in chunk.context for chunk in chunks[2:7])
    by_three = cut(read(text), "table-rows", rows=3)
    assert [chunk.text.count("| row") for chunk in by_three] == [0, 3, 3, 0]


@pytest.mark.parametrize("strategy", ["recursive", "table-rows"])
def test_a_table_of_ten_thousand_rows_repeats_its_head(strategy: str) -> None:
    lines = ["| name | value |", "| --- | --- |", *(f"| row{at} | {at} |" for at in range(10_000))]
    counting = Counting()
    given_ = ChunkContext(doc_id="d", tokens=counting, size=64, overlap=8, context_tokens=24, overhead=3, embed=embed)
    chunks = CHUNKERS[strategy](read("\n".join(lines)), given_, ChunkSettings(strategy=strategy))  # type: ignore[arg-type]
    assert all("| name | value |" in chunk.context for chunk in chunks[1:])
    assert sum(chunk.text.count("| row") for chunk in chunks) == 10_000
    assert counting.n_chars < 20 * sum(map(len, lines))


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("Welcome.\n\nQ: What is tea?\nA: A drink.\n\nQ: How hot?\nA: 80 degrees.", ["Q: What is tea?", "Q: How hot?"]),
        ("问：茶是什么？\n答：饮料。\n\n问：水温多少？\n答：八十度。", ["问：茶是什么？", "问：水温多少？"]),
        ("# FAQ\n\n## What is tea?\n\nA drink.\n\n## How hot?\n\n80 degrees.", ["## What is tea?", "## How hot?"]),
        ("| Question | Answer |\n| --- | --- |\n| What is tea? | A drink |\n| How hot? | 80 |", ["What is tea?", "How hot?"]),
        ("| 问题 | 答案 |\n| --- | --- |\n| 茶是什么 | 饮料 |\n| 水温 | 八十度 |", ["茶是什么", "水温"]),
    ],
)  # fmt: skip
def test_questions_stay_with_their_answers(text: str, questions: list[str]) -> None:
    chunks = cut(read(text), "qa")
    for question in questions:
        holding = [chunk for chunk in chunks if question in chunk.text]
        assert len(holding) == 1
        assert sum(other in holding[0].text for other in questions) == 1


def test_a_long_answer_carries_its_question() -> None:
    chunks = cut(read("Q: What is tea?\nA: " + "It is a drink of leaves. " * 20, "a.txt"), "qa", size=40)
    assert len(chunks) > 2
    assert all(chunk.extra == "Q: What is tea?" for chunk in chunks[1:]) and not chunks[0].extra


def test_qa_without_questions_is_recursive_and_fixed_ignores_headings() -> None:
    text = "# One\n\nSome words here. And there.\n\n" * 12
    assert cut(read(text), "qa") == cut(read(text), "recursive")
    counts = [len(tokens(chunk.text)) for chunk in cut(read(text), "fixed", overlap=5)]
    assert max(counts) - min(counts[:-1]) <= 8


def test_the_recipe_names_what_changes_the_chunks() -> None:
    assert chunk_recipe(ChunkSettings()) == ""
    assert chunk_recipe(ChunkSettings(strategy="table-rows", rows=3)) == " strategy=table-rows rows=3"
    assert chunk_recipe(ChunkSettings(strategy="semantic")) != chunk_recipe(
        ChunkSettings(strategy="semantic", percentile=90)
    )


def test_reserved_tokens_stay_free() -> None:
    parsed = ParsedDocument(text="word " * 300)
    chunks = chunker(ChunkSettings(), reserve=20)(parsed, context(size=60, overlap=25))
    assert max(chunk.n_tokens for chunk in chunks) == 37
