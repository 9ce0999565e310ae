"""Markdown: the text stays as it is; a line scanner finds its blocks, front matter becomes metadata.

A scanner of lines instead of a parser: only the outermost blocks matter here, and lines can be classified in linear
time whatever they nest (a general parser took 20 to 40 microseconds a line, ours takes about one).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rag import describing
from rag.loaders.encoding import decode
from rag.types import Block, BlockKind, ParsedDocument

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_INTERRUPTING_ITEM = re.compile(r" {0,3}(?:[-*+]|1[.)])[ \t]+\S")
_QUOTE = re.compile(r" {0,3}>")
_INDENTED = re.compile(r"(?: {4}| {0,3}\t)")
_DELIMITER_ROW = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_HTML_START = re.compile(r" {0,3}<(?:!--|[a-zA-Z/!?])")

_FRONT = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"([A-Za-z_][\w .-]{0,63}?)[ \t]*:(?:[ \t]+(.*))?$")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?$")
MAX_FRONT_MATTER = 20_000


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read Markdown. The title is the front matter's, else the first heading of level 1.

    Raises: DocumentError E_BINARY, E_ENCODING.
    """
    text, warnings = decode(data, name=name)
    metadata, text, more = front_matter(text)
    warnings.extend(more)
    found = tuple(blocks(text))
    title = metadata.pop("title", "")
    if not isinstance(title, str) or not title:
        title = next((heading_text(text[b.start : b.end]) for b in found if b.kind == "heading" and b.level == 1), "")
    return ParsedDocument(
        text=text, title=title, type="markdown", blocks=found, metadata=metadata, warnings=tuple(warnings)
    )


def heading_text(line: str) -> str:
    """The words of a heading, without its marks and without emphasis or link syntax."""
    first = line.strip().split("\n")[0] if not line.lstrip().startswith("#") else line.strip().lstrip("#")
    first = re.sub(r"[ \t]#+[ \t]*$", "", first)
    first = re.sub(r"!?\[([^\]\[]{0,300})\]\([^()\s]{0,500}\)", r"\1", first)
    return re.sub(r"[*`]+|(?<!\w)_+|_+(?!\w)", "", first).strip()


# ---------------------------------------------------------------- blocks


def blocks(text: str) -> Iterator[Block]:
    """The outermost blocks of a Markdown text, in order; what lies between them is white space."""
    lines = _Lines(text)
    while (i := lines.skip_blank()) < lines.n:
        kind, end, level = _block_at(lines, i)
        lines.at = end
        start, stop = lines.span(i, end)
        if start < stop:
            yield Block(kind=kind, start=start, end=stop, level=level)


class _Lines:
    """The lines of a text with their offsets, and the place that the scan has reached."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.n = len(self.lines)
        self.at = 0
        self._offset = 0
        self._offset_line = 0

    def skip_blank(self) -> int:
        while self.at < self.n and not self.lines[self.at].strip():
            self.at += 1
        return self.at

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Offsets of lines first to end (exclusive) without the white space around them."""
        start = self._offset + sum(len(line) + 1 for line in self.lines[self._offset_line : first])
        self._offset, self._offset_line = start, first
        piece = "\n".join(self.lines[first:end])
        lead = len(piece) - len(piece.lstrip())
        return start + lead, start + len(piece.rstrip())


def _block_at(lines: _Lines, i: int) -> tuple[BlockKind, int, int]:
    """Kind, end line and heading level of the block that starts in line i."""
    line = lines.lines[i]
    if atx := _ATX.match(line):
        return "heading", i + 1, len(atx.group(1))
    if fence := _FENCE.match(line):
        return "code", _fence_end(lines, i, fence.group(1)), 0
    if _INDENTED.match(line):
        return "code", _indented_end(lines, i), 0
    if _QUOTE.match(line):
        return "quote", _lazy_end(lines, i, _QUOTE), 0
    if _RULE.match(line):
        return "paragraph", i + 1, 0
    if _ITEM.match(line):
        return "list", _list_end(lines, i), 0
    if "|" in line and i + 1 < lines.n and _is_table(line, lines.lines[i + 1]):
        return "table", _table_end(lines, i + 2), 0
    if _HTML_START.match(line):
        return "paragraph", _html_end(lines, i), 0
    return _paragraph(lines, i)


def _paragraph(lines: _Lines, i: int) -> tuple[BlockKind, int, int]:
    j = i + 1
    while j < lines.n:
        line = lines.lines[j]
        if not line.strip():
            break
        if setext := _SETEXT.match(line):
            return "heading", j + 1, 1 if setext.group(1)[0] == "=" else 2
        if _interrupts(line) or ("|" in line and j + 1 < lines.n and _is_table(line, lines.lines[j + 1])):
            break
        j += 1
    return "paragraph", j, 0


def _interrupts(line: str) -> bool:
    """Whether a line ends the paragraph before it."""
    first = line.lstrip(" ")[:1]
    if first not in "#`~>-*_+1":
        return False
    return bool(
        _ATX.match(line)
        or _FENCE.match(line)
        or _QUOTE.match(line)
        or _RULE.match(line)
        or _INTERRUPTING_ITEM.match(line)
    )


def _fence_end(lines: _Lines, i: int, mark: str) -> int:
    closing = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
    for j in range(i + 1, lines.n):
        if closing.match(lines.lines[j]):
            return j + 1
    return lines.n


