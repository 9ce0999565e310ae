"""The agent commands: one function each, from parsed arguments to an Outcome."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from agents.agent import Agent
from agents.journal import Journal
from agents.types import AgentEvent, AgentResult, Approval, step_json
from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from ui.commands import FAILED, _open
from ui.options import as_json as _json
from ui.outcome import Outcome
from ui.printing import err, out

SHOWN = 400  # characters of an observation


def run(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb, _agent(options, kb) as agent:
        result = _watched(agent, agent.stream(options.task, thread=options.thread), quiet=_json(options))
    return _outcome(result)


def resume(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb, _agent(options, kb) as agent:
        record = agent.journal.run(options.run_id)
        answer = {"all": True, "never": False}.get(options.approve or "", options.answer)
        events = agent.resume_stream(record["thread"], approve=answer)
        result = _watched(agent, events, quiet=_json(options))
    return _outcome(result)


def list_runs(options: argparse.Namespace) -> Outcome:
    with _journal(options) as journal:
        rows = [
            {name: row.get(name) for name in ("run_id", "thread", "kind", "task", "started", "stopped")}
            for row in journal.journal.runs(options.limit)
        ]
    return Outcome(data={"runs": rows}, show=_show_runs)


def show(options: argparse.Namespace) -> Outcome:
    with _journal(options) as journal:
        record = journal.journal.run(options.run_id)
    return Outcome(data=record, show=_show_record)


def test(options: argparse.Namespace) -> Outcome:
    from agents.traces import as_test

    with _journal(options) as journal:
        record = journal.journal.run(options.run_id)
    path = Path(options.out or f"test_agent_{record['run_id'][:8]}.py")
    try:
        path.write_text(as_test(record), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}). Choose another file with -o.") from error
    return Outcome(data={"path": str(path)}, show=lambda data: out.print(f"Written: {escape(data['path'])}"))


def export(options: argparse.Namespace) -> Outcome:
    from agents.otlp import send, spans

    with _journal(options) as journal:
        body = spans(journal.journal.run(options.run_id), content=options.content)
    n_spans = len(body["resourceSpans"][0]["scopeSpans"][0]["spans"])
    text = json.dumps(body, ensure_ascii=False, indent=2)
    if options.send:
        send(body, options.send)
    if options.out:
        try:
            Path(options.out).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{options.out} cannot be written ({error.strerror}). Choose another file with -o.") from error  # fmt: skip
    if options.send or options.out:
        data = {"spans": n_spans, "sent": options.send or "", "path": options.out or ""}
        return Outcome(data=data, show=lambda _: out.print(f"{n_spans} spans: {escape(options.send or options.out)}"))
    return Outcome(data=body, show=lambda _: out.print(escape(text), soft_wrap=True))


def mcp(options: argparse.Namespace) -> Outcome:
    from agents.mcp import serve

    with _open(options) as kb:
        serve(kb)
    return Outcome(data={}, show=lambda _: None)


# ---------------------------------------------------------------- shapes and options


def result_json(result: AgentResult) -> dict[str, Any]:
    return {
        "answer": result.answer, "steps": [step_json(step) for step in result.steps],
        "citations": [asdict(one) for one in result.citations], "stopped": result.stopped, "reason": result.reason,
        "approval": None if result.approval is None else asdict(result.approval), "plan": list(result.plan),
        "unsupported": list(result.unsupported), "usage": asdict(result.usage), "run_id": result.run_id,
        "thread": result.thread,
    }  # fmt: skip


def _outcome(result: AgentResult) -> Outcome:
    ended = result.stopped in ("answered", "abstained")
    return Outcome(data=result_json(result), show=_show_result, code=0 if ended else FAILED)


def _agent(options: argparse.Namespace, kb: KnowledgeBase) -> Agent:
    changes = {
        "agent__kind": getattr(options, "kind", None),
        "agent__max_steps": getattr(options, "max_steps", None),
        "agent__approve": options.approve,
        "agent__tools": options.tools,
    }
    kb.settings = kb.settings.with_values(**{key: value for key, value in changes.items() if value is not None})
    return Agent(kb=kb)


class _journal:
    """The journal of a home, without opening models."""

    def __init__(self, options: argparse.Namespace) -> None:
        with _open(options) as kb:
            folder = kb.home / "agents"
        folder.mkdir(exist_ok=True)
        self.journal = Journal(folder / "agents.sqlite3")

    def __enter__(self) -> _journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()


# ---------------------------------------------------------------- what people see


def _watched(agent: Agent, events: Iterator[AgentEvent], *, quiet: bool) -> AgentResult:
    """Follow a run; in a terminal, ask when a call waits for approval."""
    result = _follow(events, quiet=quiet)
    while result.approval is not None and not quiet and sys.stdin.isatty():
        answer = _asked(result.approval)
        result = _follow(agent.resume_stream(result.thread, approve=answer), quiet=quiet)
    return result


def _follow(events: Iterator[AgentEvent], *, quiet: bool) -> AgentResult:
    result: AgentResult | None = None
    for event in events:
        result = event.result or result
        if not quiet:
            _show_event(event)
    if result is None:
        raise RuntimeError("the run ended without a result")
    return result


def _show_event(event: AgentEvent) -> None:
    if event.kind == "note":
        err.print(f"[dim]{escape(event.text)}[/dim]")
    elif event.step is not None:
        step = event.step
        who = f"{escape(step.agent)} · " if step.agent else ""
        if step.thought:
            err.print(f"[italic]{who}{escape(step.thought)}[/italic]")
        err.print(f"[bold]{step.n}[/bold] {who}{escape(step.tool or 'no valid reply')} {escape(_args(step.args))}")
        mark = "" if step.ok else f"[red]{escape(step.code)}[/red] "
        err.print(f"  {mark}[dim]{escape(step.observation[:SHOWN])}[/dim]")


def _asked(approval: Approval) -> bool:
    err.print(f"[bold]{escape(approval.tool)}[/bold] waits: {escape(approval.reason)}. It would be called with exactly")
    err.print(escape(json.dumps(dict(approval.args), ensure_ascii=False, indent=2, default=str)))
    err.print("Call it? (y/N) ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes", "j", "是")


def _args(args: Mapping[str, Any]) -> str:
    return json.dumps(dict(args), ensure_ascii=False, default=str)[:SHOWN]


def _show_result(data: Mapping[str, Any]) -> None:
    if data["answer"]:
        out.print(escape(data["answer"]))
    for one in data["citations"]:
        place = f", page {one['page']}" if one["page"] else ""
        err.print(f"[dim]\\[{one['marker']}] {escape(one['source'])}{place}: {escape(' '.join(one['quote'].split())[:160])}[/dim]")  # fmt: skip
    if data["reason"]:
        err.print(f"note: {escape(data['reason'])}")
    if data["approval"]:
        err.print(f"  {escape(data['approval']['tool'])} {escape(_args(data['approval']['args']))}")
        err.print(f"  ragstone agent resume {data['run_id']} --yes, or --no")


def _show_runs(data: Mapping[str, Any]) -> None:
    import time

    table = Table("run", "when", "kind", "ended", "task", box=None)
    for row in data["runs"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["started"]))
        table.add_row(row["run_id"][:8], when, row["kind"], row["stopped"], escape(row["task"][:80]))
    out.print(table)


def _show_record(record: Mapping[str, Any]) -> None:
    from agents.traces import replayed

    out.print(f"[bold]{escape(record['task'])}[/bold]")
    for event in replayed(record):
        _show_event(event)
    _show_result({**record, "approval": None, "reason": record.get("reason", "")})
