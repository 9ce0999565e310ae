"""XLSX: every sheet's cells as tables, read cell by cell from the XML, so that a lone cell in the last row costs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders.archive import Archive, attribute, local, relations, scan_xml
from rag.loaders.builder import MAX_COLUMNS, TextBuilder, pipe_table
from rag.types import ParsedDocument

Rows = dict[int, dict[int, str]]  # row → column → text, both from 1

_REFERENCE = re.compile(r"([A-Z]{1,3})(\d{1,7})")
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]")
_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_DATE_FORMATS = frozenset((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)))  # built in, East Asian ones too
_PERCENT_FORMATS = frozenset((9, 10))
_EPOCH = datetime(1899, 12, 30)
_EPOCH_1904 = datetime(1904, 1, 1)


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a workbook. Formulas show their last value, dates are ISO dates, empty rows part the tables of a sheet.

    Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_TOO_WIDE, E_XML_UNSAFE.
    """
    archive = Archive(data, name)
    workbook = archive.xml("xl/workbook.xml")
    if workbook is None:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: the archive holds no workbook. Save it again from its program."
        )
    targets = relations(archive, "xl/workbook.xml")
    since_1904 = any(
        attribute(one, "date1904") in ("1", "true") for one in workbook.iter() if local(one) == "workbookPr"
    )
    strings, formats = _shared_strings(archive), _formats(archive)
    builder, warnings = TextBuilder(), list[str]()
    for sheet in (one for one in workbook.iter() if local(one) == "sheet"):
        title = attribute(sheet, "name")
        part = archive.read(targets.get(attribute(sheet, "id"), ""))
        if part is None:
            warnings.append(f"The sheet {title!r} has no content in the file.")
            continue
        if attribute(sheet, "state") in ("hidden", "veryHidden"):
            warnings.append(f"The sheet {title!r} is hidden in its program; it was read.")
        add_sheet(
            builder, title, _Sheet(strings, formats, since_1904).read(part, name), _comments(archive, targets, sheet)
        )
    return builder.document(type="xlsx", metadata=_properties(archive), warnings=warnings)


def add_sheet(builder: TextBuilder, title: str, rows: Rows, notes: Iterable[str] = ()) -> None:
    """A heading with the sheet's name, its tables, and the comments on its cells. An empty sheet adds nothing."""
    notes = list(notes)
    if not rows and not notes:
        return
    builder.add("heading", title, level=2)
    for table in _tables(rows):
        builder.add("table", pipe_table(table))
    for note in notes:
        builder.add("paragraph", note)


def _tables(rows: Rows) -> Iterator[list[list[str]]]:
    """The stretches of rows without an empty row between them, each as wide as its own cells."""
    table: list[dict[int, str]] = []
    before = 0
    for number in sorted(rows):
        if table and number > before + 1:
            yield _grid(table)
            table = []
        table.append(rows[number])
        before = number
    if table:
        yield _grid(table)


def _grid(table: list[dict[int, str]]) -> list[list[str]]:
    columns = sorted({column for row in table for column in row})  # columns without any cell are left out anyway
    if len(columns) > MAX_COLUMNS:
        raise DocumentError(
            "E_TOO_WIDE", f"A table has {len(columns)} columns; at most {MAX_COLUMNS} are read. Split the table."
        )
    return [[row.get(column, "") for column in columns] for row in table]


class _Sheet:
    """Takes the cells of one sheet as its XML is scanned."""

    def __init__(self, strings: list[str], formats: list[str], since_1904: bool) -> None:
        self._strings, self._formats, self._epoch = strings, formats, _EPOCH_1904 if since_1904 else _EPOCH
        self._rows: Rows = {}
        self._row = self._column = 0
        self._type = self._style = ""
        self._text: list[str] = []
        self._taking = False

    def read(self, part: bytes, name: str) -> Rows:
        scan_xml(part, name, start=self._start, end=self._end, text=self._data)
        return self._rows

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            self._row = int(attributes["r"]) if attributes.get("r", "").isdigit() else self._row + 1
            self._column = 0
        elif tag == "c":
            match = _REFERENCE.fullmatch(attributes.get("r", ""))
            self._column = _column(match.group(1)) if match else self._column + 1
            self._row = int(match.group(2)) if match else self._row
            self._type, self._style, self._text = attributes.get("t", "n"), attributes.get("s", ""), []
        self._taking = tag in ("v", "t")

    def _data(self, text: str) -> None:
        if self._taking:
            self._text.append(text)

    def _end(self, tag: str) -> None:
        self._taking = False
        if tag == "c" and (shown := self._shown("".join(self._text)).strip()):
            self._rows.setdefault(self._row, {})[self._column] = shown

    def _shown(self, value: str) -> str:
        if self._type == "s":
            return self._strings[int(value)] if value.isdigit() and int(value) < len(self._strings) else ""
        if self._type == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(value, value)
        if self._type != "n" or not value.strip():
            return value
        kind = (
            self._formats[int(self._style)] if self._style.isdigit() and int(self._style) < len(self._formats) else ""
        )
        try:
            return shown_number(float(value), kind, self._epoch)
        except (ValueError, OverflowError):
            return value


