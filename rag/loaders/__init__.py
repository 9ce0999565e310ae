"""Loaders: what kind of file some bytes are, and from bytes to a ParsedDocument.

One file per format family, each with `load(data, *, name, password="") -> ParsedDocument`.
"""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import PurePosixPath

from rag.errors import DocumentError
from rag.loaders.archive import UNPACK_ERRORS
from rag.loaders.encoding import looks_binary
from rag.loaders.ocr import Reader
from rag.loaders.source_code import language_of
from rag.types import ParsedDocument

_LOADERS = {
    "pdf": "rag.loaders.pdf",
    "docx": "rag.loaders.docx",
    "xlsx": "rag.loaders.xlsx",
    "xls": "rag.loaders.xls",
    "pptx": "rag.loaders.pptx",
    "odt": "rag.loaders.opendocument",
    "ods": "rag.loaders.opendocument",
    "odp": "rag.loaders.opendocument",
    "epub": "rag.loaders.epub",
    "rtf": "rag.loaders.rtf",
    "html": "rag.loaders.html",
    "markdown": "rag.loaders.markdown",
    "text": "rag.loaders.plain",
    "csv": "rag.loaders.delimited",
    "json": "rag.loaders.json_text",
    "ipynb": "rag.loaders.notebook",
    "xml": "rag.loaders.xml",
    "rst": "rag.loaders.rst",
    "code": "rag.loaders.source_code",
    "eml": "rag.loaders.mail",
    "mbox": "rag.loaders.mailbox",
    "msg": "rag.loaders.outlook",
    "zip": "rag.loaders.packed",
    "tar": "rag.loaders.packed",
    "gzip": "rag.loaders.packed",
    "bzip2": "rag.loaders.packed",
    "xz": "rag.loaders.packed",
    "image": "rag.loaders.image",
    "encrypted": "rag.loaders.locked",
}
_BY_SIGHT = ("pdf", "image")  # their loaders take `ocr`

# Extensions of formats that are told by content; with another content the file is not what its name says.
_BY_NAME = {
    ".pdf": "pdf", ".docx": "docx", ".docm": "docx", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".md": "markdown", ".markdown": "markdown", ".mkd": "markdown", ".mdx": "markdown", ".qmd": "markdown", ".rmd": "markdown",
}  # fmt: skip
# Text formats that need a loader of their own: read as plain text their structure would be lost.
_TEXT_FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".geojson": "json", ".ipynb": "ipynb",
    ".xml": "xml", ".rss": "xml", ".atom": "xml", ".rdf": "xml", ".svg": "xml", ".opml": "xml", ".eml": "eml", ".mbox": "mbox", ".mbx": "mbox",
    ".mht": "eml", ".mhtml": "eml", ".rtf": "rtf", ".rst": "rst", ".rest": "rst",
}  # fmt: skip
# Zip archives that are programs: their members are nothing to read.
_PROGRAMS = (".jar", ".war", ".aar", ".apk", ".ipa", ".xpi", ".crx", ".nupkg", ".appx", ".msix")
_MAGIC = (
    (b"{\\rtf", "rtf"), (b"\x89PNG\r\n", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"), (b"II*\0", "image"),
    (b"MM\0*", "image"), (b"BM", "image"), (b"\x1f\x8b\x08", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x7fELF", "program"), (b"MZ", "program"), (b"SQLite format 3\0", "database"),
    (b"PAR1", "parquet"), (b"ID3", "audio"), (b"OggS", "audio"), (b"fLaC", "audio"), (b"\xff\xfb", "audio"), (b"%!PS", "postscript"),
    (b"wOFF", "font"), (b"\0\1\0\0\0", "font"), (b"\xca\xfe\xba\xbe", "program"), (b"\x93NUMPY", "array"), (b"GGUF", "model"),
)  # fmt: skip
_BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))
_ZIP_TYPES = {
    b"application/epub+zip": "epub", b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods", b"application/vnd.oasis.opendocument.presentation": "odp",
}  # fmt: skip
_HTML_START = re.compile(
    rb"(?is)\s*(?:<\?xml[^>]{0,300}\?>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html[\s>])"
)
_XML_START = re.compile(rb"(?s)\s*<\?xml\s")
_MAIL_START = re.compile(rb"(?:From [^\r\n]*\r?\n)?[A-Za-z][A-Za-z0-9-]{0,60}:")
_MAILBOX_START = re.compile(rb"From [^\r\n]{0,500}\d{4}[^\r\n]{0,500}\r?\n[A-Za-z][A-Za-z0-9-]{0,60}:")
_MSG_STREAM = "__substg1.0_".encode("utf-16-le")
_PDF_PARTS = re.compile(rb"\b(?:endobj|endstream|startxref|\d+ \d+ obj)\b")

