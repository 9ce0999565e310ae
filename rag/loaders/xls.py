"""XLS, Excel's format until 2003: the home of xlrd, which reads it in pure Python."""

from __future__ import annotations

import io
from datetime import datetime

from rag.errors import DocumentError
from rag.loaders.builder import TextBuilder
from rag.loaders.xlsx import Rows, add_sheet, column_letters, format_kind, shown_number
from rag.types import ParsedDocument


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a workbook, as xlsx.load does. Raises: DocumentError E_CORRUPT, E_ENCRYPTED."""
    import xlrd

    builder, warnings = TextBuilder(), list[str]()
    try:
        book = xlrd.open_workbook(
            file_contents=data, logfile=io.StringIO(), formatting_info=True, on_demand=True, ragged_rows=True
        )
        epoch = datetime(1904, 1, 1) if book.datemode else datetime(1899, 12, 30)
        for index in range(book.nsheets):
            sheet = book.sheet_by_index(index)
            if sheet.visibility:
                warnings.append(f"The sheet {sheet.name!r} is hidden in its program; it was read.")
            add_sheet(builder, sheet.name, _rows(book, sheet, epoch), _comments(sheet))
            book.unload_sheet(index)
        author = " ".join(str(book.user_name or "").split())
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # xlrd meets damage with whatever its reading of bytes comes to: IndexError, struct.error, …
        if "encrypt" in str(error).lower() or "password" in str(error).lower():
            raise DocumentError(
                "E_ENCRYPTED", f"{name} is encrypted. Save it without a password and import it again."
            ) from error
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged ({type(error).__name__}). Save it again from its program."
        ) from error
    return builder.document(type="xls", metadata={"author": author} if author else {}, warnings=warnings)


def _rows(book: object, sheet: object, epoch: datetime) -> Rows:
    import xlrd

    rows: Rows = {}
    for number in range(sheet.nrows):  # type: ignore[attr-defined]
        for column in range(sheet.row_len(number)):  # type: ignore[attr-defined]
            cell = sheet.cell(number, column)  # type: ignore[attr-defined]
            if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK):
                continue
            if cell.ctype == xlrd.XL_CELL_BOOLEAN:
                text = "TRUE" if cell.value else "FALSE"
            elif cell.ctype == xlrd.XL_CELL_ERROR:
                text = xlrd.error_text_from_code.get(cell.value, "#ERROR")
            elif cell.ctype in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
                text = shown_number(cell.value, _kind(book, cell), epoch)
            else:
                text = str(cell.value).strip()
            if text:
                rows.setdefault(number + 1, {})[column + 1] = text
    return rows


def _comments(sheet: object) -> list[str]:
    """Comments on cells: `A1: text`."""
    notes = sorted(sheet.cell_note_map.items())  # type: ignore[attr-defined]
    return [
        f"{column_letters(column + 1)}{row + 1}: {' '.join(note.text.split())}"
        for (row, column), note in notes
        if note.text.strip()
    ]


def _kind(book: object, cell: object) -> str:
    try:
        form = book.format_map[book.xf_list[cell.xf_index].format_key]  # type: ignore[attr-defined]
    except (KeyError, IndexError, TypeError):
        return ""
    return format_kind(form.format_str)
