"""One tool call: found, checked, run with a time limit, and its result made into an observation. Never raises for a tool."""

from __future__ import annotations

import difflib
import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.schema import without_blanks
from agents.tooling import Tool, ToolContext, ToolResult
from agents.types import Call
from rag.citations import Passage
from rag.errors import RagstoneError

MAX_CHARS = 8_000  # of an observation: about what a small model's context holds beside its prompt
MAX_ARGS_CHARS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    text: str
    ok: bool = True
    code: str = ""
    tainted: bool = False
    passages: tuple[Passage, ...] = ()
    artifacts: tuple[str, ...] = ()
    ms: float = 0.0


def fault(tools: Mapping[str, Tool], call: Call) -> Observation | None:
    """Why a call cannot run, in words that help the model to make a better one; None when it can."""
    if call.raw:
        return _failed("arguments", f"The arguments are no JSON object: {call.raw[:200]!r}. Write them as JSON.")
    tool = tools.get(call.tool)
    if tool is None:
        near = difflib.get_close_matches(call.tool, tools, n=1, cutoff=0.5)
        known = f"Did you mean {near[0]}?" if near else f"The tools are: {', '.join(tools)}."
        return _failed("unknown_tool", f"There is no tool {call.tool[:80]!r}. {known}")
    if len(json.dumps(dict(call.args), default=str)) > MAX_ARGS_CHARS:
        return _failed("arguments", f"The arguments are longer than {MAX_ARGS_CHARS:,} characters. Shorten them.")
    if found := tool.problems(call.args):
        return _failed("arguments", f"{tool.signature} was not called. {' '.join(found)}")
    return None


def execute(tool: Tool, args: Mapping[str, Any], context: ToolContext) -> Observation:
    """Run a call whose arguments fit. A tool that hangs is left behind at its time limit; what it raises is told."""
    started = time.perf_counter()
    limit = min(tool.timeout_s, context.deadline_s)
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put(tool.run(without_blanks(tool.parameters, args), replace(context, deadline_s=limit)))
        except BaseException as error:  # an edge: whatever a tool raises becomes an observation
            done.put(_Raised(error))

    threading.Thread(target=work, name=f"tool {tool.name}"[:40], daemon=True).start()
    try:
        result = done.get(timeout=max(0.0, limit))
    except queue.Empty:
        return _failed("timeout", f"{tool.name} did not finish within {limit:g} s and was given up.", started=started)
    if isinstance(result, _Raised):
        return _raised(tool, result.error, started)
    return _observed(tool, result, started)


def numbered(passages: Sequence[Passage], known: Sequence[Passage]) -> tuple[list[Passage], list[Passage]]:
    """Passages with the run's own numbers: (as they are to be shown, those that are new). The same stretch keeps its number."""
    shown: list[Passage] = []
    new: list[Passage] = []
    by_place = {(one.hit.doc_id, one.start, one.text): one for one in known}
    for passage in passages:
        place = (passage.hit.doc_id, passage.start, passage.text)
        if place not in by_place:
            by_place[place] = replace(passage, number=len(known) + len(new) + 1)
            new.append(by_place[place])
        shown.append(by_place[place])
    return shown, new


def clipped(text: str, limit: int = MAX_CHARS) -> str:
    """The beginning and the end of a text that is too long, and how much is missing between them."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    return f"{text[:head]}\n… {len(text) - head - tail:,} characters left out …\n{text[-tail:]}"


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


def _raised(tool: Tool, error: BaseException, started: float) -> Observation:
    known = isinstance(error, RagstoneError)
    text = str(error) if known else f"{tool.name} failed: {type(error).__name__}: {error}"
    # What an exception says may quote what the tool read.
    return _failed("failed", clipped(text, 1000), started=started, tainted=tool.untrusted)


def _observed(tool: Tool, result: Any, started: float) -> Observation:
    ms = round((time.perf_counter() - started) * 1000, 3)
    plain = result if isinstance(result, ToolResult) else ToolResult(text=_text(result))
    harmless = isinstance(result, (bool, int, float)) or result is None
    tainted = (tool.untrusted and not harmless) if plain.tainted is None else plain.tainted
    return Observation(
        text=clipped(plain.text), ok=plain.ok, code=plain.code, tainted=tainted, passages=tuple(plain.passages),
        artifacts=tuple(plain.artifacts), ms=ms,
    )  # fmt: skip


def _text(result: Any) -> str:
    if isinstance(result, str):
        return result
    if result is None:
        return "done"
    try:
        return json.dumps(result, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError):
        return str(result)


def _failed(code: str, text: str, *, started: float | None = None, tainted: bool = False) -> Observation:
    ms = round((time.perf_counter() - started) * 1000, 3) if started else 0.0
    return Observation(text=text, ok=False, code=code, ms=ms, tainted=tainted)
