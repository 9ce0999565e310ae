"""A second stage over the best candidates of a hybrid search: a larger embedding model, a cross-encoder, or the chat model's
log-odds of "yes" against "no" when it is asked whether a passage answers the question.

    python -m bench.second_stage OUT [DATA] --model embeddinggemma-300m | --reranker FOLDER | --chat qwen2.5-coder-1.5b
        [--sets A,B] [--limit N] [--depth N] [--set KEY=VALUE]

OUT: the folder of a `bench.ablation` run, whose collections are searched. Prints JSON per set: nDCG@10 of hybrid, of hybrid
reranked as it is by default, and of hybrid with the second stage's scores at several shares; the 95 % interval of what the
best of these gains; and seconds per question.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.comparison import compare
from eval.dataset import load_dataset
from eval.metrics import score
from rag import KnowledgeBase, Settings
from rag.catalog import Catalog
from rag.embedding import open_embedder
from rag.local_chat import LlamaServer
from rag.models import models_dir, resolve
from rag.reranking import open_reranker
from rag.sizing import gguf_shape, plan
from rag.types import Hit

METRIC = "nDCG@10"
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
Run = dict[str, list[tuple[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("data", nargs="?", default="../shared/data", type=Path)
    stages = parser.add_mutually_exclusive_group(required=True)
    stages.add_argument("--model", help="an embedding model")
    stages.add_argument("--reranker", help="a cross-encoder: folder or hub name")
    stages.add_argument("--chat", help="a chat model of this machine")
    parser.add_argument("--depth", type=int, default=20, help="candidates that the second stage reads")
    parser.add_argument("--sets", default="squad-dev,musique-200,cranfield")
    parser.add_argument("--limit", type=int, default=50, help="questions of each set, evenly spaced")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for the ablation")
    options = parser.parse_args()
    settings = Settings.load(overrides=dict(pair.split("=", 1) for pair in options.set))
    stage = opened(options, settings)
    for name in options.sets.split(","):
        result = measured(options.out / name / "home", options.data / "sets" / name, stage, settings, options)
        told = {
            "set": name,
            "stage": options.model or options.reranker or options.chat,
            "depth": options.depth,
            **result,
        }
        print(json.dumps(told), flush=True)


Stage = Callable[[str, Sequence[str]], np.ndarray]
"""(question, passages) → how well each answers it."""


def opened(options: argparse.Namespace, settings: Settings) -> Stage:
    if options.model:
        embedder = open_embedder(settings.with_values(embedding__model=options.model).embedding, settings.models)
        return lambda question, texts: embedder.embed_passages(texts) @ embedder.embed_queries([question])[0]
    if options.reranker:
        reranker = open_reranker(settings.with_values(rerank__model=options.reranker).rerank, lambda: None)
        assert reranker is not None
        return lambda question, texts: np.array(reranker.scores(question, texts))
    return LogOdds(settings.with_values(llm__model=options.chat), options.chat)


class LogOdds:
    """log p(yes) − log p(no) of the chat model's first token."""

    def __init__(self, settings: Settings, name: str) -> None:
        path = Path(resolve(name, "chat", models_dir(settings.models.dir)))
        self._server = LlamaServer(path, plan(gguf_shape(path), 8 << 30, context=2048), threads=settings.llm.threads)

    def __call__(self, question: str, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._one(question, text) for text in texts])

    def _one(self, question: str, text: str) -> float:
        asked = f"Question: {question}\n\nPassage: {text}\n\nDoes the passage answer the question? Reply yes or no."
        found: list[dict[str, Any]] = []
        self._server.handle.handle_chat_completions(
            {"messages": [{"role": "user", "content": asked}], "max_tokens": 1, "temperature": 0.0, "logprobs": True,
             "top_logprobs": 20, "cache_prompt": True}, found.append,
        )  # fmt: skip
        first = next(one["choices"][0]["logprobs"]["content"][0]["top_logprobs"] for one in found if one.get("choices"))
        odds = {"yes": [-20.0], "no": [-20.0]}  # less likely than the twenty that are told
        for one in first:
            odds.setdefault(one["token"].strip().lower(), []).append(one["logprob"])
        return float(np.logaddexp.reduce(odds["yes"]) - np.logaddexp.reduce(odds["no"]))


def measured(home: Path, data: Path, stage: Stage, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    dataset, limit, depth = load_dataset(data), options.limit, options.depth
    chosen = list(dataset.questions)[:: max(1, len(dataset.questions) // limit)][
        :limit
    ]  # neighbours ask of one document
    qrels = {query_id: dataset.qrels[query_id] for query_id in chosen}
    runs: dict[str, Run] = {}
    spent: list[float] = []
    settings = settings.with_values(llm__model="none", search__cache=False)
    with KnowledgeBase.open(home, collection=collection_of(home), settings=settings) as kb:
        for query_id in chosen:
            question = dataset.questions[query_id]
            hits = list(kb.search(question, mode="hybrid", rerank=False, top_k=100))
            runs.setdefault("hybrid", {})[query_id] = documents(hits, [hit.score for hit in hits])
            by_default = list(kb.search(question, mode="hybrid", top_k=100))
            runs.setdefault("as it is", {})[query_id] = documents(by_default, [hit.score for hit in by_default])
            began = time.perf_counter()
            liked = stage(question, [hit.text for hit in hits[:depth]])
            spent.append(time.perf_counter() - began)
            for share in SHARES:
                runs.setdefault(f"share {share}", {})[query_id] = documents(hits, joined(hits, liked, share))
    scores = {system: score(run, qrels, [METRIC]) for system, run in runs.items()}
    found = {system: float(one.mean(METRIC)) for system, one in scores.items()}
    best = max((system for system in found if system.startswith("share")), key=lambda system: found[system])
    (pair,) = compare({best: scores[best], "hybrid": scores["hybrid"]}, metrics=[METRIC])
    return {"questions": len(chosen), **{system: round(value, 4) for system, value in found.items()},
            "best": {"which": best, "gains": round(pair.difference, 4), "ci": [round(one, 4) for one in pair.ci]},
            "seconds_per_question": round(float(np.median(spent)), 2)}  # fmt: skip


def joined(hits: Sequence[Hit], liked: np.ndarray, share: float) -> list[float]:
    """Scores of all hits: the first ones by both, z-scores of each, the others after them in their order."""
    head = (1 - share) * standard(np.array([hit.score for hit in hits[: len(liked)]])) + share * standard(liked)
    return [*head.tolist(), *(float(head.min()) - at for at in range(1, len(hits) - len(head) + 1))]


def standard(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean()) / (values.std() or 1.0))


def documents(hits: Sequence[Hit], scores: Sequence[float]) -> list[tuple[str, float]]:
    """Each document once, at its best chunk's place."""
    best: dict[str, float] = {}
    for hit, value in sorted(zip(hits, scores, strict=True), key=lambda pair: -pair[1]):
        best.setdefault(hit.doc_id, value)
    return list(best.items())


def collection_of(home: Path) -> str:
    catalog = Catalog(home / "catalog.sqlite3")
    try:
        names = catalog.collections()
    finally:
        catalog.close()
    if len(names) != 1:
        sys.exit(f"{home} holds {len(names)} collections, not one")
    return names[0]


if __name__ == "__main__":
    main()
