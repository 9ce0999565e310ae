"""What `ragstone eval` does: functions that take plain values and return the `--json` document; no argument parsing here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from eval import comparison
from eval.dataset import Dataset, load_dataset
from eval.evaluation import (
    Evaluation,
    Progress,
    SearchedKnowledgeBase,
    check_systems,
    run_on_knowledge_base,
)
from eval.metrics import DEFAULT, Scores, parse_metric, parse_metrics
from eval.metrics import score as score_run
from eval.problems import Problem, ProblemLog, no_questions
from eval.report import LATENCY_FILE, html_report, latency_plot, markdown_report
from eval.runs import Qrels, Run, read_qrels, read_run, write_qrels, write_run
from rag.errors import UsageError

DONE, FAILED = 0, 3
QRELS_FILE = "qrels.trec"
HISTORY_FILE = "history.jsonl"

OpenKnowledgeBase = Callable[[str | None], AbstractContextManager[SearchedKnowledgeBase]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A bound that every system must reach: `--fail-under nDCG@10=0.6`."""

    metric: str
    minimum: float


def run(
    data: str | Path,
    *,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    limit: int | None = None,
    systems: str | Sequence[str] = ("bm25", "dense", "hybrid"),
    metrics: Sequence[str] | None = None,
    out_dir: str | Path | None = None,
    fail_under: Sequence[str] = (),
    open_kb: OpenKnowledgeBase,
    depth: int = 100,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    triples: str | Path | None = None,
) -> tuple[dict[str, Any], int]:
    """`ragstone eval run`: the JSON document and the exit code, 3 when a search or a document failed or a gate was missed.

    systems: names, or one text with commas. metrics: left out, `eval.metrics.DEFAULT`; gated metrics are added.
    open_kb: opens the knowledge base with the collection of that name; None is the user's own collection, for a
        dataset without a corpus. settings: dotted keys of what the systems are built with, secrets masked.
    out_dir: receives runs/*.trec, qrels.trec, metrics.json, report.html, report.md, which are the same for the same
        seed, and timings.json, latency.svg and a line of history.jsonl, which are not.
    Raises: UsageError for whatever cannot be asked for; nothing is opened before that is known.
    """
    names = [name.strip() for name in systems.split(",") if name.strip()] if isinstance(systems, str) else list(systems)
    gates = parse_gates(fail_under)
    wanted = [metric.name for metric in parse_metrics([*(metrics or DEFAULT), *(gate.metric for gate in gates)])]
    check_systems(names)
    dataset = load_dataset(data, queries, qrels, limit)
    if not dataset.questions:
        raise no_questions(f"Dataset {dataset.name}", dataset.problems)
    folder = _made(out_dir) if out_dir is not None else None
    with open_kb(collection_name(dataset)) as kb:
        evaluation = run_on_knowledge_base(
            dataset, names, kb=kb, metrics=wanted, depth=depth, seed=seed, settings=settings, progress=progress,
            triples=triples,
        )  # fmt: skip
    tree = evaluation.to_dict()
    tree["gates"] = check_gates(evaluation, gates)
    if folder is not None:
        tree["changes"] = _write_results(folder, evaluation)
        tree["out"] = str(folder)
    n_not_indexed = sum(problem.n for problem in evaluation.problems if problem.kind == "ingest_failed")
    missed = any(not gate["passed"] for gate in tree["gates"])
    return tree, FAILED if missed or evaluation.n_failures or n_not_indexed else DONE


def score(qrels: str | Path, run: str | Path, *, metrics: Sequence[str] | None = None, seed: int = 0) -> dict[str, Any]:
    """`ragstone eval score`: metrics of a TREC run from any system.

    qrels: TREC or BEIR format. Every judged query counts, with 0 when the run does not answer it.
    Raises: UsageError when a file cannot be read or nothing is judged.
    """
    judged, found, problems = _read_pair(Path(qrels), Path(run))
    scores = score_run(found, judged, metrics or DEFAULT)
    bounds = comparison.intervals(scores, seed=seed)
    return {
        "run": Path(run).name,
        "n_queries": len(judged),
        "metrics": scores.means(),
        "ci": {name: [round(low, 6), round(high, 6)] for name, (low, high) in bounds.items()},
        "precision_at_recall": [round(value, 6) for value in scores.precision_at_recall],
        "unanswered": len(scores.unanswered),
        "problems": [problem.to_dict() for problem in problems],
    }


