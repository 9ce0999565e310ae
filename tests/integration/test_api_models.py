"""The model server over real sockets, asked by OpenAI's client: a small chat model, embeddings, a reranker."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from rag.embedding import open_embedder
from rag.errors import ModelError
from rag.models import models_dir, resolve
from rag.sizing import gguf_shape, plan
from tests.api_server import listening
from ui.api.model_app import ModelService, create_model_app

KEY = "a-key-of-the-model-server"


class Longest:
    """A reranker: the longer a passage, the better."""

    name = "longest"

    def pair_scores(self, pairs: Any) -> list[float]:
        return [float(len(passage)) for _, passage in pairs]


@pytest.fixture(scope="module")
def url(tiny_settings: Any) -> Iterator[str]:
    embedder = open_embedder(tiny_settings.embedding, tiny_settings.models)
    with listening(create_model_app(ModelService(key=KEY, embedder=embedder, reranker=Longest()))) as found:
        yield found


def client(url: str, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=httpx2.Client(trust_env=False))


def test_embeddings_are_the_embedders(url: str, tiny_settings: Any) -> None:
    texts = ["green tea", "a longer text about black tea"]
    found = client(url).embeddings.create(model="", input=texts, encoding_format="base64")
    raw = [
        np.frombuffer(base64.b64decode(one.embedding), "<f4") if isinstance(one.embedding, str) else one.embedding
        for one in found.data
    ]
    expected = open_embedder(tiny_settings.embedding, tiny_settings.models).embed_passages(texts)
    assert np.allclose(raw, expected, atol=1e-5)


def test_reranking_serves_our_own_client(url: str) -> None:
    body = {"query": "tea", "documents": ["a", "abc", "ab"], "top_n": 2}
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as http:
        ranked = http.post("/v1/rerank", json=body).json()["results"]
    assert ranked == [{"index": 1, "relevance_score": 3.0}, {"index": 2, "relevance_score": 2.0}]


def test_only_what_is_listed_is_served(url: str) -> None:
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as http:
        for path in ("/slots", "/props", "/metrics", "/completion", "/v1/completions", "/docs", "/lora-adapters"):
            assert http.get(path).status_code == 404 and http.post(path, json={}).status_code == 404
        assert http.post("/v1/chat/completions", json={"messages": []}).json()["error"]["code"] == "model_not_found"
        assert http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
        assert http.get("/v1/models", headers={"Origin": "https://evil.example"}).status_code == 403
    with httpx2.Client(base_url=url, trust_env=False) as nobody:
        assert nobody.get("/health").status_code == 200 and nobody.get("/v1/models").status_code == 401
    with pytest.raises(openai.AuthenticationError):
        client(url, "another").models.list()


@pytest.mark.model
def test_a_small_model_chats_streams_and_keeps_to_a_schema(tiny_settings: Any) -> None:
    from rag.local_chat import LlamaServer

    try:
        path = Path(resolve("smollm2-135m", "chat", models_dir("")))
        if not path.is_file():
            raise ModelError("it is not installed")
    except ModelError as error:
        pytest.skip(str(error))
    llama = LlamaServer(path, plan(gguf_shape(path), 2_000_000_000, context=1024, parallel=2), threads=1)
    try:
        with listening(create_model_app(ModelService(key=KEY, chat=("small", llama)))) as url:
            ask = {
                "model": "small",
                "messages": [{"role": "user", "content": "Say hello."}],
                "max_tokens": 8,
                "temperature": 0,
            }
            whole = client(url).chat.completions.create(**ask)  # type: ignore[call-overload]
            assert whole.choices[0].message.content and whole.usage.completion_tokens <= 8
            parts = list(client(url).chat.completions.create(**ask, stream=True))  # type: ignore[call-overload]
            assert (
                "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
                == whole.choices[0].message.content
            )
            schema = {
                "type": "json_schema",
                "json_schema": {
                    "name": "n",
                    "schema": {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]},
                },
            }
            forced = client(url).chat.completions.create(**{**ask, "max_tokens": 24}, response_format=schema)  # type: ignore[call-overload]
            assert "7" in forced.choices[0].message.content
    finally:
        llama.close()
