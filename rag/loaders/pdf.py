"""PDF: text by pdfium (pypdf where pdfium cannot open the file), with the place of every line; pictures by OCR."""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import pairwise
from typing import Any

from rag.errors import DocumentError
from rag.loaders import layout, pdf_mark, pdf_notes, ruling
from rag.loaders.builder import pipe_table
from rag.loaders.layout import HYPHEN, Cell, Line
from rag.loaders.ocr import Reader, advice
from rag.loaders.ruling import Area, Segment
from rag.types import ParsedDocument, Part

MAX_STREAM = 100 * 1024 * 1024  # bytes that one compressed stream may unpack to
MAX_RATIO = 100
MAX_PAGES = 50_000
MAX_OBJECTS = 5_000  # drawn objects of a page that are looked at for ruling lines
MAX_SCALE = 8.0  # of a page that is drawn to be looked at: a stamp does not become a poster
OCR_DPI = 150
MAX_OCR_PIXELS = 2_500  # the longer side of a page that is drawn for OCR

_YELLOW = (1, 0, 0, 0, 0, 0.88, 0, 0, 0, 0, 0.35, 0)  # what a yellow marker leaves of red, green and blue

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STREAM = re.compile(rb"stream\r?\n")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(slots=True)
class _Content:
    """What was read so far. Page numbers: pictures = without text, garbled = their fonts do not say what they draw."""

    pages: list[list[Line]] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    garbled: list[int] = field(default_factory=list)
    by_ocr: list[int] = field(default_factory=list)
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    outline: dict[tuple[int, str], int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    warnings: list[str] = field(default_factory=list)


def load(data: bytes, *, name: str, password: str = "", ocr: Reader | None = None) -> ParsedDocument:
    """Read a PDF. With `ocr`, pages that are pictures or whose text does not decode are read by it.

    Raises: DocumentError E_ENCRYPTED, E_CORRUPT, E_TOO_LARGE, E_NO_TEXT_LAYER (scans), E_NO_TEXT (blank), E_GARBLED.
    """
    _refuse_bombs(data, name)
    content = _read(data, name, password, ocr)
    if not any(line.text.strip() for lines in content.pages for line in lines) and not content.parts:
        _refuse(content, name)
    if content.by_ocr:
        content.metadata["ocr"] = True
    parsed = layout.document(
        content.pages, type="pdf", title=content.title, warnings=[*_warnings(content), *content.warnings],
        metadata=content.metadata, outline=content.outline,
    )  # fmt: skip
    return replace(parsed, parts=content.parts)


def _refuse(content: _Content, name: str) -> None:
    if content.garbled:
        raise DocumentError(
            "E_GARBLED",
            f"{name}: the fonts do not say which characters they draw, so the text must be read by OCR. {advice()}.",
        )
    if content.pictures:
        raise DocumentError("E_NO_TEXT_LAYER", f"{name}: the pages are pictures without text. {advice()}.")
    n_pages = len(content.pages)
    if content.by_ocr:
        raise DocumentError("E_NO_TEXT", f"{name} holds no text: OCR found none on its {n_pages} pages.")
    raise DocumentError("E_NO_TEXT", f"{name} holds no text: its {n_pages} pages are blank.")


def _warnings(content: _Content) -> list[str]:
    said = (
        (content.by_ocr, "was read by OCR", "were read by OCR"),
        (content.pictures, "is a picture without text", "are pictures without text"),
        (content.garbled, "was left out: its fonts do not say which characters they draw",
         "were left out: their fonts do not say which characters they draw"),
    )  # fmt: skip
    warnings = [f"{_pages(pages)} {one if len(pages) == 1 else many}." for pages, one, many in said if pages]
    return [*warnings, f"To have them read: {advice()}."] if content.pictures or content.garbled else warnings


def _pages(numbers: Sequence[int]) -> str:
    """Page numbers in words, runs shortened: Pages 1–3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = ", ".join(f"{a}–{b}" if b > a else str(a) for a, b in runs[:10])
    return f"{'Page' if len(numbers) == 1 else 'Pages'} {shown}{' …' if len(runs) > 10 else ''}"


def page_image(
    data: bytes, number: int, *, width: int, password: str = "", quotes: Sequence[str] = ()
) -> ParsedDocument:
    """A page as a picture, `width` pixels wide: the one part of a document without text. n_pages: of the whole file.

    quotes: are marked where they stand; metadata["marked"] counts their lines, metadata["top"] is where the first is, 0 to 1.

    Raises: DocumentError for a file that does not open, a password that is wrong and a page that is not there.
    """
    import io

    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data, password=password or None)
    except pypdfium2.PdfiumError as error:
        raise DocumentError("E_CORRUPT", f"The page cannot be drawn: {_reason(error)}.") from error
    try:
        if not 1 <= number <= len(pdf):
            raise DocumentError("E_CORRUPT", f"There is no page {number}; the file has {len(pdf)}.")
        if pdf.get_formtype():
            pdf.init_forms()
        page = pdf[number - 1]
        out = io.BytesIO()
        scale = min(width / max(page.get_width(), 1), MAX_SCALE, 3 * width / max(page.get_height(), 1))
        picture = page.render(scale=scale).to_pil().convert("RGB")
        tops = [_mark(picture, page, box) for box in _quoted(page, quotes)] if quotes else []
        picture.save(out, "PNG", optimize=False)
        return ParsedDocument(
            text="", type="pdf", n_pages=len(pdf), parts=(Part(name="page.png", data=out.getvalue()),),
            metadata={"marked": len(tops), "top": min(tops, default=0.0)},
        )  # fmt: skip
    except pypdfium2.PdfiumError as error:
        raise DocumentError("E_CORRUPT", f"Page {number} cannot be drawn: {_reason(error)}.") from error
    finally:
        pdf.close()


def _quoted(page: Any, quotes: Sequence[str]) -> list[pdf_mark.Box]:
    textpage = page.get_textpage()
    try:
        return list(dict.fromkeys(box for quote in quotes for box in pdf_mark.boxes(textpage, quote)))
    finally:
        textpage.close()


def _mark(picture: Any, page: Any, box: pdf_mark.Box) -> float:
    """Put a marker's yellow over a box given in points. Returns how far down the page it lies, 0 to 1."""
    turn = int(page.get_rotation()) // 90 % 4
    whole: pdf_mark.Box = page.get_mediabox()
    left, bottom, right, top = _turned(*box, turn)
    x0, y0, x1, y1 = _turned(*whole, turn)
    width, height = int(picture.width), int(picture.height)
    x, y = width / max(x1 - x0, 1), height / max(y1 - y0, 1)
    area = (
        max(int((left - x0) * x) - 1, 0), max(int((y1 - top) * y) - 1, 0),
        min(int((right - x0) * x) + 2, width), min(int((y1 - bottom) * y) + 2, height),
    )  # fmt: skip
    if area[0] < area[2] and area[1] < area[3]:
        picture.paste(picture.crop(area).convert("RGB", _YELLOW), area)
    return area[1] / max(height, 1)


# ---------------------------------------------------------------- reading


def _read(data: bytes, name: str, password: str, ocr: Reader | None) -> _Content:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data, password=password or None)
    except pypdfium2.PdfiumError as error:
        # pdfium may repeat the reason of an earlier file in place of one of its own.
        if "password" in str(error).lower() and b"/Encrypt" in data:
            raise _encrypted(name, password) from error
        return _read_with_pypdf(data, name, password, _reason(error))
    try:
        return _read_pages(pdf, data, name, password, ocr)
    finally:
        pdf.close()


