"""Files in a workspace: list, read, write. Nothing outside its folder can be reached, whatever a name says.

Every part of a path is opened by itself, relative to its folder and without following links, so that no link that
appears in between leads out. Dot files and files with a second hard link are not touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agents.tooling import Tool, ToolResult, tool
from rag.errors import UsageError

MAX_READ = 200_000  # bytes shown at once
MAX_WRITE = 2_000_000
MAX_FILES = 200  # listed
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def file_tools(folder: str | os.PathLike[str], *, write: bool = True) -> list[Tool]:
    """list_files, read_file and, with `write`, write_file in a folder, which is made when it is not there.

    Raises: UsageError when the folder cannot be used, or on a system that cannot open files relative to a folder.
    """
    root = Path(folder).expanduser().absolute()
    if os.open not in os.supports_dir_fd:
        raise UsageError("The tool files needs a system that opens files relative to a folder; this one does not.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The workspace {root} cannot be made ({error.strerror}). Choose another folder.") from error

    @tool(effect="read")
    def list_files(folder: str = "") -> ToolResult:
        """List the files of the workspace.

        folder: a folder inside it; empty for all
        """
        try:
            names = sorted(_walk(root, _parts(folder) if folder.strip() else []))
        except (OSError, ValueError) as error:
            return _refused(folder, error)
        more = f"\n… and {len(names) - MAX_FILES} more" if len(names) > MAX_FILES else ""
        return ToolResult(text="\n".join(names[:MAX_FILES]) + more if names else "There are no files.")

    @tool(effect="read")
    def read_file(name: str, start: int = 0) -> ToolResult:
        """Read a text file of the workspace.

        name: its path inside the workspace
        start: the byte to begin at
        """
        try:
            data, size = _read(root, _parts(name), max(start, 0))
        except (OSError, ValueError) as error:
            return _refused(name, error)
        more = f"\n… it has {size:,} bytes; read on with start={start + len(data)}" if start + len(data) < size else ""
        return ToolResult(text=data.decode("utf-8", "replace") + more)

    @tool(effect="write", untrusted=False)
    def write_file(name: str, content: str, append: bool = False) -> ToolResult:
        """Write a text file into the workspace.

        name: its path inside the workspace
        content: the whole text
        append: add it to the end of the file
        """
        data = content.encode("utf-8", "replace")
        if len(data) > MAX_WRITE:
            return ToolResult(text=f"The content is over {MAX_WRITE:,} bytes. Write less.", ok=False, code="arguments")
        try:
            _write(root, _parts(name), data, append=append)
        except (OSError, ValueError) as error:
            return _refused(name, error)
        return ToolResult(text=f"{len(data):,} bytes written to {'/'.join(_parts(name))}.")

    return [list_files, read_file, write_file] if write else [list_files, read_file]


def _parts(name: str) -> list[str]:
    """The parts of a path inside the workspace. Raises ValueError for every name that could mean something else."""
    if not name.strip() or len(name.encode("utf-8", "surrogatepass")) > 1000 or any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in name):  # fmt: skip
        raise ValueError("it is empty, too long or holds control characters")
    if name.startswith(("/", "~", "\\")) or "\\" in name or ":" in name:
        raise ValueError("it must be a path inside the workspace with / between its parts")
    parts = [part for part in name.strip().split("/") if part]
    if not parts or any(part.startswith(".") or len(part.encode()) > 255 for part in parts):
        raise ValueError("parts of it must not begin with a dot")
    return parts


@contextmanager
def _folder(root: Path, parts: list[str], *, make: bool = False) -> Iterator[int]:
    """A handle of a folder inside the workspace, opened part by part."""
    handle = os.open(root, os.O_RDONLY | _DIRECTORY)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=handle)
            below = os.open(part, os.O_RDONLY | _DIRECTORY | _NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _regular(handle: int) -> os.stat_result:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no regular file")
    if found.st_nlink > 1:
        raise ValueError("it is linked to a second name")
    return found


def _read(root: Path, parts: list[str], start: int) -> tuple[bytes, int]:
    with _folder(root, parts[:-1]) as folder:
        handle = os.open(parts[-1], os.O_RDONLY | _NOFOLLOW | _NONBLOCK, dir_fd=folder)
    try:
        size = _regular(handle).st_size
        os.lseek(handle, start, os.SEEK_SET)
        return os.read(handle, MAX_READ), size
    finally:
        os.close(handle)


def _write(root: Path, parts: list[str], data: bytes, *, append: bool) -> None:
    with _folder(root, parts[:-1], make=True) as folder:
        flags = os.O_WRONLY | os.O_CREAT | _NOFOLLOW | _NONBLOCK | (os.O_APPEND if append else 0)
        handle = os.open(parts[-1], flags, 0o600, dir_fd=folder)
    try:
        found = _regular(handle)
        if append and found.st_size + len(data) > 10 * MAX_WRITE:
            raise ValueError("it would become too large")
        if not append:
            os.ftruncate(handle, 0)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _walk(root: Path, parts: list[str], depth: int = 0) -> Iterator[str]:
    if depth > 8:
        return
    with _folder(root, parts) as handle:
        names = sorted(os.listdir(handle))[:2000]
        kinds = {
            name: os.stat(name, dir_fd=handle, follow_symlinks=False) for name in names if not name.startswith(".")
        }
    for name, kind in kinds.items():
        if stat.S_ISREG(kind.st_mode):
            yield "/".join([*parts, name])
        elif stat.S_ISDIR(kind.st_mode):
            yield from _walk(root, [*parts, name], depth + 1)


def _refused(name: str, error: OSError | ValueError) -> ToolResult:
    reason = (error.strerror or "it cannot be opened") if isinstance(error, OSError) else str(error)
    return ToolResult(text=f"{name[:100]!r}: {reason}. list_files shows what is there.", ok=False, code="refused", tainted=False)  # fmt: skip
