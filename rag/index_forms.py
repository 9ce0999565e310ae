"""Index forms beside vectors and BM25: each a retriever, for collections and questions that those two serve badly.

    fields        BM25 over title, name and metadata of documents ("the 2024 report of the Berlin office") and over the
                  rows of their tables, by column and value ("flights to Berlin")
    keywords      a keyword table: each document's own words, and which chunks hold them
    hierarchical  the documents whose summaries (or mean vectors) are nearest, then the nearest chunks inside them
    tree          a summary tree walked from its roots: at each level the nearest nodes, at the end their chunks
    list          all chunks of a small collection, in reading order

They read the catalog, not the store, and are built when they are first asked. Sources: the keyword table and the list
are LlamaIndex's terms; the tree is Sarthi et al., ICLR 2024, arXiv:2401.18059.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from rag.catalog import Catalog
from rag.catalog_rows import StoredChunk
from rag.errors import UsageError
from rag.filters import Expr, matches
from rag.fusion import Ranking, ranking
from rag.okapi import Okapi
from rag.settings import FORMS
from rag.table_rows import TableRow, asked_words, row_words, table_rows
from rag.text import words
from rag.types import Query

KEYWORDS = 20  # of a document
NEAREST_DOCUMENTS = 10  # whose chunks `hierarchical` looks at
SCANNED = 3000  # chunks that `scan` reads at most, those with most of the words
ROOTS = 10  # documents that `tree` starts from
FOLLOWED = 10  # documents and rows that `followed` names
BEAM = 5  # nodes that `tree` follows at each level

Vector = Callable[[Query], np.ndarray]


@dataclass(frozen=True, slots=True)
class _Document:
    """A live document: its chunks in order, summaries apart."""

    doc_id: str
    chunks: Sequence[StoredChunk]
    summaries: Sequence[StoredChunk]


class FormsIndex:
    """What the forms of one collection are built of, as it was when each was first asked. Threads and searches share it."""

    def __init__(self, catalog: Catalog, collection: str) -> None:
        self.catalog, self.collection = catalog, collection

    @cached_property
    def documents(self) -> Sequence[_Document]:
        documents = []
        for info in self.catalog.documents(self.collection):
            stored = self.catalog.stored_chunks(self.collection, info.doc_id)
            if stored:
                chunks, summaries = (
                    [one for one in stored if bool(one.chunk.level) is level] for level in (False, True)
                )
                documents.append(_Document(info.doc_id, chunks, summaries))
        return documents

    @cached_property
    def field_index(self) -> Okapi:
        """Of the documents, then of the rows of their tables."""
        documents = [words(_field_text((*one.chunks, *one.summaries)[0].row)) for one in self.documents]
        return Okapi([*documents, *([*words(chunk.title), *row_words(row)] for chunk, row in self.rows)])

    @cached_property
    def rows(self) -> Sequence[tuple[StoredChunk, TableRow]]:
        """The rows of all tables, each with the chunk that it starts in."""
        from rag.parse_child import unpack_blocks

        found = []
        for one in self.documents:
            text, packed = self.catalog.body(self.collection, one.doc_id) or ("", None)
            starts = [chunk.chunk.start for chunk in one.chunks]
            for row in table_rows(text, unpack_blocks(packed, len(text)) if packed and starts else ()):
                found.append((one.chunks[max(bisect_right(starts, row.start) - 1, 0)], row))
        return found

    @cached_property
    def keyword_table(self) -> Mapping[str, list[tuple[int, float, frozenset[str]]]]:
        """word → (document, weight there, keys of the chunks that hold it). A document's keywords weigh most by tf · idf."""
        counts = [[Counter(words(chunk.chunk.text)) for chunk in one.chunks] for one in self.documents]
        totals = [sum(parts, Counter[str]()) for parts in counts]
        n_with = Counter(word for total in totals for word in total)
        table: dict[str, list[tuple[int, float, frozenset[str]]]] = {}
        for at, total in enumerate(totals):
            weights = {word: (1 + math.log(n)) * math.log(1 + len(totals) / n_with[word]) for word, n in total.items()}
            for word, weight in ranking(weights)[:KEYWORDS]:
                pks = [
                    chunk.pk for chunk, part in zip(self.documents[at].chunks, counts[at], strict=True) if word in part
                ]
                table.setdefault(word, []).append((at, weight, frozenset(pks)))
        return table

    @cached_property
    def document_vectors(self) -> np.ndarray:
        """One unit vector per document: the mean of its topmost summaries, without them of its chunks."""
        means = []
        for one in self.documents:
            top = max((each.chunk.level for each in one.summaries), default=0)
            chosen = [each for each in (*one.summaries, *one.chunks) if each.chunk.level == top]
            found = list(self.catalog.vectors([each.vector_key for each in chosen]).values())
            mean = np.mean(found, axis=0) if found else np.zeros(0)
            means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        dim = max((len(one) for one in means), default=0)
        return np.array([one if len(one) else np.zeros(dim) for one in means], dtype=np.float32)


