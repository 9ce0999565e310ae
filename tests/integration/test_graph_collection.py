"""A collection's graph from documents to hits: updates, deletions, filters, given triples, a chat model, the command line."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from graph import KnowledgeGraph, store
from graph.chat_extraction import ChatOptions, estimate
from rag import Document, KnowledgeBase
from rag.errors import UsageError
from tests.fakes.openai_server import OpenAIServer, says, status

DOCUMENTS = [
    Document("Blood Street is a 1988 film directed by Leo Fong.", doc_id="street", title="Blood Street", metadata={"who": "all"}),
    Document("Leo Fong is an actor who was born in Canton.", doc_id="leo", title="Leo Fong", metadata={"who": "all"}),
    Document("Canton is a city on the Pearl River.", doc_id="canton", title="Canton", metadata={"who": "some"}),
    Document("Jackie Kong is a director of horror films.", doc_id="kong", title="Jackie Kong", metadata={"who": "all"}),
    *(Document(f"The recipe number {n} needs flour, water and salt.", doc_id=f"r{n}", title=f"Recipe {n}") for n in range(8)),
]  # fmt: skip
QUESTION = "In which city was the director of Blood Street born?"


@pytest.fixture
def films(tiny_kb: KnowledgeBase) -> KnowledgeBase:
    tiny_kb.ingest(DOCUMENTS)
    return tiny_kb


def bytes_of(kb: KnowledgeBase) -> bytes:
    return store.path_of(kb.home, kb.collection).read_bytes()


def test_the_graph_finds_what_only_a_chain_leads_to(films: KnowledgeBase) -> None:
    with pytest.raises(Exception, match="ragstone graph build"):
        films.search(QUESTION, mode="graph")
    assert not films.has_graph and films.search(QUESTION, mode="auto")
    KnowledgeGraph.build(films)
    assert [hit.doc_id for hit in films.search(QUESTION, mode="graph", top_k=3)] == ["street", "leo", "canton"]
    assert {hit.doc_id for hit in films.search(QUESTION, mode="hybrid+graph", top_k=3)} >= {"street", "leo"}
    assert "street" in {hit.doc_id for hit in films.search(QUESTION, mode="auto", top_k=3)}
    first = [hit.chunk_id for hit in films.search(QUESTION, mode="hybrid+graph", top_k=3)]
    assert [hit.chunk_id for hit in films.search(QUESTION, mode="hybrid+graph", top_k=12)][:3] == first
    shown = films.graph.show("Leo Fong")
    assert {"Blood Street is a 1988 film directed by Leo Fong."} <= {fact["sentence"] for fact in shown["facts"]}
    with pytest.raises(UsageError, match="Near: Leo Fong"):
        films.graph.show("Leo Fang")


def test_what_is_deleted_and_decided_while_a_graph_is_built_is_not_undone_by_it(films: KnowledgeBase) -> None:
    KnowledgeGraph.build(films)
    opened_before = KnowledgeGraph.open(films)

    def meanwhile(_done: int, _total: int) -> None:
        if films.delete("kong"):
            KnowledgeGraph.open(films).keep_apart("Leo Fong", "Fong")

    KnowledgeGraph.build(films, fresh=True, progress=meanwhile)
    opened_before.keep_apart("Canton", "Canton City")
    file = store.load(store.path_of(films.home, films.collection))
    assert "kong" not in file.lines and len(file.lines) == len(DOCUMENTS) - 1
    assert file.header.apart == (("Canton", "Canton City"), ("Fong", "Leo Fong"))


def test_filters_hold_in_the_graph_and_in_its_summaries(films: KnowledgeBase) -> None:
    graph = KnowledgeGraph.build(films)
    for mode in ("graph", "hybrid+graph"):
        assert "canton" not in {hit.doc_id for hit in films.search(QUESTION, mode=mode, filter="who == 'all'")}
    seen = json.dumps(graph.communities(filter="who == 'all'"))
    assert "Pearl River" not in seen and "canton#" not in seen


def test_deleting_and_importing_keep_the_graph_up_to_date(films: KnowledgeBase) -> None:
    graph = KnowledgeGraph.build(films)
    before = bytes_of(films)
    assert graph.behind() == 0
    films.delete("leo")
    assert graph.behind() == 1 and KnowledgeGraph.open(films).behind() == 0
    assert b"actor" not in bytes_of(films) and "leo" not in {hit.doc_id for hit in films.search(QUESTION, mode="graph")}
    films.ingest(DOCUMENTS[1])
    assert bytes_of(films) == before
    assert graph.behind() == 0 and KnowledgeGraph.build(films).report.n_extracted == 0
    films.ingest(Document("Leo Fong is a boxer.", doc_id="leo", title="Leo Fong"))
    assert graph.behind() == 1


@pytest.mark.parametrize("method", ["rules", "triples"])
def test_after_any_changes_the_graph_is_that_of_a_fresh_build(
    tiny_kb: KnowledgeBase, tmp_path: Path, method: str
) -> None:
    pick = random.Random(11)
    people = [f"{first} {last}" for first in ("Ada", "Ben", "Cleo", "Dan") for last in ("Stone", "River", "Field")]
    given: dict[str, str] = {}  # lines of the triples file
    file = tmp_path / "triples.jsonl" if method == "triples" else None
    there: set[str] = set()
    n_changes = 0

    def document(doc_id: str) -> Document:
        left, right, year = pick.choice(people), pick.choice(people), 1900 + pick.randrange(99)
        given[doc_id] = json.dumps({"_id": doc_id, "entities": [left], "triples": [[left, "met", right]]})
        return Document(f"{left} met {right} in {year}.", doc_id=doc_id, title=pick.choice(people))

    def build(*, fresh: bool = False) -> None:
        if file is not None:
            file.write_text("\n".join(given.values()))
        KnowledgeGraph.build(tiny_kb, triples=file, fresh=fresh)

    tiny_kb.ingest(document("d0"))
    there.add("d0")
    build()
    while n_changes < 200:
        changed = [document(one) for one in dict.fromkeys(f"d{pick.randrange(25)}" for _ in range(9))]
        tiny_kb.ingest(changed)
        there |= {one.doc_id for one in changed}
        gone = pick.sample(sorted(there), k=min(3, len(there)))
        tiny_kb.delete(*gone)
        there -= set(gone)
        n_changes += len(changed) + len(gone)
        if file is not None:  # what a file says does not follow an import by itself
            build()
    updated = bytes_of(tiny_kb)
    assert store.load(store.path_of(tiny_kb.home, "default")).lines.keys() == there
    build(fresh=True)
    assert bytes_of(tiny_kb) == updated


def test_given_triples(films: KnowledgeBase, tmp_path: Path) -> None:
    file = tmp_path / "triples.jsonl.gz"
    lines = [
        json.dumps({"_id": "street", "entities": ["Blood Street", "Leo Fong"], "triples": [["Blood Street", "directed by", "Leo Fong"]]}),
        json.dumps({"_id": "leo", "entities": ["Leo Fong", "x" * 10_000, 7], "triples": [["Leo Fong", "born in", "Canton"], ["Leo Fong", "is", "leo fong"], ["a"], "prose"]}),
        json.dumps({"_id": "canton", "entities": ['"Canton"'], "triples": []}),
        json.dumps({"_id": "nowhere", "entities": ["Nobody"], "triples": []}),
        "not JSON",
    ]  # fmt: skip
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    graph = KnowledgeGraph.build(films, triples=file)
    expected = {"bad_line": 1, "unknown_id": 1, "no_triples": 9, "bad_name": 2, "bad_triple": 2, "self_loop": 1}
    assert {kind: graph.report.problems[kind] for kind in expected} == expected
    assert graph.report.examples["unknown_id"] == ("nowhere",)
    assert [fact["relation"] for fact in graph.show("Leo Fong")["facts"]] == ["born in", "directed by"]
    assert {hit.doc_id for hit in graph.search(QUESTION, top_k=3)} == {"street", "leo", "canton"}
    first = bytes_of(films)
    assert KnowledgeGraph.build(films, triples=file).report.n_extracted == 0
    KnowledgeGraph.build(films, triples=file, fresh=True)
    assert bytes_of(films) == first
    films.ingest(Document("Sausalito lies on the bay.", doc_id="new", title="Sausalito"))
    assert KnowledgeGraph.open(films).behind() == 1  # the file says nothing of it, so nothing follows by itself
    file.write_text("")
    with pytest.raises(UsageError, match="holds no triples"):
        KnowledgeGraph.build(films, triples=file)


def test_documents_that_name_nothing_are_counted_and_stay(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest([Document("nothing here has a name", doc_id="none"), DOCUMENTS[1]])
    graph = KnowledgeGraph.build(tiny_kb)
    assert graph.report.problems == {"empty": 1} and graph.report.examples["empty"] == ("none",)
    assert graph.counts()["documents"] == 2 and graph.behind() == 0


def test_decisions_about_merges_last(films: KnowledgeBase) -> None:
    graph = KnowledgeGraph.build(films).put_together("Leo Fong", "Jackie Kong")
    assert graph.find("Leo Fong") == graph.find("Jackie Kong")
    again = KnowledgeGraph.build(films, fresh=True)
    assert again.find("Leo Fong") == again.find("Jackie Kong")
    apart = again.keep_apart("Jackie Kong", "Leo Fong")
    assert apart.find("Leo Fong") != apart.find("Jackie Kong")


def test_names_that_a_model_finds_near_are_one_until_they_are_kept_apart(films: KnowledgeBase) -> None:
    films.ingest([Document("Leo Fongs is how a poster has it.", doc_id="poster", title="Leo Fongs")])
    near = films.view(settings=films.settings.with_values(graph__neighbours=0.5))
    graph = KnowledgeGraph.build(near)
    merge = next(one for one in graph.merges() if set(one.names) == {"Leo Fong", "Leo Fongs"})
    assert merge.applied and merge.reason == "neighbour" and graph.find("Leo Fong") == graph.find("Leo Fongs")
    first = bytes_of(films)
    assert KnowledgeGraph.build(near, fresh=True) and bytes_of(films) == first
    apart = KnowledgeGraph.open(near).keep_apart("Leo Fong", "Leo Fongs")
    assert apart.find("Leo Fong") != apart.find("Leo Fongs")
    KnowledgeGraph.build(films)
    assert b"neighbours" not in bytes_of(films), "off: names are not compared"


def asked(kb: KnowledgeBase, url: str) -> KnowledgeBase:
    settings = kb.settings.with_values(llm__model="scripted", llm__base_url=url, graph__gleanings=1)
    opened = KnowledgeBase.open(kb.home, settings=settings)
    opened._embedder = kb.embedder
    return opened


def test_a_chat_model_extracts_and_its_faults_cost_nothing_else(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(DOCUMENTS[:2])
    listed = says(json.dumps({"entities": [{"name": "Leo Fong", "type": "Person", "description": "an actor"}],
                              "relations": [{"subject": "Leo Fong", "relation": "born in", "object": "Canton", "claim": "Fong was born in Canton."}]}))  # fmt: skip
    script = [listed, says('{"entities": [], "relations": []}'), says("I am sorry."), says("No.")]
    with OpenAIServer(script) as server, asked(tiny_kb, server.url) as kb:
        price = estimate(kb, ChatOptions())
        assert (price.n_chunks, price.n_calls, price.n_cached) == (2, 4, 0)
        graph = KnowledgeGraph.build(kb, method="chat")
        assert graph.report.problems == {"bad_reply": 1}
        fact = next(one for one in graph.show("Canton")["facts"] if one["relation"] == "born in")
        assert fact["claim"] == "Fong was born in Canton." and fact["sentence"].startswith("Leo Fong is an actor")
        assert graph.show("Leo Fong")["descriptions"] == ["an actor"]
        assert graph.show("Blood Street")["n_facts"] > 0  # by rules, where the model gave prose
        assert estimate(kb, ChatOptions()).n_chunks == 1  # that document alone is asked about again
        kb.ingest(DOCUMENTS[3])
        server._always = status(500)
        graph = KnowledgeGraph.build(kb, method="chat", fresh=True)  # what was said before is remembered, but for prose
        assert graph.report.problems == {"chat_failed": 2}
        assert graph.show("Leo Fong")["descriptions"] == ["an actor"]


def test_questions_about_the_whole(films: KnowledgeBase) -> None:
    graph = KnowledgeGraph.build(films)
    plain = graph.ask("Who directed a film called Blood Street?")
    assert not plain.by_model and "directed by Leo Fong" in plain.text and plain.points[0][2]
    hidden = graph.ask("Which city lies on the Pearl River?", filter="who == 'all'")
    assert "Pearl River" not in hidden.text and all(not one.startswith("canton") for _, _, chunks in hidden.points for one in chunks)  # fmt: skip
    script = [
        says('{"point": "A film by Leo Fong.", "score": 90}'),
        says("It is about films."),
        says("Fong made it."),
        says("A river."),
    ]
    with OpenAIServer(script) as server, asked(films, server.url) as kb:
        graph = kb.graph
        answer = graph.ask("What is the collection about: Blood Street?")
        assert (
            answer.by_model
            and answer.text == "It is about films."
            and answer.points[0][:2] == ("A film by Leo Fong.", 90)
        )
        for _ in range(2):  # the second time nothing is asked
            assert [one["written"] for one in graph.communities(chat=True)] == ["Fong made it.", "A river."]
    with OpenAIServer(always=status(500)) as server, asked(films, server.url) as kb:
        assert "directed by Leo Fong" in kb.graph.ask("Who directed the film Blood Street?").text


def test_the_budget_of_calls_is_kept(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(DOCUMENTS[:3])
    with OpenAIServer([says('{"entities": [], "relations": []}')] * 2) as server, asked(tiny_kb, server.url) as kb:
        graph = KnowledgeGraph.build(kb, method="chat", chat=ChatOptions(max_calls=2))
        assert graph.report.problems["over_budget"] == 2 and graph.counts()["documents"] == 3


def test_the_command_line(films: KnowledgeBase, tiny_settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    from ui.cli import main

    settings = [f"--set={key}={value}" for key, value in {
        "embedding.model": tiny_settings.embedding.model, "embedding.backend": "openvino-fp32", "llm.model": "none",
        "models.dir": tiny_settings.models.dir, "chunk.size": 64, "chunk.overlap": 8,
    }.items()]  # fmt: skip

    def run(*arguments: str) -> tuple[int, Any]:
        code = main(["--home", str(films.home), *settings, *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, failed = run("graph", "search", QUESTION)
    assert code == 1 and failed["error"]["code"] == "E_GRAPH"
    code, data = run("graph", "build")
    assert code == 0 and data["documents"] == 12 and {"nodes", "edges", "communities", "problems"} <= data.keys()
    for method in ("walk", "local", "paths", "keywords", "global", "drift"):
        code, data = run("graph", "search", QUESTION, "--method", method, "-k", "3")
        assert code == 0 and "street" in {hit["doc_id"] for hit in data["hits"]}, method
    code, data = run("search", QUESTION, "--mode", "graph", "-k", "2")
    assert code == 0 and [hit["doc_id"] for hit in data["hits"]] == ["street", "leo"]
    assert run("graph", "show", "leo fong")[1]["entity"] == "Leo Fong"
    assert run("graph", "show")[1]["entities"] > 5
    assert run("graph", "communities", "-n", "2")[0] == 0
    assert run("graph", "ask", QUESTION)[1]["by_model"] is False
    assert run("graph", "merges", "--together", "Leo Fong", "Canton")[1]["merges"][0]["reason"] == "decided"
    assert run("graph", "export", str(tmp_path / "picture.html"))[1]["nodes"] > 0
    assert run("graph", "export", str(tmp_path / "picture.png"))[0] == 2
    assert run("graph", "build", "--dry-run")[0] == 2
    assert run("graph", "build", "--method", "chat")[1]["error"]["code"] == "E_USAGE"
    assert main(["--home", str(films.home), *settings, "graph", "search", QUESTION]) == 0
    assert "Blood Street" in capsys.readouterr().out
