"""Settings: one frozen object, read from defaults, ragstone.toml, the environment and the command line.

Precedence: defaults < file < environment (RAGSTONE__SECTION__KEY) < command line. Every value knows its origin.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from rag.errors import SettingsError

PREFIX = "RAGSTONE__"
FILE_NAME = "ragstone.toml"
FORMS = ("fields", "keywords", "hierarchical", "tree", "list")  # see rag/index_forms.py
Expansion = Literal["implied", "none", "parent", "neighbours", "window", "auto"]  # see rag/expand.py
EXPANSIONS: tuple[str, ...] = get_args(Expansion)
SENTENCES = "sentences"  # the reranker that needs no model
Summaries = Literal["all", "none", "only"]
SUMMARIES: tuple[str, ...] = get_args(Summaries)
MOST_CANDIDATES = 16_384  # of one search: Milvus gives no more
MOST_FAVOUR = 1_000_000  # standard deviations, or times another weight: beyond it sums are no numbers any more
MODES = ("hybrid", "dense", "bm25", "auto", "graph", *FORMS)
RETRIEVERS = ("dense", "bm25", "graph", *FORMS)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class EmbeddingSettings(_Section):
    """[embedding] the model that turns texts into vectors."""

    model: str = Field("e5-small-zh-en", description="alias, folder or hub name of a sentence-transformers model")
    backend: Literal["auto", "openvino-bf16", "openvino-int8", "openvino-fp32", "torch-bf16", "torch-fp32"] = Field(
        "auto", description="auto measures once on this machine and remembers"
    )
    batch_size: int = Field(32, ge=1, le=4096, description="texts per model call")
    threads: int = Field(0, ge=0, description="model threads; 0: all cores for import, one for a query")
    query_prefix: str | None = Field(None, description="overrides the model's own query prompt")
    passage_prefix: str | None = Field(None, description="overrides the model's own passage prompt")
    tokens: bool = Field(
        True,
        description="keep the signs of token vectors for reranking, some 4 KB a chunk; false: neither kept nor used",
    )


class ChunkSettings(_Section):
    """[chunk] how documents are cut."""

    size: int = Field(
        0, ge=0, description="tokens per chunk, context included; 0: the embedding model's limit, at most 512"
    )
    overlap: int = Field(48, ge=0, description="tokens that neighbouring chunks share")
    context_tokens: int = Field(
        96, ge=0, description="most tokens of title and headings put before a chunk for the index; 0: none"
    )
    strategy: Literal[
        "recursive", "heading", "sentence-window", "parent-child", "semantic", "table-rows", "qa", "fixed"
    ] = Field("recursive", description="where documents are cut; docs/chunking.md says which when")
    child_size: int = Field(128, ge=8, description="parent-child, sentence-window: most tokens of text in a chunk")
    sentences: int = Field(2, ge=1, le=20, description="sentence-window: sentences per chunk")
    window: int = Field(3, ge=0, le=50, description="sentence-window: sentences on each side that a reader gets")
    percentile: float = Field(85, gt=0, lt=100, description="semantic: the larger, the fewer breaks")
    rows: int = Field(1, ge=1, le=1000, description="table-rows: rows per chunk")


class ParseSettings(_Section):
    """[parse] limits of the child process that reads files."""

    timeout_s: float = Field(20, gt=0, description="seconds per file, plus one per MB")
    max_timeout_s: float = Field(120, gt=0, description="most seconds for any file")
    memory_mb: int = Field(1024, ge=128, description="address space of the child beyond its start")
    max_file_mb: float = Field(500, gt=0, description="larger files are refused before reading")
    workers: int = Field(0, ge=0, description="child processes; 0: number of cores, at most 4")
    passwords: list[SecretStr] = Field([], description="tried in turn on encrypted PDF and Office files")
    ocr: Literal["auto", "off"] = Field(
        "auto", description="auto: read pages without a text layer where ragstone[ocr] is installed"
    )
    ocr_pages: int = Field(200, ge=1, description="most pages of a document that are read by OCR")
    ocr_page_s: float = Field(30, gt=0, description="seconds per page read by OCR, on top of the file's")
    ocr_memory_mb: int = Field(4096, ge=1024, description="address space of the child while its OCR models are loaded")

    @field_validator("passwords", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        """The environment and the command line give a JSON list, or one password."""
        if not isinstance(value, str):
            return value
        try:
            listed = json.loads(value)
        except ValueError:
            listed = value
        return listed if isinstance(listed, list) else [value]


class IngestSettings(_Section):
    """[ingest] what an import knows of documents beyond their content, and where they are read and embedded."""

    engine: Literal["local", "ray"] = Field("local", description="local: this machine; ray: workers of a Ray cluster")
    ray_address: str = Field("", description="of the cluster, such as ray://host:10001; empty: a Ray on this machine")
    path_patterns: list[str] = Field(
        [], description='metadata from paths below the imported folder: ["{department}/{year:int}/*"]'
    )
    dedupe: bool = Field(True, description="files with the same content share one copy; all their sources are kept")
    keep_uploads: bool = Field(
        True, description="keep uploaded files, so that the page can show them beside their text"
    )


class FetchSettings(_Section):
    """[fetch] pages and files from the web."""

    allow_hosts: list[str] = Field(
        [], description="hosts, addresses or networks (10.0.0.0/8) that may be private, such as an intranet wiki"
    )
    ports: list[int] = Field([80, 443], description="ports that may be asked")
    timeout_s: float = Field(15, gt=0, description="whole fetch, redirects included")
    max_page_mb: float = Field(10, gt=0, description="longest web page or text, unpacked")
    max_file_mb: float = Field(100, gt=0, description="largest PDF, Office file or other document")
    max_redirects: int = Field(5, ge=0, le=20)
    max_pages: int = Field(500, ge=1, description="most pages taken from one sitemap")
    user_agent: str = Field("ragstone/0.1", pattern=r"^[\x20-\x7e]{1,200}$", description="name given to servers")

    @field_validator("allow_hosts", "ports", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """The environment and the command line give a list as text with commas."""
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class EnrichSettings(_Section):
    """[enrich] what is added to chunks so that they are found. Off by default; what asks the chat model costs calls."""

    context: bool = Field(False, description="a sentence by the chat model that places each chunk in its document")
    questions: int = Field(0, ge=0, le=8, description="questions per chunk that it answers, by the chat model")
    keywords: int = Field(0, ge=0, le=50, description="keywords per chunk and document, without a model")
    summaries: Literal["none", "sections", "tree"] = Field(
        "none", description="sections: of each section and the document; tree: of groups of chunks, and of those again"
    )
    summarise: Literal["extract", "chat"] = Field(
        "extract", description="summaries by choosing sentences, or by the chat model"
    )
    group: int = Field(6, ge=2, le=50, description="tree: chunks under one summary")
    cluster: Literal["neighbours", "similar"] = Field(
        "neighbours", description="tree: group chunks that follow one another, or whose vectors are near"
    )
    room_tokens: int = Field(96, ge=0, description="tokens of a chunk kept free for what is added to it")
    max_calls: int = Field(2000, ge=0, description="chat model calls per import; what is left goes in without")
    deadline_s: float = Field(60, gt=0, description="per model call")
    usd_per_million_prompt_tokens: float = Field(0, ge=0, description="price of the endpoint; 0: a local model")
    usd_per_million_answer_tokens: float = Field(0, ge=0)


class SearchSettings(_Section):
    """[search] defaults of retrieval."""

    mode: str = Field(
        "hybrid",
        description="hybrid, dense, bm25, graph, auto (hybrid, the graph where it helps, the chat model where that does not find enough), or retrievers "
        "joined by +: hybrid+keywords",
    )
    top_k: int = Field(10, ge=1, le=MOST_CANDIDATES, description="hits shown")
    depth: int = Field(100, ge=1, le=MOST_CANDIDATES, description="candidates per retriever")
    cache: bool = Field(
        True,
        description="keep what models said for the next time: replies about questions, their vectors, scores of rerankers",
    )
    cross_language: bool = Field(
        True, description="move a question's vector into the language of the documents where that is another one"
    )
    depths: dict[str, Annotated[int, Field(ge=1, le=MOST_CANDIDATES)]] = Field(
        {}, description='of single retrievers, in place of depth: {"bm25": 200}'
    )
    weights: dict[str, Annotated[float, Field(ge=0, le=MOST_FAVOUR)]] = Field(
        {}, description='of single retrievers (else 0.5, and dense_weight): {"keywords": 0.2}'
    )
    boosts: dict[str, Annotated[float, Field(ge=-MOST_FAVOUR, le=MOST_FAVOUR)]] = Field(
        {}, description="what documents that meet a condition gain, in standard deviations: {\"type == 'pdf'\": 0.5}"
    )
    recency: float = Field(
        0.0, ge=0, le=MOST_FAVOUR, description="what a document of today gains, in standard deviations; 0: nothing"
    )
    recency_days: float = Field(365, gt=0, description="age at which half of that is left")
    recency_field: str = Field("date", description="metadata key with the date, as 2026-01-31")
    collapse: float = Field(
        1.0, ge=0, le=1, description="cosine from which a passage repeats a better one; 1: none does"
    )
    fusion: Literal["zscore", "minmax", "rrf"] = Field("zscore", description="how rankings are combined")
    dense_weight: float = Field(0.5, ge=0, le=1, description="weight of dense; BM25 gets the rest")
    dense_trust: bool = Field(
        True,
        description="dense counts less where its best hit is no nearer than chance would bring, BM25 where it finds many equally good",
    )
    graph_weight: float = Field(
        0.75, ge=0, le=1, description="weight of the graph in hybrid+graph; hybrid gets the rest"
    )
    rrf_k: int = Field(60, ge=1)
    summaries: Summaries = Field(
        "all", description="chunks that are summaries: all beside the others, none of them, or only they"
    )
    mmr: float = Field(
        1.0, ge=0, le=1, description="λ of maximal marginal relevance; the lower, the more diverse; 1: off"
    )
    expand: Expansion = Field(
        "implied",
        description="what an answer reads in place of the chunks found; implied: as the chunk.strategy wants it",
    )
    neighbours: int = Field(
        1, ge=0, le=20, description="expand=neighbours: chunks, expand=window: sentences on each side"
    )

    @field_validator("mode")
    @classmethod
    def _known(cls, value: str) -> str:
        if unknown := [name for name in value.split("+") if name not in MODES]:
            raise ValueError(
                f"there is no mode {unknown[0]!r}; known: {', '.join(MODES)}, and several of them joined by +"
            )
        return value

    @field_validator("depths", "weights")
    @classmethod
    def _retrievers(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unknown := [name for name in value if name not in RETRIEVERS]:
            raise ValueError(f"there is no retriever {unknown[0]!r}; known: {', '.join(RETRIEVERS)}")
        return value

    @field_validator("depths", "weights", "boosts", mode="before")
    @classmethod
    def _table(cls, value: Any) -> Any:
        """The environment and the command line give a table as JSON."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return value


