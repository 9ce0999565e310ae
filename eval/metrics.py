"""Retrieval metrics, per query and averaged; the figures of trec_eval and ir_measures, worked out for all queries at once.

kind         what it says                                            name as written
precision    share of the first k that is relevant                   P@5
recall       share of the relevant that is in the first k            recall@100
f1           harmonic mean of the two                                F1@10
hit          1 when a relevant document is in the first k            hit@5
mrr          1 / rank of the first relevant document                 MRR@10
map          mean of the precision at each relevant document         MAP, MAP@100
ndcg         graded gain, discounted by log2(rank + 1)               nDCG@10
ndcg-exp     the same with gain 2^grade - 1                          nDCG-exp@10
r-precision  precision at the number of relevant documents           R-precision
bpref        relevant before judged non-relevant                     bpref
auc          area under the ROC curve                                AUC
judged       share of the first k that was judged at all             judged@10
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rag.errors import UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DEFAULT = (
    "nDCG@10", "nDCG-exp@10", "recall@1", "recall@5", "recall@10", "recall@100", "MRR@10", "MAP",
    "P@1", "P@5", "P@10", "F1@5", "F1@10", "hit@1", "hit@5", "hit@10", "R-precision", "bpref", "AUC", "judged@10",
)  # fmt: skip
RECALL_LEVELS = tuple(level / 10 for level in range(11))

_DISPLAY = {
    "precision": "P", "recall": "recall", "f1": "F1", "hit": "hit", "mrr": "MRR", "map": "MAP", "ndcg": "nDCG",
    "ndcg-exp": "nDCG-exp", "r-precision": "R-precision", "bpref": "bpref", "auc": "AUC", "judged": "judged",
}  # fmt: skip
# Spellings of ir_measures, trec_eval, BEIR and scikit-learn, without case and separators.
_ALIASES = {
    "p": "precision", "prec": "precision", "precision": "precision", "r": "recall", "recall": "recall",
    "f": "f1", "f1": "f1", "hit": "hit", "hits": "hit", "hitrate": "hit", "success": "hit", "accuracy": "hit",
    "mrr": "mrr", "rr": "mrr", "reciprank": "mrr", "map": "map", "ap": "map", "ndcg": "ndcg", "ndcgexp": "ndcg-exp",
    "rprecision": "r-precision", "rprec": "r-precision", "bpref": "bpref", "auc": "auc", "rocauc": "auc",
    "judged": "judged",
}  # fmt: skip
_NO_CUTOFF = {"r-precision", "bpref"}
_NAME = re.compile(r"(?P<name>[a-z][a-z0-9 _-]*?)\s*(?:\(\s*rel\s*=\s*(?P<rel>\d+)\s*\))?\s*(?:@\s*(?P<k>\d+))?")
_TREC_CUTOFF = re.compile(r"(?:_cut)?_(\d+)$")

# Grades of a cell that holds no judged document; below every grade that can be read from a file.
_UNJUDGED = np.iinfo(np.int64).min + 1
_EMPTY = np.iinfo(np.int64).min
_CELLS_PER_BLOCK = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: its kind, how many ranks it looks at (None: all), and from which grade a document is relevant."""

    kind: str
    cutoff: int | None = None
    min_grade: int = 1

    @property
    def name(self) -> str:
        rel = f"(rel={self.min_grade})" if self.min_grade != 1 else ""
        return f"{_DISPLAY[self.kind]}{rel}{'' if self.cutoff is None else f'@{self.cutoff}'}"


def parse_metric(text: str) -> Metric:
    """`nDCG@10`, `recall@100`, `MAP`, `hit rate@5`, `P(rel=2)@5`, in any case; trec_eval's `ndcg_cut_10` too.

    Raises: UsageError naming the nearest metric when the name is unknown or the cutoff cannot be.
    """
    plain = _TREC_CUTOFF.sub(r"@\1", text.strip().casefold())
    match = _NAME.fullmatch(plain)
    kind = _ALIASES.get(re.sub(r"[ _-]", "", match["name"])) if match else None
    if match is None or kind is None:
        raise UsageError(_unknown_metric(text))
    cutoff = int(match["k"]) if match["k"] else None
    if cutoff == 0:
        raise UsageError(
            f"Metric {text!r} looks at no rank. Give a cutoff of 1 or more, for example {_DISPLAY[kind]}@10."
        )
    if cutoff is not None and kind in _NO_CUTOFF:
        raise UsageError(f"Metric {text!r}: {_DISPLAY[kind]} takes no cutoff. Write {_DISPLAY[kind]}.")
    return Metric(kind=kind, cutoff=cutoff, min_grade=int(match["rel"] or 1))


