"""Sheets, slides, OpenDocument texts, books and RTF: structure kept, hostile files end with a code."""

from __future__ import annotations

import io
import random
import shutil
import zipfile

import pytest

from rag.errors import CODES, DocumentError
from rag.loaders import identify, load_document
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