class GraphSettings(_Section):
    """[graph] the knowledge graph; all but `neighbours` where the chat model extracts it (`ragstone graph build --method chat`)."""

    gleanings: int = Field(1, ge=0, le=3, description="times that the model is asked for what it left out of a chunk")
    max_calls: int = Field(2000, ge=0, description="chat model calls per build; chunks beyond it are read by rules")
    deadline_s: float = Field(120, gt=0, description="per model call")
    neighbours: float = Field(
        0,
        ge=0,
        le=1,
        description="cosine of two names' vectors from which they count as one entity; 0: names are not compared",
    )


class UnderstandSettings(_Section):
    """[understand] what a chat model does with a question before the search. Off by default: each costs a model call."""

    rewrite: bool = Field(False, description="reword the question as a search query")
    multi_query: int = Field(0, ge=0, le=8, description="reworded queries beside the question")
    hyde: int = Field(0, ge=0, le=8, description="imagined passages whose vectors are averaged with the question's")
    decompose: bool = Field(False, description="search for sub-questions, too")
    step_back: bool = Field(False, description="search for the more general question, too")
    translate: bool = Field(False, description="search in the other language, too (English, Chinese)")
    auto_filter: bool = Field(False, description="read conditions on documents from the question")
    auto: Literal["endpoint", "always", "never"] = Field(
        "endpoint",
        description="when the mode auto may ask the chat model: a local one in this process takes many seconds for it",
    )
    deadline_s: float = Field(
        30, gt=0, description="for all model calls of a question; the search then goes on without the rest"
    )


