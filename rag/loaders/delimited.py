"""CSV and TSV: rows of cells as one table. Delimiter and head row are told from the content.

The standard library's reader is fast and forgiving once its field limit is lifted; its Sniffer is not used, as it
takes letters for delimiters. pandas would turn cells into numbers and dates, and refuses ragged rows.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from rag.errors import DocumentError
from rag.loaders.builder import MAX_COLUMNS, TextBuilder, table_cell
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

SAMPLE_CHARS = 64_000
SAMPLE_ROWS = 200
MAX_CAPTIONS = 5  # lines of a title that may stand above the head row
_FIELD_LIMIT = 2**31 - 1
_DELIMITERS = (",", ";", "\t", "|")
_END = "\x1c end \x1c"  # a row of ours behind the last one: it is lost when a quote is never closed
_SEP = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_DATA = re.compile(
    r"[-+(]?\s*[$€£¥]?\s*\d[\d.,\s']*\s*%?\)?"
    r"|\d{1,4}[-/.年]\d{1,2}[-/.月]\d{1,4}日?(?:[T ]\d{1,2}:\d{2}(?::\d{2})?\S*)?"
    r"|true|false|yes|no|[^\s@]+@[^\s@]+|https?://\S+",
    re.IGNORECASE,
)


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a table of delimited text as a pipe table. Cells stay as they are written: no number or formula is computed.

    Where the first row is data, too, the columns are called A, B, C. Lines above the head row become paragraphs.
    Raises: DocumentError E_BINARY, E_ENCODING, E_TOO_WIDE above MAX_COLUMNS.
    """
    text, warnings = decode(data, name=name)
    text = text.lstrip("\n")
    if hint := _SEP.match(text):
        text, delimiter = text[hint.end() :], hint.group(1)
    else:
        delimiter = "\t" if name.lower().endswith(".tsv") and "\t" in text[:SAMPLE_CHARS] else _delimiter(text)
    table = _Table(text, delimiter, name, warnings)
    builder = TextBuilder()
    for caption in table.captions:
        builder.add("paragraph", caption)
    builder.add("table", table.markdown())
    return builder.document(type="csv", warnings=warnings)


class _Table:
    """The rows of a text, read twice: once for their shape, once for their words. So only the text is kept in memory."""

    def __init__(self, text: str, delimiter: str, name: str, warnings: list[str]) -> None:
        """Raises: DocumentError E_TOO_WIDE."""
        self._text = text
        self._delimiter = delimiter
        self._open_quote_at = _open_quote(text, delimiter)
        if self._open_quote_at is not None:
            warnings.append(
                f"A quote that opens near line {self._open_quote_at + 1} is never closed; from there on quotes are plain text."
            )
        sample = list(islice(self._rows(), SAMPLE_ROWS))
        width = _typical_width(sample)
        self.captions, n_skip = _captions(sample, width)
        self._n_skip = n_skip
        sample = sample[n_skip:]
        self._has_head = _has_head(sample)
        self._used = self._shape(name, len(sample[0]) if sample and self._has_head else 0, warnings)

    def markdown(self) -> str:
        lines: list[str] = []
        columns = [i for i, used in enumerate(self._used) if used]
        if not columns:
            return ""
        if not self._has_head:
            lines += [_line(_letters(i) for i in columns), _line("---" for _ in columns)]
        for row in islice(self._rows(), self._n_skip, None):
            cells = [table_cell(row[i]) if i < len(row) else "" for i in columns]
            if any(cells):
                lines.append(_line(cells))
                if len(lines) == 1:
                    lines.append(_line("---" for _ in columns))
        return "\n".join(lines)

    def _rows(self) -> Iterator[list[str]]:
        """Rows with at least one cell that is not blank."""
        before = self._open_quote_at
        lines: Iterable[str] = io.StringIO(self._text)
        if before is None:
            yield from _read(lines, self._delimiter)
            return
        yield from _read(islice(lines, before), self._delimiter)
        yield from _read(lines, self._delimiter, quotes=False)

    def _shape(self, name: str, n_head: int, warnings: list[str]) -> list[bool]:
        """Which columns hold something, and a warning for rows longer than the head."""
        used: list[bool] = []
        n_long = 0
        for row in islice(self._rows(), self._n_skip, None):
            if len(row) > MAX_COLUMNS:
                raise DocumentError(
                    "E_TOO_WIDE",
                    f"{name} has a row of {len(row)} columns; at most {MAX_COLUMNS} are read. Split the table.",
                )
            if len(row) > len(used):
                used += [False] * (len(row) - len(used))
            for i, cell in enumerate(row):
                if cell and not used[i]:
                    used[i] = bool(cell.strip())
            n_long += 0 < n_head < len(row) and any(cell.strip() for cell in row[n_head:])
        if n_long:
            warnings.append(f"{n_long} rows have more cells than the head row; the cells were kept without a head.")
        return used


