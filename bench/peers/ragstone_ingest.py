"""Our way, in the same harness: the defaults of the settings, in a home folder of its own, written to disk."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import main


def prepare(model: str, chunk_tokens: int) -> Callable[[list[dict[str, str]]], int]:
    from rag.knowledge_base import KnowledgeBase
    from rag.settings import Settings
    from rag.types import Document

    settings = Settings().with_values(
        embedding__model=model, llm__model="none", chunk__size=chunk_tokens, chunk__overlap=min(48, chunk_tokens // 4)
    )
    home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # lives as long as `run`
    kb = KnowledgeBase.open(home.name, settings=settings)

    def run(passages: list[dict[str, str]]) -> int:
        assert Path(home.name).is_dir()
        return kb.ingest([Document(one["text"], doc_id=one["id"]) for one in passages]).n_chunks

    return run


if __name__ == "__main__":
    main(prepare)
