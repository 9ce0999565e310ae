"""The commands behind `ragstone eval`: the JSON contract, exit codes and what is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eval import commands
from rag.errors import StoreError, UsageError
from rag.types import Document, Hit, Hits, IngestReport


class ToyKnowledgeBase:
    """Finds documents by shared words; dense finds them a little worse."""

    def __init__(self) -> None:
        self.documents: dict[str, str] = {}
        self.down = False

    def ingest(self, sources: Iterable[Document]) -> IngestReport:
        self.documents |= {document.doc_id: document.text for document in sources}
        return IngestReport(added=len(self.documents))

    def search(self, query: str, *, top_k: int, mode: Any, **options: Any) -> Hits:
        if self.down:
            raise StoreError("Milvus does not answer.")
        words = set(query.split()[1 if mode == "dense" else 0 :])
        found = [(len(words & set(text.split())), doc_id) for doc_id, text in self.documents.items()]
        hits = sorted(((float(n), doc_id) for n, doc_id in found if n), reverse=True)[:top_k]
        return Hits(
            items=tuple(
                Hit(rank=at, chunk_id=f"{d}#0-1", doc_id=d, source=d, title="", score=s, text="", start=0, end=1)
                for at, (s, d) in enumerate(hits, start=1)
            )
        )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "Toy Set"
    folder.mkdir()
    words = ["amber", "basalt", "chalk", "dolomite", "emerald"]
    corpus = [{"_id": f"d{n}", "text": f"{word} stone number {n}"} for n, word in enumerate(words)]
    queries = [{"_id": f"q{n}", "text": f"{word} {n if n % 2 else 'stone'}"} for n, word in enumerate(words)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(5)))
    return folder


@pytest.fixture
def toy() -> ToyKnowledgeBase:
    return ToyKnowledgeBase()


@pytest.fixture
def opener(toy: ToyKnowledgeBase) -> Any:
    names: list[str | None] = []

    @contextmanager
    def open_kb(collection: str | None, settings: Mapping[str, str]) -> Iterator[ToyKnowledgeBase]:
        names.append(collection)
        yield toy

    open_kb.names = names  # type: ignore[attr-defined]
    return open_kb


def test_run(data: Path, opener: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tree, code = commands.run(data, systems="bm25, dense", out_dir=out, open_kb=opener)
    assert code == 0
    assert tree["systems"]["bm25"]["nDCG@10"] == 1.0
    assert tree["systems"]["dense"]["nDCG@10"] < 1.0
    assert len(tree["systems"]["bm25"]["ci"]["nDCG@10"]) == 2
    assert tree["comparisons"][0]["a"] == "bm25"
    json.dumps(tree)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["history.jsonl", "latency.svg", "metrics.json", "qrels.trec", "report.html", "report.md", "runs/bm25.trec", "runs/dense.trec", "timings.json"]  # fmt: skip
    (name,) = opener.names
    assert name.startswith("eval_toy_set_")
    scored = commands.score(out / "qrels.trec", out / "runs" / "dense.trec")
    assert scored["metrics"] == pytest.approx({k: v for k, v in tree["systems"]["dense"].items() if k != "ci"})


def test_the_same_seed_writes_the_same_bytes(data: Path, opener: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        commands.run(data, systems=["bm25", "dense"], out_dir=tmp_path / name, open_kb=opener, seed=4)
    for file in ("report.html", "report.md", "metrics.json", "runs/bm25.trec", "qrels.trec"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_history_shows_what_changed(data: Path, opener: Any, toy: ToyKnowledgeBase, tmp_path: Path) -> None:
    first, _ = commands.run(data, systems="bm25", out_dir=tmp_path / "out", open_kb=opener)
    again, _ = commands.run(data, systems="bm25", out_dir=tmp_path / "out", open_kb=opener)
    assert (first["changes"], again["changes"]) == ({}, {})
    with (tmp_path / "out" / "history.jsonl").open("a") as file:
        file.write('{"cut')
        file.write("\n")
    toy.down = True
    worse, code = commands.run(data, systems="bm25", out_dir=tmp_path / "out", open_kb=opener)
    assert code == 3
    assert worse["changes"]["bm25"]["nDCG@10"] == {"before": 1.0, "now": 0.0}


def test_the_history_is_shown(data: Path, opener: Any, toy: ToyKnowledgeBase, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="does not exist"):
        commands.history(out)
    commands.run(data, systems="bm25,dense", out_dir=out, open_kb=opener, settings={"search.depth": 100})
    tree, code = commands.history(out, fail_drop=0.1)
    assert code == 0 and [row["change"] for row in tree["runs"]] == [None, None]
    toy.down = True
    commands.run(data, systems="bm25", out_dir=out, open_kb=opener, settings={"search.depth": 50})
    tree, code = commands.history(out, metric="ndcg@10", fail_drop=0.1)
    assert code == 3 and tree["runs"][-1]["change"] == -1.0 and tree["fallen"]
    assert tree["runs"][-1]["settings_changed"] == ["search.depth"] and tree["runs"][0]["settings_changed"] == []
    assert commands.history(out, fail_drop=1.0)[1] == 0
    with pytest.raises(UsageError, match="no run with P@7"):
        commands.history(out, metric="P@7")


def test_gates(data: Path, opener: Any) -> None:
    tree, code = commands.run(data, systems="bm25,dense", fail_under=["ndcg@3=0.9,MRR@10=0.1"], open_kb=opener)
    assert code == 3
    assert [(g["metric"], g["system"], g["passed"]) for g in tree["gates"]] == [
        ("nDCG@3", "bm25", True), ("nDCG@3", "dense", False), ("MRR@10", "bm25", True), ("MRR@10", "dense", True),
    ]  # fmt: skip
    assert commands.run(data, systems="bm25", fail_under=["nDCG@10=1"], open_kb=opener)[1] == 0


def test_failed_searches_make_exit_code_3(data: Path, opener: Any, toy: ToyKnowledgeBase) -> None:
    toy.down = True
    tree, code = commands.run(data, systems="bm25", open_kb=opener)
    assert code == 3
    assert tree["failures"]["bm25"]["n"] == 5
    assert tree["systems"]["bm25"]["nDCG@10"] == 0.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"systems": "bm25,hybrid+magic"}, "It runs: bm25, dense, hybrid"),
        ({"systems": ","}, "No system"),
        ({"fail_under": ["nDCG@10"]}, "METRIC=X"),
        ({"fail_under": ["nDCG@10=70"]}, "from 0 to 1"),
        ({"fail_under": ["ndgc@10=0.7"]}, "Did you mean"),
        ({"metrics": ["quality"]}, "Unknown metric"),
        ({"limit": -1}, "1 or more"),
        ({"queries": "none.jsonl"}, "does not exist"),
        ({"seed": -1}, "seed"),
    ],
)
def test_requests_that_cannot_be(data: Path, opener: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        commands.run(data, open_kb=opener, **{"systems": "bm25", **options})


def test_nothing_judged_is_one_sentence(data: Path, opener: Any) -> None:
    (data / "qrels.tsv").write_text("")
    with pytest.raises(UsageError, match=r"nothing to evaluate.*qrels\.tsv"):
        commands.run(data, systems="bm25", open_kb=opener)
    assert opener.names == []


def test_a_folder_that_cannot_be_written(data: Path, opener: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        commands.run(data, systems="bm25", out_dir=tmp_path / "file" / "out", open_kb=opener)


def test_a_table_of_questions_uses_the_users_collection(opener: Any, toy: ToyKnowledgeBase, tmp_path: Path) -> None:
    toy.documents = {"stones.md": "flint stone", "trees.md": "oak tree"}
    (tmp_path / "mine.csv").write_text("question,answer,source\nflint colour,grey,stones.md\n")
    tree, code = commands.run(tmp_path / "mine.csv", systems="bm25", open_kb=opener)
    assert (tree["systems"]["bm25"]["MRR@10"], code, opener.names) == (1.0, 0, [None])


def test_score_counts_what_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tb\t1\nq3\tc\t0\n")
    (tmp_path / "r").write_text("q1 Q0 a 1 2.0 t\nq9 Q0 a 1 1.0 t\nbroken\n")
    tree = commands.score(tmp_path / "q", tmp_path / "r", metrics=["MRR"])
    assert tree["metrics"] == {"MRR": pytest.approx(1 / 3)}
    assert {problem["kind"]: problem["n"] for problem in tree["problems"]} == {"bad_line": 1, "unanswered": 2, "unjudged_in_run": 1, "no_relevant": 1}  # fmt: skip
    (tmp_path / "q").write_text("")
    with pytest.raises(UsageError, match="nothing to evaluate"):
        commands.score(tmp_path / "q", tmp_path / "r")


def test_compare_finds_the_qrels_beside_the_runs(data: Path, opener: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        commands.run(data, systems="bm25,dense", out_dir=tmp_path / name, open_kb=opener)
    tree = commands.compare(tmp_path / "one/runs/bm25.trec", tmp_path / "one/runs/dense.trec")
    assert set(tree["systems"]) == {"bm25", "dense"}
    assert tree["comparisons"][0]["wins"] > 0
    same = commands.compare(tmp_path / "one/runs/bm25.trec", tmp_path / "two/runs/bm25.trec", metrics=["MAP"])
    assert [pair["differs"] for pair in same["comparisons"]] == [False]
    assert len(same["systems"]) == 2
    (tmp_path / "alone.trec").write_text("q1 Q0 a 1 2.0 t\n")
    with pytest.raises(UsageError, match="--qrels"):
        commands.compare(tmp_path / "alone.trec", tmp_path / "alone.trec")
