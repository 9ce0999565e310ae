"""Graph retrieval: a question to ranked chunks, by six methods. Each is a function of the question and what it starts from.

walk      personalised PageRank from the question's names and the passages that match it (the default)
local     the neighbourhood of the question's names
paths     the chunks that connect the question's names with one another
keywords  names on one level, what is said of them on another
global    the communities that the question is about, for questions about the whole
drift     from those communities to names, and from there by the walk
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from graph.communities import Community, detect
from graph.linking import link
from graph.network import Network
from graph.walking import Walk
from rag import text as texts

METHODS = ("walk", "local", "paths", "keywords", "global", "drift")
FLOOR = 1e-12  # a share of the walk that counts as none
BUDGET = 400  # facts of one entity that are looked at
MOST_HOPS = 3
N_COMMUNITIES = 5
_FEW = 3  # passages whose names stand in for a question that names nothing


class GraphIndex:
    """A graph ready for questions. Read-only after the first use of each part, so threads may share it."""

    def __init__(self, network: Network, seed: int = 0) -> None:
        self.network, self.walk, self._seed = network, Walk(network), seed

    @cached_property
    def communities(self) -> list[Community]:
        return detect(self.network, seed=self._seed)

    @cached_property
    def names(self) -> WordIndex:
        """Words of the entities' names and descriptions → entities."""
        said = self.network.descriptions
        return WordIndex(" ".join([name, *said.get(n, ())]) for n, name in enumerate(self.network.entity_names))

    @cached_property
    def labels(self) -> WordIndex:
        """Words of the facts → facts."""
        return WordIndex(f"{fact.relation.label} {fact.relation.claim}" for fact in self.network.facts)


class WordIndex:
    """Which of many short texts share rare words with a query."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._postings: dict[str, list[int]] = defaultdict(list)
        self._n = 0
        for n, line in enumerate(lines):
            for word in set(texts.words(line)):
                self._postings[word].append(n)
            self._n = n + 1

    def scores(self, query: str) -> dict[int, float]:
        """The rarity of the words that each text shares with the query, summed."""
        found: dict[int, float] = defaultdict(float)
        for word in sorted(set(texts.words(query))):
            places = self._postings.get(word, ())
            for n in places:
                found[n] += math.log((self._n + 1) / (len(places) + 0.5))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a retrieval starts from: the question, the chunks that match it (number → 0 … 1), and which may be seen."""

    question: str
    passages: Mapping[int, float]
    allowed: np.ndarray | None = None

    def may_see(self, chunk: int) -> bool:
        return self.allowed is None or bool(self.allowed[chunk])


def retrieve(method: str, start: Start, index: GraphIndex) -> dict[int, float]:
    """Chunks by number with their scores, all above 0. Higher is better."""
    found = _METHODS[method](start, index)
    return {chunk: score for chunk, score in found.items() if score > 0 and start.may_see(chunk)}


def walk(start: Start, index: GraphIndex) -> dict[int, float]:
    """Personalised PageRank; a chunk's score is the logarithm of its share, so that fusion sees orders of magnitude."""
    return _walked(start, index, entity_seeds(start, index))


def local(start: Start, index: GraphIndex) -> dict[int, float]:
    """Chunks that name the question's entities, and those of the facts about them that answer to the question's words."""
    net = index.network
    wanted = set(texts.words(start.question))
    scores: dict[int, float] = defaultdict(float)
    for entity, weight in entity_seeds(start, index).items():
        for chunk in net.chunks_of.get(entity, ()):
            scores[chunk] += weight
        for number in net.facts_of.get(entity, ())[:BUDGET]:
            fact = net.facts[number]
            shared = len(wanted & set(texts.words(fact.relation.label)))
            scores[fact.chunk] += weight * 0.1 * shared
            other = fact.object if fact.subject == entity else fact.subject
            if net.is_title[other]:
                for chunk in net.chunks_of[other][:2]:
                    scores[chunk] += 0.3 * weight * (1 + 0.5 * shared) * float(net.rarity[other])
    return _with_passages(scores, start)


def paths(start: Start, index: GraphIndex) -> dict[int, float]:
    """Chunks on the shortest ways between each two of the question's entities; with one entity, its neighbourhood."""
    seeds = entity_seeds(start, index)
    scores: dict[int, float] = defaultdict(float)
    for left, right in combinations(sorted(seeds), 2):
        for way in shortest(index.network, left, right, start.may_see):
            for chunk in way:
                scores[chunk] += 1.0 / len(way)
    nearby = local(start, index)
    top = max(nearby.values(), default=1.0)
    for chunk, score in nearby.items():
        scores[chunk] += 0.5 * score / top
    return dict(scores)


