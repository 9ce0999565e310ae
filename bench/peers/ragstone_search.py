"""Our way, in the same harness: the defaults of the settings, in a home folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from searching import Passages, main


class Ragstone:
    def __init__(self, job: dict[str, Any]) -> None:
        from rag.knowledge_base import KnowledgeBase
        from rag.settings import Settings

        settings = Settings().with_values(
            embedding__model=job["model"], llm__model="none", search__cache=False, models__dir=job["models_dir"]
        )
        self._kb = KnowledgeBase.open(job["home"], settings=settings)
        if job.get("hashed"):
            from bench.hashing import HashedPassages

            self._kb._embedder = HashedPassages(self._kb.embedder)
        self._kb.embedder.embed_queries(["warm"])

    def add(self, passages: Passages) -> None:
        from rag.types import Document

        report = self._kb.ingest([Document(one["text"], doc_id=one["id"]) for one in passages])
        if report.failures:
            sys.exit(f"import failed: {report.failures[0].message}")

    def count(self) -> int:
        return self._kb.catalog.counts(self._kb.collection)[1]

    def search(self, question: str, depth: int) -> list[tuple[str, float]]:
        from eval.evaluation import collapse_to_documents

        return collapse_to_documents(self._kb.search(question, top_k=3 * depth, mode="hybrid"))[:depth]


if __name__ == "__main__":
    main(Ragstone, patch=False)  # the export of a model is compared with what sentence-transformers gives
