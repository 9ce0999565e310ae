"""What the graph page shows, without drawing: entities and facts that this person may see, and where they stand in the picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graph import KnowledgeGraph
from rag.knowledge_base import KnowledgeBase
from rag.text import is_han

MOST_NEIGHBOURS = 28
ALIKE = 0.35  # share of letters' pairs from which a name is offered for one that is not there
INNER = 12  # neighbours on the inner ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    type: str
    n_chunks: int
    x: float
    y: float
    is_centre: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A relation between two nodes that are drawn; more: how many further ones there are between them."""

    left: Node
    right: Node
    label: str
    sentence: str
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """subject — relation → object, with the sentence it was read from and its document.

    type: where the words are clear. valid: the years in which the sentence says that it holds, such as 1914–1918."""

    subject: str
    relation: str
    type: str
    object: str
    sentence: str
    doc_id: str
    valid: str = ""


class Seen:
    """A graph as one person sees it: what stands in no document of theirs is not there."""

    def __init__(self, graph: KnowledgeGraph, kb: KnowledgeBase) -> None:
        self.graph, self._net = graph, graph.network
        self.titles = {info.doc_id: info.title or info.source.rpartition("/")[2] for info in kb.documents()}
        self._chunks = np.array([doc_id in self.titles for doc_id in self._net.doc_ids], bool)

    def entities(self, text: str = "", most: int = 40) -> list[tuple[str, int]]:
        """Entities whose name holds the text, and in how many chunks of this person's each stands, most first."""
        wanted = text.strip().casefold()
        net = self._net
        found = []
        for entity, chunks in net.chunks_of.items():
            if wanted in net.entity_names[entity].casefold() and (n := int(sum(self._chunks[chunks]))):
                found.append((net.entity_names[entity], n))
        exact = wanted.__eq__
        return sorted(found, key=lambda one: (not exact(one[0].casefold()), -one[1], one[0]))[:most]

    def near(self, text: str, most: int = 5) -> list[str]:
        """Names that are written much like a text that none holds: those with most pairs of letters in common, best first."""
        wanted = _pairs(text)
        found = []
        for entity, chunks in self._net.chunks_of.items():
            name = self._net.entity_names[entity]
            own = _pairs(name)
            alike = 2 * len(wanted & own) / max(1, len(wanted) + len(own))
            if alike >= ALIKE and any(self._chunks[chunks]):
                found.append((-alike, name))
        return [name for _, name in sorted(found)[:most]]

    def facts(self, name: str, most: int = 60) -> list[Fact]:
        """What is said of an entity. Raises UsageError for one that is not there."""
        shown = self.graph.show(name, most=10_000)
        found = []
        for one in shown["facts"]:
            doc_id = str(one["chunk_id"]).rpartition("#")[0]
            if doc_id in self.titles:
                found.append(
                    Fact(
                        subject=one["subject"],
                        relation=one["relation"],
                        type=one["type"],
                        object=one["object"],
                        sentence=one["sentence"],
                        doc_id=doc_id,
                        valid=one["valid"],
                    )  # fmt: skip
                )
        return found[:most]

    def neighbourhood(self, name: str) -> tuple[list[Node], list[Edge]]:
        """An entity in the middle, those it is told of with around it, nearest those of most facts. Raises UsageError."""
        net = self._net
        centre = net.entity_names[self.graph.find(name)]
        facts = self.facts(name, most=2000)
        others = Counter(other for fact in facts for other in (fact.subject, fact.object) if other != centre)
        kept = [other for other, _ in others.most_common(MOST_NEIGHBOURS)]
        nodes = {centre: self._node(centre, 0.0, 0.0, is_centre=True)}
        for at, other in enumerate(kept):
            nodes[other] = self._node(other, *_place(at, len(kept)))
        pairs: dict[tuple[str, str], list[Fact]] = {}
        for fact in [*facts, *(one for other in kept for one in self.facts(other, most=200))]:
            if fact.subject in nodes and fact.object in nodes and fact.subject != fact.object:
                left, right = sorted((fact.subject, fact.object))
                known = pairs.setdefault((left, right), [])
                if fact not in known:
                    known.append(fact)
        edges = [
            Edge(left=nodes[left], right=nodes[right], label=said[0].type or said[0].relation, sentence=said[0].sentence, more=len(said) - 1)
            for (left, right), said in pairs.items()
        ]  # fmt: skip
        return list(nodes.values()), edges

    def communities(self, most: int = 30) -> list[dict[str, Any]]:
        """Communities with the sentences that sum them up, the largest first, of this person's documents alone."""
        everything = bool(self._chunks.all())
        condition = None if everything else _only(sorted(self.titles))
        return self.graph.communities(filter=condition, most=most) if everything or self.titles else []

    def _node(self, name: str, x: float, y: float, *, is_centre: bool = False) -> Node:
        entity = self.graph.find(name)
        n_chunks = int(sum(self._chunks[self._net.chunks_of.get(entity, [])]))
        return Node(name=name, type=self._net.types[entity], n_chunks=n_chunks, x=x, y=y, is_centre=is_centre)


def _pairs(text: str) -> set[str]:
    """Each two characters in a row; of a Chinese text also each one, for names are short there."""
    folded = text.strip().casefold()
    pairs = {folded[n : n + 2] for n in range(len(folded) - 1)}
    return pairs | {char for char in folded if is_han(char)} if pairs else {folded}


def _place(at: int, n: int) -> tuple[float, float]:
    """Where the at-th of n neighbours stands: an inner and an outer ring, the outer one turned by half a step."""
    inner = min(n, INNER)
    if at < inner:
        angle, radius = 2 * math.pi * at / inner, 1.0
    else:
        angle, radius = 2 * math.pi * (at - inner + 0.5) / max(1, n - inner), 1.75
    return round(radius * math.cos(angle), 4), round(radius * math.sin(angle), 4)


def _only(doc_ids: Sequence[str]) -> str:
    from rag.filters import literal

    return f"doc_id in [{', '.join(literal(one) for one in doc_ids)}]"
