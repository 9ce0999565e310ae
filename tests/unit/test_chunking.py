"""Chunks: what must hold for every text (properties), and how structure steers the cuts (examples)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.chunking import MAX_CHARS, chunk_document
from rag.errors import UsageError
from rag.loaders import load_document
from rag.types import Block, Chunk, ParsedDocument
from tests.ends import ends

TOKEN = re.compile(r"[一-鿿]|\w{1,6}|[^\w\s]")
ALPHABET = list("ab Z9.,!?\n\n#|-`>* \t，。中文字体\u0301\u200d👨👩🇩🇪\ufe0f\r한ก็\u3000\xa0")
TEXTS = st.text(alphabet=st.sampled_from(ALPHABET), max_size=400)


def tokens(text: str) -> Any:
    return np.array([match.span() for match in TOKEN.finditer(text)], dtype=np.int64).reshape(-1, 2)


def chunks_of(
    text: str, *, name: str = "a.md", size: int = 60, overlap: int = 0, context_tokens: int = 12
) -> list[Chunk]:
    parsed = load_document(text.encode(), name)
    return checked(parsed, size=size, overlap=overlap, context_tokens=context_tokens)


def checked(
    parsed: ParsedDocument, *, size: int, overlap: int = 0, context_tokens: int = 0, overhead: int = 3
) -> list[Chunk]:
    """Chunks of a document, after a check of everything that must always hold."""
    chunks = chunk_document(
        parsed, doc_id="d", tokens=tokens, size=size, overlap=overlap, context_tokens=context_tokens, overhead=overhead
    )
    times_covered = np.zeros(len(parsed.text) + 1, dtype=int)
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == parsed.text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert chunk.n_tokens == len(tokens(chunk.indexed_text)) <= size - overhead
        assert len(chunk.indexed_text) <= MAX_CHARS
        times_covered[chunk.start] += 1
        times_covered[chunk.end] -= 1
    times_covered = np.cumsum(times_covered)[:-1]
    assert all(parsed.text[i].isspace() for i in np.flatnonzero(times_covered == 0))
    assert all(a.start < b.start and a.end < b.end for a, b in zip(chunks, chunks[1:], strict=False))
    if overlap == 0 and len(chunks) > 0:
        assert times_covered.max() == 1
    return chunks


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=TEXTS, size=st.integers(12, 60), overlap=st.integers(0, 8), context_tokens=st.integers(0, 30),
    type_=st.sampled_from(["text", "markdown"]), title=st.sampled_from(["", "Title", "Ein langer Titel mit vielen Worten 中文"]),
)  # fmt: skip
def test_every_text_is_covered_within_the_limit(
    text: str, size: int, overlap: int, context_tokens: int, type_: str, title: str
) -> None:
    parsed = ParsedDocument(text=text, title=title, type=type_)
    chunks = checked(parsed, size=size, overlap=overlap, context_tokens=context_tokens)
    bounds = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    for chunk in chunks:
        inside = chunk.end < len(text) and not text[chunk.end].isspace()
        assert not inside or chunk.end in bounds, "a character as people see it was split"


@given(text=TEXTS, type_=st.sampled_from(["text", "markdown"]))
def test_a_document_that_fits_is_one_chunk(text: str, type_: str) -> None:
    chunks = checked(ParsedDocument(text=text, type=type_, title="T"), size=2000, overlap=50, context_tokens=50)
    assert [chunk.text for chunk in chunks] == ([text.strip()] if text.strip() else [])


def test_breaks_prefer_headings_then_blocks_then_sentences() -> None:
    section = "One two three four five six. Seven eight nine ten eleven.\n\n"
    text = f"# Guide\n\n{section}## Setup\n\n{section}## Use\n\n{section}{section}{section}"
    chunks = chunks_of(text, size=28)
    assert [chunk.text.split("\n")[0] for chunk in chunks][:3] == ["# Guide", "## Setup", "## Use"]
    assert all(chunk.text.endswith(".") for chunk in chunks)
    long_paragraph = " ".join(f"Sentence number {i} has seven words here." for i in range(30))
    assert all(chunk.text.endswith(".") for chunk in chunks_of(long_paragraph, name="a.txt"))


def test_small_sections_share_a_chunk_and_its_context_is_what_they_share() -> None:
    text = "# Guide\n\n## A\n\n### A1\n\nSmall.\n\n### A2\n\nSmall too.\n\n## B\n\n" + "Long text of section B. " * 30
    chunks = chunks_of(text)
    assert "### A1" in chunks[0].text and "### A2" in chunks[0].text
    assert chunks[0].context == "Guide"
    assert chunks[-1].context == "Guide > B"
    titled = ParsedDocument(text=text, title="Manual", type="markdown")
    assert checked(titled, size=60, context_tokens=20)[-1].context == "Manual > Guide > B"
    plain = ParsedDocument(text="Words without headings. " * 40, title="Letter")
    assert {chunk.context for chunk in checked(plain, size=60, context_tokens=20)} == {"Letter"}


def test_the_context_is_cut_and_never_pushes_text_out() -> None:
    parsed = ParsedDocument(text="word " * 200, title="long title " * 100)
    chunks = checked(parsed, size=40, context_tokens=10)
    assert all(len(tokens(chunk.context)) == 10 for chunk in chunks)
    assert all(chunk.context == "" for chunk in checked(parsed, size=40, context_tokens=0))


def test_tables_stay_whole_or_break_between_rows_under_their_head() -> None:
    table = "| name | value |\n| --- | --- |\n" + "\n".join(f"| row{i} | {i} |" for i in range(5))
    fits = chunks_of("Some words before the table. " * 6 + f"\n\n{table}\n\nAfter it.", size=70)
    assert sum("| row" in chunk.text for chunk in fits) == 1
    big = "| name | value |\n| --- | --- |\n" + "\n".join(f"| row{i} | {i} |" for i in range(60))
    chunks = chunks_of(big, size=60)
    assert len(chunks) > 3
    assert all(chunk.text.endswith("|") and chunk.text.startswith("|") for chunk in chunks)
    assert all("| name | value |" in chunk.context and "name" not in chunk.text for chunk in chunks[1:])


def test_code_stays_whole_when_it_fits() -> None:
    code = "```python\n" + "\n".join(f"x{i} = {i}" for i in range(8)) + "\n```"
    chunks = chunks_of("Words before the code come here. " * 6 + f"\n\n{code}\n\nAfter.", size=60)
    assert sum("x0 = 0" in chunk.text for chunk in chunks) == 1
    assert any(code in chunk.text for chunk in chunks)


def test_overlap_is_whole_sentences_within_a_section_only() -> None:
    prose = " ".join(f"Sentence number {i} has words." for i in range(40))
    chunks = chunks_of(prose, name="a.txt", size=60, overlap=16, context_tokens=0)
    for before, after in zip(chunks, chunks[1:], strict=False):
        shared = before.text[after.start - before.start :]
        assert after.start < before.end
        assert 0 < len(tokens(shared)) <= 16
        assert shared.startswith("Sentence") and shared.endswith(".")
    section = "Text of a section with some words. " * 4
    sections = chunks_of("\n\n".join(f"# H{i}\n\n{section}" for i in range(4)), size=50, overlap=12)
    assert [chunk.text[:4] for chunk in sections] == ["# H0", "# H1", "# H2", "# H3"]


def test_pages_are_those_of_the_first_block() -> None:
    words = "word " * 20
    text = f"{words.strip()}\n\n{words.strip()}\n\n{words.strip()}"
    n = len(words.strip())
    blocks = tuple(Block(kind="paragraph", start=i * (n + 2), end=i * (n + 2) + n, page=i + 1) for i in range(3))
    chunks = checked(ParsedDocument(text=text, blocks=blocks), size=26)
    assert [chunk.page for chunk in chunks] == [1, 2, 3]


@pytest.mark.parametrize(("size", "overlap"), [(10, 0), (60, 57), (60, 100), (60, -1)])
def test_impossible_sizes_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="chunk"):
        chunk_document(
            ParsedDocument(text="x"),
            doc_id="d",
            tokens=tokens,
            size=size,
            overlap=overlap,
            context_tokens=8,
            overhead=3,
        )


def test_a_tokenizer_that_swallows_long_words_still_gives_chunks_a_store_can_hold() -> None:
    def one_token_per_word(text: str) -> Any:
        return np.array([match.span() for match in re.finditer(r"\S+", text)], dtype=np.int64).reshape(-1, 2)

    parsed = ParsedDocument(text="x" * 200_000)
    chunks = chunk_document(parsed, doc_id="d", tokens=one_token_per_word, size=512, overlap=48, context_tokens=96)
    assert "".join(chunk.text for chunk in chunks[:1]) and chunks[-1].end == 200_000
    assert all(len(chunk.indexed_text) <= MAX_CHARS for chunk in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "word " * 200_000,
        "x" * 400_000,
        "p\n\n" * 100_000,
        "# h\n\nt\n\n" * 20_000,
        "a" + "\u0301" * 100_000,
        "\n" * 10**6 + "x",
    ],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    parsed = load_document(text.encode(), "a.md")
    assert ends(lambda: chunk_document(parsed, doc_id="d", tokens=tokens, size=512, overlap=48, context_tokens=96))


def test_with_a_real_tokenizer() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.train_from_iterator(
        ["some words to learn from " * 10], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )

    def real(text: str) -> Any:
        return np.array(tokenizer.encode(text, add_special_tokens=False).offsets, dtype=np.int64).reshape(-1, 2)

    text = "Some words to learn. 中文句子，有标点。👨\u200d👩\u200d👧 family! ﷺ " * 60
    chunks = chunk_document(
        ParsedDocument(text=text, title="T"), doc_id="d", tokens=real, size=64, overlap=12, context_tokens=8, overhead=2
    )
    assert all(len(real(chunk.indexed_text)) + 2 <= 64 for chunk in chunks)
    covered = {i for chunk in chunks for i in range(chunk.start, chunk.end)}
    assert all(char.isspace() or i in covered for i, char in enumerate(text))
