"""LangGraph: graphs of nodes, checkpoints that hold plain data only, and runs that wait. The only home of the library.

A state is a dict of JSON values, and a checkpoint that holds anything else is not read: a tampered file cannot make an
object. Every step is on disk before the next one begins. Nothing is sent to LangSmith.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import CatalogError

os.environ.setdefault("LANGSMITH_TRACING", "false")
os.environ.setdefault("LANGCHAIN_TRACING_V2", "false")
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402
from langgraph.runtime import Runtime  # noqa: E402
from langgraph.types import Command, Send, interrupt  # noqa: E402

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["END", "START", "Runtime", "Send", "StateGraph", "interrupt"]

MAX_NODES = 1000  # of one run; budgets end it long before
KEEP = 2  # checkpoints of a thread: the latest, and the one before it


class Threads:
    """Where threads are kept: a file, or memory for an agent without a home. Threads of the process may share it."""

    def __init__(self, path: Path | None) -> None:
        from langgraph.checkpoint.sqlite import SqliteSaver

        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=30)
        # No module is allowed beside LangGraph's own plain types, and nothing is ever unpickled.
        serializer = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
        self._saver = SqliteSaver(self._db, serde=serializer)
        try:
            self._db.execute("pragma synchronous = normal")  # a killed process loses nothing by it
            self._saver.setup()
        except sqlite3.DatabaseError as error:
            raise CatalogError(f"The agents' threads in {path} are damaged ({error}). Move the file away to go on without them.") from error  # fmt: skip

    def compile(self, graph: StateGraph[Any, Any, Any, Any]) -> CompiledStateGraph[Any, Any, Any, Any]:
        return graph.compile(checkpointer=self._saver)

    def prune(self, thread: str) -> None:
        """Drop all but the latest checkpoints of a thread: its size does not grow with its age."""
        old = """select checkpoint_id from checkpoints where thread_id = ? and checkpoint_ns = '' order by checkpoint_id
                 desc limit -1 offset ?"""
        with self._saver.lock, self._db:
            for (one,) in self._db.execute(old, (thread, KEEP)).fetchall():
                self._db.execute("delete from writes where thread_id = ? and checkpoint_id = ?", (thread, one))
                self._db.execute("delete from checkpoints where thread_id = ? and checkpoint_id = ?", (thread, one))
            latest = self._db.execute("select checkpoint_id from checkpoints where thread_id = ? and checkpoint_ns = '' order by 1 limit 1", (thread,)).fetchone()  # fmt: skip
            if latest is not None:  # what sub-graphs of earlier steps left
                for table in ("writes", "checkpoints"):
                    self._db.execute(f"delete from {table} where thread_id = ? and checkpoint_ns != '' and checkpoint_id < ?", (thread, latest[0]))  # noqa: S608  # fmt: skip

    def delete(self, thread: str) -> None:
        self._saver.delete_thread(thread)

    def close(self) -> None:
        self._db.close()


def steps(
    app: CompiledStateGraph[Any, Any, Any, Any], given: Mapping[str, Any] | None, *, thread: str, context: Any
) -> Iterator[Any]:
    """Run a graph and yield what its nodes write. given: the input; None goes on with what is in the thread.

    Every step is on disk before the next begins. Raises: CatalogError for a checkpoint that was tampered with.
    """
    for _, written in app.stream(
        given, _config(thread), context=context, stream_mode="custom", durability="sync", subgraphs=True
    ):
        yield written


def to_end(
    app: CompiledStateGraph[Any, Any, Any, Any], given: Mapping[str, Any] | None, *, thread: str, context: Any
) -> None:
    """`steps` for a caller who waits for the end: nodes run in this thread, where events would take a thread each."""
    for _ in app.stream(given, _config(thread), context=context, stream_mode="updates", durability="sync"):
        pass


def _config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}, "recursion_limit": MAX_NODES}


def resume_with(answers: Mapping[str, Any]) -> Any:
    """The input that answers what a run waits for: the interrupts' ids and the answers."""
    return Command(resume=dict(answers))


def state(
    app: CompiledStateGraph[Any, Any, Any, Any], thread: str
) -> tuple[dict[str, Any], list[tuple[str, Any]], bool]:
    """(the values of a thread, (id, value) of what it waits for, whether something is left to do). Raises CatalogError."""
    config: Any = {"configurable": {"thread_id": thread}}
    try:
        found = app.get_state(config)
    except Exception as error:  # the edge to a file that anybody may have changed
        raise CatalogError(f"Thread {thread} cannot be read: its checkpoint is damaged ({type(error).__name__}). Start another thread.") from error  # fmt: skip
    if not isinstance(found.values, dict):
        raise CatalogError(f"Thread {thread} cannot be read: its checkpoint is damaged. Start another thread.")
    # Not `next`: that is empty, too, where a node had ended and the process was killed before the checkpoint after it.
    return dict(found.values), [(one.id, one.value) for one in found.interrupts], bool(found.tasks)


Node = Callable[..., Any]
