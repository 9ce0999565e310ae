"""Archives in memory: opened only after a look at the directory, unpacked with a count of real bytes, never to disk.

Office files are zip archives of XML, read by member. What else is packed has its loader in packed.py.
"""

from __future__ import annotations

import html
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from posixpath import join, normpath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from rag.errors import DocumentError

MAX_TOTAL = 200 * 1024 * 1024
MAX_RATIO = 100
MAX_MEMBERS = 5_000
MAX_DEPTH = 4_000
SMALL = 1024 * 1024  # below this an archive may be as dense as it likes
UNPACK_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, NotImplementedError, ValueError, struct.error,
)  # fmt: skip
_NOT_IN_LABELS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Archive:
    """A zip archive in memory whose members are read one at a time, within limits that hold for all of them together."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_ENCRYPTED."""
        self.name = name
        self._left = MAX_TOTAL
        self._zip = open_zip(data, name)
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
        except UNPACK_ERRORS as error:
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
        check_sizes([info.file_size for info in infos], size, self.name)
        if any(info.flag_bits & 1 for info in infos):
            raise DocumentError(
                "E_ENCRYPTED",
                f"{self.name} is encrypted and needs a password. Save it without one and import it again.",
            )

    def _too_large(self, what: str) -> DocumentError:
        return too_large(what, self.name)


def open_zip(data: bytes, name: str) -> zipfile.ZipFile:
    """A zip archive whose directory can be read and whose members do not lie over each other. Raises: DocumentError E_CORRUPT."""
    try:
        opened = zipfile.ZipFile(BytesIO(data))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: its archive cannot be opened. Save it again from its program."
        ) from error
    end = 0
    for info in sorted(opened.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise DocumentError("E_CORRUPT", f"{name} is damaged: its members lie over each other. Pack it again.")
        end = info.header_offset + 30 + info.compress_size
    return opened


def check_sizes(sizes: Sequence[int], packed: int, name: str) -> None:
    """Refuse what says that it unpacks to too many or too large members. Raises: DocumentError E_TOO_LARGE."""
    if len(sizes) > MAX_MEMBERS:
        raise DocumentError("E_TOO_LARGE", f"{name} holds {len(sizes)} parts; at most {MAX_MEMBERS} are read.")
    total = sum(sizes)
    if total > MAX_TOTAL or (total > SMALL and total > MAX_RATIO * packed):
        raise too_large(f"{total >> 20} MB from {packed >> 10} KB", name)


def too_large(what: str, name: str) -> DocumentError:
    return DocumentError(
        "E_TOO_LARGE",
        f"{name} unpacks to {what}; the limit is {MAX_TOTAL >> 20} MB and {MAX_RATIO} times its size.",
    )


def label(name: str) -> str:
    """A member's path as a label: relative, with / between its parts, without what leads out of a folder."""
    name = _NOT_IN_LABELS.sub("", name).replace("\\", "/")
    parts = [part.strip() for part in re.sub(r"^[A-Za-z]:", "", name).split("/")]
    return "/".join(part[:200] for part in parts if part not in ("", ".", ".."))[-1000:]


def unique_names(names: Iterable[str]) -> list[str]:
    """The names in their order, each one that came before with a number: a.txt, a (2).txt."""
    seen: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        wanted = name
        while wanted in seen:
            seen[name] += 1
            stem, dot, suffix = name.rpartition(".")
            whole = not dot or "/" in suffix or not stem
            wanted = f"{name} ({seen[name]})" if whole else f"{stem} ({seen[name]}).{suffix}"
        seen[wanted] = 1
        unique.append(wanted)
    return unique


def parse_xml(data: bytes, name: str, *, allow_doctype: bool = False) -> Element:
    """An XML tree with `{namespace}tag` names. A document type is refused: entities and external files come with it.

    allow_doctype: refuse only one that declares entities. External files are never read in either case; the entities
        that HTML names (&nbsp;) are known.

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

    def entity(*_: object) -> None:
        raise DocumentError(
            "E_XML_UNSAFE", f"{name} declares XML entities, which are not expanded. Save it without them."
        )

    def skipped(entity_name: str, is_parameter: bool) -> None:
        if not is_parameter:
            builder.data(html.unescape(f"&{entity_name};"))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    if allow_doctype:
        parser.EntityDeclHandler = entity
        parser.SkippedEntityHandler = skipped
    else:
        parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise DocumentError("E_CORRUPT", f"{name} is damaged: {error}. Save it again from its program.") from error


def scan_xml(
    data: bytes,
    name: str,
    *,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> None:
    """Walk through XML without making a tree of it: tables of a million cells. Tags and attributes come without namespaces.

    Raises: DocumentError E_XML_UNSAFE, E_CORRUPT.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def doctype(*_: object) -> None:
        raise DocumentError(
            "E_XML_UNSAFE", f"{name} declares a document type, which is not read. Save it again from its program."
        )

    def opened(tag: str, attributes: dict[str, str]) -> None:
        start(tag.rpartition("}")[2], {key.rpartition("}")[2]: value for key, value in attributes.items()})

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = opened
    parser.EndElementHandler = lambda tag: end(tag.rpartition("}")[2])
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        raise DocumentError("E_CORRUPT", f"{name} is damaged: {error}. Save it again from its program.") from error


def local(element: Element) -> str:
    """An element's tag without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Element, name: str) -> str:
    """An attribute by its name without a namespace; "" when it is not there."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def relations(archive: Archive, member: str) -> dict[str, str]:
    """Relationship id → member, of an Office file's part."""
    folder, _, file = member.rpartition("/")
    root = archive.xml(f"{folder}/_rels/{file}.rels")
    found: dict[str, str] = {}
    for one in root.iter() if root is not None else ():
        target = attribute(one, "Target")
        if local(one) == "Relationship" and attribute(one, "TargetMode") != "External" and target:
            found[attribute(one, "Id")] = (
                target.lstrip("/") if target.startswith("/") else normpath(join(folder, target))
            )
    return found


def _qualified(tag: str) -> str:
    return "{" + tag if "}" in tag else tag
