"""Packed files: zip, tar and what gzip, bzip2 or xz compressed. Their members become parts, to be read on their own.

Nothing is written anywhere: a member's path is a label, links and devices are left out, and what unpacks is counted.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from rag.errors import DocumentError
from rag.loaders.archive import (
    MAX_MEMBERS,
    MAX_RATIO,
    MAX_TOTAL,
    SMALL,
    UNPACK_ERRORS,
    check_sizes,
    label,
    open_zip,
    too_large,
    unique_names,
)
from rag.loaders.encoding import chinese_encoding
from rag.types import ParsedDocument, Part

MAX_WARNINGS = 5
_AES = 99  # the zip method that stands for WinZip's encryption
_LINK = 0o120000
_IGNORED = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
_KANA = re.compile("[\u3040-\u30ff]")


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Take a packed file apart. Hidden files, folders, links and what cannot be unpacked are left out, the latter with warnings.

    Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_ENCRYPTED (no member opens with the password), E_NO_TEXT (no members).
    """
    if data.startswith(b"PK"):
        return _zip(data, name, password)
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")):
        return _compressed(data, name)
    return _tar(io.BytesIO(data), name)


def is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _document(
    kind: str, names: Sequence[str], contents: Sequence[bytes], problems: list[str], name: str
) -> ParsedDocument:
    if not contents:
        detail = f" ({problems[0]})" if problems else ""
        raise DocumentError("E_NO_TEXT", f"{name} holds no files to read{detail}.")
    if len(problems) > MAX_WARNINGS:
        problems = [*problems[:MAX_WARNINGS], f"{len(problems) - MAX_WARNINGS} more members were left out."]
    parts = [Part(name=one, data=content) for one, content in zip(unique_names(names), contents, strict=True)]
    return ParsedDocument(text="", type=kind, parts=tuple(parts), warnings=tuple(problems))


def _is_wanted(path: str) -> bool:
    """Whether a member is a file that somebody put there, rather than one that a system hides."""
    parts = path.split("/")
    return bool(path) and not any(part.startswith(".") or part.lower() in _IGNORED for part in parts)


# ---------------------------------------------------------------- zip


def _zip(data: bytes, name: str, password: str) -> ParsedDocument:
    opened = open_zip(data, name)
    infos = [info for info in opened.infolist() if not info.filename.endswith("/")]
    check_sizes([info.file_size for info in infos], len(data), name)
    labels = [label(path) for path in _zip_names(infos)]
    names: list[str] = []
    contents: list[bytes] = []
    problems: list[str] = []
    n_locked = n_broken = 0
    left = MAX_TOTAL
    for info, path in zip(infos, labels, strict=True):
        if not _is_wanted(path):
            continue
        if info.external_attr >> 16 & 0o170000 == _LINK:
            problems.append(f"{path!r} is a link and was left out.")
            continue
        locked = bool(info.flag_bits & 1)
        try:
            content = _zip_member(opened, info, password if locked else "", left)
        except UNPACK_ERRORS:
            n_locked += locked
            n_broken += not locked
            problems.append(_zip_problem(path, info, password))
            continue
        left -= len(content)
        if left < 0:
            raise too_large("more than it says", name)
        names.append(path)
        contents.append(content)
    if not contents and n_locked:
        raise _encrypted(name, password, any(info.compress_type == _AES for info in infos))
    if not contents and n_broken:
        raise DocumentError("E_CORRUPT", f"{name} is damaged: no member can be unpacked. Pack it again.")
    return _document("zip", names, contents, problems, name)


def _encrypted(name: str, password: str, aes: bool) -> DocumentError:
    if aes:
        how = "is encrypted with AES, which is not read. Unpack it and import the files."
    elif password:
        how = "is encrypted and does not open with the password given. Give the right one or unpack it."
    else:
        how = "is encrypted and needs a password. Give it or unpack the archive."
    return DocumentError("E_ENCRYPTED", f"{name} {how}")


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, password: str, left: int) -> bytes:
    with opened.open(info, pwd=password.encode("utf-8") or None) as stream:
        return stream.read(left + 1)


def _zip_problem(path: str, info: zipfile.ZipInfo, password: str) -> str:
    if info.flag_bits & 1:
        how = "is encrypted with AES" if info.compress_type == _AES else "is encrypted"
        return f"{path!r} {how} and was left out" + (": the password does not open it." if password else ".")
    return f"{path!r} cannot be unpacked and was left out."


