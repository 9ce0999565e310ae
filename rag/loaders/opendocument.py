"""ODT, ODS and ODP: OpenDocument texts, sheets and slides, read from their content.xml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders.archive import Archive, attribute, local
from rag.loaders.builder import MAX_COLUMNS, TextBuilder, pipe_table
from rag.loaders.xlsx import Rows, add_sheet, column_letters
from rag.types import ParsedDocument

MAX_REPEATED = 1000  # rows or cells that a sheet says to repeat with content in them
_SKIPPED = frozenset(
    ("tracked-changes", "sequence-decls", "forms", "annotation-end", "bookmark", "bookmark-start", "soft-page-break")
)
_LENGTH = re.compile(r"(-?[\d.]{1,12})(cm|mm|in|pt|pc)")
_UNITS = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72, "pc": 2.54 / 6}
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
    assert root is not None
    content = body[0]
    state = _State(builder=TextBuilder())
    kind, n_pages, warnings = "odt", None, list[str]()
    if local(content) == "spreadsheet":
        kind = "ods"
        hidden = _hidden_styles(root)
        for table in (one for one in content if local(one) == "table"):
            comments: list[str] = []
            title = attribute(table, "name")
            if attribute(table, "style-name") in hidden:
                warnings.append(f"The sheet {title!r} is hidden in its program; it was read.")
            add_sheet(state.builder, title, _sheet(table, comments), comments)
    elif local(content) == "presentation":
        kind = "odp"
        pages = [one for one in content if local(one) == "page"]
        n_pages = len(pages)
        for number, page in enumerate(pages, start=1):
            state.page = number
            state.builder.add("heading", attribute(page, "name") or f"Slide {number}", level=2, page=number)
            _slide(page, state)
    else:
        _walk(content, state, 0)
    metadata = _properties(archive)
    title = metadata.pop("title", "") or next(iter(state.builder.headings()), "")
    return state.builder.document(type=kind, title=title, metadata=metadata, n_pages=n_pages, warnings=warnings)


@dataclass(slots=True)
class _State:
    builder: TextBuilder
    page: int | None = None
    notes: list[str] = field(default_factory=list)  # of the paragraph that is being read


def _slide(page: Element, state: _State) -> None:
    """What stands on a slide from top to bottom, what stands beside from left to right; then the speaker's notes."""
    shapes = [one for one in page if local(one) != "notes"]
    for shape in sorted(shapes, key=_place):
        _walk([shape], state, 0)
    for notes in (one for one in page if local(one) == "notes"):
        said = [" ".join(_text(one, state).split()) for one in notes.iter() if local(one) in ("p", "h")]
        if any(said):
            state.builder.add("paragraph", "Notes: " + "\n".join(line for line in said if line), page=state.page)


def _place(shape: Element) -> tuple[int, float]:
    """(row in steps of 5 mm, cm from the left) of a shape or, in a group, of its first; no place: the order of the file, first."""
    for one in shape.iter():
        if attribute(one, "y"):
            return round(_cm(attribute(one, "y")) * 2), _cm(attribute(one, "x"))
    return -1_000_000, 0.0


def _cm(length: str) -> float:
    match = _LENGTH.fullmatch(length)
    return float(match.group(1)) * _UNITS[match.group(2)] if match else 0.0


def _hidden_styles(root: Element) -> set[str]:
    """The names of the styles whose tables their program does not show."""
    styles = (one for one in root.iter() if local(one) == "style" and attribute(one, "family") == "table")
    return {
        attribute(style, "name")
        for style in styles
        if any(attribute(one, "display") == "false" for one in style if local(one) == "table-properties")
    }


def _walk(parent: Iterable[Element], state: _State, depth: int) -> None:
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
        elif tag == "list" and any(local(each) == "h" for each in one.iter()):
            _walk((each for item in one for each in item), state, depth + 1)  # how chapters are numbered
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
            _keep_note(one, state)
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


def _keep_note(note: Element, state: _State) -> None:
    words = " ".join(" ".join(_text(each, state).split()) for each in note.iter() if local(each) == "p")
    if words:
        state.notes.append(f"Note: {words}")


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
    """The paragraphs of a cell, also those in lists. A comment on the cell is a note, like those inside its paragraphs."""
    parts: list[str] = []
    for one in cell:
        tag = local(one)
        if tag in ("p", "h"):
            parts.append(_text(one, state))
        elif tag in _NOTES:
            _keep_note(one, state)
        elif tag not in _SKIPPED:
            parts.append(_text_of_cell(one, state))
    return " ".join(parts)


def _sheet(table: Element, comments: list[str]) -> Rows:
    """The cells of a sheet; comments on them go to `comments`. Repeated rows and cells without content, which fill it up to its edges, only move the place."""
    rows: Rows = {}
    number = 1
    for row in _rows(table):
        cells = _cells(row, number, comments)
        times = _times(row, "number-rows-repeated")
        for offset in range(min(times, MAX_REPEATED) if cells else 0):
            rows[number + offset] = dict(cells)
        number += times
    return rows


def _cells(row: Element, number: int, comments: list[str]) -> dict[int, str]:
    cells: dict[int, str] = {}
    column = 1
    for cell in row:
        if local(cell) not in ("table-cell", "covered-table-cell"):
            continue
        times = _times(cell, "number-columns-repeated")
        state = _State(builder=TextBuilder())
        text = _shown(cell, state)
        comments.extend(f"{column_letters(column)}{number}: {note.removeprefix('Note: ')}" for note in state.notes)
        if text:
            for offset in range(min(times, MAX_COLUMNS + 1)):
                cells[column + offset] = text
        column += times
    return cells


def _shown(cell: Element, state: _State) -> str:
    """A cell as its program shows it; a date as an ISO date."""
    if attribute(cell, "value-type") == "date" and (date := attribute(cell, "date-value")):
        return date.removesuffix("T00:00:00").replace("T", " ")
    return " ".join(_text_of_cell(cell, state).split())


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
