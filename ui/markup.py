"""Makes text from models and documents safe to render as Markdown.

The browser must not fetch anything a document names: Streamlit's Markdown loads images by itself. Escaping every
bracket and angle bracket leaves no way to write an image, a link or HTML, whole or one character at a time.
"""

from __future__ import annotations

import re

_SPECIAL = str.maketrans({char: "\\" + char for char in "\\[]<>!`$:~"})
_MARKER = re.compile(r"\\\[(\d{1,3})\\\]")


def safe(text: str) -> str:
    """Text as Markdown in which lists, tables and emphasis work, and nothing can be loaded or clicked.

    A citation marker such as [1] stays readable. Bare addresses get a zero-width joiner, so that none becomes a link.
    """
    escaped = text.translate(_SPECIAL)
    escaped = re.sub(r"(?i)\bwww\.", "www\u2060.", escaped)
    return _MARKER.sub(r"**[\1]**", escaped)


def highlighted(text: str, start: int, end: int) -> str:
    """The text with text[start:end] marked; both escaped. Line breaks inside the mark become blanks."""
    marked = " ".join(plain(text[start:end]).split())
    before, after = plain(text[:start]), plain(text[end:])
    return f"{before}:orange-background[{marked}]{after}" if marked else plain(text)


def plain(text: str) -> str:
    """Every mark that Markdown knows is escaped: the text looks as it is."""
    return re.sub(r"([\\\[\]<>!`$:~*_#|{}()+-])", r"\\\1", text).replace("www.", "www\u2060.")