def _zip_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Members' names. Those not marked as UTF-8 are in the code page of some system, told from all of them together."""
    legacy = [info for info in infos if not info.flag_bits & 0x800 and not info.orig_filename.isascii()]
    raw = [info.orig_filename.encode("cp437", errors="replace") for info in legacy]
    encoding = _name_encoding(raw)
    decoded = {id(info): one.decode(encoding, errors="replace") for info, one in zip(legacy, raw, strict=True)}
    return [decoded.get(id(info), info.filename) for info in infos]


def _name_encoding(raw: Sequence[bytes]) -> str:
    """The encoding of file names: UTF-8, else Chinese or Japanese where they read as such, else that of DOS."""
    joined = b"\n".join(raw)
    if _decodes(joined, "utf-8"):
        return "utf-8"
    if _decodes(joined, "gb2312"):  # two bytes above A0 each: Western names have their accents alone
        return "gb18030"
    if _decodes(joined, "cp932") and _KANA.search(joined.decode("cp932")):
        return "cp932"
    return chinese_encoding(joined) or "cp437"


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


# ---------------------------------------------------------------- tar, gzip, bzip2, xz


class _Counted(io.RawIOBase):
    """A stream that refuses to give more bytes than an archive may unpack to."""

    def __init__(self, stream: IO[bytes] | io.BufferedIOBase, packed: int, name: str) -> None:
        self._stream = stream
        self._name = name
        self._left = min(MAX_TOTAL, max(SMALL, MAX_RATIO * packed))

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(self._left + 1 if size is None or size < 0 else min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise too_large("more than it may", self._name)
        return content

    def readable(self) -> bool:
        return True


def _compressed(data: bytes, name: str) -> ParsedDocument:
    """A single compressed file, or a tar archive in one."""
    try:
        if is_tar(_open(data).read(512)):
            return _tar(_Counted(_open(data), len(data), name), name)
        content = _Counted(_open(data), len(data), name).read()
    except UNPACK_ERRORS as error:
        raise DocumentError("E_CORRUPT", f"{name} is damaged: it cannot be unpacked. Pack it again.") from error
    path = PurePosixPath(label(name) or "file")
    inner = path.stem if path.suffix.lower() in (".gz", ".bz2", ".xz") else f"{path.name}.txt"
    return _document("gzip", [inner], [content] if content else [], [], name)


def _open(data: bytes) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    stream = io.BytesIO(data)
    if data.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    return bz2.BZ2File(stream) if data.startswith(b"BZh") else lzma.LZMAFile(stream)


def _tar(stream: IO[bytes] | io.RawIOBase, name: str) -> ParsedDocument:
    """A tar archive, read in one pass. One that is cut gives the members before the cut."""
    paths: list[bytes] = []
    contents: list[bytes] = []
    problems: list[str] = []
    try:
        for path, content in _tar_members(stream, name, problems):
            paths.append(path)
            contents.append(content)
    except (tarfile.TarError, *UNPACK_ERRORS) as error:
        if not contents:
            raise DocumentError("E_CORRUPT", f"{name} is damaged: it cannot be unpacked. Pack it again.") from error
        problems.append(f"The archive is damaged behind its first {len(contents)} files; the rest is missing.")
    encoding = _name_encoding([path for path in paths if not path.isascii()])
    labels = [label(path.decode(encoding, errors="replace")) for path in paths]
    kept = [(path, content) for path, content in zip(labels, contents, strict=True) if _is_wanted(path)]
    return _document("tar", [path for path, _ in kept], [content for _, content in kept], problems, name)


def _tar_members(stream: IO[bytes] | io.RawIOBase, name: str, problems: list[str]) -> Iterator[tuple[bytes, bytes]]:
    total = 0
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as opened:  # type: ignore[call-overload]
        for i, member in enumerate(opened):
            if i >= MAX_MEMBERS:
                raise DocumentError("E_TOO_LARGE", f"{name} holds more than {MAX_MEMBERS} parts; that many are read.")
            if not member.isreg():
                if not member.isdir():
                    problems.append(f"{label(member.name)!r} is a link or device and was left out.")
                continue
            total += member.size
            if total > MAX_TOTAL:
                raise too_large(f"more than {total >> 20} MB", name)
            content = opened.extractfile(member)
            yield member.name.encode("utf-8", "surrogateescape"), content.read() if content else b""
