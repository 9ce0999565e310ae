"""Which graph an agent kind has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.corrective import corrective_graph
from agents.plan import plan_graph
from agents.react import Parts, react_graph
from agents.research import research_graph
from agents.team import team_graph
from agents.toolsearch import toolsearch_graph


def graph(kind: str, parts: Parts, members: Sequence[tuple[str, str]]) -> Any:
    """The graph of a kind, not yet compiled."""
    if kind == "team":
        return team_graph(parts, members)
    makers = {"react": react_graph, "plan": plan_graph, "research": research_graph, "corrective": corrective_graph,
              "toolsearch": toolsearch_graph}  # fmt: skip
    return makers[kind](parts)
