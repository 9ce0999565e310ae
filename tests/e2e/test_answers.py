"""Questions to the sample documents, answered by quotation, by the packaged model, and by a model behind HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag import KnowledgeBase, Settings
from rag.chat_models import DEFAULT_LOCAL, local_path
from tests.fakes.openai_server import OpenAIServer, cut_after, says

DEMO = ("At what temperature should green tea be brewed, and for how long?", "《茶经》的作者是谁，大约写于什么年代？")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, embedder: Any, repo: Path) -> Path:
    made = tmp_path_factory.mktemp("tea") / "home"
    with KnowledgeBase.open(made, settings=Settings()) as kb:
        kb._embedder = embedder
        assert kb.ingest(repo / "examples" / "tea").added == 11
    return made


@pytest.fixture
def opened(home: Path, embedder: Any) -> Iterator[Any]:
    """Opens the sample collection with some settings changed."""
    made: list[KnowledgeBase] = []

    def open_with(**values: object) -> KnowledgeBase:
        kb = KnowledgeBase.open(home, settings=Settings().with_values(**values))
        kb._embedder = embedder
        made.append(kb)
        return kb

    yield open_with
    for kb in made:
        kb.close()


def questions(repo: Path) -> list[dict[str, Any]]:
    lines = (repo / "examples" / "tea_questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def assert_citations_resolve(kb: KnowledgeBase, answer: Any) -> None:
    assert answer.citations
    for citation in answer.citations:
        assert kb.text(citation.doc_id)[citation.start : citation.end] == citation.quote
        assert f"[{citation.marker}]" in answer.text
        assert any(hit.chunk_id == citation.chunk_id for hit in answer.hits)


def test_quotations_without_a_model(opened: Any, repo: Path) -> None:
    kb = opened(llm__model="none")
    right = 0
    for question in questions(repo):
        answer = kb.ask(question["question"])
        if not question["answerable"]:
            assert answer.abstained and answer.citations == ()
            continue
        right += any(accepted in answer.text for accepted in question["answer"])
        if not answer.abstained:
            assert_citations_resolve(kb, answer)
            assert "No chat model" in answer.warnings[0]
    assert right >= 7, "of ten; two of them ask in the other language"


@pytest.mark.model
@pytest.mark.parametrize(
    ("question", "words", "source"), [(DEMO[0], "75–80", "brewing.en.md"), (DEMO[1], "陆羽", "classic-of-tea.zh.md")]
)
def test_the_packaged_model_answers_the_demo(opened: Any, question: str, words: str, source: str) -> None:
    if local_path(Settings()) is None:
        pytest.skip(f"{DEFAULT_LOCAL} is not installed")
    kb = opened()
    events = list(kb.stream(question))
    answer = events[-1].answer
    assert answer is not None and words in answer.text and not answer.abstained
    assert [Path(citation.source).name for citation in answer.citations][:1] == [source]
    assert_citations_resolve(kb, answer)
    assert {event.step.name for event in events if event.step} >= {"recall:dense", "recall:bm25", "fuse", "generate"}
    assert answer.usage.n_prompt_tokens > 0 and answer.usage.n_answer_tokens > 0


def test_a_model_behind_http(opened: Any) -> None:
    with OpenAIServer([says("Brew it at 75–80 °C for 2–3 minutes [1][7].")]) as server:
        kb = opened(llm__base_url=server.url, llm__model="scripted", llm__api_key="secret")
        answer = kb.ask(DEMO[0])
    sent = server.requests[0]
    assert sent.headers["authorization" if "authorization" in sent.headers else "Authorization"] == "Bearer secret"
    assert "75–80" in json.dumps(sent.json["messages"], ensure_ascii=False), "the passage is in the prompt"
    assert "[7]" not in answer.text, "a passage that was not shown cannot be cited"
    assert_citations_resolve(kb, answer)
    assert answer.usage.model


def test_what_the_model_makes_up_is_not_passed_on(opened: Any) -> None:
    with OpenAIServer([says("Green tea is brewed at 42 °C for 9 hours [1].")]) as server:
        answer = opened(llm__base_url=server.url, llm__model="scripted").ask(DEMO[0])
    assert answer.abstained or answer.unsupported or not any(citation.supported for citation in answer.citations)


def test_a_stream_that_breaks_is_said_to_be_incomplete(opened: Any) -> None:
    with OpenAIServer([cut_after("Green tea is brewed at 75–80 °C")]) as server:
        answer = opened(llm__base_url=server.url, llm__model="scripted").ask(DEMO[0])
    assert "E_LLM_INCOMPLETE" in " ".join(answer.warnings) and answer.text.startswith("Green tea is brewed at 75–80 °C")
