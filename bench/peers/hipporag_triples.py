"""HippoRAG 2's own code on given triples. Its filter of facts by a language model lets every fact through.

What it imports and never calls here (vLLM, LiteLLM, GritLM, Amazon's client) is stood in for by empty modules.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from on_triples import Search, main

_UNUSED = {"vllm": ("SamplingParams", "LLM"), "gritlm": ("GritLM",), "litellm": (), "boto3": (), "botocore": (), "botocore.exceptions": ("ClientError",)}  # fmt: skip
for _name, _classes in _UNUSED.items():
    _module = types.ModuleType(_name)
    for _class in _classes:
        setattr(_module, _class, type(_class, (Exception,), {}))
    sys.modules.setdefault(_name, _module)
os.environ.setdefault("OPENAI_API_KEY", "none")  # its client is made, and not asked


class Embedding:
    """The interface that its stores and its retrieval call."""

    def __init__(self, embed: Callable[..., Any]) -> None:
        self._embed = embed

    def batch_encode(self, texts: str | Sequence[str], instruction: str = "", **_options: Any) -> Any:
        return self._embed([texts] if isinstance(texts, str) else texts, as_query=bool(instruction))


def build(job: dict[str, Any], embed: Callable[..., Any]) -> Mapping[str, Search]:
    """One index for each threshold of its synonyms: its own, and one for models whose cosines lie close together."""
    return {f"synonyms from {one:g}": _indexed(job, embed, one) for one in (0.8, *job["thresholds"])}


def _indexed(job: dict[str, Any], embed: Callable[..., Any], threshold: float) -> Search:
    from hipporag.HippoRAG import HippoRAG
    from hipporag.utils.config_utils import BaseConfig

    home = Path(job["home"]) / f"{threshold:g}"
    home.mkdir()
    config = BaseConfig(synonymy_edge_sim_threshold=threshold)
    hippo = HippoRAG(global_config=config, save_dir=str(home), llm_model_name="none", embedding_model_name="text-embedding")  # fmt: skip
    model = Embedding(embed)
    hippo.embedding_model = model
    for store in (hippo.chunk_embedding_store, hippo.entity_embedding_store, hippo.fact_embedding_store):
        store.embedding_model = model
    given = [
        {"passage": one["text"], "extracted_entities": one["entities"], "extracted_triples": one["triples"]}
        for one in job["passages"]
    ]
    Path(hippo.openie_results_path).write_text(json.dumps({"docs": given}))
    hippo.rerank_filter = lambda _query, facts, indices, len_after_rerank: (indices[:len_after_rerank], facts[:len_after_rerank], {})  # fmt: skip
    hippo.index([one["text"] for one in job["passages"]])
    return lambda question: hippo.retrieve([question], num_to_retrieve=15)[0].docs


if __name__ == "__main__":
    main(build)
