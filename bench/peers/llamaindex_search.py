"""LlamaIndex's way: SentenceSplitter, VectorStoreIndex in memory (FAISS for times), QueryFusionRetriever of vectors and BM25."""

from __future__ import annotations

from typing import Any

from searching import Passages, by_rank, main


class LlamaIndex:
    def __init__(self, job: dict[str, Any]) -> None:
        from llama_index.core import Settings
        from llama_index.core.node_parser import SentenceSplitter
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding
        from transformers import AutoTokenizer

        Settings.llm = None
        tokenizer = AutoTokenizer.from_pretrained(job["model"])
        Settings.embed_model = HuggingFaceEmbedding(
            model_name=job["model"], device="cpu",
            query_instruction=job["prompts"]["query"], text_instruction=job["prompts"]["document"],
        )  # fmt: skip
        Settings.node_parser = SentenceSplitter(
            chunk_size=job["chunk_tokens"] - 2, chunk_overlap=0, tokenizer=lambda text: tokenizer.encode(text, add_special_tokens=False)
        )  # fmt: skip
        self._faiss_dim = job["dim"] if job.get("hashed") else 0
        self._index: Any = None
        self._retriever: Any = None

    def add(self, passages: Passages) -> None:
        from llama_index.core import Document, VectorStoreIndex
        from llama_index.core.retrievers import QueryFusionRetriever
        from llama_index.retrievers.bm25 import BM25Retriever

        documents = [Document(text=one["text"], id_=one["id"]) for one in passages]
        if self._index is None:
            self._index = VectorStoreIndex.from_documents(documents, storage_context=self._storage())
        else:
            for document in documents:
                self._index.insert(document)
        n = self.count()
        words = BM25Retriever.from_defaults(docstore=self._index.docstore, similarity_top_k=min(100, n))
        self._retriever = QueryFusionRetriever(
            [words, self._index.as_retriever(similarity_top_k=100)], mode="reciprocal_rerank", num_queries=1, similarity_top_k=100, use_async=False
        )  # fmt: skip

    def count(self) -> int:
        return len(self._index.docstore.docs)

    def _storage(self) -> Any:
        from llama_index.core import StorageContext

        if not self._faiss_dim:
            return StorageContext.from_defaults()
        import faiss
        from llama_index.vector_stores.faiss import FaissVectorStore

        return StorageContext.from_defaults(vector_store=FaissVectorStore(faiss.IndexFlatIP(self._faiss_dim)))

    def search(self, question: str, depth: int) -> list[tuple[str, float]]:
        return by_rank([one.node.ref_doc_id for one in self._retriever.retrieve(question)])[:depth]


if __name__ == "__main__":
    main(LlamaIndex)