def _reason(error: Exception) -> str:
    """What pdfium says is wrong; of an error of an earlier file, or none, that nothing is known."""
    said = str(error)
    return "its structure is broken" if "Success" in said or "password" in said.lower() else said


def _encrypted(name: str, password: str) -> DocumentError:
    wrong = "does not open with the passwords given" if password else "is encrypted and needs a password"
    return DocumentError(
        "E_ENCRYPTED", f"{name} {wrong}. Add its password to the setting parse.passwords, or save it without one."
    )


def _read_pages(pdf: Any, data: bytes, name: str, password: str, ocr: Reader | None) -> _Content:
    import pypdfium2

    n_pages = len(pdf)
    if n_pages > MAX_PAGES:
        raise DocumentError(
            "E_TOO_LARGE", f"{name} says that it has {n_pages} pages; at most {MAX_PAGES} are read. Split the file."
        )
    if pdf.get_formtype():
        pdf.init_forms()
    content = _Content(
        title=pdf_notes.title(pdf), metadata=dict(pdf_notes.metadata(pdf)), outline=pdf_notes.outline(pdf)
    )
    content.parts, content.warnings = pdf_notes.attachments(pdf)
    n_bad = 0
    flat = _Flat(data, password)
    for number in range(1, n_pages + 1):
        try:
            page = pdf[number - 1]
        except pypdfium2.PdfiumError:
            n_bad += 1
            content.pages.append([])
            continue
        content.pages.append(_read_page(pdf, page, number, content, ocr, flat))
        page.close()
    flat.close()
    if n_pages and n_bad == n_pages:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: none of its {n_pages} pages can be read. Export the PDF again."
        )
    return content


