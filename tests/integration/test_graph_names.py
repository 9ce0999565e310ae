"""Names by models: what LAC and spaCy find, where their files are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graph import KnowledgeGraph, rules, store
from graph.lac import LacTagger, best_path
from rag import Document, KnowledgeBase
from rag.errors import ModelError
from rag.models import models_dir


def folder(alias: str) -> Path:
    found = models_dir() / alias
    if not found.is_dir():
        pytest.skip(f"{alias} is not installed: ragstone models pull {alias}")
    return found


@pytest.mark.model
def test_lac_finds_people_places_organisations_and_works() -> None:
    tagger = LacTagger(folder("lac-zh"))
    text = "马云于1999年在杭州创立阿里巴巴集团。李白的《静夜思》收入《全唐诗》。"
    found = {(one.name, one.type) for one in rules.extract(text, tag_chinese=tagger).mentions}
    assert found >= {("马云", "person"), ("杭州", "place"), ("阿里巴巴集团", "organisation"), ("静夜思", "work")}
    assert tagger("") == [] and len(tagger("马云在杭州。" * 200)) >= 398


@pytest.mark.model
def test_spacy_gives_types_and_grammar() -> None:
    pytest.importorskip("spacy")
    from graph.english import EnglishReader

    text = "Ada Lovelace was born in London. She was a friend of Charles Babbage, who designed the Analytical Engine."
    reader = EnglishReader(folder("en-core-web-sm"))
    (read,) = reader([text])
    found = rules.extract(text, title="Ada Lovelace", typed=read.names, words=read.words)
    types = {one.name: one.type for one in found.mentions}
    assert types["Ada Lovelace"] == "person" and types["London"] == "place"
    assert {(one.subject, one.label, one.object) for one in found.relations} >= {
        ("Ada Lovelace", "born in", "London"),
        ("Ada Lovelace", "friend of", "Charles Babbage"),
        ("Charles Babbage", "designed", "Analytical Engine"),
    }
    assert list(reader(["", text]))[1] == read, "what is found in a text depends on that text alone"


@pytest.fixture
def with_names(tiny_kb: KnowledgeBase) -> Iterator[KnowledgeBase]:
    """With the models for names in the folder that all tests share, for as long as this one runs."""
    links = [Path(tiny_kb.settings.models.dir) / alias for alias in ("lac-zh", "en-core-web-sm")]
    for link in links:
        link.symlink_to(folder(link.name))
    yield tiny_kb
    for link in links:
        link.unlink()


@pytest.mark.model
def test_a_graph_by_names_has_the_bytes_of_a_fresh_build(with_names: KnowledgeBase) -> None:
    with_names.ingest([Document("Ada Lovelace met Charles Babbage in London.", doc_id="a", title="Ada Lovelace")])
    KnowledgeGraph.build(with_names, method="names")
    with_names.ingest([Document("余干臣在祁门县创制了祁门红茶。", doc_id="b", title="祁门红茶")])  # the graph follows
    with_names.delete("a")
    path = store.path_of(with_names.home, with_names.collection)
    updated = path.read_bytes()
    graph = KnowledgeGraph.build(with_names, method="names", fresh=True)
    assert path.read_bytes() == updated and graph.show("祁门县")["type"] == "place"


def test_the_best_path_is_that_of_all_paths() -> None:
    pick = np.random.default_rng(0)
    scores, transitions = pick.normal(size=(4, 3)), pick.normal(size=(3, 3))
    paths = [(a, b, c, d) for a in range(3) for b in range(3) for c in range(3) for d in range(3)]
    total = {
        path: sum(scores[n, tag] for n, tag in enumerate(path))
        + sum(transitions[left, right] for left, right in zip(path, path[1:], strict=False))
        for path in paths
    }
    assert best_path(scores, transitions) == list(max(total, key=total.__getitem__))


def test_a_model_without_its_parser_is_named(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    harmed = tmp_path / "models"
    (harmed / "en-core-web-sm").mkdir(parents=True)
    view = tiny_kb.view(settings=tiny_kb.settings.with_values(models__dir=str(harmed)))
    with pytest.raises(ModelError, match="cannot be read.*pull it again"):
        KnowledgeGraph.build(view, method="names")


def test_without_models_the_message_says_what_to_do(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(Document("Ada Lovelace met Charles Babbage.", doc_id="a"))
    with pytest.raises(ModelError, match="models pull lac-zh.*--method rules"):
        KnowledgeGraph.build(tiny_kb, method="names")
