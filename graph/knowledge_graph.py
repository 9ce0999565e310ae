"""KnowledgeGraph: a collection's graph. The composition root of this package: extraction, file, network and retrieval meet here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph import documents, extraction, names, network, retrieval, store
from graph.merging import Merge
from graph.network import Fact, Network
from graph.periods import shown
from graph.predicates import predicate
from graph.store import GraphFile, Header
from graph.types import RETRY, Extracting
from rag import filters, fusion
from rag.errors import UsageError
from rag.types import ChatModel, Chunk, Hit, Hits, Query

if TYPE_CHECKING:
    import networkx

    from graph.chat_extraction import ChatOptions
    from graph.communities import Community
    from graph.summaries import GlobalAnswer
    from rag.catalog_rows import Known
    from rag.filters import Expr
    from rag.knowledge_base import KnowledgeBase

BATCH = 64  # documents that are read and extracted together
NAMED = 20  # problems of one kind that a report names
Progress = Callable[[int, int], None]  # documents done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build or an update did. problems: kind → how often; examples: kind → the first of them, by name."""

    n_documents: int = 0
    n_extracted: int = 0  # documents that were read anew
    n_removed: int = 0
    seconds: float = 0.0
    problems: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class KnowledgeGraph:
    """The knowledge graph of a collection.

    >>> graph = KnowledgeGraph.build(kb)
    >>> graph.search("Where was the director of Blood Street born?")

    Threads may share it. What it shows is the graph as it was when it was opened.
    """

    def __init__(self, kb: KnowledgeBase, file: GraphFile, report: BuildReport | None = None) -> None:
        self._kb, self._file, self.report = kb, file, report or BuildReport(n_documents=len(file.lines))

    # ------------------------------------------------------------ making

    @classmethod
    def build(
        cls,
        kb: KnowledgeBase,
        *,
        method: str = "auto",
        triples: str | Path | None = None,
        fresh: bool = False,
        chat: ChatOptions | None = None,
        progress: Progress | None = None,
        extracting: Extracting | None = None,
    ) -> KnowledgeGraph:
        """Build the graph of the knowledge base's collection, or bring it up to date: only changed documents are read.

        method: rules (no model), names (models for names beside them), chat (the chat model), triples (from a
            file); auto takes what the graph was built with, else triples if they are given, else rules.
        triples: a file of given triples. chat: what the chat model is given. extracting: a way of your own. fresh: forget the graph that is there, except for what a person decided.
        Raises: UsageError, ModelError, DiskError, GraphError for a damaged file.
        """
        path = store.path_of(kb.home, kb.collection)
        old = _existing(path, fresh)
        known = documents.live(kb)
        way, problems, extra = _choose(kb, method, triples, chat, extracting, old, sorted(known))
        header = Header(method=way.method, options=way.options) if old is None else replace(
            old.header, method=way.method, options=way.options
        )  # fmt: skip
        graph, report = _updated(kb, known, old, header, way, extra, progress)
        graph = _with_neighbours(kb, graph)
        counted = Counter(kind for kind, _ in problems)
        examples: dict[str, tuple[str, ...]] = {}
        for kind, what in problems:
            examples[kind] = (*examples.get(kind, ()), what)[:NAMED]
        report = replace(
            report,
            problems={**counted, **{kind: n + counted.get(kind, 0) for kind, n in report.problems.items()}},
            examples={**report.examples, **examples},
        )
        with store.changing(path):
            graph = _as_of_now(kb, graph, path)
            if old is None or old.lines != graph.lines or old.header != graph.header:
                store.save(path, graph)
        return cls(kb, graph, report)

    @classmethod
    def open(cls, kb: KnowledgeBase) -> KnowledgeGraph:
        """The graph that was built before. Raises GraphError when there is none."""
        return cls(kb, store.load(store.path_of(kb.home, kb.collection)))

    # ------------------------------------------------------------ looking

    @cached_property
    def network(self) -> Network:
        return network.assemble(self._file)

    @cached_property
    def index(self) -> retrieval.GraphIndex:
        return retrieval.GraphIndex(self.network)

    @property
    def method(self) -> str:
        return self._file.header.method

    def behind(self) -> int:
        """How many documents were added, changed or deleted since this graph was brought up to date."""
        return documents.behind(self._kb, self._file)

    def counts(self) -> dict[str, int]:
        """How much of everything there is."""
        net = self.network
        pairs = {(fact.subject, fact.object, fact.relation.label) for fact in net.facts}
        return {
            "nodes": len(net.entity_ids) + len(net.chunk_ids) + len(self._file.lines),
            "entities": len(net.entity_ids), "chunks": len(net.chunk_ids), "documents": len(self._file.lines),
            "edges": len(pairs) + len(net.mentions) + len(net.near) + len(net.chunk_ids),
            "relations": len(pairs), "facts": len(net.facts), "mentions": len(net.mentions), "near": len(net.near),
            "merges": len(net.merges),
        }  # fmt: skip

    def find(self, name: str) -> int:
        """The number of the entity of that name. Raises UsageError, naming near ones, when there is none."""
        net = self.network
        entity = net.at.get(names.key(name), net.at.get(f"={name}"))
        if entity is None:
            import difflib

            near = difflib.get_close_matches(names.key(name), net.entity_ids, n=3, cutoff=0.6)
            hint = f" Near: {', '.join(net.entity_names[net.at[one]] for one in near)}." if near else ""
            raise UsageError(f"The graph has no entity {name[:200]!r}.{hint}")
        return entity

    def show(self, name: str, *, most: int = 50) -> dict[str, Any]:
        """An entity with its facts, each with its sentence, and the chunks that name it. Raises UsageError."""
        net, entity = self.network, self.find(name)
        facts = [net.facts[number] for number in net.facts_of.get(entity, ())]
        sentences = self._sentences(facts[:most])
        return {
            "entity": net.entity_names[entity],
            "type": net.types[entity],
            "descriptions": list(net.descriptions.get(entity, ())),
            "n_chunks": int(net.n_chunks_of[entity]),
            "n_facts": len(facts),
            "facts": [
                {"subject": net.entity_names[fact.subject], "relation": fact.relation.label,
                 "type": predicate(fact.relation.label), "object": net.entity_names[fact.object],
                 "years": list(fact.relation.years), "valid": shown(fact.relation.valid) if fact.relation.valid else "",
                 "claim": fact.relation.claim, "chunk_id": net.chunk_ids[fact.chunk], "sentence": sentence}
                for fact, sentence in zip(facts[:most], sentences, strict=True)
            ],
            "chunks": [net.chunk_ids[chunk] for chunk in net.chunks_of.get(entity, ())[:most]],
            "merges": [_merge(one) for one in self.merges() if one.entity == net.entity_ids[entity]],
        }  # fmt: skip

    def _sentences(self, facts: Sequence[Fact]) -> list[str]:
        chunks: dict[str, Mapping[str, Chunk]] = {}
        out = []
        for fact in facts:
            chunk_id = self.network.chunk_ids[fact.chunk]
            doc_id = self.network.doc_ids[fact.chunk]
            if doc_id not in chunks:
                chunks[doc_id] = {one.chunk_id: one for one in self._kb.chunks(doc_id)}
            chunk = chunks[doc_id].get(chunk_id)
            out.append(chunk.text[fact.relation.start : fact.relation.end] if chunk else "")
        return out

    def merges(self) -> list[Merge]:
        """Every merge on record, applied or not."""
        return list(self.network.merges)

    def keep_apart(self, left: str, right: str) -> KnowledgeGraph:
        """Undo or forbid the merge of two names, for good. Returns the graph as it is then."""
        return self._decide(left, right, apart=True)

    def put_together(self, left: str, right: str) -> KnowledgeGraph:
        """Make two names one entity, for good. Returns the graph as it is then."""
        return self._decide(left, right, apart=False)

    def _decide(self, left: str, right: str, *, apart: bool) -> KnowledgeGraph:
        if not names.is_name(left) or not names.is_name(right) or left == right:
            raise UsageError(f"Two different names are needed, not {left[:80]!r} and {right[:80]!r}.")
        pair, path = tuple(sorted((left, right))), store.path_of(self._kb.home, self._kb.collection)
        with store.changing(path):
            now = store.load(path)  # it may have been brought up to date since it was opened
            others_apart = {one for one in now.header.apart if one != pair}
            others_together = {one for one in now.header.together if one != pair}
            decided = replace(
                now.header,
                apart=tuple(sorted(others_apart | ({pair} if apart else set()))),  # type: ignore[arg-type]
                together=tuple(sorted(others_together | (set() if apart else {pair}))),  # type: ignore[arg-type]
            )
            file = GraphFile(decided, now.lines)
            store.save(path, file)
        return KnowledgeGraph(self._kb, file)

    # ------------------------------------------------------------ searching

    def search(
        self, question: str, *, method: str = "walk", top_k: int | None = None, filter: str | None = None
    ) -> Hits:
        """The best chunks for a question by one of the graph's methods: walk, local, paths, keywords, global, drift.

        Raises: UsageError, FilterError and what a hybrid search raises, whose hits the graph starts from.
        """
        from rag import pipeline
        from rag.trace import Trace

        _check_method(method)
        kb = self._kb
        trace = Trace()

        def ranked(query: Query, depth: int, where: Expr | None) -> fusion.Ranking:
            return self.ranking(query, depth, where, method=method)

        options = pipeline.SearchOptions(
            retrievers={"graph": 1.0}, top_k=top_k or kb.settings.search.top_k, depth=kb.settings.search.depth,
            filter=filters.parse(filter) if filter and filter.strip() else None,
        )  # fmt: skip
        parts = pipeline.SearchParts(
            retrievers={"graph": ranked},
            live=lambda pks: kb.catalog.live_rows(kb.collection, pks),
            load=lambda pks: kb.catalog.live_chunks(kb.collection, pks),
            vectors=kb.catalog.vectors,
        )
        return pipeline.search(question, parts=parts, options=options, trace=trace)

    def ranking(
        self,
        query: Query,
        depth: int,
        where: Expr | None,
        *,
        method: str = "walk",
        passages: fusion.Ranking | None = None,
    ) -> fusion.Ranking:
        """The graph as a retriever: the best `depth` store keys. passages: what the walk starts from; left out, hybrid hits."""
        if passages is None:
            passages = self._kb.candidates(query, depth, where)
        net = self.network
        live = self._kb.catalog.live_rows(self._kb.collection, [pk for pk, _ in passages])
        found = [(net.chunk_at[live[pk].chunk_id], score) for pk, score in passages
                 if pk in live and live[pk].chunk_id in net.chunk_at]  # fmt: skip
        low = min((score for _, score in found), default=0.0)
        span = max((score for _, score in found), default=1.0) - low or 1.0
        start = retrieval.Start(
            question=query.text,
            passages={chunk: (score - low) / span for chunk, score in found},
            allowed=self._allowed(where) if where is not None else None,
        )
        best = fusion.ranking({net.chunk_ids[n]: score for n, score in retrieval.retrieve(method, start, self.index).items()})[:depth]  # fmt: skip
        keys = self._kb.catalog.keys_of(self._kb.collection, [chunk_id for chunk_id, _ in best])
        return [(keys[chunk_id], score) for chunk_id, score in best if chunk_id in keys]

    def _allowed(self, where: Expr) -> Any:
        """Mask of the chunks that a filter lets through; what was deleted since is not among them."""
        import numpy as np

        places = self._kb.catalog.live_places(self._kb.collection)
        seen = {chunk_id for chunk_id, row in places if filters.matches(where, row)}
        return np.array([chunk_id in seen for chunk_id in self.network.chunk_ids], bool)

    # ------------------------------------------------------------ communities and export

    def communities(
        self, *, level: int | None = None, filter: str | None = None, most: int = 50, chat: bool = False
    ) -> list[dict[str, Any]]:
        """What the collection is about: communities with their central entities and the sentences that sum them up.

        filter: only documents that match are read, so a summary says nothing of others. most: how many, the largest
        first. level: 0 for the widest. chat: also a summary in the chat model's words, `written`; one call each, and none
        for a community whose sentences are as they were.
        """
        from graph import communities, summaries

        allowed = self._allowed(filters.parse(filter)) if filter and filter.strip() else None
        found = [one for one in self.index.communities if level is None or one.level == level]
        sized = [(communities.chunks(one, self.network, allowed), one) for one in found]
        sized = [item for item in sized if item[0]]
        sized.sort(key=lambda item: (-len(item[0]), item[1].community_id))
        described = self._described(sized[:most], allowed)
        model = self._chat() if chat else None
        if model is not None:
            described = [{**one, "written": summaries.written(one, model, self._deadline_s)} for one in described]
        return described

    def ask(self, question: str, *, filter: str | None = None, chat: bool = True) -> GlobalAnswer:
        """An answer about the whole collection, made of what its communities say to the question.

        Without a chat model, or with `chat` off, it is sentences of the documents. filter: as in `communities`.
        """
        from graph import communities, summaries

        if not question.strip():
            raise UsageError("The question is empty.")
        allowed = self._allowed(filters.parse(filter)) if filter and filter.strip() else None
        start = retrieval.Start(question=question, passages={}, allowed=allowed)
        best = [one for one, _ in retrieval.best_communities(start, self.index)]
        sized = [(communities.chunks(one, self.network, allowed), one) for one in best]
        model = self._chat() if chat else None
        return summaries.answer(question, self._described(sized, allowed), model, self._deadline_s)

    def _described(self, sized: Sequence[tuple[Sequence[int], Community]], allowed: Any) -> list[dict[str, Any]]:
        from graph import communities

        net, text_of = self.network, _Texts(self._kb, self.network)
        return [
            {"community_id": one.community_id, "level": one.level, "parent": one.parent,
             "title": communities.title(one, net, allowed), "n_entities": len(one.entities), "n_chunks": len(chunks),
             "entities": [net.entity_names[entity] for entity in communities.seen(one, net, allowed)[:20]],
             "summary": [{"chunk_id": net.chunk_ids[chunk], "sentence": sentence}
                         for chunk, sentence in communities.sentences(one, net, text_of, allowed)],
             "chunks": [net.chunk_ids[chunk] for chunk in chunks[:10]]}
            for chunks, one in sized
        ]  # fmt: skip

    def _chat(self) -> ChatModel | None:
        from rag.reply_cache import CachedChat

        return CachedChat(self._kb.chat, self._kb.replies) if self._kb.chat else None

    @property
    def _deadline_s(self) -> float:
        return self._kb.settings.graph.deadline_s

    def to_networkx(self) -> networkx.MultiDiGraph:
        """Entities, chunks and documents as nodes; relations, mentions and nearness as edges with their chunks."""
        from graph.export import to_networkx

        return to_networkx(self.network)

    def export(self, path: str | Path, format: str = "") -> dict[str, Any]:
        """Write the graph as graphml, json, cypher or html; left out, as the file's name says. Raises UsageError."""
        from graph.export import export

        return export(self.network, Path(path), format, sentences=self._sentences)


