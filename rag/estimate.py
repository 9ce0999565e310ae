"""What an import would take, told from a sample of its chunks and from what earlier imports took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.catalog import Catalog
from rag.catalog_rows import vector_key
from rag.types import Chunk, Embedder, Estimate

SAMPLE_CHUNKS = 192  # that are embedded to measure the speed
KEPT_TEXTS = 4_000  # texts held for the sample; every n-th is kept of more
WRITE_S_PER_CHUNK = 0.0012  # before any import has measured it


@dataclass(slots=True)
class Sample:
    """Counts every chunk and keeps some of the texts, evenly over the import."""

    n_chunks: int = 0
    n_tokens: int = 0
    texts: list[tuple[int, str]] = field(default_factory=list)
    stride: int = 1

    def add(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            if self.n_chunks % self.stride == 0:
                self.texts.append((chunk.n_tokens, chunk.indexed_text))
            self.n_chunks += 1
            self.n_tokens += chunk.n_tokens
        if len(self.texts) > KEPT_TEXTS:
            self.texts, self.stride = self.texts[::2], self.stride * 2


def estimate(
    sample: Sample, *, embedder: Embedder, catalog: Catalog, collection: str, seconds_so_far: float
) -> Estimate:
    """The seconds that the import itself will take: reading and cutting as they were measured just now, embedding by the
    sample, writing by earlier imports.

    What the cache of vectors holds costs nothing; its share is taken from the sample.
    """
    if not sample.n_chunks:
        return Estimate(seconds=round(seconds_so_far, 3), n_chunks=0, n_tokens=0, n_to_embed=0)
    ordered = sorted(sample.texts)
    keys = [vector_key(embedder.fingerprint, text) for _, text in ordered]
    cached = catalog.vectors(keys)
    missing = [one for one, key in zip(ordered, keys, strict=True) if key not in cached]
    share = len(missing) / len(ordered)
    step = max(1, len(missing) // SAMPLE_CHUNKS)
    picked = missing[step // 2 :: step]
    per_token = _seconds_per_token(picked, embedder)
    seconds = (
        seconds_so_far + per_token * sample.n_tokens * share + _write_seconds(catalog, collection) * sample.n_chunks
    )
    return Estimate(
        seconds=round(seconds, 3), n_chunks=sample.n_chunks, n_tokens=round(sample.n_tokens * share),
        n_to_embed=round(sample.n_chunks * share),
    )  # fmt: skip


def _seconds_per_token(picked: Sequence[tuple[int, str]], embedder: Embedder) -> float:
    """Of the embedding model, on texts as long as the import's. The first call, which loads and warms up, is not counted."""
    n_tokens = sum(n for n, _ in picked)
    if not n_tokens:
        return 0.0
    texts = [text for _, text in picked]
    embedder.embed_passages(texts[:: max(1, len(texts) // 48)])  # kernels for texts of these lengths are made now
    start = time.perf_counter()
    embedder.embed_passages(texts)
    return (time.perf_counter() - start) / n_tokens


def _write_seconds(catalog: Catalog, collection: str) -> float:
    """Seconds per chunk that is cut and written, from the last imports; a usual value when there are none."""
    seconds = n_chunks = 0.0
    for report in catalog.last_reports(collection):
        seconds += float(report.get("seconds_by_step", {}).get("write", 0.0))
        n_chunks += int(report.get("n_chunks", 0))
    return seconds / n_chunks if n_chunks >= 50 else WRITE_S_PER_CHUNK
