"""The documents of a collection as the graph reads them: which there are, their chunks, and what state they are in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from graph import store
from graph.types import Extracting, Passage

if TYPE_CHECKING:
    from graph.store import GraphFile
    from rag.catalog_rows import Known
    from rag.knowledge_base import KnowledgeBase


READING = "2"  # raised whenever the same text gives another line than before


def pending(kb: KnowledgeBase, way: Extracting, *, fresh: bool = False) -> Iterator[Passage]:
    """The chunks that a build would read."""
    path = store.path_of(kb.home, kb.collection)
    before = store.load(path).states() if path.exists() and not fresh else {}
    for doc_id, one in sorted(live(kb).items()):
        if before.get(doc_id) != state(one, way, ""):
            yield from passages(kb, doc_id)


def behind(kb: KnowledgeBase, file: GraphFile) -> int:
    """How many documents were added, changed or deleted since the graph was brought up to date.

    What a file of triples says of a document is not known here: of such a graph, documents that are new or gone count.
    """
    before, known, header = file.states(), live(kb), file.header
    way = Extracting(method=header.method, options=header.options, run=lambda passages: ())
    if header.method == "triples":
        changed = known.keys() - before.keys()
    else:  # an empty state is that of a document whose reply failed: it was read
        changed = {one for one, info in known.items() if before.get(one) not in (state(info, way, ""), "")}
    return len(changed) + len(before.keys() - known.keys())


def live(kb: KnowledgeBase) -> dict[str, Known]:
    """The documents that a graph is made of; copies have no chunks of their own."""
    known = kb.catalog.known(kb.collection)
    return {doc_id: one for doc_id, one in known.items() if one.version > 0 and not one.copy_of}


def passages(kb: KnowledgeBase, doc_id: str) -> Iterator[Passage]:
    for stored in kb.catalog.stored_chunks(kb.collection, doc_id):
        chunk = stored.chunk
        if not chunk.level:  # summaries say nothing that their documents do not
            yield Passage(doc_id=doc_id, chunk_id=chunk.chunk_id, text=chunk.text, context=chunk.context,
                          title=stored.title)  # fmt: skip


def state(one: Known, way: Extracting, extra: str) -> str:
    """Changes whenever a document's line would: its content, how it was cut, how names are found."""
    parts = (READING, one.content_hash, one.recipe, way.method, repr(sorted(way.options.items())), extra)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
