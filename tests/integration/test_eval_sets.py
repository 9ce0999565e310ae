"""Evaluation on real sets with real BM25 systems: published figures, ir_measures on the written files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eval.dataset import Dataset, load_dataset
from eval.evaluation import evaluate
from eval.metrics import DEFAULT, score
from eval.runs import read_qrels, read_run, write_run

bm25s = pytest.importorskip("bm25s")
ir_measures = pytest.importorskip("ir_measures")
from ir_measures import AP, RR, Bpref, Judged, P, R, Rprec, Success, nDCG  # noqa: E402

Search = Callable[[str, str, int], list[tuple[str, float]]]


def plain_bm25(dataset: Dataset, **parameters: float) -> Search:
    documents = list(dataset.corpus())

    def tokens(texts: list[str]) -> object:
        return bm25s.tokenize(texts, stopwords="en", show_progress=False)

    index = bm25s.BM25(**parameters)
    index.index(tokens([f"{document.title} {document.text}" for document in documents]), show_progress=False)

    def search(system: str, question: str, depth: int) -> list[tuple[str, float]]:
        found, scores = index.retrieve(tokens([question]), k=min(depth, len(documents)), show_progress=False)
        pairs = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        return [(documents[at].doc_id, value) for at, value in pairs if value > 0]

    return search


@pytest.fixture(scope="module")
def sets(shared: Path) -> Path:
    return shared / "data" / "sets"


def test_scifact_gives_the_published_figures(sets: Path, tmp_path: Path) -> None:
    dataset = load_dataset(sets / "scifact")
    assert (len(dataset.questions), dataset.n_documents, dataset.problems) == (165, 5183, ())
    evaluation = evaluate(dataset, ["bm25s"], search=plain_bm25(dataset))
    means = evaluation.systems["bm25s"].scores.means()
    assert means["nDCG@10"] == pytest.approx(0.687, abs=0.03), "published for all 300 questions: 0.679 to 0.687"
    assert means["recall@100"] == pytest.approx(0.925, abs=0.06)

    write_run(tmp_path / "run.trec", evaluation.systems["bm25s"].run, tag="bm25s")
    judged = ir_measures.read_trec_qrels(_as_trec(sets / "scifact" / "qrels.dev.tsv.gz", tmp_path))
    oracle = {
        "nDCG@10": nDCG @ 10, "recall@5": R @ 5, "recall@100": R @ 100, "MRR@10": RR @ 10, "MAP": AP, "P@5": P @ 5,
        "hit@5": Success @ 5, "R-precision": Rprec, "bpref": Bpref, "judged@10": Judged @ 10,
    }  # fmt: skip
    theirs = ir_measures.calc_aggregate(
        list(oracle.values()), list(judged), ir_measures.read_trec_run(str(tmp_path / "run.trec"))
    )
    for name, measure in oracle.items():
        assert means[name] == pytest.approx(theirs[measure], abs=1e-9), name
    again, problems = read_run(tmp_path / "run.trec")
    assert problems == ()
    assert score(again, dataset.qrels, DEFAULT).means() == means


def _as_trec(qrels: Path, folder: Path) -> str:
    target = folder / "qrels.trec"
    rows = [f"{q} 0 {d} {grade}\n" for q, grades in read_qrels(qrels)[0].items() for d, grade in grades.items()]
    target.write_text("".join(rows))
    return str(target)


def test_graded_judgements_and_empty_documents(sets: Path) -> None:
    dataset = load_dataset(sets / "cranfield")
    assert {problem.kind: problem.n for problem in dataset.problems} == {"empty_document": 2, "unknown_document": 1}
    means = evaluate(dataset, ["bm25s"], search=plain_bm25(dataset)).systems["bm25s"].scores.means()
    assert 0.3 < means["nDCG@10"] < 0.6
    assert means["nDCG-exp@10"] != pytest.approx(means["nDCG@10"])


def test_ids_with_spaces_survive_the_files(sets: Path, tmp_path: Path) -> None:
    dataset = load_dataset(sets / "limit-small", limit=50)
    evaluation = evaluate(dataset, ["bm25s"], search=plain_bm25(dataset))
    write_run(tmp_path / "run.trec", evaluation.systems["bm25s"].run, tag="bm25s")
    again, _ = read_run(tmp_path / "run.trec")
    assert score(again, dataset.qrels, DEFAULT).means() == evaluation.systems["bm25s"].scores.means()


def test_every_set_loads(sets: Path) -> None:
    for folder in sorted(path for path in sets.iterdir() if path.is_dir()):
        dataset = load_dataset(folder, limit=3)
        assert len(dataset.questions) == 3, folder.name
        assert next(dataset.corpus()).text, folder.name
        expected = {"empty_document", "unknown_document", "unjudged_question"}
        assert {problem.kind for problem in dataset.problems} <= expected, folder.name


def test_comparison_tells_bm25_from_a_blunted_one(sets: Path) -> None:
    dataset = load_dataset(sets / "scifact")
    systems = {"bm25": plain_bm25(dataset), "blunt": plain_bm25(dataset, k1=0.01, b=0.0)}
    evaluation = evaluate(dataset, list(systems), search=lambda name, *rest: systems[name](name, *rest))
    pair = next(pair for pair in evaluation.comparisons if pair.metric == "nDCG@10")
    assert pair.differs
    assert 0 < pair.ci[0] < pair.difference < pair.ci[1]
