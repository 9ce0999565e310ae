"""txtai's way: Embeddings with hybrid=True. It does not split: each passage is one entry."""

from __future__ import annotations

from typing import Any

from searching import Passages, main


class Txtai:
    def __init__(self, job: dict[str, Any]) -> None:
        from txtai import Embeddings

        self._embeddings = Embeddings(
            path=job["model"],
            hybrid=True,
            gpu=False,
            instructions={"query": job["prompts"]["query"], "data": job["prompts"]["document"]},
        )
        self._embeddings.batchtransform(["warm"])

    def add(self, passages: Passages) -> None:
        self._embeddings.upsert([(one["id"], one["text"], None) for one in passages])

    def count(self) -> int:
        return int(self._embeddings.count())

    def search(self, question: str, depth: int) -> list[tuple[str, float]]:
        return [(str(doc_id), float(score)) for doc_id, score in self._embeddings.search(question, depth)]


if __name__ == "__main__":
    main(Txtai)
