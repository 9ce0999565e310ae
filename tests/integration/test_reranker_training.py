"""A reranker of the user's own: questions from documents, a short training of a tiny encoder, and what is kept."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from rag.errors import ModelError, UsageError
from rag.reranker_training import questions, train

THINGS = ("harbour", "lighthouse", "tea garden", "railway station", "glass works", "observatory")
PLACES = ("Lisbon", "Bergen", "Hangzhou", "Trieste")


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("training"), settings=tiny_settings) as kb:
        kb.ingest(
            Document(
                f"The {thing} of {place} was built by a guild of local traders. People came from far away to see the {thing} at dawn. "
                f"Its keeper wrote a long book about winters in {place}.",
                doc_id=f"{thing}-{place}", title=f"The {thing} of {place}",
            )
            for thing in THINGS for place in PLACES
        )  # fmt: skip
        yield kb


def test_questions_come_from_the_documents_and_leave_words_out(kb: KnowledgeBase) -> None:
    made = list(questions(kb, random.Random(0), 1000))
    assert {one.doc_id for one in made} == {info.doc_id for info in kb.documents()}
    sources = {info.doc_id: f"{info.title} {kb.text(info.doc_id)}" for info in kb.documents()}
    for one in made:
        assert set(one.text.split()) <= set(re.findall(r"\w+", sources[one.doc_id]))
    whole = {chunk.chunk_id: chunk.text for one in sources for chunk in kb.chunks(one)}
    shorter = sum(len(one.passage) < len(whole[one.right]) for one in made)
    assert 0 < shorter < len(made)  # the sentence is mostly taken out; headings are found in whole passages
    assert [one.text for one in questions(kb, random.Random(0), 5)] == [one.text for one in made[:5]]


def test_training_goes_through_and_keeps_only_what_gains(kb: KnowledgeBase, tiny_model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    done = train(
        kb,
        tiny_model,
        tmp_path / "mine",
        minutes=0.05,
        most=200,
        progress=lambda _done, _total, what: said.append(what),
    )
    assert done.n_questions >= 30 and done.n_tried >= 8 and done.n_steps >= 1
    assert done.kept == (done.ci[0] > 0) == (tmp_path / "mine").is_dir()
    assert done.after - done.before == pytest.approx(sum(done.ci) / 2, abs=0.2)
    assert {what.split(",")[0] for what in said} == {"looking for wrong passages", "training", "trying it"}


def test_a_trained_model_is_a_reranker(tiny_model: Path, tmp_path: Path) -> None:
    from rag.cross_encoder import CrossEncoderReranker
    from rag.reranker_training import _loaded, _save

    _save(_loaded(tiny_model), tmp_path / "mine")
    one, other = CrossEncoderReranker(str(tmp_path / "mine")).scores("tea", ["Tea is hot.", "A lighthouse."])
    assert one != other and not (tmp_path / "mine.part").exists()


def test_what_cannot_be_trained(kb: KnowledgeBase, tiny_kb: KnowledgeBase, tiny_model: Path, tmp_path: Path) -> None:
    tiny_kb.ingest([Document("Tea is hot. It is green.", doc_id="one")])
    with pytest.raises(UsageError, match="Import more documents"):
        train(tiny_kb, tiny_model, tmp_path / "mine", minutes=1, most=200)
    with pytest.raises(ModelError, match="cannot be trained"):
        train(kb, tmp_path, tmp_path / "mine", minutes=0.01, most=200)
