"""An import on Ray: the same collection as a local one, also when workers are killed on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import KnowledgeBase
from rag.errors import DocumentError, UsageError
from rag.settings import ParseSettings
from tests.milvus_server import tcp_server
from tests.postgres_server import Server

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="the extra ragstone[ray] is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("documents")
    for i in range(150):
        body = "\n\n".join(f"## Part {k}\n\nGreen tea and water of garden {i * k}, by the river." for k in range(1, 8))
        (made / f"{i:03}.md").write_text(f"# Garden {i}\n\n{body}\n\n绿茶第{i}号。\n", encoding="utf-8")
    (made / "bad.pdf").write_bytes(b"%PDF-1.4 broken")
    (made / "empty.txt").write_bytes(b"")
    return made


@pytest.fixture
def shared(postgres: Server, tiny_settings, tmp_path: Path) -> Iterator:  # type: ignore[no-untyped-def, type-arg]
    (tmp_path / "milvus").mkdir()
    with tcp_server(tmp_path / "milvus") as uri:
        yield tiny_settings.with_values(catalog__url=postgres.database(), milvus__uri=uri)


def state(kb: KnowledgeBase) -> dict[str, object]:
    assert kb.verify().ok
    return {
        "documents": [(info.source, info.state, info.version, info.code, info.n_chunks) for info in kb.documents()],
        "chunks": {info.doc_id: [(c.chunk_id, c.indexed_text) for c in kb.chunks(info.doc_id)] for info in kb.documents()},
        "found": [sorted((hit.chunk_id, round(hit.score, 3)) for hit in kb.search("green tea 绿茶", mode=mode, top_k=2000)) for mode in ("bm25", "dense")],
    }  # fmt: skip


def test_two_workers_killed_on_the_way(
    folder: Path, shared, tiny_kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    from rag import ray_engine

    tiny_kb.ingest(folder)
    wanted = state(tiny_kb)
    killed: list[int] = []
    plain = ray_engine.RayEngine.call

    def call(self: ray_engine.RayEngine, method: str, *arguments: object) -> object:
        made = plain(self, method, *arguments)
        n_calls[method] = n_calls.get(method, 0) + 1
        if (method, n_calls[method]) in (
            ("parse", 20),
            ("parse", 90),
            ("embed_with_tokens", 3),
            ("embed_with_tokens", 9),
        ):
            victim = self.pids()[len(killed) % 2]
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
        return made

    n_calls: dict[str, int] = {}
    monkeypatch.setattr(ray_engine.RayEngine, "call", call)
    with KnowledgeBase.open(tmp_path / "one", settings=shared) as kb:
        report = kb.ingest(folder, engine="ray", workers=2)
        assert len(set(killed)) == 4, n_calls
        assert (report.added, report.failed) == (150, 2)
        assert report.n_embedded == report.n_chunks
        assert state(kb) == wanted, "nothing lost, nothing twice, the same failures"
        again = kb.ingest(folder)
        assert (again.unchanged, again.failed) == (150, 2), "and a local import finds nothing to do"


def test_workers_refuse_what_a_local_import_refuses(tiny_settings, tiny_kb: KnowledgeBase) -> None:  # type: ignore[no-untyped-def]
    from rag.ray_engine import RayEngine

    with RayEngine(tiny_settings, tiny_kb.embedder, workers=1) as engine:
        parsers = engine.parsers(ParseSettings())
        assert parsers.parse(b"# Tea\n\nGreen.\n", "a.md").title == "Tea"
        with pytest.raises(DocumentError) as caught:
            parsers.parse(b"%PDF-1.4 broken", "a.pdf")
        assert caught.value.code == "E_CORRUPT"
        assert engine.embedder.embed_passages([]).shape[0] == 0


def test_a_cluster_that_is_not_there(tiny_settings, tiny_kb: KnowledgeBase, folder: Path) -> None:  # type: ignore[no-untyped-def]
    kb = KnowledgeBase.open(tiny_kb.home, settings=tiny_settings.with_values(ingest__ray_address="127.0.0.1:9"))
    with kb, pytest.raises(UsageError, match="Ray does not answer") as caught:
        kb.ingest(folder, engine="ray")
    assert "\n" not in str(caught.value)
