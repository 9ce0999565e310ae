"""An embedding model that costs nothing: vectors drawn from a hash of the text. For what is not about the model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


class HashingEmbedder:
    """Fulfils rag.types.Embedder. The same text has the same vector on every machine; texts are not alike."""

    name = "hashing"
    dim = 384
    max_tokens = 512
    fingerprint = "hashing-384-1"

    def embed_passages(self, texts: Sequence[str]) -> Any:
        """A slice of one table of random numbers, picked by the text's checksum: no generator is seeded per text."""
        starts = [zlib.crc32(text.encode("utf-8", "surrogatepass")) % len(_TABLE) for text in texts]
        vectors = np.stack([_TABLE[start] for start in starts]) if starts else np.zeros((0, self.dim), np.float32)
        return vectors.astype(np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Any:
        return self.embed_passages(texts)

    def token_offsets(self, text: str) -> Any:
        spans = [match.span() for match in _WORD.finditer(text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def passage_overhead(self) -> int:
        return 2


class HashedPassages(HashingEmbedder):
    """A question takes as long as `model`, an embedder, takes for it; its vector is the hash's."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def embed_queries(self, texts: Sequence[str]) -> Any:
        self._model.embed_queries(texts)
        return super().embed_queries(texts)


def _table(n: int = 8192) -> Any:
    rows = np.random.default_rng(20_261_128).standard_normal((n, HashingEmbedder.dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


_TABLE = _table()
