"""Loaders of mail: messages, web archives, mailboxes and Outlook's own format."""

from __future__ import annotations

import importlib
import struct
from email.mime.application import MIMEApplication
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import CODES, DocumentError
from rag.loaders import identify, load_document
from rag.loaders.mail import decoded
from rag.loaders.outlook import _html_in_rtf, decompress_rtf
from tests.unit.test_loaders import blocks_of, load, refused

PLAIN = b"""From: =?UTF-8?Q?J=C3=B6rg_M=C3=BCller?= <j@x.example>
To: "Ann, B." <ann@x.example>, bo@x.example
Cc: Cy <cy@x.example>
Subject: =?gb2312?B?suLK1A==?=
 =?gb2312?B?08q8/g==?=
Date: Tue, 05 Mar 2024 10:00:00 +0100
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Hello,

this is new.

On Monday Ann wrote:
> old words
> > older words
>
> more

--
J
"""


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"Subject: x\n\nbody", "a.eml", "eml"), (b"prose without fields", "a.eml", "text"), ("Subject: x\n\nb".encode("utf-16"), "a.eml", "eml"),
        (b"From: x\n\n<html>", "a.mht", "eml"), (b"From a 2024\nSubject: x\n\n", "a.mbox", "mbox"), (b"From a 2024\nSubject: x\n\n", "inbox", "mbox"),
        (b"From here to 2024\nwe went.", "inbox", "text"), (b"Subject: x\n\nbody", "a", "text"), (b"Subject: x\n\nbody", "a.txt", "text"),
    ],
)  # fmt: skip
def test_identify(data: bytes, name: str, kind: str) -> None:
    assert identify(data, name) == kind


def test_a_message_with_quoted_history() -> None:
    parsed = load(PLAIN, "a.eml")
    people = {
        "from": "Jörg Müller <j@x.example>",
        "to": ["Ann, B. <ann@x.example>", "bo@x.example"],
        "cc": ["Cy <cy@x.example>"],
    }
    assert (parsed.title, parsed.type) == ("测试邮件", "eml")
    assert parsed.metadata == {**people, "date": "2024-03-05T10:00:00+01:00"}
    assert blocks_of(parsed) == [
        ("heading", "# 测试邮件"),
        ("paragraph", "From: Jörg Müller <j@x.example>\nTo: Ann, B. <ann@x.example>, bo@x.example\nCc: Cy <cy@x.example>\nDate: 2024-03-05T10:00:00+01:00"),
        ("paragraph", "Hello,"), ("paragraph", "this is new."), ("paragraph", "On Monday Ann wrote:"),
        ("quote", "> old words\n> > older words\n>\n> more"), ("paragraph", "--\nJ"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"), ("=?utf-8?q?a=20b?= c =?x-none?q?d?=", "a b c d"), ("=?utf-8?b?5Lg=?= =?utf-8?b?rQ==?=", "中"), ("=?x?B?!!!!?=", "=?x?B?!!!!?="),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"), ("=?utf-8*en?Q?x?=", "x"), ("a\r\n b", "a b"), ("=?utf-8?q?=ff?=", "ÿ"),
    ],
)  # fmt: skip
def test_encoded_words(raw: str, text: str) -> None:
    assert decoded(raw) == text


@pytest.mark.parametrize(
    ("charset", "declared"),
    [
        ("gb18030", "gb2312"),
        ("big5", "big5"),
        ("shift_jis", "shift_jis"),
        ("iso-2022-jp", "iso-2022-jp"),
        ("gb18030", "x-unknown"),
        ("utf-8", "us-ascii"),
    ],
)
@pytest.mark.parametrize("transfer", ["8bit", "base64", "quoted-printable"])
def test_body_charsets(charset: str, declared: str, transfer: str) -> None:
    text = {
        "big5": "這是一個繁體中文檔案，用來測試編碼。",
        "shift_jis": "これは日本語です。",
        "iso-2022-jp": "これは日本語です。",
    }.get(charset, "这是中文邮件的内容，今天天气很好。")
    body = text.encode(charset)
    import base64
    import quopri

    sent = {"8bit": body, "base64": base64.encodebytes(body), "quoted-printable": quopri.encodestring(body)}[transfer]
    head = f"Subject: x\nContent-Type: text/plain; charset={declared}\nContent-Transfer-Encoding: {transfer}\n\n"
    assert load(head.encode() + sent, "a.eml").text == f"# x\n\n{text}"