def _read(lines: Iterable[str], delimiter: str, *, quotes: bool = True) -> Iterator[list[str]]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(
        lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, skipinitialspace=True
    )
    for row in reader:
        if any(cell and not cell.isspace() for cell in row):
            yield row


def _open_quote(text: str, delimiter: str) -> int | None:
    """The number of lines before the row whose quote is never closed; None where all are closed."""
    if '"' not in text:
        return None
    csv.field_size_limit(_FIELD_LIMIT)
    body = text if text.endswith("\n") else text + "\n"
    reader = csv.reader(io.StringIO(body + _END), delimiter=delimiter, skipinitialspace=True)
    before = last_start = 0
    last: list[str] = []
    for last in reader:  # noqa: B007 - the last row is what is asked for
        last_start, before = before, reader.line_num
    return None if last == [_END] else last_start


def _delimiter(text: str) -> str:
    """The delimiter that gives most rows the same number of cells, above one."""
    sample = text[:SAMPLE_CHARS]
    if len(text) > SAMPLE_CHARS and "\n" in sample:
        sample = sample[: sample.rfind("\n") + 1]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        if delimiter not in sample:
            continue
        widths = [len(row) for row in islice(_read(io.StringIO(sample), delimiter), SAMPLE_ROWS)]
        if not widths:
            continue
        width = max(set(widths), key=lambda n: (widths.count(n), n))
        score = widths.count(width) / len(widths) * (1 + min(width, 10) / 100) if width > 1 else 0.0
        if score > best_score + 0.001:
            best, best_score = delimiter, score
    return best


def _typical_width(rows: list[list[str]]) -> int:
    widths = [sum(bool(cell.strip()) for cell in row) for row in rows]
    return max(set(widths), key=lambda n: (widths.count(n), n), default=0)


def _captions(rows: list[list[str]], width: int) -> tuple[list[str], int]:
    """Titles above the table, rows with a single cell while the table has more, and how many rows they are."""
    captions: list[str] = []
    if width > 1:
        for row in rows[:MAX_CAPTIONS]:
            cells = [cell.strip() for cell in row if cell.strip()]
            if len(cells) != 1 or row[0].strip() != cells[0]:
                break
            captions.append(" ".join(cells[0].split()))
    if len(captions) >= min(len(rows), MAX_CAPTIONS):
        return [], 0
    return captions, len(captions)


def _has_head(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: it looks unlike what stands below, and no cell of it comes again."""
    if len(rows) < 2:
        return False
    head, body = rows[0], rows[1:]
    votes = 0
    for i, cell in enumerate(head):
        below = [row[i].strip() for row in body if i < len(row) and row[i].strip()]
        first = cell.strip()
        if not first or not below:
            continue
        n_data = sum(bool(_DATA.fullmatch(value[:100])) for value in below)
        is_data = bool(_DATA.fullmatch(first[:100]))
        if n_data > 0.5 * len(below):
            votes += -2 if is_data else 2
        elif is_data and n_data == 0:
            votes += 1
        elif first in below or len(first) > 200:
            votes -= 1
    return votes >= 0


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _letters(index: int) -> str:
    """A column's name as spreadsheets have it: A to Z, AA, AB, …"""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