def compare(
    run_a: str | Path,
    run_b: str | Path,
    qrels: str | Path | None = None,
    *,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """`ragstone eval compare`: two runs over the same questions.

    qrels: left out, the qrels.trec that `eval run -o` wrote beside the folder of the runs.
    Raises: UsageError when a file cannot be read or the qrels are not found.
    """
    paths = [Path(run_a), Path(run_b)]
    names = _names(paths)
    qrels_path = Path(qrels) if qrels is not None else _qrels_beside(paths)
    scores: dict[str, Scores] = {}
    problems: dict[str, Problem] = {}
    for name, path in zip(names, paths, strict=True):
        judged, found, noted = _read_pair(qrels_path, path)
        scores[name] = score_run(found, judged, metrics or DEFAULT)
        problems.update({problem.message: problem for problem in noted})
    pairs = comparison.compare(scores, metrics=metrics, seed=seed)
    return {
        "n_queries": len(scores[names[0]].query_ids),
        "seed": seed,
        "systems": {name: result.means() for name, result in scores.items()},
        "comparisons": [pair.to_dict() for pair in pairs],
        "unanswered": {name: len(result.unanswered) for name, result in scores.items()},
        "problems": [problem.to_dict() for problem in problems.values()],
    }


def collection_name(dataset: Dataset) -> str | None:
    """The collection that holds a dataset's corpus: the same for the same documents, whatever questions are asked."""
    if dataset.open_corpus is None:
        return None
    plain = re.sub(r"[^a-z0-9]+", "_", dataset.name.lower()).strip("_")[:32] or "data"
    return f"eval_{plain}_{dataset.fingerprint[:12]}"


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """`nDCG@10=0.6` as gates; several may stand in one text, with commas. Raises: UsageError."""
    gates = []
    for text in (part for given in texts for part in given.split(",") if part.strip()):
        name, equals, bound = text.partition("=")
        try:
            minimum = float(bound)
        except ValueError:
            minimum = -1.0
        if not equals or not 0 <= minimum <= 1:
            raise UsageError(
                f"--fail-under {text.strip()!r}: wanted METRIC=X with X from 0 to 1, for example nDCG@10=0.6."
            )
        gates.append(Gate(metric=parse_metric(name).name, minimum=minimum))
    return gates


def check_gates(evaluation: Evaluation, gates: Sequence[Gate]) -> list[dict[str, Any]]:
    """One entry for each gate and system."""
    checked = []
    for gate in gates:
        for name, result in evaluation.systems.items():
            value = result.scores.mean(gate.metric)
            checked.append(
                {
                    "metric": gate.metric,
                    "minimum": gate.minimum,
                    "system": name,
                    "value": value,
                    "passed": value >= gate.minimum,
                }
            )
    return checked


# ---------------------------------------------------------------- files in


def _read_pair(qrels_path: Path, run_path: Path) -> tuple[Qrels, Run, tuple[Problem, ...]]:
    judged, qrels_problems = read_qrels(qrels_path)
    if not judged:
        raise no_questions(str(qrels_path), qrels_problems)
    found, run_problems = read_run(run_path)
    log = ProblemLog()
    log.add_all("unanswered", (query_id for query_id in judged if query_id not in found), where=run_path.name)
    log.add_all("unjudged_in_run", (query_id for query_id in found if query_id not in judged), where=run_path.name)
    without = (query_id for query_id, grades in judged.items() if max(grades.values()) < 1)
    log.add_all("no_relevant", without, where=qrels_path.name)
    return judged, found, (*qrels_problems, *run_problems, *log.problems())


def _names(paths: Sequence[Path]) -> list[str]:
    for names in (
        [path.name.removesuffix(".gz").removesuffix(".trec") for path in paths],
        [str(path) for path in paths],
    ):
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({at})" for at, path in enumerate(paths, start=1)]


def _qrels_beside(paths: Sequence[Path]) -> Path:
    for path in paths:
        for folder in (path.parent, path.parent.parent):
            if (folder / QRELS_FILE).is_file():
                return folder / QRELS_FILE
    raise UsageError(
        f"No {QRELS_FILE} lies beside {paths[0]}, so what is relevant is not known. Name the judgements with --qrels FILE."
    )


# ---------------------------------------------------------------- files out


def _made(out_dir: str | Path) -> Path:
    folder = Path(out_dir)
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made ({error.strerror}). Choose another with -o.") from error
    return folder


def _write_results(folder: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Write everything; gives what changed since the last run of the same data in this folder."""
    try:
        for name, result in evaluation.systems.items():
            write_run(folder / "runs" / f"{_file_name(name)}.trec", result.run, tag=name)
        write_qrels(folder / QRELS_FILE, evaluation.dataset.qrels)
        _write(folder / "metrics.json", _json(evaluation.to_dict(timings=False)))
        _write(folder / "report.html", html_report(evaluation))
        _write(folder / "report.md", markdown_report(evaluation))
        _write(folder / "timings.json", _json(evaluation.latency()))
        _write(folder / LATENCY_FILE, latency_plot(evaluation))
        return _remember(folder / HISTORY_FILE, evaluation)
    except OSError as error:
        raise UsageError(
            f"The results cannot be written to {folder} ({error.strerror}). Choose another with -o."
        ) from error


def _remember(path: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Add this run to the history; gives each system's metrics that differ from its last run on the same questions."""
    systems = {name: result.scores.means() for name, result in evaluation.systems.items()}
    entry: dict[str, Any] = {
        "version": _version(),
        "dataset": evaluation.dataset.name,
        "fingerprint": evaluation.dataset.fingerprint,
        "files": dict(evaluation.dataset.files),
        "n_queries": len(evaluation.dataset.questions),
        "depth": evaluation.depth,
        "systems": systems,
        "latency_ms": evaluation.latency(),
        "settings": dict(evaluation.settings),
    }
    before = _last_of_same(path, entry)
    changes = {name: _changed(before.get(name, {}), now) for name, now in systems.items()}
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(entry, ensure_ascii=False, sort_keys=True, default=str) + "\n")
    return {name: changed for name, changed in changes.items() if changed}


def _last_of_same(path: Path, entry: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    same = ("fingerprint", "files", "n_queries", "depth")
    last: dict[str, dict[str, float]] = {}
    if not path.is_file():
        return last
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            earlier = json.loads(line)
        except ValueError:
            continue  # a line cut off by a crash
        if isinstance(earlier, dict) and all(earlier.get(key) == entry[key] for key in same):
            last.update(earlier.get("systems", {}))
    return last


def _changed(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        metric: {"before": before[metric], "now": value}
        for metric, value in now.items()
        if metric in before and abs(before[metric] - value) > 1e-9
    }


def _version() -> str:
    try:
        return metadata.version("ragstone")
    except metadata.PackageNotFoundError:
        return "unknown"


def _file_name(system: str) -> str:
    return re.sub(r"[^\w+.-]+", "_", system)


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=1, default=str) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
