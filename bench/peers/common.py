"""What the peers' scripts share: arguments in, one JSON line out. Runs in each peer's own environment."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = os.environ.get("TOKENIZERS_PARALLELISM", "true")
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

WORDS_PER_TOKEN = 0.7  # for splitters that count words


def main(prepare: Callable[[str, int], Callable[[list[dict[str, str]]], int]]) -> None:
    """stdin: {"model": folder, "chunk_tokens": n, "runs": [[{"id", "text"}...]...]}. stdout: {"seconds": [...], "chunks": n,
    "ended": the clock's time when the last document was stored}.

    prepare(model, chunk_tokens) loads everything, which is not timed, and returns the import that is.
    """
    job: dict[str, Any] = json.load(sys.stdin)
    run = prepare(job["model"], job["chunk_tokens"])
    if job["warmup"]:
        run(job["warmup"])
    seconds, n_chunks = [], 0
    for passages in job["runs"]:
        began = time.perf_counter()
        n_chunks = run(passages)
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "chunks": n_chunks, "ended": time.time()}))