def _indented_end(lines: _Lines, i: int) -> int:
    end = j = i + 1
    while j < lines.n and (not lines.lines[j].strip() or _INDENTED.match(lines.lines[j])):
        j += 1
        end = j if lines.lines[j - 1].strip() else end
    return end


def _lazy_end(lines: _Lines, i: int, mark: re.Pattern[str]) -> int:
    """End of a quote: lines with the mark, and lines that go on with its last paragraph."""
    j = i + 1
    while j < lines.n and lines.lines[j].strip():
        if not mark.match(lines.lines[j]) and _interrupts(lines.lines[j]):
            break
        j += 1
    return j


def _list_end(lines: _Lines, i: int) -> int:
    """End of a list: items, indented lines, and blank lines between them. Fences in items are stepped over."""
    j = end = i + 1
    after_blank = False
    while j < lines.n:
        line = lines.lines[j]
        if not line.strip():
            after_blank, j = True, j + 1
            continue
        is_item = bool(_ITEM.match(line)) and not _RULE.match(line)
        if not is_item and not line.startswith(("  ", "\t")) and (after_blank or _interrupts(line)):
            break
        if fence := _FENCE.match(line.lstrip()):
            j = _item_fence_end(lines, j, fence.group(1)) - 1
        after_blank = False
        j += 1
        end = j
    return end


def _item_fence_end(lines: _Lines, i: int, mark: str) -> int:
    """End of a fence inside a list item; a line that leaves the item ends it too."""
    for j in range(i + 1, lines.n):
        line = lines.lines[j]
        if line.strip().startswith(mark) and not line.strip().strip(mark[0]):
            return j + 1
        if line.strip() and not line.startswith((" ", "\t")):
            return j
    return lines.n


def _is_table(head: str, delimiter: str) -> bool:
    if (
        "-" not in delimiter
        or not _DELIMITER_ROW.match(delimiter)
        or ("|" not in delimiter and "|" in head.strip().strip("|"))
    ):
        return False
    return _n_cells(head) == _n_cells(delimiter)


def _n_cells(line: str) -> int:
    bare = line.strip().replace("\\|", "")
    return bare.removeprefix("|").removesuffix("|").count("|") + 1


def _table_end(lines: _Lines, j: int) -> int:
    while j < lines.n and lines.lines[j].strip() and not _interrupts(lines.lines[j]):
        j += 1
    return j


def _html_end(lines: _Lines, i: int) -> int:
    """End of raw HTML: a blank line, for a comment the line that closes it."""
    j = i
    if lines.lines[i].lstrip().startswith("<!--"):
        while j < lines.n and "-->" not in lines.lines[j]:
            j += 1
        return min(j + 1, lines.n)
    while j < lines.n and lines.lines[j].strip():
        j += 1
    return j


# ---------------------------------------------------------------- front matter


def front_matter(text: str) -> tuple[dict[str, Any], str, list[str]]:
    """Metadata from a head in YAML or TOML, the text behind it, and warnings; ({}, text, []) where there is none.

    A YAML head that is not read as a whole (tags, aliases, bad syntax) gives its flat keys with plain values: a colon
    too many in a title does not cost the rest. A head without one readable key stays in the text.
    """
    values, start, warnings = describing.front_matter(text)
    if start:
        return values, text[start:], warnings
    values, rest = _flat_keys(text)
    return values, rest, warnings


def _flat_keys(text: str) -> tuple[dict[str, Any], str]:
    match = _FRONT.match(text[:MAX_FRONT_MATTER]) if text.startswith("---") else None
    if match is None:
        return {}, text
    values: dict[str, Any] = {}
    key = ""
    n_keys = 0
    for line in match.group(1).split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if found := _KEY.match(line):
            n_keys += 1
            key = found.group(1).lower()
            values[key] = _value(found.group(2) or "")
        elif key and (item := re.match(r"[ \t]*-[ \t]+(.*)$", line)):
            _append(values, key, _value(item.group(1)))
    if n_keys == 0:
        return {}, text
    kept = {key: value for key, value in values.items() if value not in (None, "", [])}
    return kept, text[match.end() :].lstrip("\n")


def _append(values: dict[str, Any], key: str, item: Any) -> None:
    current = values.get(key)
    if item is None or isinstance(item, list) or current not in (None, "") and not isinstance(current, list):
        return
    values[key] = [*(current or []), str(item)]


def _value(raw: str) -> Any:
    """A YAML scalar or a flat list; None for what is not read (tags, aliases, anchors, nested values)."""
    raw = raw.strip()
    if len(raw) >= 2 and raw[0] == raw[-1] and raw[0] in "\"'":
        return raw[1:-1]
    raw = re.sub(r"[ \t]#.*$", "", raw).strip()
    if raw[:1] in ("!", "&", "*", "{", "|", ">", "@", "`", "%"):
        return None
    if raw.startswith("[") and raw.endswith("]"):
        items = [_value(item) for item in raw[1:-1].split(",") if item.strip()]
        return None if any(item is None or isinstance(item, list) for item in items) else [str(item) for item in items]
    if raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    if _NUMBER.match(raw):
        return float(raw) if "." in raw else int(raw)
    return "" if raw in ("null", "~") else raw
