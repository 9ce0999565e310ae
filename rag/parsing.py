"""Reading documents in child processes: one that hangs, dies or eats memory costs its own file and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import rag.parse_child as protocol
from rag.convert import convert, programs
from rag.errors import DocumentError
from rag.loaders import identify
from rag.loaders.ocr import is_installed
from rag.settings import ParseSettings
from rag.sources import content_hash, read_stable
from rag.types import Failure, ParsedDocument, Part

BUSY = 4  # times the seconds that a file may take, on a machine that has no core for it
MAX_FILES_PER_CHILD = 500  # memory that libraries do not give back must not add up to somebody's E_MEMORY
_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "HOME",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
)


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # how files of Microsoft's old container format begin
MAX_PART_DEPTH = 3  # archives in archives
MAX_PARTS = 5_000  # files in one file, at all depths
MAX_PART_BYTES = 500_000_000
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class ParsedPart:
    """A file inside a file. name: its path in the container; digest: of its bytes."""

    name: str
    digest: str
    size: int
    result: ParsedDocument | Failure


class Parsers(Protocol):
    """What an import needs of a pool of parsers: `ParserPool`, or the same on other machines."""

    @property
    def max_bytes(self) -> int: ...
    def __enter__(self) -> Parsers: ...
    def __exit__(self, *_: object) -> None: ...
    def prepare(self) -> None: ...
    def parse(self, data: bytes, name: str, password: str = "") -> ParsedDocument: ...
    def side_by_side(self, work: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]: ...


class ParserPool:
    """Child processes that read documents. Thread-safe; children start when they are needed and end with `close`.

    workers: how many files are read at a time; left out, `settings.workers`, or one per core up to 4.
    """

    def __init__(self, settings: ParseSettings, *, workers: int | None = None) -> None:
        self.settings = settings
        self.workers = workers or settings.workers or min(os.cpu_count() or 1, 4)
        self._slots: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._slots.put(None)
        self._closed = False

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the children. Waits for files being read."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self.workers):
            if (child := self._slots.get()) is not None:
                child.close()

    def prepare(self) -> None:
        """Start one child now, without waiting for it: a file will be read soon."""
        if (child := self._slots.get()) is None:
            child = self._child()
        self._slots.put(child)

    def _child(self) -> _Child:
        return _Child(self.settings, threads=max((os.cpu_count() or 1) // self.workers, 1))

    def parse(self, data: bytes, name: str, password: str = "") -> ParsedDocument:
        """Read a document from its bytes.

        password: tried before those of the settings (`parse.passwords`).
        Raises: DocumentError, among them E_TIMEOUT, E_MEMORY and E_CRASH.
        """
        if self._closed:
            raise RuntimeError("The ParserPool is closed. Open a new one.")
        if data.startswith(OLE) and (kind := identify(data, name).removeprefix("unsupported:")) in ("doc", "ppt"):
            converted = convert(data, name, kind, timeout_s=self._timeout(len(data)))
            if converted is not None:
                parsed = self.parse(converted.data, converted.name, password)
                note = f"It was converted by {converted.program}."
                return replace(parsed, type=kind, warnings=(note, *parsed.warnings))
        # The empty one first: most files are not encrypted.
        known = (one.get_secret_value() for one in self.settings.passwords)
        passwords = tuple(dict.fromkeys(("", password, *known)))
        child = self._slots.get()
        try:
            while True:
                child = child or self._child()
                fresh = child.fresh
                try:
                    return child.parse(data, name, passwords, timeout_s=self._timeout(len(data)))
                except DocumentError as error:
                    # Earlier files may have filled this child's memory: only a fresh one's word counts.
                    if fresh or error.code not in ("E_MEMORY", "E_CRASH"):
                        raise
                    child.close()
                    child = None
        finally:
            if child is not None and not child.usable:
                child.close()
                child = None
            self._slots.put(child)

    def parse_file(self, path: str | os.PathLike[str], password: str = "") -> ParsedDocument:
        """Read a document from a file. Raises: DocumentError, see also sources.read_stable."""
        return self.parse(read_stable(path, self.max_bytes), Path(path).name, password)

    def side_by_side(self, work: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """`work` on each item in threads, as many as there are children; results in order, a few made ahead."""
        return side_by_side(self.workers, work, items)

    def _timeout(self, n_bytes: int) -> float:
        return min(
            self.settings.timeout_s + n_bytes / 1_000_000, max(self.settings.max_timeout_s, self.settings.timeout_s)
        )

    @property
    def max_bytes(self) -> int:
        """Larger files are refused before they are read."""
        return int(self.settings.max_file_mb * 1_000_000)


def parse_parts(parsers: Parsers, parsed: ParsedDocument, source: str) -> tuple[list[ParsedPart], list[str]]:
    """The files inside a document, each read as a document of its own, and theirs; what was left out, as warnings.

    source: of the document, for messages. Each part has its own limits, so one that hangs costs itself alone.
    """
    found: list[ParsedPart] = []
    warnings: list[str] = []
    _parse_parts(parsers, parsed, source, "", 1, found, warnings, [MAX_PARTS, MAX_PART_BYTES])
    return found, warnings


def _parse_parts(
    parsers: Parsers,
    parsed: ParsedDocument,
    source: str,
    above: str,
    depth: int,
    found: list[ParsedPart],
    warnings: list[str],
    left: list[int],
) -> None:
    for part in parsed.parts:
        name = f"{above}{part.name}"
        left[0] -= 1
        left[1] -= len(part.data)
        if min(left) < 0 or depth > MAX_PART_DEPTH:
            limit = f"{MAX_PART_DEPTH} levels, {MAX_PARTS} files and {MAX_PART_BYTES // 1_000_000} MB"
            message = (
                f"{source}!/{name} was left out: at most {limit} are read of one file. Unpack it and import the files."
            )
            found.append(
                ParsedPart(
                    name,
                    "",
                    len(part.data),
                    Failure(source=f"{source}!/{name}", code="E_TOO_LARGE", message=message),
                )
            )
            return
        digest = content_hash(part.data)
        try:
            inner = parsers.parse(part.data, part.name)
        except DocumentError as error:
            failure = Failure(source=f"{source}!/{name}", code=error.code, message=str(error))
            found.append(ParsedPart(name, digest, len(part.data), failure))
            continue
        if inner.text.strip():
            found.append(ParsedPart(name, digest, len(part.data), replace(inner, parts=())))
        else:
            warnings.extend(f"{name}: {warning}" for warning in inner.warnings)
        _parse_parts(parsers, inner, source, f"{name}!/", depth + 1, found, warnings, left)


def means(settings: ParseSettings) -> str:
    """8 hex digits for what decides, beside a file's bytes, whether it can be read: limits, passwords, OCR, converters."""
    limits = settings.model_dump(mode="json", exclude={"workers", "passwords"})
    passwords = [one.get_secret_value() for one in settings.passwords]
    found = [limits, passwords, is_installed(), programs()]
    return content_hash(json.dumps(found, sort_keys=True).encode("utf-8"))[:8]


