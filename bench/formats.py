"""What extractors make of real documents: ours and others, each over the files that it reads. See docs/formats.md.

    bench/peers/setup.sh formats
    python -m bench.formats ../shared/data/docs [--only NAME] [--verbose]

The others run with .peers/formats/bin/python. Each file is read in a process of its own with a time limit; a crash or a
hang is a wrong outcome. What counts as found is what the collection's manifest says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
OTHERS = REPO / ".peers" / "formats" / "bin" / "python"
LIMIT_S = 60
Extract = Callable[[Path, str], str]  # (path, password) → text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with manifest.json and files/")
    parser.add_argument("--only", action="append", default=[], help="run this extractor alone; may be repeated")
    parser.add_argument("--verbose", action="store_true", help="say for each file what is missing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.folder)
        return
    measured = {}
    for name in options.only or CANDIDATES:
        if rows := measure(name, options.folder):
            measured[name] = summary(rows) | ({"files": rows} if options.verbose else {})
    print(json.dumps(measured, indent=1, ensure_ascii=False))


def measure(name: str, folder: Path) -> list[dict[str, Any]]:
    """One row per file of the extractor's types; none where it is not installed."""
    python = sys.executable if name.startswith("ragstone") else str(OTHERS)
    if not Path(python).exists():
        return []
    command = [python, "-W", "ignore", "-m", "bench.formats", str(folder.resolve()), "--worker", name]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    rows = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    if not rows:
        print(f"{name}: {(ended.stderr.strip().splitlines() or ['nothing to read'])[-1]}", file=sys.stderr)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts by type of file and in all, as found/wanted."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_type.setdefault(row["type"], []).append(row)
    return {kind: _counts(group) for kind, group in [*by_type.items(), *([("all", rows)] if len(by_type) > 1 else [])]}


def _counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    counted = {"right": f"{sum(row['right'] for row in rows)}/{len(rows)}"}
    for key in ("must", "order", "rows", "headings", "absent"):
        wanted = sum(row[key][1] for row in rows)
        if wanted:
            counted[key] = f"{sum(row[key][0] for row in rows)}/{wanted}"
    return counted | {
        "seconds": round(sum(row["seconds"] for row in rows), 2),
        "peak_mb": max(row["peak_mb"] for row in rows),
    }


# ---------------------------------------------------------------- in the extractor's own environment


def work(name: str, folder: Path) -> None:
    """Read every file of the extractor's types in a fork of this process and print a row for each."""
    types, prepare = CANDIDATES[name]
    extract = prepare()
    for entry in json.loads((folder / "manifest.json").read_text("utf-8"))["files"]:
        if name.endswith("OCR") and "ocr" in entry["expect"]:
            entry["expect"] = {"outcome": "text", **entry["expect"]["ocr"]}
        if entry["type"] in types or types == ("*",):
            print(json.dumps(_row(extract, folder / "files" / entry["file"], entry)), flush=True)


