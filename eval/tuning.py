"""A search for better settings: successive halving over candidates, and a holdout that decides whether the gain is real."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eval.comparison import Comparison, compare
from eval.dataset import Dataset
from eval.evaluation import Search, evaluate
from eval.metrics import Scores, parse_metric, score
from eval.runs import Run
from eval.systems import System, parse_settings, parse_system
from rag.errors import UsageError

Settings = Mapping[str, str]  # dotted key -> value that differs from the user's
Found = Callable[[str, int, int], None]

HOLDOUT = 0.4  # share of the questions that no candidate sees before the end
KEEP = 3  # one of so many goes on to the next rung
FIRST_RUNG = 20  # questions at least
FEWEST = 20  # questions to tune with at all
DEPTH = 100

# Values that are worth trying, the ones that need no other index first. mmr and models have to be asked for: --try.
SPACE: dict[str, tuple[str, ...]] = {
    "search.dense_weight": ("0.3", "0.5", "0.7"),
    "search.depth": ("50", "100", "200"),
    "search.fusion": ("zscore", "minmax", "rrf"),
    "search.mmr": ("1", "0.9"),
    "chunk.size": ("0", "128"),
    "chunk.overlap": ("0", "48"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round: every candidate that was left, on so many questions, best first."""

    n_questions: int
    values: tuple[tuple[Settings, float], ...]
    n_kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """best: the candidate that won the rungs; {} are the settings as they are. holdout: best minus current, where no rung looked.

    recommended: best, when it is ahead on the holdout by more than chance explains; else {}: keep what there is.
    """

    metric: str
    best: Settings
    recommended: Settings
    current_value: float
    best_value: float
    holdout: Comparison | None
    n_tuned: int
    n_holdout: int
    n_failures: int
    rungs: tuple[Rung, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "best": dict(self.best),
            "recommended": dict(self.recommended),
            "holdout": {
                "n_queries": self.n_holdout,
                "current": self.current_value,
                "best": self.best_value,
                "gain": self.best_value - self.current_value,
                "ci": [round(bound, 6) for bound in self.holdout.ci] if self.holdout else [0.0, 0.0],
                "p": self.holdout.p if self.holdout else 1.0,
                "differs": bool(self.holdout and self.holdout.differs),
            },
            "n_tuned": self.n_tuned,
            "failures": self.n_failures,
            "rungs": [
                {
                    "n_queries": rung.n_questions,
                    "kept": rung.n_kept,
                    "candidates": [{"settings": dict(one), "value": value} for one, value in rung.values],
                }
                for rung in self.rungs
            ],
        }


