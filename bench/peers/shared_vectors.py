"""Each text embedded once for all peers that use sentence-transformers, so that large sets can be compared in an hour.

The ranking stays each framework's own; times are nobody's any more. The model computes in bfloat16, as ours does on the same
machine, with vectors of a cosine of 0.9999 and more to float32.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def share_vectors(file: str) -> None:
    """From now on SentenceTransformer.encode looks into `file` first, and keeps there what it computes."""
    import torch
    from sentence_transformers import SentenceTransformer

    compute = SentenceTransformer.encode
    signature = inspect.signature(compute)
    kept = sqlite3.connect(file)
    kept.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB)")

    @functools.wraps(compute)
    def encode(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, inputs, *args, **kwargs).arguments
        texts: Sequence[str] = [inputs] if isinstance(inputs, str) else list(inputs)
        how = {name: given.get(name) for name in ("prompt_name", "prompt", "normalize_embeddings")}
        keys = [hashlib.sha256((json.dumps(how) + text).encode("utf-8", "replace")).hexdigest() for text in texts]
        vectors = {key: found for key in keys if (found := _kept(kept, key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        if missing:
            self.to(torch.bfloat16)
            new = compute(
                self, list(missing.values()), batch_size=32, show_progress_bar=False, convert_to_tensor=True, **how
            )
            vectors |= dict(zip(missing, new.float().cpu().numpy(), strict=True))
            with kept:
                rows = [(key, vectors[key].astype(np.float32).tobytes()) for key in missing]
                kept.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        rows_ = np.stack([vectors[key] for key in keys]) if keys else np.zeros((0, 0), np.float32)
        if given.get("convert_to_tensor"):
            rows_ = torch.from_numpy(rows_)
        return rows_[0] if isinstance(inputs, str) else rows_

    SentenceTransformer.encode = encode


def hash_vectors() -> None:
    """From now on passages get the vectors of bench/hashing.py. A question's is the hash's, too, after the model computed one."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from bench.hashing import HashingEmbedder

    hashed = HashingEmbedder().embed_passages
    try:
        from txtai.models import Pooling as Model  # it has its own way to call a model
    except ImportError:
        from sentence_transformers import SentenceTransformer as Model
    compute = Model.encode
    signature = inspect.signature(compute)

    @functools.wraps(compute)
    def encode(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        texts = next(iter([*given.values()][1:]))
        alone = isinstance(texts, str)
        if alone or len(texts) == 1:
            compute(self, *args, **kwargs)
        vectors = hashed([texts] if alone else [str(text) for text in texts])
        return vectors[0] if alone else vectors

    Model.encode = encode


def _kept(connection: sqlite3.Connection, key: str) -> Any:
    row = connection.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
    return np.frombuffer(row[0], np.float32).copy() if row else None
