"""LangChain's way: splitter by the model's tokens, vector store in memory (FAISS for times), EnsembleRetriever of vectors and BM25."""

from __future__ import annotations

from typing import Any

from searching import Passages, by_rank, main


class LangChain:
    def __init__(self, job: dict[str, Any]) -> None:
        from langchain_huggingface import HuggingFaceEmbeddings
        from langchain_text_splitters import RecursiveCharacterTextSplitter
        from transformers import AutoTokenizer

        self._store = _store(
            HuggingFaceEmbeddings(
                model_name=job["model"],
                model_kwargs={"device": "cpu"},
                encode_kwargs={"prompt": job["prompts"]["document"]},
                query_encode_kwargs={"prompt": job["prompts"]["query"]},
            ),
            job,
        )
        self._splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
            AutoTokenizer.from_pretrained(job["model"]), chunk_size=job["chunk_tokens"] - 2, chunk_overlap=0
        )
        self._pieces: list[Any] = []
        self._retriever: Any = None

    def add(self, passages: Passages) -> None:
        from langchain_classic.retrievers import EnsembleRetriever
        from langchain_community.retrievers import BM25Retriever
        from langchain_core.documents import Document

        documents = [Document(one["text"], metadata={"source": one["id"]}) for one in passages]
        pieces = self._splitter.split_documents(documents)
        self._store.add_documents(pieces)
        self._pieces += pieces
        words = BM25Retriever.from_documents(self._pieces, k=100)
        vectors = self._store.as_retriever(search_kwargs={"k": 100})
        self._retriever = EnsembleRetriever(retrievers=[words, vectors], weights=[0.5, 0.5])

    def count(self) -> int:
        return len(self._pieces)

    def search(self, question: str, depth: int) -> list[tuple[str, float]]:
        return by_rank([one.metadata["source"] for one in self._retriever.invoke(question)])[:depth]


def _store(embeddings: Any, job: dict[str, Any]) -> Any:
    if not job.get("hashed"):
        from langchain_core.vectorstores import InMemoryVectorStore

        return InMemoryVectorStore(embeddings)
    import faiss
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    return FAISS(embeddings, faiss.IndexFlatIP(job["dim"]), InMemoryDocstore(), {})


if __name__ == "__main__":
    main(LangChain)
