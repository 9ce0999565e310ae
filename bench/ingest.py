"""What an import costs: beside the embedding model alone, beside other frameworks, again when nothing or little changed,
and at size. Prints one JSON document.

    python -m bench.ingest whole estimate peers again size [--passages N] [--files N] [--chunks N]

The machine may be shared and noisy: pairs are measured in turn in the same run, and ratios of medians are what counts.
The peers run in environments of their own: bench/peers/setup.sh makes them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bench.run as run_bench
from bench.hashing import HashingEmbedder
from bench.memory import Peak
from rag.chunking import chunk_document
from rag.embedding import open_embedder
from rag.ingest import chunk_size
from rag.knowledge_base import KnowledgeBase
from rag.models import models_dir
from rag.settings import Settings
from rag.types import Document, Embedder, ParsedDocument

REPO = Path(__file__).resolve().parent.parent
CORPORA = {"2wiki": "sets/2wikimultihopqa/corpus.jsonl.gz", "powershell-docs": "scale/powershell-docs.jsonl.gz"}
PEERS = ("langchain", "llamaindex", "haystack")
WARMUP = 16  # passages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["whole", "again", "size"], metavar="PART", help="whole, estimate, peers, again, size")  # fmt: skip
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data", help="folder of the corpora")
    parser.add_argument("--passages", type=int, default=600, help="of each corpus; 0: all")
    parser.add_argument("--files", type=int, default=10_000, help="for `again`")
    parser.add_argument("--chunks", type=int, default=100_000, help="for `size`")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--models", default="all-minilm-l6-v2,e5-small-zh-en", help="for `peers`")
    options = parser.parse_args()
    settings = Settings.load().with_values(llm__model="none")
    texts = {name: corpus(options.data / path, options.passages) for name, path in CORPORA.items()}
    texts = {name: found for name, found in texts.items() if found} or {"words": made_up(options.passages or 6000)}
    measure: dict[str, Callable[[], Any]] = {
        "whole": lambda: {name: whole(settings, found, options.repeat) for name, found in texts.items()},
        "estimate": lambda: {name: estimated(settings, found) for name, found in texts.items()},
        "peers": lambda: {
            model: peers(settings.with_values(embedding__model=model), next(iter(texts.values())), options.repeat)
            for model in options.models.split(",")
        },
        "again": lambda: {
            "hashing model": again(settings, HashingEmbedder(), options.files),
            settings.embedding.model: again(settings, open_embedder(settings.embedding, settings.models), min(options.files, options.passages or 6000)),
        },
        "size": lambda: size(settings, options.chunks),
    }  # fmt: skip
    result = {"machine": {"python": platform.python_version(), "cores": os.cpu_count()}}
    print(json.dumps(result | {part: measure[part]() for part in options.parts}, indent=2))


# ---------------------------------------------------------------- beside the model alone


def whole(settings: Settings, texts: Sequence[tuple[str, str]], repeat: int) -> dict[str, Any]:
    """Imports into fresh homes, each beside the embedding model alone on the very texts that the import embeds."""
    embedder = open_embedder(settings.embedding, settings.models)
    documents = [Document(text, doc_id=str(at), title=title) for at, (title, text) in enumerate(texts)]
    indexed = [chunk for document in documents for chunk in indexed_texts(settings, embedder, document)]
    embedder.embed_passages(indexed[:WARMUP])
    imports, bare = [], []
    for _ in range(repeat):
        bare.append(run_bench.seconds(lambda: embedder.embed_passages(indexed)))
        imports.append(import_seconds(settings, embedder, documents))
    return {
        "documents": len(documents),
        "chunks": len(indexed),
        "chunks_per_s": round(len(indexed) / statistics.median(imports), 1),
        "whole_over_model_alone": round(statistics.median(imports) / statistics.median(bare), 3),
        "seconds": {"whole": rounded(imports), "model_alone": rounded(bare)},
    }


def indexed_texts(settings: Settings, embedder: Embedder, document: Document) -> list[str]:
    chunks = chunk_document(
        ParsedDocument(text=document.text, title=document.title, type="text"), doc_id=document.doc_id,
        tokens=embedder.token_offsets, size=chunk_size(settings.chunk, embedder), overlap=settings.chunk.overlap,
        context_tokens=settings.chunk.context_tokens, overhead=embedder.passage_overhead(),
    )  # fmt: skip
    return [chunk.indexed_text for chunk in chunks]


def import_seconds(settings: Settings, embedder: Embedder, documents: Sequence[Document]) -> float:
    """One import into an empty home whose engine runs already and whose model is open."""
    with empty_kb(settings, embedder) as kb:
        kb.ingest([Document("The first document.", doc_id="first")])
        return run_bench.seconds(lambda: kb.ingest(documents))


def estimated(settings: Settings, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What a dry run says that an import of files takes, and what it then takes."""
    embedder = open_embedder(settings.embedding, settings.models)
    with tempfile.TemporaryDirectory() as folder, empty_kb(settings, embedder) as kb:
        for at, (title, text) in enumerate(texts):
            (Path(folder) / f"{at:05}.md").write_text(f"# {title or at}\n\n{text}\n", encoding="utf-8")
        kb.ingest([Document("The first document.", doc_id="first")])
        told = kb.ingest(folder, dry_run=True).estimate
        taken = kb.ingest(folder)
        assert told is not None
        return {
            "files": len(texts),
            "chunks": {"estimated": told.n_chunks, "written": taken.n_chunks},
            "seconds": {"estimated": told.seconds, "taken": taken.seconds},
            "estimated_over_taken": round(told.seconds / taken.seconds, 3),
        }