def build(*, related: bool = False) -> bytes:
    inner = MIMEText("inner text")
    inner["Subject"] = "A / B: forwarded"
    page = MIMEText("<p>The <b>full</b> text, much longer than the stub.</p>" + "<p>Again and again.</p>" * 20, "html")
    both = MIMEMultipart("alternative")
    both.attach(MIMEText("See the HTML part."))
    both.attach(page)
    picture = MIMEImage(b"\x89PNG", "png")
    picture["Content-ID"] = "<p1>"
    shown = MIMEMultipart("related")
    shown.attach(both)
    shown.attach(picture)
    whole = MIMEMultipart("mixed")
    whole["Subject"] = "With parts"
    whole.attach(shown if related else both)
    for label, content in (("../../etc/报告.txt", "eins"), ("C:\\x\\a.txt", "zwei"), ("a.txt", "drei")):
        part = MIMEApplication(content.encode())
        part.add_header("Content-Disposition", "attachment", filename=("utf-8", "", label))
        whole.attach(part)
    whole.attach(MIMEMessage(inner))
    signature = MIMEApplication(b"x", "pkcs7-signature", name="smime.p7s")
    whole.attach(signature)
    return whole.as_bytes()


@pytest.mark.parametrize("related", [False, True])
def test_attachments_become_parts_with_harmless_names(related: bool) -> None:
    parsed = load(build(related=related), "a.eml")
    assert "The full text" in parsed.text and "stub" in parsed.text and "See the HTML" not in parsed.text
    assert [(part.name, part.data) for part in parsed.parts[:3]] == [
        ("报告.txt", b"eins"),
        ("a.txt", b"zwei"),
        ("a (2).txt", b"drei"),
    ]
    assert [part.name for part in parsed.parts[3:]] == ["A - B: forwarded.eml"]
    assert "inner text" in load_document(parsed.parts[3].data, parsed.parts[3].name).text


def test_flowed_text_and_a_file_in_utf16() -> None:
    flowed = "Subject: x\nContent-Type: text/plain; format=flowed\n\none \ntwo\nthree \n\n> a \n> b\n"
    assert load(flowed, "a.eml").text == "# x\n\none two\nthree\n\n> a\n> b"
    assert load(flowed.encode("utf-16"), "a.eml").text == load(flowed, "a.eml").text


def test_encrypted_and_sealed_messages_say_so() -> None:
    sealed = (
        "Subject: x\nContent-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nAAAA\n"
    )
    parsed = load(sealed, "a.eml")
    assert "sealed" in parsed.warnings[0] and parsed.parts == ()
    pgp = 'Subject: x\nContent-Type: multipart/encrypted; boundary="b"\n\n--b\n\nx\n--b--\n'
    assert "encrypted" in load(pgp, "a.eml").warnings[0]


def test_web_archive() -> None:
    data = (
        "From: <Saved by X>\nContent-Type: multipart/related; type=text/html; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n"
        "Content-Location: https://x/\n\n<html><head><title>Page</title></head><body><h1>Head</h1><p>Words.</p></body></html>\n"
        "--b\nContent-Type: text/css\nContent-Location: https://x/a.css\n\np {}\n--b--\n"
    )
    parsed = load(data, "a.mht")
    assert (parsed.title, parsed.type, parsed.parts) == ("Page", "mht", ())
    assert [text for kind, text in blocks_of(parsed) if kind == "heading"] == ["## Head"]


def test_deep_and_broken_messages() -> None:
    def nested(n: int) -> bytes:
        return (
            b"Subject: deep\n"
            + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(n))
            + b"\nend"
        )

    assert "100 deep" in load(nested(300), "a.eml").warnings[0]
    assert refused(nested(5_000), "a.eml") == "E_TOO_DEEP"
    assert "not base64" in load("Subject: x\nContent-Transfer-Encoding: base64\n\n%%%not base64%%%", "a.eml").text
    for head in (
        'Content-Type: text/plain; charset="\0"',
        "Content-Type: ;;;=",
        "From: <<<<>,,",
        "Date: never",
        "Content-Disposition: attachment; filename*=x''%ff",
    ):
        load(f"Subject: x\n{head}\n\nbody \xff", "a.eml")
    assert load(b"Subject: x\nTo: " + b"(" * 50_000 + b"\n\nbody", "a.eml").text.endswith("body")


