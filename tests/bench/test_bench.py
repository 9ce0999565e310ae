"""The benchmark runs and says what it promises; how fast is nobody's business here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from bench import ablation, ingest, retrieval
from bench.hashing import HashingEmbedder
from bench.run import passages, run
from eval.runs import write_qrels, write_run


def test_the_benchmark_runs(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = run(tiny_settings, n_passages=12, n_queries=3, repeat=1, n_words=5)
    assert result["ingest"]["passages"] == 12 and result["ingest"]["whole_over_model_alone"] > 0
    assert result["search"]["chunks"] >= 12 and set(result["search"]["hybrid"]) == {"p50", "p95"}
    assert result["start"]["import rag"] > 0


def test_passages_are_fixed_and_different() -> None:
    assert passages(20) == passages(20) and len(set(passages(50))) == 50


def test_imports_beside_the_model_alone(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = ingest.whole(tiny_settings, ingest.made_up(6), repeat=1)
    assert result["documents"] == 6 and result["chunks"] >= 6 and result["whole_over_model_alone"] > 0


def test_imports_again(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = ingest.again(tiny_settings, HashingEmbedder(), 30)
    assert result["files"] == 30 and result["unchanged_ms_per_file"] > 0


def test_many_chunks(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = ingest.size(tiny_settings, 200)
    assert result["chunks"] >= 200 and result["rss_mb"] > 0 and result["engine_rss_mb"] > 0


def test_searches_threads_and_filters(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = retrieval.run(tiny_settings, passages(1200, 12), 8)
    assert result["chunks"] == 1200 and result["dense"]["p50"] > 0 and result["threads"]["hybrid"]["times"] > 0
    assert {share: one["recall"] for share, one in result["filters"].items()} == dict.fromkeys(retrieval.SHARES, 1.0)


def test_questions_beside_the_other_frameworks(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = retrieval.peers(tiny_settings, passages(60, 12), 4)
    assert set(result["systems"]) | set(result["not_installed"]) == {"ragstone", *retrieval.PEERS}
    assert result["systems"]["ragstone"]["entries"] == 60 and result["systems"]["ragstone"]["p50_over_ragstone"] == 1


def test_a_table_of_what_steps_are_worth(tmp_path: Path) -> None:
    gains = {"one": {"hybrid": (1, 2), "dense": (2, 1)}, "two": {"hybrid": (1, 1), "dense": (1, 3)}}
    for name, systems in gains.items():
        (tmp_path / name / "runs").mkdir(parents=True)
        write_qrels(tmp_path / name / "qrels.trec", {"q1": {"right": 1}, "q2": {"right": 1}})
        for system, ranks in systems.items():
            run = {
                f"q{at}": [(f"x{n}", -float(n)) for n in range(1, rank)] + [("right", -99.0)]
                for at, rank in enumerate(ranks, start=1)
            }
            write_run(tmp_path / name / "runs" / f"{system}.trec", run, tag=system)
    lines = ablation.table(tmp_path, ["one", "two", "absent"], ["hybrid", "dense", "bm25"], "hybrid").splitlines()
    assert lines[0] == "|  | one, 2 | two, 2 | mean | 95 % |"
    assert lines[2] == "| hybrid | 0.815 | 1.000 | 0.908 | |"
    assert lines[3].startswith("| dense | +0.0 | -25.0 | **-12.5** | -") and len(lines) == 4
    mean, low, high = ablation.pooled([np.array([0.1, 0.1]), np.array([0.3, 0.3])])
    assert (round(mean, 9), round(low, 9), round(high, 9)) == (0.2, 0.2, 0.2)


def test_peers(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = ingest.peers(tiny_settings, ingest.made_up(4), repeat=1)
    there = [name for name in ingest.PEERS if f"{name}_over_ragstone" in result]
    assert set(there) | set(result.get("not_installed", ())) == set(ingest.PEERS)
    assert set(result["seconds"]) == {"ragstone", "our_model_alone", *there}


def test_a_corpus_is_read_as_far_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt") as out:
        out.writelines(json.dumps({"title": f"T{at}", "text": f"text {at}"}) + "\n" for at in range(5))
    assert ingest.corpus(path, 2) == [("T0", "text 0"), ("T1", "text 1")] and len(ingest.corpus(path, 0)) == 5
    assert ingest.corpus(tmp_path / "none", 2) == []


def test_the_free_model_is_a_model() -> None:
    model = HashingEmbedder()
    vectors = model.embed_passages(["tea", "tea", "river"])
    assert vectors.shape == (3, model.dim) and (vectors[0] == vectors[1]).all() and (vectors[0] != vectors[2]).any()
    assert abs(float((vectors[2] ** 2).sum()) - 1) < 1e-5
    assert model.token_offsets("The tea, 绿茶.").tolist() == [[0, 3], [4, 7], [7, 8], [9, 11], [11, 12]]


def test_an_estimate_beside_the_import(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    from bench.ingest import estimated

    result = estimated(tiny_settings, [(f"Title {n}", f"Tea garden {n} is green.") for n in range(8)])
    assert result["chunks"]["estimated"] == result["chunks"]["written"] == 8 and result["seconds"]["estimated"] > 0


def test_what_evaluation_costs(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    from bench import eval as evaluation

    assert evaluation.overhead(50, 10)["metrics"] == 20
    assert 0.8 <= evaluation.calibration(30, 40)["no_difference"] <= 1.0
    result = evaluation.search(tiny_settings, passages(20), 5)
    assert result["questions"] == 5 and result["chunks"] >= 20 and result["evaluation_s"] >= 0


def test_side_by_side(tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from bench.compare import METRICS, side_by_side
    from eval.dataset import load_dataset

    words = ["tea", "river", "garden", "history"]
    corpus = "\n".join(json.dumps({"_id": f"d{n}", "text": f"The {word} is green."}) for n, word in enumerate(words))
    queries = "\n".join(json.dumps({"_id": f"q{n}", "text": f"Where is the {word}?"}) for n, word in enumerate(words))
    for name, text in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        (tmp_path / name).write_text(text)
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(4)))
    result = side_by_side(tiny_settings, load_dataset(tmp_path), ("ragstone", "nobody"))
    ours = result["systems"]["ragstone"]
    assert set(METRICS) < set(ours) and ours["entries"] == ours["entries_again"] == 4
    assert ours["import_s"] > 0 and result["not_installed"] == ["nobody"]


def test_the_api_is_measured(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    from bench import serve

    result = serve.run(n_chats=3, model_s=0.0, n_queries=3, n_passages=12, settings=tiny_settings)
    assert result["search"]["http_ms"]["p50"] > 0
    assert result["chats"]["answered"] == 3 and result["chats"]["failed"] == []
