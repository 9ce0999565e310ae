"""XML of any kind, feeds (RSS, Atom) and the texts of SVG pictures.

Read with expat, which neither follows external references nor, here, expands entities of the file's own. feedparser
was considered for feeds: it is as tolerant, but keeps HTML as strings, which has to go through our HTML loader anyway.
"""

from __future__ import annotations

import html as html_entities
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders import html, plain
from rag.loaders.archive import parse_xml
from rag.loaders.builder import TextBuilder, pipe_table
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

MAX_DEPTH = 200  # below it, an element's text is read as one run
MAX_TABLE_CELL = 300  # characters; records with longer values are not a table
LONG = 160  # characters; a longer value is a paragraph of its own

_DECLARATION = re.compile(r"\s*<\?xml\s[^>]{0,500}\?>")
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]{2,40})""")
_TAG = re.compile(r"<!\[CDATA\[|\]\]>|<[^<>]*>|<!--|-->")
_TITLES = ("title", "head", "heading", "name", "label")
_QUIET_ATTRIBUTES = frozenset(("style", "class", "space", "lang", "schemaLocation", "noNamespaceSchemaLocation"))


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read XML: a feed as a list of its entries, SVG as its texts, all else as text, `name: value` lines and tables.

    What is not well-formed is read without its tags and with a warning.
    Raises: DocumentError E_XML_UNSAFE (declared entities), E_TOO_DEEP, E_BINARY, E_ENCODING.
    """
    declared = _DECLARED.search(data[:1024].replace(b"\0", b""))
    text, warnings = decode(data, declared=declared.group(1).decode("ascii") if declared else "", name=name)
    body = _DECLARATION.sub("", text.lstrip("\ufeff \n\t"), count=1)
    try:
        root = parse_xml(body.encode("utf-8"), name, allow_doctype=True)
    except DocumentError as error:
        if error.code != "E_CORRUPT":
            raise
        return _without_tags(body, [*warnings, f"{error} It was read without its tags."])
    kind = _local(root.tag).lower()
    if kind in ("rss", "feed", "rdf") and (feed := _feed(root, warnings)) is not None:
        return feed
    builder = TextBuilder()
    if kind == "svg":
        for element in root.iter():
            if _local(element.tag) in ("text", "title", "desc"):
                builder.add("paragraph", _run(element))
        return builder.document(type="svg", title=_child_text(root, "title"), warnings=warnings)
    if len(root):
        writer = _Writer(builder)
        writer.element(root, "", 1)
        writer.flush()
    else:
        builder.add("paragraph", _run(root))
    return builder.document(type="xml", title=_child_text(root, *_TITLES[:1]), warnings=warnings)


def _without_tags(text: str, warnings: list[str]) -> ParsedDocument:
    text = html_entities.unescape(_TAG.sub(" ", _without_comments(text))).replace("\0", "")
    text = "\n".join(line.strip() for line in text.split("\n"))
    return ParsedDocument(text=text, type="xml", blocks=tuple(plain.paragraphs(text)), warnings=tuple(warnings))


def _without_comments(text: str) -> str:
    parts: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start)) >= 0:
        parts.append(text[at:start])
        at = end + 3
    return "".join([*parts, text[at:]])


# ---------------------------------------------------------------- any XML


