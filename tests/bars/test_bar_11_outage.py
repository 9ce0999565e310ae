"""Bar 11: a Milvus that is killed in the middle of an import loses nothing; searches go on by words, and say so."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rag.errors import StoreError
from rag.ingest import Progress
from rag.knowledge_base import KnowledgeBase
from rag.types import Hits
from tests import milvus_server
from tests.bars.harness import FULL, says, write_documents

pytestmark = [pytest.mark.bar, pytest.mark.slow]

REAL = pytest.param("milvus-2.3.5", marks=pytest.mark.skipif(not FULL, reason="the real server: make bars"))


@pytest.mark.parametrize("kind", ["engine", REAL])
def test_an_outage(kind: str, tmp_path: Path, tiny_settings: Any) -> None:
    server = (milvus_server.tcp_server if kind == "engine" else milvus_server.real_server)(tmp_path)
    docs = write_documents(tmp_path / "docs", 400 if FULL else 120, paragraphs=4)
    uri = server.__enter__()
    mode = "hybrid" if kind == "engine" else "dense"
    settings = tiny_settings.with_values(milvus__uri=uri, milvus__timeout_s=3, search__mode=mode, search__cache=False)
    try:
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
            acknowledged = killed_in_the_middle(kb, server, docs)
            first = timed(kb, "The tea of garden 3.")
            again = timed(kb, "The tea of garden 3.")
            for hits, _ in (first, again):
                assert "garden 3." in hits[0].text and "cannot be reached" in hits.warnings[0], (
                    "by words, and it says so"
                )
            assert {info.doc_id for info in kb.documents() if info.version} == acknowledged
            server.__enter__()
            began = time.monotonic()
            while timed(kb, "The tea of garden 3.")[0].warnings:  # it comes back by itself
                assert time.monotonic() - began < 60
            full_after_s = time.monotonic() - began
            report = kb.ingest(docs)
            assert (report.failed, len(kb.documents())) == (0, len(list(docs.iterdir())))
            assert acknowledged <= {info.doc_id for info in kb.documents() if info.version}
            checked = kb.verify()
            assert checked.ok, checked.problems
        says("11", server=kind, acknowledged=len(acknowledged), by_words_after_s=round(first[1], 2), then_s=round(again[1], 3),
             full_again_after_s=round(full_after_s, 1))  # fmt: skip
    finally:
        server.__exit__()


def killed_in_the_middle(kb: KnowledgeBase, server: Any, docs: Path) -> set[str]:
    """Kill the server once a third of the documents is written; what was live when the import failed."""
    reached = threading.Event()

    def seen(progress: Progress) -> None:
        if progress.n_done * 3 > progress.n_total:
            reached.set()

    def kill() -> None:
        reached.wait()
        server.kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(StoreError):
        kb.ingest(docs, progress=seen)
    reached.set()
    killer.join()
    return {info.doc_id for info in kb.documents() if info.version}


def timed(kb: KnowledgeBase, query: str) -> tuple[Hits, float]:
    began = time.monotonic()
    hits = kb.search(query, top_k=3)
    return hits, time.monotonic() - began