class _Texts:
    """Sentences of chunks, each document read once."""

    def __init__(self, kb: KnowledgeBase, net: Network) -> None:
        self._kb, self._net = kb, net
        self._read: dict[str, dict[str, str]] = {}

    def __call__(self, chunk: int, start: int, end: int) -> str:
        doc_id = self._net.doc_ids[chunk]
        if doc_id not in self._read:
            self._read[doc_id] = {one.chunk_id: one.text for one in self._kb.chunks(doc_id)}
        return self._read[doc_id].get(self._net.chunk_ids[chunk], "")[start:end]


def _merge(one: Merge) -> dict[str, Any]:
    return {"names": list(one.names), "reason": one.reason, "applied": one.applied, "chunks": list(one.chunk_ids)}


def _check_method(method: str) -> None:
    if method not in retrieval.METHODS:
        raise UsageError(f"Unknown method {method!r}. Known: {', '.join(retrieval.METHODS)}.")


# ---------------------------------------------------------------- building


def _existing(path: Path, fresh: bool) -> GraphFile | None:
    """The graph that is there. With `fresh` only its decisions, and a damaged one counts as none."""
    if not path.exists():
        return None
    try:
        old = store.load(path)
    except store.GraphError:
        if fresh:
            return None
        raise
    return GraphFile(old.header, {}) if fresh else old


