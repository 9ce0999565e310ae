"""The requests and responses of the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from rag.settings import Expansion, Summaries

MOST_DEPTH = 2_000
MAX_QUESTION = 20_000
MAX_TEXT = 5_000_000

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"),
]
DocId = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Reader = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,99}$")]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Open(BaseModel):
    """Clients of OpenAI's API send more than we know; what changes nothing is passed over."""

    model_config = ConfigDict(extra="ignore")


# ---------------------------------------------------------------- search


class SearchOptions(_Shape):
    """How to search, as the options of `KnowledgeBase.search`; what is left out is as the server's settings say."""

    top_k: int | None = Field(None, ge=1, le=200)
    mode: str | None = Field(
        None, max_length=100, pattern=r"^[a-z0-9+]+$", description="hybrid, dense, bm25, auto, graph, …, joined by +"
    )
    filter: str | None = Field(None, max_length=10_000, description="such as: type == 'pdf' and year >= 2024")
    mmr: float | None = Field(None, ge=0, le=1, description="1 is relevance alone, 0 diversity alone")
    summaries: Summaries | None = Field(None, description="chunks that are summaries")
    expand: Expansion | None = Field(None, description="what is shown in place of the chunks found")
    neighbours: int | None = Field(None, ge=0, le=20, description="chunks or sentences on each side, with expand")
    highlight: bool = Field(False, description="mark the sentences that speak to the query")
    rerank: bool | None = None
    fusion: Literal["zscore", "minmax", "rrf"] | None = None
    rrf_k: int | None = Field(None, ge=1, le=1_000_000)
    depth: int | None = Field(None, ge=1, le=MOST_DEPTH, description="candidates per retriever")
    depths: dict[str, Annotated[int, Field(ge=1, le=MOST_DEPTH)]] | None = Field(
        None, description="of single retrievers"
    )
    dense_weight: float | None = Field(None, ge=0, le=1)
    dense_trust: bool | None = None
    graph_weight: float | None = Field(None, ge=0, le=1)
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = Field(None, description='such as {"keywords": 0.2}')
    boosts: dict[str, float] | None = Field(None, max_length=20, description="such as {\"type == 'pdf'\": 0.5}")
    recency: float | None = Field(None, ge=0)
    recency_days: float | None = Field(None, gt=0)
    recency_field: str | None = Field(None, max_length=100)
    collapse: float | None = Field(None, ge=0, le=1)
    cross_language: bool | None = None
    cache: bool | None = Field(None, description="false: models are asked anew")
    rewrite: bool | None = None
    multi_query: int | None = Field(None, ge=0, le=8)
    hyde: int | None = Field(None, ge=0, le=8)
    decompose: bool | None = None
    step_back: bool | None = None
    translate: bool | None = None
    auto_filter: bool | None = None
    explain: bool = False


class SearchRequest(SearchOptions):
    query: str = Field(max_length=MAX_QUESTION)
    collection: Name | None = None
    history: list[tuple[str, str]] = Field([], max_length=10, description="question and answer, the oldest first")


class Hit(_Open):
    rank: int
    chunk_id: str
    doc_id: str
    source: str
    title: str
    score: float
    text: str
    start: int
    end: int
    page: int | None = None
    context: str
    type: str
    metadata: dict[str, Any]
    parts: dict[str, float] = Field(description="what each retriever gave")
    highlights: list[tuple[int, int]] = Field(description="spans of `text`, where they were asked for")


class SearchResponse(_Open):
    collection: str
    hits: list[Hit]
    trace: list[dict[str, Any]]
    warnings: list[str]


# ---------------------------------------------------------------- chat


class Part(_Open):
    type: str
    text: str | None = Field(None, max_length=MAX_TEXT)


class ChatMessage(_Open):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str, StringConstraints(max_length=MAX_TEXT)] | list[Part] | None = None
    tool_calls: list[dict[str, Any]] | None = Field(None, max_length=100, description="of an assistant's message")
    tool_call_id: str = Field("", max_length=200, description="of a tool's message: which call this is the result of")

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text or "" for part in self.content)
        return self.content or ""

    @property
    def is_text(self) -> bool:
        return not isinstance(self.content, list) or all(part.type == "text" for part in self.content)


class StreamOptions(_Open):
    include_usage: bool = False


class ChatRequest(_Open):
    """As OpenAI's clients send it. The last user message is the question, what stands before it the conversation."""

    model: Name
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=8, le=32_000)
    max_completion_tokens: int | None = Field(None, ge=8, le=32_000)
    temperature: float | None = Field(None, ge=0, le=2)
    n: int | None = Field(None, ge=1, le=1)
    tools: list[Any] | None = Field(None, max_length=128, description="the client's; a reply may ask for a call of one")
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    ragstone: SearchOptions | None = Field(None, description="how to search for the passages")

    @field_validator("stream", mode="before")
    @classmethod
    def _null_is_false(cls, value: Any) -> Any:
        return False if value is None else value


class ChatChoice(_Open):
    index: int
    message: dict[str, Any]
    finish_reason: str


class ChatResponse(_Open):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: dict[str, int]
    citations: list[dict[str, Any]] = Field(description="what the markers [1], [2] in the text lead to")
    ragstone: dict[str, Any] = Field(description="abstained, question, warnings, unsupported, hits, trace")


# ---------------------------------------------------------------- models


class Model(_Open):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(_Open):
    object: Literal["list"]
    data: list[Model]


# ---------------------------------------------------------------- documents and jobs


class NewDocument(_Shape):
    text: str = Field(min_length=1, max_length=MAX_TEXT)
    doc_id: DocId | None = Field(None, description="given again with another text, it becomes a new version")
    title: str = Field("", max_length=1000)
    source: str = Field("", max_length=2000)
    type: Literal["text", "markdown"] = "text"
    metadata: dict[str, str | int | float | bool | list[str]] = {}


class DocumentsRequest(_Shape):
    """Texts, or URLs that the server fetches. Files come as multipart/form-data, in any number of parts named `file`."""

    documents: list[NewDocument] = Field([], max_length=1000)
    urls: list[Annotated[str, StringConstraints(pattern=r"^https?://", max_length=4000)]] = Field([], max_length=100)
    collection: Name | None = None
    acl: list[Reader] = Field([], max_length=100, description="who finds them; empty: everybody of the tenant")


class AccessRequest(_Shape):
    acl: list[Reader] = Field(min_length=1, max_length=100, description="`all`: everybody of the tenant")


class DocumentSummary(_Open):
    doc_id: str
    source: str
    title: str
    type: str
    state: str
    version: int
    chunks: int
    n_chars: int
    n_pages: int | None
    updated_at: str
    metadata: dict[str, Any]
    code: str
    message: str
    warnings: list[str]
    acl: list[str]


class DocumentDetail(DocumentSummary):
    text: str | None = None


class DocumentList(_Open):
    collection: str
    documents: list[DocumentSummary]
    total: int


class DeletedDocument(_Open):
    doc_id: str
    deleted: bool


class Job(_Open):
    id: str
    object: Literal["job"]
    kind: str
    collection: str
    state: Literal["queued", "running", "stopping", "done", "failed", "cancelled"]
    progress: dict[str, Any]
    result: dict[str, Any]
    created_at: str
    updated_at: str


class JobList(_Open):
    jobs: list[Job]


class Error(_Open):
    """Every error has this shape."""

    error: dict[str, Any]


class Health(_Open):
    ok: bool
    not_ready: dict[str, str] = {}
