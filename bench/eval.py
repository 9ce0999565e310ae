"""What evaluation costs, and whether its tests are calibrated: python -m bench.eval [overhead calibration search] → JSON.

overhead: all default metrics for 10,000 queries at depth 100, with intervals and a comparison.
calibration: A/A runs that differ by noise only; "no difference" should come out in 95 %.
search: 1,000 questions in hybrid mode over 10,000 chunks, without a model call.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from eval.comparison import compare, intervals
from eval.dataset import Dataset
from eval.evaluation import run_on_knowledge_base
from eval.metrics import Scores, score
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document

REPO = Path(__file__).resolve().parents[1]
NAMES = ("overhead", "calibration", "search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--corpus", type=Path, default=REPO.parent / "shared/data/sets/2wikimultihopqa/corpus.jsonl.gz")
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=1_000)
    options = parser.parse_args()
    chosen = options.names or NAMES
    result: dict[str, Any] = {}
    if "overhead" in chosen:
        result["overhead"] = overhead(10_000, 100)
    if "calibration" in chosen:
        result["calibration"] = [calibration(n, options.repetitions) for n in (30, 150)]
    if "search" in chosen:
        texts = corpus(options.corpus, options.chunks)
        result["search"] = search(Settings(), texts, options.questions)
    print(json.dumps(result, indent=1))


def overhead(n_queries: int, depth: int) -> dict[str, float]:
    """Seconds for the metrics alone, for their intervals, and for comparing two systems."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, 100_000, size=(n_queries, depth))
    run = {
        f"q{n}": [(f"d{doc}", float(depth - at)) for at, doc in enumerate(row)] for n, row in enumerate(picks.tolist())
    }
    qrels = {f"q{n}": {f"d{picks[n, n % depth]}": 1, f"x{n}": 1} for n in range(n_queries)}
    began = time.perf_counter()
    scores = score(run, qrels)
    scored = time.perf_counter()
    intervals(scores)
    bounded = time.perf_counter()
    compare({"a": scores, "b": scores})
    compared = time.perf_counter()
    return {
        "queries": n_queries,
        "depth": depth,
        "metrics": len(scores.values),
        "metrics_s": round(scored - began, 3),
        "intervals_s": round(bounded - scored, 3),
        "comparison_s": round(compared - bounded, 3),
    }


def calibration(n_questions: int, repetitions: int) -> dict[str, float]:
    """How often two systems that differ by noise come out as "no difference", and how often the interval holds 0."""
    n_same = n_held = 0
    for repetition in range(repetitions):
        rng = np.random.default_rng(repetition)
        hardness = rng.beta(2, 1, n_questions)
        noisy = [np.clip(hardness + rng.normal(0, 0.15, n_questions), 0, 1) for _ in range(2)]
        names = tuple(f"q{n}" for n in range(n_questions))
        a, b = (Scores(query_ids=names, values={"nDCG@10": values}) for values in noisy)
        (pair,) = compare({"a": a, "b": b}, seed=repetition)
        n_same += not pair.differs
        n_held += pair.ci[0] <= 0 <= pair.ci[1]
    return {
        "questions": n_questions,
        "repetitions": repetitions,
        "no_difference": round(n_same / repetitions, 4),
        "interval_holds_0": round(n_held / repetitions, 4),
    }


def search(settings: Settings, texts: list[str], n_questions: int) -> dict[str, Any]:
    """Seconds of an evaluation in hybrid mode, the import apart. Questions are words from the middle of a passage."""
    questions = {f"q{n}": " ".join(texts[n % len(texts)].split()[3:11]) for n in range(n_questions)}
    dataset = Dataset(
        name="bench",
        questions=questions,
        qrels={f"q{n}": {f"d{n % len(texts)}": 1} for n in range(n_questions)},
        n_documents=len(texts),
        fingerprint="bench",
        open_corpus=lambda: (Document(text, doc_id=f"d{n}", source=f"d{n}") for n, text in enumerate(texts)),
    )
    with (
        tempfile.TemporaryDirectory() as home,
        KnowledgeBase.open(home, settings=settings.with_values(llm__model="none", search__cache=False)) as kb,
    ):
        began = time.perf_counter()
        kb.ingest(dataset.corpus())
        imported = time.perf_counter()
        evaluation = run_on_knowledge_base(dataset, ["hybrid"], kb=kb)
        ended = time.perf_counter()
        return {
            "chunks": kb.catalog.counts(kb.collection)[1],
            "questions": n_questions,
            "import_s": round(imported - began, 1),
            "evaluation_s": round(ended - imported, 1),
            "nDCG@10": round(evaluation.systems["hybrid"].scores.mean("nDCG@10"), 4),
        }


def corpus(path: Path, n: int) -> list[str]:
    """n passages of a corpus file, cut out of longer ones where it has too few; made-up ones where there is no file."""
    if not path.is_file():
        from bench.run import passages

        return passages(n)
    texts: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            texts.append(json.loads(line)["text"])
    halves = [" ".join(text.split()[len(text.split()) // 2 :]) for text in texts]
    return [text for text in [*texts, *halves] if len(text.split()) > 12][:n]


if __name__ == "__main__":
    main()
