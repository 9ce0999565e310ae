"""Sitemaps: the pages that a site lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rag.settings import FetchSettings
from rag.types import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    url: str
    last_modified: str = ""


def is_sitemap(url: str) -> bool:
    return False


def expand(url: str, *, settings: FetchSettings) -> Iterator[Entry | Failure]:
    raise NotImplementedError
