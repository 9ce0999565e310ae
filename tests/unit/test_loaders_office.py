"""Sheets, slides, OpenDocument texts, books and RTF: structure kept, hostile files end with a code."""

from __future__ import annotations

import io
import random
import shutil
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from rag.convert import convert
from rag.errors import CODES, DocumentError
from rag.loaders import identify, load_document
from rag.loaders.xlsx import format_kind, shown_number
from rag.parsing import ParserPool
from rag.settings import ParseSettings
from rag.types import ParsedDocument

R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
NAV = ' properties="nav"'
OFFICE = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'


def packed(members: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text, zipfile.ZIP_STORED if name == "mimetype" else None)
    return out.getvalue()


def relations(**targets: str) -> str:
    each = "".join(f'<Relationship Id="{key}" Type="{R}/x" Target="{target}"/>' for key, target in targets.items())
    return f'<Relationships xmlns="{RELS}">{each}</Relationships>'


def xlsx(*sheets: str, strings: str = "", states: tuple[str, ...] = ()) -> bytes:
    listed = "".join(
        f'<sheet name="S{n}" sheetId="{n}" r:id="r{n}"{f""" state="{states[n - 1]}" """ if states else ""}/>'
        for n in range(1, len(sheets) + 1)
    )
    return packed(
        {
            "xl/workbook.xml": f'<workbook xmlns="{S}" xmlns:r="{R}"><sheets>{listed}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(
                **{f"r{n}": f"worksheets/sheet{n}.xml" for n in range(1, len(sheets) + 1)}
            ),
            "xl/sharedStrings.xml": f'<sst xmlns="{S}">{strings}</sst>',
            "xl/styles.xml": f'<styleSheet xmlns="{S}"><numFmts><numFmt numFmtId="164" formatCode="[Red]0.0%"/></numFmts>'
            '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="22"/></cellXfs></styleSheet>',
        }
        | {
            f"xl/worksheets/sheet{n}.xml": f'<worksheet xmlns="{S}"><sheetData>{rows}</sheetData></worksheet>'
            for n, rows in enumerate(sheets, 1)
        }
    )


def tables(parsed: ParsedDocument) -> list[str]:
    return [parsed.text[block.start : block.end] for block in parsed.blocks if block.kind == "table"]


# ---------------------------------------------------------------- sheets


def test_cells_as_people_see_them() -> None:
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>日期</t></is></c><c r="C1" t="str"><v>share</v></c></row>'
        '<row r="2"><c r="A2"><v>9.0</v></c><c r="B2" s="1"><v>45292</v></c><c r="C2" s="2"><v>0.125</v></c></row>'
        '<row r="3"><c r="A3" t="b"><v>1</v></c><c r="B3" s="3"><v>45292.5</v></c><c r="C3" t="e"><v>#DIV/0!</v></c></row>'
        '<row r="5"><c r="A5"><v>0.1</v></c><c r="B5" t="str"><f>1+1</f><v>=cmd|x</v></c></row>'
    )
    parsed = load_document(
        xlsx(rows, strings="<si><r><t>na</t></r><r><t>me</t></r><rPh><t>ignored</t></rPh></si>"), "a.xlsx"
    )
    assert parsed.text.startswith("## S1\n\n")
    assert tables(parsed) == [
        "| name | 日期 | share |\n| --- | --- | --- |\n| 9 | 2024-01-01 | 12.5% |\n| TRUE | 2024-01-01 12:00:00 | #DIV/0! |",
        "| 0.1 | =cmd\\|x |\n| --- | --- |",
    ]


def test_a_lone_cell_in_the_last_row_costs_nothing() -> None:
    parsed = load_document(xlsx('<row r="1048576"><c r="XFD1048576"><v>7</v></c></row>'), "a.xlsx")
    assert tables(parsed) == ["| 7 |\n| --- |"]


def test_hidden_and_empty_sheets() -> None:
    cell = '<row r="1"><c r="A1"><v>1</v></c></row>'
    parsed = load_document(xlsx(cell, "", cell, states=("visible", "visible", "veryHidden")), "a.xlsx")
    assert parsed.warnings == ("The sheet 'S3' is hidden in its program; it was read.",)
    assert "## S2" not in parsed.text and "## S3" in parsed.text


