"""The graph in numbers: merges and their undoing, walks against networkx, paths, communities, exports, and the file."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import networkx
import numpy as np
import pytest

from graph import export, linking, names, network, retrieval, rules, store, walking
from graph.communities import detect
from graph.neighbours import neighbours
from graph.store import GraphError, GraphFile, Header
from graph.types import Extraction, Mention, Relation

TEXTS = {
    "a": ("Blood Street", "Blood Street is a 1988 film directed by Leo Fong."),
    "b": ("Leo Fong", "Leo Fong is an actor who was born in Canton."),
    "c": ("Canton", "Canton is a city on the Pearl River."),
    "d": ("Paris", "Paris is the capital of France. The World Health Organization (WHO) met there."),
    "e": ("World Health Organization", "The WHO has its seat in Geneva."),
}


def built(documents: dict[str, tuple[str, str]], header: Header | None = None) -> GraphFile:
    lines = {
        doc_id: store.packed(doc_id, "0", [(f"{doc_id}#0-{len(text)}", rules.extract(text, title=title))])
        for doc_id, (title, text) in documents.items()
    }
    return GraphFile(header or Header(method="rules"), lines)


@pytest.fixture(scope="module")
def net() -> network.Network:
    return network.assemble(built(TEXTS))


def test_an_alias_merges_and_the_merge_can_be_undone(net: network.Network) -> None:
    assert net.at["who"] == net.at["world health organization"]
    record = next(one for one in net.merges if one.reason == "alias")
    assert record.applied and record.names == ("World Health Organization", "WHO") and record.chunk_ids == ("d#0-78",)
    apart = network.assemble(built(TEXTS, Header(method="rules", apart=(("WHO", "World Health Organization"),))))
    assert apart.at["who"] != apart.at["world health organization"]
    assert [one.applied for one in apart.merges if one.reason == "contradiction"] == [False]


def test_a_name_that_two_claim_is_merged_with_neither() -> None:
    texts = {
        "a": ("A", "The World Health Organization (WHO) met."),
        "b": ("B", "The Workers Home Office (WHO) met."),
        "c": ("C", "The WHO met."),
    }
    made = network.assemble(built(texts))
    assert made.problems["contradictory_merge"] == 2 and len({made.at["who"], made.at["workers home office"]}) == 2
    assert len(made.near) == 2  # near both: the walk still finds the way


def test_what_a_person_keeps_apart_does_not_meet_by_way_of_a_third() -> None:
    header = Header(method="rules", together=(("Blood Street", "Leo Fong"), ("Canton", "Leo Fong")), apart=(("Blood Street", "Canton"),))  # fmt: skip
    made = network.assemble(built(TEXTS, header))
    assert made.at["blood street"] == made.at["leo fong"] != made.at["canton"]
    assert [(one.names, one.reason) for one in made.merges if not one.applied] == [(("Canton", "Leo Fong"), "contradiction")]  # fmt: skip
    assert made.problems["contradictory_merge"] == 1
    apart = Header(method="rules", together=(("Canton", "WHO"),), apart=(("Canton", "World Health Organization"),))
    made = network.assemble(built(TEXTS, apart))  # a decision comes before what a text states
    assert made.at["canton"] == made.at["who"] != made.at["world health organization"]


def test_spellings_merge_on_record_and_can_be_kept_apart() -> None:
    texts = {"a": ("Apple", "Apple is here."), "b": ("APPLE", "APPLE is there.")}
    made = network.assemble(built(texts))
    assert [one.names for one in made.merges if one.reason == "spelling"] == [("APPLE", "Apple")]
    apart = network.assemble(built(texts, Header(method="rules", apart=(("APPLE", "Apple"),))))
    assert len(apart.entity_ids) == len(made.entity_ids) + 1


def test_a_self_loop_says_nothing() -> None:
    found = Extraction(mentions=(Mention(name="A1", start=0, end=2),), relations=(Relation(subject="A1", label="is", object="a1", start=0, end=2),))  # fmt: skip
    assert (
        network.assemble(GraphFile(Header(method="x"), {"d": store.packed("d", "0", [("d#0-2", found)])})).facts == []
    )


def test_the_walk_is_networkx_pagerank(net: network.Network) -> None:
    weights = walking.Weights(iterations=200)
    walk = walking.Walk(net, weights)
    steps = walk._steps.toarray()
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(len(steps)))
    graph.add_weighted_edges_from((int(b), int(a), float(steps[a, b])) for a, b in zip(*np.nonzero(steps), strict=True))
    start = {net.at["blood street"]: 1.0}
    reference = networkx.pagerank(
        graph, alpha=weights.damping, personalization=start, dangling=start, tol=1e-12, max_iter=500
    )
    shares = walk.ranked(start, {})
    for chunk in range(len(net.chunk_ids)):
        assert shares[chunk] == pytest.approx(reference[len(net.entity_ids) + chunk], abs=1e-9)


def test_the_walk_goes_over_what_may_be_seen_alone(net: network.Network) -> None:
    walk, start = walking.Walk(net), {net.at["blood street"]: 1.0}
    order = [net.chunk_ids[n][0] for n in np.argsort(-walk.ranked(start, {}))[:3]]
    assert order == ["a", "b", "c"]
    allowed = np.array([chunk_id[0] != "b" for chunk_id in net.chunk_ids])
    shares = walk.ranked(start, {}, allowed)
    assert shares[net.chunk_at["b#0-44"]] == 0 and shares[net.chunk_at["c#0-36"]] == 0  # reached through b only
    assert walk.ranked({}, {}).sum() == 0


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Where was the director of Blood Street born?", ["Blood Street"]),
        ("who directed blood street", ["Blood Street"]),
        ("Is Leo Fong from Canton?", ["Leo Fong", "Canton"]),
        ("What does the WHO do?", ["WHO"]),
        ("Where is it?", []),
    ],
)
def test_linking(net: network.Network, question: str, expected: list[str]) -> None:
    assert [net.entity_names[one.entity] for one in linking.link(question, net)] == expected


def test_chinese_names_are_linked_inside_a_sentence() -> None:
    made = network.assemble(built({"a": ("北京大学", "北京大学在北京。"), "b": ("北京", "北京是首都。")}))
    question = "北京大学的校长是谁？"
    assert [made.entity_names[one.entity] for one in linking.link(question, made)] == ["北京大学"]


def test_a_path_between_two_names(net: network.Network) -> None:
    ways = retrieval.shortest(net, net.at["blood street"], net.at["canton"], lambda _chunk: True)
    assert [[net.chunk_ids[chunk][0] for chunk in way] for way in ways] == [["a", "b"]]
    assert retrieval.shortest(net, net.at["blood street"], net.at["paris"], lambda _chunk: True) == []


@pytest.mark.parametrize("method", retrieval.METHODS)
def test_every_method_keeps_to_what_may_be_seen(net: network.Network, method: str) -> None:
    index = retrieval.GraphIndex(net)
    hidden = net.chunk_at["b#0-44"]
    allowed = np.arange(len(net.chunk_ids)) != hidden
    start = retrieval.Start(question="Where was Leo Fong of Blood Street born?", passages={0: 1.0, hidden: 0.5})
    assert hidden in retrieval.retrieve(method, start, index)
    assert hidden not in retrieval.retrieve(method, replace(start, allowed=allowed), index)


def test_communities_are_the_same_for_a_seed() -> None:
    pick = random.Random(1)
    texts = {
        f"d{n}": (f"Name{n} Of", f"Name{n} Of met Name{n // 10 * 10} Of and Name{pick.randrange(60)} Of.")
        for n in range(60)
    }
    made = network.assemble(built(texts))
    found = detect(made, seed=3)
    assert found and found == detect(made, seed=3)
    assert all(len(one.entities) >= 2 for one in found) and detect(network.assemble(built({})), seed=0) == []


def test_the_file_is_the_same_whatever_the_order(tmp_path: Path) -> None:
    store.save(tmp_path / "one", built(TEXTS))
    store.save(tmp_path / "two", built(dict(reversed(TEXTS.items()))))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = store.load(tmp_path / "one")
    assert dict(loaded.documents()) == dict(built(TEXTS).documents())
    store.forget(tmp_path / "one", ["a", "never there"])
    assert sorted(store.load(tmp_path / "one").lines) == ["b", "c", "d", "e"]
    assert b"Blood Street" not in (tmp_path / "one").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "newer", "shape"])
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "graph.jsonl"
    store.save(path, built(TEXTS))
    text = path.read_text()
    harmed = {
        "cut": text[: len(text) // 2], "flip": text.replace('{"doc_id"', '{"doc_it"', 1), "empty": "",
        "newer": text.replace('"format": 1', '"format": 2'), "shape": text.replace('"chunks": [', '"chunks": [7, ', 1),
    }  # fmt: skip
    path.write_text(harmed[damage])
    with pytest.raises(GraphError, match="format 2" if damage == "newer" else "damaged"):
        network.assemble(store.load(path))


def test_exports_hold_everything_and_cannot_be_broken_by_a_name(tmp_path: Path) -> None:
    texts = {**TEXTS, "x\"'); DROP": ("</script><b>Bold Name</b>", 'Bold \x00Name said \\ "So Be It" to Leo Fong.')}
    made = network.assemble(built(texts))
    graph = export.to_networkx(made)
    kinds = {kind for _, _, kind in graph.edges(data="kind")}
    assert kinds >= {"holds", "mentions", "relation"} and graph.number_of_nodes() == len(made.entity_ids) + 2 * len(
        texts
    )
    for name in export.FORMATS:
        export.export(
            made, tmp_path / f"graph.{name}", "", sentences=lambda facts: ["A <b>sentence</b>" for _ in facts]
        )
    read = networkx.read_graphml(tmp_path / "graph.graphml")
    assert read.number_of_edges() == graph.number_of_edges()
    again = networkx.node_link_graph(json.loads((tmp_path / "graph.json").read_text()), edges="edges")
    assert networkx.utils.graphs_equal(again, graph)
    page = (tmp_path / "graph.html").read_text()
    assert page.count("<script") == 2 and "<b>" not in page and "http" not in page.replace("http-equiv", "")
    assert len((tmp_path / "graph.cypher").read_text().splitlines()) == len(graph) + graph.number_of_edges()
    with pytest.raises(Exception, match="Known: graphml"):
        export.export(made, tmp_path / "graph.png", "", sentences=lambda facts: [""] * len(facts))


def test_keys_are_stable() -> None:
    assert names.key("The Who") == "who" and names.key("") == "" and names.without_brackets("A (b)") == ("A", "b")


def test_names_with_near_vectors_are_pairs_unless_their_numbers_differ() -> None:
    angles = {
        "Wuyi Mountain": 0.0,
        "Wuyi Mountains": 0.1,
        "Wuyishan": 0.25,
        "Apollo 11": 2.0,
        "Apollo 12": 2.01,
        "Geneva": 4.0,
    }

    def vectors_of(texts: list[str]) -> np.ndarray:
        return np.array([[np.cos(angles[one]), np.sin(angles[one])] for one in texts], np.float32)

    found = neighbours(list(angles), vectors_of, 0.96)
    assert found == [("Wuyi Mountain", "Wuyi Mountains", round(float(np.cos(0.1)), 3))], "each with its nearest alone"
    assert neighbours(["Geneva"], vectors_of, 0.5) == []


def test_neighbours_are_one_entity_until_somebody_keeps_them_apart() -> None:
    pair = ("Canton", "Leo Fong", 0.97)
    joined = network.assemble(built(TEXTS, Header(method="rules", neighbours=(pair,))))
    assert joined.at[names.key("Canton")] == joined.at[names.key("Leo Fong")]
    assert [(one.names, one.applied) for one in joined.merges if one.reason == "neighbour"] == [(pair[:2], True)]
    apart = network.assemble(built(TEXTS, Header(method="rules", neighbours=(pair,), apart=(pair[:2],))))
    assert apart.at[names.key("Canton")] != apart.at[names.key("Leo Fong")]
    assert [one.reason for one in apart.merges if set(one.names) == set(pair[:2])] == ["contradiction"]
