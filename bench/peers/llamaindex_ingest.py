"""LlamaIndex's way: SentenceSplitter, HuggingFaceEmbedding with its batch of 10, VectorStoreIndex in memory."""

from __future__ import annotations

from collections.abc import Callable

from common import main


def prepare(model: str, chunk_tokens: int) -> Callable[[list[dict[str, str]]], int]:
    from llama_index.core import Document, Settings, VectorStoreIndex
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from transformers import AutoTokenizer

    Settings.llm = None
    tokenizer = AutoTokenizer.from_pretrained(model)
    embedding = HuggingFaceEmbedding(model_name=model, device="cpu")
    splitter = SentenceSplitter(
        chunk_size=chunk_tokens - 2, chunk_overlap=0, tokenizer=lambda text: tokenizer.encode(text, add_special_tokens=False)
    )  # fmt: skip

    def run(passages: list[dict[str, str]]) -> int:
        documents = [Document(text=one["text"], id_=one["id"]) for one in passages]
        index = VectorStoreIndex.from_documents(documents, embed_model=embedding, transformations=[splitter])
        return len(index.index_struct.nodes_dict)

    return run


if __name__ == "__main__":
    main(prepare)
