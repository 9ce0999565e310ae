"""Microsoft's old container format (OLE2): streams by path, for the loaders whose formats live in one."""

from __future__ import annotations

import struct
from io import BytesIO

from rag.errors import DocumentError

MAX_STREAMS = 50_000


class Streams:
    """The streams of a container, read on demand."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises: DocumentError E_CORRUPT, E_TOO_LARGE."""
        import olefile

        self.name = name
        self._errors = (
            olefile.olefile.OleFileError, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error,
            RecursionError, OverflowError,
        )  # fmt: skip
        try:
            self._ole = olefile.OleFileIO(BytesIO(data))
            self._paths = [tuple(path) for path in self._ole.listdir()]
        except self._errors as error:
            raise self._corrupt("it cannot be opened") from error
        if len(self._paths) > MAX_STREAMS:
            raise DocumentError(
                "E_TOO_LARGE", f"{name} holds {len(self._paths)} streams; at most {MAX_STREAMS} are read."
            )

    def paths(self) -> list[tuple[str, ...]]:
        return self._paths

    def read(self, path: tuple[str, ...]) -> bytes:
        """The bytes of a stream. Raises: DocumentError E_CORRUPT."""
        try:
            return bytes(self._ole.openstream(list(path)).read())
        except self._errors as error:
            raise self._corrupt(f"its stream {'/'.join(path)!r} cannot be read") from error

    def _corrupt(self, what: str) -> DocumentError:
        return DocumentError("E_CORRUPT", f"{self.name} is damaged: {what}. Save it again from its program.")
