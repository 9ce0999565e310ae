"""The steps of an import that code may replace: loaders, cleaners, the chunker, enrichers. Each is one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from rag.errors import DocumentError, UsageError
from rag.types import Chunk, ChunkContext, Chunker, Cleaner, Document, Enricher, Loader, ParsedDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPipeline:
    """What happens to a document between its bytes and its chunks; what is left out happens as the settings say.

    loaders: by file extension (".log"), in place of the built-in one or for a format that has none. They run in this
        process, without the limits of the parser's child process.
    cleaners: in order, before the document is cut. chunker: None cuts by `chunk.strategy`. enrichers: in order, after.
    version: raise it when a function does something else under the same name, and documents are read again.
    """

    loaders: Mapping[str, Loader] = field(default_factory=dict)
    cleaners: Sequence[Cleaner] = ()
    chunker: Chunker | None = None
    enrichers: Sequence[Enricher] = ()
    version: str = ""

    def loader(self, name: str) -> Loader | None:
        """The loader for a file of that name; None: a built-in one."""
        return self.loaders.get(PurePosixPath(name).suffix.lower())

    @property
    def recipe(self) -> str:
        """Names the functions, so that documents are read again when others take their place."""
        chunker = [self.chunker] if self.chunker else []
        names = [_name(one) for one in (*self.loaders.values(), *self.cleaners, *chunker, *self.enrichers)]
        return "".join(f" +{name}" for name in [*names, *([f"version={self.version}"] if self.version else [])])


def load_with(loader: Loader, data: bytes, name: str) -> ParsedDocument:
    """Run a loader that somebody else wrote. Raises: DocumentError, whatever it raises."""
    try:
        loaded = loader(data, name)
    except DocumentError:
        raise
    except Exception as error:  # the edge: a fault in it costs the document and not the import
        detail = " ".join(str(error).split())[:200]
        raise DocumentError(
            "E_PARSE", f"{name} could not be read by {_name(loader)} ({type(error).__name__}: {detail})."
        ) from error
    if isinstance(loaded, Document):
        return ParsedDocument(text=loaded.text, title=loaded.title, type=loaded.type, metadata=dict(loaded.metadata))
    if not isinstance(loaded, ParsedDocument):
        raise DocumentError("E_PARSE", f"{_name(loader)} gave {type(loaded).__name__} for {name}, not a document.")
    return loaded


def clean(parsed: ParsedDocument, cleaners: Sequence[Cleaner]) -> ParsedDocument:
    """Run the cleaners. Blocks that do not fit the changed text are dropped, to be found anew."""
    for cleaner in cleaners:
        cleaned = cleaner(parsed)
        if cleaned.text != parsed.text and cleaned.blocks is parsed.blocks:
            cleaned = replace(cleaned, blocks=())
        parsed = cleaned
    return parsed


def cut(
    parsed: ParsedDocument, context: ChunkContext, *, chunker: Chunker, enrichers: Sequence[Enricher]
) -> list[Chunk]:
    """Chunks of a document, enriched, checked and counted.

    Raises: UsageError when a function breaks its promise: offsets that are not the text's, or too many tokens.
    """
    chunks = list(chunker(parsed, context))
    for enricher in enrichers:
        chunks = list(enricher(parsed, chunks))
    return [_checked(replace(chunk, ordinal=at), parsed, context, chunker) for at, chunk in enumerate(chunks)]


def _checked(chunk: Chunk, parsed: ParsedDocument, context: ChunkContext, chunker: Chunker) -> Chunk:
    if chunk.doc_id != context.doc_id:
        raise UsageError(f"{_name(chunker)} made a chunk of document {chunk.doc_id!r} while it cut {context.doc_id!r}.")
    if not 0 <= chunk.start < chunk.end <= len(parsed.text):
        raise UsageError(
            f"{_name(chunker)} made a chunk from {chunk.start} to {chunk.end} of a text of {len(parsed.text)}."
        )
    if chunk.level == 0 and parsed.text[chunk.start : chunk.end] != chunk.text:
        raise UsageError(
            f"{_name(chunker)} made a chunk whose text is not the document's text[{chunk.start}:{chunk.end}]."
        )
    room = context.size - context.overhead
    n_tokens = len(context.tokens(chunk.indexed_text))
    if n_tokens > room and chunk.extra:  # what was added gives way: the text itself must be embedded whole
        chunk, n_tokens = _shortened(chunk, room, context.tokens)
    if n_tokens > room:
        raise UsageError(
            f"{_name(chunker)} made a chunk of {n_tokens} tokens, but only {room} are read: the rest would never be embedded. "
            "Cut smaller, or raise chunk.size as far as the model allows."
        )
    return replace(chunk, n_tokens=n_tokens)


def _shortened(chunk: Chunk, room: int, tokens: Callable[[str], Any]) -> tuple[Chunk, int]:
    """The chunk with as many lines of `extra` as fit."""
    lines = chunk.extra.split("\n")
    while lines:
        lines.pop()
        shorter = replace(chunk, extra="\n".join(lines))
        if (n_tokens := len(tokens(shorter.indexed_text))) <= room:
            return shorter, n_tokens
    return replace(chunk, extra=""), len(tokens(replace(chunk, extra="").indexed_text))


def _name(function: object) -> str:
    """Where a function stands: module and qualified name; a callable object's class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', named)}"
