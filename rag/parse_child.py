"""The child process that reads documents: `python -m rag.parse_child`, spoken to over stdin and stdout.

A request is a frame: 4 bytes length, a JSON head {"name", "passwords", "ocr", "draw", "size"}, then `size` bytes of the
document; with `draw`, a page as a picture is asked for. The answer is a frame with the JSON head of `_reply` or {"code", "message"}, followed by the text, the
blocks and the bytes of each file found inside. A frame {"page"} before it says that OCR begins with a page: reading
one takes seconds, so the parent allows time for each.
Nothing is opened for it: the parent has read the file, so this process needs no files, no network, no other programs.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import sys
import threading
import time
import warnings
from array import array
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from rag.errors import DocumentError
from rag.types import Block, ParsedDocument

KINDS = ("heading", "paragraph", "list", "table", "code", "quote")
MAX_HEAD = 16 * 1024 * 1024

_FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.remove", "os.rename",
    "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.kill", "os.startfile",
    "shutil.", "urllib.", "http.", "ftplib.", "smtplib.", "winreg.", "webbrowser.", "pty.",
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Serve requests until stdin ends.

    argv: memory in MB beyond the start, the same while OCR is loaded, longest time per request and per OCR page in seconds.
    """
    memory_mb, ocr_memory_mb, max_seconds, page_seconds = int(argv[0]), int(argv[1]), float(argv[2]), float(argv[3])
    requests, answers = _private_streams()
    _watch_parent()
    walls = _limit(memory_mb, ocr_memory_mb)
    _block_the_world()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    import_module("rag.loaders")  # now, while the parent still looks for what is to be read

    while (head := read_head(requests)) is not None:
        data = read_exactly(requests, head["size"])
        _alarm(max_seconds + 5)
        _answer(head, data, answers, walls, max_seconds + page_seconds)
        _alarm(0)
    return 0


def _answer(head: dict[str, Any], data: bytes, answers: BinaryIO, walls: _Memory, page_seconds: float) -> None:
    """Parse and write the answer; whatever a parser raises becomes a code. This is the edge where that is reported."""
    name = str(head["name"])
    ocr = head["ocr"]

    def before_page(page: int) -> None:
        walls.widen()
        _alarm(page_seconds + 5)
        write_frame(answers, {"page": page})

    try:
        from rag.loaders import load_document
        from rag.loaders.ocr import Reader, is_installed

        reader = None
        if ocr and is_installed():
            reader = Reader(max_pages=ocr["pages"], threads=ocr["threads"], before_page=before_page)
        if drawn := head.get("draw"):
            reply, body = _reply(_drawn(data, drawn, head["passwords"]))
        else:
            reply, body = _reply(load_document(data, name, head["passwords"], ocr=reader))
    except DocumentError as error:
        reply, body = {"code": error.code, "message": str(error)}, []
    except MemoryError:
        reply, body = (
            {
                "code": "E_MEMORY",
                "message": f"{name} needs more memory to read than the limit. Split it or raise parse.memory_mb.",
            },
            [],
        )
    except RecursionError:
        reply, body = (
            {"code": "E_TOO_DEEP", "message": f"{name} is nested too deeply to be read. Flatten or convert it."},
            [],
        )
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        reply, body = (
            {
                "code": "E_PARSE",
                "message": f"{name} could not be read ({type(error).__name__}: {detail}). Convert it to another format.",
            },
            [],
        )
    write_frame(answers, reply, body)
    walls.narrow()


def _drawn(data: bytes, wanted: dict[str, Any], passwords: Sequence[str]) -> ParsedDocument:
    """A page as a picture, with the first password that opens the file."""
    from rag.loaders.pdf import page_image

    def draw(password: str) -> ParsedDocument:
        number, width, quotes = wanted["page"], wanted["width"], wanted.get("quotes", [])
        return page_image(data, number, width=width, quotes=quotes, password=password)

    for password in passwords:
        try:
            return draw(password)
        except DocumentError:
            continue
    return draw("")


def _reply(parsed: ParsedDocument) -> tuple[dict[str, Any], list[bytes]]:
    text = parsed.text.encode("utf-8", errors="replace")
    blocks = pack_blocks(parsed.blocks)
    head = {
        "title": parsed.title, "type": parsed.type, "metadata": dict(parsed.metadata), "warnings": list(parsed.warnings),
        "n_pages": parsed.n_pages, "text_bytes": len(text), "block_bytes": len(blocks),
        "parts": [[part.name, len(part.data)] for part in parsed.parts],
    }  # fmt: skip
    return head, [text, blocks, *(part.data for part in parsed.parts)]


# ---------------------------------------------------------------- frames


