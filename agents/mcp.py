"""MCP, the Model Context Protocol: tools of any server for our agents, and a collection for the agents of others.

The only home of the mcp package, ragstone[mcp].
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from contextlib import suppress
from typing import Any

from agents.tooling import Tool, ToolContext, ToolResult, from_schema
from agents.tools.knowledge import read_tool, search_tool
from rag.errors import RagstoneError, UsageError

START_S, CALL_S = 30.0, 60.0


class McpTools:
    """The tools of one MCP server, as a context manager: `with McpTools(["npx", "some-server"]) as server: Agent(tools=server.tools)`.

    server: a command with its arguments, or the URL of a server that speaks HTTP.
    reads: names of tools that only read. A server's own word for it is not taken: every other tool counts as acting, and
        needs approval once text from outside was read.
    env: variables for a command; nothing of ours is passed on.
    Raises: UsageError when the server cannot be started, or mcp is not installed.
    """

    def __init__(
        self, server: Sequence[str] | str, *, reads: Collection[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self._server, self._reads, self._env = server, frozenset(reads), dict(env or {})
        self._loop = asyncio.new_event_loop()
        self._ready: Future[list[Tool]] = Future()
        self._done = asyncio.Event()
        self._client: Any = None
        self._thread = threading.Thread(target=self._run, name="mcp client", daemon=True)

    def __enter__(self) -> McpTools:
        self._thread.start()
        try:
            self.tools = self._ready.result(timeout=START_S)
        except TimeoutError as error:
            self._stop()
            raise UsageError(f"The MCP server {self._shown} did not answer within {START_S:g} s. Check its command.") from error  # fmt: skip
        except RagstoneError:
            self._stop()
            raise
        except Exception as error:
            self._stop()
            raise UsageError(f"The MCP server {self._shown} cannot be used ({_reason(error)}). Check its command or URL.") from error  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def _shown(self) -> str:
        return self._server if isinstance(self._server, str) else " ".join(self._server)

    def _stop(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # an edge: it belongs to the thread that waits
            if not self._ready.done():
                self._ready.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        try:
            from mcp import Client, StdioServerParameters
        except ImportError as error:
            raise UsageError(f"MCP needs its package: pip install 'ragstone[mcp]' ({error}).") from error
        where: Any = self._server
        if not isinstance(self._server, str):
            command, *args = self._server
            where = StdioServerParameters(command=command, args=list(args), env=self._env)
        async with Client(where, read_timeout_seconds=CALL_S) as client:
            self._client = client
            listed = await client.list_tools()
            self._ready.set_result([self._tool(one) for one in listed.tools])
            await self._done.wait()

    def _tool(self, listed: Any) -> Tool:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", listed.name)[:64]
        schema = dict(listed.input_schema or {})

        def run(args: Mapping[str, Any], context: ToolContext) -> ToolResult:
            call = self._client.call_tool(listed.name, dict(args))
            waiting = asyncio.run_coroutine_threadsafe(call, self._loop)
            try:
                result = waiting.result(timeout=context.deadline_s)
            except TimeoutError:
                waiting.cancel()
                return ToolResult(text=f"{name} did not answer in time.", ok=False, code="timeout", tainted=True)
            parts = [str(getattr(one, "text", None) or f"({getattr(one, 'type', 'something')} that is no text)") for one in result.content]  # fmt: skip
            return ToolResult(text="\n".join(parts), ok=not result.is_error, code="failed" if result.is_error else "")

        effect: Any = "read" if listed.name in self._reads else "write"
        return from_schema(name, listed.description or name, schema, run, effect=effect, timeout_s=CALL_S)


def server_of(kb: Any) -> Any:
    """An MCP server with the tools search and read_document over a collection. Raises UsageError without the package."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError as error:
        raise UsageError(f"MCP needs its package: pip install 'ragstone[mcp]' ({error}).") from error
    server = MCPServer("ragstone", instructions="Search the user's documents and read them. Cite the sources.", log_level="ERROR")  # fmt: skip
    find, read = search_tool(kb, max_passages=5), read_tool(kb)

    def search(query: str) -> str:
        return _shown_result(find.run({"query": query}, ToolContext()))

    def read_document(document: str, page: int = 0, section: str = "", start: int = 0) -> str:
        args = {"document": document, "page": page, "section": section, "start": start}
        return _shown_result(read.run(args, ToolContext()))

    server.add_tool(search, description=find.description)
    server.add_tool(read_document, description=read.description)
    return server


def serve(kb: Any) -> None:
    """Serve a collection over stdin and stdout until they close. Nothing else may write to stdout."""
    server = server_of(kb)
    sys.stderr.write("ragstone: serving MCP over stdin and stdout\n")
    server.run("stdio")


def _shown_result(result: ToolResult) -> str:
    parts = [f"[{at}] {one.hit.source}\n{one.header}\n{one.text}" for at, one in enumerate(result.passages, start=1)]
    return "\n\n".join([*parts, *([result.text] if result.text else [])])


def _reason(error: BaseException) -> str:
    """What is inside a group of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
