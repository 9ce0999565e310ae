"""DOCX: headings, lists, tables, text boxes, headers, footers and notes, read from the XML itself.

Read without python-docx: that library loses text boxes and cannot open files in the strict ISO namespace.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from rag.errors import DocumentError
from rag.loaders.archive import Archive
from rag.loaders.builder import TextBuilder, pipe_table
from rag.types import ParsedDocument

MAX_NESTED_TABLES = 20

_HEADING_NAME = re.compile(r"(?:heading|überschrift|titre|标题|標題|見出し)\s*([1-9])$")
_SKIPPED = frozenset(
    ("del", "moveFrom", "instrText", "delText", "rPr", "pPr", "Fallback", "tblPr", "tblGrid", "trPr", "sectPr")
)
_BLOCKS = frozenset(("p", "tbl"))


@dataclass(slots=True)
class _Styles:
    """What paragraph styles and numberings say about headings and lists."""

    headings: dict[str, int] = field(default_factory=dict)  # style id → level; 0 is the document's title
    lists: dict[str, tuple[str, int]] = field(default_factory=dict)  # style id → numbering id, depth
    bullets: dict[tuple[str, int], bool] = field(default_factory=dict)  # (numbering id, depth) → bullet, not number


@dataclass(slots=True)
class _State:
    """Where the walk through the body is: the list under way, and counters of numbered lists."""

    builder: TextBuilder
    styles: _Styles
    warnings: list[str]
    title: str = ""
    items: list[str] = field(default_factory=list)
    counters: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a Word document. Merged cells repeat downwards; text deleted under tracked changes is left out.

    Raises: DocumentError E_CORRUPT, E_TOO_LARGE, E_ENCRYPTED, E_XML_UNSAFE, E_TOO_DEEP.
    """
    archive = Archive(data, name)
    main = _main_part(archive)
    root = archive.xml(main)
    body = _child(root, "body") if root is not None else None
    if body is None:
        raise DocumentError(
            "E_CORRUPT", f"{name} is damaged: the archive holds no Word document. Save it again from its program."
        )
    folder = main.rpartition("/")[0]
    warnings: list[str] = []
    state = _State(builder=TextBuilder(), styles=_styles(archive, folder, warnings), warnings=warnings)
    _extras(archive, folder, "header", state)
    _walk(body, state)
    _extras(archive, folder, "footer", state)
    for kind in ("footnotes", "endnotes"):
        _notes(archive, f"{folder}/{kind}.xml", state)
    metadata = _properties(_optional(archive, "docProps/core.xml", warnings))
    title = metadata.pop("title", "") or state.title or _first_heading(state.builder)
    return state.builder.document(type="docx", title=title, metadata=metadata, warnings=warnings)


# ---------------------------------------------------------------- body


def _walk(parent: Element, state: _State) -> None:
    for element in _flow(parent):
        if _local(element) == "tbl":
            _end_list(state)
            state.builder.add("table", pipe_table(_rows(element, 0)))
        else:
            _paragraph(element, state)
    _end_list(state)


def _paragraph(element: Element, state: _State) -> None:
    text = "".join(_pieces(element)).strip()
    boxes = list(_boxes(element))
    level, number = _role(element, state.styles)
    if text and number is not None and level is None:
        state.items.append(_item(text, number, state))
    elif text:
        _end_list(state)
        if level == 0:
            state.title = state.title or " ".join(text.split())
        if level is None:
            state.builder.add("paragraph", text)
        else:
            state.builder.add("heading", text, level=max(level, 1))
    for box in boxes:
        _walk(box, state)


def _item(text: str, number: tuple[str, int], state: _State) -> str:
    number_id, depth = number
    for key in [key for key in state.counters if key[0] == number_id and key[1] > depth]:
        del state.counters[key]
    if state.styles.bullets.get(number, True):
        mark = "-"
    else:
        state.counters[number] += 1
        mark = f"{state.counters[number]}."
    indent = "   " * min(depth, 8)
    return f"{indent}{mark} " + text.replace("\n", f"\n{indent}   ")


def _end_list(state: _State) -> None:
    if state.items:
        state.builder.add("list", "\n".join(state.items))
        state.items.clear()