def _as_of_now(kb: KnowledgeBase, graph: GraphFile, path: Path) -> GraphFile:
    """A graph whose making took a while: without documents that were deleted meanwhile, and with what was decided meanwhile."""
    known, there = documents.live(kb), _existing(path, fresh=True)
    header = graph.header
    if there is not None:
        header = replace(header, apart=there.header.apart, together=there.header.together)
    return GraphFile(header, {doc_id: line for doc_id, line in graph.lines.items() if doc_id in known})


def _choose(
    kb: KnowledgeBase,
    method: str,
    triples: str | Path | None,
    chat: ChatOptions | None,
    given: Extracting | None,
    old: GraphFile | None,
    known: Sequence[str],
) -> tuple[Extracting, list[tuple[str, str]], Callable[[str], str]]:
    """How to extract, what is wrong with what was given, and what beside a document its line depends on."""
    if method not in extraction.METHODS:
        raise UsageError(f"Unknown method {method!r}. Known: {', '.join(extraction.METHODS)}.")
    if method == "auto":
        method = "triples" if triples is not None else old.header.method if old and old.lines else "rules"
    if given is not None:
        return given, [], lambda _doc_id: ""
    if method == "triples":
        if triples is None:
            raise UsageError("A graph from triples needs their file: --triples FILE. Or choose --method rules.")
        from graph.triples import by_triples

        way, file = by_triples(Path(triples), known)
        return way, file.problems, file.state
    return extraction.open_method(method, kb, chat), [], lambda _doc_id: ""


