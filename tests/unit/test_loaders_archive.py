"""Packed files: members as parts, names as labels, limits, damage, passwords."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import CODES, DocumentError
from rag.loaders import identify, load_document, packed
from rag.loaders.archive import MAX_MEMBERS, Archive, label, unique_names
from rag.types import ParsedDocument
from tests.unit.test_loaders import refused


def pack(members: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        for name, content in members:
            opened.writestr(name, content, method)
    return out.getvalue()


def tar(members: list[tuple[str, bytes]], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, encoding="gb18030") as opened:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


def parts(parsed: ParsedDocument) -> dict[str, bytes]:
    assert parsed.text == ""
    return {part.name: part.data for part in parsed.parts}


DOCX = pack([("[Content_Types].xml", b""), ("word/document.xml", b"<x/>")], zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (pack([("a.txt", b"x")]), "a", "zip"), (pack([("a.txt", b"x")]), "a.pptx", "pptx"), (pack([("a.class", b"x")]), "a.jar", "unsupported:program"),
        (DOCX, "a.zip", "docx"), (pack([("in.docx", DOCX)], zipfile.ZIP_STORED), "a.zip", "zip"), (tar([("a", b"x")]), "a", "tar"),
        (gzip.compress(b"x", mtime=0), "a", "gzip"), (bz2.compress(b"x"), "a", "bzip2"), (lzma.compress(b"x"), "a", "xz"), (b"7z\xbc\xaf\x27\x1c", "a", "unsupported:7z"),
    ],
)  # fmt: skip
def test_identify(data: bytes, name: str, kind: str) -> None:
    assert identify(data, name) == kind


def test_zip_members_become_parts() -> None:
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    data = pack(
        [
            ("docs/", b""), ("docs/a.txt", b"one"), (".hidden", b"x"), ("docs/.git/x", b"x"), ("__MACOSX/docs/a.txt", b"x"), ("Thumbs.db", b"x"),
            (link, b"/etc/passwd"), ("empty.txt", b""),
        ]
    )  # fmt: skip
    parsed = load_document(data, "a.zip")
    assert parts(parsed) == {"docs/a.txt": b"one", "empty.txt": b""}
    assert parsed.type == "zip" and parsed.warnings == ("'link.txt' is a link and was left out.",)
    assert refused(pack([]), "a.zip") == "E_NO_TEXT"
    assert refused(pack([(".hidden", b"x")]), "a.zip") == "E_NO_TEXT"


def test_names_are_labels_only() -> None:
    wanted = [
        "../../../etc/passwd",
        "/abs/a.txt",
        "C:\\dir\\b.txt",
        "a//./b.txt",
        "a\nb.txt",
        "same.txt",
        "./same.txt",
        "x/../same.txt",
    ]
    assert [label(name) for name in wanted] == [
        "etc/passwd",
        "abs/a.txt",
        "dir/b.txt",
        "a/b.txt",
        "ab.txt",
        "same.txt",
        "same.txt",
        "x/same.txt",
    ]
    assert unique_names(["a.txt", "a.txt", "a (2).txt", "a.txt", "b", "b", "d.x/e", "d.x/e"]) == [
        "a.txt", "a (2).txt", "a (2) (2).txt", "a (3).txt", "b", "b (2)", "d.x/e", "d.x/e (2)",
    ]  # fmt: skip
    names = list(parts(load_document(pack([(name, b"x") for name in wanted]), "a.zip")))
    assert len(names) == len(wanted) and all(not name.startswith("/") and ".." not in name for name in names)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("报告/季度总结.txt", "gb18030"), ("新.txt", "gb18030"), ("報告書類與文件說明.txt", "big5"), ("レポート.txt", "cp932"), ("für_café.txt", "cp437"),
        ("документ.txt", "utf-8"),
    ],
)  # fmt: skip
def test_legacy_names(name: str, encoding: str) -> None:
    """Zip archives that do not say that their names are UTF-8, as Windows wrote them for long."""
    raw = name.encode(encoding)
    placeholder = "x" * len(raw)
    data = pack([(placeholder, b"content")]).replace(placeholder.encode(), raw)
    assert list(parts(load_document(data, "a.zip"))) == [name]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(pack([("a.txt", b"\0" * 210_000_000)]), "a.zip") == "E_TOO_LARGE"
    assert refused(pack([("a.txt", b"\0" * 30_000_000)]), "a.zip") == "E_TOO_LARGE"
    assert refused(pack([(f"{i}.txt", b"") for i in range(MAX_MEMBERS + 1)]), "a.zip") == "E_TOO_LARGE"
    assert refused(gzip.compress(b"\0" * 30_000_000), "a.gz") == "E_TOO_LARGE"
    assert refused(bz2.compress(b"\0" * 3_000_000), "a.bz2") == "E_TOO_LARGE"
    assert refused(gzip.compress(tar([("a.txt", b"\0" * 3_000_000)])), "a.tgz") == "E_TOO_LARGE"
    noise = random.Random(1).randbytes(400_000)
    monkeypatch.setattr("rag.loaders.archive.MAX_TOTAL", 500_000)
    monkeypatch.setattr("rag.loaders.packed.MAX_TOTAL", 500_000)
    assert refused(tar([("a", noise), ("b", noise)]), "a.tar") == "E_TOO_LARGE"
    assert refused(pack([("a", noise), ("b", noise)]), "a.zip") == "E_TOO_LARGE"


def test_what_lies_about_its_size_gives_no_more_than_it_says() -> None:
    data = pack([("a.txt", b"x" * 100_000), ("b.txt", b"fine")])
    at = data.index(b"PK\x01\x02")
    lying = data[: at + 24] + struct.pack("<I", 10) + data[at + 28 :]
    parsed = load_document(lying, "a.zip")
    assert parts(parsed) == {"b.txt": b"fine"} and "'a.txt' cannot be unpacked" in parsed.warnings[0]


def test_members_that_share_bytes_are_refused() -> None:
    data = pack([("a.txt", b"kernel " * 1000), ("b.txt", b"kernel " * 1000)])
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    overlapping = data[: second + 42] + struct.pack("<I", 0) + data[second + 46 :]
    assert refused(overlapping, "a.zip") == "E_CORRUPT"
    with pytest.raises(DocumentError):
        Archive(overlapping, "a.docx")


def test_damage() -> None:
    good = pack([("a.txt", b"first" * 100), ("b.txt", b"second")], zipfile.ZIP_STORED)
    broken = good.replace(b"first", b"FIRST", 1)
    parsed = load_document(broken, "a.zip")
    assert parts(parsed) == {"b.txt": b"second"} and len(parsed.warnings) == 1
    assert refused(good[:200], "a.zip") == "E_CORRUPT"
    assert refused(pack([("a.txt", b"only")], zipfile.ZIP_STORED).replace(b"only", b"ONLY", 1), "a.zip") == "E_CORRUPT"
    many = pack([(f"{i}.txt", b"bad") for i in range(20)] + [("ok.txt", b"ok")], zipfile.ZIP_STORED).replace(
        b"bad", b"BAD"
    )
    assert len(load_document(many, "a.zip").warnings) == 6
    assert refused(gzip.compress(b"text" * 1000)[:20], "a.gz") == "E_CORRUPT"
    assert refused(b"\xfd7zXZ\0" + b"x" * 50, "a.xz") == "E_CORRUPT"


def encrypt(data: bytes, password: bytes) -> bytes:
    """An archive with one stored member, encrypted as zip tools have done since PKZIP 2 (APPNOTE.TXT, section 6.1)."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def crc(value: int, byte: int) -> int:
        return zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def update(byte: int) -> None:
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    plain = pack([("secret.txt", data)], zipfile.ZIP_STORED)
    out = bytearray()
    for byte in b"\0" * 11 + bytes([zlib.crc32(data) >> 24]) + data:
        temp = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ (temp * (temp ^ 1) >> 8 & 0xFF))
        update(byte)
    size = struct.pack("<I", len(data))
    result = plain.replace(data, bytes(out)).replace(size + size, struct.pack("<I", len(out)) + size)
    result = result.replace(b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0").replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"
    )
    end = result.rindex(b"PK\x05\x06")
    return result[: end + 16] + struct.pack("<I", result.index(b"PK\x01\x02")) + result[end + 20 :]


