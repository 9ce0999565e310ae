"""From lines with places on pages to a document: columns, tables, paragraphs, headings, running heads."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from rag.loaders.builder import TextBuilder, pipe_table
from rag.types import ParsedDocument

HYPHEN = "\ufffe"  # pdfium's mark for a hyphen at a line's end

_NUMBERED = re.compile(r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.?|[A-Z]\.|[IVX]{1,4}\.)\s+\S")
_MARKER = re.compile(r"(?:[(\[]?[\w.]{0,6}[.)\]:]|[.•·◦▪‣*–—-]|\.?\d{1,3}(?:\.\d{1,3})*|[^\w\s]{1,2})$")
_WIDE = re.compile(r"[\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class Cell:
    """A stretch of a line without a wide gap in it."""

    text: str
    x0: float
    x1: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page. Larger `top` is higher. `size` 0: the place is not known.

    cells: its stretches where wide gaps part it. table: a whole table, which stands here in place of a line.
    note: words about the page, such as a comment, that are no part of its flow.
    """

    text: str
    page: int
    x0: float = 0.0
    x1: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    size: float = 0.0
    bold: bool = False
    cells: tuple[Cell, ...] = ()
    table: bool = False
    note: bool = False


def document(
    pages: Sequence[list[Line]], *, type: str, title: str = "", warnings: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None, outline: Mapping[tuple[int, str], int] | None = None,
) -> ParsedDocument:  # fmt: skip
    """Lines by page, in reading order, as a document.

    outline: the level of lines that the file's outline names as headings, by page and words as `key` gives them.
    """
    hyphenated = set(
        re.findall(r"[^\W\d_]+-[^\W\d_]+", " ".join(line.text for lines in pages for line in lines).lower())
    )
    flows = [
        [replace(line, text=_join_hyphen(line.text, hyphenated)) for line in _with_tables(lines)]
        for lines in _without_running_heads([in_columns(lines) for lines in pages])
    ]
    body, levels = _sizes(flows)
    builder = TextBuilder()
    for lines in flows:
        for block in _blocks(lines, outline or {}):
            text = "\n".join(line.text for line in block)
            if block[0].table:
                builder.add("table", text, page=block[0].page)
                continue
            level = 0 if block[0].note else _outlined(block, outline or {}) or _level(block, body, levels)
            builder.add("heading" if level else "paragraph", text, level=level, page=block[0].page)
    title = title or _largest_heading(builder)
    return builder.document(type=type, title=title, metadata=metadata, warnings=warnings, n_pages=len(pages))


def key(text: str) -> str:
    """Words for comparison: letters and digits alone, without a number before them, which outlines often lack."""
    return "".join(char for char in text.lower() if char.isalnum()).lstrip("0123456789")


# ---------------------------------------------------------------- columns


def in_columns(lines: list[Line]) -> list[Line]:
    """The lines in reading order where a page is set in columns and they run across; else as they came.

    A file that draws column by column comes in order; one that draws line by line, or whose columns share their base
    lines, does not.
    """
    placed = [line for line in lines if line.size > 0 and not line.table]
    if len(placed) < 8 or len(placed) < 0.8 * len(lines):
        return lines
    left, right = min(line.x0 for line in placed), max(line.x1 for line in placed)
    gutters = _gutters(placed, right - left)
    if not gutters:
        return _top_down(lines)
    pieces = [piece for line in lines for piece in _parted(line, gutters)]
    sides = [_side(piece, gutters) for piece in pieces]
    n_across = len(pieces) - len(lines)
    n_back = sum(0 <= after < before for before, after in pairwise(side for side in sides if side >= 0))
    n_bands = sum(side < 0 and any(other >= 0 for other in sides[:i]) for i, side in enumerate(sides))
    if n_across < 3 and n_back <= n_bands + 2:
        return lines
    return _by_columns(pieces, gutters)


