"""Haystack's way: DocumentSplitter, SentenceTransformersDocumentEmbedder, DocumentWriter into its store in memory."""

from __future__ import annotations

from collections.abc import Callable

from common import WORDS_PER_TOKEN, main


def prepare(model: str, chunk_tokens: int) -> Callable[[list[dict[str, str]]], int]:
    from haystack import Document, Pipeline
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.document_stores.types import DuplicatePolicy
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder

    embedder = SentenceTransformersDocumentEmbedder(
        model=model, device=ComponentDevice.from_str("cpu"), progress_bar=False
    )
    store = InMemoryDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("split", DocumentSplitter(split_by="word", split_length=int(chunk_tokens * WORDS_PER_TOKEN)))
    pipeline.add_component("embed", embedder)
    pipeline.add_component("write", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    pipeline.connect("split", "embed")
    pipeline.connect("embed", "write")

    def run(passages: list[dict[str, str]]) -> int:
        documents = [Document(content=one["text"], meta={"source": one["id"]}) for one in passages]
        return int(pipeline.run({"split": {"documents": documents}})["write"]["documents_written"])

    return run


if __name__ == "__main__":
    main(prepare)
