"""Evaluation on the real knowledge base: systems with settings of their own, answers, tuning, traces; a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from eval import commands
from eval.answer_commands import answers
from eval.tune_commands import tune
from rag.chat import OpenAIChat
from rag.embedding import LocalEmbedder
from rag.knowledge_base import KnowledgeBase
from rag.reply_cache import CachedChat
from tests.fakes.openai_server import OpenAIServer, Reply, Request, json_reply, says

WORDS = [
    "amber",
    "basalt",
    "chalk",
    "dolomite",
    "emerald",
    "flint",
    "granite",
    "halite",
    "jade",
    "kaolin",
    "lapis",
    "marble",
]
Opener = Callable[[str | None, Mapping[str, str]], KnowledgeBase]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stones")
    corpus = [{"_id": f"d{n}", "text": f"The {word} was found near the river in {1800 + n}. It is kept in the garden of tea."} for n, word in enumerate(WORDS)]  # fmt: skip
    queries = [{"_id": f"q{n}-{at}", "text": f"{ask} the {word} found?", "answer": str(1800 + n)} for n, word in enumerate(WORDS) for at, ask in enumerate(("When was", "In which year was"))]  # fmt: skip
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("".join(f"q{n}-{at}\td{n}\t1\n" for n in range(len(WORDS)) for at in (0, 1)))
    return folder


@pytest.fixture(scope="module")
def opener(tiny_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Opener:
    home = tmp_path_factory.mktemp("home")
    first: list[KnowledgeBase] = []

    def open_kb(collection: str | None, changes: Mapping[str, str]) -> KnowledgeBase:
        settings = tiny_settings.with_values(**{key.replace(".", "__"): value for key, value in changes.items()})
        first.append(KnowledgeBase.open(home, settings=settings, collection=collection or "default", models_of=first[0] if first else None))  # fmt: skip
        return first[-1]

    return open_kb


def test_systems_have_their_own_settings(data: Path, opener: Opener, tmp_path: Path) -> None:
    systems = "bm25,dense(chunk.size=40,chunk.overlap=0),hybrid(fusion=rrf)+mmr@0.5,hybrid(depth=3)"
    tree, code = commands.run(data, systems=systems, open_kb=opener, out_dir=tmp_path / "one")
    assert code == 0 and tree["systems"]["bm25"]["recall@10"] == 1.0
    rows = (tmp_path / "one" / "runs" / "hybrid_depth_3_.trec").read_text().splitlines()
    assert len(rows) == 3 * 24, "a search for 100 documents gives no more than the depth"
    with opener(None, {}) as kb:
        made = [name for name in kb.collections() if name.startswith("eval_")]
    assert len(made) == 2, "one index for equal settings of the import"
    again, _ = commands.run(data, systems=systems, open_kb=opener, out_dir=tmp_path / "two")
    assert {k: v for k, v in again.items() if k not in ("latency_ms", "out")} == {k: v for k, v in tree.items() if k not in ("latency_ms", "out")}  # fmt: skip
    for name in ("report.html", "metrics.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_traces_show_where_systems_part(data: Path, opener: Opener) -> None:
    tree, _ = commands.run(data, systems="bm25,dense", open_kb=opener)
    (best, traced), *_ = tree["traces"].items()
    steps = next(iter(traced.values()))
    assert best == "bm25" and [step["step"] for step in steps] == ["recall:bm25", "resolve", "load"]
    assert steps[0]["first_relevant"] == 1 and steps[0]["out"] > 0


def test_answers_without_a_model(data: Path, opener: Opener) -> None:
    tree, code = answers(data, systems="bm25", limit=6, open_kb=opener)
    one = tree["systems"]["bm25"]
    assert code == 0 and one["broken_citations"] == 0 and tree["n_with_reference"] == 6
    assert one["holds-answer"] == 1.0 and one["citation-precision"] == 1.0


def test_tuning_builds_the_indexes_it_needs(data: Path, opener: Opener, tmp_path: Path) -> None:
    tree, code = tune(
        data, space=["mode=bm25", "chunk.size=40"], open_kb=opener, mode="dense", budget=3, out_dir=tmp_path
    )
    assert code == 0 and tree["best"] == {"search.mode": "bm25", "chunk.size": "40"}
    assert (tmp_path / "recommended.toml").exists() and tree["holdout"]["n_queries"] == 10


def _reply(request: Request) -> Reply:
    """A usable reply to whatever is asked; half of them end because of max_tokens."""
    if request.path.endswith("/rerank"):
        scores = [{"index": at, "relevance_score": len(text)} for at, text in enumerate(request.json["documents"])]
        return json_reply({"results": scores})
    asked = request.json["messages"]
    if "response_format" not in request.json:
        return says("The amber was found in 1800 [1].")
    key = next(iter(request.json["response_format"]["json_schema"]["schema"]["properties"]))
    n = sum(len(one["content"]) for one in asked)
    if key == "order":
        return says('{"order": [2, 1]}')
    if key == "reason":
        return says('{"reason": "so", "grade": 4, "better": "tie"}')
    if key == "answer":
        return says('{"answer": ["in 1800"]}')
    if key == "translation":
        return says(json.dumps({key: ["琥珀" if asked[-1]["content"].isascii() else "basalt"]}))
    if key == "conditions":
        return says('{"conditions": ["none"]}')
    texts = ["Who found the amber?", "What else did #1 find?"] if key == "questions" else [f"stone {n}", f"river {n}"]
    return says(json.dumps({key: texts}), finish_reason="length" if n % 2 else "stop")


def test_a_second_evaluation_asks_no_model_anything(
    tmp_path: Path, tiny_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that a model can do in a search, judged answers, and a question in another language than the documents."""
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": f"d{n}", "text": f"The {word} was found near the river in {1800 + n}."}) for n, word in enumerate(WORDS)))  # fmt: skip
    queries = [{"_id": "q0", "text": "When was the amber found?", "answer": "1800"}, {"_id": "q1", "text": "玄武岩是哪年发现的？", "answer": "1801"}]  # fmt: skip
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels.tsv").write_text("q0\td0\t1\nq1\td1\t1\n")
    embedded: list[str] = []
    for name in ("embed_queries", "embed_passages", "embed_with_tokens", "query_tokens"):
        plain = getattr(LocalEmbedder, name)
        monkeypatch.setattr(LocalEmbedder, name, lambda self, texts, name=name, plain=plain: (embedded.append(name), plain(self, texts))[1])  # fmt: skip
    systems = "hybrid+rewrite+multi-query@2+step-back+translate,hybrid+hyde@2,hybrid+decompose,dense+auto-filter,hybrid+rerank,hierarchical,auto"
    asked = []
    with OpenAIServer(always=_reply) as server:
        for _ in range(2):  # each with knowledge bases of its own, as in another process
            for rerank in ({"rerank__model": "chat"}, {"rerank__model": "scorer", "rerank__base_url": server.url}):
                settings = tiny_settings.with_values(llm__model="auto", llm__base_url=server.url, **rerank)

                def open_kb(
                    collection: str | None, changes: Mapping[str, str], settings: Any = settings
                ) -> KnowledgeBase:
                    return KnowledgeBase.open(tmp_path / "home", settings=settings, collection=collection or "default")

                tree, code = commands.run(tmp_path, systems=systems, open_kb=open_kb)
                assert code == 0, tree["problems"]
                with open_kb(None, {}) as kb:
                    judge = CachedChat(OpenAIChat(settings.llm), kb.replies)
                    _, code = answers(tmp_path, systems="hybrid,bm25", judge=judge, open_kb=open_kb)
                assert code == 0
            asked.append([request.json.get("messages", [{}])[0].get("content", "")[:40] for request in server.requests])
            asked[-1] += embedded
            server.requests.clear()
            embedded.clear()
    assert len(asked[0]) > 20 and {"embed_queries", "embed_passages"} <= set(asked[0])
    assert asked[1] == []
