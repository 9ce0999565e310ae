"""The knowledge graph over a collection (networkx): extraction, merging, communities, graph retrieval. May import rag.

`from graph import KnowledgeGraph`. Names load when first used, so that importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graph.knowledge_graph import KnowledgeGraph

__all__ = ["KnowledgeGraph"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'graph' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("graph.knowledge_graph"), name)
