"""What agents keep of a user, MCP in both directions over real processes, and tools from an OpenAPI description."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import Agent, LongTermMemory, ToolContext
from agents.tools.openapi import openapi_tools
from agents.traces import RecordedChat
from rag import Document, KnowledgeBase
from rag.errors import UsageError
from tests.bars.harness import environment


@pytest.fixture(scope="module")
def kb(tiny_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("memory") / "home", settings=tiny_settings) as opened:
        opened.ingest([Document("The Suez Canal was opened in 1869.", doc_id="suez", title="Suez")])
        yield opened


def test_facts_are_kept_replaced_and_forgotten(kb: KnowledgeBase) -> None:
    memory = LongTermMemory(kb, "ann")
    memory.remember("favourite tea", "Ann likes longjing best.", source="chat of Monday")
    memory.remember("garden", "Ann's garden lies at 900 m.")
    memory.remember("the favourite Tea", "Ann likes keemun best now.")
    current = {fact.about: fact.text for fact in memory.facts()}
    assert sorted(current.values()) == ["Ann likes keemun best now.", "Ann's garden lies at 900 m."]
    assert len(memory.facts(history=True)) == 3 and "longjing" not in " ".join(
        memory.recall("which tea does Ann like?")
    )
    recalled = memory.recall("which tea does Ann like best?")
    assert any("keemun" in line and "conversation" in line for line in recalled)
    assert (
        LongTermMemory(kb, "bob").recall("which tea does Ann like?") == [] and LongTermMemory(kb, "bob").facts() == []
    )
    assert memory.forget("favourite tea") == 2 and "keemun" not in " ".join(memory.recall("tea"))
    assert [fact.about for fact in LongTermMemory(kb, "ann").facts()] == ["garden"], "kept on disk"
    assert memory.forget() == 1 and memory.facts(history=True) == []
    assert [info.doc_id for info in kb.documents()] == ["suez"], "the user's documents are not touched"
    with pytest.raises(UsageError):
        memory.remember("", "x")


def test_an_agent_uses_what_it_knows_of_a_user(kb: KnowledgeBase, tmp_path: Path) -> None:
    memory = LongTermMemory(kb, "cid")
    memory.remember("altitude of the garden", "The garden of Cid lies at 1300 m.")
    seen: list[str] = []

    class Listening(RecordedChat):
        def stream(self, messages: Any, **options: Any) -> Any:
            seen.extend(message.content for message in messages)
            return super().stream(messages, **options)

    call = {"tool": "remember", "args": {"about": "harvest", "fact": "Cid harvests in May."}, "call_id": "1", "raw": ""}
    chat = Listening([{"text": "", "calls": [call], "native": True}, {"text": "Noted.", "calls": [], "native": True}])
    with Agent(chat=chat, home=tmp_path, memory=memory, settings=kb.settings) as agent:
        result = agent.run("At which altitude is my garden? And I harvest in May.")
    assert any("1300 m" in text for text in seen)
    assert result.stopped == "answered" and {fact.about for fact in memory.facts()} == {
        "altitude of the garden",
        "harvest",
    }
    memory.keep_episode("Compute the age of Rikyu", result)
    assert "remember" in memory.episodes("How old did Rikyu become?")[0]
    memory.forget()


# ---------------------------------------------------------------- MCP

SERVER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("test", log_level="ERROR")
@server.tool()
def add(a: int, b: int) -> str:
    "Add two numbers."
    return str(a + b)
@server.tool()
def fail() -> str:
    "Fails."
    raise RuntimeError("no luck")
server.run("stdio")
"""


def test_tools_of_an_mcp_server() -> None:
    pytest.importorskip("mcp")
    from agents.mcp import McpTools

    with McpTools([sys.executable, "-c", SERVER], reads=["add"]) as server:
        tools = {tool.name: tool for tool in server.tools}
        assert tools["add"].effect == "read" and tools["fail"].effect == "write"
        assert tools["add"].problems({"a": 1}) and tools["add"].run({"a": 1, "b": 2}, ToolContext()).text == "3"
        assert not tools["fail"].run({}, ToolContext()).ok
    with pytest.raises(UsageError, match="cannot be used"), McpTools(["/nonexistent/server"]):
        pass


def test_a_collection_as_an_mcp_server(kb: KnowledgeBase, tiny_settings: Any, repo: Path) -> None:
    """The command, spoken to by the client, as another program's agent would."""
    pytest.importorskip("mcp")
    from agents.mcp import McpTools

    command = [sys.executable, "-m", "ui.cli", "agent", "mcp", "--home", str(kb.home), "--set", "search.mode=bm25"]
    with McpTools(command, reads=["search"], env=environment(tiny_settings)) as server:
        tools = {tool.name: tool for tool in server.tools}
        assert "1869" in tools["search"].run({"query": "Suez Canal opened"}, ToolContext()).text
        assert "1869" in tools["read_document"].run({"document": "Suez"}, ToolContext()).text


# ---------------------------------------------------------------- OpenAPI

SPEC = {
    "openapi": "3.0.0",
    "servers": [{"url": "https://api.example.com/v1"}],
    "paths": {
        "/teas/{name}": {
            "parameters": [{"$ref": "#/components/parameters/name"}],
            "get": {"operationId": "getTea", "summary": "One tea.", "parameters": [
                {"name": "grams", "in": "query", "schema": {"type": "integer", "minimum": 1}}, {"name": "X-Key", "in": "header"}]},
            "delete": {"operationId": "deleteTea"},
        }
    },
    "components": {"parameters": {"name": {"name": "name", "in": "path", "required": True, "schema": {"$ref": "#/components/schemas/Name"}}},
                   "schemas": {"Name": {"type": "string", "minLength": 2}}},
}  # fmt: skip


def test_tools_from_an_openapi_description(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.tools import openapi
    from rag.fetch import Fetched

    made = openapi_tools(SPEC)
    assert made.left_out == ("DELETE /teas/{name}",)
    (tool,) = made.tools
    assert tool.name == "getTea" and tool.effect == "fetch" and tool.parameters["required"] == ["name"]
    assert tool.problems({"name": "x", "grams": 0}) and not tool.problems({"name": "longjing"})
    asked: list[str] = []

    def fetched(url: str, **_options: Any) -> Fetched:
        asked.append(url)
        return Fetched(url=url, final_url=url, data=b'{"price": 12}', content_type="application/json")

    monkeypatch.setattr(openapi, "fetch", fetched)
    assert tool.run({"name": "long jing/../x?y", "grams": 5}, ToolContext()).text == '{"price": 12}'
    assert tool.run({"name": ".."}, ToolContext()).ok
    assert asked == [
        "https://api.example.com/v1/teas/long%20jing%2F..%2Fx%3Fy?grams=5",
        "https://api.example.com/v1/teas/%2E%2E",
    ]
    with pytest.raises(UsageError, match="no OpenAPI"):
        openapi_tools({})
    with pytest.raises(UsageError, match="base_url"):
        openapi_tools({"paths": {}})
