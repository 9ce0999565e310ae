"""Evaluations: injected systems, failures, documents from chunks, and a scripted knowledge base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

import eval as package
from eval.dataset import Dataset
from eval.evaluation import collapse_to_documents, evaluate, latency_summary, run_on_knowledge_base
from rag.errors import StoreError, UsageError
from rag.types import Document, Failure, Hit, Hits, IngestReport

DOCS = [Document(f"text {n}", doc_id=f"d{n}", source=f"d{n}") for n in range(6)]
DATASET = Dataset(
    name="toy",
    questions={f"q{n}": f"question {n}" for n in range(4)},
    qrels={f"q{n}": {f"d{n}": 1} for n in range(4)},
    n_documents=6,
    fingerprint="f" * 64,
    open_corpus=lambda: iter(DOCS),
)


def search(system: str, question: str, depth: int) -> list[tuple[str, float]]:
    wanted = f"d{question[-1]}"
    if system == "good":
        return [(wanted, 2.0), ("d5", 1.0)]
    if system == "silent":
        return []
    if question[-1] == "1":
        raise StoreError("The store is away.")
    if question[-1] == "2":
        return [(wanted, float("nan"))]
    return [("d5", 2.0), (wanted, 1.0), (wanted, 0.5)]


def test_metrics_failures_and_comparisons() -> None:
    seen: list[tuple[str, int, int]] = []
    evaluation = evaluate(
        DATASET, ["good", "bad", "silent"], search=search, progress=lambda *step: seen.append(step), settings={"a.b": 1}
    )
    tree = evaluation.to_dict()
    assert tree["systems"]["good"]["MRR@10"] == 1.0
    assert tree["systems"]["good"]["ci"]["MRR@10"] == [1.0, 1.0]
    assert tree["systems"]["bad"]["MRR@10"] == 0.25, "two of four failed and count 0"
    assert tree["failures"]["bad"]["codes"] == {"E_BAD_SCORE": 1, "E_STORE": 1}
    assert tree["failures"]["bad"]["examples"][0] == {
        "query_id": "q1",
        "code": "E_STORE",
        "message": "The store is away.",
    }
    assert tree["failures"]["good"]["n"] == 0
    assert tree["unanswered"] == {"good": 0, "bad": 2, "silent": 4}
    assert tree["unjudged"]["good"]["@10"] == 0.5
    assert {(pair["a"], pair["b"]) for pair in tree["comparisons"]} == {("good", "bad"), ("good", "silent"), ("bad", "silent")}  # fmt: skip
    assert tree["latency_ms"]["bad"]["p95"] >= tree["latency_ms"]["bad"]["p50"] > 0
    assert (tree["n_queries"], tree["settings"]) == (4, {"a.b": 1})
    assert {problem["kind"] for problem in tree["problems"]} == {"duplicate_hit", "few_questions"}
    assert seen[0] == ("good", 1, 4) and seen[-1] == ("silent", 4, 4)
    assert "latency_ms" not in evaluation.to_dict(timings=False)


def test_equal_scores_are_ranked_by_id_and_cut_at_the_depth() -> None:
    evaluation = evaluate(DATASET, ["s"], search=lambda *_: [("d3", 1.0), ("d1", 1.0), ("d2", 1.0)], depth=2)
    assert evaluation.systems["s"].run["q0"] == [("d1", 1.0), ("d2", 1.0)]
    assert any(problem.kind == "metric_beyond_depth" for problem in evaluation.problems)


def test_other_errors_go_through() -> None:
    def broken(*_: Any) -> list[tuple[str, float]]:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        evaluate(DATASET, ["s"], search=broken)


@pytest.mark.parametrize(
    ("dataset", "systems", "options", "says"),
    [
        (DATASET, [], {}, "No system"),
        (DATASET, ["a", "a"], {}, "more than once"),
        (DATASET, ["a"], {"metrics": ["nDGC@10"]}, "Did you mean nDCG"),
        (DATASET, ["a"], {"depth": 0}, "1 or more"),
        (Dataset(name="none", questions={}, qrels={}), ["a"], {}, "nothing to evaluate"),
    ],
)
def test_requests_that_cannot_be(dataset: Dataset, systems: list[str], options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        evaluate(dataset, systems, search=search, **options)


def hit(chunk: str, score: float, *, doc_id: str = "", source: str = "") -> Hit:
    doc_id = doc_id or chunk.rpartition("#")[0]
    return Hit(rank=1, chunk_id=chunk, doc_id=doc_id, source=source or doc_id, title="", score=score, text="", start=0, end=1)  # fmt: skip


def test_a_document_scores_as_its_best_chunk() -> None:
    hits = [hit("b#0-9", 3.0), hit("a#0-9", 2.0), hit("b#9-12", 9.0), hit("c#1#0-9", 2.0)]
    expected = [("b", 9.0), ("a", 2.0), ("c#1", 2.0)]
    assert collapse_to_documents(hits) == expected
    assert collapse_to_documents([(h.chunk_id, h.score) for h in hits]) == expected
    assert collapse_to_documents([("no chunk", 1.0)]) == [("no chunk", 1.0)]


class ScriptedKnowledgeBase:
    """Every document has `n_chunks` chunks, the wanted document's first; strict about modes."""

    def __init__(self, n_chunks: int = 1, prefix: str = "") -> None:
        self.n_chunks, self.prefix = n_chunks, prefix
        self.ingested: list[str] = []
        self.asked: list[tuple[str, int]] = []

    def ingest(self, sources: Iterable[Document]) -> IngestReport:
        self.ingested += [document.doc_id for document in sources]
        failure = Failure(source="d5", code="E_NO_TEXT", message="The document holds no text.")
        return IngestReport(added=5, failures=(failure,))

    def search(self, query: str, *, top_k: int, mode: Any, **options: Any) -> Hits:
        assert options.pop("mmr", 1.0) == 1.0 and not any(
            options.values()
        )  # whatever the settings say, a plain system is plain
        assert mode in ("bm25", "dense", "hybrid")
        self.asked.append((mode, top_k))
        first = int(query[-1])
        order = [first, *(n for n in range(6) if n != first)]
        chunks = [
            hit(f"d{n}#{c}-{c + 1}", 100.0 - at - c / 100, source=f"{self.prefix}d{n}")
            for at, n in enumerate(order)
            for c in range(self.n_chunks)
        ]
        return Hits(items=tuple(chunks[:top_k]), warnings=("keywords only",) if mode == "dense" else ())