def page_image(data: bytes, page: int, *, settings: ParseSettings, width: int = 1000) -> tuple[bytes, int]:
    """A page of a PDF as a PNG of about `width` pixels, drawn in a child process, and how many pages there are.

    Raises: DocumentError.
    """
    drawn = _drawn(data, {"page": page, "width": width}, settings)
    return drawn.parts[0].data, drawn.n_pages or 1


def quoted_page(
    data: bytes, page: int, quotes: Sequence[str], *, settings: ParseSettings, width: int = 1000
) -> tuple[bytes, int, float]:
    """The same with quotes marked on it; how many of their lines are, and how far down the first one lies (0 to 1)."""
    drawn = _drawn(data, {"page": page, "width": width, "quotes": list(quotes)}, settings)
    return drawn.parts[0].data, int(drawn.metadata["marked"]), float(drawn.metadata["top"])


def _drawn(data: bytes, wanted: dict[str, Any], settings: ParseSettings) -> ParsedDocument:
    child = _Child(settings.model_copy(update={"ocr": "off"}), threads=1)
    passwords = [secret.get_secret_value() for secret in settings.passwords]
    try:
        return child.parse(data, "page.pdf", passwords, timeout_s=settings.timeout_s, draw=wanted)
    finally:
        child.close()


def side_by_side(n_threads: int, work: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """`work` on each item in threads; results in order, a few made ahead."""
    waiting: deque[Future[_R]] = deque()
    threads = ThreadPoolExecutor(n_threads, thread_name_prefix="parse")
    try:
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) > 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