def _top_down(lines: list[Line]) -> list[Line]:
    """The lines from top to bottom, where hardly any stands beside another; else as they came."""
    if any(line.size <= 0 for line in lines):
        return lines
    ordered = sorted(lines, key=lambda line: (-round(line.top + line.bottom), line.x0))
    n_beside = sum(before.bottom < line.top - 0.5 * min(before.size, line.size) for before, line in pairwise(ordered))
    return ordered if n_beside <= 0.1 * len(lines) else lines


def _gutters(lines: Sequence[Line], width: float) -> list[float]:
    """Where white runs between columns of running text, from left to right; none in a table or a single column."""
    narrow = [
        (cell, line.size)
        for line in lines
        for cell in _cells(line)
        if cell.x1 - cell.x0 < 0.6 * width and line.top - line.bottom < 3 * line.size  # not what runs up the margin
    ]
    if len(narrow) < 12:
        return []
    size = statistics.median(size for _, size in narrow)
    spans: list[list[float]] = []
    for x0, x1 in sorted((cell.x0, cell.x1) for cell, _ in narrow):
        if spans and x0 <= spans[-1][1] + 0.5 * size:
            spans[-1][1] = max(spans[-1][1], x1)
        else:
            spans.append([x0, x1])
    if not 2 <= len(spans) <= 4:
        return []
    for x0, x1 in spans:
        inside = [cell for cell, _ in narrow if x0 <= cell.x0 and cell.x1 <= x1]
        n_chars = statistics.median(len(cell.text) + len(_WIDE.findall(cell.text)) for cell in inside)
        full = statistics.median(cell.x1 - cell.x0 for cell in inside) > 0.6 * (x1 - x0)
        if len(inside) < 6 or n_chars < 18 or not full:
            return []
    return [(before[1] + after[0]) / 2 for before, after in pairwise(spans)]


def _cells(line: Line) -> tuple[Cell, ...]:
    return line.cells or (Cell(line.text, line.x0, line.x1),)


def _parted(line: Line, gutters: Sequence[float]) -> list[Line]:
    """A line cut where a gutter runs through one of its gaps."""
    if line.table or len(line.cells) < 2:
        return [line]
    groups: dict[int, list[Cell]] = {}
    for cell in line.cells:
        if any(cell.x0 < gutter < cell.x1 for gutter in gutters):
            return [line]
        groups.setdefault(sum(cell.x0 > gutter for gutter in gutters), []).append(cell)
    if len(groups) < 2:
        return [line]
    return [
        replace(line, text=" ".join(cell.text for cell in cells), x0=cells[0].x0, x1=cells[-1].x1, cells=tuple(cells))
        for _, cells in sorted(groups.items())
    ]


def _side(line: Line, gutters: Sequence[float]) -> int:
    """The column a line stands in, from 0; -1 where it runs across several."""
    if line.table or line.size <= 0 or any(line.x0 < gutter < line.x1 for gutter in gutters):
        return -1
    return sum(line.x0 > gutter for gutter in gutters)


def _by_columns(lines: Sequence[Line], gutters: Sequence[float]) -> list[Line]:
    """From top to bottom in bands that end with each line across the columns; in a band, column by column."""
    out: list[Line] = []
    band: list[tuple[int, Line]] = []

    def end_band() -> None:
        out.extend(line for _, line in sorted(band, key=lambda item: item[0]))
        band.clear()

    placed = sorted((line for line in lines if not line.note), key=lambda line: -(line.top + line.bottom))
    for line in placed:
        side = _side(line, gutters)
        if side < 0:
            end_band()
            out.append(line)
        else:
            band.append((side, line))
    end_band()
    return out + [line for line in lines if line.note]


# ---------------------------------------------------------------- tables


def _with_tables(lines: list[Line]) -> list[Line]:
    """Rows whose cells stand in columns, three or more in a row, become one table."""
    out: list[Line] = []
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and len(lines[end].cells) >= 2 and not lines[end].table:
            if end > at and not _follows(lines[end - 1], lines[end]):
                break
            end += 1
        end = max(end, at + 1)
        for first, last in _within(at, end):
            table = _aligned(lines[first:last])
            if table:
                row = replace(lines[first], text=table, bottom=lines[last - 1].bottom, cells=(), table=True)
                out += [*lines[at:first], row, *lines[last:end]]
                break
        else:
            out += lines[at:end]
        at = end
    return out


