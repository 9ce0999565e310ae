"""The tools that come with ragstone, and which of them an agent gets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agents.tooling import Tool, as_tool
from rag.errors import UsageError
from rag.settings import Settings

NAMED = ("graph", "web", "files", "python", "sql")


def tools_for(kb: Any, given: Iterable[Any], settings: Settings, folder: Path | None) -> dict[str, Tool]:
    """An agent's tools by name: those of the collection, the calculator, and what it was given.

    given: Tools, typed functions, or names of NAMED. A given tool takes the place of ours with the same name.
    folder: where workspaces lie when the settings name none.
    Raises: UsageError for unknown names and for two tools of one name.
    """
    from agents.tools.calculator import calculator_tool

    ours = [*_of_collection(kb), calculator_tool()]
    extra = [tool for one in given for tool in (_named(one, kb, settings, folder) if isinstance(one, str) else [as_tool(one)])]  # fmt: skip
    names = [tool.name for tool in extra]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"Two tools are called {twice!r}. Rename one: tool.renamed('another').")
    return {tool.name: tool for tool in [*(one for one in ours if one.name not in names), *extra]}


def _of_collection(kb: Any) -> list[Tool]:
    if kb is None:
        return []
    from agents.tools.knowledge import read_tool, search_tool

    return [search_tool(kb), read_tool(kb)]


def _named(name: str, kb: Any, settings: Settings, folder: Path | None) -> list[Tool]:
    agent = settings.agent
    if name == "graph" and kb is not None:
        from agents.tools.knowledge import graph_tool

        return [graph_tool(kb)]
    if name == "web":
        from agents.tools.web import fetch_tool

        return [fetch_tool(settings.fetch, settings.parse)]
    if name == "files":
        from agents.tools.files import file_tools

        place = Path(agent.workspace).expanduser() if agent.workspace else _below(folder, "workspace")
        return file_tools(place)
    if name == "sql":
        from agents.tools.sql import sql_tool

        return [sql_tool(agent.databases)]
    if name == "python":
        from agents.tools.python import python_tool

        return [python_tool(agent)]
    raise UsageError(f"There is no tool {name!r}. By name there are {', '.join(NAMED)}; others are functions.")


def _below(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise UsageError("The tool files needs a folder. Set agent.workspace, or give the agent a home.")
    return folder / name
