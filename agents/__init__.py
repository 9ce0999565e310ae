"""LangGraph agents over a collection: tools, memory, sandbox. May import graph and rag.

Names load when first used, so that `import agents` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.agent import Agent
    from agents.longterm import LongTermMemory
    from agents.tooling import Tool, ToolContext, ToolResult, tool
    from agents.types import AgentEvent, AgentResult, AgentStep, Approval, Budget

_HOMES = {
    "Agent": "agents.agent",
    "LongTermMemory": "agents.longterm",
    **dict.fromkeys(("Tool", "ToolContext", "ToolResult", "tool"), "agents.tooling"),
    **dict.fromkeys(("AgentEvent", "AgentResult", "AgentStep", "Approval", "Budget"), "agents.types"),
}

__all__ = [
    "Agent",
    "AgentEvent",
    "AgentResult",
    "AgentStep",
    "Approval",
    "Budget",
    "LongTermMemory",
    "Tool",
    "ToolContext",
    "ToolResult",
    "tool",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name == "tool":  # also the name of the module that it lives in
        return importlib.import_module("agents.tooling").tool
    if name not in _HOMES:
        raise AttributeError(f"module 'agents' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
