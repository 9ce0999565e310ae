"""Jupyter notebooks: Markdown cells as they are, code cells as code, what they printed as text. No pictures.

The format is plain JSON; nbformat would add a schema validator and five packages to refuse notebooks that are readable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rag.errors import DocumentError
from rag.loaders import html, json_text, markdown
from rag.loaders.builder import TextBuilder, fence
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

MAX_OUTPUT = 20_000  # characters of one output: logs of a training run are not what a notebook says

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PICTURE = re.compile(r"!?\[([^\]\n]{0,200})\]\(data:[^)\s]*\)")
_SURROGATE = re.compile("[\ud800-\udfff]")


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a notebook of format 3 or 4. What is no notebook is read as JSON.

    Raises: DocumentError E_TOO_DEEP, E_BINARY, E_ENCODING.
    """
    text, warnings = decode(data, name=name)
    try:
        book = json.loads(text)
    except (ValueError, RecursionError):
        book = None
    cells = _cells(book)
    if cells is None:
        return json_text.load(data, name=name)
    language = _language(book)
    builder = TextBuilder()
    n_cut = 0
    for cell in cells:
        source = _text(cell.get("source", cell.get("input", "")))
        kind = cell.get("cell_type")
        if kind == "code":
            builder.add("code", fence(source, language))
            outputs = cell.get("outputs")
            for output in outputs if isinstance(outputs, list) else []:
                n_cut += _output(builder, output) if isinstance(output, dict) else 0
        elif kind == "heading":
            level = cell.get("level")
            builder.add("heading", source, level=level if isinstance(level, int) else 1)
        else:
            _markdown(builder, source)
    if n_cut:
        warnings.append(f"{n_cut} outputs longer than {MAX_OUTPUT} characters were cut.")
    metadata = {"language": language} if language else {}
    title = next((markdown.heading_text(words) for words in builder.headings()), "")
    return builder.document(type="notebook", title=title, metadata=metadata, warnings=warnings)


def _cells(book: Any) -> list[dict[str, Any]] | None:
    if not isinstance(book, dict):
        return None
    cells = book.get("cells")
    if cells is None and isinstance(book.get("worksheets"), list):
        sheets = [sheet for sheet in book["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet.get("cells"), list) for cell in sheet["cells"]]
    if not isinstance(cells, list):
        return None
    return [cell for cell in cells if isinstance(cell, dict)]


def _language(book: dict[str, Any]) -> str:
    metadata = book.get("metadata")
    for key, field in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(key) if isinstance(metadata, dict) else None
        value = part.get(field) if isinstance(part, dict) else None
        if isinstance(value, str) and re.fullmatch(r"[\w+#.-]{1,30}", value):
            return value.lower()
    return ""


def _markdown(builder: TextBuilder, source: str) -> None:
    source = _PICTURE.sub(r"\1", source)
    builder.include(ParsedDocument(text=source, blocks=tuple(markdown.blocks(source))))


def _output(builder: TextBuilder, output: dict[str, Any]) -> bool:
    """Write what a cell printed; True if it had to be cut."""
    data = output.get("data", output)
    data = data if isinstance(data, dict) else {}
    text = next((_text(output[key]) for key in ("text",) if key in output), "")
    page = _text(data.get("text/html", data.get("html", "")))
    if "<table" in page[:2000]:
        _table(builder, page[: 10 * MAX_OUTPUT])
        return len(page) > 10 * MAX_OUTPUT
    if not text and (note := _text(data.get("text/markdown", ""))):
        _markdown(builder, note[:MAX_OUTPUT])
        return len(note) > MAX_OUTPUT
    if not text and output.get("output_type") in ("error", "pyerr"):
        text = f"{_text(output.get('ename', ''))}: {_text(output.get('evalue', ''))}"
    text = _ANSI.sub("", text or _text(data.get("text/plain", "")))
    if not text.startswith("<Figure size"):
        builder.add("code", fence(text[:MAX_OUTPUT]))
    return len(text) > MAX_OUTPUT


def _table(builder: TextBuilder, page: str) -> None:
    try:
        builder.include(html.load(f"<html><body>{page}".encode(), name="output"), under=1)
    except DocumentError:
        builder.add("paragraph", " ".join(re.sub(r"<[^<>]*>", " ", page).split())[:MAX_OUTPUT])


def _text(value: Any) -> str:
    """A string, or the lines of one, as notebooks keep them."""
    lines: Iterator[str] = (line for line in value if isinstance(line, str)) if isinstance(value, list) else iter(())
    text = value if isinstance(value, str) else "".join(lines)
    return _SURROGATE.sub("\ufffd", text).replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
