"""Loaders: every format's structure, encodings, what is refused, and the offsets of blocks."""

from __future__ import annotations

import io
import itertools
import json
import re
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import DocumentError
from rag.loaders import identify, load_document, markdown
from rag.loaders.archive import MAX_MEMBERS, Archive
from rag.loaders.builder import pipe_table
from rag.loaders.encoding import decode
from rag.types import ParsedDocument
from tests.ends import ends


def load(data: bytes | str, name: str, password: str = "") -> ParsedDocument:
    """A document, its blocks checked: in order, and nothing but white space between them."""
    parsed = load_document(data.encode() if isinstance(data, str) else data, name, password)
    at = 0
    for block in parsed.blocks:
        assert at <= block.start < block.end <= len(parsed.text)
        assert not parsed.text[at : block.start].strip()
        assert parsed.text[block.start : block.end].strip()
        at = block.end
    assert not parsed.text[at:].strip()
    return parsed


def refused(data: bytes, name: str) -> str:
    with pytest.raises(DocumentError) as caught:
        load_document(data, name)
    assert name in str(caught.value)
    return caught.value.code


def blocks_of(parsed: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind, parsed.text[block.start : block.end]) for block in parsed.blocks]


# ---------------------------------------------------------------- encodings

ENCODED = [
    ("gb18030", "没有声明编码的网页，内容是国标码。今天天气很好。"),
    ("big5", "這是一個繁體中文檔案，用來測試編碼。"),
    ("shift_jis", "これは日本語のテキストです。文字コードを判定します。"),
    ("euc_jp", "これは日本語のテキストです。文字コードを判定します。"),
    ("euc_kr", "이것은 한국어 텍스트입니다. 문자 인코딩을 테스트합니다."),
    ("cp1251", "Это русский текст для проверки кодировки."),
    ("koi8-r", "Это русский текст для проверки кодировки."),
    ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
    ("iso-8859-2", "Zażółć gęślą jaźń i jeszcze trochę"),
    ("cp1253", "Αυτό είναι ένα ελληνικό κείμενο"),
    ("cp1254", "Türkçe bir metin, şöyle güzel ığdır"),
    ("cp1255", "זהו טקסט בעברית לבדיקה"),
    ("latin-1", "Où êtes-vous, mon ami? L'été dernier à la plage."),
    ("cp1252", "El niño comió “paella” con ñoquis – 15,50 €"),
    ("latin-1", "Die schöne Frau isst gern Käse über Straße"),
    ("utf-8", "plain and 中文"),
    ("utf-8-sig", "marked"),
    ("utf-16", "混合 text"),
    ("utf-16-le", "no mark on this text"),
    ("utf-16-be", "no mark on this text"),
    ("utf-32", "混合 text"),
    ("utf-32-be", "no mark on this text"),
]


@pytest.mark.parametrize(("encoding", "text"), ENCODED)
@pytest.mark.parametrize("n", [1, 30])
def test_encodings(encoding: str, text: str, n: int) -> None:
    assert decode((text * n).encode(encoding)) == (text * n, [])


def test_damaged_utf8_is_repaired_and_too_much_damage_refused() -> None:
    good = "Grüße aus Köln, schöne Straße. " * 10
    text, warnings = decode(good.encode() + b"\xff end")
    assert text == good + "\ufffd end"
    assert "1 bytes" in warnings[0]
    bad = "äöü".encode() * 30 + b"\xff\xfe" * 20
    with pytest.raises(DocumentError) as caught:
        decode(bad)
    assert caught.value.code == "E_ENCODING"


def test_nul_bytes_and_line_ends() -> None:
    text, warnings = decode(b"be\0fore\r\nand\rafter")
    assert text == "before\nand\nafter"
    assert warnings == ["1 NUL characters were removed."]
    assert refused(b"a\0\0\0\0b\0\0\0\0" * 20, "a.txt") == "E_BINARY"
    assert refused(bytes(range(256)) * 20, "a.bin") == "E_BINARY"


def test_characters_stay_as_they_are() -> None:
    text = "e\u0301 \u202eabc\u202c zero\u200bwidth \U000e0041 ﬁ"
    assert load(text, "a.txt").text == text