def test_too_many_columns() -> None:
    cells = "".join(f'<c t="str"><v>{n}</v></c>' for n in range(10_001))
    assert refused(xlsx(f'<row r="1">{cells}</row>'), "a.xlsx") == "E_TOO_WIDE"


def test_opendocument_sheets() -> None:
    row = '<table:table-row{0}><table:table-cell office:value-type="string"><text:p>{1}</text:p></table:table-cell></table:table-row>'
    edge = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    date = '<table:table-row><table:table-cell office:value-type="date" office:date-value="2024-03-01"><text:p>1.3.24</text:p></table:table-cell></table:table-row>'
    rows = row.format("", "年") + row.format(' table:number-rows-repeated="2"', "twice") + date + edge
    content = f'<office:document-content {OFFICE}><office:body><office:spreadsheet><table:table table:name="T">{rows}</table:table></office:spreadsheet></office:body></office:document-content>'
    parsed = load_document(
        packed({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": content}), "a.ods"
    )
    assert tables(parsed) == ["| 年 |\n| --- |\n| twice |\n| twice |\n| 2024-03-01 |"]


# ---------------------------------------------------------------- slides


def shape(text: str, *, at: tuple[int, int] | None, kind: str = "") -> str:
    place = f'<p:spPr><a:xfrm><a:off x="{at[0]}" y="{at[1]}"/></a:xfrm></p:spPr>' if at else "<p:spPr/>"
    ph = f'<p:nvPr><p:ph type="{kind}"/></p:nvPr>' if kind else "<p:nvPr/>"
    lines = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
    return f"<p:sp><p:nvSpPr>{ph}</p:nvSpPr>{place}<p:txBody>{lines}</p:txBody></p:sp>"


def pptx(*slides: str, **more: str) -> bytes:
    listed = "".join(f'<p:sldId id="{n + 255}" r:id="r{n}"/>' for n in range(1, len(slides) + 1))
    members = {
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{P}" xmlns:r="{R}"><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations(
            **{f"r{n}": f"slides/slide{len(slides) + 1 - n}.xml" for n in range(1, len(slides) + 1)}
        ),
    }
    for n, body in enumerate(slides, 1):  # stored in the opposite order
        members[f"ppt/slides/slide{len(slides) + 1 - n}.xml"] = (
            f'<p:sld xmlns:p="{P}" xmlns:a="{A}"><p:cSld><p:spTree>{body}</p:spTree></p:cSld></p:sld>'
        )
    return packed(members | more)


def test_slides_in_their_order_and_shapes_from_top_to_bottom() -> None:
    first = (
        shape("below", at=(0, 9_000_000)) + shape("right", at=(5_000_000, 2_000_000)) + shape("left", at=(0, 2_100_000))
    )
    group = f"<p:grpSp><p:grpSpPr/><p:grpSp>{shape('deep', at=(0, 9_500_000))}</p:grpSp></p:grpSp>"
    parsed = load_document(
        pptx(
            shape("标题", at=None, kind="title") + first + group,
            shape("one\ntwo", at=None) + shape("3", at=None, kind="sldNum"),
        ),
        "a.pptx",
    )
    assert parsed.text == "## 标题\n\nleft\n\nright\n\nbelow\n\ndeep\n\n## Slide 2\n\n- one\n- two"
    assert (
        parsed.n_pages == 2
        and parsed.title == "标题"
        and [block.page for block in parsed.blocks] == [1, 1, 1, 1, 1, 2, 2]
    )


def test_tables_notes_and_what_stands_on_every_slide() -> None:
    cell = "<a:tc><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"
    table = f"<p:graphicFrame><a:graphic><a:tbl><a:tr>{cell.format('a')}{cell.format('b')}</a:tr></a:tbl></a:graphic></p:graphicFrame>"
    footer = shape("ACME", at=None, kind="ftr")
    notes = f'<p:notes xmlns:p="{P}" xmlns:a="{A}"><p:cSld><p:spTree>{shape("say this", at=None, kind="body")}</p:spTree></p:cSld></p:notes>'
    data = pptx(
        table + footer,
        footer,
        **{"ppt/notesSlides/n1.xml": notes, "ppt/slides/_rels/slide2.xml.rels": relations(n="../notesSlides/n1.xml")},
    )
    parsed = load_document(data, "a.pptx")
    assert parsed.text == "## Slide 1\n\n| a | b |\n| --- | --- |\n\nACME\n\nNotes: say this\n\n## Slide 2"


# ---------------------------------------------------------------- texts and books


def odt(body: str, **more: str) -> bytes:
    content = f"<office:document-content {OFFICE}><office:body><office:text>{body}</office:text></office:body></office:document-content>"
    return packed({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content} | more)


def test_opendocument_text() -> None:
    inner = "<text:list><text:list-item><text:p>inner</text:p></text:list-item></text:list>"
    body = (
        '<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes><text:h text:outline-level="2">标题</text:h>'
        "<text:p>one<text:s text:c='2'/>two<text:note><text:note-body><text:p>foot</text:p></text:note-body></text:note> end</text:p>"
        f"<text:list><text:list-item><text:p>outer</text:p>{inner}</text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>x</text:p></table:table-cell></table:table-row></table:table>"
    )
    parsed = load_document(odt(body), "a.odt")
    assert parsed.text == "## 标题\n\none  two end\n\nNote: foot\n\n- outer\n  - inner\n\n| x |\n| --- |"
    assert [block.kind for block in parsed.blocks] == ["heading", "paragraph", "paragraph", "list", "table"]


def test_encrypted_opendocument() -> None:
    assert (
        refused(odt("<text:p>x</text:p>", **{"META-INF/manifest.xml": "<m><encryption-data/></m>"}), "a.odt")
        == "E_ENCRYPTED"
    )


def epub(chapters: dict[str, str], *, spine: tuple[str, ...], nav: str = "", **more: str) -> bytes:
    items = "".join(f'<item id="{name}" href="{name}.xhtml"{NAV if name == nav else ""}/>' for name in chapters)
    order = "".join(f'<itemref idref="{name}"/>' for name in spine)
    package = f'<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>书名</dc:title><dc:creator>Ann</dc:creator></metadata><manifest>{items}</manifest><spine>{order}</spine></package>'
    container = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    pages = {f"OPS/{name}.xhtml": f"<html><body>{body}</body></html>" for name, body in chapters.items()}
    return packed(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OPS/book.opf": package}
        | pages
        | more
    )


def test_books_in_the_order_of_their_spine() -> None:
    chapters = {"b": "<h1>Second</h1><p>Text b.</p>", "a": "<h1>First</h1><p>Text a.</p>", "toc": "<p>contents</p>"}
    parsed = load_document(epub(chapters, spine=("toc", "a", "b"), nav="toc"), "a.epub")
    assert parsed.text == "# First\n\nText a.\n\n# Second\n\nText b."
    assert (parsed.title, dict(parsed.metadata)) == ("书名", {"author": "Ann"})


def test_protected_books() -> None:
    rights = '<encryption><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></encryption>'
    fonts = '<encryption><EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/></encryption>'
    chapters = {"a": "<p>Text a.</p>"}
    assert refused(epub(chapters, spine=("a",), **{"META-INF/encryption.xml": rights}), "a.epub") == "E_ENCRYPTED"
    assert load_document(epub(chapters, spine=("a",), **{"META-INF/encryption.xml": fonts}), "a.epub").text == "Text a."


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (rb"{\rtf1\ansi Hello \b world\b0 .\par Next.\par}", "Hello world.\n\nNext."),
        (rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\*\generator x;}\f0 kept\par}", "kept"),
        (rb"{\rtf1\ansi\ansicpg936 \'c4\'e3\'ba\'c3\par}", "你好"),
        (rb"{\rtf1\ansi{\fonttbl{\f0\fcharset128 MS;}{\f1\fcharset0 A;}}\f0\'93\'fa\'96\'7b\f1  \'e9\par}", "日本 é"),
        (rb"{\rtf1\uc1 \u20320?\u22909?\par}", "你好"),
        (rb"{\rtf1\uc0 \u-10179 \u-8704 !\par}", "😀!"),
        (rb"{\rtf1\pard\outlinelevel0 Title\par\pard Text\par}", "# Title\n\nText"),
        (rb"{\rtf1 a\par\trowd\pard\intbl x\cell y\cell\row\pard b\par}", "a\n\n| x | y |\n| --- | --- |\n\nb"),
        (rb"{\rtf1 a\bin4 {}\b\par}", "a"),
        (rb"{\rtf1 {\info{\title T}{\author Ann}}body\par}", "body"),
        (rb"{\rtf1 \{x\}\~y\emdash z\par}", "{x}\u00a0y—z"),
    ],
)  # fmt: skip
def test_rtf(rtf: bytes, text: str) -> None:
    assert load_document(rtf, "a.rtf").text == text


