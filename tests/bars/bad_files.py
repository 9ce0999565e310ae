"""Bad input made on the spot, each with what may become of it; the bar needs no data beside the checkout."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import EmailMessage

import pypdf
from PIL import Image
from reportlab.pdfgen import canvas

OFFICE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/><Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>'
)
LINKS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    'Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)
ANY = frozenset({"any code"})


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A file and what may become of it: one of `codes` (ANY: any of them), or text that holds `text` (None: no text may come)."""

    name: str
    data: bytes
    codes: frozenset[str] = frozenset()
    text: str | None = None


def packed(members: Mapping[str, bytes | str], *, mode: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", mode) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def word(body: str, *, start: str = '<?xml version="1.0"?>') -> bytes:
    document = f'{start}<w:document xmlns:w="{OFFICE}"><w:body>{body}</w:body></w:document>'
    return packed({"[Content_Types].xml": TYPES, "_rels/.rels": LINKS, "word/document.xml": document})


def words(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def pdf(draw: Callable[[canvas.Canvas], object], **options: object) -> bytes:
    data = io.BytesIO()
    page = canvas.Canvas(data, **options)
    draw(page)
    page.save()
    return data.getvalue()


def locked(data: bytes, user: str, algorithm: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(data)))
    writer.encrypt(user, "owner", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def raw_pdf(*objects: str | bytes) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog. Its table of places is right."""
    out = b"%PDF-1.7\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + (content.encode() if isinstance(content, str) else content) + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(
        b"%010d 00000 n \n" % at for at in places
    )
    return out + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def _bomb() -> bytes:
    """200 MB of content for a page, packed to 200 kB."""
    packer = zlib.compressobj(9)
    stream = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(200)) + packer.flush()
    content = b"<</Length %d/Filter/FlateDecode>>\nstream\n" % len(stream) + stream + b"\nendstream"
    return raw_pdf(
        "<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R>>", content,
    )  # fmt: skip


def _scan(page: canvas.Canvas) -> None:
    from reportlab.lib.utils import ImageReader

    page.drawImage(ImageReader(Image.new("RGB", (300, 400), "white")), 0, 0, 595, 842)


def _png(width: int, height: int) -> bytes:
    """The head of a picture that claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def inputs(secret_file: str, listener: str) -> Iterator[Bad]:
    """All of them. secret_file: path of a file that no text may show. listener: http://host:port that nobody may ask."""
    yield from _pdfs()
    yield from _office(secret_file, listener)
    yield from _archives()
    yield from _markup(secret_file, listener)
    yield from _texts()
    yield from _pictures()
    yield from _mail()
    yield from _damaged()


def _pdfs() -> Iterator[Bad]:
    good = pdf(lambda page: page.drawString(72, 700, "A good page."))
    damage = frozenset({"E_CORRUPT", "E_NO_TEXT"})
    yield Bad(name="empty.pdf", data=b"", codes=frozenset({"E_EMPTY"}))
    yield Bad(name="header.pdf", data=b"%PDF-1.7\n", codes=frozenset({"E_CORRUPT"}))
    yield Bad(name="cut.pdf", data=good[: len(good) // 3], codes=damage)
    yield Bad(name="no xref.pdf", data=good[: good.rindex(b"xref\n0")], codes=damage, text="A good page")
    yield Bad(name="junk before.pdf", data=b"\0\1junk" * 50 + good, codes=damage, text="A good page")
    for algorithm in ("RC4-40", "RC4-128"):
        yield Bad(name=f"locked {algorithm}.pdf", data=locked(good, "key", algorithm), codes=frozenset({"E_ENCRYPTED"}))
    yield Bad(name="owner's lock.pdf", data=locked(good, "", "RC4-128"), text="A good page")
    yield Bad(
        name="no pages.pdf",
        data=raw_pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 0>>"),
        codes=damage,
    )
    yield Bad(
        name="page tree in a circle.pdf",
        data=raw_pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R]/Count 1>>"),
        codes=damage,
    )
    yield Bad(
        name="billions of pages.pdf",
        data=raw_pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R]/Count 2000000000>>"),
        codes=damage | {"E_TOO_LARGE"},
    )
    yield Bad(name="bomb.pdf", data=_bomb(), codes=frozenset({"E_TOO_LARGE"}))
    yield Bad(
        name="deep.pdf", data=raw_pdf("<</Type/Catalog/Pages " + "[" * 20_000 + "]" * 20_000 + ">>"), codes=damage
    )
    yield Bad(name="scan.pdf", data=pdf(_scan), codes=frozenset({"E_NO_TEXT_LAYER", "E_NO_TEXT"}))
    yield Bad(name="blank.pdf", data=pdf(lambda page: page.showPage()), codes=frozenset({"E_NO_TEXT"}))
    yield Bad(name="png.pdf", data=_png(1, 1), codes=ANY)
    yield Bad(name="text.pdf", data=b"Only words.", codes=frozenset({"E_CORRUPT"}), text="Only words")
    yield Bad(name="outline in a circle.pdf", data=raw_pdf(
        "<</Type/Catalog/Pages 2 0 R/Outlines 4 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]>>", "<</First 5 0 R/Last 5 0 R>>",
        "<</Title(A)/Parent 4 0 R/Next 5 0 R/First 5 0 R/Dest[3 0 R/Fit]>>"), codes=damage)  # fmt: skip
    yield Bad(name="form in a circle.pdf", data=raw_pdf(
        "<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Annots[4 0 R]>>",
        "<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/Kids[4 0 R]/Parent 4 0 R/Rect[0 0 9 9]>>"), codes=damage)  # fmt: skip


def _office(secret_file: str, listener: str) -> Iterator[Bad]:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    dtd = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a0 "ha">{laughs}]>'
    unsafe = frozenset({"E_XML_UNSAFE", "E_CORRUPT"})
    yield Bad(name="bomb.docx", data=word(words(" " * 300_000_000)), codes=frozenset({"E_TOO_LARGE"}))
    yield Bad(name="laughs.docx", data=word(words("&a9;"), start=dtd), codes=unsafe)
    outside = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file://{secret_file}">]>'
    yield Bad(name="outside.docx", data=word(words("kept &x;"), start=outside), codes=unsafe, text="")
    asked = f'<?xml version="1.0"?><!DOCTYPE d SYSTEM "{listener}/a.dtd">'
    yield Bad(name="dtd.docx", data=word(words("kept"), start=asked), codes=unsafe, text="")
    yield Bad(
        name="no document.docx",
        data=packed({"[Content_Types].xml": TYPES, "_rels/.rels": LINKS}),
        codes=frozenset({"E_CORRUPT"}),
    )
    yield Bad(name="deep.docx", data=word("<w:tbl><w:tr><w:tc>" * 7_000 + words("x") + "</w:tc></w:tr></w:tbl>" * 7_000),
              codes=frozenset({"E_CORRUPT", "E_TOO_DEEP"}), text="x")  # fmt: skip
    yield Bad(name="members.docx", data=packed({f"word/{n}.xml": "" for n in range(20_000)}, mode=zipfile.ZIP_STORED),
              codes=frozenset({"E_TOO_LARGE", "E_CORRUPT"}))  # fmt: skip
    yield Bad(name="slip.docx", data=packed({"[Content_Types].xml": TYPES, "_rels/.rels": LINKS, "../../escaped.xml": "out",
              "word/document.xml": f'<w:document xmlns:w="{OFFICE}"><w:body>{words("inside")}</w:body></w:document>'}), text="inside")  # fmt: skip
    yield Bad(name="empty.docx", data=word(""), codes=frozenset({"E_NO_TEXT"}))
    yield Bad(
        name="html.docx",
        data=b"<html><body><p>really HTML</p></body></html>",
        codes=frozenset({"E_TYPE_MISMATCH"}),
        text="really HTML",
    )
    yield Bad(
        name="ole.docx",
        data=b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504 + "EncryptedPackage".encode("utf-16-le"),
        codes=ANY,
    )
    for name in ("a.xlsx", "a.pptx", "a.odt", "a.ods", "a.epub", "a.doc", "a.xls", "a.ppt", "a.rtf", "a.msg"):
        yield Bad(name=f"noise {name}", data=random.Random(name).randbytes(3_000), codes=ANY)


def _archives() -> Iterator[Bad]:
    yield Bad(name="zeros.zip", data=packed({"zeros.txt": b"\0" * 300_000_000}), codes=ANY)
    nested = packed({"zeros.txt": b"\0" * 30_000_000})
    for _ in range(12):
        nested = packed({"a.zip": nested})
    yield Bad(name="nested.zip", data=nested, codes=ANY)
    yield Bad(name="many.zip", data=packed({f"{n}.txt": "" for n in range(20_000)}, mode=zipfile.ZIP_STORED), codes=ANY)
    yield Bad(
        name="slip.zip", data=packed({"../../escaped.txt": "climbed", "/tmp/escaped.txt": "rooted"}), codes=ANY, text=""
    )
    yield Bad(name="empty.zip", data=packed({}), codes=ANY)
    yield Bad(name="cut.zip", data=packed({"a.txt": "words " * 100})[:90], codes=ANY)
    yield Bad(name="noise.gz", data=b"\x1f\x8b\x08" + random.Random(1).randbytes(200), codes=ANY)


def _markup(secret_file: str, listener: str) -> Iterator[Bad]:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    yield Bad(
        name="laughs.xml",
        data=f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a0 "ha">{laughs}]><d>&a9;</d>'.encode(),
        codes=ANY,
    )
    yield Bad(
        name="outside.xml",
        data=f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file://{secret_file}">]><d>kept &x;</d>'.encode(),
        codes=ANY,
        text="",
    )
    yield Bad(
        name="dtd.xml",
        data=f'<?xml version="1.0"?><!DOCTYPE d SYSTEM "{listener}/a.dtd"><d>kept</d>'.encode(),
        codes=ANY,
        text="",
    )
    yield Bad(name="deep.xml", data=b"<?xml version='1.0'?>" + b"<a>" * 100_000 + b"</a>" * 100_000, codes=ANY)
    yield Bad(
        name="deep.html",
        data=b"<html><body>" + b"<div>" * 50_000 + b"deep words" + b"</div>" * 50_000,
        codes=frozenset({"E_TOO_DEEP"}),
        text="deep words",
    )
    attributes = " ".join(f"a{n}='1'" for n in range(200_000))
    yield Bad(
        name="attributes.html",
        data=f"<html><body><p {attributes}>words</p></body></html>".encode(),
        codes=ANY,
        text="words",
    )
    yield Bad(
        name="include.html",
        data=f"<html><body><p>kept</p><iframe src='file://{secret_file}'></iframe><img src='{listener}/a.png'></body></html>".encode(),
        text="kept",
    )
    yield Bad(name="script only.html", data=b"<html><script>alert(1)</script></html>", codes=frozenset({"E_NO_TEXT"}))
    yield Bad(
        name="entities.svg",
        data=f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{listener}/b"/><text>drawn</text></svg>'.encode(),
        codes=ANY,
        text="",
    )
    yield Bad(name="deep.json", data=b"[" * 100_000 + b"]" * 100_000, codes=ANY)
    yield Bad(name="cut.json", data=b'{"a": [1, 2, {"b": "c', codes=ANY, text="")
    yield Bad(name="noise.ipynb", data=b'{"cells": 7, "nbformat": "x"}', codes=ANY, text="")
    yield Bad(name="quotes.md", data=b"> " * 20_000 + b"end", codes=ANY, text="end")
    yield Bad(name="brackets.md", data=b"[" * 50_000 + b"]" * 50_000, codes=ANY, text="")
    yield Bad(
        name="aliases.md",
        data=b"---\na: &a [x]\n"
        + b"".join(b"%c: &%c [%b]\n" % (97 + n, 97 + n, b",".join([b"*%c" % (96 + n)] * 9)) for n in range(1, 9))
        + b"---\nbody",
        codes=ANY,
        text="body",
    )