def _within(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches of three rows and more, the longest first: a title above or a sum below may not fit the columns."""
    for n in range(3):
        for above in range(n + 1):
            if end - first - n >= 3:
                yield first + above, end - (n - above)


def _follows(before: Line, line: Line) -> bool:
    """Whether a row stands right below the one before: no more than a blank line lies between them."""
    return 0 <= before.top - line.top < 4 * max(before.size, line.size)


def _aligned(rows: Sequence[Line]) -> str:
    """Rows as a pipe table when it is safe: the same columns in all of them, short cells, no list."""
    size = statistics.median(row.size for row in rows)
    columns: list[list[float]] = []
    for x0, x1 in sorted((cell.x0, cell.x1) for row in rows for cell in row.cells):
        if columns and x0 <= columns[-1][1] + 0.2 * size:
            columns[-1][1] = max(columns[-1][1], x1)
        else:
            columns.append([x0, x1])
    if not 2 <= len(columns) <= 40:
        return ""
    grid = [["" for _ in columns] for _ in rows]
    n_shared = 0
    for line, row in zip(rows, grid, strict=True):
        for cell in line.cells:
            i = next(i for i, (x0, x1) in enumerate(columns) if x0 <= cell.x0 <= x1)
            n_shared += bool(row[i])
            row[i] = f"{row[i]} {cell.text}".strip()
    filled = [cell for row in grid for cell in row if cell]
    firsts = [row[0] for row in grid if row[0]]
    if len(columns) == 2 and (not firsts or sum(bool(_MARKER.match(first)) for first in firsts) > 0.5 * len(firsts)):
        return ""
    if len(columns) == 2 and len(grid) < 4:
        return ""
    if (
        len(filled) < 0.75 * len(grid) * len(columns)
        or n_shared > 0.1 * len(filled)
        or statistics.median(map(len, filled)) > 30
    ):
        return ""
    return pipe_table(grid)


# ---------------------------------------------------------------- structure


def _largest_heading(builder: TextBuilder) -> str:
    """The first of the largest headings on the first page that has any; only the first three pages count."""
    found = [block for block in builder.blocks if block.kind == "heading" and (block.page or 0) <= 3]
    if not found:
        return ""
    best = min((block for block in found if block.page == found[0].page), key=lambda block: block.level)
    return builder.document(type="pdf").text[best.start : best.end].lstrip("# ")[:300]


def _join_hyphen(text: str, hyphenated: set[str]) -> str:
    """Join words that a line end parted; the hyphen stays where the word is written with it elsewhere."""

    def join(match: re.Match[str]) -> str:
        left, right = match.group(1), match.group(2)
        keep = f"{left}-{right}".lower() in hyphenated or not (left[-1:].islower() and right[:1].islower())
        return f"{left}-{right}" if keep and left and right else left + right

    return re.sub(rf"([^\W\d_]*){HYPHEN}([^\W\d_]*)", join, text).replace(HYPHEN, "-") if HYPHEN in text else text


def _without_running_heads(pages: list[list[Line]]) -> list[list[Line]]:
    """Drop heads and feet that come back on most pages, all but the first time, from pages that hold other text."""
    n_pages = sum(len(lines) > 3 for lines in pages)
    if n_pages < 4:
        return pages
    counts = Counter(key for lines in pages if len(lines) > 3 for key in {_running(line) for line in _edges(lines)})
    running = {key for key, n in counts.items() if n >= max(3, 0.5 * n_pages)}
    seen: set[str] = set()
    kept = []
    for lines in pages:
        edges = {id(line) for line in _edges(lines)} if len(lines) > 3 else set()
        out = []
        for line in lines:
            key = _running(line)
            if id(line) not in edges or key not in running:
                out.append(line)
            elif key not in seen and key.strip("#-– ."):
                seen.add(key)
                out.append(line)
        kept.append(out)
    return kept


def _edges(lines: list[Line]) -> list[Line]:
    """The lines that stand highest and lowest on the page."""
    by_height = sorted((line for line in lines if not line.note), key=lambda line: -line.top)
    return [by_height[0], by_height[-1]] if by_height else []


def _running(line: Line) -> str:
    return re.sub(r"\d+", "#", line.text)


def _sizes(pages: list[list[Line]]) -> tuple[float, dict[float, int]]:
    """The size of ordinary text, and the heading level of each larger size."""
    weights: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            if not line.table and not line.note:
                weights[line.size] += len(line.text)
    body = weights.most_common(1)[0][0] if weights else 0.0
    larger = sorted((size for size in weights if size >= 1.15 * body and size > 0), reverse=True)
    levels: dict[float, int] = {}
    level, before = 0, 0.0
    for size in larger:
        if before == 0.0 or size < 0.93 * before:
            level, before = min(level + 1, 5), size
        levels[size] = level
    return body, levels


def _level(block: Sequence[Line], body: float, levels: dict[float, int]) -> int:
    """Heading level of a block of lines; 0 for ordinary text."""
    text = " ".join(line.text for line in block)
    n_letters = sum(char.isalnum() for char in text)
    if (
        len(block) > 4
        or any(len(line.cells) > 2 for line in block)
        or len(text) > 200
        or n_letters < max(2, 0.6 * len(text.replace(" ", "")))
        or text.endswith((",", ";"))
    ):
        return 0
    size = block[0].size
    if size in levels:
        return levels[size]
    if (
        len(block) == 1
        and block[0].bold
        and size >= 0.95 * body
        and _NUMBERED.match(text)
        and len(text) < 120
        and not text.endswith(".")
    ):
        return min(max(levels.values(), default=0) + 1, 6)
    return 0


def _blocks(lines: list[Line], outline: Mapping[tuple[int, str], int]) -> Iterator[list[Line]]:
    """Group a page's lines, which come in reading order, into paragraphs. A table, a note, a heading of the outline is its own."""
    gap = _usual_gap([line for line in lines if not line.table and not line.note])
    block: list[Line] = []
    for line in lines:
        alone = [one.table or one.note or bool(_outlined([one], outline)) for one in (*block[-1:], line)]
        if block and (any(alone) or _starts_block(block[-1], line, gap)):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _outlined(block: Sequence[Line], outline: Mapping[tuple[int, str], int]) -> int:
    """The level of a line that the outline names; 0 for others."""
    return outline.get((block[0].page, key(block[0].text)), 0) if outline and len(block) == 1 else 0


def _usual_gap(lines: list[Line]) -> float:
    """Median white between two lines of a paragraph, in parts of the text size."""
    gaps = [
        (before.bottom - line.top) / line.size
        for before, line in pairwise(lines)
        if line.size > 0
        and abs(before.size - line.size) < 0.1 * line.size
        and -0.6 < (before.bottom - line.top) / line.size < 1.6
    ]
    return statistics.median(gaps) if gaps else 0.2


def _starts_block(before: Line, line: Line, gap: float) -> bool:
    if before.size <= 0 or line.size <= 0:
        return False
    if abs(before.size - line.size) > 0.1 * max(before.size, line.size):
        return len(line.text) > 2 and len(before.text) > 2  # not for a superscript or a fraction
    if before.bold != line.bold and _NUMBERED.match(before.text if before.bold else line.text):
        return True
    white = (before.bottom - line.top) / line.size
    if white < -2:  # the next column: its first line may go on with the sentence
        return not line.text[:1].islower()
    if white > max(gap, 0.0) + 0.35:
        return True
    return line.x0 - before.x0 > 0.8 * line.size and before.text.endswith((".", "。", "!", "?", ":", "”"))