def parse_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics named, each once, in order. Raises: UsageError, see `parse_metric`."""
    return tuple({metric.name: metric for metric in map(parse_metric, names)}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Metrics of one run.

    query_ids: every judged query; one that the run does not answer counts 0 and is in `unanswered`.
    values: metric name -> float64 array, one value per query, in the order of query_ids.
    precision_at_recall: mean interpolated precision at recall 0.0, 0.1, ... 1.0.
    """

    query_ids: tuple[str, ...]
    values: Mapping[str, Floats]
    unanswered: tuple[str, ...] = ()
    precision_at_recall: tuple[float, ...] = field(default=(0.0,) * len(RECALL_LEVELS))

    def mean(self, metric: str) -> float:
        """Mean over all judged queries; 0.0 when there is none. Raises: UsageError when it was not worked out."""
        values = self.array(metric)
        return float(values.mean()) if len(values) else 0.0

    def means(self) -> dict[str, float]:
        return {name: self.mean(name) for name in self.values}

    def per_query(self, metric: str) -> dict[str, float]:
        return dict(zip(self.query_ids, self.array(metric).tolist(), strict=True))

    def array(self, metric: str) -> Floats:
        name = metric if metric in self.values else parse_metric(metric).name
        if name not in self.values:
            raise UsageError(f"Metric {name} was not worked out for this run. There are: {', '.join(self.values)}.")
        return self.values[name]


def score(
    run: Mapping[str, Sequence[tuple[str, float]]],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = DEFAULT,
) -> Scores:
    """Metrics of a run, as trec_eval works them out.

    run: query_id -> (doc_id, score), best first, no id twice; the order given is the ranking, scores are not looked at.
    qrels: query_id -> doc_id -> grade. Every query in it counts, with 0 when it is not in the run or nothing is
        relevant to it; queries of the run that are not in it are ignored. Documents without judgement are not relevant.
    Raises: UsageError for an unknown metric.
    Source: trec_eval 9 (github.com/usnistgov/trec_eval); AUC counts pairs of a relevant and another document that
        stand in the right order, over what was retrieved or judged; what was not retrieved shares the last place.
    """
    wanted = parse_metrics(metrics)
    query_ids = tuple(qrels)
    parts: dict[str, list[Floats]] = {metric.name: [] for metric in wanted}
    curves: list[Floats] = []
    for block in _blocks(run, qrels, query_ids):
        for metric in wanted:
            parts[metric.name].append(_FORMULAS[metric.kind](block, metric.cutoff, metric.min_grade))
        curves.append(_interpolated_precision(block, 1))
    curve = np.concatenate(curves).mean(axis=0) if curves else np.zeros(len(RECALL_LEVELS))
    return Scores(
        query_ids=query_ids,
        values={name: np.concatenate(chunks) if chunks else np.zeros(0) for name, chunks in parts.items()},
        unanswered=tuple(query_id for query_id in query_ids if not run.get(query_id)),
        precision_at_recall=tuple(curve.tolist()),
    )


def recall_by_depth(
    run: Mapping[str, Sequence[tuple[str, float]]], qrels: Mapping[str, Mapping[str, int]], depths: Sequence[int]
) -> dict[int, float]:
    """Mean recall when only the first 1, 2, 5, ... documents are looked at."""
    scores = score(run, qrels, [f"recall@{depth}" for depth in depths])
    return {depth: scores.mean(f"recall@{depth}") for depth in depths}


def _unknown_metric(text: str) -> str:
    plain = re.split(r"[@(]", text.strip().casefold())[0].strip()
    near = difflib.get_close_matches(plain, [name.casefold() for name in _DISPLAY.values()], n=1, cutoff=0.4)
    display = {name.casefold(): name for name in _DISPLAY.values()}
    hint = f" Did you mean {display[near[0]]}?" if near else ""
    return (
        f"Unknown metric {text!r}.{hint} There are: {', '.join(_DISPLAY.values())}; most take a cutoff, as in nDCG@10."
    )


# ---------------------------------------------------------------- queries as rows, ranks as columns