def _read_page(pdf: Any, page: Any, number: int, content: _Content, ocr: Reader | None, flat: _Flat) -> list[Line]:
    textpage = page.get_textpage()
    try:
        lines = _page_lines(page, textpage, number)
        notes = pdf_notes.notes(pdf, page, textpage, number)
    finally:
        textpage.close()
    if flat.may_help(page, lines):
        lines = flat.lines(number) or lines
    n_letters = sum(len(line.text) for line in lines)
    garbled = _is_garbled("".join(line.text for line in lines))
    picture = not garbled and n_letters < 100 and _is_picture(page, whole=n_letters > 0)
    if (garbled or picture) and ocr and not ocr.is_full:
        content.by_ocr.append(number)
        return ocr.lines(_drawn(page), number) + notes
    if garbled:
        content.garbled.append(number)
        lines = []
    elif picture:
        content.pictures.append(number)
    return lines + notes


def _page_lines(page: Any, textpage: Any, number: int) -> list[Line]:
    text = textpage.get_text_range()
    # One character of text per character of the page, or else places cannot be looked up.
    placed = textpage.count_chars() == len(text)
    turn = _turn(page, textpage, len(text)) if placed else 0
    lines: list[Line] = []
    at = 0
    for raw in text.split("\r\n"):
        bare = raw.rstrip()
        if bare.strip():
            first = at + len(bare) - len(bare.lstrip())
            words = _CONTROL.sub("", bare.strip())
            line = _line(textpage, bare.strip(), number, first, turn) if placed else Line(words, number)
            if lines and _goes_on(lines[-1], line):
                line = _joined(lines.pop(), line)
            lines.append(line)
        at += len(raw) + 2
    return _with_ruled_tables(page, textpage, lines, number) if placed and turn == 0 and len(lines) > 3 else lines


def _goes_on(before: Line, line: Line) -> bool:
    """Whether a line is the rest of the one before: pdfium starts a new one behind a raised or lowered character."""
    level = abs((before.top + before.bottom) - (line.top + line.bottom)) < 0.6 * min(before.size, line.size)
    return level and line.x0 >= before.x1 - 0.3 * line.size and not _RIGHT_TO_LEFT.search(before.text + line.text)


def _joined(before: Line, line: Line) -> Line:
    gap = line.x0 - before.x1
    left = before.cells or (Cell(before.text, before.x0, before.x1),)
    right = line.cells or (Cell(line.text, line.x0, line.x1),)
    between = " " if gap > 0.15 * line.size else ""
    if gap <= 0.9 * line.size:
        middle = Cell(f"{left[-1].text}{between}{right[0].text}", left[-1].x0, right[0].x1)
        left, right = left[:-1], (middle, *right[1:])
    cells = (*left, *right)
    return replace(
        before, text=f"{before.text}{between}{line.text}", x1=line.x1, top=max(before.top, line.top),
        bottom=min(before.bottom, line.bottom), cells=cells if len(cells) > 1 else (),
    )  # fmt: skip