def test_mailbox() -> None:
    data = (
        b"From a@x Mon Jan  1 00:00:00 2024\n"
        + PLAIN
        + b"\n>From the start\n\nFrom b@x Tue Jan  2 00:00:00 2024\nSubject: x/y\n\nFrom here on\n"
    )
    parsed = load(data, "a.mbox")
    assert (parsed.text, parsed.type) == ("", "mbox")
    assert [part.name for part in parsed.parts] == ["1 测试邮件.eml", "2 x-y.eml"]
    first, second = (load_document(part.data, part.name) for part in parsed.parts)
    assert first.title == "测试邮件" and "\nFrom the start" in first.text
    assert second.text == "# x/y\n\nFrom here on"
    assert refused(b"prose", "a.mbox") == "E_CORRUPT"


# ---------------------------------------------------------------- Outlook


def test_outlook_message(shared: Path) -> None:
    parsed = load((shared / "data" / "docs" / "files" / "msg-markitdown.msg").read_bytes(), "a.msg")
    assert (parsed.title, parsed.type) == ("Test Email Message", "msg")
    assert "This is the body" in parsed.text and parsed.metadata["date"].startswith("2024-")


class Container:
    """Writes an OLE2 container of small streams: enough for a message."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, int, bytes]] = []  # name, kind, parent, content

    def add(self, name: str, content: bytes | None, parent: int = 0) -> int:
        self.entries.append((name, 1 if content is None else 2, parent, content or b""))
        return len(self.entries)

    def text(self, number: str, text: str, parent: int = 0) -> None:
        self.add(f"__substg1.0_{number}001F", text.encode("utf-16-le"), parent)

    def data(self) -> bytes:
        free, end = 0xFFFFFFFF, 0xFFFFFFFE
        sectors: list[bytes] = []
        chain: list[int] = []
        starts = []
        for _, _, _, content in self.entries:
            content = content.ljust(4096, b"\0") if content else content
            pieces = [content[i : i + 512].ljust(512, b"\0") for i in range(0, len(content), 512)]
            starts.append(len(sectors) if pieces else end)
            chain += [len(sectors) + i + 1 for i in range(len(pieces) - 1)] + ([end] if pieces else [])
            sectors += pieces
        directory = b""
        rows = [("Root Entry", 5, -1, b""), *self.entries]
        for i, (name, kind, _, content) in enumerate(rows):
            siblings = [j for j in range(1, len(rows)) if rows[j][2] == (rows[i][2] if i else -1)]
            right = next((j for j in siblings if j > i), free)
            child = next((j for j in range(1, len(rows)) if rows[j][2] == i), free)
            raw = (name + "\0").encode("utf-16-le")
            size = max(len(content), 4096) if content else 0
            directory += struct.pack(
                "<64sHBBIII36xIII",
                raw,
                len(raw),
                kind,
                1,
                free,
                right,
                child,
                starts[i - 1] if i and content else end,
                size,
                0,
            )
        first_directory = len(sectors)
        pieces = [directory[i : i + 512].ljust(512, b"\0") for i in range(0, len(directory), 512)]
        chain += [len(sectors) + i + 1 for i in range(len(pieces) - 1)] + [end]
        sectors += pieces
        n_fat = (len(sectors) + 127) // 126
        chain += [0xFFFFFFFD] * n_fat
        table = struct.pack(f"<{len(chain)}I", *chain).ljust(512 * n_fat, b"\xff")
        head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + struct.pack(
            "<16xHHHHH6xIIIIIIIIII",
            62,
            3,
            0xFFFE,
            9,
            6,
            0,
            n_fat,
            first_directory,
            0,
            4096,
            end,
            0,
            end,
            0,
            len(sectors),
        )
        head += b"".join(struct.pack("<I", len(sectors) + i) for i in range(1, n_fat))
        return head.ljust(512, b"\xff") + b"".join(sectors) + table


RTF = rb"{\rtf1\ansi\ansicpg1252\fromhtml1 {\fonttbl{\f0 Arial;}}{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 Gr\'fc\'dfe \u20013 ?{\*\htmltag72 </p>}\htmlrtf }\htmlrtf0 }"


def stored(rtf: bytes) -> bytes:
    return struct.pack("<III4x", len(rtf) + 12, len(rtf), 0x414C454D) + rtf


def outlook() -> Container:
    file = Container()
    file.text("0037", "Tea order")
    file.text("0C1A", "Ann")
    file.text("5D01", "ann@x.example")
    file.text("0E04", "Bo; Cy")
    return file


def test_outlook_attachments_and_messages_inside() -> None:
    file = outlook()
    file.text("1000", "Plain body text")
    sent = struct.pack("<HHIQ", 0x40, 0x39, 0, 133_500_000_000_000_000)
    file.add("__properties_version1.0", b"\0" * 32 + sent)
    one = file.add("__attach_version1.0_#00000000", None)
    file.text("3707", "..\\evil\\note.txt", one)
    file.add("__substg1.0_37010102", b"attached words".ljust(4096), one)
    two = file.add("__attach_version1.0_#00000001", None)
    inner = file.add("__substg1.0_3701000D", None, two)
    file.text("0037", "Inner subject", inner)
    file.text("1000", "Inner body", inner)
    shown = file.add("__attach_version1.0_#00000002", None)
    file.text("3712", "image001", shown)
    file.text("3704", "logo.png", shown)
    file.add("__substg1.0_37010102", b"\x89PNG", shown)
    parsed = load(file.data(), "a.msg")
    assert parsed.title == "Tea order" and "Plain body text" in parsed.text
    assert parsed.metadata["from"] == "Ann <ann@x.example>" and parsed.metadata["to"] == ["Bo", "Cy"]
    assert parsed.metadata["date"].startswith("2024-01-17")
    assert [part.name for part in parsed.parts] == ["note.txt", "Inner subject.eml"]
    assert parsed.parts[0].data.strip() == b"attached words"
    assert "Inner body" in load_document(parsed.parts[1].data, "x.eml").text


def test_outlook_body_in_rtf_that_wraps_html() -> None:
    file = outlook()
    file.add("__substg1.0_10090102", stored(RTF))
    assert load(file.data(), "a.msg").text.endswith("Grüße 中")
    assert _html_in_rtf(RTF).strip() == "<p>Grüße 中</p>"


def test_compressed_rtf() -> None:
    """The two examples of MS-OXRTFCP, section 3: plain compression, and a reference that overlaps what it writes."""
    plain = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert decompress_rtf(plain) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    crossing = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")
    assert decompress_rtf(crossing) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
    for broken in (b"", b"x" * 20, plain[:20], struct.pack("<III4x", 10, 2**31, 0x75465A4C)):
        try:
            decompress_rtf(broken)
        except DocumentError as error:
            assert error.code in ("E_CORRUPT", "E_TOO_LARGE")


def test_damaged_outlook_messages() -> None:
    data = outlook().data()
    assert refused(data[:600] + b"__substg1.0_".decode().encode("utf-16-le"), "a.msg") == "E_CORRUPT"
    other = Container()
    other.add("Contents", b"x")
    assert refused(other.data() + "__substg1.0_".encode("utf-16-le"), "a.msg") == "E_CORRUPT"


# ---------------------------------------------------------------- any bytes

PIECES = st.sampled_from(
    [
        b"From a 2024\n", b"Subject: ", b"\n", b"\n\n", b"Content-Type: ", b"multipart/mixed; boundary=b", b"multipart/alternative; boundary=b", b"--b\n",
        b"text/html", b"text/plain; charset=", b"utf-7", b"hz", b"Content-Transfer-Encoding: base64\n", b"message/rfc822", b"=?utf-8?q?=ff?=", b"<p>x", b"\xff",
        b"\0", b";", b'"', b"> x\n", b"name*0*=utf-8''%ff", b"Content-Disposition: attachment; filename=x\n",
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name"), [("mail", "a.eml"), ("mail", "a.mht"), ("mailbox", "a.mbox"), ("outlook", "a.msg")]
)
@given(
    data=st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join)),
    cut=st.integers(0, 3000),
    flip=st.integers(0, 3000),
)
@settings(deadline=None)
def test_any_bytes_give_text_or_a_known_code(module: str, name: str, data: bytes, cut: int, flip: int) -> None:
    if module == "outlook":
        whole = outlook().data()
        data = whole[:flip] + data[:4] + whole[flip + len(data[:4]) :][: -cut or None]
    try:
        parsed = importlib.import_module(f"rag.loaders.{module}").load(data, name=name)
    except DocumentError as error:
        assert error.code in CODES
        return
    parsed.text.encode()
    for part in parsed.parts:
        part.name.encode()
        assert part.name and "/" not in part.name and "\\" not in part.name