def test_rtf_tells_its_title_and_author() -> None:
    parsed = load_document(rb"{\rtf1{\info{\title A report}{\author Ann}}body\par}", "a.rtf")
    assert (parsed.title, dict(parsed.metadata)) == ("A report", {"author": "Ann"})


def test_rtf_of_a_million_groups_ends() -> None:
    assert refused(b"{\\rtf1" + b"{" * 1_000_000, "a.rtf") == "E_TOO_DEEP"


# ---------------------------------------------------------------- hostile and old


def refused(data: bytes, name: str) -> str:
    with pytest.raises(DocumentError) as caught:
        load_document(data, name)
    return caught.value.code


SAMPLES = {
    "a.xlsx": xlsx('<row r="1"><c r="A1" t="str"><v>text</v></c></row>'),
    "a.pptx": pptx(shape("text", at=(0, 0))),
    "a.odt": odt("<text:p>text</text:p>"),
    "a.epub": epub({"a": "<p>text</p>"}, spine=("a",)),
    "a.rtf": rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\trowd\intbl x\cell\row\pard\u20320?text\par}",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_give_text_or_a_code(name: str) -> None:
    chooser = random.Random(7)
    for _ in range(300):
        data = bytearray(SAMPLES[name])
        for _ in range(chooser.randint(1, 8)):
            data[chooser.randrange(len(data))] = chooser.randrange(256)
        cut = bytes(data[: chooser.randint(1, len(data))]) if chooser.random() < 0.3 else bytes(data)
        try:
            load_document(cut, name)
        except DocumentError as error:
            assert error.code in CODES


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "a.rtf"])
def test_entities_are_refused(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(SAMPLES[name])) as archive:
        members = {one: archive.read(one).decode() for one in archive.namelist()}
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    for member in members:
        if member.endswith((".xml", ".opf")):
            hostile = members | {member: bomb + members[member]}
            try:
                assert "aaaa" not in load_document(packed(hostile), name).text
            except DocumentError as error:
                assert error.code in ("E_XML_UNSAFE", "E_CORRUPT")