def _turn(page: Any, textpage: Any, n_chars: int) -> int:
    """Quarter turns clockwise between a page as it is stored and as it is read: its own, or that of its text."""
    import pypdfium2.raw as raw

    turn = int(page.get_rotation()) // 90 % 4
    sample = range(0, n_chars, max(n_chars // 20, 1))
    angles = Counter(round(raw.FPDFText_GetCharAngle(textpage, i) / (math.pi / 2)) % 4 for i in sample)
    if not angles:
        return turn
    angle, n = angles.most_common(1)[0]
    return -int(angle) % 4 if n > 0.7 * len(sample) else turn  # pdfium counts it clockwise: the text was turned so far


def _turned(x0: float, y0: float, x1: float, y1: float, turn: int) -> tuple[float, float, float, float]:
    """A box after quarter turns clockwise."""
    if turn == 1:
        return y0, -x1, y1, -x0
    if turn == 2:
        return -x1, -y1, -x0, -y0
    if turn == 3:
        return -y1, x0, -y0, x1
    return x0, y0, x1, y1


def _line(textpage: Any, text: str, number: int, first: int, turn: int) -> Line:
    import pypdfium2.raw as raw

    def box(i: int) -> tuple[float, float, float, float]:
        x0, y0, x1, y1 = textpage.get_charbox(first + i, loose=True)
        return _turned(x0, y0, x1, y1, turn)

    begin, end = box(0), box(len(text) - 1)
    matrix = raw.FS_MATRIX()
    scale = (
        math.sqrt(abs(matrix.a * matrix.d - matrix.b * matrix.c))
        if raw.FPDFText_GetMatrix(textpage.raw, first, matrix)
        else 1.0
    )
    size = raw.FPDFText_GetFontSize(textpage.raw, first) * scale or begin[3] - begin[1]
    bold = raw.FPDFText_GetFontWeight(textpage.raw, first) >= 600
    x0, x1 = min(begin[0], end[0]), max(begin[2], end[2])
    cells = () if _RIGHT_TO_LEFT.search(text) else _cells(text, x0, x1, size, box)
    return Line(
        _CONTROL.sub("", text),
        number,
        x0=x0,
        x1=x1,
        top=begin[3],
        bottom=end[1],
        size=round(size, 1),
        bold=bold,
        cells=cells,
    )


def _cells(text: str, x0: float, x1: float, size: float, box: Any) -> tuple[Cell, ...]:
    """A line's stretches between gaps of a letter's height and more."""
    ends: list[tuple[int, int, float, float]] = []
    for match in re.finditer(r"\s+", text):
        right, left = box(match.start() - 1)[2], box(match.end())[0]
        if left - right > 0.9 * size:
            ends.append((match.start(), match.end(), right, left))
    if not ends:
        return ()
    starts = [(0, x0), *((end, left) for _, end, _, left in ends)]
    stops = [*((start, right) for start, _, right, _ in ends), (len(text), x1)]
    return tuple(Cell(_CONTROL.sub("", text[i:j]), a, max(a, b)) for (i, a), (j, b) in zip(starts, stops, strict=True))


# ---------------------------------------------------------------- ruled tables


def _with_ruled_tables(page: Any, textpage: Any, lines: list[Line], number: int) -> list[Line]:
    """Each table drawn with lines in place of the lines of text inside it."""
    for areas in ruling.tables(_segments(page)):
        left, bottom = min(area.x0 for area in areas), min(area.y0 for area in areas)
        right, top = max(area.x1 for area in areas), max(area.y1 for area in areas)
        inside = [
            i
            for i, line in enumerate(lines)
            if bottom - 2 <= (line.top + line.bottom) / 2 <= top + 2 and line.x0 >= left - 3 and line.x1 <= right + 3
        ]
        if len(inside) < 2:
            continue
        replaced = [lines[i] for i in inside]
        # The tails of the lowest line may hang through the floor of its cell.
        grid = min((_grid(textpage, areas, pad) for pad in (0.0, 1.5)), key=lambda grid: sum(_misfits(grid, replaced)))
        if not _is_table(grid, replaced):
            continue
        text = pipe_table([row for packed in grid for row in _unpacked(packed)])
        first = replace(lines[inside[0]], text=text, x0=left, x1=right, top=top, bottom=bottom, cells=(), table=True)
        gone = set(inside)
        lines = [first if i == inside[0] else line for i, line in enumerate(lines) if i == inside[0] or i not in gone]
    return lines


def _grid(textpage: Any, areas: Sequence[Area], pad: float) -> list[list[str]]:
    """The text of the cells by rows; empty rows are left out."""
    n_columns = max(area.column for area in areas) + 1
    rows: dict[int, list[str]] = {}
    for area in areas:
        words = textpage.get_text_bounded(area.x0, area.y0 - pad, area.x1, area.y1).replace(HYPHEN, "-")
        rows.setdefault(area.row, [""] * n_columns)[area.column] = _CONTROL.sub("", words).strip()
    return [rows[row] for row in sorted(rows) if any(rows[row])]


def _misfits(grid: Sequence[Sequence[str]], lines: Sequence[Line]) -> tuple[int, int]:
    """How many words of the lines are missing in the grid, and how many stand there alone."""
    there = Counter(word for row in grid for cell in row for word in cell.split())
    needed = Counter(word for line in lines for word in line.text.replace(HYPHEN, "-").split())
    return (needed - there).total(), (there - needed).total()


def _is_table(grid: Sequence[Sequence[str]], lines: Sequence[Line]) -> bool:
    """Whether a grid holds a table: two columns at least, and every word of the lines that it replaces, whole and in its row."""
    cells = [cell for row in grid for cell in row if cell]
    if (
        len(cells) < 4
        or max(map(len, cells)) > 1500
        or sum(any(row[i] for row in grid) for i in range(len(grid[0]))) < 2
    ):
        return False
    if any(_is_packed_unevenly(row) for row in grid):
        return False
    n_words = sum(len(line.text.split()) for line in lines)
    return max(_misfits(grid, lines)) <= 0.02 * n_words


def _is_packed_unevenly(row: Sequence[str]) -> bool:
    """Whether a ruled row seems to hold several rows of figures whose cells cannot be told apart."""
    packed = [cell.split("\n") for cell in row if cell.count("\n") >= 3]
    figures = any(
        sum(len(one) < 20 and any(map(str.isdigit, one)) for one in lines) > 0.7 * len(lines) for lines in packed
    )
    return figures and len({len(lines) for lines in packed}) > 1


def _unpacked(row: list[str]) -> list[list[str]]:
    """The rows that a ruled row holds when its cells have the same number of lines and these are figures, or many."""
    parts = [cell.split("\n") if cell else [] for cell in row]
    counts = {len(part) for part in parts if part}
    if len(counts) != 1 or sum(bool(part) for part in parts) < 2:
        return [row]
    n = counts.pop()
    figures = any(part and all(re.search(r"\d", one) for one in part) for part in parts)
    if n < 2 or (n < 4 and not figures):
        return [row]
    return [[part[i] if part else "" for part in parts] for i in range(n)]


def _segments(page: Any) -> list[Segment]:
    """Horizontal and vertical lines drawn on a page; none where it holds a drawing."""
    import pypdfium2.raw as raw

    segments: list[Segment] = []
    for n, drawn in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=1)):
        if n > MAX_OBJECTS or len(segments) > ruling.MAX_SEGMENTS:
            return []
        x0, y0, x1, y1 = drawn.get_bounds()
        if x1 - x0 < 3 or y1 - y0 < 3:
            if max(x1 - x0, y1 - y0) > 4:
                segments.append(_straight(x0, y0, x1, y1))
            continue
        segments += _edges(drawn)
    return segments