# ---------------------------------------------------------------- what a file is


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"%PDF-1.7\n", "a.txt", "pdf"), (b"<!DOCTYPE html><p>x", "a.docx", "html"), (b"\xef\xbb\xbf<html>", "a", "html"),
        (b"# x", "a.md", "markdown"), (b"x", "a", "text"), (b"x = 1", "a.py", "code"), (b"<p>x</p>", "a.htm", "html"),
        (b"\x89PNG\r\n\x1a\n", "a.pdf", "image"), (b"{\\rtf1", "a.doc", "rtf"), (b"a,b", "a.csv", "csv"),
        (b"{}", "a.json", "json"), (b"<?xml version='1.0'?><a/>", "a.xml", "xml"), (b"x", "a.eml", "text"),
        (b"PK\x03\x04 word/document.xml", "a", "docx"), (b"PK\x03\x04 ppt/x", "a.pptx", "pptx"), (b"PK\x05\x06", "a.zip", "zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "a.docx", "unsupported:doc"), (b"\x1f\x8b\x08", "a.gz", "gzip"),
        (bytes(range(256)), "a.txt", "unsupported:binary"), ("text".encode("utf-16"), "a.txt", "text"),
    ],
)  # fmt: skip
def test_identify_goes_by_content_first(data: bytes, name: str, kind: str) -> None:
    assert identify(data, name) == kind


def test_refusals_name_the_format_and_what_to_do() -> None:
    assert refused(b"", "a.txt") == "E_EMPTY"
    assert refused(b" \n\t\xe2\x80\x8b\n", "a.txt") == "E_NO_TEXT"
    assert refused(b"OggS", "a.pdf") == "E_TYPE_MISMATCH"
    assert refused(b"OggS", "a.ogg") == "E_UNSUPPORTED"
    assert refused(b"\x89PNG\r\n\x1a\n", "a.png") == "E_NO_TEXT_LAYER"
    with pytest.raises(DocumentError, match="PowerPoint.*PDF") as caught:
        load_document(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "PowerPoint Document".encode("utf-16-le"), "talk.ppt")
    assert caught.value.code == "E_UNSUPPORTED"
    encrypted = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
    assert refused(encrypted, "a.docx") == "E_ENCRYPTED"


def test_a_wrong_name_is_forgiven_and_said() -> None:
    parsed = load("<html><body><p>I am HTML.</p>", "a.docx")
    assert parsed.type == "html" and "docx" in parsed.warnings[0]
    assert load("just text", "a.docx").type == "text"
    assert load("plain text", "report 2024.txt").title == "report 2024"


# ---------------------------------------------------------------- text and Markdown


def test_paragraphs() -> None:
    assert blocks_of(load("\n one\n two \n\n\t\n  three\n", "a.txt")) == [
        ("paragraph", "one\n two"),
        ("paragraph", "three"),
    ]


MARKDOWN = """# Title *here*

Text with `code`
goes on.
- item
  more

  - nested

1. one
2. two

> quote
lazy

| a | b |
| - | - |
| 1 | 2 |

Setext
------
~~~
# no heading
~~~
    indented

<!-- comment

over blanks -->

***
end
"""


def test_markdown_blocks() -> None:
    parsed = load(MARKDOWN, "a.md")
    assert parsed.text == MARKDOWN
    assert parsed.title == "Title here"
    kinds = [(kind, text.split("\n")[0]) for kind, text in blocks_of(parsed)]
    assert kinds == [
        ("heading", "# Title *here*"), ("paragraph", "Text with `code`"), ("list", "- item"), ("quote", "> quote"),
        ("table", "| a | b |"), ("heading", "Setext"), ("code", "~~~"), ("code", "indented"), ("paragraph", "<!-- comment"),
        ("paragraph", "***"), ("paragraph", "end"),
    ]  # fmt: skip
    assert [block.level for block in parsed.blocks if block.kind == "heading"] == [1, 2]


def test_markdown_headings_agree_with_a_full_parser(repo: Path) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    texts = [path.read_text("utf-8") for path in sorted([*repo.glob("*.md"), *(repo / "docs").rglob("*.md")])] + [
        MARKDOWN
    ]
    for text in texts:
        expected = [
            (token.map[0], int(token.tag[1]))
            for token in parser.parse(text)
            if token.type == "heading_open" and token.level == 0
        ]
        found = [(text.count("\n", 0, b.start), b.level) for b in markdown.blocks(text) if b.kind == "heading"]
        assert found == expected