def _row(extract: Extract, path: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    expect = entry["expect"]
    started = time.perf_counter()
    text, error, peak_mb = _in_fork(lambda: extract(path, expect.get("password", "")))
    seconds = time.perf_counter() - started
    crashed = error in ("crash", "hang")
    right = {
        "text": bool(text.strip()), "no_text": not text.strip() and not crashed, "error": bool(error) and not crashed, "either": not crashed,
    }[expect["outcome"]]  # fmt: skip
    plain = normal(text, expect)
    lines = [normal(line, expect) for line in text.split("\n")]
    missing = [part for part in expect.get("must", []) if normal(part, expect) not in plain]
    rows = expect.get("rows", [])
    lost_rows = [row for row in rows if not any(_holds(line, row, expect) for line in lines)]
    order = [plain.find(normal(part, expect)) for part in expect.get("order", [])]
    marked = {line.lstrip("# ").strip() for line in text.split("\n") if line.startswith("#")}
    headings = expect.get("headings", [])
    absent = expect.get("absent", [])
    return {
        "file": entry["file"], "type": entry["type"], "right": right, "error": error, "missing": missing, "lost_rows": lost_rows,
        "must": [len(expect.get("must", [])) - len(missing), len(expect.get("must", []))],
        "order": [int(-1 not in order and order == sorted(order)), 1] if order else [0, 0],
        "rows": [len(rows) - len(lost_rows), len(rows)],
        "headings": [sum(heading in marked for heading in headings), len(headings)],
        "absent": [sum(normal(part, expect) not in plain for part in absent), len(absent)],
        "seconds": round(seconds, 3), "peak_mb": round(peak_mb),
    }  # fmt: skip


def _in_fork(read: Callable[[], str]) -> tuple[str, str, float]:
    """The text, the error's kind if there was one, and the most memory in MB."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        signal.alarm(LIMIT_S)
        try:
            answer = json.dumps([read(), ""])
        except BaseException as error:  # the edge that reports: an extractor raises what it likes
            answer = json.dumps(["", type(error).__name__])
        with os.fdopen(sending, "w") as stream:
            stream.write(answer)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as stream:
        answer = stream.read()
    _, status, usage = os.wait4(child, 0)
    peak_mb = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    if not answer:
        return "", "hang" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "crash", peak_mb
    text, error = json.loads(answer)
    return text, error, peak_mb


def normal(text: str, expect: Mapping[str, Any]) -> str:
    """The comparison that the manifest describes."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub("[\u200b-\u200f\u202a-\u202e\u2060\ufeff]", "", text)
    text = re.sub(r"([a-z])-\n([a-z])", r"\1\2", text)
    return re.sub(r"\s+", "" if expect.get("compare") == "nows" else " ", text)


def _holds(line: str, row: list[str], expect: Mapping[str, Any]) -> bool:
    at = 0
    for cell in row:
        found = line.find(normal(cell, expect), at)
        if found < 0:
            return False
        at = found + len(normal(cell, expect))
    return True


# ---------------------------------------------------------------- extractors


def _ours(*, ocr: bool) -> Callable[[], Extract]:
    def prepare() -> Extract:
        from rag.errors import DocumentError
        from rag.loaders import load_document
        from rag.loaders.ocr import Reader

        def text_of(data: bytes, name: str, password: str, depth: int = 0) -> str:
            parsed = load_document(data, name, ["", password], ocr=Reader(50) if ocr else None)
            texts = [parsed.text]
            for part in parsed.parts if depth < 3 else ():
                with suppress(DocumentError):  # a picture in a mail is no fault of the mail
                    texts.append(text_of(part.data, part.name, "", depth + 1))
            return "\n".join(texts)

        return lambda path, password: text_of(path.read_bytes(), path.name, password)

    return prepare


def _pypdfium2() -> Extract:
    import pypdfium2

    def extract(path: Path, password: str) -> str:
        pdf = pypdfium2.PdfDocument(path, password=password or None)
        return "\n".join(page.get_textpage().get_text_range().replace("\ufffe", "-\n") for page in pdf)

    return extract


def _pypdf() -> Extract:
    import pypdf

    return lambda path, password: "\n".join(
        page.extract_text() for page in pypdf.PdfReader(path, password=password or None).pages
    )


def _pdfplumber() -> Extract:
    import pdfplumber

    def extract(path: Path, password: str) -> str:
        with pdfplumber.open(path, password=password) as pdf:
            return "\n".join(
                part
                for page in pdf.pages
                for part in (
                    page.extract_text() or "",
                    *(" | ".join(cell or "" for cell in row) for table in page.extract_tables() for row in table),
                )
            )

    return extract


def _pdfminer() -> Extract:
    from pdfminer.high_level import extract_text

    return lambda path, password: extract_text(str(path), password=password)


def _markitdown() -> Extract:
    from markitdown import MarkItDown

    reader = MarkItDown()
    return lambda path, password: reader.convert(str(path)).text_content


def _pandoc() -> Extract:
    import pypandoc

    named = {"md": "markdown", "txt": "markdown"}
    return lambda path, password: pypandoc.convert_file(
        str(path), "gfm", format=named.get(path.suffix[1:], path.suffix[1:]), extra_args=["--wrap=none", "--sandbox"]
    )


def _python_docx() -> Extract:
    import docx

    def extract(path: Path, password: str) -> str:
        lines = []
        for part in docx.Document(str(path)).iter_inner_content():
            if hasattr(part, "rows"):
                lines += [" | ".join(cell.text for cell in row.cells) for row in part.rows]
            else:
                level = re.search(r"Heading (\d)", part.style.name or "") if part.style else None
                lines.append(("#" * int(level[1]) + " " if level else "") + part.text)
        return "\n".join(lines)

    return extract


def _docx2txt() -> Extract:
    import docx2txt

    return lambda path, password: docx2txt.process(str(path))


def _python_pptx() -> Extract:
    from pptx import Presentation

    def texts(shapes: Any) -> list[str]:
        found = []
        for shape in shapes:
            if hasattr(shape, "shapes"):
                found += texts(shape.shapes)
            elif getattr(shape, "has_table", False) and shape.has_table:
                found += [" | ".join(cell.text for cell in row.cells) for row in shape.table.rows]
            elif shape.has_text_frame:
                found.append(shape.text_frame.text)
        return found

    return lambda path, password: "\n".join(
        line for slide in Presentation(str(path)).slides for line in texts(slide.shapes)
    )


def _openpyxl() -> Extract:
    import openpyxl

    def extract(path: Path, password: str) -> str:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        return "\n".join(
            " | ".join("" if cell is None else str(cell) for cell in row)
            for sheet in book
            for row in sheet.iter_rows(values_only=True)
        )

    return extract


def _calamine() -> Extract:
    from python_calamine import CalamineWorkbook

    def extract(path: Path, password: str) -> str:
        book = CalamineWorkbook.from_path(str(path))
        return "\n".join(
            " | ".join(map(str, row)) for name in book.sheet_names for row in book.get_sheet_by_name(name).to_python()
        )

    return extract


def _xlrd() -> Extract:
    import xlrd

    return lambda path, password: "\n".join(
        " | ".join(str(cell) for cell in sheet.row_values(n))
        for sheet in xlrd.open_workbook(str(path)).sheets()
        for n in range(sheet.nrows)
    )


def _odfpy() -> Extract:
    from odf import teletype
    from odf.opendocument import load

    return lambda path, password: "\n".join(
        teletype.extractText(node) for node in load(str(path)).body.childNodes for node in node.childNodes
    )


def _ebooklib() -> Extract:
    import ebooklib
    from ebooklib import epub
    from lxml import html

    return lambda path, password: "\n".join(
        html.fromstring(item.get_content()).text_content()
        for item in epub.read_epub(str(path)).get_items_of_type(ebooklib.ITEM_DOCUMENT)
    )


def _striprtf() -> Extract:
    from striprtf.striprtf import rtf_to_text

    return lambda path, password: rtf_to_text(path.read_bytes().decode("latin-1"), errors="replace")


def _trafilatura() -> Extract:
    import trafilatura

    return lambda path, password: (
        trafilatura.extract(path.read_bytes(), output_format="markdown", include_tables=True) or ""
    )


def _readability() -> Extract:
    from lxml import html
    from readability import Document

    return lambda path, password: html.fromstring(Document(path.read_bytes()).summary()).text_content()


def _oxmsg() -> Extract:
    from oxmsg import Message

    def extract(path: Path, password: str) -> str:
        message = Message.load(str(path))
        return f"{message.subject}\n{message.sender}\n{message.body or ''}"

    return extract


CANDIDATES: dict[str, tuple[tuple[str, ...], Callable[[], Extract]]] = {
    "ragstone": (("*",), _ours(ocr=False)),
    "ragstone with OCR": (("pdf",), _ours(ocr=True)),
    "markitdown": (("*",), _markitdown),
    "pandoc": (("docx", "odt", "epub", "rtf", "html", "md", "rst", "ipynb"), _pandoc),
    "pypdfium2": (("pdf",), _pypdfium2),
    "pypdf": (("pdf",), _pypdf),
    "pdfplumber": (("pdf",), _pdfplumber),
    "pdfminer.six": (("pdf",), _pdfminer),
    "python-docx": (("docx",), _python_docx),
    "docx2txt": (("docx",), _docx2txt),
    "python-pptx": (("pptx",), _python_pptx),
    "openpyxl": (("xlsx",), _openpyxl),
    "python-calamine": (("xlsx", "xls", "ods"), _calamine),
    "xlrd": (("xls",), _xlrd),
    "odfpy": (("odt", "odp", "ods"), _odfpy),
    "ebooklib": (("epub",), _ebooklib),
    "striprtf": (("rtf",), _striprtf),
    "trafilatura": (("html",), _trafilatura),
    "readability-lxml": (("html",), _readability),
    "python-oxmsg": (("msg",), _oxmsg),
}


if __name__ == "__main__":
    main()
