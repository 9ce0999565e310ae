"""What `ragstone eval behaviour` does: RGB and DomainRAG with the chat model, on record if asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval import behaviour as behaving
from eval.commands import FAILED, gate, made_folder, write_file, written_json
from eval.evaluation import Progress
from eval.problems import ProblemLog
from eval.replay import RecordedChat
from rag.errors import UsageError
from rag.settings import AnswerSettings
from rag.types import ChatModel


def behaviour(
    data: str | Path,
    *,
    tests: Sequence[str] = behaving.TESTS,
    limit: int | None = None,
    noise: float = behaving.NOISE,
    n_passages: int = behaving.N_PASSAGES,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    out_dir: str | Path | None = None,
    fail_under: Sequence[str] = (),
    open_chat: Callable[[], ChatModel | None],
    settings: AnswerSettings,
    deadline_s: float = 120.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], int]:
    """The JSON document and the exit code: 3 when a case failed or a gate was missed.

    open_chat: gives the model; None answers with sentences of the passages. Not called when a recording is replayed.
    record: a file that receives what the model says, and answers what it was asked before. replay: the file alone.
    out_dir: receives behaviour.json and behaviour.jsonl, the answers, the same bytes for the same replies.
    Raises: UsageError for whatever cannot be asked for.
    """
    if record is not None and replay is not None:
        raise UsageError("--record asks a model and --replay asks none. Give one of them.")
    gates = [gate(text, tuple(tests)) for given in fail_under for text in given.split(",") if text.strip()]
    log = ProblemLog()
    cases = behaving.load_cases(Path(data), tests, limit=limit, noise=noise, n_passages=n_passages, seed=seed, log=log)
    folder = made_folder(out_dir, ".") if out_dir is not None else None
    chat = None if replay is not None else open_chat()
    if replay is not None:
        chat = RecordedChat(replay, None)
    elif record is not None and chat is not None:
        chat = RecordedChat(record, chat)
    shown = settings.model_copy(update={"max_passages": max(settings.max_passages, n_passages)})
    answerer = behaving.pipeline_answerer(chat, shown, deadline_s=deadline_s)
    outcomes = behaving.run_cases(cases, answerer, progress=progress)
    tree: dict[str, Any] = {
        "model": chat.name if chat is not None else "none",
        "seed": seed,
        "noise": noise,
        "passages": n_passages,
        "n_cases": len(cases),
        "languages": behaving.languages_of(cases),
        "tests": behaving.summary(outcomes),
        "problems": [problem.to_dict() for problem in log.problems()],
    }
    if "structure" in tree["tests"]:
        tree["table_headers"] = behaving.header_check(Path(data), ProblemLog(), limit=limit)
    tree["gates"] = [
        {"metric": name, "minimum": minimum, "value": tree["tests"][name]["value"], "passed": tree["tests"][name]["value"] >= minimum}
        for name, minimum in gates
        if name in tree["tests"]
    ]  # fmt: skip
    if folder is not None:
        lines = (
            json.dumps({"id": one.case.case_id, "test": one.case.test, "question": one.case.question, "answer": one.text,
                        "abstained": one.abstained, "value": one.value, "code": one.code}, ensure_ascii=False) + "\n"
            for one in outcomes
        )  # fmt: skip
        try:
            write_file(folder / "behaviour.json", written_json(tree))
            write_file(folder / "behaviour.jsonl", "".join(lines))
        except OSError as error:
            raise UsageError(f"The results cannot be written to {folder} ({error.strerror}). Choose another with -o.") from error  # fmt: skip
        tree["out"] = str(folder)
    failed = any(one.code for one in outcomes) or any(not one["passed"] for one in tree["gates"])
    return tree, FAILED if failed else 0
