"""The graph's file: one line a document with what was found in its chunks, in order of the ids. The same input gives the same bytes.

Everything else (entities, edges, merges, communities) is worked out from these lines, so a change of one document is a
change of one line, and an update cannot differ from a fresh build.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graph.types import Extraction, Mention, Relation
from rag.errors import RagstoneError, disk_error

FORMAT = 1
_HEAD = re.compile(r'\{"doc_id": ("(?:[^"\\]|\\.)*"), "state": "([0-9a-f]*)"')


class GraphError(RagstoneError):
    """The graph is missing, damaged or written by a newer version."""

    code = "E_GRAPH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a graph was built with. apart, together: what a person decided about pairs of names. neighbours: pairs of
    names with near vectors, and the cosine."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    apart: tuple[tuple[str, str], ...] = ()
    together: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[tuple[str, str, float], ...] = ()


@dataclass(slots=True)
class GraphFile:
    """A graph's header and its lines by doc_id, unread until they are needed."""

    header: Header
    lines: dict[str, str]

    def states(self) -> dict[str, str]:
        """doc_id → the state of the document that its line was made from."""
        return {doc_id: _HEAD.match(line).group(2) for doc_id, line in self.lines.items()}  # type: ignore[union-attr]

    def documents(self) -> Iterator[tuple[str, list[tuple[str, Extraction]]]]:
        """(doc_id, [(chunk_id, what was found there)]) in order of the ids."""
        for doc_id in sorted(self.lines):
            yield doc_id, unpacked(self.lines[doc_id])


def path_of(home: Path, collection: str) -> Path:
    """Where the graph of a collection lies, whatever the collection is called."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", collection)[:60].lstrip(".")
    return home / "graphs" / f"{safe}-{hashlib.sha256(collection.encode()).hexdigest()[:8]}.jsonl"


def load(path: Path) -> GraphFile:
    """Read a graph. Raises GraphError when there is none, it is damaged, or a newer ragstone wrote it."""
    try:
        head, *lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise GraphError("This collection has no graph yet. Build it: ragstone graph build") from error
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(
            f"The graph {path} cannot be read ({error}). Build it again: ragstone graph build --fresh"
        ) from error
    damaged = GraphError(f"The graph {path} is damaged. Build it again: ragstone graph build --fresh")
    try:
        tree = json.loads(head)
        if tree["format"] != FORMAT:
            raise GraphError(
                f"The graph {path} has format {tree['format']}, this ragstone reads {FORMAT}. "
                "Use the version that wrote it, or build it again: ragstone graph build --fresh"
            )
        header = Header(
            method=tree["method"], options=tree["options"],
            apart=tuple((a, b) for a, b in tree["apart"]), together=tuple((a, b) for a, b in tree["together"]),
            neighbours=tuple((a, b, float(cosine)) for a, b, cosine in tree.get("neighbours", ())),
        )  # fmt: skip
        found = {}
        for line in lines[:-1]:
            match = _HEAD.match(line)
            if match is None or not line.endswith("}"):
                raise damaged
            found[json.loads(match.group(1))] = line
        if lines[-1] or len(found) != tree["documents"]:
            raise damaged
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise damaged from error
    return GraphFile(header, found)


def save(path: Path, graph: GraphFile) -> None:
    """Write a graph so that the old one or the new one is there, whatever happens. Raises DiskError."""
    header = graph.header
    head = {
        "format": FORMAT, "method": header.method, "options": dict(header.options), "documents": len(graph.lines),
        "apart": sorted(map(list, header.apart)), "together": sorted(map(list, header.together)),
    }  # fmt: skip
    if header.neighbours:
        head["neighbours"] = sorted(map(list, header.neighbours))
    write_atomically(path, "\n".join([_json(head), *(graph.lines[doc_id] for doc_id in sorted(graph.lines)), ""]))


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside `path`, to the disk, then put it in its place. Raises DiskError."""
    scratch = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:  # fmt: skip
            scratch = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        if scratch:
            Path(scratch).unlink(missing_ok=True)
        raise disk_error(error, path.parent) or GraphError(
            f"The graph cannot be written to {path} ({error.strerror}). Check the folder's permissions."
        ) from error


def forget(path: Path, doc_ids: Sequence[str]) -> None:
    """Take documents out of a graph, when there is one that holds them. Nothing else changes."""
    if not path.exists():
        return
    with changing(path):
        graph = load(path)
        if graph.lines.keys() & set(doc_ids):
            save(path, GraphFile(graph.header, {one: line for one, line in graph.lines.items() if one not in doc_ids}))


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """From reading a graph to having it written: one thread at a time, of all processes."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


# ---------------------------------------------------------------- lines


def packed(doc_id: str, state: str, chunks: Sequence[tuple[str, Extraction]]) -> str:
    """A document's line."""
    return _json({"doc_id": doc_id, "state": state, "chunks": [_chunk(chunk_id, found) for chunk_id, found in chunks]})


def unpacked(line: str) -> list[tuple[str, Extraction]]:
    """What `packed` was given: (chunk_id, extraction). Raises GraphError for a line of another shape."""
    try:
        return [(chunk["id"], _extraction(chunk)) for chunk in json.loads(line)["chunks"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise GraphError("The graph's file is damaged. Build it again: ragstone graph build --fresh") from error


def _chunk(chunk_id: str, found: Extraction) -> dict[str, Any]:
    tree: dict[str, Any] = {"id": chunk_id}
    lists: dict[str, Sequence[Any]] = {
        "about": found.about,
        "mentions": [[one.name, one.start, one.end, one.type] for one in found.mentions],
        "relations": [_relation(one) for one in found.relations],
        "aliases": found.aliases,
        "descriptions": found.descriptions,
        "problems": found.problems,
    }
    return tree | {name: list(values) for name, values in lists.items() if values}


def _relation(one: Relation) -> list[Any]:
    row: list[Any] = [one.subject, one.label, one.object, one.start, one.end]
    rest = [list(one.years), one.claim, list(one.valid or ())]
    while rest and not rest[-1]:
        rest.pop()
    return row + rest


def _extraction(chunk: Mapping[str, Any]) -> Extraction:
    return Extraction(
        about=tuple(chunk.get("about", ())),
        mentions=tuple(Mention(name=n, start=a, end=b, type=kind) for n, a, b, kind in chunk.get("mentions", ())),
        relations=tuple(
            Relation(subject=row[0], label=row[1], object=row[2], start=row[3], end=row[4],
                     years=tuple(row[5]) if len(row) > 5 else (), claim=row[6] if len(row) > 6 else "",
                     valid=(row[7][0], row[7][1]) if len(row) > 7 else None)
            for row in chunk.get("relations", ())
        ),
        aliases=tuple((a, b) for a, b in chunk.get("aliases", ())),
        descriptions=tuple((a, b) for a, b in chunk.get("descriptions", ())),
        problems=tuple((a, b) for a, b in chunk.get("problems", ())),
    )  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)  # surrogates in names of files survive, and no line holds a newline