@given(st.text(alphabet=st.sampled_from(list("ab#-*>`~|=1. \n\t<!")), max_size=200))
def test_markdown_blocks_cover_any_text(text: str) -> None:
    at = 0
    for block in markdown.blocks(text):
        assert not text[at : block.start].strip() and block.start < block.end
        at = block.end
    assert not text[at:].strip()


@pytest.mark.parametrize(
    "unit", ["> ", "- a\n", "- ```\n", "```\n", "a | b\n", "|a|\n|-|\n", "<!-- \n", "[", "*a **b ", "p\n\n", "  - "]
)
def test_markdown_takes_linear_time(unit: str) -> None:
    assert ends(lambda: list(markdown.blocks(unit * 300_000)))


def test_front_matter() -> None:
    head = "---\ntitle: 'A: B'\ntags: [x, y]\nlist:\n  - one\n  - two\nyear: 2024\ndraft: true\nempty:\n# no\nnested:\n  a: 1\n---\n\n# Head\n"
    parsed = load(head, "a.md")
    assert parsed.title == "A: B"
    assert parsed.metadata == {"tags": ["x", "y"], "list": ["one", "two"], "year": 2024, "draft": True}
    assert parsed.text == "# Head\n"
    assert load("---\n\nno front matter\n", "a.md").text.startswith("---")
    hostile = "---\na: &a [x]\nb: [*a, *a]\nc: !!python/object/apply:os.system ['true']\nd: &d\n---\nbody\n"
    assert load(hostile, "a.md").metadata == {}


# ---------------------------------------------------------------- HTML

PAGE = """<!doctype html><html><head><title>A &amp; B</title><meta name=description content="What it is">
<style>p{color:red}</style><script>var secret</script></head><body><nav><a href=/>Home page link</a></nav>
<header><a href=/>Site</a></header><main><h1>Head</h1><p>First <b>bold</b><br>line.</p><template>never</template>
<ul><li>one<ul><li>nested</ul><li>two</ul><ol start=3><li>three</ol><pre>a  b
  c</pre><blockquote>wise<p>words</blockquote>
<table><tr><th>k<th>v|w<tr><td rowspan=2>a<td>1<tr><td>2<tr><td colspan=2>both</table>
<p style="display: none">hidden order</p><noscript>noscript text</noscript>Loose text</main>
<footer>Imprint</footer><!-- comment --></body></html>"""


WORDS = (
    "Running text of a page has sentences, and they are longer than the words of a menu or the title of a teaser. " * 4
)

FRAMED = f"""<!doctype html><html lang=en-GB><head><title>T</title><link rel="x canonical" href="https://example.org/a">
<meta property="article:published_time" content="2024-05-01T10:00:00Z"><meta name=author content="https://example.org/me">
<script type="application/ld+json">{{"@graph": [{{"author": [{{"name": "Ada"}}, "Bob"]}}]}}</script></head><body>
<div class=has-sidebar><div class=col><h1>Head</h1><p>{WORDS}intro</p><div><div class=body><p>{WORDS}first</p><p>Photo: A. Nyone / Agency</p>
<p>{WORDS}second</p><h3>Related articles</h3><ul><li><a href=/1>one teaser</a><li><a href=/2>two teaser</a></ul>
<h2>相关阅读</h2><p><a href=/3>另一篇文章</a></p><a href=/4><h3>Teaser of another page</h3><p>read it</p></a>
<section id=comments><h2>Comments</h2><p>{WORDS}in code begin with #</p></section><h2>Tags</h2><p>{WORDS}of HTML</p></div></div></div>
<div class=right-sidebar><p>{WORDS}sidebar</p></div><div id=cookie-banner>We use cookies</div><ol class=commentlist><li>{WORDS}reader</ol></div></body></html>"""


def test_the_frame_of_a_page_is_left_out_and_sections_named_like_it_stay() -> None:
    parsed = load(FRAMED, "a.html")
    for kept in ("# Head", "intro", "first", "second", "## Comments", "begin with #", "## Tags", "of HTML"):
        assert kept in parsed.text
    for dropped in ("Photo:", "Related", "teaser", "相关阅读", "另一篇", "Teaser of", "sidebar", "cookies", "reader"):
        assert dropped not in parsed.text.replace("the title of a teaser", "")
    assert parsed.metadata == {
        "published": "2024-05-01",
        "author": "Ada, Bob",
        "language": "en-GB",
        "canonical": "https://example.org/a",
    }