def _straight(x0: float, y0: float, x1: float, y1: float) -> Segment:
    if x1 - x0 > y1 - y0:
        return Segment(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2)
    return Segment((x0 + x1) / 2, y0, (x0 + x1) / 2, y1)


def _edges(drawn: Any) -> list[Segment]:
    """The straight edges of a path along the page's sides."""
    import ctypes

    import pypdfium2.raw as raw

    n_points = raw.FPDFPath_CountSegments(drawn)
    if not 2 <= n_points <= 400:
        return []
    matrix = drawn.get_matrix()
    points: list[tuple[float, float, bool]] = []
    edges: list[tuple[float, float, float, float]] = []
    start = (0.0, 0.0)
    x, y = ctypes.c_float(), ctypes.c_float()
    for i in range(n_points):
        segment = raw.FPDFPath_GetPathSegment(drawn, i)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        here = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = here
        elif kind == raw.FPDF_SEGMENT_LINETO and points:
            edges.append((points[-1][0], points[-1][1], *here))
        points.append((*here, True))
        if raw.FPDFPathSegment_GetClose(segment):
            edges.append((*here, *start))
    return [
        _straight(min(a, c), min(b, d), max(a, c), max(b, d))
        for a, b, c, d in edges
        if min(abs(a - c), abs(b - d)) < 1 and max(abs(a - c), abs(b - d)) > 4
    ]


