"""The agents' tool over a knowledge graph."""

from __future__ import annotations

import pytest

from agents import ToolContext
from agents.tools import tools_for
from graph import KnowledgeGraph
from rag import Document, KnowledgeBase
from rag.errors import UsageError


def test_an_agent_looks_names_up(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(
        [
            Document("Blood Street is a 1988 film directed by Leo Fong.", doc_id="street", title="Blood Street"),
            Document("Leo Fong is an actor who was born in Canton.", doc_id="leo", title="Leo Fong"),
        ]
    )
    with pytest.raises(UsageError, match="ragstone graph build"):
        tools_for(tiny_kb, ["graph"], tiny_kb.settings, None)
    KnowledgeGraph.build(tiny_kb)
    look_up = tools_for(tiny_kb, ["graph"], tiny_kb.settings, None)["graph"]
    said = look_up.run({"name": "Leo Fong"}, ToolContext())
    assert "Blood Street is a 1988 film directed by Leo Fong." in said.text and "born in Canton" in said.text
    assert said.tainted is not False  # the sentences are the documents'
    unknown = look_up.run({"name": "Leo Fang"}, ToolContext())
    assert not unknown.ok and "Leo Fong" in unknown.text
