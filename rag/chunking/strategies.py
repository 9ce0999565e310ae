"""The strategies: each says into which regions a document falls, the cutter does the rest.

Every strategy keeps the same promises: the chunks together cover every character that is not white space, in order;
none is longer than the model reads; none splits a character as people see it. Without overlap none covers a character twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from rag.chunking.cutter import MAX_CHARS, Cutter, Region
from rag.chunking.layout import Contexts, Map, Tokens
from rag.errors import UsageError
from rag.settings import ChunkSettings
from rag.types import Block, Chunk, ChunkContext, Chunker, ParsedDocument

MIN_TOKENS = 8  # least room for text in a chunk
EMBED_BATCH = 512  # sentences that are compared at a time
MAX_SENTENCE = 1000  # characters of a sentence that are compared
MIN_SHARE = 8  # a semantic stretch of less than this part of a chunk goes to the one before
MAX_QUESTION = 300  # characters

_DEFAULTS = ChunkSettings()


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
    context = ChunkContext(
        doc_id=doc_id, tokens=tokens, size=size, overlap=overlap, context_tokens=context_tokens, overhead=overhead,
        embed=_no_embedder,
    )  # fmt: skip
    return recursive(parsed, context)


def chunker(settings: ChunkSettings, *, reserve: int = 0) -> Chunker:
    """The chunker that the settings name. reserve: tokens of each chunk, at most half of it, that stay free for
    what enrichment adds.
    """
    cut = CHUNKERS[settings.strategy]

    def run(parsed: ParsedDocument, context: ChunkContext) -> list[Chunk]:
        room = context.size - context.overhead
        size = context.size - min(reserve, room // 2)
        overlap = min(context.overlap, (size - context.overhead) // 2) if reserve else context.overlap
        return cut(parsed, replace(context, size=size, overlap=overlap), settings)

    return run


_PARAMETERS = {
    "sentence-window": ("child_size", "sentences", "window"), "parent-child": ("child_size",),
    "semantic": ("percentile",), "table-rows": ("rows",),
}  # fmt: skip


def chunk_recipe(settings: ChunkSettings) -> str:
    """Names the strategy and the parameters it reads, so that a change cuts documents again; "" for the default."""
    if settings.strategy == "recursive":
        return ""
    named = "".join(f" {name}={getattr(settings, name)}" for name in _PARAMETERS.get(settings.strategy, ()))
    return f" strategy={settings.strategy}{named}"


# ---------------------------------------------------------------- strategies


def recursive(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Chunks as large as fit, along the structure; see chunk_document."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    whole = plan.cutter.whole()
    return [whole] if whole else plan.cutter.run([Region(0, plan.end, overlap=context.overlap)])


def fixed(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Chunks of equally many tokens, whatever the structure; only words stay whole."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    return plan.cutter.run([Region(0, plan.end, overlap=context.overlap, along_structure=False)])


def heading(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """One chunk per section, however short; a section that does not fit is cut along its structure."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    return plan.cutter.run(plan.regions(plan.map.section_breaks.tolist(), overlap=context.overlap))


