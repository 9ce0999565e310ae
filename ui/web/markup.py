"""Makes text from models and documents safe to render as Markdown.

The browser must not fetch anything a document names: Streamlit's Markdown loads images by itself. Escaping every
bracket and angle bracket leaves no way to write an image, a link or HTML, whole or one character at a time. Bare
addresses, which Markdown would turn into links, get a character of no width inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.citations import claims, strip_markers

_SPECIAL = re.compile(r"[\\\[\]<>!`$:~]")
_EVERYTHING = re.compile(r"[\\\[\]<>!`$:~*_#|{}()+-]")
_UNSPOKEN = re.compile(r"[\\\[\]<>!`$:~*_#|{}]+")
_NUMBERED = re.compile(r"(?m)^(\s*\d{1,9})\.")  # a line that begins so is an item of a list
_MARKER = re.compile(r"\\\[(\d{1,3})\\\]")
_ADDRESS = re.compile(r"(?i)(?<=\bwww)\.|(?<=[a-z])://|@")
_CODE_BLOCK = re.compile(r"^```([a-zA-Z0-9+#-]{0,20})[^\n]*\n(.*?)(?:^```[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([\w .,=+/()'\"-]{1,80})`")  # nothing in there means anything to Markdown outside of code, either
_LINK = re.compile(r"!?\[([^\[\]\n]{0,200})\]\(([^\s()]{1,500})[^()\n]{0,200}\)")
_LEAD = re.compile(r"\s*(?:[-*+]\s+|\d{1,3}[.)]\s+|#{1,6}\s+|\|\s*)*")
_JOINER = "\u2060"  # has no width; an address with one inside is not recognised as such


def safe(text: str) -> str:
    """Text as Markdown in which lists, tables and emphasis work, and nothing can be loaded or clicked.

    A citation marker such as [1] stays readable.
    """
    return _MARKER.sub(r":green[\[\1\]]", _escaped(text, _SPECIAL))  # ** would not open behind a Chinese character


def answer_parts(text: str, markers: set[int], unsupported: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """An answer in parts: ("", Markdown) and (language, program text), which is for st.code.

    Markers of citations become badges, and sentences in `unsupported` get a coloured background. Lists, tables, emphasis
    and code look as they should; a link is its words and its address, neither of which can be clicked.
    """
    last = 0
    for block in _CODE_BLOCK.finditer(text):
        if text[last : block.start()].strip():
            yield "", _marked(text[last : block.start()], markers, unsupported)
        yield block[1].lower() or "text", block[2].rstrip("\n")
        last = block.end()
    if text[last:].strip():
        yield "", _marked(text[last:], markers, unsupported)


def _marked(text: str, markers: set[int], unsupported: Sequence[str]) -> str:
    bare, places = strip_markers(text, markers)
    doubted = {" ".join(sentence.split()) for sentence in unsupported}
    inserts = [(place, 1, f":green-badge[{number}]") for place, number in places]
    for start, end in claims(bare):
        sentence = bare[start:end]
        start += _LEAD.match(sentence).end()  # type: ignore[union-attr]  # it matches the empty string
        whole = not {"\n", "|", "`"} & set(bare[start:end]) and sentence.count("**") % 2 == 0
        if whole and start < end and " ".join(sentence.split()) in doubted:
            inserts += [(start, 2, ":orange-background["), (end, 0, "]")]
    out, last = [], 0
    for place, _, mark in sorted(inserts, key=lambda one: one[:2]):
        out += [_formatted(bare[last:place]), mark]
        last = place
    return "".join([*out, _formatted(bare[last:])])


def _formatted(text: str) -> str:
    """Escaped, but for code in a line that holds nothing else of Markdown; links are written out."""
    out, last = [], 0
    text = _LINK.sub(lambda match: f"{match[1]} ({match[2]})" if match[1] else match[2], text)
    for code in _CODE.finditer(text):
        out += [_escaped(text[last : code.start()], _SPECIAL), f"`{_ADDRESS.sub(_apart, code[1])}`"]
        last = code.end()
    return "".join([*out, _escaped(text[last:], _SPECIAL)])


def highlighted(text: str, *spans: tuple[int, int]) -> str:
    """The text with its spans, which do not overlap, marked; all escaped. Line breaks inside a mark become blanks."""
    out, last = [], 0
    for start, end in sorted(spans):
        marked = " ".join(plain(text[start:end]).split())
        out += [plain(text[last:start]), f":yellow-background[{marked}]" if marked else ""]
        last = end
    return "".join([*out, plain(text[last:])])


def plain(text: str) -> str:
    """Every mark that Markdown knows is escaped and every line stays one: the text looks as it is."""
    return _NUMBERED.sub(r"\1\\.", _escaped(text, _EVERYTHING)).replace("\n", "  \n")


def spoken(text: str) -> str:
    """The same for a label that is also read aloud, as it is written: marks are left out, not escaped."""
    return _ADDRESS.sub(_apart, " ".join(_UNSPOKEN.sub(" ", text).split()).lstrip("-+ "))


def excerpt(text: str, most: int) -> str:
    """The beginning of a passage on one line, without the marks of headings and tables. It is still to be escaped."""
    rows = ([cell.strip() for cell in line.lstrip("# ").split("|")] for line in text.splitlines())
    lines = (" · ".join(cell for cell in row if cell.strip(":-")) for row in rows)
    whole = " ".join(" ".join(lines).split())
    return whole[:most] + "…" * (len(whole) > most)


def _escaped(text: str, marks: re.Pattern[str]) -> str:
    apart = _ADDRESS.sub(_apart, text)
    return marks.sub(r"\\\g<0>", apart)


def _apart(match: re.Match[str]) -> str:
    return _JOINER + match.group()
