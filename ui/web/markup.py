"""Makes text from models and documents safe to render as Markdown.

The browser must not fetch anything a document names: Streamlit's Markdown loads images by itself. Escaping every
bracket and angle bracket leaves no way to write an image, a link or HTML, whole or one character at a time. Bare
addresses, which Markdown would turn into links, get a character of no width inside.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\\[\]<>!`$:~]")
_EVERYTHING = re.compile(r"[\\\[\]<>!`$:~*_#|{}()+-]")
_MARKER = re.compile(r"\\\[(\d{1,3})\\\]")
_ADDRESS = re.compile(r"(?i)(?<=\bwww)\.|(?<=[a-z])://|@")
_JOINER = "\u2060"  # has no width; an address with one inside is not recognised as such


def safe(text: str) -> str:
    """Text as Markdown in which lists, tables and emphasis work, and nothing can be loaded or clicked.

    A citation marker such as [1] stays readable.
    """
    return _MARKER.sub(r":green[\[\1\]]", _escaped(text, _SPECIAL))  # ** would not open behind a Chinese character


def highlighted(text: str, start: int, end: int) -> str:
    """The text with text[start:end] marked; both escaped. Line breaks inside the mark become blanks."""
    marked = " ".join(plain(text[start:end]).split())
    before, after = plain(text[:start]), plain(text[end:])
    return f"{before}:orange-background[{marked}]{after}" if marked else plain(text)


def plain(text: str) -> str:
    """Every mark that Markdown knows is escaped and every line stays one: the text looks as it is."""
    return _escaped(text, _EVERYTHING).replace("\n", "  \n")


def _escaped(text: str, marks: re.Pattern[str]) -> str:
    apart = _ADDRESS.sub(lambda match: _JOINER + match.group(), text)
    return marks.sub(r"\\\g<0>", apart)
