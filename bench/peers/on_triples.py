"""What the scripts of graph peers share: passages, their triples and questions in, one JSON line out. Runs in each peer's own environment."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

Search = Callable[[str], Sequence[str]]  # a question to the texts of passages, best first


def main(build: Callable[[dict[str, Any], Callable[..., Any]], Mapping[str, Search]]) -> None:
    """stdin: {"model", "query_prefix", "passage_prefix", "passages": [{"id", "text", "entities", "triples"}], "questions": {id: text}}.

    build is given a folder's path as job["home"] and a function (texts, as_query) → float array of shape (n, dim).
    stdout: {variant: {"ranked": {question id: [passage id]}, "p50_ms"}}, the last line.
    """
    job: dict[str, Any] = json.load(sys.stdin)
    found = {}
    with tempfile.TemporaryDirectory() as home, contextlib.redirect_stdout(sys.stderr):
        id_of = {one["text"]: one["id"] for one in reversed(job["passages"])}
        for variant, search in build({**job, "home": home}, _embedder(job)).items():
            ranked, times = {}, []
            search(next(iter(job["questions"].values())))
            for question_id, question in job["questions"].items():
                start = time.perf_counter()
                texts = search(question)
                times.append((time.perf_counter() - start) * 1000)
                ranked[question_id] = [id_of[text] for text in texts]
            found[variant] = {"ranked": ranked, "p50_ms": round(statistics.median(times), 1)}
    print(json.dumps(found))


def _embedder(job: dict[str, Any]) -> Callable[..., Any]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job["model"], device="cpu")

    def embed(texts: Sequence[str], as_query: bool = False) -> Any:
        prefix = job["query_prefix"] if as_query else job["passage_prefix"]
        return model.encode(list(texts), prompt=prefix, normalize_embeddings=True, batch_size=64, show_progress_bar=False)  # fmt: skip

    return embed