class _Child:
    """One child process, used by one thread at a time."""

    def __init__(self, settings: ParseSettings, *, threads: int) -> None:
        self._settings = settings
        self._ocr = None if settings.ocr == "off" else {"pages": settings.ocr_pages, "threads": threads}
        self._n_files = 0
        limit_s = max(settings.max_timeout_s, settings.timeout_s)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rag.parse_child", str(settings.memory_mb), str(settings.ocr_memory_mb), str(limit_s), str(settings.ocr_page_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(), close_fds=True,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]

    @property
    def fresh(self) -> bool:
        """Whether no file was given to it yet."""
        return self._n_files == 0

    @property
    def usable(self) -> bool:
        """Whether another file may be given to it."""
        return self._process.poll() is None and self._n_files < MAX_FILES_PER_CHILD

    def parse(
        self, data: bytes, name: str, passwords: Sequence[str], *, timeout_s: float, draw: dict[str, Any] | None = None
    ) -> ParsedDocument:
        """draw: page and width of a picture that is asked for in place of the text. Raises: DocumentError."""
        self._n_files += 1
        guard = _Guard(self._process, timeout_s)
        try:
            answer = self._exchange(data, name, passwords, guard, draw)
        finally:
            guard.stop()
        if answer is None:
            self._process.kill()
            self._process.wait()
            raise self._death(name, guard)
        return answer

    def close(self) -> None:
        self._process.kill()
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # bytes that a dead child did not take
                stream.close()
        self._process.wait()

    def _exchange(
        self, data: bytes, name: str, passwords: Sequence[str], guard: _Guard, draw: dict[str, Any] | None
    ) -> ParsedDocument | None:
        """The child's answer; None when it died or answered nonsense. Raises: DocumentError that the child reports."""
        try:
            request = {"name": name, "passwords": list(passwords), "ocr": self._ocr, "draw": draw, "size": len(data)}
            protocol.write_frame(self._requests, request, [data])
            head = protocol.read_head(self._answers)
            n_pages = 0
            while head is not None and "page" in head and self._ocr and n_pages < self._ocr["pages"]:
                n_pages += 1
                guard.extend(self._settings.ocr_page_s)
                head = protocol.read_head(self._answers)
        except OSError:
            return None
        if head is None:
            return None
        if "code" in head:
            raise DocumentError(str(head["code"]), str(head["message"]))
        try:
            return _parsed(head, self._answers)
        except (KeyError, TypeError, ValueError):
            return None

    def _death(self, name: str, guard: _Guard) -> DocumentError:
        if guard.timed_out:
            return DocumentError(
                "E_TIMEOUT",
                f"{name} took longer than {guard.timeout_s:.0f} s to read. Split it or raise {'parse.ocr_page_s' if guard.by_ocr else 'parse.timeout_s'}.",
            )
        # The big parsers end their process when an allocation fails, so the peak tells a full memory from a plain crash.
        key = "ocr_memory_mb" if guard.by_ocr else "memory_mb"
        limit = getattr(self._settings, key)
        if guard.peak_mb > 0.4 * limit or self._process.returncode == -9:
            return DocumentError(
                "E_MEMORY",
                f"{name} needs more memory to read than parse.{key} = {limit}. Split it or raise the limit.",
            )
        status = self._process.returncode
        return DocumentError(
            "E_CRASH", f"The parser died while it read {name} (status {status}). Convert the file to another format."
        )


class _Guard:
    """Watches one request from a thread beside it: ends the child at the deadline, notes the most memory it held.

    A child that would work on, and only waits for a core because the machine is busy, gets up to BUSY times as long.
    """

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.timed_out = False
        self.by_ocr = False
        self.peak_mb = 0.0
        self._process = process
        self._done = threading.Event()
        self._deadline = time.monotonic() + timeout_s
        self._used_s = _work(process.pid)[1]
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def extend(self, seconds: float) -> None:
        """Allow `seconds` more: a page read by OCR is a piece of work of its own."""
        self.by_ocr = True
        self._deadline += seconds
        self.timeout_s += seconds

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            # Not from the child's resource usage: that starts with the peak of the process it was forked from.
            self.peak_mb = max(self.peak_mb, _peak_mb(self._process.pid))
            if time.monotonic() > self._deadline and not self._starved():
                self.timed_out = True
                self._process.kill()
                return

    def _starved(self) -> bool:
        ready, used_s = _work(self._process.pid)
        in_time = time.monotonic() < self._deadline + (BUSY - 1) * self.timeout_s
        return ready and in_time and used_s - self._used_s < self.timeout_s


def _work(pid: int) -> tuple[bool, float]:
    """Whether a process runs or waits for a core or a disk, and the seconds of a core it has used; (False, 0) where the
    system does not say.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
        return fields[0] in "RD", (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return False, 0.0


def _peak_mb(pid: int) -> float:
    """The most memory a process has held so far; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:")), 0.0)
    except OSError:
        return 0.0


def _parsed(head: dict[str, Any], stream: BinaryIO) -> ParsedDocument:
    """The document in an answer. Raises: KeyError, TypeError, ValueError when the answer is not one."""
    encoded = protocol.read_exactly(stream, int(head["text_bytes"]))
    blocks = protocol.read_exactly(stream, int(head["block_bytes"]))
    if len(encoded) != head["text_bytes"] or len(blocks) != head["block_bytes"]:
        raise ValueError("the answer is cut off")
    text = encoded.decode("utf-8")
    parts = tuple(Part(name=str(name), data=protocol.read_exactly(stream, int(size))) for name, size in head["parts"])
    return ParsedDocument(
        text=text, title=str(head["title"]), type=str(head["type"]), blocks=protocol.unpack_blocks(blocks, len(text)),
        metadata=dict(head["metadata"]), warnings=tuple(map(str, head["warnings"])),
        n_pages=None if head["n_pages"] is None else int(head["n_pages"]), parts=parts,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """What a parser needs of the environment, and none of the keys and tokens that are in it too."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    root = str(Path(protocol.__file__).resolve().parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each takes 64 MB of the address space that is limited, one per thread
    }
