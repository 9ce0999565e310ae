"""OCR with the packaged models, in the limited child process: pictures, scans, pages that lie on their side."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

from rag.errors import DocumentError
from rag.parsing import ParserPool
from rag.settings import ParseSettings

pytest.importorskip("rapidocr", reason="the extra ragstone[ocr] is not installed")
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

ENGLISH = [
    "The lighthouse keeper wrote down the weather every morning.",
    "On 14 March 1897 the wind came from the north-west.",
    "Two ships passed before noon, and a third at dusk.",
    "The lamp needed 3.5 litres of oil in a single night.",
]
CHINESE = [
    "灯塔管理员每天早晨记录天气。",
    "1897年3月14日，风从西北方吹来。",
    "中午以前有两艘船经过。",
    "这盏灯一夜需要三升半的油。",
]
FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/System/Library/Fonts/PingFang.ttc", "C:/Windows/Fonts/msyh.ttc",
)  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(ParseSettings(), workers=1) as opened:
        yield opened


def drawn(lines: list[str], *, turned: int = 0, font: Any = None) -> Image.Image:
    image = Image.new("RGB", (1240, 120 + 60 * len(lines)), "white")
    pen = ImageDraw.Draw(image)
    for n, line in enumerate(lines):
        pen.text((80, 60 + 60 * n), line, fill="black", font=font or ImageFont.load_default(34))
    return image.rotate(turned, expand=True)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def likeness(text: str, lines: list[str]) -> float:
    """Share of the characters that are right and in their order, white space aside."""
    wanted, found = ("".join(unicodedata.normalize("NFKC", one).split()) for one in ("".join(lines), text))
    return SequenceMatcher(None, wanted, found, autojunk=False).ratio()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_pictures_of_every_kind(pool: ParserPool, kind: str) -> None:
    parsed = pool.parse(saved(drawn(ENGLISH), kind), f"scan.{kind.lower()}")
    assert likeness(parsed.text, ENGLISH) > 0.98
    assert parsed.metadata["ocr"] is True and parsed.warnings == ("The text was read by OCR.",)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_pictures_that_are_not_upright(pool: ParserPool, turned: int) -> None:
    assert likeness(pool.parse(saved(drawn(ENGLISH, turned=turned), "PNG"), "scan.png").text, ENGLISH) > 0.98


@pytest.mark.parametrize("turned", [0, 180])
def test_chinese(pool: ParserPool, turned: int) -> None:
    path = next((path for path in FONTS if Path(path).exists()), None)
    if path is None:
        pytest.skip("no font with Chinese characters is installed")
    image = drawn(CHINESE, turned=turned, font=ImageFont.truetype(path, 36))
    assert likeness(pool.parse(saved(image, "PNG"), "扫描.png").text, CHINESE) > 0.95


def test_every_page_of_a_tiff_and_of_a_pdf(pool: ParserPool) -> None:
    pages = [drawn([line]) for line in ENGLISH[:3]]
    for kind, name in (("TIFF", "fax.tiff"), ("PDF", "fax.pdf")):
        parsed = pool.parse(saved(pages[0], kind, save_all=True, append_images=pages[1:]), name)
        assert parsed.n_pages == 3
        assert [block.page for block in parsed.blocks] == [1, 2, 3]
        assert likeness(parsed.text, ENGLISH[:3]) > 0.98
    assert parsed.warnings == ("Pages 1–3 were read by OCR.",)


def test_a_page_with_text_is_not_read_again(pool: ParserPool) -> None:
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    data = io.BytesIO()
    page = canvas.Canvas(data)
    page.drawString(
        72, 700, "This page has words of its own, and its picture is an ornament beside them, no more than that."
    )
    page.drawImage(ImageReader(drawn(ENGLISH)), 72, 300, 200, 60)
    page.showPage()
    page.drawImage(ImageReader(drawn(ENGLISH)), 0, 0, 595, 300)
    page.save()
    parsed = pool.parse(data.getvalue(), "mixed.pdf")
    assert parsed.warnings == ("Page 2 was read by OCR.",)
    assert parsed.text.count("lighthouse") == 1


def test_pages_beyond_the_limit_are_named() -> None:
    pages = [drawn([line]) for line in ENGLISH[:3]]
    data = saved(pages[0], "PDF", save_all=True, append_images=pages[1:])
    with ParserPool(ParseSettings(ocr_pages=1), workers=1) as pool:
        parsed = pool.parse(data, "fax.pdf")
    assert parsed.warnings[0] == "Page 1 was read by OCR." and parsed.warnings[1].startswith("Pages 2–3 are pictures")
    assert likeness(parsed.text, ENGLISH[:1]) > 0.98


def test_switched_off() -> None:
    with (
        ParserPool(ParseSettings(ocr="off"), workers=1) as pool,
        pytest.raises(DocumentError, match=r"parse\.ocr") as caught,
    ):
        pool.parse(saved(drawn(ENGLISH), "PNG"), "scan.png")
    assert caught.value.code == "E_NO_TEXT_LAYER"


def test_each_page_has_time_of_its_own() -> None:
    data = saved(drawn(ENGLISH * 20), "PDF")
    with ParserPool(ParseSettings(timeout_s=1.5, max_timeout_s=1.5, ocr_page_s=0.001), workers=1) as pool:
        with pytest.raises(DocumentError) as caught:
            pool.parse(data, "slow.pdf")
        assert caught.value.code == "E_TIMEOUT"
    with ParserPool(ParseSettings(timeout_s=10, max_timeout_s=10, ocr_page_s=120), workers=1) as pool:
        assert likeness(pool.parse(data, "slow.pdf").text, ENGLISH * 20) > 0.98


def test_the_next_file_has_the_usual_memory(pool: ParserPool) -> None:
    pool.parse(saved(drawn(ENGLISH), "PNG"), "scan.png")
    assert pool.parse(b"plain text", "a.txt").text == "plain text"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "E_CORRUPT"), (b"\xff\xd8\xff\xe0" + b"\0" * 100, "E_CORRUPT"),
        (b"GIF89a" + b"\xff" * 20, "E_CORRUPT"), (b"II*\0" + b"\xff" * 100, "E_CORRUPT"),
    ],
)  # fmt: skip
def test_damaged_pictures(pool: ParserPool, data: bytes, code: str) -> None:
    with pytest.raises(DocumentError) as caught:
        pool.parse(data, "broken.png")
    assert caught.value.code == code


def test_a_blank_picture_and_one_too_large(pool: ParserPool) -> None:
    for image, code in (
        (Image.new("RGB", (800, 600), "white"), "E_NO_TEXT"),
        (Image.new("1", (20_000, 20_000)), "E_TOO_LARGE"),
    ):
        with pytest.raises(DocumentError) as caught:
            pool.parse(saved(image, "PNG"), "empty.png")
        assert caught.value.code == code


def test_scans_of_the_document_collection(pool: ParserPool, shared: Path) -> None:
    folder = shared / "data" / "docs"
    n_checked = 0
    for entry in json.loads((folder / "manifest.json").read_text("utf-8"))["files"]:
        wanted = entry["expect"].get("ocr", {}).get("must", [])
        if not wanted:
            continue
        parsed = pool.parse((folder / "files" / entry["file"]).read_bytes(), entry["file"])
        text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", parsed.text))
        assert [part for part in wanted if part not in text] == [], entry["file"]
        n_checked += 1
    assert n_checked >= 3
