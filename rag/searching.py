"""How one collection is searched, as one person sees it: its retrievers and the chat model's part, put together for a search.

`KnowledgeBase` makes a Searcher for each search; what is worth keeping between searches lies in a SearchMemory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rag.background import SAMPLE as SAMPLED
from rag.background import Background
from rag.crossing import PAIRS, SAMPLE, Crossing, main_language, shift
from rag.settings import FORMS
from rag.text import language, without_shouting
from rag.trace import Trace
from rag.turns import turns
from rag.types import Embedder, Query, Reranker

if TYPE_CHECKING:
    from rag.catalog_rows import Collection
    from rag.filters import Expr
    from rag.fusion import Part
    from rag.index_forms import FormsIndex, IndexForms
    from rag.knowledge_base import KnowledgeBase
    from rag.pipeline import Retriever, SearchParts
    from rag.understanding import Budget, UnderstandOptions, Understood

_K = TypeVar("_K")
_T = TypeVar("_T")

SUB_QUESTION_HITS = 5
FIELD_VALUES = 200  # of each field, as documents write them, that a condition's value is looked for in
MOST_VIEWS = 500  # whose collections have their language remembered
MOST_BACKGROUNDS = 50  # collections of which a sample of vectors is kept, 0.8 MB each at 384 dimensions
MOST_FORMS = 4  # readers' collections of which the texts are kept for index forms
NO_UNDERSTANDING: dict[str, Any] = {
    "rewrite": False, "multi_query": 0, "hyde": 0, "decompose": False, "step_back": False, "translate": False, "auto_filter": False,
}  # fmt: skip


class SearchMemory:
    """What searches need again. Threads and views share it, as each request has its own view.

    Each thing is kept with the state of the collection that it is of, and by its reader where it was read with their rights.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._crossings: dict[str, Crossing] = {}  # by the model's fingerprint
        # of each reader's collection
        self._languages: dict[tuple[Any, ...], tuple[tuple[Any, ...], str]] = {}
        self._backgrounds: dict[str, tuple[tuple[Any, ...], Background]] = {}  # by collection
        self._forms: dict[tuple[Any, ...], tuple[tuple[Any, ...], FormsIndex]] = {}

    def crossing(self, fingerprint: str, shift: Callable[[], Any]) -> Crossing:
        with self._lock:
            if fingerprint not in self._crossings:
                self._crossings[fingerprint] = Crossing(shift())
            return self._crossings[fingerprint]

    def language(self, of: tuple[Any, ...], state: tuple[Any, ...], find: Callable[[], str]) -> str:
        return _as_of(self._languages, of, state, find, most=MOST_VIEWS)

    def background(self, name: str, state: tuple[Any, ...], sample: Callable[[], Background]) -> Background:
        return _as_of(self._backgrounds, name, state, sample, most=MOST_BACKGROUNDS)

    def forms(self, of: tuple[Any, ...], state: tuple[Any, ...], build: Callable[[], FormsIndex]) -> FormsIndex:
        with self._lock:
            return _as_of(self._forms, of, state, build, most=MOST_FORMS)


def _as_of(
    kept: dict[_K, tuple[tuple[Any, ...], _T]], key: _K, state: tuple[Any, ...], make: Callable[[], _T], *, most: int
) -> _T:
    """What is kept under the key, made anew when it is of another state; at `most` keys all are forgotten."""
    found = kept.get(key)
    if found is None or found[0] != state:
        if len(kept) >= most:
            kept.clear()
        kept[key] = found = state, make()
    return found[1]


