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
from functools import partial
from pathlib import Path
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
    """The very embedder of ragstone where its packages are there (PEERS_BASE), else the same model by sentence-transformers.

    Each text is embedded once, however many variants ask for it.
    """
    import numpy as np

    embed_passages, embed_queries = _ours(job) or _by_sentence_transformers(job)
    kept: dict[tuple[bool, str], Any] = {}

    def embed(texts: Sequence[str], as_query: bool = False) -> Any:
        new = list(dict.fromkeys(text for text in texts if (as_query, text) not in kept))
        if new:
            found = embed_queries(new) if as_query else embed_passages(new)
            kept.update(zip([(as_query, text) for text in new], np.asarray(found, np.float32), strict=True))
        return np.stack([kept[as_query, text] for text in texts])

    return embed


def _ours(job: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    sys.path.insert(1, str(Path(__file__).resolve().parents[2]))
    try:
        from rag.embedding import open_embedder
        from rag.settings import Settings
    except ImportError:
        return None
    settings = Settings().with_values(embedding__model=job["alias"])
    embedder = open_embedder(settings.embedding, settings.models)
    most = embedder.max_tokens - embedder.passage_overhead()

    def cut(text: str) -> str:  # as sentence-transformers does it, where ragstone would refuse
        offsets = embedder.token_offsets(text) if len(text) > most else ()
        return text[: int(offsets[most - 1][1])] if len(offsets) > most else text

    return lambda texts: embedder.embed_passages([cut(text) for text in texts]), embedder.embed_queries


def _by_sentence_transformers(job: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job["model"], device="cpu")

    def embed(prefix: str, texts: Sequence[str]) -> Any:
        return model.encode(list(texts), prompt=prefix, normalize_embeddings=True, batch_size=64, show_progress_bar=False)  # fmt: skip

    return partial(embed, job["passage_prefix"]), partial(embed, job["query_prefix"])
