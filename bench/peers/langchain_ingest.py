"""LangChain's way: recursive splitter by the model's tokens, HuggingFaceEmbeddings, vector store in memory."""

from __future__ import annotations

from collections.abc import Callable

from common import main


def prepare(model: str, chunk_tokens: int) -> Callable[[list[dict[str, str]]], int]:
    from langchain_core.documents import Document
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_huggingface import HuggingFaceEmbeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from transformers import AutoTokenizer

    embeddings = HuggingFaceEmbeddings(model_name=model, model_kwargs={"device": "cpu"})
    splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        AutoTokenizer.from_pretrained(model), chunk_size=chunk_tokens - 2, chunk_overlap=0
    )

    def run(passages: list[dict[str, str]]) -> int:
        store = InMemoryVectorStore(embeddings)
        documents = [Document(one["text"], metadata={"source": one["id"]}) for one in passages]
        return len(store.add_documents(splitter.split_documents(documents)))

    return run


if __name__ == "__main__":
    main(prepare)
