"""The records of the knowledge graph: what one chunk says, and what is found in the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graph.periods import Period

RETRY = ("chat_failed", "bad_reply", "over_budget")  # after these problems the next build reads a document again


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A name in a chunk: the chunk's text[start:end], or -1 where it stands in the chunk's title alone."""

    name: str
    start: int
    end: int
    type: str = ""  # person, place, organisation, work, date, …; empty: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Something a chunk says of two names: its text[start:end] is the sentence.

    years: those that the sentence names. valid: the first and the last year between which it says that this holds, None
    where it is open. claim: a longer statement, where a model made one.
    """

    subject: str
    label: str
    object: str
    start: int
    end: int
    years: tuple[int, ...] = ()
    claim: str = ""
    valid: Period | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What was found in one chunk.

    about: the names that the chunk's document is about, its title above all. aliases: (name, other name) that the text
    states. descriptions: (name, what it is). problems: (kind, what) of what was left out, named and counted.
    """

    about: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    descriptions: tuple[tuple[str, str], ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk that is read: its text, the title and headings it stands under, its document's title and id."""

    doc_id: str
    chunk_id: str
    text: str
    context: str = ""
    title: str = ""


Extractor = Callable[[Sequence[Passage]], Sequence[Extraction]]
"""Chunks to what each says, in their order. What a chunk gives depends on that chunk alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracting:
    """A way to extract: its name and options, which are stored with the graph, and the function."""

    method: str
    options: Mapping[str, Any]
    run: Extractor