def test_old_word_documents_need_a_converter(shared, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    data = (shared / "data" / "docs" / "files" / "doc-legacy.doc").read_bytes()
    assert identify(data, "a.doc") == "unsupported:doc"
    has_converter = any(map(shutil.which, ("soffice", "libreoffice", "antiword", "catdoc")))
    with ParserPool(ParseSettings(), workers=1) as pool:
        if has_converter:
            parsed = pool.parse(data, "a.doc")
            assert (
                "Swimming in the lake" in parsed.text
                and "was converted by" in parsed.warnings[0]
                and parsed.type == "doc"
            )
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(DocumentError, match="Install LibreOffice, antiword or catdoc") as caught:
            pool.parse(data, "a.doc")
    assert caught.value.code == "E_UNSUPPORTED"


def test_comments_on_cells() -> None:
    with zipfile.ZipFile(io.BytesIO(xlsx('<row r="1"><c r="A1"><v>1</v></c></row>'))) as archive:
        members = {one: archive.read(one).decode() for one in archive.namelist()}
    members["xl/worksheets/_rels/sheet1.xml.rels"] = relations(c="../comments1.xml")
    members["xl/comments1.xml"] = (
        f'<comments xmlns="{S}"><commentList><comment ref="A1"><text><r><t>ask Ann</t></r></text></comment></commentList></comments>'
    )
    assert load_document(packed(members), "a.xlsx").text == "## S1\n\n| 1 |\n| --- |\n\nA1: ask Ann"


def with_comment(rows: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(xlsx(rows))) as archive:
        members = {one: archive.read(one).decode() for one in archive.namelist()}
    members["xl/worksheets/_rels/sheet1.xml.rels"] = relations(c="../comments1.xml")
    members["xl/comments1.xml"] = (
        f'<comments xmlns="{S}"><commentList><comment ref="B2"><text><t>ask Ann</t></text></comment></commentList></comments>'
    )
    return packed(members)


def test_a_sheet_that_holds_comments_alone() -> None:
    assert load_document(with_comment(""), "a.xlsx").text == "## S1\n\nB2: ask Ann"


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (1.25, "[h]:mm", "30:00:00"), (1.25, "[mm]:ss", "30:00:00"), (-0.5, "[hh]:mm", "-12:00:00"), (0.25, "h:mm", "06:00:00"),
        (45000, "[$-804]yyyy/m/d", "2023-03-15"), (45000, "[Red]0", "45000"), (1e300, "[h]:mm", "1e+300"),
    ],
)  # fmt: skip
def test_hours_that_go_beyond_a_day(value: float, code: str, shown: str) -> None:
    assert shown_number(value, format_kind(code)) == shown