class _Block:
    """Some queries as a matrix: grades[i, r] is the grade of query i's document at rank r + 1."""

    def __init__(
        self,
        run: Mapping[str, Sequence[tuple[str, float]]],
        judged: Sequence[Mapping[str, int]],
        query_ids: Sequence[str],
    ) -> None:
        rankings = [run.get(query_id, ()) for query_id in query_ids]
        self.n_retrieved: Ints = np.array([len(hits) for hits in rankings], dtype=np.int64)
        self.grades = _matrix(
            [grades.get(hit[0], _UNJUDGED) for hits, grades in zip(rankings, judged, strict=True) for hit in hits],
            self.n_retrieved,
        )
        self.n_judged: Ints = np.array([len(grades) for grades in judged], dtype=np.int64)
        self.judged_grades = _matrix([grade for grades in judged for grade in grades.values()], self.n_judged)
        self.ideal = -np.sort(-np.maximum(self.judged_grades, 0), axis=1)
        self.ranks = np.arange(1, self.grades.shape[1] + 1, dtype=np.float64)
        self._found: dict[int, tuple[npt.NDArray[np.bool_], Ints, Ints]] = {}

    def relevant(self, min_grade: int) -> npt.NDArray[np.bool_]:
        return self._of(min_grade)[0]

    def n_found(self, min_grade: int) -> Ints:
        """Relevant documents up to each rank; column 0 is before the first rank."""
        return self._of(min_grade)[1]

    def n_relevant(self, min_grade: int) -> Ints:
        return self._of(min_grade)[2]

    def n_found_at(self, cutoff: int | None, min_grade: int) -> Ints:
        found = self.n_found(min_grade)
        return found[:, -1] if cutoff is None else found[:, min(cutoff, found.shape[1] - 1)]

    def _of(self, min_grade: int) -> tuple[npt.NDArray[np.bool_], Ints, Ints]:
        if min_grade not in self._found:
            relevant = self.grades >= min_grade
            found = np.zeros((len(relevant), relevant.shape[1] + 1), dtype=np.int64)
            np.cumsum(relevant, axis=1, out=found[:, 1:])
            self._found[min_grade] = (relevant, found, (self.judged_grades >= min_grade).sum(axis=1))
        return self._found[min_grade]


def _matrix(flat: list[int], lengths: Ints) -> Ints:
    """Rows of different lengths side by side, filled up with _EMPTY."""
    width = max(int(lengths.max(initial=0)), 1)
    matrix = np.full((len(lengths), width), _EMPTY, dtype=np.int64)
    matrix[np.arange(width) < lengths[:, None]] = flat
    return matrix


def _blocks(
    run: Mapping[str, Sequence[tuple[str, float]]], qrels: Mapping[str, Mapping[str, int]], query_ids: Sequence[str]
) -> Iterator[_Block]:
    """All queries in order, in blocks whose matrices stay small even when one ranking is very deep."""
    start, widest = 0, 1
    for at, query_id in enumerate(query_ids):
        width = max(widest, len(run.get(query_id, ())), len(qrels[query_id]))
        if at > start and (at + 1 - start) * width > _CELLS_PER_BLOCK:
            yield _block(run, qrels, query_ids[start:at])
            start, width = at, max(len(run.get(query_id, ())), len(qrels[query_id]))
        widest = width
    if query_ids:
        yield _block(run, qrels, query_ids[start:])


def _block(
    run: Mapping[str, Sequence[tuple[str, float]]], qrels: Mapping[str, Mapping[str, int]], query_ids: Sequence[str]
) -> _Block:
    return _Block(run, [qrels[query_id] for query_id in query_ids], query_ids)


# ---------------------------------------------------------------- formulas: (block, cutoff, min_grade) -> one value a query


def _divided(above: npt.NDArray[np.generic], below: npt.NDArray[np.generic]) -> Floats:
    """above / below, and 0 where below is 0."""
    out: Floats = np.zeros(np.broadcast_shapes(above.shape, below.shape))
    np.divide(above, below, out=out, where=below != 0)
    return out


