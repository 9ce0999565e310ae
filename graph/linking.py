"""From a question to the entities it names: the longest names first, in English and in Chinese, without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from graph import names
from graph.network import Network
from graph.rules import is_common
from rag.text import is_han

MOST_WORDS = 12  # of a name that is looked for in a question
MOST_HAN = 16
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Linked:
    """An entity that a question names, by number, and the words it does so with: question[start:end]."""

    entity: int
    start: int
    end: int


def link(question: str, network: Network) -> list[Linked]:
    """The entities that the question names, longest first; no character is used twice.

    In a question with capitals a name must have one, or be a document's title in quotes. In one without, names of two
    words and more count, and single words that are a title.
    """
    has_capitals = any(char.isupper() for char in question[1:])
    found: list[Linked] = []
    for start, end in sorted(_spans(question), key=lambda span: (span[0] - span[1], span[0])):
        if any(start < one.end and one.start < end for one in found):
            continue
        entity = network.at.get(names.key(question[start:end]))
        if entity is not None and _is_meant(question[start:end], network, entity, has_capitals):
            found.append(Linked(entity, start, end))
    return sorted(found, key=lambda one: one.start)


def _is_meant(text: str, network: Network, entity: int, has_capitals: bool) -> bool:
    if is_han(text[0]):
        return len(text) > 1
    words = [word for word in _WORD.findall(text) if not is_common(word)]
    if not words or (len(words) == 1 and len(words[0]) < 2):
        return False
    if has_capitals:
        return any(word[0].isupper() or word[0].isdigit() for word in words) and not text.isdigit()
    return len(words) > 1 or bool(network.is_title[entity])


def _spans(question: str) -> Iterator[tuple[int, int]]:
    """Stretches that may be a name: words in a row, and in Chinese characters in a row."""
    words: list[tuple[int, int]] = []
    for match in _WORD.finditer(question):
        start, end = match.span()
        if any(is_han(char) for char in match.group()):
            for low in range(start, end):
                yield from ((low, high) for high in range(low + 1, min(low + MOST_HAN, end) + 1))
        words.append((start, end))
    for first in range(len(words)):
        for last in range(first, min(len(words), first + MOST_WORDS)):
            yield words[first][0], words[last][1]
