"""What people set on a document: a title, metadata, other chunk sizes, or that no search finds it. It outlives later imports.

Kept in the catalog as {"title": str, "metadata": {key: value or None}, "chunk": {"size": n, "overlap": n}, "disabled": true};
None takes a key away that the document itself has. Empty: everything is as the import found it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_MARK = "+edited="


def merged(edits: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Edits with further ones on top."""
    found = {**edits, **change}
    for table in ("metadata", "chunk"):
        if table in change:
            found[table] = {**edits.get(table, {}), **change[table]}
    return {key: value for key, value in found.items() if value not in (False, None, {}, "")}


def metadata(found: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that an import found, as people want it."""
    return {key: value for key, value in {**found, **edits.get("metadata", {})}.items() if value is not None}


def chunk_sizes(size: int, overlap: int, edits: Mapping[str, Any], *, most: int) -> tuple[int, int]:
    """Tokens per chunk and of overlap for one document; never more than the model reads."""
    chunk = edits.get("chunk", {})
    size = min(chunk.get("size", size), most)
    return size, min(chunk.get("overlap", overlap), size // 2)


def marked(recipe: str, edits: Mapping[str, Any]) -> str:
    """A recipe that names the edits which decide what is stored; an import that finds the same one has nothing to do."""
    words = [word for word in recipe.split(" ") if not word.startswith(_MARK)]
    stored = {key: value for key, value in edits.items() if key != "disabled"}
    if stored:
        encoded = json.dumps(stored, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        words.append(_MARK + hashlib.sha256(encoded).hexdigest()[:16])
    return " ".join(words)