def _texts() -> Iterator[Bad]:
    yield Bad(name="empty.txt", data=b"", codes=frozenset({"E_EMPTY"}))
    yield Bad(name="blank.txt", data=b" \n\t" * 1000, codes=frozenset({"E_NO_TEXT"}))
    yield Bad(name="binary.txt", data=bytes(range(256)) * 40, codes=frozenset({"E_BINARY"}))
    yield Bad(name="nul.txt", data=b"be\0fore and after", codes=frozenset({"E_BINARY"}), text="before and after")
    yield Bad(name="broken.txt", data="äöü".encode() * 30 + b"\xff\xfe" * 20, codes=frozenset({"E_ENCODING"}))
    yield Bad(name="one bad byte.txt", data="Grüße aus Köln. ".encode() * 20 + b"\xff end", text="Köln")
    yield Bad(name="program.txt", data=b"\x7fELF" + bytes(range(256)) * 4, codes=ANY)
    yield Bad(name="one line.txt", data=b"word " * 1_000_000, text="word word")
    yield Bad(name="one word.txt", data=b"x" * 2_000_000, text="xxx")
    yield Bad(name="marks.txt", data=("a" + "\u0301" * 200_000 + " end").encode(), text="end")
    yield Bad(name="wide.csv", data=b",".join([b"x"] * 1_000_000), codes=frozenset({"E_TOO_WIDE"}))
    yield Bad(name="long field.csv", data=b'a,b\n"' + b"y" * 5_000_000 + b'",end\n', codes=ANY, text="yyy")
    yield Bad(name="open quote.csv", data=b'a,b\n"never closed' + b"z,\n" * 60_000, codes=ANY, text="")
    yield Bad(name="formula.csv", data=b"name,cell\nplain,=cmd|' /C calc'!A0\n", text="plain")


