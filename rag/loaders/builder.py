"""Puts a document's text together block by block, so that every block knows its exact place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rag.errors import DocumentError
from rag.types import Block, BlockKind, ParsedDocument

MAX_COLUMNS = 10_000


class TextBuilder:
    """Collects blocks; `document()` gives the text with a blank line between them. Used by one loader for one file."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[str] = []
        self.blocks: list[Block] = []

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None) -> None:
        """Append a block. Text without any character but white space adds nothing."""
        text = text.rstrip().lstrip("\n")
        text = text if kind in ("code", "list") else text.lstrip()
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        if kind == "heading":
            level = min(max(level, 1), 6)
            words = " ".join(text.split())
            self._headings.append(words)
            text = f"{'#' * level} {words}"
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        lead = len(text) - len(text.lstrip())
        self.blocks.append(
            Block(kind=kind, start=start + lead, end=self._length, level=level if kind == "heading" else 0, page=page)
        )

    def include(self, parsed: ParsedDocument, *, under: int = 0) -> None:
        """Append the blocks of another document, its headings below level `under`. Pages are not carried over."""
        levels = [block.level for block in parsed.blocks if block.kind == "heading"]
        deeper = max(under + 1 - min(levels, default=1), 0)
        for block in parsed.blocks:
            text = parsed.text[block.start : block.end]
            if block.kind == "heading":
                self.add("heading", _heading_words(text), level=block.level + deeper)
            else:
                self.add(block.kind, text)

    def headings(self) -> list[str]:
        """The words of the headings so far."""
        return list(self._headings)

    def document(
        self, *, type: str, title: str = "", metadata: Mapping[str, Any] | None = None,
        warnings: Sequence[str] = (), n_pages: int | None = None,
    ) -> ParsedDocument:  # fmt: skip
        return ParsedDocument(
            text="".join(self._parts), title=title, type=type, blocks=tuple(self.blocks), metadata=dict(metadata or {}),
            warnings=tuple(warnings), n_pages=n_pages,
        )  # fmt: skip


def pipe_table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table, the first row as its head. Empty rows and columns are left out.

    Raises: DocumentError E_TOO_WIDE above MAX_COLUMNS.
    """
    grid = [[table_cell(cell) for cell in row] for row in rows]
    grid = [row for row in grid if any(row)]
    if not grid:
        return ""
    width = max(len(row) for row in grid)
    if width > MAX_COLUMNS:
        raise DocumentError(
            "E_TOO_WIDE", f"A table has {width} columns; at most {MAX_COLUMNS} are read. Split the table."
        )
    used = [any(i < len(row) and row[i] for row in grid) for i in range(width)]
    lines = [[row[i] if i < len(row) else "" for i in range(width) if used[i]] for row in grid]
    lines.insert(1, ["---"] * sum(used))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fence(code: str, language: str = "") -> str:
    """Code between fences longer than any run of backticks in it."""
    ticks = "```"
    while ticks in code:
        ticks += "`"
    code = code.strip("\n")
    return f"{ticks}{language}\n{code}\n{ticks}" if code.strip() else ""


def quoted(text: str) -> str:
    """Text with `> ` before each line."""
    return "\n".join(f"> {line}".rstrip() for line in text.strip().split("\n"))


def _heading_words(text: str) -> str:
    """A Markdown heading's words: without its marks, or without the line below it."""
    return text.lstrip().lstrip("#").strip() if text.lstrip().startswith("#") else text.strip().split("\n")[0]


def table_cell(text: str) -> str:
    """A cell's text in one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")
