"""Large text files, read and imported piece by piece: memory stays that of a piece, and what was appended is what is new.

Every piece becomes a document of its own, `FILE!/NAME, part 0001.txt`, cut at an empty line where there is one. The
cuts lie near fixed places, so those of an unchanged beginning stay where they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from rag.loaders import identify
from rag.loaders.encoding import is_wide
from rag.sources import Found, FoundFile
from rag.types import Failure

SPLIT_BYTES = 32_000_000  # files up to this size stay whole
PIECE_BYTES = 8_000_000
_WINDOW = 64_000  # bytes before the fixed place in which a cut is looked for


def split_large(found: Iterable[Found | Failure], max_bytes: int) -> Iterator[Found | Failure]:
    """Replace large text files by their pieces. Those over max_bytes stay, for whoever reads them to refuse."""
    for file in found:
        if not isinstance(file, FoundFile) or not SPLIT_BYTES < file.size <= max_bytes:
            yield file
            continue
        try:
            yield from _pieces(file)
        except OSError:
            yield file  # the reader says what is wrong


def is_piece(source: str, of: str) -> bool:
    """Whether a document's source names a piece of that file."""
    return source.startswith(f"{of}!/") and ", part " in source[len(of) :]


def _pieces(file: FoundFile) -> Iterator[FoundFile]:
    with open(file.path, "rb", opener=_open) as handle:
        head = handle.read(_WINDOW)
        if identify(head, file.name) != "text" or is_wide(head):
            yield file
            return
        start, stem = 0, PurePosixPath(file.name).stem
        number = 1
        while start < file.size:
            end = file.size
            if (place := number * PIECE_BYTES) + PIECE_BYTES // 2 < file.size:
                handle.seek(place - _WINDOW)
                end = place - _WINDOW + _cut(handle.read(_WINDOW))
            yield FoundFile(
                path=file.path, source=f"{file.source}!/{stem}, part {number:04}.txt", size=end - start,
                mtime_ns=file.mtime_ns, start=start, of=file.source, sidecar=file.sidecar,
            )  # fmt: skip
            start, number = end, number + 1


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))


def _cut(window: bytes) -> int:
    """Where to cut: after the last empty line, line or blank of the window, else between two UTF-8 characters."""
    for mark in (b"\n\n", b"\n\r\n", b"\n", b" "):
        if (at := window.rfind(mark)) >= 0:
            return at + len(mark)
    at = len(window)
    while at > len(window) - 4 and window[at - 1] & 0xC0 == 0x80:
        at -= 1
    return at - 1
