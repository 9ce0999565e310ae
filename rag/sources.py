"""From paths and URLs to bytes: find files and pages, read each without being fooled by links, pipes or changes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from rag import sitemap
from rag.describing import MAX_SIDECAR, SIDECAR_ENDS, sidecar_names
from rag.errors import DocumentError, SourceError
from rag.fetch import Fetched, clean_url, fetch
from rag.settings import FetchSettings
from rag.types import Failure

Path_ = str | os.PathLike[str]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|sitemap:", re.IGNORECASE)
# What a URL's last part can end in and be a document's name; .php, .aspx and the like are pages.
_DOCUMENT_NAME = re.compile(
    r"(?i)\.(?:html?|xhtml|mdx?|markdown|txt|text|log|rst|pdf|docx?|docm|pptx?|xlsx?|xlsm|ods|odt|odp|rtf|epub|csv|tsv|jsonl?|ndjson"
    r"|ipynb|xml|rss|atom|eml|mbox|msg|tex|zip|ya?ml|toml|ini|cfg|py|js|ts|java|c|h|cc|cpp|hpp|rs|go|rb|sh|sql)$"
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([a-z0-9_.:-]{2,40})")
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file to import.

    path: for opening; bytes that are no UTF-8 stand in it as surrogates, as the operating system gives them.
    source: the same path for people and for the catalog: absolute, one line, valid UTF-8.
    sidecar: path of the file beside it that describes it, or empty; see describing.sidecar_names.
    start, of: for a piece of a large file (rag/pieces.py), where its `size` bytes begin and the whole file's source.
    """

    path: str
    source: str
    size: int
    mtime_ns: int
    sidecar: str = ""
    start: int = 0
    of: str = ""

    @property
    def name(self) -> str:
        return self.source.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPage:
    """A page or file on the web to import. Only fetching tells whether it changed.

    source: its URL in normal form (see fetch.clean_url), which is what is fetched.
    last_modified: when its sitemap says that it changed, as it stands there; often empty, and often wrong.
    listed_by: the sitemap, as the user named it; empty for a page that was named itself.
    """

    source: str
    last_modified: str = ""
    listed_by: str = ""

    @property
    def name(self) -> str:
        """A file's name for it: what follows the last / of its path; `.html` where that names no document type."""
        path = urlsplit(self.source)
        last = unquote(path.path.rpartition("/")[2]) or path.hostname or "page"
        return last if _DOCUMENT_NAME.search(last) else f"{last}.html"


Found = FoundFile | FoundPage


def find(
    sources: Path_ | Iterable[Path_], settings: FetchSettings | None = None
) -> Iterator[FoundFile | FoundPage | Failure]:
    """Files under the given files and folders, and pages, in a fixed order, each once; what cannot be read is a Failure.

    Folders are searched all the way down. Hidden files and folders are passed over unless named themselves; links in
    folders are not followed; a sidecar beside its document is no document of its own. A URL is one page, and is not fetched here; a sitemap's URL (its name says sitemap, or it
    stands behind `sitemap:`) becomes the pages it lists, which needs the network.
    Raises: SourceError at once for a path that does not exist or no URL that is fetched; while running, for a folder
    without files and for a sitemap that cannot be read.
    """
    paths = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    return _find([_root(os.fspath(path)) for path in paths], settings or FetchSettings())


def root_name(path: Path_) -> str:
    """The name that everything found under a source begins with; a sitemap's pages have nothing in common but that."""
    text = os.fspath(path)
    return _web_root(text) if is_url(text) else source_name(os.path.realpath(text))


def is_url(source: Path_) -> bool:
    """Whether a source is a URL (or a sitemap's, behind `sitemap:`) rather than a path."""
    return isinstance(source, str) and bool(_URL.match(source))


def read(found: Found, max_bytes: int, settings: FetchSettings | None = None) -> bytes:
    """The bytes of what was found.

    Raises: DocumentError: see read_stable for files, fetch.fetch for pages.
    """
    if isinstance(found, FoundFile):
        return read_stable(found.path, max_bytes)
    return read_page(found, max_bytes, settings).data


def sidecar(found: Found) -> tuple[str, bytes] | None:
    """Name and content of the file that describes what was found; None where there is none, or none any more."""
    if not isinstance(found, FoundFile) or not found.sidecar:
        return None
    try:
        return source_name(found.sidecar).rpartition("/")[2], read_stable(found.sidecar, MAX_SIDECAR + 1)
    except DocumentError:
        return None


def read_page(
    found: FoundPage, max_bytes: int, settings: FetchSettings | None = None, *, etag: str = "", last_modified: str = ""
) -> Fetched:
    """A page with the headers that tell later whether it changed.

    etag, last_modified: from the `Fetched` of an earlier time. Where the server says that nothing changed since, the
    result has `not_modified` set and no data.
    Raises: DocumentError, see fetch.fetch.
    """
    got = fetch(
        found.source,
        settings=settings or FetchSettings(),
        etag=etag,
        last_modified=last_modified,
        max_bytes=max_bytes,
    )
    return replace(got, data=_in_utf8(got.data, got.content_type))


