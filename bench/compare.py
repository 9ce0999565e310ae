"""The same documents, questions and embedding model in ragstone, LlamaIndex, LangChain, Haystack and txtai.

    bench/peers/setup.sh
    python -m bench.compare SET [--model ALIAS] [--questions N] [--once] [--vectors FILE] [-o FILE]

SET is a BEIR folder. Each runs in a process and an environment of its own, with its own usual hybrid search: quality,
seconds to start and to import, what importing again does (not with --once), milliseconds a question, memory. Prints one
JSON document.

With --vectors each text is embedded once for LlamaIndex, LangChain and Haystack together: quality is compared in a fraction
of the time, and times are not told.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ingest import REPO
from eval.comparison import compare
from eval.dataset import Dataset, load_dataset
from eval.evaluation import latency_summary
from eval.metrics import Scores, score
from eval.runs import ranking
from rag.embedding import open_embedder
from rag.ingest import chunk_size
from rag.models import models_dir
from rag.settings import Settings

PEERS = ("llamaindex", "langchain", "haystack", "txtai")
METRICS = ("nDCG@10", "recall@5", "recall@10", "MRR@10")
DEPTH = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, nargs="+", metavar="SET")
    parser.add_argument("--model", default="all-minilm-l6-v2", help="default: all-minilm-l6-v2")
    parser.add_argument("--questions", type=int, metavar="N", help="the first N of each set")
    parser.add_argument("--once", action="store_true", help="do not import again: half the time for large sets")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="of the texts that were embedded: quality alone")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the JSON there, too")
    options = parser.parse_args()
    settings = Settings().with_values(embedding__model=options.model, llm__model="none")
    result = {
        folder.name: side_by_side(
            settings, load_dataset(folder, limit=options.questions), again=not options.once, vectors=options.vectors
        )
        for folder in options.set
    }
    text = json.dumps({"model": options.model, "command": " ".join(["python -m bench.compare", *sys.argv[1:]]), "sets": result}, indent=1)  # fmt: skip
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def side_by_side(
    settings: Settings,
    dataset: Dataset,
    names: Sequence[str] = ("ragstone", *PEERS),
    *,
    again: bool = True,
    vectors: Path | None = None,
) -> dict[str, Any]:
    """Every framework that is installed, one after the other; the others are listed under not_installed."""
    folder = model_folder(settings)
    embedder = open_embedder(settings.embedding, settings.models)
    job = {
        "model": str(folder),
        "models_dir": str(models_dir(settings.models.dir)),
        "prompts": prompts(folder),
        "chunk_tokens": chunk_size(settings.chunk, embedder),
        "depth": DEPTH,
        "again": again,
        "vectors": str(vectors.resolve()) if vectors else "",
        "passages": [{"id": one.doc_id, "text": f"{one.title}\n{one.text}" if one.title else one.text} for one in dataset.corpus()],
        "questions": [{"id": query_id, "text": question} for query_id, question in dataset.questions.items()],
    }  # fmt: skip
    there = [name for name in names if is_installed(name)]
    found: dict[str, Any] = {}
    scores: dict[str, Scores] = {}
    for name in there:
        with tempfile.TemporaryDirectory() as home:
            told = run_framework(name, {**job, "home": home})
        run = {query_id: ranking(map(tuple, hits)) for query_id, hits in told["runs"].items()}
        scores[name] = score(run, dataset.qrels, METRICS)
        found[name] = _figures(told, scores[name], times=vectors is None)
    pairs = compare(scores, metrics=["nDCG@10"]) if "ragstone" in scores else ()
    against = {pair.b: pair for pair in pairs if pair.a == "ragstone"}
    for name, pair in against.items():
        found[name]["ragstone_minus_it"] = {"nDCG@10": round(pair.difference, 4), "ci": [round(one, 4) for one in pair.ci], "differs": pair.differs}  # fmt: skip
    missing = [name for name in names if name not in there]
    return {
        "passages": len(job["passages"]), "questions": len(job["questions"]), "systems": found,
        **({"not_installed": missing} if missing else {}),
    }  # fmt: skip


def model_folder(settings: Settings) -> Path:
    model = Path(settings.embedding.model)
    return model if model.is_dir() else models_dir(settings.models.dir) / settings.embedding.model


def prompts(folder: Path) -> dict[str, str]:
    """What the model wants before a question and a passage, so that each framework is told in its own way."""
    card = folder / "config_sentence_transformers.json"
    prompts = json.loads(card.read_text(encoding="utf-8")).get("prompts") or {} if card.is_file() else {}
    return {"query": prompts.get("query", ""), "document": prompts.get("document", "")}


def _figures(told: dict[str, Any], scores: Scores, *, times: bool) -> dict[str, Any]:
    quality = {name: round(value, 4) for name, value in scores.means().items()}
    if not times:
        return {**quality, "entries": told["entries"]}
    return {
        **quality,
        "start_s": round(told["start_s"], 2),
        "import_s": round(told["import_s"], 2),
        "entries": told["entries"],
        **({"again_s": round(told["again_s"], 2), "entries_again": told["entries_again"]} if "again_s" in told else {}),
        "query_ms": latency_summary(told["latency_ms"]),
        "rss_mb": round(told["rss_mb"]),
    }


def run_framework(name: str, job: dict[str, Any]) -> dict[str, Any]:
    """What its script in bench/peers tells of `job` (bench/peers/searching.py says what that holds)."""
    script = REPO / "bench" / "peers" / f"{name}_search.py"
    told = json.dumps({**job, "launched": time.time()})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [str(_python(name)), str(script)], input=told, capture_output=True, text=True, env=environment
    )
    if ended.returncode:
        sys.exit(f"{name} failed: {ended.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def is_installed(name: str) -> bool:
    return _python(name).exists()


def _python(name: str) -> Path:
    return Path(sys.executable) if name == "ragstone" else REPO / ".peers" / name / "bin" / "python"


if __name__ == "__main__":
    main()