def _updated(
    kb: KnowledgeBase,
    known: Mapping[str, Known],
    old: GraphFile | None,
    header: Header,
    way: Extracting,
    extra: Callable[[str], str],
    progress: Progress | None,
) -> tuple[GraphFile, BuildReport]:
    """The graph of the documents as they are: old lines where nothing changed, new ones for the rest."""
    start = time.perf_counter()
    states = {doc_id: documents.state(one, way, extra(doc_id)) for doc_id, one in known.items()}
    before = old.states() if old else {}
    lines = {one: old.lines[one] for one, state in states.items() if before.get(one) == state} if old else {}
    todo = sorted(states.keys() - lines.keys())
    problems: Counter[str] = Counter()
    examples: dict[str, tuple[str, ...]] = {}
    for first in range(0, len(todo), BATCH):
        batch = todo[first : first + BATCH]
        for doc_id, chunks in _extracted(kb, batch, way):
            again = any(kind in RETRY for _, found in chunks for kind, _ in found.problems)
            lines[doc_id] = store.packed(doc_id, "" if again else states[doc_id], chunks)
            for chunk_id, found in chunks:
                for kind, what in found.problems:
                    problems[kind] += 1
                    examples[kind] = (*examples.get(kind, ()), f"{chunk_id}: {what}")[:NAMED]
            if not any(found.mentions or found.relations for _, found in chunks):
                problems["empty"] += 1
                examples["empty"] = (*examples.get("empty", ()), doc_id)[:NAMED]
        if progress is not None:
            progress(min(first + BATCH, len(todo)), len(todo))
    report = BuildReport(
        n_documents=len(lines), n_extracted=len(todo), n_removed=len(before.keys() - states.keys()),
        seconds=time.perf_counter() - start, problems=dict(sorted(problems.items())), examples=examples,
    )  # fmt: skip
    return GraphFile(header, lines), report