class _Writer:
    """Walks a tree and writes blocks. Short values are collected as `name: value` lines and written together."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._lines: list[str] = []

    def flush(self) -> None:
        if self._lines:
            self._builder.add("paragraph", "\n".join(self._lines))
            self._lines.clear()

    def element(self, element: Element, path: str, depth: int) -> None:
        """path: the names of the elements around that have no title of their own, joined by dots."""
        label = f"{path}.{_local(element.tag)}" if path else _local(element.tag)
        children = [child for child in element if isinstance(child.tag, str)]
        if not children:
            self._value(label, element)
        elif depth > MAX_DEPTH or _is_mixed(element):
            self.flush()
            self._builder.add("paragraph", _run(element))
        else:
            self._container(element, children, label, depth)

    def _value(self, label: str, element: Element) -> None:
        text = " ".join("".join(element.itertext()).split())
        attributes = _attributes(element)
        short = label.rpartition(".")[2]
        if len(text) > LONG or short in ("p", "para"):
            self.flush()
            self._builder.add("paragraph", text)
        elif text or attributes:
            self._lines.append(f"{short}{f' ({attributes})' if attributes else ''}: {text}".rstrip(": "))

    def _container(self, element: Element, children: list[Element], label: str, depth: int) -> None:
        self.flush()
        title = next((child for child in children[:5] if _local(child.tag).lower() in _TITLES and not len(child)), None)
        if title is not None and 0 < len(words := _run(title)) < LONG and len(children) > 1:
            self._builder.add("heading", words, level=min(depth, 6))
            children = [child for child in children if child is not title]
            label = ""
        if attributes := _attributes(element):
            self._lines.append(f"{_local(element.tag)} ({attributes})")
        if (rows := _records(children)) is not None:
            self.flush()
            self._builder.add("table", pipe_table(rows))
            return
        for child in children:
            self.element(child, label, depth + 1)
        self.flush()


def _records(children: list[Element]) -> list[list[str]] | None:
    """Elements of one name with nothing but short values in them, as rows under their names; None for anything else."""
    if len(children) < 2 or len({child.tag for child in children}) > 1:
        return None
    columns: dict[str, int] = {}
    records: list[dict[str, str]] = []
    for child in children:
        record = dict(_attribute_items(child))
        if child.text and child.text.strip() and len(child):
            return None
        for part in child:
            key = _local(part.tag)
            if len(part) or part.attrib or key in record or (part.tail and part.tail.strip()):
                return None
            record[key] = part.text or ""
        if not len(child) and child.text and child.text.strip():
            record[_local(child.tag)] = child.text
        if any(len(value) > MAX_TABLE_CELL for value in record.values()):
            return None
        for key in record:
            columns.setdefault(key, len(columns))
        records.append(record)
    if len(columns) < 2 or sum(len(record) for record in records) < 0.5 * len(columns) * len(records):
        return None
    return [list(columns), *([record.get(key, "") for key in columns] for record in records)]


def _is_mixed(element: Element) -> bool:
    """Whether text stands between the children: running text with marks in it, not a record."""
    return bool(element.text and element.text.strip()) or any(child.tail and child.tail.strip() for child in element)


def _run(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _attribute_items(element: Element) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        key = _local(key)
        if value.strip() and key not in _QUIET_ATTRIBUTES:
            yield key, " ".join(value.split())


def _attributes(element: Element) -> str:
    return ", ".join(f"{key}: {value}" for key, value in _attribute_items(element))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


# ---------------------------------------------------------------- feeds


def _feed(root: Element, warnings: list[str]) -> ParsedDocument | None:
    """RSS 0.9 to 2.0 and Atom: title and description, each entry under its own heading. None if it is no feed."""
    channel = next((child for child in root if _local(child.tag).lower() == "channel"), root)
    entries = [e for parent in ((root, channel) if channel is not root else (root,)) for e in parent if _is_entry(e)]
    if channel is root and _local(root.tag).lower() != "feed":
        return None
    builder = TextBuilder()
    title = _plain(_child_text(channel, "title"))
    builder.add("heading", title, level=1)
    _add_html(builder, _child_text(channel, "description", "subtitle"))
    for entry in entries:
        builder.add("heading", _plain(_child_text(entry, "title")) or "–", level=2)
        facts = (_child_text(entry, "pubDate", "published", "updated", "date"), _author(entry), _link(entry))
        builder.add("paragraph", " · ".join(fact for fact in facts if fact))
        summary, content = _child_html(entry, "description", "summary"), _child_html(entry, "encoded", "content")
        _add_html(builder, content if len(content) >= len(summary) else summary)
    metadata = {"link": link} if (link := _link(channel)) else {}
    return builder.document(type="feed", title=title, metadata=metadata, warnings=warnings)


def _is_entry(element: Element) -> bool:
    return _local(element.tag) in ("item", "entry")


def _add_html(builder: TextBuilder, source: str) -> None:
    if not source.strip():
        return
    page = f"<html><body>{source}</body></html>"
    builder.include(html.load(page.encode("utf-8", "replace"), name="entry"), under=2)


def _plain(title: str) -> str:
    """A title without marks: feeds escape theirs once or twice."""
    for _ in range(2):
        title = html_entities.unescape(title)
    return " ".join(_TAG.sub("", title).split())


def _child_text(element: Element, *names: str) -> str:
    for name in names:
        for child in element:
            if _local(child.tag) == name and (text := _run(child)):
                return text
    return ""


def _child_html(element: Element, *names: str) -> str:
    """The longest of an entry's children of these names, as HTML; Atom may hold it as elements."""
    found = [child for child in element if _local(child.tag) in names]
    return max((_as_html(child) for child in found), key=len, default="")


def _as_html(element: Element) -> str:
    if not len(element):
        text = element.text or ""
        return text if element.attrib.get("type", "html") != "text" else html_entities.escape(text)
    parts: list[str] = []
    stack: list[Element | str] = [element]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        tag = _local(item.tag)
        parts.append(f"<{tag}>{html_entities.escape(item.text or '')}")
        stack.append(f"</{tag}>")
        for child in reversed(item):
            stack += [html_entities.escape(child.tail or ""), child]
    return "".join(parts)


def _author(entry: Element) -> str:
    for child in entry:
        if _local(child.tag) in ("creator", "author"):
            return _child_text(child, "name") or _run(child)
    return ""


def _link(element: Element) -> str:
    for child in element:
        if _local(child.tag) == "link":
            address = (child.text or "").strip() or (
                child.attrib.get("href", "") if child.attrib.get("rel", "alternate") == "alternate" else ""
            )
            if address:
                return address
    return ""
