"""Evaluation on the real knowledge base: systems with settings of their own, answers, tuning, traces; a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from eval import commands
from eval.answer_commands import answers
from eval.tune_commands import tune
from rag.knowledge_base import KnowledgeBase

WORDS = [
    "amber",
    "basalt",
    "chalk",
    "dolomite",
    "emerald",
    "flint",
    "granite",
    "halite",
    "jade",
    "kaolin",
    "lapis",
    "marble",
]
Opener = Callable[[str | None, Mapping[str, str]], KnowledgeBase]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stones")
    corpus = [{"_id": f"d{n}", "text": f"The {word} was found near the river in {1800 + n}. It is kept in the garden of tea."} for n, word in enumerate(WORDS)]  # fmt: skip
    queries = [{"_id": f"q{n}-{at}", "text": f"{ask} the {word} found?", "answer": str(1800 + n)} for n, word in enumerate(WORDS) for at, ask in enumerate(("When was", "In which year was"))]  # fmt: skip
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("".join(f"q{n}-{at}\td{n}\t1\n" for n in range(len(WORDS)) for at in (0, 1)))
    return folder


@pytest.fixture(scope="module")
def opener(tiny_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Opener:
    home = tmp_path_factory.mktemp("home")
    first: list[KnowledgeBase] = []

    def open_kb(collection: str | None, changes: Mapping[str, str]) -> KnowledgeBase:
        settings = tiny_settings.with_values(**{key.replace(".", "__"): value for key, value in changes.items()})
        first.append(KnowledgeBase.open(home, settings=settings, collection=collection or "default", models_of=first[0] if first else None))  # fmt: skip
        return first[-1]

    return open_kb


def test_systems_have_their_own_settings(data: Path, opener: Opener, tmp_path: Path) -> None:
    systems = "bm25,dense(chunk.size=40,chunk.overlap=0),hybrid(fusion=rrf)+mmr@0.5,hybrid(depth=3)"
    tree, code = commands.run(data, systems=systems, open_kb=opener, out_dir=tmp_path / "one")
    assert code == 0 and tree["systems"]["bm25"]["recall@10"] == 1.0
    rows = (tmp_path / "one" / "runs" / "hybrid_depth_3_.trec").read_text().splitlines()
    assert len(rows) == 3 * 24, "a search for 100 documents gives no more than the depth"
    with opener(None, {}) as kb:
        made = [name for name in kb.collections() if name.startswith("eval_")]
    assert len(made) == 2, "one index for equal settings of the import"
    again, _ = commands.run(data, systems=systems, open_kb=opener, out_dir=tmp_path / "two")
    assert {k: v for k, v in again.items() if k not in ("latency_ms", "out")} == {k: v for k, v in tree.items() if k not in ("latency_ms", "out")}  # fmt: skip
    for name in ("report.html", "metrics.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_traces_show_where_systems_part(data: Path, opener: Opener) -> None:
    tree, _ = commands.run(data, systems="bm25,dense", open_kb=opener)
    (best, traced), *_ = tree["traces"].items()
    steps = next(iter(traced.values()))
    assert best == "bm25" and [step["step"] for step in steps] == ["recall:bm25", "resolve", "load"]
    assert steps[0]["first_relevant"] == 1 and steps[0]["out"] > 0


def test_answers_without_a_model(data: Path, opener: Opener) -> None:
    tree, code = answers(data, systems="bm25", limit=6, open_kb=opener)
    one = tree["systems"]["bm25"]
    assert code == 0 and one["broken_citations"] == 0 and tree["n_with_reference"] == 6
    assert one["holds-answer"] == 1.0 and one["citation-precision"] == 1.0


def test_tuning_builds_the_indexes_it_needs(data: Path, opener: Opener, tmp_path: Path) -> None:
    tree, code = tune(
        data, space=["mode=bm25", "chunk.size=40"], open_kb=opener, mode="dense", budget=3, out_dir=tmp_path
    )
    assert code == 0 and tree["best"] == {"search.mode": "bm25", "chunk.size": "40"}
    assert (tmp_path / "recommended.toml").exists() and tree["holdout"]["n_queries"] == 10
