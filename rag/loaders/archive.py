"""Office files are zip archives of XML: opened only after a look at the directory, unpacked with a count of real bytes."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from rag.errors import DocumentError

MAX_TOTAL = 200 * 1024 * 1024
MAX_RATIO = 100
MAX_MEMBERS = 5_000
MAX_DEPTH = 4_000
_SMALL = 1024 * 1024  # below this an archive may be as dense as it likes


class Archive:
    """A zip archive in memory whose members are read one at a time, within limits that hold for all of them together."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_ENCRYPTED."""
        self.name = name
        self._left = MAX_TOTAL
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, NotImplementedError) as error:
            raise DocumentError(
                "E_CORRUPT", f"{name} is damaged: its archive cannot be opened. Save it again from its program."
            ) from error
        self._check(len(data))
        self._infos = {info.filename: info for info in self._zip.infolist()}

    def names(self) -> list[str]:
        return list(self._infos)

    def read(self, member: str) -> bytes | None:
        """The bytes of a member; None if there is none of that name. Raises: DocumentError E_CORRUPT, E_TOO_LARGE."""
        info = self._infos.get(member)
        if info is None:
            return None
        try:
            with self._zip.open(info) as stream:
                content = stream.read(self._left + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
            ValueError,
        ) as error:
            raise DocumentError(
                "E_CORRUPT", f"{self.name} is damaged: its part {member!r} cannot be unpacked. Save it again."
            ) from error
        self._left -= len(content)
        if self._left < 0:
            raise self._too_large("more than it says")
        return content

    def xml(self, member: str) -> Element | None:
        """A member as an XML tree; None if there is none of that name. Raises: as `read`, and E_XML_UNSAFE, E_TOO_DEEP."""
        content = self.read(member)
        return None if content is None else parse_xml(content, f"{self.name} ({member})")

    def _check(self, size: int) -> None:
        infos = self._zip.infolist()
        total = sum(info.file_size for info in infos)
        if len(infos) > MAX_MEMBERS:
            raise DocumentError("E_TOO_LARGE", f"{self.name} holds {len(infos)} parts; at most {MAX_MEMBERS} are read.")
        if total > MAX_TOTAL or (total > _SMALL and total > MAX_RATIO * size):
            raise self._too_large(f"{total >> 20} MB from {size >> 10} KB")
        if any(info.flag_bits & 1 for info in infos):
            raise DocumentError(
                "E_ENCRYPTED",
                f"{self.name} is encrypted and needs a password. Save it without one and import it again.",
            )

    def _too_large(self, what: str) -> DocumentError:
        return DocumentError(
            "E_TOO_LARGE",
            f"{self.name} unpacks to {what}; the limit is {MAX_TOTAL >> 20} MB and {MAX_RATIO} times its size.",
        )


def parse_xml(data: bytes, name: str) -> Element:
    """An XML tree with `{namespace}tag` names. A document type is refused: entities and external files come with it.

    Raises: DocumentError E_XML_UNSAFE, E_TOO_DEEP, E_CORRUPT.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise DocumentError(
                "E_TOO_DEEP", f"{name} nests more than {MAX_DEPTH} elements. Save it again from its program."
            )
        builder.start(_qualified(tag), {_qualified(key): value for key, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_qualified(tag))

    def doctype(*_: object) -> None:
        raise DocumentError(
            "E_XML_UNSAFE",
            f"{name} declares a document type with entities, which is not read. Save it again from its program.",
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise DocumentError("E_CORRUPT", f"{name} is damaged: {error}. Save it again from its program.") from error


def _qualified(tag: str) -> str:
    return "{" + tag if "}" in tag else tag