# ---------------------------------------------------------------- pictures


def _is_picture(page: Any, *, whole: bool) -> bool:
    """Whether a page shows a picture; `whole`: one that covers most of it, the text being a stamp or a page number."""
    import pypdfium2.raw as raw

    width, height = page.get_size()
    for n, drawn in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)):
        if n > 100:
            return False
        x0, y0, x1, y1 = drawn.get_bounds()
        if not whole or (x1 - x0) * (y1 - y0) > 0.6 * width * height:
            return True
    return False


def _drawn(page: Any) -> Any:
    """The page as an array (height, width, 3), blue first."""
    scale = min(OCR_DPI / 72, MAX_OCR_PIXELS / max(*page.get_size(), 1))
    bitmap = page.render(scale=scale, rev_byteorder=False, no_smoothtext=False)
    image = bitmap.to_numpy()
    import numpy

    image = image if image.ndim == 3 else image[:, :, None]
    image = numpy.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
    return numpy.ascontiguousarray(image)


# ---------------------------------------------------------------- vertical writing


class _Flat:
    """The file with its vertical fonts set horizontal, made when a page needs it.

    pdfium drops text of vertical fonts that are neither embedded nor installed, because its glyphs have no width; laid
    flat they have one. Costs a rewrite by pypdf, so it is for pages that lose text alone.
    """

    def __init__(self, data: bytes, password: str) -> None:
        self._data, self._password = data, password
        self._pdf: Any = None
        self._failed = False

    def may_help(self, page: Any, lines: Sequence[Line]) -> bool:
        """Whether objects of text without any width are on the page; looked for where it is blank or written downwards."""
        import pypdfium2.raw as raw

        if self._failed or (lines and not any(_CJK.search(line.text) and _is_upright(line) for line in lines[:50])):
            return False
        n_flat = n_all = 0
        for n_all, drawn in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT], max_depth=2), 1):
            x0, y0, x1, y1 = drawn.get_bounds()
            n_flat += x1 - x0 < 0.1 < y1 - y0
            if n_all >= 2_000:
                break
        return n_flat > 0.1 * max(n_all, 1)

    def lines(self, number: int) -> list[Line]:
        """The page's text, one object a line, in the order of drawing."""
        import ctypes

        import pypdfium2.raw as raw

        pdf = self._open()
        if pdf is None:
            return []
        page = pdf[number - 1]
        textpage = page.get_textpage()
        lines = []
        for drawn in page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT], max_depth=2):
            size = raw.FPDFTextObj_GetText(drawn, textpage, None, 0)
            buffer = (ctypes.c_ushort * (size // 2 + 1))()
            raw.FPDFTextObj_GetText(drawn, textpage, buffer, size)
            text = bytes(buffer)[: max(size - 2, 0)].decode("utf-16-le", "replace").strip("\0 \u3000")
            if text:
                lines.append(Line(_CONTROL.sub("", text), number))
        textpage.close()
        page.close()
        return lines

    def _open(self) -> Any:
        import pypdfium2

        if self._pdf is None and not self._failed:
            try:
                self._pdf = pypdfium2.PdfDocument(_horizontal(self._data, self._password))
            except (pypdfium2.PdfiumError, *_pypdf_errors()):
                self._failed = True
        return self._pdf

    def close(self) -> None:
        if self._pdf is not None:
            self._pdf.close()


def _is_upright(line: Line) -> bool:
    """Whether a line of several characters is taller than it is wide."""
    return (
        len(line.text) > 2
        and line.size > 0
        and line.x1 - line.x0 < 2 * line.size
        and line.top - line.bottom > 2 * line.size
    )


def _horizontal(data: bytes, password: str) -> bytes:
    """The file with each vertical encoding replaced by the horizontal one of its pair."""
    import pypdf
    from pypdf.generic import NameObject

    reader = pypdf.PdfReader(BytesIO(data))
    if reader.is_encrypted:
        reader.decrypt(password)
    writer = pypdf.PdfWriter(clone_from=reader)
    for one in writer._objects:
        if not isinstance(one, pypdf.generic.DictionaryObject):
            continue
        encoding = one.get("/Encoding")
        if isinstance(encoding, NameObject) and encoding.endswith("-V"):
            one[NameObject("/Encoding")] = NameObject(f"{encoding[:-2]}-H")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


# ---------------------------------------------------------------- the second reader, and defences


def _read_with_pypdf(data: bytes, name: str, password: str, reason: str) -> _Content:
    import pypdf

    try:
        reader = pypdf.PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(password):
            raise _encrypted(name, password)
        texts = [page.extract_text() or "" for page in reader.pages]
    except _pypdf_errors() as error:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged and cannot be opened ({reason}). Export the PDF again."
        ) from error
    if not any(text.strip() for text in texts):
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: no text could be saved from it ({reason}). Export the PDF again."
        )
    return _Content(
        pages=[[Line(row.strip(), n) for row in text.split("\n") if row.strip()] for n, text in enumerate(texts, 1)]
    )