def test_passwords() -> None:
    data = encrypt(b"the secret words", b"pa\xc3\x9fword")
    assert refused(data, "a.zip") == "E_ENCRYPTED"
    assert parts(load_document(data, "a.zip", "paßword")) == {"secret.txt": b"the secret words"}
    with pytest.raises(DocumentError, match="does not open") as caught:
        load_document(data, "a.zip", "wrong")
    assert caught.value.code == "E_ENCRYPTED"


def test_tar_in_every_wrapping() -> None:
    members = [("dir/a.txt", b"one"), (".hidden", b"x"), ("b.txt", b"two")]
    plain = tar(members)
    for data in (plain, gzip.compress(plain), bz2.compress(plain), lzma.compress(plain)):
        parsed = load_document(data, "a.tar")
        assert parts(parsed) == {"dir/a.txt": b"one", "b.txt": b"two"} and parsed.type == "tar"
    assert list(parts(load_document(tar([("报告总结.txt", b"x")]), "a.tar"))) == ["报告总结.txt"]
    cut = load_document(tar([("a.txt", b"x" * 2000), ("b.txt", b"y" * 20_000)])[:6000], "a.tar")
    assert list(parts(cut)) == ["a.txt"] and "damaged" in cut.warnings[0]


def test_tar_links_and_devices_are_left_out() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as opened:
        for kind, name in (
            (tarfile.SYMTYPE, "sym"),
            (tarfile.LNKTYPE, "hard"),
            (tarfile.CHRTYPE, "dev"),
            (tarfile.DIRTYPE, "dir"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            opened.addfile(info)
    assert refused(out.getvalue(), "a.tar") == "E_NO_TEXT"


def test_a_single_compressed_file_keeps_its_name() -> None:
    assert parts(load_document(gzip.compress(b"a,b\n1,2"), "table.csv.gz")) == {"table.csv": b"a,b\n1,2"}
    assert parts(load_document(lzma.compress(b"x"), "notes")) == {"notes.txt": b"x"}


@given(
    data=st.binary(max_size=200),
    cut=st.integers(0, 400),
    flip=st.integers(0, 400),
    seed=st.sampled_from(["zip", "tar", "gz", "bz2", "xz"]),
)
@settings(deadline=None)
def test_any_bytes_give_parts_or_a_known_code(data: bytes, cut: int, flip: int, seed: str) -> None:
    members: list[tuple[str, bytes]] = [("a/ü.txt", b"one"), ("b.txt", b"two" * 50)]
    whole = {
        "zip": pack(list(members)), "tar": tar(members), "gz": gzip.compress(tar(members)), "bz2": bz2.compress(b"x" * 99), "xz": lzma.compress(b"x" * 99),
    }[seed]  # fmt: skip
    mixed = whole[:flip] + data[:3] + whole[flip + len(data[:3]) :]
    for candidate in (mixed[: -cut or None], whole[:4] + data, data):
        try:
            parsed = packed.load(candidate, name="a.zip")
        except DocumentError as error:
            assert error.code in CODES
            continue
        for part in parsed.parts:
            part.name.encode()
            assert part.name and ".." not in part.name.split("/")
