"""From a parsed document to chunks: along headings, blocks and sentences, never longer than the embedding model reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag.errors import UsageError
from rag.loaders import markdown, plain
from rag.text import grapheme_cut, grapheme_end, is_word_boundary, sentences
from rag.types import Block, Chunk, ParsedDocument

Tokens = Callable[[str], Any]

PIECE = 50_000  # characters that are tokenised at a time
MAX_CHARS = 16_000  # of an indexed text: at four bytes each it still fits a store's 65,535-byte field
MAX_TOKEN = 24  # a longer token counts as several: models turn a word of a megabyte into one "unknown"
MIN_TOKENS = 8  # least room for text in a chunk

# How full a chunk must be before a break of that kind is taken in place of a weaker one further on.
HEADING_FILL, BLOCK_FILL, SENTENCE_FILL = 0.3, 0.5, 0.3

_SPACE = re.compile(r"\s")


def chunk_document(
    parsed: ParsedDocument, *, doc_id: str, tokens: Tokens, size: int, overlap: int, context_tokens: int, overhead: int = 0
) -> list[Chunk]:  # fmt: skip
    """Cut a document into chunks that together cover every character that is not white space.

    tokens: character spans of a text's tokens, shape (n, 2), in order.
    size: most tokens per chunk, context and overhead included; never exceeded, measured on the text that is indexed.
    overlap: most tokens that neighbours share where a section goes on (not in tables and code); whole sentences if they fit.
    context_tokens: most tokens of title and headings before a chunk; they get at most half of the room.
    overhead: tokens that the model adds to each text.
    A document that fits is one chunk. Chunks break at headings, else between blocks, sentences, words, and in the last
    resort characters as people see them; tables and code stay whole if they fit.
    Raises: UsageError when size, overlap and overhead leave no room for text.
    """
    room = size - overhead
    if room < MIN_TOKENS:
        raise UsageError(
            f"chunk.size {size} leaves {room} tokens for text beside {overhead} of the model; set it to at least {overhead + MIN_TOKENS}."
        )
    if not 0 <= overlap < room:
        raise UsageError(
            f"chunk.overlap {overlap} must be below the {room} tokens that a chunk has for text. Lower it or raise chunk.size."
        )
    if not parsed.text.strip():
        return []
    map_ = _Map(parsed, tokens)
    contexts = _Contexts(map_, parsed.title, tokens, min(max(context_tokens, 0), room // 2), room // 3)
    return _Cutter(map_, contexts, doc_id, tokens, room, overlap).run()


# ---------------------------------------------------------------- where things are


class _Map:
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
            block = self.blocks[index]
            text = self.text[block.start : block.end]
            if block.kind in ("table", "code"):
                starts = [match.end() for match in re.finditer(r"\n", text)]
            else:
                starts = [start for start, _ in sentences(text)][1:]
            if len(self._sentences) > 64:
                self._sentences.clear()
            self._sentences[index] = np.array(starts, dtype=np.int64) + block.start
        return self._sentences[index]


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


# ---------------------------------------------------------------- context


class _Contexts:
    """Title and headings put before a chunk, cut to their share of tokens."""

    def __init__(self, map_: _Map, title: str, tokens: Tokens, max_tokens: int, max_head_tokens: int) -> None:
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


# ---------------------------------------------------------------- cutting


@dataclass(slots=True)
class _Try:
    """One attempt at a chunk. It is repeated with less until the indexed text fits."""

    start: int
    floor: int  # the end of the chunk before; the new one must go on from here
    budget: int
    with_context: bool = True
    may_split_grapheme: bool = False


class _Cutter:
    def __init__(self, map_: _Map, contexts: _Contexts, doc_id: str, tokens: Tokens, room: int, overlap: int) -> None:
        self._map = map_
        self._text = map_.text
        self._contexts = contexts
        self._doc_id = doc_id
        self._tokens = tokens
        self._room = room
        self._overlap = overlap

    def run(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        if whole := self._whole():
            return [whole]
        start = floor = 0
        while (floor := self._skip_space(floor)) < len(self._text):
            start = self._skip_space(max(start, 0)) if start < floor else floor
            chunk, floor = self._next(start, floor, len(chunks))
            if chunk is not None:
                chunks.append(chunk)
            start = self._overlap_start(chunk.start if chunk else floor, floor)
        return chunks

    def _whole(self) -> Chunk | None:
        if self._map.n_tokens > self._room or len(self._text) > 4 * MAX_CHARS:
            return None
        start, end = self._skip_space(0), len(self._text.rstrip())
        chunk = self._chunk(start, end, 0, self._contexts.of(start, end))
        return chunk if chunk.n_tokens <= self._room and len(chunk.indexed_text) <= MAX_CHARS else None

    def _next(self, start: int, floor: int, ordinal: int) -> tuple[Chunk | None, int]:
        """The chunk that starts at `start` and reaches beyond `floor`, and where it ends."""
        attempt = _Try(start, floor, self._budget(start))
        while True:
            end = self._end(attempt)
            stop = attempt.start + len(self._text[attempt.start : end].rstrip())
            if stop <= attempt.start:
                return None, end
            context = self._contexts.of(attempt.start, stop) if attempt.with_context else ""
            chunk = self._chunk(attempt.start, stop, ordinal, context)
            excess = max(chunk.n_tokens - self._room, -(-(len(chunk.indexed_text) - MAX_CHARS) // MAX_CHARS))
            if excess <= 0:
                return chunk, end
            self._shrink(attempt, excess)

    def _shrink(self, attempt: _Try, excess: int) -> None:
        """Ask for less: fewer tokens, then no overlap, then no context, then parts of a character."""
        attempt.budget -= excess
        if attempt.budget >= 1 and self._map.reach(attempt.start, attempt.budget) > attempt.floor:
            return
        if attempt.start < attempt.floor:
            attempt.start = attempt.floor
            attempt.budget = self._budget(attempt.start)
        elif attempt.with_context:
            attempt.with_context = False
            attempt.budget = self._room
        elif not attempt.may_split_grapheme:
            attempt.may_split_grapheme = True
            attempt.budget = self._room
        else:
            raise UsageError(f"One character takes more than {self._room} tokens. Raise chunk.size.")

    def _budget(self, start: int) -> int:
        """Tokens for text after the context of a chunk that starts here. A chunk that ends later has no longer one."""
        context = self._contexts.of(start, start + 1)
        return max(self._room - (len(self._tokens(context)) if context else 0), 1)

    # ------------------------------------------------------------ where a chunk ends

    def _end(self, attempt: _Try) -> int:
        limit = min(self._map.reach(attempt.start, attempt.budget), attempt.start + MAX_CHARS)
        limit = max(limit, attempt.floor + 1)
        if limit >= len(self._text):
            return len(self._text)
        return self._structural_end(attempt, limit) or self._word_end(attempt, limit)

    def _structural_end(self, attempt: _Try, limit: int) -> int:
        """The best heading, block or sentence break up to the limit; 0 if none is good enough."""

        shared = self._map.count(attempt.start, attempt.floor)

        def fill(at: int) -> float:
            used = self._map.count(attempt.floor, at) / max(attempt.budget - shared, 1)
            return max(used, (at - attempt.floor) / MAX_CHARS)

        section = _last(self._map.section_breaks, attempt.floor, limit)
        if section and fill(section) >= HEADING_FILL:
            return section
        block = _last(self._map.block_breaks, attempt.floor, limit)
        if block and (fill(block) >= BLOCK_FILL or self._fits_whole(block, limit)):
            return block
        index = self._map.block_at(limit)
        sentence = _last(self._map.unit_starts(index), attempt.floor, limit) if index >= 0 else 0
        if sentence and fill(sentence) >= SENTENCE_FILL:
            return sentence
        return block if block and fill(block) >= SENTENCE_FILL / 2 else 0

    def _fits_whole(self, start: int, limit: int) -> bool:
        """Whether a table or code would be cut at the limit, but fits into a chunk of its own when that starts here."""
        block = self._map.blocks[self._map.block_at(limit)]
        if block.kind not in ("table", "code") or not start <= block.start < limit < block.end:
            return False
        return self._map.count(start, block.end) <= self._budget(start) and block.end - start < MAX_CHARS - 2000

    def _word_end(self, attempt: _Try, limit: int) -> int:
        low = max(attempt.floor + 1, limit - 400, attempt.start + (limit - attempt.start) // 2)
        for at in range(limit, low - 1, -1):
            if self._text[at - 1].isspace():
                return at
        for at in range(limit, max(low, limit - 64) - 1, -1):
            if is_word_boundary(self._text, at) and grapheme_cut(self._text, at) == at:
                return at
        if attempt.may_split_grapheme:
            return limit
        cut = grapheme_cut(self._text, limit)
        return cut if cut > attempt.floor else grapheme_end(self._text, attempt.floor)

    # ------------------------------------------------------------ overlap

    def _overlap_start(self, start: int, end: int) -> int:
        """Where the chunk after [start, end) starts: some sentences back, but not over a heading, a table or code."""
        index = self._map.block_at(end - 1)
        if not self._overlap or end >= len(self._text) or self._map.starts_section(self._skip_space(end)) or index < 0:
            return end
        n_tokens = min(self._overlap, self._budget(end) * 3 // 4)
        low = max(self._map.back(end, n_tokens), start + 1, end - MAX_CHARS // 4)
        if low >= end:
            return end
        best = 0
        while (
            index >= 0
            and self._map.blocks[index].end > low
            and self._map.blocks[index].kind in ("paragraph", "list", "quote")
        ):
            block = self._map.blocks[index]
            units = self._map.unit_starts(index)
            inside = units[(units >= low) & (units < end)]
            if block.start >= low:
                best = block.start
            elif len(inside):
                best = int(inside[0])
            index -= 1
        if best:
            return best
        if self._map.blocks[self._map.block_at(end - 1)].kind not in ("paragraph", "list", "quote"):
            return end
        space = _SPACE.search(self._text, low, min(low + 200, end))
        return space.end() if space else grapheme_cut(self._text, low)

    # ------------------------------------------------------------ small things

    def _skip_space(self, at: int) -> int:
        while at < len(self._text) and self._text[at].isspace():
            at += 1
        return at

    def _chunk(self, start: int, end: int, ordinal: int, context: str) -> Chunk:
        index = max(self._map.block_at(start), 0)
        page = self._map.blocks[index].page if self._map.blocks else None
        text = self._text[start:end]
        indexed = f"{context}\n{text}" if context else text
        return Chunk(
            doc_id=self._doc_id, ordinal=ordinal, start=start, end=end, text=text, context=context, page=page,
            n_tokens=len(self._tokens(indexed)),
        )  # fmt: skip


def _last(sorted_offsets: np.ndarray[Any, np.dtype[np.int64]], above: int, limit: int) -> int:
    """The largest offset with above < offset <= limit; 0 if there is none."""
    index = int(np.searchsorted(sorted_offsets, limit, side="right")) - 1
    return int(sorted_offsets[index]) if index >= 0 and sorted_offsets[index] > above else 0