_VISIBLE = re.compile(r"[^\s\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u00ad]")

_ADVICE = {
    "pptx": "PowerPoint presentation", "ppt": "old PowerPoint presentation", "xlsx": "Excel workbook", "xls": "old Excel workbook",
    "xlsb": "binary Excel workbook",
    "doc": "old Word document", "odt": "OpenDocument text", "ods": "OpenDocument spreadsheet", "odp": "OpenDocument presentation",
    "epub": "EPUB book", "eml": "e-mail", "msg": "Outlook e-mail", "csv": "CSV table", "json": "JSON file", "ipynb": "Jupyter notebook",
    "xml": "XML file", "rtf": "RTF document", "zip": "zip archive", "image": "picture", "audio": "sound file", "video": "video",
    "office": "Office file", "binary": "binary file",
}  # fmt: skip
_HOW = {
    "xlsb": "Save it as XLSX",
    "ppt": "Save it as PPTX or PDF",
    "doc": "Install LibreOffice, antiword or catdoc, or save it as DOCX or PDF",
}


def identify(data: bytes, name: str) -> str:
    """What the bytes are: pdf, docx, html, markdown or text, or `unsupported:WHAT`. The content decides before the name."""
    head, extension = data[:1024], _extension(name)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip_kind(data, extension)  # before PDF: one may be stored in it uncompressed
    if b"%PDF-" in head:
        return "pdf"
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        kind = "msg" if extension == ".msg" and _MSG_STREAM in data else _ole_kind(data)  # a .doc may be attached
        return kind if kind in _LOADERS else f"unsupported:{kind}"
    for magic, kind in _MAGIC:
        if data.startswith(magic) and (len(magic) > 2 or looks_binary(data) or _is_bitmap(data)):
            return kind if kind in _LOADERS else f"unsupported:{kind}"
    if data[257:262] == b"ustar":
        return "tar"
    if (data[8:12] in (b"WEBP", b"WAVE", b"AVI ") and data[:4] == b"RIFF") or data[4:8] == b"ftyp":
        return "image" if data[8:12] == b"WEBP" else "unsupported:video"
    if _HTML_START.match(_narrow(data[:8192])):
        return "xml" if extension == ".svg" else "mbox" if extension == ".mbox" else "html"
    return _text_kind(data, name)


def _is_bitmap(data: bytes) -> bool:
    """Whether bytes that begin with BM are a picture: a white one looks like text in an old encoding."""
    return data[:2] == b"BM" and data[6:10] == bytes(4) and data[14:18] in _BITMAP_HEADERS


def load_document(
    data: bytes, name: str, password: str | Sequence[str] = "", *, ocr: Reader | None = None
) -> ParsedDocument:
    """Read a document from its bytes. A document without a title of its own is called after its file.

    name: the file's name; its extension is a hint, its stem the last resort for a title.
    password: one, or several that are tried in turn. ocr: reads pages that are pictures; left out, they are refused.
    Raises: DocumentError, see errors.CODES.
    """
    if not data:
        raise DocumentError("E_EMPTY", f"{name} is empty: it holds no bytes.")
    kind = identify(data, name)
    if kind.startswith("unsupported:"):
        raise _refusal(kind.removeprefix("unsupported:"), name)
    parsed = _opened(kind, data, name, [password] if isinstance(password, str) else password, ocr)
    if not parsed.parts and not _VISIBLE.search(parsed.text):
        raise DocumentError("E_NO_TEXT", f"{name} holds no text.")
    claimed = _BY_NAME.get(_extension(name))
    warnings = parsed.warnings
    if claimed not in (None, kind) and kind != "encrypted" and {claimed, kind} != {"markdown", "text"}:
        warnings = (f"The name says {claimed}, but the content is {kind}; it was read as {kind}.", *warnings)
    return replace(parsed, title=parsed.title or PurePosixPath(name).stem, warnings=warnings)


def _opened(kind: str, data: bytes, name: str, passwords: Sequence[str], ocr: Reader | None) -> ParsedDocument:
    """The document as its loader gives it, with the first of the passwords that opens it."""
    load = importlib.import_module(_LOADERS[kind]).load
    options = {"ocr": ocr} if kind in _BY_SIGHT else {}
    refused = None
    for password in passwords or ("",):
        try:
            parsed: ParsedDocument = load(data, name=name, password=password, **options)
            return parsed
        except DocumentError as error:
            if error.code != "E_ENCRYPTED":
                raise
            refused = error
    assert refused
    raise refused


