"""Graph retrieval against passages alone, in one run: recall@5 of dense, hybrid, graph, hybrid+graph, auto, and how long it takes.

    python -m bench.graph [DATA] [--sets A,B] [--model NAME] [--home DIR] [--limit N] [--methods] [--grow 1000,10000]

DATA: a folder with `sets/NAME/{corpus,queries,qrels}` (default ../shared/data). musique-train100 is also run with its
given triples and LightRAG's two levels of keywords, with --methods also with HippoRAG 2's way of walking, on the same
triples and embedder. --grow: instead, time builds, loads, updates and walks on made-up collections of these sizes. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval import load_dataset
from graph import KnowledgeGraph, network, retrieval, rules, store
from graph.retrieval import Start
from graph.walking import Walk, Weights
from rag import KnowledgeBase, Settings

MODES = ("dense", "bm25", "hybrid", "graph", "hybrid+graph", "auto")
SETS = ("musique-train100", "2wikimultihopqa", "musique-200", "squad-dev", "xquad-en", "xquad-zh")
N_FACTS = 5  # HippoRAG 2 starts from the entities of so many facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--model", default=Settings().embedding.model)
    parser.add_argument("--home", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--methods", action="store_true", help="also each method of graph search, and HippoRAG 2's way")
    parser.add_argument("--grow", default="")
    options = parser.parse_args()
    if options.grow:
        result: Any = [grown(int(size)) for size in options.grow.split(",")]
    else:
        settings = Settings().with_values(llm__model="none", embedding__model=options.model)
        home = Path(options.home or tempfile.mkdtemp(prefix="graph-bench-"))
        result = {"model": options.model, "sets": {}}
        for name in options.sets.split(","):
            result["sets"][name] = measured(options.data / "sets" / name, name, home, settings, options)
    json.dump(result, sys.stdout, indent=2)
    print()


# ---------------------------------------------------------------- quality


def measured(folder: Path, name: str, home: Path, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    dataset = load_dataset(folder, None, None, options.limit)
    with KnowledgeBase.open(home, settings=settings, collection=name) as kb:
        kb.ingest(dataset.corpus())
        start = time.perf_counter()
        graph = KnowledgeGraph.build(kb, method="rules", fresh=True)
        tree: dict[str, Any] = {"n_questions": len(dataset.questions), "build_s": round(time.perf_counter() - start, 2), **graph.counts()}  # fmt: skip
        tree["modes"] = {mode: asked(dataset, lambda question, mode=mode: kb.search(question, mode=mode, top_k=15)) for mode in MODES}  # fmt: skip
        if options.methods:
            tree["methods"] = {method: asked(dataset, lambda question, method=method: graph.search(question, method=method, top_k=15)) for method in retrieval.METHODS}  # fmt: skip
        triples = folder / "openie.jsonl.gz"
        if triples.exists():
            given = KnowledgeGraph.build(kb, triples=triples)
            modes = {mode: asked(dataset, lambda question, mode=mode: kb.search(question, mode=mode, top_k=15)) for mode in MODES}  # fmt: skip
            if options.methods:
                modes["hipporag2's way"] = asked(dataset, HippoRag(kb, given).search)
            modes["lightrag's way"] = asked(dataset, lambda question: given.search(question, method="keywords", top_k=15))  # fmt: skip
            tree["given triples"] = {**given.counts(), "modes": modes}
            KnowledgeGraph.build(kb, method="rules")
    return tree


def asked(dataset: Any, search: Callable[[str], Sequence[Any]]) -> dict[str, float]:
    """Mean recall@5 and @2 over the questions, in per cent, and the median time of a question."""
    search(next(iter(dataset.questions.values())))
    at: dict[int, list[float]] = {2: [], 5: []}
    times = []
    for query_id, question in dataset.questions.items():
        start = time.perf_counter()
        hits = search(question)
        times.append((time.perf_counter() - start) * 1000)
        found = list(dict.fromkeys(hit if isinstance(hit, str) else hit.doc_id for hit in hits))
        relevant = {doc_id for doc_id, grade in dataset.qrels[query_id].items() if grade > 0}
        for depth, values in at.items():
            values.append(len(relevant & set(found[:depth])) / len(relevant))
    return {**{f"recall@{depth}": round(100 * statistics.mean(values), 2) for depth, values in at.items()},
            "p50_ms": round(statistics.median(times), 1)}  # fmt: skip


class HippoRag:
    """HippoRAG 2's retrieval on a graph: facts near the question, their entities and all passages start a walk.

    As its paper and code set it: damping 0.5, passages at 0.05 of their normalised similarity, the five best facts, an
    entity's weight its facts' similarity over the number of its passages, synonyms by the similarity of names (the ten
    nearest each, 0.8 of a cosine that spans 0 … 1). The language model's filter of the facts is left out.
    Source: Gutiérrez et al., arXiv:2502.14802.
    """

    def __init__(self, kb: KnowledgeBase, graph: KnowledgeGraph) -> None:
        self._kb, self._net = kb, graph.network
        net, embedder = self._net, kb.embedder
        texts = list(dict.fromkeys(f"{net.entity_names[f.subject]} {f.relation.label} {net.entity_names[f.object]}" for f in net.facts))  # fmt: skip
        number = {text: n for n, text in enumerate(texts)}
        self._facts: list[tuple[int, int]] = [(0, 0)] * len(texts)
        for fact in net.facts:
            text = f"{net.entity_names[fact.subject]} {fact.relation.label} {net.entity_names[fact.object]}"
            self._facts[number[text]] = (fact.subject, fact.object)
        self._vectors = np.asarray(embedder.embed_passages(texts))
        names = np.asarray(embedder.embed_passages(list(net.entity_names)))
        near = _near(names)
        self._walk = Walk(_with_near(net, near), Weights(about=0.0, mention=1.0, relation=1.0, near=0.8, damping=0.5, passages=0.05, iterations=40))  # fmt: skip
        stored = {one.chunk.chunk_id: one for info in kb.documents() for one in kb.catalog.stored_chunks(kb.collection, info.doc_id)}  # fmt: skip
        vectors = kb.catalog.vectors([stored[one].vector_key for one in net.chunk_ids])
        self._chunks = np.stack([vectors[stored[one].vector_key] for one in net.chunk_ids])

    def search(self, question: str) -> list[str]:
        net, query = self._net, self._kb.embedder.embed_queries([question])[0]
        similar = _spread(self._vectors @ query)
        weights: dict[int, list[float]] = {}
        for n in np.argsort(-similar)[:N_FACTS]:
            for entity in self._facts[n]:
                weights.setdefault(entity, []).append(float(similar[n]) / max(int(net.n_chunks_of[entity]), 1))
        passages = 0.05 * _spread(self._chunks @ query)
        shares = self._walk.ranked({one: float(np.mean(w)) for one, w in weights.items()}, dict(enumerate(passages)))
        return [net.doc_ids[n] for n in np.argsort(-shares, kind="stable")[:15]]


def _spread(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / max(float(values.max() - values.min()), 1e-9)


def _near(vectors: np.ndarray, most: int = 10) -> np.ndarray:
    pairs = set()
    for first in range(0, len(vectors), 512):
        cosines = vectors[first : first + 512] @ vectors.T
        low = float(cosines.min())
        for row, values in enumerate(cosines):
            for other in np.argpartition(-values, most + 1)[: most + 1]:
                if other != first + row and (values[other] - low) / (1 - low) >= 0.8:
                    pairs.add((min(first + row, int(other)), max(first + row, int(other))))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _with_near(net: network.Network, near: np.ndarray) -> network.Network:
    from dataclasses import replace

    return replace(net, near=near)


# ---------------------------------------------------------------- time

SYLLABLES = [
    "ba",
    "ke",
    "lo",
    "mi",
    "nu",
    "ra",
    "so",
    "ti",
    "ve",
    "za",
    "dor",
    "fen",
    "gal",
    "hin",
    "jor",
    "kal",
    "mon",
    "pel",
    "rus",
    "tan",
]


def grown(n: int, seed: int = 0) -> dict[str, Any]:
    """Times for a made-up collection of n passages about n names that speak of one another."""
    pick = random.Random(seed)
    people = ["".join(pick.choices(SYLLABLES, k=3)).capitalize() + " " + "".join(pick.choices(SYLLABLES, k=3)).capitalize() for _ in range(n)]  # fmt: skip
    verbs = ("was born in the town of", "studied under", "is the daughter of", "founded, with", "was succeeded by")

    def passage(at: int) -> str:
        others = [people[min(int(pick.expovariate(8 / n)), n - 1)] for _ in range(6)]
        return " ".join(f"{people[at] if k == 0 else 'She'} {pick.choice(verbs)} {other} in {1800 + pick.randrange(220)}, and the matter was settled soon after." for k, other in enumerate(others))  # fmt: skip

    texts = [passage(at) for at in range(n)]
    start = time.perf_counter()
    lines = {f"d{at:07}": _line(f"d{at:07}", people[at], text) for at, text in enumerate(texts)}
    file = store.GraphFile(store.Header(method="rules"), lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.jsonl"
        store.save(path, file)
        built = time.perf_counter() - start
        start = time.perf_counter()
        again = store.load(path)
        states = again.states()
        for at in range(0, n, 100):  # one in a hundred changes
            again.lines[f"d{at:07}"] = _line(f"d{at:07}", people[at], passage(at))
        store.save(path, again)
        updated = time.perf_counter() - start
        start = time.perf_counter()
        net = network.assemble(store.load(path))
        loaded = time.perf_counter() - start
    index = retrieval.GraphIndex(net)
    index.walk.prepare()
    walks = []
    for _ in range(50):
        question = f"Who taught the founder {pick.choice(people)} and {pick.choice(people)}?"
        passages: Mapping[int, float] = {pick.randrange(n): pick.random() for _ in range(100)}
        start = time.perf_counter()
        retrieval.retrieve("walk", Start(question=question, passages=passages), index)
        walks.append((time.perf_counter() - start) * 1000)
    return {"passages": n, "documents": len(states), "edges": len(net.facts) + len(net.mentions), "build_s": round(built, 2),
            "update_1_percent_s": round(updated, 3), "load_s": round(loaded, 2), "walk_p50_ms": round(statistics.median(walks), 1)}  # fmt: skip


def _line(doc_id: str, title: str, text: str) -> str:
    return store.packed(doc_id, "0", [(f"{doc_id}#0-{len(text)}", rules.extract(text, title, title=title))])


if __name__ == "__main__":
    main()
