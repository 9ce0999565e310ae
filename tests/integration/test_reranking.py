"""Rerankers on real parts: a tiny random cross-encoder, an endpoint over the real protocol, a scripted chat model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rag.errors import ChatError, ModelError, UsageError
from rag.knowledge_base import KnowledgeBase
from rag.reranking import open_reranker
from rag.settings import Settings
from rag.types import Document
from tests.fakes.openai_server import OpenAIServer, html, json_reply, says, status

DOCUMENTS = [Document(f"Tea garden {n} steeps leaves for {n} minutes.", doc_id=f"d{n}") for n in range(1, 7)]


@pytest.fixture(scope="session")
def tiny_cross_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A random BERT with one output, in a folder."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_cross_encoder_orders_the_hits(tmp_path: Path, tiny_settings: Settings, tiny_cross_encoder: Path) -> None:
    settings = tiny_settings.with_values(rerank__model=str(tiny_cross_encoder), rerank__depth=4)
    with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
        kb.ingest(DOCUMENTS)
        plain = kb.search("tea garden", rerank=False, top_k=6)
        hits = kb.search("tea garden", top_k=6)
        reranker = open_reranker(settings, lambda: None)
        assert reranker is not None
        scores = dict(
            zip(
                (hit.doc_id for hit in plain[:4]),
                reranker.scores("tea garden", [hit.text for hit in plain[:4]]),
                strict=True,
            )
        )
        assert [hit.doc_id for hit in hits[:4]] == sorted(scores, key=lambda doc: (-scores[doc], doc))
        assert [hit.doc_id for hit in hits[4:]] == [hit.doc_id for hit in plain[4:]]
        assert reranker.scores("tea", []) == []


def test_a_view_has_the_reranker_of_its_own_settings(
    tiny_kb: KnowledgeBase, tiny_cross_encoder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def search(model: str) -> tuple[str, list[str], tuple[str, ...]]:
        view = tiny_kb.view(settings=tiny_kb.settings.with_values(rerank__model=model))
        hits = view.search("tea garden", rerank=True)
        step = next(one for one in hits.trace if one.name == "rerank")
        return step.detail["reranker"], [hit.chunk_id for hit in hits], hits.warnings

    tiny_kb.ingest(DOCUMENTS)
    plain = [hit.chunk_id for hit in tiny_kb.search("tea garden", rerank=False)]
    name, ids, warnings = search(str(tiny_cross_encoder))
    assert name == str(tiny_cross_encoder) and sorted(ids) == sorted(plain) and not warnings
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_cross_encoder, damaged)
    (damaged / "model.safetensors").write_bytes(b"nothing of the kind")
    for model, why in (("/nowhere/at/all", "/nowhere/at/all"), ("chat", "needs a chat model"), (str(damaged), "cannot be loaded"),
                       (str(tiny_model), "is no cross-encoder")):  # fmt: skip
        _, ids, warnings = search(model)
        assert ids == plain and warnings[0].startswith("Not reranked: ") and why in warnings[0], model


def test_a_model_that_is_no_reranker_is_refused(tmp_path: Path, tiny_settings: Settings) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        open_reranker(tiny_settings.with_values(rerank__model="./nowhere"), lambda: None)
    (tmp_path / "empty").mkdir()
    reranker = open_reranker(tiny_settings.with_values(rerank__model=str(tmp_path / "empty")), lambda: None)
    assert reranker is not None
    with pytest.raises(ModelError, match="cannot be loaded"):
        reranker.scores("q", ["p"])


def test_sentences_are_read_after_a_hybrid_search_and_elsewhere_when_asked(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(DOCUMENTS)

    def steps(**options: object) -> list[str]:
        return [step.name for step in tiny_kb.search("tea garden", **options).trace]

    assert "rerank" in steps() and "rerank" in steps(mode="auto")
    assert "rerank" not in steps(mode="bm25") + steps(mode="hybrid+keywords") + steps(rerank=False)
    assert "rerank" in steps(mode="bm25", rerank=True)
    step = next(step for step in tiny_kb.search("tea garden").trace if step.name == "rerank")
    assert step.detail == {"reranker": "sentences", "weight": 0.1, "by_tokens": True}
    first = [hit.chunk_id for hit in tiny_kb.search("tea garden", top_k=2)]
    assert first == [hit.chunk_id for hit in tiny_kb.search("tea garden", top_k=6)][:2]
    empty = tiny_kb.view(settings=tiny_kb.settings.with_values(rerank__model=""))
    assert "rerank" not in [step.name for step in empty.search("tea garden").trace]
    with pytest.raises(UsageError, match="rerank.model is empty"):
        empty.search("tea", rerank=True)


def test_an_endpoint_scores_the_hits(tmp_path: Path, tiny_settings: Settings) -> None:
    def score(request):  # type: ignore[no-untyped-def]
        results = [
            {"index": at, "relevance_score": float("garden 3" in text)}
            for at, text in enumerate(request.json["documents"])
        ]
        return json_reply({"results": results})

    with OpenAIServer(always=score) as server:
        settings = tiny_settings.with_values(rerank__model="m", rerank__base_url=server.url, rerank__api_key="secret")
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
            kb.ingest(DOCUMENTS)
            assert kb.search("tea garden")[0].doc_id == "d3"
        request = server.requests[0]
        assert request.path.endswith("/rerank") and request.headers["authorization"] == "Bearer secret"
        assert request.json["query"] == "tea garden" and request.json["model"] == "m"


@pytest.mark.parametrize(
    "reply", [html(), status(500), status(307), {"results": []}, {"results": [{"index": 0, "relevance_score": None}]}]
)
def test_an_endpoint_that_fails_costs_the_step(tmp_path: Path, tiny_settings: Settings, reply) -> None:  # type: ignore[no-untyped-def]
    with OpenAIServer(always=json_reply(reply) if isinstance(reply, dict) else reply) as server:
        settings = tiny_settings.with_values(rerank__model="m", rerank__base_url=server.url, rerank__deadline_s=5)
        reranker = open_reranker(settings, lambda: None)
        assert reranker is not None
        with pytest.raises(ChatError):
            reranker.scores("q", ["p"])
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
            kb.ingest(DOCUMENTS)
            hits = kb.search("tea garden 3")
            assert len(hits) == 6
            assert next(step for step in hits.trace if step.name == "rerank").detail["skipped"]


def test_the_chat_model_orders_the_hits(tmp_path: Path, tiny_settings: Settings) -> None:
    with OpenAIServer(always=lambda request: says(_order(request))) as server:
        settings = tiny_settings.with_values(rerank__model="chat", llm__base_url=server.url, llm__model="m")
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb:
            kb.ingest(DOCUMENTS)
            assert kb.search("tea garden")[0].doc_id == "d5"


def _order(request) -> str:  # type: ignore[no-untyped-def]
    shown = request.json["messages"][-1]["content"]
    number = shown[: shown.index("garden 5")].rsplit("<passage>[", 1)[1].split("]")[0]
    return json.dumps({"order": [int(number)]})


def test_a_pair_is_scored_once(tmp_path: Path) -> None:
    from rag.reply_cache import CachedReranker, ReplyCache

    class Lengths:
        """Scores a passage by its length, and counts."""

        name = "lengths"
        asked: list[str] = []

        def scores(self, question: str, passages: list[str]) -> list[float]:
            self.asked += passages
            return [len(passage) / 3 for passage in passages]

    lengths, cache = Lengths(), ReplyCache(tmp_path / "c.sqlite3")
    first = CachedReranker(lengths, cache, "one").scores("q", ["aa", "b", "aa"])
    assert first == [2 / 3, 1 / 3, 2 / 3] and lengths.asked == ["aa", "b"]
    assert CachedReranker(lengths, cache, "one").scores("q", ["b", "ccc", "aa"]) == [1 / 3, 1.0, 2 / 3]
    assert lengths.asked == ["aa", "b", "ccc"]
    CachedReranker(lengths, cache, "another").scores("q", ["b"])
    CachedReranker(lengths, cache, "one").scores("another question", ["b"])
    assert lengths.asked == ["aa", "b", "ccc", "b", "b"]
    cache._db.execute("UPDATE replies SET reply = 'spoilt'")  # type: ignore[union-attr]
    assert CachedReranker(lengths, cache, "one").scores("q", ["b"]) == [1 / 3]
