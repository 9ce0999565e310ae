"""How many tasks the packaged model completes that need two tools, and what the framework adds to a step.

    python -m bench.agents tasks          # 20 tasks over examples/tea, English and Chinese: search, then calculate
    python -m bench.agents holdout        # 10 tasks over other documents; no rule or prompt was made after looking at them
    python -m bench.agents bfcl DIR       # BFCL's simple calls (bfcl-single-turn.jsonl.gz in DIR), first --limit of them
    python -m bench.agents overhead       # milliseconds per step without a model, and 50 threads at once

A task counts as completed when the answer holds the expected number, and both tools were called and ran.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.model import Asking, ask
from agents.prompts import Situation
from agents.tooling import from_schema
from agents.types import Budget
from bench.agent_tasks import HOLDOUT, HOLDOUT_DOCUMENTS, TASKS, Task
from rag.errors import ChatError
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import ChatDelta, ToolCall, Usage

REPO = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tasks", "holdout", "bfcl", "overhead"))
    parser.add_argument("folder", nargs="?", type=Path, default=REPO.parent / "shared" / "data" / "bench")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--only", default="", help="of the tasks: their numbers, from 1, such as 2,8")
    options = parser.parse_args()
    if options.what in ("tasks", "holdout"):
        listed = TASKS if options.what == "tasks" else HOLDOUT
        chosen = [listed[int(n) - 1] for n in options.only.split(",") if n] or listed[: options.limit or None]
        given = [REPO / "examples" / "tea"] if options.what == "tasks" else HOLDOUT_DOCUMENTS
        result = tasks(Settings.load(), chosen, given, progress=lambda text: print(text, flush=True))
    elif options.what == "bfcl":
        result = bfcl(Settings.load(), options.folder, options.limit or 50)
    else:
        result = overhead()
    print(json.dumps(result, ensure_ascii=False, indent=2))


# ---------------------------------------------------------------- tasks with two tools


def tasks(settings: Settings, chosen: Sequence[Task], given: Sequence[Any], *, progress: Any = None) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as home, KnowledgeBase.open(home, settings=settings) as kb:
        kb.ingest(given)
        with Agent(kb=kb) as agent:
            for task in chosen:
                result = agent.run(task.text)
                used = [step.tool for step in result.steps if step.ok]
                right = result.stopped == "answered" and holds(result.answer, task.number)
                row = {
                    "task": task.text, "language": task.language, "wanted": task.number, "answer": result.answer,
                    "tools": used, "stopped": result.stopped, "seconds": round(result.usage.seconds, 1),
                    "completed": right and {"search", "calculator"} <= {*used, *_read(used)}, "right": right,
                }  # fmt: skip
                rows.append(row)
                if progress:
                    progress(json.dumps(row, ensure_ascii=False))
    return {"model": agent.chat.name, "tasks": len(rows), **_shares(rows), "rows": rows}


def holds(answer: str, number: str) -> bool:
    """Whether the number stands in an answer as a number of its own."""
    plain = answer.replace(",", "").replace("，", " ")
    return re.search(rf"(?<![\d.]){re.escape(number)}(?!\d|\.\d)", re.sub(r"\[\d+\]", "", plain)) is not None


def _read(used: Sequence[str]) -> set[str]:
    """Reading a document is finding something, too."""
    return {"search"} if "read_document" in used else set()


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    parts = {"all": rows} | {lang: [row for row in rows if row["language"] == lang] for lang in ("en", "zh")}
    return {
        what: {name: round(statistics.mean(row[what] for row in part), 3) for name, part in parts.items() if part}
        for what in ("completed", "right")
    }


# ---------------------------------------------------------------- single calls


def bfcl(settings: Settings, folder: Path, limit: int) -> dict[str, Any]:
    """BFCL `simple_python`: one function, one call. Right when every argument is one that BFCL accepts."""
    from rag.chat_models import open_chat

    chat = open_chat(settings)
    if chat is None:
        raise SystemExit("no chat model")
    rows = [row for row in read_rows(folder / "bfcl-single-turn.jsonl.gz") if row["category"] == "simple_python"][
        :limit
    ]
    n_right = n_called = 0
    for row in rows:
        tools = [bfcl_tool(one) for one in row["function"]]
        at = Situation(task=row["question"][0][-1]["content"], language="en", tools=tools)
        try:
            reply = ask(Asking(chat=chat), at, deadline_s=120)
        except ChatError:
            continue
        n_called += bool(reply.calls)
        n_right += bool(reply.calls) and accepted(reply.calls[0].tool, reply.calls[0].args, row["ground_truth"][0])
    return {"model": chat.name, "calls": len(rows), "called": n_called, "right": round(n_right / max(len(rows), 1), 3)}


def bfcl_tool(function: Mapping[str, Any]) -> Any:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", function["name"])[:64]
    return from_schema(name, function["description"], function["parameters"], lambda _args, _context: "done")


def accepted(name: str, args: Mapping[str, Any], truth: Mapping[str, Any]) -> bool:
    """BFCL's rule: the right function, each argument among the accepted values, none missing that must be there."""
    wanted_name, wanted = next(iter(truth.items()))
    if name != re.sub(r"[^A-Za-z0-9_.-]", "_", wanted_name)[:64] or set(args) - set(wanted):
        return False
    return all(
        any(_equal(args[key], value) for value in values if value != "") if key in args else "" in values
        for key, values in wanted.items()
    )


