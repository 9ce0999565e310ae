"""LightRAG's own code on given triples. Its keywords, which a language model would write, are the question and its names.

A description, which a model would write, too, is what the triples say of an entity or of two.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from on_triples import Search, main

SAID = 12  # facts in the description of an entity
_NAME = re.compile(r"[A-Z0-9][\w.'’-]*(?:\s+(?:(?:of|the|de|von|and)\s+)*[A-Z0-9][\w.'’-]*)*")
A_TOKEN = 4  # characters: its limits count tokens of a tokenizer that is downloaded; here they count characters


class Characters:
    def encode(self, text: str) -> list[int]:
        return [ord(char) for char in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))


def build(job: dict[str, Any], embed: Callable[..., Any]) -> Mapping[str, Search]:
    """Its two levels of keywords alone (hybrid), and its default, which adds passages by their vectors (mix)."""
    loop = asyncio.new_event_loop()
    rag = loop.run_until_complete(_indexed(job, embed))

    def search(mode: str, question: str) -> list[str]:
        return loop.run_until_complete(_asked(rag, mode, question))

    return {mode: partial(search, mode) for mode in ("hybrid", "mix")}


async def _indexed(job: dict[str, Any], embed: Callable[..., Any]) -> Any:
    from lightrag import LightRAG
    from lightrag.utils import EmbeddingFunc, Tokenizer, normalize_entity_name

    async def embedding(texts: Sequence[str], context: str = "document", **_options: Any) -> Any:
        return embed(texts, as_query=context == "query")

    async def no_model(*_args: Any, **_options: Any) -> str:
        raise RuntimeError("no language model in this comparison")

    dim = int(embed(["warm"]).shape[1])
    function = EmbeddingFunc(embedding_dim=dim, func=embedding, supports_asymmetric=True)
    rag = LightRAG(working_dir=job["home"], embedding_func=function, llm_model_func=no_model, tokenizer=Tokenizer("characters", Characters()), embedding_batch_num=64)  # fmt: skip
    await rag.initialize_storages()
    entities: dict[str, dict[str, None]] = defaultdict(dict)  # name → passages, in order
    said: dict[str, list[str]] = defaultdict(list)
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)  # → (passage, label)
    for one in job["passages"]:
        for name in filter(None, map(normalize_entity_name, one["entities"])):
            entities[name][one["id"]] = None
        for first, label, last in one["triples"]:
            subject, object_ = normalize_entity_name(first), normalize_entity_name(last)
            if not subject or not object_:
                continue
            for name in (subject, object_):
                entities[name][one["id"]] = None
                said[name].append(f"{subject} {label} {object_}")
            if subject != object_:
                pairs[min(subject, object_), max(subject, object_)].append((one["id"], f"{subject} {label} {object_}"))
    await rag.ainsert_custom_kg({
        "chunks": [{"content": one["text"], "source_id": one["id"], "file_path": one["id"]} for one in job["passages"]],
        "entities": [{"entity_name": name, "entity_type": "UNKNOWN", "description": "; ".join(said[name][:SAID]) or name, "source_id": next(iter(ids))} for name, ids in entities.items()],
        "relationships": [{"src_id": left, "tgt_id": right, "description": "; ".join(text for _, text in told[:SAID]), "keywords": ", ".join(dict.fromkeys(text for _, text in told[:3])), "source_id": told[0][0], "weight": float(len(told))} for (left, right), told in pairs.items()],
    })  # fmt: skip
    await _sourced(rag, job, entities, pairs)
    return rag


async def _sourced(rag: Any, job: dict[str, Any], entities: Mapping[str, Mapping[str, None]], pairs: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> None:  # fmt: skip
    """Its import of a given graph keeps one passage of an entity; an import of documents would keep all."""
    from lightrag.constants import GRAPH_FIELD_SEP
    from lightrag.utils import compute_mdhash_id, sanitize_text_for_encoding

    chunk = {one["id"]: compute_mdhash_id(sanitize_text_for_encoding(one["text"]), prefix="chunk-") for one in job["passages"]}  # fmt: skip
    graph = rag.chunk_entity_relation_graph
    for name, ids in entities.items():
        if (node := await graph.get_node(name)) is not None:
            await graph.upsert_node(name, {**node, "source_id": GRAPH_FIELD_SEP.join(chunk[one] for one in ids)})
    for (left, right), told in pairs.items():
        if (edge := await graph.get_edge(left, right)) is not None:
            ids = dict.fromkeys(one for one, _ in told)
            await graph.upsert_edge(left, right, {**edge, "source_id": GRAPH_FIELD_SEP.join(chunk[one] for one in ids)})


async def _asked(rag: Any, mode: str, question: str) -> list[str]:
    from lightrag import QueryParam

    names = [one for one in _NAME.findall(question[1:]) if len(one) > 1] or [question]
    param = QueryParam(mode=mode, hl_keywords=[question], ll_keywords=names, enable_rerank=False, max_entity_tokens=6000 * A_TOKEN, max_relation_tokens=8000 * A_TOKEN, max_total_tokens=30000 * A_TOKEN)  # fmt: skip
    told = await rag.aquery_data(question, param)
    return [one["content"] for one in told.get("data", {}).get("chunks", [])]


if __name__ == "__main__":
    main(build)
