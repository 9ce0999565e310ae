"""Which graph an agent kind has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.react import Parts, react_graph


def graph(kind: str, parts: Parts, members: Sequence[tuple[str, str]]) -> Any:
    """The graph of a kind, not yet compiled."""
    return react_graph(parts)
