"""What each step of retrieval is worth: nDCG@10 with it against hybrid without it, on many sets, with paired intervals.

    python -m bench.ablation [DATA] -o OUT [--sets A,B] [--systems A,B] [--against hybrid] [--limit N] [--table-only]

DATA: a folder with `sets/NAME/{corpus,queries,qrels}` (default ../shared/data). Each system on each set is one
`ragstone eval run`, whose run file is kept in OUT/SET/runs; what is there already is not run again, so a run that was
stopped goes on. OUT/SET/home holds the collection. The table, in Markdown, goes to stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from eval import commands
from eval.comparison import bootstrap_means
from eval.metrics import Scores, score
from eval.runs import read_qrels, read_run
from eval.systems import split_names
from rag import KnowledgeBase, Settings
from rag.errors import RagstoneError

METRIC = "nDCG@10"
SETS = "xquad-en,xquad-zh,cmrc2018,cranfield,musique-200,squad-dev,domainrag,scifact"
SYSTEMS = (
    "bm25,dense,hybrid(fusion=rrf),hybrid(fusion=minmax),hybrid(depth=20),hybrid(dense_weight=0.6),hybrid+mmr,hybrid(collapse=0.95),"
    "hybrid+keywords,hybrid+hierarchical,hybrid+fields,hybrid+rerank"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", type=Path)
    parser.add_argument("-o", "--out", required=True, type=Path)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--systems", default=SYSTEMS)
    parser.add_argument("--against", default="hybrid")
    parser.add_argument("--limit", type=int, help="the first N questions of each set")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of all systems")
    parser.add_argument("--table-only", action="store_true", help="of the runs that are there")
    options = parser.parse_args()
    systems = [options.against, *split_names(options.systems)]
    sets = options.sets.split(",")
    if not options.table_only:
        settings = Settings.load(overrides=dict(pair.split("=", 1) for pair in options.set))
        for name in sets:
            for system in systems:
                _run(options.data / "sets" / name, system, options.out, name, options.limit, settings)
    print(table(options.out, sets, systems, options.against))


def _run(data: Path, system: str, out: Path, name: str, limit: int | None, settings: Settings) -> None:
    if _run_file(out, name, system).is_file():
        return

    @contextmanager
    def opened(collection: str | None, changes: Mapping[str, str]) -> Iterator[KnowledgeBase]:
        changed = settings.with_values(**{key.replace(".", "__"): value for key, value in changes.items()})
        with KnowledgeBase.open(out / name / "home", collection=collection or "default", settings=changed) as kb:
            yield kb

    try:
        commands.run(data, limit=limit, systems=[system], metrics=[METRIC], out_dir=out / name, open_kb=opened)
    except RagstoneError as error:
        print(f"{name}, {system}: {error}", file=sys.stderr)
    else:
        print(f"{name}, {system}: done", file=sys.stderr)


def _run_file(out: Path, name: str, system: str) -> Path:
    return out / name / "runs" / f"{commands.file_name(system)}.trec"


# ---------------------------------------------------------------- table


def table(out: Path, sets: Sequence[str], systems: Sequence[str], against: str) -> str:
    """Markdown: points of nDCG@10 that each system gains over `against` on each set, and on the mean of the sets."""
    found = {name: _scores(out, name, systems) for name in sets}
    found = {name: scores for name, scores in found.items() if against in scores}
    heads = [f"{name}, {len(scores[against].query_ids)}" for name, scores in found.items()]
    lines = [f"| {' | '.join(['', *heads, 'mean', '95 %'])} |", f"| {' | '.join(['---'] * (len(heads) + 3))} |"]
    plain = [scores[against].mean(METRIC) for scores in found.values()]
    lines.append(f"| {against} | " + " | ".join(f"{value:.3f}" for value in [*plain, np.mean(plain)]) + " | |")
    for system in systems:
        gains = {name: _gains(scores, system, against) for name, scores in found.items() if system in scores}
        if system == against or not gains:
            continue
        cells = [f"{100 * gains[name].mean():+.1f}" if name in gains else "–" for name in found]
        mean, low, high = pooled(list(gains.values()))
        lines.append(
            f"| {system} | {' | '.join(cells)} | **{100 * mean:+.1f}** | {100 * low:+.1f} … {100 * high:+.1f} |"
        )
    return "\n".join(lines)


def _scores(out: Path, name: str, systems: Sequence[str]) -> dict[str, Scores]:
    there = {system: path for system in systems if (path := _run_file(out, name, system)).is_file()}
    if not there:
        return {}
    qrels, _ = read_qrels(out / name / commands.QRELS_FILE)
    return {system: score(read_run(path)[0], qrels, [METRIC]) for system, path in there.items()}


def _gains(scores: Mapping[str, Scores], system: str, against: str) -> np.ndarray:
    return scores[system].array(METRIC) - scores[against].array(METRIC)


def pooled(gains: Sequence[np.ndarray], *, seed: int = 0) -> tuple[float, float, float]:
    """Mean over the sets of the mean gain, with its 95 % interval; each set's questions are drawn again by themselves."""
    means = np.mean([bootstrap_means(one[:, None], seed=seed + at)[:, 0] for at, one in enumerate(gains)], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([one.mean() for one in gains])), float(low), float(high)


if __name__ == "__main__":
    main()
