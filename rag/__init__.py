"""ragstone's core: documents → chunks → indexes → ranked hits → cited answers. Imports nothing else of ours.

Names load when first used, so that `import rag` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.errors import RagstoneError
    from rag.knowledge_base import KnowledgeBase
    from rag.settings import Settings
    from rag.types import Answer, Citation, Document, Event, Hit, Hits, IngestReport

_HOMES = {
    "KnowledgeBase": "rag.knowledge_base",
    "Settings": "rag.settings",
    "RagstoneError": "rag.errors",
    **dict.fromkeys(("Answer", "Citation", "Document", "Event", "Hit", "Hits", "IngestReport"), "rag.types"),
}

__all__ = [
    "Answer",
    "Citation",
    "Document",
    "Event",
    "Hit",
    "Hits",
    "IngestReport",
    "KnowledgeBase",
    "RagstoneError",
    "Settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rag' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
