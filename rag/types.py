"""The records that travel through ragstone: documents in, hits and cited answers out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, overload

# ---------------------------------------------------------------- documents

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "quote"]


@dataclass(frozen=True, slots=True)
class Document:
    """A document handed over in code: `kb.ingest([Document("text", doc_id="a")])`.

    doc_id: stable name of the document; given again with other text, it becomes a new version.
        Left out, it is derived from `source`; one of the two is needed.
    source: where it comes from, shown in citations; defaults to doc_id.
    metadata: values that filters can test; strings, numbers, booleans or lists of strings.
    """

    text: str
    doc_id: str = ""
    title: str = ""
    source: str = ""
    type: str = "text"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of a document's text with one role: text[start:end]. Blocks are ordered and do not overlap."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0  # headings: 1 to 6
    page: int | None = None  # 1-based


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file inside a file, such as an archive's member or an attachment. It becomes a document of its own.

    name: its path inside the container, as a label; nothing is ever written under it.
    """

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """What a loader makes of a file: text (Markdown where the source has structure) and where its parts lie.

    Characters between blocks are white space. Offsets count Unicode code points of `text`.
    parts: files found inside, still to be read. `text` may be empty when there are parts.
    """

    text: str
    title: str = ""
    type: str = "text"
    blocks: tuple[Block, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    n_pages: int | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """An indexed piece of a document: the document's text[start:end], nothing added or taken away.

    context: title and headings it stands under; embedded and searched with the text, never part of it.
    extra: words for the index alone that follow the text, such as questions it answers or keywords.
    level: 0 for the document's own text. From 1 on, `text` is a summary of text[start:end] and is not quoted.
    parent_start, parent_end: the wider stretch that a reader gets in place of the chunk; None: the chunk itself.
    """

    doc_id: str
    ordinal: int
    start: int
    end: int
    text: str
    context: str = ""
    page: int | None = None
    n_tokens: int = 0  # of the embedding model, context and extra included
    extra: str = ""
    level: int = 0
    parent_start: int | None = None
    parent_end: int | None = None

    @property
    def chunk_id(self) -> str:
        return chunk_id(self.doc_id, self.start, self.end, self.level)

    @property
    def indexed_text(self) -> str:
        """What is embedded and what full-text search sees."""
        return "\n".join(part for part in (self.context, self.text, self.extra) if part)


def chunk_id(doc_id: str, start: int, end: int, level: int = 0) -> str:
    """A chunk's name: its document and place; a summary's ends in ~ and its level."""
    return f"{doc_id}#{start}-{end}" + (f"~{level}" if level else "")


# ---------------------------------------------------------------- import steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkContext:
    """What a chunker may need beside the document.

    tokens: character spans of a text's tokens, int array of shape (n, 2). size: most tokens of a chunk's indexed text,
    `overhead` of the model included. embed: texts to unit vectors, float32 of shape (n, dim).
    """

    doc_id: str
    tokens: Callable[[str], Any]
    size: int
    overlap: int
    context_tokens: int
    overhead: int
    embed: Callable[[Sequence[str]], Any]


Loader = Callable[[bytes, str], "ParsedDocument | Document"]
"""(bytes, file name) → the document. Raises DocumentError, or anything else, which fails this document alone."""
Cleaner = Callable[[ParsedDocument], ParsedDocument]
"""Changes a document before it is cut. Blocks must fit the text it returns; without blocks they are found anew."""
Chunker = Callable[[ParsedDocument, ChunkContext], Sequence[Chunk]]
"""Cuts a document. Each chunk's text is the document's text[start:end], in order of `ordinal` from 0."""
Enricher = Callable[[ParsedDocument, Sequence[Chunk]], Sequence[Chunk]]
"""Adds to chunks what helps to find them: `context`, `extra`, or whole chunks of level 1 and above."""


# ---------------------------------------------------------------- ingest


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A source that could not be imported: a code from errors.CODES and one sentence."""

    source: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the import that a dry run looked at would take, from measurements of this run and earlier ones."""

    seconds: float
    n_chunks: int
    n_tokens: int  # that the embedding model would read
    n_to_embed: int  # chunks whose vectors are not cached
    n_model_calls: int = 0  # of the chat model, for enrichment
    n_model_tokens: int = 0
    cost_usd: float = 0.0
    model_seconds: float | None = 0.0  # of `seconds`, the chat model's; None: not known, and not among them


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCount:
    """What an import wrote of one type of document."""

    type: str
    n_documents: int = 0
    n_pages: int = 0
    n_tables: int = 0
    n_chunks: int = 0
    n_warnings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an import did. seconds_by_step: where the time went, steps that run side by side overlapping.

    duplicates: documents whose content another one has already; they count as added or updated, too, and hold no chunks.
    stopped: the import was stopped; the same call goes on.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    duplicates: int = 0
    failures: tuple[Failure, ...] = ()
    n_chunks: int = 0  # chunks written in this run
    n_embedded: int = 0  # texts the embedding model was called for
    seconds: float = 0.0
    seconds_by_step: Mapping[str, float] = field(default_factory=dict)
    dry_run: bool = False
    stopped: bool = False
    estimate: Estimate | None = None
    warnings: tuple[str, ...] = ()
    types: tuple[TypeCount, ...] = ()  # of the documents added and updated, most frequent first

    @property
    def failed(self) -> int:
        return len(self.failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """A document as the catalog knows it."""

    doc_id: str
    source: str
    title: str
    type: str
    state: str  # waiting, importing, live, disabled, duplicate or failed
    version: int
    n_chunks: int
    n_chars: int
    n_pages: int | None
    updated_at: str  # ISO 8601, UTC
    metadata: Mapping[str, Any]
    code: str = ""  # of the failure, when state is failed
    message: str = ""
    warnings: tuple[str, ...] = ()
    container: str = ""  # doc_id of the file that this one was found in: an archive, a mail
    copy_of: str = ""  # doc_id of the document with the same content, when state is duplicate
    aliases: tuple[str, ...] = ()  # sources of the documents that are copies of this one
    size: int = 0  # of the file in bytes; of a document given in code in characters
    acl: tuple[str, ...] = ("all",)  # who finds it, see rag/principals.py
    edits: Mapping[str, Any] = field(default_factory=dict)  # what people set, see rag/edits.py


# ---------------------------------------------------------------- search


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a retriever is asked. One question may become several of these.

    kind: question, or how it was made: rewrite, variant, part, step-back, translation.
    weight: of its rankings in the fusion. passages: imagined answers; dense search averages their vectors with the
    text's (HyDE), other retrievers pass over them.
    """

    text: str
    kind: str = "question"
    weight: float = 1.0
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that was found. `score` compares only within one result; `parts` says what each retriever gave."""

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
    context: str = ""
    type: str = "text"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    level: int = 0  # from 1 on, `text` is a summary of the document's text[start:end]
    parent_start: int | None = None  # the wider stretch that a reader gets, where the chunk has one
    parent_end: int | None = None
    highlights: tuple[
        tuple[int, int], ...
    ] = ()  # spans of `text` that speak to the question, where they were asked for
    pages: tuple[tuple[int, int], ...] = ()  # where it goes on to further pages: (offset in the document, page)

    def page_of(self, place: int) -> int | None:
        """The page that a place of the document lies on, which is within the hit; None where the document has none."""
        return next((page for start, page in reversed(self.pages) if start <= place), self.page)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the pipeline in a trace."""

    name: str
    ms: float
    n_in: int | None = None
    n_out: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """Ranked hits, best first; behaves like a list of Hit and carries the trace of how they were found.

    question: what was searched: the question as it was asked, or made standalone in a conversation.
    """

    items: tuple[Hit, ...]
    trace: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    question: str = ""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.items[index]


# ---------------------------------------------------------------- chat and answers


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a chat model asks for in its own protocol. arguments: JSON as the model wrote it, valid or not."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a prompt. tool_calls: what an assistant asked for; call_id: which call a tool's message answers."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    n_prompt_tokens: int = 0
    n_answer_tokens: int = 0
    seconds: float = 0.0
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDelta:
    """A piece of a reply as it streams. The last one has `done` set and holds the usage and the tool calls."""

    text: str = ""
    done: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""  # stop or length, on the last one
    usage: Usage | None = None


class ChatModel(Protocol):
    """A chat model. Raises ChatError; a stream that ends without its last delta is a bug of the implementation."""

    name: str

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]: ...

    def close(self) -> None: ...


class Reranker(Protocol):
    """Scores passages for a question by reading both together; higher is better. Thread-safe. Raises ModelError, ChatError."""

    name: str

    def scores(self, question: str, passages: Sequence[str]) -> Sequence[float]: ...


class Embedder(Protocol):
    """Texts to unit vectors, float32 of shape (n, dim). Thread-safe. Raises ModelError."""

    name: str
    dim: int
    max_tokens: int  # the model's input limit in tokens, special tokens included
    fingerprint: str  # equal for two embedders exactly when their vectors may share an index

    def embed_passages(self, texts: Sequence[str]) -> Any: ...
    def embed_queries(self, texts: Sequence[str]) -> Any: ...
    def token_offsets(self, text: str) -> Any:
        """Character spans of the text's tokens, without special tokens: int array of shape (n, 2), in order."""
        ...

    def passage_overhead(self) -> int:
        """Tokens that the model adds to every passage: special tokens and the passage prefix."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A reference in an answer, resolved: the stored document's text[start:end] is `quote`."""

    marker: int  # the number in the answer's text: [1]
    chunk_id: str
    doc_id: str
    source: str
    title: str
    quote: str
    start: int
    end: int
    page: int | None
    supported: bool  # the cited sentence's numbers, dates and names stand in the passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one document says in a conflict: the stored document's text[start:end] is `quote`."""

    values: tuple[str, ...]  # what it says and the others do not, as it stands there; empty when it denies or states
    quote: str
    chunk_id: str
    doc_id: str
    source: str
    title: str
    start: int
    end: int
    page: int | None
    date: str = ""  # of the document, ISO; empty when it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Documents that say different things of one subject. sides: the newest first, those without a date last."""

    kind: Literal["number", "date", "name", "negation"]
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A cited answer. `abstained`: the evidence did not hold an answer, and the text says so.

    data: with a schema, the value that is valid for it; None without one and when abstained.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    trace: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()  # sentences the passages do not bear out
    question: str = ""
    conflicts: tuple[Conflict, ...] = ()  # between a cited sentence and other documents among the hits
    data: Any = None
    broke_off: str = ""  # why the text is not whole: length, or the code of the chat model's failure; empty: it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of `kb.stream`: step (a pipeline step ended), text (a piece of the answer), answer (the end)."""

    kind: Literal["step", "text", "answer"]
    text: str = ""
    step: Step | None = None
    answer: Answer | None = None