def sentence_window(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Chunks of a few sentences for the search; a reader gets them with the sentences around them, within the section."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    starts = sorted({0, *plan.map.sentence_starts().tolist()})
    groups = list(_groups(starts, settings.sentences, plan.map))
    bounds = [*starts, plan.end]
    sections = plan.map.section_breaks

    def region(first: int, last: int) -> Region:
        """Sentences first … last - 1."""
        start, end = bounds[first], bounds[last]
        section = int(np.searchsorted(sections, start, side="right"))
        low = int(sections[section - 1]) if section else 0
        high = int(sections[section]) if section < len(sections) else plan.end
        window = plan.trimmed(
            max(bounds[max(first - settings.window, 0)], low),
            min(bounds[min(last + settings.window, len(starts))], high),
        )
        parent = window if 0 < window[1] - window[0] <= MAX_CHARS else None
        return Region(start, end, most_tokens=settings.child_size, parent=parent)

    return plan.cutter.run(region(first, last) for first, last in groups)


def parent_child(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Small chunks for the search; a reader gets the larger one that they are parts of, see rag/expand.py."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    parents = plan.cutter.run(plan.regions(plan.map.section_breaks.tolist()))
    regions = [
        Region(one.start, one.end, most_tokens=settings.child_size, parent=(one.start, one.end)) for one in parents
    ]
    return plan.cutter.run(regions)


def semantic(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Breaks at sections and where a sentence is less like the one before than `percentile` % of the document's are."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    starts = sorted({0, *plan.map.sentence_starts().tolist()})
    texts = [parsed.text[a : min(b, a + MAX_SENTENCE)].strip() or "." for a, b in pairwise([*starts, plan.end])]
    distances = _distances(texts, context.embed)
    limit = float(np.percentile(distances, settings.percentile)) if len(distances) else 0.0
    far = [start for start, distance in zip(starts[1:], distances.tolist(), strict=True) if distance > limit]
    sections = set(plan.map.section_breaks.tolist())
    breaks, last = [], 0
    for at in sorted(sections | set(far)):
        if at in sections or plan.map.count(last, at) * MIN_SHARE >= plan.room:
            breaks.append(at)
            last = at
    return plan.cutter.run(plan.regions(breaks))


def table_rows(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Each row of a table, or each few rows, is a chunk under the table's head; everything else as in `recursive`."""
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    pairs = [(index, settings.rows) for index, block in enumerate(plan.map.blocks) if block.kind == "table"]
    return plan.cutter.run(_with_rows(plan, pairs, context.overlap))


def qa(parsed: ParsedDocument, context: ChunkContext, settings: ChunkSettings = _DEFAULTS) -> list[Chunk]:
    """Each question with its answer is a chunk: "Q:" and "问：" lines, headings that ask, tables with such columns.

    An answer that is too long goes on in chunks that carry the question in `extra`. Without questions as in `recursive`.
    """
    if (plan := _Plan.of(parsed, context)) is None:
        return []
    asked = _questions(plan)
    tables = [(index, 1) for index, block in enumerate(plan.map.blocks) if _is_qa_table(plan.map, block)]
    if not asked and not tables:
        return recursive(parsed, context, settings)
    return plan.cutter.run(_with_questions(plan, asked, tables, context.overlap))


Strategy = Callable[[ParsedDocument, ChunkContext, ChunkSettings], list[Chunk]]
CHUNKERS: Mapping[str, Strategy] = {
    "recursive": recursive, "heading": heading, "sentence-window": sentence_window, "parent-child": parent_child,
    "semantic": semantic, "table-rows": table_rows, "qa": qa, "fixed": fixed,
}  # fmt: skip
"""By the names that `chunk.strategy` knows. Each is a Chunker, too: its settings have defaults."""


# ---------------------------------------------------------------- planning


class _Plan:
    """A document laid out, and its cutter."""

    def __init__(self, parsed: ParsedDocument, context: ChunkContext, room: int) -> None:
        self.map = Map(parsed, context.tokens)
        self.room = room
        self.end = len(parsed.text)
        contexts = Contexts(
            self.map, parsed.title, context.tokens, min(max(context.context_tokens, 0), room // 2), room // 3
        )
        self.cutter = Cutter(self.map, contexts, context.doc_id, context.tokens, room)

    @classmethod
    def of(cls, parsed: ParsedDocument, context: ChunkContext) -> _Plan | None:
        """None for a document without text. Raises: UsageError when the sizes leave no room for text."""
        room = context.size - context.overhead
        if room < MIN_TOKENS:
            raise UsageError(
                f"chunk.size {context.size} leaves {room} tokens for text beside {context.overhead} of the model; set it to "
                f"at least {context.overhead + MIN_TOKENS}."
            )
        if not 0 <= context.overlap < room:
            raise UsageError(
                f"chunk.overlap {context.overlap} must be below the {room} tokens that a chunk has for text. Lower it or raise chunk.size."
            )
        return cls(parsed, context, room) if parsed.text.strip() else None

    def regions(self, breaks: Iterable[int], *, overlap: int = 0) -> list[Region]:
        """The regions between breaks, the whole document long."""
        return [Region(a, b, overlap=overlap) for a, b in pairwise(sorted({0, *breaks, self.end}))]

    def trimmed(self, start: int, end: int) -> tuple[int, int]:
        """Without the white space at both ends."""
        piece = self.map.text[start:end]
        return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _no_embedder(texts: Sequence[str]) -> Any:
    raise UsageError("This chunker needs an embedding model, and none was given.")


def _groups(starts: Sequence[int], n: int, map_: Map) -> Iterator[tuple[int, int]]:
    """Index ranges of up to n sentences that follow one another within one section."""
    first = 0
    for at in range(1, len(starts) + 1):
        if at == len(starts) or at - first == n or map_.starts_section(starts[at]):
            yield first, at
            first = at


def _distances(texts: Sequence[str], embed: Callable[[Sequence[str]], Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """1 - cosine of each text and the next; embedded in batches, so that no more than one is held."""
    found: list[float] = []
    before: Any = None
    for start in range(0, len(texts), EMBED_BATCH):
        vectors = np.asarray(embed(list(texts[start : start + EMBED_BATCH])), dtype=np.float64)
        joined = vectors if before is None else np.vstack([before, vectors])
        found.extend((1.0 - np.sum(joined[:-1] * joined[1:], axis=1)).tolist())
        before = vectors[-1:]
    return np.array(found, dtype=np.float64)


# ---------------------------------------------------------------- tables

_SEPARATOR = re.compile(r"[ \t]*\|?[ \t]*:?-{2,}[-:| \t]*$")


def _with_rows(plan: _Plan, tables: Sequence[tuple[int, int]], overlap: int) -> Iterator[Region]:
    """The rows of these tables in groups, each a region, and the stretches between them. tables: (block, rows per group)."""
    at = 0
    for index, n_rows in tables:
        first = _with_headings(plan.map, index)
        if first > at:
            yield Region(at, first, overlap=overlap)
        at = max(first, at)
        for stop in [*_row_starts(plan.map, index, n_rows), _next_block(plan, index)]:
            yield Region(at, stop)
            at = stop
    if at < plan.end:
        yield Region(at, plan.end, overlap=overlap)


def _row_starts(map_: Map, index: int, n: int) -> list[int]:
    """Where each n-th row of a table starts; the head and its rule belong to the first rows."""
    starts = map_.unit_starts(index).tolist()
    block = map_.blocks[index]
    ruled = bool(starts) and bool(_SEPARATOR.match(map_.text[starts[0] : _line_end(map_.text, starts[0], block.end)]))
    rows = [block.start, *starts[2 if ruled else 1 :]]  # the first one stands with the head and its rule
    return rows[n::n]


def _line_end(text: str, start: int, end: int) -> int:
    found = text.find("\n", start, min(end, start + 4000))
    return found if found >= 0 else min(end, start + 4000)


def _with_headings(map_: Map, index: int) -> int:
    """Where a block starts, together with the headings right above it."""
    while index and map_.blocks[index - 1].kind == "heading":
        index -= 1
    return map_.blocks[index].start


def _next_block(plan: _Plan, index: int) -> int:
    blocks = plan.map.blocks
    return blocks[index + 1].start if index + 1 < len(blocks) else plan.end


# ---------------------------------------------------------------- questions and answers

_ASKS = re.compile(
    r"^[ \t>*_-]{0,8}(?:(?:Q|Question|FAQ)[ \t]*\d{0,4}[ \t]*[:：.)]|(?:问题|提问|问|問)[ \t]*\d{0,4}[ \t]*[:：])",
    re.IGNORECASE | re.MULTILINE,
)
_QUESTION_HEADING = re.compile(
    r"[?？][\s*_#]*$|^(?:how|what|why|when|where|who|which|can|could|do|does|is|are|should)\b(?=.{3,}$)|^(?:如何|怎么|怎样|为什么|什么是|是否|能否|哪些)",
    re.IGNORECASE,
)
_QUESTION_COLUMN = re.compile(r"\b(?:questions?|q|faq)\b|问题|提问|^问$|問題", re.IGNORECASE)
_ANSWER_COLUMN = re.compile(r"\b(?:answers?|a|reply|response)\b|答案|回答|解答|^答$|答复", re.IGNORECASE)


def _questions(plan: _Plan) -> dict[int, str]:
    """Where questions start, each with its text."""
    text = plan.map.text
    found: dict[int, str] = {}
    for match in _ASKS.finditer(text):
        block = plan.map.blocks[max(plan.map.block_at(match.end() - 1), 0)]
        if block.kind not in ("table", "code"):
            found[match.start()] = text[match.start() : _line_end(text, match.end(), len(text))].strip()[:MAX_QUESTION]
    for block in plan.map.blocks:
        if block.kind == "heading" and _QUESTION_HEADING.search(plan.map.text_of(block)):
            found[block.start] = plan.map.text_of(block)[:MAX_QUESTION]
    return found


def _with_questions(
    plan: _Plan, asked: Mapping[int, str], tables: Sequence[tuple[int, int]], overlap: int
) -> Iterator[Region]:
    """Regions that end before each question, each section and each table with questions."""
    rows: dict[int, int] = {}  # where a row of a table starts → where it ends
    for index, n in tables:
        stops = [plan.map.blocks[index].start, *_row_starts(plan.map, index, n), _next_block(plan, index)]
        rows.update(pairwise(stops))
    breaks = {*asked, *rows, *rows.values(), *plan.map.section_breaks.tolist()}
    pending = 0
    for a, b in pairwise(sorted({0, *breaks, plan.end})):
        plain = a not in asked and a not in rows
        if plain and b not in asked and b not in rows and b not in rows.values() and b != plan.end:
            continue  # sections without questions stay together, as in `recursive`
        if plain:
            yield Region(pending, b, overlap=overlap)
        else:
            if pending < a:
                yield Region(pending, a, overlap=overlap)
            yield Region(a, b, extra=asked.get(a, ""))
        pending = b


def _is_qa_table(map_: Map, block: Block) -> bool:
    if block.kind != "table":
        return False
    cells = [cell.strip() for cell in map_.text[block.start : _line_end(map_.text, block.start, block.end)].split("|")]
    return any(map(_QUESTION_COLUMN.search, cells)) and any(map(_ANSWER_COLUMN.search, cells))
