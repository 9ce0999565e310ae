"""Index forms, boosts, collapse, evidence and explanations on a real store with the default model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from rag import Document, KnowledgeBase, Settings
from rag.errors import UsageError
from rag.searching import Searcher, SearchMemory
from rag.types import Embedder

pytestmark = pytest.mark.model

TODAY = date.today()
DOCUMENTS = (
    Document("Green tea is brewed at 75 degrees for two minutes. Cooler water keeps it sweet.", doc_id="green", title="Brewing",
             metadata={"department": "Kitchen", "date": str(TODAY - timedelta(days=3000))}),
    Document("Green tea is brewed at 75 degrees for two minutes. Cooler water keeps it sweet!", doc_id="twin", title="Brewing again",
             metadata={"department": "Archive", "date": str(TODAY)}),
    Document("Black tea takes boiling water. Oolong lies between the two, at 90 degrees.", doc_id="black", title="Other teas",
             metadata={"department": "Kitchen"}),
    Document("陆羽在唐代写成《茶经》，书中讲了茶的种植、采制和煮饮。", doc_id="classic", title="茶经", metadata={"department": "Library"}),
    Document("The annual report counts visitors. Nothing in it is about drinks.", doc_id="report", title="Annual report 2024", source="reports/2024.md",
             metadata={"department": "Board"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    with opened(folder, embedder) as kb:
        kb.ingest(DOCUMENTS)
    return folder


def opened(home: Path, embedder: Embedder, **values: object) -> KnowledgeBase:
    kb = KnowledgeBase.open(home, settings=Settings().with_values(llm__model="none", **values))
    kb._embedder = embedder
    return kb


@pytest.fixture
def kb(home: Path, embedder: Embedder) -> Iterator[KnowledgeBase]:
    with opened(home, embedder) as kb:
        yield kb


def found(kb: KnowledgeBase, query: str, **options: object) -> list[str]:
    return [hit.doc_id for hit in kb.search(query, **options)]


@pytest.mark.parametrize(
    ("mode", "query", "first"),
    [
        ("fields", "the report of 2024 by the board", "report"), ("fields", "department library", "classic"), ("keywords", "oolong", "black"),
        ("keywords", "《茶经》的作者陆羽", "classic"), ("hierarchical", "《茶经》写的是什么？", "classic"),
        ("tree", "who counts visitors?", "report"), ("hybrid+fields", "annual report of the board", "report"), ("bm25+keywords", "oolong", "black"),
    ],
)  # fmt: skip
def test_each_index_form_finds(kb: KnowledgeBase, mode: str, query: str, first: str) -> None:
    assert found(kb, query, mode=mode)[0] == first


@pytest.mark.parametrize("mode", ["fields", "keywords", "hierarchical", "tree", "list"])
def test_index_forms_obey_filters_and_changes(home: Path, embedder: Embedder, tmp_path: Path, mode: str) -> None:
    with opened(tmp_path, embedder) as kb:
        kb.ingest(DOCUMENTS)
        query = "kitchen department: tea brewed at degrees"
        assert set(found(kb, query, mode=mode, filter="department == 'Kitchen'")) <= {"green", "black"}
        assert "black" in found(kb, query, mode=mode)
        kb.delete("black")
        assert "black" not in found(kb, query, mode=mode)
        kb.ingest(
            [Document("Black tea again, brewed at 99 degrees.", doc_id="new", metadata={"department": "Kitchen"})]
        )
        assert "new" in found(kb, query, mode=mode)


def test_the_list_holds_all_in_order_or_says_why_not(home: Path, embedder: Embedder) -> None:
    with opened(home, embedder) as kb:
        assert sorted(found(kb, "anything", mode="list")) == sorted(one.doc_id for one in DOCUMENTS)
    with opened(home, embedder, search__depth=3) as kb, pytest.raises(UsageError, match="5 chunks.*reads 3 at most"):
        kb.search("anything", mode="list", top_k=3)


def test_an_unknown_mode_names_the_known_ones(kb: KnowledgeBase) -> None:
    with pytest.raises(UsageError, match="hybrid\\+wrong.*Known: hybrid"):
        kb.search("tea", mode="hybrid+wrong")


def test_newer_and_favoured_documents_gain(home: Path, embedder: Embedder) -> None:
    query = "how hot is the water for green tea"
    with opened(home, embedder, search__recency=2.0) as kb:
        assert found(kb, query)[0] == "twin"
    with opened(home, embedder, search__boosts={"department == 'Archive'": -5.0}) as kb:
        assert found(kb, query)[0] == "green"
        assert found(kb, query)[-1] == "twin"


def test_repetitions_collapse_and_the_trace_names_them(home: Path, embedder: Embedder) -> None:
    query = "how hot is the water for green tea"
    with opened(home, embedder, search__collapse=0.97) as kb:
        hits = kb.search(query)
        names = [hit.doc_id for hit in hits]
        assert len({"green", "twin"} & set(names)) == 1
        (step,) = (step for step in hits.trace if step.name == "collapse")
        assert [key.split("#")[0] for pair in step.detail["repeats"].items() for key in pair] in (
            ["twin", "green"],
            ["green", "twin"],
        )


def test_a_depth_of_its_own_for_one_retriever(home: Path, embedder: Embedder) -> None:
    with opened(home, embedder, search__depths={"bm25": 2}, search__depth=4) as kb:
        steps = {step.name: step.n_out for step in kb.search("tea water report visitors degrees", top_k=1).trace}
        assert (steps["recall:bm25"], steps["recall:dense"]) == (2, 4)


def test_settings_of_a_search_can_be_asked_for_in_one_search(kb: KnowledgeBase) -> None:
    def step(name: str, **options: object) -> dict[str, object]:
        return next(one.detail for one in kb.search("green tea water", **options).trace if one.name == name)

    assert step("fuse", fusion="rrf")["method"] == "rrf" and step("fuse")["method"] == "zscore"
    assert step("fuse", weights={"bm25": 0.9})["weights"] == {"dense": 0.5, "bm25": 0.9}
    assert (
        step("collapse", collapse=0.9)["repeats"]
        and step("boost", boosts={"department == 'Board'": 2.0})["gained"] == 1
    )
    assert [len(kb.search("green tea water", mode="bm25", depths={"bm25": 1}, top_k=n)) for n in (1, 3)] == [1, 3]
    assert found(kb, "tea", expand="parent")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fusion": "sum"}, "fusion: "), ({"depths": {"bm52": 3}}, "no retriever 'bm52'"), ({"depths": {"bm25": 0}}, "depths.bm25"),
        ({"weights": {"keyword": 1}}, "no retriever 'keyword'"), ({"weights": {"bm25": float("nan")}}, "weights.bm25"),
        ({"weights": {"fields": -1}}, "weights.fields"), ({"boosts": {"type == 'pdf'": float("inf")}}, "boosts"), ({"mmr": "0.5"}, "MMR"),
        ({"mode": 5}, "mode must be"), ({"filter": 5}, "filter must be"), ({"expand": "bogus"}, "expand must be one of"),
        ({"rerank": "maybe"}, "rerank must be"), ({"rewrite": "yes"}, "rewrite must be"), ({"multi_query": True}, "multi_query must be"),
        ({"history": "abc"}, "history must hold"), ({"history": [("a",)]}, "history must hold"), ({"colour": 1}, "no option 'colour'"),
    ],
)  # fmt: skip
def test_an_option_that_says_nothing_is_refused(kb: KnowledgeBase, options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        kb.search("tea", **options)


def test_sentences_that_speak_to_the_question_are_marked(kb: KnowledgeBase) -> None:
    hit = next(
        hit for hit in kb.search("at how many degrees is oolong brewed", highlight=True) if hit.doc_id == "black"
    )
    assert [hit.text[start:end] for start, end in hit.highlights] == ["Oolong lies between the two, at 90 degrees."]
    classic = kb.search("《茶经》是谁写的", highlight=True)[0]
    assert classic.highlights and classic.doc_id == "classic"
    assert all(not hit.highlights for hit in kb.search("oolong"))


def chunk_id(kb: KnowledgeBase, doc_id: str) -> str:
    return next(chunk.chunk_id for chunk in kb.chunks(doc_id))


def test_why_a_passage_is_found(kb: KnowledgeBase) -> None:
    told = kb.explain("how hot for oolong", chunk_id(kb, "black"), highlight=True)
    assert (told.rank, told.lost_at, told.advice) == (1, "", ())
    assert told.shared_words == ("oolong",)
    assert "hot" in told.missing_words
    assert {one.step for one in told.standings} == {"recall:dense", "recall:bm25", "fuse", "rerank"}


def test_why_a_passage_is_lost(home: Path, embedder: Embedder) -> None:
    query = "how hot is the water for green tea"
    with opened(home, embedder) as kb:
        wanted = chunk_id(kb, "report")
        told = kb.explain(query, wanted, filter="department == 'Kitchen'")
        assert (told.rank, told.lost_at) == (None, "filter")
        told = kb.explain(query, wanted, top_k=2)
        assert told.lost_at == "top_k" and "-k" in told.advice[0]
        told = kb.explain("oolong", wanted, mode="bm25")
        assert told.lost_at == "recall" and "none of the question's words" in told.advice[0]
    with opened(home, embedder, search__depth=1) as kb:
        told = kb.explain("green tea", chunk_id(kb, "report"), mode="dense", top_k=1)
        assert told.lost_at == "recall" and "search.depth=" in told.advice[0]
    with opened(home, embedder, search__collapse=0.97) as kb:
        shown = found(kb, query)
        hidden = "twin" if "green" in shown else "green"
        assert kb.explain(query, chunk_id(kb, hidden)).lost_at == "collapse"
    with opened(home, embedder) as kb:
        told = kb.explain(query, chunk_id(kb, "twin"), mmr=0.1, top_k=2)
        other = kb.explain(query, chunk_id(kb, "green"), mmr=0.1, top_k=2)
        lost = told if told.rank is None else other
        assert lost.lost_at == "mmr" and "cosine" in lost.reason


def test_a_passage_that_is_not_there(kb: KnowledgeBase) -> None:
    with pytest.raises(UsageError, match="No document of that id"):
        kb.explain("tea", "nowhere#0-10")
    with pytest.raises(UsageError, match="has 1 chunks, none of that span"):
        kb.explain("tea", "green#0-3")


def test_a_chinese_question_over_english_documents_is_moved_and_no_other(embedder: Embedder, tmp_path: Path) -> None:
    question = "绿茶用多少度的水冲泡？"
    with opened(tmp_path / "english", embedder) as kb:
        kb.ingest([one for one in DOCUMENTS if one.doc_id != "classic"])
        assert Searcher(kb, kb.catalog.collection("default"), SearchMemory()).main_language() == "en"
        moved = {hit.doc_id: hit.score for hit in kb.search(question, mode="dense")}
        own = {hit.doc_id: hit.score for hit in kb.search("green tea", mode="dense")}
        kb.settings = kb.settings.with_values(search__cross_language=False)
        assert {hit.doc_id: hit.score for hit in kb.search(question, mode="dense")} != moved
        assert {hit.doc_id: hit.score for hit in kb.search("green tea", mode="dense")} == own
    with opened(tmp_path / "mixed", embedder) as kb:
        kb.ingest([*DOCUMENTS, Document("绿茶的水温是七十五度。", doc_id="zh", title="冲泡")])
        assert Searcher(kb, kb.catalog.collection("default"), SearchMemory()).main_language() == ""
        assert kb.search(question, mode="dense")[0].doc_id == "zh"


def test_what_was_asked_once_costs_no_model_call(home: Path, embedder: Embedder, tmp_path: Path) -> None:
    class Counting:
        """The default model, counting what it embeds."""

        def __init__(self) -> None:
            self.n = 0

        def __getattr__(self, name: str) -> object:
            return getattr(embedder, name)

        def embed_queries(self, texts: list[str]) -> object:
            self.n += len(texts)
            return embedder.embed_queries(texts)

    question = f"how hot is water for oolong, asked at {tmp_path.name}?"
    rankings = []
    for n_calls in (1, 0):
        counting = Counting()
        with opened(home, counting, search__cross_language=False) as kb:  # type: ignore[arg-type]
            kb._checked = {embedder.fingerprint: counting}  # type: ignore[dict-item]
            rankings.append([(hit.chunk_id, hit.score) for hit in kb.search(question)])
        assert counting.n == n_calls
    assert rankings[0] == rankings[1]


def test_a_damaged_cache_costs_the_cache_alone(home: Path, embedder: Embedder) -> None:
    with opened(home, embedder) as kb:
        before = [(hit.chunk_id, hit.score) for hit in kb.search("a question about oolong")]
        kb.replies._db.execute("UPDATE replies SET reply = '*' || substr(reply, 9)")  # type: ignore[union-attr]
        assert [(hit.chunk_id, hit.score) for hit in kb.search("a question about oolong")] == before


def test_dense_counts_less_where_its_best_hit_is_what_chance_would_bring(tmp_path: Path, embedder: Embedder) -> None:
    """Rooms that are all alike, asked about what none of them holds; then about the one document that is unlike them."""
    rooms = [Document(f"Room {n} has {n % 5 + 1} windows and a door of oak.", doc_id=f"room-{n}") for n in range(80)]
    with opened(tmp_path, embedder) as kb:
        kb.ingest([*rooms, Document("Oolong tea is brewed with water of ninety degrees.", doc_id="oolong")])

        def trust(question: str, **options: object) -> float:
            step = next(one for one in kb.search(question, **options).trace if one.name == "fuse")
            return float(step.detail.get("trust", {}).get("dense", 1.0))

        assert trust("the accounts of the year before last") < 1
        assert trust("How hot is the water for oolong tea?") == 1
        assert trust("the accounts of the year before last", filter="type == 'text'") == 1
        kb.settings = kb.settings.with_values(search__dense_trust=False)
        assert trust("the accounts of the year before last") == 1