def _pypdf_errors() -> tuple[type[Exception], ...]:
    """pypdf answers damage with whatever its code ran into."""
    from pypdf.errors import DeprecationError, PyPdfError

    return (PyPdfError, DeprecationError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, ArithmeticError,
            RecursionError, NotImplementedError, ImportError, OSError, zlib.error)  # fmt: skip


def _refuse_bombs(data: bytes, name: str) -> None:
    """Unpack each large compressed stream piecewise and stop at the limit: pdfium would unpack it whole into memory."""
    ends = [match.end() for match in _STREAM.finditer(data)]
    for start, following in pairwise([*ends, len(data)]):
        if following - start < MAX_STREAM // 1100 or b"/Image" in data[max(0, start - 2000) : start]:
            continue  # deflate packs at most 1 to 1032; pictures are not drawn
        unpacker = zlib.decompressobj()
        total, piece = 0, data[start:following]
        try:
            while piece and not unpacker.eof:
                total += len(unpacker.decompress(piece, 1 << 20))
                piece = unpacker.unconsumed_tail
                if total > MAX_STREAM and total > MAX_RATIO * (following - start - len(piece)):
                    raise DocumentError(
                        "E_TOO_LARGE",
                        f"{name} holds a stream that unpacks to more than {MAX_STREAM >> 20} MB. Export the PDF again.",
                    )
        except zlib.error:
            continue


def _is_garbled(text: str) -> bool:
    """Whether too much of the text is no real writing: private or unassigned characters, or a mix of rare alphabets."""
    sample = [char for char in text[:20_000] if not char.isspace() and char != HYPHEN]
    if len(sample) < 20:
        return False
    n_bad = sum(char == "\ufffd" or unicodedata.category(char) in ("Co", "Cn", "Cc", "Cs") for char in sample)
    rare = Counter(ord(char) >> 7 for char in sample if 0x0180 <= ord(char) <= 0x1CFF and not _is_living(ord(char)))
    n_rare = sum(rare.values())
    return n_bad > 0.3 * len(sample) or (n_rare > 0.3 * len(sample) and len(rare) >= 3)


def _is_living(code: int) -> bool:
    """Alphabets that whole documents are written in: Greek, Cyrillic, Armenian to Arabic, the Indic ones to Tibetan …"""
    return (
        0x0370 <= code <= 0x04FF or 0x0531 <= code <= 0x06FF or 0x0900 <= code <= 0x109F or 0x10A0 <= code <= 0x137F
        or 0x1780 <= code <= 0x18AF
    )  # fmt: skip