class IndexForms:
    """The forms of one collection, asked by one search. vector: of a query."""

    def __init__(self, index: FormsIndex, vector: Vector) -> None:
        self._index, self._vector = index, vector

    def retriever(self, name: str) -> Callable[[Query, int, Expr | None], Ranking]:
        """Raises: UsageError for a name that is none of FORMS."""
        forms = {"fields": self.fields, "keywords": self.keywords, "hierarchical": self.hierarchical, "tree": self.tree, "list": self.whole}  # fmt: skip
        if name not in forms:
            raise UsageError(f"There is no retriever {name!r}. Known: {', '.join(FORMS)}.")
        return forms[name]

    # ------------------------------------------------------------ words

    def scan(self, query: Query, depth: int, where: Expr | None) -> Ranking:
        """BM25 over the chunks that hold a word of the question, read from the catalog: what is left while Milvus is away."""
        asked = list(dict.fromkeys(words(query.text)))
        found = [
            one
            for one in self._index.catalog.chunks_with(self._index.collection, asked, limit=SCANNED)
            if _admits(where, one)
        ]
        scores = Okapi([words(one.chunk.text) for one in found]).scores(asked)
        return ranking({one.pk: score for one, score in zip(found, scores, strict=True) if score > 0})[:depth]

    def fields(self, query: Query, depth: int, where: Expr | None) -> Ranking:
        """Chunks of documents whose title, name and metadata hold the question's words, in reading order; of tables, the
        chunks with the rows that hold them."""
        scores = self._index.field_index.scores(asked_words(query.text))
        n = len(self._index.documents)
        found = self._by_document(dict(enumerate(scores[:n])), where)
        for (chunk, _), score in zip(self._index.rows, scores[n:], strict=True):
            if score > found.get(chunk.pk, 0.0) and _admits(where, chunk):
                found[chunk.pk] = score
        return ranking(found)[:depth]

    def keywords(self, query: Query, depth: int, where: Expr | None) -> Ranking:
        """Chunks that hold keywords of the question; a word is one when it sets its document apart from the others."""
        found: dict[str, float] = {}
        for word in set(words(query.text)):
            for at, document_weight, pks in self._index.keyword_table.get(word, ()):
                document = self._index.documents[at]
                for chunk in document.chunks:
                    if _admits(where, chunk):
                        share = 1.0 if chunk.pk in pks else 0.25
                        found[chunk.pk] = found.get(chunk.pk, 0.0) + document_weight * share
        return ranking(found)[:depth]

    def whole(self, query: Query, depth: int, where: Expr | None) -> Ranking:
        """Every chunk that meets the filter, if there are no more than `depth`. Raises: UsageError when there are."""
        chunks = [chunk.pk for one in self._index.documents for chunk in one.chunks if _admits(where, chunk)]
        if len(chunks) > depth:
            raise UsageError(
                f"There are {len(chunks)} chunks to read; the mode list reads {depth} at most. Raise search.depth, or use hybrid."
            )
        return [(pk, 1.0 - at * 1e-6) for at, pk in enumerate(chunks)]

    # ------------------------------------------------------------ vectors

    def hierarchical(self, query: Query, depth: int, where: Expr | None) -> Ranking:
        """The nearest documents first, then their chunks by their own nearness."""
        nearest = islice(self._nearest_documents(query, where), NEAREST_DOCUMENTS)
        chunks = [chunk for one in nearest for chunk in one.chunks if _admits(where, chunk)]
        return self._nearest(chunks, self._vector(query), depth)

    def tree(self, query: Query, depth: int, where: Expr | None) -> Ranking:
        """From the roots of the documents' trees down. A document without summaries is a root over its chunks."""
        vector = self._vector(query)
        leaves: list[StoredChunk] = []
        for one in islice(self._nearest_documents(query, where), ROOTS):
            _, chunks = self._under(one, vector)
            leaves += [chunk for chunk in chunks if _admits(where, chunk)]
        return self._nearest(leaves, vector, depth)

    def _nearest_documents(self, query: Query, where: Expr | None) -> Iterator[_Document]:
        """The documents of which the filter leaves something, by nearness of their vectors, nearest first."""
        documents = self._index.documents
        if not documents:
            return
        for at in np.argsort(-(self._index.document_vectors @ self._vector(query)), kind="stable"):
            if where is None or any(_admits(where, chunk) for chunk in documents[at].chunks):
                yield documents[at]

    def _under(self, document: _Document, vector: np.ndarray) -> tuple[list[StoredChunk], list[StoredChunk]]:
        """(the nearest summaries of each level, the chunks that they lead to)"""
        spans = [(0, math.inf)]
        followed: list[StoredChunk] = []
        for level in sorted({one.chunk.level for one in document.summaries}, reverse=True):
            nodes = [one for one in document.summaries if one.chunk.level == level and _inside(one, spans)]
            chosen = {pk for pk, _ in self._nearest(nodes, vector, BEAM)}
            nearest = [one for one in nodes if one.pk in chosen]
            followed += nearest
            spans = [(one.chunk.start, one.chunk.end) for one in nearest] or spans
        return followed, [chunk for chunk in document.chunks if _inside(chunk, spans)]

    def _nearest(self, chunks: Sequence[StoredChunk], vector: np.ndarray, depth: int) -> Ranking:
        vectors = self._index.catalog.vectors([one.vector_key for one in chunks])
        return ranking(
            {one.pk: float(vectors[one.vector_key] @ vector) for one in chunks if one.vector_key in vectors}
        )[:depth]

    # ------------------------------------------------------------ what was followed

    def followed(self, name: str, query: Query, where: Expr | None) -> Mapping[str, Any]:
        """What a form looked into for a query: documents, nodes of trees, keywords, rows of tables, the nearest first."""
        if name == "keywords":
            table = {word: self._index.keyword_table.get(word, ()) for word in sorted(set(words(query.text)))}
            return {
                "keywords": {
                    word: [self._index.documents[at].doc_id for at, _, _ in found]
                    for word, found in table.items()
                    if found
                }
            }
        if name == "fields":
            scores = self._index.field_index.scores(asked_words(query.text))
            best = [
                int(key) for key, score in ranking({str(at): score for at, score in enumerate(scores)}) if score > 0
            ]
            n = len(self._index.documents)
            return {
                "documents": [self._index.documents[at].doc_id for at in best if at < n][:FOLLOWED],
                "rows": [str(self._index.rows[at - n][1]) for at in best if at >= n][:FOLLOWED],
            }
        if name not in ("hierarchical", "tree"):
            return {}
        most = NEAREST_DOCUMENTS if name == "hierarchical" else ROOTS
        documents = list(islice(self._nearest_documents(query, where), most))
        found: dict[str, Any] = {"documents": [one.doc_id for one in documents]}
        if name == "tree":
            vector = self._vector(query)
            found["nodes"] = [node.chunk.chunk_id for one in documents for node in self._under(one, vector)[0]]
        return found

    # ------------------------------------------------------------ why not

    def why(self, name: str, query: Query, stored: StoredChunk, where: Expr | None) -> str:
        """Why a form does not find a chunk, in one sentence."""
        document = next((one for one in self._index.documents if one.doc_id == stored.chunk.doc_id), None)
        if document is None:
            return f"Its document was not there when the form {name} was built."
        if stored.chunk.level:
            return f"It is a summary, and {name} finds the documents' own text."
        asked = set(words(query.text))
        if name == "keywords":
            held = sorted(asked & set(words(stored.chunk.text)))
            listed = f" It holds {', '.join(held)}, which set other documents apart more." if held else ""
            return f"None of the question's words is among the {KEYWORDS} keywords of its document.{listed}"
        if name == "fields":
            return "Title, name and metadata of its document hold none of the question's words, and no row of a table in it does."
        place = next(
            (place for place, one in enumerate(self._nearest_documents(query, where), start=1) if one is document), 0
        )
        most = NEAREST_DOCUMENTS if name == "hierarchical" else ROOTS
        if name in ("hierarchical", "tree") and place > most:
            return f"Its document is number {place} by nearness, and {name} looks into the nearest {most}."
        if name == "tree":
            return f"Its document is number {place} by nearness, but the {BEAM} nearest summaries of a level do not lead to it."
        return f"{name} does not find it."

    def _by_document(self, scores: Mapping[int, float], where: Expr | None) -> dict[str, float]:
        """The score of each document for its chunks, the earlier a little more."""
        found: dict[str, float] = {}
        for at, score in scores.items():
            document = self._index.documents[at]
            if score > 0:
                found |= {
                    chunk.pk: score * (1.0 - 1e-6 * n)
                    for n, chunk in enumerate(document.chunks)
                    if _admits(where, chunk)
                }
        return found


def _admits(where: Expr | None, one: StoredChunk) -> bool:
    return where is None or matches(where, one.row)


def _inside(one: StoredChunk, spans: Sequence[tuple[float, float]]) -> bool:
    """Whether a chunk starts inside one of the spans: the tree's spans meet at chunk ends."""
    return any(start <= one.chunk.start < end for start, end in spans)


def _field_text(row: Mapping[str, Any]) -> str:
    name = PurePosixPath(str(row["source"]).replace("\\", "/"))
    values = [f"{key} {value}" for key, value in row["meta"].items() if not isinstance(value, (dict, list))]
    listed = [str(each) for value in row["meta"].values() if isinstance(value, list) for each in value]
    return " ".join([str(row["title"]), " ".join(name.parts[-3:]), str(row["type"]), *values, *listed])