def candidates(space: Mapping[str, Sequence[str]], budget: int, *, seed: int = 0) -> list[Settings]:
    """Up to `budget` combinations of the values, `{}`, the settings as they are, among them and first.

    All when they are few; else each value alone, then combinations drawn with the seed.
    """
    whole = math.prod(len(values) for values in space.values())
    found: list[Settings] = [{}]
    if whole < budget:
        found += [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
        return found
    found += [{key: value} for key, values in space.items() for value in values]
    rng = random.Random(seed)  # noqa: S311  a choice of settings, no secret
    drawn = {
        tuple(rng.choice(list(values)) for values in space.values()): None for _ in range(20 * budget)
    }  # dict: in order, once
    found += [dict(zip(space, values, strict=True)) for values in drawn]
    return found[:budget]


def parse_space(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`chunk.size=128|256` as key and values; a key of [search] may leave its section out. Raises: UsageError."""
    space: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        listed = tuple(dict.fromkeys(value.strip() for value in values.split("|") if value.strip()))
        if not equals or not listed:
            raise UsageError(f"--try {text!r}: wanted KEY=VALUE|VALUE, such as chunk.size=128|256.")
        for value in listed:
            (key,) = parse_settings(text, f"{key}={value}")
        space[key] = listed
    return space


def system_of(settings: Settings, mode: str) -> System:
    """The system that searches with these settings."""
    rest = {key: value for key, value in settings.items() if key not in ("search.mode", "search.mmr")}
    inside = f"({','.join(f'{key}={value}' for key, value in rest.items())})" if rest else ""
    system = parse_system(settings.get("search.mode", mode))
    # Tuned is what the user will run: what the settings say of rerankers and rewriting stays as it is.
    options: dict[str, Any] = {"mode": system.options["mode"]}
    if "search.mmr" in settings:
        options["mmr"] = float(settings["search.mmr"])
    return replace(system, name=system.name + inside, options=options, settings=rest)


def tune(
    dataset: Dataset,
    tried: Sequence[Settings],
    *,
    search: Callable[[Settings, str, int], Sequence[tuple[str, float]]],
    metric: str = "nDCG@10",
    holdout: float = HOLDOUT,
    seed: int = 0,
    progress: Found | None = None,
) -> Tuning:
    """Ask all candidates a few questions, the better third more, and so on; then best against current on the holdout.

    tried: settings that differ from the user's, `{}` first. search: called as search(settings, question, depth).
    A search that fails counts 0 for its candidate.
    Source: Jamieson and Talwalkar, AISTATS 2016, arXiv:1502.07943.
    Raises: UsageError for too few questions or a holdout that is none.
    """
    name = parse_metric(metric).name
    if not 0.1 <= holdout <= 0.9:
        raise UsageError(f"The holdout is {holdout}; give a share from 0.1 to 0.9.")
    if len(dataset.questions) < FEWEST:
        raise UsageError(
            f"{dataset.name} has {len(dataset.questions)} questions; tuning needs {FEWEST} or more, or it would fit chance. "
            "`ragstone eval generate` makes some from your documents."
        )
    order = list(dataset.questions)
    random.Random(seed).shuffle(order)  # noqa: S311
    n_tuned = round(len(order) * (1 - holdout))
    bench = _Bench(dataset, tried, search, name)
    left, rungs = list(range(len(tried))), []
    for n in _rung_sizes(n_tuned, len(tried)):
        for done, at in enumerate(left, start=1):
            bench.ask(at, order[:n])
            if progress is not None:
                progress(f"rung of {n} questions", done, len(left))
        ranked = sorted(left, key=lambda at: (-bench.scores(at, order[:n]).mean(name), at))
        last = n == n_tuned
        left = ranked[: 1 if last else max(1, math.ceil(len(ranked) / KEEP))]
        values = tuple((tried[at], bench.scores(at, order[:n]).mean(name)) for at in ranked)
        rungs.append(Rung(n_questions=n, values=values, n_kept=len(left)))
        if 0 not in left and not last:
            left.append(0)  # the settings as they are always stay in the race
    return _decided(bench, tried, left[0], order[n_tuned:], name, n_tuned, tuple(rungs), seed)


def _decided(
    bench: _Bench,
    tried: Sequence[Settings],
    best: int,
    kept_apart: Sequence[str],
    metric: str,
    n_tuned: int,
    rungs: tuple[Rung, ...],
    seed: int,
) -> Tuning:
    for at in {0, best}:
        bench.ask(at, kept_apart)
    current, winner = bench.scores(0, kept_apart), bench.scores(best, kept_apart)
    pair = compare({"best": winner, "current": current}, metrics=[metric], seed=seed)[0] if best else None
    ahead = pair is not None and pair.differs and pair.difference > 0
    return Tuning(
        metric=metric,
        best=tried[best],
        recommended=tried[best] if ahead else {},
        current_value=current.mean(metric),
        best_value=winner.mean(metric),
        holdout=pair,
        n_tuned=n_tuned,
        n_holdout=len(kept_apart),
        n_failures=bench.n_failures,
        rungs=rungs,
    )


class _Bench:
    """Runs of the candidates, each question asked once."""

    def __init__(
        self,
        dataset: Dataset,
        tried: Sequence[Settings],
        search: Callable[[Settings, str, int], Sequence[tuple[str, float]]],
        metric: str,
    ) -> None:
        self._dataset, self._tried, self._search, self._metric = dataset, tried, search, metric
        self._runs: list[Run] = [{} for _ in tried]
        self._asked: list[set[str]] = [set() for _ in tried]
        self.n_failures = 0

    def ask(self, at: int, query_ids: Sequence[str]) -> None:
        new = [one for one in query_ids if one not in self._asked[at]]
        if new:
            search: Search = lambda _, question, depth: self._search(self._tried[at], question, depth)  # noqa: E731
            evaluation = evaluate(self._part(new), ["candidate"], search=search, metrics=[self._metric], depth=DEPTH)
            self._runs[at] |= evaluation.systems["candidate"].run
            self._asked[at] |= set(new)
            self.n_failures += evaluation.n_failures

    def scores(self, at: int, query_ids: Sequence[str]) -> Scores:
        return score(self._runs[at], {one: self._dataset.qrels[one] for one in query_ids}, [self._metric])

    def _part(self, query_ids: Sequence[str]) -> Dataset:
        return Dataset(
            name=self._dataset.name,
            questions={one: self._dataset.questions[one] for one in query_ids},
            qrels={one: self._dataset.qrels[one] for one in query_ids},
        )


def _rung_sizes(n_questions: int, n_candidates: int) -> list[int]:
    """Questions of each rung: as many rungs as it takes to get down to one candidate, the last with all questions."""
    n_rungs = max(1, math.ceil(math.log(n_candidates, KEEP))) if n_candidates > 1 else 1
    sizes = [n_questions // KEEP**back for back in reversed(range(n_rungs))]
    return sorted({min(n_questions, max(size, FIRST_RUNG)) for size in sizes})
