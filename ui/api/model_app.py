"""A server of models: chat completions, embeddings and reranking in OpenAI's (and Cohere's) shapes. Nothing else is served.

Chat goes through to llama.cpp's server, which listens on a private socket; of its routes this one alone is reachable.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from rag.accounts import Key
from rag.local_chat import LlamaServer
from rag.settings import ApiSettings
from rag.types import Embedder
from ui.api import own_chat
from ui.api.app import guard_small
from ui.api.batches import Batches, PairReranker
from ui.api.event_stream import EventStream
from ui.api.metrics import Metrics
from ui.api.own_chat import ChatRequest, OwnChat
from ui.api.service import OWNER, Limits, Refused, with_the_key

CHAT_TIMEOUT_S = 600.0
_PASSED = ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
           "min_p", "seed", "stop", "n", "presence_penalty", "frequency_penalty", "response_format", "json_schema", "tools",
           "tool_choice", "logprobs", "top_logprobs", "cache_prompt")  # fmt: skip


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore")


class EmbeddingsRequest(_Shape):
    """input_type: query or passage; models with two prompts need to know."""

    model: str = ""
    input: str | list[str] = Field(min_length=1, max_length=2048)
    encoding_format: Literal["float", "base64"] = "float"
    input_type: Literal["query", "passage"] = "passage"


class RerankRequest(_Shape):
    model: str = ""
    query: str = Field(min_length=1, max_length=20_000)
    documents: list[str] = Field(min_length=1, max_length=1000)
    top_n: int | None = Field(None, ge=1)


class ModelService:
    """The models of a server, each of which may be absent, and who may use them. `key` empty: everybody who reaches it."""

    def __init__(
        self, *, key: str, hosts: Sequence[str] = (), chat: tuple[str, LlamaServer] | OwnChat | None = None, embedder: Embedder | None = None,
        reranker: PairReranker | None = None,
    ) -> None:  # fmt: skip
        self.settings = ApiSettings(hosts=list(hosts), origins=[])  # type: ignore[call-arg]
        self.limits = Limits(running=self.settings.max_running, running_per_key=self.settings.max_running)
        self.metrics = Metrics()
        self.chat, self.embedder, self.reranker = chat, embedder, reranker
        self.batches = Batches(embedder, reranker)
        self._key = key

    def caller(self, authorization: str | None) -> Key:
        return with_the_key(authorization, self._key, "This model server") if self._key else OWNER

    def names(self) -> list[str]:
        chat = self.chat[0] if isinstance(self.chat, tuple) else self.chat.name if self.chat else ""
        found = [
            chat,
            self.embedder.name if self.embedder else "",
            self.reranker.name if self.reranker else "",
        ]
        return [name for name in found if name]


def create_model_app(service: ModelService) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.llama = _client(service.chat[1]) if isinstance(service.chat, tuple) else None
        yield
        if app.state.llama is not None:
            await app.state.llama.aclose()

    app = FastAPI(title="ragstone models", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    guard_small(app, service)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "ragstone"} for name in service.names()]
        return {"object": "list", "data": listed}

    if service.chat is not None and not isinstance(service.chat, tuple):
        _add_own_chat(app, service.chat)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        if app.state.llama is None:
            raise Refused(404, "model_not_found", "No chat model is served here.")
        body = await request.json()
        if not isinstance(body, dict):
            raise Refused(400, "E_USAGE", "A chat request is a JSON object.")
        return await _passed_on(app.state.llama, {name: body[name] for name in _PASSED if name in body})

    @app.post("/v1/embeddings")
    def embeddings(body: EmbeddingsRequest) -> dict[str, Any]:
        if service.embedder is None:
            raise Refused(404, "model_not_found", "No embedding model is served here.")
        texts = [body.input] if isinstance(body.input, str) else body.input
        rows = [
            {"object": "embedding", "index": at, "embedding": _encoded(vector, body.encoding_format)}
            for at, vector in enumerate(service.batches.embed(texts, is_query=body.input_type == "query"))
        ]
        return {
            "object": "list",
            "model": service.embedder.name,
            "data": rows,
            "usage": {"prompt_tokens": 0, "total_tokens": 0},
        }

    @app.post("/v1/rerank")
    def rerank(body: RerankRequest) -> dict[str, Any]:
        if service.reranker is None:
            raise Refused(404, "model_not_found", "No reranker is served here.")
        scores = service.batches.scores(body.query, body.documents)
        ranked = sorted(range(len(scores)), key=lambda at: (-scores[at], at))[: body.top_n]
        return {
            "model": service.reranker.name,
            "results": [{"index": at, "relevance_score": float(scores[at])} for at in ranked],
        }

    return app


def _add_own_chat(app: FastAPI, model: OwnChat) -> None:
    """The chat route for a model of this process; it comes before the one that passes on."""

    @app.post("/v1/chat/completions", response_model=None)
    def own(body: ChatRequest) -> Response | dict[str, Any]:
        found = own_chat.deltas(model, body)
        if not body.stream:
            return own_chat.whole(model.name, found)
        usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(own_chat.events(model.name, found, usage=usage))


def _client(llama: LlamaServer) -> httpx2.AsyncClient:
    transport = httpx2.AsyncHTTPTransport(uds=llama.socket or None)
    return httpx2.AsyncClient(
        base_url=llama.url, transport=transport, headers={"Authorization": f"Bearer {llama.key}"},
        timeout=httpx2.Timeout(CHAT_TIMEOUT_S, connect=5), follow_redirects=False,
    )  # fmt: skip


async def _passed_on(llama: httpx2.AsyncClient, body: dict[str, Any]) -> Response:
    """llama.cpp's answer as it comes. A client that leaves ends the generation: the stream to llama.cpp is closed with it."""
    request = llama.build_request("POST", "/v1/chat/completions", json=body)
    try:
        answer = await llama.send(request, stream=True)
    except httpx2.TransportError as error:
        raise Refused(
            503, "E_MODEL", f"The model does not answer ({type(error).__name__}). Start the server again."
        ) from error
    kind = answer.headers.get("content-type", "application/json")
    if not body.get("stream") or answer.status_code != 200:
        content = await answer.aread()
        await answer.aclose()
        return Response(content, answer.status_code, media_type=kind)

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:
            await answer.aclose()

    return StreamingResponse(pieces(), media_type=kind)


def _encoded(vector: Any, form: str) -> Any:
    return (
        base64.b64encode(vector.astype("<f4").tobytes()).decode()
        if form == "base64"
        else [float(value) for value in vector]
    )
