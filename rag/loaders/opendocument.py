"""ODT, ODS and ODP: OpenDocument texts, sheets and slides, read from their content.xml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders.archive import Archive, attribute, local
from rag.loaders.builder import MAX_COLUMNS, TextBuilder, pipe_table
from rag.loaders.xlsx import Rows, add_sheet
from rag.types import ParsedDocument

MAX_REPEATED = 1000  # rows or cells that a sheet says to repeat with content in them
_SKIPPED = frozenset(
    ("tracked-changes", "sequence-decls", "forms", "annotation-end", "bookmark", "bookmark-start", "soft-page-break")
)
_NOTES = frozenset(("note", "annotation"))


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read an OpenDocument file. Text deleted under tracked changes is left out, notes follow their paragraph.

    Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_ENCRYPTED, E_XML_UNSAFE, E_TOO_DEEP.
    """
    archive = Archive(data, name)
    manifest = archive.read("META-INF/manifest.xml") or b""
    if b"encryption-data" in manifest:
        raise DocumentError("E_ENCRYPTED", f"{name} is encrypted. Save it without a password and import it again.")
    root = archive.xml("content.xml")
    body = next((one for one in root if local(one) == "body"), None) if root is not None else None
    if body is None or not len(body):
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: the archive holds no content. Save it again from its program."
        )
    content = body[0]
    state = _State(builder=TextBuilder())
    kind, n_pages = "odt", None
    if local(content) == "spreadsheet":
        kind = "ods"
        for table in (one for one in content if local(one) == "table"):
            add_sheet(state.builder, attribute(table, "name"), _sheet(table))
    elif local(content) == "presentation":
        kind = "odp"
        pages = [one for one in content if local(one) == "page"]
        n_pages = len(pages)
        for number, page in enumerate(pages, start=1):
            state.page = number
            state.builder.add("heading", attribute(page, "name") or f"Slide {number}", level=2, page=number)
            _walk(page, state, 0)
    else:
        _walk(content, state, 0)
    metadata = _properties(archive)
    title = metadata.pop("title", "") or next(iter(state.builder.headings()), "")
    return state.builder.document(type=kind, title=title, metadata=metadata, n_pages=n_pages)


@dataclass(slots=True)
class _State:
    builder: TextBuilder
    page: int | None = None
    notes: list[str] = field(default_factory=list)  # of the paragraph that is being read


def _walk(parent: Element, state: _State, depth: int) -> None:
    for one in parent:
        tag = local(one)
        if tag in _SKIPPED or depth > 200:
            continue
        if tag == "h":
            level = attribute(one, "outline-level")
            state.builder.add("heading", _text(one, state), level=int(level) if level.isdigit() else 1, page=state.page)
        elif tag == "p":
            state.builder.add("paragraph", _text(one, state), page=state.page)
            _boxes(one, state, depth)
        elif tag == "list":
            state.builder.add("list", "\n".join(_items(one, state, 0)), page=state.page)
        elif tag == "table":
            state.builder.add("table", pipe_table(_table(one, state)), page=state.page)
        else:
            _walk(one, state, depth + 1)
        for note in state.notes:
            state.builder.add("paragraph", note, page=state.page)
        state.notes.clear()


def _boxes(paragraph: Element, state: _State, depth: int) -> None:
    """Text boxes that hang on a paragraph."""
    for one in paragraph.iter():
        if local(one) == "text-box":
            _walk(one, state, depth + 1)


def _text(element: Element, state: _State) -> str:
    """The text of a paragraph. Notes in it are kept for later, boxes are left to `_boxes`."""
    parts: list[str] = [element.text or ""]
    for one in element:
        tag = local(one)
        if tag in _NOTES:
            words = " ".join(" ".join(_text(each, state).split()) for each in one.iter() if local(each) == "p")
            if words:
                state.notes.append(f"Note: {words}")
        elif tag == "s":
            count = attribute(one, "c")
            parts.append(" " * (min(int(count), 1000) if count.isdigit() else 1))
        elif tag == "tab":
            parts.append("\t")
        elif tag == "line-break":
            parts.append("\n")
        elif tag not in ("text-box", "object", "image", "ruby-text") and tag not in _SKIPPED:
            parts.append(_text(one, state))
        parts.append(one.tail or "")
    return "".join(parts)


def _items(parent: Element, state: _State, level: int) -> Iterator[str]:
    for item in parent:
        if local(item) not in ("list-item", "list-header"):
            continue
        for one in item:
            if local(one) == "list" and level < 20:
                yield from _items(one, state, level + 1)
            elif text := " ".join(_text(one, state).split()):
                yield f"{'  ' * level}- {text}"


def _table(table: Element, state: _State) -> Iterator[list[str]]:
    for row in _rows(table):
        yield [
            " ".join(_text_of_cell(cell, state).split())
            for cell in row
            if local(cell) in ("table-cell", "covered-table-cell")
        ]


def _rows(table: Element) -> Iterator[Element]:
    for one in table:
        if local(one) == "table-row":
            yield one
        elif local(one) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(one)


def _text_of_cell(cell: Element, state: _State) -> str:
    return " ".join(_text(one, state) for one in cell.iter() if local(one) in ("p", "h"))


def _sheet(table: Element) -> Rows:
    """The cells of a sheet. Repeated rows and cells without content, which fill it up to its edges, only move the place."""
    rows: Rows = {}
    number = 1
    for row in _rows(table):
        cells = _cells(row)
        times = _times(row, "number-rows-repeated")
        for offset in range(min(times, MAX_REPEATED) if cells else 0):
            rows[number + offset] = dict(cells)
        number += times
    return rows


def _cells(row: Element) -> dict[int, str]:
    cells: dict[int, str] = {}
    column = 1
    for cell in row:
        if local(cell) not in ("table-cell", "covered-table-cell"):
            continue
        times = _times(cell, "number-columns-repeated")
        if text := _shown(cell):
            for offset in range(min(times, MAX_COLUMNS + 1)):
                cells[column + offset] = text
        column += times
    return cells


def _shown(cell: Element) -> str:
    """A cell as its program shows it; a date as an ISO date."""
    if attribute(cell, "value-type") == "date" and (date := attribute(cell, "date-value")):
        return date.removesuffix("T00:00:00").replace("T", " ")
    state = _State(builder=TextBuilder())
    shown = " ".join(_text_of_cell(cell, state).split())
    return " ".join(part for part in (shown, *state.notes) if part)


def _times(element: Element, name: str) -> int:
    value = attribute(element, name)
    return max(1, int(value)) if value.isdigit() else 1


def _properties(archive: Archive) -> dict[str, str]:
    meta = archive.xml("meta.xml")
    found = {local(one): " ".join((one.text or "").split()) for one in meta.iter()} if meta is not None else {}
    kept = {
        "title": found.get("title", ""),
        "author": found.get("creator", "") or found.get("initial-creator", ""),
        "subject": found.get("subject", ""),
    }
    return {key: value for key, value in kept.items() if value}
