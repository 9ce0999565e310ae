"""What the peers' search scripts share: documents and questions in, one JSON line out. Runs in each peer's own environment."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from shared_vectors import hash_vectors, share_vectors

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = os.environ.get("TOKENIZERS_PARALLELISM", "true")
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

Passages = list[dict[str, str]]


class Engine(Protocol):
    """A framework with its model loaded. add: import, in its usual way; called again it is the import script run again."""

    def add(self, passages: Passages) -> None: ...
    def count(self) -> int: ...
    def search(self, question: str, depth: int) -> list[tuple[str, float]]: ...


def main(start: Callable[[dict[str, Any]], Engine], *, patch: bool = True) -> None:
    """patch: whether sentence-transformers gives shared or hashed vectors where the job says so; else `start` sees to it.

    stdin: {"launched", "model", "models_dir", "prompts", "chunk_tokens", "home", "passages", "questions", "depth", "again"[, "vectors"]
    [, "hashed"]}. hashed: passages get vectors that cost nothing, for times in large collections; the vector store is then FAISS,
    flat, where the framework has an integration for it.

    stdout: start_s (process to model loaded), import_s, entries, runs, latency_ms, rss_mb; if asked again_s, entries_again.
    """
    job: dict[str, Any] = json.load(sys.stdin)
    if patch and job.get("vectors"):
        share_vectors(job["vectors"])
    if patch and job.get("hashed"):
        hash_vectors()
    engine = start(job)
    start_s = time.time() - job["launched"]
    import_s = _seconds(lambda: engine.add(job["passages"]))
    entries = engine.count()
    engine.search(job["questions"][0]["text"], job["depth"])
    runs, latency = {}, []
    for question in job["questions"]:
        began = time.perf_counter()
        runs[question["id"]] = engine.search(question["text"], job["depth"])
        latency.append((time.perf_counter() - began) * 1000)
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result: dict[str, Any] = {"start_s": start_s, "import_s": import_s, "entries": entries, "runs": runs, "latency_ms": latency, "rss_mb": rss_mb}  # fmt: skip
    if job["again"]:
        again_s = _seconds(lambda: engine.add(job["passages"]))
        result |= {"again_s": again_s, "entries_again": engine.count()}
    print(json.dumps(result))


def _seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def by_rank(ids: list[str]) -> list[tuple[str, float]]:
    """Documents in the order of their first piece, with scores that say no more than the order."""
    return [(doc_id, 1.0 / rank) for rank, doc_id in enumerate(dict.fromkeys(ids), start=1)]
