"""Everything ragstone raises on purpose.

RagstoneError                     exit code 1
├── UsageError                    exit code 2: the caller asked for something that cannot be
│   ├── SettingsError             a settings key or value is wrong
│   ├── FilterError               a filter expression does not parse
│   └── SourceError               a path or URL given to ingest does not exist or is empty
├── LockedError                   another process is writing to this home
├── StoreError                    the vector store is unreachable or refused
│   └── FingerprintError          the index was built with another embedding model
├── CatalogError                  the catalog is damaged or from another version
├── DiskError                     the disk under the home is read-only or fails, or files cannot be opened
│   └── DiskFullError             no space is left
├── ModelError                    a model is missing or failed to load
├── DocumentError                 one document could not be read; carries a code (see CODES)
└── ChatError                     the chat model's endpoint failed; carries a code

A message says what was wanted, what came, and what to do next, in one or two sentences.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


class RagstoneError(Exception):
    """Root of the tree. `code` is stable and meant for machines."""

    code = "E_RUNTIME"
    exit_code = 1


class UsageError(RagstoneError):
    code = "E_USAGE"
    exit_code = 2


class SettingsError(UsageError):
    code = "E_SETTINGS"


class FilterError(UsageError):
    code = "E_FILTER"


class SourceError(UsageError):
    code = "E_SOURCE"


class LockedError(RagstoneError):
    code = "E_LOCKED"


class StoreError(RagstoneError):
    code = "E_STORE"


class StoreAwayError(StoreError):
    """Nobody answers where Milvus should be."""


class FingerprintError(StoreError):
    code = "E_FINGERPRINT"


class CatalogError(RagstoneError):
    code = "E_CATALOG"


class DiskError(RagstoneError):
    code = "E_DISK"


class DiskFullError(DiskError):
    code = "E_DISK_FULL"


def disk_error(error: BaseException, path: str | os.PathLike[str]) -> DiskError | None:
    """What lies behind an error when that is the disk or the open files of a home at `path`; None when it is not."""
    place = os.fspath(path)
    for cause in _causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT):
            return disk_full(place)
        if number == errno.EROFS:
            return DiskError(f"{place} lies on a disk that is mounted read-only. Choose another --home, or mount it for writing.")  # fmt: skip
        if number == errno.EIO:
            return DiskError(f"The disk under {place} fails (input/output error). Check it; what was imported before is kept.")  # fmt: skip
        if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in str(cause):  # libraries hide the number
            return DiskError("Too many files are open. Raise the limit, such as with `ulimit -n 1024`, and run the command again.")  # fmt: skip
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()  # grpc's errors are their own context
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def disk_full(place: str) -> DiskFullError:
    return DiskFullError(f"The disk under {place} is full. Free some space there and run the command again: what was imported before is kept.")  # fmt: skip


class ModelError(RagstoneError):
    code = "E_MODEL"


# Codes a document can fail with. They are stored in the catalog, so they never change their meaning.
CODES = {
    "E_EMPTY": "the file holds no bytes",
    "E_NO_TEXT": "the file was read, but holds no text",
    "E_NO_TEXT_LAYER": "the pages are pictures without a text layer",
    "E_UNSUPPORTED": "no loader reads this format",
    "E_ENCRYPTED": "a password is needed",
    "E_CORRUPT": "the file is damaged",
    "E_TYPE_MISMATCH": "the content is not what the file's name says",
    "E_TOO_LARGE": "the file, or what it unpacks to, is over the limit",
    "E_TIMEOUT": "reading took longer than the limit",
    "E_MEMORY": "reading took more memory than the limit",
    "E_CRASH": "the parser died",
    "E_GARBLED": "the text layer does not decode to real characters",
    "E_BINARY": "the bytes are not text",
    "E_ENCODING": "the text encoding cannot be told",
    "E_XML_UNSAFE": "the XML holds entity expansion or external references",
    "E_TOO_DEEP": "the structure is nested too deeply",
    "E_TOO_WIDE": "the table has too many columns",
    "E_CHANGED": "the file changed while it was read",
    "E_UNREADABLE": "the file cannot be opened",
    "E_OUTSIDE_ROOT": "a link leads out of the folder",
    "E_NOT_REGULAR": "not a regular file (a pipe, socket or device)",
    "E_PARSE": "the parser failed",
    "E_URL_FORBIDDEN": "the URL leads to a private network, or has a scheme, port or form that is not fetched",
    "E_URL_UNREACHABLE": "the server of the URL cannot be reached, or broke off",
    "E_URL_STATUS": "the server answered with an error",
    "E_URL_TYPE": "the URL leads to something that is no document",
}


class DocumentError(RagstoneError):
    """One document could not be read. `code` is a key of CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ChatError(RagstoneError):
    """The chat model failed.

    `code` is one of E_LLM_UNREACHABLE, E_LLM_AUTH, E_LLM_RATE_LIMIT, E_LLM_DEADLINE, E_LLM_PROTOCOL,
    E_LLM_INCOMPLETE, E_LLM_TOO_LARGE, E_LLM_REDIRECT, E_LLM_REFUSED, E_LLM_NO_TOOLS, E_LLM_SCHEMA. `partial` holds the
    text that had arrived.
    """

    def __init__(self, code: str, message: str, *, partial: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.partial = partial