def _in_utf8(data: bytes, content_type: str) -> bytes:
    """A text whose encoding the server alone tells, in UTF-8; everything else as it came."""
    named = _CHARSET.search(content_type)
    if not named or not content_type.startswith("text/") or b"charset" in data[:8192].lower() or data.isascii():
        return data
    try:
        return data.decode(named.group(1)).encode("utf-8")
    except (LookupError, UnicodeError):
        return data


def read_stable(path: Path_, max_bytes: int, *, start: int = 0, length: int | None = None) -> bytes:
    """The bytes of a regular file that did not change while it was read, or `length` of them from `start` on.

    max_bytes: of the whole file.
    Raises: DocumentError E_UNREADABLE, E_NOT_REGULAR, E_TOO_LARGE, E_CHANGED (after one more try).
    """
    for _ in range(2):
        data = _read_once(os.fspath(path), max_bytes, start, length)
        if data is not None:
            return data
    raise DocumentError(
        "E_CHANGED", f"{source_name(path)} changed while it was read, twice. Import it again when nothing writes to it."
    )


def content_hash(data: bytes) -> str:
    """SHA-256 of the bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def source_name(path: Path_) -> str:
    """A path as one line of valid UTF-8 with `/` between its parts; bytes and controls that do not fit are escaped."""
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = os.fsencode(text).replace(b"\\", b"\\\\").decode("utf-8", errors="backslashreplace")
    if os.sep != "/":
        text = text.replace(os.sep, "/")
    return _CONTROL.sub(
        lambda match: f"\\x{ord(match.group()):02x}" if ord(match.group()) < 256 else f"\\u{ord(match.group()):04x}",
        text,
    )


# ---------------------------------------------------------------- find


def _root(path: str) -> str:
    """The real path of a source, or its URL. A link that the user names is followed, unlike those in folders."""
    if is_url(path):
        return _web_root(path)
    if "\0" in path or not path:
        raise SourceError(f"{path!r} is no path. Name a file or a folder.")
    real = os.path.realpath(path)
    try:
        os.lstat(real)
    except OSError as error:
        reason = (
            "does not exist"
            if isinstance(error, (FileNotFoundError, NotADirectoryError))
            else f"cannot be opened ({error.strerror})"
        )
        raise SourceError(f"The source {source_name(path)} {reason}. Check the path.") from error
    return real


def _web_root(url: str) -> str:
    prefix, rest = ("sitemap:", url[8:].strip()) if url[:8].lower() == "sitemap:" else ("", url)
    try:
        return prefix + clean_url(rest)
    except DocumentError as error:
        raise SourceError(str(error)) from error


def _pages(root: str, settings: FetchSettings) -> Iterator[FoundPage | Failure]:
    """The page that a URL names, or the pages of a sitemap."""
    if not root.startswith("sitemap:") and not sitemap.is_sitemap(root):
        yield FoundPage(source=root)
        return
    for item in sitemap.expand(root.removeprefix("sitemap:"), settings=settings):
        if isinstance(item, Failure):
            yield item
        else:
            yield FoundPage(source=item.url, last_modified=item.last_modified, listed_by=root)


def _find(roots: list[str], settings: FetchSettings) -> Iterator[FoundFile | FoundPage | Failure]:
    seen: set[str] = set()
    for root in roots:
        n_found = 0
        for item in _pages(root, settings) if is_url(root) else _under(root):
            n_found += 1
            if item.source not in seen:
                seen.add(item.source)
                yield item
        if n_found == 0 and is_url(root):
            raise SourceError(f"The sitemap {root.removeprefix('sitemap:')} lists no pages of its own host to import.")
        if n_found == 0:
            raise SourceError(
                f"The folder {source_name(root)} holds no files to import (hidden ones do not count). Name another folder."
            )


def is_home(folder: str) -> bool:
    """Whether ragstone keeps its own files in this folder.

    They are never imported. To open and close one would also take SQLite's and the embedded Milvus's locks from this process.
    """
    lock, *others = (os.path.join(folder, name) for name in ("writer.lock", "catalog.sqlite3", "writer.pid"))
    return os.path.exists(lock) and any(map(os.path.exists, others))


def _under(root: str) -> Iterator[FoundFile | Failure]:
    folder, name = (root, "") if os.path.isdir(root) else os.path.split(root)
    if is_home(folder):
        raise SourceError(f"In {source_name(folder)} ragstone keeps its own files. Name another folder.")
    if name:
        yield _file(root, next(filter(os.path.isfile, (os.path.join(folder, one) for one in sidecar_names(name))), ""))
        return
    stack = [_listed(root)]
    while stack:
        entry, beside = next(stack[-1], (None, ""))
        if entry is None:
            stack.pop()
        elif isinstance(entry, Failure):
            yield entry
        elif entry.is_symlink():
            if link := _link(entry.path, root):
                yield link
        elif entry.is_dir(follow_symlinks=False):
            stack.append(_listed(entry.path))
        else:
            yield _file(entry.path, beside)


def _listed(folder: str) -> Iterator[tuple[os.DirEntry[str] | Failure, str]]:
    """The entries of a folder, each with the path of its sidecar; sidecars themselves are left out."""
    entries = _entries(folder)
    ends = {
        entry.name: entry.path
        for entry in entries
        if not isinstance(entry, Failure) and entry.name.lower().endswith(SIDECAR_ENDS)
    }
    if not ends:
        return zip(entries, [""] * len(entries), strict=True)
    beside: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, Failure) and entry.name not in ends and not entry.is_dir(follow_symlinks=False):
            beside[entry.name] = next((name for name in sidecar_names(entry.name) if name in ends), "")
    used = set(beside.values())
    return iter(
        [
            (entry, "" if isinstance(entry, Failure) else ends.get(beside.get(entry.name, ""), ""))
            for entry in entries
            if isinstance(entry, Failure) or entry.name not in used
        ]
    )


def _entries(folder: str) -> Sequence[os.DirEntry[str] | Failure]:
    """The visible entries of a folder, in byte order of their names; none of a home's."""
    try:
        if is_home(folder):
            return []
        with os.scandir(folder) as entries:
            return sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: os.fsencode(entry.name),
            )
    except OSError as error:
        return [
            Failure(
                source=source_name(folder),
                code="E_UNREADABLE",
                message=f"The folder cannot be read ({error.strerror}). Check its permissions.",
            )
        ]