def _flow(parent: Element) -> Iterator[Element]:
    """Paragraphs and tables of a container in order, seeing through content controls, changes and alternatives."""
    stack = [iter(parent)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif (local := _local(element)) in _BLOCKS:
            yield element
        elif local not in _SKIPPED:
            stack.append(iter(element))


def _pieces(paragraph: Element) -> Iterator[str]:
    """The text of a paragraph, without that of its text boxes."""
    stack = [iter(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
            continue
        local = _local(element)
        if local == "t":
            yield element.text or ""
        elif local in ("tab", "ptab"):
            yield "\t"
        elif local in ("br", "cr"):
            yield "\n"
        elif local == "noBreakHyphen":
            yield "-"
        elif local not in _SKIPPED and local not in ("txbxContent", "p", "tbl"):
            stack.append(iter(element))


def _boxes(paragraph: Element) -> Iterator[Element]:
    """Text boxes anchored in a paragraph. Each is stored twice, for new and old Word: the older copy is skipped."""
    stack = [iter(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif (local := _local(element)) == "txbxContent":
            yield element
        elif local not in _SKIPPED:
            stack.append(iter(element))


# ---------------------------------------------------------------- tables


def _rows(table: Element, depth: int) -> Iterator[list[str]]:
    """Rows of cell texts on the table's grid. A cell merged downwards repeats its text, one merged sideways does not."""
    above: dict[int, str] = {}
    for row in _parts(table, "tr"):
        cells: list[str] = [""] * _number(_child(row, "trPr"), "gridBefore")
        for cell in _parts(row, "tc"):
            properties = _child(cell, "tcPr")
            column = len(cells)
            merge = _child(properties, "vMerge") if properties is not None else None
            if merge is not None and _value(merge) != "restart":
                text = above.get(column, "")
            else:
                text = _cell_text(cell, depth)
            above[column] = text
            cells.append(text)
            cells.extend([""] * (max(_number(properties, "gridSpan"), 1) - 1))
        yield cells


def _cell_text(cell: Element, depth: int) -> str:
    texts: list[str] = []
    for element in _flow(cell):
        if _local(element) == "tbl":
            if depth < MAX_NESTED_TABLES:
                texts.extend(" ".join(part for part in row if part) for row in _rows(element, depth + 1))
            else:
                texts.append(" ".join(part.text or "" for part in element.iter() if _local(part) == "t"))
        else:
            texts.append("".join(_pieces(element)))
            texts.extend(_cell_text(box, depth + 1) for box in _boxes(element) if depth < MAX_NESTED_TABLES)
    return " ".join(text for text in texts if text)


def _parts(parent: Element, tag: str) -> Iterator[Element]:
    """Rows of a table or cells of a row, seeing through content controls."""
    stack = [iter(parent)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif (local := _local(element)) == tag:
            yield element
        elif local not in _SKIPPED and local not in _BLOCKS and local != "tc":
            stack.append(iter(element))


# ---------------------------------------------------------------- styles and lists


def _styles(archive: Archive, folder: str, warnings: list[str]) -> _Styles:
    styles = _Styles()
    root = _optional(archive, f"{folder}/styles.xml", warnings)
    parents: dict[str, str] = {}
    for style in root if root is not None else ():
        if _local(style) != "style" or _attribute(style, "type") not in ("paragraph", ""):
            continue
        style_id = _attribute(style, "styleId")
        parents[style_id] = _value(_child(style, "basedOn"))
        properties = _child(style, "pPr")
        level = _outline(properties)
        name = _value(_child(style, "name")).lower()
        if found := _HEADING_NAME.match(name):
            level = int(found.group(1))
        if name in ("title", "titel", "titre", "标题", "標題"):
            level = 0
        if level is not None:
            styles.headings[style_id] = level
        if number := _numbering(properties):
            styles.lists[style_id] = number
    for style_id in parents:
        _inherit(style_id, parents, styles)
    _bullets(_optional(archive, f"{folder}/numbering.xml", warnings), styles)
    return styles


def _inherit(style_id: str, parents: dict[str, str], styles: _Styles) -> None:
    parent, steps = parents.get(style_id, ""), 0
    while parent and steps < 20:
        if parent in styles.headings:
            styles.headings.setdefault(style_id, styles.headings[parent])
        if parent in styles.lists:
            styles.lists.setdefault(style_id, styles.lists[parent])
        parent, steps = parents.get(parent, ""), steps + 1


def _bullets(root: Element | None, styles: _Styles) -> None:
    formats: dict[str, dict[int, bool]] = {}
    for element in root if root is not None else ():
        if _local(element) == "abstractNum":
            formats[_attribute(element, "abstractNumId")] = {
                _int(_attribute(level, "ilvl")): _value(_child(level, "numFmt")) in ("bullet", "none")
                for level in element
                if _local(level) == "lvl"
            }
    for element in root if root is not None else ():
        if _local(element) == "num":
            for depth, is_bullet in formats.get(_value(_child(element, "abstractNumId")), {}).items():
                styles.bullets[_attribute(element, "numId"), depth] = is_bullet


def _role(paragraph: Element, styles: _Styles) -> tuple[int | None, tuple[str, int] | None]:
    """Heading level (None for none, 0 for a title) and numbering of a paragraph."""
    properties = _child(paragraph, "pPr")
    if properties is None:
        return None, None
    style = _value(_child(properties, "pStyle"))
    level = _outline(properties)
    if level is None:
        level = styles.headings.get(style)
    number = _numbering(properties) or styles.lists.get(style)
    return level, number if number and number[0] not in ("", "0") else None


def _outline(properties: Element | None) -> int | None:
    element = _child(properties, "outlineLvl")
    level = _int(_value(element), 9) if element is not None else 9
    return level + 1 if 0 <= level < 9 else None


def _numbering(properties: Element | None) -> tuple[str, int] | None:
    element = _child(properties, "numPr")
    if element is None:
        return None
    return _value(_child(element, "numId")), _int(_value(_child(element, "ilvl")))


# ---------------------------------------------------------------- other parts


def _main_part(archive: Archive) -> str:
    names = archive.names()
    if "word/document.xml" in names:
        return "word/document.xml"
    return next((name for name in names if re.fullmatch(r"word/document\d*\.xml", name)), "word/document.xml")


def _optional(archive: Archive, member: str, warnings: list[str]) -> Element | None:
    """A part that the text can do without: when it is damaged, the rest is still read."""
    try:
        return archive.xml(member)
    except DocumentError as error:
        if error.code != "E_CORRUPT":
            raise
        warnings.append(f"The part {member!r} is damaged and was left out.")
        return None


def _extras(archive: Archive, folder: str, kind: str, state: _State) -> None:
    """Headers or footers, each distinct text once."""
    seen: set[str] = set()
    for member in sorted(name for name in archive.names() if re.fullmatch(rf"{folder}/{kind}\d*\.xml", name)):
        root = _optional(archive, member, state.warnings)
        if root is None:
            continue
        text = " ".join("".join(part.text or "" for part in root.iter() if _local(part) == "t").split())
        if text and not text.isdigit() and text not in seen:
            seen.add(text)
            _walk(root, state)


def _notes(archive: Archive, member: str, state: _State) -> None:
    root = _optional(archive, member, state.warnings)
    for note in root if root is not None else ():
        if _attribute(note, "type") not in ("separator", "continuationSeparator", "continuationNotice"):
            _walk(note, state)


def _properties(root: Element | None) -> dict[str, str]:
    if root is None:
        return {}
    wanted = {
        "title": "title",
        "creator": "author",
        "created": "created",
        "modified": "modified",
        "subject": "subject",
        "keywords": "keywords",
    }
    found = {wanted[_local(part)]: " ".join((part.text or "").split())[:500] for part in root if _local(part) in wanted}
    return {
        key: value
        for key, value in found.items()
        if value and not (key == "title" and value.lower() == "word document")
    }


def _first_heading(builder: TextBuilder) -> str:
    text = builder.document(type="docx").text
    return next((text[block.start : block.end].lstrip("# ") for block in builder.blocks if block.kind == "heading"), "")


# ---------------------------------------------------------------- XML


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _child(element: Element | None, tag: str) -> Element | None:
    return next((child for child in element if _local(child) == tag), None) if element is not None else None


def _attribute(element: Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _value(element: Element | None) -> str:
    return _attribute(element, "val") if element is not None else ""


def _int(text: str, default: int = 0) -> int:
    return int(text) if re.fullmatch(r"-?\d{1,6}", text) else default


def _number(properties: Element | None, tag: str) -> int:
    """A count in a row's or cell's properties, within bounds that no honest table passes."""
    return min(max(_int(_value(_child(properties, tag))), 0), 1000)