def _precision(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    below = block.n_retrieved if cutoff is None else np.full(len(block.n_retrieved), cutoff)
    return _divided(block.n_found_at(cutoff, min_grade), below)


def _recall(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    return _divided(block.n_found_at(cutoff, min_grade), block.n_relevant(min_grade))


def _f1(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    precision, recall = _precision(block, cutoff, min_grade), _recall(block, cutoff, min_grade)
    return _divided(2 * precision * recall, precision + recall)


def _hit(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    return (block.n_found_at(cutoff, min_grade) > 0).astype(np.float64)


def _reciprocal_rank(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    relevant = block.relevant(min_grade)[:, :cutoff]
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1), 0.0)


def _average_precision(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    at_rank = block.n_found(min_grade)[:, 1:] / block.ranks * block.relevant(min_grade)
    return _divided(at_rank[:, :cutoff].sum(axis=1), block.n_relevant(min_grade))


def _ndcg(
    block: _Block, cutoff: int | None, min_grade: int, gain: Callable[[Floats], Floats] = lambda grade: grade
) -> Floats:
    def discounted(grades: Ints) -> Floats:
        seen = grades[:, :cutoff]
        kept = np.where(seen >= min_grade, np.maximum(seen, 0), 0).astype(np.float64)
        return gain(kept) @ (1.0 / np.log2(np.arange(2, seen.shape[1] + 2)))

    return _divided(discounted(block.grades), discounted(block.ideal))


def _ndcg_exp(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    # Grades beyond 1,000 would overflow; gains are relative, so nothing that people judge with is touched.
    return _ndcg(block, cutoff, min_grade, gain=lambda grade: np.exp2(np.minimum(grade, 1000.0)) - 1.0)


def _r_precision(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    found, n_relevant = block.n_found(min_grade), block.n_relevant(min_grade)
    at = np.minimum(n_relevant, found.shape[1] - 1)
    return _divided(found[np.arange(len(found)), at], n_relevant)


def _bpref(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    """Source: Buckley and Voorhees, SIGIR 2004, doi:10.1145/1008992.1009000; bounded as trec_eval does."""
    relevant, n_relevant = block.relevant(min_grade), block.n_relevant(min_grade)
    others_above = np.cumsum((block.grades >= 0) & ~relevant, axis=1)
    n_others = ((block.judged_grades >= 0) & (block.judged_grades < min_grade)).sum(axis=1)
    bound = np.minimum(n_others, n_relevant)[:, None]
    lost = _divided(np.minimum(others_above, n_relevant[:, None]), np.broadcast_to(bound, others_above.shape))
    return _divided(((1.0 - lost) * relevant).sum(axis=1), n_relevant)


def _auc(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    relevant = block.relevant(min_grade)[:, :cutoff]
    others = (block.grades[:, :cutoff] > _EMPTY) & ~relevant
    judged_others = ((block.grades[:, :cutoff] > _UNJUDGED) & ~relevant).sum(axis=1)
    n_relevant, n_found = block.n_relevant(min_grade), relevant.sum(axis=1)
    not_retrieved = block.n_judged - n_relevant - judged_others
    n_others = others.sum(axis=1) + not_retrieved
    below = (n_others[:, None] - np.cumsum(others, axis=1)) * relevant
    right = below.sum(axis=1) + 0.5 * (n_relevant - n_found) * not_retrieved
    area = _divided(right, n_relevant * n_others)
    area[(n_others == 0) & (n_found > 0)] = 1.0
    area[block.n_retrieved == 0] = 0.0
    return area


def _judged(block: _Block, cutoff: int | None, min_grade: int) -> Floats:
    below = block.n_retrieved if cutoff is None else np.minimum(block.n_retrieved, cutoff)
    return _divided((block.grades[:, :cutoff] > _UNJUDGED).sum(axis=1), below)


def _interpolated_precision(block: _Block, min_grade: int) -> Floats:
    """Best precision at or after the rank where each recall level is reached; shape (queries, 11)."""
    found, n_relevant = block.n_found(min_grade)[:, 1:], block.n_relevant(min_grade)
    best = np.maximum.accumulate((found / block.ranks)[:, ::-1], axis=1)[:, ::-1]
    curve = np.zeros((len(found), len(RECALL_LEVELS)))
    rows = np.arange(len(found))
    for column, level in enumerate(RECALL_LEVELS):
        needed = (level * n_relevant + 0.9).astype(np.int64)  # trec_eval's rounding
        reached = found >= needed[:, None]
        curve[:, column] = np.where(reached.any(axis=1) & (n_relevant > 0), best[rows, reached.argmax(axis=1)], 0.0)
    return curve


_FORMULAS: dict[str, Callable[[_Block, int | None, int], Floats]] = {
    "precision": _precision, "recall": _recall, "f1": _f1, "hit": _hit, "mrr": _reciprocal_rank,
    "map": _average_precision, "ndcg": _ndcg, "ndcg-exp": _ndcg_exp, "r-precision": _r_precision, "bpref": _bpref,
    "auc": _auc, "judged": _judged,
}  # fmt: skip
