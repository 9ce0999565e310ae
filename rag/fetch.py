"""One fetch from the web. See below."""

from __future__ import annotations

from dataclasses import dataclass

from rag.settings import FetchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a server gave for a URL. `etag` and `last_modified` are for asking again later."""

    url: str
    final_url: str
    data: bytes
    content_type: str = ""
    etag: str = ""
    last_modified: str = ""
    not_modified: bool = False


def clean_url(url: str) -> str:
    raise NotImplementedError


def fetch(
    url: str, *, settings: FetchSettings, etag: str = "", last_modified: str = "", max_bytes: int | None = None
) -> Fetched:
    raise NotImplementedError
