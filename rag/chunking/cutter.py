"""From regions of a document to chunks: along headings, blocks and sentences, never longer than the embedding model reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from rag.chunking.layout import Contexts, Map, Tokens, last_break
from rag.errors import UsageError
from rag.text import grapheme_cut, grapheme_end, is_word_boundary
from rag.types import Chunk

MAX_CHARS = 16_000  # of an indexed text: at four bytes each it still fits a store's 65,535-byte field

# How full a chunk must be before a break of that kind is taken in place of a weaker one further on.
HEADING_FILL, BLOCK_FILL, SENTENCE_FILL = 0.3, 0.5, 0.3

_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of the document that is cut by itself.

    most_tokens: of text per chunk; 0: as many as fit. overlap: tokens that neighbours share.
    along_structure: prefer breaks at headings, blocks and sentences. parent: what a reader gets in place of its chunks.
    extra: words for the index that the chunks after the first need, such as the question that they go on answering.
    """

    start: int
    end: int
    most_tokens: int = 0
    overlap: int = 0
    along_structure: bool = True
    parent: tuple[int, int] | None = None
    extra: str = ""


@dataclass(slots=True)
class _Try:
    """One attempt at a chunk. It is repeated with less until the indexed text fits."""

    start: int
    floor: int  # the end of the chunk before; the new one must go on from here
    budget: int
    with_context: bool = True
    may_split_grapheme: bool = False


class Cutter:
    """Cuts regions of one document into chunks that cover every character of them that is not white space."""

    def __init__(self, map_: Map, contexts: Contexts, doc_id: str, tokens: Tokens, room: int) -> None:
        self._map = map_
        self._text = map_.text
        self._contexts = contexts
        self._doc_id = doc_id
        self._tokens = tokens
        self._room = room
        self._region = Region(0, len(self._text))

    def run(self, regions: Iterable[Region]) -> list[Chunk]:
        """The chunks of the regions, which follow one another. No chunk reaches over a region's end."""
        chunks: list[Chunk] = []
        for region in regions:
            self._cut(region, chunks)
        return chunks

    def _cut(self, region: Region, chunks: list[Chunk]) -> None:
        self._region = region
        start = floor = region.start
        while (floor := self._skip_space(floor)) < region.end:
            start = self._skip_space(max(start, 0)) if start < floor else floor
            chunk, floor = self._next(start, floor, len(chunks))
            if chunk is not None:
                chunks.append(chunk)
            start = self._overlap_start(chunk.start if chunk else floor, floor)

    def whole(self) -> Chunk | None:
        """The document as one chunk, if it fits."""
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
            attempt.budget = self._most()
        elif not attempt.may_split_grapheme:
            attempt.may_split_grapheme = True
            attempt.budget = self._most()
        else:
            raise UsageError(f"One character takes more than {self._room} tokens. Raise chunk.size.")

    def _budget(self, start: int) -> int:
        """Tokens for text after the context of a chunk that starts here. A chunk that ends later has no longer one."""
        context = self._contexts.of(start, start + 1)
        return max(min(self._room - (len(self._tokens(context)) if context else 0), self._most()), 1)

    def _most(self) -> int:
        return min(self._region.most_tokens or self._room, self._room)

    # ------------------------------------------------------------ where a chunk ends

    def _end(self, attempt: _Try) -> int:
        limit = min(self._map.reach(attempt.start, attempt.budget), attempt.start + MAX_CHARS)
        limit = max(limit, attempt.floor + 1)
        if limit >= self._region.end:
            return self._region.end
        structural = self._structural_end(attempt, limit) if self._region.along_structure else 0
        return structural or self._word_end(attempt, limit)

    def _structural_end(self, attempt: _Try, limit: int) -> int:
        """The best heading, block or sentence break up to the limit; 0 if none is good enough."""

        shared = self._map.count(attempt.start, attempt.floor)

        def fill(at: int) -> float:
            used = self._map.count(attempt.floor, at) / max(attempt.budget - shared, 1)
            return max(used, (at - attempt.floor) / MAX_CHARS)

        section = last_break(self._map.section_breaks, attempt.floor, limit)
        if section and fill(section) >= HEADING_FILL:
            return section
        block = last_break(self._map.block_breaks, attempt.floor, limit)
        if block and (fill(block) >= BLOCK_FILL or self._fits_whole(block, limit)):
            return block
        index = self._map.block_at(limit)
        sentence = last_break(self._map.unit_starts(index), attempt.floor, limit) if index >= 0 else 0
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
        overlap, index = self._region.overlap, self._map.block_at(end - 1)
        if not overlap or end >= self._region.end or index < 0:
            return end
        if self._region.along_structure and self._map.starts_section(self._skip_space(end)):
            return end
        n_tokens = min(overlap, self._budget(end) * 3 // 4)
        low = max(self._map.back(end, n_tokens), start + 1, end - MAX_CHARS // 4)
        if low >= end:
            return end
        if not self._region.along_structure:
            return max(grapheme_cut(self._text, low), start + 1)
        best = 0
        while (
            index >= 0
            and self._map.blocks[index].end > low
            and self._map.blocks[index].kind in ("paragraph", "list", "quote")
        ):
            block = self._map.blocks[index]
            units = self._map.unit_starts(index)
            first = int(np.searchsorted(units, low))
            if block.start >= low:
                best = block.start
            elif first < len(units) and units[first] < end:
                best = int(units[first])
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
        region = self._region
        parent_start, parent_end = region.parent or (None, None)
        chunk = Chunk(
            doc_id=self._doc_id, ordinal=ordinal, start=start, end=end, text=self._text[start:end], context=context, page=page,
            extra=region.extra if start > region.start else "", parent_start=parent_start, parent_end=parent_end,
        )  # fmt: skip
        return replace(chunk, n_tokens=len(self._tokens(chunk.indexed_text)))