def test_a_page_of_nothing_but_teasers_keeps_them() -> None:
    teasers = "".join(
        f"<article><a href=/{i}><h3>Story number {i}</h3><p>What it says in short</p></a></article>" for i in range(30)
    )
    text = load(f"<!doctype html><html><body><div class=posts>{teasers}</div></body></html>", "a.html").text
    assert all(f"Story number {i}" in text for i in range(30))


def test_html_becomes_markdown_without_its_chrome() -> None:
    parsed = load(PAGE, "a.html")
    assert parsed.title == "A & B" and parsed.metadata == {"description": "What it is"}
    assert blocks_of(parsed) == [
        ("heading", "# Head"), ("paragraph", "First bold\nline."), ("list", "- one\n   - nested\n- two"), ("list", "3. three"),
        ("code", "```\na  b\n  c\n```"), ("quote", "> wise\n> words"),
        ("table", "| k | v\\|w |\n| --- | --- |\n| a | 1 |\n| a | 2 |\n| both |  |"), ("paragraph", "Loose text"),
    ]  # fmt: skip
    assert "hides" in parsed.warnings[0]


def test_html_charsets() -> None:
    body = "<p>中文内容测试，编码声明有误。</p>"
    for declared, real in (
        ("gb2312", "gb18030"),
        ("utf-8", "gb18030"),
        ("", "gb18030"),
        ("big5", "utf-8"),
        ("", "utf-16"),
    ):
        meta = f'<meta charset="{declared}">' if declared else ""
        assert (
            load(f"<html><head>{meta}</head><body>{body}".encode(real), "a.html").text == "中文内容测试，编码声明有误。"
        )


def test_html_without_main_content_marks_keeps_all_text() -> None:
    assert load("<p>one<div>two<span>three</span></div>four", "a.html").text == "one\n\ntwothree\n\nfour"
    assert load("<body><table><tr><td><h1>T</h1><p>layout</table>", "a.html").text == "# T\n\nlayout"


@pytest.mark.parametrize(
    "page",
    [
        b"<div>" * 30_000 + b"deep text", b"<p " + b" ".join(b'a%d="x"' % i for i in range(200_000)) + b">text", b"<b><i>" * 3_000 + b"text",
        b"<table><tr><td>" * 2_000 + b"text", b"<ul><li>" * 5_000 + b"text", b"<img src='" + b"A" * 2_000_000 + b"'>text",
        b"<table><tr><td rowspan=65534 colspan=1000>text" + b"<tr><td>x" * 500,
    ],
)  # fmt: skip
def test_hostile_html_ends_with_text(page: bytes) -> None:
    def work() -> None:
        assert "text" in load(b"<html><body>" + page, "a.html").text

    assert ends(work)


def test_wide_tables_are_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        pipe_table([["x"] * 10_001])
    assert caught.value.code == "E_TOO_WIDE"


# ---------------------------------------------------------------- PDF


def pdf(draw: Any, *, encrypt: Any = None) -> bytes:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    out = io.BytesIO()
    page = canvas.Canvas(out, pagesize=(600, 800), encrypt=encrypt)
    draw(page)
    page.save()
    return out.getvalue()


def lines(page: Any, x: float, y: float, texts: list[str], *, size: float = 10, font: str = "Helvetica") -> None:
    page.setFont(font, size)
    for i, text in enumerate(texts):
        page.drawString(x, y - i * size * 1.2, text)