def shortest(
    network: Network, left: int, right: int, may_see: Callable[[int], bool], *, most: int = 8
) -> list[list[int]]:
    """Up to `most` shortest ways from one entity to another, as the chunks they lead through, at most three."""
    before: dict[int, list[tuple[int, int]]] = {left: []}  # entity → (entity, chunk) that it was reached from
    hops = {left: 0}
    queue = deque([left])
    while queue:
        entity = queue.popleft()
        if entity == right or hops[entity] == MOST_HOPS:
            break
        for chunk in network.chunks_of.get(entity, ())[:BUDGET]:
            if not may_see(chunk):
                continue
            for other in network.entities_of[chunk]:
                if other not in hops:
                    hops[other] = hops[entity] + 1
                    before[other] = [(entity, chunk)]
                    queue.append(other)
                elif hops[other] == hops[entity] + 1 and len(before[other]) < most:
                    before[other].append((entity, chunk))
    ways: list[list[int]] = []

    def back(entity: int, way: list[int]) -> None:
        if len(ways) >= most:
            return
        if entity == left:
            ways.append(way[::-1])
            return
        for earlier, chunk in before[entity]:
            back(earlier, [*way, chunk])

    if right in before and left != right:
        back(right, [])
    return ways


def keywords(start: Start, index: GraphIndex) -> dict[int, float]:
    """Two levels: entities whose names share the question's words, and facts whose labels do.

    Source: Guo et al., LightRAG, arXiv:2410.05779, with the question's words in place of a model's keywords.
    """
    net = index.network
    scores: dict[int, float] = defaultdict(float)
    for entity, score in _top(index.names.scores(start.question), 40):
        for chunk in net.chunks_of.get(entity, ())[:BUDGET]:
            scores[chunk] += score * float(net.rarity[entity])
    for number, score in _top(index.labels.scores(start.question), 200):
        scores[net.facts[number].chunk] += 0.5 * score
    return _with_passages(scores, start)


def globally(start: Start, index: GraphIndex) -> dict[int, float]:
    """The chunks of the communities that the question is about, best community first.

    Source: Edge et al., GraphRAG, arXiv:2404.16130; the map step is a score of each community, not a model's.
    """
    net = index.network
    scores: dict[int, float] = defaultdict(float)
    for community, weight in best_communities(start, index):
        for entity in community.entities:
            for chunk in net.chunks_of.get(entity, ())[:BUDGET]:
                scores[chunk] += weight * float(net.rarity[entity]) / math.sqrt(len(community.entities))
    return _with_passages(scores, start)


def drift(start: Start, index: GraphIndex) -> dict[int, float]:
    """The central entities of the best communities, at a tenth of the weight of the question's own, start the walk.

    Source: the DRIFT search of microsoft/graphrag (2024), without its model calls.
    """
    seeds = entity_seeds(start, index)
    for community, weight in best_communities(start, index):
        for entity in community.entities[:_FEW]:
            seeds[entity] = seeds.get(entity, 0.0) + 0.1 * weight * float(index.network.rarity[entity])
    return _walked(start, index, seeds)


def best_communities(start: Start, index: GraphIndex) -> list[tuple[Community, float]]:
    """The communities that a question is about, with weights up to 1: by their names, facts, and the passages found."""
    net = index.network
    by_entity: dict[int, float] = defaultdict(float)
    for entity, score in index.names.scores(start.question).items():
        by_entity[entity] += score
    for number, score in _top(index.labels.scores(start.question), 500):
        by_entity[net.facts[number].subject] += 0.3 * score
    for chunk, weight in start.passages.items():
        for entity in net.entities_of[chunk]:
            by_entity[entity] += weight * float(net.rarity[entity])
    scored = []
    for community in index.communities:
        seen = [one for one in community.entities if any(map(start.may_see, net.chunks_of.get(one, ())))]
        score = sum(by_entity.get(one, 0.0) for one in seen) / math.sqrt(len(community.entities) + 10)
        if score > 0:
            scored.append((community, score))
    scored.sort(key=lambda item: (-item[1], item[0].community_id))
    top = scored[0][1] if scored else 1.0
    return [(community, score / top) for community, score in scored[:N_COMMUNITIES]]


def entity_seeds(start: Start, index: GraphIndex) -> dict[int, float]:
    """The entities that the question names, rare ones with more weight; when it names none, those of the best passages."""
    net = index.network
    seeds = {one.entity: float(net.rarity[one.entity]) for one in link(start.question, net)}
    if seeds:
        return seeds
    best = sorted(start.passages.items(), key=lambda item: (-item[1], item[0]))[:_FEW]
    return {
        entity: 0.05 * weight * float(net.rarity[entity])
        for chunk, weight in reversed(best)
        for entity in net.entities_of[chunk]
    }


def _top(scores: Mapping[int, float], n: int) -> list[tuple[int, float]]:
    return heapq.nsmallest(n, scores.items(), key=lambda item: (-item[1], item[0]))


def _walked(start: Start, index: GraphIndex, seeds: Mapping[int, float]) -> dict[int, float]:
    share = index.walk.weights.passages
    shares = index.walk.ranked(seeds, {n: share * weight for n, weight in start.passages.items()}, start.allowed)
    return {int(n): math.log(float(shares[n]) / FLOOR) for n in np.flatnonzero(shares > FLOOR)}


def _with_passages(scores: Mapping[int, float], start: Start) -> dict[int, float]:
    """Scores from the graph with the passages' own, the best of either at 1."""
    top = max(scores.values(), default=0.0) or 1.0
    found = {chunk: score / top for chunk, score in scores.items()}
    for chunk, weight in start.passages.items():
        found[chunk] = found.get(chunk, 0.0) + 0.5 * weight
    return found


_METHODS = {
    "walk": walk, "local": local, "paths": paths, "keywords": keywords, "global": globally, "drift": drift,
}  # fmt: skip
