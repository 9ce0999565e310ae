"""Graph retrieval against passages alone, in one run: recall@5 of dense, hybrid, graph, hybrid+graph, auto, and how long it takes.

    python -m bench.graph [DATA] [--sets A,B] [--model NAME] [--home DIR] [--limit N] [--methods] [--extract names] [--neighbours 0.97]
    python -m bench.graph --grow 1000,10000 [--plot FILE.svg]

DATA: a folder with `sets/NAME/{corpus,queries,qrels}` (default ../shared/data). musique-train100 is also run with its
given triples and LightRAG's two levels of keywords, with --methods also with HippoRAG 2's way of walking and, when
`bench/peers/setup.sh hipporag lightrag` was run, with both in their own code, on the same triples and embedder.
--extract, --neighbours: graphs whose names models find, or in which near names are one.
--grow: instead, times of builds, loads, updates and walks on made-up collections of these sizes; --plot FILE.svg draws them.
JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.ingest import REPO
from eval import load_dataset
from graph import KnowledgeGraph, network, retrieval, rules, store
from graph.retrieval import Start
from graph.triples import read
from graph.walking import Walk, Weights
from rag import KnowledgeBase, Settings
from rag.models import models_dir

MODES = ("dense", "bm25", "hybrid", "graph", "hybrid+graph", "auto")
SETS = ("musique-train100", "2wikimultihopqa", "musique-200", "squad-dev", "xquad-en", "xquad-zh")
SYNONYMS = (0.94,)  # of HippoRAG's own code, beside its 0.8: that is next to nothing where all cosines are above 0.7
N_FACTS = 5  # HippoRAG 2 starts from the entities of so many facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--model", default=Settings().embedding.model)
    parser.add_argument("--home", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--methods", action="store_true", help="also each method of graph search, and HippoRAG 2's way")
    parser.add_argument("--extract", default="rules", choices=("rules", "names"))
    parser.add_argument("--neighbours", type=float, default=0)
    parser.add_argument("--grow", default="")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.grow:
        sizes = [grown(int(size)) for size in options.grow.split(",")]
        result: Any = {"sizes": sizes, "cost_over_n_log_n": over_n_log_n(sizes)}
        if options.plot:
            options.plot.write_text(plot(sizes), encoding="utf-8")
    else:
        settings = Settings().with_values(
            llm__model="none", embedding__model=options.model, graph__neighbours=options.neighbours
        )
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
        graph = KnowledgeGraph.build(kb, method=options.extract, fresh=True)
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
                modes |= peers(dataset, triples, kb, options.model)
            modes["lightrag's way"] = asked(dataset, lambda question: given.search(question, method="keywords", top_k=15))  # fmt: skip
            tree["given triples"] = {**given.counts(), "modes": modes}
    return tree


def asked(dataset: Any, search: Callable[[str], Sequence[Any]]) -> dict[str, float]:
    """Mean recall@5 and @2 over the questions, in per cent, and the median time of a question."""
    search(next(iter(dataset.questions.values())))
    ranked: dict[str, list[str]] = {}
    times = []
    for query_id, question in dataset.questions.items():
        start = time.perf_counter()
        hits = search(question)
        times.append((time.perf_counter() - start) * 1000)
        ranked[query_id] = [hit if isinstance(hit, str) else hit.doc_id for hit in hits]
    found = {**recalls(dataset, ranked), "p50_ms": round(statistics.median(times), 1)}
    print(found, file=sys.stderr, flush=True)
    return found


def recalls(dataset: Any, ranked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean recall@2 and @5 over the questions, in per cent; a document that is named again counts once."""
    at: dict[int, list[float]] = {2: [], 5: []}
    for query_id in dataset.questions:
        found = list(dict.fromkeys(ranked[query_id]))
        relevant = {doc_id for doc_id, grade in dataset.qrels[query_id].items() if grade > 0}
        for depth, values in at.items():
            values.append(len(relevant & set(found[:depth])) / len(relevant))
    return {f"recall@{depth}": round(100 * statistics.mean(values), 2) for depth, values in at.items()}


