"""Backups: a whole home as one file, taken while it is used, and put back elsewhere.

The file is a ZIP of the home's files under their own names, `catalog.dump` where the catalog lies in PostgreSQL, and last
`manifest.json` with size and sha256 of each. SQLite files are copied by SQLite, so each is of one moment. What can be made
again stays out: the index (it is written anew from the catalog's vectors), caches, locks and logs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.database import dump, load
from rag.errors import UsageError
from rag.sealed import PIECE, Hashed, pieces, written

FORMAT = 1
MANIFEST, DUMP = "manifest.json", "catalog.dump"
MAX_MANIFEST = 100_000_000
_SQLITE = b"SQLite format 3\0"
_LEFT_OUT = re.compile(r"milvus\..*|replies\.sqlite3|.*\.(lock|pid|log|tmp)|.*-(wal|shm|journal)")
_NAME = re.compile(r"(?!/)(?!.*\\)(?!.*(^|/)\.\.?(/|$))[^\0:]+")

Progress = Callable[[int, int, str], None]  # files done, of how many, and the next one's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was written or put back. n_bytes: of the file."""

    path: str
    n_files: int
    n_bytes: int
    seconds: float


def back_up(home: Path, path: Path, *, catalog_url: str = "", progress: Progress | None = None) -> Backup:
    """Write the home into a file, which is there whole or not at all. Others may use the home meanwhile.

    catalog_url: of a PostgreSQL catalog; it is written by `pg_dump`.
    Raises: UsageError where there is no home, the file cannot be written, or the database cannot be dumped.
    """
    start = time.perf_counter()
    if not catalog_url and not (home / "catalog.sqlite3").is_file():
        raise UsageError(f"There is nothing in {home}. Name the folder that holds catalog.sqlite3 with --home.")
    files: dict[str, dict[str, Any]] = {}
    with (
        written(path, "backup") as archive,
        tempfile.TemporaryDirectory(prefix=".ragstone-", dir=path.parent) as copies,
    ):
        os.chmod(str(archive.filename), 0o600)  # it holds every document, and hashes of keys
        if catalog_url:
            dump(catalog_url, Path(copies) / DUMP)
            files[DUMP] = _write(archive, DUMP, Path(copies) / DUMP)
        names = list(_names(home))
        for at, name in enumerate(names):
            if progress is not None:
                progress(at, len(names), name)
            with suppress(FileNotFoundError):  # a job's upload that is done by now
                files[name] = _write(archive, name, _still(home / name, Path(copies)))
        archive.writestr(MANIFEST, json.dumps({"format": FORMAT, "files": files}, indent=1))
    return _done(path, files, start)


def restore(path: Path, home: Path, *, catalog_url: str = "", progress: Progress | None = None) -> Backup:
    """Put a backup's files into a home that has none yet, after all of them were checked. The index is not among them.

    catalog_url: of an empty PostgreSQL database, where the backup is of one. Afterwards `KnowledgeBase.verify_all(repair=True)`
    writes the index. Raises: UsageError for a home that is in use, and for a file that is damaged or no backup.
    """
    start = time.perf_counter()
    if home.exists() and any(home.iterdir()):
        raise UsageError(f"{home} is not empty. Restore into a new --home, and move the old one away first.")
    try:
        with zipfile.ZipFile(path) as archive:
            files = _checked(archive)
            _check_catalog(files, path, catalog_url)
            home.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=".restore-", dir=home))
            try:
                _unpack(archive, files, staged, progress)
                if DUMP in files:
                    load(catalog_url, staged / DUMP)
                    (staged / DUMP).unlink()
                for one in staged.iterdir():
                    os.replace(one, home / one.name)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    except (
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        NotImplementedError,
        EOFError,
    ) as error:
        raise UsageError(f"{path} is no backup of ragstone, or it is damaged ({error}).") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be put back into {home} ({error.strerror or error}).") from error
    return _done(path, files, start)


def _done(path: Path, files: Mapping[str, Any], start: float) -> Backup:
    return Backup(
        path=str(path), n_files=len(files), n_bytes=path.stat().st_size, seconds=round(time.perf_counter() - start, 3)
    )


# ---------------------------------------------------------------- out


def _names(home: Path) -> Iterator[str]:
    """What of the home belongs into a backup."""
    for folder, folders, names in os.walk(home):
        folders[:] = sorted(one for one in folders if not (Path(folder) / one).is_symlink())
        for name in sorted(names):
            source = Path(folder, name)
            if not _LEFT_OUT.fullmatch(name) and not source.is_symlink() and source.is_file():
                yield source.relative_to(home).as_posix()


def _still(source: Path, copies: Path) -> Path:
    """The file, or a copy of it that nobody writes into."""
    with open(source, "rb") as opened:
        if opened.read(len(_SQLITE)) != _SQLITE:
            return source
    copy = copies / "copy.sqlite3"
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(source, timeout=60)) as read, closing(sqlite3.connect(copy)) as written:
        read.backup(written)
    return copy


def _write(archive: zipfile.ZipFile, name: str, source: Path) -> dict[str, Any]:
    with open(source, "rb") as read, archive.open(name, "w", force_zip64=True) as member:
        hashed = Hashed(member)
        while piece := read.read(PIECE):
            hashed.write(piece)
    return hashed.summary()


# ---------------------------------------------------------------- in


def _checked(archive: zipfile.ZipFile) -> dict[str, dict[str, Any]]:
    """The manifest's files. Raises ValueError for anything else than it says, or a name that leads out of the home."""
    if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST:
        raise ValueError("its manifest is too long")
    manifest = json.loads(archive.read(MANIFEST))
    if manifest["format"] != FORMAT:
        raise ValueError(f"it has format {manifest['format']!r}, and this version reads {FORMAT}; install a newer one")
    files: dict[str, dict[str, Any]] = manifest["files"]
    if sorted(archive.namelist()) != sorted([*files, MANIFEST]):
        raise ValueError("its files are not those of its manifest")
    for name in files:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is no name of a file in a home")
    return files


def _check_catalog(files: Mapping[str, Any], path: Path, catalog_url: str) -> None:
    if (DUMP in files) != bool(catalog_url):
        where = (
            "lies in PostgreSQL: set catalog.url to an empty database"
            if DUMP in files
            else "is a SQLite file: leave catalog.url empty"
        )
        raise UsageError(f"The catalog of {path} {where}.")


def _unpack(
    archive: zipfile.ZipFile, files: Mapping[str, Mapping[str, Any]], into: Path, progress: Progress | None
) -> None:
    for at, (name, wanted) in enumerate(files.items()):
        if progress is not None:
            progress(at, len(files), name)
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb", opener=_private) as copy:
            for piece in pieces(archive, name, wanted):
                copy.write(piece)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
