"""What the lab and the evaluation page work out before they draw."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from eval import library
from eval.dataset import load_dataset
from eval.library import StoredResult
from eval.review import add_question, decide, read_review
from eval.runs import write_qrels, write_run
from rag.errors import UsageError
from rag.types import Hit, Hits, Step
from ui.web.evaluation_compare import Side, question_by_question
from ui.web.lab_search import Outcome, holds, passages


def hit(rank: int, chunk_id: str, text: str = "") -> Hit:
    return Hit(
        rank=rank, chunk_id=chunk_id, doc_id="d", source="d", title="", score=1 / rank, text=text, start=0, end=1
    )


def test_passages_found_early_and_often_come_first() -> None:
    left = Outcome(name="dense", hits=Hits((hit(1, "d#0-1"), hit(2, "d#1-2")), trace=(Step(name="fuse", ms=2.5),)))
    right = Outcome(name="bm25", hits=Hits((hit(1, "d#1-2"), hit(2, "d#2-3"))))
    found = passages([left, right])
    assert [(one.chunk_id, dict(ranks)) for one, ranks in found] == [
        ("d#1-2", {"dense": 2, "bm25": 1}), ("d#0-1", {"dense": 1, "bm25": None}), ("d#2-3", {"dense": None, "bm25": 2}),
    ]  # fmt: skip
    assert left.ms == 2.5


def test_a_pasted_sentence_is_recognised_whatever_its_line_breaks() -> None:
    assert holds(hit(1, "d#0-1", "The kettle\nis **descaled** weekly."), "kettle is descaled  WEEKLY")
    assert not holds(hit(1, "d#0-1", "The kettle boils."), "the kettle is descaled")


def test_questions_that_people_keep_make_a_test_set(tmp_path: Path) -> None:
    path = library.saved_questions(library.folder_of(tmp_path, "red/茶"))
    assert add_question(path, " How  hot? ", "80", [("green.md", "g#0-9"), ("tea.md", "t#0-9")]) == "q1"
    assert add_question(path, "祁门红茶创制于哪一年？", "", [("keemun.md", "k#0-9")]) == "q2"
    dataset = load_dataset(path)
    assert dataset.questions == {"q1": "How hot?", "q2": "祁门红茶创制于哪一年？"}
    assert dataset.qrels["q1"] == {"green.md": 1, "tea.md": 1} and dataset.answers == {"q1": ("80",)}
    decide(path, "q2", "no", question="x", answer="")
    assert list(load_dataset(path).questions) == ["q1"] and read_review(path)[0].chunk_ids == ("g#0-9", "t#0-9")
    with pytest.raises(UsageError, match="at least one passage"):
        add_question(path, "Why?", "", [])
    assert add_question(path, "Next?", "", [("a", "a#0-1")]) == "q3"


def test_decisions_of_several_people_at_the_same_moment_are_all_kept(tmp_path: Path) -> None:
    path, n, together = tmp_path / "saved.csv", 12, Barrier(12)
    names = [add_question(path, f"How hot is tea {at}?", "", [("green.md", "g#0-9")]) for at in range(n)]

    def decided(name: str) -> None:
        together.wait()
        decide(path, name, "no", question="x", answer="")

    with ThreadPoolExecutor(n) as people:
        list(people.map(decided, names))
    assert [one.keep for one in read_review(path)] == ["no"] * n


def test_test_sets_and_results_have_names_of_their_own(tmp_path: Path) -> None:
    folder = library.folder_of(tmp_path, "default")
    assert library.folder_of(tmp_path, "a/b") != library.folder_of(tmp_path, "a_b")
    first = library.new_set(folder, "../../my set.csv")
    first.write_text("question,source\nWhy?,a.md\n", encoding="utf-8")
    assert first.parent == folder / "sets" and library.new_set(folder, "../../my set.csv") != first
    assert library.test_sets(folder) == [first] and library.results(folder) == []
    result = library.new_result(folder, "my set")
    result.mkdir(parents=True)
    (result / "metrics.json").write_text('{"systems": {}, "dataset": "my set"}', encoding="utf-8")
    assert library.results(folder) == [], "a run that was stopped is none"
    (result / "history.jsonl").write_text('{"at": "now"}\n', encoding="utf-8")
    library.finish(result, {"q1": "Why?"})
    (stored,) = library.results(folder)
    assert dict(stored.questions) == {"q1": "Why?"} and stored.collection == ""
    assert (folder / "results" / "history.jsonl").read_text(encoding="utf-8") == '{"at": "now"}\n'


def result(folder: Path, run: dict[str, Any], questions: dict[str, str]) -> StoredResult:
    (folder / "runs").mkdir(parents=True)
    write_run(folder / "runs" / "bm25.trec", run, tag="bm25")
    write_qrels(folder / "qrels.trec", {query_id: {"good": 1} for query_id in questions})
    return StoredResult(folder=folder, at=datetime.now(UTC), tree={"systems": {"bm25": {}}}, questions=questions)


def test_two_runs_question_by_question(tmp_path: Path) -> None:
    asked = {"q1": "One?", "q2": "Two?", "q3": "Three?"}
    good, bad = [("good", 2.0), ("bad", 1.0)], [("bad", 2.0), ("good", 1.0)]
    a = Side(result(tmp_path / "a", {"q1": good, "q2": bad, "q3": good}, asked), "bm25")
    b = Side(result(tmp_path / "b", {"q1": good, "q2": good, "q3": []}, {**asked, "q9": "Nine?"}), "bm25")
    duels = question_by_question(a, b, "MRR@10")
    assert [(one.query_id, one.winner) for one in duels] == [("q3", "a"), ("q2", "b"), ("q1", "tie")]
    other = Side(result(tmp_path / "c", {"q1": good}, {"q1": "Another question?"}), "bm25")
    assert question_by_question(a, other, "MRR@10") == []