class RerankSettings(_Section):
    """[rerank] who reads the best candidates beside the question."""

    model: str = Field(
        "sentences",
        description="sentences: the best sentence of each, after a hybrid search, without a model; a cross-encoder's alias, folder or "
        "hub name; chat: the chat model; empty: none",
    )
    base_url: str = Field("", description="endpoint with /rerank; empty: the model runs here")
    api_key: SecretStr = Field(SecretStr(""), description="key for the endpoint")
    depth: int = Field(20, ge=1, le=1000, description="candidates that are read")
    weight: float | None = Field(
        None, ge=0, le=1, description="of its scores; the first ranking's get the rest; none: 1, and 0.1 for sentences"
    )
    threshold: float | None = Field(None, description="lowest score that is kept; none: all")
    batch_size: int = Field(16, ge=1, le=1024)
    threads: int = Field(0, ge=0, description="model threads; 0: torch decides")
    deadline_s: float = Field(30, gt=0, description="per call of an endpoint or chat model")


class AnswerSettings(_Section):
    """[answer] from hits to an answer."""

    order: Literal["rank", "edges", "document"] = Field(
        "rank", description="of the passages in the prompt; edges: the best first and last, the others between"
    )

    max_passages: int = Field(3, ge=1, le=50, description="passages in the prompt; small models do best with few")
    passage_tokens: int = Field(160, ge=16, description="about how many tokens of a chunk are shown to the model")
    max_tokens: int = Field(256, ge=8, description="longest answer")
    temperature: float = Field(0.0, ge=0, le=2)