def shown_number(value: float, kind: str, epoch: datetime = _EPOCH) -> str:
    """A number as people see it. kind: date, elapsed, percent or "" (a plain number)."""
    if kind == "percent":
        return f"{value * 100:.10g}%"
    if kind == "elapsed" and abs(value) < 2_958_466:
        minutes, seconds = divmod(round(abs(value) * 86_400), 60)
        return f"{'-' if value < 0 else ''}{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
    if kind == "date" and 0 <= value < 2_958_466:  # the year 9999
        moment = epoch + timedelta(seconds=round(value * 86_400))
        if value < 1:
            return moment.strftime("%H:%M:%S")
        return moment.strftime(
            "%Y-%m-%d" if moment.hour == moment.minute == moment.second == 0 else "%Y-%m-%d %H:%M:%S"
        )
    return f"{value:.15g}"


def format_kind(code: str) -> str:
    """What a number format makes of a number: date, elapsed (hours that go beyond a day), percent or ""."""
    if _ELAPSED.search(code.split(";")[0].lower()):
        return "elapsed"
    plain = _QUOTED.sub("", code.split(";")[0]).lower()
    if "%" in plain:
        return "percent"
    return "date" if re.search(r"[ymdhs]", plain.replace("general", "").replace("red", "")) else ""


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def column_letters(number: int) -> str:
    """1 → A, 27 → AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _shared_strings(archive: Archive) -> list[str]:
    part = archive.read("xl/sharedStrings.xml")
    strings: list[str] = []
    state = {"in_t": False, "phonetic": False}
    text: list[str] = []

    def start(tag: str, _attributes: dict[str, str]) -> None:
        state["phonetic"] |= tag == "rPh"
        state["in_t"] = tag == "t" and not state["phonetic"]

    def end(tag: str) -> None:
        state["in_t"] = False
        if tag == "rPh":
            state["phonetic"] = False
        elif tag == "si":
            strings.append("".join(text))
            text.clear()

    if part is not None:
        scan_xml(
            part, archive.name, start=start, end=end, text=lambda data: text.append(data) if state["in_t"] else None
        )
    return strings


def _formats(archive: Archive) -> list[str]:
    """The kind of each cell style, by its index."""
    styles = archive.xml("xl/styles.xml")
    if styles is None:
        return []
    own = {
        attribute(one, "numFmtId"): format_kind(attribute(one, "formatCode"))
        for one in styles.iter()
        if local(one) == "numFmt"
    }
    cells = next((one for one in styles.iter() if local(one) == "cellXfs"), None)
    ids = [attribute(one, "numFmtId") for one in cells if local(one) == "xf"] if cells is not None else []
    return [own[one] if one in own else _built_in(one) for one in ids]


def _built_in(number: str) -> str:
    value = int(number) if number.isdigit() else 0
    return (
        "elapsed"
        if value == 46
        else "date"
        if value in _DATE_FORMATS
        else "percent"
        if value in _PERCENT_FORMATS
        else ""
    )


def _comments(archive: Archive, targets: dict[str, str], sheet: Element) -> list[str]:
    """Comments on cells: `A1: text`."""
    found: list[str] = []
    for member in relations(archive, targets.get(attribute(sheet, "id"), "")).values():
        comments = archive.xml(member) if "/comments" in member else None
        for comment in (each for each in comments.iter() if local(each) == "comment") if comments is not None else ():
            text = "".join(each.text or "" for each in comment.iter() if local(each) == "t").strip()
            if text:
                found.append(f"{attribute(comment, 'ref')}: {' '.join(text.split())}")
    return found


def _properties(archive: Archive) -> dict[str, str]:
    core = archive.xml("docProps/core.xml")
    found = {local(one): " ".join((one.text or "").split()) for one in core} if core is not None else {}
    return {
        key: value
        for key, value in {"author": found.get("creator", ""), "subject": found.get("subject", "")}.items()
        if value
    }