def peers(dataset: Any, triples: Path, kb: KnowledgeBase, model: str) -> dict[str, Any]:
    """HippoRAG's and LightRAG's own code on the same triples, each in its environment; those that are not there are left out."""
    lines = read(triples).lines
    folder = Path(model) if Path(model).is_dir() else models_dir(kb.settings.models.dir) / model
    job = {
        "model": str(folder), "alias": model, "query_prefix": kb.embedder.query_prefix, "passage_prefix": kb.embedder.passage_prefix,
        "thresholds": SYNONYMS, "questions": dict(dataset.questions),
        "passages": [{"id": one.doc_id, "text": f"{one.title}\n{one.text}", **_triples(lines.get(one.doc_id))} for one in dataset.corpus()],
    }  # fmt: skip
    found = {}
    for name in ("hipporag", "lightrag"):
        python = REPO / ".peers" / name / "bin" / "python"
        if not python.exists():
            print(f"{name}: not installed (bench/peers/setup.sh {name})", file=sys.stderr)
            continue
        ended = subprocess.run([str(python), str(REPO / "bench" / "peers" / f"{name}_triples.py")], input=json.dumps(job), capture_output=True, text=True)  # fmt: skip
        if ended.returncode:
            sys.exit(f"{name} failed: {ended.stderr[-2000:]}")
        for variant, told in json.loads(ended.stdout.splitlines()[-1]).items():
            way = f"{name}'s code, {variant}"
            found[way] = {**recalls(dataset, told["ranked"]), "p50_ms": told["p50_ms"]}
            print(way, found[way], file=sys.stderr, flush=True)
    return found