def _extension(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def _zip_kind(data: bytes, extension: str) -> str:
    """Which Office or book format a zip archive is, by the names in its directory; a cut archive has no directory."""
    if data[30:38] == b"mimetype":
        for mime, kind in _ZIP_TYPES.items():
            if data[38:138].startswith(mime):
                return kind
    names = _zip_names(data)
    office = b"\n[Content_Types].xml" in names  # other archives may hold folders of these names
    if office and b"\nxl/workbook.bin" in names:
        return "unsupported:xlsb"
    for marker, kind in (
        (b"word/document", "docx"),
        (b"ppt/", "pptx"),
        (b"xl/workbook", "xlsx"),
    ):
        if (office and b"\n" + marker in names) or (
            not names and (marker in data[-2_000_000:] or marker in data[:200_000])
        ):
            return kind
    known = {"docm": "docx", "xlsm": "xlsx", "pptm": "pptx", "ppsx": "pptx"}.get(
        extension.lstrip("."), extension.lstrip(".")
    )
    if known in _LOADERS and known not in ("zip", "tar"):
        return known  # its loader says what is missing
    known = extension.lstrip(".")
    if extension in _PROGRAMS:
        return "unsupported:program"
    return f"unsupported:{known}" if known in _ADVICE and known != "zip" else "zip"


def _zip_names(data: bytes) -> bytes:
    """The names in an archive's directory, a line end before each, so that no member's bytes are taken for one."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as opened:
            return b"".join(b"\n" + name.encode("utf-8", "replace") for name in opened.namelist())
    except UNPACK_ERRORS:
        return b""


def _ole_kind(data: bytes) -> str:
    """Which program wrote a file of Microsoft's old container format, by the names of its streams (in UTF-16)."""
    streams = (
        ("EncryptedPackage", "encrypted"), ("WordDocument", "doc"), ("PowerPoint Document", "ppt"), ("Workbook", "xls"), ("Book", "xls"),
        ("__substg1.0_", "msg"), ("__properties_version1", "msg"),
    )  # fmt: skip
    return next((kind for stream, kind in streams if stream.encode("utf-16-le") in data), "office")


def _text_kind(data: bytes, name: str) -> str:
    extension = _extension(name)
    if extension == ".pdf" and (looks_binary(data) or _PDF_PARTS.search(data[:4096]) or len(data) < 64):
        return "pdf"  # its loader says what is wrong with it
    told = _TEXT_FORMATS.get(extension, "")
    if told and told not in _LOADERS:
        return f"unsupported:{told}"
    if looks_binary(data) and told != "mbox":
        return "unsupported:binary"
    if extension == ".docx":
        return "text"
    if told:
        return told if _bears_out(told, data) else "text"
    if language_of(name):
        return "code"
    if not extension and _MAILBOX_START.match(data[:2000]):
        return "mbox"
    if _XML_START.match(data[:200]) and extension not in (".html", ".htm", ".xhtml", ".txt", ".md"):
        return "xml"
    claimed = _BY_NAME.get(extension, "text")
    return claimed if claimed in ("html", "markdown") else "text"


def _bears_out(kind: str, data: bytes) -> bool:
    """Whether a text's beginning is what its name says; any text may be CSV or reStructuredText."""
    start = _narrow(data[:8192]).lstrip()
    if kind in ("json", "ipynb"):
        return start[:1] in (b"{", b"[", b'"') or start[:20].strip().replace(b".", b"").lstrip(b"-").isdigit()
    if kind == "xml":
        return start[:1] == b"<"
    if kind == "eml":
        return bool(_MAIL_START.match(start))
    return True


def _narrow(head: bytes) -> bytes:
    """The beginning of a file with the marks and zero bytes of UTF-8, UTF-16 and UTF-32 taken out."""
    return head.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\0", b"")


def _refusal(what: str, name: str) -> DocumentError:
    called = _ADVICE.get(what, f"{what} file")
    claimed = _BY_NAME.get(_extension(name))
    if claimed:
        article = "an" if called[:1].lower() in "aeiou" else "a"
        return DocumentError(
            "E_TYPE_MISMATCH",
            f"{name} is named like {claimed}, but holds {article} {called}. Give it its right name or export it again.",
        )
    if what == "binary":
        return DocumentError(
            "E_BINARY", f"{name} is not text and of no known format. Convert it to PDF, DOCX, HTML, Markdown or text."
        )
    how = _HOW.get(what, "Convert it to PDF, DOCX, HTML, Markdown or text")
    return DocumentError("E_UNSUPPORTED", f"{name}: no loader reads this format ({called}) yet. {how} and import that.")
