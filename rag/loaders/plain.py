"""Plain text: paragraphs are what blank lines part, front matter becomes metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag import describing
from rag.loaders.encoding import decode
from rag.types import Block, ParsedDocument

# Possessive: a backtracking engine would remember every character of a line of five megabytes.
_PARAGRAPH = re.compile(r"\S[^\n]*+(?:\n(?![ \t\r\f\v]*+(?:\n|\Z))[^\n]*+)*+")


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read text in any common encoding. Raises: DocumentError E_BINARY, E_ENCODING."""
    text, warnings = decode(data, name=name)
    metadata, start, _ = describing.front_matter(text)
    text = text[start:]
    title = metadata.pop("title", "")
    return ParsedDocument(
        text=text, title=title if isinstance(title, str) else "", type="text", blocks=tuple(paragraphs(text)),
        metadata=metadata, warnings=tuple(warnings),
    )  # fmt: skip


def paragraphs(text: str) -> Iterator[Block]:
    """The paragraphs of a text, without the white space around them."""
    for match in _PARAGRAPH.finditer(text):
        yield Block(kind="paragraph", start=match.start(), end=match.start() + len(match.group().rstrip()))
