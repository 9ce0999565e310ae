"""Metrics: hand-worked figures, and ir_measures as the oracle on random runs."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics import DEFAULT, parse_metric, recall_by_depth, score
from eval.runs import foreign_ranking
from rag.errors import UsageError

ir_measures = pytest.importorskip("ir_measures")
from ir_measures import AP, RR, Bpref, IPrec, Judged, P, R, Rprec, SetF, SetP, SetR, Success, nDCG  # noqa: E402

QRELS = {"q": {"a": 2, "b": 0, "c": 1, "x": 1}}
RUN = {"q": [("b", 9.0), ("a", 8.0), ("u", 7.0), ("c", 6.0)]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P@2", 1 / 2),
        ("P@5", 2 / 5),
        ("P", 2 / 4),
        ("recall@2", 1 / 3),
        ("recall", 2 / 3),
        ("F1@2", 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        ("hit@1", 0.0),
        ("hit@2", 1.0),
        ("MRR", 1 / 2),
        ("MRR@1", 0.0),
        ("MAP", (1 / 2 + 2 / 4) / 3),
        ("MAP@2", (1 / 2) / 3),
        ("nDCG@2", (2 / math.log2(3)) / (2 + 1 / math.log2(3))),
        ("nDCG-exp@2", (3 / math.log2(3)) / (3 + 1 / math.log2(3))),
        ("R-precision", 1 / 3),
        ("bpref", 0.0),  # one judged other document stands above both
        ("judged@3", 2 / 3),
        ("P(rel=2)@2", 1 / 2),
        ("recall(rel=2)", 1.0),
        # others are b and u: a stands above u, c above none, x was not retrieved
        ("AUC", (1 + 0 + 0) / (3 * 2)),
    ],
)
def test_hand_worked(name: str, expected: float) -> None:
    assert score(RUN, QRELS, [name]).mean(name) == pytest.approx(expected, abs=1e-12)


def test_unanswered_counts_zero_and_is_reported() -> None:
    scores = score({"q1": [("a", 1.0)]}, {"q1": {"a": 1}, "q2": {"b": 1}}, DEFAULT)
    assert scores.unanswered == ("q2",)
    assert scores.mean("MRR@10") == 0.5
    assert all(scores.per_query(name)["q2"] == 0.0 for name in scores.values)


def test_nothing_is_ever_nan() -> None:
    qrels = {"none": {"a": 0}, "negative": {"a": -1}, "empty": {}, "only": {"a": 1}}
    run = {query_id: [("a", 1.0)] for query_id in qrels}
    scores = score(run, qrels, [*DEFAULT, "P", "F1", "judged", "AUC@1"])
    assert all(np.isfinite(values).all() for values in scores.values.values())
    assert scores.per_query("nDCG@10") == {"none": 0.0, "negative": 0.0, "empty": 0.0, "only": 1.0}


def test_no_query_at_all() -> None:
    scores = score({}, {}, DEFAULT)
    assert set(scores.means().values()) == {0.0}
    assert scores.precision_at_recall == (0.0,) * 11


def test_order_given_is_the_ranking() -> None:
    run = {"q": [("x", 1.0), ("a", 5.0)]}
    assert score(run, {"q": {"a": 1}}, ["MRR"]).mean("MRR") == 0.5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ndcg@10", "nDCG@10"), ("NDCG_CUT_10", "nDCG@10"), ("Recall@100", "recall@100"), ("r@5", "recall@5"),
        ("mrr@10", "MRR@10"), ("recip_rank", "MRR"), ("map", "MAP"), ("AP@100", "MAP@100"), ("p@5", "P@5"), ("P_5", "P@5"),
        ("f1@10", "F1@10"), ("hit rate@5", "hit@5"), ("Success@5", "hit@5"), ("rprec", "R-precision"), ("R-Precision", "R-precision"),
        ("BPREF", "bpref"), ("roc-auc", "AUC"), ("nDCG_exp@10", "nDCG-exp@10"), ("MAP(rel=2)@5", "MAP(rel=2)@5"), ("judged@10", "judged@10"),
    ],
)  # fmt: skip
def test_names(text: str, name: str) -> None:
    assert parse_metric(text).name == name
    assert parse_metric(name).name == name


@pytest.mark.parametrize(
    ("text", "says"), [("ncdg@10", "nDCG"), ("presicion@5", "most take"), ("P@0", "1 or more"), ("bpref@5", "no cutoff"), ("", "Unknown"), ("P@-1", "Unknown")]
)  # fmt: skip
def test_wrong_names_say_what_there_is(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_metric(text)


def test_asking_for_what_was_not_worked_out() -> None:
    with pytest.raises(UsageError, match="not worked out"):
        score(RUN, QRELS, ["MAP"]).mean("P@5")


def test_deep_and_shallow_rankings_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    qrels = {f"q{n}": {f"d{n}": 1, "d0": n % 3} for n in range(50)}
    run = {f"q{n}": [(f"d{m}", -float(m)) for m in range(1 + 7 * (n % 5))] for n in range(50)}
    whole = score(run, qrels, DEFAULT)
    monkeypatch.setattr("eval.metrics._CELLS_PER_BLOCK", 40)
    parts = score(run, qrels, DEFAULT)
    assert all(np.allclose(whole.values[name], parts.values[name], atol=1e-12) for name in whole.values)
    assert whole.precision_at_recall == pytest.approx(parts.precision_at_recall)


def test_recall_by_depth() -> None:
    assert recall_by_depth(RUN, QRELS, [1, 2, 10]) == pytest.approx({1: 0.0, 2: 1 / 3, 10: 2 / 3})


ORACLE = {
    "nDCG": nDCG, "nDCG@5": nDCG @ 5, "nDCG@10": nDCG @ 10,
    "P": SetP, "P@5": P @ 5, "P(rel=2)@5": P(rel=2) @ 5, "recall": SetR, "recall@10": R @ 10, "F1": SetF, "MAP": AP,
    "MAP@10": AP @ 10, "MAP(rel=2)": AP(rel=2), "MRR": RR, "hit@3": Success @ 3, "R-precision": Rprec, "bpref": Bpref,
    "bpref(rel=2)": Bpref(rel=2),
}  # fmt: skip
# These two ir_measures orders by ascending id where scores tie, unlike trec_eval, so they are compared without ties.
ORACLE_WITHOUT_TIES = {"MRR@3": RR @ 3, "judged@5": Judged @ 5}

DOCS = [f"d{n}" for n in range(30)]
tied_score = st.sampled_from([0.0, 1.0, 2.0, -1.5, 1.0 + 1e-9])
grades = st.dictionaries(st.sampled_from(DOCS), st.integers(0, 3), min_size=1, max_size=20)


def runs(scores: st.SearchStrategy[float], *, unique: bool) -> st.SearchStrategy[list[tuple[str, float]]]:
    pairs = st.tuples(st.sampled_from(DOCS), scores)
    keys = (lambda pair: pair[0], lambda pair: np.float32(pair[1]).item()) if unique else (lambda pair: pair[0],)
    return st.lists(pairs, min_size=1, max_size=25, unique_by=keys)


def check_against_oracle(cases: list[tuple[dict[str, int], list[tuple[str, float]] | None]], oracle: dict) -> None:  # type: ignore[type-arg]
    qrels = {f"q{n}": judged for n, (judged, _) in enumerate(cases)}
    raw = {f"q{n}": dict(hits) for n, (_, hits) in enumerate(cases) if hits is not None}
    ours = score({query_id: foreign_ranking(hits.items()) for query_id, hits in raw.items()}, qrels, list(oracle))
    theirs = ir_measures.evaluator(list(oracle.values()), qrels)
    found = {(row.query_id, row.measure): row.value for row in theirs.iter_calc(raw)}
    for (name, measure), query_id in product(oracle.items(), qrels):
        assert ours.per_query(name)[query_id] == pytest.approx(found.get((query_id, measure), 0.0), abs=1e-9), name
    # Exponential gain is the linear one over grades of 2^grade − 1.
    raised = {query_id: {doc: 2**grade - 1 for doc, grade in judged.items()} for query_id, judged in qrels.items()}
    exponential = score(
        {query_id: foreign_ranking(hits.items()) for query_id, hits in raw.items()}, qrels, ["nDCG-exp@10"]
    )
    expected = {row.query_id: row.value for row in ir_measures.evaluator([nDCG @ 10], raised).iter_calc(raw)}
    for query_id in qrels:
        wanted = pytest.approx(expected.get(query_id, 0.0), abs=1e-9)
        assert exponential.per_query("nDCG-exp@10")[query_id] == wanted


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(grades, st.none() | runs(tied_score, unique=False)), min_size=1, max_size=4))
def test_equals_ir_measures_with_ties_and_grades(cases: list) -> None:  # type: ignore[type-arg]
    if any(hits for _, hits in cases):
        check_against_oracle(cases, ORACLE)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(grades, runs(st.floats(-100, 100), unique=True)), min_size=1, max_size=4))
def test_equals_ir_measures_without_ties(cases: list) -> None:  # type: ignore[type-arg]
    check_against_oracle(cases, {**ORACLE, **ORACLE_WITHOUT_TIES})


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(grades, runs(tied_score, unique=False)), min_size=1, max_size=4))
def test_precision_recall_curve_equals_trec_eval(cases: list) -> None:  # type: ignore[type-arg]
    qrels = {f"q{n}": judged for n, (judged, _) in enumerate(cases)}
    raw = {f"q{n}": dict(hits) for n, (_, hits) in enumerate(cases)}
    measures = [IPrec @ (level / 10) for level in range(11)]
    theirs = ir_measures.calc_aggregate(measures, qrels, raw)
    ours = score({query_id: foreign_ranking(hits.items()) for query_id, hits in raw.items()}, qrels, ["MAP"])
    assert ours.precision_at_recall == pytest.approx([theirs[measure] for measure in measures], abs=1e-9)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(grades, runs(tied_score, unique=False))
def test_auc_equals_counting_pairs(judged: dict[str, int], hits: list[tuple[str, float]]) -> None:
    ranked = foreign_ranking(hits)
    place = {doc_id: at for at, (doc_id, _) in enumerate(ranked)}
    universe = {*place, *judged}
    good = [doc_id for doc_id in universe if judged.get(doc_id, 0) >= 1]
    other = [doc_id for doc_id in universe if judged.get(doc_id, 0) < 1]
    last = len(place)
    pairs = [(place.get(a, last), place.get(b, last)) for a in good for b in other]
    right = sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs)
    expected = right / len(pairs) if pairs else float(any(doc_id in place for doc_id in good))
    assert score({"q": ranked}, {"q": judged}, ["AUC"]).mean("AUC") == pytest.approx(expected, abs=1e-12)
