"""What a PDF holds beside its pages' text: comments, form fields, attached files, the outline, facts about the file."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from rag.loaders.layout import Line, key
from rag.types import Part

MAX_NOTES = 2_000  # per page
MAX_OUTLINE = 10_000
MAX_ATTACHED = 200_000_000  # bytes
MAX_FILES = 1_000

_TITLE_OF_PROGRAM = re.compile(
    r"(?i)^(\(?(?:untitled|anonymous|unspecified)\)?.*|microsoft \w+ - .*|document\d*|.*\.(docx?|pdf|tex|dvi|indd|qxd|ps|pptx?|xlsx?|rtf|odt))$"
)
_MADE_UP = re.compile(r"(?i)\W*(?:anonymous|unspecified|unknown|none|user|admin(?:istrator)?)?\W*$")
_DATE = re.compile(r"D?:?(\d{4})(\d{2})?(\d{2})?")


def title(pdf: Any) -> str:
    """The title that the file claims, unless it is one that a program made up."""
    found = _fact(pdf, "Title")
    return "" if _TITLE_OF_PROGRAM.match(found) or not any(char.isalpha() for char in found) else found[:300]


def metadata(pdf: Any) -> dict[str, str]:
    """Author, subject, keywords and the day it was made, as far as the file says."""
    facts = {"author": _fact(pdf, "Author"), "subject": _fact(pdf, "Subject"), "keywords": _fact(pdf, "Keywords")}
    facts = {name: value[:500] for name, value in facts.items() if not _MADE_UP.match(value)}
    made = _DATE.match(_fact(pdf, "CreationDate"))
    if made and "1900" < made[1] < "2200":
        month, day = made[2] or "01", made[3] or "01"
        if "01" <= month <= "12" and "01" <= day <= "31":
            facts["date"] = f"{made[1]}-{month}-{day}"
    return facts


def outline(pdf: Any) -> dict[tuple[int, str], int]:
    """The heading level of each entry of the outline, by page and words; see layout.document."""
    import pypdfium2

    levels: dict[tuple[int, str], int] = {}
    try:
        for entry in islice(pdf.get_toc(max_depth=6), MAX_OUTLINE):
            place = entry.get_dest()
            index = place.get_index() if place else None
            words = key(entry.get_title() or "")
            if index is not None and index >= 0 and words:
                levels.setdefault((index + 1, words), entry.level + 1)
    except (pypdfium2.PdfiumError, ValueError):
        return levels
    return levels


def attachments(pdf: Any) -> tuple[tuple[Part, ...], list[str]]:
    """Files inside the file, and what was left out, as warnings."""
    import pypdfium2
    import pypdfium2.raw as raw

    parts: list[Part] = []
    left, n_lost = MAX_ATTACHED, 0
    n_files = max(pdf.count_attachments(), 0)
    for i in range(min(n_files, MAX_FILES)):
        try:
            attached = pdf.get_attachment(i)
            size = ctypes.c_ulong(0)
            if not raw.FPDFAttachment_GetFile(attached, None, 0, size) or size.value > left:
                n_lost += 1
                continue
            left -= size.value
            name = " ".join(attached.get_name().replace("\0", "").split()) or f"attachment {i + 1}"
            parts.append(Part(name=name, data=bytes(attached.get_data())))
        except (pypdfium2.PdfiumError, UnicodeDecodeError):
            n_lost += 1
    n_lost += max(n_files - MAX_FILES, 0)
    return tuple(parts), [f"{n_lost} attached files could not be read or are too large."] if n_lost else []


def notes(pdf: Any, page: Any, textpage: Any, number: int) -> list[Line]:
    """A page's comments and filled form fields, one line each."""
    import pypdfium2.raw as raw

    comments: list[str] = []
    fields: list[str] = []
    form = pdf.formenv.raw if pdf.formenv else None
    for i in range(min(raw.FPDFPage_GetAnnotCount(page), MAX_NOTES)):
        annotation = raw.FPDFPage_GetAnnot(page, i)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_WIDGET:
                if form:
                    fields += _field(form, annotation)
            elif kind not in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP):
                comments += _comment(annotation, kind, textpage)
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    lines = [Line(text, number, note=True) for text in comments]
    if fields:
        lines.append(Line("Form fields:\n" + "\n".join(dict.fromkeys(fields)), number, note=True))
    return lines


def _comment(annotation: Any, kind: int, textpage: Any) -> Iterator[str]:
    import pypdfium2.raw as raw

    words = _value(annotation, b"Contents")
    if not words.strip():
        return
    author = " ".join(_value(annotation, b"T").split())
    marked = ""
    if kind in (raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE, raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_STRIKEOUT):
        box = raw.FS_RECTF()
        if raw.FPDFAnnot_GetRect(annotation, box):
            marked = " ".join(textpage.get_text_bounded(box.left, box.bottom, box.right, box.top).split())[:200]
    yield f"Comment{f' by {author}' if author else ''}{f' on “{marked}”' if marked else ''}: {words.strip()}"


def _field(form: Any, annotation: Any) -> Iterator[str]:
    import pypdfium2.raw as raw

    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE, raw.FPDF_FORMFIELD_UNKNOWN, -1):
        return
    name = _text(lambda buffer, size: raw.FPDFAnnot_GetFormFieldAlternateName(form, annotation, buffer, size))
    name = name or _text(lambda buffer, size: raw.FPDFAnnot_GetFormFieldName(form, annotation, buffer, size))
    value = _text(lambda buffer, size: raw.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))
    if kind == raw.FPDF_FORMFIELD_CHECKBOX:
        value = "yes" if raw.FPDFAnnot_IsChecked(form, annotation) else "no"
    elif kind == raw.FPDF_FORMFIELD_RADIOBUTTON:
        value = "" if value == "Off" else value
    if value.strip():
        yield f"{' '.join(name.split()) or 'Field'}: {value.strip()}"


def _value(annotation: Any, name: bytes) -> str:
    import pypdfium2.raw as raw

    return _text(lambda buffer, size: raw.FPDFAnnot_GetStringValue(annotation, name, buffer, size))


def _text(fill: Any) -> str:
    """A string of pdfium, by asking twice: for its size, and for itself."""
    size = fill(None, 0)
    if not 2 < size <= 2_000_000:
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    fill(buffer, size)
    return (
        bytes(buffer)[: size - 2]
        .decode("utf-16-le", "replace")
        .replace("\0", "")
        .replace("\r\n", "\n")
        .replace("\r", "\n")
    )


def _fact(pdf: Any, name: str) -> str:
    return " ".join(str(pdf.get_metadata_value(name) or "").replace("\0", "").split())