def test_on_a_knowledge_base() -> None:
    kb = ScriptedKnowledgeBase()
    evaluation = run_on_knowledge_base(DATASET, ["bm25", "dense"], kb=kb, depth=3)
    assert kb.ingested == [document.doc_id for document in DOCS], "indexed once for all systems"
    assert evaluation.systems["bm25"].scores.mean("MRR@10") == 1.0
    assert len(evaluation.systems["bm25"].run["q0"]) == 3
    assert {(p.kind, p.where, p.n) for p in evaluation.problems} >= {("ingest_failed", "", 1), ("search_warning", "dense", 4)}  # fmt: skip


def test_chunks_are_asked_for_until_enough_documents_are_found() -> None:
    kb = ScriptedKnowledgeBase(n_chunks=50)
    evaluation = run_on_knowledge_base(DATASET, ["hybrid"], kb=kb, depth=4)
    assert [doc for doc, _ in evaluation.systems["hybrid"].run["q2"]] == ["d2", "d0", "d1", "d3"]
    assert [top_k for _, top_k in kb.asked[1:5]] == [5, 20, 80, 320]


def test_questions_about_the_users_own_documents() -> None:
    dataset = Dataset(name="mine", questions={"q1": "question 1"}, qrels={"q1": {"docs/d1": 1}})
    kb = ScriptedKnowledgeBase(prefix="/home/somebody/docs/")
    evaluation = run_on_knowledge_base(dataset, ["bm25"], kb=kb, depth=5)
    assert kb.ingested == []
    assert evaluation.systems["bm25"].scores.mean("MRR@10") == 1.0


@pytest.mark.parametrize("system", ["hybrid+magic", "graf", "BM25", ""])
def test_systems_of_later_versions(system: str) -> None:
    kb = ScriptedKnowledgeBase()
    with pytest.raises(UsageError, match="It runs: bm25, dense, hybrid"):
        run_on_knowledge_base(DATASET, [system], kb=kb)
    assert kb.ingested == []


def test_latency_summary() -> None:
    assert latency_summary([]) == {"p50": 0.0, "p95": 0.0, "mean": 0.0}
    assert latency_summary([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 2.9, "mean": 2.0}


def test_the_package_gives_functions_even_after_its_modules_were_imported() -> None:
    names: Sequence[str] = ("load_dataset", "evaluate", "compare")
    assert all(callable(getattr(package, name)) for name in names)
    assert not {name for name in names if (Path(package.__file__).parent / f"{name}.py").exists()}
    with pytest.raises(AttributeError, match="offers"):
        _ = package.nothing