def _pictures() -> Iterator[Bad]:
    yield Bad(name="huge.png", data=_png(60_000, 60_000), codes=frozenset({"E_TOO_LARGE", "E_NO_TEXT_LAYER"}))
    yield Bad(name="cut.png", data=_png(2_000, 2_000), codes=ANY)
    yield Bad(name="noise.jpg", data=b"\xff\xd8\xff\xe0" + random.Random(2).randbytes(2_000), codes=ANY)
    yield Bad(name="noise.tiff", data=b"II*\0" + random.Random(3).randbytes(2_000), codes=ANY)
    yield Bad(name="noise.webp", data=b"RIFF\xff\xff\0\0WEBP" + random.Random(4).randbytes(2_000), codes=ANY)
    yield Bad(name="sound.mp3", data=b"ID3" + bytes(200), codes=frozenset({"E_UNSUPPORTED"}))


def _mail() -> Iterator[Bad]:
    mail = EmailMessage()
    mail["Subject"] = "An attachment climbs"
    mail.set_content("The body of the mail.")
    mail.add_attachment(b"climbed", maintype="text", subtype="plain", filename="../../escaped.txt")
    yield Bad(name="climbs.eml", data=bytes(mail), text="The body of the mail")
    deep = b"Subject: deep\nContent-Type: multipart/mixed; boundary=b0\n\n" + b"".join(
        b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (n, n + 1) for n in range(500)
    )
    yield Bad(name="deep.eml", data=deep, codes=ANY, text="")
    yield Bad(
        name="charset.eml",
        data=b"Subject: x\nContent-Type: text/plain; charset=made-up\nContent-Transfer-Encoding: base64\n\n!!!not base64",
        codes=ANY,
        text="",
    )


