"""What rag/ knows of the graph: the functions here, called by name when a collection has a graph or is asked for one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph import store

if TYPE_CHECKING:
    from graph.knowledge_graph import KnowledgeGraph
    from rag.knowledge_base import KnowledgeBase

FREE = ("rules", "names")  # ways of extraction that cost nothing but time
_lock = threading.Lock()


def exists(kb: KnowledgeBase) -> bool:
    return store.path_of(kb.home, kb.collection).exists()


def opened(kb: KnowledgeBase, kept: dict[str, Any]) -> KnowledgeGraph:
    """The collection's graph; `kept` remembers it for as long as its file does not change. Raises GraphError."""
    from graph.knowledge_graph import KnowledgeGraph

    with _lock:
        mark = _mark(store.path_of(kb.home, kb.collection))
        if kept.get("mark") != mark or "graph" not in kept:
            fresh = KnowledgeGraph.open(kb)
            fresh.index.walk.prepare()
            kept.update(graph=fresh, mark=mark)
        found: KnowledgeGraph = kept["graph"]
    return found


def refresh(kb: KnowledgeBase) -> None:
    """After an import: bring a graph that needs no chat model up to date. Others wait for `ragstone graph build`."""
    from graph.knowledge_graph import KnowledgeGraph

    path = store.path_of(kb.home, kb.collection)
    if path.exists() and store.load(path).header.method in FREE:
        KnowledgeGraph.build(kb)


def forget(kb: KnowledgeBase, doc_ids: Sequence[str]) -> None:
    """After a deletion: the documents leave the graph's file, too."""
    store.forget(store.path_of(kb.home, kb.collection), doc_ids)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
