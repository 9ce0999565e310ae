"""Names by models: what LAC and spaCy find, where their files are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graph import KnowledgeGraph, rules
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
def test_spacy_gives_types() -> None:
    pytest.importorskip("spacy")
    from graph.english import EnglishReader

    text = "Ada Lovelace was born in London and worked with Charles Babbage."
    read = next(iter(EnglishReader(folder("en-core-web-sm"))([text])))
    found = {one.name: one.type for one in rules.extract(text, typed=read.names).mentions}
    assert found["Ada Lovelace"] == "person" and found["London"] == "place"


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


def test_without_models_the_message_says_what_to_do(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(Document("Ada Lovelace met Charles Babbage.", doc_id="a"))
    with pytest.raises(ModelError, match="models pull lac-zh.*--method rules"):
        KnowledgeGraph.build(tiny_kb, method="names")
