"""Bar 2: 20 tenants with documents of their own, half of them for one reader; no path leads to a document of others."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from bench.hashing import HashingEmbedder
from graph import KnowledgeGraph
from rag.errors import FilterError, UsageError
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from rag.threads import Threads
from rag.types import Document
from tests.bars.harness import BACK_ENDS, FULL, says

pytestmark = pytest.mark.bar

TENANTS, DOCUMENTS = (20, 50) if FULL else (4, 10)
QUERIES = 2000 if FULL else 120
INJECTIONS = [
    'x" or 1 == 1', "' or true or '", "doc_id != ''", 'doc_id like "%"', "type == 'text' or type != 'text'", "not (doc_id == '')",
    "doc_id in ['a', 'b']", "array_contains(acl, 'all')", "acl == 'all'", "meta[\"acl\"] == 'x' or doc_id != ''", "tenant == 't1'",
    "1 == 1", "source like '%' or source like '%'", "page >= 0 or page < 0", "title != 'nothing'", '"] or true or ["', "\\' or 1==1 --",
    "doc_id == 'x') or (doc_id != ''", "(doc_id != '')", "meta.secret != 'x'",
]  # fmt: skip


class Everything:
    """All tenants' documents, and which canary is whose."""

    def __init__(self, kb: KnowledgeBase, back_end: str) -> None:
        self.kb, self.back_end = kb, back_end
        self.threads = Threads(kb.catalog.engine)
        self.canaries: dict[str, list[tuple[str, bool]]] = {}  # tenant → (canary, for the reader alone)

    @property
    def modes(self) -> tuple[str, ...]:
        """What this back end can do: a Milvus older than 2.5 has no full-text search, and the graph begins with one."""
        return ("dense",) if self.back_end == "Milvus 2.3.5" else ("bm25", "dense", "hybrid", "graph")

    def view(self, tenant: str, *names: str) -> KnowledgeBase:
        return self.kb.view(principal=Principal(tenant=tenant, names=names))

    def foreign(self, text: str, tenant: str, reader: bool) -> list[str]:
        """Canaries in a text that this principal must not see."""
        return [
            canary for other, found in self.canaries.items() for canary, private in found
            if canary in text and (other != tenant or (private and not reader))
        ]  # fmt: skip


@pytest.fixture(scope="module", params=["embedded", "Milvus 2.3.5"])
def everything(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any
) -> Iterator[Everything]:
    at = tmp_path_factory.mktemp("tenants")
    with BACK_ENDS[request.param](at / "server") as uri:
        settings = tiny_settings.with_values(milvus__uri=uri, milvus__timeout_s=60)
        with KnowledgeBase.open(at / "home", settings=settings) as kb:
            kb._embedder = HashingEmbedder()
            yield filled(Everything(kb, request.param))


def filled(made: Everything) -> Everything:
    for n in range(TENANTS):
        tenant = f"t{n}"
        canaries = [(f"Canary{secrets.token_hex(8)}", at % 2 == 1) for at in range(DOCUMENTS)]
        made.canaries[tenant] = canaries
        view = made.view(tenant)
        for private in (False, True):
            documents = [
                Document(f"{canary} is a director of the shared budget plan number {at}.", doc_id=f"doc-{at}",
                         metadata={"secret": canary})
                for at, (canary, mine) in enumerate(canaries) if mine == private
            ]  # fmt: skip
            view.ingest(documents, acl=("u:reader",) if private else ())
        KnowledgeGraph.build(made.view(tenant, "u:reader"))
        made.threads.create(f"{tenant}/reader", f"About {canaries[1][0]}")
    return made


