"""What `ragstone eval` does: functions that take plain values and return the `--json` document; no argument parsing here."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from eval import comparison
from eval.dataset import Dataset, load_dataset
from eval.evaluation import Evaluation, Progress, SearchedKnowledgeBase, run_on_knowledge_base
from eval.metrics import DEFAULT, Scores, parse_metric, parse_metrics
from eval.metrics import score as score_run
from eval.problems import Problem, ProblemLog, no_questions
from eval.report import LATENCY_FILE, html_report, latency_plot, markdown_report
from eval.runs import Qrels, Run, read_qrels, read_run, write_qrels, write_run
from eval.systems import System, parse_systems, split_names
from rag.errors import UsageError

DONE, FAILED = 0, 3
QRELS_FILE = "qrels.trec"
HISTORY_FILE = "history.jsonl"
_SAME = ("fingerprint", "files", "n_queries", "depth")  # runs that agree in these asked the same questions

OpenKnowledgeBase = Callable[[str | None, Mapping[str, str]], AbstractContextManager[SearchedKnowledgeBase]]
"""(collection, settings that differ) -> a knowledge base; None is the user's own collection."""


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
    open_kb: opens a knowledge base; systems whose settings differ get their own, with their own collection where the
        index would differ, and a dataset without a corpus is asked of the user's collection. settings: dotted keys of what the systems are built with, secrets masked.
    out_dir: receives runs/*.trec, qrels.trec, metrics.json, report.html, report.md, which are the same for the same
        seed, and timings.json, latency.svg and a line of history.jsonl, which are not.
    Raises: UsageError for whatever cannot be asked for; nothing is opened before that is known.
    """
    names = list(parse_systems(split_names(systems) if isinstance(systems, str) else systems))
    gates = parse_gates(fail_under)
    wanted = [metric.name for metric in parse_metrics([*(metrics or DEFAULT), *(gate.metric for gate in gates)])]
    dataset = load_dataset(data, queries, qrels, limit)
    if not dataset.questions:
        raise no_questions(f"Dataset {dataset.name}", dataset.problems)
    folder = made_folder(out_dir, "runs") if out_dir is not None else None
    with opened(dataset, open_kb) as base_of:
        evaluation = run_on_knowledge_base(
            dataset, names, kb=base_of, metrics=wanted, depth=depth, seed=seed, settings=settings, progress=progress,
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


@contextmanager
def opened(dataset: Dataset, open_kb: OpenKnowledgeBase) -> Iterator[Callable[[System], SearchedKnowledgeBase]]:
    """A function that gives each system its knowledge base: one for equal settings, one collection for equal indexes."""
    bases: dict[tuple[tuple[str, str], ...], SearchedKnowledgeBase] = {}
    with ExitStack() as stack:

        def base_of(system: System) -> SearchedKnowledgeBase:
            key = tuple(sorted(system.settings.items()))
            if key not in bases:
                name = collection_name(dataset)
                if name and system.index_key:
                    name = f"{name}_{system.index_key}"
                elif system.index_key:
                    raise UsageError(
                        f"System {system.name}: {dataset.name} asks about documents that are imported already, so settings "
                        "of the import cannot differ. Leave them out, or evaluate a BEIR folder."
                    )
                bases[key] = stack.enter_context(open_kb(name, system.settings))
            return bases[key]

        yield base_of


def collection_name(dataset: Dataset) -> str | None:
    """The collection that holds a dataset's corpus: the same for the same documents, whatever questions are asked."""
    if dataset.open_corpus is None:
        return None
    plain = re.sub(r"[^a-z0-9]+", "_", dataset.name.lower()).strip("_")[:32] or "data"
    return f"eval_{plain}_{dataset.fingerprint[:12]}"


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """`nDCG@10=0.6` as gates; several may stand in one text, with commas. Raises: UsageError."""
    parts = [part for given in texts for part in given.split(",") if part.strip()]
    gates = [(parse_metric(name).name, minimum) for name, minimum in map(_bound, parts)]
    return [Gate(metric=name, minimum=minimum) for name, minimum in gates]


def gate(text: str, known: Sequence[str]) -> tuple[str, float]:
    """`F1=0.6` with one of the `known` metrics, in any case. Raises: UsageError."""
    name, minimum = _bound(text)
    found = {one.casefold(): one for one in known}.get(name.strip().casefold())
    if found is None:
        raise UsageError(f"--fail-under {text.strip()!r}: there is no metric {name.strip()!r}. There are: {', '.join(known)}.")  # fmt: skip
    return found, minimum


def _bound(text: str) -> tuple[str, float]:
    name, equals, bound = text.partition("=")
    try:
        minimum = float(bound)
    except ValueError:
        minimum = -1.0
    if not equals or not 0 <= minimum <= 1:
        raise UsageError(f"--fail-under {text.strip()!r}: wanted METRIC=X with X from 0 to 1, for example nDCG@10=0.6.")
    return name, minimum


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


def made_folder(out_dir: str | Path, inside: str) -> Path:
    """The folder for results, with a folder in it, both made when they are not there. Raises: UsageError."""
    folder = Path(out_dir)
    try:
        (folder / inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made ({error.strerror}). Choose another with -o.") from error
    return folder


def _write_results(folder: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Write everything; gives what changed since the last run of the same data in this folder."""
    try:
        for name, result in evaluation.systems.items():
            write_run(folder / "runs" / f"{file_name(name)}.trec", result.run, tag=name)
        write_qrels(folder / QRELS_FILE, evaluation.dataset.qrels)
        write_file(folder / "metrics.json", written_json(evaluation.to_dict(timings=False)))
        write_file(folder / "report.html", html_report(evaluation))
        write_file(folder / "report.md", markdown_report(evaluation))
        write_file(folder / "timings.json", written_json(evaluation.latency()))
        write_file(folder / LATENCY_FILE, latency_plot(evaluation))
        return _remember(folder / HISTORY_FILE, evaluation)
    except OSError as error:
        raise UsageError(
            f"The results cannot be written to {folder} ({error.strerror}). Choose another with -o."
        ) from error


def _remember(path: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Add this run to the history; gives each system's metrics that differ from its last run on the same questions."""
    systems = {name: result.scores.means() for name, result in evaluation.systems.items()}
    entry: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": _version(),
        "revision": revision(),
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
    last: dict[str, dict[str, float]] = {}
    for earlier in _entries(path) if path.is_file() else ():
        if all(earlier.get(key) == entry[key] for key in _SAME):
            last.update(earlier.get("systems", {}))
    return last


def _changed(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        metric: {"before": before[metric], "now": value}
        for metric, value in now.items()
        if metric in before and abs(before[metric] - value) > 1e-9
    }


def history(
    folder: str | Path, *, metric: str = "nDCG@10", fail_drop: float | None = None
) -> tuple[dict[str, Any], int]:
    """`ragstone eval history`: the runs in a folder of results, each beside the last one on the same questions.

    fail_drop: exit code 3 when a system's metric fell by more than this in its last run.
    Raises: UsageError when there is no history or the metric is not in it.
    """
    name, path = parse_metric(metric).name, Path(folder) / HISTORY_FILE
    if not path.is_file():
        raise UsageError(f"{path} does not exist. `ragstone eval run -o {folder}` writes it.")
    last: dict[tuple[str, str], float] = {}
    drops: dict[tuple[str, str], float] = {}
    before: dict[str, Mapping[str, Any]] = {}  # settings of the last run on the same questions
    rows: list[dict[str, Any]] = []
    for entry in _entries(path):
        asked = json.dumps([entry.get(key) for key in _SAME], sort_keys=True)
        settings = entry.get("settings") or {}
        earlier = before.get(asked, settings)
        changed = sorted(key for key in {*settings, *earlier} if settings.get(key) != earlier.get(key))
        before[asked] = settings
        for system, means in (entry.get("systems") or {}).items():
            if name not in means:
                continue
            key = (asked, system)
            change = means[name] - last[key] if key in last else None
            last[key], drops[key] = means[name], -(change or 0.0)
            row = {one: entry.get(one, "") for one in ("at", "version", "revision", "dataset", "n_queries")}
            rows.append({**row, "system": system, "value": means[name], "change": change, "settings_changed": changed})
    if not rows:
        raise UsageError(f"{path} holds no run with {name}.")
    fallen = fail_drop is not None and any(drop > fail_drop for drop in drops.values())
    return {"metric": name, "runs": rows, "fallen": fallen}, FAILED if fallen else DONE


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line cut off by a crash
        if isinstance(entry, dict):
            yield entry


def revision() -> str:
    """The commit of the source that runs, with + when files were changed; "" outside of a checkout."""
    try:
        git = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _version() -> str:
    try:
        return metadata.version("ragstone")
    except metadata.PackageNotFoundError:
        return "unknown"


def file_name(system: str) -> str:
    """A name for its files, another one for each system."""
    plain = re.sub(r"[^\w+.-]+", "_", system)
    lost = re.search(r"[^\w+.\-(),=@]", system)  # such as <, of which nothing is left
    return f"{plain}{hashlib.sha256(system.encode()).hexdigest()[:8]}" if lost else plain


def written_json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=1, default=str) + "\n"


def write_file(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