# ---------------------------------------------------------------- beside other frameworks


def peers(settings: Settings, texts: Sequence[tuple[str, str]], repeat: int) -> dict[str, Any]:
    """The same passages and model imported by us and by each peer in its default way, in turn.

    from_start: a process of its own each, from its start to the last document stored, what it loads included.
    """
    embedder = open_embedder(settings.embedding, settings.models)
    model = Path(settings.embedding.model)
    folder = model if model.is_dir() else models_dir(settings.models.dir) / settings.embedding.model
    passages = [f"{title}\n{text}" if title else text for title, text in texts]
    documents = [Document(text, doc_id=str(at)) for at, text in enumerate(passages)]
    embedder.embed_passages([text[:40] for text in passages[:WARMUP]])
    indexed = [chunk for document in documents for chunk in indexed_texts(settings, embedder, document)]
    alone: list[float] = []
    there = [name for name in PEERS if _python(name).exists()]
    taken: dict[str, list[float]] = {name: [] for name in ("ragstone", *there)}
    from_start: dict[str, list[float]] = {name: [] for name in taken}
    size = chunk_size(settings.chunk, embedder)
    for _ in range(repeat):
        alone.append(run_bench.seconds(lambda: embedder.embed_passages(indexed)))
        taken["ragstone"].append(import_seconds(settings, embedder, documents))
        for name in there:
            taken[name].append(_peer_seconds(name, folder, size, passages))
        for name in from_start:
            from_start[name].append(_peer_seconds(name, folder, size, passages, from_start=True))
    ours = statistics.median(taken["ragstone"])
    ratios = {f"{name}_over_ragstone": round(statistics.median(taken[name]) / ours, 2) for name in there}
    most = {
        f"{name}_over_our_model_alone": round(statistics.median(taken[name]) / statistics.median(alone), 2)
        for name in there
    }
    whole = {name: statistics.median(times) for name, times in from_start.items()}
    starts = {f"{name}_over_ragstone": round(whole[name] / whole["ragstone"], 2) for name in there}
    missing = [name for name in PEERS if name not in there]
    return {"passages": len(passages), **ratios, **most,
            "from_start": {**starts, "seconds": {name: rounded(times) for name, times in from_start.items()}}, "seconds": {"our_model_alone": rounded(alone), **{name: rounded(times) for name, times in taken.items()}},
            **({"not_installed": missing} if missing else {})}  # fmt: skip


def _python(peer: str) -> Path:
    return Path(sys.executable) if peer == "ragstone" else REPO / ".peers" / peer / "bin" / "python"