def _triples(line: Any) -> dict[str, Any]:
    """Those that a peer can read: its code has no check of its own."""
    given = line or {"entities": [], "triples": []}
    return {
        "entities": [one for one in given["entities"] if isinstance(one, str)],
        "triples": [one for one in given["triples"] if len(one) == 3 and all(isinstance(part, str) for part in one)],
    }


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
    clock = Clock()
    file = store.GraphFile(store.Header(method="rules"), {f"d{at:07}": _line(f"d{at:07}", people[at], text) for at, text in enumerate(texts)})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.jsonl"
        store.save(path, file)
        built = clock.lap()
        again = store.load(path)
        for at in range(0, n, 100):  # one in a hundred changes
            again.lines[f"d{at:07}"] = _line(f"d{at:07}", people[at], passage(at))
        store.save(path, again)
        updated = clock.lap()
        del again, file
        net = network.assemble(store.load(path))
        loaded = clock.lap()
        n_bytes = path.stat().st_size
    index = retrieval.GraphIndex(net)
    index.walk.prepare()
    clock.lap()
    n_communities = len(index.communities)
    grouped = clock.lap()
    walks = []
    for _ in range(50):
        question = f"Who taught the founder {pick.choice(people)} and {pick.choice(people)}?"
        passages: Mapping[int, float] = {pick.randrange(n): pick.random() for _ in range(100)}
        clock.lap()
        retrieval.retrieve("walk", Start(question=question, passages=passages), index)
        walks.append(clock.lap())
    edges = len(net.facts) + len(net.mentions)
    return {
        "passages": n, "edges": edges, "communities": n_communities, "file_mb": round(n_bytes / 1e6, 1),
        "build_s": built[0], "build_cpu_s": built[1], "update_1_percent_s": updated[0], "update_1_percent_cpu_s": updated[1],
        "load_s": loaded[0], "load_cpu_s": loaded[1], "load_100k_edges_cpu_s": round(loaded[1] / edges * 100_000, 2),
        "communities_s": grouped[0], "communities_cpu_s": grouped[1],
        "walk_p50_ms": round(1000 * statistics.median(wall for wall, _ in walks), 1),
        "walk_cpu_p50_ms": round(1000 * statistics.median(cpu for _, cpu in walks), 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


class Clock:
    """Laps in seconds: on the wall, and of this process on a processor, which a busy machine blurs less."""

    def __init__(self) -> None:
        self._at = time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        now = time.perf_counter(), time.process_time()
        passed = round(now[0] - self._at[0], 4), round(now[1] - self._at[1], 4)
        self._at = now
        return passed


GROWING = ("build_cpu_s", "load_cpu_s", "communities_cpu_s", "walk_cpu_p50_ms")


def over_n_log_n(sizes: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """How each cost grew against n log n, from the first size on: 1 is exactly as fast, less is slower growth."""

    def share(one: Mapping[str, Any], what: str) -> float:
        return float(one[what]) / (one["passages"] * math.log(one["passages"]))

    return {what: [round(share(one, what) / share(sizes[0], what), 2) for one in sizes] for what in GROWING}


def plot(sizes: Sequence[Mapping[str, Any]]) -> str:
    """The costs over the number of passages as an SVG, both axes logarithmic, with n log n beside them."""
    wide, high, left, top = 640, 400, 64, 24
    lines = {"build": "build_cpu_s", "load": "load_cpu_s", "communities": "communities_cpu_s"}
    first, last = sizes[0]["passages"], sizes[-1]["passages"]
    known = {name: [(one["passages"], float(one[what])) for one in sizes] for name, what in lines.items()}
    begin = known["build"][0][1] / (first * math.log(first))
    known["n log n"] = [(one["passages"], begin * one["passages"] * math.log(one["passages"])) for one in sizes]
    values = [seconds for points in known.values() for _, seconds in points]
    low, up = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def place(n: float, seconds: float) -> tuple[float, float]:
        x = left + (wide - left - 110) * math.log(n / first) / math.log(last / first)
        y = top + (high - top - 48) * (up - math.log10(seconds)) / (up - low)
        return round(x, 1), round(y, 1)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="13">',
           f'<rect width="{wide}" height="{high}" fill="#ffffff"/>']  # fmt: skip
    for power in range(low, up + 1):
        x, y = place(first, 10.0**power)
        out.append(f'<path d="M{x} {y}H{wide - 110}" stroke="#dfe5e2"/><text x="{x - 8}" y="{y + 4}" text-anchor="end" fill="#55605b">{10.0**power:g} s</text>')  # fmt: skip
    for one in sizes:
        x, y = place(one["passages"], 10.0**low)
        out.append(f'<text x="{x}" y="{y + 22}" text-anchor="middle" fill="#55605b">{one["passages"]:,}</text>')
    beside: dict[str, float] = {}  # where each line's name stands: at its end, and below the one before
    for name in sorted(known, key=lambda one: place(*known[one][-1])[1]):
        beside[name] = max(place(*known[name][-1])[1] + 4, max(beside.values(), default=0) + 16)
    for (name, points), colour in zip(known.items(), ("#2f6f5e", "#c9822b", "#5a6fb0", "#8a9a94"), strict=True):
        way = "L".join(f"{x} {y}" for x, y in (place(*point) for point in points))
        x, y = place(*points[-1])
        dashed = ' stroke-dasharray="5 5"' if name == "n log n" else ""
        out.append(f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="2.5"{dashed}/>')
        out.append(f'<text x="{x + 8}" y="{beside[name]}" fill="{colour}">{name}</text>')
    out.append(f'<text x="{(wide - 46) / 2}" y="{high - 8}" text-anchor="middle" fill="#55605b">passages, processor time</text></svg>')  # fmt: skip
    return "\n".join(out) + "\n"


def _line(doc_id: str, title: str, text: str) -> str:
    return store.packed(doc_id, "0", [(f"{doc_id}#0-{len(text)}", rules.extract(text, title, title=title))])


if __name__ == "__main__":
    main()
