"""PPTX: the texts, tables, charts and notes of slides, each slide a page, read from the XML itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders.archive import Archive, attribute, local, relations
from rag.loaders.builder import TextBuilder, pipe_table
from rag.types import ParsedDocument

MAX_GROUPS = 50  # groups in groups
_TITLES = ("title", "ctrTitle")
_FURNITURE = ("dt", "ftr", "hdr")  # what stands on every slide: each text of it is read once
_ROW = 300_000  # EMU (0.8 cm): shapes that start within it stand in one row


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a presentation. Slides come in their order, their shapes from top to bottom and left to right, notes last.

    Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_XML_UNSAFE, E_TOO_DEEP.
    """
    archive = Archive(data, name)
    members = _slides(archive)
    if not members:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: the archive holds no slides. Save it again from its program."
        )
    builder, warnings, furniture = TextBuilder(), list[str](), set[str]()
    for number, member in enumerate(members, start=1):
        root = archive.xml(member)
        if root is None:
            warnings.append(f"Slide {number} is not in the file.")
            continue
        if attribute(root, "show") == "0":
            warnings.append(f"Slide {number} is hidden in its program; it was read.")
        _slide(builder, archive, root, member, number, furniture)
    metadata = _properties(archive)
    title = metadata.pop("title", "") or next(iter(builder.headings()), "")
    return builder.document(type="pptx", title=title, metadata=metadata, warnings=warnings, n_pages=len(members))


def _slides(archive: Archive) -> list[str]:
    """The slides in the order of the presentation; in that of their numbers where it does not say."""
    targets = relations(archive, "ppt/presentation.xml")
    root = archive.xml("ppt/presentation.xml")
    listed = (
        [targets.get(_relation_id(one), "") for one in root.iter() if local(one) == "sldId"] if root is not None else []
    )
    found = [member for member in listed if member]
    slides = [one for one in archive.names() if one.startswith("ppt/slides/slide") and one.endswith(".xml")]
    return found or sorted(slides, key=lambda one: (len(one), one))


def _relation_id(element: Element) -> str:
    """`r:id`, not the slide's own `id`."""
    return next((value for key, value in element.attrib.items() if key.endswith("}id")), "")


def _slide(
    builder: TextBuilder, archive: Archive, root: Element, member: str, number: int, furniture: set[str]
) -> None:
    tree = next((one for one in root.iter() if local(one) == "spTree"), None)
    shapes = _in_reading_order(_shapes(tree, 0, (0, 0))) if tree is not None else []
    title = next((one for one in shapes if _placeholder(one) in _TITLES and _lines(one)), None)
    words = " ".join(line for _, line in _lines(title)) if title is not None else f"Slide {number}"
    builder.add("heading", words, level=2, page=number)
    targets = relations(archive, member)
    for shape in shapes:
        kind, text = _placeholder(shape), " ".join(line for _, line in _lines(shape))
        if shape is title or kind == "sldNum" or (kind in _FURNITURE and text in furniture):
            continue
        furniture |= {text} if kind in _FURNITURE else set()
        _shape(builder, archive, shape, targets, number)
    for target in targets.values():
        if "/notesSlide" in target and (notes := archive.xml(target)) is not None:
            _notes(builder, notes, number)


def _in_reading_order(shapes: Iterable[tuple[tuple[int, int], Element]]) -> list[Element]:
    """From top to bottom; shapes that start at nearly the same height from left to right."""
    rows: list[list[tuple[tuple[int, int], Element]]] = []
    for one in sorted(shapes, key=lambda each: each[0][1]):
        if rows and one[0][1] - rows[-1][0][0][1] < _ROW:
            rows[-1].append(one)
        else:
            rows.append([one])
    return [shape for row in rows for _, shape in sorted(row, key=lambda each: each[0][0])]