def queries(everything: Everything) -> Iterator[tuple[str, str, str, bool]]:
    """(tenant, query, mode, whether the reader asks): for own canaries, foreign ones, and words that all have."""
    tenants = list(everything.canaries)
    while True:
        for at, tenant in enumerate(tenants):
            other = tenants[(at + 1) % len(tenants)]
            for mode in everything.modes:
                for canary, _ in islice(everything.canaries[other], 0, DOCUMENTS, max(1, DOCUMENTS // 5)):
                    yield tenant, canary, mode, False
                for canary, _ in islice(everything.canaries[tenant], 1, DOCUMENTS, max(1, DOCUMENTS // 5)):
                    yield tenant, canary, mode, bool(len(canary) % 2)
                yield tenant, "shared budget plan", mode, True


def test_no_query_finds_what_is_another_ones(everything: Everything) -> None:
    n_foreign = n_hits = 0
    for tenant, query, mode, reader in islice(queries(everything), QUERIES):
        if not reader:  # what one who may see it was shown is remembered for nobody else
            everything.view(tenant, "u:reader").search(query, mode=mode, top_k=50)
        view = everything.view(tenant, *(("u:reader",) if reader else ()))
        hits = view.search(query, mode=mode, top_k=50)
        shown = repr(list(hits)) + repr(hits.trace)
        n_foreign += len(everything.foreign(shown.replace(query, ""), tenant, reader))
        n_hits += len(hits)
    says("2", back_end=everything.back_end, queries=QUERIES, tenants=TENANTS, hits=n_hits, foreign=n_foreign)
    assert n_foreign == 0 and n_hits > QUERIES


def test_own_documents_are_found(everything: Everything) -> None:
    for tenant, canaries in everything.canaries.items():
        for reader in (False, True):
            view = everything.view(tenant, *(("u:reader",) if reader else ()))
            for canary, private in canaries[:4]:
                for mode in everything.modes:
                    found = canary in repr(list(view.search(canary, mode=mode, top_k=50)))
                    assert found == (reader or not private), mode


def test_what_is_not_theirs_cannot_be_downloaded(everything: Everything) -> None:
    guest, reader = everything.view("t0"), everything.view("t0", "u:reader")
    for at, (canary, private) in enumerate(everything.canaries["t0"]):
        doc_id = f"doc-{at}"
        assert canary in reader.text(doc_id) and canary in repr([*reader.chunks(doc_id), *reader.blocks(doc_id)])
        if private:
            assert guest.documents(doc_id) == guest.chunks(doc_id) == guest.blocks(doc_id) == []
            with pytest.raises(UsageError):
                guest.text(doc_id)
        else:
            assert canary in guest.text(doc_id)


def test_conversations_are_their_owners_own(everything: Everything) -> None:
    threads, tenants = everything.threads, list(everything.canaries)
    for tenant in tenants:
        (mine,) = threads.find(f"{tenant}/reader")
        assert everything.canaries[tenant][1][0] in mine.title
        for other in (*(one for one in tenants if one != tenant), "", "%", "'"):
            assert threads.get(mine.thread_id, f"{other}/reader") is None
            assert threads.find(f"{other}/reader", everything.canaries[tenant][1][0]) == []


def test_filters_do_not_widen_what_is_seen(everything: Everything) -> None:
    """Each injection as a filter, as a query, as a document's id and as a collection's name."""
    n_refused = 0
    for tenant in list(everything.canaries)[:2]:
        view = everything.view(tenant)
        for text in INJECTIONS:
            for mode in everything.modes:
                try:
                    hits = view.search("shared budget plan", mode=mode, filter=text, top_k=50)
                    assert everything.foreign(repr(list(hits)), tenant, False) == [], text
                except FilterError:
                    n_refused += 1
                assert everything.foreign(repr(list(view.search(text, mode=mode, top_k=50))), tenant, False) == []
            assert view.documents(text) == [] and view.chunks(text) == []
            with pytest.raises(UsageError):
                view.text(text)
            other = everything.kb.view(collection=text, principal=view.principal)
            for mode in ("bm25", "dense"):
                assert not other.search("shared budget plan", mode=mode)
    n = 2 * len(INJECTIONS) * (2 * len(everything.modes) + 3)
    says("2", back_end=everything.back_end, injections=n, refused=n_refused, foreign=0)


def test_counts_listings_and_values_are_the_readers_own(everything: Everything) -> None:
    n_private = sum(private for _, private in everything.canaries["t0"])
    for tenant in everything.canaries:
        guest, reader = everything.view(tenant), everything.view(tenant, "u:reader")
        for view, is_reader, n in ((guest, False, DOCUMENTS - n_private), (reader, True, DOCUMENTS)):
            assert view.catalog.counts(view.collection)[0] == n == len(view.documents())
            shown = (
                repr(view.documents())
                + repr(view.catalog.field_values(view.collection))
                + repr(view.near_duplicates(0.3))
            )
            assert everything.foreign(shown, tenant, is_reader) == []
        assert guest.collections() == ["default"]


def test_who_is_taken_off_the_list_is_out_on_the_next_query(everything: Everything) -> None:
    canary = next(canary for canary, private in everything.canaries["t0"] if private)
    at = [one for one, _ in everything.canaries["t0"]].index(canary)
    reader = everything.view("t0", "u:reader")
    assert canary in repr(list(reader.search(canary, mode="dense", top_k=50)))
    assert reader.set_access(f"doc-{at}", ["u:somebody-else"])
    for mode in everything.modes:
        assert canary not in repr(list(reader.search(canary, mode=mode, top_k=50)))
    assert everything.view("t0", "u:somebody-else").set_access(f"doc-{at}", ["u:reader"])
    assert canary in repr(list(reader.search(canary, mode="dense", top_k=50)))
