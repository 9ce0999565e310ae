"""Where things are in a document: tokens, blocks, sections, sentences, and the context that each place stands in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rag.loaders import markdown, plain
from rag.text import grapheme_cut, sentences
from rag.types import Block, ParsedDocument

Tokens = Callable[[str], Any]

PIECE = 50_000  # characters that are tokenised at a time
MAX_TOKEN = 24  # a longer token counts as several: models turn a word of a megabyte into one "unknown"


class Map:
    """Offsets of a document's tokens, blocks, sections and sentences. Read-only but for the cache of sentences."""

    def __init__(self, parsed: ParsedDocument, tokens: Tokens) -> None:
        self.text = parsed.text
        self.blocks = parsed.blocks or _blocks_of(parsed)
        self.token_starts, self.n_tokens = _token_starts(parsed.text, tokens)
        self.block_starts = np.array([block.start for block in self.blocks], dtype=np.int64)
        headings = [block for block in self.blocks if block.kind == "heading"]
        self.heading_starts = np.array([block.start for block in headings], dtype=np.int64)
        self.paths = _paths(self.text, headings)
        follows = [before.kind != "heading" for before in self.blocks[:-1]]
        self.block_breaks = np.array(
            [b.start for b, ok in zip(self.blocks[1:], follows, strict=True) if ok], dtype=np.int64
        )
        self.section_breaks = np.array(
            [b.start for b, ok in zip(self.blocks[1:], follows, strict=True) if ok and b.kind == "heading"],
            dtype=np.int64,
        )
        self._section_set = frozenset(self.section_breaks.tolist())
        self._sentences: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = {}

    def count(self, start: int, end: int) -> int:
        """About how many tokens text[start:end] has."""
        return int(np.searchsorted(self.token_starts, end) - np.searchsorted(self.token_starts, start))

    def reach(self, start: int, n_tokens: int) -> int:
        """The furthest offset so that text[start:offset] has no more than n_tokens tokens; at least one character on."""
        first = int(np.searchsorted(self.token_starts, start))
        if first + n_tokens >= len(self.token_starts):
            return len(self.text)
        return max(int(self.token_starts[first + n_tokens]), start + 1)

    def back(self, end: int, n_tokens: int) -> int:
        """The offset from which text[offset:end] has about n_tokens tokens."""
        last = int(np.searchsorted(self.token_starts, end))
        return int(self.token_starts[max(last - n_tokens, 0)]) if last else 0

    def block_at(self, offset: int) -> int:
        """Index of the block that holds an offset, or the last one before it; -1 before all blocks."""
        return int(np.searchsorted(self.block_starts, offset, side="right")) - 1

    def starts_section(self, offset: int) -> bool:
        return offset in self._section_set

    def common_path(self, start: int, end: int) -> tuple[str, ...]:
        """The headings that all of text[start:end] stands under; a heading stands under itself."""
        first, last = (int(np.searchsorted(self.heading_starts, at, side="right")) - 1 for at in (start, end - 1))
        if first < 0:
            return ()
        path = self.paths[first]
        for other in self.paths[first + 1 : last + 1]:
            n = 0
            while n < min(len(path), len(other)) and path[n] == other[n]:
                n += 1
            path = path[:n]
            if not path:
                break
        return tuple(self.text_of(heading) for heading in path)

    def text_of(self, heading: Block) -> str:
        return markdown.heading_text(self.text[heading.start : min(heading.end, heading.start + 1000)])

    def unit_starts(self, index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where the sentences of a block start (rows of a table, lines of code), the block's own start left out."""
        if index not in self._sentences:
            if len(self._sentences) > 64:
                self._sentences.clear()
            self._sentences[index] = self._units(index)
        return self._sentences[index]

    def _units(self, index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        block = self.blocks[index]
        text = self.text[block.start : block.end]
        if block.kind in ("table", "code"):
            starts = [match.end() for match in re.finditer(r"\n", text) if match.end() < len(text)]
        else:
            starts = [start for start, _ in sentences(text)][1:]
        return np.array(starts, dtype=np.int64) + block.start

    def sentence_starts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where sentences, rows and lines of code start, in the whole document; what follows a heading belongs to it."""
        parts = [np.zeros(0, dtype=np.int64)]
        for index, block in enumerate(self.blocks):
            if index and self.blocks[index - 1].kind != "heading":
                parts.append(np.array([block.start], dtype=np.int64))
            if block.kind != "heading":
                parts.append(self._units(index))
        return np.unique(np.concatenate(parts))


def last_break(sorted_offsets: np.ndarray[Any, np.dtype[np.int64]], above: int, limit: int) -> int:
    """The largest offset with above < offset <= limit; 0 if there is none."""
    index = int(np.searchsorted(sorted_offsets, limit, side="right")) - 1
    return int(sorted_offsets[index]) if index >= 0 and sorted_offsets[index] > above else 0


def _blocks_of(parsed: ParsedDocument) -> tuple[Block, ...]:
    """Blocks of a document that was given in code without them."""
    find = markdown.blocks if parsed.type in ("markdown", "md") else plain.paragraphs
    return tuple(find(parsed.text))


def _token_starts(text: str, tokens: Tokens) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Where the tokens of a text start, long ones taken apart, and how many there are.

    The text is tokenised in pieces of bounded length, so that no tokenizer meets a line of five megabytes.
    """
    parts = [np.zeros(0, dtype=np.int64)]
    at = n_tokens = 0
    while at < len(text):
        end = _piece_end(text, at)
        spans = np.asarray(tokens(text[at:end]), dtype=np.int64).reshape(-1, 2)
        n_tokens += len(spans)
        n_parts = np.maximum(-(-(spans[:, 1] - spans[:, 0]) // MAX_TOKEN), 1)
        first = np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
        parts.append(np.repeat(spans[:, 0], n_parts) + (np.arange(len(first)) - first) * MAX_TOKEN + at)
        at = end
    starts = np.concatenate(parts)
    return (np.maximum.accumulate(starts) if len(starts) else starts), n_tokens


def _piece_end(text: str, at: int) -> int:
    end = at + PIECE
    if end >= len(text):
        return len(text)
    for mark in ("\n", " "):
        if (found := text.rfind(mark, end - 2000, end)) > 0:
            return found
    return grapheme_cut(text, end)


def _paths(text: str, headings: Sequence[Block]) -> list[tuple[Block, ...]]:
    """For each heading the headings it stands under, itself last."""
    paths: list[tuple[Block, ...]] = []
    path: tuple[Block, ...] = ()
    for heading in headings:
        while path and path[-1].level >= heading.level:
            path = path[:-1]
        path = (*path, heading)
        paths.append(path)
    return paths


class Contexts:
    """Title and headings put before a chunk, cut to their share of tokens."""

    def __init__(self, map_: Map, title: str, tokens: Tokens, max_tokens: int, max_head_tokens: int) -> None:
        self._map = map_
        self._title = " ".join(title.split())
        self._tokens = tokens
        self._max_tokens = max_tokens
        self._max_head_tokens = max_head_tokens
        self._cut_cache: dict[tuple[str, int], str] = {}

    def of(self, start: int, end: int) -> str:
        """The context of text[start:end]: title > headings, and for the later part of a table its head row."""
        path = list(self._map.common_path(start, end))
        if path and path[0].casefold() == self._title.casefold():
            path = path[1:]
        context = self._cut(" > ".join(part for part in (self._title, *path) if part), self._max_tokens)
        head = self._table_head(start)
        return f"{context}\n{head}".lstrip("\n") if head else context

    def _table_head(self, start: int) -> str:
        index = self._map.block_at(start)
        block = self._map.blocks[index] if index >= 0 else None
        if block is None or block.kind != "table" or start <= block.start or not self._max_tokens:
            return ""
        row = self._map.text[block.start : min(block.end, block.start + 2000)].split("\n")[0]
        second = block.start + len(row) + 1
        if start < second or start >= block.end:
            return ""
        return self._cut(row, self._max_head_tokens)

    def _cut(self, text: str, max_tokens: int) -> str:
        key = (text[:2000], max_tokens)
        if key not in self._cut_cache:
            if len(self._cut_cache) > 1000:
                self._cut_cache.clear()
            spans = np.asarray(self._tokens(key[0]), dtype=np.int64).reshape(-1, 2)
            fits = len(spans) <= max_tokens
            end = len(key[0]) if fits else int(spans[max_tokens - 1, 1]) if max_tokens else 0
            self._cut_cache[key] = key[0][: grapheme_cut(key[0], end)].strip()
        return self._cut_cache[key]