def _damaged() -> Iterator[Bad]:
    """Good files with bytes cut off, changed and mixed up."""
    mail = EmailMessage()
    mail["Subject"] = "Greetings"
    mail.set_content("Words of a mail. " * 50)
    good = {
        "pdf": pdf(lambda page: [page.drawString(72, 700 - 14 * n, f"Line {n} of a page.") for n in range(30)]),
        "docx": word("".join(words(f"Paragraph {n}.") for n in range(200))),
        "zip": packed({f"{n}.txt": f"Text {n}. " * 50 for n in range(5)}),
        "eml": bytes(mail),
        "json": json.dumps({f"key {n}": ["value"] * 5 for n in range(100)}).encode(),
    }
    chooser = random.Random(8)
    for kind, data in good.items():
        yield Bad(name=f"damaged cut.{kind}", data=data[: 2 * len(data) // 3], codes=ANY, text="")
        flipped = bytearray(data)
        for _ in range(40):
            flipped[chooser.randrange(len(data))] ^= 1 << chooser.randrange(8)
        yield Bad(name=f"damaged flipped.{kind}", data=bytes(flipped), codes=ANY, text="")
        a, b = sorted(chooser.sample(range(len(data)), 2))
        yield Bad(name=f"damaged spliced.{kind}", data=data[:a] + data[b:] + data[a:b], codes=ANY, text="")


def good_ones() -> dict[str, bytes]:
    """Twenty files that must be imported whatever lies beside them."""
    files: dict[str, bytes] = {}
    for n in range(4):
        files[f"good {n}.txt"] = f"Plain words {n} about herons.".encode()
        files[f"good {n}.md"] = f"# Herons {n}\n\nThey stand in shallow water {n}.".encode()
        files[f"good {n}.html"] = f"<html><body><p>Herons eat fish, page {n}.</p></body></html>".encode()
        files[f"good {n}.docx"] = word(words(f"Herons nest in trees, sheet {n}."))
        files[f"good {n}.pdf"] = pdf(lambda page, n=n: page.drawString(72, 700, f"Herons fly slowly, leaf {n}."))  # type: ignore[misc]
    return files