class Searcher:
    """One collection of a knowledge base, ready to be searched."""

    def __init__(self, kb: KnowledgeBase, collection: Collection, memory: SearchMemory) -> None:
        self._kb, self._collection, self._memory = kb, collection, memory
        self._name = kb.collection
        self._vectors: dict[Query, Any] = {}  # of this search

    def parts(self, wanted: UnderstandOptions, reranker: Reranker | None, summaries: str = "all") -> SearchParts:
        from rag.levels import searched
        from rag.pipeline import SearchParts

        catalog, name = self._kb.catalog, self._name
        return SearchParts(
            retrievers=searched(self.retrievers(), summaries, lambda pks: catalog.live_rows(name, pks)),
            live=lambda pks: catalog.live_rows(name, pks),
            load=lambda pks: catalog.live_chunks(name, pks),
            vectors=catalog.vectors,
            tokens=self.by_tokens,
            trust=self.trust,
            understand=self.planner(wanted) if wanted.needs_chat else None,
            reranker=reranker,
            fallback=self._without_store,
            forms=self._forms,
            followed=self._followed,
        )

    def planner(self, wanted: UnderstandOptions) -> Callable[[str, Trace], Understood]:
        """Plans the queries of a question with the chat model, which is opened when it is first needed."""
        from rag.understanding import UnderstandParts, understand

        kb = self._kb

        def plan(question: str, trace: Trace) -> Understood:
            parts = UnderstandParts(
                chat=kb.remembering_chat,
                deadline_s=kb.settings.understand.deadline_s,
                fields=lambda: kb.catalog.field_samples(self._name, FIELD_VALUES),
                answer=partial(self._short_answer, where=wanted.filter),
                budget=self._budget,
            )
            return understand(question, parts=parts, options=wanted, trace=trace)

        return plan

    def retrievers(self) -> Mapping[str, Retriever]:
        from rag.filters import is_exact, to_milvus
        from rag.sieve import sieved

        kb, index = self._kb, self._kb.index_name(self._collection.generation)
        readers = kb.principal.readers if kb.principal else None

        def dense(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            expression = to_milvus(where) if where else ""
            return kb.store.dense(index, self.vector(query), depth=depth, expression=expression, readers=readers)

        def bm25(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            expression = to_milvus(where) if where else ""
            return kb.store.bm25(index, query.text, depth=depth, expression=expression, readers=readers)

        def form(name: str) -> Retriever:
            return lambda query, depth, where: self._forms().retriever(name)(query, depth, where)

        def graph(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
            passages = self.fused(query, depth, where, once)
            return list(kb.graph.ranking(query, depth, where, passages=passages))

        def exactly(retriever: Retriever) -> Retriever:
            """What it gives is tested here where the store does not test the filter as it is meant."""

            def asked(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
                if where is None or is_exact(where):
                    return retriever(query, depth, where)
                return sieved(retriever, partial(self._meeting, where))(query, depth, where)

            return asked

        once: dict[str, Retriever] = {"dense": _remembered(exactly(dense)), "bm25": _remembered(exactly(bm25))}
        return {**once, **{name: form(name) for name in FORMS}, "graph": graph}

    def _meeting(self, where: Expr, pks: Sequence[str]) -> set[str]:
        """Which of these rows meet the filter, by the catalog."""
        from rag.filters import matches

        return {pk for pk, one in self._kb.catalog.live_chunks(self._name, pks).items() if matches(where, one.row)}

    def vector(self, query: Query) -> Any:
        """The vector to search with, moved into the language of the documents where that is another one."""
        if query not in self._vectors:
            self._vectors[query] = self._vector(query)
        return self._vectors[query]

    def _vector(self, query: Query) -> Any:
        vector = query_vector(query, self._made)
        into = self._moved_into(query)
        if not into:
            return vector
        crossing = self._memory.crossing(
            self._collection.fingerprint,
            lambda: self._made("crossing", [text for pair in PAIRS for text in pair]),
        )
        return crossing.moved(vector, query.text, into)

    def _moved_into(self, query: Query) -> str:
        """The language of the documents where the question's is another one; "" where nothing is moved."""
        into = self.main_language() if self._kb.settings.search.cross_language else ""
        return "" if language(query.text) == into else into

    def _followed(self, name: str, query: Query, where: Expr | None) -> Mapping[str, Any]:
        """What a retriever looked into for a query: see `IndexForms.followed`; of dense, whether the question was moved."""
        if name in FORMS:
            return self._forms().followed(name, query, where)
        into = self._moved_into(query) if name == "dense" else ""
        return {"moved_into": into} if into else {}

    def _made(self, kind: str, texts: Sequence[str]) -> Any:
        """A vector of the collection's model, from the cache where it may be."""
        from rag.reply_cache import cached_vector

        kb = self._kb
        embedder = kb.query_embedder(self._collection)
        make = partial(vector_of, embedder, kind, texts)
        if not kb.settings.search.cache:
            return make()
        return cached_vector(kb.replies, kind, embedder.fingerprint, embedder.dim, texts, make)

    def by_tokens(self, question: str, keys: Sequence[str]) -> list[float] | None:
        """How well each passage holds the question's tokens; None where some passage's are not kept. Raises: ModelError."""
        from rag.late_interaction import maxsim, with_tokens
        from rag.reply_cache import cached_tokens

        kb = self._kb
        question = without_shouting(question)  # as it was embedded
        embedder = kb.query_embedder(self._collection)
        keeper = with_tokens(embedder)
        kept = kb.catalog.tokens(keys) if keeper else {}
        if keeper is None or not keys or not kept.keys() >= set(keys):
            return None
        if kb.settings.search.cache:
            asked = cached_tokens(kb.replies, embedder.fingerprint, keeper, question)
        else:
            asked = keeper.query_tokens(question)
        try:
            return maxsim(asked, [kept[key] for key in keys])
        except ValueError:  # a snapshot may hold anything
            return None

    @property
    def _state(self) -> tuple[Any, ...]:
        """Differs when the collection was written to."""
        return (self._collection.generation, self._collection.written)

    def trust(self, query: Query, rankings: Mapping[str, Part], where: Expr | None) -> dict[str, float]:
        """Shares of their weights that dense and BM25 get where both are asked.

        Dense gets less where its best hit is what chance would bring; where it is not, BM25 gets less if it finds many passages
        equally good.
        """
        from rag.background import clearness

        if not rankings.keys() >= {"dense", "bm25"}:
            return {}
        dense = self._dense_trust(query, rankings["dense"].ranking, where)
        if dense < 1:
            return {"dense": dense}
        of_words = rankings["bm25"]
        return {} if of_words.ended else {"bm25": clearness([score for _, score in of_words.ranking])}

    def _dense_trust(self, query: Query, ranking: Sequence[tuple[str, float]], where: Expr | None) -> float:
        """With a filter 1: what it leaves are other passages than those that are sampled."""
        if not ranking or where is not None:
            return 1.0
        of_documents = self.main_language()
        if of_documents and language(query.text) != of_documents:
            return 1.0  # there BM25 has nothing to say
        catalog, name = self._kb.catalog, self._name

        def sample() -> Background:
            import numpy as np

            keys = list(islice(catalog.vector_keys(name), SAMPLED))  # in the order of their rows' hashes: any ones
            vectors = list(catalog.vectors(keys).values())
            rows = np.stack(vectors) if vectors else np.zeros((0, self._collection.dim), np.float32)
            return Background(rows, catalog.seen_by(None).counts(name)[1])  # all chunks, whoever asks, as in the sample

        background = self._memory.background(name, self._state, sample)
        return background.trust(self.vector(query), ranking[0][1])

    def main_language(self) -> str:
        """Which language nearly all documents have that can be seen; "" when there is none such."""
        catalog = self._kb.catalog
        return self._memory.language(
            (self._kb.principal, self._name),
            self._state,
            lambda: main_language(catalog.sample_texts(self._name, SAMPLE)),
        )

    def fused(
        self, query: Query, depth: int, where: Expr | None, retrievers: Mapping[str, Retriever] | None = None
    ) -> list[tuple[str, float]]:
        """The best store keys of a hybrid search as they come from the fusion; what graph retrieval starts from."""
        from rag import fusion
        from rag.search_options import weights as weights_of

        settings, retrievers = self._kb.settings.search, retrievers or self.retrievers()
        weights = weights_of("hybrid", settings)
        most = settings.depth  # however many are asked for: more hits must not change the first ones
        rankings = {
            name: fusion.ranking(dict(retrievers[name](query, max(depth, most), where)))[:most] for name in weights
        }
        parts = {
            name: fusion.Part(ranking, weights[name], ended=len(ranking) < most) for name, ranking in rankings.items()
        }
        shares = self.trust(query, parts, where) if settings.dense_trust else {}
        parts = {name: replace(part, weight=part.weight * shares.get(name, 1.0)) for name, part in parts.items()}
        return fusion.fuse([*parts.values()], method=settings.fusion, rrf_k=settings.rrf_k)[:most]

    def _short_answer(self, question: str, *, where: str | None) -> str:
        """A sub-question answered from the documents that meet the filter; "" when they do not say."""
        from rag.answering import short_answer

        kb, budget = self._kb, self._budget
        if budget.spent:
            return ""
        expand = kb.settings.search.expand
        hits = kb.search(
            question,
            top_k=SUB_QUESTION_HITS,
            mode="hybrid",
            rerank=False,
            expand=expand,
            filter=where,
            **NO_UNDERSTANDING,
        )
        with budget.counted():
            return short_answer(
                question, hits, chat=kb.remembering_chat, settings=kb.settings.answer, deadline_s=budget.left_s
            )

    @cached_property
    def _budget(self) -> Budget:
        """Of this search, in which a question may be understood twice."""
        from rag.understanding import Budget

        return Budget(self._kb.settings.understand.deadline_s)

    def _without_store(self, query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
        """What is found while Milvus is away. An embedded one that died is started again by the next search."""
        self._kb.forget_store()
        return list(self._forms().scan(query, depth, where))

    def _forms(self) -> IndexForms:
        """Index forms that are built in memory: anew when documents have changed since."""
        from rag.index_forms import FormsIndex, IndexForms

        catalog, name = self._kb.catalog, self._name
        state = (*self._state, *catalog.revision(name))
        index = self._memory.forms((self._kb.principal, name), state, lambda: FormsIndex(catalog, name))
        return IndexForms(index, self.vector)


def query_vector(query: Query, made: Callable[[str, Sequence[str]], Any]) -> Any:
    """A query's unit vector, float32 of shape (dim,): the text's, averaged with those of imagined passages if there are any.

    made: gives the vector of a text of a kind, as `vector_of` does.
    Source: Gao et al., ACL 2023, arXiv:2212.10496 (HyDE).
    """
    vector = made("query", [without_shouting(query.text)])
    if not query.passages:
        return vector
    import numpy as np

    mean = np.mean([vector, *(made("passage", [text]) for text in query.passages)], axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def vector_of(embedder: Embedder, kind: str, texts: Sequence[str]) -> Any:
    """What the model makes of texts, float32 of shape (dim,): of one query, one passage, or of all pairs of a crossing."""
    if kind == "crossing":
        return shift(embedder, texts)
    embed = embedder.embed_queries if kind == "query" else embedder.embed_passages
    return embed(list(texts))[0]


def _remembered(retriever: Retriever) -> Retriever:
    """A retriever that answers the same query once: the graph starts from what dense and BM25 find beside it."""
    known: dict[tuple[Query, int, Expr | None], list[tuple[str, float]]] = {}  # the filter differs between two plans
    one_asks = threading.Lock()

    def asked(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
        if not one_asks.acquire(blocking=False):  # a turn is not given away for nothing
            with turns.waiting():
                one_asks.acquire()
        try:
            if (query, depth, where) not in known:
                known[query, depth, where] = list(retriever(query, depth, where))
            return known[query, depth, where]
        finally:
            one_asks.release()

    return asked