def write_frame(stream: BinaryIO, head: dict[str, Any], body: Sequence[bytes] = ()) -> None:
    encoded = json.dumps(head).encode("ascii")
    stream.write(struct.pack("<I", len(encoded)) + encoded)
    for part in body:
        stream.write(part)
    stream.flush()


def read_head(stream: BinaryIO) -> dict[str, Any] | None:
    """The JSON head of the next frame; None at the end of the stream or when it is no frame."""
    prefix = read_exactly(stream, 4)
    size = struct.unpack("<I", prefix)[0] if len(prefix) == 4 else MAX_HEAD + 1
    encoded = read_exactly(stream, size) if size <= MAX_HEAD else b""
    try:
        head = json.loads(encoded)
    except ValueError:
        return None
    return head if isinstance(head, dict) and len(encoded) == size else None


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, or fewer where the stream ends."""
    data = stream.read(size)
    return data if data is not None else b""


def pack_blocks(blocks: Sequence[Block]) -> bytes:
    """Blocks as five columns of 4-byte integers: a million of them would make slow and long JSON."""
    columns = (
        [KINDS.index(block.kind) for block in blocks],
        [block.start for block in blocks],
        [block.end for block in blocks],
        [block.level for block in blocks],
        [block.page or 0 for block in blocks],
    )
    return b"".join(array("I", column).tobytes() for column in columns)


def unpack_blocks(data: bytes, n_chars: int) -> tuple[Block, ...]:
    """The blocks of `pack_blocks`. Raises: ValueError when they are out of order or beyond the text."""
    columns = array("I")
    columns.frombytes(data)
    n, rest = divmod(len(columns), 5)
    if rest:
        raise ValueError("blocks are cut off")
    kinds, starts, ends, levels, pages = (columns[i * n : (i + 1) * n] for i in range(5))
    blocks: list[Block] = []
    before = 0
    for kind, start, end, level, page in zip(kinds, starts, ends, levels, pages, strict=True):
        if not before <= start < end <= n_chars or kind >= len(KINDS):
            raise ValueError("blocks are out of order")
        blocks.append(Block(kind=KINDS[kind], start=start, end=end, level=level, page=page or None))  # type: ignore[arg-type]
        before = end
    return tuple(blocks)


def page_starts(data: bytes) -> list[tuple[int, int]]:
    """Where another page begins, of packed blocks: (offset in the text, page)."""
    columns = array("I")
    columns.frombytes(data[: len(data) // 20 * 20])
    n = len(columns) // 5
    starts: list[tuple[int, int]] = []
    for start, page in zip(columns[n : 2 * n], columns[4 * n :], strict=True):
        if page and (not starts or page != starts[-1][1]):
            starts.append((start, page))
    return starts


# ---------------------------------------------------------------- walls


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout for the protocol alone: what a library prints or reads goes nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return requests, answers


class _Memory:
    """The bound on address space: narrow for parsers, wide once a page is read by OCR, whose models need the room."""

    def __init__(self, memory_mb: int, ocr_memory_mb: int) -> None:
        self._narrow, self._wide = memory_mb << 20, max(memory_mb, ocr_memory_mb) << 20
        self._start = _address_space()
        self._is_wide = False
        self._set(self._narrow)

    def widen(self) -> None:
        if not self._is_wide:
            self._is_wide = True
            self._set(self._wide)

    def narrow(self) -> None:
        """After a file: what OCR holds stays, and the next file has the usual room beyond it."""
        if self._is_wide:
            self._is_wide = False
            self._set(min(_address_space() - self._start + self._narrow, self._wide))

    def _set(self, size: int) -> None:
        if self._start:
            import resource

            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            most = self._start + self._wide
            hard = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(resource.RLIMIT_AS, (min(self._start + size, hard), hard))


def _limit(memory_mb: int, ocr_memory_mb: int) -> _Memory:
    """Bound address space, open files, file size and core dumps where the platform can."""
    try:
        import resource
    except ImportError:
        return _Memory(memory_mb, ocr_memory_mb)
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64)):
        _set_limit(resource, limit, value)
    return _Memory(memory_mb, ocr_memory_mb)


def _set_limit(resource: Any, limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _block_the_world() -> None:
    """Refuse sockets, other programs and writing: a parser has no use for them, an exploit of one has."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            mode, flags = args[1], args[2]
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            if writes or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                raise PermissionError(f"the parser may not write {args[0]!r}")
        elif event.startswith(_FORBIDDEN):
            raise PermissionError(f"the parser may not use {event}")

    sys.addaudithook(hook)


def _watch_parent() -> None:
    """End with the parent, also in the middle of a long parse, when nobody would read the end of stdin."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alarm(seconds: float) -> None:
    """Let the kernel end this process if neither the parent nor the watch can: C code may hold the interpreter."""
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