def _shapes(parent: Element, depth: int, origin: tuple[int, int]) -> Iterator[tuple[tuple[int, int], Element]]:
    """Shapes with their places (x, y), those in groups among them. A shape without a place has that of its group."""
    if depth > MAX_GROUPS:
        return
    for one in parent:
        if local(one) not in ("sp", "grpSp", "graphicFrame", "cxnSp", "pic", "AlternateContent", "Choice"):
            continue
        place = _place(one) or origin
        if local(one) in ("grpSp", "AlternateContent", "Choice"):
            yield from _shapes(one, depth + 1, place)
        else:
            yield place, one


def _place(shape: Element) -> tuple[int, int] | None:
    for one in shape.iter():
        if local(one) == "off":
            x, y = attribute(one, "x"), attribute(one, "y")
            if x.lstrip("-").isdigit() and y.lstrip("-").isdigit():
                return int(x), int(y)
    return None


def _placeholder(shape: Element) -> str:
    for one in shape.iter():
        if local(one) == "ph":
            return attribute(one, "type") or "body"
    return ""


def _shape(builder: TextBuilder, archive: Archive, shape: Element, targets: dict[str, str], page: int) -> None:
    if local(shape) == "graphicFrame":
        for one in shape.iter():
            if local(one) == "tbl":
                builder.add("table", pipe_table(_rows(one)), page=page)
            elif local(one) == "chart" and (chart := archive.xml(targets.get(_relation_id(one), ""))) is not None:
                _chart(builder, chart, page)
        return
    lines = _lines(shape)
    if len(lines) > 1 and _placeholder(shape) in ("body", "obj", ""):
        builder.add("list", "\n".join(f"{'  ' * level}- {line}" for level, line in lines), page=page)
    elif lines:
        builder.add("paragraph", "\n".join(line for _, line in lines), page=page)


def _lines(shape: Element) -> list[tuple[int, str]]:
    """The paragraphs of a shape with their levels."""
    found: list[tuple[int, str]] = []
    for paragraph in shape.iter():
        if local(paragraph) != "p":
            continue
        text = "".join(
            "\n" if local(one) == "br" else one.text or "" for one in paragraph.iter() if local(one) in ("t", "br")
        )
        level = next((attribute(one, "lvl") for one in paragraph if local(one) == "pPr"), "")
        if text.strip():
            found.append((min(int(level), 8) if level.isdigit() else 0, " ".join(text.split())))
    return found


def _rows(table: Element) -> Iterator[list[str]]:
    for row in table:
        if local(row) == "tr":
            yield [" ".join(line for _, line in _lines(cell)) for cell in row if local(cell) == "tc"]


def _chart(builder: TextBuilder, chart: Element, page: int) -> None:
    """A chart's title, and its series as a table."""
    title = next((one for one in chart.iter() if local(one) == "title"), None)
    if title is not None:
        builder.add("paragraph", " ".join(one.text or "" for one in title.iter() if local(one) == "t"), page=page)
    columns: list[list[str]] = []
    for series in (one for one in chart.iter() if local(one) == "ser"):
        name, categories, values = (_points(series, tag) for tag in ("tx", "cat", "val"))
        if not columns and categories:
            columns.append(["", *categories])
        columns.append([" ".join(name), *values])
    if columns:
        height = max(map(len, columns))
        builder.add(
            "table",
            pipe_table([[column[at] if at < len(column) else "" for column in columns] for at in range(height)]),
            page=page,
        )


def _points(series: Element, tag: str) -> list[str]:
    part = next((one for one in series if local(one) == tag), None)
    return [one.text or "" for one in part.iter() if local(one) == "v"] if part is not None else []


def _notes(builder: TextBuilder, notes: Element, page: int) -> None:
    for shape in (one for one in notes.iter() if local(one) == "sp"):
        if _placeholder(shape) == "body" and (lines := _lines(shape)):
            builder.add("paragraph", "Notes: " + "\n".join(line for _, line in lines), page=page)


def _properties(archive: Archive) -> dict[str, str]:
    core = archive.xml("docProps/core.xml")
    found = {local(one): " ".join((one.text or "").split()) for one in core} if core is not None else {}
    kept = {"title": found.get("title", ""), "author": found.get("creator", ""), "subject": found.get("subject", "")}
    return {key: value for key, value in kept.items() if value and value != "PowerPoint Presentation"}
