"""Strategies and enrichment from documents to cited answers, on the embedded Milvus with a scripted endpoint as chat model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document
from tests.fakes.openai_server import OpenAIServer, says, status

PARTS = ["harbour", "lantern", "kettle"]
TEXT = "\n\n".join(
    f"# Part {thing}\n\n" + " ".join(f"The {thing} number {at} of the garden is {at * 7} years old." for at in range(9))
    for thing in PARTS
)
DOCUMENT = Document(TEXT, doc_id="d", title="Guide", type="markdown")


def opened(home: Path, settings: Settings, **options: Any) -> KnowledgeBase:
    return KnowledgeBase.open(home, settings=settings.with_values(**options))


@pytest.mark.parametrize(
    "strategy", ["heading", "sentence-window", "parent-child", "semantic", "table-rows", "qa", "fixed"]
)
def test_each_strategy_is_searched_and_quoted_exactly(tmp_path: Path, tiny_settings: Settings, strategy: str) -> None:
    with opened(tmp_path, tiny_settings, chunk__strategy=strategy, chunk__child_size=24) as kb:
        assert not kb.ingest([DOCUMENT]).failures
        answer = kb.ask("How old is the lantern number 4 of the garden?")
        assert answer.citations and all(kb.text("d")[one.start : one.end] == one.quote for one in answer.citations)
        assert any("lantern number 4" in one.quote for one in answer.citations)
        assert ("expand" in [step.name for step in answer.trace]) == (strategy in ("sentence-window", "parent-child"))
        assert kb.verify().ok


def test_another_strategy_cuts_again_and_the_same_one_does_not(tmp_path: Path, tiny_settings: Settings) -> None:
    with opened(tmp_path, tiny_settings) as kb:
        kb.ingest([DOCUMENT])
    with opened(tmp_path, tiny_settings, chunk__strategy="sentence-window") as kb:
        assert kb.ingest([DOCUMENT]).updated == 1
        assert kb.ingest([DOCUMENT]).unchanged == 1
        found = kb.search("lantern number 4", top_k=1)[0]
        wide = kb.search("lantern number 4", top_k=1, expand="parent")[0]
        assert found.parent_start == wide.start < found.start and len(wide.text) > len(found.text)


def test_summaries_are_found_but_never_quoted(tmp_path: Path, tiny_settings: Settings) -> None:
    with opened(tmp_path, tiny_settings, enrich__summaries="tree", enrich__group=3) as kb:
        kb.ingest([DOCUMENT])
        levels = {chunk.level for chunk in kb.chunks("d")}
        assert {0, 1} <= levels and kb.verify().ok
        assert any(hit.level for hit in kb.search("garden", top_k=50))
        answer = kb.ask("How old is the kettle number 5 of the garden?", top_k=50)
        assert not any(hit.level for hit in answer.hits)
        assert all(kb.text("d")[one.start : one.end] == one.quote for one in answer.citations)
        assert kb.delete("d") == 1 and not kb.search("garden").items and kb.verify().ok


def test_keywords_become_metadata_that_filters_test(tmp_path: Path, tiny_settings: Settings) -> None:
    with opened(tmp_path, tiny_settings, enrich__keywords=4) as kb:
        kb.ingest([DOCUMENT])
        assert "garden" in kb.documents("d")[0].metadata["keywords"]
        assert all(chunk.extra for chunk in kb.chunks("d"))


def test_questions_of_a_model_are_searched_and_asked_for_once(tmp_path: Path, tiny_settings: Settings) -> None:
    def reply(request: Any) -> Any:
        return says('{"questions": ["Which zeppelin is meant?"]}')

    with OpenAIServer(always=reply) as server:
        options = {"enrich__questions": 1, "llm__base_url": server.url, "llm__model": "m"}
        with opened(tmp_path, tiny_settings, **options) as kb:
            told = kb.ingest([DOCUMENT], dry_run=True).estimate
            n_sampled = len(server.requests)
            report = kb.ingest([DOCUMENT])
            assert len(server.requests) == report.n_embedded > 2  # chunks of the same text are asked about once
            assert told is not None and told.n_model_calls >= report.n_embedded - n_sampled > 0
            assert kb.search("zeppelin", mode="bm25").items
            kb.delete("d")
            kb.ingest([DOCUMENT])  # every reply is remembered
            assert len(server.requests) == report.n_embedded
            assert kb.ingest([DOCUMENT], dry_run=True).n_chunks == 0


def test_an_endpoint_that_is_down_is_a_warning(tmp_path: Path, tiny_settings: Settings) -> None:
    with OpenAIServer(always=status(401)) as server:
        options = {"enrich__context": True, "llm__base_url": server.url, "llm__model": "m"}
        with opened(tmp_path, tiny_settings, **options) as kb:
            report = kb.ingest([DOCUMENT])
            assert report.added == 1 and not report.failures and report.warnings
            assert kb.search("lantern").items
