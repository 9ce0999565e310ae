"""What an import, a search and a start cost, each beside the floor it is compared with. `make bench` runs it.

The machine may be shared and noisy: pairs are measured in turn in the same run, and ratios of medians are what counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document, Embedder

REPO = Path(__file__).resolve().parent.parent
N_WORDS = 120  # per passage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=600)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="also time sentence-transformers in float32")
    options = parser.parse_args()
    print(
        json.dumps(
            run(Settings.load(), options.passages, options.queries, options.repeat, reference=options.reference),
            indent=2,
        )
    )


def run(
    settings: Settings, n_passages: int, n_queries: int, repeat: int, *, n_words: int = N_WORDS, reference: bool = False
) -> dict[str, Any]:
    """All measurements as one JSON document."""
    texts = passages(n_passages, n_words)
    with (
        tempfile.TemporaryDirectory() as home,
        KnowledgeBase.open(home, settings=settings.with_values(llm__model="none", search__cache=False)) as kb,
    ):
        kb.embedder.embed_passages(texts[:32])  # loads and warms up
        return {
            "machine": {"python": platform.python_version(), "processor": platform.processor() or platform.machine()},
            "ingest": ingest(kb, texts, repeat, settings if reference else None),
            "search": search(kb, texts, n_queries),
            "start": starts(repeat),
        }


def ingest(kb: KnowledgeBase, texts: Sequence[str], repeat: int, reference: Settings | None) -> dict[str, Any]:
    """Whole imports beside the embedding model alone on the same texts, in turn."""
    whole, bare = [], []
    for turn in range(repeat):
        marked = [f"{text} {turn}" for text in texts]  # other texts each time: nothing may come from the cache
        bare.append(seconds(lambda marked=marked: kb.embedder.embed_passages([f"{text} x" for text in marked])))  # type: ignore[misc]
        documents = [Document(text, doc_id=f"{turn}-{at}") for at, text in enumerate(marked)]
        whole.append(seconds(lambda documents=documents: kb.ingest(documents)))  # type: ignore[misc]
    again = seconds(
        lambda: kb.ingest(
            [Document(f"{text} {repeat - 1}", doc_id=f"{repeat - 1}-{at}") for at, text in enumerate(texts)]
        )
    )
    result = {
        "passages": len(texts),
        "passages_per_s": round(len(texts) / statistics.median(whole), 1),
        "whole_over_model_alone": round(statistics.median(whole) / statistics.median(bare), 3),
        "unchanged_over_first": round(again / statistics.median(whole), 4),
    }
    if reference is not None:
        slow = seconds(lambda: _float32(reference).embed_passages(texts))
        result["sentence_transformers_fp32_over_whole"] = round(slow / statistics.median(whole), 2)
    return result


def _float32(settings: Settings) -> Embedder:
    from rag.embedding import open_embedder

    return open_embedder(settings.with_values(embedding__backend="torch-fp32").embedding, settings.models)


def search(kb: KnowledgeBase, texts: Sequence[str], n_queries: int) -> dict[str, Any]:
    """Milliseconds per query by mode, beside embedding the query alone."""
    queries = [" ".join(text.split()[3:11]) for text in texts[:n_queries]]
    result: dict[str, Any] = {"chunks": kb.catalog.counts(kb.collection)[1]}
    result["embed_query_ms"] = milliseconds(lambda query: kb.embedder.embed_queries([query]), queries)
    for mode in ("bm25", "dense", "hybrid"):
        result[mode] = milliseconds(lambda query, mode=mode: kb.search(query, mode=mode), queries)  # type: ignore[misc]
    return result


def starts(repeat: int) -> dict[str, float]:
    """Seconds of whole processes."""
    commands = {"import rag": ["-c", "import rag"], "ragstone --help": ["-m", "ui.cli", "--help"]}
    return {
        name: round(statistics.median(seconds(lambda a=a: _process(a)) for _ in range(repeat)), 3)
        for name, a in commands.items()
    }  # type: ignore[misc]


def _process(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=REPO, check=True, stdout=subprocess.DEVNULL)


def passages(n: int, n_words: int = N_WORDS) -> list[str]:
    """Texts of n_words words, made of the sample documents' words: different from each other, equal every time."""
    words = " ".join(
        path.read_text(encoding="utf-8")
        for path in sorted((REPO / "examples" / "tea").glob("*.en.*"))
        if path.suffix in (".md", ".txt")
    ).split()
    return [" ".join(words[(at * 37 + step) % len(words)] for step in range(n_words)) + f" {at}" for at in range(n)]


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def milliseconds(action: Callable[[str], object], queries: Sequence[str]) -> dict[str, float]:
    action(queries[0])
    times = sorted(seconds(lambda query=query: action(query)) * 1000 for query in queries)  # type: ignore[misc]
    return {"p50": round(statistics.median(times), 2), "p95": round(times[int(0.95 * (len(times) - 1))], 2)}


if __name__ == "__main__":
    main()
