"""The benchmark runs and says what it promises; how fast is nobody's business here."""

from __future__ import annotations

from bench.run import passages, run


def test_the_benchmark_runs(tiny_settings) -> None:  # type: ignore[no-untyped-def]
    result = run(tiny_settings, n_passages=12, n_queries=3, repeat=1, n_words=5)
    assert result["ingest"]["passages"] == 12 and result["ingest"]["whole_over_model_alone"] > 0
    assert result["search"]["chunks"] >= 12 and set(result["search"]["hybrid"]) == {"p50", "p95"}
    assert result["start"]["import rag"] > 0


def test_passages_are_fixed_and_different() -> None:
    assert passages(20) == passages(20) and len(set(passages(50))) == 50
