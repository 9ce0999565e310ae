"""Rows of the tables in a document as what they say, a column and a value at a time, and the words to find them by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from rag.text import tokens, words
from rag.types import Block

MOST_ASKED = 40  # words of a question that are paired
_BARS = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"[\s|:-]*-[\s|:-]*")


@dataclass(frozen=True, slots=True)
class TableRow:
    """text[start:end] of a document. cells: (column, value), those without a value left out."""

    start: int
    end: int
    cells: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return " · ".join(f"{column}: {value}" if column else value for column, value in self.cells)


def table_rows(text: str, blocks: Sequence[Block]) -> Iterator[TableRow]:
    """The rows of the tables of a document, in order; heads and what has none are left out."""
    for block in blocks:
        lines = [
            (one.start() + block.start, one.group()) for one in re.finditer(r"[^\n]+", text[block.start : block.end])
        ]
        if block.kind != "table" or len(lines) < 3 or not _RULE.fullmatch(lines[1][1]):
            continue
        columns = _cells(lines[0][1])
        for start, line in lines[2:]:
            cells = zip(columns, _cells(line), strict=False)
            yield TableRow(start, start + len(line), tuple((column, value) for column, value in cells if value))


def row_words(row: TableRow) -> list[str]:
    """Its words, and each word of a value together with each of its column: what a question says as "city Berlin"."""
    found: list[str] = []
    for column, value in row.cells:
        names, held = _terms(column), words(value)
        found += [*words(column), *held, *(_pair(name, word) for name, word in product(names, held))]
    return found


def asked_words(question: str) -> list[str]:
    """The words of a question, and each two of them as a column and a value."""
    asked = _terms(question)[:MOST_ASKED]
    return [*words(question), *(_pair(name, word) for name, word in product(asked, asked) if name != word)]


def _terms(text: str) -> list[str]:
    """As `words`, stop words among them: a column may be called "to"."""
    return list(dict.fromkeys(term for one in tokens(text) for term in words(one) or [one]))


def _pair(column: str, value: str) -> str:
    return f"{column}={value}"


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _BARS.split(line.strip().removeprefix("|").removesuffix("|"))]