def test_pdf_pages_headings_columns_and_paragraphs() -> None:
    def draw(page: Any) -> None:
        page.setTitle("The Title")
        lines(page, 50, 750, ["Annual Report"], size=24)
        lines(page, 50, 700, ["Left column starts here and", "goes on below. It ends", "with this line"])
        lines(page, 50, 640, ["Second paragraph on the left."])
        lines(page, 320, 700, ["right column of the page", "has more text."])
        page.showPage()
        lines(page, 50, 750, ["2 Results"], size=16)
        lines(page, 50, 700, ["Body of the second page."])

    parsed = load(pdf(draw), "a.pdf")
    assert parsed.title == "The Title" and parsed.n_pages == 2 and parsed.type == "pdf"
    found = blocks_of(parsed)
    assert found[0] == ("heading", "# Annual Report")
    assert found[1] == ("paragraph", "Left column starts here and\ngoes on below. It ends\nwith this line")
    order = [
        parsed.text.index(part) for part in ("Left column", "Second paragraph", "right column", "2 Results", "Body of")
    ]
    assert order == sorted(order)
    assert [block.page for block in parsed.blocks][-2:] == [2, 2]
    assert ("heading", "## 2 Results") in found


def test_pdf_hyphens_at_line_ends() -> None:
    def draw(page: Any) -> None:
        lines(
            page,
            50,
            750,
            ["The adminis-", "tration has a well-known rule about the well-", "known places of Baden-", "Baden."],
        )

    text = load(pdf(draw), "a.pdf").text
    assert "administration" in text
    assert "the well-known places" in text
    assert "Baden-Baden" in text


def test_running_heads_come_once() -> None:
    def draw(page: Any) -> None:
        for i in range(6):
            lines(page, 50, 780, [f"Handbook of Things, page {i}"])
            lines(page, 50, 700, [f"Text number {i} of", "the body is", "different here."])
            page.showPage()

    text = load(pdf(draw), "a.pdf").text
    assert text.count("Handbook of Things") == 1
    assert all(f"Text number {i}" in text for i in range(6))


def test_pdf_encryption() -> None:
    def draw(page: Any) -> None:
        lines(page, 50, 750, ["secret words"])

    pdfencrypt = pytest.importorskip("reportlab.lib.pdfencrypt")
    user = pdf(draw, encrypt=pdfencrypt.StandardEncryption("open", ownerPassword="own"))
    assert refused(user, "a.pdf") == "E_ENCRYPTED"
    assert load(user, "a.pdf", "open").text == "secret words"
    owner = pdf(draw, encrypt=pdfencrypt.StandardEncryption("", ownerPassword="own"))
    assert load(owner, "a.pdf").text == "secret words"


def test_pdfs_without_text() -> None:
    pytest.importorskip("reportlab")
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    picture = ImageReader(Image.new("RGB", (50, 50), "red"))
    assert refused(pdf(lambda page: page.drawImage(picture, 0, 0, 600, 800)), "scan.pdf") == "E_NO_TEXT_LAYER"
    assert refused(pdf(lambda page: page.line(0, 0, 9, 9)), "blank.pdf") == "E_NO_TEXT"

    def mixed(page: Any) -> None:
        lines(page, 50, 750, ["text page"])
        page.showPage()
        page.drawImage(picture, 0, 0, 600, 800)

    assert "Page 2" in load(pdf(mixed), "a.pdf").warnings[0]


