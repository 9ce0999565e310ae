"""PDF: text by pdfium (pypdf where pdfium cannot open the file), paragraphs and headings by where the lines stand."""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise
from typing import Any

from rag.errors import DocumentError
from rag.loaders.builder import TextBuilder
from rag.types import ParsedDocument

MAX_STREAM = 100 * 1024 * 1024  # bytes that one compressed stream may unpack to
MAX_RATIO = 100
MAX_PAGES = 50_000

_HYPHEN = "\ufffe"  # pdfium's mark for a hyphen at a line's end
_HEAD_TITLE = re.compile(
    r"(?i)^(\(?(?:untitled|anonymous|unspecified)\)?.*|microsoft \w+ - .*|document\d*|.*\.(docx?|pdf|tex|dvi|indd|qxd|ps|pptx?|xlsx?|rtf|odt))$"
)
_NUMBERED = re.compile(r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.?|[A-Z]\.|[IVX]{1,4}\.)\s+\S")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STREAM = re.compile(rb"stream\r?\n")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    page: int
    x0: float = 0.0
    x1: float = 0.0
    top: float = 0.0  # larger is higher on the page
    bottom: float = 0.0
    size: float = 0.0
    bold: bool = False


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a PDF.

    Raises: DocumentError E_ENCRYPTED, E_CORRUPT, E_TOO_LARGE, E_NO_TEXT_LAYER (scans), E_NO_TEXT (blank), E_GARBLED.
    """
    _refuse_bombs(data, name)
    pages, title, scanned = _read(data, name, password)
    text = "".join(line.text for lines in pages for line in lines)
    if not text.strip():
        if scanned:
            raise DocumentError(
                "E_NO_TEXT_LAYER",
                f"{name}: the pages are pictures without text. Run OCR on the file and import the result.",
            )
        raise DocumentError("E_NO_TEXT", f"{name} holds no text: its {len(pages)} pages are blank.")
    if _is_garbled(text):
        raise DocumentError(
            "E_GARBLED",
            f"{name}: the fonts do not say which characters they draw. Print the file to a new PDF or run OCR on it.",
        )
    warnings = [f"Page {scanned[0]} is a picture without text."] if len(scanned) == 1 else []
    if len(scanned) > 1:
        warnings = [f"{len(scanned)} pages are pictures without text: {_list(scanned)}."]
    return _document(pages, title, warnings)


# ---------------------------------------------------------------- reading


def _read(data: bytes, name: str, password: str) -> tuple[list[list[_Line]], str, list[int]]:
    """Lines by page, the title that the file claims, and the numbers of the pages that are pictures."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data, password=password or None)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            wrong = "does not open with the password given" if password else "is encrypted and needs a password"
            raise DocumentError(
                "E_ENCRYPTED", f"{name} {wrong}. Save it without a password and import it again."
            ) from error
        return _read_with_pypdf(data, name, password, str(error))
    try:
        return _read_pages(pdf, name)
    finally:
        pdf.close()


def _read_pages(pdf: Any, name: str) -> tuple[list[list[_Line]], str, list[int]]:
    import pypdfium2

    pages: list[list[_Line]] = []
    scanned: list[int] = []
    n_bad = 0
    n_pages = len(pdf)
    if n_pages > MAX_PAGES:
        raise DocumentError(
            "E_TOO_LARGE", f"{name} says that it has {n_pages} pages; at most {MAX_PAGES} are read. Split the file."
        )
    for number in range(1, n_pages + 1):
        try:
            page = pdf[number - 1]
        except pypdfium2.PdfiumError:
            n_bad += 1
            pages.append([])
            continue
        lines = _page_lines(page, number)
        if not lines and len(scanned) + 1 <= 1000 and _has_picture(page):
            scanned.append(number)
        pages.append(lines)
        page.close()
    if n_pages and n_bad == n_pages:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: none of its {n_pages} pages can be read. Export the PDF again."
        )
    return pages, _title(pdf), scanned


def _page_lines(page: Any, number: int) -> list[_Line]:
    textpage = page.get_textpage()
    text = textpage.get_text_range()
    # One character of text per character of the page, or else places cannot be looked up.
    placed = textpage.count_chars() == len(text)
    lines, at = [], 0
    for raw in text.split("\r\n"):
        bare = raw.rstrip()
        if bare.strip():
            first = at + len(bare) - len(bare.lstrip())
            lines.append(
                _line(textpage, bare.strip(), number, first, at + len(bare) - 1)
                if placed
                else _Line(_CONTROL.sub("", bare.strip()), number)
            )
        at += len(raw) + 2
    textpage.close()
    return lines