def _peer_seconds(
    name: str, model: Path, chunk_tokens: int, passages: Sequence[str], *, from_start: bool = False
) -> float:
    """The import alone, everything loaded and warm; or all that somebody waits for who has started nothing yet."""
    records = [{"id": str(at), "text": text} for at, text in enumerate(passages)]
    warmup = [] if from_start else records[:WARMUP]
    job = {"model": str(model), "chunk_tokens": chunk_tokens, "warmup": warmup, "runs": [records]}
    script = REPO / "bench" / "peers" / f"{name}_ingest.py"
    began = time.time()
    ended = subprocess.run([str(_python(name)), str(script)], input=json.dumps(job), capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{name} failed: {ended.stderr[-2000:]}")
    told = json.loads(ended.stdout.splitlines()[-1])
    return float(told["ended"] - began if from_start else told["seconds"][0])


# ---------------------------------------------------------------- again


def again(settings: Settings, embedder: Embedder, n_files: int) -> dict[str, Any]:
    """A folder imported, imported again unchanged, and again after every hundredth file changed."""
    with tempfile.TemporaryDirectory() as folder, empty_kb(settings, embedder) as kb:
        paths = write_files(Path(folder), n_files)
        kb.ingest([Document("The first document.", doc_id="first")])
        first = run_bench.seconds(lambda: kb.ingest(folder))
        unchanged = run_bench.seconds(lambda: kb.ingest(folder))
        for path in paths[::100]:
            path.write_text(path.read_text(encoding="utf-8") + "\nOne line more.\n", encoding="utf-8")
        changed = run_bench.seconds(lambda: kb.ingest(folder))
    return {
        "files": n_files,
        "first_ms_per_file": round(1000 * first / n_files, 2),
        "unchanged_ms_per_file": round(1000 * unchanged / n_files, 3),
        "one_percent_changed_over_first": round(changed / first, 4),
        "seconds": {"first": round(first, 2), "unchanged": round(unchanged, 2), "one_percent_changed": round(changed, 2)},
    }  # fmt: skip


def write_files(folder: Path, n: int) -> list[Path]:
    paths = []
    for at, text in enumerate(run_bench.passages(n)):
        path = folder / f"{at // 500:03}" / f"{at:06}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths


# ---------------------------------------------------------------- size


def size(settings: Settings, n_chunks: int) -> dict[str, Any]:
    """Many chunks with a model that costs nothing: memory, and whether the last ones take longer than the first."""
    marks: list[tuple[int, float]] = []
    with empty_kb(settings, HashingEmbedder()) as kb, Peak() as peak:
        kb.ingest([Document("The first document.", doc_id="first")])
        began = time.perf_counter()
        report = kb.ingest(
            _endless(n_chunks), progress=lambda now: marks.append((now.n_chunks, time.perf_counter() - began))
        )
        seconds = time.perf_counter() - began
    first, last = _tenth(marks, report.n_chunks, 0), _tenth(marks, report.n_chunks, 9)
    return {
        "chunks": report.n_chunks,
        "chunks_per_s": round(report.n_chunks / seconds, 1),
        "rss_mb": round(peak.mb),
        "engine_rss_mb": round(peak.engine_mb),
        "last_tenth_over_first": round(last / first, 3),
    }


def _endless(n_chunks: int) -> Iterator[Document]:
    """Documents of about ten chunks each, until there are n."""
    for at in range(-(-n_chunks // 10)):
        words = (f"tea{at} river{(at * 31 + step) % 997} garden{step % 89} leaf" for step in range(720))
        yield Document(" ".join(words), doc_id=f"d{at}")


def _tenth(marks: Sequence[tuple[int, float]], total: int, index: int) -> float:
    """Seconds per chunk in one tenth of the import. Batches are written whole, so the marks next to its ends count."""
    start = min(marks, key=lambda mark: abs(mark[0] - total * index / 10))
    end = min(marks, key=lambda mark: abs(mark[0] - total * (index + 1) / 10))
    return max(end[1] - start[1], 1e-9) / max(end[0] - start[0], 1)


# ---------------------------------------------------------------- common


@contextmanager
def empty_kb(settings: Settings, embedder: Embedder) -> Iterator[KnowledgeBase]:
    with tempfile.TemporaryDirectory() as home, KnowledgeBase.open(home, settings=settings) as kb:
        kb._embedder = embedder
        yield kb


def corpus(path: Path, n: int) -> list[tuple[str, str]]:
    """(title, text) of the first n passages of a file of JSON lines; none if the file is not there."""
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows: Iterator[Mapping[str, str]] = map(json.loads, lines)
        found = [(str(row.get("title", "")), str(row["text"])) for row in rows]
    return [one for one in found if one[1].strip()][: n or None]


def made_up(n: int) -> list[tuple[str, str]]:
    return [(f"Passage {at}", text) for at, text in enumerate(run_bench.passages(n))]


def rounded(times: Sequence[float]) -> list[float]:
    return [round(one, 2) for one in times]


if __name__ == "__main__":
    main()
