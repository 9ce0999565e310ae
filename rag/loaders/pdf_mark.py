"""Where on a page of a PDF a quote stands: the text's own places, compared without blanks and marks of layout."""

from __future__ import annotations

import re
from typing import Any

_SKIPPED = re.compile(r"[\s\u00ad\u200b\ufffe|*#>`_-]")  # what reading may add, drop or break lines with
MIN_PIECE = 8  # characters of a quote's line that is looked for by itself
Box = tuple[float, float, float, float]  # left, bottom, right, top, in points


def boxes(textpage: Any, quote: str) -> list[Box]:
    """A box for each line of the page that the quote touches; none when it does not stand there."""
    text = textpage.get_text_range()
    if textpage.count_chars() != len(text):  # characters cannot be told apart by number then
        return []
    places = [at for at, char in enumerate(text) if not _SKIPPED.match(char)]
    bare = "".join(text[at] for at in places).casefold()
    if len(bare) != len(places):
        return []
    found: list[Box] = []
    for start, end in _spans(bare, quote):
        found += _lines(textpage, [places[at] for at in range(start, end)])
    return found


def _spans(bare: str, quote: str) -> list[tuple[int, int]]:
    """Where the quote stands in the page's text: whole, or else its lines one by one."""
    whole = _bare(quote)
    if whole and (at := bare.find(whole)) >= 0:
        return [(at, at + len(whole))]
    pieces = [_bare(line) for line in re.split(r"[\n|]", quote)]
    return [(at, at + len(piece)) for piece in pieces if len(piece) >= MIN_PIECE and (at := bare.find(piece)) >= 0]


def _bare(text: str) -> str:
    return _SKIPPED.sub("", text).casefold()


def _lines(textpage: Any, chars: list[int]) -> list[Box]:
    lines: list[Box] = []
    for char in chars:
        left, bottom, right, top = textpage.get_charbox(char, loose=True)
        if lines:
            x0, y0, x1, y1 = lines[-1]
            middle = (bottom + top) / 2
            if y0 <= middle <= y1 and left >= x0 - 1:
                lines[-1] = (min(x0, left), min(y0, bottom), max(x1, right), max(y1, top))
                continue
        lines.append((left, bottom, right, top))
    return lines