def _line(textpage: Any, text: str, number: int, first: int, last: int) -> _Line:
    import pypdfium2.raw as raw

    left = textpage.get_charbox(first, loose=True)
    right = textpage.get_charbox(last, loose=True)
    matrix = raw.FS_MATRIX()
    scale = (
        math.sqrt(abs(matrix.a * matrix.d - matrix.b * matrix.c))
        if raw.FPDFText_GetMatrix(textpage.raw, first, matrix)
        else 1.0
    )
    size = raw.FPDFText_GetFontSize(textpage.raw, first) * scale or left[3] - left[1]
    bold = raw.FPDFText_GetFontWeight(textpage.raw, first) >= 600
    return _Line(
        _CONTROL.sub("", text),
        number,
        x0=left[0],
        x1=right[2],
        top=left[3],
        bottom=right[1],
        size=round(size, 1),
        bold=bold,
    )


def _has_picture(page: Any) -> bool:
    import pypdfium2.raw as raw

    return next(iter(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)), None) is not None


def _title(pdf: Any) -> str:
    title = " ".join(str(pdf.get_metadata_value("Title") or "").replace("\0", "").split())
    return "" if _HEAD_TITLE.match(title) or not any(char.isalpha() for char in title) else title[:300]


def _read_with_pypdf(data: bytes, name: str, password: str, reason: str) -> tuple[list[list[_Line]], str, list[int]]:
    import pypdf
    from pypdf.errors import DeprecationError, PyPdfError

    try:
        reader = pypdf.PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(password):
            raise DocumentError(
                "E_ENCRYPTED", f"{name} is encrypted and needs a password. Save it without one and import it again."
            )
        texts = [page.extract_text() or "" for page in reader.pages]
    # pypdf answers damage with whatever its code ran into.
    except (PyPdfError, DeprecationError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, ArithmeticError,
            RecursionError, NotImplementedError, ImportError, OSError, zlib.error) as error:  # fmt: skip
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged and cannot be opened ({reason}). Export the PDF again."
        ) from error
    if not any(text.strip() for text in texts):
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: no text could be saved from it ({reason}). Export the PDF again."
        )
    return (
        [[_Line(row.strip(), n) for row in text.split("\n") if row.strip()] for n, text in enumerate(texts, 1)],
        "",
        [],
    )


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
    sample = [char for char in text[:20_000] if not char.isspace() and char != _HYPHEN]
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


# ---------------------------------------------------------------- structure


def _document(pages: list[list[_Line]], title: str, warnings: Sequence[str]) -> ParsedDocument:
    hyphenated = set(
        re.findall(r"[^\W\d_]+-[^\W\d_]+", " ".join(line.text for lines in pages for line in lines).lower())
    )
    pages = [
        [replace(line, text=_join_hyphen(line.text, hyphenated)) for line in lines]
        for lines in _without_running_heads(pages)
    ]
    body, levels = _sizes(pages)
    builder = TextBuilder()
    for lines in pages:
        for block in _blocks(lines):
            level = _level(block, body, levels)
            text = "\n".join(line.text for line in block)
            builder.add("heading" if level else "paragraph", text, level=level, page=block[0].page)
    title = title or _largest_heading(builder)
    return builder.document(type="pdf", title=title, warnings=warnings, n_pages=len(pages))


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

    return re.sub(rf"([^\W\d_]*){_HYPHEN}([^\W\d_]*)", join, text).replace(_HYPHEN, "-") if _HYPHEN in text else text


def _without_running_heads(pages: list[list[_Line]]) -> list[list[_Line]]:
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


def _edges(lines: list[_Line]) -> list[_Line]:
    """The lines that stand highest and lowest on the page."""
    by_height = sorted(lines, key=lambda line: -line.top)
    return [by_height[0], by_height[-1]]


def _running(line: _Line) -> str:
    return re.sub(r"\d+", "#", line.text)


def _sizes(pages: list[list[_Line]]) -> tuple[float, dict[float, int]]:
    """The size of ordinary text, and the heading level of each larger size."""
    weights: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
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


def _level(block: Sequence[_Line], body: float, levels: dict[float, int]) -> int:
    """Heading level of a block of lines; 0 for ordinary text."""
    text = " ".join(line.text for line in block)
    n_letters = sum(char.isalnum() for char in text)
    if (
        len(block) > 4
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


def _blocks(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Group a page's lines, which come in reading order, into paragraphs."""
    gap = _usual_gap(lines)
    block: list[_Line] = []
    for line in lines:
        if block and _starts_block(block[-1], line, gap):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _usual_gap(lines: list[_Line]) -> float:
    """Median white between two lines of a paragraph, in parts of the text size."""
    gaps = [
        (before.bottom - line.top) / line.size
        for before, line in pairwise(lines)
        if line.size > 0
        and abs(before.size - line.size) < 0.1 * line.size
        and -0.6 < (before.bottom - line.top) / line.size < 1.6
    ]
    return statistics.median(gaps) if gaps else 0.2


def _starts_block(before: _Line, line: _Line, gap: float) -> bool:
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


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} …" if len(numbers) > 10 else shown
