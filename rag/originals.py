"""The files behind documents: uploads are kept under the home by the hash of their content; others lie where they were found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set
from pathlib import Path

from rag.errors import DocumentError
from rag.sources import content_hash, is_url, read_stable

FOLDER = "originals"
_PIECE = 1 << 20


def keep(home: Path, path: Path) -> None:
    """Move a file among the kept ones; one of the same content takes its place."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            digest.update(piece)
    place = _place(home, digest.hexdigest())
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, place)


def original(home: Path, source: str, digest: str, max_bytes: int) -> bytes | None:
    """The bytes that a document was read from; None when they are not kept, or are others by now."""
    for path in (_place(home, digest), *(() if is_url(source) or not os.path.isabs(source) else (Path(source),))):
        try:
            data = read_stable(path, max_bytes)
        except DocumentError:
            continue
        if content_hash(data) == digest:
            return data
    return None


def sweep(home: Path, used: Set[str]) -> int:
    """Remove kept files that no document was read from. Returns how many there were."""
    n = 0
    for path in (home / FOLDER).glob("??/*"):
        if path.name not in used:
            path.unlink(missing_ok=True)
            n += 1
    return n


def _place(home: Path, digest: str) -> Path:
    return home / FOLDER / (digest[:2] or "00") / (digest or "none")
