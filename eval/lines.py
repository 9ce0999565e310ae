"""Text lines of data files: plain or gzip, UTF-8 or not; a damaged file is one sentence, not a traceback."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.problems import ProblemLog
from rag.errors import UsageError

_GZIP_MAGIC = b"\x1f\x8b"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_GB2312_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]")


def read_lines(path: Path, log: ProblemLog, *, digest: Any = None) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without line end) of each line that is not blank, one at a time.

    A line that is not UTF-8 is read as GB18030 when its bytes pair up like Chinese, else as Windows-1252,
    and noted in `log`. digest: a hashlib object that is fed the decompressed bytes.
    Raises: UsageError when the file cannot be opened or its compression is damaged.
    """
    with _opened(path) as file:
        for number, raw in enumerate(_raw_lines(file), start=1):
            if digest is not None:
                digest.update(raw)
            text = _decode(raw, number, path.name, log).rstrip("\r\n")
            if text.strip():
                yield number, text


def read_text(path: Path, log: ProblemLog) -> str:
    """The whole file as text, decoded as `read_lines` does.

    Raises: UsageError when the file cannot be opened or its compression is damaged.
    """
    with _opened(path) as file:
        raw = file.read()
    if raw[:2] in _UTF16_MARKS:
        return raw.decode("utf-16", errors="replace")
    lines = raw.splitlines(keepends=True)
    return "".join(_decode(line, number, path.name, log) for number, line in enumerate(lines, start=1))


def file_digest(path: Path) -> str:
    """sha256 of the decompressed bytes."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            if magic == _GZIP_MAGIC:
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is damaged ({error}). Fetch or write the file again.") from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror or error}). Check the path and its rights."
        ) from error


def _raw_lines(file: io.BufferedIOBase) -> Iterator[bytes]:
    first = file.readline()
    if first[:2] in _UTF16_MARKS:
        text = io.StringIO((first + file.read()).decode("utf-16", errors="replace"))
        yield from (line.encode("utf-8") for line in text)
        return
    if first:
        yield first
    yield from file


def _decode(raw: bytes, number: int, where: str, log: ProblemLog) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        log.add("bad_encoding", f"line {number}", where=where)
    n_high = len(_HIGH_BYTES.findall(raw))
    if 2 * len(_GB2312_PAIR.findall(raw)) >= 0.9 * n_high:
        return raw.decode("gb18030", errors="replace")
    return raw.decode("cp1252", errors="replace")
