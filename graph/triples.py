"""Given triples: graphs from what another extraction found, so that graphs can be compared on the same triples.

A file of JSON lines, gzipped or not, one document a line:
{"_id": document, "entities": [name, …], "triples": [[subject, relation, object], …]}
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graph import names
from graph.rules import relating, subjects
from graph.types import Extracting, Extraction, Mention, Passage, Relation
from rag import text as texts
from rag.errors import UsageError

MAX_FILE_BYTES = 2_000_000_000  # unpacked


@dataclass(slots=True)
class TriplesFile:
    """The lines of a triples file by document id, and what was wrong with others: (kind, what), counted and named."""

    lines: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def state(self, doc_id: str) -> str:
        """Differs when the document's triples do."""
        line = json.dumps(self.lines.get(doc_id), sort_keys=True)
        return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def read(path: Path) -> TriplesFile:
    """Read a triples file. Lines that are not as they should be are left out, counted and named.

    Raises: UsageError when the file cannot be read or holds no triples at all.
    """
    found = TriplesFile()
    n_bytes = 0
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                n_bytes += len(line)
                if n_bytes > MAX_FILE_BYTES:
                    raise UsageError(
                        f"The triples file {path} unpacks to over {MAX_FILE_BYTES // 10**9} GB. Divide it."
                    )
                if line.strip():
                    _add(line, number, found)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise UsageError(
            f"The triples file {path} cannot be read ({error}). Give a .jsonl or .jsonl.gz file."
        ) from error
    if not found.lines:
        raise UsageError(
            f"The triples file {path} holds no triples. A line looks like "
            '{"_id": "doc", "entities": ["A", "B"], "triples": [["A", "knows", "B"]]}.'
        )
    return found


def _add(line: bytes, number: int, found: TriplesFile) -> None:
    try:
        tree = json.loads(line)
        doc_id, entities, triples = str(tree["_id"]), tree.get("entities") or [], tree.get("triples") or []
        if not isinstance(entities, list) or not isinstance(triples, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found.problems.append(("bad_line", f"line {number}"))
        return
    one = found.lines.setdefault(doc_id, {"entities": [], "triples": []})
    one["entities"] += entities
    one["triples"] += triples


def by_triples(path: Path, known: Sequence[str]) -> tuple[Extracting, TriplesFile]:
    """Extraction that looks up what a file says of each document. known: the collection's document ids.

    A document's triple goes to the chunks that hold both of its names, else one, else to the first.
    """
    given = read(path)
    given.problems += [("unknown_id", doc_id) for doc_id in sorted(given.lines.keys() - set(known))]
    given.problems += [("no_triples", doc_id) for doc_id in sorted(set(known) - given.lines.keys())]

    def run(passages: Sequence[Passage]) -> list[Extraction]:
        by_document: dict[str, list[Passage]] = defaultdict(list)
        for one in passages:
            by_document[one.doc_id].append(one)
        found = {doc_id: _document(chunks, given.lines.get(doc_id)) for doc_id, chunks in by_document.items()}
        return [found[one.doc_id][by_document[one.doc_id].index(one)] for one in passages]

    return Extracting(method="triples", options={}, run=run), given


def _document(chunks: Sequence[Passage], line: dict[str, list[Any]] | None) -> list[Extraction]:
    """What each chunk of a document gets of the document's triples."""
    problems: list[list[tuple[str, str]]] = [[] for _ in chunks]
    about = [subjects(one.title, one.context, bad) for one, bad in zip(chunks, problems, strict=True)]
    mentions: list[list[Mention]] = [[] for _ in chunks]
    relations: list[list[Relation]] = [[] for _ in chunks]
    places = [_Places(one.text) for one in chunks]
    for given in line["entities"] if line else ():
        name = names.clean(given) if isinstance(given, str) else ""
        if not names.is_name(name):
            problems[0].append(("bad_name", str(given)[:80]))
            continue
        here = [n for n, place in enumerate(places) if place.find(name) >= 0] or [0]
        for n in here:
            start = places[n].find(name)
            mentions[n].append(Mention(name=name, start=start, end=start + len(name) if start >= 0 else -1))
    for given in line["triples"] if line else ():
        if not (isinstance(given, list) and len(given) == 3 and all(isinstance(part, str) for part in given)):
            problems[0].append(("bad_triple", str(given)[:80]))
            continue
        subject, label, object_ = names.clean(given[0]), given[1].strip()[:200], names.clean(given[2])
        if not names.is_name(subject) or not names.is_name(object_):
            problems[0].append(("bad_triple", " | ".join(given)[:80]))
            continue
        if names.key(subject) == names.key(object_):
            problems[0].append(("self_loop", " | ".join(given)[:80]))
            continue
        held = [(place.find(subject) >= 0) + (place.find(object_) >= 0) for place in places]
        n = held.index(max(held))
        start, end = places[n].sentence(subject, object_)
        relations[n].append(relating(chunks[n].text, start, end)(subject=subject, label=label, object=object_))
    return [
        Extraction(
            about=about[n], mentions=tuple(mentions[n]), relations=tuple(relations[n]), problems=tuple(problems[n])
        )
        for n in range(len(chunks))
    ]


class _Places:
    """Where names stand in a chunk's text."""

    def __init__(self, text: str) -> None:
        self._text, self._sentences = text.lower(), texts.sentences(text)

    def find(self, name: str) -> int:
        return self._text.find(name.lower())

    def sentence(self, left: str, right: str) -> tuple[int, int]:
        """The first sentence with both names, else with one, else the first of all."""
        best, most = (0, 0), -1
        for start, end in self._sentences:
            sentence = self._text[start:end]
            held = (left.lower() in sentence) + (right.lower() in sentence)
            if held > most:
                best, most = (start, end), held
        return best
