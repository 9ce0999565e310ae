"""What `ragstone eval tune` does: tries settings, and writes those it recommends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval import tuning
from eval.commands import FAILED, OpenKnowledgeBase, made_folder, opened, write_file, written_json
from eval.dataset import Dataset, load_dataset
from eval.evaluation import Progress, SearchedKnowledgeBase, ensure_graphs, index_corpus, search_documents
from eval.problems import ProblemLog, no_questions
from eval.report import Cell, Table, html_page, markdown_page
from eval.runs import Ranking
from eval.systems import System
from rag.errors import UsageError

RECOMMENDED = "recommended.toml"
FEWEST_CANDIDATES = 2


def tune(
    data: str | Path,
    *,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    limit: int | None = None,
    space: Sequence[str] = (),
    budget: int = 24,
    metric: str = "nDCG@10",
    holdout: float = tuning.HOLDOUT,
    out_dir: str | Path | None = None,
    open_kb: OpenKnowledgeBase,
    mode: str = "hybrid",
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], int]:
    """The JSON document and the exit code: 3 when a search failed.

    space: `KEY=VALUE|VALUE`, in place of `eval.tuning.SPACE`. budget: most candidates. mode: of the settings as they are.
    out_dir: receives recommended.toml, tune.json, tune.html and tune.md, the same bytes for the same seed.
    Raises: UsageError for whatever cannot be asked for.
    """
    if budget < FEWEST_CANDIDATES:
        raise UsageError(f"--budget is {budget}; give {FEWEST_CANDIDATES} or more: the settings as they are count.")
    wanted = tuning.parse_space(space) or dict(tuning.SPACE)
    dataset = load_dataset(data, queries, qrels, limit)
    if not dataset.questions:
        raise no_questions(f"Dataset {dataset.name}", dataset.problems)
    if dataset.open_corpus is None and not space:  # what is imported stays as it is
        wanted = {key: values for key, values in wanted.items() if key.startswith("search.")}
    tried = tuning.candidates(wanted, budget, seed=seed)
    folder = made_folder(out_dir, ".") if out_dir is not None else None
    log = ProblemLog()
    with opened(dataset, open_kb) as base_of:
        for one in tried:  # what cannot be opened is an error now, not a failed search later
            base_of(tuning.system_of(one, mode))
        found = tuning.tune(
            dataset, tried, search=_searcher(dataset, base_of, mode, log, progress), metric=metric, holdout=holdout,
            seed=seed, progress=progress,
        )  # fmt: skip
    problems = (*dataset.problems, *log.problems())
    tree = {
        "dataset": dataset.name, "n_queries": len(dataset.questions), "seed": seed, "space": {k: list(v) for k, v in wanted.items()},
        **found.to_dict(), "problems": [problem.to_dict() for problem in problems],
    }  # fmt: skip
    if folder is not None:
        _write(folder, dataset, found, tree)
        tree["out"] = str(folder)
    return tree, FAILED if found.n_failures else 0


def _searcher(
    dataset: Dataset,
    base_of: Callable[[System], SearchedKnowledgeBase],
    mode: str,
    log: ProblemLog,
    progress: Progress | None,
) -> Callable[[tuning.Settings, str, int], Ranking]:
    """Searches with a candidate's settings. Each index is built when it is first needed."""
    indexed: set[str] = set()

    def search(settings: tuning.Settings, question: str, depth: int) -> Ranking:
        system = tuning.system_of(settings, mode)
        base = base_of(system)
        if system.index_key not in indexed:
            index_corpus(dataset, {system.index_key: base}, log, progress)
            indexed.add(system.index_key)
        ensure_graphs({"it": base}, {"it": system})
        return search_documents(base, question, system, depth, dataset)

    return search


def toml_of(settings: Mapping[str, str]) -> str:
    """Settings as a file that --config and ragstone.toml read."""
    sections: dict[str, list[str]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, []).append(f"{name} = {_toml_value(value)}")
    parts = [f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in sections.items()]
    return "\n".join(parts)


def _toml_value(value: str) -> str:
    try:
        float(value)
    except ValueError:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return value if value in ("true", "false") else f'"{escaped}"'
    return value


def _write(folder: Path, dataset: Dataset, found: tuning.Tuning, tree: Mapping[str, Any]) -> None:
    verdict = _verdict(found)
    head = f"{found.n_tuned} questions to tune with, {found.n_holdout} kept apart · {found.metric}"
    tables = [_holdout_table(found), *_rung_tables(found)]
    comment = "".join(f"# {line}\n" for line in (f"ragstone eval tune on {dataset.name}", verdict))
    try:
        write_file(folder / RECOMMENDED, comment + toml_of(found.recommended))
        write_file(folder / "tune.json", written_json(dict(tree)))
        write_file(folder / "tune.html", html_page(f"Tuning: {dataset.name}", head, verdict, [], tables, footer=""))
        write_file(folder / "tune.md", markdown_page(f"Tuning: {dataset.name}", head, verdict, tables))
    except OSError as error:
        raise UsageError(f"The results cannot be written to {folder} ({error.strerror}). Choose another with -o.") from error  # fmt: skip


def _verdict(found: tuning.Tuning) -> str:
    if found.holdout is None:
        return "Nothing that was tried is better than the settings as they are."
    low, high = found.holdout.ci
    gain = f"{found.holdout.difference:+.3f} {found.metric} (95 % interval {low:+.3f} to {high:+.3f}) on the questions kept apart"
    if found.recommended:
        return f"Recommended: {_shown(found.best)}: {gain}."
    return f"Keep the settings as they are: the best of the others, {_shown(found.best)}, gives {gain}, which may be chance."


def _shown(settings: tuning.Settings) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items()) or "the settings as they are"


def _holdout_table(found: tuning.Tuning) -> Table:
    rows = [(Cell(text="the settings as they are"), Cell(text=f"{found.current_value:.4f}", number=True))]
    if found.holdout is not None:
        rows.append((Cell(text=_shown(found.best)), Cell(text=f"{found.best_value:.4f}", number=True)))
    note = f"{found.n_holdout} questions that no candidate was chosen by."
    return Table(title="Holdout", note=note, head=("settings", found.metric), rows=tuple(rows))


def _rung_tables(found: tuning.Tuning) -> list[Table]:
    tables = []
    for number, rung in enumerate(found.rungs, start=1):
        rows = tuple(
            (Cell(text=_shown(settings), strong=at < rung.n_kept), Cell(text=f"{value:.4f}", number=True))
            for at, (settings, value) in enumerate(rung.values)
        )
        note = f"{rung.n_questions} questions, {len(rows)} candidates; the first {rung.n_kept} went on."
        tables.append(Table(title=f"Rung {number}", note=note, head=("settings", found.metric), rows=rows))
    return tables
