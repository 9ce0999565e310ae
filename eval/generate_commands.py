"""What `ragstone eval generate` does: writes a table of test questions for review."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from eval import generate as generating
from eval.commands import FAILED, write_file
from eval.evaluation import Progress
from rag.errors import UsageError


def generate(
    kb: Any, *, out: str | Path, n: int, kinds: str, seed: int = 0, progress: Progress | None = None
) -> tuple[dict[str, Any], int]:
    """The JSON document and the exit code: 3 when there are fewer questions than were asked for.

    kb: an open rag.knowledge_base.KnowledgeBase with a chat model. out: the CSV; one that is there is not overwritten,
    because people may have reviewed it.
    Raises: UsageError.
    """
    path = Path(out)
    chosen = tuple(dict.fromkeys(kind.strip() for kind in kinds.split(",") if kind.strip()))
    unknown = [kind for kind in chosen if kind not in generating.KINDS]
    if unknown or not chosen:
        raise UsageError(f"--kinds {kinds!r}: there are {', '.join(generating.KINDS)}.")
    if n < 1:
        raise UsageError(f"-n is {n}; give 1 or more.")
    if path.exists():
        raise UsageError(f"{path} is there already, and may have been reviewed. Choose another name with -o.")
    if kb.chat is None:
        raise UsageError(
            "Questions are written by a chat model, and there is none. Run `ragstone models pull qwen2.5-coder-1.5b`, or "
            "set llm.base_url to an OpenAI-compatible endpoint."
        )
    made = generating.generate(kb, chat=kb.chat, n=n, kinds=chosen, seed=seed, progress=progress)  # type: ignore[arg-type]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, generating.to_csv(made.questions))
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}). Choose another file with -o.") from error
    data = {
        "out": str(path),
        "n": len(made.questions),
        "kinds": dict(Counter(one.kind for one in made.questions)),
        "languages": dict(Counter(one.language for one in made.questions)),
        "rejected": made.rejected,
        "model_calls": made.n_calls,
        "model": kb.chat.name,
        "seed": seed,
    }
    return data, 0 if len(made.questions) == n else FAILED
