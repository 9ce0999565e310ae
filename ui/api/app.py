"""The routes of the HTTP API. The only home of FastAPI."""

from __future__ import annotations

import asyncio
import hashlib
import html
import importlib.metadata
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from agents.agent import KINDS
from rag.accounts import Key
from rag.errors import RagstoneError
from rag.ingest import file_doc_id
from rag.jobs import Job
from rag.knowledge_base import KnowledgeBase
from rag.types import DocumentInfo, Event, Usage
from ui.api import accepting, chat, shapes
from ui.api.client_tools import ToolCall
from ui.api.event_stream import EventStream
from ui.api.guard import Guard, error_body
from ui.api.service import Refused, Service, status_of
from ui.api.worker import job_folder

AGENT = "agent:"  # what an agent's name as a model begins with
MAX_FILES = 100
MAX_WAIT_S = 60
POLL_S = 0.2
KEEP_ALIVE_S = 15.0
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": shapes.Error, "description": text}
    for code, text in {
        400: "What was asked cannot be", 401: "No key, or one that is not good", 403: "Not with this key, Host or Origin",
        404: "There is no such thing", 409: "The same request is being answered", 413: "Too large", 422: "Does not fit the schema",
        423: "Something else is writing", 429: "Too many requests, or the budget is used up", 500: "A fault of the server",
        502: "The chat model failed", 503: "A part of the server is not there", 504: "The chat model took too long",
    }.items()
}  # fmt: skip


