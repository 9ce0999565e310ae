"""PDF: reading order, tables, what stands beside the text, passwords, and pages without text. Files are made here."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import pypdf
import pytest
from pypdf.annotations import FreeText, Highlight, Text
from pypdf.generic import ArrayObject, FloatObject, NameObject
from reportlab.lib import colors
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen import canvas
from reportlab.platypus import SimpleDocTemplate, Table

from rag.errors import DocumentError
from rag.loaders import load_document
from rag.types import ParsedDocument

LEFT = [f"Left column line {n} goes on about rivers and" for n in range(1, 15)]
RIGHT = [f"Right column line {n} speaks of hills and the" for n in range(1, 15)]


def pdf(draw: Callable[[Any], None], **options: Any) -> bytes:
    data = io.BytesIO()
    page = canvas.Canvas(data, **options)
    draw(page)
    page.save()
    return data.getvalue()


def load(data: bytes, password: str | Sequence[str] = "") -> ParsedDocument:
    return load_document(data, "a.pdf", password)


def tables(parsed: ParsedDocument) -> list[str]:
    return [parsed.text[block.start : block.end] for block in parsed.blocks if block.kind == "table"]


def changed(data: bytes, change: Callable[[pypdf.PdfWriter], None]) -> bytes:
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(data)))
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


SIMPLE = pdf(lambda page: page.drawString(72, 700, "The invoice is due in March."))


# ---------------------------------------------------------------- reading order


@pytest.mark.parametrize("line_by_line", [True, False])
def test_columns_are_read_one_after_the_other(line_by_line: bool) -> None:
    def draw(page: Any) -> None:
        page.setFont("Helvetica", 10)
        page.drawString(72, 760, "A headline that runs across both of the columns of this page, from left to right")
        if line_by_line:
            for n, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
                page.drawString(72, 730 - 14 * n, left)
                page.drawString(320, 730 - 14 * n, right)
        else:
            for x, column in ((72, LEFT), (320, RIGHT)):
                for n, line in enumerate(column):
                    page.drawString(x, 730 - 14 * n, line)
        page.drawString(72, 500, "A last line that runs across both of the columns of this page, from left to right")

    text = load(pdf(draw)).text
    places = [text.index(line) for line in ("A headline", *LEFT, *RIGHT, "A last line")]
    assert places == sorted(places)


def test_a_page_drawn_from_below_is_read_from_above() -> None:
    def draw(page: Any) -> None:
        for n in reversed(range(12)):
            page.drawString(72, 700 - 20 * n, f"Sentence number {n + 1} of the page.")

    text = load(pdf(draw)).text
    places = [text.index(f"number {n} of") for n in range(1, 13)]
    assert places == sorted(places)


def test_a_word_parted_at_the_line_end_is_joined() -> None:
    def draw(page: Any) -> None:
        page.drawString(72, 700, "The com-")
        page.drawString(72, 686, "mittee met in the well-known hall.")

    assert "committee met in the well-known hall" in load(pdf(draw)).text.replace("\n", " ")


def test_running_heads_stand_once() -> None:
    def draw(page: Any) -> None:
        for n in range(5):
            page.drawString(72, 800, "Annual report of the company")
            for m in range(6):
                page.drawString(72, 700 - 20 * m, f"Text {m} of part {n}.")
            page.drawString(300, 40, f"{n + 1}")
            page.showPage()

    text = load(pdf(draw)).text
    assert text.count("Annual report of the company") == 1
    assert all(f"Text {m} of part {n}." in text for n in range(5) for m in range(6))


def test_a_page_on_its_side_has_its_paragraphs() -> None:
    def draw(page: Any) -> None:
        page.rotate(90)
        for n in range(6):
            page.drawString(100, -(100 + 14 * n + (30 if n > 2 else 0)), f"Sideways line {n} of the page.")

    for data in (pdf(draw), pdf(lambda page: (page.setPageRotation(90), draw(page)))):
        blocks = load(data).blocks
        assert len(blocks) == 2


def test_vertical_text_of_fonts_that_are_not_embedded() -> None:
    def draw(page: Any) -> None:
        pdfmetrics.registerFont(UnicodeCIDFont("HeiseiMin-W3", isVertical=True))
        page.setFont("HeiseiMin-W3", 12)
        for n, line in enumerate(("吾輩は猫である", "名前はまだ無い", "どこで生れたか")):
            page.drawString(500 - 20 * n, 700, line)

    text = load(pdf(draw)).text
    assert "吾輩は猫である" in text and "どこで生れたか" in text


# ---------------------------------------------------------------- tables

ROWS = [
    ["City", "People", "Area"],
    ["Bergen", "291,940", "465"],
    ["Oslo", "717,710", "454"],
    ["Tromsø", "78,745", "2,521"],
]


@pytest.mark.parametrize("ruled", [True, False])
def test_tables(ruled: bool) -> None:
    data = io.BytesIO()
    style = [("GRID", (0, 0), (-1, -1), 0.5, colors.black)] if ruled else []
    SimpleDocTemplate(data).build([Table(ROWS, colWidths=[120, 120, 120], style=style)])
    assert tables(load(data.getvalue())) == [
        "| City | People | Area |\n| --- | --- | --- |\n" + "\n".join(f"| {' | '.join(row)} |" for row in ROWS[1:])
    ]


def test_lines_of_a_ruled_cell_stay_in_their_row() -> None:
    data = io.BytesIO()
    rows = [["Part", "What it does"], ["Pump", "Moves water\nthrough the pipe"], ["Valve", "Shuts the pipe"]]
    SimpleDocTemplate(data).build([Table(rows, style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])])
    assert "| Pump | Moves water through the pipe |" in tables(load(data.getvalue()))[0]


def test_a_frame_around_text_is_no_table() -> None:
    def draw(page: Any) -> None:
        page.rect(60, 600, 400, 120)
        page.line(60, 660, 460, 660)
        for n in range(6):
            page.drawString(72, 700 - 18 * n, f"Sentence {n} stands in a frame.")

    assert tables(load(pdf(draw))) == []


def test_numbered_points_are_no_table() -> None:
    def draw(page: Any) -> None:
        for n in range(5):
            page.drawString(72, 700 - 18 * n, f"{n + 1}.")
            page.drawString(110, 700 - 18 * n, "A point of the list")

    parsed = load(pdf(draw))
    assert tables(parsed) == [] and "3. A point of the list" in parsed.text


# ---------------------------------------------------------------- beside the text


def test_comments_name_who_wrote_what_about_which_words() -> None:
    def change(writer: pypdf.PdfWriter) -> None:
        note = Text(rect=(72, 720, 90, 740), text="Please check the date.")
        note[NameObject("/T")] = pypdf.generic.TextStringObject("Ana")
        writer.add_annotation(0, note)
        corners = ArrayObject(FloatObject(x) for x in (72, 712, 130, 712, 72, 698, 130, 698))
        marked = Highlight(rect=(72, 696, 130, 712), quad_points=corners)
        marked[NameObject("/Contents")] = pypdf.generic.TextStringObject("Which one?")
        writer.add_annotation(0, marked)
        writer.add_annotation(0, FreeText(text="Paid on Monday", rect=(72, 600, 200, 620)))

    text = load(changed(SIMPLE, change)).text
    assert "Comment by Ana: Please check the date." in text
    assert "Comment on “The invoice" in text and ": Which one?" in text
    assert "Comment: Paid on Monday" in text


def test_form_fields_have_their_values() -> None:
    def draw(page: Any) -> None:
        page.drawString(72, 700, "Application")
        page.acroForm.textfield(name="family name", value="Lindqvist", x=72, y=600)
        page.acroForm.checkbox(name="member", checked=True, x=72, y=560)
        page.acroForm.checkbox(name="press", checked=False, x=72, y=520)

    text = load(pdf(draw)).text
    assert "Form fields:\nfamily name: Lindqvist\nmember: yes\npress: no" in text


def test_attached_files_are_parts_and_facts_are_metadata() -> None:
    def change(writer: pypdf.PdfWriter) -> None:
        writer.add_attachment("figures.csv", b"a,b\n1,2\n")
        writer.add_metadata({"/Author": "Ana Lindqvist", "/CreationDate": "D:20240229120000Z", "/Title": "Invoice 7"})

    parsed = load(changed(SIMPLE, change))
    assert [(part.name, part.data) for part in parsed.parts] == [("figures.csv", b"a,b\n1,2\n")]
    assert parsed.metadata == {"author": "Ana Lindqvist", "date": "2024-02-29"}
    assert parsed.title == "Invoice 7"


def test_titles_of_the_outline_are_headings() -> None:
    def draw(page: Any) -> None:
        page.drawString(72, 700, "1 Where it began")
        page.drawString(72, 686, "It began in a small town by the sea.")

    def change(writer: pypdf.PdfWriter) -> None:
        part = writer.add_outline_item("Part", 0)
        writer.add_outline_item("Where it began", 0, parent=part)

    parsed = load(changed(pdf(draw), change))
    assert parsed.text.startswith("## 1 Where it began\n\nIt began")


# ---------------------------------------------------------------- passwords


def locked(user: str, owner: str = "owner") -> bytes:
    return changed(SIMPLE, lambda writer: writer.encrypt(user, owner, algorithm="RC4-128"))


def test_passwords_are_tried_in_turn() -> None:
    assert "invoice" in load(locked("b"), ["", "a", "b", "c"]).text
    assert "invoice" in load(locked("")).text  # an owner's password alone does not lock reading
    with pytest.raises(DocumentError, match=r"parse\.passwords") as caught:
        load(locked("b"), ["", "first-secret", "second-secret"])
    assert caught.value.code == "E_ENCRYPTED" and "secret" not in str(caught.value)


def locked_word(password: str) -> bytes:
    import docx
    from msoffcrypto.format.ooxml import OOXMLFile

    plain, out = io.BytesIO(), io.BytesIO()
    written = docx.Document()
    written.add_paragraph("The contract ends in May.")
    written.save(plain)
    OOXMLFile(plain).encrypt(password, out)
    return out.getvalue()


def test_passwords_open_office_files_too() -> None:
    data = locked_word("b")
    parsed = load_document(data, "contract.docx", ["", "a", "b"])
    assert (parsed.text, parsed.type, parsed.warnings) == ("The contract ends in May.", "docx", ())
    for passwords in ("", ["", "first-secret"]):
        with pytest.raises(DocumentError, match=r"parse\.passwords") as caught:
            load_document(data, "contract.docx", passwords)
        assert caught.value.code == "E_ENCRYPTED" and "secret" not in str(caught.value)


def test_passwords_of_the_settings_reach_the_parser() -> None:
    from rag.parsing import ParserPool
    from rag.settings import Settings

    settings = Settings.load(environ={"RAGSTONE__PARSE__PASSWORDS": '["first", "b"]'}).parse
    assert "first" not in repr(settings)
    with ParserPool(settings, workers=1) as pool:
        assert "invoice" in pool.parse(locked("b"), "a.pdf").text
        assert "contract" in pool.parse(locked_word("b"), "a.docx").text
        with pytest.raises(DocumentError) as caught:
            pool.parse(locked("c"), "a.pdf")
    assert caught.value.code == "E_ENCRYPTED" and "first" not in str(caught.value)


# ---------------------------------------------------------------- pages without text


def picture(page: Any) -> None:
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    page.drawImage(ImageReader(Image.new("RGB", (600, 800), "gray")), 0, 0, 595, 842)
    page.showPage()


def test_pictures_are_named_with_what_to_do() -> None:
    with pytest.raises(DocumentError, match="OCR|ocr") as caught:
        load(pdf(lambda page: [picture(page) for _ in range(3)]))
    assert caught.value.code == "E_NO_TEXT_LAYER"

    def draw(page: Any) -> None:
        for part in (
            picture,
            picture,
            lambda page: page.drawString(72, 700, "Words on the last page."),
        ):
            part(page)

    assert load(pdf(draw)).warnings[0] == "Pages 1–2 are pictures without text."


def test_a_stamped_scan_counts_as_a_picture() -> None:
    def draw(page: Any) -> None:
        page.drawString(72, 30, "Page 1")
        picture(page)

    parsed = load(pdf(draw))
    assert parsed.warnings[0] == "Page 1 is a picture without text." and "Page 1" in parsed.text