class LlmSettings(_Section):
    """[llm] the chat model."""

    model: str = Field(
        "auto",
        description="auto: the endpoint's model, else the local one, else extractive; or a name, alias, .gguf file, or none",
    )
    base_url: str = Field("", description="OpenAI-compatible endpoint; empty: a local model")
    api_key: SecretStr = Field(SecretStr(""), description="key for the endpoint")
    deadline_s: float = Field(120, gt=0, description="whole call, retries included")
    connect_timeout_s: float = Field(5, gt=0)
    max_response_mb: float = Field(16, gt=0, description="longest reply, decoded")
    threads: int = Field(0, ge=0, description="threads of the local model; 0: all cores")
    context_tokens: int = Field(4096, ge=512, description="context of the local model")
    offered: list[str] = Field([], description="other models of the endpoint that a chat on the page may choose")

    @field_validator("offered", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class AgentSettings(_Section):
    """[agent] agents over the collection."""

    kind: Literal["react", "plan", "team", "research", "corrective", "toolsearch"] = Field(
        "react", description="how an agent works; docs/agents.md says which when"
    )
    max_steps: int = Field(12, ge=1, le=200, description="model replies of a run, the answer included")
    max_tokens: int = Field(60_000, ge=100, description="of a run, prompts and replies together")
    timeout_s: float = Field(0, ge=0, description="of a run; 0: 60 with an endpoint, 900 with a local model")
    reply_tokens: int = Field(400, ge=16, description="longest reply of the model")
    tool_calls: Literal["auto", "native", "text"] = Field(
        "auto",
        description="native: the endpoint's own tool calls; text: JSON in the reply; auto: native where there is",
    )
    approve: Literal["ask", "never", "all"] = Field(
        "ask", description="calls with an effect after text from outside was read: ask a person, refuse, or allow"
    )
    tools: list[str] = Field(
        [], description="beside search, read_document and calculator: graph, web, files, python, sql"
    )
    workspace: str = Field("", description="folder of the tool files; empty: one under the home")
    databases: list[str] = Field([], description="SQLite, DuckDB and CSV files that the tool sql reads")
    sandbox: Literal["auto", "bubblewrap", "landlock", "off"] = Field("auto", description="what runs the tool python")
    sandbox_url: str = Field(
        "", description="sandbox service that runs it instead, such as http://sandbox:8320/v1; empty: this machine does"
    )
    sandbox_key: SecretStr = Field(SecretStr(""), description="key of the sandbox service")
    sandbox_s: float = Field(20, gt=0, description="seconds per program")
    sandbox_memory_mb: int = Field(1024, ge=64, description="memory per program")
    keep_prompts: bool = Field(False, description="store the prompts of each run with its trace")
    episodes: int = Field(
        0,
        ge=0,
        le=5,
        description="examples of a user's earlier runs that went well, shown for a like task; 0: none, and none kept",
    )

    @field_validator("tools", "databases", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class MilvusSettings(_Section):
    """[milvus] the vector store."""

    uri: str = Field("", description="empty: embedded Milvus Lite under the home; else http://host:19530")
    token: SecretStr = SecretStr("")
    timeout_s: float = Field(10, gt=0, description="per call")
    prefix: str = Field(
        "ragstone", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", description="prefix of our collections on a shared server"
    )


class CatalogSettings(_Section):
    """[catalog] the source of truth."""

    url: str = Field("", description="empty: SQLite under the home; else an SQLAlchemy URL")


class ModelsSettings(_Section):
    """[models] where model files live."""

    dir: str = Field("", description="empty: $RAGSTONE_MODELS, else the user's cache folder")


class UiSettings(_Section):
    """[ui] the page."""

    host: str = "127.0.0.1"
    port: int = Field(8501, ge=1, le=65535)
    behind_proxy: bool = Field(
        False,
        description="listen beyond this machine: something in front asks for a password, or forwards loopback alone",
    )
    import_folders: list[str] = Field(
        [], description="folders of this machine that may be imported from the page where several people use it"
    )

    follow_ups: bool = Field(
        True,
        description="an endpoint's chat model proposes what to ask next, once the answer is there; else headings do",
    )
    oidc_roles: list[str] = Field(
        [],
        description="sign-in by OIDC: who gets which role, such as ann@example.org=editor or @example.org=viewer; docs/page-people.md",
    )

    @field_validator("import_folders", "oidc_roles", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class ApiSettings(_Section):
    """[api] the HTTP API."""

    host: str = "127.0.0.1"
    port: int = Field(8300, ge=1, le=65535)
    hosts: list[str] = Field([], description="names under which it is asked, beside those of this machine")
    origins: list[str] = Field(
        [], description="web pages that may call it, such as https://wiki.example; others get 403"
    )
    max_body_mb: float = Field(10, gt=0, description="largest request but for uploads")
    max_upload_mb: float = Field(100, gt=0, description="largest upload, all files of a request together")
    max_running: int = Field(256, ge=1, le=2000, description="requests answered at once; more get 503")
    max_running_per_key: int = Field(64, ge=1, description="chats and searches of one key at once; more get 429")
    grace_s: float = Field(30, ge=0, description="after SIGTERM: how long running requests may take to end")
    worker: bool = Field(True, description="this process works on imports, too; false: `ragstone worker` does")
    log_format: Literal["text", "json"] = Field("text", description="one line per request on stderr")

    @field_validator("hosts", "origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """The environment and the command line give a list as text with commas."""
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class Settings(_Section):
    """All settings. Build with `Settings.load()`; the plain constructor gives the defaults.

    Raises: SettingsError, naming the key, what came and the nearest valid key.
    """

    embedding: EmbeddingSettings = EmbeddingSettings()
    chunk: ChunkSettings = ChunkSettings()
    enrich: EnrichSettings = EnrichSettings()
    parse: ParseSettings = ParseSettings()
    fetch: FetchSettings = FetchSettings()
    ingest: IngestSettings = IngestSettings()
    search: SearchSettings = SearchSettings()
    graph: GraphSettings = GraphSettings()
    understand: UnderstandSettings = UnderstandSettings()
    rerank: RerankSettings = RerankSettings()
    answer: AnswerSettings = AnswerSettings()
    llm: LlmSettings = LlmSettings()
    agent: AgentSettings = AgentSettings()
    milvus: MilvusSettings = MilvusSettings()
    catalog: CatalogSettings = CatalogSettings()
    models: ModelsSettings = ModelsSettings()
    ui: UiSettings = UiSettings()
    api: ApiSettings = ApiSettings()

    @classmethod
    def load(
        cls,
        file: str | os.PathLike[str] | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Read settings. `overrides` maps dotted keys ("search.top_k") to values and wins over everything.

        file: a TOML file; left out, ./ragstone.toml is read if it is there.
        """
        return load_with_origins(file, overrides=overrides, environ=environ)[0]

    def with_values(self, **dotted: Any) -> Settings:
        """A copy with some values changed: `settings.with_values(search__top_k=5)`."""
        tree = self.model_dump()
        for key, value in dotted.items():
            _put(tree, key.replace("__", "."), value, "with_values")
        return _validate(tree, {})


def home_folder(home: str | os.PathLike[str] | None = None) -> Path:
    """Where everything is kept: as named, else $RAGSTONE_HOME, else ./.ragstone."""
    return Path(home or os.environ.get("RAGSTONE_HOME") or ".ragstone").expanduser().absolute()


def load_with_origins(
    file: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Settings and, for each dotted key, where its value comes from."""
    environ = os.environ if environ is None else environ
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer, origin in _layers(file, environ, overrides or {}):
        for key, value in layer:
            _put(tree, key, value, origin)
            origins[key] = origin
    settings = _validate(tree, origins)
    return settings, {key: origins.get(key, "default") for key, _ in walk(settings)}


def walk(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every (dotted key, value), in the order of the file."""
    for section in type(settings).model_fields:
        part = getattr(settings, section)
        for name in type(part).model_fields:
            yield f"{section}.{name}", getattr(part, name)


def _layers(
    file: str | os.PathLike[str] | None, environ: Mapping[str, str], overrides: Mapping[str, Any]
) -> Iterator[tuple[list[tuple[str, Any]], str]]:
    path = Path(file) if file is not None else Path(FILE_NAME)
    if file is not None or path.is_file():
        yield list(_flatten(_read_toml(path))), str(path)
    usual = [("llm.base_url", "OPENAI_BASE_URL"), ("llm.api_key", "OPENAI_API_KEY")]
    for key, name in usual:
        if environ.get(name):
            yield [(key, environ[name])], name
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            key = name[len(PREFIX) :].lower().replace("__", ".")
            yield [(key, value)], name
    yield list(overrides.items()), "command line"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read ({error.strerror}). Check --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from error


def _flatten(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, values in tree.items():
        if isinstance(values, Mapping):
            for name, value in values.items():
                yield f"{section}.{name}", value
        else:
            yield section, values


def _put(tree: dict[str, Any], key: str, value: Any, origin: str) -> None:
    section, _, name = key.partition(".")
    part = Settings.model_fields.get(section)
    known = [f"{s}.{n}" for s, f in Settings.model_fields.items() for n in f.annotation.model_fields]  # type: ignore[union-attr]
    if part is None or not name or key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else "See `ragstone config show` for all keys."
        raise SettingsError(f"Unknown setting {key!r} (from {origin}). {hint}")
    tree.setdefault(section, {})[name] = value


def _validate(tree: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        origin = origins.get(key, "code")
        given = "" if "api_key" in key or "token" in key or "passwords" in key else f" Given: {first.get('input')!r}."
        raise SettingsError(
            f"Setting {key} (from {origin}): {first['msg'].removeprefix('Value error, ')}.{given}"
        ) from error