# A workbook of Excel 97 as bytes: records in one stream of an OLE file, written out by hand.


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def xls(cells: list[tuple[int, int, str]], notes: list[tuple[int, int, str]] = ()) -> bytes:  # type: ignore[assignment]
    """BIFF5, whose labels and notes are plain bytes: the stream alone, without its container, is a file, too."""
    start = record(0x0809, struct.pack("<HHHH", 0x0500, 0x0005, 0, 0))
    sheet_at = len(start) + len(record(0x0085, struct.pack("<IHB", 0, 0, 1) + b"S")) + 4
    workbook = start + record(0x0085, struct.pack("<IHB", sheet_at, 0, 1) + b"S") + record(0x000A, b"")
    sheet = record(0x0809, struct.pack("<HHHH", 0x0500, 0x0010, 0, 0))
    for row, column, text in cells:
        sheet += record(0x0204, struct.pack("<HHHH", row, column, 0, len(text)) + text.encode())
    for row, column, text in notes:
        sheet += record(0x001C, struct.pack("<HHH", row, column, len(text)) + text.encode())
    return ole("Book", workbook + sheet + record(0x000A, b""))


def ole(stream: str, content: bytes) -> bytes:
    """An OLE file of one stream: header, table of sectors, directory, content."""
    content = content.ljust(max(4096, -(-len(content) // 512) * 512), b"\0")
    n = len(content) // 512
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)
    chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, n + 2), 0xFFFFFFFE]
    fat = struct.pack("<128I", *chain, *[0xFFFFFFFF] * (128 - len(chain)))

    def entry(name: str, kind: int, child: int, first: int, size: int) -> bytes:
        raw = name.encode("utf-16-le") + b"\0\0"
        nowhere = 0xFFFFFFFF
        return (
            raw.ljust(64, b"\0")
            + struct.pack("<HBBIII", len(raw), kind, 1, nowhere, nowhere, child)
            + bytes(36)
            + struct.pack("<IQ", first, size)
        )

    directory = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry(stream, 2, 0xFFFFFFFF, 2, len(content))
    return header + fat + directory.ljust(512, b"\0") + content


def test_old_workbooks_keep_comments() -> None:
    parsed = load_document(xls([(0, 0, "a"), (0, 1, "b")], [(0, 1, "ask Ann")]), "a.xls")
    assert parsed.text == "## S\n\n| a | b |\n| --- | --- |\n\nB1: ask Ann"


def test_a_lone_cell_in_the_last_row_of_an_old_workbook_costs_nothing() -> None:
    tracemalloc.start()
    try:
        parsed = load_document(xls([(0, 0, "first"), (16_383, 255, "last")]), "a.xls")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tables(parsed) == ["| first |\n| --- |", "| last |\n| --- |"]
    assert peak < 10_000_000  # 4.2 million empty cells take more than 40 MB


