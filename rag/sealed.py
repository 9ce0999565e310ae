"""ZIP files whose manifest names every member with size and sha256: written whole or not at all, read only as it says."""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rag.errors import UsageError

PIECE = 1 << 20


@contextmanager
def written(path: Path, what: str) -> Iterator[zipfile.ZipFile]:
    """An archive that takes the path's place when the block ends well. Raises: UsageError when it cannot be written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
            yield archive
        with open(temporary, "rb") as whole:
            os.fsync(whole.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"The {what} {path} cannot be written ({error.strerror or error}). Choose another place."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


class Hashed:
    """Writes through to a member and notes how much and what."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into, self._hash, self.size = into, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._into.write(data)
        self._hash.update(data)
        self.size += len(data)

    def summary(self) -> dict[str, Any]:
        return {"size": self.size, "sha256": self._hash.hexdigest()}


def pieces(archive: zipfile.ZipFile, name: str, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    """A member's bytes, never more than its summary says. Raises: ValueError at the end when they are others."""
    found, size = hashlib.sha256(), 0
    with archive.open(name) as stream:
        while piece := stream.read(PIECE):
            size += len(piece)
            if size > wanted["size"]:
                break
            found.update(piece)
            yield piece
    if (size, found.hexdigest()) != (wanted["size"], wanted["sha256"]):
        raise ValueError(f"{name} is not what the manifest says")