def create_app(
    service: Service, *, on_start: Callable[[], None] = lambda: None, on_stop: Callable[[], None] = lambda: None
) -> FastAPI:
    """The application. on_start and on_stop run with the server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A thread per running request: each of them may wait for a model.
        anyio.to_thread.current_default_thread_limiter().total_tokens = service.settings.max_running + 16
        await run_in_threadpool(on_start)
        yield
        await run_in_threadpool(on_stop)

    app = FastAPI(
        title="ragstone", version=importlib.metadata.version("ragstone"), lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Chat with collections through any OpenAI client; documents, searches and jobs beside it.",
        openapi_url="/openapi.json", redirect_slashes=False, responses=_ERRORS,
    )  # fmt: skip
    app.add_middleware(Guard, service=service)
    app.add_exception_handler(RagstoneError, on_our_error)
    app.add_exception_handler(RequestValidationError, on_bad_shape)
    app.add_exception_handler(HTTPException, _on_http_error)
    for add in (_add_operations, _add_chat, _add_search, _add_documents, _add_jobs):
        add(app, service)
    plain = app.openapi
    app.openapi = lambda: _with_keys(plain())  # type: ignore[method-assign]
    return app


def _with_keys(spec: dict[str, Any]) -> dict[str, Any]:
    spec.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    spec["security"] = [{"key": []}]
    return spec


# ---------------------------------------------------------------- who asks


def _caller(request: Request) -> Key:
    key: Key = request.state.caller
    return key


def _needs(scope: str) -> Any:
    async def check(request: Request) -> Key:  # a plain function would be sent to a thread
        key = _caller(request)
        if scope not in key.scopes and "admin" not in key.scopes:
            raise Refused(403, "E_SCOPE", f"This needs the scope {scope!r}; the key has {', '.join(key.scopes)}.")
        return key

    return Depends(check)


Reader = Annotated[Key, _needs("read")]
Writer = Annotated[Key, _needs("ingest")]
Admin = Annotated[Key, _needs("admin")]
Collection = Annotated[shapes.Name | None, Query(description="left out: the server's own")]
JobPath = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
DocPath = Annotated[str, Path(min_length=1, max_length=512)]


# ---------------------------------------------------------------- operations


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["operations"], openapi_extra={"security": []})
    def healthz() -> shapes.Health:
        """The process answers."""
        return shapes.Health(ok=True)

    @app.get("/readyz", tags=["operations"], openapi_extra={"security": []}, responses={503: {"model": shapes.Health}})
    def readyz() -> JSONResponse:
        """Catalog and Milvus answer, and the server is not stopping."""
        missing = service.readiness()
        return JSONResponse({"ok": not missing, "not_ready": missing}, 503 if missing else 200)

    @app.get("/metrics", tags=["operations"], response_model=None, responses={200: {"content": {"text/plain": {}}}})
    def metrics(_: Admin) -> PlainTextResponse:
        """Counters for Prometheus."""
        jobs = {(("state", state),): float(n) for state, n in service.jobs.counts().items()}
        ready = {(): float(not service.readiness())}
        running = {(): float(service.limits.n_running)}
        gauges: dict[str, tuple[str, dict[Any, float]]] = {
            "ragstone_jobs": ("Jobs by state", jobs),
            "ragstone_ready": ("1 when every part answers", ready),
            "ragstone_running": ("Requests being answered", running),
        }
        return PlainTextResponse(service.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(_docs_page(app.openapi()))


def _docs_page(spec: dict[str, Any]) -> str:
    """The routes as a page without scripts, so that nothing is loaded from anywhere."""
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape((route.get('description') or route.get('summary') or '').splitlines()[0])}</td></tr>"
        for path, routes in spec["paths"].items()
        for method, route in routes.items()
    ]
    style = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td{padding:.3em 1em .3em 0;vertical-align:top}"
    return (
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>ragstone</title><style>{style}</style>"
        f"<h1>ragstone {html.escape(spec['info']['version'])}</h1><p>{html.escape(spec['info']['description'])} "
        f"Requests and responses in full: <a href=/openapi.json>openapi.json</a>.</p><table>{''.join(rows)}</table></html>"
    )


# ---------------------------------------------------------------- chat


def _add_chat(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", tags=["chat"])
    def models(key: Reader) -> shapes.ModelList:
        """The collections and the agents: each is a model to chat with."""
        agents = [f"{AGENT}{kind}" for kind in KINDS] if service.kb.settings.llm.model != "none" else []
        listed = [_model(name) for name in [*service.seen_by(key).collections(), *agents]]
        return shapes.ModelList(object="list", data=listed)

    @app.get("/v1/models/{model:path}", tags=["chat"])
    def model(key: Reader, model: Annotated[str, Path(min_length=1, max_length=100)]) -> shapes.Model:
        """One of them."""
        _known_collection(service, key, model)
        return _model(model)

    @app.post("/v1/chat/completions", tags=["chat"], response_model=shapes.ChatResponse)
    def completions(request: Request, key: Reader, body: shapes.ChatRequest) -> Any:
        """An answer from a collection, with citations; streamed as server-sent events when `stream` is true.

        With an Idempotency-Key header a request that is sent again gets the first one's answer (not for streams).
        """
        _known_collection(service, key, body.model)
        service.check_budget(key)
        reply_id = f"chatcmpl-{secrets.token_hex(12)}"
        kind, name = _agent_of(service, body.model)
        kb = service.seen_by(key, name)
        explain = bool(body.ragstone and body.ragstone.explain)

        def events_of() -> Iterator[Event | ToolCall]:
            return chat.agent_stream(kb, kind, body) if kind else chat.open_stream(kb, body)

        def spend(usage: Usage) -> None:
            service.spend(key, usage.n_prompt_tokens + usage.n_answer_tokens)

        if body.stream:
            events = events_of()
            usage = bool(body.stream_options and body.stream_options.include_usage)
            lines = chat.chunks(reply_id, body.model, events, spend, usage=usage, explain=explain)
            return EventStream(_begun(lines))

        def whole() -> dict[str, Any]:
            for event in events_of():
                if isinstance(event, ToolCall):
                    spend(event.usage)
                    return chat.call_completion(reply_id, body.model, event)
                if event.answer is not None:
                    spend(event.answer.usage)
                    return chat.completion(reply_id, body.model, event.answer, explain=explain)
            raise Refused(500, "E_BUG", "The answer did not arrive. The server's log says why.")

        return _once(service, key, request, body.model_dump_json(), lambda: (200, whole()))


def _begun(lines: Generator[str]) -> Generator[str]:
    """The lines, the first two of which are there: what goes wrong in the search becomes an HTTP status, not a stream.

    The first line says only that an assistant speaks; the second is made when the search is done.
    """
    head = [next(lines), next(lines)]
    if head[1].startswith('data: {"error"'):
        error = json.loads(head[1][6:])["error"]
        status = {"E_USAGE": 400, "E_FILTER": 400, "E_LLM_DEADLINE": 504}.get(error["code"], 503)
        raise Refused(
            502 if error["code"].startswith("E_LLM") and status != 504 else status, error["code"], error["message"]
        )

    def all_of_them() -> Generator[str]:
        yield from head
        yield from lines

    return all_of_them()


def _model(name: str) -> shapes.Model:
    return shapes.Model(id=name, object="model", created=0, owned_by="ragstone")


def _agent_of(service: Service, model: str) -> tuple[str, str]:
    """The agent's kind and the collection that a model's name means: `agent:KIND` or `agent:KIND/COLLECTION`."""
    if not model.startswith(AGENT):
        return "", model
    kind, _, collection = model.removeprefix(AGENT).partition("/")
    return (kind, collection or service.kb.collection) if kind in KINDS else ("", model)


def _known_collection(service: Service, key: Key, name: str) -> None:
    name = _agent_of(service, name)[1]
    if name not in service.seen_by(key).collections() and name != service.seen_by(key).view().collection:
        raise Refused(404, "model_not_found", f"There is no collection {name[:100]!r}. GET /v1/models lists them.")


# ---------------------------------------------------------------- search


def _add_search(app: FastAPI, service: Service) -> None:
    @app.post("/v1/search", tags=["search"])
    def search(key: Reader, body: shapes.SearchRequest) -> shapes.SearchResponse:
        """The best passages for a query, ranked."""
        options = body.model_dump(exclude={"query", "collection"})
        uses_chat = any(
            options[name]
            for name in ("rewrite", "multi_query", "hyde", "decompose", "step_back", "translate", "auto_filter")
        )
        if uses_chat or options["history"] or options["mode"] == "auto":
            service.check_budget(key)
        kb = service.seen_by(key, body.collection)
        hits = kb.search(body.query, **options)
        return shapes.SearchResponse(
            collection=body.collection or service.seen_by(key).collection, warnings=list(hits.warnings),
            hits=[shapes.Hit(**asdict(hit)) for hit in hits], trace=[asdict(step) for step in hits.trace],
        )  # fmt: skip


# ---------------------------------------------------------------- documents


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": shapes.DocumentsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        },
                        "collection": {"type": "string"},
                        "acl": {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
        },
    }
}


def _add_documents(app: FastAPI, service: Service) -> None:
    @app.post("/v1/documents", tags=["documents"], status_code=202, response_model=shapes.Job, openapi_extra=_BODY,
              responses={200: {"model": shapes.Job, "description": "The job has ended"}})  # fmt: skip
    async def add(
        request: Request,
        key: Writer,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="seconds to wait for its end")] = 0,
    ) -> Any:
        """Import files, texts or URLs. The answer is a job; once it is given, the import happens, whatever comes.

        With an Idempotency-Key header a request that is sent again gets the first one's job.
        """
        if (request.headers.get("content-type") or "").lower().startswith("multipart/form-data"):
            body, collection, take = await _from_form(service, request)
        else:
            body, collection, take = await _from_json(service, request)

        def accepted() -> tuple[int, dict[str, Any]]:
            return 202, job_json(take(service.seen_by(key, collection), key.key_id))

        status, answer = await run_in_threadpool(_outcome, service, key, request, body, accepted)
        return await _waited(service, status, answer, wait)

    @app.get("/v1/documents", tags=["documents"])
    def listed(
        key: Reader,
        collection: Collection = None,
        state: Annotated[str | None, Query(pattern="^(waiting|importing|live|disabled|duplicate|failed)$")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> shapes.DocumentList:
        """What is in the collection, in order of the sources."""
        kb = service.seen_by(key, collection)
        found = [info for info in kb.documents() if state is None or info.state == state]
        page = [shapes.DocumentSummary(**_document(info)) for info in found[offset : offset + limit]]
        return shapes.DocumentList(
            collection=collection or service.seen_by(key).view().collection, documents=page, total=len(found)
        )

    @app.get("/v1/documents/{doc_id:path}", tags=["documents"])
    def show(key: Reader, doc_id: DocPath, collection: Collection = None, text: bool = False) -> shapes.DocumentDetail:
        """One document; with `text` all that it says."""
        kb = service.seen_by(key, collection)
        info = _found(kb.documents(doc_id), doc_id)
        return shapes.DocumentDetail(**_document(info), text=kb.text(doc_id) if text and info.version else None)

    @app.patch("/v1/documents/{doc_id:path}", tags=["documents"])
    def share(
        key: Writer, doc_id: DocPath, body: shapes.AccessRequest, collection: Collection = None
    ) -> shapes.DocumentSummary:
        """Change who finds a document, from the next query on."""
        kb = service.seen_by(key, collection)
        _found(kb.documents(doc_id), doc_id)
        kb.set_access(doc_id, body.acl)
        owner = kb.view(principal=kb.principal)
        still = owner.documents(doc_id)
        if not still:  # whoever takes themselves off the list does not see it any more
            return shapes.DocumentSummary(
                **_document(_found(service.kb.catalog.documents(kb.collection, doc_id), doc_id))
            )
        return shapes.DocumentSummary(**_document(still[0]))

    @app.delete("/v1/documents/{doc_id:path}", tags=["documents"], response_model=shapes.DeletedDocument,
                responses={202: {"model": shapes.Job, "description": "Accepted; something else is writing"}})  # fmt: skip
    async def delete(key: Writer, doc_id: DocPath, collection: Collection = None) -> Any:
        """Remove a document and what was found inside it: gone from every search when this returns 200."""

        def remove() -> Job | None:
            kb = service.seen_by(key, collection)
            _found(kb.documents(doc_id), doc_id)
            return accepting.delete(service, kb, [doc_id], key_id=key.key_id)

        job = await run_in_threadpool(remove)
        if job is None:
            return {"doc_id": doc_id, "deleted": True}
        return await _waited(service, 202, job_json(job), 0)


Take = Callable[[KnowledgeBase, str], Job]
"""(the collection as the caller sees it, the key's id) → the job, accepted"""


async def _from_json(service: Service, request: Request) -> tuple[str, str | None, Take]:
    """The request's identity, the collection, and what accepts its content."""
    raw = await request.body()
    try:
        asked = shapes.DocumentsRequest.model_validate_json(raw)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if bool(asked.documents) == bool(asked.urls):
        raise Refused(400, "E_USAGE", "Send `documents` or `urls`, one of them. Files come as multipart/form-data, in parts named `file`.")  # fmt: skip
    documents = [{**one.model_dump(), "doc_id": one.doc_id or (file_doc_id(one.source) if one.source else secrets.token_hex(8))}
                 for one in asked.documents]  # fmt: skip

    def take(kb: KnowledgeBase, key_id: str) -> Job:
        if asked.urls:
            return accepting.accept(service, kb, key_id=key_id, request={"acl": asked.acl, "urls": asked.urls})
        return accepting.accept_documents(service, kb, documents, key_id=key_id, acl=asked.acl)

    return hashlib.sha256(raw).hexdigest(), asked.collection, take


async def _from_form(service: Service, request: Request) -> tuple[str, str | None, Take]:
    form = await request.form(max_files=MAX_FILES, max_fields=MAX_FILES + 2)
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise Refused(
            400, "E_USAGE", "No file came. Send each in a part named `file`, as `curl -F file=@report.pdf` does."
        )
    names = [accepting.label(one.filename or "", at) for at, one in enumerate(files, start=1)]
    fields = {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in ("collection", "acl")}
    try:
        asked = shapes.DocumentsRequest(collection=next(iter(fields["collection"]), None), acl=fields["acl"])
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    if len(set(names)) < len(names):
        raise Refused(400, "E_USAGE", "Two files have the same name. Send them one after the other, or rename one.")
    identity = await run_in_threadpool(_digest_of, files, json.dumps([names, fields]))
    named = [(name, one.file) for name, one in zip(names, files, strict=True)]

    def take(kb: KnowledgeBase, key_id: str) -> Job:
        return accepting.accept_files(service, kb, named, key_id=key_id, acl=asked.acl)

    return identity, asked.collection, take


def _digest_of(files: list[UploadFile], more: str) -> str:
    digest = hashlib.sha256(more.encode("utf-8", "surrogatepass"))
    for one in files:
        one.file.seek(0)
        for piece in iter(lambda file=one.file: file.read(accepting.PIECE), b""):  # type: ignore[misc]
            digest.update(piece)
    return digest.hexdigest()


def _found(documents: list[DocumentInfo], doc_id: str) -> DocumentInfo:
    if not documents:
        raise Refused(404, "E_NOT_FOUND", f"There is no document {doc_id[:100]!r}. GET /v1/documents lists them.")
    return documents[0]


def _document(info: DocumentInfo) -> dict[str, Any]:
    row = asdict(info)
    row["chunks"] = row.pop("n_chunks")
    return row


# ---------------------------------------------------------------- jobs


def _add_jobs(app: FastAPI, service: Service) -> None:
    @app.get("/v1/jobs", tags=["jobs"])
    def listed(key: Writer) -> shapes.JobList:
        """This key's jobs, the newest first."""
        return shapes.JobList(jobs=[shapes.Job(**job_json(job)) for job in service.jobs.list(key.key_id)])

    @app.get("/v1/jobs/{job_id}", tags=["jobs"])
    def show(key: Writer, job_id: JobPath) -> shapes.Job:
        """How far a job is."""
        return shapes.Job(**job_json(_job(service, key, job_id)))

    @app.get("/v1/jobs/{job_id}/events", tags=["jobs"], response_class=StreamingResponse,
             responses={200: {"content": {"text/event-stream": {}}, "description": "`progress` events, then one `end`"}})  # fmt: skip
    async def events(key: Writer, job_id: JobPath) -> StreamingResponse:
        """The job as it goes on, as server-sent events."""
        await run_in_threadpool(_job, service, key, job_id)
        return StreamingResponse(_job_events(service, key, job_id), media_type="text/event-stream; charset=utf-8")

    @app.delete(
        "/v1/jobs/{job_id}", tags=["jobs"], responses={409: {"model": shapes.Error, "description": "It has begun"}}
    )
    def cancel(key: Writer, job_id: JobPath) -> shapes.Job:
        """Call off a job that has not begun."""
        _job(service, key, job_id)
        if not service.jobs.cancel(job_id):
            raise Refused(409, "E_BEGUN", "The job has begun or ended, and cannot be called off.")
        shutil.rmtree(job_folder(service.kb.home, job_id), ignore_errors=True)
        return shapes.Job(**job_json(_job(service, key, job_id)))


def _job(service: Service, key: Key, job_id: str) -> Job:
    job = service.jobs.get(job_id)
    if job is None or job.key_id != key.key_id:
        raise Refused(404, "E_NOT_FOUND", f"There is no job {job_id!r}. GET /v1/jobs lists yours.")
    return job


async def _job_events(service: Service, key: Key, job_id: str) -> AsyncIterator[str]:
    last, quiet = "", 0.0
    while True:
        job = await run_in_threadpool(_job, service, key, job_id)
        data = json.dumps(job_json(job), ensure_ascii=False)
        if data != last:
            yield f"event: {'end' if job.ended else 'progress'}\ndata: {data}\n\n"
            last, quiet = data, 0.0
        if job.ended or service.stopping.is_set():
            return
        await asyncio.sleep(POLL_S)
        quiet += POLL_S
        if quiet >= KEEP_ALIVE_S:
            yield ": still there\n\n"
            quiet = 0.0


async def _waited(service: Service, status: int, answer: dict[str, Any], wait_s: float) -> JSONResponse:
    """The job once it has ended, or as it is after the time."""
    headers = {"Location": f"/v1/jobs/{answer['id']}"}
    for _ in range(int(wait_s / POLL_S)):
        job = await run_in_threadpool(service.jobs.get, answer["id"])
        if job is None or job.ended or service.stopping.is_set():
            break
        await asyncio.sleep(POLL_S)
    job = await run_in_threadpool(service.jobs.get, answer["id"])
    if job is not None:
        answer = job_json(job)
        status = 200 if job.ended else status
    return JSONResponse(answer, status, headers=headers)


def job_json(job: Job) -> dict[str, Any]:
    return {"id": job.job_id, "object": "job", "kind": job.kind, "collection": job.collection, "state": job.state,
            "progress": dict(job.progress), "result": dict(job.result), "created_at": job.created_at,
            "updated_at": job.updated_at}  # fmt: skip


# ---------------------------------------------------------------- once, and errors


def _once(
    service: Service, key: Key, request: Request, body: str, answer: Callable[[], tuple[int, dict[str, Any]]]
) -> JSONResponse:
    status, content = _outcome(service, key, request, body, answer)
    return JSONResponse(content, status)


def _outcome(
    service: Service, key: Key, request: Request, body: str, answer: Callable[[], tuple[int, dict[str, Any]]]
) -> tuple[int, dict[str, Any]]:
    """The answer; to a request with an Idempotency-Key that was answered before, the answer of that time."""
    token = request.headers.get("idempotency-key")
    if token is None:
        return answer()
    if not 0 < len(token) <= 200 or not token.isprintable():
        raise Refused(400, "E_USAGE", "An Idempotency-Key has 1 to 200 printable characters.")
    before = service.accounts.begin(key.key_id, token, f"{request.url.path}\n{body}")
    if before is not None:
        if not before.same_request:
            raise Refused(422, "E_IDEMPOTENCY", "This Idempotency-Key was used for another request. Use a new one.")
        if not before.status:
            raise Refused(
                409, "E_IDEMPOTENCY", "The first request with this Idempotency-Key is still being answered.", after_s=1
            )
        return before.status, json.loads(before.body)
    try:
        status, content = answer()
    except BaseException:
        service.accounts.forget(key.key_id, token)
        raise
    service.accounts.finish(key.key_id, token, status, content)
    return status, content


def guard_small(app: FastAPI, service: Any) -> None:
    """Guard a server that has no accounts, such as of models or the sandbox; failures are told as they are here."""
    app.add_middleware(Guard, service=service, open_paths=("/health",))
    app.add_exception_handler(RagstoneError, on_our_error)
    app.add_exception_handler(RequestValidationError, on_bad_shape)


async def on_our_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RagstoneError)
    status = status_of(error)
    after = getattr(error, "after_s", None)
    headers = {} if after is None else {"Retry-After": str(max(1, round(after)))}
    return JSONResponse(error_body(error.code, str(error), status), status, headers=headers)


async def on_bad_shape(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    inside = first["loc"][1:] if first["loc"][:1] in (("body",), ("query",), ("path",)) else first["loc"]
    where = ".".join(map(str, inside)) or "the body"
    body = error_body("E_SCHEMA", f"{where}: {first['msg']}.", 422)
    body["error"]["param"] = where
    return JSONResponse(body, 422)


async def _on_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: "There is nothing at this path. GET /docs lists the routes.",
        405: "This path does not take this method.",
    }
    message = messages.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    return JSONResponse(
        error_body(f"E_HTTP_{error.status_code}", message, error.status_code), error.status_code, headers=headers
    )