def _with_neighbours(kb: KnowledgeBase, graph: GraphFile) -> GraphFile:
    """The graph with the pairs of names that are near each other, as the settings want them."""
    alone = GraphFile(replace(graph.header, neighbours=()), graph.lines)
    threshold = kb.settings.graph.neighbours
    if not threshold:
        return alone
    from graph.neighbours import cached, neighbours
    from rag.catalog_rows import vector_key

    embedder = kb.embedder

    def vectors_of(texts: Sequence[str]) -> Any:
        keys = [vector_key(embedder.fingerprint, f"name: {text}") for text in texts]
        return cached(keys, texts, load=kb.catalog.vectors, keep=kb.catalog.put_vectors, embed=embedder.embed_passages)

    found = neighbours(network.assemble(alone).entity_names, vectors_of, threshold)
    return GraphFile(replace(alone.header, neighbours=tuple(found)), alone.lines)


def _extracted(
    kb: KnowledgeBase, doc_ids: Sequence[str], way: Extracting
) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    passages = [one for doc_id in doc_ids for one in documents.passages(kb, doc_id)]
    found = way.run(passages)
    by_document: dict[str, list[tuple[str, Any]]] = {doc_id: [] for doc_id in doc_ids}
    for passage, one in zip(passages, found, strict=True):
        by_document[passage.doc_id].append((passage.chunk_id, one))
    yield from by_document.items()


def hits_of(graph: KnowledgeGraph, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """What the graph knows of hits: the facts in each, for `graph search` and the page."""
    net = graph.network
    by_chunk: dict[int, list[Fact]] = {}
    wanted = {net.chunk_at[hit.chunk_id] for hit in hits if hit.chunk_id in net.chunk_at}
    for fact in net.facts:
        if fact.chunk in wanted:
            by_chunk.setdefault(fact.chunk, []).append(fact)
    return [
        {"chunk_id": hit.chunk_id, "facts": [
            [net.entity_names[fact.subject], fact.relation.label, net.entity_names[fact.object]]
            for fact in by_chunk.get(net.chunk_at.get(hit.chunk_id, -1), [])[:10]
        ]}
        for hit in hits
    ]  # fmt: skip
