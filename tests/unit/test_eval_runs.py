"""TREC files: what is written is read back, foreign files are read as trec_eval reads them, faults are counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.runs import foreign_ranking, ranking, read_qrels, read_run, write_qrels, write_run
from rag.errors import UsageError


def kinds(problems: tuple) -> dict[str, int]:  # type: ignore[type-arg]
    return {problem.kind: problem.n for problem in problems}


def test_our_rankings_are_strict() -> None:
    assert ranking([("b", 1.0), ("a", 1.0), ("c", 2.0), ("a", 0.5)]) == [("c", 2.0), ("a", 1.0), ("b", 1.0)]


def test_foreign_ties_go_by_larger_id_in_single_precision() -> None:
    assert [doc for doc, _ in foreign_ranking([("a", 1.0), ("b", 1.0 + 1e-9), ("c", 1.0)])] == ["c", "b", "a"]


def test_round_trip_keeps_our_order_for_every_reader(tmp_path: Path) -> None:
    run = {"q1": ranking([("a", 1.0), ("b", 1.0), ("c", 1.0), ("z", 0.0), ("y", 0.0), ("n", -3.0), ("m", -3.0)])}
    write_run(tmp_path / "x.trec", run, tag="my system")
    again, problems = read_run(tmp_path / "x.trec")
    assert [doc for doc, _ in again["q1"]] == [doc for doc, _ in run["q1"]] == ["a", "b", "c", "y", "z", "m", "n"]
    assert problems == ()
    assert (tmp_path / "x.trec").read_text().splitlines()[0] == "q1 Q0 a 1 1 my-system"


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.tuples(st.text("abcxyz", min_size=1, max_size=3), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
    )
)
def test_any_ranking_survives_a_file(tmp_path_factory: pytest.TempPathFactory, scored: list[tuple[str, float]]) -> None:
    path = tmp_path_factory.mktemp("run") / "r.trec"
    ours = ranking(scored)
    write_run(path, {"q": ours}, tag="t")
    again, problems = read_run(path)
    assert [doc for doc, _ in again["q"]] == [doc for doc, _ in ours]
    assert problems == ()


def test_ir_measures_reads_our_ties_in_our_order(tmp_path: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    run = {"q": ranking([(name, 1.0) for name in "abcdefgh"])}
    write_run(tmp_path / "x.trec", run, tag="t")
    value = ir_measures.calc_aggregate(
        [ir_measures.RR], {"q": {"c": 1}}, ir_measures.read_trec_run(str(tmp_path / "x.trec"))
    )
    assert value[ir_measures.RR] == pytest.approx(1 / 3)


def test_ids_with_spaces(tmp_path: Path) -> None:
    run = {"q 1": [("Sheree Riddley", 2.0), ("Flo Zaugg", 1.0)]}
    write_run(tmp_path / "x.trec", run, tag="t")
    assert read_run(tmp_path / "x.trec")[0] == run
    (tmp_path / "y.trec").write_text("q1 Q0 Sheree Riddley 1 2.0 t\n")
    assert read_run(tmp_path / "y.trec")[0] == {"q1": [("Sheree Riddley", 2.0)]}
    qrels = {"q 1": {"Flo Zaugg": 1, "b": 0}}
    write_qrels(tmp_path / "q.trec", qrels)
    assert read_qrels(tmp_path / "q.trec") == (qrels, ())


def test_faults_in_a_run_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "bad.trec.gz"
    lines = [
        "q1 Q0 a 1 3.0 t", "q1 Q0 a 2 2.0 t", "q1 Q0 b 3 nan t", "q1 Q0 c 4", "", "q1 Q0 d x 1.0 t",
        "q2 Q0 a 1 1.0 t", "q2 Q0 b 2 5.0 t", "q3 Q0 a 1 1.0 t", "q3 Q0 b 2 1.0 t",
    ]  # fmt: skip
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    run, problems = read_run(path)
    assert run["q1"] == [("a", 3.0), ("d", 1.0)]
    assert run["q2"] == [("b", 5.0), ("a", 1.0)]
    assert kinds(problems) == {"bad_line": 2, "duplicate_hit": 1, "rank_mismatch": 1, "tied_scores": 1}
    assert problems[0].message == "bad.trec.gz: 2 lines could not be read and were left out (line 3, line 4)"


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00\x01\x02", b"\x1f\x8b\x08\x00cut"])
def test_a_run_without_a_usable_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(UsageError, match=r"six columns|damaged"):
        read_run(tmp_path / "r")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_run(tmp_path / "none")
    with pytest.raises(UsageError, match="cannot be read"):
        read_qrels(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n",
        "q1\td1\t1\nq1\td2\t0\n",
        "q1 0 d1 1\nq1 0 d2 0\n",
        "\ufeffscore\tcorpus-id\tquery-id\r\n1\td1\tq1\r\n0.0\td2\tq1\r\n",
        "a\tb\tc\nq1\td1\t1\nq1\td2\t0\n",
    ],
)
def test_qrels_formats(tmp_path: Path, text: str) -> None:
    (tmp_path / "qrels.tsv").write_text(text, encoding="utf-8", newline="")
    assert read_qrels(tmp_path / "qrels.tsv")[0] == {"q1": {"d1": 1, "d2": 0}}


def test_faults_in_qrels_are_counted(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("q1\td1\t1\nq1\td1\t1\nq1\td1\t2\nq1\td2\nq1\td3\tyes\nq2\td3\t0.5\n\td4\t1\n")
    qrels, problems = read_qrels(tmp_path / "q.tsv")
    assert qrels == {"q1": {"d1": 2}}
    assert kinds(problems) == {"duplicate_judgement": 1, "conflicting_judgement": 1, "bad_line": 4}


def test_empty_qrels_are_named(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("query-id\tcorpus-id\tscore\n")
    qrels, problems = read_qrels(tmp_path / "q.tsv")
    assert qrels == {}
    assert kinds(problems) == {"empty_file": 1}
