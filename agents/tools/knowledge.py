"""Tools over a collection: search it, and read one of its documents by page or section."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from agents.tooling import Tool, ToolContext, ToolResult, tool
from rag.answering import pack
from rag.citations import Passage
from rag.errors import UsageError
from rag.loaders.markdown import blocks as markdown_blocks
from rag.loaders.markdown import heading_text
from rag.pages import Starts, paged
from rag.types import Block, DocumentInfo, Hit

MAX_PASSAGES = 3
PASSAGE_TOKENS = 320
READ_CHARS = 3000
MOST_FACTS = 12  # that the tool graph shows of one name


def search_tool(kb: Any, *, top_k: int = 8, max_passages: int = MAX_PASSAGES, **options: Any) -> Tool:
    """Search as a tool. options: of `kb.search`, such as mode or filter; the model cannot change them."""

    @tool(name="search", effect="read")
    def search(query: str, context: ToolContext) -> ToolResult:
        """Find passages in the documents.

        query: what to look for, in the words a document would use
        """
        first = context.n_before * max_passages  # asked again, it goes on where it stopped
        hits = list(kb.search(query, top_k=top_k + first, **options))
        question = query
        if context.is_small and context.task:  # its queries leave out what the task is about
            question = f"{context.task} {query}"
            hits = _merged(hits, list(kb.search(context.task, top_k=top_k + first, **options)))
        passages = pack(question, hits[first:], max_passages=max_passages, passage_tokens=PASSAGE_TOKENS)
        if not passages:
            return ToolResult(text="Nothing was found. Try other words.", ok=True, tainted=False)
        return ToolResult(passages=passages)

    return search


def _merged(first: Sequence[Hit], second: Sequence[Hit]) -> list[Hit]:
    """Two rankings in turn, each chunk once."""
    in_turn = [hit for pair in zip_longest(first, second) for hit in pair if hit is not None]
    return list({hit.chunk_id: hit for hit in in_turn}.values())


def read_tool(kb: Any) -> Tool:
    """Reading one document as a tool."""

    @tool(name="read_document", effect="read")
    def read_document(document: str, page: int = 0, section: str = "", start: int = 0) -> ToolResult:
        """Read a stretch of one document.

        document: its source or title, as the passages show it
        page: its page; 0 for all
        section: the heading of the section to read
        start: the character to begin at, to read on
        """
        info = _find(kb.documents(), document)
        if info is None:
            return ToolResult(text=_unknown(kb.documents(), document), ok=False, code="not_found")
        text = kb.text(info.doc_id)
        blocks = kb.blocks(info.doc_id) or list(markdown_blocks(text))  # documents given in code come without
        span = _span(text, blocks, page, section)
        if isinstance(span, str):
            return ToolResult(text=span, ok=False, code="not_found")
        return _stretch(info, text, span, start, [(one.start, one.page) for one in blocks if one.page])

    return read_document


def _stretch(info: DocumentInfo, text: str, span: tuple[int, int], start: int, pages: Starts) -> ToolResult:
    first = min(max(span[0], start), span[1])
    last = min(first + READ_CHARS, span[1])
    if last < span[1] and (gap := text.rfind(" ", first + READ_CHARS // 2, last)) > 0:
        last = gap
    part = text[first:last]
    first += len(part) - len(part.lstrip())
    part = part.strip()
    if not part:
        return ToolResult(text="There is no text in that place.", ok=False, code="not_found")
    hit = Hit(
        rank=1, chunk_id=f"{info.doc_id}#{first}-{first + len(part)}", doc_id=info.doc_id, source=info.source,
        title=info.title, score=0.0, text=part, start=first, end=first + len(part), type=info.type,
    )  # fmt: skip
    more = f"It goes on: start={last}." if last < span[1] else ""
    return ToolResult(text=more, passages=[Passage(number=1, hit=paged(hit, pages), start=first, text=part)])


def _find(documents: Sequence[DocumentInfo], name: str) -> DocumentInfo | None:
    """By doc_id, source, title or file name, as far as that is unambiguous."""
    wanted = name.strip().casefold()
    for key in ("doc_id", "source", "title"):
        if found := [info for info in documents if getattr(info, key).casefold() == wanted]:
            return found[0]
    ends = [info for info in documents if info.source.casefold().rpartition("/")[2] == wanted.rpartition("/")[2]]
    if len(ends) == 1:
        return ends[0]
    inside = [info for info in documents if wanted and (wanted in info.title.casefold() or wanted in info.source.casefold())]  # fmt: skip
    return inside[0] if len(inside) == 1 else None


def _unknown(documents: Sequence[DocumentInfo], name: str) -> str:
    names = [info.source.rpartition("/")[2] for info in documents]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
    shown = ", ".join(near or names[:10])
    return f"There is no document {name[:100]!r}. There are: {shown}." if shown else "There are no documents."


def _span(text: str, blocks: Sequence[Block], page: int, section: str) -> tuple[int, int] | str:
    """Where a page or section lies; a sentence when there is none such."""
    start, end = 0, len(text)
    if page:
        on_page = [block for block in blocks if block.page == page]
        if not on_page:
            pages = sorted({block.page for block in blocks if block.page})
            return f"There is no page {page}; it has pages {pages[0]} to {pages[-1]}." if pages else "It has no pages."
        start, end = on_page[0].start, on_page[-1].end
    if section:
        headings = [block for block in blocks if block.kind == "heading" and start <= block.start < end]
        titles = [heading_text(text[block.start : block.end]) for block in headings]
        near = _nearest(section, titles)
        if near is None:
            return f"There is no section {section[:80]!r}. There are: {', '.join(titles[:20]) or 'none'}."
        head = headings[near]
        after = [block.start for block in headings[near + 1 :] if block.level <= head.level]
        start, end = head.start, min([*after, end])
    return start, end


def _nearest(wanted: str, titles: Sequence[str]) -> int | None:
    low = wanted.strip().casefold()
    for at, title in enumerate(titles):
        if title.casefold() == low:
            return at
    inside = [at for at, title in enumerate(titles) if low and low in title.casefold()]
    if inside:
        return inside[0]
    near = difflib.get_close_matches(low, [title.casefold() for title in titles], n=1, cutoff=0.7)
    return [title.casefold() for title in titles].index(near[0]) if near else None


def graph_tool(kb: Any) -> Tool:
    """What the collection's knowledge graph says of one name. Raises: UsageError where there is no graph."""
    if not kb.has_graph:
        raise UsageError("The tool graph needs a knowledge graph. Build one: ragstone graph build")

    @tool(name="graph", effect="read")
    def graph(name: str) -> ToolResult:
        """Look up a person, place, organisation or thing: what the documents say of it and of what it is connected with.

        name: as the documents write it
        """
        try:
            known = kb.graph.show(name, most=MOST_FACTS)
        except UsageError as error:
            return ToolResult(text=str(error), ok=False, tainted=False)
        facts = [
            f"- {fact['subject']} – {fact['relation']} – {fact['object']}: {fact['sentence']}"
            for fact in known["facts"]
        ]
        left = known["n_facts"] - len(facts)
        head = f"{known['entity']}: {known['n_facts']} facts in {known['n_chunks']} passages."
        return ToolResult(text="\n".join([head, *facts, *([f"… and {left} more."] if left else [])]))

    return graph