def _file(path: str, beside: str = "") -> FoundFile | Failure:
    source = source_name(path)
    try:
        found = os.lstat(path)
    except OSError as error:
        return Failure(source=source, code="E_UNREADABLE", message=f"{source} cannot be opened ({error.strerror}).")
    if not stat.S_ISREG(found.st_mode):
        return Failure(
            source=source,
            code="E_NOT_REGULAR",
            message=f"{source} is a pipe, socket or device, not a file. Leave it out.",
        )
    return FoundFile(path=path, source=source, size=found.st_size, mtime_ns=found.st_mtime_ns, sidecar=beside)


def _link(path: str, root: str) -> Failure | None:
    """What to report for a link in a folder: nothing when it stays inside, for its target is found on its own."""
    source, target = source_name(path), os.path.realpath(path)
    if os.path.commonpath([root, target]) != root:
        return Failure(
            source=source,
            code="E_OUTSIDE_ROOT",
            message=f"{source} is a link that leads out of the folder. Import its target by its own path.",
        )
    if not os.path.exists(target):
        return Failure(
            source=source, code="E_UNREADABLE", message=f"{source} is a link to nothing. Remove it or mend it."
        )
    return None


# ---------------------------------------------------------------- read


def _read_once(path: str, max_bytes: int, start: int, length: int | None) -> bytes | None:
    """The bytes, or None when size or time of the file were not the same before and after."""
    name = source_name(path)
    try:
        # Without O_NONBLOCK a pipe would block here, before anything could look at what it is.
        handle = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DocumentError("E_NOT_REGULAR", f"{name} is a link, not a file. Import its target.") from error
        if error.errno == errno.ENXIO:
            raise DocumentError(
                "E_NOT_REGULAR", f"{name} is a pipe, socket or device, not a file. Leave it out."
            ) from error
        raise DocumentError(
            "E_UNREADABLE", f"{name} cannot be opened ({error.strerror}). Check that it exists and may be read."
        ) from error
    try:
        return _read_handle(handle, name, max_bytes, start, length)
    finally:
        os.close(handle)


def _read_handle(handle: int, name: str, max_bytes: int, start: int, length: int | None) -> bytes | None:
    before = os.fstat(handle)
    if not stat.S_ISREG(before.st_mode):
        raise DocumentError("E_NOT_REGULAR", f"{name} is a folder, pipe, socket or device, not a file. Leave it out.")
    if before.st_size > max_bytes:
        raise DocumentError(
            "E_TOO_LARGE",
            f"{name} has {before.st_size:,} bytes; the limit is {max_bytes:,}. Split it or raise parse.max_file_mb.",
        )
    wanted = before.st_size - start if length is None else length
    try:
        if start:
            os.lseek(handle, start, os.SEEK_SET)
        data = _read_exactly(handle, wanted + (length is None))  # one more, to notice that it has grown
    except OSError as error:
        raise DocumentError("E_UNREADABLE", f"{name} cannot be read ({error.strerror}).") from error
    after = os.fstat(handle)
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == wanted
    return data if same else None


def _read_exactly(handle: int, n: int) -> bytes:
    """Up to n bytes; the system may give fewer at a time."""
    parts: list[bytes] = []
    while n > 0 and (part := os.read(handle, min(n, 1 << 26))):
        parts.append(part)
        n -= len(part)
    return b"".join(parts) if len(parts) != 1 else parts[0]
