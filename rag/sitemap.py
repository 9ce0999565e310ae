"""Sitemaps: the pages of a site that it lists itself and lets us read.

Source: sitemaps.org protocol 0.9; the robots file after RFC 9309.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser
from xml.parsers import expat

from rag.errors import DocumentError, SourceError
from rag.fetch import clean_url, fetch, gunzip
from rag.settings import FetchSettings
from rag.types import Failure

MAX_SITEMAPS = 50  # files of one index
MAX_XML_BYTES = 50_000_000  # the protocol's own limit, unpacked

_NAME = re.compile(r"(?i)(?:^|/)[^/]*sitemap[^/]*\.xml(?:\.gz)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A page of a sitemap. last_modified as it stands there, or empty."""

    url: str
    last_modified: str = ""


def is_sitemap(url: str) -> bool:
    """Whether a URL's name says that it is a sitemap."""
    return bool(_NAME.search(urlsplit(url).path))


def expand(url: str, *, settings: FetchSettings) -> Iterator[Entry | Failure]:
    """The pages of a sitemap, of an index of sitemaps, or of a site (`https://host/`), at most settings.max_pages.

    Only pages of the sitemap's own host count. What the robots file forbids comes as a Failure, and so does the rest
    behind the limit.
    Raises: SourceError when the sitemap itself cannot be read; a broken sitemap of an index is a Failure.
    """
    robots, listed = _robots(url, settings)
    start = [url] if urlsplit(url).path != "/" else listed or [urljoin(url, "/sitemap.xml")]
    n_pages = 0
    seen: set[str] = set()
    for item in _entries(start, settings):
        if isinstance(item, Failure):
            yield item
            continue
        if urlsplit(item.url).netloc != urlsplit(url).netloc or item.url in seen:
            continue
        if n_pages == settings.max_pages:
            yield Failure(
                source=url,
                code="E_TOO_LARGE",
                message=f"The sitemap {url} lists more than {n_pages} pages; the rest is left out. Raise fetch.max_pages.",
            )
            return
        seen.add(item.url)
        n_pages += 1
        if robots.can_fetch(settings.user_agent, item.url):
            yield item
        else:
            yield Failure(
                source=item.url,
                code="E_URL_FORBIDDEN",
                message=f"{item.url}: the site's robots.txt asks not to read it.",
            )


def _robots(url: str, settings: FetchSettings) -> tuple[RobotFileParser, list[str]]:
    """What a site lets us read, and the sitemaps it names on its own host. No file: everything; no answer: nothing."""
    parser = RobotFileParser()
    try:
        text = fetch(urljoin(url, "/robots.txt"), settings=settings).data.decode("utf-8", "replace")
    except DocumentError as error:
        missing = error.code in ("E_URL_STATUS", "E_URL_TYPE") and not re.search(r" answered 5\d\d", str(error))
        if error.code == "E_URL_FORBIDDEN":
            raise SourceError(str(error)) from error
        parser.parse([] if missing else ["User-agent: *", "Disallow: /"])
        return parser, []
    parser.parse(text.lstrip("\ufeff").splitlines())
    _with_wildcards(parser)
    host = urlsplit(url).netloc
    named = [_clean(one) for one in parser.site_maps() or []]
    return parser, [one for one in named if one and urlsplit(one).netloc == host]


def _with_wildcards(parser: RobotFileParser) -> None:
    """Rules as RFC 9309 has them, which the standard library lacks: `*` and `$`, the longest match wins, Allow a tie."""
    for entry in [*parser.entries, *([parser.default_entry] if parser.default_entry else [])]:  # type: ignore[attr-defined]
        entry.rulelines = sorted(
            (_Rule(line) for line in entry.rulelines), key=lambda rule: (-len(rule.path), not rule.allowance)
        )


class _Rule:
    """One rule; takes the place of the library's, which compares beginnings alone."""

    def __init__(self, line: Any) -> None:
        self.allowance = line.allowance
        self.path = line.path.replace("%2A", "*").replace("%24", "$")
        self._ends = self.path.endswith("$")
        self._parts = self.path.removesuffix("$").split("*")

    def applies_to(self, path: str) -> bool:
        first, *rest = self._parts
        if not path.startswith(first):
            return False
        at = len(first)
        for part in rest:  # the first place of each part is as good as any later one
            at = path.find(part, at) + len(part) if path.find(part, at) >= 0 else -1
            if at < 0:
                return False
        if not self._ends:
            return True
        last = self._parts[-1]
        return at == len(path) or (bool(rest) and path.endswith(last) and len(path) - len(last) >= at - len(last))