def test_opendocument_sheets_tell_hidden_ones_and_keep_comments_apart() -> None:
    cell = "<table:table-cell><office:annotation><text:p>ask Ann</text:p></office:annotation><text:p>text</text:p></table:table-cell>"
    content = (
        f'<office:document-content {OFFICE} xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0"><office:automatic-styles>'
        '<style:style style:name="ta1" style:family="table"><style:table-properties table:display="false"/></style:style>'
        '</office:automatic-styles><office:body><office:spreadsheet><table:table table:name="S" table:style-name="ta1"><table:table-row>'
        f"<table:table-cell><text:p>a</text:p></table:table-cell>{cell}</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    )
    parsed = load_document(
        packed({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": content}), "a.ods"
    )
    assert parsed.text == "## S\n\n| a | text |\n| --- | --- |\n\nB1: ask Ann"
    assert parsed.warnings == ("The sheet 'S' is hidden in its program; it was read.",)


def test_opendocument_slides_from_top_to_bottom_notes_last() -> None:
    svg = 'xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"'

    def frame(text: str, x: str, y: str) -> str:
        return (
            f'<draw:frame svg:x="{x}" svg:y="{y}"><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>'
        )

    body = (
        f"<presentation:notes>{frame('say this', '0cm', '0cm')}</presentation:notes>{frame('下', '1cm', '100mm')}"
        f"{frame('right', '5in', '1cm')}{frame('left', '1cm', '1.1cm')}<draw:g>{frame('grouped', '1cm', '5cm')}</draw:g>"
    )
    content = (
        f"<office:document-content {OFFICE} {svg}><office:body><office:presentation>"
        f'<draw:page draw:name="One">{body}</draw:page></office:presentation></office:body></office:document-content>'
    )
    parsed = load_document(
        packed({"mimetype": "application/vnd.oasis.opendocument.presentation", "content.xml": content}), "a.odp"
    )
    assert parsed.text == "## One\n\nleft\n\nright\n\ngrouped\n\n下\n\nNotes: say this"
    assert {block.page for block in parsed.blocks} == {1}


def test_numbered_headings_of_opendocument_texts_stand_in_lists() -> None:
    heading = '<text:list><text:list-item><text:h text:outline-level="2">编号标题</text:h></text:list-item></text:list>'
    parsed = load_document(odt(f"{heading}<text:p>body</text:p>"), "a.odt")
    assert [(block.kind, parsed.text[block.start : block.end]) for block in parsed.blocks][0] == (
        "heading",
        "## 编号标题",
    )


def test_archives_with_folders_named_like_those_in_office_files() -> None:
    for member in ("ppt/talk.md", "word/documents/talk.md", "xl/workbooks/talk.md"):
        data = packed({member: "# Talk"})
        assert identify(data, "all.zip") == "zip"
        assert [part.name for part in load_document(data, "all.zip").parts] == [member]


def test_binary_workbooks_are_refused_by_name() -> None:
    data = packed({"[Content_Types].xml": "<Types/>", "xl/workbook.bin": "x"})
    for name in ("a.xlsb", "a.xlsx"):
        with pytest.raises(DocumentError, match="Save it as XLSX") as caught:
            load_document(data, name)
        assert caught.value.code == "E_UNSUPPORTED"


def converter(folder: Path, script: str) -> None:
    program = folder / "antiword"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux", reason="a converter's output is limited while it writes on Linux alone")
def test_a_converter_that_writes_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.convert.MAX_OUTPUT", 1_000_000)
    converter(tmp_path, "exec /usr/bin/yes")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DocumentError) as caught:
        convert(b"", "a.doc", "doc", timeout_s=60)
    assert caught.value.code == "E_CORRUPT"


@pytest.mark.skipif(sys.platform == "win32", reason="the converter is a shell script")
def test_half_a_text_of_a_converter_that_failed_is_not_taken_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converter(tmp_path, "echo the first half; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DocumentError, match="could not be converted by antiword"):
        convert(b"", "a.doc", "doc", timeout_s=60)
