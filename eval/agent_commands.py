"""What `ragstone eval agents` does: BFCL, API-Bank and tau2, with the chat model or from recorded calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eval import agent_bench, tau2
from eval.commands import FAILED, gate, made_folder, write_file, written_json
from eval.evaluation import Progress
from eval.problems import ProblemLog
from eval.replay import RecordedChat
from rag.errors import UsageError
from rag.types import ChatModel


def agents(
    data: str | Path,
    bench: str,
    *,
    calls: str | Path | None = None,
    limit: int | None = None,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    customer: str = "script",
    out_dir: str | Path | None = None,
    fail_under: Sequence[str] = (),
    open_chat: Callable[[], ChatModel | None],
    deadline_s: float = 120.0,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], int]:
    """The JSON document and the exit code: 3 when a task failed for another reason than its calls, or a gate was missed.

    customer: who plays the customers of tau2, `script` or `model` (the same chat model).
    calls: JSON lines of what an agent did, rated without a model. Else the chat model is asked; record and replay as in
    `eval behaviour`.
    out_dir: receives agents-BENCH.json and agents-BENCH.jsonl.
    Raises: UsageError for whatever cannot be asked for.
    """
    if sum(one is not None for one in (calls, record, replay)) > 1:
        raise UsageError("--calls, --record and --replay exclude each other. Give one of them.")
    gates = [gate(text, ("success",)) for given in fail_under for text in given.split(",") if text.strip()]
    log, folder = ProblemLog(), Path(data)
    out = made_folder(out_dir, ".") if out_dir is not None else None
    if calls is not None:
        recorded = agent_bench.read_recorded(Path(calls), log)
        rated, model = agent_bench.rate_recorded(folder, bench, recorded, log=log, limit=limit), Path(calls).name
    else:
        chat = RecordedChat(replay, None) if replay is not None else _chat(open_chat, record)
        policy = agent_bench.chat_policy(chat, deadline_s=deadline_s)
        played = (
            partial(tau2.model_customer, chat=chat, deadline_s=deadline_s)
            if customer == "model"
            else tau2.scripted_customer
        )
        rated = agent_bench.run_bench(
            folder, bench, policy, log=log, limit=limit, customer_of=played, progress=progress
        )
        model = chat.name
    figures = agent_bench.summary(rated)
    tree: dict[str, Any] = {
        "bench": bench,
        "model": model,
        **figures,
        "gates": [
            {"metric": name, "minimum": low, "value": figures[name], "passed": figures[name] >= low}
            for name, low in gates
        ],
        "problems": [problem.to_dict() for problem in log.problems()],
    }
    if out is not None:
        lines = (
            json.dumps({"id": one.task_id, "group": one.group, "values": dict(one.values), "calls": [c.to_dict() for c in one.calls],
                        "schema_faults": list(one.faults), "code": one.code}, ensure_ascii=False, default=str) + "\n"
            for one in rated
        )  # fmt: skip
        try:
            write_file(out / f"agents-{bench}.json", written_json(tree))
            write_file(out / f"agents-{bench}.jsonl", "".join(lines))
        except OSError as error:
            raise UsageError(f"The results cannot be written to {out} ({error.strerror}). Choose another with -o.") from error  # fmt: skip
        tree["out"] = str(out)
    failed = bool(figures["failures"]) or any(not one["passed"] for one in tree["gates"])
    return tree, FAILED if failed else 0


def _chat(open_chat: Callable[[], ChatModel | None], record: str | Path | None) -> ChatModel:
    chat = open_chat()
    if chat is None:
        raise UsageError(
            "There is no chat model to run the tasks. Run `ragstone models pull qwen2.5-coder-1.5b`, set llm.base_url, or "
            "rate what an agent did with --calls FILE."
        )
    return RecordedChat(record, chat) if record is not None else chat
