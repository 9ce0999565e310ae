"""How long a search takes in a large collection, what threads add, and what filters find and cost. JSON on stdout.

    python -m bench.retrieval [--chunks 100000] [--queries 100] [--real DATA] [--home DIR]
    python -m bench.retrieval --peers [--chunks 100000] [--queries 100]

The passages' vectors come from a hash of their text, so that a hundred thousand are there in a minute; --real takes the passages
of DATA/scale (else words of the sample documents) and the vectors of the settings' model. A question is embedded by that
model in both cases, for the time it takes, which is told apart.
--home keeps the collection, so that a second run imports nothing. Filters are compared with brute force over the
cached vectors: recall of the ten best, at 0.1, 1, 10 and 50 % of the documents.
--peers asks the same questions of the other frameworks' hybrid searches, each in a process of its own (bench/peers/setup.sh), with
all-MiniLM-L6-v2 for the questions; it is told how long the import and a question took, and the memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.compare import PEERS, is_installed, model_folder, prompts, run_framework
from bench.hashing import HashedPassages
from bench.run import milliseconds, passages
from eval.evaluation import latency_summary
from rag import Document, KnowledgeBase, Settings
from rag.embedding import open_embedder
from rag.ingest import chunk_size
from rag.models import models_dir
from rag.searching import Searcher, SearchMemory
from rag.types import Query

PEERS_MODEL = "all-minilm-l6-v2"  # all of them can load it
MODES = ("dense", "bm25", "hybrid")
THREADS = 8
SHARES = {"0.1 %": 1, "1 %": 10, "10 %": 100, "50 %": 500}  # of 1000 buckets, one of which each document is in
TOP_K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--real", type=Path, metavar="DATA")
    parser.add_argument("--home")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    texts = list(islice(_stored(options.real / "scale"), options.chunks)) if options.real else passages(options.chunks)
    if options.peers:
        result = peers(Settings().with_values(embedding__model=PEERS_MODEL), texts, options.queries)
    else:
        result = run(Settings.load(), texts, options.queries, home=options.home, hashed=options.real is None)
    json.dump(result, sys.stdout, indent=2)
    print()


def run(
    settings: Settings, texts: Sequence[str], n_queries: int, *, home: str | None = None, hashed: bool = True
) -> dict[str, Any]:
    """All measurements. hashed: passages' vectors that cost nothing, in place of the model's."""
    with _opened(settings, home, hashed) as kb:
        kb.ingest(
            Document(text, doc_id=f"p{at}", metadata={"bucket": at * 7919 % 1000}) for at, text in enumerate(texts)
        )
        queries = _queries(texts, n_queries)
        result: dict[str, Any] = {"chunks": kb.catalog.counts(kb.collection)[1], "queries": len(queries)}
        result["embed_query_ms"] = milliseconds(lambda query: kb.embedder.embed_queries([query]), queries)
        for mode in MODES:
            result[mode] = milliseconds(lambda query, mode=mode: kb.search(query, mode=mode, rerank=False), queries)  # type: ignore[misc]
        result["hybrid, reranked"] = milliseconds(lambda query: kb.search(query), queries)
        result["threads"] = {mode: threads(kb, queries, mode) for mode in MODES}
        result["filters"] = filters(kb, queries[: max(1, n_queries // 4)], result["dense"]["p50"])
    return result


def peers(
    settings: Settings, texts: Sequence[str], n_queries: int, names: Sequence[str] = ("ragstone", *PEERS)
) -> dict[str, Any]:
    """Hybrid search in each framework that is installed: milliseconds of a question, seconds of the import, memory."""
    settings = settings.with_values(llm__model="none")
    embedder = open_embedder(settings.embedding, settings.models)
    folder = model_folder(settings)
    job = {
        "model": str(folder), "models_dir": str(models_dir(settings.models.dir)), "prompts": prompts(folder), "chunk_tokens": chunk_size(settings.chunk, embedder), "dim": HashedPassages.dim,
        "depth": TOP_K, "again": False, "hashed": True,
        "passages": [{"id": f"p{at}", "text": text} for at, text in enumerate(texts)],
        "questions": [{"id": f"q{at}", "text": text} for at, text in enumerate(_queries(texts, n_queries))],
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name in filter(is_installed, names):
        with tempfile.TemporaryDirectory() as home:
            told = run_framework(name, {**job, "home": home})
        found[name] = {"entries": told["entries"], "query_ms": latency_summary(told["latency_ms"]), "import_s": round(told["import_s"], 1), "rss_mb": round(told["rss_mb"])}  # fmt: skip
    ours = found["ragstone"]["query_ms"]["p50"]
    for one in found.values():
        one["p50_over_ragstone"] = round(one["query_ms"]["p50"] / ours, 2)
    return {
        "passages": len(texts), "queries": n_queries, "model": folder.name, "systems": found,
        "not_installed": [name for name in names if name not in found],
    }  # fmt: skip


def _queries(texts: Sequence[str], n: int) -> list[str]:
    """Eight words of every so many passages."""
    return [" ".join(text.split()[3:11]) or text[:20] for text in texts[:: max(1, len(texts) // n)]][:n]


@contextmanager
def _opened(settings: Settings, home: str | None, hashed: bool) -> Iterator[KnowledgeBase]:
    settings = settings.with_values(llm__model="none", search__cache=False)
    with tempfile.TemporaryDirectory() as made, KnowledgeBase.open(home or made, settings=settings) as kb:
        if hashed:
            kb._embedder = HashedPassages(kb.embedder)
        yield kb


def _stored(folder: Path) -> Iterator[str]:
    """Passages of long corpora without questions."""
    for path in sorted(folder.rglob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                if text := str(json.loads(line).get("text", "")).strip():
                    yield text


def threads(kb: KnowledgeBase, queries: Sequence[str], mode: str, turns: int = 3) -> dict[str, float]:
    """Queries a second of one thread and of eight, in turn, and how many times as many that is. Threads are warm."""

    def rate(pool: ThreadPoolExecutor, times: int) -> float:
        began = time.perf_counter()
        list(pool.map(lambda query: kb.search(query, mode=mode, rerank=False), [*queries] * times))
        return len(queries) * times / (time.perf_counter() - began)

    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(THREADS) as together:
        rate(together, 1)
        rates = [(rate(alone, 2), rate(together, 4)) for _ in range(turns)]
    one, many = (statistics.median(each) for each in zip(*rates, strict=True))
    return {"one_qps": round(one, 1), f"{THREADS}_qps": round(many, 1), "times": round(many / one, 2)}


def filters(kb: KnowledgeBase, queries: Sequence[str], unfiltered_ms: float) -> dict[str, dict[str, float]]:
    """Recall of the ten best against brute force, and the time beside an unfiltered search, by share of the documents."""
    chunk_ids, buckets, matrix = _everything(kb)
    collection = kb.catalog.collection(kb.collection)
    assert collection is not None
    searcher = Searcher(kb, collection, SearchMemory())
    result = {}
    for share, below in SHARES.items():
        condition = f"bucket < {below}"
        recalls = []
        for query in queries:
            scores = np.where(buckets < below, matrix @ searcher.vector(Query(text=query)), -np.inf)
            best = np.sort(scores)[-TOP_K:]
            lowest = best[np.isfinite(best)].min(initial=np.inf) - 1e-5  # equal scores may come in any order
            right = {chunk_ids[at] for at in np.flatnonzero(scores >= lowest)}
            hits = [hit.chunk_id for hit in kb.search(query, mode="dense", filter=condition, top_k=TOP_K)]
            wanted = min(TOP_K, int(np.isfinite(best).sum()))
            recalls.append(len(right.intersection(hits)) / wanted if wanted else 1.0)
        times = milliseconds(
            lambda query, condition=condition: kb.search(query, mode="dense", filter=condition), queries
        )  # type: ignore[misc]
        result[share] = {
            "recall": round(min(1.0, float(np.mean(recalls))), 4), **times, "over_unfiltered": round(times["p50"] / unfiltered_ms, 2),
        }  # fmt: skip
    return result


def _everything(kb: KnowledgeBase) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Chunk ids, their documents' buckets, and their vectors as rows."""
    chunk_ids, buckets, vectors = [], [], []
    for info in kb.documents():
        stored = kb.catalog.stored_chunks(kb.collection, info.doc_id)
        found = kb.catalog.vectors([one.vector_key for one in stored])
        for one in stored:
            chunk_ids.append(one.chunk.chunk_id)
            buckets.append(int(one.metadata["bucket"]))
            vectors.append(found[one.vector_key])
    return chunk_ids, np.array(buckets), np.stack(vectors)


if __name__ == "__main__":
    main()
