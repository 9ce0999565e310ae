"""EPUB: a book's chapters in the order of its spine, each read as the web page that it is."""

from __future__ import annotations

from dataclasses import replace
from posixpath import join, normpath
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders import html
from rag.loaders.archive import Archive, attribute, local
from rag.loaders.builder import TextBuilder
from rag.types import ParsedDocument

_FONTS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")  # fonts that are only obfuscated
_PAGES = (".xhtml", ".html", ".htm")


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a book. Its table of contents is left out. Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_ENCRYPTED."""
    archive = Archive(data, name)
    _check_rights(archive, name)
    member, package = _package(archive)
    warnings: list[str] = []
    chapters = _spine(package, member.rpartition("/")[0]) if package is not None else []
    chapters = [one for one in chapters if one in set(archive.names())]
    if not chapters:
        chapters = sorted(one for one in archive.names() if one.lower().endswith(_PAGES))
        warnings.append("The book does not say in which order its chapters stand; they come in that of their names.")
    if not chapters:
        raise DocumentError("E_CORRUPT", f"{name} is damaged: it holds no chapters. Get the book again.")
    builder = TextBuilder()
    for chapter in chapters:
        page = archive.read(chapter) or b""
        try:
            parsed = html.load_whole(page, name=chapter)
        except DocumentError as error:
            warnings.append(f"The chapter {chapter} could not be read ({error.code}).")
            continue
        builder.include(replace(parsed, metadata={}))
    metadata = _metadata(package) if package is not None else {}
    title = metadata.pop("title", "")
    return builder.document(type="epub", title=title, metadata=metadata, warnings=warnings)


def _check_rights(archive: Archive, name: str) -> None:
    """Raises: DocumentError E_ENCRYPTED for a book whose chapters only its shop's program can open."""
    encryption = archive.read("META-INF/encryption.xml")
    if encryption is None:
        return
    methods = encryption.count(b"EncryptionMethod")
    fonts = sum(encryption.count(one) for one in _FONTS)
    if methods > fonts:
        raise DocumentError(
            "E_ENCRYPTED", f"{name} is copy-protected and cannot be read. Get the book without protection."
        )


def _package(archive: Archive) -> tuple[str, Element | None]:
    """The file that describes the book."""
    try:
        container = archive.xml("META-INF/container.xml")
        listed = (
            [attribute(one, "full-path") for one in container.iter() if local(one) == "rootfile"]
            if container is not None
            else []
        )
        for member in [*listed, *(one for one in archive.names() if one.lower().endswith(".opf"))]:
            if (package := archive.xml(member)) is not None:
                return member, package
    except DocumentError as error:
        if error.code not in ("E_CORRUPT", "E_TOO_DEEP"):
            raise
    return "", None


def _spine(package: Element, folder: str) -> list[str]:
    items: dict[str, str] = {}
    contents: set[str] = set()
    for one in package.iter():
        if local(one) == "item":
            items[attribute(one, "id")] = normpath(join(folder, unquote(attribute(one, "href").partition("#")[0])))
            if "nav" in attribute(one, "properties").split():
                contents.add(attribute(one, "id"))
    references = [attribute(one, "idref") for one in package.iter() if local(one) == "itemref"]
    return [items[one] for one in references if one in items and one not in contents]


def _metadata(package: Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in package.iter():
        if (text := " ".join((one.text or "").split())) and local(one) in (
            "title",
            "creator",
            "language",
            "publisher",
            "date",
        ):
            found.setdefault(local(one), text)
    names = {
        "title": "title",
        "creator": "author",
        "language": "language",
        "publisher": "publisher",
        "date": "published",
    }
    return {names[key]: value for key, value in found.items()}