def _equal(given: Any, wanted: Any) -> bool:
    if isinstance(given, str) and isinstance(wanted, str):
        return re.sub(r"[\s,./*^_-]", "", given).lower() == re.sub(r"[\s,./*^_-]", "", wanted).lower()
    if isinstance(wanted, Mapping) and isinstance(given, Mapping):
        return all(key in wanted and any(_equal(value, one) for one in wanted[key]) for key, value in given.items())
    if isinstance(wanted, list) and isinstance(given, list):
        return len(wanted) == len(given) and all(map(_equal, given, wanted))
    return bool(given == wanted)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


# ---------------------------------------------------------------- what the framework costs


class _Scripted:
    """A model in this process that calls a tool n times and then answers: what is left is the framework's time."""

    name = "scripted"
    calls_tools = True

    def __init__(self, n_calls: int) -> None:
        self._n_calls = n_calls

    def stream(self, messages: Sequence[Any], **_options: Any) -> Iterator[ChatDelta]:
        done = sum(1 for message in messages if message.role == "tool")
        usage = Usage(n_prompt_tokens=1, n_answer_tokens=1)
        if done < self._n_calls:
            call = ToolCall(call_id=str(done), name="calculator", arguments=json.dumps({"expression": f"{done} + 1"}))
            yield ChatDelta(done=True, finish_reason="stop", usage=usage, tool_calls=(call,))
        else:
            yield ChatDelta(text="done")
            yield ChatDelta(done=True, finish_reason="stop", usage=usage)

    def close(self) -> None:
        pass


def overhead(n_steps: int = 10, repeat: int = 20, n_threads: int = 50) -> dict[str, Any]:
    """Milliseconds of a step (asking and one tool call) with every checkpoint on disk, and many threads at once."""
    budget = Budget(max_steps=n_steps + 2)
    with (
        tempfile.TemporaryDirectory() as home,
        Agent(chat=_Scripted(n_steps), budget=budget, home=home, settings=Settings()) as agent,
    ):
        agent.run("warm up")
        ways = {"step_ms": lambda: agent.run("count"), "watched_step_ms": lambda: list(agent.stream("count"))}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeat):  # in turn, so that other work on the machine meets both
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                times[name].append((time.perf_counter() - started) * 1000 / n_steps)
        kept = _at_once(agent, n_threads)
    return {
        **{name: {"p50": round(statistics.median(took), 2), "p95": round(sorted(took)[int(0.95 * len(took))], 2)}
           for name, took in times.items()},
        "threads": n_threads,
        "messages_kept": kept,
    }  # fmt: skip


def _at_once(agent: Agent, n_threads: int) -> str:
    """Two runs on each of n threads of conversation, all at the same time: how many turns are there afterwards."""
    from agents import flow

    def work(name: str) -> None:
        agent.run(f"task of {name}", thread=name)

    workers = [threading.Thread(target=work, args=(f"t{at % n_threads}",)) for at in range(2 * n_threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    kept = sum(len(flow.state(agent._app, f"t{at}")[0].get("turns", ())) for at in range(n_threads))
    return f"{kept} of {2 * n_threads}"


if __name__ == "__main__":
    main()
