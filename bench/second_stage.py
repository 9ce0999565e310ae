"""A larger embedding model as second stage: it embeds the question and the best candidates of a hybrid search once more.

    python -m bench.second_stage OUT [DATA] --model embeddinggemma-300m [--sets A,B] [--limit N] [--set KEY=VALUE]

OUT: the folder of a `bench.ablation` run, whose collections are searched. Prints JSON per set: nDCG@10 of hybrid, of hybrid
reranked as it is by default, and of hybrid with the second stage's scores at several shares; and seconds per question.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.dataset import load_dataset
from eval.metrics import score
from rag import KnowledgeBase, Settings
from rag.catalog import Catalog
from rag.embedding import open_embedder
from rag.types import Hit

METRIC = "nDCG@10"
DEPTH = 20
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
Run = dict[str, list[tuple[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("data", nargs="?", default="../shared/data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sets", default="squad-dev,musique-200,cranfield")
    parser.add_argument("--limit", type=int, default=50, help="questions of each set, evenly spaced")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for the ablation")
    options = parser.parse_args()
    settings = Settings.load(overrides=dict(pair.split("=", 1) for pair in options.set))
    stage = open_embedder(settings.with_values(embedding__model=options.model).embedding, settings.models)
    for name in options.sets.split(","):
        result = measured(options.out / name / "home", options.data / "sets" / name, stage, settings, options.limit)
        print(json.dumps({"set": name, "model": options.model, **result}), flush=True)


def measured(home: Path, data: Path, stage: Any, settings: Settings, limit: int) -> dict[str, Any]:
    dataset = load_dataset(data)
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
            asked = stage.embed_queries([question])[0]
            liked = stage.embed_passages([hit.text for hit in hits[:DEPTH]]) @ asked
            spent.append(time.perf_counter() - began)
            for share in SHARES:
                runs.setdefault(f"share {share}", {})[query_id] = documents(hits, joined(hits, liked, share))
    found = {system: float(score(run, qrels, [METRIC]).mean(METRIC)) for system, run in runs.items()}
    return {"questions": len(chosen), **{system: round(value, 4) for system, value in found.items()},
            "seconds_per_question": round(float(np.median(spent)), 2)}  # fmt: skip


def joined(hits: Sequence[Hit], liked: np.ndarray, share: float) -> list[float]:
    """Scores of all hits: the first ones by both, z-scores of each, the others after them in their order."""
    head = (1 - share) * standard(np.array([hit.score for hit in hits[:DEPTH]])) + share * standard(liked)
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
