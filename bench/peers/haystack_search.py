"""Haystack's way: splitter, embedder and writer in a pipeline; BM25 and embedding retrievers joined by reciprocal ranks."""

from __future__ import annotations

from typing import Any

from common import WORDS_PER_TOKEN
from searching import Passages, by_rank, main


class Haystack:
    def __init__(self, job: dict[str, Any]) -> None:
        from haystack import Pipeline
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.preprocessors import DocumentSplitter
        from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
        from haystack.components.writers import DocumentWriter
        from haystack.document_stores.in_memory import InMemoryDocumentStore
        from haystack.document_stores.types import DuplicatePolicy
        from haystack.utils import ComponentDevice
        from haystack_integrations.components.embedders.sentence_transformers import (
            SentenceTransformersDocumentEmbedder,
            SentenceTransformersTextEmbedder,
        )

        options: dict[str, Any] = {
            "model": job["model"],
            "device": ComponentDevice.from_str("cpu"),
            "progress_bar": False,
        }
        self._store = InMemoryDocumentStore()
        self._import = Pipeline()
        self._import.add_component("split", DocumentSplitter(split_by="word", split_length=int(job["chunk_tokens"] * WORDS_PER_TOKEN)))  # fmt: skip
        self._import.add_component(
            "embed", SentenceTransformersDocumentEmbedder(prefix=job["prompts"]["document"], **options)
        )
        self._import.add_component("write", DocumentWriter(self._store, policy=DuplicatePolicy.OVERWRITE))
        self._import.connect("split", "embed")
        self._import.connect("embed", "write")
        self._query = Pipeline()
        self._query.add_component("embed", SentenceTransformersTextEmbedder(prefix=job["prompts"]["query"], **options))
        self._query.add_component("vectors", InMemoryEmbeddingRetriever(self._store, top_k=100))
        self._query.add_component("words", InMemoryBM25Retriever(self._store, top_k=100))
        self._query.add_component("join", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=100))
        self._query.connect("embed.embedding", "vectors.query_embedding")
        self._query.connect("vectors", "join")
        self._query.connect("words", "join")
        self._query.run({"embed": {"text": "warm"}, "words": {"query": "warm"}})

    def add(self, passages: Passages) -> None:
        from haystack import Document

        documents = [Document(content=one["text"], meta={"source": one["id"]}) for one in passages]
        self._import.run({"split": {"documents": documents}})

    def count(self) -> int:
        return int(self._store.count_documents())

    def search(self, question: str, depth: int) -> list[tuple[str, float]]:
        found = self._query.run({"embed": {"text": question}, "words": {"query": question}})
        return by_rank([one.meta["source"] for one in found["join"]["documents"]])[:depth]


if __name__ == "__main__":
    main(Haystack)