def test_broken_pdfs() -> None:
    data = pdf(lambda page: lines(page, 50, 750, ["words to save"]))
    assert refused(data[: len(data) // 3], "cut.pdf") == "E_CORRUPT"
    assert refused(b"%PDF-1.7\n", "head.pdf") == "E_CORRUPT"
    assert "words to save" in load(re.sub(rb"startxref\n\d+", b"startxref\n7", data), "xref.pdf").text


def test_a_pdf_bomb_is_refused_before_it_unpacks() -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(150)) + packer.flush()
    head = b"%PDF-1.4\n1 0 obj<</Length " + str(len(bomb)).encode() + b"/Filter/FlateDecode>>stream\n"
    assert refused(head + bomb + b"\nendstream endobj\ntrailer<<>>", "bomb.pdf") == "E_TOO_LARGE"


def test_garbled_text_is_told_from_foreign_text() -> None:
    from rag.loaders.pdf import _is_garbled

    assert _is_garbled("\ue000\ue001\ue002\uf8ff" * 20)
    assert _is_garbled("Ă̄Ԇ܈ĆԂ܂ȄҊʂ߁" * 10)
    for text in (
        "Příliš žluťoučký kůň",
        "Это русский текст",
        "هذا نص عربي",
        "यह हिंदी है",
        "ข้อความภาษาไทย",
        "中文文本",
        "Tiếng Việt",
    ):
        assert not _is_garbled(text * 10)


# ---------------------------------------------------------------- DOCX


@pytest.fixture
def docx() -> Any:
    return pytest.importorskip("docx")


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_docx_structure(docx: Any) -> None:
    document = docx.Document()
    document.core_properties.title = "Plan"
    document.core_properties.author = "Ada"
    document.add_heading("Chapter", 1)
    paragraph = document.add_paragraph("A paragraph ")
    paragraph.add_run("in runs").bold = True
    paragraph.add_run("\nand lines")
    for text, style in (
        ("one", "List Bullet"),
        ("deep", "List Bullet 2"),
        ("first", "List Number"),
        ("second", "List Number"),
    ):
        document.add_paragraph(text, style=style)
    table = document.add_table(3, 3)
    for row, column in itertools.product(range(3), range(3)):
        table.cell(row, column).text = f"{row}{column}"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "tall"
    table.cell(1, 1).merge(table.cell(1, 2)).text = "wide"
    document.sections[0].header.paragraphs[0].text = "Company"
    document.sections[0].footer.paragraphs[0].text = "Confidential"
    parsed = load(saved(document), "a.docx")
    assert parsed.title == "Plan" and parsed.metadata["author"] == "Ada"
    found = blocks_of(parsed)
    assert found[0] == ("paragraph", "Company") and found[-1] == ("paragraph", "Confidential")
    assert found[1:3] == [("heading", "# Chapter"), ("paragraph", "A paragraph in runs\nand lines")]
    assert found[3][0] == "list" and [line.strip() for line in found[3][1].split("\n")] == [
        "- one",
        "- deep",
        "1. first",
        "2. second",
    ]
    assert found[4] == ("table", "| 00 | 01 | 02 |\n| --- | --- | --- |\n| tall | wide |  |\n| tall | 21 | 22 |")


NAMESPACE = 'xmlns:w="http://purl.oclc.org/ooxml/wordprocessingml/main"'


def archive(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def word(body: str, prolog: str = "") -> bytes:
    return archive({"word/document.xml": f"{prolog}<w:document {NAMESPACE}><w:body>{body}</w:body></w:document>"})


def test_docx_text_boxes_changes_and_the_strict_namespace() -> None:
    body = (
        "<w:p><w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t> added</w:t></w:r></w:ins>"
        "<w:r><w:AlternateContent><w:Choice><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></w:Choice>"
        "<w:Fallback><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></w:Fallback></w:AlternateContent></w:r></w:p>"
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    assert load(word(body), "a.docx").text == "kept added\n\nin a box\n\ncontrol"


def test_docx_nested_tables_are_flattened() -> None:
    inner = "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>x</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    for _ in range(300):
        inner = f"<w:tbl><w:tr><w:tc>{inner}</w:tc></w:tr></w:tbl>"
    assert load(word(inner), "a.docx").text == "| x |\n| --- |"


def test_hostile_docx(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    assert refused(word("&b;", laughs), "a.docx") == "E_XML_UNSAFE"
    (tmp_path / "canary").write_text("canary")
    xxe = f'<!DOCTYPE x [<!ENTITY a SYSTEM "{(tmp_path / "canary").as_uri()}">]>'
    assert refused(word("&a;", xxe), "a.docx") == "E_XML_UNSAFE"
    assert refused(word("<w:p>" * 20_000 + "</w:p>" * 20_000), "a.docx") == "E_TOO_DEEP"
    assert refused(archive({"word/document.xml": b" " * 210_000_000}), "a.docx") == "E_TOO_LARGE"
    assert refused(archive({"word/document.xml": b" " * 30_000_000}), "a.docx") == "E_TOO_LARGE"
    assert refused(archive({f"word/{i}": b"" for i in range(MAX_MEMBERS + 1)}), "a.docx") == "E_TOO_LARGE"
    assert refused(archive({"[Content_Types].xml": b"<a/>"}), "a.docx") == "E_CORRUPT"
    good = word("<w:p><w:r><w:t>text</w:t></w:r></w:p>")
    assert refused(good[: len(good) // 2], "a.docx") == "E_CORRUPT"
    assert load(good, "a.docx").text == "text"


def test_a_zip_that_lies_about_sizes_is_counted_while_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.loaders.archive.MAX_TOTAL", 500_000)
    honest = Archive(archive({"a": b"x" * 300_000, "b": b"y" * 150_000}), "a.docx")
    assert honest.read("a") and honest.read("b") and honest.read("none") is None
    with pytest.raises(DocumentError) as caught:
        honest.read("b")
    assert caught.value.code == "E_TOO_LARGE"


def test_a_docx_with_a_damaged_side_part_is_read_with_a_warning() -> None:
    data = archive(
        {
            "word/document.xml": f"<w:document {NAMESPACE}><w:body><w:p><w:r><w:t>text</w:t></w:r></w:p></w:body></w:document>",
            "word/styles.xml": "<broken",
        }
    )
    parsed = load(data, "a.docx")
    assert parsed.text == "text" and "styles" in parsed.warnings[0]


# ---------------------------------------------------------------- real files

OURS = (".pdf", ".docx", ".html", ".md")
OURS += (".xlsx", ".xls", ".ods", ".pptx", ".odt", ".odp", ".epub", ".rtf")
OURS += (".csv", ".xml", ".ipynb", ".eml", ".msg")


# Expected strings that are not found, each with its reason.
MISSED = {"xlsx-docling.xlsx": ["first header"]}  # two cells, "first" and "header", which a table keeps apart


def normal(text: str, expect: dict[str, Any]) -> str:
    """The comparison that the manifest of the document collection describes."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub("[\u200b-\u200f\u202a-\u202e\u2060\ufeff]", "", text)
    text = re.sub(r"([a-z])-\n([a-z])", r"\1\2", text)
    return re.sub(r"\s+", "" if expect.get("compare") == "nows" else " ", text)


def holds_row(parsed: ParsedDocument, row: list[str], expect: dict[str, Any]) -> bool:
    pattern = ".*?".join(re.escape(normal(cell, expect)) for cell in row)
    return any(re.search(pattern, normal(line, expect)) for line in parsed.text.split("\n"))


def test_the_document_collection(shared: Path) -> None:
    folder = shared / "data" / "docs"
    n_checked = 0
    for entry in json.loads((folder / "manifest.json").read_text("utf-8"))["files"]:
        name, expect = entry["file"], entry["expect"]
        if not name.endswith(OURS):
            continue
        data = (folder / "files" / name).read_bytes()
        n_checked += 1
        if expect.get("without_password"):
            assert refused(data, name) == "E_ENCRYPTED"
        if expect["outcome"] != "text":
            code = (
                refused(data, name) if expect["outcome"] != "either" or name.startswith("pdf-fuzzed") else "E_CORRUPT"
            )
            assert code in ("E_NO_TEXT_LAYER", "E_NO_TEXT", "E_EMPTY", "E_CORRUPT", "E_ENCRYPTED"), name
            continue
        parsed = load(data, name, expect.get("password", ""))
        text = normal(parsed.text, expect)
        missing = [part for part in expect.get("must", []) if normal(part, expect) not in text]
        assert missing == MISSED.get(name, []), name
        assert [part for part in expect.get("absent", []) if normal(part, expect) in text] == [], name
        assert [row for row in expect.get("rows", []) if not holds_row(parsed, row, expect)] == [], name
        at = 0
        for part in expect.get("order", []):
            at = text.find(normal(part, expect), at)
            assert at >= 0, f"{name}: {part}"
        headings = [parsed.text[b.start : b.end].lstrip("# ") for b in parsed.blocks if b.kind == "heading"]
        assert set(expect.get("headings", [])) <= set(headings), name
        assert parsed.n_pages == expect.get("pages", parsed.n_pages), name
    assert n_checked >= 40


def test_main_content_of_real_pages(shared: Path) -> None:
    """Strings that belong to a page's main text are kept, most of those that belong to its frame are not."""
    import gzip

    kept = dropped = n_with = n_without = 0
    with gzip.open(shared / "data" / "docs" / "html-boilerplate.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            text = " ".join(load(row["html"].encode("utf-8", "replace"), "a.html").text.split())
            kept += sum(" ".join(part.split()) in text for part in row["with"])
            dropped += sum(" ".join(part.split()) not in text for part in row["without"])
            n_with += len(row["with"])
            n_without += len(row["without"])
    assert kept >= 0.975 * n_with
    assert dropped >= 0.82 * n_without