def _entries(start: list[str], settings: FetchSettings) -> Iterator[Entry | Failure]:
    """The entries of sitemaps, those of an index's sitemaps in its place."""
    waiting = list(reversed(start))
    host = urlsplit(start[0]).netloc
    seen = set(start)
    n_read = 0
    while waiting:
        url = waiting.pop()
        n_read += 1
        try:
            pages, sitemaps = _parse(_content(url, settings), url)
        except DocumentError as error:
            if n_read == 1 and len(start) == 1:
                raise SourceError(f"The sitemap cannot be read: {error}") from error
            yield Failure(source=url, code=error.code, message=str(error))
            continue
        yield from pages
        new = [one for one in sitemaps if one not in seen and urlsplit(one).netloc == host]
        seen.update(new)
        room = MAX_SITEMAPS - n_read - len(waiting)
        if len(new) > room:
            message = (
                f"The sitemap {url} names more than {MAX_SITEMAPS} others; the rest is left out. Name them one by one."
            )
            yield Failure(source=url, code="E_TOO_LARGE", message=message)
        waiting += reversed(new[: max(room, 0)])


def _content(url: str, settings: FetchSettings) -> bytes:
    data = fetch(url, settings=settings).data
    if not data.startswith(b"\x1f\x8b"):
        return data
    parts: list[bytes] = []
    n_bytes = 0
    for part in gunzip(iter([data]), url):
        n_bytes += len(part)
        if n_bytes > MAX_XML_BYTES:
            raise DocumentError("E_TOO_LARGE", f"{url} unpacks to more than {MAX_XML_BYTES:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def _parse(data: bytes, url: str) -> tuple[list[Entry], list[str]]:
    """The pages and the other sitemaps that a sitemap names: XML, or lines of URLs. Raises: DocumentError."""
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = [_clean(line) for line in data.decode("utf-8", "replace").lstrip("\ufeff").splitlines()[:50_000]]
        pages = [Entry(url=line) for line in lines if line]
        if not pages:
            raise DocumentError("E_TYPE_MISMATCH", f"{url} holds neither a sitemap's XML nor a list of URLs.")
        return pages, []
    reader = _Reader(url)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.EntityDeclHandler = reader.entity
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DocumentError("E_CORRUPT", f"The sitemap {url} is no well-formed XML ({error}).") from error
    if reader.root not in ("urlset", "sitemapindex"):
        raise DocumentError("E_TYPE_MISMATCH", f"{url} is no sitemap: its XML begins with <{reader.root[:40]}>.")
    return reader.pages, reader.sitemaps


class _Reader:
    """Collects the entries while expat reads; only an entry's own <loc> and <lastmod> count, not an image's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.root = ""
        self.pages: list[Entry] = []
        self.sitemaps: list[str] = []
        self._depth = 0
        self._field = ""
        self._values: dict[str, str] = {}

    def entity(self, *_: object) -> None:
        raise DocumentError("E_XML_UNSAFE", f"The sitemap {self.url} declares entities, which no sitemap needs.")

    def start(self, tag: str, _: dict[str, str]) -> None:
        self._depth += 1
        name = tag.rpartition(" ")[2]
        if self._depth == 1:
            self.root = name
        elif self._depth == 2:
            self._values = {}
        self._field = name if self._depth == 3 and name in ("loc", "lastmod") and "image" not in tag else ""

    def text(self, data: str) -> None:
        if self._field:
            self._values[self._field] = (self._values.get(self._field, "") + data)[:5000]

    def end(self, _: str) -> None:
        self._depth -= 1
        self._field = ""
        if self._depth == 1 and (url := _clean(self._values.get("loc", ""))):
            if self.root == "sitemapindex":
                self.sitemaps.append(url)
            else:
                self.pages.append(Entry(url=url, last_modified=self._values.get("lastmod", "").strip()[:40]))
            self._values = {}


def _clean(url: str) -> str:
    try:
        return clean_url(url) if url.strip() else ""
    except DocumentError:
        return ""
