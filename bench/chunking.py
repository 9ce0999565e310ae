"""Retrieval by chunking strategy and by enrichment that needs no model, on passages put together to long documents.

    python -m bench.chunking ../shared/data/sets/SET      prints JSON

A passage counts as found at the rank of the first hit of its document that overlaps it by half of the shorter of both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

from eval.dataset import load_dataset
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document, Hit

PER_DOCUMENT = 25  # passages, in the order of the set: those of one article follow one another
RUNS: Mapping[str, Mapping[str, Any]] = {
    "recursive": {}, "fixed": {"chunk__strategy": "fixed"},
    "sentence-window": {"chunk__strategy": "sentence-window"}, "parent-child": {"chunk__strategy": "parent-child"},
    "semantic": {"chunk__strategy": "semantic"}, "recursive, 128 tokens": {"chunk__size": 128, "chunk__overlap": 16},
    "recursive + keywords": {"enrich__keywords": 8}, "recursive + tree": {"enrich__summaries": "tree"},
    "recursive, no context": {"chunk__context_tokens": 0},
}  # fmt: skip

Place = tuple[str, int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--passages", type=int, default=400, help="at most; documents are made of the first ones")
    parser.add_argument("--runs", nargs="*", default=list(RUNS))
    options = parser.parse_args()
    print(json.dumps(run(options.dataset, options.questions, options.passages, options.runs), indent=2))


def run(path: Path, n_questions: int, n_passages: int, names: Sequence[str]) -> dict[str, Any]:
    """nDCG@10 and recall per run as one JSON document."""
    dataset = load_dataset(path)
    places, documents = joined(list(dataset.corpus())[:n_passages])
    asked = {
        query_id: (question, {doc for doc, grade in dataset.qrels[query_id].items() if grade > 0})
        for query_id, question in dataset.questions.items()
    }
    usable = [one for one in asked.values() if one[1] and one[1] <= places.keys()]
    usable = usable[:: max(len(usable) // n_questions, 1)][:n_questions]
    measured = {name: measure(documents, places, usable, RUNS[name]) for name in names}
    return {"dataset": dataset.name, "documents": len(documents), "questions": len(usable), "runs": measured}


def joined(passages: Sequence[Document]) -> tuple[dict[str, Place], list[Document]]:
    """Passages put together to documents, and where each one lies: (document, start, end)."""
    places: dict[str, Place] = {}
    documents = []
    for number, group in enumerate(passages[at : at + PER_DOCUMENT] for at in range(0, len(passages), PER_DOCUMENT)):
        text = ""
        for passage in group:
            start = len(text)
            text += passage.text.strip() + "\n\n"
            places[passage.doc_id] = (f"d{number}", start, len(text) - 2)
        documents.append(Document(text, doc_id=f"d{number}", title=group[0].title))
    return places, documents


def measure(
    documents: Sequence[Document],
    places: Mapping[str, Place],
    asked: Sequence[tuple[str, set[str]]],
    changes: Mapping[str, Any],
) -> dict[str, float]:
    settings = Settings.load().with_values(llm__model="none", **changes)
    with tempfile.TemporaryDirectory() as home, KnowledgeBase.open(home, settings=settings) as kb:
        n_chunks = kb.ingest(documents).n_chunks
        ranks = [
            list(found(kb.search(question, top_k=10), [places[one] for one in wanted])) for question, wanted in asked
        ]
        read = sum(
            len(hit.text) for question, _ in asked[:50] for hit in kb.search(question, top_k=5, expand="implied")
        )
    ndcg = [sum(1 / log2(rank + 1) for rank in one[:1]) for one in ranks]
    return {
        "chunks": n_chunks,
        "ndcg@10": round(sum(ndcg) / len(ndcg), 3),
        "recall@1": round(sum(bool(one) and one[0] == 1 for one in ranks) / len(ranks), 3),
        "recall@5": round(sum(bool(one) and one[0] <= 5 for one in ranks) / len(ranks), 3),
        "chars_of_5_hits": round(read / max(len(asked[:50]), 1)),
    }


def found(hits: Sequence[Hit], wanted: Sequence[Place]) -> Iterator[int]:
    """Ranks of the hits that show a wanted passage: half of the shorter one of the two lies in the other."""
    for hit in hits:
        for doc_id, start, end in wanted:
            shared = min(hit.end, end) - max(hit.start, start)
            if not hit.level and hit.doc_id == doc_id and 2 * shared >= min(hit.end - hit.start, end - start):
                yield hit.rank


if __name__ == "__main__":
    main()
