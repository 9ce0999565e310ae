"""A PostgreSQL catalog beside a Milvus that listens on a port: what several machines share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from rag import Document, KnowledgeBase
from rag.accounts import Accounts
from rag.catalog import Catalog
from rag.errors import CatalogError, LockedError
from tests.milvus_server import tcp_server
from tests.postgres_server import Server, running

MODES = ("bm25", "dense", "hybrid")


def documents(n: int = 25) -> list[Document]:
    return [
        Document(f"The tea of garden {i} is steeped {i} minutes.\n\n绿茶第{i}号的水温是八十度。", doc_id=f"d{i}", title=f"Garden {i}",
                 metadata={"number": i})
        for i in range(n)
    ]  # fmt: skip


def found(kb: KnowledgeBase) -> list[list[tuple[str, float]]]:
    """Scores to 4 places: the two stores need not agree on the last bit."""
    return [
        sorted((hit.chunk_id, round(hit.score, 4)) for hit in kb.search(query, mode=mode, top_k=1000))
        for query in ("garden 7", "绿茶 水温")
        for mode in MODES
    ]


def test_two_machines_share_a_catalog_and_a_store(
    postgres: Server, tiny_settings, tiny_kb: KnowledgeBase, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    """Two homes stand for two machines. Everything that works on SQLite is done once, and compared with it."""
    (tmp_path / "milvus").mkdir()
    with tcp_server(tmp_path / "milvus") as uri:
        shared = tiny_settings.with_values(catalog__url=postgres.database(), milvus__uri=uri)
        with (
            KnowledgeBase.open(tmp_path / "one", settings=shared) as one,
            KnowledgeBase.open(tmp_path / "two", settings=shared) as two,
        ):
            report = one.ingest(documents())
            assert (report.added, report.failures) == (25, ())
            tiny_kb.ingest(documents())
            assert found(two) == found(one) == found(tiny_kb)
            assert two.ingest(documents()).unchanged == 25

            changed = [Document("Coffee\x00from Brazil.", doc_id="d3"), *documents()[4:8]]
            assert (two.ingest(changed).updated, two.ingest(changed).unchanged) == (1, 5)
            assert one.text("d3") == "Coffee\ufffdfrom Brazil." and one.delete("d9") == 1
            assert [hit.doc_id for hit in two.search("tea", filter="number == 12", mode="bm25")] == ["d12"]
            assert two.verify().ok and one.verify(repair=True).ok

            with one._writing():
                with pytest.raises(LockedError, match="Another machine"):
                    two.ingest(documents())
                assert len(two.search("tea")), "searches do not wait"

            two.export_snapshot(tmp_path / "snapshot")
            one.import_snapshot(tmp_path / "snapshot", replace=True)
            assert found(two) == found(one) and two.verify().ok
            with KnowledgeBase.open(tmp_path / "lite", settings=tiny_settings) as lite:
                lite.import_snapshot(tmp_path / "snapshot")
                assert found(lite) == found(two)


def test_reindex_on_postgresql(postgres: Server, tiny_settings, other_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.database()
    with KnowledgeBase.open(tmp_path / "one", settings=tiny_settings.with_values(catalog__url=url)) as kb:
        kb.ingest(documents())
    with KnowledgeBase.open(tmp_path / "one", settings=other_settings.with_values(catalog__url=url)) as kb:
        assert kb.reindex().n_documents == 25 and kb.verify().ok
        assert kb.ingest(documents()).unchanged == 25


def test_what_a_key_uses_adds_up_from_the_first_moment_of_a_day(postgres: Server) -> None:
    n, n_keys, together = 8, 5, Barrier(8)
    catalog = Catalog(postgres.database())
    accounts = Accounts(catalog.engine)

    def spend(key_id: str) -> None:
        together.wait()
        accounts.spend(key_id, n_requests=1, n_tokens=2)

    with ThreadPoolExecutor(n) as threads:
        for at in range(n_keys):
            list(threads.map(spend, [f"key{at}"] * n))
    assert [accounts.spent(f"key{at}") for at in range(n_keys)] == [(n, 2 * n)] * n_keys
    catalog.close()


def test_a_server_that_goes_away_is_one_sentence(tiny_settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with running() as server:
        settings = tiny_settings.with_values(catalog__url=server.database())
        kb = KnowledgeBase.open(tmp_path / "one", settings=settings)
        kb.ingest(documents(2))
    with kb, pytest.raises(CatalogError, match="stopped answering") as caught:
        kb.search("tea")
    assert "\n" not in str(caught.value)
