"""Index forms, boosts, collapse, evidence and explanations on a real store with the default model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from rag import Document, KnowledgeBase, Settings
from rag.errors import UsageError
from rag.explaining import _words as told_words
from rag.principals import Principal
from rag.searching import Searcher, SearchMemory
from rag.types import Embedder
from tests.fakes.chat import ScriptedChat

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


def detail(kb: KnowledgeBase, query: str, mode: str) -> dict[str, object]:
    """What the trace of a search says of its retriever."""
    step = next(one for one in kb.search(query, mode=mode, explain=True).trace if one.name == f"recall:{mode}")
    return dict(step.detail)


def test_fields_find_rows_of_tables_by_column_and_value(embedder: Embedder, tmp_path: Path) -> None:
    people = [("Ada Hill", "Berlin"), ("Bo Stone", "Oslo"), ("Cy Marsh", "Rome"), ("Di Wood", "Paris")] * 8
    lines = [f"{name} {n},{city},{n}" for n, (name, city) in enumerate(people)]
    (tmp_path / "staff.csv").write_text("\n".join(["name,office,desk", *lines]), encoding="utf-8")
    with opened(tmp_path / "home", embedder) as kb:
        kb.ingest(DOCUMENTS)
        kb.ingest(tmp_path / "staff.csv", chunk_size=64, overlap=0)
        hit = kb.search("who has desk 22?", mode="fields", top_k=1)[0]
        assert "| Cy Marsh 22 | Rome | 22 |" in hit.text
        assert detail(kb, "who has desk 22?", "fields")["rows"][0] == "name: Cy Marsh 22 · office: Rome · desk: 22"  # type: ignore[index]
        assert detail(kb, "department library", "fields")["documents"][0] == "classic"  # type: ignore[index]


def test_the_trace_says_what_a_form_followed(rooms: Path, embedder: Embedder) -> None:
    with opened(rooms, embedder) as kb:
        assert detail(kb, "it creaks", "keywords")["keywords"] == {"creak": ["thing-13", "thing-23", "thing-3"]}
        documents = detail(kb, "elm chair", "hierarchical")["documents"]
        assert len(documents) == 10 and {"thing-3", "thing-13", "thing-23"} <= set(documents)  # type: ignore[arg-type, call-overload]
        tree = detail(kb, "elm chair", "tree")
        assert tree["documents"] == documents
        assert all("~" in node and node.split("#")[0] in documents for node in tree["nodes"])  # type: ignore[attr-defined, operator]
        assert tree["nodes"]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_summaries_are_a_choice_of_each_search(rooms: Path, embedder: Embedder, mode: str) -> None:
    with opened(rooms, embedder) as kb:
        every, none, only = (
            [hit.chunk_id for hit in kb.search("which pot holds tea?", mode=mode, top_k=12, summaries=which)]
            for which in ("all", "none", "only")
        )
        assert {"~" in one for one in every} == {True, False}
        assert len(none) == 12 and len(only) >= 9
        assert not any("~" in one for one in none) and all("~" in one for one in only)
        kb.settings = kb.settings.with_values(search__summaries="none")
        assert [hit.chunk_id for hit in kb.search("which pot holds tea?", mode=mode, top_k=12)] == none
        with pytest.raises(UsageError, match="all, none, only"):
            kb.search("tea", summaries="some")


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


@pytest.mark.parametrize("mode", ["hierarchical", "tree"])
def test_documents_that_a_filter_leaves_are_looked_into_however_far_they_are(
    rooms: Path, embedder: Embedder, mode: str
) -> None:
    with opened(rooms, embedder) as kb:
        question, few = "which pot holds tea?", "kind == 'paper' and year > 1725"
        hits = kb.search(question, mode=mode, filter=few, explain=True)
        assert {hit.doc_id for hit in hits} == {"thing-28", "thing-29"}
        step = next(one for one in hits.trace if one.name == f"recall:{mode}")
        assert set(step.detail["documents"]) == {"thing-28", "thing-29"}
        assert kb.explain(question, hits[-1].chunk_id, mode=mode, filter=few).rank == len(hits)


def test_views_share_what_the_forms_are_built_of_and_readers_do_not(embedder: Embedder, tmp_path: Path) -> None:
    with opened(tmp_path, embedder) as kb:
        kb.ingest([Document(f"Note {n} about tea.", doc_id=f"d{n}", title=f"Note {n}") for n in range(3)])
        kb.set_access("d0", ["u:ann"])
        bob = Principal(names=("u:bob",))
        for _ in range(2):
            assert set(found(kb.view(), "tea", mode="keywords")) == {"d0", "d1", "d2"}
            assert set(found(kb.view(principal=bob), "tea", mode="keywords")) == {"d1", "d2"}
        built = [index for _, index in kb._memory._forms.values()]
        assert len(built) == 2
        kb.set_access("d1", ["u:ann"])  # as many documents as before, of the same versions
        kb.set_access("d0", ["u:bob"])
        assert set(found(kb.view(principal=bob), "note tea", mode="fields")) == {"d0", "d2"}
        kb.search("tea", mode="keywords")
        kb.delete("d2")
        kb.ingest([Document("Note 3 about tea.", doc_id="d3", title="Note 3")])
        assert set(found(kb, "tea", mode="keywords")) == {"d0", "d1", "d3"}


def test_the_list_holds_all_in_order_or_says_why_not(home: Path, embedder: Embedder) -> None:
    with opened(home, embedder) as kb:
        assert sorted(found(kb, "anything", mode="list")) == sorted(one.doc_id for one in DOCUMENTS)
    with opened(home, embedder, search__depth=3) as kb, pytest.raises(UsageError, match="5 chunks.*reads 3 at most"):
        kb.search("anything", mode="list", top_k=3)
    with opened(home, embedder, search__depth=3) as kb:
        assert set(found(kb, "anything", mode="list", filter="department == 'Kitchen'")) == {"green", "black"}


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


def test_every_setting_of_a_search_holds_in_that_search_alone(rooms: Path, embedder: Embedder) -> None:
    with opened(rooms, embedder) as kb:
        question = "which pot holds tea?"
        wide, narrow = (kb.search(question, top_k=1, expand="neighbours", neighbours=n)[0] for n in (2, 0))
        assert len(wide.text) > len(narrow.text)
        given = {"top_k", "mode", "mmr", "summaries", "expand"}  # options themselves
        for name in Settings().search.model_dump().keys() - given:
            kb.search(question, top_k=2, **{name: getattr(kb.settings.search, name)})
        assert kb.settings.search == Settings().search


def test_a_remedy_for_what_was_asked_of_one_search_is_a_setting(kb: KnowledgeBase) -> None:
    question, options = "green tea water report visitors", {"mode": "bm25", "depth": 1, "top_k": 1}
    lost = kb.explain(question, chunk_id(kb, "black"), **options)
    assert lost.rank is None and lost.remedies
    for one in lost.remedies:
        changed = kb.view(
            settings=kb.settings.with_values(**{k.replace(".", "__"): v for k, v in one.settings.items()})
        )
        left = {name: value for name, value in options.items() if f"search.{name}" not in one.settings}
        assert "black" in found(changed, question, **{**left, **one.options})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fusion": "sum"}, "fusion: "), ({"depths": {"bm52": 3}}, "depths: there is no retriever 'bm52'"), ({"depths": {"bm25": 0}}, "depths.bm25"),
        ({"weights": {"keyword": 1}}, "no retriever 'keyword'"), ({"weights": {"bm25": float("nan")}}, "weights.bm25"),
        ({"weights": {"fields": -1}}, "weights.fields"), ({"boosts": {"type == 'pdf'": float("inf")}}, "boosts"), ({"boosts": {"year > 1": 1e308}}, "boosts"), ({"recency": 1e308}, "recency: "),
        ({"weights": {"bm25": 1e308}}, "weights.bm25"), ({"mmr": "0.5"}, "MMR"),
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
    assert told.dropped_words == ("for",)


def test_why_a_passage_is_lost(home: Path, embedder: Embedder) -> None:
    query = "how hot is the water for green tea"
    with opened(home, embedder) as kb:
        wanted = chunk_id(kb, "report")
        told = kb.explain(query, wanted, filter="department == 'Kitchen'")
        assert (told.rank, told.lost_at) == (None, "filter")
        told = kb.explain(query, wanted, top_k=2)
        assert told.lost_at == "top_k" and "-k" in told.advice[0]
        told = kb.explain("oolong", wanted, mode="bm25")
        assert told.lost_at == "recall" and "none of the question's words" in told.reason
    with opened(home, embedder, search__depth=1) as kb:
        told = kb.explain("green tea", chunk_id(kb, "report"), mode="dense", top_k=1)
        assert told.lost_at == "recall" and "asked for 1" in told.reason and "-k" in told.advice[0]
    with opened(home, embedder, search__collapse=0.97) as kb:
        shown = found(kb, query)
        hidden = "twin" if "green" in shown else "green"
        told = kb.explain(query, chunk_id(kb, hidden))
        assert told.lost_at == "collapse" and chunk_id(kb, "green" if hidden == "twin" else "twin") in told.reason
    with opened(home, embedder) as kb:
        told = kb.explain(query, chunk_id(kb, "twin"), mmr=0.1, top_k=2)
        other = kb.explain(query, chunk_id(kb, "green"), mmr=0.1, top_k=2)
        lost = told if told.rank is None else other
        assert lost.lost_at == "mmr" and "cosine" in lost.reason


ROOMS = [
    Document(
        f"# {thing}\n\nThe {thing} stands in room {n} and was made in {1700 + n}.\n\n## Use\n\n{more[0]}\n\n## More\n\n{more[1]}",
        doc_id=f"thing-{n}", title=thing, metadata={"year": 1700 + n, "kind": kind},
    )
    for n, (thing, kind, *more) in enumerate((
        ("green teapot", "pot", "It holds tea for six.", "Tea is poured warm."), ("red teapot", "pot", "It holds tea for six!", "Tea is poured warm."),
        ("oak table", "wood", "Six people sit at it.", "It is two metres long."), ("elm chair", "wood", "One sits on it.", "It creaks."),
        ("brass lamp", "metal", "It gives warm light.", "Its shade is green."), ("iron kettle", "metal", "It boils water for tea.", "It whistles."),
        ("茶壶", "pot", "这把茶壶可以泡六人份的茶。", "水温九十度。"), ("铜灯", "metal", "灯光温暖。", "灯罩是绿色的。"),
        ("map of Wales", "paper", "Rivers are blue.", "It was printed in London."), ("letter", "paper", "It asks for tea and paper.", "It is two pages long."),
    ) * 3)
]  # fmt: skip
TROUBLES: tuple[tuple[dict[str, object], dict[str, object]], ...] = (  # settings, options of the search
    ({}, {"top_k": 2}), ({}, {"mode": "bm25"}), ({}, {"mode": "dense", "top_k": 1}), ({"search__depth": 3}, {"top_k": 2}),
    ({"search__depths": {"bm25": 2}}, {"mode": "bm25", "top_k": 1}), ({"search__depths": {"dense": 1}}, {"top_k": 3}),
    ({}, {"filter": "year > 1715", "top_k": 3}), ({}, {"filter": "page < 5"}), ({}, {"mmr": 0.1, "top_k": 3}), ({"search__depth": 4}, {"mmr": 0.5, "top_k": 2}),
    ({"rerank__threshold": 0.4}, {"top_k": 4}), ({"rerank__depth": 2, "rerank__threshold": -9.0}, {"top_k": 4}),
    ({"search__boosts": {"kind == 'wood'": 9.0}}, {"top_k": 3}), ({"search__collapse": 0.8}, {"top_k": 4}), ({"search__collapse": 0.8}, {"top_k": 2, "mmr": 0.3}),
    ({}, {"mode": "keywords"}), ({}, {"mode": "fields", "top_k": 2}), ({}, {"mode": "hierarchical"}), ({}, {"mode": "tree", "top_k": 4}),
    ({"search__depth": 5, "search__collapse": 0.8}, {"mode": "hybrid+fields", "top_k": 3, "mmr": 0.4, "filter": "kind != 'pot'"}),
    ({}, {"mode": "bm25", "filter": "kind == 'paper'", "summaries": "none", "top_k": 2}), ({}, {"summaries": "only", "top_k": 2}),
    ({}, {"mode": "hybrid+keywords", "top_k": 1}), ({"search__fusion": "rrf"}, {"top_k": 1}), ({}, {"mode": "auto", "top_k": 1}),
)  # fmt: skip
QUESTIONS = ("which pot holds tea?", "茶壶里能泡多少茶？", "what is it?", "paper printed in 1708", "metal lamps")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    with opened(folder, embedder, enrich__summaries="tree", enrich__group=2, enrich__room_tokens=0) as kb:
        kb.ingest(ROOMS, chunk_size=32, overlap=0)
    return folder


@pytest.mark.parametrize(("values", "options"), TROUBLES)
def test_every_remedy_brings_the_passage_back(
    rooms: Path, embedder: Embedder, values: dict[str, object], options: dict[str, object]
) -> None:
    """Many passages and questions: what is called shown is shown, and with each remedy the search has it."""
    with opened(rooms, embedder, **values) as kb:
        every = [chunk.chunk_id for one in ROOMS for chunk in kb.chunks(one.doc_id)]
        n_remedies = 0
        for number, question in enumerate(QUESTIONS[len(str(options)) % 3 :: 2]):
            shown = {hit.chunk_id: hit.rank for hit in kb.search(question, **options)}
            for wanted in every[number::29]:
                told = kb.explain(question, wanted, **options)
                assert told.rank == shown.get(wanted)
                assert bool(told.rank) is (told.lost_at == "")
                assert told.rank or told.remedies, (question, wanted, told)
                for one in told.remedies:
                    changed = {key.replace(".", "__"): value for key, value in one.settings.items()}
                    view = kb.view(settings=kb.settings.with_values(**changed))
                    found = [hit.chunk_id for hit in view.search(question, **{**options, **one.options})]
                    assert wanted in found, (question, wanted, one)
                    n_remedies += 1
        assert n_remedies


def test_the_step_that_is_named_is_the_one_that_lost_it(rooms: Path, embedder: Embedder) -> None:
    question = "which pot holds tea?"
    with opened(rooms, embedder) as kb:
        plain = [hit.chunk_id for hit in kb.search(question, top_k=30)]
        last = plain[25]
        assert kb.explain(question, last, top_k=5, mmr=0.9).lost_at == "top_k"  # it never was among the five
        told = kb.explain("is it the?", last, mode="bm25")
        assert (told.lost_at, told.shared_words, told.missing_words, told.dropped_words) == (
            "analyser",
            (),
            (),
            ("is", "it", "the"),
        )
        summary = next(one for one in plain if "~" in one)
        assert "is a summary" in kb.explain(question, summary, mode="keywords").reason
        assert kb.explain(question, summary, summaries="none").lost_at == "summaries"
        assert "keywords of its document" in kb.explain("creaks", plain[0], mode="keywords").reason
    with opened(rooms, embedder, search__boosts={"kind == 'wood'": 9.0}) as kb:
        told = kb.explain(question, plain[0], top_k=3)
        assert told.lost_at == "boost" and {"search.boosts": {}} in [one.settings for one in told.remedies]
    with opened(rooms, embedder, rerank__threshold=-9.0) as kb:
        told = kb.explain(question, plain[25], top_k=30)
        assert told.lost_at == "rerank" and "reads the first 20" in told.reason
        assert any("rerank.depth" in one.settings for one in told.remedies)


@pytest.mark.parametrize(
    ("query", "text"),
    [("city", "cities"), ("fish", "ﬁsh"), ("full", "Ｆｕｌｌ"), ("京大", "北京大学"), ("cafe", "cafés"), ("covid", "COVID-19"), ("c", "C++"),
     ("c++", "C++"), ("1000", "1,000"), ("who", "who"), ("is the", "is the"), ("赢得", "谁赢得了"), ("谁", "谁"), ("don", "don't")],
)  # fmt: skip
def test_the_words_shown_are_those_that_full_text_search_compares(
    tmp_path: Path, embedder: Embedder, query: str, text: str
) -> None:
    with opened(tmp_path, embedder) as kb:
        kb.ingest([Document(f"{text} filler", doc_id="a"), Document("filler", doc_id="b")])
        told = kb.explain(query, chunk_id(kb, "a"), mode="bm25")
        assert bool(told.rank) is bool(told.shared_words)
        assert bool(told.lost_at == "analyser") is not bool(told.shared_words or told.missing_words)


@pytest.mark.parametrize(
    ("question", "text", "shared", "missing", "dropped"),
    [
        ("什么是绿茶的水温？", "绿茶的水温是八十度", ("是", "绿茶", "的", "水温"), (), ("什么",)),
        ("北京大学在哪里", "北京大学生很多", ("北京大学",), ("在",), ("哪里",)), ("绿茶水温", "茶水很热", ("茶水",), ("绿茶", "水温"), ()),
        ("茶", "绿茶很香", (), (), ()), ("hot tea 的温度", "tea is hot", ("hot", "tea"), ("的", "温度"), ()),
    ],
)  # fmt: skip
def test_words_are_told_whole(
    question: str, text: str, shared: tuple[str, ...], missing: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    """Pairs of characters, which the index has beside them, are no words to a person."""
    assert told_words(question, text) == (shared, missing, dropped)


def test_a_filter_read_from_the_question_is_named(rooms: Path, embedder: Embedder) -> None:
    with opened(rooms, embedder) as kb:
        reply = json.dumps({"conditions": ["kind == 'metal'"], "query": ["a kind of metal"]})
        kb._chat, kb._chat_opened = ScriptedChat(lambda _messages: reply), True
        told = kb.explain(
            "which metal lamp gives light?", chunk_id(kb, "thing-3"), auto_filter=True, mode="bm25", rewrite=True
        )
        assert told.lost_at == "auto-filter" and told.remedies[0].options["auto_filter"] is False


def test_the_owner_asks_why_somebody_does_not_find_it(embedder: Embedder, tmp_path: Path) -> None:
    with opened(tmp_path, embedder) as kb:
        kb.ingest([Document("The secret launch code is 1234.", doc_id="secret")], acl=("u:ann",))
        wanted, bob = chunk_id(kb, "secret"), Principal(names=("u:bob",))
        told = kb.explain("launch code", wanted, principal=bob)
        assert told.lost_at == "access" and "u:ann" in told.reason and "u:bob" in told.reason
        assert kb.explain("launch code", wanted, principal=Principal(names=("u:ann",))).rank == 1
        with pytest.raises(UsageError, match="No document of that id"):
            kb.view(principal=bob).explain("launch code", wanted)
        with pytest.raises(UsageError, match="Only the home's owner"):
            kb.view(principal=bob).explain("launch code", wanted, principal=Principal(names=("u:ann",)))
        kb.set_access("secret", ["u:ann", "u:bob"])
        assert kb.explain("launch code", wanted, principal=bob).rank == 1
        told = kb.explain("launch code", wanted, principal=Principal(names=("u:bob",), collections=("tea",)))
        assert told.lost_at == "access" and "'default' is not among those" in told.reason
        kb.edit("secret", enabled=False)
        told = kb.explain("launch code", wanted)
        assert told.lost_at == "disabled" and "kb.edit('secret', enabled=True)" in told.advice[0]


def test_the_search_that_won_in_the_mode_auto_is_explained(rooms: Path, embedder: Embedder) -> None:
    """Nothing of the question is in the documents, so the chat model's words are searched for."""
    question = "zzqqy gizmo frobnicator snorkel"
    reply = json.dumps(
        {"query": ["a map of Wales with rivers"], "queries": ["map of Wales printed in London", "blue rivers of Wales"]}
    )
    with opened(rooms, embedder, understand__auto="always") as kb:
        kb._chat, kb._chat_opened = ScriptedChat(lambda _messages: reply), True
        hits = kb.search(question, mode="auto", top_k=3)
        plain = kb.search(question, mode="hybrid", top_k=3)
        for hit in hits:
            told = kb.explain(question, hit.chunk_id, mode="auto", top_k=3)
            assert (told.rank, told.searched) == (hit.rank, "escalated")
        gone = next(one.chunk_id for one in plain if one.chunk_id not in {hit.chunk_id for hit in hits})
        told = kb.explain(question, gone, mode="auto", top_k=3)
        assert told.lost_at == "escalated" and {"mode": "hybrid"} in [one.options for one in told.remedies]


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
        hits = kb.search(question, mode="dense", explain=True)
        moved = {hit.doc_id: hit.score for hit in hits}
        assert hits.trace[0].name == "recall:dense" and hits.trace[0].detail["moved_into"] == "en"
        as_it_is = kb.search(question, mode="dense", explain=True, cross_language=False)
        assert "moved_into" not in as_it_is.trace[0].detail and as_it_is[0].score != hits[0].score
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
