"""What the retrieval lab asks the knowledge base: strategies, searches side by side, passages by what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eval.systems import BUILT_IN, System, parse_system
from rag.errors import RagstoneError, UsageError
from rag.knowledge_base import KnowledgeBase
from rag.types import Hit, Hits
from ui.web.failures import kept

MOST = 4  # strategies side by side
_INDEXED = ("chunk.", "embedding.", "enrich.", "parse.", "ingest.")
_BY_CHAT = ("rewrite", "multi-query", "hyde", "decompose", "step-back", "translate", "auto-filter")
_LOOKED_AT = 20  # hits that may hold a pasted sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one strategy found. error: a sentence, when it could not search."""

    name: str
    hits: Hits = field(default_factory=lambda: Hits(()))
    error: str = ""

    @property
    def ms(self) -> float:
        return sum(step.ms for step in self.hits.trace)

    def rank(self, chunk_id: str) -> int | None:
        return next((hit.rank for hit in self.hits if hit.chunk_id == chunk_id), None)


def strategies(kb: KnowledgeBase, *, chat: bool) -> list[str]:
    """The built-in strategies that can run here: without a chat model, graph or reranker those that need none."""

    def runs(name: str) -> bool:
        if not chat and name.partition("+")[2] in _BY_CHAT:
            return False
        if "graph" in name and not kb.has_graph:
            return False
        return "rerank" not in name or bool(kb.settings.rerank.model)

    return [name for name in BUILT_IN if runs(name)]


def seen_as(kb: KnowledgeBase, system: System) -> KnowledgeBase:
    """The collection as a strategy's settings want it. Raises: UsageError for settings that would need another index."""
    if other := [key for key in system.settings if key.startswith(_INDEXED)]:
        raise UsageError(
            f"{other[0]} changes what is in the index, so it cannot be tried on this collection. Evaluate a folder of test data with it."
        )
    changes = {key.replace(".", "__"): value for key, value in system.settings.items()}
    return (
        kb.view(collection=None, principal=kb.principal, settings=kb.settings.with_values(**changes)) if changes else kb
    )


def side_by_side(
    kb: KnowledgeBase, query: str, names: Sequence[str], *, top_k: int, condition: str = ""
) -> list[Outcome]:
    """Search with each strategy, explained. What goes wrong in one is told there."""
    found = []
    for name in names:
        try:
            system = parse_system(name)
            hits = seen_as(kb, system).search(
                query, top_k=top_k, filter=condition or None, explain=True, **system.options
            )
            found.append(Outcome(name=system.name, hits=hits))
        except RagstoneError as error:
            found.append(Outcome(name=name, error=kept(error)))
    return found


def passages(outcomes: Sequence[Outcome]) -> list[tuple[Hit, Mapping[str, int | None]]]:
    """Every passage that a strategy found with its rank in each, those found early and often first."""
    hits: dict[str, Hit] = {}
    for outcome in outcomes:
        for hit in outcome.hits:
            hits.setdefault(hit.chunk_id, hit)
    ranks = {chunk_id: {one.name: one.rank(chunk_id) for one in outcomes} for chunk_id in hits}

    def order(chunk_id: str) -> tuple[float, str]:
        return -sum(1 / rank for rank in ranks[chunk_id].values() if rank), chunk_id

    return [(hits[chunk_id], ranks[chunk_id]) for chunk_id in sorted(hits, key=order)]


def passages_with(kb: KnowledgeBase, sentence: str) -> list[Hit]:
    """The passages that hold a sentence; where none does, those nearest to it."""
    wanted = _bare(sentence)
    if not wanted:
        raise UsageError("Paste a sentence of the passage that you miss.")
    near = kb.search(sentence[:2000], mode="bm25", top_k=_LOOKED_AT, rerank=False, mmr=1.0)
    holding = [hit for hit in near if wanted in _bare(hit.text)]
    return holding or list(near)[:5]


def holds(hit: Hit, sentence: str) -> bool:
    return _bare(sentence) in _bare(hit.text)


def _bare(text: str) -> str:
    """Letters and digits alone, so that line breaks, marks and capitals do not matter."""
    return "".join(char for char in text.casefold() if char.isalnum())
